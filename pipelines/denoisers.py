"""Two real denoisers behind the `python` contract: RNNoise and spectral gating. Both come with the extra `systems`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rnnoise", "spectral_gating"]

Signal = NDArray[np.float32]
Enhance = Callable[[Signal, int], Signal]

RNNOISE_DELAY = 960
"""Samples at 48 kHz by which RNNoise's output lags its input: a frame of overlap-add and a frame of look-ahead
(measured; a test checks it).
"""


def rnnoise() -> Enhance:
    """RNNoise (J.-M. Valin, "A hybrid DSP/deep learning approach to real-time full-band speech enhancement", MMSP
    2018) at 48 kHz.
    """
    from pyrnnoise import rnnoise as library

    def enhance(x: Signal, sample_rate: int) -> Signal:
        return np.stack([_rnnoise_channel(library, channel) for channel in x])

    return enhance


def _rnnoise_channel(library: Any, x: Signal) -> Signal:
    """One channel through the C library in float (its Python wrapper would round every frame to 16 bits), delay taken
    out.
    """
    import ctypes

    size = library.FRAME_SIZE
    padded = np.zeros(-(-(len(x) + RNNOISE_DELAY) // size) * size, dtype=np.float32)
    padded[: len(x)] = x * 32768
    state = library.create()
    try:
        for frame in padded.reshape(-1, size):
            pointer = frame.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            library.lib.rnnoise_process_frame(state, pointer, pointer)
    finally:
        library.destroy(state)
    return np.asarray(padded[RNNOISE_DELAY : RNNOISE_DELAY + len(x)] / 32768, dtype=np.float32)


def spectral_gating(**settings: Any) -> Enhance:
    """Non-stationary spectral gating (T. Sainburg, noisereduce)."""
    import noisereduce

    def enhance(x: Signal, sample_rate: int) -> Signal:
        return np.asarray(noisereduce.reduce_noise(y=x, sr=sample_rate, **settings), dtype=np.float32).reshape(x.shape)

    return enhance
