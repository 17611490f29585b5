"""eval.psychometric against scikit-learn and scipy, values known on paper, simulated lists, and properties."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import psychometric as p

Floats = NDArray[np.float64]

LADDER = np.arange(-15.0, 2.0, 2.0)


def simulated(seed: int, words: int, srt_db: float = -7.0, slope: float = 0.15, **ends: float) -> dict[str, Any]:
    """One list of `words` words at every SNR of the ladder."""
    share = p.psychometric_function(LADDER, srt_db=srt_db, slope_per_db=slope, **ends)
    total = np.full(len(LADDER), words)
    return {"snr_db": LADDER, "n_correct": np.random.default_rng(seed).binomial(total, share), "n_total": total}


def test_the_function_on_paper() -> None:
    share = p.psychometric_function([-7, -5, -9, 1e4, -1e4], srt_db=-7, slope_per_db=0.15)
    steep = 1 / (1 + math.exp(-4 * 0.15 * 2))
    assert share == pytest.approx(np.array([0.5, steep, 1 - steep, 1, 0]), abs=1e-12)
    ends: dict[str, Any] = {"srt_db": -7, "slope_per_db": 0.1, "guess": 0.2, "lapse": 0.04}
    assert p.psychometric_function([-7, 1e4, -1e4], **ends) == pytest.approx(np.array([0.5, 0.96, 0.2]), abs=1e-12)
    around = p.psychometric_function([-7 - 1e-4, -7 + 1e-4], **ends)
    assert np.diff(around)[0] / 2e-4 == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize("ends", [{}, {"guess": 0.1, "lapse": 0.02}])
@pytest.mark.parametrize(("srt_db", "slope"), [(-7.0, 0.15), (-9.3, 0.05), (-2.0, 0.3)])
def test_expected_counts_give_back_the_function(srt_db: float, slope: float, ends: dict[str, float]) -> None:
    share = p.psychometric_function(LADDER, srt_db=srt_db, slope_per_db=slope, **ends)
    found = p.fit(snr_db=LADDER, n_correct=1000 * share, n_total=np.full(len(LADDER), 1000.0), **ends)
    assert found.reason is None
    assert found.srt_db == pytest.approx(srt_db, abs=1e-6)
    assert found.slope_per_db == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_simulated_lists_recover_minus_seven(seed: int) -> None:
    found = p.fit(**simulated(seed, words=2000))  # standard error 0.035 dB
    assert found.srt_db == pytest.approx(-7.0, abs=0.1)
    assert found.slope_per_db == pytest.approx(0.15, abs=0.01)
    assert not found.extrapolated


def test_two_snrs_are_met_exactly() -> None:
    # logit(0.2) = -logit(0.8): half way; slope (2 logit(0.8) / 4 dB) / 4
    found = p.fit(snr_db=[-9, -5], n_correct=[20, 80], n_total=[100, 100])
    assert found.srt_db == pytest.approx(-7, abs=1e-6)
    assert found.slope_per_db == pytest.approx(2 * math.log(4) / 4 / 4, abs=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_equals_logistic_regression_of_sklearn(seed: int) -> None:
    from sklearn.linear_model import LogisticRegression

    data = simulated(seed, words=12)
    right, wrong = data["n_correct"], data["n_total"] - data["n_correct"]
    x = np.concatenate([np.repeat(LADDER, right), np.repeat(LADDER, wrong)])[:, None]
    y = np.repeat([1, 0], [right.sum(), wrong.sum()])
    model = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000).fit(x, y)
    found = p.fit(**data)
    assert found.srt_db == pytest.approx(-model.intercept_[0] / model.coef_[0, 0], abs=1e-4)  # lbfgs stops early
    assert found.slope_per_db == pytest.approx(model.coef_[0, 0] / 4, rel=1e-4)


def log_likelihood(data: dict[str, Any], srt_db: float, slope: float) -> float:
    from scipy.stats import binom

    share = p.psychometric_function(data["snr_db"], srt_db=srt_db, slope_per_db=slope)
    return float(binom.logpmf(data["n_correct"], data["n_total"], share).sum())


@pytest.mark.parametrize("seed", range(3))
def test_intervals_end_where_scipy_sees_the_likelihood_drop(seed: int) -> None:
    from scipy.optimize import minimize_scalar
    from scipy.stats import chi2

    data = simulated(seed, words=15)
    found = p.fit(**data)
    assert found.srt_db is not None
    assert found.slope_per_db is not None
    best = log_likelihood(data, found.srt_db, found.slope_per_db)
    half = chi2.ppf(0.95, 1) / 2
    for srt in found.srt_ci_db:
        assert srt is not None
        other = minimize_scalar(lambda slope, srt=srt: -log_likelihood(data, srt, slope), bounds=(0.001, 2))
        assert best + other.fun == pytest.approx(half, abs=1e-4)
    for slope in found.slope_ci_per_db:
        assert slope is not None
        other = minimize_scalar(lambda srt, slope=slope: -log_likelihood(data, srt, slope), bounds=(-20, 5))
        assert best + other.fun == pytest.approx(half, abs=1e-4)
    assert found.srt_ci_db[0] < found.srt_db < found.srt_ci_db[1]
    assert found.slope_ci_per_db[0] < found.slope_per_db < found.slope_ci_per_db[1]


def test_intervals_cover() -> None:
    fits = [p.fit(**simulated(seed, words=40)) for seed in range(20)]
    srt = sum(f.srt_ci_db[0] <= -7 <= f.srt_ci_db[1] for f in fits)
    slope = sum(f.slope_ci_per_db[0] <= 0.15 <= f.slope_ci_per_db[1] for f in fits)
    # 95 % of 20: fewer than 16 happens once in 400 times; all 20 happen often, so the width is checked too
    assert srt >= 16
    assert slope >= 16
    spread = np.std([f.srt_db for f in fits])
    widths = [f.srt_ci_db[1] - f.srt_ci_db[0] for f in fits]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * spread, rel=0.4)  # a spread of 20 is good to 16 %


def test_more_words_narrow_the_intervals() -> None:
    share = p.psychometric_function(LADDER, srt_db=-7, slope_per_db=0.15)
    few, many = (p.fit(snr_db=LADDER, n_correct=n * share, n_total=np.full(9, n)) for n in (100.0, 10_000.0))
    ratio = (few.srt_ci_db[1] - few.srt_ci_db[0]) / (many.srt_ci_db[1] - many.srt_ci_db[0])
    assert ratio == pytest.approx(10, rel=0.01)


def test_an_end_without_a_bound_is_none() -> None:
    found = p.fit(snr_db=[-4, 0], n_correct=[4, 5], n_total=[10, 10])  # as good as flat
    assert found.srt_db == pytest.approx(0, abs=1e-5)
    assert found.srt_ci_db == (None, None)
    assert found.slope_ci_per_db[0] is None
    assert found.slope_ci_per_db[1] is not None
    nearly = p.fit(snr_db=[-9, -7, -5], n_correct=[0, 2, 9], n_total=[10, 10, 9])
    assert nearly.reason == "separated"
    nearly = p.fit(snr_db=[-9, -7, -5], n_correct=[1, 5, 10], n_total=[10, 10, 10])
    assert nearly.slope_ci_per_db[1] is not None


def test_rows_of_one_snr_add_up_and_empty_rows_do_not_count() -> None:
    whole = p.fit(snr_db=[-9, -5, -3], n_correct=[20, 60, 90], n_total=[100, 100, 100])
    parts = p.fit(
        snr_db=[-3, -9, 40, -5, -9, -5],
        n_correct=[90, 5, 0, 50, 15, 10],
        n_total=[100, 50, 0, 50, 50, 50],
    )
    assert parts == whole


@given(offset=st.floats(-40, 40), scale=st.floats(0.1, 10))
@settings(max_examples=5)
def test_another_decibel_scale_moves_everything_with_it(offset: float, scale: float) -> None:
    data = simulated(3, words=20)
    here = p.fit(**data)
    there = p.fit(**(data | {"snr_db": LADDER * scale + offset}))
    assert there.srt_db == pytest.approx(here.srt_db * scale + offset, abs=1e-4)
    assert there.slope_per_db == pytest.approx(here.slope_per_db / scale, rel=1e-4)
    assert there.srt_ci_db == pytest.approx([x * scale + offset for x in here.srt_ci_db], abs=1e-3)


def test_an_srt_outside_of_the_ladder_is_said_to_be() -> None:
    assert p.fit(snr_db=[-5, 0], n_correct=[60, 90], n_total=[100, 100]).extrapolated
    assert p.fit(snr_db=[-5, 0], n_correct=[10, 40], n_total=[100, 100]).extrapolated
    assert not p.fit(snr_db=[-5, 0], n_correct=[40, 90], n_total=[100, 100]).extrapolated


# data without a fit


@pytest.mark.parametrize(
    ("rows", "reason", "bracket"),
    [
        ([], "no_data", (None, None)),
        ([(-5, 0, 0)], "no_data", (None, None)),
        ([(-5, 9, 9), (0, 9, 9)], "all_correct", (None, -5)),
        ([(-5, 9, 9)], "all_correct", (None, -5)),
        ([(-5, 0, 9), (0, 0, 9)], "all_wrong", (0, None)),
        ([(-5, 4, 9)], "one_snr", (None, None)),
        ([(-5, 2, 9), (-5, 4, 9)], "one_snr", (None, None)),
        ([(-10, 0, 9), (-5, 0, 9), (0, 9, 9), (5, 9, 9)], "separated", (-5, 0)),
        ([(-10, 0, 9), (-5, 3, 9), (0, 9, 9)], "separated", (-5, -5)),
        ([(-5, 3, 9), (0, 9, 9)], "separated", (-5, -5)),
        ([(-5, 9, 9), (0, 0, 9)], "not_rising", (None, None)),
        ([(-5, 6, 9), (0, 3, 9)], "not_rising", (None, None)),
        ([(-5, 9, 9), (0, 3, 9), (5, 0, 9)], "not_rising", (None, None)),
    ],
)
def test_degenerate_data_have_a_reason(rows: Any, reason: str, bracket: Any) -> None:
    snr_db, n_correct, n_total = np.array(rows, dtype=float).reshape(-1, 3).T
    found = p.fit(snr_db=snr_db, n_correct=n_correct, n_total=n_total)
    assert found == p.Psychometric(reason=reason, bracket_db=bracket)


def test_a_flat_function_is_not_rising() -> None:
    for middle in (4, 5, 6):  # the slope is zero up to rounding, on either side
        found = p.fit(snr_db=[-5, 0, 5], n_correct=[5, middle, 5], n_total=[10, 10, 10])
        assert found == p.Psychometric(reason="not_rising")


def test_a_lapse_that_lets_the_slope_run_away_is_separated() -> None:
    data: dict[str, Any] = {"snr_db": [-10, -5, 0, 20], "n_correct": [0, 0, 50, 49], "n_total": [50, 50, 50, 50]}
    assert p.fit(**data).reason is None
    assert p.fit(**data, lapse=0.01).reason == "separated"
    through: dict[str, Any] = {"snr_db": [-10, -5, 0, 20], "n_correct": [0, 20, 50, 49], "n_total": [50, 50, 50, 50]}
    assert p.fit(**through).reason is None
    assert p.fit(**through, lapse=0.01).reason == "separated"


@given(rows=st.lists(st.tuples(st.integers(-10, 10), st.integers(0, 6), st.integers(0, 6)), max_size=6))
@settings(max_examples=25)
def test_every_table_of_counts_has_numbers_or_a_reason(rows: list[tuple[int, int, int]]) -> None:
    table = np.array([(snr, right, right + wrong) for snr, right, wrong in rows], dtype=float).reshape(-1, 3)
    found = p.fit(snr_db=table[:, 0], n_correct=table[:, 1], n_total=table[:, 2])
    if found.reason:
        assert (found.srt_db, found.slope_per_db) == (None, None)
    else:
        assert found.srt_db is not None
        assert math.isfinite(found.srt_db)
        assert found.slope_per_db is not None
        assert 0 < found.slope_per_db < math.inf
        low, high = found.srt_ci_db
        assert low is None or low < found.srt_db
        assert high is None or high > found.srt_db


def test_fit_refuses() -> None:
    good: dict[str, Any] = {"snr_db": [-5.0, 0.0], "n_correct": [1, 8], "n_total": [9, 9]}
    for changed, message in (
        ({"snr_db": [math.nan, 0.0]}, "snr_db must be finite"),
        ({"n_correct": [10, 8]}, "n_correct must be within 0..n_total"),
        ({"n_correct": [-1, 8]}, "n_correct must be within 0..n_total"),
        ({"n_correct": [math.nan, 8]}, "n_correct must be within 0..n_total"),
        ({"n_total": [math.inf, 9]}, "n_total finite"),
        ({"n_total": [9, 9, 9]}, r"must have one shape \(rows,\), got \(2,\), \(2,\) and \(3,\)"),
        ({"guess": 0.5}, r"guess and lapse must be within \[0, 0.5\), got 0.5 and 0"),
        ({"lapse": -0.1}, "guess and lapse must be within"),
    ):
        with pytest.raises(ValueError, match=message):
            p.fit(**(good | changed))
    with pytest.raises(ValueError, match="guess and lapse must be within"):
        p.psychometric_function([0], srt_db=0, slope_per_db=0.1, lapse=0.6)


# agreement


def test_agreement_on_paper() -> None:
    found = p.agreement(observed_db=[-7, -9, -20], predicted_db=[-6, -10, -17])
    assert found.n == 3
    assert found.bias_db == pytest.approx(1, abs=1e-12)
    assert found.rmse_db == pytest.approx(math.sqrt(11 / 3), abs=1e-12)


def test_agreement_equals_scipy_and_sklearn() -> None:
    from scipy.stats import pearsonr
    from sklearn.metrics import root_mean_squared_error

    rng = np.random.default_rng(0)
    observed = rng.normal(-10, 5, 8)
    predicted = observed + rng.normal(1, 2, 8)
    found = p.agreement(observed_db=observed, predicted_db=predicted)
    assert found.pearson == pytest.approx(pearsonr(observed, predicted)[0], abs=1e-12)
    assert found.rmse_db == pytest.approx(root_mean_squared_error(observed, predicted), abs=1e-12)
    shifted = p.agreement(observed_db=observed, predicted_db=predicted + 3)
    assert shifted.bias_db == pytest.approx(found.bias_db + 3, abs=1e-12)
    assert shifted.pearson == pytest.approx(found.pearson, abs=1e-12)


def test_agreement_without_a_correlation() -> None:
    assert p.agreement(observed_db=[-7, -9], predicted_db=[-6, -10]).pearson is None
    assert p.agreement(observed_db=[-7, -7, -7], predicted_db=[-6, -10, -3]).pearson is None
    assert p.agreement(observed_db=[-7, -8, -9], predicted_db=[-6, -6, -6]).pearson is None
    with pytest.raises(ValueError, match=r"observed_db must have shape \(items,\)"):
        p.agreement(observed_db=[], predicted_db=[])
    with pytest.raises(ValueError, match=r"predicted_db must have the shape of observed_db \(2,\), got \(3,\)"):
        p.agreement(observed_db=[1, 2], predicted_db=[1, 2, 3])
    with pytest.raises(ValueError, match="must be finite"):
        p.agreement(observed_db=[1, math.nan], predicted_db=[1, 2])
