"""Witnesses: decays of known T60, ratios by hand, published rooms; pyroomacoustics; gain and delay as properties."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroomacoustics.experimental import measure_rt60

from augment import acoustics
from augment.acoustics import c50_db, direct_window, drr_db, early_stop, edt, energy_decay, measure, onset, rt60

RATE = 16000


def decay(rt60_s: float, seconds: float, rate: int = RATE, seed: int | None = None) -> np.ndarray:
    """Amplitude 10^(-3 t / T60): alternating signs, or Gaussian noise under that envelope."""
    n = np.arange(round(seconds * rate))
    carrier = (-1.0) ** n if seed is None else np.random.default_rng(seed).standard_normal(n.size)
    return (carrier * 10 ** (-3 * n / rate / rt60_s)).astype(np.float32)


# Onset and windows


def test_onset_on_paper() -> None:
    h = np.array([0, 0.05, -0.11, 1, 0.5], np.float32)
    assert onset(h) == 2  # a tenth of the largest, whatever its sign
    assert onset(-h) == 2
    assert onset(h, expected=2.6) == 3
    assert onset(np.stack([h, h[::-1]])) == 2  # channel 0
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
    assert measure(h, RATE) == acoustics.Acoustics(onset_samples=100, rt60_s=None, edt_s=None, drr_db=None, c50_db=None)


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


def test_sports_centre() -> None:
    """Broadband T30 5.9 s and EDT 5.1 s lie within the published octave bands from 125 Hz to 4 kHz."""
    path = "rir/sports_centre/ir_sportscentre_omni.flac"
    found, wanted = measure(*response(path)), published(path)
    assert found.rt60_s is not None
    assert found.edt_s is not None
    assert min(wanted["t30_s"]) < found.rt60_s < max(wanted["t30_s"])
    assert min(wanted["edt_s"]) < found.edt_s < max(wanted["edt_s"])


def test_living_room_has_no_range() -> None:
    """Its noise lies 34 dB down: the band values published for it are no witness, and T30 is undefined."""
    found = measure(*response("rir/living_room/living_room_1.flac"))
    assert found.rt60_s is None
    assert found.edt_s == pytest.approx(0.02, abs=0.02)  # above 1 kHz 0.01 to 0.04 s
