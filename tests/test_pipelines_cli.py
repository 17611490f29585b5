"""The command line: one clear line and exit code 2 for a user's mistake, and an answer at once for --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli
from tests.conftest import ROOT

RECIPE = """\
name: tiny
seed: 1
clip_s: 2
splits: {train: 2, test: 2}
shares: {train: 1, test: 1}
noise: {snr_db: {uniform: [-5, 20]}}
"""


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that must fail with 2 says on standard error: one line that begins with the program's name."""
    assert cli.run(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("hubbub: ")
    return lines[0]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_help_answers_at_once() -> None:
    """0.3 s on an idle machine; what is asserted is its cause: no heavy import."""
    code = (
        "import sys; from pipelines import cli; cli.run(['--help']); "
        "heavy = {'ray', 'numpy', 'scipy', 'pandas', 'pyarrow', 'pydantic', 'numba', 'soundfile', 'matplotlib'}; "
        "sys.exit(','.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("scan", "plan", "generate", "replay", "check", "infer", "score", "report", "demo"):
        assert command in done.stdout


def test_both_names_are_the_same_program() -> None:
    outputs = [
        subprocess.run([*command, "version"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
        for command in (["hubbub"], [sys.executable, "-m", "pipelines"])
        if command[0] != "hubbub" or (Path(sys.executable).parent / "hubbub").exists()
        for command in [[str(Path(sys.executable).parent / "hubbub")] if command == ["hubbub"] else command]
    ]
    assert len(set(outputs)) == 1
    assert outputs[0].startswith("hubbub 0.")


def test_unknown_recipe_key(recipe: Path, demo_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(RECIPE + "rooms:\n  probabilty: 0.5\n")
    line = error(capsys, "generate", str(recipe), "-s", demo_table, "-o", str(tmp_path / "d"))
    assert line == f"hubbub: {recipe}:8: unknown key 'rooms.probabilty' (did you mean 'probability'?)"


def test_snr_range_upside_down(
    recipe: Path, demo_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(RECIPE.replace("[-5, 20]", "[20, -5]"))
    line = error(capsys, "plan", str(recipe), "-s", demo_table)
    assert ":6: noise.snr_db: uniform wants [low, high] with low <= high, got [20, -5]: swap the two" in line


def test_a_folder_without_audio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    line = error(capsys, "scan", f"speech={tmp_path}", "-o", str(tmp_path / "s.parquet"))
    assert "no audio files below this folder" in line
    assert "saw 1 other files" in line


def test_scan_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "write it as KIND=DIR" in error(capsys, "scan", "/data/clean")
    assert "no such folder" in error(capsys, "scan", "speech=/no/such/folder")
    assert "did you mean 'speech'?" in error(capsys, "scan", f"speach={tmp_path}")
    assert "no such index file" in error(capsys, "scan", "--index", "/no/index.csv")
    assert "nothing to scan" in error(capsys, "scan")


def test_an_output_folder_of_another_recipe(
    recipe: Path, demo_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "d")
    assert cli.run(["generate", str(recipe), "-s", demo_table, "-o", out, "-w", "0", "-q"]) == 0
    recipe.write_text(RECIPE.replace("seed: 1", "seed: 2"))
    capsys.readouterr()
    line = error(capsys, "generate", str(recipe), "-s", demo_table, "-o", out, "-w", "0", "-q")
    assert "holds a dataset of another recipe: seed: was 1, now 2" in line


def test_a_split_that_cannot_be_filled(
    recipe: Path, demo_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(RECIPE + "select: {speech: {speaker_id: demo_ada}}\n")
    line = error(capsys, "generate", str(recipe), "-s", demo_table, "-o", str(tmp_path / "d"))
    assert "speech: 1 group(s)" in line
    assert "cannot fill the splits train, test without leaking" in line


def test_a_system_whose_module_does_not_import(
    recipe: Path, demo_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "d")
    cli.run(["generate", str(recipe), "-s", demo_table, "-o", out, "-w", "0", "-q"])
    (tmp_path / "mine.yaml").write_text("name: mine\nmodule: not_there.at_all:load\n")
    capsys.readouterr()
    line = error(capsys, "infer", out, "-S", str(tmp_path / "mine.yaml"), "-w", "0")
    assert "system 'mine': module 'not_there.at_all' does not import" in line
    (tmp_path / "mine.yaml").write_text("name: mine\nmodul: not_there:load\n")
    assert "unknown key 'modul' (did you mean 'module'?)" in error(
        capsys, "infer", out, "-S", str(tmp_path / "mine.yaml")
    )


def test_commands_on_a_folder_that_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["infer", str(tmp_path), "-S", "silence"], ["score", str(tmp_path)], ["report", str(tmp_path)]):
        assert error(capsys, *command)
    assert "not a dataset" in error(capsys, "check", str(tmp_path))
    assert "not a dataset" in error(capsys, "replay", str(tmp_path), "abc")


def test_misspelt_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert "generat" in error(capsys, "generat")
    assert "--wrkers" in error(capsys, "scan", "--wrkers", "2")


def test_sources_that_are_missing_or_something_else(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no sources" in error(capsys, "plan", str(recipe))
    assert "no such sources table" in error(capsys, "plan", str(recipe), "-s", str(tmp_path / "none.parquet"))
    (tmp_path / "not.parquet").write_text("hello")
    assert "not a readable Parquet file" in error(capsys, "plan", str(recipe), "-s", str(tmp_path / "not.parquet"))


def test_plan_prints_rows_hours_bytes_and_core_hours(
    recipe: Path, demo_table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["plan", str(recipe), "-s", demo_table]) == 0
    out = capsys.readouterr().out
    assert "tiny: 4 mixtures, 0.00 h" in out
    assert "GB" in out
    assert "core-hours" in out


def test_too_many_failures_exit_with_1(
    recipe: Path, demo_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    from manifests import parquet
    from manifests.schema import Source

    rows = [dataclasses.replace(s, uri="/gone.flac") for s in parquet.read_rows(demo_table, Source)]
    parquet.write_rows(str(tmp_path / "gone.parquet"), rows, Source)
    out = str(tmp_path / "d")
    assert cli.run(["generate", str(recipe), "-s", str(tmp_path / "gone.parquet"), "-o", out, "-w", "0", "-q"]) == 1
    said = capsys.readouterr()
    assert "4 failed" in said.out
    assert "more than the failure budget of 0.10%" in said.err
