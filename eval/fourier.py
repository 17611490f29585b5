"""Fourier transforms of many blocks of a real signal, and correlations by them, compiled.

Conventions
    float64. The size is a power of two from 256 on, and the transform X[k] = sum_n x[n] exp(-2 pi i k n / size).
    `Spectra` have shape `(pairs, 2, size)`: block 2 p of a signal went in as the real part and block 2 p + 1 as the
    imaginary part of one complex transform, whose real and imaginary parts they hold. Bin k lies at `places(size)[k]`.
    One thread; the error is about 1e-16 of the largest magnitude, as that of other transforms in double precision.

Two in one: Z = A + i B of real signals a and b. For spectra W = C + i D made alike, the Hermitian part of conj(Z) W is
conj(A) C + conj(B) D, and so the real part of its inverse transform is the correlation of a with c plus that of b with
d: nothing need be taken apart. The mean of |Z[k]|^2 and |Z[-k]|^2 is |A[k]|^2 + |B[k]|^2.

Source
    Decimation in frequency, in place, with steps of radix 8 and 4: W. Gentleman and G. Sande, "Fast Fourier transforms:
    for fun and profit", AFIPS 1966. The order is left as it falls, because sums of products do not mind. The last two
    steps, of radix 8, are made on 64 numbers in registers.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from manifests.compiled import kernel
from manifests.lanes import DOUBLES, eight, four, inlined, times

__all__ = ["LEAST_SIZE", "Spectra", "add_products", "correlations", "places", "spectra", "total"]

Signal = NDArray[np.float64]
Spectra = NDArray[np.float64]
Places = NDArray[np.int64]

LEAST_SIZE = 256
_LAST = 64
_NO_WINDOW = np.empty(0)


def spectra(
    x: Signal, *, size: int, first: int, hop: int, taken: int, blocks: int, window: Signal = _NO_WINDOW
) -> Spectra:
    """Of blocks of `taken` samples, `hop` apart from sample `first` on, with zeros up to `size` and for what is outside
    of `x`. A `window` has `taken` values.
    """
    if taken > size:
        raise ValueError(f"taken must not exceed the size, got {taken} and {size}")
    if window.size not in (0, taken):
        raise ValueError(f"window must have {taken} values, got {window.size}")
    out = np.empty((-(-blocks // 2), 2, size))
    _spectra(np.ascontiguousarray(x), first, hop, taken, blocks, window, *_steps(size), out)
    return out


def total(size: int) -> Signal:
    """A sum of products without any yet, `(2, size)`."""
    return np.zeros((2, size))


def add_products(to: Signal, first: Spectra, second: Spectra) -> None:
    """Add `conj(first) second`, summed over the pairs."""
    if not to.shape == first.shape[1:] == second.shape[1:] or len(first) != len(second):
        raise ValueError(f"spectra must have one shape, got {first.shape} and {second.shape} for {to.shape}")
    _add_products(to, first, second)


def correlations(products: Signal, lags: NDArray[np.int64]) -> Signal:
    """`sum_t a[t] b[t + lag]` modulo the size, from a sum of `conj(A) B`."""
    size = products.shape[-1]
    re, im = products[0][places(size)], -products[1][places(size)]  # the inverse, but for a conjugate, is the transform
    _transform(re, im, *_steps(size))
    found: Signal = re[places(size)[lags % size]] / size
    return found


@functools.cache
def places(size: int) -> Places:
    """Where each bin lies."""
    bins = np.arange(_LAST)
    for radix in reversed(_radices(size)):
        bins = np.concatenate([j + radix * bins for j in range(radix)])
    where: Places = _constant(np.argsort(bins))
    return where


def _radices(size: int) -> list[int]:
    """Those of the steps before the last 64."""
    if size < LEAST_SIZE or size & (size - 1):
        raise ValueError(f"size must be a power of two from {LEAST_SIZE} on, got {size}")
    bits = (size // _LAST).bit_length() - 1
    fours = -bits % 3  # as few as there can be: 4 x 4 takes the place of 8 x 2
    return [8] * ((bits - 2 * fours) // 3) + [4] * fours


@functools.cache
def _steps(size: int) -> tuple[Places, Signal]:
    """The radices, and cosine and sine of what each step turns by, one after the other."""
    radices, rest, turned = _radices(size), size, []
    for radix in [*radices, 8]:
        rest //= radix
        angle = -2 * np.pi * np.outer(np.arange(1, radix), np.arange(rest)) / (radix * rest)
        turned += [np.cos(angle).ravel(), np.sin(angle).ravel()]
    return _constant(np.array(radices, np.int64)), _constant(np.concatenate(turned))


def _constant(array: Any) -> Any:
    array.setflags(write=False)
    return array


# --------------------------------------------------------------------------------------------------------- kernels

_WIDTH = DOUBLES.width
_load, _store, _get, _put = DOUBLES.load, DOUBLES.store, DOUBLES.get, DOUBLES.put
_spread, _transposed = DOUBLES.spread, DOUBLES.transposed
_HALF_ROOT = 0.5**0.5


@kernel()
def _spectra(
    x: Any, first: int, hop: int, taken: int, blocks: int, window: Any, radices: Any, turns: Any, out: Any
) -> None:
    for block in range(2 * out.shape[0]):
        to = out[block // 2, block % 2]
        start = first + block * hop
        begin = min(max(0, -start), taken) if block < blocks else taken
        stop = max(begin, min(taken, x.size - start))
        for n in range(begin):
            to[n] = 0.0
        for n in range(begin, stop):
            to[n] = window[n] * x[start + n] if window.size else x[start + n]
        for n in range(stop, to.size):
            to[n] = 0.0
    for pair in range(out.shape[0]):
        _through(out[pair, 0], out[pair, 1], radices, turns)


@kernel()
def _transform(re: Any, im: Any, radices: Any, turns: Any) -> None:
    _through(re, im, radices, turns)


@kernel()
def _add_products(to: Any, first: Any, second: Any) -> None:
    to_re, to_im = to[0], to[1]
    for pair in range(first.shape[0]):
        a_re, a_im, b_re, b_im = first[pair, 0], first[pair, 1], second[pair, 0], second[pair, 1]
        for k in range(0, to_re.size, _WIDTH):
            a, b, c, d = _load(a_re, k), _load(a_im, k), _load(b_re, k), _load(b_im, k)
            _store(to_re, k, _load(to_re, k) + (a * c + b * d))
            _store(to_im, k, _load(to_im, k) + (a * d - b * c))


@inlined
def _through(re: Any, im: Any, radices: Any, turns: Any) -> None:
    apart, at = re.size, 0
    for radix in radices:
        apart //= radix
        if radix == 8:
            _step_8(re, im, apart, turns, at)
        else:
            _step_4(re, im, apart, turns, at)
        at += 2 * (radix - 1) * apart
    _last_steps(re, im, turns, at)


@numba.njit()
def _step_4(re: Any, im: Any, apart: int, turns: Any, at: int) -> None:
    """Transforms of four numbers that lie `apart`, each turned towards its place in what the next step makes."""
    sines = at + 3 * apart
    for first in range(0, re.size, 4 * apart):
        for k in range(0, apart, _WIDTH):
            i = first + k
            z0, z1, z2, z3 = four(
                _get(re, im, i), _get(re, im, i + apart), _get(re, im, i + 2 * apart), _get(re, im, i + 3 * apart)
            )
            _put(re, im, i, z0)
            _put(re, im, i + apart, times(z1, _turn(turns, at + k, sines + k)))
            _put(re, im, i + 2 * apart, times(z2, _turn(turns, at + apart + k, sines + apart + k)))
            _put(re, im, i + 3 * apart, times(z3, _turn(turns, at + 2 * apart + k, sines + 2 * apart + k)))


@numba.njit()
def _step_8(re: Any, im: Any, apart: int, turns: Any, at: int) -> None:
    sines = at + 7 * apart
    for first in range(0, re.size, 8 * apart):
        for k in range(0, apart, _WIDTH):
            i, cos, sin = first + k, at + k, sines + k
            z0, z1, z2, z3, z4, z5, z6, z7 = _eight_at(re, im, i, apart)
            _put(re, im, i, z0)
            _put(re, im, i + apart, times(z1, _turn(turns, cos, sin)))
            _put(re, im, i + 2 * apart, times(z2, _turn(turns, cos + apart, sin + apart)))
            _put(re, im, i + 3 * apart, times(z3, _turn(turns, cos + 2 * apart, sin + 2 * apart)))
            _put(re, im, i + 4 * apart, times(z4, _turn(turns, cos + 3 * apart, sin + 3 * apart)))
            _put(re, im, i + 5 * apart, times(z5, _turn(turns, cos + 4 * apart, sin + 4 * apart)))
            _put(re, im, i + 6 * apart, times(z6, _turn(turns, cos + 5 * apart, sin + 5 * apart)))
            _put(re, im, i + 7 * apart, times(z7, _turn(turns, cos + 6 * apart, sin + 6 * apart)))


@numba.njit()
def _last_steps(re: Any, im: Any, turns: Any, at: int) -> None:
    """Two steps of radix 8. Between them rows become columns, so that the second, too, goes across vectors."""
    for i in range(0, re.size, _LAST):
        z0, z1, z2, z3, z4, z5, z6, z7 = _eight_at(re, im, i, 8)
        z1 = times(z1, _turn(turns, at, at + 56))
        z2 = times(z2, _turn(turns, at + 8, at + 64))
        z3 = times(z3, _turn(turns, at + 16, at + 72))
        z4 = times(z4, _turn(turns, at + 24, at + 80))
        z5 = times(z5, _turn(turns, at + 32, at + 88))
        z6 = times(z6, _turn(turns, at + 40, at + 96))
        z7 = times(z7, _turn(turns, at + 48, at + 104))
        a = _transposed((z0[0], z1[0], z2[0], z3[0], z4[0], z5[0], z6[0], z7[0]))
        b = _transposed((z0[1], z1[1], z2[1], z3[1], z4[1], z5[1], z6[1], z7[1]))
        z0, z1, z2, z3, z4, z5, z6, z7 = eight(
            (a[0], b[0]),
            (a[1], b[1]),
            (a[2], b[2]),
            (a[3], b[3]),
            (a[4], b[4]),
            (a[5], b[5]),
            (a[6], b[6]),
            (a[7], b[7]),
            _spread(_HALF_ROOT),
            _spread(0.0),
        )
        _put(re, im, i, z0)
        _put(re, im, i + 8, z1)
        _put(re, im, i + 16, z2)
        _put(re, im, i + 24, z3)
        _put(re, im, i + 32, z4)
        _put(re, im, i + 40, z5)
        _put(re, im, i + 48, z6)
        _put(re, im, i + 56, z7)


@inlined
def _eight_at(re: Any, im: Any, i: int, apart: int) -> Any:
    """The transform of eight numbers that lie `apart`."""
    return eight(
        _get(re, im, i),
        _get(re, im, i + apart),
        _get(re, im, i + 2 * apart),
        _get(re, im, i + 3 * apart),
        _get(re, im, i + 4 * apart),
        _get(re, im, i + 5 * apart),
        _get(re, im, i + 6 * apart),
        _get(re, im, i + 7 * apart),
        _spread(_HALF_ROOT),
        _spread(0.0),
    )


@inlined
def _turn(turns: Any, cosine: int, sine: int) -> Any:
    return _load(turns, cosine), _load(turns, sine)
