"""Energy ratios of clips of 10 s at 16 kHz against the packages that define them, signals already decoded.

Estimates are clips with noise at -5 to 25 dB; of two sources, each leaks into the other 10 dB down besides. All times
are of one pair or one mixture of two, computed from the samples, nothing kept from another; `ours_shared_ms` is a
pair's time where its reference has been seen before, as when several systems are scored.

Keys
    sdr_vs_mir_eval        BSSEval v3 SDR of one source; at least 20.
    sdr_vs_fast_bss_eval   the same against fast_bss_eval in float64; at least 8.
    bss_eval_2_sources     SDR, SIR and SAR of two sources, the assignment included. mir_eval takes the best mean SIR.

`max_difference` is in dB, over all pairs and ratios.
"""

from __future__ import annotations

import functools
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from benchmarks import corpus, measure, plain
from eval import distortion, permutation, separation

__all__ = ["run"]

SNRS_DB = (-5, 0, 5, 10, 15, 20, 25)
LEAK_DB = -10
MIR_EVAL = f"mir_eval {version('mir_eval')}"
FAST_BSS_EVAL = f"fast_bss_eval {version('fast-bss-eval')}, float64"

Signals = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """References and estimates, shape `(sources, samples)`. Estimates of several are in the wrong order."""

    references: Signals
    estimates: Signals


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """All keys of this benchmark."""
    with tempfile.TemporaryDirectory(prefix="hubbub-bench-") as folder:
        found = corpus.make(os.path.join(folder, "corpus"), clips=2 if quick else 20, others=2 if quick else None)
        singles = _singles(found)
    doubles = [_double(*pair) for pair in zip(singles[::2], singles[1::2], strict=True)]
    halves = [distortion.Reference.of(reference=pair.references[0]) for pair in singles]
    seconds = measure.interleaved(
        {
            "ours": functools.partial(_each, _ours, singles),
            "shared": lambda: [half.sdr(pair.estimates[0]) for half, pair in zip(halves, singles, strict=True)],
            "mir_eval": functools.partial(_each, _mir_eval, singles),
            "fast_bss_eval": functools.partial(_each, _fast_bss_eval, singles),
            "ours_2": functools.partial(_each, _ours_of_two, doubles),
            "mir_eval_2": functools.partial(_each, _mir_eval_of_two, doubles),
        },
        rounds,
    )
    shared_ms = round(1000 * float(np.median(seconds["shared"])) / len(singles), 3)
    results = {
        f"sdr_vs_{name}": measure.compared(
            seconds["ours"],
            seconds[name],
            peer_name=label,
            items=len(singles),
            ours_shared_ms=shared_ms,
            max_difference=_difference(_ours, peer, singles),
        )
        for name, label, peer in (
            ("mir_eval", MIR_EVAL, _mir_eval),
            ("fast_bss_eval", FAST_BSS_EVAL, _fast_bss_eval),
        )
    }
    results["bss_eval_2_sources"] = measure.compared(
        seconds["ours_2"],
        seconds["mir_eval_2"],
        peer_name=MIR_EVAL,
        items=len(doubles),
        max_difference=_difference(_ours_of_two, _mir_eval_of_two, doubles),
    )
    return {"corpus": found.facts, "results": results}


def _singles(found: corpus.Corpus) -> list[Mixture]:
    noises = found.of_kind("noise")
    return [
        _single(source.uri, noises[number % len(noises)].uri, SNRS_DB[number % len(SNRS_DB)])
        for number, source in enumerate(found.of_kind("speech"))
    ]


def _single(speech: str, noise: str, snr_db: float) -> Mixture:
    s = sf.read(speech)[0]
    n = sf.read(noise)[0][: len(s)]
    return Mixture(s[np.newaxis], (s + _gain(s, n, snr_db) * n)[np.newaxis])


def _double(first: Mixture, second: Mixture) -> Mixture:
    s, e = (np.concatenate(both) for both in zip(*((m.references, m.estimates) for m in (first, second)), strict=True))
    leak = np.array([_gain(s[k], s[1 - k], -LEAK_DB) * s[1 - k] for k in (0, 1)])
    return Mixture(s, (e + leak)[::-1])


def _gain(s: Signals, n: Signals, snr_db: float) -> float:
    return float(np.sqrt(np.sum(s**2) / np.sum(n**2)) * 10 ** (-snr_db / 20))


def _each(function: Callable[[Mixture], Signals], mixtures: Sequence[Mixture]) -> None:
    for mixture in mixtures:
        function(mixture)


def _difference(
    ours: Callable[[Mixture], Signals], peer: Callable[[Mixture], Signals], all_: Sequence[Mixture]
) -> float:
    return max(float(np.abs(ours(mixture) - peer(mixture)).max()) for mixture in all_)


def _ours(pair: Mixture) -> Signals:
    return np.array([distortion.sdr(reference=pair.references[0], estimate=pair.estimates[0])])


def _mir_eval(pair: Mixture) -> Signals:
    return np.array([plain.bss_eval_sdr(pair.references[0], pair.estimates[0])])


def _fast_bss_eval(pair: Mixture) -> Signals:
    import fast_bss_eval

    return np.asarray(fast_bss_eval.sdr(pair.references, pair.estimates))


def _ours_of_two(mixture: Mixture) -> Signals:
    order = permutation.assign(references=mixture.references, estimates=mixture.estimates).order
    found = separation.bss_eval_sources(
        references=mixture.references, estimates=np.array([mixture.estimates[j] for j in order if j is not None])
    )
    return np.array([found.sdr, found.sir, found.sar])


def _mir_eval_of_two(mixture: Mixture) -> Signals:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # mir_eval announces the end of its separation module
        from mir_eval.separation import bss_eval_sources

        sdr, sir, sar, _ = bss_eval_sources(mixture.references, mixture.estimates)
    return np.array([sdr, sir, sar])
