"""eval.summary: the common set, what failure costs, intervals that cover, bins that floor."""

import dataclasses
import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval import summary
from eval.catalogue import METRICS
from eval.summary import as_delivered, by_bin, check_order, cluster_bootstrap, common_set, leaderboard

DRAWS = 500
FLOOR = METRICS["pesq_wb"].floor


def score(system: str, item: int, value: float | None, status: str = "ok", **more: Any) -> dict[str, Any]:
    row = {"system": system, "system_id": f"id-{system}", "mixture_id": f"m{item:03d}", "output": "speech"}
    return row | {"metric": "pesq_wb", "value": value, "status": status, "reason": None} | more


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def conditions(n: int = 12, speakers: int = 4, **more: Any) -> pd.DataFrame:
    ids = [f"m{item:03d}" for item in range(n)]
    return pd.DataFrame({"mixture_id": ids, "speaker_id": [f"s{item % speakers}" for item in range(n)]} | more)


def three(n: int = 12) -> pd.DataFrame:
    """unprocessed 1.5 and a bit, good 0.5 above it, silence at the floor, oracle at the ceiling."""
    rows = []
    for item in range(n):
        noisy = 1.5 + 0.01 * item
        rows += [score("unprocessed", item, noisy), score("good", item, noisy + 0.5)]
        rows += [score("silence", item, FLOOR, "floor"), score("oracle", item, METRICS["pesq_wb"].ceiling)]
    return pd.DataFrame(rows)


def board(scores: pd.DataFrame, cond: pd.DataFrame | None = None, **options: Any) -> dict[str, Any]:
    options.setdefault("metrics", ["pesq_wb"])
    options.setdefault("draws", DRAWS)
    out = leaderboard(scores, conditions() if cond is None else cond, **options)
    return {row["system"]: row for row in out.to_dict("records")}


# the table


def test_one_row_per_system_and_metric_best_first() -> None:
    scores = pd.concat([three(), three().assign(metric="stoi", value=0.5)])
    out = leaderboard(scores, conditions(), metrics=["stoi", "pesq_wb"], draws=DRAWS)
    assert list(out["metric"]) == ["stoi"] * 4 + ["pesq_wb"] * 4
    assert list(out["system"])[4:] == ["oracle", "good", "unprocessed", "silence"]
    assert list(out["system"])[:4] == ["good", "oracle", "silence", "unprocessed"]  # ties by name


def test_values_known_on_paper() -> None:
    row = board(three())["good"]
    assert row["mean"] == pytest.approx(2.055)
    assert row["median"] == pytest.approx(2.055)
    assert row["p10"] == pytest.approx(2.011)
    assert (row["n"], row["n_ok"], row["n_floor"], row["n_excluded"], row["n_clusters"]) == (12, 12, 0, 0, 4)
    assert row["coverage"] == 1
    assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert row["delta"] == pytest.approx(0.5)
    # the difference is the same for every item, so pairing leaves nothing to be uncertain about
    assert row["delta_ci_low"] == pytest.approx(0.5)
    assert row["delta_ci_high"] == pytest.approx(0.5)


def test_silence_is_all_floor() -> None:
    row = board(three())["silence"]
    assert (row["n_ok"], row["n_floor"], row["coverage"], row["mean"]) == (0, 12, 0, FLOOR)


def test_without_unprocessed_there_is_no_delta() -> None:
    scores = three()
    row = board(scores[scores["system"] != "unprocessed"])["good"]
    assert (row["delta"], row["delta_ci_low"], row["delta_ci_high"]) == (None, None, None)


def test_one_cluster_has_no_interval() -> None:
    row = board(three(), conditions(speakers=1))["good"]
    assert row["n_clusters"] == 1
    assert (row["ci_low"], row["ci_high"], row["delta_ci_low"], row["delta_ci_high"]) == (None,) * 4
    assert row["delta"] == pytest.approx(0.5)


def test_an_item_without_cluster_is_one_by_itself() -> None:
    cond = conditions(speakers=1)
    cond["speaker_id"] = [None, np.nan, "a", "a", "b", "b", "b", "b", "b", "b", "b", "b"]
    assert board(three(), cond)["good"]["n_clusters"] == 4


def test_same_seed_same_table() -> None:
    a, b, c = (leaderboard(three(), conditions(), metrics=["pesq_wb"], draws=DRAWS, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(a, b)
    assert not a.equals(c)


def test_order_of_rows_does_not_matter() -> None:
    shuffled = three().sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        leaderboard(three(), conditions(), metrics=["pesq_wb"], draws=DRAWS),
        leaderboard(shuffled, conditions().iloc[::-1], metrics=["pesq_wb"], draws=DRAWS),
    )


def test_an_empty_common_set_has_no_numbers() -> None:
    row = board(table(score("a", 0, None, "excluded_ref"), score("unprocessed", 0, 2.0)))["a"]
    assert (row["n"], row["n_excluded"], row["mean"], row["median"], row["delta"]) == (0, 1, None, None, None)
    assert row["coverage"] == 0


# the common set and the price of failure


@pytest.mark.parametrize("status", ["excluded_ref", "too_short"])
def test_an_unusable_reference_leaves_for_every_system(status: str) -> None:
    scores = three()
    hit = (scores["system"] == "good") & (scores["mixture_id"] == "m011")
    scores.loc[hit, ["status", "value"]] = [status, None]
    out = board(scores)
    assert {row["n"] for row in out.values()} == {11}
    assert {row["n_excluded"] for row in out.values()} == {1}
    assert out["unprocessed"]["mean"] == pytest.approx(np.mean([1.5 + 0.01 * k for k in range(11)]))
    assert out["good"]["coverage"] == pytest.approx(11 / 12)


@pytest.mark.parametrize("status", ["error", "crashed", "timeout"])
def test_a_failure_costs_the_floor_where_another_system_was_scored(status: str) -> None:
    scores = three()
    hit = (scores["system"] == "good") & (scores["mixture_id"] == "m011")
    scores.loc[hit, ["status", "value"]] = [status, None]
    out = board(scores)
    assert {row["n"] for row in out.values()} == {12}
    good = out["good"]
    assert (good["n_ok"], good["n_floor"], good["n_excluded"]) == (11, 1, 0)
    assert good["mean"] == pytest.approx((sum(2 + 0.01 * k for k in range(11)) + FLOOR) / 12)


@pytest.mark.parametrize("status", ["error", "crashed", "timeout"])
def test_a_failure_of_every_system_excludes_the_item(status: str) -> None:
    scores = three()
    hit = (scores["system"] != "silence") & (scores["mixture_id"] == "m011")  # silence never reaches the library
    scores.loc[hit, ["status", "value"]] = [status, None]
    out = board(scores)
    assert {(row["n"], row["n_excluded"]) for row in out.values()} == {(11, 1)}


def test_an_item_that_every_system_botched_still_counts() -> None:
    out = board(table(score("a", 0, FLOOR, "floor"), score("b", 0, None, "missing")))
    assert {(row["n"], row["mean"]) for row in out.values()} == {(1, FLOOR)}


def test_a_row_that_is_not_there_costs_the_floor() -> None:
    scores = three()
    out = board(scores[~((scores["system"] == "good") & (scores["mixture_id"] < "m006"))])
    assert (out["good"]["n"], out["good"]["n_ok"], out["good"]["n_floor"]) == (12, 6, 6)
    assert out["good"]["mean"] == pytest.approx((6 * FLOOR + sum(2 + 0.01 * k for k in range(6, 12))) / 12)
    assert out["unprocessed"]["mean"] == board(scores)["unprocessed"]["mean"]


def test_dropping_rows_never_improves_a_mean() -> None:
    scores = three()
    full = board(scores)["good"]["mean"]
    for item in range(12):
        fewer = scores[~((scores["system"] == "good") & (scores["mixture_id"] == f"m{item:03d}"))]
        assert board(fewer)["good"]["mean"] < full


def test_adding_a_system_leaves_the_numbers_of_the_others_alone() -> None:
    scores = three()
    more = pd.concat([scores, pd.DataFrame([score("new", item, 3.0) for item in range(12)])])
    before, after = board(scores), board(more)
    ranks = {"rank_low", "rank_high", "tie_group", "p_holm", "first_share"}
    for system, row in before.items():
        assert all(after[system][name] == value for name, value in row.items() if name not in ranks)


def test_ok_len_counts_as_scored() -> None:
    assert board(table(score("a", 0, 2.0, "ok_len")))["a"]["n_ok"] == 1


def test_outputs_of_one_mixture_are_items() -> None:
    scores = table(score("a", 0, 2.0), score("a", 0, 3.0, output="noise"))
    row = board(scores)["a"]
    assert (row["n"], row["mean"], row["n_clusters"]) == (2, 2.5, 1)


def test_common_set_names_its_items() -> None:
    scores = table(score("b", 1, 2.0), score("a", 1, 3.0), score("a", 0, None, "too_short"))
    common = common_set(scores, metric="pesq_wb")
    assert common.systems == ["a", "b"]
    assert (common.mixture_ids, common.outputs) == (["m001"], ["speech"])
    assert common.excluded == [("m000", "speech")]
    assert common.values.tolist() == [[3.0, 2.0]]


# intervals, tests and ranks


def test_intervals_are_those_of_the_bootstrap_over_clusters() -> None:
    scores = noisy({"a": 0.0, "unprocessed": -0.3})
    row = board(scores, conditions(48, 12))["a"]
    wide = scores.pivot_table(index="mixture_id", columns="system", values="value")
    codes = [int(name[1:]) % 12 for name in wide.index]
    drawn = cluster_bootstrap(wide.to_numpy(), codes, draws=DRAWS, seed=0)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.quantile(drawn[:, 0], [0.025, 0.975])))
    ends = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
    assert (row["delta_ci_low"], row["delta_ci_high"]) == pytest.approx(tuple(ends))
    assert row["improved"] == (wide["a"] > wide["unprocessed"]).mean()


def test_nan_never_reaches_an_aggregate() -> None:
    with pytest.raises(AssertionError, match="NaN or infinity reached an aggregate"):
        cluster_bootstrap([[1.0], [math.nan]], ["a", "b"], draws=5, seed=0)


def noisy(levels: dict[str, float], n: int = 48, metric: str = "pesq_wb", spread: float = 0.1) -> pd.DataFrame:
    """Systems at these distances from 2.5, on the same items, with noise of their own."""
    rng = np.random.default_rng(0)
    item = rng.standard_normal(n)
    rows = []
    for system, level in levels.items():
        values = 2.5 + level + 0.3 * item + spread * rng.standard_normal(n)
        rows += [score(system, k, float(v), metric=metric) for k, v in enumerate(values)]
    return pd.DataFrame(rows)


def test_systems_that_cannot_be_told_apart_share_a_rank_and_others_do_not() -> None:
    out = board(noisy({"a": 0.0, "b": 0.005, "c": -1.0, "d": -1.005, "e": 0.9}), conditions(48, 12))
    assert {s: (r["rank_low"], r["rank_high"], r["tie_group"]) for s, r in out.items()} == {
        "e": (1, 1, 1),
        "a": (2, 3, 2),
        "b": (2, 3, 2),
        "c": (4, 5, 3),
        "d": (4, 5, 3),
    }
    assert out["e"]["p_holm"] is None
    assert max(out[s]["p_holm"] for s in "abcd") < 0.05
    assert [out[s]["first_share"] for s in "eabcd"] == [1, 0, 0, 0, 0]


def test_two_speakers_cannot_rank_anything() -> None:
    out = board(noisy({"a": 0.0, "b": -1.0}), conditions(48, 2))
    assert [(out[s]["rank_low"], out[s]["rank_high"]) for s in "ab"] == [(1, 2), (1, 2)]
    assert out["b"]["p_holm"] == 0.5  # both of two speakers agree: half of all flips do
    assert out["a"]["first_share"] == 1


def test_anchors_are_not_ranked_and_cost_the_others_nothing() -> None:
    scores = noisy({"a": 0.0, "b": -0.04, "c": -1.0})
    anchors = noisy({"oracle": 2.0, "silence": -1.4, "unprocessed": -0.5})
    without, out = board(scores, conditions(48, 12)), board(pd.concat([scores, anchors]), conditions(48, 12))
    for anchor in ("oracle", "silence", "unprocessed"):
        assert {out[anchor][name] for name in ("rank_low", "rank_high", "tie_group", "p_holm", "first_share")} == {None}
    names = ["rank_low", "rank_high", "tie_group", "p_holm", "first_share"]
    assert [[without[s][name] for name in names] for s in "abc"] == [[out[s][name] for name in names] for s in "abc"]
    more = board(scores, conditions(48, 12), unranked=["a"])
    assert (more["a"]["rank_low"], more["b"]["rank_low"], more["c"]["rank_high"]) == (None, 1, 2)


def test_where_lower_is_better_ranks_go_the_other_way() -> None:
    high = noisy({"a": 0.0, "b": -1.0, "unprocessed": -0.5})
    low = high.assign(metric="cd", value=5 - high["value"])
    up, down = board(high, conditions(48, 12)), board(low, conditions(48, 12), metrics=["cd"])
    assert list(down) == list(up)
    for system in up:
        for name in ("rank_low", "rank_high", "tie_group", "p_holm", "first_share", "improved"):
            assert up[system][name] == down[system][name]
        assert down[system]["delta"] == pytest.approx(-up[system]["delta"])
    assert up["a"]["rank_high"] == 1
    assert up["a"]["improved"] == 1


@pytest.mark.parametrize(("cluster", "trials"), [("speaker_id", 100), ("mixture_id", 20)])
def test_the_leaderboard_holds_its_level_over_speakers_and_would_not_over_items(cluster: str, trials: int) -> None:
    rng = np.random.default_rng(1)
    speaker = np.arange(60) % 10
    hits = 0
    for _ in range(trials):
        rows = []
        for system in "abc":  # each system likes other speakers, but none is better
            values = 2.5 + 0.5 * rng.standard_normal(10)[speaker] + 0.2 * rng.standard_normal(60)
            rows += [score(system, k, float(v)) for k, v in enumerate(values)]
        out = board(pd.DataFrame(rows), conditions(60, 10), cluster=cluster, draws=1024)
        hits += any(row["rank_high"] - row["rank_low"] < 2 for row in out.values())
    assert (hits / trials <= 0.06) == (cluster == "speaker_id")


def test_pairs_name_every_pair_once_and_agree_with_the_leaderboard() -> None:
    scores = noisy({"a": 0.0, "b": -0.03, "c": -1.0, "unprocessed": -2.0})
    out = summary.pairs(scores, conditions(48, 12), metrics=["pesq_wb"], draws=4096)
    assert list(zip(out["system"], out["other"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    rows = board(scores, conditions(48, 12), draws=4096)
    first = out.iloc[0]
    assert first["delta"] == pytest.approx(rows["a"]["mean"] - rows["b"]["mean"])
    assert first["delta_ci_low"] < first["delta"] < first["delta_ci_high"]
    wide = scores.pivot_table(index="mixture_id", columns="system", values="value")
    assert first["better_share"] == (wide["a"] > wide["b"]).mean()
    assert rows["b"]["p_holm"] == first["p_holm"]
    assert rows["c"]["p_holm"] == out.iloc[1]["p_holm"]
    assert list(out["p_holm"][1:]) == [3 * out["p"].min()] * 2
    by_speaker = (wide["a"] - wide["b"]).groupby([int(m[1:]) % 12 for m in wide.index]).sum()
    assert first["wilcoxon_p"] == pytest.approx(stats.wilcoxon(by_speaker).pvalue)
    assert (first["n"], first["n_clusters"]) == (48, 12)


def test_pairs_of_one_system_or_of_no_items_are_none() -> None:
    assert summary.pairs(noisy({"a": 0.0}), conditions(48), metrics=["pesq_wb"], draws=DRAWS).empty
    gone = table(score("a", 0, None, "excluded_ref"), score("b", 0, 2.0))
    assert summary.pairs(gone, conditions(), metrics=["pesq_wb"], draws=DRAWS).empty


def test_an_empty_common_set_has_no_ranks() -> None:
    row = board(table(score("a", 0, None, "excluded_ref"), score("b", 0, 2.0)))["a"]
    assert (row["rank_low"], row["first_share"], row["improved"]) == (None, None, None)


def test_a_metric_can_be_given_itself() -> None:
    mine = dataclasses.replace(METRICS["pesq_wb"], name="mine", better="lower", floor=9.0)
    scores = noisy({"a": 0.0, "b": -1.0}, metric="mine")
    out = leaderboard(scores[1:], conditions(48), metrics=[mine], draws=DRAWS)
    assert list(out["system"]) == ["b", "a"]
    assert out["n_floor"].tolist() == [0, 1]
    assert check_order(out.assign(system=["silence", "oracle"])) != []
    assert check_order(out.assign(system=["oracle", "silence"])) == []


# other aggregates


def test_length_weighted_gains_are_gnsdr() -> None:
    scores = noisy({"a": 3.0, "unprocessed": 0.0}, metric="sdr")
    length = np.linspace(1, 30, 48)
    out = board(scores, conditions(48, 12, duration_s=length), metrics=["sdr"], weight="duration_s")
    wide = scores.pivot_table(index="mixture_id", columns="system", values="value")
    gain = (wide["a"] - wide["unprocessed"]).to_numpy()
    assert out["a"]["delta"] == pytest.approx((length * gain).sum() / length.sum(), rel=1e-12)
    assert out["a"]["delta"] != pytest.approx(gain.mean(), rel=1e-4)
    assert out["a"]["delta_ci_low"] < out["a"]["delta"] < out["a"]["delta_ci_high"]
    assert out["a"]["median"] == pytest.approx(wide["a"].median())


def test_equal_lengths_are_no_weights() -> None:
    cond = conditions(48, 12, duration_s=[2.5] * 48)
    scores = noisy({"a": 0.0, "b": 0.1, "unprocessed": -0.3})
    plain, weighted = board(scores, cond), board(scores, cond, weight="duration_s")
    for system in plain:
        for name, value in plain[system].items():
            assert weighted[system][name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, None])
def test_lengths_must_be_positive(bad: float | None) -> None:
    cond = conditions(duration_s=[1.0] * 11 + [bad])
    with pytest.raises(ValueError, match=r"duration_s must be positive, got .* for 'm011'"):
        board(three(), cond, weight="duration_s")


def word(system: str, item: int, errors: int, total: int, status: str = "ok", **more: Any) -> dict[str, Any]:
    counts = [{"key": "errors", "value": errors}, {"key": "total", "value": total}]
    return score(system, item, min(errors / total, 1.0), status, metric="wer", counts=counts) | more


def test_rates_are_pooled_and_not_averaged() -> None:
    scores = table(
        word("a", 0, 1, 2), word("a", 1, 4, 40), word("unprocessed", 0, 0, 2), word("unprocessed", 1, 20, 40)
    )
    out = board(scores, metrics=["wer"])
    assert out["a"]["mean"] == pytest.approx(5 / 42)
    assert out["unprocessed"]["mean"] == pytest.approx(20 / 42)
    assert out["a"]["delta"] == pytest.approx(-15 / 42)
    assert out["a"]["improved"] == 0.5
    assert out["a"]["median"] == pytest.approx((0.5 + 0.1) / 2)
    assert list(out) == ["a", "unprocessed"]  # by the mean of rates, 0.3 and 0.25, it would be the other way


def test_counts_can_come_from_parquet_as_arrays() -> None:
    rows = [word("a", 0, 1, 2), word("a", 1, 4, 40)]
    arrays = [row | {"counts": np.array(row["counts"], dtype=object)} for row in rows]
    assert board(table(*arrays), metrics=["wer"]) == board(table(*rows), metrics=["wer"])


def test_insertions_can_make_a_pooled_rate_exceed_one() -> None:
    assert board(table(word("a", 0, 6, 2)), metrics=["wer"])["a"]["mean"] == 3


def test_a_pooled_metric_where_higher_is_better_is_one_less_the_rate() -> None:
    scores = pd.DataFrame([word("a", 0, 1, 2), word("a", 1, 4, 40), word("b", 0, 2, 2, "floor")]).assign(metric="wacc")
    out = board(scores, metrics=["wacc"])
    assert out["a"]["mean"] == pytest.approx(1 - 5 / 42)
    assert out["b"]["mean"] == 0  # all wrong: once by its counts, once for want of a row
    assert list(out) == ["a", "b"]


@pytest.mark.parametrize("status", ["missing", "error", "timeout"])
def test_who_has_no_counts_got_every_word_wrong(status: str) -> None:
    gone = word("a", 1, 0, 40) | {"value": None, "status": status, "counts": None}
    kept = [word("a", 0, 1, 2), word("b", 0, 0, 2), word("b", 1, 4, 40)]
    for scores in (table(*kept, gone), table(*kept)):
        out = board(scores, metrics=["wer"])
        assert out["a"]["mean"] == pytest.approx(41 / 42)
        assert out["b"]["mean"] == pytest.approx(4 / 42)
        assert (out["a"]["n"], out["a"]["n_ok"], out["a"]["n_floor"]) == (2, 1, 1)


def test_an_item_whose_words_nobody_counted_is_left_out_of_a_pooled_metric() -> None:
    gone = [word(s, 1, 0, 40) | {"value": None, "status": "missing", "counts": None} for s in "ab"]
    out = board(table(word("a", 0, 1, 2), word("b", 0, 0, 2), *gone), metrics=["wer"])
    assert {(row["n"], row["n_excluded"]) for row in out.values()} == {(1, 1)}


def test_bad_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the column 'counts'"):
        board(table(score("a", 0, 0.5, metric="wer")), metrics=["wer"])
    for counts in (
        None,
        [{"key": "errors", "value": 1}],
        [{"key": "errors", "value": -1}, {"key": "total", "value": 2}],
    ):
        with pytest.raises(ValueError, match=r"counts must hold errors and total, .*'a', 'm000'"):
            board(table(word("a", 0, 1, 2) | {"counts": counts}), metrics=["wer"])
    with pytest.raises(ValueError, match=r"total of an item must be the same .* got \[2.0, 3.0\] for 'm001'"):
        board(table(word("a", 0, 1, 2), word("a", 1, 1, 2), word("b", 1, 1, 3)), metrics=["wer"])


def test_pooled_and_mean_metrics_stand_in_one_table() -> None:
    words = [word(s, k, k % 3, 3 + k) for s in ("a", "unprocessed") for k in range(12)]
    scores = pd.concat([pd.DataFrame(words), noisy({"a": 0.0, "unprocessed": -0.3}, 12)])
    out = leaderboard(scores, conditions(duration_s=[1.0] * 12), metrics=["wer", "pesq_wb"], weight="duration_s")
    assert out.set_index(["system", "metric"])["mean"]["a", "wer"] == pytest.approx(
        sum(k % 3 for k in range(12)) / sum(3 + k for k in range(12))
    )


# as delivered


def test_as_delivered_a_system_is_judged_on_its_own_items() -> None:
    scores = three()
    hard = (scores["system"] == "good") & (scores["mixture_id"] < "m006")
    out = as_delivered(scores[~hard], conditions(), metrics=["pesq_wb"], draws=DRAWS).set_index("system")
    assert out["n"].to_dict() == {"good": 6, "unprocessed": 12, "silence": 12, "oracle": 12}
    assert out.loc["good", "mean"] == pytest.approx(2 + 0.01 * np.mean(range(6, 12)))  # no floor: better than the truth
    assert out.loc["silence", "mean"] == FLOOR
    assert out.loc["good", "ci_low"] <= out.loc["good", "mean"] <= out.loc["good", "ci_high"]


def test_as_delivered_needs_no_other_system() -> None:
    scores = table(score("a", 0, 2.0), score("b", 0, None, "excluded_ref"), score("a", 1, None, "error"))
    out = as_delivered(scores, conditions(), metrics=["pesq_wb"], draws=DRAWS).set_index("system")
    assert (out.loc["a", "n"], out.loc["a", "mean"], out.loc["a", "ci_low"]) == (1, 2.0, None)
    assert (out.loc["b", "n"], out.loc["b", "mean"], out.loc["b", "n_clusters"]) == (0, None, 0)


def test_as_delivered_pools_rates_over_own_words() -> None:
    out = as_delivered(
        table(word("a", 0, 1, 2), word("b", 0, 2, 2), word("b", 1, 1, 40)), conditions(), metrics=["wer"], draws=DRAWS
    ).set_index("system")
    assert out["mean"].to_dict() == pytest.approx({"a": 1 / 2, "b": 3 / 42})


# bins


def test_bins_are_half_open_and_floor_towards_minus_infinity() -> None:
    values = [-7.0, -5.0, -0.5, 0.0, 4.999, 5.0, 20.0, None, math.nan]
    labels = [label for _, label in summary._bins(values, [-5, 0, 5, 20])]
    assert labels == [
        "(-inf, -5)",
        "[-5, 0)",
        "[-5, 0)",
        "[0, 5)",
        "[0, 5)",
        "[5, 20)",
        "[20, inf)",
        "unknown",
        "unknown",
    ]


@given(st.floats(-100, 100))
@settings(deadline=None)
def test_bins_of_a_grid_are_floor(value: float) -> None:
    edges = list(range(-110, 111, 10))
    low = math.floor(Fraction(value) / 10) * 10  # the smallest numbers divided by ten are zero
    assert summary._bins([value], edges)[0][1] == f"[{low}, {low + 10})"


def test_every_item_is_in_one_bin() -> None:
    cond = conditions(snr_db=[-12, -5, -0.5, 0, 1, 2, 3, 4, 5, 20, None, math.nan])
    out = by_bin(three(), cond, by="snr_db", edges=[-5, 0, 5], metrics=["pesq_wb"], draws=DRAWS)
    good = out[out["system"] == "good"]
    assert list(zip(good["bin"], good["n"], strict=True)) == [
        ("(-inf, -5)", 1),
        ("[-5, 0)", 2),
        ("[0, 5)", 5),
        ("[5, inf)", 2),
        ("unknown", 2),
    ]
    assert set(good["by"]) == {"snr_db"}
    whole = board(three())["good"]["mean"]
    assert np.average(good["mean"].astype(float), weights=good["n"]) == pytest.approx(whole)


def test_bins_of_a_category() -> None:
    cond = conditions(noise_class=["street", "cafe", None] * 4)
    out = by_bin(three(), cond, by="noise_class", metrics=["pesq_wb"], draws=DRAWS)
    assert list(dict.fromkeys(out["bin"])) == ["cafe", "street", "unknown"]
    assert set(out["n"]) == {4}


def test_excluded_items_are_counted_in_their_bin() -> None:
    scores = three()
    hit = (scores["system"] == "good") & (scores["mixture_id"] == "m000")
    scores.loc[hit, ["status", "value"]] = ["excluded_ref", None]
    cond = conditions(noise_class=["alone"] + ["street"] * 11)
    out = by_bin(scores, cond, by="noise_class", metrics=["pesq_wb"], draws=DRAWS)
    found = {row["bin"]: (row["n"], row["n_excluded"], row["mean"]) for row in out.to_dict("records")}
    assert found["alone"] == (0, 1, None)
    assert found["street"][:2] == (11, 0)


@pytest.mark.parametrize("edges", [[], [0, 0], [5, 0], [0, math.inf], [math.nan]])
def test_bad_edges_are_refused(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="edges must be finite and increasing"):
        by_bin(three(), conditions(snr_db=range(12)), by="snr_db", edges=edges, metrics=["pesq_wb"])


def test_sparse_bins_are_flagged_and_take_no_part_in_tests() -> None:
    scores = noisy({"a": 0.0, "b": -1.0}, 100)
    large, few_items, few_speakers = ["large"] * 50, ["items"] * 19, ["speakers"] * 31
    cond = conditions(100, 10, where=large + few_items + few_speakers)
    cond.loc[69:, "speaker_id"] = [f"s{k % 2}" for k in range(31)]
    out = by_bin(scores, cond, by="where", metrics=["pesq_wb"], draws=DRAWS)
    flags = dict(zip(out["bin"], out["sparse"], strict=True))
    assert flags == {"large": False, "items": True, "speakers": True}
    assert out[out["sparse"]][["rank_low", "p_holm", "first_share"]].isna().all().all()
    assert out[out["sparse"]]["mean"].notna().all()
    loser = out[(out["bin"] == "large") & (out["system"] == "b")].iloc[0]
    alone = board(scores[scores["mixture_id"] < "m050"], cond)["b"]
    assert loser["p_holm"] == alone["p_holm"]  # one pair in one bin: nothing to correct for


def test_p_values_are_corrected_for_all_bins() -> None:
    scores = noisy({"a": 0.0, "b": -0.5, "c": -1.0}, 120)
    cond = conditions(120, 10, half=["first"] * 60 + ["second"] * 60)
    out = by_bin(scores, cond, by="half", metrics=["pesq_wb"], draws=1024)
    worst = out[(out["system"] == "c")]["p_holm"].tolist()
    assert worst == [6 * 2 / 1024] * 2  # six pairs in all; nothing but all plus and all minus of 10 speakers


# the anchors


def test_the_order_of_the_anchors_is_checked() -> None:
    good = leaderboard(three(), conditions(), metrics=["pesq_wb"], draws=DRAWS)
    assert check_order(good) == []
    for one, other in itertools.permutations(("silence", "unprocessed", "oracle"), 2):
        swapped = good.assign(system=good["system"].replace({one: other, other: one}))
        assert check_order(swapped)


def test_a_violation_names_metric_and_systems() -> None:
    scores = table(score("unprocessed", 0, 1.5), score("oracle", 0, 1.5), score("silence", 0, 1.5))
    out = leaderboard(scores, conditions(), metrics=["pesq_wb"], draws=DRAWS)
    assert check_order(out) == [
        "pesq_wb: silence (1.5) must be worse than unprocessed (1.5)",
        "pesq_wb: unprocessed (1.5) must be worse than oracle (1.5)",
    ]


def test_missing_anchors_are_not_violations() -> None:
    out = leaderboard(table(score("a", 0, 1.5), score("oracle", 0, 2)), conditions(), metrics=["pesq_wb"], draws=DRAWS)
    assert check_order(out) == []


# refusals


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize("status", ["ok", "ok_len", "floor"])
def test_a_scored_row_without_a_number_is_refused(value: float | None, status: str) -> None:
    with pytest.raises(ValueError, match=r"value must be finite where status is ok.*got \('a', 'm000', "):
        board(table(score("a", 0, value, status), score("b", 0, 1.0)))


def test_bad_tables_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"status must be one of .*, got 'failed'"):
        board(table(score("a", 0, 1.0, "failed")))
    with pytest.raises(ValueError, match="scores must have one row per system, mixture_id, output, metric"):
        board(table(score("a", 0, 1.5), score("a", 0, 1.6)))
    with pytest.raises(ValueError, match="metrics must have been scored, got 'stoi'"):
        board(three(), metrics=["stoi"])
    with pytest.raises(ValueError, match="metric must be one of"):
        board(three(), metrics=["pesq"])
    with pytest.raises(ValueError, match="conditions must have the column 'room', got mixture_id, speaker_id"):
        board(three(), cluster="room")
    with pytest.raises(ValueError, match="conditions must have a row for every scored mixture, got none for 'm008'"):
        board(three(), conditions(8))
    with pytest.raises(ValueError, match="conditions must have one row per mixture_id, got several of 'm000'"):
        board(three(), pd.concat([conditions(), conditions(1)]))
