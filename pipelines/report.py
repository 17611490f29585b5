"""`hubbub report`: scores, manifest and a few mixtures to a static page; and the data card of a dataset."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from eval import catalogue, summary
from eval.catalogue import Metric
from manifests import audio, ids, parquet, storage
from manifests.errors import UserError
from manifests.schema import SCHEMA_VERSION, System, keys
from manifests.system import BUILTINS
from pipelines import engine
from pipelines.dataset import Dataset, machine, package_versions
from pipelines.score import Plan, plan_of, score_shards, score_stage
from reports import card, page

__all__ = ["View", "report", "scored_systems", "write_card"]

SNR_STEP_DB = 5.0
DECIMALS = {"": 3, "dB": 2}
MANIFEST_COLUMNS = (
    "mixture_id",
    "split",
    "duration_s",
    "snr_db",
    "level_dbfs",
    "gain_db",
    "gain_reason",
    "peak",
    "residual_dbfs",
    "reverberant",
    "room_engine",
    "rt60_s",
    "rt60_status",
    "drr_db",
    "distance_m",
    "array_preset",
    "noise_place",
    "speaker_id",
    "language",
    "gender",
    "noise_class",
    "bandwidth_hz",
    "transcript",
    "noises",
    "room",
    "licences",
)
SCORES_FOOTER = {"hubbub.schema": f"scores/{SCHEMA_VERSION}"}
TARGETS = {
    "dry_aligned": "the dry utterance, delayed and scaled to the direct path",
    "anechoic": "the direct path to each microphone, as if there were no walls",
    "direct": "the direct path only",
    "direct_window": "the direct sound, {window_ms[0]:g} ms before to {window_ms[1]:g} ms after",
    "early": "the direct path and reflections up to {early_ms:g} ms after it",
    "image": "the reverberant speech at the microphone",
}
SNRS = {
    "p56_active": "P.56 active speech level over the noise's RMS in the active samples",
    "rms_active": "RMS over the speech-active samples",
    "rms": "RMS over the placed utterance",
    "lufs": "loudness difference (BS.1770)",
    "peak": "peak difference",
}


@dataclass(frozen=True)
class View:
    """How scores are summed up: bins of the manifest's column `by` (numbers between `edges`, or every value), clusters
    of `cluster`, and items weighted by `weight` (`duration_s`: GNSDR and the like).
    """

    by: str = "snr_db"
    edges: tuple[float, ...] | None = None
    cluster: str = "speaker_id"
    weight: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*MANIFEST_COLUMNS, self.by, self.cluster, *([self.weight] if self.weight else [])]))


def report(dataset: Dataset, *, out: str | None = None, examples: int = 4, view: View | None = None) -> str:
    """Write the page of a dataset's scored systems and return the path of its index."""
    view = view or View()
    manifest = _manifest_for(dataset, view)
    systems, table = scored_systems(dataset)
    scores = table.to_pandas().assign(
        system=lambda rows: rows.system_id.map({s.system_id: name for name, s in systems.items()})
    )
    conditions = manifest[manifest.mixture_id.isin(scores.mixture_id)]
    metrics, skipped = _shown_metrics(dataset, systems, scores)
    anchors = [name for name, system in systems.items() if system.kind == "builtin"]
    leaderboard = _leaderboard(scores, conditions, metrics, anchors, view)
    contents = page.Report(
        title=f"{dataset.recipe().name}: leaderboard",
        dataset=_facts(dataset, manifest),
        leaderboard=leaderboard,
        bins=_bins(scores, conditions, metrics, anchors, view),
        bin_column=view.by,
        metrics=[_metric_info(metric, scores) for metric in metrics],
        statistics=page.Statistics(cluster=view.cluster.removesuffix("_id"), weight=view.weight),
        systems=[_system_info(name, system) for name, system in systems.items()],
        warnings=[*_warnings(leaderboard, scores, systems), *skipped],
        counts=_counts(dataset),
        examples=_examples(dataset, conditions, scores, systems, metrics, examples),
        downloads=["scores.parquet"],
        synthetic=_synthetic(dataset),
    )
    folder = out or dataset.path("report")
    for path, data in page.build_page(contents).items():
        storage.write_bytes(storage.join(folder, path), data)
    storage.write_bytes(storage.join(folder, "scores.parquet"), memoryview(parquet.encode(table, SCORES_FOOTER)))
    return storage.join(folder, "index.html")


# ---------------------------------------------------------------------------------------------------------- scores


def _shown_metrics(
    dataset: Dataset, systems: dict[str, System], scores: pd.DataFrame
) -> tuple[list[Metric], list[str]]:
    """The metrics that have numbers, those of the catalogue first, and a line for each that was skipped."""
    stages = dataset.run()["stages"]
    plans = [plan_of(stages[f"score {system.system_id}"]) for system in systems.values()]
    own = {metric.name: metric for plan in plans for metric in plan.chosen() if metric.name not in catalogue.METRICS}
    known = catalogue.METRICS | own
    computed = set(scores.metric[scores.status != "skipped"])
    skipped = {name: reason for plan in plans for name, reason in plan.skipped if name not in computed}
    lines = [f"{name} was skipped: {reason}." for name, reason in skipped.items()]
    return [metric for name, metric in known.items() if name in computed], lines


def scored_systems(dataset: Dataset) -> tuple[dict[str, System], pa.Table]:
    """All scored systems by the name they are shown under, and their scores on the shards that all of them were run
    on.
    """
    stages = dataset.run().get("stages", {})
    scored = [s for s in dataset.systems() if f"score {s.system_id}" in stages]
    if not scored:
        raise UserError(f"{dataset.root}: no scores here; run 'hubbub infer' and 'hubbub score' first")
    shards = {s.system_id: _done_shards(dataset, s, plan_of(stages[f"score {s.system_id}"])) for s in scored}
    common = set.intersection(*(set(names) for names in shards.values()))
    if not common:
        raise UserError(
            f"{dataset.root}: no mixtures that all of {', '.join(s.name for s in scored)} were run on; run infer with "
            "one --split"
        )
    files = [f"{shard}.parquet" for shard in sorted(common)]
    parts = [parquet.read_parts(dataset.path("scores", s.system_id), names=files) for s in scored]
    table = pa.concat_tables([part for part in parts if part is not None])
    everywhere = set.intersection(*(set(stages[f"score {s.system_id}"]["metrics"]) for s in scored))
    names = _shown_names(scored)
    return {names[s.system_id]: s for s in scored}, table.filter(
        pc.is_in(table["metric"], pa.array(sorted(everywhere)))
    )


def _done_shards(dataset: Dataset, system: System, plan: Plan) -> list[str]:
    """A system's scored shards. Scores of estimates or mixtures that have changed since are refused."""
    stage = score_stage(dataset, system, plan)
    shards = score_shards(dataset, system)
    stale = [shard.name for shard in shards if engine.is_done(stage, shard) is None]
    if stale:
        raise UserError(
            f"{dataset.root}: the scores of {system.name} are incomplete or out of date ({stale[0]}); run 'hubbub "
            f"score {dataset.root}' again"
        )
    return [shard.name for shard in shards]


def _shown_names(systems: Sequence[System]) -> dict[str, str]:
    """The name of each system; its id where two share a name."""
    names = [s.name for s in systems]
    return {s.system_id: s.name if names.count(s.name) == 1 else s.system_id for s in systems}


def _leaderboard(
    scores: pd.DataFrame, conditions: pd.DataFrame, metrics: Sequence[Metric], anchors: Sequence[str], view: View
) -> pd.DataFrame:
    """The leaderboard, and beside each mean that over the items which the system itself has numbers for."""
    how: dict[str, Any] = {"cluster": view.cluster, "weight": view.weight}
    own = summary.as_delivered(scores, conditions, metrics=metrics, **how)[["system", "metric", "mean", "n"]]
    board = summary.leaderboard(scores, conditions, metrics=metrics, unranked=anchors, **how)
    return board.merge(
        own.rename(columns={"mean": "delivered", "n": "n_delivered"}),
        on=["system", "metric"],
        how="left",
        validate="one_to_one",
    )


def _bins(
    scores: pd.DataFrame, conditions: pd.DataFrame, metrics: Sequence[Metric], anchors: Sequence[str], view: View
) -> pd.DataFrame:
    """The leaderboard in every bin. Without edges, SNRs are binned by 5 dB, edges on multiples of 5."""
    known = conditions[view.by].dropna()
    if known.empty:
        return pd.DataFrame()
    edges = view.edges
    if edges is None and view.by == "snr_db":
        low, high = np.floor(known.min() / SNR_STEP_DB), np.floor(known.max() / SNR_STEP_DB) + 1
        edges = tuple(float(e * SNR_STEP_DB) for e in np.arange(low, high + 1))
    how: dict[str, Any] = {"cluster": view.cluster, "weight": view.weight, "unranked": anchors}
    return summary.by_bin(scores, conditions, by=view.by, edges=edges, metrics=metrics, **how)


def _manifest_for(dataset: Dataset, view: View) -> pd.DataFrame:
    """The manifest's columns that a view needs. UserError where it has them not, or they cannot be used so."""
    known = parquet.read_schema_names(dataset.path("manifest.parquet"))
    for option, name in (("--by", view.by), ("--cluster", view.cluster), ("--weight", view.weight)):
        if name is not None and name not in known:
            raise UserError(f"{option}: the manifest has no column '{name}'{ids.nearest(name, known)}")
    if view.edges is not None and any(low >= high for low, high in itertools.pairwise(view.edges)):
        raise UserError(f"--edges must increase, got {', '.join(f'{e:g}' for e in view.edges)}")
    manifest = _manifest(dataset, view.columns)
    for option, name in (("--edges", view.by if view.edges else None), ("--weight", view.weight)):
        if name is not None and not pd.api.types.is_numeric_dtype(manifest[name]):
            raise UserError(f"{option} needs a column of numbers, and '{name}' is none")
    return manifest


def _warnings(leaderboard: pd.DataFrame, scores: pd.DataFrame, systems: dict[str, System]) -> list[str]:
    out = [f"A sanity check failed: {line}" for line in summary.check_order(leaderboard)]
    missing = [name for name in ("silence", "unprocessed", "oracle") if name not in systems]
    if missing:
        out.append(
            f"Not run on this dataset: {', '.join(missing)}. Without them a broken metric or reference goes unnoticed."
        )
    inverted = scores["flags"].map(lambda flags: "polarity" in flags).groupby(scores.system).mean()
    out += [f"{name}: most estimates have inverted polarity" for name, share in inverted.items() if share > 0.5]
    return out


# ----------------------------------------------------------------------------------------------------------- facts


def _manifest(dataset: Dataset, columns: Sequence[str] = MANIFEST_COLUMNS) -> pd.DataFrame:
    frame: pd.DataFrame = parquet.read_table(dataset.path("manifest.parquet"), columns).to_pandas()
    return frame


def _splits(manifest: pd.DataFrame) -> list[page.Split]:
    groups = manifest.groupby("split", sort=False)
    return [
        page.Split(name=str(name), rows=len(rows), hours=float(rows.duration_s.sum()) / 3600) for name, rows in groups
    ]


def _facts(dataset: Dataset, manifest: pd.DataFrame) -> page.Dataset:
    recipe, run, host = dataset.recipe(), dataset.run(), machine()
    return page.Dataset(
        name=recipe.name,
        splits=_splits(manifest),
        sample_rate=recipe.sample_rate,
        target=f"{recipe.target.kind}: {TARGETS[recipe.target.kind].format(**recipe.target.model_dump())}",
        snr=f"{recipe.noise.snr}: {SNRS[recipe.noise.snr]}",
        recipe_digest=run["stages"]["render"]["digest"],
        sources_digest=run["stages"]["render"]["sources_digest"],
        hubbub_version=run["hubbub_version"],
        output_version=run["output_version"],
        packages=package_versions(),
        machine=f"{host['processor']}, {host['cpus']} CPUs, {host['system']}, Python {host['python']}",
        command=" ".join(["hubbub", *sys.argv[1:]]),
    )


def _metric_info(metric: Metric, scores: pd.DataFrame) -> page.MetricInfo:
    versions = sorted(set(scores.metric_version[scores.metric == metric.name]))
    return page.MetricInfo(
        name=metric.name,
        title=metric.title,
        unit=metric.unit or None,
        better=metric.better,
        low=metric.bounds[0],
        high=metric.bounds[1],
        decimals=DECIMALS.get(metric.unit, 3),
        floor=metric.floor,
        version=", ".join(versions),
        aggregate=metric.aggregate,
    )


def _system_info(name: str, system: System) -> page.SystemInfo:
    return page.SystemInfo(
        name=name,
        kind=system.kind,
        system_id=system.system_id,
        licence=system.licence,
        url=system.url,
        note=BUILTINS.get(system.name) if system.kind == "builtin" else None,
        anchor=system.kind == "builtin",
    )


def _counts(dataset: Dataset) -> list[page.StageCounts]:
    stages = dataset.run().get("stages", {})
    return [
        page.StageCounts(stage=name, rows_in=c["rows_in"], rows_out=c["done"], dropped=c["dropped"], failed=c["failed"])
        for name, entry in stages.items()
        if (c := entry.get("counts")) and (name == "render" or name.split(" ")[0] in ("infer", "score"))
    ]


def _synthetic(dataset: Dataset) -> bool:
    return any(keys(source.extra).get("synthetic") == "yes" for source in dataset.sources())


# -------------------------------------------------------------------------------------------------------- examples


def _examples(
    dataset: Dataset,
    conditions: pd.DataFrame,
    scores: pd.DataFrame,
    systems: dict[str, System],
    metrics: Sequence[Metric],
    count: int,
) -> list[page.Example]:
    """Mixtures worth hearing: where the entered systems help most, least and in the middle, and one in a room."""
    chosen = _choose(conditions, scores, systems, metrics[0])[:count]
    rows = conditions.set_index("mixture_id")
    shards = dataset.shard_of()
    return [_example(dataset, name, why, shards[name], rows.loc[name], scores, systems) for name, why in chosen]


def _choose(
    conditions: pd.DataFrame, scores: pd.DataFrame, systems: dict[str, System], metric: Metric
) -> list[tuple[str, str]]:
    wide = (
        scores[scores.metric == metric.name]
        .pivot_table(index="mixture_id", columns="system", values="value", observed=True)
        .dropna()
    )
    entered = [n for n, s in systems.items() if s.kind != "builtin" and n in wide]
    if wide.empty or "unprocessed" not in wide:
        return [(name, "the first of the table") for name in sorted(conditions.mixture_id)[:1]]
    if metric.better == "lower":
        wide = -wide
    gain = (wide[entered].max(axis=1) if entered else wide["unprocessed"]) - wide["unprocessed"]
    order = gain.sort_values(kind="stable").index
    title = metric.title
    picks = [
        (order[-1], f"largest gain in {title} of any entered system"),
        (order[0], f"smallest gain in {title}"),
        (order[len(order) // 2], f"median gain in {title}"),
    ]
    low = (
        conditions.set_index("mixture_id").snr_db.reindex(wide.index).idxmin()
        if conditions.snr_db.notna().any()
        else order[0]
    )
    picks.append((low, "lowest SNR"))
    seen: dict[str, str] = {}
    for name, why in picks:
        seen[name] = f"{seen[name]}; {why}" if name in seen else why
    return list(seen.items())


def _example(
    dataset: Dataset, name: str, why: str, shard: str, row: Any, scores: pd.DataFrame, systems: dict[str, System]
) -> page.Example:
    mixture = _row(
        parquet.read_table(dataset.path("mixtures", f"{shard}.parquet"), ("mixture_id", "mixture", "target")), name
    )
    clips = [
        _clip("mixture", mixture["mixture"], scores, "unprocessed", name),
        _clip("target", mixture["target"], scores, None, name),
    ]
    for shown, system in systems.items():
        if system.name not in ("unprocessed", "oracle", "silence"):
            estimate = _row(parquet.read_table(dataset.path("estimates", system.system_id, f"{shard}.parquet")), name)
            clips += [
                _clip(shown, output["audio"], scores, shown, name)
                for output in (estimate or {"outputs": []})["outputs"]
                if output["audio"] is not None
            ]
    conditions = {
        "SNR": f"{row.snr_db:.1f} dB" if pd.notna(row.snr_db) else "no noise",
        "noise": row.noise_class or "unknown",
        "speaker": row.speaker_id or "unknown",
        "room": f"{row.room_engine}, RT60 {row.rt60_s:.2f} s" if pd.notna(row.rt60_s) else (row.room_engine or "none"),
    }
    transcript = row.transcript if isinstance(row.transcript, str) else None
    return page.Example(mixture_id=name, why=why, conditions=conditions, transcript=transcript, clips=clips)


def _row(table: Any, name: str) -> Any:
    return next((row for row in table.to_pylist() if row["mixture_id"] == name), None)


def _clip(label: str, stored: Any, scores: pd.DataFrame, system: str | None, mixture_id: str) -> page.Clip:
    """A playable signal with the scores of `system` on this mixture."""
    samples, rate = audio.decode(stored)
    mine = scores[(scores.system == system) & (scores.mixture_id == mixture_id)]
    return page.Clip(
        label=label,
        data=stored["bytes"],
        suffix=stored["path"].rsplit(".", 1)[-1],
        samples=samples[0],
        sample_rate=rate,
        scores={m: None if pd.isna(v) else float(v) for m, v in zip(mine.metric, mine.value, strict=True)},
        statuses={m: s for m, s in zip(mine.metric, mine.status, strict=True) if s != "ok"},
    )


# ------------------------------------------------------------------------------------------------------- data card


def write_card(dataset: Dataset) -> str:
    """Write the data card of a sealed dataset and return its path."""
    manifest = _manifest(dataset)
    rows = manifest.drop(columns=["noises", "room", "licences"]).assign(
        snr_requested_db=pd.Series([n[0]["snr_db"] if len(n) == 1 else None for n in manifest.noises], dtype=object),
        rt60_requested_s=pd.Series([r["rt60_requested_s"] if r else None for r in manifest.room], dtype=object),
    )
    splits = [asdict(split) for split in _splits(manifest)]
    used = pd.Series([licence for row in manifest.licences for licence in row], dtype=object)
    contents = card.Card(
        name=dataset.recipe().name,
        digest=ids.digest(sorted(manifest.mixture_id)),
        splits=pd.DataFrame(
            [{"split": s["name"], "rows": s["rows"], "hours": s["hours"]} for s in splits],
            columns=["split", "rows", "hours"],
        ),
        rows=rows,
        licences=used.value_counts(),
        dropped=_frame(dataset.aside("dropped", "render-*")),
        failed=_frame(dataset.aside("failed", "render-*")),
        leaks=parquet.read_table(dataset.path("leaks.parquet")).to_pandas(),
        versions=package_versions(),
        synthetic=_synthetic(dataset),
    )
    for path, data in card.build_card(contents).items():
        storage.write_bytes(dataset.path("card", path), data)
    return dataset.path("card", "index.html")


def _frame(rows: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame([asdict(row) for row in rows])
