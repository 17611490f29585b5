"""The leaderboard as rows, CSV and Markdown."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import pandas as pd
import pytest

from reports import tables
from reports.tables import MetricInfo, Statistics, SystemInfo

PESQ = MetricInfo(name="pesq_wb", title="PESQ-WB", unit=None, better="higher", low=1.04, high=4.64, decimals=2)
WER = MetricInfo(name="wer", title="WER", unit="%", better="lower", low=0, high=None, decimals=1)
SYSTEMS = [
    SystemInfo(name="slow", kind="onnx", system_id="a1"),
    SystemInfo(name="fast", kind="onnx", system_id="b2"),
    SystemInfo(name="unprocessed", kind="builtin", system_id="c3", anchor=True),
    SystemInfo(name="oracle", kind="builtin", system_id="d4", anchor=True),
]


def row(system: str, metric: str, mean: float | None, half: float | None = 0.05, **changes: Any) -> dict[str, Any]:
    given = mean is not None and half is not None
    low, high = (mean - half, mean + half) if given else (None, None)
    values = {"system": system, "metric": metric, "mean": mean, "ci_low": low, "ci_high": high}
    values |= {"n": 100, "n_ok": 100, "n_floor": 0, "n_excluded": 0, "n_clusters": 20, "coverage": 1.0}
    values |= {"median": mean, "p10": mean, "delta": mean, "delta_low": low, "delta_high": high}
    return values | changes


@pytest.fixture
def board() -> pd.DataFrame:
    means = {"slow": (2.7123456789012345, 12.0), "fast": (2.5, 9.0), "unprocessed": (1.7, 30.0), "oracle": (4.64, 5.0)}
    rows = [row(s, m, v) for s, pair in means.items() for m, v in zip(("pesq_wb", "wer"), pair, strict=True)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("half", "decimals"),
    [(0.05, 2), (0.012, 3), (0.0354, 3), (0.0356, 2), (0.9, 1), (0.96, 1), (3.0, 1), (7.0, 0), (40.0, 0), (1e-9, 4)],
)
def test_decimals_follow_the_particle_data_group(half: float, decimals: int) -> None:
    assert tables.decimals_shown(-half, half, 4) == decimals


def test_decimals_without_a_width_are_the_metrics_own() -> None:
    assert tables.decimals_shown(None, None, 3) == 3
    assert tables.decimals_shown(4.6, 4.6, 2) == 2


def test_rounding_never_shows_a_digit_below_a_tenth_of_the_half_width() -> None:
    for half in (0.0011, 0.02, 0.034, 0.2, 0.5, 0.99, 1.7, 6.0):
        assert 10.0 ** -tables.decimals_shown(0, 2 * half, 9) >= half / 36


def test_numbers_have_no_negative_zero_and_no_nan() -> None:
    assert tables.number(-0.001, 1) == "0.0"
    assert tables.number(-0.001, 1, signed=True) == "+0.0"
    assert tables.number(-0.1, 1, signed=True) == "-0.1"
    assert tables.number(float("nan"), 1) == tables.number(None, 1) == "–"
    assert tables.number(float("-inf"), 1) == "-∞"


def test_percent_rounds_down_so_that_100_means_all() -> None:
    assert tables.percent(0.99999) == "99.9 %"
    assert tables.percent(1.0) == "100 %"
    assert tables.percent(0.994) == "99.4 %"


def test_order_is_by_the_metrics_own_direction_with_missing_means_last(board: pd.DataFrame) -> None:
    board.loc[(board["system"] == "fast") & (board["metric"] == "pesq_wb"), "mean"] = None
    rows = tables.cells(board, SYSTEMS, [PESQ, WER])
    assert [s.name for s in tables.ordered(SYSTEMS, PESQ, rows)] == ["oracle", "slow", "unprocessed", "fast"]
    assert [s.name for s in tables.ordered(SYSTEMS, WER, rows)] == ["oracle", "fast", "slow", "unprocessed"]


def test_best_is_never_an_anchor_and_follows_the_direction(board: pd.DataFrame) -> None:
    rows = tables.cells(board, SYSTEMS, [PESQ, WER])
    assert tables.best_systems(SYSTEMS, PESQ, rows) == {"slow"}
    assert tables.best_systems(SYSTEMS, WER, rows) == {"fast"}


def test_csv_keeps_every_digit_and_a_stable_order(board: pd.DataFrame) -> None:
    text = tables.leaderboard_csv(board, SYSTEMS, [PESQ, WER])
    shuffled = board.sample(frac=1, random_state=3)
    assert text == tables.leaderboard_csv(shuffled, SYSTEMS[::-1], [PESQ, WER])
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(x["metric"], x["system"]) for x in lines[:3]] == [
        ("pesq_wb", "oracle"),
        ("pesq_wb", "slow"),
        ("pesq_wb", "fast"),
    ]
    assert float(lines[1]["mean"]) == 2.7123456789012345
    assert lines[0]["anchor"] == "true"


def test_csv_leaves_a_missing_number_empty() -> None:
    board = pd.DataFrame([row("slow", "pesq_wb", None), row("fast", "pesq_wb", 2.0, None)])
    text = tables.leaderboard_csv(board, SYSTEMS, [PESQ])
    (fast, slow) = csv.DictReader(io.StringIO(text))
    assert slow["mean"] == slow["ci_low"] == slow["delta"] == fast["ci_low"] == ""
    assert "nan" not in text.lower()
    assert "none" not in text.lower()


def test_bins_csv_goes_from_low_to_high_and_names_its_column() -> None:
    bins = [("[5, inf)", 5.0), ("unknown", None), ("(-inf, 5)", float("-inf"))]
    frame = pd.DataFrame([row("slow", "pesq_wb", 2.0, bin=label, bin_low=low) for label, low in bins])
    lines = list(csv.DictReader(io.StringIO(tables.bins_csv(frame, SYSTEMS, [PESQ], "snr_db"))))
    assert [x["bin"] for x in lines] == ["(-inf, 5)", "[5, inf)", "unknown"]
    assert {x["bin_column"] for x in lines} == {"snr_db"}


def test_frames_of_eval_summary_fit_as_they_are() -> None:
    frame = pd.DataFrame([row("slow", "pesq_wb", 2.0, bin=label) for label in ("[-5, 0)", "(-inf, -5)", "unknown")])
    frame = frame.rename(columns={"delta_low": "delta_ci_low", "delta_high": "delta_ci_high"})
    rows = tables.cells(frame, SYSTEMS, [PESQ])
    assert [r.bin_low for r in rows] == [-5.0, float("-inf"), None]
    assert rows[0].delta_low == pytest.approx(1.95)


def test_markdown_rounds_marks_and_explains(board: pd.DataFrame) -> None:
    board.loc[board["system"] == "fast", ["n_ok", "n_floor", "n_excluded", "coverage"]] = [97, 3, 2, 0.95]
    text = tables.leaderboard_markdown(board, SYSTEMS, [PESQ, WER], statistics=Statistics(draws=2500))
    lines = text.splitlines()
    assert lines[0] == "| System | PESQ-WB ↑ | WER (%) ↓ |"
    assert lines[2].startswith("| *oracle* (reference) | 4.64 [4.59, 4.69]")
    assert "**2.71** [2.66, 2.76] (n 100, 100 %)" in lines[3]
    assert "2.50 [2.45, 2.55] (n 100, 95 %; 3 floored; 2 excluded)" in lines[4]
    assert "from 2\u202f500 bootstrap draws of whole clusters (cluster: speaker; 20 clusters)" in text
    assert "marginal" in text
    assert "same items" in text
    assert "*[2.66, 2.76]*" not in text


def test_markdown_has_intervals_of_few_clusters_in_italics(board: pd.DataFrame) -> None:
    text = tables.leaderboard_markdown(board.assign(n_clusters=2), SYSTEMS, [PESQ, WER], statistics=Statistics())
    assert "**2.71** *[2.66, 2.76]*" in text
    assert "italics rest on fewer than 8 clusters" in text


def test_markdown_escapes_what_would_be_markup() -> None:
    hostile = SystemInfo(name="a|b\n<script>*x*", kind="onnx", system_id="e5")
    frame = pd.DataFrame([row(hostile.name, "pesq_wb", 2.0)])
    text = tables.leaderboard_markdown(frame, [hostile], [PESQ], statistics=Statistics())
    assert "| a\\|b &lt;script&gt;\\*x\\* | **2.00**" in text


def test_ranks_stand_in_csv_and_markdown(board: pd.DataFrame) -> None:
    board = board.assign(rank_low=None, rank_high=None, tie_group=None, p_holm=None, first_share=None, improved=0.75)
    columns = ["rank_low", "rank_high", "tie_group", "p_holm", "first_share"]
    for metric in ("pesq_wb", "wer"):
        for system, values in {"slow": (1, 2, 1, None, 0.9), "fast": (1, 2, 1, 0.25, 0.1)}.items():
            board.loc[(board["system"] == system) & (board["metric"] == metric), columns] = values
    lines = list(csv.DictReader(io.StringIO(tables.leaderboard_csv(board, SYSTEMS, [PESQ, WER]))))
    found = {x["system"]: [x[name] for name in columns] for x in lines[:4]}
    assert found["fast"] == ["1", "2", "1", "0.25", "0.1"]
    assert found["oracle"] == ["", "", "", "", ""]
    assert lines[0]["improved"] == "0.75"
    text = tables.leaderboard_markdown(board, SYSTEMS, [PESQ, WER], statistics=Statistics())
    ranks = text.split("draws):\n\n")[1].split("\n\n")[0].splitlines()
    assert ranks[2].startswith("| slow | 1–2 (first 90 %) |")
    assert ranks[3].startswith("| fast | 1–2 (p 0.250, first 10 %) |")
    assert len(ranks) == 4  # anchors are not ranked
    assert "Holm's correction for all pairs of a column, 5 %" in text


def test_a_board_without_ranks_says_nothing_of_them(board: pd.DataFrame) -> None:
    text = tables.leaderboard_markdown(board, SYSTEMS, [PESQ, WER], statistics=Statistics())
    assert "Rank (p" not in text
    assert "Holm" not in text
    assert "delivered" not in text


def test_means_as_delivered_stand_beside_those_on_common_items(board: pd.DataFrame) -> None:
    board = board.assign(delivered=board["mean"], n_delivered=100)
    assert "delivered" not in tables.leaderboard_markdown(board, SYSTEMS, [PESQ, WER], statistics=Statistics())
    board.loc[(board["system"] == "fast") & (board["metric"] == "wer"), ["delivered", "n_delivered"]] = [4.321, 60]
    text = tables.leaderboard_markdown(board, SYSTEMS, [PESQ, WER], statistics=Statistics())
    assert "| fast | 2.50 (n 100) | 4.3 (n 60) |" in text.split("As delivered:\n\n")[1]
    lines = list(csv.DictReader(io.StringIO(tables.leaderboard_csv(board, SYSTEMS, [PESQ, WER]))))
    assert ("4.321", "60") in {(x["delivered"], x["n_delivered"]) for x in lines}


def test_a_rank_is_a_number_or_an_interval() -> None:
    cells = tables.cells(
        pd.DataFrame(
            [row("slow", "pesq_wb", 2.0, rank_low=1, rank_high=1), row("fast", "pesq_wb", 2.0, rank_low=2, rank_high=4)]
        ),
        SYSTEMS,
        [PESQ],
    )
    assert [tables.rank(c) for c in cells] == ["1", "2–4"]
    assert tables.rank(None) == tables.rank(dataclasses.replace(cells[0], rank_low=None)) == "–"
    assert [tables.p_value(p) for p in (None, 0.0001, 0.001, 0.04999, 1.0)] == [
        "–",
        "<0.001",
        "0.001",
        "0.050",
        "1.000",
    ]


def test_sparse_bins_are_marked_in_the_file() -> None:
    frame = pd.DataFrame([row("slow", "pesq_wb", 2.0, bin=b, sparse=b == "few") for b in ("few", "many")])
    lines = list(csv.DictReader(io.StringIO(tables.bins_csv(frame, SYSTEMS, [PESQ], "where"))))
    assert {x["bin"]: x["sparse"] for x in lines} == {"few": "true", "many": "false"}


def test_pooled_metrics_are_named_in_the_caption(board: pd.DataFrame) -> None:
    pooled = dataclasses.replace(WER, aggregate="pooled")
    text = tables.leaderboard_markdown(board, SYSTEMS, [PESQ, pooled], statistics=Statistics())
    assert "WER: errors are summed over all items and divided once, not averaged." in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "stranger"}, "system 'stranger' has scores but no SystemInfo"),
        ({"metric": "mystery"}, "metric 'mystery' has scores but no MetricInfo"),
        ({"mean": float("inf")}, "mean must be finite or null, got inf"),
    ],
)
def test_frames_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables.cells(pd.DataFrame([row("slow", "pesq_wb", 2.0) | change]), SYSTEMS, [PESQ])


def test_a_row_twice_or_a_column_absent_is_refused() -> None:
    frame = pd.DataFrame([row("slow", "pesq_wb", 2.0)] * 2)
    with pytest.raises(ValueError, match="two rows for system 'slow'"):
        tables.cells(frame, SYSTEMS, [PESQ])
    with pytest.raises(ValueError, match="lacks the columns n_floor, coverage"):
        tables.cells(frame.drop(columns=["coverage", "n_floor"]), SYSTEMS, [PESQ])


def test_a_metric_has_one_of_two_directions() -> None:
    with pytest.raises(ValueError, match="better must be 'higher' or 'lower', got 'up'"):
        MetricInfo(name="x", title="X", unit=None, better="up", low=None, high=None, decimals=1)
