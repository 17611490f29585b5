"""Wall materials and air: absorption per octave band, and the reverberation time that follows from them.

Conventions
    Absorption is of energy, from 0 to 1, per octave band at 125 Hz to 8 kHz (`OCTAVES`) unless `bands_hz` says
    otherwise. Between the frequencies that a material gives, absorption is linear over octaves; beyond them it stays at
    the nearest. Walls of a shoebox are west (x = 0), east, south (y = 0), north, floor, ceiling.
    Named materials are pyroomacoustics' (its table is read when a name is used). Its coefficients were measured in
    reverberation rooms, where they come out as 0 or above 1; they are clipped to [0.01, 0.99]. A user's own numbers are
    not clipped, they must lie in [0, 1].
    The attenuation of air is in dB of level per metre, of a pure tone.

Sources
    ISO 9613-1:1993, equations (3) to (5) and annex B, for air. Sabine, "Collected Papers on Acoustics", 1922; Eyring,
    "Reverberation time in 'dead' rooms", JASA 1, 1930. pyroomacoustics' table is from M. Vorlaender, "Auralization",
    Springer 2008.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from augment.images import SPEED_OF_SOUND
from manifests.ids import nearest

__all__ = [
    "OCTAVES",
    "SHOEBOX_WALLS",
    "Material",
    "ReverberationTime",
    "absorption",
    "air_db_per_m",
    "decay_time",
    "names",
    "per_wall",
    "reverberation_time",
]

Float = NDArray[np.float64]
Material = str | float | Sequence[float] | Mapping[Any, float]

OCTAVES = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
SHOEBOX_WALLS = ("west", "east", "south", "north", "floor", "ceiling")
SIDES = "walls"

_CLIP = (0.01, 0.99)


# ------------------------------------------------------------------------------------------------------- materials


def names() -> list[str]:
    """The materials known by name."""
    return sorted(_table())


def absorption(material: Material, bands_hz: Sequence[float] = OCTAVES) -> list[float]:
    """Of a name, of one number for all bands, of one number per octave of `OCTAVES`, or of {frequency: number}."""
    frequencies, values = _given(material)
    order = np.argsort(frequencies)
    octaves = np.log2(np.asarray(bands_hz, dtype=np.float64))
    return [float(a) for a in np.interp(octaves, np.log2(frequencies)[order], values[order])]


def per_wall(
    material: Any, bands_hz: Sequence[float] = OCTAVES, *, walls: Sequence[str] = SHOEBOX_WALLS
) -> NDArray[np.float64]:
    """(bands, walls), from one material for all, or from {wall: material}.

    Of such a mapping the key `walls` stands for every wall but floor and ceiling that has no key of its own.
    """
    chosen = _by_wall(material, walls) if _names_walls(material) else dict.fromkeys(walls, material)
    return np.array([absorption(chosen[wall], bands_hz) for wall in walls]).T


def _table() -> Mapping[str, Any]:
    import pyroomacoustics

    table: Mapping[str, Any] = pyroomacoustics.materials_absorption_table
    return table


def _given(material: Material) -> tuple[Float, Float]:
    """Frequencies and absorption there."""
    if isinstance(material, str):
        return _named(material)
    if isinstance(material, Mapping):
        pairs = [(float(f), float(a)) for f, a in material.items()]
        frequencies, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    else:
        values = np.atleast_1d(np.asarray(material, dtype=np.float64))
        frequencies = np.array(OCTAVES if values.size > 1 else OCTAVES[:1])
    if values.ndim != 1 or values.size == 0 or values.size != frequencies.size:
        raise ValueError(f"a material must be one number or {len(OCTAVES)} (125 Hz to 8 kHz), got {material!r}")
    if not (np.isfinite(frequencies) & (frequencies > 0)).all():
        raise ValueError(f"the frequencies of a material must be positive, got {material!r}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"absorption must lie between 0 and 1, got {material!r}")
    return frequencies, values


def _named(name: str) -> tuple[Float, Float]:
    table = _table()
    if name not in table:
        raise ValueError(f"there is no material '{name}'{nearest(name, table)}")
    values = np.clip(table[name]["coeffs"], *_CLIP)
    return np.array(table[name].get("center_freqs", OCTAVES)[: values.size], dtype=np.float64), values


def _names_walls(material: Any) -> bool:
    return isinstance(material, Mapping) and any(not _is_number(key) for key in material)


def _is_number(key: Any) -> bool:
    try:
        float(key)
    except (TypeError, ValueError):
        return False
    return True


def _by_wall(material: Mapping[Any, Material], walls: Sequence[str]) -> dict[str, Material]:
    for key in material:
        if key not in (*walls, SIDES):
            raise ValueError(f"there is no wall '{key}'{nearest(str(key), (*walls, SIDES))}")
    missing = [wall for wall in walls if wall not in material and (SIDES not in material or not _is_side(wall))]
    if missing:
        raise ValueError(f"the materials name no {', '.join(missing)}, got {sorted(map(str, material))}")
    return {wall: material[wall if wall in material else SIDES] for wall in walls}


def _is_side(wall: str) -> bool:
    return wall not in ("floor", "ceiling")


# ------------------------------------------------------------------------------------------------------------- air


def air_db_per_m(
    frequency_hz: ArrayLike,
    temperature_c: float = 20.0,
    humidity_percent: float = 50.0,
    pressure_kpa: float = 101.325,
) -> NDArray[np.float64]:
    """Attenuation by air in dB per metre, of the shape of `frequency_hz`; ISO 9613-1, which it follows within its
    range of -20 to 50 degrees.

    Dry air at rest takes energy by viscosity and heat conduction (as f squared), oxygen and nitrogen take it by the
    relaxation of their vibration, each around a frequency set by the water vapour.
    """
    f = np.asarray(frequency_hz, dtype=np.float64)
    if not (np.isfinite(f) & (f >= 0)).all():
        raise ValueError(f"frequency_hz must be finite and not negative, got {f}")
    if not -20 <= temperature_c <= 50:
        raise ValueError(f"temperature_c must lie between -20 and 50, got {temperature_c}")
    if not 0 <= humidity_percent <= 100:
        raise ValueError(f"humidity_percent must lie between 0 and 100, got {humidity_percent}")
    if not 0 < pressure_kpa <= 200:
        raise ValueError(f"pressure_kpa must be above 0 and at most 200, got {pressure_kpa}")
    kelvin = temperature_c + 273.15
    warmth, pressure = kelvin / 293.15, pressure_kpa / 101.325
    saturation = 10 ** (4.6151 - 6.8346 * (273.16 / kelvin) ** 1.261)
    water = humidity_percent * saturation / pressure
    oxygen = pressure * (24 + 4.04e4 * water * (0.02 + water) / (0.391 + water))
    nitrogen = pressure * warmth**-0.5 * (9 + 280 * water * math.exp(-4.170 * (warmth ** (-1 / 3) - 1)))
    classical = 1.84e-11 * warmth**0.5 / pressure
    relaxation = 0.01275 * math.exp(-2239.1 / kelvin) / (oxygen + f * f / oxygen)
    relaxation = relaxation + 0.1068 * math.exp(-3352.0 / kelvin) / (nitrogen + f * f / nitrogen)
    return np.asarray(8.686 * f * f * (classical + warmth**-2.5 * relaxation))


# ------------------------------------------------------------------------------------------------------------ decay


@dataclass(frozen=True)
class ReverberationTime:
    """Per band, in seconds. Eyring's is the shorter one, and the better one where absorption is high."""

    sabine_s: NDArray[np.float64]
    eyring_s: NDArray[np.float64]


def reverberation_time(
    size_m: Sequence[float], absorption: ArrayLike, air_db_per_m: ArrayLike = 0.0
) -> ReverberationTime:
    """Of a shoebox with absorption (bands, 6), by both formulas.

    They hold for a diffuse field. A shoebox whose walls are unequal or do not scatter decays slower.
    """
    length, width, height = size_m
    pair = (width * height, length * height, length * width)
    areas = [area for area in pair for _ in range(2)]
    return decay_time(
        volume_m3=length * width * height, areas_m2=areas, absorption=absorption, air_db_per_m=air_db_per_m
    )


def decay_time(
    *, volume_m3: float, areas_m2: Sequence[float], absorption: ArrayLike, air_db_per_m: ArrayLike = 0.0
) -> ReverberationTime:
    """The same of a room of any shape, with absorption (bands, walls). Infinite where nothing absorbs."""
    values, areas = np.atleast_2d(np.asarray(absorption, dtype=np.float64)), np.asarray(areas_m2, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all() or values.shape[-1] != areas.size:
        raise ValueError(f"absorption must be (bands, {areas.size}) values between 0 and 1, got {values}")
    if not (volume_m3 > 0 and (areas > 0).all()):
        raise ValueError(f"volume_m3 and areas_m2 must be positive, got {volume_m3} and {areas_m2}")
    air = 4 * volume_m3 * np.asarray(air_db_per_m, dtype=np.float64) * math.log(10) / 10
    surface, mean = areas.sum(), np.minimum(values @ areas / areas.sum(), 1.0)
    constant = 24 * math.log(10) * volume_m3 / SPEED_OF_SOUND
    with np.errstate(divide="ignore"):
        return ReverberationTime(
            sabine_s=constant / (surface * mean + air), eyring_s=constant / (-surface * np.log1p(-mean) + air)
        )
