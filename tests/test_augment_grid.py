"""Witnesses: halves and ends by hand; numpy, operation by operation; sums that must hold exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.grid import grid_peak, peak, peak_of_sum, residual, rounded, signal, summed


def noise(seed: int, shape: tuple[int, ...], level: float = 0.2) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_halves_go_to_the_even_step() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -1.51], np.float32) / 2**15
    assert rounded(x, gain=1.0, bits=16).tolist() == [0, 2, 2, 0, -2, 0, -2]
    assert rounded(x, gain=2.0, bits=16).tolist() == [1, 3, 5, -1, -3, 1, -3]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999), gain=st.floats(0.001, 1.0), bits=st.sampled_from([16, 24]), samples=st.integers(1, 300)
)
def test_rounding_is_what_numpy_does_in_steps(seed: int, gain: float, bits: int, samples: int) -> None:
    x = noise(seed, (3, samples))
    found = rounded(x, gain=gain, bits=bits)
    product = (x * np.float32(gain)).astype(np.float32)
    np.testing.assert_array_equal(found, np.rint(product.astype(np.float64) * 2 ** (bits - 1)))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(rounded(x[:, ::2], gain=gain, bits=bits), found[:, ::2])


@pytest.mark.parametrize("bits", [16, 24])
def test_a_signal_from_a_grid_is_exact_and_goes_back(bits: int) -> None:
    top = 2 ** (bits - 1)
    grid = np.array([-top, top - 1, 0, 1, -1, 12345], np.int32)
    x = signal(grid, bits)
    assert x.dtype == np.float32
    assert x[:2].tolist() == [-1.0, 1 - 1 / top]
    np.testing.assert_array_equal(x.astype(np.float64) * top, grid)
    np.testing.assert_array_equal(rounded(x, gain=1.0, bits=bits), grid)


def test_sums_and_peaks_by_hand() -> None:
    a, b = np.array([[1, -7]], np.int32), np.array([[2, 3]], np.int32)
    assert summed([a, b, b]).tolist() == [[5, -1]]
    assert summed([a]).tolist() == a.tolist()
    assert a.tolist() == [[1, -7]]  # it was not added to
    assert grid_peak(a) == 7
    assert grid_peak(np.array([-(2**23), 5], np.int32)) == 2**23


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 5), samples=st.integers(1, 400), channels=st.integers(1, 3))
def test_the_peak_of_a_sum_is_that_of_the_stored_sum(seed: int, count: int, samples: int, channels: int) -> None:
    signals = [noise(seed + k, (channels, samples)) for k in range(count)]
    assert peak_of_sum(signals) == np.abs(np.sum(signals, axis=0, dtype=np.float64)).max()
    assert peak_of_sum([s[:, ::2] for s in signals]) == np.abs(np.sum(signals, axis=0, dtype=float)[:, ::2]).max()


def test_what_is_left_of_a_sum_by_hand() -> None:
    a, b = np.array([[1, -7]], np.int32), np.array([[2, 3]], np.int32)
    assert residual(np.array([[3, -4]], np.int32), [a, b]) is None
    left = residual(np.array([[3, -5]], np.int32), [a, b])
    assert left is not None
    assert left.tolist() == [[0, -1]]
    assert residual(a, [a]) is None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(1, 5), samples=st.integers(1, 300), off=st.integers(-1, 1))
def test_what_is_left_is_the_whole_less_the_parts(seed: int, count: int, samples: int, off: int) -> None:
    parts = list(np.random.default_rng(seed).integers(-(2**20), 2**20, (count, 2, samples)).astype(np.int32))
    whole = np.sum(parts, axis=0, dtype=np.int32)
    whole[1, seed % samples] += off
    left = residual(whole, parts)
    assert (left is None) == (off == 0)
    if left is not None:
        np.testing.assert_array_equal(left, whole - np.sum(parts, axis=0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), samples=st.integers(1, 300), level=st.sampled_from([1e-42, 1e-30, 1.0, 1e30]))
def test_peaks_are_those_of_numpy(seed: int, samples: int, level: float) -> None:
    x = noise(seed, (2, samples), 1.0) * np.float32(level)
    grid = np.random.default_rng(seed).integers(-(2**31) + 1, 2**31, (2, samples)).astype(np.int32)
    assert peak(x) == float(np.abs(x).max())
    assert peak(x[:, ::2]) == float(np.abs(x[:, ::2]).max())
    assert grid_peak(grid) == int(np.abs(grid.astype(np.int64)).max())
    assert grid_peak(np.array([-(2**31)], np.int32)) == 2**31


def test_a_peak_that_is_not_finite_is_said() -> None:
    assert peak(np.array([0.1, -np.inf], np.float32)) == np.inf
    assert np.isnan(peak(np.array([np.inf, np.nan], np.float32)))
