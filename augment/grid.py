"""Signals on the integer grid of the written format: rounding, sums and peaks, each in one pass over memory.

Conventions
    A grid is int32, a signal float32, both of any shape; a grid of `bits` bits counts steps of 2^(1 - bits) of full
    scale. Up to 24 bits a signal that came from a grid is exact.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.compiled import kernel

__all__ = ["grid_peak", "peak", "peak_of_sum", "residual", "rounded", "signal", "summed"]

Signal = npt.NDArray[np.float32]
Grid = npt.NDArray[np.int32]
Array = npt.NDArray[np.floating[Any]]

_LANES = 64


def rounded(x: Signal, *, gain: float, bits: int) -> Grid:
    """`x` times `gain` on the grid: the product is rounded to float32, then to a whole step (halves to even)."""
    out = np.empty(x.shape, np.int32)
    flat = np.ascontiguousarray(x, dtype=np.float32).ravel()
    _round(flat, np.float32(gain), np.float32(2 ** (bits - 1)), out.ravel())
    return out


def signal(grid: Grid, bits: int) -> Signal:
    """A grid as float32."""
    return grid.astype(np.float32) * np.float32(2.0 ** (1 - bits))


def summed(grids: Sequence[Grid]) -> Grid:
    """The sum of grids of one shape, in an array of its own."""
    if len(grids) == 1:
        return grids[0].copy()
    total = grids[0] + grids[1]
    for grid in grids[2:]:
        total += grid
    return total


def residual(whole: Grid, parts: Sequence[Grid]) -> Grid | None:
    """`whole` less the sum of `parts`, all of one shape; `None` where that is zero throughout."""
    rest = functools.reduce(np.subtract, parts[:-1], whole)
    return None if _same(rest.ravel(), np.ascontiguousarray(parts[-1]).ravel()) else rest - parts[-1]


def grid_peak(grid: Grid) -> int:
    """Largest magnitude, in steps."""
    return int(_largest_step(np.ascontiguousarray(grid).ravel()))


def peak(x: Signal) -> float:
    """Largest magnitude. Infinity where there is one, NaN where there is one."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.int32).ravel()
    return float(np.int32(_largest(bits)).view(np.float32))


def peak_of_sum(signals: Sequence[Signal]) -> float:
    """Largest magnitude of the sum of signals of one shape, added in float64 in their order."""
    if len(signals) == 1:
        return peak(signals[0])
    total: Array = signals[0]
    for number, x in enumerate(signals[1:-1]):
        total = np.add(total, x, dtype=np.float64, out=total if number else None)
    return float(_peak_of_sum(np.ascontiguousarray(total).ravel(), np.ascontiguousarray(signals[-1]).ravel()))


@kernel()
def _round(x: Signal, gain: np.float32, scale: np.float32, out: Grid) -> None:
    for i in range(x.size):
        out[i] = np.int32(np.rint(x[i] * gain * scale))  # scale is a power of two: that product is exact


@kernel()
def _same(x: Grid, y: Grid) -> bool:
    changed = np.int32(0)
    for i in range(x.size):
        changed = np.int32(changed | x[i] ^ y[i])
    return bool(changed == 0)


@kernel()
def _largest_step(grid: Grid) -> int:
    high = low = np.int32(0)
    for i in range(grid.size):
        high, low = max(high, grid[i]), min(low, grid[i])
    return int(max(np.int64(high), -np.int64(low)))


@kernel()
def _largest(bits: Grid) -> np.int32:
    """Of float32 as integers without their sign: their order is that of magnitudes, infinity and NaN last."""
    found = np.int32(0)
    for i in range(bits.size):
        found = max(found, np.int32(bits[i] & np.int32(0x7FFFFFFF)))
    return found


@kernel()
def _peak_of_sum(x: Array, y: Signal) -> float:
    lanes = np.zeros(_LANES)
    for row in range(x.size // _LANES):
        for lane in range(_LANES):
            value = abs(np.float64(x[row * _LANES + lane]) + np.float64(y[row * _LANES + lane]))
            lanes[lane] = value if value > lanes[lane] else lanes[lane]
    for i in range(x.size - x.size % _LANES, x.size):
        lanes[0] = max(lanes[0], abs(np.float64(x[i]) + np.float64(y[i])))
    return float(lanes.max())
