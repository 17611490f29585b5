"""eval.text against values on paper, published WERs of 2620 utterances, jiwer, and its own promises."""

import builtins
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eval import text
from eval.outcome import ReferenceFault
from eval.text import Counts

NONE = "none@1"
SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "dd", "e"]), max_size=8).map(" ".join)
SPOKEN = SENTENCES.filter(bool)


def transcripts(path: Path) -> dict[str, str]:
    rows = (line.rstrip("\n").partition("\t") for line in path.read_text().splitlines())
    return {key: words for key, _, words in rows}


# Values on paper


def test_two_deletions_of_six_words() -> None:
    pair = {"reference": "the cat sat on the mat", "hypothesis": "the cat sat mat"}
    assert text.count_words(**pair, normaliser=NONE) == Counts(hits=4, deletions=2)
    assert text.wer(**pair, normaliser=NONE) == pytest.approx(1 / 3, abs=1e-15)
    assert text.wacc(**pair, normaliser=NONE) == pytest.approx(2 / 3, abs=1e-15)
    assert text.mer(**pair, normaliser=NONE) == pytest.approx(1 / 3, abs=1e-15)
    assert text.wil(**pair, normaliser=NONE) == pytest.approx(1 - 16 / (6 * 4), abs=1e-15)


def test_one_edit_of_each_kind() -> None:
    counts = text.count_words(reference="a b c d", hypothesis="a x c e e", normaliser=NONE)
    assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (2, 2, 0, 1)
    counts = text.count_words(reference="a b c d", hypothesis="b c d", normaliser=NONE)
    assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (3, 0, 1, 0)


def test_pooled_and_mean_of_utterances_are_different_numbers() -> None:
    long = text.count_words(reference="a b c d e f g h i j", hypothesis="a b c d e f g h i j", normaliser=NONE)
    short = text.count_words(reference="k", hypothesis="x y", normaliser=NONE)
    assert text.pooled([long, short]).wer == pytest.approx(2 / 11, abs=1e-15)  # 0.1818
    assert text.mean_of_utterances([long, short]) == 1.0


def test_one_utterance_of_wer_three_counts_by_its_words() -> None:
    good = [text.count_words(reference="a b c d", hypothesis="a b c d", normaliser=NONE)] * 9
    bad = text.count_words(reference="a", hypothesis="x y z", normaliser=NONE)
    assert bad.wer == 3
    assert text.pooled([*good, bad]).wer == pytest.approx(3 / 37, abs=1e-15)
    assert text.mean_of_utterances([*good, bad]) == pytest.approx(0.3, abs=1e-15)


def test_characters() -> None:
    assert text.cer(reference="abcd", hypothesis="abxd", normaliser=NONE) == 0.25
    assert text.cer(reference="今天天气很好", hypothesis="今天 天汽很好。", normaliser="characters@1") == pytest.approx(
        1 / 6
    )
    assert text.cer(reference="ab cd", hypothesis="abcd", normaliser="basic@1") == 0.2  # a space is a character
    assert text.cer(reference="ab cd", hypothesis="abcd", normaliser="characters@1") == 0


def test_the_normaliser_decides_and_has_no_default() -> None:
    pair = {"reference": "Twenty dollars!", "hypothesis": "$20"}
    assert [text.wer(**pair, normaliser=name) for name in (NONE, "basic@1", "english@1")] == [1, 1, 0]
    with pytest.raises(TypeError, match="normaliser"):
        text.wer(**pair)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="normaliser must be a known id, got 'english'"):
        text.wer(**pair, normaliser="english")


def test_dwer_takes_a_transcript() -> None:
    assert text.dwer(reference_transcript="a x c", hypothesis="a x d", normaliser=NONE) == pytest.approx(1 / 3)
    with pytest.raises(TypeError, match="reference"):
        text.dwer(reference="a", hypothesis="a", normaliser=NONE)  # type: ignore[call-arg]


# What is missing


def test_a_missing_hypothesis_is_all_deletions() -> None:
    counts = text.count_words(reference="a b c", hypothesis=None, normaliser=NONE)
    assert counts == Counts(deletions=3)
    assert (counts.wer, counts.wacc, counts.mer, counts.wil) == (1, 0, 1, 1)
    assert text.count_words(reference="a b c", hypothesis="", normaliser=NONE) == counts
    assert text.cer(reference="abc", hypothesis=None, normaliser=NONE) == 1


@pytest.mark.parametrize("reference", ["", "  ", "..."])
def test_an_empty_reference_has_hallucinated_words_and_no_wer(reference: str) -> None:
    counts = text.count_words(reference=reference, hypothesis="thank you", normaliser="basic@1")
    assert counts == Counts(hallucinated_words=2)
    for rate in ("wer", "wacc", "mer", "wil"):
        with pytest.raises(ReferenceFault, match="no_words"):
            getattr(counts, rate)
    other = text.count_words(reference="a b", hypothesis="a", normaliser=NONE)
    assert text.pooled([counts, other]).wer == 0.5
    assert text.pooled([counts, other]).hallucinated_words == 2
    assert text.mean_of_utterances([counts, other]) == 0.5


def test_no_utterance_with_words_has_no_rate() -> None:
    with pytest.raises(ReferenceFault, match="no_words"):
        text.mean_of_utterances([Counts(hallucinated_words=1)])
    with pytest.raises(ReferenceFault, match="no_words"):
        _ = text.pooled([]).wer


def test_join_is_by_id_and_names_what_has_no_partner() -> None:
    joined = text.join(references={"u2": "b", "u1": "a", "u3": "c"}, hypotheses={"u1": "A", "u9": "z", "u2": "B"})
    assert list(joined.pairs.items()) == [("u2", ("b", "B")), ("u1", ("a", "A")), ("u3", ("c", None))]
    assert joined.missing == ("u3",)
    assert joined.extra == ("u9",)
    assert text.join(references={"u": "a"}, hypotheses={"u": None}).missing == ("u",)
    assert text.join(references={"u": ""}, hypotheses={"u": ""}).missing == ()  # empty is an answer


def test_items_of_a_score_row_come_back() -> None:
    counts = Counts(5, 1, 2, 3, 4)
    items = counts.items()
    assert dict(items) == {
        "hits": 5,
        "substitutions": 1,
        "deletions": 2,
        "insertions": 3,
        "hallucinated_words": 4,
        "reference_words": 8,
    }
    assert all(type(value) is float for _, value in items)
    assert Counts.of_items(reversed(items)) == counts
    with pytest.raises(ValueError, match=r"reference_words must be hits .* = 8, got 9"):
        Counts.of_items([*items[:-1], ("reference_words", 9.0)])
    with pytest.raises(ValueError, match="items must have the keys hits, "):
        Counts.of_items(items[1:])


def test_without_rapidfuzz_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("rapidfuzz"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(text.AsrExtraMissing, match=r"pip install 'hubbub\[asr\]'") as caught:
        text.wer(reference="a", hypothesis="b", normaliser=NONE)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# Another implementation, published values


@given(reference=SPOKEN, hypothesis=SENTENCES)
def test_equals_jiwer(reference: str, hypothesis: str) -> None:
    expected = jiwer.process_words(reference, hypothesis)
    counts = text.count_words(reference=reference, hypothesis=hypothesis, normaliser=NONE)
    assert counts.wer == pytest.approx(expected.wer, abs=1e-12)
    assert counts.mer == pytest.approx(expected.mer, abs=1e-12)
    assert counts.wil == pytest.approx(expected.wil, abs=1e-12)
    assert text.cer(reference=reference, hypothesis=hypothesis, normaliser=NONE) == pytest.approx(
        jiwer.cer(reference, hypothesis), abs=1e-12
    )


@given(pairs=st.lists(st.tuples(SPOKEN, SENTENCES), min_size=1, max_size=5))
def test_pooling_equals_jiwer_on_lists(pairs: list[tuple[str, str]]) -> None:
    counts = text.pooled(text.count_words(reference=r, hypothesis=h, normaliser=NONE) for r, h in pairs)
    assert counts.wer == pytest.approx(jiwer.wer([r for r, _ in pairs], [h for _, h in pairs]), abs=1e-12)


def distance(a: list[str], b: list[str]) -> int:
    """Levenshtein distance by its definition."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        left = [i]
        for j, y in enumerate(b, start=1):
            left.append(min(row[j] + 1, left[-1] + 1, row[j - 1] + (x != y)))
        row = left
    return row[-1]


@given(reference=SPOKEN, hypothesis=SENTENCES)
def test_counts_are_a_minimum_edit_distance(reference: str, hypothesis: str) -> None:
    counts = text.count_words(reference=reference, hypothesis=hypothesis, normaliser=NONE)
    assert counts.errors == distance(reference.split(), hypothesis.split())
    assert counts.reference_words == len(reference.split())
    assert counts.hypothesis_words == len(hypothesis.split())
    assert 0 <= counts.mer <= 1
    assert 0 <= counts.wil <= 1
    assert counts.wacc == 1 - counts.wer


def test_published_wer_of_two_recognisers(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "wer_fbai"
    published = json.loads((folder / "expected.json").read_text())["pairs"]
    assert len(published) == 2
    for pair in published:
        references, hypotheses = transcripts(folder / pair["reference"]), transcripts(folder / pair["hypothesis"])
        start = time.process_time()
        joined = text.join(references=references, hypotheses=hypotheses)
        rows = [text.count_words(reference=r, hypothesis=h, normaliser=NONE) for r, h in joined.pairs.values()]
        assert time.process_time() - start < 1  # 0.06 s on an idle core
        counts = text.pooled(rows)
        assert (len(rows), joined.missing, joined.extra) == (2620, (), ())
        assert counts.reference_words == pair["ref_words"]
        assert 100 * counts.wer == pytest.approx(pair["wer_percent"], abs=1e-12)
        assert counts.errors == pair["subs"] + pair["ins"] + pair["dels"]
        # The tie rule moves at most two words between kinds.
        split = [counts.substitutions - pair["subs"], counts.insertions - pair["ins"], counts.deletions - pair["dels"]]
        assert split == ([2, -1, -1] if "rnnt_baseline" in pair["hypothesis"] else [0, 0, 0])


def test_order_of_the_files_does_not_matter(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "wer_fbai"
    references = transcripts(folder / "ref_test-clean.tsv")
    hypotheses = transcripts(folder / "hyp_test-clean.b1.rnnt_baseline.tsv")

    def total(pairs: Any) -> Counts:
        return text.pooled(text.count_words(reference=r, hypothesis=h, normaliser=NONE) for r, h in pairs)

    right = total(text.join(references=references, hypotheses=dict(sorted(hypotheses.items()))).pairs.values())
    assert right.wer < 0.04
    assert total(zip(references.values(), hypotheses.values(), strict=True)).wer > 0.9  # what a join by position says


# Properties


@given(pairs=st.lists(st.tuples(SPOKEN, SENTENCES), min_size=1, max_size=6))
def test_wer_of_a_corpus_is_between_those_of_its_utterances(pairs: list[tuple[str, str]]) -> None:
    rows = [text.count_words(reference=r, hypothesis=h, normaliser=NONE) for r, h in pairs]
    rates = [row.wer for row in rows]
    assert min(rates) - 1e-12 <= text.pooled(rows).wer <= max(rates) + 1e-12
    assert text.pooled(rows) == text.pooled(reversed(rows))


def test_oracles_on_paper() -> None:
    given_ = {"reference": "the cat sat on the mat", "normaliser": NONE}
    hypotheses = ["the bat sat on mat", "the cat sat in the hat", "a cat sad on the map"]
    assert text.wer(**given_, hypothesis=hypotheses[0]) == pytest.approx(2 / 6)
    assert text.oracle_wer_nb(**given_, hypotheses=hypotheses) == pytest.approx(2 / 6)
    assert text.oracle_wer_nb(**given_, hypotheses=[*hypotheses, "the cat sat on a mat"]) == pytest.approx(1 / 6)
    assert text.oracle_wer_cp(**given_, hypotheses=hypotheses) == 0  # mat is in the first, cat in the second
    assert text.oracle_wer_cp(**given_, hypotheses=hypotheses[1:]) == pytest.approx(1 / 6)
    assert text.oracle_wer_cp(**given_, hypotheses=["mat", "the dog"]) == pytest.approx(4 / 6)
    assert text.oracle_wer_bag(**given_, hypotheses=["mat", "the dog"]) == pytest.approx(3 / 6)  # one `the` serves two
    assert text.oracle_wer_bag(**given_, hypotheses=["mat the on sat cat"]) == 0


def test_insertions_are_left_out_of_a_composition() -> None:
    assert text.oracle_wer_cp(reference="a b", hypotheses=["x a y b z"], normaliser=NONE) == 0
    assert text.oracle_wer_nb(reference="a b", hypotheses=["x a y b z"], normaliser=NONE) == 1.5


@given(reference=SPOKEN, hypotheses=st.lists(SENTENCES, min_size=1, max_size=5))
def test_each_oracle_is_at_most_the_one_before(reference: str, hypotheses: list[str]) -> None:
    given_: dict[str, Any] = {"reference": reference, "normaliser": NONE}
    first = text.wer(**given_, hypothesis=hypotheses[0])
    nb = text.oracle_wer_nb(**given_, hypotheses=hypotheses)
    cp = text.oracle_wer_cp(**given_, hypotheses=hypotheses)
    bag = text.oracle_wer_bag(**given_, hypotheses=hypotheses)
    assert bag <= cp <= nb <= first
    assert nb == min(text.wer(**given_, hypothesis=each) for each in hypotheses)
    assert cp >= text.oracle_wer_cp(**given_, hypotheses=[*hypotheses, "a b c"])


@given(reference=SPOKEN, hypothesis=SENTENCES)
def test_one_hypothesis_composes_to_its_hits(reference: str, hypothesis: str) -> None:
    counts = text.count_words(reference=reference, hypothesis=hypothesis, normaliser=NONE)
    cp = text.count_oracle_cp(reference=reference, hypotheses=[hypothesis], normaliser=NONE)
    assume(counts.insertions == 0)
    assert cp.wer == counts.wer


@pytest.mark.parametrize("oracle", [text.count_oracle_nb, text.count_oracle_cp, text.count_oracle_bag])
def test_oracles_without_hypotheses_or_reference(oracle: Callable[..., Counts]) -> None:
    assert oracle(reference="a b", hypotheses=[], normaliser=NONE) == Counts(deletions=2)
    assert oracle(reference="", hypotheses=["x y", "z", ""], normaliser=NONE) == Counts()
    with pytest.raises(ValueError, match="hypotheses must be a list of texts, got the text 'a b'"):
        oracle(reference="a b", hypotheses="a b", normaliser=NONE)


def test_importing_the_module_loads_no_rapidfuzz() -> None:
    import subprocess
    import sys

    code = "import sys, eval.text, eval.semantic, eval.embedding; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"'rapidfuzz'", "'jiwer'", "'scipy'", "'pandas'"} & set(loaded.strip("[]\n").split(", "))
