"""Witnesses: copies of a module in other folders, compiled by other processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manifests import compiled

ROOT = Path(__file__).resolve().parents[1]

MODULE = """
from manifests.compiled import kernel

FACTOR = 3


@kernel(error_model="numpy")
def scaled(x):
    return FACTOR * x / 0
"""

CALL = """
import tiny
print(tiny.scaled(2.0), sum(tiny.scaled._cache_misses.values()), sum(tiny.scaled._cache_hits.values()))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def copy(folder: Path, source: str = MODULE, age_s: float = 0.0) -> Path:
    folder.mkdir()
    (folder / "tiny.py").write_text(source)
    os.utime(folder / "tiny.py", (1e9 - age_s, 1e9 - age_s))
    return folder


def environment(folder: Path, cache: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA") and k != "XDG_CACHE_HOME"}
    return {
        **kept,
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": str(cache),
    }


def start(folder: Path, cache: Path, code: str = CALL, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment(folder, cache), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.split(), err


def run(folder: Path, cache: Path, code: str = CALL, **variables: str) -> list[str]:
    out, err = result(start(folder, cache, code, **variables))
    assert err == ""
    return out


def files(cache: Path) -> list[Path]:
    return sorted((cache / "hubbub" / "kernels").iterdir())


def test_a_copy_elsewhere_does_not_compile_and_changed_content_does(tmp_path: Path, cache: Path) -> None:
    first = copy(tmp_path / "first")
    assert run(first, cache) == ["inf", "1", "0"]
    assert [f.name[:12] for f in files(cache)] == ["tiny.scaled-"]
    second = copy(tmp_path / "second", age_s=1000)
    shutil.rmtree(first)
    assert run(second, cache) == ["inf", "0", "1"]
    third = copy(tmp_path / "third", MODULE.replace("FACTOR = 3", "FACTOR = -3"))
    assert run(third, cache) == ["-inf", "1", "0"]
    assert run(second, cache) == ["inf", "0", "1"]
    assert len(files(cache)) == 2


def test_folders_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/numba")
    assert compiled.folder() == "/numba/hubbub/kernels"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert compiled.folder() == "/caches/hubbub/kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert compiled.folder() == "/home/someone/.cache/hubbub/kernels"


def test_where_nothing_can_be_written_it_compiles_in_memory(tmp_path: Path) -> None:
    folder = copy(tmp_path / "first")
    (tmp_path / "file").write_text("no folder can be made below this")
    assert run(folder, tmp_path / "file") == ["inf", "1", "0"]
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.py"]


@pytest.mark.parametrize("keep", [0, 10, 32, 39])
def test_what_is_not_whole_is_not_read(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "folder" / "name"
    compiled._write(str(path), b"content")
    assert compiled._read(str(path)) == b"content"
    assert [p.name for p in path.parent.iterdir()] == ["name"]
    whole = path.read_bytes()
    path.write_bytes(whole[:keep] if keep < len(whole) else whole[:-1] + b"?")
    assert compiled._read(str(path)) is None


def test_processes_that_compile_at_once_do_not_disturb_each_other(tmp_path: Path, cache: Path) -> None:
    both = CALL.replace("2.0", "2").replace("print", "tiny.scaled(1.0); print")
    processes = [start(copy(tmp_path / str(n)), cache, CALL if n % 2 else both) for n in range(2)]
    for process in processes:
        out, err = result(process)
        assert (out[0], err) == ("inf", "")
    assert run(tmp_path / "0", cache, both) == ["inf", "0", "2"]
    assert len(files(cache)) == 2


def test_it_is_said_once_when_compiling_takes_long_and_never_when_it_does_not(tmp_path: Path, cache: Path) -> None:
    """With a patience of 1 ms in place of 2 s."""
    impatient = "from manifests import compiled; compiled._PATIENCE_S = 1e-3\n" + CALL + "tiny.scaled(2)\n"
    folder = copy(tmp_path / "first")
    _, err = result(start(folder, cache, impatient))
    assert err == "hubbub: compiling its kernels for this machine, once; this takes some seconds\n"
    assert run(folder, cache, impatient) == ["inf", "0", "1"]


def test_compiling_is_counted_together_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "_PATIENCE_S", 0.3)
    watch = compiled._Watch()
    for _ in range(2):
        watch.start()
        watch.start()
        time.sleep(0.1)
        watch.stop()
        watch.stop()
        time.sleep(0.3)
    assert capsys.readouterr().err == ""
    for said in (compiled._NOTICE, ""):
        watch.start()
        time.sleep(0.4)
        watch.stop()
        assert capsys.readouterr().err == said


def test_a_numba_that_is_too_different_caches_its_own_way(tmp_path: Path, cache: Path) -> None:
    strange = "from manifests import compiled; compiled._Result = None\n" + CALL
    folder = copy(tmp_path / "first")
    assert run(folder, cache, strange) == ["inf", "1", "0"]
    assert list(folder.glob("__pycache__/tiny.scaled-*.nbc"))
    assert not (cache / "hubbub").exists()


def test_code_without_a_file_compiles_in_memory(tmp_path: Path, cache: Path) -> None:
    code = MODULE + "print(scaled(2.0))"
    assert run(copy(tmp_path / "first"), cache, code) == ["inf"]


def test_manifests_do_not_import_numba(tmp_path: Path, cache: Path) -> None:
    code = "import sys, manifests, manifests.recipe, manifests.schema; print('numba' in sys.modules)"
    assert run(copy(tmp_path / "first"), cache, code) == ["False"]
