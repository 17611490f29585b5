"""Witnesses: an impulse, a delay and a wave on paper; numpy in float64; there and back, and neighbours that do not
matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment import fourier

BATCHES = [1, 2, 4, 8, 24]


def as_planes(signals: np.ndarray) -> np.ndarray:
    """(length, batch) complex."""
    x = fourier.planes(*signals.shape)
    x[0], x[1] = signals.real.ravel(), signals.imag.ravel()
    return x


def as_complex(x: np.ndarray, length: int) -> np.ndarray:
    return (x[0] + 1j * x[1].astype(complex)).reshape(length, -1)


def transformed(signals: np.ndarray) -> np.ndarray:
    length, batch = signals.shape
    return as_complex(fourier.transform(as_planes(signals), fourier.planes(length, batch), length=length), length)


def noise(seed: int, length: int, batch: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((length, batch)) + 1j * rng.standard_normal((length, batch))).astype(np.complex64)


def error_db(found: np.ndarray, exact: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(found - exact) / np.linalg.norm(exact)))


# on paper


@pytest.mark.parametrize("batch", BATCHES)
def test_an_impulse_a_delay_and_a_wave(batch: int) -> None:
    length = 256
    impulse, delayed, wave = (np.zeros((length, batch), complex) for _ in range(3))
    impulse[0], delayed[3] = 1, 1
    wave[:, -1] = np.exp(2j * np.pi * 5 * np.arange(length) / length)
    k = np.arange(length)[:, np.newaxis]
    np.testing.assert_array_equal(transformed(impulse), np.ones((length, batch)))
    np.testing.assert_allclose(
        transformed(delayed), np.repeat(np.exp(-2j * np.pi * 3 * k / length), batch, 1), atol=1e-6
    )
    line = transformed(wave)
    assert line[5, -1] == pytest.approx(length, rel=1e-6)
    line[5, -1] = 0
    assert np.abs(line).max() < 1e-4


# another implementation


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("length", [2**k for k in range(6, 16)])
def test_matches_numpy_in_float64(length: int, batch: int) -> None:
    x = noise(length + batch, length, batch)
    found, exact = transformed(x), np.fft.fft(x.astype(complex), axis=0)
    for lane in range(batch):
        assert error_db(found[:, lane], exact[:, lane]) < -134


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("length", [64, 128, 4096])
def test_a_product_is_with_the_same_spectrum_for_all(length: int, batch: int) -> None:
    """numpy in float64; and to the last bit the product and the inverse transform after it."""
    x, h = noise(1, length, batch), noise(2, length, 1)
    spectrum, kept = np.stack([h[:, 0].real, h[:, 0].imag]), as_planes(x)
    work, spare = fourier.planes(length, batch), fourier.planes(length, batch)
    found = fourier.inverse_product(kept, spectrum, work, spare, length=length)
    exact = np.fft.ifft(x.astype(complex) * h, axis=0) * length
    assert error_db(as_complex(found, length), exact) < -134
    np.testing.assert_array_equal(kept, as_planes(x))
    re, im = (p.reshape(length, batch) for p in kept)
    by = spectrum[..., np.newaxis]
    product = fourier.planes(length, batch)
    product[0], product[1] = (re * by[0] - im * by[1]).ravel(), (re * by[1] + im * by[0]).ravel()
    after = fourier.transform(product[::-1], spare[::-1], length=length)[::-1]
    np.testing.assert_array_equal(found, after)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("length", [2**k for k in range(6, 16)])
def test_two_steps_at_once_are_one_after_the_other_to_the_last_bit(length: int, batch: int) -> None:
    single = {2: fourier._step_2, 4: fourier._step_4, 8: fourier._step_8}
    x, spare, stride, left = as_planes(noise(length, length, batch)), fourier.planes(length, batch), batch, length
    for radix in fourier.radices(length, batch):
        run = fourier._step_narrow if stride < fourier.WIDTH else single[radix]
        run(*x, *spare, left // radix, stride, fourier._twiddles(left, radix))
        x, spare, stride, left = spare, x, stride * radix, left // radix
    assert left == 1
    whole = fourier.transform(as_planes(noise(length, length, batch)), fourier.planes(length, batch), length=length)
    np.testing.assert_array_equal(whole, x)


# properties


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), power=st.integers(6, 13), batch=st.sampled_from(BATCHES))
def test_with_the_planes_exchanged_it_goes_back(seed: int, power: int, batch: int) -> None:
    length = 2**power
    x = noise(seed, length, batch)
    spare = fourier.planes(length, batch)
    there = fourier.transform(as_planes(x), spare, length=length)
    back = fourier.transform(there.copy()[::-1], fourier.planes(length, batch)[::-1], length=length)[::-1]
    assert error_db(as_complex(back, length) / length, x) < -130


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), power=st.integers(6, 12), batch=st.sampled_from(BATCHES))
def test_a_neighbour_changes_no_byte(seed: int, power: int, batch: int) -> None:
    x = noise(seed, 2**power, batch)
    other = noise(seed + 1, 2**power, batch)
    other[:, 0] = x[:, 0]
    assert transformed(x)[:, 0].tobytes() == transformed(other)[:, 0].tobytes()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), power=st.integers(6, 15), batch=st.sampled_from([2, 4, 16, 32]))
def test_a_batch_in_halves_is_the_same_to_the_last_bit_where_the_radices_are(seed: int, power: int, batch: int) -> None:
    x = noise(seed, 2**power, batch)
    if fourier.radices(2**power, batch) == fourier.radices(2**power, batch // 2):
        halves = [transformed(np.ascontiguousarray(h)) for h in np.split(x, 2, axis=1)]
        np.testing.assert_array_equal(np.concatenate(halves, axis=1), transformed(x))


def test_planes_begin_with_a_line_of_cache() -> None:
    for batch in BATCHES:
        x = fourier.planes(64, batch)
        assert x.shape == (2, 64 * batch)
        assert all(plane.ctypes.data % 64 == 0 for plane in x)
        assert x[1].ctypes.data - x[0].ctypes.data > x[0].nbytes


# what is refused


@pytest.mark.parametrize("length", [0, 32, 96, 1000])
def test_a_length_that_is_no_power_of_two_or_too_short(length: int) -> None:
    x = np.zeros((2, 8 * max(length, 1)), np.float32)
    with pytest.raises(ValueError, match=rf"length must be a power of two and at least 64, got {length}"):
        fourier.transform(x, x.copy(), length=length)


@pytest.mark.parametrize("shape", [(2, 3 * 64), (2, 65), (2, 0), (1, 64), (128,)])
def test_planes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="planes must be float32 and hold 1, 2, 4 or 8 k signals of 64, got float32"):
        fourier.transform(np.zeros(shape, np.float32), np.zeros(shape, np.float32), length=64)


def test_planes_of_another_kind() -> None:
    x, wide = fourier.planes(64, 1), np.zeros((2, 256), np.float32)
    with pytest.raises(ValueError, match="got float64"):
        fourier.transform(x.astype(float), x, length=64)
    with pytest.raises(ValueError, match="planes must be"):  # of every other number
        fourier.transform(wide[:, ::4], x, length=64)
    with pytest.raises(ValueError, match=r"x and spare must have one shape, got \(2, 64\) and \(2, 128\)"):
        fourier.transform(x, fourier.planes(64, 2), length=64)
