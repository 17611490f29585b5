"""Witnesses: plans of sources that exist only as rows; every promise checked on every segment; counts; growth."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import scipy.stats

from augment import decay, rooms
from augment.plan import plan_split
from manifests import audio, ids
from manifests.errors import UserError
from manifests.recipe import Recipe
from manifests.schema import KeyText, Plan, Segment, Source, from_table, to_table

RATE = 16_000


def source(name: str, kind: str = "speech", seconds: float = 4.0, rate: int = RATE, **facts: Any) -> Source:
    given = {"frames": round(seconds * rate), "sample_rate": rate, "channels": 1} | facts
    return Source(source_id=name, kind=kind, uri=name, status="ok", **given)


def speech(speakers: int, each: int = 1, seconds: float = 4.0, rate: int = RATE) -> list[Source]:
    return [
        source(f"s{p}-{i}", "speech", seconds, rate, speaker_id=f"p{p}") for p in range(speakers) for i in range(each)
    ]


def noises(count: int, seconds: float = 20.0, rate: int = RATE, **facts: Any) -> list[Source]:
    return [source(f"n{i}", "noise", seconds, rate, recording_id=f"r{i}", **facts) for i in range(count)]


def rirs(*in_rooms: int, channels: int = 1, rate: int = RATE) -> list[Source]:
    """So many RIRs in each room."""
    return [
        source(f"h{r}-{i}", "rir", 0.5, rate, room_id=f"room{r}", rt60_s=0.3 + r / 10, channels=channels)
        for r, count in enumerate(in_rooms)
        for i in range(count)
    ]


def mixed(seed: int) -> list[Source]:
    """Sources of many lengths and rates."""
    rng = np.random.default_rng(seed)
    rates = [8000, 11_025, 16_000, 22_050, 44_100, 48_000]
    return [
        source(
            f"{kind[0]}{i}",
            kind,
            float(rng.uniform(0.3, 9)),
            int(rng.choice(rates)),
            channels=2,
            speaker_id=f"p{i % 5}",
        )
        for kind in ("speech", "noise")
        for i in range(25)
    ]


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"name": "r", "seed": 1, "clip_s": 4, "splits": {"train": 20}} | changes)


def plan(sources: Iterable[Source], rows: int | str = 20, split: str = "train", **changes: Any) -> list[Plan]:
    return list(plan_split(recipe(**changes | {"splits": {split: rows}}), split, list(sources)))


RICH = {
    "talkers": {"count": {"integers": [1, 3]}, "fill": "concatenate"},
    "noise": {"count": {"choice": [0, 1, 2]}},
    "rooms": {"probability": 0.7, "kind": {"choice": ["measured", "simulated"]}},
    "clip_s": 6,
}
RICH_SOURCES = [*speech(6, 4, 2.3), *noises(5, 3.1), *rirs(3, 2, 4, channels=2)]


# growth and independence


def test_a_dataset_can_grow() -> None:
    """The first rows are the same however many follow, and however their number is given."""
    whole = plan(RICH_SOURCES, 60, **RICH)
    for rows in (1, 7, 35):
        assert plan(RICH_SOURCES, rows, **RICH) == whole[:rows]
    assert plan(RICH_SOURCES, "2min", **RICH) == whole[:20]
    assert plan(RICH_SOURCES, 60, **RICH) == whole


def test_the_plan_is_lazy() -> None:
    """A 10 000-hour plan is written row by row."""
    rows = plan_split(recipe(splits={"train": "10000h"}), "train", [*speech(2), *noises(2)])
    assert [row.index for row in itertools.islice(rows, 5)] == [0, 1, 2, 3, 4]


def test_another_split_or_seed_is_another_plan() -> None:
    def choices(row: Plan) -> tuple[Any, ...]:
        return row.talkers[0].level_dbfs, row.noises[0].snr_db, row.noises[0].segments[0].start

    sources = [*speech(10), *noises(10)]
    found = [plan(sources), plan(sources, split="test"), plan(sources, seed=2)]
    for one, other in itertools.combinations(found, 2):
        assert not {row.mixture_id for row in one} & {row.mixture_id for row in other}
        assert not set(map(choices, one)) & set(map(choices, other))
        orders = [[row.talkers[0].speaker_id for row in rows] for rows in (one, other)]
        assert orders[0] != orders[1]


def test_a_draw_depends_on_its_own_purpose_alone() -> None:
    """Another SNR, another noise count or a room changes no other draw."""
    sources = [*speech(5, 3), *noises(6)]
    first = plan(sources)
    changes: list[dict[str, Any]] = [
        {"noise": {"snr_db": {"uniform": [0, 5]}}},
        {"noise": {"count": 2}},
        {"rooms": {"probability": 1.0}},
        {"name": "another"},
    ]
    for change in changes:
        rows = plan(sources, **change)
        assert [row.talkers[0].segments for row in rows] == [row.talkers[0].segments for row in first]
        assert [row.talkers[0].level_dbfs for row in rows] == [row.talkers[0].level_dbfs for row in first]
    louder = plan(sources, noise={"snr_db": {"uniform": [0, 5]}})
    assert [row.noises[0].segments for row in louder] == [row.noises[0].segments for row in first]
    more = plan([*sources, *speech(9)[5:]])
    assert [row.noises for row in more] == [row.noises for row in first]
    assert [row.talkers[0].level_dbfs for row in more] == [row.talkers[0].level_dbfs for row in first]


def test_quantities_have_their_distributions_over_the_rows() -> None:
    talkers = {"count": 2, "level_dbfs": {"normal": [-26, 2]}, "sir_db": {"uniform": [-4, 6]}}
    rows = plan([*speech(4), *noises(3)], 1500, talkers=talkers, noise={"count": 2, "snr_db": {"uniform": [-5, 20]}})
    snr = np.array([[n.snr_db for n in row.noises] for row in rows])
    sir = np.array([row.talkers[1].sir_db for row in rows], float)
    level = np.array([row.talkers[0].level_dbfs for row in rows], float)
    for values, peer in [
        (snr[:, 0], scipy.stats.uniform(-5, 25)),
        (snr[:, 1], scipy.stats.uniform(-5, 25)),
        (sir, scipy.stats.uniform(-4, 10)),
        (level, scipy.stats.norm(-26, 2)),
    ]:
        assert scipy.stats.kstest(values, peer.cdf).pvalue > 0.001
    columns = np.array([snr[:, 0], snr[:, 1], sir, level])
    correlations = np.corrcoef(columns) - np.eye(4)
    assert np.abs(correlations).max() < 4 / math.sqrt(len(rows))  # four standard deviations
    np.testing.assert_array_equal(np.round(columns, 3), columns)


# sizes


@pytest.mark.parametrize(
    ("size", "clip_s", "rows"),
    [(3, 4, 3), ("12s", 4, 3), ("12.1s", 4, 4), ("7s", 0.7, 10), ("1min", 0.3, 200), ("1s", 4, 1), ("1h", 90, 40)],
)
def test_a_split_is_as_long_as_asked(size: int | str, clip_s: float, rows: int) -> None:
    """To the clip that fills it. Counted in samples: ten times 0.7 s is less than 7 s in floating point."""
    assert len(plan([*speech(2), *noises(2)], size, clip_s=clip_s)) == rows


def test_rows_say_who_they_are() -> None:
    rows = plan([*speech(2), *noises(2)], 5, split="valid", target={"kind": "early", "early_ms": 40})
    for i, row in enumerate(rows):
        assert (row.index, row.split, row.dataset, row.seed) == (i, "valid", "r", 1)
        assert row.mixture_id == ids.mixture_id("r", 1, "valid", i)
        assert (row.sample_rate, row.frames) == (RATE, 4 * RATE)
        assert (row.target_kind, row.early_ms) == ("early", 40)
    assert plan([*speech(2), *noises(2)], 1, target={"kind": "image"})[0].early_ms is None


def test_rows_fit_their_table() -> None:
    rows = plan(RICH_SOURCES, 30, **RICH)
    assert from_table(to_table(rows, Plan), Plan) == rows


# talkers


def test_talkers_of_a_mixture_are_different_speakers() -> None:
    rows = plan([*speech(4, 5), *noises(2)], 60, talkers={"count": 3})
    for row in rows:
        assert len({t.speaker_id for t in row.talkers}) == 3
        assert [t.role for t in row.talkers] == ["target", "interferer", "interferer"]
        assert [t.level_dbfs is None for t in row.talkers] == [False, True, True]
        assert [t.sir_db is None for t in row.talkers] == [True, False, False]
    assert len({t.sir_db for row in rows for t in row.talkers[1:]}) > 100  # each has a draw of its own


def test_sources_without_a_speaker_are_speakers_of_their_own() -> None:
    nameless = [dataclasses.replace(s, speaker_id=None) for s in speech(1, 3)]
    for row in plan([*nameless, *noises(1)], 10, talkers={"count": 3}):
        assert len({t.segments[0].source_id for t in row.talkers}) == 3


def test_too_few_speakers_are_named() -> None:
    with pytest.raises(UserError, match=r"split 'train', row 0: 3 talkers are asked for, the split has 2 speaker\(s\)"):
        plan([*speech(2, 5), *noises(1)], talkers={"count": 3})
    with pytest.raises(UserError, match=r"split 'train', row 0: 1 talkers are asked for, the split has 0 speaker\(s\)"):
        plan(noises(1))


@pytest.mark.parametrize(("count", "rows"), [(1, 47), (2, 47), (3, 47)])
def test_every_utterance_is_used_equally_often(count: int, rows: int) -> None:
    used = Counter(
        t.segments[0].source_id
        for row in plan([*speech(5, 4), *noises(1)], rows, talkers={"count": count})
        for t in row.talkers
    )
    assert len(used) == 20
    assert max(used.values()) - min(used.values()) <= (1 if count == 1 else 2)
    assert used.total() == rows * count


def test_facts_of_a_talker_come_along() -> None:
    facts = {"speaker_id": "ada", "language": "en", "gender": "f", "transcript": "Good day"}
    (row,) = plan([source("a", **facts), *noises(1)], 1)
    talker = row.talkers[0]
    assert (talker.speaker_id, talker.language, talker.gender, talker.transcript) == ("ada", "en", "f", "Good day")
    assert talker.level_kind == "p56_active"
    assert plan([source("a", speaker_id="ada"), *noises(1)], 1)[0].talkers[0].transcript is None


def test_transcripts_are_joined_only_where_all_are_known() -> None:
    texts = ["one", "two", None]
    sources = [source(f"s{i}", seconds=1.0, speaker_id="ada", transcript=text) for i, text in enumerate(texts)]
    options = {"talkers": {"fill": "concatenate", "gap_s": 0}, "clip_s": 2}
    for row in plan([*sources, *noises(1)], 12, **options):
        said = [texts[int(s.source_id[1:])] for s in row.talkers[0].segments]
        assert len(said) == 2
        assert row.talkers[0].transcript == (None if None in said else " ".join(map(str, said)))


# segments


def check(segment: Segment, of: Source, frames: int) -> None:
    """What holds for every segment: it lies in its source and in the clip, and fills what it promises."""
    own = of.sample_rate or 0
    assert segment.source_id == of.source_id
    assert segment.sample_rate == own
    assert 0 <= segment.channel < (of.channels or 0)
    assert segment.start >= 0
    assert segment.start + segment.frames <= (of.frames or 0)
    assert segment.at >= 0
    assert 0 < segment.length <= frames - segment.at
    assert segment.length * own <= segment.frames * RATE < (segment.length + 1) * own + RATE  # enough, and no more


@pytest.mark.parametrize("fill", ["one", "concatenate"])
@pytest.mark.parametrize("clip_s", [0.25, 2, 7.5])
def test_every_segment_keeps_its_bounds(fill: str, clip_s: float) -> None:
    sources = mixed(3)
    by_id = {s.source_id: s for s in sources}
    options = {"talkers": {"count": 2, "fill": fill}, "noise": {"count": 2}, "resample": "any", "clip_s": clip_s}
    rows = plan(sources, 60, **options)
    for row in rows:
        for talker in row.talkers:
            for segment in talker.segments:
                check(segment, by_id[segment.source_id], row.frames)
                assert segment.channel == 0
        for noise in row.noises:
            assert {s.source_id for s in noise.segments} == {noise.source_id}
            for segment in noise.segments:
                check(segment, by_id[segment.source_id], row.frames)
            at, end = noise.segments[0].at, 0
            assert at == 0
            for segment in noise.segments:  # no hole, and the last one ends with the clip
                assert segment.at <= end or segment.at == 0
                end = segment.at + segment.length
            assert end == row.frames
    segments = [s for row in rows for t in (*row.talkers, *row.noises) for s in t.segments]
    assert len({s.sample_rate for s in segments}) == 6
    for segment in segments[::7]:  # and the resampler makes as many samples of it as are promised
        resampled = audio.resample(np.zeros(segment.frames, np.float32), segment.sample_rate, RATE)
        assert len(resampled) >= segment.length


@pytest.mark.parametrize("rate", [16_000, 48_000, 44_100, 8000])
def test_a_long_utterance_is_cropped_anywhere(rate: int) -> None:
    sources = [source("s", seconds=10.0, rate=rate, speaker_id="p"), *noises(1)]
    rows = plan(sources, 400, clip_s=4, resample="any")
    for row in rows:
        (segment,) = row.talkers[0].segments
        assert (segment.at, segment.length) == (0, row.frames)
    starts = np.array([row.talkers[0].segments[0].start for row in rows]) / rate
    assert scipy.stats.kstest(starts, scipy.stats.uniform(0, 6).cdf).pvalue > 0.001


def test_the_first_and_the_last_sample_can_be_cropped_to() -> None:
    """A source one sample longer than the clip has two places."""
    sources = [source("s", frames=4 * RATE + 1, speaker_id="p"), *noises(1)]
    assert {row.talkers[0].segments[0].start for row in plan(sources, 30)} == {0, 1}
    exact = [source("s", frames=4 * RATE, speaker_id="p"), *noises(1)]
    assert {row.talkers[0].segments[0].start for row in plan(exact, 5)} == {0}


@pytest.mark.parametrize("rate", [16_000, 48_000, 44_100])
def test_a_short_utterance_is_placed_anywhere_whole(rate: int) -> None:
    sources = [source("s", seconds=1.5, rate=rate, speaker_id="p"), *noises(1)]
    rows = plan(sources, 400, clip_s=4)
    for row in rows:
        (segment,) = row.talkers[0].segments
        assert (segment.start, segment.length) == (0, round(1.5 * RATE))
        assert segment.frames == round(1.5 * rate)
    places = np.array([row.talkers[0].segments[0].at for row in rows]) / RATE
    assert scipy.stats.kstest(places, scipy.stats.uniform(0, 2.5).cdf).pvalue > 0.001


def test_utterances_of_one_speaker_fill_the_clip() -> None:
    sources = [*speech(3, 6, 1.3), *noises(1)]
    options = {"talkers": {"count": 2, "fill": "concatenate", "gap_s": {"uniform": [0.1, 0.4]}}, "clip_s": 8}
    gaps, used = [], Counter[str]()
    for row in plan(sources, 40, **options):
        for talker in row.talkers:
            *whole, last = talker.segments
            assert {s.source_id.split("-")[0] for s in talker.segments} == {f"s{str(talker.speaker_id)[1:]}"}
            assert talker.segments[0].at == 0
            assert all(s.length == round(1.3 * RATE) for s in whole)
            assert last.length == min(round(1.3 * RATE), row.frames - last.at)
            assert row.frames - (last.at + last.length) <= 0.4 * RATE  # else another would have followed
            pairs = itertools.pairwise(talker.segments)
            gaps += [(after.at - before.at - before.length) / RATE for before, after in pairs]
            used.update(s.source_id for s in talker.segments)
    assert scipy.stats.kstest(gaps, scipy.stats.uniform(0.1, 0.3).cdf).pvalue > 0.001
    assert len(used) == 18


def test_an_utterance_may_be_the_clip() -> None:
    """Each row as long as its target's utterance; others are fitted to it."""
    sources = mixed(1)
    by_id = {s.source_id: s for s in sources}
    options = {"clip_s": "utterance", "talkers": {"count": 2}, "resample": "any"}
    rows = plan(sources, 40, **options)
    assert len({row.frames for row in rows}) > 20
    for row in rows:
        (segment,) = row.talkers[0].segments
        own = by_id[segment.source_id]
        assert row.frames == segment.length == (own.frames or 0) * RATE // (own.sample_rate or 1)
        assert (segment.at, segment.start) == (0, 0)
        (other,) = row.talkers[1].segments
        check(other, by_id[other.source_id], row.frames)
        assert row.noises[0].segments[-1].at + row.noises[0].segments[-1].length == row.frames


# noises


def test_noises_of_a_mixture_are_different_recordings() -> None:
    """Two segments of one recording are the same noise twice."""
    pieces = [source(f"n{r}-{i}", "noise", 9.0, recording_id=f"r{r}") for r in range(3) for i in range(4)]
    rows = plan([*speech(1), *pieces], 60, noise={"count": 3})
    assert all(len({n.recording_id for n in row.noises}) == 3 for row in rows)
    used = Counter(n.source_id for row in rows for n in row.noises)
    assert len(used) == 12
    assert max(used.values()) - min(used.values()) <= 2


def test_a_split_with_one_recording_repeats_it() -> None:
    (row,) = plan([*speech(1), *noises(1)], 1, noise={"count": 2})
    assert [n.source_id for n in row.noises] == ["n0", "n0"]
    assert row.noises[0].segments != row.noises[1].segments  # at another place


def test_no_noise_is_no_noise_and_none_to_be_had_is_named() -> None:
    assert all(row.noises == [] for row in plan(speech(2), noise={"count": 0}))
    with pytest.raises(UserError, match="split 'train' has no noise sources"):
        plan(speech(2))


def test_a_long_noise_begins_anywhere() -> None:
    rows = plan([*speech(1), *noises(1, 20.0, channels=3, noise_class="cafe")], 400, noise={"snr": "rms"})
    for row in rows:
        (segment,) = row.noises[0].segments
        assert (segment.at, segment.length, row.noises[0].loop_seams) == (0, row.frames, [])
        assert (row.noises[0].noise_class, row.noises[0].snr_kind) == ("cafe", "rms")
    starts = np.array([row.noises[0].segments[0].start for row in rows]) / RATE
    assert scipy.stats.kstest(starts, scipy.stats.uniform(0, 16).cdf).pvalue > 0.001
    channels = Counter(row.noises[0].segments[0].channel for row in rows)
    assert set(channels) == {0, 1, 2}
    assert min(channels.values()) > 400 / 3 - 4 * math.sqrt(400 * 2 / 9)  # four standard deviations


@pytest.mark.parametrize("rate", [16_000, 48_000, 44_100])
def test_a_short_noise_is_looped_with_cross_fades(rate: int) -> None:
    rows = plan([*speech(1), *noises(1, 1.5, rate)], 50, noise={"fade_s": 0.2}, clip_s=6)
    for row in rows:
        noise = row.noises[0]
        assert len(noise.segments) >= 5
        assert noise.loop_seams == [s.at for s in noise.segments[1:]]
        for before, after in itertools.pairwise(noise.segments):
            fade = before.at + before.length - after.at
            assert fade == min(round(0.2 * RATE), before.length)
            assert after.start == 0
            assert before.start + before.frames >= round(1.5 * rate) - rate / RATE - 1  # played to its end
    assert len({row.noises[0].segments[0].start for row in rows}) > 40


# bookkeeping


def test_the_resampler_is_named_where_one_is_needed() -> None:
    assert plan([*speech(1), *noises(1)], 1)[0].resampler is None
    assert plan([*speech(1, rate=48_000), *noises(1)], 1)[0].resampler == audio.RESAMPLER
    assert plan([*speech(1), *noises(1, rate=48_000)], 1)[0].resampler == audio.RESAMPLER
    measured = {"rooms": {"probability": 1, "kind": "measured"}}
    assert plan([*speech(1), *noises(1), *rirs(1)], 1, **measured)[0].resampler is None
    assert plan([*speech(1), *noises(1), *rirs(1, rate=48_000)], 1, **measured)[0].resampler == audio.RESAMPLER


def test_licences_of_all_that_is_heard() -> None:
    sources = [
        source("s0", speaker_id="a", licence="CC-BY-4.0"),
        source("s1", speaker_id="b", licence=None),
        source("n", "noise", licence="CC0-1.0"),
        source("h", "rir", licence="CC-BY-4.0"),
    ]
    rows = plan(sources, 4, talkers={"count": 2}, rooms={"probability": 1, "kind": "measured"})
    assert all(row.licences == ["CC-BY-4.0", "CC0-1.0"] for row in rows)
    assert plan(sources[1:3], 1)[0].licences == ["CC0-1.0"]


# grids


def test_a_grid_visits_every_cell_equally_often() -> None:
    options = {
        "noise": {"snr_db": {"grid": [-5, 0, 5]}},
        "rooms": {"probability": 1, "rt60_s": {"grid": [0.3, 0.5]}, "distance_m": {"grid": [1, 1.5]}},
    }
    rows = plan([*speech(3), *noises(3)], 48, **options)
    cells = Counter((r.noises[0].snr_db, r.room.rt60_requested_s, round(distance(r), 2)) for r in rows if r.room)
    assert len(cells) == 12
    assert set(cells.values()) == {4}
    for row in rows:
        assert row.room is not None
        assert row.condition == [
            KeyText("noise.snr_db", str(row.noises[0].snr_db)),
            KeyText("rooms.rt60_s", str(row.room.rt60_requested_s)),
            KeyText("rooms.distance_m", str(round(distance(row), 1))),
        ]
    assert plan([*speech(3), *noises(3)], 5, **options) == rows[:5]
    assert plan([*speech(1), *noises(1)], 1)[0].condition == []


def test_a_grid_reaches_every_key() -> None:
    """Wherever a recipe may say `grid`, the rows follow it."""
    keys = {
        "talkers.count": ([1, 2], lambda r: len(r.talkers)),
        "talkers.level_dbfs": ([-30, -20], lambda r: r.talkers[0].level_dbfs),
        "talkers.sir_db": ([0, 3], lambda r: r.talkers[-1].sir_db),
        "noise.count": ([1, 2], lambda r: len(r.noises)),
        "noise.snr_db": ([0, 3], lambda r: r.noises[0].snr_db),
        "rooms.kind": (["measured", "simulated"], lambda r: {"shoebox": "simulated"}.get(r.room.engine, r.room.engine)),
        "rooms.rt60_s": ([0.3, 0.4], lambda r: r.room.rt60_requested_s),
        "rooms.size_m.length": ([4, 5], lambda r: r.room.size_m[0]),
        "rooms.size_m.width": ([4, 5], lambda r: r.room.size_m[1]),
        "rooms.size_m.height": ([2.5, 3], lambda r: r.room.size_m[2]),
        "rooms.microphone_height_m": ([1.1, 1.3], lambda r: r.room.array.positions_m[0][2]),
        "rooms.talker_height_m": ([1.5, 1.7], lambda r: r.talkers[0].position_m[2]),
    }
    for key, (values, seen) in keys.items():
        given: Any = {"grid": values}
        for part in reversed(key.split(".")[1:]):
            given = {part: given}
        options: dict[str, Any] = {key.split(".")[0]: given}
        if key.startswith("rooms"):
            options["rooms"]["probability"] = 1.0
        if key == "talkers.sir_db":
            options["talkers"]["count"] = 2
        rows = plan([*speech(3), *noises(3), *rirs(2)], 6, **options)
        assert [seen(row) for row in rows] == values * 3, key
        assert [row.condition[0].key for row in rows] == [key] * 6


# rooms


def distance(row: Plan, talker: int = 0) -> float:
    assert row.room is not None
    assert row.room.array is not None
    assert row.talkers[talker].position_m is not None
    return math.dist(row.talkers[talker].position_m or [], row.room.array.positions_m[0])


def test_so_many_rows_are_in_rooms() -> None:
    sources = [*speech(3), *noises(3), *rirs(2)]
    rows = plan(sources, 400, rooms={"probability": 0.3, "kind": {"choice": {"measured": 0.25, "simulated": 0.75}}})
    engines = Counter(row.room.engine if row.room else None for row in rows)
    for engine, share in ((None, 0.7), ("measured", 0.075), ("shoebox", 0.225)):
        assert abs(engines[engine] - 400 * share) < 4 * math.sqrt(400 * share * (1 - share))
    for row in rows:
        for talker in row.talkers:
            assert (talker.position_m is not None) == (row.room is not None and row.room.engine == "shoebox")
            assert (talker.rir_source_id is not None) == (row.room is not None and row.room.engine == "measured")
    assert all(row.room is None for row in plan(sources, rooms={"probability": 0}))
    assert all(row.room is not None for row in plan(sources, rooms={"probability": 1}))


MEASURED = {"probability": 1, "kind": "measured"}


def test_talkers_share_their_measured_room() -> None:
    sources = [*speech(6), *noises(1), *rirs(1, 3, 5, 4, channels=4)]
    by_id = {s.source_id: s for s in sources}
    rows = plan(sources, 60, rooms=MEASURED, talkers={"count": 3})
    for row in rows:
        assert row.room is not None
        found = [by_id[str(t.rir_source_id)] for t in row.talkers]
        assert {s.room_id for s in found} == {row.room.room_id}
        assert len({s.source_id for s in found}) == 3  # room 0, with its single RIR, is left out
        assert all(len(t.rir_channels) == 1 and t.rir_channels[0] in range(4) for t in row.talkers)
        assert row.room.rt60_requested_s == found[0].rt60_s
        assert all(t.rir_sample_rate == RATE for t in row.talkers)
    assert {row.room.room_id for row in rows if row.room} == {"room1", "room2", "room3"}
    assert {t.rir_channels[0] for row in rows for t in row.talkers} == {0, 1, 2, 3}


def test_talkers_share_a_response_only_where_no_room_has_enough() -> None:
    for row in plan([*speech(4), *noises(1), *rirs(1, 2)], 12, rooms=MEASURED, talkers={"count": 3}):
        assert row.room is not None
        assert row.room.room_id == "room1"
        assert {t.rir_source_id for t in row.talkers} == {"h1-0", "h1-1"}


def test_responses_are_used_equally_often() -> None:
    rows = plan([*speech(2), *noises(1), *rirs(2, 3, 5)], 34, rooms=MEASURED)
    used = Counter(row.talkers[0].rir_source_id for row in rows)
    assert sorted(used.values()) == [3] * 6 + [4] * 4


def test_responses_without_a_room_are_rooms_of_their_own() -> None:
    roomless = [dataclasses.replace(h, room_id=None) for h in rirs(2)]
    for row in plan([*speech(2), *noises(1), *roomless], 6, rooms=MEASURED):
        assert row.room is not None
        assert row.room.room_id == row.talkers[0].rir_source_id


def test_no_responses_to_be_had_is_named() -> None:
    with pytest.raises(UserError, match="split 'train' has no rir sources"):
        plan([*speech(2), *noises(1)], rooms=MEASURED)


def test_everyone_is_inside_the_simulated_room() -> None:
    spec = {"probability": 1, "wall_margin_m": 0.6, "distance_m": {"uniform": [0.7, 2.5]}}
    rows = plan([*speech(5), *noises(1)], 200, rooms=spec, talkers={"count": 3})
    for row in rows:
        room = row.room
        assert room is not None
        length, width, height = room.size_m or []
        assert 3 <= length <= 10
        assert 3 <= width <= 8
        assert 2.5 <= height <= 4
        assert room.array is not None
        (microphone,) = room.array.positions_m
        for x, y, z in [microphone, *(t.position_m or [] for t in row.talkers)]:
            assert 0.6 <= x <= length - 0.6
            assert 0.6 <= y <= width - 0.6
            assert 0.05 <= z <= height - 0.05
        assert 1.0 <= microphone[2] <= 1.5
        assert all(1.4 <= (t.position_m or [])[2] <= 1.8 for t in row.talkers)
        assert all(0.699 <= distance(row, k) <= 2.501 for k in range(3))
        assert len({tuple(t.position_m or []) for t in row.talkers}) == 3
        assert all(v == round(v, 3) for p in [microphone, *(t.position_m or [] for t in row.talkers)] for v in p)
        distance_m = math.dist(row.talkers[0].position_m or [], microphone)
        walls = decay.walls_for(
            room.rt60_requested_s or 0, room.size_m or [], sample_rate=RATE, distance_m=distance_m, lowest_hz=20
        )
        assert room.absorption == [pytest.approx(walls, abs=1e-6)]
    assert len({row.room.room_id for row in rows if row.room}) == 200


def test_distances_are_as_drawn_to_the_millimetre() -> None:
    for metres in (0.66, 1.234, 2.0):
        rows = plan([*speech(3), *noises(1)], 40, rooms={"probability": 1, "distance_m": metres}, talkers={"count": 2})
        found = [distance(row, k) for row in rows for k in (0, 1)]
        assert found == pytest.approx([metres] * 80, abs=0.001)


def test_talkers_stand_in_every_direction() -> None:
    """In a room without walls to speak of."""
    spec = {"probability": 1, "size_m": {"length": 50, "width": 50, "height": 4}, "rt60_s": 1.0}
    rows = plan([*speech(2), *noises(1)], 400, rooms=spec)
    azimuths = [
        rooms.geometry(source_m=r.talkers[0].position_m or [], microphone_m=r.room.array.positions_m[0]).azimuth_deg
        for r in rows
        if r.room and r.room.array
    ]
    assert scipy.stats.kstest(azimuths, scipy.stats.uniform(-180, 360).cdf).pvalue > 0.001


TIGHT = {"probability": 1, "size_m": {"length": 3, "width": 3, "height": 2.5}, "distance_m": 1.4, "rt60_s": 0.3}


def test_redraws_are_counted() -> None:
    """A row that needed n redraws is the same with n allowed, and impossible with n - 1."""
    sources = [*speech(3), *noises(1)]
    rows = plan(sources, 30, rooms=TIGHT, talkers={"count": 2})
    redraws = [row.room.redraws for row in rows if row.room]
    worst = int(np.argmax(redraws))
    assert redraws[worst] > 3
    assert min(redraws) == 0
    exact = TIGHT | {"max_redraws": redraws[worst]}
    assert plan(sources, 30, rooms=exact, talkers={"count": 2}) == rows
    scarce = TIGHT | {"max_redraws": redraws[worst] - 1}
    with pytest.raises(UserError, match=rf"row {worst}: no feasible room in {redraws[worst]} draws"):
        plan(sources, 30, rooms=scarce, talkers={"count": 2})


@pytest.mark.parametrize(
    "sometimes",
    [
        {"size_m": {"length": {"uniform": [0.5, 3]}}, "distance_m": 0.7},  # nothing between the margins
        {
            "rt60_s": {"uniform": [0.05, 0.5]},
            "size_m": {"length": 8, "width": 8, "height": 4},
        },  # walls absorb too little
        {"distance_m": {"uniform": [0.5, 30]}},
        {"talker_height_m": {"uniform": [1.2, 5]}},
        {"microphone_height_m": {"uniform": [1.2, 5]}},
    ],
)
def test_everything_about_a_room_is_drawn_again(sometimes: dict[str, Any]) -> None:
    """Each of these is infeasible for some draws, so a quantity that kept its first draw would never get a room."""
    rows = plan([*speech(1), *noises(1)], 30, rooms={"probability": 1} | sometimes)
    assert sum(row.room.redraws > 0 for row in rows if row.room) > 5


@pytest.mark.parametrize(
    "impossible",
    [
        {"rt60_s": 0.05, "size_m": {"length": 10, "width": 10, "height": 10}},  # no wall absorbs that much
        {"distance_m": 20},  # farther than the walls
        {"wall_margin_m": 3, "size_m": {"width": 5}},  # nothing is left between the margins
        {"talker_height_m": 1.8, "microphone_height_m": 1.0, "distance_m": 0.5},  # the heights alone are farther apart
        {"talker_height_m": 2.5, "size_m": {"height": 2.5}},  # a head in the ceiling
    ],
)
def test_an_infeasible_room_is_named(impossible: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=r"split 'train', row 0: no feasible room in 21 draws: .*(fit|RT60).*Check rooms.size_m, rt60_s"
    ):
        plan([*speech(1), *noises(1)], rooms={"probability": 1, "max_redraws": 20} | impossible)


def test_a_cut_utterance_has_no_transcript() -> None:
    """Half of what was said is not what the transcript says, and a word error rate would count the rest."""
    long = [source(f"s{i}", seconds=6.0, speaker_id=f"p{i}", transcript="all of it") for i in range(4)]
    short = [source(f"t{i}", seconds=1.5, rate=22050, speaker_id=f"q{i}", transcript="all of it") for i in range(4)]
    rows = plan([*long, *short, *noises(3)], rows=16, clip_s=3.0)
    for row in rows:
        (talker,) = row.talkers
        expected = "all of it" if talker.segments[0].source_id.startswith("t") else None
        assert talker.transcript == expected
