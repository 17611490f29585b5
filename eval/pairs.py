"""What one reference and one estimate have in common, and every metric of a pair as a function of it.

Conventions
    A `Side` is one signal at any rate, resampled once (soxr VHQ), with whatever was made of it alone; a `Pair` is two
    of them, and the mixture where it is known. Both remember: a composite uses the outcomes of other metrics, STOI and
    ESTOI are made in one pass, so are SDR, SI-SDR, SNR and the lag, and a second system finds the reference's half
    done. `FUNCTIONS` maps a metric's name to `function(pair, name)`, which returns a number or an `Outcome`, or raises
    what `eval.outcome` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from eval import distortion, gaming, perceptual
from eval.catalogue import METRICS, Metric
from eval.outcome import Outcome, Unscorable

__all__ = ["FUNCTIONS", "RESAMPLER", "Memo", "Pair", "Side", "rate_of", "resampled"]

Signal = NDArray[np.float64]
Call = Callable[..., Outcome]
Made = TypeVar("Made")

RESAMPLER = "soxr_vhq"
LAG_S = 0.05
"""How far the lag of an estimate is looked for."""


class Memo:
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


@dataclass(frozen=True, eq=False)
class Side:
    """One signal, and what was made of it."""

    signal: Signal
    sample_rate: int
    memo: Memo = field(default_factory=Memo)

    def at(self, rate: int) -> Signal:
        return self.memo(rate, lambda: resampled(self.signal, self.sample_rate, rate))


@dataclass(frozen=True, eq=False)
class Pair:
    """A usable reference and a usable estimate of its length and rate. `names` are the metrics that will be asked
    for: some share one pass, which makes what they need and no more.
    """

    reference: Side
    estimate: Side
    mixture: Side | None
    names: frozenset[str]
    call: Call
    models: str | None = None  # the folder of DNSMOS's files; None: those of its package
    memo: Memo = field(default_factory=Memo)

    @property
    def rate(self) -> int:
        return self.reference.sample_rate

    def outcome(self, name: str) -> Outcome:
        """The outcome of one metric, computed once."""
        found: Outcome | float = self.memo(name, lambda: FUNCTIONS[name](self, name))
        return found if isinstance(found, Outcome) else Outcome(float(found))

    def both(self, rate: int) -> dict[str, Signal]:
        return {"reference": self.reference.at(rate), "estimate": self.estimate.at(rate)}

    def half(self, name: str, make: Callable[[], Made]) -> Made:
        """What the reference alone determines."""
        return self.reference.memo(name, make)

    @property
    def ratios(self) -> distortion.Pair:
        def half() -> distortion.Reference:
            return distortion.Reference.of(reference=self.reference.signal, lag_samples=round(LAG_S * self.rate))

        return self.memo("ratios", lambda: self.half("ratios", half).against(self.estimate.signal))

    def lag(self) -> tuple[int | None, bool]:
        """Lag of the largest cross-correlation within 50 ms, late is positive, and whether it is negative there."""
        found = self.ratios.correlation
        if not found.any():
            return None, False
        best = int(np.abs(found).argmax())
        return best - len(found) // 2, bool(found[best] < 0)

    def flags(self) -> tuple[str, ...]:
        """What `eval.gaming` says of the estimate."""
        lag, inverted = self.lag()
        mixture = None if self.mixture is None else self.mixture.signal
        half = self.half(
            "gaming",
            lambda: gaming.Reference.of(reference=self.reference.signal, sample_rate=self.rate, mixture=mixture),
        )
        return half.flags(self.estimate.signal, lag=lag, inverted=inverted)


def resampled(signal: Signal, from_rate: int, to_rate: int) -> Signal:
    """The signal at another rate."""
    import soxr

    if from_rate == to_rate:
        return signal
    out: Signal = soxr.resample(np.ascontiguousarray(signal), from_rate, to_rate, quality="VHQ")
    return out


def rate_of(metric: Metric, reference_rate: int) -> int:
    """The rate at which a metric compares: its own, or the lower one that it allows where the reference is below."""
    if metric.sample_rate is None:
        return reference_rate
    if reference_rate < metric.sample_rate and metric.min_sample_rate is not None:
        return metric.min_sample_rate
    return metric.sample_rate


# ------------------------------------------------------------------------------------------------------- functions


def _pesq(pair: Pair, name: str) -> Outcome:
    rate = METRICS[name].sample_rate
    assert rate is not None
    function = perceptual.pesq_in_pieces if name.endswith("_seg") else perceptual.pesq_score
    return pair.call(function, **pair.both(rate), sample_rate=rate, mode="wb" if "wb" in name else "nb")


def _intelligibility(pair: Pair, name: str) -> float:
    from eval import intelligibility

    half = pair.half(
        "stoi", lambda: intelligibility.Reference.of(reference=pair.reference.signal, sample_rate=pair.rate)
    )
    value: float = getattr(pair.memo("stoi and estoi", lambda: half.score(pair.estimate.signal)), name)
    return value


def _ratio(pair: Pair, name: str) -> Outcome | float:
    if name == "sdr":
        value, conditioned = pair.ratios.sdr
        return Outcome(value, flags=() if conditioned else ("ill_conditioned",))
    ratio: float = getattr(pair.ratios, name)
    return ratio


def _noise_ratio(pair: Pair, name: str) -> float:
    from eval import separation

    assert pair.mixture is not None
    both = pair.both(pair.rate) | {"mixture": pair.mixture.signal}
    value: float = getattr(separation, name)(**both)
    return value


def _frame_wise(pair: Pair, name: str) -> float:
    """One measure of `eval.composite`; all that will be asked for are made in one pass."""
    from eval import composite

    rate = rate_of(METRICS["ssnr"], pair.rate)
    half = pair.half(
        "composite",
        lambda: composite.Reference.of(
            reference=pair.reference.at(rate), sample_rate=rate, names=_frame_wise_names(pair.names)
        ),
    )
    measures = pair.memo("measures", lambda: half.measures(pair.estimate.at(rate)))
    return measures[name]


def _composite(pair: Pair, name: str) -> Outcome | float:
    from eval import composite

    pesq = pair.outcome("pesq_wb")
    if pesq.status != "ok" or pesq.value is None:
        return pesq
    kind, dialect = name.split("_")
    llr, wss, ssnr = (_frame_wise(pair, measure) for measure in _INGREDIENTS[dialect])
    value: float = getattr(composite.composites(pesq_wb=pesq.value, llr=llr, wss=wss, ssnr=ssnr), kind)
    return value


_INGREDIENTS = {"loizou": ("llr_uncapped", "wss", "ssnr"), "cmgan": ("llr_uncapped", "wss_cmgan", "ssnr")}
_MEASURES = ("ssnr", "llr", "wss", "fwsegsnr", "cd")
_COMPOSITES = tuple(f"{kind}_{dialect}" for dialect in _INGREDIENTS for kind in ("csig", "cbak", "covl"))


def _frame_wise_names(names: frozenset[str]) -> tuple[str, ...]:
    """The measures of `eval.composite` that some metrics are made of."""
    from eval import composite

    wanted = {name for name in names if name in _MEASURES}
    wanted |= {part for name in names if name in _COMPOSITES for part in _INGREDIENTS[name.split("_")[1]]}
    return tuple(name for name in composite.NAMES if name in wanted)


def _reverb(pair: Pair, name: str) -> float:
    from eval import reverb

    names = [n for n in reverb.NAMES if n in pair.names]
    half = pair.half(
        "reverb",
        lambda: reverb.Reference.of(reference=pair.reference.signal, sample_rate=pair.rate, names=names),
    )
    measures = pair.memo("reverb", lambda: half.measures(pair.estimate.signal))
    return measures[name]


def _spectral(pair: Pair, name: str) -> float:
    from eval import spectral

    s, e = pair.reference.signal, pair.estimate.signal
    if name.startswith("lsd"):
        lsd = pair.half("lsd", lambda: spectral.LsdReference.of(reference=s, sample_rate=pair.rate))
        if pair.rate <= 2 * spectral.SPLIT_HZ:  # nothing lies above the split
            return lsd.lsd(estimate=e)
        bands = pair.memo("lsd bands", lambda: lsd.bands(estimate=e))
        value: float = getattr(bands, {"lsd": "full", "lsd_lf": "low", "lsd_hf": "high"}[name])
        return value
    if name == "phase_distance":
        phase = pair.half(name, lambda: spectral.PhaseReference.of(reference=s, sample_rate=pair.rate))
        return phase.phase_distance(estimate=e)
    return pair.half(name, lambda: spectral.MrstftReference.of(reference=s)).mrstft(estimate=e)


def _pitch(pair: Pair, name: str) -> float:
    from eval import pitch

    both = pair.both(pitch.RATE)
    half = pair.half("pitch", lambda: pitch.Reference.of(reference=both["reference"], sample_rate=pitch.RATE))
    voices = pair.memo("voices", lambda: half.against(estimate=both["estimate"]))
    value: float = getattr(voices, name)()
    return value


def _modulation(pair: Pair, name: str) -> float:
    from eval import modulation

    return modulation.srmr(estimate=pair.estimate.at(16000), sample_rate=16000)


def _dnsmos(pair: Pair, name: str) -> Outcome:
    from eval import dnsmos

    def heard() -> dnsmos.Estimate:
        models = dnsmos.Models(pair.models)
        return dnsmos.Estimate.of(estimate=pair.estimate.at(16000), sample_rate=16000, models=models)

    estimate = pair.estimate.memo("dnsmos", heard)
    return Outcome(estimate.score(name), flags=estimate.flags(name))


_SPECTRAL = ("lsd", "lsd_lf", "lsd_hf", "phase_distance", "mrstft")
_PITCH = ("mcd", "mcd_dtw", "f0_rmse", "f0_rmse_log", "f0_rmse_all", "f0_corr", "fpc", "vuv_f1")

FUNCTIONS: dict[str, Callable[[Pair, str], Outcome | float]] = {
    **dict.fromkeys(("pesq_wb", "pesq_nb", "pesq_nb16", "pesq_wb_seg", "pesq_nb_seg"), _pesq),
    **dict.fromkeys(("stoi", "estoi"), _intelligibility),
    **dict.fromkeys(("si_sdr", "si_snr", "snr", "sdr"), _ratio),
    **dict.fromkeys(("si_sir_noise", "si_sar_noise"), _noise_ratio),
    **dict.fromkeys(_MEASURES, _frame_wise),
    **dict.fromkeys(_COMPOSITES, _composite),
    **dict.fromkeys([name for name, m in METRICS.items() if m.group == "reverb"], _reverb),
    **dict.fromkeys(_SPECTRAL, _spectral),
    **dict.fromkeys(_PITCH, _pitch),
    "srmr": _modulation,
    **dict.fromkeys([name for name, m in METRICS.items() if m.group == "dnsmos"], _dnsmos),
}
