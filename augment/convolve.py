"""Convolution of one dry signal with many filters: float32, overlap-add, spectra of the signal shared by all of them.

Conventions
    `x` is (samples,), a filter (taps,) or (channels, taps); outputs are float32, full length (samples + taps - 1)
    unless `length` says otherwise, and begin at the first sample of `x`: delay lives in the filter.
    Bytes depend on the signal, on one row of one filter with its length in taps, and on `length`, never on what else
    is in the batch: rows of a filter are transformed in groups padded to `LANES`, so that each takes the same (vector)
    path through pocketfft, and the blocks of a row are transformed back on their own.
    A row whose non-zero taps span at most `DIRECT_TAPS` is computed in the time domain: a pure delay or gain is exact.
    One thread. The error of the FFT path is about -130 dB of the output's RMS.

Source
    Overlap-add: Stockham, "High-speed convolution and correlation", 1966. That blocks belong in one call, because
    pocketfft runs SIMD across rows and not along them, was measured.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from scipy import fft

from manifests.compiled import kernel

__all__ = ["DIRECT_TAPS", "convolve"]

Signal = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]
Array = npt.NDArray[np.floating[Any]]

DIRECT_TAPS = 96
LANES = 4
_CHUNK = 4096
_BLOCK_COUNTS = range(LANES, 128 + 1, LANES)


@overload
def convolve(x: Array, h: Array, *, length: int | None = None) -> Signal: ...
@overload
def convolve(x: Array, h: Sequence[Array], *, length: int | None = None) -> list[Signal]: ...
def convolve(x: Array, h: Array | Sequence[Array], *, length: int | None = None) -> Signal | list[Signal]:
    """`x` (samples,) through `h`: a filter (taps,) or (channels, taps), or a list of filters (a list of outputs).

    `length` trims the outputs, or pads them with zeros. Raises ValueError for empty or misshapen input.
    """
    signal = _row("x", x)[:length]
    if length is not None and length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    spectra: dict[int, Spectrum] = {}
    if isinstance(h, np.ndarray):
        return _filtered(signal, h, length, spectra)
    return [_filtered(signal, one, length, spectra) for one in h]


def _row(name: str, values: Array) -> Signal:
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} must have shape (samples,) and not be empty, got {values.shape}")
    return np.ascontiguousarray(values, dtype=np.float32)


def _filtered(x: Signal, h: Array, length: int | None, spectra: dict[int, Spectrum]) -> Signal:
    if h.ndim not in (1, 2) or h.size == 0:
        raise ValueError(f"h must have shape (taps,) or (channels, taps) and not be empty, got {h.shape}")
    taps = np.ascontiguousarray(np.atleast_2d(h), dtype=np.float32)
    full = x.size + taps.shape[1] - 1
    out = np.zeros((len(taps), full if length is None else length), np.float32)
    supports = [_support(row) for row in taps]
    short = [stop - start <= DIRECT_TAPS for start, stop in supports]
    for channel, (start, stop) in enumerate(supports):
        if short[channel]:
            _direct(x, taps[channel, start:stop], start, out[channel])
    if not all(short):
        _overlap_add(x, taps, [c for c, s in enumerate(short) if not s], out[:, :full], spectra)
    return out[0] if h.ndim == 1 else out


def _support(row: Signal) -> tuple[int, int]:
    nonzero = row != 0
    first = int(nonzero.argmax())
    return (first, row.size - int(nonzero[::-1].argmax())) if nonzero[first] else (0, 0)


def _overlap_add(x: Signal, taps: Signal, rows: list[int], out: Signal, spectra: dict[int, Spectrum]) -> None:
    """Add the convolution of `x` with the named rows of `taps` to those rows of `out` (zeros before)."""
    size = _fft_size(x.size, taps.shape[1])
    step = size - taps.shape[1] + 1
    if size not in spectra:
        spectra[size] = fft.rfft(_blocks(x, size, step), workers=1)
    padded = np.zeros((-(-len(rows) // LANES) * LANES, size), np.float32)
    padded[: len(rows), : taps.shape[1]] = taps[rows]
    product = np.empty_like(spectra[size])
    for channel, transfer in zip(rows, fft.rfft(padded, workers=1), strict=False):
        np.multiply(spectra[size], transfer, out=product)
        pieces = fft.irfft(product, n=size, overwrite_x=True, workers=1)
        _add_pieces(pieces, step, out[channel])


@functools.lru_cache(maxsize=256)
def _fft_size(samples: int, taps: int) -> int:
    """The cheapest size over numbers of blocks that fill the vector lanes.

    Work is that of the groups of lanes, N log N each; the higher power of the logarithm stands for the cache
    (measured).
    """

    def size(blocks: int) -> int:
        return int(fft.next_fast_len(-(-samples // blocks) + taps - 1, real=True))

    return min((size(blocks) * math.log2(size(blocks)) ** 3 * blocks, size(blocks)) for blocks in _BLOCK_COUNTS)[1]


def _blocks(x: Signal, size: int, step: int) -> Signal:
    whole, rest = divmod(x.size, step)
    blocks = np.zeros((whole + (rest > 0), size), np.float32)
    blocks[:whole, :step] = x[: whole * step].reshape(whole, step)
    if rest:
        blocks[whole, :rest] = x[whole * step :]
    return blocks


def _add_pieces(pieces: Signal, step: int, out: Signal) -> None:
    for index, piece in enumerate(pieces):
        here = out[index * step : index * step + piece.size]
        here += piece[: here.size]


@kernel()
def _direct(x: Signal, h: Signal, delay: int, out: Signal) -> None:
    """Add sum_k h[k] x[n - delay - k] to out, tap by tap over chunks that stay in the first-level cache."""
    for begin in range(0, out.size, _CHUNK):
        for k in range(h.size):
            first = max(begin, delay + k)
            last = min(begin + _CHUNK, out.size, x.size + delay + k)
            if first < last:
                here = out[first:last]
                there = x[first - delay - k : last - delay - k]
                for n in range(here.size):
                    here[n] += h[k] * there[n]
