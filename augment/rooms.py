"""Simulated rooms: responses of a planned room, with the RT60 that was asked for.

Conventions
    Positions in metres; an RIR is (microphones, taps) float32 with tap 0 at emission, so that the direct sound of a
    source at distance d lies at d / c * sample_rate. Its scale is physical: the direct path has gain 1 / (4 pi d),
    times the directivities. c = 343 m/s.
    A room is simulated 70 dB deep (`DEPTH_DB`): images are left out that have lost more by reflection, and an RIR ends
    where what is left of its energy is 70 dB below the whole. (What arrives per second from a solid angle falls by
    these losses alone, since spherical spreading and the number of images cancel: this is the smallest set of images
    for a given energy left out.)

    Reflections pass a high-pass at 20 Hz (`LOWEST_HZ`); the direct path does not. All image sources being positive,
    they add up to a hump at 0 Hz, the room's lowest resonance, that nobody hears and no recording has. It holds a fifth
    of the energy of h (median, 16 kHz) and would make T30 longer by a fifth: a room calibrated with it would sound too
    dry.

    Walls are corrected by one number, `scale`: the energy reflected by each, R = 1 - absorption, becomes R ** scale.
    All rates of decay are then `scale` times what they were, and T30 is nearly proportional to 1 / scale.

Sources
    J. Allen, D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979.
    `augment.images` does the sum, `augment.decay` predicts the walls, `augment.polyhedra` does what is no shoebox.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import acoustics, arrays, decay, diffuse, images
from augment.directivity import OMNI
from augment.directivity import Pattern as Directivity
from augment.images import HALF_FILTER, SPEED_OF_SOUND
from manifests.compiled import kernel
from manifests.schema import Array, Pattern, Room

__all__ = [
    "SPEED_OF_SOUND",
    "Calibration",
    "Geometry",
    "anechoic",
    "audible",
    "calibrate",
    "direct_gain",
    "directivity",
    "geometry",
    "simulate",
]

DEPTH_DB = 70.0
LOWEST_HZ = 20.0
TAIL_SPARE_S = 0.005
CORRECTIONS = {"shoebox": 4, "pyroomacoustics": 2}

Float = NDArray[np.float64]
Signal = NDArray[np.float32]
Position = Sequence[float]


# ------------------------------------------------------------------------------------------------------- responses


def simulate(
    room: Room,
    *,
    source_m: Position,
    sample_rate: int,
    pattern: Pattern | None = None,
    scale: float = 1.0,
    microphones: Sequence[int] | None = None,
    with_direct: bool = True,
) -> Signal:
    """The RIR of a source to the room's microphones (or those numbered), (microphones, taps).

    ValueError for a position outside the room, a source on a microphone, a response that is silent or not finite.
    """
    positions = _array(room).positions_m
    chosen = range(len(positions)) if microphones is None else microphones
    if room.engine == "pyroomacoustics":
        h = _traced(room, source_m, [positions[c] for c in chosen], sample_rate, scale)
        return _trimmed(_audible(room, h, source_m, chosen, sample_rate))
    if room.tail_after_ms is not None and with_direct:
        return _with_tail(room, source_m, chosen, sample_rate, scale)
    h = _images(room, source_m, chosen, sample_rate, scale, pattern, with_direct=with_direct)
    found = _audible(room, h, source_m, chosen if with_direct else [], sample_rate, pattern)
    return _trimmed(found) if with_direct else found


def _images(
    room: Room,
    source_m: Position,
    chosen: Sequence[int],
    sample_rate: int,
    scale: float,
    pattern: Pattern | None = None,
    **limits: Any,
) -> Signal:
    array = _array(room)
    return images.impulse_responses(
        size_m=room.size_m or [],
        absorption=_scaled(room.absorption, scale),
        source_m=source_m,
        microphones_m=[array.positions_m[c] for c in chosen],
        sample_rate=sample_rate,
        max_loss_db=DEPTH_DB,
        bands_hz=room.bands_hz,
        air_db_per_m=room.air_db_per_m,
        source_pattern=_directivity(pattern),
        microphone_patterns=[_directivity(array.patterns[c]) for c in chosen] if array.patterns else None,
        jitter_m=room.jitter_m,
        seed=room.seed,
        **limits,
    )


def _with_tail(room: Room, source_m: Position, chosen: Sequence[int], sample_rate: int, scale: float) -> Signal:
    """Exact images up to `tail_after_ms` past the direct sound, then noise that decays as they would: an approximation.

    The noise is that of a spherical field at the whole array, so that a channel is the same alone and among others.
    """
    array = _array(room)
    model = decay.Decay(
        size_m=room.size_m or [],
        absorption=_scaled(room.absorption, scale)[0],
        sample_rate=sample_rate,
        lowest_hz=LOWEST_HZ,
    )
    distances = [math.dist(source_m, m) for m in array.positions_m]
    onset = round(distances[0] / SPEED_OF_SOUND * sample_rate)
    after_s = (room.tail_after_ms or 0.0) / 1000
    reach_m = max(distances) + (after_s + TAIL_SPARE_S) * SPEED_OF_SOUND
    early = _images(room, source_m, chosen, sample_rate, scale, max_distance_m=reach_m)
    early = _audible(room, early, source_m, chosen, sample_rate)
    taps = max(early.shape[1], math.ceil(model.time_left_s(DEPTH_DB, distances[0]) * sample_rate))
    rng = np.random.Generator(np.random.PCG64([room.seed, *(round(1000 * v) for v in source_m)]))
    noise = rng.standard_normal((len(array.positions_m), taps), dtype=np.float32)
    if len(noise) > 1:
        noise = diffuse.diffuse(noise, np.asarray(array.positions_m), sample_rate=sample_rate)
    return _trimmed(
        decay.with_tail(early, decay=model, onset_samples=onset, after_s=after_s, noise=noise[list(chosen)])
    )


def anechoic(room: Room, *, source_m: Position, sample_rate: int, taps: int, pattern: Pattern | None = None) -> Signal:
    """The direct paths alone, (microphones, taps), as if there were no walls."""
    array = _array(room)
    ends = np.array([source_m, *array.positions_m], dtype=np.float64)
    corner = ends.min(axis=0) - 1.0  # a box around them will do: nothing of it is heard
    h = images.impulse_responses(
        size_m=[float(side) for side in ends.max(axis=0) - corner + 1.0],
        absorption=[[0.0] * 6],
        source_m=[float(v) for v in ends[0] - corner],
        microphones_m=[[float(v) for v in end - corner] for end in ends[1:]],
        sample_rate=sample_rate,
        max_order=0,
        source_pattern=_directivity(pattern),
        microphone_patterns=[_directivity(p) for p in array.patterns] or None,
    )
    return np.pad(h, ((0, 0), (0, max(0, taps - h.shape[1]))))[:, :taps]


def audible(room: Room, source_m: Position) -> bool:
    """Whether some path leads from a source to every microphone; in a shoebox one always does."""
    if room.traced is None:
        return True
    from augment import polyhedra

    return polyhedra.visible(
        **_solid(room), source_m=source_m, microphones_m=_array(room).positions_m, max_order=room.traced.max_order
    )


def _traced(room: Room, source_m: Position, microphones_m: Sequence[Position], rate: int, scale: float) -> Signal:
    from augment import polyhedra

    assert room.traced is not None
    walls = _scaled(room.absorption, scale)
    if room.traced.floor_m:  # walls of a polygon have no names: each has the mean of the four
        walls = [[sum(row[:4]) / 4] * len(room.traced.floor_m) + row[4:] for row in walls]
    (h,) = polyhedra.simulate(
        **_solid(room),
        absorption=walls if room.bands_hz else walls[0],
        scattering=room.traced.scattering,
        bands_hz=room.bands_hz,
        air_db_per_m=room.air_db_per_m,
        sources_m=[source_m],
        microphones_m=microphones_m,
        sample_rate=rate,
        max_order=room.traced.max_order,
        ray_tracing=room.traced.ray_tracing,
        seed=room.seed,
    )
    return h


def _solid(room: Room) -> dict[str, Any]:
    """The room's geometry, as `augment.polyhedra` takes it."""
    from augment.polyhedra import Panel

    assert room.traced is not None
    assert room.size_m is not None
    panels = [
        Panel(p.corners_m, p.absorption if len(p.absorption) > 1 else p.absorption[0]) for p in room.traced.panels
    ]
    if room.traced.floor_m:
        return {"floor_m": room.traced.floor_m, "height_m": room.size_m[2], "panels": panels}
    return {"size_m": room.size_m, "panels": panels}


def _array(room: Room) -> Array:
    if room.array is None:
        raise ValueError(f"room {room.room_id} has no microphones")
    return room.array


def _scaled(absorption: Sequence[Sequence[float]], scale: float) -> list[list[float]]:
    return [[1 - (1 - a) ** scale for a in walls] for walls in absorption]


def _directivity(pattern: Pattern | None) -> Directivity:
    return OMNI if pattern is None else Directivity(pattern.omni, (pattern.axis[0], pattern.axis[1], pattern.axis[2]))


def _audible(
    room: Room,
    h: Signal,
    source_m: Position,
    direct: Sequence[int],
    sample_rate: int,
    pattern: Pattern | None = None,
) -> Signal:
    """Responses whose reflections lose what lies below `LOWEST_HZ`: a causal Butterworth filter of order 2 (bilinear
    transform). The direct paths, to the microphones numbered `direct` (none where they are not in `h`), stay.
    """
    array = _array(room)
    delays, gains = np.zeros(len(h)), np.zeros(len(h))
    for row, number in enumerate(direct):
        delays[row] = math.dist(source_m, array.positions_m[number]) / SPEED_OF_SOUND * sample_rate
        gains[row] = direct_gain(array, source_m=source_m, pattern=pattern, microphone=number)
    g = math.tan(math.pi * LOWEST_HZ / sample_rate)
    norm = 1 / (1 + math.sqrt(2) * g + g * g)
    out = np.empty_like(h)
    _high_pass(h, delays, gains, norm, 2 * (g * g - 1) * norm, (1 - math.sqrt(2) * g + g * g) * norm, out)
    return out


@kernel(error_model="numpy")
def _high_pass(h: Signal, delays: Float, gains: Float, b: float, a1: float, a2: float, out: Signal) -> None:
    """Row by row out = d + b (1 - z^-1)^2 / (1 + a1 z^-1 + a2 z^-2) (h - d), d the direct path: gain sinc(t)
    cos^2(pi t / 80), t in samples from the delay.
    """
    for row in range(h.shape[0]):
        delay, gain = delays[row], gains[row]
        first = max(0, math.ceil(delay - HALF_FILTER)) if gain else h.shape[1]
        last = math.floor(delay + HALF_FILTER)
        s1 = s2 = 0.0
        for n in range(h.shape[1]):
            d = 0.0
            if first <= n <= last:
                t = n - delay
                d = gain * math.cos(math.pi / 2 * t / HALF_FILTER) ** 2
                if abs(t) > 1e-9:
                    d *= math.sin(math.pi * t) / (math.pi * t)
            value = h[row, n] - d
            y = b * value + s1
            s1 = s2 - 2 * b * value - a1 * y
            s2 = b * value - a2 * y
            out[row, n] = y + d


def _trimmed(h: Signal) -> Signal:
    """Without what comes after each channel has only `DEPTH_DB` below its energy left; zeros at a channel's end."""
    ends = _ends(h, 10 ** (-DEPTH_DB / 10))
    if not ends.all():
        raise ValueError("the simulated RIR is silent or not finite")
    out: Signal = h[:, : ends.max()].copy()
    for row, end in zip(out, ends, strict=True):
        row[end:] = 0
    return out


@kernel(error_model="numpy")
def _ends(h: Signal, share: float) -> NDArray[np.int64]:
    """For each row the number of taps after which no more than a share of its energy is left; 0 where it has none."""
    ends = np.zeros(h.shape[0], np.int64)
    for row in range(h.shape[0]):
        whole = 0.0
        for n in range(h.shape[1]):
            whole += np.float64(h[row, n]) ** 2
        if not 0 < whole < math.inf:
            continue
        left, end = 0.0, h.shape[1]
        while end > 0 and left + np.float64(h[row, end - 1]) ** 2 <= share * whole:
            end -= 1
            left += np.float64(h[row, end]) ** 2
        ends[row] = end
    return ends


# ----------------------------------------------------------------------------------------------------- calibration


@dataclass(frozen=True)
class Calibration:
    """What it took to give a room the RT60 asked for.

    `status` is `ok`, `off` (the corrections did not bring T30 within tolerance), `unmeasurable` (the response decays
    less than T30 needs, mostly because the direct sound stands far above the rest), or None without a request.
    `response` is that of microphone 0, (1, taps).
    """

    scale: float
    simulations: int
    status: str | None
    response: Signal


def calibrate(room: Room, *, source_m: Position, sample_rate: int, pattern: Pattern | None = None) -> Calibration:
    """Correct the walls until T30, measured at microphone 0, is within `rt60_tolerance` of the RT60 asked for.

    The first correction takes T30 as proportional to 1 / scale; each further one is a secant step in logarithms.
    """
    tried: list[tuple[float, float]] = []  # log(scale), log(measured / requested)
    best: tuple[float, float, Signal] | None = None
    scale = 1.0
    for _ in range(1 + CORRECTIONS[room.engine] * (room.rt60_requested_s is not None)):
        h = simulate(room, source_m=source_m, sample_rate=sample_rate, pattern=pattern, scale=scale, microphones=[0])
        if room.rt60_requested_s is None:
            return Calibration(scale, 1, None, h)
        found = acoustics.rt60(h[0], sample_rate)
        if found is None:
            break
        error = math.log(found / room.rt60_requested_s)
        tried.append((math.log(scale), error))
        if best is None or abs(error) < abs(best[1]):
            best = (scale, error, h)
        if abs(found / room.rt60_requested_s - 1) <= (room.rt60_tolerance or 0.1):
            return Calibration(scale, len(tried), "ok", h)
        scale = round(math.exp(_next(tried)), 6)
    if best is None:
        return Calibration(1.0, 1, "unmeasurable", h)
    return Calibration(best[0], len(tried), "off", best[2])


def _next(tried: Sequence[tuple[float, float]]) -> float:
    """The log(scale) to try: along the secant of the last two, its slope kept between -2 and -1/2."""
    (at, error), slope = tried[-1], -1.0
    if len(tried) > 1 and tried[-2][0] != at:
        slope = min(-0.5, max(-2.0, (error - tried[-2][1]) / (at - tried[-2][0])))
    return at - error / slope


# -------------------------------------------------------------------------------------------------------- geometry


@dataclass(frozen=True)
class Geometry:
    """Where a source is, seen from a point: azimuth counter-clockwise from the x axis, elevation upwards."""

    distance_m: float
    azimuth_deg: float
    elevation_deg: float

    def delay_samples(self, sample_rate: int) -> float:
        """Time of flight."""
        return self.distance_m / SPEED_OF_SOUND * sample_rate

    @property
    def gain(self) -> float:
        """Amplitude of the direct path between omnidirectional ends."""
        return 1 / (4 * math.pi * self.distance_m)


def geometry(
    *, source_m: Position, microphone_m: Position, rotation_deg: Sequence[float] = (0.0, 0.0, 0.0)
) -> Geometry:
    """Distance and direction of a source, in the frame of an array that is turned by yaw, pitch and roll."""
    apart = np.asarray(source_m, dtype=np.float64) - np.asarray(microphone_m, dtype=np.float64)
    x, y, z = (float(v) for v in (arrays.rotation(*rotation_deg).T @ apart if any(rotation_deg) else apart))
    return Geometry(math.hypot(x, y, z), math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y))))


def direct_gain(array: Array, *, source_m: Position, pattern: Pattern | None = None, microphone: int = 0) -> float:
    """Amplitude of the direct path to a microphone: 1 / (4 pi d) times both directivities."""
    distance = math.dist(source_m, array.positions_m[microphone])
    both = directivity(array, source_m=source_m, pattern=pattern, microphone=microphone)
    return both / (4 * math.pi * distance)


def directivity(array: Array, *, source_m: Position, pattern: Pattern | None = None, microphone: int = 0) -> float:
    """What the directivities of a source and a microphone make of the direct path between them."""
    position = array.positions_m[microphone]
    distance = math.dist(source_m, position)
    to_source = [(s - m) / distance for s, m in zip(source_m, position, strict=True)]
    heard = _gain(array.patterns[microphone], to_source) if array.patterns else 1.0
    return heard * (_gain(pattern, [-v for v in to_source]) if pattern else 1.0)


def _gain(pattern: Pattern, direction: Sequence[float]) -> float:
    cosine = sum(a * d for a, d in zip(pattern.axis, direction, strict=True))
    return pattern.omni + (1 - pattern.omni) * cosine
