"""Witnesses: groups counted by another algorithm; properties over random corpora; leaks planted by hand."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.schema import NoiseTrack, Plan, Room, Segment, Source, Talker
from manifests.splits import assign, group_keys, leaks

THREE = {"train": 0.8, "valid": 0.1, "test": 0.1}


def source(name: str, kind: str = "speech", **facts: Any) -> Source:
    return Source(source_id=name, kind=kind, uri=name, status="ok", **facts)


def speakers(count: int, each: int = 1, **facts: Any) -> list[Source]:
    return [source(f"s{i}-{j}", speaker_id=f"p{i}", **facts) for i in range(count) for j in range(each)]


def groups(sources: Sequence[Source]) -> list[set[str]]:
    """Sets of sources that are tied to one another, by merging until nothing more merges."""
    found: list[tuple[set[str], set[Any]]] = []
    for s in sources:
        names, ties = {s.source_id}, {(s.kind, *tie) for tie in group_keys(s)}
        for other in [g for g in found if g[1] & ties]:
            found.remove(other)
            names, ties = names | other[0], ties | other[1]
        found.append((names, ties))
    return [names for names, _ in found]


def sizes(split_of: Mapping[str, str], sources: Sequence[Source]) -> Counter[str]:
    """Groups per split. Fails where a group straddles two."""
    found: Counter[str] = Counter()
    for group in groups(sources):
        (split,) = {split_of[name] for name in group}
        found[split] += 1
    return found


NAMES = st.none() | st.sampled_from("abcdefgh")
SOURCES = st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=25).map(
    lambda rows: [source(f"s{i}", speaker_id=a, session_id=b, recording_id=c) for i, (a, b, c) in enumerate(rows)]
)
SHARES = st.dictionaries(st.sampled_from(["train", "valid", "test", "dev"]), st.integers(1, 10), min_size=1).map(
    lambda parts: {k: v / sum(parts.values()) for k, v in parts.items()}
)


# ties


def test_what_ties_sources_together() -> None:
    speech = source("s", speaker_id="ada", session_id="s1", recording_id="r1", room_id="hall")
    assert group_keys(speech) == [("speaker", "ada"), ("session", "s1"), ("recording", "r1")]
    rir = source("r", "rir", speaker_id="ada", session_id="s1", recording_id="r1", room_id="hall")
    assert group_keys(rir) == [("room", "hall"), ("recording", "r1")]
    assert group_keys(source("n", "noise", recording_id="r1")) == [("recording", "r1")]
    assert group_keys(source("x")) == [("source", "x")]


def test_ties_reach_through_others() -> None:
    """a and c share nothing, but each shares something with b."""
    chain = [
        source("a", speaker_id="ada", session_id="1"),
        source("b", speaker_id="ben", session_id="1", recording_id="r"),
        source("c", speaker_id="cy", recording_id="r"),
        source("d", speaker_id="dan"),
    ]
    split_of = assign(chain, {"train": 0.5, "test": 0.5}, 0)
    assert split_of["a"] == split_of["b"] == split_of["c"] != split_of["d"]


def test_a_speaker_is_no_session_of_the_same_name() -> None:
    pair = [source("a", speaker_id="1"), source("b", session_id="1")]
    assert set(assign(pair, {"train": 0.5, "test": 0.5}, 0).values()) == {"train", "test"}


# properties


@settings(max_examples=150)
@given(SOURCES, SHARES, st.integers(0, 5))
def test_no_group_straddles_and_no_split_is_empty(sources: list[Source], shares: dict[str, float], seed: int) -> None:
    count = len(groups(sources))
    if count < len(shares):
        with pytest.raises(UserError, match=rf"speech: {count} group\(s\) .* cannot fill the splits"):
            assign(sources, shares, seed)
        return
    split_of = assign(sources, shares, seed)
    assert set(split_of) == {s.source_id for s in sources}
    found = sizes(split_of, sources)
    assert set(found) == set(shares)
    # A split's size is within one group of its share, but for the group that a poorer split was given.
    poor = sum(share * count < 1 for share in shares.values())
    for split, share in shares.items():
        assert found[split] == 1 or share * count - 1 - poor < found[split] < share * count + 1


@given(st.integers(10, 200), st.integers(0, 3))
def test_shares_are_met_to_within_one_group(count: int, seed: int) -> None:
    sources = speakers(count)
    found = sizes(assign(sources, THREE, seed), sources)
    assert all(abs(found[split] - share * count) < 1 for split, share in THREE.items())


@settings(max_examples=60)
@given(SOURCES, st.integers(0, 5))
def test_the_order_of_sources_and_of_splits_changes_nothing(sources: list[Source], seed: int) -> None:
    if len(groups(sources)) < 3:
        return
    first = assign(sources, THREE, seed)
    assert assign(sources[::-1], THREE, seed) == first
    for order in itertools.permutations(THREE):
        assert assign(sources, {name: THREE[name] for name in order}, seed) == first


FIXED = st.lists(st.sampled_from([None, "train", "valid", "test", "dev"]), min_size=1, max_size=20)


@settings(max_examples=150)
@given(FIXED, st.integers(0, 3))
def test_splits_of_the_corpus_are_kept(fixed: list[str | None], seed: int) -> None:
    sources = [source(f"s{i}", speaker_id=f"p{i}", split=split) for i, split in enumerate(fixed)]
    held = {split: fixed.count(split) for split in THREE}
    free = len(fixed) - sum(held.values())
    if free < sum(n == 0 for n in held.values()):
        with pytest.raises(UserError, match=r"speech: .* cannot fill the splits train, valid, test without leaking"):
            assign(sources, THREE, seed)
        return
    split_of = assign(sources, THREE, seed)
    assert all(split_of[f"s{i}"] == split for i, split in enumerate(fixed) if split in THREE)
    assert set(split_of.values()) == set(THREE)


# on paper


def test_ten_speakers_on_paper() -> None:
    sources = speakers(10, each=3)
    assert sizes(assign(sources, THREE, 0), sources) == {"train": 8, "valid": 1, "test": 1}
    assert sizes(assign(sources, {"train": 1.0}, 0), sources) == {"train": 10}
    sources = speakers(3)
    assert sizes(assign(sources, THREE, 0), sources) == {"train": 1, "valid": 1, "test": 1}


def test_the_seed_decides_who_goes_where() -> None:
    sources = speakers(30)
    found = [assign(sources, THREE, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    tested = Counter(name for seed in range(300) for name, s in assign(sources, THREE, seed).items() if s == "test")
    assert set(tested) == {s.source_id for s in sources}
    assert max(tested.values()) < 60  # 3 of 30, 300 times: 30 expected, standard deviation 5.2


def test_kinds_are_split_apart() -> None:
    """A noise that carries the name of a speaker or a room is nobody's group."""
    noise = [source(f"n{i}", "noise", recording_id=f"p{i}") for i in range(10)]
    rirs = [source(f"r{i}", "rir", room_id=f"room{i // 2}", recording_id=f"r{i}") for i in range(10)]
    sources = speakers(10) + noise + rirs
    split_of = assign(sources, {"train": 0.8, "test": 0.2}, 3)
    for kind, count in (("speech", 8), ("noise", 8), ("rir", 4)):
        assert sizes(split_of, [s for s in sources if s.kind == kind])["train"] == count
    speech = assign(speakers(10), {"train": 0.8, "test": 0.2}, 3)
    assert {name: split_of[name] for name in speech} == speech


def test_a_corpus_split_takes_its_whole_group_along() -> None:
    sources = speakers(10, each=2)
    sources[0] = dataclasses.replace(sources[0], split="test")
    split_of = assign(sources, THREE, 0)
    assert split_of["s0-0"] == split_of["s0-1"] == "test"
    assert sizes(split_of, sources) == {"train": 8, "valid": 1, "test": 1}  # and counts as the share of test


def test_a_split_that_holds_too_much_takes_from_the_others() -> None:
    sources = speakers(6, split="test") + [source(f"f{i}", speaker_id=f"f{i}") for i in range(4)]
    found = sizes(assign(sources, THREE, 0), sources)
    assert found["test"] == 6
    assert found["train"] + found["valid"] == 4
    assert found["valid"] >= 1


def test_a_corpus_that_leaks_is_refused_naming_the_tie() -> None:
    sources = [source("a", speaker_id="ada", split="train"), source("b", speaker_id="ada", split="test"), *speakers(5)]
    with pytest.raises(
        UserError, match=r"speech: the corpus puts sources tied by speaker ada into the splits test and tr"
    ):
        assign(sources, THREE, 0)


def test_a_corpus_that_fixes_all_cannot_fill_another_split() -> None:
    """All ten go to train by the corpus's word; none is left for the others."""
    with pytest.raises(UserError, match=r"speech: 10 group\(s\) .* Add speech sources, ask for fewer splits"):
        assign(speakers(10, split="train"), THREE, 0)
    with pytest.raises(UserError, match="cannot fill"):
        assign([*speakers(9, split="train"), source("f", speaker_id="f")], THREE, 0)
    mostly = speakers(9, split="train") + [source(f"f{i}", speaker_id=f"f{i}") for i in range(2)]
    assert sizes(assign(mostly, THREE, 0), mostly) == {"train": 9, "valid": 1, "test": 1}


# leaks


def segment(name: str) -> Segment:
    return Segment(source_id=name, channel=0, sample_rate=8000, start=0, frames=1, at=0, length=1)


def row(split: str, *, speech: str = "", noise: str = "", rir: str | None = None, room: str | None = None) -> Plan:
    talker = Talker(
        role="target",
        speaker_id=None,
        segments=[segment(s) for s in speech.split()],
        level_dbfs=-26.0,
        level_kind="rms",
        rir_source_id=rir,
    )
    track = NoiseTrack(
        source_id=noise,
        recording_id=None,
        noise_class=None,
        segments=[segment(s) for s in noise.split()],
        loop_seams=[],
        snr_db=0.0,
        snr_kind="rms",
    )
    return Plan(
        mixture_id="m",
        split=split,
        index=0,
        dataset="d",
        seed=0,
        sample_rate=8000,
        frames=1,
        resampler=None,
        target_kind="image",
        early_ms=None,
        window_ms=[],
        talkers=[talker],
        noises=[track] if noise else [],
        room=Room(engine="shoebox", room_id=room) if room else None,
        noise_room=None,
        degradations=[],
        labels_hz=10.0,
        licences=[],
    )


CORPUS = {
    s.source_id: s
    for s in [
        source("a1", speaker_id="ada", session_id="1"),
        source("a2", speaker_id="ada", session_id="2"),
        source("b1", speaker_id="ben", session_id="1"),
        source("c1", speaker_id="cy", recording_id="tape"),
        source("d1", speaker_id="dan", recording_id="tape"),
        source("n1", "noise", recording_id="cafe"),
        source("n2", "noise", recording_id="cafe"),
        source("n3", "noise", recording_id="street"),
        source("r1", "rir", room_id="hall"),
        source("r2", "rir", room_id="hall"),
        source("r3", "rir", room_id="cell"),
    ]
}


@pytest.mark.parametrize(
    ("train", "test", "found"),
    [
        ({"speech": "a1"}, {"speech": "a2"}, {("speech speaker", "ada")}),
        ({"speech": "a1"}, {"speech": "b1"}, {("speech session", "1")}),
        ({"speech": "c1"}, {"speech": "d1"}, {("speech recording", "tape")}),
        ({"speech": "b1 a1"}, {"speech": "d1 a2"}, {("speech speaker", "ada")}),
        ({"noise": "n1"}, {"noise": "n2"}, {("noise recording", "cafe")}),
        ({"noise": "n3 n1"}, {"noise": "n2"}, {("noise recording", "cafe")}),
        ({"noise": "n3"}, {"noise": "n3"}, {("noise recording", "street"), ("source", "n3")}),
        ({"rir": "r1"}, {"rir": "r2"}, {("rir room", "hall")}),
        ({"rir": "r1"}, {"rir": "r1"}, {("rir room", "hall"), ("source", "r1")}),
        ({"room": "box"}, {"room": "box"}, {("room", "box")}),
        (
            {"speech": "a1", "noise": "n1", "rir": "r1"},
            {"speech": "d1", "noise": "n3", "rir": "r3", "room": "x"},
            set(),
        ),
    ],
)
def test_planted_leaks_are_found(train: dict[str, str], test: dict[str, str], found: set[tuple[str, str]]) -> None:
    rows = [row("train", **train), row("train", **train), row("test", **test), row("valid", speech="c1", noise="n3")]
    said = leaks([r for r in rows if r.split != "valid"], CORPUS)
    assert {(leak.kind, leak.key) for leak in said} == found
    assert all((leak.splits, leak.rows) == (["test", "train"], 3) for leak in said)


def test_one_split_cannot_leak() -> None:
    assert leaks([row("train", speech="a1 a2", noise="n1", rir="r1", room="box")] * 3, CORPUS) == []


def test_what_assign_splits_does_not_leak() -> None:
    sources = speakers(20, each=3)
    split_of = assign(sources, THREE, 1)
    assert (
        leaks([row(split_of[s.source_id], speech=s.source_id) for s in sources], {s.source_id: s for s in sources})
        == []
    )
    swapped = split_of | {"s0-0": "test", "s0-1": "train"}
    rows = [row(swapped[s.source_id], speech=s.source_id) for s in sources]
    assert ("speech speaker", "p0") in {(k.kind, k.key) for k in leaks(rows, {s.source_id: s for s in sources})}
