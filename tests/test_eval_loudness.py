"""eval.loudness against the standard's test tone, augment.levels, pyloudnorm, and gain and silence as properties."""

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from augment import levels
from eval import loudness
from eval.loudness import loudness_lufs

RATE = 16000


def coloured(seed: int, samples: int, rms: float = 0.1) -> NDArray[np.float64]:
    x = lfilter([1.0], [1.0, -0.9], np.random.default_rng(seed).standard_normal(samples))
    return np.asarray(x * rms / np.sqrt(np.mean(x**2)))


def measured(signal: NDArray[np.float64]) -> float:
    value = loudness_lufs(signal=signal, sample_rate=RATE)
    assert value is not None
    return value


def test_tone_of_the_standard() -> None:
    """A sine of 997 Hz at full scale in one channel is -3.01 LUFS (BS.1770-4, annex 1), at 48 kHz. At 16 kHz the
    bilinear transform bends the shelf by 0.05 LU.
    """
    assert measured(np.sin(2 * np.pi * 997 * np.arange(3 * RATE) / RATE)) == pytest.approx(-3.01, abs=0.06)


def test_filters_are_those_of_augment_levels() -> None:
    for own, (b0, b1, b2, a1, a2) in zip((loudness._SHELF, loudness._HIGHPASS), levels.k_weighting(RATE), strict=True):
        assert own == pytest.approx((b0, b1, b2, 1.0, a1, a2), rel=1e-12)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), seconds=st.floats(0.4, 5.0), rms_db=st.floats(-75.0, -5.0))
def test_equal_to_augment_levels(seed: int, seconds: float, rms_db: float) -> None:
    """Both follow the standard; that one reads float32. A quiet half is gated where it is 10 LU below the mean."""
    x = coloured(seed, round(seconds * RATE), 10 ** (rms_db / 20))
    x[: x.size // 2] *= 0.1
    x = x.astype(np.float32).astype(np.float64)
    expected = levels.loudness_lufs(x.astype(np.float32), RATE)
    found = loudness_lufs(signal=x, sample_rate=RATE)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


@pytest.mark.parametrize("seed", range(3))
def test_close_to_pyloudnorm(seed: int) -> None:
    """Its default filters differ: 0.04 LU on speech, less than 0.1 LU on this noise."""
    x = coloured(seed, 4 * RATE)
    assert measured(x) == pytest.approx(pyloudnorm.Meter(RATE).integrated_loudness(x), abs=0.1)


def test_gates() -> None:
    """Silence around a signal does not count, nor does what lies more than 10 LU below the mean of the rest."""
    loud, pause = coloured(1, 4 * RATE), np.zeros(4 * RATE)
    alone = measured(loud)
    assert measured(np.concatenate([loud, pause])) == pytest.approx(alone, abs=0.2)  # blocks across the edge
    assert measured(np.concatenate([loud, 0.03 * coloured(2, 4 * RATE)])) == pytest.approx(alone, abs=0.2)
    both = measured(np.concatenate([loud, 0.5 * loud]))  # passes: mean of 1 and 1/4
    assert both == pytest.approx(alone + 10 * np.log10(0.625), abs=0.05)


def test_absolute_gate() -> None:
    """At -70 LUFS, by gain from a level that was measured far above it."""
    x = coloured(4, 2 * RATE)
    level = measured(x)
    assert loudness_lufs(signal=x * 10 ** ((-69 - level) / 20), sample_rate=RATE) is not None
    assert loudness_lufs(signal=x * 10 ** ((-72 - level) / 20), sample_rate=RATE) is None  # its blocks differ by 1 LU


def test_undefined() -> None:
    x = coloured(3, RATE)
    assert loudness_lufs(signal=x[:6399], sample_rate=RATE) is None
    assert loudness_lufs(signal=x[:6400], sample_rate=RATE) is not None
    assert loudness_lufs(signal=x * 1e-4, sample_rate=RATE) is None
    assert loudness_lufs(signal=np.zeros(RATE), sample_rate=RATE) is None


def test_other_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="sample_rate must be 16000 for loudness, got 48000"):
        loudness_lufs(signal=np.zeros(48000), sample_rate=48000)
