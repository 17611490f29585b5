"""Witness: the recursion written out, sample by sample, bit for bit. What the filter is and what its blocks are worth:
test_augment_levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.weighting import hop_energies, k_weighting


def plain(x: np.ndarray, rate: int, hops: int) -> list[float]:
    """Each stretch of hops from 0.15 s before it on, out of silence."""
    period = 10 // math.gcd(rate, 10)
    count = period * math.ceil(hops / (32 * period))
    settling = math.ceil(0.15 * rate)
    edges = [k * rate // 10 for k in range(count + 1)]
    (b0, b1, b2, a1, a2), (d0, d1, d2, c1, c2) = (c.tolist() for c in k_weighting(rate))
    found: list[float] = []
    for begin in range(0, hops * rate // 10, edges[-1]):
        u1 = u2 = v1 = v2 = 0.0
        energies = [0.0] * count
        for n in range(-settling, edges[-1]):
            u = (float(x[begin + n]) if 0 <= begin + n < x.size else 0.0) + 1e-60
            v = b0 * u + u1
            u1 = b1 * u - a1 * v + u2
            u2 = b2 * u - a2 * v
            y = d0 * v + v1
            v1 = d1 * v - c1 * y + v2
            v2 = d2 * v - c2 * y
            if n >= 0:
                energies[next(k for k in range(count) if n < edges[k + 1])] += y * y
        found += energies
    return found[:hops]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([8000, 8001, 11025, 16000]),
    seconds=st.one_of(st.floats(0.11, 0.6), st.floats(0.6, 1.9), st.just(3.4)),
)
def test_every_energy_is_that_of_the_recursion_to_the_last_bit(seed: int, rate: int, seconds: float) -> None:
    x = (0.2 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)
    hops = x.size * 10 // rate
    found = hop_energies(x, rate, hops)
    assert found.shape == (hops,)
    assert found.tolist() == plain(x, rate, hops)


@pytest.mark.parametrize("hops", [1, 16, 17, 32, 33, 100, 512, 513])
def test_any_number_of_hops(hops: int) -> None:
    """Each is that of a signal which ends with it."""
    x = (0.2 * np.random.default_rng(hops).standard_normal(800 * hops)).astype(np.float32)
    found = hop_energies(x, 8000, hops)
    assert found[0] == hop_energies(x[:800], 8000, 1)[0]
    np.testing.assert_allclose(found[-1], hop_energies(x[-16000:], 8000, min(hops, 20))[-1], rtol=1e-11)
