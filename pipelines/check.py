"""`hubbub check`: decode a finished dataset and hold it to its promises, from the Parquet files alone.

Rules
    `sha256`: the decoded samples are those that were rendered. `sum`: mixture = sum of talkers + noise, to the last bit
    of the format. `snr`: achieved
    and requested SNR differ by at most 0.1 dB under the recipe's definition. `lag`: target and mixture correlate best
    at lag 0. `peak`: no
    written signal exceeds the recipe's peak. `split`: no speaker, session, recording, room or source is in two splits.
    `gap`: every planned row is a mixture, dropped or failed. `missing`: a stem of the recipe is absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from manifests import audio, ids, parquet, schema, splits
from manifests.recipe import stem_columns
from manifests.schema import Finding, Mixture, Plan, keys
from pipelines import engine
from pipelines.dataset import Dataset
from pipelines.infer import mixture_shards

__all__ = ["SNR_TOLERANCE_DB", "check"]

SNR_TOLERANCE_DB = 0.1
LAG_S = 0.05
DIRECTIONAL_LAG_S = 0.001  # who speaks away from the microphone is heard by reflections first: look near the target


@dataclass(frozen=True)
class Settings:
    root: str
    encoding: str
    peak: float
    stems: tuple[str, ...]


def items(settings: Settings, shard: engine.Shard) -> Iterator[engine.Item]:
    for row in Dataset(settings.root).mixtures(shard.name):
        yield engine.Item(row.mixture_id, row, seconds_audio=row.duration_s)


def work(settings: Settings, row: Mixture) -> list[Finding]:
    """Every broken promise of one row."""
    scale = 2 ** (audio.GRID_BITS[settings.encoding] - 1)
    signals = {
        name: audio.decode(getattr(row, name))[0] * scale
        for name in schema.audio_columns(Mixture)
        if getattr(row, name) is not None
    }
    rules = {
        "missing": _missing(settings, row, signals),
        "sha256": _hashes(row, signals),
        "sum": _sum(row, signals),
        "snr": _snr(row, signals, scale),
        "lag": _lag(row, signals),
        "peak": _peak(settings, signals, scale),
    }
    return [
        Finding(mixture_id=row.mixture_id, rule=rule, message=message) for rule, message in rules.items() if message
    ]


def _missing(settings: Settings, row: Mixture, signals: dict[str, Any]) -> str | None:
    absent = [name for name in stem_columns(settings.stems, len(row.talkers)) if name not in signals]
    return f"no {', '.join(absent)}" if absent else None


def _hashes(row: Mixture, signals: dict[str, Any]) -> str | None:
    import numpy as np

    stored = keys(row.sha256)
    wrong = [name for name, x in signals.items() if audio.sha256(np.rint(x).astype(np.int32)) != stored.get(name)]
    return f"decoded samples of {', '.join(wrong)} are not those that were rendered" if wrong else None


def _sum(row: Mixture, signals: dict[str, Any]) -> str | None:
    import numpy as np

    parts = stem_columns(("talkers", "noise"), len(row.talkers))
    if any(name not in signals for name in parts):
        return None
    worst = np.abs(signals["mixture"] - np.sum([signals[name] for name in parts], axis=0)).max()
    return f"mixture and the sum of its stems differ by {worst:g} steps of the format" if worst > 0 else None


def _snr(row: Mixture, signals: dict[str, Any], scale: int) -> str | None:
    import numpy as np

    from augment import levels

    if "talker_1" not in signals or "noise" not in signals or len(row.noises) != 1:
        asked, found = [n.snr_db for n in row.noises], _stored_snrs(row)
    else:
        segments = row.talkers[0].segments
        span = (min(s.at for s in segments), max(s.at + s.length for s in segments))
        speech, noise = (np.asarray(signals[n][0] / scale, dtype=np.float32) for n in ("talker_1", "noise"))
        measured = levels.snr_db(
            speech=speech, noise=noise, sample_rate=row.sample_rate, kind=row.noises[0].snr_kind, span=span
        )
        asked, found = [row.noises[0].snr_db], [measured]
    worst = max((abs((f if f is not None else np.inf) - a) for f, a in zip(found, asked, strict=True)), default=0.0)
    return f"achieved and requested SNR differ by {worst:.3f} dB" if worst > SNR_TOLERANCE_DB else None


def _stored_snrs(row: Mixture) -> list[float | None]:
    return [
        getattr(m, f"snr_{n.snr_kind}_{'lu' if n.snr_kind == 'lufs' else 'db'}")
        for m, n in zip(row.noise_measures, row.noises, strict=True)
    ]


def _lag(row: Mixture, signals: dict[str, Any]) -> str | None:
    if "target" not in signals:
        return None
    others = [signals[n] for n in stem_columns(("talkers", "noise"), len(row.talkers))[1:] if n in signals]
    heard = signals["mixture"] - sum(others)  # a sneeze far above the speech hides its lag: take out what can be
    reach_s = DIRECTIONAL_LAG_S if row.talkers[0].pattern else LAG_S
    lag = _whitened_lag(signals["target"][0], heard[0], round(reach_s * row.sample_rate))
    return f"target and mixture correlate best at a lag of {lag} samples" if lag else None


def _whitened_lag(target: Any, mixture: Any, reach: int) -> int:
    """Lag of the mixture behind the target within +-`reach` samples, by the phase of their cross-spectrum (GCC-PHAT).

    The plain correlation of a voice has a peak at every pitch period; in strong reverberation a later one can win.
    """
    import numpy as np
    from scipy import fft

    size = fft.next_fast_len(2 * len(target), real=True)
    cross = fft.rfft(mixture, size) * np.conj(fft.rfft(target, size))
    found = np.abs(fft.irfft(cross / (np.abs(cross) + 1e-9 * np.abs(cross).max()), size))
    near = np.concatenate([found[-reach:], found[: reach + 1]])
    return int(np.argmax(near)) - reach


def _peak(settings: Settings, signals: dict[str, Any], scale: int) -> str | None:
    import numpy as np

    loud = {name: float(np.abs(x).max()) / scale for name, x in signals.items()}
    over = [f"{name} {value:.4f}" for name, value in loud.items() if value > settings.peak]
    return f"peaks above {settings.peak:g}: {', '.join(over)}" if over else None


def check(dataset: Dataset, *, workers: int, quiet: bool = False) -> tuple[list[str], int]:
    """Check all rows. Returns one line per finding and the number of rows checked."""
    recipe = dataset.recipe()
    names = dataset.shard_names()
    stage = engine.Stage(
        name="check",
        row_type=Finding,
        items=items,
        work=work,
        settings=Settings(dataset.root, recipe.write.encoding, recipe.write.peak, tuple(recipe.write.stems)),
        out=dataset.path("check"),
        aside=dataset.root,
        digest=ids.digest(["check", schema.OUTPUT_VERSION]),
        label="check",
    )
    result = engine.run(stage, mixture_shards(dataset, names), workers=workers, quiet=quiet)
    rows = [row for n in names for row in parquet.read_rows(dataset.path("check", f"{n}.parquet"), Finding)]
    lines = [f"{row.mixture_id} {row.rule}: {row.message}" for row in rows] + _table_findings(dataset, names)
    lines += [f"{n} rows could not be checked: {reason}" for reason, n in result.counts.failed.items()]
    return lines, result.counts.rows_in


def _table_findings(dataset: Dataset, names: Sequence[str]) -> list[str]:
    """Promises about the dataset as a whole: no leak, no gap."""
    rows = dataset.manifest()
    found = splits.leaks(rows, {s.source_id: s for s in dataset.sources()})
    planned = {row.mixture_id for n in names for row in parquet.read_rows(dataset.path("plan", f"{n}.parquet"), Plan)}
    gaps = planned - {row.mixture_id for row in rows} - dataset.set_aside()
    return [f"split: {leak.kind} {leak.key} is in {' and '.join(leak.splits)}" for leak in found] + [
        f"gap: {name}" for name in sorted(gaps)
    ]
