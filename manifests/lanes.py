"""Numbers side by side in vectors of the processor, for which numba has no word.

Conventions
    `Lanes(width, number)` is the kind of vector that holds `width` float32 or float64; its attributes are functions for
    compiled code. A module binds those that it needs to names of its own: `_load = _LANES.load`. Vectors of one kind
    are added, subtracted, multiplied and divided lane by lane with operators. The order of what is done is that of the
    program, so the same bytes come out on every processor; only `multiply_add` may round once or twice.
    Indices count through the whole of a contiguous array and are not checked.

A vector wider than the processor's is several of them, which hide one another's delays.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba.core import types
from numba.extending import intrinsic, models, overload, register_model

__all__ = ["DOUBLES", "SINGLES", "Lanes", "eight", "four", "inlined", "minus", "plus", "times"]

Function = Callable[..., Any]

inlined: Callable[[Function], Function] = numba.njit(forceinline=True)
"""For functions that are compiled into their callers."""

_intrinsic: Callable[[Function], Any] = intrinsic
_untyped: Any = types
_NUMBERS: dict[str, tuple[Any, Any, int]] = {
    "float32": (types.float32, ir.FloatType(), 4),
    "float64": (types.float64, ir.DoubleType(), 8),
}
_OPERATIONS = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"}


class _Type(types.Type):  # type: ignore[misc, unused-ignore]
    def __init__(self, name: str, vector: Any) -> None:
        super().__init__(name)  # type: ignore[no-untyped-call, unused-ignore]
        self.vector = vector


@register_model(_Type)
class _Model(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.vector)  # type: ignore[no-untyped-call, unused-ignore]


class Lanes:
    """One kind of vector."""

    def __init__(self, width: int, number: str) -> None:
        self.width = width
        self._number, self._element, self._align = _NUMBERS[number]
        self.vector: Any = ir.VectorType(self._element, width)
        self.type: Any = _Type(f"{width} x {number}", self.vector)

    # Memory

    @functools.cached_property
    def load(self) -> Any:
        """`load(array, index)`: neighbours from an index on. From an array of float32 to float64, if need be."""
        return self.load_each(1)

    def load_each(self, times: int) -> Any:
        """`load_each(array, index)`: width / times neighbours, each as often."""
        count = self.width // times

        def load(typing: Any, array: Any, index: Any) -> Any:
            _, element, align = _NUMBERS[str(array.dtype)]

            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                place = _place(context, builder, signature, args)
                few = builder.load(builder.bitcast(place, ir.VectorType(element, count).as_pointer()), align=align)
                if align < self._align:
                    few = builder.fpext(few, ir.VectorType(self._element, count))
                order = _order([lane // times for lane in range(self.width)])
                return few if times == 1 else builder.shuffle_vector(few, few, order)

            return self.type(array, types.intp), generate

        return _intrinsic(load)

    @functools.cached_property
    def load_one(self) -> Any:
        """`load_one(array, index)`: one number in every lane. Indexing would look for negative indices first."""

        def load(typing: Any, array: Any, index: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return self._repeat(builder, builder.load(_place(context, builder, signature, args)))

            return self.type(array, types.intp), generate

        return _intrinsic(load)

    @functools.cached_property
    def store(self) -> Any:
        """`store(array, index, lanes)`."""

        def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                place = builder.bitcast(_place(context, builder, signature, args), self.vector.as_pointer())
                builder.store(args[2], place, align=self._align)
                return context.get_dummy_value()

            return types.void(array, types.intp, self.type), generate

        return _intrinsic(store)

    @functools.cached_property
    def get(self) -> Any:
        """`get(re, im, index)`: complex neighbours, as a pair."""
        load = self.load

        @inlined
        def get(re: Any, im: Any, index: int) -> Any:
            return load(re, index), load(im, index)

        return get

    @functools.cached_property
    def put(self) -> Any:
        """`put(re, im, index, pair)`."""
        store = self.store

        @inlined
        def put(re: Any, im: Any, index: int, z: Any) -> None:
            store(re, index, z[0])
            store(im, index, z[1])

        return put

    # Lanes

    @functools.cached_property
    def spread(self) -> Any:
        """`spread(number)`: the same number in every lane."""

        def spread(typing: Any, number: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return self._repeat(builder, args[0])

            return self.type(self._number), generate

        return _intrinsic(spread)

    @functools.cached_property
    def sum(self) -> Any:
        """`sum(lanes)`: in pairs."""

        def total(typing: Any, lanes: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                lane_numbers = (ir.Constant(ir.IntType(32), lane) for lane in range(self.width))
                parts = [builder.extract_element(args[0], lane) for lane in lane_numbers]
                while len(parts) > 1:
                    parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
                return parts[0]

            return self._number(self.type), generate

        return _intrinsic(total)

    def shuffled(self, given: int, orders: list[list[int]]) -> Any:
        """`shuffled(vectors)`: of a tuple of `given` vectors, a power of two of them, one vector for every order, which
        says for every lane which lane of all of the given ones it takes.
        """

        def shuffle(typing: Any, vectors: Any) -> Any:
            to = _untyped.UniTuple(self.type, len(orders))

            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                parts = [builder.extract_value(args[0], place) for place in range(given)]
                size = self.width
                while len(parts) > 2:
                    both, size = _order(list(range(2 * size))), 2 * size
                    parts = [builder.shuffle_vector(*p, both) for p in zip(parts[::2], parts[1::2], strict=True)]
                return context.make_tuple(
                    builder, to, [builder.shuffle_vector(*parts, _order(order)) for order in orders]
                )

            return to(_untyped.UniTuple(self.type, given)), generate

        return _intrinsic(shuffle)

    @functools.cached_property
    def transposed(self) -> Any:
        """`transposed(vectors)`: of as many vectors as lanes, lane l of vector k becomes lane k of vector l."""

        def transpose(typing: Any, vectors: Any) -> Any:
            square = _untyped.UniTuple(self.type, self.width)

            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                rows = [builder.extract_value(args[0], place) for place in range(self.width)]
                size = 1
                while size < self.width:  # blocks of this size swap
                    upper = [k if not k & size else self.width + k - size for k in range(self.width)]
                    lower = [k + size if not k & size else self.width + k for k in range(self.width)]
                    for k in range(self.width):
                        if not k & size:
                            pair = rows[k], rows[k + size]
                            rows[k], rows[k + size] = (builder.shuffle_vector(*pair, _order(o)) for o in (upper, lower))
                    size *= 2
                return context.make_tuple(builder, square, rows)

            return square(square), generate

        return _intrinsic(transpose)

    # Arithmetic

    @functools.cached_property
    def root(self) -> Any:
        """`root(x)`: square roots."""
        return self._called("sqrt", 1)

    @functools.cached_property
    def least(self) -> Any:
        """`least(x, y)`: the lower of two."""
        return self._called("minnum", 2)

    @functools.cached_property
    def multiply_add(self) -> Any:
        """`multiply_add(x, y, z)`: x y + z, rounded once where the processor can."""
        return self._called("fmuladd", 3)

    def _called(self, name: str, count: int) -> Any:
        """A function of LLVM that works lane by lane."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            full = f"llvm.{name}.v{self.width}f{8 * self._align}"
            known = builder.module.globals.get(full)
            kind = ir.FunctionType(self.vector, [self.vector] * count)
            return builder.call(known or ir.Function(builder.module, kind, full), args)

        def one(typing: Any, x: Any) -> Any:
            return self.type(self.type), generate

        def two(typing: Any, x: Any, y: Any) -> Any:
            return self.type(self.type, self.type), generate

        def three(typing: Any, x: Any, y: Any, z: Any) -> Any:
            return self.type(self.type, self.type, self.type), generate

        return _intrinsic((one, two, three)[count - 1])

    def _repeat(self, builder: Any, number: Any) -> Any:
        none = ir.Constant(self.vector, ir.Undefined)
        first = builder.insert_element(none, number, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, none, _order([0] * self.width))


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Where an array holds what an index names."""
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


def _order(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


def _arithmetic(operation: Any, instruction: str) -> None:
    """Vectors of one kind, lane by lane."""

    @_intrinsic
    def combined(typing: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args)

        return x(x, y), generate

    def implementation(x: Any, y: Any) -> Any:
        return combined(x, y)

    @overload(operation)
    def overloaded(x: Any, y: Any) -> Any:
        return implementation if isinstance(x, _Type) and x == y else None


for _operation, _instruction in _OPERATIONS.items():
    _arithmetic(_operation, _instruction)

SINGLES = Lanes(8, "float32")
DOUBLES = Lanes(8, "float64")

# Complex numbers, as pairs


@inlined
def plus(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1]


@inlined
def minus(a: Any, b: Any) -> Any:
    return a[0] - b[0], a[1] - b[1]


@inlined
def times(a: Any, b: Any) -> Any:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


@inlined
def four(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The transform of four numbers."""
    even, odd, left, right = plus(a, c), plus(b, d), minus(a, c), minus(b, d)
    return (
        plus(even, odd),
        (left[0] + right[1], left[1] - right[0]),
        minus(even, odd),
        (left[0] - right[1], left[1] + right[0]),
    )


@inlined
def eight(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, half_root: Any, zero: Any) -> Any:
    """The transform of eight numbers: four sums, and four differences turned by 0, 1, 2 and 3 eighths. The last two
    arguments are the root of 1 / 2 and 0 in every lane.
    """
    y0, y2, y4, y6 = four(plus(a, e), plus(b, f), plus(c, g), plus(d, h))
    d1, d2, d3 = minus(b, f), minus(c, g), minus(d, h)
    d1 = (d1[0] + d1[1]) * half_root, (d1[1] - d1[0]) * half_root
    d2 = d2[1], zero - d2[0]
    d3 = (d3[1] - d3[0]) * half_root, zero - (d3[0] + d3[1]) * half_root
    y1, y3, y5, y7 = four(minus(a, e), d1, d2, d3)
    return y0, y1, y2, y3, y4, y5, y6, y7
