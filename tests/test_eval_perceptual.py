"""eval.perceptual: published values, and every way PESQ and STOI fail turned into the right status."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import perceptual
from eval.catalogue import METRICS
from eval.outcome import Outcome, fault
from eval.perceptual import pesq_risk, pesq_score, stoi_score

Signal = NDArray[np.float64]

RATE = 16000
PESQ_MOS = 1e-4  # linux-x86_64; the C code is float32
STOI = 1e-6


def fixture(folder: str) -> Path:
    root = os.environ.get("HUBBUB_CORPUS")
    if not root:
        pytest.skip("HUBBUB_CORPUS is not set")
    path = Path(root) / "metric_fixtures" / folder
    if not path.is_dir():
        pytest.skip(f"{path} does not exist")
    return path


def read(path: Path) -> tuple[Signal, int]:
    import soundfile

    signal, rate = soundfile.read(path)
    return signal, rate


def bursts(seed: int = 0, seconds: float = 2.0, rate: int = RATE) -> Signal:
    """Speech-like: low-passed noise in bursts of 0.25 s with pauses of 0.15 s."""
    samples = round(seconds * rate)
    noise = np.random.default_rng(seed).standard_normal(samples + 7)
    low = np.convolve(noise, np.hanning(8), mode="valid")[:samples]
    t = np.arange(samples) / rate
    return np.asarray(0.1 * low * ((t % 0.4) < 0.25))


@pytest.fixture(scope="module")
def pair() -> tuple[Signal, Signal]:
    s = bursts()
    return s, s + 0.02 * np.random.default_rng(1).standard_normal(len(s))


def pesq(s: Signal, e: Signal, mode: str = "wb", rate: int = RATE) -> Outcome:
    return pesq_score(reference=s, estimate=e, sample_rate=rate, mode=mode)


def stoi(s: Signal, e: Signal, extended: bool = False, rate: int = RATE) -> Outcome:
    return stoi_score(reference=s, estimate=e, sample_rate=rate, extended=extended)


# values


def test_published_values_of_the_pesq_package() -> None:
    folder = fixture("pesq_ludlows")
    s, rate = read(folder / "speech.wav")
    e, _ = read(folder / "speech_bab_0dB.wav")
    assert pesq(s, e, "wb", rate).value == pytest.approx(1.0832337141036987, abs=PESQ_MOS)
    assert pesq(s, e, "nb", rate).value == pytest.approx(1.6072081327438354, abs=PESQ_MOS)
    assert stoi(s, e, False, rate).value == pytest.approx(0.6739177895, abs=STOI)
    assert stoi(s, e, True, rate).value == pytest.approx(0.39044999, abs=1e-8)


def test_published_values_of_pysepm() -> None:
    folder = fixture("pysepm_matlab")
    for row in json.loads((folder / "expected.json").read_text())["pairs"]:
        s, rate = read(folder / row["reference"])
        e, _ = read(folder / row["degraded"])
        assert pesq(s, e, "wb", rate).value == pytest.approx(row["scores"]["PESQ_mos_lqo"], abs=PESQ_MOS)
        # the MATLAB code resamples differently; its own Python port is compared at 5e-3
        assert stoi(s, e, False, rate).value == pytest.approx(row["scores"]["STOI"], abs=5e-5)


def test_published_pesq_of_two_noises() -> None:
    # pb_bss, module_pesq.py
    np.random.seed(0)  # noqa: NPY002 - the published value names this generator
    s = np.random.randn(16000)  # noqa: NPY002
    e = s + np.random.randn(16000)  # noqa: NPY002
    assert pesq(s, e, "wb").value == pytest.approx(2.2297563552856445, abs=PESQ_MOS)
    assert pesq(s, e, "nb", 8000).value == pytest.approx(1.0334522724151611, abs=PESQ_MOS)
    assert pesq(s, e, "nb").value == pytest.approx(3.200247049331665, abs=PESQ_MOS)


def test_values_are_those_of_the_packages(pair: tuple[Signal, Signal]) -> None:
    from pesq import pesq as package_pesq
    from pystoi import stoi as package_stoi

    s, e = pair
    assert pesq(s, e) == Outcome(package_pesq(RATE, s, e, "wb"))
    assert stoi(s, e) == Outcome(float(package_stoi(s, e, RATE)))
    # ESTOI adds 1e-16 of noise, so the package does not agree with itself any better
    assert stoi(s, e, True).value == pytest.approx(package_stoi(s, e, RATE, extended=True), abs=1e-9)


def test_stoi_rate_signal_keeps_the_value(pair: tuple[Signal, Signal]) -> None:
    s, e = (perceptual.stoi_rate_signal(x, RATE) for x in pair)
    assert len(s) == 20000
    assert stoi(s, e, False, 10000) == stoi(*pair)
    assert stoi(s, e, True, 10000) == stoi(*pair, True)
    assert perceptual.stoi_rate_signal(s, 10000) is s


def test_a_perfect_estimate_reaches_the_ceiling(pair: tuple[Signal, Signal]) -> None:
    s, _ = pair
    assert pesq(s, s).value == pytest.approx(METRICS["pesq_wb"].ceiling, abs=1e-6)
    assert pesq(s, s, "nb").value == pytest.approx(METRICS["pesq_nb16"].ceiling, abs=1e-6)
    assert stoi(s, s).value == pytest.approx(1, abs=1e-9)
    assert stoi(s, s, True).value == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("gain", [0.25, -1.0, 2.0])
def test_gain_and_polarity_do_not_matter(pair: tuple[Signal, Signal], gain: float) -> None:
    s, e = pair
    assert pesq(s, gain * e).value == pytest.approx(pesq(s, e).value, abs=1e-3)
    assert stoi(s, gain * e).value == pytest.approx(stoi(s, e).value, abs=1e-6)
    assert stoi(s, gain * e, True).value == pytest.approx(stoi(s, e, True).value, abs=1e-6)


def test_arguments_are_not_interchangeable(pair: tuple[Signal, Signal]) -> None:
    s, e = pair
    assert pesq(s, e).value != pytest.approx(pesq(e, s).value, abs=1e-3)
    with pytest.raises(TypeError):
        pesq_score(s, e, sample_rate=RATE, mode="wb")  # type: ignore[call-arg]


# random state


def test_estoi_is_reproducible_and_leaves_the_global_generator_alone(pair: tuple[Signal, Signal]) -> None:
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    first = stoi(*pair, True)
    np.random.seed(7)  # noqa: NPY002
    second = stoi(*pair, True)
    assert first == second
    assert np.array_equal(np.random.random(3), expected)  # noqa: NPY002


def test_estoi_starts_from_a_fixed_seed(monkeypatch: pytest.MonkeyPatch, pair: Any) -> None:
    import pystoi

    monkeypatch.setattr(pystoi, "stoi", lambda *_, **__: np.random.random())  # noqa: NPY002
    drawn = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        drawn.append(stoi(pair[0], pair[1], True).value)
    assert drawn[0] == drawn[1]


def test_the_global_generator_survives_an_exception(monkeypatch: pytest.MonkeyPatch, pair: Any) -> None:
    import pystoi

    def failing(*_: Any, **__: Any) -> float:
        np.random.random()  # noqa: NPY002
        raise MemoryError

    monkeypatch.setattr(pystoi, "stoi", failing)
    np.random.seed(7)  # noqa: NPY002
    with pytest.raises(MemoryError):
        stoi(*pair)
    after = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    assert after == np.random.random()  # noqa: NPY002


# faults


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ([], "empty"),
        ([0.0, 0.0], "silent"),
        ([1e-8, -1e-8], "silent"),
        ([0.3, 0.3], "constant"),
        ([0.3], "constant"),
        ([0.3, np.nan], "nan"),
        ([np.nan, np.inf], "nan"),
        ([0.3, np.inf], "inf"),
        ([0.3, -np.inf], "inf"),
        ([0.3, 0.2], None),
        ([1e-6, -1e-6], None),
    ],
)
def test_fault(signal: list[float], expected: str | None) -> None:
    assert fault(np.array(signal)) == expected


ALL = [
    (lambda s, e: pesq(s, e, "wb"), "pesq_wb"),
    (lambda s, e: pesq(s, e, "nb"), "pesq_nb16"),
    (lambda s, e: stoi(s, e), "stoi"),
    (lambda s, e: stoi(s, e, True), "estoi"),
]
METRIC = pytest.mark.parametrize(("score", "name"), ALL, ids=[name for _, name in ALL])


@METRIC
@pytest.mark.parametrize(
    ("estimate", "reason"),
    [(0.0, "silent"), (0.3, "constant"), (np.nan, "nan"), (np.inf, "inf")],
    ids=["silent", "constant", "nan", "inf"],
)
def test_a_broken_estimate_costs_the_floor(score: Any, name: str, estimate: float, reason: str) -> None:
    s = bursts()
    assert score(s, np.full_like(s, estimate)) == Outcome(METRICS[name].floor, "floor", reason)


@METRIC
def test_a_broken_reference_is_excluded(score: Any, name: str) -> None:
    s = bursts()
    for broken, reason in ((0 * s, "silent"), (s * np.nan, "nan"), (0 * s + 1, "constant"), (s[:0], "empty")):
        assert score(broken, s[: len(broken)]) == Outcome(None, "excluded_ref", reason)


@pytest.mark.parametrize("mode", ["wb", "nb"])
def test_a_reference_without_utterances_is_excluded(mode: str) -> None:
    t = np.arange(2 * RATE)
    click = np.where((t > RATE) & (t < RATE + 320), np.sin(2 * np.pi * t / 16), 0.0)
    assert pesq(click, bursts(), mode) == Outcome(None, "excluded_ref", "no_utterances")


@pytest.mark.parametrize("mode", ["wb", "nb"])
def test_an_estimate_that_pesq_refuses_costs_the_floor(mode: str) -> None:
    s = bursts()
    e = np.array(s)
    e[5000] = 1e30  # after the joint peak normalisation nothing is left of the reference: its own fault it is not
    assert pesq(s, e, mode) == Outcome(METRICS[f"pesq_{mode}"].floor, "floor", "no_utterances")


def test_nan_from_pesq_is_a_floor(pair: tuple[Signal, Signal]) -> None:
    import pesq as package

    s, _ = pair
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="cannot convert float NaN to integer"):
        package.pesq(RATE, s, 0 * s, "wb")  # what the package does with silence
    found = perceptual._attempt(lambda x: perceptual._pesq(s, x, RATE, "wb"), s, 0 * s, 1.0)
    assert found == Outcome(1.0, "floor", "undefined")


@pytest.mark.parametrize("mode", ["wb", "nb"])
def test_pesq_needs_a_quarter_of_a_second(mode: str) -> None:
    s = bursts(seconds=0.25)
    assert pesq(s, s, mode).status == "ok"
    assert pesq(s[1:], s[1:], mode) == Outcome(None, "excluded_ref", "too_short")


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("rate", [8000, 10000, 16000, 44100])
def test_stoi_needs_thirty_frames(extended: bool, rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(rate)
    enough = int(np.floor(4096 * rate / 10000)) + 1
    assert stoi(noise[:enough], noise[:enough], extended, rate).status == "ok"
    short = noise[: enough - 1]
    assert stoi(short, short, extended, rate) == Outcome(None, "too_short", "under_30_frames")
    assert stoi(noise[:1].repeat(2) * [1, -1], noise[:2], extended, rate) == Outcome(
        None, "too_short", "under_30_frames"
    )


def test_stoi_counts_the_active_frames_of_the_reference() -> None:
    s = np.zeros(2 * RATE)
    s[RATE : RATE + 1000] = bursts(seconds=0.25)[:1000]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pystoi warns and returns 1e-5; neither may come through
        assert stoi(s, bursts()) == Outcome(None, "too_short", "under_30_frames")


@pytest.mark.parametrize("extended", [False, True])
def test_an_estimate_that_overflows_stoi_costs_the_floor(extended: bool) -> None:
    s = bursts()
    assert stoi(s, 1e200 * s, extended) == Outcome(0.0, "floor", "undefined")
    assert stoi(1e200 * s, s, extended).status in ("excluded_ref", "too_short")


def test_an_unexpected_exception_is_not_swallowed(monkeypatch: pytest.MonkeyPatch, pair: Any) -> None:
    import pesq as package

    def failing(*_: Any) -> float:
        raise ValueError("something else")

    monkeypatch.setattr(package, "pesq", failing)
    with pytest.raises(ValueError, match="something else"):
        pesq(*pair)


# risk and refusals


def test_pesq_risk_begins_at_twenty_seconds() -> None:
    assert not pesq_risk(np.zeros(20 * RATE - 1), RATE)
    assert pesq_risk(np.zeros(20 * RATE), RATE)
    assert pesq_risk(np.zeros((1, 20 * 8000)), 8000)


def test_bad_arguments_are_refused_by_name(pair: tuple[Signal, Signal]) -> None:
    s, e = pair
    for mode, rate in (("wb", 8000), ("wb", 48000), ("nb", 10000), ("raw", 16000)):
        with pytest.raises(ValueError, match=f"mode must be wb at 16000 Hz or nb .*, got {mode!r} at {rate} Hz"):
            pesq(s, e, mode, rate)
    with pytest.raises(ValueError, match="estimate must have the reference's shape"):
        pesq(s, e[1:])
    with pytest.raises(ValueError, match="reference must have shape"):
        stoi(s[None], e[None])
