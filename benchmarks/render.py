"""Generation of mixtures, audio files in and Parquet out, against the plain loop; and its convolution by itself.

Ours is `engine.run_shard` over a planned shard, as a worker runs it: plan read, audio rendered, measured, hashed and
encoded, Parquet written. The peer, in a process of its own, mixes the same files at the same positions with the same
RIRs (`plain.generate`).

Convolution is `augment.convolve` against `scipy.signal.fftconvolve` in float64, on clips of speech and responses that
decay by 60 dB in their length. `error_db` is that of ours against it, in dB of its energy, the worst of all outputs.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from augment import acoustics, convolve, levels, rooms
from augment import render as augment_render
from benchmarks import corpus, measure, plain
from manifests import audio, parquet
from manifests.recipe import Recipe
from pipelines import engine

__all__ = ["measured_rir", "run"]

STEMS = ["mixture", "target"]
DRY = {"probability": 0}
MEASURED = {"probability": 1, "kind": "measured"}
FRESH = {"probability": 1, "kind": "simulated", "rt60_s": {"uniform": [0.3, 0.6]}}
WIDE = FRESH | {"rt60_s": {"uniform": [0.2, 0.8]}}
CIRCLE_8 = WIDE | {"array": {"preset": "circular", "microphones": 8, "radius_m": 0.1}}
CIRCLE_4 = WIDE | {"array": {"preset": "circular", "microphones": 4, "radius_m": 0.05}, "separation_deg": 20}
MOVING = FRESH | {"motion": {"probability": 1}}
CREEPING = FRESH | {"motion": {"probability": 1, "speed_m_s": 0.05, "step_m": 0.05}}
SUBTYPES = {"flac24": "PCM_24", "flac16": "PCM_16"}
RESPONSES_S = (0.3, 0.4, 0.5, 0.6)
CONVOLUTIONS = 6  # of each response, on a clip each
SLOW_S = 10.0  # of the peer: above it three rounds are enough
STAGES: measure.Places = {
    "decode": [(audio, "read_segment")],
    "simulate": [(rooms, name) for name in ("calibrate", "simulate")],
    "convolve": [(augment_render, "convolve")],
    "measure": [
        *((levels, name) for name in ("active_level", "active_mask", "activity", "noise_gain", "rms_dbfs", "snr_all")),
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


def _recipe(
    rows: int,
    room: Mapping[str, Any],
    encoding: str = "flac24",
    rows_per_shard: int | None = None,
    talkers: int = 1,
    sample_rate: int = corpus.RATE,
) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "benchmark",
            "clip_s": corpus.CLIP_S,
            "sample_rate": sample_rate,
            "splits": {"train": f"{rows} clips"},
            "talkers": {"count": talkers},
            "noise": {"place": "dry"},
            "rooms": room,
            "resample": "any",
            "write": {"stems": STEMS, "encoding": encoding, "rows_per_shard": rows_per_shard or rows},
        }
    )


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """All keys of this benchmark."""
    rows, fresh, few, one = (2, 1, 1, 1) if quick else (60, 60, 6, 1)
    with tempfile.TemporaryDirectory(prefix="hubbub-bench-") as folder:
        found = corpus.make(os.path.join(folder, "corpus"), clips=rows, others=2 if quick else None)
        wide = corpus.make(os.path.join(folder, "corpus48"), clips=max(2, fresh), others=2, rate=48_000)
        jobs = {
            "dry_mics_1": (found, _recipe(rows, DRY), plain.GENERATOR),
            "measured_rir_mics_1": (found, measured_rir(rows), plain.GENERATOR),
            "measured_rir_mics_1_flac16": (found, measured_rir(rows, "flac16"), plain.GENERATOR),
            "fresh_room_mics_1": (found, _recipe(fresh, FRESH), plain.ROOM_GENERATOR),
            "fresh_room_mics_1_flac16": (found, _recipe(fresh, FRESH, "flac16"), plain.ROOM_GENERATOR),
            "fresh_room_wide_mics_1": (found, _recipe(fresh, WIDE), plain.ROOM_GENERATOR),
            "fresh_room_mics_8": (found, _recipe(few, CIRCLE_8), plain.ROOM_GENERATOR),
            "fresh_room_talkers_2_mics_4": (found, _recipe(few, CIRCLE_4, talkers=2), plain.ROOM_GENERATOR),
            "fresh_room_48k_mics_1": (wide, _recipe(few, FRESH, sample_rate=48_000), plain.ROOM_GENERATOR),
            "moving_talker_mics_1": (found, _recipe(one, CREEPING if quick else MOVING), plain.ROOM_GENERATOR),
        }
        results = {key: _compare(*job, folder, key, rounds, quick) for key, job in jobs.items()}
        for channels in (1, 8):
            results[f"convolve_channels_{channels}"] = _convolved(found, channels, 1 if quick else CONVOLUTIONS, rounds)
    return {"corpus": found.facts, "results": results}


def _compare(
    found: corpus.Corpus, recipe: Recipe, peer_name: str, folder: str, name: str, rounds: int, quick: bool
) -> dict[str, Any]:
    """One key: our stage and the plain loop on the rows of one recipe."""
    job = corpus.planned(found, recipe, os.path.join(folder, name))
    (shard,) = job.shards
    by_id = {source.source_id: source for source in found.sources}
    mixtures = [plain.mixture(plan, by_id) for plan in job.plans]
    subtype, peer_out = SUBTYPES[recipe.write.encoding], os.path.join(folder, f"{name}.parquet")
    ours = functools.partial(_render, job.stage, shard)
    peer = functools.partial(plain.generate, mixtures, peer_out, subtype)
    apart = measure.Apart(peer)
    slow = quick or apart() > SLOW_S
    contenders: dict[str, Any] = {"ours": ours, "peer": apart}
    if not slow:
        contenders["seeking"] = measure.Apart(functools.partial(peer, seek=True))
    try:
        seconds = measure.interleaved(contenders, min(rounds, 3) if slow else rounds)
    finally:
        for contender in contenders.values():
            if isinstance(contender, measure.Apart):
                contender.close()
    entry = measure.compared(
        seconds["ours"],
        seconds["peer"],
        peer_name=peer_name,
        items=shard.rows,
        stages_ms=measure.stages_ms(ours, STAGES, shard.rows),
    )
    entry["times_real_time"] = round(1000 * corpus.CLIP_S / entry["ours_ms"], 1)
    if slow:
        return entry
    seeking_ms = 1000 * statistics.median(seconds["seeking"]) / shard.rows
    return entry | {
        "peer_seeking_ms": round(seeking_ms, 3),  # the peer, reading only the part of a noise that it uses
        "ratio_seeking": round(seeking_ms / entry["ours_ms"], 3),
    }


def _render(stage: engine.Stage, shard: engine.Shard) -> None:
    counts = engine.run_shard(stage, shard)
    if counts.rows_out != shard.rows:
        raise RuntimeError(f"{counts.rows_out} of {shard.rows} mixtures were rendered: {counts.plain()}")


def _convolved(found: corpus.Corpus, channels: int, each: int, rounds: int) -> dict[str, Any]:
    """One key: clips through responses with so many channels."""
    rng = np.random.default_rng(corpus.SEED)
    clips = [sf.read(source.uri, dtype="float32")[0] for source in found.of_kind("speech")[:each]]
    pairs = [(x, _decaying(rng, channels, seconds)) for seconds in RESPONSES_S for x in clips]
    wide = [(x.astype(np.float64)[np.newaxis], h.astype(np.float64)) for x, h in pairs]
    seconds = measure.interleaved(
        {
            "ours": functools.partial(_each, convolve.convolve, pairs),
            "peer": functools.partial(_each, functools.partial(fftconvolve, axes=-1), wide),
        },
        rounds,
    )
    error_db = max(
        _error_db(convolve.convolve(*pair), fftconvolve(*exact, axes=-1))
        for pair, exact in zip(pairs, wide, strict=True)
    )
    return measure.compared(
        seconds["ours"],
        seconds["peer"],
        peer_name=plain.CONVOLVER,
        items=len(pairs),
        error_db=round(error_db, 1),
    )


def _each(function: Callable[..., object], pairs: Sequence[tuple[Any, Any]]) -> None:
    for pair in pairs:
        function(*pair)


def _decaying(rng: np.random.Generator, channels: int, seconds: float) -> NDArray[np.float32]:
    """Noise that decays by 60 dB, (channels, taps)."""
    taps = round(seconds * corpus.RATE)
    h = rng.standard_normal((channels, taps)) * 10 ** (-3 * np.arange(taps) / taps)
    return np.asarray(h, dtype=np.float32)


def _error_db(found: NDArray[np.float32], exact: NDArray[np.float64]) -> float:
    """Of the worst channel."""
    errors = np.mean((found - exact) ** 2, axis=-1) / np.mean(exact**2, axis=-1)
    return float(10 * np.log10(errors.max()))
