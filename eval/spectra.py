"""Sums of products of spectra, compiled: one pass over both, where an array of products would be written and read."""

from __future__ import annotations

from manifests.compiled import kernel

__all__ = ["add_products"]


@kernel(fastmath={"contract"})
def add_products(total, first, second):  # type: ignore[no-untyped-def]
    """Add `conj(first) second`, summed over rows, to `total`: complex128, shapes `(rows, bins)` and `(bins,)`."""
    for row in range(len(first)):
        a, b = first[row], second[row]
        for k in range(len(total)):
            total[k] += a[k].conjugate() * b[k]
