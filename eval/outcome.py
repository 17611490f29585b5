"""What becomes of one metric on one pair, and whose fault it is where there is no number.

Conventions
    A metric's function returns a finite float (dB ratios may return an infinity), or raises: `EstimateFault` where the
    estimate is to blame (the score is the metric's floor), `ReferenceFault` where the reference is (the item is left
    out for every system), `TooShort` where the reference has too little signal for this metric. ValueError is for
    arguments that no recording can cause. The message of each is a reason: one short fixed word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["EstimateFault", "Outcome", "ReferenceFault", "TooShort", "Unscorable", "fault"]

STEP = 2.0**-23
"""One step of 24-bit audio. A signal that moves by less is silent, or constant where it has an offset."""


class Unscorable(Exception):
    """A metric has no number for this pair; the message is the reason."""

    status: str

    @property
    def reason(self) -> str:
        return str(self)


class EstimateFault(Unscorable):
    """The estimate is to blame: it gets the metric's floor."""

    status = "floor"


class ReferenceFault(Unscorable):
    """The reference is to blame: the item counts for no system."""

    status = "excluded_ref"


class TooShort(Unscorable):
    """The reference has less signal than the metric needs."""

    status = "too_short"


@dataclass(frozen=True)
class Outcome:
    """What became of one metric on one pair: a value, or a status and the reason why there is none.

    `counts` is what a pooled metric is summed from.
    """

    value: float | None
    status: str = "ok"
    reason: str | None = None
    flags: tuple[str, ...] = ()
    counts: tuple[tuple[str, float], ...] = ()


def fault(signal: ArrayLike) -> str | None:
    """Why a signal cannot be scored: `empty`, `nan`, `inf`, `silent` or `constant`. None for a usable one."""
    x = np.asarray(signal)
    if x.size == 0:
        return "empty"
    low, high = float(x.min()), float(x.max())
    if np.isnan(low) or np.isnan(high):
        return "nan"
    if np.isinf(low) or np.isinf(high):
        return "inf"
    if high - low >= STEP:
        return None
    return "silent" if max(-low, high) < STEP else "constant"
