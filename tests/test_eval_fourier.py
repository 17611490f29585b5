"""eval.fourier: transforms against numpy's, correlations against sums, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import fourier

Signal = NDArray[np.float64]

SIZES = [256, 512, 1024, 2048, 4096, 8192, 16384]


def noise(samples: int, seed: int = 0) -> Signal:
    return np.random.default_rng(seed).standard_normal(samples)


def blocks_of(x: Signal, *, size: int, first: int, hop: int, taken: int, blocks: int) -> Signal:
    """Sample by sample."""
    out = np.zeros((blocks, size))
    for b in range(blocks):
        for n in range(taken):
            at = first + b * hop + n
            out[b, n] = x[at] if 0 <= at < len(x) else 0.0
    return out


def sorted_bins(spectra: Signal) -> NDArray[np.complex128]:
    order = fourier.places(spectra.shape[-1])
    return np.asarray(spectra[:, 0, order] + 1j * spectra[:, 1, order])


@pytest.mark.parametrize("size", SIZES)
def test_transforms_equal_those_of_numpy(size: int) -> None:
    x = noise(2 * size)
    found = sorted_bins(fourier.spectra(x, size=size, first=0, hop=size, taken=size, blocks=2))
    expected = np.fft.fft(x[:size] + 1j * x[size:])
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-14 * np.abs(expected).max())


def test_an_impulse_turns_at_every_bin() -> None:
    x = np.zeros(256)
    x[3] = 1.0
    found = sorted_bins(fourier.spectra(x, size=256, first=0, hop=256, taken=256, blocks=1))
    np.testing.assert_allclose(found[0], np.exp(-2j * np.pi * 3 * np.arange(256) / 256), atol=1e-14)


@given(
    samples=st.integers(1, 900),
    first=st.integers(-400, 1000),
    hop=st.integers(1, 300),
    taken=st.integers(1, 256),
    blocks=st.integers(1, 6),
    windowed=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_blocks_are_cut_as_said(samples: int, first: int, hop: int, taken: int, blocks: int, windowed: bool) -> None:
    x, window = noise(samples), noise(taken, 1) if windowed else np.empty(0)
    found = fourier.spectra(x, size=256, first=first, hop=hop, taken=taken, blocks=blocks, window=window)
    cut = blocks_of(x, size=256, first=first, hop=hop, taken=taken, blocks=blocks)
    if windowed:
        cut[:, :taken] *= window
    cut = np.concatenate([cut, np.zeros((blocks % 2, 256))])
    np.testing.assert_allclose(sorted_bins(found), np.fft.fft(cut[::2] + 1j * cut[1::2]), atol=1e-10)


@given(blocks=st.integers(1, 7), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_correlations_are_sums_over_blocks(blocks: int, seed: int) -> None:
    x, y = noise(blocks * 200, seed), noise(blocks * 200, seed + 100)
    settings_ = {"size": 512, "first": 0, "hop": 200, "taken": 200, "blocks": blocks}
    total = fourier.total(512)
    fourier.add_products(total, fourier.spectra(x, **settings_), fourier.spectra(y, **settings_))
    lags = np.array([-199, -3, 0, 1, 42, 199])
    expected = [
        sum(
            float(np.correlate(y[b : b + 200], x[b : b + 200], mode="full")[199 + lag])
            for b in range(0, blocks * 200, 200)
        )
        for lag in lags
    ]
    np.testing.assert_allclose(fourier.correlations(total, lags), expected, atol=1e-10)


def test_power_is_that_of_both_signals() -> None:
    x = noise(512)
    squares = fourier.total(256)
    spectra = fourier.spectra(x, size=256, first=0, hop=256, taken=256, blocks=2)
    fourier.add_products(squares, spectra, spectra)
    power = squares[0][fourier.places(256)]
    expected = (np.abs(np.fft.fft(x.reshape(2, 256))) ** 2).sum(axis=0)
    np.testing.assert_allclose((power + np.roll(power[::-1], 1)) / 2, expected)


def test_a_strided_signal_counts_by_its_samples() -> None:
    x = noise(1024)
    every_other = fourier.spectra(x[::2], size=256, first=0, hop=256, taken=256, blocks=2)
    copied = fourier.spectra(x[::2].copy(), size=256, first=0, hop=256, taken=256, blocks=2)
    np.testing.assert_array_equal(every_other, copied)


@pytest.mark.parametrize("size", [0, 128, 300, 257])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"power of two from 256 on, got {size}"):
        fourier.places(size)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="taken must not exceed the size, got 300 and 256"):
        fourier.spectra(noise(512), size=256, first=0, hop=256, taken=300, blocks=1)
    with pytest.raises(ValueError, match="window must have 256 values, got 3"):
        fourier.spectra(noise(512), size=256, first=0, hop=256, taken=256, blocks=1, window=np.ones(3))
    one, two = (fourier.spectra(noise(512), size=256, first=0, hop=256, taken=256, blocks=n) for n in (1, 4))
    with pytest.raises(ValueError, match="one shape"):
        fourier.add_products(fourier.total(256), one, two)
    with pytest.raises(ValueError, match="one shape"):
        fourier.add_products(fourier.total(512), one, one)
