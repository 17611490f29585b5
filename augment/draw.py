"""Random draws that depend on names, not on order.

Conventions
    `seed_for` hashes what a draw is for into a 128-bit `SeedSequence`; every row and purpose has a generator of its
    own, so that a new purpose
    or more rows never shift an old draw. The global random state is neither read nor changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from manifests import ids
from manifests.recipe import Distribution, Recipe
from manifests.schema import Source

__all__ = ["Balanced", "Dealer", "Draw", "cells", "generator", "room_key", "sample", "seed_for"]

Item = TypeVar("Item")


def seed_for(*names: str | int) -> int:
    """A 128-bit seed that is a pure function of its arguments (dataset seed, split, index, purpose)."""
    return int.from_bytes(hashlib.sha256(ids.canonical(list(names))).digest()[:16], "little")


def generator(*names: str | int) -> np.random.Generator:
    """The random stream of one row and purpose."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed_for(*names))))


def sample(distribution: Distribution, rng: np.random.Generator, *, digits: int = 3, cell: int = 0) -> Any:
    """One value, rounded to `digits` decimals *before* it is used, so that the plan is the truth.

    `cell` picks the value of a `grid`. Text values come back as text.
    """
    value = _DRAWS[distribution.kind](distribution, rng, cell)
    return round(float(value), digits) if isinstance(value, int | float | np.number) else value


def _choice(d: Distribution, rng: np.random.Generator, _: int) -> Any:
    return d.values[
        int(
            np.searchsorted(np.cumsum(d.weights), rng.random() * sum(d.weights), side="right").clip(
                0, len(d.values) - 1
            )
        )
    ]


def _histogram(d: Distribution, rng: np.random.Generator, _: int) -> float:
    return float(np.interp(rng.random(), np.concatenate([[0.0], np.cumsum(d.weights)]), d.numbers))


_DRAWS: dict[str, Callable[[Distribution, np.random.Generator, int], Any]] = {
    "constant": lambda d, rng, cell: d.values[0],
    "uniform": lambda d, rng, cell: rng.uniform(d.numbers[0], d.numbers[1]),
    "loguniform": lambda d, rng, cell: np.exp(rng.uniform(*np.log(d.numbers))),
    "integers": lambda d, rng, cell: int(rng.integers(int(d.numbers[0]), int(d.numbers[1]), endpoint=True)),
    "normal": lambda d, rng, cell: np.clip(rng.normal(d.numbers[0], d.numbers[1]), *d.support()),
    "choice": _choice,
    "histogram": _histogram,
    "grid": lambda d, rng, cell: d.values[cell % len(d.values)],
}


class Balanced(Generic[Item]):
    """Deals items so that each is used equally often before any is used again.

    Each pass over the items is a permutation of its own, seeded by (names, pass). `pop(accept)` takes the first item
    that `accept` allows and
    leaves the ones it passed over at the head of the queue; where nothing left in this pass is allowed, the next pass
    is opened.
    """

    def __init__(self, items: Sequence[Item], *names: str | int) -> None:
        self._items = list(items)
        self._names = names
        self._pass = 0
        self._queue: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def pop(self, accept: Callable[[Item], bool] = lambda item: True) -> Item | None:
        """The next allowed item, or None where no item at all is allowed."""
        found = self._take(accept)
        if found is None and any(accept(item) for item in self._items):
            order = generator(*self._names, self._pass).permutation(len(self._items))
            self._queue += [self._items[i] for i in order]
            self._pass += 1
            found = self._take(accept)
        return found

    def _take(self, accept: Callable[[Item], bool]) -> Item | None:
        for position, item in enumerate(self._queue):
            if accept(item):
                return self._queue.pop(position)
        return None


def cells(sizes: Sequence[tuple[Hashable, int]], index: int) -> dict[Hashable, int]:
    """The cell of row `index` in a factorial grid: one position per axis, last axis fastest."""
    out: dict[Hashable, int] = {}
    for name, size in reversed(sizes):
        index, out[name] = divmod(index, size)
    return out


@dataclass(frozen=True)
class Draw:
    """The draws of one row: a stream per purpose."""

    recipe: Recipe
    split: str
    index: int
    cell: Mapping[Any, int]

    def stream(self, purpose: str) -> np.random.Generator:
        return generator(self.recipe.seed, self.split, self.index, purpose)

    def value(self, key: str, distribution: Distribution, number: int = 0, attempt: int = 0) -> Any:
        """A value of the recipe's `key`; `number` tells talkers or noises apart, `attempt` redraws."""
        return sample(distribution, self.stream(f"{key}#{number}#{attempt}"), cell=self.cell.get(key, 0))

    def integer(self, purpose: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self.stream(purpose).integers(low, max(high, low), endpoint=True))


class Dealer:
    """The balanced queues of one split."""

    def __init__(self, recipe: Recipe, split: str, sources: Sequence[Source]) -> None:
        self._seed, self._split = recipe.seed, split
        self.speech, self.noise, self.rir = (self._queue(kind, sources) for kind in ("speech", "noise", "rir"))
        self.rirs_in_room: dict[str | None, int] = {}
        for source in sources:
            if source.kind == "rir":
                self.rirs_in_room[room_key(source)] = self.rirs_in_room.get(room_key(source), 0) + 1

    def _queue(self, kind: str, sources: Sequence[Source]) -> Balanced[Source]:
        return Balanced([s for s in sources if s.kind == kind], self._seed, self._split, f"{kind} order")


def room_key(source: Source) -> str:
    """The room of a measured RIR; one without a name is a room of its own."""
    return source.room_id or source.source_id
