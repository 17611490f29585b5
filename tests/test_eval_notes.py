"""eval.notes against mir_eval's own scores, values known on paper, a brute-force matching, and properties."""

import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import notes
from eval.classification import Rates
from eval.notes import MatchCounts
from eval.outcome import EstimateFault, ReferenceFault

Floats = NDArray[np.float64]
Note = tuple[float, float, float]


def score(reference: list[Note], estimate: list[Note], **how: Any) -> dict[str, MatchCounts]:
    """Notes are (onset, offset, pitch)."""
    r, e = (np.array(rows, dtype=float).reshape(-1, 3) for rows in (reference, estimate))
    return notes.note_counts(
        reference_intervals_s=r[:, :2],
        reference_hz=r[:, 2],
        estimate_intervals_s=e[:, :2],
        estimate_hz=e[:, 2],
        **how,
    )


def some_notes(seed: int, count: int = 40) -> tuple[list[Note], list[Note]]:
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(0, count / 8, count))
    reference = np.column_stack(
        [onset, onset + rng.uniform(0.05, 1.5, count), 55 * 2 ** (rng.integers(0, 36, count) / 12)]
    )
    kept = reference[rng.random(count) < 0.85]
    kept[:, 0] += rng.normal(0, 0.04, len(kept))
    kept[:, 1] = np.maximum(kept[:, 0] + 0.02, kept[:, 1] + rng.normal(0, 0.1, len(kept)))
    kept[:, 2] *= 2 ** (rng.normal(0, 0.4, len(kept)) / 12)
    kept[:, 0] = np.maximum(kept[:, 0], 0)
    extra = np.column_stack([onset[:5], onset[:5] + 0.3, np.full(5, 440.0)])
    return [tuple(row) for row in reference], [tuple(row) for row in np.vstack([kept, extra])]


# notes


@pytest.mark.parametrize("seed", range(6))
def test_rates_equal_mir_eval(seed: int) -> None:
    from mir_eval import transcription

    reference, estimate = some_notes(seed)
    r, e = np.array(reference), np.array(estimate)
    found = score(reference, estimate)
    expected = {
        "onset": transcription.onset_precision_recall_f1(r[:, :2], e[:, :2]),
        "onset_offset": transcription.precision_recall_f1_overlap(
            r[:, :2], np.full(len(r), 100.0), e[:, :2], np.full(len(e), 100.0)
        )[:3],
        "onset_pitch": transcription.precision_recall_f1_overlap(
            r[:, :2], r[:, 2], e[:, :2], e[:, 2], offset_ratio=None
        )[:3],
        "onset_pitch_offset": transcription.precision_recall_f1_overlap(r[:, :2], r[:, 2], e[:, :2], e[:, 2])[:3],
    }
    assert tuple(found) == notes.CRITERIA == tuple(expected)
    for criterion, values in expected.items():
        rates = found[criterion].rates()
        assert (rates.precision, rates.recall, rates.f1) == pytest.approx(values, abs=1e-12), criterion
    matched = [found[criterion].matched for criterion in notes.CRITERIA]
    assert matched[0] > matched[1] > matched[3]
    assert matched[0] > matched[2] > matched[3] > 0


ONE: list[Note] = [(1.0, 2.0, 440.0)]


@pytest.mark.parametrize(
    ("note", "matched"),
    [
        ((1.0, 2.0, 440.0), (1, 1, 1, 1)),
        ((1.05, 2.2, 440.0), (1, 1, 1, 1)),  # tolerances include their ends; 20 % of one second
        ((1.0501, 2.0, 440.0), (0, 0, 0, 0)),
        ((0.95, 2.2001, 440.0), (1, 0, 1, 0)),
        ((1.0, 2.0, 440 * 2 ** (49.9 / 1200)), (1, 1, 1, 1)),
        ((1.0, 2.0, 440 * 2 ** (-50.1 / 1200)), (1, 1, 0, 0)),
        ((1.0, 3.0, 880.0), (1, 0, 0, 0)),
    ],
)
def test_tolerances_on_paper(note: Note, matched: tuple[int, ...]) -> None:
    found = score(ONE, [note])
    assert tuple(counts.matched for counts in found.values()) == matched


def test_short_notes_have_fifty_milliseconds_of_offset() -> None:
    short: list[Note] = [(1.0, 1.1, 440.0)]
    assert score(short, [(1.0, 1.15, 440.0)])["onset_pitch_offset"].matched == 1
    assert score(short, [(1.0, 1.1501, 440.0)])["onset_pitch_offset"].matched == 0


def test_tolerances_are_arguments() -> None:
    far: list[Note] = [(1.2, 2.6, 470.0)]
    assert {c.matched for c in score(ONE, far).values()} == {0}
    assert score(ONE, far, onset_tolerance_s=0.21)["onset"].matched == 1
    wide = score(ONE, far, onset_tolerance_s=0.21, offset_ratio=0.61, pitch_tolerance_cents=120)
    assert {c.matched for c in wide.values()} == {1}
    assert score(ONE, far, onset_tolerance_s=0.21, offset_tolerance_s=0.61)["onset_offset"].matched == 1
    for name in ("onset_tolerance_s", "offset_tolerance_s", "offset_ratio", "pitch_tolerance_cents"):
        with pytest.raises(ValueError, match=f"{name} must be finite and above 0, got 0"):
            score(ONE, far, **{name: 0})


def test_rates_on_paper() -> None:
    reference: list[Note] = [(0, 1, 440), (1, 2, 440), (2, 3, 440), (3, 4, 440)]
    found = score(reference, [(0, 1, 440), (1, 2, 440), (5, 6, 440)])["onset_pitch"]
    assert found == MatchCounts(2, 4, 3)
    assert found.rates() == Rates(2 / 3, 0.5, pytest.approx(4 / 7, abs=1e-12))
    # one estimate for two references, and two for one
    assert score([(0, 1, 440), (0.02, 1, 440)], [(0.01, 1, 440)])["onset"] == MatchCounts(1, 2, 1)
    assert score([(0.01, 1, 440)], [(0, 1, 440), (0.02, 1, 440)])["onset"] == MatchCounts(1, 1, 2)


def test_the_matching_is_the_largest() -> None:
    # the first reference takes the first estimate of a greedy matching, which is the only one of the second
    reference: list[Note] = [(1.0, 2.0, 440), (0.93, 2.0, 440)]
    assert score(reference, [(0.97, 2.0, 440), (1.04, 2.0, 440)])["onset"].matched == 2


@given(
    reference=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    estimate=st.lists(st.integers(0, 12), min_size=1, max_size=5),
)
@settings(max_examples=60)
def test_no_matching_is_larger(reference: list[int], estimate: list[int]) -> None:
    r, e = ([(0.02 * x, 0.02 * x + 1, 220.0) for x in xs] for xs in (reference, estimate))
    short, long = sorted([reference, estimate], key=len)
    best = max(
        sum(abs(a - b) <= 2 for a, b in zip(short, order, strict=True))
        for order in itertools.permutations(long, len(short))
    )
    assert score(r, e)["onset"].matched == best
    swapped = score(e, r)["onset"]
    assert swapped == MatchCounts(best, len(estimate), len(reference))


def test_counts_of_recordings_add_up() -> None:
    (r0, e0), (r1, e1) = some_notes(0), some_notes(1)
    a, b = score(r0, e0)["onset_pitch"], score(r1, e1)["onset_pitch"]

    def later(rows: list[Note]) -> list[Note]:
        return [(onset + 100, offset + 100, hz) for onset, offset, hz in rows]

    assert a + b == score(r0 + later(r1), e0 + later(e1))["onset_pitch"]


def test_nothing_to_match_has_a_reason() -> None:
    for counts in score([], ONE).values():
        assert counts == MatchCounts(0, 0, 1)
        with pytest.raises(ReferenceFault, match="no_notes"):
            counts.rates()
    for counts in score(ONE, []).values():
        assert counts == MatchCounts(0, 1, 0)
        with pytest.raises(EstimateFault, match="no_notes"):
            counts.rates()
    with pytest.raises(ReferenceFault, match="no_notes"):
        score([], [])["onset"].rates()
    assert score(ONE, [(5, 6, 440)])["onset"].rates() == Rates(0, 0, 0)


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ((math.nan, 2, 440), "nan"),
        ((1, 2, math.inf), "nan"),
        ((-0.1, 2, 440), "bad_interval"),
        ((1, 1, 440), "bad_interval"),
        ((2, 1, 440), "bad_interval"),
        ((1, 2, 0), "bad_pitch"),
        ((1, 2, -440), "bad_pitch"),
    ],
)
def test_bad_notes(note: Note, reason: str) -> None:
    with pytest.raises(EstimateFault, match=reason):
        score(ONE, [note])
    with pytest.raises(ReferenceFault, match=reason):
        score([note], ONE)


def test_note_shapes() -> None:
    good: dict[str, Any] = {"reference_intervals_s": [[0, 1]], "reference_hz": [440]}
    for intervals, hz in (([[0, 1]], [440, 440]), ([[0, 1, 2]], [440]), ([0, 1], [440]), ([], [440])):
        with pytest.raises(ValueError, match="estimate_intervals_s and estimate_hz must have shapes"):
            notes.note_counts(**good, estimate_intervals_s=intervals, estimate_hz=hz)


# multi-pitch


def some_frames(seed: int, frames: int = 60) -> tuple[Floats, list[Floats], list[Floats]]:
    rng = np.random.default_rng(seed)
    reference = [55 * 2 ** (rng.choice(36, rng.integers(0, 5), replace=False) / 12) for _ in range(frames)]
    estimate = []
    for frame in reference:
        kept = frame[rng.random(len(frame)) < 0.8] * 2 ** (rng.normal(0, 0.3) / 12)
        estimate.append(np.append(kept, 55 * 2 ** rng.uniform(0, 3, rng.integers(0, 2))))
    return np.arange(frames) * 0.01, reference, estimate


@pytest.mark.parametrize("seed", range(4))
def test_multipitch_equals_mir_eval(seed: int) -> None:
    from mir_eval import multipitch

    times, reference, estimate = some_frames(seed)
    expected = multipitch.metrics(times, reference, times, estimate)
    found = notes.multipitch_counts(
        reference_times_s=times, reference_hz=reference, estimate_times_s=times, estimate_hz=estimate
    )
    rates = found.rates()
    assert (rates.precision, rates.recall) == pytest.approx(expected[:2], abs=1e-12)
    accuracy = found.matched / (found.reference + found.estimate - found.matched)
    assert accuracy == pytest.approx(expected[2], abs=1e-12)
    assert rates.f1 == pytest.approx(2 * accuracy / (1 + accuracy), abs=1e-12)
    assert 0 < found.matched < min(found.reference, found.estimate)


def test_multipitch_at_other_times_equals_mir_eval() -> None:
    from mir_eval import multipitch

    times, reference, estimate = some_frames(9)
    other = 0.013 + times * 0.83
    with pytest.warns(UserWarning, match="Resampling"):
        expected = multipitch.metrics(times, reference, other, estimate)
    rates = notes.multipitch_counts(
        reference_times_s=times, reference_hz=reference, estimate_times_s=other, estimate_hz=estimate
    ).rates()
    assert (rates.precision, rates.recall) == pytest.approx(expected[:2], abs=1e-12)


def frames(*hz: list[float]) -> tuple[Floats, list[list[float]]]:
    return np.arange(len(hz)) * 0.01, list(hz)


def multi(reference: tuple[Floats, Any], estimate: tuple[Floats, Any], **how: Any) -> MatchCounts:
    return notes.multipitch_counts(
        reference_times_s=reference[0],
        reference_hz=reference[1],
        estimate_times_s=estimate[0],
        estimate_hz=estimate[1],
        **how,
    )


def test_multipitch_on_paper() -> None:
    reference = frames([440, 660], [], [440])
    estimate = frames([440 * 2 ** (49 / 1200), 700], [300], [440, 441])
    found = multi(reference, estimate)
    assert found == MatchCounts(2, 3, 5)
    assert found.rates() == Rates(0.4, 2 / 3, 0.5)
    assert multi(reference, estimate, pitch_tolerance_cents=48).matched == 1
    assert multi(reference, estimate, pitch_tolerance_cents=110).matched == 3
    assert multi(reference, reference).rates() == Rates(1, 1, 1)


def test_multipitch_of_nothing() -> None:
    sound, silence, empty = frames([440], [440]), frames([], []), frames()
    assert multi(silence, sound) == MatchCounts(0, 0, 2)
    assert multi(sound, silence) == multi(sound, empty) == MatchCounts(0, 2, 0)
    with pytest.raises(ReferenceFault, match="no_notes"):
        multi(silence, sound).rates()
    with pytest.raises(EstimateFault, match="no_notes"):
        multi(sound, empty).rates()
    assert multi(empty, sound) == MatchCounts(0, 0, 2)
    alone = (np.array([0.0]), [[440.0]])  # one estimated frame, against two of the reference
    assert multi(sound, alone) == MatchCounts(1, 2, 1)


def test_bad_frames() -> None:
    good = frames([440], [440])
    for bad, reason in (
        (frames([440], [math.nan]), "nan"),
        ((np.array([0, math.inf]), good[1]), "nan"),
        (frames([440], [0]), "bad_pitch"),
        ((np.array([0.0, 0.0]), good[1]), "bad_times"),
    ):
        with pytest.raises(EstimateFault, match=reason):
            multi(good, bad)
        with pytest.raises(ReferenceFault, match=reason):
            multi(bad, good)
    with pytest.raises(
        ValueError, match=r"estimate_times_s and estimate_hz must have as many frames, got shape \(2,\)"
    ):
        multi(good, (good[0], [[440.0]]))
    with pytest.raises(ValueError, match="pitch_tolerance_cents must be finite and above 0, got nan"):
        multi(good, good, pitch_tolerance_cents=math.nan)


# the library


@pytest.mark.parametrize("part", ["transcription", "multipitch"])
def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setitem(sys.modules, f"mir_eval.{part}", None)
    with pytest.raises(ModuleNotFoundError, match=r"need mir_eval; install the extra: pip install 'hubbub\[music\]'"):
        _ = score(ONE, ONE) if part == "transcription" else multi(frames([440]), frames([440]))


def test_importing_the_module_is_light() -> None:
    heavy = "import sys, eval.notes; print([m for m in ('mir_eval', 'scipy', 'librosa') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
