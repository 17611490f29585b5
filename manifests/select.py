"""Which sources a recipe may use: usable ones, of a fitting rate, that pass its `select`.

Conventions
    A condition on a column is a value, a list of values, `{not: [...]}`, `{min: x}` or `{max: x}`; an unknown value
    (null) passes only `not`. Every source that is left out is counted under the first rule that refused it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manifests import ids
from manifests.errors import UserError
from manifests.recipe import Recipe
from manifests.schema import Source

__all__ = ["usable"]

COLUMNS = tuple(f.name for f in dataclasses.fields(Source))
_NUMERIC = {f.name for f in dataclasses.fields(Source) if str(f.type).split(" | ")[0] in ("int", "float")}


def usable(recipe: Recipe, sources: Sequence[Source]) -> tuple[list[Source], Counter[str]]:
    """The sources that the recipe's mixtures may draw from, sorted by id, and how many each rule left out."""
    _check_columns(recipe)
    kinds = _kinds(recipe)
    verdicts = [(source, _refusal(recipe, source)) for source in sources if source.kind in kinds]
    left_out = Counter(f"{source.kind}: {why}" for source, why in verdicts if why)
    kept = sorted((source for source, why in verdicts if not why), key=lambda s: s.source_id)
    for kind in kinds:
        if not any(s.kind == kind for s in kept):
            raise UserError(f"no usable {kind} sources for recipe '{recipe.name}'. {_why(kind, sources, left_out)}")
    return kept, left_out


def _kinds(recipe: Recipe) -> list[str]:
    kinds = ["speech"]
    if recipe.noise.count.support()[1] > 0:
        kinds.append("noise")
    if recipe.rooms.uses("measured"):
        kinds.append("rir")
    return kinds


def _why(kind: str, sources: Sequence[Source], left_out: Counter[str]) -> str:
    if not any(s.kind == kind for s in sources):
        return f"The source tables hold none: scan a folder with {kind}=FOLDER"
    return "Left out: " + ", ".join(f"{n} by {why}" for why, n in sorted(left_out.items()) if why.startswith(kind))


def _refusal(recipe: Recipe, source: Source) -> str | None:
    """Why the recipe may not use a source, or None."""
    if source.status != "ok":
        return f"status rejected ({source.reason})"
    if source.split and source.split not in recipe.splits:
        return f"its corpus puts it in the split '{source.split}', which the recipe does not have"
    rate = source.sample_rate or 0
    if recipe.resample == "never" and rate != recipe.sample_rate:
        return f"resample: never (rate is not {recipe.sample_rate})"
    if recipe.resample == "down" and rate < recipe.sample_rate:
        return f"resample: down (rate is below {recipe.sample_rate})"
    if source.kind == "speech":
        active_s = (source.duration_s or 0.0) * (source.activity or 0.0)
        if active_s < recipe.talkers.min_active_s:
            return f"talkers.min_active_s (less than {recipe.talkers.min_active_s:g} s of active speech)"
    conditions: Mapping[str, Any] = getattr(recipe.select, source.kind)
    failed = next((c for c, wanted in conditions.items() if not _passes(getattr(source, c), wanted)), None)
    return f"select.{source.kind}.{failed}" if failed else None


def _passes(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(_RULES[rule](value, limit) for rule, limit in wanted.items())
    return value in wanted if isinstance(wanted, list) else value == wanted


_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "not": lambda value, limit: value not in (limit if isinstance(limit, list) else [limit]),
    "min": lambda value, limit: value is not None and value >= limit,
    "max": lambda value, limit: value is not None and value <= limit,
}


def _check_columns(recipe: Recipe) -> None:
    for kind, conditions in recipe.select.model_dump().items():
        for column, wanted in conditions.items():
            if column not in COLUMNS:
                raise UserError(f"select.{kind}: unknown column '{column}'{ids.nearest(column, COLUMNS)}")
            for rule, limit in wanted.items() if isinstance(wanted, dict) else ():
                _check_rule(f"select.{kind}.{column}", column, rule, limit)


def _check_rule(where: str, column: str, rule: str, limit: Any) -> None:
    if rule not in _RULES:
        raise UserError(f"{where}: unknown rule '{rule}'{ids.nearest(rule, _RULES)}")
    if rule != "not" and column not in _NUMERIC:
        raise UserError(f"{where}: '{rule}' needs a column of numbers, {column} holds none")
    if rule != "not" and (isinstance(limit, bool) or not isinstance(limit, int | float)):
        raise UserError(f"{where}: '{rule}' wants a number, got {limit!r}")
