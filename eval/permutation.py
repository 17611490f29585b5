"""Which estimate belongs to which reference: one assignment per mixture, and what is left over on either side.

Conventions
    References and estimates have shape `(signals, samples)`, float64, one sample rate and length; their numbers may
    differ and their scales are free. `order[k]` is the index of the estimate of reference k, or None.
    The criterion is the SI-SDR without mean removal, clamped to -50..80 dB so that one perfect or hopeless pair does
    not decide for the others. The assignment has the largest sum of it over all pairs; among equal sums (to 1e-6 dB)
    it is the one that gives reference 0, then 1, and so on, the lowest index.

    An estimate that is empty of signal or broken (`eval.outcome.fault`: silent, constant, NaN, infinite) is never
    assigned, so it takes no place from a real one. A silent reference is not assigned and not missed.
    `missed` counts references with sound but without an estimate. `false_sources` counts the estimates left over that
    a listener would hear: not broken, and less than 60 dB below the loudest estimate of the system. The comparison is
    with the system's own output because a system may choose its level.

H. W. Kuhn, "The Hungarian method for the assignment problem" (1955). Kolbaek et al., "Multitalker speech separation
with utterance-level permutation invariant training" (2017). Mean SIR as the criterion, here a diagnostic: mir_eval and
BSSEval, after Vincent et al. (2006).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.distortion import measured
from eval.outcome import fault

__all__ = [
    "Assignment",
    "NamedMatch",
    "WindowedAssignment",
    "assign",
    "assign_windows",
    "best_order",
    "match_names",
    "si_sdr_matrix",
    "sir_disagrees",
]

Signal = NDArray[np.float64]
Matrix = NDArray[np.float64]
Order = tuple[int | None, ...]

CRITERION = "si_sdr"
FLOOR_DB, CEILING_DB = -50.0, 80.0
AUDIBLE_DB = -60.0
TIE_DB = 1e-6  # at 80 dB, a last digit of the correlation is 1e-7 dB
FADE_S = 0.02


@dataclass(frozen=True)
class Assignment:
    """`score_db` is the mean criterion over the references with sound, a missed one counting -50 dB; None where no
    reference has sound.
    """

    order: Order
    false_sources: int
    missed: int
    criterion: str
    score_db: float | None


@dataclass(frozen=True, eq=False)
class WindowedAssignment:
    """Assignments of windows beside the fixed one of the whole recording.

    `orders` has one per window. `disagreeing` is the share of the judged windows (some reference and some estimate
    have sound) whose best assignment is another than the fixed one, which is a swap of labels or a failure; None where
    no window is judged. `estimates` follow the windows: shape `(references, samples)`, zeros for a missed reference.
    """

    fixed: Assignment
    orders: tuple[Order, ...]
    judged: int
    disagreeing: float | None
    estimates: Matrix


@dataclass(frozen=True)
class NamedMatch:
    """Stems that carry names are matched by them and never permuted."""

    order: Order
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def assign(*, references: ArrayLike, estimates: ArrayLike) -> Assignment:
    """The assignment with the largest mean SI-SDR."""
    s, e = _signals("references", references), _signals("estimates", estimates)
    scores = si_sdr_matrix(references=s, estimates=e)
    rows, columns = _usable(s), _usable(e)
    order = _order_of(scores, rows, columns)
    values = [_score(scores, k, order[k]) for k in rows]
    return Assignment(
        order=order,
        false_sources=_audible(e, [j for j in columns if j not in order]),
        missed=sum(order[k] is None for k in rows),
        criterion=CRITERION,
        score_db=float(np.mean(values)) if values else None,
    )


def si_sdr_matrix(*, references: ArrayLike, estimates: ArrayLike) -> Matrix:
    """SI-SDR of every estimate for every reference, clamped, shape `(references, estimates)`. -50 for signals that
    cannot be scored.
    """
    s, e = _signals("references", references), _signals("estimates", estimates)
    if s.shape[1] != e.shape[1]:
        raise ValueError(f"estimates must have as many samples as references, {s.shape[1]}, got {e.shape[1]}")
    cosines = np.clip(_unit(s) @ _unit(e).T, -1, 1)
    explained = cosines**2  # SI-SDR = 10 log10(cos^2 / (1 - cos^2))
    with np.errstate(divide="ignore"):
        ratios = 10 * (np.log10(explained) - np.log10(1 - explained))
    clamped: Matrix = np.clip(ratios, FLOOR_DB, CEILING_DB)
    return clamped


def best_order(scores: ArrayLike) -> Order:
    """The assignment with the largest sum of `scores`, shape `(references, estimates)`; ties as described above."""
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"scores must have shape (references, estimates), got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("scores must be finite, got NaN or infinite values")
    best, gained = _largest_sum(table), 0.0
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    order: list[int | None] = []
    while rows:
        k = rows.pop(0)
        for j in [*columns, None]:
            # one reference may go without an estimate where there are fewer of those
            if j is None or gained + table[k, j] + _sum_without(table, rows, columns, j) >= best - TIE_DB:
                break
        if j is not None:
            gained += float(table[k, j])
            columns.remove(j)
        order.append(j)
    return tuple(order)


def sir_disagrees(*, references: ArrayLike, estimates: ArrayLike, order: Order) -> bool:
    """Whether SIR, with a gain for the filter (SI-SIR), would assign some estimate to another reference: the estimate
    then follows one source in shape and another in level. A diagnostic; False with fewer than two references.
    """
    from eval import separation

    s, e = _signals("references", references), _signals("estimates", estimates)
    rows, columns = _usable(s), _usable(e)
    if len(rows) < 2 or not columns:
        return False
    found = separation.si_bss_eval_pairs(references=s[rows], estimates=e[columns]).sir
    scores = np.zeros((len(s), len(e)))
    assert found is not None  # there are two references
    scores[np.ix_(rows, columns)] = np.clip(found, FLOOR_DB, CEILING_DB)
    return _gain(scores, _order_of(scores, rows, columns), order, rows) > TIE_DB


def match_names(*, references: Sequence[str], estimates: Sequence[str]) -> NamedMatch:
    """Order of named stems. A name occurs once on each side."""
    for side, names in (("references", references), ("estimates", estimates)):
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise ValueError(f"names of {side} must differ, got {', '.join(twice)} more than once")
    places = {name: j for j, name in enumerate(estimates)}
    return NamedMatch(
        order=tuple(places.get(name) for name in references),
        missing=tuple(name for name in references if name not in places),
        extra=tuple(name for name in estimates if name not in set(references)),
    )


# ----------------------------------------------------------------------------------------------------------- windows


def assign_windows(
    *, references: ArrayLike, estimates: ArrayLike, sample_rate: int, window_s: float, hop_s: float
) -> WindowedAssignment:
    """The fixed assignment of a long recording, and that of each window. The last window reaches to the end.

    A window keeps the fixed assignment where no other has a larger sum. The rearranged estimates change over halfway
    between the centres of two windows, in a linear cross-fade of 20 ms, or shorter where windows are close.
    """
    s, e = _signals("references", references), _signals("estimates", estimates)
    window, hop = round(window_s * sample_rate), round(hop_s * sample_rate)
    if window < 1 or not 1 <= hop <= window:
        raise ValueError(f"window_s and hop_s must be a sample or more and hop_s <= window_s, got {window_s}, {hop_s}")
    fixed = assign(references=s, estimates=e)
    spans = _spans(s.shape[1], window, hop)
    found = [_window_order(s[:, a:b], e[:, a:b], fixed.order) for a, b in spans]
    judged = [order for order, fair in found if fair]
    orders = tuple(order for order, _ in found)
    return WindowedAssignment(
        fixed=fixed,
        orders=orders,
        judged=len(judged),
        disagreeing=sum(order != fixed.order for order in judged) / len(judged) if judged else None,
        estimates=_stitched(e, orders, _changes(spans), min(round(FADE_S * sample_rate), hop)),
    )


def _spans(samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    starts = range(0, max(1, samples - window + 1), hop)
    return [(a, samples if a == starts[-1] else a + window) for a in starts]


def _changes(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Where each window's share of the recording ends: halfway between centres, and at the end."""
    centres = [(a + b) / 2 for a, b in spans]
    return [round((x + y) / 2) for x, y in itertools.pairwise(centres)] + [spans[-1][1]]


def _window_order(s: Matrix, e: Matrix, fixed: Order) -> tuple[Order, bool]:
    """The order of one window, and whether there was anything to judge."""
    rows, columns = _usable(s), _usable(e)
    if not rows or not columns:
        return fixed, False
    scores = si_sdr_matrix(references=s, estimates=e)
    order = _order_of(scores, rows, columns)
    if _gain(scores, order, fixed, rows) <= TIE_DB:
        return fixed, True
    return _completed(order, fixed, e.shape[0]), True


def _completed(order: Order, fixed: Order, estimates: int) -> Order:
    """References that are silent in a window keep their fixed estimate, or take one that is free."""
    taken = [j for j in order if j is not None]
    out: list[int | None] = list(order)
    for keep in (True, False):
        for k in [k for k, j in enumerate(out) if j is None]:
            wanted = [fixed[k]] if keep else list(range(estimates))
            free = [j for j in wanted if j is not None and j not in taken]
            if free:
                out[k] = free[0]
                taken.append(free[0])
    return tuple(out)


def _stitched(e: Matrix, orders: Sequence[Order], ends: Sequence[int], fade: int) -> Matrix:
    out = np.zeros((len(orders[0]), e.shape[1]))
    for k, row in enumerate(out):
        for j, start, end in _runs([order[k] for order in orders], ends):
            if j is not None:
                row += e[j] * _ramp(e.shape[1], start, end, fade)
    return out


def _runs(choices: Sequence[int | None], ends: Sequence[int]) -> Iterator[tuple[int | None, int, int]]:
    """Choice, start and end of each stretch without a change."""
    start = 0
    for place, (choice, end) in enumerate(zip(choices, ends, strict=True)):
        if place + 1 == len(choices) or choices[place + 1] != choice:
            yield choice, start, end
            start = end


def _ramp(samples: int, start: int, end: int, fade: int) -> Signal:
    """One from start to end, with linear slopes of `fade` samples centred there, except at the recording's ends."""
    time = np.arange(samples) + 0.5
    rise = np.clip((time - start) / max(fade, 1) + 0.5, 0, 1) if start > 0 else np.ones(samples)
    fall = np.clip((time - end) / max(fade, 1) + 0.5, 0, 1) if end < samples else np.zeros(samples)
    return rise - fall


# ------------------------------------------------------------------------------------------------------------ common


def _order_of(scores: Matrix, rows: Sequence[int], columns: Sequence[int]) -> Order:
    """`best_order` among some references and estimates; the others get none."""
    order: list[int | None] = [None] * scores.shape[0]
    if rows and columns:
        for k, j in zip(rows, best_order(scores[np.ix_(rows, columns)]), strict=True):
            order[k] = None if j is None else columns[j]
    return tuple(order)


def _gain(scores: Matrix, order: Order, other: Order, rows: Sequence[int]) -> float:
    """How much larger the sum of scores is with one order than with another; a missing estimate counts -50 dB."""
    return sum(_score(scores, k, order[k]) - _score(scores, k, other[k]) for k in rows)


def _score(scores: Matrix, k: int, j: int | None) -> float:
    return FLOOR_DB if j is None else float(scores[k, j])


def _largest_sum(table: Matrix) -> float:
    from scipy.optimize import linear_sum_assignment

    if 0 in table.shape:
        return 0.0
    return float(table[linear_sum_assignment(table, maximize=True)].sum())


def _sum_without(table: Matrix, rows: Sequence[int], columns: Sequence[int], taken: int) -> float:
    return _largest_sum(table[np.ix_(rows, [j for j in columns if j != taken])])


def _usable(signals: Matrix) -> list[int]:
    return [k for k, x in enumerate(signals) if fault(x) is None]


def _audible(e: Matrix, left_over: Sequence[int]) -> int:
    """How many of some estimates are within 60 dB of the loudest one."""
    levels = {j: _level_db(e[j]) for j in _usable(e)}
    return sum(levels[j] > max(levels.values()) + AUDIBLE_DB for j in left_over)


def _level_db(x: Signal) -> float:
    peak = float(np.abs(x).max())
    return float(20 * np.log10(peak) + 10 * np.log10(np.mean((x / peak) ** 2)))


def _unit(signals: Matrix) -> Matrix:
    """Signals of unit energy; zeros for those that cannot be scored."""
    out = np.zeros_like(signals)
    for k in _usable(signals):
        ranged, energy = measured("signal", signals[k])
        out[k] = ranged / np.sqrt(energy)
    return out


def _signals(name: str, signals: ArrayLike) -> Matrix:
    x = np.asarray(signals, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name} must have shape (signals, samples) with samples > 0, got {x.shape}")
    return x
