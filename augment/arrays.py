"""Microphone arrays: where their microphones are, and how an array is turned, placed, disturbed and thinned out.

Conventions
    Positions are (microphones, 3) float64 in metres, in the array's own frame: x forward, y left, z up, centre at the
    origin. Microphone 0 is the reference. Rows and rings count counter-clockwise, seen from above, from the x axis.
    Angles are in degrees: azimuth counter-clockwise from x, in (-180, 180], elevation up from the horizontal plane.
    All microphones are points: patterns belong to another module.

Source
    The tetrahedron is that of the MIC format of the sound event localisation data sets: A. Politis, S. Adavanne,
    T. Virtanen, "A dataset of reverberant spatial sound scenes with moving sources for sound event localization and
    detection", DCASE 2020. The array of `realman`: B. Yang et al., "RealMAN: a real-recorded and annotated microphone
    array dataset for dynamic speech enhancement and localization", NeurIPS 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "angles",
    "aperture_m",
    "circular",
    "custom",
    "direction",
    "foa",
    "jittered",
    "linear",
    "mono",
    "outward",
    "pair",
    "placed",
    "realman",
    "rings",
    "rotation",
    "subset",
    "tetrahedral",
]

Float = npt.NDArray[np.float64]

DECIMALS = 4
"""Of placed positions, in metres: 0.1 mm."""

_ON_AXIS_M = 1e-6


# Presets


def mono() -> Float:
    """One microphone in the centre."""
    return np.zeros((1, 3))


def foa() -> Float:
    """Four coincident capsules, for the channels of first-order Ambisonics."""
    return np.zeros((4, 3))


def pair(spacing_m: float) -> Float:
    """Left, then right: two microphones, earbuds, or ears 0.14 to 0.18 m apart without the head between them."""
    return linear(2, spacing_m)


def linear(count: int, spacing_m: float) -> Float:
    """A row on the y axis from left to right, which looks forward."""
    _check_count("count", count)
    _check_length("spacing_m", spacing_m)
    positions = np.zeros((count, 3))
    positions[:, 1] = ((count - 1) / 2 - np.arange(count)) * spacing_m
    return positions


def circular(count: int, radius_m: float, *, centre: bool = False) -> Float:
    """A horizontal circle whose first microphone is in front; `centre` adds a microphone there, as the reference."""
    return rings([radius_m], [count], centre=centre)


def rings(
    radii_m: Sequence[float],
    counts: Sequence[int],
    *,
    centre: bool = False,
    extra: Sequence[Sequence[float]] = (),
) -> Float:
    """The centre where asked for, concentric circles in the order given, then the positions in `extra`."""
    if len(radii_m) != len(counts):
        raise ValueError(f"radii_m and counts must be equally many, got {len(radii_m)} and {len(counts)}")
    parts = [mono()] if centre else []
    parts += [_circle(count, radius_m) for radius_m, count in zip(radii_m, counts, strict=True)]
    parts += [custom(extra)] if len(extra) else []
    return custom(np.concatenate(parts) if parts else [])


def tetrahedral(radius_m: float = 0.042) -> Float:
    """A regular tetrahedron: azimuths 45, -45, 135 and -135 degrees, elevations alternately up and down by
    arctan(1 / sqrt 2) = 35.26 degrees, which the data sets round to 35.
    """
    _check_length("radius_m", radius_m)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float64)
    return corners * (radius_m / math.sqrt(3))


def realman() -> Float:
    """The 32 microphones of RealMAN, by channel.

    Channel 0 is the centre; 1 to 8, 9 to 16 and 17 to 24 are rings of 3, 6 and 9 cm; 25, 26 and 27 prolong the x axis,
    at -12, 12 and 15 cm; 28 to 31 stand on the z axis at 9, 4.5, -4.5 and -9 cm. Radii, heights and this order are
    those of the localisation baseline published with the data, as is azimuth 0 along x. That the rings begin there and
    count counter-clockwise too. Our reading: that its x axis is our "forward"; the array has no front of its own.
    """
    line_m, heights_m = (-0.12, 0.12, 0.15), (0.09, 0.045, -0.045, -0.09)
    extra = [(x, 0.0, 0.0) for x in line_m] + [(0.0, 0.0, z) for z in heights_m]
    return rings((0.03, 0.06, 0.09), (8, 8, 8), centre=True, extra=extra)


def custom(positions_m: Sequence[Sequence[float]] | npt.NDArray[Any]) -> Float:
    """Positions as they are given; they need not be centred. ValueError for another shape than (microphones, 3)."""
    positions = np.array(positions_m, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise ValueError(f"positions_m must have shape (microphones, 3) and not be empty, got {positions.shape}")
    if not np.isfinite(positions).all():
        raise ValueError(f"positions_m must be finite, got {positions.tolist()}")
    return positions


def _circle(count: int, radius_m: float) -> Float:
    _check_count("count", count)
    _check_length("radius_m", radius_m)
    return radius_m * direction(360 * np.arange(count) / count, 0)


def _check_count(name: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")


def _check_length(name: str, length_m: float) -> None:
    if not 0 < length_m < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {length_m}")


# Directions


def direction(azimuth_deg: npt.ArrayLike, elevation_deg: npt.ArrayLike) -> Float:
    """Unit vectors (..., 3) that point there; the angles broadcast."""
    azimuth, elevation = np.broadcast_arrays(*(np.deg2rad(a) for a in (azimuth_deg, elevation_deg)))
    horizontal = np.cos(elevation)
    return np.stack([horizontal * np.cos(azimuth), horizontal * np.sin(azimuth), np.sin(elevation)], axis=-1)


def angles(vectors: npt.ArrayLike) -> tuple[Float, Float]:
    """Azimuths and elevations, in degrees, of vectors (..., 3) of any length but zero. Straight up has azimuth 0."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    horizontal = np.hypot(x, y)
    if not np.all((horizontal > 0) | (z != 0)):
        raise ValueError("vectors must not be zero: a zero vector points nowhere")
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, horizontal))


def outward(positions_m: Float) -> Float:
    """Horizontal unit axes (microphones, 3) pointing away from the array's centre, for directive capsules.

    ValueError for a microphone in the centre or straight above or below it.
    """
    horizontal = positions_m * [1.0, 1.0, 0.0]
    lengths = np.linalg.norm(horizontal, axis=1, keepdims=True)
    if (lengths < _ON_AXIS_M).any():
        raise ValueError(
            "positions_m must lie beside the vertical axis of the array to point outward, "
            f"got {positions_m[lengths.argmin()].tolist()} for microphone {lengths.argmin()}"
        )
    return np.asarray(horizontal / lengths)


# Turned, placed, disturbed, thinned out


def rotation(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Float:
    """The matrix R that turns an array: `positions @ R.T`.

    Tait-Bryan angles, intrinsic z-y'-x'': yaw about z, then pitch about the turned y axis, then roll about the axis
    that x has become: R = Rz(yaw) Ry(pitch) Rx(roll). All are right-handed, so that positive yaw turns the front to the
    left, positive pitch turns it down, positive roll lifts the left side.
    """
    (cy, sy), (cp, sp), (cr, sr) = (
        (math.cos(a), math.sin(a)) for a in map(math.radians, (yaw_deg, pitch_deg, roll_deg))
    )
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return np.asarray(yaw @ pitch @ roll)


def placed(positions_m: Float, centre_m: Sequence[float], rotation: Float | None = None) -> Float:
    """The array turned about its centre and moved to `centre_m`, rounded to 0.1 mm: what a plan stores and renders."""
    turned = positions_m if rotation is None else positions_m @ rotation.T
    return np.round(turned + np.asarray(centre_m, dtype=np.float64), DECIMALS) + 0.0  # no -0.0


def jittered(positions_m: Float, rng: np.random.Generator, jitter_m: float) -> Float:
    """Every microphone, the reference too, moved to a point drawn uniformly from the ball of radius `jitter_m` around
    it: a tolerance that is never exceeded. Capsules that coincide come apart.
    """
    if not 0 <= jitter_m < math.inf:
        raise ValueError(f"jitter_m must not be negative, nor infinite, got {jitter_m}")
    towards = rng.standard_normal(positions_m.shape)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    return positions_m + jitter_m * np.cbrt(rng.random((len(positions_m), 1))) * towards


def subset(rng: np.random.Generator, microphones: int, count: int, always: Sequence[int] = (0,)) -> list[int]:
    """`count` channels of an array: those in `always` in the order given, then others drawn without replacement,
    ascending. The first becomes the reference.
    """
    if len(set(always)) != len(always) or not all(0 <= channel < microphones for channel in always):
        raise ValueError(f"always must name different channels below {microphones}, got {list(always)}")
    if not max(1, len(always)) <= count <= microphones:
        raise ValueError(f"count must lie in [{max(1, len(always))}, {microphones}], got {count}")
    others = [channel for channel in range(microphones) if channel not in always]
    return [*always, *sorted(rng.choice(others, count - len(always), replace=False).tolist())]


def aperture_m(positions_m: Float) -> float:
    """The largest distance between two microphones."""
    return float(np.linalg.norm(positions_m[:, np.newaxis] - positions_m, axis=-1).max())
