"""The recipe: what a dataset is asked to be, as data.

Conventions
    YAML, validated by pydantic with unknown keys refused; a message names the file, the line, the key and the nearest
    known key. A distribution is a number (always that value) or one of

        {uniform: [low, high]}  {loguniform: [low, high]}  {integers: [low, high]}  {normal: [mean, std]}
        {choice: [a, b]}  {choice: {a: 0.8, b: 0.2}}  {histogram: {edges: [...], weights: [...]}}  {grid: [a, b, c]}

    `integers` includes both ends. `normal` is cut at 4 standard deviations. `grid` values are visited in turn over the
    rows (factorial over all grids of a recipe). The digest of a recipe leaves out what does not change a row: split
    sizes, stems to write, paths, budget.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from manifests import ids, storage
from manifests.errors import UserError
from manifests.schema import OUTPUT_VERSION, SCHEMA_VERSION

__all__ = [
    "PATTERNS",
    "SNR_KINDS",
    "STEMS",
    "WALLS",
    "Array",
    "Clock",
    "Distribution",
    "Recipe",
    "Rooms",
    "Size",
    "content",
    "load_recipe",
    "parse_recipe",
    "render_settings",
    "stem_columns",
    "validation_message",
]

SNR_KINDS = ("p56_active", "rms_active", "rms", "lufs", "peak")
MAX_TALKERS = 5
FLAC_CHANNELS = 8
WALLS = ("west", "east", "south", "north", "floor", "ceiling")
PATTERNS = {"omni": 1.0, "subcardioid": 0.75, "cardioid": 0.5, "hypercardioid": 0.25, "figure_eight": 0.0}
"""First-order directivities: gain p + (1 - p) cos(angle)."""
NORMAL_CUT = 4.0
"""Standard deviations at which `normal` is cut, so that a recipe's bounds hold for every draw."""

SnrKind = Literal["p56_active", "rms_active", "rms", "lufs", "peak"]
Stem = Literal[
    "mixture",
    "target",
    "targets",
    "noise",
    "talkers",
    "image",
    "early",
    "late",
    "direct",
    "direct_window",
    "reverb",
    "anechoic",
    "dry_aligned",
]
STEMS: tuple[Stem, ...] = get_args(Stem)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Distribution(Strict):
    """One random quantity of a recipe. `kind` names the family, `values` its parameters."""

    kind: Literal["constant", "uniform", "loguniform", "integers", "normal", "choice", "histogram", "grid"]
    values: list[float | str]
    weights: list[float] = []

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, given: Any) -> Any:
        if isinstance(given, bool) or given is None:
            raise ValueError(f"a number or a distribution such as {{uniform: [0, 1]}} is expected, got {given!r}")
        if isinstance(given, int | float | str):
            return {"kind": "constant", "values": _scalars("a constant", [given])}
        if not isinstance(given, dict) or len(given) != 1:
            raise ValueError(f"a number or one of {', '.join(_FAMILIES)} is expected, got {given!r}")
        ((kind, values),) = given.items()
        if kind not in _FAMILIES:
            raise ValueError(f"unknown distribution '{kind}'{ids.nearest(str(kind), _FAMILIES)}")
        return {"kind": kind} | _PARSERS.get(kind, _pair)(kind, values)

    @model_serializer
    def _to_yaml(self) -> Any:
        if self.kind == "constant":
            return self.values[0]
        if self.kind == "choice":
            return {"choice": dict(zip(map(str, self.values), self.weights, strict=True))}
        if self.kind == "histogram":
            return {"histogram": {"edges": self.values, "weights": self.weights}}
        return {self.kind: self.values}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: pydantic.GetJsonSchemaHandler) -> dict[str, Any]:
        """What may stand in the YAML, not the fields that it becomes."""
        return {"description": cls.__doc__, "anyOf": [{"type": ["number", "string"]}, _FAMILIES_SCHEMA]}

    @property
    def numbers(self) -> list[float]:
        """The parameters as numbers; ValueError where one is text."""
        return [float(v) for v in self.values]

    def support(self) -> tuple[float, float]:
        """Smallest and largest value that can be drawn."""
        if self.kind == "normal":
            mean, std = self.numbers
            return mean - NORMAL_CUT * std, mean + NORMAL_CUT * std
        return min(self.numbers), max(self.numbers)


def _pair(kind: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, list) or len(values) != 2 or not all(_is_number(v) for v in values):
        raise ValueError(f"{kind} wants two numbers, got {values!r}")
    low, high = values
    if kind == "normal":
        if high < 0:
            raise ValueError(f"normal wants [mean, std] with std >= 0, got {values}")
    elif low > high:
        raise ValueError(f"{kind} wants [low, high] with low <= high, got {values}: swap the two")
    elif kind == "loguniform" and low <= 0:
        raise ValueError(f"loguniform wants low > 0, got {values}")
    elif kind == "integers" and (low % 1 or high % 1):
        raise ValueError(f"integers wants whole numbers, got {values}")
    return {"values": values}


def _choice(kind: str, values: Any) -> dict[str, Any]:
    if isinstance(values, list):
        if len(set(map(str, values))) < len(values):
            raise ValueError(f"choice wants every value once, got {values!r}; prefer one with {{value: weight}}")
        values = dict.fromkeys(_scalars(kind, values), 1.0)
    if not isinstance(values, dict):
        raise ValueError(f"choice wants a list, or a mapping of value to weight >= 0, got {values!r}")
    # In order of the values: the digest of a recipe does not see the order of a mapping, so no draw may depend on it.
    pairs = sorted(zip(_scalars(kind, values), _weights(kind, list(values.values())), strict=True), key=_by_value)
    return {"values": [value for value, _ in pairs], "weights": [weight for _, weight in pairs]}


def _by_value(pair: tuple[float | str, float]) -> tuple[bool, float | str]:
    return isinstance(pair[0], str), pair[0]


def _histogram(kind: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict) or set(values) != {"edges", "weights"}:
        raise ValueError("histogram wants {edges: [...], weights: [...]}")
    edges, weights = values["edges"], _weights(kind, values["weights"])
    if not isinstance(edges, list) or not all(map(_is_number, edges)):
        raise ValueError(f"histogram wants a list of numbers as edges, got {edges!r}")
    if len(edges) != len(weights) + 1 or sorted(edges) != edges:
        raise ValueError("histogram wants rising edges, one more than weights")
    return {"values": edges, "weights": weights}


def _grid(kind: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"grid wants a list of values, got {values!r}")
    return {"values": _scalars(kind, values)}


def _weights(kind: str, weights: Any) -> list[float]:
    """Weights that sum to 1. Those that do already stay as they are: a written recipe reads back the same."""
    if not isinstance(weights, list) or not all(_is_number(w) and w >= 0 for w in weights):
        raise ValueError(f"{kind} wants weights >= 0, got {weights!r}")
    total = float(sum(weights))
    if total <= 0:
        raise ValueError(f"{kind} wants at least one positive weight")
    return [float(w) if math.isclose(total, 1.0, rel_tol=1e-12) else w / total for w in weights]


def _scalars(what: str, values: Iterable[Any]) -> list[float | str]:
    """Numbers as numbers, also where YAML quotes them; everything else as text."""
    return [_number_or_text(what, value) for value in values]


def _number_or_text(what: str, value: Any) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{what} wants numbers or words, got {value!r}")
    try:
        number = float(value)
    except ValueError:
        return str(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} wants finite numbers, got {value!r}")
    return number


_PARSERS = {"choice": _choice, "histogram": _histogram, "grid": _grid}
_FAMILIES = ("uniform", "loguniform", "integers", "normal", "choice", "histogram", "grid")


_NUMBERS = {"type": "array", "items": {"type": "number"}}
_WEIGHTS = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 1}
_VALUES = {"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1}
_FAMILIES_SCHEMA = {
    "type": "object",
    "properties": {
        **{name: _NUMBERS | {"minItems": 2, "maxItems": 2} for name in ("uniform", "loguniform", "integers", "normal")},
        "choice": {
            "anyOf": [_VALUES, {"type": "object", "additionalProperties": _WEIGHTS["items"], "minProperties": 1}]
        },
        "histogram": {
            "type": "object",
            "properties": {"edges": _NUMBERS, "weights": _WEIGHTS},
            "required": ["edges", "weights"],
            "additionalProperties": False,
        },
        "grid": _VALUES,
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_SIZE = r"\s*(-?\d+(?:\.\d+)?)\s*(h|min|s|clips?|rows?|hours?)?\s*"


class Size(Strict):
    """How much of a split is wanted: a number of clips, or seconds of mixture."""

    clips: Annotated[int, Field(gt=0)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, given: Any) -> Any:
        match = re.fullmatch(_SIZE, str(given))
        if not match or isinstance(given, bool):
            raise ValueError(f"a size such as 50h, 30min, 90s or '500 clips' is expected, got {given!r}")
        number, unit = float(match[1]), match[2] or "clips"
        if number <= 0:
            raise ValueError(f"a split size must be positive, got {given!r}")
        if unit[0] not in "cr":
            return {"seconds": number * {"h": 3600.0, "m": 60.0, "s": 1.0}[unit[0]]}
        if number % 1:
            raise ValueError(f"a whole number of clips is expected, got {given!r}")
        return {"clips": int(number)}

    @model_serializer
    def _to_yaml(self) -> Any:
        return self.clips if self.clips is not None else f"{self.seconds:.17g}s"

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: pydantic.GetJsonSchemaHandler) -> dict[str, Any]:
        """What may stand in the YAML, not the fields that it becomes."""
        text = {"type": "string", "pattern": f"^{_SIZE}$"}
        return {"description": cls.__doc__, "anyOf": [{"type": "integer", "exclusiveMinimum": 0}, text]}


def _bounded(low: float, high: float, *, whole: bool = False) -> pydantic.AfterValidator:
    def check(given: Distribution) -> Distribution:
        try:
            found = given.support()
        except ValueError:
            raise ValueError(f"numbers are expected, got {given.values}") from None
        if found[0] < low or found[1] > high:
            raise ValueError(f"values between {low:g} and {high:g} are expected, got {found[0]:g} to {found[1]:g}")
        if whole and (
            given.kind not in ("constant", "integers", "choice", "grid") or any(v % 1 for v in given.numbers)
        ):
            raise ValueError("a whole number, or integers, choice or grid of whole numbers is expected")
        return given

    return pydantic.AfterValidator(check)


def _constant(value: float | str) -> Distribution:
    return Distribution.model_validate(value)


def _uniform(low: float, high: float) -> Distribution:
    return Distribution.model_validate({"uniform": [low, high]})


Decibels = Annotated[Distribution, _bounded(-120, 120)]
Metres = Annotated[Distribution, _bounded(0.05, 1000)]


class Talkers(Strict):
    """Who speaks, how loud, and how the clip is filled."""

    count: Annotated[Distribution, _bounded(1, MAX_TALKERS, whole=True)] = _constant(1)
    level_dbfs: Annotated[Distribution, _bounded(-90, 0)] = _uniform(-35, -15)
    level: Literal["p56_active", "rms"] = "p56_active"
    sir_db: Decibels = _uniform(-5, 5)
    fill: Literal["one", "concatenate"] = "one"
    gap_s: Annotated[Distribution, _bounded(0, 60)] = _uniform(0.1, 0.5)
    min_active_s: Annotated[float, Field(ge=0)] = 0.5


def _words(*known: str) -> pydantic.AfterValidator:
    def check(given: Distribution) -> Distribution:
        for value in given.values:
            if value not in known:
                raise ValueError(f"{' | '.join(known)} is expected, got {value!r}{ids.nearest(str(value), known)}")
        return given

    return pydantic.AfterValidator(check)


class RoomSize(Strict):
    length: Metres = _uniform(3, 10)
    width: Metres = _uniform(3, 8)
    height: Metres = _uniform(2.5, 4)


class OwnRoom(Strict):
    """The room of a noise that is not in the talkers' room (`noise.place: own_room`), with an array like theirs."""

    size_m: RoomSize = RoomSize(length=_uniform(20, 40), width=_uniform(20, 40), height=_uniform(4, 8))
    rt60_s: Annotated[Distribution, _bounded(0.05, 10)] = _uniform(0.5, 1.2)
    distance_m: Metres = _uniform(8, 15)


class Noise(Strict):
    """What is added, and at which signal-to-noise ratio. With several noises each has its own draw of `snr_db`.

    `place` says how a noise reaches the microphones of a simulated room: `dry` (the same on each), `point` (a source
    in the talkers' room), `own_room` (a source in a room of its own), `diffuse` (an isotropic field). By default one
    microphone hears it dry, an array diffuse. In a measured room `point` takes another of its RIRs, and the other
    places are `dry`; a row without a room is dry.
    """

    count: Annotated[Distribution, _bounded(0, 8, whole=True)] = _constant(1)
    snr_db: Decibels = _uniform(-5, 20)
    snr: SnrKind = "p56_active"
    fade_s: Annotated[float, Field(gt=0, le=5)] = 0.5
    place: Annotated[Distribution, _words("dry", "point", "own_room", "diffuse")] | None = None
    distance_m: Metres = _uniform(1.0, 5.0)
    height_m: Metres = _uniform(0.5, 2.0)
    coherence: Literal["spherical", "cylindrical"] = "spherical"
    own_room: OwnRoom = OwnRoom()


class Directivity(Strict):
    """A first-order pattern by name, or its share p of omnidirectional sound, and where it faces.

    Talkers face the `array` or a `random` horizontal direction; microphones face `outward` or the array's `forward`.
    """

    pattern: (
        Literal["omni", "subcardioid", "cardioid", "hypercardioid", "figure_eight"]
        | Annotated[float, Field(ge=0, le=1)]
    ) = "omni"
    facing: Literal["array", "random", "outward", "forward"] | None = None

    @property
    def omni(self) -> float:
        """The share p."""
        return PATTERNS[self.pattern] if isinstance(self.pattern, str) else self.pattern


class Channels(Strict):
    """A drawn subset of an array's microphones. The first of `always` is the reference."""

    count: Annotated[Distribution, _bounded(1, 64, whole=True)]
    always: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]


class Array(Strict):
    """The microphones. Frame of the array: x forward, y left, z up, origin in its centre; microphone 0 first.

    `pair` and `linear` lie on y, `circular` and `rings` in the horizontal plane. `user` takes `positions_m`.
    """

    preset: Literal["mono", "pair", "linear", "circular", "tetrahedral", "rings", "realman", "foa", "user"] = "mono"
    microphones: Annotated[int, Field(ge=2, le=64)] = 4
    spacing_m: Annotated[Distribution, _bounded(0.001, 10)] = _constant(0.05)
    radius_m: Annotated[Distribution, _bounded(0.001, 10)] = _constant(0.05)
    centre: bool = False
    radii_m: list[Annotated[float, Field(gt=0, le=10)]] = []
    counts: list[Annotated[int, Field(ge=1, le=64)]] = []
    positions_m: list[Annotated[list[float], Field(min_length=3, max_length=3)]] = []
    rotation: Literal["none", "azimuth", "full"] = "azimuth"
    jitter_m: Annotated[float, Field(ge=0, le=1)] = 0.0
    channels: Channels | None = None
    directivity: Directivity = Directivity()

    @model_validator(mode="after")
    def _complete(self) -> Array:
        if (self.preset == "user") != bool(self.positions_m):
            raise ValueError("preset: user and positions_m ([[x, y, z], ...]) belong together")
        if (self.preset == "rings") != bool(self.radii_m) or len(self.radii_m) != len(self.counts):
            raise ValueError("preset: rings wants radii_m and counts, one of each per ring; no other preset does")
        if self.channels and self.channels.always and max(self.channels.always) >= self.size:
            raise ValueError(f"channels.always names microphone {max(self.channels.always)} of {self.size}")
        if self.channels and not len(self.channels.always) <= self.channels.count.support()[0]:
            raise ValueError("channels.count must allow for all of channels.always")
        if self.channels and self.channels.count.support()[1] > self.size:
            raise ValueError(f"channels.count goes beyond the {self.size} microphones of the array")
        if self.preset == "foa" and (self.channels or self.jitter_m or self.directivity.omni < 1):
            raise ValueError("preset: foa is four coincident patterns; channels, jitter_m and directivity do not apply")
        if self.directivity.facing in ("array", "random"):
            raise ValueError("microphones face outward or forward")
        return self

    @property
    def size(self) -> int:
        """How many microphones the array has."""
        counted = {"mono": 1, "pair": 2, "tetrahedral": 4, "foa": 4, "realman": 32, "user": len(self.positions_m)}
        if self.preset in counted:
            return counted[self.preset]
        return (sum(self.counts) if self.preset == "rings" else self.microphones) + self.centre

    @property
    def most(self) -> int:
        """The largest number of channels that a mixture can have."""
        return int(self.channels.count.support()[1]) if self.channels else self.size


class Air(Strict):
    """Absorption of the air by ISO 9613-1."""

    temperature_c: Annotated[float, Field(ge=-20, le=50)] = 20.0
    humidity_percent: Annotated[float, Field(ge=1, le=100)] = 50.0


class Motion(Strict):
    """Which talkers walk, how, and how finely their way is sampled."""

    probability: Annotated[float, Field(ge=0, le=1)] = 0.0
    path: Annotated[Distribution, _words("line", "arc", "waypoints")] = Distribution.model_validate(
        {"choice": ["line", "arc", "waypoints"]}
    )
    speed_m_s: Annotated[Distribution, _bounded(0.01, 10)] = _uniform(0.3, 1.2)
    step_m: Annotated[float, Field(ge=0.001, le=0.05)] = 0.02


class Panels(Strict):
    """Upright occluding panels in a room: how many, and their size. They stand anywhere within the wall margins."""

    count: Annotated[Distribution, _bounded(0, 16, whole=True)] = _constant(0)
    width_m: Metres = _uniform(0.8, 2.0)
    height_m: Metres = _uniform(1.2, 2.0)
    absorption: Annotated[float, Field(ge=0, le=1)] = 0.1


class Traced(Strict):
    """What the engine `pyroomacoustics` can do beyond ours: floor plans, scattering, rays, panels.

    `floor_m` is the corners of a polygon ([[x, y], ...], counter-clockwise); without it the floor is that of `size_m`.
    """

    max_order: Annotated[int, Field(ge=0, le=100)] = 3
    ray_tracing: bool = True
    scattering: Annotated[float, Field(ge=0, le=1)] = 0.1
    floor_m: list[Annotated[list[float], Field(min_length=2, max_length=2)]] = []
    panels: Panels = Panels()

    @field_validator("floor_m")
    @classmethod
    def _polygon(cls, given: list[list[float]]) -> list[list[float]]:
        if given and len(given) < 3:
            raise ValueError(f"a floor has at least three corners, got {len(given)}")
        if any(v < 0 for corner in given for v in corner):
            raise ValueError(f"corners of a floor are not negative, got {given}")
        return given


def _is_octaves(given: Any) -> bool:
    return isinstance(given, dict) and all(str(key).replace(".", "", 1).isdigit() for key in given)


def _check_material(what: str, given: Any) -> None:
    values = list(given.values()) if _is_octaves(given) else [given]
    if isinstance(given, str) or (values and all(_is_number(v) and 0 <= v <= 1 for v in values)):
        return
    raise ValueError(
        f"{what}: a material's name, an absorption in [0, 1] or {{octave: absorption}} is expected, got {given!r}"
    )


class Rooms(Strict):
    """With which probability a mixture is in a room, and in which: `measured` RIRs of a corpus or a `simulated` one.

    Distances are from the array's centre. `interferer_distance_m` (default: `distance_m`) is for all talkers but the
    first; `wearer: true` puts the first one at the array's centre plus `wearer_offset_m` (in the array's frame), as
    earbuds and headsets have it. `separation_deg` is the least angle between two talkers. `centre_offset_m` keeps the
    array that near to the room's centre; without it, it is anywhere within the margins.
    `materials` (a name, an absorption, absorptions per octave {125: 0.1, 250: 0.2, ...}, or one of these for each of
    west, east, south, north, floor, ceiling, with `walls` for the four and `all` for the rest) replaces `rt60_s`.
    `wall_weight` is drawn per wall: how much it absorbs beside the others.
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    kind: Annotated[Distribution, _words("measured", "simulated")] = _constant("simulated")
    engine: Literal["shoebox", "pyroomacoustics"] = "shoebox"
    size_m: RoomSize = RoomSize()
    rt60_s: Annotated[Distribution, _bounded(0.05, 10)] = _uniform(0.2, 0.8)
    rt60_tolerance: Annotated[float, Field(gt=0, le=1)] = 0.1
    wall_weight: Annotated[Distribution, _bounded(0.01, 100)] = _constant(1)
    materials: Any = None
    air: Air | None = None
    jitter_m: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    tail: Literal["exact", "diffuse"] = "exact"
    tail_after_ms: Annotated[float, Field(gt=0, le=1000)] = 60.0
    traced: Traced = Traced()
    array: Array = Array()
    centre_offset_m: Annotated[Distribution, _bounded(0, 100)] | None = None
    distance_m: Metres = _uniform(0.66, 2.0)
    interferer_distance_m: Metres | None = None
    separation_deg: Annotated[float, Field(ge=0, lt=180)] = 0.0
    wearer: bool = False
    wearer_offset_m: Annotated[list[float], Field(min_length=3, max_length=3)] = [0.0, 0.0, 0.0]
    wall_margin_m: Annotated[float, Field(ge=0.01)] = 0.5
    microphone_height_m: Metres = _uniform(1.0, 1.5)
    talker_height_m: Metres = _uniform(1.4, 1.8)
    directivity: Directivity = Directivity()
    motion: Motion = Motion()
    labels_hz: Annotated[float, Field(gt=0, le=1000)] = 10.0
    measured_channels: Literal["one", "first", "all"] = "one"
    min_onset_confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_redraws: Annotated[int, Field(ge=0)] = 200

    @field_validator("materials", mode="before")
    @classmethod
    def _of_walls_or_bands(cls, given: Any) -> Any:
        walls = (*WALLS, "walls", "all")
        if given is None:
            return None
        if isinstance(given, dict) and not _is_octaves(given):
            for wall, material in given.items():
                if wall not in walls:
                    raise ValueError(f"unknown wall '{wall}'{ids.nearest(str(wall), walls)}")
                _check_material(wall, material)
        else:
            _check_material("materials", given)
        return given

    @model_validator(mode="after")
    def _possible(self) -> Rooms:
        if self.array.size > 1 and (self.probability < 1 or self.uses("measured")):
            raise ValueError("an array is simulated in every row: set probability: 1 and kind: simulated")
        if self.measured_channels == "all" and (self.probability < 1 or self.uses("simulated")):
            raise ValueError("measured_channels: all wants every row measured: set probability: 1 and kind: measured")
        if self.directivity.facing in ("outward", "forward"):
            raise ValueError("talkers face array or random")
        plain = self.air is None and self.materials is None and not self.jitter_m and not self.motion.probability
        if self.tail == "diffuse" and not (plain and self.array.preset != "foa" and self._omnidirectional):
            raise ValueError("tail: diffuse knows no air, materials, jitter_m, motion or directivity")
        if self.engine == "pyroomacoustics" and (self.jitter_m or self.tail == "diffuse" or self.motion.probability):
            raise ValueError("jitter_m, tail: diffuse and motion are of the engine shoebox")
        if self.engine == "pyroomacoustics" and not self._omnidirectional:
            raise ValueError("directivity is of the engine shoebox")
        if self.engine == "pyroomacoustics" and self.array.preset == "foa":
            raise ValueError("array foa is of the engine shoebox")
        if self.wearer and self.array.size == 1 and not any(self.wearer_offset_m):
            raise ValueError("wearer: with one microphone, wearer_offset_m must not be zero")
        if self.wearer and self.motion.probability:
            raise ValueError("a wearer moves with the array; motion is for talkers at a distance")
        return self

    @property
    def _omnidirectional(self) -> bool:
        return self.directivity.omni == 1 and self.array.directivity.omni == 1

    def uses(self, kind: str) -> bool:
        return self.probability > 0 and kind in self.kind.values


class Target(Strict):
    """The signal that a system is asked to output.

    `dry_aligned` (the dry utterance, one delay and one gain), `anechoic` (the direct path to each microphone, no
    reflection), `direct` (-1 to +2.5 ms around the direct sound), `direct_window` (`window_ms` around it), `early` (up
    to `early_ms` after it), `image` (all).
    """

    kind: Literal["dry_aligned", "anechoic", "direct", "direct_window", "early", "image"] = "early"
    early_ms: Annotated[float, Field(gt=0, le=1000)] = 50.0
    window_ms: Annotated[list[Annotated[float, Field(ge=0, le=1000)]], Field(min_length=2, max_length=2)] = [2.0, 2.0]

    @field_validator("window_ms", mode="before")
    @classmethod
    def _both_sides(cls, given: Any) -> Any:
        return [given, given] if _is_number(given) else given


class Clock(Strict):
    """Each channel but the reference runs on a clock of its own: `offset_us` late, drifting by `drift_ppm`."""

    op: Literal["clock"]
    offset_us: Annotated[Distribution, _bounded(-10_000, 10_000)] = _constant(0)
    drift_ppm: Annotated[Distribution, _bounded(-1000, 1000)] = _constant(0)

    @field_validator("offset_us", "drift_ppm")
    @classmethod
    def _no_grid(cls, given: Distribution) -> Distribution:
        if given.kind == "grid":
            raise ValueError("a grid does not reach into this list; use choice")
        return given


class Write(Strict):
    """What is written, and how. Changing it renders again without changing a draw."""

    stems: list[Stem] = ["mixture", "target", "noise"]
    encoding: Literal["flac24", "flac16", "wav_float32"] = "flac24"
    peak: Annotated[float, Field(gt=0.01, le=0.99)] = 0.9
    rows_per_shard: Annotated[int, Field(ge=1, le=100_000)] = 100

    @field_validator("stems")
    @classmethod
    def _in_order(cls, given: list[Stem]) -> list[Stem]:
        if "mixture" not in given:
            raise ValueError("stems must contain 'mixture'")
        return [stem for stem in STEMS if stem in given]


class Select(Strict):
    """Which sources may be used: per kind, column -> value, list of values, {not: [...]}, {min: x}, {max: x}."""

    speech: dict[str, Any] = {}
    noise: dict[str, Any] = {}
    rir: dict[str, Any] = {}


class Recipe(Strict):
    """A dataset as it is asked for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    sample_rate: Annotated[int, Field(ge=4000, le=192_000)] = 16_000
    clip_s: Annotated[float, Field(gt=0.1, le=3600)] | Literal["utterance"] = 10.0
    splits: Annotated[dict[str, Size], Field(min_length=1)]
    shares: dict[str, Annotated[float, Field(gt=0)]] = {}
    sources: list[str] = []
    select: Select = Select()
    resample: Literal["down", "never", "any"] = "down"
    talkers: Talkers = Talkers()
    noise: Noise = Noise()
    rooms: Rooms = Rooms(probability=0.0)
    degrade: list[Clock] = []
    target: Target = Target()
    write: Write = Write()
    failure_budget: Annotated[float, Field(ge=0, le=1)] = 0.001

    @field_validator("splits")
    @classmethod
    def _split_names(cls, given: dict[str, Size]) -> dict[str, Size]:
        for name in given:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"a split name has lower-case letters, digits and _ only, got {name!r}")
        return given

    @model_validator(mode="after")
    def _shares_match(self) -> Recipe:
        for name in self.shares:
            if name not in self.splits:
                raise ValueError(f"shares names a split '{name}' that splits lacks{ids.nearest(name, self.splits)}")
        return self

    @model_validator(mode="after")
    def _channels_fit(self) -> Recipe:
        if self.rooms.array.most > FLAC_CHANNELS and self.write.encoding != "wav_float32":
            raise ValueError(
                f"FLAC holds {FLAC_CHANNELS} channels, the array has {self.rooms.array.most}: set write.encoding: "
                "wav_float32, or draw rooms.array.channels"
            )
        return self

    @model_validator(mode="after")
    def _talkers_fit(self) -> Recipe:
        if self.clip_s == "utterance" and self.talkers.fill == "concatenate":
            raise ValueError(
                "clip_s: utterance takes one utterance per clip; talkers.fill: concatenate needs a clip_s in seconds"
            )
        return self

    def split_shares(self) -> dict[str, float]:
        """Share of the speakers, recordings and rooms that each split gets (default: train 8, every other split 1)."""
        given = {name: self.shares.get(name, 8.0 if name == "train" else 1.0) for name in self.splits}
        total = sum(given.values())
        return {name: value / total for name, value in given.items()}


def stem_columns(stems: Sequence[str], talkers: int) -> list[str]:
    """The audio columns that `stems` fill in a mixture of so many talkers: `talkers` and `targets` stand for one column
    each.
    """
    return [
        column
        for stem in stems
        for column in ([f"{stem[:-1]}_{k + 1}" for k in range(talkers)] if stem in ("talkers", "targets") else [stem])
    ]


def content(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe determines its rows. Sizes, stems, paths and budget do not."""
    plain = recipe.model_dump(mode="json", exclude={"splits", "sources", "write", "failure_budget", "shares"})
    return plain | {
        "shares": recipe.split_shares(),
        "schema_version": SCHEMA_VERSION,
        "output_version": OUTPUT_VERSION,
    }


def render_settings(recipe: Recipe) -> dict[str, Any]:
    """What else determines the bytes of a rendered shard."""
    return recipe.write.model_dump(mode="json")


def load_recipe(uri: str) -> Recipe:
    """Read and check a recipe file. Raises UserError with file, line, key and what was expected."""
    if not storage.exists(uri):
        raise UserError(f"{uri}: no such recipe file")
    return parse_recipe(storage.read_bytes(uri).decode("utf-8", errors="replace"), uri)


def parse_recipe(text: str, name: str = "recipe") -> Recipe:
    """A recipe from YAML text; `name` stands in messages."""
    recipe: Recipe = parse_yaml(text, name, Recipe)
    return recipe


def parse_yaml(text: str, name: str, model: type[Any]) -> Any:
    """YAML text as a pydantic model, with messages that name the file and the line."""
    try:
        data, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(f"{name}: a mapping of keys is expected, got {type(data).__name__}")
    for key in _repeated(node):
        raise UserError(f"{name}:{key.start_mark.line + 1}: the key '{key.value}' is given twice")
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        raise UserError(validation_message(error, name, node, model)) from None


def validation_message(
    error: pydantic.ValidationError, name: str, node: yaml.Node | None, model: type[BaseModel]
) -> str:
    """One line per mistake: `file:line: key: what is wrong`."""
    return "\n".join(dict.fromkeys(_one_message(e, name, node, model) for e in error.errors()))


def _one_message(error: Any, name: str, node: yaml.Node | None, model: type[BaseModel]) -> str:
    unknown = error["type"] == "extra_forbidden"  # its last part is the user's word, whatever it looks like
    loc = [p for i, p in enumerate(error["loc"], 1) if not _is_union_tag(p) or (unknown and i == len(error["loc"]))]
    where = f"{name}:{_line(node, loc)}" if node is not None else name
    key = ".".join(map(str, loc))
    if unknown:
        return f"{where}: unknown key '{key}'{ids.nearest(str(loc[-1]), _known_keys(model, loc[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        message = "this key is required"
    elif error["type"] not in ("value_error", "assertion_error"):
        message = f"{message[0].lower()}{message[1:]}, got {error['input']!r}"
    return f"{where}: {key}: {message}" if key else f"{where}: {message}"


def _is_union_tag(part: Any) -> bool:
    return isinstance(part, str) and (
        part.startswith(("constrained-", "literal[", "float", "function-")) or "[" in part
    )


def _line(node: yaml.Node | None, loc: list[Any]) -> int:
    line = node.start_mark.line if node is not None else 0
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1


def _repeated(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Keys that a mapping of the document holds a second time: YAML would take the last one in silence."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        yield from (key for i, (key, _) in enumerate(node.value) if key.value in keys[:i])
        for _, value in node.value:
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)


def _known_keys(model: type[BaseModel], path: list[Any]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)
