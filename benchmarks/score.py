"""Scoring of estimates of 10 s at 16 kHz, against what PESQ costs alone and against the plain loop.

Ours is `pipelines.score.work`, what a worker does with a row: reference, estimate and mixture decoded, faults, lag and
flags looked for, metrics computed, rows made. Estimates are clips with noise at -5 to 25 dB, their mixtures have 6 dB
less; all are 24-bit FLAC.

Keys
    all_vs_pesq_alone        PESQ-WB, STOI, ESTOI, SI-SDR, SDR and the composites; the peer is the package pesq, called
                             for PESQ-WB with decoded signals. `cost` = ours / peer, at most 1.25.
    naive_loop               five metrics against the plain loop, which decodes reference and estimate and calls pesq,
                             pystoi twice, and mir_eval; at least 2.2.
    naive_loop_without_pesq  the same without PESQ, which both sides run unchanged; at least 14.
    second_system            four metrics, without PESQ: what a further system costs that is scored together with
                             others of the same mixture; the peer is ours, with one system at a time.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pesq as pesq_package
import soundfile as sf

from benchmarks import corpus, measure, plain
from eval import composite, distortion, intelligibility, pairs
from manifests import audio
from pipelines import score

__all__ = ["run"]

SNRS_DB = (-5, 0, 5, 10, 15, 20, 25)
MIXTURE_DB = 6  # noise in the mixture over noise in the first estimate
SYSTEMS = 4
NO_PESQ = ("stoi", "estoi", "si_sdr", "sdr")
FIVE = ("pesq_wb", *NO_PESQ)
ALL = (*FIVE, "csig_loizou", "cbak_loizou", "covl_loizou")
STAGES: measure.Places = {
    "decode": [(audio, "decode")],
    "pesq": [(pesq_package, "pesq")],
    "stoi": [(intelligibility.Reference, "of"), (intelligibility.Reference, "score")],
    "lag": [(pairs.Pair, "lag")],
    "flags": [(pairs.Pair, "flags")],
    "sdr": [(distortion.Lags, "of_spectra"), (distortion.Lags, "across"), (distortion, "_filtered_sdr")],
    "composite": [(composite.Reference, "of"), (composite.Reference, "measures")],
}


@dataclass(frozen=True)
class Case:
    """One mixture and its estimates as the tables hold them and, reference and first estimate, as packages take
    them.
    """

    payload: score.Payload
    parts: tuple[tuple[int, dict[str, Any]], ...]
    encoded: tuple[bytes, bytes]
    decoded: tuple[plain.Signal, plain.Signal]


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """All keys of this benchmark."""
    count = 1 if quick else 20
    with tempfile.TemporaryDirectory(prefix="hubbub-bench-") as folder:
        found = corpus.make(os.path.join(folder, "corpus"), clips=count, others=2 if quick else None)
        cases = _cases(found)
    contenders = {
        "all": functools.partial(_ours, cases, ALL),
        "pesq": functools.partial(_pesq, cases),
        "five": functools.partial(_ours, cases, FIVE),
        "naive": functools.partial(_naive, cases, True),
        "four": functools.partial(_ours, cases, NO_PESQ),
        "naive_four": functools.partial(_naive, cases, False),
        "together": functools.partial(_ours, cases, NO_PESQ, SYSTEMS),
    }
    seconds = measure.interleaved(contenders, rounds)
    compare = functools.partial(measure.compared, items=len(cases))
    further = [
        (together - alone) / (SYSTEMS - 1) for together, alone in zip(seconds["together"], seconds["four"], strict=True)
    ]
    everything = compare(
        seconds["all"],
        seconds["pesq"],
        peer_name=plain.PESQ,
        stages_ms=measure.stages_ms(contenders["all"], STAGES, len(cases)),
    )
    results = {
        "all_vs_pesq_alone": everything | {"cost": round(everything["ours_ms"] / everything["peer_ms"], 3)},
        "naive_loop": compare(
            seconds["five"], seconds["naive"], peer_name=plain.SCORER, max_difference=max(map(_difference, cases))
        ),
        "naive_loop_without_pesq": compare(
            seconds["four"],
            seconds["naive_four"],
            peer_name=plain.SCORER,
            stages_ms=measure.stages_ms(contenders["four"], STAGES, len(cases)),
        ),
        "second_system": compare(further, seconds["four"], peer_name="hubbub, one system at a time"),
    }
    return {"corpus": found.facts, "results": results}


def _cases(found: corpus.Corpus) -> list[Case]:
    noises = found.of_kind("noise")
    return [
        _case(number, source.uri, noises[number % len(noises)].uri, SNRS_DB[number % len(SNRS_DB)])
        for number, source in enumerate(found.of_kind("speech"))
    ]


def _case(number: int, speech: str, noise: str, snr_db: float) -> Case:
    s, rate = sf.read(speech)
    n = sf.read(noise)[0][: len(s)]
    gain = np.sqrt(np.sum(s**2) / np.sum(n**2)) * 10 ** (-snr_db / 20)
    levels_db = [0.0, MIXTURE_DB, *(MIXTURE_DB * k / SYSTEMS for k in range(1, SYSTEMS))]
    reference, estimate, mixture, *others = (
        audio.encode_float((0.3 * x)[np.newaxis].astype(np.float32), rate, "clip")
        for x in (s, *(s + gain * 10 ** (level_db / 20) * n for level_db in levels_db))
    )
    rows = [
        {"outputs": [{"name": "estimate", "audio": asdict(x), "text": None}], "status": "ok", "reason": None}
        for x in (estimate, *others)
    ]
    payload = score.Payload(f"clip_{number:03d}", {"target": asdict(reference)}, asdict(mixture))
    decoded = [np.asarray(audio.decode(x)[0][0], dtype=np.float64) for x in (reference, estimate)]
    return Case(payload, tuple(enumerate(rows)), (reference.bytes, estimate.bytes), (decoded[0], decoded[1]))


def _scores(case: Case, metrics: tuple[str, ...], systems: int = 1) -> list[list[Any]]:
    """The rows of each system."""
    settings = score.Settings("", tuple((str(k), f"system {k}") for k in range(systems)), score.resolved(metrics))
    return score.work(settings, case.payload, case.parts[:systems])


def _ours(cases: Sequence[Case], metrics: tuple[str, ...], systems: int = 1) -> None:
    for case in cases:
        counts = [len(rows) for rows in _scores(case, metrics, systems)]
        if counts != [len(metrics)] * systems:
            raise RuntimeError(f"{counts} scores of {systems} systems were computed, not {len(metrics)} of each")


def _pesq(cases: Sequence[Case]) -> None:
    for case in cases:
        plain.pesq_wb(*case.decoded, corpus.RATE)


def _naive(cases: Sequence[Case], with_pesq: bool) -> None:
    for case in cases:
        plain.score(*case.encoded, with_pesq=with_pesq)


def _difference(case: Case) -> float:
    """Largest difference between our scores and the plain loop's. Left out: scores clamped to the metric's bounds, and
    an SDR that the reference does not determine, because each solver has its own.
    """
    (rows,) = _scores(case, FIVE)
    values = plain.score(*case.encoded)
    both = [(r.value, v) for r, v in zip(rows, values, strict=True) if not {"clamped", "ill_conditioned"} & {*r.flags}]
    worst: float = max(abs(ours - value) for ours, value in both if ours is not None)
    return worst
