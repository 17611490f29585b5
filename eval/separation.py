"""Energy ratios of several sources: BSSEval versions 3 and 4, their filter-free forms, and SA-SDR.

An estimate is split into what its own source explains, what the other sources explain (interference), and what none
does (artifacts). Which estimate belongs to which source is the caller's affair (`eval.permutation`): here estimate k
is that of reference k.

Conventions
    References and estimates have shape `(sources, samples)`, images `(sources, channels, samples)`; float64, one sample
    rate, equal lengths. Results are in dB, higher is better, one per source; +inf where there is no error and -inf
    where nothing of the source is in its estimate, as in a silent one. With one source there is neither interference
    nor a difference between SDR and SAR, so `sir` and `sar` are None. A silent reference raises
    `ReferenceFault`: it spans nothing, so leave it out, which changes nothing for the others.
    Where the references do not determine the filters (two that are alike, empty bands), the normal equations are loaded
    by 1e-9 of the energy of each reference, and `conditioned` is False.

BSSEval v3  e = P_k e + (P e - P_k e) + (e - P e), with P_k the projection on reference k delayed by 0..511 samples and
            P that on all references so delayed. SDR = |P_k e|^2 / |e - P_k e|^2,
            SIR = |P_k e|^2 / |P e - P_k e|^2, SAR = |P e|^2 / |e - P e|^2.
            Vincent, Gribonval and Fevotte (2006), section III.B.
SI-BSSEval  the same with one tap. Scheibler, "SDR - medium rare with fast computations" (2022); SI-SIR and SI-SAR of
            Le Roux et al. (2019).
noise form  SI-SIR and SI-SAR with the noise n = mixture - reference in place of other sources, each projected on alone:
            s = <e, r> / |r|^2 r, i = <e, n> / |n|^2 n, SIR = |s|^2 / |i|^2, SAR = |s|^2 / |e - s - i|^2.
            Richter et al., "Speech enhancement and dereverberation with diffusion-based generative models" (2023).
SA-SDR      sum_k |s_k|^2 / sum_k |s_k - e_k|^2. von Neumann et al. (2022).
BSSEval v4  of images: SDR = |s|^2 / |e - s|^2, ISR = |s|^2 / |P_k e - s|^2, SIR and SAR as above, with P over all
            channels; filters of the whole track, ratios of frames, and their median.
            Stoter, Liutkus and Ito, "The 2018 signal separation evaluation campaign" (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.distortion import LOADING, SDR_TAPS, SOLVED, Lags, measured, ratio_db, solve_filter
from eval.outcome import EstimateFault, ReferenceFault

__all__ = [
    "FrameRatios",
    "PairRatios",
    "SourceRatios",
    "bss_eval_images",
    "bss_eval_pairs",
    "bss_eval_sources",
    "sa_sdr",
    "si_bss_eval_pairs",
    "si_bss_eval_sources",
    "si_sar_noise",
    "si_sir_noise",
]

Signal = NDArray[np.float64]
Spectra = NDArray[np.complex128]
Matrix = NDArray[np.float64]

PRECISION = 1e-12
"""Relative error of an energy ratio beyond which signals are subtracted sample by sample: 4e-12 dB."""

REDUNDANT = 1e-12
"""A delayed channel of which less than this part of its energy is its own adds nothing to the others."""

RESOLVED_DB = 300.0
"""No ratio beyond this is more than rounding in float64. Framewise infinities count as this much in a median."""


@dataclass(frozen=True)
class SourceRatios:
    """One value per source."""

    sdr: tuple[float, ...]
    sir: tuple[float, ...] | None
    sar: tuple[float, ...] | None
    conditioned: bool


@dataclass(frozen=True, eq=False)
class PairRatios:
    """SDR and SIR of each estimate taken for each reference, shape `(references, estimates)`, and SAR, which does not
    depend on the reference, shape `(estimates,)`.
    """

    sdr: Matrix
    sir: Matrix | None
    sar: Signal | None
    conditioned: bool


def bss_eval_sources(*, references: ArrayLike, estimates: ArrayLike) -> SourceRatios:
    """BSSEval v3 with filters of 512 taps."""
    return _assigned(references, estimates, SDR_TAPS)


def si_bss_eval_sources(*, references: ArrayLike, estimates: ArrayLike) -> SourceRatios:
    """SI-SDR, SI-SIR and SI-SAR: a gain instead of a filter, and one projection on all references together."""
    return _assigned(references, estimates, 1)


def bss_eval_pairs(*, references: ArrayLike, estimates: ArrayLike) -> PairRatios:
    """BSSEval v3 of every estimate taken for every reference. Their numbers may differ."""
    return _all_pairs(references, estimates, SDR_TAPS)


def si_bss_eval_pairs(*, references: ArrayLike, estimates: ArrayLike) -> PairRatios:
    """`si_bss_eval_sources` of every estimate taken for every reference."""
    return _all_pairs(references, estimates, 1)


def sa_sdr(*, references: ArrayLike, estimates: ArrayLike) -> float:
    """Source-aggregated SDR in dB: energies are summed over the sources. Single references may be silent."""
    s, e = _both(references, estimates, 2)
    peak = max(np.abs(s).max(), np.abs(e).max())
    if not s.any():
        raise ReferenceFault("silent")
    return ratio_db(float(np.sum((s / peak) ** 2)), float(np.sum(((s - e) / peak) ** 2)))


def si_sir_noise(*, reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike) -> float:
    """SI-SIR in dB with all that the mixture adds to the reference as the interference."""
    return _noise_ratios(reference, estimate, mixture)[0]


def si_sar_noise(*, reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike) -> float:
    """SI-SAR in dB with all that the mixture adds to the reference as the interference."""
    return _noise_ratios(reference, estimate, mixture)[1]


def _noise_ratios(reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike) -> tuple[float, float]:
    s, e = _both([reference], [estimate], 2)
    n = _both([mixture], [estimate], 2)[0] - s
    (s,), (e,), (n,) = s, e, n
    if not s.any():
        raise ReferenceFault("silent")
    if not n.any():
        raise ReferenceFault("no_noise")
    (s, s_energy), (e, _), (n, n_energy) = (measured("signal", x) for x in (s, e, n))
    target = np.dot(e, s) / s_energy * s
    interference = np.dot(e, n) / n_energy * n
    artifacts = e - target - interference
    energy = _energy(target)
    return ratio_db(energy, _energy(interference)), ratio_db(energy, _energy(artifacts))


# ------------------------------------------------------------------------------------------------------- projections


@dataclass(frozen=True, eq=False)
class _Space:
    """All delays of some references, and what estimates have in common with them.

    `gram` holds the inner products of delayed references, shape (references x taps, references x taps), and `common`
    those with the estimates, shape (references x taps, estimates).
    """

    references: Matrix
    estimates: Matrix
    taps: int
    gram: Matrix
    common: Matrix

    @classmethod
    def of(cls, references: Matrix, estimates: Matrix, taps: int) -> _Space:
        s, e = references, estimates
        lags = Lags(0, taps - 1)
        if taps == 1:
            found = (s @ np.concatenate([s, e]).T)[..., np.newaxis]
        else:
            found = lags.of_spectra([lags.heads(x) for x in s], [lags.reached(x, len(x)) for x in (*s, *e)])
        return cls(s, e, taps, _gram(found[:, : len(s)]), np.concatenate(list(found[:, len(s) :]), axis=1).T)

    def of_source(self, k: int) -> slice:
        """Rows of `gram` and `common` that belong to reference k."""
        return slice(k * self.taps, (k + 1) * self.taps)

    def filtered(self, filters: Signal) -> Signal:
        """Sum of the references after their filters, at full length. `filters` is a column of a solution."""
        import scipy.fft

        rows = filters.reshape(len(self.references), self.taps)
        length = self.references.shape[1] + self.taps - 1
        size = scipy.fft.next_fast_len(length, real=True)
        total = np.zeros(size // 2 + 1, dtype=np.complex128)
        for s, h in zip(self.references, rows, strict=True):
            if h.any():
                total += scipy.fft.rfft(s, size) * scipy.fft.rfft(h, size)
        signal: Signal = scipy.fft.irfft(total, size)[:length]
        return signal


def _gram(found: Matrix) -> Matrix:
    """Matrix of inner products from the correlations at lags 0..taps - 1, shape `(signals, signals, taps)`.

    s_i delayed by p and s_j delayed by q: sum_t s_i[t - p] s_j[t - q] = found[i, j, p - q], or found[j, i, q - p].
    """
    from scipy.linalg import toeplitz

    count = len(found)
    return np.block([[toeplitz(found[i, j], found[j, i]) for j in range(count)] for i in range(count)])


def _solved(gram: Matrix, common: Matrix) -> tuple[Matrix, bool]:
    """Filters `h` of the normal equations `gram h = common`, and whether they had a solution as they stood. Silent
    references get none.
    """
    from scipy.linalg import LinAlgError

    norms = np.sqrt(gram.diagonal())
    heard = np.flatnonzero(norms)
    norms = norms[heard, np.newaxis]
    unit, right = gram[np.ix_(heard, heard)] / norms / norms.T, common[heard] / norms  # a diagonal of ones
    well = True
    try:
        found: Matrix | None = _cholesky(unit, right)
    except LinAlgError:
        found = None
    if found is None or not _solves(unit, found, right):
        found = _pivoted_cholesky(unit, right)
    if not _solves(unit, found, right):
        unit.flat[:: len(unit) + 1] += LOADING
        found, well = _cholesky(unit, right), False
    filters = np.zeros_like(common)
    filters[heard] = found / norms
    return filters, well


def _solves(matrix: Matrix, found: Matrix, right: Matrix) -> bool:
    rest = np.abs(right - matrix @ found).max(axis=0)
    return bool((rest <= SOLVED * np.abs(right).max(axis=0)).all())


def _pivoted_cholesky(matrix: Matrix, right: Matrix) -> Matrix:
    """A solution that uses as few columns as explain all of them: two channels that are alike serve as one."""
    from scipy.linalg import solve_triangular
    from scipy.linalg.lapack import dpstrf

    factor, pivots, rank, _ = dpstrf(matrix, tol=REDUNDANT, lower=1)
    kept, triangle = pivots[:rank] - 1, np.tril(factor[:rank, :rank])
    half = solve_triangular(triangle, right[kept], lower=True, check_finite=False)
    solution = np.zeros_like(right)
    solution[kept] = solve_triangular(triangle.T, half, lower=False, check_finite=False)
    return solution


def _cholesky(matrix: Matrix, right: Matrix) -> Matrix:
    """Solution of a symmetric system. Raises `LinAlgError` where a leading minor is not positive."""
    from scipy.linalg import cho_factor, cho_solve

    solution: Matrix = cho_solve(cho_factor(matrix, lower=True, check_finite=False), right, check_finite=False)
    return solution


@dataclass(frozen=True)
class _Ratios:
    sdr: float
    sir: float
    sar: float


class _Decomposition:
    """Splits estimates of unit energy into own source, interference and artifacts, for any of the references."""

    def __init__(self, space: _Space) -> None:
        if not space.references.any(axis=1).all():
            raise ReferenceFault("silent")
        self._space = space
        self._joint, self.conditioned = _solved(space.gram, space.common)

    def ratios(self, k: int, j: int) -> _Ratios:
        """Estimate j taken for reference k."""
        space = self._space
        if not space.estimates[j].any():
            return _Ratios(-np.inf, -np.inf, -np.inf)
        rows, joint, common = space.of_source(k), self._joint[:, j], space.common[:, j]
        own = np.zeros_like(joint)
        own[rows], well = solve_filter(space.gram[rows, rows][0], common[rows])
        self.conditioned &= well
        of_joint, of_own = space.gram @ joint, space.gram[:, rows] @ own[rows]
        # With a filter h, Gram matrix G and common part d: |h * s|^2 = h'Gh and |e - h * s|^2 = |e|^2 - 2h'd + h'Gh.
        target, explained = float(own @ of_own), float(joint @ of_joint)
        interference = float((joint - own) @ (of_joint - of_own))
        distortion = 1 - 2 * float(own @ common) + target
        artifacts = 1 - 2 * float(joint @ common) + explained
        rounding = np.finfo(float).eps * float(joint @ joint)  # of h'Gh, whose terms cancel where filters are large
        if rounding > PRECISION * min(distortion, interference, artifacts, target):
            return self._by_sample(own, joint, j)
        return _Ratios(ratio_db(target, distortion), ratio_db(target, interference), ratio_db(explained, artifacts))

    def _by_sample(self, own: Signal, joint: Signal, j: int) -> _Ratios:
        target, explained = self._space.filtered(own), self._space.filtered(joint)
        estimate = np.zeros_like(target)
        estimate[: self._space.estimates.shape[1]] = self._space.estimates[j]
        energy, distortion = _energy(target), _energy(estimate - target)
        interference, artifacts = _energy(explained - target), _energy(estimate - explained)
        return _Ratios(
            ratio_db(energy, distortion), ratio_db(energy, interference), ratio_db(_energy(explained), artifacts)
        )


def _assigned(references: ArrayLike, estimates: ArrayLike, taps: int) -> SourceRatios:
    s, e = _both(references, estimates, 2)
    split = _Decomposition(_Space.of(_unit(s), _unit(e), taps))
    found = [split.ratios(k, k) for k in range(len(s))]
    several = len(s) > 1
    return SourceRatios(
        sdr=tuple(r.sdr for r in found),
        sir=tuple(r.sir for r in found) if several else None,
        sar=tuple(r.sar for r in found) if several else None,
        conditioned=split.conditioned,
    )


def _all_pairs(references: ArrayLike, estimates: ArrayLike, taps: int) -> PairRatios:
    s, e = _both(references, estimates, 2, same_number=False)
    split = _Decomposition(_Space.of(_unit(s), _unit(e), taps))
    found = [[split.ratios(k, j) for j in range(len(e))] for k in range(len(s))]
    several = len(s) > 1
    return PairRatios(
        sdr=np.array([[r.sdr for r in row] for row in found]),
        sir=np.array([[r.sir for r in row] for row in found]) if several else None,
        sar=np.array([r.sar for r in found[0]]) if several else None,
        conditioned=split.conditioned,
    )


# ------------------------------------------------------------------------------------------------------------ images


@dataclass(frozen=True, eq=False)
class FrameRatios:
    """Ratios of scored frames, shape `(sources, scored frames)`, and the median of each source.

    A frame is scored where no reference and no estimate is silent in all its channels; `frames` counts all.
    `silent_references` and `silent_estimates` count, for each source, the frames in which it is.
    """

    frame_sdr: Matrix
    frame_isr: Matrix
    frame_sir: Matrix | None
    frame_sar: Matrix | None
    frames: int
    silent_references: tuple[int, ...]
    silent_estimates: tuple[int, ...]
    conditioned: bool

    @property
    def sdr(self) -> tuple[float, ...]:
        return _medians(self.frame_sdr)

    @property
    def isr(self) -> tuple[float, ...]:
        return _medians(self.frame_isr)

    @property
    def sir(self) -> tuple[float, ...] | None:
        return None if self.frame_sir is None else _medians(self.frame_sir)

    @property
    def sar(self) -> tuple[float, ...] | None:
        return None if self.frame_sar is None else _medians(self.frame_sar)


def bss_eval_images(
    *,
    references: ArrayLike,
    estimates: ArrayLike,
    sample_rate: int,
    window_s: float | None = 1.0,
    hop_s: float = 1.0,
) -> FrameRatios:
    """BSSEval v4: filters of 512 taps for the whole track, ratios of frames. `window_s=None` is one frame for all.

    Samples that fill no frame at the end do not count. Raises `ReferenceFault` or `EstimateFault` where no frame is
    left, by whose silence.
    """
    s, e = _both(references, estimates, 3)
    window, hop = _frame_samples(s.shape[-1], sample_rate, window_s, hop_s)
    starts = range(0, s.shape[-1] - window + 1, hop)
    no_reference, no_estimate = (np.array([~x[..., a : a + window].any(axis=(1, 2)) for a in starts]) for x in (s, e))
    if no_reference.any(axis=1).all():
        raise ReferenceFault("silent")
    heard: NDArray[np.bool_] = ~(no_reference | no_estimate).any(axis=1)
    if not heard.any():
        raise EstimateFault("silent")
    s, e = s / np.abs(s).max(), e / np.abs(s).max()  # a common gain
    own, joint, conditioned = _image_filters(s, e)
    frames = [
        _image_ratios(s[..., start : start + window], e[..., start : start + window], own, joint)
        for start in np.array(starts)[heard]
    ]
    sdr, isr, sir, sar = np.moveaxis(np.array(frames), 0, -1)
    several = len(s) > 1
    return FrameRatios(
        frame_sdr=sdr,
        frame_isr=isr,
        frame_sir=sir if several else None,
        frame_sar=sar if several else None,
        frames=len(heard),
        silent_references=tuple(int(n) for n in no_reference.sum(axis=0)),
        silent_estimates=tuple(int(n) for n in no_estimate.sum(axis=0)),
        conditioned=conditioned,
    )


def _image_filters(s: Matrix, e: Matrix) -> tuple[Matrix, Matrix, bool]:
    """Filters from the channels of each source to its estimate, shape `(sources, channels, taps, channels)`, and from
    all channels of all sources, shape `(sources, sources, channels, taps, channels)`.
    """
    sources, channels, samples = s.shape
    space = _Space.of(s.reshape(-1, samples), e.reshape(-1, samples), SDR_TAPS)
    found, conditioned = _solved(space.gram, space.common)
    joint = np.moveaxis(found.reshape(sources, channels, SDR_TAPS, sources, channels), 3, 0)
    own, rows_of_source = [], channels * SDR_TAPS
    for k in range(sources):
        rows, columns = slice(k * rows_of_source, (k + 1) * rows_of_source), slice(k * channels, (k + 1) * channels)
        found, well = _solved(space.gram[rows, rows], space.common[rows, columns])
        own.append(found.reshape(channels, SDR_TAPS, channels))
        conditioned &= well
    return np.array(own), joint, conditioned


def _image_ratios(s: Matrix, e: Matrix, own: Matrix, joint: Matrix) -> Matrix:
    """SDR, ISR, SIR and SAR of one frame, shape `(4, sources)`. Energies are those of spectra (Parseval)."""
    import scipy.fft

    size = scipy.fft.next_fast_len(s.shape[-1] + SDR_TAPS - 1, real=True)
    spectra, estimate, own_filter, joint_filter = (
        scipy.fft.rfft(x, size, axis=axis) for x, axis in ((s, -1), (e, -1), (own, -2), (joint, -2))
    )
    target: Spectra = np.einsum("kaf,kafc->kcf", spectra, own_filter)
    explained: Spectra = np.einsum("iaf,kiafc->kcf", spectra, joint_filter)
    image, own_energy, all_energy = (_spectral_energy(x, size) for x in (spectra, target, explained))
    pairs = (
        (image, _spectral_energy(estimate - spectra, size)),
        (image, _spectral_energy(target - spectra, size)),
        (own_energy, _spectral_energy(explained - target, size)),
        (all_energy, _spectral_energy(estimate - explained, size)),
    )
    return np.array([[ratio_db(float(a), float(b)) for a, b in zip(*pair, strict=True)] for pair in pairs])


def _spectral_energy(spectra: Spectra, size: int) -> Signal:
    """Energy per source of the signals with these half spectra, summed over channels."""
    power = spectra.real**2 + spectra.imag**2
    edges = power[..., 0] + (power[..., -1] if size % 2 == 0 else 0)
    energy: Signal = (2 * power.sum(axis=-1) - edges).sum(axis=-1) / size
    return energy


def _frame_samples(samples: int, sample_rate: int, window_s: float | None, hop_s: float) -> tuple[int, int]:
    if window_s is None:
        return samples, samples
    window, hop = round(window_s * sample_rate), round(hop_s * sample_rate)
    if window < 1 or hop < 1:
        raise ValueError(f"window_s and hop_s must be at least one sample, got {window_s} and {hop_s}")
    return min(window, samples), hop


def _medians(frames: Matrix) -> tuple[float, ...]:
    return tuple(float(x) for x in np.median(np.clip(frames, -RESOLVED_DB, RESOLVED_DB), axis=-1))


# ------------------------------------------------------------------------------------------------------------ common


def _both(
    references: ArrayLike | Sequence[ArrayLike],
    estimates: ArrayLike | Sequence[ArrayLike],
    dimensions: int,
    *,
    same_number: bool = True,
) -> tuple[Matrix, Matrix]:
    s, e = np.asarray(references, dtype=np.float64), np.asarray(estimates, dtype=np.float64)
    if s.ndim != dimensions or s.size == 0:
        raise ValueError(f"references must have {dimensions} dimensions and samples, got shape {s.shape}")
    if e.shape[same_number ^ 1 :] != s.shape[same_number ^ 1 :] or e.size == 0:
        raise ValueError(f"estimates must have the shape of the references {s.shape}, got {e.shape}")
    for name, x in (("references", s), ("estimates", e)):
        if not np.isfinite(x).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite samples")
    return s, e


def _unit(signals: Matrix) -> Matrix:
    """Signals of unit energy; silence stays silence."""
    out = np.zeros_like(signals)
    for row, x in zip(out, signals, strict=True):
        ranged, energy = measured("signal", x)
        if energy > 0:
            np.divide(ranged, np.sqrt(energy), out=row)
    return out


def _energy(x: Signal) -> float:
    return float(np.dot(x, x))
