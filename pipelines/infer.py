"""`hubbub infer`: mixtures through a system, one estimate per mixture, whatever the system does.

The runner resamples to the system's rate and back, seeds the usual generators per mixture, and turns a wrong length, a
wrong rate, NaN or an exception
into a status. A system that kills its process or hangs is recorded in `failed`; its other mixtures go on.
"""

from __future__ import annotations

import functools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests import audio, ids, parquet
from manifests.errors import UserError
from manifests.schema import Estimate, Output, System, talker_targets
from manifests.system import SystemSpec, identify
from pipelines import engine, modules
from pipelines.dataset import Dataset, stage_entry

__all__ = ["evaluation_shards", "infer"]

LENGTH_TOLERANCE_S = 0.020
NEEDS_TARGET = ("oracle", "irm", "ibm")


@dataclass(frozen=True)
class Settings:
    root: str
    spec: str  # JSON: hashable, so that a loaded model can be kept by it
    system_id: str


@dataclass(frozen=True)
class Payload:
    mixture_id: str
    mixture: Any
    targets: dict[str, Any]  # for builtins that know the answer: by the name of their output


def items(settings: Settings, shard: engine.Shard) -> Iterator[engine.Item]:
    uri = Dataset(settings.root).path("mixtures", f"{shard.name}.parquet")
    stems = _answers(SystemSpec.model_validate_json(settings.spec), parquet.read_schema_names(uri))
    columns = ("mixture_id", "mixture", "duration_s", *stems.values())
    for row in parquet.read_table(uri, columns).to_pylist():
        targets = {output: row[stem] for output, stem in stems.items() if row[stem] is not None}
        payload = Payload(row["mixture_id"], row["mixture"], targets)
        yield engine.Item(row["mixture_id"], payload, seconds_audio=row["duration_s"])


def _answers(spec: SystemSpec, columns: Sequence[str]) -> dict[str, str]:
    """What a builtin that knows the answer is given, by the name of its output: the target, or those of all talkers
    where the dataset has several.
    """
    if spec.kind != "builtin" or spec.name not in NEEDS_TARGET:
        return {}
    if "target_2" in columns:
        return {name: name for name in talker_targets(columns)}
    return {"estimate": "target"}


def work(settings: Settings, payload: Payload) -> list[Estimate]:
    """One mixture through the system."""
    spec = SystemSpec.model_validate_json(settings.spec)
    model = _model(settings.spec)
    x, rate = audio.decode(payload.mixture)
    targets = {name: audio.decode(stored)[0] for name, stored in payload.targets.items()}
    _seed(settings.system_id, payload.mixture_id)
    own_rate = spec.sample_rate or rate
    heard = audio.resample(x, rate, own_rate)
    try:
        outputs, texts, said_rate = _named(model(heard, own_rate, targets))
    except Exception as error:  # noqa: BLE001 - what a system raises costs it this mixture, message kept
        return [_failed(settings.system_id, payload.mixture_id, "exception", f"{type(error).__name__}: {error}")]
    return [_estimate(settings.system_id, payload.mixture_id, outputs, texts, said_rate, own_rate, x, rate)]


def _named(answer: Any) -> tuple[dict[str, Any], dict[str, str], int | None]:
    """What a system returned, as float32 arrays and as texts by output name, and the rate it says the arrays have."""
    import numpy as np

    rate = None
    if isinstance(answer, tuple):
        answer, rate = answer
    if answer is None:
        raise ValueError("the system returned None")
    outputs = answer if isinstance(answer, Mapping) else {"estimate": answer}
    texts = {str(name): y for name, y in outputs.items() if isinstance(y, str)}
    arrays = {str(n): np.atleast_2d(np.asarray(y, dtype=np.float32)) for n, y in outputs.items() if str(n) not in texts}
    return arrays, texts, rate


def _estimate(
    system_id: str,
    mixture_id: str,
    arrays: dict[str, Any],
    texts: dict[str, str],
    said_rate: int | None,
    own_rate: int,
    x: Any,
    rate: int,
) -> Estimate:
    import numpy as np

    if said_rate is not None and said_rate != own_rate:
        return _failed(
            system_id, mixture_id, "wrong_rate", f"the system was given {own_rate} Hz and returned {said_rate} Hz"
        )
    for name, y in arrays.items():
        if y.ndim != 2 or y.shape[0] not in (1, x.shape[0]) or y.shape[1] == 0:
            return _failed(
                system_id, mixture_id, "wrong_shape", f"output '{name}' has shape {y.shape} for an input of {x.shape}"
            )
        if not np.isfinite(y).all():
            return _failed(
                system_id,
                mixture_id,
                "not_finite",
                f"output '{name}' has {int((~np.isfinite(y)).sum())} NaN or infinite samples",
            )
    arrays = {name: audio.resample(y, own_rate, rate) for name, y in arrays.items()}
    deltas = [y.shape[1] - x.shape[1] for y in arrays.values()]
    delta = max(deltas, key=abs, default=0)
    long = abs(delta) > LENGTH_TOLERANCE_S * rate
    if not long:
        arrays = {name: _fit(y, x.shape[1]) for name, y in arrays.items()}
    encoded = [
        Output(name=name, audio=audio.encode_float(y, rate, f"{mixture_id}-{name}")) for name, y in arrays.items()
    ]
    said = [Output(name=name, text=text) for name, text in texts.items()]
    return Estimate(
        system_id=system_id,
        mixture_id=mixture_id,
        status="ok_len" if long else "ok",
        reason="wrong_length" if long else None,
        message=f"{delta:+d} samples at {rate} Hz" if delta else None,
        sample_rate=rate,
        length_delta=delta,
        outputs=sorted([*encoded, *said], key=lambda output: output.name),
    )


def _fit(y: Any, length: int) -> Any:
    import numpy as np

    return np.pad(y, ((0, 0), (0, max(length - y.shape[1], 0))))[:, :length]


def _failed(system_id: str, mixture_id: str, reason: str, message: str) -> Estimate:
    return Estimate(
        system_id=system_id,
        mixture_id=mixture_id,
        status="failed",
        reason=reason,
        message=message,
        sample_rate=None,
        length_delta=None,
        outputs=[],
    )


def _seed(*names: str) -> None:
    """Systems may use the global generators; give each mixture its own, whatever ran before it."""
    seed = int(ids.digest(list(names))[:8], 16)
    random.seed(seed)
    import numpy as np

    np.random.seed(seed)  # noqa: NPY002  (the systems' global state, not ours)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


# -------------------------------------------------------------------------------------------------- loading models

Model = Callable[[Any, int, Any], Any]


@functools.lru_cache(maxsize=1)
def _model(spec_json: str) -> Model:
    """The loaded system, once per process."""
    spec = SystemSpec.model_validate_json(spec_json)
    if spec.kind == "builtin":
        return _builtin(spec.name)
    enhance = modules.load(spec)
    return lambda x, rate, targets: enhance(x, rate)


def _builtin(name: str) -> Model:
    from eval import masks

    def masked(mask: Callable[..., Any]) -> Model:
        def run(x: Any, rate: int, targets: dict[str, Any]) -> dict[str, Any]:
            return {output: mask(target=y, mixture=x, sample_rate=rate) for output, y in targets.items()}

        return run

    models: dict[str, Model] = {
        "unprocessed": lambda x, rate, targets: x,
        "silence": lambda x, rate, targets: x * 0,
        "oracle": lambda x, rate, targets: targets,
        "irm": masked(masks.irm),
        "ibm": masked(masks.ibm),
    }
    return models[name]


# ------------------------------------------------------------------------------------------------------ the driver


def evaluation_shards(dataset: Dataset, split: str | None) -> list[str]:
    """The shards that systems run on: those of `split`, by default of `test` where there is one, else all."""
    names = dataset.shard_names()
    if not names:
        raise UserError(f"{dataset.root}: no mixtures here; run 'hubbub generate' first")
    known = dataset.splits()
    wanted = split or ("test" if "test" in known else "all")
    if wanted == "all":
        return names
    if wanted not in known:
        raise UserError(f"{dataset.root} has no split '{wanted}'{ids.nearest(wanted, known)}")
    return dataset.shard_names(split=wanted)


def infer(
    dataset: Dataset,
    spec: SystemSpec,
    *,
    workers: int,
    split: str | None = None,
    quiet: bool = False,
    retry_failed: bool = False,
) -> tuple[System, engine.Result, Counter[str], str | None]:
    """Run a system over a dataset.

    Returns its row, the engine's result, how many estimates have each status, and the first message of one that is not
    `ok`.
    """
    shards = evaluation_shards(dataset, split)
    system = identify(spec, None if spec.kind == "builtin" else modules.check(spec))
    _check_target(dataset, spec, shards[0])
    stage = engine.Stage(
        name="infer",
        row_type=Estimate,
        items=items,
        work=work,
        settings=Settings(dataset.root, spec.model_dump_json(), system.system_id),
        out=dataset.path("estimates", system.system_id),
        aside=dataset.root,
        digest=system.system_id,
        item_timeout_s=spec.timeout_s,
        label=f"infer {spec.name}",
        system_id=system.system_id,
        actors=spec.kind == "python",  # only those hold a model
        num_gpus=spec.num_gpus,
    )
    result = engine.run(
        stage,
        mixture_shards(dataset, shards),
        workers=workers,
        budget=1.0,
        quiet=quiet,
        retry_failed=retry_failed,
        keep=dataset.shard_names(),  # estimates of another split stay
    )
    parquet.write_rows(dataset.path("systems", f"{system.system_id}.parquet"), [system], System)
    statuses = estimate_statuses(dataset, system.system_id, shards)
    dataset.record(
        f"infer {system.system_id}",
        stage_entry(stage, result, workers, split=split, statuses=dict(sorted(statuses.items()))),
    )
    return system, result, statuses, first_problem(dataset, system.system_id, shards)


def mixture_shards(dataset: Dataset, names: Sequence[str], *digests: str) -> list[engine.Shard]:
    """Mixture shards as the input of a later stage: what determined them determines its shards too."""
    shards = []
    for name in names:
        footer = parquet.read_footer(dataset.path("mixtures", f"{name}.parquet"))
        shards.append(engine.Shard(name, int(footer["rows"]), digest=ids.digest([footer["digest"], *digests])))
    return shards


def first_problem(dataset: Dataset, system_id: str, shards: Sequence[str]) -> str | None:
    """The message of the first estimate that is not `ok`, for the terminal."""
    for name in shards:
        table = parquet.read_table(
            dataset.path("estimates", system_id, f"{name}.parquet"), ["mixture_id", "status", "message"]
        )
        for row in table.to_pylist():
            if row["status"] != "ok":
                return f"{row['mixture_id']}: {row['message']}"
    return None


def estimate_statuses(dataset: Dataset, system_id: str, shards: Sequence[str]) -> Counter[str]:
    """How many estimates are `ok`, `ok_len (wrong_length)`, `failed (exception)`, ..."""
    found: Counter[str] = Counter()
    for name in shards:
        table = parquet.read_table(dataset.path("estimates", system_id, f"{name}.parquet"), ["status", "reason"])
        found.update(f"{r['status']} ({r['reason']})" if r["reason"] else r["status"] for r in table.to_pylist())
    return found


def _check_target(dataset: Dataset, spec: SystemSpec, shard: str) -> None:
    if spec.kind == "builtin" and spec.name in NEEDS_TARGET:
        names = parquet.read_schema_names(dataset.path("mixtures", f"{shard}.parquet"))
        if "target" not in names:
            raise UserError(
                f"system '{spec.name}' needs the stem 'target', which {dataset.root} does not have; add it to "
                "write.stems and generate again"
            )
