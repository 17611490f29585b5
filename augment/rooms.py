"""Simulated rooms: shoebox image sources.

Conventions
    Positions in metres, shape (n, 3); an RIR is (microphones, taps) float32 with tap 0 at emission, so that the direct
    sound of a source at
    distance d lies at d / c * sample_rate. Its scale is physical: the direct path has gain 1 / (4 pi d). c = 343 m/s.

Sources
    J. Allen, D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979; Sabine's
    formula for the absorption.
    The engine is pyroomacoustics with its high-pass filter off (it is zero-phase and puts energy before the direct
    sound) and its delay of half a fractional-delay filter taken out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPEED_OF_SOUND", "Geometry", "geometry", "sabine", "simulate"]

SPEED_OF_SOUND = 343.0

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
    diagonals = [a * b / math.hypot(a, b) for a, b in ((length, width), (length, height), (width, height))]
    return absorption, math.ceil(SPEED_OF_SOUND * rt60_s / min(diagonals) - 1)


def simulate(
    *,
    size_m: Sequence[float],
    absorption: float,
    max_order: int,
    sources_m: Positions,
    microphones_m: Positions,
    sample_rate: int,
) -> list[NDArray[np.float32]]:
    """One RIR per source. ValueError where a result is silent or not finite."""
    import pyroomacoustics as pra

    pra.constants.set("num_threads", 1)
    pra.constants.set("rir_hpf_enable", False)
    pra.constants.set("c", SPEED_OF_SOUND)
    room = pra.ShoeBox(list(size_m), fs=sample_rate, materials=pra.Material(absorption), max_order=max_order)
    room.add_microphone_array(np.asarray(microphones_m, dtype=float).T)
    for position in sources_m:
        room.add_source(list(position))
    room.compute_rir()
    delay = pra.constants.get("frac_delay_length") // 2
    return [
        _checked(_stack([room.rir[m][s][delay:] for m in range(len(microphones_m))])) for s in range(len(sources_m))
    ]


def _stack(channels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    out = np.zeros((len(channels), max(map(len, channels))), dtype=np.float32)
    for row, channel in zip(out, channels, strict=True):
        row[: len(channel)] = channel
    return out


def _checked(h: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(h).all() or not h.any():
        raise ValueError("the simulated RIR is silent or not finite")
    return h


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
