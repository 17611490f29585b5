"""`hubbub score`: every metric of every output of every system: one row each, whatever happens.

All systems are scored together: a mixture and its references are decoded once, and what metrics make of a reference
alone is made once. Each system's rows still go to files of their own, the same as if it were scored by itself.

What is compared with what (`against`)
    target    every output with the stem of its name, or else with `target`
    talkers   the outputs, unordered, with the targets of all talkers (stem `targets`)
    auto      talkers where the dataset has several talkers and their targets, else target
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval import catalogue
from eval.catalogue import HEADLINE, Metric
from manifests import audio, ids, metric, parquet, schema, storage
from manifests.errors import UserError
from manifests.metric import MetricSpec
from manifests.schema import Failed, KeyNumber, Score, System
from pipelines import engine, isolate, modules
from pipelines.console import warn
from pipelines.dataset import Dataset, package_versions, stage_entry
from pipelines.infer import NEEDS_TARGET, mixture_shards

__all__ = ["Plan", "isolated_if_risky", "plan_of", "score", "score_shards", "score_stage"]

PESQ_TIMEOUT_S = 300.0
AGAINST = ("auto", "target", "talkers")
STEM_COLUMNS = frozenset(schema.audio_columns(schema.Mixture)) - {"mixture", "target"}
BROADCAST = ("unprocessed", "silence")
"""Builtin systems whose one output stands for every talker."""


@dataclass(frozen=True)
class Plan:
    """What is computed, resolved before any work: it determines the scores together with the estimates."""

    metrics: tuple[str, ...]
    against: str = "target"
    plug_ins: tuple[tuple[str, str], ...] = ()  # (spec as JSON, its identity)
    skipped: tuple[tuple[str, str], ...] = ()

    @functools.cached_property
    def specs(self) -> list[MetricSpec]:
        return [MetricSpec.model_validate_json(spec) for spec, _ in self.plug_ins]

    def chosen(self) -> list[Metric]:
        return catalogue.chosen(self.metrics, [described(*plug_in) for plug_in in self.plug_ins])


@dataclass(frozen=True)
class Settings:
    root: str
    systems: tuple[tuple[str, str], ...]  # (id, name) in the order of the stages
    plan: Plan


@dataclass(frozen=True)
class Payload:
    """One mixture, encoded: its references by name, and itself where it was kept."""

    mixture_id: str
    references: Mapping[str, Any]
    mixture: Any | None = None


def items(settings: Settings, shard: str, members: tuple[int, ...]) -> Iterator[engine.Item]:
    """Mixtures joined with the estimates of some systems by id. A mixture without an estimate is an item all the
    same.
    """
    dataset = Dataset(settings.root)
    uri = dataset.path("mixtures", f"{shard}.parquet")
    estimates = [_estimates(dataset, settings.systems[member][0], shard) for member in members]
    stems = _stems(parquet.read_schema_names(uri), settings.plan.against, estimates)
    mixtures = parquet.read_table(uri, ("mixture_id", "duration_s", "mixture", *stems))
    for row in mixtures.to_pylist():
        name = row["mixture_id"]
        references = {stem: row[stem] for stem in stems if row[stem] is not None}
        parts = tuple(by_id.get(name, "missing") for by_id in estimates)
        yield engine.Item(name, Payload(name, references, row["mixture"]), seconds_audio=row["duration_s"], parts=parts)


def _stems(columns: Sequence[str], against: str, estimates: Sequence[Mapping[str, Any]]) -> list[str]:
    """The stems that estimates are compared with, the default first."""
    if against == "talkers":
        return [name for name in columns if name.startswith("target_")]
    rows = [row for by_id in estimates for row in by_id.values() if not isinstance(row, str)]
    named = {output["name"] for row in rows for output in row["outputs"]}
    return ["target", *(name for name in columns if name in named and name in STEM_COLUMNS)]


def _estimates(dataset: Dataset, system_id: str, shard: str) -> dict[str, Any]:
    """By mixture: a row of `estimates` as a dict, or the reason why there is none, because the system killed its
    process or ran out of time.
    """
    uri = dataset.path("failed", f"infer-{system_id}-{shard}.parquet")
    lost = {row.id: row.reason for row in parquet.read_rows(uri, Failed)} if storage.exists(uri) else {}
    table = parquet.read_table(dataset.path("estimates", system_id, f"{shard}.parquet"))
    return lost | {row["mixture_id"]: row for row in table.to_pylist()}


def work(settings: Settings, payload: Payload, parts: tuple[tuple[int, Any], ...]) -> list[Any]:
    """All metrics of all outputs of some systems: a list of rows for each, or the rows of a single one."""
    from eval.score import Item

    references = {name: audio.decode(stored) for name, stored in payload.references.items()}
    rate = next(iter(references.values()))[1]
    item = Item(
        references={name: samples for name, (samples, _) in references.items()},
        sample_rate=rate,
        mixture=None if payload.mixture is None else audio.decode(payload.mixture)[0],
        metrics=settings.plan.metrics,
        plug_ins=_loaded(settings.plan),
        skipped=dict(settings.plan.skipped),
        call=isolated_if_risky,
    )
    found = [_rows(settings, payload.mixture_id, item, *settings.systems[index], part) for index, part in parts]
    return found if len(found) > 1 else found[0]


def _rows(settings: Settings, mixture_id: str, item: Any, system_id: str, name: str, estimate: Any) -> list[Score]:
    from eval.score import Output

    failed = isinstance(estimate, str)
    stored = [] if failed else estimate["outputs"]
    if settings.plan.against == "target" and name in NEEDS_TARGET:  # they may have answered for every talker
        stored = [output | {"name": "estimate"} for output in stored[:1]]
    outputs = [(output["name"], *audio.decode(output["audio"])) for output in stored if output["audio"] is not None]
    pairs = item.outputs(
        [Output(name=name, signal=samples, sample_rate=rate) for name, samples, rate in outputs],
        talkers=settings.plan.against == "talkers",
        broadcast=name in BROADCAST,
        status="failed" if failed else estimate["status"],
        reason=estimate if failed else estimate["reason"],
    )
    return [
        Score(
            system_id=system_id,
            mixture_id=mixture_id,
            **asdict(pair) | {"counts": [KeyNumber(key, value) for key, value in pair.counts]},
        )
        for pair in pairs
    ]


def isolated_if_risky(function: Callable[..., Any], **arguments: Any) -> Any:
    """Run a metric here, or in a throw-away process where PESQ could overrun its table of 50 utterances and die.

    A metric that kills its process twice is `crashed`.
    """
    from eval import outcome, perceptual

    if function is not perceptual.pesq_score or not perceptual.pesq_risk(
        arguments["reference"], arguments["sample_rate"]
    ):
        return function(**arguments)
    for attempt in (1, 2):
        try:
            return isolate.call(function, timeout_s=PESQ_TIMEOUT_S, **arguments)
        except isolate.TimedOut:
            return outcome.Outcome(None, "timeout", "pesq")
        except isolate.Crashed as crash:
            if attempt == 2:
                return outcome.Outcome(None, "crashed", str(crash).rsplit(" ", 1)[-1])
    raise AssertionError("unreachable")


# -------------------------------------------------------------------------------------------------- the user's metrics


def described(spec_json: str, identity: str) -> Metric:
    """A plug-in as an entry of the catalogue; its version is what determines it."""
    spec = MetricSpec.model_validate_json(spec_json)
    low, high = float(spec.low or 0.0), float(spec.high or 0.0)
    return Metric(
        name=spec.name,
        title=spec.title or spec.name,
        group="plug-in",
        unit=spec.unit,
        low=low,
        high=high,
        floor=low if spec.better == "higher" else high,
        ceiling=high if spec.better == "higher" else low,
        better=spec.better,
        sample_rate=spec.sample_rate,
        min_sample_rate=spec.sample_rate,
        package="hubbub",
        paper=spec.paper or "-",
        licence_note=spec.licence or "-",
        version=identity,
        needs=spec.needs,
    )


@functools.lru_cache(maxsize=4)
def _loaded(plan: Plan) -> list[Any]:
    """The user's metrics, loaded once per process."""
    from eval.score import PlugIn

    return [
        PlugIn(described(*plug_in), modules.load(spec)) for plug_in, spec in zip(plan.plug_ins, plan.specs, strict=True)
    ]


# ------------------------------------------------------------------------------------------------------ the driver


def score(
    dataset: Dataset,
    *,
    systems: Sequence[str] = (),
    metrics: Sequence[str] = HEADLINE,
    plug_ins: Sequence[str] = (),
    against: str = "auto",
    workers: int,
    quiet: bool = False,
    retry_failed: bool = False,
) -> dict[str, engine.Result]:
    """Score the estimates of some systems (names or ids; default: all). Returns the engine's result per system id.

    `metrics` are names of metrics, or of groups; `plug_ins` are paths of YAML files, see `manifests.metric`.
    """
    chosen = _systems(dataset, systems)
    shards = [score_shards(dataset, system) for system in chosen]
    plan = resolved(metrics, plug_ins, _against(dataset, against, shards[0]))
    for name, reason in plan.skipped:
        warn(f"hubbub: {name} is skipped: {reason}")
    together = engine.Together(
        name="score",
        stages=tuple(score_stage(dataset, system, plan) for system in chosen),
        items=items,
        work=work,
        settings=Settings(dataset.root, tuple((system.system_id, system.name) for system in chosen), plan),
        label=f"score {', '.join(system.name for system in chosen)}",
    )
    results = engine.run_together(together, shards, workers=workers, quiet=quiet, retry_failed=retry_failed)
    names = [metric.name for metric in plan.chosen()]
    for system, stage, result in zip(chosen, together.stages, results, strict=True):
        entry = stage_entry(stage, result, workers, metrics=names, plan=asdict(plan))
        dataset.record(f"score {system.system_id}", entry)
    return {system.system_id: result for system, result in zip(chosen, results, strict=True)}


def resolved(metrics: Sequence[str], plug_ins: Sequence[str], against: str) -> Plan:
    """What is computed, with what cannot be and why. UserError for metrics that do not exist."""
    specs = [metric.load_metric(path) for path in plug_ins]
    found = tuple((spec.model_dump_json(), metric.identify(spec, modules.check(spec))) for spec in specs)
    try:
        chosen = catalogue.chosen(
            [*metrics, *(spec.name for spec in specs)], [described(*plug_in) for plug_in in found]
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    skipped = tuple((m.name, reason) for m in chosen if (reason := missing(m)))
    return Plan(tuple(m.name for m in chosen), against, found, skipped)


def missing(metric: Metric) -> str | None:
    """What to install for a metric that cannot be computed here."""
    if metric.extra is None or importlib.util.find_spec(metric.package) is not None:
        return None
    return f"needs {metric.package}: pip install 'hubbub[{metric.extra}]'"


def _against(dataset: Dataset, against: str, shards: Sequence[engine.Shard]) -> str:
    if against not in AGAINST:
        raise UserError(f"--against must be one of {', '.join(AGAINST)}, got '{against}'")
    columns = parquet.read_schema_names(dataset.path("mixtures", f"{shards[0].name}.parquet"))
    several = "target_2" in columns
    chosen = ("talkers" if several else "target") if against == "auto" else against
    needed = {"target": "target", "talkers": "target_1"}[chosen]
    if needed not in columns:
        stem = {"target": "target", "talkers": "targets"}[chosen]
        raise UserError(
            f"{dataset.root} has no stem '{stem}' to score against; add it to write.stems and generate again"
        )
    return chosen


def _systems(dataset: Dataset, names: Sequence[str]) -> list[System]:
    known = dataset.systems()
    if not known:
        raise UserError(f"{dataset.root}: no estimates here; run 'hubbub infer {dataset.root} --system NAME' first")
    for name in names:
        if not any(name in (s.name, s.system_id) for s in known):
            raise UserError(
                f"{dataset.root} has no estimates of system '{name}'{ids.nearest(name, [s.name for s in known])}"
            )
    return [s for s in known if not names or s.name in names or s.system_id in names]


def score_stage(dataset: Dataset, system: System, plan: Plan) -> engine.Stage:
    """Scoring one system: what the engine runs, and what a report checks to be done."""
    return engine.Stage(
        name="score",
        row_type=Score,
        items=_none,
        work=_none,
        settings=None,
        out=dataset.path("scores", system.system_id),
        aside=dataset.root,
        digest=_digest(system, plan),
        label=f"score {system.name}",
        system_id=system.system_id,
    )


def _none(*_: Any) -> Any:
    raise AssertionError("systems are scored together")


def score_shards(dataset: Dataset, system: System) -> list[engine.Shard]:
    """The shards of a system's estimates, with what determined mixtures and estimates."""
    names = dataset.shard_names(f"estimates/{system.system_id}")
    missing = [n for n in names if not storage.exists(dataset.path("mixtures", f"{n}.parquet"))]
    if missing or not names:
        raise UserError(
            f"{dataset.root}: the estimates of {system.name} do not fit the mixtures; run 'hubbub infer' again"
        )
    digests = [
        parquet.read_footer(dataset.path("estimates", system.system_id, f"{n}.parquet"))["digest"] for n in names
    ]
    return [mixture_shards(dataset, [name], digest)[0] for name, digest in zip(names, digests, strict=True)]


def plan_of(entry: Mapping[str, Any]) -> Plan:
    """The plan that a stage's entry in run.json was made with."""
    said = entry["plan"]
    return Plan(
        tuple(said["metrics"]),
        said["against"],
        tuple((spec, identity) for spec, identity in said["plug_ins"]),
        tuple((name, reason) for name, reason in said["skipped"]),
    )


def _digest(system: System, plan: Plan) -> str:
    versions = package_versions()
    packages = {name: versions[name] for name in ("pesq", "soxr")}
    chosen = [[m.name, m.version] for m in plan.chosen()]
    skipped = sorted(name for name, _ in plan.skipped)
    return ids.digest([system.system_id, chosen, plan.against, skipped, packages, schema.OUTPUT_VERSION])
