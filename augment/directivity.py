"""First-order directivity of sources and microphones.

    gain(direction) = omni + (1 - omni) cos(angle between axis and direction)

Conventions
    `axis` is a unit vector in room coordinates, from the device to where it points: azimuth counter-clockwise from the
    x axis, elevation upwards, degrees. A direction leads away from the device: to the source for a microphone, to the
    microphone for a source. Gains are linear; those behind a hypercardioid or a figure-eight are negative.
    First-order ambisonics is AmbiX: channels W, Y, Z, X (ACN) with gains 1 (SN3D), the components of the direction.

Source
    J. Eargle, "The Microphone Book", Focal Press 2004, for the family of cardioids. C. Nachbar, F. Zotter, E. Deleflie,
    A. Sontacchi, "ambiX - a suggested ambisonics format", Ambisonics Symposium 2011.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FIRST_ORDER_AMBISONICS",
    "OMNI",
    "OMNI_SHARES",
    "Pattern",
    "aimed",
    "cardioid",
    "figure_eight",
    "hypercardioid",
    "subcardioid",
]


@dataclass(frozen=True)
class Pattern:
    """ValueError unless `omni` is in [0, 1] and `axis` of length 1, to a thousandth."""

    omni: float
    axis: tuple[float, float, float] = (1.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0 <= self.omni <= 1:
            raise ValueError(f"omni must be between 0 and 1, got {self.omni}")
        if len(self.axis) != 3 or not math.isclose(math.hypot(*self.axis), 1, abs_tol=1e-3):
            raise ValueError(f"axis must have three components and length 1, got {self.axis}")

    def gain(self, directions: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Gains (...) towards `directions` (..., 3) of any length but zero."""
        cosine = directions @ np.asarray(self.axis) / np.linalg.norm(directions, axis=-1)
        return np.asarray(self.omni + (1 - self.omni) * cosine)


OMNI = Pattern(1.0)
OMNI_SHARES = {"omni": 1.0, "subcardioid": 0.75, "cardioid": 0.5, "hypercardioid": 0.25, "figure_eight": 0.0}
FIRST_ORDER_AMBISONICS = (
    OMNI,
    Pattern(0.0, (0.0, 1.0, 0.0)),
    Pattern(0.0, (0.0, 0.0, 1.0)),
    Pattern(0.0, (1.0, 0.0, 0.0)),
)


def aimed(name: str, *, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> Pattern:
    """A pattern of `OMNI_SHARES`, pointed."""
    if name not in OMNI_SHARES:
        raise ValueError(f"the pattern must be one of {', '.join(OMNI_SHARES)}, got {name!r}")
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    level = math.cos(elevation)
    return Pattern(OMNI_SHARES[name], (level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation)))


def subcardioid(*, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> Pattern:
    return aimed("subcardioid", azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)


def cardioid(*, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> Pattern:
    return aimed("cardioid", azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)


def hypercardioid(*, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> Pattern:
    return aimed("hypercardioid", azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)


def figure_eight(*, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> Pattern:
    return aimed("figure_eight", azimuth_deg=azimuth_deg, elevation_deg=elevation_deg)
