"""One mixture from one row of the plan: a deterministic function of the row and the samples it names.

Conventions
    Signals are float32 (channels, samples) at the mixture's rate until the common gain is known, then integers on the
    grid of the written format (`bits`). Channel 0 is the reference: levels and SNRs are measured there, and one gain
    and one shift hold for all channels.
    mixture = sum of talker images + noise holds on the integers, so it holds to the last bit after decoding; late =
    image - early and reverb = image - direct likewise. All levels and SNRs that are stored are measured on the
    integers that are written.

    Order: convolve; run the channels' clocks; scale talker 0 to its level, the others by their SIR; scale each noise to
    its SNR against talker 0's image; one common gain where a signal would exceed `peak`; round; measure.

    A moving talker's direct path is exact and continuous; its reflections are those of the track's points,
    cross-faded (`augment.motion`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import acoustics, diffuse, grid, levels, motion, rooms, targets, timing
from augment.acoustics import Acoustics
from augment.convolve import convolve
from augment.delays import clock
from manifests.errors import Refused
from manifests.recipe import stem_columns
from manifests.schema import (
    BandMeasure,
    Direction,
    NoiseMeasure,
    NoiseTrack,
    Plan,
    Room,
    Segment,
    Talker,
    TalkerMeasure,
)

__all__ = ["Rendered", "Response", "measured_response", "render"]

Signal = NDArray[np.float32]
Grid = NDArray[np.int32]
Load = Callable[[Segment], Signal]
LoadRir = Callable[[Talker | NoiseTrack], "Response"]

EARLY_MS = 50.0
WINDOW_MS = (2.0, 2.0)
PARTS = ("image", "early", "direct", "direct_window", "anechoic", "dry_aligned")
NEEDS = {"late": "early", "reverb": "direct"}
"""Stems that are a difference: image minus another part."""


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
    rt60_status: str | None
    absorption_scale: float | None
    simulations: int | None
    talkers: list[TalkerMeasure]
    noises: list[NoiseMeasure]


@dataclass(frozen=True)
class Response:
    """A source's way to the microphones: the RIR (channels, taps), and where its direct sound is.

    For a simulated one also the exact delay and gain of the direct path at the reference, the direct paths alone
    (`anechoic`, (channels, taps)), and what it took to calibrate the room.
    """

    h: Signal
    onset: int
    delay_samples: float | None = None
    gain: float | None = None
    anechoic: Signal | None = None
    acoustics: Acoustics | None = None
    calibration: rooms.Calibration | None = None


def measured_response(h: Signal, sample_rate: int) -> Response:
    """A measured RIR (channels, taps) with its onset and acoustics; a caller that uses it often keeps the result."""
    if not h[0].any():
        raise Refused("silent_rir", "the channel of the RIR is silent")
    found = acoustics.measure(h, sample_rate)
    return Response(h, found.onset_samples, acoustics=found)


def render(plan: Plan, *, load: Load, load_rir: LoadRir, stems: Sequence[str], bits: int, peak: float) -> Rendered:
    """Render a row. Raises Refused where a talker or a noise turns out silent, or a response must not be used."""
    responses = _responses(plan, load_rir, "anechoic" in (plan.target_kind, *stems))
    dry = [_track(t.segments, load, plan.frames) for t in plan.talkers]
    parts = [
        _clocked(plan, _parts(plan, talker, d, response, _wanted(plan, stems, k)))
        for k, (talker, d, response) in enumerate(zip(plan.talkers, dry, responses, strict=True))
    ]
    activity = levels.activity(parts[0]["image"][0], plan.sample_rate)
    gains = _talker_gains(plan, [p["image"] for p in parts], activity)
    heard = _noise_images(plan, responses[0], load, load_rir)
    images, after = [p["image"] * gain for p, gain in zip(parts, gains, strict=True)], activity.after(float(gains[0]))
    noises = [
        _levelled(plan, track, noise, images[0][0], after) for track, (noise, _) in zip(plan.noises, heard, strict=True)
    ]
    signals, gain = _written(plan, parts, images, gains, noises, stems, bits, peak)
    found = _measured(plan, signals, gain, noises, responses, stems, bits)
    placed = [replace(n, coherence_error=off) for n, (_, off) in zip(found.noises, heard, strict=True)]
    return replace(found, noises=placed)


# ------------------------------------------------------------------------------------------------------- responses


def _responses(plan: Plan, load_rir: LoadRir, with_anechoic: bool) -> list[Response | None]:
    room = plan.room
    if room is None:
        return [None] * len(plan.talkers)
    if room.engine == "measured":
        measured = [load_rir(t) for t in plan.talkers]
        for talker, response in zip(plan.talkers, measured, strict=True):
            _check_onset(room, talker, response)
        return list(measured)
    first = plan.talkers[0]
    try:
        found = rooms.calibrate(room, source_m=_position(first), sample_rate=plan.sample_rate, pattern=first.pattern)
        return [_simulated(plan, room, talker, found, with_anechoic) for talker in plan.talkers]
    except ValueError as error:
        if room.traced is None:  # a shoebox that was drawn can be simulated
            raise
        raise Refused("bad_rir", f"room {room.room_id} cannot be simulated: {error}") from None


def _check_onset(room: Room, talker: Talker, response: Response) -> None:
    sure = response.acoustics.onset_confidence if response.acoustics else None
    if sure is not None and sure < room.min_onset_confidence:
        raise Refused(
            "uncertain_onset",
            f"the direct sound of RIR {talker.rir_source_id} is found with confidence {sure:.2f}, "
            f"{room.min_onset_confidence:g} is asked for",
            talker.rir_source_id,
        )


def _position(source: Talker | NoiseTrack) -> list[float]:
    if source.position_m is None:
        raise ValueError("a source in a simulated room has no position_m")
    return source.position_m


def _simulated(plan: Plan, room: Room, talker: Talker, calibration: rooms.Calibration, with_anechoic: bool) -> Response:
    source, rate = _position(talker), plan.sample_rate
    alone = room.array is not None and len(room.array.positions_m) == 1
    if alone and talker is plan.talkers[0]:
        h = calibration.response
    else:
        h = rooms.simulate(room, source_m=source, sample_rate=rate, pattern=talker.pattern, scale=calibration.scale)
    assert room.array is not None
    delay = rooms.geometry(source_m=source, microphone_m=room.array.positions_m[0]).delay_samples(rate)
    gain = rooms.direct_gain(room.array, source_m=source, pattern=talker.pattern)
    _check_response(room, h, delay, gain, rate)
    return Response(
        h,
        round(delay),
        delay,
        gain,
        rooms.anechoic(room, source_m=source, sample_rate=rate, taps=h.shape[1], pattern=talker.pattern)
        if with_anechoic
        else None,
        acoustics.measure(h, rate, onset=round(delay)),
        calibration,
    )


def _check_response(room: Room, h: Signal, delay: float, gain: float, sample_rate: int) -> None:
    """Refuse a response that is not finite, silent, early, or (in an exact room) without its direct sound."""
    expected = abs(gain) if room.engine == "shoebox" else None
    wrong = acoustics.fault(h, expected_onset=delay, sample_rate=sample_rate, gain=expected)
    if wrong:
        raise Refused("bad_rir", f"the simulated RIR of room {room.room_id} must not be used: {wrong}")


# ---------------------------------------------------------------------------------------------------------- images


def _track(segments: Sequence[Segment], load: Load, frames: int) -> Signal:
    return timing.assemble([(load(s), s.at) for s in segments], length=frames)


def _wanted(plan: Plan, stems: Sequence[str], number: int) -> list[str]:
    """The parts of a talker that are to be computed."""
    names = {"image"} | ({plan.target_kind} if "targets" in stems else set())
    if number == 0:
        names |= {NEEDS.get(s, s) for s in stems} | ({plan.target_kind} if "target" in stems else set())
    return [name for name in PARTS if name in names]


def _parts(
    plan: Plan, talker: Talker, dry: Signal, response: Response | None, names: Sequence[str]
) -> dict[str, Signal]:
    """A talker through the whole RIR and through the parts of it that are wanted, in one pass over the source's
    spectrum.
    """
    if response is None:
        return dict.fromkeys(names, dry[np.newaxis])
    if talker.trajectory_m:
        return _moving_parts(plan, talker, dry, response, names)
    filters = [_filter(name, plan, response) for name in names]
    bank = np.zeros((len(filters), len(filters[0]), max(f.shape[1] for f in filters)), np.float32)
    for rows, f in zip(bank, filters, strict=True):
        rows[:, : f.shape[1]] = f
    bank = bank.reshape(-1, bank.shape[2])
    rows = convolve(dry, bank, length=plan.frames).reshape(len(names), -1, plan.frames)
    return dict(zip(names, rows, strict=True))


def _filter(name: str, plan: Plan, response: Response) -> Signal:
    h, onset, rate = response.h, response.onset, plan.sample_rate
    if name == "early":
        return targets.split_rir(h, onset=onset, sample_rate=rate, early_ms=plan.early_ms or EARLY_MS)[0]
    if name == "direct" or (name == "anechoic" and response.anechoic is None):
        return targets.direct_path(h, onset=onset, sample_rate=rate)
    if name == "direct_window":
        before, after = plan.window_ms or WINDOW_MS
        return targets.direct_path(h, onset=onset, sample_rate=rate, before_ms=before, after_ms=after)
    if name == "anechoic" and response.anechoic is not None:
        return response.anechoic
    if name == "dry_aligned":
        return targets.dry_aligned_filter(
            h, onset=onset, sample_rate=rate, delay_samples=response.delay_samples, gain=response.gain
        )
    return h


def _moving_parts(
    plan: Plan, talker: Talker, dry: Signal, response: Response, names: Sequence[str]
) -> dict[str, Signal]:
    """The same for a moving talker: its direct path continuously, its reflections point by point."""
    room = plan.room
    assert room is not None
    assert room.array is not None
    direct = motion.moving_direct(
        dry,
        np.asarray(talker.trajectory_m),
        np.asarray(room.array.positions_m),
        sample_rate=plan.sample_rate,
        length=plan.frames,
        gains=_directivities(room, talker),
    )
    reflected = [name for name in names if name not in ("anechoic", "dry_aligned")]
    rows = motion.moving_image(
        dry,
        _reflections(plan, room, talker, response, reflected),
        points=len(talker.trajectory_m),
        length=plan.frames,
    ).reshape(len(reflected), -1, plan.frames)
    parts = {name: direct + row for name, row in zip(reflected, rows, strict=True)}
    parts["anechoic"] = direct
    parts["dry_aligned"] = np.repeat(direct[:1], len(direct), axis=0)
    return {name: parts[name] for name in names}


def _directivities(room: Room, talker: Talker) -> NDArray[np.float64] | None:
    """What both directivities make of the direct path from each point of a track to each microphone, (microphones,
    points); None where nothing has a direction.
    """
    assert room.array is not None
    if talker.pattern is None and not room.array.patterns:
        return None
    return np.array(
        [
            [
                rooms.directivity(room.array, source_m=point, pattern=talker.pattern, microphone=m)
                for point in talker.trajectory_m
            ]
            for m in range(len(room.array.positions_m))
        ]
    )


def _reflections(plan: Plan, room: Room, talker: Talker, response: Response, names: Sequence[str]) -> Iterator[Signal]:
    """At each point of the track the response without its direct sound, once per part, stacked: (parts x channels,
    taps).
    """
    assert room.array is not None
    scale = response.calibration.scale if response.calibration else 1.0
    for point in talker.trajectory_m:
        h = rooms.simulate(
            room,
            source_m=point,
            sample_rate=plan.sample_rate,
            pattern=talker.pattern,
            scale=scale,
            with_direct=False,
        )
        delay = rooms.geometry(source_m=point, microphone_m=room.array.positions_m[0]).delay_samples(plan.sample_rate)
        here = Response(h, round(delay), delay)
        yield np.concatenate([_filter(name, plan, here) for name in names])


def _clocked(plan: Plan, parts: dict[str, Signal]) -> dict[str, Signal]:
    for op in plan.degradations:
        numbers = {p.key: p.values for p in op.params}
        if any(any(values) for values in numbers.values()):
            parts = {
                name: clock(
                    part,
                    sample_rate=plan.sample_rate,
                    offset_us=np.asarray(numbers["offset_us"]),
                    drift_ppm=np.asarray(numbers["drift_ppm"]),
                )
                for name, part in parts.items()
            }
    return parts


# ---------------------------------------------------------------------------------------------------------- noises


def _noise_images(
    plan: Plan, talker: Response | None, load: Load, load_rir: LoadRir
) -> list[tuple[Signal, float | None]]:
    """Each noise as the microphones hear it, (channels, samples), before its level; and how far the coherence of a
    diffuse one is from theory.
    """
    channels = talker.h.shape[0] if talker else 1
    out = []
    for track in plan.noises:
        image, off = _noise_image(plan, track, talker, load, load_rir)
        image = np.repeat(image, channels, axis=0) if len(image) < channels else image
        out.append((_clocked(plan, {"noise": image})["noise"], off))
    return out


def _noise_image(
    plan: Plan, track: NoiseTrack, talker: Response | None, load: Load, load_rir: LoadRir
) -> tuple[Signal, float | None]:
    noise = _track(track.segments, load, plan.frames + track.preroll)
    if track.place in ("point", "own_room"):
        response = _noise_response(plan, track, talker, load_rir)
        return convolve(noise, response, length=noise.size)[:, track.preroll :], None
    if track.more_inputs:
        inputs = np.stack([noise, *(_track(segments, load, plan.frames) for segments in track.more_inputs)])
        return _diffuse(plan, track, inputs)
    return noise[np.newaxis], None


def _diffuse(plan: Plan, track: NoiseTrack, inputs: Signal) -> tuple[Signal, float | None]:
    assert plan.room is not None
    assert plan.room.array is not None
    array = plan.room.array
    field: dict[str, Any] = {
        "sample_rate": plan.sample_rate,
        "field": track.coherence or "spherical",
        "patterns": array.patterns,
    }
    positions = np.asarray(array.positions_m)
    try:
        image = diffuse.diffuse(inputs, positions, **field)
    except ValueError as error:
        raise Refused("silent_noise", f"noise {track.source_id}: {error}", track.source_id) from None
    return image, diffuse.coherence_error(image, positions, **field)


def _noise_response(plan: Plan, track: NoiseTrack, talker: Response | None, load_rir: LoadRir) -> Signal:
    if track.rir_source_id:
        return load_rir(track).h
    source, rate = _position(track), plan.sample_rate
    if track.place == "own_room":
        assert plan.noise_room is not None
        found = rooms.calibrate(plan.noise_room, source_m=source, sample_rate=rate)
        if talker is not None and len(talker.h) == 1:  # that is the response already
            return found.response
        return rooms.simulate(plan.noise_room, source_m=source, sample_rate=rate, scale=found.scale)
    assert plan.room is not None
    scale = talker.calibration.scale if talker and talker.calibration else 1.0
    return rooms.simulate(plan.room, source_m=source, sample_rate=rate, scale=scale)


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


def _levelled(plan: Plan, track: NoiseTrack, noise: Signal, speech: Signal, activity: levels.Activity) -> Signal:
    """A noise at its SNR against talker 0's image (samples,), by what the reference hears of both."""
    try:
        gain = levels.noise_gain(
            speech=speech,
            noise=noise[0],
            sample_rate=plan.sample_rate,
            kind=track.snr_kind,
            snr_db=track.snr_db,
            span=_span(plan.talkers[0]),
            speech_activity=activity,
        )
    except ValueError as error:
        raise Refused("no_snr", f"noise {track.source_id}: {error}", track.source_id) from None
    return noise * np.float32(gain)


# ------------------------------------------------------------------------------------------ rounding and measuring


def _written(
    plan: Plan,
    parts: Sequence[dict[str, Signal]],
    images: list[Signal],
    gains: Sequence[np.float32],
    noises: list[Signal],
    stems: Sequence[str],
    bits: int,
    peak: float,
) -> tuple[dict[str, Grid], float]:
    """The written signals on the integer grid after the talkers' gains and the common one, and the latter. `images` are
    those of the parts after the talkers' gains.
    """
    noise = np.zeros_like(images[0]) if not noises else noises[0] if len(noises) == 1 else np.sum(noises, axis=0)
    others = [gain * grid.peak(x) for p, gain in zip(parts, gains, strict=True) for x in p.values()]
    loudest = max(grid.peak_of_sum([*images, noise]), grid.peak(noise), *others)
    room = peak - (len(images) + 2) / 2 ** (bits - 1)  # rounding may add half a step per stem
    common = min(1.0, room / loudest)
    grids = [
        {name: grid.rounded(x, gain=float(gain) * common, bits=bits) for name, x in p.items()}
        for p, gain in zip(parts, gains, strict=True)
    ]
    talkers, out = [g["image"] for g in grids], grids[0]
    out["noise"] = grid.rounded(noise, gain=common, bits=bits)
    out["mixture"] = grid.summed([*talkers, out["noise"]])
    out |= {f"talker_{k + 1}": talker for k, talker in enumerate(talkers)}
    out |= {f"target_{k + 1}": g[plan.target_kind] for k, g in enumerate(grids) if plan.target_kind in g}
    if plan.target_kind in out:
        out["target"] = out[plan.target_kind]
    out |= {stem: out["image"] - out[other] for stem, other in NEEDS.items() if stem in stems}
    return out, common


def _measured(
    plan: Plan,
    signals: dict[str, Grid],
    gain: float,
    noises: list[Signal],
    responses: Sequence[Response | None],
    stems: Sequence[str],
    bits: int,
) -> Rendered:
    grids = [signals[f"talker_{k + 1}"] for k in range(len(plan.talkers))]
    talkers = [grid.signal(g[0], bits) for g in grids]
    noise_heard = grid.signal(signals["noise"][0], bits)
    span, rate = _span(plan.talkers[0]), plan.sample_rate
    activities = [levels.activity(talker, rate) for talker in talkers]
    heard = [noise_heard] if len(noises) == 1 else [noise[0] * np.float32(gain) for noise in noises]
    each = [
        levels.snr_all(speech=talkers[0], noise=noise, sample_rate=rate, span=span, speech_activity=activities[0])
        for noise in heard
    ]
    kind = plan.noises[0].snr_kind if plan.noises else "p56_active"
    total = each[0].get(kind) if len(each) == 1 else _snr(talkers[0], noise_heard, kind, span, rate)
    others: Signal | None = np.asarray(np.sum(talkers[1:], axis=0, dtype=np.float32)) if len(talkers) > 1 else None
    written = {name: signals[name] for name in stem_columns(stems, len(talkers))}
    residual = grid.residual(signals["mixture"], [*grids, signals["noise"]])
    measures = [_talker_measure(plan, k, talkers[k], activities, responses[k]) for k in range(len(talkers))]
    calibration = responses[0].calibration if responses[0] else None
    return Rendered(
        signals=written,
        gain_db=20 * math.log10(gain),
        gain_reason="peak" if gain < 1 else None,
        peak=max(grid.grid_peak(x) for x in written.values()) / 2.0 ** (bits - 1),
        residual_dbfs=None if residual is None else levels.rms_dbfs(grid.signal(residual, bits).ravel()),
        level_dbfs=measures[0].level_dbfs,
        snr_db=total,
        sir_db=None if others is None else _snr(talkers[0], others, kind, span, rate),
        overlap_ratio=_overlap(activities),
        rt60_status=calibration.status if calibration else None,
        absorption_scale=calibration.scale if calibration else None,
        simulations=calibration.simulations if calibration else None,
        talkers=measures,
        noises=[_noise_measure(plan, t, n, snr) for t, n, snr in zip(plan.noises, heard, each, strict=True)],
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
    plan: Plan, number: int, image: Signal, activities: Sequence[levels.Activity], response: Response | None
) -> TalkerMeasure:
    talker = plan.talkers[number]
    active, first = activities[number].level, activities[0].level
    room = response.acoustics if response else None
    directions = _directions(plan, talker)
    return TalkerMeasure(
        level_dbfs=active.level_dbfs if active else None,
        rms_dbfs=levels.rms_dbfs(image[slice(*_span(talker))]),
        activity=active.activity if active else None,
        sir_db=first.level_dbfs - active.level_dbfs if number and first and active else None,
        direct_delay_samples=response.delay_samples if response else None,
        onset_samples=response.onset if response else None,
        distance_m=_distance(plan.room, talker.position_m),
        azimuth_deg=directions[0].azimuth_deg if directions else None,
        elevation_deg=directions[0].elevation_deg if directions else None,
        rt60_s=room.rt60_s if room else None,
        edt_s=room.edt_s if room else None,
        drr_db=room.drr_db if room else None,
        c50_db=room.c50_db if room else None,
        onset_confidence=room.onset_confidence if room else None,
        bands=[BandMeasure(b.centre_hz, b.rt60_s, b.edt_s, b.c50_db) for b in room.bands] if room else [],
        channel_delays_samples=_delays(plan, talker),
        directions=directions,
    )


def _distance(room: Room | None, position: Sequence[float] | None) -> float | None:
    """From the reference microphone."""
    if room is None or room.array is None or position is None:
        return None
    return math.dist(position, room.array.positions_m[0])


def _delays(plan: Plan, talker: Talker) -> list[float]:
    """Time of flight to each microphone, in samples."""
    if plan.room is None or plan.room.array is None or talker.position_m is None:
        return []
    return [
        rooms.geometry(source_m=talker.position_m, microphone_m=m).delay_samples(plan.sample_rate)
        for m in plan.room.array.positions_m
    ]


def _directions(plan: Plan, source: Talker | NoiseTrack, room: Room | None = None) -> list[Direction]:
    """Where a source is in the array's frame: once, or per label frame (at its middle) where it moves."""
    room = room or plan.room
    if room is None or room.array is None or source.position_m is None:
        return []
    track = source.trajectory_m if isinstance(source, Talker) else []
    if track:
        frames = motion.labels(
            np.asarray(track),
            plan.frames,
            sample_rate=plan.sample_rate,
            origin_m=room.array.centre_m,
            rate_hz=plan.labels_hz,
            rotation_deg=room.array.rotation_deg,
        )
        times = (np.arange(len(frames.azimuth_deg)) + 0.5) / plan.labels_hz
        rows = list(zip(times, frames.azimuth_deg, frames.elevation_deg, frames.distance_m, strict=True))
    else:
        seen = rooms.geometry(
            source_m=source.position_m, microphone_m=room.array.centre_m, rotation_deg=room.array.rotation_deg
        )
        rows = [(0.0, seen.azimuth_deg, seen.elevation_deg, seen.distance_m)]
    return [Direction(*(round(float(v), 5) for v in row)) for row in rows]


def _noise_measure(plan: Plan, track: NoiseTrack, noise: Signal, snr: dict[str, float | None]) -> NoiseMeasure:
    room = plan.noise_room if track.place == "own_room" else plan.room
    seen = next(iter(_directions(plan, track, room)), None)
    return NoiseMeasure(
        rms_dbfs=levels.rms_dbfs(noise),
        snr_p56_active_db=snr["p56_active"],
        snr_rms_active_db=snr["rms_active"],
        snr_rms_db=snr["rms"],
        snr_lufs_lu=snr["lufs"],
        snr_peak_db=snr["peak"],
        distance_m=_distance(room, track.position_m),
        azimuth_deg=seen.azimuth_deg if seen else None,
        elevation_deg=seen.elevation_deg if seen else None,
    )
