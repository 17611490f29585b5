"""The leaderboard as rows, CSV and Markdown: the numbers that every page prints.

Conventions
    One row per (system, metric), or per (system, metric, bin). A missing number is null in a frame, empty in CSV and an
    en dash in Markdown and HTML; it is never NaN, 0 or -1. CSV holds full precision; `decimals_shown` rounds what
    people read. Rows stand best first by the first metric, with the reference rows (anchors) among the systems,
    marked.

Rounding follows the rule of the Particle Data Group (Review of Particle Physics, introduction, "Rounding"), applied
to half the width of the interval: two digits of it when its leading digits are below 355, else one.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from eval.statistics import ALPHA, DRAWS, MINIMUM_CLUSTERS
from eval.summary import MINIMUM_BIN_CLUSTERS, MINIMUM_ITEMS

__all__ = [
    "MISSING",
    "Cell",
    "MetricInfo",
    "Statistics",
    "SystemInfo",
    "best_systems",
    "bins_csv",
    "caption",
    "cells",
    "decimals_shown",
    "delivered_differ",
    "failures",
    "grouped",
    "leaderboard_csv",
    "leaderboard_markdown",
    "number",
    "ordered",
    "p_value",
    "percent",
    "rank",
    "standing",
]

MISSING = "–"
"""What readers see where there is no number."""


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """A metric as it is printed. `low` and `high` bound its values, `floor` is the score of a failed estimate;
    `aggregate` is `mean`, or `pooled` for a rate of summed errors.
    """

    name: str
    title: str
    unit: str | None
    better: str  # higher | lower
    low: float | None
    high: float | None
    decimals: int
    floor: float | None = None
    version: str | None = None
    note: str | None = None
    aggregate: str = "mean"

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better must be 'higher' or 'lower', got {self.better!r} (metric {self.name})")


@dataclass(frozen=True, kw_only=True)
class SystemInfo:
    """A row of the leaderboard; `name` is what the frames' `system` column holds. Anchors are never ranked."""

    name: str
    kind: str
    system_id: str
    licence: str | None = None
    url: str | None = None
    note: str | None = None
    anchor: bool = False


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """How the numbers were made; the caption says so. Below `minimum_clusters` an interval is in italics."""

    cluster: str = "speaker"
    weight: str | None = None
    draws: int = DRAWS
    confidence: float = 0.95
    alpha: float = ALPHA
    minimum_clusters: int = MINIMUM_CLUSTERS
    minimum_items: int = MINIMUM_ITEMS
    minimum_bin_clusters: int = MINIMUM_BIN_CLUSTERS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One aggregate. `n` items are averaged, all of them common to every system of the column.

    What follows `delta_high` may be absent: how the system stands among those that are ranked (`p_holm` is against the
    best of them), and `delivered`, its aggregate over the `n_delivered` items that it has a number for.
    """

    system: str
    metric: str
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    n: int | None
    n_ok: int | None
    n_floor: int | None
    n_excluded: int | None
    n_clusters: int | None
    coverage: float | None
    median: float | None
    p10: float | None
    delta: float | None
    delta_low: float | None
    delta_high: float | None
    improved: float | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    tie_group: int | None = None
    p_holm: float | None = None
    first_share: float | None = None
    delivered: float | None = None
    n_delivered: int | None = None
    sparse: bool | None = None
    bin: str | None = None
    bin_low: float | None = None


_FIELDS = dataclasses.fields(Cell)
_COLUMNS = [f.name for f in _FIELDS if f.default is dataclasses.MISSING]
_OPTIONAL = [f.name for f in _FIELDS if f.default is not dataclasses.MISSING and f.name not in ("bin", "bin_low")]
_COUNTS = {"n", "n_ok", "n_floor", "n_excluded", "n_clusters", "rank_low", "rank_high", "tie_group", "n_delivered"}
_TEXT = {"system", "metric", "bin"}


_SUMMARY_NAMES = {"delta_ci_low": "delta_low", "delta_ci_high": "delta_high"}
_BIN_LOW = re.compile(r"[\[(](-inf|[-+.e\d]+), ")  # the lower edge in a label such as `[-5, 0)`


def cells(frame: pd.DataFrame, systems: Sequence[SystemInfo], metrics: Sequence[MetricInfo]) -> list[Cell]:
    """The rows of `frame`, checked: known systems and metrics, all columns there, no row twice, every number finite.

    The frames of `eval.summary` fit as they are: without `bin_low`, labels in interval notation give it.
    """
    frame = frame.rename(columns=_SUMMARY_NAMES)
    if "bin" in frame.columns and "bin_low" not in frame.columns:
        frame = frame.assign(bin_low=frame["bin"].astype(str).map(_lower_edge))
    names = [f.name for f in _FIELDS if f.name in frame.columns]
    absent = [name for name in _COLUMNS if name not in names]
    if absent:
        raise ValueError(f"the frame of scores lacks the columns {', '.join(absent)}")
    rows = [
        Cell(**{name: _plain(name, value) for name, value in zip(names, values, strict=True)})
        for values in frame[names].itertuples(index=False, name=None)
    ]
    _check(rows, {s.name for s in systems}, {m.name for m in metrics})
    return rows


def _lower_edge(label: str) -> float | None:
    found = _BIN_LOW.match(label)
    return float(found[1]) if found else None


def _plain(name: str, value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if name in _TEXT:
        return str(value)
    if name == "sparse":
        return bool(value)
    if name in _COUNTS:
        return int(value)
    if name != "bin_low" and not math.isfinite(value):
        raise ValueError(f"{name} must be finite or null, got {value}")
    return float(value)


def _check(rows: Iterable[Cell], systems: set[str], metrics: set[str]) -> None:
    seen = set()
    for row in rows:
        key = (row.system, row.metric, row.bin)
        if row.system not in systems:
            raise ValueError(f"system {row.system!r} has scores but no SystemInfo")
        if row.metric not in metrics:
            raise ValueError(f"metric {row.metric!r} has scores but no MetricInfo")
        if key in seen:
            raise ValueError(f"two rows for system {row.system!r}, metric {row.metric!r}, bin {row.bin!r}")
        seen.add(key)


def _merit(metric: MetricInfo, cell: Cell | None) -> float:
    """Larger is better; minus infinity where there is no mean."""
    if cell is None or cell.mean is None:
        return -math.inf
    return cell.mean if metric.better == "higher" else -cell.mean


def ordered(systems: Sequence[SystemInfo], metric: MetricInfo, rows: Iterable[Cell]) -> list[SystemInfo]:
    """Systems and anchors together, best mean first, those without a mean last; ties by name."""
    board = {row.system: row for row in rows if row.metric == metric.name}
    return sorted(systems, key=lambda s: (-_merit(metric, board.get(s.name)), s.name))


def best_systems(systems: Sequence[SystemInfo], metric: MetricInfo, rows: Iterable[Cell]) -> set[str]:
    """Names of the entered systems with the best mean (several only when exactly equal). Anchors never are."""
    entered = {s.name for s in systems if not s.anchor}
    merits = {r.system: _merit(metric, r) for r in rows if r.metric == metric.name and r.system in entered}
    top = max(merits.values(), default=-math.inf)
    return {name for name, merit in merits.items() if merit == top and math.isfinite(merit)}


def decimals_shown(low: float | None, high: float | None, most: int) -> int:
    """Decimals that the interval [low, high] supports, at most `most` (also for an interval of no width, or none)."""
    half = 0.0 if low is None or high is None else (high - low) / 2
    if half <= 0:
        return most
    exponent = math.floor(math.log10(half))
    places = (1 if half / 10**exponent < 3.55 else 0) - exponent
    return min(max(places, 0), most)


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """`value` rounded, without a negative zero; an en dash if there is none."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    return text.replace("-", "+" if signed else "") if text.strip("-0.") == "" else text


def percent(share: float | None) -> str:
    """A share in percent, rounded down, so that 100 % means all."""
    return MISSING if share is None else f"{math.floor(share * 1000 + 1e-9) / 10:g} %"


def grouped(count: int | None) -> str:
    """A count with a thin space between thousands."""
    return MISSING if count is None else f"{count:,}".replace(",", "\u202f")


def failures(cell: Cell) -> list[str]:
    """What to print beside a mean that not every item gave."""
    counts = [(cell.n_floor, "floored"), (cell.n_excluded, "excluded")]
    return [f"{count} {word}" for count, word in counts if count]


def _sorted_rows(rows: Sequence[Cell], systems: Sequence[SystemInfo], metrics: Sequence[MetricInfo]) -> list[Cell]:
    """By metric in the order given, then by the page's order of systems."""
    place = {s.name: i for i, s in enumerate(ordered(systems, metrics[0], rows))}
    column = {m.name: i for i, m in enumerate(metrics)}
    return sorted(rows, key=lambda r: (column[r.metric], place[r.system]))


def leaderboard_csv(leaderboard: pd.DataFrame, systems: Sequence[SystemInfo], metrics: Sequence[MetricInfo]) -> str:
    """The leaderboard in full precision, one line per (system, metric)."""
    rows = _sorted_rows(cells(leaderboard, systems, metrics), systems, metrics)
    return _csv(rows, systems, metrics, [*_COLUMNS[2:], *_there(leaderboard)])


def bins_csv(bins: pd.DataFrame, systems: Sequence[SystemInfo], metrics: Sequence[MetricInfo], bin_column: str) -> str:
    """The breakdown in full precision, one line per (system, metric, bin), systems in the order given.

    `bin_column` says what was binned.
    """
    rows = sorted(cells(bins, systems, metrics), key=lambda r: math.inf if r.bin_low is None else r.bin_low)
    column = {m.name: i for i, m in enumerate(metrics)}
    place = {s.name: i for i, s in enumerate(systems)}
    rows.sort(key=lambda r: (column[r.metric], place[r.system]))
    columns = ["bin_column", "bin", "bin_low", *_COLUMNS[2:], *_there(bins)]
    return _csv(rows, systems, metrics, columns, bin_column=bin_column)


def _there(frame: pd.DataFrame) -> list[str]:
    return [name for name in _OPTIONAL if name in frame.columns]


def _csv(
    rows: Iterable[Cell],
    systems: Sequence[SystemInfo],
    metrics: Sequence[MetricInfo],
    columns: Sequence[str],
    **constants: str,
) -> str:
    named = {s.name: s for s in systems}
    measured = {m.name: m for m in metrics}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["system", "system_id", "kind", "anchor", "metric", "unit", "better", *columns])
    for row in rows:
        system, metric = named[row.system], measured[row.metric]
        values = dataclasses.asdict(row) | constants
        head = [system.name, system.system_id, system.kind, str(system.anchor).lower()]
        found = (values[name] for name in columns)
        written = [str(value).lower() if isinstance(value, bool) else value for value in found]
        writer.writerow([*head, metric.name, metric.unit, metric.better, *written])
    return out.getvalue()


def caption(
    rows: Sequence[Cell], statistics: Statistics, baseline: str, metrics: Sequence[MetricInfo] = ()
) -> list[str]:
    """What a reader must know to read the leaderboard, one sentence per item."""
    level = f"{statistics.confidence * 100:g} %"
    mean = "mean" if statistics.weight is None else f"mean, weighted by {statistics.weight},"
    out = [
        f"Each number is the {mean} over the items that no system had excluded: "
        f"the same items for every row of a column ({_span(r.n for r in rows)} items).",
        f"Brackets are {level} percentile intervals from {grouped(statistics.draws)} bootstrap draws of whole clusters "
        f"(cluster: {statistics.cluster}; {_span(r.n_clusters for r in rows)} clusters).",
        "Intervals are marginal: two that overlap may still differ, because every system heard the same items.",
        f"Δ is the gain over “{baseline}”, taken item by item and then averaged.",
        "Reference rows are anchors and are not ranked; bold is the best mean among the systems entered.",
    ]
    pooled = [m.title for m in metrics if m.aggregate == "pooled"]
    if pooled:
        out[1:1] = [f"{', '.join(pooled)}: errors are summed over all items and divided once, not averaged."]
    if any(r.rank_low is not None for r in rows):
        out.append(
            "A rank is an interval: from one more than the number of systems that are significantly better, down to "
            "where only those that are significantly worse remain (paired sign flips of whole clusters, "
            f"{grouped(statistics.draws)} or all of them, two-sided; Holm's correction for all pairs of a column, "
            f"{statistics.alpha * 100:g} %)."
        )
    if delivered_differ(rows):
        out.append(
            "“As delivered” averages each system over the items it has a number for: that flatters whoever fails on "
            "hard items, so it is not what ranks."
        )
    return out


def delivered_differ(rows: Iterable[Cell]) -> bool:
    """Whether any system was judged on other items than those it delivered."""
    return any(r.n_delivered is not None and r.n_delivered != r.n for r in rows)


def rank(cell: Cell | None) -> str:
    """The interval of a rank, `2` or `1–3`; an en dash where there is none."""
    if cell is None or cell.rank_low is None:
        return MISSING
    return str(cell.rank_low) if cell.rank_low == cell.rank_high else f"{cell.rank_low}–{cell.rank_high}"


def p_value(p: float | None) -> str:
    """A p-value to three decimals."""
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def standing(cell: Cell) -> str:
    """What stands behind a rank, in words; nothing where there is none."""
    if cell.rank_low is None:
        return ""
    p = "" if cell.p_holm is None else f"p {p_value(cell.p_holm)} against the best mean (Holm)"
    first = "" if cell.first_share is None else f"first in {percent(cell.first_share)} of the draws"
    return "; ".join(part for part in (p, first) if part)


def _span(counts: Iterable[int | None]) -> str:
    known = sorted({c for c in counts if c is not None})
    if not known:
        return "an unknown number of"
    return grouped(known[0]) if len(known) == 1 else f"{grouped(known[0])} to {grouped(known[-1])}"


def leaderboard_markdown(
    leaderboard: pd.DataFrame,
    systems: Sequence[SystemInfo],
    metrics: Sequence[MetricInfo],
    *,
    statistics: Statistics,
    baseline: str = "unprocessed",
) -> str:
    """Tables of scores and of gains over `baseline`, rounded as on the page, and of ranks and means as delivered where
    there are any, with the caption beneath.
    """
    rows = cells(leaderboard, systems, metrics)
    lines = ordered(systems, metrics[0], rows)
    notes = "\n".join(f"- {text}" for text in caption(rows, statistics, baseline, metrics))
    few = [r.n_clusters for r in rows if r.n_clusters is not None and r.n_clusters < statistics.minimum_clusters]
    if few:
        notes += (
            f"\n- Intervals in italics rest on fewer than {statistics.minimum_clusters} clusters: do not lean on them."
        )
    scores = _markdown_table(rows, lines, metrics, lambda m, c, best: _score_text(m, c, best, statistics))
    gains = _markdown_table(
        rows, [s for s in lines if s.name != baseline], metrics, lambda m, c, _best: _gain_text(m, c)
    )
    parts = [scores, f"Gain over {_escaped(baseline)} (Δ):", gains]
    entered = [s for s in lines if not s.anchor]
    if any(r.rank_low is not None for r in rows):
        parts += [_RANK_HEAD, _markdown_table(rows, entered, metrics, lambda _m, c, _best: _rank_text(c))]
    if delivered_differ(rows):
        parts += ["As delivered:", _markdown_table(rows, lines, metrics, lambda m, c, _best: _delivered_text(m, c))]
    return "\n\n".join([*parts, notes]) + "\n"


_RANK_HEAD = "Rank (p: against the best mean, Holm; first: share of the bootstrap draws):"
CellText = Callable[[MetricInfo, "Cell | None", bool], str]


def _markdown_table(
    rows: Sequence[Cell], lines: Sequence[SystemInfo], metrics: Sequence[MetricInfo], text: CellText
) -> str:
    board = {(r.system, r.metric): r for r in rows}
    best = {m.name: best_systems(lines, m, rows) for m in metrics}
    head = ["System", *(f"{_escaped(m.title)}{f' ({m.unit})' if m.unit else ''} {_arrow(m)}" for m in metrics)]
    table = [head, [":--", *["--:"] * len(metrics)]]
    for system in lines:
        label = f"*{_escaped(system.name)}* (reference)" if system.anchor else _escaped(system.name)
        shown = [text(m, board.get((system.name, m.name)), system.name in best[m.name]) for m in metrics]
        table.append([label, *shown])
    return "\n".join("| " + " | ".join(line) + " |" for line in table)


def _score_text(metric: MetricInfo, cell: Cell | None, best: bool, statistics: Statistics) -> str:
    if cell is None or cell.mean is None:
        return MISSING
    places = decimals_shown(cell.ci_low, cell.ci_high, metric.decimals)
    mean = number(cell.mean, places)
    interval = f"[{number(cell.ci_low, places)}, {number(cell.ci_high, places)}]"
    if cell.n_clusters is not None and cell.n_clusters < statistics.minimum_clusters:
        interval = f"*{interval}*"
    counts = "; ".join([f"n {number(cell.n, 0)}, {percent(cell.coverage)}", *failures(cell)])
    return f"{f'**{mean}**' if best else mean} {interval} ({counts})"


def _gain_text(metric: MetricInfo, cell: Cell | None) -> str:
    if cell is None or cell.delta is None:
        return MISSING
    places = decimals_shown(cell.delta_low, cell.delta_high, metric.decimals)
    low, high = (number(v, places, signed=True) for v in (cell.delta_low, cell.delta_high))
    return f"{number(cell.delta, places, signed=True)} [{low}, {high}]"


def _rank_text(cell: Cell | None) -> str:
    if cell is None or cell.rank_low is None:
        return MISSING
    p = "" if cell.p_holm is None else f"p {p_value(cell.p_holm)}".replace("<", "&lt;")
    first = "" if cell.first_share is None else f"first {percent(cell.first_share)}"
    why = ", ".join(part for part in (p, first) if part)
    return f"{rank(cell)} ({why})" if why else rank(cell)


def _delivered_text(metric: MetricInfo, cell: Cell | None) -> str:
    if cell is None or cell.delivered is None:
        return MISSING
    places = decimals_shown(cell.ci_low, cell.ci_high, metric.decimals)
    return f"{number(cell.delivered, places)} (n {number(cell.n_delivered, 0)})"


def _arrow(metric: MetricInfo) -> str:
    return "↑" if metric.better == "higher" else "↓"


def _escaped(text: str) -> str:
    """`text` as literal Markdown inside a table cell: no markup, no HTML, one line."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~!" else c for c in flat)
