"""`hubbub metrics`: the catalogue, printed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eval import catalogue
from eval.catalogue import GROUPS, METRICS, Metric
from manifests.errors import UserError
from pipelines.console import say

__all__ = ["show"]

COLUMNS = "{name:24} {unit:9} {range:>14} {better:7} {rate:>7} {floor:>7}  {title}"


def show(names: Sequence[str], *, as_json: bool = False) -> None:
    """A line for every metric, by group; with `names`, everything about these."""
    try:
        chosen = catalogue.chosen(names) if names else list(METRICS.values())
    except ValueError as error:
        raise UserError(str(error)) from None
    if as_json:
        for metric in chosen:
            say(json.dumps(_plain(metric), ensure_ascii=False))
    elif names:
        for metric in chosen:
            say(_in_full(metric))
    else:
        say(COLUMNS.format(**{n: n for n in ("name", "unit", "range", "better", "rate", "floor", "title")}))
        for group, meaning in GROUPS.items():
            members = [metric for metric in chosen if metric.group == group]
            say(f"\n{group}: {meaning}" + ("" if members else f" ({', '.join(catalogue.HEADLINE)})"))
            for metric in members:
                say(_line(metric))
        say("\n'hubbub metrics NAME' tells all about one: formula, paper, package, licence.")


def _line(metric: Metric) -> str:
    return COLUMNS.format(
        name=metric.name,
        unit=metric.unit or "-",
        range=_range(metric),
        better=metric.better,
        rate=_rate(metric),
        floor=f"{metric.floor:.4g}",
        title=metric.title + (f" [{metric.extra}]" if metric.extra else ""),
    )


def _in_full(metric: Metric) -> str:
    extra = f" (pip install 'hubbub[{metric.extra}]')" if metric.extra else ""
    said = {
        "title": metric.title,
        "group": metric.group,
        "unit": metric.unit or "-",
        "range": _range(metric),
        "better": metric.better,
        "a failed estimate gets": f"{metric.floor:.6g}",
        "a row holds": f"{metric.bounds[0]:.6g} to {metric.bounds[1]:.6g}",
        "computed at": f"{_rate(metric)} Hz" if metric.sample_rate else "the reference's rate",
        "needs": metric.needs + ("; experimental" if metric.experimental else ""),
        "aggregate": metric.aggregate,
        "formula": metric.formula or "-",
        "paper": metric.paper,
        "package": metric.package + extra,
        "licence": metric.licence_note,
        "version": metric.version,
    }
    return "\n".join([metric.name, *(f"  {key:22} {value}" for key, value in said.items())])


def _range(metric: Metric) -> str:
    return f"{_bound(metric.low)}..{_bound(metric.high)}"


def _bound(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ("-inf" if value < 0 else "inf")


def _rate(metric: Metric) -> str:
    return str(metric.sample_rate) if metric.sample_rate else "any"


def _plain(metric: Metric) -> dict[str, Any]:
    """JSON has no infinity: an open bound is null."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in asdict(metric).items()}
