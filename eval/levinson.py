"""Solution of a symmetric positive definite Toeplitz system, compiled.

Conventions
    float64. The matrix is given by its first column, which is also its first row.

N. Levinson's recursion in the form of Golub and Van Loan, "Matrix Computations", algorithm 4.7.2: with the solution of
order k and the predictor y of order k (the solution for the right-hand side -r[1..k]), each next order takes two inner
products. It needs all leading minors to be positive, and says where one is not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifests.compiled import kernel

__all__ = ["solve"]

Signal = NDArray[np.float64]


def solve(column: Signal, right: Signal) -> Signal | None:
    """`x` of `toeplitz(column) x = right`, or None where a leading minor is not positive in float64."""
    if column[0] <= 0:
        return None
    solution, positive = _recursion(column / column[0], right / column[0])
    return solution if positive else None


@kernel(fastmath={"reassoc", "contract"}, inline="always")
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(b)):
        total += a[i] * b[i]
    return total


@kernel(fastmath={"reassoc", "contract"})  # inner products in vector registers
def _recursion(column, right):  # type: ignore[no-untyped-def]
    size = len(right)
    backwards = column[::-1].copy()
    x, y = np.zeros(size), np.zeros(size)
    y_backwards = np.zeros(size)  # its last k values are those of y in reverse
    x[0] = right[0]
    error = 1.0  # the determinant of order k over that of order k - 1
    for k in range(1, size):
        ahead, mirror = y[: k - 1], y_backwards[size - k + 1 :]
        reflection = -(column[k] + _dot(backwards[size - k : size - 1], ahead)) / error
        for i in range(k - 1):
            before = ahead[i]
            ahead[i] += reflection * mirror[i]
            mirror[i] += reflection * before
        y[k - 1] = y_backwards[size - k] = reflection
        error *= 1.0 - reflection * reflection
        if not error > 0.0:
            return x, False
        found, mirror = x[:k], y_backwards[size - k :]
        last = (right[k] - _dot(backwards[size - 1 - k : size - 1], found)) / error
        for i in range(k):
            found[i] += last * mirror[i]
        x[k] = last
    return x, True
