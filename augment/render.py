"""One mixture from one row of the plan: a deterministic function of the row and the samples it names.

Conventions
    Signals are float32 at the mixture's rate until the common gain is known, then integers on the grid of the written
    format (`bits`).
    mixture = sum of talker images + noise holds on the integers, so it holds to the last bit after decoding; late =
    image - early likewise. All levels and SNRs that are stored are measured on the integers that are written.

    Order: convolve; scale talker 0 to its level, the others by their SIR; scale each noise to its SNR against talker
    0's image; one common gain where a signal would exceed `peak`; round; measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import acoustics, levels, rooms, targets, timing
from augment.acoustics import Acoustics
from augment.convolve import convolve
from manifests.errors import Refused
from manifests.recipe import stem_columns
from manifests.schema import NoiseMeasure, NoiseTrack, Plan, Segment, Talker, TalkerMeasure

__all__ = ["Rendered", "Response", "measured_response", "render"]

Signal = NDArray[np.float32]
Grid = NDArray[np.int32]
Load = Callable[[Segment], Signal]

LoadRir = Callable[[Talker], "Response"]

PARTS = ("image", "early", "direct", "dry_aligned")


@dataclass(frozen=True)
class Rendered:
    """Written signals by stem name, shape (channels, samples) on the integer grid, and what was measured on them."""

    signals: dict[str, Grid]
    gain_db: float
    gain_reason: str | None
    peak: float
    residual_dbfs: float | None
    level_dbfs: float | None
    snr_db: float | None
    sir_db: float | None
    overlap_ratio: float | None
    talkers: list[TalkerMeasure]
    noises: list[NoiseMeasure]


@dataclass(frozen=True)
class Response:
    """A talker's way to the microphones: the RIR (channels, taps), and where its direct sound is."""

    h: Signal
    onset: int
    delay_samples: float | None = None
    gain: float | None = None
    geometry: rooms.Geometry | None = None
    acoustics: Acoustics | None = None


def measured_response(h: Signal, sample_rate: int) -> Response:
    """A measured RIR (channels, taps) with its onset and acoustics; a caller that uses it often keeps the result."""
    if not h.any():
        raise Refused("silent_rir", "the channel of the RIR is silent")
    found = acoustics.measure(h[0], sample_rate)
    return Response(h, found.onset_samples, acoustics=found)


def render(plan: Plan, *, load: Load, load_rir: LoadRir, stems: Sequence[str], bits: int, peak: float) -> Rendered:
    """Render a row. Raises Refused where a talker or a noise turns out silent."""
    responses = _responses(plan, load_rir)
    dry = [_track(t.segments, load, plan.frames) for t in plan.talkers]
    parts = _target_parts(plan, dry[0], responses[0], _wanted(plan, stems))
    images = [parts["image"], *(_image(d, r, plan.frames) for d, r in zip(dry[1:], responses[1:], strict=True))]
    activity = levels.activity(images[0][0], plan.sample_rate)
    gains = _talker_gains(plan, images, activity)
    parts = {name: part * gains[0] for name, part in parts.items()}
    images = [parts["image"], *(image * g for image, g in zip(images[1:], gains[1:], strict=True))]
    noises = [_noise(plan, n, images[0], activity.after(float(gains[0])), load) for n in plan.noises]
    signals, gain = _written(plan, parts, images, noises, stems, bits, peak)
    return _measured(plan, signals, gain, [n * np.float32(gain) for n in noises], responses, stems, bits)


# ---------------------------------------------------------------------------------------------------------- images


def _responses(plan: Plan, load_rir: LoadRir) -> list[Response | None]:
    if plan.room is None:
        return [None] * len(plan.talkers)
    if plan.room.engine == "measured":
        return [load_rir(t) for t in plan.talkers]
    room = plan.room
    positions = [t.position_m or [] for t in plan.talkers]
    microphones = room.array_positions_m or []
    found = rooms.simulate(
        size_m=room.size_m or [],
        absorption=room.absorption or 0.0,
        max_order=room.max_order or 0,
        sources_m=positions,
        microphones_m=microphones,
        sample_rate=plan.sample_rate,
    )
    return [_simulated_response(h, p, microphones[0], plan.sample_rate) for h, p in zip(found, positions, strict=True)]


def _simulated_response(
    h: Signal, source_m: Sequence[float], microphone_m: Sequence[float], sample_rate: int
) -> Response:
    geometry = rooms.geometry(source_m=source_m, microphone_m=microphone_m)
    delay = geometry.delay_samples(sample_rate)
    found = acoustics.measure(h[0], sample_rate, onset=round(delay))
    return Response(h, round(delay), delay, geometry.gain, geometry, found)


def _track(segments: Sequence[Segment], load: Load, frames: int) -> Signal:
    return timing.assemble([(load(s), s.at) for s in segments], length=frames)


def _image(dry: Signal, response: Response | None, frames: int) -> Signal:
    return dry[np.newaxis] if response is None else convolve(dry, response.h, length=frames)


def _wanted(plan: Plan, stems: Sequence[str]) -> list[str]:
    """The parts of talker 0 that are to be computed."""
    names = {"image"} | {s for s in stems if s in PARTS}
    names |= {plan.target_kind} if "target" in stems else set()
    names |= {"early"} if "late" in stems else set()
    return [name for name in PARTS if name in names]


def _target_parts(plan: Plan, dry: Signal, response: Response | None, names: Sequence[str]) -> dict[str, Signal]:
    """Talker 0 through the whole RIR and through the parts of it that are wanted, in one pass over the source's
    spectrum.
    """
    if response is None:
        return dict.fromkeys(names, dry[np.newaxis])
    filters = [_filter(name, plan, response) for name in names]
    taps = max(f.shape[1] for f in filters)
    bank = np.concatenate([np.pad(f, ((0, 0), (0, taps - f.shape[1]))) for f in filters])
    rows = convolve(dry, bank, length=plan.frames).reshape(len(names), -1, plan.frames)
    return dict(zip(names, rows, strict=True))


def _filter(name: str, plan: Plan, response: Response) -> Signal:
    h, onset, rate = response.h, response.onset, plan.sample_rate
    if name == "early":
        return targets.split_rir(h, onset=onset, sample_rate=rate, early_ms=plan.early_ms or 50.0)[0]
    if name == "direct":
        return targets.direct_path(h, onset=onset, sample_rate=rate)
    if name == "dry_aligned":
        return targets.dry_aligned_filter(
            h, onset=onset, sample_rate=rate, delay_samples=response.delay_samples, gain=response.gain
        )
    return h


# ---------------------------------------------------------------------------------------------------------- levels


def _span(talker: Talker) -> tuple[int, int]:
    """Where a talker was placed: first to last sample."""
    return min(s.at for s in talker.segments), max(s.at + s.length for s in talker.segments)


def _level(image: Signal, talker: Talker, active: levels.ActiveLevel | None) -> float:
    """Level of an image on channel 0 under the recipe's definition."""
    rms = talker.level_kind == "rms"
    level = levels.rms_dbfs(image[0][slice(*_span(talker))]) if rms else active.level_dbfs if active else None
    if level is None:
        raise Refused(
            "silent_talker",
            f"no active speech in the part of {talker.segments[0].source_id} that was drawn",
            talker.segments[0].source_id,
        )
    return level


def _talker_gains(plan: Plan, images: Sequence[Signal], activity: levels.Activity) -> list[np.float32]:
    """Talker 0 goes to its level; every other one to talker 0's level minus its SIR."""
    active = [activity.level, *(levels.active_level(image[0], plan.sample_rate) for image in images[1:])]
    found = [_level(i, t, a) for i, t, a in zip(images, plan.talkers, active, strict=True)]
    first = plan.talkers[0].level_dbfs or 0.0
    wanted = [first, *(first - (t.sir_db or 0.0) for t in plan.talkers[1:])]
    return [np.float32(levels.from_db(w - f)) for w, f in zip(wanted, found, strict=True)]


def _noise(plan: Plan, track: NoiseTrack, image: Signal, activity: levels.Activity, load: Load) -> Signal:
    """A noise at its SNR against talker 0's image, (channels, samples)."""
    noise = _track(track.segments, load, plan.frames)
    try:
        gain = levels.noise_gain(
            speech=image[0],
            noise=noise,
            sample_rate=plan.sample_rate,
            kind=track.snr_kind,
            snr_db=track.snr_db,
            span=_span(plan.talkers[0]),
            speech_activity=activity,
        )
    except ValueError as error:
        raise Refused("no_snr", f"noise {track.source_id}: {error}", track.source_id) from None
    return np.repeat((noise * np.float32(gain))[np.newaxis], image.shape[0], axis=0)


# ------------------------------------------------------------------------------------------ rounding and measuring


def _written(
    plan: Plan,
    parts: dict[str, Signal],
    images: list[Signal],
    noises: list[Signal],
    stems: Sequence[str],
    bits: int,
    peak: float,
) -> tuple[dict[str, Grid], float]:
    """The written signals on the integer grid after the common gain, and that gain."""
    noise = np.sum(noises, axis=0, dtype=np.float32) if noises else np.zeros_like(images[0])
    mixture = np.sum([*images, noise], axis=0, dtype=np.float64)
    loudest = max(float(np.abs(x).max()) for x in (mixture, noise, *images, *parts.values()))
    room = peak - (len(images) + 2) / 2 ** (bits - 1)  # rounding may add half a step per stem
    gain = min(1.0, room / loudest)
    grid = {name: _round(part * gain, bits) for name, part in parts.items()}
    talkers = [grid["image"], *(_round(image * gain, bits) for image in images[1:])]
    grid["noise"] = _round(noise * gain, bits)
    grid["mixture"] = np.sum([*talkers, grid["noise"]], axis=0, dtype=np.int32)
    grid |= {f"talker_{k + 1}": talker for k, talker in enumerate(talkers)}
    if plan.target_kind in grid:
        grid["target"] = grid[plan.target_kind]
    if "early" in grid:
        grid["late"] = grid["image"] - grid["early"]
    return grid, gain


def _round(x: NDArray[Any], bits: int) -> Grid:
    grid: Grid = np.rint(x * np.float32(2 ** (bits - 1))).astype(np.int32)  # a power of two: exact in float32
    return grid


def _measured(
    plan: Plan,
    grid: dict[str, Grid],
    gain: float,
    noises: list[Signal],
    responses: Sequence[Response | None],
    stems: Sequence[str],
    bits: int,
) -> Rendered:
    step = np.float32(2.0 ** (1 - bits))
    talkers = [grid[f"talker_{k + 1}"][0] * step for k in range(len(plan.talkers))]
    span, rate = _span(plan.talkers[0]), plan.sample_rate
    activities = [levels.activity(talker, rate) for talker in talkers]
    heard = [grid["noise"][0] * step] if len(noises) == 1 else [noise[0] for noise in noises]
    each = [
        levels.snr_all(speech=talkers[0], noise=noise, sample_rate=rate, span=span, speech_activity=activities[0])
        for noise in heard
    ]
    kind = plan.noises[0].snr_kind if plan.noises else "p56_active"
    total = each[0].get(kind) if len(each) == 1 else _snr(talkers[0], grid["noise"][0] * step, kind, span, rate)
    others: Signal | None = np.asarray(np.sum(talkers[1:], axis=0, dtype=np.float32)) if len(talkers) > 1 else None
    written = {name: grid[name] for name in stem_columns(stems, len(talkers))}
    residual = grid["mixture"] - sum(grid[f"talker_{k + 1}"] for k in range(len(talkers))) - grid["noise"]
    measures = [_talker_measure(plan, k, talkers[k], activities, responses[k]) for k in range(len(talkers))]
    return Rendered(
        signals=written,
        gain_db=20 * math.log10(gain),
        gain_reason="peak" if gain < 1 else None,
        peak=max(float(np.abs(x).max()) for x in written.values()) * float(step),
        residual_dbfs=levels.rms_dbfs((residual * step).ravel()),
        level_dbfs=measures[0].level_dbfs,
        snr_db=total,
        sir_db=None if others is None else _snr(talkers[0], others, kind, span, rate),
        overlap_ratio=_overlap(activities),
        talkers=measures,
        noises=[_noise_measure(n, snr) for n, snr in zip(heard, each, strict=True)],
    )


def _snr(speech: Signal, noise: Signal, kind: str, span: tuple[int, int], sample_rate: int) -> float | None:
    if not noise.any():
        return None
    return levels.snr_db(speech=speech, noise=noise, sample_rate=sample_rate, kind=kind, span=span)


def _overlap(activities: Sequence[levels.Activity]) -> float | None:
    """Share of the time with speech in which two or more talk."""
    if len(activities) < 2:
        return None
    speaking = np.sum([a.mask for a in activities], axis=0)
    return round(float((speaking > 1).sum() / max((speaking > 0).sum(), 1)), 6)


def _talker_measure(
    plan: Plan, number: int, talker: Signal, activities: Sequence[levels.Activity], response: Response | None
) -> TalkerMeasure:
    active, first = activities[number].level, activities[0].level
    room = response.acoustics if response else None
    seen = response.geometry if response else None
    return TalkerMeasure(
        level_dbfs=active.level_dbfs if active else None,
        rms_dbfs=levels.rms_dbfs(talker[slice(*_span(plan.talkers[number]))]),
        activity=active.activity if active else None,
        sir_db=first.level_dbfs - active.level_dbfs if number and first and active else None,
        direct_delay_samples=response.delay_samples if response else None,
        onset_samples=response.onset if response else None,
        distance_m=seen.distance_m if seen else None,
        azimuth_deg=seen.azimuth_deg if seen else None,
        elevation_deg=seen.elevation_deg if seen else None,
        rt60_s=room.rt60_s if room else None,
        edt_s=room.edt_s if room else None,
        drr_db=room.drr_db if room else None,
        c50_db=room.c50_db if room else None,
    )


def _noise_measure(noise: Signal, snr: dict[str, float | None]) -> NoiseMeasure:
    return NoiseMeasure(
        rms_dbfs=levels.rms_dbfs(noise),
        snr_p56_active_db=snr["p56_active"],
        snr_rms_active_db=snr["rms_active"],
        snr_rms_db=snr["rms"],
        snr_lufs_lu=snr["lufs"],
        snr_peak_db=snr["peak"],
    )
