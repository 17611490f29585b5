"""Distances between short-time spectra: log-spectral distance, phase distance, multi-resolution STFT distance.

Conventions
    Signals are float64, shape `(samples,)`, of equal length, at `sample_rate` Hz, nominal range +-1; nothing is aligned
    or scaled. All three are distances: 0 for a perfect estimate, lower is better. Spectra have shape
    `(frames, bins)`; frames are centred on multiples of the hop, and the signal is continued by zeros (`lsd`,
    `phase_distance`) or by its mirror image (`mrstft`) at both ends. Windows are periodic Hann windows.

LSD, in bels (tens of dB): a gain of g dB costs |g| / 10.
    mean_t sqrt(mean_f log10(|S|^2 / |E|^2)^2), n_fft = 2048 sample_rate / 48000, hop = sample_rate / 100.
    Frames and hop are those of ssr_eval, which Liu et al., "Neural vocoder is all you need for speech
    super-resolution" (2022) and most papers after it score with, and which says what to do at every rate. Others take
    a hop of n_fft / 4 (NU-Wave 2) or natural logarithms after a gain fit (URGENT): other numbers, other names.
    Powers below `RANGE_DB` under the loudest bin of the reference are raised to it, in both signals: about where the
    noise of 16-bit audio lies. Digital silence in both costs nothing, in one of them as much as that noise would.
    Where nothing is below, exchanging the signals changes nothing.
LSD-LF and LSD-HF: the same over the bins below, and from, `split_hz`: the bandwidth that a bandwidth-extension system
    was given, which is half the rate of its input. Han and Lee, "NU-Wave 2" (2022).
Phase distance, in degrees: sum_tf |S| angle(S, E) / sum_tf |S| with the angle in 0..180. Choi et al., "Phase-aware
    speech enhancement with Deep Complex U-Net" (2019), with its frames of 64 ms every 16 ms. The scale of both signals
    is free. An empty bin of the estimate has no phase: it counts as 90 degrees, what a random phase gives on average.
Multi-resolution STFT distance: the mean over three resolutions of the spectral convergence |S - E|_F / |S|_F (over
    magnitudes) plus mean |ln |S| - ln |E||. Yamamoto, Song and Kim, "Parallel WaveGAN" (2020), with its resolutions in
    samples and its power floor of 1e-7, as auraloss has them. Level counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault, TooShort

__all__ = [
    "RANGE_DB",
    "RESOLUTIONS",
    "SPLIT_HZ",
    "LsdBands",
    "LsdReference",
    "MrstftReference",
    "PhaseReference",
    "lsd",
    "lsd_hf",
    "lsd_lf",
    "mrstft",
    "phase_distance",
]

Signal = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

RANGE_DB = 100.0
SPLIT_HZ = 4000.0
"""The bandwidth of telephone speech: the commonest input of bandwidth extension to 16 kHz."""

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""FFT length, hop and window length of the multi-resolution STFT distance, in samples."""

_MRSTFT_POWER = 1e-7
_LIMIT = 1e100  # the square of a sum of such samples is still finite; no file of 32-bit floats comes near
_BLOCK = 512  # frames held at a time: ten minutes at 48 kHz would take gigabytes


def lsd(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Log-spectral distance in bels."""
    return LsdReference.of(reference=reference, sample_rate=sample_rate).lsd(estimate=estimate)


def lsd_lf(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int, split_hz: float = SPLIT_HZ) -> float:
    """Log-spectral distance in bels over the bins below `split_hz`."""
    return LsdReference.of(reference=reference, sample_rate=sample_rate).bands(estimate=estimate, split_hz=split_hz).low


def lsd_hf(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int, split_hz: float = SPLIT_HZ) -> float:
    """Log-spectral distance in bels over the bins from `split_hz` to half the sample rate."""
    return (
        LsdReference.of(reference=reference, sample_rate=sample_rate).bands(estimate=estimate, split_hz=split_hz).high
    )


def phase_distance(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int) -> float:
    """Mean angle between the bins of both signals, weighted by the reference's magnitude, in degrees (0..180)."""
    return PhaseReference.of(reference=reference, sample_rate=sample_rate).phase_distance(estimate=estimate)


def mrstft(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """Multi-resolution STFT distance. Its windows are in samples, so it depends on the rate of the signals."""
    return MrstftReference.of(reference=reference).mrstft(estimate=estimate)


@dataclass(frozen=True)
class LsdBands:
    """Log-spectral distances in bels: all bins, those below the split, and the rest."""

    full: float
    low: float
    high: float


@dataclass(frozen=True)
class LsdReference:
    """The reference's half of the log-spectral distance, for any number of estimates."""

    sample_rate: int
    samples: int
    floor: float
    log_power: Signal

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int) -> LsdReference:
        s = _reference(reference)
        frames = _lsd_frames(s, sample_rate)
        power = np.concatenate([_power(block) for block in frames])
        floor = max(float(power.max()) * 10 ** (-RANGE_DB / 10), np.finfo(np.float64).tiny)
        return cls(sample_rate, len(s), floor, np.log10(np.maximum(power, floor)))

    def lsd(self, *, estimate: ArrayLike) -> float:
        return self._distances(estimate, (slice(None),))[0]

    def bands(self, *, estimate: ArrayLike, split_hz: float = SPLIT_HZ) -> LsdBands:
        """All three distances from one spectrum of the estimate."""
        bins = self.log_power.shape[1]
        split = int(bins * 2 * split_hz / self.sample_rate)
        if not 0 < split < bins:
            raise ValueError(
                f"split_hz must leave bins on both sides below {self.sample_rate / 2:g} Hz, got {split_hz:g}"
            )
        return LsdBands(*self._distances(estimate, (slice(None), slice(split), slice(split, None))))

    def _distances(self, estimate: ArrayLike, bands: tuple[slice, ...]) -> list[float]:
        e = _estimate(estimate, self.samples)
        total, start = np.zeros(len(bands)), 0
        for block in _lsd_frames(e, self.sample_rate):
            theirs = np.log10(np.maximum(_power(block), self.floor))
            square = (self.log_power[start : start + len(block)] - theirs) ** 2
            total += [np.sqrt(square[:, band].mean(axis=1)).sum() for band in bands]
            start += len(block)
        return [float(value) for value in total / start]


@dataclass(frozen=True)
class PhaseReference:
    """The reference's half of the phase distance, for any number of estimates."""

    sample_rate: int
    samples: int
    spectrum: Spectrum

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int) -> PhaseReference:
        s = _reference(reference)
        return cls(sample_rate, len(s), np.concatenate(list(_phase_frames(s, sample_rate))))

    def phase_distance(self, *, estimate: ArrayLike) -> float:
        e = _estimate(estimate, self.samples)
        weighted, start = 0.0, 0
        for block in _phase_frames(e, self.sample_rate):
            ours = self.spectrum[start : start + len(block)]
            angle = np.abs(np.angle(np.conj(ours) * block))
            angle[block == 0] = np.pi / 2
            weighted += float(np.sum(np.abs(ours) * angle))
            start += len(block)
        return float(np.degrees(weighted / np.abs(self.spectrum).sum()))


@dataclass(frozen=True)
class MrstftReference:
    """The reference's half of the multi-resolution STFT distance, for any number of estimates."""

    samples: int
    magnitudes: tuple[Signal, ...]

    @classmethod
    def of(cls, *, reference: ArrayLike) -> MrstftReference:
        s = _reference(reference)
        return cls(len(s), tuple(np.concatenate(list(_magnitudes(s, *r))) for r in RESOLUTIONS))

    def mrstft(self, *, estimate: ArrayLike) -> float:
        e = _estimate(estimate, self.samples)
        pairs = zip(self.magnitudes, RESOLUTIONS, strict=True)
        return float(np.mean([_resolution(ours, _magnitudes(e, *r)) for ours, r in pairs]))


def _resolution(ours: Signal, blocks: Iterator[Signal]) -> float:
    difference, logarithm, start = 0.0, 0.0, 0
    for theirs in blocks:
        mine = ours[start : start + len(theirs)]
        difference += float(np.sum((mine - theirs) ** 2))
        logarithm += float(np.sum(np.abs(np.log(mine / theirs))))
        start += len(theirs)
    return float(np.sqrt(difference / np.sum(ours**2))) + logarithm / ours.size


def _lsd_frames(x: Signal, sample_rate: int) -> Iterator[Spectrum]:
    n_fft, hop = 2048 * sample_rate // 48000, sample_rate // 100
    return _stft(np.pad(x, n_fft // 2), n_fft, hop, n_fft)


def _phase_frames(x: Signal, sample_rate: int) -> Iterator[Spectrum]:
    hop = round(0.016 * sample_rate)
    peak = np.abs(x).max()
    unit = x / peak if peak > 0 else x  # products of two spectra of tiny signals would underflow
    return _stft(np.pad(unit, 2 * hop), 4 * hop, hop, 4 * hop)


def _magnitudes(x: Signal, n_fft: int, hop: int, window: int) -> Iterator[Signal]:
    if len(x) <= n_fft // 2:
        raise TooShort("under_one_frame")  # no mirror image of half a frame
    for block in _stft(np.pad(x, n_fft // 2, mode="reflect"), n_fft, hop, window):
        yield np.sqrt(np.maximum(_power(block), _MRSTFT_POWER))


def _stft(padded: Signal, n_fft: int, hop: int, window: int) -> Iterator[Spectrum]:
    """Spectra of all whole frames, `_BLOCK` at a time; the Hann window lies in the middle of the frame."""
    import scipy.fft

    taper = np.zeros(n_fft)
    start = (n_fft - window) // 2
    taper[start : start + window] = np.sin(np.pi * np.arange(window) / window) ** 2
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    for first in range(0, len(frames), _BLOCK):
        yield scipy.fft.rfft(frames[first : first + _BLOCK] * taper, axis=-1)


def _power(spectrum: Spectrum) -> Signal:
    power: Signal = spectrum.real**2 + spectrum.imag**2
    return power


def _reference(reference: ArrayLike) -> Signal:
    s = np.asarray(reference, dtype=np.float64)
    if s.ndim != 1 or s.size == 0:
        raise ValueError(f"reference must have shape (samples,) with samples > 0, got {s.shape}")
    if not s.any():
        raise ReferenceFault("silent")
    if not np.abs(s).max() <= _LIMIT:
        raise ReferenceFault("out_of_range")
    return s


def _estimate(estimate: ArrayLike, samples: int) -> Signal:
    e = np.asarray(estimate, dtype=np.float64)
    if e.shape != (samples,):
        raise ValueError(f"estimate must have the reference's shape ({samples},), got {e.shape}")
    if not np.abs(e).max() <= _LIMIT:
        raise EstimateFault("out_of_range")
    return e
