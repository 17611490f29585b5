"""Ideal masks as systems: what a mask that knows the answer makes of a mixture, an upper bound for real ones.

Conventions
    `target` and `mixture` are float32 of shape `(channels, samples)` and the estimate has the mixture's shape. What is
    not target is the residual, mixture - target: interferers, noise and, for a dry target, reverberation. Masks are
    real, between 0 and 1, and are applied to the mixture's spectrum, whose phase they keep; channels are independent.

    Spectra: square-root Hann window at both ends of the chain, as long as the smallest power of two that is at least
    32 ms (512 samples at 16 kHz), hop a quarter of it (8 ms), which reconstructs the signal exactly.

IRM     sqrt(|S|^2 / (|S|^2 + |N|^2)), the ideal ratio mask. Wang, Narayanan and Wang, "On training targets for
        supervised speech separation" (2014).
IBM     1 where |S|^2 > |N|^2, else 0, the ideal binary mask at a local criterion of 0 dB. Wang, "On ideal binary mask
        as the computational goal of auditory scene analysis" (2005).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["ibm", "irm", "istft", "stft", "window_size"]

WINDOW_S = 0.032
_OVERLAP = 4  # windows over each sample; the squared window then sums to half of it

Power = NDArray[np.float64]


def irm(
    *, target: NDArray[np.float32], mixture: NDArray[np.float32], sample_rate: int, exponent: float = 0.5
) -> NDArray[np.float32]:
    """Estimate of the ideal ratio mask with `exponent` (0.5: as published; 1: a Wiener filter)."""
    return _masked(target, mixture, sample_rate, lambda speech, rest: _share(speech, rest) ** exponent)


def ibm(
    *, target: NDArray[np.float32], mixture: NDArray[np.float32], sample_rate: int, criterion_db: float = 0.0
) -> NDArray[np.float32]:
    """Estimate of the ideal binary mask, which keeps what lies more than `criterion_db` above the residual."""
    ratio = 10 ** (criterion_db / 10)
    return _masked(target, mixture, sample_rate, lambda speech, rest: np.where(speech > ratio * rest, 1.0, 0.0))


def window_size(sample_rate: int) -> int:
    """Samples of the smallest power of two that is at least 32 ms."""
    if sample_rate <= 0:
        raise ValueError(f"sample_rate must be a positive number of Hz, got {sample_rate}")
    return 1 << max(2, int(np.ceil(np.log2(WINDOW_S * sample_rate))))


def stft(signal: NDArray[np.floating], *, size: int) -> NDArray[np.complex128]:
    """Spectra of shape `(channels, frames, size // 2 + 1)`; every sample lies in four frames, those at the ends too."""
    import scipy.fft

    hop = size // _OVERLAP
    edge = size - hop
    tail = -signal.shape[-1] % hop
    padded = np.pad(signal.astype(np.float64), ((0, 0), (edge, edge + tail)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=-1)[:, ::hop]
    spectra: NDArray[np.complex128] = scipy.fft.rfft(frames * _window(size), axis=-1)
    return spectra


def istft(spectra: NDArray[np.complex128], *, size: int, samples: int) -> NDArray[np.float64]:
    """Inverse of `stft`, shape `(channels, samples)`."""
    import scipy.fft

    hop = size // _OVERLAP
    frames = scipy.fft.irfft(spectra, n=size, axis=-1) * _window(size) * (2 / _OVERLAP)
    channels, count, _ = frames.shape
    out = np.zeros((channels, count + _OVERLAP - 1, hop))
    for part in range(_OVERLAP):  # quarter `part` of frame n lands on hop n + part
        out[:, part : part + count] += frames[:, :, part * hop : (part + 1) * hop]
    return out.reshape(channels, -1)[:, size - hop : size - hop + samples]


def _masked(
    target: NDArray[np.float32],
    mixture: NDArray[np.float32],
    sample_rate: int,
    mask: Callable[[Power, Power], Power],
) -> NDArray[np.float32]:
    if mixture.ndim != 2:
        raise ValueError(f"mixture must have shape (channels, samples), got {mixture.shape}")
    if target.shape != mixture.shape:
        raise ValueError(f"target must have the mixture's shape {mixture.shape}, got {target.shape}")
    size = window_size(sample_rate)
    whole, speech = stft(mixture, size=size), stft(target, size=size)
    gains = mask(np.abs(speech) ** 2, np.abs(whole - speech) ** 2)
    return istft(gains * whole, size=size, samples=mixture.shape[-1]).astype(np.float32)


def _share(speech: Power, rest: Power) -> Power:
    """|S|^2 / (|S|^2 + |N|^2), and 0 where both are 0 (the mixture is 0 there as well)."""
    total = speech + rest
    return np.divide(speech, total, out=np.zeros_like(total), where=total > 0)


def _window(size: int) -> Power:
    """Square root of the periodic Hann window: its squares, a hop of size / 4 apart, sum to 2."""
    return np.sin(np.pi * np.arange(size) / size)
