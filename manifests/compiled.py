"""Functions compiled by numba, kept on disk by what they are rather than by where they lie.

numba's own cache belongs to one path and one modification time of a source file. A cluster runs every job from a fresh
copy of the code, and would compile again on every machine for every job. Here the key is the content of the file.

Conventions
    `@kernel()`, or `@kernel(**options of numba.njit)`. A compiled function is found again by its module and name, the
    SHA-256 of the bytes of its source file, the versions of numba, llvmlite, numpy and Python, the types it is called
    with, and the processor's name and features. So a kernel may use only what its own file or a library defines: a
    change elsewhere would go unnoticed.
    Files lie in `hubbub/kernels` under $NUMBA_CACHE_DIR, else $XDG_CACHE_HOME, else ~/.cache, and may be deleted at any
    time. Each is written whole under another name and then renamed, and carries its digest, so that processes and
    machines may share the folder. Where it can be neither read nor written, functions are compiled in memory.
    A process that compiles for more than two seconds says so, once, on stderr.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import pickle
import platform
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
import numpy as np

try:  # Private to numba, yet the same from 0.60 to 0.68. Without it numba's own cache has to do.
    from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
    from numba.core.serialize import dumps
except ImportError:
    CompileResultCacheImpl = FunctionCache = _CacheLocator = object
    dumps = None

__all__ = ["folder", "kernel"]

_PATIENCE_S = 2.0
_NOTICE = "hubbub: compiling its kernels for this machine, once; this takes some seconds\n"
_DIGEST_BYTES = 32


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit(**options)` with the cache described above."""

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        try:
            dispatcher._cache = _Cache(function)
        except (AttributeError, OSError, TypeError):  # no such private names in this numba, or no source file to hash
            return _cached_by_numba(function, options)
        return dispatcher

    return compiled


def _cached_by_numba(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to write
        return numba.njit(**options)(function)


def folder() -> str:
    """Where compiled functions are kept. It need not exist."""
    root = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "hubbub", "kernels")


@functools.cache
def _source_digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class _Files:
    """One file per key: its digest, then the pickled function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")
        versions = numba.__version__, llvmlite.__version__, np.__version__, platform.python_version()
        self._code = repr((self._name, _source_digest(inspect.getfile(function)), versions))

    def _path(self, key: object) -> str:
        digest = hashlib.sha256(f"{self._code} {key!r}".encode()).hexdigest()
        return os.path.join(folder(), f"{self._name}-{digest[:32]}.kernel")

    def load(self, key: object) -> Any:
        try:
            with open(self._path(key), "rb") as file:
                digest, data = file.read(_DIGEST_BYTES), file.read()
        except OSError:
            return None
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None

    def save(self, key: object, value: object) -> None:
        data = dumps(value)
        path = self._path(key)
        part = f"{path}.{uuid.uuid4().hex}"
        try:
            os.makedirs(folder(), exist_ok=True)
            with open(part, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(part, path)
        except OSError:
            _remove(part)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


class _Watch:
    """Says that this process compiles, once it has done so for `_PATIENCE_S` in all."""

    def __init__(self) -> None:
        self._depth = 0
        self._spent_s = 0.0
        self._began_s = 0.0
        self._said = False
        self._timer = threading.Timer(0, self._say)

    def start(self) -> None:
        self._depth += 1
        if self._depth == 1 and not self._said:
            self._began_s = time.monotonic()
            self._timer = threading.Timer(max(0.0, _PATIENCE_S - self._spent_s), self._say)
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._timer.cancel()
            self._spent_s += time.monotonic() - self._began_s

    def _say(self) -> None:
        self._said = True
        sys.stderr.write(_NOTICE)


_watch = _Watch()


class _Locator(_CacheLocator):  # type: ignore[misc]
    """What numba asks of a cache's place; `_Files` takes the place of the files it would keep there."""

    @classmethod
    def from_function(cls, py_func: object, py_file: object) -> _Locator:
        return cls()

    def ensure_cache_path(self) -> None:
        pass

    def get_cache_path(self) -> str:
        return folder()

    def get_source_stamp(self) -> str:
        return ""

    def get_disambiguator(self) -> str:
        return ""


class _Result(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]  # noqa: RUF012


class _Cache(FunctionCache):  # type: ignore[misc]
    _impl_class = _Result

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(function)

    def load_overload(self, sig: object, target_context: object) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None:
            _watch.start()
        return found

    def save_overload(self, sig: object, data: object) -> None:
        _watch.stop()
        super().save_overload(sig, data)
