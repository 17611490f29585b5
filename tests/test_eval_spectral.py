"""eval.spectral against closed forms, librosa and the formulas of the papers written down again, and properties."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import spectral
from eval.outcome import EstimateFault, ReferenceFault, TooShort

Signal = NDArray[np.float64]
RATE = 16000

ORACLE = 1e-9  # the same sums in float64 in another order


def noise(seed: int, samples: int = 8000, level: float = 0.1) -> Signal:
    return level * np.random.default_rng(seed).standard_normal(samples)


def read(path: Path) -> Signal:
    import soundfile

    signal, rate = soundfile.read(path)
    assert rate == RATE
    return np.asarray(signal)


def librosa_lsd(s: Signal, e: Signal, rate: int) -> float:
    """ssr_eval's metric, with a floor that is only against a logarithm of 0."""
    import librosa

    def magnitude(x: Signal) -> Signal:
        return np.abs(librosa.stft(x, n_fft=int(2048 / (48000 / rate)), hop_length=rate // 100, pad_mode="constant"))

    ratio = np.log10(magnitude(s) ** 2 / (magnitude(e) + 1e-12) ** 2 + 1e-12)
    return float(np.mean(np.sqrt(np.mean(ratio**2, axis=0))))


def librosa_mrstft(s: Signal, e: Signal) -> float:
    """Parallel WaveGAN's loss: centred frames, mirrored ends, powers of at least 1e-7."""
    import librosa

    total = 0.0
    for n_fft, hop, window in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        a, b = (
            np.sqrt(
                np.maximum(
                    np.abs(librosa.stft(x, n_fft=n_fft, hop_length=hop, win_length=window, pad_mode="reflect")) ** 2,
                    1e-7,
                )
            )
            for x in (s, e)
        )
        total += np.linalg.norm(a - b) / np.linalg.norm(a) + np.mean(np.abs(np.log(a) - np.log(b)))
    return total / 3


def plain_phase_distance(s: Signal, e: Signal) -> float:
    """The definition, bin by bin, with the angle from the cosine instead of the argument."""
    import librosa

    a, b = (librosa.stft(x, n_fft=1024, hop_length=256, pad_mode="constant") for x in (s, e))
    cosine = np.clip(np.real(np.conj(a) * b) / (np.abs(a) * np.abs(b)), -1, 1)
    return float(np.degrees(np.sum(np.abs(a) * np.arccos(cosine)) / np.sum(np.abs(a))))


# Values known on paper


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
@pytest.mark.parametrize("gain_db", [-20.0, -1.0, 0.0, 6.0])
def test_lsd_of_a_gain_is_a_tenth_of_it(rate: int, gain_db: float) -> None:
    s = noise(0)
    e = 10 ** (gain_db / 20) * s
    assert spectral.lsd(reference=s, estimate=e, sample_rate=rate) == pytest.approx(abs(gain_db) / 10, abs=1e-6)


def test_lsd_of_digital_silence_is_the_range() -> None:
    """The estimate is silent and the reference an impulse, whose spectrum is flat: 100 dB in every frame that sees the
    impulse at its centre, less where the window is lower; frames without it cost nothing.
    """
    s = np.zeros(RATE)
    s[8000] = 0.5
    centre, offsets = 8000, np.arange(-2, 3) * 160
    window = [np.sin(np.pi * (341 + centre - (centre + o)) / 682) ** 2 for o in offsets]
    expected = sum(10 + 2 * np.log10(w) for w in window) / 101
    found = spectral.lsd(reference=s, estimate=np.zeros(RATE), sample_rate=RATE)
    assert found == pytest.approx(expected, abs=1e-9)


def test_lsd_bands_see_only_their_half() -> None:
    s = noise(1, RATE)
    whole = np.fft.rfft(s)
    whole[4000:] *= 0.1  # one bin per hertz
    damaged = np.fft.irfft(whole)
    bands = spectral.LsdReference.of(reference=s, sample_rate=RATE).bands(estimate=damaged, split_hz=4000)
    assert bands.low < 0.15  # the window spreads the edge over two bins of 171
    assert bands.high == pytest.approx(2.0, abs=0.02)  # 20 dB
    assert bands.low < bands.full < bands.high


def test_lsd_split_lies_at_the_bin_of_nu_wave_2() -> None:
    """NU-Wave 2 at 48 kHz with an input of 16 kHz: bins from int(1025 * 16 / 48) = 341 on are high."""
    s, e = noise(2, 9600), noise(3, 9600)
    whole = spectral.LsdReference.of(reference=s, sample_rate=48000)
    other = spectral.LsdReference.of(reference=e, sample_rate=48000)
    square = (whole.log_power - other.log_power) ** 2
    bands = whole.bands(estimate=e, split_hz=8000)
    assert bands.low == pytest.approx(np.mean(np.sqrt(square[:, :341].mean(axis=1))), abs=1e-9)
    assert bands.high == pytest.approx(np.mean(np.sqrt(square[:, 341:].mean(axis=1))), abs=1e-9)


def test_phase_distance_on_paper() -> None:
    s = noise(4)
    assert spectral.phase_distance(reference=s, estimate=3 * s, sample_rate=RATE) == pytest.approx(0, abs=1e-9)
    assert spectral.phase_distance(reference=s, estimate=-s, sample_rate=RATE) == pytest.approx(180, abs=1e-9)
    assert spectral.phase_distance(reference=s, estimate=0 * s, sample_rate=RATE) == pytest.approx(90, abs=1e-9)


@pytest.mark.parametrize("degrees", [10.0, 90.0, 135.0])
def test_phase_distance_of_a_turned_tone(degrees: float) -> None:
    turns = 1000 * np.arange(4 * RATE) / RATE
    s, e = np.cos(2 * np.pi * turns), np.cos(2 * np.pi * turns + np.radians(degrees))
    found = spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE)
    assert found == pytest.approx(degrees, abs=0.5)  # frames at the ends see half a tone


def test_phase_distance_of_independent_noises_is_a_right_angle() -> None:
    found = spectral.phase_distance(reference=noise(5, 4 * RATE), estimate=noise(6, 4 * RATE), sample_rate=RATE)
    assert found == pytest.approx(90, abs=1.0)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_mrstft_of_a_gain(gain: float) -> None:
    """Convergence |1 - g|, logarithm |ln g|."""
    s = noise(7)
    expected = abs(1 - gain) + abs(np.log(gain))
    assert spectral.mrstft(reference=s, estimate=gain * s) == pytest.approx(expected, abs=1e-6)


# Other implementations


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
def test_lsd_equals_ssr_eval(rate: int) -> None:
    s = noise(8)
    e = s + noise(9, level=0.05)
    found = spectral.lsd(reference=s, estimate=e, sample_rate=rate)
    assert found == pytest.approx(librosa_lsd(s, e, rate), abs=1e-7)  # its 1e-12 inside the logarithm
    assert found > 0.3


def test_mrstft_and_phase_distance_equal_librosa() -> None:
    s = noise(10)
    e = s + noise(11, level=0.05)
    assert spectral.mrstft(reference=s, estimate=e) == pytest.approx(librosa_mrstft(s, e), abs=ORACLE)
    found = spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE)
    assert found == pytest.approx(plain_phase_distance(s, e), abs=1e-6)  # arccos loses half the digits near 0


def test_real_speech_against_the_oracles(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "pesq_ludlows"
    s, e = read(folder / "speech.wav"), read(folder / "speech_bab_0dB.wav")
    # our floor at -100 dB is the difference: this reference has bins below it
    assert spectral.lsd(reference=s, estimate=e, sample_rate=RATE) == pytest.approx(librosa_lsd(s, e, RATE), abs=0.02)
    assert spectral.mrstft(reference=s, estimate=e) == pytest.approx(librosa_mrstft(s, e), abs=ORACLE)
    found = spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE)
    assert found == pytest.approx(plain_phase_distance(s, e), abs=1e-5)


def test_real_systems_come_in_their_order(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "enhancement_pairs"
    s = read(folder / "p257_018_clean.flac")
    scores = []
    for level in (-5, 5, 15):
        e = read(folder / f"p257_018_noisy_{level}dB.flac")[: len(s)]
        e = np.pad(e, (0, len(s) - len(e)))
        scores.append(
            (
                spectral.lsd(reference=s, estimate=e, sample_rate=RATE),
                spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE),
                spectral.mrstft(reference=s, estimate=e),
            )
        )
    assert (np.diff(np.array(scores), axis=0) < 0).all()


# Properties


@given(seed=st.integers(0, 100), snr_db=st.floats(-20, 40), samples=st.integers(1100, 6000))
@settings(max_examples=20)
def test_lsd_is_symmetric_and_scale_free_in_common(seed: int, snr_db: float, samples: int) -> None:
    s = noise(seed, samples)
    e = s + noise(seed + 1, samples, 0.1 * 10 ** (-snr_db / 20))
    there = spectral.lsd(reference=s, estimate=e, sample_rate=RATE)
    assert spectral.lsd(reference=e, estimate=s, sample_rate=RATE) == pytest.approx(there, abs=1e-4)
    assert spectral.lsd(reference=1e-3 * s, estimate=1e-3 * e, sample_rate=RATE) == pytest.approx(there, abs=1e-9)
    assert there > 0


@given(seed=st.integers(0, 100), split_hz=st.floats(100, 7900))
@settings(max_examples=15)
def test_bands_add_up_frame_by_frame(seed: int, split_hz: float) -> None:
    """With one frame: bins * full^2 = low bins * low^2 + high bins * high^2."""
    s, e = noise(seed, 159), noise(seed + 1, 159)
    bands = spectral.LsdReference.of(reference=s, sample_rate=RATE).bands(estimate=e, split_hz=split_hz)
    split = int(342 * split_hz / 8000)
    assert split * bands.low**2 + (342 - split) * bands.high**2 == pytest.approx(342 * bands.full**2, rel=1e-9)


@given(seed=st.integers(0, 100), gain=st.floats(1e-6, 1e6), their_gain=st.floats(1e-6, 1e6))
@settings(max_examples=15)
def test_phase_distance_is_scale_free_and_mirrored_by_polarity(seed: int, gain: float, their_gain: float) -> None:
    s = noise(seed, 2000)
    e = s + noise(seed + 1, 2000)
    found = spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE)
    scaled = spectral.phase_distance(reference=gain * s, estimate=-their_gain * e, sample_rate=RATE)
    assert scaled == pytest.approx(180 - found, abs=1e-6)
    assert 0 < found < 90


def test_all_grow_with_noise() -> None:
    s, n = noise(12), noise(13)
    pairs = [s + 10 ** (-snr_db / 20) * n for snr_db in (-10, 0, 10, 20, 30)]
    for values in (
        [spectral.lsd(reference=s, estimate=e, sample_rate=RATE) for e in pairs],
        [spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE) for e in pairs],
        [spectral.mrstft(reference=s, estimate=e) for e in pairs],
    ):
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.2 * values[0]


def test_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    s, e = noise(14, 4000), noise(15, 4000)

    def all_scores() -> list[float]:
        return [
            spectral.lsd(reference=s, estimate=e, sample_rate=RATE),
            spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE),
            spectral.mrstft(reference=s, estimate=e),
        ]

    whole = all_scores()
    monkeypatch.setattr(spectral, "_BLOCK", 7)
    assert all_scores() == pytest.approx(whole, rel=1e-12)


def test_one_reference_serves_many_estimates() -> None:
    s, others = noise(16), [noise(17), noise(18)]
    ours = spectral.LsdReference.of(reference=s, sample_rate=RATE)
    phase = spectral.PhaseReference.of(reference=s, sample_rate=RATE)
    multi = spectral.MrstftReference.of(reference=s)
    for e in others:
        pair = {"reference": s, "estimate": e}
        assert ours.lsd(estimate=e) == spectral.lsd(**pair, sample_rate=RATE)
        assert ours.bands(estimate=e).full == ours.lsd(estimate=e)
        assert ours.bands(estimate=e).low == spectral.lsd_lf(**pair, sample_rate=RATE)
        assert ours.bands(estimate=e).high == spectral.lsd_hf(**pair, sample_rate=RATE)
        assert phase.phase_distance(estimate=e) == spectral.phase_distance(**pair, sample_rate=RATE)
        assert multi.mrstft(estimate=e) == spectral.mrstft(**pair)


# What audio can do


def hostile() -> dict[str, Signal]:
    s = noise(19)
    half = s.copy()
    half[:4000] = 0
    click = np.zeros_like(s)
    click[5000] = 1
    return {
        "half silent": half,
        "offset": s + 0.5,
        "huge": 1e38 * s,
        "tiny": 1e-30 * s,
        "click": click,
        "clipped": np.clip(100 * s, -1, 1),
        "silent": 0 * s,
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_estimates_get_finite_numbers(name: str) -> None:
    s, e = noise(19), hostile()[name]
    assert 0 < spectral.lsd(reference=s, estimate=e, sample_rate=RATE) < 100
    assert 0 <= spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE) <= 180
    assert 0 < spectral.mrstft(reference=s, estimate=e) < np.inf


@pytest.mark.parametrize("name", [name for name in hostile() if name != "silent"])
def test_hostile_references_get_finite_numbers(name: str) -> None:
    s, e = hostile()[name], noise(19)
    assert 0 < spectral.lsd(reference=s, estimate=e, sample_rate=RATE) < 100
    assert 0 <= spectral.phase_distance(reference=s, estimate=e, sample_rate=RATE) <= 180
    assert 0 < spectral.mrstft(reference=s, estimate=e) < np.inf
    assert spectral.lsd(reference=s, estimate=s, sample_rate=RATE) == 0
    assert spectral.phase_distance(reference=s, estimate=s, sample_rate=RATE) == pytest.approx(0, abs=1e-5)
    assert spectral.mrstft(reference=s, estimate=s) == 0


def test_digital_silence_in_both_costs_nothing() -> None:
    s = noise(20)
    s[:6000] = 0
    e = 0.5 * s
    frames = spectral.LsdReference.of(reference=s, sample_rate=RATE).log_power
    sounding = (frames.max(axis=1) > frames.min()).sum()
    found = spectral.lsd(reference=s, estimate=e, sample_rate=RATE)
    assert found == pytest.approx(2 * np.log10(2) * sounding / len(frames), abs=0.02)


def test_refusals() -> None:
    s = noise(21)
    with pytest.raises(EstimateFault, match="out_of_range"):
        spectral.lsd(reference=s, estimate=1e150 * s, sample_rate=RATE)
    with pytest.raises(EstimateFault, match="out_of_range"):
        spectral.mrstft(reference=s, estimate=np.full(len(s), np.nan))
    with pytest.raises(ReferenceFault, match="out_of_range"):
        spectral.phase_distance(reference=1e150 * s, estimate=s, sample_rate=RATE)
    with pytest.raises(ReferenceFault, match="silent"):
        spectral.lsd(reference=0 * s, estimate=s, sample_rate=RATE)
    with pytest.raises(TooShort, match="under_one_frame"):
        spectral.mrstft(reference=s[:1024], estimate=s[:1024])
    with pytest.raises(ValueError, match=r"shape \(8000,\), got \(7999,\)"):
        spectral.lsd(reference=s, estimate=s[:-1], sample_rate=RATE)
    with pytest.raises(ValueError, match=r"shape \(samples,\).*got \(1, 8000\)"):
        spectral.lsd(reference=s[None], estimate=s, sample_rate=RATE)
    for split_hz in (0, 8000, 9000):
        with pytest.raises(ValueError, match=f"both sides below 8000 Hz, got {split_hz}"):
            spectral.lsd_hf(reference=s, estimate=s, sample_rate=RATE, split_hz=split_hz)
