"""Convolution of one dry signal with many filters: float32, overlap-add, spectra of the signal shared by all of them.

Conventions
    `x` is (samples,), a filter (taps,) or (channels, taps); outputs are float32, full length (samples + taps - 1)
    unless `length` says otherwise, and begin at the first sample of `x`: delay lives in the filter.
    Bytes depend on the signal, on one row of one filter with its length in taps, and on `length`, never on what else
    is in the batch. Two blocks of the signal make one complex signal: a real filter keeps its parts apart.
    A row whose non-zero taps span at most `DIRECT_TAPS` is computed in the time domain: a pure delay or gain is exact.
    One thread. The error of the FFT path is about -132 dB of the output's RMS.

Source
    Overlap-add: Stockham, "High-speed convolution and correlation", 1966.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, overload

import numba
import numpy as np
import numpy.typing as npt

from augment.fourier import LEAST_LENGTH, WIDTH, Planes, inverse_product, planes, radices, transform
from manifests.compiled import kernel

__all__ = ["DIRECT_TAPS", "convolve"]

Signal = npt.NDArray[np.float32]
Array = npt.NDArray[np.floating[Any]]

DIRECT_TAPS = 96
_CHUNK = 4096
_PASSES = 6  # over memory, beside those of the transforms


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
    spectra: dict[tuple[int, int], list[Planes]] = {}
    if isinstance(h, np.ndarray):
        return _filtered(signal, h, length, spectra)
    return [_filtered(signal, one, length, spectra) for one in h]


def _row(name: str, values: Array) -> Signal:
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} must have shape (samples,) and not be empty, got {values.shape}")
    return np.ascontiguousarray(values, dtype=np.float32)


def _filtered(x: Signal, h: Array, length: int | None, spectra: dict[tuple[int, int], list[Planes]]) -> Signal:
    if h.ndim not in (1, 2) or h.size == 0:
        raise ValueError(f"h must have shape (taps,) or (channels, taps) and not be empty, got {h.shape}")
    taps = np.ascontiguousarray(np.atleast_2d(h), dtype=np.float32)
    full = x.size + taps.shape[1] - 1
    out = np.empty((len(taps), full if length is None else length), np.float32)
    out[:, full:] = 0.0
    supports = [_support(row) for row in taps]
    short = [stop - start <= DIRECT_TAPS for start, stop in supports]
    for channel, (start, stop) in enumerate(supports):
        if short[channel]:
            out[channel] = 0.0
            _direct(x, taps[channel, start:stop], start, out[channel])
    if not all(short):
        _overlap_add(x, taps, [c for c, s in enumerate(short) if not s], out[:, :full], spectra)
    return out[0] if h.ndim == 1 else out


def _support(row: Signal) -> tuple[int, int]:
    nonzero = row != 0
    first = int(nonzero.argmax())
    return (first, row.size - int(nonzero[::-1].argmax())) if nonzero[first] else (0, 0)


def _overlap_add(
    x: Signal, taps: Signal, rows: list[int], out: Signal, spectra: dict[tuple[int, int], list[Planes]]
) -> None:
    """The convolution of `x` with the named rows of `taps`, to those rows of `out`."""
    length, whole = _layout(x.size, taps.shape[1])
    batch = _smaller(length, whole)
    step = length - taps.shape[1] + 1
    if (length, step) not in spectra:
        spectra[length, step] = _spectra(x, step, length, batch, whole // batch)
    work, spare = planes(length, batch), planes(length, batch)
    for channel in rows:
        transfer = _transfer(taps[channel], length)
        for number, spectrum in enumerate(spectra[length, step]):
            re, im = inverse_product(spectrum, transfer, work, spare, length=length)
            _add_blocks(re, im, step, batch, out[channel, 2 * batch * step * number :], number > 0)


@functools.lru_cache(maxsize=256)
def _layout(samples: int, taps: int) -> tuple[int, int]:
    """The cheapest length of a transform, and how many complex signals of it the blocks of the signal make."""
    choices = []
    length = 2 * LEAST_LENGTH
    while length < taps:
        length *= 2
    while True:
        pairs = math.ceil(samples / (length - taps + 1) / 2)
        batch = min(1 << (pairs - 1).bit_length(), -(-pairs // WIDTH) * WIDTH)
        choices.append((length * batch * (math.log2(length) + _PASSES), length, batch))
        if pairs == 1:
            return min(choices)[1:]
        length *= 2


@functools.lru_cache(maxsize=256)
def _smaller(length: int, batch: int) -> int:
    """The smallest part of the batch that makes the same bytes: less memory stays in the cache from step to step."""
    while batch % 2 == 0 and (batch < WIDTH or batch % (2 * WIDTH) == 0):
        if radices(length, batch // 2) != radices(length, batch):
            break
        batch //= 2
    return batch


def _spectra(x: Signal, step: int, length: int, batch: int, times: int) -> list[Planes]:
    """Blocks of `step` samples, the even ones as real and the odd ones as imaginary parts, transformed."""
    padded = np.empty(2 * batch * step * times, np.float32)
    padded[: x.size], padded[x.size :] = x, 0.0
    found = []
    for some in padded.reshape(times, -1):
        blocks = planes(length, batch)
        blocks[:, step * batch :] = 0.0
        _gather_blocks(some, step, batch, blocks[0], blocks[1])
        found.append(transform(blocks, planes(length, batch), length=length))
    return found


def _transfer(row: Signal, length: int) -> Planes:
    """The spectrum of one row over `length`, divided by `length`: (2, length)."""
    halves = planes(length // 2, 1)
    halves[:, row.size // 2 :] = 0.0
    halves[0, : (row.size + 1) // 2] = row[::2]
    halves[1, : row.size // 2] = row[1::2]
    found = transform(halves, planes(length // 2, 1), length=length // 2)
    back = np.concatenate([found[:, :1], found[:, :0:-1]], axis=1)
    out = np.empty((2, length), np.float32)
    _join_halves(*found, *back, *_turns(length), *out)
    return out


@functools.lru_cache(maxsize=16)
def _turns(length: int) -> tuple[Signal, Signal]:
    """cos and -sin of 2 pi k / length up to half a turn, divided by twice the length."""
    angles = 2 * np.pi * np.arange(length // 2) / length
    return (np.cos(angles) / (2 * length)).astype(np.float32), (-np.sin(angles) / (2 * length)).astype(np.float32)


@kernel()
def _join_halves(
    re: Signal, im: Signal, back_re: Signal, back_im: Signal, cos: Signal, sin: Signal, to_re: Signal, to_im: Signal
) -> None:
    """From the transform of even + j odd samples, at k and at -k (`back`), that of the real signal: E[k] + w^k O[k] at
    k, the difference half a turn on.
    """
    scale = cos[0]
    low_re, low_im, high_re, high_im = to_re[: re.size], to_im[: re.size], to_re[re.size :], to_im[re.size :]
    for k in range(re.size):
        even_re, even_im = scale * (re[k] + back_re[k]), scale * (im[k] - back_im[k])
        odd_re, odd_im = im[k] + back_im[k], back_re[k] - re[k]
        turned_re, turned_im = cos[k] * odd_re - sin[k] * odd_im, cos[k] * odd_im + sin[k] * odd_re
        low_re[k], low_im[k] = even_re + turned_re, even_im + turned_im
        high_re[k], high_im[k] = even_re - turned_re, even_im - turned_im


@kernel()
def _gather_blocks(x: Signal, step: int, batch: int, re: Signal, im: Signal) -> None:
    if batch == 1:
        for n in range(step):
            re[n], im[n] = x[n], x[n + step]
    elif batch == 2:
        for n in range(step):
            re[2 * n], re[2 * n + 1] = x[n], x[n + 2 * step]
        for n in range(step):
            im[2 * n], im[2 * n + 1] = x[n + step], x[n + 3 * step]
    else:
        for b in range(0, batch, 4):
            _gather_four(x[2 * b * step :], step, batch, re[b:])
            _gather_four(x[(2 * b + 1) * step :], step, batch, im[b:])


@numba.njit()
def _gather_four(x: Signal, step: int, batch: int, to: Signal) -> None:
    for n in range(step):
        to[n * batch], to[n * batch + 1] = x[n], x[n + 2 * step]
        to[n * batch + 2], to[n * batch + 3] = x[n + 4 * step], x[n + 6 * step]


@kernel()
def _add_blocks(re: Signal, im: Signal, step: int, batch: int, out: Signal, after: bool) -> None:
    """Each block begins a step after the one before. It is added to what that left there; behind that, it is first."""
    length = re.size // batch
    for b in range(batch):
        _add_block(re[b:], step, batch, length, out[2 * b * step :], after or b > 0)
        _add_block(im[b:], step, batch, length, out[(2 * b + 1) * step :], True)


@numba.njit()
def _add_block(block: Signal, step: int, batch: int, length: int, out: Signal, after: bool) -> None:
    left = min(length - step, out.size) if after else 0
    added, first, rest = out[:left], out[left:length], block[left * batch :]
    for n in range(added.size):
        added[n] += block[n * batch]
    for n in range(first.size):
        first[n] = rest[n * batch]


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
