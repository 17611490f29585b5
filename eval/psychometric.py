"""Speech reception thresholds: a logistic function fitted to words understood over SNR, and how predictions agree.

Conventions
    One row per SNR: `snr_db`, and `n_correct` words of `n_total`; rows of one SNR add up. The SRT is the SNR in dB at
    which half of the words are understood, lower is better; the slope is the rise of the understood share there, per
    dB.

    p(snr) = guess + (1 - guess - lapse) / (1 + exp(-k (snr - m)))

with `guess` and `lapse` given, k and m of greatest likelihood; without guess and lapse the SRT is m and the slope k /
4. Brand and Kollmeier, "Efficient adaptive procedures for threshold and concurrent slope estimates for psychophysics
and speech intelligibility tests" (2002), equation 1.

Intervals are 95 % profile-likelihood intervals: the values of one parameter for which the log likelihood, at its
greatest over the other, is within 3.84 / 2 of the best. Nothing is drawn at random. They take words as independent,
which the words of a meaningful sentence are not: there they are too narrow. An end that the data do not bound is None.

Data without a fit have a reason in place of numbers, and `bracket_db` says what they still tell of the SRT:
    no_data       no word was presented
    all_correct   the SRT is below the lowest SNR      all_wrong   it is above the highest
    one_snr       a single SNR fixes no slope
    separated     nothing understood below some SNR and everything above it: the steeper, the likelier
    not_rising    no more is understood at higher SNR than at lower
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Agreement", "Psychometric", "agreement", "fit", "psychometric_function"]

Floats = NDArray[np.float64]

_DROP = 3.841458820694124 / 2  # chi-squared with one degree of freedom, 95 %
_FLAT = 1e-6  # a slope k of this, times the range of SNRs, is 0 and rounding
_STEEP = 1e4  # a slope k of this is a jump
_FAR = 1e4  # so have intervals that reach this many ranges of SNR, or this many slopes, away


@dataclass(frozen=True, kw_only=True)
class Psychometric:
    """A fit, or the reason why there is none. `extrapolated` says that the SRT lies outside the SNRs of the data."""

    srt_db: float | None = None
    srt_ci_db: tuple[float | None, float | None] = (None, None)
    slope_per_db: float | None = None
    slope_ci_per_db: tuple[float | None, float | None] = (None, None)
    extrapolated: bool = False
    reason: str | None = None
    bracket_db: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Agreement:
    """Of predicted with observed SRTs: bias is the mean of predicted - observed. `pearson` is None for fewer than three
    pairs, or where one side is constant.
    """

    n: int
    rmse_db: float
    bias_db: float
    pearson: float | None


def psychometric_function(
    snr_db: ArrayLike, *, srt_db: float, slope_per_db: float, guess: float = 0.0, lapse: float = 0.0
) -> Floats:
    """Share of words understood at every SNR."""
    ends = _Ends(guess, lapse)
    k = slope_per_db / ends.slope_at_half
    return ends.shares(ends.half + k * (np.asarray(snr_db, dtype=np.float64) - srt_db))[0]


def fit(
    *, snr_db: ArrayLike, n_correct: ArrayLike, n_total: ArrayLike, guess: float = 0.0, lapse: float = 0.0
) -> Psychometric:
    """SRT and slope of the logistic function of greatest likelihood."""
    ends = _Ends(guess, lapse)
    snr, right, total = _rows(snr_db, n_correct, n_total)
    degenerate = _degenerate(snr, right, total - right)
    if degenerate:
        return degenerate
    # SNRs from 0 to 1, so that steps and limits below mean the same for any ladder
    low, span = float(snr[0]), float(np.ptp(snr))
    likelihood = _Likelihood((snr - low) / span, right, total - right, ends)
    m, k = likelihood.best()
    if k <= _FLAT:
        return Psychometric(reason="not_rising")
    if likelihood.runs_away(m, k):  # only with guess or lapse, which make a wrong word far above no obstacle
        return Psychometric(reason="separated")
    unit = ends.slope_at_half / span
    m_ends, k_ends = likelihood.threshold_interval(m, k), likelihood.slope_interval(m, k)
    return Psychometric(
        srt_db=low + span * m,
        srt_ci_db=(_scaled(m_ends[0], span, low), _scaled(m_ends[1], span, low)),
        slope_per_db=unit * k,
        slope_ci_per_db=(_scaled(k_ends[0], unit), _scaled(k_ends[1], unit)),
        extrapolated=not 0 <= m <= 1,
    )


def agreement(*, observed_db: ArrayLike, predicted_db: ArrayLike) -> Agreement:
    """How predicted SRTs agree with observed ones of the same maskers, in the same order."""
    o, p = np.asarray(observed_db, dtype=np.float64), np.asarray(predicted_db, dtype=np.float64)
    if o.ndim != 1 or o.size == 0:
        raise ValueError(f"observed_db must have shape (items,) with items > 0, got {o.shape}")
    if p.shape != o.shape:
        raise ValueError(f"predicted_db must have the shape of observed_db {o.shape}, got {p.shape}")
    if not (np.isfinite(o).all() and np.isfinite(p).all()):
        raise ValueError("observed_db and predicted_db must be finite, got NaN or infinity")
    error = p - o
    defined = len(o) >= 3 and np.ptp(o) > 0 and np.ptp(p) > 0
    return Agreement(
        n=len(o),
        rmse_db=float(np.sqrt(np.mean(error**2))),
        bias_db=float(np.mean(error)),
        pearson=float(np.corrcoef(o, p)[0, 1]) if defined else None,
    )


def _rows(snr_db: ArrayLike, n_correct: ArrayLike, n_total: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Rows of distinct, rising SNR with words in them."""
    snr, right, total = (np.asarray(x, dtype=np.float64) for x in (snr_db, n_correct, n_total))
    if snr.ndim != 1 or right.shape != snr.shape or total.shape != snr.shape:
        shapes = f"{snr.shape}, {right.shape} and {total.shape}"
        raise ValueError(f"snr_db, n_correct and n_total must have one shape (rows,), got {shapes}")
    if not np.isfinite(snr).all():
        raise ValueError("snr_db must be finite, got NaN or infinity")
    if not (np.isfinite(total) & (right >= 0) & (right <= total)).all():
        raise ValueError("n_correct must be within 0..n_total, and n_total finite")
    used = total > 0
    levels, place = np.unique(snr[used], return_inverse=True)
    sums = np.zeros((2, len(levels)))
    np.add.at(sums[0], place, right[used])
    np.add.at(sums[1], place, total[used])
    return levels, sums[0], sums[1]


def _degenerate(snr: Floats, right: Floats, wrong: Floats) -> Psychometric | None:
    """What can be said of data whose likelihood has no maximum at a rising function, None for all others."""
    if len(snr) == 0:
        return Psychometric(reason="no_data")
    if not wrong.any():
        return Psychometric(reason="all_correct", bracket_db=(None, float(snr[0])))
    if not right.any():
        return Psychometric(reason="all_wrong", bracket_db=(float(snr[-1]), None))
    if len(snr) == 1:
        return Psychometric(reason="one_snr")
    first_right, last_right = np.flatnonzero(right)[[0, -1]]
    first_wrong, last_wrong = np.flatnonzero(wrong)[[0, -1]]
    if first_right >= last_wrong:  # equal where a single SNR has both: the function then jumps there
        return Psychometric(reason="separated", bracket_db=(float(snr[last_wrong]), float(snr[first_right])))
    return Psychometric(reason="not_rising") if first_wrong >= last_right else None


@dataclass(frozen=True)
class _Ends:
    """What the function tends to on both sides, and how it passes one half."""

    guess: float
    lapse: float

    def __post_init__(self) -> None:
        if not (0 <= self.guess < 0.5 and 0 <= self.lapse < 0.5):
            raise ValueError(f"guess and lapse must be within [0, 0.5), got {self.guess} and {self.lapse}")

    @property
    def rise(self) -> float:
        return 1 - self.guess - self.lapse

    @property
    def half(self) -> float:
        """Where the logistic function's argument makes the share one half."""
        return math.log((0.5 - self.guess) / (0.5 - self.lapse))

    @property
    def slope_at_half(self) -> float:
        """The slope there, for k = 1."""
        return (0.5 - self.guess) * (0.5 - self.lapse) / self.rise

    def shares(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """The share understood, 1 - share with its own digits, and the derivative of the share."""
        tail = np.exp(-np.abs(x))
        rising, falling = np.where(x >= 0, 1, tail) / (1 + tail), np.where(x >= 0, tail, 1) / (1 + tail)
        return self.guess + self.rise * rising, self.lapse + self.rise * falling, self.rise * rising * falling


@dataclass(frozen=True)
class _Likelihood:
    """Of the functions with argument `half + k (x - m)`: m is the threshold of one half, k the logistic slope."""

    x: Floats
    right: Floats
    wrong: Floats
    ends: _Ends

    def best(self) -> tuple[float, float]:
        """(m, k) of greatest likelihood."""
        from scipy.optimize import minimize

        share = np.clip(self.right.sum() / (self.right.sum() + self.wrong.sum()), 0.05, 0.95)
        start = np.array([math.log(share / (1 - share)), 4.0])  # at the middle, and of a quarter of the range's width
        a, k = minimize(self._cost, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 1000}).x
        return float(0.5 + (self.ends.half - a) / k) if k else 0.5, float(k)

    def runs_away(self, m: float, k: float) -> bool:
        """Whether ten times the slope is as likely, about the threshold or through the same share at the SNR nearest to
        it. Where it is, the best slope is only where the search stopped.
        """
        near = float(self.x[np.argmin(np.abs(self.x - m))])
        return max(self._at(m, 10 * k), self._at(near + (m - near) / 10, 10 * k)) > self._at(m, k) - 1e-6

    def threshold_interval(self, m: float, k: float) -> tuple[float | None, float | None]:
        def drop(threshold: float) -> float:
            # k from exp(-30), which is flat, to a jump
            return self._at(m, k) - _greatest(lambda t: self._at(threshold, math.exp(t)), -30, math.log(_STEEP))

        return _crossing(drop, lambda step: m - step), _crossing(drop, lambda step: m + step)

    def slope_interval(self, m: float, k: float) -> tuple[float | None, float | None]:
        def drop(slope: float) -> float:
            reach = 1 + 40 / slope  # shares of the whole data beyond exp(-40) do not occur
            return self._at(m, k) - _greatest(lambda threshold: self._at(threshold, slope), -reach, 1 + reach)

        return _crossing(drop, lambda step: k / (1 + step)), _crossing(drop, lambda step: k * (1 + step))

    def _at(self, m: float, k: float) -> float:
        return -self._cost(np.array([self.ends.half + k * (0.5 - m), k]))[0]

    def _cost(self, parameters: Floats) -> tuple[float, Floats]:
        """Minus the log likelihood, without binomial coefficients, and its gradient, of a + k (x - 1/2)."""
        a, k = parameters
        argument = np.clip(a + k * (self.x - 0.5), -600, 600)  # beyond, a share is 0 in float64 and has no logarithm
        share, rest, rise = self.ends.shares(argument)
        value = self.right @ np.log(share) + self.wrong @ np.log(rest)
        outer = self.right * (rise / share) - self.wrong * (rise / rest)
        return -float(value), -np.array([outer.sum(), outer @ (self.x - 0.5)])


def _greatest(function: Callable[[float], float], low: float, high: float) -> float:
    """Greatest value between `low` and `high` of a function with one peak."""
    from scipy.optimize import minimize_scalar

    return -float(minimize_scalar(lambda t: -function(t), bounds=(low, high), method="bounded").fun)


def _crossing(drop: Callable[[float], float], path: Callable[[float], float]) -> float | None:
    """Where on `path`, which leaves the maximum with rising steps, the likelihood has dropped by `_DROP`; None up to
    the step `_FAR`.
    """
    from scipy.optimize import brentq

    inside, outside = 0.0, 0.01
    while drop(path(outside)) <= _DROP:
        inside, outside = outside, 2 * outside
        if outside > _FAR:
            return None
    return path(float(brentq(lambda step: drop(path(step)) - _DROP, inside, outside, xtol=1e-9)))


def _scaled(value: float | None, scale: float, offset: float = 0.0) -> float | None:
    return None if value is None else offset + scale * value
