"""Witnesses: small corpora written file by file, in the layouts that people have; the same tree behind a URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests import corpora
from manifests.corpora import Found, from_folder, from_index
from manifests.errors import UserError


def make(root: Path, **files: str) -> Path:
    """Files below `root`: path -> text."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


def tree(root: Path, *names: str) -> Path:
    return make(root, **dict.fromkeys(names, "audio"))


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def facts(found: list[Found]) -> dict[str, dict[str, str]]:
    return {os.path.basename(f.uri): dict(f.facts) for f in found}


# folders


@pytest.mark.parametrize(
    ("kind", "column"),
    [("speech", "speaker_id"), ("noise", "noise_class"), ("music", "noise_class"), ("rir", "room_id"), ("other", None)],
)
def test_the_first_directory_names_speaker_class_or_room(kind: str, column: str | None, tmp_path: Path) -> None:
    tree(tmp_path / "set", "ada/s1/a.wav", "b.wav")
    named = {column: "ada"} if column else {}
    assert from_folder(kind, str(tmp_path / "set")) == [
        Found(str(tmp_path / "set/ada/s1/a.wav"), kind, {"corpus": "set", "recording_id": "set/ada/s1/a"} | named),
        Found(str(tmp_path / "set/b.wav"), kind, {"corpus": "set", "recording_id": "set/b"}),
    ]


def test_every_audio_suffix_counts_in_any_case_and_nothing_else(tmp_path: Path) -> None:
    audio = [f"x{i}{s if i % 2 else s.upper()}" for i, s in enumerate(corpora.AUDIO_SUFFIXES)]
    tree(tmp_path, *audio, "notes.txt", "x.wav.bak", "wav")
    assert [os.path.basename(f.uri) for f in from_folder("noise", str(tmp_path))] == sorted(audio)


def test_files_come_sorted_whatever_the_order_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "b/1.wav", "a/2.wav", "a/1.wav", "c.wav")
    uris = [f.uri for f in from_folder("speech", str(tmp_path))]
    assert uris == sorted(uris)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: [(f, d, n[::-1]) for f, d, n in reversed(list(walk(*a, **k)))])
    assert [f.uri for f in from_folder("speech", str(tmp_path))] == uris


@pytest.mark.parametrize("spelling", ["{root}/set", "{root}/set/", "{root}/other/../set", "set", "./set", "set/."])
def test_a_folder_is_the_same_however_it_is_spelt(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "set", "ada/a.wav")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    wanted = {"corpus": "set", "recording_id": "set/ada/a", "speaker_id": "ada"}
    assert from_folder("speech", spelling.format(root=tmp_path)) == [
        Found(str(tmp_path / "set/ada/a.wav"), "speech", wanted)
    ]
    monkeypatch.chdir(tmp_path / "set")
    assert from_folder("speech", ".") == from_folder("speech", str(tmp_path / "set"))


@pytest.mark.parametrize("spelling", ["memory://bucket/set", "memory://bucket/set/", "memory:///bucket/set"])
def test_a_folder_behind_a_url(spelling: str, memory: Any) -> None:
    memory.pipe({"/bucket/set/ada/a.wav": b"audio", "/bucket/set/ada/a.txt": b"Good day", "/bucket/other/b.wav": b"x"})
    (found,) = from_folder("speech", spelling)
    assert found.uri == f"{spelling.rstrip('/')}/ada/a.wav"
    assert found.facts == {
        "corpus": "set", "recording_id": "set/ada/a", "speaker_id": "ada", "transcript": "Good day"
    }  # fmt: skip


def test_links_are_followed(tmp_path: Path) -> None:
    tree(tmp_path / "disk", "a.wav")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "ada").symlink_to(tmp_path / "disk")
    (found,) = from_folder("speech", str(tmp_path / "set"))
    assert (found.uri, found.facts["speaker_id"]) == (str(tmp_path / "set/ada/a.wav"), "ada")


@pytest.mark.parametrize(
    ("kind", "folder", "said"),
    [
        ("speach", "set", r"unknown kind of source 'speach' \(did you mean 'speech'\?\); write KIND=FOLDER"),
        ("speech", "none", r"speech=none: no such folder"),
        (
            "speech",
            "set",
            r"speech=/.*/set: no audio files below this folder \(looked for \.wav, .*; saw 2 other files\)",
        ),
        ("speech", "memory://none", r"speech=memory://none: no audio files below this folder .* saw 0 other files"),
    ],
)
def test_a_folder_that_is_none_says_so(
    kind: str, folder: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path / "set", "a.txt", "b/c.pdf")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        from_folder(kind, folder)


# transcripts


def test_librispeech_transcripts(tmp_path: Path) -> None:
    tree(tmp_path / "LibriSpeech", "19/198/19-198-0000.flac", "19/198/19-198-0001.flac", "27/124/27-124-0000.flac")
    make(tmp_path / "LibriSpeech", **{"19/198/19-198.trans.txt": "19-198-0000 NORTHANGER ABBEY\n19-198-0001  THIS \n"})
    found = from_folder("speech", str(tmp_path / "LibriSpeech"))
    assert {name: f.get("transcript") for name, f in facts(found).items()} == {
        "19-198-0000.flac": "NORTHANGER ABBEY",
        "19-198-0001.flac": "THIS",
        "27-124-0000.flac": None,
    }
    assert [f.facts["speaker_id"] for f in found] == ["19", "19", "27"]


def test_side_car_transcripts(tmp_path: Path) -> None:
    tree(tmp_path, "p1/a.wav", "p1/b.wav", "p1/c.wav")
    make(
        tmp_path,
        **{"p1/a.txt": " Guten\n Tag, Größe \n", "p1/b.txt": "", "notes.txt": "no transcript", "p2/c.txt": "x"},
    )
    found = facts(from_folder("speech", str(tmp_path)))
    assert found["a.wav"]["transcript"] == "Guten Tag, Größe"
    assert "transcript" not in found["b.wav"]  # empty is unknown
    assert "transcript" not in found["c.wav"]


def test_only_speech_has_transcripts(tmp_path: Path) -> None:
    tree(tmp_path, "a.wav", "a.txt")
    assert "transcript" not in facts(from_folder("noise", str(tmp_path)))["a.wav"]


# patterns


def test_patterns_read_columns_off_the_path(tmp_path: Path) -> None:
    tree(tmp_path / "set", "en/p225_001.wav", "de/p226_002.wav", "x/other.wav")
    patterns = {"speaker_id": r"(p\d+)_", "language": "^(en|de)", "session_id": r"00\d"}
    found = facts(from_folder("speech", str(tmp_path / "set"), patterns))
    assert {k: found["p225_001.wav"][k] for k in patterns} == {
        "speaker_id": "p225", "language": "en", "session_id": "001"
    }  # fmt: skip
    assert found["other.wav"] == {"corpus": "set", "recording_id": "set/x/other", "speaker_id": "x"}


def test_a_pattern_sees_the_path_below_the_root_only(tmp_path: Path) -> None:
    tree(tmp_path / "p999_" / "set", "a/p225_001.wav")
    found = facts(from_folder("speech", str(tmp_path / "p999_" / "set"), {"speaker_id": r"(p\d+)_"}))
    assert found["p225_001.wav"]["speaker_id"] == "p225"


def test_a_group_that_matches_nothing_is_no_fact(tmp_path: Path) -> None:
    tree(tmp_path, "a.wav")
    assert "language" not in facts(from_folder("speech", str(tmp_path), {"language": "a(x)?"}))["a.wav"]


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        ({"speaker": "x"}, r"--pattern speaker=x: unknown column 'speaker' \(did you mean 'speaker_id'\?\)"),
        ({"path": "x"}, r"--pattern path=x: unknown column 'path'"),
        ({"speaker_id": "(p"}, r"--pattern speaker_id=\(p: not a regular expression \(missing \)"),
    ],
)
def test_a_bad_pattern_is_named(patterns: dict[str, str], said: str, tmp_path: Path) -> None:
    tree(tmp_path, "a.wav")
    make(tmp_path, **{"index.csv": "path\na.wav\n"})
    with pytest.raises(UserError, match=said):
        from_folder("speech", str(tmp_path), patterns)
    with pytest.raises(UserError, match=said):
        from_index(str(tmp_path / "index.csv"), {}, patterns)


# indexes


def index(folder: Path, text: str, name: str = "index.csv", **options: Any) -> list[Found]:
    make(folder, **{name: text})
    return from_index(str(folder / name), options.get("columns", {}), options.get("patterns", {}), options.get("kind"))


def test_an_index_with_our_own_names(tmp_path: Path) -> None:
    (found,) = index(
        tmp_path,
        "path,kind,speaker_id,session_id,recording_id,language,gender,transcript,corpus,licence,attribution,split,sha256,take\n"
        "wavs/a.wav,speech,ada,s1,r1,en,f,Good day,set,CC0-1.0,Ada,test,ABC,3\n",
    )
    assert found == Found(
        str(tmp_path / "wavs/a.wav"),
        "speech",
        {
            "speaker_id": "ada",
            "session_id": "s1",
            "recording_id": "r1",
            "language": "en",
            "gender": "f",
            "transcript": "Good day",
            "corpus": "set",
            "licence": "CC0-1.0",
            "attribution": "Ada",
            "split": "test",
        },
        {"take": "3"},
        "ABC",
    )


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (name, ours)
        for ours, names in corpora.COLUMNS.items()
        for name in names
        if ours not in ("path", "kind", "sha256")
    ],
)
def test_every_usual_name_of_a_column_is_known(name: str, ours: str, tmp_path: Path) -> None:
    (found,) = index(tmp_path, f"path,{name}\na.wav,0.5\n")
    assert found.facts[ours] == "0.5"
    assert found.extra == {}


@pytest.mark.parametrize("name", corpora.COLUMNS["path"])
def test_every_usual_name_of_the_path_is_known(name: str, tmp_path: Path) -> None:
    (found,) = index(tmp_path, f"speaker,{name}\nada,a.wav\n")
    assert found.uri == str(tmp_path / "a.wav")


def test_bom_quotes_and_line_ends(tmp_path: Path) -> None:
    """As Excel writes it."""
    text = '\ufeffpath,text,speaker\r\n"a, b.wav","She said ""no"",\r\nthen left",ada\r\nc.wav,,ben\r\n'
    first, second = index(tmp_path, text)
    assert first.uri == str(tmp_path / "a, b.wav")
    assert first.facts["transcript"] == 'She said "no",\r\nthen left'
    assert second.facts == {"speaker_id": "ben", "recording_id": "c"}


def test_empty_cells_and_short_rows_are_unknown(tmp_path: Path) -> None:
    first, second = index(tmp_path, "path,speaker,mood,kind\na.wav,,,\nb.wav\n")
    assert (first.facts, first.extra, first.kind) == ({"recording_id": "a"}, {}, "other")
    assert (second.facts, second.extra, second.kind) == ({"recording_id": "b"}, {}, "other")


def test_paths_are_relative_to_the_index(tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = index(tmp_path / "set", "path\nwavs/a.wav\n/data/b.wav\ns3://bucket/c.wav\n../d.wav\n")
    uris = [str(tmp_path / "set/wavs/a.wav"), "/data/b.wav", "s3://bucket/c.wav", str(tmp_path / "set/../d.wav")]
    assert [f.uri for f in rows] == uris
    monkeypatch.chdir(tmp_path / "set")
    assert from_index("index.csv", {}, {})[0].uri == uris[0]
    memory.pipe_file("/bucket/set/index.csv", b"path\nwavs/a.wav\n")
    assert from_index("memory://bucket/set/index.csv", {}, {})[0].uri == "memory://bucket/set/wavs/a.wav"


def test_kinds(tmp_path: Path) -> None:
    text = "path,type\na.wav,speech\nb.wav,noise\nc.wav,sfx\nd.wav,\n"
    assert [f.kind for f in index(tmp_path, text)] == ["speech", "noise", "other", "other"]
    assert index(tmp_path, text)[2].extra == {"kind": "sfx"}  # what it was called is kept
    assert {f.kind for f in index(tmp_path, text, kind="rir")} == {"rir"}


def test_a_category_is_a_class_of_noise_or_a_room(tmp_path: Path) -> None:
    text = "path,kind,category\na.wav,noise,dog\nb.wav,rir,hall\nc.wav,speech,read\n"
    noise, rir, speech = index(tmp_path, text)
    assert noise.facts["noise_class"] == "dog"
    assert rir.facts["room_id"] == "hall"
    assert speech.facts == {"recording_id": "c"}
    assert {f.extra["category"] for f in (noise, rir, speech)} == {"dog", "hall", "read"}
    (both,) = index(tmp_path, "path,kind,category,noise_class\na.wav,noise,dog,bark\n")
    assert both.facts["noise_class"] == "bark"


def test_columns_may_be_named(tmp_path: Path) -> None:
    text = "clip,who,path\nx.wav,ada,ignored.wav\n"
    (found,) = index(tmp_path, text, columns={"path": "clip", "speaker_id": "who"})
    assert found.uri == str(tmp_path / "x.wav")
    assert found.facts["speaker_id"] == "ada"
    assert found.extra == {"path": "ignored.wav"}


def test_patterns_read_columns_off_an_index_too(tmp_path: Path) -> None:
    text = "path,speaker\np225/p225_001.wav,wrong\n"
    (found,) = index(tmp_path, text, patterns={"speaker_id": r"(p\d+)_", "session_id": r"_(\d+)"})
    assert (found.facts["speaker_id"], found.facts["session_id"]) == ("p225", "001")


def test_a_parquet_index(tmp_path: Path) -> None:
    table = pa.table({"file": ["a.wav", "b.wav"], "speaker": [17, None], "rt60": [0.5, None], "kind": ["rir", "rir"]})
    pq.write_table(table, tmp_path / "index.parquet")
    first, second = from_index(str(tmp_path / "index.parquet"), {}, {})
    assert first == Found(
        str(tmp_path / "a.wav"), "rir", {"speaker_id": "17", "rt60_s": "0.5", "recording_id": "a"}, {}, None
    )
    assert second.facts == {"recording_id": "b"}


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("path\n", {}, r"index\.csv: the index has no rows"),
        ("", {}, r"index\.csv: the index has no rows"),
        ("clip,who\na.wav,ada\n", {}, r"no column with the path of the audio \(saw clip, who\); name it with --column"),
        (
            "path\na.wav\n",
            {"spaeker_id": "x"},
            r"--column spaeker_id=x: unknown column 'spaeker_id' \(did you mean 'spea",
        ),
        ("path,who\na.wav,ada\n", {"speaker_id": "whom"}, r"index\.csv has no column 'whom' \(did you mean 'who'\?\)"),
        ("path,who\na.wav,ada\n,ben\n", {}, r"index\.csv: row 3 has no path"),
    ],
)
def test_a_bad_index_is_named(text: str, columns: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        index(tmp_path, text, columns=columns)


def test_a_missing_index_is_named() -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such index file"):
        from_index("none.csv", {}, {})
