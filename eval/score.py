"""All metrics of what a system gave for one mixture, under one contract: one row per metric and output, never a NaN.

Conventions
    Signals have shape `(channels, samples)` or `(samples,)`; channel 0 is scored, in float64, integers scaled by
    2^(bits - 1). No level is changed and nothing is aligned. The reference is law: the estimate is resampled to its
    rate and cut or padded with zeros to its length. `length_delta` and `lag` are in samples at the reference's rate,
    estimate minus reference, so a positive `lag` is an estimate that comes late.

    What metrics make of a reference alone (resampled signals, spectra, frames) is made once and serves every estimate
    and system: keep one `Item` for a mixture.

Status
    `ok`, and `ok_len` where the length was wrong by more than 20 ms. `floor` with the metric's floor where the
    estimate is missing, silent, not finite or refused by the metric. `excluded_ref` and `too_short` where the
    reference is unusable, for every system alike. `error`, `crashed` and `timeout` where a library failed on valid
    input. `skipped` where something that the metric needs is not there, with what to install. Only the first three
    carry a value.

Flags
    `clamped` (the value was outside the metric's bounds), `ill_conditioned` (`distortion.sdr`), `estimate_rate=N` (the
    estimate came at N Hz and was resampled), and those of `eval.gaming`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval import catalogue, composite, distortion, gaming, intelligibility, perceptual
from eval.catalogue import HEADLINE, Metric
from eval.outcome import Outcome, Unscorable, fault

__all__ = ["Item", "PairScore", "PlugIn", "direct", "score_pair"]

Signal = NDArray[np.float64]
Call = Callable[..., Outcome]
Made = TypeVar("Made")

LENGTH_TOLERANCE_S = 0.02
LAG_S = 0.05
MIN_REFERENCE_S = 0.25
"""What PESQ needs. A shorter reference is excluded from every metric, so that all metrics describe the same items."""

RESAMPLER = "soxr_vhq"
STOI_RESAMPLER = "pystoi_octave"
"""STOI's definition includes its resampler: another one moves the score by up to 3e-5."""

_NO_VALUE = frozenset({"excluded_ref", "too_short", "crashed", "timeout", "missing", "error", "skipped"})
_ROUNDING = 1e-6  # PESQ maps its score in float32: a perfect one lies 4e-7 below or above the bound computed here


@dataclass(frozen=True, kw_only=True)
class PairScore:
    """One metric of one output: the part of `manifests.schema.Score` that the signals decide."""

    output: str
    reference: str
    metric: str
    value: float | None
    status: str
    reason: str | None
    sample_rate: int | None
    resampler: str | None
    length_delta: int | None
    lag: int | None
    permutation: list[int] | None
    counts: list[tuple[str, float]]
    flags: list[str]
    metric_version: str


@dataclass(frozen=True)
class PlugIn:
    """A metric of the user's: `function(reference=, estimate=, mixture=, sample_rate=)` with what `metric.needs` names,
    one-dimensional float64 at `metric.sample_rate`; it returns a number.
    """

    metric: Metric
    function: Callable[..., float]


def direct(function: Callable[..., Outcome], **arguments: Any) -> Outcome:
    """Runs a metric in this process. A caller that must survive PESQ (`perceptual.pesq_risk`) passes another `call`."""
    return function(**arguments)


def score_pair(
    *,
    reference: ArrayLike,
    estimate: ArrayLike | None,
    sample_rate: int,
    estimate_rate: int | None = None,
    mixture: ArrayLike | None = None,
    metrics: Sequence[str] = HEADLINE,
    estimate_status: str = "ok",
    estimate_reason: str | None = None,
    call: Call = direct,
) -> list[PairScore]:
    """One row per metric, in the order of `metrics`, of one estimate of one reference. See `Item.pair`."""
    item = Item(references={"target": reference}, sample_rate=sample_rate, mixture=mixture, metrics=metrics, call=call)
    return item.pair(
        "target",
        estimate,
        estimate_rate=estimate_rate,
        estimate_status=estimate_status,
        estimate_reason=estimate_reason,
    )


class _Memo:
    """What has been made, by name. What could not be scored is remembered too."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def __call__(self, name: Any, make: Callable[[], Made]) -> Made:
        if name not in self._made:
            try:
                self._made[name] = make()
            except Unscorable as refusal:
                self._made[name] = refusal
        found = self._made[name]
        if isinstance(found, Unscorable):
            raise type(found)(found.reason)
        result: Made = found
        return result


@dataclass
class _Side:
    """One signal at every rate that a metric asks for, each resampled once, and what metrics made of it alone."""

    signal: Signal
    sample_rate: int
    memo: _Memo = field(default_factory=_Memo)

    def at(self, rate: int) -> Signal:
        return self.memo(rate, lambda: _resample(self.signal, self.sample_rate, rate))


@dataclass
class _Delivered:
    """The estimate at the reference's rate and length, or the reason why there is none, and what was found on the
    way.
    """

    side: _Side | None = None
    reason: str | None = None
    length_delta: int | None = None
    wrong_length: bool = False
    resampled: bool = False
    lag: int | None = None
    flags: tuple[str, ...] = ()


@dataclass
class _Pair:
    """One reference and one usable estimate, with the results so far: a composite needs those of others."""

    reference: _Side
    estimate: _Side
    mixture: _Side | None
    frame_wise: tuple[str, ...]  # what is wanted of `eval.composite`
    call: Call
    memo: _Memo = field(default_factory=_Memo)

    @property
    def rate(self) -> int:
        return self.reference.sample_rate

    def both(self, rate: int) -> tuple[Signal, Signal]:
        return self.reference.at(rate), self.estimate.at(rate)


class Item:
    """One mixture: its references by name, and everything that scoring several estimates of them has in common.

    `skipped` names metrics that cannot be computed here, with the reason; `plug_ins` adds the user's.
    `call(function, **arguments)` runs each metric that a native library computes; it may return an `Outcome` that is
    `crashed` or `timeout`.
    """

    def __init__(
        self,
        *,
        references: Mapping[str, ArrayLike],
        sample_rate: int,
        mixture: ArrayLike | None = None,
        metrics: Sequence[str] = HEADLINE,
        plug_ins: Sequence[PlugIn] = (),
        skipped: Mapping[str, str] | None = None,
        call: Call = direct,
    ) -> None:
        _check_rate("sample_rate", sample_rate)
        self.sample_rate = sample_rate
        self.metrics = catalogue.chosen(metrics, [plug_in.metric for plug_in in plug_ins])
        self._functions = {plug_in.metric.name: plug_in.function for plug_in in plug_ins}
        self._skipped = dict(skipped or {})
        self._frame_wise = _frame_wise_names(self.metrics)
        self._call = call
        self._sides = {name: _Side(_mono("reference", x), sample_rate) for name, x in references.items()}
        self._mixture = None if mixture is None else _Side(_mono("mixture", mixture), sample_rate)
        self._faults = {name: _unusable(side.signal, sample_rate) for name, side in self._sides.items()}

    def pair(
        self,
        reference: str,
        estimate: ArrayLike | None,
        *,
        output: str = "estimate",
        estimate_rate: int | None = None,
        estimate_status: str = "ok",
        estimate_reason: str | None = None,
    ) -> list[PairScore]:
        """One row per metric, in the order of `metrics`.

        `estimate_status` other than `ok` or `ok_len` says that the system failed: the estimate is not looked at, and
        the rows carry `estimate_reason`.
        """
        side = self._sides[reference]
        delivered = self._delivered(side, reference, estimate, estimate_rate, estimate_status, estimate_reason)
        pair = None
        if delivered.side is not None:
            mixture = self._mixture if self._fits_mixture(side) else None
            pair = _Pair(side, delivered.side, mixture, self._frame_wise, self._call)
        return [
            self._row(metric, self._outcome(metric, reference, delivered, pair), delivered, output, reference)
            for metric in self.metrics
        ]

    def _delivered(
        self,
        side: _Side,
        reference: str,
        estimate: ArrayLike | None,
        estimate_rate: int | None,
        status: str,
        reason: str | None,
    ) -> _Delivered:
        estimate_rate = self.sample_rate if estimate_rate is None else estimate_rate
        _check_rate("estimate_rate", estimate_rate)
        if self._faults[reference]:
            return _Delivered()
        if estimate is None or status not in ("ok", "ok_len"):
            failed = reason or (status if status not in ("ok", "ok_len") else "missing")
            return _Delivered(reason=failed)
        delivered = _deliver(side.signal, _mono("estimate", estimate), self.sample_rate, estimate_rate)
        delivered.wrong_length |= status == "ok_len"
        if delivered.side is not None:
            self._look(side, delivered)
        return delivered

    def _look(self, side: _Side, delivered: _Delivered) -> None:
        """Lag and flags."""
        assert delivered.side is not None
        e = delivered.side.signal
        delivered.lag, inverted = _lag(side.signal, e, round(LAG_S * self.sample_rate))
        mixture = self._mixture.signal if self._mixture is not None and self._fits_mixture(side) else None
        half = side.memo(
            "gaming",
            lambda: gaming.Reference.of(reference=side.signal, sample_rate=self.sample_rate, mixture=mixture),
        )
        delivered.flags += half.flags(e, lag=delivered.lag, inverted=inverted)

    def _fits_mixture(self, side: _Side) -> bool:
        return self._mixture is not None and self._mixture.signal.shape == side.signal.shape

    def _outcome(self, metric: Metric, reference: str, delivered: _Delivered, pair: _Pair | None) -> Outcome:
        if metric.name in self._skipped:
            return Outcome(None, "skipped", self._skipped[metric.name])
        if reason := self._faults[reference]:
            return Outcome(None, "excluded_ref", reason)
        if metric.min_sample_rate is not None and self.sample_rate < metric.min_sample_rate:
            return Outcome(None, "excluded_ref", "bandwidth")
        if metric.needs == "mixture" and not self._fits_mixture(self._sides[reference]):
            return Outcome(None, "skipped", "no_mixture")
        if pair is None:
            return Outcome(metric.floor, "floor", delivered.reason)
        return _computed(metric, pair, self._functions.get(metric.name))

    def _row(self, metric: Metric, outcome: Outcome, delivered: _Delivered, output: str, reference: str) -> PairScore:
        value, status, reason, flags = _settle(metric, outcome)
        if status == "ok" and delivered.wrong_length:
            status = "ok_len"
        return PairScore(
            output=output,
            reference=reference,
            metric=metric.name,
            value=value,
            status=status,
            reason=reason,
            sample_rate=_rate(metric, self.sample_rate),
            resampler=_resampler(metric, delivered, self.sample_rate),
            length_delta=delivered.length_delta,
            lag=delivered.lag,
            permutation=None,
            counts=[],
            flags=[*delivered.flags, *flags],
            metric_version=version(metric),
        )


# ------------------------------------------------------------------------------------------------ what is delivered


def _resample(signal: Signal, from_rate: int, to_rate: int) -> Signal:
    import soxr

    if from_rate == to_rate:
        return signal
    resampled: Signal = soxr.resample(np.ascontiguousarray(signal), from_rate, to_rate, quality="VHQ")
    return resampled


def _unusable(s: Signal, sample_rate: int) -> str | None:
    reason = fault(s)
    return reason or ("too_short" if len(s) < MIN_REFERENCE_S * sample_rate else None)


def _deliver(s: Signal, e: Signal, sample_rate: int, estimate_rate: int) -> _Delivered:
    """The length rule and the rate rule."""
    out = _Delivered(resampled=estimate_rate != sample_rate)
    out.flags = (f"estimate_rate={estimate_rate}",) if out.resampled else ()
    out.reason = fault(e)
    if out.reason in ("empty", "nan", "inf"):  # anywhere, even in what would be cut off: such a system is broken
        return out
    e = _resample(e, estimate_rate, sample_rate)
    out.length_delta = len(e) - len(s)
    out.wrong_length = abs(out.length_delta) > LENGTH_TOLERANCE_S * sample_rate
    if out.length_delta:
        e = np.pad(e[: len(s)], (0, max(0, len(s) - len(e))))
    out.reason = fault(e)
    if out.reason is None:
        out.side = _Side(e, sample_rate)
    return out


def _lag(s: Signal, e: Signal, limit: int) -> tuple[int | None, bool]:
    """Lag of the largest cross-correlation within +-limit samples, and whether it is negative there."""
    (found,) = distortion.correlate(s / np.abs(s).max(), e / np.abs(e).max(), low=-limit, high=limit)
    if not found.any():
        return None, False
    best = int(np.abs(found).argmax())
    return best - limit, bool(found[best] < 0)


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


# ------------------------------------------------------------------------------------------------ metrics of a pair


def _computed(metric: Metric, pair: _Pair, plug_in: Callable[..., float] | None) -> Outcome:
    try:
        if plug_in is not None:
            return Outcome(float(plug_in(**_wanted(metric, pair))))
        return _outcome_of(metric.name, pair)
    except Unscorable as refusal:
        return Outcome(None, refusal.status, refusal.reason)
    except Exception as error:  # noqa: BLE001 - whatever a metric library raises costs this one row, with its name
        return Outcome(None, "error", type(error).__name__)


def _outcome_of(name: str, pair: _Pair) -> Outcome:
    """The outcome of one metric, computed once per pair."""
    found: Outcome | float = pair.memo(name, lambda: _FUNCTIONS[name](pair, name))
    return found if isinstance(found, Outcome) else Outcome(float(found))


def _wanted(metric: Metric, pair: _Pair) -> dict[str, Any]:
    rate = _rate(metric, pair.rate)
    wanted: dict[str, Any] = {"estimate": pair.estimate.at(rate), "sample_rate": rate}
    if metric.needs in ("reference", "mixture"):
        wanted["reference"] = pair.reference.at(rate)
    if metric.needs == "mixture":
        assert pair.mixture is not None
        wanted["mixture"] = pair.mixture.at(rate)
    return wanted


def _pesq(pair: _Pair, name: str) -> Outcome:
    rate, mode = _PESQ[name.removesuffix("_seg")]
    s, e = pair.both(rate)
    function = perceptual.pesq_in_pieces if name.endswith("_seg") else perceptual.pesq_score
    return pair.call(function, reference=s, estimate=e, sample_rate=rate, mode=mode)


_PESQ = {"pesq_wb": (16000, "wb"), "pesq_nb": (8000, "nb"), "pesq_nb16": (16000, "nb")}


def _stoi(pair: _Pair, name: str) -> float:
    half = pair.reference.memo(
        "stoi", lambda: intelligibility.Reference.of(reference=pair.reference.signal, sample_rate=pair.rate)
    )
    value: float = getattr(pair.memo("stoi and estoi", lambda: half.score(pair.estimate.signal)), name)
    return value


def _distortion(pair: _Pair, name: str) -> Outcome | float:
    half = pair.reference.memo("distortion", lambda: distortion.Reference.of(reference=pair.reference.signal))
    if name == "sdr":
        value, conditioned = half.sdr(pair.estimate.signal)
        return Outcome(value, flags=() if conditioned else ("ill_conditioned",))
    ratio: float = getattr(half, name)(pair.estimate.signal)
    return ratio


def _frame_wise(pair: _Pair, name: str) -> float:
    """One measure of `eval.composite`; all that the chosen metrics need are made in one pass."""
    rate = _rate(catalogue.get("ssnr"), pair.rate)
    half = pair.reference.memo(
        "composite",
        lambda: composite.Reference.of(reference=pair.reference.at(rate), sample_rate=rate, names=pair.frame_wise),
    )
    measures: dict[str, float] = pair.memo("composite", lambda: half.measures(pair.estimate.at(rate)))
    return measures[name]


def _composite(pair: _Pair, name: str) -> Outcome | float:
    pesq = _outcome_of("pesq_wb", pair)
    if pesq.status != "ok" or pesq.value is None:
        return pesq
    kind, dialect = name.split("_")
    llr, wss, ssnr = (_frame_wise(pair, measure) for measure in _INGREDIENTS[dialect])
    value: float = getattr(composite.composites(pesq_wb=pesq.value, llr=llr, wss=wss, ssnr=ssnr), kind)
    return value


_INGREDIENTS = {"loizou": ("llr_uncapped", "wss", "ssnr"), "cmgan": ("llr_uncapped", "wss_cmgan", "ssnr")}
_MEASURES = ("ssnr", "llr", "wss", "fwsegsnr", "cd")
_COMPOSITES = tuple(f"{kind}_{dialect}" for dialect in _INGREDIENTS for kind in ("csig", "cbak", "covl"))


def _frame_wise_names(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """The measures of `eval.composite` that some metrics are made of."""
    names = [metric.name for metric in metrics]
    wanted = {name for name in names if name in _MEASURES}
    wanted |= {part for name in names if name in _COMPOSITES for part in _INGREDIENTS[name.split("_")[1]]}
    return tuple(name for name in composite.NAMES if name in wanted)


_FUNCTIONS: dict[str, Callable[[_Pair, str], Outcome | float]] = {
    **dict.fromkeys(("pesq_wb", "pesq_nb", "pesq_nb16", "pesq_wb_seg", "pesq_nb_seg"), _pesq),
    **dict.fromkeys(("stoi", "estoi"), _stoi),
    **dict.fromkeys(("si_sdr", "si_snr", "snr", "sdr"), _distortion),
    **dict.fromkeys(_MEASURES, _frame_wise),
    **dict.fromkeys(_COMPOSITES, _composite),
}


# ------------------------------------------------------------------------------------------------------- the row


def _rate(metric: Metric, reference_rate: int) -> int:
    """The rate at which a metric compares: its own, or the lower one that it allows where the reference is below."""
    if metric.sample_rate is None:
        return reference_rate
    if reference_rate < metric.sample_rate and metric.min_sample_rate is not None:
        return metric.min_sample_rate
    return metric.sample_rate


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
    least, most = metric.bounds
    value = min(max(outcome.value, least), most)
    clamped = abs(value - outcome.value) > _ROUNDING
    return value, "ok", outcome.reason, outcome.flags + (("clamped",) if clamped else ())


def _resampler(metric: Metric, delivered: _Delivered, sample_rate: int) -> str | None:
    names = [RESAMPLER] if delivered.resampled else []
    if metric.name in ("stoi", "estoi"):
        names += [STOI_RESAMPLER] if sample_rate != intelligibility.RATE else []
    elif _rate(metric, sample_rate) != sample_rate:
        names.append(RESAMPLER)
    return "+".join(dict.fromkeys(names)) or None


@functools.cache
def version(metric: Metric) -> str:
    """The metric's version and that of the package which computes it: `1`, `1+pesq-0.0.4`."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    if metric.package == "hubbub":
        return metric.version
    try:
        return f"{metric.version}+{metric.package}-{installed(metric.package)}"
    except PackageNotFoundError:
        return f"{metric.version}+{metric.package}"
