"""Simulated rooms: shoebox image sources.

Conventions
    Positions in metres, shape (n, 3); an RIR is (microphones, taps) float32 with tap 0 at emission, so that the direct
    sound of a source at distance d lies at d / c * sample_rate. Its scale is physical: the direct path has gain
    1 / (4 pi d). c = 343 m/s.
    An image order stands for a time: (order + 1) x shortest diagonal / c, which is at least the RT60 that `sabine` was
    given. All images within that time are summed and none after it, so no order is favoured by its direction.

Sources
    J. Allen, D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979; Sabine's
    formula for the absorption. `augment.images` does the sum, and says what of it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augment import images
from augment.images import SPEED_OF_SOUND

__all__ = ["SPEED_OF_SOUND", "Geometry", "geometry", "sabine", "simulate"]

EARLY_S = 0.05

Positions = Sequence[Sequence[float]]


def sabine(rt60_s: float, size_m: Sequence[float]) -> tuple[float, int] | None:
    """Energy absorption of all walls and the image order that give `rt60_s` by Sabine's formula; None where no
    absorption <= 1 does.
    """
    length, width, height = size_m
    volume = length * width * height
    surface = 2 * (length * width + width * height + length * height)
    absorption = 24 * math.log(10) * volume / (SPEED_OF_SOUND * surface * rt60_s)
    if absorption > 1:
        return None
    return absorption, math.ceil(SPEED_OF_SOUND * rt60_s / _shortest_diagonal(size_m) - 1)


def simulate(
    *,
    size_m: Sequence[float],
    absorption: float,
    max_order: int,
    sources_m: Positions,
    microphones_m: Positions,
    sample_rate: int,
) -> list[NDArray[np.float32]]:
    """One RIR per source, of all images that arrive within the time `max_order` stands for, or within 50 ms of the
    direct sound. ValueError for a position outside the room, a source on a microphone, an absorption outside [0, 1].
    """
    duration_s = (max_order + 1) * _shortest_diagonal(size_m) / SPEED_OF_SOUND
    return [
        _stack(
            [
                images.impulse_response(
                    size_m=size_m,
                    absorption=[absorption] * 6,
                    duration_s=max(duration_s, math.dist(source, microphone) / SPEED_OF_SOUND + EARLY_S),
                    source_m=source,
                    microphone_m=microphone,
                    sample_rate=sample_rate,
                )
                for microphone in microphones_m
            ]
        )
        for source in sources_m
    ]


def _shortest_diagonal(size_m: Sequence[float]) -> float:
    """The least distance between neighbouring diagonals of a wall's grid of images: how far one more order reaches."""
    length, width, height = size_m
    return min(a * b / math.hypot(a, b) for a, b in ((length, width), (length, height), (width, height)))


def _stack(channels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    out = np.zeros((len(channels), max(map(len, channels))), dtype=np.float32)
    for row, channel in zip(out, channels, strict=True):
        row[: len(channel)] = channel
    if not np.isfinite(out).all() or not out.any(axis=1).all():
        raise ValueError("the simulated RIR is silent or not finite")
    return out


@dataclass(frozen=True)
class Geometry:
    """Where a source is, seen from the reference microphone."""

    distance_m: float
    azimuth_deg: float
    elevation_deg: float

    def delay_samples(self, sample_rate: int) -> float:
        """Time of flight."""
        return self.distance_m / SPEED_OF_SOUND * sample_rate

    @property
    def gain(self) -> float:
        """Amplitude of the direct path."""
        return 1 / (4 * math.pi * self.distance_m)


def geometry(*, source_m: Sequence[float], microphone_m: Sequence[float]) -> Geometry:
    """Distance, azimuth (counter-clockwise from the x axis) and elevation of a source."""
    x, y, z = (s - m for s, m in zip(source_m, microphone_m, strict=True))
    return Geometry(math.hypot(x, y, z), math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y))))
