"""Witnesses: the tables of ISO 9613, Sabine's and Eyring's formulas by hand, pyroomacoustics' tables; properties."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment import materials
from augment.materials import OCTAVES, SHOEBOX_WALLS

SIZE = (6.0, 5.0, 3.0)
SURFACE = 2 * (30 + 15 + 18)
VOLUME = 90.0


# ------------------------------------------------------------------------------------------------------- materials


def test_a_name_is_what_pyroomacoustics_lists() -> None:
    assert materials.absorption("brickwork") == pra.materials_absorption_table["brickwork"]["coeffs"]
    assert materials.names() == sorted(pra.materials_absorption_table)


@pytest.mark.parametrize("name", materials.names())
def test_every_named_material_absorbs_something_and_reflects_something_in_every_band(name: str) -> None:
    values = materials.absorption(name)
    assert len(values) == 7
    assert all(0.01 <= a <= 0.99 for a in values)


def test_the_list_ends_at_4_khz_for_some_and_then_8_khz_is_like_4_khz() -> None:
    name = next(n for n, m in pra.materials_absorption_table.items() if len(m["coeffs"]) == 6)
    values = materials.absorption(name)
    assert values[:6] == pytest.approx(np.clip(pra.materials_absorption_table[name]["coeffs"], 0.01, 0.99))
    assert values[6] == values[5]


def test_coefficients_at_the_ends_are_clipped() -> None:
    assert max(pra.materials_absorption_table["ceiling_fibre_absorber"]["coeffs"]) >= 1
    assert max(materials.absorption("ceiling_fibre_absorber")) == 0.99


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no material 'brickwrk' \(did you mean 'brickwork'\?\)"):
        materials.absorption("brickwrk")


def test_numbers_are_taken_as_they_are() -> None:
    assert materials.absorption(0.0) == [0.0] * 7
    assert materials.absorption(1) == [1.0] * 7
    seven = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert materials.absorption(seven) == pytest.approx(seven)
    assert materials.absorption(dict(zip(OCTAVES, seven, strict=True))) == pytest.approx(seven)


def test_between_given_bands_absorption_is_linear_over_octaves_and_beyond_them_constant() -> None:
    assert materials.absorption({"4000": 0.5, 250: 0.1}) == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert materials.absorption([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], (62.5, 16000.0)) == pytest.approx([0.1, 0.7])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1.2, "absorption must lie between 0 and 1, got 1.2"),
        (-0.1, "between 0 and 1"),
        (math.nan, "between 0 and 1"),
        ([0.1] * 6, "one number or 7"),
        ([], "one number or 7"),
        ({}, "one number or 7"),
        ({0: 0.1}, "frequencies of a material must be positive"),
    ],
)
def test_what_is_no_material_is_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        materials.absorption(given)  # type: ignore[arg-type]


@given(st.dictionaries(st.floats(20, 20000), st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_absorption_stays_within_what_was_given(points: dict[float, float]) -> None:
    values = materials.absorption(points)
    assert all(min(points.values()) - 1e-12 <= a <= max(points.values()) + 1e-12 for a in values)


def test_one_material_covers_all_walls() -> None:
    walls = materials.per_wall("brickwork")
    assert walls.shape == (7, 6)
    assert (walls == np.array(materials.absorption("brickwork"))[:, np.newaxis]).all()


def test_walls_can_be_named_one_by_one_or_as_sides() -> None:
    walls = materials.per_wall({"walls": 0.2, "north": 0.7, "floor": {125: 0.1}, "ceiling": [0.5] * 7}, (500.0, 1000.0))
    assert walls.shape == (2, 6)
    assert dict(zip(SHOEBOX_WALLS, walls[0], strict=True)) == {
        "west": 0.2, "east": 0.2, "south": 0.2, "north": 0.7, "floor": 0.1, "ceiling": 0.5,
    }  # fmt: skip


def test_a_polygon_has_walls_of_other_names() -> None:
    names = ("wall_0", "wall_1", "wall_2", "floor", "ceiling")
    assert materials.per_wall({"walls": 0.2, "wall_1": 0.3, "floor": 0.4, "ceiling": 0.5}, walls=names)[0].tolist() == [
        0.2, 0.3, 0.2, 0.4, 0.5,
    ]  # fmt: skip


def test_a_wall_without_material_and_a_material_without_wall_are_refused() -> None:
    with pytest.raises(ValueError, match="the materials name no ceiling, got"):
        materials.per_wall({"walls": 0.1, "floor": 0.1})
    with pytest.raises(ValueError, match=r"no wall 'flor' \(did you mean 'floor'\?\)"):
        materials.per_wall({"walls": 0.1, "flor": 0.1, "ceiling": 0.1})
    with pytest.raises(ValueError, match="no wall '125'"):
        materials.per_wall({"walls": 0.1, 125: 0.1})


# ------------------------------------------------------------------------------------------------------------- air

# ISO 9613-2:1996, table 2: dB/km in the octaves from 63 Hz.
PUBLISHED = {
    (10, 70): (0.1, 0.4, 1.0, 1.9, 3.7, 9.7, 32.8, 117.0),
    (20, 70): (0.1, 0.3, 1.1, 2.8, 5.0, 9.0, 22.9, 76.6),
    (30, 70): (0.1, 0.3, 1.0, 3.1, 7.4, 12.7, 23.1, 59.3),
    (15, 20): (0.3, 0.6, 1.2, 2.7, 8.2, 28.2, 88.8, 202.0),
    (15, 50): (0.1, 0.5, 1.2, 2.2, 4.2, 10.8, 36.2, 129.0),
    (15, 80): (0.1, 0.3, 1.1, 2.4, 4.1, 8.3, 23.7, 82.8),
}


@pytest.mark.parametrize("climate", PUBLISHED)
def test_air_is_as_published_in_iso_9613_2(climate: tuple[float, float]) -> None:
    midbands = 1000 * 10 ** (0.3 * np.arange(-4, 4))
    published = np.array(PUBLISHED[climate])
    last_digit = np.where(published < 100, 0.1, 1.0)
    got = 1000 * materials.air_db_per_m(midbands, *climate)
    assert np.abs(got - published).max() <= 0.06 or (np.abs(got - published) <= 0.56 * last_digit).all()


@pytest.mark.parametrize(
    ("third", "temperature_c", "humidity_percent", "db_per_km"),
    [(-13, -20, 10, 0.589), (8, 20, 15, 175.0), (-13, 20, 80, 0.0501), (0, 20, 80, 5.15), (10, 20, 80, 105.0)],
)
def test_air_is_as_published_in_iso_9613_1(
    third: int, temperature_c: float, humidity_percent: float, db_per_km: float
) -> None:
    """Table 1, three digits, at the exact midband frequencies of third octaves around 1 kHz."""
    got = 1000 * materials.air_db_per_m(1000 * 10 ** (third / 10), temperature_c, humidity_percent)
    assert float(got) == pytest.approx(db_per_km, rel=0.005)


def test_air_is_near_pyroomacoustics_table() -> None:
    """That table is by octave and for ranges of humidity, from another source: within a factor of two."""
    for low, high in ((30, 50), (50, 70), (70, 90)):
        per_m = np.array(pra.parameters.air_absorption_table[f"20C_{low}-{high}%"])
        ours = materials.air_db_per_m(OCTAVES, 20, (low + high) / 2) * math.log(10) / 10
        assert (np.abs(np.log2(ours / per_m)) < 1).all()


@given(st.floats(-20, 50), st.floats(0, 100), st.floats(50, 110))
@settings(max_examples=30, deadline=None)
def test_air_absorbs_more_at_higher_frequencies_and_nothing_at_zero(
    temperature_c: float, humidity_percent: float, pressure_kpa: float
) -> None:
    got = materials.air_db_per_m([0, *OCTAVES], temperature_c, humidity_percent, pressure_kpa)
    assert got[0] == 0
    assert (np.diff(got) > 0).all()


def test_air_keeps_the_shape_of_frequencies() -> None:
    assert materials.air_db_per_m(1000.0).shape == ()
    assert materials.air_db_per_m(np.ones((2, 3))).shape == (2, 3)


def test_thin_dry_air_absorbs_in_proportion_to_one_over_its_pressure() -> None:
    """At ultrasound what is left is the classical part, f squared / pressure."""
    high = [materials.air_db_per_m(1e7, humidity_percent=0.0, pressure_kpa=p) for p in (50.0, 100.0)]
    assert float(high[0] / high[1]) == pytest.approx(2, rel=0.01)
    assert float(high[1]) == pytest.approx(8.686 * 1.84e-11 * 1e14 * 1.01325, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frequency_hz": -1.0}, "frequency_hz must be finite and not negative, got -1"),
        ({"temperature_c": 60.0}, "temperature_c must lie between -20 and 50, got 60"),
        ({"humidity_percent": 101.0}, "humidity_percent must lie between 0 and 100, got 101"),
        ({"pressure_kpa": 0.0}, "pressure_kpa must be above 0"),
    ],
)
def test_no_such_air_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        materials.air_db_per_m(**{"frequency_hz": 1000.0, **changes})


# ------------------------------------------------------------------------------------------------------------ decay


def test_reverberation_time_by_hand() -> None:
    got = materials.reverberation_time(SIZE, np.full((1, 6), 0.2))
    assert got.sabine_s[0] == pytest.approx(55.26 / 343 * VOLUME / (SURFACE * 0.2), rel=1e-4)
    assert got.eyring_s[0] == pytest.approx(55.26 / 343 * VOLUME / (SURFACE * -math.log(0.8)), rel=1e-4)


def test_reverberation_time_is_pyroomacoustics() -> None:
    six = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    made = {name: pra.Material(a) for name, a in zip(SHOEBOX_WALLS, six, strict=True)}
    room = pra.ShoeBox(SIZE, fs=16000, materials=made)
    got = materials.reverberation_time(SIZE, [six])
    assert got.sabine_s[0] == pytest.approx(room.rt60_theory("sabine"), rel=1e-4)


def test_air_shortens_the_decay_as_it_would_alone() -> None:
    """Without walls' absorption, 60 dB are lost over 60 / 0.1 metres."""
    got = materials.reverberation_time(SIZE, np.zeros((1, 6)), 0.1)
    assert got.sabine_s[0] == pytest.approx(600 / 343)
    assert got.eyring_s[0] == pytest.approx(600 / 343)


def test_the_order_of_bands_follows_the_material() -> None:
    carpet = materials.per_wall({"walls": "hard_surface", "ceiling": "hard_surface", "floor": "carpet_hairy"})
    got = materials.reverberation_time(SIZE, carpet)
    absorbed = carpet @ np.array([15, 15, 18, 18, 30, 30])
    assert (np.argsort(got.eyring_s) == np.argsort(-absorbed)).all()
    assert (got.eyring_s < got.sabine_s).all()


def test_the_ends_a_room_that_never_and_one_that_at_once_falls_silent() -> None:
    assert materials.reverberation_time(SIZE, np.zeros((1, 6))).eyring_s[0] == math.inf
    assert materials.reverberation_time(SIZE, np.ones((1, 6))).eyring_s[0] == 0


def test_absorption_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"absorption must be \(bands, 6\) values between 0 and 1"):
        materials.reverberation_time(SIZE, [0.1] * 5)
    with pytest.raises(ValueError, match=r"between 0 and 1"):
        materials.reverberation_time(SIZE, [1.1] * 6)
    with pytest.raises(ValueError, match="must be positive"):
        materials.reverberation_time((6.0, 5.0, -3.0), [0.1] * 6)


def test_pyroomacoustics_is_imported_only_when_a_name_is_used() -> None:
    code = (
        "import sys; from augment import materials; materials.absorption(0.1); print('pyroomacoustics' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
