"""Witnesses: pyarrow's own view of the files, the byte ranges that a reader touches, equal bytes for equal rows."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import parquet, schema, storage
from manifests.errors import UserError
from manifests.schema import Audio, Estimate, KeyText, Mixture, Output, Plan, Source

VERSION = schema.SCHEMA_VERSION
EMPTY = {pa.int64(): 0, pa.float64(): 0.0, pa.string(): "", pa.bool_(): False}
PLAN: dict[str, Any] = {
    "split": "train",
    "dataset": "d",
    "seed": 1,
    "sample_rate": 16_000,
    "frames": 16_000,
    "resampler": None,
    "target_kind": "early",
    "early_ms": 50.0,
    "talkers": [],
    "noises": [],
    "room": None,
    "licences": ["MIT"],
}
NOTHING = {"condition": [], "talker_measures": [], "noise_measures": [], "sha256": [KeyText("mixture", "ab")]}


def source(name: str, **facts: Any) -> Source:
    return Source(source_id=name, kind="speech", uri=f"/data/{name}.wav", status="ok", **facts)


def mixture(index: int, size: int = 300) -> Mixture:
    """A row whose audio is `size` random bytes: what FLAC looks like to a compressor."""
    noise = np.random.default_rng(index).bytes(size)
    given = PLAN | NOTHING | {"index": index, "mixture_id": f"m{index}", "mixture": Audio(noise, f"m{index}.flac")}
    given |= {"duration_s": 1.0, "gain_db": 0.0, "peak": 0.5, "reverberant": False, "sources_digest": "s"}
    empty = {f.name: None if f.nullable else EMPTY.get(f.type, []) for f in schema.arrow_schema(Mixture)}
    return Mixture(**empty | given)


def estimate(index: int) -> Estimate:
    audio = Audio(np.random.default_rng(index).bytes(300), "e.flac")
    return Estimate(
        system_id="s",
        mixture_id=f"m{index}",
        status="ok",
        reason=None,
        message=None,
        sample_rate=16_000,
        length_delta=0,
        outputs=[Output(name="estimate", audio=audio), Output(name="noise", audio=audio)],
    )


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of two sources."""
    uri = str(tmp_path / "sources.parquet")
    parquet.write_rows(uri, [source("a", labels=["x", "y"]), source("b", rt60_s=0.5)], Source, digest="d1", rows_in=7)
    return uri


# there and back


def test_rows_come_back(table: str) -> None:
    assert parquet.read_rows(table, Source) == [source("a", labels=["x", "y"]), source("b", rt60_s=0.5)]
    assert parquet.row_count(table) == 2
    assert parquet.read_schema_names(table) == [f.name for f in dataclasses.fields(Source)]


def test_audio_comes_back(tmp_path: Path) -> None:
    rows, uri = [mixture(i) for i in range(3)], str(tmp_path / "m.parquet")
    size = parquet.write_rows(uri, rows, Mixture)
    assert parquet.read_rows(uri, Mixture) == rows
    assert size == (tmp_path / "m.parquet").stat().st_size
    uri = str(tmp_path / "e.parquet")
    parquet.write_rows(uri, [estimate(1)], Estimate)
    assert parquet.read_rows(uri, Estimate) == [estimate(1)]


def test_a_url_is_as_good_as_a_path() -> None:
    parquet.write_rows("memory://tables/t.parquet", [source("a")], Source, digest="x")
    assert parquet.read_rows("memory://tables/t.parquet", Source) == [source("a")]
    assert parquet.read_footer("memory://tables/t.parquet")["digest"] == "x"
    fsspec.filesystem("memory").rm("/tables", recursive=True)


def test_an_empty_table_knows_what_it_is(tmp_path: Path) -> None:
    uri = str(tmp_path / "empty.parquet")
    parquet.write_rows(uri, [], Mixture)
    assert parquet.read_rows(uri, Mixture) == []
    assert parquet.read_footer(uri)["rows"] == "0"


def test_some_columns(table: str) -> None:
    names = ["uri", "kind", "status", "source_id", "of_a_later_version"]
    assert sorted(parquet.read_table(table, names).column_names) == ["kind", "source_id", "status", "uri"]
    assert parquet.read_rows(table, Source, names) == [source("a"), source("b")]


def test_a_null_in_a_column_that_forbids_it_is_not_written(tmp_path: Path) -> None:
    bad = dataclasses.replace(source("a"), uri=None)
    with pytest.raises(pa.ArrowInvalid, match="'uri' is declared non-nullable but contains nulls"):
        parquet.write_rows(str(tmp_path / "t.parquet"), [bad], Source)
    assert list(tmp_path.iterdir()) == []


# bytes


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    def written(rows: list[Mixture], digest: str = "d") -> bytes:
        parquet.write_rows(str(tmp_path / "m.parquet"), rows, Mixture, digest=digest, rows_in=len(rows))
        return (tmp_path / "m.parquet").read_bytes()

    first = written([mixture(i) for i in range(70)])
    assert written([mixture(i) for i in range(70)]) == first
    assert written([mixture(i) for i in range(69)]) != first
    assert written([mixture(i) for i in range(70)], "other") != first


def test_the_footer_says_what_the_file_is(table: str) -> None:
    assert parquet.read_footer(table) == {"schema": f"sources/{VERSION}", "digest": "d1", "rows": "2", "rows_in": "7"}


@pytest.fixture(params=["mixtures", "estimates"])
def heavy(request: pytest.FixtureRequest, tmp_path: Path) -> pq.FileMetaData:
    uri = str(tmp_path / "t.parquet")
    if request.param == "mixtures":
        columns = ("mixture_id", "index", "talkers", "mixture", "target")
        arrow = schema.arrow_schema(Mixture, columns, 16_000)
        parquet.write_rows(uri, [mixture(i) for i in range(130)], Mixture, arrow=arrow)
    else:
        parquet.write_rows(uri, [estimate(i) for i in range(130)], Estimate)
    return pq.read_metadata(uri)


def column_chunks(metadata: pq.FileMetaData) -> Iterator[Any]:
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            yield metadata.row_group(group).column(column)


def test_audio_is_stored_as_it_is_and_the_rest_with_statistics(heavy: pq.FileMetaData) -> None:
    audio = [c for c in column_chunks(heavy) if c.path_in_schema.endswith((".bytes", ".path"))]
    rest = [c for c in column_chunks(heavy) if not c.path_in_schema.endswith((".bytes", ".path"))]
    assert len(audio) in (3 * 2, 3 * 4)
    for column in audio:
        assert column.compression == "UNCOMPRESSED", column.path_in_schema
        assert not column.has_dictionary_page, column.path_in_schema
        assert column.statistics is None, column.path_in_schema
    assert {c.compression for c in rest} == {"UNCOMPRESSED"}
    assert all(c.is_stats_set for c in rest if c.path_in_schema == "mixture_id")


def test_rows_with_audio_come_in_groups_of_64(heavy: pq.FileMetaData) -> None:
    assert [heavy.row_group(i).num_rows for i in range(heavy.num_row_groups)] == [64, 64, 2]


def test_a_long_table_with_audio_is_not_compressed(tmp_path: Path) -> None:
    uri = str(tmp_path / "e.parquet")
    parquet.write_rows(uri, [estimate(1)] * 1000, Estimate)
    assert {c.compression for c in column_chunks(pq.read_metadata(uri))} == {"UNCOMPRESSED"}


@pytest.mark.parametrize(("rows", "compression"), [(999, "UNCOMPRESSED"), (1000, "ZSTD")])
def test_rows_without_audio_are_one_group_compressed_where_it_pays(tmp_path: Path, rows: int, compression: str) -> None:
    uri = str(tmp_path / "t.parquet")
    parquet.write_rows(uri, [source(f"s{i}") for i in range(rows)], Source)
    metadata = pq.read_metadata(uri)
    assert metadata.num_row_groups == 1
    assert {c.compression for c in column_chunks(metadata)} == {compression}


class Watched(io.FileIO):
    """A file that remembers which of its bytes were read."""

    ranges: list[tuple[int, int]]

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(-1 if size is None else size)
        self.ranges.append((start, start + len(data)))
        return data

    def readinto(self, buffer: Any) -> int:
        start = self.tell()
        count = super().readinto(buffer)
        self.ranges.append((start, start + count))
        return count


def test_metadata_is_read_without_touching_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "m.parquet")
    parquet.write_rows(uri, [mixture(i, 50_000) for i in range(80)], Mixture)
    pages = [
        (c.data_page_offset, c.data_page_offset + c.total_compressed_size)
        for c in column_chunks(pq.read_metadata(uri))
        if c.path_in_schema == "mixture.bytes"
    ]
    assert sum(stop - start for start, stop in pages) > 4_000_000
    ranges: list[tuple[int, int]] = []

    def watched(_: str) -> Watched:
        file = Watched(uri)
        file.ranges = ranges
        return file

    def touched() -> int:
        return sum(max(0, min(b, d) - max(a, c)) for a, b in ranges for c, d in pages)

    monkeypatch.setattr(storage, "open_read", watched)
    rows = parquet.read_table(uri, ["mixture_id", "talkers", "sha256"])
    assert rows.column("mixture_id").to_pylist() == [f"m{i}" for i in range(80)]
    parquet.read_footer(uri)
    assert parquet.row_count(uri) == 80
    assert ranges
    assert touched() < 3 * 65_536  # the footer is found by reading the last 64 KiB, where audio lies, once per call
    parquet.read_table(uri, ["mixture"])
    assert touched() > 4_000_000  # so the test would have seen it


# what is refused


def test_another_table_is_refused_naming_both(table: str) -> None:
    with pytest.raises(UserError, match=rf"sources.parquet: expected a table plan/{VERSION}, found sources/{VERSION}"):
        parquet.read_rows(table, Plan)


def test_another_version_is_refused_naming_both(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", VERSION + 1)
    with pytest.raises(UserError, match=rf"expected a table sources/{VERSION + 1}, found sources/{VERSION}"):
        parquet.read_rows(table, Source)


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=rf"x.parquet: expected a table sources/{VERSION}, found no hubbub table"):
        parquet.read_rows(str(tmp_path / "x.parquet"), Source)
    assert parquet.read_footer(str(tmp_path / "x.parquet")) == {}


@pytest.mark.parametrize(
    "read", [parquet.read_table, parquet.read_footer, parquet.row_count, parquet.read_schema_names]
)
def test_what_is_no_parquet_file_is_named(read: Any, tmp_path: Path, table: str) -> None:
    whole = Path(table).read_bytes()
    for name, data in (("csv", b"path,kind\na.wav,speech\n"), ("empty", b""), ("cut", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=f"{name}: not a readable Parquet file"):
            read(str(tmp_path / name))
    with pytest.raises(UserError, match="none: not a readable Parquet file"):
        read(str(tmp_path / "none"))


def test_a_file_without_a_footer_is_no_table_of_rows(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_bytes(b"path,kind\na.wav,speech\n")
    with pytest.raises(UserError, match=r"index.csv: not a readable Parquet file"):
        parquet.read_rows(str(tmp_path / "index.csv"), Source)


# parts


def test_parts_are_one_table_in_order_of_their_names(tmp_path: Path) -> None:
    for name, ids in (("part-00001", "cd"), ("part-00000", "ab"), ("part-00002", "e")):
        parquet.write_rows(str(tmp_path / f"{name}.parquet"), [source(i) for i in ids], Source, digest=name)
    (tmp_path / "notes.txt").write_text("not a part")
    whole = parquet.read_parts(str(tmp_path), ["source_id"])
    assert whole is not None
    assert whole.to_pydict() == {"source_id": list("abcde")}
    chosen = parquet.read_parts(str(tmp_path), ["source_id"], (n for n in ["part-00002.parquet", "part-00000.parquet"]))
    assert chosen is not None
    assert chosen.column("source_id").to_pylist() == list("eab")


def test_no_parts_are_no_table(tmp_path: Path, table: str) -> None:
    assert parquet.read_parts(str(tmp_path / "none")) is None
    assert parquet.read_parts(str(tmp_path), names=[]) is None
