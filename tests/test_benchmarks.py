"""The benchmarks run and say what they promise. Nothing here is timed: `--quick` sizes, one round.

Witness that the work is equal: the plain loop's target is ours up to a gain, and its scores are ours.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from benchmarks import __main__ as command
from benchmarks import corpus, measure, plain, readme, render, score
from manifests import parquet
from manifests.schema import Mixture
from pipelines import engine

RENDER_KEYS = {
    "dry_mics_1",
    "measured_rir_mics_1",
    "measured_rir_mics_1_flac16",
    "fresh_room_mics_1",
    "fresh_room_mics_1_flac16",
    "fresh_room_wide_mics_1",
    "fresh_room_mics_8",
    "fresh_room_talkers_2_mics_4",
    "fresh_room_48k_mics_1",
    "moving_talker_mics_1",
    "convolve_channels_1",
    "convolve_channels_8",
}
SCORE_KEYS = {"all_vs_pesq_alone", "naive_loop", "naive_loop_without_pesq", "second_system"}
STOI_KEYS = {"stoi_estoi", "stoi_estoi_second_system"}
SDR_KEYS = {"sdr_vs_mir_eval", "sdr_vs_fast_bss_eval", "bss_eval_2_sources"}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The JSON of every benchmark but `engine`, on the demo corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HUBBUB_CORPUS", raising=False)
        return {name: command.report(name, rounds=1, quick=True) for name in command.NAMES if name != "engine"}


@pytest.mark.parametrize(
    ("name", "keys"), [("render", RENDER_KEYS), ("score", SCORE_KEYS), ("stoi", STOI_KEYS), ("sdr", SDR_KEYS)]
)
def test_a_report_keeps_the_contract(reports: dict[str, dict[str, Any]], name: str, keys: set[str]) -> None:
    found = json.loads(json.dumps(reports[name]))
    assert found["benchmark"] == name
    assert found["machine"]["cpus"] > 0
    assert found["corpus"]["name"] == "pipelines/demo_corpus (synthetic)"
    assert set(found["results"]) == keys
    for entry in found["results"].values():
        assert entry["ours_ms"] > 0
        assert entry["peer_ms"] > 0
        assert isinstance(entry["peer"], str)
        assert entry["ratio"] == pytest.approx(
            entry["peer_ms"] / entry["ours_ms"], rel=2e-3
        )  # all are rounded to 0.001


def test_rooms_are_as_exact_as_they_are_fast(reports: dict[str, dict[str, Any]]) -> None:
    found = reports["rooms"]["results"]
    assert set(found) == {f"{name}_mics_{n}" for name in ("medium_rt60_0.2", "geomean") for n in (1, 8)}
    for entry in found.values():
        assert entry["error_db"] < -105
        assert entry["peer_difference_db"] < -48
        assert entry["ratio"] == pytest.approx(entry["peer_ms"] / entry["ours_ms"], rel=0.02)


def test_render_says_where_its_time_goes(reports: dict[str, dict[str, Any]]) -> None:
    measured = reports["render"]["results"]["measured_rir_mics_1"]
    assert {"decode", "convolve", "measure", "encode", "parquet", "rest"} <= set(measured["stages_ms"])
    assert "simulate" in reports["render"]["results"]["fresh_room_mics_1"]["stages_ms"]
    assert measured["times_real_time"] == pytest.approx(10_000 / measured["ours_ms"], rel=1e-2)


def test_convolutions_are_as_exact_as_they_are_fast(reports: dict[str, dict[str, Any]]) -> None:
    for channels in (1, 8):
        assert -160 < reports["render"]["results"][f"convolve_channels_{channels}"]["error_db"] < -120


def test_our_scores_are_those_of_the_plain_loop(reports: dict[str, dict[str, Any]]) -> None:
    found = reports["score"]["results"]
    assert found["naive_loop"]["max_difference"] < 1e-9
    everything = found["all_vs_pesq_alone"]
    assert everything["cost"] == pytest.approx(everything["ours_ms"] / everything["peer_ms"], rel=2e-3)
    assert {"decode", "pesq", "stoi", "sdr", "lag", "flags", "composite", "rest"} <= set(everything["stages_ms"])
    assert "pesq" not in found["naive_loop_without_pesq"]["stages_ms"]


def test_the_plain_loop_differs_where_our_score_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HUBBUB_CORPUS", raising=False)
    (case,) = score._cases(corpus.make(tmp_path / "corpus", clips=1, others=1))
    assert 0 < score._difference(case) < 1e-9
    si_sdr = plain.si_sdr
    monkeypatch.setattr(plain, "si_sdr", lambda s, e: si_sdr(s, e) + 0.01)
    assert score._difference(case) == pytest.approx(0.01, rel=1e-6)


def test_systems_that_are_scored_together_get_the_scores_of_each_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HUBBUB_CORPUS", raising=False)
    (case,) = score._cases(corpus.make(tmp_path / "corpus", clips=1, others=1))
    together = score._scores(case, score.NO_PESQ, score.SYSTEMS)
    values = [[row.value for row in rows] for rows in together]
    assert len({tuple(system) for system in values}) == score.SYSTEMS  # four estimates, not one four times
    for k, part in enumerate(case.parts):
        alone = score._scores(replace(case, parts=((0, part[1]),)), score.NO_PESQ)[0]
        assert [row.value for row in alone] == values[k]


def test_energy_ratios_are_those_of_the_packages(reports: dict[str, dict[str, Any]]) -> None:
    for entry in reports["sdr"]["results"].values():
        assert entry["max_difference"] < 1e-9  # dB


def test_intelligibility_is_that_of_pystoi(reports: dict[str, dict[str, Any]]) -> None:
    for entry in reports["stoi"]["results"].values():
        assert entry["max_difference"] < 1e-12


def test_the_plain_loop_mixes_what_we_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUBBUB_CORPUS", raising=False)
    found = corpus.make(tmp_path / "corpus", clips=2, others=1)
    job = corpus.planned(found, render.measured_rir(2), tmp_path / "dataset")
    (shard,) = job.shards
    engine.run_shard(job.stage, shard)
    ours = parquet.read_rows(job.stage.file(shard), Mixture)
    by_id = {source.source_id: source for source in found.sources}
    for row, plan in zip(ours, job.plans, strict=True):
        assert row.target is not None
        target, _ = sf.read(io.BytesIO(row.target.bytes))
        theirs = plain._mix(plain.mixture(plan, by_id))[1]
        assert np.corrcoef(target, theirs)[0, 1] > 1 - 1e-6


def test_the_plain_loop_writes_what_pandas_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    monkeypatch.delenv("HUBBUB_CORPUS", raising=False)
    found = corpus.make(tmp_path / "corpus", clips=1, others=1)
    job = corpus.planned(found, render.measured_rir(1), tmp_path / "dataset")
    wanted = plain.mixture(job.plans[0], {source.source_id: source for source in found.sources})
    for seek in (False, True):
        out = str(tmp_path / f"{seek}.parquet")
        plain.generate([wanted], out, "PCM_24", seek=seek)
        (row,) = pd.read_parquet(out).to_dict("records")
        x, rate = sf.read(io.BytesIO(row["mixture"]))
        assert (x.size, rate) == (wanted.frames, corpus.RATE)
        speech, noise = sf.read(io.BytesIO(row["mixture"]))[0], plain._noise(wanted, seek)
        assert abs(np.corrcoef(speech, noise)[0, 1]) > 0.01  # the noise is in it, and in step


def test_contenders_take_turns() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = measure.interleaved(runs, 3)
    assert "".join(order) == "ababbaab"  # the first pair is the warm-up
    assert {name: len(found) for name, found in seconds.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_that_of_the_medians() -> None:
    entry = measure.compared([1.0, 2.0, 30.0], [8.0, 8.0, 80.0], peer_name="peer", items=2)
    assert (entry["ours_ms"], entry["peer_ms"], entry["ratio"]) == (1000, 4000, 4)
    assert entry["ours_ms_range"] == [500, 15000]


def test_stages_leave_the_functions_as_they_were() -> None:
    before = json.dumps
    spent = measure.stages_ms(lambda: json.dumps([1]), {"dump": [(json, "dumps")]}, items=1)
    assert json.dumps is before
    assert set(spent) == {"dump", "rest"}


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"ours_ms": 1.0, "peer_ms": 2.0, "peer": "peer", "ratio": 2.0}
    made = {"benchmark": "score", "machine": {}, "corpus": {"name": "demo"}, "results": {"naive_loop": entry}}
    monkeypatch.setattr(command, "report", lambda name, rounds, quick: made)
    command.main(["score", "--json", "--quick"])
    assert json.loads(capsys.readouterr().out) == made
    command.main(["score"])
    assert "naive_loop" in capsys.readouterr().out


def test_all_writes_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"corpus": {"name": "demo"}, "results": {}}
    monkeypatch.setattr(command, "report", lambda name, rounds, quick: {"benchmark": name, **made})
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    command.main(["all"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.json" for name in sorted(command.NAMES)]


def test_one_benchmark_writes_its_results_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"benchmark": "stoi", "corpus": {"name": "demo"}, "results": {}}
    monkeypatch.setattr(command, "report", lambda name, rounds, quick: made)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    command.main(["stoi"])
    assert not (tmp_path / "results").exists()
    command.main(["stoi", "--write"])
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["stoi.json"]


def test_the_table_has_a_row_for_each_thing_said() -> None:
    results = {
        name: json.loads((command.RESULTS / f"{name}.json").read_text()) for name in {name for name, _ in readme.SAID}
    }
    table = readme.section(results)
    for (name, key), said in readme.SAID.items():
        ratio = results[name]["results"][key]["ratio"]
        assert any(line.startswith(f"| {said} |") and line.endswith(f" {ratio:.3g} |") for line in table.splitlines())


def test_the_table_names_every_machine() -> None:
    machine = {"processor": "A", "cpus": 2, "system": "Linux", "python": "3.11"}
    entry = {"ours_ms": 1.0, "peer_ms": 2.0, "ratio": 2.0}
    keys = {name: [key for n, key in readme.SAID if n == name] for name, _ in readme.SAID}
    results = {
        name: {"machine": machine, "corpus": {"name": "demo"}, "results": dict.fromkeys(found, entry)}
        for name, found in keys.items()
    }
    assert "Machine: A, 2 cores, Linux, Python 3.11. Audio" in readme.section(results)
    results["sdr"]["machine"] = machine | {"processor": "B"}
    table = readme.section(results)
    assert "A, 2 cores, Linux, Python 3.11 (rooms, render, stoi, score, engine); B, 2 cores" in table
    assert "Python 3.11 (sdr). Audio" in table
