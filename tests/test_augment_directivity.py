"""Witnesses: gains on paper, scipy's spherical harmonics and pyroomacoustics' patterns, properties of cosines."""

from __future__ import annotations

import math

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import lpmv

from augment import directivity
from augment.directivity import FIRST_ORDER_AMBISONICS, OMNI, OMNI_SHARES, Pattern, aimed

azimuths = st.floats(-180, 180)
elevations = st.floats(-90, 90)


def direction(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    return np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )


@pytest.mark.parametrize(
    ("name", "front", "side", "back"),
    [
        ("omni", 1, 1, 1),
        ("subcardioid", 1, 0.75, 0.5),
        ("cardioid", 1, 0.5, 0),
        ("hypercardioid", 1, 0.25, -0.5),
        ("figure_eight", 1, 0, -1),
    ],
)
def test_gains_on_paper(name: str, front: float, side: float, back: float) -> None:
    pattern = aimed(name, azimuth_deg=90)  # towards y
    towards = np.array([[0, 3.0, 0], [0.1, 0, 0], [0, 0, -2.0], [0, -1.0, 0]])
    np.testing.assert_allclose(pattern.gain(towards), [front, side, side, back], atol=1e-12)


def test_angles_on_paper() -> None:
    """Azimuth counter-clockwise from x, elevation upwards."""
    assert aimed("cardioid").axis == pytest.approx((1, 0, 0))
    assert directivity.cardioid(azimuth_deg=-90).axis == pytest.approx((0, -1, 0), abs=1e-12)
    assert directivity.hypercardioid(elevation_deg=90).axis == pytest.approx((0, 0, 1), abs=1e-12)
    up = directivity.subcardioid(azimuth_deg=45, elevation_deg=30)
    assert up.axis == pytest.approx((math.sqrt(3 / 8), math.sqrt(3 / 8), 0.5))
    assert [p(azimuth_deg=5).omni for p in (directivity.cardioid, directivity.figure_eight)] == [0.5, 0.0]
    assert directivity.hypercardioid().omni, directivity.subcardioid().omni == (0.25, 0.75)


@settings(max_examples=30)
@given(azimuth=azimuths, elevation=elevations)
def test_ambisonics_are_spherical_harmonics(azimuth: float, elevation: float) -> None:
    """W, Y, Z, X: Legendre functions of the elevation, without their sign (-1)^m; the factors of SN3D are 1 here."""
    height, around = math.sin(math.radians(elevation)), math.radians(azimuth)
    level = -lpmv(1, 1, height)
    ours = [float(p.gain(direction(azimuth, elevation))) for p in FIRST_ORDER_AMBISONICS]
    theirs = [lpmv(0, 0, height), level * math.sin(around), lpmv(0, 1, height), level * math.cos(around)]
    assert ours == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(OMNI_SHARES)), azimuth=azimuths, elevation=elevations, other=azimuths, height=elevations
)
def test_gains_are_those_of_pyroomacoustics(
    name: str, azimuth: float, elevation: float, other: float, height: float
) -> None:
    axis = pra.directivities.DirectionVector(azimuth=azimuth, colatitude=90 - elevation, degrees=True)
    theirs = pra.directivities.CardioidFamily(orientation=axis, p=OMNI_SHARES[name])
    towards = direction(other, height)
    ours = aimed(name, azimuth_deg=azimuth, elevation_deg=elevation).gain(towards)
    colatitude = np.array([math.radians(90 - height)])
    (expected,) = theirs.get_response(np.array([math.radians(other)]), colatitude, magnitude=False, degrees=False)
    assert float(ours) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30)
@given(omni=st.floats(0, 1), azimuth=azimuths, elevation=elevations, far=st.floats(0.1, 100))
def test_opposite_gains_add_up_to_twice_omni_and_distance_does_not_matter(
    omni: float, azimuth: float, elevation: float, far: float
) -> None:
    pattern = Pattern(omni, (0.6, 0.0, 0.8))
    towards = direction(azimuth, elevation)
    assert pattern.gain(towards) + pattern.gain(-far * towards) == pytest.approx(2 * omni, abs=1e-12)


def test_omni_hears_the_same_from_everywhere() -> None:
    assert Pattern(1.0) == OMNI
    np.testing.assert_array_equal(OMNI.gain(np.random.default_rng(0).standard_normal((4, 5, 3))), np.ones((4, 5)))


@pytest.mark.parametrize(
    ("omni", "axis", "message"),
    [
        (1.1, (1, 0, 0), "omni must be between 0 and 1, got 1.1"),
        (math.nan, (1, 0, 0), "omni must be between 0 and 1, got nan"),
        (0.5, (1, 1, 0), r"axis must have three components and length 1, got \(1, 1, 0\)"),
        (0.5, (1, 0), "axis must have three components"),
        (0.5, (math.nan, 0, 0), "axis must have three components"),
    ],
)
def test_bad_patterns_are_named(omni: float, axis: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pattern(omni, axis)


def test_unknown_patterns_are_named() -> None:
    with pytest.raises(ValueError, match=r"the pattern must be one of omni, subcardioid, .*, got 'shotgun'"):
        aimed("shotgun")
