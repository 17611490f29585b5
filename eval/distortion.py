"""Energy ratios between a reference and an estimate: SI-SDR, SI-SNR, SNR and the SDR of BSSEval version 3.

Conventions
    Signals are one-dimensional, of equal length, at one sample rate; they are computed in float64 and their scale is
    free. Results are in dB, higher is better. A perfect estimate gives +inf and an estimate without any part of the
    reference -inf; `eval.score` turns those into the metric's bounds. A silent reference has no distortion ratio and
    raises `ValueError`. No mean is removed except by SI-SNR: an offset of the estimate is an error like any other.
    `Reference` holds what depends on the reference alone, `Pair` what one estimate adds to it.

SI-SDR  a = <estimate, reference> / |reference|^2;  10 log10(|a reference|^2 / |a reference - estimate|^2)
        Le Roux, Wisdom, Erdogan and Hershey, "SDR: half-baked or well done?" (2019).
SI-SNR  SI-SDR of both signals less their means. Luo and Mesgarani, "TasNet" (2018).
SNR     10 log10(|reference|^2 / |reference - estimate|^2)
SDR     the reference may first pass through the causal 512-tap filter that brings it closest to the estimate; with one
        source the rest is distortion. Vincent, Gribonval and Fevotte, "Performance measurement in blind audio source
        separation" (2006).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault

__all__ = [
    "LOADING",
    "SDR_TAPS",
    "Lags",
    "Pair",
    "Reference",
    "correlate",
    "dc_ratio",
    "ratio_db",
    "sdr",
    "sdr_conditioned",
    "si_sdr",
    "si_snr",
    "snr",
]

Signal = NDArray[np.float64]
Spectra = NDArray[np.complex128]

SDR_TAPS = 512
LOADING = 1e-9
"""Diagonal loading, relative to the reference's energy, where its autocorrelation matrix is singular to float64."""

SOLVED = 1e-9
"""Largest relative residual of the normal equations that still counts as a solution."""

CANCELLED = 1e-4
"""An error energy this far below the target's has lost digits in the difference that gave it: form it by sample."""

_BLOCK = 4096
_CHUNK = 65536  # samples per batch of FFTs: spectra that stay in the processor's cache
_KEPT = 1 << 21  # samples of a reference whose spectra are kept; those of ten minutes would take gigabytes
_EXPONENT = 200  # squares of peaks beyond 2^+-200 may leave float64's range


def si_sdr(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """Scale-invariant SDR in dB, without mean removal. -inf for an estimate orthogonal to the reference, silence
    included.
    """
    return Reference.of(reference=reference).si_sdr(estimate)


def si_snr(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """SI-SDR in dB of both signals less their means. Raises `ReferenceFault` for a constant reference."""
    return Reference.of(reference=reference).si_snr(estimate)


def snr(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """SNR in dB of the estimate taken as it is: gain, sign and delay all count. 0 for a silent estimate."""
    return Reference.of(reference=reference).snr(estimate)


def sdr(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """BSSEval v3 SDR in dB of one source, 512 taps. -inf for a silent estimate.

    A reference that does not determine the filter (a pure tone, or speech with an empty upper band) makes the normal
    equations singular; they are then solved with a diagonal loading of 1e-9, which can only lower the result.
    `sdr_conditioned` tells.
    """
    return sdr_conditioned(reference=reference, estimate=estimate)[0]


def sdr_conditioned(*, reference: ArrayLike, estimate: ArrayLike) -> tuple[float, bool]:
    """`sdr`, and whether the reference determined the filter without diagonal loading."""
    return Reference.of(reference=reference).sdr(estimate)


def dc_ratio(*, estimate: ArrayLike) -> float:
    """Mean squared over variance of the estimate: what SI-SDR counts as error and SI-SNR does not."""
    e = np.asarray(estimate, dtype=np.float64)
    rest = _centred(e)
    if not rest.any():
        raise EstimateFault("constant")
    return float(e.mean() ** 2 / np.mean(rest**2))


@dataclass(frozen=True, eq=False)
class Reference:
    """One reference, for any number of estimates.

    `lag_samples` is how far `Pair.correlation` looks to either side; the lags of the SDR come from the same spectra.
    """

    signal: Signal
    lags: Lags
    lag_samples: int

    @classmethod
    def of(cls, *, reference: ArrayLike, lag_samples: int = 0) -> Reference:
        if lag_samples < 0:
            raise ValueError(f"lag_samples must not be negative, got {lag_samples}")
        s = np.asarray(reference, dtype=np.float64)
        if s.ndim != 1 or s.size == 0:
            raise ValueError(f"reference must have shape (samples,) with samples > 0, got {s.shape}")
        if _peak("reference", s) == 0:
            raise ValueError("reference must not be silent, got only zeros")
        return cls(s, Lags(-lag_samples, max(lag_samples, SDR_TAPS - 1)), lag_samples)

    def against(self, estimate: ArrayLike) -> Pair:
        """What this reference and one estimate have in common, computed once for all ratios."""
        return Pair.of(self, estimate)

    def sdr(self, estimate: ArrayLike) -> tuple[float, bool]:
        """SDR, and whether the reference determined the filter without diagonal loading."""
        return self.against(estimate).sdr

    def si_sdr(self, estimate: ArrayLike) -> float:
        return self.against(estimate).si_sdr

    def si_snr(self, estimate: ArrayLike) -> float:
        return self.against(estimate).si_snr

    def snr(self, estimate: ArrayLike) -> float:
        return self.against(estimate).snr

    @functools.cached_property
    def _ranged(self) -> Signal:
        return _ranged(self.signal)

    @functools.cached_property
    def _energy(self) -> float:
        return _energy(self._ranged)

    @functools.cached_property
    def _centred(self) -> tuple[Signal, float]:
        """The reference less its mean, and its energy."""
        rest = _centred(self._ranged)
        if not rest.any():
            raise ReferenceFault("constant")
        return rest, _energy(rest)

    @functools.cached_property
    def _kept(self) -> tuple[Spectra, ...]:
        return tuple(self.lags.heads(self._ranged))

    def _heads(self) -> Iterable[Spectra]:
        return self._kept if len(self.signal) <= _KEPT else self.lags.heads(self._ranged)

    @functools.cached_property
    def _auto(self) -> Signal:
        """Autocorrelation at lags 0..511."""
        (found,) = self.lags.between([self._heads()], [self._ranged])[0]
        return self.lags.slice(found, 0, SDR_TAPS - 1)


@dataclass(frozen=True, eq=False)
class Pair:
    """One reference and one estimate. Each ratio is computed when it is first asked for."""

    reference: Reference
    estimate: Signal

    @classmethod
    def of(cls, reference: Reference, estimate: ArrayLike) -> Pair:
        e, s = np.asarray(estimate, dtype=np.float64), reference.signal
        if e.shape != s.shape:
            raise ValueError(f"estimate must have the reference's shape {s.shape}, got {e.shape}")
        _peak("estimate", e)
        return cls(reference, e)

    @functools.cached_property
    def sdr(self) -> tuple[float, bool]:
        """SDR, and whether the reference determined the filter without diagonal loading."""
        cross = self.reference.lags.slice(self._cross, 0, SDR_TAPS - 1)
        if not cross.any():
            return -np.inf, True
        auto = self.reference._auto
        taps, well = _solve(auto, cross)
        # With the filter h, autocorrelation matrix R and cross-correlation d:
        # |h * s|^2 = h'Rh and |e - h * s|^2 = |e|^2 - 2h'd + h'Rh.
        projected = float(np.dot(taps, _toeplitz_times(auto, taps)))
        residual = self._energy - 2 * float(np.dot(taps, cross)) + projected
        if residual < CANCELLED * projected:
            return _explicit_sdr(self.reference._ranged, self._ranged, taps), well
        return ratio_db(projected, residual), well

    @functools.cached_property
    def si_sdr(self) -> float:
        return _scale_invariant_db(self.reference._ranged, self.reference._energy, self._ranged, self._dot)

    @functools.cached_property
    def si_snr(self) -> float:
        (s, energy), e = self.reference._centred, _centred(self._ranged)
        return _scale_invariant_db(s, energy, e, float(np.dot(s, e)))

    @functools.cached_property
    def snr(self) -> float:
        s, e = self.reference.signal, self.estimate
        peak = max(np.abs(s).max(), np.abs(e).max()) if self._scaled else 1.0  # one common gain
        return ratio_db(_energy(s / peak), _energy((s - e) / peak)) if self._scaled else self._plain_snr()

    @functools.cached_property
    def correlation(self) -> Signal:
        """`sum_t reference[t] estimate[t + lag]` for lag = -lag_samples..lag_samples, up to a positive factor."""
        reach = self.reference.lag_samples
        return self.reference.lags.slice(self._cross, -reach, reach)

    def _plain_snr(self) -> float:
        # |s - e|^2 = |s|^2 - 2<s, e> + |e|^2
        energy = self.reference._energy
        error = energy - 2 * self._dot + self._energy
        if error < CANCELLED * energy:
            error = _energy(self.reference.signal - self.estimate)
        return ratio_db(energy, error)

    @functools.cached_property
    def _ranged(self) -> Signal:
        return _ranged(self.estimate)

    @property
    def _scaled(self) -> bool:
        return self._ranged is not self.estimate or self.reference._ranged is not self.reference.signal

    @functools.cached_property
    def _energy(self) -> float:
        return _energy(self._ranged)

    @functools.cached_property
    def _dot(self) -> float:
        return float(np.dot(self.reference._ranged, self._ranged))

    @functools.cached_property
    def _cross(self) -> Signal:
        return self.reference.lags.between([self.reference._heads()], [self._ranged])[0, 0]


@dataclass(frozen=True)
class Lags:
    """Cross-correlations `sum_t a[t] b[t + lag]` at lag = low..high. Signals are zero outside their span.

    `a` is cut into blocks of `hop` samples, and each is correlated with the `size` samples of `b` that it can reach.
    The products of block spectra are summed, and one inverse FFT at the end gives all lags.
    """

    low: int
    high: int

    @property
    def size(self) -> int:
        return max(_BLOCK, 1 << (4 * (self.high - self.low)).bit_length())

    @property
    def hop(self) -> int:
        return self.size - (self.high - self.low)

    def heads(self, a: Signal) -> Iterator[Spectra]:
        """Conjugate spectra of the blocks of `a`, shape `(blocks, bins)`, some at a time."""
        import scipy.fft

        for start, rows in self._batches(len(a)):
            blocks = _stretch(a, start, rows * self.hop).reshape(rows, self.hop)
            spectra = scipy.fft.rfft(blocks, n=self.size, axis=-1)
            yield np.conj(spectra, out=spectra)

    def reached(self, b: Signal, samples: int) -> Iterator[Spectra]:
        """Spectra of what each block of an `a` with so many samples can reach in `b`, in step with `heads`."""
        import scipy.fft

        for start, rows in self._batches(samples):
            stretch = _stretch(b, start + self.low, (rows - 1) * self.hop + self.size)
            blocks = np.lib.stride_tricks.sliding_window_view(stretch, self.size)[:: self.hop]
            yield scipy.fft.rfft(blocks, axis=-1)

    def between(self, heads: Sequence[Iterable[Spectra]], others: Sequence[Signal]) -> Signal:
        """Correlations of each `a`, given by its `heads`, with each of `others`: shape `(a, others, high - low + 1)`.
        All signals have equally many samples.
        """
        return self.of_spectra(heads, [self.reached(b, len(b)) for b in others])

    def of_spectra(self, heads: Sequence[Iterable[Spectra]], reached: Sequence[Iterable[Spectra]]) -> Signal:
        """Correlations from both kinds of spectra."""
        import scipy.fft

        total = np.zeros((len(heads), len(reached), self.size // 2 + 1), dtype=np.complex128)
        for batch in zip(*heads, *reached, strict=True):
            for i, first in enumerate(batch[: len(heads)]):
                for j, second in enumerate(batch[len(heads) :]):
                    total[i, j] += (first * second).sum(axis=0)
        lags: Signal = scipy.fft.irfft(total, n=self.size, axis=-1)[..., : self.high - self.low + 1]
        return lags

    def slice(self, found: Signal, low: int, high: int) -> Signal:
        """The lags low..high of `found`, which holds self.low..self.high in its last axis."""
        return found[..., low - self.low : high - self.low + 1]

    def _batches(self, samples: int) -> Iterator[tuple[int, int]]:
        """First sample and number of blocks of each batch of FFTs."""
        most = max(1, _CHUNK // self.size)
        for start in range(0, samples, most * self.hop):
            yield start, min(most, -(-(samples - start) // self.hop))


def correlate(a: Signal, *others: Signal, low: int, high: int) -> Signal:
    """`sum_t a[t] b[t + lag]` for lag = low..high and every `b` of `others`, shape `(len(others), high - low + 1)`.

    Signals are zero outside their span.
    """
    lags = Lags(low, high)
    return lags.of_spectra([lags.heads(a)], [lags.reached(b, len(a)) for b in others])[0]


def ratio_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies, -inf without signal (whatever the noise), +inf without noise."""
    if signal <= 0:
        return -np.inf
    if noise <= 0:
        return np.inf
    return float(10 * np.log10(signal / noise))


def _scale_invariant_db(s: Signal, energy: float, e: Signal, dot: float) -> float:
    gain = dot / energy
    target = gain * dot
    error = _energy(e) - target  # Pythagoras: |e|^2 = |a s|^2 + |e - a s|^2
    if error < CANCELLED * target:
        error = _energy(e - gain * s)
    return ratio_db(target, error)


def _stretch(x: Signal, start: int, length: int) -> Signal:
    """`x[start : start + length]` with zeros wherever `x` has no sample; `start` may be negative."""
    if start >= 0 and start + length <= len(x):
        return x[start : start + length]
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
        if np.abs(cross - _toeplitz_times(auto, taps)).max() <= SOLVED * np.abs(cross).max():
            return taps, True
    except LinAlgError:
        pass  # a leading minor is exactly singular
    loaded = auto.copy()
    loaded[0] *= 1 + LOADING
    return solve_toeplitz(loaded, cross, check_finite=False), False


def _toeplitz_times(auto: Signal, x: Signal) -> Signal:
    """The symmetric Toeplitz matrix with first column `auto` times `x`, term by term where an FFT would round more."""
    both = np.concatenate([auto[:0:-1], auto])
    product: Signal = np.convolve(both, x, mode="valid")
    return product


def _explicit_sdr(s: Signal, e: Signal, taps: Signal) -> float:
    import scipy.fft

    length = len(s) + len(taps) - 1
    size = scipy.fft.next_fast_len(length, real=True)
    filtered = scipy.fft.irfft(scipy.fft.rfft(s, size) * scipy.fft.rfft(taps, size), size)[:length]
    error = -filtered
    error[: len(e)] += e
    return ratio_db(_energy(filtered), _energy(error))


def _peak(name: str, x: Signal) -> float:
    """Largest magnitude. Raises `ValueError` for NaN or infinite samples."""
    peak = max(float(x.max()), -float(x.min()))  # NaN goes through both
    if not np.isfinite(peak):
        raise ValueError(f"{name} must be finite, got NaN or infinite samples")
    return peak


def _ranged(x: Signal) -> Signal:
    """`x` itself, or times a power of two where its squares could leave float64's range."""
    exponent = int(np.frexp(max(x.max(), -x.min()))[1])
    return x if abs(exponent) <= _EXPONENT else np.ldexp(x, -exponent)


def _centred(x: Signal) -> Signal:
    """`x` less its mean; exactly zero where all that is left is rounding."""
    mean = x.mean()
    rest: Signal = x - mean
    return rest if np.abs(rest).max() > 1e-13 * abs(mean) else np.zeros_like(x)


def _energy(x: Signal) -> float:
    return float(np.dot(x, x))
