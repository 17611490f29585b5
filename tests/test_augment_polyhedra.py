"""Witnesses: our exact engine, image sources mirrored and traced back by hand, formulas for diffuse fields; reciprocity
and other properties."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfiltfilt

from augment import acoustics, images, materials, polyhedra
from augment.polyhedra import Occluded, Panel

C = 343.0
RATE = 16000
SIZE = (6.0, 5.0, 3.0)
RECTANGLE = [(0.0, 0.0), (6.0, 0.0), (6.0, 5.0), (0.0, 5.0)]
SOURCE = (1.3, 2.1, 1.5)
MICROPHONE = (4.2, 3.3, 1.2)
WALLS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]  # west, east, south, north, floor, ceiling
SIDES = [0.3, 0.2, 0.4, 0.1, 0.5, 0.6]  # the same from corner to corner of the rectangle
BETWEEN = Panel([(2.75, 1, 0), (2.75, 4, 0), (2.75, 4, 2), (2.75, 1, 2)], absorption=0.2)
ACROSS = Panel([(2.75, 0, 0), (2.75, 5, 0), (2.75, 5, 3), (2.75, 0, 3)], absorption=0.2)
L_ROOM = [(0.0, 0.0), (6.0, 0.0), (6.0, 2.5), (3.0, 2.5), (3.0, 5.0), (0.0, 5.0)]


def simulate(**changes: Any) -> list[np.ndarray]:
    given: dict[str, Any] = {"absorption": 0.3, "sources_m": [SOURCE], "microphones_m": [MICROPHONE], "max_order": 3}
    if "floor_m" not in changes:
        given["size_m"] = SIZE
    return polyhedra.simulate(**{**given, "sample_rate": RATE, "ray_tracing": False, "seed": 1, **changes})


def response(**changes: Any) -> np.ndarray:
    return simulate(**changes)[0][0].astype(float)


def exact(max_order: int | None = None, *, absorption: Sequence[float] = (0.3,) * 6, **changes: Any) -> np.ndarray:
    given: dict[str, Any] = {"size_m": SIZE, "source_m": SOURCE, "microphones_m": [MICROPHONE], "sample_rate": RATE}
    limits = {} if max_order is None else {"max_order": max_order, "max_loss_db": 300.0}
    h = images.impulse_responses(**{**given, "absorption": [list(absorption)], **limits, **changes})
    return np.asarray(h[0], dtype=float)


def error_db(h: np.ndarray, reference: np.ndarray) -> float:
    taps = max(h.size, reference.size)
    h, reference = (np.pad(x, (0, taps - x.size)) for x in (h, reference))
    return energy_db(h - reference) - energy_db(reference)


def energy_db(h: np.ndarray) -> float:
    return 10 * math.log10(float(np.sum(h * h)) + 1e-30)


def above_200_hz(h: np.ndarray) -> np.ndarray:
    return np.asarray(sosfiltfilt(butter(4, 200, "high", fs=RATE, output="sos"), h))


def direct_window(distance: float) -> slice:
    delay = distance / C * RATE
    return slice(math.floor(delay) - 16, math.floor(delay) + 17)


# ---------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_the_direct_sound_has_the_delay_and_the_gain_of_the_exact_engine(rate: int) -> None:
    assert error_db(response(max_order=0, sample_rate=rate), exact(0, sample_rate=rate)) < -60


@pytest.mark.parametrize("order", [1, 3, 10])
def test_a_shoebox_is_that_of_the_exact_engine(order: int) -> None:
    assert error_db(response(max_order=order, absorption=WALLS), exact(order, absorption=WALLS)) < -60


@pytest.mark.parametrize("turn", [1, -1])
def test_a_rectangular_floor_is_a_shoebox_in_either_sense(turn: int) -> None:
    sides = SIDES if turn == 1 else [*SIDES[2::-1], SIDES[3], *SIDES[4:]]
    h = response(floor_m=RECTANGLE[::turn], height_m=3.0, absorption=sides, max_order=5)
    assert error_db(h, exact(5, absorption=WALLS)) < -60


def test_a_panel_of_no_size_changes_nothing_and_takes_the_general_path() -> None:
    mote = Panel([(0.1, 0.1, 0.1), (0.102, 0.1, 0.1), (0.102, 0.1, 0.102), (0.1, 0.1, 0.102)], thickness_m=0.001)
    assert error_db(response(panels=[mote], absorption=WALLS), exact(3, absorption=WALLS)) < -60


def test_floor_bounce_by_hand() -> None:
    """All walls but the floor absorb everything: two pulses."""
    h = response(absorption=[1, 1, 1, 1, 0.36, 1])
    direct = math.dist(SOURCE, MICROPHONE)
    bounce = math.dist((SOURCE[0], SOURCE[1], -SOURCE[2]), MICROPHONE)
    n = np.arange(h.size)
    by_hand = np.zeros(h.size)
    for distance, reflection in ((direct, 1.0), (bounce, 0.8)):
        away = n - distance / C * RATE
        pulse = np.sinc(away) * np.where(abs(away) < 40, 0.5 + 0.5 * np.cos(math.pi * away / 40), 0)
        by_hand += reflection / (4 * math.pi * distance) * pulse
    assert error_db(h, by_hand) < -60


def test_scattered_energy_is_missing_from_images_only_where_rays_bring_it() -> None:
    assert np.array_equal(response(scattering=0.5), response())


def test_octaves_reflect_as_their_material_does() -> None:
    """The spectrum of one bounce at the centres of octaves, by a floor that absorbs more the higher they are."""
    floor = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    walls = np.ones((7, 6))
    walls[:, 4] = floor
    spots = {"sources_m": [(2.0, 2.5, 1.5)], "microphones_m": [(4.0, 2.5, 1.5)], "max_order": 1}
    both = response(absorption=walls, bands_hz=materials.OCTAVES, **spots)
    direct = response(absorption=1.0, **spots)
    h = both - np.pad(direct, (0, both.size - direct.size))
    at = np.exp(-2j * math.pi * np.outer(materials.OCTAVES[:6], np.arange(h.size)) / RATE) @ h
    gain = np.abs(at) * 4 * math.pi * math.dist((2.0, 2.5, -1.5), (4.0, 2.5, 1.5))
    assert gain == pytest.approx(np.sqrt(1 - np.array(floor[:6])), abs=0.02)


def test_air_takes_decibels_by_the_metre() -> None:
    distance = math.dist(SOURCE, MICROPHONE)
    lost = energy_db(response(max_order=0)) - energy_db(response(max_order=0, air_db_per_m=0.5))
    assert lost == pytest.approx(0.5 * distance, abs=0.01)
    assert error_db(response(air_db_per_m=0.2), exact(3, air_db_per_m=[0.2])) < -45


def test_air_takes_more_of_high_octaves() -> None:
    bands = materials.OCTAVES
    h = response(max_order=0, bands_hz=bands, air_db_per_m=100 * materials.air_db_per_m(bands))
    spectrum = np.abs(np.exp(-2j * math.pi * np.outer(bands[:6], np.arange(h.size)) / RATE) @ h)
    lost_db = -20 * np.log10(spectrum * 4 * math.pi * math.dist(SOURCE, MICROPHONE))
    assert lost_db == pytest.approx(100 * materials.air_db_per_m(bands[:6]) * math.dist(SOURCE, MICROPHONE), abs=0.5)


def test_nothing_is_heard_before_the_direct_sound() -> None:
    """The microphone lies on a floor that reflects some octaves; the filters of octaves ring ahead."""
    walls = materials.per_wall({"walls": 0.5, "floor": [0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.9], "ceiling": 0.5})
    spot = (4.2, 3.3, 0.02)
    h = response(absorption=walls, bands_hz=materials.OCTAVES, microphones_m=[spot])
    delay = math.dist(SOURCE, spot) / C * RATE
    assert not h[: math.floor(delay) - 40].any()
    assert acoustics.fault(h[np.newaxis], expected_onset=delay, sample_rate=RATE) is None


def test_a_row_without_rays_depends_on_its_own_microphone_and_is_padded() -> None:
    spots = [(1.4, 2.2, 1.5), (5.8, 4.8, 2.8)]
    (h,) = simulate(microphones_m=spots)
    assert h.dtype == np.float32
    for row, spot in zip(h, spots, strict=True):
        alone = simulate(microphones_m=[spot])[0][0]
        assert np.array_equal(row[: alone.size], alone)
        assert not row[alone.size :].any()


# ------------------------------------------------------------------------------------------------- polygons, panels

Face = np.ndarray


def faces(
    floor: Sequence[tuple[float, float]], height: float, plates: Sequence[tuple[Sequence[float], ...]]
) -> list[Face]:
    """Walls as polygons; plates are boxes (low corner, high corner)."""
    low, high = ([(x, y, z) for x, y in floor] for z in (0.0, height))
    found = [np.array([low[i - 1], low[i], high[i], high[i - 1]]) for i in range(len(floor))]
    found += [np.array(low), np.array(high)]
    for a, b in plates:
        for axis in range(3):
            u, v = (k for k in range(3) if k != axis)
            for side in (a[axis], b[axis]):
                corners = np.full((4, 3), side)
                corners[:, u] = [a[u], b[u], b[u], a[u]]
                corners[:, v] = [a[v], a[v], b[v], b[v]]
                found.append(corners)
    return found


def crossing(face: Face, p: np.ndarray, q: np.ndarray) -> np.ndarray | None:
    """Where the segment p-q passes through a polygon."""
    spokes = face[1:] - face[0]
    normal = np.cross(spokes[0], spokes[-1])
    before, after = (p - face[0]) @ normal, (q - face[0]) @ normal
    if before * after >= 0:
        return None
    spot = p + before / (before - after) * (q - p)
    u, v = np.argsort(-abs(normal))[1:]
    inside = False
    for start, end in zip(face, np.roll(face, -1, axis=0), strict=True):
        if (start[v] > spot[v]) != (end[v] > spot[v]):
            inside ^= bool(spot[u] < start[u] + (spot[v] - start[v]) / (end[v] - start[v]) * (end[u] - start[u]))
    return spot if inside else None


def paths(walls: Sequence[Face], source: Sequence[float], microphone: Sequence[float], order: int) -> list[float]:
    """Lengths of all paths of at most `order` mirror reflections, each traced back from the microphone."""
    lengths = []
    for count in range(order + 1):
        for sequence in itertools.product(range(len(walls)), repeat=count):
            mirrored = [np.array(source, dtype=float)]
            for i in sequence:
                spokes = walls[i][1:] - walls[i][0]
                normal = np.cross(spokes[0], spokes[-1])
                normal = normal / np.linalg.norm(normal)
                mirrored.append(mirrored[-1] - 2 * ((mirrored[-1] - walls[i][0]) @ normal) * normal)
            here, clear = np.array(microphone, dtype=float), True
            for step in range(count, -1, -1):
                spot = crossing(walls[sequence[step - 1]], here, mirrored[step]) if step else mirrored[0]
                if spot is None:
                    clear = False
                    break
                touching = {sequence[s] for s in (step - 1, step) if 0 <= s < count}
                if any(crossing(w, here, spot) is not None for i, w in enumerate(walls) if i not in touching):
                    clear = False
                    break
                here = spot
            if clear:
                lengths.append(float(np.linalg.norm(mirrored[-1] - microphone)))
    return lengths


def pulses(lengths_by_order: Sequence[tuple[float, int]], reflection: float, taps: int) -> np.ndarray:
    out = np.zeros(taps)
    for length, count in lengths_by_order:
        away = np.arange(taps) - length / C * RATE
        pulse = np.sinc(away) * np.where(abs(away) < 40, 0.5 + 0.5 * np.cos(math.pi * away / 40), 0)
        out += reflection**count / (4 * math.pi * length) * pulse
    return out


def by_hand(walls: Sequence[Face], source: Sequence[float], microphone: Sequence[float], taps: int) -> np.ndarray:
    first = paths(walls, source, microphone, 1)
    second = paths(walls, source, microphone, 2)
    direct = paths(walls, source, microphone, 0)
    orders = [0] * len(direct) + [1] * (len(first) - len(direct)) + [2] * (len(second) - len(first))
    return pulses(list(zip(second, orders, strict=True)), math.sqrt(0.7), taps)


@pytest.mark.parametrize(
    ("source", "microphone"),
    [
        ((1.0, 4.2, 1.5), (4.9, 1.1, 1.2)),  # around the corner
        ((1.0, 4.2, 1.5), (5.5, 2.3, 1.2)),
        ((0.7, 0.9, 1.1), (4.9, 1.1, 1.2)),  # in sight
    ],
)
def test_an_l_shaped_room_has_the_paths_traced_by_hand(
    source: tuple[float, ...], microphone: tuple[float, ...]
) -> None:
    h = response(floor_m=L_ROOM, height_m=3.0, sources_m=[source], microphones_m=[microphone], max_order=2)
    assert error_db(h, by_hand(faces(L_ROOM, 3.0, ()), source, microphone, h.size)) < -60


@pytest.mark.parametrize("beyond", [MICROPHONE, (1.9, 3.0, 0.9)])
def test_a_panel_hides_and_reflects_as_paths_traced_by_hand(beyond: tuple[float, ...]) -> None:
    """Behind it and in front of it: it hides, and mirrors on the source's side."""
    plate = ((2.74, 1.0, 0.0), (2.76, 4.0, 2.0))
    panel = replace(BETWEEN, absorption=0.3)
    for source, microphone in ((SOURCE, beyond), (beyond, SOURCE)):
        h = response(panels=[panel], sources_m=[source], microphones_m=[microphone], max_order=2)
        assert error_db(h, by_hand(faces(RECTANGLE, 3.0, [plate]), source, microphone, h.size)) < -60


inside_l = st.tuples(st.floats(0.1, 5.9), st.floats(0.1, 4.9), st.floats(0.1, 2.9)).filter(
    lambda p: p[0] < 2.9 or p[1] < 2.4
)


@given(inside_l, inside_l)
@settings(max_examples=15, deadline=None)
def test_paths_are_the_same_both_ways(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    assume(math.dist(one, other) > 0.2)
    panel = Panel([(1.2, 2.4, 0.2), (1.9, 3.1, 0.2), (1.9, 3.1, 1.9), (1.2, 2.4, 1.9)], absorption=0.3)
    room = {"floor_m": L_ROOM, "height_m": 3.0, "panels": [panel]}
    in_panel = [abs(p[0] - 1.2 - (p[1] - 2.4)) < 0.1 and 1.1 < p[0] < 2.0 for p in (one, other)]
    assume(not any(in_panel))
    try:
        there = response(**room, sources_m=[one], microphones_m=[other])
    except Occluded:
        with pytest.raises(Occluded):
            response(**room, sources_m=[other], microphones_m=[one])
    else:
        assert error_db(response(**room, sources_m=[other], microphones_m=[one]), there) < -60


def test_issue_249_a_path_through_the_edge_of_two_walls_counts_once() -> None:
    """Source and microphone on one line along the room: pyroomacoustics finds the path by either wall first."""
    for spots in (((1.0, 1.2, 1.2), (4.0, 1.2, 1.2)), ((1.5, 2.5, 1.5), (4.5, 2.5, 1.5))):
        h = response(floor_m=RECTANGLE, height_m=3.0, sources_m=spots[:1], microphones_m=spots[1:])
        assert error_db(h, exact(3, source_m=spots[0], microphones_m=[spots[1]])) < -60


@given(inside_l, st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_visible_says_whether_images_make_a_response(source: tuple[float, ...], order: int) -> None:
    microphones = [(4.9, 1.1, 1.2), (5.5, 2.3, 1.2)]
    assume(min(math.dist(source, m) for m in microphones) > 0.2)
    room = {"floor_m": L_ROOM, "height_m": 3.0, "max_order": order, "microphones_m": microphones}
    if polyhedra.visible(**room, source_m=source):  # type: ignore[arg-type]
        assert simulate(**room, sources_m=[source])[0].any()
    else:
        with pytest.raises(Occluded, match=r"reaches microphones \[.*\] within"):
            simulate(**room, sources_m=[source])


@pytest.mark.parametrize("rays", [False, True])
def test_a_panel_between_takes_the_direct_sound_and_leaves_reverberation(rays: bool) -> None:
    window = direct_window(math.dist(SOURCE, MICROPHONE))
    for source, microphone in ((SOURCE, MICROPHONE), (MICROPHONE, SOURCE)):
        spots = {"sources_m": [source], "microphones_m": [microphone], "ray_tracing": rays}
        free, hidden = response(**spots), response(**spots, panels=[BETWEEN])
        assert energy_db(hidden[window]) < energy_db(free[window]) - 40
        assert energy_db(hidden[window.stop :]) > energy_db(free[window.stop :]) - 3


@pytest.mark.parametrize("rays", [False, True])
@pytest.mark.parametrize("scale", [1, 4])
def test_issue_trap_t4_a_wall_right_across_is_a_named_result(rays: bool, scale: float) -> None:
    """pyroomacoustics raises `zero-size array`, or lets the direct sound through when all microphones are hidden."""

    def scaled(points: Sequence[Sequence[float]]) -> list[list[float]]:
        turn = np.array([[math.cos(0.3), math.sin(0.3), 0], [-math.sin(0.3), math.cos(0.3), 0], [0, 0, 1]])
        return [list(np.array(p) * scale @ turn[: len(p), : len(p)]) for p in points]

    room = {
        "floor_m": scaled(RECTANGLE),
        "height_m": 3.0 * scale,
        "panels": [replace(ACROSS, corners_m=scaled(ACROSS.corners_m))],
        "microphones_m": scaled([MICROPHONE, (4.0, 3.0, 1.0)]),
    }
    (source,) = scaled([SOURCE])
    with pytest.raises(Occluded, match=r"reaches microphones \[0, 1\] within 2 reflections: move it"):
        simulate(**room, sources_m=[source], ray_tracing=rays, max_order=2)
    assert not polyhedra.visible(**room, source_m=source, max_order=2)  # type: ignore[arg-type]
    assert issubclass(Occluded, ValueError)


def test_rays_reach_where_images_do_not() -> None:
    room = {"panels": [BETWEEN], "max_order": 0}
    with pytest.raises(Occluded):
        response(**room)
    h = response(**room, ray_tracing=True)
    assert energy_db(h) == pytest.approx(energy_db(response(ray_tracing=True)), abs=3)


def test_one_hidden_microphone_among_others() -> None:
    both = {"panels": [BETWEEN], "max_order": 0, "microphones_m": [MICROPHONE, (1.5, 4.0, 1.2)]}
    with pytest.raises(Occluded, match=r"microphones \[0\]"):
        simulate(**both)
    (h,) = simulate(**both, ray_tracing=True)
    seen = h[1, direct_window(math.dist(SOURCE, (1.5, 4.0, 1.2)))]
    assert np.abs(seen).max() > 0.5 / (4 * math.pi * math.dist(SOURCE, (1.5, 4.0, 1.2)))
    assert h[0].any()


def test_what_absorbs_everything_is_occlusion_too() -> None:
    with pytest.raises(Occluded, match="was absorbed"):
        response(panels=[replace(BETWEEN, absorption=1.0)], absorption=1.0, max_order=2)


# ------------------------------------------------------------------------------------------------------------ rays

ROOMS = [
    (SIZE, SOURCE, MICROPHONE, 0.3),
    ((4.1, 3.2, 2.6), (1.3, 2.1, 1.5), (2.9, 0.8, 1.2), 0.4),
    ((9.0, 7.0, 3.5), (2.0, 2.1, 1.5), (6.9, 5.0, 1.2), 0.4),
    (SIZE, SOURCE, (5.9, 4.9, 1.2), 0.3),  # in a corner, where part of the sphere that catches rays is outside
]


@pytest.mark.parametrize(("size", "source", "microphone", "absorption"), ROOMS)
def test_rays_decay_and_sum_up_as_all_image_sources(
    size: tuple[float, ...], source: tuple[float, ...], microphone: tuple[float, ...], absorption: float
) -> None:
    """Above 200 Hz: below, images are positive pulses that add up, and rays are noise."""
    spots = {"size_m": size, "sources_m": [source], "microphones_m": [microphone], "absorption": absorption}
    h = above_200_hz(response(**spots, ray_tracing=True))
    reference = above_200_hz(
        exact(size_m=size, source_m=source, microphones_m=[microphone], absorption=[absorption] * 6)
    )
    assert energy_db(h) == pytest.approx(energy_db(reference), abs=1.5)
    assert acoustics.rt60(h, RATE) == pytest.approx(acoustics.rt60(reference, RATE), rel=0.15)


def test_rays_lose_to_the_air_what_images_do() -> None:
    walls = {"absorption": 0.15, "air_db_per_m": 0.08}
    h = above_200_hz(response(ray_tracing=True, **walls))
    reference = above_200_hz(exact(absorption=[0.15] * 6, air_db_per_m=[0.08]))
    dry = above_200_hz(exact(absorption=[0.15] * 6))
    assert acoustics.rt60(h, RATE) == pytest.approx(acoustics.rt60(reference, RATE), rel=0.1)
    assert acoustics.rt60(reference, RATE) < 0.8 * (acoustics.rt60(dry, RATE) or 0)


def test_rays_arrive_when_images_do() -> None:
    """The mean arrival of reflections, by energy, with walls that absorb most: nearly all are of first order. Rays are
    gathered in bins of 64 taps."""
    walls = {"absorption": 0.9, "rays": 50_000, "max_order": 0, "microphones_m": [(2.6, 2.2, 1.4)]}
    direct = response(**{**walls, "rays": None})
    taps = np.arange(RATE)

    def mean_arrival(h: np.ndarray) -> float:
        energy = np.pad(h, (0, RATE - h.size)) - np.pad(direct, (0, RATE - direct.size))
        return float(taps @ energy**2 / np.sum(energy**2))

    traced = [mean_arrival(response(ray_tracing=True, **walls, seed=seed)) for seed in range(6)]
    expected = mean_arrival(exact(absorption=[0.9] * 6, microphones_m=walls["microphones_m"]))
    assert np.mean(traced) == pytest.approx(expected, abs=20)


@pytest.mark.parametrize("away", [0.05, 0.1, 0.3])
def test_the_share_of_a_sphere_beyond_a_wall_by_hand(away: float) -> None:
    """Nearest points of lines through a ball lie in it with the density 1 / distance; a wall at `away` leaves
    1 - (radius - away)^2 / (2 radius^2) of them in the room."""
    shape = polyhedra._shape(SIZE, None, None, ())
    share = polyhedra._share_inside(shape, np.array([away, 2.0, 1.5]), 0.2)
    assert share == pytest.approx(1 - max(0, 0.2 - away) ** 2 / (2 * 0.2**2), abs=0.01)


@pytest.mark.parametrize("scattering", [0.0, 0.1])
def test_reverberation_is_as_loud_in_corners_as_in_the_middle(scattering: float) -> None:
    """In corners half of the sphere that catches rays is outside. With more scattering this does not hold."""
    corners = [(x, y, 1.2) for x in (0.05, 5.95) for y in (0.05, 4.95)]
    spots = {"microphones_m": [(3.2, 2.6, 1.4), *corners], "scattering": scattering, "absorption": 0.2}
    middle, *others = np.sum(simulate(ray_tracing=True, **spots)[0][:, 800:].astype(float) ** 2, axis=1)
    assert 10 * math.log10(np.mean(others) / middle) == pytest.approx(0, abs=1.5)


def test_early_reflections_are_not_counted_twice() -> None:
    """Image sources and rays share the energy of the room, whichever order they are divided at."""
    levels = [energy_db(above_200_hz(response(ray_tracing=True, max_order=order))) for order in (1, 3, 8)]
    assert max(levels) - min(levels) < 1.0


@pytest.mark.parametrize("scattering", [0.1, 0.4, 0.8])
def test_scattering_keeps_the_energy_and_makes_the_decay_that_of_eyring(scattering: float) -> None:
    """pyroomacoustics itself gains up to 3 dB."""
    h = response(ray_tracing=True, scattering=scattering)
    eyring = materials.reverberation_time(SIZE, [[0.3] * 6]).eyring_s[0]
    diffuse_db = 10 * math.log10(1 / (math.pi * 126 * -math.log(0.7)))
    assert energy_db(h) == pytest.approx(diffuse_db, abs=1.0)
    assert acoustics.rt60(h, RATE) == pytest.approx(eyring, rel=0.25)


def test_a_polygon_is_traced_as_a_shoebox_is() -> None:
    box = response(ray_tracing=True, scattering=0.2)
    polygon = response(floor_m=RECTANGLE, height_m=3.0, ray_tracing=True, scattering=0.2)
    assert energy_db(polygon) == pytest.approx(energy_db(box), abs=1)
    assert acoustics.rt60(polygon, RATE) == pytest.approx(acoustics.rt60(box, RATE), rel=0.1)


def test_octaves_decay_in_the_order_of_their_materials() -> None:
    bands = materials.OCTAVES
    curtains = [0.07, 0.1, 0.15, 0.25, 0.35, 0.45, 0.55]
    walls = materials.per_wall({"walls": curtains, "floor": curtains, "ceiling": 0.2}, bands)
    h = response(ray_tracing=True, absorption=walls, bands_hz=bands, scattering=0.3)
    expected = materials.reverberation_time(SIZE, walls).eyring_s
    decays = []
    for centre in (250, 500, 1000, 4000):
        octave = sosfiltfilt(butter(3, [centre / 2**0.5, centre * 2**0.5], "band", fs=RATE, output="sos"), h)
        level = acoustics.energy_decay(octave)
        taps = np.flatnonzero((level < -5) & (level > -25))
        decays.append(-60 / np.polyfit(taps / RATE, level[taps], 1)[0])
    assert sorted(decays, reverse=True) == decays
    assert decays == pytest.approx([expected[bands.index(centre)] for centre in (250, 500, 1000, 4000)], rel=0.25)


@pytest.mark.parametrize("scattering", [0.0, 0.2])
def test_the_seed_decides_every_byte(scattering: float) -> None:
    settings = {"ray_tracing": True, "scattering": scattering, "microphones_m": [MICROPHONE, (2.0, 2.0, 1.0)]}
    first, again, other = (simulate(**settings, seed=seed)[0] for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_sources_do_not_depend_on_each_other_and_have_noise_of_their_own() -> None:
    near = (1.3, 2.1, 1.6)
    both = simulate(ray_tracing=True, sources_m=[SOURCE, near])
    for h, source in zip(both, (SOURCE, near), strict=True):
        assert h.tobytes() == simulate(ray_tracing=True, sources_m=[source])[0].tobytes()
    late = [h[0, 1200:4000].astype(float) for h in both]
    assert abs(np.corrcoef(*late)[0, 1]) < 0.2


def test_global_state_is_left_as_it_was() -> None:
    names = ("c", "rir_hpf_enable", "num_threads", "frac_delay_length", "sinc_lut_granularity")
    before = {name: pra.constants.get(name) for name in names}
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    changed = {
        "c": 340.0,
        "rir_hpf_enable": False,
        "num_threads": 2,
        "frac_delay_length": 41,
        "sinc_lut_granularity": 10,
    }
    try:
        for name, value in changed.items():
            pra.constants.set(name, value)
        h = response(ray_tracing=True, scattering=0.1)
        with pytest.raises(Occluded):
            response(panels=[ACROSS])
        polyhedra.visible(size_m=SIZE, panels=[BETWEEN], source_m=SOURCE, microphones_m=[MICROPHONE], max_order=1)
        assert {name: pra.constants.get(name) for name in names} == changed
    finally:
        for name, value in before.items():
            pra.constants.set(name, value)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert np.array_equal(h, response(ray_tracing=True, scattering=0.1))


def test_versions_that_draw_from_numpy_get_their_seed_and_give_the_state_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pra.libroom, "set_rng_seed")
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = []
    for words in ((1, 0), (1, 0), (1, 1)):
        with polyhedra._seeded(pra, words):
            drawn.append(np.random.rand())  # noqa: NPY002
    assert drawn[0] == drawn[1] != drawn[2]
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    with pytest.raises(ValueError, match=r"needs pyroomacoustics 0\.10 or later"):
        response(ray_tracing=True, scattering=0.1)


# ----------------------------------------------------------------------------------------------------------- limits


def test_a_room_that_rings_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rings longer than max_s, 1\.0 s: raise its absorption"):
        response(ray_tracing=True, absorption=0.05, max_s=1.0, rays=2000)


def test_the_end_is_70_db_down() -> None:
    whole, h = exact(40), response(max_order=40)
    left = np.cumsum(whole[::-1] ** 2)[::-1] / np.sum(whole**2)
    assert left[h.size] <= 1e-7 < left[h.size - 2]
    assert error_db(h, whole) < -60


def test_more_image_sources_than_anyone_waits_for_are_refused() -> None:
    star = [(math.cos(a) * r, math.sin(a) * r) for a, r in zip(np.arange(12) * math.pi / 6, [3, 2] * 6, strict=True)]
    spots = {"sources_m": [(0.5, 0.0, 1.0)], "microphones_m": [(-0.5, 0.0, 1.0)]}
    with pytest.raises(ValueError, match=r"max_order 10 with 14 walls and 1 microphones means 1\.6e\+11 image sources"):
        response(floor_m=star, height_m=3.0, max_order=10, **spots)
    assert response(floor_m=star, height_m=3.0, max_order=3, **spots).any()
    with pytest.raises(ValueError, match="lower max_order and trace rays"):
        response(max_order=100)


def test_issue_383_an_h_shaped_floor_with_sides_in_line() -> None:
    floor = [(0, 0), (0, 5), (1, 5), (1, 2), (2, 2), (2, 5), (3, 5), (3, 0), (2, 0), (2, 1), (1, 1), (1, 0)]
    spots = {"sources_m": [(0.5, 0.6, 1.5)], "microphones_m": [(1.6, 1.5, 1.2)]}
    assert response(floor_m=floor, height_m=3.0, ray_tracing=True, **spots).any()


def test_a_wall_that_absorbs_nothing_would_keep_rays_forever() -> None:
    with pytest.raises(ValueError, match=r"absorption must be at least 0\.001 where rays are traced"):
        response(ray_tracing=True, absorption=[0.0, 0.3, 0.3, 0.3, 0.3, 0.3])
    assert response(absorption=[0.0, 0.3, 0.3, 0.3, 0.3, 0.3]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_m": None}, "needs either size_m, or floor_m and height_m"),
        ({"height_m": 3.0}, "needs either size_m, or floor_m and height_m"),
        ({"size_m": (6.0, 5.0, 0.0)}, "size_m must be three positive lengths"),
        ({"floor_m": RECTANGLE, "height_m": -1.0}, "height_m must be positive, got -1"),
        ({"floor_m": RECTANGLE[:2], "height_m": 3.0}, "floor_m must be three or more corners"),
        ({"floor_m": [*RECTANGLE, (0.0, 5.0)], "height_m": 3.0}, "no corner twice"),
        ({"floor_m": [(0, 0), (6, 5), (6, 0), (0, 5)], "height_m": 3.0}, "must enclose an area"),
        ({"floor_m": [(0, 0), (6, 5), (6, 0), (0, 4)], "height_m": 3.0}, "must not cross itself"),
        ({"sources_m": [(1.3, 2.1, 3.1)]}, r"sources_m must lie in the room, 0\.001 m or more from walls"),
        ({"sources_m": [(0.0, 2.1, 1.5)]}, "sources_m must lie in the room"),
        ({"floor_m": L_ROOM, "height_m": 3.0, "sources_m": [(4.5, 4.0, 1.0)]}, "sources_m must lie in the room"),
        ({"microphones_m": [(2.75, 2.0, 1.0)], "panels": [BETWEEN]}, "microphones_m must lie in the room"),
        ({"microphones_m": []}, "microphones_m must be positions"),
        ({"microphones_m": [SOURCE]}, "a source and a microphone must not be at the same place"),
        (
            {"panels": [replace(BETWEEN, corners_m=[(2.75, 1, 0), (2.75, 6, 0), (2.75, 6, 2), (2.75, 1, 2)])]},
            "with all",
        ),
        (
            {"panels": [replace(BETWEEN, corners_m=[(2.75, 1, 0), (2.75, 4, 2), (2.75, 4, 0), (2.75, 1, 2)])]},
            "in order",
        ),
        ({"panels": [replace(BETWEEN, corners_m=[(2.75, 1, 0), (2.75, 4, 0), (2.95, 4, 2), (2.75, 1, 2)])]}, "be flat"),
        ({"panels": [replace(BETWEEN, corners_m=[(2.75, 1, 0), (2.75, 4, 0), (2.75, 4, 2)])]}, "four positions"),
        ({"panels": [replace(BETWEEN, thickness_m=0.0)]}, "thickness_m of a panel must be at least 0.001"),
        ({"panels": [replace(BETWEEN, absorption=[0.1, 0.2])]}, r"absorption of a panel must be one number"),
        ({"absorption": 1.5}, "absorption must lie between 0 and 1, got values from 1.5 to 1.5"),
        ({"absorption": [0.1] * 5}, r"absorption must be one number, 6 or \(1, 6\) of them"),
        ({"scattering": math.nan}, "scattering must lie between 0 and 1"),
        ({"air_db_per_m": -1.0}, "air_db_per_m must be none, one or 0"),
        ({"bands_hz": (500.0, 250.0), "absorption": np.diag([0.1, 0.2])[:, [0, 1] * 3]}, "bands_hz must be positive"),
        ({"max_order": -1}, "max_order must not be negative, got -1"),
        ({"rays": 100}, "rays must be a positive number, given with ray_tracing"),
        ({"seed": -1}, "seed must not be negative"),
        ({"max_s": 0.0}, "max_s must lie between 0 and 60"),
        ({"sample_rate": 100}, "sample_rate must lie between 250"),
    ],
)
def test_what_is_no_room_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        response(**changes)


def test_walls_are_named_in_the_order_of_columns() -> None:
    assert polyhedra.wall_names() == ("west", "east", "south", "north", "floor", "ceiling")
    assert polyhedra.wall_names(L_ROOM) == (*(f"wall_{i}" for i in range(6)), "floor", "ceiling")


def test_pyroomacoustics_is_imported_only_when_a_room_is_simulated() -> None:
    code = "import sys; from augment import polyhedra; print({'pyroomacoustics', 'scipy.signal'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
