"""Scoring of one estimate with the seven headline metrics, against the packages and against the plain loop.

Ours is `pipelines.score.work`, what a worker does with a row: both signals decoded, faults and lag looked for, metrics
computed, rows made. Pairs are clips with noise at -5 to 25 dB, 24-bit FLAC.

Keys
    packages_only            the peer is what pesq and pystoi alone take for our PESQ, STOI and ESTOI; decoding, SDR,
                             SI-SDR and SNR are not counted for it. `cost` = ours / packages, at most 1.2.
    naive_loop               the plain loop over all seven, SDR by mir_eval, decoding included.
    naive_loop_without_pesq  the same without PESQ, which both sides run unchanged.
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
import pystoi
import soundfile as sf
import soxr

from benchmarks import corpus, measure, plain
from eval import distortion, perceptual
from eval.catalogue import HEADLINE
from manifests import audio
from manifests.schema import Audio
from pipelines import score

__all__ = ["run"]

SNRS_DB = (-5, 0, 5, 10, 15, 20, 25)
NO_PESQ = tuple(name for name in HEADLINE if not name.startswith("pesq"))
STAGES: measure.Places = {
    "decode": [(audio, "decode")],
    "resample": [(soxr, "resample"), (perceptual, "stoi_rate_signal")],
    "pesq": [(pesq_package, "pesq")],
    "stoi": [(pystoi, "stoi")],
    "lag": [(distortion, "correlate")],
    "sdr": [(distortion, name) for name in ("sdr_conditioned", "si_sdr", "snr")],
}


@dataclass(frozen=True)
class Pair:
    """One pair as the tables hold it and, decoded, as the packages take it."""

    payload: score.Payload
    reference: Audio
    estimate: Audio
    signals: tuple[plain.Signal, plain.Signal]


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """All keys of this benchmark."""
    count = 1 if quick else 20
    with tempfile.TemporaryDirectory(prefix="hubbub-bench-") as folder:
        found = corpus.make(os.path.join(folder, "corpus"), clips=count, others=2 if quick else None)
        pairs = _pairs(found)
    contenders = {
        "ours": functools.partial(_ours, pairs, HEADLINE),
        "packages": functools.partial(_packages, pairs),
        "naive": functools.partial(_naive, pairs, True),
        "ours_without_pesq": functools.partial(_ours, pairs, NO_PESQ),
        "naive_without_pesq": functools.partial(_naive, pairs, False),
    }
    seconds = measure.interleaved(contenders, rounds)
    compare = functools.partial(measure.compared, items=len(pairs))
    packages = compare(
        seconds["ours"],
        seconds["packages"],
        peer_name=plain.PACKAGES,
        stages_ms=measure.stages_ms(contenders["ours"], STAGES, len(pairs)),
    )
    results = {
        "packages_only": packages | {"cost": round(packages["ours_ms"] / packages["peer_ms"], 3)},
        "naive_loop": compare(
            seconds["ours"], seconds["naive"], peer_name=plain.SCORER, max_difference=max(map(_difference, pairs))
        ),
        "naive_loop_without_pesq": compare(
            seconds["ours_without_pesq"], seconds["naive_without_pesq"], peer_name=plain.SCORER
        ),
    }
    return {"corpus": found.facts, "results": results}


def _pairs(found: corpus.Corpus) -> list[Pair]:
    noises = found.of_kind("noise")
    return [
        _pair(number, source.uri, noises[number % len(noises)].uri, SNRS_DB[number % len(SNRS_DB)])
        for number, source in enumerate(found.of_kind("speech"))
    ]


def _pair(number: int, speech: str, noise: str, snr_db: float) -> Pair:
    s, rate = sf.read(speech)
    n = sf.read(noise)[0][: len(s)]
    gain = np.sqrt(np.sum(s**2) / np.sum(n**2)) * 10 ** (-snr_db / 20)
    reference, estimate = (
        audio.encode_float(x[np.newaxis].astype(np.float32), rate, name)
        for x, name in ((0.3 * s, "target"), (0.3 * (s + gain * n), "estimate"))
    )
    row = {"outputs": [{"name": "estimate", "audio": asdict(estimate)}], "status": "ok", "reason": None}
    payload = score.Payload(f"pair_{number:03d}", asdict(reference), "target", row)
    decoded = [np.asarray(audio.decode(a)[0][0], dtype=np.float64) for a in (reference, estimate)]
    return Pair(payload, reference, estimate, (decoded[0], decoded[1]))


def _ours(pairs: Sequence[Pair], metrics: tuple[str, ...]) -> None:
    settings = score.Settings("", "benchmark", metrics)
    for pair in pairs:
        rows = score.work(settings, pair.payload)
        if len(rows) != len(metrics):
            raise RuntimeError(f"{len(rows)} of {len(metrics)} scores were computed")


def _difference(pair: Pair) -> float:
    """Largest difference between our scores and the plain loop's. Left out: scores clamped to the metric's bounds, and
    an SDR that the reference does not determine, because each solver has its own.
    """
    rows = score.work(score.Settings("", "benchmark", HEADLINE), pair.payload)
    values = plain.score(pair.reference.bytes, pair.estimate.bytes)
    both = [(r.value, v) for r, v in zip(rows, values, strict=True) if not {"clamped", "ill_conditioned"} & {*r.flags}]
    return max(abs(ours - value) for ours, value in both if ours is not None)


def _packages(pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        plain.pesq_both(*pair.signals, corpus.RATE)
        plain.stoi_both(*pair.signals, corpus.RATE)


def _naive(pairs: Sequence[Pair], with_pesq: bool) -> None:
    for pair in pairs:
        plain.score(pair.reference.bytes, pair.estimate.bytes, with_pesq=with_pesq)
