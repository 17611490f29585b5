"""Witnesses: circles, straight lines and levels on paper; mirrored tracks, float64 sums and dense tracks; sums to 1."""

from __future__ import annotations

import csv
import itertools
import math
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, fftconvolve, sosfiltfilt

from augment import motion
from augment.convolve import convolve
from augment.images import SPEED_OF_SOUND, impulse_responses
from augment.rooms import geometry

RATE = 16000
SIZE_M = (5.2, 4.1, 2.9)
MICROPHONE_M = (2.1, 1.7, 1.3)
START_M, END_M = (0.9, 3.1, 1.6), (1.8, 2.6, 1.65)
ABSORPTION, ORDER, TAPS = 0.3, 12, 3000


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def speech_like(samples: int) -> np.ndarray:
    """Noise that falls by 6 dB per octave from 500 Hz and swells four times a second."""
    spectrum = np.fft.rfft(noise(0, samples))
    spectrum /= 1 + np.fft.rfftfreq(samples, 1 / RATE) / 500
    swell = 1 + np.sin(2 * np.pi * 4 * np.arange(samples) / RATE)
    return (np.fft.irfft(spectrum, samples) * swell).astype(np.float32)


def reflections(track: np.ndarray, order: int, microphones_m: Sequence = (MICROPHONE_M,)) -> Iterator[np.ndarray]:
    """Responses (microphones, taps) without the direct path."""
    for source in track:
        yield impulse_responses(
            size_m=SIZE_M,
            absorption=[[ABSORPTION] * 6],
            source_m=source.tolist(),
            microphones_m=microphones_m,
            sample_rate=RATE,
            max_order=order,
            with_direct=False,
        )[:, :TAPS]


def moved(dry: np.ndarray, step_m: float, microphones_m: Sequence = (MICROPHONE_M,)) -> np.ndarray:
    track = motion.line(START_M, END_M, step_m=step_m)
    responses = reflections(track, ORDER, microphones_m)
    return motion.moving_image(dry, responses, points=len(track), length=dry.size + TAPS)


def crossfaded(dry: np.ndarray, step_m: float, microphones_m: Sequence = (MICROPHONE_M,)) -> np.ndarray:
    """What this module does better: triangular windows over two neighbours."""
    track = motion.line(START_M, END_M, step_m=step_m)
    place = np.arange(dry.size) * (len(track) - 1) / (dry.size - 1)
    out = np.zeros((len(microphones_m), dry.size + TAPS))
    for k, response in enumerate(reflections(track, ORDER, microphones_m)):
        window = np.maximum(0, 1 - np.abs(place - k))
        out[:, :-1] += fftconvolve((dry * window)[np.newaxis], response, axes=1)
    return out


def error_db(found: np.ndarray, exact: np.ndarray) -> float:
    return 10 * math.log10(np.sum((found - exact) ** 2) / np.sum(exact.astype(np.float64) ** 2))


def steps(track: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(track, axis=0), axis=1)


# Tracks


def test_a_line_on_paper() -> None:
    track = motion.line((0, 0, 1), (3, 4, 1), step_m=0.05)
    assert track.shape == (101, 3)
    np.testing.assert_allclose(track[40], (1.2, 1.6, 1))
    np.testing.assert_allclose(steps(track), 0.05)
    assert motion.speed_m_s(track, 4.0) == pytest.approx(1.25)
    assert motion.line((1, 1, 1), (1, 1, 1)).shape == (2, 3)


def test_an_arc_on_paper() -> None:
    track = motion.arc(centre_m=(2, 3, 1.5), radius_m=1.2, start_deg=90, sweep_deg=-180)
    np.testing.assert_allclose(track[0], (2, 4.2, 1.5), atol=1e-12)
    np.testing.assert_allclose(track[len(track) // 2], (3.2, 3, 1.5), atol=0.02)
    np.testing.assert_allclose(track[-1], (2, 1.8, 1.5), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(track - (2, 3, 1.5), axis=1), 1.2)
    assert motion.speed_m_s(track, 2.0) == pytest.approx(1.2 * math.pi / 2, rel=1e-4)
    assert steps(track).max() <= motion.STEP_M


def test_three_points_in_a_row_are_a_line() -> None:
    track = motion.waypoints([(1, 1, 1), (2, 1.5, 1.2), (4, 2.5, 1.6)], step_m=0.05)
    np.testing.assert_allclose(track, motion.line((1, 1, 1), (4, 2.5, 1.6), step_m=0.05), atol=1e-5)


def test_a_right_angle_is_passed_at_45_degrees() -> None:
    """Spans are roots of distances, 1 and 2; slopes (1, 0) and (0, 2); so the tangent (2 (1, 0) + 1 (0, 2)) / 3."""
    track = motion.waypoints([(0, 0, 1), (1, 0, 1), (1, 4, 1)], margin_m=2, step_m=0.002)
    corner = np.argmin(np.linalg.norm(track - (1, 0, 1), axis=1))
    x, y, _ = track[corner + 1] - track[corner - 1]
    assert math.degrees(math.atan2(y, x)) == pytest.approx(45, abs=1)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 6), margin_m=st.sampled_from([0.0, 0.2]))
def test_way_points_are_passed_within_the_margin(seed: int, count: int, margin_m: float) -> None:
    points = np.random.default_rng(seed).uniform(0.5, (5, 4, 2), (count, 3))
    track = motion.waypoints(points, margin_m=margin_m)
    assert steps(track).max() <= motion.STEP_M * (1 + 1e-4)
    assert (track >= points.min(axis=0) - margin_m - 1e-9).all()
    assert (track <= points.max(axis=0) + margin_m + 1e-9).all()
    for point in points:
        assert np.linalg.norm(track - point, axis=1).min() <= 0.51 * motion.STEP_M
    np.testing.assert_allclose(track[[0, -1]], points[[0, -1]], atol=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_a_walk_is_smooth_and_even(seed: int) -> None:
    """Way-points a metre apart, up to half a metre to the left or right: no step turns by 10 degrees."""
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (5, 3)) * (0.3, 1, 0.1) + np.arange(5)[:, np.newaxis] * (
        1,
        0,
        0,
    )
    track = motion.waypoints(points)
    np.testing.assert_allclose(steps(track), steps(track).mean(), rtol=5e-3)
    turns = np.sum(np.diff(track[:-1], axis=0) * np.diff(track[1:], axis=0), axis=1) / steps(track).mean() ** 2
    assert turns.min() > math.cos(math.radians(10))


def test_sway_on_paper() -> None:
    track = motion.sway(
        motion.line((1, 1, 1), (3, 1, 1)), amplitude_m=(0, 0.1, 0.02), cycles=(0, 3, 1), phase_rad=(0, 0, math.pi / 2)
    )
    u = np.linspace(0, 1, len(track))
    np.testing.assert_allclose(track[:, 0], 1 + 2 * u)
    np.testing.assert_allclose(track[:, 1], 1 + 0.1 * np.sin(6 * np.pi * u), atol=1e-12)
    np.testing.assert_allclose(track[:, 2], 1 + 0.02 * np.cos(2 * np.pi * u), atol=1e-12)
    assert steps(track).max() <= motion.STEP_M


def test_a_walk_turns_round_on_paper() -> None:
    """An L of 3 m, to its end, back, and once more 1 m on: 7 m at 2 m/s."""
    track = motion.walk(np.array([[0, 0, 1], [2, 0, 1], [2, 1, 1]]), speed_m_s=2, seconds=3.5, step_m=0.5)
    xs = [0, 0.5, 1, 1.5, 2, 2, 2, 2, 2, 1.5, 1, 0.5, 0, 0.5, 1]
    ys = [0, 0, 0, 0, 0, 0.5, 1, 0.5, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(track, np.column_stack([xs, ys, np.ones(15)]), atol=1e-12)
    assert motion.speed_m_s(track, 3.5) == pytest.approx(2)
    assert motion.walk(track, speed_m_s=0, seconds=1).tolist() == [[0, 0, 1], [0, 0, 1]]
    assert motion.walk(track[:1], speed_m_s=1, seconds=0.03).tolist() == [[0, 0, 1]] * 3


def test_positions_between_points() -> None:
    track = np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0]])
    found = motion.position_at(track, 101, np.array([-5, 0, 25, 50, 75, 100, 200]))
    assert found.tolist() == [[0, 0, 0], [0, 0, 0], [0.5, 0, 0], [1, 0, 0], [1, 1, 0], [1, 2, 0], [1, 2, 0]]


@pytest.mark.parametrize(("rate_hz", "rotation_deg"), [(10.0, (0, 0, 0)), (62.5, (70, 20, -10))])
def test_labels_are_the_geometry_within_a_degree(rate_hz: float, rotation_deg: tuple[float, float, float]) -> None:
    """Against the true circle at the centres of the frames, from a point 0.4 m off its middle."""
    frames, origin = 3 * RATE + 100, (2.0, 1.6, 1.2)
    track = motion.arc(centre_m=(2, 2, 1.6), radius_m=0.9, start_deg=-30, sweep_deg=300, step_m=0.05)
    found = motion.labels(track, frames, sample_rate=RATE, origin_m=origin, rate_hz=rate_hz, rotation_deg=rotation_deg)
    assert len(found.azimuth_deg) == math.ceil(frames / RATE * rate_hz)
    for k, (azimuth, elevation, distance) in enumerate(zip(*found, strict=True)):
        angle = math.radians(-30 + 300 * min(1, (k + 0.5) / rate_hz * RATE / (frames - 1)))
        source = (2 + 0.9 * math.cos(angle), 2 + 0.9 * math.sin(angle), 1.6)
        true = geometry(source_m=source, microphone_m=origin, rotation_deg=rotation_deg)
        assert abs((azimuth - true.azimuth_deg + 180) % 360 - 180) < 0.2
        assert abs(elevation - true.elevation_deg) < 0.2
        assert abs(distance - true.distance_m) < 1e-3


# The direct path


@pytest.mark.parametrize("speed", [-20.0, -1.0, 1.0, 20.0])
def test_doppler_shift_and_level_on_paper(speed: float) -> None:
    """A source that moves at `speed` away along a line through the microphone: the sine of the emission, in closed
    form, with gain 1 / (4 pi d (1 + v / c)).
    """
    n = np.arange(RATE)
    near = 1.0 if speed > 0 else 1.0 - speed
    track = motion.line((0, 0, 0), (speed, 0, 0))  # in one second and a sample
    speed *= RATE / (RATE - 1)
    dry = np.sin(2 * np.pi * 1000 / RATE * n).astype(np.float32)
    found = motion.moving_direct(dry, track, [(-near, 0, 0)], sample_rate=RATE, length=RATE)[0]
    leaves = (n / RATE - near / SPEED_OF_SOUND) / (1 + speed / SPEED_OF_SOUND)
    distance = near + speed * leaves
    exact = np.sin(2 * np.pi * 1000 * leaves) / (4 * np.pi * distance * (1 + speed / SPEED_OF_SOUND))
    inside = (leaves > 0.01) & (leaves < 0.98)
    assert inside.sum() > 0.85 * RATE
    assert error_db(found[inside], exact[inside]) < -120


def test_the_first_reflections_are_direct_paths_of_mirrored_tracks() -> None:
    """An exact image, by delay lines, against interpolated responses. The signal ends below 7 kHz: neither the spatial
    step of 2 cm nor the filters of the responses reach further.
    """
    dry = sosfiltfilt(butter(8, 6000, fs=RATE, output="sos"), speech_like(RATE)).astype(np.float32)
    track = motion.line(START_M, END_M, step_m=0.02)
    found = motion.moving_image(dry, reflections(track, 1), points=len(track), length=RATE + 1000)[0]
    exact = np.zeros(RATE + 1000)
    for axis, wall in itertools.product(range(3), (0, 1)):
        mirrored = track.copy()
        mirrored[:, axis] = 2 * wall * SIZE_M[axis] - mirrored[:, axis]
        gains = np.full((1, len(track)), math.sqrt(1 - ABSORPTION))
        exact += motion.moving_direct(dry, mirrored, [MICROPHONE_M], sample_rate=RATE, length=RATE + 1000, gains=gains)[
            0
        ]
    assert error_db(found, exact) < -50


def test_gains_follow_the_track() -> None:
    dry = noise(1, RATE)
    track = motion.line((1, 0, 0), (1, 1, 0), step_m=0.1)
    gains = np.stack([np.ones(11), np.linspace(1, 0, 11)])
    whole, faded = motion.moving_direct(dry, track, [(0, 0, 0), (0, 0, 0)], sample_rate=RATE, length=RATE, gains=gains)
    delay = math.hypot(1, 0.5) / SPEED_OF_SOUND * RATE
    middle = slice(RATE // 2 + round(delay) - 10, RATE // 2 + round(delay) + 10)
    np.testing.assert_allclose(faded[middle], 0.5 * whole[middle], rtol=2e-3)
    np.testing.assert_array_equal(
        whole, motion.moving_direct(dry, track, [(0, 0, 0)], sample_rate=RATE, length=RATE)[0]
    )


# The image, against other implementations


@pytest.mark.parametrize(("points", "frames"), [(1, 500), (2, 500), (5, 900), (8, 900), (9, 1000), (37, 3000)])
def test_matches_a_float64_sum(points: int, frames: int) -> None:
    """The windows, read off unit responses one by one, times x, convolved, added."""
    x, length = noise(2, frames), frames + 250
    responses = noise(3, points, 2, 200)
    units = np.eye(points, dtype=np.float32)[:, :, np.newaxis]
    windows = motion.moving_image(np.ones(frames, np.float32), units, points=points, length=frames)
    exact = np.zeros((2, length))
    for window, response in zip(windows.astype(np.float64), responses, strict=True):
        exact[:, : frames + 199] += fftconvolve((x * window)[np.newaxis], response, axes=1)
    found = motion.moving_image(x, list(responses), points=points, length=length)
    assert found.dtype == np.float32
    assert error_db(found, exact) < -115
    np.testing.assert_allclose(windows.sum(axis=0), 1, atol=2e-6)
    at = np.linspace(0, frames - 1, points)
    for k, n in enumerate(at):
        if n == int(n):
            np.testing.assert_allclose(windows[:, int(n)], units[k, :, 0], atol=2e-6)


@pytest.mark.parametrize(("band", "limit_db"), [(0.05, -60), (0.2, -55), (0.3, -50), (0.38, -39)])
def test_windows_interpolate_what_turns_by_less_than_04_cycles_a_step(band: float, limit_db: float) -> None:
    points, frames = 41, 8001
    k, place = np.arange(points), np.linspace(0, points - 1, frames)
    turning = np.exp(2j * np.pi * band * k)
    responses = np.stack([turning.real, turning.imag], axis=1).astype(np.float32)[:, :, np.newaxis]
    found = motion.moving_image(np.ones(frames, np.float32), responses, points=points, length=frames)
    error = np.abs(found[0] + 1j * found[1] - np.exp(2j * np.pi * band * place)) ** 2
    assert 10 * math.log10(error[1000:-1000].mean()) < limit_db
    assert 10 * math.log10(error.mean()) < limit_db + 8  # the ends have neighbours on one side only


@pytest.fixture(scope="module")
def dense() -> tuple[np.ndarray, np.ndarray]:
    """A second of speech-like sound at 1 m/s, and its image from points each 2 mm."""
    dry = speech_like(RATE)
    return dry, moved(dry, 0.002)


@pytest.mark.parametrize(("step_m", "limit_db"), [(0.05, -20), (0.02, -50), (0.01, -70)])
def test_error_against_a_ten_times_denser_track(
    dense: tuple[np.ndarray, np.ndarray], step_m: float, limit_db: float
) -> None:
    dry, exact = dense
    found = error_db(moved(dry, step_m), exact)
    assert found < limit_db


def test_better_than_a_crossfade(dense: tuple[np.ndarray, np.ndarray]) -> None:
    dry, exact = dense
    assert error_db(moved(dry, 0.02), exact) < error_db(crossfaded(dry, 0.02), exact) - 15


def test_power_where_responses_are_unrelated() -> None:
    """White noise above 5 kHz and points each 5 cm: a cross-fade loses about 1.8 dB."""
    dry = sosfiltfilt(butter(6, 5000, "highpass", fs=RATE, output="sos"), noise(7, RATE)).astype(np.float32)
    microphones = [(2.1 + 0.3 * k, 1.0 + 0.2 * k, 1.3) for k in range(6)]
    exact, found, faded = (
        10 * math.log10(np.sum(image**2))
        for image in (
            moved(dry, 0.01, microphones),
            moved(dry, 0.05, microphones),
            crossfaded(dry, 0.05, microphones),
        )
    )
    assert abs(found - exact) < 0.7
    assert -2.5 < faded - exact < -0.9


# No clicks


@pytest.mark.parametrize(("tone", "limit_db"), [(500.0, -75), (2000.0, -68), (5000.0, -60)])
def test_a_tone_stays_a_tone(tone: float, limit_db: float) -> None:
    """Reflections of a moving tone lie within f v / c of it. Windows could add sidebands each 50 Hz, and a cross-fade
    does: -67, -42 and -26 dB. A click would show in the second difference.
    """
    dry = np.sin(2 * np.pi * tone / RATE * np.arange(RATE)).astype(np.float32)
    y = moved(dry, 0.02)[0, 3000:RATE]
    spectrum = np.abs(np.fft.rfft(y * np.blackman(y.size))) ** 2
    off = np.abs(np.fft.rfftfreq(y.size, 1 / RATE) - tone) > tone / SPEED_OF_SOUND + 10
    assert 10 * math.log10(spectrum[off].sum() / spectrum.sum()) < limit_db
    bend = (2 * math.sin(math.pi * tone / RATE)) ** 2
    assert np.abs(np.diff(y, 2)).max() < 1.1 * bend * np.abs(y).max()


def test_real_speech_has_no_clicks(corpus: Path) -> None:
    """The worst sample of the error against a dense track stays 40 dB below the peak, as no click would."""
    with (corpus / "index.csv").open(newline="", encoding="utf-8") as file:
        row = next(r for r in csv.DictReader(file) if r["kind"] == "speech" and r["sample_rate"] == str(RATE))
    dry = soundfile.read(corpus / row["path"], dtype="float32", start=RATE // 2, frames=RATE)[0]
    exact, found = moved(dry, 0.005), moved(dry, 0.02)
    assert np.abs(exact).max() > 0
    assert np.abs(found - exact).max() < 0.01 * np.abs(exact).max()
    assert error_db(found, exact) < -40


# Properties


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    points=st.integers(1, 60),
    frames=st.integers(1, 3000),
    taps=st.integers(1, 400),
    length=st.integers(1, 4000),
)
def test_a_source_that_stands_is_a_convolution(seed: int, points: int, frames: int, taps: int, length: int) -> None:
    x, response = noise(seed, frames), noise(seed + 1, 1, taps)
    found = motion.moving_image(x, itertools.repeat(response, points), points=points, length=length)
    exact = convolve(x, response, length=length)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-5 * math.sqrt(taps) * 3)


def test_bytes_of_a_channel_are_its_own() -> None:
    x, responses = noise(4, 4000), noise(5, 19, 3, 700)
    whole = motion.moving_image(x, (h for h in responses), points=19, length=4500)
    np.testing.assert_array_equal(whole, motion.moving_image(x, list(responses), points=19, length=4500))
    np.testing.assert_array_equal(whole[1:2], motion.moving_image(x, responses[:, 1:2], points=19, length=4500))
    uneven = [h[:, : 700 - 10 * k] for k, h in enumerate(responses)]
    padded = [np.pad(h, ((0, 0), (0, 700 - h.shape[1]))) for h in uneven]
    np.testing.assert_allclose(
        motion.moving_image(x, uneven, points=19, length=4500),
        motion.moving_image(x, padded, points=19, length=4500),
        atol=1e-4,
    )


def test_an_iterator_is_read_as_it_is_used() -> None:
    """No more than 16 responses are alive: a batch, and the next while it is read."""
    made: list[weakref.ref[np.ndarray]] = []
    most = 0

    def supply() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(60):
            response = np.ones((1, 1), np.float32)
            made.append(weakref.ref(response))
            most = max(most, sum(one() is not None for one in made))
            yield response
            del response

    motion.moving_image(np.ones(400, np.float32), supply(), points=60, length=400)
    assert len(made) == 60
    assert most <= 17


# Failures


def test_bad_input_is_named() -> None:
    x, h = noise(6, 100), np.ones((1, 5), np.float32)
    for count in (1, 2, 4, 11):
        with pytest.raises(ValueError, match="responses must be 3, one per point"):
            motion.moving_image(x, [h] * count, points=3, length=10)
    with pytest.raises(ValueError, match=r"responses must have shape \(1, taps\), got \(2, 5\) at point 9"):
        motion.moving_image(x, [h] * 9 + [np.ones((2, 5), np.float32)], points=10, length=10)
    with pytest.raises(ValueError, match=r"dry must have shape \(samples,\)"):
        motion.moving_image(h, [h], points=1, length=10)
    with pytest.raises(ValueError, match="points and length must be at least 1"):
        motion.moving_image(x, [], points=0, length=10)
    with pytest.raises(ValueError, match="must not go through a microphone"):
        motion.moving_direct(x, np.zeros((2, 3)), [(0, 0, 0)], sample_rate=RATE, length=10)
    with pytest.raises(ValueError, match="slower than sound"):
        motion.moving_direct(x, motion.line((9, 0, 0), (1, 0, 0)), [(0, 0, 0)], sample_rate=RATE, length=10)
    with pytest.raises(ValueError, match=r"gains must be .* \(1, 2\)"):
        motion.moving_direct(x, np.ones((2, 3)), [(0, 0, 0)], sample_rate=RATE, length=9, gains=np.ones((1, 3)))
    with pytest.raises(ValueError, match="start_m must be three finite numbers"):
        motion.line((0, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="step_m must be positive, got 0"):
        motion.line((0, 0, 0), (1, 1, 1), step_m=0)
    with pytest.raises(ValueError, match="radius_m must be finite and not negative, got -1"):
        motion.arc(centre_m=(0, 0, 0), radius_m=-1, start_deg=0, sweep_deg=1)
    with pytest.raises(ValueError, match="points_m must be two or more"):
        motion.waypoints([(0, 0, 0)])
    with pytest.raises(ValueError, match="points_m must differ"):
        motion.waypoints([(0, 0, 0), (0, 0, 0)])
    with pytest.raises(ValueError, match="margin_m must be finite and not negative"):
        motion.waypoints([(0, 0, 0), (1, 0, 0)], margin_m=-0.1)
    with pytest.raises(ValueError, match="seconds must be positive"):
        motion.speed_m_s(np.zeros((2, 3)), 0)
    with pytest.raises(ValueError, match="seconds be positive, got 1 and 0"):
        motion.walk(np.zeros((2, 3)), speed_m_s=1, seconds=0)
    with pytest.raises(ValueError, match="rate_hz must be positive"):
        motion.labels(np.zeros((2, 3)), 100, sample_rate=RATE, origin_m=(1, 1, 1), rate_hz=0)
    with pytest.raises(ValueError, match="track must be finite positions"):
        motion.position_at(np.zeros((2, 2)), 100, np.zeros(1))
