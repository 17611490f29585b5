"""Finding the files of a corpus and what is known of each: from folders, or from an index table.

Conventions
    In a folder, the first directory below the root names the speaker (speech), the class (noise) or the room (rir). A
    transcript is a
    `.txt` file beside the audio, or a LibriSpeech `*.trans.txt`. In an index (CSV with a header line, or Parquet),
    columns are found by their
    usual names or by `--column our_name=their_name`; what has no column of ours is kept in `extra`. Order is sorted,
    always.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from manifests import ids, storage
from manifests.errors import UserError

__all__ = ["AUDIO_SUFFIXES", "KINDS", "Found", "from_folder", "from_index"]

KINDS = ("speech", "noise", "rir", "music", "other")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".sph", ".au", ".caf", ".w64", ".rf64")

# Ours -> names that corpora use for it.
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "audio_filepath", "wav", "audio", "uri"),
    "kind": ("kind", "type"),
    "speaker_id": ("speaker_id", "speaker", "spk", "client_id"),
    "session_id": ("session_id", "session", "chapter"),
    "recording_id": ("recording_id", "recording"),
    "language": ("language", "lang", "locale"),
    "gender": ("gender", "sex"),
    "transcript": ("transcript", "text", "sentence"),
    "noise_class": ("noise_class",),
    "room_id": ("room_id", "room"),
    "rt60_s": ("rt60_s", "rt60", "t60"),
    "corpus": ("corpus", "source_repo", "dataset"),
    "licence": ("licence", "license"),
    "attribution": ("attribution",),
    "split": ("split", "subset"),
    "sha256": ("sha256",),
}
FACTS = tuple(column for column in COLUMNS if column not in ("path", "kind", "sha256"))
CATEGORY = {"noise": "noise_class", "rir": "room_id"}


@dataclass(frozen=True)
class Found:
    """A file that a scan is to read. `facts` are columns of `sources`, `extra` whatever else the corpus says."""

    uri: str
    kind: str
    facts: Mapping[str, str]
    extra: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None


def from_folder(kind: str, root: str, patterns: Mapping[str, str] | None = None) -> list[Found]:
    """Audio files below `root`, as sources of `kind`. Raises UserError where there are none."""
    if kind not in KINDS:
        raise UserError(
            f"unknown kind of source '{kind}'{ids.nearest(kind, KINDS)}; write KIND=FOLDER, for example "
            "speech=/data/clean"
        )
    if not storage.is_url(root) and not os.path.isdir(root):
        raise UserError(f"{kind}={root}: no such folder")
    patterns = _checked(patterns or {})
    root = root.rstrip("/") if storage.is_url(root) else os.path.abspath(root)
    files = sorted(storage.walk(root))
    audio = [f for f in files if f.lower().endswith(AUDIO_SUFFIXES)]
    if not audio:
        raise UserError(
            f"{kind}={root}: no audio files below this folder (looked for {', '.join(AUDIO_SUFFIXES)}; saw "
            f"{len(files)} other files)"
        )
    transcripts = _transcripts(root, files) if kind == "speech" else {}
    corpus = PurePosixPath(root).name
    return [
        Found(uri, kind, _folder_facts(kind, root, uri, corpus, patterns) | _transcript(transcripts, uri))
        for uri in audio
    ]


def _folder_facts(kind: str, root: str, uri: str, corpus: str, patterns: Mapping[str, str]) -> dict[str, str]:
    inside = uri[len(root) :].strip("/")
    parts = PurePosixPath(inside).parts
    column = {"speech": "speaker_id", "noise": "noise_class", "music": "noise_class", "rir": "room_id"}.get(kind)
    facts = {"corpus": corpus, "recording_id": f"{corpus}/{PurePosixPath(inside).with_suffix('')}"}
    if column and len(parts) > 1:
        facts[column] = parts[0]
    return facts | _matches(patterns, inside)


def _matches(patterns: Mapping[str, str], path: str) -> dict[str, str]:
    """Columns that regular expressions read off a path (first group, else the whole match)."""
    found = {column: re.search(pattern, path) for column, pattern in patterns.items()}
    return {column: text for column, m in found.items() if m and (text := m[m.re.groups and 1])}


def _checked(patterns: Mapping[str, str]) -> Mapping[str, str]:
    for column, pattern in patterns.items():
        if column not in FACTS:
            raise UserError(f"--pattern {column}={pattern}: unknown column '{column}'{ids.nearest(column, FACTS)}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"--pattern {column}={pattern}: not a regular expression ({error})") from None
    return patterns


def _transcripts(root: str, files: list[str]) -> dict[str, str]:
    """LibriSpeech transcripts by utterance name; side-car files by the name of their audio."""
    out: dict[str, str] = {}
    stems = {os.path.splitext(f)[0] for f in files if f.lower().endswith(AUDIO_SUFFIXES)}
    for name in files:
        if name.endswith(".trans.txt"):
            for line in storage.read_bytes(name).decode("utf-8", errors="replace").splitlines():
                utterance, _, text = line.partition(" ")
                out[os.path.join(os.path.dirname(name), utterance)] = text.strip()
        elif name.endswith(".txt") and name[:-4] in stems:
            out[name[:-4]] = " ".join(storage.read_bytes(name).decode("utf-8", errors="replace").split())
    return out


def _transcript(transcripts: Mapping[str, str], uri: str) -> dict[str, str]:
    text = transcripts.get(os.path.splitext(uri)[0])
    return {"transcript": text} if text else {}


def from_index(
    uri: str, columns: Mapping[str, str], patterns: Mapping[str, str], kind: str | None = None
) -> list[Found]:
    """The files that a CSV or Parquet index lists; relative paths are relative to the index."""
    if not storage.exists(uri):
        raise UserError(f"{uri}: no such index file")
    rows = _index_rows(uri)
    if not rows:
        raise UserError(f"{uri}: the index has no rows")
    names, patterns = _resolve(uri, list(rows[0]), columns), _checked(patterns)
    if "path" not in names:
        raise UserError(
            f"{uri}: no column with the path of the audio (saw {', '.join(rows[0])}); name it with --column path=COLUMN"
        )
    root = uri.rsplit("/", 1)[0] if "/" in uri else "."
    return [_from_row(uri, i, row, names, root, patterns, kind) for i, row in enumerate(rows)]


def _index_rows(uri: str) -> list[dict[str, str]]:
    if uri.endswith(".parquet"):
        from manifests import parquet

        return [{k: "" if v is None else str(v) for k, v in row.items()} for row in parquet.read_table(uri).to_pylist()]
    text = storage.read_bytes(uri).decode("utf-8-sig", errors="replace")
    return [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(io.StringIO(text, newline=""))]


def _resolve(uri: str, header: list[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our column -> the index's column."""
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise UserError(f"--column {ours}={theirs}: unknown column '{ours}'{ids.nearest(ours, COLUMNS)}")
        if theirs not in header:
            raise UserError(f"--column {ours}={theirs}: {uri} has no column '{theirs}'{ids.nearest(theirs, header)}")
    usual = {ours: next((n for n in names if n in header), None) for ours, names in COLUMNS.items()}
    return {ours: name for ours, name in usual.items() if name} | dict(columns)


def _from_row(
    uri: str,
    number: int,
    row: dict[str, str],
    names: Mapping[str, str],
    root: str,
    patterns: Mapping[str, str],
    kind: str | None,
) -> Found:
    path = row[names["path"]]
    if not path:
        raise UserError(f"{uri}: row {number + 2} has no path")
    given = kind or row.get(names.get("kind", ""), "") or "other"
    ours = given if given in KINDS else "other"
    facts = {column: row[name] for column, name in names.items() if column in FACTS and row[name]}
    extra = {k: v for k, v in row.items() if v and k not in names.values()}
    if (category := extra.get("category")) and ours in CATEGORY:
        facts.setdefault(CATEGORY[ours], category)
    if ours != given:
        extra["kind"] = given
    facts.setdefault("recording_id", str(PurePosixPath(path).with_suffix("")))
    facts |= _matches(patterns, path)
    absolute = path if storage.is_url(path) or os.path.isabs(path) else storage.join(root, path)
    if not storage.is_url(absolute):
        absolute = str(Path(absolute).absolute())
    sha256 = row.get(names.get("sha256", ""), "") or None
    return Found(absolute, ours, facts, extra, sha256)
