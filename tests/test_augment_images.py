"""Witnesses: images placed by hand, a sum in double precision over mirrored sources, pyroomacoustics; properties."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from augment import acoustics, images, rooms

C = 343.0
RATE = 16000
SIZE = (4.1, 3.2, 2.6)
SOURCE = (1.3, 2.1, 1.5)
MICROPHONE = (2.9, 0.8, 1.2)
WALLS = ("west", "east", "south", "north", "floor", "ceiling")

coordinate = st.floats(0.05, 0.95)
inside = st.tuples(coordinate, coordinate, coordinate)
shoebox = st.tuples(st.floats(2.5, 8.0), st.floats(2.5, 6.0), st.floats(2.2, 4.0))
six = st.lists(st.floats(0.05, 1.0), min_size=6, max_size=6)


def response(**changes: object) -> np.ndarray:
    given = {"size_m": SIZE, "absorption": [0.4] * 6, "max_order": 6, "source_m": SOURCE, "microphone_m": MICROPHONE}
    return images.impulse_response(**{**given, "sample_rate": RATE, **changes})  # type: ignore[arg-type]


def place(size: Sequence[float], fraction: Sequence[float]) -> list[float]:
    return [side * f for side, f in zip(size, fraction, strict=True)]


def pulses(distances: Sequence[float], reflections: Sequence[float], rate: int, taps: int) -> np.ndarray:
    """The definition, in double precision: every image a Hann-windowed sinc of 81 taps with gain r / (4 pi d)."""
    out = np.zeros(taps)
    for d, r in zip(distances, reflections, strict=True):
        tau = d / C * rate
        n = np.arange(max(0, math.ceil(tau - 40)), min(taps, math.floor(tau + 40) + 1))
        out[n] += r / (4 * math.pi * d) * np.sinc(n - tau) * (0.5 + 0.5 * np.cos(math.pi * (n - tau) / 40))
    return out


def mirrored(side: float, source: float, low: float, high: float, order: int) -> list[tuple[float, float, int]]:
    """Images along one axis, made by mirroring in one wall and the other in turn: (position, reflection, count)."""
    found = [(source, 1.0, 0)]
    for walls in (((0.0, low), (side, high)), ((side, high), (0.0, low))):
        position, reflection = source, 1.0
        for count, (wall, factor) in enumerate(itertools.islice(itertools.cycle(walls), order), 1):
            position, reflection = 2 * wall - position, reflection * factor
            found.append((position, reflection, count))
    return found


def dense(
    size: Sequence[float],
    absorption: Sequence[float],
    order: int,
    source: Sequence[float],
    microphone: Sequence[float],
    rate: int,
    taps: int,
) -> np.ndarray:
    walls = [math.sqrt(1 - a) for a in absorption]
    axes = [mirrored(size[k], source[k], walls[2 * k], walls[2 * k + 1], order) for k in range(3)]
    kept = [t for t in itertools.product(*axes) if sum(count for _, _, count in t) <= order]
    distances = [math.dist([position for position, _, _ in t], microphone) for t in kept]
    return pulses(distances, [math.prod(reflection for _, reflection, _ in t) for t in kept], rate, taps)


def error_db(h: np.ndarray, reference: np.ndarray) -> float:
    taps = max(h.size, reference.size)
    h, reference = (np.pad(x.astype(float), (0, taps - x.size)) for x in (h, reference))
    return float(10 * np.log10(np.sum((h - reference) ** 2) / np.sum(reference**2) + 1e-30))


# On paper


def test_order_zero_is_one_sinc_at_the_distance() -> None:
    h = response(max_order=0)
    d = math.dist(SOURCE, MICROPHONE)
    assert error_db(h, pulses([d], [1.0], RATE, h.size)) < -110
    assert np.argmax(h) == round(d / C * RATE)


def test_direct_sound_on_a_tap_is_one_over_four_pi_d() -> None:
    """2.14375 m are 100 taps: the sinc is 1 there, and 0 at every other tap."""
    h = response(max_order=0, source_m=[1.0, 1.0, 1.0], microphone_m=[3.14375, 1.0, 1.0])
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
    for order in (1, 5):
        h = response(absorption=absorption, max_order=order)
        distances = [math.dist(SOURCE, MICROPHONE), math.dist(image, MICROPHONE)]
        assert error_db(h, pulses(distances, [1.0, 0.8], RATE, h.size)) < -105


def test_two_walls_are_a_series_of_images() -> None:
    """Between floor and ceiling images lie at +-1.5 + 5.2 n; the four of order 3 or less on either side by hand."""
    h = response(absorption=[1, 1, 1, 1, 0.36, 0.75], max_order=3)
    series = [(1.5, 1), (-1.5, 0.8), (3.7, 0.5), (6.7, 0.4), (-3.7, 0.4), (8.9, 0.2), (-6.7, 0.32)]
    distances = [math.dist((1.3, 2.1, z), MICROPHONE) for z, _ in series]
    assert error_db(h, pulses(distances, [r for _, r in series], RATE, h.size)) < -105


def test_a_source_nearer_than_the_filter_is_cut_at_tap_zero() -> None:
    near = [2.9, 0.8, 1.3]  # 0.1 m, 4.7 taps
    h = response(max_order=0, source_m=near)
    assert error_db(h, pulses([math.dist(near, MICROPHONE)], [1.0], RATE, h.size)) < -100


# Against the sum in double precision


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_dense_sum(rate: int, seed: int) -> None:
    rng = np.random.default_rng([rate, seed])
    size = rng.uniform([2.5, 2.5, 2.2], [9, 6, 4])
    absorption = rng.uniform(0.02, 0.8, 6)
    source, microphone = (place(size, rng.uniform(0.05, 0.95, 3)) for _ in range(2))
    order = int(rng.integers(5, 19))
    h = response(
        size_m=size,
        absorption=absorption,
        max_order=order,
        source_m=source,
        microphone_m=microphone,
        sample_rate=rate,
    )
    reference = dense(size, absorption, order, source, microphone, rate, h.size + 500)
    assert not reference[h.size :].any()  # the last image is in
    assert error_db(h, reference) < -105


def test_late_images_keep_their_precision() -> None:
    """At 48 kHz and 1.3 s the grid has 125 000 points, where float32 is good to 1/128 of one."""
    size, order = (9.0, 2.5, 2.5), 50
    h = response(size_m=size, absorption=[0.01, 0.01, 1, 1, 1, 1], max_order=order, sample_rate=48000)
    reference = dense(size, [0.01, 0.01, 1, 1, 1, 1], order, SOURCE, MICROPHONE, 48000, h.size)
    late = slice(48000, None)
    assert error_db(h[late], reference[late]) < -95


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
    for microphone, (theirs,) in zip(microphones, room.rir, strict=True):
        ours = response(
            size_m=size,
            absorption=absorption,
            max_order=20,
            source_m=source,
            microphone_m=microphone,
            sample_rate=rate,
        )
        assert error_db(ours, theirs[40:] / (4 * math.pi)) < -45


# Properties


@settings(max_examples=40, deadline=None)
@given(size=shoebox, absorption=six, one=inside, other=inside, order=st.integers(0, 20))
def test_reciprocity(
    size: Sequence[float], absorption: list[float], one: Sequence[float], other: Sequence[float], order: int
) -> None:
    """Source and microphone may be exchanged."""
    a, b = place(size, one), place(size, other)
    assume(math.dist(a, b) > 0.05)
    there = response(size_m=size, absorption=absorption, max_order=order, source_m=a, microphone_m=b)
    back = response(size_m=size, absorption=absorption, max_order=order, source_m=b, microphone_m=a)
    assert there.dtype == np.float32
    assert np.isfinite(there).all()
    assert error_db(there, back) < -105


@settings(max_examples=40, deadline=None)
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
    before, after = (
        response(
            size_m=size, absorption=list(values), max_order=order, source_m=a, microphone_m=b, sample_rate=48000
        ).sum(dtype=float)
        for values in (absorption, more)
    )
    assert after < before


@settings(max_examples=20, deadline=None)
@given(size=shoebox, one=inside, other=inside)
def test_turning_the_room_turns_nothing_else(
    size: Sequence[float], one: Sequence[float], other: Sequence[float]
) -> None:
    """Axes may be exchanged, and an axis turned round, with its walls."""
    a, b = place(size, one), place(size, other)
    assume(math.dist(a, b) > 0.05)
    absorption = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    h = response(size_m=size, absorption=absorption, source_m=a, microphone_m=b)
    permuted = response(
        size_m=[size[2], size[0], size[1]],
        absorption=[0.5, 0.6, 0.1, 0.2, 0.3, 0.4],
        source_m=[a[2], a[0], a[1]],
        microphone_m=[b[2], b[0], b[1]],
    )
    turned = response(
        size_m=size,
        absorption=[0.2, 0.1, 0.3, 0.4, 0.5, 0.6],
        source_m=[size[0] - a[0], a[1], a[2]],
        microphone_m=[size[0] - b[0], b[1], b[2]],
    )
    assert error_db(permuted, h) < -105
    assert error_db(turned, h) < -105


@pytest.mark.parametrize("size", [(4.0, 3.0, 2.5), (7.0, 5.0, 3.0), (12.0, 9.0, 4.0)])
def test_energy_falls_with_absorption(size: tuple[float, float, float]) -> None:
    energies = [
        np.sum(response(size_m=size, absorption=[a] * 6, max_order=20).astype(float) ** 2)
        for a in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert np.all(np.diff(energies) < 0)


def test_the_same_bytes_every_time() -> None:
    first = response(max_order=30)
    response(max_order=3, sample_rate=48000)
    assert response(max_order=30).tobytes() == first.tobytes()


def test_transforms_are_long_enough_and_few() -> None:
    sizes = {taps: images._transform_size(taps) for taps in range(97, 70000, 7)}
    assert all(taps <= size <= 4 / 3 * taps and size % 2 == 0 for taps, size in sizes.items())
    assert len(set(sizes.values())) < 50


# simulate


def simulate(**changes: object) -> list[np.ndarray]:
    absorption, order = rooms.sabine(0.3, SIZE) or pytest.fail("feasible")
    given = {"size_m": SIZE, "absorption": absorption, "max_order": order, "sample_rate": RATE}
    return rooms.simulate(**{**given, "sources_m": [SOURCE], "microphones_m": [MICROPHONE], **changes})  # type: ignore[arg-type]


def test_a_batch_is_its_members_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    sources = [place(SIZE, rng.uniform(0.1, 0.9, 3)) for _ in range(3)]
    microphones = [place(SIZE, rng.uniform(0.1, 0.9, 3)) for _ in range(8)]
    for source, h in zip(sources, simulate(sources_m=sources, microphones_m=microphones), strict=True):
        assert h.shape[0] == 8
        assert h.dtype == np.float32
        assert h[:, -1].any()
        for row, microphone in zip(h, microphones, strict=True):
            ((alone,),) = simulate(sources_m=[source], microphones_m=[microphone])
            assert row[: alone.size].tobytes() == alone.tobytes()
            assert not row[alone.size :].any()


def test_simulate_has_the_same_absorption_on_all_walls_and_ends_at_the_depth() -> None:
    ((h,),) = simulate(absorption=0.3, max_order=25)
    whole = response(absorption=[0.3] * 6, max_order=25)
    assert np.array_equal(h, whole[: h.size])
    left = [np.sum(whole[stop:].astype(float) ** 2) / np.sum(whole.astype(float) ** 2) for stop in (h.size, h.size - 1)]
    assert left[0] <= 1e-7 < left[1]


@pytest.mark.parametrize("rt60_s", [0.2, 0.3, 0.5])
@pytest.mark.parametrize("size", [(4.0, 3.0, 2.5), (7.0, 5.0, 3.0), (12.0, 9.0, 4.0)])
def test_the_order_is_deep_enough(size: tuple[float, float, float], rt60_s: float) -> None:
    """Beside half as many orders again, decay time and clarity do not move.

    What is left out is -70 dB as a sum of energies; near 0 Hz images add in amplitude, so the difference is larger.
    """
    absorption, order = rooms.sabine(rt60_s, size) or pytest.fail("feasible")
    assert (1 - absorption) ** order <= 1e-7 < (1 - absorption) ** (order - 1)
    ours, deeper = (
        simulate(size_m=size, absorption=absorption, max_order=n)[0][0] for n in (order, math.ceil(1.5 * order))
    )
    assert error_db(ours, deeper) < -50
    one, other = (
        acoustics.measure(h, RATE, onset=round(math.dist(SOURCE, MICROPHONE) / C * RATE)) for h in (ours, deeper)
    )
    assert one.c50_db == pytest.approx(other.c50_db, abs=0.01)
    assert one.rt60_s == pytest.approx(other.rt60_s, rel=0.02)


def test_sabine_on_paper() -> None:
    """A cube of 6 m: V / S = 1 m, so that absorption = 24 ln(10) / (343 x 0.4) = 0.4028, 2.239 dB per reflection."""
    absorption, order = rooms.sabine(0.4, (6, 6, 6)) or (0, 0)
    assert absorption == pytest.approx(0.4028, abs=1e-4)
    assert order == 32
    assert rooms.sabine(0.16, (6, 6, 6)) is None
    assert rooms.sabine(24 * math.log(10) / 343 * (1 + 1e-12), (6, 6, 6)) == (pytest.approx(1), 1)


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_m": [1, 1, 3]}, r"source_m must lie in the room of \[4.1, 3.2, 2.6\] m, got \[1, 1, 3\]"),
        ({"microphone_m": [1, 1]}, r"microphone_m must lie in the room"),
        ({"source_m": [math.nan, 1, 1]}, "source_m must lie in the room"),
        ({"microphone_m": SOURCE}, r"source_m and microphone_m must differ, got \[1.3, 2.1, 1.5\] for both"),
        ({"absorption": [0.1] * 5}, "absorption must be six values between 0 and 1"),
        ({"absorption": [0.1] * 5 + [1.1]}, "absorption must be six values between 0 and 1"),
        ({"max_order": -1}, "max_order must not be negative, got -1"),
    ],
)
def test_bad_rooms_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        response(**changes)


def test_neither_pyroomacoustics_nor_scipy_signal_is_needed() -> None:
    code = "import sys, augment.rooms; print(*{'pyroomacoustics', 'scipy.signal'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
