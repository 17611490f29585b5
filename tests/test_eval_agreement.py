"""eval.agreement: scipy's correlations, the monotone cubic, resamples drawn one at a time, opinions and screening."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from eval import statistics
from eval.agreement import (
    STATISTICS,
    Agreement,
    against_ratings,
    between_metrics,
    file_agreement,
    monotone_cubic,
    opinions,
    post_screen,
    rank_correlations,
    system_agreement,
)

DRAWS = 200
ORACLES: dict[str, Callable[[Any, Any], float]] = {
    "pearson": lambda x, y: float(stats.pearsonr(x, y).statistic),
    "spearman": lambda x, y: float(stats.spearmanr(x, y).statistic),
    "kendall": lambda x, y: float(stats.kendalltau(x, y).statistic),
}


def scattered(n: int, seed: int = 0, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(1, 4.5, n)
    y = 1 + 4 / (1 + np.exp(-2 * (x - 2.5))) + 0.4 * rng.standard_normal(n)
    return (np.round(x), np.round(y)) if ties else (x, y)


def searched_rmse(x: np.ndarray, y: np.ndarray) -> float:
    """The best cubic that rises on the range of x, by search: its slope is (a + b t)^2 + g^2 (1 - t^2)."""
    t = (2 * x - x.min() - x.max()) / np.ptp(x)

    def errors(p: np.ndarray) -> np.ndarray:
        c, a, b, g = p
        return c + a**2 * t + a * b * t**2 + b**2 * t**3 / 3 + g**2 * (t - t**3 / 3) - y

    starts = [[y.mean(), a, b, g] for a in (-1, 0.1, 1) for b in (-1, 0.1, 1) for g in (0.1, 1)]
    best = min(optimize.least_squares(errors, start, xtol=1e-12, ftol=1e-12).cost for start in starts)
    return math.sqrt(2 * best / (len(x) - 4))


# against scipy


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", list(ORACLES))
def test_correlations_over_files_are_those_of_scipy(name: str, ties: bool) -> None:
    x, y = scattered(80, ties=ties)
    found = file_agreement(x, y, np.arange(80) % 10, draws=DRAWS)
    assert getattr(found, name).value == pytest.approx(ORACLES[name](x, y), abs=1e-12)
    assert (found.n, found.n_clusters) == (80, 10)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
@settings(deadline=None)
def test_correlations_of_few_values_with_many_ties(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, dtype=float).T
    found = file_agreement(x, y, np.arange(len(x)), draws=3)
    whole = system_agreement(x, y, np.arange(len(x)), np.zeros(len(x)), draws=3)  # every system has one file
    for name, oracle in ORACLES.items():
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert getattr(found, name).value is getattr(whole, name).value is None
        else:
            assert getattr(found, name).value == pytest.approx(oracle(x, y), abs=1e-9)
            assert getattr(whole, name).value == pytest.approx(oracle(x, y), abs=1e-9)


@pytest.mark.parametrize("name", list(ORACLES))
def test_correlations_over_systems_are_of_their_means(name: str) -> None:
    x, y = scattered(120)
    systems = np.arange(120) % 8
    means = [[v[systems == s].mean() for s in range(8)] for v in (x, y)]
    found = system_agreement(x, y, systems, np.arange(120) // 12, draws=DRAWS)
    assert getattr(found, name).value == pytest.approx(ORACLES[name](*means), abs=1e-12)
    assert found.n == 8


@pytest.mark.parametrize("level", ["file", "system"])
def test_intervals_are_those_of_resamples_drawn_one_at_a_time(level: str) -> None:
    x, y = scattered(60, ties=level == "file")
    systems, codes = np.arange(60) % 6, np.arange(60) // 6
    picked = np.random.default_rng(4).integers(10, size=(40, 10))
    expected: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for drawn in picked:
        rows = np.concatenate([np.flatnonzero(codes == cluster) for cluster in drawn])
        one, other = x[rows], y[rows]
        if level == "system":
            one, other = (np.array([v[systems[rows] == s].mean() for s in range(6)]) for v in (one, other))
        for name, oracle in ORACLES.items():
            expected[name].append(oracle(one, other))
        error = other - monotone_cubic(one, other)(one)
        expected["rmse"].append(np.sqrt(np.square(error).sum() / (len(one) - 4)))
    found = (
        file_agreement(x, y, codes, draws=40, seed=4)
        if level == "file"
        else system_agreement(x, y, systems, codes, draws=40, seed=4)
    )
    for name in STATISTICS:
        estimate = getattr(found, name)
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(expected[name], [0.025, 0.975])), 2e-3)


def test_intervals_are_those_of_scipy_where_every_file_is_a_cluster() -> None:
    x, y = scattered(60)
    found = file_agreement(x, y, np.arange(60), draws=2000).pearson
    expected = stats.bootstrap(
        (x, y),
        lambda a, b: stats.pearsonr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.01)


def test_intervals_over_clusters_cover_and_those_over_files_do_not() -> None:
    rng = np.random.default_rng(5)
    trials = {"cluster": 80, "file": 40}
    covered = dict.fromkeys(trials, 0)
    speaker = np.repeat(np.arange(25), 6)
    for unit, codes in (("cluster", speaker), ("file", np.arange(150))):
        for trial in range(trials[unit]):  # both follow the speaker, not each other: correlation 0
            x, y = (rng.standard_normal(25)[speaker] + 0.2 * rng.standard_normal(150) for _ in range(2))
            found = file_agreement(x, y, codes, draws=150, seed=trial).pearson
            assert found.low is not None
            assert found.high is not None
            covered[unit] += found.low <= 0 <= found.high
    assert covered["cluster"] / trials["cluster"] >= 0.88  # standard error 0.03; percentile intervals of r are narrow
    assert covered["file"] / trials["file"] < 0.7


# the mapping


@pytest.mark.parametrize("seed", range(14))
def test_the_mapping_is_the_best_of_those_that_rise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 7, 40)
    shapes = [np.sin(x), -np.abs(x - 2), x**3 / 50, -x, np.round(x / 4), (x - 2) ** 2, np.sin(0.55 * (x - 2))]
    y = shapes[seed % 7] + 0.2 * rng.standard_normal(40)
    mapping = monotone_cubic(x, y)
    grid = np.linspace(x.min(), x.max(), 2001)
    assert np.diff(mapping(grid)).min() >= -1e-9
    ours = np.sqrt(np.square(y - mapping(x)).sum() / 36)
    assert ours == pytest.approx(searched_rmse(x, y), rel=1e-5)
    assert file_agreement(x, y, np.arange(40), draws=2).rmse.value == pytest.approx(ours, rel=1e-9)


def test_a_rising_cubic_is_found_again_and_a_falling_one_is_not() -> None:
    x = np.linspace(1, 5, 30)
    y = 0.2 * (x - 2) ** 3 + 0.1 * x + 3
    assert monotone_cubic(x, y)(x) == pytest.approx(y, abs=1e-9)
    flat = monotone_cubic(x, -y)(x)
    assert np.ptp(flat) < 1e-9
    assert flat[0] == pytest.approx(-y.mean())


def test_the_error_is_divided_by_n_less_four() -> None:
    x = np.tile([1.0, 2.0, 3.0, 4.0], 3)
    y = x + np.repeat([-1.0, 0.0, 1.0], 4)
    assert file_agreement(x, y, np.arange(12), draws=2).rmse.value == pytest.approx(math.sqrt(8 / (12 - 4)))
    assert file_agreement(x[:4], y[:4], np.arange(4), draws=2).rmse.value is None


def test_the_error_knows_no_scale_of_the_metric() -> None:
    x, y = scattered(50)
    first = file_agreement(x, y, np.arange(50) // 5, draws=DRAWS)
    second = file_agreement(1e5 + 1e3 * x, y, np.arange(50) // 5, draws=DRAWS)
    third = file_agreement(-x, y, np.arange(50) // 5, better="lower", draws=DRAWS)
    for name in STATISTICS:
        for other in (second, third):
            a, b = getattr(first, name), getattr(other, name)
            assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-6)


# edges


def test_direction_turns_the_sign_and_not_the_size() -> None:
    x, y = scattered(40)
    assert file_agreement(x, y, np.arange(40), better="lower", draws=2).kendall.value == pytest.approx(
        -ORACLES["kendall"](x, y)
    )


def none(found: Agreement, *names: str) -> bool:
    return all(getattr(found, name).value is getattr(found, name).low is None for name in names)


@pytest.mark.parametrize("constant", [0.0, 3.3, 1e9 + 0.1])
def test_a_constant_has_no_correlation_but_an_error(constant: float) -> None:
    y = np.linspace(1, 5, 20)
    flat = np.full(20, constant)
    found = file_agreement(flat, y, np.arange(20), draws=50)
    assert none(found, "pearson", "spearman", "kendall")
    assert found.rmse.value == pytest.approx(math.sqrt(np.square(y - 3).sum() / 16))
    assert none(system_agreement(flat, y, np.arange(20) % 5, np.arange(20) // 5, draws=50), "pearson", "kendall")


def test_one_cluster_has_values_and_no_intervals() -> None:
    x, y = scattered(20)
    found = file_agreement(x, y, ["only"] * 20)
    assert found.pearson.value == pytest.approx(ORACLES["pearson"](x, y))
    assert found.pearson.low is found.kendall.high is None


def test_draws_that_miss_a_system_are_left_out() -> None:
    x, y = scattered(12)
    systems = [0, 1, 2, 3, 4] * 2 + [5, 5]  # the last one has files of one speaker only
    found = system_agreement(x, y, systems, [0] * 5 + [1] * 5 + [2] * 2, draws=100)
    assert found.kendall.low is not None
    assert -1 <= found.kendall.low <= found.kendall.high <= 1


def test_results_do_not_depend_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = scattered(50, ties=True)
    systems, codes = np.arange(50) % 5, np.arange(50) // 5
    whole = file_agreement(x, y, codes, draws=60), system_agreement(x, y, systems, codes, draws=60)
    monkeypatch.setattr(statistics, "_BLOCK", 130)
    cut = file_agreement(x, y, codes, draws=60), system_agreement(x, y, systems, codes, draws=60)
    for a, b in zip(whole, cut, strict=True):
        for name in STATISTICS:
            one, other = getattr(a, name), getattr(b, name)
            assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-12)


def test_what_is_said_about_six_systems_is_true() -> None:
    from itertools import permutations

    taus = [ORACLES["kendall"](range(6), order) for order in permutations(range(6))]
    assert round(np.mean(np.array(taus) > 0.6 - 1e-9), 2) == 0.07


def test_bad_points_are_refused() -> None:
    with pytest.raises(ValueError, match="x, y and clusters must have one shape"):
        file_agreement([1.0, 2.0], [1.0], ["a", "b"])
    with pytest.raises(ValueError, match="x and y must be finite"):
        file_agreement([1.0, math.nan], [1.0, 2.0], ["a", "b"])
    with pytest.raises(ValueError, match="better must be 'higher' or 'lower', got 'up'"):
        file_agreement([1.0, 2.0], [1.0, 2.0], ["a", "b"], better="up")


# tables


def world(systems: int = 6, items: int = 30) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores of a good, an inverted and a useless metric, ratings, and conditions."""
    rng = np.random.default_rng(0)
    scores, ratings = [], []
    for s in range(systems):
        for i in range(items):
            quality = 1.5 + 0.5 * s + 0.3 * rng.standard_normal()
            keys = {"system": f"s{s}", "system_id": f"id{s}", "mixture_id": f"m{i:02d}", "output": "speech"}
            values = {"pesq_wb": quality, "cd": 6 - quality, "stoi": rng.uniform()}
            scores += [keys | {"metric": m, "value": v, "status": "ok"} for m, v in values.items()]
            for rater in range(4):
                vote = {"scale": "P.835 OVRL", "value": quality + 0.5 * rng.standard_normal(), "rater": f"r{rater}"}
                ratings.append({"system_id": f"id{s}", "mixture_id": f"m{i:02d}", "n": None, "std": None} | vote)
    conditions = pd.DataFrame({"mixture_id": [f"m{i:02d}" for i in range(items)]})
    conditions["speaker_id"] = [f"sp{i % 10}" for i in range(items)]
    return pd.DataFrame(scores), pd.DataFrame(ratings), conditions


def test_metrics_against_ratings() -> None:
    scores, ratings, conditions = world()
    out = against_ratings(
        scores, opinions(ratings), conditions, metrics=["pesq_wb", "cd", "stoi"], draws=DRAWS
    ).set_index(["metric", "level"])
    assert out.loc[("pesq_wb", "file"), "n"] == 180
    assert out.loc[("pesq_wb", "system"), "n"] == 6
    assert set(out["n_clusters"]) == {10}
    wide = opinions(ratings).merge(scores[scores["metric"] == "pesq_wb"], on=["system_id", "mixture_id"])
    assert out.loc[("pesq_wb", "file"), "pearson"] == pytest.approx(ORACLES["pearson"](wide["value"], wide["mos"]))
    assert out.loc[("pesq_wb", "system"), "kendall"] == 1
    assert out.loc[("cd", "file"), "pearson"] == pytest.approx(out.loc[("pesq_wb", "file"), "pearson"])
    assert out["agrees"].to_dict() == {
        ("pesq_wb", "file"): True,
        ("pesq_wb", "system"): True,
        ("cd", "file"): True,
        ("cd", "system"): True,
        ("stoi", "file"): False,
        ("stoi", "system"): False,
    }


def test_a_metric_that_ranks_upside_down_does_not_agree() -> None:
    scores, ratings, conditions = world()
    scores["value"] = -scores["value"]
    out = against_ratings(scores, opinions(ratings), conditions, metrics=["pesq_wb"], draws=DRAWS)
    assert out["kendall"].iloc[1] == -1
    assert not out["agrees"].any()


def test_metrics_between_each_other() -> None:
    scores, _, conditions = world()
    out = between_metrics(scores, conditions, metrics=["pesq_wb", "cd", "stoi"], draws=DRAWS)
    assert list(zip(out["first"], out["second"], strict=True))[::2] == [
        ("pesq_wb", "cd"),
        ("pesq_wb", "stoi"),
        ("cd", "stoi"),
    ]
    assert out["pearson"].iloc[0] == pytest.approx(1)  # one is six less the other, and lower is better
    assert out["rmse"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert abs(out["pearson"].iloc[2]) < 0.3


def test_scores_without_a_number_or_a_rating_are_not_points() -> None:
    scores, ratings, conditions = world()
    scores.loc[scores.index[:3], ["value", "status"]] = [None, "missing"]
    rated = opinions(ratings[ratings["mixture_id"] != "m29"])
    out = against_ratings(scores, rated, conditions, metrics=["pesq_wb"], draws=DRAWS)
    assert out["n"].iloc[0] == 6 * 29 - 1
    with pytest.raises(ValueError, match=r"no estimate has both a score of 'sdr' and a rating on 'P.835 OVRL'"):
        against_ratings(scores, rated, conditions, metrics=["sdr"])
    with pytest.raises(ValueError, match="no estimate has scores of both 'pesq_wb' and 'sdr'"):
        between_metrics(scores, conditions, metrics=["pesq_wb", "sdr"])


def means(rows: list[tuple[str, str, float | None, str]], **more: Any) -> pd.DataFrame:
    return pd.DataFrame([{"system": s, "metric": m, "mean": v, "better": b} | more for s, m, v, b in rows])


def test_rank_correlations_across_metrics_follow_their_directions() -> None:
    rows = [(s, "pesq_wb", float(i), "higher") for i, s in enumerate("abcd")]
    rows += [(s, "cd", -float(i), "lower") for i, s in enumerate("abcd")]
    rows += [(s, "stoi", v, "higher") for s, v in zip("abcd", [0.1, 0.3, 0.2, None], strict=True)]
    rows += [("oracle", m, 99.0, "higher") for m in ("pesq_wb", "stoi")]
    out = rank_correlations(means(rows), across="metric").set_index(["first", "second"])
    assert out["kendall"].to_dict() == pytest.approx(
        {("pesq_wb", "cd"): 1, ("pesq_wb", "stoi"): 1 / 3, ("cd", "stoi"): 1 / 3}
    )
    assert out["n"].to_list() == [4, 3, 3]


def test_rank_correlations_across_bins_stay_within_a_metric() -> None:
    low = means([("a", "stoi", 1.0, "higher"), ("b", "stoi", 2.0, "higher")], bin="low")
    high = means([("a", "stoi", 4.0, "higher"), ("b", "stoi", 3.0, "higher")], bin="high")
    same = means([("a", "stoi", 4.0, "higher"), ("b", "stoi", 4.0, "higher")], bin="same")
    table = pd.concat([low, high, same])
    out = rank_correlations(pd.concat([table, table.assign(metric="estoi")]), across="bin")
    assert out["metric"].tolist() == ["stoi"] * 3 + ["estoi"] * 3
    assert list(zip(out["first"], out["second"], out["kendall"], strict=True))[:3] == [
        ("low", "high", -1),
        ("low", "same", None),
        ("high", "same", None),
    ]
    with pytest.raises(ValueError, match="across must be 'metric' or 'bin', got 'row'"):
        rank_correlations(table, across="row")


# ratings


def vote(value: float, **more: Any) -> dict[str, Any]:
    return {"system_id": "a", "mixture_id": "m0", "scale": "MOS", "value": value, "rater": "r0"} | more


def test_the_interval_of_a_published_mean_of_votes() -> None:
    out = opinions(pd.DataFrame([vote(2.9, n=1817, std=1.75)])).iloc[0]
    assert (out["mos"], out["n"], out["std"]) == (2.9, 1817, 1.75)
    assert round(out["ci95"], 3) == 0.080


def test_votes_are_numpys_mean_and_standard_deviation() -> None:
    values = [1.0, 2.0, 4.0, 5.0, 5.0]
    out = opinions(pd.DataFrame([vote(v, rater=f"r{k}") for k, v in enumerate(values)])).iloc[0]
    assert (out["mos"], out["n"], out["std"]) == pytest.approx((3.4, 5, np.std(values, ddof=1)))
    expected = stats.t.interval(0.95, 4, loc=3.4, scale=stats.sem(values))
    assert (3.4 - out["ci95"], 3.4 + out["ci95"]) == pytest.approx(expected)


@given(st.lists(st.lists(st.integers(1, 5), min_size=2, max_size=9), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_means_of_votes_are_as_good_as_the_votes(groups: list[list[int]]) -> None:
    each = pd.DataFrame([vote(float(v), n=None, std=None) for group in groups for v in group])
    summed = [vote(float(np.mean(g)), n=len(g), std=float(np.std(g, ddof=1))) for g in groups]
    a, b = opinions(each).iloc[0], opinions(pd.DataFrame(summed)).iloc[0]
    assert (a["mos"], a["n"], a["std"], a["ci95"]) == pytest.approx((b["mos"], b["n"], b["std"], b["ci95"]), abs=1e-6)


def test_a_single_vote_and_a_mean_without_spread_have_no_interval() -> None:
    for row in (vote(4.0), vote(4.0, n=12, std=None)):
        out = opinions(pd.DataFrame([row])).iloc[0]
        assert (out["mos"], out["std"], out["ci95"]) == (4.0, None, None)


def test_opinions_by_system_and_scale() -> None:
    rows = [vote(1.0), vote(3.0, mixture_id="m1"), vote(5.0, system_id="b"), vote(2.0, scale="MUSHRA")]
    out = opinions(pd.DataFrame(rows), by=["scale", "system_id"], screening="by hand")
    assert out[["scale", "system_id", "mos", "n"]].to_numpy().tolist() == [
        ["MOS", "a", 2.0, 2],
        ["MOS", "b", 5.0, 1],
        ["MUSHRA", "a", 2.0, 1],
    ]
    assert set(out["screening"]) == {"by hand"}
    assert set(opinions(pd.DataFrame(rows))["screening"]) == {"none"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": math.nan}, "value of a rating must be finite"),
        ({"n": 0}, "n of a rating must be a whole number from 1, got 0"),
        ({"n": 2.5}, "n of a rating must be a whole number from 1, got 2.5"),
        ({"std": -1.0}, "std of a rating must not be negative, got -1"),
    ],
)
def test_bad_ratings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        opinions(pd.DataFrame([vote(4.0, n=3, std=1.0) | change]))
    with pytest.raises(ValueError, match="ratings must have the columns scale, value"):
        opinions(pd.DataFrame([vote(4.0)]).drop(columns=["scale", "value"]))


def mushra() -> pd.DataFrame:
    """Ten items; `careless` marks the reference down on two of them, `slack` on one, `deaf` praises the anchor."""
    rows = []
    for rater in ("good", "careless", "slack", "deaf"):
        for item in range(10):
            reference = 80 if item < {"careless": 2, "slack": 1}.get(rater, 0) else 95
            anchor = 95 if rater == "deaf" and item < 2 else 50
            for system, value in (("reference", reference), ("anchor70", anchor), ("ours", 70 + item)):
                rows.append(vote(value, rater=rater, system_id=system, mixture_id=f"m{item}", scale="MUSHRA"))
    return pd.DataFrame(rows)


def test_mushra_screening_leaves_out_who_did_not_hear_the_reference() -> None:
    found = post_screen(mushra(), reference="reference")
    assert found.excluded == {"careless": "hidden reference below 90 on 20% of the items"}
    assert sorted(found.ratings["rater"].unique()) == ["deaf", "good", "slack"]
    assert found.rule == (
        "raters left out who gave the hidden reference less than 90 on more than 15% of the items (ITU-R BS.1534-3)"
    )
    both = post_screen(mushra(), reference="reference", mid_anchor="anchor70")
    assert both.excluded == found.excluded | {"deaf": "mid anchor above 90 on 20% of the items"}
    assert "or the mid anchor more than 90" in both.rule
    assert set(opinions(both.ratings, screening=both.rule)["n"]) == {2}


def test_scores_of_exactly_ninety_and_shares_of_exactly_fifteen_percent_pass() -> None:
    rows = [vote(90 if k else 0, rater="r", system_id="reference", mixture_id=f"m{k}") for k in range(7)]
    assert post_screen(pd.DataFrame(rows), reference="reference").excluded == {}  # one of seven is 14 %
    rows = [vote(0 if k < 3 else 90, rater="r", system_id="reference", mixture_id=f"m{k}") for k in range(20)]
    assert post_screen(pd.DataFrame(rows), reference="reference").excluded == {}
    assert post_screen(pd.DataFrame(rows[1:]), reference="reference", share=0.1).excluded != {}


def test_screening_needs_raters_and_the_reference() -> None:
    with pytest.raises(ValueError, match="needs the rater of every vote"):
        post_screen(pd.DataFrame([vote(4.0, rater=None)]), reference="a")
    with pytest.raises(ValueError, match="needs ratings of 'reference', got none"):
        post_screen(pd.DataFrame([vote(4.0)]), reference="reference")
