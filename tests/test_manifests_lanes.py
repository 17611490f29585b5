"""manifests.lanes: every word for vectors against what numpy says, for each kind that the kernels use."""

from typing import Any

import numba
import numpy as np
import pytest

from manifests import compiled
from manifests.lanes import DOUBLES, SINGLES, Lanes

WIDE = Lanes(16, "float64")
KINDS = [(SINGLES, np.float32), (DOUBLES, np.float64), (WIDE, np.float64)]
kinds = pytest.mark.parametrize(("lanes", "number"), KINDS, ids=["8 single", "8 double", "16 double"])


def numbers(count: int, number: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0.5, 2.0, count).astype(number)


@kinds
def test_arithmetic(lanes: Lanes, number: Any) -> None:
    load, store, least, root, multiply_add = lanes.load, lanes.store, lanes.least, lanes.root, lanes.multiply_add
    width = lanes.width

    @numba.njit()
    def run(x: Any, y: Any, out: Any) -> None:
        a, b = load(x, 0), load(y, 0)
        store(out, 0, a + b)
        store(out, width, a - b)
        store(out, 2 * width, a * b)
        store(out, 3 * width, a / b)
        store(out, 4 * width, least(a, b))
        store(out, 5 * width, root(a))
        store(out, 6 * width, multiply_add(a, b, b))

    x, y, out = numbers(width, number), numbers(width, number, 1), np.zeros(7 * width, number)
    run(x, y, out)
    found = out.reshape(7, width)
    np.testing.assert_array_equal(found[:6], [x + y, x - y, x * y, x / y, np.minimum(x, y), np.sqrt(x)])
    np.testing.assert_allclose(found[6], x * y + y, rtol=4 * np.finfo(number).eps)


@kinds
def test_memory(lanes: Lanes, number: Any) -> None:
    load, store, load_one, spread, half = lanes.load, lanes.store, lanes.load_one, lanes.spread, lanes.load_each(2)
    width = lanes.width

    @numba.njit()
    def run(x: Any, value: Any, out: Any) -> None:
        store(out, 1, load(x, 3))
        store(out, 1 + width, load_one(x, 5))
        store(out, 1 + 2 * width, spread(value))
        store(out, 1 + 3 * width, half(x, 2))

    x, out = numbers(3 * width, number), np.zeros(4 * width + 2, number)
    run(x, number(7.0), out)
    assert out[0] == out[-1] == 0
    found = out[1:-1].reshape(4, width)
    np.testing.assert_array_equal(found[0], x[3 : 3 + width])
    np.testing.assert_array_equal(found[1], np.full(width, x[5]))
    np.testing.assert_array_equal(found[2], np.full(width, 7.0))
    np.testing.assert_array_equal(found[3], x[2 : 2 + width // 2].repeat(2))


@kinds
def test_sums_are_taken_in_pairs(lanes: Lanes, number: Any) -> None:
    load, total = lanes.load, lanes.sum

    @numba.njit()
    def run(x: Any) -> Any:
        return total(load(x, 0))

    x = numbers(lanes.width, number)
    parts = x
    while len(parts) > 1:
        parts = parts[::2] + parts[1::2]
    assert run(x) == parts[0]


def test_float32_is_widened_on_its_way() -> None:
    load, store = DOUBLES.load, DOUBLES.store

    @numba.njit()
    def run(x: Any, out: Any) -> None:
        store(out, 0, load(x, 2))

    x, out = numbers(10, np.float32), np.zeros(8)
    run(x, out)
    np.testing.assert_array_equal(out, x[2:].astype(np.float64))


def test_shuffles() -> None:
    load, store, transposed = DOUBLES.load, DOUBLES.store, DOUBLES.transposed
    turned = DOUBLES.shuffled(4, [[31 - lane for lane in range(8)], [4 * lane for lane in range(8)]])

    @numba.njit()
    def run(x: Any, square: Any, out: Any) -> None:
        rows = (load(x, 0), load(x, 8), load(x, 16), load(x, 24), load(x, 32), load(x, 40), load(x, 48), load(x, 56))
        a, b, c, d, e, f, g, h = transposed(rows)
        store(square, 0, a)
        store(square, 8, b)
        store(square, 16, c)
        store(square, 24, d)
        store(square, 32, e)
        store(square, 40, f)
        store(square, 48, g)
        store(square, 56, h)
        p, q = turned((load(x, 0), load(x, 8), load(x, 16), load(x, 24)))
        store(out, 0, p)
        store(out, 8, q)

    x, square, out = np.arange(64.0), np.zeros(64), np.zeros(16)
    run(x, square, out)
    np.testing.assert_array_equal(square.reshape(8, 8), x.reshape(8, 8).T)
    np.testing.assert_array_equal(out, [*x[31:23:-1], *x[0:32:4]])


def test_kinds_do_not_mix() -> None:
    load, other = DOUBLES.load, WIDE.load

    @numba.njit()
    def run(x: Any) -> Any:
        return load(x, 0) + other(x, 0)

    with pytest.raises(numba.TypingError):
        run(np.arange(16.0))


def test_a_change_here_is_a_change_of_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def function() -> None: ...

    before = compiled._Cache(function, {})._code
    monkeypatch.setattr(compiled, "_LANES", __file__)
    assert compiled._Cache(function, {})._code != before
