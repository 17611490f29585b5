"""`hubbub plan` and `hubbub generate`: recipe and sources to a dataset (plan, render, seal), and `hubbub replay` of one
row.

A shard holds rows of one split (`train-00003`), so that a split can grow without moving another split's rows.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from manifests import audio, ids, parquet, schema, splits, storage
from manifests.errors import UserError
from manifests.recipe import Recipe, content, render_settings, stem_columns
from manifests.schema import Audio, KeyText, Leak, Mixture, NoiseTrack, Plan, Segment, Source, Talker
from manifests.select import usable
from pipelines import engine, report
from pipelines.dataset import Dataset, stage_entry
from pipelines.scan import sources_digest

__all__ = ["Estimate", "generate", "load_sources", "make_plan", "replay"]


# --------------------------------------------------------------------------------------------------------- sources


def load_sources(uris: Sequence[str], relative_to: str = "") -> list[Source]:
    """Rows of one or more tables of `hubbub scan`. The same samples in two tables count once."""
    if not uris:
        raise UserError("no sources: name tables of 'hubbub scan' with --sources, or in the recipe's 'sources'")
    rows: list[Source] = []
    for uri in uris:
        found = uri if storage.exists(uri) or not relative_to else storage.join(relative_to, uri)
        if not storage.exists(found):
            raise UserError(f"{uri}: no such sources table; make it with 'hubbub scan speech=DIR noise=DIR -o {uri}'")
        rows += parquet.read_rows(found, Source)
    seen: set[str] = set()
    out = []
    for row in rows:
        if row.status == "ok" and row.source_id in seen:
            row = replace(
                row, status="rejected", reason="duplicate", message="the same samples as a source of another table"
            )
        if row.status == "ok":
            seen.add(row.source_id)
        out.append(row)
    return out


# ------------------------------------------------------------------------------------------------------------ plan


@dataclass(frozen=True)
class Estimate:
    """What a plan will cost, before anything is rendered."""

    rows: dict[str, int]
    hours: dict[str, float]
    gigabytes: float
    core_hours: float
    simulated_rooms: int
    left_out: Counter[str]
    groups: dict[str, int]


# Bytes per sample, seconds per second of a channel of audio and per response from a source to a microphone, measured on
# the machine named in README (benchmarks/render.py).
# Only estimates rest on them.
BYTES_PER_SAMPLE = {"flac24": 2.2, "flac16": 1.2, "wav_float32": 4.0}
CORE_S_PER_AUDIO_S = 0.001
CORE_S_PER_RESPONSE = {"shoebox": 0.001, "pyroomacoustics": 0.3}


def make_plan(recipe: Recipe, sources: Sequence[Source]) -> tuple[dict[str, list[Plan]], list[Source], Estimate]:
    """All rows of all splits, the sources with the split each was given, and what rendering them will cost."""
    from augment.plan import plan_split

    kept, left_out = usable(recipe, sources)
    split_of = splits.assign(kept, recipe.split_shares(), recipe.seed)
    kept = [replace(s, split=split_of[s.source_id]) for s in kept]
    rows = {name: list(plan_split(recipe, name, [s for s in kept if s.split == name])) for name in recipe.splits}
    found = splits.leaks((row for part in rows.values() for row in part), {s.source_id: s for s in kept})
    if found:
        worst = "; ".join(f"{leak.kind} {leak.key} in {' and '.join(leak.splits)}" for leak in found[:3])
        raise UserError(f"the plan leaks between splits: {worst} ({len(found)} leaks in all)")
    return rows, kept, _estimate(recipe, rows, kept, left_out)


def _estimate(recipe: Recipe, rows: dict[str, list[Plan]], kept: Sequence[Source], left_out: Counter[str]) -> Estimate:
    plans = [row for part in rows.values() for row in part]
    seconds = {name: sum(r.frames / r.sample_rate for r in part) for name, part in rows.items()}
    samples = sum(r.frames * _written_signals(recipe, r) for r in plans)
    simulated = sum(r.room is not None and r.room.engine in CORE_S_PER_RESPONSE for r in plans)
    audio_s = sum(r.frames / r.sample_rate * _channels(r) for r in plans)
    return Estimate(
        rows={name: len(part) for name, part in rows.items()},
        hours={name: s / 3600 for name, s in seconds.items()},
        gigabytes=samples * BYTES_PER_SAMPLE[recipe.write.encoding] / 1e9,
        core_hours=(
            audio_s * CORE_S_PER_AUDIO_S * recipe.sample_rate / 16000
            + sum(_responses(r) * CORE_S_PER_RESPONSE[r.room.engine] for r in plans if r.room and r.room.array)
        )
        / 3600,
        simulated_rooms=simulated,
        left_out=left_out,
        groups=dict(Counter(f"{s.kind} {s.split}" for s in kept)),
    )


def _written_signals(recipe: Recipe, plan: Plan) -> int:
    return _channels(plan) * len(stem_columns(recipe.write.stems, len(plan.talkers)))


def _channels(plan: Plan) -> int:
    return len(plan.room.array.positions_m) if plan.room and plan.room.array else 1


def _responses(plan: Plan) -> int:
    """How many responses are simulated: of each source, or point of a way, to each microphone."""
    points = sum(max(1, len(talker.trajectory_m)) for talker in plan.talkers)
    return _channels(plan) * (points + sum(noise.position_m is not None for noise in plan.noises))


def _shards(recipe: Recipe, rows: dict[str, list[Plan]]) -> dict[str, list[Plan]]:
    size = recipe.write.rows_per_shard
    return {
        f"{name}-{i // size:05d}": part[i : i + size] for name, part in rows.items() for i in range(0, len(part), size)
    }


# --------------------------------------------------------------------------------------------- render, in a worker


WHOLE_NOISE_S = 30.0


@dataclass(frozen=True)
class Settings:
    """What a render worker needs beside its shard."""

    root: str
    stems: tuple[str, ...]
    encoding: str
    peak: float
    sources_digest: str


def items(settings: Settings, shard: engine.Shard) -> Iterator[engine.Item]:
    for plan in Dataset(settings.root).plans(shard.name):
        yield engine.Item(
            id=plan.mixture_id,
            payload=plan,
            source_id=plan.talkers[0].segments[0].source_id,
            seconds_audio=plan.frames / plan.sample_rate,
        )


def work(settings: Settings, plan: Plan) -> list[Mixture]:
    """Render one row of the plan."""
    from augment.render import render

    sources = _sources(settings.root, settings.sources_digest)
    rendered = render(
        plan,
        load=functools.partial(_load, sources, plan.sample_rate),
        load_rir=functools.partial(_load_rir, sources, plan.sample_rate),
        stems=settings.stems,
        bits=audio.GRID_BITS[settings.encoding],
        peak=settings.peak,
    )
    return [_mixture(plan, rendered, sources, settings)]


@functools.lru_cache(maxsize=2)
def _sources(root: str, digest: str) -> dict[str, Source]:
    """The dataset's sources by id, read once per process."""
    return {s.source_id: s for s in Dataset(root).sources() if s.status == "ok"}


def _load(sources: dict[str, Source], rate: int, segment: Segment) -> Any:
    """The samples of a segment at the mixture's rate, exactly `segment.length` of them.

    A short noise is decoded and resampled whole and kept, because loops and later rows cut it again; of anything else
    only the stretch is read. Which of the two depends on the source alone, so that no byte depends on what was kept.
    """
    import numpy as np

    source, own = sources[segment.source_id], segment.sample_rate
    if source.kind == "noise" and (source.duration_s or 0.0) <= WHOLE_NOISE_S:
        start = -(-segment.start * rate // own)
        x = _noise(source.uri, source.frames or 0, segment.channel, own, rate)[start : start + segment.length]
    else:
        stretch = audio.read_segment(source.uri, start=segment.start, frames=segment.frames, channel=segment.channel)
        x = audio.resample(stretch, own, rate)[: segment.length]
    return x if len(x) == segment.length else np.pad(x, (0, segment.length - len(x)))


@functools.lru_cache(maxsize=32)
def _noise(uri: str, frames: int, channel: int, own_rate: int, rate: int) -> Any:
    """One channel of a short noise at the mixture's rate."""
    return audio.resample(audio.read_segment(uri, start=0, frames=frames, channel=channel), own_rate, rate)


def _load_rir(sources: dict[str, Source], rate: int, user: Talker | NoiseTrack) -> Any:
    """A measured RIR's drawn channels at the mixture's rate, with its acoustics."""
    source = sources[str(user.rir_source_id)]
    return _rir(source.uri, source.frames or 0, tuple(user.rir_channels), source.sample_rate or rate, rate)


@functools.lru_cache(maxsize=256)
def _rir(uri: str, frames: int, channels: tuple[int, ...], own_rate: int, rate: int) -> Any:
    """Resampling keeps the sampled sum, so the taps are scaled by the ratio of rates to keep the response's gain."""
    import numpy as np

    from augment.render import measured_response

    h = [audio.resample(audio.read_segment(uri, start=0, frames=frames, channel=c), own_rate, rate) for c in channels]
    return measured_response(np.stack(h) * np.float32(own_rate / rate), rate)


def _mixture(plan: Plan, rendered: Any, sources: dict[str, Source], settings: Settings) -> Mixture:
    first = plan.talkers[0]
    speech = [sources[s.source_id] for t in plan.talkers for s in t.segments]
    bands = [s.bandwidth_hz for s in speech if s.bandwidth_hz is not None]
    room = rendered.talkers[0]
    columns: dict[str, Any] = {
        name: audio.encode(signal, plan.sample_rate, settings.encoding, f"{plan.mixture_id}-{name}")
        for name, signal in rendered.signals.items()
    }
    return Mixture(
        **{f.name: getattr(plan, f.name) for f in fields(Plan)},
        duration_s=plan.frames / plan.sample_rate,
        snr_db=rendered.snr_db,
        snr_kind=plan.noises[0].snr_kind if plan.noises else None,
        sir_db=rendered.sir_db,
        overlap_ratio=rendered.overlap_ratio,
        level_dbfs=rendered.level_dbfs,
        gain_db=rendered.gain_db,
        gain_reason=rendered.gain_reason,
        peak=rendered.peak,
        residual_dbfs=rendered.residual_dbfs,
        channels=len(rendered.signals["mixture"]),
        reverberant=plan.room is not None,
        moving=any(t.trajectory_m for t in plan.talkers),
        array_preset=plan.room.array.preset if plan.room and plan.room.array else None,
        noise_place="+".join(sorted({n.place for n in plan.noises})) or None,
        room_engine=plan.room.engine if plan.room else None,
        rt60_s=room.rt60_s,
        rt60_status=rendered.rt60_status,
        absorption_scale=rendered.absorption_scale,
        simulations=rendered.simulations,
        drr_db=room.drr_db,
        distance_m=room.distance_m,
        azimuth_deg=room.azimuth_deg,
        speaker_id=first.speaker_id,
        language=first.language,
        gender=first.gender,
        noise_class="+".join(sorted({n.noise_class or "unknown" for n in plan.noises})) or None,
        bandwidth_hz=min([*bands, plan.sample_rate / 2]),
        transcript=first.transcript,
        talker_measures=rendered.talkers,
        noise_measures=rendered.noises,
        sha256=[KeyText(name, audio.sha256(signal)) for name, signal in sorted(rendered.signals.items())],
        sources_digest=settings.sources_digest,
        **columns,
    )


def _columns(recipe: Recipe) -> tuple[str, ...]:
    """Columns of the mixtures table: every scalar, and the audio that the recipe writes."""
    most = int(recipe.talkers.count.support()[1])
    stems = stem_columns(recipe.write.stems, most)
    return tuple(f.name for f in fields(Mixture) if f.name not in schema.audio_columns(Mixture) or f.name in stems)


# ------------------------------------------------------------------------------------------------------ the driver


def generate(
    recipe: Recipe,
    sources: Sequence[Source],
    out: str,
    *,
    workers: int,
    quiet: bool = False,
    retry_failed: bool = False,
) -> tuple[Dataset, engine.Result]:
    """Plan, render and seal a dataset in folder `out`. A folder that holds a part of it is completed."""
    dataset = Dataset(out)
    rows, kept, estimate = make_plan(recipe, sources)
    digest = sources_digest(kept)
    dataset.check_same(recipe, digest)
    dataset.write_recipe(recipe)
    parquet.write_rows(dataset.path("sources.parquet"), kept, Source, digest=digest)
    shards = _shards(recipe, rows)
    _write_plan(dataset, recipe, shards)
    stage = render_stage(dataset, recipe, digest)
    result = engine.run(
        stage,
        [engine.Shard(name, len(part), digest=_rows_digest(part)) for name, part in shards.items()],
        workers=workers,
        budget=recipe.failure_budget,
        quiet=quiet,
        retry_failed=retry_failed,
    )
    began = time.monotonic()
    seal(dataset, shards, {s.source_id: s for s in kept})
    report.write_card(dataset)
    left_out = dict(sorted(estimate.left_out.items()))
    dataset.record(
        "render",
        stage_entry(
            stage,
            result,
            workers,
            sources_digest=digest,
            left_out=left_out,
            seal_seconds=round(time.monotonic() - began, 3),
        ),
    )
    return dataset, result


def render_stage(dataset: Dataset, recipe: Recipe, digest: str) -> engine.Stage:
    settings = Settings(
        root=dataset.root,
        stems=tuple(recipe.write.stems),
        encoding=recipe.write.encoding,
        peak=recipe.write.peak,
        sources_digest=digest,
    )
    return engine.Stage(
        name="render",
        row_type=Mixture,
        items=items,
        work=work,
        settings=settings,
        out=dataset.path("mixtures"),
        aside=dataset.root,
        digest=ids.digest({"content": content(recipe), "render": render_settings(recipe), "sources": digest}),
        columns=_columns(recipe),
        sample_rate=recipe.sample_rate,
        label=f"render {recipe.name}",
    )


def _rows_digest(part: Sequence[Plan]) -> str:
    return ids.digest([row.mixture_id for row in part])


def _write_plan(dataset: Dataset, recipe: Recipe, shards: dict[str, list[Plan]]) -> None:
    """The plan's parts; those of an earlier, larger plan are removed."""
    digest = ids.digest(content(recipe))
    for name in storage.listing(dataset.path("plan"), "*.parquet"):
        if name.removesuffix(".parquet") not in shards:
            storage.remove(dataset.path("plan", name))
    for name, part in shards.items():
        parquet.write_rows(
            dataset.path("plan", f"{name}.parquet"), part, Plan, digest=ids.digest([digest, _rows_digest(part)])
        )


def seal(dataset: Dataset, shards: dict[str, list[Plan]], sources: dict[str, Source]) -> None:
    """Check that every planned row is a mixture, dropped or failed; write the manifest (no audio) and the leaks."""
    planned = {row.mixture_id for part in shards.values() for row in part}
    scalar = [f.name for f in fields(Mixture) if f.name not in schema.audio_columns(Mixture)]
    mixtures = [row for name in shards for row in dataset.mixtures(name, scalar)]
    gaps = planned - {m.mixture_id for m in mixtures} - dataset.set_aside()
    if gaps:
        raise RuntimeError(
            f"{len(gaps)} planned rows are neither mixtures nor dropped nor failed, for example {min(gaps)}"
        )
    found = splits.leaks(mixtures, sources)
    parquet.write_rows(dataset.path("leaks.parquet"), found, Leak)
    if found:
        raise RuntimeError(f"the mixtures leak between splits: {found[0]}")
    parquet.write_rows(
        dataset.path("manifest.parquet"),
        mixtures,
        Mixture,
        digest=ids.digest(sorted(planned)),
        arrow=schema.arrow_schema(Mixture, tuple(scalar)),
    )


# ---------------------------------------------------------------------------------------------------------- replay


def replay(dataset: Dataset, mixture_id: str) -> dict[str, bool]:
    """Render one finished row again from the row alone and compare the bytes of every signal: name -> identical."""
    recipe = dataset.recipe()
    stored = _find(dataset, mixture_id)
    plan = Plan(**{f.name: getattr(stored, f.name) for f in fields(Plan)})
    stage = render_stage(dataset, recipe, stored.sources_digest)
    (again,) = work(stage.settings, plan)
    names = [n for n in schema.audio_columns(Mixture) if getattr(stored, n) is not None]
    return {name: _same(getattr(stored, name), getattr(again, name)) for name in names}


def _same(stored: Audio, again: Audio | None) -> bool:
    return again is not None and stored.bytes == again.bytes


def _find(dataset: Dataset, mixture_id: str) -> Mixture:
    """A row by its id or an unambiguous beginning of it."""
    found = [(shard, full) for full, shard in dataset.shard_of().items() if full.startswith(mixture_id)]
    if len(found) != 1:
        what = "no mixture has" if not found else f"{len(found)} mixtures have"
        raise UserError(
            f"{dataset.root}: {what} an id that begins with '{mixture_id}'; ids are in manifest.parquet, column "
            "mixture_id"
        )
    ((shard, full),) = found
    return next(row for row in dataset.mixtures(shard) if row.mixture_id == full)
