"""Witnesses: system files as a user writes them; identities that change with what is run and with nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import fsspec
import pytest

from manifests.errors import UserError
from manifests.schema import KeyText
from manifests.system import BUILTINS, SHIPPED, SystemSpec, identify, load_system

TEXT = """
name: my-model
kind: python
module: my_package.enhance:load
settings: {checkpoint: weights.pt, strength: 0.5}
sample_rate: 48000
assets: [weights.pt]
licence: MIT
"""


def spec(**changes: Any) -> SystemSpec:
    return SystemSpec.model_validate({"name": "m", "module": "a:b"} | changes)


def identity(given: SystemSpec, code: str | None = "c0de") -> str:
    return identify(given, code).system_id


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "system.yaml").write_text(TEXT)
    return tmp_path / "system.yaml"


# loading


@pytest.mark.parametrize("name", BUILTINS)
def test_builtins_go_by_their_name(name: str) -> None:
    found = load_system(name)
    assert (found.name, found.kind, found.module) == (name, "builtin", None)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_systems_go_by_their_name(name: str) -> None:
    found = load_system(name)
    assert (found.name, found.kind) == (name, "python")
    assert found.module is not None
    assert found.licence


def test_a_system_of_ones_own_is_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_system(str(file))
    assert (found.name, found.module, found.sample_rate) == ("my-model", "my_package.enhance:load", 48_000)
    assert found.resolved_settings() == {"checkpoint": str(file.parent / "weights.pt"), "strength": 0.5}
    monkeypatch.chdir(file.parent)
    assert load_system("system.yaml") == found  # from wherever it is named


def test_assets_are_relative_to_the_file_absolute_or_urls() -> None:
    here = spec(folder="/models/m")
    assert here.asset_path("w.pt") == "/models/m/w.pt"
    assert here.asset_path("/other/w.pt") == "/other/w.pt"
    assert here.asset_path("s3://bucket/w.pt") == "s3://bucket/w.pt"
    assert spec(folder="s3://bucket/m").asset_path("w.pt") == "s3://bucket/m/w.pt"


def test_a_system_behind_a_url_finds_its_assets() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/systems/m/system.yaml": TEXT.encode(), "/systems/m/weights.pt": b"weights"})
    found = load_system("memory://systems/m/system.yaml")
    assert found.resolved_settings()["checkpoint"] == "memory://systems/m/weights.pt"
    assert identify(found, None).asset_sha256[0].value == hashlib.sha256(b"weights").hexdigest()
    memory.rm("/systems", recursive=True)


def test_settings_that_are_no_assets_stay_as_they_are() -> None:
    found = spec(settings={"a": "w.pt", "b": ["w.pt"], "c": {"d": 1}, "e": "x"}, assets=["w.pt"], folder="/m")
    assert found.resolved_settings() == {"a": "/m/w.pt", "b": ["w.pt"], "c": {"d": 1}, "e": "x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nmodul: b:c", r"s\.yaml:2: unknown key 'modul' \(did you mean 'module'\?\)"),
        ("name: a", r"s\.yaml:1: kind python needs module: 'module:factory', got None"),
        ("name: a\nmodule: b", r"kind python needs module: 'module:factory', got 'b'"),
        ("name: a\nmodule: b:c:d", r"kind python needs module: 'module:factory', got 'b:c:d'"),
        ("name: oracel\nkind: builtin", r"unknown builtin system 'oracel' \(did you mean 'oracle'\?\)"),
        ("name: a/b\nmodule: b:c", r"s\.yaml:1: name: string should match pattern"),
        ("name: a\nmodule: b:c\nkind: onnx", r"s\.yaml:3: kind: input should be 'builtin' or 'python', got 'onnx'"),
        ("name: a\nmodule: b:c\ntimeout_s: 0", r"s\.yaml:3: timeout_s: input should be greater than 0, got 0"),
        ("module: b:c", r"s\.yaml:1: name: this key is required"),
        ("- a", r"s\.yaml: a mapping of keys is expected, got list"),
    ],
)
def test_a_mistake_in_a_system_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        load_system(str(tmp_path / "s.yaml"))


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(
        UserError, match=r"unknown system 'oracel' \(did you mean 'oracle'\?\); a system of your own is a"
    ):
        load_system("oracel")
    with pytest.raises(UserError, match=r"none\.yaml: no such system file"):
        load_system("none.yaml")


# identity


def test_an_id_is_the_name_and_eight_digits() -> None:
    name, digits = identity(spec(name="my-model")).rsplit("-", 1)
    assert name == "my-model"
    assert len(digits) == 8
    assert int(digits, 16) >= 0


def test_what_is_run_changes_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [
        spec(),
        spec(name="n"),
        spec(module="a:c"),
        spec(settings={"strength": 0.5}),
        spec(settings={"strength": 0.6}),
        spec(sample_rate=16_000),
    ]
    found = [identity(v) for v in variants] + [identity(spec(), "other"), identity(spec(), None)]
    monkeypatch.setattr("manifests.system.OUTPUT_VERSION", 1_000_000)
    found.append(identity(spec()))
    assert len(set(found)) == len(found)


def test_where_and_how_it_is_run_does_not() -> None:
    variants = [
        spec(),
        spec(folder="/elsewhere"),
        spec(timeout_s=3),
        spec(num_gpus=1),
        spec(licence="MIT", url="https://example.org", extra="systems"),
    ]
    assert len({identity(v) for v in variants}) == 1
    assert identity(spec(settings={"a": 1, "b": 2})) == identity(spec(settings={"b": 2, "a": 1}))


def test_other_weights_are_another_system(file: Path) -> None:
    before = identify(load_system(str(file)), None)
    assert before.asset_sha256 == [KeyText("weights.pt", hashlib.sha256(b"weights").hexdigest())]
    moved = file.parent / "moved"
    moved.mkdir()
    for name in ("weights.pt", "system.yaml"):
        (moved / name).write_bytes((file.parent / name).read_bytes())
    assert identify(load_system(str(moved / "system.yaml")), None) == before
    (file.parent / "weights.pt").write_bytes(b"trained on")
    assert identify(load_system(str(file)), None).system_id != before.system_id


def test_a_missing_asset_is_named(file: Path) -> None:
    (file.parent / "weights.pt").unlink()
    with pytest.raises(UserError, match=r"system 'my-model': asset .*/weights\.pt does not exist"):
        identify(load_system(str(file)), None)


def test_the_row_says_what_was_run() -> None:
    row = identify(spec(settings={"b": [1, "x"], "a": None}, sample_rate=8000, licence="MIT"), "c0de")
    assert row.settings == [KeyText("a", "null"), KeyText("b", '[1,"x"]')]
    assert (row.name, row.kind, row.sample_rate, row.licence, row.url) == ("m", "python", 8000, "MIT", None)
    assert row.asset_sha256 == [KeyText("code", "c0de")]
