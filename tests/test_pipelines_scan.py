"""Scanning: every file ends as a row that says what it is, and a rescan reads only what changed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from augment import levels
from manifests import corpora, parquet
from manifests.errors import UserError
from manifests.schema import SCHEMA_VERSION, Source
from pipelines import scan

RATE = 16000


def tone(seconds: float, level: float = 0.1, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus with every fault in it."""
    root = tmp_path / "speech"
    for speaker in ("anna", "ben"):
        (root / speaker).mkdir(parents=True)
    whole = np.rint(tone(2) * 2**15).astype(np.int16)  # libsndfile rounds floats differently for WAV and FLAC
    sf.write(root / "anna" / "good.wav", whole, RATE)
    sf.write(root / "anna" / "z_same_samples.flac", whole, RATE)
    sf.write(root / "anna" / "clipped.wav", np.clip(tone(1, 2.0), -1, 1), RATE)
    sf.write(root / "anna" / "dc.wav", tone(1) + np.float32(0.05), RATE, subtype="FLOAT")
    sf.write(root / "ben" / "stereo.wav", np.stack([tone(1), tone(1, hz=880)], axis=1), 48000)
    sf.write(root / "ben" / "silent.wav", np.zeros(RATE), RATE)
    sf.write(root / "ben" / "empty.wav", np.zeros(0), RATE)
    sf.write(root / "ben" / "short.wav", tone(0.05), RATE)
    sf.write(root / "ben" / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    click = np.zeros(RATE, dtype=np.float32)
    click[8000] = 0.9
    sf.write(root / "ben" / "click.wav", click, RATE)
    sf.write(root / "ben" / "whole.wav", tone(2, 0.2), RATE)
    data = (root / "ben" / "whole.wav").read_bytes()
    (root / "ben" / "cut.wav").write_bytes(data[: len(data) // 3])
    (root / "ben" / "text.wav").write_text("this is not sound")
    (root / "anna" / "good.txt").write_text("A tone of two seconds.\n")
    return root


def run(folder: Path, out: Path, workers: int = 0) -> dict[str, Source]:
    rows, _, _ = scan.scan(corpora.from_folder("speech", str(folder)), str(out), workers=workers, quiet=True)
    return {Path(row.uri).name: row for row in rows}


def test_every_file_is_a_row_with_its_status_and_reason(folder: Path, tmp_path: Path) -> None:
    rows = run(folder, tmp_path / "s.parquet")
    assert {name: row.reason for name, row in rows.items()} == {
        "good.wav": None,
        "z_same_samples.flac": "duplicate",
        "clipped.wav": None,
        "dc.wav": None,
        "stereo.wav": None,
        "silent.wav": "silent",
        "empty.wav": "empty",
        "short.wav": "too_short",
        "nan.wav": "not_finite",
        "click.wav": "inactive",
        "whole.wav": None,
        "cut.wav": "truncated",
        "text.wav": "undecodable",
    }
    assert all((row.reason is None) == (row.status == "ok") for row in rows.values())
    assert all(row.message for row in rows.values() if row.reason)
    assert {row.reason for row in rows.values() if row.reason} <= set(scan.REASONS)


def test_what_is_measured(folder: Path, tmp_path: Path) -> None:
    rows = run(folder, tmp_path / "s.parquet")
    good = rows["good.wav"]
    assert (good.sample_rate, good.channels, good.frames, good.duration_s) == (RATE, 1, 2 * RATE, 2.0)
    assert (good.format, good.subtype) == ("WAV", "PCM_16")
    assert good.rms_dbfs == pytest.approx(-23.01, abs=0.01)  # a sine of amplitude 0.1
    assert good.active_level_dbfs == pytest.approx(-23.01, abs=0.1)
    assert good.activity == pytest.approx(1.0, abs=0.02)
    assert good.bandwidth_hz == pytest.approx(440, abs=150)
    assert good.peak == pytest.approx(0.1, abs=1e-4)
    assert good.transcript == "A tone of two seconds."
    assert good.speaker_id == "anna"
    assert rows["dc.wav"].dc == pytest.approx(0.05, abs=1e-4)
    assert rows["clipped.wav"].clipped_fraction == pytest.approx(2 / 3, abs=0.01)  # |2 sin| >= 1
    assert rows["stereo.wav"].channels == 2
    assert good.lufs == pytest.approx(levels.loudness_lufs(tone(2), RATE), abs=0.01)


def test_the_id_is_of_the_samples_not_of_the_file(folder: Path, tmp_path: Path) -> None:
    rows = run(folder, tmp_path / "s.parquet")
    assert rows["good.wav"].source_id == rows["z_same_samples.flac"].source_id
    ids = [row.source_id for row in rows.values() if row.status == "ok"]
    assert len(ids) == len(set(ids))


def test_a_rescan_reads_only_what_changed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    before = run(folder, out)
    sf.write(folder / "anna" / "new.wav", tone(1, hz=300), RATE)
    sf.write(folder / "anna" / "dc.wav", tone(1, hz=500), RATE)
    (folder / "ben" / "short.wav").unlink()
    (folder / "anna" / "good.txt").write_text("Another text.")
    rows, result, kept = scan.scan(corpora.from_folder("speech", str(folder)), str(out), workers=0, quiet=True)
    after = {Path(row.uri).name: row for row in rows}
    assert result.counts.rows_in == 2  # new.wav and dc.wav
    assert kept == len(before) - 2
    assert set(after) == set(before) - {"short.wav"} | {"new.wav"}
    assert after["good.wav"].transcript == "Another text."  # facts are today's, measurements are kept
    fresh = run(folder, tmp_path / "fresh.parquet")
    assert after == fresh
    assert (tmp_path / "s.parquet").read_bytes() == (tmp_path / "fresh.parquet").read_bytes()


def test_when_the_first_of_two_equal_files_goes_the_second_becomes_usable(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    run(folder, out)
    (folder / "anna" / "good.wav").unlink()
    assert run(folder, out)["z_same_samples.flac"].status == "ok"


@pytest.mark.ray
def test_the_number_of_workers_changes_no_byte(folder: Path, tmp_path: Path, ray_session: None) -> None:
    run(folder, tmp_path / "a.parquet")
    run(folder, tmp_path / "b.parquet", workers=2)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "speech"]  # no parts left behind


def test_an_index_with_checksums_and_missing_files(folder: Path, tmp_path: Path) -> None:
    import hashlib

    right = hashlib.sha256((folder / "anna" / "good.wav").read_bytes()).hexdigest()
    index = folder / "index.csv"
    index.write_text(
        "path,kind,speaker,sha256\n"
        f"anna/good.wav,speech,anna,{right}\n"
        f"anna/dc.wav,speech,anna,{right}\n"
        "anna/gone.wav,speech,anna,\n"
    )
    rows, _, _ = scan.scan(corpora.from_index(str(index), {}, {}), str(tmp_path / "s.parquet"), workers=0, quiet=True)
    assert [(Path(r.uri).name, r.reason) for r in rows] == [
        ("dc.wav", "checksum_mismatch"),
        ("gone.wav", "missing"),
        ("good.wav", None),
    ]


def test_one_file_as_two_kinds_is_a_mistake(folder: Path, tmp_path: Path) -> None:
    found = corpora.from_folder("speech", str(folder)) + corpora.from_folder("noise", str(folder))
    with pytest.raises(UserError, match="is given both as speech and as noise"):
        scan.scan(found, str(tmp_path / "s.parquet"), workers=0, quiet=True)


def test_the_digest_of_sources_does_not_depend_on_where_they_lie(folder: Path, tmp_path: Path) -> None:
    here = list(run(folder, tmp_path / "a.parquet").values())
    os.rename(folder, folder.with_name("moved"))
    (folder.parent / "elsewhere").mkdir()
    os.rename(folder.with_name("moved"), folder.parent / "elsewhere" / "speech")
    there = list(run(folder.parent / "elsewhere" / "speech", tmp_path / "b.parquet").values())
    assert [r.uri for r in here] != [r.uri for r in there]
    assert scan.sources_digest(here) == scan.sources_digest(there)
    louder = [r for r in here if r.reason is None][1:]
    assert scan.sources_digest(louder) != scan.sources_digest(here)


def test_the_table_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    rows = run(folder, tmp_path / "s.parquet")
    footer = parquet.read_footer(str(tmp_path / "s.parquet"))
    assert (footer["schema"], footer["rows"]) == (f"sources/{SCHEMA_VERSION}", str(len(rows)))
    assert footer["digest"] == scan.sources_digest(list(rows.values()))
