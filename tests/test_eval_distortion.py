"""eval.distortion against values known on paper, published values, mir_eval, and its own definitions."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import distortion, levinson
from eval.outcome import EstimateFault, ReferenceFault

Signal = NDArray[np.float64]

MIR_EVAL_DB = 1e-9  # both solve the same equations in float64
PUBLISHED_DB = 1e-9
REAL_MIR_EVAL_DB = 2e-8  # band-limited speech: mir_eval itself is up to 1e-8 dB from a QR solution there


def corpus(*parts: str) -> Path:
    root = os.environ.get("HUBBUB_CORPUS")
    if not root:
        pytest.skip("HUBBUB_CORPUS is not set")
    path = Path(root).joinpath("metric_fixtures", *parts)
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


def read(*parts: str) -> tuple[Signal, int]:
    import soundfile

    signal, rate = soundfile.read(corpus(*parts))
    return signal, rate


def mir_eval_sdr(reference: Signal, estimate: Signal) -> float:
    from mir_eval import separation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated in 0.8, gone in 0.9
        warnings.simplefilter("ignore", DeprecationWarning)
        return float(separation.bss_eval_sources(reference[None], estimate[None], False)[0][0])


def coloured(seed: int, samples: int, pole: float = 0.9) -> Signal:
    """Noise with a spectrum that falls like speech's."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], [1.0, -pole], np.random.default_rng(seed).standard_normal(samples)))


# SI-SDR and SNR


def test_published_si_sdr_of_two_independent_noises() -> None:
    # CHiME-7 UDASE, sisdr_metric.py
    np.random.seed(0)  # noqa: NPY002 - the published value names this generator
    s, e = np.random.randn(16000), np.random.randn(16000)  # noqa: NPY002
    assert distortion.si_sdr(reference=s, estimate=e) == pytest.approx(-48.1027283264049, abs=PUBLISHED_DB)


def test_published_si_sdr_of_pb_bss() -> None:
    # pb_bss, module_si_sdr.py
    np.random.seed(0)  # noqa: NPY002
    r = np.random.randn(100)  # noqa: NPY002
    flip = np.flip(r)
    expected = [-25.127672346460717, 0.481070445785553, 6.3704606032577304, 6.3704606032577304]
    found = [distortion.si_sdr(reference=r, estimate=e) for e in (flip, r + flip, r + 0.5, 2 * r + 1)]
    assert found == pytest.approx(expected, abs=PUBLISHED_DB)


def test_published_si_sdr_and_snr_of_torchmetrics() -> None:
    target, predicted = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
    assert distortion.si_sdr(reference=target, estimate=predicted) == pytest.approx(18.4030, abs=5e-5)
    assert distortion.snr(reference=target, estimate=predicted) == pytest.approx(16.1805, abs=5e-5)


def test_values_known_on_paper() -> None:
    s, n = np.array([1.0, 0, 0, 0]), np.array([0, 0.1, 0, 0])
    assert distortion.si_sdr(reference=s, estimate=s + n) == pytest.approx(20, abs=1e-12)
    assert distortion.snr(reference=s, estimate=s + n) == pytest.approx(20, abs=1e-12)
    assert distortion.snr(reference=s, estimate=-s) == pytest.approx(-6.020599913, abs=1e-9)
    assert distortion.snr(reference=s, estimate=0.5 * s) == pytest.approx(6.020599913, abs=1e-9)


def test_no_mean_is_removed() -> None:
    s = np.array([1.0, -1, 1, -1])
    assert distortion.si_sdr(reference=s, estimate=s + 0.1) == pytest.approx(20, abs=1e-12)


def test_perfect_and_empty_estimates() -> None:
    s = coloured(0, 4000)
    zero = np.zeros_like(s)
    assert distortion.si_sdr(reference=s, estimate=s) == np.inf
    assert distortion.snr(reference=s, estimate=s) == np.inf
    assert distortion.sdr(reference=s, estimate=s) > 200
    assert distortion.si_sdr(reference=s, estimate=zero) == -np.inf
    assert distortion.snr(reference=s, estimate=zero) == 0
    assert distortion.sdr(reference=s, estimate=zero) == -np.inf


@given(gain=st.floats(-1e150, 1e150).filter(lambda g: abs(g) > 1e-150), snr_db=st.floats(-20, 60))
@settings(max_examples=30, deadline=None)
def test_scale_of_the_estimate_is_free(gain: float, snr_db: float) -> None:
    s = coloured(1, 3000)
    e = s + 10 ** (-snr_db / 20) * coloured(2, 3000)
    for metric in (distortion.si_sdr, distortion.sdr):
        assert metric(reference=s, estimate=gain * e) == pytest.approx(metric(reference=s, estimate=e), abs=1e-8)


def test_snr_sees_gain_and_polarity() -> None:
    s = coloured(1, 3000)
    e = s + 0.1 * coloured(2, 3000)
    clean = distortion.snr(reference=s, estimate=e)
    assert distortion.snr(reference=s, estimate=0.5 * e) < clean - 1
    assert distortion.snr(reference=s, estimate=-e) < 0


def test_huge_samples_do_not_overflow() -> None:
    s = coloured(1, 3000)
    assert distortion.snr(reference=s, estimate=1e200 * s) < -1000
    assert np.isfinite(distortion.si_sdr(reference=s, estimate=1e200 * (s + coloured(2, 3000))))


@pytest.mark.parametrize("metric", [distortion.si_sdr, distortion.snr, distortion.sdr])
def test_order_in_noise(metric: Any) -> None:
    s, n = coloured(1, 8000), coloured(2, 8000)
    scores = [metric(reference=s, estimate=s + 10 ** (-db / 20) * n) for db in (-10, 0, 10, 20, 30)]
    assert scores == sorted(scores)
    assert np.diff(scores) == pytest.approx(10, abs=2.0)  # 512 taps fit a part of 8000 samples of noise


# SDR


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("samples", [600, 7681, 7682, 16000, 40001])
def test_sdr_equals_mir_eval_on_random_pairs(seed: int, samples: int) -> None:
    s = coloured(seed, samples)
    e = np.convolve(s, [0.7, 0.2, -0.1])[:samples] + 10 ** (-seed / 2) * coloured(seed + 100, samples)
    expected = mir_eval_sdr(s, e)
    assert distortion.sdr(reference=s, estimate=e) == pytest.approx(expected, abs=MIR_EVAL_DB)


@pytest.mark.parametrize("snr_db", [60, 100, 120])
def test_sdr_keeps_its_digits_near_perfection(snr_db: float) -> None:
    s = coloured(3, 16000)
    e = s + 10 ** (-snr_db / 20) * np.random.default_rng(4).standard_normal(16000)
    expected = mir_eval_sdr(s, e)
    assert expected > snr_db
    # abs: float64 leaves a relative 1e-16 of the projection, 1e-4 of a residual 120 dB below it
    assert distortion.sdr(reference=s, estimate=e) == pytest.approx(expected, abs=1e-3 if snr_db > 100 else 1e-6)


def test_sdr_forgives_a_filter_and_si_sdr_does_not() -> None:
    s = coloured(5, 16000)
    delayed = np.concatenate([np.zeros(100), s[:-100]])
    assert distortion.sdr(reference=s, estimate=delayed) > 20
    assert distortion.si_sdr(reference=s, estimate=delayed) < 0


def test_sdr_filter_is_causal_and_has_512_taps() -> None:
    s = np.random.default_rng(6).standard_normal(16000)
    for shift, forgiven in ((511, True), (512, False), (-1, False)):
        e = np.roll(np.concatenate([s, np.zeros(1000)]), shift)[:16000] if shift >= 0 else np.append(s[1:], 0)
        assert (distortion.sdr(reference=s, estimate=e) > 10) is forgiven


def tapered_tone() -> Signal:
    t = np.arange(16000)
    return np.asarray(np.hanning(16000) * np.sin(2 * np.pi * 440 / 16000 * t))


@pytest.mark.parametrize("snr_db", [0, 30, 70])
def test_sdr_of_a_reference_that_does_not_determine_the_filter(snr_db: float) -> None:
    s = tapered_tone()
    e = s + 10 ** (-snr_db / 20) * s.std() * np.random.default_rng(7).standard_normal(16000)
    value, conditioned = distortion.sdr_conditioned(reference=s, estimate=e)
    assert not conditioned
    assert value == pytest.approx(snr_db, abs=0.3)  # loading fits a handful of noise dimensions of 16 000


def test_conditioning_is_not_blamed_on_ordinary_speech() -> None:
    s = coloured(8, 16000, pole=0.98)
    assert distortion.sdr_conditioned(reference=s, estimate=s + coloured(9, 16000))[1]


def test_exactly_singular_equations_are_loaded() -> None:
    auto, cross = np.ones(512), np.ones(512)
    taps, conditioned = distortion.solve_filter(auto, cross)
    assert not conditioned
    assert np.isfinite(taps).all()
    assert taps.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("number", ["01", "02", "03", "05", "09"])
def test_sdr_equals_bss_eval_matlab(number: str) -> None:
    # In BSSEval v3 the SDR of a source is the same with and without the other sources, so sets of several apply.
    expected = json.loads(corpus("mir_eval_bss", f"output{number}.json").read_text())["Sources"]
    for j, value in enumerate(expected["Source to Distortion"]):
        reference, _ = read("mir_eval_bss", f"ref{number}", f"{j}.wav")
        estimate, _ = read("mir_eval_bss", f"est{number}", f"{expected['Source permutation'][j]}.wav")
        assert distortion.sdr(reference=reference, estimate=estimate) == pytest.approx(value, abs=1e-8)


def test_sdr_of_versa() -> None:
    expected = json.loads(corpus("versa_general", "expected.json").read_text())["scores"]
    reference, _ = read("versa_general", "ref_test1.wav")
    estimate, _ = read("versa_general", "gen_test2.wav")
    assert distortion.sdr(reference=reference, estimate=estimate) == pytest.approx(expected["sdr"], abs=PUBLISHED_DB)
    assert distortion.si_sdr(reference=reference, estimate=estimate) == pytest.approx(1.07028505, abs=1e-8)
    assert distortion.si_sdr(reference=reference, estimate=estimate) == pytest.approx(expected["si_snr"], abs=1e-5)


@pytest.mark.parametrize("name", ["p232_010_noisy", "p232_052_mpsenet", "p257_018_noisy_0dB", "dns_fileid_44_frcrn"])
def test_sdr_equals_mir_eval_on_real_pairs(name: str) -> None:
    speaker = "_".join(name.split("_")[: 3 if name.startswith("dns") else 2])
    reference, _ = read("enhancement_pairs", f"{speaker}_clean.flac")
    estimate, _ = read("enhancement_pairs", f"{name}.flac")
    samples = min(len(reference), len(estimate))
    reference, estimate = reference[:samples], estimate[:samples]
    found = distortion.sdr(reference=reference, estimate=estimate)
    assert found == pytest.approx(mir_eval_sdr(reference, estimate), abs=REAL_MIR_EVAL_DB)


def test_sdr_of_a_narrow_reference_equals_a_qr_solution() -> None:
    # An autocorrelation matrix of condition 5e9, where any solution of the normal equations loses nine digits. A QR
    # decomposition of the convolution matrix squares nothing and loses five.
    from scipy.linalg import qr, toeplitz
    from scipy.signal import firwin

    noise = np.random.default_rng(20).standard_normal(5000) * np.hanning(5000) ** 2
    s = np.convolve(noise, firwin(101, 0.6, window=("kaiser", 6)))
    e = s + np.random.default_rng(11).standard_normal(len(s)) * s.std()
    shifts = toeplitz(np.append(s, np.zeros(511)), np.zeros(512))
    basis = qr(shifts, mode="economic")[0]
    whole = np.append(e, np.zeros(511))
    projected = basis @ (basis.T @ whole)
    expected = 10 * np.log10(projected @ projected / np.sum((whole - projected) ** 2))
    found, conditioned = distortion.sdr_conditioned(reference=s, estimate=e)
    assert conditioned
    assert found == pytest.approx(expected, abs=REAL_MIR_EVAL_DB)


def test_a_wrong_solution_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def wrong_once(auto: Signal, cross: Signal) -> Signal | None:
        calls.append(auto[0])
        taps = original(auto, cross)
        assert taps is not None
        return taps * (1 + 1e-8 * (len(calls) == 1))

    original = levinson.solve
    monkeypatch.setattr(levinson, "solve", wrong_once)
    s = coloured(0, 4000)
    assert not distortion.sdr_conditioned(reference=s, estimate=s + coloured(1, 4000))[1]
    assert calls[1] == pytest.approx(calls[0] * (1 + 1e-9), rel=1e-12)


# SI-SNR and offsets


def test_published_si_snr_of_torchmetrics() -> None:
    target, predicted = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
    assert distortion.si_snr(reference=target, estimate=predicted) == pytest.approx(15.0918, abs=5e-5)


@given(offset=st.floats(-100, 100), other=st.floats(-100, 100))
@settings(max_examples=30)
def test_si_snr_is_si_sdr_without_means(offset: float, other: float) -> None:
    s = coloured(1, 3000)
    e = s + 0.3 * coloured(2, 3000)
    expected = distortion.si_sdr(reference=s - s.mean(), estimate=e - e.mean())
    assert distortion.si_snr(reference=s + offset, estimate=e + other) == pytest.approx(expected, abs=1e-8)


def test_constants_have_no_si_snr_and_no_dc_ratio() -> None:
    s, flat = coloured(1, 3001), np.full(3001, 0.1)
    assert distortion.si_snr(reference=s, estimate=flat) == -np.inf
    with pytest.raises(ReferenceFault, match="constant"):
        distortion.si_snr(reference=flat, estimate=s)
    with pytest.raises(EstimateFault, match="constant"):
        distortion.dc_ratio(estimate=flat)


def test_dc_ratio_is_mean_squared_over_variance() -> None:
    assert distortion.dc_ratio(estimate=[1.0, 3.0]) == 4
    assert distortion.dc_ratio(estimate=[1.0, -1.0]) == 0


# one reference, several estimates


@pytest.mark.parametrize("lag_samples", [0, 40, 800])
def test_a_kept_reference_gives_the_same_ratios(lag_samples: int) -> None:
    s = coloured(1, 9000)
    kept = distortion.Reference.of(reference=s, lag_samples=lag_samples)
    for seed in (2, 3):
        e = 0.5 * s + 0.4 * coloured(seed, 9000)
        pair = kept.against(e)
        assert pair.sdr[0] == pytest.approx(distortion.sdr(reference=s, estimate=e), abs=1e-10)
        assert pair.sdr[1]
        assert kept.sdr(e) == pair.sdr
        for name in ("si_sdr", "si_snr", "snr"):
            alone = getattr(distortion, name)(reference=s, estimate=e)
            assert getattr(pair, name) == getattr(kept, name)(e) == pytest.approx(alone, abs=1e-12)
        (expected,) = distortion.correlate(s, e, low=-lag_samples, high=lag_samples)
        assert pair.correlation == pytest.approx(expected, abs=1e-8)


def test_a_long_reference_keeps_no_spectra(monkeypatch: pytest.MonkeyPatch) -> None:
    s, e = coloured(1, 9000), coloured(2, 9000)
    expected = distortion.Reference.of(reference=s).sdr(e)
    monkeypatch.setattr(distortion, "_KEPT", 8999)
    long = distortion.Reference.of(reference=s)
    assert long.sdr(e) == pytest.approx(expected, abs=1e-12)
    assert "_kept" not in vars(long)


def test_correlation_of_a_pair_finds_the_delay() -> None:
    s = coloured(1, 9000)
    late = np.concatenate([np.zeros(37), -s[:-37]])
    found = distortion.Reference.of(reference=s, lag_samples=100).against(late).correlation
    assert int(np.abs(found).argmax()) - 100 == 37
    assert found[137] < 0


@pytest.mark.parametrize("high", [3, 511])
@pytest.mark.parametrize("samples", [1, 3000, 3585, 3586, 7170, 7171, 20000])
def test_autocorrelation_from_the_ends_of_blocks(high: int, samples: int) -> None:
    s = coloured(1, samples)
    lags = distortion.Lags(0, high)
    within = lags.of_spectra([lags.heads(s)], [lags.heads(s)])[0, 0]
    (expected,) = distortion.correlate(s, s, low=0, high=high)
    assert within + lags.across(s) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_extreme_scales_of_the_reference_too(scale: float) -> None:
    s = coloured(1, 3000)
    e = s + 0.3 * coloured(2, 3000)
    for name in ("si_sdr", "si_snr", "sdr", "snr"):
        metric = getattr(distortion, name)
        found = metric(reference=scale * s, estimate=scale * e)
        assert found == pytest.approx(metric(reference=s, estimate=e), abs=1e-9)


def test_digits_are_kept_at_every_level() -> None:
    s, n = coloured(1, 4000), coloured(2, 4000)
    n -= np.dot(n, s) / np.dot(s, s) * s
    for level_db in (20, 39, 41, 80, 140):
        e = s + 10 ** (-level_db / 20) * np.sqrt(np.sum(s**2) / np.sum(n**2)) * n
        # abs: a sample of e carries a rounding of 1e-16, 1e-9 of an error 140 dB below
        for metric in (distortion.si_sdr, distortion.snr):
            assert metric(reference=s, estimate=e) == pytest.approx(level_db, abs=1e-6 if level_db > 100 else 1e-9)


def test_negative_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="lag_samples must not be negative, got -1"):
        distortion.Reference.of(reference=np.ones(10), lag_samples=-1)


# the solver


@pytest.mark.parametrize("order", [1, 2, 3, 50, 512])
def test_levinson_equals_scipy(order: int) -> None:
    from scipy.linalg import solve_toeplitz

    (column,) = distortion.correlate(coloured(1, 4000), coloured(1, 4000), low=0, high=order - 1)
    right = np.random.default_rng(0).standard_normal(order)
    found = levinson.solve(column, right)
    assert found == pytest.approx(solve_toeplitz(column, right), rel=1e-9, abs=1e-15)


def test_levinson_refuses_what_is_not_positive() -> None:
    assert levinson.solve(np.ones(4), np.ones(4)) is None
    assert levinson.solve(np.array([1.0, 2.0]), np.ones(2)) is None
    assert levinson.solve(np.array([0.0, 0.0]), np.ones(2)) is None


# correlate


@given(
    a=st.integers(1, 60),
    b=st.integers(1, 60),
    low=st.integers(-70, 70),
    span=st.integers(0, 80),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_correlate_is_its_definition(a: int, b: int, low: int, span: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    (found,) = distortion.correlate(x, y, low=low, high=low + span)
    expected = [sum(x[t] * y[t + k] for t in range(a) if 0 <= t + k < b) for k in range(low, low + span + 1)]
    assert found == pytest.approx(np.array(expected), abs=1e-12)


def test_correlate_over_many_blocks() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(300_000), rng.standard_normal(300_000)
    auto, cross = distortion.correlate(x, x, y, low=-3, high=600)
    for k in (-3, 0, 1, 600):
        head = x[max(0, -k) : len(x) - max(0, k)]
        assert auto[k + 3] == pytest.approx(head @ x[max(0, k) : len(x) + min(0, k)], abs=1e-7)
        assert cross[k + 3] == pytest.approx(head @ y[max(0, k) : len(y) + min(0, k)], abs=1e-7)


# refusals


@pytest.mark.parametrize("metric", [distortion.si_sdr, distortion.snr, distortion.sdr])
def test_bad_signals_are_refused_by_name(metric: Any) -> None:
    x = np.ones(10)
    with pytest.raises(ValueError, match=r"reference must have shape \(samples,\)"):
        metric(reference=np.ones((1, 10)), estimate=np.ones((1, 10)))
    with pytest.raises(ValueError, match=r"reference must have shape \(samples,\)"):
        metric(reference=[], estimate=[])
    with pytest.raises(ValueError, match=r"estimate must have the reference's shape \(10,\), got \(9,\)"):
        metric(reference=x, estimate=x[1:])
    with pytest.raises(ValueError, match="estimate must be finite"):
        metric(reference=x, estimate=np.append(x[1:], np.nan))
    with pytest.raises(ValueError, match="reference must be finite"):
        metric(reference=np.append(x[1:], np.inf), estimate=x)
    with pytest.raises(ValueError, match="reference must not be silent"):
        metric(reference=0 * x, estimate=x)
    with pytest.raises(TypeError):
        metric(x, x)
