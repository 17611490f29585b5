"""eval.summary: the common set, what failure costs, intervals that cover, bins that floor."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import summary
from eval.catalogue import METRICS
from eval.summary import by_bin, check_order, cluster_bootstrap, common_set, leaderboard

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


def test_adding_a_system_leaves_the_others_alone() -> None:
    scores = three()
    more = pd.concat([scores, pd.DataFrame([score("new", item, 3.0) for item in range(12)])])
    before, after = board(scores), board(more)
    assert all(before[system] == after[system] for system in before)


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


# the bootstrap


def test_bootstrap_equals_one_draw_at_a_time() -> None:
    values = np.arange(12.0).reshape(6, 2) ** 1.5
    clusters = ["a", "b", "b", "c", "c", "c"]
    weights = np.random.default_rng(3).multinomial(3, np.full(3, 1 / 3), size=50)
    expected = []
    for drawn in weights:
        picked = [k for k, name in enumerate(clusters) for _ in range(drawn["abc".index(name)])]
        expected.append(values[picked].mean(axis=0))
    found = cluster_bootstrap(values, clusters, draws=50, seed=3)
    assert found == pytest.approx(np.array(expected), abs=1e-12)


def test_bootstrap_does_not_depend_on_how_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = np.random.default_rng(0).standard_normal((40, 2)), np.arange(40) // 2
    whole = cluster_bootstrap(values, clusters, draws=101, seed=0)
    monkeypatch.setattr(summary, "_WEIGHTS", 70)
    assert cluster_bootstrap(values, clusters, draws=101, seed=0) == pytest.approx(whole, abs=1e-12)


def test_bootstrap_of_single_items_has_the_known_error() -> None:
    values = np.random.default_rng(0).standard_normal((400, 1))
    means = cluster_bootstrap(values, np.arange(400), draws=4000, seed=0)
    assert means.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.05)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)


def test_intervals_over_twenty_clusters_cover_and_those_over_items_do_not() -> None:
    rng = np.random.default_rng(0)
    hit_clusters = hit_items = 0
    trials = 400
    for trial in range(trials):
        speaker = np.repeat(np.arange(20), 10)
        values = (rng.standard_normal(20)[speaker] + rng.standard_normal(200))[:, None]  # true mean 0
        for unit in ("cluster", "item"):
            codes = speaker if unit == "cluster" else np.arange(200)
            low, high = np.quantile(cluster_bootstrap(values, codes, draws=300, seed=trial), [0.025, 0.975])
            hit_clusters += unit == "cluster" and low <= 0 <= high
            hit_items += unit == "item" and low <= 0 <= high
    assert 0.90 <= hit_clusters / trials <= 0.98
    assert hit_items / trials < 0.75  # five items per speaker are not five independent ones


def test_nan_never_reaches_an_aggregate() -> None:
    with pytest.raises(AssertionError, match="NaN or infinity reached an aggregate"):
        cluster_bootstrap([[1.0], [math.nan]], ["a", "b"], draws=5, seed=0)


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
