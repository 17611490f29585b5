"""Functions compiled by numba, kept on disk by what they are rather than by where they lie.

numba's own cache belongs to one path and one modification time of a source file. A cluster runs every job from a fresh
copy of the code, and would compile again on every machine for every job. Here the key is the content of the file.

Conventions
    `@kernel()`, or `@kernel(**options of numba.njit)`, at the top level of a module. A compiled function is found again
    by its module and name, its options, the SHA-256 of the bytes of its source file and of `manifests/lanes.py`, the
    versions of numba, llvmlite, numpy and Python, the types it is called with, and the processor's name and features.
    So a kernel may use only what those two files or a library define: a change elsewhere would go unnoticed.
    Files lie in `hubbub/kernels` under $NUMBA_CACHE_DIR, else $XDG_CACHE_HOME, else ~/.cache, and may be deleted at any
    time. Each carries its digest, is written whole under another name and then renamed, so that processes and machines
    may share the folder. Where it can be neither read nor written, functions are compiled in memory.
    A process that compiles for more than two seconds says so, once, on stderr.
"""

from __future__ import annotations

import contextlib
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

import llvmlite  # type: ignore[import-untyped, unused-ignore]
import numba
import numpy as np
from numba.core import compiler, serialize

__all__ = ["folder", "kernel"]

_PATIENCE_S = 2.0
_NOTICE = "hubbub: compiling its kernels for this machine, once; this takes some seconds\n"
_DIGEST_BYTES = 32
_LANES = os.path.join(os.path.dirname(__file__), "lanes.py")

# Private to numba, though the same from 0.60 to 0.68: how it takes a compiled function apart and together again.
_Result: Any = getattr(compiler, "CompileResult", None)
_dumps: Any = getattr(serialize, "dumps", None)


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit(**options)` with the cache described above, or numba's own where this numba is too different."""

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        if hasattr(dispatcher, "_cache") and hasattr(_Result, "_reduce") and hasattr(_Result, "_rebuild") and _dumps:
            with contextlib.suppress(OSError, TypeError):  # no source file: a console, an archive
                dispatcher._cache = _Cache(function, options)
                return dispatcher
        with contextlib.suppress(RuntimeError):  # numba finds no folder to write in
            return numba.njit(cache=True, **options)(function)
        return dispatcher

    return compiled


def folder() -> str:
    """Where compiled functions are kept. It need not exist."""
    root = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "hubbub", "kernels")


class _Cache:
    """Takes the place of `numba.core.caching.FunctionCache` in a dispatcher, which calls what has no underscore."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")
        versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
        sources = _source_digest(inspect.getfile(function)), _source_digest(_LANES)
        self._code = (self._name, sorted(options.items()), sources, versions)
        self.cache_path = folder()

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        data = _read(self._path(signature, target_context.codegen()))
        if data is None:
            _watch.start()
            return None
        return _Result._rebuild(target_context, *pickle.loads(data))

    def save_overload(self, signature: Any, result: Any) -> None:
        _watch.stop()
        if not result.library.has_dynamic_globals:  # such as the address of a foreign function
            _write(self._path(signature, result.codegen), _dumps(result._reduce()))

    def enable(self) -> None:
        pass

    disable = flush = enable

    def _path(self, signature: Any, codegen: Any) -> str:
        key = repr((self._code, signature, codegen.magic_tuple()))
        return os.path.join(folder(), f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel")


@functools.cache
def _source_digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
    except OSError:
        return None
    return data if hashlib.sha256(data).digest() == digest else None


def _write(path: str, data: bytes) -> None:
    part = f"{path}.{uuid.uuid4().hex}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(part, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)


class _Watch:
    """Says that this process compiles, once it has done so for `_PATIENCE_S` in all."""

    def __init__(self) -> None:
        self._depth = 0
        self._spent_s = 0.0
        self._began_s = 0.0
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        self._depth += 1
        if self._depth == 1 and self._spent_s < _PATIENCE_S:
            self._began_s = time.monotonic()
            self._timer = threading.Timer(_PATIENCE_S - self._spent_s, sys.stderr.write, [_NOTICE])
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        self._depth -= 1
        if self._depth == 0 and self._timer is not None:
            self._timer.cancel()
            self._spent_s += time.monotonic() - self._began_s


_watch = _Watch()
