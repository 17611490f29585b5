"""`hubbub verify-metrics`: this machine computes the golden values and published ones, and says where it does not."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.catalogue import METRICS
from eval.outcome import Outcome
from pipelines import cli, published, verify
from pipelines.published import Number
from pipelines.verify import Check, NotReproduced, Report, Tolerance

SLOW = ("speechmos", "pyworld")
NETWORKS = ("dnsmos_p808",)
"""Of DNSMOS, a network costs up to 2 s for each pair: the command runs all, the suite one."""


def kept(pair: verify.Golden, *, packages_left_out: tuple[str, ...] = ()) -> verify.Golden:
    """The pair without metrics of some packages, and of DNSMOS only `NETWORKS`."""
    values = {
        output: {
            name: value
            for name, value in of.items()
            if METRICS[name].package not in packages_left_out and (METRICS[name].group != "dnsmos" or name in NETWORKS)
        }
        for output, of in pair.values.items()
    }
    return dataclasses.replace(pair, values=values)


@pytest.fixture(scope="module")
def golden() -> list[Check]:
    """The golden values, scored here."""
    return [check for pair in verify.goldens() for check in verify.checks_of(kept(pair))]


def check(**changed: Any) -> Check:
    made = {"source": "golden", "pair": "p", "metric": "snr", "expected": 2.0, "found": 2.0}
    return Check(**made | {"tolerance": Tolerance(0.1, "why")} | changed)


# The golden values


def test_this_machine_gives_the_golden_values(golden: list[Check]) -> None:
    off = [(c.pair, c.metric, c.expected, c.found, c.share) for c in golden if not c.ok]
    assert not off
    assert {c.skipped for c in golden} == {None}
    assert len(golden) > 350
    assert sum(isinstance(c.expected, float) for c in golden) > 300


def test_other_audio_is_seen_by_every_metric() -> None:
    """Noise 20 dB below the estimate."""
    pair = next(pair for pair in verify.goldens() if pair.name == "noise_10db")
    pair = kept(pair, packages_left_out=SLOW)
    ((name, e),) = pair.estimates.items()
    other = e + 0.1 * e.std() * np.random.default_rng(0).standard_normal(e.size)
    found = verify.checks_of(dataclasses.replace(pair, estimates={name: other}))
    assert not [c.metric for c in found if c.ok]
    assert len(found) > 30


def test_a_pair_of_talkers_is_assigned(golden: list[Check]) -> None:
    found = {(c.pair, c.metric): c.found for c in golden if c.pair.startswith("talkers/")}
    assert found["talkers/a", "sir"] > 10  # the estimates come in the other order
    assert found["talkers/all", "missed_sources"] == 0
    assert isinstance(found["talkers/all", "sa_sdr"], float)


def test_a_file_at_another_rate_is_refused(tmp_path: Path) -> None:
    said = json.loads((verify.FOLDER / "expected.json").read_text())["pairs"][0]
    with pytest.raises(ValueError, match=r"a.flac must have 8000 Hz, got 16000 \(golden pair noise_0db\)"):
        verify.Golden.of(said | {"sample_rate": 8000})


# Tolerances


def test_shares_known_on_paper() -> None:
    assert Tolerance(0.1, "").share(0.5, 0.55) == pytest.approx(0.5)
    assert Tolerance(0.1, "").share(20.0, 21.0) == pytest.approx(0.5)  # relative above 1
    assert Tolerance(0.1, "").share(-20.0, -24.0) == pytest.approx(2)
    assert check(found=2.2).share == pytest.approx(1)
    assert check(found=2.3).difference == pytest.approx(0.3)
    assert not check(found=2.3).ok
    assert check(expected="floor: silent", found="floor: silent").ok
    for one, other in (("floor: silent", 2.0), (2.0, "floor: silent"), ("floor: silent", "floor: nan"), (2.0, None)):
        assert check(expected=one, found=other).share == math.inf
        assert not check(expected=one, found=other).ok
    assert check(found=None, skipped="needs x").ok


def test_tolerances_by_what_computes_a_metric() -> None:
    def of(name: str, rate: int = 16000) -> Tolerance:
        return verify.tolerance_of(METRICS[name], rate)

    assert of("pesq_wb") == of("covl_cmgan") == verify.PESQ
    assert of("snr") == of("stoi") == of("ssnr") == of("stoi", 48000) == verify.OWN
    assert of("ssnr", 48000) == of("srmr", 44100) == verify.RESAMPLED
    assert of("ssnr", 8000) == verify.OWN
    assert of("sdr") == of("sir") == verify.SOLVED
    assert of("mcd") == verify.WORLD
    assert of("dnsmos_sig") == verify.NETWORK
    assert verify.same(METRICS["snr"], 16000, 1.0, 1.0 + 1e-10)
    assert not verify.same(METRICS["snr"], 16000, 1.0, 1.0 + 1e-8)
    assert not verify.same(METRICS["snr"], 16000, 1.0, "floor: nan")


# The report


def report(*golden: Check, **changed: Any) -> Report:
    made = Report(list(golden), expected_conformance=3, made_with={"numpy": "0.1"}, conformance=3)
    return dataclasses.replace(made, **changed)


def test_the_worst_is_counted_in_tolerances() -> None:
    near, far = check(found=2.1, metric="snr"), check(found=2.01, metric="sdr", tolerance=Tolerance(0.006, "z"))
    assert report(near, far).worst is far
    assert report(near, far).ok
    assert "largest deviation: 0.833 of its tolerance (sdr of p)" in verify.verdict(report(near, far))
    assert "golden pairs: 2 values within tolerance, 0 out of tolerance, 0 skipped" in verify.verdict(report(near, far))


@pytest.mark.parametrize(
    "bad",
    [
        report(check(found=2.3)),
        report(check(), conformance=4),
        report(check(), published=[check(source="them", found=0.0)]),
        report(check(found=None)),
    ],
)
def test_what_is_off_is_not_ok(bad: Report) -> None:
    assert not bad.ok
    assert "NOT REACHED" in verify.verdict(bad)
    assert report(check(), check(found=None, skipped="x")).ok


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    verify.show(
        report(
            check(found=2.05, pair="one"),
            check(found=2.3, pair="two"),
            check(metric="mcd", found=None, skipped="needs pyworld: pip install 'hubbub[pitch]'"),
            published=[check(source="them", pair="file", expected=1.25, found=1.26)],
            not_reproduced=[NotReproduced("them", "file", "SNR", "arguments swapped")],
        )
    )
    out = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert lines["snr"] == ["snr", "2", "0.3", "two", "0.1", "OFF"]  # the worst of the metric
    assert lines["mcd"][-1] == "skipped"
    assert "skipped: mcd: needs pyworld: pip install 'hubbub[pitch]'" in out
    assert ["them", "file", "snr", "1.25", "1.26", "0.01", "0.1", "ok"] in [line.split() for line in out.splitlines()]
    assert ["golden", "two", "snr", "2", "2.3", "0.3", "0.1", "OFF"] in [line.split() for line in out.splitlines()]
    assert "tolerance 0.1: why" in out
    assert "not reproduced: them, file: SNR: arguments swapped" in out
    assert "(golden values: 0.1)" in out  # another numpy than theirs
    assert "golden pairs: 1 values within tolerance, 1 out of tolerance, 1 skipped" in out
    assert "published: 1 values within tolerance, 0 out of tolerance, 0 skipped" in out
    assert out.splitlines()[-1] == "conformance 3: NOT REACHED"


def test_json_says_the_same() -> None:
    said = json.loads(json.dumps(report(check(found=2.05), check(expected=1.0, found="error: X")).as_dict()))
    assert not said["ok"]
    assert said["golden"][0]["difference"] == pytest.approx(0.05)
    assert said["golden"][0]["tolerance"] == {"limit": 0.1, "reason": "why"}
    assert said["golden"][1] | {"share": 0} == said["golden"][1] | {"share": 0, "ok": False, "found": "error: X"}
    assert said["worst"]["found"] == "error: X"
    assert (said["conformance"], said["expected_conformance"]) == (3, 3)
    assert set(said["versions"]) >= {"platform", "python", "numpy", "pesq", "speechmos"}


def cheap(monkeypatch: pytest.MonkeyPatch, change: float = 0.0) -> None:
    """Golden pairs with one metric."""

    def one(said: Any = None) -> list[verify.Golden]:
        pairs = [verify.Golden.of(entry) for entry in said["pairs"] if entry["against"] == "target"]
        return [
            dataclasses.replace(p, values={o: {"snr": of["snr"] + change} for o, of in p.values.items()}) for p in pairs
        ]

    monkeypatch.setattr(verify, "goldens", one)
    monkeypatch.delenv("HUBBUB_CORPUS", raising=False)


@pytest.mark.parametrize(("change", "code"), [(0.0, 0), (1e-6, 1)])
def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: float, code: int
) -> None:
    cheap(monkeypatch, change)
    assert cli.run(["verify-metrics"]) == code
    assert capsys.readouterr().out.splitlines()[-1] == f"conformance 1: {'NOT REACHED' if code else 'ok'}"
    assert cli.run(["verify-metrics", "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] == (code == 0)
    assert {row["metric"] for row in said["golden"]} == {"snr"}
    assert said["published"] == []


def test_another_conformance_number_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap(monkeypatch)
    found = verify.verify()
    assert found.ok
    assert not dataclasses.replace(found, expected_conformance=found.conformance + 1).ok


def test_what_is_not_installed_is_skipped_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = next(pair for pair in verify.goldens() if pair.name == "noise_10db")
    values = {output: {n: of[n] for n in ("snr", "mcd")} for output, of in pair.values.items()}
    monkeypatch.setattr(verify, "missing", lambda m: "needs it" if m.name == "mcd" else None)
    found = {c.metric: c for c in verify.checks_of(dataclasses.replace(pair, values=values))}
    assert (found["mcd"].found, found["mcd"].skipped, found["mcd"].ok) == (None, "needs it", True)
    assert found["snr"].skipped is None
    assert verify.stated(Outcome(None, "floor", "silent")) == "floor: silent"


# Published values


SLOWEST = {"mir_eval_bss", "enhancement_pairs"}


@pytest.fixture(scope="module")
def others(corpus: Path) -> tuple[list[Check], list[NotReproduced]]:
    """All sources but the two slow ones, of which a part is compared elsewhere, and one network of DNSMOS."""
    folder = corpus / "metric_fixtures"
    with pytest.MonkeyPatch.context() as patch:
        sources = {name: source for name, source in published.SOURCES.items() if name not in SLOWEST}
        patch.setattr(published, "SOURCES", sources)
        patch.setattr(
            published, "missing", lambda m: "slow" if m.group == "dnsmos" and m.name not in NETWORKS else None
        )
        return published.compared(folder)


def test_published_values_are_reproduced(others: tuple[list[Check], list[NotReproduced]]) -> None:
    checks, _ = others
    assert not [(c.source, c.pair, c.metric, c.expected, c.found) for c in checks if not c.ok]
    assert {c.source for c in checks} == {"ludlows/PESQ", "SpeechScore", "Loizou (MATLAB)", "VERSA", "fbai-speech"}
    assert len(checks) > 60
    assert sum(c.metric.startswith("dnsmos_p808") and not c.skipped for c in checks) == 3


def test_what_is_not_reproduced_has_its_reason(others: tuple[list[Check], list[NotReproduced]]) -> None:
    _, left = others
    said = {(entry.source, what): entry.reason for entry in left for what in entry.what.split(", ")}
    assert all(said.values())
    assert "swapped" in said["SpeechScore", "SSNR"]
    assert said["SpeechScore", "SRMR"]
    assert said["VERSA", "utmos"]


def test_every_published_number_is_compared_or_named(
    corpus: Path, others: tuple[list[Check], list[NotReproduced]]
) -> None:
    checks, left = others
    values = [c.expected for c in checks]
    named = {what for entry in left for what in entry.what.split(", ")}
    folder = corpus / "metric_fixtures"
    for said in json.loads((folder / "pysepm_matlab" / "expected.json").read_text())["pairs"]:
        for name, value in said["scores"].items():
            assert value in values or name in named or name == "pesq_mos_raw_unused", name
    for name, value in json.loads((folder / "versa_general" / "expected.json").read_text())["scores"].items():
        assert value in values or name in named, name


def test_separation_sets(corpus: Path) -> None:
    """The set with one source and the first with two, whole and by frames."""
    folder = corpus / "metric_fixtures" / "mir_eval_bss"
    found: list[Any] = []
    for number in ("01", "09"):
        said = json.loads((folder / f"output{number}.json").read_text())
        s, e = (published._stacked(folder / f"{side}{number}") for side in ("ref", "est"))
        found += published._sources(number, s, e, said["Sources"], "")
        found += published._sources(number, s, e, said["Framewise"], ", frames")
        found += published._images(number, s, e, said["Images"], "")
    assert all(c.ok for c in found)
    assert [c.metric for c in found if c.pair == "set 01"][:6] == [
        "sdr", "sir", "sar", "sdr, frames", "sir, frames", "sar, frames",
    ]  # fmt: skip
    assert not [c for c in found if c.pair == "set 09" and "sir" in c.metric]  # infinite


def test_large_images_are_named() -> None:
    x = np.zeros((4, 10))
    (left,) = published._images("07", x, x, {"nchan": 4}, "")
    assert "16 channels: left out for its cost" in left.reason


def test_an_absent_source_is_named(tmp_path: Path) -> None:
    checks, left = published.compared(tmp_path)
    assert checks == []
    assert {entry.source for entry in left} == set(published.SOURCES)
    assert all("does not exist" in entry.reason for entry in left)


def test_a_wrong_published_value_is_off(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "pesq_ludlows"
    numbers = [Number("snr", 0.0135, Tolerance(5e-5, "four decimals")), Number("snr", 0.5, Tolerance(5e-5, ""), "no")]
    right, wrong = published._plain("x", "y", folder / "speech.wav", folder / "speech_bab_0dB.wav", numbers)
    assert right.ok
    assert not wrong.ok
    assert wrong.metric == "snr (no)"


def test_a_value_beyond_the_bounds_is_named(corpus: Path) -> None:
    """PESQ of speech in noise at -5 dB, raw below -0.5: the package says 1.0421, and a row is clamped to 1.0427."""
    folder = corpus / "metric_fixtures" / "enhancement_pairs"
    value = next(
        said["pesq_wb"]
        for said in json.loads((folder / "reference_values.json").read_text())["pairs"]
        if said["degraded"] == "p257_018_noisy_-5dB.flac"
    )
    files = folder / "p257_018_clean.flac", folder / "p257_018_noisy_-5dB.flac"
    (named,) = published._plain("x", "y", *files, [Number("pesq_wb", value, verify.PESQ)])
    assert named == NotReproduced("x", "y", "pesq_wb = 1.04212", "beyond the metric's bounds: clamped to 1.04269")
    numbers = [Number("pesq_wb", 1.05, verify.PESQ), Number("snr", 200.0, published.EXACT)]
    for off in published._plain("x", "y", *files, numbers):  # one within, one beyond, but ours is not clamped
        assert isinstance(off, Check)
        assert not off.ok
