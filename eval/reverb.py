"""Frame-wise measures of the REVERB challenge (2013): cepstral distance, LLR and frequency-weighted segmental SNR.

Conventions
    Signals are one-dimensional, of equal length, at `sample_rate` Hz (the challenge's is 16 kHz), float64. Frames are
    25 ms long, 10 ms apart, under the window 0.5 (1 - cos(2 pi n / (N + 1))), n = 1..N; only whole frames count. Each
    measure has a mean and a median over frames, `cd_reverb` and `cd_reverb_median`. CD (dB) and LLR are distances,
    lower is better; fwSegSNR is in dB, higher is better. Nothing is aligned. The scale of either signal is free, except
    near 2^-52.
    These are not the measures of the same names in `eval.composite`: every parameter differs.

CD      real cepstra c_0..c_24 of the log amplitude spectrum, floored 100 dB below the signal's highest amplitude, minus
        their mean over time; 10 / ln 10 sqrt(d_0^2 + 2 sum_k d_k^2) of the difference d, clipped to 0..10.
LLR     order 12. The lowest 95 % of frames are kept, then clipped to 0..2. As in `eval.composite`, 2^-52 is added to
        every sample and a frame is predicted to 120 dB at most: a silent frame would have no prediction polynomial.
fwSegSNR  both signals scaled to unit energy; amplitudes X, Y of estimate and reference in 23 mel bands (triangles of
        height 1, HTK's mel, 0 to fs / 2); sum_b W 10 log10(Y^2 / (X - Y)^2) / sum_b W with W = Y^0.2, clipped to
        -10..35 dB. A frame where the reference is digitally silent has no weight and is left out (in the challenge's
        code its 0 / 0 turns into 35 dB).

Kinoshita et al., "A summary of the REVERB challenge", EURASIP J. Adv. Signal Process. (2016), and the challenge's
evaluation tools for MATLAB, version 1.0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.composite import EPS, autocorrelation, prediction_error, predictors, signal_of
from eval.outcome import EstimateFault, ReferenceFault, TooShort, Unscorable

__all__ = ["NAMES", "Reference", "cd_reverb", "fwsegsnr_reverb", "llr_reverb"]

Signal = NDArray[np.float64]

NAMES = (
    "cd_reverb",
    "cd_reverb_median",
    "llr_reverb",
    "llr_reverb_median",
    "fwsegsnr_reverb",
    "fwsegsnr_reverb_median",
)
"""What `Reference.measures` computes."""

MIN_SAMPLE_RATE = 4000
"""Frames have 100 samples then, more than the orders need."""

_CEPSTRA = 24
_ORDER = 12
_MEL_BANDS = 23
_CD_CAP, _LLR_CAP = 10.0, 2.0
_SNR_LOW_DB, _SNR_HIGH_DB = -10.0, 35.0
_KEPT = 0.95
_ROWS = 256  # frames at a time


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference's half of the measures `names`, for any number of estimates.

    `Reference.of(reference=s, sample_rate=16000).measures(e)["cd_reverb"]`
    """

    names: tuple[str, ...]
    _samples: int
    _layout: _Layout
    _half: _Half

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int, names: Collection[str] = NAMES) -> Reference:
        if unknown := set(names) - set(NAMES):
            raise ValueError(f"names must be of {', '.join(NAMES)}, got {sorted(unknown)[0]!r}")
        layout = _layout(sample_rate)
        signal = signal_of(reference, "reference", ReferenceFault)
        if layout.frames(len(signal)) < 1:
            raise TooShort("under_1_frame")
        half = _Half.of(signal, layout, names, ReferenceFault)
        return cls(tuple(names), len(signal), layout, half)

    def measures(self, estimate: ArrayLike) -> dict[str, float]:
        """The value of each of `names`."""
        signal = signal_of(estimate, "estimate", EstimateFault)
        if len(signal) != self._samples:
            raise ValueError(f"estimate must have the reference's shape ({self._samples},), got {signal.shape}")
        s, e = self._half, _Half.of(signal, self._layout, self.names, EstimateFault)
        values: dict[str, float] = {}
        for family, compare in (("cd_reverb", _distances), ("llr_reverb", _ratios), ("fwsegsnr_reverb", _snrs_db)):
            if _asked(family, self.names):
                frames = compare(s, e)
                values[family], values[f"{family}_median"] = float(frames.mean()), float(np.median(frames))
        return {name: values[name] for name in self.names}


def cd_reverb(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Cepstral distance in dB, 0..10, mean over frames."""
    return _one("cd_reverb", reference, estimate, sample_rate)


def llr_reverb(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Log-likelihood ratio, 0..2, mean over frames."""
    return _one("llr_reverb", reference, estimate, sample_rate)


def fwsegsnr_reverb(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Frequency-weighted segmental SNR in dB, -10..35, mean over frames."""
    return _one("fwsegsnr_reverb", reference, estimate, sample_rate)


def _one(name: str, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    return Reference.of(reference=reference, sample_rate=sample_rate, names=(name,)).measures(estimate)[name]


def _asked(family: str, names: Collection[str]) -> bool:
    return family in names or f"{family}_median" in names


# ------------------------------------------------------------------------------------------- one signal, frame by frame


@dataclass(frozen=True, eq=False)
class _Layout:
    """Frames and mel bands at one sample rate."""

    window: Signal
    hop: int
    size: int  # of the FFT
    mel: Signal  # (bins, bands)

    def frames(self, samples: int) -> int:
        return (samples - len(self.window) + self.hop) // self.hop


@functools.cache
def _layout(sample_rate: int) -> _Layout:
    if sample_rate < MIN_SAMPLE_RATE:
        raise ValueError(f"sample_rate must be at least {MIN_SAMPLE_RATE} Hz, got {sample_rate}")
    length = 25 * sample_rate // 1000
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1)))
    size = 1 << (length - 1).bit_length()
    return _Layout(window, sample_rate // 100, size, _mel(sample_rate, size))


def _mel(sample_rate: int, size: int) -> Signal:
    """Triangles of height 1 between frequencies that are equally spaced on HTK's mel scale, 2595 log10(1 + f / 700)."""
    edges = np.linspace(0, 2595 * np.log10(1 + sample_rate / 2 / 700), _MEL_BANDS + 2)
    low, middle, high = (700 * (10 ** (edges[i : i + _MEL_BANDS] / 2595) - 1) for i in range(3))
    f = np.arange(size // 2 + 1)[:, None] * sample_rate / size
    bands: Signal = np.minimum((f - low) / (middle - low), (high - f) / (high - middle)).clip(0)
    return bands


@dataclass(frozen=True, eq=False)
class _Half:
    """What the measures need of one signal, in arrays of shape `(frames, ...)`; empty where nothing asked for it."""

    cepstra: Signal  # without their mean over time
    amplitude: Signal  # per mel band, the signal scaled to unit energy
    lags: Signal  # autocorrelation
    predictor: Signal  # prediction polynomials

    @classmethod
    def of(cls, signal: Signal, layout: _Layout, names: Collection[str], fault: type[Unscorable]) -> _Half:
        peak = np.abs(signal).max()
        if peak == 0:
            raise fault("silent")  # it cannot be scaled to unit energy
        cepstra, amplitude, lags = np.empty((0, 1)), np.empty((0, 1)), np.empty((0, _ORDER + 1))
        if _asked("cd_reverb", names) or _asked("fwsegsnr_reverb", names):
            spectra = _amplitudes(signal / peak, layout)
            if spectra.max() == 0:
                raise fault("silent")  # its only samples lie behind the last frame
            if _asked("fwsegsnr_reverb", names):
                amplitude = spectra @ layout.mel / math.sqrt(float(np.dot(signal / peak, signal / peak)))
            if _asked("cd_reverb", names):
                cepstra = _cepstra(spectra)
        if _asked("llr_reverb", names):
            lags = _lags(signal + EPS, layout)
        return cls(cepstra, amplitude, lags, predictors(lags))


def _windowed(signal: Signal, layout: _Layout, start: int) -> Signal:
    """Some frames from frame `start` on."""
    views = np.lib.stride_tricks.sliding_window_view(signal, len(layout.window))[:: layout.hop]
    frames: Signal = views[start : start + _ROWS] * layout.window
    return frames


def _amplitudes(signal: Signal, layout: _Layout) -> Signal:
    """Amplitude spectra, shape `(frames, bins)`: 120 MB for ten minutes at 16 kHz."""
    from scipy.fft import rfft

    spectra = np.empty((layout.frames(len(signal)), layout.size // 2 + 1))
    for start in range(0, len(spectra), _ROWS):
        spectra[start : start + _ROWS] = np.abs(rfft(_windowed(signal, layout, start), layout.size, axis=-1))
    return spectra


def _cepstra(spectra: Signal) -> Signal:
    from scipy.fft import irfft

    cepstra = np.empty((len(spectra), _CEPSTRA + 1))
    floor = spectra.max() * 10 ** (-100 / 20)
    for start in range(0, len(spectra), _ROWS):
        logarithm = np.log(np.maximum(spectra[start : start + _ROWS], floor))
        cepstra[start : start + _ROWS] = irfft(logarithm, axis=-1)[:, : _CEPSTRA + 1]
    cepstra -= cepstra.mean(axis=0)
    return cepstra


def _lags(signal: Signal, layout: _Layout) -> Signal:
    lags = np.empty((layout.frames(len(signal)), _ORDER + 1))
    padded = np.zeros((_ROWS, 2 * layout.size))  # `autocorrelation` wants half of it empty
    for start in range(0, len(lags), _ROWS):
        frames = _windowed(signal, layout, start)
        padded[: len(frames), : frames.shape[1]] = frames
        autocorrelation(padded[: len(frames)], lags[start : start + _ROWS])
    return lags


# ----------------------------------------------------------------------------------------------------- frames, compared


def _distances(s: _Half, e: _Half) -> Signal:
    squared = (e.cepstra - s.cepstra) ** 2
    distances = 10 / math.log(10) * np.sqrt(squared[:, 0] + 2 * squared[:, 1:].sum(axis=1))
    return np.asarray(distances).clip(0, _CD_CAP)


def _ratios(s: _Half, e: _Half) -> Signal:
    ratios = np.log(prediction_error(s.lags, e.predictor) / prediction_error(s.lags, s.predictor))
    kept = math.ceil(_KEPT * len(ratios))
    return np.sort(ratios)[:kept].clip(0, _LLR_CAP)


def _snrs_db(s: _Half, e: _Half) -> Signal:
    weight = s.amplitude**0.2
    total = weight.sum(axis=1)
    if not total.any():
        raise ReferenceFault("silent")
    with np.errstate(divide="ignore", invalid="ignore"):  # a band without error has infinite SNR
        snr_db = 20 * np.log10(s.amplitude / np.abs(e.amplitude - s.amplitude))
        snr_db = (np.where(weight > 0, weight * snr_db, 0.0).sum(axis=1) / total)[total > 0]
    return np.asarray(snr_db).clip(_SNR_LOW_DB, _SNR_HIGH_DB)
