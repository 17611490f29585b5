"""Energy ratios between a reference and an estimate: SI-SDR, SNR and the SDR of BSSEval version 3.

Conventions
    Signals are one-dimensional, of equal length, at one sample rate; they are computed in float64 and their scale is
    free. Results are in dB, higher is better. A perfect estimate gives +inf and an estimate without any part of the
    reference -inf; `eval.score` turns those into the metric's bounds. A silent reference has no distortion ratio and
    raises `ValueError`. No mean is removed: an offset of the estimate is an error like any other.

SI-SDR  a = <estimate, reference> / |reference|^2;  10 log10(|a reference|^2 / |a reference - estimate|^2)
        Le Roux, Wisdom, Erdogan and Hershey, "SDR: half-baked or well done?" (2019).
SNR     10 log10(|reference|^2 / |reference - estimate|^2)
SDR     the reference may first pass through the causal 512-tap filter that brings it closest to the estimate; with one
        source the rest is distortion. Vincent, Gribonval and Fevotte, "Performance measurement in blind audio source
        separation" (2006).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SDR_TAPS", "correlate", "sdr", "sdr_conditioned", "si_sdr", "snr"]

Signal = NDArray[np.float64]

SDR_TAPS = 512
LOADING = 1e-9
"""Diagonal loading, relative to the reference's energy, where its autocorrelation matrix is singular to float64."""

_SOLVED = 1e-9  # largest relative residual of the normal equations that still counts as a solution
_BLOCK = 8192
_ROWS = 16


def si_sdr(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """Scale-invariant SDR in dB, without mean removal. -inf for an estimate orthogonal to the reference, silence
    included.
    """
    s, e = _pair(reference, estimate)
    s, e = _unit_peak(s), _unit_peak(e)
    target = np.dot(e, s) / np.dot(s, s) * s
    return _ratio_db(np.dot(target, target), _energy(target - e))


def snr(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """SNR in dB of the estimate taken as it is: gain, sign and delay all count. 0 for a silent estimate."""
    s, e = _pair(reference, estimate)
    peak = max(np.abs(s).max(), np.abs(e).max())  # one common gain: squares of huge samples would overflow
    return _ratio_db(_energy(s / peak), _energy((s - e) / peak))


def sdr(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """BSSEval v3 SDR in dB of one source, 512 taps. -inf for a silent estimate.

    A reference that does not determine the filter (a pure tone, or speech with an empty upper band) makes the normal
    equations singular; they are then solved with a diagonal loading of 1e-9, which can only lower the result.
    `sdr_conditioned` tells.
    """
    return sdr_conditioned(reference=reference, estimate=estimate)[0]


def sdr_conditioned(*, reference: ArrayLike, estimate: ArrayLike) -> tuple[float, bool]:
    """`sdr`, and whether the reference determined the filter without diagonal loading."""
    s, e = _pair(reference, estimate)
    s, e = _unit_peak(s), _unit_peak(e)
    auto, cross = correlate(s, s, e, low=0, high=SDR_TAPS - 1)
    if not cross.any():
        return -np.inf, True
    taps, well = _solve(auto, cross)
    # With the filter h, autocorrelation matrix R and cross-correlation d:
    # |h * s|^2 = h'Rh and |e - h * s|^2 = |e|^2 - 2h'd + h'Rh.
    projected = float(np.dot(taps, _toeplitz_times(auto, taps)))
    residual = _energy(e) - 2 * float(np.dot(taps, cross)) + projected
    if residual < 1e-4 * projected:  # above 40 dB the difference loses digits: form the residual sample by sample
        return _explicit_sdr(s, e, taps), well
    return _ratio_db(projected, residual), well


def correlate(a: Signal, *others: Signal, low: int, high: int) -> Signal:
    """`sum_t a[t] b[t + lag]` for lag = low..high and every `b` of `others`, shape `(len(others), high - low + 1)`.

    Signals are zero outside their span. The products of block spectra are summed, and one inverse FFT at the end
    gives all lags.
    """
    import scipy.fft

    span = high - low
    size = max(_BLOCK, 1 << (4 * span).bit_length())
    hop = size - span
    total = np.zeros((len(others), size // 2 + 1), dtype=np.complex128)
    for start in range(0, len(a), _ROWS * hop):  # a few blocks at a time, or ten minutes would take gigabytes
        rows = min(_ROWS, -(-(len(a) - start) // hop))
        first = _stretch(a, start, rows * hop).reshape(rows, hop)
        spectra = np.conj(scipy.fft.rfft(first, n=size, axis=-1))
        for index, b in enumerate(others):
            second = _stretch(b, start + low, (rows - 1) * hop + size)
            blocks = np.lib.stride_tricks.sliding_window_view(second, size)[::hop]
            total[index] += np.einsum("rf,rf->f", spectra, scipy.fft.rfft(blocks, axis=-1))
    lags: Signal = scipy.fft.irfft(total, n=size, axis=-1)[:, : span + 1]
    return lags


def _stretch(x: Signal, start: int, length: int) -> Signal:
    """`x[start : start + length]` with zeros wherever `x` has no sample; `start` may be negative."""
    out = np.zeros(length)
    begin, end = max(start, 0), min(start + length, len(x))
    if begin < end:
        out[begin - start : end - start] = x[begin:end]
    return out


def _solve(auto: Signal, cross: Signal) -> tuple[Signal, bool]:
    """Filter `h` of the normal equations `toeplitz(auto) h = cross`, and whether they had a solution as they stood."""
    from scipy.linalg import LinAlgError, solve_toeplitz

    try:
        taps: Signal = solve_toeplitz(auto, cross, check_finite=False)
        if np.abs(cross - _toeplitz_times(auto, taps)).max() <= _SOLVED * np.abs(cross).max():
            return taps, True
    except LinAlgError:
        pass  # a leading minor is exactly singular
    loaded = auto.copy()
    loaded[0] *= 1 + LOADING
    return solve_toeplitz(loaded, cross, check_finite=False), False


def _toeplitz_times(auto: Signal, x: Signal) -> Signal:
    """The symmetric Toeplitz matrix with first column `auto` times `x`, by indexing (exact, where an FFT would
    round).
    """
    both = np.concatenate([auto[:0:-1], auto])
    rows = np.lib.stride_tricks.sliding_window_view(both, len(auto))[::-1]
    product: Signal = rows @ x
    return product


def _explicit_sdr(s: Signal, e: Signal, taps: Signal) -> float:
    import scipy.fft

    length = len(s) + len(taps) - 1
    size = scipy.fft.next_fast_len(length, real=True)
    filtered = scipy.fft.irfft(scipy.fft.rfft(s, size) * scipy.fft.rfft(taps, size), size)[:length]
    error = -filtered
    error[: len(e)] += e
    return _ratio_db(_energy(filtered), _energy(error))


def _pair(reference: ArrayLike, estimate: ArrayLike) -> tuple[Signal, Signal]:
    s, e = np.asarray(reference, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if s.ndim != 1 or s.size == 0:
        raise ValueError(f"reference must have shape (samples,) with samples > 0, got {s.shape}")
    if e.shape != s.shape:
        raise ValueError(f"estimate must have the reference's shape {s.shape}, got {e.shape}")
    for name, signal in (("reference", s), ("estimate", e)):
        if not np.isfinite(signal).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite samples")
    if not s.any():
        raise ValueError("reference must not be silent, got only zeros")
    return s, e


def _unit_peak(x: Signal) -> Signal:
    """`x` scaled to a peak of 1, or as it is when silent. For ratios that do not depend on the scale."""
    peak = np.abs(x).max()
    return x / peak if peak > 0 else x


def _energy(x: Signal) -> float:
    return float(np.dot(x, x))


def _ratio_db(signal: float, noise: float) -> float:
    if signal <= 0:
        return -np.inf
    if noise <= 0:
        return np.inf
    return float(10 * np.log10(signal / noise))
