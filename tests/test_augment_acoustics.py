"""Witnesses: decays of known T60, ratios by hand, published rooms, simulated rooms; pyroomacoustics, Butterworth octave
filters; gain and delay as properties.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroomacoustics.experimental import measure_rt60
from scipy import signal

from augment import acoustics
from augment.acoustics import (
    band_clarity_db,
    band_decay_times,
    c50_db,
    clarity_db,
    decay_time,
    direct_window,
    drr_db,
    early_stop,
    edt,
    energy_decay,
    fault,
    measure,
    octave_bands,
    onset,
    onset_confidence,
    rt60,
)

RATE = 16000


def decay(rt60_s: float, seconds: float, rate: int = RATE, seed: int | None = None) -> np.ndarray:
    """Amplitude 10^(-3 t / T60): alternating signs, or Gaussian noise under that envelope."""
    n = np.arange(round(seconds * rate))
    carrier = (-1.0) ** n if seed is None else np.random.default_rng(seed).standard_normal(n.size)
    return (carrier * 10 ** (-3 * n / rate / rt60_s)).astype(np.float32)


# Onset and windows


def test_onset_on_paper() -> None:
    h = np.zeros(100, np.float32)
    h[[20, 21, 22, 31, 32, 99]] = 0.05, -0.11, 0.3, -0.9, 1, 1e-3
    assert onset(h) == 22  # above a tenth of the largest, whatever its sign; 9 taps on, a reflection
    assert onset(-h) == 22
    h[[14, 20, 21]] = 0.11, 0, 0
    assert onset(h) == 22  # 8 taps on
    assert onset(h, expected=21.6) == 22
    assert onset(h, expected=2.6) == 3
    assert onset(np.stack([h, h[::-1]])) == 22  # channel 0
    h = np.array([0, 0.05, -0.11, 1, 0.5], np.float32)
    with pytest.raises(ValueError, match="onset must lie within the 5 taps, got 9"):
        onset(h, expected=9.2)


@settings(deadline=None)
@given(delay=st.integers(0, 500), gain=st.floats(1e-6, 1e3), seed=st.integers(0, 99))
def test_onset_follows_delay_and_not_gain(delay: int, gain: float, seed: int) -> None:
    h = decay(0.2, 0.1, seed=seed)
    assert onset(np.pad(h, (delay, 0)) * np.float32(gain)) == onset(h) + delay


def test_windows_on_paper() -> None:
    assert direct_window(100, 16000, 1000) == slice(84, 141)  # 1 ms = 16 taps before, 2.5 ms = 40 after, both ends in
    assert direct_window(100, 44100, 1000) == slice(56, 211)  # 44.1 and 110.25 taps: those that lie inside
    assert direct_window(5, 16000, 30) == slice(0, 30)
    assert early_stop(100, 16000) == 900
    assert early_stop(100, 16000, 0) == 100
    with pytest.raises(ValueError, match="early_ms must not be negative, got -1"):
        early_stop(100, 16000, -1)


def rooms(count: int, rate: int) -> Iterator[tuple[np.ndarray, float, float, np.random.Generator]]:
    """A response of a shoebox, the delay and gain of its direct sound, and the generator that drew them."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        size = np.array([rng.uniform(3, 9), rng.uniform(3, 7), rng.uniform(2.4, 3.5)])
        source, microphone = (rng.uniform(0.3, size - 0.3) for _ in range(2))
        n = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3), axis=-1).reshape(-1, 3)
        n = n[np.abs(n).sum(axis=1) <= 6]  # image n of an axis has |n| reflections
        image = n * size + np.where(n % 2 == 0, source, size - source)
        distance = np.linalg.norm(image - microphone, axis=1)
        gain = rng.uniform(0.6, 0.95) ** np.abs(n).sum(axis=1) / (4 * np.pi * distance)
        h = np.zeros(int(distance.max() / 343 * rate) + 50)
        for delay, a in zip(distance / 343 * rate, gain, strict=True):
            first = max(0, math.ceil(delay) - 40)
            h[first : first + 81] += a * direct_sound(delay - first, 81)
        straight = int(np.argmin(distance))
        yield h.astype(np.float32), float(distance[straight]) / 343 * rate, float(gain[straight]), rng


def noisy(h: np.ndarray, db: float, rng: np.random.Generator) -> np.ndarray:
    return (h + 10 ** (db / 20) * np.abs(h).max() * rng.standard_normal(h.size)).astype(np.float32)


def direct_sound(delay: float, taps: int) -> np.ndarray:
    t = np.arange(taps) - delay
    return np.sinc(t) * np.where(np.abs(t) < 40, 0.5 + 0.5 * np.cos(np.pi * t / 40), 0)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_the_onset_is_the_peak_of_the_direct_sound(rate: int) -> None:
    """The first tap above a tenth, taken for the onset before, came 1.8 taps early (16 kHz), with a band limit 4."""
    errors, limited = [], []
    for h, delay, _, rng in rooms(60, rate):
        errors.append(onset(h) - delay)
        low = signal.firwin(201, rng.uniform(3000, 7000), fs=rate)
        limited.append(onset(np.convolve(h, low)[100:]) - delay)
    for found in (errors, limited):
        assert abs(np.median(found)) < 0.1
        assert np.mean(np.abs(found) <= 0.7) >= 0.95  # 0.5, and what reflections do that come within the peak
        assert np.max(np.abs(found)) <= 0.0005 * rate


def test_onsets_in_noise_behind_a_pause_before_a_louder_reflection() -> None:
    """All within 0.5 ms. The first tap above a tenth is right for a third of those with noise at -30 dB."""
    sure = {db: [] for db in (-30, -40, -60)}
    for h, delay, gain, rng in rooms(60, RATE):
        pause = int(rng.uniform(0, 0.05 * RATE))
        late = np.pad(h, (pause, 0))
        loud = gain * 10 ** (rng.uniform(3, 12) / 20) * direct_sound(delay + pause + rng.uniform(24, 320), late.size)
        for db, confidences in sure.items():
            for response_ in (noisy(late, db, rng), noisy(late + loud, db, rng)):
                assert abs(onset(response_) - delay - pause) <= 8
            found = noisy(late, db, rng)
            confidences.append(onset_confidence(found, onset(found), RATE))
    assert [np.mean(np.array(c) >= 0.5) for c in sure.values()] == pytest.approx([1, 1, 1], abs=0.05)


def test_low_confidence_marks_the_wrong_onsets() -> None:
    """A direct sound 6 to 26 dB down (a talker behind a screen), or a click 15 to 30 dB down before it (distortion of a
    sweep): 74 % are right, 94 % of those with confidence 0.5 or more, 60 % of the others.
    """
    right, sure = [], []
    for h, delay, gain, rng in rooms(100, RATE):
        late = np.pad(h, (1000, 0))
        down = gain * (1 - 10 ** (-rng.uniform(6, 26) / 20))
        click = np.abs(h).max() * 10 ** (-rng.uniform(15, 30) / 20) * (np.arange(late.size) == int(delay) + 700)
        for response_ in (late - down * direct_sound(delay + 1000, late.size), late + click):
            found = noisy(response_, -60, rng)
            right.append(abs(onset(found) - delay - 1000) <= 8)
            sure.append(onset_confidence(found, onset(found), RATE) >= 0.5)
    assert np.mean(sure) > 0.35
    assert np.mean(right) < 0.8
    assert np.mean(np.array(right)[sure]) > 0.92
    assert np.mean(np.array(right)[np.logical_not(sure)]) < 0.65


def test_confidence_on_paper() -> None:
    h = np.zeros(2000, np.float32)
    h[[500, 700]] = 0.5, 1
    h[-1] = 1e-4
    assert onset_confidence(h, 500, RATE) == 1  # 11 thresholds find it, nothing lies before
    h[100] = 10 ** (-21 / 20)  # five thresholds, -30 to -22 dB, find this first; it lies 15 dB under the peak
    assert onset_confidence(h, 500, RATE) == pytest.approx(2 * 6 / 11 - 1)
    h[100] = 10 ** (-26.5 / 20) * 0.5  # one finds this; 26.5 dB under the peak
    assert onset_confidence(h, 500, RATE) == 1 == onset_confidence(h, onset(h), RATE)
    h[100] = 10 ** (-13 / 20) * 0.5  # at -19 dB six find it: more than half
    assert onset_confidence(h, 500, RATE) == 0
    h[[100, 506, 509]] = 0, 0.4, 0.4
    assert onset_confidence(h, 506, RATE) == 1  # 0.4 ms beside the peak that all thresholds find
    assert onset_confidence(h, 509, RATE) == 0
    h[[492, 506, 509]] = 0.5 * 10 ** (-13 / 20), 0, 0  # 0.5 ms before it is the same sound
    assert onset_confidence(h, 500, RATE) == 1
    noise = 0.05 * (-1.0) ** np.arange(2000) * (np.arange(2000) < 400)
    noise[-200:] = 0.05  # known as noise from the end: thresholds below 0.25 of the largest do not count
    assert onset_confidence(h + noise, 500, RATE) == pytest.approx((20 - 6) / 14, abs=0.02)
    assert onset_confidence(h + 2 * noise, 500, RATE) == pytest.approx((20 * math.log10(5) - 6) / 14, abs=0.02)


# Faults


def test_simulated_rooms_have_no_fault() -> None:
    for h, delay, gain, _ in rooms(60, RATE):
        both = np.stack([h, np.roll(h, 3)])
        assert fault(both, expected_onset=delay, sample_rate=RATE, gain=gain) is None
        assert fault(h, expected_onset=delay, sample_rate=RATE) is None


def test_faults_are_named() -> None:
    h, delay, gain, _ = next(rooms(1, RATE))
    known = {"expected_onset": delay, "sample_rate": RATE}
    for bad in (np.nan, np.inf, -np.inf):
        broken = h.copy()
        broken[-5] = bad
        assert fault(np.stack([h, broken]), **known) == "not finite"
    assert fault(np.stack([h, 0 * h]), **known) == "microphone 1 is silent"
    early = h.copy()
    early[16] = 0.0011 * h.max()
    assert delay > 60
    assert fault(early, **known) == f"sound at 1.00 ms, before the direct sound is due at {delay / 16:.2f} ms"
    early[16] = 0.0009 * h.max()
    assert fault(early, **known) is None
    assert fault(h[: int(delay)], **known) == f"it ends before the direct sound, which is due at tap {delay:.1f}"
    alone = (gain * direct_sound(delay, h.size)).astype(np.float32)
    assert fault(alone, gain=gain, **known) is None
    for shift in (-4, 4, 7):
        wrong = fault(np.roll(alone, shift), gain=gain, **known)
        assert wrong is not None
        assert wrong.startswith(f"no direct sound at tap {round(delay)}: ")
    assert fault(alone / 2, gain=gain, **known) is None
    assert fault(alone / 8, gain=gain, **known) is not None
    louder = alone + np.float32(1) * np.roll(alone, 500)
    assert fault(louder - 0.95 * alone, **known) is None
    assert fault(louder - 0.98 * alone, **known) is not None  # 0.02 of the largest: -34 dB


# Ratios


def test_ratios_by_hand() -> None:
    h = np.zeros(2000, np.float32)
    h[84], h[100], h[140] = 1, 2, 1  # energy 6 in the direct window
    h[83], h[141] = 0.5, 0.5  # just outside
    h[899], h[900] = 1, 0.5  # the last early tap, the first late one
    assert drr_db(h, 100, RATE) == pytest.approx(10 * math.log10(6 / 1.75), abs=1e-9)
    assert c50_db(h, 100, RATE) == pytest.approx(10 * math.log10(7.5 / 0.25), abs=1e-9)


def test_ratios_of_a_decay_in_closed_form() -> None:
    """The energy left after t is 10^(-6 t / T60): 1 + 40 taps are direct, 800 are early."""
    h = decay(0.5, 2.0)
    direct, early = (1 - 10 ** (-6 * n / RATE / 0.5) for n in (41, 800))
    assert drr_db(h, 0, RATE) == pytest.approx(10 * math.log10(direct / (1 - direct)), abs=1e-4)
    assert c50_db(h, 0, RATE) == pytest.approx(10 * math.log10(early / (1 - early)), abs=1e-4)


@settings(deadline=None)
@given(seed=st.integers(0, 99), at=st.integers(0, 999), gain=st.floats(1e-3, 1e3))
def test_ratios_do_not_see_gain(seed: int, at: int, gain: float) -> None:
    h = decay(0.3, 0.2, seed=seed)
    for ratio in (drr_db, c50_db):
        assert ratio(h * np.float32(gain), at, RATE) == pytest.approx(ratio(h, at, RATE), abs=1e-4)
    x = h.astype(float) ** 2
    first, last = max(0, at - 16), at + 40
    rest = sum(e for i, e in enumerate(x) if not first <= i <= last)
    assert drr_db(h, at, RATE) == pytest.approx(10 * math.log10((x.sum() - rest) / rest), abs=1e-6)


def test_ratios_of_an_anechoic_response_are_undefined() -> None:
    h = np.zeros(2000, np.float32)
    h[100] = 1
    bands = [acoustics.Band(centre_hz=f, rt60_s=None, edt_s=None, c50_db=None) for f in octave_bands(RATE)]
    nothing = {"rt60_s": None, "edt_s": None, "drr_db": None, "c50_db": None}
    assert measure(h, RATE) == acoustics.Acoustics(onset_samples=100, onset_confidence=1.0, **nothing, bands=bands)
    assert measure(h, RATE, bands=False) == acoustics.Acoustics(onset_samples=100, onset_confidence=1.0, **nothing)


# Decay


def test_energy_decay_on_paper() -> None:
    h = np.array([2, 0, 1, 0, 0], np.float32)
    np.testing.assert_allclose(energy_decay(h), 10 * np.log10([1, 0.2, 0.2]))
    curve = energy_decay(decay(0.5, 2.0))
    np.testing.assert_allclose(curve[: RATE // 2], -60 * np.arange(RATE // 2) / RATE / 0.5, atol=0.01)


@settings(deadline=None)
@given(seed=st.integers(0, 99), taps=st.integers(1, 500))
def test_energy_decay_falls(seed: int, taps: int) -> None:
    h = np.random.default_rng(seed).standard_normal(taps)
    curve = energy_decay(h)
    assert curve[0] == 0
    assert np.all(np.diff(curve) < 0)
    np.testing.assert_allclose(
        curve, [10 * np.log10(np.sum(h[i:] ** 2) / np.sum(h**2)) for i in range(taps)], atol=1e-6
    )


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("rt60_s", [0.15, 0.3, 0.6, 1.2])
@pytest.mark.parametrize("length", [0.8, 1.0, 2.0])
def test_decays_of_known_rt60(rate: int, rt60_s: float, length: float) -> None:
    """Cut at 48 dB or later."""
    h = np.pad(decay(rt60_s, length * rt60_s, rate), (100, 0))
    assert rt60(h, rate) == pytest.approx(rt60_s, rel=0.01)
    assert edt(h, rate) == pytest.approx(rt60_s, rel=0.01)


@pytest.mark.parametrize("noise_db", [-80, -65, -55, -48])
def test_noise_is_taken_out(noise_db: float) -> None:
    """Twenty rooms of 0.4 s. Uncompensated, T30 would be 3 % too long at -55 dB and twice as long at -48 dB."""
    found = []
    for seed in range(20):
        h = decay(0.4, 1.0, seed=seed)
        floor = np.random.default_rng(1000 + seed).standard_normal(h.size).astype(np.float32)
        found.append(rt60(h + np.float32(10 ** (noise_db / 20)) * floor, RATE))
    assert np.mean([f / 0.4 for f in found]) == pytest.approx(1, abs=0.01)
    assert np.std([f / 0.4 for f in found]) < 0.03


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), rt60_s=st.floats(0.2, 1.0), gain=st.floats(1e-3, 1e3), delay=st.integers(0, 2000))
def test_decay_times_do_not_see_gain_or_delay(seed: int, rt60_s: float, gain: float, delay: int) -> None:
    h = decay(rt60_s, 1.2 * rt60_s, seed=seed)
    moved = np.pad(h, (delay, 0)) * np.float32(gain)
    for time in (rt60, edt):
        before = time(h, RATE)
        assert before is not None
        assert time(moved, RATE) == pytest.approx(before, rel=1e-4)
    assert rt60(h, RATE) == pytest.approx(rt60_s, rel=0.06)  # the spread of Gaussian noise
    assert rt60(h, RATE) == pytest.approx(measure_rt60(h, fs=RATE, decay_db=30), rel=0.06)


def test_edt_and_rt60_part_in_a_room_with_two_slopes() -> None:
    h = decay(0.15, 1.2) + np.float32(0.1) * decay(0.8, 1.2)
    fast, slow = edt(h, RATE), rt60(h, RATE)
    assert fast is not None
    assert slow is not None
    assert fast < 0.2
    assert slow > 0.5


def test_no_decay_no_time() -> None:
    rng = np.random.default_rng(0)
    assert rt60(decay(0.5, 0.3), RATE) is None  # cut at 36 dB
    assert edt(decay(0.5, 0.3), RATE) == pytest.approx(0.5, rel=0.01)
    assert rt60(decay(0.3, 1.0) + 0.02 * rng.standard_normal(RATE), RATE) is None  # noise at -34 dB
    assert rt60(rng.standard_normal(RATE), RATE) is None
    assert rt60(decay(0.5, 1.0)[::-1], RATE) is None
    assert rt60(np.array([1.0, 0.5], np.float32), RATE) is None


@pytest.mark.parametrize("limits", [(-5, -15), (-5, -25), (-5, -35), (-10, -40)])
def test_other_ranges_of_an_exponential_decay(limits: tuple[float, float]) -> None:
    assert decay_time(decay(0.4, 1.0), RATE, limits) == pytest.approx(0.4, rel=1e-3)


def test_other_ranges_need_10_db_below_them() -> None:
    cut = decay(0.5, 0.25)  # at 30 dB
    assert decay_time(cut, RATE, (-5, -19)) == pytest.approx(0.5, rel=0.01)
    assert decay_time(cut, RATE, (-5, -21)) is None


# Octave bands


def chords(rt60_s: dict[float, float], seconds: float, rate: int = RATE) -> np.ndarray:
    """A sine at the centre of each octave with its own T60: the other bands have no part of it."""
    t = np.arange(round(seconds * rate)) / rate
    return sum(np.sin(2 * np.pi * f * t + k) * 10 ** (-3 * t / r) for k, (f, r) in enumerate(rt60_s.items()))


def test_octave_bands_on_paper() -> None:
    """4 kHz ends at 5657 Hz, 8 kHz at 11314 Hz."""
    assert octave_bands(48000) == [125, 250, 500, 1000, 2000, 4000, 8000]
    assert octave_bands(22050) == octave_bands(48000)
    assert octave_bands(16000) == octave_bands(11025) == [125, 250, 500, 1000, 2000, 4000]
    assert octave_bands(21000) == [125, 250, 500, 1000, 2000, 4000]
    assert octave_bands(8000) == [125, 250, 500, 1000, 2000]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_bands_share_out_the_energy(rate: int) -> None:
    filters = acoustics._filters(16384, rate)
    total = np.zeros(8192)
    for band in filters:
        total[: band.gain.size] += band.gain.astype(float) ** 2 * band.step / 2
    hertz = np.arange(8192) * rate / 16384
    inside = (hertz >= 125) & (hertz <= filters[-1].centre_hz)
    np.testing.assert_allclose(total[inside], 1, atol=1e-6)
    for band in filters:
        gain = np.interp(band.centre_hz * np.array([0.5, 0.5**0.5, 1]), hertz[: band.gain.size], band.gain)
        np.testing.assert_allclose(gain**2 * band.step / 2, [0, 0.5, 1], atol=0.02)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("order", [1, -1])
def test_decays_that_differ_by_band(rate: int, order: int) -> None:
    """T30, EDT, C50 and C80 of each sine on paper, but for half a period that its rise takes in a band."""
    times = [0.15, 0.3, 0.5, 0.8, 1.2, 2.0][::order]
    wanted = dict(zip(octave_bands(16000), times, strict=True))
    h = np.pad(chords(wanted, 2.6, rate), (333, 0)).astype(np.float32)
    for band in measure(h, rate, onset=333).bands[:6]:
        rt60_s = wanted[band.centre_hz]
        assert band.rt60_s == pytest.approx(rt60_s, rel=0.01)
        assert band.edt_s == pytest.approx(rt60_s, rel=0.01 + 1 / (band.centre_hz * rt60_s))
    for early_ms in (50, 80):
        clarity = band_clarity_db(h, 333, rate, early_ms=early_ms)
        for (centre_hz, rt60_s), found in zip(wanted.items(), clarity, strict=False):
            left, lost = (10 ** (-6 * t / rt60_s) for t in (early_ms / 1000, 0.5 / centre_hz))
            assert found is not None
            assert 10 * math.log10(lost / left - 1) - 0.02 < found < 10 * math.log10(1 / left - 1) + 0.02


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("rt60_s", [0.15, 0.3, 0.6, 2.0])
def test_band_decays_of_known_rt60(rate: int, rt60_s: float) -> None:
    """The mean of 20 noises. Each scatters by `scatter` x 0.6 in T30 and x 1.9 in EDT, whose means it lengthens by its
    square, as they are reciprocals of slopes.
    """
    found = [measure(np.pad(decay(rt60_s, 1.2 * rt60_s, rate, seed), (100, 0)), rate).bands for seed in range(20)]
    c50_db = 10 * math.log10(10 ** (6 * 0.05 / rt60_s) - 1)
    for bands in zip(*found, strict=True):
        scatter = 1 / math.sqrt(bands[0].centre_hz * rt60_s)
        t30 = np.array([b.rt60_s for b in bands]) / rt60_s
        assert t30.mean() == pytest.approx(1, abs=0.005 + scatter**2 + 3 * 0.6 * scatter / math.sqrt(20))
        assert t30.std() < 0.01 + scatter
        if scatter < 0.2:
            early = np.array([b.edt_s for b in bands]) / rt60_s
            assert early.mean() == pytest.approx(1, abs=0.01 + 3.6 * scatter**2 + 3 * 1.9 * scatter / math.sqrt(20))
        assert np.mean([b.c50_db for b in bands]) == pytest.approx(c50_db, abs=0.2 + 3 * 20 * scatter / math.sqrt(20))


@pytest.mark.parametrize(("rate", "rt60_s"), [(16000, 0.3), (16000, 1.0), (48000, 0.5)])
def test_bands_agree_with_reversed_butterworth_filters(rate: int, rt60_s: float) -> None:
    """Third order, run backwards over 1.5 T60 without noise, as ISO 3382 allows. The skirts differ, so do the modes."""
    differences = []
    for seed in range(6):
        h = np.pad(decay(rt60_s, 1.5 * rt60_s, rate, seed), (100, 0)).astype(float)
        for band in measure(h, rate).bands:
            edges = band.centre_hz * np.array([0.5**0.5, 2**0.5])
            sos = signal.butter(3, edges, "bandpass", fs=rate, output="sos")
            curve = energy_decay(signal.sosfilt(sos, h[::-1])[::-1][100:])
            first, last = (int(np.argmax(curve <= limit)) for limit in (-5, -35))
            theirs = -60 / np.polyfit(np.arange(first, last), curve[first:last], 1)[0] / rate
            assert band.rt60_s == pytest.approx(theirs, rel=0.06)
            differences.append(band.rt60_s / theirs - 1)
    assert abs(np.mean(differences)) < 0.006
    assert np.std(differences) < 0.025


@pytest.mark.parametrize(("noise_db", "length"), [(-50, 1.8), (-65, 1.8), (-300, 0.95)])
def test_band_noise_is_taken_out_and_cuts_are_completed(noise_db: float, length: float) -> None:
    """Beside the same decay with neither."""
    ratios = []
    for seed in range(10):
        h = decay(0.5, 1.5, seed=seed)
        floor = 10 ** (noise_db / 20) * np.random.default_rng(1000 + seed).standard_normal(h.size)
        part = (h + floor)[: round(length * 0.5 * RATE)]
        for whole, found in zip(measure(h, RATE, 0).bands, measure(part, RATE, 0).bands, strict=True):
            if found.rt60_s is not None and whole.rt60_s is not None:
                ratios.append(found.rt60_s / whole.rt60_s)
            assert found.edt_s == pytest.approx(whole.edt_s, rel=0.03)
    assert len(ratios) > 50
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)
    assert np.std(ratios) < 0.03


def test_band_clarity_of_two_clicks_is_their_ratio() -> None:
    """What the filter spreads before the onset counts."""
    h = np.zeros(8000, np.float32)
    h[[50, 50 + 1600, -1]] = 1, 0.1, 1e-5
    assert [b.c50_db for b in measure(h, RATE).bands] == pytest.approx([20] * 6, abs=0.1)
    h[50 + 1600] = 0.001  # 60 dB: the filter at 125 Hz leaves -55 dB there
    assert [b.c50_db for b in measure(h, RATE).bands] == [None] * 6


def test_two_slopes_in_one_band() -> None:
    """At 1 kHz 0.2 s above 1.5 s: EDT sees the first, T30 the second; 250 Hz has one slope."""
    t = np.arange(3 * RATE) / RATE
    both = 10 ** (-3 * t / 0.2) + 0.1 * 10 ** (-3 * t / 1.5)
    h = np.sin(2 * np.pi * 1000 * t) * both + np.sin(2 * np.pi * 250 * t) * 10 ** (-3 * t / 0.6)
    found = {b.centre_hz: b for b in measure(h, RATE, 0).bands}
    curve = 10 * np.log10(np.cumsum((both**2)[::-1])[::-1])
    for limits, ours in (((0, -10), found[1000].edt_s), ((-5, -35), found[1000].rt60_s)):
        first, last = (int(np.argmax(curve - curve[0] <= limit)) for limit in limits)
        assert ours == pytest.approx(-60 / np.polyfit(t[first:last], curve[first:last], 1)[0], rel=0.02)
    assert found[250].rt60_s == pytest.approx(0.6, rel=0.01)


def test_a_band_without_range_or_shorter_than_its_filter_is_undefined() -> None:
    rng = np.random.default_rng(0)
    short = dict.fromkeys(octave_bands(RATE), 0.06)  # under 12 periods at 125 Hz only
    h = np.pad(chords(short, 0.4), (50, 8000)).astype(np.float32)
    bands = measure(h, RATE, onset=50).bands
    assert [b.edt_s is None for b in bands] == [True] + [False] * 5
    assert [b.rt60_s is None for b in bands] == [True] + [False] * 5
    h = chords(dict.fromkeys(octave_bands(RATE), 0.5), 1.0)
    low = signal.sosfilt(signal.butter(4, 300, fs=RATE, output="sos"), rng.standard_normal(h.size))
    found = measure(h + 0.1 * low, RATE, onset=0).bands  # hum hides 125 and 250 Hz
    assert [b.rt60_s is None for b in found] == [True, True] + [False] * 4
    assert all(b.rt60_s is None and b.edt_s is None for b in measure(rng.standard_normal(RATE), RATE, 0).bands)
    assert all(b == acoustics.Band(centre_hz=b.centre_hz, rt60_s=None, edt_s=None, c50_db=None)
               for b in measure(np.array([0, 1, 0.5], np.float32), RATE).bands)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), gain=st.floats(1e-6, 1e3), delay=st.integers(0, 4000))
def test_bands_do_not_see_gain_delay_or_silence(seed: int, gain: float, delay: int) -> None:
    h = np.concatenate([[4.0], decay(0.5, 0.6, seed=seed)]).astype(np.float32)
    before = measure(h, RATE, onset=0).bands
    moved = np.pad(h, (delay, 777)) * np.float32(gain)
    for one, other in zip(before, measure(moved, RATE, onset=delay).bands, strict=True):
        assert other.c50_db == pytest.approx(one.c50_db, abs=1e-3)
        for name in ("rt60_s", "edt_s"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            assert a is None or b == pytest.approx(a, rel=1e-4)


def test_clarity_by_hand() -> None:
    h = np.zeros(3000, np.float32)
    h[[100, 100 + 1279, 100 + 1280]] = 2, 1, 0.5
    assert clarity_db(h, 100, RATE, early_ms=80) == pytest.approx(10 * math.log10(5 / 0.25), abs=1e-9)
    assert clarity_db(h, 100, RATE, early_ms=50) == c50_db(h, 100, RATE) == pytest.approx(10 * math.log10(4 / 1.25))


def test_bad_responses_are_named() -> None:
    with pytest.raises(ValueError, match="h must not be silent"):
        measure(np.zeros((2, 100), np.float32), RATE)
    with pytest.raises(ValueError, match="h must be finite"):
        rt60(np.array([1, np.nan], np.float32), RATE)
    with pytest.raises(ValueError, match=r"h must have shape \(taps,\) or \(channels, taps\)"):
        energy_decay(np.zeros((1, 1, 5), np.float32))
    with pytest.raises(ValueError, match="onset must lie within the 10 taps, got 10"):
        drr_db(np.ones(10, np.float32), 10, RATE)


def test_measure_takes_the_reference_channel_and_the_given_onset() -> None:
    h = np.stack([decay(0.3, 0.5, seed=1), decay(0.9, 0.5, seed=2)])
    found = measure(h, RATE)
    assert found.rt60_s == rt60(h[0], RATE)
    assert found.edt_s == edt(h[0], RATE)
    assert found.onset_samples == onset(h[0])
    assert measure(h, RATE, onset=7).drr_db == drr_db(h[0], 7, RATE)
    assert measure(h, RATE, onset=7).c50_db == c50_db(h[0], 7, RATE)
    assert measure(h, RATE, onset=7).onset_samples == 7
    assert found.onset_confidence == onset_confidence(h[0], onset(h[0]), RATE)
    assert measure(h, RATE, onset=7).onset_confidence is None
    assert [b.rt60_s for b in found.bands] == band_decay_times(h[0], onset(h[0]), RATE, (-5, -35))
    assert [b.edt_s for b in found.bands] == band_decay_times(h[0], onset(h[0]), RATE, (0, -10))
    assert [b.c50_db for b in found.bands] == band_clarity_db(h[0], onset(h[0]), RATE, early_ms=50)


# Recordings


def corpus(path: str) -> Path:
    root = os.environ.get("HUBBUB_CORPUS")
    if not root or not (Path(root) / path).exists():
        pytest.skip("HUBBUB_CORPUS names no folder with this file")
    return Path(root) / path


def response(path: str) -> tuple[np.ndarray, int]:
    import soundfile

    x, rate = soundfile.read(corpus(path), dtype="float32", always_2d=True)
    return x.T, rate


def published(path: str) -> dict[str, list[float]]:
    items = json.loads(corpus("metric_fixtures/rir_acoustics/expected.json").read_text())["items"]
    return next(item for item in items if item["path"] == path)


def test_surrey_room_a() -> None:
    """Found 0.295 s, 6.30 dB and 16.4 dB. The published RT60 is the room survey's, at 500 Hz and 1 kHz."""
    path = "rir/surrey_room_a/az+000.flac"
    found, wanted = measure(*response(path)), published(path)
    assert found.rt60_s == pytest.approx(wanted["rt60_s"], rel=0.12)
    assert found.drr_db == pytest.approx(wanted["drr_db"], abs=0.5)
    assert found.c50_db == pytest.approx(wanted["c50_db"], abs=0.5)


def test_surrey_room_a_has_one_rt60_in_all_directions() -> None:
    found = [
        measure(*response(f"rir/surrey_room_a/az{a}.flac")).rt60_s for a in ("-090", "-045", "+000", "+045", "+090")
    ]
    assert found == pytest.approx([0.3] * 5, rel=0.03)


# Published octave values were made by Schroeder integration from the start of the file behind third-order Butterworth
# filters, without noise compensation (so made, all of T30 and EDT come out to the third digit). The source's own test
# allows 1.5 units; we ask for more where that method and ours mean the same.


def octaves(path: str, name: str, ours: list[float | None], rate: int) -> dict[float, tuple[float | None, float]]:
    """Ours and the published values by band."""
    item = published(path)
    theirs = dict(zip(item["octave_bands_hz"], item[name], strict=True))
    return {f: (x, theirs[f]) for f, x in zip(octave_bands(rate), ours, strict=True) if f in theirs}


def test_sports_centre() -> None:
    """Published T30 at 125 and 250 Hz is its noise: 7.4 and 8.5 s, with an EDT of 4.7 and 5.9 s. EDT is 27 ms late."""
    path = "rir/sports_centre/ir_sportscentre_omni.flac"
    h, rate = response(path)
    found = measure(h, rate)
    t30 = octaves(path, "t30_s", [b.rt60_s for b in found.bands], rate)
    assert t30.pop(250)[0] is None
    assert t30.pop(125)[0] == pytest.approx(5.6, abs=0.1)
    assert all(ours == pytest.approx(theirs, rel=0.03) for ours, theirs in t30.values())
    early = octaves(path, "edt_s", [b.edt_s for b in found.bands], rate)
    assert all(ours == pytest.approx(theirs, rel=0.05) for ours, theirs in early.values())
    assert found.rt60_s == pytest.approx(5.89, abs=0.01)
    assert found.edt_s == pytest.approx(5.09, abs=0.01)
    assert found.onset_confidence == 1


def test_living_room_by_octaves() -> None:
    """Broadband its noise lies 34 dB down: no T30. Published EDTs below 4 kHz are those of the filters, 2 / centre to
    20 / centre; published C50 is rounded to 1 dB.
    """
    path = "rir/living_room/living_room_1.flac"
    h, rate = response(path)
    found, start = measure(h, rate), onset(h)
    assert found.rt60_s is None
    assert found.edt_s == pytest.approx(0.02, abs=0.02)
    for name, limits in (("t30_s", (-5, -35)), ("t20_s", (-5, -25))):
        times = octaves(path, name, band_decay_times(h, start, rate, limits), rate)
        assert all(ours == pytest.approx(theirs, rel=0.06) for ours, theirs in times.values())
        assert np.mean([ours / theirs for ours, theirs in times.values()]) == pytest.approx(1, abs=0.02)
    early = octaves(path, "edt_s", [b.edt_s for b in found.bands], rate)
    assert all(ours is None or ours < 1.01 * theirs for ours, theirs in early.values())
    assert early[4000][0] == pytest.approx(early[4000][1], abs=0.001)
    assert early[8000][0] == pytest.approx(early[8000][1], abs=0.003)
    c50 = octaves(path, "c50_db", [b.c50_db for b in found.bands], rate)
    assert all(ours == pytest.approx(theirs, abs=2) for ours, theirs in c50.values())
    c80 = octaves(path, "c80_db", band_clarity_db(h, start, rate, early_ms=80), rate)
    assert all(ours == pytest.approx(theirs, abs=0.7) for ours, theirs in c80.values())


def test_a_room_heard_through_a_door_has_no_sure_onset() -> None:
    assert measure(*response("rir/house_bedroom/living-bedroom.flac")).onset_confidence == 0
    assert measure(*response("rir/warehouse/omni-8-14.flac")).onset_confidence == 1
    anechoic = measure(*response("rir/surrey_anechoic/az+000.flac"))
    assert anechoic.onset_confidence == 1
    assert all(b.rt60_s is None and b.edt_s is None for b in anechoic.bands)
