"""What the tests of `pipelines.isolate` run in a child process: importable there without pytest."""

from __future__ import annotations

import os
import signal

from manifests.errors import Refused


def noisy_pid(text: str) -> int:
    os.write(1, text.encode())
    print(text)  # noqa: T201
    return os.getpid()


def refuse(message: str) -> None:
    raise Refused("odd", message)


def die(number: int) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def leave(code: int) -> None:
    os._exit(code)
