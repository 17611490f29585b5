"""Witnesses: a pair of lossy walls by hand, scipy's quadrature, images summed by numpy, simulated rooms; properties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, signal, special

from augment import acoustics, images
from augment.decay import Decay, few_reflections, walls_for, with_tail

C = 343.0
RATE = 16000
ENDLESS = {"sample_rate": 10**12, "lowest_hz": 1e-6}  # images add up as energies, and nothing else matters
SIZE = (6.6, 4.8, 2.9)
WALLS = (0.1, 0.4, 0.3, 0.2, 0.15, 0.6)

side = st.floats(2.5, 10.0)
sizes = st.tuples(side, side, side)
six = st.lists(st.floats(0.05, 0.9), min_size=6, max_size=6)
distance = st.floats(0.5, 3.0)


def decay(**changes: object) -> Decay:
    return Decay(**{"size_m": SIZE, "absorption": WALLS, "sample_rate": RATE, **changes})  # type: ignore[arg-type]


# The energy


def whole_walls(low: float, high: float) -> float:
    """The mean of a path's energy, linear between whole numbers of walls, over that of the exponential through them."""
    nodes = [1, (low + high) / 2, low * high]
    rate = -math.log(low * high) / 2
    return ((nodes[0] + nodes[2]) / 2 + nodes[1]) / ((1 - nodes[2]) / rate)


def test_one_pair_of_lossy_walls_by_hand() -> None:
    # The mean of exp(-r k |u_x|) over all directions is (1 - exp(-r k)) / (r k).
    found = decay(absorption=(0.5, 0.3, 0, 0, 0, 0), **ENDLESS).power([0.3, 1.0, 3.0])
    rk = C * np.array([0.3, 1.0, 3.0]) * -math.log(0.5 * 0.7) / (2 * SIZE[0])
    expected = C / (4 * math.pi * math.prod(SIZE)) * (1 - np.exp(-rk)) / rk * whole_walls(0.5, 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_a_hard_room_has_the_power_of_its_resonances() -> None:
    # h is the sum over resonances of c^2 / V psi(source) psi(microphone) sin(w t) / w, psi of mean square 1.
    n = np.stack(np.meshgrid(*[np.arange(2 * 1000 * s / C + 1) for s in SIZE], indexing="ij"), axis=-1)
    frequencies = np.linalg.norm(n * C / (2 * np.asarray(SIZE)), axis=-1)
    heard = frequencies[(frequencies > 100) & (frequencies < 1000)]
    expected = C**4 / math.prod(SIZE) ** 2 * np.sum(1 / (2 * (2 * math.pi * heard) ** 2)) / 2000
    found = decay(absorption=(1e-4,) * 6, sample_rate=2000, lowest_hz=100.0).power(1.0)
    lost = C * 1e-4 * sum(1 / s for s in SIZE) / 2  # absorption x surface / (4 volume) per metre
    assert found == pytest.approx(expected * math.exp(-lost), rel=0.015)  # 14 % are waves along walls


def test_waves_along_walls_are_lost_at_grazing_incidence() -> None:
    # exp(-|x| k / 2) leaves of the Fresnel zone |exp(z^2) erfc(z)|^2, z = k sqrt(c r / (pi f)) / 4 exp(-i pi / 4).
    room, path = decay(sample_rate=4000, lowest_hz=60.0), 80.0
    reflection = 1 - np.reshape(WALLS, (3, 2))
    k = -np.log(reflection).sum(axis=1) / (2 * np.asarray(SIZE))
    frequencies, angles = np.geomspace(60, 2000, 2001), np.linspace(0, math.pi / 2, 2001)
    expected = 0.0
    for a in range(3):
        x = k[a] * np.sqrt(C * path / (math.pi * frequencies)) / 4
        remains = np.abs(special.wofz(1j * x * np.exp(-0.25j * math.pi))) ** 2
        b, c = np.delete(k, a)
        mean = integrate.trapezoid(np.exp(-path * (b * np.cos(angles) + c * np.sin(angles))), angles) / (math.pi / 2)
        waves = integrate.trapezoid(remains / frequencies, frequencies)
        expected += C**2 / (8 * math.pi * 4000 * math.prod(SIZE) * SIZE[a]) * mean * waves
    expected *= math.prod(whole_walls(*pair) for pair in reflection)
    found = room.power(path / C) - 0.97 * decay(**ENDLESS).power(path / C)
    assert found == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(
    ("walls", "depths_db", "tolerance"),
    [(WALLS, (20, 40, 60), 3e-4), ((0.3,) * 6, (20, 40, 60), 3e-4), ((0.05, 0.1, 0.7, 0.8, 0.9, 0.9), (20, 35), 3e-3)],
)
def test_directions_as_scipy_integrates_them(
    walls: Sequence[float], depths_db: Sequence[float], tolerance: float
) -> None:
    reflection = 1 - np.reshape(walls, (3, 2))
    k = -np.log(reflection).sum(axis=1) / (2 * np.asarray(SIZE))

    def decayed(azimuth: float, height: float) -> float:
        flat = math.sqrt(1 - height * height)
        return math.exp(-path * (flat * math.cos(azimuth) * k[0] + flat * math.sin(azimuth) * k[1] + height * k[2]))

    room = decay(absorption=walls, **ENDLESS)
    factor = math.prod(whole_walls(*pair) for pair in reflection)
    for depth_db in depths_db:
        time_s = room.time_left_s(depth_db)
        path = C * time_s
        mean = integrate.dblquad(decayed, 0, 1, 0, math.pi / 2, epsrel=1e-8)[0] / (math.pi / 2)
        expected = C / (4 * math.pi * math.prod(SIZE)) * mean * factor
        assert room.power(time_s) == pytest.approx(expected, rel=tolerance)


def test_energy_is_the_integral_of_power() -> None:
    for room in (decay(), decay(lowest_hz=50.0, air_db_per_m=0.05)):
        time_s = np.linspace(0.05, 1.5, 200001)
        total = integrate.simpson(room.power(time_s), x=time_s)
        assert room.energy_after(0.05) - room.energy_after(1.5) == pytest.approx(total, rel=2e-4)


def sources(walls: Sequence[float], rng: np.random.Generator, reach_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances and energies of the images of a random pair of positions, the direct path left out."""
    distance2, energy = np.zeros(1), np.ones(1)
    for length, low, high in zip(SIZE, 1 - np.array(walls[::2]), 1 - np.array(walls[1::2]), strict=True):
        source, microphone = rng.uniform(0, length, 2)
        n = np.arange(-int(reach_m / length), int(reach_m / length) + 1)
        apart = np.concatenate([2 * n * length + source, 2 * n * length - source]) - microphone
        reflected = np.concatenate([(low * high) ** np.abs(n), low ** np.abs(n - 1) * high ** np.abs(n)])
        distance2 = np.add.outer(distance2, apart**2).ravel()
        energy = np.multiply.outer(energy, reflected).ravel()
    direct = np.argmax(energy)  # the only image without a reflection
    kept = (distance2 < reach_m**2) & (np.arange(energy.size) != direct)
    return np.sqrt(distance2[kept]), energy[kept]


@pytest.mark.parametrize("walls", [WALLS, (0.7,) * 6])
def test_energies_and_sum_of_images_on_average(walls: Sequence[float]) -> None:
    rng = np.random.default_rng(0)
    edges = np.array([2.0, 6.0, 12.0, 20.0, 28.0])
    energies, amplitudes = np.zeros(4), np.zeros(4)
    pairs = 300
    for _ in range(pairs):
        r, energy = sources(walls, rng, edges[-1])
        energies += np.histogram(r, edges, weights=energy / (4 * math.pi * r) ** 2)[0] / pairs
        amplitudes += np.histogram(r, edges, weights=np.sqrt(energy) / (4 * math.pi * r))[0] / pairs
    expected = -np.diff(decay(absorption=walls, **ENDLESS).energy_after(edges / C))
    # The first metres are modelled less closely than the rest.
    np.testing.assert_allclose(energies[1:], expected[1:], rtol=0.06)
    assert energies[0] == pytest.approx(expected[0], rel=0.25)
    time_s = np.linspace(edges[0], edges[-1], 20001) / C
    mean_power = decay(absorption=walls).power(time_s) - decay(absorption=walls, lowest_hz=1e-9).power(time_s)
    mean = np.interp(edges, C * time_s, integrate.cumulative_trapezoid(np.sqrt(mean_power * RATE), time_s, initial=0))
    np.testing.assert_allclose(amplitudes[1:], np.diff(mean)[1:], rtol=0.06)


@settings(max_examples=15, deadline=None)
@given(sizes, six, distance)
def test_a_room_twice_as_large_decays_twice_as_long(size: Sequence[float], walls: list[float], far: float) -> None:
    one = Decay(size_m=size, absorption=walls, sample_rate=16000, lowest_hz=40.0, air_db_per_m=0.02)
    two = Decay(size_m=[2 * s for s in size], absorption=walls, sample_rate=8000, lowest_hz=20.0, air_db_per_m=0.01)
    short, long = one.rt60_s(far), two.rt60_s(2 * far)
    assert short is not None
    assert long == pytest.approx(2 * short)
    assert two.drr_db(2 * far) == pytest.approx(one.drr_db(far), abs=2.0)  # its window is not twice as long
    assert two.energy_after(0.2) == pytest.approx(float(one.energy_after(0.1)) / 4)


@settings(max_examples=15, deadline=None)
@given(sizes, six, st.permutations(range(3)), st.booleans())
def test_axes_and_opposite_walls_can_be_exchanged(
    size: Sequence[float], walls: list[float], order: list[int], turned: bool
) -> None:
    pairs = np.reshape(walls, (3, 2))[order, :: -1 if turned else 1]
    here = Decay(size_m=size, absorption=walls, sample_rate=RATE)
    there = Decay(size_m=[size[a] for a in order], absorption=pairs.ravel().tolist(), sample_rate=RATE)
    np.testing.assert_allclose(there.power([0.01, 0.1, 0.5]), here.power([0.01, 0.1, 0.5]), rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(sizes, six, st.floats(1.0, 60.0), distance)
def test_time_left_is_where_that_much_energy_is_left(
    size: Sequence[float], walls: list[float], depth_db: float, far: float
) -> None:
    room = Decay(size_m=size, absorption=walls, sample_rate=RATE)
    whole = room.direct_energy(far) + room.energy_after(far / C)
    time_s = room.time_left_s(depth_db, far)
    left = float(room.energy_after(time_s))
    if time_s == far / C:  # the direct path alone is more
        assert left <= whole * 10 ** (-depth_db / 10) * 1.0001
    else:
        assert left == pytest.approx(whole * 10 ** (-depth_db / 10), rel=1e-3)


def test_deeper_than_the_table_the_decay_goes_on() -> None:
    room = decay()
    assert 1 < (room.time_left_s(120) - room.time_left_s(100)) / (room.time_left_s(80) - room.time_left_s(60)) < 1.2


def test_air_alone_shortens_and_the_mean_lengthens() -> None:
    times = [decay(**changes).rt60_s(1.0) or 0.0 for changes in ({"lowest_hz": 20.0}, {}, {"air_db_per_m": 0.1})]
    assert times[0] < 0.95 * times[1]
    assert times[2] < 0.9 * times[1]
    rates = [decay(sample_rate=rate).rt60_s(1.0) or 0.0 for rate in (8000, 16000, 48000)]
    assert rates == sorted(rates, reverse=True)


# The times


def simulated(size: Sequence[float], walls: Sequence[float], source: Sequence[float], microphone: Sequence[float]):
    """The exact response, until 70 dB below its energy are left."""
    h = images.impulse_responses(
        size_m=size, absorption=[list(walls)], source_m=source, microphones_m=[microphone], sample_rate=RATE
    )[0].astype(np.float64)
    left = np.cumsum(h[::-1] ** 2)[::-1]
    return h[: int(np.argmax(left < 1e-7 * left[0])) or h.size]


def draw(rng: np.random.Generator) -> tuple[list[float], list[float], list[float], float]:
    """A room, a source and a microphone in it, and their distance."""
    while True:
        size = [rng.uniform(3, 8), rng.uniform(3, 6), rng.uniform(2.5, 3.5)]
        source, microphone = ([rng.uniform(0.5, s - 0.5) for s in size] for _ in range(2))
        if 0.66 < math.dist(source, microphone) < 2:
            return size, source, microphone, math.dist(source, microphone)


@pytest.mark.parametrize("lowest_hz", [0.0, 20.0])
def test_simulated_rooms_have_the_rt60_that_was_asked_for(lowest_hz: float) -> None:
    rng = np.random.default_rng(1)
    high_pass = signal.butter(2, 20, "highpass", fs=RATE, output="sos")
    ratios, clarities, drrs, early = [], [], [], []
    for _ in range(16):
        size, source, microphone, far = draw(rng)
        rt60_s, weights = rng.uniform(0.2, 0.6), rng.uniform(0.5, 1, 6).tolist()
        walls = walls_for(rt60_s, size, weights, sample_rate=RATE, distance_m=far, lowest_hz=lowest_hz)
        assert walls is not None
        h = simulated(size, walls, source, microphone)
        h = signal.sosfilt(high_pass, h) if lowest_hz else h
        ratios.append((acoustics.rt60(h, RATE) or math.nan) / rt60_s)
        room = Decay(size_m=size, absorption=walls, sample_rate=RATE, lowest_hz=lowest_hz)
        start = round(far / C * RATE)
        clarities.append((acoustics.c50_db(h, start, RATE) or math.nan) - room.c50_db(far))
        drrs.append((acoustics.drr_db(h, start, RATE) or math.nan) - room.drr_db(far))
        expected = room.edt_s(far)
        if expected is not None:
            early.append((acoustics.edt(h, RATE) or math.nan) / expected)
    # Over 300 rooms each, 5 to 95 %: T30 -2 to +2 %, -5 to +6 % with the high-pass; C50 -0.2 to 1.6 dB; DRR +-1.7 dB.
    assert np.abs(np.array(ratios) - 1).max() < (0.12 if lowest_hz else 0.05)
    assert abs(np.median(ratios) - 1) < (0.04 if lowest_hz else 0.015)
    assert np.abs(clarities).max() < 2.5
    assert np.abs(drrs).max() < 3
    assert abs(np.median(clarities)) < 1
    assert abs(np.median(drrs)) < 1
    assert len(early) >= 5
    assert abs(np.median(early) - 1) < 0.1


@pytest.mark.parametrize("far", [0.15, 0.5, 3.0])
def test_times_are_lines_through_the_decay_from_the_direct_path_on(far: float) -> None:
    room = decay(lowest_hz=20.0)
    time_s = np.arange(far / C, 2, 1e-4)
    level = 10 * np.log10(room.energy_after(time_s) / (room.direct_energy(far) + room.energy_after(far / C)))
    for found, upper_db, lower_db in ((room.rt60_s(far), -5, -35), (room.edt_s(far), 0, -10)):
        if found is not None:
            inside = (level <= upper_db) & (level >= lower_db)
            assert found == pytest.approx(-60 / np.polyfit(time_s[inside], level[inside], 1)[0], rel=2e-3)
    assert (room.edt_s(far) is None) == (far < 1)


def test_a_direct_path_that_stands_out_has_no_early_decay_time() -> None:
    room = decay()

    def stands_out_db(far: float) -> float:
        return 10 * math.log10(1 + room.direct_energy(far) / room.energy_after(far / C))

    for far in np.geomspace(0.2, 3, 12):
        assert (room.edt_s(far) is None) == (stands_out_db(far) > 4)
    assert room.edt_s() == pytest.approx(room.edt_s(4.0), rel=0.15)


def test_a_decay_that_ends_before_35_db_has_no_rt60() -> None:
    assert decay(absorption=(0.9,) * 6).rt60_s(1e-6) is None


# The walls


@settings(max_examples=25, deadline=None)
@given(sizes, st.floats(0.15, 1.5), st.lists(st.floats(0.2, 1.0), min_size=6, max_size=6), distance, st.booleans())
def test_walls_give_the_time_and_keep_their_relation(
    size: Sequence[float], rt60_s: float, weights: list[float], far: float, high_passed: bool
) -> None:
    lowest_hz = 20.0 if high_passed else 0.0
    walls = walls_for(rt60_s, size, weights, sample_rate=RATE, distance_m=far, lowest_hz=lowest_hz)
    if walls is None:
        assert rt60_s < 0.35
        return
    losses = -np.log(1 - np.array(walls))
    np.testing.assert_allclose(losses / losses[0], np.array(weights) / weights[0], rtol=1e-6)
    room = Decay(size_m=size, absorption=walls, sample_rate=RATE, lowest_hz=lowest_hz)
    assert room.rt60_s(far) == pytest.approx(rt60_s, rel=0.003)


def test_a_weight_of_zero_is_a_hard_wall() -> None:
    walls = walls_for(0.8, SIZE, (1, 1, 1, 1, 0, 1), sample_rate=RATE, distance_m=1.0)
    assert walls is not None
    assert walls[4] == 0
    assert walls[5] > 0.1


def test_what_no_walls_can_do() -> None:
    assert walls_for(0.03, (10, 8, 4), sample_rate=RATE, distance_m=1.0) is None  # more than all absorbed
    assert walls_for(3.0, SIZE, sample_rate=RATE, air_db_per_m=0.1) is None  # 60 dB of air take 1.75 s
    assert walls_for(0.3, SIZE, sample_rate=RATE, distance_m=1e-6) is None  # nothing else within 35 dB


def test_walls_that_absorb_too_much_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    walls = walls_for(0.4, (10, 10, 2), (1, 1, 1, 1, 0.5, 0.5), sample_rate=RATE)
    assert walls is not None
    mean = (80 * walls[0] + 200 * walls[4]) / 280
    monkeypatch.setattr("augment.decay.MOST_ABSORPTION", mean - 1e-6)
    assert walls_for(0.4, (10, 10, 2), (1, 1, 1, 1, 0.5, 0.5), sample_rate=RATE) is None
    monkeypatch.setattr("augment.decay.MOST_ABSORPTION", mean + 1e-6)
    assert walls_for(0.4, (10, 10, 2), (1, 1, 1, 1, 0.5, 0.5), sample_rate=RATE) == walls


def test_few_reflections() -> None:
    assert not few_reflections(SIZE, (0.8,) * 6)
    assert few_reflections(SIZE, (0.9,) * 6)
    assert few_reflections((10, 10, 1), (0.5, 0.5, 0.5, 0.5, 1, 1))  # 220 of 240 square metres
    assert not few_reflections((10, 10, 1), (1, 1, 1, 1, 0.8, 0.8))  # 200 of 240


# The tail


def tail_case() -> tuple[np.ndarray, Decay, int, float]:
    rng = np.random.default_rng(3)
    size, source, microphone, far = draw(rng)
    walls = walls_for(0.5, size, sample_rate=RATE, distance_m=far)
    assert walls is not None
    h = simulated(size, walls, source, microphone)
    room = Decay(size_m=size, absorption=walls, sample_rate=RATE)
    return h[np.newaxis].astype(np.float32), room, round(far / C * RATE), far


def test_a_tail_keeps_what_is_early_and_the_decay() -> None:
    h, room, onset, far = tail_case()
    taps = math.ceil(room.time_left_s(70, far) * RATE)
    noise = np.random.default_rng(0).standard_normal((1, taps)).astype(np.float32)
    found = with_tail(h, decay=room, onset_samples=onset, after_s=0.06, noise=noise)
    stop = onset + 960
    assert found.shape == (1, taps)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, : stop - 81], h[:, : stop - 81])
    assert not np.array_equal(found[:, stop - 70 : stop], h[:, stop - 70 : stop])
    assert acoustics.rt60(found, RATE) == pytest.approx(acoustics.rt60(h, RATE), rel=0.06)
    assert acoustics.c50_db(found, onset, RATE) == pytest.approx(acoustics.c50_db(h, onset, RATE), abs=0.8)
    same = h.copy()
    same[:, stop:] = 99  # what comes later is not looked at
    np.testing.assert_array_equal(with_tail(same, decay=room, onset_samples=onset, after_s=0.06, noise=noise), found)


def test_a_tail_has_the_power_and_the_mean_of_the_decay() -> None:
    _, room, onset, _ = tail_case()
    noise = np.random.default_rng(0).standard_normal((400, 6000)).astype(np.float32)
    time_s = np.arange(6000) / RATE
    mean = np.sqrt(
        np.maximum(0, room.power(time_s) - Decay(**{**vars_of(room), "lowest_hz": 1e-9}).power(time_s)) / RATE
    )
    early = (mean + noise * np.sqrt(room.power(time_s) / RATE - mean**2)).astype(np.float32)  # a room that is average
    found = with_tail(early, decay=room, onset_samples=onset, after_s=0.06, noise=noise[::-1])
    for part in (slice(onset + 960 - 80, onset + 960), slice(2000, 2400), slice(5000, 6000)):
        assert np.mean(found[:, part] ** 2) * RATE == pytest.approx(np.mean(room.power(time_s[part])), rel=0.05)
        assert np.mean(found[:, part]) == pytest.approx(np.mean(mean[part]), rel=0.05)


def vars_of(room: Decay) -> dict[str, object]:
    return {"size_m": room.size_m, "absorption": room.absorption, "sample_rate": room.sample_rate}


def test_a_louder_room_has_a_louder_tail() -> None:
    h, room, onset, _ = tail_case()
    room = Decay(size_m=room.size_m, absorption=room.absorption, sample_rate=RATE, lowest_hz=20.0)  # without a mean
    noise = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    one, two = (with_tail(g * h, decay=room, onset_samples=onset, after_s=0.06, noise=noise) for g in (1.0, 2.0))
    np.testing.assert_allclose(two[:, onset + 960 :], 2 ** (2 / 3) * one[:, onset + 960 :], rtol=1e-4)


def test_the_direct_path_does_not_set_the_level_of_a_tail() -> None:
    h, room, onset, _ = tail_case()
    noise = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    nearer = h.copy()
    nearer[:, : onset + 150] *= 10
    one, two = (with_tail(x, decay=room, onset_samples=onset, after_s=0.048, noise=noise) for x in (h, nearer))
    np.testing.assert_array_equal(one[:, onset + 768 :], two[:, onset + 768 :])


def test_the_same_noise_is_the_same_tail() -> None:
    h, room, onset, _ = tail_case()
    noise = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    found = with_tail(np.vstack([h, h]), decay=room, onset_samples=onset, after_s=0.06, noise=np.vstack([noise, noise]))
    np.testing.assert_array_equal(found[0], found[1])


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_m": (3, 0, 2)}, "size_m must be three positive lengths"),
        ({"absorption": (0.1,) * 5}, "absorption must be six values"),
        ({"absorption": (0.1, 0.1, 0.1, 0.1, 0.1, 1.1)}, "absorption must be six values"),
        ({"absorption": (0,) * 6}, "absorption must be above 0"),
        ({"lowest_hz": 8000.0}, "lowest_hz must be at least 0"),
        ({"lowest_hz": math.nan}, "lowest_hz must be at least 0"),
        ({"air_db_per_m": -0.1}, "air_db_per_m must not be negative"),
    ],
)
def test_rooms_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decay(**changes)


def test_requests_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="distance_m must be positive, got 0"):
        decay().rt60_s(0)
    with pytest.raises(ValueError, match="rt60_s must be positive, got -1"):
        walls_for(-1, SIZE, sample_rate=RATE)
    with pytest.raises(ValueError, match="weights must be six values"):
        walls_for(0.5, SIZE, (0,) * 6, sample_rate=RATE)
    with pytest.raises(ValueError, match="weights must be six values"):
        walls_for(0.5, SIZE, (1, 1, 1, 1, 1, -1), sample_rate=RATE)


def test_tails_that_cannot_be() -> None:
    early, noise = np.zeros((2, 500), np.float32), np.zeros((2, 900), np.float32)
    with pytest.raises(ValueError, match="noise must have as many rows as early"):
        with_tail(early, decay=decay(), onset_samples=10, after_s=0.02, noise=noise[:1])
    with pytest.raises(ValueError, match="must lie within the 500 taps of early"):
        with_tail(early, decay=decay(), onset_samples=10, after_s=0.06, noise=noise)
    with pytest.raises(ValueError, match="must lie within the 500 taps of early"):
        with_tail(early, decay=decay(), onset_samples=10, after_s=0.0, noise=noise)
