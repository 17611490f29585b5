"""Signals on the integer grid of the written format: rounding, sums and peaks, each in one pass over memory.

Conventions
    A grid is int32, a signal float32, both of any shape; a grid of `bits` bits counts steps of 2^(1 - bits) of full
    scale. Up to 24 bits a signal that came from a grid is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.compiled import kernel

__all__ = ["grid_peak", "peak_of_sum", "rounded", "signal", "summed"]

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
    """The sum of grids of one shape."""
    total = grids[0].copy()
    for grid in grids[1:]:
        total += grid
    return total


def grid_peak(grid: Grid) -> int:
    """Largest magnitude, in steps."""
    return max(int(grid.max()), -int(grid.min()))


def peak_of_sum(signals: Sequence[Signal]) -> float:
    """Largest magnitude of the sum of signals of one shape, added in float64 in their order."""
    total = signals[0].astype(np.float64)
    for x in signals[1:-1]:
        total += x
    last = signals[-1] if len(signals) > 1 else np.zeros_like(signals[0])
    return float(_peak_of_sum(total.ravel(), np.ascontiguousarray(last).ravel()))


@kernel()
def _round(x: Signal, gain: np.float32, scale: np.float32, out: Grid) -> None:
    for i in range(x.size):
        out[i] = np.int32(np.rint(x[i] * gain * scale))  # scale is a power of two: that product is exact


@kernel()
def _peak_of_sum(x: Array, y: Array) -> float:
    lanes = np.zeros(_LANES)
    for row in range(x.size // _LANES):
        for lane in range(_LANES):
            value = abs(x[row * _LANES + lane] + np.float64(y[row * _LANES + lane]))
            lanes[lane] = value if value > lanes[lane] else lanes[lane]
    for i in range(x.size - x.size % _LANES, x.size):
        lanes[0] = max(lanes[0], abs(x[i] + np.float64(y[i])))
    return float(lanes.max())
