"""Where everything is. Witnesses: geometry by hand on every drawn row; the angles and distances a recipe asks for."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from augment import arrays
from augment.plan import plan_split
from manifests.errors import UserError
from manifests.recipe import Recipe
from manifests.schema import Array, Plan, Room, Source

RATE = 16_000


def source(name: str, kind: str, seconds: float, **facts: Any) -> Source:
    given = {"frames": round(seconds * RATE), "sample_rate": RATE, "channels": 1} | facts
    return Source(source_id=name, kind=kind, uri=name, status="ok", **given)


SOURCES = [
    *(source(f"s{i}", "speech", 6, speaker_id=f"p{i}") for i in range(8)),
    *(source(f"n{i}", "noise", 20, recording_id=f"r{i}") for i in range(4)),
]


def plan(rows: int = 20, sources: list[Source] | None = None, **changes: Any) -> list[Plan]:
    recipe = Recipe.model_validate(
        {"name": "r", "seed": 1, "clip_s": 5, "splits": {"train": rows}, "write": {"encoding": "wav_float32"}} | changes
    )
    return list(plan_split(recipe, "train", SOURCES if sources is None else sources))


def rooms(**changes: Any) -> dict[str, Any]:
    return {"probability": 1, "rt60_s": {"uniform": [0.3, 0.5]}} | changes


def room_of(row: Plan) -> tuple[Room, Array]:
    assert row.room is not None
    assert row.room.array is not None
    return row.room, row.room.array


def distances(positions: Any) -> np.ndarray:
    p = np.asarray(positions)
    return np.linalg.norm(p[:, np.newaxis] - p, axis=-1)


# Microphones


@pytest.mark.parametrize(
    ("array", "local"),
    [
        ({"preset": "pair", "spacing_m": 0.16}, arrays.pair(0.16)),
        ({"preset": "linear", "microphones": 5, "spacing_m": 0.03}, arrays.linear(5, 0.03)),
        ({"preset": "circular", "microphones": 8, "radius_m": 0.1}, arrays.circular(8, 0.1)),
        ({"preset": "circular", "microphones": 6, "centre": True}, arrays.circular(6, 0.05, centre=True)),
        ({"preset": "tetrahedral", "radius_m": 0.042}, arrays.tetrahedral()),
        ({"preset": "rings", "radii_m": [0.03, 0.06], "counts": [4, 8]}, arrays.rings([0.03, 0.06], [4, 8])),
        ({"preset": "realman"}, arrays.realman()),
        ({"preset": "user", "positions_m": [[0, 0, 0], [0.2, 0.1, 0]]}, np.array([[0, 0, 0], [0.2, 0.1, 0]])),
    ],
)
@pytest.mark.parametrize("rotation", ["azimuth", "full"])
def test_an_array_keeps_its_shape_wherever_it_stands(array: dict[str, Any], local: Any, rotation: str) -> None:
    for row in plan(6, rooms=rooms(array=array | {"rotation": rotation})):
        room, found = room_of(row)
        assert distances(found.positions_m) == pytest.approx(distances(local), abs=2.5e-4)
        assert found.channels == list(range(len(local)))
        turned = arrays.rotation(*found.rotation_deg)
        assert np.asarray(found.positions_m) == pytest.approx(local @ turned.T + found.centre_m, abs=1e-4)
        for p in found.positions_m:
            assert all(0 < v < side for v, side in zip(p, room.size_m or [], strict=True))
        if rotation == "azimuth":
            assert found.rotation_deg[1:] == [0, 0]


def test_arrays_are_turned_every_way() -> None:
    yaws = [room_of(row)[1].rotation_deg[0] for row in plan(60, rooms=rooms(array={"preset": "pair"}))]
    assert min(yaws) < -120
    assert max(yaws) > 120
    still = plan(3, rooms=rooms(array={"preset": "pair", "rotation": "none"}))
    assert all(room_of(row)[1].rotation_deg == [0, 0, 0] for row in still)


def test_a_subset_of_microphones_is_drawn_per_row_and_its_reference_stays() -> None:
    array = {"preset": "realman", "channels": {"count": {"integers": [2, 8]}, "always": [0]}}
    found = [room_of(row)[1] for row in plan(40, rooms=rooms(array=array))]
    assert {len(a.channels) for a in found} == set(range(2, 9))
    assert all(a.channels[0] == 0 and len(set(a.channels)) == len(a.channels) for a in found)
    assert len({tuple(a.channels) for a in found}) > 30
    local = arrays.realman()
    for a in found:
        assert distances(a.positions_m) == pytest.approx(distances(local[a.channels]), abs=2.5e-4)


def test_jitter_moves_microphones_a_little() -> None:
    for row in plan(10, rooms=rooms(array={"preset": "circular", "radius_m": 0.1, "jitter_m": 0.005})):
        _, found = room_of(row)
        off = np.abs(distances(found.positions_m) - distances(arrays.circular(4, 0.1)))
        assert 1e-4 < off.max() < 0.0101


def test_ambisonics_are_four_patterns_at_one_place() -> None:
    for row in plan(3, rooms=rooms(array={"preset": "foa"})):
        _, found = room_of(row)
        assert len({tuple(p) for p in found.positions_m}) == 1
        assert [p.omni for p in found.patterns] == [1, 0, 0, 0]
        axes = np.array([p.axis for p in found.patterns])[[3, 1, 2]]  # X, Y, Z
        assert axes == pytest.approx(arrays.rotation(*found.rotation_deg).T, abs=1e-5)


def test_capsules_point_outward_with_the_array() -> None:
    array = {"preset": "circular", "directivity": {"pattern": "cardioid"}}
    for row in plan(3, rooms=rooms(array=array)):
        _, found = room_of(row)
        for position, pattern in zip(found.positions_m, found.patterns, strict=True):
            away = np.asarray(position) - found.centre_m
            assert pattern.omni == 0.5
            assert pattern.axis == pytest.approx(away / np.linalg.norm(away), abs=3e-3)


def test_an_array_may_stay_near_the_middle() -> None:
    for row in plan(20, rooms=rooms(centre_offset_m={"uniform": [0, 0.5]})):
        room, found = room_of(row)
        middle = [side / 2 for side in (room.size_m or [])[:2]]
        assert math.dist(found.centre_m[:2], middle) <= 0.501


# Talkers


def test_a_wearer_is_at_the_centre_and_others_are_not() -> None:
    spec = rooms(
        array={"preset": "pair", "spacing_m": {"uniform": [0.1, 0.25]}},
        wearer=True,
        wearer_offset_m=[0.05, 0, -0.08],
        interferer_distance_m={"uniform": [1, 3]},
    )
    for row in plan(20, rooms=spec, talkers={"count": 2}):
        _, found = room_of(row)
        offset = np.asarray(row.talkers[0].position_m) - found.centre_m
        assert arrays.rotation(*found.rotation_deg).T @ offset == pytest.approx([0.05, 0, -0.08], abs=2e-4)
        assert 0.999 <= math.dist(row.talkers[1].position_m or [], found.centre_m) <= 3.001


def test_near_and_far_talkers() -> None:
    spec = rooms(distance_m={"uniform": [0.3, 0.6]}, interferer_distance_m={"uniform": [1.5, 2.5]})
    height = {"microphone_height_m": 1.5, "talker_height_m": {"uniform": [1.4, 1.6]}}
    for row in plan(20, rooms=spec | height, talkers={"count": 3}):
        _, found = room_of(row)
        near, *far = (math.dist(t.position_m or [], found.centre_m) for t in row.talkers)
        assert 0.299 <= near <= 0.601
        assert all(1.499 <= d <= 2.501 for d in far)


@pytest.mark.parametrize("least", [20, 60])
def test_talkers_keep_their_angle(least: float) -> None:
    smallest = []
    for row in plan(40, rooms=rooms(separation_deg=least), talkers={"count": 3}):
        _, found = room_of(row)
        seen = [np.asarray(t.position_m) - found.centre_m for t in row.talkers]
        for a, b in itertools.combinations(seen, 2):
            angle = math.degrees(math.acos(float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))))
            smallest.append(angle)
    assert least <= min(smallest) < least + 15


def test_talkers_face_the_array_or_anywhere() -> None:
    for row in plan(5, rooms=rooms(directivity={"pattern": "cardioid", "facing": "array"})):
        _, found = room_of(row)
        to_array = np.asarray(found.centre_m) - row.talkers[0].position_m
        pattern = row.talkers[0].pattern
        assert pattern is not None
        assert pattern.axis == pytest.approx(to_array / np.linalg.norm(to_array), abs=1e-5)
    random = [row.talkers[0].pattern for row in plan(20, rooms=rooms(directivity={"pattern": 0.4, "facing": "random"}))]
    assert all(p and p.axis[2] == 0 and p.omni == 0.4 for p in random)
    assert len({p.axis[0] > 0 for p in random if p}) == 2


# Motion


@pytest.mark.parametrize("path", ["line", "arc", "waypoints"])
def test_walkers_keep_their_speed_and_stay_in_the_room(path: str) -> None:
    motion = {"probability": 1, "path": path, "speed_m_s": {"uniform": [0.4, 1.2]}, "step_m": 0.03}
    for row in plan(8, rooms=rooms(motion=motion, array={"preset": "pair"})):
        room, found = room_of(row)
        track = np.asarray(row.talkers[0].trajectory_m)
        steps = np.linalg.norm(np.diff(track, axis=0), axis=1)
        assert steps.max() <= 0.0303
        assert 0.35 <= steps.sum() / 5 <= 1.21
        assert row.talkers[0].position_m == list(track[0])
        size = np.asarray(room.size_m)
        assert np.all(track[:, :2] >= 0.5)
        assert np.all(track[:, :2] <= size[:2] - 0.5)
        assert np.ptp(track[:, 2]) < 1e-9
        away = np.linalg.norm(track[:, np.newaxis] - np.asarray(found.positions_m), axis=-1)
        assert away.min() >= 0.3
        if path == "arc":
            radius = np.linalg.norm(track[:, :2] - found.centre_m[:2], axis=1)
            assert np.ptp(radius) < 2e-3


def test_so_many_talkers_walk() -> None:
    rows = plan(60, rooms=rooms(motion={"probability": 0.4}), talkers={"count": 2})
    walking = [bool(t.trajectory_m) for row in rows for t in row.talkers]
    assert abs(sum(walking) - 48) < 4 * math.sqrt(120 * 0.4 * 0.6)


# Noises


def test_noises_are_where_the_recipe_puts_them() -> None:
    spec = {"count": 2, "place": "point", "distance_m": {"uniform": [1, 2]}, "height_m": 1.2}
    for row in plan(20, rooms=rooms(), noise=spec):
        _, found = room_of(row)
        for noise in row.noises:
            assert noise.place == "point"
            assert 0.999 <= math.dist(noise.position_m or [], found.centre_m) <= 2.001
            assert (noise.position_m or [])[2] == 1.2
            assert noise.preroll == RATE
            assert noise.segments[-1].at + noise.segments[-1].length == row.frames + RATE
        assert row.noises[0].position_m != row.noises[1].position_m


def test_a_noise_may_have_a_room_of_its_own_with_the_same_array_in_it() -> None:
    spec = {"place": "own_room", "own_room": {"distance_m": {"uniform": [8, 12]}}}
    for row in plan(8, rooms=rooms(array={"preset": "pair", "spacing_m": 0.2}), noise=spec):
        _, found = room_of(row)
        assert row.noise_room is not None
        assert row.noise_room.array is not None
        assert row.room is not None
        assert row.noise_room.room_id != row.room.room_id
        assert 7.999 <= math.dist(row.noises[0].position_m or [], row.noise_room.array.centre_m) <= 12.001
        assert row.noise_room.array.rotation_deg == found.rotation_deg
        assert distances(row.noise_room.array.positions_m) == pytest.approx(distances(found.positions_m), abs=2e-4)


def test_a_diffuse_noise_takes_a_stretch_per_microphone_from_all_over_its_recording() -> None:
    for row in plan(5, rooms=rooms(array={"preset": "circular"})):
        (noise,) = row.noises
        assert noise.place == "diffuse"  # the default of an array
        assert noise.coherence == "spherical"
        starts = [track[0].start for track in (noise.segments, *noise.more_inputs)]
        assert len(starts) == 4
        gaps = np.diff(sorted(starts))
        assert np.all(np.abs(gaps - 20 * RATE / 4) <= 1)
        for track in noise.more_inputs:
            assert track[-1].at + track[-1].length == row.frames
    assert all(n.place == "dry" and not n.more_inputs for row in plan(3, rooms=rooms()) for n in row.noises)


def test_without_a_room_noises_are_dry() -> None:
    assert all(
        n.place == "dry" for row in plan(5, noise={"place": "point"}, rooms={"probability": 0}) for n in row.noises
    )


# Measured rooms


def test_measured_rooms_give_channels_and_responses_to_noises() -> None:
    rirs = [source(f"h{i}", "rir", 0.5, room_id="room", channels=4) for i in range(3)]
    spec = {"probability": 1, "kind": "measured"}
    for which, channels in (("first", [0]), ("all", [0, 1, 2, 3])):
        for row in plan(6, [*SOURCES, *rirs], rooms=spec | {"measured_channels": which}, noise={"place": "point"}):
            assert row.talkers[0].rir_channels == channels
            assert row.noises[0].rir_channels == channels
            assert row.noises[0].rir_source_id != row.talkers[0].rir_source_id
            assert row.noises[0].place == "point"


def test_responses_with_unlike_channels_are_named() -> None:
    rirs = [source(f"h{i}", "rir", 0.5, room_id="room", channels=2 + i) for i in range(2)]
    spec = {"probability": 1, "kind": "measured", "measured_channels": "all"}
    with pytest.raises(UserError, match=r"row 0: rooms.measured_channels: all wants RIRs with one number of channels"):
        plan(1, [*SOURCES, *rirs], rooms=spec, noise={"place": "point"})


# Walls and other shapes


def test_walls_may_absorb_unlike_and_in_bands() -> None:
    for row in plan(5, rooms=rooms(wall_weight={"uniform": [0.5, 1]}, air={})):
        room, _ = room_of(row)
        assert room.bands_hz[0] == 125
        assert len(room.absorption) == len(room.bands_hz) == len(room.air_db_per_m)
        assert len(set(room.absorption[0])) == 6
        assert all(walls == room.absorption[0] for walls in room.absorption)
        exponents = -np.log(1 - np.asarray(room.absorption[0]))
        assert exponents.min() / exponents.max() >= 0.499
        assert np.all(np.diff(room.air_db_per_m) > 0)


def test_materials_replace_the_reverberation_time() -> None:
    materials = {"walls": 0.2, "floor": {125: 0.1, 4000: 0.5}, "ceiling": 0.3}
    for row in plan(2, rooms=rooms(materials=materials)):
        room, _ = room_of(row)
        assert room.rt60_requested_s is None
        floor = [walls[4] for walls in room.absorption]
        assert floor[0] == 0.1
        assert floor[-1] == 0.5
        assert all(walls[:4] == [0.2] * 4 and walls[5] == 0.3 for walls in room.absorption)
    with pytest.raises(UserError, match=r"rooms.materials: .*carpt"):
        plan(1, rooms=rooms(materials="carpt"))


L_SHAPE = [[0, 0], [6, 0], [6, 3], [3, 3], [3, 6], [0, 6]]


def test_everyone_is_inside_a_polygon() -> None:
    spec = rooms(engine="pyroomacoustics", traced={"floor_m": L_SHAPE, "max_order": 3}, wall_margin_m=0.4)
    for row in plan(12, rooms=spec | {"size_m": {"height": 3}}):
        _, found = room_of(row)
        for x, y, _ in [found.centre_m, row.talkers[0].position_m or []]:
            assert 0.4 <= x <= 5.6
            assert 0.4 <= y <= 5.6
            assert x <= 2.6 or y <= 2.6


def test_what_never_fits_is_said() -> None:
    with pytest.raises(UserError, match=r"no feasible room in 6 draws: a noise does not fit into the room \("):
        plan(1, rooms=rooms(max_redraws=5), noise={"place": "point", "distance_m": 90})
    with pytest.raises(UserError, match=r"two talkers are nearer than separation_deg"):
        plan(1, rooms=rooms(max_redraws=5, separation_deg=150), talkers={"count": 4})
