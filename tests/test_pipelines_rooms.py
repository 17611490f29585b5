"""Datasets of rooms from recipe to scores: every kind of array, motion, noise and wall, in process and on Ray."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from manifests import audio, parquet
from manifests.recipe import parse_recipe
from manifests.schema import Mixture, Score, Source
from manifests.system import load_system
from pipelines import check, generate, infer, score
from pipelines.dataset import Dataset

HEAD = "name: rooms\nseed: 5\nclip_s: 2\nsplits: {train: 4, test: 2}\nshares: {train: 1, test: 1}\n"
RECIPES = {
    "circle": """
rooms: {probability: 1, rt60_s: {uniform: [0.2, 0.4]}, separation_deg: 20,
        array: {preset: circular, microphones: 4, radius_m: 0.1, jitter_m: 0.002}}
talkers: {count: 2}
noise: {count: 2, place: {choice: [point, diffuse]}}
degrade: [{op: clock, offset_us: {uniform: [0, 64]}, drift_ppm: {uniform: [-20, 20]}}]
write: {stems: [mixture, target, targets, noise, talkers, early, late, reverb, anechoic, direct_window, dry_aligned],
        rows_per_shard: 3}
""",
    "walkers": """
rooms: {probability: 1, rt60_s: {uniform: [0.2, 0.3]}, array: {preset: pair, spacing_m: 0.16},
        motion: {probability: 0.7, step_m: 0.05}}
target: {kind: dry_aligned}
write: {stems: [mixture, target, noise, talkers], rows_per_shard: 3}
""",
    "earbuds": """
sample_rate: 15625
rooms: {probability: 1, rt60_s: {uniform: [0.2, 0.4]}, array: {preset: pair, spacing_m: {uniform: [0.1, 0.25]}},
        wearer: true, interferer_distance_m: {uniform: [1, 2]}, directivity: {pattern: cardioid, facing: random}}
talkers: {count: 2}
noise: {place: own_room}
target: {kind: anechoic}
write: {stems: [mixture, target, noise, talkers], rows_per_shard: 3}
""",
    "walls": """
rooms: {probability: 1, array: {preset: foa}, air: {temperature_c: 15, humidity_percent: 30},
        materials: {floor: carpet_thin, walls: 0.4, ceiling: {125: 0.2, 4000: 0.7}}}
noise: {place: point}
write: {stems: [mixture, target, noise, talkers], rows_per_shard: 3}
""",
    "tail": """
rooms: {probability: 1, rt60_s: 0.6, tail: diffuse, array: {preset: pair}}
write: {stems: [mixture, target, noise, talkers], rows_per_shard: 3}
""",
    "traced": """
rooms: {probability: 1, engine: pyroomacoustics, rt60_s: 0.3, size_m: {height: 2.6},
        traced: {floor_m: [[0, 0], [5, 0], [5, 3], [3, 3], [3, 5], [0, 5]], panels: {count: 1}}}
write: {stems: [mixture, target, noise, talkers], rows_per_shard: 3}
""",
    "thirty_two": """
clip_s: 1
rooms: {probability: 1, rt60_s: 0.2, array: {preset: realman, rotation: full}}
write: {stems: [mixture, target], encoding: wav_float32}
""",
}


def made(name: str, folder: Path, sources: list[Source], workers: int = 0) -> Dataset:
    text = RECIPES[name]
    head = "".join(line + "\n" for line in HEAD.splitlines() if f"\n{line.split(':')[0]}:" not in text)
    dataset, _ = generate.generate(parse_recipe(head + text), sources, str(folder), workers=workers, quiet=True)
    return dataset


def rows_of(dataset: Dataset) -> list[Mixture]:
    return [row for name in dataset.shard_names() for row in dataset.mixtures(name)]


def hashes(root: Path) -> dict[str, str]:
    files = [p for p in sorted(root.rglob("*.parquet")) if "timings" not in p.parts]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("name", RECIPES)
def test_every_row_is_there_and_keeps_its_promises(name: str, tmp_path: Path, demo_sources: list[Source]) -> None:
    dataset = made(name, tmp_path / "d", demo_sources)
    assert check.check(dataset, workers=0, quiet=True) == ([], 6)
    rows = rows_of(dataset)
    assert len(rows) == 6
    for row in rows:
        assert row.mixture is not None
        assert audio.decode(row.mixture)[0].shape == (row.channels, row.frames)
        assert row.channels == len(row.room.array.positions_m if row.room and row.room.array else [0])
        if row.room and row.room.rt60_requested_s:
            assert row.rt60_status == "ok"
            assert row.rt60_s == pytest.approx(row.room.rt60_requested_s, rel=0.1)
        assert all(len(m.channel_delays_samples) == row.channels for m in row.talker_measures)
    found = generate.replay(dataset, rows[3].mixture_id)
    assert found
    assert all(found.values())


@pytest.mark.parametrize("name", ["circle", "walkers", "traced"])
def test_workers_change_no_byte(name: str, tmp_path: Path, demo_sources: list[Source], ray_session: None) -> None:
    made(name, tmp_path / "one", demo_sources)
    made(name, tmp_path / "two", demo_sources, workers=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_an_array_can_be_scored(tmp_path: Path, demo_sources: list[Source]) -> None:
    """Systems get all channels; the reference is channel 0 of the target."""
    dataset = made("walkers", tmp_path / "d", demo_sources)
    for name in ("unprocessed", "oracle", "irm"):
        infer.infer(dataset, load_system(name), workers=0, quiet=True)
    score.score(dataset, workers=0, quiet=True, metrics=["si_sdr"])
    scores = [
        s for p in sorted(Path(dataset.path("scores")).rglob("*.parquet")) for s in parquet.read_rows(str(p), Score)
    ]
    assert len(scores) == 6  # of the two rows of the test split
    by_system: dict[str, list[float]] = {}
    for s in scores:
        assert s.value is not None
        by_system.setdefault(s.system_id.split("-")[0], []).append(s.value)
    assert all(v == 80 for v in by_system["oracle"])
    assert sum(by_system["irm"]) > sum(by_system["unprocessed"])


def test_a_walker_is_labelled(tmp_path: Path, demo_sources: list[Source]) -> None:
    rows = rows_of(made("walkers", tmp_path / "d", demo_sources))
    assert {row.moving for row in rows} == {True, False}
    for row in rows:
        count = len(row.talker_measures[0].directions)
        assert count == (20 if row.moving else 1)
