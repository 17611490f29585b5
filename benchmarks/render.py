"""Generation of one-talker mixtures in rooms, audio files in and Parquet out, against the plain loop.

Ours is `engine.run_shard` over a planned shard, as a worker runs it: plan read, audio rendered, measured, hashed and
encoded, Parquet written. The peer mixes the same files at the same positions with the same RIRs (`plain.generate`).
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
from collections.abc import Mapping
from typing import Any

from augment import acoustics, levels, rooms
from augment import render as augment_render
from benchmarks import corpus, measure, plain
from manifests import audio, parquet
from manifests.recipe import Recipe
from pipelines import engine

__all__ = ["measured_rir", "run"]

STEMS = ["mixture", "target"]
MEASURED = {"probability": 1, "kind": "measured"}
FRESH = {"probability": 1, "kind": "simulated", "rt60_s": {"uniform": [0.3, 0.6]}}
SUBTYPES = {"flac24": "PCM_24", "flac16": "PCM_16"}
STAGES: measure.Places = {
    "decode": [(audio, "read_segment")],
    "simulate": [(rooms, "simulate")],
    "convolve": [(augment_render, "convolve")],
    "measure": [
        *((levels, name) for name in ("active_level", "active_mask", "noise_gain", "rms_dbfs", "snr_all")),
        (acoustics, "measure"),
        (acoustics, "onset"),
    ],
    "hash": [(audio, "sha256")],
    "encode": [(audio, "encode")],
    "parquet": [(parquet, "write_rows"), (parquet, "read_rows")],
}


def measured_rir(rows: int, encoding: str = "flac24", rows_per_shard: int | None = None) -> Recipe:
    """Mixtures with measured RIRs, which the scaling benchmark takes too."""
    return _recipe(rows, MEASURED, encoding, rows_per_shard or rows)


def _recipe(rows: int, room: Mapping[str, Any], encoding: str, rows_per_shard: int) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "benchmark",
            "clip_s": corpus.CLIP_S,
            "sample_rate": corpus.RATE,
            "splits": {"train": f"{rows} clips"},
            "rooms": room,
            "write": {"stems": STEMS, "encoding": encoding, "rows_per_shard": rows_per_shard},
        }
    )


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """All keys of this benchmark."""
    rows, fresh = (2, 1) if quick else (60, 12)
    with tempfile.TemporaryDirectory(prefix="hubbub-bench-") as folder:
        found = corpus.make(os.path.join(folder, "corpus"), clips=rows, others=2 if quick else None)
        compare = functools.partial(_compare, found, folder, rounds)
        results = {
            "measured_rir_mics_1": compare("a", measured_rir(rows), plain.GENERATOR),
            "measured_rir_mics_1_flac16": compare("b", measured_rir(rows, "flac16"), plain.GENERATOR),
            "fresh_room_mics_1": compare("c", _recipe(fresh, FRESH, "flac24", fresh), plain.ROOM_GENERATOR),
        }
    return {"corpus": found.facts, "results": results}


def _compare(
    found: corpus.Corpus, folder: str, rounds: int, name: str, recipe: Recipe, peer_name: str
) -> dict[str, Any]:
    """One key: our stage and the plain loop on the rows of one recipe."""
    job = corpus.planned(found, recipe, os.path.join(folder, name))
    (shard,) = job.shards
    by_id = {source.source_id: source for source in found.sources}
    mixtures = [plain.mixture(plan, by_id) for plan in job.plans]
    subtype, peer_out = SUBTYPES[recipe.write.encoding], os.path.join(folder, f"{name}.parquet")
    ours = functools.partial(_render, job.stage, shard)
    peer = functools.partial(plain.generate, mixtures, peer_out, subtype)
    seconds = measure.interleaved({"ours": ours, "peer": peer, "seeking": functools.partial(peer, seek=True)}, rounds)
    entry = measure.compared(
        seconds["ours"],
        seconds["peer"],
        peer_name=peer_name,
        items=shard.rows,
        stages_ms=measure.stages_ms(ours, STAGES, shard.rows),
    )
    seeking_ms = 1000 * statistics.median(seconds["seeking"]) / shard.rows
    return entry | {
        "times_real_time": round(1000 * corpus.CLIP_S / entry["ours_ms"], 1),
        "peer_seeking_ms": round(seeking_ms, 3),  # the peer, reading only the part of a noise that it uses
        "ratio_seeking": round(seeking_ms / entry["ours_ms"], 3),
    }


def _render(stage: engine.Stage, shard: engine.Shard) -> None:
    counts = engine.run_shard(stage, shard)
    if counts.rows_out != shard.rows:
        raise RuntimeError(f"{counts.rows_out} of {shard.rows} mixtures were rendered: {counts.plain()}")
