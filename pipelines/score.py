"""`hubbub score`: every metric of every output of every system: one row each, whatever happens.

All systems are scored together: a mixture and its references are decoded once, and what metrics make of a reference
alone is made once. Each system's rows still go to files of their own, the same as if it were scored by itself.

What is compared with what (`against`)
    target    every output with the stem of its name, or else with `target`
    talkers   the outputs, unordered, with the targets of all talkers (stem `targets`)
    stems     the outputs, by name, with the target (or those of all talkers) and the noise
    auto      talkers where the dataset has several talkers and their targets, else target
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from eval.score import Output, PairScore, Speech

__all__ = ["Plan", "isolated_if_risky", "plan_of", "score", "score_shards", "score_stage"]

PESQ_TIMEOUT_S = 300.0
AGAINST = ("auto", "target", "talkers", "stems")
STEM_COLUMNS = frozenset(schema.audio_columns(schema.Mixture)) - {"mixture", "target"}
BROADCAST = ("unprocessed", "silence")
"""Builtin systems whose one output stands for every talker."""


@dataclass(frozen=True)
class Plan:
    """What is computed, resolved before any work: it determines the scores together with the estimates."""

    metrics: tuple[str, ...]
    against: str = "target"
    plug_ins: tuple[tuple[str, str], ...] = ()  # (spec as JSON, its identity)
    recogniser: tuple[str, str] | None = None
    normaliser: str = "basic@1"
    window_s: float | None = None
    follow: bool = False
    models: str | None = None
    model_sha256: tuple[str, ...] = ()
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
    transcripts: Mapping[str, str | None] = field(default_factory=dict)


def items(settings: Settings, shard: str, members: tuple[int, ...]) -> Iterator[engine.Item]:
    """Mixtures joined with the estimates of some systems by id. A mixture without an estimate is an item all the
    same.
    """
    dataset = Dataset(settings.root)
    uri = dataset.path("mixtures", f"{shard}.parquet")
    estimates = [_estimates(dataset, settings.systems[member][0], shard) for member in members]
    stems = _stems(parquet.read_schema_names(uri), settings.plan.against, estimates)
    mixtures = parquet.read_table(uri, ("mixture_id", "duration_s", "mixture", "transcript", "talkers", *stems))
    for row in mixtures.to_pylist():
        name = row["mixture_id"]
        references = {stem: row[stem] for stem in stems if row[stem] is not None}
        parts = tuple(by_id.get(name, "missing") for by_id in estimates)
        payload = Payload(name, references, row["mixture"], _transcripts(row, stems))
        yield engine.Item(name, payload, seconds_audio=row["duration_s"], parts=parts)


def _transcripts(row: Mapping[str, Any], stems: Sequence[str]) -> dict[str, str | None]:
    """What is said in each stem: the target's text, and that of talker k in `target_k`."""
    said = {"target": row["transcript"]}
    said |= {f"target_{k}": talker["transcript"] for k, talker in enumerate(row["talkers"], 1)}
    return {stem: said.get(stem) for stem in stems}


def _stems(columns: Sequence[str], against: str, estimates: Sequence[Mapping[str, Any]]) -> list[str]:
    """The stems that estimates are compared with, the default first."""
    several = schema.talker_targets(columns)
    if against == "talkers":
        return several
    if against == "stems":
        return [*(several if "target_2" in several else ["target"]), "noise"]
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


def work(settings: Settings, payload: Payload, parts: tuple[tuple[int, Any], ...]) -> list[list[Score]]:
    """All metrics of all outputs of some systems: a list of rows for each."""
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
        speech=_speech(settings.plan, payload.transcripts),
        models=settings.plan.models,
        call=isolated_if_risky,
    )
    return [_rows(settings, payload.mixture_id, item, *settings.systems[index], part) for index, part in parts]


def _rows(settings: Settings, mixture_id: str, item: Any, system_id: str, name: str, estimate: Any) -> list[Score]:
    failed = isinstance(estimate, str)
    stored = [] if failed else estimate["outputs"]
    if settings.plan.against != "talkers" and name in NEEDS_TARGET:  # they may have answered for every talker
        stored = [output | {"name": "estimate"} for output in stored[:1]]
    if settings.plan.against == "stems":  # the usual name of a single output
        stored = [output | {"name": "target"} if output["name"] == "estimate" else output for output in stored]
    status = "failed" if failed else estimate["status"]
    reason = estimate if failed else estimate["reason"]
    try:
        outputs = [_decoded(output) for output in stored]
    except (RuntimeError, ValueError, TypeError):  # not what `infer` wrote: a file of somebody's, or a damaged one
        outputs, status, reason = [], "failed", "undecodable"
    pairs = item.outputs(
        outputs,
        against=settings.plan.against,
        broadcast=name in BROADCAST,
        window_s=settings.plan.window_s,
        follow=settings.plan.follow,
        status=status,
        reason=reason,
    )
    return [_score(system_id, mixture_id, pair) for pair in pairs]


def _score(system_id: str, mixture_id: str, pair: PairScore) -> Score:
    counts = [KeyNumber(key, value) for key, value in pair.counts]
    return Score(system_id=system_id, mixture_id=mixture_id, **vars(pair) | {"counts": counts})


def lost(settings: Settings, payload: Payload, part: tuple[int, Any], reason: str) -> list[Score]:
    """The rows of a mixture that could not be scored: the process died, ran out of time or raised."""
    from eval.score import ALL, TOGETHER, unscored

    index, estimate = part
    names = list(payload.references)
    if settings.plan.against == "target":
        names = [output["name"] for output in estimate["outputs"]] if not isinstance(estimate, str) else []
        names = names or ["estimate"]
    several = settings.plan.against != "target"
    rows = [
        unscored(
            output,
            output if output in payload.references else ALL if output == ALL else "target",
            metric=metric.name,
            status=reason if reason in ("crashed", "timeout") else "error",
            reason=reason,
            metric_version=metric.version,
        )
        for output in [*names, *([ALL] if several else [])]
        for metric in settings.plan.chosen()
        if (metric.name in TOGETHER) == (output == ALL)
    ]
    return [_score(settings.systems[index][0], payload.mixture_id, row) for row in rows]


def _decoded(output: Mapping[str, Any]) -> Output:
    from eval.score import Output

    if output["audio"] is None:
        return Output(name=output["name"], text=output.get("text"))
    samples, rate = audio.decode(output["audio"])
    return Output(name=output["name"], signal=samples, sample_rate=rate, text=output.get("text"))


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


def _speech(plan: Plan, transcripts: Mapping[str, str | None]) -> Speech | None:
    """What word errors need, where they are asked for."""
    listener = _listener(plan)
    return listener and replace(listener, transcripts=transcripts)


@functools.lru_cache(maxsize=4)
def _listener(plan: Plan) -> Speech | None:
    """What word errors need besides the transcripts, once per process."""
    from eval import normalise
    from eval.score import Speech

    if all(metric.needs != "text" for metric in plan.chosen()):
        return None
    stamp = normalise.get(plan.normaliser).stamp
    if plan.recogniser is None:
        return Speech({}, plan.normaliser, stamp=stamp)
    spec_json, identity = plan.recogniser
    spec = MetricSpec.model_validate_json(spec_json)
    return Speech({}, plan.normaliser, modules.load(spec), spec.sample_rate, f"{stamp}+{spec.name}-{identity}")


# ------------------------------------------------------------------------------------------------------ the driver


def score(
    dataset: Dataset,
    *,
    systems: Sequence[str] = (),
    metrics: Sequence[str] = HEADLINE,
    plug_ins: Sequence[str] = (),
    recogniser: str | None = None,
    normaliser: str = "basic@1",
    against: str = "auto",
    window_s: float | None = None,
    follow: bool = False,
    models: str | None = None,
    workers: int,
    quiet: bool = False,
    retry_failed: bool = False,
) -> dict[str, engine.Result]:
    """Score the estimates of some systems (names or ids; default: all). Returns the engine's result per system id.

    `metrics` are names of metrics, or of groups; `plug_ins` and `recogniser` are paths of YAML files, see
    `manifests.metric`. With `window_s`, talkers are assigned in windows too; with `follow`, estimates are put together
    as the windows say.
    """
    chosen = _systems(dataset, systems)
    shards = [score_shards(dataset, system) for system in chosen]
    plan = resolved(
        metrics,
        plug_ins,
        _against(dataset, against, shards[0]),
        recogniser=recogniser,
        normaliser=normaliser,
        window_s=window_s,
        follow=follow,
        models=models,
    )
    for name, reason in plan.skipped:
        warn(f"hubbub: {name} is skipped: {reason}")
    together = engine.Together(
        name="score",
        stages=tuple(score_stage(dataset, system, plan) for system in chosen),
        items=items,
        work=work,
        lost=lost,
        settings=Settings(dataset.root, tuple((system.system_id, system.name) for system in chosen), plan),
        label=f"score {', '.join(system.name for system in chosen)}",
    )
    results = engine.run_together(together, shards, workers=workers, quiet=quiet, retry_failed=retry_failed)
    names = [metric.name for metric in plan.chosen()]
    for system, stage, result in zip(chosen, together.stages, results, strict=True):
        entry = stage_entry(stage, result, workers, metrics=names, plan=asdict(plan))
        dataset.record(f"score {system.system_id}", entry)
    return {system.system_id: result for system, result in zip(chosen, results, strict=True)}


def resolved(
    metrics: Sequence[str],
    plug_ins: Sequence[str] = (),
    against: str = "target",
    *,
    recogniser: str | None = None,
    normaliser: str = "basic@1",
    window_s: float | None = None,
    follow: bool = False,
    models: str | None = None,
) -> Plan:
    """What is computed, with what cannot be and why. UserError for what does not exist."""
    from eval import normalise

    found = tuple(_identified(path, "metric") for path in plug_ins)
    names = [*metrics, *(MetricSpec.model_validate_json(spec).name for spec, _ in found)]
    try:
        chosen = catalogue.chosen(names, [described(*plug_in) for plug_in in found])
        normalise.get(normaliser)
    except ValueError as error:
        raise UserError(str(error)) from None
    for m in chosen:
        if m.needs in ("table", "labels"):
            made = "other scores" if m.needs == "table" else "labels"
            raise UserError(f"{m.name} is made of {made}, not of audio: see 'hubbub compare --help'")
    if window_s is not None and not window_s > 0:
        raise UserError(f"--window must be a positive number of seconds, got {window_s:g}")
    listener = None if recogniser is None else _identified(recogniser, "recogniser")
    models = models and storage.absolute(models)
    skipped = {m.name: reason for m in chosen if (reason := missing(m, models))}
    return Plan(
        metrics=tuple(m.name for m in chosen),
        against=against,
        plug_ins=found,
        recogniser=listener,
        normaliser=normaliser,
        window_s=window_s,
        follow=follow,
        models=models,
        model_sha256=_model_digests([m for m in chosen if m.name not in skipped], models),
        skipped=tuple(skipped.items()),
    )


def _model_digests(chosen: Sequence[Metric], models: str | None) -> tuple[str, ...]:
    """SHA-256 of the files behind DNSMOS scores: they are part of what determines the scores."""
    names = [metric.name for metric in chosen if metric.group == "dnsmos"]
    if not names:
        return ()
    from eval import dnsmos

    paths = sorted({dnsmos.Models(models).path(name) for name in names})
    return tuple(hashlib.sha256(storage.read_bytes(path)).hexdigest() for path in paths)


def _identified(path: str, kind: str) -> tuple[str, str]:
    spec = metric.load_metric(path)
    if spec.kind != kind:
        raise UserError(f"{path}: kind is '{spec.kind}', and a {kind} is wanted here")
    return spec.model_dump_json(), metric.identify(spec, modules.check(spec))


def missing(metric: Metric, models: str | None = None) -> str | None:
    """What to install for a metric that cannot be computed here."""
    if metric.group == "dnsmos":
        from eval import dnsmos

        return dnsmos.missing(metric.name, dnsmos.Models(models))
    if metric.extra is None or importlib.util.find_spec(metric.package) is not None:
        return None
    return f"needs {metric.package}: pip install 'hubbub[{metric.extra}]'"


def _against(dataset: Dataset, against: str, shards: Sequence[engine.Shard]) -> str:
    if against not in AGAINST:
        raise UserError(
            f"--against must be one of {', '.join(AGAINST)}, got '{against}'{ids.nearest(against, AGAINST)}"
        )
    columns = parquet.read_schema_names(dataset.path("mixtures", f"{shards[0].name}.parquet"))
    several = "target_2" in columns
    chosen = ("talkers" if several else "target") if against == "auto" else against
    needed = {"target": "target", "talkers": "targets", "stems": "noise"}[chosen]
    if {"targets": "target_1"}.get(needed, needed) not in columns:
        raise UserError(
            f"{dataset.root} has no stem '{needed}' to score against; add it to write.stems and generate again"
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
    said = dict(entry["plan"])
    for name in ("metrics", "plug_ins", "model_sha256", "skipped"):
        said[name] = tuple(tuple(v) if isinstance(v, list) else v for v in said[name])
    said["recogniser"] = said["recogniser"] and tuple(said["recogniser"])
    return Plan(**said)


def _digest(system: System, plan: Plan) -> str:
    versions = package_versions()
    packages = {name: versions[name] for name in ("pesq", "soxr")}
    chosen = [[m.name, m.version] for m in plan.chosen()]
    skipped = sorted(name for name, _ in plan.skipped)
    listener = None if plan.recogniser is None else plan.recogniser[1]
    how = [plan.against, listener, plan.normaliser, plan.window_s, plan.follow, plan.model_sha256]
    return ids.digest([system.system_id, chosen, how, skipped, packages, schema.OUTPUT_VERSION])
