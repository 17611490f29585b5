"""One function call in a throw-away process, so that a native crash or an endless loop costs one item and not a shard.

Run as `python -m pipelines.isolate`, this module is the child: it reads one pickled call from standard input and writes
the pickled answer to the descriptor that was its standard output (which libraries then cannot disturb).
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Crashed", "TimedOut", "call"]

Answer = TypeVar("Answer")


class Crashed(Exception):
    """The child died of a signal, or without an answer."""


class TimedOut(Exception):
    """The child was stopped after its time was up."""


def call(function: Callable[..., Answer], *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Answer:
    """`function(*args, **kwargs)` in a child process. What it raises is raised here; a dead child raises Crashed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "pipelines.isolate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    try:
        out, _ = child.communicate(pickle.dumps((function, args, kwargs)), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{function.__name__} took longer than {timeout_s:g} s") from None
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode != 0 or not out:
        raise Crashed(f"{function.__name__} ended its process with {_cause(child.returncode)}")
    ok, answer = pickle.loads(out)
    if not ok:
        raise answer
    result: Answer = answer
    return result


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _answer(call_bytes: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(call_bytes)
        return pickle.dumps((True, function(*args, **kwargs)))
    except Exception as error:  # noqa: BLE001 - the parent raises it again
        try:
            return pickle.dumps((False, error))
        except Exception:  # noqa: BLE001 - some exceptions do not pickle
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _main() -> None:
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answer = _answer(sys.stdin.buffer.read())
    with pipe:
        pipe.write(answer)


if __name__ == "__main__":
    _main()
