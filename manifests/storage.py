"""Bytes at a path or URL. Local paths go through the operating system, URLs (`s3://`, `memory://`, ...) through fsspec.

Conventions
    A file appears whole or not at all: local writes go to a temporary name, are flushed to disk and renamed; an object
    store gets one PUT.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from manifests.errors import UserError

__all__ = [
    "absolute",
    "exists",
    "is_url",
    "join",
    "listing",
    "open_read",
    "read_bytes",
    "remove",
    "replacing",
    "sweep",
    "walk",
    "write_bytes",
]

_TEMPORARY = ".hubbub-tmp"


def is_url(uri: str) -> bool:
    return "://" in uri


def absolute(uri: str) -> str:
    """`uri` as it is named from anywhere: a relative path from the root, without a slash at the end."""
    return uri.rstrip("/") if is_url(uri) else os.path.abspath(uri)


def join(uri: str, *parts: str) -> str:
    """`uri` with `parts` below it."""
    return "/".join([uri.rstrip("/"), *parts]) if is_url(uri) else os.path.join(uri, *parts)


def _filesystem(uri: str) -> tuple[Any, str]:
    import fsspec

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(uri)
        return found
    except ImportError as error:
        raise UserError(f"{uri}: {error}. For s3:// install the extra: pip install 'hubbub[s3]'") from None
    except ValueError as error:
        raise UserError(f"{uri}: {error}") from None


def exists(uri: str) -> bool:
    if is_url(uri):
        fs, path = _filesystem(uri)
        return bool(fs.exists(path))
    return os.path.exists(uri)


def open_read(uri: str) -> IO[bytes]:
    """A readable, seekable binary file."""
    if is_url(uri):
        fs, path = _filesystem(uri)
        handle: IO[bytes] = fs.open(path, "rb")
        return handle
    return open(uri, "rb")


def read_bytes(uri: str) -> bytes:
    with open_read(uri) as handle:
        return handle.read()


def write_bytes(uri: str, data: bytes | memoryview) -> None:
    """Write `data` so that readers see the old file or the new one, never a part."""
    if is_url(uri):
        fs, path = _filesystem(uri)
        fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        fs.pipe_file(path, bytes(data))
        return
    with replacing(uri) as temporary, open(temporary, "wb") as handle:
        handle.write(data)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """A path to write to in place of the local `path`. It becomes that when the block ends well, else it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_TEMPORARY}")
    try:
        yield str(temporary)
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove(uri: str) -> None:
    """Remove one file if it is there."""
    if is_url(uri):
        fs, path = _filesystem(uri)
        if fs.exists(path):
            fs.rm_file(path)
        return
    Path(uri).unlink(missing_ok=True)


def listing(uri: str, pattern: str = "*") -> list[str]:
    """Names in folder `uri` that match `pattern`, sorted. Empty where there is no such folder."""
    if is_url(uri):
        fs, path = _filesystem(uri)
        names = [p.rsplit("/", 1)[-1] for p in fs.ls(path, detail=False)] if fs.exists(path) else []
    else:
        names = os.listdir(uri) if os.path.isdir(uri) else []
    return sorted(n for n in names if fnmatch.fnmatch(n, pattern) and not n.endswith(_TEMPORARY))


def walk(root: str) -> list[str]:
    """Every file below folder `root`, links followed."""
    if is_url(root):
        fs, path = _filesystem(root)
        return [root + found[len(path.rstrip("/")) :] for found in fs.find(path)]
    return [os.path.join(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names]


def sweep(uri: str) -> None:
    """Remove temporary files that a killed writer left in local folder `uri`."""
    if not is_url(uri) and os.path.isdir(uri):
        for name in os.listdir(uri):
            if name.endswith(_TEMPORARY):
                Path(uri, name).unlink(missing_ok=True)
