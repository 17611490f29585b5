"""Shards in, shards out: scheduling, resume, atomic commit and failure accounting, once for every stage.

Conventions
    A *stage* is two functions: `items(settings, shard)` yields what a shard holds, `work(settings, payload)` turns one
    item into rows. Both are
    module-level functions, so that they travel to workers by name. Output file names depend on the shard's name alone;
    a shard is
    *done* when its file exists and its footer carries the shard's digest and the number of rows that went in. Its
    dropped and failed rows and its timings are written before it, so that the file itself is the commit.

    Content depends on (digest, shard) only: never on the number of workers, the order, a kill or a resume.

A worker that dies takes its shard with it: the shard is run again with every item in a process of its own, and only an
item that kills that process too is recorded as `crashed` (`timeout` where it ran out of time).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import hashlib
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from manifests import ids, parquet, schema, storage
from manifests.errors import Refused, UserError
from manifests.schema import Dropped, Failed, Timing
from pipelines import isolate
from pipelines.console import Progress, warn

__all__ = ["Counts", "Item", "Result", "Shard", "Stage", "Together", "is_done", "run", "run_shard", "run_together"]


@dataclass(frozen=True)
class Shard:
    """One unit of scheduling. `inputs` are URIs or small plain data; `rows` is how many items it holds."""

    name: str
    rows: int
    inputs: tuple[Any, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class Item:
    """One row's worth of work. `payload` must pickle."""

    id: str
    payload: Any
    source_id: str | None = None
    seconds_audio: float | None = None
    parts: tuple[Any, ...] = ()  # in `Together`: what each of the stages gets of it


@dataclass(frozen=True)
class Stage:
    """What a stage does to a shard, where the result goes, and what determined it."""

    name: str
    row_type: type
    items: Callable[[Any, Shard], Iterable[Item]]
    work: Callable[[Any, Any], list[Any]]
    settings: Any
    out: str
    aside: str
    digest: str
    columns: tuple[str, ...] | None = None
    sample_rate: int | None = None
    item_timeout_s: float = 600.0
    label: str = ""
    system_id: str | None = None
    actors: bool = False
    num_gpus: float = 0.0

    def file(self, shard: Shard) -> str:
        return storage.join(self.out, f"{shard.name}.parquet")

    def side_file(self, table: str, shard: Shard) -> str:
        name = "-".join(p for p in (self.name, self.system_id, shard.name) if p)
        return storage.join(self.aside, table, f"{name}.parquet")

    def shard_digest(self, shard: Shard) -> str:
        return ids.digest([self.name, self.digest, shard.name, shard.rows, shard.digest])


@dataclass(frozen=True)
class Together:
    """Stages over the same items, which are read once: each stage's rows go to files of its own, as if it ran alone.

    `items(settings, shard name, indices of stages)` yields items with a part for each of these stages;
    `work(settings, payload, ((index, part), ...))` returns a list of rows for each of them. Where that fails for good,
    `lost(settings, payload, (index, part), reason)` says what the rows are, beside the row of `failed`.
    """

    name: str
    stages: tuple[Stage, ...]
    items: Callable[[Any, str, tuple[int, ...]], Iterable[Item]]
    work: Callable[[Any, Any, tuple[tuple[int, Any], ...]], list[Any]]
    lost: Callable[[Any, Any, tuple[int, Any], str], list[Any]]
    settings: Any
    item_timeout_s: float = 600.0
    label: str = ""
    actors: bool = False
    num_gpus: float = 0.0


@dataclass(frozen=True)
class Counts:
    """Rows of a shard or a run: `rows_in = done + dropped + failed`, where `done` counts items that gave rows."""

    rows_in: int = 0
    rows_out: int = 0
    done: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    seconds_audio: float = 0.0
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.rows_in + other.rows_in,
            self.rows_out + other.rows_out,
            self.done + other.done,
            self.dropped + other.dropped,
            self.failed + other.failed,
            self.seconds + other.seconds,
            self.seconds_audio + other.seconds_audio,
            self.bytes + other.bytes,
        )

    def plain(self) -> dict[str, Any]:
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "done": self.done,
            "dropped": dict(sorted(self.dropped.items())),
            "failed": dict(sorted(self.failed.items())),
        }


@dataclass(frozen=True)
class Result:
    """A run of a stage: the counts over all of its shards, and what this run itself did."""

    counts: Counts
    shards: int
    shards_resumed: int
    seconds: float
    core_seconds: float
    within_budget: bool = True


# ------------------------------------------------------------------------------------------ one shard, in a worker


def run_shard(stage: Stage | Together, shard: Shard, isolated: bool = False) -> Counts:
    """Run one shard and write it. A row that raises is recorded, never lost."""
    _settle_process()
    run: Callable[..., Counts] = _run_joint if isinstance(stage, Together) else _run_single
    counts = run(stage, shard, isolated)
    _set_loaded_aside()
    return counts


def _run_single(stage: Stage, shard: Shard, isolated: bool) -> Counts:
    ledger = _Ledger(stage, shard)
    for item in stage.items(stage.settings, shard):
        _enter(ledger, item, functools.partial(_work, stage, item, isolated))
    return ledger.commit()


def _run_joint(together: Together, joint: Shard, isolated: bool) -> Counts:
    """One shard of several stages. Isolated, or where an item raises for all of them, each stage works by itself: what
    harms one costs the others nothing.
    """
    began = time.perf_counter()
    ledgers = {index: _Ledger(together.stages[index], shard) for index, shard in joint.inputs}
    for item in together.items(together.settings, joint.name, tuple(ledgers)):
        shares = list(zip(ledgers, item.parts, strict=True))
        if len(shares) > 1 and not isolated and _share(ledgers, shares, item, together):
            continue
        for index, part in shares:
            lost = functools.partial(together.lost, together.settings, item.payload, (index, part))
            _enter(ledgers[index], item, functools.partial(_alone, together, item, (index, part), isolated), lost)
    counts = sum((ledger.commit() for ledger in ledgers.values()), Counts())
    return replace(counts, seconds=time.perf_counter() - began)  # each of them was open for all of it


def _alone(together: Together, item: Item, share: tuple[int, Any], isolated: bool) -> list[Any]:
    """The rows of one stage."""
    arguments = (together.settings, item.payload, (share,))
    if isolated:
        (rows,) = isolate.call(together.work, *arguments, timeout_s=together.item_timeout_s)
    else:
        (rows,) = together.work(*arguments)
    return list(rows)


def _share(ledgers: dict[int, _Ledger], shares: Sequence[tuple[int, Any]], item: Item, together: Together) -> bool:
    """One piece of work for several stages; False where it raised, and nothing is entered."""
    start = time.perf_counter()
    try:
        found = together.work(together.settings, item.payload, tuple(shares))
    except UserError:
        raise
    except Exception:  # noqa: BLE001 - each stage by itself will say what it was
        return False
    seconds = (time.perf_counter() - start) / len(shares)
    for (index, _), rows in zip(shares, found, strict=True):
        ledgers[index].keep(rows)
        ledgers[index].time(item, seconds)
    return True


def _enter(
    ledger: _Ledger,
    item: Item,
    work: Callable[[], list[Any]],
    lost: Callable[[str], list[Any]] = lambda reason: [],
) -> None:
    """Do the work on one item and enter what became of it."""
    start = time.perf_counter()
    try:
        ledger.keep(work())
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - an unexpected error costs one row, which says so
        ledger.lose(item, error, lost(_reason(error)))
    ledger.time(item, time.perf_counter() - start)


class _Ledger:
    """What becomes of the items of one shard."""

    def __init__(self, stage: Stage, shard: Shard) -> None:
        self._stage, self._shard = stage, shard
        self._rows: list[Any] = []
        self._dropped: list[Dropped] = []
        self._failed: list[Failed] = []
        self._timings: list[Timing] = []
        self._began = time.perf_counter()
        self._done = 0

    def keep(self, rows: list[Any]) -> None:
        self._rows += rows
        self._done += 1

    def lose(self, item: Item, error: Exception, rows: list[Any]) -> None:
        """A row of `dropped` where a rule refused the item, else of `failed`, and the rows that stand for it."""
        self._rows += rows
        if not isinstance(error, Refused):
            self._failed.append(_failure(self._stage, self._shard, item, error))
            return
        dropped = Dropped(
            stage=self._stage.name,
            id=item.id,
            reason=error.reason,
            message=str(error),
            source_id=error.source_id or item.source_id,
            shard=self._shard.name,
        )
        self._dropped.append(dropped)

    def time(self, item: Item, seconds: float) -> None:
        timing = Timing(
            stage=self._stage.name,
            id=item.id,
            system_id=self._stage.system_id,
            seconds_compute=seconds,
            seconds_audio=item.seconds_audio,
        )
        self._timings.append(timing)

    def commit(self) -> Counts:
        """Write the shard. Returns how many rows went in and what became of them."""
        stage, shard = self._stage, self._shard
        counts = Counts(
            rows_in=self._done + len(self._dropped) + len(self._failed),
            rows_out=len(self._rows),
            done=self._done,
            dropped=Counter(d.reason for d in self._dropped),
            failed=Counter(f.reason for f in self._failed),
            seconds=time.perf_counter() - self._began,
            seconds_audio=sum(item.seconds_audio or 0.0 for item in self._timings),
        )
        if counts.rows_in != shard.rows:
            found = f"{shard.rows} rows were planned, {counts.rows_in} were found"
            raise RuntimeError(f"{stage.name} {shard.name}: {found}")
        _commit(stage, shard, self._rows, self._dropped, self._failed, self._timings, counts)
        return counts


@functools.cache
def _settle_process() -> None:
    """One thread per library, for those loaded before `pipelines` set the environment: two BLAS threads sum in another
    order than one. And memory that was freed is kept.
    """
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=1)
    _keep_freed_memory()


@functools.cache
def _set_loaded_aside() -> None:
    """After the first shard, when what stays has been loaded: modules and compiled functions are some 200 000 objects,
    which the garbage collector need not look through again and again.
    """
    gc.collect()
    gc.freeze()


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES, MAPPED_BYTES = 256 << 20, 32 << 20


def _keep_freed_memory() -> None:
    """glibc hands the pages of a large array back to the system when it is freed, and the next array faults them in
    again one by one: a quarter of the time of a mixture. Here it keeps what lies free at the end of its heap, up to
    `KEPT_BYTES`; arrays of `MAPPED_BYTES` and more still come and go. Elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # a C library without mallopt
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _work(stage: Stage, item: Item, isolated: bool) -> list[Any]:
    if isolated:
        return isolate.call(stage.work, stage.settings, item.payload, timeout_s=stage.item_timeout_s)
    return stage.work(stage.settings, item.payload)


def _reason(error: Exception) -> str:
    name = type(error).__name__
    return {"Crashed": "crashed", "TimedOut": "timeout"}.get(name, name)


def _failure(stage: Stage, shard: Shard, item: Item, error: Exception) -> Failed:
    reason = _reason(error)
    text = "".join(traceback.format_exception(error))
    where = "".join(f"{f.name}:{f.line}\n" for f in traceback.extract_tb(error.__traceback__))
    return Failed(
        stage=stage.name,
        id=item.id,
        reason=reason,
        message=str(error) or reason,
        source_id=item.source_id,
        shard=shard.name,
        traceback_digest=hashlib.sha256(where.encode()).hexdigest()[: ids.ID_LENGTH],
        traceback=text,
    )


def _commit(
    stage: Stage,
    shard: Shard,
    rows: list[Any],
    dropped: list[Dropped],
    failed: list[Failed],
    timings: list[Timing],
    counts: Counts,
) -> None:
    """Write what was set aside, then the shard itself: its appearance is the commit."""
    _write_or_remove(stage.side_file("dropped", shard), dropped, Dropped)
    _write_or_remove(stage.side_file("failed", shard), failed, Failed)
    _write_or_remove(stage.side_file("timings", shard), timings, Timing)
    parquet.write_rows(
        stage.file(shard),
        rows,
        stage.row_type,
        digest=stage.shard_digest(shard),
        arrow=schema.arrow_schema(stage.row_type, stage.columns, stage.sample_rate),
        rows_in=counts.rows_in,
        done=counts.done,
        dropped=ids.canonical(dict(counts.dropped)).decode(),
        failed=ids.canonical(dict(counts.failed)).decode(),
    )


def _write_or_remove(uri: str, rows: Sequence[Any], row_type: type) -> None:
    if rows:
        parquet.write_rows(uri, rows, row_type)
    else:
        storage.remove(uri)


# ---------------------------------------------------------------------------------------------------- what is done


def is_done(stage: Stage, shard: Shard) -> Counts | None:
    """The counts of a shard that an earlier run finished with the same digest; None where it must be run."""
    if not storage.exists(stage.file(shard)):
        return None
    try:
        footer = parquet.read_footer(stage.file(shard))
    except UserError:  # torn, or no Parquet at all
        return None
    if footer.get("digest") != stage.shard_digest(shard) or footer.get("rows_in") != str(shard.rows):
        return None
    return Counts(
        rows_in=int(footer["rows_in"]),
        rows_out=int(footer["rows"]),
        done=int(footer["done"]),
        dropped=Counter(json.loads(footer["dropped"])),
        failed=Counter(json.loads(footer["failed"])),
    )


# ------------------------------------------------------------------------------------------------------ the driver


def run(
    stage: Stage,
    shards: Sequence[Shard],
    *,
    workers: int,
    budget: float = 0.001,
    retry_failed: bool = False,
    quiet: bool = False,
    keep: Collection[str] = (),
) -> Result:
    """Run a stage over shards with `workers` processes on Ray (0: in this process), skipping what is done.

    Stale temporary files and shards that neither this run has nor `keep` names are removed. `within_budget` says
    whether the share of failed rows is at most `budget`.
    """
    began = time.monotonic()
    found = _settled(stage, shards, keep, retry_failed)
    todo = [shard for shard in shards if found[shard.name] is None]
    resumed = sum((c for c in found.values() if c), Counts())
    with Progress(stage.label or stage.name, sum(s.rows for s in shards), resumed.rows_in, quiet) as progress:
        fresh = _all(stage, todo, workers, progress)
    return _result(resumed + fresh, fresh, len(shards), len(todo), time.monotonic() - began, budget)


def run_together(
    together: Together,
    shards: Sequence[Sequence[Shard]],
    *,
    workers: int,
    budget: float = 0.001,
    retry_failed: bool = False,
    quiet: bool = False,
) -> list[Result]:
    """`run` for several stages, with the shards of each; shards of one name are one piece of work."""
    began = time.monotonic()
    joint: dict[str, list[tuple[int, Shard]]] = {}
    resumed: list[Counts] = []
    for index, (stage, own) in enumerate(zip(together.stages, shards, strict=True)):
        found = _settled(stage, own, (), retry_failed)
        resumed.append(sum((c for c in found.values() if c), Counts()))
        for shard in own:
            if found[shard.name] is None:
                joint.setdefault(shard.name, []).append((index, shard))
    todo = [Shard(name, sum(s.rows for _, s in members), tuple(members)) for name, members in sorted(joint.items())]
    done = sum((c.rows_in for c in resumed), 0)
    with Progress(together.label or together.name, done + sum(s.rows for s in todo), done, quiet) as progress:
        fresh = _all(together, todo, workers, progress)
    seconds = time.monotonic() - began
    results = []
    for index, (stage, own) in enumerate(zip(together.stages, shards, strict=True)):
        made = [shard for members in joint.values() for i, shard in members if i == index]
        counts = [c for shard in made if (c := is_done(stage, shard))]
        share = sum(shard.rows for shard in made) / max(fresh.rows_in, 1)
        mine = replace(sum(counts, Counts()), seconds=fresh.seconds * share, seconds_audio=fresh.seconds_audio * share)
        results.append(_result(resumed[index] + mine, mine, len(own), len(made), seconds, budget))
    return results


def _settled(
    stage: Stage, shards: Sequence[Shard], keep: Collection[str], retry_failed: bool
) -> dict[str, Counts | None]:
    """The folder cleared of what is stale, and the counts of every shard that need not be run."""
    storage.sweep(stage.out)
    _remove_strangers(stage, {*keep, *(s.name for s in shards)})
    found = {shard.name: is_done(stage, shard) for shard in shards}
    return {name: None if counts and counts.failed and retry_failed else counts for name, counts in found.items()}


def _all(stage: Stage | Together, todo: Sequence[Shard], workers: int, progress: Progress) -> Counts:
    fresh = Counts()
    for counts in _in_process(stage, todo) if workers == 0 else _on_ray(stage, todo, workers):
        fresh += counts
        progress.advance(counts.rows_in)
    return fresh


def _result(total: Counts, fresh: Counts, shards: int, todo: int, seconds: float, budget: float) -> Result:
    return Result(
        counts=total,
        shards=shards,
        shards_resumed=shards - todo,
        seconds=seconds,
        core_seconds=fresh.seconds,
        within_budget=sum(total.failed.values()) <= budget * max(total.rows_in, 1),
    )


def _remove_strangers(stage: Stage, names: Collection[str]) -> None:
    for name in storage.listing(stage.out, "*.parquet"):
        if name.removesuffix(".parquet") not in names:
            shard = Shard(name.removesuffix(".parquet"), 0)
            for table in ("dropped", "failed", "timings"):
                storage.remove(stage.side_file(table, shard))
            storage.remove(storage.join(stage.out, name))


def _in_process(stage: Stage | Together, shards: Iterable[Shard]) -> Iterator[Counts]:
    for shard in shards:
        yield run_shard(stage, shard)


MAX_ATTEMPTS = 4


def _on_ray(stage: Stage | Together, shards: Sequence[Shard], workers: int) -> Iterator[Counts]:
    """Keep a bounded number of shards in flight; run a shard again, item by item, where its worker died or hung."""
    if not shards:
        return
    import ray

    from pipelines import cluster

    cluster.start(workers)
    pool = _Actors(stage, min(workers, len(shards))) if stage.actors else _Tasks(stage)
    queue = [(shard, 1) for shard in reversed(shards)]
    running: dict[Any, tuple[Shard, int, float]] = {}
    try:
        while queue or running:
            while queue and len(running) < workers and pool.ready():
                shard, attempt = queue.pop()
                running[pool.submit(shard, isolated=attempt > 1)] = (shard, attempt, time.monotonic())
            ready, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for reference in ready:
                shard, attempt, _ = running.pop(reference)
                outcome = pool.collect(reference)
                if isinstance(outcome, Counts):
                    yield outcome
                elif attempt >= MAX_ATTEMPTS:
                    raise UserError(
                        f"{stage.name} {shard.name}: its worker died {attempt} times ({outcome}). Is the machine out "
                        "of memory?"
                    )
                else:
                    warn(
                        f"{stage.name} {shard.name}: its worker died ({outcome}); running it again, each row in a "
                        "process of its own"
                    )
                    queue.append((shard, attempt + 1))
            for reference, (shard, attempt, since) in list(running.items()):
                if (
                    attempt == 1
                    and time.monotonic() - since > stage.item_timeout_s + shard.rows * stage.item_timeout_s / 10
                ):
                    pool.kill(reference)
    finally:
        pool.close(list(running))


class _Tasks:
    """Shards as Ray tasks: for stages without state."""

    def __init__(self, stage: Stage | Together) -> None:
        import ray

        self._ray = ray
        self._stage = ray.put(stage)
        remote: Any = ray.remote(run_shard)
        self._run = remote.options(max_retries=0, num_cpus=1, num_gpus=stage.num_gpus)

    def ready(self) -> bool:
        return True

    def submit(self, shard: Shard, isolated: bool) -> Any:
        return self._run.remote(self._stage, shard, isolated)

    def collect(self, reference: Any) -> Counts | str:
        return _collect(self._ray, reference)

    def kill(self, reference: Any) -> None:
        self._ray.cancel(reference, force=True)

    def close(self, running: list[Any]) -> None:
        for reference in running:
            self._ray.cancel(reference, force=True)


class _Runner:
    """A process that keeps what a stage loads (a model) from shard to shard."""

    def __init__(self, stage: Stage | Together) -> None:
        self.stage = stage

    def run(self, shard: Shard, isolated: bool) -> Counts:
        return run_shard(self.stage, shard, isolated)


class _Actors:
    """Shards through a pool of actors: for stages that hold a model. A dead actor is replaced."""

    def __init__(self, stage: Stage | Together, size: int) -> None:
        import ray

        self._ray = ray
        self._stage = stage
        remote: Any = ray.remote(_Runner)
        self._class = remote.options(max_restarts=0, num_cpus=1, num_gpus=stage.num_gpus)
        self._free = [self._class.remote(stage) for _ in range(size)]
        self._busy: dict[Any, Any] = {}

    def ready(self) -> bool:
        return bool(self._free)

    def submit(self, shard: Shard, isolated: bool) -> Any:
        actor = self._free.pop()
        reference = actor.run.remote(shard, isolated)
        self._busy[reference] = actor
        return reference

    def collect(self, reference: Any) -> Counts | str:
        actor = self._busy.pop(reference)
        outcome = _collect(self._ray, reference)
        self._free.append(actor if isinstance(outcome, Counts) else self._class.remote(self._stage))
        return outcome

    def kill(self, reference: Any) -> None:
        self._ray.kill(self._busy[reference])

    def close(self, running: list[Any]) -> None:
        for actor in [*self._free, *self._busy.values()]:
            self._ray.kill(actor)


def _collect(ray: Any, reference: Any) -> Counts | str:
    """A finished shard's counts, or why its worker died. What the shard itself raised is raised here, without Ray's
    wrapping.
    """
    try:
        counts: Counts = ray.get(reference)
        return counts
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.RayActorError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.TaskCancelledError,
        ray.exceptions.LocalRayletDiedError,
        ray.exceptions.NodeDiedError,
    ) as error:
        return type(error).__name__
