"""Witnesses: sines, square waves and published test signals on paper; the standard written out, and pyloudnorm; gain
and silence as properties."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soxr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.signal import butter, freqz, sosfilt

from augment import levels
from augment.levels import (
    SNR_KINDS,
    active_level,
    active_mask,
    bandwidth_hz,
    loudness_lufs,
    noise_gain,
    snr_all,
    snr_db,
)

RATE = 16000


def noise(seed: int, samples: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def sine(frequency: float, seconds: float, amplitude: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def square(samples: int, amplitude: float) -> np.ndarray:
    """Alternating signs: |x| is constant and so is the power."""
    return (amplitude * (1 - 2 * (np.arange(samples) % 2))).astype(np.float32)


def bursts(seed: int, count: int, rate: int = RATE) -> np.ndarray:
    """Stretches of noise of random level, length and pause, ending in 0.7 s of silence."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(count):
        parts.append(noise(rng.integers(1 << 30), int(rng.uniform(0.1, 1.0) * rate), 10 ** rng.uniform(-2, -0.5)))
        parts.append(np.zeros(int(rng.uniform(0.0, 0.7) * rate), np.float32))
    return np.concatenate([*parts, np.zeros(int(0.7 * rate), np.float32)])


# Plain levels


def test_levels_on_paper() -> None:
    assert levels.rms_dbfs(square(100, 1.0)) == pytest.approx(0.0, abs=1e-12)
    assert levels.rms_dbfs(sine(1000, 1)) == pytest.approx(-3.0103, abs=1e-4)
    assert levels.rms_dbfs(np.zeros(10, np.float32)) is None
    assert levels.db(10.0) == pytest.approx(20.0)
    assert levels.db(0.0) is None
    assert levels.from_db(-20.0) == pytest.approx(0.1)
    x = np.array([[0.5, 0.25, -0.75], [0.0, -0.5, -0.25]], np.float32)
    assert levels.peak(x) == 0.75
    assert levels.dc(x) == pytest.approx(-0.25)
    assert levels.dc(-x) == pytest.approx(0.25)
    assert levels.peak(np.zeros(3, np.float32)) == 0.0


def test_clipping_of_16_bit_is_seen_at_both_ends() -> None:
    x = np.array([32767, -32768, 32766, -32766, 0], np.float32) / 32768
    assert levels.clipped_fraction(x) == pytest.approx(2 / 5)
    assert levels.clipped_fraction(np.stack([x * 0.5, x])) == pytest.approx(2 / 5)
    assert levels.clipped_fraction(np.array([1.5, 0.1], np.float32)) == 0.5


@settings(deadline=None)
@given(samples=st.integers(1, 500), seed=st.integers(0, 99), gain_db=st.floats(-60, 20))
def test_rms_matches_numpy_and_follows_gain(samples: int, seed: int, gain_db: float) -> None:
    x = noise(seed, samples)
    found = levels.rms_dbfs(x)
    assert found == pytest.approx(20 * np.log10(np.sqrt(np.mean(x.astype(float) ** 2))), abs=1e-9)
    assert levels.rms_dbfs(x * np.float32(levels.from_db(gain_db))) == pytest.approx(found + gain_db, abs=1e-5)


@settings(deadline=None)
@given(samples=st.integers(1, 500), seed=st.integers(0, 99), share=st.floats(0, 1))
def test_the_power_of_some_samples_matches_numpy(samples: int, seed: int, share: float) -> None:
    x, mask = noise(seed, samples), np.random.default_rng(seed).random(samples) < share
    found = levels._masked_mean_square(x, mask)
    assert found == (pytest.approx(np.mean(x[mask].astype(float) ** 2), rel=1e-12) if mask.any() else None)


@settings(deadline=None)
@given(samples=st.integers(1, 500), seed=st.integers(0, 99), share=st.floats(0, 1))
def test_both_energies_in_one_pass_are_each_of_them_to_the_last_bit(samples: int, seed: int, share: float) -> None:
    x, mask = noise(seed, samples), np.random.default_rng(seed).random(samples) < share
    assert levels._energies(x, mask) == (levels._energy(x), levels._masked_energy(x, mask))


@settings(deadline=None)
@given(samples=st.integers(1, 200), seed=st.integers(0, 99), exponent=st.integers(-44, 30))
def test_the_peak_matches_numpy(samples: int, seed: int, exponent: int) -> None:
    """Down to numbers that float32 holds without their leading one."""
    x = (noise(seed, samples, 1.0).astype(float) * 10.0**exponent).astype(np.float32)
    assert levels.peak(x) == float(np.abs(x).max())
    assert levels.peak(np.stack([x[::-1], 0 * x])) == levels.peak(x)


@pytest.mark.parametrize("measure", [levels.rms_dbfs, levels.peak, levels.dc, levels.clipped_fraction])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(measure: object, value: float) -> None:
    with pytest.raises(ValueError, match="x must be finite"):
        measure(np.array([0.1, value], np.float32))  # type: ignore[operator]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(samples,\) and not be empty, got \(1, 3\)"):
        levels.rms_dbfs(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="x must have shape"):
        levels.peak(np.zeros((0,), np.float32))
    with pytest.raises(ValueError, match="sample_rate must be positive, got 0"):
        active_level(noise(0, RATE), 0)
    with pytest.raises(ValueError, match="x must be finite"):
        active_level(np.full(RATE, np.nan, np.float32), RATE)


# ITU-T P.56


OCTAVES = 2.0 ** np.arange(-15, 0)


def naive_active_level(x: np.ndarray, rate: int, thresholds: np.ndarray = OCTAVES) -> tuple[float, float] | None:
    """Method B step by step: fifteen counters for 16 bit, then bisection in dB. (level, activity)."""
    g = math.exp(-1 / (rate * 0.03))
    hangover = math.ceil(0.2 * rate - 1e-9)
    a, h = np.zeros(thresholds.size), np.full(thresholds.size, hangover)
    p = q = squares = 0.0
    for value in x.astype(float):
        squares += value * value
        p = g * p + (1 - g) * abs(value)
        q = g * q + (1 - g) * p
        reached = q >= thresholds
        a += reached | (h < hangover)
        h = np.where(reached, 0, h + 1)
    if squares == 0:
        return None
    pairs = [(10 * math.log10(squares / n), 20 * math.log10(c)) for n, c in zip(a, thresholds, strict=True) if n]
    for low, high in itertools.pairwise(pairs):
        if low[0] - low[1] > 15.9 >= high[0] - high[1]:
            while True:
                middle = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2
                margin = middle[0] - middle[1] - 15.9
                if abs(margin) < 1e-7:
                    return middle[0], 10 ** ((10 * math.log10(squares / x.size) - middle[0]) / 10)
                low, high = (middle, high) if margin > 0 else (low, middle)
    return None


def test_a_steady_sine_is_active_throughout() -> None:
    found = active_level(sine(500, 10, 0.5), RATE)
    assert found is not None
    assert found.level_dbfs == pytest.approx(20 * math.log10(0.5) - 3.0103, abs=0.02)  # 0.02: the rise of the envelope
    assert found.activity == pytest.approx(1.0, abs=0.004)
    assert found.threshold_dbfs == pytest.approx(found.level_dbfs - 15.9, abs=1e-9)


def step_time(reach: float) -> float:
    """u with (1 + u) exp(-u) = reach: the fall of two equal averages, in time constants."""
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + middle) * math.exp(-middle) > reach else (low, middle)
    return low


@pytest.mark.parametrize("amplitude", [0.5, 0.3])
def test_bursts_by_hand(amplitude: float) -> None:
    """1 s of |x| = amplitude, 1 s of silence, five times.

    At threshold c a burst is active from where the envelope has risen to c until it has fallen to c, and 0.2 s longer.
    A = L - 10 log10(active share) and C = A - 15.9 are solved by repetition.
    """
    x = np.tile(np.concatenate([square(RATE, amplitude), np.zeros(RATE, np.float32)]), 5)
    long_term = 20 * math.log10(amplitude) - 10 * math.log10(2)
    level = long_term
    for _ in range(50):
        reach = 10 ** ((level - 15.9) / 20) / amplitude
        share = (1 - 0.03 * step_time(1 - reach) + 0.03 * step_time(reach) + 0.2) / 2
        level = long_term - 10 * math.log10(share)
    found = active_level(x, RATE)
    assert found is not None
    assert found.level_dbfs == pytest.approx(level, abs=0.005)
    assert found.threshold_dbfs == pytest.approx(level - 15.9, abs=0.005)
    assert found.activity == pytest.approx(share, abs=0.001)
    assert 0.6 < found.activity < 0.7  # half the time, and the hangover


@pytest.mark.parametrize("seconds", [1, 30])
def test_digital_silence_leaves_the_level_and_lowers_the_activity(seconds: int) -> None:
    x = bursts(1, 6)
    before, after = active_level(x, RATE), active_level(np.pad(x, (0, seconds * RATE)), RATE)
    assert before is not None
    assert after is not None
    assert after.level_dbfs == pytest.approx(before.level_dbfs, abs=1e-9)
    assert after.activity == pytest.approx(before.activity * x.size / (x.size + seconds * RATE), rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([8000, 11025, 16000]))
def test_matches_the_standard_written_out(seed: int, rate: int) -> None:
    x = bursts(seed, 2, rate)
    octaves, wanted = levels._active_level(x, rate, np.empty(0), OCTAVES), naive_active_level(x, rate)
    assert octaves is not None
    assert wanted is not None
    assert octaves.level_dbfs == pytest.approx(wanted[0], abs=1e-6)
    assert octaves.activity == pytest.approx(wanted[1], abs=1e-6)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_matches_the_standard_written_out_with_more_thresholds(seed: int) -> None:
    x = bursts(seed, 1, 8000)
    found, wanted = active_level(x, 8000), naive_active_level(x, 8000, 2.0 ** np.arange(-15, 0, 1 / 64))
    assert found is not None
    assert wanted is not None
    assert found.level_dbfs == pytest.approx(wanted[0], abs=0.001)
    assert found.activity == pytest.approx(wanted[1], abs=0.001)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), octaves=st.integers(-40, 10))
def test_level_follows_gain_of_any_size(seed: int, octaves: int) -> None:
    x = bursts(seed, 3)
    before, after = active_level(x, RATE), active_level(x * np.float32(2.0**octaves), RATE)
    assert before is not None
    assert after is not None
    assert after.level_dbfs == pytest.approx(before.level_dbfs + 20 * math.log10(2.0**octaves), abs=1e-6)
    assert after.activity == pytest.approx(before.activity, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), gain=st.floats(0.5, 2.0))
def test_level_follows_any_gain(seed: int, gain: float) -> None:
    x = bursts(seed, 5)
    before, after = active_level(x, RATE), active_level(x * np.float32(gain), RATE)
    assert before is not None
    assert after is not None
    assert after.level_dbfs - before.level_dbfs == pytest.approx(20 * math.log10(gain), abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_mask_is_the_envelope_above_the_threshold_and_the_hangover(seed: int) -> None:
    x = bursts(seed, 2, 8000)
    mask = active_mask(x, 8000)
    found = active_level(x, 8000)
    assert found is not None
    g = math.exp(-1 / 240)
    sos = np.array([[1 - g, 0, 0, 1, -g, 0]] * 2)
    above = np.nonzero(sosfilt(sos, np.abs(x.astype(float))) >= 10 ** (found.threshold_dbfs / 20))[0]
    wanted = np.zeros(x.size, bool)
    for i in above:
        wanted[i : i + 1601] = True
    np.testing.assert_array_equal(mask, wanted)
    assert mask.dtype == np.bool_
    assert mask.mean() == pytest.approx(found.activity, abs=0.01)


def test_active_level_is_undefined_where_the_standard_is() -> None:
    click = np.zeros(RATE, np.float32)
    click[8000] = 1.0
    for x in (np.zeros(RATE, np.float32), noise(0, 3199), click):
        assert active_level(x, RATE) is None
        assert not active_mask(x, RATE).any()
        assert active_mask(x, RATE).shape == x.shape
    assert active_level(noise(0, 3200), RATE) is not None


# ITU-R BS.1770


def test_coefficients_at_48_khz_are_those_of_the_standard() -> None:
    shelf, highpass = levels.k_weighting(48000)
    np.testing.assert_allclose(
        shelf, [1.53512485958697, -2.69169619940638, 1.19839281085285, -1.69065929318241, 0.73248077421585], atol=1e-12
    )
    np.testing.assert_allclose(highpass, [1.0, -2.0, 1.0, -1.99004745483398, 0.99007225036621], atol=1e-12)


@pytest.mark.parametrize(("rate", "tolerance_db"), [(16000, 0.15), (22050, 0.1), (44100, 0.02), (96000, 0.1)])
def test_the_weighting_is_the_same_filter_at_any_rate(rate: int, tolerance_db: float) -> None:
    """Up to 0.85 of the lower Nyquist frequency, where the bilinear transform has not yet bent it."""
    frequencies = np.geomspace(20, 0.85 * min(rate, 48000) / 2, 200)

    def response_db(r: int) -> np.ndarray:
        total = np.zeros(200)
        for c in levels.k_weighting(r):
            total += 20 * np.log10(np.abs(freqz(c[:3], np.r_[1, c[3:]], worN=frequencies, fs=r)[1]))
        return total

    np.testing.assert_allclose(response_db(rate), response_db(48000), atol=tolerance_db)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_full_scale_sine_reads_minus_3(rate: int) -> None:
    """BS.1770: 0 dBFS at 997 Hz on one front channel reads -3.01 LKFS, on two 0.0."""
    x = sine(997, 5, 1.0, rate)
    tolerance_lu = 0.05 if rate == 16000 else 0.02  # the bilinear transform bends the shelf
    assert loudness_lufs(x, rate) == pytest.approx(-3.01, abs=tolerance_lu)
    assert loudness_lufs(np.stack([x, x]), rate) == pytest.approx(0.0, abs=tolerance_lu)


def test_the_gate_of_ebu_tech_3341() -> None:
    """Case 3: -36, -23 and -36 dBFS for 10, 60 and 10 s on both channels reads -23.0 LUFS."""
    x = np.concatenate([sine(1000, s, levels.from_db(level), 48000) for s, level in ((10, -36), (60, -23), (10, -36))])
    assert loudness_lufs(np.stack([x, x]), 48000) == pytest.approx(-23.0, abs=0.1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([16000, 32000, 44100, 48000]), channels=st.integers(1, 2))
def test_matches_pyloudnorm(seed: int, rate: int, channels: int) -> None:
    x = np.stack(
        [sosfilt(butter(1, 1000, fs=rate, output="sos"), bursts(seed + c, 4, rate)) for c in (0,) * channels]
    ).astype(np.float32)
    meter = pyloudnorm.Meter(rate, filter_class="DeMan")
    assert loudness_lufs(x, rate) == pytest.approx(meter.integrated_loudness(x.T.astype(float)), abs=0.1)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([8000, 11025, 11127, 16000, 22050, 44100]),
    seconds=st.floats(0.4, 8.0),
)
def test_blocks_are_those_of_one_pass_over_the_signal(seed: int, rate: int, seconds: float) -> None:
    """scipy's filter from the first sample on, and sums of its blocks; also where a quiet noise follows a loud one."""
    x = noise(seed, round(seconds * rate), 0.3)
    x[x.size // 2 :] *= np.float32(1e-4)
    sos = [np.r_[c[:3], 1, c[3:]] for c in levels.k_weighting(rate)]
    square = sosfilt(np.array(sos), x.astype(float)) ** 2
    edges = np.arange(x.size * 10 // rate + 1) * rate // 10
    wanted = [square[a:b].mean() for a, b in zip(edges[:-4], edges[4:], strict=True)]
    np.testing.assert_allclose(levels._block_powers(x[np.newaxis], rate), wanted, rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), gain_db=st.floats(-20, 10))
def test_loudness_follows_gain_and_ignores_silence(seed: int, gain_db: float) -> None:
    x = noise(seed, 2 * RATE)
    before = loudness_lufs(x, RATE)
    assert before is not None
    assert loudness_lufs(x * np.float32(levels.from_db(gain_db)), RATE) == pytest.approx(before + gain_db, abs=1e-4)
    assert loudness_lufs(np.pad(x, (0, 3 * RATE)), RATE) == pytest.approx(before, abs=0.4)  # blocks across the end


def test_loudness_is_undefined_for_short_or_silent() -> None:
    assert loudness_lufs(noise(0, 6399), RATE) is None
    assert loudness_lufs(noise(0, 6400), RATE) is not None
    assert loudness_lufs(np.zeros(RATE, np.float32), RATE) is None
    assert loudness_lufs(noise(0, RATE, 1e-5), RATE) is None  # under -70
    with pytest.raises(ValueError, match="sample_rate must be at least 8000"):
        loudness_lufs(noise(0, RATE), 4000)


# Bandwidth


def band_limited(seed: int, rate: int, edge_hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(noise(seed, 4 * rate))
    spectrum[np.fft.rfftfreq(4 * rate, 1 / rate) > edge_hz] = 0
    return np.fft.irfft(spectrum).astype(np.float32)


def test_bandwidth_of_a_tone() -> None:
    assert bandwidth_hz(sine(3000, 2, 0.5, 48000), 48000) == pytest.approx(3000, abs=4 * 48000 / 2048)


@settings(max_examples=20, deadline=None)
@given(
    rate=st.sampled_from([8000, 16000, 44100, 48000]),
    share=st.floats(0.05, 0.95),
    gain_db=st.floats(-60, 0),
    offset=st.floats(-0.5, 0.5),
)
def test_bandwidth_of_band_limited_noise(rate: int, share: float, gain_db: float, offset: float) -> None:
    """Whatever its gain and offset, to within the side lobes of the window."""
    edge = share * rate / 2
    x = band_limited(3, rate, edge) * np.float32(levels.from_db(gain_db)) + np.float32(offset if gain_db > -20 else 0)
    assert bandwidth_hz(x, rate) == pytest.approx(edge, abs=6 * rate / (2048 * rate / 48000))


def test_bandwidth_follows_the_floor() -> None:
    """A spectrum that falls by 12 dB per octave from 500 Hz is 50 dB down near 8.9 kHz."""
    x = sosfilt(butter(2, 500, fs=48000, output="sos"), noise(1, 480000)).astype(np.float32)
    assert bandwidth_hz(x, 48000) == pytest.approx(500 * 10 ** (50 / 40), rel=0.12)
    found = [bandwidth_hz(x, 48000, floor) for floor in (-20, -30, -40, -50)]
    assert found == sorted(found)


def test_upsampled_material_is_recognised() -> None:
    x = soxr.resample(noise(2, 4 * RATE), RATE, 48000).astype(np.float32)
    assert 7300 < bandwidth_hz(x, 48000) < 8200
    assert bandwidth_hz(noise(2, 4 * 48000), 48000) > 23500


def test_bandwidth_is_undefined_for_short_or_silent() -> None:
    assert bandwidth_hz(np.zeros(RATE, np.float32), RATE) is None
    assert bandwidth_hz(np.full(RATE, 0.3, np.float32), RATE) is None  # an offset alone
    assert bandwidth_hz(noise(0, 600), RATE) is None
    with pytest.raises(ValueError, match="floor_db must be negative"):
        bandwidth_hz(noise(0, RATE), RATE, 3.0)


# SNR


def test_five_definitions_by_hand() -> None:
    """Speech of |x| = 0.5 in the middle second of three; noise of 0.05 there, 0.25 elsewhere, plus one peak of 0.5."""
    speech, interference = np.zeros(3 * RATE, np.float32), square(3 * RATE, 0.25)
    speech[RATE : 2 * RATE] = square(RATE, 0.5)
    interference[RATE : 2 * RATE] = square(RATE, 0.05)
    interference[10] = 0.5
    active = active_level(speech, RATE)
    mask = active_mask(speech, RATE)
    assert active is not None
    within = int(np.count_nonzero(mask[RATE : 2 * RATE]))
    beyond = int(np.count_nonzero(mask)) - within
    assert within + beyond == pytest.approx(
        1.26 * RATE, rel=0.03
    )  # a second, the rise less, the fall and the hangover more
    heard = (within * 0.05**2 + beyond * 0.25**2) / (within + beyond)
    found = snr_all(speech=speech, noise=interference, sample_rate=RATE, span=(RATE, 2 * RATE))
    assert list(found) == list(SNR_KINDS)
    assert found["rms"] == pytest.approx(20.0, abs=1e-5)
    assert found["peak"] == pytest.approx(0.0, abs=1e-5)
    assert found["rms_active"] == pytest.approx(10 * math.log10(0.25 * within / (within + beyond) / heard), abs=1e-5)
    assert found["p56_active"] == pytest.approx(active.level_dbfs - 10 * math.log10(heard), abs=1e-5)
    loudness = [loudness_lufs(x, RATE) for x in (speech, interference)]
    assert found["lufs"] == pytest.approx(loudness[0] - loudness[1])
    whole = snr_db(speech=speech, noise=interference, sample_rate=RATE, kind="rms")
    assert whole == pytest.approx(
        10 * math.log10(0.25 * RATE / (0.05**2 * RATE + 0.25**2 * (2 * RATE - 1) + 0.25)), abs=1e-4
    )


def test_steady_signals_agree_under_all_definitions() -> None:
    """Both white and steady, so that every definition but the peaks' sees the same 14 dB."""
    found = snr_all(speech=noise(1, 10 * RATE, 0.2), noise=noise(2, 10 * RATE, 0.04), sample_rate=RATE)
    for kind in SNR_KINDS:
        assert found[kind] == pytest.approx(20 * math.log10(5), abs=1.5 if kind == "peak" else 0.1)


@pytest.mark.parametrize("kind", SNR_KINDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), wanted=st.floats(-20, 40), scale=st.floats(0.001, 2.0))
def test_the_gain_realises_the_snr(kind: str, seed: int, wanted: float, scale: float) -> None:
    speech = bursts(seed, 3)
    interference = noise(seed + 1, speech.size, scale)
    common = {"speech": speech, "sample_rate": RATE, "kind": kind, "span": (100, speech.size // 2)}
    assume(snr_db(noise=interference, **common) is not None)
    wanted = min(wanted, 15.0) if kind == "lufs" else wanted  # else the noise may fall below the gate
    gain = noise_gain(noise=interference, snr_db=wanted, **common)
    assert gain > 0
    assert snr_db(noise=interference * np.float32(gain), **common) == pytest.approx(wanted, abs=0.001)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), span=st.sampled_from([(0, 9000), None]))
def test_one_kind_or_all_at_once(seed: int, span: tuple[int, int] | None) -> None:
    """The same number to the last bit."""
    speech = bursts(seed, 3)
    common = {"speech": speech, "noise": noise(seed, speech.size), "sample_rate": RATE, "span": span}
    assert {kind: snr_db(kind=kind, **common) for kind in SNR_KINDS} == snr_all(**common)


def test_a_noise_near_the_absolute_gate_still_gets_its_loudness() -> None:
    """Half of the noise drops out of the gate as it is turned down."""
    speech = noise(1, 10 * RATE, 0.002)
    interference = np.concatenate([noise(2, 5 * RATE, 0.02), noise(3, 5 * RATE, 0.008)])
    gain = noise_gain(speech=speech, noise=interference, sample_rate=RATE, kind="lufs", snr_db=15)
    found = snr_db(speech=speech, noise=interference * np.float32(gain), sample_rate=RATE, kind="lufs")
    assert found == pytest.approx(15, abs=0.1)


@pytest.mark.parametrize("kind", SNR_KINDS)
@pytest.mark.parametrize("silent", ["speech", "noise"])
def test_no_snr_and_no_gain_for_silence(kind: str, silent: str) -> None:
    pair = {"speech": bursts(1, 2), "noise": noise(1, bursts(1, 2).size)}
    pair[silent] = np.zeros_like(pair[silent])
    assert snr_db(**pair, sample_rate=RATE, kind=kind) is None
    assert snr_all(**pair, sample_rate=RATE)[kind] is None
    with pytest.raises(ValueError, match=f"must have a {kind} level each, .*{silent} silent"):
        noise_gain(**pair, sample_rate=RATE, kind=kind, snr_db=5.0)


def test_no_gain_below_the_gate_or_for_short_signals() -> None:
    speech, interference = noise(1, RATE, 0.1), noise(2, RATE, 0.1)
    with pytest.raises(ValueError, match="snr_db must keep the noise above -70 LUFS, got 80"):
        noise_gain(speech=speech, noise=interference, sample_rate=RATE, kind="lufs", snr_db=80)
    with pytest.raises(ValueError, match="too short"):
        noise_gain(speech=speech[:999], noise=interference[:999], sample_rate=RATE, kind="lufs", snr_db=5)


def test_bad_snr_input_is_named() -> None:
    x = noise(0, RATE)
    with pytest.raises(ValueError, match=r"kind must be one of p56_active, .* got 'a_weighted'"):
        snr_db(speech=x, noise=x, sample_rate=RATE, kind="a_weighted")
    with pytest.raises(ValueError, match="speech and noise must have one length, got 16000 and 10"):
        snr_all(speech=x, noise=x[:10], sample_rate=RATE)
    with pytest.raises(ValueError, match=r"span must lie within .* got \(5, 5\)"):
        snr_all(speech=x, noise=x, sample_rate=RATE, span=(5, 5))
    with pytest.raises(ValueError, match="snr_db must be finite, got nan"):
        noise_gain(speech=x, noise=x, sample_rate=RATE, kind="rms", snr_db=math.nan)
    with pytest.raises(ValueError, match=r"noise must have shape \(samples,\)"):
        snr_all(speech=x, noise=x[None], sample_rate=RATE)


# Recordings


def corpus(path: str) -> tuple[np.ndarray, int]:
    import soundfile

    root = os.environ.get("HUBBUB_CORPUS")
    if not root or not (Path(root) / path).exists():
        pytest.skip("HUBBUB_CORPUS names no folder with this recording")
    x, rate = soundfile.read(Path(root) / path, dtype="float32", always_2d=True)
    return x[:, 0], rate


@pytest.mark.parametrize("name", ["lyra_sample1_48kHz.wav", "lyra_sample2_32kHz.wav"])
def test_recordings_that_were_upsampled(name: str) -> None:
    x, rate = corpus(f"awkward/upsampled_48k/{name}")
    assert 6000 < bandwidth_hz(x, rate) < 8300


@pytest.mark.parametrize(
    "name", ["level/whisper.flac", "dc_offset/1363-135842-0000.flac", "rate_8k/lyra_sample1_8kHz.wav"]
)
def test_recorded_speech_matches_the_standard_written_out(name: str) -> None:
    x, rate = corpus(f"awkward/{name}")
    octaves, wanted, found = (
        levels._active_level(x, rate, np.empty(0), OCTAVES),
        naive_active_level(x, rate),
        active_level(x, rate),
    )
    assert octaves is not None
    assert wanted is not None
    assert found is not None
    assert octaves.level_dbfs == pytest.approx(wanted[0], abs=0.001)
    assert found.level_dbfs == pytest.approx(wanted[0], abs=0.3)
    assert found.level_dbfs > levels.rms_dbfs(x)
    assert 0.3 < found.activity < 1.0
