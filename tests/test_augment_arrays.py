"""Witnesses: distances and angles on paper; scipy's Rotation; rigid motion, tolerance and order as properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from augment import arrays, rooms

ANGLE = st.floats(-360, 360)
PRESETS = {
    "mono": arrays.mono(),
    "foa": arrays.foa(),
    "pair": arrays.pair(0.16),
    "linear": arrays.linear(5, 0.03),
    "circular": arrays.circular(6, 0.05),
    "circular with centre": arrays.circular(7, 0.0425, centre=True),
    "tetrahedral": arrays.tetrahedral(),
    "rings": arrays.rings([0.02, 0.05], [3, 5], extra=[(0, 0, 0.1)]),
    "realman": arrays.realman(),
}


def distances(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[:, None] - positions, axis=-1)


# Presets


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_centred_rows_of_three(name: str) -> None:
    positions = PRESETS[name]
    assert positions.shape[1] == 3
    assert positions.dtype == np.float64
    if name not in ("realman", "rings"):  # which have microphones on one side only
        np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-15)


def test_mono_and_foa_lie_in_the_centre() -> None:
    np.testing.assert_array_equal(arrays.mono(), [[0, 0, 0]])
    np.testing.assert_array_equal(arrays.foa(), np.zeros((4, 3)))


def test_a_pair_has_left_first() -> None:
    np.testing.assert_array_equal(arrays.pair(0.16), [[0, 0.08, 0], [0, -0.08, 0]])


def test_a_row_goes_from_left_to_right() -> None:
    np.testing.assert_allclose(arrays.linear(4, 0.05)[:, 1], [0.075, 0.025, -0.025, -0.075], atol=1e-15)
    np.testing.assert_array_equal(arrays.linear(1, 0.05), arrays.mono())


@pytest.mark.parametrize("count", range(1, 9))
def test_a_circle_begins_in_front_and_goes_to_the_left(count: int) -> None:
    positions = arrays.circular(count, 0.05)
    azimuth, elevation = arrays.angles(positions)
    np.testing.assert_allclose(azimuth % 360, np.arange(count) * 360 / count, atol=1e-9)
    np.testing.assert_allclose(elevation, 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(positions, axis=1), 0.05)
    if count > 1:
        assert distances(positions)[0, 1] == pytest.approx(2 * 0.05 * math.sin(math.pi / count))  # the chord


def test_a_centre_microphone_is_the_reference() -> None:
    positions = arrays.circular(6, 0.05, centre=True)
    np.testing.assert_array_equal(positions[0], 0)
    np.testing.assert_array_equal(positions[1:], arrays.circular(6, 0.05))


def test_a_tetrahedron_is_regular() -> None:
    positions = arrays.tetrahedral()
    apart = distances(positions)[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(apart, 0.042 * math.sqrt(8 / 3))  # edge of the tetrahedron in a sphere
    azimuth, elevation = arrays.angles(positions)
    np.testing.assert_allclose(azimuth, [45, -45, 135, -135])
    up = math.degrees(math.atan(1 / math.sqrt(2)))
    np.testing.assert_allclose(elevation, [up, -up, -up, up])
    np.testing.assert_allclose(np.linalg.norm(arrays.tetrahedral(0.1), axis=1), 0.1)


def test_realman_has_its_32_channels_where_they_are_published() -> None:
    positions = arrays.realman()
    assert positions.shape == (32, 3)
    np.testing.assert_array_equal(positions[0], 0)
    for ring, radius_m in enumerate((0.03, 0.06, 0.09)):
        np.testing.assert_allclose(positions[1 + 8 * ring], [radius_m, 0, 0], atol=1e-15)
        np.testing.assert_allclose(positions[3 + 8 * ring], [0, radius_m, 0], atol=1e-15)
        np.testing.assert_allclose(np.linalg.norm(positions[1 + 8 * ring : 9 + 8 * ring], axis=1), radius_m)
    np.testing.assert_array_equal(positions[25:28], [[-0.12, 0, 0], [0.12, 0, 0], [0.15, 0, 0]])
    np.testing.assert_array_equal(positions[28:], [[0, 0, z] for z in (0.09, 0.045, -0.045, -0.09)])
    on_x = np.sort(positions[np.abs(positions[:, 1:]).max(axis=1) < 1e-9, 0])
    np.testing.assert_allclose(on_x, np.arange(-4, 6) * 0.03, atol=1e-12)  # a row of ten, 3 cm apart
    assert distances(positions)[~np.eye(32, dtype=bool)].min() > 0.02


def test_rings_keep_their_order() -> None:
    positions = arrays.rings([0.02, 0.05], [3, 5], centre=True, extra=[(0.1, 0.2, 0.3)])
    np.testing.assert_allclose(np.linalg.norm(positions[:-1], axis=1), [0] + [0.02] * 3 + [0.05] * 5)
    np.testing.assert_array_equal(positions[-1], [0.1, 0.2, 0.3])


def test_coordinates_are_taken_as_they_are() -> None:
    given_m = [[0.1, 0.2, 0.3], [1, 2, 3]]
    np.testing.assert_array_equal(arrays.custom(given_m), given_m)
    source = np.ones((2, 3))
    arrays.custom(source)[0] = 5
    np.testing.assert_array_equal(source, 1)


# Directions


def test_directions_on_paper() -> None:
    np.testing.assert_allclose(
        arrays.direction([0, 90, 180, -90], 0), [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], atol=1e-15
    )
    np.testing.assert_allclose(arrays.direction(30, 90), [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(arrays.direction(45, -30), [math.sqrt(6) / 4, math.sqrt(6) / 4, -0.5])
    assert arrays.direction(np.zeros((2, 1)), np.zeros(3)).shape == (2, 3, 3)


@given(azimuth=st.floats(-179.9, 180), elevation=st.floats(-89, 89), length=st.floats(0.01, 100))
def test_angles_undo_directions_and_agree_with_rooms(azimuth: float, elevation: float, length: float) -> None:
    vector = length * arrays.direction(azimuth, elevation)
    np.testing.assert_allclose(arrays.angles(vector), [azimuth, elevation], atol=1e-9)
    seen = rooms.geometry(source_m=(vector + 1).tolist(), microphone_m=[1, 1, 1])
    assert (seen.azimuth_deg, seen.elevation_deg) == pytest.approx((azimuth, elevation), abs=1e-6)
    assert seen.distance_m == pytest.approx(length)


def test_outward_axes() -> None:
    np.testing.assert_allclose(arrays.outward(arrays.pair(0.16)), [[0, 1, 0], [0, -1, 0]])
    axes = arrays.outward(arrays.tetrahedral())
    np.testing.assert_allclose(arrays.angles(axes), [[45, -45, 135, -135], [0, 0, 0, 0]], atol=1e-9)
    circle = arrays.circular(5, 0.07)
    np.testing.assert_allclose(arrays.outward(circle + np.array([0, 0, 0.3])), circle / 0.07, atol=1e-12)
    with pytest.raises(ValueError, match=r"outward, got \[0.0, 0.0, 0.0\] for microphone 0"):
        arrays.outward(arrays.circular(5, 0.07, centre=True))
    with pytest.raises(ValueError, match=r"got \[0.0, 0.0, 0.09\] for microphone 27"):
        arrays.outward(arrays.realman()[1:])


# Turned and placed


def test_rotations_on_paper() -> None:
    front, left, up = np.eye(3)
    for turned, wanted in [
        (arrays.rotation(yaw_deg=90) @ front, left),
        (arrays.rotation(pitch_deg=90) @ front, -up),
        (arrays.rotation(roll_deg=90) @ left, up),
        (arrays.rotation(yaw_deg=90, pitch_deg=90) @ left, -front),  # pitch about the turned axis leaves "left" alone
        (arrays.rotation(yaw_deg=90, pitch_deg=90) @ up, left),
    ]:
        np.testing.assert_allclose(turned, wanted, atol=1e-15)


@given(yaw=ANGLE, pitch=ANGLE, roll=ANGLE)
def test_rotation_is_orthonormal_and_scipys(yaw: float, pitch: float, roll: float) -> None:
    matrix = arrays.rotation(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_allclose(
        matrix, Rotation.from_euler("ZYX", [yaw, pitch, roll], degrees=True).as_matrix(), atol=1e-12
    )


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(PRESETS)), yaw=ANGLE, pitch=ANGLE, roll=ANGLE, x=st.floats(0, 30), z=st.floats(0, 5))
def test_placement_is_rigid_to_rounding(name: str, yaw: float, pitch: float, roll: float, x: float, z: float) -> None:
    positions = PRESETS[name]
    matrix = arrays.rotation(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
    there = arrays.placed(positions, (x, 1, z), matrix)
    np.testing.assert_array_equal(there, np.round(there, 4))
    np.testing.assert_allclose(distances(there), distances(positions), atol=1e-4 * math.sqrt(3))
    np.testing.assert_allclose(there, [matrix @ p + [x, 1, z] for p in positions], atol=0.51e-4)


def test_placed_without_rotation() -> None:
    there = arrays.placed(arrays.pair(0.16), (2, 3, 1.50004))
    np.testing.assert_array_equal(there, [[2, 3.08, 1.5], [2, 2.92, 1.5]])
    assert "-0." not in str(arrays.placed(arrays.pair(0.16), (-1e-9, 0.08, -0.0)).tolist())


# Disturbed and thinned out


def test_jitter_fills_a_ball_and_never_leaves_it() -> None:
    moved = arrays.jittered(np.tile([[1.0, 2.0, 3.0]], (20000, 1)), np.random.default_rng(1), 0.002) - [1, 2, 3]
    radius = np.linalg.norm(moved, axis=1) / 0.002
    assert radius.max() <= 1 + 1e-9
    np.testing.assert_allclose([np.mean(radius < r) for r in (0.25, 0.5, 0.75)], [0.25**3, 0.5**3, 0.75**3], atol=0.01)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=0.002 * 0.02)
    np.testing.assert_allclose(np.cov(moved.T) / 0.002**2, np.eye(3) / 5, atol=0.01)  # variance r^2 / 5 along each axis


def test_jitter_moves_the_reference_and_leaves_its_input_alone() -> None:
    positions = arrays.pair(0.16)
    moved = arrays.jittered(positions, np.random.default_rng(2), 0.001)
    assert (moved != positions).any(axis=1).all()
    np.testing.assert_array_equal(positions, arrays.pair(0.16))
    np.testing.assert_array_equal(arrays.jittered(positions, np.random.default_rng(2), 0.0), positions)


@given(seed=st.integers(0, 99), count=st.integers(2, 32), first=st.integers(0, 31))
def test_subsets_keep_what_must_stay(seed: int, count: int, first: int) -> None:
    always = (first, (first + 5) % 32)
    channels = arrays.subset(np.random.default_rng(seed), 32, count, always)
    assert tuple(channels[:2]) == always
    assert len(set(channels)) == count
    assert channels[2:] == sorted(channels[2:])
    assert set(channels) <= set(range(32))
    assert all(type(channel) is int for channel in channels)
    assert arrays.subset(np.random.default_rng(seed), 32, count)[0] == 0


def test_subsets_draw_every_channel_alike() -> None:
    rng = np.random.default_rng(3)
    drawn = np.concatenate([arrays.subset(rng, 8, 4)[1:] for _ in range(2000)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=8)[1:] / 2000, 3 / 7, atol=0.05)
    assert arrays.subset(rng, 8, 8) == list(range(8))
    assert arrays.subset(rng, 1, 1) == [0]
    assert len(arrays.subset(rng, 8, 3, ())) == 3


def test_aperture() -> None:
    assert arrays.aperture_m(arrays.mono()) == 0
    assert arrays.aperture_m(arrays.linear(5, 0.03)) == pytest.approx(0.12)
    assert arrays.aperture_m(arrays.circular(8, 0.1)) == pytest.approx(0.2)
    assert arrays.aperture_m(arrays.realman()) == pytest.approx(0.27)


# Bad input


def test_bad_input_is_named() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        arrays.circular(0, 0.1)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        arrays.linear(0, 0.1)
    with pytest.raises(ValueError, match="spacing_m must be positive and finite, got 0"):
        arrays.pair(0)
    with pytest.raises(ValueError, match="radius_m must be positive and finite, got nan"):
        arrays.tetrahedral(math.nan)
    with pytest.raises(ValueError, match="radii_m and counts must be equally many, got 2 and 1"):
        arrays.rings([0.1, 0.2], [4])
    with pytest.raises(ValueError, match=r"shape \(microphones, 3\) and not be empty, got \(0,\)"):
        arrays.custom([])
    with pytest.raises(ValueError, match=r"shape \(microphones, 3\) .* got \(1, 2\)"):
        arrays.custom([[1, 2]])
    with pytest.raises(ValueError, match="positions_m must be finite"):
        arrays.custom([[1, 2, math.inf]])
    with pytest.raises(ValueError, match="vectors must not be zero"):
        arrays.angles([[1, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="jitter_m must not be negative, nor infinite, got -1"):
        arrays.jittered(arrays.mono(), rng, -1)
    with pytest.raises(ValueError, match=r"always must name different channels below 2, got \[2\]"):
        arrays.subset(rng, 2, 1, [2])
    with pytest.raises(ValueError, match=r"always must name different channels below 2, got \[0, 0\]"):
        arrays.subset(rng, 2, 2, [0, 0])
    with pytest.raises(ValueError, match=r"count must lie in \[1, 2\], got 3"):
        arrays.subset(rng, 2, 3)
    with pytest.raises(ValueError, match=r"count must lie in \[2, 2\], got 1"):
        arrays.subset(rng, 2, 1, [0, 1])
