"""How the benchmarks measure: contenders in turn in one process, medians of process CPU time, ratios of medians.

Conventions
    Times are seconds inside and milliseconds per item (mixture, pair) in results. `ratio` = peer_ms / ours_ms, so that
    more is better for us. CPU time is that of the whole process, user and system: it does not count waiting for the
    disk, and load on the machine moves it less than it moves wall time. Numbers of processes are compared by wall time.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

__all__ = ["Apart", "Results", "compared", "interleaved", "machine", "stages_ms"]

Results = dict[str, dict[str, Any]]
Places = Mapping[str, Sequence[tuple[Any, str]]]


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
    *,
    warm: bool = True,
) -> dict[str, list[float]]:
    """Seconds of each contender in each round. Every other round goes backwards, so that nobody is always first.

    Each runs once before, unless the caller has seen to it (`warm=False`): imports, caches and compilation are not
    measured.
    """
    for run in contenders.values() if warm else ():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            began = clock()
            said = contenders[name]()
            seconds[name].append(said if isinstance(contenders[name], Apart) else clock() - began)  # type: ignore[arg-type]
    return seconds


class Apart:
    """A contender in a process of its own, as its users run it: our workers tune the memory of theirs, which would help
    the peer, and two programs in one process spoil one another's caches. Called, it says its CPU seconds.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(1)
        self._function = function

    def __call__(self) -> float:
        return self._pool.apply(_timed_call, (self._function,))

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


def _timed_call(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def compared(
    ours: Sequence[float], peer: Sequence[float], *, peer_name: str, items: int, **extra: Any
) -> dict[str, Any]:
    """One entry of `results`, from the seconds that each round of `items` took."""
    ours_ms, peer_ms = ([1000 * seconds / items for seconds in side] for side in (ours, peer))
    return {
        "ours_ms": round(statistics.median(ours_ms), 3),
        "peer_ms": round(statistics.median(peer_ms), 3),
        "peer": peer_name,
        "ratio": round(statistics.median(peer_ms) / statistics.median(ours_ms), 3),
        "ours_ms_range": [round(min(ours_ms), 3), round(max(ours_ms), 3)],
        "peer_ms_range": [round(min(peer_ms), 3), round(max(peer_ms), 3)],
        "items": items,
        "rounds": len(ours),
        **extra,
    }


def stages_ms(run: Callable[[], object], places: Places, items: int) -> dict[str, float]:
    """Where one run spends its CPU time: stage -> ms per item, and `rest`.

    `places` names the functions of a stage as (module, name), where their callers look them up. What one of them calls
    counts for it alone.
    """
    spent: dict[str, float] = defaultdict(float)
    began = time.process_time()
    with _timed(places, spent):
        run()
    spent["rest"] = time.process_time() - began - sum(spent.values())
    return {name: round(1000 * seconds / items, 3) for name, seconds in spent.items()}


@contextlib.contextmanager
def _timed(places: Places, spent: dict[str, float]) -> Iterator[None]:
    inside: list[str] = []

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if inside:
                return function(*args, **kwargs)
            inside.append(stage)
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[stage] += time.process_time() - began
                inside.pop()

        return call

    with contextlib.ExitStack() as stack:
        for stage, functions in places.items():
            for module, name in functions:
                stack.enter_context(mock.patch.object(module, name, timed(stage, getattr(module, name))))
        yield


def machine() -> dict[str, Any]:
    """The machine and the packages that numbers were measured with, and how busy it was."""
    from pipelines import dataset

    load = [round(value, 2) for value in os.getloadavg()]
    return {**dataset.machine(), "load_average": load, "versions": dataset.package_versions()}
