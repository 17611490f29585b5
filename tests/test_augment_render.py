"""From a row of the plan to signals, without files. Witnesses: sums on the integer grid; lags and levels measured on
the signals; convolution by scipy with responses made apart.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import fft, signal

from augment import acoustics, rooms
from augment.plan import plan_split
from augment.render import Rendered, measured_response, render
from manifests.errors import Refused
from manifests.recipe import Recipe
from manifests.schema import Plan, Segment, Source

RATE = 16_000
BITS = 24
STEMS = [
    "mixture",
    "target",
    "noise",
    "talkers",
    "image",
    "early",
    "late",
    "direct",
    "reverb",
    "anechoic",
    "dry_aligned",
]
SOURCES = [
    *(
        Source(source_id=f"s{i}", kind="speech", uri="", status="ok", frames=4 * RATE, sample_rate=RATE, channels=1,
               speaker_id=f"p{i}")
        for i in range(4)
    ),
    *(
        Source(source_id=f"n{i}", kind="noise", uri="", status="ok", frames=12 * RATE, sample_rate=RATE, channels=1,
               recording_id=f"r{i}")
        for i in range(3)
    ),
]  # fmt: skip


@functools.cache
def recording(name: str) -> np.ndarray:
    """Speech-like: noise in syllables under a falling spectrum. Noise: stationary."""
    rng = np.random.default_rng(list(name.encode()))
    frames = {"s": 4, "n": 12}[name[0]] * RATE
    x = signal.lfilter([1, 0.3], [1, -0.6], rng.standard_normal(frames))
    if name[0] == "s":
        x *= np.repeat(rng.random(frames // 2000) > 0.3, 2000)
    return np.asarray(0.1 * x, dtype=np.float32)


def load(segment: Segment) -> np.ndarray:
    return recording(segment.source_id)[segment.start : segment.start + segment.frames]


def no_rir(_: Any) -> Any:
    raise AssertionError("no measured response is asked for")


def plan(rows: int = 2, **changes: Any) -> list[Plan]:
    given = {"name": "r", "seed": 3, "clip_s": 3, "splits": {"train": rows}, "noise": {"snr_db": {"uniform": [0, 10]}}}
    return list(plan_split(Recipe.model_validate(given | changes), "train", SOURCES))


def rendered(row: Plan, stems: list[str] | None = None, load_rir: Any = no_rir) -> Rendered:
    return render(row, load=load, load_rir=load_rir, stems=STEMS if stems is None else stems, bits=BITS, peak=0.9)


def room(**changes: Any) -> dict[str, Any]:
    return {"probability": 1, "rt60_s": {"uniform": [0.25, 0.4]}} | changes


def level_db(x: Any) -> float:
    return float(10 * np.log10(np.mean(np.square(x, dtype=np.float64)) + 1e-30))


def lag(reference: np.ndarray, other: np.ndarray, reach: int = 400, upsample: int = 16) -> float:
    """By how many samples `other` is late, to a sixteenth, by the phase of the cross-spectrum."""
    size = fft.next_fast_len(2 * reference.size)
    cross = fft.rfft(other, size) * np.conj(fft.rfft(reference, size))
    found = fft.irfft(cross / (np.abs(cross) + 1e-6 * np.abs(cross).max()), size * upsample)
    near = np.concatenate([found[-reach * upsample :], found[: reach * upsample]])
    return (int(np.argmax(near)) - reach * upsample) / upsample


# Targets


@pytest.mark.parametrize("array", [{"preset": "mono"}, {"preset": "circular", "radius_m": 0.08}])
def test_any_targets_come_from_one_render_and_sum(array: dict[str, Any]) -> None:
    for row in plan(rooms=room(array=array), talkers={"count": 2}):
        s = rendered(row).signals
        assert {x.shape for x in s.values()} == {((1 if array["preset"] == "mono" else 4), 3 * RATE)}
        assert np.array_equal(s["early"] + s["late"], s["image"])
        assert np.array_equal(s["direct"] + s["reverb"], s["image"])
        assert np.array_equal(s["talker_1"] + s["talker_2"] + s["noise"], s["mixture"])
        assert np.array_equal(s["image"], s["talker_1"])
        assert np.array_equal(s["target"], s["early"])
        energies = [level_db(s[name][0]) for name in ("anechoic", "early", "image")]
        assert energies == sorted(energies)
        for name in ("early", "direct", "anechoic", "dry_aligned"):
            assert lag(s[name][0], s["image"][0]) == 0


def test_parts_are_the_dry_signal_through_parts_of_the_response() -> None:
    """Witness: scipy's convolution in double precision with the response cut by hand."""
    (row,) = plan(1, rooms=room(), noise={"count": 0})
    found = rendered(row, [*STEMS, "direct_window"])
    assert row.room is not None
    assert row.room.array is not None
    source = row.talkers[0].position_m or []
    got = rooms.calibrate(row.room, source_m=source, sample_rate=RATE)
    h = got.response[0].astype(np.float64)
    distance = math.dist(source, row.room.array.positions_m[0])
    onset = round(distance / 343 * RATE)
    dry = np.zeros(row.frames)
    for segment in row.talkers[0].segments:
        dry[segment.at : segment.at + segment.length] += load(segment)
    cuts = {
        "image": h,
        "early": np.where(np.arange(h.size) < onset + 800, h, 0),
        "direct": np.where((np.arange(h.size) >= onset - 16) & (np.arange(h.size) <= onset + 40), h, 0),
        "direct_window": np.where(np.abs(np.arange(h.size) - onset) <= 32, h, 0),
    }
    gain = None
    for name, cut in cuts.items():
        wanted = signal.fftconvolve(dry, cut)[: row.frames]
        if gain is None:
            gain = found.signals[name][0] @ wanted / (wanted @ wanted)
        assert level_db(found.signals[name][0] - gain * wanted) - level_db(gain * wanted) < -110
    delayed = fft.irfft(
        fft.rfft(dry, 2 * row.frames) * np.exp(-2j * np.pi * fft.rfftfreq(2 * row.frames) * distance / 343 * RATE)
    )[: row.frames]
    wanted = gain * delayed / (4 * math.pi * distance)
    band = signal.butter(8, 0.8, output="sos")
    for name in ("dry_aligned", "anechoic"):
        error = signal.sosfiltfilt(band, found.signals[name][0] - wanted)
        assert level_db(error) - level_db(wanted) < -60


def test_every_talker_may_have_its_target() -> None:
    (row,) = plan(1, rooms=room(), talkers={"count": 3})
    found = rendered(row, ["mixture", "target", "targets", "talkers"]).signals
    assert set(found) == {"mixture", "target", *(f"{s}_{k}" for s in ("target", "talker") for k in (1, 2, 3))}
    assert np.array_equal(found["target"], found["target_1"])
    for k in (1, 2, 3):
        assert level_db(found[f"target_{k}"]) < level_db(found[f"talker_{k}"])
        assert lag(found[f"target_{k}"][0], found[f"talker_{k}"][0]) == 0


@pytest.mark.parametrize("kind", ["dry_aligned", "anechoic", "direct", "direct_window", "early", "image"])
def test_each_kind_of_target(kind: str) -> None:
    (row,) = plan(1, rooms=room(), target={"kind": kind})
    stems = ["mixture", "target", kind]
    found = rendered(row, stems).signals
    assert np.array_equal(found["target"], found[kind])
    (dry,) = plan(1, rooms={"probability": 0}, target={"kind": kind})
    alone = rendered(dry, ["mixture", "target", "image"]).signals
    assert np.array_equal(alone["target"], alone["image"])


# Channels


def test_delays_and_levels_between_channels_survive() -> None:
    """The time difference of arrival of image, target and direct parts is that of geometry."""
    spec = room(array={"preset": "pair", "spacing_m": 0.3}, distance_m={"uniform": [0.5, 0.8]})
    for row in plan(6, rooms=spec, noise={"count": 0}):
        assert row.room is not None
        assert row.room.array is not None
        found = rendered(row)
        measure = found.talkers[0]
        near, far = (math.dist(row.talkers[0].position_m or [], m) for m in row.room.array.positions_m)
        expected = (far - near) / 343 * RATE
        assert np.diff(measure.channel_delays_samples)[0] == pytest.approx(expected, abs=1e-6)
        for name in ("anechoic", "direct", "target", "image"):
            one, other = (x.astype(np.float64) for x in found.signals[name])
            assert lag(one, other, 40) == pytest.approx(expected, abs=0.15), name
        one, other = found.signals["anechoic"]
        assert level_db(one) - level_db(other) == pytest.approx(20 * math.log10(far / near), abs=0.05)
        aligned = found.signals["dry_aligned"]
        assert np.array_equal(aligned[0], aligned[1])


def test_a_clock_shifts_every_stem_of_a_channel_alike() -> None:
    spec = room(array={"preset": "pair"})
    stems = ["mixture", "target", "noise", "talkers", "early"]
    (true,) = plan(1, rooms=spec)
    (late,) = plan(1, rooms=spec, degrade=[{"op": "clock", "offset_us": 62.5}])  # one sample
    assert late.degradations[0].params[0].values == [0.0, 62.5]
    before, after = rendered(true, stems).signals, rendered(late, stems).signals
    assert np.array_equal(after["talker_1"] + after["noise"], after["mixture"])
    for name in stems[:1] + stems[2:3] + ["talker_1", "early"]:
        assert np.array_equal(before[name][0], after[name][0])
        assert np.abs(before[name][1, :-1] - after[name][1, 1:]).max() <= 2  # steps of the grid


def test_noise_in_a_room_is_there_from_the_start() -> None:
    """A point noise has its reverberation from the first sample on; its level on the reference is that of the SNR."""
    for place in ("point", "own_room"):
        for row in plan(3, rooms=room(array={"preset": "pair"}), noise={"place": place, "snr_db": 3}):
            found = rendered(row)
            noise = found.signals["noise"][0]
            assert level_db(noise[:800]) == pytest.approx(level_db(noise), abs=3)
            assert found.noises[0].snr_p56_active_db == pytest.approx(3, abs=0.1)
            assert not np.array_equal(noise, found.signals["noise"][1])
            assert found.noises[0].distance_m is not None


def test_diffuse_noise_says_how_diffuse_it_is() -> None:
    spec = room(array={"preset": "circular", "radius_m": 0.1})
    for coherence in ("spherical", "cylindrical"):
        (row,) = plan(1, rooms=spec, noise={"coherence": coherence}, clip_s=3)
        found = rendered(row).noises[0]
        assert found.coherence_error is not None
        assert found.coherence_error < 0.2  # the estimate itself is that rough in 3 s


def test_an_array_has_one_gain() -> None:
    """Raising one channel's level raises all: nothing is normalised per channel."""
    spec = room(array={"preset": "linear", "microphones": 4, "spacing_m": 0.3}, distance_m=0.7)
    (row,) = plan(1, rooms=spec, noise={"count": 0}, talkers={"level_dbfs": -20})
    (loud,) = plan(1, rooms=spec, noise={"count": 0}, talkers={"level_dbfs": -30})
    one, other = (rendered(r).signals["image"].astype(np.float64) for r in (row, loud))
    ratios = [level_db(a) - level_db(b) for a, b in zip(one, other, strict=True)]
    assert ratios == pytest.approx([10] * 4, abs=1e-3)


# Motion


def test_a_moving_talker_moves_in_every_part() -> None:
    spec = room(array={"preset": "pair", "spacing_m": 0.2}, motion={"probability": 1, "step_m": 0.05}, labels_hz=20)
    for row in plan(2, rooms=spec):
        found = rendered(row)
        s = found.signals
        assert np.array_equal(s["early"] + s["late"], s["image"])
        assert np.array_equal(s["dry_aligned"][0], s["anechoic"][0])
        assert np.array_equal(s["dry_aligned"][0], s["dry_aligned"][1])
        assert lag(s["anechoic"][0], s["image"][0]) == 0
        assert lag(s["early"][0], s["image"][0]) == 0
        directions = found.talkers[0].directions
        assert len(directions) == 60
        assert row.room is not None
        assert row.room.array is not None
        track = np.asarray(row.talkers[0].trajectory_m)
        for d in directions:
            at = d.time_s / 3 * (len(track) - 1)
            where = np.array([np.interp(at, np.arange(len(track)), track[:, k]) for k in range(3)])
            true = rooms.geometry(
                source_m=where, microphone_m=row.room.array.centre_m, rotation_deg=row.room.array.rotation_deg
            )
            assert abs((d.azimuth_deg - true.azimuth_deg + 180) % 360 - 180) < 1
            assert d.distance_m == pytest.approx(true.distance_m, abs=0.01)


def test_a_talker_who_does_not_get_away_is_one_who_stands() -> None:
    """A way of a millimetre gives what standing gives, by quite another path through the code."""
    (row,) = plan(1, rooms=room(array={"preset": "pair"}), noise={"count": 0})
    x, y, z = row.talkers[0].position_m or []
    track = [[x, y, z], [x, y + 1e-6, z]]
    walking = replace(row, talkers=[replace(row.talkers[0], trajectory_m=track)])
    still, moved = rendered(row), rendered(walking)
    for name in ("image", "early", "anechoic", "dry_aligned"):
        a, b = (r.signals[name].astype(np.float64) for r in (still, moved))
        assert level_db(a - b) - level_db(a) < -40, name  # the two filters differ near half the rate


# Measured responses


def test_measured_responses_with_several_channels() -> None:
    rng = np.random.default_rng(0)
    decaying = rng.standard_normal((3, 6000)) * np.exp(-np.arange(6000) / 900) * 0.05
    decaying[:, :200] = 0
    decaying[0, 200] = decaying[1, 203] = decaying[2, 197] = 1
    response = measured_response(decaying.astype(np.float32), RATE)
    rirs = [
        Source(source_id="h", kind="rir", uri="", status="ok", frames=6000, sample_rate=RATE, channels=3, room_id="a")
    ]
    given = Recipe.model_validate(
        {
            "name": "r",
            "clip_s": 3,
            "splits": {"train": 1},
            "rooms": {"probability": 1, "kind": "measured", "measured_channels": "all", "min_onset_confidence": 0.5},
        }
    )
    (row,) = plan_split(given, "train", [*SOURCES, *rirs])
    found = rendered(row, load_rir=lambda _: response)
    assert found.signals["mixture"].shape == (3, 3 * RATE)
    assert found.talkers[0].onset_samples == 200
    assert (found.talkers[0].onset_confidence or 0) > 0.5
    one, other, third = (x.astype(np.float64) for x in found.signals["direct"])
    assert lag(one, other, 20) == 3
    assert lag(one, third, 20) == -3

    unsure = replace(response, acoustics=replace(response.acoustics, onset_confidence=0.2))  # type: ignore[type-var]
    with pytest.raises(Refused, match=r"RIR h is found with confidence 0.20, 0.5 is asked for") as refused:
        rendered(row, load_rir=lambda _: unsure)
    assert refused.value.reason == "uncertain_onset"


def test_a_response_that_must_not_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = plan(1, rooms=room())
    wrong = rooms.calibrate
    for spoil, said in (
        (lambda h: h * np.float32(np.nan), "not finite"),
        (lambda h: np.roll(h, -60), "before"),
        (lambda h: np.roll(h, 60), "direct"),
    ):

        def spoilt(*args: Any, spoil: Any = spoil, **kwargs: Any) -> Any:
            got = wrong(*args, **kwargs)
            return replace(got, response=spoil(got.response))

        monkeypatch.setattr(rooms, "calibrate", spoilt)
        with pytest.raises(Refused, match=said) as refused:
            rendered(row)
        assert refused.value.reason == "bad_rir"


def test_what_is_measured_is_what_was_asked_for() -> None:
    for row in plan(6, rooms=room()):
        found = rendered(row)
        assert row.room is not None
        assert row.room.rt60_requested_s is not None
        measure = found.talkers[0]
        assert found.rt60_status == "ok"
        assert measure.rt60_s == pytest.approx(row.room.rt60_requested_s, rel=0.1)
        assert [b.centre_hz for b in measure.bands] == acoustics.octave_bands(RATE)
        times = [b.rt60_s for b in measure.bands if b.rt60_s and b.centre_hz >= 500]
        assert times == pytest.approx([row.room.rt60_requested_s] * len(times), rel=0.35)


def test_a_traced_room_that_cannot_be_simulated_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = room(engine="pyroomacoustics", traced={"ray_tracing": False})
    (row,) = plan(1, rooms=spec)

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("it rings for 9 s")

    monkeypatch.setattr(rooms, "calibrate", fails)
    with pytest.raises(Refused, match=r"cannot be simulated: it rings for 9 s") as refused:
        rendered(row)
    assert refused.value.reason == "bad_rir"
    assert row.room is not None
    with pytest.raises(ValueError, match="it rings"):
        rendered(replace(row, room=replace(row.room, engine="shoebox", traced=None)))
