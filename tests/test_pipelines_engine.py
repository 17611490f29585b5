"""The engine: same bytes whatever happens, every row accounted for."""

from __future__ import annotations

import gc
import hashlib
import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manifests import parquet
from manifests.errors import UserError
from manifests.schema import Dropped, Failed, Finding, Timing
from pipelines import engine
from tests import toys

SHARDS = [engine.Shard(f"part-{i:05d}", 5) for i in range(6)]
ROWS = 30


@pytest.fixture
def trace(tmp_path: Path) -> str:
    folder = tmp_path / "trace"
    folder.mkdir()
    return str(folder)


def hashes(root: Path) -> dict[str, str]:
    """Every file of a run except the timings."""
    files = [p for p in sorted(root.rglob("*.parquet")) if "timings" not in p.parts]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def findings(root: Path) -> list[str]:
    return [
        row.mixture_id for p in sorted((root / "out").glob("*.parquet")) for row in parquet.read_rows(str(p), Finding)
    ]


FAULTS = {"refuse": ("part-00001/2",), "raises": ("part-00002/0", "part-00002/1")}


@pytest.mark.ray
@pytest.mark.parametrize("actors", [False, True], ids=["tasks", "actors"])
def test_the_number_of_workers_and_the_order_change_no_byte(
    tmp_path: Path, trace: str, ray_session: None, actors: bool
) -> None:
    toy = toys.Toy(trace, **FAULTS)
    engine.run(toys.stage(tmp_path / "w0", toy), SHARDS, workers=0, budget=1, quiet=True)
    expected = hashes(tmp_path / "w0")
    assert len(expected) == len(SHARDS) + 2  # and one file of dropped, one of failed rows
    for workers in (1, 2):
        shuffled = random.Random(workers).sample(SHARDS, len(SHARDS))
        root = tmp_path / f"w{workers}"
        engine.run(toys.stage(root, toy, actors=actors), shuffled, workers=workers, budget=1, quiet=True)
        assert hashes(root) == expected


def test_rows_in_are_rows_out_and_dropped_and_failed(tmp_path: Path, trace: str) -> None:
    result = engine.run(toys.stage(tmp_path, toys.Toy(trace, **FAULTS)), SHARDS, workers=0, budget=1, quiet=True)
    counts = result.counts
    assert counts.plain() == {
        "rows_in": ROWS,
        "rows_out": 27,
        "done": 27,
        "dropped": {"too_odd": 1},
        "failed": {"ZeroDivisionError": 2},
    }
    (dropped,) = parquet.read_rows(str(tmp_path / "dropped" / "toy-part-00001.parquet"), Dropped)
    assert (dropped.id, dropped.reason, dropped.source_id) == ("part-00001/2", "too_odd", "source-2")
    failed = parquet.read_rows(str(tmp_path / "failed" / "toy-part-00002.parquet"), Failed)
    assert [f.id for f in failed] == ["part-00002/0", "part-00002/1"]
    assert failed[0].traceback_digest == failed[1].traceback_digest  # the same bug
    assert "cannot be divided" in str(failed[0].traceback)
    assert len(findings(tmp_path)) == 27
    timings = [t for p in (tmp_path / "timings").glob("*") for t in parquet.read_rows(str(p), Timing)]
    assert len(timings) == ROWS


@pytest.mark.parametrize(("budget", "within"), [(0.06, False), (0.07, True)])
def test_the_failure_budget_is_a_share_of_all_rows(tmp_path: Path, trace: str, budget: float, within: bool) -> None:
    toy = toys.Toy(trace, **FAULTS)  # 2 of 30 rows fail; the dropped one does not count
    assert engine.run(toys.stage(tmp_path, toy), SHARDS, workers=0, budget=budget, quiet=True).within_budget is within


def test_done_shards_are_not_run_again_and_count_all_the_same(tmp_path: Path, trace: str) -> None:
    toy = toys.Toy(trace, **FAULTS)
    first = engine.run(toys.stage(tmp_path, toy), SHARDS, workers=0, budget=1, quiet=True)
    for path in Path(trace).iterdir():
        path.unlink()
    (tmp_path / "out" / "part-00003.parquet").unlink()
    again = engine.run(toys.stage(tmp_path, toy), SHARDS, workers=0, budget=1, quiet=True)
    assert again.shards_resumed == 5
    assert again.counts.plain() == first.counts.plain()
    assert sorted(p.name for p in Path(trace).iterdir()) == [f"part-00003_{i}" for i in range(5)]


@pytest.mark.parametrize("change", ["digest", "rows", "shard digest", "torn file"])
def test_a_shard_of_another_run_is_run_again(tmp_path: Path, trace: str, change: str) -> None:
    toy = toys.Toy(trace)
    shards = SHARDS[:1]
    engine.run(toys.stage(tmp_path, toy), shards, workers=0, quiet=True)
    stage = toys.stage(tmp_path, toy, digest="other" if change == "digest" else "toy")
    if change == "rows":
        shards = [engine.Shard("part-00000", 6)]
    if change == "shard digest":
        shards = [engine.Shard("part-00000", 5, digest="other")]
    if change == "torn file":
        path = tmp_path / "out" / "part-00000.parquet"
        path.write_bytes(path.read_bytes()[:-20])
    assert engine.run(stage, shards, workers=0, quiet=True).shards_resumed == 0


def test_failed_rows_are_tried_again_only_when_asked(tmp_path: Path, trace: str) -> None:
    engine.run(toys.stage(tmp_path, toys.Toy(trace, raises=("part-00002/0",))), SHARDS, workers=0, budget=1, quiet=True)
    mended = toys.stage(tmp_path, toys.Toy(trace))
    assert engine.run(mended, SHARDS, workers=0, budget=1, quiet=True).counts.failed
    result = engine.run(mended, SHARDS, workers=0, budget=1, quiet=True, retry_failed=True)
    assert (result.shards_resumed, result.counts.failed) == (5, {})
    assert not list((tmp_path / "failed").glob("*"))  # the record of the failure is gone with it


def test_files_of_shards_that_the_run_does_not_have_are_removed(tmp_path: Path, trace: str) -> None:
    toy = toys.Toy(trace, refuse=("part-00005/0",))
    engine.run(toys.stage(tmp_path, toy), SHARDS, workers=0, quiet=True)
    stray = tmp_path / "out" / ".part-00001.parquet.123.hubbub-tmp"
    stray.write_bytes(b"half a shard")
    engine.run(toys.stage(tmp_path, toy), SHARDS[:5], workers=0, quiet=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"part-0000{i}.parquet" for i in range(5)]
    assert not list((tmp_path / "dropped").glob("*"))


@pytest.mark.ray
def test_a_row_that_kills_its_worker_is_recorded_and_the_rest_is_kept(
    tmp_path: Path, trace: str, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = toys.Toy(trace, dies=("part-00001/3",))
    result = engine.run(toys.stage(tmp_path, toy), SHARDS[:2], workers=2, budget=1, quiet=True)
    assert result.counts.plain() | {"rows_out": 9, "failed": {"crashed": 1}} == result.counts.plain()
    (failed,) = parquet.read_rows(str(tmp_path / "failed" / "toy-part-00001.parquet"), Failed)
    assert failed.id == "part-00001/3"
    assert "SIGKILL" in failed.message
    assert "its worker died" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.parametrize("actors", [False, True], ids=["tasks", "actors"])
def test_a_worker_killed_from_outside_changes_no_byte(
    tmp_path: Path, trace: str, ray_session: None, actors: bool
) -> None:
    engine.run(toys.stage(tmp_path / "calm", toys.Toy(trace)), SHARDS, workers=0, quiet=True)
    for path in Path(trace).iterdir():
        path.unlink()
    stage = toys.stage(tmp_path / "killed", toys.Toy(trace, dies_once=("part-00000/4", "part-00004/0")), actors=actors)
    result = engine.run(stage, SHARDS, workers=2, quiet=True)
    assert result.counts.done == ROWS
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "calm")


@pytest.mark.ray
def test_a_row_that_hangs_is_stopped_and_recorded(tmp_path: Path, trace: str, ray_session: None) -> None:
    stage = toys.stage(tmp_path, toys.Toy(trace, hangs=("part-00000/1",)), item_timeout_s=2.0)
    result = engine.run(stage, SHARDS[:1], workers=1, budget=1, quiet=True)
    assert result.counts.plain() | {"done": 4, "failed": {"timeout": 1}} == result.counts.plain()


@pytest.mark.ray
@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_mistake_found_in_a_worker_reaches_the_user_as_it_was(
    tmp_path: Path, trace: str, ray_session: None, workers: int
) -> None:
    stage = toys.stage(tmp_path, toys.Toy(trace, user_error=("part-00000/1",)))
    with pytest.raises(UserError, match=r"^part-00000/1 was asked for wrongly$"):
        engine.run(stage, SHARDS[:1], workers=workers, quiet=True)


def test_a_shard_with_fewer_rows_than_planned_is_a_mistake_of_ours(
    tmp_path: Path, trace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = toys.stage(tmp_path, toys.Toy(trace))
    short = engine.Stage(**{**stage.__dict__, "items": lambda settings, shard: list(toys.items(settings, shard))[1:]})
    with pytest.raises(RuntimeError, match="5 rows were planned, 4 were found"):
        engine.run(short, SHARDS[:1], workers=0, quiet=True)


DRIVER = """
import sys
from pathlib import Path
from pipelines import engine
from tests import toys
root, trace, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
shards = [engine.Shard(f"part-{i:05d}", 5) for i in range(6)]
toy = toys.Toy(trace, sleep_s=0.1, refuse=("part-00001/2",))
engine.run(toys.stage(root, toy), shards, workers=workers, budget=1, quiet=True)
"""


def test_a_killed_driver_is_completed_by_a_second_run(tmp_path: Path, trace: str) -> None:
    toy = toys.Toy(trace, sleep_s=0.1, refuse=("part-00001/2",))
    root = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(root), trace, "0"])
    deadline = time.monotonic() + 30
    while not (root / "out" / "part-00001.parquet").exists():
        assert time.monotonic() < deadline, "the driver never wrote a shard"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (root / "out" / "part-00005.parquet").exists()  # it was in the middle
    result = engine.run(toys.stage(root, toy), SHARDS, workers=0, budget=1, quiet=True)
    assert result.shards_resumed >= 2
    engine.run(toys.stage(tmp_path / "calm", toy), SHARDS, workers=0, budget=1, quiet=True)
    assert hashes(root) == hashes(tmp_path / "calm")


FAULTS_OF_ARRAYS = """
import resource, sys
import numpy as np
from pipelines import engine
if sys.argv[1] == "settled":
    engine._settle_process()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(10**6, np.float32) + np.ones(10**6, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is asked to keep memory")
def test_memory_that_was_freed_is_not_faulted_in_again() -> None:
    """Three arrays of 4 MB, twenty times: 20 000 pages where each comes from the system."""

    def faults(how: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", FAULTS_OF_ARRAYS, how]))

    assert faults("settled") < 100
    assert faults("as it comes") > 5000


def test_what_the_first_shard_loads_is_collected_no_more(tmp_path: Path, trace: str) -> None:
    engine.run(toys.stage(tmp_path, toys.Toy(trace)), SHARDS[:1], workers=0, quiet=True)
    assert gc.get_freeze_count() > 10_000
