"""eval.composite against values known on paper, MATLAB's published ones, a plain loop over frames, and properties."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import composite
from eval.outcome import EstimateFault, ReferenceFault, TooShort

Signal = NDArray[np.float64]

RATE = 16000
DISTANCES = ("llr", "llr_uncapped", "wss", "wss_cmgan", "cd")
BOUNDS = {"ssnr": (-10, 35), "llr": (0, 2), "llr_uncapped": (0, 50), "fwsegsnr": (-10, 35), "cd": (0, 10)}
MATLAB = 1e-9  # measured: 1e-13 without linear prediction, 2e-11 with it
PLAIN = 1e-8  # the plain loop solves for the predictor instead of Levinson's recursion


def coloured(seed: int, samples: int) -> Signal:
    """Noise with a spectrum that falls like speech's and a level that comes and goes."""
    from scipy.signal import lfilter

    noise = lfilter([0.05], [1, -0.9], np.random.default_rng(seed).standard_normal(samples))
    return np.asarray(noise * (0.55 + 0.45 * np.sin(np.arange(samples) / 900)))


def measures(s: Signal, e: Signal, rate: int = RATE) -> dict[str, float]:
    return composite.Reference.of(reference=s, sample_rate=rate).measures(e)


# Values known on paper


@pytest.mark.parametrize(("gain", "expected"), [(0.9, 20), (0.5, 6.0205999), (3.0, -6.0205999), (9, -10), (1, 35)])
def test_ssnr_of_a_gain(gain: float, expected: float) -> None:
    s = np.random.default_rng(0).standard_normal(4000)
    assert composite.ssnr(reference=s, estimate=gain * s, sample_rate=RATE) == pytest.approx(expected, abs=1e-6)


def test_a_perfect_estimate() -> None:
    s = coloured(0, 8000)
    found = measures(s, s)
    assert {name: found[name] for name in DISTANCES} == dict.fromkeys(DISTANCES, 0.0)
    assert found["ssnr"] == 35
    assert found["fwsegsnr"] == 35


def test_linear_prediction_of_first_order_processes() -> None:
    # lags p^k: polynomial 1 - p z^-1, error 1 - p^2, cepstrum p^k / k
    p, q = 0.9, -0.4
    lags = np.array([p ** np.arange(17), q ** np.arange(17)])
    polynomials = composite.predictors(lags)
    assert polynomials[:, :2] == pytest.approx(np.array([[1, -p], [1, -q]]), abs=1e-12)
    assert np.abs(polynomials[:, 2:]).max() < 1e-12
    assert composite.prediction_error(lags, polynomials) == pytest.approx([1 - p**2, 1 - q**2], abs=1e-12)
    swapped = composite.prediction_error(lags, np.ascontiguousarray(polynomials[::-1]))
    assert swapped == pytest.approx([1 + q**2 - 2 * p * q, 1 + p**2 - 2 * p * q], abs=1e-12)
    k = np.arange(1, 17)
    assert composite._cepstra(polynomials)[0] == pytest.approx(p**k / k, abs=1e-12)


def test_slope_weights_by_hand() -> None:
    weights = np.empty(4)
    composite._slope_weights(np.array([0.0, 10, 20, 5, 5]), weights)
    # highest 20; peaks 10 and 10 (the band before the one that the rise reaches, as MATLAB has it), 20 and 20
    expected = [20 / 40 * 1 / 11, 20 / 30 * 1 / 1, 1.0, 20 / 35 * 1 / 16]
    assert weights == pytest.approx(expected, abs=1e-15)


def test_slope_distance_of_a_tilt() -> None:
    flat, tilt = np.zeros((2, 25)), np.outer([3.0, -2.0], np.arange(25.0))
    assert composite._slope_distances(flat, tilt) == pytest.approx([9, 4], abs=1e-12)


@pytest.mark.parametrize(("frames", "kept"), [(1, 1), (10, 10), (20, 19), (30, 29), (100, 95)])
def test_the_share_that_is_kept_rounds_half_up(frames: int, kept: int) -> None:
    assert composite._lowest(np.arange(float(frames))) == (kept - 1) / 2


def test_composites_by_hand() -> None:
    found = composite.composites(pesq_wb=2.0, llr=0.5, wss=30.0, ssnr=5.0)
    assert found == pytest.approx((3.093 - 0.5145 + 1.206 - 0.27, 1.634 + 0.956 - 0.21 + 0.315, 1.594 + 1.61 - 0.466))
    assert found.cbak == found[1]
    assert composite.composites(pesq_wb=1.0, llr=9.0, wss=900.0, ssnr=-10.0) == (1, 1, 1)
    assert composite.composites(pesq_wb=4.64, llr=0.0, wss=0.0, ssnr=35.0) == (5, 5, 5)


# Published values


def fixture(folder: Path, *parts: str) -> Path:
    path = folder.joinpath("metric_fixtures", *parts)
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


@pytest.mark.parametrize(
    ("pair", "cmgan"), [(0, (2.18075, 1.97411, 1.65435)), (1, (1.31450, 1.84922, 1.16647))], ids=["noisy", "processed"]
)
def test_matlab(corpus: Path, pair: int, cmgan: tuple[float, float, float]) -> None:
    import soundfile

    published: Any = json.loads(fixture(corpus, "pysepm_matlab", "expected.json").read_text())["pairs"][pair]
    scores = published["scores"]
    s, rate = soundfile.read(fixture(corpus, "pysepm_matlab", published["reference"]))
    e, _ = soundfile.read(fixture(corpus, "pysepm_matlab", published["degraded"]))
    found = measures(s, e, rate)
    columns = {"ssnr": "SNRseg", "llr": "LLR", "wss": "WSS", "fwsegsnr": "fwSNRseg", "cd": "cepstrum_distance"}
    for name, column in columns.items():
        assert found[name] == pytest.approx(scores[column], abs=MATLAB), name
    shared = {"pesq_wb": scores["PESQ_mos_lqo"], "llr": found["llr_uncapped"], "ssnr": found["ssnr"]}
    classical = composite.composites(wss=found["wss"], **shared)
    assert classical == pytest.approx((scores["Csig"], scores["Cbak"], scores["Covl"]), abs=MATLAB)
    assert composite.composites(wss=found["wss_cmgan"], **shared) == pytest.approx(cmgan, abs=5e-6)


@pytest.mark.parametrize(
    ("estimate", "cmgan", "classical"),
    [
        ("noisy", (1.922, 1.736, 1.550), (1.705, 1.566, 1.381)),
        ("mpsenet", (3.529, 2.830, 2.856), (3.347, 2.689, 2.714)),
    ],
)
def test_both_dialects_on_voicebank(
    corpus: Path, estimate: str, cmgan: tuple[float, ...], classical: tuple[float, ...]
) -> None:
    import soundfile
    from pesq import pesq

    s, rate = soundfile.read(fixture(corpus, "enhancement_pairs", "p232_010_clean.flac"))
    e, _ = soundfile.read(fixture(corpus, "enhancement_pairs", f"p232_010_{estimate}.flac"))
    s, e = s[: len(e)], e[: len(s)]
    found = measures(s, e, rate)
    shared = {"pesq_wb": float(pesq(rate, s, e, "wb")), "llr": found["llr_uncapped"], "ssnr": found["ssnr"]}
    assert composite.composites(wss=found["wss_cmgan"], **shared) == pytest.approx(cmgan, abs=6e-4)
    assert composite.composites(wss=found["wss"], **shared) == pytest.approx(classical, abs=6e-4)


# A plain loop over frames


def plain(s: Signal, e: Signal, rate: int) -> dict[str, float]:
    """The definitions, one frame and one band at a time."""
    eps = np.finfo(float).eps
    length, order = round(0.03 * rate), 10 if rate < 10000 else 16
    hop = length // 4
    window = np.hanning(length + 2)[1:-1]
    size = 2 ** math.ceil(math.log2(2 * length))
    rows: dict[str, list[float]] = {name: [] for name in composite.NAMES}
    for start in range(0, len(s) - length - hop + 1, hop):
        x, y = (window * (signal[start : start + length] + eps) for signal in (s, e))
        rows["ssnr"].append(np.clip(10 * np.log10(np.sum(x**2) / (np.sum((x - y) ** 2) + eps) + eps), -10, 35))
        (rx, ax), (_, ay) = plain_predictor(x, order), plain_predictor(y, order)
        ratio = math.log((ay @ rx @ ay) / (ax @ rx @ ax))
        rows["llr_uncapped"].append(ratio)
        rows["llr"].append(min(ratio, 2))
        spectra = [np.abs(np.fft.fft(frame, size))[: size // 2] for frame in (x, y)]
        rows["wss"].append(plain_slope_distance(*(plain_bands(p**2, rate) for p in spectra)))
        rows["wss_cmgan"].append(plain_slope_distance(*(plain_bands((p / 32768) ** 2, rate) for p in spectra)))
        bx, by = (plain_bands(p / p.sum(), rate) for p in spectra)
        snr = 10 * np.log10(bx**2 / np.maximum((bx - by) ** 2, eps))
        rows["fwsegsnr"].append(np.clip(np.sum(bx**0.2 * snr) / np.sum(bx**0.2), -10, 35))
        difference = plain_cepstrum(ax) - plain_cepstrum(ay)
        rows["cd"].append(min(10, 10 * math.sqrt(2 * np.sum(difference**2)) / math.log(10)))
    found = {}
    for name, values in rows.items():
        kept = sorted(values)[: math.floor(0.95 * len(values) + 0.5)] if name in DISTANCES else values
        found[name] = float(np.mean(kept))
    return found


def plain_predictor(x: Signal, order: int) -> tuple[Signal, Signal]:
    from scipy.linalg import toeplitz

    lags = np.array([x[: len(x) - k] @ x[k:] for k in range(order + 1)])
    return toeplitz(lags), np.concatenate([[1], np.linalg.solve(toeplitz(lags[:-1]), -lags[1:])])


def plain_cepstrum(a: Signal) -> Signal:
    """From the definition: log(1 / A) on a fine grid, transformed back, twice its even part."""
    return np.fft.ifft(-np.log(np.abs(np.fft.fft(a, 1 << 15)))).real[1 : len(a)] * 2


def plain_bands(spectrum: Signal, rate: int) -> Signal:
    return plain_bank(len(spectrum), rate) @ spectrum


@functools.cache
def plain_bank(bins: int, rate: int) -> Signal:
    rows = []
    for centre, width in zip(composite._CENTRE_HZ, composite._WIDTH_HZ, strict=True):
        middle, spread = (hz * 2 * bins / rate for hz in (centre, width))
        gain = np.exp(-11 * ((np.arange(bins) - math.floor(middle)) / spread) ** 2 + math.log(70 / width))
        rows.append(gain * (gain > math.exp(-30 / 4.606)))
    return np.array(rows)


def plain_slope_distance(power_x: Signal, power_y: Signal) -> float:
    slopes, weights = [], []
    for power in (power_x, power_y):
        level = 10 * np.log10(np.maximum(power, 1e-10))
        slope = np.diff(level)
        peaks = []
        for band in range(24):
            n = band
            if slope[band] > 0:
                while n < 24 and slope[n] > 0:
                    n += 1
                peaks.append(level[n - 1])
            else:
                while n >= 0 and slope[n] <= 0:
                    n -= 1
                peaks.append(level[n + 1])
        weights.append(20 / (20 + level.max() - level[:-1]) / (1 + np.array(peaks) - level[:-1]))
        slopes.append(slope)
    return float(np.average((slopes[0] - slopes[1]) ** 2, weights=weights[0] + weights[1]))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_plain_loop(rate: int) -> None:
    s = coloured(1, int(0.7 * rate))  # more frames than are transformed at a time
    e = 0.7 * s + 0.3 * coloured(2, len(s)) + 0.003 * np.random.default_rng(3).standard_normal(len(s))
    found = measures(s, e, rate)
    for name, value in plain(s, e, rate).items():
        assert found[name] == pytest.approx(value, rel=PLAIN, abs=PLAIN), name


def test_the_floor_of_wss_is_all_that_the_dialect_changes() -> None:
    s = coloured(1, 8000)
    e = s + 0.01 * coloured(2, 8000)
    found, loud = measures(s, e), measures(32768 * s, 32768 * e)
    assert found["wss_cmgan"] != pytest.approx(found["wss"], rel=1e-3)
    assert loud["wss_cmgan"] == pytest.approx(found["wss"], rel=1e-9)


def test_last_frame_is_dropped() -> None:
    s = coloured(1, 480 + 120 * 10)
    e = s.copy()
    e[480 + 120 * 9 :] = 0  # only the eleventh frame reaches this far
    assert measures(s, e) == measures(s, s)


# Properties


@given(snr_db=st.floats(-15, 30), step_db=st.floats(3, 10), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_more_noise_is_worse(snr_db: float, step_db: float, seed: int) -> None:
    # each measure is compared where it is not at its bound
    s, noise = coloured(seed, 8000), np.random.default_rng(seed).standard_normal(8000)
    noise *= np.sqrt(np.mean(s**2))
    better, worse = (measures(s, s + 10 ** (-level / 20) * noise) for level in (snr_db, snr_db - step_db))
    for name in ("ssnr", "fwsegsnr"):
        assert worse[name] < better[name] or better[name] == worse[name] == -10
    for name in ("llr_uncapped", "wss", "cd"):
        assert worse[name] > better[name]


@given(gain_db=st.floats(-20, 20))
@settings(max_examples=10)
def test_what_a_gain_changes(gain_db: float) -> None:
    s = coloured(1, 6000)
    e = s + 0.1 * coloured(2, 6000)
    before, after = measures(s, e), measures(s, 10 ** (gain_db / 20) * e)
    for name in ("llr", "llr_uncapped", "fwsegsnr", "cd", "wss"):
        assert after[name] == pytest.approx(before[name], rel=1e-7), name
    if abs(gain_db) > 1:
        assert abs(after["ssnr"] - before["ssnr"]) > 0.1


def hostile() -> dict[str, Signal]:
    s = coloured(5, 6000)
    zeros, half = np.zeros(6000), s.copy()
    half[2000:4500] = 0
    click = zeros.copy()
    click[3000] = 1
    return {
        "speech": s,
        "silence in parts": half,
        "one click": click,
        "offset": s + 0.5,
        "constant": zeros + 0.5,
        "silence": zeros,
        "minus eps": zeros - composite.EPS,  # silent even after MATLAB's eps
        "clipped": np.sign(s),
        "tone": np.sin(np.arange(6000) * 0.3),
        "huge": 1e90 * s,
        "tiny": 1e-200 * s,
        "16 bit": np.round(s * 32767) / 32768,
        "least significant bit": np.where(np.arange(6000) % 700 < 3, 2.0**-15, 0.0),
    }


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("reference", hostile())
def test_hostile_signals_have_finite_measures(reference: str, rate: int) -> None:
    half = composite.Reference.of(reference=hostile()[reference], sample_rate=rate)
    for name, estimate in hostile().items():
        for measure, value in half.measures(estimate).items():
            assert math.isfinite(value), (name, measure)
            if measure in BOUNDS:
                low, high = BOUNDS[measure]
                assert low - 1e-9 <= value <= high, (name, measure, value)


def test_silent_frames_of_both_are_equal() -> None:
    s = coloured(1, 16000)
    s[3000:9000] = 0
    found = measures(s, s)
    assert {name: found[name] for name in DISTANCES} == dict.fromkeys(DISTANCES, 0.0)
    inside = measures(s[3000:9000], s[3000:9000])
    assert inside["ssnr"] == -10  # 10 log10 of eps^2 / eps, as MATLAB has it
    assert inside["fwsegsnr"] == 35


def test_noise_where_the_reference_is_silent_is_worse_than_silence() -> None:
    s = coloured(1, 16000)
    s[2000:14000] = 0
    e = s + 1e-2 * np.random.default_rng(0).standard_normal(16000)
    kept = measures(s, s)
    for name in DISTANCES:
        assert measures(s, e)[name] > kept[name] + 0.1, name


def test_a_frame_that_predicts_itself_is_not_decided_by_rounding() -> None:
    # the prediction error of a constant under the window is far below rounding: MATLAB's can be negative here
    s = np.full(2000, 0.25)
    e = np.random.default_rng(0).standard_normal(2000)
    exact = measures(s, e)["llr_uncapped"]
    moved = measures(s * (1 + 1e-15), e)["llr_uncapped"]
    assert moved == pytest.approx(exact, abs=0.1)
    assert 20 < exact < 40 * math.log(2) + 1


# The two halves, and arguments


def test_names_are_what_is_computed() -> None:
    s, e = coloured(1, 6000), coloured(2, 6000)
    whole = measures(s, e)
    assert tuple(whole) == composite.NAMES
    for name in composite.NAMES:
        one = composite.Reference.of(reference=s, sample_rate=RATE, names=[name]).measures(e)
        assert one == {name: whole[name]}
    functions = (composite.ssnr, composite.llr, composite.wss, composite.fwsegsnr, composite.cd)
    for function in functions:
        assert function(reference=s, estimate=e, sample_rate=RATE) == whole[function.__name__]
    with pytest.raises(ValueError, match=r"names must be of ssnr, .*, got 'pesq'"):
        composite.Reference.of(reference=s, sample_rate=RATE, names=["pesq"])


def test_one_reference_serves_many_estimates() -> None:
    s = coloured(1, 6000)
    half = composite.Reference.of(reference=s, sample_rate=RATE)
    first = half.measures(coloured(2, 6000))
    half.measures(coloured(3, 6000))
    assert half.measures(coloured(2, 6000)) == first
    assert composite.Reference.of(reference=s.astype(np.float32), sample_rate=RATE).measures(s)["ssnr"] > 34


def test_two_frames_are_needed() -> None:
    s = coloured(1, 600)
    assert measures(s, s)["llr"] == 0
    with pytest.raises(TooShort, match="under_2_frames"):
        measures(s[:-1], s[:-1])


def test_refusals() -> None:
    s = coloured(1, 2000)
    with pytest.raises(EstimateFault, match="overflow"):
        measures(s, 1e200 * s)
    with pytest.raises(ReferenceFault, match="overflow"):
        measures(1e200 * s, s)
    with pytest.raises(ValueError, match=r"sample_rate must be at least 8000 Hz, got 7999"):
        measures(s, s, 7999)
    with pytest.raises(ValueError, match=r"estimate must have the reference's shape \(2000,\), got \(1999,\)"):
        measures(s, s[:-1])
    with pytest.raises(ValueError, match=r"reference must have shape \(samples,\)"):
        measures(s[None], s)
    with pytest.raises(ValueError, match="estimate must be finite"):
        measures(s, s * np.nan)


def test_global_random_state_is_left_alone() -> None:
    before = str(np.random.get_state())  # noqa: NPY002
    measures(coloured(1, 4000), coloured(2, 4000))
    assert str(np.random.get_state()) == before  # noqa: NPY002
