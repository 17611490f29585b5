"""eval.dnsmos against published scores, Microsoft's package, librosa, and networks small enough for paper."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from eval import catalogue, dnsmos
from eval.dnsmos import NAMES, RATE, Estimate, MissingModels, Models, missing, scores
from eval.outcome import EstimateFault, TooShort

Signal = NDArray[np.float64]

PUBLISHED = 1e-5  # five decimals, and another processor
ORACLE = 1e-5  # another number of threads
MEL = 1e-6  # librosa rounds its filters to float32
EXACT = 1e-6  # the tiny networks compute in float32

P835 = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")
PERSONAL = ("pdnsmos_sig", "pdnsmos_bak", "pdnsmos_ovrl")
OF_2021 = ("dnsmos2021_sig", "dnsmos2021_bak", "dnsmos2021_ovrl")

needs_speechmos = pytest.mark.skipif(missing("dnsmos_sig") is not None, reason=str(missing("dnsmos_sig")))


def coloured(seed: int, samples: int, peak: float = 0.5) -> Signal:
    """Noise with a spectrum that falls like speech's, and syllables."""
    x = lfilter([1.0], [1.0, -0.9], np.random.default_rng(seed).standard_normal(samples))
    x *= np.sin(2 * np.pi * 2 * np.arange(samples) / RATE) ** 2
    return np.asarray(peak * x / np.abs(x).max())


def ramp(samples: int) -> Signal:
    """x[n] = n / 10^7: its samples say where they come from."""
    return np.arange(samples) / 1e7


# Published scores

PUBLISHED_SCORES = {
    "speech.wav": (3.55181, 4.04745, 3.24582, 3.95093),
    "speech_bab_0dB.wav": (1.20469, 1.16835, 1.08887, 2.51360),
}


def read(path: Path) -> Signal:
    import soundfile

    signal, rate = soundfile.read(path)
    assert rate == RATE
    return np.asarray(signal)


@needs_speechmos
@pytest.mark.parametrize("file", PUBLISHED_SCORES)
def test_published_scores_of_the_pesq_pair(corpus: Path, file: str) -> None:
    signal = read(corpus / "metric_fixtures" / "pesq_ludlows" / file)
    names = (*P835, "dnsmos_p808")
    found = scores(estimate=signal, sample_rate=RATE, names=names)
    assert found == pytest.approx(dict(zip(names, PUBLISHED_SCORES[file], strict=True)), abs=PUBLISHED)


@needs_speechmos
def test_published_scores_of_the_personalised_model(corpus: Path) -> None:
    signal = read(corpus / "metric_fixtures" / "pesq_ludlows" / "speech.wav")
    found = scores(estimate=signal, sample_rate=RATE, names=PERSONAL)
    assert found == pytest.approx(dict(zip(PERSONAL, (4.33488, 3.97586, 3.85987), strict=True)), abs=PUBLISHED)


@needs_speechmos
def test_published_scores_of_speechscore(corpus: Path) -> None:
    folder = corpus / "metric_fixtures" / "speechscore"
    keys = {"dnsmos_sig": "SIG", "dnsmos_bak": "BAK", "dnsmos_ovrl": "OVRL", "dnsmos_p808": "P808_MOS"}
    for pair in json.loads((folder / "expected.json").read_text())["pairs"]:
        published = pair["scores"]["DNSMOS"]
        found = scores(estimate=read(folder / pair["degraded"]), sample_rate=RATE, names=tuple(keys))
        assert found == pytest.approx({name: published[key] for name, key in keys.items()}, abs=PUBLISHED)


@needs_speechmos
def test_level_moves_the_scores_and_minus_30_lufs_stops_it(corpus: Path) -> None:
    """Clean speech at -20 dB: OVRL 3.246 -> 2.492."""
    signal = read(corpus / "metric_fixtures" / "speechscore" / "noisy_2.wav")
    names = ("dnsmos_ovrl", "dnsmos_ovrl_lufs30", "dnsmos_p808")
    loud, quiet = (scores(estimate=signal * gain, sample_rate=RATE, names=names) for gain in (1.0, 0.1))
    assert abs(loud["dnsmos_ovrl"] - quiet["dnsmos_ovrl"]) > 0.1
    assert quiet["dnsmos_ovrl_lufs30"] == pytest.approx(loud["dnsmos_ovrl_lufs30"], abs=1e-4)
    assert quiet["dnsmos_p808"] == pytest.approx(loud["dnsmos_p808"], abs=1e-4)


# Microsoft's package


@needs_speechmos
@pytest.mark.parametrize(("kind", "names"), [("dnsmos", P835), ("dnsmos_personalized", PERSONAL)])
@pytest.mark.filterwarnings("ignore")
def test_equal_to_speechmos(kind: str, names: tuple[str, ...]) -> None:
    from speechmos import dnsmos as oracle

    signal = coloured(1, 38000)  # repeated to 9.5 s: one window
    theirs = oracle.run(signal, RATE, model_type=kind)
    expected = [theirs[key] for key in ("sig_mos", "bak_mos", "ovrl_mos", "p808_mos")]
    found = scores(estimate=signal, sample_rate=RATE, names=(*names, "dnsmos_p808"))
    assert list(found.values()) == pytest.approx(expected, abs=ORACLE)


@needs_speechmos
@pytest.mark.parametrize("samples", [5000, 16000, 72079, 72080, 72081, 144159, 144160, 160160, 16 * RATE, 34 * RATE])
@pytest.mark.filterwarnings("ignore")
def test_windows_are_those_of_speechmos(samples: int) -> None:
    """Its own loop, with networks that write down what they are given; sample for sample."""
    from speechmos import dnsmos as oracle

    heard: dict[str, list[Any]] = {"wave": [], "mel": []}

    def network(kind: str) -> SimpleNamespace:
        def run(_: Any, inputs: dict[str, Any]) -> list[Any]:
            heard[kind].append(inputs["input_1"][0])
            return [np.ones((1, 3), np.float32)]

        return SimpleNamespace(run=run)

    theirs = object.__new__(oracle.DNSMOS)
    theirs.onnx_sess, theirs.p808_onnx_sess = network("wave"), network("mel")
    theirs.audio_melspec = lambda audio: audio[None]
    signal = coloured(2, samples)
    theirs(signal, RATE, False)
    own = list(dnsmos._windows(signal, 9.01))
    assert len(own) == len(heard["wave"])
    for window, wave, mel in zip(own, heard["wave"], heard["mel"], strict=True):
        assert np.array_equal(window.astype(np.float32), wave)
        assert np.array_equal(window[:-160].astype(np.float32), mel[0])


@needs_speechmos
def test_models_of_2021_equal_to_the_script_written_out() -> None:
    """A window of 9 s through librosa and the networks, as UDASE's compute_dnsmos has it."""
    import librosa
    import onnxruntime
    from numpy.polynomial.polynomial import polyval

    signal = coloured(3, round(4.6 * RATE))
    spectrum = librosa.stft(np.append(signal, signal)[: 9 * RATE], n_fft=320, hop_length=160)
    features = np.log10(np.maximum(np.abs(spectrum) ** 2, 1e-12)).T.astype(np.float32)[None]
    raw = {
        name: onnxruntime.InferenceSession(Models().path(name)).run(None, {"input_1": features})[0][0]
        for name in ("dnsmos2021_sig", "dnsmos2021_bak")
    }
    expected = [
        polyval(
            raw["dnsmos2021_sig"][0], [9.651228012789436761e-01, 6.592637550310214145e-01, 7.572372955623894730e-02]
        ),
        polyval(raw["dnsmos2021_bak"][1], [-3.733460011101781717, 2.700114234092929166, -1.721332907340922813e-01]),
        polyval(
            raw["dnsmos2021_bak"][2], [8.924546794696789354e-01, 6.609981731940616223e-01, 7.600269530243179694e-02]
        ),
    ]
    found = scores(estimate=signal, sample_rate=RATE, names=OF_2021)
    assert list(found.values()) == pytest.approx(expected, abs=ORACLE)


# Features


@pytest.mark.parametrize("gain", [1.0, 1e-3, 1e-7])
def test_mel_spectrogram_equal_to_librosa(gain: float) -> None:
    import librosa

    signal = gain * coloured(4, 144000)
    signal[:3000] = 0.0
    power = librosa.feature.melspectrogram(y=signal, sr=RATE, n_fft=321, hop_length=160, n_mels=120)
    expected = (librosa.power_to_db(power, ref=np.max) + 40) / 40
    found = dnsmos.mel_spectrogram(signal)
    assert found.shape == (900, 120)
    np.testing.assert_allclose(found, expected.T, atol=MEL)


def test_log_power_equal_to_librosa() -> None:
    import librosa

    signal = coloured(5, 144000)
    signal[5000:9000] = 0.0
    expected = np.log10(np.maximum(np.abs(librosa.stft(signal, n_fft=320, hop_length=160)) ** 2, 1e-12))
    found = dnsmos._log_power(signal)
    assert found.shape == (901, 161)
    assert found.min() == -12.0
    np.testing.assert_allclose(found, expected.T, atol=1e-6)


def at_largest_band(signal: Signal, power: float) -> Signal:
    bands = dnsmos._power(signal, 321) @ dnsmos._mel_filters().T
    return signal * np.sqrt(power / bands.max())


@settings(max_examples=15)
@given(gain_db=st.floats(0.0, 100.0), seed=st.integers(0, 100))
def test_mel_spectrogram_does_not_know_the_level_above_its_floor(gain_db: float, seed: int) -> None:
    signal = at_largest_band(coloured(seed, 8000), 0.01 * (1 + 1e-9))
    at_gain = dnsmos.mel_spectrogram(signal * 10 ** (gain_db / 20))
    np.testing.assert_allclose(at_gain, dnsmos.mel_spectrogram(signal), atol=1e-9)
    below = dnsmos.mel_spectrogram(signal * 10 ** (-3 / 20))
    assert below.min() == pytest.approx((-77 + 40) / 40)


def test_mel_spectrogram_of_silence_is_its_maximum() -> None:
    assert (dnsmos.mel_spectrogram(np.zeros(8000)) == 1.0).all()


# Networks for paper


def network(path: Path, shape: tuple[int, ...], reductions: tuple[str, ...], name: str = "input_1") -> None:
    """An ONNX file whose outputs are reductions (ReduceMin, ReduceMax, ReduceMean) of each window."""
    from onnx import TensorProto, checker, helper, save

    flat = helper.make_node("Flatten", [name], ["flat"], axis=1)
    nodes = [helper.make_node(kind, ["flat"], [f"y{i}"], axes=[1], keepdims=1) for i, kind in enumerate(reductions)]
    joined = helper.make_node("Concat", [f"y{i}" for i in range(len(reductions))], ["scores"], axis=1)
    graph = helper.make_graph(
        [flat, *nodes, joined],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(reductions)])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))


ALL_THREE = ("ReduceMin", "ReduceMean", "ReduceMax")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Every file, laid out as in Microsoft's repository. The outputs are minimum, mean and maximum of a window."""
    folder = tmp_path_factory.mktemp("models")
    network(folder / "DNSMOS" / "sig_bak_ovr.onnx", (144160,), ALL_THREE)
    network(folder / "pDNSMOS" / "sig_bak_ovr.onnx", (144160,), ALL_THREE, name="another_name")
    network(folder / "DNSMOS" / "sig.onnx", (901, 161), ("ReduceMax",))
    network(folder / "DNSMOS" / "bak_ovr.onnx", (901, 161), ALL_THREE)
    network(folder / "DNSMOS" / "model_v8.onnx", (900, 120), ("ReduceMean",))
    return Models(str(folder))


def quadratic(a: float, b: float, c: float) -> Callable[[float], float]:
    return lambda x: a * x**2 + b * x + c


SIG, BAK, OVRL = (
    quadratic(-0.08397278, 1.22083953, 0.0052439),
    quadratic(-0.13166888, 1.60915514, -0.39604546),
    quadratic(-0.06766283, 1.11546468, 0.04602535),
)


@pytest.mark.parametrize(("seconds", "windows"), [(9.01, 1), (10.99, 1), (11.0, 2), (15.5, 6)])
def test_a_score_is_the_mean_of_the_polynomial_over_windows(tiny: Models, seconds: float, windows: int) -> None:
    found = scores(estimate=ramp(round(seconds * RATE)), sample_rate=RATE, names=P835, models=tiny)
    first = [i * RATE / 1e7 for i in range(windows)]
    last = [(i * RATE + 144159) / 1e7 for i in range(windows)]
    assert found["dnsmos_sig"] == pytest.approx(np.mean([SIG(x) for x in first]), abs=EXACT)
    assert found["dnsmos_ovrl"] == pytest.approx(np.mean([OVRL(x) for x in last]), abs=EXACT)
    middle = [(a + b) / 2 for a, b in zip(first, last, strict=True)]
    assert found["dnsmos_bak"] == pytest.approx(np.mean([BAK(x) for x in middle]), abs=EXACT)


def test_a_long_clip_is_heard_up_to_16_s_only(tiny: Models) -> None:
    """Of 24 s, 15 windows fit; those that begin at 7 s or later fall to rounding, as in Microsoft's script."""
    found = scores(estimate=ramp(24 * RATE), sample_rate=RATE, names=["dnsmos_sig"], models=tiny)
    expected = np.mean([SIG(i * RATE / 1e7) for i in range(7)])
    assert found["dnsmos_sig"] == pytest.approx(expected, abs=EXACT)


def test_a_short_clip_is_doubled(tiny: Models) -> None:
    """3 s become 12 s: three windows, of which each holds the whole clip."""
    clip = ramp(3 * RATE)
    found = scores(estimate=clip, sample_rate=RATE, names=P835, models=tiny)
    assert found["dnsmos_sig"] == pytest.approx(SIG(0.0), abs=EXACT)
    assert found["dnsmos_ovrl"] == pytest.approx(OVRL(clip[-1]), abs=EXACT)


@settings(max_examples=10)
@given(samples=st.integers(400, 60000), seed=st.integers(0, 100))
def test_a_clip_scores_as_itself_twice(tiny: Models, samples: int, seed: int) -> None:
    clip = coloured(seed, samples)
    once, twice = (
        scores(estimate=x, sample_rate=RATE, names=(*P835, "dnsmos_p808"), models=tiny)
        for x in (clip, np.tile(clip, 2))
    )
    assert once == twice


def test_cubic_polynomials_of_the_personalised_model(tiny: Models) -> None:
    clip = np.full(10 * RATE, 0.25)
    clip[8 * RATE] = 0.75
    clip[4 * RATE] = -0.5
    found = scores(estimate=clip, sample_rate=RATE, names=PERSONAL, models=tiny)
    low, high = -0.5, 0.75
    mean = 0.25 + (0.5 - 0.75) / 144160
    assert found["pdnsmos_sig"] == pytest.approx(
        -0.01019296 * low**3 + 0.02751166 * low**2 + 1.19576786 * low - 0.24348726, abs=EXACT
    )
    assert found["pdnsmos_bak"] == pytest.approx(
        -0.04976499 * mean**3 + 0.44276479 * mean**2 - 0.1644611 * mean + 0.96883132, abs=EXACT
    )
    assert found["pdnsmos_ovrl"] == pytest.approx(
        -0.00533021 * high**3 + 0.005101 * high**2 + 1.18058466 * high - 0.11236046, abs=EXACT
    )


def test_two_windows_of_2021_on_paper(tiny: Models) -> None:
    """A click of 0.5 under the peak of a Hann window, in silence: log10(0.25) in every bin, and -12 elsewhere. At
    9.5 s it lies in the second of two windows.
    """
    click = np.zeros(10 * RATE)
    click[round(9.5 * RATE)] = 0.5
    found = scores(estimate=click, sample_rate=RATE, names=OF_2021, models=tiny)
    peak = np.log10(0.25)
    mean = (900 * -12.0 + peak) / 901  # the neighbouring frames see it at their edge, where the window is 0
    sig, bak, ovrl = (
        quadratic(0.07572372955623895, 0.6592637550310214, 0.9651228012789437),
        quadratic(-0.17213329073409228, 2.700114234092929, -3.7334600111017817),
        quadratic(0.0760026953024318, 0.6609981731940616, 0.8924546794696789),
    )
    assert found["dnsmos2021_sig"] == pytest.approx((sig(-12.0) + sig(peak)) / 2, abs=EXACT)
    assert found["dnsmos2021_bak"] == pytest.approx((bak(-12.0) + bak(mean)) / 2, abs=1e-4)  # a float32 sum
    assert found["dnsmos2021_ovrl"] == pytest.approx((ovrl(-12.0) + ovrl(peak)) / 2, abs=EXACT)


def test_p808_has_no_polynomial(tiny: Models) -> None:
    clip = coloured(6, 10 * RATE)
    found = scores(estimate=clip, sample_rate=RATE, names=["dnsmos_p808"], models=tiny)
    assert found["dnsmos_p808"] == pytest.approx(dnsmos.mel_spectrogram(clip[:144000]).mean(), abs=EXACT)


def test_each_network_runs_once(tiny: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []
    answers = dnsmos._answers

    def counting(column: Any, path: str, signal: Signal) -> Any:
        ran.append(column.model)
        return answers(column, path, signal)

    monkeypatch.setattr(dnsmos, "_answers", counting)
    estimate = Estimate.of(estimate=coloured(7, 3 * RATE), sample_rate=RATE, models=tiny)
    for name in (*P835, *P835, "dnsmos_sig_lufs30", "dnsmos_ovrl_lufs30"):
        estimate.score(name)
    assert ran == [("dnsmos", "sig_bak_ovr.onnx")] * 2  # as it is, and at -30 LUFS


def test_one_session_per_file_on_one_thread(tiny: Models) -> None:
    session = dnsmos._session(tiny.path("dnsmos_sig"))
    assert dnsmos._session(tiny.path("dnsmos_bak")) is session
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert session.get_providers() == ["CPUExecutionProvider"]


# Level


def test_beyond_full_scale_it_is_scaled_once_and_said(tiny: Models) -> None:
    clip = coloured(8, 3 * RATE, peak=1.0)
    as_it_is, loud = (Estimate.of(estimate=gain * clip, sample_rate=RATE, models=tiny) for gain in (1.0, 4.0))
    assert [loud.score(name) for name in NAMES] == pytest.approx([as_it_is.score(name) for name in NAMES], abs=1e-9)
    assert as_it_is.flags("dnsmos_sig") == ()
    assert loud.flags("dnsmos_sig") == loud.flags("dnsmos_p808") == ("peak_scaled",)
    assert loud.flags("dnsmos_sig_lufs30") == ()


@settings(max_examples=8)
@given(gain_db=st.floats(-120.0, 60.0), seed=st.integers(0, 100))
def test_minus_30_lufs_forgets_the_level(tiny: Models, gain_db: float, seed: int) -> None:
    clip = coloured(seed, RATE)
    names = ("dnsmos_ovrl_lufs30", "dnsmos_p808_lufs30")
    found, expected = (
        scores(estimate=gain * clip, sample_rate=RATE, names=names, models=tiny) for gain in (10 ** (gain_db / 20), 1.0)
    )
    assert found == pytest.approx(expected, abs=EXACT)


def test_minus_30_lufs_is_minus_30_lufs(tiny: Models) -> None:
    """A 997 Hz sine is -3.01 LUFS at an amplitude of 1, so -30 LUFS at -26.99 dB; the maximum of a window is that."""
    sine = 0.3 * np.sin(2 * np.pi * 997 * np.arange(10 * RATE) / RATE)
    found = scores(estimate=sine, sample_rate=RATE, names=["dnsmos_ovrl_lufs30"], models=tiny)
    assert found["dnsmos_ovrl_lufs30"] == pytest.approx(OVRL(10 ** (-26.99 / 20)), abs=5e-4)  # 0.05 LU at 16 kHz


def test_minus_30_lufs_close_to_udase(corpus: Path) -> None:
    """UDASE normalises by pyloudnorm, whose filters are others: 0.04 LU."""
    import pyloudnorm

    signal = read(corpus / "metric_fixtures" / "pesq_ludlows" / "speech_bab_0dB.wav")
    theirs = pyloudnorm.Meter(RATE).integrated_loudness(Estimate.of(estimate=signal, sample_rate=RATE)._quiet)
    assert theirs == pytest.approx(-30.0, abs=0.05)


# What has no score


def test_too_short(tiny: Models) -> None:
    for samples, names, reason in (
        (2 * RATE, OF_2021, "under_2_s"),
        (2 * RATE, [name + "_lufs30" for name in OF_2021], "under_2_s"),
        (6400, ["dnsmos_sig_lufs30", "pdnsmos_bak_lufs30", "dnsmos_p808_lufs30"], "under_0.4_s"),
    ):
        clip = coloured(9, samples)
        for name in names:
            assert np.isfinite(Estimate.of(estimate=clip, sample_rate=RATE, models=tiny).score(name))
            with pytest.raises(TooShort, match=f"^{reason}$"):
                Estimate.of(estimate=clip[1:], sample_rate=RATE, models=tiny).score(name)


def test_a_few_samples_have_a_score_as_they_are(tiny: Models) -> None:
    assert np.isfinite(Estimate.of(estimate=[0.1, -0.2], sample_rate=RATE, models=tiny).score("dnsmos_ovrl"))


@pytest.mark.parametrize("hertz", [0.0, 0.2])
def test_what_no_one_hears_has_no_loudness(tiny: Models, hertz: float) -> None:
    estimate = Estimate.of(
        estimate=0.5 * np.sin(2 * np.pi * hertz * np.arange(10 * RATE) / RATE), sample_rate=RATE, models=tiny
    )
    with pytest.raises(EstimateFault, match=r"^no_loudness$"):
        estimate.score("dnsmos_sig_lufs30")
    assert np.isfinite(estimate.score("dnsmos_sig"))


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_any_scale_has_a_score(tiny: Models, scale: float) -> None:
    estimate = Estimate.of(estimate=scale * coloured(10, 3 * RATE), sample_rate=RATE, models=tiny)
    assert np.isfinite([estimate.score(name) for name in NAMES]).all()


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="sample_rate must be 16000 for DNSMOS, got 8000"):
        Estimate.of(estimate=np.zeros(8000), sample_rate=8000)
    with pytest.raises(ValueError, match=r"estimate must have shape \(samples,\) and not be empty, got \(2, 8\)"):
        Estimate.of(estimate=np.zeros((2, 8)), sample_rate=RATE)
    with pytest.raises(ValueError, match="not be empty"):
        Estimate.of(estimate=[], sample_rate=RATE)
    with pytest.raises(ValueError, match=r"name must be one of dnsmos_sig, .* got 'dnsmos'"):
        missing("dnsmos")
    with pytest.raises(ValueError, match="name must be one of"):
        scores(estimate=np.ones(RATE), sample_rate=RATE, names=["dnsmos_sig_lufs30_lufs30"])


# Where the models are


def test_nothing_is_missing_from_a_full_folder(tiny: Models) -> None:
    assert [missing(name, tiny) for name in NAMES] == [None] * len(NAMES)
    assert tiny.path("pdnsmos_sig_lufs30").endswith("/pDNSMOS/sig_bak_ovr.onnx")


def test_a_folder_may_be_laid_out_as_speechmos_is(tmp_path: Path) -> None:
    network(tmp_path / "dnsmos_models" / "sig.onnx", (901, 161), ("ReduceMax",))
    models = Models(str(tmp_path))
    assert np.isfinite(
        scores(estimate=coloured(1, 3 * RATE), sample_rate=RATE, names=["dnsmos2021_sig"], models=models)[
            "dnsmos2021_sig"
        ]
    )
    assert missing("dnsmos2021_bak", models) == f"needs DNSMOS/bak_ovr.onnx in {tmp_path}"
    assert missing("pdnsmos_sig_lufs30", models) == f"needs pDNSMOS/sig_bak_ovr.onnx in {tmp_path}"
    with pytest.raises(MissingModels, match=r"needs DNSMOS/model_v8\.onnx in"):
        scores(estimate=coloured(1, 3 * RATE), sample_rate=RATE, names=["dnsmos_p808"], models=models)


@pytest.mark.parametrize("package", ["speechmos", "onnxruntime"])
def test_a_missing_package_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert missing("dnsmos_sig") == f"needs {package}: pip install 'hubbub[dnsmos]'"
    with pytest.raises(MissingModels, match=f"needs {package}"):
        Models().path("dnsmos_p808")


def test_names_are_those_of_the_catalogue() -> None:
    assert {name for name, metric in catalogue.METRICS.items() if metric.group == "dnsmos"} == set(NAMES)


def test_heavy_packages_stay_out(tiny: Models) -> None:
    """Importing the module loads neither scipy nor onnxruntime; scoring loads neither librosa nor speechmos."""
    code = f"""
import sys
import numpy as np
from eval import dnsmos
assert not {{"onnxruntime", "scipy", "librosa", "speechmos"}} & set(sys.modules)
x = np.random.default_rng(0).standard_normal(48000) * 0.1
for name in dnsmos.NAMES:
    dnsmos.missing(name)
for name in ("pdnsmos_sig_lufs30", "dnsmos2021_ovrl", "dnsmos_p808"):
    dnsmos.scores(estimate=x, sample_rate=16000, names=[name], models=dnsmos.Models({tiny.folder!r}))
assert "onnxruntime" in sys.modules
assert not {{"librosa", "speechmos"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(dnsmos.__file__).parents[1])
