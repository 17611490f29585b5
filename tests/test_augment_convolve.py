"""Witnesses: deltas and short products on paper; float64 `fftconvolve` and `np.convolve`; sums and batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from augment.convolve import DIRECT_TAPS, convolve
from augment.convolve import _layout as layout
from augment.convolve import _smaller as smaller

RATE = 16000


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rir(seed: int, channels: int, taps: int) -> np.ndarray:
    return noise(seed, channels, taps) * np.exp(-6.9 * np.arange(taps) / taps).astype(np.float32)


def error_db(found: np.ndarray, exact: np.ndarray) -> float:
    return 10 * np.log10(np.mean((found - exact) ** 2) / np.mean(exact**2))


# On paper


def test_a_product_on_paper() -> None:
    x, h = np.array([1, 2, 3], np.float32), np.array([4, 5], np.float32)
    assert convolve(x, h).tolist() == [4, 13, 22, 15]


@pytest.mark.parametrize("tap", [0, 1, 4999, 7999])
def test_a_delay_and_a_gain_are_exact(tap: int) -> None:
    x, h = noise(0, RATE), np.zeros(8000, np.float32)
    h[tap] = 0.3
    np.testing.assert_array_equal(convolve(x, h)[tap : tap + x.size], x * np.float32(0.3))
    assert not convolve(x, h)[:tap].any()
    assert not convolve(x, h)[tap + x.size :].any()


def test_a_unit_impulse_brings_out_the_filter() -> None:
    h = rir(1, 1, 5000)[0]
    x = np.zeros(RATE, np.float32)
    x[100] = 1
    y = convolve(x, h)
    np.testing.assert_allclose(y[100:5100], h, atol=2e-6)  # float32 FFT of values up to 4
    assert np.abs(y[:100]).max() < 2e-6


# Another implementation


@pytest.mark.parametrize("taps", [1, 2, 17, DIRECT_TAPS, DIRECT_TAPS + 1, 333, 4000, 8000, 16000])
@pytest.mark.parametrize("samples", [1, 100, 15999, 10 * RATE])
def test_matches_float64(taps: int, samples: int) -> None:
    x, h = noise(2, samples), rir(3, 3, taps)
    exact = np.array([fftconvolve(x.astype(float), row.astype(float)) for row in h])
    found = convolve(x, h)
    assert found.dtype == np.float32
    assert found.shape == exact.shape == (3, samples + taps - 1)
    for row, want in zip(found, exact, strict=True):
        assert error_db(row, want) < -120


def test_silence_stays_silent() -> None:
    """Rounding errors are -130 dB of the loudest in their block, and cross no further than that."""
    x = noise(4, 4 * RATE)
    x[RATE : 3 * RATE] = 0
    y = convolve(x, rir(5, 1, 2000)[0])
    assert np.abs(y[RATE + 2000 : 3 * RATE]).max() < 1e-5 * np.abs(y).max()


# Properties


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 3000), taps=st.integers(1, 600), channels=st.integers(1, 5), seed=st.integers(0, 99))
def test_any_shape_matches_numpy(samples: int, taps: int, channels: int, seed: int) -> None:
    x, h = noise(seed, samples), noise(seed + 1, channels, taps)
    exact = np.array([np.convolve(x.astype(float), row.astype(float)) for row in h])
    np.testing.assert_allclose(convolve(x, h), exact, atol=1e-5 * np.sqrt(taps))


@settings(max_examples=25, deadline=None)
@given(taps=st.integers(2, 3000), rows=st.integers(2, 9), samples=st.integers(1, 9000), seed=st.integers(0, 99))
def test_a_filter_gives_the_same_bytes_alone_and_in_any_batch(taps: int, rows: int, samples: int, seed: int) -> None:
    x, h = noise(seed, samples), noise(seed + 1, rows, taps)
    h[1] = 0
    h[1, taps // 2] = 1  # one row takes the direct path
    together = convolve(x, h)
    for row, want in zip(h, together, strict=True):
        assert convolve(x, row).tobytes() == want.tobytes()
    reverse, longer, _ = convolve(x, [h[::-1], noise(seed, 3, 2 * taps), h[0]])
    assert reverse[::-1].tobytes() == together.tobytes()
    assert longer.tobytes() == convolve(x, noise(seed, 3, 2 * taps)).tobytes()


def test_filters_of_nearly_the_same_length_in_one_list() -> None:
    """The spectra of the signal that they share are of blocks that depend on the length."""
    x, h = noise(17, 10 * RATE), [noise(18, 3000), noise(19, 3001)]
    for found, row in zip(convolve(x, h), h, strict=True):
        assert error_db(found, fftconvolve(x.astype(float), row.astype(float))) < -120


def test_the_same_bytes_for_real_sizes() -> None:
    x, h = noise(6, 10 * RATE), rir(7, 9, 8000)
    together = convolve(x, h)
    for channels in (1, 2, 3, 4, 5, 8):
        assert convolve(x, h[:channels]).tobytes() == together[:channels].tobytes()


def test_the_parts_of_a_filter_sum_to_the_whole() -> None:
    x, h = noise(8, 5 * RATE), rir(9, 2, 6000)
    early, late = h.copy(), h.copy()
    early[:, 900:] = 0
    late[:, :900] = 0
    parts = convolve(x, [early, late])
    whole = convolve(x, h)
    assert error_db(parts[0] + parts[1], whole.astype(float)) < -120


@pytest.mark.parametrize("taps", [5, 4000])
def test_length_trims_and_pads(taps: int) -> None:
    x, h = noise(10, 9000), rir(11, 2, taps)
    full = convolve(x, h)
    assert convolve(x, h, length=9000).shape == (2, 9000)
    np.testing.assert_allclose(convolve(x, h, length=3000), full[:, :3000], atol=1e-4)
    padded = convolve(x, h, length=20000)
    np.testing.assert_array_equal(padded[:, : full.shape[1]], full)
    assert not padded[:, full.shape[1] :].any()


def test_shapes_follow_the_filter() -> None:
    x = noise(12, 100)
    assert convolve(x, noise(0, 5)).shape == (104,)
    assert convolve(x, noise(0, 1, 5)).shape == (1, 104)
    assert [y.shape for y in convolve(x, [noise(0, 5), noise(0, 2, 7)])] == [(104,), (2, 106)]
    assert not convolve(x, np.zeros((2, 300), np.float32)).any()


def test_input_is_not_changed() -> None:
    x, h = noise(13, 5000), noise(14, 2, 500)
    before = x.copy(), h.copy()
    convolve(x, h)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(h, before[1])


def test_bad_input_is_named() -> None:
    x, h = noise(15, 100), noise(16, 5)
    with pytest.raises(ValueError, match=r"x must have shape \(samples,\)"):
        convolve(x[None], h)
    with pytest.raises(ValueError, match=r"x must .* not be empty"):
        convolve(x[:0], h)
    with pytest.raises(ValueError, match=r"h must have shape .* got \(1, 1, 5\)"):
        convolve(x, h[None, None])
    with pytest.raises(ValueError, match=r"h must .* not be empty"):
        convolve(x, h[:0])
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        convolve(x, h, length=0)


def test_a_batch_in_parts_is_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, h = noise(20, 10 * RATE), rir(21, 2, 8000)
    in_parts = convolve(x, h)
    length, whole = layout(x.size, 8000)
    assert whole // smaller(length, whole) > 1
    monkeypatch.setattr("augment.convolve._smaller", lambda length, batch: batch)
    np.testing.assert_array_equal(convolve(x, h), in_parts)
