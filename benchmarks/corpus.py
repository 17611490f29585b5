"""The input of the benchmarks: clips of 10 s at 16 kHz, long noises and room impulse responses, made from a corpus.

The corpus is the folder that HUBBUB_CORPUS names (with an `index.csv` that says the kind of each file), else the
embedded demo corpus. Its speech is synthetic, which changes what FLAC and PESQ cost: publish numbers of a real one.

Conventions
    All files are mono FLAC at one rate (16 kHz unless another is asked for): nothing is resampled while the clock runs.
    Speech: all utterances in a shuffled order, end to end, cut every 10 s. Noise: the recordings of each class end to
    end, the classes with 10 s or more, 30 s at most. RIRs: channel 0 of those that last 0.2 to 2 s; for a corpus
    without any, decaying noise.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

import pipelines
from manifests import audio, corpora, parquet
from manifests.corpora import Found
from manifests.recipe import Recipe
from manifests.schema import Plan, Source
from pipelines import engine, generate
from pipelines.dataset import Dataset
from pipelines.scan import scan, sources_digest

__all__ = ["CLIP_S", "RATE", "Corpus", "Job", "make", "planned"]

Signal = NDArray[np.float32]

RATE = 16000
CLIP_S = 10
NOISE_S = (10, 30)
RIR_S = (0.2, 2.0)
SEED = 2026
DEMO = Path(pipelines.__file__).parent / "demo_corpus"


@dataclass(frozen=True)
class Corpus:
    """Scanned sources, and what stands about them beside the results."""

    sources: list[Source]
    facts: dict[str, Any]

    def of_kind(self, kind: str) -> list[Source]:
        return [source for source in self.sources if source.kind == kind]


def make(folder: str | Path, *, clips: int, others: int | None = None, rate: int = RATE) -> Corpus:
    """Write the input below `folder`: `clips` of speech, at most `others` noises and as many RIRs, resampled to
    `rate`.
    """
    root = Path(os.environ.get("HUBBUB_CORPUS") or DEMO)
    found = corpora.from_index(str(root / "index.csv"), {}, {})
    rirs = list(_rirs(found))
    signals = {
        "speech": list(islice(_clips(found), clips)),
        "noise": list(islice(_noises(found), others)),
        "rir": (rirs or _decays())[:others],
    }
    files = [f for kind, group in signals.items() for f in _written(Path(folder, kind), kind, group, rate)]
    sources, _, _ = scan(files, str(Path(folder, "sources.parquet")), workers=0, quiet=True)
    facts = {
        "name": "real recordings" if root != DEMO else "pipelines/demo_corpus (synthetic)",
        **{f"{kind}_files": len(group) for kind, group in signals.items()},
        "rirs": "measured" if rirs else "decaying noise",
        "rir_s_median": round(statistics.median(len(h) for h in signals["rir"]) / RATE, 3),
    }
    return Corpus([source for source in sources if source.status == "ok"], facts)


def _clips(found: Sequence[Found]) -> Iterator[Signal]:
    """Clips without end: speech that runs out begins again, out of step."""
    speech = [f for f in found if f.kind == "speech"]
    rest = np.zeros(0, np.float32)
    for index in cycle(np.random.default_rng(SEED).permutation(len(speech))):
        rest = np.concatenate([rest, _read(speech[index])])
        while len(rest) >= CLIP_S * RATE:
            yield rest[: CLIP_S * RATE]
            rest = rest[CLIP_S * RATE :]


def _noises(found: Sequence[Found]) -> Iterator[Signal]:
    classes: dict[str, list[Found]] = defaultdict(list)
    for f in found:
        if f.kind == "noise":
            classes[f.facts.get("noise_class", "")].append(f)
    for members in classes.values():
        noise = np.concatenate([_read(f) for f in members])[: NOISE_S[1] * RATE]
        if len(noise) >= NOISE_S[0] * RATE:
            yield noise


def _rirs(found: Sequence[Found]) -> Iterator[Signal]:
    for f in found:
        if f.kind == "rir" and RIR_S[0] <= sf.info(f.uri).duration <= RIR_S[1]:
            yield _read(f)


def _decays() -> list[Signal]:
    """Noise that decays by 60 dB in 0.3 to 0.8 s behind a direct sound."""
    rng = np.random.default_rng(SEED)
    decays = []
    for rt60_s in np.linspace(0.3, 0.8, 12):
        taps = np.arange(round(1.2 * rt60_s * RATE))
        h = 0.1 * rng.standard_normal(taps.size) * 10 ** (-3 * taps / (rt60_s * RATE))
        h[:80] = 0
        h[80] = 1
        decays.append(h.astype(np.float32))
    return decays


def _read(found: Found) -> Signal:
    x, rate = audio.decode_file(found.uri)
    return audio.resample(x[0], rate, RATE)


def _written(folder: Path, kind: str, signals: Sequence[Signal], rate: int) -> list[Found]:
    """Signals as files, one per name that splits and balance go by."""
    folder.mkdir(parents=True)
    out = []
    for number, samples in enumerate(signals):
        x = audio.resample(samples, RATE, rate)
        path, name = folder / f"{kind}_{number:03d}.flac", f"{kind}_{number:03d}"
        sf.write(path, 0.9 * x / max(0.9, float(np.abs(x).max())), rate, subtype="PCM_16")
        column = {"speech": "speaker_id", "noise": "noise_class", "rir": "room_id"}[kind]
        out.append(Found(str(path), kind, {column: name, "recording_id": name}))
    return out


@dataclass(frozen=True)
class Job:
    """A planned dataset, ready for the engine."""

    stage: engine.Stage
    shards: list[engine.Shard]
    plans: list[Plan]


def planned(corpus: Corpus, recipe: Recipe, root: str | Path) -> Job:
    """Plan `recipe` into the new dataset `root`: what `hubbub generate` does before it renders."""
    dataset = Dataset(str(root))
    rows, kept, _ = generate.make_plan(recipe, corpus.sources)
    digest = sources_digest(kept)
    parquet.write_rows(dataset.path("sources.parquet"), kept, Source, digest=digest)
    plans, size = [row for split in rows.values() for row in split], recipe.write.rows_per_shard
    shards = []
    for number, first in enumerate(range(0, len(plans), size)):
        part = plans[first : first + size]
        shards.append(engine.Shard(f"train-{number:05d}", len(part)))
        parquet.write_rows(dataset.path("plan", f"{shards[-1].name}.parquet"), part, Plan)
    return Job(generate.render_stage(dataset, recipe, digest), shards, plans)
