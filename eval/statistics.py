"""Intervals, tests and ranks for systems that were scored on the same items, when the items come in clusters.

Conventions
    Items of one cluster (a speaker, a room, a recording) are not independent, so clusters are what is drawn, flipped
    and counted. Every aggregate is a ratio of sums, sum(numerators) / sum(denominators): a mean has denominators of
    one, a length-weighted mean has the lengths, a pooled rate has the errors over the reference words. Denominators
    belong to the item and are the same for every system. Tables have shape (items, systems), cluster sums (clusters,
    systems), draws (draws, systems). Pairs of systems stand in the order of `pairs_of`. P-values are two-sided.

What is computed
    Intervals: percentile (or BCa) bootstrap over whole clusters; all systems share the draws, so that the interval of
    a difference is that of paired differences. Efron and Tibshirani (1993), chapters 13 and 14; Cameron, Gelbach and
    Miller, "Bootstrap-based improvements for inference with clustered errors" (2008); for pooled rates, Bisani and
    Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (2004).
    Tests: paired sign flips of whole clusters, which under the null hypothesis (the systems are exchangeable within a
    cluster) hold their level for any number of clusters. Holm (1979) corrects for the number of pairs.
    Ranks: the interval from 1 + the number of systems that are significantly better to the number of systems less
    those that are significantly worse. If no pair is wrongly called different, all intervals hold the true ranks
    together. Mogstad, Romano, Shaikh and Wilhelm, "Inference for ranks" (2024).

Limits
    With few clusters (below `MINIMUM_CLUSTERS`) intervals are too narrow, and the test runs out of flips: `smallest_p`
    is what it can reach at best, 0.25 with three clusters. It then calls nothing different, which is the truth about
    such data.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ALPHA",
    "DRAWS",
    "MINIMUM_CLUSTERS",
    "Clustered",
    "Standing",
    "bca_interval",
    "better_share",
    "blocks",
    "cluster_bootstrap",
    "first_share",
    "flips_needed",
    "holm",
    "pairs_of",
    "percentile_interval",
    "sign_flip",
    "smallest_p",
    "standing",
    "times_drawn",
    "wilcoxon",
]

ALPHA = 0.05
DRAWS = 10_000
MINIMUM_CLUSTERS = 8
"""Below this many clusters intervals and ranks come with a warning."""

_BLOCK = 4_000_000  # numbers held at a time
_ROUNDING = 1e-12  # sums that differ by less, relative to their size, are equal

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clustered:
    """The sums of every cluster: `sums` (clusters, systems) and `weights` (clusters,), their common denominators.

    All that follows needs nothing else of the items, so its cost does not grow with them.
    """

    sums: Floats
    weights: Floats

    @classmethod
    def of(cls, numerators: ArrayLike, clusters: ArrayLike, denominators: ArrayLike | None = None) -> Clustered:
        """Sum `numerators` (items, systems) and `denominators` (items,) by cluster; without them, items count one."""
        table = np.asarray(numerators, dtype=np.float64)
        each = np.ones(len(table)) if denominators is None else np.asarray(denominators, dtype=np.float64)
        if table.ndim != 2 or each.shape != table.shape[:1]:
            raise ValueError(
                f"numerators must be (items, systems) and denominators (items,), got {table.shape} and {each.shape}"
            )
        assert np.isfinite(table).all(), "NaN or infinity reached an aggregate"
        if not (np.isfinite(each) & (each >= 0)).all() or each.sum() == 0:
            raise ValueError("denominators must be finite, not negative and not all zero")
        names, codes = np.unique(np.asarray(clusters), return_inverse=True)
        sums = np.zeros((len(names), table.shape[1]))
        np.add.at(sums, codes, table)
        weights = np.zeros(len(names))
        np.add.at(weights, codes, each)
        return cls(sums, weights)

    @property
    def count(self) -> int:
        return len(self.weights)

    @property
    def aggregates(self) -> Floats:
        """The ratio of sums of every system."""
        return np.asarray(self.sums.sum(axis=0) / self.weights.sum())

    def resampled(self, *, draws: int = DRAWS, seed: int = 0) -> Floats:
        """The aggregates of `draws` resamples of the clusters. A resample without any weight has none and is left
        out, so that fewer rows may come back.
        """
        table = np.column_stack([self.sums, self.weights])
        drawn = np.concatenate([times @ table for times in times_drawn(self.count, draws, seed)])
        drawn = drawn[drawn[:, -1] > 0]
        return np.asarray(drawn[:, :-1] / drawn[:, -1:])

    def without_each(self) -> Floats:
        """The aggregates without one cluster, for every cluster (the jackknife)."""
        left = self.weights.sum() - self.weights
        if (left <= 0).any():
            raise ValueError("the jackknife needs weight in two clusters at least")
        return np.asarray((self.sums.sum(axis=0) - self.sums) / left[:, None])


@dataclass(frozen=True)
class Standing:
    """Where each system stands: arrays of one entry per system, in the systems' order.

    `rank_low` to `rank_high` is the interval of its rank. `tie_group` counts groups from 1: the best system that has
    no group leads the next, and all others without one that do not differ from it significantly join. A rank interval
    that starts at 1 belongs to group 1; the reverse need not hold, since a system that the leader does not beat
    significantly may be beaten by another. `p_leader` is the Holm-corrected p-value against the best system of all,
    NaN for that system itself.
    """

    rank_low: NDArray[np.intp]
    rank_high: NDArray[np.intp]
    tie_group: NDArray[np.intp]
    p_leader: Floats


# ------------------------------------------------------------------------------------------------------- intervals


def cluster_bootstrap(values: ArrayLike, clusters: ArrayLike, *, draws: int, seed: int) -> Floats:
    """Means of `draws` resamples of whole clusters, shape (draws, columns), for `values` of shape (items, columns)."""
    return Clustered.of(values, clusters).resampled(draws=draws, seed=seed)


def percentile_interval(resampled: Floats, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper ends, one per column."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return low, high


def bca_interval(data: Clustered, resampled: Floats, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Bias-corrected and accelerated ends, one per column. `resampled` is `data.resampled(...)`.

    Efron and Tibshirani (1993), equations 14.9 to 14.15, with clusters in place of observations. Better than the
    percentile interval where the distribution is skewed. A column that does not vary has an interval of no width.
    """
    from scipy.special import ndtr, ndtri

    estimate, count = data.aggregates, len(resampled)
    below = ((resampled < estimate).sum(axis=0) + (resampled == estimate).sum(axis=0) / 2) / count
    bias = ndtri(np.clip(below, 0.5 / count, 1 - 0.5 / count))
    spread = data.without_each()
    spread = spread.mean(axis=0) - spread
    size = (spread**2).sum(axis=0) ** 1.5
    acceleration = np.divide((spread**3).sum(axis=0), 6 * size, out=np.zeros_like(size), where=size > 0)
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        shifted = bias + ndtri(tail)
        share = ndtr(bias + shifted / (1 - acceleration * shifted))
        ends.append(np.array([np.quantile(column, q) for column, q in zip(resampled.T, share, strict=True)]))
    return ends[0], ends[1]


def times_drawn(count: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each of `count` clusters is drawn, in blocks of shape (some draws, count)."""
    rng = np.random.default_rng(seed)
    for size in blocks(count, draws):
        picked = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(picked.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def blocks(width: int, rows: int) -> Iterator[int]:
    """Sizes of blocks of rows of `width` numbers that fit in memory."""
    block = max(1, _BLOCK // max(1, width))
    for start in range(0, rows, block):
        yield min(block, rows - start)


# ----------------------------------------------------------------------------------------------------------- tests


def pairs_of(systems: int) -> list[tuple[int, int]]:
    """All pairs of systems: (0, 1), (0, 2), ..., (1, 2), ..."""
    return list(itertools.combinations(range(systems), 2))


def sign_flip(differences: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Two-sided p-values of paired differences, one per column, by flipping the signs of whole clusters.

    `differences` holds sums over the items of every cluster, shape (clusters, columns). The denominators are the same
    for both systems and whatever the signs, so the sums decide. All 2^clusters flips are counted where they are no
    more than `draws` (no correction: the data are one of them); else `draws` random ones, and the data are added to
    both counts, (1 + hits) / (1 + draws), which keeps the level (Phipson and Smyth, 2010).
    """
    table = np.asarray(differences, dtype=np.float64)
    assert np.isfinite(table).all(), "NaN or infinity reached a test"
    count, columns = table.shape
    observed = np.abs(table.sum(axis=0)) - _ROUNDING * np.abs(table).sum(axis=0)
    exact = 2**count <= draws
    hits = np.zeros(columns, dtype=np.int64)
    for flipped in _all_flips(count, columns) if exact else _random_flips(count, columns, draws, seed):
        hits += (np.abs((1.0 - 2.0 * flipped) @ table) >= observed).sum(axis=0)
    return np.asarray(hits / 2**count if exact else (1 + hits) / (1 + draws))


def _all_flips(clusters: int, columns: int) -> Iterator[NDArray[np.int64]]:
    """Every way to flip the clusters, as rows of zeros and ones: the bits of 0, 1, 2, ..."""
    start = 0
    for size in blocks(max(clusters, columns), 2**clusters):
        yield np.arange(start, start + size)[:, None] >> np.arange(clusters) & 1
        start += size


def _random_flips(clusters: int, columns: int, draws: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    for size in blocks(max(clusters, columns), draws):
        yield rng.random((size, clusters)) < 0.5  # unlike integers of 8 bits, the same however the blocks are cut


def smallest_p(clusters: int, *, draws: int = DRAWS) -> float:
    """The smallest p-value that `sign_flip` can give: a flip of all signs is as extreme as the data."""
    return 2.0 / 2**clusters if 2**clusters <= draws else 1.0 / (1 + draws)


def flips_needed(pairs: int, *, draws: int = DRAWS) -> int:
    """`draws`, or as many as Holm's first step needs: with `pairs` tests it asks for p < ALPHA / pairs, which `draws`
    flips can no longer give from about 32 systems on.
    """
    return max(draws, int(np.ceil(2 * pairs / ALPHA)))


def holm(p: ArrayLike) -> Floats:
    """P-values corrected for their number (Holm, 1979): below a level, they hold it for the family as a whole."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def wilcoxon(differences: ArrayLike) -> float:
    """Signed-rank p-value of one value per cluster, 1 where all are zero. A second opinion only: it tests whether
    differences are symmetric about zero in rank, not whether the aggregates differ.
    """
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    return float(stats.wilcoxon(values).pvalue) if values.any() else 1.0


# ----------------------------------------------------------------------------------------------------------- ranks


def standing(aggregates: ArrayLike, p: ArrayLike, *, better: str, alpha: float = ALPHA) -> Standing:
    """Rank intervals and tie groups from aggregates (one per system) and corrected p-values (in the order of
    `pairs_of`).
    """
    merit = _merit(np.asarray(aggregates, dtype=np.float64), better)
    count = len(merit)
    between = np.ones((count, count))
    for (i, j), value in zip(pairs_of(count), np.asarray(p, dtype=np.float64), strict=True):
        between[i, j] = between[j, i] = value
    beats = (between < alpha) & (merit[:, None] > merit)
    order = np.argsort(-merit, kind="stable")
    p_leader = between[order[0]].copy() if count else np.empty(0)
    p_leader[order[:1]] = np.nan
    return Standing(
        rank_low=1 + beats.sum(axis=0),
        rank_high=count - beats.sum(axis=1),
        tie_group=_tie_groups(order, between < alpha),
        p_leader=p_leader,
    )


def _tie_groups(order: NDArray[np.intp], differ: NDArray[np.bool_]) -> NDArray[np.intp]:
    groups = np.zeros(len(order), dtype=np.intp)
    for leader in order:
        if groups[leader] == 0:
            groups[(groups == 0) & ~differ[leader]] = groups.max() + 1
    return groups


def first_share(resampled: Floats, *, better: str) -> Floats:
    """The share of the draws in which each system is first; systems that tie for it share the draw."""
    merit = _merit(resampled, better)
    first = merit >= merit.max(axis=1, keepdims=True) - _ROUNDING * np.abs(merit).max(axis=1, keepdims=True)
    return np.asarray((first / first.sum(axis=1, keepdims=True)).mean(axis=0))


def better_share(own: ArrayLike, other: ArrayLike, *, better: str) -> float:
    """The share of the items on which a system does better than another one; items that tie count half."""
    gain = _merit(np.asarray(own, dtype=np.float64) - np.asarray(other, dtype=np.float64), better)
    return float(((gain > 0) + 0.5 * (gain == 0)).mean())


def _merit(values: Floats, better: str) -> Floats:
    if better not in ("higher", "lower"):
        raise ValueError(f"better must be 'higher' or 'lower', got {better!r}")
    return values if better == "higher" else -values
