"""Witnesses: images placed by hand, a sum in double precision over mirrored sources, pyroomacoustics; properties."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from augment import images
from augment.directivity import FIRST_ORDER_AMBISONICS, OMNI, Pattern, aimed, cardioid, figure_eight

C = 343.0
RATE = 16000
SIZE = (4.1, 3.2, 2.6)
SOURCE = (1.3, 2.1, 1.5)
MICROPHONE = (2.9, 0.8, 1.2)
OTHERS = [(0.4, 0.5, 0.6), (3.9, 3.0, 2.5), (1.31, 2.1, 1.5), (2.0, 1.6, 1.3), (2.0, 1.6, 1.31), (3.0, 0.8, 1.2)]
WALLS = ("west", "east", "south", "north", "floor", "ceiling")
UNEQUAL = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
BANDS = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
CARPET = [[0.1 + 0.04 * b, 0.2, 0.15, 0.1 + 0.02 * b, 0.05 + 0.1 * b, 0.5 - 0.05 * b] for b in range(7)]
AIR = (0.0001, 0.0003, 0.001, 0.003, 0.006, 0.02, 0.07)

coordinate = st.floats(0.05, 0.95)
inside = st.tuples(coordinate, coordinate, coordinate)
shoebox = st.tuples(st.floats(2.5, 8.0), st.floats(2.5, 6.0), st.floats(2.2, 4.0))
six = st.lists(st.floats(0.05, 1.0), min_size=6, max_size=6)


def responses(**changes: Any) -> np.ndarray:
    """By default every image of six reflections or less."""
    room: dict[str, Any] = {
        "size_m": SIZE,
        "absorption": [[0.4] * 6],
        "source_m": SOURCE,
        "microphones_m": [MICROPHONE],
        "sample_rate": RATE,
    }
    if not {"max_order", "max_distance_m", "max_loss_db"} & set(changes):
        changes["max_order"] = 6
    return images.impulse_responses(**{**room, "max_loss_db": math.inf, **changes})


def response(**changes: Any) -> np.ndarray:
    (h,) = responses(**changes)
    return h


def place(size: Sequence[float], fraction: Sequence[float]) -> list[float]:
    return [side * f for side, f in zip(size, fraction, strict=True)]


# The definition, in double precision


def pulses(distances: Any, gains: Any, rate: int, taps: int) -> np.ndarray:
    """Every image a Hann-windowed sinc of 81 taps."""
    tau = np.asarray(distances, dtype=float)[:, np.newaxis] / C * rate
    n = np.ceil(tau - 40) + np.arange(81)
    values = np.asarray(gains)[:, np.newaxis] * np.sinc(n - tau) * (0.5 + 0.5 * np.cos(math.pi * (n - tau) / 40))
    seen = (np.abs(n - tau) <= 40) & (n >= 0) & (n < taps)
    return np.bincount(n[seen].astype(int), values[seen], minlength=taps)


def mirrored(side: float, source: float, low: float, high: float, order: int) -> list[tuple[float, float, int]]:
    """Images along one axis, made by mirroring in one wall and the other in turn: (position, reflection, cell).

    Cells are copies of the room along the axis; their number is that of the reflections, up to sign.
    """
    found = [(source, 1.0, 0)]
    for walls in (((0.0, low), (side, high)), ((side, high), (0.0, low))):
        position, reflection = source, 1.0
        for wall, factor in itertools.islice(itertools.cycle(walls), order):
            position, reflection = 2 * wall - position, reflection * factor
            found.append((position, reflection, math.floor(position / side)))
    return found


def scrambled(counter: int) -> int:
    counter = (counter ^ counter >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    counter = (counter ^ counter >> 27) * 0x94D049BB133111EB % 2**64
    return counter ^ counter >> 31


def offsets(seed: int, cells: np.ndarray) -> np.ndarray:
    """(images, 3) in (-1, 1): 21 bits for each axis, of one number per image."""
    keys = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
    bits = [scrambled((seed + sum(int(c) * k for c, k in zip(cell, keys, strict=True))) % 2**64) for cell in cells]
    drawn = np.array([[b >> 21 * axis & 0x1FFFFF for axis in range(3)] for b in bits]) * 2.0**-20 + 2.0**-21 - 1
    return drawn * cells.any(axis=1)[:, np.newaxis]


def dense(
    *,
    size_m: Sequence[float] = SIZE,
    absorption: Sequence[float] = (0.4,) * 6,
    source_m: Sequence[float] = SOURCE,
    microphone_m: Sequence[float] = MICROPHONE,
    sample_rate: int = RATE,
    taps: int,
    order: int,
    max_order: float = math.inf,
    max_distance_m: float = math.inf,
    max_loss_db: float = math.inf,
    air_db_per_m: float = 0.0,
    source_pattern: Pattern = OMNI,
    pattern: Pattern = OMNI,
    jitter_m: float = 0.0,
    seed: int = 0,
    with_direct: bool = True,
) -> np.ndarray:
    """One response, from all images of up to `order` reflections per axis."""
    walls = [math.sqrt(1 - a) for a in absorption]
    axes = [np.array(mirrored(size_m[k], source_m[k], walls[2 * k], walls[2 * k + 1], order)) for k in range(3)]
    axes = [axis[axis[:, 1] > 0] for axis in axes]
    index = np.indices([len(axis) for axis in axes]).reshape(3, -1)
    positions, reflections, cells = (np.stack([axes[k][index[k], c] for k in range(3)], axis=1) for c in range(3))
    gains, counts = reflections.prod(axis=1), np.abs(cells).sum(axis=1)
    kept = (counts <= max_order) & (gains >= 10 ** (-max_loss_db / 20) * (1 - 1e-9)) & (counts >= 1 - with_direct)
    apart, gains, cells = positions[kept] - microphone_m, gains[kept], cells[kept]
    direct = math.dist(source_m, microphone_m)
    if jitter_m:
        apart = apart + jitter_m * offsets(seed, cells)
    distances = np.maximum(np.linalg.norm(apart, axis=1), direct)
    near = distances <= max_distance_m
    apart, gains, cells, distances = apart[near], gains[near], cells[near], distances[near]
    heard = pattern.omni + (1 - pattern.omni) * (apart @ pattern.axis) / distances
    leaving = -apart * np.where(cells % 2, -1, 1)  # where the sound set out, seen from the real source
    sent = source_pattern.omni + (1 - source_pattern.omni) * (leaving @ source_pattern.axis) / distances
    gains = gains * heard * sent * 10 ** (-air_db_per_m * distances / 20) / (4 * math.pi * distances)
    return pulses(distances, gains, sample_rate, taps)


def error_db(h: np.ndarray, reference: np.ndarray) -> float:
    taps = max(h.size, reference.size)
    h, reference = (np.pad(x.astype(float), (0, taps - x.size)) for x in (h, reference))
    return float(10 * np.log10(np.sum((h - reference) ** 2) / np.sum(reference**2) + 1e-30))


# On paper


def test_order_zero_is_one_sinc_at_the_distance() -> None:
    h = response(max_order=0)
    d = math.dist(SOURCE, MICROPHONE)
    assert error_db(h, pulses([d], [1 / (4 * math.pi * d)], RATE, h.size)) < -110
    assert np.argmax(h) == round(d / C * RATE)


def test_direct_sound_on_a_tap_is_one_over_four_pi_d() -> None:
    """2.14375 m are 100 taps: the sinc is 1 there, and 0 at every other tap."""
    h = response(max_order=0, source_m=[1.0, 1.0, 1.0], microphones_m=[[3.14375, 1.0, 1.0]])
    assert h[100] == pytest.approx(1 / (4 * math.pi * 2.14375), rel=1e-5)
    assert np.abs(np.delete(h, 100)).max() < 1e-6 * h[100]


@pytest.mark.parametrize(
    ("wall", "image"),
    [
        ("west", (-1.3, 2.1, 1.5)),
        ("east", (6.9, 2.1, 1.5)),
        ("south", (1.3, -2.1, 1.5)),
        ("north", (1.3, 4.3, 1.5)),
        ("floor", (1.3, 2.1, -1.5)),
        ("ceiling", (1.3, 2.1, 3.7)),
    ],
)
def test_one_wall_is_one_image_behind_it(wall: str, image: tuple[float, float, float]) -> None:
    """All other walls absorb everything, so that no order has more than the one reflection."""
    absorption = [0.36 if w == wall else 1.0 for w in WALLS]
    distances = np.array([math.dist(SOURCE, MICROPHONE), math.dist(image, MICROPHONE)])
    for limits in ({"max_order": 1}, {"max_order": 5}, {"max_loss_db": 70.0}, {"max_distance_m": 20.0}):
        h = response(absorption=[absorption], **limits)
        assert error_db(h, pulses(distances, [1.0, 0.8] / (4 * math.pi * distances), RATE, h.size)) < -105


def test_two_walls_are_a_series_of_images() -> None:
    """Between floor and ceiling images lie at +-1.5 + 5.2 n; the four of order 3 or less on either side by hand."""
    h = response(absorption=[[1, 1, 1, 1, 0.36, 0.75]], max_order=3)
    series = [(1.5, 1), (-1.5, 0.8), (3.7, 0.5), (6.7, 0.4), (-3.7, 0.4), (8.9, 0.2), (-6.7, 0.32)]
    distances = np.array([math.dist((1.3, 2.1, z), MICROPHONE) for z, _ in series])
    gains = np.array([r for _, r in series]) / (4 * math.pi * distances)
    assert error_db(h, pulses(distances, gains, RATE, h.size)) < -105


def test_a_source_nearer_than_the_filter_is_cut_at_tap_zero() -> None:
    near = [2.9, 0.8, 1.3]  # 0.1 m, 4.7 taps
    h = response(max_order=0, source_m=near)
    assert error_db(h, pulses([0.1], [1 / (0.4 * math.pi)], RATE, h.size)) < -100


def test_limits_on_paper() -> None:
    """Walls of 0.9 take 10 dB each: 30 dB are three reflections, and those two lengths away are out of 10 m."""
    ninety = {"absorption": [[0.9] * 6]}
    assert np.array_equal(response(**ninety, max_loss_db=30.0)[:500], response(**ninety, max_order=3)[:500])
    assert not np.array_equal(response(**ninety, max_loss_db=29.9)[:500], response(**ninety, max_order=3)[:500])
    assert np.array_equal(response(**ninety, max_loss_db=29.9)[:500], response(**ninety, max_order=2)[:500])
    along = {"size_m": (5.0, 3.0, 3.0), "source_m": (1.0, 1.5, 1.5), "microphones_m": [(2.0, 1.5, 1.5)]}
    h = response(**along, absorption=[[0, 0, 1, 1, 1, 1]], max_distance_m=10.0)  # at 1, -1, 9, 11 and -9 m
    near = np.array([1.0, 3.0, 7.0, 9.0])
    assert error_db(h, pulses(near, 1 / (4 * math.pi * near), RATE, h.size)) < -105
    assert h.size == math.ceil(10 / C * RATE) + 40


# Against the sum in double precision


@pytest.mark.parametrize("rate", [8000, 15625, 16000, 48000])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_dense_sum(rate: int, seed: int) -> None:
    rng = np.random.default_rng([rate, seed])
    size = rng.uniform([2.5, 2.5, 2.2], [9, 6, 4])
    absorption = rng.uniform(0.02, 0.8, 6)
    source, *microphones = (place(size, rng.uniform(0.05, 0.95, 3)) for _ in range(9))
    order = int(rng.integers(5, 15))
    room = {"size_m": size, "absorption": [absorption], "source_m": source, "sample_rate": rate, "max_order": order}
    h = responses(**room, microphones_m=microphones)
    for row, microphone in list(zip(h, microphones, strict=True))[:: 7 if seed else 1]:
        reference = dense(
            **{**room, "absorption": absorption}, microphone_m=microphone, taps=h.shape[1] + 500, order=order
        )
        assert not reference[row.size :].any()  # the last image is in
        assert error_db(row, reference) < -105


def random_room(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of `responses` and of `dense`: every option, and limits that leave some thousand images."""
    size = rng.uniform(2.0, [7, 6, 4])
    source, microphone = (place(size, rng.uniform(0.02, 0.98, 3)) for _ in range(2))
    axes = rng.standard_normal((2, 3))
    patterns = [Pattern(rng.choice([1.0, rng.uniform()]), tuple(axis / np.linalg.norm(axis))) for axis in axes]
    absorption = rng.choice([0.0, 1.0, *rng.uniform(0, 1, 4)], 6) if rng.uniform() < 0.3 else rng.uniform(0, 1, 6)
    common = {
        "size_m": list(size),
        "source_m": source,
        "sample_rate": int(rng.choice([8000, 15625, 16000, 48000])),
        "max_distance_m": rng.uniform(5, 14),
        "max_loss_db": rng.choice([math.inf, 20.0, 40.0]),
        "source_pattern": patterns[0],
        "jitter_m": rng.choice([0.0, 0.08]),
        "seed": int(rng.integers(2**32)),
        "with_direct": bool(rng.uniform() < 0.8),
    }
    air, order = rng.choice([0.0, rng.uniform(0, 0.3)]), int(rng.choice([4, 99]))
    ours = {"absorption": [absorption], "microphones_m": [microphone], "air_db_per_m": [air], "max_order": order}
    theirs = {"absorption": absorption, "microphone_m": microphone, "air_db_per_m": air, "max_order": order}
    return (
        {**common, **ours, "microphone_patterns": [patterns[1]]},
        {**common, **theirs, "pattern": patterns[1], "order": min(order, math.ceil(14.2 / min(size)) + 1)},
    )


@pytest.mark.parametrize("block", range(8))
def test_two_hundred_random_rooms(block: int) -> None:
    for seed in range(25):
        ours, theirs = random_room(np.random.default_rng([block, seed]))
        h = response(**ours)
        reference = dense(**theirs, taps=h.size)
        assert error_db(h, reference) < -105 if reference.any() else not h.any(), (block, seed)


@pytest.mark.parametrize(("rate", "taken"), [(8000, 3.0), (48000, 5.0)])
def test_thick_air(rate: int, taken: float) -> None:
    """Much more than real air takes from the highest octave at such a rate."""
    air = {"sample_rate": rate, "max_order": 8}
    h = response(air_db_per_m=[taken], **air)
    assert error_db(h, dense(air_db_per_m=taken, taps=h.size, order=8, **air)) < -105


def test_images_moved_away_are_not_lost() -> None:
    """By half a metre, the one behind three walls on the far side among them: farther than any was before."""
    for seed in range(4):
        room = {"source_m": (4.09, 0.01, 0.01), "max_order": 3, "jitter_m": 0.5, "seed": seed}
        h = response(**room, microphones_m=[(4.08, 3.19, 2.59)])
        reference = dense(**room, microphone_m=(4.08, 3.19, 2.59), taps=h.size + 100, order=3)
        assert not reference[h.size :].any()
        assert error_db(h, reference) < -105


def test_a_delay_that_rounds_up_to_a_grid_point() -> None:
    """Its fraction is 1 in float32: row 256 of the table, which is that of the next point."""
    for part in (1e-7, 1e-8, 1e-9, 1e-10):
        d = (200 - part) * C / (2 * RATE)
        h = response(max_order=0, source_m=(1.0, 1.0, 1.0), microphones_m=[(1.0 + d, 1.0, 1.0)])
        assert error_db(h, pulses([d], [1 / (4 * math.pi * d)], RATE, h.size)) < -105
    assert images._table().size == 257 * 16


def test_late_images_keep_their_precision() -> None:
    """At 48 kHz and 1.3 s the grid has 125 000 points, where float32 is good to 1/128 of one."""
    size, order, absorption = (9.0, 2.5, 2.5), 50, [0.01, 0.01, 1, 1, 1, 1]
    h = response(size_m=size, absorption=[absorption], max_order=order, sample_rate=48000)
    walls = {"size_m": size, "absorption": absorption, "sample_rate": 48000, "taps": h.size}
    late = slice(48000, None)
    assert error_db(h[late], dense(**walls, order=order, max_order=order)[late]) < -95


def in_bands(h: np.ndarray, rate: int) -> np.ndarray:
    """(bands, taps) through the bands' filters and added up, in double precision and without wrapping around."""
    size = 4 * h.shape[1]
    filters = images.octave_filters(BANDS, sample_rate=rate, size=size)
    return np.fft.irfft((np.fft.rfft(h, size) * filters).sum(axis=0), size)[: h.shape[1]]


WALLS_IN_BANDS = [CARPET, [CARPET[k] for k in (0, 0, 3, 3, 0, 5, 3)], [CARPET[2]] * 7]
AIR_IN_BANDS = [AIR, (0.01, 0.01, 0.01, 0.02, 0.01, 0.02, 0.02), (0.0, 0.01, 0.02, 0.01, 0.0, 0.02, 0.02)]


@pytest.mark.parametrize(("rate", "case"), [(8000, 0), (16000, 0), (48000, 0), (15625, 0), (16000, 1), (16000, 2)])
def test_bands_equal_the_dense_sums_through_their_filters(rate: int, case: int) -> None:
    """All bands different, and some with the same walls, the same air, or both."""
    rows, air_db_per_m = WALLS_IN_BANDS[case], AIR_IN_BANDS[case]
    options: dict[str, Any] = {
        "max_order": 9,
        "max_loss_db": 25.0,
        "sample_rate": rate,
        "source_pattern": cardioid(azimuth_deg=-30),
        "jitter_m": 0.05,
        "seed": 3,
    }
    places = [MICROPHONE, *OTHERS]
    h = responses(absorption=rows, bands_hz=BANDS, air_db_per_m=air_db_per_m, microphones_m=places, **options)
    for row, microphone in ((h[0], MICROPHONE), (h[4], OTHERS[3])):
        each = [
            dense(absorption=walls, air_db_per_m=air, microphone_m=microphone, taps=h.shape[1] + 60, order=9, **options)
            for walls, air in zip(rows, air_db_per_m, strict=True)
        ]
        assert error_db(row, in_bands(np.array(each), rate)[: h.shape[1]]) < -105


def test_the_filters_sum_to_one_and_are_open_at_both_ends() -> None:
    for rate in (16000, 44100, 48000):
        size = 8192
        filters = images.octave_filters(BANDS, sample_rate=rate, size=size)
        assert np.abs(filters.sum(axis=0) - 1).max() < 1e-12
        f = np.arange(size // 2 + 1) * rate / size
        assert filters[0, f < 80].min() > 0.98
        assert filters[-1, f > 8000 - rate / size].min() > 0.98
        for band, centre in enumerate(BANDS):
            at = round(centre / rate * size)
            assert filters[band, at] == pytest.approx(1, abs=0.03)
            half = round(centre * math.sqrt(2) / rate * size)
            if band < 6:
                assert filters[band : band + 2, half] == pytest.approx(0.5, abs=0.03)


# Against pyroomacoustics


@pytest.fixture(autouse=True)
def _settings_of_pyroomacoustics(peer_rooms: Callable[..., None]) -> None:
    peer_rooms(num_threads=1, rir_hpf_enable=False, c=C)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("seed", range(3))
def test_equals_pyroomacoustics(rate: int, seed: int) -> None:
    """The same images; its table of sincs is good to about -50 dB, and its gain is 1 / d."""
    rng = np.random.default_rng([rate, seed])
    size = rng.uniform([2.5, 2.5, 2.2], [9, 6, 4])
    absorption = rng.uniform(0.1, 0.6, 6)
    source = place(size, rng.uniform(0.3, 0.5, 3))
    microphones = [place(size, rng.uniform(0.6, 0.9, 3)) for _ in range(8)]
    room = pra.ShoeBox(
        size, fs=rate, materials=dict(zip(WALLS, map(pra.Material, absorption), strict=True)), max_order=20
    )
    room.add_microphone_array(np.transpose(microphones))
    room.add_source(source)
    room.compute_rir()
    ours = responses(
        size_m=size,
        absorption=[absorption],
        max_order=20,
        source_m=source,
        microphones_m=microphones,
        sample_rate=rate,
    )
    for row, (theirs,) in zip(ours, room.rir, strict=True):
        assert error_db(row, theirs[40:] / (4 * math.pi)) < -48


@pytest.mark.parametrize("name", ["SubCardioid", "Cardioid", "HyperCardioid", "FigureEight"])
def test_directivities_are_those_of_pyroomacoustics(name: str) -> None:
    """At the microphone, and at a source that is mirrored with its images."""
    family = getattr(pra.directivities, name)
    towards = family(orientation=pra.directivities.DirectionVector(azimuth=40, colatitude=70, degrees=True))
    ours = aimed({"FigureEight": "figure_eight"}.get(name, name.lower()), azimuth_deg=40, elevation_deg=20)
    for end, pattern in (("microphone", {"microphone_patterns": [ours]}), ("source", {"source_pattern": ours})):
        room = pra.ShoeBox(SIZE, fs=RATE, materials=pra.Material(0.4), max_order=6)
        room.add_microphone(MICROPHONE, directivity=towards if end == "microphone" else None)
        room.add_source(SOURCE, directivity=towards if end == "source" else None)
        room.compute_rir()
        assert error_db(response(**pattern), room.rir[0][0][40:] / (4 * math.pi)) < -48


def test_air_weakens_as_in_pyroomacoustics() -> None:
    """Only in level, above 4 kHz: its bands have other filters."""
    room = pra.ShoeBox(
        SIZE, fs=RATE, materials=pra.Material(0.1), max_order=20, air_absorption=True, temperature=20, humidity=50
    )
    room.add_microphone(MICROPHONE)
    room.add_source(SOURCE)
    room.compute_rir()
    theirs = room.rir[0][0][40:] / (4 * math.pi)
    air = 10 * math.log10(math.e) * np.asarray(room.air_absorption)  # of energy, in neper per metre
    centres = room.octave_bands.centers
    ours, dry = (
        response(absorption=[[0.1] * 6], max_order=20, bands_hz=centres, air_db_per_m=taken) for taken in (air, ())
    )
    assert high_db(ours) == pytest.approx(high_db(theirs), abs=0.5)
    assert high_db(ours) < high_db(dry) - 1.5


def high_db(h: np.ndarray) -> float:
    """The level above 4 kHz after 0.12 s."""
    spectrum = np.fft.rfft(h[2000:4000])
    return float(10 * np.log10(np.sum(np.abs(spectrum[spectrum.size // 2 :]) ** 2)))


# Properties


@settings(max_examples=40)
@given(size=shoebox, absorption=six, one=inside, other=inside, order=st.integers(0, 20))
def test_reciprocity(
    size: Sequence[float], absorption: list[float], one: Sequence[float], other: Sequence[float], order: int
) -> None:
    """Source and microphone may be exchanged, with their patterns."""
    a, b = place(size, one), place(size, other)
    assume(math.dist(a, b) > 0.05)
    room = {"size_m": size, "absorption": [absorption], "max_order": order}
    p, q = cardioid(azimuth_deg=20), figure_eight(azimuth_deg=-100, elevation_deg=50)
    there = response(**room, source_m=a, microphones_m=[b], source_pattern=p, microphone_patterns=[q])
    back = response(**room, source_m=b, microphones_m=[a], source_pattern=q, microphone_patterns=[p])
    assert there.dtype == np.float32
    assert np.isfinite(there).all()
    plain = response(**room, source_m=a, microphones_m=[b])
    scale = np.sum(plain.astype(float) ** 2)  # a null of a pattern leaves little of the whole
    assert np.sum((there - back).astype(float) ** 2) < 10**-10.5 * scale


@settings(max_examples=40)
@given(size=shoebox, absorption=six, one=inside, other=inside, wall=st.integers(0, 5), order=st.integers(1, 15))
def test_every_wall_takes_from_the_sum(
    size: Sequence[float],
    absorption: list[float],
    one: Sequence[float],
    other: Sequence[float],
    wall: int,
    order: int,
) -> None:
    """The sum of the taps is the sum of the gains, for sources farther than the filter: less with each absorption.

    (The energy need not fall: neighbouring images can interfere.)
    """
    a, b = place(size, one), place(size, other)
    assume(math.dist(a, b) > 0.3 and absorption[wall] < 0.9)
    more = [value + 0.1 * (k == wall) for k, value in enumerate(absorption)]
    room = {"size_m": size, "source_m": a, "microphones_m": [b], "max_order": order, "sample_rate": 48000}
    before, after = (response(**room, absorption=[values]).sum(dtype=float) for values in (absorption, more))
    assert after < before


@settings(max_examples=20)
@given(size=shoebox, one=inside, other=inside)
def test_turning_the_room_turns_nothing_else(
    size: Sequence[float], one: Sequence[float], other: Sequence[float]
) -> None:
    """Axes may be exchanged, and an axis turned round, with its walls and patterns."""
    a, b = place(size, one), place(size, other)
    assume(math.dist(a, b) > 0.05)
    pattern = Pattern(0.6, (0.36, 0.48, -0.8))
    h = response(size_m=size, absorption=[UNEQUAL], source_m=a, microphones_m=[b], microphone_patterns=[pattern])
    permuted = response(
        size_m=[size[2], size[0], size[1]],
        absorption=[[0.5, 0.6, 0.1, 0.2, 0.3, 0.4]],
        source_m=[a[2], a[0], a[1]],
        microphones_m=[[b[2], b[0], b[1]]],
        microphone_patterns=[Pattern(0.6, (-0.8, 0.36, 0.48))],
    )
    turned = response(
        size_m=size,
        absorption=[[0.2, 0.1, 0.3, 0.4, 0.5, 0.6]],
        source_m=[size[0] - a[0], a[1], a[2]],
        microphones_m=[[size[0] - b[0], b[1], b[2]]],
        microphone_patterns=[Pattern(0.6, (-0.36, 0.48, -0.8))],
    )
    assert error_db(permuted, h) < -105
    assert error_db(turned, h) < -105


@pytest.mark.parametrize("size", [(4.0, 3.0, 2.5), (7.0, 5.0, 3.0), (12.0, 9.0, 4.0)])
def test_energy_falls_with_absorption(size: tuple[float, float, float]) -> None:
    energies = [
        np.sum(response(size_m=size, absorption=[[a] * 6], max_order=20).astype(float) ** 2)
        for a in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert np.all(np.diff(energies) < 0)


OPTIONS: list[dict[str, Any]] = [
    {"max_order": 20},
    {"max_order": 8, "jitter_m": 0.08, "seed": 7},
    {"max_loss_db": 30.0, "absorption": CARPET, "bands_hz": BANDS, "air_db_per_m": AIR},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_rows_do_not_depend_on_each_other(options: dict[str, Any]) -> None:
    """Bit for bit: all microphones, one alone, and the whole again after something else."""
    everywhere = [MICROPHONE, *OTHERS]
    h = responses(**options, microphones_m=everywhere)
    response(max_order=3, sample_rate=48000)
    for microphone, row in zip(everywhere, h, strict=True):
        assert response(**options, microphones_m=[microphone]).tobytes() == row.tobytes()
    assert responses(**options, microphones_m=everywhere).tobytes() == h.tobytes()


@settings(max_examples=20)
@given(
    one=inside,
    others=st.lists(inside, min_size=1, max_size=3),
    limits=st.sampled_from([*OPTIONS, {"max_distance_m": 9.0}]),
)
def test_the_length_does_not_depend_on_positions(
    one: Sequence[float], others: list[Sequence[float]], limits: dict[str, Any]
) -> None:
    assume(all(math.dist(one, other) > 0.01 for other in others))
    h = responses(**limits, source_m=place(SIZE, one), microphones_m=[place(SIZE, other) for other in others])
    assert h.shape == (len(others), responses(**limits).shape[1])


@pytest.mark.parametrize("seed", range(30))
def test_the_length_holds_the_farthest_image_and_little_more(seed: int) -> None:
    """Of all images within the limits, from the farthest corners of their cell and of the room."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(2, 6, 3)
    absorption = rng.choice([1.0, *rng.uniform(0.3, 0.99, 5)], 6)
    max_loss_db, max_order = rng.uniform(5, 40), int(rng.integers(0, 9)) if seed % 3 == 0 else None
    h = response(
        size_m=size,
        absorption=[absorption],
        source_m=size / 3,
        microphones_m=[size / 2],
        max_loss_db=max_loss_db,
        max_order=max_order,
    )
    walls = np.sqrt(1 - absorption)
    axes = [np.array(mirrored(size[k], size[k] / 3, walls[2 * k], walls[2 * k + 1], 60)) for k in range(3)]
    axes = [axis[axis[:, 1] >= 10 ** (-max_loss_db / 20)] for axis in axes]
    index = np.indices([len(axis) for axis in axes]).reshape(3, -1)
    gains = np.prod([axes[k][index[k], 1] for k in range(3)], axis=0)
    counts = np.abs([axes[k][index[k], 2] for k in range(3)])
    kept = (gains >= 10 ** (-max_loss_db / 20)) & (counts.sum(axis=0) <= (99 if max_order is None else max_order))
    farthest = np.linalg.norm((counts[:, kept] + 1) * size[:, np.newaxis], axis=0).max()
    assert farthest / C * RATE <= h.size - 40
    if max_order is None:
        assert h.size - 41 <= (farthest + 2 * size.max()) / C * RATE


def test_a_larger_sphere_only_adds_behind_it() -> None:
    """Images just outside add exactly nothing: before the sphere's end not a bit differs."""
    near, far = (response(absorption=[UNEQUAL], max_distance_m=d) for d in (12.0, 25.0))
    safe = math.floor(12 / C * RATE) - 50
    assert near[:safe].tobytes() == far[:safe].tobytes()
    assert np.any(near[safe:] != far[safe : near.size])


def test_the_direct_sound_and_the_rest_are_the_whole() -> None:
    for options in OPTIONS:
        whole, rest = response(**options), response(**options, with_direct=False)
        direct = response(**{**options, "max_order": 0, "max_loss_db": math.inf})
        padded = np.pad(direct, (0, max(0, whole.size - direct.size)))[: whole.size]
        assert error_db(rest + padded, whole) < -100
        assert not response(max_order=0, with_direct=False).any()


def test_equal_bands_are_the_broadband_response_bit_for_bit() -> None:
    for options in OPTIONS[:2]:
        one, seven = (response(**options, absorption=[UNEQUAL] * n, bands_hz=BANDS[:n]) for n in (1, 7))
        assert one.tobytes() == seven.tobytes()


def test_the_same_walls_through_filters_are_the_broadband_response() -> None:
    """Absorptions that differ by nothing to speak of are kept apart, and filtered."""
    nearly = [[a + 1e-12 * band for a in UNEQUAL] for band in range(7)]
    assert error_db(response(absorption=nearly, bands_hz=BANDS), response(absorption=[UNEQUAL])) < -120


def test_bands_that_are_not_heard_do_not_count() -> None:
    rows = [[0.1 * (band + 1)] * 6 for band in range(7)]
    with_all, with_some = (
        response(absorption=rows[:n], bands_hz=BANDS[:n], sample_rate=4000, max_order=5) for n in (7, 5)
    )
    assert with_all.tobytes() == with_some.tobytes()


def test_ambisonics_are_the_components_of_the_direction() -> None:
    """Four microphones in one place: of the direct sound W is the pressure, Y, Z, X are its share along the axes."""
    room = {"microphones_m": [MICROPHONE] * 4, "microphone_patterns": FIRST_ORDER_AMBISONICS}
    w, y, z, x = responses(max_order=0, **room)
    apart = np.subtract(SOURCE, MICROPHONE) / math.dist(SOURCE, MICROPHONE)
    for channel, cosine in zip((x, y, z), apart, strict=True):
        assert error_db(channel, cosine * w) < -110
    assert np.array_equal(w, response(max_order=0))
    w, y, z, x = responses(max_order=6, **room)
    assert np.array_equal(w, response(max_order=6))
    opposite = cardioid(azimuth_deg=90)
    assert error_db(response(microphone_patterns=[opposite], max_order=6), (w + y) / 2) < -110


def test_moved_images_are_the_same_for_every_limit_and_the_first_is_not_moved() -> None:
    moved = {"jitter_m": 0.08, "seed": 11}
    near, far = (response(**moved, max_distance_m=d) for d in (12.0, 25.0))
    safe = math.floor(12 / C * RATE) - 50
    assert near[:safe].tobytes() == far[:safe].tobytes()
    direct = response(max_order=0)
    assert response(**moved, max_order=0)[: direct.size].tobytes() == direct.tobytes()
    assert response(**moved, max_order=3).tobytes() != response(**{**moved, "seed": 12}, max_order=3).tobytes()
    assert error_db(response(max_order=6, jitter_m=1e-9), response(max_order=6)) < -110


def test_nothing_is_heard_before_the_direct_sound() -> None:
    """A source 5 cm from a microphone that stands on the floor; half of its first images would come too early."""
    room = {"source_m": (2.0, 1.6, 0.0), "microphones_m": [(2.05, 1.6, 0.0)], "max_order": 1, "sample_rate": 48000}
    for seed in range(20):
        h = response(**room, jitter_m=0.08, seed=seed, absorption=[[1, 1, 1, 1, 0, 1]])
        assert np.isfinite(h).all()
        assert np.abs(h).max() <= 2.01 / (4 * math.pi * 0.05)


def test_moved_images_are_spread_evenly() -> None:
    cells = np.array(list(itertools.product(range(-8, 9), repeat=3)))
    drawn = offsets(5, cells[cells.any(axis=1)])
    assert np.abs(drawn.mean(axis=0)).max() < 0.03
    assert np.abs(drawn.var(axis=0) - 1 / 3).max() < 0.02
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.06


def test_transforms_are_long_enough_and_few() -> None:
    sizes = {taps: images._transform_size(taps) for taps in range(97, 70000, 7)}
    assert all(taps <= size <= 4 / 3 * taps and size % 2 == 0 for taps, size in sizes.items())
    assert len(set(sizes.values())) < 50


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_m": [1, 1, 3]}, r"source_m must lie in the room of \[4.1, 3.2, 2.6\] m, got \[1, 1, 3\]"),
        ({"microphones_m": [[1, 1, 1], [1, 1]]}, r"microphones_m must lie in the room .*, got \[1, 1\]"),
        ({"source_m": [math.nan, 1, 1]}, "source_m must lie in the room"),
        ({"microphones_m": [SOURCE]}, r"source_m must not lie on a microphone, got \[1.3, 2.1, 1.5\] for both"),
        ({"microphones_m": []}, "microphones_m must not be empty"),
        ({"size_m": [4, 3, 0]}, r"size_m must be three positive lengths, got \[4, 3, 0\]"),
        ({"absorption": [[0.1] * 5]}, "absorption must be rows of six values between 0 and 1"),
        ({"absorption": [[0.1] * 5 + [1.1]]}, "absorption must be rows of six values between 0 and 1"),
        ({"absorption": []}, "absorption must be rows of six values between 0 and 1"),
        ({"absorption": [[0.1] * 6] * 2}, r"bands_hz must be 2 rising frequencies, got \[\]"),
        ({"absorption": [[0.1] * 6] * 2, "bands_hz": [500, 250]}, "bands_hz must be 2 rising frequencies"),
        ({"absorption": [[0.1] * 6] * 2, "air_db_per_m": [0.1] * 3}, "must agree, got 2 and 3 bands"),
        ({"air_db_per_m": [-0.1]}, r"air_db_per_m must be finite and not negative, got \[-0.1\]"),
        ({"max_order": -1}, "max_order must not be negative, got -1"),
        ({"max_distance_m": 0.0}, "max_distance_m must be positive and finite, got 0.0"),
        ({"max_loss_db": 0.0}, "max_loss_db must be positive, got 0.0"),
        ({"jitter_m": math.inf}, "jitter_m must be finite and not negative, got inf"),
        (
            {"microphone_patterns": [OMNI] * 2},
            "microphone_patterns must be one per microphone, got 2 for 1 microphones",
        ),
        ({"absorption": [[0, 0, 1, 1, 1, 1]], "max_loss_db": 70.0}, "max_distance_m or max_order must be given"),
        ({"max_loss_db": math.inf}, "max_distance_m or max_order must be given"),
    ],
)
def test_bad_rooms_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        responses(**changes)


def test_filters_need_room() -> None:
    with pytest.raises(ValueError, match="size must be at least 1024 taps, to hold the filters, got 1000"):
        images.octave_filters(BANDS, sample_rate=RATE, size=1000)


def test_neither_pyroomacoustics_nor_scipy_signal_is_needed() -> None:
    code = "import sys, augment.images; print(*{'pyroomacoustics', 'scipy.signal'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
