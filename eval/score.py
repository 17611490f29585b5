"""All metrics of what a system gave for one mixture, under one contract: one row per metric and output, never a NaN.

Conventions
    Signals have shape `(channels, samples)` or `(samples,)`; channel 0 is scored, in float64, integers scaled by
    2^(bits - 1). No level is changed and nothing is aligned. The reference is law: the estimate is resampled to its
    rate and cut or padded with zeros to its length. `length_delta` and `lag` are in samples at the reference's rate,
    estimate minus reference, so a positive `lag` is an estimate that comes late.

    What metrics make of a reference alone (resampled signals, spectra, frames) is made once and serves every estimate
    and system: keep one `Item` for a mixture.

Outputs and references
    `Item.pair` compares one estimate with one reference. `Item.outputs` takes all that a system gave, and decides what
    is compared with what:
    target   an output that bears the name of a reference is compared with it, any other with the first reference;
    stems    every reference with the output of its name;
    talkers  outputs are unordered, and one assignment (`eval.permutation`, mean SI-SDR) serves all metrics.
    For stems and talkers, rows are named by reference, a reference without an estimate is missed and costs the floor,
    and rows of `all` hold what belongs to the sources together (`sa_sdr`, `missed_sources`, `false_sources`).

Status
    `ok`, and `ok_len` where the length was wrong by more than 20 ms. `floor` with the metric's floor where the
    estimate is missing, silent, not finite or refused by the metric. `excluded_ref` and `too_short` where the
    reference is unusable, for every system alike. `error`, `crashed` and `timeout` where a library failed on valid
    input. `skipped` where something that the metric needs is not there, with what to install. Only the first three
    carry a value.

Flags
    `clamped` (the value was outside the metric's bounds), `ill_conditioned` (`distortion.sdr`), `estimate_rate=N` (the
    estimate came at N Hz and was resampled), `sir_disagrees` (by mean SIR the talkers would be assigned otherwise),
    `swaps=N` (the best assignment is another in this share of the windows), and those of `eval.gaming`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval import catalogue
from eval.catalogue import HEADLINE, Metric
from eval.outcome import Outcome, Unscorable, fault
from eval.pairs import RESAMPLER, Memo, Pair, Side, rate_of, resampled

__all__ = [
    "ALL",
    "TOGETHER",
    "Item",
    "Output",
    "PairScore",
    "PlugIn",
    "Speech",
    "direct",
    "score_pair",
    "unscored",
    "version",
]

Signal = NDArray[np.float64]
Call = Callable[..., Outcome]

ALL = "all"
"""The output of rows that belong to all sources of a mixture."""

TOGETHER = frozenset({"sa_sdr", "missed_sources", "false_sources"})
"""Metrics of all sources together."""

LENGTH_TOLERANCE_S = 0.02
MIN_REFERENCE_S = 0.25
"""What PESQ needs. A shorter reference is excluded from every metric, so that all metrics describe the same items."""

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
    permutation: list[int]
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


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of a system: a signal `(channels, samples)` at `sample_rate` (None: the reference's), or a text. It is
    fitted to the references once, however many of them it is compared with.
    """

    name: str
    signal: ArrayLike | None = None
    sample_rate: int | None = None
    text: str | None = None
    memo: Memo = field(default_factory=Memo, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.sample_rate is not None:
            _check_rate("estimate_rate", self.sample_rate)

    def fitted(self, samples: int, sample_rate: int) -> _Delivered:
        """The signal as references of so many samples at that rate see it."""
        own_rate = sample_rate if self.sample_rate is None else self.sample_rate
        if self.signal is None:
            return _Delivered(reason="missing")
        x = self.signal
        return self.memo((samples, sample_rate), lambda: _deliver(samples, _mono("estimate", x), sample_rate, own_rate))


@dataclass(frozen=True)
class Speech:
    """What word errors need: the text of each reference, and a recogniser for outputs that are no text themselves:
    `recognise(signal=, sample_rate=)` is given one-dimensional float64 at `sample_rate` Hz (None: the reference's).
    `stamp` tells normaliser and recogniser.
    """

    transcripts: Mapping[str, str | None]
    normaliser: str
    recognise: Callable[..., str] | None = None
    sample_rate: int | None = None
    stamp: str = ""


def unscored(output: str, reference: str, **known: Any) -> PairScore:
    """A row in which nothing has been filled in but what is `known`."""
    empty: dict[str, Any] = {"metric": "", "value": None, "status": "", "reason": None, "metric_version": ""}
    empty |= {"sample_rate": None, "resampler": None, "length_delta": None, "lag": None}
    empty |= {"permutation": [], "counts": [], "flags": []}
    return PairScore(output=output, reference=reference, **empty | known)


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
    output = Output(name="estimate", signal=estimate, sample_rate=estimate_rate)
    return item.pair("target", output, status=estimate_status, reason=estimate_reason)


@dataclass(frozen=True)
class _Delivered:
    """The estimate at the reference's rate and length, or the reason why there is none, and what was found on the
    way.
    """

    side: Side | None = None
    reason: str | None = None
    length_delta: int | None = None
    wrong_length: bool = False
    resampled: bool = False


class Item:
    """One mixture: its references by name, and everything that scoring several estimates of them has in common.

    `skipped` names metrics that cannot be computed here, with the reason; `plug_ins` adds the user's, `speech` what
    word errors need; `models` is a folder of DNSMOS's files (None: those of its package).
    `call(function, **arguments)` runs PESQ; it may return an `Outcome` that is `crashed` or `timeout`.
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
        speech: Speech | None = None,
        models: str | None = None,
        call: Call = direct,
    ) -> None:
        if not references:
            raise ValueError("references must name at least one signal, got none")
        _check_rate("sample_rate", sample_rate)
        self.sample_rate = sample_rate
        self.metrics = catalogue.chosen(metrics, [plug_in.metric for plug_in in plug_ins])
        self._plug_ins = {plug_in.metric.name: plug_in.function for plug_in in plug_ins}
        self._names = frozenset(metric.name for metric in self.metrics)
        self._skipped = dict(skipped or {})
        self._speech = speech
        self._models = models
        self._call = call
        self._images = references
        self._references = {name: Side(_mono("reference", x), sample_rate) for name, x in references.items()}
        self._faults = {name: _unusable(side.signal, sample_rate) for name, side in self._references.items()}
        self._mixture = None if mixture is None else Side(_mono("mixture", mixture), sample_rate)

    def pair(
        self,
        reference: str,
        output: Output,
        *,
        status: str = "ok",
        reason: str | None = None,
        ratios: Mapping[str, Outcome] | None = None,
    ) -> list[PairScore]:
        """One row per metric, in the order of `metrics`.

        `status` other than `ok` or `ok_len` says that the system failed: the estimate is not looked at, and the rows
        carry `reason`. `ratios` are the outcomes of metrics that look at all sources; without, those are `skipped`.
        """
        side = self._references[reference]
        delivered = self._delivered(reference, output, status, reason)
        pair = None
        lag, flags = None, [f"estimate_rate={output.sample_rate}"] if delivered.resampled else []
        if delivered.side is not None:
            pair = Pair(side, delivered.side, self._mixture_like(side), self._names, self._call, self._models)
            lag = pair.lag()[0]
            flags += pair.flags()
        blank = unscored(output.name, reference, length_delta=delivered.length_delta, lag=lag, flags=flags)
        rows = []
        for metric in self.metrics:
            if metric.name in TOGETHER:
                continue
            if metric.needs == "text" and metric.name not in self._skipped:
                outcome = self._words(metric, reference, output, delivered, pair)
            elif output.text is not None and output.signal is None:
                outcome = Outcome(None, "skipped", "no_audio")
            elif metric.needs == "sources" and ratios is None:
                outcome = Outcome(None, "skipped", "one_source")
            elif metric.needs == "sources" and pair is not None and ratios is not None:
                outcome = ratios[metric.name]
            else:
                outcome = self._outcome(metric, reference, delivered, pair)
            rows.append(self._filled(blank, metric, outcome, delivered))
        return rows

    def outputs(
        self,
        outputs: Sequence[Output],
        *,
        against: str = "target",
        broadcast: bool = False,
        window_s: float | None = None,
        follow: bool = False,
        status: str = "ok",
        reason: str | None = None,
    ) -> list[PairScore]:
        """All rows of what a system gave; `against` is `target`, `stems` or `talkers`.

        `broadcast` says that a single output stands for every talker. With `window_s`, talkers are assigned in windows
        too, and with `follow` the estimates are put together as the windows say.
        """
        if against == "target":
            rows: list[PairScore] = []
            first = next(iter(self._references))
            for output in outputs or [Output(name="estimate")]:
                name = output.name if output.name in self._references else first
                rows += self.pair(name, output, status=status, reason=reason)
            return rows
        if against == "stems":
            chosen = self._named(outputs)
        elif against == "talkers":
            chosen = self._assigned(outputs, broadcast, window_s, follow, status)
        else:
            raise ValueError(f"against must be target, stems or talkers, got {against!r}")
        return self._several(chosen, status, reason)

    def _named(self, outputs: Sequence[Output]) -> _Chosen:
        """Every reference with the output of its name."""
        by_name = {output.name: output for output in outputs}
        order = [by_name.get(name) for name in self._references]
        return _Chosen(order, [], sum(output not in order for output in outputs), [])

    def _assigned(
        self, outputs: Sequence[Output], broadcast: bool, window_s: float | None, follow: bool, status: str
    ) -> _Chosen:
        """Every reference with the output that the assignment gives it."""
        from eval import permutation

        if not outputs or status not in ("ok", "ok_len"):
            return _Chosen([None] * len(self._references), [], 0, [])
        if broadcast:
            return _Chosen([outputs[0]] * len(self._references), [], 0, [])
        estimates = np.stack([self._fitted(output) for output in outputs])
        references = np.stack([np.nan_to_num(side.signal) for side in self._references.values()])
        found = permutation.assign(references=references, estimates=estimates)
        order = [None if place is None else outputs[place] for place in found.order]
        places = [-1 if place is None else place for place in found.order]
        flags = []
        if {"sir", "sar"} & self._names and permutation.sir_disagrees(
            references=references, estimates=estimates, order=found.order
        ):
            flags.append("sir_disagrees")
        if window_s is not None:
            windows = permutation.assign_windows(
                references=references,
                estimates=estimates,
                sample_rate=self.sample_rate,
                window_s=window_s,
                hop_s=window_s / 2,
            )
            flags += [f"swaps={windows.disagreeing:.3f}"] if windows.disagreeing else []
            if follow:
                order = [
                    None if output is None else Output(name=output.name, signal=signal)
                    for output, signal in zip(order, windows.estimates, strict=True)
                ]
        return _Chosen(order, places, found.false_sources, flags)

    def _fitted(self, output: Output) -> Signal:
        """An output as all sources together see it: zeros where it is broken."""
        samples = next(iter(self._references.values())).signal.size
        side = output.fitted(samples, self.sample_rate).side
        return np.zeros(samples) if side is None else side.signal

    def _several(self, chosen: _Chosen, status: str, reason: str | None) -> list[PairScore]:
        """Rows of every reference, and those of all together."""
        rows: list[PairScore] = []
        lost = reason if status not in ("ok", "ok_len") else "missed"
        ratios = self._source_ratios(chosen)
        for k, (name, output) in enumerate(zip(self._references, chosen.order, strict=True)):
            given = Output(name=name) if output is None else replace(output, name=name)
            own = {metric: outcome for (metric, number), outcome in ratios.items() if number == k}
            rows += self.pair(name, given, status=status, reason=lost if output is None else reason, ratios=own)
        rows += self._together(chosen, status, reason)
        return [replace(row, permutation=chosen.places, flags=[*row.flags, *chosen.flags]) for row in rows]

    def _delivered(self, reference: str, output: Output, status: str, reason: str | None) -> _Delivered:
        if self._faults[reference]:
            return _Delivered()
        if output.signal is None or status not in ("ok", "ok_len"):
            return _Delivered(reason=reason or (status if status not in ("ok", "ok_len") else "missing"))
        delivered = output.fitted(self._references[reference].signal.size, self.sample_rate)
        return replace(delivered, wrong_length=delivered.wrong_length or status == "ok_len")

    def _mixture_like(self, side: Side) -> Side | None:
        """The mixture, where it is as long as a reference."""
        fits = self._mixture is not None and self._mixture.signal.shape == side.signal.shape
        return self._mixture if fits else None

    def _outcome(self, metric: Metric, reference: str, delivered: _Delivered, pair: Pair | None) -> Outcome:
        if metric.name in self._skipped:
            return Outcome(None, "skipped", self._skipped[metric.name])
        if reason := self._faults[reference]:
            return Outcome(None, "excluded_ref", reason)
        if metric.min_sample_rate is not None and self.sample_rate < metric.min_sample_rate:
            return Outcome(None, "excluded_ref", "bandwidth")
        if metric.needs == "mixture" and self._mixture_like(self._references[reference]) is None:
            return Outcome(None, "skipped", "no_mixture")
        if pair is None:
            return Outcome(metric.floor, "floor", delivered.reason)
        try:
            function = self._plug_ins.get(metric.name)
            return pair.outcome(metric.name) if function is None else _plugged(metric, pair, function)
        except Unscorable as refusal:
            return Outcome(None, refusal.status, refusal.reason)
        except Exception as error:  # noqa: BLE001 - whatever a metric's library raises costs this one row, with its name
            return Outcome(None, "error", type(error).__name__)

    def _source_ratios(self, chosen: _Chosen) -> dict[tuple[str, int], Outcome]:
        """Metrics that look at all sources, by (metric, number of the reference), of the references that have an
        estimate.
        """
        from eval import separation

        names = list(self._references)
        found: dict[tuple[str, int], Outcome] = {}
        usable = [k for k, name in enumerate(names) if not self._faults[name]]
        signals = {
            k: self._fitted(output) for k, output in enumerate(chosen.order) if output is not None and k in usable
        }
        given = [k for k, signal in signals.items() if fault(signal) is None]
        if len(usable) < 2:
            lone = Outcome(None, "excluded_ref", "one_source")
            return {(m.name, k): lone for m in self.metrics if m.needs == "sources" for k in range(len(names))}
        if not given:
            return {}
        both = {
            "references": np.stack([self._references[names[k]].signal for k in usable]),
            "estimates": np.stack([signals[k] for k in given]),
        }
        for wanted, compute in (
            ({"sir": "sir", "sar": "sar"}, separation.bss_eval_pairs),
            ({"si_sir": "sir", "si_sar": "sar"}, separation.si_bss_eval_pairs),
        ):
            if wanted.keys() & self._names:
                ratios = compute(**both)
                flags = () if ratios.conditioned else ("ill_conditioned",)
                for metric, kind in wanted.items():
                    values = getattr(ratios, kind)
                    for j, k in enumerate(given):
                        value = values[usable.index(k), j] if kind == "sir" else values[j]
                        found[metric, k] = Outcome(float(value), flags=flags)
        return found | self._image_ratios(chosen, usable, given)

    def _image_ratios(
        self, chosen: _Chosen, usable: Sequence[int], given: Sequence[int]
    ) -> dict[tuple[str, int], Outcome]:
        """BSSEval v4: all channels, and every reference needs an estimate; a missed one is silent."""
        from eval import separation

        wanted = {name: name.removesuffix("_v4") for name in self._names if name.endswith("_v4")}
        if not wanted:
            return {}
        names = list(self._references)
        references = np.stack([_matrix(self._images[names[k]]) for k in usable])
        estimates = np.zeros_like(references)
        for k in given:
            output = chosen.order[k]
            assert output is not None
            image = _matrix(output.signal)
            channels = min(len(image), references.shape[1])
            for c in range(channels):
                part = Output(name=output.name, signal=image[c], sample_rate=output.sample_rate)
                estimates[list(usable).index(k), c] = self._fitted(part)
        try:
            ratios = separation.bss_eval_images(
                references=references, estimates=estimates, sample_rate=self.sample_rate
            )
        except Unscorable as refusal:
            return {(name, k): Outcome(None, refusal.status, refusal.reason) for name in wanted for k in given}
        lost = ratios.frames - ratios.frame_sdr.shape[1]
        flags = (f"frames_lost={lost}",) if lost else ()
        return {
            (name, k): Outcome(getattr(ratios, kind)[list(usable).index(k)], flags=flags)
            for name, kind in wanted.items()
            for k in given
        }

    def _together(self, chosen: _Chosen, status: str, reason: str | None) -> list[PairScore]:
        """Rows of what belongs to all sources."""
        rows = []
        failed = status not in ("ok", "ok_len")
        for metric in self.metrics:
            if metric.name not in TOGETHER:
                continue
            if all(self._faults.values()):
                outcome = Outcome(None, "excluded_ref", next(r for r in self._faults.values() if r))
            elif failed:
                outcome = Outcome(None, "floor", reason or status)
            elif metric.name == "sa_sdr":
                outcome = self._aggregated(chosen)
            elif metric.name == "missed_sources":
                heard = [k for k, name in enumerate(self._references) if not self._faults[name]]
                outcome = Outcome(float(sum(chosen.order[k] is None for k in heard)))
            else:
                outcome = Outcome(float(chosen.false_sources))
            rows.append(self._filled(unscored(ALL, ALL), metric, outcome, _Delivered()))
        return rows

    def _aggregated(self, chosen: _Chosen) -> Outcome:
        """SA-SDR: a missed reference has an estimate of zeros."""
        from eval import separation

        sides = list(self._references.values())
        estimates = [
            np.zeros_like(side.signal) if output is None else self._fitted(output)
            for side, output in zip(sides, chosen.order, strict=True)
        ]
        if all(fault(estimate) for estimate in estimates):
            return Outcome(None, "floor", "silent")
        references = np.stack([side.signal for side in sides])
        return Outcome(separation.sa_sdr(references=references, estimates=np.stack(estimates)))

    def _words(
        self, metric: Metric, reference: str, output: Output, delivered: _Delivered, pair: Pair | None
    ) -> Outcome:
        """Word or character errors of one output."""
        from eval import text

        speech = self._speech
        if speech is None or (speech.recognise is None and (output.text is None or metric.name == "dwer")):
            return Outcome(None, "skipped", "no_recogniser")
        if pair is None and output.text is None and not delivered.reason:
            return Outcome(None, "excluded_ref", self._faults[reference])
        try:
            said = self._said(reference, speech) if metric.name == "dwer" else speech.transcripts.get(reference)
            if said is None:
                return Outcome(None, "excluded_ref", "no_transcript")
            heard = output.text if output.text is not None else self._heard(pair, speech)
            count = text.count_characters if metric.name == "cer" else text.count_words
            counts = count(reference=said, hypothesis=heard, normaliser=speech.normaliser)
            value = counts.wacc if metric.name == "wacc" else counts.wer
        except Unscorable as refusal:
            return Outcome(None, refusal.status, refusal.reason)
        except Exception as error:  # noqa: BLE001 - a user's recogniser may raise anything
            return Outcome(None, "error", type(error).__name__)
        pooled = (("errors", float(counts.errors)), ("total", float(counts.reference_words)), *counts.items())
        if heard is None:
            return Outcome(None, "floor", delivered.reason, counts=pooled)
        return Outcome(value, counts=pooled)

    def _said(self, reference: str, speech: Speech) -> str:
        side = self._references[reference]
        return side.memo("text", lambda: _recognised(side, speech))

    def _heard(self, pair: Pair | None, speech: Speech) -> str | None:
        return None if pair is None else pair.estimate.memo("text", lambda: _recognised(pair.estimate, speech))

    def _filled(self, blank: PairScore, metric: Metric, outcome: Outcome, delivered: _Delivered) -> PairScore:
        value, status, reason, flags = _settle(metric, outcome)
        if status == "ok" and delivered.wrong_length:
            status = "ok_len"
        return replace(
            blank,
            metric=metric.name,
            value=value,
            status=status,
            reason=reason,
            sample_rate=rate_of(metric, self.sample_rate),
            resampler=_resampler(metric, delivered, self.sample_rate),
            counts=list(outcome.counts),
            flags=[*blank.flags, *flags],
            metric_version=self._version(metric),
        )

    def _version(self, metric: Metric) -> str:
        stamp = self._speech.stamp if metric.needs == "text" and self._speech is not None else ""
        return version(metric) + (f"+{stamp}" if stamp else "")


@dataclass(frozen=True)
class _Chosen:
    """The output of every reference (None: missed), its place among all outputs where they were permuted, and what is
    left over.
    """

    order: list[Output | None]
    places: list[int]
    false_sources: int
    flags: list[str]


def _plugged(metric: Metric, pair: Pair, function: Callable[..., float]) -> Outcome:
    """What a user's metric makes of the signals it asks for."""
    rate = rate_of(metric, pair.rate)
    wanted: dict[str, Any] = {"estimate": pair.estimate.at(rate), "sample_rate": rate}
    if metric.needs in ("reference", "mixture"):
        wanted["reference"] = pair.reference.at(rate)
    if metric.needs == "mixture":
        assert pair.mixture is not None
        wanted["mixture"] = pair.mixture.at(rate)
    return Outcome(float(function(**wanted)))


def _recognised(side: Side, speech: Speech) -> str:
    rate = speech.sample_rate or side.sample_rate
    assert speech.recognise is not None
    return str(speech.recognise(signal=side.at(rate), sample_rate=rate))


def _unusable(s: Signal, sample_rate: int) -> str | None:
    reason = fault(s)
    return reason or ("too_short" if len(s) < MIN_REFERENCE_S * sample_rate else None)


def _deliver(samples: int, e: Signal, sample_rate: int, estimate_rate: int) -> _Delivered:
    """The length rule and the rate rule."""
    is_resampled = estimate_rate != sample_rate
    reason = fault(e)
    if reason in ("empty", "nan", "inf"):  # anywhere, even in what would be cut off: such a system is broken
        return _Delivered(reason=reason, resampled=is_resampled)
    e = resampled(e, estimate_rate, sample_rate)
    delta = len(e) - samples
    if delta:
        e = np.pad(e[:samples], (0, max(0, samples - len(e))))
    reason = fault(e)
    return _Delivered(
        side=Side(e, sample_rate) if reason is None else None,
        reason=reason,
        length_delta=delta,
        wrong_length=abs(delta) > LENGTH_TOLERANCE_S * sample_rate,
        resampled=is_resampled,
    )


def _matrix(signal: ArrayLike | None) -> Signal:
    """All channels, `(channels, samples)`."""
    return _scaled(np.atleast_2d(np.asarray(signal)))


def _mono(name: str, signal: ArrayLike) -> Signal:
    x = np.asarray(signal)
    if x.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (channels, samples), got {x.shape}")
    if x.dtype.kind not in "fi":
        raise ValueError(f"{name} must be float or signed integer, got {x.dtype}")
    if x.ndim == 2:
        x = x[0] if len(x) else x.reshape(-1)
    return _scaled(x)


def _scaled(x: NDArray[Any]) -> Signal:
    out: Signal = x.astype(np.float64)
    return out / 2.0 ** (8 * x.dtype.itemsize - 1) if x.dtype.kind == "i" else out


def _check_rate(name: str, rate: int) -> None:
    if rate <= 0:
        raise ValueError(f"{name} must be a positive number of Hz, got {rate}")


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
    if metric.aggregate == "pooled":  # a word error rate may exceed 1, and is summed from counts
        return outcome.value, "ok", outcome.reason, outcome.flags
    least, most = metric.bounds
    value = min(max(outcome.value, least), most)
    clamped = abs(value - outcome.value) > _ROUNDING
    return value, "ok", outcome.reason, outcome.flags + (("clamped",) if clamped else ())


def _resampler(metric: Metric, delivered: _Delivered, sample_rate: int) -> str | None:
    names = [RESAMPLER] if delivered.resampled else []
    if metric.name in ("stoi", "estoi"):
        names += [STOI_RESAMPLER] if sample_rate != metric.sample_rate else []
    elif rate_of(metric, sample_rate) != sample_rate:
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
