"""From a recipe to a dataset, on the embedded corpus."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from manifests import audio, parquet
from manifests.errors import UserError
from manifests.recipe import Recipe, parse_recipe
from manifests.schema import Dropped, Mixture, Source
from pipelines import check, generate
from pipelines.dataset import Dataset

RECIPE = """
name: small
seed: 7
clip_s: 2.5
splits: {train: 18, valid: 6, test: 6}
shares: {train: 2, valid: 1, test: 1}
talkers: {count: {choice: {1: 0.7, 2: 0.3}}}
noise: {count: {choice: {1: 0.8, 2: 0.2}}, snr_db: {uniform: [-5, 20]}}
rooms:
  probability: 0.4
  size_m: {length: {uniform: [3, 5]}, width: {uniform: [3, 4]}, height: 2.5}
  rt60_s: {uniform: [0.15, 0.3]}
write: {stems: [mixture, target, noise, talkers, early, late], rows_per_shard: 5}
"""


def edited(*changes: tuple[str, str]) -> Recipe:
    text = RECIPE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_recipe(text)


def hashes(root: Path) -> dict[str, str]:
    """Every table of a dataset except the timings."""
    files = [p for p in sorted(root.rglob("*.parquet")) if "timings" not in p.parts]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, demo_sources: list[Source]) -> Dataset:
    """The dataset of RECIPE, made in process."""
    root = tmp_path_factory.mktemp("made") / "dataset"
    dataset, result = generate.generate(edited(), demo_sources, str(root), workers=0, quiet=True)
    assert result.counts.done == 30
    return dataset


@pytest.fixture(scope="module")
def rows(made: Dataset) -> list[Mixture]:
    return [row for shard in made.shard_names() for row in made.mixtures(shard)]


def test_decoded_from_parquet_every_promise_holds(made: Dataset) -> None:
    assert check.check(made, workers=0, quiet=True) == ([], 30)


def test_the_mixture_is_the_sum_of_its_stems_to_the_last_bit(rows: list[Mixture]) -> None:
    for row in rows:
        stems = [audio.decode(getattr(row, f"talker_{k + 1}"))[0] for k in range(len(row.talkers))]
        noise, mixture = (audio.decode(getattr(row, name))[0] for name in ("noise", "mixture"))
        assert np.array_equal(np.sum([*stems, noise], axis=0, dtype=np.float64), mixture.astype(np.float64))
        early, late = (audio.decode(getattr(row, name))[0] for name in ("early", "late"))
        assert np.array_equal(early.astype(np.float64) + late, stems[0].astype(np.float64))
        assert row.residual_dbfs is None


def test_requested_levels_and_ratios_are_achieved(rows: list[Mixture]) -> None:
    for row in rows:
        assert row.talkers[0].level_dbfs is not None
        assert row.level_dbfs == pytest.approx(row.talkers[0].level_dbfs + row.gain_db, abs=0.02)
        for noise, measured in zip(row.noises, row.noise_measures, strict=True):
            assert measured.snr_p56_active_db == pytest.approx(noise.snr_db, abs=0.1)
        for talker, measure in zip(row.talkers[1:], row.talker_measures[1:], strict=True):
            assert measure.sir_db == pytest.approx(talker.sir_db, abs=0.1)


def test_nothing_written_exceeds_the_peak(rows: list[Mixture]) -> None:
    for row in rows:
        peaks = [np.abs(audio.decode(a)[0]).max() for n in ("mixture", "target", "noise") if (a := getattr(row, n))]
        assert max(peaks) <= 0.9
        assert row.peak == pytest.approx(max(peaks), abs=1e-6) or row.peak > max(peaks)
    assert any(row.gain_reason == "peak" for row in rows) == any(row.gain_db < 0 for row in rows)


def test_in_a_room_the_direct_sound_is_where_geometry_says(rows: list[Mixture]) -> None:
    reverberant = [row for row in rows if row.room]
    assert 4 <= len(reverberant) <= 20
    for row in reverberant:
        assert row.room is not None
        assert row.room.array is not None
        microphone = np.array(row.room.array.positions_m[0])
        for talker, measure in zip(row.talkers, row.talker_measures, strict=True):
            distance = float(np.linalg.norm(np.array(talker.position_m) - microphone))
            assert measure.distance_m == pytest.approx(distance, abs=1e-9)
            assert measure.direct_delay_samples == pytest.approx(distance / 343 * 16000, abs=1e-6)
    measured = [row for row in reverberant if row.rt60_s is not None]  # a very dry room may have no decay range
    assert len(measured) > 0.7 * len(reverberant)
    assert all(row.rt60_s is None for row in rows if not row.room)


def test_no_split_shares_a_speaker_a_recording_or_a_source(made: Dataset, rows: list[Mixture]) -> None:
    assert parquet.row_count(made.path("leaks.parquet")) == 0
    sources = {s.source_id: s for s in made.sources()}
    for of in (
        lambda row: {t.speaker_id for t in row.talkers},
        lambda row: {n.recording_id for n in row.noises},
        lambda row: {sources[s.source_id].recording_id for t in row.talkers for s in t.segments},
    ):
        used = {split: set().union(*(of(r) for r in rows if r.split == split)) for split in ("train", "valid", "test")}
        assert not (used["train"] & used["valid"] | used["train"] & used["test"] | used["valid"] & used["test"])


def test_every_planned_row_is_in_the_manifest(made: Dataset) -> None:
    planned = [row.mixture_id for shard in made.shard_names("plan") for row in made.plans(shard)]
    assert sorted(planned) == sorted(row.mixture_id for row in made.manifest())
    assert len(set(planned)) == 30


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_byte(
    tmp_path: Path, made: Dataset, demo_sources: list[Source], ray_session: None, workers: int
) -> None:
    shuffled = random.Random(workers).sample(demo_sources, len(demo_sources))
    generate.generate(edited(), shuffled, str(tmp_path / "d"), workers=workers, quiet=True)
    ours, expected = hashes(tmp_path / "d"), hashes(Path(made.root))
    assert {k: v for k, v in ours.items() if not k.startswith("check")} == {
        k: v for k, v in expected.items() if not k.startswith("check")
    }


KILLED = """
import sys
import threading
from manifests import parquet
from manifests.recipe import parse_recipe
from manifests.schema import Source
from pipelines import generate
recipe = parse_recipe(open(sys.argv[1]).read())
generate.generate(recipe, parquet.read_rows(sys.argv[2], Source), sys.argv[3], workers=int(sys.argv[4]), quiet=True)
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_after_kill_9_of_the_driver_a_second_run_gives_the_same_bytes(
    tmp_path: Path, made: Dataset, demo_table: str, demo_sources: list[Source], workers: int
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    root = tmp_path / "d"
    arguments = [str(tmp_path / "recipe.yaml"), demo_table, str(root), str(workers)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((root / "mixtures").glob("*.parquet")):
        assert time.monotonic() < deadline, "no shard was ever written"
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = len(list((root / "mixtures").glob("*.parquet")))
    assert not (root / "manifest.parquet").exists()  # it was in the middle
    _, result = generate.generate(edited(), demo_sources, str(root), workers=0, quiet=True)
    assert result.shards_resumed >= min(done, 1)
    expected = {k: v for k, v in hashes(Path(made.root)).items() if not k.startswith("check")}
    assert hashes(root) == expected


def test_replay_of_random_rows_is_byte_exact(made: Dataset, rows: list[Mixture]) -> None:
    for row in random.Random(0).sample(rows, 20):
        found = generate.replay(made, row.mixture_id)
        assert set(found) >= {"mixture", "target", "noise", "talker_1", "early", "late"}
        assert all(found.values()), found


def test_replay_sees_a_changed_sample(made: Dataset, rows: list[Mixture], monkeypatch: pytest.MonkeyPatch) -> None:
    original = generate._load
    monkeypatch.setattr(generate, "_load", lambda *arguments: original(*arguments) * np.float32(1.0001))
    found = generate.replay(made, rows[0].mixture_id)
    assert not all(found.values())


def test_growth_keeps_every_row(tmp_path: Path, made: Dataset, demo_sources: list[Source]) -> None:
    before = {row.mixture_id: row.sha256 for row in made.manifest()}
    grown, _ = generate.generate(
        edited(("train: 18", "train: 24")), demo_sources, str(tmp_path / "d"), workers=0, quiet=True
    )
    after = {row.mixture_id: row.sha256 for row in grown.manifest()}
    assert len(after) == 36
    assert {name: after[name] for name in before} == before


def test_growth_in_place_renders_only_what_is_new(tmp_path: Path, demo_sources: list[Source]) -> None:
    small = edited(("train: 18", "train: 5"), ("valid: 6", "valid: 2"), ("test: 6", "test: 2"))
    generate.generate(small, demo_sources, str(tmp_path / "d"), workers=0, quiet=True)
    first = hashes(tmp_path / "d")
    larger = edited(("train: 18", "train: 10"), ("valid: 6", "valid: 2"), ("test: 6", "test: 2"))
    _, result = generate.generate(larger, demo_sources, str(tmp_path / "d"), workers=0, quiet=True)
    assert result.shards_resumed == 3
    kept = {name: digest for name, digest in hashes(tmp_path / "d").items() if name.startswith("mixtures")}
    assert kept.items() >= {name: digest for name, digest in first.items() if name.startswith("mixtures")}.items()


def test_another_stem_changes_no_draw(tmp_path: Path, demo_sources: list[Source]) -> None:
    sizes = (("train: 18", "train: 3"), ("valid: 6", "valid: 1"), ("test: 6", "test: 1"))
    dataset, _ = generate.generate(edited(*sizes), demo_sources, str(tmp_path / "d"), workers=0, quiet=True)
    before = {r.mixture_id: {k.key: k.value for k in r.sha256} for r in dataset.manifest()}
    more = edited(*sizes, ("early, late]", "early, late, direct, dry_aligned, image]"))
    dataset, _ = generate.generate(more, demo_sources, str(tmp_path / "d"), workers=0, quiet=True)
    after = {r.mixture_id: {k.key: k.value for k in r.sha256} for r in dataset.manifest()}
    assert all(after[name].items() >= signals.items() for name, signals in before.items())
    assert {"direct", "dry_aligned", "image"} <= set(next(iter(after.values())))


def test_a_folder_of_another_recipe_is_refused_naming_the_first_difference(
    made: Dataset, demo_sources: list[Source]
) -> None:
    with pytest.raises(UserError, match=r"another recipe: noise\.snr_db\.uniform\[0\]: was -5\.0, now 0\.0"):
        generate.generate(edited(("[-5, 20]", "[0, 20]")), demo_sources, made.root, workers=0, quiet=True)


def test_a_folder_of_other_sources_is_refused(made: Dataset, demo_sources: list[Source]) -> None:
    fewer = [s for s in demo_sources if s.noise_class != "siren"]
    with pytest.raises(UserError, match="was made from other sources"):
        generate.generate(edited(), fewer, made.root, workers=0, quiet=True)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path, demo_sources: list[Source]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"not empty \(thesis\.tex"):
        generate.generate(edited(), demo_sources, str(tmp_path), workers=0, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_split_that_cannot_be_filled_without_leaking_stops_the_build(
    tmp_path: Path, demo_sources: list[Source]
) -> None:
    two = [s for s in demo_sources if s.kind == "noise" or s.speaker_id in ("demo_ada", "demo_ben")]
    with pytest.raises(
        UserError, match=r"speech: 2 group\(s\).*cannot fill the splits train, valid, test without leaking"
    ):
        generate.generate(edited(), two, str(tmp_path / "d"), workers=0, quiet=True)
    assert not (tmp_path / "d").exists()


def test_a_planted_leak_stops_the_build(
    tmp_path: Path, demo_sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate.splits.assign

    def leaky(kept: list[Source], shares: dict[str, float], seed: int) -> dict[str, str]:
        out = whole(kept, shares, seed)
        moved = next(s for s in kept if s.kind == "speech" and out[s.source_id] == "train")
        return out | {moved.source_id: "test"}

    monkeypatch.setattr(generate.splits, "assign", leaky)
    with pytest.raises(UserError, match=r"the plan leaks between splits: speech speaker demo_\w+ in test and train"):
        generate.generate(edited(("test: 6", "test: 60")), demo_sources, str(tmp_path / "d"), workers=0, quiet=True)


def test_a_silent_stretch_is_a_dropped_row_that_adds_up(tmp_path: Path, demo_sources: list[Source]) -> None:
    import soundfile as sf

    silent = tmp_path / "silent.flac"
    victim = next(s for s in demo_sources if s.kind == "noise" and s.noise_class == "hum_50hz")
    sf.write(silent, np.zeros(victim.frames or 0, dtype=np.int16), 16000)
    altered = [dataclasses.replace(s, uri=str(silent)) if s is victim else s for s in demo_sources]
    dataset, result = generate.generate(edited(), altered, str(tmp_path / "d"), workers=0, quiet=True)
    dropped = [r for r in dataset.aside("dropped") if isinstance(r, Dropped)]
    assert dropped, "no row used the silenced noise: choose another victim"
    assert {(r.reason, r.source_id) for r in dropped} == {("no_snr", victim.source_id)}
    assert len(dataset.manifest()) + len(dropped) == 30 == result.counts.rows_in


def test_missing_audio_fails_its_rows_by_name_and_breaks_the_budget(tmp_path: Path, demo_sources: list[Source]) -> None:
    gone = [dataclasses.replace(s, uri="/nowhere/x.flac") if s.speaker_id == "demo_ada" else s for s in demo_sources]
    dataset, result = generate.generate(edited(), gone, str(tmp_path / "d"), workers=0, quiet=True)
    failed = dataset.aside("failed")
    assert failed
    assert all("/nowhere/x.flac" in row.message for row in failed)
    assert not result.within_budget
    assert len(dataset.manifest()) + len(failed) == 30


def test_pandas_and_pyarrow_read_the_manifest_without_audio(made: Dataset) -> None:
    frame = pd.read_parquet(made.path("manifest.parquet"))
    assert len(frame) == 30
    assert "mixture" not in frame.columns
    shard = pq.ParquetFile(made.path("mixtures", "train-00000.parquet"))
    assert shard.read(columns=["mixture_id", "snr_db"]).num_columns == 2
    scalar = sum(shard.metadata.row_group(0).column(i).total_compressed_size for i in range(20))
    assert scalar < 20_000


def test_hugging_face_datasets_sees_playable_audio(made: Dataset, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = [made.path("mixtures", f"{name}.parquet") for name in made.shard_names(split="valid")]
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    feature = loaded.features["mixture"]
    assert isinstance(feature, datasets.Audio)
    assert feature.sampling_rate == 16000
    if int(datasets.__version__.split(".")[0]) < 4:  # later versions decode through torchcodec, which needs FFmpeg
        played = loaded[0]["mixture"]
        assert (played["array"].shape, played["sampling_rate"]) == ((40000,), 16000)
    stored = loaded.select_columns(["mixture"]).cast_column("mixture", datasets.Audio(decode=False))[0]["mixture"]
    samples, rate = audio.decode(stored)
    assert (samples.shape, rate) == ((1, 40000), 16000)


def test_the_plan_command_reads_no_audio(demo_sources: list[Source]) -> None:
    nowhere = [dataclasses.replace(s, uri="/nowhere/at/all.wav") for s in demo_sources]
    rows, _, estimate = generate.make_plan(edited(), nowhere)
    assert estimate.rows == {"train": 18, "valid": 6, "test": 6}
    assert estimate.hours["train"] == pytest.approx(18 * 2.5 / 3600)
    assert sum(len(part) for part in rows.values()) == 30
    assert estimate.gigabytes > 0
    assert estimate.core_hours > 0


def ray_workers_at_work() -> list[int]:
    """Process ids of this session's workers that run a shard now: Ray writes the task's name into the process title."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::run_shard") and os.getpid() in ancestors(int(folder.name)):
            found.append(int(folder.name))
    return found


def ancestors(pid: int) -> list[int]:
    """The parent of a process, its parent, and so on."""
    out = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
        out.append(pid)
    return out


@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds workers through /proc")
def test_after_kill_9_of_a_worker_the_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, made: Dataset, demo_sources: list[Source], ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for pid in ray_workers_at_work()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.002)

    killer = threading.Thread(target=kill_one)
    killer.start()
    _, result = generate.generate(edited(), demo_sources, str(tmp_path / "d"), workers=2, quiet=True)
    killer.join()
    assert killed, "no worker was ever seen"
    assert "its worker died" in capsys.readouterr().err
    assert result.counts.done == 30
    expected = {k: v for k, v in hashes(Path(made.root)).items() if not k.startswith("check")}
    assert hashes(tmp_path / "d") == expected


def test_a_dataset_can_live_behind_a_url(made: Dataset, demo_sources: list[Source]) -> None:
    fsspec = pytest.importorskip("fsspec")
    url = "memory://bucket/dataset"
    dataset, result = generate.generate(edited(), demo_sources, url, workers=0, quiet=True)
    assert result.counts.done == 30
    files = fsspec.filesystem("memory")
    ours = Path(made.root, "mixtures", "train-00000.parquet").read_bytes()
    assert files.cat("/bucket/dataset/mixtures/train-00000.parquet") == ours
    again = generate.generate(edited(), demo_sources, url, workers=0, quiet=True)[1]
    assert again.shards_resumed == again.shards
    assert check.check(dataset, workers=0, quiet=True) == ([], 30)
    files.rm("/bucket", recursive=True)
