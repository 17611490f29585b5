"""eval.pitch against published values of VERSA, synthetic voices of known pitch, librosa, pysptk, and properties."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import pitch
from eval.outcome import EstimateFault, ReferenceFault, TooShort
from eval.pitch import Pair, Reference, Voice

pytest.importorskip("pyworld")

Signal = NDArray[np.float64]
RATE = pitch.RATE

PUBLISHED = 1e-9  # the same analysis and the same sums in float64


def read(path: Path) -> Signal:
    import soundfile

    signal, rate = soundfile.read(path)
    assert rate == RATE
    return np.asarray(signal)


def sung(f0_hz: Signal) -> Signal:
    """Harmonics up to 3.6 kHz, falling by 6 dB per octave, of an F0 given for every sample; silent where it is 0."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE
    partials = [np.where(k * f0_hz < 3600, np.sin(k * phase) / k, 0) for k in range(1, 30)]
    return 0.1 * np.sum(partials, axis=0) * (f0_hz > 0)


def vibrato(centre_hz: float = 200.0, seconds: float = 0.6) -> Signal:
    """One semitone up and down, 5 times a second."""
    t = np.arange(int(seconds * RATE)) / RATE
    return centre_hz * 2 ** (np.sin(2 * np.pi * 5 * t) / 12)


def voice(f0_hz: Any, cepstrum: Signal | None = None, power: Signal | None = None) -> Voice:
    """An analysis by hand."""
    f0 = np.asarray(f0_hz, dtype=np.float64)
    return Voice(
        samples=80 * len(f0),
        f0_hz=f0,
        power=np.ones(len(f0)) if power is None else power,
        cepstrum=np.zeros((len(f0), 40)) if cepstrum is None else cepstrum,
    )


# Published values


def test_versa(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "versa_general"
    published = json.loads((folder / "expected.json").read_text())["scores"]
    pair = Reference.of(reference=read(folder / "ref_test1.wav"), sample_rate=RATE).against(
        estimate=read(folder / "gen_test2.wav")
    )
    assert pair.mcd() == pytest.approx(published["mcd"], abs=PUBLISHED)
    assert pair.f0_rmse_all() == pytest.approx(published["f0rmse"], abs=PUBLISHED)
    assert pair.fpc() == pytest.approx(published["f0corr"], abs=PUBLISHED)


# Values known on paper, on analyses made by hand


def test_f0_on_paper() -> None:
    pair = Pair(voice([0, 100, 200, 300, 0, 400]), voice([0, 110, 190, 0, 50, 400]))
    assert pair.f0_rmse() == pytest.approx(np.sqrt((100 + 100 + 0) / 3))
    assert pair.f0_rmse_all() == pytest.approx(np.sqrt((100 + 100 + 90000 + 2500) / 6))
    logs = np.log([1.1, 0.95, 1])
    assert pair.f0_rmse_log() == pytest.approx(np.sqrt(np.mean(logs**2)))
    assert pair.f0_corr() == pytest.approx(np.corrcoef([100, 200, 400], [110, 190, 400])[0, 1])
    assert pair.fpc() == pytest.approx(np.corrcoef([0, 100, 200, 300, 0, 400], [0, 110, 190, 0, 50, 400])[0, 1])
    assert pair.vuv_f1() == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))


def test_an_octave() -> None:
    ours = np.array([100.0, 150, 200])
    pair = Pair(voice(ours), voice(2 * ours))
    assert pair.f0_rmse_log() == pytest.approx(np.log(2))
    assert 1731.2 * pair.f0_rmse_log() == pytest.approx(1200, abs=0.1)  # cents
    assert pair.f0_corr() == pytest.approx(1)
    assert Pair(voice(ours), voice(400 - ours)).f0_corr() == pytest.approx(-1)


def test_mcd_on_paper() -> None:
    """One coefficient off by 0.1, then two: 10 / ln 10 sqrt(2) 0.1 is 0.6142 dB."""
    ours, theirs = np.zeros((2, 40)), np.zeros((2, 40))
    theirs[0, 0] = 0.1
    theirs[1, [5, 39]] = 0.1
    pair = Pair(voice([100, 100], ours), voice([100, 100], theirs))
    assert pair.mcd() == pytest.approx(0.61418 * (1 + np.sqrt(2)) / 2, abs=1e-5)


def test_unvoiced_on_either_side() -> None:
    none, some, others = voice([0, 0, 0]), voice([0, 100, 120]), voice([90, 0, 0])
    for name in ("f0_rmse", "f0_rmse_log", "f0_rmse_all", "f0_corr", "fpc", "vuv_f1"):
        with pytest.raises(ReferenceFault, match=r"^unvoiced$"):
            getattr(Pair(none, some), name)()
        with pytest.raises(ReferenceFault, match=r"^unvoiced$"):
            getattr(Pair(none, none), name)()
        if name != "vuv_f1":
            with pytest.raises(EstimateFault, match=r"^unvoiced$"):
                getattr(Pair(some, none), name)()
    assert Pair(some, none).vuv_f1() == 0
    assert Pair(some, others).vuv_f1() == 0
    for name in ("f0_rmse", "f0_rmse_log", "f0_corr"):
        with pytest.raises(EstimateFault, match=r"^no_common_voiced$"):
            getattr(Pair(some, others), name)()
    assert Pair(some, others).f0_rmse_all() > 0


def test_a_pitch_that_does_not_move_has_no_correlation() -> None:
    flat, moving = voice([100, 100, 100, 100]), voice([100, 110, 120, 120])
    for name in ("f0_corr", "fpc"):
        with pytest.raises(ReferenceFault, match=r"^constant_pitch$"):
            getattr(Pair(flat, moving), name)()
        with pytest.raises(EstimateFault, match=r"^constant_pitch$"):
            getattr(Pair(moving, flat), name)()
    with pytest.raises(EstimateFault, match=r"^constant_pitch$"):
        Pair(moving, voice([0, 0, 110, 120])).f0_corr()  # it left the flat end of a reference that moves
    assert Pair(voice([0, 100, 100]), voice([0, 90, 90])).fpc() == pytest.approx(1)
    with pytest.raises(ReferenceFault, match=r"^constant_pitch$"):
        Pair(voice([0, 100, 100]), voice([0, 90, 90])).f0_corr()


# Voices whose pitch is known


@pytest.mark.parametrize("hz", [80.0, 220.0, 440.0])
def test_a_steady_voice(hz: float) -> None:
    found = Voice.of(sung(np.full(RATE // 2, hz)), RATE)
    assert found.f0_hz.shape == (101,)
    assert found.f0_hz[20:-20] == pytest.approx(hz, rel=2e-3)


def test_a_vibrato_and_its_transposition() -> None:
    true = vibrato()
    reference = Reference.of(reference=sung(true), sample_rate=RATE)
    inner = slice(10, -10)
    delay = pitch.LOW_CUT_TAPS // 2  # of the low-cut filter
    at = np.maximum(np.arange(len(reference.voice.f0_hz)) * 80 - delay, 0)
    assert reference.voice.f0_hz[inner] == pytest.approx(true[at[inner]], rel=0.01)
    pair = reference.against(estimate=sung(1.1 * true))
    assert pair.f0_rmse_log() == pytest.approx(np.log(1.1), abs=2e-3)
    assert pair.f0_rmse() == pytest.approx(np.sqrt(np.mean((0.1 * true) ** 2)), rel=0.03)
    assert pair.f0_corr() > 0.99
    assert pair.vuv_f1() > 0.95


def test_a_voice_that_stops_half_way() -> None:
    whole = vibrato(seconds=0.8)
    half = np.where(np.arange(len(whole)) < len(whole) // 2, whole, 0)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(whole))
    pair = Reference.of(reference=sung(whole) + noise, sample_rate=RATE).against(estimate=sung(half) + noise)
    assert pair.vuv_f1() == pytest.approx(2 / 3, abs=0.05)
    assert pair.f0_rmse() < 5
    assert pair.f0_rmse_all() == pytest.approx(np.sqrt(np.mean(whole**2) / 2), rel=0.1)
    assert pair.fpc() < 0.5


def test_a_gain_costs_its_db_over_the_square_root_of_two() -> None:
    s = sung(vibrato(seconds=0.3))
    pair = Reference.of(reference=s, sample_rate=RATE).against(estimate=0.5 * s)
    assert pair.mcd() == pytest.approx(20 * np.log10(2) / np.sqrt(2), abs=0.02)  # WORLD adds a little noise
    assert pair.mcd_dtw() == pytest.approx(20 * np.log10(2) / np.sqrt(2), abs=0.3)  # other frames may be closer


def test_a_delay_costs_mcd_and_not_its_warped_form() -> None:
    t = np.arange(int(0.5 * RATE)) / RATE
    s = sung(150 + 100 * t) * (1.2 + np.sin(2 * np.pi * 7 * t))
    e = np.concatenate([np.zeros(800), s[:-800]])  # 50 ms
    pair = Reference.of(reference=s, sample_rate=RATE).against(estimate=e)
    assert pair.mcd_dtw() < 0.5 * pair.mcd()


# Mel-cepstrum and warping of time against others


def test_mel_cepstrum_is_sptks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pysptk asks for pkg_resources
        pysptk = pytest.importorskip("pysptk")
    power = np.random.default_rng(1).random((4, 513)) + 1e-6
    for order, warping in ((39, 0.466), (24, 0.41), (10, 0.0)):
        expected = pysptk.sp2mc(power, order, warping)
        assert pitch.mel_cepstrum(power, order, warping) == pytest.approx(expected, abs=1e-12)


def test_mel_cepstrum_evaluates_to_the_spectrum_it_came_from() -> None:
    """sum_k m_k cos(k w~) is ln |H(w)| at the warped frequency w~ of each w, for a spectrum smooth enough."""
    w = np.pi * np.arange(513) / 512
    log_magnitude = 0.3 + 0.8 * np.cos(w) - 0.4 * np.cos(2 * w) + 0.2 * np.cos(3 * w)
    a = pitch.WARPING
    m = pitch.mel_cepstrum(np.exp(2 * log_magnitude)[None], order=60, warping=a)[0]
    warped = w + 2 * np.arctan(a * np.sin(w) / (1 - a * np.cos(w)))
    assert np.cos(np.outer(warped, np.arange(61))) @ m == pytest.approx(log_magnitude, abs=1e-9)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), m=st.integers(1, 30), size=st.integers(1, 3))
@settings(max_examples=25)
def test_warped_mean_is_librosas(seed: int, n: int, m: int, size: int) -> None:
    import librosa
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(seed)
    ours, theirs = np.cumsum(rng.standard_normal((n, size)), axis=0), np.cumsum(rng.standard_normal((m, size)), axis=0)
    total, path = librosa.sequence.dtw(C=10 * np.sqrt(2) / np.log(10) * cdist(ours, theirs))
    assert pitch._warped_mean(ours, theirs) == pytest.approx(total[-1, -1] / len(path), rel=1e-9)


def test_pauses_are_left_out_of_the_warped_form() -> None:
    """Power 21 dB below the mean goes, 19 dB stays: three loud frames of 1, one quiet."""
    ours, theirs = np.zeros((4, 40)), np.zeros((4, 40))
    theirs[3, 0] = 100.0
    for below_db, counts in ((21.0, False), (19.0, True)):
        quiet = 3 / (4 * 10 ** (below_db / 10) - 1)  # quiet / mean = 10^(-below / 10)
        power = np.array([1, 1, 1, quiet])
        pair = Pair(voice([1, 1, 1, 1], ours, power), voice([1, 1, 1, 1], theirs, power))
        assert (pair.mcd_dtw() > 1) is counts
        assert pair.mcd() > 100


# Properties on real analyses


def test_identity_polarity_and_many_estimates() -> None:
    s, e = sung(vibrato(seconds=0.15)), sung(vibrato(150.0, seconds=0.15))
    reference = Reference.of(reference=s, sample_rate=RATE)
    same = reference.against(estimate=s)
    assert (same.mcd(), same.mcd_dtw(), same.f0_rmse(), same.f0_rmse_log(), same.f0_rmse_all()) == (0, 0, 0, 0, 0)
    assert (same.f0_corr(), same.fpc(), same.vuv_f1()) == pytest.approx((1, 1, 1))
    assert reference.against(estimate=-s).f0_rmse() < 0.5
    pair = reference.against(estimate=e)
    for name in ("mcd", "mcd_dtw", "f0_rmse", "f0_rmse_log", "f0_rmse_all", "f0_corr", "fpc", "vuv_f1"):
        plain = getattr(pitch, name)(reference=s, estimate=e, sample_rate=RATE)
        assert plain == getattr(pair, name)()


def test_noise_on_real_speech(corpus: Path) -> None:
    s = read(corpus / "metric_fixtures" / "pesq_ludlows" / "speech.wav")[10000:20000]
    n = np.random.default_rng(2).standard_normal(len(s)) * s.std()
    reference = Reference.of(reference=s, sample_rate=RATE)
    pairs = [reference.against(estimate=s + 10 ** (-snr_db / 20) * n) for snr_db in (-10, 20)]
    # not the F0 errors: one frame an octave off decides them
    for name, falls in (("mcd", True), ("mcd_dtw", True), ("vuv_f1", False)):
        values = [getattr(pair, name)() for pair in pairs]
        assert values == sorted(values, reverse=falls), name
        assert values[0] != values[-1]


@given(
    ours=st.lists(st.sampled_from([0.0, 90.0, 120.0, 300.0]), min_size=8, max_size=8),
    theirs=st.lists(st.sampled_from([0.0, 90.0, 130.0, 500.0]), min_size=8, max_size=8),
)
def test_every_pair_gets_a_number_in_range_or_a_fault(ours: list[float], theirs: list[float]) -> None:
    pair = Pair(voice(ours), voice(theirs))
    bounds = {"f0_rmse": (0, 760), "f0_rmse_log": (0, 3), "f0_rmse_all": (0, 800), "f0_corr": (-1, 1), "fpc": (-1, 1)}
    for name, (low, high) in {**bounds, "vuv_f1": (0, 1)}.items():
        try:
            value = getattr(pair, name)()
        except ReferenceFault:
            assert len(set(ours) - {0.0}) <= 1  # unvoiced or constant, whatever the estimate
        except EstimateFault:
            assert any(ours)
        else:
            assert low - 1e-9 <= value <= high + 1e-9


def hostile() -> dict[str, Signal]:
    s = sung(vibrato(seconds=0.3))
    half = s.copy()
    half[: len(s) // 2] = 0
    return {
        "half silent": half,
        "offset": s + 0.5,
        "click": np.eye(1, len(s), 2000)[0],
        "clipped": np.clip(1000 * s, -1, 1),
        "tiny": 1e-12 * s,
        "huge": 1e20 * s,
        "noise": np.random.default_rng(3).standard_normal(len(s)),
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_signals(name: str) -> None:
    s, e = sung(vibrato(seconds=0.3)), hostile()[name]
    ours, theirs = (Reference.of(reference=x, sample_rate=RATE) for x in (s, e))
    for pair in (Pair(ours.voice, theirs.voice), Pair(theirs.voice, ours.voice)):
        assert 0 < pair.mcd() < 1000
        assert 0 < pair.mcd_dtw() < 1000


@pytest.mark.parametrize("rate_samples", [1600, 2400])
def test_short_signals(rate_samples: int) -> None:
    s = sung(vibrato())[:rate_samples]
    assert pitch.mcd(reference=s, estimate=0.5 * s, sample_rate=RATE) > 0
    with pytest.raises(TooShort, match="under_100_ms"):
        pitch.mcd(reference=s[:1599], estimate=s[:1599], sample_rate=RATE)


def test_analysis_is_reproducible_and_leaves_numpys_generator_alone() -> None:
    s = sung(vibrato(seconds=0.2))
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    first, second = Voice.of(s, RATE), Voice.of(s, RATE)
    assert np.array_equal(first.cepstrum, second.cepstrum)
    assert np.array_equal(first.f0_hz, second.f0_hz)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    s = sung(vibrato(seconds=0.2))
    reference = Reference(voice([100] * 40))
    with pytest.raises(ValueError, match="sample_rate must be 16000 Hz, got 8000"):
        Reference.of(reference=s, sample_rate=8000)
    with pytest.raises(ValueError, match=r"shape \(3200,\), got \(3199,\)"):
        reference.against(estimate=s[1:])
    with pytest.raises(ValueError, match="signal must be finite"):
        Reference.of(reference=np.full(3200, np.nan), sample_rate=RATE)
    with pytest.raises(ValueError, match=r"signal must have shape \(samples,\)"):
        Reference.of(reference=s[None], sample_rate=RATE)
    with pytest.raises(ReferenceFault, match="out_of_range"):
        Reference.of(reference=1e40 * s, sample_rate=RATE)
    with pytest.raises(EstimateFault, match="out_of_range"):
        reference.against(estimate=1e40 * s)
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(pitch.MissingPyworld, match=r"needs pyworld: pip install 'hubbub\[pitch\]'"):
        Reference.of(reference=s, sample_rate=RATE)
    assert issubclass(pitch.MissingPyworld, ModuleNotFoundError)
    assert pitch.REQUIRES == ("pyworld",)
