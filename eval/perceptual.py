"""PESQ of one pair, whole or in pieces, with every way it can fail turned into a status.

Conventions
    Signals are one-dimensional, of equal length, at `sample_rate` Hz; nothing is aligned or normalised here. An
    `Outcome` is `ok` with a value; `floor` with the metric's floor where the estimate is at fault; `excluded_ref`
    without a value where the reference is. Values are MOS-LQO; higher is better.

The library reports faults as exceptions of three kinds ("cannot convert float NaN to integer" among them). Where it
gives up on a pair, the reference is scored against itself: some references are refused in wide band even then, and that
must cost no system anything.

PESQ: ITU-T P.862, P.862.1, P.862.2; package `pesq`, which keeps global state (one thread per process) and holds 50
utterances: a reference with more overruns its arrays and can kill the process, see `pesq_risk`. `pesq_in_pieces` cuts
long recordings in pauses of the reference instead; that is a metric of its own, because PESQ is not additive: it aligns
and weights over the whole of what it is given, and P.862 was validated on 8 to 30 s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.catalogue import METRICS
from eval.outcome import Outcome, fault

__all__ = ["pesq_in_pieces", "pesq_risk", "pesq_score"]

Signal = NDArray[np.float64]

RISK_S = 20.0
"""PESQ holds 50 utterances, each at least 0.2 s long and 0.2 s apart: shorter references cannot have more."""

PIECE_S = (8.0, 18.0)

AUDIBLE = 1e-10
"""Peak of 10 ms, of the louder signal's peak, below which a signal is silent: float32's smallest numbers are near."""

UNHEARD_S = 0.1

_PAUSE_S = 0.2  # how much silence is looked for around a cut
_FRAME_S = 0.02


def pesq_risk(reference: ArrayLike, sample_rate: int) -> bool:
    """Whether PESQ may overrun its arrays on this reference. The caller then runs `pesq_score` in a process it can
    lose.
    """
    return bool(np.shape(reference)[-1] >= RISK_S * sample_rate)


def pesq_score(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int, mode: str) -> Outcome:
    """PESQ in MOS-LQO; `mode` is `wb` (16 kHz only) or `nb` (8 or 16 kHz, which are different metrics)."""
    if (mode, sample_rate) not in {("wb", 16000), ("nb", 16000), ("nb", 8000)}:
        raise ValueError(f"mode must be wb at 16000 Hz or nb at 8000 or 16000 Hz, got {mode!r} at {sample_rate} Hz")
    s, e = _pair(reference, estimate)
    floor = METRICS[f"pesq_{mode}"].floor
    if early := _faulty(s, e, floor):
        return early
    return _attempt(s, e, sample_rate, mode, floor)


def pesq_in_pieces(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int, mode: str) -> Outcome:
    """PESQ of pieces of 8 to 18 s, averaged with their durations as weights; below 20 s, `pesq_score` of the whole.

    A piece in which the reference has no utterance is left out; one that the estimate fails counts as the floor.
    """
    s, e = _pair(reference, estimate)
    if not pesq_risk(s, sample_rate):
        return pesq_score(reference=s, estimate=e, sample_rate=sample_rate, mode=mode)
    floor = METRICS[f"pesq_{mode}"].floor
    if early := _faulty(s, e, floor):
        return early
    values: list[tuple[float, float]] = []
    floored = 0
    for begin, end in pieces(s, sample_rate):
        part = pesq_score(reference=s[begin:end], estimate=e[begin:end], sample_rate=sample_rate, mode=mode)
        if part.value is not None:
            values.append((part.value, end - begin))
            floored += part.status == "floor"
    if not values:
        return Outcome(None, "excluded_ref", "no_utterances")
    if floored == len(values):
        return Outcome(floor, "floor", "undefined")
    scores, weights = np.transpose(values)
    return Outcome(float(np.average(scores, weights=weights)), flags=("floored_pieces",) if floored else ())


def pieces(reference: ArrayLike, sample_rate: int) -> Iterator[tuple[int, int]]:
    """Where to cut: (begin, end) in samples, 8 to 18 s each, in the quietest 0.2 s of the reference that allows it."""
    s = np.asarray(reference, dtype=np.float64)
    frame = round(_FRAME_S * sample_rate)
    power = np.square(s[: s.size // frame * frame]).reshape(-1, frame).sum(axis=1)
    width = round(_PAUSE_S / _FRAME_S)
    quiet = np.convolve(power, np.ones(width), mode="same")  # at frame i: the 0.2 s around its beginning
    least, most = (round(seconds / _FRAME_S) for seconds in PIECE_S)
    begin = 0
    while len(power) - begin > most:
        last = min(begin + most, len(power) - least)
        cut = begin + least + int(np.argmin(quiet[begin + least : last + 1]))
        yield begin * frame, cut * frame
        begin = cut
    yield begin * frame, s.size


class _Refused(Exception):
    """The library gave no number for this pair; the argument is the reason."""


def _attempt(s: Signal, e: Signal, sample_rate: int, mode: str, floor: float) -> Outcome:
    """PESQ of the pair; where it is refused, the reference is at fault if it is refused too, else the estimate."""
    try:
        return Outcome(_pesq(s, e, sample_rate, mode))
    except _Refused as refusal:
        reason = str(refusal)
    try:
        _pesq(s, s, sample_rate, mode)
    except _Refused as refusal:
        return Outcome(None, "excluded_ref", str(refusal))
    return Outcome(floor, "floor", reason)


def _pesq(s: Signal, e: Signal, sample_rate: int, mode: str) -> float:
    from pesq import BufferTooShortError, NoUtterancesError, pesq

    from eval import subnormal  # compiled: only PESQ pays for its import

    faster = subnormal.as_zero() if _is_heard(s, e, sample_rate) else contextlib.nullcontext()
    try:
        with np.errstate(all="ignore"), faster:  # it divides by the joint peak and rounds to float32
            return float(pesq(sample_rate, s, e, mode))
    except NoUtterancesError:
        raise _Refused("no_utterances") from None
    except BufferTooShortError:
        raise _Refused("too_short") from None
    except ValueError as error:
        if "NaN" not in str(error):
            raise
        raise _Refused("undefined") from None  # the C code returned NaN, which its wrapper takes for an error code


def _is_heard(s: Signal, e: Signal, sample_rate: int) -> bool:
    """Whether the estimate is nowhere silent to the last bit for `UNHEARD_S` while the reference is not.

    PESQ pads both signals with zeros, in which its filters decay into subnormal numbers, and a fifth of its time or
    more is spent on those in vain. But where an utterance of the reference meets silence it aligns what its filters
    leave of that, however small: then subnormal numbers decide and must be left alone.
    """
    size = sample_rate // 100
    frames = [x[: x.size // size * size].reshape(-1, size) for x in (s, e)]
    peaks = [np.maximum(x.max(axis=1, initial=0.0), -x.min(axis=1, initial=0.0)) for x in frames]
    sounds, heard = (p >= AUDIBLE * np.max(peaks, initial=0.0) for p in peaks)
    run = np.ones(round(100 * UNHEARD_S))
    return bool(sounds.any()) and bool(np.convolve(sounds & ~heard, run).max() < run.size)


def _faulty(s: Signal, e: Signal, floor: float) -> Outcome | None:
    if reason := fault(s):
        return Outcome(None, "excluded_ref", reason)
    if reason := fault(e):
        return Outcome(floor, "floor", reason)
    return None


def _pair(reference: ArrayLike, estimate: ArrayLike) -> tuple[Signal, Signal]:
    s, e = np.asarray(reference, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if s.ndim != 1:
        raise ValueError(f"reference must have shape (samples,), got {s.shape}")
    if e.shape != s.shape:
        raise ValueError(f"estimate must have the reference's shape {s.shape}, got {e.shape}")
    return s, e
