"""Pitch, voicing and mel-cepstra of two voices, frame by frame: F0 errors, F0 correlation, voicing F1, MCD.

Conventions
    Signals are float64, shape `(samples,)`, of equal length, at `RATE` = 16000 Hz, nominal range +-1; nothing is
    aligned. A frame is every 5 ms. `f0_hz` is 0 in an unvoiced frame. Analysing a signal costs a hundred times more
    than comparing two, so the metrics share it: `Reference.of(...)`, `.against(estimate=...)`, then the methods of
    `Pair`; the functions of the same names do all three.

Analysis: low-cut FIR filter (255 taps, 70 Hz), F0 by Harvest between 40 and 800 Hz, envelope by CheapTrick (FFT of
1024), both of WORLD (package `pyworld`, optional: see `REQUIRES`); mel-cepstrum of order 39 by frequency warping of the
cepstrum with alpha 0.466 (`mel_cepstrum`). Morise, Yokomori and Ozawa, "WORLD" (2016); Morise, "Harvest" (2017). All
constants are those of VERSA's `mcd_f0`, which took them from ESPnet: alpha 0.466 belongs to 24 kHz (0.41 would fit
16 kHz), yet published values at 16 kHz are computed with it.

MCD, in dB: mean_t (10 / ln 10) sqrt(2 sum_k (m_k - m'_k)^2). Kubichek, "Mel-cepstral distance measure for objective
    speech quality assessment" (1993). Here k starts at 0, as in VERSA and ESPnet, so level counts: a gain of g dB costs
    g / sqrt(2). `mcd_dtw` leaves frames out that lie over 20 dB under the mean power, and warps time to the path of the
    least sum (VERSA and ESPnet search an approximation of that path).
F0-RMSE in Hz (`f0_rmse`) and of natural logarithms (`f0_rmse_log`, as ESPnet; times 1731.2 it is in cents) and the
    correlation `f0_corr` look at the frames that are voiced in both signals, and so do not see voicing errors: read
    them beside `vuv_f1`. `f0_rmse_all` and `fpc` look at all frames, with an F0 of 0 in unvoiced ones: VERSA's `f0rmse`
    and `f0corr`, and the F0 Pearson coefficient of Amphion, Zhang et al. (2023). There, voicing errors dominate.
Voicing F1: 2 TP / (2 TP + FP + FN) over frames, positive = voiced.

A reference without a voiced frame has no pitch: ReferenceFault `unvoiced`. Where it has one, an estimate without a
frame that can be compared is at fault (`unvoiced`, `no_common_voiced`), except in `vuv_f1`, which is then truly 0. No
correlation exists with a track that does not move (`constant_pitch`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault, TooShort

__all__ = [
    "F0_RANGE_HZ",
    "FRAME_S",
    "RATE",
    "REQUIRES",
    "MissingPyworld",
    "Pair",
    "Reference",
    "Voice",
    "f0_corr",
    "f0_rmse",
    "f0_rmse_all",
    "f0_rmse_log",
    "fpc",
    "mcd",
    "mcd_dtw",
    "mel_cepstrum",
    "vuv_f1",
]

Signal = NDArray[np.float64]

REQUIRES = ("pyworld",)
"""Packages that every metric here needs. Where `importlib.util.find_spec` does not find one, skip them all."""

RATE = 16000
FRAME_S = 0.005
F0_RANGE_HZ = (40.0, 800.0)
ORDER = 39
WARPING = 0.466
N_FFT = 1024
LOW_CUT_HZ = 70.0
LOW_CUT_TAPS = 255
PAUSE_DB = -20.0
"""`mcd_dtw` leaves frames out whose power lies this far from the mean power of their signal."""

_FULL_SCALE = 32767.0  # WORLD adds noise of a fixed level against zeros, made for 16-bit numbers
_MIN_SAMPLES = RATE // 10
_LIMIT = 1e30
_CONSTANT = 1e-9  # relative deviation below which an F0 track does not move
_NEPERS_TO_DB = 10 / np.log(10)


class MissingPyworld(ModuleNotFoundError):
    """pyworld is not installed."""

    def __init__(self) -> None:
        super().__init__("needs pyworld: pip install 'hubbub[pitch]'", name="pyworld")


@dataclass(frozen=True)
class Voice:
    """What WORLD finds in one signal, by frame: F0 in Hz, power (linear), mel-cepstrum of shape `(frames, 40)`."""

    samples: int
    f0_hz: Signal
    power: Signal
    cepstrum: Signal

    @classmethod
    def of(cls, signal: ArrayLike, sample_rate: int) -> Voice:
        """ValueError unless the signal has at least 0.1 s at 16 kHz and is finite."""
        if sample_rate != RATE:
            raise ValueError(f"sample_rate must be {RATE} Hz, got {sample_rate}")
        x = np.asarray(signal, dtype=np.float64)
        if x.ndim != 1 or len(x) < _MIN_SAMPLES:
            raise ValueError(f"signal must have shape (samples,) with samples >= {_MIN_SAMPLES}, got {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError("signal must be finite, got NaN or infinite samples")
        f0_hz, envelope = _world(x)
        power = (envelope[:, 0] + envelope[:, -1] + 2 * envelope[:, 1:-1].sum(axis=1)) / N_FFT
        return cls(len(x), f0_hz, power, mel_cepstrum(envelope))

    @property
    def voiced(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self.f0_hz > 0
        return mask


@dataclass(frozen=True)
class Reference:
    """The reference's half of every metric here, for any number of estimates."""

    voice: Voice

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int) -> Reference:
        s = np.asarray(reference, dtype=np.float64)
        if s.ndim == 1 and len(s) < _MIN_SAMPLES:
            raise TooShort("under_100_ms")
        if s.size and np.abs(s).max() > _LIMIT:
            raise ReferenceFault("out_of_range")
        return cls(Voice.of(s, sample_rate))

    def against(self, *, estimate: ArrayLike) -> Pair:
        e = np.asarray(estimate, dtype=np.float64)
        if e.shape != (self.voice.samples,):
            raise ValueError(f"estimate must have the reference's shape ({self.voice.samples},), got {e.shape}")
        if np.abs(e).max() > _LIMIT:
            raise EstimateFault("out_of_range")
        return Pair(self.voice, Voice.of(e, RATE))


@dataclass(frozen=True)
class Pair:
    """Two analysed signals, compared."""

    reference: Voice
    estimate: Voice

    def mcd(self) -> float:
        return float(_distortion_db(self.reference.cepstrum - self.estimate.cepstrum).mean())

    def mcd_dtw(self) -> float:
        ours, theirs = (voice.cepstrum[_loud(voice.power)] for voice in (self.reference, self.estimate))
        return _warped_mean(ours, theirs)

    def f0_rmse(self) -> float:
        ours, theirs = self._common()
        return _rms(ours - theirs)

    def f0_rmse_log(self) -> float:
        ours, theirs = self._common()
        return _rms(np.log(ours / theirs))

    def f0_rmse_all(self) -> float:
        self._pitched()
        return _rms(self.reference.f0_hz - self.estimate.f0_hz)

    def f0_corr(self) -> float:
        _moves(self.reference.f0_hz[self.reference.voiced], ReferenceFault)
        ours, theirs = self._common()
        _moves(ours, EstimateFault)  # what the estimate left of a track that does move
        _moves(theirs, EstimateFault)
        return _pearson(ours, theirs)

    def fpc(self) -> float:
        self._pitched()
        _moves(self.reference.f0_hz, ReferenceFault)
        _moves(self.estimate.f0_hz, EstimateFault)
        return _pearson(self.reference.f0_hz, self.estimate.f0_hz)

    def vuv_f1(self) -> float:
        ours, theirs = self.reference.voiced, self.estimate.voiced
        if not ours.any():
            raise ReferenceFault("unvoiced")
        return float(2 * np.sum(ours & theirs) / (np.sum(ours) + np.sum(theirs)))

    def _pitched(self) -> None:
        if not self.reference.voiced.any():
            raise ReferenceFault("unvoiced")
        if not self.estimate.voiced.any():
            raise EstimateFault("unvoiced")

    def _common(self) -> tuple[Signal, Signal]:
        """F0 in Hz of both in the frames that are voiced in both."""
        self._pitched()
        both = self.reference.voiced & self.estimate.voiced
        if not both.any():
            raise EstimateFault("no_common_voiced")
        return self.reference.f0_hz[both], self.estimate.f0_hz[both]


def mcd(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Mel-cepstral distortion in dB, frame by frame, coefficient 0 included."""
    return _pair(reference, estimate, sample_rate).mcd()


def mcd_dtw(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Mel-cepstral distortion in dB along the best warping of time, pauses left out."""
    return _pair(reference, estimate, sample_rate).mcd_dtw()


def f0_rmse(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Root mean square error of F0 in Hz where both are voiced."""
    return _pair(reference, estimate, sample_rate).f0_rmse()


def f0_rmse_log(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Root mean square error of ln F0 where both are voiced. An octave is 0.693."""
    return _pair(reference, estimate, sample_rate).f0_rmse_log()


def f0_rmse_all(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Root mean square error of F0 in Hz over all frames, 0 Hz where unvoiced."""
    return _pair(reference, estimate, sample_rate).f0_rmse_all()


def f0_corr(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Pearson correlation of F0 where both are voiced."""
    return _pair(reference, estimate, sample_rate).f0_corr()


def fpc(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Pearson correlation of F0 over all frames, 0 Hz where unvoiced."""
    return _pair(reference, estimate, sample_rate).fpc()


def vuv_f1(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """F1 of the estimate's voiced frames."""
    return _pair(reference, estimate, sample_rate).vuv_f1()


def mel_cepstrum(envelope: ArrayLike, order: int = ORDER, warping: float = WARPING) -> Signal:
    """Mel-cepstra `(frames, order + 1)` of power spectra `(frames, n_fft / 2 + 1)`: SPTK's `sp2mc`.

    The cepstrum c of the magnitude |H|, ln |H(w)| = sum_n c_n cos(n w), is written as a series in
    (z^-1 - a) / (1 - a z^-1) instead of z^-1: a linear map. Oppenheim and Johnson, "Discrete representation of signals"
    (1972).
    """
    power = np.asarray(envelope, dtype=np.float64)
    cepstrum = np.fft.irfft(np.log(power), axis=-1)[:, : power.shape[-1]]
    cepstrum[:, 0] /= 2
    warped: Signal = cepstrum @ _warping_matrix(power.shape[-1], order, warping)
    return warped


@functools.lru_cache(maxsize=4)
def _warping_matrix(terms: int, order: int, a: float) -> Signal:
    """Row n: the coefficients 0..order of ((z^-1 + a) / (1 + a z^-1))^n, as a power series in z^-1.

    The series of row n follows from that of row n - 1: x_k = x'_(k-1) + a (x'_k - x_(k-1)).
    """
    rows = np.zeros((terms, order + 1))
    rows[0, 0] = 1
    for n in range(1, terms):
        before, row = rows[n - 1], rows[n]
        row[0] = a * before[0]
        for k in range(1, order + 1):
            row[k] = before[k - 1] + a * (before[k] - row[k - 1])
    return rows


def _world(x: Signal) -> tuple[Signal, Signal]:
    """F0 in Hz `(frames,)` and power spectral envelope `(frames, N_FFT / 2 + 1)`."""
    try:
        import pyworld  # type: ignore[import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        if error.name != "pyworld":
            raise
        raise MissingPyworld from None
    from scipy.signal import firwin, lfilter

    taps = firwin(LOW_CUT_TAPS, LOW_CUT_HZ, pass_zero=False, fs=RATE)
    filtered = lfilter(taps, 1, x * _FULL_SCALE)
    low, high = F0_RANGE_HZ
    f0_hz, at_s = pyworld.harvest(filtered, RATE, f0_floor=low, f0_ceil=high, frame_period=1000 * FRAME_S)
    return f0_hz, pyworld.cheaptrick(filtered, f0_hz, at_s, RATE, fft_size=N_FFT)


def _pair(reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> Pair:
    return Reference.of(reference=reference, sample_rate=sample_rate).against(estimate=estimate)


def _distortion_db(difference: Signal) -> Signal:
    db: Signal = _NEPERS_TO_DB * np.sqrt(2 * np.sum(difference**2, axis=-1))
    return db


def _loud(power: Signal) -> NDArray[np.bool_]:
    """Never empty: the loudest frame is above the mean."""
    mask: NDArray[np.bool_] = power > power.mean() * 10 ** (PAUSE_DB / 10)
    return mask


def _warped_mean(ours: Signal, theirs: Signal) -> float:
    """Mean distortion in dB over the steps of the path of the least sum, from both beginnings to both ends.

    With the cost c, the least sum to a cell is D[i, j] = c[i, j] + min(D[i-1, j-1], D[i-1, j], D[i, j-1]). The last of
    the three lies in the same row: with C the running sum of c, D[i, j] = C[j] + min_(k <= j) (m[k] - C[k-1]), where m
    is the least of the first two. So a row takes a running sum and a running minimum, and no loop.
    """
    columns = np.arange(len(theirs))
    cost = _distortion_db(ours[0] - theirs)
    least, steps = np.cumsum(cost), columns + 1
    for i in range(1, len(ours)):
        cost = _distortion_db(ours[i] - theirs)
        diagonal = np.concatenate([[np.inf], least[:-1]])
        from_diagonal = diagonal <= least
        entry = np.where(from_diagonal, diagonal, least)
        entry_steps = np.where(from_diagonal, np.concatenate([[0], steps[:-1]]), steps)
        before = np.concatenate([[0.0], np.cumsum(cost)[:-1]])
        gain = np.minimum.accumulate(entry - before)
        column = np.maximum.accumulate(np.where(entry - before == gain, columns, 0))  # where the path came down
        least = gain + before + cost
        steps = entry_steps[column] + columns - column + 1
    return float(least[-1] / steps[-1])


def _rms(x: Signal) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _pearson(ours: Signal, theirs: Signal) -> float:
    return float(np.corrcoef(ours, theirs)[0, 1])


def _moves(track: Signal, blame: Callable[[str], Exception]) -> None:
    if track.size and np.ptp(track) <= _CONSTANT * track.max():
        raise blame("constant_pitch")
