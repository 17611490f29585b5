"""The main job on real recordings: scan, 300 mixtures, seven systems, seven metrics, a page, and everything adds up."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path

import pytest

from eval.catalogue import HEADLINE
from manifests import corpora, parquet
from manifests.recipe import parse_recipe
from manifests.schema import Score, Source
from manifests.system import load_system
from pipelines import check, demo, generate, report, scan, score
from pipelines.dataset import Dataset
from pipelines.infer import infer

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

RECIPE = """
name: corpus-16k
seed: 2026
sample_rate: 16000
clip_s: 4
splits: {train: 200, valid: 40, test: 60}
shares: {train: 6, valid: 1, test: 3}
talkers: {min_active_s: 1.0}
noise: {snr_db: {uniform: [-5, 20]}}
rooms:
  probability: 0.5
  kind: {choice: {measured: 0.5, simulated: 0.5}}
  rt60_s: {uniform: [0.2, 0.5]}
target: {kind: early, early_ms: 50}
write: {stems: [mixture, target, noise, talkers], rows_per_shard: 10}
"""


@pytest.fixture(scope="module")
def sources(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    table = str(tmp_path_factory.mktemp("corpus") / "sources.parquet")
    rows, result, _ = scan.scan(corpora.from_index(str(corpus / "index.csv"), {}, {}), table, workers=2, quiet=True)
    assert result.counts.plain() == {"rows_in": 444, "rows_out": 444, "done": 444, "dropped": {}, "failed": {}}
    return rows


@pytest.fixture(scope="module")
def dataset(sources: list[Source], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("real") / "dataset"
    made, result = generate.generate(parse_recipe(RECIPE), sources, str(root), workers=2, quiet=True)
    counts = result.counts
    assert counts.rows_in == 300 == counts.done + counts.dropped.total() + counts.failed.total()
    assert counts.done >= 295
    assert not counts.failed
    return made


@pytest.fixture(scope="module")
def page(dataset: Dataset) -> Path:
    pytest.importorskip("pyrnnoise")
    for name in demo.SYSTEMS:
        _, result, statuses, _ = infer(dataset, load_system(name), workers=2, quiet=True)
        assert statuses == {"ok": result.counts.rows_in}
    for result in score.score(dataset, workers=2, quiet=True).values():
        assert result.counts.rows_out == result.counts.rows_in * len(HEADLINE)
    return Path(report.report(dataset, examples=2))


def test_every_file_of_the_index_is_a_row_and_the_awkward_ones_say_why(sources: list[Source], corpus: Path) -> None:
    assert len(sources) == 444
    rejected = {str(Path(s.uri).relative_to(corpus)): s.reason for s in sources if s.status == "rejected"}
    assert rejected.pop("awkward/undecodable/invalid.wav") == "undecodable"
    assert rejected.pop("awkward/derived/arctic_truncated.wav") == "truncated"
    short = {name for name, reason in rejected.items() if reason == "too_short"}
    assert short == {
        "awkward/bit_depth/mono_float64.wav",
        *(f"awkward/very_short/guitar48_{n}_samples.wav" for n in (1, 10, 100, 1000)),
    }
    silent = {name for name, reason in rejected.items() if reason == "silent"}
    assert silent == {
        f"awkward/no_speech/{n}.wav" for n in ("almost_silent_24bit", "digital_silence", "room_silence_48k")
    }
    assert Counter(rejected.values()) == {"too_short": 5, "silent": 3, "duplicate": 3}
    assert all(s.message for s in sources if s.status == "rejected")
    assert sum(s.status == "ok" for s in sources if s.kind == "speech") == 240


def test_what_the_scan_measures(sources: list[Source]) -> None:
    by_name = {Path(s.uri).name: s for s in sources}
    upsampled = by_name["lyra_sample1_48kHz.wav"]
    assert (upsampled.sample_rate, upsampled.bandwidth_hz) == (48000, pytest.approx(8000, abs=500))
    assert by_name["1363-135842-0000.flac"].dc == pytest.approx(-0.117, abs=0.001)
    assert by_name["esc10_2-107351-B.ogg"].peak is not None
    assert by_name["esc10_2-107351-B.ogg"].peak > 1.0
    assert by_name["whisper.flac"].rms_dbfs == pytest.approx(-52.3, abs=0.2)
    assert by_name["clearbuds_15625Hz.wav"].sample_rate == 15625
    ashore = by_name["1089-134686-0000.flac"]
    assert (ashore.speaker_id, ashore.language) == ("libri_1089", "en")
    assert str(ashore.transcript).startswith("he hoped there would be stew for dinner")
    assert by_name["kitchen.flac"].room_id == "house_kitchen"
    assert by_name["hens.ogg"].noise_class == "farm"


def test_a_rescan_reads_nothing(sources: list[Source], corpus: Path, tmp_path: Path) -> None:
    table = str(tmp_path / "again.parquet")
    parquet.write_rows(table, sources, Source)
    rows, result, kept = scan.scan(corpora.from_index(str(corpus / "index.csv"), {}, {}), table, workers=0, quiet=True)
    assert rows == sources
    assert result.counts.rows_in == 444 - kept == sum(s.reason in ("crashed", "timeout") for s in sources)


def test_decoded_from_parquet_every_promise_holds(dataset: Dataset) -> None:
    findings, rows = check.check(dataset, workers=2, quiet=True)
    assert findings == []
    assert rows == len(dataset.manifest())


def test_half_of_the_mixtures_are_in_measured_or_simulated_rooms(dataset: Dataset) -> None:
    engines = Counter(row.room_engine for row in dataset.manifest())
    assert 120 <= engines["measured"] + engines["shoebox"] <= 180
    assert min(engines["measured"], engines["shoebox"]) >= 50


def test_replay_of_twenty_random_rows_is_byte_exact(dataset: Dataset) -> None:
    for row in random.Random(1).sample(dataset.manifest(), 20):
        assert all(generate.replay(dataset, row.mixture_id).values())


def test_growing_from_300_to_400_leaves_the_first_300_unchanged(dataset: Dataset, sources: list[Source]) -> None:
    larger = parse_recipe(RECIPE.replace("train: 200, valid: 40, test: 60", "train: 260, valid: 60, test: 80"))
    rows, _, _ = generate.make_plan(larger, sources)
    plans = {plan.mixture_id: plan for part in rows.values() for plan in part}
    assert len(plans) == 400
    before = [plan for name in dataset.shard_names("plan") for plan in dataset.plans(name)]
    assert len(before) == 300
    assert all(plans[plan.mixture_id] == plan for plan in before)


def test_the_page_ranks_sanely_and_rnnoise_helps_at_low_snr(dataset: Dataset, page: Path) -> None:
    with page.with_name("leaderboard.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    means = {(row["system"], row["metric"]): float(row["mean"]) for row in rows}
    assert len(rows) == 7 * 7
    for metric in HEADLINE:
        assert means["silence", metric] < means["unprocessed", metric] < means["oracle", metric], metric
    snr = {row.mixture_id: row.snr_db for row in dataset.manifest()}
    scores = [s for s in parquet.read_rows(str(page.with_name("scores.parquet")), Score) if s.metric == "si_sdr"]
    low = [(s.system_id.split("-")[0], s.value) for s in scores if (snr[s.mixture_id] or 99.0) < 5]
    noisy, rnnoise = ([v for name, v in low if name == wanted] for wanted in ("unprocessed", "rnnoise"))
    assert len(noisy) == len(rnnoise) >= 12
    assert sum(rnnoise) / len(rnnoise) > sum(noisy) / len(noisy) + 1.0  # dB


def test_no_score_is_missing_or_not_a_number(page: Path) -> None:
    scores = parquet.read_rows(str(page.with_name("scores.parquet")), Score)
    assert {s.status for s in scores} <= {"ok", "floor", "excluded_ref", "too_short"}
    assert all(s.value is not None and s.value == s.value for s in scores if s.status in ("ok", "floor"))
