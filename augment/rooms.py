"""Simulated rooms: shoebox image sources.

Conventions
    Positions in metres, shape (n, 3); an RIR is (microphones, taps) float32 with tap 0 at emission, so that the direct
    sound of a source at distance d lies at d / c * sample_rate. Its scale is physical: the direct path has gain
    1 / (4 pi d). c = 343 m/s.
    A room is simulated 70 dB deep (`DEPTH_DB`). Images are kept by the number of their reflections: those left out
    have lost 70 dB or more by reflection. (What arrives per second from a solid angle falls by these losses alone,
    since spherical spreading and the number of images cancel. So this is the smallest set of images for a given energy
    left out. A limit in time at the requested RT60 would leave out -35 to -50 dB, as shoeboxes decay slower than
    Sabine's formula says.) And an RIR ends where what is left of its energy is 70 dB below the whole.

Sources
    J. Allen, D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979; Sabine's
    formula for the absorption. `augment.images` does the sum.
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

DEPTH_DB = 70.0

Positions = Sequence[Sequence[float]]


def sabine(rt60_s: float, size_m: Sequence[float]) -> tuple[float, int] | None:
    """Energy absorption of all walls that gives `rt60_s` by Sabine's formula, and the image order after which
    `DEPTH_DB` are lost; None where no absorption <= 1 does.
    """
    length, width, height = size_m
    volume = length * width * height
    surface = 2 * (length * width + width * height + length * height)
    absorption = 24 * math.log(10) * volume / (SPEED_OF_SOUND * surface * rt60_s)
    if absorption > 1:
        return None
    loss_db = -10 * math.log10(max(1 - absorption, 10 ** (-DEPTH_DB / 10)))
    return absorption, math.ceil(DEPTH_DB / loss_db)


def simulate(
    *,
    size_m: Sequence[float],
    absorption: float,
    max_order: int,
    sources_m: Positions,
    microphones_m: Positions,
    sample_rate: int,
) -> list[NDArray[np.float32]]:
    """One RIR per source. A row does not depend on the other microphones, but for the zeros at its end.

    ValueError for a position outside the room, a source on a microphone, an absorption outside [0, 1].
    """
    return [
        _stack(
            [
                images.impulse_response(
                    size_m=size_m,
                    absorption=[absorption] * 6,
                    max_order=max_order,
                    source_m=source,
                    microphone_m=microphone,
                    sample_rate=sample_rate,
                )
                for microphone in microphones_m
            ]
        )
        for source in sources_m
    ]


def _stack(channels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    ends = [_end(h) for h in channels]
    out = np.zeros((len(channels), max(ends)), dtype=np.float32)
    for row, channel, end in zip(out, channels, ends, strict=True):
        row[:end] = channel[:end]
    return out


def _end(h: NDArray[np.float32]) -> int:
    """The number of taps after which no more than `DEPTH_DB` below the whole energy is left."""
    left = np.cumsum(np.square(h[::-1], dtype=np.float64))
    if not 0 < left[-1] < math.inf:
        raise ValueError("the simulated RIR is silent or not finite")
    return h.size - int(np.searchsorted(left, left[-1] * 10 ** (-DEPTH_DB / 10), side="right"))


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
