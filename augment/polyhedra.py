"""Rooms that are no plain shoebox, by pyroomacoustics: floors of any polygon, occluding panels, scattering, rays.

`augment.rooms` is exact and faster for a shoebox whose walls reflect like mirrors. This is for everything else.

Conventions
    Positions in metres. A room is a shoebox `size_m`, from the origin, or the polygon `floor_m` at height 0 (corners in
    order, either sense) extruded to `height_m`. Its walls are those of `wall_names`: of a shoebox west, east, south,
    north, floor, ceiling; of a polygon one from each corner to the next, then floor and ceiling.
    Absorption and scattering are of energy: one number, one per wall, or (bands, walls) where there are `bands_hz`.
    pyroomacoustics' own bands are octaves from 125 Hz; other values are taken between them, linear over octaves.
    A response is (microphones, taps) float32 and means what those of `augment.rooms` mean: tap 0 is emission, the
    direct path has gain 1 / (4 pi d), c = 343 m/s, no high-pass; it ends where 70 dB below the whole are left.
    A panel hides completely: sound passes neither through it nor, by diffraction, around its edges.
    Bytes depend on the arguments alone. A source's response does not depend on the other sources, but its noise is
    another at another place; the noise of a microphone does depend on the other microphones. The tails of two
    microphones are independent noise, however close they are. A microphone less than 20 cm from a panel catches some
    rays behind it.

What is corrected
    Up to `max_order` reflections are image sources; beyond, energy comes from rays, as noise. pyroomacoustics 0.10
    counts some of it twice (its rays include reflections of order `max_order`; what walls scatter arrives both directly
    and with the ray), which makes a room with scattering up to 3 dB too loud. With T_k the histogram of rays reflected
    at least k times, and s the mean scattering, this module takes

        T_(K+1) + sum over k = 1 .. K of (1 - (1 - s)^k) (T_k - T_(k+1))

    since images of order k carry (1 - s)^k of their order's energy. The same rays are traced for each k, so the
    differences are exact. What a microphone close to a wall misses, as part of the sphere that collects its rays lies
    outside, is made up for in proportion. Not corrected: a scattered ray leaves a wall in the mean of the mirrored and
    a random direction, so that few graze walls; reverberation is then 1 dB (corners: 2 dB) weaker at walls than in the
    middle with a scattering of 0.3, and 0.3 dB with 0.1.

Sources
    J. Allen, D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979; J. Borish,
    "Extension of the image model to arbitrary polyhedra", JASA 75(6), 1984; D. Schroeder, "Physically based real-time
    auralization of interactive virtual environments", RWTH Aachen 2011. R. Scheibler, E. Bezzam, I. Dokmanic,
    "Pyroomacoustics", ICASSP 2018.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment import materials
from augment.images import HALF_FILTER, SPEED_OF_SOUND

__all__ = ["Occluded", "Panel", "depth_in_polygon", "simulate", "visible", "wall_names"]

Float = NDArray[np.float64]
Positions = Sequence[Sequence[float]]

DEPTH_DB = 70.0
MOST_IMAGES = 200_000
MOST_BRANCHES = 50_000_000
LEAST_ABSORPTION = 1e-3
CLEARANCE_M = 1e-3  # pyroomacoustics computes in float32 and takes 1e-5 m for nothing

_AT_ONCE = 4096
_BIN_S = 0.004
_RADIUS_M = (0.2, 0.5)
_RAYS = (5_000, 50_000)
_HITS_PER_BIN = 20
_RAY_DEPTH = 10 ** (-DEPTH_DB / 10 - 1)  # so that rays end where the response does, not before
_EVERY_ORDER = 2**30
_LEAST_ENERGY = 1e-3  # of a diffuse field; in halls of 60 m rays leak through a wall 36 dB below that, for rounding
_CONSTANTS = {
    "c": SPEED_OF_SOUND,
    "num_threads": 1,
    "octave_bands_base_freq": materials.OCTAVES[0],
    "octave_bands_n_fft": 512,
    "octave_bands_keep_dc": True,
    "rir_hpf_enable": False,
}


class Occluded(ValueError):
    """Nothing reaches a microphone: every path is hidden, up to the order asked for."""


@dataclass(frozen=True)
class Panel:
    """A thin plate in the room: four corners in order around it. Absorption and scattering are one number or one per
    band."""

    corners_m: Positions
    absorption: ArrayLike = 0.1
    scattering: ArrayLike = 0.0
    thickness_m: float = 0.02


def wall_names(floor_m: Positions | None = None) -> tuple[str, ...]:
    """The walls in the order of the columns of `absorption`; of a shoebox where no floor is given."""
    if floor_m is None:
        return materials.SHOEBOX_WALLS
    return (*(f"wall_{i}" for i in range(len(floor_m))), "floor", "ceiling")


def simulate(
    *,
    size_m: Sequence[float] | None = None,
    floor_m: Positions | None = None,
    height_m: float | None = None,
    absorption: ArrayLike,
    scattering: ArrayLike = 0.0,
    bands_hz: Sequence[float] = (),
    air_db_per_m: ArrayLike = (),
    panels: Sequence[Panel] = (),
    sources_m: Positions,
    microphones_m: Positions,
    sample_rate: int,
    max_order: int,
    ray_tracing: bool,
    rays: int | None = None,
    max_s: float = 3.0,
    seed: int,
) -> list[NDArray[np.float32]]:
    """One response per source.

    Without rays the response ends with the images of `max_order`, and scattering has no effect. `rays` is their number
    per source; None chooses by volume. `air_db_per_m` is one number or one per band, see `materials.air_db_per_m`.

    `Occluded` where nothing reaches a microphone; ValueError for what cannot be simulated: a position in a wall or
    outside, too many image sources, a room that rings longer than `max_s`.
    """
    shape = _shape(size_m, floor_m, height_m, panels)
    sources, microphones = shape.positions("sources_m", sources_m), shape.positions("microphones_m", microphones_m)
    _check(shape, sources, microphones, max_order, ray_tracing, rays, max_s, seed)
    pra = _pyroomacoustics()
    with _constants(pra):
        centres = _centres(pra, sample_rate)
        surface = _Surface(
            absorption=_per_face("absorption", absorption, [p.absorption for p in panels], shape, bands_hz, centres),
            scattering=_per_face("scattering", scattering, [p.scattering for p in panels], shape, bands_hz, centres),
            air_db_per_m=_air(air_db_per_m, bands_hz, centres),
            centres_hz=centres,
        )
        if ray_tracing:
            _check_rays(pra, surface)
        tracer = _tracer(shape, microphones, rays, max_s) if ray_tracing else None
        scene = _Scene(pra, shape, surface, microphones, sample_rate, max_order, tracer)
        return [_stack(_channels(scene, source, _words(seed, source)), sample_rate, max_s) for source in sources]


def visible(
    *,
    size_m: Sequence[float] | None = None,
    floor_m: Positions | None = None,
    height_m: float | None = None,
    panels: Sequence[Panel] = (),
    source_m: Sequence[float],
    microphones_m: Positions,
    max_order: int,
) -> bool:
    """Whether some image source of at most `max_order` reflections reaches every microphone: whether `simulate` without
    rays has a response to give. Milliseconds: no response is computed."""
    shape = _shape(size_m, floor_m, height_m, panels)
    source, microphones = shape.positions("source_m", [source_m]), shape.positions("microphones_m", microphones_m)
    _check(shape, source, microphones, max_order, False, None, 1.0, 0)
    if shape.shoebox is not None:
        return True
    pra = _pyroomacoustics()
    with _constants(pra), _seeded(pra, (0,)):
        none = np.zeros((1, len(shape.faces)))
        room = _room(pra, shape, _Surface(none, none, np.empty(0), np.array(materials.OCTAVES)), 16000, max_order)
        room.add_source(source[0])
        room.add_microphone_array(microphones.T)
        room.image_source_model()
        return not _hidden(room)


# ----------------------------------------------------------------------------------------------------------- shape


@dataclass(frozen=True)
class _Shape:
    """What encloses the air. Faces are (corners, 3), counter-clockwise seen from behind, where no air is."""

    floor: Float
    height: float
    faces: list[Float]
    panels: list[list[Float]]
    shoebox: tuple[float, ...] | None

    def positions(self, name: str, positions_m: Positions) -> Float:
        """(n, 3); ValueError for one that does not lie in the air."""
        points = np.asarray(positions_m, dtype=np.float64)
        if points.ndim != 2 or points.shape[0] == 0 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise ValueError(f"{name} must be positions (x, y, z) in metres, got {positions_m}")
        for point, clearance in zip(points, self.clearance(points), strict=True):
            if clearance < CLEARANCE_M:
                raise ValueError(f"{name} must lie in the room, {CLEARANCE_M} m or more from walls, got {list(point)}")
        return points

    def clearance(self, points: Float) -> Float:
        """Distance to the nearest wall or panel (to a panel's edges a lower bound); negative where no air is."""
        sides = depth_in_polygon(self.floor, points)
        nearest = np.minimum(sides, np.minimum(points[:, 2], self.height - points[:, 2]))
        for panel in self.panels:
            behind = np.array([(points - face[0]) @ -_normal(face) for face in panel])
            nearest = np.minimum(nearest, behind.max(axis=0))
        return nearest

    def hiding(self) -> list[int]:
        """The faces that can stand between two points in the air: panels, and the sides that meet in a bend inwards."""
        sides = np.roll(self.floor, -1, axis=0) - self.floor
        across = np.column_stack([-sides[:, 1], sides[:, 0]]) / np.linalg.norm(sides, axis=1)[:, np.newaxis]
        beyond = np.array([(self.floor - start) @ normal for start, normal in zip(self.floor, across, strict=True)])
        hull = (beyond > -1e-6).all(axis=1) | (beyond < 1e-6).all(axis=1)
        walls = len(self.floor) + 2
        return [*np.flatnonzero(~hull).tolist(), *range(walls, len(self.faces))]

    def areas(self) -> Float:
        return np.array([np.linalg.norm(_area_vector(face)) for face in self.faces])

    def diagonal(self) -> float:
        return math.hypot(*(self.floor.max(axis=0) - self.floor.min(axis=0)), self.height)

    def volume(self) -> float:
        return sum(float(face[0] @ _area_vector(face)) for face in self.faces) / 3


def _shape(
    size_m: Sequence[float] | None, floor_m: Positions | None, height_m: float | None, panels: Sequence[Panel]
) -> _Shape:
    if (size_m is None) == (floor_m is None) or (floor_m is None) != (height_m is None):
        raise ValueError("a room needs either size_m, or floor_m and height_m")
    if size_m is None:
        floor, height = _polygon(floor_m), _height(height_m)
        room = _extruded(floor, height)
    else:
        length, width, height = _size(size_m)
        floor = np.array([(0, 0), (length, 0), (length, width), (0, width)], dtype=np.float64)
        south, east, north, west, bottom, top = _extruded(floor, height)
        room = [west, east, south, north, bottom, top]
    plates = [_plate(panel) for panel in panels]
    for panel, plate in zip(panels, plates, strict=True):
        _check_inside(floor, height, panel, np.concatenate(plate))
    faces = room + [face for plate in plates for face in plate]
    return _Shape(floor, height, faces, plates, None if size_m is None or panels else _size(size_m))


def _size(size_m: Sequence[float]) -> tuple[float, float, float]:
    if len(size_m) != 3 or not all(0 < side < math.inf for side in size_m):
        raise ValueError(f"size_m must be three positive lengths, got {list(size_m)}")
    return float(size_m[0]), float(size_m[1]), float(size_m[2])


def _polygon(floor_m: Any) -> Float:
    floor = np.asarray(floor_m, dtype=np.float64)
    if floor.ndim != 2 or len(floor) < 3 or floor.shape[1] != 2 or not np.isfinite(floor).all():
        raise ValueError(f"floor_m must be three or more corners (x, y), got {floor_m}")
    ends = np.roll(floor, -1, axis=0)
    if (np.linalg.norm(ends - floor, axis=1) < CLEARANCE_M).any():
        raise ValueError(f"floor_m must have no corner twice, got {floor_m}")
    if abs(_area_vector(np.column_stack([floor, np.zeros(len(floor))]))[2]) < CLEARANCE_M**2:
        raise ValueError(f"floor_m must enclose an area, got {floor_m}")
    sides = list(zip(floor, ends, strict=True))
    for i, first in enumerate(sides):
        for j in range(i + 2, len(sides) - (i == 0)):
            if _cross_each_other(*first, *sides[j]):
                raise ValueError(f"floor_m must not cross itself, got {floor_m}")
    return floor


def _height(height_m: Any) -> float:
    if not 0 < height_m < math.inf:
        raise ValueError(f"height_m must be positive, got {height_m}")
    return float(height_m)


def _cross_each_other(a: Float, b: Float, c: Float, d: Float) -> bool:
    """Whether the segments a-b and c-d meet."""

    def turn(p: Float, q: Float, r: Float) -> float:
        return float(np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])))

    boxes_meet = (np.minimum(a, b) <= np.maximum(c, d)).all() and (np.minimum(c, d) <= np.maximum(a, b)).all()
    return bool(boxes_meet and turn(a, b, c) * turn(a, b, d) <= 0 and turn(c, d, a) * turn(c, d, b) <= 0)


def _extruded(floor: Float, height: float) -> list[Float]:
    """The sides, the floor, the ceiling; faces that turn their back to the outside."""
    low = np.column_stack([floor, np.zeros(len(floor))])
    high = low + np.array([0, 0, height])
    after = np.roll(np.arange(len(floor)), -1)
    faces = [np.array([low[i], low[j], high[j], high[i]]) for i, j in enumerate(after)]
    faces += [low[::-1], high]
    counter_clockwise = _area_vector(low)[2] > 0
    return faces if counter_clockwise else [face[::-1] for face in faces]


def _plate(panel: Panel) -> list[Float]:
    """The two sides and four edges of a panel; faces that turn their back to its inside.

    One face without thickness would not do: pyroomacoustics reflects images on one side of a face only, scatters rays
    to one side only, and tells inside from outside by counting faces.
    """
    corners = np.asarray(panel.corners_m, dtype=np.float64)
    if corners.shape != (4, 3) or not np.isfinite(corners).all():
        raise ValueError(f"corners_m of a panel must be four positions (x, y, z), got {panel.corners_m}")
    if not CLEARANCE_M <= panel.thickness_m < math.inf:
        raise ValueError(f"thickness_m of a panel must be at least {CLEARANCE_M}, got {panel.thickness_m}")
    edges = np.roll(corners, -1, axis=0) - corners
    bends = np.cross(edges, np.roll(edges, -1, axis=0))
    normal = _area_vector(corners)
    if not (bends @ normal > 0).all() or abs((corners - corners[0]) @ normal).max() > 1e-6 * normal @ normal:
        raise ValueError(f"corners_m of a panel must be flat and convex, in order, got {panel.corners_m}")
    step = normal / np.linalg.norm(normal) * panel.thickness_m / 2
    front, back = corners + step, corners - step
    after = np.roll(np.arange(4), -1)
    return [front[::-1], back, *(np.array([front[i], front[j], back[j], back[i]]) for i, j in enumerate(after))]


def _check_inside(floor: Float, height: float, panel: Panel, corners: Float) -> None:
    """Walls may be touched. Edges are looked at in twenty places, which finds a panel that leaves by a corner."""
    along = np.linspace(0, 1, 20)[:, np.newaxis, np.newaxis]
    points = (corners + along * (np.roll(corners, -1, axis=0) - corners)).reshape(-1, 3)
    inside = depth_in_polygon(floor, points) > -1e-6
    if not (inside & (points[:, 2] > -1e-6) & (points[:, 2] < height + 1e-6)).all():
        raise ValueError(f"a panel must lie in the room with all of its thickness, got {panel.corners_m}")


def _area_vector(face: Float) -> Float:
    """Normal to a flat polygon, on the side from which its corners run counter-clockwise, and as long as its area."""
    spokes = face - face[0]
    return np.asarray(np.cross(spokes[:-1], spokes[1:]).sum(axis=0) / 2)


def _normal(face: Float) -> Float:
    vector = _area_vector(face)
    return np.asarray(vector / np.linalg.norm(vector))


def depth_in_polygon(floor: Float, points: Float) -> Float:
    """Horizontal distance of points (n, 2 or more) to the nearest side of a polygon (corners, 2); negative outside."""
    return np.where(_in_polygon(floor, points), 1, -1) * _to_polygon(floor, points)


def _in_polygon(floor: Float, points: Float) -> NDArray[np.bool_]:
    """Whether a line from each point along x crosses an odd number of sides."""
    x, y = points[:, :1], points[:, 1:2]
    start, end = floor, np.roll(floor, -1, axis=0)
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(end[:, 1] == start[:, 1], 1, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) / rise * (end[:, 0] - start[:, 0])
    return np.asarray(np.sum(spans & (x < crossing), axis=1) % 2 == 1)


def _to_polygon(floor: Float, points: Float) -> Float:
    """Horizontal distance to the nearest side."""
    start, side = floor, np.roll(floor, -1, axis=0) - floor
    to = points[:, np.newaxis, :2] - start
    along = np.clip(np.sum(to * side, axis=2) / np.sum(side * side, axis=1), 0, 1)
    return np.asarray(np.linalg.norm(to - along[..., np.newaxis] * side, axis=2).min(axis=1))


def _check(
    shape: _Shape,
    sources: Float,
    microphones: Float,
    max_order: int,
    ray_tracing: bool,
    rays: int | None,
    max_s: float,
    seed: int,
) -> None:
    if max_order < 0:
        raise ValueError(f"max_order must not be negative, got {max_order}")
    if rays is not None and not (ray_tracing and rays > 0):
        raise ValueError(f"rays must be a positive number, given with ray_tracing, got {rays}")
    if not 0 < max_s <= 60:
        raise ValueError(f"max_s must lie between 0 and 60, got {max_s}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if np.linalg.norm(sources[:, np.newaxis] - microphones, axis=2).min() < CLEARANCE_M:
        raise ValueError("a source and a microphone must not be at the same place")
    walls, mics = len(shape.faces), len(microphones)
    if shape.shoebox is not None:
        images, most = (4 * max_order**3 + 6 * max_order**2 + 8 * max_order + 3) // 3, MOST_IMAGES
    else:
        images, most = sum(walls * (walls - 1) ** (k - 1) for k in range(1, max_order + 1)) * mics, MOST_BRANCHES
    if images > most:
        raise ValueError(
            f"max_order {max_order} with {walls} walls and {mics} microphones means {images:.1e} image sources to look "
            f"at, more than {most:.0e}: lower max_order and trace rays, or use fewer walls or panels"
        )


def _check_rays(pra: Any, surface: _Surface) -> None:
    if surface.scattering.any() and not _own_generator(pra):
        raise ValueError(f"scattering with ray tracing needs pyroomacoustics 0.10 or later, got {pra.__version__}")
    if not (surface.absorption >= LEAST_ABSORPTION).all():
        raise ValueError(
            f"absorption must be at least {LEAST_ABSORPTION} where rays are traced (one caught along a wall that "
            f"takes nothing from it goes on forever), got {surface.absorption.min():g}"
        )


# --------------------------------------------------------------------------------------------------------- surface


@dataclass(frozen=True)
class _Surface:
    """Energy coefficients (bands, faces) at the centres of pyroomacoustics' bands, or one row where all bands are
    alike; air (bands,) at those centres, empty without."""

    absorption: Float
    scattering: Float
    air_db_per_m: Float
    centres_hz: Float


def _per_face(
    name: str, walls: ArrayLike, panels: Sequence[ArrayLike], shape: _Shape, bands_hz: Sequence[float], centres: Float
) -> Float:
    """(bands, faces): the walls', then six of each panel."""
    bands, count = max(1, len(bands_hz)), len(shape.faces) - 6 * len(panels)
    columns = [_bands_by(name, walls, bands, count)]
    for panel in panels:
        given = np.asarray(panel, dtype=np.float64)
        by_band = given[:, np.newaxis] if given.ndim == 1 else given
        columns.append(np.repeat(_bands_by(f"{name} of a panel", by_band, bands, 1), 6, axis=1))
    values = np.hstack(columns)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name} must lie between 0 and 1, got values from {values.min():g} to {values.max():g}")
    return values[:1] if (values == values[:1]).all() else _at(values, bands_hz, centres)


def _bands_by(name: str, given: ArrayLike, bands: int, columns: int) -> Float:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim > 2 or values.shape not in {(), (columns,), (1, columns), (bands, columns), (bands, 1)}:
        raise ValueError(
            f"{name} must be one number, {columns} or ({bands}, {columns}) of them (bands, walls), got {values.shape}"
        )
    return np.broadcast_to(values, (bands, columns))


def _air(air_db_per_m: ArrayLike, bands_hz: Sequence[float], centres: Float) -> Float:
    values = np.atleast_1d(np.asarray(air_db_per_m, dtype=np.float64))
    if values.size not in {0, 1, len(bands_hz)} or not ((values >= 0) & (values < math.inf)).all():
        raise ValueError(
            f"air_db_per_m must be none, one or {len(bands_hz)} (bands) finite numbers from 0 on, got {values}"
        )
    if values.size < 2:
        return np.repeat(values, centres.size)
    return _at(values[:, np.newaxis], bands_hz, centres)[:, 0]


def _at(values: Float, bands_hz: Sequence[float], centres: Float) -> Float:
    """Rows at `bands_hz` as rows at the centres: linear over octaves, beyond its ends the nearest."""
    octaves = np.log2(np.asarray(bands_hz, dtype=np.float64))
    if not (np.diff(octaves) > 0).all():
        raise ValueError(f"bands_hz must be positive and rise, got {list(bands_hz)}")
    return np.column_stack([np.interp(np.log2(centres), octaves, column) for column in values.T])


# ------------------------------------------------------------------------------------------------- pyroomacoustics


def _pyroomacoustics() -> Any:
    import pyroomacoustics

    return pyroomacoustics


@contextmanager
def _constants(pra: Any) -> Iterator[None]:
    """pyroomacoustics' settings as this module needs them, then as they were. Older versions know fewer."""
    before = {}
    for name in _CONSTANTS:
        try:
            before[name] = pra.constants.get(name)
        except NameError:
            continue
    try:
        for name in before:
            pra.constants.set(name, _CONSTANTS[name])
        yield
    finally:
        for name, value in before.items():
            pra.constants.set(name, value)


def _own_generator(pra: Any) -> bool:
    """Whether pyroomacoustics draws from a generator of its own, as from 0.10."""
    return hasattr(pra.libroom, "set_rng_seed")


def _words(seed: int, source: Float) -> list[int]:
    """Seeds a stream for each place of a source, so that it does not matter which others are simulated with it."""
    return [seed, *(source + 0.0).view(np.uint32).tolist()]


@contextmanager
def _seeded(pra: Any, words: Sequence[int]) -> Iterator[None]:
    """Draws that depend on `words` alone. Before 0.10 they came from numpy's global generator, which is put back."""
    sequence = np.random.SeedSequence(words)
    if _own_generator(pra):
        pra.random.seed(sequence)
        yield
        return
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(sequence.generate_state(4))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _centres(pra: Any, sample_rate: int) -> Float:
    """Of its octave bands, which go up to the Nyquist frequency."""
    if not 2 * materials.OCTAVES[0] <= sample_rate <= 768_000:
        raise ValueError(f"sample_rate must lie between 250 and 768000, got {sample_rate}")
    return np.asarray(pra.ShoeBox([1.0, 1.0, 1.0], fs=sample_rate, max_order=0).octave_bands.centers, dtype=np.float64)


def _room(pra: Any, shape: _Shape, surface: _Surface, sample_rate: int, max_order: int) -> Any:
    bands = max(len(surface.absorption), len(surface.scattering))
    absorption, scattering = (
        np.broadcast_to(values, (bands, len(shape.faces))) for values in (surface.absorption, surface.scattering)
    )
    if shape.shoebox is None:
        walls = [
            pra.wall_factory(face.T, absorption[:, i], scattering[:, i], str(i)) for i, face in enumerate(shape.faces)
        ]
        room = pra.Room(walls, fs=sample_rate, max_order=max_order)
        # Its own search for walls that can hide others takes a panel from wall to wall for a part of the hull at times.
        names = ("energy_thres", "time_thres", "receiver_radius", "hist_bin_size")
        rays = [room.rt_args[name] for name in names]
        room.room_engine = pra.libroom.Room(walls, shape.hiding(), [], room.c, max_order, *rays, False)
    else:
        made = [
            pra.Material(_coefficients(absorption[:, i], surface), _coefficients(scattering[:, i], surface))
            for i in range(6)
        ]
        by_wall = dict(zip(wall_names(), made, strict=True))
        room = pra.ShoeBox(shape.shoebox, fs=sample_rate, max_order=max_order, materials=by_wall)
    if surface.air_db_per_m.size:  # of the rays; that of the images is in `_images`
        room.set_air_absorption(surface.air_db_per_m * math.log(10) / 10, surface.centres_hz)
    return room


def _coefficients(values: Float, surface: _Surface) -> dict[str, Any]:
    if values.size == 1:
        return {"coeffs": [float(values[0])]}
    return {"coeffs": values, "center_freqs": surface.centres_hz}


# ------------------------------------------------------------------------------------------------------------ rays


@dataclass(frozen=True)
class _Tracer:
    """How rays are traced: how many, for how long, caught by spheres of which radius, of which these shares lie in the
    room."""

    rays: int
    longest_s: float
    radius_m: float
    shares: Float


@dataclass(frozen=True)
class _Scene:
    """All but the source. Without tracer there are images only."""

    pra: Any
    shape: _Shape
    surface: _Surface
    microphones: Float
    sample_rate: int
    max_order: int
    tracer: _Tracer | None


def _tracer(shape: _Shape, microphones: Float, rays: int | None, max_s: float) -> _Tracer:
    """Enough rays for 20 hits per bin in a diffuse field (Vorlaender, "Auralization", eq. 11.12); spheres that stay
    within the walls where they can."""
    hits = _HITS_PER_BIN * shape.volume() / (math.pi * SPEED_OF_SOUND * _BIN_S)  # rays x radius squared
    widest = max(_RADIUS_M[1], math.sqrt(hits / _RAYS[1]))
    radius = float(np.clip(shape.clearance(microphones).min(), _RADIUS_M[0], widest))
    if rays is None:
        rays = round(min(max(hits / radius**2, _RAYS[0]), _RAYS[1]))
    shares = np.array([_share_inside(shape, microphone, radius) for microphone in microphones])
    return _Tracer(rays, max_s + 2 * _BIN_S, radius, shares)


def _share_inside(shape: _Shape, microphone: Float, radius: float) -> float:
    """Of the places where a straight line is nearest to the microphone, for lines of all directions through its sphere,
    the part that lies in the room: a ray counts there. Such places have the density 1 / distance."""
    index = np.arange(2000)
    z = 1 - (2 * index + 1) / index.size
    turn = math.pi * (3 - math.sqrt(5)) * index
    ring = np.sqrt(1 - z * z)
    directions = np.column_stack([ring * np.cos(turn), ring * np.sin(turn), z])
    distances = radius * np.sqrt((index * math.sqrt(2) + 0.5) % 1)
    return float(np.mean(shape.clearance(microphone + distances[:, np.newaxis] * directions) > 0))


def _late_energy(scene: _Scene, tracer: _Tracer, room: Any, words: Sequence[int]) -> list[Float]:
    """Histograms (bands, bins) per microphone of what image sources leave out: the sum in the module's docstring."""

    def reflected_at_least(order: int, longest_s: float) -> list[Float]:
        given = (room.c, order, _RAY_DEPTH, longest_s, tracer.radius_m, room.rt_args["hist_bin_size"], True)
        with _seeded(scene.pra, words):
            room.room_engine.set_params(*given)
            room.ray_tracing()
        return [np.asarray(of_source[0][0], dtype=np.float64) for of_source in room.rt_histograms]

    scattering, areas = scene.surface.scattering, scene.shape.areas()
    beyond = reflected_at_least(scene.max_order + 1, tracer.longest_s)
    if not scattering.any():
        return [h / share for h, share in zip(beyond, tracer.shares, strict=True)]
    # With an order that no ray reaches, only what walls scatter straight to the microphones is recorded.
    straight = reflected_at_least(_EVERY_ORDER, tracer.longest_s)
    # Reflections of order K have arrived after K + 1 diagonals.
    early_s = min(tracer.longest_s, (scene.max_order + 1) * scene.shape.diagonal() / SPEED_OF_SOUND + 2 * _BIN_S)
    early = [reflected_at_least(order, early_s) for order in range(1, scene.max_order + 2)]
    mirrored = 1 - (scattering @ areas / areas.sum())[:, np.newaxis]
    energy = []
    for m, share in enumerate(tracer.shares):
        late, twice, *at_least = _same_length([beyond[m], straight[m], *(order[m] for order in early)])
        late = late - twice
        for k, (these, further) in enumerate(itertools.pairwise(at_least), 1):
            late = late + (1 - mirrored**k) * (these - further)
        energy.append(np.maximum(late, 0) / share)
    return energy


def _same_length(histograms: Sequence[Float]) -> list[Float]:
    bins = max(h.shape[1] for h in histograms)
    return [np.pad(h, ((0, 0), (0, bins - h.shape[1]))) for h in histograms]


def _diffuse_energy(shape: _Shape, surface: _Surface) -> float:
    """What a histogram of this room holds in a diffuse field: rays arrive at 4 pi c / volume per second, and decay."""
    decay = materials.decay_time(
        volume_m3=shape.volume(),
        areas_m2=shape.areas().tolist(),
        absorption=surface.absorption,
        air_db_per_m=surface.air_db_per_m if surface.air_db_per_m.size else 0.0,
    )
    per_second = 4 * math.pi * SPEED_OF_SOUND / shape.volume()
    return float(np.sum(per_second * decay.eyring_s / (6 * math.log(10))))


# -------------------------------------------------------------------------------------------------------- response


def _channels(scene: _Scene, source: Float, words: Sequence[int]) -> list[Float]:
    """A response per microphone, of their own lengths."""
    with _seeded(scene.pra, words):
        room = _room(scene.pra, scene.shape, scene.surface, scene.sample_rate, scene.max_order)
        if scene.tracer is not None:
            room.set_ray_tracing(
                n_rays=scene.tracer.rays,
                receiver_radius=scene.tracer.radius_m,
                energy_thres=_RAY_DEPTH,
                time_thres=scene.tracer.longest_s,
                hist_bin_size=_BIN_S,
            )
        room.add_source(source)
        room.add_microphone_array(scene.microphones.T)
        room.image_source_model()
    hidden = _hidden(room)
    parts = [[_images(scene, room, m)] for m in range(len(scene.microphones))]
    if scene.tracer is not None:
        energy = _late_energy(scene, scene.tracer, room, words)
        least = _LEAST_ENERGY * _diffuse_energy(scene.shape, scene.surface)
        hidden = [m for m in hidden if not np.sum(energy[m]) > least]
        for part, noise in zip(parts, _noise(scene, room, energy, words), strict=True):
            part.append(noise)
    if hidden:
        raise Occluded(
            f"nothing of the source at {[round(float(x), 3) for x in source]} reaches microphones {hidden} within "
            f"{scene.max_order} reflections: move it, raise max_order, or trace rays"
        )
    delays = np.linalg.norm(scene.microphones - source, axis=1) * scene.sample_rate / SPEED_OF_SOUND
    return [_checked(_sum(part), delay) for part, delay in zip(parts, delays, strict=True)]


def _hidden(room: Any) -> list[int]:
    """Microphones that no image source reaches."""
    return [m for m, images in enumerate(room.visibility[0]) if not np.any(images)]


def _images(scene: _Scene, room: Any, microphone: int) -> Float:
    """The sum of image sources.

    pyroomacoustics' own sum is not used: it fails where there are none (its issue 441), takes the integer zeros of a
    source hidden from all microphones for an index (the direct sound comes through the wall), counts paths through the
    edge of two walls twice (its issue 249), and centres its filters on a tap instead of the delay, an error of -50 dB.
    """
    seen = np.asarray(room.visibility[0][microphone], dtype=bool)
    if not seen.any():
        return np.zeros(1)
    places = np.asarray(room.sources[0].images, dtype=np.float64).T[seen]
    gains = np.asarray(room.sources[0].damping, dtype=np.float64)[:, seen]
    if scene.shape.shoebox is None:
        once = _distinct(places)
        places, gains = places[once], gains[:, once]
    distances = np.linalg.norm(places - scene.microphones[microphone], axis=1)
    gains = gains / (4 * math.pi * distances)
    if scene.surface.air_db_per_m.size:
        gains = gains * 10 ** (-scene.surface.air_db_per_m[:, np.newaxis] * distances / 20)
    bands = _pulses(distances * scene.sample_rate / SPEED_OF_SOUND, gains)
    if len(bands) == 1:
        return np.asarray(bands[0])
    return np.asarray(sum(room.octave_bands.analysis(h, band=b) for b, h in enumerate(bands)))


def _distinct(places: Float) -> NDArray[np.int64]:
    """Of images at one place, which belong to one path, the first."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(places).query_pairs(CLEARANCE_M / 2, output_type="ndarray")
    return np.setdiff1d(np.arange(len(places)), pairs.max(axis=1) if len(pairs) else pairs)


def _pulses(delays: Float, gains: Float) -> Float:
    """(bands, taps): the fractional-delay filters of `augment.images`, from gains (bands, images)."""
    first = np.ceil(delays - HALF_FILTER).astype(np.int64)
    taps = int(first.max()) + 2 * HALF_FILTER + 1
    out = np.zeros((len(gains), taps + HALF_FILTER))
    for start in range(0, delays.size, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        at = first[some, np.newaxis] + np.arange(2 * HALF_FILTER)
        away = at - delays[some, np.newaxis]
        pulse = np.sinc(away) * (1 + np.cos(math.pi * away / HALF_FILTER)) / 2
        for row, gain in zip(out, gains[:, some], strict=True):
            weights = (gain[:, np.newaxis] * pulse).ravel()
            row += np.bincount((at + HALF_FILTER).ravel(), weights, minlength=row.size)
    return out[:, HALF_FILTER:]


def _noise(scene: _Scene, room: Any, energy: Sequence[Float], words: Sequence[int]) -> list[Float]:
    """Responses with these histograms."""
    room.rt_histograms = [[[histogram]] for histogram in energy]
    room.simulator_state["ism_needed"] = False
    with _seeded(scene.pra, words):
        try:
            room.compute_rir()
        except (ValueError, IndexError, RuntimeError) as error:
            raise ValueError(f"pyroomacoustics fails on this room ({error}); change its walls or positions") from error
    delay = scene.pra.constants.get("frac_delay_length") // 2
    return [np.asarray(of_source[0], dtype=np.float64)[delay:] / (4 * math.pi) for of_source in room.rir]


def _sum(parts: Sequence[Float]) -> Float:
    out = np.zeros(max(part.size for part in parts))
    for part in parts:
        out[: part.size] += part
    return out


def _checked(h: Float, delay: float) -> Float:
    """ValueError unless it is finite, `Occluded` where it is silent.

    Octave filters have no phase, so that reflections ring ahead of themselves: what comes before the direct sound is
    cut. It is 60 dB below the whole and more, but 30 for a microphone 2 cm above a floor that absorbs in some octaves.
    """
    if not np.isfinite(h).all():
        raise ValueError("the simulated response is not finite: move the microphone away from walls")
    h[: max(0, math.floor(delay) - HALF_FILTER)] = 0
    if not h.any():
        raise Occluded("the simulated response is silent: all that reaches the microphone was absorbed")
    return h


def _stack(channels: Sequence[Float], sample_rate: int, max_s: float) -> NDArray[np.float32]:
    ends = [_end(h) for h in channels]
    if max(ends) > max_s * sample_rate:
        raise ValueError(f"the room rings longer than max_s, {max_s} s: raise its absorption or scattering, or max_s")
    out = np.zeros((len(channels), max(ends)), dtype=np.float32)
    for row, channel, end in zip(out, channels, ends, strict=True):
        row[:end] = channel[:end]
    return out


def _end(h: Float) -> int:
    """The number of taps after which no more than `DEPTH_DB` below the whole energy is left."""
    left = np.cumsum(h[::-1] ** 2)
    return h.size - int(np.searchsorted(left, left[-1] * 10 ** (-DEPTH_DB / 10), side="right"))
