"""The plan: every choice of a mixture, drawn before any audio is read.

Conventions
    A row's draws depend on (dataset seed, split, index, purpose); which utterance, noise and room a row gets also
    depends on the rows before it
    in its split, because sources are balanced. So the first n rows are the same however many follow. Positions are
    rounded to 1 mm, levels and SNRs to 0.001 dB, times to samples, before they are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from augment import rooms, timing
from augment.draw import Balanced, cells, generator, sample
from manifests import ids
from manifests.audio import RESAMPLER
from manifests.errors import UserError
from manifests.recipe import Distribution, Recipe
from manifests.schema import KeyText, NoiseTrack, Plan, Room, Segment, Source, Talker

__all__ = ["plan_split"]

Keep = Callable[[Source], bool]


def plan_split(recipe: Recipe, split: str, sources: Sequence[Source]) -> Iterator[Plan]:
    """The rows of one split in order, until its size is reached. `sources` are those of this split."""
    size, frames, index = recipe.splits[split], 0, 0
    dealer = _Dealer(recipe, split, sources)
    while index < size.clips if size.clips is not None else frames < (size.seconds or 0.0) * recipe.sample_rate:
        plan = _row(recipe, split, index, dealer)
        frames += plan.frames
        index += 1
        yield plan


class _Dealer:
    """The balanced queues of one split."""

    def __init__(self, recipe: Recipe, split: str, sources: Sequence[Source]) -> None:
        self._seed, self._split = recipe.seed, split
        self.speech, self.noise, self.rir = (self._queue(kind, sources) for kind in ("speech", "noise", "rir"))
        self.rirs_in_room: dict[str | None, int] = {}
        for source in sources:
            if source.kind == "rir":
                self.rirs_in_room[_room_key(source)] = self.rirs_in_room.get(_room_key(source), 0) + 1

    def _queue(self, kind: str, sources: Sequence[Source]) -> Balanced[Source]:
        return Balanced([s for s in sources if s.kind == kind], self._seed, self._split, f"{kind} order")


def _room_key(source: Source) -> str:
    return source.room_id or source.source_id


@dataclass(frozen=True)
class _Draw:
    """The draws of one row: a stream per purpose."""

    recipe: Recipe
    split: str
    index: int
    cell: Mapping[Any, int]

    def stream(self, purpose: str) -> Any:
        return generator(self.recipe.seed, self.split, self.index, purpose)

    def value(self, key: str, distribution: Distribution, number: int = 0, attempt: int = 0) -> Any:
        """A value of the recipe's `key`; `number` tells talkers or noises apart, `attempt` redraws."""
        return sample(distribution, self.stream(f"{key}#{number}#{attempt}"), cell=self.cell.get(key, 0))

    def integer(self, purpose: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self.stream(purpose).integers(low, max(high, low), endpoint=True))


def _row(recipe: Recipe, split: str, index: int, dealer: _Dealer) -> Plan:
    axes = _grids(recipe)
    draw = _Draw(recipe, split, index, cells([(key, len(d.values)) for key, d in axes], index))
    mixture_id = ids.mixture_id(recipe.name, recipe.seed, split, index)
    utterances = _utterances(draw, dealer, int(draw.value("talkers.count", recipe.talkers.count)))
    frames = _clip_frames(recipe, utterances[0])
    room, places = _room(draw, dealer, mixture_id, len(utterances))
    talkers = [_talker(draw, dealer, k, u, frames, places[k]) for k, u in enumerate(utterances)]
    noises = _noises(draw, dealer, frames)
    used = _used(talkers, noises, dealer, places)
    return Plan(
        mixture_id=mixture_id,
        split=split,
        index=index,
        dataset=recipe.name,
        seed=recipe.seed,
        sample_rate=recipe.sample_rate,
        frames=frames,
        resampler=RESAMPLER if any(s.sample_rate != recipe.sample_rate for s in used) else None,
        target_kind=recipe.target.kind,
        early_ms=recipe.target.early_ms if recipe.target.kind == "early" else None,
        talkers=[t for t, _ in talkers],
        noises=[n for n, _ in noises],
        room=room,
        licences=sorted({s.licence for s in used if s.licence}),
        condition=[KeyText(key, str(d.values[draw.cell[key]])) for key, d in axes],
    )


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


def _used(talkers: Sequence[Any], noises: Sequence[Any], dealer: _Dealer, places: Sequence[_Place]) -> list[Source]:
    return [s for _, group in [*talkers, *noises] for s in group] + [p.rir for p in places if p.rir]


# --------------------------------------------------------------------------------------------------------- talkers


def _utterances(draw: _Draw, dealer: _Dealer, count: int) -> list[Source]:
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
    draw: _Draw, dealer: _Dealer, number: int, utterance: Source, frames: int, place: _Place
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
        rir_source_id=place.rir.source_id if place.rir else None,
        rir_channel=place.channel,
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
    draw: _Draw, dealer: _Dealer, number: int, utterance: Source, frames: int
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
    draw: _Draw, dealer: _Dealer, number: int, utterance: Source, frames: int
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


def _noises(draw: _Draw, dealer: _Dealer, frames: int) -> list[tuple[NoiseTrack, list[Source]]]:
    """One track per noise, all of different recordings where the split has them."""
    chosen: list[Source] = []
    for _ in range(int(draw.value("noise.count", draw.recipe.noise.count))):
        found = dealer.noise.pop(lambda s: all(_recording(s) != _recording(c) for c in chosen)) or dealer.noise.pop()
        if found is None:
            raise UserError(f"split '{draw.split}' has no noise sources")
        chosen.append(found)
    return [(_noise_track(draw, k, source, frames), [source]) for k, source in enumerate(chosen)]


def _recording(source: Source) -> str:
    return source.recording_id or source.source_id


def _noise_track(draw: _Draw, number: int, source: Source, frames: int) -> NoiseTrack:
    rate = draw.recipe.sample_rate
    length = _frames_at(source, rate)
    channel = draw.integer(f"noise channel#{number}", 0, (source.channels or 1) - 1)
    start = draw.integer(f"noise start#{number}", 0, length - frames if length >= frames else length - 1)
    fade = min(round(draw.recipe.noise.fade_s * rate), length // 2)
    pieces = timing.loop_plan(source_frames=length, start=start, length=frames, fade=fade)
    segments = [_segment(source, channel, rate, offset=offset, at=at, length=count) for offset, count, at in pieces]
    return NoiseTrack(
        source_id=source.source_id,
        recording_id=source.recording_id,
        noise_class=source.noise_class,
        segments=segments,
        loop_seams=[s.at for s in segments[1:]],
        snr_db=draw.value("noise.snr_db", draw.recipe.noise.snr_db, number),
        snr_kind=draw.recipe.noise.snr,
    )


# ----------------------------------------------------------------------------------------------------------- rooms


@dataclass(frozen=True)
class _Place:
    """Where one talker is: nowhere (dry), at a position of a simulated room, or behind a measured RIR."""

    position_m: list[float] | None = None
    rir: Source | None = None
    channel: int | None = None


def _room(draw: _Draw, dealer: _Dealer, mixture_id: str, talkers: int) -> tuple[Room | None, list[_Place]]:
    """The room of a row and the place of each talker in it."""
    recipe = draw.recipe
    if draw.stream("rooms.probability").random() >= recipe.rooms.probability:
        return None, [_Place()] * talkers
    if draw.value("rooms.kind", recipe.rooms.kind) == "measured":
        return _measured_room(draw, dealer, talkers)
    return _simulated_room(draw, mixture_id, talkers)


def _measured_room(draw: _Draw, dealer: _Dealer, talkers: int) -> tuple[Room, list[_Place]]:
    """RIRs of one room, a different one per talker as far as the room has them."""
    enough = min(talkers, max(dealer.rirs_in_room.values(), default=0))
    first = dealer.rir.pop(lambda s: dealer.rirs_in_room[_room_key(s)] >= enough)
    if first is None:
        raise UserError(f"split '{draw.split}' has no rir sources")
    chosen = [first]
    for _ in range(talkers - 1):
        other = dealer.rir.pop(lambda s: _room_key(s) == _room_key(first) and s not in chosen)
        chosen.append(other or first)
    places = [
        _Place(rir=rir, channel=draw.integer(f"rir channel#{k}", 0, (rir.channels or 1) - 1))
        for k, rir in enumerate(chosen)
    ]
    return Room(engine="measured", room_id=_room_key(first), rt60_requested_s=first.rt60_s), places


def _simulated_room(draw: _Draw, mixture_id: str, talkers: int) -> tuple[Room, list[_Place]]:
    """The first feasible draw of a shoebox with a microphone and the talkers in it."""
    for attempt in range(draw.recipe.rooms.max_redraws + 1):
        found = _try_room(draw, mixture_id, talkers, attempt)
        if found:
            return found
    raise UserError(
        f"split '{draw.split}', row {draw.index}: no feasible room in {draw.recipe.rooms.max_redraws + 1} draws. "
        "Check rooms.size_m, rt60_s, distance_m and wall_margin_m against one another"
    )


def _try_room(draw: _Draw, mixture_id: str, talkers: int, attempt: int) -> tuple[Room, list[_Place]] | None:
    spec = draw.recipe.rooms
    size = [
        draw.value(f"rooms.size_m.{axis}", getattr(spec.size_m, axis), attempt=attempt)
        for axis in ("length", "width", "height")
    ]
    rt60_s = draw.value("rooms.rt60_s", spec.rt60_s, attempt=attempt)
    walls = rooms.sabine(rt60_s, size)
    if walls is None or min(size[:2]) <= 2 * spec.wall_margin_m:
        return None
    rng = draw.stream(f"positions#{attempt}")
    margin = spec.wall_margin_m
    microphone = [round(float(rng.uniform(margin, side - margin)), 3) for side in size[:2]]
    microphone.append(draw.value("rooms.microphone_height_m", spec.microphone_height_m, attempt=attempt))
    positions = [_talker_position(draw, k, attempt, rng, microphone) for k in range(talkers)]
    if not all(p and _inside(p, size, margin) for p in [microphone, *positions]):
        return None
    room = Room(
        engine="shoebox",
        room_id=ids.short(["room", mixture_id]),
        size_m=size,
        rt60_requested_s=rt60_s,
        absorption=round(walls[0], 6),
        max_order=walls[1],
        array_positions_m=[microphone],
        redraws=attempt,
    )
    return room, [_Place(position_m=p) for p in positions]


def _talker_position(
    draw: _Draw, number: int, attempt: int, rng: Any, microphone: Sequence[float]
) -> list[float] | None:
    """A point at a drawn distance and height in a uniform direction; None where the height alone is farther than the
    distance.
    """
    spec = draw.recipe.rooms
    distance = draw.value("rooms.distance_m", spec.distance_m, number, attempt)
    height = draw.value("rooms.talker_height_m", spec.talker_height_m, number, attempt)
    azimuth = rng.uniform(0, 2 * math.pi)
    across = distance**2 - (height - microphone[2]) ** 2
    if across < 0:
        return None
    ground = math.sqrt(across)
    return [
        round(microphone[0] + ground * math.cos(azimuth), 3),
        round(microphone[1] + ground * math.sin(azimuth), 3),
        height,
    ]


def _inside(position: Sequence[float], size: Sequence[float], margin: float) -> bool:
    x, y, z = position
    return margin <= x <= size[0] - margin and margin <= y <= size[1] - margin and 0.05 <= z <= size[2] - 0.05
