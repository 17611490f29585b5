"""Write tests/golden.json: what a small recipe gave at this output version. Run it when output changes on purpose.

python tests/make_golden.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from manifests import audio, corpora, ids, parquet
from manifests.recipe import parse_recipe
from manifests.schema import OUTPUT_VERSION, Plan, Score, to_table
from manifests.system import load_system
from pipelines import generate, infer, scan, score

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent / "pipelines" / "demo_corpus"
PROBES = 64
RECIPES = [
    """
name: golden
seed: 11
clip_s: 3
splits: {train: 5, test: 3}
shares: {train: 1, test: 1}
select: {noise: {noise_class: [hum_50hz, clock_ticks]}}
talkers: {count: {choice: {1: 0.7, 2: 0.3}}}
noise: {count: {choice: {1: 0.7, 2: 0.3}}, snr_db: {uniform: [-5, 20]}}
rooms:
  probability: 0.6
  size_m: {length: {uniform: [3, 5]}, width: {uniform: [3, 4]}, height: 2.5}
  rt60_s: {uniform: [0.15, 0.3]}
write: {stems: [mixture, target, noise, talkers, early, late, direct, dry_aligned], rows_per_shard: 4}
""",
    """
name: golden-array
seed: 12
clip_s: 2
splits: {train: 4, test: 2}
shares: {train: 1, test: 1}
talkers: {count: 2}
noise: {count: 2, place: {choice: [point, own_room, diffuse]}}
rooms:
  probability: 1
  rt60_s: {uniform: [0.2, 0.3]}
  wall_weight: {uniform: [0.5, 1]}
  air: {}
  jitter_m: 0.02
  array: {preset: circular, microphones: 3, radius_m: 0.1, directivity: {pattern: cardioid}}
  motion: {probability: 0.3, step_m: 0.05}
degrade: [{op: clock, offset_us: {uniform: [0, 64]}, drift_ppm: {uniform: [-20, 20]}}]
write: {stems: [mixture, target, noise, talkers, early, late, direct, dry_aligned], rows_per_shard: 4}
""",
]


def measured(folder: str) -> dict[str, Any]:
    """Ids and draws exactly; samples at evenly spaced probes on the 24-bit grid; scores."""
    found = corpora.from_index(str(DEMO / "index.csv"), {}, {})
    sources, _, _ = scan.scan(found, f"{folder}/sources.parquet", workers=0, quiet=True)
    datasets = [
        generate.generate(parse_recipe(recipe), sources, f"{folder}/{k}", workers=0, quiet=True)[0]
        for k, recipe in enumerate(RECIPES)
    ]
    rows = [row for dataset in datasets for name in dataset.shard_names() for row in dataset.mixtures(name)]
    plans = [plan for dataset in datasets for name in dataset.shard_names("plan") for plan in dataset.plans(name)]
    dataset = datasets[0]
    for name in ("unprocessed", "irm"):
        infer.infer(dataset, load_system(name), workers=0, quiet=True)
    score.score(dataset, workers=0, quiet=True)
    scored = [
        s for p in sorted(Path(dataset.path("scores")).rglob("*.parquet")) for s in parquet.read_rows(str(p), Score)
    ]
    return {
        "output_version": OUTPUT_VERSION,
        "plan": {plan.mixture_id: ids.digest(to_table([plan], Plan).to_pylist()) for plan in plans},
        "probes": {
            row.mixture_id: {name: _probes(getattr(row, name)) for name in SIGNALS if getattr(row, name)}
            for row in rows
        },
        "scores": {f"{s.system_id.split('-')[0]} {s.mixture_id} {s.metric}": s.value for s in scored},
    }


SIGNALS = ("mixture", "target", "noise", "talker_1", "talker_2", "early", "late", "direct", "dry_aligned")


def _probes(stored: Any) -> list[int]:
    samples = audio.decode(stored)[0][-1]  # of the last channel
    at = np.linspace(0, len(samples) - 1, PROBES).astype(int)
    return [int(v) for v in np.rint(samples[at] * 2**23)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        (HERE / "golden.json").write_text(json.dumps(measured(folder), indent=1) + "\n")
