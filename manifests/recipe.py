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
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from manifests import ids, storage
from manifests.errors import UserError
from manifests.schema import OUTPUT_VERSION, SCHEMA_VERSION

__all__ = [
    "SNR_KINDS",
    "STEMS",
    "Distribution",
    "Recipe",
    "Size",
    "content",
    "load_recipe",
    "parse_recipe",
    "render_settings",
    "stem_columns",
    "validation_message",
]

SNR_KINDS = ("p56_active", "rms_active", "rms", "lufs", "peak")
STEMS = ("mixture", "target", "noise", "talkers", "image", "early", "late", "direct", "dry_aligned")
MAX_TALKERS = 5
NORMAL_CUT = 4.0
"""Standard deviations at which `normal` is cut, so that a recipe's bounds hold for every draw."""

SnrKind = Literal["p56_active", "rms_active", "rms", "lufs", "peak"]
Stem = Literal["mixture", "target", "noise", "talkers", "image", "early", "late", "direct", "dry_aligned"]


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


class Noise(Strict):
    """What is added, and at which signal-to-noise ratio. With several noises each has its own draw of `snr_db`."""

    count: Annotated[Distribution, _bounded(0, 8, whole=True)] = _constant(1)
    snr_db: Decibels = _uniform(-5, 20)
    snr: SnrKind = "p56_active"
    fade_s: Annotated[float, Field(gt=0, le=5)] = 0.5


class RoomSize(Strict):
    length: Metres = _uniform(3, 10)
    width: Metres = _uniform(3, 8)
    height: Metres = _uniform(2.5, 4)


class Array(Strict):
    preset: Literal["mono"] = "mono"


class Rooms(Strict):
    """With which probability a mixture is in a room, and in which: `measured` RIRs of a corpus or a `simulated`
    shoebox.
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    kind: Distribution = _constant("simulated")
    size_m: RoomSize = RoomSize()
    rt60_s: Annotated[Distribution, _bounded(0.05, 10)] = _uniform(0.2, 0.8)
    array: Array = Array()
    distance_m: Metres = _uniform(0.66, 2.0)
    wall_margin_m: Annotated[float, Field(ge=0.01)] = 0.5
    microphone_height_m: Metres = _uniform(1.0, 1.5)
    talker_height_m: Metres = _uniform(1.4, 1.8)
    max_redraws: Annotated[int, Field(ge=0)] = 200

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, given: Distribution) -> Distribution:
        for value in given.values:
            if value not in ("measured", "simulated"):
                raise ValueError(f"rooms are 'measured' or 'simulated', got {value!r}")
        return given

    def uses(self, kind: str) -> bool:
        return self.probability > 0 and kind in self.kind.values


class Target(Strict):
    """The signal that a system is asked to output."""

    kind: Literal["dry_aligned", "direct", "early", "image"] = "early"
    early_ms: Annotated[float, Field(gt=0, le=1000)] = 50.0


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
    degrade: Annotated[list[Any], Field(max_length=0)] = []
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
    """The audio columns that `stems` fill in a mixture of so many talkers: `talkers` stands for one column each."""
    return [
        column
        for stem in stems
        for column in ([f"talker_{k + 1}" for k in range(talkers)] if stem == "talkers" else [stem])
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
    elif key == "degrade":
        message = "no degradation operations exist in this version; leave the list empty"
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
