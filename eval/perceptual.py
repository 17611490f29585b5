"""PESQ, STOI and ESTOI of one pair, with every way they can fail turned into a status.

Conventions
    Signals are one-dimensional, of equal length, at `sample_rate` Hz; nothing is aligned or normalised here. An
    `Outcome` is `ok` with a value; `floor` with the metric's floor where the estimate is at fault; `excluded_ref` or
    `too_short` without a value where the reference is. PESQ is MOS-LQO, STOI and ESTOI lie in -1..1; higher is
    better.

The libraries report the same faults as exceptions (`NoUtterancesError`, "cannot convert float NaN to integer"), as a
number (1e-5 for fewer than 30 frames) or not at all (0.0 for silence). Where PESQ gives up on a pair, the reference
is scored against itself: some references are refused in wide band even then, and that must cost no system anything.

PESQ: ITU-T P.862, P.862.1, P.862.2; package `pesq`, which keeps global state (one thread per process) and holds 50
utterances: a reference with more overruns its arrays and can kill the process, see `pesq_risk`. STOI: Taal, Hendriks,
Heusdens and Jensen (2011). ESTOI: Jensen and Taal (2016). Package `pystoi`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.catalogue import METRICS
from eval.outcome import Outcome, fault

__all__ = ["STOI_RATE", "pesq_risk", "pesq_score", "stoi_rate_signal", "stoi_score"]

Signal = NDArray[np.float64]

RISK_S = 20.0
"""PESQ holds 50 utterances, each at least 0.2 s long and 0.2 s apart: shorter references cannot have more."""

STOI_RATE = 10000
_STOI_SAMPLES = 4097  # 31 frames of 256, hop 128: overlap-added and framed again they give the 30 of one segment
_ESTOI_SEED = 0


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
    return _attempt(lambda x: _pesq(s, x, sample_rate, mode), s, e, floor)


def stoi_score(*, reference: ArrayLike, estimate: ArrayLike, sample_rate: int, extended: bool) -> Outcome:
    """STOI, or ESTOI if `extended`. Reproducible: ESTOI's noise has a fixed seed, and numpy's global state is left as
    it was.
    """
    s, e = _pair(reference, estimate)
    floor = METRICS["estoi" if extended else "stoi"].floor
    if early := _faulty(s, e, floor):
        return early
    if len(s) * STOI_RATE <= (_STOI_SAMPLES - 1) * sample_rate:
        return Outcome(None, "too_short", "under_30_frames")  # pystoi fails in several ways below
    return _attempt(lambda x: _stoi(s, x, sample_rate, extended), s, e, floor)


def stoi_rate_signal(signal: ArrayLike, sample_rate: int) -> Signal:
    """The signal at 10 kHz as `pystoi` resamples it: STOI and ESTOI can then share the work and keep their values."""
    from pystoi.utils import resample_oct

    x = np.asarray(signal, dtype=np.float64)
    return x if sample_rate == STOI_RATE else resample_oct(x, STOI_RATE, sample_rate)


class _Refused(Exception):
    """The library gave no number for this pair; the argument is the reason."""


def _attempt(score: Callable[[Signal], float], s: Signal, e: Signal, floor: float) -> Outcome:
    """`score(e)`; where it is refused, the reference is at fault if `score(s)` is refused too, else the estimate."""
    try:
        return Outcome(score(e))
    except _Refused as refusal:
        reason = str(refusal)
    if reason == "under_30_frames":  # counted on the reference alone
        return Outcome(None, "too_short", reason)
    try:
        score(s)
    except _Refused as refusal:
        return Outcome(None, "excluded_ref", str(refusal))
    return Outcome(floor, "floor", reason)


def _pesq(s: Signal, e: Signal, sample_rate: int, mode: str) -> float:
    from pesq import BufferTooShortError, NoUtterancesError, pesq

    try:
        with np.errstate(all="ignore"):  # it divides by the joint peak and rounds to float32
            return float(pesq(sample_rate, s, e, mode))
    except NoUtterancesError:
        raise _Refused("no_utterances") from None
    except BufferTooShortError:
        raise _Refused("too_short") from None
    except ValueError as error:
        if "NaN" not in str(error):
            raise
        raise _Refused("undefined") from None  # the C code returned NaN, which its wrapper takes for an error code


def _stoi(s: Signal, e: Signal, sample_rate: int, extended: bool) -> float:
    from pystoi import stoi

    try:
        with _seeded(_ESTOI_SEED), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
            value = float(stoi(s, e, sample_rate, extended=extended))
    except RuntimeWarning:
        raise _Refused("under_30_frames") from None
    if not np.isfinite(value):
        raise _Refused("undefined")
    return value


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """numpy's global generator at `seed` inside, as it was afterwards. ESTOI draws from it to avoid divisions by
    zero.
    """
    state: Any = np.random.get_state()  # noqa: NPY002 - the library uses the global generator
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


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
