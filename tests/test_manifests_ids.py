"""Witnesses: canonical bytes and ids written out by hand; order, growth and separation as properties."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import ids
from manifests.errors import Refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


# hashes


def test_canonical_bytes_on_paper() -> None:
    given = {"b": 1, "a": [1.5, "ü", None, True], "A": {}}
    assert ids.canonical(given) == b'{"A":{},"a":[1.5,"\xc3\xbc",null,true],"b":1}'


def test_digest_is_the_sha256_of_the_canonical_bytes() -> None:
    assert ids.digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    assert ids.short({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()[:16]


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=6))
def test_the_order_of_keys_changes_nothing(mapping: dict[str, int]) -> None:
    assert ids.digest({"x": dict(reversed(mapping.items()))}) == ids.digest({"x": mapping})


@given(JSON)
def test_canonical_bytes_say_all(value: object) -> None:
    assert json.loads(ids.canonical(value)) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_say_has_no_digest(number: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        ids.digest([number])


def test_mixture_id_is_golden() -> None:
    """An id outlives versions: datasets are joined by it."""
    assert ids.mixture_id("denoise-16k", 2026, "train", 0) == "fe69ff6f65541b16"
    assert (
        ids.mixture_id("denoise-16k", 2026, "train", 0)
        == hashlib.sha256(b'["mixture","denoise-16k",2026,"train",0]').hexdigest()[:16]
    )


def test_mixture_ids_do_not_collide() -> None:
    rows = [(d, s, p, i) for d in ("a", "a1", "1") for s in (1, 11) for p in ("train", "test") for i in range(200)]
    found = {ids.mixture_id(*row) for row in rows}
    assert len(found) == len(rows)
    assert all(len(name) == ids.ID_LENGTH and set(name) <= set("0123456789abcdef") for name in found)


# messages


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 2}, "a: was 1, now 2"),
        ({"a": {"b": [1, -5]}}, {"a": {"b": [1, 0]}}, "a.b[1]: was -5, now 0"),
        ({"a": [1]}, {"a": [1, 2]}, "a: was [1], now [1, 2]"),
        ({"a": 1}, {}, "a: was 1, now absent"),
        ({}, {"a": None}, "a: was absent, now null"),
        ({"b": 1, "a": "x"}, {"b": 2, "a": "y"}, 'a: was "x", now "y"'),
        ({"a": {"b": 1}}, {"a": 3}, 'a: was {"b": 1}, now 3'),
        (dict.fromkeys("hgfedcba", 1), dict.fromkeys("abcdefgh", 2), "a: was 1, now 2"),  # the first by name
    ],
)
def test_first_difference(old: object, new: object, said: str | None) -> None:
    assert ids.first_difference(old, new) == said


@given(JSON, JSON)
def test_there_is_a_difference_where_values_differ(old: object, new: object) -> None:
    assert (ids.first_difference(old, new) is None) == (old == new)
    assert ids.first_difference(old, json.loads(json.dumps(old))) is None


def test_nearest_suggests_or_lists() -> None:
    assert ids.nearest("snr_dd", ["snr_db", "count"]) == " (did you mean 'snr_db'?)"
    assert ids.nearest("xyz", ["snr_db", "count"]) == " (known: count, snr_db)"


def test_a_refusal_survives_the_way_between_processes() -> None:
    import pickle

    back = pickle.loads(pickle.dumps(Refused("no_activity", "nobody speaks", "abc")))
    assert (back.reason, str(back), back.source_id) == ("no_activity", "nobody speaks", "abc")
