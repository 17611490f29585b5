"""Witnesses: whole delays, sines and Doppler shifts on paper; a sum in float64; properties of inverse and order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.delays import TAPS, arrival_delays, clock, delayed

RATE = 16000


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def error_db(found: np.ndarray, exact: np.ndarray) -> float:
    return 10 * np.log10(np.mean((found - exact) ** 2) / np.mean(exact**2))


# On paper


@pytest.mark.parametrize("delay", [0, 1, 37, -5, 999, 1000, 10**9, -1000, -(10**9)])
def test_a_whole_delay_is_a_copy(delay: int) -> None:
    x = noise(0, 1000)
    found = delayed(x, np.full(1000, float(delay)))
    n = np.arange(1000) - delay
    np.testing.assert_array_equal(found, np.where((n >= 0) & (n < 1000), x[np.clip(n, 0, 999)], 0))
    assert found.dtype == np.float32


@pytest.mark.parametrize("frequency", [0.01, 0.1, 0.3, 0.4, 0.45])
@pytest.mark.parametrize("slope", [0.0, 0.003, -0.003, 0.05])
def test_a_sine_is_exact_to_100_db(frequency: float, slope: float) -> None:
    n = np.arange(RATE)
    delay = 123.456 + slope * n + 3 * np.sin(2 * np.pi * n / RATE)
    found = delayed(np.sin(2 * np.pi * frequency * n).astype(np.float32), delay)
    inside = (n - delay > TAPS) & (n - delay < RATE - TAPS)
    assert error_db(found[inside], np.sin(2 * np.pi * frequency * (n - delay))[inside]) < -105


@pytest.mark.parametrize("mach", [-0.9, -0.1, -0.003, 0.003, 0.1, 0.5])
def test_arrivals_from_a_source_on_a_line(mach: float) -> None:
    """What leaves at s arrives at n = s + d0 + mach s."""
    arrivals = arrival_delays(500 + mach * np.arange(1000), length=1400)
    n = np.arange(1400)
    s = (n - 500) / (1 + mach)
    moving = (s >= 0) & (s <= 999)
    assert moving.sum() > 90
    np.testing.assert_allclose(arrivals[moving], (n - s)[moving], rtol=0, atol=1e-9)
    assert (arrivals[s < 0] == 500).all()
    np.testing.assert_allclose(arrivals[s > 999], 500 + mach * 999)


@pytest.mark.parametrize("mach", [-0.06, -0.003, 0.003, 0.06])
def test_the_doppler_shift_of_a_source_on_a_line(mach: float) -> None:
    """f / (1 + v / c) with v the speed away; a delay that forgot the way of the sound would give f (1 - v / c)."""
    tone, samples = 1000.0, 2 * RATE
    x = np.sin(2 * np.pi * tone / RATE * np.arange(samples)).astype(np.float32)
    y = delayed(x, arrival_delays(3000 + mach * np.arange(samples), length=samples + 5000))[6000 : samples - 3000]
    analytic = y * np.exp(-2j * np.pi * tone / (1 + mach) / RATE * np.arange(y.size))
    halves = [np.sum(part * np.hanning(part.size)) for part in np.array_split(analytic, 2)]
    drift_hz = np.angle(halves[1] / halves[0]) / (2 * np.pi) / (y.size / 2 / RATE)
    assert abs(drift_hz) < 0.005  # the wrong formula is 9 mHz away at 0.003, 3.8 Hz at 0.06


@pytest.mark.parametrize("offset_us", [64.0, -128.0, 6400.0])
def test_64_us_are_one_sample_at_15625_hz(offset_us: float) -> None:
    x = noise(1, 2, 4000)
    y = clock(x, 15625, offset_us=np.array([0, offset_us]), drift_ppm=np.zeros(2))
    shift = round(offset_us / 64)
    np.testing.assert_array_equal(y[0], x[0])
    inside = slice(100, -100)
    np.testing.assert_allclose(y[1][inside], np.roll(x[1], shift)[inside], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("offset_us", "drift_ppm"), [(0.0, 20.0), (40.0, 0.0), (64.0, -15.0), (-3.0, 50.0)])
def test_the_lag_of_a_clock(offset_us: float, drift_ppm: float) -> None:
    """By the phase of a tone in windows of 50 ms, against offset + drift t."""
    n = np.arange(8 * RATE)
    x = np.sin(2 * np.pi * 1000 / RATE * n).astype(np.float32)
    y = clock(np.stack([x, x]), RATE, offset_us=np.array([0, offset_us]), drift_ppm=np.array([0, drift_ppm]))
    blocks = y[:, 800:-800].reshape(2, -1, 800) * np.hanning(801)[:800]
    at_1_khz = (blocks * np.exp(-2j * np.pi * 1000 / RATE * np.arange(800))).sum(axis=-1)
    lag_us = -np.angle(at_1_khz[1] / at_1_khz[0]) / (2 * np.pi * 1000) * 1e6
    seconds = 0.05 * (np.arange(len(lag_us)) + 1.5)
    np.testing.assert_allclose(lag_us, offset_us + drift_ppm * seconds, rtol=0, atol=0.02)


def test_the_lag_of_a_clock_by_cross_correlation() -> None:
    x = noise(2, RATE)
    y = clock(x[np.newaxis], RATE, offset_us=np.array([5000.0]), drift_ppm=np.array([0.0]))[0]
    correlation = np.fft.irfft(np.fft.rfft(y, 2 * RATE) * np.conj(np.fft.rfft(x, 2 * RATE)))
    assert np.argmax(correlation) == 80


# Another implementation


def test_matches_a_sum_in_float64() -> None:
    """sum over m of x[m] sinc(t - m) kaiser(t - m), the definition, with delays that jump."""
    x = noise(3, 400)
    delay = np.random.default_rng(4).uniform(-60, 500, (3, 450))
    gain = np.random.default_rng(5).uniform(-2, 2, (3, 450))
    t = np.arange(450)[:, np.newaxis] - delay[..., np.newaxis] - np.arange(400)
    window = np.i0(12 * np.sqrt(np.maximum(0, 1 - (2 * t / TAPS) ** 2))) / np.i0(12) * (np.abs(t) < TAPS / 2)
    exact = gain * ((np.sinc(t) * window) @ x.astype(np.float64))
    found = delayed(x, delay, gain)
    assert found.shape == (3, 450)
    assert error_db(found, exact) < -95  # noise is white to half the rate, where the table is least exact


# Properties


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), swing=st.floats(0, 0.9), length=st.integers(1, 900))
def test_arrivals_invert_emissions(seed: int, swing: float, length: int) -> None:
    """What is heard at n left at n - delay[n], and its delay was the one of that moment."""
    steps = np.random.default_rng(seed).uniform(-swing, swing, 499)
    emission = 300 + np.concatenate([[0], np.cumsum(steps)])
    arrivals = arrival_delays(emission, length=length)
    left = np.arange(length) - arrivals
    assert (np.diff(left) > 0).all()
    np.testing.assert_allclose(arrivals, np.interp(left, np.arange(500), emission), rtol=0, atol=1e-8)


def test_channels_and_gains_are_apart() -> None:
    x, delay = noise(6, 1000), np.random.default_rng(7).uniform(0, 50, (2, 1000))
    both = delayed(x, delay)
    for row, one in zip(both, delay, strict=True):
        np.testing.assert_array_equal(row, delayed(x, one))
    np.testing.assert_array_equal(delayed(x, delay, np.full((2, 1000), 0.5)), 0.5 * both)
    emission = np.array([[5], [9]]) + 0.1 * np.arange(100)
    rows = arrival_delays(emission, length=120)
    np.testing.assert_array_equal(rows[1], arrival_delays(emission[1], length=120))


def test_a_clock_without_error_is_a_copy() -> None:
    x = noise(8, 3, 1000)
    y = clock(x, RATE, offset_us=np.array([0, 10, 0]), drift_ppm=np.array([0, 0, 5]))
    np.testing.assert_array_equal(y[0], x[0])
    assert (y[1:] != x[1:]).mean() > 0.9
    assert not np.shares_memory(x, y)


# Failures


def test_bad_input_is_named() -> None:
    x = noise(9, 10)
    with pytest.raises(ValueError, match="delay_samples must be finite"):
        delayed(x, np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"x must have shape \(samples,\)"):
        delayed(x[np.newaxis], np.zeros(10))
    with pytest.raises(ValueError, match=r"gain must have the shape \(10,\)"):
        delayed(x, np.zeros(10), np.zeros(9))
    with pytest.raises(ValueError, match="slower than sound"):
        arrival_delays(np.array([10.0, 9.0]), length=5)
    with pytest.raises(ValueError, match="emission_delays must be finite"):
        arrival_delays(np.array([10.0, np.inf]), length=5)
    with pytest.raises(ValueError, match="offset_us must be 1 finite values"):
        clock(x[np.newaxis], RATE, offset_us=np.zeros(2), drift_ppm=np.zeros(1))
    with pytest.raises(ValueError, match="drift_ppm must be 1 finite values"):
        clock(x[np.newaxis], RATE, offset_us=np.zeros(1), drift_ppm=np.array([np.nan]))
    with pytest.raises(ValueError, match="x must have shape"):
        clock(x, RATE, offset_us=np.zeros(1), drift_ppm=np.zeros(1))
