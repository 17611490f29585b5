"""Witnesses: images placed by hand, a sum in double precision over mirrored sources, pyroomacoustics; properties."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from augment import images
from augment.directivity import FIRST_ORDER_AMBISONICS, OMNI, Pattern, cardioid

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


@pytest.mark.parametrize("rate", [8000, 16000, 48000, 15625])
def test_bands_equal_the_dense_sums_through_their_filters(rate: int) -> None:
    options: dict[str, Any] = {
        "max_order": 9,
        "max_loss_db": 25.0,
        "sample_rate": rate,
        "source_pattern": cardioid(azimuth_deg=-30),
        "jitter_m": 0.05,
        "seed": 3,
    }
    h = responses(absorption=CARPET, bands_hz=BANDS, air_db_per_m=AIR, microphones_m=[MICROPHONE, *OTHERS], **options)
    for row, microphone in ((h[0], MICROPHONE), (h[4], OTHERS[3])):
        each = [
            dense(absorption=walls, air_db_per_m=air, microphone_m=microphone, taps=h.shape[1] + 60, order=9, **options)
            for walls, air in zip(CARPET, AIR, strict=True)
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
def _settings_of_pyroomacoustics() -> None:
    pra.constants.set("num_threads", 1)
    pra.constants.set("rir_hpf_enable", False)
    pra.constants.set("c", C)


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
