"""`hubbub compare doa | seld | notes`: scores of directions, of sound events with directions, and of notes.

Conventions
    As in `pipelines.comparison`. A table has a row per event and may hold several recordings, which are the clusters of
    the intervals. A recording that a system has no row of is one in which it found nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import localisation, notes, statistics
from manifests.errors import UserError
from manifests.tables import Table
from pipelines.comparison import (
    Comparison,
    Floats,
    Sides,
    attempt,
    differences,
    input_row,
    interval,
    opened,
    ordered,
    some,
    warn_if_few,
)

__all__ = ["compare_doa", "compare_notes", "compare_seld"]

RECOUNTS = 2000
"""Draws where every draw is scored again, which costs more than a ratio of sums."""


# --------------------------------------------------------------------------------------- recordings with many events

Events = Mapping[str, Sequence[int]]


def _recordings(sides: Sides, out: Comparison) -> tuple[list[str], dict[str, dict[str, list[int]]]]:
    """The recordings of the reference, and the rows of each by side (the reference is ""). A table without such a
    column is one recording.
    """
    split = "recording" in sides.reference.columns
    rows = {"": _by_recording(sides.reference, split)}
    names = list(rows[""])
    out.inputs.append(input_row(sides.reference, None, {}))
    for name, table in sides.systems.items():
        if split:
            table.need("recording")
        elif "recording" in table.columns:
            sides.reference.need("recording")
        rows[name] = _by_recording(table, split)
        strange = [recording for recording in rows[name] if recording not in rows[""]]
        report = input_row(table, name, {}, [recording for recording in names if recording not in rows[name]])
        lost = sum(len(rows[name][recording]) for recording in strange)
        report |= {"used": report["rows"] - lost, "dropped": {"no_reference": strange} if strange else {}}
        out.inputs.append(report)
        if strange:
            out.notes.append(f"{name}: {lost} rows are of recordings that the reference has no row of; not scored")
    if len(names) < 2:
        out.notes.append("one recording: no intervals")
    out.settings["cluster"] = "recording"
    return names, rows


def _by_recording(table: Table, split: bool) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, recording in enumerate(table.names("recording") if split else [""] * len(table)):
        found.setdefault(recording, []).append(index)
    return found


def _flat(sides: Sides, out: Comparison) -> bool:
    """Whether directions have no elevation, because the reference has none."""
    flat = "elevation_deg" not in sides.reference.columns
    for name, table in sides.systems.items():
        if flat and "elevation_deg" in table.columns:
            out.notes.append(f"{name}: elevations are not looked at, the reference has none")
    return flat


def _directions(table: Table, flat: bool) -> Floats:
    """(azimuth, elevation) of every row."""
    azimuth = table.numbers("azimuth_deg")
    elevation = [0.0] * len(table) if flat else table.numbers("elevation_deg", low=-90, high=90)
    return np.array([azimuth, elevation]).T.reshape(-1, 2)


def compare_doa(
    reference: str,
    estimates: Sequence[str],
    *,
    within_deg: float = 5.0,
    column: Mapping[str, str] | None = None,
    draws: int = statistics.DRAWS,
) -> Comparison:
    """Directions per frame, one row per active source: mean angle, and the share within some degrees (`acc_5`)."""
    wanted = ("recording", "frame", "azimuth_deg", "elevation_deg")
    sides = opened(reference, estimates, ours=wanted, column=dict(column or {}), may_be_empty=True)
    out = Comparison("doa", {"within_deg": within_deg})
    recordings, rows = _recordings(sides, out)
    both = {"": sides.reference, **sides.systems}
    frames = {side: table.numbers("frame", low=0, whole=True) for side, table in both.items()}
    flat = _flat(sides, out)
    directions = {side: _directions(table, flat) for side, table in both.items()}

    def counted(name: str, recording: str) -> localisation.DoaCounts:
        mine, theirs = (_frames(rows[side].get(recording, []), frames[side], directions[side]) for side in ("", name))
        steps = sorted({*mine, *theirs})
        (r, r_on), (e, e_on) = _tracks(mine, steps), _tracks(theirs, steps)
        return localisation.doa_counts(
            reference_deg=r, estimate_deg=e, reference_active=r_on, estimate_active=e_on, within_deg=within_deg
        )

    counts = {name: [counted(name, recording) for recording in recordings] for name in sides.names}
    first = counts[sides.names[0]]
    weights = [c.n_reference for c in first]
    for metric, key, upper in (
        ("doa_mae", "mae_deg", "error_sum_deg"),
        (f"acc_{within_deg:g}", "accuracy", "n_within"),
    ):
        table = np.array([[getattr(c, upper) for c in counts[name]] for name in sides.names], dtype=np.float64).T
        data = statistics.Clustered.of(table, np.arange(len(recordings)), weights)
        drawn = data.resampled(draws=draws) if len(recordings) >= 2 else np.full((0, len(sides.names)), np.nan)
        values: list[float | None] = [float(value) for value in data.aggregates]
        for place, name in enumerate(sides.names):
            total = sum(counts[name][1:], counts[name][0])
            out.rows.append(
                {
                    "system": name,
                    "metric": metric,
                    **some(data.aggregates[place]),
                    **interval(drawn[:, place], len(recordings)),
                    "n": total.n_reference,
                    "n_clusters": len(recordings),
                    "missed": total.n_missed,
                    "false": total.n_false,
                }
            )
            out.items += [
                {"system": name, "id": recording, "metric": metric, **some(getattr(one, key))}
                for recording, one in zip(recordings, counts[name], strict=True)
            ]
        out.pairs += differences(metric, sides.names, values, drawn, len(recordings), data.sums)
    if len(recordings) >= 2:
        warn_if_few(len(recordings), out)
    return out


def _frames(rows: Sequence[int], frames: Sequence[float], directions: Floats) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(int(frames[row]), []).append(directions[row])
    return found


def _tracks(by_frame: Mapping[int, Sequence[Any]], steps: Sequence[int]) -> tuple[Floats, NDArray[np.bool_]]:
    """Directions (frames, sources, 2) and which are active."""
    most = max((len(found) for found in by_frame.values()), default=0)
    directions, active = np.zeros((len(steps), most, 2)), np.zeros((len(steps), most), dtype=np.bool_)
    for place, step in enumerate(steps):
        for source, direction in enumerate(by_frame.get(step, ())):
            directions[place, source], active[place, source] = direction, True
    return directions, active


_SELD = {"er_20": "er_20", "f1_20": "f1_20", "le_cd": "le_cd_deg", "lr_cd": "lr_cd", "seld_error": "seld_error"}


def compare_seld(
    reference: str,
    estimates: Sequence[str],
    *,
    frames_per_second: int = 10,
    average: str = "macro",
    column: Mapping[str, str] | None = None,
    draws: int = RECOUNTS,
) -> Comparison:
    """Sound events with directions: the metrics of DCASE task 3, edition of 2022."""
    wanted = ("recording", "frame", "class", "azimuth_deg", "elevation_deg")
    sides = opened(reference, estimates, ours=wanted, column=dict(column or {}), may_be_empty=True)
    if average not in ("macro", "micro"):
        raise UserError(f"--average must be macro or micro, got '{average}'")
    out = Comparison("seld", {"edition": 2022, "average": average, "frames_per_second": frames_per_second})
    recordings, rows = _recordings(sides, out)
    both = {"": sides.reference, **sides.systems}
    classes = {name: code for code, name in enumerate(ordered({c for t in both.values() for c in t.names("class")}))}
    flat = _flat(sides, out)
    events = {side: _event_rows(table, classes, flat) for side, table in both.items()}

    def counted(name: str, recording: str) -> localisation.SeldCounts:
        mine, theirs = (events[side][rows[side].get(recording, [])] for side in ("", name))
        last = max(part[:, 0].max() for part in (mine, theirs) if len(part))
        return localisation.seld_counts(
            reference=mine,
            estimate=theirs,
            n_frames=int(last) + 1,
            n_classes=len(classes),
            frames_per_segment=frames_per_second,
        )

    drawn_by: list[Floats] = []
    for name in sides.names:
        counts = [counted(name, recording) for recording in recordings]
        total = sum(counts[1:], counts[0])
        drawn = _seld_drawn(counts, average, draws)
        drawn_by.append(drawn)
        for place, (metric, key) in enumerate(_SELD.items()):
            out.rows.append(
                {
                    "system": name,
                    "metric": metric,
                    **attempt(metric, _seld_score, total, average, key),
                    **interval(drawn[:, place], len(recordings)),
                    "n": int(total.by_class[:, 0].sum()),
                    "n_clusters": len(recordings),
                }
            )
            out.items += [
                {"system": name, "id": recording, "metric": metric,
                 **attempt(metric, _seld_score, one, average, key)}
                for recording, one in zip(recordings, counts, strict=True)
            ]  # fmt: skip
    for place, metric in enumerate(_SELD):
        values = [row["value"] for row in out.rows if row["metric"] == metric]
        together = np.stack([drawn[:, place] for drawn in drawn_by], axis=1)
        out.pairs += differences(metric, sides.names, values, together, len(recordings), None)
    if len(recordings) >= 2:
        warn_if_few(len(recordings), out)
    return out


def _seld_score(counts: localisation.SeldCounts, average: str, key: str) -> float:
    return float(getattr(localisation.seld_scores(counts, average=average), key))


def _event_rows(table: Table, classes: Mapping[str, int], flat: bool) -> Floats:
    frames = table.numbers("frame", low=0, whole=True)
    codes = [float(classes[name]) for name in table.names("class")]
    return np.column_stack([np.array([frames, codes]).T.reshape(-1, 2), _directions(table, flat)])


def _seld_drawn(counts: Sequence[localisation.SeldCounts], average: str, draws: int) -> Floats:
    """Scores of resampled recordings; NaN where a draw has no source."""
    found = np.full((draws, len(_SELD)), np.nan)
    if len(counts) < 2:
        return found
    shape = counts[0].by_class.shape
    table = np.array([[*c.by_class.ravel(), c.edits] for c in counts])
    sums = [times @ table for times in statistics.times_drawn(len(counts), draws, 0)]
    for place, row in enumerate(np.concatenate(sums)):
        drawn = localisation.SeldCounts(row[:-1].reshape(shape), float(row[-1]))
        if drawn.by_class[:, 0].any():
            scores = localisation.seld_scores(drawn, average=average)
            found[place] = [getattr(scores, key) for key in _SELD.values()]
    return found


_NOTES = {f"note_f1_{criterion}": criterion for criterion in notes.CRITERIA}


def compare_notes(
    reference: str,
    estimates: Sequence[str],
    *,
    column: Mapping[str, str] | None = None,
    draws: int = statistics.DRAWS,
) -> Comparison:
    """Transcribed notes: F1 by four criteria."""
    wanted = ("recording", "onset_s", "offset_s", "pitch_hz")
    sides = opened(reference, estimates, ours=wanted, column=dict(column or {}), may_be_empty=True)
    out = Comparison("notes")
    recordings, rows = _recordings(sides, out)
    parts = {side: _note_rows(table) for side, table in {"": sides.reference, **sides.systems}.items()}

    def counted(name: str, recording: str) -> dict[str, notes.MatchCounts]:
        mine, theirs = (parts[side][rows[side].get(recording, [])] for side in ("", name))
        try:
            return notes.note_counts(
                reference_intervals_s=mine[:, :2],
                reference_hz=mine[:, 2],
                estimate_intervals_s=theirs[:, :2],
                estimate_hz=theirs[:, 2],
            )
        except ModuleNotFoundError as error:
            raise UserError(str(error)) from None

    counts = {name: [counted(name, recording) for recording in recordings] for name in sides.names}
    for metric, criterion in _NOTES.items():
        values, drawn = [], []
        for name in sides.names:
            each = [found[criterion] for found in counts[name]]
            total = sum(each[1:], each[0]) if each else notes.MatchCounts(0, 0, 0)
            found = attempt(metric, _f1, total)
            column_of_draws = _note_draws(each, draws)
            values.append(found["value"])
            drawn.append(column_of_draws)
            rates = total.rates() if found["status"] == "ok" else None
            out.rows.append(
                {
                    "system": name,
                    "metric": metric,
                    **found,
                    **interval(column_of_draws, len(recordings)),
                    "precision": rates and rates.precision,
                    "recall": rates and rates.recall,
                    "matched": total.matched,
                    "n": total.reference,
                    "n_estimated": total.estimate,
                    "n_clusters": len(recordings),
                }
            )
            out.items += [
                {"system": name, "id": recording, "metric": metric, **attempt(metric, _f1, one)}
                for recording, one in zip(recordings, each, strict=True)
            ]
        out.pairs += differences(metric, sides.names, values, np.stack(drawn, axis=1), len(recordings), None)
    if len(recordings) >= 2:
        warn_if_few(len(recordings), out)
    return out


def _f1(counts: notes.MatchCounts) -> float:
    return counts.rates().f1


def _note_rows(table: Table) -> Floats:
    onset, offset = table.numbers("onset_s", low=0), table.numbers("offset_s", low=0)
    pitch = table.numbers("pitch_hz")
    for index in range(len(table)):
        if offset[index] <= onset[index]:
            raise table.wrong(index, "offset_s", f"a number above the onset, {onset[index]:g}")
        if pitch[index] <= 0:
            raise table.wrong(index, "pitch_hz", "a frequency above 0 Hz")
    return np.array([onset, offset, pitch]).T.reshape(-1, 3)


def _note_draws(each: Sequence[notes.MatchCounts], draws: int) -> Floats:
    if len(each) < 2:
        return np.full(draws, np.nan)
    table = np.array([[2 * c.matched, c.reference + c.estimate] for c in each], dtype=np.float64)
    upper, lower = statistics.cluster_bootstrap(table, np.arange(len(each)), draws=draws, seed=0).T
    return np.asarray(np.divide(upper, lower, out=np.full(len(upper), np.nan), where=lower > 0))
