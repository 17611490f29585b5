"""Scores of labels and of detections: accuracy, precision, recall, F1, average precision, ROC-AUC, EER, false alarms.

Conventions
    Labels: `reference` and `estimate` have shape `(items,)` and hold integers or strings. Tags: shape `(items,
    classes)` of 0 and 1, several per item. Detections: `reference` is 0 or 1 per trial, `scores` is higher for what is
    more likely a 1, and a trial is detected where its score is at or above the threshold. Rates are fractions, 0..1.
    Every result equals scikit-learn's for the same input, save for what has no value, which is never a 0 here.

What is not defined
    Without a positive trial there is no average precision, ROC-AUC, EER or miss rate, without a negative one no
    ROC-AUC, EER or false-alarm rate: `ReferenceFault` with the reason `no_positives` or `no_negatives`. In a mean over
    classes such a class is left out and named in `undefined`. Scores that are NaN raise `EstimateFault`. Equal scores
    are one threshold: constant scores give an AUC of 0.5, an EER of 0.5 and the share of positives as average
    precision. Infinite scores have their place in the order.

Counts are what a bootstrap resamples: `label_counts` and `tag_counts` have one row per item, any weighted sum of rows
goes to `rates`. In each class precision is hits / (hits + false), recall hits / (hits + missed), F1 2 hits / (2 hits +
false + missed); 0 / 0 is 0, for a class that is never estimated has earned no precision. `macro` is the mean over the
classes that the reference or the estimate has, `weighted` the mean weighted by the reference's items, `micro` the rate
of the summed counts.

average precision  sum_n (R_n - R_{n-1}) P_n over the distinct scores, falling; not interpolated
ROC-AUC            the share of (positive, negative) pairs in order, ties counting half: Mann-Whitney's U
EER                where the miss rate equals the false-alarm rate, on straight lines between the points of the DET
                   curve (Martin et al., "The DET curve in assessment of detection task performance", 1997)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault

__all__ = [
    "ClassMean",
    "Det",
    "EqualError",
    "OperatingPoint",
    "Rates",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "class_rates",
    "confusion",
    "det",
    "equal_error",
    "false_alarms_per_hour",
    "label_counts",
    "mean_average_precision",
    "mean_roc_auc",
    "miss_rate_at_fa_per_hour",
    "miss_rate_at_fa_rate",
    "one_hot",
    "rates",
    "roc_auc",
    "tag_counts",
]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

HIT, FALSE, MISSED = range(3)
"""The last axis of counts."""


@dataclass(frozen=True)
class Rates:
    """Precision, recall and F1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassMean:
    """A mean over classes. `values` has one entry per class, None where `undefined` says why."""

    value: float
    values: tuple[float | None, ...]
    undefined: Mapping[int, str]


@dataclass(frozen=True)
class Det:
    """Points of a detection-error trade-off, one per distinct score, from strict to lenient. The first detects nothing:
    threshold +inf, no false alarm, every positive missed.
    """

    thresholds: Floats
    false_alarm_rates: Floats
    miss_rates: Floats


@dataclass(frozen=True)
class EqualError:
    """The equal error rate, and the threshold where both rates have it."""

    rate: float
    threshold: float


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold costs. +inf detects nothing."""

    threshold: float
    miss_rate: float
    false_alarm_rate: float
    false_alarms: int


# labels and tags


def accuracy(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """Share of items with the right label."""
    r, e = _labels(reference, estimate)
    return float(np.mean(r == e))


def balanced_accuracy(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """Mean recall of the classes that the reference has."""
    matrix = confusion(reference=reference, estimate=estimate)
    items = matrix.sum(axis=1)
    present = items > 0
    return float(np.mean(np.diag(matrix)[present] / items[present]))


def confusion(*, reference: ArrayLike, estimate: ArrayLike, classes: Sequence[Any] | None = None) -> Counts:
    """Items by class, rows the reference's and columns the estimate's, shape `(classes, classes)`.

    `classes` gives the order, by default all labels that occur, sorted.
    """
    rows, columns, count = _codes(reference, estimate, classes)
    return np.bincount(rows * count + columns, minlength=count * count).reshape(count, count).astype(np.int64)


def label_counts(*, reference: ArrayLike, estimate: ArrayLike, classes: Sequence[Any] | None = None) -> Counts:
    """(hit, false, missed) of every item and class, shape `(items, classes, 3)`, for one label per item."""
    rows, columns, count = _codes(reference, estimate, classes)
    return _counts(one_hot(rows, count), one_hot(columns, count))


def tag_counts(*, reference: ArrayLike, estimate: ArrayLike) -> Counts:
    """(hit, false, missed) of every item and class, shape `(items, classes, 3)`, for any number of tags per item."""
    r, e = _binary("reference", reference, 2), _binary("estimate", estimate, 2)
    if r.shape != e.shape:
        raise ValueError(f"estimate must have the reference's shape {r.shape}, got {e.shape}")
    return _counts(r, e)


def one_hot(labels: ArrayLike, n_classes: int) -> NDArray[np.bool_]:
    """Labels 0..n_classes - 1 as tags, shape `(items, n_classes)`."""
    codes = np.asarray(labels)
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers of shape (items,), got {codes.dtype} of shape {codes.shape}")
    if codes.size and not 0 <= codes.min() <= codes.max() < n_classes:
        raise ValueError(f"labels must be within [0, {n_classes}), got {codes.min()} to {codes.max()}")
    return np.asarray(codes[:, None] == np.arange(n_classes))


def rates(counts: ArrayLike, *, average: str) -> Rates:
    """Precision, recall and F1 over all classes. `counts` has shape `(..., classes, 3)` and is summed over the leading
    axes; `average` is macro, micro or weighted. A reference without any class raises `ReferenceFault`.
    """
    if average not in ("macro", "micro", "weighted"):
        raise ValueError(f"average must be macro, micro or weighted, got {average!r}")
    totals = _totals(counts)
    support = totals[:, HIT] + totals[:, MISSED]
    if not support.any():
        raise ReferenceFault("no_positives")
    if average == "micro":
        return Rates(*map(float, _rates(totals.sum(axis=0))))
    weights = support if average == "weighted" else totals.sum(axis=1) > 0
    return Rates(*map(float, np.average(_rates(totals), axis=0, weights=weights)))


def class_rates(counts: ArrayLike) -> list[Rates]:
    """Precision, recall and F1 of every class."""
    return [Rates(*map(float, row)) for row in _rates(_totals(counts))]


def _counts(reference: NDArray[np.bool_], estimate: NDArray[np.bool_]) -> Counts:
    return np.stack([reference & estimate, estimate & ~reference, reference & ~estimate], axis=-1).astype(np.int64)


def _totals(counts: ArrayLike) -> Floats:
    table: Floats = np.asarray(counts, dtype=np.float64)
    if table.ndim < 2 or table.shape[-1] != 3 or table.shape[-2] == 0:
        raise ValueError(f"counts must have shape (..., classes, 3), got {table.shape}")
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise ValueError("counts must be finite and not negative")
    totals: Floats = table.reshape(-1, *table.shape[-2:]).sum(axis=0)
    return totals


def _rates(totals: Floats) -> Floats:
    """Precision, recall, F1 along a new last axis of `(..., 3)`."""
    hit, false, missed = np.moveaxis(totals, -1, 0)
    upper = np.stack([hit, hit, 2 * hit], axis=-1)
    lower = np.stack([hit + false, hit + missed, 2 * hit + false + missed], axis=-1)
    ratios: Floats = np.divide(upper, lower, out=np.zeros_like(upper), where=lower > 0)
    return ratios


def _labels(reference: ArrayLike, estimate: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    r, e = _label_array("reference", reference), _label_array("estimate", estimate)
    if r.ndim != 1:
        raise ValueError(f"reference must have shape (items,), got {r.shape}")
    if e.shape != r.shape:
        raise ValueError(f"estimate must have the reference's shape {r.shape}, got {e.shape}")
    if r.size == 0:
        raise ReferenceFault("empty")
    if (r.dtype.kind == "U") != (e.dtype.kind == "U"):  # numpy would turn 1 into "1" and compare
        raise ValueError(f"estimate must hold labels of the reference's kind {r.dtype}, got {e.dtype}")
    return r, e


def _label_array(name: str, labels: ArrayLike) -> NDArray[Any]:
    table = np.asarray(labels)
    if table.dtype.kind == "O" and all(isinstance(label, str) for label in table.ravel()):
        table = table.astype(str)
    if table.dtype.kind not in "biuU" and table.size:
        raise ValueError(f"{name} must hold integers or strings, got {table.dtype}")
    return table


def _codes(
    reference: ArrayLike, estimate: ArrayLike, classes: Sequence[Any] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Labels as places in `classes`, and the number of classes."""
    r, e = _labels(reference, estimate)
    known = np.unique(np.concatenate([r, e])) if classes is None else np.asarray(classes)
    place = {label: index for index, label in enumerate(known.tolist())}
    if len(place) < len(known):
        raise ValueError(f"classes must be distinct, got {list(known)}")
    strange = set(r.tolist()) - set(place)
    if strange:
        raise ValueError(f"reference must hold labels of classes, got {min(strange)!r}")
    if set(e.tolist()) - set(place):
        raise EstimateFault("unknown_class")
    rows, columns = (np.array([place[label] for label in labels.tolist()], dtype=np.intp) for labels in (r, e))
    return rows, columns, len(known)


# detections


def average_precision(*, reference: ArrayLike, scores: ArrayLike) -> float:
    """Average precision of the trials in the order of their scores."""
    trials = _Trials.of(reference, scores)
    trials.need(positives=True)
    precision = trials.hits / (trials.hits + trials.false)
    steps = np.diff(trials.hits, prepend=0)
    return float(np.sum(steps * precision) / trials.positives)


def roc_auc(*, reference: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve."""
    trials = _Trials.of(reference, scores)
    trials.need(positives=True, negatives=True)
    # Twice the pairs in order: a negative of a tie counts the positives above it twice and those beside it once.
    # Python's integers, because the number of pairs is squared.
    above = np.concatenate([[0], trials.hits[:-1]]) + trials.hits
    doubled = sum(int(a) * int(n) for a, n in zip(above, np.diff(trials.false, prepend=0), strict=True) if n)
    return doubled / (2 * trials.positives * trials.negatives)


def mean_average_precision(*, reference: ArrayLike, scores: ArrayLike) -> ClassMean:
    """Mean of the classes' average precision, for tags and scores of shape `(items, classes)`."""
    return _class_mean(average_precision, reference, scores)


def mean_roc_auc(*, reference: ArrayLike, scores: ArrayLike) -> ClassMean:
    """Mean of the classes' ROC-AUC, each against the rest, for tags and scores of shape `(items, classes)`. Labels
    become tags by `one_hot`.
    """
    return _class_mean(roc_auc, reference, scores)


def det(*, reference: ArrayLike, scores: ArrayLike) -> Det:
    """The detection-error trade-off."""
    trials = _Trials.of(reference, scores)
    trials.need(positives=True, negatives=True)
    return Det(
        thresholds=np.concatenate([[np.inf], trials.thresholds]),
        false_alarm_rates=np.concatenate([[0], trials.false]) / trials.negatives,
        miss_rates=(trials.positives - np.concatenate([[0], trials.hits])) / trials.positives,
    )


def equal_error(*, reference: ArrayLike, scores: ArrayLike) -> EqualError:
    """The equal error rate, above 0.5 for scores of the wrong sign."""
    curve = det(reference=reference, scores=scores)
    gap = curve.miss_rates - curve.false_alarm_rates
    after = int(np.argmax(gap <= 0))  # the last point has gap -1, the first 1
    part = gap[after - 1] / (gap[after - 1] - gap[after])
    low, high = curve.false_alarm_rates[after - 1 : after + 1]
    before, threshold = (float(t) for t in curve.thresholds[after - 1 : after + 1])
    if math.isfinite(before) and math.isfinite(threshold):
        threshold = before + part * (threshold - before)
    return EqualError(float(low + part * (high - low)), threshold)


def false_alarms_per_hour(*, reference: ArrayLike, scores: ArrayLike, threshold: float, negative_hours: float) -> float:
    """Detected negatives per hour. `negative_hours` is the duration of the audio without anything to detect."""
    trials = _Trials.of(reference, scores)
    _check_hours(negative_hours)
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, got nan")
    detected = int(np.sum(trials.thresholds >= threshold))
    return (int(trials.false[detected - 1]) if detected else 0) / negative_hours


def miss_rate_at_fa_rate(*, reference: ArrayLike, scores: ArrayLike, fa_rate: float) -> OperatingPoint:
    """The most lenient threshold whose false-alarm rate is at most `fa_rate`, and what it misses."""
    if not 0 <= fa_rate <= 1:
        raise ValueError(f"fa_rate must be within [0, 1], got {fa_rate}")
    trials = _Trials.of(reference, scores)
    trials.need(positives=True, negatives=True)
    return trials.at(fa_rate * trials.negatives)


def miss_rate_at_fa_per_hour(
    *, reference: ArrayLike, scores: ArrayLike, fa_per_hour: float, negative_hours: float
) -> OperatingPoint:
    """The most lenient threshold with at most `fa_per_hour` false alarms per hour, and what it misses."""
    if not (math.isfinite(fa_per_hour) and fa_per_hour >= 0):
        raise ValueError(f"fa_per_hour must be finite and not negative, got {fa_per_hour}")
    _check_hours(negative_hours)
    trials = _Trials.of(reference, scores)
    trials.need(positives=True, negatives=True)
    return trials.at(fa_per_hour * negative_hours)


@dataclass(frozen=True)
class _Trials:
    """Trials in order: per distinct score, falling, how many positives and negatives are at or above it."""

    thresholds: Floats
    hits: Counts
    false: Counts

    @classmethod
    def of(cls, reference: ArrayLike, scores: ArrayLike) -> _Trials:
        truth, s = _binary("reference", reference, 1), np.asarray(scores, dtype=np.float64)
        if s.shape != truth.shape:
            raise ValueError(f"scores must have the reference's shape {truth.shape}, got {s.shape}")
        if truth.size == 0:
            raise ReferenceFault("empty")
        if np.isnan(s).any():
            raise EstimateFault("nan")
        order = np.argsort(-s, kind="stable")
        s, truth = s[order], truth[order]
        last = np.append(s[1:] != s[:-1], True)  # the last trial of every tie
        return cls(s[last], np.cumsum(truth)[last].astype(np.int64), np.cumsum(~truth)[last].astype(np.int64))

    @property
    def positives(self) -> int:
        return int(self.hits[-1])

    @property
    def negatives(self) -> int:
        return int(self.false[-1])

    def need(self, *, positives: bool = False, negatives: bool = False) -> None:
        if positives and self.positives == 0:
            raise ReferenceFault("no_positives")
        if negatives and self.negatives == 0:
            raise ReferenceFault("no_negatives")

    def at(self, allowed: float) -> OperatingPoint:
        """The most lenient point with at most `allowed` false alarms."""
        # 0.1 false alarms per hour in 30 hours allow 3, which the product in float64 just misses
        count = int(np.sum(self.false <= allowed * (1 + 1e-12)))
        if count == 0:
            return OperatingPoint(math.inf, 1.0, 0.0, 0)
        hits, false = int(self.hits[count - 1]), int(self.false[count - 1])
        return OperatingPoint(
            threshold=float(self.thresholds[count - 1]),
            miss_rate=(self.positives - hits) / self.positives,
            false_alarm_rate=false / self.negatives,
            false_alarms=false,
        )


def _class_mean(metric: Callable[..., float], reference: ArrayLike, scores: ArrayLike) -> ClassMean:
    tags, s = _binary("reference", reference, 2), np.asarray(scores, dtype=np.float64)
    if s.shape != tags.shape:
        raise ValueError(f"scores must have the reference's shape {tags.shape}, got {s.shape}")
    values: list[float | None] = []
    undefined: dict[int, str] = {}
    for index in range(tags.shape[1]):
        try:
            values.append(metric(reference=tags[:, index], scores=s[:, index]))
        except ReferenceFault as fault:
            values.append(None)
            undefined[index] = fault.reason
    numbers = [value for value in values if value is not None]
    if not numbers:
        raise ReferenceFault(next(iter(undefined.values()), "empty"))
    return ClassMean(float(np.mean(numbers)), tuple(values), undefined)


def _binary(name: str, values: ArrayLike, ndim: int) -> NDArray[np.bool_]:
    table = np.asarray(values)
    if table.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {table.shape}")
    if table.dtype != np.bool_ and not ((table == 0) | (table == 1)).all():
        raise ValueError(f"{name} must hold only 0 and 1")
    return table.astype(np.bool_)


def _check_hours(negative_hours: float) -> None:
    if not (math.isfinite(negative_hours) and negative_hours > 0):
        raise ValueError(f"negative_hours must be finite and above 0, got {negative_hours}")
