"""`hubbub compare`: published values come out, rows are joined by id, and what is missing costs and is named."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import psychometric, statistics
from eval.text import Counts
from manifests.errors import UserError
from pipelines import cli, compare, compare_events, comparison
from tests.test_pipelines_cli import error

FEW = 200  # draws, where a test does not look at intervals


def csv(folder: Path, name: str, text: str) -> str:
    """A CSV file of the lines of `text`, cells apart by spaces."""
    path = folder / f"{name}.csv"
    path.write_text("".join(",".join(line.split()) + "\n" for line in text.strip().splitlines()))
    return str(path)


def lines(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(folder: Path, name: str, **said: Any) -> str:
    return lines(folder, name, *({"id": key, "text": text} for key, text in said.items()))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON object that a command prints."""
    assert cli.run(["compare", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def by(found: comparison.Comparison, key: str = "metric") -> dict[str, Any]:
    return {row[key]: row for row in found.rows}


# ------------------------------------------------------------------------------------------------------------ text


def test_published_word_error_rates(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2620 utterances whose files are in another order each; the split into kinds depends on a tie rule."""
    folder = corpus / "metric_fixtures" / "wer_fbai"
    expected = json.loads((folder / "expected.json").read_text())["pairs"]
    files = [f"system{k}={folder / pair['hypothesis']}" for k, pair in enumerate(expected)]
    reference = str(folder / expected[0]["reference"])
    found = printed(capsys, "text", reference, *files, "-m", "wer", "--normaliser", "none@1")
    for row, pair in zip(found["rows"], expected, strict=True):
        assert row["value"] == pytest.approx(pair["wer_percent"] / 100, abs=1e-12)
        assert (row["reference_units"], row["n"]) == (pair["ref_words"], 2620)
        assert row["substitutions"] + row["deletions"] + row["insertions"] == pair["subs"] + pair["ins"] + pair["dels"]
        assert abs(row["substitutions"] - pair["subs"]) <= 2
        assert 0.002 < row["high"] - row["low"] < 0.006  # published studies of test-clean: about +-0.2 points
        assert row["low"] < row["value"] < row["high"]
    (pair,) = found["pairs"]
    assert pair["difference"] == pytest.approx(found["rows"][0]["value"] - found["rows"][1]["value"], abs=1e-15)
    assert pair["p"] == pair["p_holm"] == pytest.approx(1 / 10001)
    assert all(each["headerless"] for each in found["inputs"])
    assert len(found["items"]) == 2 * 2620


def test_pooled_is_not_the_mean_of_utterances(tmp_path: Path) -> None:
    reference = texts(tmp_path, "ref", a="one", b="a b c d e f g h i")
    found = compare.compare_text(reference, [texts(tmp_path, "hyp", b="A b, c d e f g h i", a="won")], draws=FEW)
    row = by(found)["wer"]
    assert (row["value"], row["mean_of_utterances"], row["n"]) == (0.1, 0.5, 2)
    assert (row["substitutions"], row["deletions"], row["insertions"]) == (1, 0, 0)
    assert row["normaliser"].startswith("basic@1-")
    assert [(i["id"], i["value"]) for i in found.items if i["metric"] == "wer"] == [("a", 1.0), ("b", 0.0)]
    assert by(found)["cer"]["value"] == pytest.approx(2 / 20)  # won for one: a w more, an e less


def test_rows_are_joined_by_id_and_what_is_left_over_is_named(tmp_path: Path) -> None:
    reference = texts(tmp_path, "ref", a="x y", b="z", c="", d=None)
    hypothesis = texts(tmp_path, "hyp", e="never", c="made this up", a="x y")
    found = compare.compare_text(reference, [hypothesis], metrics=["wer"], draws=FEW)
    row = by(found)["wer"]
    assert (row["value"], row["deletions"], row["n"], row["n_without_words"]) == (1 / 3, 1, 2, 1)
    assert row["hallucinated"] == 3
    ref, hyp = found.inputs
    assert (ref["rows"], ref["used"], ref["dropped"]) == (4, 3, {"no_text": ["d"]})
    assert (hyp["rows"], hyp["used"], hyp["dropped"], hyp["missing"]) == (3, 2, {"no_reference": ["e"]}, ["b"])
    status = {item["id"]: (item["value"], item["status"], item["reason"]) for item in found.items}
    assert status == {"a": (0.0, "ok", None), "b": (1.0, "ok", None), "c": (None, "excluded_ref", "no_words")}
    shown = comparison.rendered(found)
    assert f"{hypothesis}: 1 of 3 rows not used, no_reference: e" in shown
    assert f"{hypothesis}: 1 of the reference missing, which counts: b" in shown


def test_no_words_at_all(tmp_path: Path) -> None:
    found = compare.compare_text(texts(tmp_path, "r", a=""), [texts(tmp_path, "h", a="x")], metrics=["wer"], draws=FEW)
    row = found.rows[0]
    assert (row["value"], row["low"], row["status"], row["reason"]) == (None, None, "excluded_ref", "no_words")
    assert row["hallucinated"] == 1
    assert found.pairs == []


def test_intervals_and_tests_are_those_of_clusters(tmp_path: Path) -> None:
    """The interval against the ratio of sums of `eval.statistics`, the p-value against all flips on paper."""
    draw = random.Random(4)
    said = {f"u{k}": [draw.choice("abcdef") for _ in range(draw.randint(1, 9))] for k in range(40)}
    speaker = {key: f"s{k % 5}" for k, key in enumerate(said)}
    heard = {
        name: {key: [w if draw.random() > rate else "x" for w in words] for key, words in said.items()}
        for name, rate in (("a", 0.1), ("b", 0.3))
    }
    rows = [{"id": key, "text": " ".join(words), "speaker": speaker[key]} for key, words in said.items()]
    files = [texts(tmp_path, name, **{k: " ".join(w) for k, w in own.items()}) for name, own in heard.items()]
    found = compare.compare_text(lines(tmp_path, "r", *rows), files, metrics=["wer", "wacc"], cluster="speaker")
    errors = np.array([[sum(x == "x" for x in own[key]) for own in heard.values()] for key in said])
    data = statistics.Clustered.of(errors, list(speaker.values()), [len(words) for words in said.values()])
    low, high = statistics.percentile_interval(data.resampled())
    for place, name in enumerate("ab"):
        row = next(row for row in found.rows if (row["system"], row["metric"]) == (name, "wer"))
        assert (row["low"], row["high"]) == pytest.approx((low[place], high[place]), abs=1e-12)
        assert row["n_clusters"] == 5
    assert [pair["p"] for pair in found.pairs] == [2 / 32, 2 / 32]  # b is worse for all five speakers
    assert found.pairs[0]["difference"] == pytest.approx(-found.pairs[1]["difference"])
    assert any("only 5 clusters" in note for note in found.notes)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_rates_of_arrays_are_those_of_counts(numbers: list[int]) -> None:
    counts = Counts(*numbers)
    for rate in ("wer", "wacc", "mer", "wil"):
        found = compare._rates(rate, np.array(numbers, dtype=float))
        assert np.isnan(found) if counts.reference_words == 0 else found == pytest.approx(getattr(counts, rate))


def test_three_systems_are_corrected_for_their_number(tmp_path: Path) -> None:
    words = {f"u{k}": "a b c" for k in range(12)}
    files = [texts(tmp_path, n, **dict.fromkeys(words, said)) for n, said in (("a", "a b c"), ("b", "a b"), ("c", "a"))]
    found = compare.compare_text(texts(tmp_path, "r", **words), files, metrics=["wer", "mer"], draws=FEW)
    of_wer, of_mer = ([pair for pair in found.pairs if pair["metric"] == m] for m in ("wer", "mer"))
    assert [(p["first"], p["second"]) for p in of_wer] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [p["p_holm"] for p in of_wer] == pytest.approx([3 * 2 / 2**12] * 3)
    assert [p["p"] for p in of_mer] == [None] * 3  # its denominator is not the same for all systems


def test_several_hypotheses(tmp_path: Path) -> None:
    """The best list item has one error, the best composition none, and the first one two."""
    reference = texts(tmp_path, "r", u="a b c d")
    several, single = texts(tmp_path, "n", u=["a x y d", "a b x d", "x b c d"]), texts(tmp_path, "s", u="a x y d")
    wanted = ["wer", "oracle_wer_nb", "oracle_wer_cp"]
    found = compare.compare_text(reference, [several, single], metrics=wanted, draws=FEW)
    values = {(row["system"], row["metric"]): (row["value"], row["status"], row["reason"]) for row in found.rows}
    assert values == {
        ("n", "wer"): (0.5, "ok", None),
        ("s", "wer"): (0.5, "ok", None),
        ("n", "oracle_wer_nb"): (0.25, "ok", None),
        ("n", "oracle_wer_cp"): (0.0, "ok", None),
        ("s", "oracle_wer_nb"): (None, "skipped", "one_hypothesis"),
        ("s", "oracle_wer_cp"): (None, "skipped", "one_hypothesis"),
    }
    assert any("the first counts" in note for note in found.notes)


def test_semantic_rules_may_be_a_file(tmp_path: Path) -> None:
    reference, hypothesis = texts(tmp_path, "r", u="check the bp now"), texts(tmp_path, "h", u="check the pressure now")
    rules = tmp_path / "rules.yaml"
    rules.write_text("name: ward\nversion: 1\nterms: {pressure: [bp]}\n")
    found = compare.compare_text(reference, [hypothesis], metrics=["semwer"], rules=str(rules), draws=FEW)
    assert (found.rows[0]["value"], found.rows[0]["normaliser"][:7]) == (0.0, "ward@1-")
    found = compare.compare_text(reference, [hypothesis], metrics=["semwer"], draws=FEW)
    assert found.rows[0]["value"] == 0.25
    rules.write_text("name: ward\nversion: 1\ntermz: {}\n")
    with pytest.raises(UserError, match=r"rules\.yaml: rules must have known keys, got 'termz'"):
        compare.compare_text(reference, [hypothesis], metrics=["semwer"], rules=str(rules))


def test_columns_of_other_names(tmp_path: Path) -> None:
    reference = lines(tmp_path, "r", {"utt": "1", "said": "a b"})
    hypothesis = lines(tmp_path, "h", {"utt": 1, "said": "a", "guess": "a b"})
    named = {"id": "utt", "text": "said"}
    assert compare.compare_text(reference, [hypothesis], column=named, draws=FEW).rows[0]["value"] == 0.5
    named |= {"hypothesis": "guess"}
    assert compare.compare_text(reference, [hypothesis], column=named, draws=FEW).rows[0]["value"] == 0.0


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, same = texts(tmp_path, "r", a="x"), texts(tmp_path, "h", a="x")
    assert "did you mean 'wer'?" in error(capsys, "compare", "text", reference, same, "-m", "wier")
    assert "did you mean 'basic@1'?" in error(capsys, "compare", "text", reference, same, "--normaliser", "basic@2")
    assert "no column 'speaker'" in error(capsys, "compare", "text", reference, same, "--cluster", "speaker")
    assert "two systems are called 'h'" in error(capsys, "compare", "text", reference, same, same)
    assert "no such file" in error(capsys, "compare", "text", reference, "s=nowhere.csv")
    assert "write it as ours=theirs" in error(capsys, "compare", "text", reference, same, "--column", "id")
    bad = lines(tmp_path, "b", {"id": "a", "text": [1]})
    assert "line 1, column 'text': expected a text or a list of texts" in error(
        capsys, "compare", "text", reference, bad
    )


# ---------------------------------------------------------------------------------------------------------- labels

LABELS = "id label speaker\n" + "\n".join(f"i{k} {'abc'[k % 3]} s{k % 4}" for k in range(24))


def test_labels_against_scikit_learn(tmp_path: Path) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    truth = ["abc"[k % 3] for k in range(24)]
    said = ["abcd"[k] for k in rng.integers(4, size=24)]
    scores = rng.random((24, 3)).round(2)
    rows = [f"i{k} {said[k]} " + " ".join(str(s) for s in scores[k]) for k in rng.permutation(24)]
    estimate = csv(tmp_path, "est", "id label score_a score_b score_c\n" + "\n".join(rows))
    found = compare.compare_labels(csv(tmp_path, "ref", LABELS), [estimate], cluster="speaker", draws=50)
    value = {metric: row["value"] for metric, row in by(found).items()}
    assert value["accuracy"] == pytest.approx(sk.accuracy_score(truth, said))
    recalls = sk.recall_score(truth, said, labels=list("abc"), average=None)
    assert value["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    for average in ("macro", "micro", "weighted"):
        expected = sk.f1_score(truth, said, average=average, zero_division=0)
        assert value[f"f1_{average}"] == pytest.approx(expected), average
    one_hot = np.array([[t == c for c in "abc"] for t in truth])
    assert value["map"] == pytest.approx(sk.average_precision_score(one_hot, scores, average="macro"))
    assert value["roc_auc"] == pytest.approx(sk.roc_auc_score(one_hot, scores, average="macro"))
    table = {(cell["reference"], cell["estimate"]): cell["n"] for cell in found.confusion}
    matrix = sk.confusion_matrix(truth, said, labels=list("abcd"))
    for i, label in enumerate("abcd"):
        for j, other in enumerate("abcd"):
            assert table.get((label, other), 0) == matrix[i, j]
    for metric in ("accuracy", "f1_macro"):
        assert by(found)[metric]["low"] < value[metric] < by(found)[metric]["high"]


def test_a_missing_label_is_an_error_and_no_class(tmp_path: Path) -> None:
    reference = csv(tmp_path, "r", "id label\n1 x\n2 x\n3 y\n4 y")
    found = compare.compare_labels(reference, [csv(tmp_path, "e", "id label\n9 x\n1 x\n3 y\n4 y")], draws=FEW)
    value = {metric: row["value"] for metric, row in by(found).items()}
    assert value["accuracy"] == value["balanced_accuracy"] == 0.75
    assert value["f1_macro"] == pytest.approx((2 / 3 + 1) / 2)  # two classes: x with 1 of 2, y with all
    assert [c for c in found.confusion if c["estimate"] == compare.MISSING] == [
        {"system": "e", "reference": "x", "estimate": compare.MISSING, "n": 1}
    ]
    assert (found.inputs[1]["dropped"], found.inputs[1]["missing"]) == ({"no_reference": ["9"]}, ["2"])
    assert (by(found)["eer"]["value"], by(found)["eer"]["reason"]) == (None, "no_score_column")


def test_detections_of_one_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four trials on paper: one of four (positive, negative) pairs is out of order."""
    reference = csv(tmp_path, "r", "id label\n1 yes\n2 no\n3 yes\n4 no")
    estimate = csv(tmp_path, "e", "id score\n4 0.1\n3 0.4\n2 0.5\n1 0.9")
    assert "which class is a high 'score' for?" in error(capsys, "compare", "labels", reference, estimate)
    found = printed(
        capsys, "labels", reference, estimate, "--positive", "yes", "-m", "roc_auc", "-m", "eer", "-m", "map"
    )
    value = {row["metric"]: row["value"] for row in found["rows"]}
    assert value == pytest.approx({"roc_auc": 0.75, "eer": 0.5, "map": (1 + 2 / 3) / 2})
    # A trial without a score is the worst there is, whichever it is.
    for lost, expected in (("1 0.9", 0.25), ("4 0.1", 0.25)):
        fewer = csv(tmp_path, "f", "id score\n4 0.1\n3 0.4\n2 0.5\n1 0.9".replace(lost, "7 1"))
        found = printed(capsys, "labels", reference, fewer, "--positive", "yes", "-m", "roc_auc")
        assert found["rows"][0]["value"] == expected, lost


def test_a_class_that_the_scores_lack(tmp_path: Path) -> None:
    reference = csv(tmp_path, "r", "id label\n1 x\n2 y")
    with pytest.raises(UserError, match="no column 'score_y', and the reference has that class"):
        compare.compare_labels(reference, [csv(tmp_path, "e", "id score_x\n1 1\n2 0")], draws=FEW)
    found = compare.compare_labels(
        reference, [csv(tmp_path, "f", "id score_x score_y score_z\n1 1 0 0\n2 0 1 0")], metrics=["roc_auc"]
    )
    assert (found.rows[0]["value"], found.rows[0]["undefined"]) == (1.0, {"z": "no_positives"})


# ---------------------------------------------------------------------------------------------------------- events


def test_directions_on_paper(tmp_path: Path) -> None:
    """Two sources swap rows, one frame is off by 20 degrees, one recording is missing (two sources, 180 each)."""
    reference = csv(
        tmp_path, "r",
        "recording frame azimuth elevation\nr1 0 0 0\nr1 0 90 0\nr1 1 10 0\nr2 0 0 0\nr2 1 0 0",
    )  # fmt: skip
    estimate = csv(
        tmp_path, "e", "recording frame azimuth elevation\nr1 1 30 0\nr1 0 90 0\nr1 0 0 4\nr1 7 1 1\nr3 0 0 0"
    )
    found = compare_events.compare_doa(reference, [estimate, f"same={reference}"], draws=FEW)
    rows = {(row["system"], row["metric"]): row for row in found.rows}
    assert rows["e", "doa_mae"]["value"] == pytest.approx((4 + 0 + 20 + 180 + 180) / 5)
    assert rows["e", "acc_5"]["value"] == pytest.approx(2 / 5)
    assert (rows["e", "doa_mae"]["missed"], rows["e", "doa_mae"]["false"], rows["e", "doa_mae"]["n"]) == (2, 1, 5)
    assert (rows["same", "doa_mae"]["value"], rows["same", "acc_5"]["value"]) == (0.0, 1.0)
    assert {i["id"]: i["value"] for i in found.items if (i["system"], i["metric"]) == ("e", "acc_5")} == {
        "r1": pytest.approx(2 / 3),
        "r2": 0.0,
    }
    each = found.inputs[1]
    assert (each["rows"], each["used"], each["dropped"], each["missing"]) == (5, 4, {"no_reference": ["r3"]}, ["r2"])
    assert found.pairs[0]["p"] == 0.5  # two recordings: two of four flips are as extreme
    wider = compare_events.compare_doa(reference, [estimate], within_deg=20, draws=FEW)
    assert by(wider)["acc_20"]["value"] == pytest.approx(3 / 5)


def test_a_system_that_finds_nothing(tmp_path: Path) -> None:
    reference = csv(tmp_path, "r", "frame class azimuth elevation\n0 x 0 0\n1 x 0 0")
    nothing = csv(tmp_path, "e", "frame class azimuth elevation")
    assert by(compare_events.compare_doa(reference, [nothing]))["doa_mae"]["value"] == 180
    found = by(compare_events.compare_seld(reference, [nothing]))
    assert {m: row["value"] for m, row in found.items()} == {
        "er_20": 1, "f1_20": 0, "le_cd": 180, "lr_cd": 0, "seld_error": 1,
    }  # fmt: skip


def test_events_on_paper(tmp_path: Path) -> None:
    """Ten segments of one source each: nine heard within 20 degrees, one beyond; in r2 one false source of class y."""
    rows = [(r, 10 * second, "x", 10) for r in ("r1", "r2") for second in range(5)]
    head = "recording frame class azimuth elevation\n"
    reference = csv(tmp_path, "r", head + "\n".join(f"{r} {f} {c} {a} 0" for r, f, c, a in rows))
    wrong = [(r, f, c, 40 if (r, f) == ("r1", 0) else a) for r, f, c, a in rows] + [("r2", 12, "y", 0)]
    estimate = csv(tmp_path, "e", head + "\n".join(f"{r} {f} {c} {a} 0" for r, f, c, a in reversed(wrong)))
    found = by(compare_events.compare_seld(reference, [estimate], draws=50))
    assert found["er_20"]["value"] == pytest.approx(2 / 10)
    assert found["f1_20"]["value"] == pytest.approx(9 / (9 + 1))  # of class x, the only one of the reference
    assert found["le_cd"]["value"] == pytest.approx(30 / 10)
    assert found["lr_cd"]["value"] == 1
    expected = (0.2 + 0.1 + 3 / 180 + 0) / 4
    assert found["seld_error"]["value"] == pytest.approx(expected)
    assert found["seld_error"]["low"] < expected < found["seld_error"]["high"]
    longer = csv(tmp_path, "l", Path(reference).read_text().replace(",", " ") + "r2 999 x 0 0")
    late = by(compare_events.compare_seld(reference, [longer], draws=50))
    assert late["er_20"]["value"] == pytest.approx(1 / 10)  # after the reference's last event it is a false one too
    micro = by(compare_events.compare_seld(reference, [estimate], average="micro", draws=50))
    assert micro["f1_20"]["value"] == pytest.approx(9 / (9 + 1 + 0.5))


def test_elevations_on_one_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat, full = csv(tmp_path, "f", "frame azimuth\n0 0"), csv(tmp_path, "g", "frame azimuth elevation\n0 0 30")
    assert "g.csv" not in error(capsys, "compare", "doa", full, flat)  # it is the other that lacks the column
    found = printed(capsys, "doa", flat, full)
    assert found["rows"][0]["value"] == 0
    assert "g: elevations are not looked at, the reference has none" in found["notes"]
    bad = csv(tmp_path, "b", "frame azimuth elevation\n0 0 91")
    assert "column 'elevation': expected a number within -90..90, got '91'" in error(
        capsys, "compare", "doa", full, bad
    )


def test_recordings_on_one_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_one, without = csv(tmp_path, "w", "recording frame azimuth\nr 0 0"), csv(tmp_path, "o", "frame azimuth\n0 0")
    for first, second in ((with_one, without), (without, with_one)):
        assert f"{without}: no column 'recording'" in error(capsys, "compare", "doa", first, second)


NOTES = "recording onset offset pitch\nr1 0 1 440\nr1 1 2 220\nr2 0 1 100\nr2 3 4 100"


def test_notes_on_paper(tmp_path: Path) -> None:
    pytest.importorskip("mir_eval")
    heard = "recording onset offset pitch\nr2 0.01 1 200\nr1 1 2 220\nr1 0.04 2 440\nr1 5 6 1"
    found = compare_events.compare_notes(csv(tmp_path, "r", NOTES), [csv(tmp_path, "e", heard)], draws=FEW)
    rows = by(found)
    expected = {"onset": 3, "onset_offset": 2, "onset_pitch": 2, "onset_pitch_offset": 1}
    for criterion, matched in expected.items():
        row = rows[f"note_f1_{criterion}"]
        assert (row["matched"], row["n"], row["n_estimated"]) == (matched, 4, 4), criterion
        assert row["value"] == row["precision"] == row["recall"] == pytest.approx(matched / 4)
    assert {i["id"]: i["value"] for i in found.items if i["metric"] == "note_f1_onset"} == {
        "r1": pytest.approx(4 / 5),
        "r2": pytest.approx(2 / 3),
    }
    onset = rows["note_f1_onset"]
    assert (onset["low"], onset["high"]) == pytest.approx((2 / 3, 4 / 5))  # a quarter of draws has one recording twice
    nothing = compare_events.compare_notes(
        csv(tmp_path, "r", NOTES), [csv(tmp_path, "n", "recording onset offset pitch")]
    )
    assert {(r["value"], r["status"], r["reason"]) for r in nothing.rows} == {(0.0, "floor", "no_notes")}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("r1 1 1 440", "column 'offset': expected a number above the onset, 1, got '1'"),
        ("r1 0 1 0", "column 'pitch': expected a frequency above 0 Hz, got '0'"),
        ("r1 -1 1 440", "column 'onset': expected a number from 0, got '-1'"),
    ],
)
def test_notes_that_are_none(tmp_path: Path, row: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    bad = csv(tmp_path, "e", NOTES.splitlines()[0] + "\n" + row)
    assert f"e.csv, line 2, {message}" in error(capsys, "compare", "notes", csv(tmp_path, "r", NOTES), bad)


# ------------------------------------------------------------------------------------------------- tables of numbers


def test_thresholds_per_condition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = csv(
        tmp_path, "t", "masker snr_db n_correct n_total\nssn -6 10 20\nssn -9 5 20\nssn -3 15 20\nbabble 0 20 20"
    )
    found = printed(capsys, "srt", table, "--condition", "masker")
    ssn, babble = found["rows"]
    assert ssn["value"] == pytest.approx(-6, abs=1e-6)  # by symmetry
    fit = psychometric.fit(snr_db=[-9, -6, -3], n_correct=[5, 10, 15], n_total=[20, 20, 20])
    assert (ssn["low"], ssn["high"]) == pytest.approx(fit.srt_ci_db)
    assert (ssn["n"], ssn["slope_per_db"]) == (60, pytest.approx(np.log(3) / 3 / 4, rel=1e-5))
    assert (babble["condition"], babble["value"], babble["reason"]) == ("babble", None, "all_correct")
    assert babble["bracket_db_high"] == 0
    assert len(printed(capsys, "srt", table)["rows"]) == 1
    bad = csv(tmp_path, "b", "snr_db n_correct n_total\n0 21 20")
    assert "expected at most the 20 of n_total, got '21'" in error(capsys, "compare", "srt", bad)
    assert "guess and lapse must be within" in error(capsys, "compare", "srt", table, "--guess", "0.6")


def test_scores_of_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = csv(tmp_path, "t", "system dnsmos_ovrl wacc\na 3.1 0.8\nb 2.0 \n".replace("b 2.0 ", 'b 2.0 ""'))
    found = printed(capsys, "table", table, "--score", "dns5_score")
    a, b = found["rows"]
    assert a["value"] == pytest.approx(((3.1 - 1) / 4 + 0.8) / 2)
    assert (b["value"], b["status"], b["reason"]) == (None, "skipped", "missing:wacc")
    assert "did you mean 'prism'?" in error(capsys, "compare", "table", table, "--score", "prizm")
    assert "no column 'pesq_wb'" in error(capsys, "compare", "table", table, "--score", "prism")
    beyond = csv(tmp_path, "u", "system ovrl wacc\na 3.1 1.8")
    assert "u.csv, line 2: wacc must be" in error(capsys, "compare", "table", beyond, "--score", "dns5_score")


def test_the_error_of_seld_from_its_parts(tmp_path: Path) -> None:
    table = csv(tmp_path, "t", "system er_20 f1_20 le_cd lr_cd\na 0.5 0.6 18 0.7")
    found = compare.compare_table(table, score="seld_error")
    assert found.rows[0]["value"] == pytest.approx((0.5 + 0.4 + 0.1 + 0.3) / 4)


def test_prism_says_that_it_is_relative(tmp_path: Path) -> None:
    from eval.tablescores import PRISM_GROUPS

    metrics = [name for group in PRISM_GROUPS.values() for name in group]
    rows = [f"{name} {' '.join([str(value)] * len(metrics))}" for name, value in (("low", 1), ("mid", 2), ("top", 5))]
    table = csv(tmp_path, "t", f"system {' '.join(metrics)}\n" + "\n".join(rows))
    found = compare.compare_table(table, score="prism")
    assert {row["system"]: row["value"] for row in found.rows} == {"low": 0.0, "mid": 0.25, "top": 1.0}
    assert (
        "PRISM holds for this table only: it is relative to the 3 systems that entered (low, mid, top)"
        in found.notes[0]
    )


def test_people_see_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, hypothesis = texts(tmp_path, "r", a="x y", b="z"), texts(tmp_path, "h", a="x", b="z")
    assert cli.run(["compare", "text", reference, f"mine={hypothesis}", "-m", "wer"]) == 0
    out = capsys.readouterr().out
    row = next(line.split() for line in out.splitlines() if line.strip().startswith("mine"))
    assert row[:6] == ["mine", "wer", "0.3333", "0.0000", "to", "0.5000"]
    assert "normaliser: basic@1-" in out
    assert "intervals take utterances as independent" in out
