"""eval.semantic against pairs that mean the same, a brute-force alignment, and its own promises."""

import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eval import normalise, semantic, text
from eval.outcome import ReferenceFault
from eval.semantic import Rules
from eval.text import Counts

CLINICAL = "clinical@1"
GENERAL = "general@1"
PLAIN = Rules.of({"name": "plain", "version": 1})
PIECES = st.lists(st.sampled_from(["a", "b", "ab", "aba", "bb"]), max_size=6)


def test_digests_are_pinned_to_their_versions() -> None:
    # A table may change under a new version only: raise the version, then write the new stamp here.
    assert [semantic.get(name).stamp for name in semantic.RULES] == ["general@1-4aee6d27", "clinical@1-01a6a05f"]


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("20 mg", "twenty milligrams"),
        ("Give 500 ml IV.", "uh, give five hundred millilitres intravenous"),
        ("BP is 120/80 mmHg", "blood pressure is one twenty over eighty millimeters of mercury"),
        ("37.5°C", "thirty seven point five degrees celsius"),
        ("Haemoglobin 9.8 g", "hb nine point eight grams"),
        ("5 mcg", "five μg"),
        ("5mcg, 2L", "five micrograms two liters"),
        ("call 1 2 3 4 5 6 7 8", "call 12345678"),
        ("x-ray", "xray"),
        ("okay, a hundred kilometres per hour", "OK 100 km/h"),
        ("the air port", "the airport"),
        ("ECG 3 times a day", "E.K.G. tid"),
        ("he's anaemic um", "he is anaemic"),
    ],
)
def test_the_same_said_in_another_way_is_no_error(reference: str, hypothesis: str) -> None:
    assert semantic.semwer(reference=reference, hypothesis=hypothesis, rules=CLINICAL) == 0
    assert semantic.semwer(reference=hypothesis, hypothesis=reference, rules=CLINICAL) == 0
    assert text.wer(reference=reference, hypothesis=hypothesis, normaliser="basic@1") > 0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("20 mg", "twelve milligrams", Counts(hits=1, substitutions=1)),
        ("20 mg", "20 grams", Counts(hits=1, substitutions=1)),
        ("20 mg", "twenty", Counts(hits=1, deletions=1)),
        ("take 20 mg", "take 20 mg now", Counts(hits=3, insertions=1)),
        ("a b c d", "a d", Counts(hits=2, deletions=2)),  # a word may be skipped inside a text
        ("methotrexate", "methotrexat", Counts(substitutions=1)),  # 92 % of the letters are not the word
        ("air port was shut", "airport is shut", Counts(hits=3, substitutions=1)),
        ("electro cardiogram", "bp", Counts(substitutions=2)),
    ],
)
def test_what_is_not_the_same_is_counted(reference: str, hypothesis: str, expected: Counts) -> None:
    assert semantic.count_semantic(reference=reference, hypothesis=hypothesis, rules=CLINICAL) == expected


def test_units_need_a_number_and_terms_do_not() -> None:
    assert semantic.canonical("g 5 g", rules=GENERAL) == ["g", "5", "grams"]
    assert semantic.canonical("5 M and vitamin C", rules=GENERAL) == ["5", "meters", "and", "vitamin", "c"]
    assert semantic.canonical("TV vs. TV", rules=GENERAL) == ["television", "versus", "television"]


def test_the_longest_way_wins_and_is_not_read_again() -> None:
    rules = Rules.of({"name": "n", "version": 1, "terms": {"x": ["a"], "a y": ["a b c"], "z": ["a b"]}})
    assert semantic.canonical("a b c a b a", rules=rules) == ["a", "y", "z", "x"]


def test_missing_and_empty_texts() -> None:
    assert semantic.count_semantic(reference="20 mg", hypothesis=None, rules=CLINICAL) == Counts(deletions=2)
    hallucinated = semantic.count_semantic(reference="um, uh", hypothesis="thank you", rules=CLINICAL)
    assert hallucinated == Counts(hallucinated_words=2)
    with pytest.raises(ReferenceFault, match="no_words"):
        semantic.semwer(reference="um", hypothesis="um", rules=CLINICAL)


# Alignment


def cheapest(reference: list[str], hypothesis: list[str]) -> int:
    """Least cost over all alignments, by trying them all; groups of any size."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    costs = [
        1 + cheapest(reference[1:], hypothesis[1:]),
        1 + cheapest(reference[1:], hypothesis),
        1 + cheapest(reference, hypothesis[1:]),
    ]
    for a, b in itertools.product(range(1, len(reference) + 1), range(1, len(hypothesis) + 1)):
        if "".join(reference[:a]) == "".join(hypothesis[:b]):
            costs.append(cheapest(reference[a:], hypothesis[b:]))
    return min(costs)


@given(reference=PIECES.filter(bool), hypothesis=PIECES)
@example(reference=["a", "b", "a"], hypothesis=["a", "aba"])  # the first `a` is best left without its equal
@example(reference=["b", "a", "b", "a"], hypothesis=["b", "a", "aba"])
def test_the_alignment_is_the_cheapest(reference: list[str], hypothesis: list[str]) -> None:
    counts = semantic._aligned(reference, hypothesis)
    assert counts.errors == cheapest(reference, hypothesis)
    assert counts.reference_words == len(reference)
    assert counts.errors <= text.count_edits(reference=reference, hypothesis=hypothesis).errors


@given(st.lists(st.sampled_from(["cat", "dog", "20", "milligrams"]), min_size=1, max_size=8), st.randoms())
def test_without_compounds_it_is_the_edit_distance_of_canonical_words(words: list[str], rng: random.Random) -> None:
    other = [word for word in words if rng.random() < 0.7] + ["cat"] * rng.randint(0, 2)
    expected = text.count_words(reference=" ".join(words), hypothesis=" ".join(other), normaliser="none@1")
    found = semantic.count_semantic(reference=" ".join(words), hypothesis=" ".join(other), rules=PLAIN)
    assert (found.errors, found.reference_words) == (expected.errors, expected.reference_words)


def test_a_group_has_a_limit() -> None:
    digits = ["1", "2", "3", "4", "5", "6", "7", "8"]
    assert semantic._aligned(digits, ["".join(digits)]).errors == 0
    assert semantic._aligned([*digits, "9"], ["123456789"]).errors == 9


def test_a_long_text_is_aligned_in_reasonable_time() -> None:
    rng = random.Random(0)
    words = [rng.choice(["air", "port", "airport", "cat", "a"]) for _ in range(400)]
    assert semantic._aligned(words, words[5:]).errors <= 5


@given(st.lists(st.sampled_from(["a", "b", "ab", "20", "mg", "bp", "uh", "twenty"]), max_size=8).map(" ".join))
def test_a_text_has_no_error_against_itself(words: str) -> None:
    assert semantic.count_semantic(reference=words, hypothesis=words, rules=CLINICAL).errors == 0


# Tables


def test_a_table_of_the_user() -> None:
    table = {
        "name": "ward",
        "version": 3,
        "extends": CLINICAL,
        "fillers": ["like"],
        "units": {"drops": ["gtt", "gtts"], "milligrams": ["milligrammes"]},
        "terms": {"acute kidney injury": ["aki"], "their": ["there"]},
    }
    rules = Rules.of(table)
    assert rules.id == "ward@3"
    same = {"reference": "like AKI, 3 gtt, there", "hypothesis": "acute kidney injury three drops their"}
    assert semantic.semwer(**same, rules=rules) == 0
    assert semantic.semwer(**same, rules=CLINICAL) > 0
    assert semantic.semwer(reference="20 mg", hypothesis="twenty milligrammes", rules=rules) == 0  # and what it extends
    changed = Rules.of({**table, "fillers": []})
    assert changed.id == rules.id
    assert changed.stamp != rules.stamp
    assert Rules.of(dict(reversed(table.items()))).stamp == rules.stamp


def test_the_stamp_follows_the_base_normaliser(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PLAIN.stamp
    english = normalise.get("english@1")
    other = normalise.Normaliser(english.id, english.function, {**english.tables, "longest": 9})
    monkeypatch.setitem(normalise.NORMALISERS, "english@1", other)
    assert PLAIN.stamp != before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"version": 1}, "rules must have a name, got None"),
        ({"name": "a"}, "rules must have a version, got None"),
        ({"name": "a", "version": 1, "term": {}}, r"known keys, got 'term' \(did you mean 'terms'\?\)"),
        ({"name": "a", "version": 1, "extends": "clinic@1"}, "extends must be a known id, got 'clinic@1'"),
        ({"name": "a", "version": 1, "fillers": ["you know"]}, "fillers must be single words, got 'you know'"),
        ({"name": "a", "version": 1, "terms": {"b": "c"}}, "terms of 'b' must be a list of other ways .*, got 'c'"),
        ({"name": "a", "version": 1, "terms": {"b": ["c"], "d": ["c"]}}, "'c' must have one meaning, got 'b' and 'd'"),
        ({"name": "a", "version": 1, "terms": {"b": ["c"], "d": ["b"]}}, "'b' must have one meaning, got 'b' and 'd'"),
        ({"name": "a", "version": 1, "units": {"b": ["..."]}}, r"units must have 1 to 8 words, got '\.\.\.' for 'b'"),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rules.of(table)


def test_unknown_rules_are_named_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"rules must be a known id or Rules, got 'clinical' \(did you mean 'clinical@1'"
    ):
        semantic.semwer(reference="a", hypothesis="a", rules="clinical")


def test_built_in_ways_are_reached() -> None:
    # english@1 runs first: a way of writing that it changes must be listed as it leaves it, or no text ever has it.
    for name in semantic.RULES:
        rules = semantic.get(name)
        for phrase, term in rules.terms.items():
            assert not set(phrase) & rules.fillers, phrase
            assert semantic.canonical(" ".join(phrase), rules=rules) == list(term)
        for phrase, term in rules.units.items():
            if not set(phrase) & rules.fillers:  # `mm` alone is a filler; behind a number it is written out before
                assert semantic.canonical(f"7 {' '.join(phrase)}", rules=rules) == ["7", *term]
    assert semantic.canonical("1 mm, 7mm", rules=GENERAL) == ["1", "millimeters", "7", "millimeters"]
