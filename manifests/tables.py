"""Reading tables that people made: CSV, TSV, JSON Lines or Parquet, with named columns.

Conventions
    The suffix says the format: `.csv`, `.tsv` (no quoting: a quotation mark is a character), `.jsonl` or `.ndjson`,
    `.parquet`. Texts are UTF-8. The first line of CSV and TSV names the columns; a TSV that has none of the known names
    there, and as many columns as it would have without a header, has none, and `headerless` says so. A column is found
    by our name, by a usual name for it, or by what the user says (`ours=theirs`), which wins. An empty cell of CSV and
    TSV is the text "", an absent or null one of the other formats is None.
    What cannot be read is a `UserError` that names file, line (row, in Parquet), column and what was expected.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from manifests import ids, storage
from manifests.errors import UserError

__all__ = ["SUFFIXES", "Table", "check_mapping", "read"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows by column. `places` are the lines (of Parquet: rows, from 1) on which they begin; `theirs` is how the file
    calls those columns that have another name here.
    """

    uri: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    places: tuple[int, ...]
    unit: str = "line"
    headerless: bool = False
    theirs: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def named(self, mapping: Mapping[str, str], usual: Mapping[str, Sequence[str]]) -> Table:
        """The same with our names: those of `mapping` (ours to theirs) first, then the usual ones."""
        found = {ours: theirs for ours, theirs in mapping.items() if theirs in self.columns}
        for ours, names in usual.items():
            known = next((name for name in (ours, *names) if name in self.columns), None)
            if ours not in found and known is not None:
                found[ours] = known
        return replace(
            self,
            columns=(*found, *(name for name in self.columns if name not in found)),
            rows=tuple({**row, **{ours: row[theirs] for ours, theirs in found.items()}} for row in self.rows),
            theirs=found,
        )

    def need(self, *columns: str) -> None:
        for name in columns:
            if name not in self.columns and (self.rows or self.columns):  # JSON Lines without a row have no columns
                known = {self.theirs.get(column, column) for column in self.columns if column}
                raise UserError(
                    f"{self.uri}: no column '{name}'{ids.nearest(name, known)}; name yours with --column {name}=COLUMN"
                )

    def at(self, index: int) -> str:
        """`FILE, line 7`."""
        return f"{self.uri}, {self.unit} {self.places[index]}"

    def wrong(self, index: int, column: str, expected: str) -> UserError:
        """What to raise for one cell."""
        got = self.rows[index][column]
        said = self.theirs.get(column, column)
        return UserError(f"{self.at(index)}, column '{said}': expected {expected}, got {_shown(got)}")

    def texts(self, column: str) -> list[str | None]:
        """Texts, as they are. Numbers become texts, as a label 3 does."""
        self.need(column)
        return [self._text(index, column) for index in range(len(self))]

    def names(self, column: str) -> list[str]:
        """Texts that are not empty, without the spaces around them."""
        found = [(text or "").strip() for text in self.texts(column)]
        if "" in found:
            raise self.wrong(found.index(""), column, "a name")
        return found

    def keys(self, column: str) -> list[str]:
        """Names of which none comes twice."""
        found: dict[str, int] = {}
        for index, name in enumerate(self.names(column)):
            if name in found:
                raise self.wrong(index, column, f"each once ({self.unit} {self.places[found[name]]} has it too)")
            found[name] = index
        return list(found)

    def numbers(
        self, column: str, *, low: float = -math.inf, high: float = math.inf, whole: bool = False
    ) -> list[float]:
        """Finite numbers within `low` and `high`."""
        found = self.optional_numbers(column, low=low, high=high, whole=whole)
        for index, value in enumerate(found):
            if value is None:
                raise self.wrong(index, column, _rule(low, high, whole))
        return [value for value in found if value is not None]

    def optional_numbers(
        self, column: str, *, low: float = -math.inf, high: float = math.inf, whole: bool = False
    ) -> list[float | None]:
        """The same, None where a cell is empty."""
        self.need(column)
        return [self._number(index, column, low, high, whole) for index in range(len(self))]

    def _text(self, index: int, column: str) -> str | None:
        value = self.rows[index][column]
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            return str(value)
        raise self.wrong(index, column, "a text")

    def _number(self, index: int, column: str, low: float, high: float, whole: bool) -> float | None:
        given = self.rows[index][column]
        if given is None or (isinstance(given, str) and not given.strip()):
            return None
        try:
            value = math.nan if isinstance(given, bool) else float(given)
        except (TypeError, ValueError):
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high and (not whole or value.is_integer())):
            raise self.wrong(index, column, _rule(low, high, whole))
        return value


def _rule(low: float, high: float, whole: bool) -> str:
    kind = "a whole number" if whole else "a number"
    if math.isinf(low) and math.isinf(high):
        return kind
    if math.isinf(high):
        return f"{kind} from {low:g}"
    return f"{kind} up to {high:g}" if math.isinf(low) else f"{kind} within {low:g}..{high:g}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None or value == "" else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_mapping(mapping: Mapping[str, str], ours: Iterable[str], tables: Sequence[Table]) -> None:
    """Refuses `--column ours=theirs` where we have no such column or no table has theirs."""
    known = {column for table in tables for column in table.columns if column}
    for name, theirs in mapping.items():
        if name not in set(ours):
            raise UserError(f"--column {name}={theirs}: unknown column '{name}'{ids.nearest(name, ours)}")
        if theirs not in known:
            files = ", ".join(dict.fromkeys(table.uri for table in tables))
            raise UserError(f"--column {name}={theirs}: no column '{theirs}' in {files}{ids.nearest(theirs, known)}")


def read(uri: str, *, bare: Sequence[str] = (), known: Collection[str] = (), may_be_empty: bool = False) -> Table:
    """The table at a path or URL. `bare` names the columns that a TSV without a header has, `known` the names that a
    header would have.
    """
    suffix = next((s for s in SUFFIXES if uri.lower().endswith(s)), None)
    if not storage.exists(uri):
        raise UserError(f"{uri}: no such file")
    if suffix is None:
        raise UserError(f"{uri}: expected a table that ends in {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        table = _parquet(uri)
    elif suffix in (".jsonl", ".ndjson"):
        table = _json_lines(uri, _decoded(uri))
    else:
        table = _delimited(uri, _decoded(uri), suffix, bare, {*bare, *known})
    if not (table.rows or may_be_empty):
        raise UserError(f"{uri}: the table has no rows")
    return table


def _decoded(uri: str) -> str:
    try:
        data = storage.read_bytes(uri)
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({error})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{uri}, line {line}: expected UTF-8, got the byte 0x{data[error.start]:02x}") from None


def _parquet(uri: str) -> Table:
    from manifests import parquet

    rows = parquet.read_table(uri)
    return Table(uri, tuple(rows.column_names), tuple(rows.to_pylist()), tuple(range(1, rows.num_rows + 1)), "row")


def _json_lines(uri: str, text: str) -> Table:
    rows, places = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{uri}, line {number}: expected one JSON object, got {_shown(line)} ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{uri}, line {number}: expected one JSON object, got {_shown(line)}")
        rows.append(row)
        places.append(number)
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(uri, columns, tuple({name: row.get(name) for name in columns} for row in rows), tuple(places))


def _delimited(uri: str, text: str, suffix: str, bare: Sequence[str], known: Collection[str]) -> Table:
    lines = list(_cells(uri, text, suffix))
    if not lines:
        raise UserError(f"{uri}: the file is empty")
    header = [name.strip() for name in lines[0][1]]
    headerless = bool(bare) and suffix == ".tsv" and len(header) == len(bare) and not set(header) & set(known)
    columns = list(bare) if headerless else header
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice:
        raise UserError(f"{uri}, line {lines[0][0]}: two columns are called '{twice}'")
    body = lines if headerless else lines[1:]
    for number, cells in body:
        if len(cells) != len(columns):
            hint = "; a cell with commas needs quotation marks" if suffix == ".csv" else ""
            raise UserError(
                f"{uri}, line {number}: expected {len(columns)} cells ({', '.join(columns)}), got {len(cells)}{hint}"
            )
    rows = tuple(dict(zip(columns, cells, strict=True)) for _, cells in body)
    return Table(uri, tuple(columns), rows, tuple(number for number, _ in body), headerless=headerless)


def _cells(uri: str, text: str, suffix: str) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its cells. Lines with nothing on them are not rows."""
    source = io.StringIO(text, newline="")
    reader = (
        csv.reader(source, strict=True)
        if suffix == ".csv"
        else csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE)
    )
    number = 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{uri}, line {number}: not a row of a table ({error})") from None
