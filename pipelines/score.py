"""`hubbub score`: every metric of every estimate of every system: one row each, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval import catalogue
from eval.catalogue import HEADLINE
from manifests import audio, ids, parquet, schema, storage
from manifests.errors import UserError
from manifests.schema import Failed, Score, System
from pipelines import engine, isolate
from pipelines.dataset import Dataset, package_versions, stage_entry
from pipelines.infer import mixture_shards

__all__ = ["isolated_if_risky", "score"]

PESQ_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Settings:
    root: str
    system_id: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Payload:
    mixture_id: str
    reference: Any
    reference_name: str
    estimate: Any  # a row of `estimates` as a dict, or the reason why there is none


def items(settings: Settings, shard: engine.Shard) -> Iterator[engine.Item]:
    """Mixtures joined with their estimates by id. A mixture without an estimate is an item all the same."""
    dataset = Dataset(settings.root)
    mixtures = parquet.read_table(
        dataset.path("mixtures", f"{shard.name}.parquet"), ("mixture_id", "target", "target_kind", "duration_s")
    )
    estimates = parquet.read_table(dataset.path("estimates", settings.system_id, f"{shard.name}.parquet"))
    by_id = {row["mixture_id"]: row for row in estimates.to_pylist()}
    lost = _lost(dataset, settings.system_id, shard.name)
    for row in mixtures.to_pylist():
        name = row["mixture_id"]
        payload = Payload(name, row["target"], row["target_kind"], by_id.get(name, lost.get(name, "missing")))
        yield engine.Item(name, payload, seconds_audio=row["duration_s"])


def _lost(dataset: Dataset, system_id: str, shard: str) -> dict[str, str]:
    """Mixtures whose estimate was never made because the system killed its process or ran out of time."""
    uri = dataset.path("failed", f"infer-{system_id}-{shard}.parquet")
    return {row.id: row.reason for row in parquet.read_rows(uri, Failed)} if storage.exists(uri) else {}


def work(settings: Settings, payload: Payload) -> list[Score]:
    """All metrics of all outputs of one estimate."""
    from eval.score import score_pair

    reference, rate = audio.decode(payload.reference)
    rows: list[Score] = []
    for name, estimate, estimate_rate, status, reason in _outputs(payload.estimate):
        pairs = score_pair(
            reference=reference,
            estimate=estimate,
            sample_rate=rate,
            estimate_rate=estimate_rate,
            metrics=settings.metrics,
            estimate_status=status,
            estimate_reason=reason,
            call=isolated_if_risky,
        )
        where: dict[str, Any] = {
            "system_id": settings.system_id,
            "mixture_id": payload.mixture_id,
            "output": name,
            "reference": payload.reference_name,
        }
        rows += [Score(**where, **asdict(pair)) for pair in pairs]
    return rows


def _outputs(estimate: Any) -> Iterator[tuple[str, Any, int | None, str, str | None]]:
    """(name, samples, rate, status, reason) of each output; one without samples where the system gave nothing."""
    if isinstance(estimate, str):
        yield "estimate", None, None, "failed", estimate
    elif not estimate["outputs"]:
        yield "estimate", None, None, estimate["status"], estimate["reason"]
    else:
        for output in estimate["outputs"]:
            samples, rate = audio.decode(output["audio"])
            yield output["name"], samples, rate, estimate["status"], estimate["reason"]


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


# ------------------------------------------------------------------------------------------------------ the driver


def score(
    dataset: Dataset,
    *,
    systems: Sequence[str] = (),
    metrics: Sequence[str] = HEADLINE,
    workers: int,
    quiet: bool = False,
    retry_failed: bool = False,
) -> dict[str, engine.Result]:
    """Score the estimates of some systems (names or ids; default: all). Returns the engine's result per system id."""
    try:
        chosen = tuple(catalogue.get(name).name for name in metrics)
    except ValueError as error:
        raise UserError(str(error)) from None
    return {
        system.system_id: _score_system(dataset, system, chosen, workers, quiet, retry_failed)
        for system in _systems(dataset, systems)
    }


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


def _score_system(
    dataset: Dataset, system: System, metrics: tuple[str, ...], workers: int, quiet: bool, retry_failed: bool
) -> engine.Result:
    shards = score_shards(dataset, system)
    if "target" not in parquet.read_schema_names(dataset.path("mixtures", f"{shards[0].name}.parquet")):
        raise UserError(
            f"{dataset.root} has no stem 'target' to score against; add it to write.stems and generate again"
        )
    stage = score_stage(dataset, system, metrics)
    result = engine.run(stage, shards, workers=workers, quiet=quiet, retry_failed=retry_failed)
    dataset.record(f"score {system.system_id}", stage_entry(stage, result, workers, metrics=list(metrics)))
    return result


def score_stage(dataset: Dataset, system: System, metrics: tuple[str, ...]) -> engine.Stage:
    """Scoring one system: what the engine runs, and what a report checks to be done."""
    return engine.Stage(
        name="score",
        row_type=Score,
        items=items,
        work=work,
        settings=Settings(dataset.root, system.system_id, metrics),
        out=dataset.path("scores", system.system_id),
        aside=dataset.root,
        digest=_digest(system, metrics),
        label=f"score {system.name}",
        system_id=system.system_id,
    )


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


def _digest(system: System, metrics: tuple[str, ...]) -> str:
    versions = package_versions()
    packages = {name: versions[name] for name in ("pesq", "pystoi", "soxr")}
    return ids.digest(
        [system.system_id, list(metrics), [catalogue.get(m).version for m in metrics], packages, schema.OUTPUT_VERSION]
    )
