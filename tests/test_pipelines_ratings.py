"""`hubbub ratings`: only ratings of this dataset get in, and the agreement is that of the stored scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manifests import parquet
from manifests.recipe import parse_recipe
from manifests.schema import Rating, Score, Source
from manifests.system import load_system
from pipelines import cli, comparison, generate, score
from pipelines.dataset import Dataset
from pipelines.infer import infer
from pipelines.ratings import ratings
from tests.test_pipelines_cli import error

RECIPE = """
name: for-ratings
seed: 5
clip_s: 2
splits: {train: 2, test: 4}
shares: {train: 1, test: 2}
noise: {snr_db: {uniform: [-5, 15]}}
"""
NAMES = ("silence", "unprocessed", "oracle")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, demo_sources: list[Source]) -> Dataset:
    root = tmp_path_factory.mktemp("ratings") / "d"
    made, _ = generate.generate(parse_recipe(RECIPE), demo_sources, str(root), workers=0, quiet=True)
    for name in NAMES:
        infer(made, load_system(name), workers=0, quiet=True)
    score.score(made, metrics=("si_sdr", "lsd"), workers=0, quiet=True)
    return made


@pytest.fixture
def scores(dataset: Dataset) -> dict[tuple[str, str, str], float]:
    rows = [
        row
        for path in sorted(Path(dataset.path("scores")).rglob("*.parquet"))
        for row in parquet.read_rows(str(path), Score)
    ]
    return {(r.system_id, r.mixture_id, r.metric): r.value for r in rows if r.value is not None}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "ratings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def one(dataset: Dataset, **other: Any) -> dict[str, Any]:
    mixture = next(row.mixture_id for row in dataset.manifest() if row.split == "test")
    return {"system": "oracle", "mixture_id": mixture, "scale": "MOS", "value": 4} | other


def test_agreement_with_people_who_hear_what_the_metric_says(
    dataset: Dataset, scores: dict[tuple[str, str, str], float], tmp_path: Path
) -> None:
    """Opinions that rise with SI-SDR agree with it entirely; those that fall with it entirely do not."""
    rows = [
        {"system": s, "mixture_id": m, "scale": scale, "value": sign * value, "n": 8, "std": 0.5}
        for (s, m, metric), value in scores.items()
        if metric == "si_sdr"
        for scale, sign in (("MOS", 1), ("annoyance", -1))
    ]
    found = json.loads(comparison.in_json(ratings(dataset, written(tmp_path, *rows), draws=200)))
    by = {(r["metric"], r["scale"], r["level"]): r for r in found["rows"]}
    assert set(by) == {
        (m, s, level) for m in ("si_sdr", "lsd") for s in ("MOS", "annoyance") for level in ("file", "system")
    }
    for level, n in (("file", 12), ("system", 3)):
        for name in ("pearson", "spearman", "kendall"):
            assert by["si_sdr", "MOS", level][name] == pytest.approx(1)
            assert by["si_sdr", "annoyance", level][name] == pytest.approx(-1)
        assert by["si_sdr", "MOS", level]["n"] == n
        assert (by["si_sdr", "MOS", level]["agrees"], by["si_sdr", "annoyance", level]["agrees"]) == (True, False)
        assert by["lsd", "MOS", level]["kendall"] > 0.5  # lower is better, and agreement is positive all the same
    assert by["si_sdr", "MOS", "file"]["rmse"] == pytest.approx(0, abs=1e-6)
    assert by["si_sdr", "MOS", "system"]["rmse"] is None  # three points leave a cubic no freedom
    stored = parquet.read_rows(dataset.path("ratings.parquet"), Rating)
    assert len(stored) == len({row.rating_id for row in stored}) == 24
    assert {(r.system_id, r.mixture_id): r.value for r in stored if r.scale == "MOS"} == {
        (s, m): value for (s, m, metric), value in scores.items() if metric == "si_sdr"
    }
    assert {(r.n, r.std, r.rater) for r in stored} == {(8, 0.5, None)}


def test_votes_by_name_of_the_system(dataset: Dataset, tmp_path: Path) -> None:
    votes = [one(dataset, rater=f"r{k}", value=k) for k in range(3)] + [one(dataset), one(dataset)]
    found = ratings(dataset, written(tmp_path, *votes), draws=50)
    stored = parquet.read_rows(dataset.path("ratings.parquet"), Rating)
    assert [r.value for r in stored] == [0, 1, 2, 4, 4]
    assert {r.system_id.rsplit("-", 1)[0] for r in stored} == {"oracle"}
    assert len({r.rating_id for r in stored}) == 5
    assert (found.inputs[0]["rows"], found.inputs[0]["used"]) == (5, 5)
    again = ratings(dataset, written(tmp_path, *votes), draws=50)
    assert any("replaces the 5 ratings" in note for note in again.notes)
    assert parquet.read_rows(dataset.path("ratings.parquet"), Rating) == stored
    assert {(row["metric"], row["n"]) for row in again.rows if row["level"] == "file"} == {("si_sdr", 1), ("lsd", 1)}
    assert all(row["kendall"] is None for row in again.rows)  # one point agrees with nothing


def test_ratings_of_what_is_not_scored_are_named(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the test split is run by default."""
    train = next(row.mixture_id for row in dataset.manifest() if row.split == "train")
    table = written(tmp_path, one(dataset, mixture_id=train), one(dataset, scale="MUSHRA"))
    assert cli.run(["ratings", dataset.root, table, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "1 of 2 ratings are of estimates without scores; they are stored and agree with nothing" in found["notes"]
    status = {(row["metric"], row["scale"]): (row["n"], row["status"], row["reason"]) for row in found["rows"]}
    assert status["si_sdr", "MOS"] == (0, "skipped", "no_estimate_has_both")
    assert status["si_sdr", "MUSHRA"] == (1, "ok", None)
    assert cli.run(["ratings", dataset.root, table]) == 0
    assert "no_estimate_has_both" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"system": "orcale"}, r"line 2, column 'system': expected a system of the dataset (did you mean 'oracle'?)"),
        ({"mixture_id": "0" * 16}, "line 2, column 'mixture_id': expected a mixture of the dataset, got '0000"),
        ({"value": "good"}, "line 2, column 'value': expected a number, got 'good'"),
        ({"scale": ""}, "line 2, column 'scale': expected a name, got nothing"),
        ({"n": 0}, "line 2, column 'n': expected a whole number from 1, got 0"),
        ({"std": -1}, "line 2, column 'std': expected a number from 0, got -1"),
        (
            {"rater": "r", "value": 1},
            "line 2, column 'rater': expected one vote of a rater on an estimate and scale (line 1",
        ),
    ],
)
def test_ratings_of_something_else_are_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], message: str
) -> None:
    before = Path(dataset.path("ratings.parquet"))
    kept = before.read_bytes() if before.exists() else None
    table = written(tmp_path, one(dataset, rater="r"), one(dataset, rater="q") | wrong)
    assert message in error(capsys, "ratings", dataset.root, table)
    assert (before.read_bytes() if before.exists() else None) == kept


def test_what_the_dataset_lacks(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], demo_sources: list[Source]
) -> None:
    table = written(tmp_path, one(dataset))
    assert "no column 'scale'" in error(capsys, "ratings", dataset.root, written(tmp_path, {"system": "x", "value": 1}))
    table = written(tmp_path, one(dataset))
    assert "--cluster speaker: the manifest has no such column" in error(
        capsys, "ratings", dataset.root, table, "--cluster", "speaker"
    )
    assert "no finished dataset here" in error(capsys, "ratings", str(tmp_path / "nowhere"), table)
    fresh, _ = generate.generate(parse_recipe(RECIPE), demo_sources, str(tmp_path / "f"), workers=0, quiet=True)
    assert "no systems here; run 'hubbub infer' first" in error(capsys, "ratings", fresh.root, table)
    infer(fresh, load_system("oracle"), workers=0, quiet=True)
    found = ratings(fresh, table, draws=50)
    assert found.rows == []
    assert "nothing to agree with: no metric is scored yet ('hubbub score'), then run this again" in found.notes
