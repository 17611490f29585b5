"""From scores to the page: what the stage feeds it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from manifests import parquet
from manifests.errors import UserError
from manifests.recipe import Target, parse_recipe
from manifests.schema import Score, Source
from manifests.system import SystemSpec, load_system
from pipelines import generate, report, score
from pipelines.dataset import Dataset
from pipelines.infer import infer
from reports import card

RECIPE = """
name: for-report
seed: 9
clip_s: 2
splits: {train: 3, test: 8}
shares: {train: 1, test: 2}
noise: {snr_db: {uniform: [-5, 15]}}
write: {stems: [mixture, target, noise], rows_per_shard: 3}
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, demo_sources: list[Source]) -> Dataset:
    root = tmp_path_factory.mktemp("report") / "d"
    made, _ = generate.generate(parse_recipe(RECIPE), demo_sources, str(root), workers=0, quiet=True)
    for name in ("unprocessed", "silence", "oracle", "irm"):
        infer(made, load_system(name), workers=0, quiet=True)
    infer(made, SystemSpec(name="halved", module="tests.misbehaving:halve"), workers=0, quiet=True)
    score.score(made, metrics=("si_sdr", "stoi"), workers=0, quiet=True)
    return made


@pytest.fixture(scope="module")
def page(dataset: Dataset) -> Path:
    return Path(report.report(dataset, examples=2))


def leaderboard(page: Path) -> dict[tuple[str, str], dict[str, str]]:
    with page.with_name("leaderboard.csv").open() as handle:
        return {(row["system"], row["metric"]): row for row in csv.DictReader(handle)}


def test_the_means_are_those_of_the_scores(dataset: Dataset, page: Path) -> None:
    rows = parquet.read_rows(str(page.with_name("scores.parquet")), Score)
    found = leaderboard(page)
    assert len(found) == 5 * 2
    for (system, metric), row in found.items():
        values = [s.value for s in rows if s.system_id.startswith(f"{system}-") and s.metric == metric]
        assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-9)
        assert int(row["n"]) == 8


def test_the_order_is_sane_and_the_noisy_row_is_there(page: Path) -> None:
    found = leaderboard(page)
    for metric in ("si_sdr", "stoi"):
        means = [float(found[name, metric]["mean"]) for name in ("silence", "unprocessed", "irm", "oracle")]
        assert means == sorted(means)
    assert float(found["halved", "si_sdr"]["delta"]) == pytest.approx(0, abs=1e-3)  # SI-SDR does not see a gain


def test_only_what_was_entered_is_ranked_and_means_as_delivered_stand_beside(page: Path) -> None:
    for (system, metric), row in leaderboard(page).items():
        entered = system == "halved"
        assert (row["rank_low"], row["rank_high"]) == (("1", "1") if entered else ("", "")), (system, metric)
        assert row["first_share"] == ("1.0" if entered else "")
        assert (float(row["delivered"]), int(row["n_delivered"])) == (pytest.approx(float(row["mean"])), 8)
    text = page.read_text()
    assert "rank 1</span>" in text
    assert "As delivered" not in text  # every system delivered every item


def test_the_bins_hold_every_item(page: Path) -> None:
    with page.with_name("bins.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if (row["system"], row["metric"]) == ("unprocessed", "stoi")]
    assert sum(int(row["n"]) for row in rows) == 8
    assert {row["sparse"] for row in rows} == {"true"}  # eight items are too few for any bin


def test_examples_can_be_played_from_the_folder(page: Path) -> None:
    text = page.read_text()
    clips = [p.relative_to(page.parent) for p in (page.parent / "examples").rglob("*.flac")]
    assert len(clips) >= 2 * 4
    assert all(str(clip) in text for clip in clips)
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "synthetic" in text.lower()


def test_scores_that_are_out_of_date_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    (system,) = [s for s in dataset.systems() if s.name == "halved"]
    path = Path(dataset.path("estimates", system.system_id, "test-00000.parquet"))
    before = path.read_bytes()
    rows = dataset.estimates(system.system_id, "test-00000")
    parquet.write_rows(str(path), rows, type(rows[0]), digest="another")
    try:
        with pytest.raises(UserError, match=r"scores of halved are incomplete or out of date \(test-00000\)"):
            report.report(dataset, out=str(tmp_path))
    finally:
        path.write_bytes(before)


def test_the_card_says_that_nothing_leaks_and_what_is_in_it(dataset: Dataset) -> None:
    text = Path(dataset.path("card", "index.html")).read_text()
    assert "for-report" in text
    assert "CC0-1.0" in text
    assert "synthetic" in text.lower()


def test_every_kind_of_target_is_described() -> None:
    kinds = get_args(Target.model_fields["kind"].annotation)
    assert set(report.TARGETS) == set(kinds)
    said = report.TARGETS["direct_window"].format(**Target(kind="direct_window", window_ms=[1, 3]).model_dump())
    assert said == "the direct sound, 1 ms before to 3 ms after"


def test_the_card_gets_every_column_that_it_shows() -> None:
    shown = {column for column, *_ in (*card._MEASURES, *card._CATEGORIES)}
    assert shown <= set(report.MANIFEST_COLUMNS)


def test_a_metric_of_the_users_is_a_column_and_what_is_skipped_is_said(
    tmp_path: Path, demo_sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = generate.generate(parse_recipe(RECIPE), demo_sources, str(tmp_path / "d"), workers=0, quiet=True)
    for name in ("unprocessed", "silence", "oracle"):
        infer(made, load_system(name), workers=0, quiet=True)
    infer(made, SystemSpec(name="listener", module="tests.misbehaving:says_hello"), workers=0, quiet=True)
    spec = tmp_path / "mine.yaml"
    spec.write_text("name: mine\nmodule: tests.misbehaving:peak_metric\nneeds: estimate\nlow: 0\nhigh: 2\n")
    monkeypatch.setattr(score, "missing", lambda metric, models: "needs y" if metric.name == "mcd" else None)
    score.score(made, metrics=("wss", "mcd"), plug_ins=(str(spec),), workers=0, quiet=True)
    path = Path(report.report(made, examples=2))
    found = leaderboard(path)
    assert {metric for _, metric in found} == {"wss", "mine"}
    assert ("listener", "wss") not in found, "a system of text has no place in a table of audio"
    assert float(found["oracle", "wss"]["mean"]) == 0
    assert float(found["silence", "wss"]["mean"]) == 200
    assert float(found["silence", "mine"]["mean"]) == 0
    assert "mcd was skipped: needs y." in path.read_text()


def test_scores_are_broken_down_by_any_column_and_weighted(dataset: Dataset, tmp_path: Path) -> None:
    view = report.View(by="noise_class", cluster="mixture_id", weight="duration_s")
    path = Path(report.report(dataset, out=str(tmp_path / "r"), examples=0, view=view))
    with path.with_name("bins.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    known = {str(m.noise_class) for m in dataset.manifest()}
    assert {row["bin_column"] for row in rows} == {"noise_class"}
    assert {row["bin"] for row in rows} <= known | {"unknown"}
    per_system = [int(row["n"]) for row in rows if (row["system"], row["metric"]) == ("irm", "si_sdr")]
    (whole,) = {int(row["n"]) for row in leaderboard(path).values()}
    assert sum(per_system) == whole
    assert "mean, weighted by duration_s," in path.read_text()
    halves = report.View(by="level_dbfs", edges=(-30.0, -20.0))
    path = Path(report.report(dataset, out=str(tmp_path / "h"), examples=0, view=halves))
    with path.with_name("bins.csv").open() as handle:
        assert {row["bin"] for row in csv.DictReader(handle)} <= {"(-inf, -30)", "[-30, -20)", "[-20, inf)"}


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (report.View(by="snr"), r"--by: the manifest has no column 'snr' \(did you mean 'snr_db'\?\)"),
        (report.View(weight="noise_class"), "--weight needs a column of numbers, and 'noise_class' is none"),
        (report.View(by="noise_class", edges=(1.0, 2.0)), "--edges needs a column of numbers"),
        (report.View(edges=(2.0, 1.0)), "--edges must increase, got 2, 1"),
    ],
)
def test_a_view_that_cannot_be_is_refused(dataset: Dataset, view: report.View, message: str) -> None:
    with pytest.raises(UserError, match=message):
        report.report(dataset, view=view)
