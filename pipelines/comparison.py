"""What the comparisons of `hubbub compare` share: sides joined by id, numbers with intervals, and how they are shown.

Conventions
    A reference and the estimates of one or more systems are tables (`manifests.tables`), joined by id and never by
    position. What is on a system's side only is not scored, and named. `value` is null where there is no number;
    `status` and `reason` then say why, as in a score row, and `floor` is what an estimate gets that cannot be scored at
    all. `low` and `high` are the ends of the 95 % percentile interval of the bootstrap over clusters. Differences
    between systems are paired: `p` is that of sign flips over clusters, `p_holm` corrects for the number of pairs.
    There is no `p` where a metric is no ratio of sums with a denominator that all systems share.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import statistics
from eval.catalogue import METRICS
from eval.outcome import EstimateFault, Unscorable
from manifests import ids, tables
from manifests.errors import UserError
from manifests.tables import Table

__all__ = [
    "MISSING",
    "USUAL",
    "Comparison",
    "Floats",
    "Row",
    "Sides",
    "attempt",
    "chosen_metrics",
    "clusters_of",
    "differences",
    "in_json",
    "input_row",
    "interval",
    "none",
    "opened",
    "ordered",
    "rendered",
    "some",
    "warn_if_few",
]

Floats = NDArray[np.float64]
Row = dict[str, Any]

MISSING = "(missing)"
"""The column of a confusion matrix for items without an estimate."""

USUAL: Mapping[str, tuple[str, ...]] = {
    "id": ("mixture_id", "utterance_id", "item_id"),
    "text": ("transcript", "sentence"),
    "hypothesis": ("text", "transcript", "sentence"),
    "label": (),
    "score": (),
    "recording": ("recording_id",),
    "frame": (),
    "class": ("label",),
    "azimuth_deg": ("azimuth",),
    "elevation_deg": ("elevation",),
    "onset_s": ("onset",),
    "offset_s": ("offset",),
    "pitch_hz": ("pitch",),
    "snr_db": ("snr",),
    "n_correct": (),
    "n_total": (),
    "condition": (),
    "system": ("system_id",),
}
"""Ours -> what tables call it."""


@dataclass
class Comparison:
    """What a comparison found. `rows` has one entry per system and metric, `items` one per item of these, `pairs` one
    per metric and two systems; `inputs` says of each file what became of its rows.
    """

    task: str
    settings: Row = field(default_factory=dict)
    inputs: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    pairs: list[Row] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)
    confusion: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> Row:
        """For JSON."""
        return dataclasses.asdict(self)


# --------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Sides:
    """The reference and, by name, the systems."""

    reference: Table
    systems: Mapping[str, Table]

    @property
    def names(self) -> list[str]:
        return list(self.systems)


def opened(
    reference: str,
    estimates: Sequence[str],
    *,
    ours: Sequence[str],
    theirs: Sequence[str] | None = None,
    column: Mapping[str, str],
    bare: bool = False,
    may_be_empty: bool = False,
) -> Sides:
    """Both sides with our names. `ours` are the columns of the reference, `theirs` those of estimates."""
    if not estimates:
        raise UserError("nothing to compare with: give one or more tables of estimates, FILE or NAME=FILE")
    theirs = theirs or ours
    known = {name for mine in {*ours, *theirs} for name in (mine, *USUAL[mine])} | set(column.values())
    first = tables.read(reference, bare=ours[:2] if bare else (), known=known)
    names = theirs[:2] if bare else ()
    rest = {
        name: tables.read(uri, bare=names, known=known, may_be_empty=may_be_empty)
        for name, uri in _systems(estimates).items()
    }
    tables.check_mapping(column, [*ours, *theirs], [first, *rest.values()])
    return Sides(
        first.named(_picked(column, ours), {name: USUAL[name] for name in ours}),
        {n: t.named(_picked(column, theirs), {name: USUAL[name] for name in theirs}) for n, t in rest.items()},
    )


def _picked(column: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    return {ours: name for ours, name in column.items() if ours in wanted}


def _systems(given: Sequence[str]) -> dict[str, str]:
    """Files by name: NAME=FILE, or a file whose name is its own."""
    found: dict[str, str] = {}
    for spec in given:
        name, equals, uri = spec.partition("=")
        if not (equals and name and uri) or os.path.exists(spec):
            name, uri = os.path.splitext(os.path.basename(spec))[0], spec
        if name in found:
            raise UserError(f"two systems are called '{name}' ({found[name]} and {uri}); write NAME=FILE")
        found[name] = uri
    return found


def chosen_metrics(given: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in given:
        if name not in known:
            raise UserError(f"--metric {name}: not a metric of this task{ids.nearest(name, known)}")
    return list(dict.fromkeys(given))


def clusters_of(table: Table, kept: Sequence[int], cluster: str | None, what: str, out: Comparison) -> NDArray[np.intp]:
    """A number per kept row, equal within a cluster; a row with an empty cell is a cluster by itself."""
    out.settings["cluster"] = cluster
    if cluster is None:
        out.notes.append(f"intervals take {what} as independent; name what they share with --cluster COLUMN")
        return np.arange(len(kept))
    table.need(cluster)
    labels = table.texts(cluster)
    alone = sum(not labels[index] for index in kept)
    if alone:
        out.notes.append(f"{table.uri}: {alone} rows have no '{cluster}' and are clusters by themselves")
    keys = [("its own", str(i)) if not labels[i] else ("named", str(labels[i])) for i in kept]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.intp)


def input_row(
    table: Table, system: str | None, dropped: Mapping[str, Sequence[str]], missing: Sequence[str] = ()
) -> Row:
    """What became of a file's rows; `missing` are the reference's ids that it lacks."""
    left_out = {reason: list(names) for reason, names in dropped.items() if names}
    rows = len(table)
    return {
        "file": table.uri,
        "system": system,
        "rows": rows,
        "used": rows - sum(map(len, left_out.values())),
        "dropped": left_out,
        "missing": list(missing),
        "headerless": table.headerless,
    }


# --------------------------------------------------------------------------------------------------------- numbers


def attempt(metric: str, function: Callable[..., float], *arguments: Any) -> Row:
    """What `function` gives for `arguments`, or why it gives nothing."""
    try:
        return some(function(*arguments))
    except EstimateFault as fault:
        return {"value": METRICS[metric].floor, "status": fault.status, "reason": fault.reason}
    except Unscorable as fault:
        return {"value": None, "status": fault.status, "reason": fault.reason}


def some(value: float) -> Row:
    return {"value": float(value), "status": "ok", "reason": None}


def none(status: str, reason: str) -> Row:
    return {"value": None, "status": status, "reason": reason}


def interval(drawn: Floats | None, clusters: int) -> Row:
    """The ends of the interval of one column of draws; none from a single cluster."""
    known = np.empty(0) if drawn is None else drawn[np.isfinite(drawn)]
    if clusters < 2 or not known.size:
        return {"low": None, "high": None}
    low, high = statistics.percentile_interval(known[:, None])
    return {"low": float(low[0]), "high": float(high[0])}


def differences(
    metric: str, names: Sequence[str], values: Sequence[float | None], drawn: Floats, clusters: int, sums: Floats | None
) -> list[Row]:
    """Differences between every two systems that have a value: `drawn` is (draws, systems), `sums` (clusters, systems)
    are numerators over the same denominators.
    """
    found = [(i, j) for i, j in statistics.pairs_of(len(names)) if values[i] is not None and values[j] is not None]
    if not found:
        return []
    left, right = [i for i, _ in found], [j for _, j in found]
    p: list[float | None] = [None] * len(found)
    corrected = list(p)
    if sums is not None and clusters >= 2:
        draws = statistics.flips_needed(len(found))
        raw = statistics.sign_flip(sums[:, left] - sums[:, right], draws=draws)
        p, corrected = [float(v) for v in raw], [float(v) for v in statistics.holm(raw)]
    return [
        {
            "metric": metric,
            "first": names[i],
            "second": names[j],
            "difference": (values[i] or 0.0) - (values[j] or 0.0),
            **interval(drawn[:, i] - drawn[:, j], clusters),
            "p": p[k],
            "p_holm": corrected[k],
        }
        for k, (i, j) in enumerate(found)
    ]


def warn_if_few(clusters: int, out: Comparison) -> None:
    if clusters < statistics.MINIMUM_CLUSTERS:
        line = f"only {clusters} clusters: intervals are too narrow, and differences need more to be called significant"
        if line not in out.notes:
            out.notes.append(line)


def ordered(labels: Iterable[str]) -> list[str]:
    """Numbers by size, then names."""
    return sorted(labels, key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0, label))


# --------------------------------------------------------------------------------------------------------- printing

_HIDDEN = ("low", "high", "hits", "by_class", "undefined", "normaliser", "n_clusters", "unit")
_SHORT = {"substitutions": "S", "deletions": "D", "insertions": "I", "mean_of_utterances": "mean of utterances"}
_NAMED = 5  # names in a line, the rest as a number


def in_json(found: Comparison) -> str:
    """A comparison as one JSON object."""
    return json.dumps(found.plain(), ensure_ascii=False, allow_nan=False)


def rendered(found: Comparison) -> str:
    """A comparison as people read it."""
    blocks = [_table(f"{found.task}", found.rows)]
    if found.confusion:
        blocks += _confusion_tables(found.confusion)
    if found.pairs:
        blocks.append(_table("differences", found.pairs))
    lines = [line for each in found.inputs for line in _said(each)]
    stamps = dict.fromkeys(row["normaliser"] for row in found.rows if "normaliser" in row)
    if stamps:
        lines.append(f"normaliser: {', '.join(stamps)}")
    return "\n".join([*blocks, *lines, *found.notes])


def _said(each: Row) -> list[str]:
    """What a reader must know of a file: rows that were not used, ids that it lacks."""
    out = []
    if each["headerless"]:
        out.append(f"{each['file']}: read as a table without a header line")
    for reason, names in each["dropped"].items():
        rows = each["rows"] - each["used"]
        out.append(f"{each['file']}: {rows} of {each['rows']} rows not used, {reason}: {_listed(names)}")
    if each["missing"]:
        out.append(
            f"{each['file']}: {len(each['missing'])} of the reference missing, which counts: {_listed(each['missing'])}"
        )
    return out


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _table(title: str, rows: Sequence[Row]) -> str:
    """Rows as a table; columns that are empty throughout are left out."""
    columns = [c for c in dict.fromkeys(name for row in rows for name in row) if c not in _HIDDEN]
    columns = [c for c in columns if any(row.get(c) not in (None, False) for row in rows)]
    if all(row.get("status", "ok") == "ok" for row in rows):
        columns = [c for c in columns if c != "status"]
    ends = {c: _ends(c) for c in columns if any(_ends(c)[0] in row for row in rows)}
    columns = [c for c in columns if not any(c in pair for pair in ends.values())]
    header, cells = [], [[] for _ in rows]  # type: tuple[list[str], list[list[str]]]
    for name in columns:
        header.append(_SHORT.get(name, name.replace("_", " ")))
        for line, row in zip(cells, rows, strict=True):
            line.append(_cell(row.get(name)))
        if name in ends:
            header.append("95 % interval")
            for line, row in zip(cells, rows, strict=True):
                low, high = (row.get(end) for end in ends[name])
                line.append("-" if low is None and high is None else f"{_cell(low)} to {_cell(high)}")
    return _drawn_table(title, header, cells)


def _ends(column: str) -> tuple[str, str]:
    """Columns with the interval of another column."""
    return ("low", "high") if column in ("value", "difference") else (f"{column}_low", f"{column}_high")


def _confusion_tables(cells: Sequence[Row]) -> list[str]:
    out = []
    for name in dict.fromkeys(cell["system"] for cell in cells):
        mine = {(c["reference"], c["estimate"]): c["n"] for c in cells if c["system"] == name}
        labels = ordered({label for pair in mine for label in pair} - {MISSING})
        across = [*labels, *([MISSING] if any(said == MISSING for _, said in mine) else [])]
        lines = [[label, *(str(mine.get((label, said), 0)) for said in across)] for label in labels]
        out.append(_drawn_table(f"{name}: reference in rows, estimate in columns", ["", *across], lines))
    return out


def _drawn_table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(box=box.SIMPLE_HEAD, header_style="")
    for place, name in enumerate(header):
        numeric = bool(lines) and all(line[place][:1] in "-0123456789" for line in lines)
        drawn.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for line in lines:
        drawn.add_row(*line)
    out = io.StringIO()
    Console(file=out, width=1000, color_system=None, markup=False, highlight=False, emoji=False).print(drawn)
    return "\n".join([title, *(line.rstrip() for line in out.getvalue().splitlines() if line.strip())])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2g}"
    return str(value)
