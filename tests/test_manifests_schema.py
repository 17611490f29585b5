"""Witnesses: every table there and back with everything set and with nothing set; column lists written out by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import schema
from manifests.schema import (
    TABLES,
    Audio,
    Estimate,
    KeyNumber,
    KeyText,
    Mixture,
    NoiseTrack,
    Output,
    Plan,
    Score,
    Segment,
    Source,
    System,
    Talker,
    arrow_schema,
    audio_columns,
    from_table,
    to_table,
)

SCALARS = {str: "é", int: 3, float: -0.25, bool: True, bytes: b"\x00fLaC"}


def row(kind: Any, *, filled: bool) -> Any:
    """A row of a table with every optional field and list filled, or with every one empty."""
    hints = typing.get_type_hints(kind)
    return kind(**{f.name: value(hints[f.name], filled) for f in dataclasses.fields(kind)})


def value(annotation: Any, filled: bool) -> Any:
    if typing.get_origin(annotation) is types.UnionType:
        return value(typing.get_args(annotation)[0], filled) if filled else None
    if typing.get_origin(annotation) is list:
        return [value(typing.get_args(annotation)[0], filled)] * 2 if filled else []
    if dataclasses.is_dataclass(annotation):
        return row(annotation, filled=filled)
    return SCALARS[annotation]


@pytest.mark.parametrize("kind", TABLES.values(), ids=TABLES)
def test_rows_come_back_as_they_were(kind: type) -> None:
    rows = [row(kind, filled=True), row(kind, filled=False)]
    table = to_table(rows, kind)
    assert from_table(table, kind) == rows
    assert table.schema.equals(arrow_schema(kind), check_metadata=True)


def test_nested_lists_keep_their_depth_and_their_nulls() -> None:
    """A plan by hand: lists in structs in lists, and a null on every level that may have one."""
    segment = Segment(source_id="s", channel=1, sample_rate=48_000, start=7, frames=30, at=0, length=10)
    talkers = [
        Talker(role="target", speaker_id=None, segments=[segment, segment], level_dbfs=-26.0, level_kind="rms"),
        Talker(
            role="interferer",
            speaker_id="ada",
            segments=[],
            level_dbfs=None,
            level_kind="rms",
            position_m=[1.0, 2.5, 3.0],
        ),
    ]
    noise = dataclasses.replace(
        row(NoiseTrack, filled=False), segments=[segment], loop_seams=[4, 9], noise_class="cafe"
    )
    array = schema.Array(
        preset="pair",
        positions_m=[[1.0, 2.0, 3.0], [1.5, 2.0, 3.0]],
        centre_m=[1.25, 2.0, 3.0],
        rotation_deg=[0.0, 0.0, 0.0],
        channels=[0, 1],
        patterns=[schema.Pattern(0.5, [1.0, 0.0, 0.0]), schema.Pattern(0.5, [-1.0, 0.0, 0.0])],
    )
    room = schema.Room(engine="shoebox", room_id="r", absorption=[[0.1] * 6, [0.2] * 6], array=array)
    plan = dataclasses.replace(row(Plan, filled=False), talkers=talkers, noises=[noise], room=room, licences=["MIT"])
    (back,) = from_table(to_table([plan], Plan), Plan)
    assert back == plan
    assert back.talkers[0].position_m is None
    assert back.talkers[1].segments == []
    assert back.room is not None
    assert back.room.array == array
    assert back.room.absorption[1] == [0.2] * 6
    assert back.room.size_m is None


REQUIRED = {
    Source: "source_id kind uri status labels screens extra",
    Plan: "mixture_id split index dataset seed sample_rate frames target_kind window_ms talkers noises degradations "
    "labels_hz licences condition",
    Estimate: "system_id mixture_id status outputs",
    Score: "system_id mixture_id output metric status reference permutation counts flags metric_version",
    System: "system_id name kind settings asset_sha256",
}


@pytest.mark.parametrize("kind", REQUIRED)
def test_only_these_columns_may_not_be_null(kind: type) -> None:
    assert [f.name for f in arrow_schema(kind) if not f.nullable] == REQUIRED[kind].split()


def test_what_is_inside_a_struct_may_be_null() -> None:
    """Readers other than ours reject required fields inside nullable structs."""
    talker = arrow_schema(Plan).field("talkers").type.value_type
    assert all(f.nullable for f in talker)
    assert all(f.nullable for f in talker.field("segments").type.value_type)


def test_columns_have_these_types() -> None:
    plan, source = arrow_schema(Plan), arrow_schema(Source)
    assert plan.field("index").type == pa.int64()
    assert plan.field("early_ms").type == pa.float64()
    assert plan.field("room").type.field("absorption").type == pa.list_(pa.list_(pa.float64()))
    assert source.field("labels").type == pa.list_(pa.string())
    assert source.field("screens").type == pa.list_(pa.struct([("key", pa.string()), ("value", pa.float64())]))
    assert arrow_schema(Mixture).field("reverberant").type == pa.bool_()
    assert arrow_schema(Mixture).field("mixture").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


FINGERPRINTS = {
    "sources": "c698b96e9403",
    "plan": "50e9bb47f426",
    "mixtures": "64adfac62aca",
    "estimates": "8603ddb03d37",
    "scores": "9d5f7b314ec7",
    "systems": "0e7a849b3b65",
    "timings": "9f89474fab43",
    "dropped": "8a7a478c9770",
    "failed": "81bc0d68f0a5",
    "leaks": "1ad2c2eea0a8",
    "findings": "a8fd2dac7800",
    "ratings": "5118b3fe122b",
}


def described(kind: Any) -> list[Any]:
    """Column names, types and nullability of a table, nested ones within."""
    hints = typing.get_type_hints(kind)
    inner = {f.name: (typing.get_args(hints[f.name]) or (hints[f.name],))[0] for f in dataclasses.fields(kind)}
    return [
        [f.name, str(f.type), described(inner[f.name]) if dataclasses.is_dataclass(inner[f.name]) else []]
        for f in dataclasses.fields(kind)
    ]


def test_a_changed_table_needs_another_schema_version() -> None:
    """Where this fails on purpose: raise SCHEMA_VERSION if the table was ever published, and renew its fingerprint."""
    found = {n: hashlib.sha256(json.dumps(described(kind)).encode()).hexdigest()[:12] for n, kind in TABLES.items()}
    assert schema.SCHEMA_VERSION == 2
    assert found == FINGERPRINTS


def test_tables_are_frozen_and_named_once() -> None:
    assert len(set(TABLES.values())) == len(TABLES)
    for name, kind in TABLES.items():
        assert schema.table_name(kind) == name
        assert arrow_schema(kind).metadata[b"hubbub.schema"] == f"{name}/{schema.SCHEMA_VERSION}".encode()
        with pytest.raises(dataclasses.FrozenInstanceError):
            row(kind, filled=False).__setattr__(dataclasses.fields(kind)[0].name, "x")


def test_a_mixture_holds_its_whole_plan() -> None:
    """A row can be rendered again from itself alone."""
    plan = [f.name for f in dataclasses.fields(Plan)]
    assert [f.name for f in dataclasses.fields(Mixture)][: len(plan)] == plan
    assert [arrow_schema(Mixture).field(name) for name in plan] == [arrow_schema(Plan).field(name) for name in plan]


# audio


def test_audio_columns() -> None:
    names = (
        "mixture target noise image early late direct direct_window reverb anechoic dry_aligned "
        "talker_1 talker_2 talker_3 talker_4 talker_5 target_1 target_2 target_3 target_4 target_5"
    )
    assert audio_columns(Mixture) == names.split()
    assert audio_columns(Plan) == []
    assert [f.name for f in arrow_schema(Mixture)][-21:] == names.split()  # scalars first, audio last


def test_hugging_face_metadata_names_the_audio_columns_that_are_there() -> None:
    def features(columns: tuple[str, ...] | None, rate: int | None = None) -> Any:
        said = arrow_schema(Mixture, columns, rate).metadata.get(b"huggingface")
        return said and json.loads(said)["info"]["features"]

    audio = {"_type": "Audio", "sampling_rate": 16_000}
    assert features(("mixture_id", "mixture", "target"), 16_000) == {"mixture": audio, "target": audio}
    assert features(("target",)) == {"target": {"_type": "Audio"}}
    assert set(features(None, 8000)) == set(audio_columns(Mixture))
    assert features(("mixture_id", "snr_db")) is None
    assert b"huggingface" not in arrow_schema(Plan).metadata


def test_hugging_face_datasets_reads_the_metadata() -> None:
    """The other implementation: `datasets` itself."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features.from_arrow_schema(arrow_schema(Mixture, ("mixture_id", "mixture"), 16_000))
    assert features["mixture"] == datasets.Audio(sampling_rate=16_000)
    assert features["mixture_id"] == datasets.Value("string")


def test_audio_bytes_survive_also_inside_a_list() -> None:
    estimate = dataclasses.replace(
        row(Estimate, filled=False),
        outputs=[Output(name="estimate", audio=Audio(bytes=bytes(range(256)), path="a.flac"))],
    )
    (back,) = from_table(to_table([estimate], Estimate), Estimate)
    assert back.outputs[0].audio == Audio(bytes=bytes(range(256)), path="a.flac")


# parts of tables


def test_columns_are_kept_in_the_order_of_the_table() -> None:
    kept = arrow_schema(Source, ("uri", "source_id", "status", "kind"))
    assert kept.names == ["source_id", "kind", "uri", "status"]
    rows = [row(Source, filled=True)]
    back = from_table(to_table(rows, Source, kept), Source)[0]
    assert (back.source_id, back.kind, back.uri, back.status) == ("é", "é", "é", "é")
    assert (back.frames, back.labels, back.extra) == (None, [], [])


def test_a_column_of_a_later_version_is_ignored_and_a_missing_one_is_noticed() -> None:
    table = to_table([row(Source, filled=True)], Source).append_column("mood", pa.array(["good"]))
    assert from_table(table, Source) == [row(Source, filled=True)]
    with pytest.raises(TypeError, match=r"missing .* 'uri'"):
        from_table(table.drop_columns(["uri"]), Source)


def test_no_rows_are_a_table_too() -> None:
    table = to_table([], Plan)
    assert table.num_rows == 0
    assert table.schema.equals(arrow_schema(Plan))
    assert from_table(table, Plan) == []


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(pa.ArrowException, match="Could not convert 'many'"):
        to_table([dataclasses.replace(row(Source, filled=False), frames="many")], Source)


def test_keys() -> None:
    assert schema.keys([KeyText("a", "b"), KeyText("c", "d")]) == {"a": "b", "c": "d"}
    assert schema.keys([KeyNumber("a", 1.5)]) == {"a": 1.5}


@given(st.lists(st.tuples(st.binary(max_size=9), st.text(max_size=3)), max_size=6), st.booleans())
def test_audio_is_what_arrow_makes_of_it_item_by_item(items: list[tuple[bytes, str]], missing: bool) -> None:
    """`pa.array` of dictionaries, which copies the bytes more often."""
    kind = arrow_schema(Mixture).field("noise").type
    values = [Audio(*item) for item in items] + [None] * missing
    found = schema._column(values, kind)
    wanted = pa.array([None if v is None else {"bytes": v.bytes, "path": v.path} for v in values], kind)
    found.validate(full=True)
    assert found.type == wanted.type
    assert found.equals(wanted)
