"""Witnesses: sources made by hand, one per rule; counts that add up."""

from __future__ import annotations

from typing import Any

import pytest

from manifests.errors import UserError
from manifests.recipe import Recipe
from manifests.schema import Source
from manifests.select import usable


def source(name: str, kind: str = "speech", **facts: Any) -> Source:
    given = {"status": "ok", "sample_rate": 16_000, "duration_s": 4.0, "activity": 0.9} | facts
    return Source(source_id=name, kind=kind, uri=f"/data/{name}.wav", **given)


NOISE = [source("n", "noise")]


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"name": "r", "splits": {"train": 5}} | changes)


def kept(sources: list[Source], **changes: Any) -> list[str]:
    return [s.source_id for s in usable(recipe(**changes), sources + NOISE)[0] if s.source_id != "n"]


def select(condition: Any, column: str = "language") -> dict[str, Any]:
    return {"select": {"speech": {column: condition}}}


# rules


@pytest.mark.parametrize(
    ("condition", "passing"),
    [
        ("en", ["en"]),
        (["en", "de"], ["de", "en"]),
        ({"not": "en"}, ["de", "fr", "unknown"]),
        ({"not": ["en", "de"]}, ["fr", "unknown"]),
        ([], None),
        ("xx", None),
    ],
)
def test_a_condition_on_text(condition: Any, passing: list[str] | None) -> None:
    sources = [source(s, language=s) for s in ("en", "de", "fr")] + [source("unknown")]
    if passing is None:
        with pytest.raises(
            UserError, match=r"no usable speech sources .* Left out: 4 by speech: select\.speech\.language"
        ):
            kept(sources, **select(condition))
    else:
        assert kept(sources, **select(condition)) == passing


@pytest.mark.parametrize(
    ("condition", "passing"),
    [
        ({"min": 2}, ["2", "3"]),
        ({"max": 2}, ["1", "2"]),
        ({"min": 1.5, "max": 2.5}, ["2"]),
        ({"min": 1, "not": 2}, ["1", "3"]),
        (2, ["2"]),
        ([1, 3.0], ["1", "3"]),
        ({"not": [1, 2]}, ["3", "unknown"]),
    ],
)
def test_a_condition_on_numbers(condition: Any, passing: list[str]) -> None:
    sources = [source(str(n), channels=n) for n in (1, 2, 3)] + [source("unknown")]
    assert kept(sources, **select(condition, "channels")) == passing


def test_each_kind_has_its_own_conditions() -> None:
    sources = [source("a", corpus="x"), source("n1", "noise", corpus="x"), source("n2", "noise", corpus="y")]
    found, left_out = usable(recipe(select={"noise": {"corpus": "y"}}), sources)
    assert [s.source_id for s in found] == ["a", "n2"]
    assert left_out == {"noise: select.noise.corpus": 1}


# status, rate, activity


def test_rejected_sources_are_left_out_by_their_reason() -> None:
    sources = [
        source("a"),
        source("b", status="rejected", reason="silent"),
        source("c", status="rejected", reason="empty"),
    ]
    found, left_out = usable(recipe(), sources + NOISE)
    assert [s.source_id for s in found] == ["a", "n"]
    assert left_out == {"speech: status rejected (silent)": 1, "speech: status rejected (empty)": 1}


@pytest.mark.parametrize(
    ("mode", "passing", "why"),
    [
        ("never", ["16"], "resample: never (rate is not 16000)"),
        ("down", ["16", "48"], "resample: down (rate is below 16000)"),
        ("any", ["08", "16", "48"], None),
    ],
)
def test_rates(mode: str, passing: list[str], why: str | None) -> None:
    sources = [source("08", sample_rate=8000), source("16"), source("48", sample_rate=48_000)]
    found, left_out = usable(recipe(resample=mode), sources + NOISE)
    assert [s.source_id for s in found if s.kind == "speech"] == passing
    assert left_out == ({f"speech: {why}": 3 - len(passing)} if why else {})
    assert usable(recipe(resample=mode, sample_rate=8000), [*sources, source("m", "noise", sample_rate=8000)])


def test_speech_needs_its_seconds_of_activity_and_noise_does_not() -> None:
    sources = [
        source("long", duration_s=10.0, activity=0.1),
        source("short", duration_s=0.9, activity=1.0),
        source("just", duration_s=1.25, activity=0.8),
        source("unknown", activity=None),
        source("endless", activity=1.0, duration_s=None),
    ]
    quiet = [source("m", "noise", activity=None, duration_s=0.1)]
    found, left_out = usable(recipe(talkers={"min_active_s": 1.0}), sources + quiet)
    assert [s.source_id for s in found] == ["just", "long", "m"]
    assert left_out == {"speech: talkers.min_active_s (less than 1 s of active speech)": 3}


def test_a_source_is_counted_under_the_first_rule_that_refuses_it() -> None:
    bad = {"status": "rejected", "reason": "silent", "sample_rate": 8000, "activity": 0.0, "language": "de"}
    rules = ["status", "resample", "talkers.min_active_s", "select"]
    found = []
    for healed in [{}, {"status": "ok"}, {"sample_rate": 16_000}, {"activity": 1.0}]:
        bad |= healed
        _, left_out = usable(recipe(**select("en")), [source("bad", **bad), source("en", language="en"), *NOISE])
        ((why, count),) = left_out.items()
        assert count == 1
        found.append(why.removeprefix("speech: "))
    assert [why.startswith(rule) for why, rule in zip(found, rules, strict=True)] == [True] * 4


def test_no_source_is_lost() -> None:
    sources = [
        source(f"{i}{kind}", kind, sample_rate=rate, language=language, status=status)
        for kind in ("speech", "noise")
        for rate in (8000, 16_000)
        for language in ("en", None)
        for status in ("ok", "rejected")
        for i in range(3)
    ]
    found, left_out = usable(recipe(**select("en")), sources)
    assert len(found) + left_out.total() == len(sources)
    assert [s.source_id for s in found] == sorted(s.source_id for s in found)


def test_the_order_of_the_tables_changes_nothing() -> None:
    sources = [source(str(i)) for i in range(20)] + NOISE
    assert usable(recipe(), sources) == usable(recipe(), sources[::-1])


# kinds


def test_only_the_kinds_that_the_recipe_uses_are_asked_for() -> None:
    speech, rir = source("s"), source("r", "rir")
    assert usable(recipe(noise={"count": 0}), [speech, *NOISE, rir])[0] == [speech]
    assert usable(recipe(), [speech, *NOISE, rir])[0] == [*NOISE, speech]
    rooms = {"probability": 0.5, "kind": {"choice": ["measured", "simulated"]}}
    assert {s.kind for s in usable(recipe(rooms=rooms), [speech, *NOISE, rir])[0]} == {"speech", "noise", "rir"}
    assert usable(recipe(rooms=rooms | {"probability": 0}), [speech, *NOISE])[0] == [*NOISE, speech]
    assert usable(recipe(noise={"count": {"choice": [0, 1]}}), [speech, *NOISE])[0] == [*NOISE, speech]


@pytest.mark.parametrize(
    ("sources", "changes", "said"),
    [
        (NOISE, {}, "no usable speech sources for recipe 'r'. The source tables hold none: scan a folder with sp"),
        ([source("s")], {}, "no usable noise sources for recipe 'r'. The source tables hold none: scan a folder"),
        ([source("s"), *NOISE], {"rooms": {"probability": 1, "kind": "measured"}}, "no usable rir sources for recipe"),
        ([source("s", sample_rate=8000), *NOISE], {}, "Left out: 1 by speech: resample: down (rate is below 16000)"),
    ],
)  # fmt: skip
def test_a_kind_without_sources_stops_the_build(sources: list[Source], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        usable(recipe(**changes), sources)
    assert said in str(caught.value)


def test_why_nothing_is_left_is_said_rule_by_rule() -> None:
    sources = [source("a", status="rejected", reason="silent"), source("b", language="de"), source("c", language="fr")]
    other = source("n2", "noise", sample_rate=8000)
    with pytest.raises(UserError) as caught:
        usable(recipe(**select("en")), [*sources, *NOISE, other])
    assert str(caught.value).endswith(
        "Left out: 2 by speech: select.speech.language, 1 by speech: status rejected (silent)"
    )


# mistakes


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"langage": "en"}, r"select\.speech: unknown column 'langage' \(did you mean 'language'\?\)"),
        ({"channels": {"mim": 1}}, r"select\.speech\.channels: unknown rule 'mim' \(did you mean 'min'\?\)"),
        ({"language": {"min": 1}}, r"select\.speech\.language: 'min' needs a column of numbers, language holds none"),
        ({"channels": {"max": "two"}}, r"select\.speech\.channels: 'max' wants a number, got 'two'"),
        ({"channels": {"min": True}}, r"select\.speech\.channels: 'min' wants a number, got True"),
    ],
)
def test_a_mistake_in_select_is_named(conditions: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        usable(recipe(select={"speech": conditions}), [source("s", language="en", channels=1), *NOISE])


def test_a_split_that_the_corpus_fixes_and_the_recipe_lacks_is_left_out() -> None:
    """A corpus's test data must not land in train because a recipe has no split of that name."""
    sources = [source("a"), source("b", split="train"), source("c", split="test"), source("n", kind="noise")]
    found, left_out = usable(recipe(splits={"train": 1}), sources)
    assert {s.source_id for s in found} == {"a", "b", "n"}
    assert left_out == {"speech: its corpus puts it in the split 'test', which the recipe does not have": 1}
