"""Witnesses: slopes and plans on paper; a loop over samples; power, seams and coverage as properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.timing import assemble, fade_slopes, loop_plan


def noise(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def power_db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(x.astype(float) ** 2)))


# assemble


def test_a_cross_fade_on_paper() -> None:
    """Two ones overlap by two samples: the phases are 22.5 and 67.5 degrees."""
    one = np.ones(3, np.float32)
    c, s = math.cos(math.pi / 8), math.sin(math.pi / 8)
    np.testing.assert_allclose(assemble([(one, 0), (one, 1)], length=5), [1, c + s, s + c, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(assemble([(one, 0), (-one, 1)], length=4), [1, c - s, s - c, -1], rtol=1e-6)


def test_slopes_are_of_equal_power() -> None:
    down, up = fade_slopes(501)
    np.testing.assert_allclose(down**2 + up**2, 1, atol=1e-6)
    np.testing.assert_allclose(down, up[::-1], atol=1e-6)
    assert np.all(np.diff(up) > 0)
    assert down[250] == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert [len(slope) for slope in fade_slopes(0)] == [0, 0]


@settings(deadline=None)
@given(samples=st.integers(1, 300), at=st.integers(-400, 400), length=st.integers(0, 300), seed=st.integers(0, 99))
def test_a_single_piece_is_untouched(samples: int, at: int, length: int, seed: int) -> None:
    x = noise(seed, samples)
    out = assemble([(x, at)], length=length)
    wanted = np.array([x[i - at] if 0 <= i - at < samples else 0 for i in range(length)], np.float32)
    np.testing.assert_array_equal(out, wanted)
    assert out.dtype == np.float32


def test_pieces_that_only_touch_are_not_faded() -> None:
    x = noise(0, 100)
    np.testing.assert_array_equal(assemble([(x[:40], 0), (x[40:], 40)], length=100), x)
    gap = assemble([(x[:40], 0), (x[40:], 50)], length=110)
    np.testing.assert_array_equal(gap, np.concatenate([x[:40], np.zeros(10, np.float32), x[40:]]))
    assert not assemble([], length=7).any()


@settings(max_examples=50, deadline=None)
@given(data=st.data(), length=st.integers(1, 200), shift=st.integers(-60, 60))
def test_matches_a_loop_over_samples(data: st.DataObject, length: int, shift: int) -> None:
    """Fades belong to the pieces, not to what the crop leaves of them."""
    pieces, at = [], shift
    for seed in range(data.draw(st.integers(1, 5))):
        x = noise(seed, data.draw(st.integers(20, 60)))
        pieces.append((x, at))
        at += x.size - data.draw(st.integers(-5, 10))
    wanted = np.zeros(length)
    for i, (x, start) in enumerate(pieces):
        before = max(0, pieces[i - 1][1] + pieces[i - 1][0].size - start) if i else 0
        after = max(0, start + x.size - pieces[i + 1][1]) if i + 1 < len(pieces) else 0
        for k in range(x.size):
            gain = math.sin(math.pi / 2 * (k + 0.5) / before) if k < before else 1.0
            left = x.size - 1 - k
            gain *= math.sin(math.pi / 2 * (left + 0.5) / after) if left < after else 1.0
            if 0 <= start + k < length:
                wanted[start + k] += gain * x[k]
    np.testing.assert_allclose(assemble(pieces, length=length), wanted, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), fade=st.integers(4000, 16000))
def test_uncorrelated_noise_keeps_its_power(seed: int, fade: int) -> None:
    """Over the fade and over its middle fifth, where a Hann fade on amplitudes loses 3 dB; averaged over 32 seams."""
    rng = np.random.default_rng(seed)
    middle, whole = [], []
    for _ in range(32):
        a, b = (rng.standard_normal(20000).astype(np.float32) for _ in range(2))
        seam = assemble([(a, 0), (b, 20000 - fade)], length=40000 - fade)[20000 - fade : 20000]
        whole.append(np.mean(seam**2))
        middle.append(np.mean(seam[2 * fade // 5 : 3 * fade // 5] ** 2))
    assert 10 * np.log10(np.mean(whole)) == pytest.approx(0, abs=0.3)
    assert 10 * np.log10(np.mean(middle)) == pytest.approx(0, abs=0.3)


@settings(max_examples=40, deadline=None)
@given(frequency=st.floats(20, 4000), start=st.integers(0, 15999), fade=st.integers(1600, 8000))
def test_seams_do_not_click(frequency: float, start: int, fade: int) -> None:
    """A loop of a tone whose phase does not fit: no step exceeds three times the RMS step of the tone."""
    x = np.sin(2 * np.pi * frequency * np.arange(16000) / 16000).astype(np.float32)
    plan = loop_plan(source_frames=x.size, start=start, length=50000, fade=fade)
    steps = np.abs(np.diff(assemble([(x[s : s + n], at) for s, n, at in plan], length=50000)))
    short = plan[0][1] < 1600  # a first stretch shorter than a tenth of a second is a fade of that length
    assert steps[plan[1][2] + plan[0][1] if short else 0 :].max() <= 3 * np.sqrt(np.mean(np.diff(x) ** 2))


def test_a_loop_without_a_fade_would_click() -> None:
    x = np.sin(2 * np.pi * 10.3 * np.arange(16000) / 16000).astype(np.float32)
    plan = loop_plan(source_frames=x.size, start=0, length=40000, fade=0)
    steps = np.abs(np.diff(assemble([(x[s : s + n], at) for s, n, at in plan], length=40000)))
    assert steps.max() > 100 * np.sqrt(np.mean(np.diff(x) ** 2))


def test_refuses_what_has_no_meaning() -> None:
    x = noise(0, 10)
    with pytest.raises(ValueError, match=r"pieces must begin and end in order, got \[5, 15\) and \[0, 10\)"):
        assemble([(x, 5), (x, 0)], length=20)
    with pytest.raises(ValueError, match="pieces must begin and end in order"):
        assemble([(x, 0), (x[:3], 2)], length=20)
    with pytest.raises(ValueError, match=r"at most two pieces may overlap, got .* and \[6, 16\)"):
        assemble([(x, 0), (x, 3), (x, 6)], length=20)
    with pytest.raises(ValueError, match=r"piece 1 must have shape \(samples,\), got \(1, 10\)"):
        assemble([(x, 0), (x[None], 20)], length=20)
    with pytest.raises(ValueError, match="length must not be negative, got -1"):
        assemble([(x, 0)], length=-1)


# loop_plan


def test_plans_on_paper() -> None:
    assert loop_plan(source_frames=100, start=10, length=60, fade=20) == [(10, 60, 0)]
    assert loop_plan(source_frames=100, start=10, length=90, fade=20) == [(10, 90, 0)]
    assert loop_plan(source_frames=100, start=10, length=200, fade=20) == [(10, 90, 0), (0, 100, 70), (0, 50, 150)]
    assert loop_plan(source_frames=100, start=95, length=60, fade=20) == [(95, 5, 0), (0, 60, 0)]
    assert loop_plan(source_frames=10, start=0, length=12, fade=500) == [(0, 10, 0), (0, 7, 5)]
    assert loop_plan(source_frames=1, start=0, length=3, fade=5) == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]


@settings(max_examples=300, deadline=None)
@given(source_frames=st.integers(1, 300), data=st.data(), length=st.integers(1, 2000), fade=st.integers(0, 400))
def test_every_sample_is_covered(source_frames: int, data: st.DataObject, length: int, fade: int) -> None:
    start = data.draw(st.integers(0, source_frames - 1))
    plan = loop_plan(source_frames=source_frames, start=start, length=length, fade=fade)
    cover = np.zeros(length, int)
    for source_start, frames, at in plan:
        assert all(type(number) is int for number in (source_start, frames, at))
        assert 0 <= source_start < source_start + frames <= source_frames
        assert 0 <= at < at + frames <= length
        cover[at : at + frames] += 1
    assert cover.min() == 1
    assert cover.max() <= 2
    assert plan[0] == (start, plan[0][1], 0)
    assert all(source_start == 0 for source_start, _, _ in plan[1:])
    overlaps = [a[2] + a[1] - b[2] for a, b in itertools.pairwise(plan)]
    assert all(n <= min(fade, source_frames // 2) for n in overlaps)
    assert all(n == min(fade, source_frames // 2) for n in overlaps[1:])
    x = noise(0, source_frames)
    out = assemble([(x[s : s + n], at) for s, n, at in plan], length=length)  # it never refuses a plan
    if not fade:
        np.testing.assert_array_equal(out, np.resize(np.roll(x, -start), length))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_frames": 0}, "source_frames must be at least 1, got 0"),
        ({"start": 100}, "start must lie within the 100 frames of the recording, got 100"),
        ({"start": -1}, "start must lie within"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"fade": -1}, "fade must not be negative, got -1"),
    ],
)
def test_bad_plans_are_named(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loop_plan(**({"source_frames": 100, "start": 0, "length": 10, "fade": 5} | change))
