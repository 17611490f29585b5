"""Write docs/metrics.md: the many answers to one question, what failure looks like, and the catalogue.

    python -m scripts.metric_answers             # writes docs/metrics.md
    python -m scripts.metric_answers --out FILE

Every number is computed here, on a golden pair, with the packages that are installed; no number is typed.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import composite, distortion, dnsmos, modulation, pairs, pitch, separation, spectral
from eval.catalogue import CONFORMANCE, GROUPS, METRICS, Metric
from eval.score import LENGTH_TOLERANCE_S, score_pair
from eval.tablescores import TABLE_SCORES
from pipelines import verify

Signal = NDArray[np.float64]
Row = tuple[str, str, str]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
PAIR = "noise_10db"
RATE = 16_000


# ----------------------------------------------------------------------------------------------------------- helpers


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def number(x: float) -> str:
    """Four decimals, fewer for what is large."""
    return f"{x:.4f}" if abs(x) < 100 else f"{x:.0f}"


def told(call: Callable[[], Any]) -> str:
    """What a library answers: a number, or the exception, and whether it warned."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            found = float(np.ravel(call())[0])
        except Exception as error:  # noqa: BLE001 - which exception is the answer
            return f"`{type(error).__name__}`"
    warned = any(issubclass(w.category, RuntimeWarning) for w in seen)
    whole = not math.isfinite(found) or abs(found) < 1e-3 or found == round(found)
    said = f"{found:g}" if whole else number(found)
    return said + (" with a `RuntimeWarning`" if warned else "")


@cache
def golden() -> tuple[Signal, Signal]:
    """The pair of the page."""
    pair = next(pair for pair in verify.goldens() if pair.name == PAIR)
    (s,), (e,) = pair.references.values(), pair.estimates.values()
    return s, e


@cache
def ours() -> dict[str, float]:
    """The metrics of the catalogue that the page shows, but pitch and DNSMOS."""
    s, e = golden()
    found = score_pair(reference=s, estimate=e, sample_rate=RATE, metrics=SHOWN)
    return {row.metric: row.value for row in found if row.value is not None}


SHOWN = (
    "pesq_wb", "pesq_nb", "pesq_nb16", "stoi", "estoi", "sdr", "si_sdr", "si_snr", "snr", "ssnr", "csig_loizou",
    "cbak_loizou", "covl_loizou", "csig_cmgan", "cbak_cmgan", "covl_cmgan", "srmr", "lsd", "lsd_lf", "lsd_hf",
)  # fmt: skip


def at_8_khz(x: Signal) -> Signal:
    return pairs.resampled(x, RATE, 8000)


# ----------------------------------------------------------------------------------------------------- (a) one pair


def pesq_answers() -> list[Row]:
    from pesq import pesq

    s, e = golden()
    found = ours()
    raw = _raw_nb(found["pesq_nb16"])
    return [
        ("`pesq_wb`", "wide band, 16 kHz", number(found["pesq_wb"])),
        ("`pesq_nb16`", "narrow-band mode on 16 kHz data", number(found["pesq_nb16"])),
        ("`pesq_nb`", "narrow band, both at 8 kHz", number(found["pesq_nb"])),
        ("-", "narrow-band mode at 16 kHz, raw score before the mapping of P.862.1 (pypesq)", number(raw)),
        ("-", "wide band, arguments swapped (pesq)", number(pesq(RATE, e, s, "wb"))),
        ("-", "narrow band, arguments swapped (pesq)", number(pesq(8000, at_8_khz(e), at_8_khz(s), "nb"))),
    ]


def _raw_nb(mapped: float) -> float:
    """P.862.1 backwards."""
    return (4.6607 - math.log(4 / (mapped - 0.999) - 1)) / 1.4945


def stoi_answers() -> list[Row]:
    from pystoi import stoi

    (s, e), found = golden(), ours()
    low = at_8_khz(s), at_8_khz(e)
    return [
        ("`stoi`", "STOI", number(found["stoi"])),
        ("`estoi`", "ESTOI", number(found["estoi"])),
        ("-", "STOI (pystoi)", number(stoi(s, e, RATE))),
        ("-", "STOI of the pair at 8 kHz (pystoi)", number(stoi(*low, 8000))),
        ("-", "STOI, arguments swapped (pystoi)", number(stoi(e, s, RATE))),
    ]


def sdr_answers() -> list[Row]:
    import fast_bss_eval

    (s, e), found = golden(), ours()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in 0.8, gone in 0.9
        from mir_eval import separation as mir_eval

        v3 = float(mir_eval.bss_eval_sources(s[None], e[None], False)[0][0])
        images = float(mir_eval.bss_eval_images(s[None, :, None], e[None, :, None], False)[0][0])
    frames = separation.bss_eval_images(references=s[None, None], estimates=e[None, None], sample_rate=RATE)
    short = separation.bss_eval_images(
        references=s[None, None], estimates=e[None, None], sample_rate=RATE, window_s=0.1, hop_s=0.1
    )
    offset = e + 0.02
    return [
        ("`sdr`", "BSSEval v3, 512 taps", number(found["sdr"])),
        ("-", "BSSEval v3 (mir_eval)", number(v3)),
        ("-", "BSSEval v3 (fast_bss_eval)", number(float(fast_bss_eval.sdr(s[None], e[None])[0]))),
        ("`si_sdr`", "SI-SDR, means kept", number(found["si_sdr"])),
        ("`si_snr`", "SI-SDR, means removed", number(found["si_snr"])),
        ("-", "SI-SDR of the estimate with an offset of 0.02", number(distortion.si_sdr(reference=s, estimate=offset))),
        ("-", "the same, means removed", number(distortion.si_snr(reference=s, estimate=offset))),
        ("-", "SI-SDR, arguments swapped", number(distortion.si_sdr(reference=e, estimate=s))),
        ("`snr`", "SNR", number(found["snr"])),
        ("-", "BSSEval images of the whole file (mir_eval)", number(images)),
        ("`sdr_v4`", "BSSEval v4: images, median of frames of 1 s", number(frames.sdr[0])),
        ("-", "the same with frames of 0.1 s", number(short.sdr[0])),
        ("-", "the same frames, mean of dB", number(float(short.frame_sdr.mean()))),
        ("-", "the same frames, dB of the mean ratio", number(_db_of_mean(short.frame_sdr))),
    ]


def _db_of_mean(levels_db: Signal) -> float:
    return float(10 * np.log10(np.mean(10 ** (levels_db / 10))))


def loizou_answers() -> list[Row]:
    (s, e), found = golden(), ours()
    swapped = composite.Reference.of(reference=e, sample_rate=RATE, names=("ssnr", "llr_uncapped", "wss")).measures(s)
    mixed = composite.composites(
        pesq_wb=found["pesq_wb"], llr=swapped["llr_uncapped"], wss=swapped["wss"], ssnr=swapped["ssnr"]
    )
    level = np.abs(s).max() / np.abs(e).max()
    scaled = composite.Reference.of(reference=s, sample_rate=RATE, names=("ssnr",)).measures(level * e)
    return [
        ("`ssnr`", "segmental SNR", number(found["ssnr"])),
        ("-", "segmental SNR, estimate scaled to the reference's peak", number(scaled["ssnr"])),
        ("-", "segmental SNR, arguments swapped", number(swapped["ssnr"])),
        ("`csig_loizou` `cbak_loizou` `covl_loizou`", "as in Loizou's MATLAB code", _three(found, "loizou")),
        ("`csig_cmgan` `cbak_cmgan` `covl_cmgan`", "WSS of samples divided by 32768", _three(found, "cmgan")),
        ("-", "arguments swapped in all but PESQ", " / ".join(number(x) for x in mixed)),
    ]


def _three(found: dict[str, float], dialect: str) -> str:
    return " / ".join(number(found[f"{kind}_{dialect}"]) for kind in ("csig", "cbak", "covl"))


def srmr_answers() -> list[Row]:
    s, e = golden()
    return [
        ("`srmr`", "of the estimate, 16 kHz", number(ours()["srmr"])),
        ("-", "of the estimate at 8 kHz", number(modulation.srmr(estimate=at_8_khz(e), sample_rate=8000))),
        ("-", "of the reference", number(modulation.srmr(estimate=s, sample_rate=RATE))),
    ]


def dnsmos_answers() -> list[Row]:
    _, e = golden()
    own = dnsmos.Estimate.of(estimate=e, sample_rate=RATE)
    peak = dnsmos.Estimate.of(estimate=e / np.abs(e).max(), sample_rate=RATE)
    names = {
        "dnsmos_ovrl": "OVRL, model of 2022, level as it is",
        "dnsmos_ovrl_lufs30": "OVRL at -30 LUFS",
        "pdnsmos_ovrl": "OVRL, personalised model",
        "dnsmos2021_ovrl": "OVRL, model of 2021",
        "dnsmos_p808": "P.808",
    }
    return [
        *((f"`{name}`", what, number(own.score(name))) for name, what in names.items()),
        ("-", "OVRL at a peak of 1, as in VERSA", number(peak.score("dnsmos_ovrl"))),
        ("-", "OVRL, level as it is (speechmos)", number(microsofts_ovrl())),
    ]


def microsofts_ovrl() -> float:
    from speechmos import dnsmos as microsoft

    return float(microsoft.run(golden()[1], RATE)["ovrl_mos"])


def spectral_answers() -> list[Row]:
    (s, e), found = golden(), ours()
    return [
        ("`lsd`", "log10 of power, root mean square over frequency, mean over time", number(found["lsd"])),
        ("-", "the same in dB", number(10 * found["lsd"])),
        ("-", "the same with natural logarithms of power", number(math.log(10) * found["lsd"])),
        ("-", "the same, signals at 8 kHz",
         number(spectral.lsd(reference=at_8_khz(s), estimate=at_8_khz(e), sample_rate=8000))),
        ("`lsd_lf` `lsd_hf`", "below and from 4 kHz", f"{number(found['lsd_lf'])} / {number(found['lsd_hf'])}"),
    ]  # fmt: skip


def mcd_answers() -> list[Row]:
    s, e = golden()
    half = pitch.Reference.of(reference=s, sample_rate=RATE)
    voices, loud = half.against(estimate=e), half.against(estimate=2 * e)
    shape = voices.reference.cepstrum[:, 1:] - voices.estimate.cepstrum[:, 1:]
    return [
        ("`mcd`", "c0 included, frame by frame", number(voices.mcd())),
        ("`mcd_dtw`", "c0 included, time warped, pauses left out", number(voices.mcd_dtw())),
        ("-", "c0 left out, frame by frame", number(float(np.mean(_mcd_db(shape))))),
        ("-", "c0 included, estimate twice as large", number(loud.mcd())),
    ]


def _mcd_db(difference: Signal) -> Signal:
    return np.asarray(10 / math.log(10) * np.sqrt(2 * np.sum(difference**2, axis=1)))


ANSWERS: dict[str, Callable[[], list[Row]]] = {
    "PESQ": pesq_answers,
    "STOI": stoi_answers,
    "SDR": sdr_answers,
    "SSNR, CSIG / CBAK / COVL": loizou_answers,
    "SRMR": srmr_answers,
    "DNSMOS": dnsmos_answers,
    "LSD": spectral_answers,
    "MCD": mcd_answers,
}


# ------------------------------------------------------------------------------------------------------ (b) failures


def cases() -> dict[str, tuple[Signal, Signal]]:
    s, e = golden()
    nothing = np.zeros_like(s)
    broken = e.copy()
    broken[len(e) // 2] = np.nan
    return {
        "silent estimate": (s, nothing),
        "silent reference": (nothing, e),
        "0.2 s of speech": (s[RATE // 2 :][: RATE // 5], e[RATE // 2 :][: RATE // 5]),
        "0.3 s of speech": (s[RATE // 2 :][: 3 * RATE // 10], e[RATE // 2 :][: 3 * RATE // 10]),
        "one NaN in the estimate": (s, broken),
        "perfect estimate": (s, s),
    }


def failures() -> list[list[str]]:
    import fast_bss_eval
    from pesq import PesqError, pesq
    from pystoi import stoi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mir_eval import separation as mir_eval
    toolkits: dict[str, tuple[str, Callable[[Signal, Signal], Any]]] = {
        "pesq": ("pesq_wb", lambda s, e: pesq(RATE, s, e, "wb")),
        "pesq, `RETURN_VALUES`": ("pesq_wb", lambda s, e: pesq(RATE, s, e, "wb", on_error=PesqError.RETURN_VALUES)),
        "pystoi": ("stoi", lambda s, e: stoi(s, e, RATE)),
        "mir_eval SDR": ("sdr", lambda s, e: mir_eval.bss_eval_sources(s[None], e[None], False)[0]),
        "fast_bss_eval SDR": ("sdr", lambda s, e: fast_bss_eval.sdr(s[None], e[None])),
    }
    return [
        [name, toolkit, told(lambda: call(*both)), own_answer(*both, metric)]  # noqa: B023 - called at once
        for name, both in cases().items()
        for toolkit, (metric, call) in toolkits.items()
    ]


def own_answer(s: Signal, e: Signal, metric: str) -> str:
    (row,) = score_pair(reference=s, estimate=e, sample_rate=RATE, metrics=[metric])
    said = f"`{row.status}`" + (f" ({row.reason})" if row.reason else "")
    flags = "".join(f", flag `{flag}`" for flag in row.flags if flag == "clamped")
    return said + ("" if row.value is None else f", {number(row.value)}") + flags


# --------------------------------------------------------------------------------------- (c) the catalogue, (e) tables


def catalogue_rows(group: str) -> list[list[str]]:
    return [catalogue_row(m) for m in METRICS.values() if m.group == group]


def catalogue_row(m: Metric) -> list[str]:
    signals = m.needs in ("reference", "estimate", "mixture", "sources")
    rate = f"{m.sample_rate}" if m.sample_rate else "the reference's" if signals else "-"
    if m.min_sample_rate not in (None, m.sample_rate):
        rate += f", from {m.min_sample_rate}"
    package = m.package if m.extra is None else f"{m.package} (`hubbub[{m.extra}]`)"
    title = m.title + (" (experimental)" if m.experimental else "") + (f": {m.formula}" if m.formula else "")
    return [
        f"`{m.name}`", title, m.unit or "-", f"{_bound(m.low)} to {_bound(m.high)}", m.better, f"{m.floor:.4g}", rate,
        m.paper, package, _licence(m), m.version,
    ]  # fmt: skip


def _bound(x: float) -> str:
    return ("-" if x < 0 else "") + "inf" if math.isinf(x) else f"{x:.4g}"


def _licence(m: Metric) -> str:
    return "[ITU notice](#licence-of-pesq)" if m.package == "pesq" else m.licence_note


HEAD = ("name", "metric", "unit", "range", "better", "floor", "rate (Hz)", "source", "package", "licence", "version")


def catalogue() -> str:
    parts = []
    for group, what in GROUPS.items():
        if rows := catalogue_rows(group):
            parts.append(f"### {what[0].upper()}{what[1:]} (`{group}`)\n\n{table(HEAD, rows)}")
    return "\n\n".join(parts)


def table_scores() -> str:
    rows = [
        [f"`{s.name}`", s.title, s.formula, ", ".join(f"`{name}`" for name in s.needs),
         f"{_bound(s.low)} to {_bound(s.high)}", s.better, "yes" if s.table_relative else "no", s.paper]
        for s in TABLE_SCORES.values()
    ]  # fmt: skip
    return table(
        ("name", "score", "formula", "columns", "range", "better", "depends on the other systems", "source"), rows
    )


# ---------------------------------------------------------------------------------------------------------- the page

INTRODUCTION = """\
# Metrics

Made by `python -m scripts.metric_answers`, which computes every number on this page. `hubbub verify-metrics` checks
that a machine gives the same scores for the same audio; these are of conformance {conformance}.

## One pair, many answers

The golden pair `{pair}` (`pipelines/golden_pairs`): {seconds:.1f} s of synthetic speech at 16 kHz, {title}. A name in
the first column is a metric of hubbub; `-` is an answer that other code gives to a question of the same name, and that
hubbub gives to none. Where no package is named, hubbub's own functions computed it.
"""

FAILURES = """\
## What failure looks like

What a toolkit returns where there is no number, and what a row of hubbub holds.
"""

ACCOUNTING = """\
## How failures are accounted

Every system, mixture and metric has one row, with a status. A value is never NaN, and no number means "failed".

- `ok`; `ok_len` where the estimate's length was wrong by more than {length_ms:g} ms. It is cut or padded either way.
- `floor`: the estimate is silent, not finite, missing or refused. It gets the metric's floor, the worst that a row may
  hold, so that failing never pays.
- `excluded_ref`, `too_short`: the reference is unusable, or too short for this metric. It counts for no system.
- `error`, `crashed`, `timeout`: a library failed on valid input. `skipped`: something is not installed, or not there.
- Values beyond floor or ceiling are clamped and flagged `clamped`: one perfect item does not carry a mean.
- A leaderboard compares systems on the mixtures that all of them have values for, and prints how many those are.
"""

CATALOGUE = """\
## Catalogue

`floor` is what a failed estimate gets. `rate` is where both signals are compared; a lower reference is compared at the
second rate, if there is one, and has no value otherwise. Nothing is resampled upwards.
"""

TABLE_SCORES_TEXT = """\
## Scores made of a table

Computed from a leaderboard's columns. A score that depends on the other systems holds for one table only.
"""


def answers() -> str:
    return "\n\n".join(f"### {name}\n\n{table(('hubbub', 'what', 'value'), make())}" for name, make in ANSWERS.items())


def page() -> str:
    pair = next(pair for pair in verify.goldens() if pair.name == PAIR)
    introduction = INTRODUCTION.format(
        conformance=CONFORMANCE, pair=PAIR, seconds=len(golden()[0]) / RATE, title=pair.title
    )
    packages = ", ".join(f"{name} {version}" for name, version in packages_used().items())
    parts = [
        introduction.strip(),
        f"Packages: {packages}.",
        answers(),
        FAILURES.strip(),
        table(("case", "toolkit", "its answer", "hubbub's row"), failures()),
        ACCOUNTING.strip().format(length_ms=1000 * LENGTH_TOLERANCE_S),
        CATALOGUE.strip(),
        catalogue(),
        "### Licence of PESQ",
        METRICS["pesq_wb"].licence_note,
        TABLE_SCORES_TEXT.strip(),
        table_scores(),
    ]
    return "\n\n".join(parts) + "\n"


def packages_used() -> dict[str, str]:
    from importlib import metadata

    names = ("pesq", "pystoi", "mir_eval", "fast_bss_eval", "speechmos", "pyworld", "numpy", "scipy")
    return {name: metadata.version(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/metrics.md.")
    parser.add_argument("--out", type=Path, default=PAGE, help="file to write")
    parser.parse_args().out.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
