"""eval.score: the contract. One row per metric whatever comes in, published values out, never a NaN."""

import json
import math
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from scipy import signal

from eval import pairs, perceptual
from eval.catalogue import HEADLINE, METRICS
from eval.outcome import Outcome
from eval.score import Item, Output, PairScore, PlugIn, Speech, direct, score_pair
from manifests import schema

Signal = NDArray[np.float64]

RATE = 16000
PESQ = ("pesq_wb", "pesq_nb", "pesq_nb16", "pesq_wb_seg", "pesq_nb_seg")
COMPOSITES = tuple(f"{kind}_{dialect}" for dialect in ("loizou", "cmgan") for kind in ("csig", "cbak", "covl"))
SLOW = ("mcd", "mcd_dtw", "f0_rmse", "f0_rmse_log", "f0_rmse_all", "f0_corr", "fpc", "vuv_f1", "srmr")
EVERY = tuple(n for n in pairs.FUNCTIONS if METRICS[n].needs == "reference" and n not in SLOW)
STATUSES = {"ok", "ok_len", "floor", "excluded_ref", "too_short", "crashed", "timeout", "missing", "error", "skipped"}
WITH_VALUE = {"ok", "ok_len", "floor"}
CHEAP = ("si_sdr", "snr", "sdr")


def speech(seed: int = 0, seconds: float = 1.2, rate: int = RATE) -> Signal:
    """Speech-like: low-passed noise in bursts of 0.25 s with pauses of 0.15 s."""
    samples = round(seconds * rate)
    noise = np.random.default_rng(seed).standard_normal(samples + 7)
    low = np.convolve(noise, np.hanning(8), mode="valid")[:samples]
    t = np.arange(samples) / rate
    return np.asarray(0.1 * low * ((t % 0.4) < 0.25))


S = speech()
E = S + 0.02 * np.random.default_rng(1).standard_normal(len(S))


def rows(reference: Any = S, estimate: Any = E, sample_rate: int = RATE, **options: Any) -> dict[str, PairScore]:
    metrics = options.pop("metrics", EVERY)
    found = score_pair(reference=reference, estimate=estimate, sample_rate=sample_rate, metrics=metrics, **options)
    assert [row.metric for row in found] == list(metrics)
    for row in found:
        assert row.status in STATUSES
        assert (row.value is not None) == (row.status in WITH_VALUE)
        if row.value is not None:
            least, most = METRICS[row.metric].bounds
            assert least <= row.value <= most
            assert isinstance(row.value, float)
        if row.status not in ("ok", "ok_len"):
            assert row.reason
    return {row.metric: row for row in found}


def only(found: dict[str, PairScore], attribute: str) -> Any:
    """The one value that all rows share."""
    (value,) = {getattr(row, attribute) for row in found.values()}
    return value


# published values


def fixture(folder: str) -> Path:
    root = os.environ.get("HUBBUB_CORPUS")
    if not root:
        pytest.skip("HUBBUB_CORPUS is not set")
    path = Path(root) / "metric_fixtures" / folder
    if not path.is_dir():
        pytest.skip(f"{path} does not exist")
    return path


def published(folder: str, reference: str, estimate: str) -> dict[str, PairScore]:
    import soundfile

    path = fixture(folder)
    s, rate = soundfile.read(path / reference)
    e, _ = soundfile.read(path / estimate)
    return rows(s, e, rate)


def test_published_values_of_the_pesq_package() -> None:
    found = published("pesq_ludlows", "speech.wav", "speech_bab_0dB.wav")
    assert found["pesq_wb"].value == pytest.approx(1.0832337141036987, abs=1e-4)
    assert found["pesq_nb16"].value == pytest.approx(1.6072081327438354, abs=1e-4)
    assert found["pesq_nb"].value == pytest.approx(1.66567, abs=1e-3)  # resampled; the resampler moves it by 3e-4
    assert found["stoi"].value == pytest.approx(0.6739177895, abs=1e-9)
    assert found["estoi"].value == pytest.approx(0.39044999, abs=1e-8)
    assert found["sdr"].value == pytest.approx(0.2211, abs=5e-5)
    assert found["si_sdr"].value == pytest.approx(0.1396, abs=5e-5)
    assert found["snr"].value == pytest.approx(0.0135, abs=5e-5)
    assert only(found, "status") == "ok"


@pytest.mark.parametrize("index", [0, 1])
def test_published_values_of_speechscore(index: int) -> None:
    row = json.loads((fixture("speechscore") / "expected.json").read_text())["pairs"][index]
    found = published("speechscore", row["reference"], row["degraded"])
    expected = row["scores"]
    assert found["pesq_wb"].value == pytest.approx(expected["PESQ"], abs=1e-4)
    assert found["pesq_nb16"].value == pytest.approx(expected["NB_PESQ"], abs=1e-4)
    assert found["stoi"].value == pytest.approx(expected["STOI"], abs=1e-9)
    assert found["si_sdr"].value == pytest.approx(expected["SISDR"], abs=1e-9)
    # its BSSEval is that of images: for one source the SDR of images is our SNR, and their SAR is our SDR
    assert found["snr"].value == pytest.approx(expected["BSSEval"]["SDR"], abs=1e-9)
    assert found["sdr"].value == pytest.approx(expected["BSSEval"]["SAR"], abs=1e-9)


@pytest.mark.parametrize("index", [0, 1])
def test_published_values_of_pysepm(index: int) -> None:
    row = json.loads((fixture("pysepm_matlab") / "expected.json").read_text())["pairs"][index]
    found = published("pysepm_matlab", row["reference"], row["degraded"])
    assert found["pesq_wb"].value == pytest.approx(row["scores"]["PESQ_mos_lqo"], abs=1e-4)
    assert found["stoi"].value == pytest.approx(row["scores"]["STOI"], abs=5e-5)


def test_published_values_of_versa() -> None:
    found = published("versa_general", "ref_test1.wav", "gen_test2.wav")
    expected = json.loads((fixture("versa_general") / "expected.json").read_text())["scores"]
    assert found["pesq_wb"].value == pytest.approx(expected["pesq"], abs=1e-4)
    assert found["stoi"].value == pytest.approx(expected["stoi"], abs=1e-9)
    assert found["sdr"].value == pytest.approx(expected["sdr"], abs=1e-9)
    assert found["si_sdr"].value == pytest.approx(expected["si_snr"], abs=1e-5)  # theirs is float32


# the row


def test_a_row_says_how_it_was_made() -> None:
    found = rows()
    assert only(found, "status") == "ok"
    assert only(found, "reason") is None
    assert only(found, "length_delta") == 0
    assert only(found, "lag") == 0
    assert {n: r.sample_rate for n, r in found.items() if r.sample_rate != RATE} == {
        "pesq_nb": 8000,
        "pesq_nb_seg": 8000,
        "stoi": 10000,
        "estoi": 10000,
    }
    assert rows(speech(rate=8000), speech(1, rate=8000), 8000, metrics=("ssnr",))["ssnr"].sample_rate == 8000
    assert found["pesq_wb"].resampler is None
    assert found["pesq_nb"].resampler == "soxr_vhq"
    assert found["stoi"].resampler == "pystoi_octave"
    assert found["pesq_wb"].metric_version.startswith("1+pesq-")
    assert found["sdr"].metric_version == "1"
    assert all(row.flags == [] for row in found.values())


def test_a_row_builds_a_row_of_the_scores_table() -> None:
    for row in score_pair(reference=S, estimate=E, sample_rate=RATE, metrics=("snr",)):
        full = schema.Score(system_id="a", mixture_id="b", **vars(row))
        assert schema.to_table([full], schema.Score).num_rows == 1


def test_headline_is_the_default() -> None:
    assert [row.metric for row in score_pair(reference=S, estimate=None, sample_rate=RATE)] == list(HEADLINE)


def test_same_input_same_rows() -> None:
    assert rows() == rows()


def test_unprocessed_lies_between_silence_and_oracle() -> None:
    silence, noisy, oracle = rows(estimate=0 * S), rows(), rows(estimate=S)
    for name in EVERY:
        low, mid, high = (found[name].value for found in (silence, noisy, oracle))
        assert low is not None
        assert mid is not None
        assert high is not None
        assert low == METRICS[name].floor
        assert low <= mid <= high or low >= mid >= high
        assert low != high
        if name == "ssnr":  # a frame in which both are digitally silent counts -10 dB by definition
            assert high > mid
        else:
            assert high == pytest.approx(METRICS[name].ceiling, abs=1e-6)


# faults of the estimate: one row each, never NaN, never an exception

LATE = np.concatenate([np.zeros(40), E[:-40]])
ESTIMATES: dict[str, tuple[Any, str | None]] = {
    # estimate and, where every metric must agree, the status
    "as it should be": (E, "ok"),
    "silent": (0 * E, "floor"),
    "below one step of 24 bits": (1e-9 * E, "floor"),
    "all NaN": (np.nan * E, "floor"),
    "one NaN": (np.where(np.arange(len(E)) == 77, np.nan, E), "floor"),
    "one Inf": (np.where(np.arange(len(E)) == 77, np.inf, E), "floor"),
    "one -Inf": (np.where(np.arange(len(E)) == 77, -np.inf, E), "floor"),
    "constant": (0 * E + 0.25, "floor"),
    "empty": (E[:0], "floor"),
    "no channel": (np.zeros((0, 5)), "floor"),
    "missing": (None, "floor"),
    "1 sample": (E[:1], None),
    "0.2 s": (E[: RATE // 5], "ok_len"),
    "0.4 s": (E[: 2 * RATE // 5], "ok_len"),
    "1 sample longer": (np.append(E, 0.1), "ok"),
    "1 sample shorter": (E[:-1], "ok"),
    "20 ms shorter": (E[:-320], "ok"),
    "20 ms and 1 sample shorter": (E[:-321], "ok_len"),
    "10 % longer": (np.append(E, E[: len(E) // 10]), "ok_len"),
    "10 % shorter": (E[: -len(E) // 10], "ok_len"),
    "stereo": (np.stack([E, np.nan * E]), "ok"),
    "float32": (E.astype(np.float32), "ok"),
    "int16": (np.round(E * 2**15).astype(np.int16), "ok"),
    "late": (LATE, "ok"),
    "upside down": (-E, "ok"),
    "perfect": (S, "ok"),
    "loud": (1e30 * E, None),
    "one huge sample": (np.where(np.arange(len(E)) == 77, 1e300, E), None),
    "noise": (np.random.default_rng(5).standard_normal(len(E)), "ok"),
    "impulse": (np.eye(1, len(E), 5000)[0], None),
    "alternating": (np.resize([0.5, -0.5], len(E)), "ok"),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_faulty_estimates(name: str) -> None:
    estimate, status = ESTIMATES[name]
    found = rows(estimate=estimate)
    assert {row.status for row in found.values()} <= {"ok", "ok_len", "floor"}, "no estimate can exclude an item"
    if status:
        assert only(found, "status") == status
    if status == "floor":
        assert all(row.value == METRICS[metric].floor for metric, row in found.items())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("silent", "silent"),
        ("all NaN", "nan"),
        ("one NaN", "nan"),
        ("one Inf", "inf"),
        ("one -Inf", "inf"),
        ("constant", "constant"),
        ("empty", "empty"),
        ("no channel", "empty"),
        ("missing", "missing"),
    ],
)
def test_a_floor_has_its_reason(name: str, reason: str) -> None:
    assert only(rows(estimate=ESTIMATES[name][0]), "reason") == reason


def test_nan_beyond_the_end_is_still_a_broken_estimate() -> None:
    assert only(rows(estimate=np.append(E, np.nan), metrics=CHEAP), "reason") == "nan"


def test_sound_only_beyond_the_end_is_silence() -> None:
    assert only(rows(estimate=np.append(0 * E, E), metrics=CHEAP), "reason") == "silent"


def test_a_failed_system_is_not_looked_at() -> None:
    found = rows(estimate=E, estimate_status="failed", estimate_reason="timeout", metrics=CHEAP)
    assert only(found, "status") == "floor"
    assert only(found, "reason") == "timeout"
    assert only(rows(estimate=None, estimate_status="crashed", metrics=CHEAP), "reason") == "crashed"
    assert only(rows(estimate=None, estimate_reason="no file", metrics=CHEAP), "reason") == "no file"


def test_a_wrong_length_that_the_runner_mended_is_told() -> None:
    assert only(rows(estimate_status="ok_len", metrics=CHEAP), "status") == "ok_len"


def test_integers_are_scaled_to_full_scale() -> None:
    whole = np.round(E * 2**15)
    for dtype in (np.int16, np.int32):
        scaled = (whole * 2.0 ** (8 * dtype().itemsize - 16)).astype(dtype)
        exact = rows(estimate=whole / 2**15, metrics=CHEAP)
        assert rows(estimate=scaled, metrics=CHEAP) == exact


def test_a_floor_outranks_a_wrong_length() -> None:
    found = rows(estimate=np.zeros(100), metrics=CHEAP)
    assert only(found, "status") == "floor"
    assert only(found, "length_delta") == 100 - len(S)


# length, rate, lag, polarity


@pytest.mark.parametrize("delta", [-400, -1, 1, 400])
def test_length_delta_is_estimate_minus_reference(delta: int) -> None:
    estimate = E[:delta] if delta < 0 else np.append(E, np.zeros(delta))
    found = rows(estimate=estimate, metrics=CHEAP)
    assert only(found, "length_delta") == delta
    assert only(found, "status") == ("ok" if abs(delta) <= 320 else "ok_len")


def test_the_reference_is_law() -> None:
    longer, exact = rows(estimate=np.append(E, 9 * E)), rows()
    assert {n: r.value for n, r in longer.items()} == {n: r.value for n, r in exact.items()}
    cut, padded = rows(estimate=E[:-1000]), rows(estimate=np.append(E[:-1000], np.zeros(1000)))
    assert {n: r.value for n, r in cut.items()} == {n: r.value for n, r in padded.items()}


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_an_estimate_at_another_rate_is_brought_to_the_references(rate: int) -> None:
    found = rows(estimate=soxr.resample(E, RATE, rate, quality="VHQ"), estimate_rate=rate)
    assert only(found, "status") == "ok"
    assert abs(only(found, "length_delta")) <= 1
    assert only(found, "lag") == 0
    assert all(f"estimate_rate={rate}" in row.flags for row in found.values())
    assert found["snr"].resampler == "soxr_vhq"
    assert found["stoi"].resampler == "soxr_vhq+pystoi_octave"
    if rate > RATE:
        assert found["si_sdr"].value == pytest.approx(rows(metrics=CHEAP)["si_sdr"].value, abs=0.5)


def test_an_estimate_that_lies_about_its_rate_is_scored_and_told() -> None:
    found = rows(estimate=E, estimate_rate=8000)
    assert only(found, "status") == "ok_len"
    assert only(found, "length_delta") == len(E)


@pytest.mark.parametrize("lag", [-800, -37, 0, 1, 800])
@pytest.mark.parametrize("sign", [1, -1])
def test_lag_and_polarity(lag: int, sign: int) -> None:
    moved = np.zeros_like(E)
    moved[max(0, lag) : len(E) + min(0, lag)] = E[max(0, -lag) : len(E) - max(0, lag)]
    found = rows(estimate=sign * moved, metrics=CHEAP)
    assert only(found, "lag") == lag
    assert all(("polarity" in row.flags) == (sign < 0) for row in found.values())


def test_lag_of_a_long_signal_at_a_high_rate() -> None:
    s = np.random.default_rng(0).standard_normal(96000)
    assert only(rows(s, np.concatenate([np.zeros(2000), s[:-2000]]), 48000, metrics=("snr",)), "lag") == 2000


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_rates_of_the_reference(rate: int) -> None:
    s = speech(rate=rate)
    found = rows(s, s + 0.02 * np.random.default_rng(1).standard_normal(len(s)), rate)
    for name, row in found.items():
        narrow = rate < 16000 and name in ("pesq_wb", "pesq_wb_seg", "pesq_nb16", "lsd_lf", "lsd_hf", *COMPOSITES)
        assert (row.status, row.reason) == (("excluded_ref", "bandwidth") if narrow else ("ok", None))


def test_each_rate_is_resampled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    def counting(x: Signal, from_rate: int, to_rate: int, quality: str) -> Any:
        calls.append((from_rate, to_rate))
        assert quality == "VHQ"
        return original(x, from_rate, to_rate, quality=quality)

    original = soxr.resample
    monkeypatch.setattr(soxr, "resample", counting)
    s = speech(rate=48000)
    rows(s, 0.9 * s + 0.001, 48000)
    assert sorted(calls) == [(48000, 8000)] * 2 + [(48000, 16000)] * 2
    calls.clear()
    item = Item(references={"target": s}, sample_rate=48000, metrics=("pesq_wb", "llr"))
    for gain in (0.9, 0.8, 0.7):
        item.pair("target", Output(name="estimate", signal=gain * s))
    assert calls == [(48000, 16000)] * 4, "the reference once"


# clamping


def test_values_beyond_the_bounds_are_clamped_and_flagged() -> None:
    perfect = rows(estimate=S, metrics=CHEAP)
    assert {row.value for row in perfect.values()} == {80.0}
    assert all(row.flags == ["copy_of_reference", "clamped"] for row in perfect.values())
    inverse = rows(estimate=100 * E, metrics=CHEAP)
    assert (inverse["snr"].value, inverse["snr"].flags) == (-10.0, ["level", "clamped"])
    assert inverse["si_sdr"].flags == ["level"]


def test_rounding_is_not_called_clamping() -> None:
    # PESQ maps its score in float32: the best narrow-band score lies 2.5e-8 above the bound computed in float64
    found = rows(estimate=S, metrics=("pesq_wb", "pesq_nb", "pesq_nb16", "stoi", "estoi"))
    assert all(row.flags == ["copy_of_reference"] for row in found.values())


def test_orthogonal_estimate_is_minus_infinity_no_more() -> None:
    t = np.arange(RATE)
    found = rows(np.sin(2 * np.pi * t / 100), np.sin(2 * np.pi * t / 50), metrics=("si_sdr",))
    assert (found["si_sdr"].value, found["si_sdr"].status) == (-50.0, "ok")


def test_ill_conditioned_references_are_flagged() -> None:
    t = np.arange(RATE)
    tone = np.hanning(RATE) * np.sin(2 * np.pi * 440 / RATE * t)
    found = rows(tone, tone + 0.1 * np.random.default_rng(0).standard_normal(RATE), metrics=CHEAP)
    assert {name for name, row in found.items() if "ill_conditioned" in row.flags} == {"sdr"}


# faults of the reference


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (0 * S, "silent"),
        (np.nan * S, "nan"),
        (np.where(np.arange(len(S)) == 9, np.inf, S), "inf"),
        (0 * S + 0.5, "constant"),
        (S[:0], "empty"),
        (S[:1], "constant"),
        (S[: RATE // 5], "too_short"),
    ],
)
@pytest.mark.parametrize("estimate", ["as it should be", "silent", "missing", "all NaN"])
def test_an_unusable_reference_excludes_the_item_whatever_the_system_did(
    reference: Signal, reason: str, estimate: str
) -> None:
    found = rows(reference=reference, estimate=ESTIMATES[estimate][0])
    assert only(found, "status") == "excluded_ref"
    assert only(found, "reason") == reason


def test_a_reference_too_short_for_stoi_alone() -> None:
    found = rows(reference=S[: 2 * RATE // 5], estimate=E[: 2 * RATE // 5])
    assert {n for n, r in found.items() if (r.status, r.reason) == ("too_short", "under_30_frames")} == {
        "stoi",
        "estoi",
    }
    assert {r.status for n, r in found.items() if n not in ("stoi", "estoi")} == {"ok"}


def test_a_reference_that_only_pesq_and_stoi_refuse() -> None:
    t = np.arange(2 * RATE)
    click = np.where((t > RATE) & (t < RATE + 320), np.sin(2 * np.pi * t / 16), 0.0)
    found = rows(reference=click, estimate=speech(1, 2.0))
    assert {n for n, r in found.items() if r.reason == "no_utterances"} == {*PESQ, *COMPOSITES}
    assert {r.status for r in found.values()} == {"excluded_ref", "too_short", "ok"}


# the hook


def test_the_hook_sees_pesq_and_can_ship_it_elsewhere() -> None:
    seen = []

    def elsewhere(function: Any, **arguments: Any) -> Outcome:
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        seen.append((function, arguments.get("sample_rate"), arguments.get("mode")))
        return direct(function, **arguments)

    assert rows(call=elsewhere) == rows()
    whole, pieces = perceptual.pesq_score, perceptual.pesq_in_pieces
    assert seen == [
        (whole, 16000, "wb"),  # once, though six composites are made of it
        (whole, 8000, "nb"),
        (whole, 16000, "nb"),
        (pieces, 16000, "wb"),
        (pieces, 8000, "nb"),
    ]


@pytest.mark.parametrize("status", ["crashed", "timeout", "error"])
def test_the_hook_may_fail(status: str) -> None:
    def failing(function: Any, **arguments: Any) -> Outcome:
        if function is perceptual.pesq_score:
            return Outcome(None, status, "SIGSEGV")
        return direct(function, **arguments)

    found = rows(call=failing)
    for name, row in found.items():
        hit = name in ("pesq_wb", "pesq_nb", "pesq_nb16", *COMPOSITES)
        assert (row.status, row.reason) == ((status, "SIGSEGV") if hit else ("ok", None))


def test_an_unexpected_exception_costs_one_row_and_leaves_its_name() -> None:
    def failing(function: Any, **arguments: Any) -> Outcome:
        if function is perceptual.pesq_score:
            raise MemoryError("no memory")
        return direct(function, **arguments)

    found = rows(call=failing)
    hit = {"pesq_wb", "pesq_nb", "pesq_nb16", *COMPOSITES}
    assert {n for n, r in found.items() if (r.status, r.reason) == ("error", "MemoryError")} == hit


@pytest.mark.parametrize(
    ("value", "expected"),
    [(math.inf, METRICS["pesq_wb"].ceiling), (-math.inf, METRICS["pesq_wb"].floor), (math.nan, None), (None, None)],
)
def test_no_hook_can_smuggle_in_what_is_not_a_number(value: float | None, expected: float | None) -> None:
    row = rows(call=lambda function, **arguments: Outcome(value), metrics=("pesq_wb",))["pesq_wb"]
    assert (row.value, row.status) == (expected, "ok" if expected else "error")


def test_a_status_of_the_hooks_own_is_refused() -> None:
    with pytest.raises(ValueError, match="call must return a status of a score, got 'fine'"):
        rows(call=lambda function, **arguments: Outcome(1.0, "fine"), metrics=("pesq_wb",))


# refusals


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="metric must be one of"):
        rows(metrics=("pesq",))
    with pytest.raises(ValueError, match="sample_rate must be a positive number of Hz, got 0"):
        rows(sample_rate=0)
    with pytest.raises(ValueError, match="estimate_rate must be a positive number of Hz, got -1"):
        rows(estimate_rate=-1)
    with pytest.raises(ValueError, match="estimate_rate must be a positive number of Hz, got 0"):
        rows(estimate_rate=0)
    with pytest.raises(ValueError, match=r"reference must have shape \(channels, samples\), got \(1, 1, 3\)"):
        rows(reference=np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match="estimate must be float or signed integer, got complex128"):
        rows(estimate=E + 0j)
    with pytest.raises(TypeError):
        score_pair(S, E, sample_rate=RATE)  # type: ignore[call-arg]


# tricks: no trick lifts silence above the noisy input, and each leaves its mark

LOUD = 0.4 * np.abs(S).max()
NOISE = E - S
TRICKS: dict[str, tuple[Signal, set[str]]] = {
    "noisy copy": (E, {"copy_of_input"}),
    "half gain": (0.5 * E, {"copy_of_input", "level"}),
    "polarity flip": (-E, {"copy_of_input", "polarity"}),
    "low-passed": (signal.sosfiltfilt(signal.butter(8, 1000, fs=RATE, output="sos"), E), {"bandwidth"}),
    "2 ms late": (np.concatenate([np.zeros(32), E[:-32]]), {"delay"}),
    "offset": (E + 0.05, {"dc"}),
    "clipped": (np.clip(E, -LOUD, LOUD), {"clipped"}),
    "reference copy": (S, {"copy_of_reference"}),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_leaves_its_mark(name: str) -> None:
    estimate, marks = TRICKS[name]
    for row in rows(estimate=estimate, mixture=E, metrics=CHEAP).values():
        assert marks <= set(row.flags)


def test_silence_is_never_above_what_was_put_in() -> None:
    """Loud noise: the mixture is as bad as mixtures get."""
    for gain in (1.0, 30.0):
        noisy = S + gain * NOISE
        before, silence = rows(estimate=noisy, mixture=noisy), rows(estimate=0 * S, mixture=noisy)
        for metric in EVERY:
            better = 1 if METRICS[metric].better == "higher" else -1
            low, high = silence[metric].value, before[metric].value
            assert low is not None
            assert high is not None
            assert better * low <= better * high, metric


def test_ten_minutes_are_scored() -> None:
    s = np.tile(speech(3, 10.0), 60)
    e = s + 0.02 * np.random.default_rng(1).standard_normal(len(s))
    found = rows(s, e, metrics=("sdr", "si_sdr", "estoi", "llr", "ssnr", "cd_reverb", "lsd"))
    assert only(found, "status") == "ok"
    short = rows(s[: 10 * RATE], e[: 10 * RATE], metrics=("sdr", "llr", "ssnr"))
    for name, row in short.items():
        assert found[name].value == pytest.approx(row.value, rel=0.05)


# several sources

TALKERS = {f"target_{k}": speech(k, 1.2) for k in (1, 2)}
OTHERS = tuple(TALKERS.values())
SOURCES = ("si_sdr", "sdr", "sir", "sar", "si_sir", "si_sar", "sa_sdr", "missed_sources", "false_sources")


def near(seed: int, *signals: Signal) -> list[Output]:
    """Estimates of signals, under names that mean nothing."""
    rng = np.random.default_rng(seed)
    return [
        Output(name=f"out_{i}", signal=x + 0.01 * rng.standard_normal(x.size) + 0.1 * OTHERS[0])
        for i, x in enumerate(signals)
    ]


def several(outputs: Any, metrics: Any = SOURCES, references: Any = None, **options: Any) -> dict[tuple[str, str], Any]:
    item = Item(references=references or TALKERS, sample_rate=RATE, metrics=metrics)
    found = item.outputs(outputs, **({"against": "talkers"} | options))
    table = {(row.output, row.metric): row for row in found}
    assert len(table) == len(found)
    return table


def values(table: dict[tuple[str, str], Any]) -> dict[tuple[str, str], float]:
    return {key: row.value for key, row in table.items()}


def test_talkers_have_a_row_each_and_one_together() -> None:
    table = several(near(0, *OTHERS))
    assert set(table) == {(o, m) for o in TALKERS for m in SOURCES[:6]} | {("all", m) for m in SOURCES[6:]}
    assert {row.status for row in table.values()} == {"ok"}
    assert all(row.permutation == [0, 1] for row in table.values())
    assert all(row.reference == row.output for row in table.values())
    assert values(table)["all", "missed_sources"] == values(table)["all", "false_sources"] == 0


def test_the_order_of_outputs_changes_no_score() -> None:
    outputs = near(0, *OTHERS)
    there, back = several(outputs), several(outputs[::-1])
    assert values(there) == values(back)
    assert back["all", "sa_sdr"].permutation == [1, 0]


def test_ratios_of_sources_are_those_of_mir_eval() -> None:
    import mir_eval

    outputs = near(0, *OTHERS)
    with pytest.warns(FutureWarning):
        expected = mir_eval.separation.bss_eval_sources(
            np.stack(OTHERS), np.stack([np.asarray(o.signal) for o in outputs]), compute_permutation=False
        )
    found = values(several(outputs))
    for metric, row in zip(("sdr", "sir", "sar"), expected, strict=False):
        for name, value in zip(TALKERS, row, strict=True):
            assert found[name, metric] == pytest.approx(value, abs=1e-8)


def test_a_missed_talker_costs_the_floor_and_a_false_one_is_counted() -> None:
    one = several(near(0, OTHERS[1]))
    assert (one["target_1", "sir"].status, one["target_1", "sir"].reason) == ("floor", "missed")
    assert one["target_1", "si_sdr"].value == -50
    assert one["target_2", "si_sdr"].value > 10
    assert (one["all", "missed_sources"].value, one["all", "false_sources"].value) == (1, 0)
    assert one["all", "sa_sdr"].value < several(near(0, *OTHERS))["all", "sa_sdr"].value
    three = several([*near(0, *OTHERS), Output(name="x", signal=speech(7)), Output(name="y", signal=0 * S)])
    assert (three["all", "missed_sources"].value, three["all", "false_sources"].value) == (0, 1)
    assert three["target_1", "si_sdr"].value == several(near(0, *OTHERS))["target_1", "si_sdr"].value


def test_a_system_that_failed_pays_for_every_talker() -> None:
    for outputs, options in (([], {"status": "failed", "reason": "exception"}), (near(0), {})):
        table = several(outputs, **options)
        assert {row.status for key, row in table.items() if key[0] != "all"} == {"floor"}
        assert {row.reason for key, row in table.items() if key[0] != "all"} == {options.get("reason", "missed")}
    silent = several([Output(name="a", signal=0 * S), Output(name="b", signal=np.nan * S)])
    assert {row.status for key, row in silent.items() if key[1] in ("si_sdr", "sir", "sa_sdr")} == {"floor"}
    assert silent["all", "missed_sources"].value == 2


def test_a_silent_talker_excludes_its_own_rows_alone() -> None:
    table = several(near(0, OTHERS[0]), references={"target_1": OTHERS[0], "target_2": 0 * S})
    assert {table["target_2", m].status for m in SOURCES[:6]} == {"excluded_ref"}
    assert table["target_1", "si_sdr"].status == "ok"
    assert (table["target_1", "sir"].status, table["target_1", "sir"].reason) == ("excluded_ref", "one_source")
    assert table["all", "sa_sdr"].status == "ok"
    assert table["all", "missed_sources"].value == 0


def test_one_output_stands_for_every_talker() -> None:
    mixture = [Output(name="estimate", signal=OTHERS[0] + OTHERS[1])]
    table = several(mixture, broadcast=True)
    assert table["all", "missed_sources"].value == 0
    assert all(abs(table[name, "si_sdr"].value) < 3 for name in TALKERS)


def test_an_output_is_fitted_once_for_all_talkers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = soxr.resample
    monkeypatch.setattr(soxr, "resample", lambda x, *rates, **how: calls.append(x.size) or original(x, *rates, **how))
    outputs = [replace(o, signal=original(o.signal, RATE, 8000), sample_rate=8000) for o in near(0, *OTHERS)]
    assert values(several(outputs))["all", "missed_sources"] == 0
    assert len(calls) == len(outputs)


def test_stems_are_matched_by_name() -> None:
    references = {"target": S, "noise": 0.3 * speech(8)}
    outputs = [Output(name="noise", signal=references["noise"] + 0.01 * E), Output(name="target", signal=E)]
    table = several(outputs, references=references, against="stems")
    assert table["noise", "si_sdr"].value > 10
    assert table["target", "si_sdr"].value > 10
    assert table["target", "sir"].status == "ok"
    assert all(row.permutation == [] for row in table.values())
    alone = several(outputs[1:], references=references, against="stems")
    assert alone["noise", "si_sdr"].reason == "missed"


def test_without_sources_there_are_no_ratios_of_sources() -> None:
    found = several([Output(name="estimate", signal=E)], references={"target": S}, against="target")
    assert {found["estimate", m].status for m in ("sir", "sar", "si_sir")} == {"skipped"}
    assert ("estimate", "sa_sdr") not in found


def test_a_swap_in_the_middle_is_told_and_can_be_followed() -> None:
    long = {f"target_{k}": speech(k, 4.0) for k in (1, 2)}
    one, two = long.values()
    half = len(one) // 2
    outputs = [
        Output(name="a", signal=np.concatenate([one[:half], two[half:]])),
        Output(name="b", signal=np.concatenate([two[:half], one[half:]])),
    ]
    fixed = several(outputs, references=long, window_s=1.0)
    followed = several(outputs, references=long, window_s=1.0, follow=True)
    (flag,) = (flag for flag in fixed["target_1", "si_sdr"].flags if flag.startswith("swaps="))
    assert 0.3 < float(flag.removeprefix("swaps=")) < 0.7
    assert fixed["target_1", "si_sdr"].value < 5
    assert followed["target_1", "si_sdr"].value > 10


def test_framewise_ratios_of_stereo_stems() -> None:
    """Delays of the reference are allowed by ISR, its level is not."""
    rate, n = 44100, 2 * 44100
    rng = np.random.default_rng(0)
    references = {name: rng.standard_normal((2, n)) * 0.1 for name in ("vocals", "rest")}
    outputs = [
        Output(name=name, signal=x + 0.01 * rng.standard_normal((2, n)), sample_rate=rate)
        for name, x in references.items()
    ]
    item = Item(references=references, sample_rate=rate, metrics=("sdr_v4", "isr_v4", "sir_v4", "sar_v4"))
    table = {(row.output, row.metric): row for row in item.outputs(outputs, against="stems")}
    assert table["vocals", "sdr_v4"].value == pytest.approx(20, abs=0.1)
    assert table["vocals", "isr_v4"].value > 20
    assert {row.status for row in table.values()} == {"ok"}


# words


def recognise(*, signal: Signal, sample_rate: int) -> str:
    """Hears a word for every burst."""
    loud = np.abs(signal) > 0.02
    return "word " * int(np.sum(loud.reshape(-1, sample_rate // 20).any(axis=1)[::8]))


def spoken(output: Output, transcript: str | None = "word word word", **options: Any) -> dict[str, PairScore]:
    speech_of = Speech({"target": transcript}, "basic@1", stamp="basic@1", **options)
    item = Item(references={"target": S}, sample_rate=RATE, metrics=("wer", "cer", "wacc", "dwer"), speech=speech_of)
    return {row.metric: row for row in item.pair("target", output)}


def test_words_are_counted_and_can_be_pooled() -> None:
    found = spoken(Output(name="text", text="word bird"), recognise=recognise)
    assert found["wer"].value == pytest.approx(2 / 3)
    assert found["wacc"].value == pytest.approx(1 / 3)
    counts = dict(found["wer"].counts)
    assert (counts["errors"], counts["total"], counts["substitutions"], counts["deletions"]) == (2, 3, 1, 1)
    assert dict(found["wacc"].counts)["errors"] == 2
    assert "basic@1" in found["wer"].metric_version


def test_audio_is_heard_by_the_recogniser_and_dwer_is_against_what_it_hears_in_the_reference() -> None:
    found = spoken(Output(name="estimate", signal=S), transcript="word bird word", recognise=recognise)
    assert found["dwer"].value == 0
    assert found["wer"].value is not None
    assert found["wer"].value > 0


def test_more_words_than_there_are_is_an_error_rate_above_one() -> None:
    assert spoken(Output(name="text", text="a b c d e f g"), recognise=recognise)["wer"].value == pytest.approx(7 / 3)


def test_a_failed_estimate_has_lost_all_words_and_a_missing_transcript_excludes() -> None:
    silent = spoken(Output(name="estimate", signal=0 * S), recognise=recognise)
    assert (silent["wer"].status, silent["wer"].value, dict(silent["wer"].counts)["errors"]) == ("floor", 1.0, 3)
    assert (silent["wacc"].value, dict(silent["wacc"].counts)["errors"]) == (0.0, 3)
    unknown = spoken(Output(name="text", text="a"), transcript=None, recognise=recognise)
    assert (unknown["wer"].status, unknown["wer"].reason) == ("excluded_ref", "no_transcript")
    alone = spoken(Output(name="estimate", signal=E))
    assert {(row.status, row.reason) for row in alone.values()} == {("skipped", "no_recogniser")}


def test_a_text_has_no_sound() -> None:
    item = Item(references={"target": S}, sample_rate=RATE, metrics=CHEAP)
    found = item.pair("target", Output(name="text", text="word"))
    assert {(row.status, row.reason) for row in found} == {("skipped", "no_audio")}


# plug-ins


def test_a_plug_in_gets_what_it_asks_for() -> None:
    seen: dict[str, Any] = {}

    def loudness(**arguments: Any) -> float:
        seen.update(arguments)
        return 20.0

    metric = replace(METRICS["ssnr"], name="mine", sample_rate=8000, min_sample_rate=8000, needs="estimate")
    item = Item(
        references={"target": S}, sample_rate=RATE, metrics=("mine", "snr"), plug_ins=[PlugIn(metric, loudness)]
    )
    mine, snr = item.pair("target", Output(name="estimate", signal=E))
    assert (mine.value, mine.status, mine.resampler, snr.status) == (20.0, "ok", "soxr_vhq", "ok")
    assert seen.keys() == {"estimate", "sample_rate"}
    assert seen["estimate"].size == S.size // 2


def test_a_plug_in_that_raises_costs_its_own_row() -> None:
    def broken(**arguments: Any) -> float:
        raise RuntimeError("no weights")

    metric = replace(METRICS["ssnr"], name="mine")
    item = Item(references={"target": S}, sample_rate=RATE, metrics=("mine", "snr"), plug_ins=[PlugIn(metric, broken)])
    mine, snr = item.pair("target", Output(name="estimate", signal=E))
    assert (mine.status, mine.reason, snr.status) == ("error", "RuntimeError", "ok")


def test_what_is_skipped_says_why() -> None:
    item = Item(references={"target": S}, sample_rate=RATE, metrics=("mcd", "snr"), skipped={"mcd": "needs pyworld"})
    mcd, snr = item.pair("target", Output(name="estimate", signal=E))
    assert (mcd.value, mcd.status, mcd.reason, snr.status) == (None, "skipped", "needs pyworld", "ok")
