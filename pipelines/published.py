"""Values that others have published for recordings, beside ours: what `hubbub verify-metrics` adds where the folder
`metric_fixtures` of HUBBUB_CORPUS is at hand.

Conventions
    Every source is a sub-folder with the audio and a JSON file of published numbers. `compared` returns one check per
    number, and names what is not compared, with the reason. Every tolerance has its reason. Framewise values are one
    check per source and measure: the frame that lies farthest off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import separation, text
from eval.catalogue import METRICS
from eval.score import Item, Output
from pipelines.score import missing
from pipelines.verify import NETWORK, PESQ, Check, NotReproduced, Tolerance

__all__ = ["compared"]

Signal = NDArray[np.float64]
Found = Check | NotReproduced

EXACT = Tolerance(1e-9, "the same definition in float64")
SINGLE = Tolerance(1e-5, "published by code in float32")
ROUNDED = Tolerance(5e-5, "published with four decimals")
MATLAB_RESAMPLER = Tolerance(5e-5, "MATLAB's STOI resamples with another filter")
MATLAB_PESQ = Tolerance(PESQ.limit, "contains PESQ, which was another compiler's")
MATLAB_SRMR = Tolerance(1e-5, "cuts pauses at a threshold, which rounding to 16 bits moves a little")
MATLAB_SOLVED = Tolerance(1e-8, "equations with a condition of 1e12: mir_eval itself is 8e-9 dB off MATLAB")


def compared(folder: Path) -> tuple[list[Check], list[NotReproduced]]:
    """Every published value under `folder`: those compared, and those that are not, with reasons."""
    checks, others = [], []
    for name, source in SOURCES.items():
        found: Iterator[Found] = (
            source(folder / name)
            if (folder / name).is_dir()
            else iter([NotReproduced(name, "all", "all", f"{folder / name} does not exist")])
        )
        for entry in found:
            if isinstance(entry, Check):
                checks.append(entry)
            else:
                others.append(entry)
    return checks, others


# ------------------------------------------------------------------------------------------------------------ helpers


@dataclass(frozen=True)
class Number:
    """One published number: our metric, and how near ours must be. `title` says what the source calls it."""

    metric: str
    value: float
    tolerance: Tolerance
    title: str = ""

    @property
    def label(self) -> str:
        return f"{self.metric} ({self.title})" if self.title else self.metric


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read(path: Path) -> tuple[Signal, int]:
    """The first channel, and the rate."""
    import soundfile

    x, rate = soundfile.read(path, always_2d=True)
    return np.ascontiguousarray(x[:, 0]), int(rate)


def _item(reference: Signal, rate: int, numbers: Sequence[Number]) -> tuple[Item, dict[str, str]]:
    """An item for all that its numbers ask for, and what cannot be computed here."""
    names = list(dict.fromkeys(number.metric for number in numbers))
    absent = {name: reason for name in names if (reason := missing(METRICS[name]))}
    return Item(references={"target": reference}, sample_rate=rate, metrics=names, skipped=absent), absent


def _against(
    source: str, pair: str, item: tuple[Item, Mapping[str, str]], estimate: Signal, numbers: Sequence[Number]
) -> Iterator[Check]:
    """A check for every number, of one estimate of an item."""
    rows = {row.metric: row for row in item[0].pair("target", Output(name="estimate", signal=estimate))}
    for number in numbers:
        row = rows[number.metric]
        yield Check(
            source=source,
            pair=pair,
            metric=number.label,
            expected=number.value,
            found=f"{row.status}: {row.reason}" if row.value is None else row.value,
            tolerance=number.tolerance,
            skipped=item[1].get(number.metric),
        )


def _plain(
    source: str, pair: str, reference: Path, estimate: Path, numbers: Sequence[Number]
) -> Iterator[Check]:
    """The same for two files."""
    (s, rate), (e, _) = _read(reference), _read(estimate)
    yield from _against(source, pair, _item(s, rate, numbers), e, numbers)


def _check(source: str, pair: str, metric: str, published: float, ours: float, tolerance: Tolerance) -> Check:
    return Check(source=source, pair=pair, metric=metric, expected=published, found=ours, tolerance=tolerance)


# ------------------------------------------------------------------------------------------------------------ sources


def _ludlows(folder: Path) -> Iterator[Found]:
    said = _json(folder / "expected.json")
    numbers = [
        Number("pesq_wb", said["pesq_wb"], PESQ),
        Number("pesq_nb16", said["pesq_nb"], PESQ),
        # The MATLAB toolbox, as of SRMRpy issue 7.
        Number("srmr", 1.8493, ROUNDED, "MATLAB, SRMRpy issue 7"),
    ]
    yield from _plain("ludlows/PESQ", "babble 0 dB", folder / said["reference"], folder / said["degraded"], numbers)


def _speechscore(folder: Path) -> Iterator[Found]:
    """Only its columns `scores`. It hands (test, reference) to functions that expect (reference, test) for SNR, SSNR,
    LLR, CSIG, CBAK, COVL and LSD: those are numbers of another pair, so agreeing with them would be the error. Its
    NB-PESQ is narrow-band mode at 16 kHz, its SI-SDR keeps the means, its BSSEval is that of images.
    """
    source = "SpeechScore"
    for said in _json(folder / "expected.json")["pairs"]:
        scores, pair = said["scores"], said["degraded"]
        bss, dnsmos = scores["BSSEval"], scores["DNSMOS"]
        numbers = [
            Number("pesq_wb", scores["PESQ"], PESQ),
            Number("pesq_nb16", scores["NB_PESQ"], PESQ),
            Number("stoi", scores["STOI"], EXACT),
            Number("si_sdr", scores["SISDR"], EXACT),
            Number("snr", bss["SDR"], EXACT, "BSSEval SDR of images"),
            Number("sdr", bss["SAR"], EXACT, "BSSEval SAR of images"),
            Number("dnsmos_sig", dnsmos["SIG"], NETWORK),
            Number("dnsmos_bak", dnsmos["BAK"], NETWORK),
            Number("dnsmos_ovrl", dnsmos["OVRL"], NETWORK),
            Number("dnsmos_p808", dnsmos["P808_MOS"], NETWORK),
        ]
        reference, degraded = folder / said["reference"], folder / said["degraded"]
        yield from _plain(source, pair, reference, degraded, numbers)
        (s, rate), (e, _) = _read(reference), _read(degraded)
        images = separation.bss_eval_images(
            references=s[None, None], estimates=e[None, None], sample_rate=rate, window_s=None
        )
        yield _check(source, pair, "isr (whole file)", bss["ISR"], images.isr[0], EXACT)
        yield NotReproduced(source, pair, "FWSEGSNR", "sums over time where REVERB's definition sums over bands")
        yield NotReproduced(source, pair, "SRMR", "whole frames only: a quarter off the MATLAB toolbox on 2.4 s")
        yield NotReproduced(source, pair, "MCD", "computed after its SNR had rescaled the reference in place")
        yield NotReproduced(source, pair, "NISQA, Distill-MOS", "models that hubbub does not ship, on rescaled audio")
        swapped = ", ".join(said["scores_with_swapped_arguments_do_not_use"])
        yield NotReproduced(source, pair, swapped, "computed with reference and test swapped")


def _pysepm(folder: Path) -> Iterator[Found]:
    """The MATLAB code of Loizou's book, as stored in pysepm."""
    source = "Loizou (MATLAB)"
    columns = {
        "ssnr": ("SNRseg", EXACT),
        "fwsegsnr": ("fwSNRseg", EXACT),
        "llr": ("LLR", EXACT),
        "wss": ("WSS", EXACT),
        "cd": ("cepstrum_distance", EXACT),
        "stoi": ("STOI", MATLAB_RESAMPLER),
        "pesq_wb": ("PESQ_mos_lqo", MATLAB_PESQ),
        "csig_loizou": ("Csig", MATLAB_PESQ),
        "cbak_loizou": ("Cbak", MATLAB_PESQ),
        "covl_loizou": ("Covl", MATLAB_PESQ),
        "srmr": ("SRMR", MATLAB_SRMR),
    }
    others = {"CSII_high": "csii_high", "CSII_mid": "csii_mid", "CSII_low": "csii_low", "NCM": "ncm"}
    for said in _json(folder / "expected.json")["pairs"]:
        scores, pair = said["scores"], said["degraded"]
        ours = columns | {name: (column, EXACT) for column, name in others.items() if name in METRICS}
        numbers = [Number(name, scores[column], tolerance) for name, (column, tolerance) in ours.items()]
        yield from _plain(source, pair, folder / said["reference"], folder / said["degraded"], numbers)
        absent = [column for column, name in others.items() if name not in METRICS]
        if absent:
            yield NotReproduced(source, pair, ", ".join(absent), "not in the catalogue")


def _versa(folder: Path) -> Iterator[Found]:
    """VERSA scores its enhancement and neural measures with models; its DNSMOS is that of the signal at a peak of 1."""
    source = "VERSA"
    said = _json(folder / "expected.json")
    scores, pair = said["scores"], said["generated"]
    numbers = [
        Number("pesq_wb", scores["pesq"], PESQ),
        Number("stoi", scores["stoi"], EXACT),
        Number("sdr", scores["sdr"], EXACT),
        Number("sdr", scores["sar"], EXACT, "sar of one source"),
        Number("sdr", scores["ci_sdr"], SINGLE, "ci_sdr"),
        Number("si_sdr", scores["si_snr"], SINGLE, "si_snr, which keeps the means"),
        Number("mcd", scores["mcd"], EXACT),
        Number("f0_rmse_all", scores["f0rmse"], EXACT),
        Number("fpc", scores["f0corr"], EXACT, "f0corr"),
    ]
    yield from _plain(source, pair, folder / said["reference"], folder / said["generated"], numbers)
    (s, rate), (e, _) = _read(folder / said["reference"]), _read(folder / said["generated"])
    heard = [
        Number("dnsmos_ovrl", scores["dns_overall"], NETWORK, "at a peak of 1"),
        Number("dnsmos_p808", scores["dns_p808"], NETWORK, "at a peak of 1"),
    ]
    yield from _against(source, pair, _item(s, rate, heard), e / np.abs(e).max(), heard)
    ours = {"pesq", "stoi", "sdr", "sar", "ci_sdr", "si_snr", "mcd", "f0rmse", "f0corr", "dns_overall", "dns_p808"}
    yield NotReproduced(source, pair, "sir", "infinite for one source: no number")
    rest = ", ".join(name for name in scores if name not in ours | {"sir"})
    yield NotReproduced(source, pair, rest, "needs models that hubbub does not ship")


_SOURCE_NAMES = {"sdr": "Source to Distortion", "sir": "Source to Interference", "sar": "Source to Artifact"}
_IMAGE_NAMES = {"sdr": "Source to Distortion", "isr": "Image to Spatial", **dict(list(_SOURCE_NAMES.items())[1:])}


def _bss(folder: Path) -> Iterator[Found]:
    """BSS_EVAL 3 in MATLAB, as stored in mir_eval: sources and images, whole and by frames."""
    for path in sorted(folder.glob("output*.json")):
        number, said = path.stem.removeprefix("output"), _json(path)
        s, e = (_stacked(folder / f"{side}{number}") for side in ("ref", "est"))
        yield from _bss_whole(number, s, e, said)
        yield from _bss_frames(number, s, e, said["Framewise"])
        yield from _image_frames(number, s, e, said["Images Framewise"])


def _stacked(folder: Path) -> Signal:
    """All files of a folder as rows, stereo ones as the mean of their channels, as mir_eval's tests read them."""
    import soundfile

    return np.array([soundfile.read(path, always_2d=True)[0].mean(axis=1) for path in sorted(folder.glob("*.wav"))])
