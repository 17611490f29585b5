"""The README's commands run as they stand, on the embedded corpus."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from manifests.recipe import parse_recipe
from pipelines import cli
from tests.conftest import DEMO, ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_commands_run_and_end_with_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe, system), (source, _) = blocks("yaml"), blocks("python")
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "my-system.yaml").write_text(system)
    (tmp_path / "my_system.py").write_text(source)
    (tmp_path / "corpus").symlink_to(DEMO)
    monkeypatch.chdir(tmp_path)
    (commands,) = blocks("bash")
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "hubbub"
        workers = ["--workers", "0", "--quiet"] if arguments[0] not in ("plan", "report", "replay") else []
        assert cli.run([*arguments, *workers]) == 0, (line, capsys.readouterr())
    assert (tmp_path / "dataset" / "report" / "index.html").exists()
    assert "half" in (tmp_path / "dataset" / "report" / "leaderboard.md").read_text()


def test_the_readers_of_a_dataset_are_as_shown(tmp_path: Path) -> None:
    """The second Python block is what tests/test_pipelines_generate.py runs; here only that it names what exists."""
    (_, readers) = blocks("python")
    assert "manifest.parquet" in readers
    assert "mixtures/train-*.parquet" in readers


def test_every_command_of_the_table_exists() -> None:
    named = set(re.findall(r"`hubbub ([a-z-]+)", README))
    commands = [command for command in cli.app.registered_commands if command.callback]
    known = {command.name or command.callback.__name__ for command in commands if command.callback}
    known |= {str(group.name) for group in cli.app.registered_groups}
    assert named <= known
    assert {"scan", "plan", "generate", "check", "replay", "infer", "score", "report", "compare", "metrics"} <= named


def test_the_recipe_of_the_readme_is_a_recipe() -> None:
    assert parse_recipe(blocks("yaml")[0]).name == "my-first"


def test_its_picture_is_there() -> None:
    assert (ROOT / "reports" / "example.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
