"""Stages that misbehave on purpose, importable by Ray workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import Refused, UserError
from manifests.schema import Finding
from pipelines import engine


@dataclass(frozen=True)
class Toy:
    """What happens to which item. `trace` is a folder in which every processed item leaves a file."""

    trace: str
    refuse: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()
    dies: tuple[str, ...] = ()
    dies_once: tuple[str, ...] = ()
    hangs: tuple[str, ...] = ()
    user_error: tuple[str, ...] = ()
    sleep_s: float = 0.0


def items(settings: Toy, shard: engine.Shard) -> Iterator[engine.Item]:
    for number in range(shard.rows):
        name = f"{shard.name}/{number}"
        yield engine.Item(name, (name, number), source_id=f"source-{number}", seconds_audio=1.0)


def work(settings: Toy, payload: tuple[str, int]) -> list[Finding]:
    name, number = payload
    mark = Path(settings.trace, name.replace("/", "_"))
    first = not mark.exists()
    mark.write_text(str(os.getpid()))
    time.sleep(settings.sleep_s)
    if name in settings.refuse:
        raise Refused("too_odd", f"{name} is too odd")
    if name in settings.raises:
        raise ZeroDivisionError(f"{name} cannot be divided")
    if name in settings.user_error:
        raise UserError(f"{name} was asked for wrongly")
    if name in settings.dies or (name in settings.dies_once and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if name in settings.hangs:
        time.sleep(60)
    return [Finding(mixture_id=name, rule="toy", message=f"{number**2}")]


def stage(root: Path, toy: Toy, **settings: object) -> engine.Stage:
    fields = {"item_timeout_s": 600.0, "digest": "toy"} | settings
    return engine.Stage(
        name="toy",
        row_type=Finding,
        items=items,
        work=work,
        settings=toy,
        out=str(root / "out"),
        aside=str(root),
        **fields,  # type: ignore[arg-type]
    )
