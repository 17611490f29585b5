"""Transcribed notes and multi-pitch tracks against their reference: precision, recall and F1 by mir_eval.

Conventions
    Notes are intervals of shape `(notes, 2)`, onset and offset in seconds, and pitches of shape `(notes,)` in Hz.
    Multi-pitch tracks are frames: times in seconds and, per frame, the sounding frequencies in Hz. Every reference note
    or frequency is matched with at most one estimated, so that as many as possible are matched; precision is matched /
    estimated, recall matched / reference, F1 their harmonic mean. The counts of several recordings add up. mir_eval is
    an optional library: `pip install 'hubbub[music]'`.

A note is matched by
    onset               onsets within 50 ms                                       (COn)
    onset_offset        and offsets within 50 ms or 20 % of the reference's duration, whichever is more
    onset_pitch         onsets, and pitches within 50 cents                       (COnP)
    onset_pitch_offset  all three                                                 (COnPOff)
Tolerances include their ends. MIREX; Molina, Barbancho, Tardon and Barbancho, "Evaluation framework for automatic
singing transcription" (2014); Raffel et al., "mir_eval" (2014). Frequencies of a frame are matched within 50 cents:
Bay, Ehmann and Downie, "Evaluation of multiple-F0 estimation and tracking systems" (2009).

Where mir_eval warns and returns 0: a reference without notes raises `ReferenceFault` and an estimate without
`EstimateFault`, both with the reason `no_notes`. Counts exist there too, for sums over recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.classification import Rates
from eval.outcome import EstimateFault, ReferenceFault

__all__ = ["CRITERIA", "MatchCounts", "multipitch_counts", "note_counts"]

Floats = NDArray[np.float64]

CRITERIA = ("onset", "onset_offset", "onset_pitch", "onset_pitch_offset")


@dataclass(frozen=True)
class MatchCounts:
    """How many are matched, are in the reference, are in the estimate."""

    matched: int
    reference: int
    estimate: int

    def __add__(self, other: MatchCounts) -> MatchCounts:
        return MatchCounts(
            self.matched + other.matched, self.reference + other.reference, self.estimate + other.estimate
        )

    def rates(self) -> Rates:
        """Precision, recall and F1."""
        if self.reference == 0:
            raise ReferenceFault("no_notes")
        if self.estimate == 0:
            raise EstimateFault("no_notes")
        return Rates(
            precision=self.matched / self.estimate,
            recall=self.matched / self.reference,
            f1=2 * self.matched / (self.estimate + self.reference),
        )


def note_counts(
    *,
    reference_intervals_s: ArrayLike,
    reference_hz: ArrayLike,
    estimate_intervals_s: ArrayLike,
    estimate_hz: ArrayLike,
    onset_tolerance_s: float = 0.05,
    offset_tolerance_s: float = 0.05,
    offset_ratio: float = 0.2,
    pitch_tolerance_cents: float = 50.0,
) -> dict[str, MatchCounts]:
    """Counts of one recording by each of `CRITERIA`."""
    for name, value in (
        ("onset_tolerance_s", onset_tolerance_s),
        ("offset_tolerance_s", offset_tolerance_s),
        ("offset_ratio", offset_ratio),
        ("pitch_tolerance_cents", pitch_tolerance_cents),
    ):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and above 0, got {value}")
    r, r_hz = _notes("reference", reference_intervals_s, reference_hz)
    e, e_hz = _notes("estimate", estimate_intervals_s, estimate_hz)
    match_notes = _mir_eval("transcription").match_notes

    def counts(criterion: str) -> MatchCounts:
        if len(r) == 0 or len(e) == 0:
            return MatchCounts(0, len(r), len(e))
        pairs = match_notes(
            r,
            r_hz,
            e,
            e_hz,
            onset_tolerance=onset_tolerance_s,
            pitch_tolerance=pitch_tolerance_cents if "pitch" in criterion else np.inf,
            offset_ratio=offset_ratio if "offset" in criterion else None,
            offset_min_tolerance=offset_tolerance_s,
        )
        return MatchCounts(len(pairs), len(r), len(e))

    return {criterion: counts(criterion) for criterion in CRITERIA}


def multipitch_counts(
    *,
    reference_times_s: ArrayLike,
    reference_hz: Sequence[ArrayLike],
    estimate_times_s: ArrayLike,
    estimate_hz: Sequence[ArrayLike],
    pitch_tolerance_cents: float = 50.0,
) -> MatchCounts:
    """Counts over all frames of the reference. An estimate at other times gives each of them its nearest frame, and
    nothing outside of its own span.
    """
    if not (np.isfinite(pitch_tolerance_cents) and pitch_tolerance_cents > 0):
        raise ValueError(f"pitch_tolerance_cents must be finite and above 0, got {pitch_tolerance_cents}")
    r_times, r = _frames("reference", reference_times_s, reference_hz)
    e_times, e = _frames("estimate", estimate_times_s, estimate_hz)
    multipitch = _mir_eval("multipitch")
    if len(r_times) == 0 or len(e_times) == 0:
        return MatchCounts(0, sum(map(len, r)), sum(map(len, e)))
    if r_times.shape != e_times.shape or not np.allclose(r_times, e_times):
        e = multipitch.resample_multipitch(e_times, e, r_times)
    matched = multipitch.compute_num_true_positives(
        multipitch.frequencies_to_midi(r), multipitch.frequencies_to_midi(e), window=pitch_tolerance_cents / 100
    )
    return MatchCounts(int(matched.sum()), sum(map(len, r)), sum(map(len, e)))


def _mir_eval(part: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(f"mir_eval.{part}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"scores of notes need mir_eval; install the extra: pip install 'hubbub[music]' ({error})"
        ) from error


def _fault(side: str, reason: str) -> EstimateFault | ReferenceFault:
    return EstimateFault(reason) if side == "estimate" else ReferenceFault(reason)


def _notes(side: str, intervals_s: ArrayLike, pitches_hz: ArrayLike) -> tuple[Floats, Floats]:
    intervals, pitches = np.asarray(intervals_s, dtype=np.float64), np.asarray(pitches_hz, dtype=np.float64)
    if intervals.size == 0:
        intervals = intervals.reshape(0, 2)
    if intervals.ndim != 2 or intervals.shape[1] != 2 or pitches.shape != intervals.shape[:1]:
        raise ValueError(
            f"{side}_intervals_s and {side}_hz must have shapes (notes, 2) and (notes,), "
            f"got {intervals.shape} and {pitches.shape}"
        )
    if not (np.isfinite(intervals).all() and np.isfinite(pitches).all()):
        raise _fault(side, "nan")
    if (intervals[:, 0] < 0).any() or (intervals[:, 1] <= intervals[:, 0]).any():
        raise _fault(side, "bad_interval")
    if (pitches <= 0).any():
        raise _fault(side, "bad_pitch")
    return intervals, pitches


def _frames(side: str, times_s: ArrayLike, frequencies_hz: Sequence[ArrayLike]) -> tuple[Floats, list[Floats]]:
    times = np.asarray(times_s, dtype=np.float64)
    frames = [np.atleast_1d(np.asarray(frame, dtype=np.float64)) for frame in frequencies_hz]
    if times.ndim != 1 or len(frames) != len(times):
        raise ValueError(
            f"{side}_times_s and {side}_hz must have as many frames, got shape {times.shape} and {len(frames)}"
        )
    if not (np.isfinite(times).all() and all(np.isfinite(frame).all() for frame in frames)):
        raise _fault(side, "nan")
    if (np.diff(times) <= 0).any():
        raise _fault(side, "bad_times")
    if any((frame <= 0).any() for frame in frames):
        raise _fault(side, "bad_pitch")
    return times, frames
