"""The metrics that hubbub scores with: what each number is, its range, and what failure costs.

Conventions
    A metric's name carries its variant: `pesq_wb` and `pesq_nb` are different metrics, never one column. `low` and
    `high` bound the definition; `floor` and `ceiling` bound what a score row may hold, and the floor is what a
    missing, silent or broken estimate gets. Rates are in Hz. `sample_rate` is the rate at which both signals are
    compared, None for the reference's own rate. A reference below `min_sample_rate` is never raised to it: the metric
    is undefined there.

The PESQ bounds are the ITU mappings of the raw scores -0.5 and 4.5 (P.862.1, P.862.2). Clamping dB metrics keeps one
perfect or one empty item from carrying a mean; the -10 dB floor of `snr` keeps silence, whose true SNR is 0 dB, below
a noisy mixture.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

__all__ = ["HEADLINE", "METRICS", "Metric", "get"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `version` changes with any change of its values; `package` computes it (`hubbub` is this
    repository).
    """

    name: str
    title: str
    unit: str
    low: float
    high: float
    floor: float
    ceiling: float
    better: str  # higher | lower
    sample_rate: int | None
    min_sample_rate: int | None
    package: str
    paper: str
    licence_note: str
    version: str


def _mos_wb(raw: float) -> float:
    return 0.999 + 4 / (1 + math.exp(-1.3669 * raw + 3.8224))  # P.862.2


def _mos_nb(raw: float) -> float:
    return 0.999 + 4 / (1 + math.exp(-1.4945 * raw + 4.6607))  # P.862.1


_PESQ_LICENCE = (
    "The pesq package ships the ITU reference code under its own notice: evaluation and conformance tests only; "
    "commercial use needs a PESQ licence from its owners."
)
_PERMISSIVE = "MIT"
_OWN = "Apache-2.0"


def _pesq(name: str, title: str, *, wide: bool, sample_rate: int) -> Metric:
    mapping = _mos_wb if wide else _mos_nb
    return Metric(
        name=name,
        title=title,
        unit="MOS-LQO",
        low=mapping(-0.5),
        high=mapping(4.5),
        floor=mapping(-0.5),
        ceiling=mapping(4.5),
        better="higher",
        sample_rate=sample_rate,
        min_sample_rate=sample_rate,
        package="pesq",
        paper="ITU-T P.862.2 (2005), before Corrigendum 2" if wide else "ITU-T P.862 (2001), P.862.1 (2003)",
        licence_note=_PESQ_LICENCE,
        version="1",
    )


def _intelligibility(name: str, title: str, paper: str, *, low: float) -> Metric:
    return Metric(
        name=name,
        title=title,
        unit="",
        low=low,
        high=1.0,
        floor=0.0,
        ceiling=1.0,
        better="higher",
        sample_rate=10000,
        min_sample_rate=8000,
        package="pystoi",
        paper=paper,
        licence_note=_PERMISSIVE,
        version="1",
    )


def _ratio(name: str, title: str, paper: str, *, floor: float) -> Metric:
    return Metric(
        name=name,
        title=title,
        unit="dB",
        low=-math.inf,
        high=math.inf,
        floor=floor,
        ceiling=80.0,
        better="higher",
        sample_rate=None,
        min_sample_rate=None,
        package="hubbub",
        paper=paper,
        licence_note=_OWN,
        version="1",
    )


_ALL = (
    _pesq("pesq_wb", "PESQ wide band", wide=True, sample_rate=16000),
    _pesq("pesq_nb", "PESQ narrow band, 8 kHz", wide=False, sample_rate=8000),
    _pesq("pesq_nb16", "PESQ narrow-band mode on 16 kHz data", wide=False, sample_rate=16000),
    _intelligibility("stoi", "STOI", "Taal et al. (2011)", low=-1.0),
    _intelligibility("estoi", "ESTOI", "Jensen and Taal (2016)", low=-1.0),
    _ratio("si_sdr", "SI-SDR", "Le Roux et al. (2019), without mean removal", floor=-50.0),
    _ratio("snr", "SNR", "energy of the reference over energy of the error", floor=-10.0),
    _ratio("sdr", "SDR (BSSEval v3, 512 taps)", "Vincent, Gribonval and Févotte (2006)", floor=-50.0),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

HEADLINE = ("pesq_wb", "pesq_nb", "stoi", "estoi", "si_sdr", "snr", "sdr")
"""The metrics of a leaderboard, in its column order."""


def get(name: str) -> Metric:
    """The metric called `name`; `ValueError` with the nearest known name otherwise."""
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.0)
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {name!r}; nearest is {near[0]!r}")
    return METRICS[name]
