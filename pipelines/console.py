"""What a person sees while a job runs: progress with rate and time left, and plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Progress", "duration", "say", "warn"]


def say(text: str) -> None:
    """A line of a command's result, on standard output."""
    print(text, flush=True)


def warn(text: str) -> None:
    """A line about the run itself, on standard error."""
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as people say them: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


class Progress:
    """A bar with rate and ETA on a terminal; a line every ten seconds elsewhere. Counts rows, of which `done` may be
    there already.
    """

    def __init__(self, title: str, total: int, done: int = 0, quiet: bool = False) -> None:
        self.title, self.total, self.count, self.start_count, self.quiet = title, total, done, done, quiet
        self.started = self.said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.count, rate="")
        return self

    def advance(self, rows: int) -> None:
        self.count += rows
        if self._bar is not None:
            self._bar.update(self._task, completed=self.count, rate=self._rate())
        elif not self.quiet and time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            warn(f"{self.title}: {self.count}/{self.total} rows, {self._rate()}, {self._left()} left")

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def _per_second(self) -> float:
        return (self.count - self.start_count) / max(self.seconds(), 1e-9)

    def _rate(self) -> str:
        return f"{self._per_second():.1f} rows/s"

    def _left(self) -> str:
        rate = self._per_second()
        return duration((self.total - self.count) / rate) if rate > 0 else "unknown time"

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
