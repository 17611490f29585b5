"""STOI and ESTOI of clips of 10 s at 16 kHz against pystoi, which is called once for either.

Both sides start from decoded signals at 16 kHz: resampling to 10 kHz counts. Pairs are clips with noise at -5 to 25 dB.

Keys
    stoi_estoi                both metrics of a pair.
    stoi_estoi_second_system  both metrics of a further estimate of a reference that is known already. The peer has no
                              means to keep the reference's half, and does everything again.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import soundfile as sf

from benchmarks import corpus, measure, plain
from eval import intelligibility
from eval.intelligibility import Reference

__all__ = ["run"]

SNRS_DB = (-5, 0, 5, 10, 15, 20, 25)
PEER = f"pystoi {version('pystoi')}, two calls"
STAGES: measure.Places = {
    "resample": [(intelligibility, "_resampled")],
    "active": [(intelligibility, "_active")],
    "bands": [(intelligibility, "_bands")],
    "stretches": [(intelligibility, name) for name in ("_statistics", "_stoi", "_estoi")],
}

Pair = tuple[plain.Signal, plain.Signal]


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """All keys of this benchmark."""
    count = 1 if quick else 20
    with tempfile.TemporaryDirectory(prefix="hubbub-bench-") as folder:
        found = corpus.make(os.path.join(folder, "corpus"), clips=count, others=2 if quick else None)
        pairs = _pairs(found)
    references = [Reference.of(reference=s, sample_rate=corpus.RATE) for s, _ in pairs]
    contenders = {
        "ours": functools.partial(_ours, pairs),
        "further": functools.partial(_further, references, pairs),
        "peer": functools.partial(_peer, pairs),
    }
    seconds = measure.interleaved(contenders, rounds)
    compare = functools.partial(
        measure.compared, peer=seconds["peer"], peer_name=PEER, items=len(pairs), max_difference=_difference(pairs)
    )
    results = {
        "stoi_estoi": compare(seconds["ours"], stages_ms=measure.stages_ms(contenders["ours"], STAGES, len(pairs))),
        "stoi_estoi_second_system": compare(seconds["further"]),
    }
    return {"corpus": found.facts, "results": results}


def _pairs(found: corpus.Corpus) -> list[Pair]:
    noises = found.of_kind("noise")
    return [
        _pair(source.uri, noises[number % len(noises)].uri, SNRS_DB[number % len(SNRS_DB)])
        for number, source in enumerate(found.of_kind("speech"))
    ]


def _pair(speech: str, noise: str, snr_db: float) -> Pair:
    s = sf.read(speech)[0]
    n = sf.read(noise)[0][: len(s)]
    return s, s + np.sqrt(np.sum(s**2) / np.sum(n**2)) * 10 ** (-snr_db / 20) * n


def _ours(pairs: Sequence[Pair]) -> None:
    for s, e in pairs:
        intelligibility.both(reference=s, estimate=e, sample_rate=corpus.RATE)


def _further(references: Sequence[Reference], pairs: Sequence[Pair]) -> None:
    for reference, (_, e) in zip(references, pairs, strict=True):
        reference.score(e)


def _peer(pairs: Sequence[Pair]) -> None:
    for s, e in pairs:
        plain.stoi_both(s, e, corpus.RATE)


def _difference(pairs: Sequence[Pair]) -> float:
    """The largest between ours and the peer's, of either metric."""
    worst = 0.0
    for s, e in pairs:
        ours = intelligibility.both(reference=s, estimate=e, sample_rate=corpus.RATE)
        stoi, estoi = plain.stoi_both(s, e, corpus.RATE)
        worst = max(worst, abs(ours.stoi - stoi), abs(ours.estoi - estoi))
    return worst
