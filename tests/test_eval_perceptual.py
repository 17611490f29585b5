"""eval.perceptual: published values, and every way PESQ fails turned into the right status."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import perceptual
from eval.catalogue import METRICS
from eval.outcome import Outcome, fault
from eval.perceptual import pesq_in_pieces, pesq_risk, pesq_score

Signal = NDArray[np.float64]

RATE = 16000
PESQ_MOS = 1e-4  # linux-x86_64; the C code is float32


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


# values


def gated(x: Signal, begin_s: float, end_s: float) -> Signal:
    out = x.copy()
    out[round(begin_s * RATE) : round(end_s * RATE)] = 0.0
    return out


def as_the_library(s: Signal, e: Signal, mode: str, rate: int = RATE) -> float:
    import pesq as library

    return float(library.pesq(rate, s, e, mode))


@pytest.mark.parametrize("mode", ["wb", "nb"])
@pytest.mark.parametrize("kind", ["plain", "reference gated", "both gated", "gap", "half unheard", "soft"])
def test_values_are_those_of_the_library_to_the_bit(kind: str, mode: str) -> None:
    s = bursts(seconds=6.0)
    e = s + 0.02 * np.random.default_rng(1).standard_normal(len(s))
    if kind == "reference gated":
        s = gated(s, 1.0, 2.5)
    elif kind == "both gated":
        s, e = gated(s, 1.0, 2.5), gated(e, 1.0, 2.5)
    elif kind == "gap":
        e = gated(e, 2.0, 2.05)
    elif kind == "half unheard":
        e = gated(s, 0.0, 3.0)
    elif kind == "soft":
        e = e * 1e-5
    assert pesq(s, e, mode).value == as_the_library(s, e, mode)


def test_utterances_that_meet_silence_are_left_to_subnormal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real speech whose first half is not heard: PESQ aligns what its filters leave of the silence."""
    root = fixture("pesq_ludlows").parents[1] / "speech" / "libri_5104" / "5104-33406-0000.flac"
    s, _ = read(root)
    s = s[: 9 * RATE]
    e = np.concatenate([np.zeros(len(s) // 2), s[len(s) // 2 :]])
    library = as_the_library(s, e, "wb")
    assert pesq(s, e).value == library
    monkeypatch.setattr(perceptual, "_is_heard", lambda *_: True)
    value = pesq(s, e).value
    assert value is not None
    assert abs(value - library) > 1e-3  # so that the rule is not for nothing


def test_what_counts_as_heard() -> None:
    s = bursts()
    noisy = s + 0.01 * np.random.default_rng(1).standard_normal(len(s))

    def heard(s: Signal, e: Signal) -> bool:
        return perceptual._is_heard(s, e, RATE)

    assert heard(s, noisy)
    assert heard(noisy, gated(noisy, 0.5, 0.59))
    assert not heard(noisy, gated(noisy, 0.5, 0.72))
    assert heard(gated(noisy, 0.5, 0.72), gated(noisy, 0.5, 0.72))
    assert heard(gated(noisy, 0.5, 0.72), noisy)
    assert not heard(noisy, 1e-12 * noisy)
    assert not heard(1e-12 * noisy, noisy)
    assert heard(1e-9 * noisy, noisy)
    assert not heard(noisy[:50], noisy[:50])


def test_published_values_of_the_pesq_package() -> None:
    folder = fixture("pesq_ludlows")
    s, rate = read(folder / "speech.wav")
    e, _ = read(folder / "speech_bab_0dB.wav")
    assert pesq(s, e, "wb", rate).value == pytest.approx(1.0832337141036987, abs=PESQ_MOS)
    assert pesq(s, e, "nb", rate).value == pytest.approx(1.6072081327438354, abs=PESQ_MOS)


def test_published_values_of_pysepm() -> None:
    folder = fixture("pysepm_matlab")
    for row in json.loads((folder / "expected.json").read_text())["pairs"]:
        s, rate = read(folder / row["reference"])
        e, _ = read(folder / row["degraded"])
        assert pesq(s, e, "wb", rate).value == pytest.approx(row["scores"]["PESQ_mos_lqo"], abs=PESQ_MOS)


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

    s, e = pair
    assert pesq(s, e) == Outcome(package_pesq(RATE, s, e, "wb"))


def test_a_perfect_estimate_reaches_the_ceiling(pair: tuple[Signal, Signal]) -> None:
    s, _ = pair
    assert pesq(s, s).value == pytest.approx(METRICS["pesq_wb"].ceiling, abs=1e-6)
    assert pesq(s, s, "nb").value == pytest.approx(METRICS["pesq_nb16"].ceiling, abs=1e-6)


@pytest.mark.parametrize("gain", [0.25, -1.0, 2.0])
def test_gain_and_polarity_do_not_matter(pair: tuple[Signal, Signal], gain: float) -> None:
    s, e = pair
    assert pesq(s, gain * e).value == pytest.approx(pesq(s, e).value, abs=1e-3)


def test_arguments_are_not_interchangeable(pair: tuple[Signal, Signal]) -> None:
    s, e = pair
    assert pesq(s, e).value != pytest.approx(pesq(e, s).value, abs=1e-3)
    with pytest.raises(TypeError):
        pesq_score(s, e, sample_rate=RATE, mode="wb")  # type: ignore[call-arg]


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
    found = perceptual._attempt(s, 0 * s, RATE, "wb", 1.0)
    assert found == Outcome(1.0, "floor", "undefined")


@pytest.mark.parametrize("mode", ["wb", "nb"])
def test_pesq_needs_a_quarter_of_a_second(mode: str) -> None:
    s = bursts(seconds=0.25)
    assert pesq(s, s, mode).status == "ok"
    assert pesq(s[1:], s[1:], mode) == Outcome(None, "excluded_ref", "too_short")


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


# in pieces


def long(seconds: float, seed: int = 0) -> Signal:
    """Speech-like, with a clear pause of 0.5 s every 3 s."""
    s = bursts(seed, seconds)
    t = np.arange(len(s)) / RATE
    return s * ((t % 3) < 2.5)


def test_pieces_are_8_to_18_s_and_cut_in_pauses() -> None:
    for seconds in (20.0, 25.0, 36.1, 61.0):
        s = long(seconds)
        found = list(perceptual.pieces(s, RATE))
        assert found[0][0] == 0
        assert found[-1][1] == len(s)
        for (begin, end), (following, _) in zip(found, [*found[1:], (len(s), 0)], strict=True):
            assert end == following
            assert 8 * RATE <= end - begin <= 18.05 * RATE
            if end < len(s):
                assert not s[end - RATE // 20 : end + RATE // 20].any()


def test_in_pieces_is_their_mean_by_duration() -> None:
    s = long(25.0)
    e = s + np.linspace(0.001, 0.05, len(s)) * np.random.default_rng(1).standard_normal(len(s))
    parts = [(pesq(s[a:b], e[a:b]).value, b - a) for a, b in perceptual.pieces(s, RATE)]
    assert len(parts) == 2
    expected = sum(value * weight for value, weight in parts if value is not None) / len(s)
    found = pesq_in_pieces(reference=s, estimate=e, sample_rate=RATE, mode="wb")
    assert found.value == pytest.approx(expected, abs=1e-9)


def test_below_twenty_seconds_pieces_are_the_whole(pair: tuple[Signal, Signal]) -> None:
    s, e = pair
    assert pesq_in_pieces(reference=s, estimate=e, sample_rate=RATE, mode="wb") == pesq(s, e)


def test_more_utterances_than_pesq_has_room_for_are_no_danger_in_pieces() -> None:
    s = np.tile(np.concatenate([bursts(seconds=0.25)[: RATE // 4], np.zeros(RATE // 4)]), 120)  # 60 s, 120 utterances
    e = s + 0.002 * np.random.default_rng(1).standard_normal(len(s))
    found = pesq_in_pieces(reference=s, estimate=e, sample_rate=RATE, mode="wb")
    assert found.status == "ok"
    assert found.value == pytest.approx(pesq(s[: 10 * RATE], e[: 10 * RATE]).value, abs=0.3)


def test_a_piece_without_speech_is_left_out_and_a_broken_one_costs_the_floor() -> None:
    s = long(40.0)
    e = s + 0.02 * np.random.default_rng(1).standard_normal(len(s))
    half = np.arange(len(s)) < 20 * RATE
    assert pesq_in_pieces(reference=half * s, estimate=e, sample_rate=RATE, mode="wb").status == "ok"
    gone = pesq_in_pieces(reference=s, estimate=half * e, sample_rate=RATE, mode="wb")
    whole = pesq_in_pieces(reference=s, estimate=e, sample_rate=RATE, mode="wb")
    assert gone.flags == ("floored_pieces",)
    assert gone.value is not None
    assert whole.value is not None
    assert METRICS["pesq_wb"].floor < gone.value < whole.value
    assert pesq_in_pieces(reference=s, estimate=0 * s, sample_rate=RATE, mode="wb").reason == "silent"


def test_bad_arguments_are_refused_by_name(pair: tuple[Signal, Signal]) -> None:
    s, e = pair
    for mode, rate in (("wb", 8000), ("wb", 48000), ("nb", 10000), ("raw", 16000)):
        with pytest.raises(ValueError, match=f"mode must be wb at 16000 Hz or nb .*, got {mode!r} at {rate} Hz"):
            pesq(s, e, mode, rate)
    with pytest.raises(ValueError, match="estimate must have the reference's shape"):
        pesq(s, e[1:])
    with pytest.raises(ValueError, match="reference must have shape"):
        pesq(s[None], e[None])
