"""The data card: what a dataset holds, requested beside achieved, and what was left out, as one page.

Conventions
    `rows` holds scalar manifest columns, one line per mixture; a column that is absent or all null is named as not
    recorded, never drawn as zero. Every histogram says how many rows it shows and how many have no value, so that
    totals can be checked against the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from reports import figures, tables
from reports.page import environment

__all__ = ["Card", "build_card"]

_SNR_TOLERANCE_DB = 0.1  # what generation promises after everything, by the recipe's own definition of SNR
_RT60_TOLERANCE = 0.10  # relative
_MOST_CATEGORIES = 20

_MEASURES = [
    # column, what was requested, title, label of the axis, decimals
    ("snr_db", "snr_requested_db", "SNR", "SNR (dB)", 2),
    ("level_dbfs", None, "Level", "Level (dBFS)", 1),
    ("rt60_s", "rt60_requested_s", "Reverberation time", "RT60 (s)", 3),
    ("drr_db", None, "Direct-to-reverberant ratio", "DRR (dB)", 1),
    ("distance_m", None, "Distance of the first talker", "Distance (m)", 2),
    ("duration_s", None, "Duration", "Duration (s)", 2),
    ("gain_db", None, "Common gain", "Gain (dB)", 1),
]
_CATEGORIES = [
    ("language", "Languages"),
    ("noise_class", "Noise classes"),
    ("gain_reason", "Reasons for a common gain"),
    ("rt60_status", "Whether simulated rooms have the RT60 asked for"),
    ("array_preset", "Arrays of microphones"),
    ("noise_place", "Where the noises are"),
]


@dataclass(frozen=True, kw_only=True)
class Card:
    """All of the card.

    `splits` has `split`, `rows`, `hours` and any further columns to print; `licences` counts by licence. `dropped` and
    `failed` are those tables' rows (`stage`, `reason`, `message`), `leaks` that table's (`kind`, `key`, `splits`,
    `rows`).
    """

    name: str
    digest: str
    splits: pd.DataFrame
    rows: pd.DataFrame
    licences: pd.Series[int]
    dropped: pd.DataFrame
    leaks: pd.DataFrame
    versions: Mapping[str, str]
    failed: pd.DataFrame = field(default_factory=pd.DataFrame)
    synthetic: bool = False


@dataclass(frozen=True)
class Share:
    label: str
    count: int
    share: float


@dataclass(frozen=True)
class Measure:
    """One histogram with its summary. `gap` is the largest difference from what was requested."""

    title: str
    chart: Markup
    summary: str
    compared: bool
    gap: str | None


@dataclass(frozen=True)
class Refusal:
    stage: str
    reason: str
    count: int
    message: str | None


@dataclass(frozen=True)
class Worst:
    """The largest value of a column, and the mixture it belongs to."""

    value: float
    mixture_id: str | None


def build_card(card: Card) -> dict[str, bytes]:
    """The card as `index.html`."""
    absent = [name for name in ("split", "rows", "hours") if name not in card.splits.columns]
    if absent:
        raise ValueError(f"the frame of splits lacks the columns {', '.join(absent)}")
    html = (
        environment()
        .get_template("card.html.j2")
        .render(
            card=card,
            splits=_split_table(card.splits),
            measures=[m for m in (_measure(card.rows, *spec) for spec in _MEASURES) if m],
            categories=[(title, _shares(_counts(card.rows, column))) for column, title in _CATEGORIES],
            licences=_shares(card.licences),
            unrecorded=_unrecorded(card.rows),
            residual=_worst(card.rows, "residual_dbfs"),
            peak=_worst(card.rows, "peak"),
            dropped=_refusals(card.dropped),
            failed=_refusals(card.failed),
            leaks=[_leak(values) for values in card.leaks.to_dict("records")],
            warnings=_warnings(card),
            total=len(card.rows),
        )
    )
    return {"index.html": html.encode()}


def _numbers(rows: pd.DataFrame, column: str | None) -> npt.NDArray[np.float64]:
    """The column as floats, NaN where it has none."""
    if column is None or column not in rows.columns:
        return np.full(len(rows), np.nan)
    return pd.to_numeric(rows[column], errors="raise").to_numpy(dtype=np.float64, na_value=np.nan)


def _measure(
    rows: pd.DataFrame, column: str, requested: str | None, title: str, label: str, places: int
) -> Measure | None:
    values, wanted = _numbers(rows, column), _numbers(rows, requested)
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    compared = bool(np.isfinite(wanted).any())
    chart = figures.histogram(
        values,
        compared=wanted if compared else None,
        name=f"histogram-{column}",
        title=f"Histogram of {label} over {known.size} mixtures{', achieved and requested' if compared else ''}",
        x_label=label,
    )
    return Measure(title, chart, _summary(known, values.size, places), compared, _gap(values, wanted, places))


def _summary(known: npt.NDArray[np.float64], total: int, places: int) -> str:
    low, p5, middle, p95, high = (
        tables.number(v, places) for v in np.quantile(known, [0, 0.05, 0.5, 0.95, 1]).tolist()
    )
    text = f"n {tables.grouped(known.size)}; median {middle}; 5 to 95 %: {p5} to {p95}; all: {low} to {high}"
    missing = total - known.size
    return text + (f"; {tables.grouped(missing)} without a value" if missing else "")


def _gap(values: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], places: int) -> str | None:
    difference = _difference(values, wanted)
    if not difference.size:
        return None
    largest = tables.number(float(difference.max()), places)
    return f"largest difference {largest} over {tables.grouped(difference.size)} rows"


def _difference(values: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    difference = np.abs(values - wanted)
    return difference[np.isfinite(difference)]


def _counts(rows: pd.DataFrame, column: str) -> pd.Series[int]:
    if column not in rows.columns:
        return pd.Series(dtype="int64")
    return rows[column].dropna().astype(str).value_counts()


def _shares(counts: pd.Series[int]) -> list[Share]:
    """Most frequent first, ties by name; the tail beyond 20 summed up."""
    pairs = sorted(((str(k), int(v)) for k, v in counts.items()), key=lambda p: (-p[1], p[0]))
    head, tail = pairs[:_MOST_CATEGORIES], pairs[_MOST_CATEGORIES:]
    if tail:
        head.append((f"{len(tail)} others", sum(v for _, v in tail)))
    total = max(sum(v for _, v in pairs), 1)
    return [Share(label, count, count / total) for label, count in head]


def _unrecorded(rows: pd.DataFrame) -> list[str]:
    titles = [(column, title) for column, _, title, _, _ in _MEASURES] + _CATEGORIES
    return [title for column, title in titles if column not in rows.columns or rows[column].isna().all()]


def _worst(rows: pd.DataFrame, column: str) -> Worst | None:
    values = _numbers(rows, column)
    if not np.isfinite(values).any():
        return None
    at = int(np.nanargmax(values))
    name = str(rows["mixture_id"].iloc[at]) if "mixture_id" in rows.columns else None
    return Worst(float(values[at]), name)


def _refusals(frame: pd.DataFrame) -> list[Refusal]:
    """Counts by stage and reason, each with the first message as an example."""
    if not len(frame):
        return []
    return [
        Refusal(str(stage), str(reason), len(group), _first(group))
        for (stage, reason), group in frame.groupby(["stage", "reason"], sort=True)
    ]


def _first(group: pd.DataFrame) -> str | None:
    messages = group["message"].dropna().tolist() if "message" in group.columns else []
    return str(messages[0]) if messages else None


def _leak(values: Mapping[Any, Any]) -> dict[str, Any]:
    splits = values["splits"]
    joined = splits if isinstance(splits, str) else ", ".join(str(s) for s in splits)
    return {"kind": values["kind"], "key": values["key"], "splits": joined, "rows": int(values["rows"])}


def _split_table(splits: pd.DataFrame) -> dict[str, Any]:
    extra = [str(name) for name in splits.columns if name not in ("split", "rows", "hours")]
    lines = [
        {"split": v["split"], "rows": int(v["rows"]), "hours": float(v["hours"]), "extra": [v[name] for name in extra]}
        for v in splits.to_dict("records")
    ]
    return {
        "extra": extra,
        "lines": lines,
        "rows": sum(x["rows"] for x in lines),
        "hours": sum(x["hours"] for x in lines),
    }


def _warnings(card: Card) -> list[str]:
    return [*_total_warnings(card), *_promise_warnings(card.rows), *_peak_warnings(card.rows)]


def _total_warnings(card: Card) -> Sequence[str]:
    out = []
    total = int(card.splits["rows"].sum())
    if total != len(card.rows):
        out.append(f"The splits count {total} rows, the manifest has {len(card.rows)}.")
    if len(card.leaks):
        out.append(f"{len(card.leaks)} leaks between splits: see below. Scores on the test split are not trustworthy.")
    if len(card.failed):
        out.append(f"{len(card.failed)} rows failed: something unexpected happened while they were made.")
    return out


def _promise_warnings(rows: pd.DataFrame) -> Sequence[str]:
    """Requested against achieved, with the tolerances that generation promises."""
    snr = _difference(_numbers(rows, "snr_db"), _numbers(rows, "snr_requested_db"))
    wanted = _numbers(rows, "rt60_requested_s")
    rt60 = _difference(_numbers(rows, "rt60_s") / wanted, wanted / wanted)
    out = []
    if (off := int((snr > _SNR_TOLERANCE_DB).sum())) > 0:
        out.append(f"{off} of {snr.size} mixtures miss the requested SNR by more than {_SNR_TOLERANCE_DB} dB.")
    if (off := int((rt60 > _RT60_TOLERANCE).sum())) > 0:
        out.append(f"{off} of {rt60.size} mixtures miss the requested RT60 by more than {_RT60_TOLERANCE:.0%}.")
    return out


def _peak_warnings(rows: pd.DataFrame) -> Sequence[str]:
    clipped = int((_numbers(rows, "peak") >= 1).sum())
    return [f"{clipped} mixtures reach full scale: they may be clipped."] if clipped else []
