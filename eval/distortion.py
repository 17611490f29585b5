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
import itertools
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
    "measured",
    "ratio_db",
    "sdr",
    "sdr_conditioned",
    "si_sdr",
    "si_snr",
    "snr",
    "solve_filter",
]

Signal = NDArray[np.float64]
Spectra = NDArray[np.float64]  # those of eval.fourier

SDR_TAPS = 512
LOADING = 1e-9
"""Diagonal loading, relative to the reference's energy, where its autocorrelation matrix is singular to float64."""

SOLVED = 1e-9
"""Largest relative residual of the normal equations that still counts as a solution."""

CANCELLED = 1e-4
"""An error energy this far below the target's has lost digits in the difference that gave it: form it by sample."""

_BLOCK = 4096
_CHUNK = 16384  # samples per batch of FFTs: spectra that stay in the processor's cache
_KEPT = 1 << 21  # samples of a reference whose spectra are kept; those of ten minutes would take gigabytes
_RANGE = 1e-200, 1e200


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
    pair = Reference.of(reference=reference).against(estimate)
    s, e, lags = pair.reference.ranged, pair.ranged, pair.reference.lags
    heads, again = itertools.tee(lags.heads(s))  # one pass, in which no spectrum outlives its batch
    auto, cross = lags.of_spectra([heads], [again, lags.reached(e, len(e))])[0]
    return _filtered_sdr(s, e, pair.energy, auto + lags.across(s), cross)


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
    ranged: Signal
    """The signal, scaled where its squares would leave float64's range."""
    energy: float
    lags: Lags
    lag_samples: int

    @classmethod
    def of(cls, *, reference: ArrayLike, lag_samples: int = 0) -> Reference:
        if lag_samples < 0:
            raise ValueError(f"lag_samples must not be negative, got {lag_samples}")
        s = np.asarray(reference, dtype=np.float64)
        if s.ndim != 1 or s.size == 0:
            raise ValueError(f"reference must have shape (samples,) with samples > 0, got {s.shape}")
        ranged, energy = measured("reference", s)
        if energy == 0:
            raise ValueError("reference must not be silent, got only zeros")
        return cls(s, ranged, energy, Lags(-lag_samples, max(lag_samples, SDR_TAPS - 1)), lag_samples)

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
    def _centred(self) -> tuple[Signal, float]:
        """The reference less its mean, and its energy."""
        rest = _centred(self.ranged)
        if not rest.any():
            raise ReferenceFault("constant")
        return rest, _energy(rest)

    @functools.cached_property
    def _kept(self) -> tuple[Spectra, ...]:
        return tuple(self.lags.heads(self.ranged))

    def _heads(self) -> Iterable[Spectra]:
        return self._kept if len(self.signal) <= _KEPT else self.lags.heads(self.ranged)

    @functools.cached_property
    def _auto(self) -> Signal:
        """Autocorrelation at lags 0..511."""
        within: Signal = self.lags.of_spectra([self._heads()], [self._heads()])[0, 0]
        return within[:SDR_TAPS] + self.lags.across(self.ranged)[:SDR_TAPS]


@dataclass(frozen=True, eq=False)
class Pair:
    """One reference and one estimate. Each ratio is computed when it is first asked for."""

    reference: Reference
    estimate: Signal
    ranged: Signal
    energy: float

    @classmethod
    def of(cls, reference: Reference, estimate: ArrayLike) -> Pair:
        e, s = np.asarray(estimate, dtype=np.float64), reference.signal
        if e.shape != s.shape:
            raise ValueError(f"estimate must have the reference's shape {s.shape}, got {e.shape}")
        return cls(reference, e, *measured("estimate", e))

    @functools.cached_property
    def sdr(self) -> tuple[float, bool]:
        """SDR, and whether the reference determined the filter without diagonal loading."""
        cross = self.reference.lags.slice(self._cross, 0, SDR_TAPS - 1)
        return _filtered_sdr(self.reference.ranged, self.ranged, self.energy, self.reference._auto, cross)

    @functools.cached_property
    def si_sdr(self) -> float:
        return _scale_invariant_db(self.reference.ranged, self.reference.energy, self.ranged, self._dot)

    @functools.cached_property
    def si_snr(self) -> float:
        (s, energy), e = self.reference._centred, _centred(self.ranged)
        return _scale_invariant_db(s, energy, e, float(np.dot(s, e)))

    @functools.cached_property
    def snr(self) -> float:
        s, e = self.reference.signal, self.estimate
        if s is not self.reference.ranged or e is not self.ranged:  # one common gain, then
            peak = max(np.abs(s).max(), np.abs(e).max())
            return ratio_db(_energy(s / peak), _energy((s - e) / peak))
        energy = self.reference.energy
        error = energy - 2 * self._dot + self.energy  # |s - e|^2 = |s|^2 - 2<s, e> + |e|^2
        if error < CANCELLED * energy:
            error = _energy(s - e)
        return ratio_db(energy, error)

    @functools.cached_property
    def correlation(self) -> Signal:
        """`sum_t reference[t] estimate[t + lag]` for lag = -lag_samples..lag_samples, up to a positive factor."""
        reach = self.reference.lag_samples
        return self.reference.lags.slice(self._cross, -reach, reach)

    @functools.cached_property
    def _dot(self) -> float:
        return float(np.dot(self.reference.ranged, self.ranged))

    @functools.cached_property
    def _cross(self) -> Signal:
        found: Signal = self.reference.lags.between([self.reference._heads()], [self.ranged])[0, 0]
        return found


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
        """Spectra of the blocks of `a`, some at a time."""
        from eval import fourier  # compiled: only those who correlate pay for its import

        for start, blocks in self._batches(len(a), self.size):
            yield fourier.spectra(a, size=self.size, first=start, hop=self.hop, taken=self.hop, blocks=blocks)

    def reached(self, b: Signal, samples: int) -> Iterator[Spectra]:
        """Spectra of what each block of an `a` with so many samples can reach in `b`, in step with `heads`."""
        from eval import fourier

        for start, blocks in self._batches(samples, self.size):
            first = start + self.low
            yield fourier.spectra(b, size=self.size, first=first, hop=self.hop, taken=self.size, blocks=blocks)

    def between(self, heads: Sequence[Iterable[Spectra]], others: Sequence[Signal]) -> Signal:
        """Correlations of each `a`, given by its `heads`, with each of `others`: shape `(a, others, high - low + 1)`.
        All signals have equally many samples.
        """
        return self.of_spectra(heads, [self.reached(b, len(b)) for b in others])

    def of_spectra(self, heads: Sequence[Iterable[Spectra]], reached: Sequence[Iterable[Spectra]]) -> Signal:
        """Correlations from both kinds of spectra."""
        from eval import fourier

        totals = [[fourier.total(self.size) for _ in reached] for _ in heads]
        for batch in zip(*heads, *reached, strict=True):
            for i, first in enumerate(batch[: len(heads)]):
                for j, second in enumerate(batch[len(heads) :]):
                    fourier.add_products(totals[i][j], first, second)
        lags = np.arange(self.high - self.low + 1)
        return np.array([[fourier.correlations(total, lags) for total in row] for row in totals])

    def across(self, a: Signal) -> Signal:
        """What the autocorrelation of `a` at lags 0..high has from pairs of samples in different blocks.

        The rest is in the power spectra of the blocks: the first lags of `of_spectra` of `heads` with themselves.
        Together they cost less than `reached(a)`, as only the ends of blocks are transformed again.
        """
        from eval import fourier

        # sum_t tail[t] front[t + k] belongs to lag k + high: the front begins `high` samples after the tail does
        size = max(fourier.LEAST_SIZE, 1 << (2 * self.high).bit_length())
        total = fourier.total(size)
        for start, blocks in self._batches(len(a) - self.hop, size):
            front = start + self.hop
            tails, fronts = (
                fourier.spectra(a, size=size, first=first, hop=self.hop, taken=self.high, blocks=blocks)
                for first in (front - self.high, front)
            )
            fourier.add_products(total, tails, fronts)
        return np.concatenate([[0.0], fourier.correlations(total, np.arange(1 - self.high, 1))])

    def slice(self, found: Signal, low: int, high: int) -> Signal:
        """The lags low..high of `found`, which holds self.low..self.high in its last axis."""
        part: Signal = found[..., low - self.low : high - self.low + 1]
        return part

    def _batches(self, samples: int, size: int) -> Iterator[tuple[int, int]]:
        """First sample and number of blocks of each batch of FFTs of some size, two blocks in each."""
        most = 2 * max(1, _CHUNK // size)
        for start in range(0, samples, most * self.hop):
            yield start, min(most, -(-(samples - start) // self.hop))


def correlate(a: Signal, *others: Signal, low: int, high: int) -> Signal:
    """`sum_t a[t] b[t + lag]` for lag = low..high and every `b` of `others`, shape `(len(others), high - low + 1)`.

    Signals are zero outside their span.
    """
    lags = Lags(low, high)
    found: Signal = lags.of_spectra([lags.heads(a)], [lags.reached(b, len(a)) for b in others])[0]
    return found


def ratio_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies, -inf without signal (whatever the noise), +inf without noise."""
    if signal <= 0:
        return -np.inf
    if noise <= 0:
        return np.inf
    return float(10 * np.log10(signal / noise))


def _filtered_sdr(s: Signal, e: Signal, energy: float, auto: Signal, cross: Signal) -> tuple[float, bool]:
    """SDR from the autocorrelation of the reference and its correlation with the estimate at lags 0..511."""
    if not cross.any():
        return -np.inf, True
    taps, well = solve_filter(auto, cross)
    # With the filter h, autocorrelation matrix R and cross-correlation d:
    # |h * s|^2 = h'Rh and |e - h * s|^2 = |e|^2 - 2h'd + h'Rh.
    projected = float(np.dot(taps, _toeplitz_times(auto, taps)))
    residual = energy - 2 * float(np.dot(taps, cross)) + projected
    if residual < CANCELLED * projected:
        return _explicit_sdr(s, e, taps), well
    return ratio_db(projected, residual), well


def _scale_invariant_db(s: Signal, energy: float, e: Signal, dot: float) -> float:
    gain = dot / energy
    target = gain * dot
    error = _energy(e) - target  # Pythagoras: |e|^2 = |a s|^2 + |e - a s|^2
    if error < CANCELLED * target:
        error = _energy(e - gain * s)
    return ratio_db(target, error)


def solve_filter(auto: Signal, cross: Signal) -> tuple[Signal, bool]:
    """Filter `h` of the normal equations `toeplitz(auto) h = cross`, and whether they had a solution as they stood."""
    from eval import levinson  # compiled: only those who solve pay for its import

    taps: Signal | None = levinson.solve(auto, cross)
    if taps is not None and np.abs(cross - _toeplitz_times(auto, taps)).max() <= SOLVED * np.abs(cross).max():
        return taps, True
    loaded = auto.copy()
    loaded[0] *= 1 + LOADING
    taps = levinson.solve(loaded, cross)
    if taps is None:
        raise ReferenceFault("singular")
    return taps, False


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


def measured(name: str, x: Signal) -> tuple[Signal, float]:
    """`x`, times a power of two where its squares would leave float64's range, and its energy. Raises `ValueError` for
    NaN or infinite samples.
    """
    with np.errstate(all="ignore"):
        energy = _energy(x)  # NaN and infinity stay what they are in a sum of squares
    if _RANGE[0] < energy < _RANGE[1]:
        return x, energy
    peak = max(float(x.max()), -float(x.min()))
    if not np.isfinite(peak):
        raise ValueError(f"{name} must be finite, got NaN or infinite samples")
    scaled = np.ldexp(x, -int(np.frexp(peak)[1]))
    return scaled, _energy(scaled)


def _centred(x: Signal) -> Signal:
    """`x` less its mean; exactly zero where all that is left is rounding."""
    mean = x.mean()
    rest: Signal = x - mean
    return rest if np.abs(rest).max() > 1e-13 * abs(mean) else np.zeros_like(x)


def _energy(x: Signal) -> float:
    return float(np.dot(x, x))
