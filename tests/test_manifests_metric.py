"""Metrics of the user's: what their YAML files may say, and what determines them."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import UserError
from manifests.metric import MetricSpec, identify, load_metric

MINE = "name: mine\nmodule: mine:load\nneeds: estimate\nlow: 1\nhigh: 5\n"


def load(folder: Path, text: str) -> MetricSpec:
    path = folder / "mine.yaml"
    path.write_text(text)
    return load_metric(str(path))


def test_a_metric_has_what_its_file_says(tmp_path: Path) -> None:
    spec = load(tmp_path, MINE)
    assert (spec.name, spec.needs, spec.better, spec.low, spec.high) == ("mine", "estimate", "higher", 1, 5)
    assert spec.folder == str(tmp_path)
    assert spec.sample_rate is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINE + "hihg: 3\n", r"mine.yaml:6: unknown key 'hihg' \(did you mean 'high'\?\)"),
        (MINE.replace("low: 1\n", ""), "finite bounds, low below high, got low None, high 5"),
        (MINE.replace("low: 1", "low: 5"), "finite bounds, low below high, got low 5"),
        (MINE.replace("high: 5", "high: .inf"), "finite bounds"),
        (MINE.replace("mine:load", "mine"), "kind metric needs module: 'module:factory', got 'mine'"),
        (MINE.replace("estimate", "everything"), "needs"),
        ("kind: recogniser\nname: asr\n", "kind recogniser needs module"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


def test_a_recogniser_needs_no_bounds(tmp_path: Path) -> None:
    assert load(tmp_path, "kind: recogniser\nname: asr\nmodule: mine:load\n").kind == "recogniser"


def test_a_missing_file_and_a_missing_asset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such metric file"):
        load_metric(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(UserError, match=r"metric 'mine': asset .*w.pt does not exist"):
        identify(load(tmp_path, MINE + "assets: [w.pt]\n"), None)


def test_code_settings_and_assets_make_another_metric_and_the_title_does_not(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"1")
    first = identify(load(tmp_path, MINE + "assets: [w.pt]\n"), "code")
    assert first == identify(load(tmp_path, MINE + "assets: [w.pt]\ntitle: Mine\n"), "code")
    assert first != identify(load(tmp_path, MINE + "assets: [w.pt]\n"), "other code")
    assert first != identify(load(tmp_path, MINE + "assets: [w.pt]\nsettings: {a: 1}\n"), "code")
    (tmp_path / "w.pt").write_bytes(b"2")
    assert first != identify(load(tmp_path, MINE + "assets: [w.pt]\n"), "code")
