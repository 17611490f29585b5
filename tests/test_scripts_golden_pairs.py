"""The golden pairs: the committed audio and values are the script's, and no value moves without a new number."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from eval.catalogue import CONFORMANCE, METRICS
from eval.outcome import Outcome
from pipelines import verify
from tests.conftest import DEMO
from tests.loading import load_script

script = load_script("make_golden_pairs")
EXPECTED: dict[str, Any] = json.loads((verify.FOLDER / "expected.json").read_text(encoding="utf-8"))
LSB = 1 / 2**15


@pytest.fixture(scope="module")
def made() -> list[Any]:
    pairs: list[Any] = script.pairs()
    return pairs


def test_committed_audio_is_what_the_script_makes(made: list[Any]) -> None:
    """To one step of 16 bits: a sine or a power may differ in its last bit between machines, and is then rounded."""
    for pair in made:
        for name, x in pair.audio.items():
            found, rate = sf.read(verify.FOLDER / f"{name}.flac")
            assert rate == pair.sample_rate
            np.testing.assert_allclose(found, x, rtol=0, atol=1.01 * LSB, err_msg=name)
            assert np.mean(found != x) < 1e-3, name


def test_every_committed_file_belongs_to_a_pair(made: list[Any]) -> None:
    names = {f"{name}.flac" for pair in made for name in pair.audio}
    assert {path.name for path in verify.FOLDER.iterdir()} == names | {"expected.json"}
    assert sum(path.stat().st_size for path in verify.FOLDER.iterdir()) < 600_000


def test_expected_says_what_the_script_says(made: list[Any]) -> None:
    said = [{key: value for key, value in pair.items() if key != "values"} for pair in EXPECTED["pairs"]]
    assert said == [script.entry(pair) for pair in made]
    assert EXPECTED["conformance"] == CONFORMANCE


def test_every_metric_of_signals_is_there(made: list[Any]) -> None:
    """A new metric in the catalogue needs golden values: run the script."""
    for pair, said in zip(made, EXPECTED["pairs"], strict=True):
        assert {m for values in said["values"].values() for m in values} == set(script.metrics_of(pair)), pair.name
    covered = {metric for _, _, metric in verify.flat(EXPECTED)}
    signals = {m.name for m in METRICS.values() if m.needs in ("reference", "estimate", "mixture", "sources")}
    assert covered == signals


def test_pairs_are_what_their_names_say(made: list[Any]) -> None:
    pairs = {pair.name: pair for pair in made}

    def snr_db(name: str) -> float:
        (s,), (e,) = pairs[name].references.values(), pairs[name].estimates.values()
        return float(10 * np.log10(np.sum(s**2) / np.sum((e - s) ** 2)))

    assert snr_db("noise_0db") == pytest.approx(0, abs=0.01)
    assert snr_db("noise_10db") == pytest.approx(10, abs=0.01)
    assert snr_db("narrow") == pytest.approx(5, abs=0.01)
    assert snr_db("enhanced") > snr_db("noise_0db")
    clipped = pairs["clipped"].estimates["a_clipped"]
    assert np.mean(np.abs(clipped) == np.abs(clipped).max()) == pytest.approx(0.1, abs=0.01)
    spectrum = np.abs(np.fft.rfft(pairs["low_pass"].estimates["b_low_pass"])) ** 2
    assert spectrum[len(spectrum) * 3 // 8 :].sum() < 1e-4 * spectrum.sum()  # from 3 kHz
    assert not pairs["gap"].references["b_gap"][:4000].any()
    assert not pairs["gap"].estimates["b_gap_noisy"][16000:20800].any()
    assert all(2 <= x.size / pair.sample_rate <= 4 for pair in made for x in pair.audio.values())


def test_speech_is_the_demo_corpus() -> None:
    x, _ = sf.read(DEMO / "speech" / "demo_ada" / "demo_ada_02.flac")
    np.testing.assert_array_equal(script.spoken("ada_02", 2.0), x[800 : 800 + 32000])


def test_the_gate_takes_noise_and_leaves_a_tone() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000) * (np.arange(32000) % 16000 < 4000)
    noise = 0.02 * np.random.default_rng(0).standard_normal(32000)
    out = script.gated(tone + noise)
    assert np.sum(out[6000:15000] ** 2) < 0.3 * np.sum(noise[6000:15000] ** 2)
    np.testing.assert_allclose(out[1000:3000], tone[1000:3000], atol=0.15)


def value(said: dict[str, Any], metric: str) -> Any:
    return said["pairs"][0]["values"]["a_noise_0db"][metric]


def moved(metric: str, by: float, conformance: int = CONFORMANCE) -> dict[str, Any]:
    other = copy.deepcopy(EXPECTED)
    other["conformance"] = conformance
    other["pairs"][0]["values"]["a_noise_0db"][metric] += by
    return other


def test_a_value_that_moves_needs_a_new_number() -> None:
    with pytest.raises(SystemExit, match=r"noise_0db a_noise_0db snr: was .*\n.*raise eval.catalogue.CONFORMANCE"):
        script.reconciled(EXPECTED, moved("snr", 1e-8))
    with pytest.raises(SystemExit, match="pesq_wb"):
        script.reconciled(EXPECTED, moved("pesq_wb", 1e-2))
    found = script.reconciled(EXPECTED, moved("snr", 1e-8, CONFORMANCE + 1))
    assert value(found, "snr") == value(EXPECTED, "snr") + 1e-8


def test_a_value_that_does_not_move_keeps_every_digit() -> None:
    assert script.reconciled(EXPECTED, copy.deepcopy(EXPECTED)) == EXPECTED
    assert script.reconciled(EXPECTED, moved("snr", 1e-10)) == EXPECTED
    assert script.reconciled(EXPECTED, moved("pesq_wb", 1e-5)) == EXPECTED


def test_a_new_metric_or_pair_needs_none() -> None:
    old = copy.deepcopy(EXPECTED)
    del old["pairs"][0]["values"]["a_noise_0db"]["snr"]
    del old["pairs"][1]
    assert script.reconciled(old, copy.deepcopy(EXPECTED)) == EXPECTED


@pytest.mark.parametrize("status", ["error", "skipped", "crashed", "timeout"])
def test_what_could_not_be_computed_is_no_golden(status: str) -> None:
    with pytest.raises(SystemExit, match=f"snr of noise: {status} \\(why\\)"):
        script.told(Outcome(None, status, "why"), "snr of noise")
    assert script.told(Outcome(None, "excluded_ref", "bandwidth"), "x") == "excluded_ref: bandwidth"
    assert script.told(Outcome(1.5), "x") == 1.5


def test_a_run_writes_audio_and_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[Any]) -> None:
    pair = next(pair for pair in made if pair.name == "narrow")
    monkeypatch.setattr(script, "pairs", lambda: [pair])
    monkeypatch.setattr(script, "metrics_of", lambda pair: ["snr", "pesq_wb"])
    script.write(tmp_path)
    said = json.loads((tmp_path / "expected.json").read_text())
    values = said["pairs"][0]["values"]["narrow_noise_5db"]
    assert values["snr"] == pytest.approx(5, abs=0.01)
    assert values["pesq_wb"] == "excluded_ref: bandwidth"
    assert {path.name for path in tmp_path.iterdir()} == {"narrow.flac", "narrow_noise_5db.flac", "expected.json"}
    script.write(tmp_path)  # the same again is no change
    said["pairs"][0]["values"]["narrow_noise_5db"]["snr"] += 1
    (tmp_path / "expected.json").write_text(json.dumps(said))
    with pytest.raises(SystemExit, match="values have moved"):
        script.write(tmp_path)
