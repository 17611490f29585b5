"""Frame-wise quality measures of Loizou's book: SSNR, LLR, WSS, fwSegSNR, CD, and the composites CSIG, CBAK and COVL.

Conventions
    Signals are one-dimensional, of equal length, at `sample_rate` Hz (8 kHz or more; published values are at 8 and
    16 kHz), nominal range +-1, float64. Nothing is aligned or normalised: SSNR and WSS depend on the level.
    Frames are 30 ms long, 7.5 ms apart, under the window 0.5 (1 - cos(2 pi n / (N + 1))), n = 1..N; the last whole
    frame is dropped. LLR, WSS and CD are distances, lower is better; SSNR and fwSegSNR are in dB, CSIG, CBAK and COVL
    lie in 1..5, higher is better.
    The result is finite for finite signals. As in the MATLAB code, 2^-52 is added to every sample, so that a digitally
    silent frame is a tiny constant: two silent frames have LLR, WSS and CD of 0 and an SSNR of -10 dB. A frame is
    predicted to 120 dB at most: below that, MATLAB's prediction error is rounding and may be negative.

Loizou, "Speech Enhancement: Theory and Practice", 2nd edition (2013), chapter 11; the MATLAB code published with it.
SSNR    mean over frames of 10 log10(energy of s / energy of (s - e)), each clamped to -10..35 dB.
LLR     log(a_e' R_s a_e / a_s' R_s a_s), a: prediction polynomials, order 10 below 10 kHz, else 16; R_s:
        autocorrelation of the reference. Mean of the lowest 95 % of frames, each capped at 2; the composites take
        `llr_uncapped`.
WSS     weighted squared difference of spectral slopes in 25 critical bands, Klatt, ICASSP (1982), eq. 4 to 7, with
        Kmax = 20 and Klocmax = 1; mean of the lowest 95 %. Band energies are floored at 1e-10. `wss_cmgan` divides the
        samples by 32768 first, as code that was written for 16-bit integers does with samples of +-1; the floor is
        all that changes. Published tables hold composites of both kinds: older ones of `wss`, those since CMGAN (2022)
        of `wss_cmgan`, up to 0.3 higher.
fwSegSNR  SNR of the amplitudes in 25 bands, each spectrum scaled to a sum of 1, weighted with |reference|^0.2.
CD      distance of LPC cepstra, 10 sqrt(2) / ln 10 |c_s - c_e|, capped at 10; mean of the lowest 95 %.
CSIG, CBAK, COVL  linear in PESQ, LLR, WSS and SSNR. Hu and Loizou, Interspeech (2006).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault, TooShort, Unscorable
from manifests.compiled import kernel

__all__ = [
    "EPS",
    "NAMES",
    "Composites",
    "Reference",
    "autocorrelation",
    "cd",
    "composites",
    "fwsegsnr",
    "llr",
    "prediction_error",
    "predictors",
    "signal_of",
    "ssnr",
    "wss",
]

Signal = NDArray[np.float64]

NAMES = ("ssnr", "llr", "llr_uncapped", "wss", "wss_cmgan", "fwsegsnr", "cd")
"""What `Reference.measures` computes."""

EPS = 2.0**-52
"""MATLAB's eps."""

MIN_SAMPLE_RATE = 8000
"""The top band ends just below 4 kHz."""

_LOUDEST = 1e100  # squares of louder samples would overflow
_CENTRE_HZ = (
    *(50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378, 798.717, 904.128, 1020.38),
    *(1148.30, 1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63),
)
_WIDTH_HZ = (
    *(70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423),
    *(153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136),
)
_BANDS = len(_CENTRE_HZ)
_SNR_LOW_DB, _SNR_HIGH_DB = -10.0, 35.0
_LLR_CAP = 2.0
_CD_CAP = 10.0
_KEPT = 0.95
_FLOOR_DB = -100.0  # 10 log10(1e-10)
_INTEGER_DB = 20 * math.log10(32768)
_KMAX, _KLOCMAX = 20.0, 1.0
_GAMMA = 0.2
_TINY = 1e-300
_PREDICTED = 2.0**-40  # smallest prediction error, relative to the frame's energy, that is more than rounding
_BLOCK = 1 << 16  # samples of zero-padded frames that are transformed at a time: they stay in the cache


class Composites(NamedTuple):
    csig: float
    cbak: float
    covl: float


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference's half of the measures `names`, for any number of estimates.

    `Reference.of(reference=s, sample_rate=16000).measures(e)["wss"]`
    """

    names: tuple[str, ...]
    _layout: _Layout
    _half: _Half

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int, names: Collection[str] = NAMES) -> Reference:
        if unknown := set(names) - set(NAMES):
            raise ValueError(f"names must be of {', '.join(NAMES)}, got {sorted(unknown)[0]!r}")
        layout = _layout(sample_rate)
        signal = signal_of(reference, "reference", ReferenceFault)
        if layout.frames(len(signal)) < 1:
            raise TooShort("under_2_frames")  # the last one is dropped
        return cls(tuple(names), layout, _Half.of(signal, layout, names))

    def measures(self, estimate: ArrayLike) -> dict[str, float]:
        """The value of each of `names`."""
        s = self._half
        signal = signal_of(estimate, "estimate", EstimateFault)
        if signal.shape != s.signal.shape:
            raise ValueError(f"estimate must have the reference's shape {s.signal.shape}, got {signal.shape}")
        e = _Half.of(signal, self._layout, self.names)
        values: dict[str, float] = {}
        if "ssnr" in self.names:
            noise = _energies(s.signal - e.signal, self._layout)
            snr_db = 10 * np.log10(s.energy / (noise + EPS) + EPS)
            values["ssnr"] = float(snr_db.clip(_SNR_LOW_DB, _SNR_HIGH_DB).mean())
        if {"llr", "llr_uncapped"} & set(self.names):
            ratio = np.log(prediction_error(s.lags, e.predictor) / s.error).clip(0)  # below 0 by rounding alone
            values["llr"], values["llr_uncapped"] = _lowest(ratio.clip(None, _LLR_CAP)), _lowest(ratio)
        if "wss" in self.names:
            values["wss"] = _lowest(_slope_distances(s.level_db, e.level_db))
        if "wss_cmgan" in self.names:
            values["wss_cmgan"] = _lowest(_slope_distances(_as_integers(s.level_db), _as_integers(e.level_db)))
        if "fwsegsnr" in self.names:
            values["fwsegsnr"] = _weighted_snr(s.amplitude, e.amplitude)
        if "cd" in self.names:
            distance = 10 * math.sqrt(2) / math.log(10) * np.linalg.norm(s.cepstrum - e.cepstrum, axis=-1)
            values["cd"] = _lowest(distance.clip(None, _CD_CAP))
        return {name: values[name] for name in self.names}


def composites(*, pesq_wb: float, llr: float, wss: float, ssnr: float) -> Composites:
    """CSIG, CBAK and COVL from PESQ-WB in MOS-LQO (16 kHz) and `llr_uncapped`, `wss` or `wss_cmgan`, and `ssnr`.

    The coefficients are the MATLAB code's. It was fitted to raw narrow-band PESQ; the field puts MOS-LQO of the
    wide band in.
    """
    csig = 3.093 - 1.029 * llr + 0.603 * pesq_wb - 0.009 * wss
    cbak = 1.634 + 0.478 * pesq_wb - 0.007 * wss + 0.063 * ssnr
    covl = 1.594 + 0.805 * pesq_wb - 0.512 * llr - 0.007 * wss
    return Composites(*(min(5.0, max(1.0, rating)) for rating in (csig, cbak, covl)))


def ssnr(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Segmental SNR in dB, -10..35."""
    return _one("ssnr", reference, estimate, sample_rate)


def llr(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Log-likelihood ratio, 0..2."""
    return _one("llr", reference, estimate, sample_rate)


def wss(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Weighted spectral slope distance, from 0."""
    return _one("wss", reference, estimate, sample_rate)


def fwsegsnr(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Frequency-weighted segmental SNR in dB, -10..35."""
    return _one("fwsegsnr", reference, estimate, sample_rate)


def cd(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """LPC cepstrum distance, 0..10."""
    return _one("cd", reference, estimate, sample_rate)


def _one(name: str, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    return Reference.of(reference=reference, sample_rate=sample_rate, names=(name,)).measures(estimate)[name]


def signal_of(samples: ArrayLike, name: str, fault: type[Unscorable]) -> Signal:
    """The samples as a vector of float64; raises `fault` where their squares would overflow."""
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{name} must have shape (samples,) with samples > 0, got {x.shape}")
    peak = max(-float(x.min()), float(x.max()))
    if not math.isfinite(peak):
        raise ValueError(f"{name} must be finite, got NaN or infinite samples")
    if peak > _LOUDEST:
        raise fault("overflow")
    return x


# ------------------------------------------------------------------------------------------- one signal, frame by frame


@dataclass(frozen=True, eq=False)
class _Layout:
    """Frames and bands at one sample rate."""

    window: Signal
    hop: int
    size: int  # of the FFT
    order: int  # of linear prediction
    first: NDArray[np.int64]  # bin of every band
    weights: Signal  # (bands, bins from `first` on)

    def frames(self, samples: int) -> int:
        return (samples - len(self.window)) // self.hop


@functools.cache
def _layout(sample_rate: int) -> _Layout:
    if sample_rate < MIN_SAMPLE_RATE:
        raise ValueError(f"sample_rate must be at least {MIN_SAMPLE_RATE} Hz, got {sample_rate}")
    length = math.floor(0.03 * sample_rate + 0.5)
    size = 1 << (2 * length - 1).bit_length()
    bank = _bank(sample_rate, size)
    used = bank > 0
    first, width = used.argmax(axis=1), used.sum(axis=1)
    weights = np.zeros((_BANDS, width.max()))
    for band, (start, bins) in enumerate(zip(first, width, strict=True)):
        weights[band, :bins] = bank[band, start : start + bins]
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1)))
    return _Layout(window, length // 4, size, 10 if sample_rate < 10000 else 16, first, weights)


def _bank(sample_rate: int, size: int) -> Signal:
    """Gaussian filters with equal sums, cut off where they fall to exp(-30 / 4.606), shape `(bands, size / 2)`."""
    bins_per_hz = size / sample_rate
    bins = np.arange(size // 2)
    width = np.array(_WIDTH_HZ)[:, None]
    centre = np.floor(np.array(_CENTRE_HZ)[:, None] * bins_per_hz)
    bank = np.exp(-11 * ((bins - centre) / (width * bins_per_hz)) ** 2) * _WIDTH_HZ[0] / width
    return np.where(bank > math.exp(-30 / (2 * 2.303)), bank, 0.0)


@dataclass(frozen=True, eq=False)
class _Half:
    """What the measures need of one signal, in arrays of shape `(frames, ...)`; empty where nothing asked for it."""

    signal: Signal
    energy: Signal  # windowed
    level_db: Signal  # of the power in every band, floored
    amplitude: Signal  # in every band, of a spectrum that sums to 1
    lags: Signal  # autocorrelation, order + 1
    predictor: Signal  # prediction polynomials, 1 first
    error: Signal  # energy of the prediction error
    cepstrum: Signal  # of the predictor

    @classmethod
    def of(cls, signal: Signal, layout: _Layout, names: Collection[str]) -> _Half:
        asked, nothing = set(names), np.empty(0)
        signal = signal + EPS
        energy = _energies(signal, layout) if "ssnr" in asked else nothing
        power, amplitude, lags = _frame_by_frame(
            signal,
            layout,
            powers=bool({"wss", "wss_cmgan"} & asked),
            amplitudes="fwsegsnr" in asked,
            lags=bool({"llr", "llr_uncapped", "cd"} & asked),
        )
        level_db = 10 * np.log10(np.maximum(power, 1e-10))
        predictor = predictors(lags)
        error = prediction_error(lags, predictor)
        cepstrum = _cepstra(predictor) if "cd" in asked else nothing
        return cls(signal, energy, level_db, amplitude, lags, predictor, error, cepstrum)


def _frame_by_frame(
    signal: Signal, layout: _Layout, *, powers: bool, amplitudes: bool, lags: bool
) -> tuple[Signal, Signal, Signal]:
    """Power and scaled amplitude per band, and autocorrelation, of every frame; without frames where not asked for."""
    from scipy.fft import rfft

    count = layout.frames(len(signal))
    power = np.empty((count if powers else 0, _BANDS))
    amplitude = np.empty((count if amplitudes else 0, _BANDS))
    lag = np.empty((count if lags else 0, layout.order + 1))
    rows = max(1, _BLOCK // layout.size)
    padded = np.zeros((min(rows, count), layout.size))
    for start in range(0, count if powers or amplitudes or lags else 0, rows):
        stop = min(count, start + rows)
        frames = padded[: stop - start]
        _cut(signal[start * layout.hop :], layout.window, layout.hop, frames)
        if lags:
            autocorrelation(frames, lag[start:stop])
        if powers or amplitudes:
            spectra = rfft(frames, axis=-1)
            _band_sums(spectra, layout.first, layout.weights, power[start:stop], amplitude[start:stop])
    return power, amplitude, lag


# --------------------------------------------------------------------------------------------------- from frames to one


def _lowest(distance: Signal) -> float:
    """Mean of the lowest 95 % of frames, their number rounded half up as MATLAB does."""
    kept = math.floor(_KEPT * len(distance) + 0.5)
    return float(np.sort(distance)[:kept].mean())


def _as_integers(level_db: Signal) -> Signal:
    return np.maximum(level_db - _INTEGER_DB, _FLOOR_DB)


def _weighted_snr(reference: Signal, estimate: Signal) -> float:
    """Frames are weighted means over bands of 10 log10(s^2 / (s - e)^2), the error not below eps, clamped."""
    weight = reference**_GAMMA
    error = np.maximum((reference - estimate) ** 2, EPS)
    snr_db = 10 * np.log10(np.maximum(reference**2, _TINY) / error)
    total = weight.sum(axis=-1)
    mean_db = (weight * snr_db).sum(axis=-1) / np.maximum(total, _TINY)
    return float(np.where(total > 0, mean_db, _SNR_LOW_DB).clip(_SNR_LOW_DB, _SNR_HIGH_DB).mean())


def _energies(signal: Signal, layout: _Layout) -> Signal:
    """Energy of every windowed frame."""
    energy = np.empty(layout.frames(len(signal)))
    _weighted_energy(signal, layout.window**2, layout.hop, energy)
    return energy


# -------------------------------------------------------------------------------------------------------------- kernels
# Sums may be reordered ("reassoc") where a kernel is one long sum: several terms are then added at a time.


@kernel()
def _cut(signal: Signal, window: Signal, hop: int, frames: Signal) -> None:
    """Writes windowed frames, each followed by what `frames` holds there (zeros)."""
    for f in range(frames.shape[0]):
        x, frame = signal[f * hop : f * hop + window.size], frames[f]
        for n in range(window.size):
            frame[n] = window[n] * x[n]


@kernel(fastmath={"reassoc"})
def _weighted_energy(signal: Signal, weights: Signal, hop: int, energy: Signal) -> None:
    for f in range(energy.size):
        x = signal[f * hop : f * hop + weights.size]
        total = 0.0
        for n in range(weights.size):
            total += weights[n] * x[n] * x[n]
        energy[f] = total


@kernel(fastmath={"reassoc"})
def autocorrelation(frames: Signal, lags: Signal) -> None:
    """Writes `lags[f, k] = sum_n frames[f, n] frames[f, n + k]`. Half of every frame or more is trailing zeros.

    Four lags at a time, because loading the samples takes longer than multiplying them.
    """
    length = frames.shape[1] // 2
    for f in range(lags.shape[0]):
        x = frames[f, :length]
        for k in range(0, lags.shape[1], 4):
            y = frames[f, k : k + length + 3]
            first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
            for n in range(length):
                first += x[n] * y[n]
                second += x[n] * y[n + 1]
                third += x[n] * y[n + 2]
                fourth += x[n] * y[n + 3]
            for lag, value in enumerate((first, second, third, fourth)):
                if k + lag < lags.shape[1]:
                    lags[f, k + lag] = value


@kernel(fastmath={"reassoc"})
def _band_sums(
    spectra: NDArray[np.complex128],
    first: NDArray[np.int64],
    weights: Signal,
    power: Signal,
    amplitude: Signal,
) -> None:
    """Power and amplitude per band. The amplitudes of a frame are scaled to a sum of 1, the bin at fs / 2 left out."""
    bins = spectra.shape[1] - 1
    values = np.zeros(bins + weights.shape[1])  # a band's last weights may be zeros past the spectrum
    for f in range(spectra.shape[0]):
        for k in range(bins):
            values[k] = spectra[f, k].real ** 2 + spectra[f, k].imag ** 2
        for b in range(power.shape[1] if power.shape[0] else 0):
            x = values[first[b] : first[b] + weights.shape[1]]
            total = 0.0
            for k in range(weights.shape[1]):
                total += weights[b, k] * x[k]
            power[f, b] = total
        if amplitude.shape[0]:
            whole = 0.0
            for k in range(bins):
                values[k] = math.sqrt(values[k])
                whole += values[k]
            for b in range(amplitude.shape[1]):
                x = values[first[b] : first[b] + weights.shape[1]]
                total = 0.0
                for k in range(weights.shape[1]):
                    total += weights[b, k] * x[k]
                amplitude[f, b] = total / whole if whole > 0 else 0.0


def predictors(lags: Signal) -> Signal:
    """Prediction polynomials `[1, a_1, ...]` of shape `lags.shape`: Levinson's recursion on every row.

    It stops where the error falls to `_PREDICTED` of the energy; a silent frame has the polynomial 1.
    """
    polynomials = np.zeros(lags.shape[::-1])
    _levinson(np.ascontiguousarray(lags.T), polynomials)
    return np.ascontiguousarray(polynomials.T)


@kernel(error_model="numpy")
def _levinson(lags: Signal, polynomials: Signal) -> None:
    """Levinson's recursion on every column; the innermost loops run over frames, which the compiler can vectorise."""
    error = lags[0].copy()
    total, reflection = np.empty_like(error), np.empty_like(error)
    before = np.empty_like(polynomials)
    polynomials[0, :] = 1.0
    for i in range(1, lags.shape[0]):
        first = lags[i]
        for f in range(total.size):
            total[f] = first[f]
        for j in range(1, i):
            a, r = polynomials[j], lags[i - j]
            for f in range(total.size):
                total[f] += a[f] * r[f]
        for f in range(total.size):
            k = -total[f] / error[f]
            going = error[f] > _PREDICTED * lags[0, f] and abs(k) < 1.0
            reflection[f] = k if going else 0.0
            error[f] = error[f] * (1.0 - k * k) if going else 0.0  # 0 ends the recursion for good
        for j in range(1, i):
            a, b = polynomials[j], before[j]
            for f in range(total.size):
                b[f] = a[f]
        for j in range(1, i):
            a, b = polynomials[j], before[i - j]
            for f in range(total.size):
                a[f] += reflection[f] * b[f]
        last = polynomials[i]
        for f in range(total.size):
            last[f] = reflection[f]


@kernel()
def prediction_error(lags: Signal, predictor: Signal) -> Signal:
    """`a' R a` of every row, R the Toeplitz matrix of its lags; not below `_PREDICTED` of the energy, nor zero."""
    out = np.empty(lags.shape[0])
    for f in range(out.size):
        r, a = lags[f], predictor[f]
        whole = 0.0
        for k in range(r.size):
            total = 0.0
            for i in range(r.size - k):
                total += a[i] * a[i + k]
            whole += r[k] * total if k == 0 else 2.0 * r[k] * total
        out[f] = max(whole, _PREDICTED * r[0], _TINY)
    return out


@kernel()
def _cepstra(predictor: Signal) -> Signal:
    """Cepstrum of 1 / polynomial without its zeroth term: c_k = -a_k - sum_{i<k} (i / k) c_i a_{k-i}."""
    order = predictor.shape[1] - 1
    out = np.empty((predictor.shape[0], order))
    for f in range(out.shape[0]):
        a, c = predictor[f], out[f]
        for k in range(1, order + 1):
            total = 0.0
            for i in range(1, k):
                total += i * c[i - 1] * a[k - i]
            c[k - 1] = -a[k] - total / k
    return out


@kernel()
def _slope_distances(reference: Signal, estimate: Signal) -> Signal:
    """WSS of every frame, from levels in dB of shape `(frames, bands)`: sum w (slope_s - slope_e)^2 / sum w."""
    frames, slopes = reference.shape[0], reference.shape[1] - 1
    out = np.empty(frames)
    weight_s, weight_e = np.empty(slopes), np.empty(slopes)
    for f in range(frames):
        s, e = reference[f], estimate[f]
        _slope_weights(s, weight_s)
        _slope_weights(e, weight_e)
        whole, total = 0.0, 0.0
        for b in range(slopes):
            weight = (weight_s[b] + weight_e[b]) / 2
            difference = (s[b + 1] - s[b]) - (e[b + 1] - e[b])
            whole += weight * difference * difference
            total += weight
        out[f] = whole / total
    return out


@kernel()
def _slope_weights(level: Signal, weight: Signal) -> None:
    """Klatt's weights, 1 at a peak: Kmax / (Kmax + highest - level) Klocmax / (Klocmax + nearest peak - level).

    The nearest peak of a falling slope is where the fall began. That of a rise should be the band that it reaches; the
    MATLAB code takes the one before, and published values with it.
    """
    slopes = weight.size
    nearest = level[0]
    for b in range(slopes):
        if b > 0 and level[b] > level[b - 1]:
            nearest = level[b]
        weight[b] = nearest
    for b in range(slopes - 1, -1, -1):
        if level[b + 1] > level[b]:
            if b == slopes - 1 or not level[b + 2] > level[b + 1]:
                nearest = level[b]
            weight[b] = nearest
    highest = level.max()
    for b in range(slopes):
        weight[b] = _KMAX * _KLOCMAX / ((_KMAX + highest - level[b]) * (_KLOCMAX + weight[b] - level[b]))
