"""User tables: the same rows from every format, and errors that say where, what and what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import tables
from manifests.errors import UserError
from manifests.tables import Table

ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": '"go", he said', "snr_db": 1.5},
    {"id": "b", "text": "", "snr_db": -2.0},
]


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def every_format(folder: Path) -> list[str]:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "t.parquet")
    return [
        written(folder, "t.csv", 'id,text,snr_db\na,"""go"", he said",1.5\nb,,-2\n'),
        written(folder, "t.tsv", 'id\ttext\tsnr_db\na\t"go", he said\t1.5\nb\t\t-2\n'),
        written(folder, "t.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        str(folder / "t.parquet"),
    ]


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    for uri in every_format(tmp_path):
        table = tables.read(uri)
        assert table.keys("id") == ["a", "b"], uri
        assert table.texts("text") == ['"go", he said', ""], uri
        assert table.numbers("snr_db") == [1.5, -2.0], uri


def test_a_null_is_not_an_empty_text(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "t.jsonl", '{"id": 1, "text": null}\n\n{"id": 2, "text": ""}\n{"id": 3}\n'))
    assert table.texts("text") == [None, "", None]
    assert table.keys("id") == ["1", "2", "3"]
    assert table.places == (1, 3, 4)


def test_a_tsv_without_a_header(tmp_path: Path) -> None:
    uri = written(tmp_path, "t.tsv", "u1\thello there\nu2\t\n")
    table = tables.read(uri, bare=("id", "text"))
    assert table.headerless
    assert table.keys("id") == ["u1", "u2"]
    assert not tables.read(uri).headerless
    for header in ("id\ttext", "utterance_id\twords", "text\tid"):
        named = tables.read(
            written(tmp_path, "h.tsv", f"{header}\nu1\tx\n"), bare=("id", "text"), known={"utterance_id"}
        )
        assert (named.headerless, len(named)) == (False, 1), header
    assert not tables.read(written(tmp_path, "t.csv", "u1,hello\nu2,x\n"), bare=("id", "text")).headerless


def test_names_of_columns(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "t.csv", "utt,azimuth,id\nx,3,y\n"))
    usual = {"id": (), "azimuth_deg": ("azimuth",)}
    assert table.named({}, usual).keys("id") == ["y"]
    mine = table.named({"id": "utt"}, usual)
    assert mine.keys("id") == ["x"]
    assert mine.numbers("azimuth_deg") == [3.0]
    with pytest.raises(UserError, match=r"t\.csv, line 2, column 'azimuth': expected a number up to 2, got '3'"):
        mine.numbers("azimuth_deg", high=2)


def test_lines_are_counted_through_quoted_line_breaks(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "t.csv", '\ufeffid,n\n"a\nb",1\n\nc,x\n'))
    assert (table.columns, table.places) == (("id", "n"), (2, 5))  # without the byte order mark
    with pytest.raises(UserError, match=r"line 5, column 'n': expected a number, got 'x'"):
        table.numbers("n")


def one(folder: Path, cell: str) -> Table:
    return tables.read(written(folder, "t.csv", f"n\n{cell}\n"))


@pytest.mark.parametrize(
    ("cell", "rule", "message"),
    [
        ("nan", {}, "expected a number, got 'nan'"),
        ("inf", {}, "expected a number, got 'inf'"),
        ("1.5", {"whole": True}, r"expected a whole number, got '1\.5'"),
        ("-1", {"low": 0}, "expected a number from 0, got '-1'"),
        ("91", {"low": -90, "high": 90}, r"expected a number within -90\.\.90, got '91'"),
        ('""', {}, "expected a number, got nothing"),
    ],
)
def test_what_is_no_number(tmp_path: Path, cell: str, rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"line 2, column 'n': {message}"):
        one(tmp_path, cell).numbers("n", **rule)


def test_an_empty_cell_may_be_none(tmp_path: Path) -> None:
    assert one(tmp_path, '""').optional_numbers("n") == [None]
    with pytest.raises(UserError, match="expected a number, got True"):
        tables.read(written(tmp_path, "t.jsonl", '{"n": true}\n')).optional_numbers("n")


def test_names_are_there_and_ids_once(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "t.csv", "id,x\na,1\nb, \na,2\n"))
    with pytest.raises(UserError, match=r"line 4, column 'id': expected each once \(line 2 has it too\), got 'a'"):
        table.keys("id")
    with pytest.raises(UserError, match=r"line 3, column 'x': expected a name, got ' '"):
        table.names("x")
    pq.write_table(pa.table({"id": ["a", "a"]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet, row 2, .*\(row 1 has it too\)"):
        tables.read(str(tmp_path / "t.parquet")).keys("id")


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "t.csv", "ids,txt\na,b\n"))
    with pytest.raises(UserError, match=r"no column 'id' \(did you mean 'ids'\?\); name yours with --column id=COLUMN"):
        table.texts("id")
    with pytest.raises(UserError, match=r"--column id=idz: no column 'idz' in .*\(did you mean 'ids'\?\)"):
        tables.check_mapping({"id": "idz"}, ("id",), [table])
    with pytest.raises(UserError, match=r"--column ix=ids: unknown column 'ix' \(did you mean 'id'\?\)"):
        tables.check_mapping({"ix": "ids"}, ("id",), [table])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "the file is empty"),
        ("t.csv", "id,text\n", "the table has no rows"),
        ("t.csv", "id,text\na,b,c\n", r"line 2: expected 2 cells \(id, text\), got 3; a cell with commas needs"),
        ("t.tsv", "id\ttext\na\n", r"line 2: expected 2 cells \(id, text\), got 1$"),
        ("t.csv", "id,id\na,b\n", "line 1: two columns are called 'id'"),
        ("t.csv", 'id\n"a\n', "line 2: not a row of a table"),
        ("t.csv", b"id\na\n\xff\n", "line 3: expected UTF-8, got the byte 0xff"),
        ("t.jsonl", "{}\n[1]\n", r"line 2: expected one JSON object, got '\[1\]'"),
        ("t.jsonl", "{\n", "line 1: expected one JSON object"),
        ("t.parquet", "no parquet", "not a readable Parquet file"),
        ("t.xlsx", "x", r"expected a table that ends in \.csv, \.tsv"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tables.read(written(tmp_path, name, content))


def test_no_file_and_no_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        tables.read(str(tmp_path / "t.csv"))
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        tables.read(str(tmp_path / "d.csv"))
    empty = tables.read(written(tmp_path, "t.jsonl", ""), may_be_empty=True)
    assert empty.named({}, {"frame": ()}).numbers("frame") == []
    assert tables.read(written(tmp_path, "t.csv", "frame\n"), may_be_empty=True).numbers("frame") == []


def test_lists_are_no_texts(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "t.jsonl", '{"text": ["a", "b"]}\n'))
    with pytest.raises(UserError, match=r"column 'text': expected a text, got \['a', 'b'\]"):
        table.texts("text")
