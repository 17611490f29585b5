"""The metrics that hubbub scores with: what each number is, its range, and what failure costs.

Conventions
    A metric's name carries its variant: `pesq_wb` and `pesq_nb` are different metrics, never one column. `low` and
    `high` bound the definition; `floor` and `ceiling` bound what a score row may hold, and the floor is what a
    missing, silent or broken estimate gets: where lower is better it is the largest value. Rates are in Hz.
    `sample_rate` is the rate at which both signals are compared, None for the reference's own rate. A reference below
    it is compared at `min_sample_rate`, and the metric is undefined for one below that: nothing is ever raised.

    `needs` says what a metric looks at: `reference` (one reference, one estimate), `estimate` (the estimate alone),
    `mixture` (reference, estimate and mixture), `sources` (all references and all estimates of a mixture), `text`
    (transcripts), `labels` (tables of labels, directions, events or notes), `table` (other scores:
    `eval.tablescores`). `aggregate` is `mean`, or `pooled` for rates, whose
    errors and totals are summed before they are divided.

The PESQ bounds are the ITU mappings of the raw scores -0.5 and 4.5 (P.862.1, P.862.2). Clamping dB metrics keeps one
perfect or one empty item from carrying a mean; the -10 dB floor of `snr` keeps silence, whose true SNR is 0 dB, below
a noisy mixture.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from eval.tablescores import TABLE_SCORES

__all__ = ["CONFORMANCE", "GROUPS", "HEADLINE", "METRICS", "Metric", "chosen", "get"]

CONFORMANCE = 1
"""Raised whenever a golden value (`hubbub verify-metrics`) moves by more than its tolerance: two installations with one
number give one score. ViSQOL's rule.
"""

GROUPS = {
    "headline": "the columns of a leaderboard",
    "quality": "PESQ and the measures of Loizou's book",
    "intelligibility": "STOI and ESTOI",
    "ratio": "energy ratios of one source",
    "separation": "energy ratios of several sources",
    "reverb": "measures of the REVERB challenge",
    "spectral": "distances of spectra, pitch and cepstra",
    "dnsmos": "predicted listening scores, without a reference",
    "text": "word and character errors",
    "count": "sources found and missed",
    "task": "labels, directions, events and notes ('hubbub compare')",
    "table": "scores made of other scores",
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `version` changes with any change of its values; `package` computes it (`hubbub` is this
    repository), and where that is not installed with hubbub, `extra` is the extra that brings it.
    """

    name: str
    title: str
    group: str
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
    needs: str = "reference"
    aggregate: str = "mean"
    extra: str | None = None
    formula: str | None = None
    experimental: bool = False

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better must be 'higher' or 'lower', got {self.better!r} (metric {self.name})")
        if not all(map(math.isfinite, (self.floor, self.ceiling))):
            raise ValueError(f"floor and ceiling must be finite, got {self.floor}, {self.ceiling} (metric {self.name})")

    @property
    def bounds(self) -> tuple[float, float]:
        """What a score row may hold, lowest first."""
        return min(self.floor, self.ceiling), max(self.floor, self.ceiling)


def _mos_wb(raw: float) -> float:
    return 0.999 + 4 / (1 + math.exp(-1.3669 * raw + 3.8224))  # P.862.2


def _mos_nb(raw: float) -> float:
    return 0.999 + 4 / (1 + math.exp(-1.4945 * raw + 4.6607))  # P.862.1


_PESQ_LICENCE = (
    "The pesq package ships the ITU reference code under its own notice: evaluation and conformance tests only; "
    "commercial use needs a PESQ licence from its owners."
)
_OWN = "Apache-2.0"
_LOIZOU = "Loizou, Speech Enhancement: Theory and Practice, 2nd edition (2013)"
_HU = "Hu and Loizou (2008), with the coefficients of Loizou's MATLAB code; PESQ is pesq_wb"
_REVERB = "Kinoshita et al. (2016), the REVERB challenge"


def _pesq(name: str, title: str, *, wide: bool, sample_rate: int, formula: str | None = None) -> Metric:
    mapping = _mos_wb if wide else _mos_nb
    return Metric(
        name=name,
        title=title,
        group="quality",
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
        formula=formula,
    )


def _intelligibility(name: str, title: str, paper: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        group="intelligibility",
        unit="",
        low=-1.0,
        high=1.0,
        floor=0.0,
        ceiling=1.0,
        better="higher",
        sample_rate=10000,
        min_sample_rate=8000,
        package="hubbub",
        paper=paper,
        licence_note=_OWN,
        version="2",
    )


def _ratio(
    name: str,
    title: str,
    paper: str,
    *,
    floor: float = -50.0,
    needs: str = "reference",
    group: str = "ratio",
    version: str = "1",
    formula: str | None = None,
) -> Metric:
    return Metric(
        name=name,
        title=title,
        group=group,
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
        version=version,
        needs=needs,
        formula=formula,
    )


def _separation(name: str, title: str, paper: str, *, needs: str = "sources") -> Metric:
    return _ratio(name, title, paper, needs=needs, group="separation")


def _frames(
    name: str,
    title: str,
    unit: str,
    *,
    bounds: tuple[float, float],
    better: str,
    group: str = "quality",
    paper: str = _LOIZOU,
    formula: str | None = None,
    low: float | None = None,
    high: float | None = None,
    sample_rate: int | None = 16000,
    min_sample_rate: int | None = None,
    needs: str = "reference",
    package: str = "hubbub",
    extra: str | None = None,
    licence_note: str = _OWN,
    experimental: bool = False,
) -> Metric:
    """A metric of its own bounds, which are floor and ceiling in the order that `better` asks for."""
    least, most = bounds
    return Metric(
        name=name,
        title=title,
        group=group,
        unit=unit,
        low=least if low is None else low,
        high=most if high is None else high,
        floor=least if better == "higher" else most,
        ceiling=most if better == "higher" else least,
        better=better,
        sample_rate=sample_rate,
        min_sample_rate=sample_rate if min_sample_rate is None else min_sample_rate,
        package=package,
        paper=paper,
        licence_note=licence_note,
        version="1",
        needs=needs,
        extra=extra,
        formula=formula,
        experimental=experimental,
    )


_CSIG = "3.093 - 1.029 LLR + 0.603 PESQ - 0.009 WSS, clamped to 1..5"
_CBAK = "1.634 + 0.478 PESQ - 0.007 WSS + 0.063 SSNR, clamped to 1..5"
_COVL = "1.594 + 0.805 PESQ - 0.512 LLR - 0.007 WSS, clamped to 1..5"


def _composites(dialect: str, note: str) -> list[Metric]:
    return [
        dataclasses.replace(
            _frames(
                f"{name}_{dialect}",
                f"{name.upper()} ({dialect})",
                "MOS",
                bounds=(1.0, 5.0),
                better="higher",
                paper=_HU,
                formula=f"{formula}; {note}",
                package="pesq",
            ),
            licence_note=_PESQ_LICENCE,
        )
        for name, formula in (("csig", _CSIG), ("cbak", _CBAK), ("covl", _COVL))
    ]


def _reverb(name: str, title: str, unit: str, bounds: tuple[float, float], better: str) -> list[Metric]:
    return [
        _frames(
            f"{name}_reverb{suffix}",
            f"{title} (REVERB, {kind} over frames)",
            unit,
            bounds=bounds,
            better=better,
            group="reverb",
            paper=_REVERB,
            sample_rate=None,
            min_sample_rate=8000,
        )
        for suffix, kind in (("", "mean"), ("_median", "median"))
    ]


def _spectral(
    name: str, title: str, unit: str, worst: float, paper: str, *, high: float = math.inf, least_rate: int | None = None
) -> Metric:
    """A distance of spectra at the reference's rate: 0 is best."""
    made = _frames(
        name,
        title,
        unit,
        bounds=(0.0, worst),
        high=high,
        better="lower",
        group="spectral",
        paper=paper,
        sample_rate=None,
    )
    return dataclasses.replace(made, min_sample_rate=least_rate)


def _pitch(
    name: str,
    title: str,
    unit: str,
    bounds: tuple[float, float],
    *,
    high: float | None = None,
    better: str = "lower",
    paper: str = "Morise (2017), Harvest",
) -> Metric:
    """A comparison of what WORLD makes of two voices at 16 kHz."""
    return _frames(
        name,
        title,
        unit,
        bounds=bounds,
        high=high,
        better=better,
        group="spectral",
        paper=paper,
        package="pyworld",
        extra="pitch",
        licence_note="MIT",
    )


_DNSMOS_MODELS = {
    "dnsmos": ("P.835, model of 2022", "Reddy, Gopal and Cutler (2022)", ("sig", "bak", "ovrl")),
    "pdnsmos": ("P.835, personalised", "Reddy, Gopal and Cutler (2022), personalised model", ("sig", "bak", "ovrl")),
    "dnsmos2021": (
        "P.835, models of 2021",
        "Reddy, Gopal and Cutler (2021), sig.onnx and bak_ovr.onnx",
        ("sig", "bak", "ovrl"),
    ),
    "dnsmos_p808": ("P.808", "Reddy, Gopal and Cutler (2021), model_v8.onnx", ("",)),
}


def _dnsmos() -> list[Metric]:
    found = []
    for quiet in (False, True):
        for model, (kind, paper, scales) in _DNSMOS_MODELS.items():
            windows = "9 s, 1 s apart; undefined below 2 s" if model == "dnsmos2021" else "9.01 s, 1 s apart"
            level = "; at -30 LUFS (BS.1770-4)" if quiet else ""
            for scale in scales:
                made = _frames(
                    "_".join(part for part in (model, scale, "lufs30" if quiet else "") if part),
                    " ".join(part for part in ("DNSMOS", scale.upper(), f"({kind}{', -30 LUFS' * quiet})") if part),
                    "MOS",
                    bounds=(1.0, 5.0),
                    better="higher",
                    group="dnsmos",
                    paper=paper + ("; Leglaive et al. (2023) for the level" if quiet else ""),
                    needs="estimate",
                    package="speechmos",
                    extra="dnsmos",
                    licence_note="MIT (code), CC-BY-4.0 (models)",
                    formula=f"mean over windows of {windows}; a shorter clip is repeated{level}",
                )
                found.append(made)
    return found


def _task(
    name: str,
    title: str,
    unit: str = "",
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    low: float | None = None,
    high: float | None = None,
    better: str = "higher",
    paper: str = "-",
    formula: str | None = None,
    package: str = "hubbub",
    group: str = "task",
    needs: str = "labels",
) -> Metric:
    """A metric of what is not audio."""
    return _frames(
        name,
        title,
        unit,
        bounds=bounds,
        low=low,
        high=high,
        better=better,
        group=group,
        paper=paper,
        formula=formula,
        sample_rate=None,
        needs=needs,
        package=package,
        extra="music" if package == "mir_eval" else None,
        licence_note="MIT" if package == "mir_eval" else _OWN,
    )


def _rate(name: str, title: str, paper: str, *, better: str = "lower", formula: str, needs: str = "text") -> Metric:
    return Metric(
        name=name,
        title=title,
        group="text",
        unit="",
        low=0.0 if better == "lower" else -math.inf,
        high=math.inf if better == "lower" else 1.0,
        floor=1.0 if better == "lower" else 0.0,
        ceiling=0.0 if better == "lower" else 1.0,
        better=better,
        sample_rate=None,
        min_sample_rate=None,
        package="rapidfuzz",
        paper=paper,
        licence_note="MIT",
        version="1",
        needs=needs,
        aggregate="pooled",
        extra="asr",
        formula=formula,
    )


def _count(name: str, title: str, formula: str) -> Metric:
    return _frames(
        name, title, "", bounds=(0.0, 5.0), high=math.inf, better="lower", group="count", paper="-", formula=formula,
        sample_rate=None, needs="sources",
    )  # fmt: skip


_ALL = (
    _pesq("pesq_wb", "PESQ wide band", wide=True, sample_rate=16000),
    _pesq("pesq_nb", "PESQ narrow band, 8 kHz", wide=False, sample_rate=8000),
    _pesq("pesq_nb16", "PESQ narrow-band mode on 16 kHz data", wide=False, sample_rate=16000),
    *(
        _pesq(f"{name}_seg", f"{title}, in pieces", wide=name == "pesq_wb", sample_rate=rate, formula=(
            "recordings of 20 s and more are cut in pauses of the reference into pieces of 8 to 18 s; mean weighted by "
            "duration"
        ))
        for name, title, rate in (("pesq_wb", "PESQ wide band", 16000), ("pesq_nb", "PESQ narrow band, 8 kHz", 8000))
    ),
    _intelligibility("stoi", "STOI", "Taal et al. (2011)"),
    _intelligibility("estoi", "ESTOI", "Jensen and Taal (2016)"),
    _ratio("si_sdr", "SI-SDR", "Le Roux et al. (2019), without mean removal"),
    _ratio("si_snr", "SI-SNR", "Luo and Mesgarani (2018): SI-SDR with the means removed"),
    _ratio("snr", "SNR", "energy of the reference over energy of the error", floor=-10.0),
    _ratio("sdr", "SDR (BSSEval v3, 512 taps)", "Vincent, Gribonval and Févotte (2006)"),
    _ratio("si_sir_noise", "SI-SIR against the noise", "Richter et al. (2023), with noise = mixture - reference",
           needs="mixture", formula="scalar projections on reference and noise, each alone"),
    _ratio("si_sar_noise", "SI-SAR against the noise", "Richter et al. (2023), with noise = mixture - reference",
           needs="mixture", formula="scalar projections on reference and noise, each alone"),
    _separation("sir", "SIR (BSSEval v3, 512 taps)", "Vincent, Gribonval and Févotte (2006)"),
    _separation("sar", "SAR (BSSEval v3, 512 taps)", "Vincent, Gribonval and Févotte (2006)"),
    _separation("si_sir", "SI-SIR", "Le Roux et al. (2019); joint projection on all references"),
    _separation("si_sar", "SI-SAR", "Le Roux et al. (2019); joint projection on all references"),
    _separation("sa_sdr", "SA-SDR", "von Neumann et al. (2022): energies summed over the sources"),
    *(
        _separation(f"{name}_v4", f"{name.upper()} (BSSEval v4, median of frames)", "Stöter, Liutkus and Ito (2018)")
        for name in ("sdr", "isr", "sir", "sar")
    ),
    _frames("ssnr", "Segmental SNR", "dB", bounds=(-10.0, 35.0), better="higher", min_sample_rate=8000),
    _frames("llr", "Log-likelihood ratio", "", bounds=(0.0, 2.0), better="lower", min_sample_rate=8000),
    _frames("wss", "Weighted spectral slope", "", bounds=(0.0, 200.0), high=math.inf, better="lower",
            min_sample_rate=8000),
    _frames("fwsegsnr", "Frequency-weighted segmental SNR", "dB", bounds=(-10.0, 35.0), better="higher",
            min_sample_rate=8000),
    _frames("cd", "LPC cepstral distance", "dB", bounds=(0.0, 10.0), better="lower", min_sample_rate=8000),
    *_composites("loizou", "WSS of samples within -1..1, as in Loizou's MATLAB code"),
    *_composites("cmgan", "WSS of samples divided by 32768, as in CMGAN's and MP-SENet's code"),
    *_reverb("cd", "Cepstral distance", "dB", (0.0, 10.0), "lower"),
    *_reverb("llr", "Log-likelihood ratio", "", (0.0, 2.0), "lower"),
    *_reverb("fwsegsnr", "Frequency-weighted segmental SNR", "dB", (-10.0, 35.0), "higher"),
    _spectral("lsd", "Log-spectral distance", "B", 10.0, "Liu et al. (2022); window 2048 at 48 kHz, hop 10 ms"),
    _spectral("lsd_lf", "Log-spectral distance below 4 kHz", "B", 10.0, "Han and Lee (2022)", least_rate=16000),
    _spectral("lsd_hf", "Log-spectral distance from 4 kHz", "B", 10.0, "Han and Lee (2022)", least_rate=16000),
    _spectral("phase_distance", "Phase distance", "degrees", 180.0, "Choi et al. (2019)", high=180.0),
    _spectral("mrstft", "Multi-resolution STFT distance", "", 20.0, "Yamamoto, Song and Kim (2020)"),
    _pitch("mcd", "Mel-cepstral distortion, c0 included", "dB", (0.0, 40.0), high=math.inf, paper="Kubichek (1993)"),
    _pitch("mcd_dtw", "Mel-cepstral distortion, warped", "dB", (0.0, 40.0), high=math.inf, paper="Kubichek (1993)"),
    _pitch("f0_rmse", "F0 RMSE, voiced in both", "Hz", (0.0, 400.0), high=760.0),
    _pitch("f0_rmse_log", "RMSE of ln F0, voiced in both", "", (0.0, math.log(2)), high=3.0, paper="ESPnet"),
    _pitch("f0_rmse_all", "F0 RMSE, all frames", "Hz", (0.0, 400.0), high=800.0, paper="VERSA"),
    _pitch("f0_corr", "F0 correlation, voiced in both", "", (-1.0, 1.0), better="higher"),
    _pitch("fpc", "F0 correlation, all frames", "", (-1.0, 1.0), better="higher", paper="Zhang et al. (2023), Amphion"),
    _pitch("vuv_f1", "Voicing F1", "", (0.0, 1.0), better="higher", paper="Zhang et al. (2023), Amphion"),
    _frames("srmr", "SRMR", "", bounds=(0.0, 50.0), high=math.inf, better="higher", group="spectral", needs="estimate",
            paper="Falk, Zheng and Chan (2010), framed as the MATLAB toolbox", experimental=True),
    *_dnsmos(),
    _rate("wer", "Word error rate", "NIST", formula="(substitutions + deletions + insertions) / words"),
    _rate("cer", "Character error rate", "NIST", formula="the same over characters"),
    _rate("wacc", "Word accuracy", "Reddy et al. (2023), DNS challenge", better="higher", formula="1 - wer"),
    _rate("dwer", "Differential word error rate", "Wang et al. (2020)",
          formula="wer against the transcript of the reference's audio by the same recogniser"),
    _rate("mer", "Match error rate", "Morris, Maier and Green (2004)",
          formula="(substitutions + deletions + insertions) / (hits + those)", needs="labels"),
    _rate("wil", "Word information lost", "Morris, Maier and Green (2004)",
          formula="1 - hits^2 / (reference words x hypothesis words)", needs="labels"),
    _rate("semwer", "Semantic word error rate", "after Karma (2025), own definition", needs="labels",
          formula="errors of word groups after pinned rules of domain and language"),
    _rate("oracle_wer_nb", "Oracle WER of N hypotheses", "Chen et al. (2023), HyPoradise", needs="labels",
          formula="wer of the best hypothesis"),
    _rate("oracle_wer_cp", "Oracle WER of composed hypotheses", "Chen et al. (2023), HyPoradise", needs="labels",
          formula="reference words that no hypothesis has at their place / words"),
    _task("lps", "Levenshtein phoneme similarity", bounds=(0.0, 1.0), low=-math.inf, paper="Pirklbauer et al. (2023)",
          formula="1 - edit distance / phonemes of the reference"),
    _task("accuracy", "Accuracy"),
    _task("balanced_accuracy", "Balanced accuracy", formula="mean of the recalls of the classes"),
    _task("f1_macro", "F1, macro"),
    _task("f1_micro", "F1, micro"),
    _task("f1_weighted", "F1, weighted"),
    _task("map", "Mean average precision"),
    _task("roc_auc", "ROC-AUC, macro one-versus-rest", paper="Mann and Whitney (1947)"),
    _task("eer", "Equal error rate", better="lower", paper="Martin et al. (1997)"),
    _task("doa_mae", "DOA error", "degrees", bounds=(0.0, 180.0), better="lower", paper="RealMAN (2024)"),
    _task("acc_5", "DOA within 5 degrees", paper="RealMAN (2024)"),
    _task("er_20", "Error rate within 20 degrees", high=math.inf, better="lower", paper="Politis et al. (2020)"),
    _task("f1_20", "F1 within 20 degrees", paper="Politis et al. (2020)"),
    _task("le_cd", "Localisation error", "degrees", bounds=(0.0, 180.0), better="lower", paper="Mesaros et al. (2019)"),
    _task("lr_cd", "Localisation recall", paper="Mesaros et al. (2019)"),
    _task("note_f1_onset", "Note F1, onset", paper="MIREX, by mir_eval", package="mir_eval"),
    _task("note_f1_onset_offset", "Note F1, onset and offset", paper="MIREX, by mir_eval", package="mir_eval"),
    _task("note_f1_onset_pitch", "Note F1, onset and pitch", paper="MIREX, by mir_eval", package="mir_eval"),
    _task("note_f1_onset_pitch_offset", "Note F1, onset, pitch and offset", paper="MIREX, by mir_eval",
          package="mir_eval"),
    _task("multipitch_f1", "Frame F1 of pitches", paper="Bay, Ehmann and Downie (2009)"),
    _task("srt50", "Speech reception threshold", "dB", bounds=(-50.0, 80.0), better="lower",
          formula="SNR at 50 % of a fitted logistic function, by maximum likelihood"),
    *(
        _task(score.name, score.title, low=score.low, high=score.high, better=score.better, paper=score.paper,
              formula=score.formula, group="table", needs="table")
        for score in TABLE_SCORES.values()
    ),
    _count("missed_sources", "Missed sources", "references without an estimate"),
    _count("false_sources", "False sources", "estimates that are not silent and match no reference"),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

HEADLINE = ("pesq_wb", "pesq_nb", "stoi", "estoi", "si_sdr", "snr", "sdr")
"""The metrics of a leaderboard, in its column order."""


def get(name: str) -> Metric:
    """The metric called `name`; `ValueError` with the nearest known name otherwise."""
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.0)
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {name!r}; nearest is {near[0]!r}")
    return METRICS[name]


def chosen(names: Sequence[str], plug_ins: Sequence[Metric] = ()) -> list[Metric]:
    """The metrics called `names`, each once; the name of a group stands for its metrics. ValueError for others."""
    own = {metric.name: metric for metric in plug_ins}
    found: dict[str, Metric] = {}
    for name in names:
        if name == "headline":
            members = [METRICS[member] for member in HEADLINE]
        elif name in GROUPS:
            members = [metric for metric in _ALL if metric.group == name]
        else:
            members = [own[name] if name in own else get(name)]
        found |= {metric.name: metric for metric in members}
    return list(found.values())
