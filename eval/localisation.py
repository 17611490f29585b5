"""Where sources are heard: angles between directions, DOA errors per frame, and the SELD metrics of DCASE.

Conventions
    A direction is (azimuth, elevation) in degrees: any azimuth, 0 elevation on the horizon. Errors are great-circle
    angles in degrees, 0..180. `doa_counts` takes directions of shape `(frames, sources, 2)` and activity `(frames,
    sources)`; the order of sources means nothing, active ones are matched frame by frame so that the sum of angles is
    least. SELD events are rows (frame, class, azimuth, elevation), one per active source and frame, ten frames a
    second unless told otherwise; several rows of one frame and class are several sources.

What is missing costs: a source without an estimate has an error of 180 degrees in `mae_deg` and is not within any
limit, so that a system gains nothing by silence. `doa_counts` also says how many were missed and how many were heard
that are not there. Without an active source in the reference, ReferenceFault("no_sources").

SELD, Politis, Mesaros, Adavanne, Heittola and Virtanen, "Overview and evaluation of sound event localization and
detection in DCASE 2019" (2020), as the baselines of DCASE 2021 and 2022 count it. In every segment of one second and
every class: a reference source is heard where any frame matches it with an estimate, and its error is the mean of
those frames' angles; within 20 degrees it is a hit, beyond it a misplaced one. More estimated than reference sources
at once are false ones, fewer are missed ones.
    ER_20   sum over segments of max(false + misplaced, missed), by the number of reference sources; over all classes
    F1_20   hits / (hits + misplaced + (false + missed) / 2), the form of 2022
            hits / (hits + (misplaced + false + missed) / 2), the form of 2021, where a misplaced one is no miss too
    LE_CD   mean error of the sources heard, 180 degrees without any
    LR_CD   sources heard / (sources heard + missed)
2022 takes the mean of F1, LE and LR over classes (macro), 2021 the sums of all classes (micro). Here macro is over the
classes that the reference has, the same for every system; the baseline also counts a class that never occurs, as F1
0, LE 180 and LR 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault
from eval.tablescores import seld_error

__all__ = [
    "DoaCounts",
    "SeldCounts",
    "SeldScores",
    "acc_5",
    "angular_error_deg",
    "doa_counts",
    "doa_mae",
    "seld_counts",
    "seld_scores",
]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MISSED_DEG = 180.0
"""What a source without an estimate costs."""

_EVENT = ("frame", "class", "azimuth_deg", "elevation_deg")
_REFERENCE, _HIT, _MISPLACED, _FALSE, _MISSED, _ERROR_DEG = range(6)


@dataclass(frozen=True)
class DoaCounts:
    """Sums over frames. Those of several recordings add up."""

    error_sum_deg: float
    n_within: int
    n_reference: int
    n_missed: int
    n_false: int

    def __add__(self, other: DoaCounts) -> DoaCounts:
        return DoaCounts(
            error_sum_deg=self.error_sum_deg + other.error_sum_deg,
            n_within=self.n_within + other.n_within,
            n_reference=self.n_reference + other.n_reference,
            n_missed=self.n_missed + other.n_missed,
            n_false=self.n_false + other.n_false,
        )

    @property
    def mae_deg(self) -> float:
        return self.error_sum_deg / self._sources

    @property
    def accuracy(self) -> float:
        """Share of the reference's sources with an estimate within the limit."""
        return self.n_within / self._sources

    @property
    def _sources(self) -> int:
        if self.n_reference == 0:
            raise ReferenceFault("no_sources")
        return self.n_reference


@dataclass(frozen=True)
class SeldCounts:
    """What SELD scores are made of. Those of several recordings add up.

    `by_class` has shape `(classes, 6)`: reference sources, hits, misplaced, false, missed, and the sum of the errors in
    degrees of the sources heard. `edits` is the sum over segments of max(false + misplaced, missed), `outside` the
    number of estimated rows after the end, which do not count.
    """

    by_class: Floats
    edits: float
    outside: int = 0

    def __add__(self, other: SeldCounts) -> SeldCounts:
        return SeldCounts(self.by_class + other.by_class, self.edits + other.edits, self.outside + other.outside)


@dataclass(frozen=True)
class SeldScores:
    """The four metrics and their mean error; `n_classes` are in the means of a macro average."""

    er_20: float
    f1_20: float
    le_cd_deg: float
    lr_cd: float
    seld_error: float
    n_classes: int


def angular_error_deg(*, reference_deg: ArrayLike, estimate_deg: ArrayLike) -> Floats:
    """Angle between directions of shape `(..., 2)`, which broadcast."""
    r, e = _directions("reference_deg", reference_deg), _directions("estimate_deg", estimate_deg)
    return _angle_deg(_unit(r), _unit(e))


def doa_mae(
    *,
    reference_deg: ArrayLike,
    estimate_deg: ArrayLike,
    reference_active: ArrayLike | None = None,
    estimate_active: ArrayLike | None = None,
) -> float:
    """Mean angle in degrees over all active sources and frames of the reference. See `doa_counts`."""
    return doa_counts(
        reference_deg=reference_deg,
        estimate_deg=estimate_deg,
        reference_active=reference_active,
        estimate_active=estimate_active,
    ).mae_deg


def acc_5(
    *,
    reference_deg: ArrayLike,
    estimate_deg: ArrayLike,
    reference_active: ArrayLike | None = None,
    estimate_active: ArrayLike | None = None,
) -> float:
    """Share of all active sources and frames of the reference with an estimate within 5 degrees. See `doa_counts`."""
    return doa_counts(
        reference_deg=reference_deg,
        estimate_deg=estimate_deg,
        reference_active=reference_active,
        estimate_active=estimate_active,
    ).accuracy


def doa_counts(
    *,
    reference_deg: ArrayLike,
    estimate_deg: ArrayLike,
    reference_active: ArrayLike | None = None,
    estimate_active: ArrayLike | None = None,
    within_deg: float = 5.0,
) -> DoaCounts:
    """Errors of all frames. Activity left out is active throughout; directions where a source is not active are not
    looked at and may be NaN.
    """
    if not 0 <= within_deg <= 180:
        raise ValueError(f"within_deg must be within [0, 180], got {within_deg}")
    r, r_on = _tracks("reference", reference_deg, reference_active)
    e, e_on = _tracks("estimate", estimate_deg, estimate_active)
    if len(e) != len(r):
        raise ValueError(f"estimate_deg must have the reference's {len(r)} frames, got {len(e)}")
    errors = _matched(r, e, r_on, e_on)
    n_reference, n_estimate = int(r_on.sum()), int(e_on.sum())
    missed = n_reference - len(errors)
    return DoaCounts(
        error_sum_deg=float(errors.sum()) + MISSED_DEG * missed,
        n_within=int(np.sum(errors <= within_deg)),
        n_reference=n_reference,
        n_missed=missed,
        n_false=n_estimate - len(errors),
    )


def seld_counts(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    n_frames: int,
    n_classes: int,
    frames_per_segment: int = 10,
    within_deg: float = 20.0,
) -> SeldCounts:
    """Counts of one recording of `n_frames` frames. `reference` and `estimate` are events of shape `(rows, 4)`.

    Estimated rows after the last segment do not count; `outside` says how many.
    """
    if min(n_frames, n_classes, frames_per_segment) < 1:
        raise ValueError(
            "n_frames, n_classes and frames_per_segment must be at least 1, "
            f"got {n_frames}, {n_classes} and {frames_per_segment}"
        )
    n_segments = -(-n_frames // frames_per_segment)
    r = _events("reference", reference, n_classes)
    e = _events("estimate", estimate, n_classes)
    if r.size and r[:, 0].max() >= n_frames:
        raise ValueError(f"reference must end before frame {n_frames}, got frame {r[:, 0].max():g}")
    inside = e[:, 0] < n_segments * frames_per_segment
    outside, e = int(np.sum(~inside)), e[inside]
    by_class = np.zeros((n_classes, 6))
    excess, deficit = np.zeros(n_segments), np.zeros(n_segments)
    references, estimates = _by_cell(r, frames_per_segment), _by_cell(e, frames_per_segment)
    for segment, label in sorted(references.keys() | estimates.keys()):
        row = _cell(references.get((segment, label), []), estimates.get((segment, label), []), within_deg)
        by_class[label] += row
        excess[segment] += row[_FALSE] + row[_MISPLACED]
        deficit[segment] += row[_MISSED]
    return SeldCounts(by_class, float(np.maximum(excess, deficit).sum()), outside)


def seld_scores(counts: SeldCounts, *, edition: int = 2022, average: str = "macro") -> SeldScores:
    """The scores of DCASE 2022 (macro; its micro form by `average="micro"`) or 2021 (micro only)."""
    if (edition, average) not in ((2022, "macro"), (2022, "micro"), (2021, "micro")):
        raise ValueError(f"edition and average must be 2022 macro, 2022 micro or 2021 micro, got {edition} {average}")
    table = counts.by_class[counts.by_class[:, _REFERENCE] > 0]
    if len(table) == 0:
        raise ReferenceFault("no_sources")
    n_classes = len(table)
    er = counts.edits / float(table[:, _REFERENCE].sum())
    if average == "micro":
        table = counts.by_class.sum(axis=0, keepdims=True)
    hit, misplaced, false, missed, error_deg = table[:, _HIT:].T
    heard = hit + misplaced
    share = 1.0 if edition == 2022 else 0.5
    f1 = float(np.mean(hit / (hit + share * misplaced + (false + missed) / 2)))
    le_deg = float(np.mean(np.divide(error_deg, heard, out=np.full(len(table), MISSED_DEG), where=heard > 0)))
    lr = float(np.mean(heard / (heard + missed)))
    error = seld_error(er_20=er, f1_20=f1, le_cd_deg=le_deg, lr_cd=lr)
    return SeldScores(er, f1, le_deg, lr, error, n_classes)


# frames


def _matched(r: Floats, e: Floats, r_on: Mask, e_on: Mask) -> Floats:
    """Angles of all matched pairs."""
    n_r, n_e = r_on.sum(axis=1), e_on.sum(axis=1)
    single = (n_r == 1) & (n_e == 1)  # nothing to match; most frames of most recordings
    found = [_angle_deg(_unit(r[single][r_on[single]]), _unit(e[single][e_on[single]]))]
    for frame in np.flatnonzero((n_r > 0) & (n_e > 0) & ~single):
        found.append(_assigned(_unit(r[frame][r_on[frame]]), _unit(e[frame][e_on[frame]]))[1])
    return np.concatenate(found)


def _assigned(r: Floats, e: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Which of the unit vectors `r` have a partner in `e` where the sum of angles is least, and their angles."""
    from scipy.optimize import linear_sum_assignment

    angles = _angle_deg(r[:, None], e[None])
    rows, columns = linear_sum_assignment(angles)
    return rows, angles[rows, columns]


def _unit(directions_deg: Floats) -> Floats:
    azimuth, elevation = np.moveaxis(np.radians(directions_deg), -1, 0)
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=-1)


def _angle_deg(a: Floats, b: Floats) -> Floats:
    # the arc cosine of the product loses half of the digits near 0 and 180 degrees
    halves = np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    angles: Floats = np.degrees(2 * halves)
    return angles


def _directions(name: str, values: ArrayLike) -> Floats:
    directions = np.asarray(values, dtype=np.float64)
    if directions.ndim == 0 or directions.shape[-1] != 2:
        raise ValueError(f"{name} must have shape (..., 2), got {directions.shape}")
    if not np.isfinite(directions).all():
        raise ValueError(f"{name} must be finite, got NaN or infinite angles")
    return directions


def _tracks(side: str, values: ArrayLike, active: ArrayLike | None) -> tuple[Floats, Mask]:
    """Directions `(frames, sources, 2)` and activity `(frames, sources)`, finite where active."""
    directions = np.asarray(values, dtype=np.float64)
    if directions.ndim != 3 or directions.shape[-1] != 2:
        raise ValueError(f"{side}_deg must have shape (frames, sources, 2), got {directions.shape}")
    shape = directions.shape[:2]
    on = np.ones(shape, dtype=np.bool_) if active is None else np.asarray(active)
    if on.dtype != np.bool_ or on.shape != shape:
        raise ValueError(f"{side}_active must be bool of shape {shape}, got {on.dtype} of shape {on.shape}")
    if not np.isfinite(directions[on]).all():
        raise (EstimateFault if side == "estimate" else ReferenceFault)("nan")
    return directions, on


# events


def _events(side: str, values: ArrayLike, n_classes: int) -> Floats:
    rows = np.asarray(values, dtype=np.float64)
    if rows.size == 0:
        return np.zeros((0, 4))
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"{side} must have shape (rows, 4), {', '.join(_EVENT)}, got {rows.shape}")
    fault = EstimateFault if side == "estimate" else ReferenceFault
    if not np.isfinite(rows).all():
        raise fault("nan")
    whole = rows[:, :2]
    if (whole != np.floor(whole)).any() or (whole < 0).any():
        raise fault("not_a_count")
    if whole[:, 1].max() >= n_classes:
        raise fault("unknown_class")
    return rows


def _by_cell(events: Floats, frames_per_segment: int) -> dict[tuple[int, int], list[Floats]]:
    """Events of every (segment, class): one array of rows per frame, in the order of frames."""
    cells: dict[tuple[int, int], list[Floats]] = {}
    if len(events) == 0:
        return cells
    # a stable sort keeps the order of rows within a frame, which numbers the sources
    ordered = events[np.lexsort((events[:, 1], events[:, 0]))]
    starts = np.flatnonzero((np.diff(ordered[:, :2], axis=0) != 0).any(axis=1)) + 1
    for rows in np.split(ordered, starts):
        cells.setdefault((int(rows[0, 0]) // frames_per_segment, int(rows[0, 1])), []).append(rows)
    return cells


def _cell(reference: list[Floats], estimate: list[Floats], within_deg: float) -> Floats:
    """The counts of one segment and class, see `SeldCounts.by_class`."""
    row = np.zeros(6)
    n_reference, n_estimate = (max((len(rows) for rows in frames), default=0) for frames in (reference, estimate))
    row[_REFERENCE] = n_reference
    errors = _source_errors(reference, estimate)
    if not errors and n_reference and n_estimate:
        # Both have the class, in no common frame: the baselines count as many missed as there are estimates.
        row[_MISSED] = n_estimate
        return row
    row[_HIT] = sum(error <= within_deg for error in errors)
    row[_MISPLACED] = len(errors) - row[_HIT]
    row[_ERROR_DEG] = math.fsum(errors)
    row[_FALSE] = max(0, n_estimate - n_reference)
    row[_MISSED] = max(0, n_reference - n_estimate)
    return row


def _source_errors(reference: list[Floats], estimate: list[Floats]) -> list[float]:
    """Mean error in degrees of every source of the reference that any frame matches. A source is its place among the
    rows of its frame, as in the baselines.
    """
    heard = {int(rows[0, 0]): rows for rows in estimate}
    angles: dict[int, list[float]] = {}
    for rows in reference:
        others = heard.get(int(rows[0, 0]))
        if others is not None:
            for source, angle in zip(*_assigned(_unit(rows[:, 2:]), _unit(others[:, 2:])), strict=True):
                angles.setdefault(int(source), []).append(float(angle))
    return [math.fsum(found) / len(found) for found in angles.values()]
