"""The plan: every choice of a mixture, drawn before any audio is read.

Conventions
    A row's draws depend on (dataset seed, split, index, purpose); which utterance, noise and room a row gets also
    depends on the rows before it
    in its split, because sources are balanced. So the first n rows are the same however many follow. Positions are
    rounded to 1 mm, levels and SNRs to 0.001 dB, times to samples, before they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from augment import timing
from augment.draw import Dealer, Draw, cells
from augment.scene import Place, Scene, draw_scene
from manifests import ids
from manifests.audio import RESAMPLER
from manifests.errors import UserError
from manifests.recipe import FLAC_CHANNELS, Clock, Distribution, Recipe
from manifests.schema import Degradation, KeyNumbers, KeyText, NoiseTrack, Plan, Segment, Source, Talker

__all__ = ["plan_split"]

PREROLL_S = 1
"""How long a noise in a room is on before the mixture begins, so that its reverberation is there."""


def plan_split(recipe: Recipe, split: str, sources: Sequence[Source]) -> Iterator[Plan]:
    """The rows of one split in order, until its size is reached. `sources` are those of this split."""
    size, frames, index = recipe.splits[split], 0, 0
    dealer = Dealer(recipe, split, sources)
    while index < size.clips if size.clips is not None else frames < (size.seconds or 0.0) * recipe.sample_rate:
        plan = _row(recipe, split, index, dealer)
        frames += plan.frames
        index += 1
        yield plan


def _row(recipe: Recipe, split: str, index: int, dealer: Dealer) -> Plan:
    axes = _grids(recipe)
    draw = Draw(recipe, split, index, cells([(key, len(d.values)) for key, d in axes], index))
    mixture_id = ids.mixture_id(recipe.name, recipe.seed, split, index)
    utterances = _utterances(draw, dealer, int(draw.value("talkers.count", recipe.talkers.count)))
    frames = _clip_frames(recipe, utterances[0])
    recordings = _recordings(draw, dealer)
    scene = draw_scene(
        draw,
        dealer,
        mixture_id,
        talkers=len(utterances),
        noises=len(recordings),
        seconds=frames / recipe.sample_rate,
    )
    channels = _channels(draw, scene)
    talkers = [_talker(draw, dealer, k, u, frames, scene.talkers[k]) for k, u in enumerate(utterances)]
    noises = [_noise_track(draw, k, s, frames, scene.noises[k], channels) for k, s in enumerate(recordings)]
    used = [s for _, group in talkers for s in group] + recordings
    used += [place.rir for place in (*scene.talkers, *scene.noises) if place.rir]
    kind = recipe.target.kind
    return Plan(
        mixture_id=mixture_id,
        split=split,
        index=index,
        dataset=recipe.name,
        seed=recipe.seed,
        sample_rate=recipe.sample_rate,
        frames=frames,
        resampler=RESAMPLER if any(s.sample_rate != recipe.sample_rate for s in used) else None,
        target_kind=kind,
        early_ms=recipe.target.early_ms if kind == "early" else None,
        window_ms=list(recipe.target.window_ms) if kind == "direct_window" else [],
        talkers=[t for t, _ in talkers],
        noises=noises,
        room=scene.room,
        noise_room=scene.noise_room,
        degradations=[_degradation(draw, k, op, channels) for k, op in enumerate(recipe.degrade)],
        labels_hz=recipe.rooms.labels_hz,
        licences=sorted({s.licence for s in used if s.licence}),
        condition=[KeyText(key, str(d.values[draw.cell[key]])) for key, d in axes],
    )


def _channels(draw: Draw, scene: Scene) -> int:
    """How many channels the row will have."""
    if scene.room is None:
        return 1
    if scene.room.array is not None:
        return len(scene.room.array.positions_m)
    counts = {len(place.channels) for place in (*scene.talkers, *scene.noises) if place.rir}
    if len(counts) > 1 or (max(counts) > FLAC_CHANNELS and draw.recipe.write.encoding != "wav_float32"):
        raise UserError(
            f"split '{draw.split}', row {draw.index}: rooms.measured_channels: all wants RIRs with one number of "
            f"channels per room, and at most {FLAC_CHANNELS} in FLAC (write.encoding: wav_float32 takes more); room "
            f"{scene.room.room_id} has {sorted(counts)}"
        )
    return max(counts)


def _degradation(draw: Draw, number: int, op: Clock, channels: int) -> Degradation:
    """The numbers of one operation; the reference keeps its clock."""
    params = [
        KeyNumbers(
            name,
            [0.0]
            + [draw.value(f"degrade.{number}.{name}", getattr(op, name), channel) for channel in range(1, channels)],
        )
        for name in ("offset_us", "drift_ppm")
    ]
    return Degradation(op=op.op, target_follows=True, params=params)


def _grids(recipe: Recipe) -> list[tuple[str, Distribution]]:
    """The `grid` distributions of a recipe with their keys, in the order of the recipe's schema."""

    def walk(prefix: str, model: BaseModel) -> Iterator[tuple[str, Distribution]]:
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, Distribution):
                if value.kind == "grid":
                    yield f"{prefix}{name}", value
            elif isinstance(value, BaseModel):
                yield from walk(f"{prefix}{name}.", value)

    return list(walk("", recipe))


# --------------------------------------------------------------------------------------------------------- talkers


def _utterances(draw: Draw, dealer: Dealer, count: int) -> list[Source]:
    """One utterance per talker, all of different speakers."""
    chosen: list[Source] = []
    for _ in range(count):
        found = dealer.speech.pop(lambda s: all(_speaker(s) != _speaker(c) for c in chosen))
        if found is None:
            raise UserError(
                f"split '{draw.split}', row {draw.index}: {count} talkers are asked for, the split has {len(chosen)} "
                "speaker(s). "
                "Lower talkers.count, add speakers, or give the split a larger share"
            )
        chosen.append(found)
    return chosen


def _speaker(source: Source) -> str:
    return source.speaker_id or source.source_id


def _frames_at(source: Source, rate: int) -> int:
    """How many samples a source has after resampling to `rate`."""
    return (source.frames or 0) * rate // (source.sample_rate or 1)


def _clip_frames(recipe: Recipe, utterance: Source) -> int:
    if recipe.clip_s == "utterance":
        return _frames_at(utterance, recipe.sample_rate)
    return round(float(recipe.clip_s) * recipe.sample_rate)


def _segment(source: Source, channel: int, rate: int, *, offset: int, at: int, length: int) -> Segment:
    """`length` samples of `source` from `offset` (both at `rate`) placed at `at`; positions in the source count at its
    own rate.
    """
    own, total = source.sample_rate or rate, source.frames or 0
    start = min(offset * own // rate, total)
    frames = min(-(-length * own // rate), total - start)
    return Segment(
        source_id=source.source_id, channel=channel, sample_rate=own, start=start, frames=frames, at=at, length=length
    )


def _talker(
    draw: Draw, dealer: Dealer, number: int, utterance: Source, frames: int, place: Place
) -> tuple[Talker, list[Source]]:
    recipe = draw.recipe
    segments, used = _speech_track(draw, dealer, number, utterance, frames)
    first = number == 0
    talker = Talker(
        role="target" if first else "interferer",
        speaker_id=utterance.speaker_id,
        segments=segments,
        level_dbfs=draw.value("talkers.level_dbfs", recipe.talkers.level_dbfs) if first else None,
        level_kind=recipe.talkers.level,
        sir_db=None if first else draw.value("talkers.sir_db", recipe.talkers.sir_db, number),
        transcript=_transcript(segments, used),
        language=utterance.language,
        gender=utterance.gender,
        position_m=place.position_m,
        trajectory_m=place.trajectory_m,
        pattern=place.pattern,
        rir_source_id=place.rir.source_id if place.rir else None,
        rir_channels=place.channels,
        rir_sample_rate=place.rir.sample_rate if place.rir else None,
    )
    return talker, used


def _transcript(segments: Sequence[Segment], used: Sequence[Source]) -> str | None:
    """What is said: known only where every utterance has a transcript and none was cut."""
    whole = all(_is_whole(segment, source) for segment, source in zip(segments, used, strict=True))
    return " ".join(s.transcript or "" for s in used) if whole and all(s.transcript for s in used) else None


def _is_whole(segment: Segment, source: Source) -> bool:
    """Whether a segment is all of its source, but for the rounding of its length to the mixture's rate."""
    return (source.frames or 0) - segment.frames <= 0.001 * segment.sample_rate


def _speech_track(
    draw: Draw, dealer: Dealer, number: int, utterance: Source, frames: int
) -> tuple[list[Segment], list[Source]]:
    """Where a talker's speech comes from and goes: a crop of a long utterance, or a short one placed at random, or
    several in a row.
    """
    rate = draw.recipe.sample_rate
    length = _frames_at(utterance, rate)
    if length >= frames:
        offset = draw.integer(f"talker crop#{number}", 0, length - frames)
        return [_segment(utterance, 0, rate, offset=offset, at=0, length=frames)], [utterance]
    if draw.recipe.talkers.fill == "one":
        at = draw.integer(f"talker place#{number}", 0, frames - length)
        return [_segment(utterance, 0, rate, offset=0, at=at, length=length)], [utterance]
    return _concatenate(draw, dealer, number, utterance, frames)


def _concatenate(
    draw: Draw, dealer: Dealer, number: int, utterance: Source, frames: int
) -> tuple[list[Segment], list[Source]]:
    """Utterances of one speaker with drawn gaps until the clip is full; the last one is cut at its end."""
    rate = draw.recipe.sample_rate
    segments: list[Segment] = []
    used: list[Source] = []
    at = 0
    following: Source | None = utterance
    while at < frames and following is not None:
        length = min(_frames_at(following, rate), frames - at)
        segments.append(_segment(following, 0, rate, offset=0, at=at, length=length))
        used.append(following)
        gap_s = draw.value("talkers.gap_s", draw.recipe.talkers.gap_s, number * 1000 + len(used))
        at += length + round(gap_s * rate)
        following = dealer.speech.pop(lambda s: _speaker(s) == _speaker(utterance)) if at < frames else None
    return segments, used


# ---------------------------------------------------------------------------------------------------------- noises


def _recordings(draw: Draw, dealer: Dealer) -> list[Source]:
    """One recording per noise, all different where the split has them."""
    chosen: list[Source] = []
    for _ in range(int(draw.value("noise.count", draw.recipe.noise.count))):
        found = dealer.noise.pop(lambda s: all(_recording(s) != _recording(c) for c in chosen)) or dealer.noise.pop()
        if found is None:
            raise UserError(f"split '{draw.split}' has no noise sources")
        chosen.append(found)
    return chosen


def _recording(source: Source) -> str:
    return source.recording_id or source.source_id


def _noise_track(draw: Draw, number: int, source: Source, frames: int, place: Place, channels: int) -> NoiseTrack:
    rate = draw.recipe.sample_rate
    length = _frames_at(source, rate)
    channel = draw.integer(f"noise channel#{number}", 0, (source.channels or 1) - 1)
    start = draw.integer(f"noise start#{number}", 0, length - frames if length >= frames else length - 1)
    preroll = PREROLL_S * rate if place.kind in ("point", "own_room") else 0
    segments = _looped(draw, source, channel, start, frames + preroll)
    inputs = channels if place.kind == "diffuse" else 1
    return NoiseTrack(
        source_id=source.source_id,
        recording_id=source.recording_id,
        noise_class=source.noise_class,
        segments=segments,
        loop_seams=[s.at - preroll for s in segments[1:] if s.at >= preroll],
        snr_db=draw.value("noise.snr_db", draw.recipe.noise.snr_db, number),
        snr_kind=draw.recipe.noise.snr,
        place=place.kind,
        preroll=preroll,
        position_m=place.position_m,
        rir_source_id=place.rir.source_id if place.rir else None,
        rir_channels=place.channels,
        rir_sample_rate=place.rir.sample_rate if place.rir else None,
        coherence=draw.recipe.noise.coherence if place.kind == "diffuse" else None,
        more_inputs=[
            _looped(draw, source, channel, (start + k * length // inputs) % length, frames) for k in range(1, inputs)
        ],
    )


def _looped(draw: Draw, source: Source, channel: int, start: int, frames: int) -> list[Segment]:
    """`frames` samples of a recording from `start` on (both at the recipe's rate), begun again where it ends."""
    rate = draw.recipe.sample_rate
    length = _frames_at(source, rate)
    fade = min(round(draw.recipe.noise.fade_s * rate), length // 2)
    pieces = timing.loop_plan(source_frames=length, start=start, length=frames, fade=fade)
    return [_segment(source, channel, rate, offset=offset, at=at, length=count) for offset, count, at in pieces]
