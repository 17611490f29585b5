"""Scaling of generation: the same planned job with two workers, one worker and none, in wall time.

The Ray session is warm: it was started, and both its processes have rendered, before the clock runs. What that took
stands beside the results (`start_s`: `ray.init`; `first_shards_s`: imports and the first shards in fresh workers).
Every run writes into a new folder, which is removed when its clock has stopped.

Keys
    workers_2   two workers over one: `ratio` is the speed-up, 2 at best.
    workers_0   no Ray at all over one worker: `ratio` is what Ray costs a run on one core, 1 at best.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import tempfile
import time
from dataclasses import replace
from typing import Any

from benchmarks import corpus, measure
from benchmarks.render import measured_rir
from pipelines import cluster, engine

__all__ = ["run"]

JOB_S = 45.0
ROWS_PER_SHARD = 100  # the default of recipes
WORKERS = (2, 1, 0)


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """Both keys of this benchmark. `rounds` beyond three are not needed: a run is long."""
    size = 2 if quick else ROWS_PER_SHARD
    with tempfile.TemporaryDirectory(prefix="hubbub-bench-") as folder:
        found = corpus.make(os.path.join(folder, "corpus"), clips=4 if quick else 60, others=2 if quick else None)
        probe = corpus.planned(found, measured_rir(4 * size, rows_per_shard=size), os.path.join(folder, "probe"))
        _wall_s(probe, folder, 0)
        rows = 8 * size if quick else _rows(len(probe.plans) / _wall_s(probe, folder, 0), size)
        job = corpus.planned(found, measured_rir(rows, rows_per_shard=size), os.path.join(folder, "job"))
        began = time.perf_counter()
        cluster.start(max(WORKERS))
        start_s = time.perf_counter() - began
        try:
            first_s = _wall_s(probe, folder, max(WORKERS))
            seconds = _walls(job, folder, min(rounds, 3))
        finally:
            cluster.stop()
    compare = functools.partial(measure.compared, items=rows, clock="wall", shards=len(job.shards))
    two = compare(seconds[2], seconds[1], peer_name="hubbub, 1 worker", job_s=round(min(seconds[1]), 1))
    none = compare(seconds[0], seconds[1], peer_name="hubbub, 1 worker")
    results = {
        "workers_2": two
        | {"efficiency": round(two["ratio"] / 2, 3), "start_s": round(start_s, 2), "first_shards_s": round(first_s, 2)},
        "workers_0": none,
    }
    return {"corpus": found.facts, "results": results}


def _rows(rows_per_s: float, size: int) -> int:
    """Whole shards, an even number of them, that keep one core busy for `JOB_S`."""
    return 2 * size * math.ceil(JOB_S * rows_per_s / (2 * size))


def _walls(job: corpus.Job, folder: str, rounds: int) -> dict[int, list[float]]:
    """Seconds of each run by number of workers, in turn. `_wall_s` stops its clock before it tidies up."""
    seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    for number in range(rounds):
        for workers in WORKERS[:: -1 if number % 2 else 1]:
            seconds[workers].append(_wall_s(job, folder, workers))
    return seconds


def _wall_s(job: corpus.Job, folder: str, workers: int) -> float:
    """Wall time of one run of the engine into a folder of its own."""
    out = tempfile.mkdtemp(dir=folder)
    stage = replace(job.stage, out=os.path.join(out, "mixtures"), aside=out)
    try:
        result = engine.run(stage, job.shards, workers=workers, quiet=True)
    finally:
        shutil.rmtree(out)
    if result.counts.rows_out != len(job.plans):
        raise RuntimeError(f"{result.counts.rows_out} of {len(job.plans)} mixtures were rendered")
    return result.seconds
