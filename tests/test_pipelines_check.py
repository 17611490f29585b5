"""`hubbub check` finds what is planted, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests import audio, parquet, schema
from manifests.recipe import parse_recipe
from manifests.schema import KeyText, Mixture, Source
from pipelines import check, generate
from pipelines.dataset import Dataset

RECIPE = """
name: for-check
seed: 4
clip_s: 2
splits: {train: 4, test: 2}
shares: {train: 1, test: 1}
noise: {snr_db: {uniform: [0, 10]}}
write: {stems: [mixture, target, noise, talkers], rows_per_shard: 4}
"""


@pytest.fixture
def dataset(tmp_path: Path, demo_sources: list[Source]) -> Dataset:
    return generate.generate(parse_recipe(RECIPE), demo_sources, str(tmp_path / "d"), workers=0, quiet=True)[0]


def tamper(dataset: Dataset, **changes: Any) -> str:
    """Replace columns of the first training row; returns its id. A callable gets the row."""
    path = dataset.path("mixtures", "train-00000.parquet")
    rows = dataset.mixtures("train-00000")
    new = {name: change(rows[0]) if callable(change) else change for name, change in changes.items()}
    rows[0] = dataclasses.replace(rows[0], **new)
    footer = {k: v for k, v in parquet.read_footer(path).items() if k not in ("digest", "rows", "schema")}
    present = tuple(parquet.read_schema_names(path))
    arrow = schema.arrow_schema(Mixture, present, 16000)
    parquet.write_rows(path, rows, Mixture, digest="tampered", arrow=arrow, **footer)
    return rows[0].mixture_id


def altered(name: str, change: Any) -> Any:
    """The stem `name` with `change` applied to its samples, encoded again."""

    def build(row: Mixture) -> Any:
        grid = np.rint(audio.decode(getattr(row, name))[0] * 2**23)
        return audio.encode(change(grid).astype(np.int32), 16000, "flac24", name)

    return build


def rehashed(name: str, change: Any) -> Any:
    """The row's hashes as they would be had the altered stem been rendered so."""

    def build(row: Mixture) -> list[KeyText]:
        grid = np.rint(audio.decode(getattr(row, name))[0] * 2**23)
        new = audio.sha256(change(grid).astype(np.int32))
        return [KeyText(k.key, new if k.key == name else k.value) for k in row.sha256]

    return build


def rules(dataset: Dataset) -> set[tuple[str, str]]:
    lines, _ = check.check(dataset, workers=0, quiet=True)
    return {(line.split()[0], line.split()[1].rstrip(":")) for line in lines}


def test_a_sound_dataset_has_no_findings(dataset: Dataset) -> None:
    assert check.check(dataset, workers=0, quiet=True) == ([], 6)


def one_step_louder(grid: Any) -> Any:
    out = grid.copy()
    out[0, 1000] += 1
    return out


def test_one_step_of_one_sample_is_seen(dataset: Dataset) -> None:
    name = tamper(dataset, mixture=altered("mixture", one_step_louder))
    assert rules(dataset) == {(name, "sha256"), (name, "sum")}


@pytest.mark.parametrize(
    ("stem", "change", "expected"),
    [
        ("noise", lambda x: np.rint(x * 1.02), {"sum", "snr"}),
        ("target", lambda x: np.roll(x, 3, axis=-1), {"lag"}),
        ("target", lambda x: np.rint(x * (0.95 * 2**23 / np.abs(x).max())), {"peak"}),
    ],
    ids=["noise 0.17 dB louder", "target 3 samples late", "target too loud"],
)
def test_what_a_hash_does_not_see(dataset: Dataset, stem: str, change: Any, expected: set[str]) -> None:
    name = tamper(dataset, **{stem: altered(stem, change), "sha256": rehashed(stem, change)})
    assert rules(dataset) == {(name, rule) for rule in expected}


def test_a_missing_stem_is_seen(dataset: Dataset) -> None:
    name = tamper(dataset, noise=None)
    assert (name, "missing") in rules(dataset)


def test_a_leak_and_a_gap_are_seen(dataset: Dataset) -> None:
    rows = dataset.manifest()
    moved = dataclasses.replace(next(r for r in rows if r.split == "train"), split="test")
    kept = [moved if r.mixture_id == moved.mixture_id else r for r in rows if r is not rows[-1]]
    present = tuple(parquet.read_schema_names(dataset.path("manifest.parquet")))
    parquet.write_rows(dataset.path("manifest.parquet"), kept, Mixture, arrow=schema.arrow_schema(Mixture, present))
    lines, _ = check.check(dataset, workers=0, quiet=True)
    assert any(line == f"gap: {rows[-1].mixture_id}" for line in lines)
    others = [r for r in rows if r.split == "train" and r.mixture_id != moved.mixture_id]
    shared = {r.speaker_id for r in others} & {moved.speaker_id}
    assert any(line.startswith("split: ") for line in lines) or not shared
