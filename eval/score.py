"""All metrics of one estimate against one reference, under one contract: one row per metric, always, and never a NaN.

Conventions
    Signals have shape `(channels, samples)` or `(samples,)`; channel 0 is scored, in float64, integers scaled by
    2^(bits - 1). No level is changed and nothing is aligned. The reference is law: the estimate is resampled to its
    rate and cut or padded with zeros to its length. `length_delta` and `lag` are in samples at the reference's rate,
    estimate minus reference, so a positive `lag` is an estimate that comes late.

Status
    `ok`, and `ok_len` where the length was wrong by more than 20 ms. `floor` with the metric's floor where the
    estimate is missing, silent, not finite or refused by the metric. `excluded_ref` and `too_short` where the
    reference is unusable, for every system alike. `error`, `crashed` and `timeout` where a library failed on valid
    input. Only the first three carry a value.

Flags
    `clamped` (the value was outside the metric's bounds), `ill_conditioned` (`distortion.sdr`), `polarity` (the
    estimate follows the reference upside down), `estimate_rate=N` (the estimate came at N Hz and was resampled).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval import catalogue, distortion, perceptual
from eval.catalogue import HEADLINE, Metric
from eval.outcome import Outcome, fault

__all__ = ["PairScore", "direct", "score_pair"]

Signal = NDArray[np.float64]
Call = Callable[..., Outcome]

LENGTH_TOLERANCE_S = 0.02
LAG_S = 0.05
MIN_REFERENCE_S = 0.25
"""What PESQ needs. A shorter reference is excluded from every metric, so that all metrics describe the same items."""

RESAMPLER = "soxr_vhq"
STOI_RESAMPLER = "pystoi_octave"
"""STOI's definition includes its resampler: another one moves the score by up to 3e-5."""

_NO_VALUE = frozenset({"excluded_ref", "too_short", "crashed", "timeout", "missing", "error"})
_ROUNDING = 1e-6  # PESQ maps its score in float32: a perfect one lies 4e-7 below or above the bound computed here


@dataclass(frozen=True, kw_only=True)
class PairScore:
    """One metric of one estimate: the part of `manifests.schema.Score` that the two signals decide."""

    metric: str
    value: float | None
    status: str
    reason: str | None
    sample_rate: int | None
    resampler: str | None
    length_delta: int | None
    lag: int | None
    flags: list[str]
    metric_version: str


def direct(function: Callable[..., Outcome], **arguments: Any) -> Outcome:
    """Runs a metric in this process. A caller that must survive PESQ (`perceptual.pesq_risk`) passes another `call`."""
    return function(**arguments)


def score_pair(
    *,
    reference: ArrayLike,
    estimate: ArrayLike | None,
    sample_rate: int,
    estimate_rate: int | None = None,
    metrics: Sequence[str] = HEADLINE,
    estimate_status: str = "ok",
    estimate_reason: str | None = None,
    call: Call = direct,
) -> list[PairScore]:
    """One row per metric, in the order of `metrics`.

    `estimate_status` other than `ok` or `ok_len` says that the system failed: the estimate is not looked at, and the
    rows carry `estimate_reason`. `call(function, **arguments)` runs each metric; it may return an `Outcome` that is
    `crashed` or `timeout`.
    """
    chosen = [catalogue.get(name) for name in metrics]
    _check_rate("sample_rate", sample_rate)
    estimate_rate = sample_rate if estimate_rate is None else estimate_rate
    _check_rate("estimate_rate", estimate_rate)
    s = _mono("reference", reference)
    if reason := _unusable(s, sample_rate):
        return [_row(metric, Outcome(None, "excluded_ref", reason), _Delivered(), sample_rate) for metric in chosen]
    if estimate is None or estimate_status not in ("ok", "ok_len"):
        failed = estimate_reason or (estimate_status if estimate_status not in ("ok", "ok_len") else "missing")
        delivered = _Delivered(reason=failed)
    else:
        delivered = _deliver(s, _mono("estimate", estimate), sample_rate, estimate_rate)
        delivered.wrong_length |= estimate_status == "ok_len"
    pair = _Pair(s, delivered, sample_rate)
    return [_row(metric, _outcome(metric, pair, call), delivered, sample_rate) for metric in chosen]


@dataclass
class _Delivered:
    """The estimate at the reference's rate and length, or the reason why there is none, and what was found on the
    way.
    """

    signal: Signal | None = None
    reason: str | None = None
    length_delta: int | None = None
    wrong_length: bool = False
    lag: int | None = None
    resampled: bool = False
    flags: tuple[str, ...] = ()


@dataclass
class _Pair:
    """Reference and estimate at every rate that a metric asks for, each resampled once."""

    reference: Signal
    delivered: _Delivered
    sample_rate: int
    rates: dict[int, tuple[Signal, Signal]] = field(default_factory=dict)

    def at(self, metric: Metric) -> tuple[Signal, Signal]:
        assert self.delivered.signal is not None
        rate = metric.sample_rate or self.sample_rate
        if rate == self.sample_rate:
            return self.reference, self.delivered.signal
        if rate not in self.rates:
            change = functools.partial(_to_rate, metric, sample_rate=self.sample_rate)
            self.rates[rate] = change(self.reference), change(self.delivered.signal)
        return self.rates[rate]


def _to_rate(metric: Metric, signal: Signal, *, sample_rate: int) -> Signal:
    if metric.package == "pystoi":
        return perceptual.stoi_rate_signal(signal, sample_rate)
    assert metric.sample_rate is not None
    return _resample(signal, sample_rate, metric.sample_rate)


def _resample(signal: Signal, from_rate: int, to_rate: int) -> Signal:
    import soxr

    resampled: Signal = soxr.resample(np.ascontiguousarray(signal), from_rate, to_rate, quality="VHQ")
    return resampled


def _unusable(s: Signal, sample_rate: int) -> str | None:
    reason = fault(s)
    return reason or ("too_short" if len(s) < MIN_REFERENCE_S * sample_rate else None)


def _deliver(s: Signal, e: Signal, sample_rate: int, estimate_rate: int) -> _Delivered:
    """The length rule, the rate rule and the diagnostics."""
    out = _Delivered(resampled=estimate_rate != sample_rate)
    out.flags = (f"estimate_rate={estimate_rate}",) if out.resampled else ()
    out.reason = fault(e)
    if out.reason in ("empty", "nan", "inf"):  # anywhere, even in what would be cut off: such a system is broken
        return out
    if out.resampled:
        e = _resample(e, estimate_rate, sample_rate)
    out.length_delta = len(e) - len(s)
    out.wrong_length = abs(out.length_delta) > LENGTH_TOLERANCE_S * sample_rate
    e = np.pad(e[: len(s)], (0, max(0, len(s) - len(e))))
    out.reason = fault(e)
    if out.reason is None:
        out.signal = e
        out.lag, inverted = _lag(s, e, round(LAG_S * sample_rate))
        out.flags += ("polarity",) if inverted else ()
    return out


def _lag(s: Signal, e: Signal, limit: int) -> tuple[int | None, bool]:
    """Lag of the largest cross-correlation within +-limit samples, and whether it is negative there."""
    (found,) = distortion.correlate(s / np.abs(s).max(), e / np.abs(e).max(), low=-limit, high=limit)
    if not found.any():
        return None, False
    best = int(np.abs(found).argmax())
    return best - limit, bool(found[best] < 0)


def _outcome(metric: Metric, pair: _Pair, call: Call) -> Outcome:
    if metric.min_sample_rate is not None and pair.sample_rate < metric.min_sample_rate:
        return Outcome(None, "excluded_ref", "bandwidth")
    if pair.delivered.signal is None:
        return Outcome(metric.floor, "floor", pair.delivered.reason)
    try:
        s, e = pair.at(metric)
        function, arguments = _FUNCTIONS[metric.name]
        return call(function, reference=s, estimate=e, **arguments)
    except Exception as error:  # noqa: BLE001 - whatever a metric library raises costs this one row, with its name
        return Outcome(None, "error", type(error).__name__)


def _distortion(*, reference: Signal, estimate: Signal, name: str) -> Outcome:
    if name == "sdr":
        value, conditioned = distortion.sdr_conditioned(reference=reference, estimate=estimate)
        return Outcome(value, flags=() if conditioned else ("ill_conditioned",))
    function = distortion.si_sdr if name == "si_sdr" else distortion.snr
    return Outcome(function(reference=reference, estimate=estimate))


_FUNCTIONS: dict[str, tuple[Callable[..., Outcome], dict[str, Any]]] = {
    "pesq_wb": (perceptual.pesq_score, {"sample_rate": 16000, "mode": "wb"}),
    "pesq_nb": (perceptual.pesq_score, {"sample_rate": 8000, "mode": "nb"}),
    "pesq_nb16": (perceptual.pesq_score, {"sample_rate": 16000, "mode": "nb"}),
    "stoi": (perceptual.stoi_score, {"sample_rate": perceptual.STOI_RATE, "extended": False}),
    "estoi": (perceptual.stoi_score, {"sample_rate": perceptual.STOI_RATE, "extended": True}),
    "si_sdr": (_distortion, {"name": "si_sdr"}),
    "snr": (_distortion, {"name": "snr"}),
    "sdr": (_distortion, {"name": "sdr"}),
}


def _row(metric: Metric, outcome: Outcome, delivered: _Delivered, sample_rate: int) -> PairScore:
    value, status, reason, flags = _settle(metric, outcome)
    if status == "ok" and delivered.wrong_length:
        status = "ok_len"
    return PairScore(
        metric=metric.name,
        value=value,
        status=status,
        reason=reason,
        sample_rate=metric.sample_rate or sample_rate,
        resampler=_resampler(metric, delivered, sample_rate),
        length_delta=delivered.length_delta,
        lag=delivered.lag,
        flags=[*delivered.flags, *flags],
        metric_version=_version(metric),
    )


def _settle(metric: Metric, outcome: Outcome) -> tuple[float | None, str, str | None, tuple[str, ...]]:
    """Value within the metric's bounds, status, reason and flags."""
    if outcome.status in _NO_VALUE:
        return None, outcome.status, outcome.reason, outcome.flags
    if outcome.status == "floor":
        return metric.floor, "floor", outcome.reason, outcome.flags
    if outcome.status != "ok":
        raise ValueError(f"call must return a status of a score, got {outcome.status!r} (metric {metric.name})")
    if outcome.value is None or math.isnan(outcome.value):
        return None, "error", "no_value", outcome.flags
    value = min(max(outcome.value, metric.floor), metric.ceiling)
    clamped = abs(value - outcome.value) > _ROUNDING
    return value, "ok", outcome.reason, outcome.flags + (("clamped",) if clamped else ())


def _resampler(metric: Metric, delivered: _Delivered, sample_rate: int) -> str | None:
    names = [RESAMPLER] if delivered.resampled else []
    if metric.sample_rate not in (None, sample_rate):
        names.append(STOI_RESAMPLER if metric.package == "pystoi" else RESAMPLER)
    return "+".join(dict.fromkeys(names)) or None


@functools.cache
def _version(metric: Metric) -> str:
    """The metric's version and that of the package which computes it: `1`, `1+pesq-0.0.4`."""
    from importlib.metadata import version

    own = metric.package == "hubbub"
    return metric.version if own else f"{metric.version}+{metric.package}-{version(metric.package)}"


def _mono(name: str, signal: ArrayLike) -> Signal:
    x = np.asarray(signal)
    if x.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (channels, samples), got {x.shape}")
    if x.dtype.kind not in "fi":
        raise ValueError(f"{name} must be float or signed integer, got {x.dtype}")
    if x.ndim == 2:
        x = x[0] if len(x) else x.reshape(-1)
    scale = 2.0 ** (8 * x.dtype.itemsize - 1) if x.dtype.kind == "i" else 1.0
    return np.asarray(x, dtype=np.float64) / scale


def _check_rate(name: str, rate: int) -> None:
    if rate <= 0:
        raise ValueError(f"{name} must be a positive number of Hz, got {rate}")
