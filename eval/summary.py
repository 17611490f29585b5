"""Leaderboards from score rows: means over the items that every system is judged on, with intervals over clusters.

Conventions
    `scores` has the columns of `manifests.schema.Score` plus `system`, the name by which rows are compared;
    `conditions` has one row per `mixture_id`. An item is a (mixture_id, output). Means are of the stored values (dB
    metrics: mean of dB). Intervals are 95 %. A cell without a number is None, so the columns of numbers have dtype
    object.

Which items, and at what price
    An item is left out of a metric, for every system, where its reference is unusable (`excluded_ref`, `too_short` for
    any system) or where no system was scored and a library failed (`error`, `crashed`, `timeout`). All other items
    count for all systems: a failure on an item that another system was scored on costs the metric's floor, and so does
    a row that is not there.

Intervals: percentile bootstrap over whole clusters (speakers by default), drawn with replacement as multinomial
weights; items of one cluster are not independent, and intervals over items are too narrow by the design effect. All
systems share the draws, so the interval of a difference is that of paired differences. Efron and Tibshirani (1993),
Cameron, Gelbach and Miller, "Bootstrap-based improvements for inference with clustered errors" (2008). With few
clusters the intervals are themselves uncertain (20 clusters cover about 93 %), so `n_clusters` belongs beside them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval import catalogue
from eval.catalogue import Metric

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BASELINE", "CommonSet", "by_bin", "check_order", "cluster_bootstrap", "common_set", "leaderboard"]

BASELINE = "unprocessed"
ORDER = ("silence", "unprocessed", "oracle")
UNKNOWN = "unknown"

_SCORED = frozenset({"ok", "ok_len"})
_NUMBER = _SCORED | {"floor"}
_EXCLUDED = frozenset({"excluded_ref", "too_short"})
_FAILED = frozenset({"error", "crashed", "timeout"})
_STATUSES = _NUMBER | _EXCLUDED | _FAILED | {"missing"}
_WEIGHTS = 4_000_000  # bootstrap weights held at a time
_OPTIONAL = ("mean", "ci_low", "ci_high", "coverage", "median", "p10", "delta", "delta_ci_low", "delta_ci_high")


@dataclass(frozen=True)
class CommonSet:
    """The items that count for one metric. `values` and `scored` (a genuine score, no floor) are (items, systems)."""

    metric: Metric
    systems: list[str]
    mixture_ids: list[str]
    outputs: list[str]
    values: NDArray[np.float64]
    scored: NDArray[np.bool_]
    excluded: list[tuple[str, str]]


def leaderboard(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    metrics: Sequence[str],
    cluster: str = "speaker_id",
    draws: int = 10000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per (system, metric), best mean first within a metric.

    Columns: system, metric, mean, ci_low, ci_high (None below 2 clusters), n (items, the same for every system), n_ok,
    n_floor, n_excluded, n_clusters, coverage (n_ok of all items, the excluded ones included), median, p10, and delta
    (mean of the paired differences to `unprocessed`, None without it) with delta_ci_low and delta_ci_high.
    An item whose `cluster` is unknown is a cluster of its own.
    """
    clusters = _column(conditions, cluster)
    records: list[dict[str, Any]] = []
    for name in metrics:
        common = common_set(scores, metric=name)
        codes = _codes(common.mixture_ids, clusters, cluster)
        everything = np.ones(len(codes), dtype=bool)
        records += _rows(common, codes, everything, len(common.excluded), draws=draws, seed=seed)
    return _frame(records)


def by_bin(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    by: str,
    metrics: Sequence[str],
    edges: Sequence[float] | None = None,
    cluster: str = "speaker_id",
    draws: int = 10000,
    seed: int = 0,
) -> pd.DataFrame:
    """`leaderboard` within every bin of the condition `by`; two more columns, by and bin.

    With `edges`, the condition is a number and the bins are half-open, `[-5, 0)`; what lies outside the edges gets
    bins of its own, `(-inf, -5)` and `[20, inf)`. Without, every value is a bin. Items without the condition are
    `unknown`. Bins without items do not appear.
    """
    clusters, condition = _column(conditions, cluster), _column(conditions, by)
    records: list[dict[str, Any]] = []
    for name in metrics:
        common = common_set(scores, metric=name)
        codes = _codes(common.mixture_ids, clusters, cluster)
        bins = _bins(_of(common.mixture_ids, condition, by), edges)
        lost = _bins(_of([mixture for mixture, _ in common.excluded], condition, by), edges)
        for order, label in sorted(set(bins) | set(lost)):
            inside = np.array([b == (order, label) for b in bins], dtype=bool)
            rows = _rows(common, codes, inside, lost.count((order, label)), draws=draws, seed=seed)
            records += [{"by": by, "bin": label} | row for row in rows]
    return _frame(records, first=("by", "bin"))


def common_set(scores: pd.DataFrame, *, metric: str) -> CommonSet:
    """The headline set of one metric: values with floors filled in, the same items for every system."""
    chosen = catalogue.get(metric)
    systems = sorted(scores["system"].unique())
    rows = scores[scores["metric"] == metric]
    if rows.empty:
        raise ValueError(f"metrics must have been scored, got {metric!r}, which no row has")
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
    scored = np.isin(status, list(_SCORED))
    unusable = np.isin(status, list(_EXCLUDED)).any(axis=1)
    hopeless = np.isin(status, list(_FAILED)).any(axis=1) & ~scored.any(axis=1)
    out: NDArray[np.bool_] = np.logical_or(unusable, hopeless)
    kept = [item for item, drop in zip(items, out, strict=True) if not drop]
    return CommonSet(
        metric=chosen,
        systems=systems,
        mixture_ids=[mixture for mixture, _ in kept],
        outputs=[output for _, output in kept],
        values=values[~out],
        scored=scored[~out],
        excluded=[item for item, drop in zip(items, out, strict=True) if drop],
    )


def cluster_bootstrap(values: ArrayLike, clusters: ArrayLike, *, draws: int, seed: int) -> NDArray[np.float64]:
    """Means of `draws` resamples of whole clusters, shape `(draws, columns)`, for `values` of shape `(items,
    columns)`.
    """
    table = np.asarray(values, dtype=np.float64)
    assert np.isfinite(table).all(), "NaN or infinity reached an aggregate"
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    count = len(names)
    sums = np.zeros((count, table.shape[1] + 1))
    np.add.at(sums, codes, np.column_stack([table, np.ones(len(table))]))
    drawn = np.concatenate([weights @ sums for weights in _weights(count, draws, seed)])
    means: NDArray[np.float64] = drawn[:, :-1] / drawn[:, -1:]
    return means


def check_order(table: pd.DataFrame) -> list[str]:
    """What is wrong with the anchors of a leaderboard: silence must be worse than unprocessed, and that than oracle."""
    violations = []
    for name, part in table.groupby("metric", sort=False):
        means = {str(system): mean for system, mean in zip(part["system"], part["mean"], strict=True)}
        anchors = [(system, float(means[system])) for system in ORDER if means.get(system) is not None]
        sign = 1 if catalogue.get(str(name)).better == "higher" else -1
        for (worse, low), (better, high) in itertools.pairwise(anchors):
            if not sign * low < sign * high:
                violations.append(f"{name}: {worse} ({low:.4g}) must be worse than {better} ({high:.4g})")
    return violations


def _weights(count: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of `count` clusters is drawn, in blocks of shape `(some draws, count)`."""
    rng = np.random.default_rng(seed)
    block = max(1, _WEIGHTS // count)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        yield rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)


def _rows(
    common: CommonSet,
    clusters: NDArray[np.intp],
    inside: NDArray[np.bool_],
    n_excluded: int,
    *,
    draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The rows of one metric over the items `inside`, best first."""
    values, scored = common.values[inside], common.scored[inside]
    assert np.isfinite(values).all(), "NaN or infinity reached an aggregate"
    clusters = clusters[inside]
    n, n_clusters = len(values), len(np.unique(clusters))
    baseline = common.systems.index(BASELINE) if BASELINE in common.systems else None
    means = cluster_bootstrap(values, clusters, draws=draws, seed=seed) if n_clusters >= 2 else None
    rows = []
    for index, system in enumerate(common.systems):
        own = values[:, index]
        n_ok = int(scored[:, index].sum())
        row: dict[str, Any] = {
            "system": system,
            "metric": common.metric.name,
            "n": n,
            "n_ok": n_ok,
            "n_floor": n - n_ok,
        }
        row |= {"n_excluded": n_excluded, "n_clusters": n_clusters, "mean": float(own.mean()) if n else None}
        row["coverage"] = n_ok / (n + n_excluded) if n + n_excluded else None
        row["median"], row["p10"] = (float(q) for q in np.quantile(own, [0.5, 0.1])) if n else (None, None)
        row["ci_low"], row["ci_high"] = _interval(None if means is None else means[:, index])
        paired = n > 0 and baseline is not None
        row["delta"] = float((own - values[:, baseline]).mean()) if paired else None
        differences = means[:, index] - means[:, baseline] if means is not None and paired else None
        row["delta_ci_low"], row["delta_ci_high"] = _interval(differences)
        rows.append(row)
    sign = -1 if common.metric.better == "higher" else 1
    return sorted(rows, key=lambda row: (sign * (row["mean"] or 0.0), row["system"]))


def _interval(means: NDArray[np.float64] | None) -> tuple[float | None, float | None]:
    if means is None:
        return None, None
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


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


def _codes(mixture_ids: list[str], column: dict[str, Any], name: str) -> NDArray[np.intp]:
    """A number per item, equal within a cluster. Without a cluster, a mixture is one by itself."""
    labels = _of(mixture_ids, column, name)
    keys = [("", m) if _is_null(label) else (name, label) for m, label in zip(mixture_ids, labels, strict=True)]
    numbers = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.intp)


def _check_rows(scores: pd.DataFrame) -> None:
    strange = set(scores["status"].unique()) - _STATUSES
    if strange:
        raise ValueError(f"status must be one of {', '.join(sorted(_STATUSES))}, got {sorted(map(str, strange))[0]!r}")
    key = ["system", "mixture_id", "output", "metric"]
    twice = scores.duplicated(key)
    if twice.any():
        raise ValueError(
            f"scores must have one row per {', '.join(key)}, got two of {tuple(scores[twice][key].iloc[0])}"
        )
    number = scores[scores["status"].isin(_NUMBER)]
    bad = number[~np.isfinite(number["value"].to_numpy(dtype=np.float64, na_value=np.nan))]
    if not bad.empty:
        raise ValueError(f"value must be finite where status is ok, ok_len or floor, got {tuple(bad[key].iloc[0])}")


def _frame(records: list[dict[str, Any]], first: tuple[str, ...] = ()) -> pd.DataFrame:
    import pandas as pd

    columns = [*first, "system", "metric", "mean", "ci_low", "ci_high", "n", "n_ok", "n_floor", "n_excluded"]
    columns += ["n_clusters", "coverage", "median", "p10", "delta", "delta_ci_low", "delta_ci_high"]
    return pd.DataFrame(
        {
            name: pd.Series([record[name] for record in records], dtype=object if name in _OPTIONAL else None)
            for name in columns
        }
    )
