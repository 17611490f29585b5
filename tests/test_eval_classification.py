"""eval.classification against scikit-learn, values known on paper, and its own definitions."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from eval import classification as c
from eval.outcome import EstimateFault, ReferenceFault

EXACT = 1e-12  # both sum the same float64 ratios


def some_labels(seed: int, items: int = 300, classes: int = 7) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, classes, items)
    estimate = np.where(rng.random(items) < 0.6, reference, rng.integers(0, classes, items))
    return reference, estimate


def some_tags(seed: int, items: int = 200, classes: int = 6) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    reference = (rng.random((items, classes)) < np.linspace(0.05, 0.6, classes)).astype(int)
    return reference, np.round(reference + rng.normal(0, 1, reference.shape), seed % 3)  # rounded: many ties


# labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_rates_equal_sklearn(seed: int, average: str) -> None:
    reference, estimate = some_labels(seed, items=(8, 300)[seed % 2])  # eight items: some classes only on one side
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined precision, which is 0 there and here
        expected = sk.precision_recall_fscore_support(reference, estimate, average=average, zero_division=0)[:3]
    found = c.rates(c.label_counts(reference=reference, estimate=estimate), average=average)
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_class_rates_confusion_and_accuracies_equal_sklearn(seed: int) -> None:
    reference, estimate = some_labels(seed, items=40)
    counts = c.label_counts(reference=reference, estimate=estimate)
    expected = sk.precision_recall_fscore_support(reference, estimate, zero_division=0)[:3]
    found = np.array([(r.precision, r.recall, r.f1) for r in c.class_rates(counts)]).T
    assert found == pytest.approx(np.array(expected), abs=EXACT)
    matrix = c.confusion(reference=reference, estimate=estimate)
    assert (matrix == sk.confusion_matrix(reference, estimate)).all()
    assert c.accuracy(reference=reference, estimate=estimate) == sk.accuracy_score(reference, estimate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that only the estimate has
        balanced = sk.balanced_accuracy_score(reference, estimate)
    assert c.balanced_accuracy(reference=reference, estimate=estimate) == pytest.approx(balanced, abs=EXACT)


def test_labels_on_paper() -> None:
    reference, estimate = ["yes", "yes", "yes", "no"], ["yes", "no", "yes", "stop"]
    assert c.accuracy(reference=reference, estimate=estimate) == 0.5
    assert c.balanced_accuracy(reference=reference, estimate=estimate) == pytest.approx(1 / 3, abs=EXACT)
    order = ["yes", "no", "stop", "go"]
    matrix = c.confusion(reference=reference, estimate=estimate, classes=order)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    counts = c.label_counts(reference=reference, estimate=estimate, classes=order)
    assert counts.sum(axis=0).tolist() == [[2, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0]]
    yes = c.class_rates(counts)[0]
    assert (yes.precision, yes.recall, yes.f1) == pytest.approx((1, 2 / 3, 0.8), abs=EXACT)
    # go is in nobody's labels: three classes share the mean
    assert c.rates(counts, average="macro").recall == pytest.approx(2 / 9, abs=EXACT)
    assert c.rates(counts, average="weighted").recall == pytest.approx(0.5, abs=EXACT)


def test_strings_of_a_table_and_numbers_agree() -> None:
    reference, estimate = some_labels(1, items=50)
    names = np.array(list("abcdefg"), dtype=object)
    found = c.confusion(reference=names[reference], estimate=names[estimate])
    assert (found == c.confusion(reference=reference, estimate=estimate)).all()


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_tag_rates_equal_sklearn(average: str) -> None:
    reference, scores = some_tags(1)
    estimate = (scores > 0.4).astype(int)
    expected = sk.precision_recall_fscore_support(reference, estimate, average=average)[:3]
    found = c.rates(c.tag_counts(reference=reference, estimate=estimate), average=average)
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected, abs=EXACT)


def test_counts_of_items_add_up_and_resample() -> None:
    reference, estimate = some_labels(3, items=60)
    counts = c.label_counts(reference=reference, estimate=estimate)
    assert counts.shape == (60, 7, 3)
    assert (counts.sum(axis=(1, 2)) == np.where(reference == estimate, 1, 2)).all()
    drawn = np.random.default_rng(0).integers(0, 60, 60)
    weights = np.bincount(drawn, minlength=60)
    resampled = c.rates(np.tensordot(weights, counts, axes=1), average="macro")
    again = c.label_counts(reference=reference[drawn], estimate=estimate[drawn], classes=range(7))
    assert resampled == c.rates(again, average="macro")


def test_no_class_at_all() -> None:
    nothing = np.zeros((5, 3), dtype=int)
    for average in ("macro", "micro", "weighted"):
        for estimate in (nothing, nothing + 1):
            with pytest.raises(ReferenceFault, match="no_positives"):
                c.rates(c.tag_counts(reference=nothing, estimate=estimate), average=average)


def test_label_faults() -> None:
    with pytest.raises(ReferenceFault, match="empty"):
        c.accuracy(reference=[], estimate=[])
    with pytest.raises(EstimateFault, match="unknown_class"):
        c.confusion(reference=[0, 1], estimate=[0, 2], classes=[0, 1])
    with pytest.raises(ValueError, match="reference must hold labels of classes, got 2"):
        c.confusion(reference=[0, 2], estimate=[0, 1], classes=[0, 1])
    with pytest.raises(ValueError, match="classes must be distinct"):
        c.confusion(reference=[0], estimate=[0], classes=[0, 0])
    with pytest.raises(ValueError, match=r"estimate must have the reference's shape \(2,\), got \(1,\)"):
        c.accuracy(reference=[0, 1], estimate=[0])
    with pytest.raises(ValueError, match="estimate must hold labels of the reference's kind"):
        c.accuracy(reference=["1", "2"], estimate=[1, 2])
    with pytest.raises(ValueError, match="reference must hold integers or strings, got float64"):
        c.accuracy(reference=[0.5], estimate=[0.5])
    with pytest.raises(ValueError, match="reference must hold integers or strings, got object"):
        c.accuracy(reference=np.array(["a", None]), estimate=["a", "b"])
    with pytest.raises(ValueError, match=r"reference must have shape \(items,\), got \(1, 2\)"):
        c.accuracy(reference=[[0, 1]], estimate=[[0, 1]])
    with pytest.raises(ValueError, match="average must be macro, micro or weighted, got 'samples'"):
        c.rates(np.zeros((2, 3)), average="samples")
    with pytest.raises(ValueError, match=r"counts must have shape \(..., classes, 3\), got \(2, 4\)"):
        c.rates(np.zeros((2, 4)), average="macro")
    with pytest.raises(ValueError, match="counts must be finite and not negative"):
        c.rates([[1, -1, 0]], average="macro")
    with pytest.raises(ValueError, match="estimate must hold only 0 and 1"):
        c.tag_counts(reference=[[0, 1]], estimate=[[0, 0.5]])
    with pytest.raises(ValueError, match=r"estimate must have the reference's shape \(1, 2\)"):
        c.tag_counts(reference=[[0, 1]], estimate=[[0, 1, 0]])
    with pytest.raises(ValueError, match=r"labels must be within \[0, 2\), got 0 to 2"):
        c.one_hot([0, 2], 2)
    with pytest.raises(ValueError, match="labels must be integers"):
        c.one_hot([0.0], 2)


# detections


@pytest.mark.parametrize("seed", range(9))
def test_average_precision_and_auc_equal_sklearn(seed: int) -> None:
    reference, scores = some_tags(seed)
    for k in range(reference.shape[1]):
        pair: dict[str, Any] = {"reference": reference[:, k], "scores": scores[:, k]}
        expected = sk.average_precision_score(reference[:, k], scores[:, k])
        assert c.average_precision(**pair) == pytest.approx(expected, abs=EXACT)
        assert c.roc_auc(**pair) == pytest.approx(sk.roc_auc_score(reference[:, k], scores[:, k]), abs=EXACT)
    macro = sk.average_precision_score(reference, scores)
    assert c.mean_average_precision(reference=reference, scores=scores).value == pytest.approx(macro, abs=EXACT)
    assert c.mean_roc_auc(reference=reference, scores=scores).value == pytest.approx(
        sk.roc_auc_score(reference, scores, average="macro"), abs=EXACT
    )


def test_multi_class_auc_equals_sklearn() -> None:
    reference, _ = some_labels(5, classes=4)
    logits = np.random.default_rng(6).normal(size=(300, 4)) + 1.5 * c.one_hot(reference, 4)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(reference, scores, multi_class="ovr", average="macro")
    found = c.mean_roc_auc(reference=c.one_hot(reference, 4), scores=scores)
    assert found.value == pytest.approx(expected, abs=EXACT)
    assert not found.undefined


@given(
    trials=st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40).filter(
        lambda t: len({truth for truth, _ in t}) == 2
    )
)
@settings(max_examples=150)
def test_auc_is_the_share_of_pairs_in_order(trials: list[tuple[bool, int]]) -> None:
    positives, negatives = [s for t, s in trials if t], [s for t, s in trials if not t]
    pairs = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    reference, scores = zip(*trials, strict=True)
    found = c.roc_auc(reference=reference, scores=scores)
    assert found == pairs / (len(positives) * len(negatives))
    assert c.roc_auc(reference=reference, scores=[-s for s in scores]) == pytest.approx(1 - found, abs=EXACT)
    assert c.roc_auc(reference=reference, scores=[s**3 / 64 + 9 for s in scores]) == found
    rising = c.equal_error(reference=reference, scores=scores).rate
    falling = c.equal_error(reference=reference, scores=[-s for s in scores]).rate
    assert 0 <= rising <= 1
    assert rising + falling == pytest.approx(1, abs=EXACT)


def test_auc_of_many_trials_is_exact() -> None:
    # 4e10 pairs: products of int32 would overflow
    found = c.roc_auc(reference=np.arange(400_000) >= 200_000, scores=np.arange(400_000) // 2)
    assert found == 1


def test_detections_on_paper() -> None:
    pair: dict[str, Any] = {"reference": [1, 0, 1, 0, 0], "scores": [0.9, 0.8, 0.7, 0.7, 0.1]}
    assert c.average_precision(**pair) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4, abs=EXACT)
    assert c.roc_auc(**pair) == (3 + 1 + 0.5) / 6
    curve = c.det(**pair)
    assert curve.thresholds.tolist() == [math.inf, 0.9, 0.8, 0.7, 0.1]
    assert curve.false_alarm_rates == pytest.approx(np.array([0, 0, 1 / 3, 2 / 3, 1]), abs=EXACT)
    assert curve.miss_rates.tolist() == [1, 0.5, 0.5, 0, 0]
    # between (1/3, 1/2) and (2/3, 0): 1/3 + t/3 = 1/2 - t/2 at t = 1/5
    found = c.equal_error(**pair)
    assert found.rate == pytest.approx(0.4, abs=EXACT)
    assert found.threshold == pytest.approx(0.78, abs=EXACT)
    assert c.equal_error(reference=[1, 1, 0, 0], scores=[4, 3, 2, 1]).rate == 0
    assert c.equal_error(reference=[1, 1, 0, 0], scores=[1, 2, 3, 4]).rate == 1


@pytest.mark.parametrize("seed", range(9))
def test_det_and_equal_error_equal_sklearn(seed: int) -> None:
    from scipy.interpolate import interp1d
    from scipy.optimize import brentq

    reference, scores = some_tags(seed)
    pair: dict[str, Any] = {"reference": reference[:, 3], "scores": scores[:, 3]}
    far, hit, thresholds = sk.roc_curve(reference[:, 3], scores[:, 3], drop_intermediate=False)
    curve = c.det(**pair)
    assert curve.thresholds == pytest.approx(thresholds)
    assert curve.false_alarm_rates == pytest.approx(far, abs=EXACT)
    assert curve.miss_rates == pytest.approx(1 - hit, abs=EXACT)
    line = interp1d(far + 1e-15 * np.arange(len(far)), 1 - hit)  # distinct abscissas for steep parts
    expected = brentq(lambda x: float(line(x)) - x, 0, 1)
    found = c.equal_error(**pair)
    assert found.rate == pytest.approx(expected, abs=1e-9)  # brentq stops at 2e-12, the abscissas move by 1e-13
    detected = scores[:, 3] >= found.threshold
    miss = 1 - detected[reference[:, 3] == 1].mean()
    assert abs(miss - found.rate) <= 1 - np.diff(hit, prepend=0).min()


def test_sklearn_det_curve_is_part_of_ours() -> None:
    reference, scores = some_tags(2)
    far, miss, thresholds = sk.det_curve(reference[:, 4], scores[:, 4])
    ours = c.det(reference=reference[:, 4], scores=scores[:, 4])
    points = {t: (f, m) for t, f, m in zip(ours.thresholds, ours.false_alarm_rates, ours.miss_rates, strict=True)}
    assert len(thresholds) > 50
    for t, f, m in zip(thresholds, far, miss, strict=True):
        assert points[t] == pytest.approx((f, m), abs=EXACT)


def test_constant_scores() -> None:
    pair: dict[str, Any] = {"reference": [1, 0, 0, 0], "scores": [3.0] * 4}
    assert c.roc_auc(**pair) == 0.5
    assert c.average_precision(**pair) == 0.25
    assert c.equal_error(**pair) == c.EqualError(0.5, 3.0)


def test_infinite_scores_have_their_place() -> None:
    reference = [1, 1, 0, 0]
    scores = [math.inf, 0.0, 1.0, -math.inf]
    assert c.roc_auc(reference=reference, scores=scores) == 0.75
    assert c.average_precision(reference=reference, scores=scores) == pytest.approx((1 + 2 / 3) / 2, abs=EXACT)
    found = c.equal_error(reference=reference, scores=scores)
    assert (found.rate, found.threshold) == (0.5, 1.0)
    ends = c.equal_error(reference=[1, 0], scores=[-math.inf, math.inf])
    assert (ends.rate, ends.threshold) == (1.0, math.inf)


def test_false_alarms_per_hour() -> None:
    pair: dict[str, Any] = {"reference": [1, 0, 0, 1, 0], "scores": [0.9, 0.8, 0.5, 0.5, 0.2]}
    hours = {"negative_hours": 0.5}
    assert c.false_alarms_per_hour(**pair, threshold=0.5, **hours) == 4
    assert c.false_alarms_per_hour(**pair, threshold=0.50001, **hours) == 2
    assert c.false_alarms_per_hour(**pair, threshold=0.85, **hours) == 0
    assert c.false_alarms_per_hour(**pair, threshold=5.0, **hours) == 0
    assert c.false_alarms_per_hour(**pair, threshold=-5.0, **hours) == 6
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="negative_hours must be finite and above 0"):
            c.false_alarms_per_hour(**pair, threshold=0.5, negative_hours=bad)
    with pytest.raises(ValueError, match="threshold must be a number, got nan"):
        c.false_alarms_per_hour(**pair, threshold=math.nan, **hours)


def test_miss_rate_at_false_alarms() -> None:
    pair: dict[str, Any] = {"reference": [1, 0, 0, 1, 0], "scores": [0.9, 0.8, 0.5, 0.5, 0.2]}
    strict = c.miss_rate_at_fa_per_hour(**pair, fa_per_hour=0, negative_hours=10)
    assert strict == c.OperatingPoint(0.9, 0.5, 0.0, 0)
    # the positive at 0.5 comes with a second false alarm
    assert c.miss_rate_at_fa_per_hour(**pair, fa_per_hour=0.1, negative_hours=10) == c.OperatingPoint(
        0.8, 0.5, 1 / 3, 1
    )
    assert c.miss_rate_at_fa_per_hour(**pair, fa_per_hour=0.2, negative_hours=10) == c.OperatingPoint(0.5, 0, 2 / 3, 2)
    assert c.miss_rate_at_fa_rate(**pair, fa_rate=2 / 3).miss_rate == 0
    assert c.miss_rate_at_fa_rate(**pair, fa_rate=0.66).miss_rate == 0.5
    nothing = c.miss_rate_at_fa_rate(reference=[0, 1], scores=[1, 0], fa_rate=0.5)
    assert nothing == c.OperatingPoint(math.inf, 1.0, 0.0, 0)
    assert c.miss_rate_at_fa_rate(reference=[0, 1], scores=[1, 0], fa_rate=1) == c.OperatingPoint(0.0, 0.0, 1.0, 1)
    with pytest.raises(ValueError, match=r"fa_rate must be within \[0, 1\], got 1.5"):
        c.miss_rate_at_fa_rate(**pair, fa_rate=1.5)
    with pytest.raises(ValueError, match="fa_per_hour must be finite and not negative, got -1"):
        c.miss_rate_at_fa_per_hour(**pair, fa_per_hour=-1, negative_hours=1)


def test_a_product_in_float64_does_not_lose_an_allowed_false_alarm() -> None:
    assert 0.29 * 100 < 29
    pair: dict[str, Any] = {"reference": [1] + 29 * [0], "scores": list(range(30))}
    assert c.miss_rate_at_fa_per_hour(**pair, fa_per_hour=0.29, negative_hours=100).false_alarms == 29


@pytest.mark.parametrize("seed", range(3))
def test_operating_points_keep_their_promise(seed: int) -> None:
    reference, scores = some_tags(seed)
    truth, s = reference[:, 2], scores[:, 2]
    for allowed in (0.0, 0.01, 0.1, 0.5):
        point = c.miss_rate_at_fa_rate(reference=truth, scores=s, fa_rate=allowed)
        detected = s >= point.threshold
        assert point.false_alarms == detected[truth == 0].sum() <= allowed * (truth == 0).sum()
        assert point.miss_rate == pytest.approx(1 - detected[truth == 1].mean(), abs=EXACT)
        below = s[s < point.threshold].max()
        assert (s >= below)[truth == 0].mean() > allowed


# what is not defined


ALL = (c.average_precision, c.roc_auc, c.det, c.equal_error)


@pytest.mark.parametrize("metric", ALL)
def test_no_positives(metric: Any) -> None:
    with pytest.raises(ReferenceFault, match=r"^no_positives$"):
        metric(reference=[0, 0], scores=[0.1, 0.2])


@pytest.mark.parametrize("metric", ALL[1:])
def test_no_negatives(metric: Any) -> None:
    with pytest.raises(ReferenceFault, match=r"^no_negatives$"):
        metric(reference=[1, 1], scores=[0.1, 0.2])


def test_average_precision_needs_no_negatives() -> None:
    assert c.average_precision(reference=[1, 1], scores=[0.1, 0.2]) == 1


def test_operating_points_need_both() -> None:
    for reference, reason in (([0, 0], "no_positives"), ([1, 1], "no_negatives")):
        with pytest.raises(ReferenceFault, match=reason):
            c.miss_rate_at_fa_rate(reference=reference, scores=[1, 2], fa_rate=0.1)
        with pytest.raises(ReferenceFault, match=reason):
            c.miss_rate_at_fa_per_hour(reference=reference, scores=[1, 2], fa_per_hour=1, negative_hours=1)


@pytest.mark.parametrize("metric", ALL)
def test_bad_trials(metric: Any) -> None:
    with pytest.raises(EstimateFault, match="nan"):
        metric(reference=[0, 1], scores=[0.1, math.nan])
    with pytest.raises(ReferenceFault, match="empty"):
        metric(reference=[], scores=[])
    with pytest.raises(ValueError, match=r"scores must have the reference's shape \(2,\), got \(3,\)"):
        metric(reference=[0, 1], scores=[1, 2, 3])
    with pytest.raises(ValueError, match="reference must hold only 0 and 1"):
        metric(reference=[0, 2], scores=[1, 2])
    with pytest.raises(ValueError, match=r"reference must have 1 axes, got shape \(1, 2\)"):
        metric(reference=[[0, 1]], scores=[[1, 2]])


def test_a_class_without_positives_is_reported() -> None:
    reference, scores = some_tags(4)
    alone = c.mean_average_precision(reference=reference, scores=scores)
    reference, scores = np.insert(reference, 2, 0, axis=1), np.insert(scores, 2, 1.0, axis=1)
    found = c.mean_average_precision(reference=reference, scores=scores)
    assert found.value == alone.value
    assert found.undefined == {2: "no_positives"}
    assert found.values[2] is None
    assert len(found.values) == 7
    reference[:, 2] = 1
    assert c.mean_roc_auc(reference=reference, scores=scores).undefined == {2: "no_negatives"}
    with pytest.raises(ReferenceFault, match="no_positives"):
        c.mean_average_precision(reference=np.zeros((3, 2)), scores=np.zeros((3, 2)))
    with pytest.raises(ReferenceFault, match="empty"):
        c.mean_average_precision(reference=np.zeros((3, 0)), scores=np.zeros((3, 0)))
    with pytest.raises(EstimateFault, match="nan"):
        c.mean_average_precision(reference=[[0, 1]], scores=[[0, math.nan]])
    with pytest.raises(ValueError, match=r"scores must have the reference's shape \(1, 2\), got \(2,\)"):
        c.mean_average_precision(reference=[[0, 1]], scores=[0, 1])
