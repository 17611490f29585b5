"""Levels of a signal, and the SNR of one over another, each under a definition that is named.

RMS, peak, DC and clipping; the active speech level of ITU-T P.56 (method B); programme loudness of ITU-R BS.1770-4;
occupied bandwidth; five kinds of SNR and the gain that realises one.

Conventions
    Signals are float32 with full scale 1.0, shape (samples,); `peak`, `dc`, `clipped_fraction` and `loudness_lufs`
    also take (channels, samples).
    Levels are in dBFS: 20 log10(RMS), so that a full-scale sine is at -3.01. LUFS is another quantity.
    `None` means undefined: the level of silence, the loudness of less than 0.4 s. Infinity and NaN raise ValueError.
    All sums are float64, in an order that depends on the length alone.

    SNR kinds, with speech and noise on the reference channel:
        p56_active  P.56 active level of speech less the RMS level of noise over the samples that P.56 calls active
        rms_active  RMS levels of both over those samples
        rms         RMS levels of both over the placed span (start, stop), padding excluded; without one, over all
        lufs        difference in loudness (LU)
        peak        difference in peak level

Source
    ITU-T P.56 (12/2011), method B. ITU-R BS.1770-4 (10/2015), annex 1. Bandwidth: the -50 dB rule of the URGENT
    challenge.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from augment import grid
from augment.weighting import HOPS_PER_S, hop_energies, k_weighting
from manifests.compiled import kernel

__all__ = [
    "SNR_KINDS",
    "ActiveLevel",
    "Activity",
    "active_level",
    "active_mask",
    "activity",
    "bandwidth_hz",
    "clipped_fraction",
    "db",
    "dc",
    "from_db",
    "k_weighting",
    "loudness_lufs",
    "noise_gain",
    "peak",
    "rms_dbfs",
    "snr_all",
    "snr_db",
]

Signal = npt.NDArray[np.float32]
Power = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Array = npt.NDArray[np.floating[Any]]
Span = tuple[int, int]

SNR_KINDS = ("p56_active", "rms_active", "rms", "lufs", "peak")

CLIPPED = 1.0 - 2.0**-15
"""Full scale of 16 bit: its largest positive sample is 1 - 2^-15."""

MARGIN_DB = 15.9
TIME_CONSTANT_S = 0.03
_HANGOVERS_PER_S = 5  # 0.2 s
_THRESHOLDS: Power = np.asarray(np.exp2(np.arange(-20.0, 1.0, 1 / 64)), dtype=np.float64)  # re sqrt(energy)
_LANES = 64  # sums run side by side in as many registers as that takes, then across
_STRETCH = 256
_PIECE = 64 * _STRETCH
_TINY = 1e-60  # keeps recursions out of the subnormal range, where they are a hundred times slower


def db(amplitude: float) -> float | None:
    """20 log10(amplitude); `None` at zero."""
    return 20.0 * math.log10(amplitude) if amplitude > 0 else None


def from_db(level_db: float) -> float:
    """Amplitude of a level: 10^(level_db / 20)."""
    return float(10.0 ** (level_db / 20.0))


# Plain levels


def rms_dbfs(x: Array) -> float | None:
    """RMS level of (samples,); `None` for silence."""
    return _level(_mean_square(_row("x", x)))


def peak(x: Array) -> float:
    """Largest magnitude."""
    return _finite(grid.peak(_shaped("x", x)))


def dc(x: Array) -> float:
    """Mean of the channel whose mean is largest in magnitude."""
    means = np.atleast_1d(np.mean(_rows("x", x), axis=-1, dtype=np.float64))
    return float(means[np.argmax(np.abs(means))])


def clipped_fraction(x: Array) -> float:
    """Share of samples at full scale or above (magnitude 1 - 2^-15 or more), on the channel with the most of them.

    It does not see a signal that was clipped first and turned down later.
    """
    return float(np.max(np.mean(np.abs(_rows("x", x)) >= CLIPPED, axis=-1)))


def _row(name: str, x: Array) -> Signal:
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{name} must have shape (samples,) and not be empty, got {x.shape}")
    return np.ascontiguousarray(x, dtype=np.float32)


def _shaped(name: str, x: Array) -> Array:
    if x.ndim not in (1, 2) or x.size == 0:
        raise ValueError(f"{name} must have shape (samples,) or (channels, samples) and not be empty, got {x.shape}")
    return np.atleast_2d(x)


def _rows(name: str, x: Array) -> Signal:
    rows = np.ascontiguousarray(_shaped(name, x), dtype=np.float32)
    _finite(grid.peak(rows), name)
    return rows


def _finite(value: float, name: str = "x") -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got infinity or NaN")
    return value


def _level(mean_square: float | None) -> float | None:
    return 10.0 * math.log10(mean_square) if mean_square else None


def _mean_square(x: Signal) -> float:
    return _finite(_energy(x)) / x.size


def _masked_mean_square(x: Signal, mask: Mask) -> float | None:
    count = int(np.count_nonzero(mask))
    return _finite(_masked_energy(x, mask)) / count if count else None


@kernel()
def _energy(x: Signal) -> float:
    lanes = np.zeros(_LANES)
    for row in range(x.size // _LANES):
        for lane in range(_LANES):
            lanes[lane] += np.float64(x[row * _LANES + lane]) ** 2
    for i in range(x.size - x.size % _LANES, x.size):
        lanes[0] += np.float64(x[i]) ** 2
    return float(lanes.sum())


@kernel()
def _masked_energy(x: Signal, mask: Mask) -> float:
    lanes = np.zeros(_LANES)
    for row in range(x.size // _LANES):
        for lane in range(_LANES):
            value = np.float64(x[row * _LANES + lane])
            lanes[lane] += value * value if mask[row * _LANES + lane] else 0.0
    for i in range(x.size - x.size % _LANES, x.size):
        lanes[0] += np.float64(x[i]) ** 2 if mask[i] else 0.0
    return float(lanes.sum())


@kernel()
def _energies(x: Signal, mask: Mask) -> tuple[float, float]:
    """Both of them, added in the same order."""
    lanes, masked = np.zeros(_LANES), np.zeros(_LANES)
    for row in range(x.size // _LANES):
        for lane in range(_LANES):
            value = np.float64(x[row * _LANES + lane]) ** 2
            lanes[lane] += value
            masked[lane] += value if mask[row * _LANES + lane] else 0.0
    for i in range(x.size - x.size % _LANES, x.size):
        lanes[0] += np.float64(x[i]) ** 2
        masked[0] += np.float64(x[i]) ** 2 if mask[i] else 0.0
    return float(lanes.sum()), float(masked.sum())


# ITU-T P.56


@dataclass(frozen=True)
class ActiveLevel:
    """`activity` is the share of time that is active, `threshold_dbfs` the envelope level that decides it."""

    level_dbfs: float
    activity: float
    threshold_dbfs: float


class Activity(NamedTuple):
    """The P.56 analysis of a signal: its active level, and the samples that are active."""

    level: ActiveLevel | None
    mask: Mask

    def after(self, gain: float) -> Activity:
        """The analysis of the same signal times `gain`: the mask stays, the levels move."""
        if self.level is None:
            return self
        shift = 20.0 * math.log10(gain)
        level, activity, threshold = self.level.level_dbfs, self.level.activity, self.level.threshold_dbfs
        return Activity(ActiveLevel(level + shift, activity, threshold + shift), self.mask)


def activity(x: Array, sample_rate: int) -> Activity:
    """`active_level` and `active_mask` of (samples,), for callers that need both."""
    signal = _row("x", x)
    envelope = np.empty(signal.size)
    level = _active_level(signal, sample_rate, envelope)
    if level is None:
        return Activity(None, np.zeros(signal.size, np.bool_))
    return Activity(level, _above(envelope, _hangover(sample_rate), from_db(level.threshold_dbfs)))


def active_level(x: Array, sample_rate: int) -> ActiveLevel | None:
    """Active speech level of (samples,) by method B of P.56.

    Envelope: |x| through two one-pole averages of 0.03 s. At each threshold c_j, a_j samples are active: those where
    the envelope is c_j or above, and 0.2 s (hangover) after. The level is A = 10 log10(sum x^2 / a) at the threshold
    that lies 15.9 dB below it, interpolated in dB between the two that bracket it (the limit of the standard's
    bisection).

    The standard's thresholds are fixed and an octave apart, so that its level depends on the gain: over a third of the
    test corpus by 0.02 dB (median), 0.3 dB (one file in twenty), 0.9 dB (worst). Here they are 64 to the octave
    and count from sqrt(sum x^2): the level follows the gain, ignores appended silence, and is the one to which finer
    steps converge.

    `None` for silence, for less than 0.2 s, and where no threshold lies 15.9 dB below its level (a lone click).
    """
    return _active_level(_row("x", x), sample_rate, np.empty(0))


def active_mask(x: Array, sample_rate: int) -> Mask:
    """The samples of (samples,) that P.56 calls active; none where the active level is undefined."""
    return activity(x, sample_rate).mask


def _active_level(x: Signal, sample_rate: int, envelope: Power, thresholds: Power | None = None) -> ActiveLevel | None:
    """`envelope` is filled where it has as many samples as `x`."""
    hangover, energy = _hangover(sample_rate), _finite(_energy(x))
    if x.size < hangover or energy == 0:
        return None
    grid = math.sqrt(energy) * _THRESHOLDS if thresholds is None else thresholds
    counts = _activity(x, *_smoothing(sample_rate), hangover, grid, envelope)
    active = np.cumsum(counts[::-1])[::-1][1:]  # samples active at each threshold; counts[0] lie below all of them
    used = active > 0
    levels = 10.0 * np.log10(energy / active[used])
    steps = 20.0 * np.log10(grid[used])
    crossing = _crossing(levels - steps)
    if crossing is None:
        return None
    level, threshold = (float(np.interp(crossing, np.arange(levels.size), v)) for v in (levels, steps))
    return ActiveLevel(level, min(1.0, energy / x.size / 10.0 ** (level / 10.0)), threshold)


def _crossing(margins: Power) -> float | None:
    """Fractional index where the margin first falls to 15.9 dB, margins counted from the lowest threshold up."""
    below = np.nonzero(margins <= MARGIN_DB)[0]
    if not below.size or below[0] == 0:
        return None
    j = int(below[0])
    return float(j - 1 + (margins[j - 1] - MARGIN_DB) / (margins[j - 1] - margins[j]))


@functools.cache
def _smoothing(sample_rate: int) -> tuple[float, Power, Power]:
    """The coefficient g of an average, and what an average q of an average p keeps of both, n samples later:
    g^n q + n (1 - g) g^n p.
    """
    g = math.exp(-1.0 / (TIME_CONSTANT_S * sample_rate))
    samples = np.arange(1, _STRETCH + 1)
    of_q = np.asarray(g**samples, dtype=np.float64)
    return g, of_q, np.asarray(samples * (1.0 - g) * of_q)


def _hangover(sample_rate: int) -> int:
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be positive, got {sample_rate}")
    return -(-sample_rate // _HANGOVERS_PER_S)


@kernel()
def _activity(
    x: Signal, g: float, of_q: Power, of_p: Power, hangover: int, thresholds: Power, envelope: Power
) -> Counts:
    """For each number of thresholds the count of samples at which that many are active.

    A threshold is active at a sample if the envelope reached it there or during the hangover before. Thresholds rise,
    so one number says which: the highest that was reached, `active`, found from the last time each was the highest
    (`last`). Between two crossings of a threshold, only hangovers end.
    """
    edges = np.concatenate((np.array([-np.inf]), thresholds, np.array([np.inf])))
    counts = np.zeros(thresholds.size + 1, np.int64)
    last = np.full(thresholds.size + 1, -hangover - 1)
    here = active = since = 0
    low, high = edges[0], edges[1]
    past, piece = np.zeros(2), np.empty(_PIECE)
    for start in range(0, x.size, _PIECE):
        stop = min(start + _PIECE, x.size)
        q = envelope[start:stop] if envelope.size else piece[: stop - start]
        _envelope(x[start:stop], g, of_q, of_p, past, q)
        for i in range(q.size):
            if low <= q[i] < high:
                continue
            now = start + i
            last[here] = now - 1
            active, since = _lapse(counts, last, active, since, hangover, now)
            while q[i] >= edges[here + 1]:
                here += 1
            while q[i] < edges[here]:
                here -= 1
            low, high = edges[here], edges[here + 1]
            if here > active:
                counts[active] += now - since
                active, since = here, now
    last[here] = x.size - 1
    active, since = _lapse(counts, last, active, since, hangover, x.size)
    counts[active] += x.size - since
    return counts


@numba.njit()
def _lapse(counts: Counts, last: Counts, active: int, since: int, hangover: int, now: int) -> tuple[int, int]:
    """The threshold that is active after the hangovers that have ended before `now`, and since when."""
    while last[active] + hangover < now - 1:
        end = max(since, last[active] + hangover + 1)
        counts[active] += end - since
        active, since = active - 1, end
    return active, since


@numba.njit()
def _envelope(x: Signal, g: float, of_q: Power, of_p: Power, past: Power, out: Power) -> None:
    """|x| through two averages; `past` holds both, before and after.

    A recursion waits for itself at every sample, so four stretches run side by side, all but the first as if silence
    came before; what their past leaves in them is added when it is known.
    """
    h = 1.0 - g
    before_p, before_q = past[0], past[1]
    whole = x.size - x.size % (4 * _STRETCH)
    for start in range(0, whole, 4 * _STRETCH):
        a, b, c, d = start, start + _STRETCH, start + 2 * _STRETCH, start + 3 * _STRETCH
        p_a, q_a, p_b, q_b, p_c, q_c, p_d, q_d = before_p, before_q, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(_STRETCH):
            p_a = g * p_a + (h * abs(np.float64(x[a + i])) + _TINY)
            p_b = g * p_b + (h * abs(np.float64(x[b + i])) + _TINY)
            p_c = g * p_c + (h * abs(np.float64(x[c + i])) + _TINY)
            p_d = g * p_d + (h * abs(np.float64(x[d + i])) + _TINY)
            q_a = g * q_a + h * p_a
            q_b = g * q_b + h * p_b
            q_c = g * q_c + h * p_c
            q_d = g * q_d + h * p_d
            out[a + i], out[b + i], out[c + i], out[d + i] = q_a, q_b, q_c, q_d
        before_p, before_q = p_a, q_a
        for begin, p in ((b, p_b), (c, p_c), (d, p_d)):
            for i in range(_STRETCH):
                out[begin + i] += before_q * of_q[i] + before_p * of_p[i]
            before_p, before_q = p + before_p * of_q[-1], out[begin + _STRETCH - 1]
    for i in range(whole, x.size):
        before_p = g * before_p + (h * abs(np.float64(x[i])) + _TINY)
        before_q = g * before_q + h * before_p
        out[i] = before_q
    past[0], past[1] = before_p, before_q


@kernel()
def _above(envelope: Power, hangover: int, threshold: float) -> Mask:
    active = np.empty(envelope.size, np.bool_)
    last = -hangover - 1
    for i in range(envelope.size):
        if envelope[i] >= threshold:
            last = i
        active[i] = i - last <= hangover
    return active


# ITU-R BS.1770

_HOPS_PER_BLOCK = 4
_OFFSET_DB = -0.691
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0


def loudness_lufs(x: Array, sample_rate: int) -> float | None:
    """Integrated, gated loudness of (samples,) or (channels, samples).

    Blocks of 0.4 s every 0.1 s; gates at -70 LUFS and 10 LU below the mean of what passes the first. The channels are
    those of a microphone array and weigh 1.0 each; the surround weights of the standard are not applied. `None` under
    0.4 s or where no block passes the gates.
    """
    return _loudness(_rows("x", x), sample_rate)


def _loudness(rows: Signal, sample_rate: int) -> float | None:
    return _integrated(_block_powers(rows, sample_rate))


def _integrated(powers: Power) -> float | None:
    audible = powers[powers > _power_at(_ABSOLUTE_GATE_LUFS)]
    if not audible.size:
        return None
    kept = audible[audible > audible.mean() * 10.0 ** (_RELATIVE_GATE_LU / 10.0)]
    return _OFFSET_DB + 10.0 * math.log10(float(kept.mean()))


def _power_at(lufs: float) -> float:
    return float(10.0 ** ((lufs - _OFFSET_DB) / 10.0))


def _block_powers(x: Signal, sample_rate: int) -> Power:
    """Mean square of each whole block after K-weighting, summed over channels: (blocks,)."""
    hops = x.shape[-1] * HOPS_PER_S // sample_rate
    if hops < _HOPS_PER_BLOCK:
        return np.zeros(0)
    edges = np.arange(hops + 1) * sample_rate // HOPS_PER_S
    energies = np.sum([hop_energies(row, sample_rate, hops) for row in x], axis=0)
    blocks = np.lib.stride_tricks.sliding_window_view(energies, _HOPS_PER_BLOCK).sum(axis=-1)
    return np.asarray(blocks / (edges[_HOPS_PER_BLOCK:] - edges[:-_HOPS_PER_BLOCK]))


# Bandwidth

_FRAMES_PER_S = 23.4375  # 2048 samples at 48 kHz
_FRAMES_AT_ONCE = 64


def bandwidth_hz(x: Array, sample_rate: int, floor_db: float = -50.0) -> float | None:
    """Highest frequency at which the long-term average power spectrum of (samples,) exceeds its maximum + `floor_db`.

    Hann frames of about 43 ms, half overlapped; the mean of the signal is removed first. It names content, not
    quality: a loud hum hides a quiet band, and a dark voice in a wide recording may stay below the floor. `None` for
    silence or less than one frame.
    """
    if floor_db >= 0 or sample_rate < 1:
        raise ValueError(f"floor_db must be negative and sample_rate positive, got {floor_db} and {sample_rate}")
    signal = _rows("x", _row("x", x))[0]
    size = int(fft.next_fast_len(math.ceil(sample_rate / _FRAMES_PER_S), real=True))
    if signal.size < size or not np.any(signal):
        return None
    spectrum = _average_spectrum(signal - signal.mean(dtype=np.float64).astype(np.float32), size)
    if not spectrum.any():
        return None
    occupied = np.nonzero(spectrum > spectrum.max() * 10.0 ** (floor_db / 10.0))[0]
    return float(occupied[-1] * sample_rate / size)


def _average_spectrum(x: Signal, size: int) -> Power:
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32) ** 2
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[:: size // 2]
    total = np.zeros(size // 2 + 1)
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        spectra = fft.rfft(frames[first : first + _FRAMES_AT_ONCE] * window, workers=1)
        total += np.sum(spectra.real**2 + spectra.imag**2, axis=0, dtype=np.float64)
    return total / len(frames)


# SNR


class _Pair(NamedTuple):
    speech: Signal
    noise: Signal
    sample_rate: int
    span: slice


def snr_db(*, speech: Array, noise: Array, sample_rate: int, kind: str, span: Span | None = None) -> float | None:
    """SNR of `speech` over `noise`, both (samples,), by the definition `kind`. `None` where a side is undefined."""
    pair = _pair(speech, noise, sample_rate, span)
    _check_kind(kind)
    return _snr(pair, kind, _needed_activity(pair, kind))


def snr_all(
    *, speech: Array, noise: Array, sample_rate: int, span: Span | None = None, speech_activity: Activity | None = None
) -> dict[str, float | None]:
    """The SNR under every definition, by kind. `speech_activity` saves its analysis where the caller has done it."""
    pair = _pair(speech, noise, sample_rate, span)
    known = speech_activity or activity(pair.speech, sample_rate)
    found = {"peak": _levels(pair, "peak", known)}  # which finds out whether both are finite
    found["lufs"] = _loudness(pair.speech[np.newaxis], sample_rate), _loudness(pair.noise[np.newaxis], sample_rate)
    of_speech, of_noise = (_rms_levels(x, pair.span, known.mask) for x in (pair.speech, pair.noise))
    found |= {"rms": (of_speech[0], of_noise[0]), "rms_active": (of_speech[1], of_noise[1])}
    found["p56_active"] = None if known.level is None else known.level.level_dbfs, of_noise[1]
    return {kind: _difference(*found[kind]) for kind in SNR_KINDS}


def noise_gain(
    *,
    speech: Array,
    noise: Array,
    sample_rate: int,
    kind: str,
    snr_db: float,
    span: Span | None = None,
    speech_activity: Activity | None = None,
) -> float:
    """The factor on `noise` that brings the SNR to `snr_db` under the definition `kind`.

    Raises ValueError where the SNR is undefined: silent speech or noise, too short for loudness.
    """
    if not math.isfinite(snr_db):
        raise ValueError(f"snr_db must be finite, got {snr_db}")
    pair = _pair(speech, noise, sample_rate, span)
    _check_kind(kind)
    if kind == "lufs":
        return _loudness_gain(pair, snr_db)
    now = _snr(pair, kind, speech_activity or _needed_activity(pair, kind))
    if now is None:
        raise ValueError(_undefined(pair, kind))
    return from_db(now - snr_db)


def _pair(speech: Array, noise: Array, sample_rate: int, span: Span | None) -> _Pair:
    rows = _row("speech", speech), _row("noise", noise)
    if rows[0].size != rows[1].size:
        raise ValueError(f"speech and noise must have one length, got {rows[0].size} and {rows[1].size}")
    start, stop = span or (0, rows[0].size)
    if not 0 <= start < stop <= rows[0].size:
        raise ValueError(f"span must lie within the {rows[0].size} samples and not be empty, got ({start}, {stop})")
    return _Pair(*rows, sample_rate, slice(start, stop))


def _check_kind(kind: str) -> None:
    if kind not in SNR_KINDS:
        raise ValueError(f"kind must be one of {', '.join(SNR_KINDS)}, got {kind!r}")


def _needed_activity(pair: _Pair, kind: str) -> Activity | None:
    return activity(pair.speech, pair.sample_rate) if kind.endswith("_active") else None


def _snr(pair: _Pair, kind: str, activity: Activity | None) -> float | None:
    return _difference(*_levels(pair, kind, activity))


def _difference(speech: float | None, noise: float | None) -> float | None:
    return None if speech is None or noise is None else speech - noise


def _levels(pair: _Pair, kind: str, activity: Activity | None) -> tuple[float | None, float | None]:
    if kind == "lufs":
        return loudness_lufs(pair.speech, pair.sample_rate), loudness_lufs(pair.noise, pair.sample_rate)
    if kind == "peak":
        return db(peak(pair.speech)), db(peak(pair.noise))
    if kind == "rms":
        return _level(_mean_square(pair.speech[pair.span])), _level(_mean_square(pair.noise[pair.span]))
    assert activity is not None
    noise = _active_rms(pair.noise, activity)
    if kind == "rms_active":
        return _active_rms(pair.speech, activity), noise
    return None if activity.level is None else activity.level.level_dbfs, noise


def _rms_levels(x: Signal, span: slice, mask: Mask) -> tuple[float | None, float | None]:
    """Over the span and over the active samples; in one pass where the span is all of it."""
    if span != slice(0, x.size):
        return _level(_mean_square(x[span])), _level(_masked_mean_square(x, mask))
    energy, active = _energies(x, mask)
    count = int(np.count_nonzero(mask))
    return _level(_finite(energy) / x.size), _level(active / count) if count else None


def _active_rms(x: Signal, activity: Activity) -> float | None:
    return _level(_masked_mean_square(x, activity.mask))


def _loudness_gain(pair: _Pair, snr_db: float) -> float:
    """The absolute gate keeps loudness from following gain exactly, so the gain is corrected until it fits."""
    speech = loudness_lufs(pair.speech, pair.sample_rate)
    powers = _block_powers(_rows("noise", pair.noise), pair.sample_rate)
    if speech is None or not powers.size or not pair.noise.any():
        raise ValueError(_undefined(pair, "lufs"))
    gain = math.sqrt(_power_at(speech - snr_db) / powers.mean())
    for _ in range(20):
        noise = _integrated(powers * gain**2)
        if noise is None:
            raise ValueError(
                f"snr_db must keep the noise above -70 LUFS, got {snr_db} under speech at {speech:.1f} LUFS"
            )
        correction = from_db(speech - snr_db - noise)
        gain *= correction
        if abs(correction - 1.0) < 1e-12:
            break
    return gain


def _undefined(pair: _Pair, kind: str) -> str:
    silent = [name for name in ("speech", "noise") if not getattr(pair, name).any()]
    why = f"{' and '.join(silent)} silent" if silent else "too short, or silent where it is measured"
    return f"speech and noise must have a {kind} level each, got {pair.speech.size} samples: {why}"
