"""Witnesses: the direct sound on paper; every image summed one by one in double precision; pyroomacoustics."""

from __future__ import annotations

import hashlib
import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pyroomacoustics as pra
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment import acoustics, rooms

C = rooms.SPEED_OF_SOUND
RATE = 16_000
SIZE = [5.0, 4.0, 3.0]


def simulate(**changes: Any) -> list[np.ndarray]:
    given: dict[str, Any] = {
        "size_m": SIZE,
        "absorption": 0.3,
        "max_order": 8,
        "sources_m": [[1.2, 1.1, 1.5]],
        "microphones_m": [[3.3, 2.4, 1.2]],
        "sample_rate": RATE,
    }
    return rooms.simulate(**given | changes)


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
    """Alone, in a room that swallows all else: at d / c to a hundredth of a tap, with gain 1 / (4 pi d) to 0.02 dB."""
    source, microphone = [2 + distance * 0.6, 1 + distance * 0.8, 1.5], [2.0, 1.0, 1.5]
    (h,) = simulate(
        size_m=[9.0, 9.0, 4.0], absorption=1.0, sources_m=[source], microphones_m=[microphone], sample_rate=rate
    )
    where = rooms.geometry(source_m=source, microphone_m=microphone)
    delay, gain = delay_and_gain(h[0])
    assert where.distance_m == pytest.approx(distance)
    assert delay == pytest.approx(distance / C * rate, abs=0.01)
    assert 20 * math.log10(gain * 4 * math.pi * distance) == pytest.approx(0, abs=0.02)
    assert delay == pytest.approx(where.delay_samples(rate), abs=0.01)
    assert gain == pytest.approx(where.gain, rel=0.0025)


def test_nothing_arrives_before_the_direct_sound() -> None:
    """Tap 0 is emission. What precedes the onset is the fractional delay's ripple, 40 taps long."""
    (h,) = simulate()
    onset = math.dist([1.2, 1.1, 1.5], [3.3, 2.4, 1.2]) / C * RATE
    assert np.abs(h[0, : int(onset) - 40]).max() < 1e-5 * np.abs(h[0]).max()
    assert np.abs(h[0, : int(onset) - 1]).max() < 0.25 * np.abs(h[0]).max()
    assert int(np.argmax(np.abs(h[0]))) == round(onset)


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


# the room


def test_every_image_is_there() -> None:
    """Against the sum on paper, as far as 20 orders reach in every direction."""
    (h,) = simulate(size_m=[3.1, 2.7, 2.4], max_order=20, sources_m=[[1.1, 0.9, 1.5]], microphones_m=[[2.2, 1.7, 1.2]])
    wanted = one_by_one([3.1, 2.7, 2.4], 0.3, [1.1, 0.9, 1.5], [2.2, 1.7, 1.2], 700)
    assert error_db(h[0, :700], wanted) < -105  # less than any 16-bit recording resolves


def test_pyroomacoustics_agrees() -> None:
    """The other implementation, with its delay of 40 taps and its missing 1 / (4 pi) put right. It reads its filters
    from a table of 20 steps per tap, which leaves it at -53 dB.
    """
    pra.constants.set("num_threads", 1)
    before = pra.constants.get("rir_hpf_enable")
    pra.constants.set("rir_hpf_enable", False)
    try:
        room = pra.ShoeBox(SIZE, fs=RATE, materials=pra.Material(0.3), max_order=30)
        room.add_source([1.2, 1.1, 1.5])
        room.add_microphone([3.3, 2.4, 1.2])
        room.compute_rir()
    finally:
        pra.constants.set("rir_hpf_enable", before)
    peer = room.rir[0][0][40:].astype(float) / (4 * math.pi)
    (h,) = simulate(max_order=30)
    head = slice(0, int(20 * 2.4 / C * RATE))  # 30 orders reach farther than this in every direction
    assert error_db(h[0, head], peer[head]) < -50


@pytest.mark.parametrize(("size", "rt60_s"), [(SIZE, 0.5), ([3.0, 3.0, 2.5], 0.2), ([9.0, 7.0, 3.5], 0.7)])
def test_what_the_image_order_leaves_out_is_little(size: list[float], rt60_s: float) -> None:
    """50 dB is less than a listener or a metric notices of a room's end; and nothing follows the end but silence."""
    absorption, order = rooms.sabine(rt60_s, size) or (0, 0)
    (h,) = simulate(size_m=size, absorption=absorption, max_order=order, microphones_m=[[2.3, 2.0, 1.2]])
    (more,) = simulate(size_m=size, absorption=absorption, max_order=2 * order, microphones_m=[[2.3, 2.0, 1.2]])
    taps = max(h.shape[1], more.shape[1])
    whole, found = np.zeros(taps), np.zeros(taps)
    whole[: more.shape[1]], found[: h.shape[1]] = more[0], h[0]
    assert error_db(found, whole) < -50
    assert rt60_s * RATE < h.shape[1] < 3 * rt60_s * RATE
    assert h[0, -1] != 0


def test_more_absorption_is_less_reverberation() -> None:
    energies = [float(np.sum(simulate(absorption=a, max_order=20)[0].astype(float) ** 2)) for a in (0.1, 0.3, 0.6, 1.0)]
    assert energies == sorted(energies, reverse=True)
    drr = [acoustics.drr_db(simulate(absorption=a, max_order=20)[0], 117, RATE) for a in (0.1, 0.3, 0.6)]
    assert drr == sorted(drr)


def test_several_sources_and_microphones_are_as_if_alone() -> None:
    sources, microphones = [[1.2, 1.1, 1.5], [4.0, 3.0, 1.7]], [[3.3, 2.4, 1.2], [3.4, 2.4, 1.2], [0.6, 3.5, 1.0]]
    together = simulate(sources_m=sources, microphones_m=microphones)
    assert [h.shape[0] for h in together] == [3, 3]
    for h, source in zip(together, sources, strict=True):
        assert h.dtype == np.float32
        for row, microphone in zip(h, microphones, strict=True):
            ((alone,),) = simulate(sources_m=[source], microphones_m=[microphone])
            np.testing.assert_array_equal(row[: len(alone)], alone)
            assert not row[len(alone) :].any()


def test_source_and_microphone_may_change_places() -> None:
    """Reciprocity: the acoustics of a shoebox do not know who speaks."""
    ((there,),) = simulate()
    ((back,),) = simulate(sources_m=[[3.3, 2.4, 1.2]], microphones_m=[[1.2, 1.1, 1.5]])
    assert error_db(there, back) < -100


# determinism


def test_the_same_call_gives_the_same_bytes_whatever_ran_before() -> None:
    first = simulate()[0].tobytes()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    simulate(size_m=[9.0, 7.0, 3.0], max_order=25, sample_rate=48_000)
    assert simulate()[0].tobytes() == first
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_another_process_gives_the_same_bytes() -> None:
    code = (
        "import hashlib; from augment import rooms; h, = rooms.simulate(size_m=[5.0, 4.0, 3.0], absorption=0.3, "
        "max_order=8, sources_m=[[1.2, 1.1, 1.5]], microphones_m=[[3.3, 2.4, 1.2]], sample_rate=16000); "
        "print(hashlib.sha256(h.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(simulate()[0].tobytes()).hexdigest()


# Sabine


def test_sabine_by_hand() -> None:
    """5 x 4 x 3 m: 60 m3, 94 m2; 24 ln 10 / 343 = 0.16111; 0.16111 x 60 / (94 x 0.5) = 0.2057."""
    absorption, _ = rooms.sabine(0.5, [5, 4, 3]) or (0, 0)
    assert absorption == pytest.approx(0.2057, abs=1e-4)
    assert rooms.sabine(1.0, [5, 4, 3])[0] == pytest.approx(absorption / 2)
    orders = [rooms.sabine(rt60_s, [5, 4, 3])[1] for rt60_s in (0.2, 0.4, 0.8)]
    assert 1 < orders[0] < orders[1] < orders[2]


@settings(max_examples=60)
@given(st.tuples(*[st.floats(2, 15)] * 3), st.floats(0.1, 2))
def test_sabine_is_that_of_pyroomacoustics(size: tuple[float, ...], rt60_s: float) -> None:
    found = rooms.sabine(rt60_s, size)
    try:
        absorption, _ = pra.inverse_sabine(rt60_s, list(size), c=C)
    except ValueError:
        assert found is None
        return
    assert found is not None
    assert found[0] == pytest.approx(absorption)


def test_what_no_wall_can_absorb_is_none() -> None:
    """10 x 10 x 10 m: 1000 m3, 600 m2, an open window on all sides gives 0.2685 s."""
    limit = 24 * math.log(10) / C * 1000 / 600
    assert rooms.sabine(limit * 0.999, [10, 10, 10]) is None
    absorption, _ = rooms.sabine(limit * 1.001, [10, 10, 10]) or (0, 0)
    assert absorption == pytest.approx(1 / 1.001)


# mistakes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sources_m": [[9, 1, 1]]}, "source_m must lie in the room"),
        ({"microphones_m": [[1, 1, 3.1]]}, "microphone_m must lie in the room"),
        ({"sources_m": [[3.3, 2.4, 1.2]]}, "source_m and microphone_m must differ"),
        ({"absorption": 1.5}, "absorption must be six values between 0 and 1"),
    ],
)
def test_a_room_that_is_none_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simulate(**changes)
