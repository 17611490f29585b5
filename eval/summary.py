"""Leaderboards from score rows: aggregates over the items that every system is judged on, with intervals and ranks.

Conventions
    `scores` has the columns of `manifests.schema.Score` plus `system`, the name by which rows are compared;
    `conditions` has one row per `mixture_id`. An item is a (mixture_id, output). A metric is given by its name in the
    catalogue, or as a `Metric`. Intervals are 95 %. A cell without a number is None, so the columns of numbers have
    dtype object.

What is aggregated
    Means of the stored values (dB metrics: mean of dB), all items alike or, with `weight`, in proportion to a
    condition: with `duration_s` the delta of `sdr` is GNSDR, sum(len_i delta_i) / sum(len_i), of Hsu and Jang (2010).
    A metric whose `aggregate` is `pooled` is a rate, sum(errors) / sum(total) over the rows' `counts` (where higher is
    better, one less that rate); its weights are its totals, whatever `weight` says.

Which items, and at what price
    An item is left out of a metric, for every system, where its reference is unusable (`excluded_ref`, `too_short` for
    any system) or where no system was scored and a library failed (`error`, `crashed`, `timeout`), and out of a pooled
    metric where no row says how much there was to get right. All other items count for all systems: a failure on an
    item that another system was scored on costs the metric's floor, and so does a row that is not there; for a pooled
    metric, as many errors as the item has words. `as_delivered` is the table without this rule: every system on the
    items it has a number for, which rewards a system for failing on hard ones.

Intervals, tests and ranks are those of `eval.statistics`, over clusters (speakers by default). The pairs of systems of
one metric are one family of tests; with bins, the pairs of all its bins are.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval import catalogue
from eval.catalogue import Metric
from eval.statistics import (
    DRAWS,
    Clustered,
    Standing,
    better_share,
    cluster_bootstrap,
    first_share,
    flips_needed,
    holm,
    pairs_of,
    percentile_interval,
    sign_flip,
    standing,
    wilcoxon,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BASELINE",
    "MINIMUM_BIN_CLUSTERS",
    "MINIMUM_ITEMS",
    "ORDER",
    "CommonSet",
    "as_delivered",
    "by_bin",
    "check_order",
    "cluster_bootstrap",
    "cluster_codes",
    "common_set",
    "leaderboard",
    "pairs",
]

BASELINE = "unprocessed"
ORDER = ("silence", "unprocessed", "oracle")
UNKNOWN = "unknown"
MINIMUM_ITEMS = 20
MINIMUM_BIN_CLUSTERS = 3
"""A bin with fewer items or clusters is flagged as sparse: it has means, but takes no part in tests and ranks."""

_SCORED = frozenset({"ok", "ok_len"})
_NUMBER = _SCORED | {"floor"}
_EXCLUDED = frozenset({"excluded_ref", "too_short"})
_FAILED = frozenset({"error", "crashed", "timeout"})
_STATUSES = _NUMBER | _EXCLUDED | _FAILED | {"missing"}
_KEY = ["system", "mixture_id", "output", "metric"]
_COUNTED = ("n", "n_ok", "n_floor", "n_excluded", "n_clusters")
_MEASURED = ("mean", "ci_low", "ci_high", *_COUNTED, "coverage", "median", "p10")
_COMPARED = ("delta", "delta_ci_low", "delta_ci_high", "improved")
_RANKED = ("rank_low", "rank_high", "tie_group", "p_holm", "first_share")
_COLUMNS = ("system", "metric", "better", *_MEASURED, *_COMPARED, *_RANKED)
_PAIR_COLUMNS = ("metric", "system", "other", "delta", "delta_ci_low", "delta_ci_high", "better_share", "p", "p_holm")
_WHOLE = {"by", "bin", "sparse", "system", "other", "metric", "better", *_COUNTED}  # columns in which nothing is None


@dataclass(frozen=True)
class CommonSet:
    """The items that count for one metric. `values` and `scored` (a genuine score, no floor) are (items, systems).

    An aggregate is the sum of `numerators` (items, systems) over that of `denominators` (items,).
    """

    metric: Metric
    systems: list[str]
    mixture_ids: list[str]
    outputs: list[str]
    values: NDArray[np.float64]
    scored: NDArray[np.bool_]
    excluded: list[tuple[str, str]]
    numerators: NDArray[np.float64]
    denominators: NDArray[np.float64]


@dataclass(frozen=True)
class _Grid:
    """All rows of one metric, as arrays of shape (items, systems); `totals` (items,) are NaN where no row has any."""

    metric: Metric
    systems: list[str]
    items: list[tuple[str, str]]
    status: NDArray[np.object_]
    values: NDArray[np.float64]
    errors: NDArray[np.float64] | None
    totals: NDArray[np.float64] | None


@dataclass(frozen=True)
class _Part:
    """The items of one table: all that count for a metric, or those of a bin."""

    common: CommonSet
    clusters: NDArray[np.intp]
    n_excluded: int
    sparse: bool = False
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def n_clusters(self) -> int:
        return len(np.unique(self.clusters))

    @functools.cached_property
    def data(self) -> Clustered:
        return Clustered.of(self.common.numerators, self.clusters, self.common.denominators)


# ---------------------------------------------------------------------------------------------------------- tables


def leaderboard(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    metrics: Sequence[str | Metric],
    cluster: str = "speaker_id",
    weight: str | None = None,
    unranked: Collection[str] = ORDER,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per (system, metric), best mean first within a metric.

    Columns: system, metric, better (higher or lower), mean (the aggregate), ci_low, ci_high (None below 2 clusters), n
    (items, the same for every system), n_ok, n_floor, n_excluded, n_clusters, coverage (n_ok of all items, the
    excluded ones included), median, p10; against `unprocessed`, None without it: delta (the difference of the
    aggregates, which is that of the items), delta_ci_low, delta_ci_high, improved (the share of items on which the
    system is better, ties half).
    For the systems not in `unranked`, compared with each other: rank_low, rank_high, tie_group and p_holm (against the
    best of them, None for itself) as in `statistics.Standing`, and first_share (of the bootstrap draws).
    An item whose `cluster` is unknown is a cluster of its own.
    """
    records: list[dict[str, Any]] = []
    for metric in metrics:
        part = _whole(scores, conditions, metric, cluster=cluster, weight=weight)
        records += _tables([part], unranked=unranked, draws=draws, seed=seed)
    return _frame(records, _COLUMNS)


def by_bin(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    by: str,
    metrics: Sequence[str | Metric],
    edges: Sequence[float] | None = None,
    cluster: str = "speaker_id",
    weight: str | None = None,
    unranked: Collection[str] = ORDER,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """`leaderboard` within every bin of the condition `by`; three more columns, by, bin and sparse (too few items or
    clusters: no ranks). P-values are corrected for the pairs of all bins of the metric.

    With `edges`, the condition is a number and the bins are half-open, `[-5, 0)`; what lies outside the edges gets
    bins of its own, `(-inf, -5)` and `[20, inf)`. Without, every value is a bin. Items without the condition are
    `unknown`. Bins without items do not appear.
    """
    condition = _column(conditions, by)
    records: list[dict[str, Any]] = []
    for metric in metrics:
        whole = _whole(scores, conditions, metric, cluster=cluster, weight=weight)
        bins = _bins(_of(whole.common.mixture_ids, condition, by), edges)
        lost = _bins(_of([mixture for mixture, _ in whole.common.excluded], condition, by), edges)
        parts = [
            _inside(whole, [b == key for b in bins], lost.count(key), labels={"by": by, "bin": key[1]})
            for key in sorted(set(bins) | set(lost))
        ]
        records += _tables(parts, unranked=unranked, draws=draws, seed=seed)
    return _frame(records, ("by", "bin", "sparse", *_COLUMNS))


def as_delivered(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    metrics: Sequence[str | Metric],
    cluster: str = "speaker_id",
    weight: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Every system on the items for which it has a number (`ok`, `ok_len` or `floor`), whatever the others have.

    Columns: system, metric, better, mean, ci_low, ci_high, n, n_clusters. The rows are not comparable where n differs.
    """
    records = []
    for metric in metrics:
        grid = _grid(scores, metric)
        for index, system in enumerate(grid.systems):
            own = np.isin(grid.status[:, index], list(_NUMBER))
            part = _part(_select(grid, own, [index]), conditions, cluster=cluster, weight=weight)
            (low,), (high,) = _ends(_draws(part, draws, seed), 1)
            row: dict[str, Any] = {"system": system, "metric": grid.metric.name, "better": grid.metric.better}
            row |= {"mean": float(part.data.aggregates[0]) if own.any() else None, "ci_low": low, "ci_high": high}
            records.append(row | {"n": int(own.sum()), "n_clusters": part.n_clusters})
    return _frame(records, ("system", "metric", "better", "mean", "ci_low", "ci_high", "n", "n_clusters"))


def pairs(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    metrics: Sequence[str | Metric],
    cluster: str = "speaker_id",
    weight: str | None = None,
    unranked: Collection[str] = ORDER,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per metric and pair of ranked systems: how they differ, and how sure that is.

    Columns: metric, system, other, delta (system less other) with delta_ci_low and delta_ci_high, better_share (of the
    items on which `system` does better, ties half), p (sign flips), p_holm (corrected within the metric), wilcoxon_p
    (signed ranks of the clusters' differences, for comparison only), n and n_clusters.
    """
    records = []
    for metric in metrics:
        part = _whole(scores, conditions, metric, cluster=cluster, weight=weight)
        ranked = _ranked(part, unranked)
        ((raw, corrected),) = _tested([part], ranked, draws, seed)
        drawn = _draws(part, draws, seed)
        for (i, j), p, p_holm in zip(pairs_of(len(ranked)) if raw.size else (), raw, corrected, strict=True):
            tests = {"p": float(p), "p_holm": float(p_holm)}
            records.append(_pair(part, ranked[i], ranked[j], drawn) | tests)
    return _frame(records, (*_PAIR_COLUMNS, "wilcoxon_p", "n", "n_clusters"))


def check_order(table: pd.DataFrame) -> list[str]:
    """What is wrong with the anchors of a leaderboard: silence must be worse than unprocessed, and that than oracle."""
    violations = []
    for name, part in table.groupby("metric", sort=False):
        means = {str(system): mean for system, mean in zip(part["system"], part["mean"], strict=True)}
        anchors = [(system, float(means[system])) for system in ORDER if means.get(system) is not None]
        sign = 1 if part["better"].iloc[0] == "higher" else -1
        for (worse, low), (better, high) in itertools.pairwise(anchors):
            if not sign * low < sign * high:
                violations.append(f"{name}: {worse} ({low:.4g}) must be worse than {better} ({high:.4g})")
    return violations


# ----------------------------------------------------------------------------------------------------------- items


def common_set(scores: pd.DataFrame, *, metric: str | Metric) -> CommonSet:
    """The headline set of one metric: values with floors filled in, the same items for every system."""
    grid = _grid(scores, metric)
    scored = np.isin(grid.status, list(_SCORED))
    unusable = np.isin(grid.status, list(_EXCLUDED)).any(axis=1)
    hopeless = np.isin(grid.status, list(_FAILED)).any(axis=1) & ~scored.any(axis=1)
    uncounted = np.isnan(grid.totals) if grid.totals is not None else np.zeros(len(grid.items), dtype=bool)
    return _select(grid, ~(unusable | hopeless | uncounted), range(len(grid.systems)))


def _grid(scores: pd.DataFrame, metric: str | Metric) -> _Grid:
    chosen = catalogue.get(metric) if isinstance(metric, str) else metric
    rows = scores[scores["metric"] == chosen.name]
    skipped = rows["status"] == "skipped"  # no verdict: a system that was only skipped is not in this metric's table
    systems = sorted(set(scores["system"]) - (set(rows["system"][skipped]) - set(rows["system"][~skipped])))
    rows = rows[~skipped]
    if rows.empty:
        raise ValueError(f"metrics must have been scored, got {chosen.name!r}, which no row has")
    _check_rows(rows)
    keys = list(zip(rows["mixture_id"], rows["output"], strict=True))
    items = sorted(set(keys))
    place = {item: index for index, item in enumerate(items)}
    column = {system: index for index, system in enumerate(systems)}
    i, j = np.array([place[key] for key in keys]), np.array([column[system] for system in rows["system"]])
    status = np.full((len(items), len(systems)), "missing", dtype=object)
    status[i, j] = rows["status"].to_numpy(dtype=object)
    values = np.full(status.shape, chosen.floor)
    number = rows["status"].isin(_NUMBER).to_numpy()
    values[i[number], j[number]] = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)[number]
    errors = totals = None
    if chosen.aggregate == "pooled":
        errors, totals = _counts(rows[number], i[number], j[number], status.shape)
    return _Grid(chosen, systems, items, status, values, errors, totals)


def _counts(
    rows: pd.DataFrame, i: NDArray[np.intp], j: NDArray[np.intp], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors (items, systems) and totals (items,) from the column `counts`. Who has no row got everything wrong."""
    if "counts" not in rows.columns:
        raise ValueError("scores of a pooled metric must have the column 'counts'")
    errors, totals = np.full(shape, np.nan), np.full(shape, np.nan)
    for row, item, system in zip(rows[[*_KEY, "counts"]].itertuples(index=False, name=None), i, j, strict=True):
        found = {} if row[-1] is None else {count["key"]: float(count["value"]) for count in row[-1]}
        if not {"errors", "total"} <= set(found) or not all(np.isfinite(v) and v >= 0 for v in found.values()):
            raise ValueError(f"counts must hold errors and total, finite and not negative, got {row[-1]} in {row[:-1]}")
        errors[item, system], totals[item, system] = found["errors"], found["total"]
    known = ~np.isnan(totals)
    each = np.where(known, totals, -np.inf).max(axis=1)
    uneven = (known & (totals != each[:, None])).any(axis=1)
    if uneven.any():
        item = int(np.flatnonzero(uneven)[0])
        got = sorted({float(total) for total in totals[item][known[item]]})
        name = rows["mixture_id"].to_numpy()[np.flatnonzero(i == item)[0]]
        raise ValueError(f"the total of an item must be the same for every system, got {got} for {name!r}")
    each = np.where(known.any(axis=1), each, np.nan)
    return np.where(np.isnan(errors), each[:, None], errors), each


def _select(grid: _Grid, kept: NDArray[np.bool_], columns: Sequence[int]) -> CommonSet:
    """The items that are `kept`, for the systems in `columns`."""
    items = [item for item, keep in zip(grid.items, kept, strict=True) if keep]
    values = grid.values[kept][:, columns]
    numerators, denominators = values, np.ones(len(values))
    if grid.errors is not None and grid.totals is not None:
        denominators = grid.totals[kept]
        errors = grid.errors[kept][:, columns]
        numerators = denominators[:, None] - errors if grid.metric.better == "higher" else errors
    return CommonSet(
        metric=grid.metric,
        systems=[grid.systems[column] for column in columns],
        mixture_ids=[mixture for mixture, _ in items],
        outputs=[output for _, output in items],
        values=values,
        scored=np.isin(grid.status[kept][:, columns], list(_SCORED)),
        excluded=[item for item, keep in zip(grid.items, kept, strict=True) if not keep],
        numerators=numerators,
        denominators=denominators,
    )


def _whole(
    scores: pd.DataFrame, conditions: pd.DataFrame, metric: str | Metric, *, cluster: str, weight: str | None
) -> _Part:
    return _part(common_set(scores, metric=metric), conditions, cluster=cluster, weight=weight)


def _part(common: CommonSet, conditions: pd.DataFrame, *, cluster: str, weight: str | None) -> _Part:
    """All items of `common`, with their clusters, and weighted where the metric does not bring its own weights."""
    codes = cluster_codes(common.mixture_ids, conditions, cluster)
    if weight is not None and common.metric.aggregate == "mean":
        each = np.asarray(_of(common.mixture_ids, _column(conditions, weight), weight), dtype=np.float64)
        bad = np.flatnonzero(~(np.isfinite(each) & (each > 0)))
        if bad.size:
            raise ValueError(f"{weight} must be positive, got {each[bad[0]]} for {common.mixture_ids[bad[0]]!r}")
        common = replace(common, numerators=common.values * each[:, None], denominators=each)
    return _Part(common, codes, len(common.excluded))


def _inside(whole: _Part, inside: list[bool], n_excluded: int, *, labels: dict[str, Any]) -> _Part:
    """The items of one bin."""
    kept, common = np.array(inside, dtype=bool), whole.common
    chosen = replace(
        common,
        mixture_ids=[m for m, keep in zip(common.mixture_ids, inside, strict=True) if keep],
        outputs=[o for o, keep in zip(common.outputs, inside, strict=True) if keep],
        values=common.values[kept],
        scored=common.scored[kept],
        numerators=common.numerators[kept],
        denominators=common.denominators[kept],
    )
    part = _Part(chosen, whole.clusters[kept], n_excluded)
    sparse = int(kept.sum()) < MINIMUM_ITEMS or part.n_clusters < MINIMUM_BIN_CLUSTERS
    return replace(part, sparse=sparse, labels=labels | {"sparse": sparse})


# ------------------------------------------------------------------------------------------------------------ rows


def _tables(parts: Sequence[_Part], *, unranked: Collection[str], draws: int, seed: int) -> list[dict[str, Any]]:
    """The rows of some tables of one metric. All their pairs of ranked systems are one family of tests."""
    records: list[dict[str, Any]] = []
    ranked = _ranked(parts[0], unranked)
    for part, (_, p) in zip(parts, _tested(parts, ranked, draws, seed), strict=True):
        records += [part.labels | row for row in _rows(part, ranked, p, draws=draws, seed=seed)]
    return records


def _ranked(part: _Part, unranked: Collection[str]) -> list[int]:
    return [index for index, system in enumerate(part.common.systems) if system not in unranked]


def _tested(
    parts: Sequence[_Part], ranked: list[int], draws: int, seed: int
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Raw and corrected p-values of all pairs of ranked systems, for every part; none for parts that are left out."""
    family = pairs_of(len(ranked))
    tested = [bool(len(part.clusters)) and not part.sparse for part in parts]
    flips = flips_needed(len(family) * sum(tested), draws=draws)
    raw = [
        _p_values(part, ranked, family, flips, seed) if test else np.empty(0)
        for part, test in zip(parts, tested, strict=True)
    ]
    corrected = holm(np.concatenate(raw))
    return list(zip(raw, np.split(corrected, np.cumsum([len(p) for p in raw])[:-1]), strict=True))


def _p_values(
    part: _Part, ranked: list[int], family: list[tuple[int, int]], draws: int, seed: int
) -> NDArray[np.float64]:
    sums = part.data.sums[:, ranked]
    first, second = ([pair[side] for pair in family] for side in (0, 1))
    return sign_flip(sums[:, first] - sums[:, second], draws=draws, seed=seed)


def _draws(part: _Part, draws: int, seed: int) -> NDArray[np.float64] | None:
    """Aggregates of resampled clusters, where there are two."""
    return part.data.resampled(draws=draws, seed=seed) if part.n_clusters >= 2 else None


def _rows(part: _Part, ranked: list[int], p: NDArray[np.float64], *, draws: int, seed: int) -> list[dict[str, Any]]:
    """The rows of one table, best first."""
    common, n = part.common, len(part.clusters)
    assert np.isfinite(common.values).all(), "NaN or infinity reached an aggregate"
    drawn = _draws(part, draws, seed)
    low, high = _ends(drawn, len(common.systems))
    ranks, gains = _ranks(part, ranked, p, drawn), _gains(part, drawn)
    rows = []
    for index, system in enumerate(common.systems):
        n_ok = int(common.scored[:, index].sum())
        row: dict[str, Any] = {"system": system, "metric": common.metric.name, "better": common.metric.better}
        row |= {"mean": float(part.data.aggregates[index]) if n else None, "ci_low": low[index], "ci_high": high[index]}
        row |= {"n": n, "n_ok": n_ok, "n_floor": n - n_ok, "n_excluded": part.n_excluded}
        row |= {
            "n_clusters": part.n_clusters,
            "coverage": n_ok / (n + part.n_excluded) if n + part.n_excluded else None,
        }
        row["median"], row["p10"] = np.quantile(common.values[:, index], [0.5, 0.1]).tolist() if n else (None, None)
        row |= gains.get(index, dict.fromkeys(_COMPARED)) | ranks.get(index, dict.fromkeys(_RANKED))
        rows.append(row)
    sign = -1 if common.metric.better == "higher" else 1
    return sorted(rows, key=lambda row: (sign * (row["mean"] or 0.0), row["system"]))


def _gains(part: _Part, drawn: NDArray[np.float64] | None) -> dict[int, dict[str, Any]]:
    """The columns that compare with `unprocessed`, by the system's index; none without it."""
    systems = part.common.systems
    if BASELINE not in systems or not len(part.clusters):
        return {}
    base = systems.index(BASELINE)
    compared = {index: _difference(part, index, base, drawn) for index in range(len(systems))}
    return {
        index: {"delta": delta, "delta_ci_low": low, "delta_ci_high": high, "improved": share}
        for index, (delta, low, high, share) in compared.items()
    }


def _pair(part: _Part, own: int, other: int, drawn: NDArray[np.float64] | None) -> dict[str, Any]:
    """The row of one pair, but for its tests."""
    delta, low, high, share = _difference(part, own, other, drawn)
    row: dict[str, Any] = {"metric": part.common.metric.name}
    row |= {"system": part.common.systems[own], "other": part.common.systems[other]}
    row |= {"delta": delta, "delta_ci_low": low, "delta_ci_high": high, "better_share": share}
    row |= {"n": len(part.clusters), "n_clusters": part.n_clusters}
    return row | {"wilcoxon_p": wilcoxon(part.data.sums[:, own] - part.data.sums[:, other])}


def _difference(
    part: _Part, own: int, other: int, drawn: NDArray[np.float64] | None
) -> tuple[float, float | None, float | None, float]:
    """Difference of the aggregates, its interval, and the share of the items on which `own` is better."""
    (low,), (high,) = _ends(None if drawn is None else drawn[:, [own]] - drawn[:, [other]], 1)
    delta = float(part.data.aggregates[own] - part.data.aggregates[other])
    numerators = part.common.numerators
    return delta, low, high, better_share(numerators[:, own], numerators[:, other], better=part.common.metric.better)


def _ranks(
    part: _Part, ranked: list[int], p: NDArray[np.float64], drawn: NDArray[np.float64] | None
) -> dict[int, dict[str, Any]]:
    """The columns of ranks, by the system's index; none where the part was not tested."""
    if part.sparse or not len(part.clusters) or not ranked:
        return {}
    better = part.common.metric.better
    stand: Standing = standing(part.data.aggregates[ranked], p, better=better)
    shares = [None] * len(ranked) if drawn is None else first_share(drawn[:, ranked], better=better).tolist()
    return {
        index: {
            "rank_low": int(stand.rank_low[k]),
            "rank_high": int(stand.rank_high[k]),
            "tie_group": int(stand.tie_group[k]),
            "p_holm": None if np.isnan(stand.p_leader[k]) else float(stand.p_leader[k]),
            "first_share": shares[k],
        }
        for k, index in enumerate(ranked)
    }


def _ends(drawn: NDArray[np.float64] | None, columns: int) -> tuple[list[float | None], list[float | None]]:
    """Ends of the intervals, one per column."""
    if drawn is None:
        return [None] * columns, [None] * columns
    low, high = percentile_interval(drawn)
    return low.tolist(), high.tolist()


# ------------------------------------------------------------------------------------------------------ conditions


def _bins(values: list[Any], edges: Sequence[float] | None) -> list[tuple[int, str]]:
    """(order, label) of the bin of every value."""
    if edges is None:
        return [(1, UNKNOWN) if _is_null(value) else (0, str(value)) for value in values]
    cuts = np.asarray(edges, dtype=np.float64)
    if len(cuts) == 0 or not np.isfinite(cuts).all() or (np.diff(cuts) <= 0).any():
        raise ValueError(f"edges must be finite and increasing, got {list(edges)}")
    names = [f"(-inf, {cuts[0]:g})"] + [f"[{a:g}, {b:g})" for a, b in itertools.pairwise(cuts)]
    names += [f"[{cuts[-1]:g}, inf)", UNKNOWN]
    # side="right" is floor: -0.5 belongs to [-5, 0), where int() would round it towards zero and across the edge
    found = [len(names) - 1 if _is_null(v) else int(np.searchsorted(cuts, v, side="right")) for v in values]
    return [(index, names[index]) for index in found]


def _is_null(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _column(conditions: pd.DataFrame, name: str) -> dict[str, Any]:
    """The condition of every mixture."""
    for needed in ("mixture_id", name):
        if needed not in conditions.columns:
            raise ValueError(
                f"conditions must have the column {needed!r}, got {', '.join(map(str, conditions.columns))}"
            )
    ids = conditions["mixture_id"]
    if ids.duplicated().any():
        raise ValueError(
            f"conditions must have one row per mixture_id, got several of {ids[ids.duplicated()].iloc[0]!r}"
        )
    return dict(zip(ids, conditions[name], strict=True))


def _of(mixture_ids: list[str], column: dict[str, Any], name: str) -> list[Any]:
    """The column's value of every item."""
    unknown = [mixture for mixture in mixture_ids if mixture not in column]
    if unknown:
        raise ValueError(f"conditions must have a row for every scored mixture, got none for {unknown[0]!r} ({name})")
    return [column[mixture] for mixture in mixture_ids]


def cluster_codes(mixture_ids: list[str], conditions: pd.DataFrame, cluster: str) -> NDArray[np.intp]:
    """A number per item, equal within a cluster. Without a cluster, a mixture is one by itself."""
    labels = _of(mixture_ids, _column(conditions, cluster), cluster)
    keys = [("", m) if _is_null(label) else (cluster, label) for m, label in zip(mixture_ids, labels, strict=True)]
    numbers = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.intp)


def _check_rows(scores: pd.DataFrame) -> None:
    strange = set(scores["status"].unique()) - _STATUSES
    if strange:
        raise ValueError(f"status must be one of {', '.join(sorted(_STATUSES))}, got {sorted(map(str, strange))[0]!r}")
    twice = scores.duplicated(_KEY)
    if twice.any():
        raise ValueError(
            f"scores must have one row per {', '.join(_KEY)}, got two of {tuple(scores[twice][_KEY].iloc[0])}"
        )
    number = scores[scores["status"].isin(_NUMBER)]
    bad = number[~np.isfinite(number["value"].to_numpy(dtype=np.float64, na_value=np.nan))]
    if not bad.empty:
        raise ValueError(f"value must be finite where status is ok, ok_len or floor, got {tuple(bad[_KEY].iloc[0])}")


def _frame(records: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Series([record[name] for record in records], dtype=None if name in _WHOLE else object)
            for name in columns
        }
    )
