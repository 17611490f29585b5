"""Witnesses: the file system itself, looked at while a write is in flight; fsspec's memory:// for URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from manifests import storage
from manifests.errors import UserError


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The same promises hold for a folder and for a URL."""
    if request.param == "local":
        yield str(tmp_path / "data")
        return
    yield "memory://bucket/data"
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def names(path: Path) -> list[str]:
    """All that lies in a folder, hidden files too."""
    return sorted(os.listdir(path))


# any folder


def test_what_is_written_is_read(folder: str) -> None:
    uri = storage.join(folder, "deep", "a.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"one")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"one"
    storage.write_bytes(uri, memoryview(b"two, longer"))
    assert storage.read_bytes(uri) == b"two, longer"
    storage.write_bytes(uri, b"")
    assert storage.read_bytes(uri) == b""


def test_a_file_open_for_reading_can_seek(folder: str) -> None:
    uri = storage.join(folder, "a.bin")
    storage.write_bytes(uri, bytes(range(100)))
    with storage.open_read(uri) as handle:
        handle.seek(90)
        assert handle.read(3) == bytes([90, 91, 92])
        handle.seek(-2, os.SEEK_END)
        assert handle.read() == bytes([98, 99])


def test_a_missing_file_is_an_error(folder: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(folder, "none"))


def test_listing_is_sorted_filtered_and_without_temporaries(folder: str) -> None:
    for name in ("b.parquet", "a.parquet", "c.txt", ".x.parquet.1234.hubbub-tmp"):
        storage.write_bytes(storage.join(folder, name), b"x")
    assert storage.listing(folder) == ["a.parquet", "b.parquet", "c.txt"]
    assert storage.listing(folder, "*.parquet") == ["a.parquet", "b.parquet"]
    assert storage.listing(folder, "?.txt") == ["c.txt"]
    assert storage.listing(storage.join(folder, "none")) == []


def test_removing_twice_is_once(folder: str) -> None:
    uri = storage.join(folder, "a.bin")
    storage.write_bytes(uri, b"x")
    storage.remove(uri)
    assert not storage.exists(uri)
    storage.remove(uri)


# local writes are atomic


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.bin"
    storage.write_bytes(str(target), b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        storage.write_bytes(str(target), b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_bytes(str(tmp_path / "a.bin"), b"new")
    assert names(tmp_path) == []


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        storage.write_bytes(str(tmp_path / "a.bin"), "text")  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_the_new_file_appears_whole_and_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the rename, readers see the old file and listings only that; when it comes, the bytes are on disk."""
    target = tmp_path / "a.bin"
    storage.write_bytes(str(target), b"old")
    seen: list[tuple[str, bytes, list[str], bytes]] = []
    fsync, replace = os.fsync, os.replace

    def look(what: str) -> None:
        (temporary,) = [n for n in names(tmp_path) if n != "a.bin"]
        content = (tmp_path / temporary).read_bytes()
        seen.append((what, target.read_bytes(), storage.listing(str(tmp_path)), content))

    def watched_fsync(descriptor: int) -> None:
        look("fsync")
        fsync(descriptor)

    def watched_replace(old: str, new: str) -> None:
        look("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    storage.write_bytes(str(target), b"new")
    assert seen == [(what, b"old", ["a.bin"], b"new") for what in ("fsync", "replace")]
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that Ray started again while its first try still runs."""
    target, temporaries = tmp_path / "a.bin", []
    replace = os.replace

    def second_writer(old: Path, new: Path) -> None:
        temporaries.append(str(old))
        if len(temporaries) == 1:
            storage.write_bytes(str(target), b"second")
        replace(old, new)

    monkeypatch.setattr(os, "replace", second_writer)
    storage.write_bytes(str(target), b"first")
    assert len(set(temporaries)) == 2
    assert target.read_bytes() == b"first"
    assert names(tmp_path) == ["a.bin"]


def test_sweep_removes_what_a_killed_writer_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(os, "replace", fail)
        killed.setattr(Path, "unlink", lambda *_, **__: None)  # killed: it cleans up nothing
        with pytest.raises(OSError, match="No space"):
            storage.write_bytes(str(tmp_path / "a.parquet"), b"half")
    storage.write_bytes(str(tmp_path / "b.parquet"), b"whole")
    assert len(names(tmp_path)) == 2
    assert storage.listing(str(tmp_path)) == ["b.parquet"]
    storage.sweep(str(tmp_path))
    assert names(tmp_path) == ["b.parquet"]
    storage.sweep(str(tmp_path / "none"))
    storage.sweep("memory://bucket/none")


# URLs


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("s3://bucket/set/", ("plan", "a"), "s3://bucket/set/plan/a"),
        ("s3://bucket", ("a",), "s3://bucket/a"),
        ("/data/set", ("plan", "a"), "/data/set/plan/a"),
        ("set", ("a",), "set/a"),
    ],
)
def test_join(uri: str, parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(uri, *parts) == joined


def test_an_object_store_gets_one_put(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, puts = fsspec.filesystem("memory"), []
    monkeypatch.setattr(type(memory), "pipe_file", lambda self, path, data: puts.append((path, data)))
    storage.write_bytes("memory://bucket/a/b.bin", memoryview(b"xyz"))
    assert puts == [("/bucket/a/b.bin", b"xyz")]


def test_an_unknown_protocol_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="s4://bucket/x: Protocol not known: s4"):
        storage.exists("s4://bucket/x")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_s3fs(uri: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", no_s3fs)
    with pytest.raises(UserError, match=r"s3://bucket/x: Install s3fs.*pip install 'hubbub\[s3\]'"):
        storage.read_bytes("s3://bucket/x")


def test_absolute_names_a_folder_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("here/there/") == str(tmp_path / "here" / "there")
    assert storage.absolute(str(tmp_path)) == str(tmp_path)
    assert storage.absolute("s3://bucket/folder/") == "s3://bucket/folder"
