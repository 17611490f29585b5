"""`hubbub ratings`: what people said of a dataset's systems, and how each scored metric agrees with them.

Conventions
    A table of ratings has the columns system (name or id), mixture_id, scale and value; rater, n and std where known.
    Each row is one vote, or the mean of `n` votes with their standard deviation; larger is better on every scale. An
    unknown system or mixture is an error: ratings are of this dataset or of none. They are written to
    `ratings.parquet` of the dataset, which holds one import. Predicted scores never go there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eval import agreement
from eval.catalogue import Metric
from eval.statistics import DRAWS
from manifests import ids, parquet, storage, tables
from manifests.errors import UserError
from manifests.schema import Rating
from manifests.tables import Table
from pipelines.comparison import Comparison, input_row
from pipelines.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RATINGS", "ratings"]

RATINGS = "ratings.parquet"

USUAL = {
    "system": ("system_id", "system_name"),
    "mixture_id": ("mixture",),
    "scale": (),
    "value": ("rating", "mos"),
    "rater": ("rater_id", "listener", "listener_id"),
    "n": ("n_votes",),
    "std": (),
}


def ratings(
    dataset: Dataset,
    table: str,
    *,
    cluster: str = "speaker_id",
    column: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> Comparison:
    """Check and store the ratings of `table`, and compare every metric with every scale."""
    manifest = dataset.path("manifest.parquet")
    if not storage.exists(manifest):
        raise UserError(f"{dataset.root}: no finished dataset here (no manifest.parquet)")
    known = parquet.read_schema_names(manifest)
    if cluster not in known:
        raise UserError(f"--cluster {cluster}: the manifest has no such column{ids.nearest(cluster, known)}")
    conditions = parquet.read_table(manifest, ["mixture_id", cluster]).to_pandas()
    given = tables.read(table)
    tables.check_mapping(column or {}, USUAL, [given])
    given = given.named(column or {}, USUAL)
    rows = _checked(given, _systems(dataset), set(conditions.mixture_id))
    out = Comparison("ratings", {"cluster": cluster, "scales": sorted({row.scale for row in rows})})
    out.inputs.append(input_row(given, None, {}))
    _write(dataset, rows, out)
    _agree(dataset, rows, conditions, cluster, draws, out)
    return out


def _systems(dataset: Dataset) -> dict[str, list[str]]:
    """Ids by what a system may be called: its id, or its name."""
    found: dict[str, list[str]] = {}
    for system in dataset.systems():
        for name in {system.system_id, system.name}:
            found.setdefault(name, []).append(system.system_id)
    if not found:
        raise UserError(f"{dataset.root}: no systems here; run 'hubbub infer' first")
    return found


def _checked(table: Table, systems: Mapping[str, Sequence[str]], mixtures: set[str]) -> list[Rating]:
    """Ratings of known systems and mixtures, each vote of a rater once."""
    scales, values = table.names("scale"), table.numbers("value")
    raters = table.texts("rater") if "rater" in table.columns else [None] * len(table)
    votes = table.optional_numbers("n", low=1, whole=True) if "n" in table.columns else [None] * len(table)
    spread = table.optional_numbers("std", low=0) if "std" in table.columns else [None] * len(table)
    seen: dict[tuple[str | None, ...], int] = {}
    anonymous: Counter[tuple[str | None, ...]] = Counter()
    rows: list[Rating] = []
    for index, (name, mixture) in enumerate(zip(table.names("system"), table.names("mixture_id"), strict=True)):
        of_name = systems.get(name, ())
        if len(of_name) != 1:
            hint = f" (two are called so: {', '.join(of_name)})" if of_name else ids.nearest(name, systems)
            raise table.wrong(index, "system", f"a system of the dataset{hint}")
        if mixture not in mixtures:
            raise table.wrong(index, "mixture_id", "a mixture of the dataset")
        rater = raters[index] or None
        key = (of_name[0], mixture, scales[index], rater)
        if rater is not None and key in seen:
            before = f"{table.unit} {table.places[seen[key]]}"
            raise table.wrong(index, "rater", f"one vote of a rater on an estimate and scale ({before} is one)")
        seen[key] = index
        anonymous[key] += 1  # votes without a rater are told apart by their order
        n = votes[index]
        rows.append(
            Rating(
                rating_id=ids.short(["rating", *key, anonymous[key]]),
                system_id=of_name[0],
                mixture_id=mixture,
                scale=scales[index],
                value=values[index],
                rater=rater,
                n=None if n is None else int(n),
                std=spread[index],
            )
        )
    return rows


def _write(dataset: Dataset, rows: Sequence[Rating], out: Comparison) -> None:
    uri = dataset.path(RATINGS)
    if storage.exists(uri):
        out.notes.append(f"{uri}: replaces the {parquet.row_count(uri)} ratings that were imported before")
    parquet.write_rows(uri, rows, Rating, digest=ids.digest([asdict(row) for row in rows]))
    out.notes.append(f"{uri}: {len(rows)} ratings of {len({row.system_id for row in rows})} systems")


def _agree(
    dataset: Dataset, rows: Sequence[Rating], conditions: pd.DataFrame, cluster: str, draws: int, out: Comparison
) -> None:
    import pandas as pd

    scores, metrics = _scores(dataset)
    if not metrics:
        out.notes.append("nothing to agree with: no metric is scored yet ('hubbub score'), then run this again")
        return
    estimates = set(zip(scores.system_id, scores.mixture_id, strict=True))
    lost = sum((row.system_id, row.mixture_id) not in estimates for row in rows)
    if lost:
        out.notes.append(
            f"{lost} of {len(rows)} ratings are of estimates without scores; they are stored and agree with nothing"
        )
    opinion = agreement.opinions(pd.DataFrame([asdict(row) for row in rows]))
    for metric in metrics:
        for scale, votes in opinion.groupby("scale", sort=True):
            both = _common(scores, metric, votes)
            if not both:
                why = {"status": "skipped", "reason": "no_estimate_has_both"}
                out.rows.append({"metric": metric.name, "scale": scale, "level": None, "n": 0, **why})
                continue
            found = agreement.against_ratings(scores, votes, conditions, metrics=[metric], cluster=cluster, draws=draws)
            for row in found.to_dict("records"):
                out.rows.append({**{str(k): _plain(v) for k, v in row.items()}, "status": "ok", "reason": None})
    out.notes.append("agrees: the interval of Kendall's tau lies above zero, whatever the direction of the metric")


def _scores(dataset: Dataset) -> tuple[pd.DataFrame, list[Metric]]:
    """The scores of all systems on the mixtures that all were run on, and the metrics that all have."""
    import pandas as pd

    from pipelines import report
    from pipelines.score import plan_of

    stages = {name: entry for name, entry in dataset.run().get("stages", {}).items() if name.startswith("score ")}
    if not stages:
        return pd.DataFrame(), []
    _, table = report.scored_systems(dataset)
    scores: pd.DataFrame = table.to_pandas()
    scored = set(scores.metric)
    metrics = {m.name: m for entry in stages.values() for m in plan_of(entry).chosen() if m.name in scored}
    return scores, list(metrics.values())


def _common(scores: pd.DataFrame, metric: Metric, votes: pd.DataFrame) -> set[tuple[str, str]]:
    """Estimates that have both a number of this metric and an opinion."""
    numbers = scores[(scores.metric == metric.name) & scores.value.notna()]
    pairs = [set(zip(part.system_id, part.mixture_id, strict=True)) for part in (numbers, votes)]
    return pairs[0] & pairs[1]


def _plain(value: Any) -> Any:
    """A cell of a data frame as JSON has it."""
    import pandas as pd

    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
