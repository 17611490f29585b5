"""Tables as Parquet files whose footer says what they are.

Conventions
    The footer carries `hubbub.schema` (table and version), `hubbub.digest` (what determined the content), `hubbub.rows`
    and, for shards,
    the counts of what went in and out. Audio columns are stored without dictionaries or statistics, since FLAC does not
    shrink, and readers of metadata never touch those pages. Long tables without audio are compressed. Others are not:
    beside audio the rest is a hundredth, and many short columns take longer to compress than to write, and gain
    nothing. The same rows give the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import schema, storage
from manifests.errors import UserError

__all__ = [
    "encode",
    "read_footer",
    "read_parts",
    "read_rows",
    "read_schema_names",
    "read_table",
    "row_count",
    "write_rows",
]

ROW_GROUP_ROWS = 64
COMPRESSED_ROWS = 1000

Row = TypeVar("Row")


def encode(table: pa.Table, footer: Mapping[str, str]) -> pa.Buffer:
    """`table` as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    _write(table, footer, sink)
    return sink.getvalue()


def _write(table: pa.Table, footer: Mapping[str, str], sink: Any) -> None:
    metadata = dict(table.schema.metadata or {}) | dict(footer.items()) | {"hubbub.rows": str(table.num_rows)}
    table = table.replace_schema_metadata(metadata)
    leaves = _leaf_paths(table.schema)
    audio = tuple(leaf.removesuffix("bytes") for leaf in leaves if leaf.endswith(".bytes"))
    light = [leaf for leaf in leaves if not leaf.startswith(audio)]
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_ROWS if audio else None,
        compression="none" if audio or table.num_rows < COMPRESSED_ROWS else "zstd",
        use_dictionary=light or False,
        write_statistics=light or False,
    )


def _leaf_paths(arrow_schema: pa.Schema) -> list[str]:
    """Column paths as Parquet names them (`talkers.list.element.role`)."""

    def walk(path: str, kind: pa.DataType) -> list[str]:
        if pa.types.is_struct(kind):
            return [leaf for f in kind for leaf in walk(f"{path}.{f.name}", f.type)]
        if pa.types.is_list(kind):
            return walk(f"{path}.list.element", kind.value_type)
        return [path]

    return [leaf for f in arrow_schema for leaf in walk(f.name, f.type)]


def write_rows(
    uri: str, rows: Sequence[Any], row_type: type, *, digest: str = "", arrow: pa.Schema | None = None, **footer: Any
) -> int:
    """Write rows (dataclasses) as one Parquet file, atomically. Returns its size in bytes."""
    table = schema.to_table(rows, row_type, arrow)
    entries = {"hubbub.digest": digest} | {f"hubbub.{k}": str(v) for k, v in footer.items()}
    if storage.is_url(uri):
        data = encode(table, entries)
        storage.write_bytes(uri, memoryview(data))
        return int(data.size)
    with storage.replacing(uri) as path, pa.OSFile(path, "wb") as sink:
        _write(table, entries, sink)
        return int(sink.tell())


def read_footer(uri: str) -> dict[str, str]:
    """The `hubbub.*` entries of a Parquet file's footer, without the prefix."""
    with _opened(uri) as file:
        return _entries(file)


def _entries(file: pq.ParquetFile) -> dict[str, str]:
    metadata = file.schema_arrow.metadata or {}
    return {k.decode()[7:]: v.decode() for k, v in metadata.items() if k.startswith(b"hubbub.")}


def row_count(uri: str) -> int:
    with _opened(uri) as file:
        return int(file.metadata.num_rows)


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file as an Arrow table; `columns` limits what is read from disk (names it lacks are ignored)."""
    with _opened(uri) as file:
        return _read(file, columns)


def _read(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    names = None if columns is None else [c for c in columns if c in file.schema_arrow.names]
    return file.read(columns=names)


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file for reading. What is none, or ends early, is a UserError."""
    try:
        with storage.open_read(uri) as handle, pq.ParquetFile(handle) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{uri}: not a readable Parquet file ({error})") from None


def read_rows(uri: str, row_type: type[Row], columns: Sequence[str] | None = None) -> list[Row]:
    """Rows of a Parquet file as dataclasses. A file of another table or schema version is refused."""
    wanted = f"{schema.table_name(row_type)}/{schema.SCHEMA_VERSION}"
    with _opened(uri) as file:
        found = _entries(file).get("schema", "no hubbub table")
        if found != wanted:
            raise UserError(f"{uri}: expected a table {wanted}, found {found}")
        return schema.from_table(_read(file, columns), row_type)


def read_parts(
    folder: str, columns: Sequence[str] | None = None, names: Iterable[str] | None = None
) -> pa.Table | None:
    """All parts of a folder as one table (in name order), or None where there is none."""
    names = storage.listing(folder, "*.parquet") if names is None else names
    parts = [read_table(storage.join(folder, name), columns) for name in names]
    return pa.concat_tables([p.replace_schema_metadata(None) for p in parts]) if parts else None


def read_schema_names(uri: str) -> list[str]:
    """Column names of a Parquet file."""
    with _opened(uri) as file:
        return list(file.schema_arrow.names)
