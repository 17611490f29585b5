"""K-weighting of ITU-R BS.1770-4: the filter at any rate, and the energy that it leaves in each tenth of a second.

Conventions
    A signal is float32 (samples,). A hop is 0.1 s; hop h begins at sample floor(h sample_rate / 10). Energies are sums
    of squares in float64.

Source
    ITU-R BS.1770-4 (10/2015), annex 1.
"""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
import numpy.typing as npt

from manifests.compiled import kernel
from manifests.lanes import Lanes

__all__ = ["HOPS_PER_S", "hop_energies", "k_weighting"]

Signal = npt.NDArray[np.float32]
Power = npt.NDArray[np.float64]

HOPS_PER_S = 10
_SHELF_48K = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
_HIGHPASS_48K = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
_STRETCHES = 32
_SETTLING_S = 0.15
_LANES = 16  # stretches that are filtered side by side
_CHUNK = 64
_TINY = 1e-60  # keeps the recursion out of the subnormal range, where it is a hundred times slower


@functools.cache
def k_weighting(sample_rate: int) -> tuple[Power, Power]:
    """The two sections of the K-weighting filter as (b0, b1, b2, a1, a2): high shelf, high-pass.

    The standard gives them at 48 kHz. Undoing the bilinear transform there and doing it again here, warped so that
    the corner stays where it was, gives the same filter at another rate.
    """
    if sample_rate < 8000:
        raise ValueError(f"sample_rate must be at least 8000 for loudness, got {sample_rate}")
    return _at_rate(*_SHELF_48K, sample_rate), _at_rate(*_HIGHPASS_48K, sample_rate)


def _at_rate(b: tuple[float, ...], a: tuple[float, ...], sample_rate: int) -> Power:
    """In s = (1 - 1/z) / (1 + 1/z) the section is a ratio of quadratics; s is scaled, and z put back."""
    transform = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, -2.0], [1.0, -1.0, 1.0]])  # its own inverse, times 4
    analogue_b, analogue_a = transform @ b, transform @ a
    corner = math.sqrt(analogue_a[0] / analogue_a[2])
    scale = corner / math.tan(math.atan(corner) * 48000.0 / sample_rate)
    powers = scale ** np.arange(3)
    new_b, new_a = transform @ (analogue_b * powers), transform @ (analogue_a * powers)
    return np.asarray(np.concatenate([new_b, new_a[1:]]) / new_a[0])


def hop_energies(x: Signal, sample_rate: int, hops: int) -> Power:
    """Energy of each of the first `hops` hops of (samples,) after K-weighting, (hops,).

    The signal is cut into stretches of equally many hops, which are filtered side by side. Each begins before its
    first hop, in the signal's past, so that the filter settles: its poles lie at 240 per second, and 0.15 s leave
    1e-14 of what was.
    """
    period = HOPS_PER_S // math.gcd(sample_rate, HOPS_PER_S)  # hops that take a whole number of samples
    count = period * math.ceil(hops / (_STRETCHES * period))
    settling = math.ceil(_SETTLING_S * sample_rate)
    stops = settling + np.arange(count + 1) * sample_rate // HOPS_PER_S
    energies = np.empty((count + 1, -(-hops // count // _LANES) * _LANES))  # some lanes may lie beyond the signal
    _stretch_energies(np.ascontiguousarray(x), settling, stops, *k_weighting(sample_rate), energies)
    return np.asarray(energies[1:].T.ravel()[:hops])


# The filter

_SIDE_BY_SIDE = Lanes(_LANES, "float64")
_load, _store, _each = _SIDE_BY_SIDE.load, _SIDE_BY_SIDE.store, _SIDE_BY_SIDE.spread


@kernel()
def _stretch_energies(
    x: Signal, settling: int, stops: npt.NDArray[np.int64], shelf: Power, highpass: Power, energies: Power
) -> None:
    """Energy up to each stop from the one before to `energies` (stops, stretches), through both sections (transposed
    direct form II). Stretch k begins `settling` samples before k times the samples between the first stop and the last.
    """
    b0, b1, b2, a1, a2 = _each(shelf[0]), _each(shelf[1]), _each(shelf[2]), _each(shelf[3]), _each(shelf[4])
    d0, d1, d2 = _each(highpass[0]), _each(highpass[1]), _each(highpass[2])
    c1, c2, tiny, zero = _each(highpass[3]), _each(highpass[4]), _each(_TINY), _each(0.0)
    length = stops[-1] - settling
    turned = np.empty(_CHUNK * _LANES, np.float32)
    for first in range(0, energies.shape[1], _LANES):
        u1, u2, v1, v2 = zero, zero, zero, zero
        i = 0
        for stop in range(stops.size):
            energy = zero
            while i < stops[stop]:
                size = min(_CHUNK, stops[stop] - i)
                _turn(x, first * length + i - settling, length, size, turned)
                for n in range(0, size * _LANES, _LANES):
                    u = _load(turned, n) + tiny
                    v = b0 * u + u1
                    u1 = b1 * u - a1 * v + u2
                    u2 = b2 * u - a2 * v
                    y = d0 * v + v1
                    v1 = d1 * v - c1 * y + v2
                    v2 = d2 * v - c2 * y
                    energy = energy + y * y
                i += size
            _store(energies[stop], first, energy)


@numba.njit()
def _turn(x: Signal, begin: int, apart: int, size: int, to: Signal) -> None:
    """`size` samples from each of `begin`, `begin` + `apart` and so on, the first of all of them first. Zeros stand
    for what is outside of the signal.
    """
    for lane in range(_LANES):
        start = begin + lane * apart
        if start >= 0 and start + size <= x.size:
            here = x[start : start + size]
            for n in range(size):
                to[n * _LANES + lane] = here[n]
        else:
            for n in range(size):
                to[n * _LANES + lane] = x[start + n] if 0 <= start + n < x.size else np.float32(0.0)
