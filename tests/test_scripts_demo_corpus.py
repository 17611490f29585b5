"""The demo corpus as committed, and the script that makes it. espeak-ng is not needed here."""

import csv
import hashlib
import io
import struct
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.loading import load_script

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "pipelines" / "demo_corpus"
COLUMNS = [
    "path",
    "kind",
    "speaker",
    "language",
    "transcript",
    "sample_rate",
    "channels",
    "duration_s",
    "licence",
    "category",
    "sex",
    "format",
    "subtype",
    "sha256",
    "notes",
    "recording",
    "synthetic",
]
PURE_CLASSES = [
    "white",
    "pink",
    "brown",
    "hum_50hz",
    "engine",
    "rain",
    "wind",
    "fan",
    "clock_ticks",
    "keyboard",
    "siren",
    "crowd",
    "applause",
]  # babble speaks, so it needs espeak-ng


script = load_script("make_demo_corpus")


def read_index() -> list[dict[str, str]]:
    with (CORPUS / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


INDEX = read_index()
SPEECH = [row for row in INDEX if row["kind"] == "speech"]
NOISE = [row for row in INDEX if row["kind"] == "noise"]


@pytest.fixture(scope="module")
def decoded() -> dict[str, np.ndarray]:
    return {row["path"]: sf.read(CORPUS / row["path"], dtype="float64")[0] for row in INDEX}


# The committed files


def test_index_has_its_columns_and_lists_every_audio_file_once():
    assert list(INDEX[0]) == COLUMNS
    on_disk = [p for kind in ("speech", "noise") for p in (CORPUS / kind).rglob("*") if p.is_file()]
    assert sorted(row["path"] for row in INDEX) == sorted(p.relative_to(CORPUS).as_posix() for p in on_disk)
    assert len(SPEECH) + len(NOISE) == len(INDEX)
    assert max(Counter(row["recording"] for row in INDEX).values()) == 1


def test_index_says_what_the_files_say():
    for row in INDEX:
        path = CORPUS / row["path"]
        info = sf.info(path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"], row["path"]
        assert (info.samplerate, info.channels) == (int(row["sample_rate"]), int(row["channels"])) == (16_000, 1)
        assert (info.format, info.subtype) == (row["format"], row["subtype"])
        assert info.duration == pytest.approx(float(row["duration_s"]), abs=1e-4)  # the index has 4 decimals


def test_there_is_enough_to_split_and_it_is_small():
    utterances = Counter(row["speaker"] for row in SPEECH)
    recordings = Counter(row["category"] for row in NOISE)
    assert len(utterances) >= 10
    assert min(utterances.values()) >= 6
    assert len({row["language"] for row in SPEECH}) >= 3
    assert Counter(row["sex"] for row in SPEECH) == {"F": 30, "M": 30}
    assert len(recordings) >= 10
    assert min(recordings.values()) >= 3
    assert sum(p.stat().st_size for p in CORPUS.rglob("*") if p.is_file()) < 4.5e6


def test_noise_has_recordings_to_loop_and_long_ones():
    durations_s = [float(row["duration_s"]) for row in NOISE]
    assert sum(d < 2 for d in durations_s) >= 2
    assert sum(d > 11 for d in durations_s) >= 1


def test_transcripts_are_the_sentences_of_the_script():
    spoken = [(v.speaker, v.language, v.sex, sentence) for v in script.VOICES for sentence in v.sentences]
    assert [(r["speaker"], r["language"], r["sex"], r["transcript"]) for r in SPEECH] == spoken
    transcripts = [row["transcript"] for row in SPEECH]
    assert len(set(transcripts)) == len(transcripts)
    assert all(8 <= len(t.replace(" ?", "?").split()) <= 20 for t in transcripts)


def test_speech_has_a_sensible_level_and_is_never_digitally_silent(decoded):
    for row in SPEECH:
        x = decoded[row["path"]]
        assert 3 <= len(x) / 16_000 <= 6
        assert -35 < script.rms_dbfs(x) < -15, row["path"]
        assert np.count_nonzero(x[:800]) > 400, row["path"]  # the first 50 ms are room noise alone
        assert script.rms_dbfs(x[:720]) == pytest.approx(-75, abs=6), row["path"]  # 45 ms of noise: a few dB of luck


def test_nothing_clips(decoded):
    assert max(np.max(np.abs(x)) for x in decoded.values()) < 0.9


def test_noises_of_a_class_are_distinct_recordings(decoded):
    by_class = defaultdict(list)
    for row in NOISE:
        by_class[row["category"]].append(decoded[row["path"]])
    for name, signals in by_class.items():
        for a, b in combinations(signals, 2):
            frames = min(len(a), len(b))
            # At equal level two unrelated signals differ by sqrt(2), two copies by 0; hums share frequencies, so less.
            assert np.std(a[:frames] / np.std(a) - b[:frames] / np.std(b)) > 0.5, name


def test_the_folder_says_that_it_is_synthetic_and_free():
    assert "SYNTHETIC" in (CORPUS / "README.md").read_text(encoding="utf-8")
    assert "CC0-1.0" in (CORPUS / "LICENCE.txt").read_text(encoding="utf-8")
    assert {row["licence"] for row in INDEX} == {"CC0-1.0"}
    assert all(row["notes"].startswith("synthetic") and row["synthetic"] == "yes" for row in INDEX)


# The script


def test_every_class_of_the_script_is_in_the_index():
    assert {n.name for n in script.NOISES} == {row["category"] for row in NOISE} == {*PURE_CLASSES, "babble"}


@pytest.mark.parametrize("name", PURE_CLASSES)
def test_generators_are_deterministic(name):
    generate = {n.name: n.generate for n in script.NOISES}[name]
    first, again, other = (generate(script.rng_for("test", key), 12_345) for key in ("a", "a", "b"))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (12_345,)
    assert np.all(np.isfinite(first))
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", ["hum_50hz", "clock_ticks"])
def test_committed_noise_is_what_the_script_makes(name, decoded):
    """FLAC, so to within 1 LSB of 16 bits: sines may differ in the last bit between machines, then be rounded."""
    noise = {n.name: n for n in script.NOISES}[name]
    for number in range(1, 4):
        made = script.noise_recording(noise, number)
        np.testing.assert_allclose(decoded[f"noise/{name}/{name}_{number}.flac"], made, rtol=0, atol=1.01 / 2**15)


def test_overlapped_talkers_are_deterministic():
    talkers = [script.rng_for("talker", str(i)).standard_normal(900 + i) for i in range(5)]
    first, again = (script.overlapped(script.rng_for("test", "babble"), 4000, talkers) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (4000,)


def test_streams_are_pinned_and_separate():
    assert script.rng_for("noise", "rain_1").integers(2**32) == 4168806366
    assert script.rng_for("noise", "rain_2").integers(2**32) != 4168806366


def test_at_level_known_on_paper():
    square = np.tile([1.0, -1.0], 50)  # RMS 1: 0 dBFS
    np.testing.assert_allclose(script.at_level(square, -20.0), square * 0.1, rtol=1e-12)
    np.testing.assert_allclose(script.at_level(square, 0.0), square * 0.7, rtol=1e-12)  # the peak limit


def test_trimmed_keeps_50_ms_on_both_sides():
    loud = np.sin(np.arange(1600))
    kept = script.trimmed(np.concatenate([np.zeros(4800), loud, np.zeros(320)]))
    np.testing.assert_array_equal(kept, np.concatenate([np.zeros(800), loud, np.zeros(800)]))


def test_coloured_noise_falls_by_its_exponent():
    """Brown: 6.02 dB of power density per octave, up to the scatter of averaging 1000 and more random bins."""
    power = np.abs(np.fft.rfft(script.coloured(script.rng_for("test", "brown"), 160_000, 2.0))) ** 2  # 0.1 Hz bins
    octaves_db = 10 * np.log10([np.median(power[f * 10 - 500 : f * 10 + 500]) for f in (500, 1000, 2000, 4000)])
    np.testing.assert_allclose(np.diff(octaves_db), -6.02, atol=0.6)


def test_with_serial_agrees_with_libogg(tmp_path):
    """Writing the serial number that is there already must change nothing: libogg made those checksums."""
    path = tmp_path / "noise.ogg"
    sf.write(path, 0.1 * script.rng_for("test", "ogg").standard_normal(16_000), 16_000, subtype="VORBIS")
    ogg = path.read_bytes()
    (serial,) = struct.unpack_from("<I", ogg, 14)
    assert script.with_serial(ogg, serial) == ogg
    assert script.with_serial(ogg, serial ^ 1) != ogg
    with pytest.raises(ValueError, match=r"Ogg page must start with OggS, got b'RIFF' \(byte 0\)"):
        script.with_serial(b"RIFF" + ogg[4:], 1)


@pytest.mark.parametrize(("kept_as", "subtype"), [("FLAC", "PCM_16"), ("VORBIS", "VORBIS")])
def test_encoding_is_deterministic(kept_as, subtype):
    x = 0.1 * script.rng_for("test", kept_as).standard_normal(9_000)
    assert script.encoded(x, kept_as) == script.encoded(x, kept_as)
    assert sf.info(io.BytesIO(script.encoded(x, kept_as))).subtype == subtype


def test_missing_espeak_says_what_to_install(monkeypatch):
    monkeypatch.setattr(script.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match="apt install espeak-ng"):
        script.require_espeak()


def test_a_variant_that_changes_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(script, "speak", lambda text, voice, pitch, rate: np.ones(10))
    with pytest.raises(ValueError, match=r"espeak_voice must sound different .* got 'en-gb\+f2'"):
        script.require_variant("en-gb+f2")
