"""eval.masks: exact reconstruction, masks known on paper, and that knowing the answer helps."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import distortion, masks

RATE = 16000
MASKS = pytest.mark.parametrize("mask", [masks.irm, masks.ibm])


def scene(snr_db: float, channels: int = 1, samples: int = RATE) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A gliding tone in white noise, and the tone."""
    t = np.arange(samples) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (200 * t + 400 * t**2)) * (t % 0.4 < 0.25)
    target = np.stack([tone * (channel + 1) for channel in range(channels)])
    noise = np.random.default_rng(0).standard_normal(target.shape)
    noise *= np.sqrt((target**2).mean() / (noise**2).mean()) * 10 ** (-snr_db / 20)
    return target.astype(np.float32), (target + noise).astype(np.float32)


@given(
    samples=st.integers(1, 3000),
    size=st.sampled_from([4, 64, 512]),
    channels=st.integers(1, 3),
    seed=st.integers(0),
)
@settings(max_examples=50, deadline=None)
def test_stft_reconstructs_exactly(samples: int, size: int, channels: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((channels, samples))
    back = masks.istft(masks.stft(x, size=size), size=size, samples=samples)
    assert back.shape == x.shape
    assert np.abs(back - x).max() < 1e-12


def test_stft_of_a_tone_peaks_at_its_bin() -> None:
    tone = np.cos(2 * np.pi * 10 / 512 * np.arange(RATE))[None]
    spectrum = np.abs(masks.stft(tone, size=512))[0, 20]
    assert spectrum.argmax() == 10
    # half the sum of the square-root Hann window, 512 * 2 / pi
    assert spectrum.max() == pytest.approx(512 / math.pi, rel=1e-3)


def test_window_is_a_power_of_two_of_at_least_32_ms() -> None:
    assert [masks.window_size(rate) for rate in (8000, 16000, 44100, 48000)] == [256, 512, 2048, 2048]
    with pytest.raises(ValueError, match="sample_rate must be a positive number of Hz, got 0"):
        masks.window_size(0)


@MASKS
@pytest.mark.parametrize("samples", [1, 511, 16000])
def test_a_mixture_without_noise_comes_back(mask: Any, samples: int) -> None:
    _, mixture = scene(0, channels=2, samples=max(samples, 2))
    mixture = mixture[:, :samples]
    estimate = mask(target=mixture, mixture=mixture, sample_rate=RATE)
    assert estimate.dtype == np.float32
    assert estimate.shape == mixture.shape
    assert np.abs(estimate - mixture).max() < 1e-6


@MASKS
def test_a_silent_target_gives_silence(mask: Any) -> None:
    _, mixture = scene(0)
    assert not mask(target=0 * mixture, mixture=mixture, sample_rate=RATE).any()
    assert not mask(target=0 * mixture, mixture=0 * mixture, sample_rate=RATE).any()


def test_masks_of_equal_parts_are_known_on_paper() -> None:
    # target = residual, |S|^2 = |N|^2 everywhere: the ratio mask is sqrt(1/2) and the binary mask, being strict, 0
    target, _ = scene(0)
    mixture = (2 * target).astype(np.float32)
    ratio = masks.irm(target=target, mixture=mixture, sample_rate=RATE)
    assert np.abs(ratio - np.sqrt(0.5) * mixture).max() < 1e-6
    wiener = masks.irm(target=target, mixture=mixture, sample_rate=RATE, exponent=1)
    assert np.abs(wiener - target).max() < 1e-6
    assert not masks.ibm(target=target, mixture=mixture, sample_rate=RATE).any()
    assert np.abs(masks.ibm(target=target, mixture=mixture, sample_rate=RATE, criterion_db=-0.1) - mixture).max() < 1e-6
    assert not masks.ibm(target=target, mixture=mixture, sample_rate=RATE, criterion_db=0.1).any()


@MASKS
@pytest.mark.parametrize("snr_db", [-10, -5, 0, 5])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_masks_help_at_low_snr(mask: Any, snr_db: float, rate: int) -> None:
    target, mixture = scene(snr_db)
    estimate = mask(target=target, mixture=mixture, sample_rate=rate)
    before = distortion.si_sdr(reference=target[0], estimate=mixture[0])
    assert distortion.si_sdr(reference=target[0], estimate=estimate[0]) > before + 8


@MASKS
def test_channels_are_independent(mask: Any) -> None:
    target, mixture = scene(0, channels=3)
    together = mask(target=target, mixture=mixture, sample_rate=RATE)
    for channel in range(3):
        alone = mask(target=target[channel : channel + 1], mixture=mixture[channel : channel + 1], sample_rate=RATE)
        assert np.array_equal(together[channel : channel + 1], alone)


@MASKS
def test_bad_shapes_are_refused_by_name(mask: Any) -> None:
    target, mixture = scene(0)
    with pytest.raises(ValueError, match=r"mixture must have shape \(channels, samples\), got \(16000,\)"):
        mask(target=target, mixture=mixture[0], sample_rate=RATE)
    with pytest.raises(ValueError, match=r"target must have the mixture's shape \(1, 16000\), got \(1, 15999\)"):
        mask(target=target[:, 1:], mixture=mixture, sample_rate=RATE)
