"""eval.modulation against the values that its authors' MATLAB code published, scipy's gammatone, and properties."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import modulation
from eval.outcome import EstimateFault

Signal = NDArray[np.float64]
RATE = 16000


def read(path: Path) -> Signal:
    import soundfile

    signal, rate = soundfile.read(path)
    assert rate == RATE
    return np.asarray(signal)


def babble(corpus: Path) -> Signal:
    return read(corpus / "metric_fixtures" / "pesq_ludlows" / "speech_bab_0dB.wav")


def speechlike(seed: int, seconds: float = 1.0, rate: int = RATE) -> Signal:
    """Noise whose envelope follows syllables: half a wave every 250 ms."""
    x = np.random.default_rng(seed).standard_normal(int(seconds * rate))
    return 0.1 * x * np.abs(np.sin(2 * np.pi * 2 * np.arange(len(x)) / rate)) ** 2


def modulated(hz: float, carrier_hz: float = 1000.0, rate: int = RATE) -> Signal:
    t = np.arange(2 * rate) / rate
    return 0.1 * (1 + np.sin(2 * np.pi * hz * t)) * np.sin(2 * np.pi * carrier_hz * t)


def gain_db(b: Signal, a: Signal, hz: float) -> float:
    from scipy.signal import freqz

    return float(20 * np.log10(np.abs(freqz(b, a, worN=[2 * np.pi * hz / RATE])[1][0])))


# Published values


def test_matlab_value_of_speech_in_babble(corpus: Path) -> None:
    """SRMRpy, issue 7: 1.8493 from the MATLAB toolbox."""
    assert modulation.srmr(estimate=babble(corpus), sample_rate=RATE) == pytest.approx(1.8493, abs=5e-5)


def test_matlab_values_stored_in_pysepm(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "pysepm_matlab"
    pairs = json.loads((folder / "expected.json").read_text())["pairs"]
    published = {pair["degraded"]: pair["scores"]["SRMR"] for pair in pairs}
    assert set(published) == {"1_noisySpeech_16000_Hz.wav", "1_processed_16000_Hz.wav"}
    for name, value in published.items():
        # the second file has pauses to cut, at a threshold that their rounding to 16 bits moves a little
        assert modulation.srmr(estimate=read(folder / name), sample_rate=RATE) == pytest.approx(value, abs=1e-5)


def whole_frames(x: Signal, sample_rate: int) -> float:
    frames = np.lib.stride_tricks.sliding_window_view(x, 4096)[::1024]
    return float(np.mean(np.sum((frames * np.hamming(4096)) ** 2, axis=1)))


def test_framing_is_what_sets_srmrpy_apart(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SRMRpy, issue 7: 1.86596."""
    monkeypatch.setattr(modulation, "_frame_energy", whole_frames)
    assert modulation.srmr(estimate=babble(corpus), sample_rate=RATE) == pytest.approx(1.86596, abs=5e-6)


def test_rounded_frequencies_and_a_padded_end_are_what_sets_pb_bss_apart(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pb_bss, module_srmr.py: 1.8561615800."""
    x = babble(corpus)

    def padded(envelope: Signal, sample_rate: int) -> float:
        return whole_frames(np.pad(envelope, (0, -(len(envelope) - 4096) % 1024)), sample_rate)

    monkeypatch.setattr(modulation, "_frame_energy", padded)
    monkeypatch.setattr(modulation, "MODULATION_HZ", np.array([4.0, 6.5, 10.7, 17.6, 28.9, 47.5, 78.1, 128.0]))
    # it removes the mean too, and spaces its channels with a rounded constant
    assert modulation.srmr(estimate=x - x.mean(), sample_rate=RATE) == pytest.approx(1.85616158, abs=1e-5)


# Filters


@pytest.mark.parametrize("hz", [125.0, 500.0, 1000.0, 4000.0])
def test_gammatone_is_scipys(hz: float) -> None:
    from scipy.signal import freqz, gammatone, sosfreqz

    at = 2 * np.pi * hz * np.array([0.7, 0.9, 1.0, 1.1, 1.3]) / RATE
    ours = np.abs(sosfreqz(modulation._gammatone(hz, RATE), worN=at)[1])
    theirs = np.abs(freqz(*gammatone(hz, "iir", fs=RATE), worN=at)[1])
    assert ours == pytest.approx(theirs, rel=1e-2)  # scipy takes the ERB of 1990: 24.7 (4.37 f + 1)
    assert ours[2] == pytest.approx(1, abs=1e-12)


def test_gammatone_has_the_impulse_response_of_its_definition() -> None:
    """t^3 exp(-2 pi 1.019 ERB t) cos(2 pi f t), where sampling turns n^3 into (n + 1)(n + 2)(n + 3)."""
    from scipy.signal import sosfilt

    n = np.arange(800)
    erb = 1000 / 9.26449 + 24.7
    envelope = (n + 1) * (n + 2) * (n + 3) * np.exp(-2 * np.pi * 1.019 * erb * n / RATE)
    expected = envelope * np.cos(2 * np.pi * 1000 * n / RATE)
    found = sosfilt(modulation._gammatone(1000.0, RATE), np.eye(1, 800)[0])
    expected, found = expected / np.linalg.norm(expected), found / np.linalg.norm(found)
    assert np.dot(expected, found) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_centre_frequencies(rate: int) -> None:
    hz = modulation.centre_frequencies(rate)
    assert len(hz) == 23
    assert hz[0] == pytest.approx(125)
    assert hz[-1] < rate / 2
    erbs = np.log(hz / (9.26449 * 24.7) + 1)
    top = np.log(rate / 2 / (9.26449 * 24.7) + 1)
    assert np.diff([*erbs, top]) == pytest.approx((top - erbs[0]) / 23, rel=1e-9)


def test_modulation_filters() -> None:
    assert modulation.MODULATION_HZ[[0, 7]] == pytest.approx([4, 128])
    for hz in modulation.MODULATION_HZ:
        b, a = modulation._modulation_filter(hz, RATE)
        assert gain_db(b, a, hz) == pytest.approx(0, abs=1e-9)
        # Q = 2: -3 dB at f (sqrt(1 + 1/16) +- 1/4)
        for edge in (np.sqrt(17 / 16) - 0.25, np.sqrt(17 / 16) + 0.25):
            assert gain_db(b, a, edge * hz) == pytest.approx(-3.0103, abs=0.02)


@pytest.mark.parametrize("samples", [4095, 4096, 4097, 5120, 9999])
def test_frames_begin_192_ms_early(samples: int) -> None:
    x = np.random.default_rng(0).standard_normal(samples)
    window = np.hamming(4096)
    padded = np.concatenate([np.zeros(3072), x, np.zeros(4096)])
    count = int(np.ceil(samples / 1024))
    expected = np.mean([np.sum((window * padded[i * 1024 : i * 1024 + 4096]) ** 2) for i in range(count)])
    assert modulation._frame_energy(x, RATE) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("index", range(8))
def test_a_modulation_lands_in_its_filter_and_a_tone_in_its_channel(index: int) -> None:
    energies = modulation.modulation_energies(modulated(modulation.MODULATION_HZ[index], 2000.0), RATE)
    channel, found = np.unravel_index(np.argmax(energies), energies.shape)
    assert found == index
    hz = modulation.centre_frequencies(RATE)
    assert channel == np.argmin(np.abs(hz - 2000.0))


def test_the_first_four_filters_count_as_speech() -> None:
    scores = [modulation.srmr(estimate=modulated(hz), sample_rate=RATE) for hz in modulation.MODULATION_HZ[:6]]
    assert min(scores[:4]) > 1.5
    assert max(scores[4:]) < 0.8


@pytest.mark.parametrize(("channel", "last"), [(0, 6), (3, 6), (4, 7), (6, 7), (7, 8), (22, 8)])
def test_bandwidth_sets_the_last_filter(channel: int, last: int) -> None:
    """All energy in one channel: its ERB of 38, 58, 66, 87, 99 or 775 Hz against the cutoffs 36, 59, 96 Hz."""
    energies = np.full((23, 8), 1e-9)
    energies[channel] = [1, 1, 1, 1, 1, 10, 100, 1000]
    slow, rest = 4, sum([1, 10, 100, 1000][: last - 4])
    assert modulation._ratio(energies, RATE) == pytest.approx(slow / rest, rel=1e-6)


def test_bandwidth_is_where_ninety_percent_of_the_energy_lies() -> None:
    energies = np.zeros((23, 8))
    energies[0, :] = 1.0
    energies[22, 0] = 8 * 0.1 / 0.9 * 0.99  # a little under a tenth: the first channel holds the ninety
    assert modulation._ratio(energies, RATE) == pytest.approx((4 + energies[22, 0]) / 2)
    energies[22, 0] *= 1.05
    assert modulation._ratio(energies, RATE) == pytest.approx((4 + energies[22, 0]) / 4)


# Pauses


def test_pauses_are_cut_between_sounds() -> None:
    x = np.concatenate([np.zeros(2000), np.ones(100), np.full(1000, 1e-3), np.ones(100), np.zeros(700), np.ones(100)])
    x = np.concatenate([x, np.zeros(3000)])
    found = modulation.without_pauses(x, RATE)  # 700 samples are 44 ms, 1000 are 63 ms
    assert len(found) == len(x) - 1000
    assert np.array_equal(found[:2200], np.concatenate([np.zeros(2000), np.ones(200)]))


def test_a_quiet_stretch_above_the_threshold_stays() -> None:
    x = np.concatenate([np.ones(100), np.full(1000, 10 ** (-49 / 20)), np.ones(100)])
    assert len(modulation.without_pauses(x, RATE)) == 1200
    x[100:1100] = 10 ** (-51 / 20)
    assert len(modulation.without_pauses(x, RATE)) == 200


def test_a_long_pause_changes_nothing() -> None:
    x, y = speechlike(0), speechlike(1)
    x[-1] = y[0] = 0.1
    together = modulation.srmr(estimate=np.concatenate([x, y]), sample_rate=RATE)
    apart = modulation.srmr(estimate=np.concatenate([x, np.zeros(RATE), y]), sample_rate=RATE)
    assert apart == pytest.approx(together, rel=1e-9)


# Properties


@given(gain=st.floats(1e-20, 1e20), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 50))
@settings(max_examples=5)
def test_scale_and_polarity_are_free(gain: float, sign: int, seed: int) -> None:
    x = speechlike(seed, 0.5)
    expected = modulation.srmr(estimate=x, sample_rate=RATE)
    assert modulation.srmr(estimate=sign * gain * x, sample_rate=RATE) == pytest.approx(expected, rel=1e-9)


def test_reverberation_and_noise_lower_it() -> None:
    x = speechlike(2, 2.0)
    rng = np.random.default_rng(3)
    scores = [modulation.srmr(estimate=x, sample_rate=RATE)]
    for rt60_s in (0.3, 0.8):
        tail = rng.standard_normal(RATE) * 10 ** (-3 * np.arange(RATE) / RATE / rt60_s)
        wet = np.fft.irfft(np.fft.rfft(x, 4 * RATE) * np.fft.rfft(tail, 4 * RATE))[: len(x)]
        scores.append(modulation.srmr(estimate=wet, sample_rate=RATE))
    assert scores == sorted(scores, reverse=True)
    noisy = modulation.srmr(estimate=x + 0.1 * rng.standard_normal(len(x)), sample_rate=RATE)
    assert noisy < 0.5 * scores[0]


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates(rate: int) -> None:
    slow = modulation.srmr(estimate=speechlike(4, 1.0, rate), sample_rate=rate)
    flat = modulation.srmr(estimate=np.random.default_rng(5).standard_normal(rate), sample_rate=rate)
    assert 0 < flat < slow < np.inf


def hostile() -> dict[str, Signal]:
    x = speechlike(6, 0.5)
    half = x.copy()
    half[:4000] = 0
    return {
        "half silent": half,
        "offset": x + 0.5,
        "constant": np.full(8000, 0.5),
        "click at the start": np.eye(1, 8000)[0],
        "click at the end": np.eye(1, 8000, 7999)[0],
        "clipped": np.clip(1000 * x, -1, 1),
        "tiny": 1e-300 * x,
        "huge": 1e300 * x,
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_signals_get_finite_numbers(name: str) -> None:
    assert 0 < modulation.srmr(estimate=hostile()[name], sample_rate=RATE) < 1e6


def test_refusals() -> None:
    x = speechlike(7)
    with pytest.raises(EstimateFault, match="silent"):
        modulation.srmr(estimate=0 * x, sample_rate=RATE)
    with pytest.raises(EstimateFault, match="too_short"):
        modulation.srmr(estimate=x[:4095], sample_rate=RATE)
    assert modulation.srmr(estimate=x[:4096], sample_rate=RATE) > 0
    two_clicks = np.zeros(RATE)
    two_clicks[[0, -1]] = 1  # all pause
    with pytest.raises(EstimateFault, match="too_short"):
        modulation.srmr(estimate=two_clicks, sample_rate=RATE)
    with pytest.raises(ValueError, match="sample_rate must be at least 8000 Hz, got 4000"):
        modulation.srmr(estimate=x, sample_rate=4000)
    with pytest.raises(ValueError, match=r"estimate must have shape \(samples,\)"):
        modulation.srmr(estimate=x[None], sample_rate=RATE)
    with pytest.raises(ValueError, match="estimate must be finite"):
        modulation.srmr(estimate=np.full(8000, np.nan), sample_rate=RATE)
