"""How well metrics agree with listeners and with one another, per file and per system, with intervals.

Conventions
    `x` is the metric, `y` what it should predict; both are turned so that larger is better, so a positive correlation
    is agreement whatever the direction of the metric. Correlations are Pearson's r, Spearman's rho and Kendall's
    tau-b, all with ties. `rmse` is in the unit of `y`, after the best third-order polynomial of `x` that does not fall
    on the range of the data, with four degrees of freedom subtracted: sqrt(sum(e^2) / (n - 4)), ITU-T P.1401 (2012),
    equation 7-29. None stands where a number is not defined: a constant column, or too few points for the polynomial.
    Intervals are 95 % percentile intervals of the cluster bootstrap (`eval.statistics`).

    At file level a point is one estimate. At system level a point is a system's mean over its files; systems are
    fixed, and the clusters of files are drawn. With the few systems of most tests, agreement at system level says
    little: six systems that are ranked at random reach a tau of 0.6 with a probability of 7 %.

    `ratings` has the columns system_id, mixture_id, scale, value, rater, n and std: votes one by one (n null or 1), or
    means of n votes with their standard deviation. Larger values are better on every scale.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval import catalogue
from eval.catalogue import Metric
from eval.statistics import DRAWS, blocks, pairs_of, times_drawn
from eval.summary import ORDER, cluster_codes

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Agreement",
    "Estimate",
    "Mapping",
    "Screening",
    "against_ratings",
    "between_metrics",
    "file_agreement",
    "monotone_cubic",
    "opinions",
    "post_screen",
    "rank_correlations",
    "system_agreement",
]

STATISTICS = ("pearson", "spearman", "kendall", "rmse")

_NUMBER = ("ok", "ok_len", "floor")
_FREEDOM = 4  # of a third-order polynomial
_KNOTS = np.linspace(-1, 1, 49)
Floats = NDArray[np.float64]


def _squares(knots: Floats) -> Floats:
    """Integrals of (t - r)^2 for every knot r, as columns of coefficients of t^0 to t^3."""
    return np.stack([0 * knots, knots**2, -knots, 0 * knots + 1 / 3])


# plus and minus one, the integral of 1 - t^2, and those of the squares
_CONE = np.hstack([np.array([[1, -1, 0], [0, 0, 1], [0, 0, 0], [0, 0, -1 / 3]]), _squares(_KNOTS)])


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """`n` points (files or systems) from `n_clusters` clusters of files."""

    n: int
    n_clusters: int
    pearson: Estimate
    spearman: Estimate
    kendall: Estimate
    rmse: Estimate


@dataclass(frozen=True)
class Mapping:
    """A third-order polynomial that does not fall between `low` and `high`: `coefficients` of t^0 to t^3, where t runs
    from -1 to 1 over that range.
    """

    low: float
    high: float
    coefficients: tuple[float, float, float, float]

    def __call__(self, x: ArrayLike) -> Floats:
        t = _scaled(np.asarray(x, dtype=np.float64), self.low, self.high)
        return np.asarray(np.polynomial.polynomial.polyval(t, self.coefficients))


@dataclass(frozen=True)
class Screening:
    """The ratings that are left, why raters were left out (by rater), and the rule in words, for the caption."""

    ratings: pd.DataFrame
    excluded: dict[str, str]
    rule: str


# ------------------------------------------------------------------------------------------------------- agreement


def file_agreement(
    x: ArrayLike, y: ArrayLike, clusters: ArrayLike, *, better: str = "higher", draws: int = DRAWS, seed: int = 0
) -> Agreement:
    """Agreement over files. `better` is the direction of `x`; `y` is higher for better. All of shape (files,)."""
    metric, wanted, codes = _points(x, y, clusters, better)
    count = int(codes.max()) + 1
    grams, pairs = _grams_by_cluster(metric, wanted, codes), _concordance(metric, wanted, codes)
    ranks = _Midranks.of(metric), _Midranks.of(wanted)

    def all_four(times: Floats) -> Floats:
        gram = np.tensordot(times, grams, axes=1)
        each = times[:, codes]
        spearman = _rank_correlation(ranks[0](each), ranks[1](each), each)
        kendall = _ratio(*(((times @ pair) * times).sum(axis=1) for pair in pairs))
        return np.stack([_gram_pearson(gram), spearman, kendall, _gram_rmse(gram, len(metric))], axis=1)

    return _estimated(all_four, n=len(metric), count=count, width=max(len(metric), count), draws=draws, seed=seed)


def system_agreement(
    x: ArrayLike,
    y: ArrayLike,
    systems: ArrayLike,
    clusters: ArrayLike,
    *,
    better: str = "higher",
    draws: int = DRAWS,
    seed: int = 0,
) -> Agreement:
    """Agreement over the systems' means. Arrays as in `file_agreement`, `systems` says whose file each is."""
    metric, wanted, codes = _points(x, y, clusters, better)
    names, own = np.unique(np.asarray(systems), return_inverse=True)
    sums = np.zeros((int(codes.max()) + 1, len(names), 3))
    np.add.at(sums, (codes, own), np.column_stack([metric, wanted, np.ones(len(metric))]))

    def all_four(times: Floats) -> Floats:
        first, second, n = (times @ sums[:, :, k] for k in range(3))
        there = (n > 0).all(axis=1)  # a draw without any file of a system has no mean for it
        found = np.full((len(times), len(STATISTICS)), np.nan)
        found[there] = _of_rows(first[there] / n[there], second[there] / n[there])
        return found

    return _estimated(all_four, n=len(names), count=len(sums), width=len(sums) * len(names), draws=draws, seed=seed)


def monotone_cubic(x: ArrayLike, y: ArrayLike) -> Mapping:
    """The third-order polynomial of `x` nearest to `y` (least squares) among those that do not fall on the range of
    `x`.
    """
    metric, wanted, _ = _points(x, y, np.zeros(np.shape(x)), "higher")
    gram = _grams_by_cluster(metric, wanted, np.zeros(len(metric), dtype=np.intp))
    coefficients = _fit(gram)[0]
    coefficients[0] += wanted.mean()  # the grams are of the centred values
    a, b, c, d = (float(v) for v in coefficients)
    return Mapping(float(metric.min()), float(metric.max()), (a, b, c, d))


def _estimated(
    statistic: Callable[[Floats], Floats], *, n: int, count: int, width: int, draws: int, seed: int
) -> Agreement:
    """The statistics of the data and their intervals; `statistic` takes how often each cluster is drawn."""
    values = statistic(np.ones((1, count)))[0]
    drawn = np.full((0, len(STATISTICS)), np.nan)
    if count >= 2:
        blocks_of_draws = (statistic(part) for times in times_drawn(count, draws, seed) for part in _cut(times, width))
        drawn = np.concatenate(list(blocks_of_draws))
    found = {}
    for name, value, column in zip(STATISTICS, values, drawn.T, strict=True):
        known = column[~np.isnan(column)]
        low, high = (float(v) for v in np.quantile(known, [0.025, 0.975])) if known.size else (None, None)
        found[name] = Estimate(None, None, None) if np.isnan(value) else Estimate(float(value), low, high)
    return Agreement(n=n, n_clusters=count, **found)


def _cut(times: Floats, width: int) -> Iterator[Floats]:
    start = 0
    for size in blocks(width, len(times)):
        yield times[start : start + size]
        start += size


def _points(x: ArrayLike, y: ArrayLike, clusters: ArrayLike, better: str) -> tuple[Floats, Floats, NDArray[np.intp]]:
    metric, wanted = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if metric.ndim != 1 or metric.shape != wanted.shape or len(metric) == 0 or np.shape(clusters) != metric.shape:
        raise ValueError(
            f"x, y and clusters must have one shape (files,), got {metric.shape}, {wanted.shape}, {np.shape(clusters)}"
        )
    if not (np.isfinite(metric).all() and np.isfinite(wanted).all()):
        raise ValueError("x and y must be finite")
    if better not in ("higher", "lower"):
        raise ValueError(f"better must be 'higher' or 'lower', got {better!r}")
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return metric if better == "higher" else -metric, wanted, codes


def _ratio(product: Floats, first: Floats, second: Floats) -> Floats:
    """product / sqrt(first second), NaN where a column does not vary."""
    size = np.sqrt(first * second)
    return np.divide(product, size, out=np.full_like(size, np.nan), where=size > 0)


def _of_rows(first: Floats, second: Floats) -> Floats:
    """All four statistics of every row of two tables of shape (draws, systems)."""
    from scipy.stats import rankdata

    spearman = _rank_correlation(rankdata(first, axis=1), rankdata(second, axis=1), np.ones_like(first))
    pairs = pairs_of(first.shape[1])
    left, right = [i for i, _ in pairs], [j for _, j in pairs]
    one, other = np.sign(first[:, left] - first[:, right]), np.sign(second[:, left] - second[:, right])
    kendall = _ratio((one * other).sum(axis=1), (one**2).sum(axis=1), (other**2).sum(axis=1))
    low, high = first.min(axis=1, keepdims=True), first.max(axis=1, keepdims=True)
    basis = _basis(_scaled(first, low, high), second - second.mean(axis=1, keepdims=True))
    grams = np.einsum("dsi,dsj->dij", basis, basis)
    return np.stack([_gram_pearson(grams), spearman, kendall, _gram_rmse(grams, first.shape[1])], axis=1)


def _rank_correlation(first: Floats, second: Floats, times: Floats) -> Floats:
    """Pearson's r of midranks, of every row. Their mean is (n + 1) / 2, and their sums are exact in float64."""
    n = times.sum(axis=1)
    middle = n * ((n + 1) / 2) ** 2
    scaled = first * times
    product, one = (np.einsum("dp,dp->d", scaled, ranks) - middle for ranks in (second, first))
    return _ratio(product, one, np.einsum("dp,dp,dp->d", second, times, second) - middle)


@dataclass(frozen=True)
class _Midranks:
    """Ranks of points that are drawn several times each; ties share the mean of their places."""

    inverse: NDArray[np.intp]
    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, values: Floats) -> _Midranks:
        _, starts, inverse = np.unique(np.sort(values), return_index=True, return_inverse=True)
        order = np.argsort(values, kind="stable")
        back = np.empty_like(inverse)
        back[order] = inverse
        return cls(back, order, starts)

    def __call__(self, times: Floats) -> Floats:
        """Ranks of shape (draws, points), for points drawn so many times."""
        tied = np.add.reduceat(times[:, self.order], self.starts, axis=1)
        ranks = np.cumsum(tied, axis=1) - tied + (tied + 1) / 2
        return np.asarray(ranks[:, self.inverse])


def _concordance(x: Floats, y: Floats, codes: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """Between every two clusters: concordant less discordant pairs of points, and pairs that do not tie in x, in y.

    With w the times each cluster is drawn, tau-b of the resample is w C w / sqrt(w X w  w Y w): copies of a point tie
    with it in both and so count in none.
    """
    order = np.argsort(codes, kind="stable")
    x, y, codes = x[order], y[order], codes[order]
    starts = np.searchsorted(codes, np.arange(codes[-1] + 1))
    tables = np.zeros((3, len(starts), len(starts)))
    start = 0
    for size in blocks(4 * len(x), len(x)):
        rows = slice(start, start + size)
        one = np.sign(x[rows, None] - x, dtype=np.float64)
        other = np.sign(y[rows, None] - y, dtype=np.float64)
        for table, signs in zip(tables, (one * other, one**2, other**2), strict=True):
            np.add.at(table, codes[rows], np.add.reduceat(signs, starts, axis=1))
        start += size
    return tables[0], tables[1], tables[2]


# --------------------------------------------------------------------------------------------------- cubic mapping


def _scaled(x: Floats, low: Any, high: Any) -> Floats:
    """-1 to 1 from low to high."""
    width = np.where(high > low, np.asarray(high) - low, 1.0)
    return np.asarray((2 * x - low - high) / width)


def _basis(t: Floats, y: Floats) -> Floats:
    return np.stack([np.ones_like(t), t, t**2, t**3, y], axis=-1)


def _grams_by_cluster(x: Floats, y: Floats, codes: NDArray[np.intp]) -> Floats:
    """Sums of the products of 1, t, t^2, t^3 and y - mean(y) over each cluster, shape (clusters, 5, 5)."""
    basis = _basis(_scaled(x, x.min(), x.max()), y - y.mean())
    grams = np.zeros((int(codes.max()) + 1, 5, 5))
    np.add.at(grams, codes, basis[:, :, None] * basis[:, None, :])
    return grams


def _gram_pearson(grams: Floats) -> Floats:
    n = grams[:, 0, 0]
    product = grams[:, 1, 4] - grams[:, 0, 1] * grams[:, 0, 4] / n
    first, second = (grams[:, k, k] - grams[:, 0, k] ** 2 / n for k in (1, 4))
    held = [np.where(v > 1e-13 * grams[:, k, k], v, 0.0) for v, k in ((first, 1), (second, 4))]
    return _ratio(product, held[0], held[1])


def _gram_rmse(grams: Floats, n: int) -> Floats:
    """Root mean square error after the mapping, of n points; NaN where the mapping leaves no freedom."""
    if n <= _FREEDOM:
        return np.full(len(grams), np.nan)
    c = np.concatenate([-_fit(grams), np.ones((len(grams), 1))], axis=1)
    error = np.einsum("di,dij,dj->d", c, grams, c)
    return np.asarray(np.sqrt(np.maximum(error, 0) / (n - _FREEDOM)))


def _fit(grams: Floats) -> Floats:
    """Coefficients of the least-squares cubic that does not fall on -1..1, for every Gram matrix."""
    values, vectors = np.linalg.eigh(grams[:, :4, :4])
    kept = values > 1e-12 * values[:, -1:]
    size = np.where(kept, np.sqrt(np.where(kept, values, 1.0)), np.inf)  # directions that the data leave open are 0
    target = np.einsum("dik,di->dk", vectors, grams[:, :4, 4]) / size
    coefficients = np.einsum("dik,dk->di", vectors, target / size)
    for index in np.flatnonzero(~_rises(coefficients)):
        root = np.where(kept[index], size[index], 0.0)[:, None] * vectors[index].T
        coefficients[index] = _constrained(root, target[index])
    return np.asarray(coefficients)


def _rises(coefficients: Floats) -> NDArray[np.bool_]:
    """Whether b + 2 c t + 3 d t^2 is nowhere negative on -1..1: at the ends, and at its vertex if that lies inside."""
    _, b, c, d = coefficients.T
    lowest = np.minimum(b + 2 * c + 3 * d, b - 2 * c + 3 * d)
    inside = (d > 0) & (np.abs(c) < 3 * d)
    vertex = np.where(inside, b - c**2 / np.where(inside, 3 * d, 1.0), np.inf)
    return np.asarray(np.minimum(lowest, vertex) >= -1e-12)


def _constrained(root: Floats, target: Floats) -> Floats:
    """The rising cubic c that minimises |root c - target|.

    A quadratic that is not negative on -1..1 is a sum of non-negative multiples of (t - r)^2, r in -1..1, and 1 - t^2
    (Markov and Lukacs). With their integrals as columns this is non-negative least squares, for r on a grid and then
    on a finer one about the r that counts most.
    """
    from scipy.optimize import nnls

    weights, _ = nnls(root @ _CONE, target)
    middle = _KNOTS[np.argmax(weights[-len(_KNOTS) :])]
    near = np.clip(middle + (_KNOTS[1] - _KNOTS[0]) * _KNOTS, -1, 1)
    cone = np.hstack([_CONE[:, :3], _CONE[:, 3:][:, weights[3:] > 0], _squares(near)])
    weights, _ = nnls(root @ cone, target)
    return np.asarray(cone @ weights)


# ---------------------------------------------------------------------------------------------------------- tables


def against_ratings(
    scores: pd.DataFrame,
    opinion: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    metrics: Sequence[str | Metric],
    cluster: str = "speaker_id",
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """How each metric agrees with the listeners on each scale, at file and at system level.

    `opinion` comes from `opinions(ratings)`, per system and mixture. Columns: metric, scale, level, n, n_clusters, then
    for pearson, spearman, kendall and rmse the value with _low and _high, and agrees: whether the interval of Kendall's
    tau lies above zero (None without an interval). A metric that does not agree at system level does not rank these
    systems as listeners do, or there are too few to say.
    """
    records = []
    for metric in metrics:
        chosen = catalogue.get(metric) if isinstance(metric, str) else metric
        for scale, votes in opinion.groupby("scale", sort=True):
            pairs = _values(scores, chosen).merge(votes, on=["system_id", "mixture_id"], validate="one_to_one")
            if pairs.empty:
                raise ValueError(f"no estimate has both a score of {chosen.name!r} and a rating on {scale!r}")
            for level, found in _levels(pairs, "value", "mos", chosen.better, conditions, cluster, draws, seed):
                records.append({"metric": chosen.name, "scale": scale} | _row(level, found))
    return _frame(records, ("metric", "scale"))


def between_metrics(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    *,
    metrics: Sequence[str | Metric],
    cluster: str = "speaker_id",
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """How every two metrics agree on the same estimates; columns first and second, then as in `against_ratings`.

    `rmse` is that of the second metric predicted from the first.
    """
    chosen = [catalogue.get(metric) if isinstance(metric, str) else metric for metric in metrics]
    records = []
    for i, j in pairs_of(len(chosen)):
        first, second = chosen[i], chosen[j]
        pairs = _values(scores, first).merge(_values(scores, second), on=["system_id", "mixture_id"], how="inner")
        if pairs.empty:
            raise ValueError(f"no estimate has scores of both {first.name!r} and {second.name!r}")
        pairs["wanted"] = pairs["value_y"] if second.better == "higher" else -pairs["value_y"]
        for level, found in _levels(pairs, "value_x", "wanted", first.better, conditions, cluster, draws, seed):
            records.append({"first": first.name, "second": second.name} | _row(level, found))
    return _frame(records, ("first", "second"))


def rank_correlations(table: pd.DataFrame, *, across: str, unranked: Collection[str] = ORDER) -> pd.DataFrame:
    """Kendall's tau-b between the rankings of the systems by every two metrics, or in every two bins of a metric.

    `table` is a leaderboard (`across="metric"`) or comes from `by_bin` (`across="bin"`, one comparison per metric).
    Columns: metric (with bins), first, second, kendall (None where all systems tie) and n (systems with both means).
    """
    if across not in ("metric", "bin"):
        raise ValueError(f"across must be 'metric' or 'bin', got {across!r}")
    ranked = table[~table["system"].isin(list(unranked)) & table["mean"].notna()]
    means = ranked["mean"].to_numpy(dtype=np.float64)
    ranked = ranked.assign(merit=np.where(ranked["better"] == "higher", means, -means))
    groups = [(None, ranked)] if across == "metric" else list(ranked.groupby("metric", sort=False))
    records = []
    for metric, part in groups:
        wide = part.pivot(index="system", columns=across, values="merit")[list(dict.fromkeys(part[across]))]
        for i, j in pairs_of(wide.shape[1]):
            both = wide.iloc[:, [i, j]].dropna().to_numpy()
            tau = _of_rows(both[None, :, 0], both[None, :, 1])[0, 2] if len(both) > 1 else np.nan
            row = {} if metric is None else {"metric": metric}
            row |= {"first": wide.columns[i], "second": wide.columns[j]}
            records.append(row | {"kendall": None if np.isnan(tau) else float(tau), "n": len(both)})
    return _frame(records, ("metric", "first", "second") if across == "bin" else ("first", "second"), ("kendall", "n"))


def _values(scores: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """One value per system and mixture: the mean over its outputs. Floors are what the metric says of a failure."""
    rows = scores[(scores["metric"] == metric.name) & scores["status"].isin(_NUMBER)]
    return rows.groupby(["system_id", "mixture_id"], observed=True)["value"].mean().reset_index()


def _levels(
    pairs: pd.DataFrame,
    x: str,
    y: str,
    better: str,
    conditions: pd.DataFrame,
    cluster: str,
    draws: int,
    seed: int,
) -> list[tuple[str, Agreement]]:
    codes = cluster_codes(pairs["mixture_id"].tolist(), conditions, cluster)
    values, wanted = pairs[x].to_numpy(dtype=np.float64), pairs[y].to_numpy(dtype=np.float64)
    systems = pairs["system_id"].to_numpy()
    return [
        ("file", file_agreement(values, wanted, codes, better=better, draws=draws, seed=seed)),
        ("system", system_agreement(values, wanted, systems, codes, better=better, draws=draws, seed=seed)),
    ]


def _row(level: str, found: Agreement) -> dict[str, Any]:
    row: dict[str, Any] = {"level": level, "n": found.n, "n_clusters": found.n_clusters}
    for name in STATISTICS:
        estimate: Estimate = getattr(found, name)
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row | {"agrees": None if found.kendall.low is None else found.kendall.low > 0}


def _frame(
    records: list[dict[str, Any]], first: tuple[str, ...], columns: tuple[str, ...] | None = None
) -> pd.DataFrame:
    import pandas as pd

    if columns is None:
        numbers = [f"{name}{end}" for name in STATISTICS for end in ("", "_low", "_high")]
        columns = ("level", "n", "n_clusters", *numbers, "agrees")
    whole = {*first, "level", "n", "n_clusters"}
    return pd.DataFrame(
        {
            name: pd.Series([record[name] for record in records], dtype=None if name in whole else object)
            for name in (*first, *columns)
        }
    )


# --------------------------------------------------------------------------------------------------------- ratings


def opinions(
    ratings: pd.DataFrame, *, by: Sequence[str] = ("scale", "system_id", "mixture_id"), screening: str = "none"
) -> pd.DataFrame:
    """Mean opinions from votes and from means of votes: the columns `by`, mos, n (votes), std, ci95 and screening.

    `std` is the sample standard deviation of the votes, `ci95` half the width of the 95 % interval of the mean,
    1.96 std / sqrt(n), with Student's t in place of 1.96 below 30 votes (ITU-T P.1401). Both are None for one vote, and
    where a mean of several votes came without its standard deviation. Votes are taken as independent: by listeners who
    vote often, the interval is too narrow. `screening` says which raters were left out; `Screening.rule` has the words.
    """
    import pandas as pd

    votes = _votes(ratings)
    records = []
    for key, part in votes.groupby(list(by), sort=True, dropna=False):
        count, value, spread = (part[name].to_numpy(dtype=np.float64) for name in ("n", "value", "std"))
        n = int(count.sum())
        mos = float((count * value).sum() / n)
        std = half = None
        if n > 1 and not np.isnan(spread).any():
            std = float(np.sqrt((((count - 1) * spread**2) + count * (value - mos) ** 2).sum() / (n - 1)))
            half = _quantile(n) * std / float(np.sqrt(n))
        names = dict(zip(by, key, strict=True))
        records.append(names | {"mos": mos, "n": n, "std": std, "ci95": half, "screening": screening})
    frame = pd.DataFrame(records, columns=[*by, "mos", "n", "std", "ci95", "screening"])
    return frame.astype({"std": object, "ci95": object})


def _quantile(n: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, n - 1)) if n < 30 else 1.96


def _votes(ratings: pd.DataFrame) -> pd.DataFrame:
    """Checked ratings; a single vote has n = 1 and no spread."""
    absent = [name for name in ("system_id", "mixture_id", "scale", "value") if name not in ratings.columns]
    if absent:
        raise ValueError(f"ratings must have the columns {', '.join(absent)}")
    blank = np.full(len(ratings), np.nan)
    value = ratings["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    n = ratings["n"].to_numpy(dtype=np.float64, na_value=np.nan) if "n" in ratings.columns else blank
    std = ratings["std"].to_numpy(dtype=np.float64, na_value=np.nan) if "std" in ratings.columns else blank
    n = np.where(np.isnan(n), 1.0, n)
    if not np.isfinite(value).all():
        raise ValueError(f"value of a rating must be finite, got {value[~np.isfinite(value)][0]}")
    if (n < 1).any() or (n != np.round(n)).any():
        raise ValueError(f"n of a rating must be a whole number from 1, got {n[(n < 1) | (n != np.round(n))][0]:g}")
    if (std < 0).any():
        raise ValueError(f"std of a rating must not be negative, got {std[std < 0][0]:g}")
    return ratings.assign(value=value, n=n, std=np.where(n == 1, 0.0, std))


def post_screen(
    ratings: pd.DataFrame,
    *,
    reference: str,
    mid_anchor: str | None = None,
    threshold: float = 90.0,
    share: float = 0.15,
) -> Screening:
    """MUSHRA post-screening: leave out listeners who did not hear the hidden reference, or praised the anchor.

    A rater goes where he gave the hidden reference (`system_id` = `reference`) less than `threshold` on more than
    `share` of its items, or the mid-range anchor more than that on more than `share`. ITU-R BS.1534-3 (2015), section
    4.1.2.
    """
    if "rater" not in ratings.columns or ratings["rater"].isna().any():
        raise ValueError("post-screening needs the rater of every vote")
    checks = [(reference, "hidden reference below", -1)]
    if mid_anchor is not None:
        checks.append((mid_anchor, "mid anchor above", 1))
    excluded: dict[str, str] = {}
    for system, words, sign in checks:
        votes = ratings[ratings["system_id"] == system]
        if votes.empty:
            raise ValueError(f"post-screening needs ratings of {system!r}, got none")
        bad = sign * (votes["value"].astype(float) - threshold) > 0
        for rater, rate in bad.groupby(votes["rater"], sort=True).mean().items():
            if rate > share:
                excluded.setdefault(str(rater), f"{words} {threshold:g} on {rate:.0%} of the items")
    rule = f"raters left out who gave the hidden reference less than {threshold:g}"
    rule += f" or the mid anchor more than {threshold:g}" if mid_anchor is not None else ""
    rule += f" on more than {share:.0%} of the items (ITU-R BS.1534-3)"
    return Screening(ratings[~ratings["rater"].astype(str).isin(list(excluded))], excluded, rule)
