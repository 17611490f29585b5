"""Witnesses: the direct sound on paper; every image summed one by one in double precision; pyroomacoustics."""

from __future__ import annotations

import hashlib
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from augment import acoustics, arrays, decay, rooms
from manifests.schema import Array, Pattern, Room

C = rooms.SPEED_OF_SOUND
RATE = 16_000
SIZE = [5.0, 4.0, 3.0]
SOURCE = [1.2, 1.1, 1.5]
MICROPHONE = [3.3, 2.4, 1.2]


def array(*microphones_m: list[float], patterns: list[Pattern] | None = None, turned: float = 0.0) -> Array:
    return Array(
        preset="user",
        positions_m=list(microphones_m),
        centre_m=[float(v) for v in np.mean(microphones_m, axis=0)],
        rotation_deg=[turned, 0.0, 0.0],
        channels=list(range(len(microphones_m))),
        patterns=patterns or [],
    )


def room(absorption: float = 0.3, *, size_m: list[float] | None = None, **changes: Any) -> Room:
    given: dict[str, Any] = {
        "engine": "shoebox",
        "room_id": "r",
        "size_m": size_m or SIZE,
        "absorption": [[absorption] * 6],
        "array": array(MICROPHONE),
    }
    return Room(**given | changes)


def simulate(source_m: list[float] | None = None, rate: int = RATE, **changes: Any) -> np.ndarray:
    found: np.ndarray = rooms.simulate(room(**changes), source_m=source_m or SOURCE, sample_rate=rate)
    return found


def delay_and_gain(h: np.ndarray) -> tuple[float, float]:
    """Delay (taps, to a fraction) and gain of a filter that does little else, from its spectrum at 0.05 to 0.35."""
    spectrum = np.fft.rfft(h.astype(float), 1 << 14)
    f = np.arange(len(spectrum)) / (1 << 14)
    band = (f > 0.05) & (f < 0.35)
    slope = np.polyfit(f[band], np.unwrap(np.angle(spectrum[band])), 1)[0]
    return -slope / (2 * np.pi), float(np.abs(spectrum[band]).mean())


def images(size: list[float], source: list[float], microphone: list[float], reach_m: float) -> list[tuple[float, int]]:
    """(distance, number of reflections) of every image within reach, by mirroring one wall at a time."""
    axes = []
    for side, s, m in zip(size, source, microphone, strict=True):
        last = math.ceil(reach_m / side) + 1
        unfolded = [(k * side + (s if k % 2 == 0 else side - s), abs(k)) for k in range(-last, last + 1)]
        axes.append([(position - m, walls) for position, walls in unfolded])
    found = ((math.hypot(x, y, z), a + b + c) for (x, a), (y, b), (z, c) in itertools.product(*axes))
    return [(d, walls) for d, walls in found if d < reach_m]


def one_by_one(
    size: list[float], absorption: float, source: list[float], microphone: list[float], taps: int
) -> np.ndarray:
    """The response as the textbook has it: a windowed sinc of 81 taps per image, in double precision."""
    h = np.zeros(taps)
    n = np.arange(taps)
    for distance, walls in images(size, source, microphone, (taps + 40) / RATE * C):
        t = n - distance / C * RATE
        window = np.where(abs(t) < 40, (1 + np.cos(np.pi * t / 40)) / 2, 0)
        h += math.sqrt(1 - absorption) ** walls / (4 * math.pi * distance) * np.sinc(t) * window
    return h


def error_db(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(10 * np.log10(np.sum((found - wanted) ** 2) / np.sum(wanted**2) + 1e-30))


# the direct sound


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
@pytest.mark.parametrize("distance", [1.777, 2.5, 4.321])
def test_the_direct_sound_comes_when_and_as_loud_as_geometry_says(distance: float, rate: int) -> None:
    """At d / c to a hundredth of a tap, with gain 1 / (4 pi d) to 0.02 dB."""
    source, microphone = [2 + distance * 0.6, 1 + distance * 0.8, 1.5], [2.0, 1.0, 1.5]
    walls = room(size_m=[9.0, 9.0, 4.0], array=array(microphone))
    h = rooms.anechoic(walls, source_m=source, sample_rate=rate, taps=2000)
    where = rooms.geometry(source_m=source, microphone_m=microphone)
    delay, gain = delay_and_gain(h[0])
    assert where.distance_m == pytest.approx(distance)
    assert delay == pytest.approx(distance / C * rate, abs=0.01)
    assert 20 * math.log10(gain * 4 * math.pi * distance) == pytest.approx(0, abs=0.02)
    assert delay == pytest.approx(where.delay_samples(rate), abs=0.01)
    assert gain == pytest.approx(where.gain, rel=0.0025)


def test_nothing_arrives_before_the_direct_sound() -> None:
    """Tap 0 is emission. What precedes the onset is the fractional delay's ripple, 40 taps long."""
    h = simulate()
    onset = math.dist(SOURCE, MICROPHONE) / C * RATE
    assert np.abs(h[0, : int(onset) - 40]).max() < 1e-5 * np.abs(h[0]).max()
    assert np.abs(h[0, : int(onset) - 1]).max() < 0.25 * np.abs(h[0]).max()
    assert int(np.argmax(np.abs(h[0]))) == round(onset)


def test_every_microphone_has_its_own_delay() -> None:
    """The differences in time between microphones are those of geometry, in the room and without its walls."""
    microphones = [[3.3, 2.4, 1.2], [3.4, 2.4, 1.2], [3.3, 2.55, 1.3]]
    walls = room(array=array(*microphones))
    whole = rooms.simulate(walls, source_m=SOURCE, sample_rate=RATE)
    alone = rooms.anechoic(walls, source_m=SOURCE, sample_rate=RATE, taps=whole.shape[1])
    for h, direct, microphone in zip(whole, alone, microphones, strict=True):
        expected = math.dist(SOURCE, microphone) / C * RATE
        assert delay_and_gain(direct)[0] == pytest.approx(expected, abs=0.01)
        near = slice(round(expected) - 1, round(expected) + 2)
        assert h[near] == pytest.approx(direct[near], abs=0.1 * float(direct.max()))


def test_directivities_weigh_the_direct_sound() -> None:
    """A cardioid's back hears nothing; a figure-eight hears the cosine; both ends multiply."""
    to_source = np.array(SOURCE) - MICROPHONE
    axis = [float(v) for v in to_source / np.linalg.norm(to_source)]
    side = [float(v) for v in np.cross(axis, [0.0, 0.0, 1.0]) / np.linalg.norm(np.cross(axis, [0.0, 0.0, 1.0]))]
    back = [-v for v in axis]
    for heard, expected in (
        (Pattern(0.5, axis), 1.0),
        (Pattern(0.5, back), 0.0),
        (Pattern(0.0, back), -1.0),
        (Pattern(0.0, side), 0.0),
        (Pattern(0.5, side), 0.5),
    ):
        microphones = array(MICROPHONE, patterns=[heard])
        for talker, more in ((None, 1.0), (Pattern(0.5, axis), 0.0), (Pattern(0.5, back), 1.0)):
            gain = rooms.direct_gain(microphones, source_m=SOURCE, pattern=talker)
            free = 1 / (4 * math.pi * math.dist(SOURCE, MICROPHONE))
            assert gain == pytest.approx(expected * more * free, abs=1e-9)
            h = rooms.anechoic(room(array=microphones), source_m=SOURCE, sample_rate=RATE, taps=800, pattern=talker)
            assert delay_and_gain(h[0])[1] == pytest.approx(abs(expected * more) * free, abs=1e-3 * free)


@given(
    st.tuples(*[st.floats(-20, 20)] * 3),
    st.tuples(*[st.floats(-20, 20)] * 3).filter(lambda p: max(map(abs, p)) > 0.01),
)
def test_geometry_there_and_back(microphone: tuple[float, ...], offset: tuple[float, ...]) -> None:
    where = rooms.geometry(source_m=[m + o for m, o in zip(microphone, offset, strict=True)], microphone_m=microphone)
    azimuth, elevation = math.radians(where.azimuth_deg), math.radians(where.elevation_deg)
    ground = where.distance_m * math.cos(elevation)
    back = (ground * math.cos(azimuth), ground * math.sin(azimuth), where.distance_m * math.sin(elevation))
    assert back == pytest.approx(offset, abs=1e-9)


@pytest.mark.parametrize(
    ("source", "azimuth", "elevation"),
    [
        ((2, 1, 1), 0, 0),
        ((1, 2, 1), 90, 0),
        ((0, 1, 1), 180, 0),
        ((1, 0, 1), -90, 0),
        ((1, 1, 2), 0, 90),
        ((2, 1, 0), 0, -45),
    ],
)
def test_angles_on_paper(source: tuple[float, ...], azimuth: float, elevation: float) -> None:
    """Azimuth runs counter-clockwise from the x axis, elevation up."""
    where = rooms.geometry(source_m=source, microphone_m=(1, 1, 1))
    assert (where.azimuth_deg, where.elevation_deg) == pytest.approx((azimuth, elevation))


def test_directions_are_in_the_arrays_own_frame() -> None:
    """An array turned by 30 degrees sees a source 30 degrees less to the left."""
    for yaw in (-140.0, 0.0, 30.0):
        where = rooms.geometry(source_m=(2, 2, 1), microphone_m=(1, 1, 1), rotation_deg=(yaw, 0, 0))
        assert (where.azimuth_deg - (45 - yaw)) % 360 == pytest.approx(0, abs=1e-9)
    turned = (20.0, 35.0, -70.0)
    where = rooms.geometry(source_m=(2, 3, 1.5), microphone_m=(1, 1, 1), rotation_deg=turned)
    seen = arrays.direction(where.azimuth_deg, where.elevation_deg) * where.distance_m
    assert arrays.rotation(*turned) @ seen == pytest.approx([1, 2, 0.5])


# the room


def high_passed(h: np.ndarray, direct: np.ndarray) -> np.ndarray:
    """All but the direct path through the textbook's high-pass."""
    sos = signal.butter(2, 20, "high", fs=RATE, output="sos")
    return np.asarray(direct + signal.sosfilt(sos, h - direct))


def test_every_image_is_there() -> None:
    """Against the sum on paper, as far as 70 dB of reflections reach in every direction."""
    walls = room(0.3, size_m=[3.1, 2.7, 2.4], array=array([2.2, 1.7, 1.2]))
    h = rooms.simulate(walls, source_m=[1.1, 0.9, 1.5], sample_rate=RATE)
    place = [3.1, 2.7, 2.4], 0.3, [1.1, 0.9, 1.5], [2.2, 1.7, 1.2], 700
    direct = rooms.anechoic(walls, source_m=[1.1, 0.9, 1.5], sample_rate=RATE, taps=700)[0]
    wanted = high_passed(one_by_one(*place), direct)
    assert error_db(h[0, :700], wanted) < -105  # less than any 16-bit recording resolves


def test_pyroomacoustics_agrees(peer_rooms: Callable[..., None]) -> None:
    """The other implementation, with its delay of 40 taps and its missing 1 / (4 pi) put right. It reads its filters
    from a table of 20 steps per tap, which leaves it at -53 dB.
    """
    peer_rooms(num_threads=1, rir_hpf_enable=False)
    theirs = pra.ShoeBox(SIZE, fs=RATE, materials=pra.Material(0.3), max_order=30)
    theirs.add_source(SOURCE)
    theirs.add_microphone(MICROPHONE)
    theirs.compute_rir()
    peer = theirs.rir[0][0][40:].astype(float) / (4 * math.pi)
    h = simulate()
    direct = rooms.anechoic(room(), source_m=SOURCE, sample_rate=RATE, taps=peer.size)[0]
    peer = high_passed(peer, direct)
    head = slice(0, int(20 * 2.4 / C * RATE))  # 30 orders reach farther than this in every direction
    assert error_db(h[0, head], peer[head]) < -50


@pytest.mark.parametrize(
    ("size", "absorption"), [(SIZE, 0.3), ([3.0, 3.0, 2.5], 0.6), ([9.0, 7.0, 3.5], 0.25), ([4.0, 3.0, 2.5], 0.15)]
)
def test_what_is_left_out_is_little(size: list[float], absorption: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 dB is less than a listener or a metric notices of a room's end; and nothing follows the end but silence."""
    walls = room(absorption, size_m=size, array=array([2.3, 2.0, 1.2]))
    h = rooms.simulate(walls, source_m=SOURCE, sample_rate=RATE)
    monkeypatch.setattr(rooms, "DEPTH_DB", 110.0)
    more = rooms.simulate(walls, source_m=SOURCE, sample_rate=RATE)
    found = np.pad(h[0], (0, more.shape[1] - h.shape[1]))
    assert error_db(found, more[0]) < -50
    assert h[0, -1] != 0
    onset = round(math.dist(SOURCE, [2.3, 2.0, 1.2]) / C * RATE)
    one, other = (acoustics.measure(x, RATE, onset=onset) for x in (h, more))
    assert one.rt60_s == pytest.approx(other.rt60_s, rel=0.01)
    assert one.c50_db == pytest.approx(other.c50_db, abs=0.03)


def test_more_absorption_is_less_reverberation() -> None:
    responses = [simulate(absorption=a) for a in (0.1, 0.3, 0.6, 0.9)]
    energies = [float(np.sum(h.astype(float) ** 2)) for h in responses]
    assert energies == sorted(energies, reverse=True)
    drr = [acoustics.drr_db(h, 117, RATE) for h in responses]
    assert drr == sorted(drr)  # type: ignore[type-var]


def test_several_microphones_are_as_if_alone() -> None:
    microphones = [[3.3, 2.4, 1.2], [3.4, 2.4, 1.2], [0.6, 3.5, 1.0]]
    together = simulate(array=array(*microphones))
    assert together.dtype == np.float32
    assert together.shape[0] == 3
    for k, microphone in enumerate(microphones):
        alone = simulate(array=array(microphone))[0]
        numbered = rooms.simulate(room(array=array(*microphones)), source_m=SOURCE, sample_rate=RATE, microphones=[k])
        np.testing.assert_array_equal(numbered[0], alone)
        assert error_db(together[k, : len(alone)], alone) < -120
        assert not together[k, len(alone) :].any()


def test_source_and_microphone_may_change_places() -> None:
    """Reciprocity: the acoustics of a shoebox do not know who speaks."""
    there = simulate()[0]
    back = simulate(MICROPHONE, array=array(SOURCE))[0]
    assert error_db(there, back) < -100


def test_without_the_direct_sound_the_rest_is_the_same() -> None:
    rest = rooms.simulate(room(), source_m=SOURCE, sample_rate=RATE, with_direct=False)
    whole = simulate()
    direct = rooms.anechoic(room(), source_m=SOURCE, sample_rate=RATE, taps=whole.shape[1])
    assert error_db(rest[0, : whole.shape[1]] + direct[0], whole[0]) < -100


# calibration


def places(size: np.ndarray, rng: np.random.Generator) -> tuple[list[float], list[float]]:
    while True:
        microphone, source = (rng.uniform(0.5, size - 0.5) for _ in range(2))
        if 0.66 <= np.linalg.norm(microphone - source) <= 2:
            return [float(v) for v in source], [float(v) for v in microphone]


def planned(rng: np.random.Generator, **changes: Any) -> tuple[Room, list[float]]:
    size = rng.uniform([3, 3, 2.5], [10, 8, 4])
    source, microphone = places(size, rng)
    rt60_s = float(rng.uniform(0.25, 0.8))
    distance = math.dist(source, microphone)
    walls = decay.walls_for(rt60_s, [float(v) for v in size], sample_rate=RATE, distance_m=distance, lowest_hz=20)
    assert walls is not None
    spec = {"rt60_requested_s": rt60_s, "rt60_tolerance": 0.1, "array": array(microphone), "absorption": [list(walls)]}
    return Room(engine="shoebox", room_id="r", size_m=[float(v) for v in size], **spec | changes), source


def test_the_rt60_that_is_asked_for_is_obtained() -> None:
    rng = np.random.default_rng(4)
    found, first = [], 0
    for _ in range(40):
        walls, source = planned(rng)
        got = rooms.calibrate(walls, source_m=source, sample_rate=RATE)
        assert got.status == "ok"
        measured = acoustics.rt60(got.response[0], RATE)
        assert measured is not None
        assert walls.rt60_requested_s is not None
        found.append(measured / walls.rt60_requested_s)
        first += got.simulations == 1
        again = rooms.simulate(walls, source_m=source, sample_rate=RATE, scale=got.scale)
        np.testing.assert_array_equal(again, got.response)
    assert max(found) <= 1.1
    assert min(found) >= 0.9
    assert first >= 30  # the prediction is good: hardly a room is simulated twice


def test_bad_walls_are_corrected() -> None:
    """However far off the walls are to begin with, in few steps."""
    for absorption in (0.05, 0.7):
        walls = room(absorption, rt60_requested_s=0.35, rt60_tolerance=0.02)
        got = rooms.calibrate(walls, source_m=SOURCE, sample_rate=RATE)
        assert got.status == "ok"
        assert 2 <= got.simulations <= 5
        assert acoustics.rt60(got.response[0], RATE) == pytest.approx(0.35, rel=0.02)
        assert (got.scale > 1) == (absorption < 0.3)


def test_what_cannot_be_obtained_says_why() -> None:
    off = rooms.calibrate(room(0.3, rt60_requested_s=0.4, rt60_tolerance=1e-12), source_m=SOURCE, sample_rate=RATE)
    assert (off.status, off.simulations) == ("off", 5)
    assert acoustics.rt60(off.response[0], RATE) == pytest.approx(0.4, rel=0.05)  # the best of them is kept
    near = [MICROPHONE[0] + 0.05, *MICROPHONE[1:]]
    dry = rooms.calibrate(room(0.99, rt60_requested_s=0.1, rt60_tolerance=0.1), source_m=near, sample_rate=RATE)
    assert dry.status == "unmeasurable"
    free = rooms.calibrate(room(), source_m=SOURCE, sample_rate=RATE)
    assert (free.status, free.scale, free.simulations) == (None, 1.0, 1)


def test_bands_of_walls_keep_their_relation_when_corrected() -> None:
    bands = [250.0, 1000.0, 4000.0]
    walls = room(absorption=0.5, rt60_requested_s=0.5, rt60_tolerance=0.05, bands_hz=bands)
    walls = Room(**{**vars(walls), "absorption": [[a] * 6 for a in (0.1, 0.2, 0.5)]})
    got = rooms.calibrate(walls, source_m=SOURCE, sample_rate=RATE)
    assert got.status == "ok"
    times = {b.centre_hz: b.rt60_s or 0 for b in acoustics.measure(got.response, RATE, onset=117).bands}
    assert times[250.0] > times[1000.0] > times[4000.0] > 0


# determinism


def test_the_same_call_gives_the_same_bytes_whatever_ran_before() -> None:
    first = simulate().tobytes()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    simulate(size_m=[9.0, 7.0, 3.0], rate=48_000)
    assert simulate().tobytes() == first
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_another_process_gives_the_same_bytes() -> None:
    code = (
        "import hashlib; from augment import rooms; from manifests.schema import Array, Room; "
        f"array = Array(preset='user', positions_m=[{MICROPHONE}], centre_m={MICROPHONE}, rotation_deg=[0.0] * 3, "
        f"channels=[0]); room = Room(engine='shoebox', room_id='r', size_m={SIZE}, absorption=[[0.3] * 6], "
        "array=array); "
        f"h = rooms.simulate(room, source_m={SOURCE}, sample_rate={RATE}); "
        "print(hashlib.sha256(h.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(simulate().tobytes()).hexdigest()


# mistakes


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        ([9, 1, 1], {}, "source_m must lie in the room"),
        (SOURCE, {"array": array([1, 1, 3.1])}, "must lie in the room"),
        (MICROPHONE, {}, "must not lie on a microphone"),
        (SOURCE, {"absorption": 1.5}, "absorption must be"),
    ],
)
def test_a_room_that_is_none_is_named(source: list[float], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simulate(source, **changes)
