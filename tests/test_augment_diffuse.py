"""Witnesses: coherence on paper and by quadrature; plane waves summed, roots by scipy; level, order and symmetry."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, special

from augment import arrays, diffuse
from augment.diffuse import coherence, coherence_error, inputs_coherence, measured_coherence

C = 343.0
FIELDS: tuple[diffuse.Field, ...] = ("spherical", "cylindrical")
ARRAYS = {
    "pair": arrays.pair(0.16),
    "linear": arrays.linear(4, 0.05),
    "circular": arrays.circular(6, 0.05, centre=True),
    "tetrahedral": arrays.tetrahedral(),
}


class Capsule(NamedTuple):
    omni: float
    axis: tuple[float, float, float]


def capsules(omni: float, axes: np.ndarray) -> list[Capsule]:
    return [Capsule(omni, tuple(axis)) for axis in axes]


CIRCLE = arrays.circular(5, 0.05)
PATTERNS = {
    "outward cardioids": capsules(0.5, arrays.outward(CIRCLE)),  # a real coherence
    "forward hypercardioids": capsules(0.25, np.tile([1.0, 0, 0], (5, 1))),  # a complex one
    "anything": [Capsule(0.1 * k, tuple(arrays.direction(77 * k, 31 * k))) for k in range(5)],
}
FOA = [Capsule(1, (1, 0, 0)), Capsule(0, (0, 1, 0)), Capsule(0, (0, 0, 1)), Capsule(0, (1, 0, 0))]


def noise(seed: int, channels: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, samples)).astype(np.float32)


def error_db(got: np.ndarray, exact: np.ndarray) -> float:
    return 10 * math.log10(np.mean((got - exact) ** 2) / np.mean(exact**2))


def pairs(matrices: np.ndarray) -> np.ndarray:
    return matrices[:, *np.triu_indices(matrices.shape[1], 1)]


def directions(field: str) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors and weights of a quadrature over the sphere or the circle."""
    azimuth = np.arange(0, 360, 7.5)
    nodes, weights = np.polynomial.legendre.leggauss(24) if field == "spherical" else (np.zeros(1), np.ones(1))
    u = arrays.direction(azimuth, np.rad2deg(np.arcsin(nodes))[:, np.newaxis]).reshape(-1, 3)
    weights = np.repeat(weights, azimuth.size)
    return u, weights / weights.sum()


def responses(positions: np.ndarray, u: np.ndarray, patterns: list[Capsule], frequency_hz: np.ndarray) -> np.ndarray:
    """(frequencies, waves, microphones): of plane waves that arrive from u."""
    gains = np.array([p.omni + (1 - p.omni) * (u @ p.axis) for p in patterns]).T if patterns else 1.0
    delays_s = -(u @ positions.T) / C
    return gains * np.exp(-2j * math.pi * frequency_hz[:, np.newaxis, np.newaxis] * delays_s)


# Theory


def test_coherence_on_paper() -> None:
    half_wave = C / (2 * 0.16)  # k d = pi
    got = coherence(arrays.pair(0.16), [0, half_wave / 2, half_wave, 1.5 * half_wave], "spherical")
    np.testing.assert_allclose(got[:, 0, 1], [1, 2 / math.pi, 0, -2 / (3 * math.pi)], atol=1e-12)
    np.testing.assert_array_equal(got[:, 0, 0], 1)
    first_zero = 2.404825557695773 / (2 * math.pi) * C / 0.16
    got = coherence(arrays.pair(0.16), [0, first_zero], "cylindrical")
    np.testing.assert_allclose(got[:, 0, 1], [1, 0], atol=1e-12)


def test_heights_do_not_matter_to_horizontal_waves() -> None:
    stacked = np.array([[0, 0, 0], [0, 0, 0.5], [0.1, 0, 0.3]])
    got = coherence(stacked, [100, 1000], "cylindrical")
    np.testing.assert_array_equal(got[:, 0, 1], 1)
    np.testing.assert_allclose(got[:, 0, 2], special.j0(2 * math.pi * np.array([100, 1000]) / C * 0.1))
    assert (coherence(stacked, [100, 1000], "spherical")[:, 0, 1] < 0.9).all()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", ["", *PATTERNS])
def test_coherence_is_the_mean_over_all_directions(field: diffuse.Field, name: str) -> None:
    patterns = PATTERNS.get(name, [])
    frequencies_hz = np.array([0, 200, 1500, 4000, 8000])
    u, weights = directions(field)
    heard = responses(CIRCLE, u, patterns, frequencies_hz)
    exact = np.einsum("w,fwi,fwj->fij", weights, heard, heard.conj())
    power = np.sqrt(np.einsum("fii->fi", exact).real)
    exact /= power[:, :, np.newaxis] * power[:, np.newaxis]
    np.testing.assert_allclose(coherence(CIRCLE, frequencies_hz, field, patterns=patterns), exact, atol=1e-9)
    if name == "outward cardioids":
        assert np.abs(exact.imag).max() < 1e-9
    if name == "forward hypercardioids":
        assert np.abs(exact.imag).max() > 0.3


def test_first_order_ambisonics_receive_independent_noises() -> None:
    """Omnidirectional power 1, figures of eight 1 / 3 each; horizontal waves give 1 / 2, 1 / 2 and nothing upright."""
    np.testing.assert_allclose(
        coherence(arrays.foa(), [0, 5000], "spherical", patterns=FOA), [np.eye(4)] * 2, atol=1e-12
    )
    x = noise(1, 4, 16000)
    for field, powers in (("spherical", [1, 1 / 3, 1 / 3, 1 / 3]), ("cylindrical", [1, 1 / 2, 0, 1 / 2])):
        y = diffuse.diffuse(x, arrays.foa(), sample_rate=16000, field=field, patterns=FOA)
        scale = np.sqrt(powers) * x[:1].std() / x.std(axis=1)
        np.testing.assert_allclose(y, scale[:, np.newaxis] * x, atol=1e-3)


# Generated


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("sample_rate", [8000, 16000, 48000])
@pytest.mark.parametrize("name", ARRAYS)
def test_white_noise_gets_the_coherence(name: str, sample_rate: int, field: diffuse.Field) -> None:
    """Over 500 windows the estimate's standard deviation is 0.032 at one frequency, and 0.015 over 8 of them."""
    positions, nfft = ARRAYS[name], 512
    x = noise(2, len(positions), 250 * nfft)
    y = diffuse.diffuse(x, positions, sample_rate=sample_rate, field=field)
    frequencies_hz, measured = measured_coherence(y, sample_rate=sample_rate, nfft=nfft)
    error = pairs(measured - coherence(positions, frequencies_hz, field))
    assert np.abs(error).mean() < 0.03
    assert np.abs(error).max() < 0.16
    assert np.abs(error[:256].reshape(32, 8, -1).mean(axis=1)).max() < 0.07
    assert coherence_error(y, positions, sample_rate=sample_rate, field=field) < 0.1
    other = FIELDS[1 - FIELDS.index(field)]
    assert coherence_error(y, positions, sample_rate=sample_rate, field=other) > 0.1  # the test can tell


@pytest.mark.parametrize(("field", "name"), [("spherical", ""), ("cylindrical", ""), ("spherical", "anything")])
def test_it_sounds_like_many_plane_waves(field: diffuse.Field, name: str) -> None:
    """The same estimator on a field simulated otherwise: 300 white plane waves, each from its own direction."""
    rng = np.random.default_rng(3)
    sample_rate, samples, waves = 8000, 2**15, 300
    patterns = PATTERNS.get(name, [])
    height = rng.permutation((np.arange(waves) + rng.random(waves)) / waves * 2 - 1) * (field == "spherical")
    azimuth = (np.arange(waves) + rng.random(waves)) / waves * 360
    u = arrays.direction(azimuth, np.rad2deg(np.arcsin(height)))
    frequencies_hz = np.fft.rfftfreq(samples, 1 / sample_rate)
    spectrum = np.empty((3, frequencies_hz.size), complex)
    for block in np.array_split(np.arange(frequencies_hz.size), 16):
        waveforms = rng.standard_normal((2, block.size, waves))
        heard = responses(CIRCLE[:3], u, patterns[:3], frequencies_hz[block])
        spectrum[:, block] = np.einsum("fw,fwm->mf", waveforms[0] + 1j * waveforms[1], heard)
    simulated = np.fft.irfft(spectrum)
    generated = diffuse.diffuse(
        noise(4, 3, samples), CIRCLE[:3], sample_rate=sample_rate, field=field, patterns=patterns[:3]
    )
    _, want = measured_coherence(simulated, sample_rate=sample_rate, nfft=256)
    _, got = measured_coherence(generated, sample_rate=sample_rate, nfft=256)
    assert np.abs(pairs(got - want)[:128].reshape(16, 8, 3).mean(axis=1)).max() < 0.08
    assert np.abs(pairs(got - want)).mean() < 0.05
    power = generated.std(axis=1) / generated[0].std()
    np.testing.assert_allclose(power, simulated.std(axis=1) / simulated[0].std(), rtol=0.04)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", ["", *PATTERNS])
def test_it_is_the_root_of_the_coherence_at_every_frequency(field: diffuse.Field, name: str) -> None:
    """Against scipy's root at each frequency, in double precision, applied to signal and mirror image."""
    sample_rate, samples = 16000, 1000
    patterns = PATTERNS.get(name, [])
    x = noise(5, 5, samples)
    spectrum = np.fft.rfft(np.hstack([x, x[:, ::-1]]) * (x.std(axis=1)[0] / np.sqrt(np.mean(x**2, axis=1)))[:, None])
    frequencies_hz = np.arange(samples + 1) * sample_rate / (2 * samples)
    u, weights = directions(field)
    heard = responses(CIRCLE, u, patterns, frequencies_hz[1:])
    covariance = np.einsum("w,fwi,fwj->fij", weights, heard, heard.conj(), optimize=True)
    covariance /= covariance[:, :1, :1]
    exact = np.zeros((5, samples + 1), complex)
    for bin_, matrix in enumerate(covariance, start=1):
        exact[:, bin_] = linalg.sqrtm(matrix) @ spectrum[:, bin_]
    y = diffuse.diffuse(x, CIRCLE, sample_rate=sample_rate, field=field, patterns=patterns)
    y -= y.mean(axis=1, keepdims=True)  # at zero the matrix is singular, and sqrtm is not to be trusted
    assert error_db(y, np.fft.irfft(exact)[:, :samples]) < -60


def test_single_precision_is_enough() -> None:
    x = noise(6, 8, 20000)
    key = diffuse._rows(arrays.circular(8, 0.1)), 16000, "spherical", ()
    matrices = diffuse._mixing(*key)
    exact = diffuse._mixed(x.astype(np.float64), *(part.astype(np.float64) for part in matrices))
    assert exact.dtype == np.float64
    assert error_db(diffuse._mixed(x.copy(), *matrices), exact) < -120


# Properties


@settings(max_examples=20)
@given(
    channels=st.integers(1, 6),
    samples=st.integers(1, 700),
    seed=st.integers(0, 99),
    field=st.sampled_from(FIELDS),
    sample_rate=st.sampled_from([8000, 16000, 44100]),
)
def test_any_length_and_array(channels: int, samples: int, seed: int, field: diffuse.Field, sample_rate: int) -> None:
    positions = np.random.default_rng(seed).uniform(-0.1, 0.1, (channels, 3))
    x = noise(seed, channels, samples)
    before = x.copy()
    y = diffuse.diffuse(x, positions, sample_rate=sample_rate, field=field)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(x, before)
    again = diffuse.diffuse(x, positions + [1.0, 2.0, 3.0], sample_rate=sample_rate, field=field)  # noqa: RUF005
    np.testing.assert_allclose(again, y, atol=1e-3 * np.abs(y).max())
    turned = positions @ (arrays.rotation(33, 0, 0) if field == "cylindrical" else arrays.rotation(33, 44, 55)).T
    again = diffuse.diffuse(x, turned, sample_rate=sample_rate, field=field)
    np.testing.assert_allclose(again, y, atol=1e-2 * np.abs(y).max())


@settings(max_examples=10)
@given(order=st.permutations(range(1, 5)), gain=st.floats(0.01, 100))
def test_order_of_microphones_and_power_of_inputs(order: list[int], gain: float) -> None:
    positions, x = np.random.default_rng(7).uniform(-0.1, 0.1, (5, 3)), noise(7, 5, 500)
    y = diffuse.diffuse(x, positions, sample_rate=16000)
    changed = x * np.array([[1], [gain], [1], [1 / gain], [gain]], np.float32)
    channels = [0, *order]
    again = diffuse.diffuse(changed[channels], positions[channels], sample_rate=16000)
    np.testing.assert_allclose(again, y[channels], atol=1e-5)
    louder = diffuse.diffuse(x * np.float32(gain), positions, sample_rate=16000)
    np.testing.assert_allclose(louder, gain * y, atol=1e-5 * gain)


@pytest.mark.parametrize("field", FIELDS)
def test_spectrum_and_level_stay(field: diffuse.Field) -> None:
    """Coloured inputs of unequal level: bands of the outputs against the inputs' mean, once these have one level.
    A band of 100 Hz and 16 s holds 1600 complex values: 0.11 dB standard deviation.
    """
    positions, x = arrays.circular(8, 0.1), noise(8, 8, 256001)
    x = (x[:, 1:] + 0.9 * x[:, :-1]) * np.arange(1, 9, dtype=np.float32)[:, np.newaxis]
    y = diffuse.diffuse(x, positions, sample_rate=16000, field=field)
    level = np.sqrt(np.mean(x[:1] ** 2) / np.mean(x**2, axis=1, keepdims=True))
    powers = [np.abs(np.fft.rfft(signal)) ** 2 for signal in (y, x * level)]
    bands = [np.add.reduceat(power, np.arange(400, 127000, 1600), axis=1) for power in powers]
    ratio_db = 10 * np.log10(bands[0] / bands[1].mean(axis=0))
    assert np.abs(ratio_db).max() < 0.5
    assert np.abs(ratio_db.mean(axis=1)).max() < 0.05


def test_every_frequency_keeps_its_power() -> None:
    """The rows of the mixing matrix have unit energy, and multiply to the coherence, between the points too."""
    positions = arrays.realman()
    (matrices, imaginary) = diffuse._mixing(diffuse._rows(positions), 16000, "spherical", ())
    assert not imaginary.any()
    between = (matrices[1:].astype(float) + matrices[:-1]) / 2
    frequencies_hz = (np.arange(len(between)) + 0.5) * 8000 / len(between)
    product = between @ between.transpose(0, 2, 1)
    np.testing.assert_allclose(product, coherence(positions, frequencies_hz, "spherical"), atol=2e-3)
    np.testing.assert_array_equal(matrices, matrices.transpose(0, 2, 1))


def test_low_frequencies_are_shared_and_high_ones_kept() -> None:
    positions, n = arrays.pair(0.5), np.arange(16000)
    for frequency_hz, shared in ((2, 0.5), (7900, 0.02)):
        tone = np.sin(2 * math.pi * frequency_hz * n / 16000)
        tiny = 1e-6 * noise(9, 1, 16000)[0]
        y = diffuse._mixed(
            np.stack([tone, tiny]).astype(np.float32),
            *diffuse._mixing(diffuse._rows(positions), 16000, "spherical", ()),
        )
        assert np.mean(y[1] ** 2) / np.mean(y**2, axis=1).sum() == pytest.approx(shared, abs=0.02)


def test_microphones_at_one_place_receive_the_same_and_a_lone_one_its_input() -> None:
    x = noise(10, 4, 1000)
    y = diffuse.diffuse(x, arrays.foa(), sample_rate=16000)
    np.testing.assert_allclose(y, np.tile(y[:1], (4, 1)), atol=1e-5)
    np.testing.assert_allclose(diffuse.diffuse(x[:1], arrays.mono(), sample_rate=16000), x[:1], atol=1e-5)
    far = arrays.linear(4, 500.0)
    assert error_db(diffuse.diffuse(x, far, sample_rate=16000), x * (x[0].std() / x.std(axis=1))[:, None]) < -20


def test_nothing_wraps_around() -> None:
    """An impulse at either end stays there: 0.1 s away is 80 dB less."""
    positions, x = arrays.circular(8, 0.1), np.zeros((8, 16000), np.float32)
    x[:, 2] = 1
    y = diffuse.diffuse(x, positions, sample_rate=16000)
    assert np.sum(y[:, 1600:] ** 2) < 1e-8 * np.sum(y**2)
    np.testing.assert_allclose(diffuse.diffuse(x[:, ::-1], positions, sample_rate=16000), y[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("samples", [400, 433])  # the latter is continued to 450 for the transform
def test_the_level_does_not_drop_at_the_ends(samples: int) -> None:
    positions = arrays.circular(8, 0.1)
    y = np.concatenate([diffuse.diffuse(noise(s, 8, samples), positions, sample_rate=16000) for s in range(200)])
    power = np.mean(y**2, axis=0)
    assert power[:8].mean() == pytest.approx(1, abs=0.1)
    assert power[-8:].mean() == pytest.approx(1, abs=0.1)
    assert power[100:300].mean() == pytest.approx(1, abs=0.05)


def test_a_constant_is_shared_by_all() -> None:
    """At zero the matrix is 1 / sqrt(channels) throughout; a signal of one sample is a constant."""
    for samples in (1, 7, 100):
        x = np.tile(np.array([[2], [-2], [2], [2]], np.float32), samples)
        y = diffuse.diffuse(x, arrays.linear(4, 0.05), sample_rate=48000)
        np.testing.assert_allclose(y, 2, atol=1e-5)


def test_the_filters_have_no_delay_and_are_short() -> None:
    """Symmetric about the impulse, with 99 % of their energy within the time across the array."""
    x = np.full((4, 4001), 1e-9, np.float32)
    x[0, 2000] = 1
    y = diffuse._mixed(x, *diffuse._mixing(diffuse._rows(arrays.linear(4, 0.05)), 16000, "spherical", ()))
    np.testing.assert_allclose(y, y[:, ::-1], atol=1e-6)
    across = math.ceil(0.15 / C * 16000)
    assert np.sum(y[:, 2000 - across : 2001 + across] ** 2) > 0.99 * np.sum(y**2)


def test_the_same_bytes_every_time() -> None:
    x, positions = noise(11, 4, 3001), arrays.linear(4, 0.05)
    first = diffuse.diffuse(x, positions, sample_rate=16000)
    diffuse._mixing.cache_clear()
    assert diffuse.diffuse(x, positions, sample_rate=16000).tobytes() == first.tobytes()
    assert diffuse.diffuse(x, positions, sample_rate=16000).tobytes() == first.tobytes()
    assert diffuse._mixing.cache_info().hits == 1


# Measured


def test_the_estimate_on_paper() -> None:
    """y = g x + sqrt(1 - g^2) n has the coherence g; a sign turns it; a copy has 1."""
    x, n = noise(12, 2, 64000)
    y = np.stack([x, 0.6 * x + 0.8 * n, -3 * x, np.zeros_like(x)])
    frequencies_hz, got = measured_coherence(y, sample_rate=16000, nfft=256)
    assert got.shape == (129, 4, 4)
    np.testing.assert_allclose(frequencies_hz[[0, 1, 128]], [0, 62.5, 8000])
    np.testing.assert_allclose(got[:, 0, 1].mean(), 0.6, atol=0.01)
    np.testing.assert_allclose(got[:, 0, 2], -1, atol=1e-6)
    np.testing.assert_array_equal(got[:, 0, 3], 0)
    np.testing.assert_array_equal(got, got.transpose(0, 2, 1))


def test_the_estimate_is_scipys() -> None:
    from scipy import signal

    x, n = noise(13, 2, 20000)
    pair = np.stack([x, np.convolve(x, [0.2, 1, 0.5], "same") + n])
    (_, xx), (_, yy), (_, xy) = (
        signal.csd(a, b, 16000, nperseg=512, detrend=False) for a, b in ((pair[0], pair[0]), (pair[1], pair[1]), pair)
    )
    _, got = measured_coherence(pair, sample_rate=16000, nfft=512)
    np.testing.assert_allclose(got[:, 0, 1], (xy / np.sqrt(xx.real * yy.real)).real, atol=1e-5)


def test_the_spread_of_the_estimate_is_as_documented() -> None:
    y = noise(14, 20, 64000)
    _, got = measured_coherence(y, sample_rate=16000, nfft=256)
    assert pairs(got)[1:-1].std() == pytest.approx(1 / math.sqrt(1.9 * 499), rel=0.05)


def test_overlapping_windows_count_for_less() -> None:
    """Squared coherence of independent noises is 1 / windows on average."""
    spectra, windows = diffuse._cross_spectra(noise(19, 20, 64000), 256)
    powers = diffuse._powers(spectra)
    squared = np.abs(spectra) ** 2 / (powers[:, :, np.newaxis] * powers[:, np.newaxis])
    assert 1 / pairs(squared)[1:-1].mean() == pytest.approx(windows, rel=0.03)
    short = [inputs_coherence(noise(seed, 2, 8000), 16000) ** 2 for seed in range(20)]
    assert np.median(short) < 0.06  # of 14.6 windows, one of which is 0.07


def test_how_far_inputs_are_from_incoherent() -> None:
    x = noise(15, 4, 160000)
    assert inputs_coherence(x, 16000) < 0.15
    assert inputs_coherence(x[:1], 16000) == 0
    assert inputs_coherence(x[:, :2047], 16000) is None
    assert coherence_error(x[:2, :2047], arrays.pair(0.1), sample_rate=16000) is None
    mixed = np.stack([x[0], 0.6 * x[0] + 0.8 * x[1], x[2]])
    assert inputs_coherence(mixed, 16000) == pytest.approx(0.6, abs=0.06)
    delayed = np.stack([x[0], np.roll(x[0], 80)])
    assert inputs_coherence(delayed, 16000) > 0.8
    assert inputs_coherence(np.stack([x[0], np.roll(x[0], 16000)]), 16000) < 0.15  # echoes do no harm


def test_hum_is_found() -> None:
    """The stretches of one recording with hum are coherent at its harmonics, and there only."""
    n = np.arange(640000) / 16000
    recording = noise(16, 1, n.size)[0] + sum(np.sin(2 * math.pi * f * n) for f in (50, 150, 1000)).astype(np.float32)
    inputs = recording.reshape(4, -1)
    assert inputs_coherence(inputs, 16000) > 0.9
    y = diffuse.diffuse(inputs, arrays.circular(4, 0.05), sample_rate=16000)
    frequencies_hz, measured = measured_coherence(y, sample_rate=16000, nfft=1024)
    error = np.abs(pairs(measured - coherence(arrays.circular(4, 0.05), frequencies_hz, "spherical"))).max(axis=1)
    assert error[64] > 0.2  # 1 kHz
    assert np.median(error) < 0.1


def test_events_in_one_input_are_found() -> None:
    """High frequencies from one input alone reach all microphones alike: coherent, whatever G says."""
    x = noise(17, 4, 160000)
    smooth = np.cumsum(x, axis=1)
    smooth -= np.concatenate([np.zeros((4, 16), np.float32), smooth[:, :-16]], axis=1)
    smooth[0] += 40 * x[0]
    for row in (1, 2, 3):
        smooth[row] = np.convolve(smooth[row], np.hanning(33), "same")
    y = diffuse.diffuse(smooth, arrays.circular(4, 0.05), sample_rate=16000)
    assert coherence_error(y, arrays.circular(4, 0.05), sample_rate=16000) > 0.2
    assert inputs_coherence(smooth, 16000) < 0.15


# Real recordings


def stretches(recording: np.ndarray, count: int, samples: int) -> np.ndarray:
    """`count` stretches that begin at equal distances in a recording that is repeated."""
    starts = np.arange(count) * recording.size // count
    return np.stack([recording.take(np.arange(s, s + samples), mode="wrap") for s in starts])


@pytest.mark.parametrize("name", ["rain/blanket_rain", "sea_waves/blanket_waves", "cafe/blanket_coffee-shop"])
def test_stretches_of_one_recording_will_do(corpus: Path, name: str) -> None:
    with soundfile.SoundFile(corpus / "noise" / f"{name}.ogg") as file:
        recording = file.read(30 * file.samplerate, dtype="float32", always_2d=True)[:, 0]
        sample_rate = file.samplerate
    for field in FIELDS:
        for positions in (arrays.pair(0.16), arrays.circular(4, 0.05)):
            inputs = stretches(recording, len(positions), 6 * sample_rate)
            y = diffuse.diffuse(inputs, positions, sample_rate=sample_rate, field=field)
            assert coherence_error(y, positions, sample_rate=sample_rate, field=field) < 0.1
            assert coherence_error(inputs, positions, sample_rate=sample_rate, field=field) > 0.5


# Bad input


def test_bad_input_is_named() -> None:
    x, pair = noise(18, 2, 1000), arrays.pair(0.1)
    with pytest.raises(ValueError, match=r"inputs must be 2 rows of samples, .* got \(1, 1000\)"):
        diffuse.diffuse(x[:1], pair, sample_rate=16000)
    with pytest.raises(ValueError, match=r"inputs must be 2 rows of samples, .* got \(2, 0\)"):
        diffuse.diffuse(x[:, :0], pair, sample_rate=16000)
    with pytest.raises(ValueError, match="inputs must be neither silent nor infinite nor NaN"):
        diffuse.diffuse(x * [[1], [0]], pair, sample_rate=16000)
    with pytest.raises(ValueError, match="inputs must be neither silent nor infinite nor NaN"):
        diffuse.diffuse(x * [[1], [np.nan]], pair, sample_rate=16000)
    with pytest.raises(ValueError, match="field must be one of spherical, cylindrical, got flat"):
        diffuse.diffuse(x, pair, sample_rate=16000, field="flat")
    with pytest.raises(ValueError, match="sample_rate must be positive, got 0"):
        diffuse.diffuse(x, pair, sample_rate=0)
    with pytest.raises(ValueError, match=r"positions_m must have shape \(channels, 3\) .* got \(2, 2\)"):
        diffuse.diffuse(x, pair[:, :2], sample_rate=16000)
    with pytest.raises(ValueError, match="positions_m must be finite"):
        diffuse.diffuse(x, pair * np.nan, sample_rate=16000)
    with pytest.raises(ValueError, match="patterns must be none or 2, one for each of positions_m, got 4"):
        diffuse.diffuse(x, pair, sample_rate=16000, patterns=FOA)
    with pytest.raises(ValueError, match="patterns must let microphone 0 receive power from the field, got 0"):
        diffuse.diffuse(x, pair, sample_rate=16000, field="cylindrical", patterns=[Capsule(0, (0, 0, 1))] * 2)
    with pytest.raises(ValueError, match=r"at least 2 nfft = 1024 samples, got \(2, 1000\)"):
        measured_coherence(x, sample_rate=16000, nfft=512)
