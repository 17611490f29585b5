"""STOI and ESTOI, two predictions of intelligibility, from one pass over a reference and an estimate.

Conventions
    Signals are one-dimensional, of equal length, at `sample_rate` Hz; they are resampled to 10 kHz and computed in
    float64. Both results lie in -1..1, higher is better, and do not depend on the scale of either signal. Only the
    frames in which the reference is active (within 40 dB of its loudest frame) count, the same ones for both signals.
    With fewer than 31 of those the two cannot be computed: `TooShort("under_30_frames")`, whatever the estimate. An
    estimate that is silent in all of them has no correlation with anything: `EstimateFault("undefined")`; where it is
    silent in some, what is silent correlates with nothing and counts as 0.

STOI    Band envelopes X_j(m), 15 third octaves from 150 Hz, frames of 256 samples every 128. In every stretch of 30
        frames a band's envelope y of the estimate is scaled to the norm of the reference's x and clipped at
        (1 + 10^(15/20)) x; the mean over stretches and bands of its correlation with x.
        Taal, Hendriks, Heusdens and Jensen, "An algorithm for intelligibility prediction of time-frequency weighted
        noisy speech" (2011), eqs. 1 to 6.
ESTOI   In every stretch, bands are centred and scaled to norm 1 over frames, then frames over bands; the mean over
        stretches and frames of the correlation between x and y over bands.
        Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by modulated noise maskers"
        (2016), eqs. 1 to 8.

Values are those of pystoi 0.4.1, which resamples with the filter of Octave's `resample`, removes inactive frames before
spectra are taken, and adds 2.2e-16 to what it divides by. In ESTOI it adds noise of that standard deviation to the
envelopes, and again to the scaled ones, so that anything can be scaled to norm 1. Here the noise's expected energy
enters the norms and the noise itself does not. To an envelope that moves by far more than 1e-15 that makes no
difference. One that does not move for a whole stretch, silence or a constant offset, is all noise in pystoi, whose
value then differs from run to run (by 1e-3 for an estimate silent half of the time); here it is 0, and the result is
the mean of those values as far as whole stretches are silent.
Source: Pariente, pystoi, https://github.com/mpariente/pystoi, version 0.4.1.

Kernels hold numbers in vectors of 8, one lane per output sample, frame or stretch, so that what is summed is summed in
the same order on every processor.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault, TooShort
from manifests.compiled import kernel
from manifests.lanes import DOUBLES, inlined

__all__ = ["RATE", "Reference", "Scores", "both", "estoi", "stoi"]

Signal = NDArray[np.float64]

RATE = 10000
"""Hz, at which both are computed."""

FRAME, HOP, FFT = 256, 128, 512
BANDS, LOWEST_HZ = 15, 150.0
STRETCH = 30  # frames
RANGE_DB = 40.0
CLIP = 1 + 10 ** (15 / 20)  # no band counts for less than -15 dB of signal to distortion

EPS = float(np.finfo(np.float64).eps)
ROW_NOISE = (STRETCH - 1) * EPS**2  # expected energy of noise around its mean, over frames and over bands
COLUMN_NOISE = (BANDS - 1) * EPS**2

LANES = DOUBLES.width

_HUGE = 1e100  # above, squares of squares may overflow
_PERIODS = 8  # of the resampling filter, as many as `_filter` has sums

Array = TypeVar("Array", Signal, NDArray[np.int64])


@dataclass(frozen=True)
class Scores:
    """Both values of one estimate."""

    stoi: float
    estoi: float


@dataclass(frozen=True)
class Reference:
    """What all estimates of one reference share. Arrays have whole vectors of frames: what lies past the last means
    nothing.
    """

    samples: int
    sample_rate: int
    active: NDArray[np.int64]  # where active frames begin, in samples at 10 kHz
    bands: Signal  # (bands, frames)
    statistics: Signal  # (3, bands, stretches): norm, mean, norm around the mean

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int) -> Reference:
        """The reference's half. `TooShort` with fewer than 31 active frames."""
        if sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 Hz, got {sample_rate}")
        x = _checked(reference, "reference")
        resampled = _resampled(x, sample_rate)
        active = _active(resampled)
        if len(active) <= STRETCH:  # joined and framed anew, they give one frame less
            raise TooShort("under_30_frames")
        bands = _bands(resampled, active)
        if not bands[:, : len(active) - 1].any():
            raise ReferenceFault("silent")
        return cls(len(x), sample_rate, active, bands, _statistics(bands, len(active) - STRETCH))

    def score(self, estimate: ArrayLike) -> Scores:
        """STOI and ESTOI of one estimate of this reference."""
        y = _checked(estimate, "estimate")
        if len(y) != self.samples:
            raise ValueError(f"estimate must have the reference's {self.samples} samples, got {len(y)}")
        bands = _bands(_resampled(y, self.sample_rate), self.active)
        if not bands[:, : len(self.active) - 1].any():
            raise EstimateFault("undefined")
        stretches = len(self.active) - STRETCH
        sides = self.bands, self.statistics, bands, _statistics(bands, stretches)
        return Scores(float(_stoi(*sides)[:stretches].mean()), float(_estoi(*sides)[:stretches].mean()))


def both(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> Scores:
    """STOI and ESTOI at once, which costs little more than one."""
    return Reference.of(reference=reference, sample_rate=sample_rate).score(estimate)


def stoi(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Short-time objective intelligibility, -1..1."""
    return both(reference=reference, estimate=estimate, sample_rate=sample_rate).stoi


def estoi(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Extended short-time objective intelligibility, -1..1."""
    return both(reference=reference, estimate=estimate, sample_rate=sample_rate).estoi


def _checked(signal: ArrayLike, name: str) -> Signal:
    """The signal as kernels take it; where squares of its samples could overflow, at a peak of 1."""
    x = np.asarray(signal, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{name} must have shape (samples,) with samples > 0, got {x.shape}")
    peak = max(x.max(), -x.min())
    if not np.isfinite(peak):
        raise ValueError(f"{name} must be finite, got NaN or infinite samples")
    return x / peak if peak > _HUGE else x


# ------------------------------------------------------------------------------------------------------ resampling


def _resampled(x: Signal, sample_rate: int) -> Signal:
    """`x` at 10 kHz, contiguous and writable: any other kind of array would have every kernel compiled anew."""
    if sample_rate == RATE:
        return np.require(x, requirements=["C", "W"])
    divisor = math.gcd(RATE, sample_rate)
    up, down = RATE // divisor, sample_rate // divisor
    starts, rows = _polyphase(up, down)
    samples, period = -(-len(x) * up // down), LANES * len(starts)
    rounds = -(-samples // (_PERIODS * period))
    step = period // up * down
    lead = -int(starts[0])
    padded = np.zeros(max(len(x), (rounds * _PERIODS - 1) * step + int(starts[-1]) + rows.shape[1]) + lead)
    padded[lead : lead + len(x)] = x
    out = np.empty(rounds * _PERIODS * period)
    _filter(padded, starts + lead, rows, step, out)
    return out[:samples]


@functools.lru_cache(maxsize=4)
def _polyphase(up: int, down: int) -> tuple[NDArray[np.int64], Signal]:
    """The filter of resampling by up / down, for the shortest period of whole vectors of outputs.

    y[n] = sum over i of x[i] h[n down - i up + half]. Vector g of outputs needs inputs from starts[g] on, with weights
    rows[g, input, lane].
    """
    h = _lowpass(up, down)
    half = len(h) // 2
    n = np.arange(math.lcm(up, LANES), dtype=np.int64).reshape(-1, 1, LANES)
    starts = -((half - n[:, 0, 0] * down) // up)
    taps = (2 * half + (LANES - 1) * down) // up + 1
    i = (starts[:, np.newaxis] + np.arange(taps))[:, :, np.newaxis]
    k = n * down - i * up + half
    rows = np.where((k >= 0) & (k < len(h)), h[np.clip(k, 0, len(h) - 1)], 0.0)
    return _constant(starts), _constant(rows)


def _lowpass(up: int, down: int) -> Signal:
    """Octave's `resample`: a sinc in a Kaiser window, 60 dB down, the transition a tenth of the cut-off wide."""
    rejection_db = 60.0
    cutoff = 1 / (2 * max(up, down))
    half = math.ceil((rejection_db - 8) / (28.714 * cutoff / 10))
    ideal = np.sinc(2 * cutoff * np.arange(-half, half + 1))
    h = np.kaiser(2 * half + 1, 0.1102 * (rejection_db - 8.7)) * ideal
    return np.asarray(h * (up / h.sum()))


# ---------------------------------------------------------------------------------------------------------- frames


def _active(x: Signal) -> NDArray[np.int64]:
    """Where the frames of the reference begin that are within 40 dB of the loudest."""
    # a frame that ends with the signal does not count: so in pystoi
    starts: NDArray[np.int64] = np.arange(0, len(x) - FRAME, HOP)
    if not len(starts):
        return starts
    level_db: Signal = 20 * np.log10(_norms(x, starts, _window()) + EPS)
    heard: NDArray[np.bool_] = level_db.max() - RANGE_DB - level_db < 0
    return starts[heard]


def _bands(x: Signal, active: NDArray[np.int64]) -> Signal:
    """Envelopes (bands, frames) of the active frames, joined by overlap-add and framed anew.

    Frames fill whole vectors, and one more lies behind: `_statistics` and its like read 8 stretches at a time.
    """
    frames = _whole(len(active) - 1)
    joined = np.zeros((frames + 2) * HOP)
    _join(x, active, _window(), joined)
    out = np.zeros((BANDS, frames + LANES))
    _transform(joined, _window(), _turns(), _places(), _edges(), out)
    return out


def _whole(count: int) -> int:
    """As many, in whole vectors."""
    return -(-count // LANES) * LANES


@functools.cache
def _window() -> Signal:
    return _constant(np.hanning(FRAME + 2)[1:-1])


@functools.cache
def _edges() -> NDArray[np.int64]:
    """First bin of every band, and one past the last band: the bins nearest to the third octaves' edges."""
    edges_hz = LOWEST_HZ * 2 ** ((2 * np.arange(BANDS + 1) - 1) / 6)
    return _constant(np.abs(np.arange(FFT // 2 + 1) * RATE / FFT - edges_hz[:, np.newaxis]).argmin(axis=1))


@functools.cache
def _turns() -> Signal:
    """Cosine and sine of every part of a turn in 512."""
    angle = 2 * np.pi * np.arange(FFT) / FFT
    return _constant(np.stack([np.cos(angle), np.sin(angle)]))


@functools.cache
def _places() -> NDArray[np.int64]:
    """Where the transform of 256 = 4 x 4 x 4 x 4 points leaves each bin: its digits to base 4 in reverse."""
    return _constant(np.arange(FRAME).reshape(4, 4, 4, 4).transpose().ravel())


def _constant(array: Array) -> Array:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


# --------------------------------------------------------------------------------------------------------- kernels

_load, _store, _load_one, _transposed = DOUBLES.load, DOUBLES.store, DOUBLES.load_one, DOUBLES.transposed
_spread, _sum, _root, _least, _multiply_add = (
    DOUBLES.spread,
    DOUBLES.sum,
    DOUBLES.root,
    DOUBLES.least,
    DOUBLES.multiply_add,
)


@kernel()
def _filter(x: Any, starts: Any, rows: Any, step: Any, out: Any) -> None:
    """Eight outputs of eight periods at a time: weights that were loaded serve all eight periods."""
    taps, period = rows.shape[1], LANES * starts.size
    for first in range(0, out.size // period, _PERIODS):
        for g in range(starts.size):
            at = first * step + starts[g]
            a = b = c = d = e = f = p = q = _spread(0.0)
            for k in range(taps):
                weights = _load(rows, (g * taps + k) * LANES)
                a = _multiply_add(weights, _load_one(x, at + k), a)
                b = _multiply_add(weights, _load_one(x, at + k + step), b)
                c = _multiply_add(weights, _load_one(x, at + k + 2 * step), c)
                d = _multiply_add(weights, _load_one(x, at + k + 3 * step), d)
                e = _multiply_add(weights, _load_one(x, at + k + 4 * step), e)
                f = _multiply_add(weights, _load_one(x, at + k + 5 * step), f)
                p = _multiply_add(weights, _load_one(x, at + k + 6 * step), p)
                q = _multiply_add(weights, _load_one(x, at + k + 7 * step), q)
            to = first * period + g * LANES
            _store(out, to, a)
            _store(out, to + period, b)
            _store(out, to + 2 * period, c)
            _store(out, to + 3 * period, d)
            _store(out, to + 4 * period, e)
            _store(out, to + 5 * period, f)
            _store(out, to + 6 * period, p)
            _store(out, to + 7 * period, q)


@kernel()
def _norms(x: Any, starts: Any, window: Any) -> Any:
    """The norm of every windowed frame."""
    out = np.empty(starts.size)
    for f in range(starts.size):
        total = _spread(0.0)
        for k in range(0, window.size, LANES):
            value = _load(window, k) * _load(x, starts[f] + k)
            total = _multiply_add(value, value, total)
        out[f] = math.sqrt(_sum(total))
    return out


@kernel()
def _join(x: Any, starts: Any, window: Any, out: Any) -> None:
    """Windowed frames, each added half a frame after the one before."""
    for f in range(starts.size):
        for k in range(0, window.size, LANES):
            to = f * (window.size // 2) + k
            _store(out, to, _multiply_add(_load(window, k), _load(x, starts[f] + k), _load(out, to)))


@kernel()
def _transform(x: Any, window: Any, turns: Any, places: Any, edges: Any, out: Any) -> None:
    """The root of the energy in every band of every frame, eight frames at a time.

    The transform of 512 real points, the last 256 zero, is that of 256 complex points z[n] = x[2 n] + i x[2 n + 1],
    the last 128 zero:  2 X[k] = Z[k] + Z*[256 - k] - i exp(-2 pi i k / 512) (Z[k] - Z*[256 - k]).
    """
    re, im = np.empty(FRAME * LANES), np.empty(FRAME * LANES)
    for first in range(0, out.shape[1] - LANES, LANES):
        _read(x, first * HOP, window, re, im)
        _first_step(turns, re, im)
        for quarter in (FRAME // 16, FRAME // 64, 1):
            _step(quarter, turns, re, im)
        for j in range(edges.size - 1):
            total = _spread(0.0)
            for k in range(edges[j], edges[j + 1]):
                here, there = places[k] * LANES, places[FRAME - k] * LANES
                cosine, sine = _load_one(turns, k), _load_one(turns, FFT + k)
                sum_re, sum_im = _load(re, here) + _load(re, there), _load(im, here) - _load(im, there)
                gap_re, gap_im = _load(re, here) - _load(re, there), _load(im, here) + _load(im, there)
                x_re = sum_re + (cosine * gap_im - sine * gap_re)
                x_im = sum_im - (cosine * gap_re + sine * gap_im)
                total = _multiply_add(x_re, x_re, _multiply_add(x_im, x_im, total))
            _store(out, j * out.shape[1] + first, _root(total) * _spread(0.5))


@inlined
def _read(x: Any, start: Any, window: Any, re: Any, im: Any) -> None:
    """Windowed samples of eight frames: those of even number to `re`, those of odd number to `im`."""
    for k in range(0, FRAME, LANES):
        even0, odd0, even1, odd1, even2, odd2, even3, odd3 = _transposed(_eight_frames(x, start + k))
        to = k // 2 * LANES
        _store(re, to, even0 * _load_one(window, k))
        _store(im, to, odd0 * _load_one(window, k + 1))
        _store(re, to + LANES, even1 * _load_one(window, k + 2))
        _store(im, to + LANES, odd1 * _load_one(window, k + 3))
        _store(re, to + 2 * LANES, even2 * _load_one(window, k + 4))
        _store(im, to + 2 * LANES, odd2 * _load_one(window, k + 5))
        _store(re, to + 3 * LANES, even3 * _load_one(window, k + 6))
        _store(im, to + 3 * LANES, odd3 * _load_one(window, k + 7))


@inlined
def _eight_frames(x: Any, at: Any) -> Any:
    """Eight samples of each."""
    return (
        _load(x, at),
        _load(x, at + HOP),
        _load(x, at + 2 * HOP),
        _load(x, at + 3 * HOP),
        _load(x, at + 4 * HOP),
        _load(x, at + 5 * HOP),
        _load(x, at + 6 * HOP),
        _load(x, at + 7 * HOP),
    )


@inlined
def _first_step(turns: Any, re: Any, im: Any) -> None:
    """`_step` with a quarter of 64 where the last two of four inputs are zero."""
    apart = FRAME // 4 * LANES
    for k in range(FRAME // 4):
        i = k * LANES
        a_re, a_im, b_re, b_im = _load(re, i), _load(im, i), _load(re, i + apart), _load(im, i + apart)
        _store(re, i, a_re + b_re)
        _store(im, i, a_im + b_im)
        _put(re, im, i + apart, a_re + b_im, a_im - b_re, turns, 2 * k)
        _put(re, im, i + 2 * apart, a_re - b_re, a_im - b_im, turns, 4 * k)
        _put(re, im, i + 3 * apart, a_re - b_im, a_im + b_re, turns, 6 * k)


@inlined
def _step(quarter: Any, turns: Any, re: Any, im: Any) -> None:
    """One step in place: transforms of four numbers that are a quarter apart, each turned towards its place."""
    apart = quarter * LANES
    for k in range(quarter):
        turn = FFT // (4 * quarter) * k
        for i in range(k * LANES, FRAME * LANES, 4 * apart):
            a_re, a_im, b_re, b_im = _load(re, i), _load(im, i), _load(re, i + apart), _load(im, i + apart)
            c_re, c_im = _load(re, i + 2 * apart), _load(im, i + 2 * apart)
            d_re, d_im = _load(re, i + 3 * apart), _load(im, i + 3 * apart)
            even_re, even_im, odd_re, odd_im = a_re + c_re, a_im + c_im, b_re + d_re, b_im + d_im
            left_re, left_im, right_re, right_im = a_re - c_re, a_im - c_im, b_re - d_re, b_im - d_im
            _store(re, i, even_re + odd_re)
            _store(im, i, even_im + odd_im)
            _put(re, im, i + apart, left_re + right_im, left_im - right_re, turns, turn)
            _put(re, im, i + 2 * apart, even_re - odd_re, even_im - odd_im, turns, 2 * turn)
            _put(re, im, i + 3 * apart, left_re - right_im, left_im + right_re, turns, 3 * turn)


@inlined
def _put(re: Any, im: Any, index: Any, x_re: Any, x_im: Any, turns: Any, turn: Any) -> None:
    """x exp(-2 pi i turn / 512), in place."""
    cosine, sine = _load_one(turns, turn), _load_one(turns, FFT + turn)
    _store(re, index, _multiply_add(x_im, sine, x_re * cosine))
    _store(im, index, x_im * cosine - x_re * sine)


@kernel()
def _statistics(bands: Any, stretches: Any) -> Any:
    """Norm, mean, and norm around the mean of every band in every stretch."""
    rows, width = bands.shape
    length = (stretches + LANES - 1) // LANES * LANES
    out = np.empty((3, rows, length))
    scale = _spread(1 / STRETCH)
    for j in range(rows):
        for first in range(0, length, LANES):
            x, to = j * width + first, j * length + first
            energy = total = around = _spread(0.0)
            for n in range(STRETCH):
                value = _load(bands, x + n)
                energy, total = _multiply_add(value, value, energy), total + value
            mean = total * scale
            for n in range(STRETCH):
                change = _load(bands, x + n) - mean
                around = _multiply_add(change, change, around)
            _store(out, to, _root(energy))
            _store(out, to + rows * length, mean)
            _store(out, to + 2 * rows * length, _root(around))
    return out


@kernel()
def _stoi(x: Any, x_statistics: Any, y: Any, y_statistics: Any) -> Any:
    """STOI of every stretch."""
    rows, width = x.shape
    length = x_statistics.shape[2]
    out, clipped = np.empty(length), np.empty(STRETCH * LANES)
    eps, clip, scale, share = _spread(EPS), _spread(CLIP), _spread(1 / STRETCH), _spread(1 / rows)
    for first in range(0, length, LANES):
        correlation = _spread(0.0)
        for j in range(rows):
            a, norm = j * width + first, j * length + first
            x_mean, x_spread = _load(x_statistics, norm + rows * length), _load(x_statistics, norm + 2 * rows * length)
            gain = _load(x_statistics, norm) / (_load(y_statistics, norm) + eps)
            total = energy = cross = _spread(0.0)
            for n in range(STRETCH):
                value = _least(_load(y, a + n) * gain, _load(x, a + n) * clip)
                total = total + value
                _store(clipped, n * LANES, value)
            mean = total * scale
            for n in range(STRETCH):
                change = _load(clipped, n * LANES) - mean
                energy = _multiply_add(change, change, energy)
                cross = _multiply_add(change, _load(x, a + n) - x_mean, cross)
            correlation = correlation + cross / ((_root(energy) + eps) * (x_spread + eps))
        _store(out, first, correlation * share)
    return out


@kernel()
def _estoi(x: Any, x_statistics: Any, y: Any, y_statistics: Any) -> Any:
    """ESTOI of every stretch."""
    rows, width = x.shape
    length = x_statistics.shape[2]
    out, a, b = np.empty(length), np.empty(rows * LANES), np.empty(rows * LANES)
    a_scale, b_scale = np.empty(rows * LANES), np.empty(rows * LANES)
    noise, scale, share = _spread(COLUMN_NOISE), _spread(1 / rows), _spread(1 / STRETCH)
    for first in range(0, length, LANES):
        for j in range(rows):
            spread = (2 * rows + j) * length + first
            _store(a_scale, j * LANES, _scale(_load(x_statistics, spread)))
            _store(b_scale, j * LANES, _scale(_load(y_statistics, spread)))
        correlation = _spread(0.0)
        for n in range(STRETCH):
            a_total = b_total = a_energy = b_energy = cross = _spread(0.0)
            for j in range(rows):
                at, mean = j * width + first + n, (rows + j) * length + first
                a_value = (_load(x, at) - _load(x_statistics, mean)) * _load(a_scale, j * LANES)
                b_value = (_load(y, at) - _load(y_statistics, mean)) * _load(b_scale, j * LANES)
                a_total, b_total = a_total + a_value, b_total + b_value
                _store(a, j * LANES, a_value)
                _store(b, j * LANES, b_value)
            a_mean, b_mean = a_total * scale, b_total * scale
            for j in range(rows):
                a_change, b_change = _load(a, j * LANES) - a_mean, _load(b, j * LANES) - b_mean
                a_energy = _multiply_add(a_change, a_change, a_energy)
                b_energy = _multiply_add(b_change, b_change, b_energy)
                cross = _multiply_add(a_change, b_change, cross)
            correlation = correlation + cross / _root((a_energy + noise) * (b_energy + noise))
        _store(out, first, correlation * share)
    return out


@inlined
def _scale(spread: Any) -> Any:
    """What brings a band to norm 1."""
    return _spread(1.0) / _root(_multiply_add(spread, spread, _spread(ROW_NOISE)))
