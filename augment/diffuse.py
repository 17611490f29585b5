"""Noise that arrives from everywhere: independent noises mixed to the spatial coherence of an isotropic field.

    Y(f) = C(f) X(f),   C(f) C(f)^H = G(f),   C(f) = G(f)^(1/2), the Hermitian root that is positive semidefinite

where G_ij is the coherence of microphones i and j. Of all roots of G this one is nearest to the identity: each output
keeps as much of its own input as can be. It is smooth in frequency and has no delay: for omnidirectional microphones C
is real, so that the filters are symmetric about zero, and they are about as long as sound takes to cross the array.

Conventions
    Signals are (channels, samples) float32, positions (channels, 3) in metres, frequencies in Hz, c = 343 m/s. Only
    differences of positions matter. Fields:
        spherical    waves from all directions alike: sin(k d) / (k d)
        cylindrical  waves from all horizontal directions alike: J0(k d), d the horizontal distance. Microphones above
                     each other receive the same
    Patterns are first-order, one per microphone, their axes in the frame of the positions; none at all means that all
    are omnidirectional. With patterns G may be complex, and its diagonal is the power that a microphone receives,
    relative to that of microphone 0. (Coincident omnidirectional microphones receive the same; the channels of
    first-order Ambisonics receive independent noises, and their figures of eight a third of the power.)
    Inputs are first scaled to the RMS of input 0. The rows of C have the energy G_ii, 1 without patterns, so that every
    output's spectrum is a mean of the inputs' spectra, weighted by |C_ij|^2: noises of one spectrum keep it, and their
    level. Coherence is that of G only as far as the inputs are incoherent and their spectra alike.
    The filters do not vary in time. A signal is continued at its ends by its mirror image, so that neither does
    anything wrap around, nor does the level drop there.
    G^(1/2) is computed at equidistant frequencies and interpolated linearly: see `_POINTS_PER_PERIOD`.

Source
    R. K. Cook et al., "Measurement of correlation coefficients in reverberant sound fields", JASA 27(6), 1955.
    G. W. Elko, "Spatial coherence functions for differential microphones in isotropic noise fields", in "Microphone
    Arrays", Springer, 2001. E. A. P. Habets, I. Cohen, S. Gannot, "Generating nonstationary multisensor signals under
    a spatial coherence constraint", JASA 124(5), 2008. D. Mirabilii, S. J. Schlecht, E. A. P. Habets, "Generating
    coherence-constrained multisensor signals using balanced mixing and spectrally smooth filters", JASA 149(3), 2021.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
from scipy import fft, special

from augment.images import SPEED_OF_SOUND
from manifests.compiled import kernel

__all__ = ["Field", "coherence", "coherence_error", "diffuse", "inputs_coherence", "measured_coherence"]

Field = Literal["spherical", "cylindrical"]

Signal = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Array = npt.NDArray[np.floating[Any]]
Rows = tuple[tuple[float, ...], ...]


class Pattern(Protocol):
    """Gain omni + (1 - omni) cos(angle to `axis`), a unit vector (x, y, z)."""

    @property
    def omni(self) -> float: ...
    @property
    def axis(self) -> Sequence[float]: ...


Patterns = Sequence[Pattern]

_POINTS_PER_PERIOD = 64
"""Frequencies at which the root is computed, per period c / aperture of the fastest oscillation of G: the error of the
interpolation is at most (2 pi / 64)^2 / 8 of that oscillation, -58 dB. At zero the root has a kink, which is met."""

_MOST_POINTS = 4096
_POSITION_DECIMALS = 5  # 0.01 mm
_ROOT_DECIMALS = 6  # so that bytes do not depend on the last digits of a LAPACK
_WINDOW_S = 0.064
_LOWEST_HZ = 44.0
_QUIET = 1e-6  # -60 dB
_DEAF = 1e-9
_HANN_OVERLAP = 1 / 6  # correlation of a Hann window with itself, half its length later


def diffuse(
    inputs: Signal, positions_m: Array, *, sample_rate: int, field: Field = "spherical", patterns: Patterns = ()
) -> Signal:
    """As many noises as there were inputs, now coherent as in that field. `inputs` must be mutually independent.

    ValueError for shapes that do not fit, an unknown field, an input that is silent or not finite, a microphone 0 that
    receives nothing.
    """
    _check_rate(sample_rate)
    _check_array(positions_m, field, patterns)
    if inputs.ndim != 2 or len(inputs) != len(positions_m) or not inputs.size:
        raise ValueError(f"inputs must be {len(positions_m)} rows of samples, as positions_m has, got {inputs.shape}")
    samples = inputs.shape[1]
    spare = fft.next_fast_len(samples, real=True) - samples
    signals = np.pad(_equalised(inputs), ((0, 0), (0, spare)), mode="symmetric")
    key = _rows(positions_m - positions_m[0]), sample_rate, field, _weights(patterns)
    return np.ascontiguousarray(_mixed(signals, *_mixing(*key))[:, :samples])


def _equalised(inputs: Signal) -> Signal:
    rms = np.sqrt(np.mean(np.square(inputs, dtype=np.float64), axis=1, keepdims=True))
    if not (np.isfinite(rms) & (rms > 0)).all():
        raise ValueError(f"inputs must be neither silent nor infinite nor NaN, got the RMS {rms.ravel().tolist()}")
    return np.asarray(inputs * (rms[0] / rms), dtype=np.float32)


def _mixed(signals: Signal, real: Signal, imaginary: Signal) -> Signal:
    """A symmetric filter multiplies the coefficients of the cosine transform, which is the transform of the signal
    continued by its mirror image. What is odd about the filter turns cosines to sines: the k-th of the former is at the
    frequency of the (k - 1)th of the latter.
    """
    cosines = fft.dct(signals, norm="ortho", overwrite_x=True, workers=1)
    mixed = fft.idct(_product(cosines, real), norm="ortho", overwrite_x=True, workers=1)
    if imaginary.any():
        sines = np.roll(_product(cosines, imaginary), -1, axis=1)
        mixed -= fft.idst(sines, norm="ortho", overwrite_x=True, workers=1)
    return np.asarray(mixed)


@kernel()
def _product(coefficients: Signal, matrices: Signal) -> Signal:
    """Every column times the matrix of its frequency; `matrices` are those at points from zero to half the rate."""
    channels, size = coefficients.shape
    out = np.zeros_like(coefficients)
    intervals = len(matrices) - 1
    past = np.empty(size, np.float32)
    stop = 0
    for interval in range(intervals):
        start, stop = stop, -(-size * (interval + 1) // intervals)
        for k in range(start, stop):
            past[k] = k * intervals / size - interval
        for i in range(channels):
            for j in range(channels):
                here = matrices[interval, i, j]
                slope = matrices[interval + 1, i, j] - here
                for k in range(start, stop):
                    out[i, k] += (here + slope * past[k]) * coefficients[j, k]
    return out


# The field


def coherence(
    positions_m: Array, frequencies_hz: npt.ArrayLike, field: Field, *, patterns: Patterns = ()
) -> Float | Complex:
    """(frequencies, channels, channels): G over the powers of both microphones; 0 with one that receives nothing.

    Element (i, j) is that of X_i X_j*. Complex where there are patterns, else real.
    """
    _check_array(positions_m, field, patterns)
    return _normalised(_covariance(positions_m, frequencies_hz, field, _weights(patterns)))


def _covariance(positions_m: Array, frequencies_hz: npt.ArrayLike, field: Field, weights: Rows) -> Float | Complex:
    dimensions = 3 if field == "spherical" else 2
    positions = np.asarray(positions_m, dtype=np.float64)[:, :dimensions]
    apart = positions[:, np.newaxis] - positions
    distances = np.linalg.norm(apart, axis=-1)
    wavenumbers = 2 * math.pi / SPEED_OF_SOUND * np.asarray(frequencies_hz, dtype=np.float64)
    phases = wavenumbers[:, np.newaxis, np.newaxis] * distances
    if not weights:
        return _bessel(0, phases, field)
    towards = apart / np.where(distances > 0, distances, 1)[..., np.newaxis]
    omni, *eight = np.array(weights).T[: 1 + dimensions]
    return _directive(omni, np.stack(eight, axis=1), towards, [_bessel(order, phases, field) for order in range(3)])


def _directive(omni: Float, eight: Float, towards: Float, bessel: list[Float]) -> Complex:
    """The mean over all directions u of (a_i + b_i u) (a_j + b_j u) exp(i k u d), with b and u in n dimensions:

        a_i a_j j_0 + i (a_i b_j + a_j b_i) d j_1 + (b_i b_j) (j_0 + j_2) / n - (b_i d) (b_j d) j_2

    with j_m = j_m(k |d|) and d of unit length on the right; for n = 2 they are J_m.
    """
    along_i = np.einsum("ijx,ix->ij", towards, eight)
    along_j = np.einsum("ijx,jx->ij", towards, eight)
    dimensions = eight.shape[1]
    even = np.outer(omni, omni) * bessel[0] - along_i * along_j * bessel[2]
    even += (eight @ eight.T) * ((bessel[0] + bessel[2]) / dimensions)
    odd = (omni[:, np.newaxis] * along_j + omni * along_i) * bessel[1]
    power = float(omni[0] ** 2 + eight[0] @ eight[0] / dimensions)
    if power < _DEAF:
        raise ValueError(f"patterns must let microphone 0 receive power from the field, got {power}")
    return np.asarray((even + 1j * odd) / power)


def _bessel(order: int, x: Float, field: Field) -> Float:
    return np.asarray(special.spherical_jn(order, x) if field == "spherical" else special.jv(order, x))


@functools.lru_cache(maxsize=32)
def _mixing(positions: Rows, sample_rate: int, field: Field, weights: Rows) -> tuple[Signal, Signal]:
    """Real and imaginary part of the root (points, channels, channels), at points from zero to half the rate."""
    positions_m = np.array(positions)
    frequencies_hz = np.linspace(0, sample_rate / 2, _points(positions_m, sample_rate, field))
    covariance = _covariance(positions_m, frequencies_hz, field, weights)
    values, vectors = np.linalg.eigh(covariance)
    values = np.sqrt(np.maximum(values, 0))  # rounding leaves them slightly negative
    root = np.round((vectors * values[:, np.newaxis]) @ np.conj(np.swapaxes(vectors, 1, 2)), _ROOT_DECIMALS)
    parts = np.ascontiguousarray(root.real, np.float32), np.ascontiguousarray(root.imag, np.float32)
    for part in parts:
        part.setflags(write=False)
    return parts


def _points(positions_m: Float, sample_rate: int, field: Field) -> int:
    apart = (positions_m[:, np.newaxis] - positions_m)[..., : 3 if field == "spherical" else 2]
    periods = sample_rate / 2 * float(np.linalg.norm(apart, axis=-1).max()) / SPEED_OF_SOUND
    return min(_MOST_POINTS, math.ceil(periods * _POINTS_PER_PERIOD) + 2)


# Measured


def measured_coherence(x: Array, *, sample_rate: int, nfft: int) -> tuple[Float, Float]:
    """Frequencies, and the real part of the coherence of all pairs (frequencies, channels, channels); 0 with silence.

    Welch's estimate: Hann windows of `nfft` samples, half overlapping, no detrending. Its standard deviation is
    (1 - coherence^2) / sqrt(1.9 windows). Its bias is that of the window: the estimate is 1 % low where sound takes a
    thirtieth of a window between two microphones, and coherence is averaged over 1.5 bins.
    """
    _check_rate(sample_rate)
    return np.asarray(np.fft.rfftfreq(nfft, 1 / sample_rate)), _normalised(_cross_spectra(x, nfft)[0]).real


def coherence_error(
    x: Array, positions_m: Array, *, sample_rate: int, field: Field = "spherical", patterns: Patterns = ()
) -> float | None:
    """How far measured coherence is from the field's: the largest error of all pairs and third-octaves from 44 Hz. None
    for less than two windows of 64 ms.

    Errors are of the real part, averaged over each third-octave; frequencies 60 dB below the strongest do not count.
    By chance it is about 0.05 for 10 s of white noise. It sees what `inputs_coherence` does not, inputs that differ in
    spectrum (events that only one of them holds), and dilutes what that sees best: tones.
    """
    nfft = _window(sample_rate)
    if x.shape[-1] < 2 * nfft:
        return None
    frequencies_hz = np.fft.rfftfreq(nfft, 1 / sample_rate)
    spectra, _ = _cross_spectra(x, nfft)
    error = (_normalised(spectra) - coherence(positions_m, frequencies_hz, field, patterns=patterns)).real
    powers = _powers(spectra)
    quiet = powers <= _QUIET * powers.max(axis=0)
    loud = ~(quiet[:, :, np.newaxis] | quiet[:, np.newaxis])
    starts = _bands(frequencies_hz, per_octave=3)
    means = np.add.reduceat(error * loud, starts) / np.maximum(np.add.reduceat(loud.astype(float), starts), 1)
    return float(np.abs(means).max(initial=0.0))


def inputs_coherence(inputs: Array, sample_rate: int) -> float | None:
    """How far from incoherent inputs are: between 0 and 1, the largest of all pairs and octaves from 44 Hz. None for
    less than two windows.

    Per octave, the magnitude of Welch's coherence in windows of 64 ms, weighted by power: the root of
    sum |S_ij|^2 / sum S_ii S_jj over the octave, less what independent noises would show. Octaves 60 dB below the
    strongest do not count. 10 s of white noise show less than 0.1. What is coherent at other delays than +-64 ms is not
    seen, and does no harm to `diffuse`.
    """
    nfft = _window(sample_rate)
    if inputs.shape[-1] < 2 * nfft:
        return None
    spectra, windows = _cross_spectra(inputs, nfft)
    powers = _powers(spectra)
    starts = _bands(np.fft.rfftfreq(nfft, 1 / sample_rate), per_octave=1)
    joint = np.add.reduceat(np.abs(spectra) ** 2, starts)
    apart = np.add.reduceat(powers[:, :, np.newaxis] * powers[:, np.newaxis], starts)
    loud = apart > _QUIET**2 * apart.max(axis=0)
    chance = 1 / windows
    excess = (np.divide(joint, apart, np.zeros_like(joint), where=loud) - chance) / (1 - chance)
    different = ~np.eye(len(inputs), dtype=bool)
    return math.sqrt(max(0.0, float(excess[:, different].max(initial=0.0))))


def _window(sample_rate: int) -> int:
    _check_rate(sample_rate)
    return 2 * math.ceil(_WINDOW_S * sample_rate / 2)


def _bands(frequencies_hz: Array, *, per_octave: int) -> npt.NDArray[np.intp]:
    """Where bands begin; narrower ones than the resolution are left out."""
    octaves = math.log2(frequencies_hz[-1] / _LOWEST_HZ)
    edges_hz = _LOWEST_HZ * 2.0 ** (np.arange(octaves * per_octave) / per_octave)
    return np.unique(np.searchsorted(frequencies_hz, edges_hz))


def _cross_spectra(x: Array, nfft: int) -> tuple[Complex, float]:
    """(frequencies, channels, channels), and the number of independent windows that they are worth."""
    if x.ndim != 2 or nfft < 2 or x.shape[1] < 2 * nfft:
        raise ValueError(
            f"x must have shape (channels, samples) with at least 2 nfft = {2 * nfft} samples, got {x.shape}"
        )
    hann = np.sin(np.arange(nfft) * (math.pi / nfft)) ** 2
    frames = np.lib.stride_tricks.sliding_window_view(x, nfft, axis=1)[:, :: nfft // 2]
    spectra = np.ascontiguousarray(fft.rfft(frames * hann, workers=1).transpose(2, 0, 1), np.complex128)
    windows = frames.shape[1]
    return spectra @ np.conj(spectra.transpose(0, 2, 1)), windows / (1 + 2 * _HANN_OVERLAP**2 * (1 - 1 / windows))


def _normalised(spectra: Float | Complex) -> Float | Complex:
    amplitudes = np.sqrt(_powers(spectra))
    both = amplitudes[:, :, np.newaxis] * amplitudes[:, np.newaxis]
    return np.asarray(np.divide(spectra, both, np.zeros_like(spectra), where=both > 0))


def _powers(spectra: Float | Complex) -> Float:
    return np.asarray(np.einsum("fii->fi", spectra).real)


# Checked


def _check_rate(sample_rate: int) -> None:
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be positive, got {sample_rate}")


def _check_array(positions_m: Array, field: Field, patterns: Patterns) -> None:
    if field not in get_args(Field):
        raise ValueError(f"field must be one of {', '.join(get_args(Field))}, got {field}")
    if positions_m.ndim != 2 or positions_m.shape[1] != 3 or not len(positions_m):
        raise ValueError(f"positions_m must have shape (channels, 3) and not be empty, got {positions_m.shape}")
    if not np.isfinite(positions_m).all():
        raise ValueError(f"positions_m must be finite, got {positions_m.tolist()}")
    if patterns and len(patterns) != len(positions_m):
        raise ValueError(
            f"patterns must be none or {len(positions_m)}, one for each of positions_m, got {len(patterns)}"
        )


def _weights(patterns: Patterns) -> Rows:
    """What each microphone has of an omnidirectional one and of figures of eight along x, y and z."""
    return tuple((p.omni, *((1 - p.omni) * float(a) for a in p.axis)) for p in patterns)


def _rows(values: Array) -> Rows:
    return tuple(tuple(row) for row in np.round(np.asarray(values, np.float64), _POSITION_DECIMALS).tolist())
