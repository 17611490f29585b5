"""Flags: each trick raises its own, ordinary processing raises none, on real and made-up speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from eval import gaming, masks

RATE = 16000


def speech(seed: int = 0, seconds: float = 3.0) -> Any:
    """Noise bursts with the spectrum and the pauses of speech."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    x = signal.lfilter([1], [1, -0.9], rng.standard_normal(n))
    envelope = np.repeat(rng.uniform(0, 1, n // 1600 + 1) ** 2, 1600)[:n]
    return 0.05 * x * envelope


S = speech()
NOISE = 0.02 * np.random.default_rng(9).standard_normal(S.size)
M = S + NOISE


def found(e: Any, *, s: Any = S, m: Any = M, **said: Any) -> set[str]:
    return set(gaming.Reference.of(reference=s, sample_rate=RATE, mixture=m).flags(e, **said))


def low_passed(x: Any, hz: float) -> Any:
    return signal.sosfiltfilt(signal.butter(8, hz, fs=RATE, output="sos"), x)


LIMIT = 0.3 * np.abs(S).max()
TRICKS = {
    "level": 0.5 * (S + 0.3 * NOISE),
    "bandwidth": low_passed(S, 1000),
    "dc": S + 0.3 * NOISE + 0.05,
    "clipped": np.clip(S + 0.1 * NOISE, -LIMIT, LIMIT),
    "copy_of_input": M,
    "copy_of_reference": S,
    "gaps": np.where(np.arange(S.size) % 1600 < 320, 0, S + 0.3 * NOISE),
}


@pytest.mark.parametrize("name", TRICKS)
def test_each_trick_raises_its_flag_and_no_other(name: str) -> None:
    raised = found(TRICKS[name])
    assert name in raised
    assert raised <= {name, "level"}


def test_lag_and_polarity_are_what_the_correlation_said() -> None:
    e = S + 0.3 * NOISE
    assert found(e, lag=16) == {"delay"}
    assert found(e, lag=-16) == {"delay"}
    assert found(e, lag=15) == set()
    assert found(-e, lag=0, inverted=True) == {"polarity"}


def test_ordinary_estimates_raise_nothing() -> None:
    for share in (0.9, 0.5, 0.1):
        assert found(S + share * NOISE) == set()
    enhanced = masks.irm(target=S[None].astype(np.float32), mixture=M[None].astype(np.float32), sample_rate=RATE)[0]
    assert found(enhanced) == set()


def test_a_copy_with_a_gain_is_a_copy_and_a_clean_mixture_is_none() -> None:
    assert "copy_of_input" in found(1.3 * M)
    assert "copy_of_reference" in found(-0.8 * S)
    assert found(S, m=S) == set()
    assert "copy_of_input" not in found(M + 0.05 * NOISE)  # 26 dB


def test_without_a_mixture_there_is_no_copy_of_it() -> None:
    assert found(M, m=None) == set()
    assert "copy_of_reference" in found(S, m=None)


@given(st.floats(-40, 40), st.integers(0, 5))
def test_the_gain_that_counts_is_five_decibels(gain_db: float, seed: int) -> None:
    if abs(abs(gain_db) - 5) > 0.05:
        e = 10 ** (gain_db / 20) * (S + 0.01 * np.random.default_rng(seed).standard_normal(S.size) * np.abs(S).mean())
        assert ("level" in found(e)) == (abs(gain_db) > 5)


def test_the_offset_that_counts_is_three_percent_of_the_rms() -> None:
    e = S + 0.3 * NOISE
    offset = np.sqrt(gaming.DC_SHARE * e.var())
    assert "dc" not in found(e - e.mean() + S.mean() + 0.95 * offset)
    assert "dc" in found(e - e.mean() + S.mean() + 1.05 * offset)
    assert "dc" not in found(e + 0.05, s=S + 0.05, m=M + 0.05)  # the reference's own


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="mixture must have the reference's shape"):
        gaming.flags(reference=S, estimate=S, sample_rate=RATE, mixture=M[:-1])
    with pytest.raises(ValueError, match="estimate must have the reference's shape"):
        gaming.flags(reference=S, estimate=S[:-1], sample_rate=RATE)


def test_real_systems_raise_nothing_but_what_is_so(corpus: Path) -> None:
    """Enhanced files of MP-SENet and FRCRN: honest systems."""
    folder = corpus / "metric_fixtures" / "enhancement_pairs"
    for name in ("p232_010", "p232_032", "p232_043", "p232_052", "dns_fileid_44", "dns_fileid_58"):
        s, m = (sf.read(folder / f"{name}_{kind}.flac")[0] for kind in ("clean", "noisy"))
        e = sf.read(folder / f"{name}_mpsenet.flac")[0]
        n = min(len(s), len(e))
        assert found(e[:n], s=s[:n], m=m[:n]) <= {"level"}, name
        assert found(m, s=s, m=m) == {"copy_of_input"}
        assert found(s, s=s, m=m) == {"copy_of_reference"}
        assert "bandwidth" in found(low_passed(s, 1000), s=s, m=m)
        assert "dc" in found(m + 0.05, s=s, m=m)


@pytest.mark.parametrize("samples", [300, 1000, 1024, 3 * 1024 + 5, 40_000])
@pytest.mark.parametrize("cutoff_hz", [700, 3000, 7900])
def test_the_bandwidth_is_that_of_the_long_term_spectrum(samples: int, cutoff_hz: float) -> None:
    x = low_passed(np.random.default_rng(0).standard_normal(samples), cutoff_hz)
    size = min(1024, max(256, 1 << (samples.bit_length() - 1)))
    frames = x[: samples // size * size].reshape(-1, size) * np.hanning(size + 1)[:-1]
    power = np.sum(np.abs(np.fft.rfft(frames)) ** 2, axis=0)[1:]
    assert gaming._bandwidth(x) == np.flatnonzero(power > gaming.BAND_FLOOR * power.max())[-1] + 1
