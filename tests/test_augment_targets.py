"""Witnesses: windows on paper; Fourier delays and pyroomacoustics; exact sums and lag 0 as properties."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.convolve import convolve
from augment.targets import direct_path, dry_aligned_filter, fractional_delay, split_rir

RATE = 16000


def response(seed: int, channels: int, taps: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, taps)).astype(np.float32)


# split_rir


def test_the_early_window_begins_at_the_direct_path() -> None:
    """100 ms of delay before the direct sound: the last early tap is at 150 ms less one."""
    h = np.ones(8000, np.float32)
    early, late = split_rir(h, onset=1600, sample_rate=RATE, early_ms=50)
    assert early.sum() == 2400
    assert np.flatnonzero(late)[0] == 2400
    assert early.shape == late.shape == h.shape


@settings(deadline=None)
@given(seed=st.integers(0, 99), channels=st.integers(1, 4), onset=st.integers(0, 299), early_ms=st.floats(0, 30))
def test_early_and_late_sum_to_the_response_exactly(seed: int, channels: int, onset: int, early_ms: float) -> None:
    h = response(seed, channels, 300)
    early, late = split_rir(h, onset=onset, sample_rate=RATE, early_ms=early_ms)
    np.testing.assert_array_equal(early + late, h)
    assert not np.any((early != 0) & (late != 0))
    assert early.dtype == late.dtype == np.float32
    stop = onset + round(early_ms * 16)
    np.testing.assert_array_equal(early, np.where(np.arange(300) < stop, h, 0))


# direct_path


def test_the_direct_window_by_hand() -> None:
    kept = np.flatnonzero(direct_path(np.ones(300, np.float32), onset=100, sample_rate=RATE))
    assert (kept[0], kept[-1], kept.size) == (84, 140, 57)


@settings(deadline=None)
@given(seed=st.integers(0, 99), onset=st.integers(0, 299), rate=st.sampled_from([8000, 16000, 44100, 48000]))
def test_the_direct_path_is_the_response_in_its_window(seed: int, onset: int, rate: int) -> None:
    h = response(seed, 2, 300)
    milliseconds = (np.arange(300) - onset) * 1000 / rate
    inside = (milliseconds >= -1) & (milliseconds <= 2.5)
    np.testing.assert_array_equal(direct_path(h, onset=onset, sample_rate=rate), np.where(inside, h, 0))


# dry_aligned_filter


def test_a_measured_response_gives_one_tap_with_its_sign() -> None:
    h = np.zeros((2, 1000), np.float32)
    h[0, 95], h[0, 100], h[0, 105], h[0, 300] = 0.2, 0.5, -0.9, 5.0  # a reflection louder than the direct sound
    h[1, 110] = 2.0
    found = dry_aligned_filter(h, onset=95, sample_rate=RATE)
    assert found.shape == h.shape
    np.testing.assert_array_equal(found[0], found[1])  # one shift and one gain for all channels
    assert np.flatnonzero(found[0]).tolist() == [105]
    assert found[0, 105] == np.float32(-0.9)
    assert dry_aligned_filter(h[0], onset=95, sample_rate=RATE).shape == (1000,)


@settings(deadline=None)
@given(onset=st.integers(20, 200), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 99))
def test_the_aligned_signal_lies_on_the_direct_sound(onset: int, sign: int, seed: int) -> None:
    """Lag 0 by cross-correlation with the reverberant signal, and the scale of the direct sound."""
    h = 0.02 * response(seed, 1, 1000)[0] * (np.arange(1000) >= onset)
    h[onset] = sign * 0.5
    dry = response(seed + 1, 1, 4000)[0]
    aligned = convolve(dry, dry_aligned_filter(h, onset=onset, sample_rate=RATE), length=4000)
    image = convolve(dry, h.astype(np.float32), length=4000)
    np.testing.assert_array_equal(aligned[onset:], dry[:-onset] * np.float32(sign * 0.5))
    correlation = np.correlate(image.astype(float), aligned.astype(float), "full")
    assert np.argmax(np.abs(correlation)) == 3999
    assert correlation[3999] > 0


@settings(deadline=None)
@given(delay=st.integers(0, 199))
def test_a_whole_delay_is_a_single_tap(delay: int) -> None:
    wanted = np.zeros(200)
    wanted[delay] = 1
    np.testing.assert_allclose(fractional_delay(delay, 200), wanted, atol=1e-15)


@settings(deadline=None, max_examples=50)
@given(delay=st.floats(50, 150), seed=st.integers(0, 99))
def test_a_fractional_delay_is_a_rotation_of_the_spectrum(delay: float, seed: int) -> None:
    """For content below 0.9 of the Nyquist frequency, to -60 dB."""
    size = 4096
    rng = np.random.default_rng(seed)
    frequencies = np.fft.rfftfreq(size)
    spectrum = np.fft.rfft(rng.standard_normal(size)) * (frequencies < 0.45)
    x = np.fft.irfft(spectrum)
    wanted = np.fft.irfft(spectrum * np.exp(-2j * np.pi * frequencies * delay))
    found = np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(fractional_delay(delay, 300), size))
    assert 10 * np.log10(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < -60


@pytest.mark.parametrize("distance_m", [1.3, 2.0, 4.567])
def test_the_direct_sound_of_pyroomacoustics(distance_m: float, peer_rooms: Callable[..., None]) -> None:
    """Its engine delays by 40 samples more, leaves out the 4 pi, and errs by -50 dB itself."""
    peer_rooms(rir_hpf_enable=False)
    room = pra.AnechoicRoom(3, fs=RATE)
    room.add_source([0, 0, 0]).add_microphone([distance_m, 0, 0])
    room.compute_rir()
    h = np.asarray(room.rir[0][0], dtype=np.float32) / np.float32(4 * math.pi)
    delay = distance_m / room.c * RATE
    engine_delay = pra.constants.get("frac_delay_length") // 2
    found = dry_aligned_filter(
        h,
        onset=round(delay) + engine_delay,
        sample_rate=RATE,
        delay_samples=delay + engine_delay,
        gain=1 / (4 * math.pi * distance_m),
    )
    assert 10 * np.log10(np.sum((found - h) ** 2) / np.sum(h**2)) < -45


def test_a_short_delay_loses_what_would_precede_emission() -> None:
    whole, cut = fractional_delay(60.5, 200), fractional_delay(10.5, 200)
    np.testing.assert_allclose(cut[:100], whole[50:150], atol=1e-15)
    tail = fractional_delay(190.5, 200)
    np.testing.assert_allclose(tail[150:], whole[20:70], atol=1e-15)


def test_bad_input_is_named() -> None:
    h = response(0, 1, 100)
    with pytest.raises(ValueError, match="onset must lie within the 100 taps, got 100"):
        split_rir(h, onset=100, sample_rate=RATE)
    with pytest.raises(ValueError, match="early_ms must not be negative"):
        split_rir(h, onset=10, sample_rate=RATE, early_ms=-5)
    with pytest.raises(ValueError, match=r"delay_samples and gain must be given together, got 5\.0 and None"):
        dry_aligned_filter(h, onset=5, sample_rate=RATE, delay_samples=5.0)
    with pytest.raises(ValueError, match=r"delay_samples must lie within the 100 taps, got 100\.5"):
        dry_aligned_filter(h, onset=5, sample_rate=RATE, delay_samples=100.5, gain=1.0)
    with pytest.raises(ValueError, match=r"h must have shape \(taps,\) or \(channels, taps\)"):
        direct_path(h[None], onset=5, sample_rate=RATE)
