"""Sources that walk: where they are, and how they sound in a room.

    y(t) = sum over moments s of x(s) h(p(s); t - s),    h(p(s)) = sum over k of w_k(s) h_k

A response belongs to the place of the source when the sound leaves it. So the dry signal x is multiplied by windows w_k
that overlap and sum to 1, each product is convolved with the response h_k of its track point, and all are added. The
direct path is not interpolated: it is a delay line.

Conventions
    A track is (points, 3) in metres, at equal steps of time from the first sample of a clip to its last; between its
    points lies a straight line. `frames` are the samples of the clip. Azimuth is counter-clockwise from the x axis,
    elevation up from the horizontal plane, both in degrees. Responses are (channels, taps), float32, tap 0 is emission.
    Nothing is drawn here. Bytes of a channel depend on its own responses, not on those of other channels.

How exact
    Along a track, sound of frequency f has up to f / c cycles per metre. The windows are 12 points wide and right to
    -40 dB up to 0.38 cycles per step: 130 / step_m Hz, 6.5 kHz at 2 cm. From half a cycle on (half a wavelength per
    step) responses of neighbouring points are unrelated, and no window can know what lies between them: sound is right
    in level only. Error of the image without its direct path, for speech at 1 m/s in a room of 5.2 x 4.1 x 2.9 m with
    RT60 0.6 s, against points each millimetre, in dB of its energy, in all and by octave, then the change of level in
    the highest band. On the right a cross-fade of two neighbours. At RT60 0.3 s all within 0.6 dB of these.

        step    all     1 kHz   2 kHz   4 kHz   > 5.6 kHz       cross-fade: all   > 5.6 kHz
        10 mm   -72     -69     -64     -61     -64   0.0 dB    -43               -25   -0.3 dB
        15 mm   -67     -62     -62     -59     -60   0.0       -36               -18   -0.7
        20 mm   -59     -57     -60     -56     -40   0.0       -32               -13   -1.2
        30 mm   -29     -53     -57     -28     -9   -0.2       -26               -9    -1.5
        50 mm   -18     -47     -43     -4      0    +0.1       -19               -1    -1.8

    A cross-fade of unrelated responses loses power: 1.8 dB on average, 3 dB half-way. These windows lose 0.3 dB.
    `moving_direct` is exact to -100 dB up to 0.45 of the sample rate, for the track as it is: as straight lines. A
    track that is rounded to 1 mm is another one, -44 dB away in both parts; 0.1 mm is -64 dB.

Source
    Sampling along a line, for the limit on the step: T. Ajdler, L. Sbaiz, M. Vetterli, "The plenacoustic function and
    its sampling", IEEE Trans. Signal Process. 54(10), 2006. Coherence of diffuse sound sin(kr) / kr: R. Cook et al.,
    "Measurement of correlation coefficients in reverberant sound fields", JASA 27(6), 1955. Curves through points:
    E. Catmull, R. Rom, "A class of local interpolating splines", 1974, with the parameter of P. Yuksel, S. Schaefer,
    J. Keyser, "Parameterization and applications of Catmull-Rom curves", CAD 43(7), 2011.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from augment import arrays
from augment.delays import arrival_delays, delayed
from augment.images import SPEED_OF_SOUND
from manifests.compiled import kernel

__all__ = [
    "STEP_M",
    "Labels",
    "arc",
    "labels",
    "line",
    "moving_direct",
    "moving_image",
    "position_at",
    "speed_m_s",
    "sway",
    "walk",
    "waypoints",
]

Signal = NDArray[np.float32]
Float = NDArray[np.float64]
Array = NDArray[np.floating[Any]]
Curve = Callable[[Float], Float]

STEP_M = 0.02

_POINTS = 12
_BAND = 0.4  # cycles per step
_ROWS = 512
_BATCH = 8  # responses per call of the FFT, which is fastest along several rows (measured: 4 to 32)
_GRID = 4096


# ------------------------------------------------------------------------------------------------------------ tracks


def line(start_m: Sequence[float], end_m: Sequence[float], *, step_m: float = STEP_M) -> Float:
    """A straight line at constant speed, points at most `step_m` apart."""
    start, end = _position("start_m", start_m), _position("end_m", end_m)
    return _sampled(lambda u: start + u[:, np.newaxis] * (end - start), step_m)


def arc(
    *, centre_m: Sequence[float], radius_m: float, start_deg: float, sweep_deg: float, step_m: float = STEP_M
) -> Float:
    """A horizontal arc about `centre_m`, at its height, from azimuth `start_deg` counter-clockwise by `sweep_deg`."""
    centre = _position("centre_m", centre_m)
    if not 0 <= radius_m < math.inf:
        raise ValueError(f"radius_m must be finite and not negative, got {radius_m}")

    def curve(u: Float) -> Float:
        angle = np.radians(start_deg + u * sweep_deg)
        return centre + radius_m * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(u)], axis=1)

    return _sampled(curve, step_m)


def waypoints(points_m: Sequence[Sequence[float]] | Array, *, margin_m: float = 0.2, step_m: float = STEP_M) -> Float:
    """A smooth curve through `points_m` (2 or more, neighbours apart) at constant speed.

    It leaves the bounding box of the points by `margin_m` at most: where a tangent would lead further, it is shortened.
    Without a margin a point in a corner of that box is a sharp bend.
    """
    points = np.asarray(points_m, dtype=np.float64)
    if points.ndim != 2 or points.shape[1:] != (3,) or len(points) < 2 or not np.isfinite(points).all():
        raise ValueError(f"points_m must be two or more finite positions (x, y, z), got shape {points.shape}")
    spans = np.sqrt(np.linalg.norm(np.diff(points, axis=0), axis=1))  # centripetal: no loops, no cusps
    if not spans.all():
        raise ValueError("points_m must differ from their neighbours")
    if not 0 <= margin_m < math.inf:
        raise ValueError(f"margin_m must be finite and not negative, got {margin_m}")
    tangents = _tangents(points, spans, margin_m)
    knots = np.concatenate([[0], np.cumsum(spans)])
    fine = np.linspace(0, knots[-1], _GRID + 1)
    length = _path_length(_hermite(points, tangents, knots, fine))
    return _sampled(lambda u: _hermite(points, tangents, knots, np.interp(u * length[-1], length, fine)), step_m)


def sway(
    track: Array,
    *,
    amplitude_m: Sequence[float],
    cycles: Sequence[float],
    phase_rad: Sequence[float] = (0, 0, 0),
    step_m: float = STEP_M,
) -> Float:
    """`track` plus amplitude_m sin(2 pi cycles u + phase_rad) along x, y and z; u runs from 0 to 1."""
    amplitude, turns = _position("amplitude_m", amplitude_m), _position("cycles", cycles)
    phase = _position("phase_rad", phase_rad)

    def curve(u: Float) -> Float:
        swing = amplitude * np.sin(2 * np.pi * u[:, np.newaxis] * turns + phase)
        return _between(track, u) + swing

    return _sampled(curve, step_m)


def walk(curve: Array, *, speed_m_s: float, seconds: float, step_m: float = STEP_M) -> Float:
    """Along `curve` (n, 3), joined by straight lines, at constant speed for `seconds`; at its ends it turns round."""
    points = _track(curve)
    length = _path_length(points)
    if not 0 <= speed_m_s < math.inf or not 0 < seconds < math.inf:
        raise ValueError(f"speed_m_s must not be negative and seconds be positive, got {speed_m_s} and {seconds}")
    way = np.linspace(0, speed_m_s * seconds, max(2, math.ceil(speed_m_s * seconds / step_m - 1e-9) + 1))
    along = length[-1] - np.abs(way % max(2 * length[-1], 1e-9) - length[-1])
    return np.stack([np.interp(along, length, axis) for axis in points.T], axis=1)


def speed_m_s(track: Array, seconds: float) -> float:
    """Length of the track over the time from its first point to its last: the mean speed."""
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    return float(_path_length(_track(track))[-1] / seconds)


def position_at(track: Array, frames: int, at_samples: Array) -> Float:
    """Positions (n, 3) at samples `at_samples` (n,), whole or not, of a clip of `frames`; the ends are held."""
    return _between(track, np.asarray(at_samples, dtype=np.float64) / max(1, frames - 1))


class Labels(NamedTuple):
    """Where a source is, seen from one point: one value per label frame."""

    azimuth_deg: Float
    elevation_deg: Float
    distance_m: Float


def labels(
    track: Array,
    frames: int,
    *,
    sample_rate: int,
    origin_m: Sequence[float],
    rate_hz: float,
    rotation_deg: Sequence[float] = (0.0, 0.0, 0.0),
) -> Labels:
    """Distance from `origin_m` and direction, in the frame of an array there that is turned by yaw, pitch and roll, at
    the centres of label frames 1 / `rate_hz` long. The last frame may be cut short.
    """
    if not rate_hz > 0:
        raise ValueError(f"rate_hz must be positive, got {rate_hz}")
    count = math.ceil(frames * rate_hz / sample_rate - 1e-9)
    centres = (np.arange(count) + 0.5) * sample_rate / rate_hz
    apart = position_at(track, frames, centres) - _position("origin_m", origin_m)
    x, y, z = (apart @ arrays.rotation(*rotation_deg)).T
    ground = np.hypot(x, y)
    return Labels(np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, ground)), np.hypot(ground, z))


def _position(name: str, values: Sequence[float]) -> Float:
    position = np.asarray(values, dtype=np.float64)
    if position.shape != (3,) or not np.isfinite(position).all():
        raise ValueError(f"{name} must be three finite numbers, got {values}")
    return position


def _track(track: Array) -> Float:
    points = np.asarray(track, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0 or not np.isfinite(points).all():
        raise ValueError(f"track must be finite positions (points, 3), got shape {points.shape}")
    return points


def _sampled(curve: Curve, step_m: float) -> Float:
    if not step_m > 0:
        raise ValueError(f"step_m must be positive, got {step_m}")
    fine = curve(np.linspace(0, 1, _GRID + 1))
    fastest = _GRID * np.linalg.norm(np.diff(fine, axis=0), axis=1).max()
    return curve(np.linspace(0, 1, max(2, math.ceil(fastest / step_m - 1e-9) + 1)))


def _path_length(points: Float) -> Float:
    return np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def _between(track: Array, u: Float) -> Float:
    """Positions at u = 0 (first point) to 1 (last)."""
    points = _track(track)
    places = np.linspace(0, 1, len(points))
    return np.stack([np.interp(u, places, axis) for axis in points.T], axis=1)


def _tangents(points: Float, spans: Float, margin_m: float) -> Float:
    """Catmull-Rom's, cut so that the Bezier control points, and so the curve, stay in the box."""
    slopes = np.diff(points, axis=0) / spans[:, np.newaxis]
    before, after = spans[:-1, np.newaxis], spans[1:, np.newaxis]
    inner = (after * slopes[:-1] + before * slopes[1:]) / (before + after)
    above = 3 * (points.max(axis=0) + margin_m - points[1:-1])
    below = 3 * (points[1:-1] - points.min(axis=0) + margin_m)
    inner = np.clip(inner, -np.minimum(below / after, above / before), np.minimum(above / after, below / before))
    return np.concatenate([slopes[:1], inner, slopes[-1:]])


def _hermite(points: Float, tangents: Float, knots: Float, at: Float) -> Float:
    piece = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    span = np.diff(knots)[piece, np.newaxis]
    t = (at - knots[piece])[:, np.newaxis] / span
    start, end = points[piece], points[piece + 1]
    leave, arrive = span * tangents[piece], span * tangents[piece + 1]
    return start + t**2 * (3 - 2 * t) * (end - start) + t * (1 - t) * ((1 - t) * leave - t * arrive)


# --------------------------------------------------------------------------------------------------------- rendering


def moving_direct(
    dry: Array,
    track: Array,
    microphones_m: Sequence[Sequence[float]] | Array,
    *,
    sample_rate: int,
    length: int,
    gains: Array | None = None,
) -> Signal:
    """The direct sound of `dry` (samples,) at every microphone, (channels, length): each with its own moving delay
    d / c, Doppler shift included, and gain 1 / (4 pi d). `gains` (channels, points) multiply it, as the source was
    at that point: directivity.

    What the source sends out while it comes nearer by one sample's way of sound arrives in one sample less, and is
    louder by that: the factor 1 / (1 + d'(t) / c) of the sum above, 0.025 dB at 1 m/s.
    Raises ValueError if the source is at a microphone or not slower than sound.
    """
    positions = position_at(track, dry.size, np.arange(dry.size, dtype=np.float64))
    microphones = [_position("microphones_m", microphone) for microphone in microphones_m]
    if gains is not None and gains.shape != (len(microphones), len(track)):
        raise ValueError(f"gains must be (microphones, points) = {len(microphones), len(track)}, got {gains.shape}")
    out = np.empty((len(microphones), length), np.float32)
    for channel, microphone in enumerate(microphones):
        distances = np.linalg.norm(positions - microphone, axis=1)
        if not distances.all():
            raise ValueError(f"track must not go through a microphone, got {microphone.tolist()}")
        per_metre = sample_rate / SPEED_OF_SOUND
        delay = arrival_delays(distances * per_metre, length=length)
        gain = np.gradient(np.arange(length) - delay) * per_metre / (4 * np.pi * delay)
        if gains is not None:
            place = (np.arange(length) - delay) * (len(track) - 1) / max(1, dry.size - 1)
            gain *= np.interp(place, np.arange(len(track)), gains[channel])
        out[channel] = delayed(dry, delay, gain)
    return out


def moving_image(dry: Array, responses: Iterable[Array], *, points: int, length: int) -> Signal:
    """`dry` (samples,) from a source that passes the points of a track, as (channels, length).

    `responses` has `points` of them, one per point, each (channels, taps), not necessarily of one length; an iterator
    is read 8 at a time. On one core 10 s at 16 kHz at 1 m/s take 40 ms for one channel, 100 ms for four (points each
    2 cm, 11 200 taps). Raises ValueError for another number of responses or different numbers of channels.
    """
    if dry.ndim != 1 or dry.size == 0:
        raise ValueError(f"dry must have shape (samples,) and not be empty, got {dry.shape}")
    if points < 1 or length < 1:
        raise ValueError(f"points and length must be at least 1, got {points} and {length}")
    x = np.ascontiguousarray(dry, dtype=np.float32)
    supply = iter(responses)
    out: Signal | None = None
    for first in range(0, points, _BATCH):
        batch = list(itertools.islice(supply, min(_BATCH, points - first)))
        if first + len(batch) < min(points, first + _BATCH):
            raise ValueError(f"responses must be {points}, one per point, got {first + len(batch)}")
        out = np.zeros((len(batch[0]), length), np.float32) if out is None else out
        _check_channels(batch, len(out), first)
        _add_batch(x, batch, first, points, out)
    if next(supply, None) is not None:
        raise ValueError(f"responses must be {points}, one per point, got more")
    assert out is not None
    return out


def _check_channels(batch: Sequence[Array], channels: int, first: int) -> None:
    for k, response in enumerate(batch, first):
        if response.ndim != 2 or response.size == 0 or len(response) != channels:
            raise ValueError(f"responses must have shape ({channels}, taps), got {response.shape} at point {k}")


def _add_batch(x: Signal, batch: Sequence[Array], first: int, points: int, out: Signal) -> None:
    begin, end = _reach(first, first + len(batch) - 1, points, x.size)
    size = fft.next_fast_len(end - begin + max(response.shape[1] for response in batch) - 1, real=True)
    rows = np.zeros((len(batch), size), np.float32)
    _window(x, begin, _weights(min(points, _POINTS)), first, points, rows[:, : end - begin])
    spectra = fft.rfft(rows, workers=1)
    for channel, sound in enumerate(out):
        rows[:] = 0
        for row, response in zip(rows, batch, strict=True):
            row[: response.shape[1]] = response[channel]
        transfers = fft.rfft(rows, workers=1)
        transfers *= spectra
        piece = fft.irfft(transfers.sum(axis=0), n=size, overwrite_x=True, workers=1)
        here = sound[begin : begin + size]
        here += piece[: here.size]


def _reach(first: int, last: int, points: int, frames: int) -> tuple[int, int]:
    """The samples that the windows of points `first` to `last` touch, and one more on both sides."""
    step = (frames - 1) / max(1, points - 1)
    from_interval = first - _POINTS // 2 if first >= _POINTS else 0
    to_interval = last + _POINTS // 2 if last < points - _POINTS else points
    return max(0, math.floor(from_interval * step) - 1), min(frames, math.ceil(to_interval * step) + 2)


@functools.cache
def _weights(points: int) -> Float:
    """(points - 1, rows + 1, points): the weights of `points` neighbours in a row, for places from the first to the
    last, 512 per interval.

    They are the ones of least mean square error, of those that sum to 1, for diffuse sound with a flat spectrum up to
    `_BAND`. Its covariance at a distance of t steps is the mean of sin(kt) / kt over the band: Si(z) / z, z = 2 pi
    band t. The same rule serves the middle of the track, its ends, and tracks of few points.
    """
    if points == 1:
        return np.ones((1, _ROWS + 1, 1))

    def covariance(t: Float) -> Float:
        z = np.maximum(2 * np.pi * _BAND * np.abs(t), 1e-9)
        return np.asarray(special.sici(z)[0] / z, dtype=np.float64)

    at = np.arange(points, dtype=np.float64)[:, np.newaxis]
    places = (np.arange(points - 1)[:, np.newaxis] + np.arange(_ROWS + 1) / _ROWS).ravel()
    bordered = np.ones((points + 1, points + 1))
    bordered[:-1, :-1] = covariance(at - at.T)
    bordered[-1, -1] = 0
    known = np.vstack([covariance(at - places), np.ones_like(places)])
    weights = np.asarray(np.linalg.solve(bordered, known)[:-1].T, dtype=np.float64)
    weights = weights.reshape(points - 1, _ROWS + 1, points)
    weights.setflags(write=False)
    return weights


@kernel(error_model="numpy")
def _window(x: Signal, begin: int, weights: Float, first: int, points: int, out: Signal) -> None:
    """Row k of `out` becomes x from sample `begin`, times the window of point first + k."""
    rows, width = weights.shape[1:]
    step = max(1, x.size - 1) / max(1, points - 1)
    for n in range(out.shape[1]):
        at = (begin + n) / step
        interval = min(int(at), max(0, points - 2))
        left = min(max(interval - width // 2 + 1, 0), points - width)
        past = (at - interval) * (rows - 1)
        row = min(int(past), rows - 2)
        table = weights[interval - left]
        for k in range(max(left, first), min(left + width, first + out.shape[0])):
            here = table[row, k - left]
            out[k - first, n] = x[begin + n] * (here + (past - row) * (table[row + 1, k - left] - here))
