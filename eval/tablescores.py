"""Scores of a table's rows, made of other metrics' means: the DNS-5 score, the SELD error, PRISM.

Conventions
    Inputs are the numbers of one system, as the leaderboard shows them. `TABLE_SCORES` says each formula in words. A
    table-relative score depends on which systems are in the table: adding one changes all the others, so it is a
    column of one table, never a property of a system. `Prism` therefore carries the systems that entered and the
    range of every metric beside the scores.

dns5_score  ((OVRL - 1) / 4 + WAcc) / 2. ICASSP 2023 Deep Noise Suppression Challenge, final results.
seld_error  (ER_20 + (1 - F1_20) + LE_CD / 180 + (1 - LR_CD)) / 4. Politis et al. (2020), DCASE task 3.
prism       every metric to 0..1 by its least and greatest value in the table; I, D, N the means of the groups
            intrusive, DNSMOS and NISQA; (I + (D + N) / 2) / 2. DPDFNet (2025), section IV-C.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PRISM_GROUPS", "TABLE_SCORES", "Prism", "TableScore", "dns5_score", "prism", "seld_error"]

Table = Mapping[str, Mapping[str, float | None]]

PRISM_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "intrusive": ("pesq_wb", "stoi", "si_snr"),
        "dnsmos": ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808"),
        "nisqa": ("nisqa_mos", "nisqa_noi", "nisqa_dis", "nisqa_col", "nisqa_loud"),
    }
)
"""The columns of PRISM by group; in each, higher is better."""


@dataclass(frozen=True, kw_only=True)
class TableScore:
    """What a composite score is: the columns it needs, and its formula in words."""

    name: str
    title: str
    formula: str
    needs: tuple[str, ...]
    low: float
    high: float
    better: str  # higher | lower
    table_relative: bool
    paper: str


@dataclass(frozen=True, kw_only=True)
class Prism:
    """PRISM of one table. It holds for this table only.

    `scores` has every system of the table, None where `reasons` says why; `systems` are those that entered;
    `ranges` gives (least, greatest) of every metric over them; `constant` names the metrics without a range, which
    do not count.
    """

    scores: Mapping[str, float | None]
    reasons: Mapping[str, str]
    systems: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    constant: tuple[str, ...]


_ALL = (
    TableScore(
        name="dns5_score",
        title="DNS-5 score",
        formula="half the sum of overall quality (OVRL, moved from 1..5 to 0..1) and word accuracy (1 - WER)",
        needs=("ovrl", "wacc"),
        low=-math.inf,
        high=1.0,
        better="higher",
        table_relative=False,
        paper="ICASSP 2023 Deep Noise Suppression Challenge",
    ),
    TableScore(
        name="seld_error",
        title="SELD error",
        formula="the mean of the error rate at 20 degrees, 1 minus the F1 at 20 degrees, the localisation error as a "
        "share of 180 degrees, and 1 minus the localisation recall",
        needs=("er_20", "f1_20", "le_cd_deg", "lr_cd"),
        low=0.0,
        high=math.inf,
        better="lower",
        table_relative=False,
        paper="Politis, Mesaros, Adavanne, Heittola and Virtanen (2020)",
    ),
    TableScore(
        name="prism",
        title="PRISM",
        formula="every metric is moved to 0..1 by its least and greatest value in this table and averaged within the "
        "groups intrusive, DNSMOS and NISQA; then the mean of the intrusive group and the mean of the other two",
        needs=tuple(name for group in PRISM_GROUPS.values() for name in group),
        low=0.0,
        high=1.0,
        better="higher",
        table_relative=True,
        paper="DPDFNet: Boosting DeepFilterNet2 via Dual-Path RNN (2025), section IV-C",
    ),
)

TABLE_SCORES: Mapping[str, TableScore] = MappingProxyType({score.name: score for score in _ALL})


def dns5_score(*, ovrl: float, wacc: float) -> float:
    """The DNS-5 score of one system. `ovrl` is the mean opinion of the whole, 1..5; `wacc` is 1 - WER as a fraction,
    negative where the WER is above 1.
    """
    _check("ovrl", ovrl, low=1, high=5)
    _check("wacc", wacc, high=1)
    return ((ovrl - 1) / 4 + wacc) / 2


def seld_error(*, er_20: float, f1_20: float, le_cd_deg: float, lr_cd: float) -> float:
    """The SELD error of one system, 0 for a perfect one and 1 for one that reports nothing. `f1_20` and `lr_cd` are
    fractions; the error rate `er_20` may exceed 1.
    """
    _check("er_20", er_20, low=0)
    _check("f1_20", f1_20, low=0, high=1)
    _check("le_cd_deg", le_cd_deg, low=0, high=180)
    _check("lr_cd", lr_cd, low=0, high=1)
    return (er_20 + (1 - f1_20) + le_cd_deg / 180 + (1 - lr_cd)) / 4


def prism(table: Table, *, groups: Mapping[str, Sequence[str]] = PRISM_GROUPS) -> Prism:
    """PRISM of every system of `table`, which maps systems to their metrics. `groups` names the columns of the groups
    `intrusive`, `dnsmos` and `nisqa`; in each, higher is better.

    A system without one of the metrics (no such key, None or NaN) does not enter, neither with a score nor with its
    share of the ranges. A metric that is the same for all that entered orders nobody and is left out of its group's
    mean. A group of such metrics leaves no score, as in a table of one system.
    """
    if set(groups) != set(PRISM_GROUPS):
        raise ValueError(f"groups must be {', '.join(PRISM_GROUPS)}, got {', '.join(groups)}")
    metrics = [name for group in groups.values() for name in group]
    reasons = {system: f"missing:{gap}" for system, row in table.items() if (gap := _gap(row, metrics))}
    rows = {system: _numbers(row, metrics) for system, row in table.items() if system not in reasons}
    ranges = {name: _range([row[name] for row in rows.values()]) for name in metrics} if rows else {}
    constant = tuple(name for name, (low, high) in ranges.items() if _same(low, high))
    flat = next((group for group, names in groups.items() if set(names) <= set(constant)), None)
    if flat is not None:
        reasons |= dict.fromkeys(rows, f"constant:{flat}")
    return Prism(
        scores={s: None if s in reasons else _prism_of(rows[s], ranges, constant, groups) for s in table},
        reasons=reasons,
        systems=tuple(rows),
        ranges=ranges,
        constant=constant,
    )


def _prism_of(
    row: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    constant: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> float:
    mean = {}
    for group, names in groups.items():
        placed = [_placed(row[name], *ranges[name]) for name in names if name not in constant]
        mean[group] = sum(placed) / len(placed)
    return (mean["intrusive"] + (mean["dnsmos"] + mean["nisqa"]) / 2) / 2


def _placed(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _same(low: float, high: float) -> bool:
    """Whether two means differ by rounding alone, which a division by the range would blow up to 0 and 1."""
    return math.isclose(low, high, rel_tol=1e-12)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _gap(row: Mapping[str, float | None], metrics: Sequence[str]) -> str | None:
    """The first metric that the row has no number for."""
    for name in metrics:
        value = row.get(name)
        if value is None or math.isnan(value):
            return name
    return None


def _numbers(row: Mapping[str, float | None], metrics: Sequence[str]) -> dict[str, float]:
    numbers = {}
    for name in metrics:
        value = row[name]
        assert value is not None
        _check(name, value)
        numbers[name] = float(value)
    return numbers


def _check(name: str, value: float, *, low: float = -math.inf, high: float = math.inf) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        rule = "finite" if math.isinf(low) and math.isinf(high) else f"finite and within [{low:g}, {high:g}]"
        raise ValueError(f"{name} must be {rule}, got {value}")
