"""Fourier transforms of many complex signals side by side, float32: twice as fast as pocketfft's, and without its rows.

Conventions
    `planes` is float32 (2, length * batch): real and imaginary parts, with sample n of signal b at n * batch + b.
    The length is a power of two from 64 on; the batch is 1, 2, 4 or a multiple of 8. The transform is the sum of
    x[n] exp(-2 pi i k n / length). With the planes exchanged, before and after, it is the inverse times the length.
    A signal's bytes depend on itself, the length and the batch, not on its neighbours. One thread.
    The error is about -137 dB of the RMS.

Source
    Stockham's self-sorting transform in steps of radix 8, 4 and 2: W. Cochran et al., "What is the fast Fourier
    transform?", Proc. IEEE 55(10), 1967. Every step reads and writes all of memory once, in vectors of 8 along the
    batch, or, where that is shorter, along what lies next to it. Eight streams of a large stride fall on the same lines
    of a cache, so that the late steps are of radix 4 (measured).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba import types
from numba.extending import intrinsic, models, overload, register_model
from numpy.typing import NDArray

from manifests.compiled import kernel

__all__ = ["LEAST_LENGTH", "WIDTH", "Planes", "planes", "product", "transform"]

Planes = NDArray[np.float32]
Function = Callable[..., Any]

WIDTH = 8  # of a vector
LEAST_LENGTH = 64
_WIDEST_EIGHT = 256  # stride up to which radix 8 is faster
_HALF_ROOT = np.float32(0.5**0.5)


def planes(length: int, batch: int) -> Planes:
    """Two empty planes. They are a line of cache apart, or a power of two between them would make them share lines."""
    size = length * batch
    memory = np.empty(2 * size + 2 * WIDTH, np.float32)
    return memory[: 2 * (size + WIDTH)].reshape(2, size + WIDTH)[:, :size]


def transform(x: Planes, spare: Planes, *, length: int) -> Planes:
    """The transform of `x`, in `x` or in `spare`, which it is; both are overwritten."""
    if length < LEAST_LENGTH or length & (length - 1):
        raise ValueError(f"length must be a power of two and at least {LEAST_LENGTH}, got {length}")
    batch = _batch(x, length)
    if spare.shape != x.shape or not _batch(spare, length):
        raise ValueError(f"x and spare must have one shape, got {x.shape} and {spare.shape}")
    for step in _steps(length, batch):
        step.run(x[0], x[1], spare[0], spare[1], step.groups, step.stride, step.twiddles)
        x, spare = spare, x
    return x


def _batch(x: Planes, length: int) -> int:
    batch, rest = divmod(x.shape[-1], length)
    fits = x.ndim == len(x) == 2 and not rest and (batch in (1, 2, 4) or (batch > 0 and batch % WIDTH == 0))
    if not fits or x.dtype != np.float32 or not x[0].flags.c_contiguous:
        raise ValueError(f"planes must be float32 and hold 1, 2, 4 or 8 k signals of {length}, got {x.dtype} {x.shape}")
    return int(batch)


def product(x: Planes, spectrum: Planes, out: Planes) -> None:
    """`x` times the spectrum (2, length) of one signal, for each signal of the batch."""
    _multiply(x[0], x[1], spectrum[0], spectrum[1], out[0], out[1], x.shape[1] // spectrum.shape[1])


class _Step(NamedTuple):
    """`groups` transforms of the radix on streams that are groups x stride apart."""

    run: Function
    groups: int
    stride: int
    twiddles: Planes


@functools.lru_cache(maxsize=32)
def _steps(length: int, batch: int) -> list[_Step]:
    steps = []
    stride = batch
    while length > 1:
        radix, run = _radix(length, stride)
        length //= radix
        turns = np.outer(np.arange(1, radix), np.arange(length)) / (length * radix)
        twiddles = np.stack([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)]).astype(np.float32)
        steps.append(_Step(run, length, stride, twiddles))
        stride *= radix
    return steps


def _radix(length: int, stride: int) -> tuple[int, Function]:
    if stride < WIDTH:
        return 4, _step_narrow
    if length % 8 == 0 and stride <= _WIDEST_EIGHT:
        return 8, _step_8
    return (4, _step_4) if length % 4 == 0 else (2, _step_2)


# ---------------------------------------------------------------------------------------------------- vector code


class _LanesType(types.Type):  # type: ignore[misc, unused-ignore]
    pass


_untyped: Any = types
_lanes: Any = _LanesType("8 x float32")  # type: ignore[no-untyped-call, unused-ignore]
_vector = ir.VectorType(ir.FloatType(), WIDTH)


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _vector)  # type: ignore[no-untyped-call, unused-ignore]


def _pointer(context: Any, builder: Any, signature: Any, args: Any, kind: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), kind.as_pointer())


def _order(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


def _loading(typing: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args, _vector), align=4)

    return _lanes(array, types.intp), generate


def _storing(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args, _vector), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), generate


def _loading_each(times: int) -> Any:
    """8 / times neighbours, each as often."""
    kind = ir.VectorType(ir.FloatType(), WIDTH // times)

    def load_each(typing: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            few = builder.load(_pointer(context, builder, signature, args, kind), align=4)
            return builder.shuffle_vector(few, few, _order([lane // times for lane in range(WIDTH)]))

        return _lanes(array, types.intp), generate

    return intrinsic(load_each)


def _interleaving(chunk: int) -> Any:
    """Four vectors, `chunk` lanes of each in turn, as four vectors."""
    order = [WIDTH * j + t + lane for t in range(0, WIDTH, chunk) for j in range(4) for lane in range(chunk)]

    def interleave(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        four = _untyped.UniTuple(_lanes, 4)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            both = _order(list(range(2 * WIDTH)))
            low, high = builder.shuffle_vector(*args[:2], both), builder.shuffle_vector(*args[2:], both)
            parts = [_order(order[first : first + WIDTH]) for first in range(0, 4 * WIDTH, WIDTH)]
            return context.make_tuple(builder, four, [builder.shuffle_vector(low, high, part) for part in parts])

        return four(_lanes, _lanes, _lanes, _lanes), generate

    return intrinsic(interleave)


_load: Any = intrinsic(_loading)
_store: Any = intrinsic(_storing)
_load_each_1, _load_each_2, _load_each_4, _load_each_8 = (_loading_each(times) for times in (1, 2, 4, 8))
_interleave_1, _interleave_2, _interleave_4 = (_interleaving(chunk) for chunk in (1, 2, 4))


def _arithmetic(operation: Any, instruction: str) -> None:
    """Lanes `operation` lanes."""

    def combine(typing: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args)

        return _lanes(_lanes, _lanes), generate

    combined: Any = intrinsic(combine)

    def implementation(x: Any, y: Any) -> Any:
        return combined(x, y)

    @overload(operation)
    def overloaded(x: Any, y: Any) -> Any:
        return implementation if isinstance(x, _LanesType) and isinstance(y, _LanesType) else None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")


# -------------------------------------------------------------------------------------------------------- complex


_inlined: Callable[[Function], Function] = numba.njit(forceinline=True)


@_inlined
def _get(re: Any, im: Any, index: int) -> Any:
    return _load(re, index), _load(im, index)


@_inlined
def _put(re: Any, im: Any, index: int, z: Any) -> None:
    _store(re, index, z[0])
    _store(im, index, z[1])


@_inlined
def _spread(twiddles: Any, j: int, index: int) -> Any:
    return _load_each_8(twiddles[0, j], index), _load_each_8(twiddles[1, j], index)


@_inlined
def _plus(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1]


@_inlined
def _minus(a: Any, b: Any) -> Any:
    return a[0] - b[0], a[1] - b[1]


@_inlined
def _times(a: Any, b: Any) -> Any:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


@_inlined
def _four(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The transform of four numbers."""
    even, odd = _plus(a, c), _plus(b, d)
    left, right = _minus(a, c), _minus(b, d)
    return (
        _plus(even, odd),
        (left[0] + right[1], left[1] - right[0]),
        _minus(even, odd),
        (left[0] - right[1], left[1] + right[0]),
    )


# ---------------------------------------------------------------------------------------------------------- steps


@kernel()
def _step_2(re: Any, im: Any, to_re: Any, to_im: Any, groups: int, stride: int, twiddles: Planes) -> None:
    """The last step: one group, no twiddles."""
    for q in range(0, stride, WIDTH):
        a, b = _get(re, im, q), _get(re, im, q + stride)
        _put(to_re, to_im, q, _plus(a, b))
        _put(to_re, to_im, q + stride, _minus(a, b))


@kernel()
def _step_4(re: Any, im: Any, to_re: Any, to_im: Any, groups: int, stride: int, twiddles: Planes) -> None:
    apart = groups * stride
    for p in range(groups):
        w1, w2, w3 = _spread(twiddles, 0, p), _spread(twiddles, 1, p), _spread(twiddles, 2, p)
        for q in range(0, stride, WIDTH):
            i, o = stride * p + q, 4 * stride * p + q
            a, b = _get(re, im, i), _get(re, im, i + apart)
            c, d = _get(re, im, i + 2 * apart), _get(re, im, i + 3 * apart)
            a, b, c, d = _four(a, b, c, d)
            _put(to_re, to_im, o, a)
            _put(to_re, to_im, o + stride, _times(b, w1))
            _put(to_re, to_im, o + 2 * stride, _times(c, w2))
            _put(to_re, to_im, o + 3 * stride, _times(d, w3))


@kernel()
def _step_8(re: Any, im: Any, to_re: Any, to_im: Any, groups: int, stride: int, twiddles: Planes) -> None:
    """Eight numbers are two times four: sums, and differences turned by 0, 1, 2 and 3 eighths."""
    apart = groups * stride
    h = _load_each_8(np.full(1, _HALF_ROOT), 0)
    zero = h - h
    for p in range(groups):
        w1, w2, w3, w4 = (
            _spread(twiddles, 0, p),
            _spread(twiddles, 1, p),
            _spread(twiddles, 2, p),
            _spread(twiddles, 3, p),
        )
        w5, w6, w7 = _spread(twiddles, 4, p), _spread(twiddles, 5, p), _spread(twiddles, 6, p)
        for q in range(0, stride, WIDTH):
            i, o = stride * p + q, 8 * stride * p + q
            x0, x4 = _get(re, im, i), _get(re, im, i + 4 * apart)
            x1, x5 = _get(re, im, i + apart), _get(re, im, i + 5 * apart)
            x2, x6 = _get(re, im, i + 2 * apart), _get(re, im, i + 6 * apart)
            x3, x7 = _get(re, im, i + 3 * apart), _get(re, im, i + 7 * apart)
            y0, y2, y4, y6 = _four(_plus(x0, x4), _plus(x1, x5), _plus(x2, x6), _plus(x3, x7))
            d1, d2, d3 = _minus(x1, x5), _minus(x2, x6), _minus(x3, x7)
            d1 = (d1[0] + d1[1]) * h, (d1[1] - d1[0]) * h
            d2 = d2[1], zero - d2[0]
            d3 = (d3[1] - d3[0]) * h, zero - (d3[0] + d3[1]) * h
            y1, y3, y5, y7 = _four(_minus(x0, x4), d1, d2, d3)
            _put(to_re, to_im, o, y0)
            _put(to_re, to_im, o + stride, _times(y1, w1))
            _put(to_re, to_im, o + 2 * stride, _times(y2, w2))
            _put(to_re, to_im, o + 3 * stride, _times(y3, w3))
            _put(to_re, to_im, o + 4 * stride, _times(y4, w4))
            _put(to_re, to_im, o + 5 * stride, _times(y5, w5))
            _put(to_re, to_im, o + 6 * stride, _times(y6, w6))
            _put(to_re, to_im, o + 7 * stride, _times(y7, w7))


@kernel()
def _step_narrow(re: Any, im: Any, to_re: Any, to_im: Any, groups: int, stride: int, twiddles: Planes) -> None:
    """Radix 4 where the stride is shorter than a vector: 1, 2 or 4. A vector covers several groups."""
    apart = groups * stride
    for i in range(0, apart, WIDTH):
        p = i // stride
        a, b, c, d = _four(
            _get(re, im, i), _get(re, im, i + apart), _get(re, im, i + 2 * apart), _get(re, im, i + 3 * apart)
        )
        b = _times(b, _each(twiddles[0, 0], twiddles[1, 0], p, stride))
        c = _times(c, _each(twiddles[0, 1], twiddles[1, 1], p, stride))
        d = _times(d, _each(twiddles[0, 2], twiddles[1, 2], p, stride))
        _put_interleaved(to_re, 4 * i, stride, a[0], b[0], c[0], d[0])
        _put_interleaved(to_im, 4 * i, stride, a[1], b[1], c[1], d[1])


@_inlined
def _each(re: Any, im: Any, index: int, times: int) -> Any:
    """Neighbours from `index` on, each `times` times."""
    if times == 1:
        return _load_each_1(re, index), _load_each_1(im, index)
    if times == 2:
        return _load_each_2(re, index), _load_each_2(im, index)
    if times == 4:
        return _load_each_4(re, index), _load_each_4(im, index)
    return _load_each_8(re, index), _load_each_8(im, index)


@_inlined
def _put_interleaved(to: Any, index: int, chunk: int, a: Any, b: Any, c: Any, d: Any) -> None:
    if chunk == 1:
        w, x, y, z = _interleave_1(a, b, c, d)
    elif chunk == 2:
        w, x, y, z = _interleave_2(a, b, c, d)
    else:
        w, x, y, z = _interleave_4(a, b, c, d)
    _store(to, index, w)
    _store(to, index + WIDTH, x)
    _store(to, index + 2 * WIDTH, y)
    _store(to, index + 3 * WIDTH, z)


@kernel()
def _multiply(re: Any, im: Any, by_re: Any, by_im: Any, to_re: Any, to_im: Any, batch: int) -> None:
    times = min(batch, WIDTH)
    for i in range(0, re.size, WIDTH):
        _put(to_re, to_im, i, _times(_get(re, im, i), _each(by_re, by_im, i // batch, times)))
