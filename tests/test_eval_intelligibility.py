"""eval.intelligibility against values known on paper, published values, pystoi, and its own definitions."""

from __future__ import annotations

import csv
import itertools
import json
import math
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import intelligibility
from eval.intelligibility import RATE, Reference, Scores, both, estoi, stoi
from eval.outcome import EstimateFault, ReferenceFault, TooShort

Signal = NDArray[np.float64]

SAME = 1e-9  # promised; what is measured is 1e-15 for signals that pystoi's noise does not reach
CLOSE = 1e-12
RATES = (8000, 10000, 16000, 22050, 44100, 48000)


def bursts(seed: int = 0, seconds: float = 2.0, rate: int = 16000) -> Signal:
    """Speech-like: low-passed noise that comes and goes every 0.3 s."""
    samples = round(seconds * rate)
    noise = np.random.default_rng(seed).standard_normal(samples + 7)
    low = np.convolve(noise, np.hanning(8), mode="valid")[:samples]
    return np.asarray(0.1 * low * np.sin(np.pi * np.arange(samples) / (0.3 * rate)) ** 2)


def noisy(s: Signal, snr_db: float = 5.0, seed: int = 1) -> Signal:
    n = np.random.default_rng(seed).standard_normal(len(s))
    return s + n * np.sqrt(np.sum(s**2) / np.sum(n**2)) * 10 ** (-snr_db / 20)


def pystoi_both(s: Signal, e: Signal, rate: int, *, seed: int = 0, noise: float = 1.0) -> Scores:
    """Both values of pystoi, its noise from a seed, or multiplied by `noise` = 0. What it warns of is an error here."""
    from pystoi import stoi as theirs

    draw = np.random.default_rng(seed).standard_normal
    with mock.patch.object(np.random, "standard_normal", lambda shape: noise * draw(shape)):
        return Scores(float(theirs(s, e, rate)), float(theirs(s, e, rate, extended=True)))


def check_same(s: Signal, e: Signal, rate: int, within: float = SAME, **how: Any) -> None:
    ours, theirs = both(reference=s, estimate=e, sample_rate=rate), pystoi_both(s, e, rate, **how)
    assert ours.stoi == pytest.approx(theirs.stoi, abs=within)
    assert ours.estoi == pytest.approx(theirs.estoi, abs=within)


# published values


def read(path: Path) -> tuple[Signal, int]:
    import soundfile

    signal, rate = soundfile.read(path)
    return signal, rate


def test_published_values_of_torchmetrics_and_pystoi(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "pesq_ludlows"
    (s, rate), (e, _) = read(folder / "speech.wav"), read(folder / "speech_bab_0dB.wav")
    found = both(reference=s, estimate=e, sample_rate=rate)
    assert found.stoi == pytest.approx(0.6739177895, abs=1e-10)
    assert found.estoi == pytest.approx(0.39044999, abs=1e-8)


def test_published_value_of_versa(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "versa_general"
    (s, rate), (e, _) = read(folder / "ref_test1.wav"), read(folder / "gen_test2.wav")
    assert stoi(reference=s, estimate=e, sample_rate=rate) == pytest.approx(0.007625108859647406, abs=CLOSE)


def test_values_of_enhanced_files(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "enhancement_pairs"
    pairs = json.loads((folder / "reference_values.json").read_text())["pairs"]
    assert pairs
    for pair in pairs:
        (s, rate), (e, _) = read(folder / pair["reference"]), read(folder / pair["degraded"])
        length = min(len(s), len(e))
        found = both(reference=s[:length], estimate=e[:length], sample_rate=rate)
        assert found.stoi == pytest.approx(pair["stoi"], abs=SAME)
        assert found.estoi == pytest.approx(pair["estoi"], abs=SAME)


# values known on paper


@pytest.mark.parametrize("rate", RATES)
def test_a_perfect_estimate_scores_one(rate: int) -> None:
    s = bursts(rate=rate)
    for e in (s, 3 * s, -s):
        found = both(reference=s, estimate=e, sample_rate=rate)
        assert found.stoi == pytest.approx(1, abs=CLOSE)
        assert found.estoi == pytest.approx(1, abs=CLOSE)


def bands_of(envelopes: Signal) -> Signal:
    """Envelopes (bands, frames) as the kernels hold them."""
    out = np.full((len(envelopes), envelopes.shape[1] + 16), 7.0)
    out[:, : envelopes.shape[1]] = envelopes
    return out


def compared(x: Signal, y: Signal) -> tuple[Signal, Signal]:
    """STOI and ESTOI of every stretch of envelopes (bands, frames)."""
    stretches = x.shape[1] - 29
    a, b = bands_of(x), bands_of(y)
    sides = a, intelligibility._statistics(a, stretches), b, intelligibility._statistics(b, stretches)
    return intelligibility._stoi(*sides)[:stretches], intelligibility._estoi(*sides)[:stretches]


def test_statistics_of_a_ramp() -> None:
    ramp = np.tile(np.arange(40.0), (15, 1))
    norm, mean, spread = intelligibility._statistics(bands_of(ramp), 11)[:, 3, :11]
    assert norm[0] == pytest.approx(math.sqrt(29 * 30 * 59 / 6))
    assert mean == pytest.approx(14.5 + np.arange(11))
    assert spread == pytest.approx(np.full(11, math.sqrt(30 * (30**2 - 1) / 12)))


def test_stoi_of_a_ramp_and_its_mirror_is_that_of_the_clipped_mirror() -> None:
    ramp = np.arange(30.0)
    clipped = np.minimum(ramp[::-1], (1 + 10**0.75) * ramp)
    found, _ = compared(np.tile(ramp, (15, 1)), np.tile(ramp[::-1], (15, 1)))
    assert found == pytest.approx([np.corrcoef(ramp, clipped)[0, 1]], abs=CLOSE)
    assert clipped[3] < ramp[::-1][3]


def test_estoi_does_not_see_gain_and_offset_of_a_band_and_turns_with_its_sign() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((15, 45))
    for sign in (1, -1):
        _, found = compared(x, sign * rng.uniform(0.1, 9, (15, 1)) * x + rng.uniform(10, 20, (15, 1)))
        assert found == pytest.approx(np.full(16, sign), abs=CLOSE)


def test_estoi_by_its_definition_and_a_silent_band_counts_as_zero() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.random((15, 30)), rng.random((15, 30))
    y[4] = 0
    a, b = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.where(b.any(axis=1), np.linalg.norm(b, axis=1), 1)[:, np.newaxis]
    expected = np.mean([np.corrcoef(a[:, n], b[:, n])[0, 1] for n in range(30)])
    assert compared(x, y)[1] == pytest.approx([expected], abs=CLOSE)


def test_a_stretch_without_any_movement_counts_as_zero() -> None:
    x = np.random.default_rng(2).random((15, 60))
    for still in (0.0, 0.25):
        y = x.copy()
        y[:, 20:] = still
        plain, extended = compared(x, y)
        if still == 0:  # an offset is not zero for STOI: it clips what stands above the reference
            assert plain[20:] == pytest.approx(np.zeros(11), abs=CLOSE)
        assert extended[20:] == pytest.approx(np.zeros(11), abs=CLOSE)
        assert (extended[:10] > 0.1).all()


def test_band_edges() -> None:
    """Third octaves around 150 Hz x 2^(j/3), the last around 3810 Hz: within half a bin of 19.53 Hz."""
    edges_hz = intelligibility._edges() * 10000 / 512
    centres_hz = 150 * 2 ** (np.arange(15) / 3)
    assert np.abs(edges_hz[:-1] - centres_hz / 2 ** (1 / 6)).max() <= 9.8
    assert np.abs(edges_hz[1:] - centres_hz * 2 ** (1 / 6)).max() <= 9.8


# parts against other implementations


@pytest.mark.parametrize("rate", [*RATES, 4000, 11025, 12500, 20000, 32000, 8001, 96000])
def test_resampling_is_pystois(rate: int) -> None:
    from pystoi.utils import resample_oct

    rng = np.random.default_rng(rate)
    for samples in (1, 700, 3 * rate // 4 + 1):
        x = rng.standard_normal(samples)
        found, expected = intelligibility._resampled(x, rate), resample_oct(x, RATE, rate) if rate != RATE else x
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-13


def test_resampling_keeps_low_tones() -> None:
    t = np.arange(16000) / 16000
    found = intelligibility._resampled(np.sin(2 * np.pi * 1000 * t), 16000)
    assert np.abs(found - np.sin(2 * np.pi * 1000 * np.arange(10000) / 10000))[200:-200].max() < 2e-3


def test_envelopes_are_those_of_numpys_transform() -> None:
    x = np.random.default_rng(3).standard_normal(256 + 128 * 20) + 0.5
    starts = np.concatenate([np.arange(0, 9), np.arange(12, 20)]) * 128
    window = np.hanning(258)[1:-1]
    joined = np.zeros((len(starts) + 1) * 128)
    for f, start in enumerate(starts):
        joined[128 * f : 128 * f + 256] += window * x[start : start + 256]
    frames = np.stack([window * joined[128 * f : 128 * f + 256] for f in range(len(starts) - 1)])
    energy = np.abs(np.fft.rfft(frames, n=512)) ** 2
    edges = intelligibility._edges()
    expected = np.sqrt([energy[:, low:high].sum(axis=1) for low, high in itertools.pairwise(edges)])
    assert intelligibility._bands(x, starts)[:, : len(starts) - 1] == pytest.approx(expected, rel=1e-13)


# pystoi


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("snr_db", [-10, 0, 15, 30])
def test_noisy_bursts_score_as_in_pystoi(rate: int, snr_db: float) -> None:
    s = bursts(seed=rate + snr_db, seconds=1.3, rate=rate)
    check_same(s, noisy(s, snr_db), rate)


DAMAGES = ("noise", "reverberation", "clipping", "spectral gate", "gap", "offset", "pause", "24 bit", "quiet", "short")


def damaged(s: Signal, rate: int, damage: str) -> tuple[Signal, Signal]:
    from scipy.signal import fftconvolve, istft, stft

    rng = np.random.default_rng(len(s))
    e, third = noisy(s, float(rng.uniform(-10, 30))), len(s) // 3
    if damage == "reverberation":
        h = rng.standard_normal(rate // 2) * 10 ** (-6 * np.arange(rate // 2) / rate)
        return s, fftconvolve(e, h)[: len(s)]
    if damage == "clipping":
        return s, np.clip(e, -0.1 * e.max(), 0.1 * e.max())
    if damage == "spectral gate":
        spectrum = stft(e, nperseg=512)[2]
        loud = np.abs(spectrum) > np.quantile(np.abs(spectrum), 0.7)
        return s, np.resize(istft(spectrum * loud, nperseg=512)[1], len(s))
    if damage == "gap":
        e[third : third + rate // 5] = 0
    if damage == "offset":
        return s, e + 0.3
    if damage == "pause":
        s = s.copy()
        s[third : third + rate // 2] = 0
    if damage == "24 bit":
        return np.round(s * 2**23) / 2**23, np.round(e * 2**23) / 2**23
    if damage == "quiet":
        return 1e-3 * s, 1e3 * e
    if damage == "short":
        loudest = int(np.argmax(np.convolve(s**2, np.ones(rate // 2), mode="valid")))
        return s[loudest : loudest + rate // 2], e[loudest : loudest + rate // 2]
    return s, e


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_speech_scores_as_in_pystoi(corpus: Path, damage: str) -> None:
    import soxr

    with open(corpus / "index.csv", encoding="utf-8") as file:
        speech = [row["path"] for row in csv.DictReader(file) if row["kind"] == "speech"]
    for number, rate in enumerate(RATES):
        x, own_rate = read(corpus / speech[(37 * DAMAGES.index(damage) + 11 * number) % len(speech)])
        x = x if x.ndim == 1 else x[:, 0]
        s = soxr.resample(x, own_rate, rate)[: 2 * rate]
        check_same(*damaged(s, rate, damage), rate)


@given(
    rate=st.sampled_from(RATES),
    seconds=st.floats(0.5, 1.0),
    seed=st.integers(0, 999),
    gain_db=st.floats(-60, 60),
    snr_db=st.floats(-30, 60),
)
@settings(max_examples=20)
def test_any_pair_scores_as_in_pystoi(rate: int, seconds: float, seed: int, gain_db: float, snr_db: float) -> None:
    s = bursts(seed, seconds, rate) + 0.01 * np.random.default_rng(seed + 1).standard_normal(round(seconds * rate))
    check_same(s, 10 ** (gain_db / 20) * noisy(s, snr_db), rate)


def test_envelopes_near_pystois_noise_are_scored_without_it() -> None:
    s = 1e-10 * bursts()
    e = noisy(s)
    check_same(s, e, 16000, noise=0)
    spread = np.ptp([pystoi_both(s, e, 16000, seed=seed).estoi for seed in range(3)])
    assert spread > SAME  # it matters here


def test_where_the_estimate_is_silent_the_mean_of_pystois_values_is_met() -> None:
    s = bursts(seconds=3)
    e = noisy(s)
    e[len(e) // 3 :] = 0
    values = [pystoi_both(s, e, 16000, seed=seed) for seed in range(12)]
    found = both(reference=s, estimate=e, sample_rate=16000)
    assert found.stoi == pytest.approx(values[0].stoi, abs=CLOSE)
    extended = np.array([v.estoi for v in values])
    assert extended.std() > 1e-4
    assert found.estoi == pytest.approx(extended.mean(), abs=4 * extended.std() / math.sqrt(len(values)))


# frames that count


@pytest.mark.parametrize(("samples", "enough"), [(4096, False), (4097, True)])
def test_thirty_one_active_frames_are_needed(samples: int, enough: bool) -> None:
    s = np.random.default_rng(4).standard_normal(samples)
    e = noisy(s)
    if enough:
        check_same(s, e, RATE)
        return
    with pytest.warns(RuntimeWarning, match="Not enough STFT frames"):
        pystoi_both(s, e, RATE)
    for estimate in (e, 0 * e):
        with pytest.raises(TooShort, match="under_30_frames"):
            both(reference=s, estimate=estimate, sample_rate=RATE)


@pytest.mark.parametrize("samples", [1, 2, 255, 256, 257, 400, 5000])
def test_short_references_are_too_short_at_any_rate(samples: int) -> None:
    s = np.random.default_rng(5).standard_normal(samples)
    with pytest.raises(TooShort, match="under_30_frames"):
        Reference.of(reference=s, sample_rate=48000)


def test_frames_count_down_to_40_db_below_the_loudest() -> None:
    s = np.random.default_rng(6).standard_normal(20000)
    for level_db, frames in ((-39, 154), (-41, 78)):
        x = s.copy()
        x[10000:] *= 10 ** (level_db / 20) * np.sqrt(np.mean(s[:10000] ** 2) / np.mean(s[10000:] ** 2))
        active = Reference.of(reference=x, sample_rate=RATE).active
        assert len(active) == pytest.approx(frames, abs=frames // 4)
        check_same(x, noisy(x), RATE)


def test_noise_where_the_reference_is_silent_changes_nothing() -> None:
    s = bursts()
    s[8000:16000] = 0
    e = noisy(s)
    other = e.copy()
    other[9000:15000] += 1
    assert both(reference=s, estimate=e, sample_rate=16000) == both(reference=s, estimate=other, sample_rate=16000)


def test_an_estimate_silent_wherever_it_counts_is_undefined() -> None:
    s = bursts()
    s[8000:16000] = 0
    e = np.zeros_like(s)
    e[9000:15000] = noisy(s)[9000:15000]
    reference = Reference.of(reference=s, sample_rate=16000)
    for estimate in (e, 0 * e):
        with pytest.raises(EstimateFault, match="undefined"):
            reference.score(estimate)


def test_a_silent_reference_is_at_fault() -> None:
    with pytest.raises(ReferenceFault, match="silent"):
        Reference.of(reference=np.zeros(16000), sample_rate=16000)


# properties


@given(gain_db=st.floats(-100, 300), sign=st.sampled_from((1, -1)), snr_db=st.floats(-10, 30))
@settings(max_examples=20)
def test_scale_and_sign_of_both_signals_are_free(gain_db: float, sign: int, snr_db: float) -> None:
    s = bursts(seconds=1)
    e, gain = noisy(s, snr_db), sign * 10 ** (gain_db / 20)
    plain = both(reference=s, estimate=e, sample_rate=16000)
    for scaled in (
        both(reference=s, estimate=gain * e, sample_rate=16000),
        both(reference=gain * s, estimate=e, sample_rate=16000),
    ):
        assert scaled.stoi == pytest.approx(plain.stoi, abs=SAME)
        assert scaled.estoi == pytest.approx(plain.estoi, abs=SAME)


def test_samples_whose_squares_overflow_are_scored() -> None:
    s = bursts()
    e = noisy(s)
    plain = both(reference=s, estimate=e, sample_rate=16000)
    huge = both(reference=1e300 * s, estimate=1e250 * e, sample_rate=16000)
    assert (huge.stoi, huge.estoi) == pytest.approx((plain.stoi, plain.estoi), abs=CLOSE)


def test_less_noise_scores_higher() -> None:
    s = bursts()
    scores = [both(reference=s, estimate=noisy(s, db), sample_rate=16000) for db in (-10, -5, 0, 5, 10, 20)]
    for values in ([v.stoi for v in scores], [v.estoi for v in scores]):
        assert values == sorted(values)
        assert -0.1 < values[0] < values[-1] < 1


def test_one_reference_serves_many_estimates() -> None:
    s = bursts()
    reference = Reference.of(reference=s, sample_rate=16000)
    estimates = [noisy(s, db) for db in (20, 0, -5)]
    first = [reference.score(e) for e in estimates]
    assert [reference.score(e) for e in estimates] == first
    assert [both(reference=s, estimate=e, sample_rate=16000) for e in estimates] == first
    assert [stoi(reference=s, estimate=e, sample_rate=16000) for e in estimates] == [v.stoi for v in first]
    assert [estoi(reference=s, estimate=e, sample_rate=16000) for e in estimates] == [v.estoi for v in first]


def test_every_kind_of_array_is_taken_and_compiled_for_once() -> None:
    s = bursts(seconds=1, rate=RATE)
    e = noisy(s)
    expected = both(reference=s, estimate=e, sample_rate=RATE)
    kernels = [intelligibility._norms, intelligibility._join, intelligibility._transform]
    before = [len(kernel.signatures) for kernel in kernels]
    for x in (s, e):
        x.setflags(write=False)
    assert both(reference=s, estimate=e, sample_rate=RATE) == expected
    assert both(reference=np.repeat(s, 2)[::2], estimate=list(e), sample_rate=RATE) == expected
    single = both(reference=s.astype(np.float32), estimate=e.astype(np.float32), sample_rate=RATE)
    assert (single.stoi, single.estoi) == pytest.approx((expected.stoi, expected.estoi), abs=1e-5)
    assert [len(kernel.signatures) for kernel in kernels] == before


def test_numpys_global_random_state_is_neither_read_nor_changed() -> None:
    s = bursts()
    e = noisy(s)
    found = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        found.append(both(reference=s, estimate=e, sample_rate=16000))
        after = np.random.random()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        assert after == np.random.random()  # noqa: NPY002
    assert found[0] == found[1]


def test_a_long_clip_takes_little_memory() -> None:
    s = bursts(seconds=120)
    e = noisy(s)
    tracemalloc.start()
    both(reference=s, estimate=e, sample_rate=16000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * s.nbytes


def test_neither_pystoi_nor_scipys_signal_is_imported() -> None:
    code = (
        "import sys, numpy; from eval import intelligibility as i;"
        "s = numpy.random.default_rng(0).standard_normal(16000); i.stoi(reference=s, estimate=s, sample_rate=16000);"
        "print({'pystoi', 'scipy.signal', 'numba'} & {*sys.modules})"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "{'numba'}", done.stderr


# refusals


def test_bad_arguments_are_refused_by_name() -> None:
    s = bursts()
    reference = Reference.of(reference=s, sample_rate=16000)
    with pytest.raises(ValueError, match=r"reference must have shape \(samples,\) with samples > 0, got \(0,\)"):
        Reference.of(reference=[], sample_rate=16000)
    with pytest.raises(ValueError, match=r"estimate must have shape \(samples,\) with samples > 0, got \(1, 32000\)"):
        reference.score(s[np.newaxis])
    with pytest.raises(ValueError, match="estimate must have the reference's 32000 samples, got 31999"):
        reference.score(s[1:])
    with pytest.raises(ValueError, match="sample_rate must be at least 1 Hz, got 0"):
        Reference.of(reference=s, sample_rate=0)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="estimate must be finite"):
            reference.score(np.append(s[1:], bad))
        with pytest.raises(ValueError, match="reference must be finite"):
            Reference.of(reference=np.append(s[1:], bad), sample_rate=16000)
    with pytest.raises(TypeError):
        both(s, s, 16000)  # type: ignore[misc]


def test_nothing_warns() -> None:
    s = bursts()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both(reference=1e300 * s, estimate=1e-100 * noisy(s), sample_rate=16000)
