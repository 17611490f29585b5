"""eval.reverb against values known on paper, a plain loop over frames, and properties. No published values exist."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import reverb
from eval.outcome import EstimateFault, ReferenceFault, TooShort

Signal = NDArray[np.float64]

RATE = 16000
PLAIN = 1e-9
BOUNDS = {"cd_reverb": (0, 10), "llr_reverb": (0, 2), "fwsegsnr_reverb": (-10, 35)}


def coloured(seed: int, samples: int) -> Signal:
    """Noise with a spectrum that falls like speech's and a level that comes and goes."""
    from scipy.signal import lfilter

    noise = lfilter([0.05], [1, -0.9], np.random.default_rng(seed).standard_normal(samples))
    return np.asarray(noise * (0.55 + 0.45 * np.sin(np.arange(samples) / 900)))


def measures(s: Signal, e: Signal, rate: int = RATE) -> dict[str, float]:
    return reverb.Reference.of(reference=s, sample_rate=rate).measures(e)


def both(cd: float, llr: float, snr: float) -> dict[str, float]:
    """Equal means and medians."""
    return dict(zip(reverb.NAMES, (cd, cd, llr, llr, snr, snr), strict=True))


# Values known on paper


@pytest.mark.parametrize("gain", [1.0, -1.0, 0.01, 30.0])
def test_scale_is_free(gain: float) -> None:
    s = coloured(0, 8000)
    assert measures(s, gain * s) == pytest.approx(both(0, 0, 35), abs=1e-9)


def test_mean_cepstrum_is_free_but_not_the_rest() -> None:
    # a filter adds its cepstrum to every frame: without edge effects the mean over time takes it away
    s = np.zeros(16000)
    s[200::160] = np.random.default_rng(0).uniform(0.5, 2, len(s[200::160]))  # the same place in every frame
    e = s.copy()
    e[201::160] = 0.5 * s[200::160][: len(e[201::160])]
    found = measures(s, e)
    assert found["cd_reverb"] < 0.5
    assert found["llr_reverb"] > 0.1


def test_distance_of_a_level_that_alternates() -> None:
    # only c_0 differs, by +-ln 2: 10 / ln 10 ln 2 = 3.01 dB in every frame
    s, e = np.zeros(16000), np.zeros(16000)
    s[200::400], e[200::400] = 1, np.resize([1.0, 4.0], 40)
    half = 160 * np.arange((16000 - 400) // 160 + 1)
    alone = [np.count_nonzero(s[start : start + 400]) for start in half]
    assert set(alone) == {1}  # one click in every frame: its spectrum is flat
    from_frames = [e[start : start + 400].max() for start in half]
    logs = np.log(from_frames) - np.log(from_frames).mean()
    expected = np.abs(10 / math.log(10) * logs)
    found = measures(s, e)
    assert found["cd_reverb"] == pytest.approx(expected.mean(), abs=1e-9)
    assert found["cd_reverb_median"] == pytest.approx(np.median(expected), abs=1e-9)


def test_snr_of_silence_is_zero() -> None:
    # an estimate of 0 in a frame leaves an error as large as the reference
    s = np.random.default_rng(0).standard_normal(16000)
    e = s.copy()
    e[400:] = 0
    found = measures(s, e)
    assert found["fwsegsnr_reverb_median"] == pytest.approx(0, abs=1e-9)


def test_likelihood_of_a_click_pair() -> None:
    # lags of the click: 1, 0, 0, ...; of the pair (1, c): 1 + c^2, c, 0, ... The click's matrix R is the identity, so
    # LLR = log |a|^2 of the pair's polynomial
    from scipy.linalg import solve_toeplitz

    s, e = np.zeros(400), np.zeros(400)
    s[200] = 1
    window = np.hanning(402)[1:-1]
    e[200:202] = [1 / window[200], 0.6 / window[201]]
    lags = np.array([1 + 0.36, 0.6, *np.zeros(11)])
    a = solve_toeplitz(lags[:-1], -lags[1:])
    expected = math.log(1 + a @ a)
    assert measures(s, e)["llr_reverb"] == pytest.approx(expected, abs=1e-6)


def test_mel_bands() -> None:
    from librosa.filters import mel

    for rate in (8000, 16000, 48000):
        layout = reverb._layout(rate)
        expected = mel(sr=rate, n_fft=layout.size, n_mels=23, fmin=0, fmax=rate / 2, htk=True, norm=None)
        assert layout.mel == pytest.approx(expected.T, abs=1e-6)


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2)])
def test_only_whole_frames_count(samples: int, frames: int) -> None:
    assert reverb._layout(RATE).frames(samples) == frames


# A plain loop over frames


def plain(s: Signal, e: Signal, rate: int) -> dict[str, float]:
    """The definitions, one frame at a time."""
    length, hop = 25 * rate // 1000, 10 * rate // 1000
    size = 2 ** math.ceil(math.log2(length))
    starts = range(0, len(s) - length + 1, hop)
    window = np.hanning(length + 2)[1:-1]
    frames = [[window * x[start : start + length] for start in starts] for x in (s, e)]

    cepstra = []
    for side in frames:
        spectra = [np.abs(np.fft.fft(frame, size)) for frame in side]
        floor = np.max(spectra) * 1e-5
        rows = np.array([np.fft.ifft(np.log(np.maximum(x, floor))).real[:25] for x in spectra])
        cepstra.append(rows - rows.mean(axis=0))
    d = cepstra[0] - cepstra[1]
    cd = [min(10, 10 / math.log(10) * math.sqrt(row[0] ** 2 + 2 * np.sum(row[1:] ** 2))) for row in d]

    llr = []
    for x, y in zip(*frames, strict=True):
        (r, a), (_, b) = plain_predictor(x), plain_predictor(y)
        llr.append(math.log((b @ r @ b) / (a @ r @ a)))
    llr = [min(2, max(0, ratio)) for ratio in sorted(llr)[: math.ceil(0.95 * len(llr))]]

    snr = []
    for x, y in zip(*frames, strict=True):
        p = plain_mel(rate, size) @ np.abs(np.fft.rfft(x, size)) / np.linalg.norm(s)
        q = plain_mel(rate, size) @ np.abs(np.fft.rfft(y, size)) / np.linalg.norm(e)
        frame = 10 * np.sum(p**0.2 * np.log10(p**2 / (p - q) ** 2)) / np.sum(p**0.2)
        snr.append(min(35, max(-10, frame)))
    values = [float(statistic(v)) for v in (cd, llr, snr) for statistic in (np.mean, np.median)]
    return dict(zip(reverb.NAMES, values, strict=True))


def plain_predictor(x: Signal) -> tuple[Signal, Signal]:
    from scipy.linalg import toeplitz

    lags = np.array([x[: len(x) - k] @ x[k:] for k in range(13)])
    return toeplitz(lags), np.concatenate([[1], np.linalg.solve(toeplitz(lags[:-1]), -lags[1:])])


@functools.cache
def plain_mel(rate: int, size: int) -> Signal:
    mels = 2595 * math.log10(1 + rate / 1400)
    edge = [700 * (10 ** (mels * i / 24 / 2595) - 1) for i in range(25)]
    bank = np.zeros((23, size // 2 + 1))
    for band in range(23):
        for bin_ in range(size // 2 + 1):
            f = bin_ * rate / size
            if edge[band] < f <= edge[band + 1]:
                bank[band, bin_] = (f - edge[band]) / (edge[band + 1] - edge[band])
            elif edge[band + 1] < f < edge[band + 2]:
                bank[band, bin_] = (edge[band + 2] - f) / (edge[band + 2] - edge[band + 1])
    return bank


@pytest.mark.parametrize(("rate", "seconds"), [(8000, 0.6), (16000, 3.1), (44100, 0.5)])
def test_plain_loop(rate: int, seconds: float) -> None:
    s = coloured(1, int(seconds * rate))  # 3.1 s are more frames than are worked on at a time
    e = 0.7 * s + 0.3 * coloured(2, len(s)) + 0.003 * np.random.default_rng(3).standard_normal(len(s))
    found = measures(s, e, rate)
    for name, value in plain(s, e, rate).items():
        assert found[name] == pytest.approx(value, rel=PLAIN, abs=PLAIN), name


# Properties


@given(snr_db=st.floats(-5, 30), step_db=st.floats(5, 10), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_more_noise_is_worse(snr_db: float, step_db: float, seed: int) -> None:
    s, noise = coloured(seed, 8000), np.random.default_rng(seed).standard_normal(8000)
    noise *= np.sqrt(np.mean(s**2))
    better, worse = (measures(s, s + 10 ** (-level / 20) * noise) for level in (snr_db, snr_db - step_db))
    assert worse["fwsegsnr_reverb"] < better["fwsegsnr_reverb"]
    assert worse["llr_reverb"] > better["llr_reverb"] or better["llr_reverb"] > 1.9
    assert worse["cd_reverb"] > better["cd_reverb"]


def test_more_reverberation_is_worse() -> None:
    rng = np.random.default_rng(0)
    s = coloured(0, 16000) * (np.arange(16000) % 4000 < 2000)
    tail = rng.standard_normal(4000) * 10 ** (-3 * np.arange(4000) / 4000)
    found = [measures(s, s + level * np.convolve(s, tail)[:16000]) for level in (0.01, 0.1, 1.0)]
    assert found[0]["cd_reverb"] < found[1]["cd_reverb"] < found[2]["cd_reverb"]
    assert found[0]["llr_reverb"] < found[1]["llr_reverb"] < found[2]["llr_reverb"]
    assert found[0]["fwsegsnr_reverb"] > found[1]["fwsegsnr_reverb"] > found[2]["fwsegsnr_reverb"]


def hostile() -> dict[str, Signal]:
    s = coloured(5, 6000)
    half, click = s.copy(), np.zeros(6000)
    half[2000:4500] = 0
    click[3000] = 1
    return {
        "speech": s,
        "silence in parts": half,
        "one click": click,
        "offset": s + 0.5,
        "constant": np.full(6000, 0.5),
        "clipped": np.sign(s),
        "tone": np.sin(np.arange(6000) * 0.3),
        "huge": 1e90 * s,
        "tiny": 1e-200 * s,
        "16 bit": np.round(s * 32767) / 32768,
    }


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("reference", hostile())
def test_hostile_signals_have_finite_measures(reference: str, rate: int) -> None:
    half = reverb.Reference.of(reference=hostile()[reference], sample_rate=rate)
    for name, estimate in hostile().items():
        for measure, value in half.measures(estimate).items():
            low, high = BOUNDS[measure.removesuffix("_median")]
            assert low <= value <= high, (name, measure, value)


def test_silent_frames_of_the_reference() -> None:
    s = coloured(1, 16000)
    s[4000:12000] = 0
    assert measures(s, s) == both(0, 0, 35)
    e = s.copy()
    e[5000:11000] = 0.01 * np.random.default_rng(0).standard_normal(6000)
    found, voiced = measures(s, e), np.concatenate([s[:4000], s[12000:]])
    assert found["llr_reverb"] > 0.5
    assert found["cd_reverb"] > 2
    assert found["fwsegsnr_reverb"] > 20  # only its scale to unit energy sees the noise there
    assert measures(voiced, voiced)["fwsegsnr_reverb"] == 35


# The two halves, and arguments


def test_names_are_what_is_computed() -> None:
    s, e = coloured(1, 6000), coloured(2, 6000)
    whole = measures(s, e)
    assert tuple(whole) == reverb.NAMES
    for name in reverb.NAMES:
        one = reverb.Reference.of(reference=s, sample_rate=RATE, names=[name]).measures(e)
        assert one == {name: whole[name]}
    for function in (reverb.cd_reverb, reverb.llr_reverb, reverb.fwsegsnr_reverb):
        assert function(reference=s, estimate=e, sample_rate=RATE) == whole[function.__name__]
    with pytest.raises(ValueError, match=r"names must be of cd_reverb, .*, got 'srmr'"):
        reverb.Reference.of(reference=s, sample_rate=RATE, names=["srmr"])


def test_one_reference_serves_many_estimates() -> None:
    half = reverb.Reference.of(reference=coloured(1, 6000), sample_rate=RATE)
    first = half.measures(coloured(2, 6000))
    half.measures(coloured(3, 6000))
    assert half.measures(coloured(2, 6000)) == first


def test_refusals() -> None:
    s, late = coloured(1, 2100), np.zeros(2100)
    late[-1] = 1  # behind the last whole frame
    with pytest.raises(TooShort, match="under_1_frame"):
        measures(s[:399], s[:399])
    for silence in (np.zeros(2100), late):
        with pytest.raises(ReferenceFault, match="silent"):
            measures(silence, s)
        with pytest.raises(EstimateFault, match="silent"):
            measures(s, silence)
    with pytest.raises(EstimateFault, match="overflow"):
        measures(s, 1e200 * s)
    with pytest.raises(ValueError, match=r"sample_rate must be at least 4000 Hz, got 3999"):
        measures(s, s, 3999)
    with pytest.raises(ValueError, match=r"estimate must have the reference's shape \(2100,\), got \(2099,\)"):
        measures(s, s[:-1])
    with pytest.raises(ValueError, match="estimate must be finite"):
        measures(s, s * np.nan)
