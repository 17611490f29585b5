"""`hubbub scan`: what is in a corpus, measured on the decoded samples.

Every file ends as a row of `sources`: `ok`, or `rejected` with one of the reasons in `REASONS`. A rescan reads only
files whose path, size or modification time changed.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from manifests import ids, parquet, storage
from manifests.corpora import KINDS, Found
from manifests.errors import UserError
from manifests.schema import Failed, KeyText, Source
from pipelines import engine

__all__ = ["REASONS", "scan", "sources_digest"]

REASONS = {
    "missing": "there is no such file",
    "undecodable": "no decoder accepts it as audio",
    "truncated": "its header promises more samples than the file holds",
    "checksum_mismatch": "its bytes are not those that the index describes",
    "empty": "it has no samples",
    "too_short": "it is shorter than 0.1 s",
    "not_finite": "it holds NaN or infinite samples",
    "silent": "its level is below -80 dBFS",
    "inactive": "no active speech is found in it by P.56",
    "duplicate": "its decoded samples are those of another file of the scan",
    "crashed": "reading it killed the reader's process",
    "timeout": "reading it took too long",
}
MIN_S = 0.1
SILENCE_DBFS = -80.0
FILES_PER_SHARD = 32
MEASURED = (
    "source_id",
    "status",
    "reason",
    "message",
    "frames",
    "sample_rate",
    "channels",
    "duration_s",
    "format",
    "subtype",
    "bandwidth_hz",
    "peak",
    "clipped_fraction",
    "dc",
    "rms_dbfs",
    "active_level_dbfs",
    "activity",
    "lufs",
    "size_bytes",
    "mtime_ns",
)


class Rejected(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True)
class Job:
    """One file to read, and how it looked to the driver."""

    found: Found
    size_bytes: int | None
    mtime_ns: int | None


# ----------------------------------------------------------------------------------------------------- in a worker


def items(settings: None, shard: engine.Shard) -> Iterator[engine.Item]:
    for job in shard.inputs:
        yield engine.Item(id=job.found.uri, payload=job)


def work(settings: None, job: Job) -> list[Source]:
    """One file as a row of `sources`."""
    return [_row(job, _measure(job))]


def _row(job: Job, measured: Mapping[str, Any]) -> Source:
    facts: dict[str, Any] = dict(job.found.facts)
    if "rt60_s" in facts:
        facts["rt60_s"] = float(facts["rt60_s"])
    extra = [KeyText(k, v) for k, v in sorted(job.found.extra.items())]
    return Source(kind=job.found.kind, uri=job.found.uri, extra=extra, **facts, **measured)


def _measure(job: Job) -> dict[str, Any]:
    """The measured columns. A file that cannot be used says why and keeps what could be measured."""
    measured: dict[str, Any] = {"size_bytes": job.size_bytes, "mtime_ns": job.mtime_ns}
    try:
        data = _read(job)
        measured |= _decode(job.found, data)
        samples = measured.pop("samples")
        measured |= _levels(job.found.kind, samples, measured["sample_rate"])
        _check(job.found.kind, samples, measured)
    except Rejected as rejection:
        measured.pop("samples", None)
        measured |= {"status": "rejected", "reason": rejection.reason, "message": rejection.message}
        measured.setdefault("source_id", ids.short(["unread", job.found.uri]))
        return measured
    return measured | {"status": "ok"}


def _read(job: Job) -> bytes:
    if job.size_bytes is None and not storage.exists(job.found.uri):
        raise Rejected("missing", f"{job.found.uri}: no such file")
    data = storage.read_bytes(job.found.uri)
    if job.found.sha256 and hashlib.sha256(data).hexdigest() != job.found.sha256.lower():
        raise Rejected(
            "checksum_mismatch",
            f"the file's SHA-256 is {hashlib.sha256(data).hexdigest()}, the index says {job.found.sha256}",
        )
    return data


def _decode(found: Found, data: bytes) -> dict[str, Any]:
    import numpy as np
    import soundfile as sf

    try:
        with sf.SoundFile(io.BytesIO(data)) as file:
            facts = {
                "format": file.format,
                "subtype": file.subtype,
                "sample_rate": int(file.samplerate),
                "channels": int(file.channels),
            }
            promised = file.frames if file.format != "MP3" else 0  # MP3 headers hold no count; libsndfile guesses one
            samples = np.ascontiguousarray(file.read(dtype="float32", always_2d=True).T)
    except (sf.LibsndfileError, RuntimeError, ValueError) as error:
        raise Rejected("undecodable", str(getattr(error, "error_string", error))) from None
    facts |= {"frames": samples.shape[1], "duration_s": samples.shape[1] / facts["sample_rate"], "samples": samples}
    shape = np.array([facts["sample_rate"], *samples.shape], dtype="<i8").tobytes()
    facts["source_id"] = hashlib.sha256(shape + samples.astype("<f4", copy=False).tobytes()).hexdigest()[
        : ids.ID_LENGTH
    ]
    missing = max(promised - samples.shape[1], _wav_missing_bytes(data))
    if missing > 0:
        facts |= {"status": "rejected", "reason": "truncated"}
        facts["message"] = f"{facts['duration_s']:.3f} s could be decoded; the header promises more"
    return facts


def _wav_missing_bytes(data: bytes) -> int:
    """How many bytes of its data chunk a RIFF/WAVE file lacks (0 for every other format, and for streamed files of
    unknown length).
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"data":
            return 0 if size in (0, 0xFFFFFFFF) else position + 8 + size - len(data)
        position += 8 + size + size % 2
    return 0


def _levels(kind: str, samples: Any, sample_rate: int) -> dict[str, Any]:
    import numpy as np

    from augment import levels

    if samples.size == 0 or not np.isfinite(samples).all():
        return {}
    first = samples[0]
    active = levels.active_level(first, sample_rate) if kind != "rir" else None
    offsets = samples.mean(axis=1, dtype=np.float64)
    return {
        "peak": float(np.abs(samples).max()),
        "clipped_fraction": max(levels.clipped_fraction(channel) for channel in samples),
        "dc": float(offsets[np.abs(offsets).argmax()]),
        "rms_dbfs": levels.rms_dbfs(first),
        "active_level_dbfs": active.level_dbfs if active else None,
        "activity": active.activity if active else None,
        "lufs": levels.loudness_lufs(first, sample_rate) if kind != "rir" else None,
        "bandwidth_hz": levels.bandwidth_hz(first, sample_rate),
    }


def _check(kind: str, samples: Any, measured: Mapping[str, Any]) -> None:
    import numpy as np

    if measured.get("reason") == "truncated":
        raise Rejected("truncated", measured["message"])
    if samples.shape[1] == 0:
        raise Rejected("empty", "the file has no samples")
    if not np.isfinite(samples).all():
        raise Rejected("not_finite", f"{int((~np.isfinite(samples)).sum())} samples are NaN or infinite")
    if kind != "rir" and measured["duration_s"] < MIN_S:
        raise Rejected(
            "too_short",
            f"{measured['frames']} samples are {measured['duration_s']:.4f} s; at least {MIN_S} s are needed",
        )
    level = measured["rms_dbfs"]
    if measured["peak"] == 0 or (kind != "rir" and (level is None or level < SILENCE_DBFS)):
        found = "digital silence" if level is None else f"{level:.1f} dBFS"
        raise Rejected("silent", f"{found}; at least {SILENCE_DBFS:g} dBFS is needed")
    if kind == "speech" and measured["active_level_dbfs"] is None:
        raise Rejected("inactive", "P.56 finds no active speech")


# --------------------------------------------------------------------------------------------------- in the driver


def scan(
    found: Sequence[Found], out: str, *, workers: int, quiet: bool = False
) -> tuple[list[Source], engine.Result, int]:
    """Scan files into the table `out`. Returns its rows, the engine's result and how many rows an earlier scan
    provided.
    """
    found, out = _unique(found), storage.absolute(out)
    jobs = [Job(f, *_stat(f.uri)) for f in found]
    known = _known(out)
    kept = {job.found.uri: known[job.found.uri] for job in jobs if _unchanged(job, known)}
    todo = [job for job in jobs if job.found.uri not in kept]
    parts = f"{out}.parts"
    stage = engine.Stage(
        name="scan",
        row_type=Source,
        items=items,
        work=work,
        settings=None,
        out=parts,
        aside=parts,
        digest="scan",
        item_timeout_s=300.0,
    )
    result = engine.run(stage, _shards(todo), workers=workers, budget=1.0, quiet=quiet)
    fresh = {
        row.uri: row
        for name in storage.listing(parts, "*.parquet")
        for row in parquet.read_rows(storage.join(parts, name), Source)
    }
    fresh |= _casualties(parts, todo)
    rows = _mark_duplicates(
        [_refreshed(job, kept[job.found.uri]) if job.found.uri in kept else fresh[job.found.uri] for job in jobs]
    )
    parquet.write_rows(out, rows, Source, digest=sources_digest(rows))
    _remove_parts(parts)
    return rows, result, len(kept)


def _unique(found: Sequence[Found]) -> list[Found]:
    """One entry per file, sorted by URI. The same file given as two kinds is a mistake."""
    by_uri: dict[str, Found] = {}
    for f in found:
        if (other := by_uri.setdefault(f.uri, f)).kind != f.kind:
            raise UserError(f"{f.uri} is given both as {other.kind} and as {f.kind}; scan it as one kind")
    return [by_uri[uri] for uri in sorted(by_uri)]


def _stat(uri: str) -> tuple[int | None, int | None]:
    if storage.is_url(uri):
        return None, None
    try:
        stat = os.stat(uri)
    except OSError:
        return None, None
    return stat.st_size, stat.st_mtime_ns


def _known(out: str) -> dict[str, Source]:
    return {row.uri: row for row in parquet.read_rows(out, Source)} if storage.exists(out) else {}


def _unchanged(job: Job, known: Mapping[str, Source]) -> bool:
    row = known.get(job.found.uri)
    return (
        row is not None
        and job.mtime_ns is not None
        and (row.size_bytes, row.mtime_ns, row.kind) == (job.size_bytes, job.mtime_ns, job.found.kind)
        and row.reason not in ("crashed", "timeout")
    )


def _refreshed(job: Job, row: Source) -> Source:
    """An unchanged file's row with today's facts about it."""
    measured = {name: getattr(row, name) for name in MEASURED}
    if row.reason == "duplicate":
        measured |= {"status": "ok", "reason": None, "message": None}
    return _row(job, measured)


def _shards(jobs: Sequence[Job]) -> list[engine.Shard]:
    groups = [tuple(jobs[i : i + FILES_PER_SHARD]) for i in range(0, len(jobs), FILES_PER_SHARD)]
    return [
        engine.Shard(
            f"part-{i:05d}", len(group), group, ids.digest([[str(asdict(job)) for job in group], list(MEASURED)])
        )
        for i, group in enumerate(groups)
    ]


def _casualties(parts: str, jobs: Iterable[Job]) -> dict[str, Source]:
    """Files that killed their reader or met a bug of ours: rejected rows all the same."""
    folder = storage.join(parts, "failed")
    failed = [
        row
        for name in storage.listing(folder, "*.parquet")
        for row in parquet.read_rows(storage.join(folder, name), Failed)
    ]
    by_uri = {job.found.uri: job for job in jobs}
    return {f.id: _casualty(by_uri[f.id], f) for f in failed if f.id in by_uri}


def _casualty(job: Job, failed: Failed) -> Source:
    reason = failed.reason if failed.reason in ("crashed", "timeout") else "undecodable"
    measured = {
        "source_id": ids.short(["unread", job.found.uri]),
        "size_bytes": job.size_bytes,
        "mtime_ns": job.mtime_ns,
    }
    return _row(job, measured | {"status": "rejected", "reason": reason, "message": failed.message})


def _mark_duplicates(rows: Sequence[Source]) -> list[Source]:
    """Of files with the same decoded samples one stays `ok` (speech before noise before the rest, then the first by
    URI).

    The same content must never reach two splits.
    """
    first: dict[str, Source] = {}
    for row in sorted(rows, key=lambda r: (KINDS.index(r.kind), r.uri)):
        if row.status == "ok":
            first.setdefault(row.source_id, row)
    return [
        row if row.status != "ok" or first[row.source_id] is row else _duplicate(row, first[row.source_id])
        for row in rows
    ]


def _duplicate(row: Source, first: Source) -> Source:
    return replace(row, status="rejected", reason="duplicate", message=f"the same samples as {first.uri}")


def _remove_parts(parts: str) -> None:
    for folder in (parts, *(storage.join(parts, t) for t in ("dropped", "failed", "timings"))):
        for name in storage.listing(folder, "*.parquet"):
            storage.remove(storage.join(folder, name))
        if not storage.is_url(folder) and os.path.isdir(folder) and folder != parts:
            os.rmdir(folder)
    if not storage.is_url(parts) and os.path.isdir(parts):
        os.rmdir(parts)


def sources_digest(rows: Iterable[Source]) -> str:
    """What the usable sources are, whatever their paths: two machines with the same corpora agree on it."""
    where = {"uri", "size_bytes", "mtime_ns", "message"}
    plain = [{k: v for k, v in asdict(row).items() if k not in where} for row in rows if row.status == "ok"]
    return ids.digest(sorted(plain, key=lambda row: str(row["source_id"])))


def summary(rows: Sequence[Source]) -> list[str]:
    """Lines for the terminal: files and hours per kind, rejections per reason."""
    lines = []
    for kind in sorted({row.kind for row in rows}):
        of_kind = [row for row in rows if row.kind == kind]
        usable = [row for row in of_kind if row.status == "ok"]
        hours = sum(row.duration_s or 0.0 for row in usable) / 3600
        lines.append(f"  {kind:7} {len(usable):6} usable of {len(of_kind):6} files, {hours:.3f} h")
    reasons = Counter(str(row.reason) for row in rows if row.status == "rejected")
    lines += [f"  rejected {count:5} {reason}: {REASONS.get(reason, '')}" for reason, count in sorted(reasons.items())]
    return lines
