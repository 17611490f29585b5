"""Make the golden pairs: short references and estimates, and what every metric gives for them.

    python -m scripts.make_golden_pairs            # writes pipelines/golden_pairs/*.flac and expected.json
    python -m scripts.make_golden_pairs --out DIR

The speech is the embedded demo corpus, synthetic and ours; what is done to it is fixed. `hubbub verify-metrics` scores
the pairs again on the user's machine. Where a value has moved by more than its tolerance, nothing is written until
`eval.catalogue.CONFORMANCE` is raised.

Conventions: mono FLAC of 16 bits; signals are float64 arrays of shape (samples,), range +-1, until they are written.
A pair has one reference and one estimate, or two of each; `mixture` is what a system was given.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray
from scipy import signal

from eval.catalogue import CONFORMANCE, METRICS
from eval.outcome import Outcome
from pipelines import verify

Signal = NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent
SPEECH = ROOT / "pipelines" / "demo_corpus" / "speech"
RATE = 16_000
SECONDS = 2.1
LEVEL = 10 ** (-37 / 20)
"""RMS of references: low, because FLAC then needs fewer bits for noise."""

BABBLE = ("ben_04", "cora_03", "dan_05", "frieda_02", "gaston_06", "julia_01")
SEED = 20_240_501
COSTLY = ("speechmos", "pyworld")


@dataclass(frozen=True)
class Made:
    """One pair: signals by the name of their file, and the packages whose metrics are left out for their cost."""

    name: str
    title: str
    references: dict[str, Signal]
    estimates: dict[str, Signal]
    mixture: dict[str, Signal] = field(default_factory=dict)
    sample_rate: int = RATE
    against: str = "target"
    left_out: tuple[str, ...] = COSTLY

    @property
    def audio(self) -> dict[str, Signal]:
        """All that its files hold, by name."""
        return {name: written(x) for name, x in (self.references | self.estimates | self.mixture).items()}


# ---------------------------------------------------------------------------------------------------------- the audio


def spoken(name: str, seconds: float = SECONDS) -> Signal:
    """The first seconds of a file of the demo corpus, such as `ada_01`, without its pause in front."""
    speaker = f"demo_{name.split('_')[0]}"
    x, rate = sf.read(SPEECH / speaker / f"demo_{name}.flac")
    assert rate == RATE
    return np.asarray(x[800 : 800 + round(seconds * RATE)])


def at(x: Signal, level: float) -> Signal:
    return x * (level / math.sqrt(np.mean(x**2)))


def written(x: Signal) -> Signal:
    """As 16 bits hold it. Whatever is made of a signal is made of this."""
    return np.asarray(np.clip(np.round(x * 2**15), -(2**15), 2**15 - 1) / 2**15)


def babble() -> Signal:
    """Six talkers backwards."""
    return np.asarray(np.sum([at(spoken(name)[::-1], 1.0) for name in BABBLE], axis=0))


def with_noise(s: Signal, noise: Signal, snr_db: float) -> Signal:
    return s + at(noise, math.sqrt(np.mean(s**2)) * 10 ** (-snr_db / 20))


def gated(x: Signal) -> Signal:
    """A spectral gate: each bin loses what is below 1.5 times the median over time of its magnitude, down to -20 dB."""
    _, _, bins = signal.stft(x, nperseg=512, noverlap=384)
    magnitude = np.abs(bins)
    floor = 1.5 * np.median(magnitude, axis=1, keepdims=True)
    gain = np.maximum(1 - floor / np.maximum(magnitude, 1e-12), 0.1)
    _, out = signal.istft(bins * gain, nperseg=512, noverlap=384)
    return np.asarray(out[: len(x)])


def reverberant(s: Signal) -> Signal:
    """A direct path, and noise that decays by 60 dB in 0.5 s from 5 ms on."""
    taps = np.arange(RATE // 2)
    tail = np.random.default_rng(SEED).standard_normal(taps.size) * 10 ** (-3 * taps / taps.size)
    h = 0.05 * np.where(taps < RATE // 200, 0.0, tail)
    h[0] = 1.0
    return np.asarray(signal.fftconvolve(s, h)[: len(s)])


def interrupted(s: Signal) -> tuple[Signal, Signal]:
    """A reference that begins with 0.25 s of digital silence, and an estimate with 0.3 s of it amid the speech."""
    s, e = s.copy(), s + 0.1 * LEVEL * np.random.default_rng(SEED + 1).standard_normal(len(s))
    s[: RATE // 4] = 0.0
    e[RATE : RATE + 3 * RATE // 10] = 0.0
    return s, e


def pairs() -> list[Made]:
    """All pairs, as they are written."""
    a, b, noise = written(at(spoken("ada_02"), LEVEL)), written(at(spoken("emil_03"), LEVEL)), babble()
    noisy = written(with_noise(a, noise, 0.0))
    limit = float(np.quantile(np.abs(a), 0.9))
    gap_reference, gap_estimate = interrupted(b)
    low = signal.butter(6, 1500, fs=RATE, output="sos")
    narrow = written(at(soxr.resample(spoken("dan_02", 2.6), RATE, 8000, quality="VHQ"), LEVEL))
    narrow_noise = soxr.resample(babble(), RATE, 8000, quality="VHQ")[: len(narrow)]
    narrow = narrow[: len(narrow_noise)]
    return [
        Made("noise_0db", "babble at 0 dB SNR", {"a": a}, {"a_noise_0db": noisy}),
        Made("noise_10db", "babble at 10 dB SNR", {"a": a}, {"a_noise_10db": with_noise(a, noise, 10.0)},
             left_out=("speechmos",)),
        Made("enhanced", "the mixture of 0 dB through a spectral gate", {"a": a}, {"a_enhanced": gated(noisy)},
             mixture={"a_noise_0db": noisy}, left_out=()),
        Made("clipped", "one sample in ten clipped", {"a": a}, {"a_clipped": np.clip(a, -limit, limit)}),
        Made("low_pass", "no sound above 1.5 kHz", {"b": b}, {"b_low_pass": signal.sosfilt(low, b)}),
        Made("reverberant", "a room with an RT60 of 0.5 s", {"b": b}, {"b_reverberant": reverberant(b)}),
        Made("gap", "digital silence in both, at different times", {"b_gap": gap_reference},
             {"b_gap_noisy": gap_estimate}),
        Made("talkers", "two talkers, estimates in the other order", {"a": a, "b": b},
             {"est_1": b + 0.3 * a + 0.2 * gated(noisy)[::-1], "est_2": 0.7 * a + 0.1 * b}, against="talkers"),
        Made("narrow", "8 kHz, babble at 5 dB SNR", {"narrow": narrow},
             {"narrow_noise_5db": with_noise(narrow, narrow_noise, 5.0)}, sample_rate=8000),
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------------- the values


def entry(pair: Made) -> dict[str, Any]:
    """What expected.json says of a pair, without values."""
    return {
        "name": pair.name,
        "title": pair.title,
        "sample_rate": pair.sample_rate,
        "against": pair.against,
        "references": [f"{name}.flac" for name in pair.references],
        "estimates": [f"{name}.flac" for name in pair.estimates],
        "mixture": next((f"{name}.flac" for name in pair.mixture), None),
    }


def metrics_of(pair: Made) -> list[str]:
    """Every metric that looks at signals, but for packages left out, and those of several sources for one."""
    seen = {"reference", "estimate"} | ({"mixture"} if pair.mixture else set())
    seen |= {"sources"} if pair.against == "talkers" else set()
    return [m.name for m in METRICS.values() if m.needs in seen and m.package not in pair.left_out]


def expected(made: Sequence[Made], folder: Path) -> dict[str, Any]:
    """expected.json, of the audio that lies in `folder`."""
    found = []
    for pair in made:
        said = entry(pair)
        scores = verify.scored(verify.Golden.of(said | {"values": {}}, folder), metrics_of(pair))
        values: dict[str, dict[str, float | str]] = {}
        for (output, metric), outcome in scores.items():
            values.setdefault(output, {})[metric] = told(outcome, f"{metric} of {pair.name}")
        found.append(said | {"values": values})
    return {"conformance": CONFORMANCE, "made_with": verify.versions(), "pairs": found}


def told(outcome: Outcome, what: str) -> float | str:
    """A value, or the status and reason of what has none. A metric that could not be computed here is no golden."""
    if outcome.status in ("error", "skipped", "crashed", "timeout"):
        raise SystemExit(f"{what}: {outcome.status} ({outcome.reason}); install all extras, or mend the metric")
    return verify.stated(outcome)


def reconciled(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new expected.json, with the old value wherever it is the same within tolerance: values must not creep, run by
    run. SystemExit where one moved and the conformance number did not.
    """
    before, moved = verify.flat(old), []
    for pair in new["pairs"]:
        for output, values in pair["values"].items():
            for metric, now in values.items():
                was = before.get((pair["name"], output, metric), now)
                if verify.same(METRICS[metric], pair["sample_rate"], was, now):
                    values[metric] = was
                else:
                    moved.append(f"{pair['name']} {output} {metric}: was {was}, now {now}")
    if moved and old["conformance"] >= new["conformance"]:
        raise SystemExit(
            "\n".join(moved) + f"\nvalues have moved: raise eval.catalogue.CONFORMANCE above {old['conformance']}, "
            "and the versions of these metrics"
        )
    return new


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = pairs()
    for pair in made:
        for name, x in pair.audio.items():
            sf.write(folder / f"{name}.flac", x, pair.sample_rate, subtype="PCM_16")
    new, path = expected(made, folder), folder / "expected.json"
    if path.exists():
        new = reconciled(json.loads(path.read_text(encoding="utf-8")), new)
    path.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make pipelines/golden_pairs.")
    parser.add_argument("--out", type=Path, default=verify.FOLDER, help="folder to write to")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
