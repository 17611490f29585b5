"""The data card."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.card import Card, build_card

HOSTILE = "<img src=x onerror=alert(1)>"


def card(**changes: Any) -> Card:
    rows = pd.DataFrame(
        {
            "mixture_id": ["a1", "b2", "c3", "d4"],
            "split": ["train", "train", "train", "test"],
            "snr_db": [0.02, 5.0, 10.0, None],
            "snr_requested_db": [0.0, 5.0, 10.0, None],
            "rt60_s": [0.31, None, 0.52, None],
            "rt60_requested_s": [0.30, None, 0.50, None],
            "duration_s": [10.0, 10.0, 10.0, 10.0],
            "level_dbfs": [-20.0, -25.0, -30.0, -22.0],
            "language": ["en", "de", "en", None],
            "noise_class": ["babble", "street", "street", None],
            "gain_db": [0.0, -2.0, 0.0, 0.0],
            "gain_reason": [None, "peak", None, None],
            "distance_m": [1.0, None, 1.5, None],
            "rt60_status": ["ok", None, "off", None],
            "array_preset": ["mono", None, "mono", None],
            "noise_place": ["dry", "dry", "point", None],
            "residual_dbfs": [-140.0, -120.5, -139.0, None],
            "peak": [0.5, 0.9, 0.4, 0.3],
        }
    )
    made = Card(
        name="tiny",
        digest="9f2c",
        splits=pd.DataFrame({"split": ["train", "test"], "rows": [3, 1], "hours": [0.5, 0.25], "speakers": [12345, 1]}),
        rows=rows,
        licences=pd.Series({"CC-BY-4.0": 3, "CC0-1.0": 1}),
        dropped=pd.DataFrame(columns=["stage", "reason", "message"]),
        leaks=pd.DataFrame(columns=["kind", "key", "splits", "rows"]),
        versions={"hubbub": "0.1.0", "numpy": "2.4.6"},
    )
    return dataclasses.replace(made, **changes)


def html(**changes: Any) -> str:
    files = build_card(card(**changes))
    assert list(files) == ["index.html"]
    return files["index.html"].decode()


def text(page: str) -> str:
    body = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("\u202f", " ").replace("&nbsp;", " ").split())


def test_totals_are_those_of_the_manifest() -> None:
    words = text(html())
    assert "Mixtures 4 Hours 0.75" in words
    assert "train 3 0.50 12 345 test 1 0.25 1 All 4 0.75" in words
    assert "n 3; median 5.00; 5 to 95 %: 0.52 to 9.50; all: 0.02 to 10.00; 1 without a value" in words


def test_requested_and_achieved_are_compared() -> None:
    words = text(html())
    assert "largest difference 0.02 over 3 rows" in words
    assert "largest difference 0.020 over 2 rows" in words
    assert "miss the requested" not in words


def test_broken_promises_come_first() -> None:
    rows = card().rows.assign(snr_db=[1.0, 5.0, 10.0, None], rt60_s=[0.40, None, 0.52, None], peak=[0.5, 1.0, 0.4, 0.3])
    words = text(html(rows=rows))
    assert "1 of 3 mixtures miss the requested SNR by more than 0.1 dB." in words
    assert "1 of 2 mixtures miss the requested RT60 by more than 10%." in words
    assert "1 mixtures reach full scale" in words
    assert "Before you read the numbers" not in text(html())


def test_worst_residual_and_peak_name_their_mixture() -> None:
    words = text(html())
    assert "−120.5 dBFS b2" in words
    assert "Largest peak 0.900 b2" in words


def test_what_is_not_recorded_is_said_and_never_drawn() -> None:
    page = html(rows=card().rows.drop(columns=["snr_db", "language"]))
    assert "Not recorded for this dataset: SNR, Direct-to-reverberant ratio, Languages." in text(page)
    assert 'id="histogram-snr_db-title"' not in page
    assert 'id="histogram-rt60_s-title"' in page


def test_missing_values_are_never_words() -> None:
    splits = card().splits.assign(speakers=[None, 1])
    for page in (html(), html(splits=splits), html(rows=card().rows.iloc[:0])):
        assert not re.search(r"\b(nan|None|NaN|NaT)\b", text(page))


def test_categories_are_counted_most_frequent_first_with_the_tail_summed() -> None:
    words = text(html())
    assert "street 2 66.7 % babble 1 33.3 %" in words
    assert "CC-BY-4.0 3 75.0 % CC0-1.0 1 25.0 %" in words
    many = pd.Series({f"licence {i:02d}": 1 for i in range(25)})
    assert "5 others 5 20.0 %" in text(html(licences=many))
    assert "No licences are recorded" in text(html(licences=pd.Series(dtype="int64")))


def test_dropped_and_failed_are_counted_apart_by_reason() -> None:
    dropped = pd.DataFrame(
        {
            "stage": ["render"] * 3,
            "reason": ["loud", "far", "loud"],
            "message": ["gain of 31 dB", "too far", "gain of 40"],
        }
    )
    failed = pd.DataFrame({"stage": ["plan"], "reason": ["decode"], "message": [None]})
    words = text(html(dropped=dropped, failed=failed))
    assert "render far 1 too far render loud 2 gain of 31 dB" in words
    assert "plan decode 1 –" in words
    assert "1 rows failed" in words
    assert "No row was dropped. Failed No row failed." in text(html())


def test_leaks_are_listed_or_said_to_be_absent() -> None:
    assert "No leaks: no speaker" in text(html())
    leaks = pd.DataFrame({"kind": ["speaker"], "key": ["s7"], "splits": [["test", "train"]], "rows": [2]})
    words = text(html(leaks=leaks))
    assert "speaker s7 test, train 2" in words
    assert "1 leaks between splits" in words


def test_split_totals_that_disagree_are_a_warning() -> None:
    assert "The splits count 4 rows, the manifest has 3." in text(html(rows=card().rows.iloc[:3]))
    with pytest.raises(ValueError, match="lacks the columns rows, hours"):
        build_card(card(splits=pd.DataFrame({"split": ["train"]})))


def test_hostile_names_are_text_and_nothing_comes_from_elsewhere() -> None:
    leaks = pd.DataFrame({"kind": ["speaker"], "key": [HOSTILE], "splits": [[HOSTILE]], "rows": [2]})
    page = html(name=HOSTILE, rows=card().rows.assign(noise_class=HOSTILE), leaks=leaks, versions={HOSTILE: HOSTILE})
    assert "<img" not in page
    assert page.count("&lt;img") >= 6
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_a_card_of_many_rows_is_small_and_reproducible() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"snr_db": rng.normal(size=50_000), "language": rng.choice(["en", "de"], 50_000)})
    splits = pd.DataFrame({"split": ["train"], "rows": [50_000], "hours": [1.0]})
    page = html(rows=rows, splits=splits)
    assert len(page) < 60_000
    assert page == html(rows=rows, splits=splits)
