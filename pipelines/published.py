"""Values that others have published for recordings, beside ours: what `hubbub verify-metrics` adds where the folder
`metric_fixtures` of HUBBUB_CORPUS is at hand.

Conventions
    Every source is a sub-folder with the audio and a JSON file of published numbers. `compared` returns one check per
    number, and names what is not compared, with the reason. Every tolerance has its reason. Framewise values are one
    check per source and measure: the frame that lies farthest off.
"""

from __future__ import annotations

import importlib.util
import json
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
BSS = Tolerance(1e-6, "equations with a condition of 1e12: MATLAB's solution is as far off")
BSS_IMAGES = Tolerance(5e-4, "channels that are copies leave filters undetermined: solutions differ in noise")
NINE_DECIMALS = Tolerance(2e-9, "stored with nine decimals")
MIR_EVAL = Tolerance(2e-8, "mir_eval is 1e-8 dB from an exact solution on speech with empty bands")


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
) -> Iterator[Found]:
    """A check for every number, of one estimate of an item. A number beyond the bounds of its metric is named: hubbub
    clamps it, as PESQ below the map of the raw score -0.5.
    """
    rows = {row.metric: row for row in item[0].pair("target", Output(name="estimate", signal=estimate))}
    for number in numbers:
        row = rows[number.metric]
        low, high = METRICS[number.metric].bounds
        if "clamped" in row.flags and not low <= number.value <= high:
            what = f"{number.label} = {number.value:.6g}"
            yield NotReproduced(source, pair, what, f"beyond the metric's bounds: clamped to {row.value:.6g}")
            continue
        yield Check(
            source=source,
            pair=pair,
            metric=number.label,
            expected=number.value,
            found=f"{row.status}: {row.reason}" if row.value is None else row.value,
            tolerance=number.tolerance,
            skipped=item[1].get(number.metric),
        )


def _plain(source: str, pair: str, reference: Path, estimate: Path, numbers: Sequence[Number]) -> Iterator[Found]:
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
_IMAGE_NAMES = {"sdr": "Source to Distortion", "isr": "Image to Spatial", **_SOURCE_NAMES}


def _bss(folder: Path) -> Iterator[Found]:
    """BSS_EVAL 3 in MATLAB, as stored in mir_eval: sources and images, whole and by frames."""
    for path in sorted(folder.glob("output*.json")):
        number, said = path.stem.removeprefix("output"), _json(path)
        s, e = (_stacked(folder / f"{side}{number}") for side in ("ref", "est"))
        yield from _sources(number, s, e, said["Sources"], "")
        yield from _sources(number, s, e, said["Framewise"], ", frames")
        yield from _images(number, s, e, said["Images"], "")
        yield from _images(number, s, e, said["Images Framewise"], ", frame")


def _stacked(folder: Path) -> Signal:
    """All files of a folder as rows, stereo ones as the mean of their channels, as mir_eval's tests read them."""
    import soundfile

    return np.array([soundfile.read(path, always_2d=True)[0].mean(axis=1) for path in sorted(folder.glob("*.wav"))])


FRAMES = 3
"""Of framewise values, the first, the middle and the last frame are compared: all take five minutes."""

MOST_CHANNELS = 9
"""Of images with more, sources times channels, the equations take a minute; above 6, those of a frame are left out."""


def _ours(
    ratios: Any, names: Mapping[str, str], said: Mapping[str, Any], frame: int | None
) -> Iterator[tuple[str, float, float]]:
    """Each measure of each source: name, published, ours. Infinite interference ratios of one source are no number."""
    for name, column in names.items():
        found = getattr(ratios, name)
        if found is None:
            continue
        column_values = said[column] if frame is None else [row[frame] for row in said[column]]
        for published, ours in zip(column_values, found, strict=True):
            yield name, float(published), float(ours)


def _farthest(
    pair: str, found: Sequence[tuple[str, float, float]], tolerance: Tolerance, what: str = ""
) -> Iterator[Check]:
    """One check per measure: the value that lies farthest off. `tolerance` is that of SIR and SAR; SDR and ISR, which
    look at one source alone, are well determined.
    """
    for name in dict.fromkeys(name for name, _, _ in found):
        members = [(published, ours) for other, published, ours in found if other == name]
        chosen = EXACT if name in ("sdr", "isr") else tolerance
        published, ours = members[int(np.argmax([chosen.share(*both) for both in members]))]
        yield _check("BSS_EVAL (MATLAB)", pair, f"{name}{what}", published, ours, chosen)


def _order(said: Mapping[str, Any], frame: int | None) -> list[int]:
    column = said["Source permutation"]
    return [int(k) for k in (column if frame is None else [row[frame] for row in column])]


def _spans(said: Mapping[str, Any], most: int) -> list[tuple[int | None, slice]]:
    """The frames to compare and their samples; the whole where there are no frames."""
    if "win" not in said:
        return [(None, slice(None))]
    count = len(said["Source to Distortion"][0])
    chosen = sorted({0, count // 2, count - 1}) if most > 1 else [0]
    return [(k, slice(k * said["hop"], k * said["hop"] + said["win"])) for k in chosen]


def _sources(number: str, s: Signal, e: Signal, said: Mapping[str, Any], what: str) -> Iterator[Check]:
    found = []
    for frame, span in _spans(said, FRAMES):
        order = _order(said, frame)
        ratios = separation.bss_eval_sources(references=s[:, span], estimates=e[order, span])
        found += list(_ours(ratios, _SOURCE_NAMES, said, frame))
    yield from _farthest(f"set {number}", found, BSS, what)


def _images(number: str, s: Signal, e: Signal, said: Mapping[str, Any], what: str) -> Iterator[Found]:
    """Images are made of mono sources as mir_eval's tests make them: the other channels are copies with a gain, so
    the references leave most of the filters undetermined.
    """
    most = MOST_CHANNELS if "win" not in said else MOST_CHANNELS * 2 // 3
    if (columns := len(s) * said["nchan"]) > most:
        yield NotReproduced(
            "BSS_EVAL (MATLAB)", f"set {number}", f"images{what}", f"{columns} channels: left out for its cost"
        )
        return
    found = []
    for frame, span in _spans(said, 1):
        references = _channels(s[:, span], said["nchan"], 1.0, False)
        estimates = _channels(e[:, span], said["nchan"], said["gain"], said["reverse"])
        ratios = separation.bss_eval_images(
            references=references, estimates=estimates[_order(said, frame)], sample_rate=8000, window_s=None
        )
        found += list(_ours(ratios, _IMAGE_NAMES, said, frame))
    yield from _farthest(f"set {number}", found, BSS_IMAGES, f", images{what}")


def _channels(x: Signal, count: int, gain: float, reverse: bool) -> Signal:
    others = [gain * x] * (count - 1)
    return np.stack([x, *(others[::-1] if reverse else others)], axis=1)


def _wer(folder: Path) -> Iterator[Found]:
    """LibriSpeech test-clean, two recognisers; texts as they are. How errors are split into kinds depends on the rule
    for ties, so only their sum is compared.
    """
    source = "fbai-speech"
    if not _has_rapidfuzz():
        yield NotReproduced(source, "all", "wer", "needs jiwer: pip install 'hubbub[asr]'")
        return
    said = _json(folder / "expected.json")["pairs"]
    for entry in said:
        joined = text.join(
            references=_transcripts(folder / entry["reference"]), hypotheses=_transcripts(folder / entry["hypothesis"])
        )
        counts = text.pooled(
            text.count_words(reference=r, hypothesis=h, normaliser="none@1") for r, h in joined.pairs.values()
        )
        pair = entry["hypothesis"].removeprefix("hyp_test-clean.").removesuffix(".tsv")
        yield _check(source, pair, "wer (percent, none@1)", entry["wer_percent"], 100 * counts.wer, EXACT)
        errors = entry["subs"] + entry["ins"] + entry["dels"]
        yield _check(source, pair, "wer (number of errors)", errors, counts.errors, EXACT)
    yield NotReproduced(source, "all", "subs, ins, dels each", "the rule for ties moves one or two between kinds")


def _has_rapidfuzz() -> bool:
    return importlib.util.find_spec("rapidfuzz") is not None


def _transcripts(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: words for key, _, words in (line.partition("\t") for line in lines)}


def _enhancement(folder: Path) -> Iterator[Found]:
    """Our own computation with pesq, pystoi and mir_eval: both signals are cut to the shorter. NB is at 16 kHz."""
    columns = {
        "pesq_wb": ("pesq_wb", PESQ),
        "pesq_nb16": ("pesq_nb", PESQ),
        "stoi": ("stoi", NINE_DECIMALS),
        "estoi": ("estoi", NINE_DECIMALS),
        "si_snr": ("si_sdr_zero_mean_db", NINE_DECIMALS),
        "sdr": ("bss_eval_sdr_db", MIR_EVAL),
    }
    items: dict[tuple[str, int], Any] = {}
    for said in _json(folder / "reference_values.json")["pairs"]:
        numbers = [Number(name, said[column], tolerance) for name, (column, tolerance) in columns.items()]
        (s, rate), (e, _) = _read(folder / said["reference"]), _read(folder / said["degraded"])
        samples = min(len(s), len(e))
        key = (said["reference"], samples)
        if key not in items:
            items[key] = _item(s[:samples], rate, numbers)
        pair = said["degraded"].removesuffix(".flac")
        yield from _against("pesq, pystoi, mir_eval", pair, items[key], e[:samples], numbers)


SOURCES: dict[str, Callable[[Path], Iterator[Found]]] = {
    "pesq_ludlows": _ludlows,
    "speechscore": _speechscore,
    "pysepm_matlab": _pysepm,
    "versa_general": _versa,
    "enhancement_pairs": _enhancement,
    "wer_fbai": _wer,
    "mir_eval_bss": _bss,
}
"""By folder, cheapest first."""
