"""Scoring: one row per (system, mixture, output, metric), joined by id; published values come out of the stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from eval import perceptual
from eval.catalogue import HEADLINE
from manifests import audio, parquet
from manifests.errors import UserError
from manifests.recipe import parse_recipe
from manifests.schema import Score, Source
from manifests.system import SystemSpec, load_system
from pipelines import generate, isolate, score
from pipelines.dataset import Dataset
from pipelines.infer import infer

RECIPE = """
name: for-scores
seed: 5
clip_s: 2
splits: {train: 2, test: 4}
shares: {train: 1, test: 1}
noise: {snr_db: {uniform: [0, 5]}}
write: {stems: [mixture, target], rows_per_shard: 2}
"""


@pytest.fixture
def dataset(tmp_path: Path, demo_sources: list[Source]) -> Dataset:
    return generate.generate(parse_recipe(RECIPE), demo_sources, str(tmp_path / "d"), workers=0, quiet=True)[0]


def scores(dataset: Dataset) -> list[Score]:
    folder = Path(dataset.path("scores"))
    return [row for p in sorted(folder.rglob("*.parquet")) for row in parquet.read_rows(str(p), Score)]


def misbehaving(name: str) -> SystemSpec:
    return SystemSpec(name=name, module=f"tests.misbehaving:{name}")


def test_one_row_per_system_mixture_and_metric(dataset: Dataset) -> None:
    names = ("unprocessed", "silence", "oracle")
    for name in names:
        infer(dataset, load_system(name), workers=0, quiet=True)
    score.score(dataset, workers=0, quiet=True)
    found = scores(dataset)
    assert len(found) == len({(s.system_id, s.mixture_id, s.output, s.metric) for s in found}) == 3 * 4 * 7
    assert {s.metric for s in found} == set(HEADLINE)
    for metric in HEADLINE:
        means = [np.mean([s.value for s in found if s.metric == metric and s.system_id.startswith(n)]) for n in names]
        unprocessed, silence, oracle = means
        assert silence < unprocessed < oracle, metric


def test_systems_that_fail_pay_the_floor(dataset: Dataset) -> None:
    for name in ("raises", "not_a_number", "too_short"):
        infer(dataset, misbehaving(name), workers=0, quiet=True)
    score.score(dataset, metrics=("si_sdr", "stoi"), workers=0, quiet=True)
    found = {(s.system_id.split("-")[0], s.metric): s for s in scores(dataset)}
    assert [(s.status, s.reason, s.value) for k, s in found.items() if k == ("raises", "si_sdr")] == [
        ("floor", "exception", -50.0)
    ]
    assert (found["not_a_number", "stoi"].status, found["not_a_number", "stoi"].value) == ("floor", 0.0)
    assert found["too_short", "stoi"].status == "ok_len"


def test_a_mixture_without_an_estimate_is_scored_as_missing(dataset: Dataset) -> None:
    row, *_ = infer(dataset, load_system("oracle"), workers=0, quiet=True)
    path = dataset.path("estimates", row.system_id, "test-00000.parquet")
    footer = parquet.read_footer(path)
    kept = dataset.estimates(row.system_id, "test-00000")[1:]
    parquet.write_rows(path, kept, type(kept[0]), digest=footer["digest"])
    score.score(dataset, metrics=("si_sdr",), workers=0, quiet=True)
    found = scores(dataset)
    assert sorted((s.status, s.reason) for s in found) == [("floor", "missing"), *[("ok", None)] * 3]


def test_estimates_are_joined_by_id_not_by_position(dataset: Dataset) -> None:
    row, *_ = infer(dataset, load_system("oracle"), workers=0, quiet=True)
    path = dataset.path("estimates", row.system_id, "test-00000.parquet")
    footer = parquet.read_footer(path)
    turned = dataset.estimates(row.system_id, "test-00000")[::-1]
    parquet.write_rows(path, turned, type(turned[0]), digest=footer["digest"])
    score.score(dataset, metrics=("si_sdr",), workers=0, quiet=True)
    assert {s.value for s in scores(dataset)} == {80.0}


@pytest.mark.ray
def test_the_number_of_workers_changes_no_byte(dataset: Dataset, ray_session: None) -> None:
    infer(dataset, load_system("unprocessed"), workers=0, quiet=True)
    files: list[dict[str, bytes]] = []
    for workers in (0, 2):
        score.score(dataset, workers=workers, quiet=True)
        paths = sorted(Path(dataset.path("scores")).rglob("*.parquet"))
        files.append({p.name: p.read_bytes() for p in paths})
        for path in paths:
            path.unlink()
    assert files[0] == files[1]


def test_unknown_metrics_and_systems(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="no estimates here"):
        score.score(dataset, workers=0)
    infer(dataset, load_system("silence"), workers=0, quiet=True)
    with pytest.raises(UserError, match="pesq_wb"):
        score.score(dataset, metrics=("pesq-wb",), workers=0)
    with pytest.raises(UserError, match=r"no estimates of system 'silense' \(did you mean 'silence'\?\)"):
        score.score(dataset, systems=("silense",), workers=0)


# ------------------------------------------------------------------------- the stage's own path on signals of ours


def scored(reference: Any, estimate: Any, rate: int, *metrics: str) -> dict[str, Score]:
    """What the stage's work function makes of two arrays."""
    outputs = [{"name": "estimate", "audio": vars(audio.encode_float(np.atleast_2d(estimate), rate, "e"))}]
    part = {"outputs": outputs, "status": "ok", "reason": None}
    payload = score.Payload("m", {"target": vars(audio.encode_float(np.atleast_2d(reference), rate, "r"))})
    settings = score.Settings("nowhere", (("system-0", "system"),), score.resolved(metrics, (), "target"))
    (rows,) = score.work(settings, payload, ((0, part),))
    return {s.metric: s for s in rows}


def test_published_values_come_out(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "pesq_ludlows"
    expected = json.loads((folder / "expected.json").read_text())
    (reference, rate), (degraded, _) = (
        sf.read(folder / f, dtype="float32") for f in ("speech.wav", "speech_bab_0dB.wav")
    )
    found = scored(reference, degraded, rate, "pesq_wb", "pesq_nb16", "stoi", "estoi")
    assert found["pesq_wb"].value == pytest.approx(expected["pesq_wb"], abs=1e-6)  # 1.0832337
    assert found["pesq_nb16"].value == pytest.approx(expected["pesq_nb"], abs=1e-6)  # 1.6072081
    assert found["stoi"].value == pytest.approx(0.6739179, abs=1e-6)
    assert found["estoi"].value == pytest.approx(0.39044999, abs=1e-6)


def bursts(count: int, rate: int = 16000) -> Any:
    """Noise bursts with pauses: each is an utterance to PESQ, whose C code has room for 50."""
    rng = np.random.default_rng(1)
    one = np.concatenate([rng.standard_normal(int(0.35 * rate)) * 0.1, np.zeros(int(0.45 * rate))])
    return np.tile(one, count).astype(np.float32)


def test_more_utterances_than_pesq_has_room_for_cost_one_score_and_no_process() -> None:
    x = bursts(80)
    with pytest.raises(isolate.Crashed):  # the premise: in a process of its own it dies
        isolate.call(perceptual.pesq_score, reference=x, estimate=x * 0.5, sample_rate=16000, mode="wb")
    found = scored(x, x * np.float32(0.5), 16000, "pesq_wb", "si_sdr")
    assert (found["pesq_wb"].status, found["pesq_wb"].value) == ("crashed", None)
    assert found["si_sdr"].status == "ok"


def test_a_long_recording_of_few_utterances_is_scored_all_the_same() -> None:
    x = bursts(26)  # 20.8 s: risky by its length, harmless
    assert perceptual.pesq_risk(x, 16000)
    assert scored(x, x * np.float32(0.5), 16000, "pesq_wb")["pesq_wb"].value == pytest.approx(4.644, abs=0.01)


# ------------------------------------------------------------------------------------------------- systems together


def test_systems_scored_together_have_the_bytes_they_have_alone(dataset: Dataset) -> None:
    for name in ("unprocessed", "oracle", "irm"):
        infer(dataset, load_system(name), workers=0, quiet=True)
    metrics = ("si_sdr", "estoi", "llr")
    score.score(dataset, metrics=metrics, workers=0, quiet=True)
    paths = sorted(Path(dataset.path("scores")).rglob("*.parquet"))
    together = {p: p.read_bytes() for p in paths}
    assert len(together) == 6
    for path in paths:
        path.unlink()
    for name in ("irm", "oracle", "unprocessed"):
        score.score(dataset, systems=(name,), metrics=metrics, workers=0, quiet=True)
    assert {p: p.read_bytes() for p in paths} == together


def test_what_is_done_is_not_done_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("unprocessed", "oracle"):
        infer(dataset, load_system(name), workers=0, quiet=True)
    score.score(dataset, systems=("oracle",), metrics=("snr",), workers=0, quiet=True)
    path = Path(dataset.path("scores")).glob("unprocessed-*")
    assert not list(path)
    seen: list[tuple[str, int]] = []
    work = score.work

    def watched(settings: Any, payload: Any, parts: Any) -> Any:
        seen.extend((payload.mixture_id, index) for index, _ in parts)
        return work(settings, payload, parts)

    monkeypatch.setattr(score, "work", watched)
    results = score.score(dataset, metrics=("snr",), workers=0, quiet=True)
    (new,) = {index for _, index in seen}
    assert [s.name for s in dataset.systems()][new] == "unprocessed"
    assert len(seen) == 4
    assert {id_.split("-")[0]: r.shards_resumed for id_, r in results.items()} == {"unprocessed": 0, "oracle": 2}
    assert {r.counts.rows_out for r in results.values()} == {4}


def test_the_references_half_is_made_once_for_all_systems(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from eval import intelligibility

    for name in ("unprocessed", "oracle", "silence", "irm"):
        infer(dataset, load_system(name), workers=0, quiet=True)
    made: list[int] = []
    of = intelligibility.Reference.of

    def counted(**arguments: Any) -> Any:
        made.append(1)
        return of(**arguments)

    monkeypatch.setattr(intelligibility.Reference, "of", counted)
    score.score(dataset, metrics=("stoi",), workers=0, quiet=True)
    assert len(made) == 4  # mixtures


@pytest.mark.ray
def test_a_worker_that_dies_costs_no_score(dataset: Dataset, ray_session: None, tmp_path: Path) -> None:
    """A metric kills its process the first time each mixture of one system is scored."""
    for name in ("unprocessed", "oracle"):
        infer(dataset, load_system(name), workers=0, quiet=True)
    spec = tmp_path / "deadly.yaml"
    spec.write_text(
        "name: deadly\nmodule: tests.misbehaving:deadly_metric\nneeds: reference\nlow: 0\nhigh: 1\n"
        "settings: {folder: " + str(tmp_path) + "}\n"
    )
    results = score.score(dataset, metrics=("snr",), plug_ins=(str(spec),), workers=2, quiet=True)
    found = scores(dataset)
    assert {r.counts.failed.total() for r in results.values()} == {0}
    assert len(found) == 2 * 4 * 2
    assert {s.status for s in found if s.metric == "deadly"} == {"ok"}


@pytest.mark.ray
def test_a_metric_that_always_kills_its_process_costs_the_rows_of_its_item(
    dataset: Dataset, ray_session: None, tmp_path: Path
) -> None:
    infer(dataset, load_system("unprocessed"), workers=0, quiet=True)
    infer(dataset, load_system("oracle"), workers=0, quiet=True)
    spec = tmp_path / "deadly.yaml"
    spec.write_text(
        "name: deadly\nmodule: tests.misbehaving:deadly_metric\nneeds: reference\nlow: 0\nhigh: 1\n"
        "settings: {folder: " + str(tmp_path) + ", deaths: 1000}\n"
    )
    results = score.score(dataset, metrics=("snr",), plug_ins=(str(spec),), workers=2, quiet=True)
    found = scores(dataset)
    assert len({(s.system_id, s.mixture_id, s.output, s.metric) for s in found}) == len(found) == 2 * 4 * 2
    assert {s.status for s in found} == {"crashed"}
    assert {r.counts.failed["crashed"] for r in results.values()} == {4}


def test_an_estimate_that_does_not_decode_is_one_row_a_metric(dataset: Dataset) -> None:
    row, *_ = infer(dataset, load_system("oracle"), workers=0, quiet=True)
    infer(dataset, load_system("unprocessed"), workers=0, quiet=True)
    path = dataset.path("estimates", row.system_id, "test-00000.parquet")
    footer = parquet.read_footer(path)
    rows = dataset.estimates(row.system_id, "test-00000")
    audio_of = rows[0].outputs[0].audio
    assert audio_of is not None
    damaged = replace(rows[0].outputs[0], audio=replace(audio_of, bytes=b"RIFF, but no more"))
    parquet.write_rows(path, [replace(rows[0], outputs=[damaged]), *rows[1:]], type(rows[0]), digest=footer["digest"])
    score.score(dataset, metrics=("si_sdr", "estoi"), workers=0, quiet=True)
    found = scores(dataset)
    assert len(found) == 2 * 4 * 2
    broken = [s for s in found if s.reason == "undecodable"]
    assert {(s.mixture_id, s.metric, s.status) for s in broken} == {
        (rows[0].mixture_id, metric, "floor") for metric in ("si_sdr", "estoi")
    }
    assert {s.system_id for s in broken} == {row.system_id}, "the other system's rows are as they were"


# -------------------------------------------------------------------------------------------- several talkers, words

TALKERS = """
name: two
seed: 6
clip_s: 2
splits: {test: 2}
talkers: {count: 2, sir_db: {uniform: [-2, 2]}}
noise: {snr_db: {uniform: [10, 20]}}
write: {stems: [mixture, target, targets, noise], rows_per_shard: 2}
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, demo_sources: list[Source]) -> Dataset:
    folder = str(tmp_path_factory.mktemp("two") / "d")
    made = generate.generate(parse_recipe(TALKERS), demo_sources, folder, workers=0, quiet=True)[0]
    for name in ("unprocessed", "silence", "oracle"):
        infer(made, load_system(name), workers=0, quiet=True)
    infer(made, misbehaving("two_outputs"), workers=0, quiet=True)
    return made


SEPARATION = ("si_sdr", "sir", "sa_sdr", "missed_sources", "false_sources")


def test_talkers_are_scored_where_the_dataset_has_them(two: Dataset) -> None:
    score.score(two, metrics=SEPARATION, workers=0, quiet=True)
    found = scores(two)
    rows_of = {(s.system_id.split("-")[0], s.mixture_id, s.output, s.metric) for s in found}
    assert len(rows_of) == len(found) == 4 * 2 * (2 * 2 + 3)
    oracle = [s for s in found if s.system_id.startswith("oracle")]
    assert {s.value for s in oracle if s.metric == "si_sdr"} == {80.0}
    assert {s.value for s in oracle if s.metric in ("missed_sources", "false_sources")} == {0}
    unprocessed = {s.output: s.value for s in found if s.system_id.startswith("unprocessed") and s.metric == "si_sdr"}
    assert all(-10 < value < 10 for value in unprocessed.values())
    assert {s.status for s in found if s.system_id.startswith("silence") and s.metric == "sir"} == {"floor"}
    assert {tuple(s.permutation) for s in oracle} == {(0, 1)}


def test_stems_and_target_are_scored_where_they_are_asked_for(two: Dataset) -> None:
    score.score(two, systems=("oracle", "unprocessed"), metrics=("si_sdr",), against="target", workers=0, quiet=True)
    found = [s for s in scores(two) if s.metric == "si_sdr" and s.system_id.split("-")[0] in ("oracle", "unprocessed")]
    assert {(s.output, s.reference) for s in found} == {("estimate", "target")}
    with pytest.raises(UserError, match=r"--against must be one of .* \(did you mean 'talkers'\?\)"):
        score.score(two, against="talker", workers=0)


def test_a_recogniser_and_texts_give_word_errors(demo_sources: list[Source], tmp_path: Path) -> None:
    recipe = parse_recipe(RECIPE.replace("clip_s: 2", "clip_s: 5"))  # longer than the utterances, which stay whole
    dataset = generate.generate(recipe, demo_sources, str(tmp_path / "d"), workers=0, quiet=True)[0]
    infer(dataset, load_system("oracle"), workers=0, quiet=True)
    infer(dataset, misbehaving("says_hello"), workers=0, quiet=True)
    spec = tmp_path / "asr.yaml"
    spec.write_text("name: hello\nkind: recogniser\nmodule: tests.misbehaving:hello_recogniser\nsample_rate: 8000\n")
    score.score(dataset, metrics=("wer", "dwer", "snr"), recogniser=str(spec), workers=0, quiet=True)
    found = scores(dataset)
    dwer = [s for s in found if s.metric == "dwer" and s.system_id.startswith("oracle")]
    assert {s.value for s in dwer} == {0.0}
    assert all("hello-" in s.metric_version for s in dwer)
    wer = [s for s in found if s.metric == "wer" and s.status == "ok"]
    assert wer
    assert all({c.key: c.value for c in s.counts}["total"] > 0 for s in wer)
    texts = [s for s in found if s.system_id.startswith("says_hello") and s.metric == "snr"]
    assert {(s.status, s.reason) for s in texts} == {("skipped", "no_audio")}
    with pytest.raises(UserError, match="kind is 'recogniser', and a metric is wanted here"):
        score.score(dataset, plug_ins=(str(spec),), workers=0)


def test_a_metric_that_is_not_installed_is_skipped_before_any_work(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    infer(dataset, load_system("oracle"), workers=0, quiet=True)
    monkeypatch.setattr(
        score, "missing", lambda metric, models: "needs x: pip install 'hubbub[y]'" if metric.extra else None
    )
    score.score(dataset, metrics=("mcd", "snr"), workers=0, quiet=True)
    found = scores(dataset)
    assert {(s.status, s.reason) for s in found if s.metric == "mcd"} == {
        ("skipped", "needs x: pip install 'hubbub[y]'")
    }
    assert "mcd is skipped: needs x" in capsys.readouterr().err


def test_scores_made_of_scores_and_windows_without_length_are_refused(dataset: Dataset) -> None:
    infer(dataset, load_system("oracle"), workers=0, quiet=True)
    with pytest.raises(UserError, match="--window must be a positive number of seconds, got 0"):
        score.score(dataset, window_s=0, workers=0)
    with pytest.raises(UserError, match="normaliser"):
        score.score(dataset, normaliser="polish", workers=0)
