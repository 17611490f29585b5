"""Where everything is: the room of a row, its microphones, talkers and noise sources, drawn until they fit.

Conventions
    Metres; x along the room's length, y along its width, z up, origin in a corner of the floor. Positions are rounded
    to 1 mm (microphones and the points of a way to 0.1 mm) before they are used. Distances of talkers and noises are
    from the array's centre.
    An attempt draws room, array, talkers and noise sources; where anything does not fit (a talker in a wall, a room too
    large for its RT60, two talkers too near in angle, a source that no microphone can hear) all of it is drawn again,
    up to `rooms.max_redraws` times. So what fits easily is preferred: small distances in small rooms, large rooms at
    large distances; `Room.redraws` says how often it happened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment import arrays, decay, motion
from augment.draw import Dealer, Draw, room_key
from augment.polyhedra import depth_in_polygon
from augment.rooms import LOWEST_HZ
from manifests import ids
from manifests.errors import UserError
from manifests.recipe import Directivity, Distribution, RoomSize
from manifests.schema import Array, Panel, Pattern, Room, Source, Traced

__all__ = ["Place", "Scene", "draw_scene"]

Points = NDArray[np.float64]

NEAREST_M = 0.02  # of a source to a microphone: its direct sound must not be infinite
NEAREST_WALKER_M = 0.3
INNER_MARGIN_M = 0.02  # of microphones to walls; `wall_margin_m` is for the array's centre, talkers and noises
PANEL_MARGIN_M = 0.05
WALK_TRIES = 20
OWN_ROOM_TRIES = 20


@dataclass(frozen=True)
class Place:
    """Where one source is: nowhere (dry), at a position of a simulated room, or behind a measured RIR.

    `kind` is for noises: dry, point, own_room or diffuse.
    """

    kind: str = "dry"
    position_m: list[float] | None = None
    trajectory_m: list[list[float]] = field(default_factory=list)
    pattern: Pattern | None = None
    rir: Source | None = None
    channels: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    room: Room | None
    noise_room: Room | None
    talkers: list[Place]
    noises: list[Place]


def draw_scene(draw: Draw, dealer: Dealer, mixture_id: str, *, talkers: int, noises: int, seconds: float) -> Scene:
    """The room of a row and the place of each talker and noise in it."""
    rooms = draw.recipe.rooms
    if draw.stream("rooms.probability").random() >= rooms.probability:
        return Scene(None, None, [Place()] * talkers, [Place()] * noises)
    kinds = [_noise_kind(draw, k) for k in range(noises)]
    if draw.value("rooms.kind", rooms.kind) == "measured":
        return _measured(draw, dealer, talkers, kinds)
    return _first_fit(draw, mixture_id, talkers, kinds, seconds)


def _noise_kind(draw: Draw, number: int) -> str:
    asked = draw.recipe.noise.place
    if asked is None:
        return "dry" if draw.recipe.rooms.array.size == 1 else "diffuse"
    return str(draw.value("noise.place", asked, number))


# -------------------------------------------------------------------------------------------------------- measured


def _measured(draw: Draw, dealer: Dealer, talkers: int, kinds: Sequence[str]) -> Scene:
    """RIRs of one room, a different one per talker and point noise as far as the room has them."""
    wanted = talkers + kinds.count("point")
    enough = min(wanted, max(dealer.rirs_in_room.values(), default=0))
    first = dealer.rir.pop(lambda s: dealer.rirs_in_room[room_key(s)] >= enough)
    if first is None:
        raise UserError(f"split '{draw.split}' has no rir sources")
    chosen = [first]
    for _ in range(wanted - 1):
        other = dealer.rir.pop(lambda s: room_key(s) == room_key(first) and s not in chosen)
        chosen.append(other or first)
    places = [Place("point", rir=rir, channels=_channels(draw, k, rir)) for k, rir in enumerate(chosen)]
    points = iter(places[talkers:])
    return Scene(
        Room(
            engine="measured",
            room_id=room_key(first),
            rt60_requested_s=first.rt60_s,
            min_onset_confidence=draw.recipe.rooms.min_onset_confidence,
        ),
        None,
        places[:talkers],
        [next(points) if kind == "point" else Place() for kind in kinds],
    )


def _channels(draw: Draw, number: int, rir: Source) -> list[int]:
    count = rir.channels or 1
    if draw.recipe.rooms.measured_channels == "all":
        return list(range(count))
    return [
        0 if draw.recipe.rooms.measured_channels == "first" else draw.integer(f"rir channel#{number}", 0, count - 1)
    ]


# ------------------------------------------------------------------------------------------------------- simulated


def _first_fit(draw: Draw, mixture_id: str, talkers: int, kinds: Sequence[str], seconds: float) -> Scene:
    refusals: dict[str, int] = {}
    for attempt in range(draw.recipe.rooms.max_redraws + 1):
        found = _attempt(draw, attempt, mixture_id, talkers, kinds, seconds)
        if isinstance(found, Scene):
            return found
        refusals[found] = refusals.get(found, 0) + 1
    why = ", ".join(f"{reason} ({count} times)" for reason, count in sorted(refusals.items(), key=lambda r: -r[1]))
    raise UserError(
        f"split '{draw.split}', row {draw.index}: no feasible room in {draw.recipe.rooms.max_redraws + 1} draws: "
        f"{why}. Check rooms.size_m, rt60_s, distance_m, heights and wall_margin_m against one another"
    )


def _attempt(
    draw: Draw, attempt: int, mixture_id: str, talkers: int, kinds: Sequence[str], seconds: float
) -> Scene | str:
    """A scene, or what did not fit."""
    spec = draw.recipe.rooms
    size = _size(draw, "rooms.size_m", spec.size_m, attempt)
    floor = spec.traced.floor_m if spec.engine == "pyroomacoustics" else []
    if floor:
        size = [max(x for x, _ in floor), max(y for _, y in floor), size[2]]
    bounds = _Bounds(size, spec.wall_margin_m, floor)
    array = _array(draw, attempt, bounds, near_centre=spec.centre_offset_m)
    if array is None:
        return "the array does not fit into the room"
    places = [_talker(draw, k, attempt, array, bounds, seconds) for k in range(talkers)]
    if None in places:
        return "a talker does not fit into the room"
    found = [p for p in places if p]
    if _too_close(found, array.centre_m, spec.separation_deg, spec.wearer):
        return "two talkers are nearer than separation_deg"
    noises = [_noise(draw, k, attempt, kind, array, bounds) for k, kind in enumerate(kinds)]
    if None in noises:
        return "a noise does not fit into the room"
    room = _room(draw, attempt, mixture_id, size, array, found, [n for n in noises if n])
    if isinstance(room, str):
        return room
    noise_room, position = None, None
    if "own_room" in kinds:
        tries = (_own_room(draw, attempt * OWN_ROOM_TRIES + k, mixture_id, attempt) for k in range(OWN_ROOM_TRIES))
        noise_room, position = next((found for found in tries if found), (None, None))
        if noise_room is None:
            return "a noise does not fit into a room of its own"
    placed = [Place("own_room", position) if k == "own_room" else n for k, n in zip(kinds, noises, strict=True) if n]
    return Scene(room, noise_room, found, placed)


def _size(draw: Draw, key: str, spec: RoomSize, attempt: int) -> list[float]:
    return [draw.value(f"{key}.{axis}", getattr(spec, axis), attempt=attempt) for axis in ("length", "width", "height")]


@dataclass(frozen=True)
class _Bounds:
    """The inside of a room: a box, or an extruded polygon."""

    size: list[float]
    margin: float
    floor: list[list[float]]

    @property
    def low(self) -> tuple[float, float]:
        return (min(c[0] for c in self.floor), min(c[1] for c in self.floor)) if self.floor else (0.0, 0.0)

    @property
    def high(self) -> tuple[float, float]:
        return (max(c[0] for c in self.floor), max(c[1] for c in self.floor)) if self.floor else tuple(self.size[:2])  # type: ignore[return-value]

    @property
    def middle(self) -> list[float]:
        """The middle of the floor."""
        return [(low + high) / 2 for low, high in zip(self.low, self.high, strict=True)]

    def holds(self, points: Points | Iterable[Sequence[float]], margin: float | None = None) -> bool:
        """Whether all points (n, 3) are inside, at least the margin away from the walls (and 5 cm from floor and
        ceiling).
        """
        p = np.atleast_2d(np.asarray(points, dtype=np.float64))
        side = self.margin if margin is None else margin
        flat = min(0.05, side)
        if not bool(np.all((p[:, 2] >= flat) & (p[:, 2] <= self.size[2] - flat))):
            return False
        if self.floor:
            return bool(np.all(depth_in_polygon(np.asarray(self.floor, dtype=np.float64), p) >= side))
        return bool(np.all((p[:, :2] >= side) & (p[:, :2] <= np.asarray(self.size[:2]) - side)))


# ------------------------------------------------------------------------------------------------------ microphones


def _array(draw: Draw, attempt: int, bounds: _Bounds, near_centre: Distribution | None, key: str = "") -> Array | None:
    """The recipe's array somewhere in a room; None where it does not fit. `key` tells a second room's draws apart."""
    spec = draw.recipe.rooms
    rng = draw.stream(f"array{key}#{attempt}")
    low, high, margin = bounds.low, bounds.high, bounds.margin
    if any(b - a <= 2 * margin for a, b in zip(low, high, strict=True)):
        return None
    centre = [round(float(rng.uniform(a + margin, b - margin)), 3) for a, b in zip(low, high, strict=True)]
    if near_centre is not None:
        away = draw.value("rooms.centre_offset_m", near_centre, attempt=attempt)
        angle = rng.uniform(0, 2 * math.pi)
        middle = bounds.middle
        centre = [round(middle[0] + away * math.cos(angle), 3), round(middle[1] + away * math.sin(angle), 3)]
    centre.append(draw.value("rooms.microphone_height_m", spec.microphone_height_m, attempt=attempt))
    array = _placed_array(draw, attempt, centre)
    return array if bounds.holds([centre]) and bounds.holds(array.positions_m, INNER_MARGIN_M) else None


def _placed_array(draw: Draw, attempt: int, centre: list[float]) -> Array:
    """The array around `centre`: jittered, a subset drawn, turned. All but the centre depends on the row alone, so that
    a noise's own room has the same array.
    """
    spec = draw.recipe.rooms.array
    local, patterns = _local(draw, attempt)
    rng = draw.stream(f"microphones#{attempt}")
    if spec.jitter_m:
        local = arrays.jittered(local, rng, spec.jitter_m)
    channels = list(range(len(local)))
    if spec.channels:
        count = int(draw.value("rooms.array.channels.count", spec.channels.count, attempt=attempt))
        channels = arrays.subset(rng, len(local), count, always=spec.channels.always)
    angles = _rotation(spec.rotation if len(local) > 1 else "none", rng)
    turn = arrays.rotation(*angles)
    positions = arrays.placed(local[channels], centre, turn)
    return Array(
        preset=spec.preset,
        positions_m=[[float(v) for v in p] for p in positions],
        centre_m=[float(v) for v in centre],
        rotation_deg=angles,
        channels=[int(c) for c in channels],
        patterns=[_pattern(omni, turn @ axis) for omni, axis in (patterns[c] for c in channels)] if patterns else [],
    )


def _local(draw: Draw, attempt: int) -> tuple[Points, list[tuple[float, Points]]]:
    """Positions of the preset in its own frame, and the pattern of each microphone (none for omnidirectional ones)."""
    spec = draw.recipe.rooms.array
    spacing, radius = (
        draw.value(f"rooms.array.{name}", getattr(spec, name), attempt=attempt) for name in ("spacing_m", "radius_m")
    )
    local = {
        "mono": lambda: arrays.mono(),
        "pair": lambda: arrays.pair(spacing),
        "linear": lambda: arrays.linear(spec.microphones, spacing),
        "circular": lambda: arrays.circular(spec.microphones, radius, centre=spec.centre),
        "tetrahedral": lambda: arrays.tetrahedral(radius),
        "rings": lambda: arrays.rings(spec.radii_m, spec.counts, centre=spec.centre),
        "realman": lambda: arrays.realman(),
        "foa": lambda: arrays.foa(),
        "user": lambda: np.asarray(spec.positions_m, dtype=np.float64),
    }[spec.preset]()
    if spec.preset == "foa":  # ACN order W, Y, Z, X
        return local, [(1.0, np.array([1.0, 0, 0])), *((0.0, np.eye(3)[k]) for k in (1, 2, 0))]
    if spec.directivity.omni == 1:
        return local, []
    forward = len(local) == 1 or spec.directivity.facing == "forward"
    axes = np.tile([1.0, 0.0, 0.0], (len(local), 1)) if forward else arrays.outward(local)
    return local, [(spec.directivity.omni, axis) for axis in axes]


def _rotation(kind: str, rng: np.random.Generator) -> list[float]:
    """Yaw, pitch and roll in degrees; `full` is uniform over all orientations."""
    yaw, pitch, roll = (
        rng.uniform(-180, 180),
        math.degrees(math.asin(rng.uniform(-1, 1))),
        rng.uniform(-180, 180),
    )
    return {"none": [0.0, 0.0, 0.0], "azimuth": [round(yaw, 1), 0.0, 0.0]}.get(
        kind, [round(yaw, 1), round(pitch, 1), round(roll, 1)]
    )


def _pattern(omni: float, axis: Any) -> Pattern:
    length = float(np.linalg.norm(axis))
    return Pattern(omni, [round(float(v) / length, 6) for v in axis])


# --------------------------------------------------------------------------------------------------------- talkers


def _talker(draw: Draw, number: int, attempt: int, array: Array, bounds: _Bounds, seconds: float) -> Place | None:
    spec = draw.recipe.rooms
    rng = draw.stream(f"positions#{number}#{attempt}")
    if spec.wearer and number == 0:
        offset = arrays.rotation(*array.rotation_deg) @ np.asarray(spec.wearer_offset_m)
        position: list[float] | None = [round(c + float(o), 4) for c, o in zip(array.centre_m, offset, strict=True)]
        margin = INNER_MARGIN_M
    else:
        band = spec.interferer_distance_m if number and spec.interferer_distance_m else spec.distance_m
        key = "rooms.interferer_distance_m" if band is not spec.distance_m else "rooms.distance_m"
        distance = draw.value(key, band, number, attempt)
        height = draw.value("rooms.talker_height_m", spec.talker_height_m, number, attempt)
        position, margin = _around(array.centre_m, distance, height, rng), bounds.margin
    if position is None or not bounds.holds([position], margin) or _nearest(position, array) < NEAREST_M:
        return None
    track: list[list[float]] = []
    if draw.stream(f"rooms.motion.probability#{number}").random() < spec.motion.probability:
        walked = _walk(draw, number, attempt, position, array, bounds, seconds)
        if walked is None:
            return None
        track, position = walked, walked[0]
    return Place("point", position, track, _facing(spec.directivity, position, array.centre_m, rng))


def _around(centre: Sequence[float], distance: float, height: float, rng: np.random.Generator) -> list[float] | None:
    """A point at a distance and height in a uniform direction; None where the height alone is farther than that."""
    azimuth = rng.uniform(0, 2 * math.pi)
    across = distance**2 - (height - centre[2]) ** 2
    if across < 0:
        return None
    ground = math.sqrt(across)
    x, y = centre[0] + ground * math.cos(azimuth), centre[1] + ground * math.sin(azimuth)
    return [round(x, 3), round(y, 3), height]


def _nearest(position: Sequence[float], array: Array) -> float:
    return min(math.dist(position, m) for m in array.positions_m)


def _facing(
    spec: Directivity, position: Sequence[float], centre: Sequence[float], rng: np.random.Generator
) -> Pattern | None:
    if spec.omni == 1:
        return None
    azimuth = rng.uniform(0, 2 * math.pi)
    random = [math.cos(azimuth), math.sin(azimuth), 0.0]
    to_array = [c - p for c, p in zip(centre, position, strict=True)]
    return _pattern(spec.omni, random if spec.facing == "random" or not any(to_array) else to_array)


def _too_close(places: Sequence[Place], centre: Sequence[float], separation_deg: float, wearer: bool) -> bool:
    """Whether two talkers are seen under less than an angle; a wearer is at the centre and has none."""
    if not separation_deg:
        return False
    seen = [np.asarray(p.position_m) - centre for p in places[wearer:]]
    units = np.array([v / np.linalg.norm(v) for v in seen])
    cosine = units @ units.T - 2 * np.eye(len(units))
    return bool(np.any(cosine > math.cos(math.radians(separation_deg))))


def _walk(
    draw: Draw,
    number: int,
    attempt: int,
    start: Sequence[float],
    array: Array,
    bounds: _Bounds,
    seconds: float,
) -> list[list[float]] | None:
    """A talker's way, sampled; it turns round where the room ends. None where no way of a metre was found."""
    spec = draw.recipe.rooms.motion
    path = draw.value("rooms.motion.path", spec.path, number, attempt)
    speed = draw.value("rooms.motion.speed_m_s", spec.speed_m_s, number, attempt)
    rng = draw.stream(f"motion#{number}#{attempt}")
    for _ in range(WALK_TRIES):
        curve = _CURVES[path](start, array.centre_m, bounds, rng)
        if curve is None:
            continue
        track = np.round(motion.walk(curve, speed_m_s=speed, seconds=seconds, step_m=spec.step_m), 4)
        away = min(float(np.min(np.linalg.norm(track - m, axis=1))) for m in array.positions_m)
        if bounds.holds(track) and away >= NEAREST_WALKER_M:
            return [[float(v) for v in p] for p in track]
    return None


def _line(start: Sequence[float], centre: Sequence[float], bounds: _Bounds, rng: np.random.Generator) -> Points | None:
    """From the start straight to the margin of the room."""
    azimuth = rng.uniform(0, 2 * math.pi)
    steps = np.arange(0.0, 50.0, 0.05)[:, np.newaxis] * [math.cos(azimuth), math.sin(azimuth), 0.0]
    return _long_enough(_within(np.asarray(start) + steps, bounds))


def _arc(start: Sequence[float], centre: Sequence[float], bounds: _Bounds, rng: np.random.Generator) -> Points | None:
    """Around the array, to the margin of the room or full circle."""
    across = np.asarray(start[:2]) - centre[:2]
    radius, first = float(np.hypot(*across)), math.atan2(across[1], across[0])
    turn = rng.choice([-1.0, 1.0]) * np.arange(0, 2 * math.pi, 0.02 / max(radius, 0.02))
    around = np.column_stack([np.cos(first + turn), np.sin(first + turn)]) * radius + centre[:2]
    return _long_enough(_within(np.column_stack([around, np.full(len(turn), start[2])]), bounds))


def _waypoints(
    start: Sequence[float], centre: Sequence[float], bounds: _Bounds, rng: np.random.Generator
) -> Points | None:
    """From the start over three random points of the room."""
    low, high = np.asarray(bounds.low) + bounds.margin, np.asarray(bounds.high) - bounds.margin
    points = [[*rng.uniform(low, high), start[2]] for _ in range(3)]
    return _long_enough(np.asarray(motion.waypoints([start, *points])))


def _within(points: Points, bounds: _Bounds) -> Points:
    """The points before the first that is outside."""
    inside = [bounds.holds([p]) for p in points]
    return points[: inside.index(False) if False in inside else len(points)]


def _long_enough(curve: Points) -> Points | None:
    return curve if len(curve) > 1 and np.linalg.norm(np.diff(curve, axis=0), axis=1).sum() >= 1.0 else None


_CURVES = {"line": _line, "arc": _arc, "waypoints": _waypoints}


# ---------------------------------------------------------------------------------------------------------- noises


def _noise(draw: Draw, number: int, attempt: int, kind: str, array: Array, bounds: _Bounds) -> Place | None:
    if kind != "point":
        return Place(kind)
    spec = draw.recipe.noise
    position = _around(
        array.centre_m,
        draw.value("noise.distance_m", spec.distance_m, number, attempt),
        draw.value("noise.height_m", spec.height_m, number, attempt),
        draw.stream(f"noise position#{number}#{attempt}"),
    )
    if position is None or not bounds.holds([position]) or _nearest(position, array) < NEAREST_M:
        return None
    return Place("point", position)


def _own_room(draw: Draw, again: int, mixture_id: str, attempt: int) -> tuple[Room, list[float]] | None:
    """A room for the noises that are not in the talkers' room, with the same array in it, and where they are."""
    spec = draw.recipe.noise.own_room
    size = _size(draw, "noise.own_room.size_m", spec.size_m, again)
    bounds = _Bounds(size, draw.recipe.rooms.wall_margin_m, [])
    array = _array(draw, attempt, bounds, None, key=f" of the noise#{again}")
    if array is None:
        return None
    position = _around(
        array.centre_m,
        draw.value("noise.own_room.distance_m", spec.distance_m, attempt=again),
        draw.value("noise.own_room height", draw.recipe.noise.height_m, attempt=again),
        draw.stream(f"noise position#own#{again}"),
    )
    if position is None or not bounds.holds([position]):
        return None
    rt60_s = draw.value("noise.own_room.rt60_s", spec.rt60_s, attempt=again)
    walls = decay.walls_for(rt60_s, size, sample_rate=draw.recipe.sample_rate, lowest_hz=LOWEST_HZ)
    if walls is None:
        return None
    room = Room(
        engine="shoebox",
        room_id=ids.short(["noise room", mixture_id]),
        size_m=size,
        rt60_requested_s=rt60_s,
        rt60_tolerance=draw.recipe.rooms.rt60_tolerance,
        absorption=[[round(a, 6) for a in walls]],
        seed=int(draw.stream("noise room seed").integers(2**32)),
        array=array,
        redraws=again,
    )
    return room, position


# ------------------------------------------------------------------------------------------------------------ room


def _room(
    draw: Draw,
    attempt: int,
    mixture_id: str,
    size: list[float],
    array: Array,
    talkers: Sequence[Place],
    noises: Sequence[Place],
) -> Room | str:
    """The room with its walls, or why there is none."""
    spec = draw.recipe.rooms
    rt60_s = None if spec.materials is not None else draw.value("rooms.rt60_s", spec.rt60_s, attempt=attempt)
    bands, air = _bands(draw)
    if rt60_s is None:
        walls = _material_walls(draw, bands)
    else:
        weights = [draw.value("rooms.wall_weight", spec.wall_weight, k, attempt) for k in range(6)]
        distance = math.dist(talkers[0].position_m or [], array.positions_m[0])
        found = decay.walls_for(
            rt60_s, size, weights, sample_rate=draw.recipe.sample_rate, distance_m=distance, lowest_hz=LOWEST_HZ
        )
        if found is None:
            return "the room is too large for its RT60"
        walls = [[round(a, 6) for a in found]] * max(1, len(bands))
    traced = _traced(draw, attempt, size) if spec.engine == "pyroomacoustics" else None
    if traced and not all(_stands(panel, size, spec.traced.floor_m) for panel in traced.panels):
        return "a panel does not fit into the room"
    room = Room(
        engine=spec.engine,
        room_id=ids.short(["room", mixture_id]),
        size_m=size,
        rt60_requested_s=rt60_s,
        rt60_tolerance=spec.rt60_tolerance if rt60_s is not None else None,
        absorption=walls,
        bands_hz=bands,
        air_db_per_m=air,
        jitter_m=spec.jitter_m,
        tail_after_ms=spec.tail_after_ms if spec.tail == "diffuse" else None,
        seed=int(draw.stream("room seed").integers(2**32)),
        array=array,
        traced=traced,
        redraws=attempt,
    )
    if traced and not _heard(room, [p.position_m for p in (*talkers, *noises) if p.position_m]):
        return "a source is fully occluded"
    return room


def _bands(draw: Draw) -> tuple[list[float], list[float]]:
    """Octave bands and the air's absorption in them; none where neither materials nor air ask for bands."""
    from augment import materials

    spec = draw.recipe.rooms
    if spec.air is None and spec.materials is None:
        return [], []
    bands = [b for b in materials.OCTAVES if b / math.sqrt(2) < draw.recipe.sample_rate / 2]
    if spec.air is None:
        return bands, []
    air = materials.air_db_per_m(
        np.asarray(bands), temperature_c=spec.air.temperature_c, humidity_percent=spec.air.humidity_percent
    )
    return bands, [round(float(a), 8) for a in air]


def _material_walls(draw: Draw, bands: Sequence[float]) -> list[list[float]]:
    from augment import materials

    try:
        found = materials.per_wall(draw.recipe.rooms.materials, bands_hz=bands)
    except ValueError as error:
        raise UserError(f"rooms.materials: {error}") from None
    return [[round(float(a), 6) for a in row] for row in found]


def _traced(draw: Draw, attempt: int, size: Sequence[float]) -> Traced:
    spec = draw.recipe.rooms.traced
    count = int(draw.value("rooms.traced.panels.count", spec.panels.count, attempt=attempt))
    bounds = _Bounds(list(size), draw.recipe.rooms.wall_margin_m, spec.floor_m)
    bands = max(1, len(_bands(draw)[0]))
    return Traced(
        floor_m=[[float(v) for v in corner] for corner in spec.floor_m],
        max_order=spec.max_order,
        ray_tracing=spec.ray_tracing,
        scattering=spec.scattering,
        panels=[_panel(draw, k, attempt, bounds, bands) for k in range(count)],
    )


def _panel(draw: Draw, number: int, attempt: int, bounds: _Bounds, bands: int) -> Panel:
    """An upright rectangle on the floor, turned at random, its middle within the margins."""
    spec = draw.recipe.rooms.traced.panels
    rng = draw.stream(f"panel#{number}#{attempt}")
    width = draw.value("rooms.traced.panels.width_m", spec.width_m, number, attempt)
    height = min(draw.value("rooms.traced.panels.height_m", spec.height_m, number, attempt), bounds.size[2] - 0.05)
    angle = rng.uniform(0, math.pi)
    across = np.array([math.cos(angle), math.sin(angle)]) * width / 2
    low, high = np.asarray(bounds.low) + bounds.margin, np.asarray(bounds.high) - bounds.margin
    middle = rng.uniform(low, high)
    ends = [np.round(middle - across, 3), np.round(middle + across, 3)]
    foot = [[float(x), float(y), 0.01] for x, y in ends]
    top = [[x, y, round(height, 3)] for x, y, _ in reversed(foot)]
    return Panel(corners_m=[*foot, *top], absorption=[spec.absorption] * bands)


def _stands(panel: Panel, size: Sequence[float], floor: list[list[float]]) -> bool:
    corners = np.asarray(panel.corners_m)
    plan = np.linspace(corners[0, :2], corners[1, :2], 20)
    return _Bounds(list(size), PANEL_MARGIN_M, floor).holds(np.column_stack([plan, np.full(20, size[2] / 2)]))


def _heard(room: Room, sources: Sequence[list[float]]) -> bool:
    """Whether every microphone hears something of each source (engine pyroomacoustics only: it can be occluded)."""
    from augment import rooms

    return all(rooms.audible(room, source) for source in sources)
