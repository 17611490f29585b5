"""Image sources of a shoebox room, summed exactly: what `rooms.simulate` computes with.

    h[n] = sum over images i of a_i w(n - tau_i),  tau_i = d_i rate / c,  a_i = product of wall reflections / (4 pi d_i)

over all images of at most `max_order` reflections, where w(t) = sinc(t) (1 + cos(pi t / 40)) / 2 for |t| < 40 is the
fractional-delay filter (81 taps, Hann) centred on the image's own delay.

Conventions
    Metres, Hz. Absorption is of energy, one value per wall: west (x = 0), east, south (y = 0), north, floor, ceiling;
    each reflection multiplies the amplitude by sqrt(1 - absorption). Tap 0 is emission. The length depends on room,
    order and rate only and holds the filter of the last image. Of images nearer than 40 taps the part of the filter
    before tap 0 is cut off. No air absorption, no high-pass: reflections are all positive, so h has a mean.
    Bytes depend on the arguments alone: one thread, one order. The error against the sum above in double precision is
    about -115 dB of its energy.

How it is summed
    Each image adds a_i k(n - 2 tau_i) to the 8 nearest points of a grid of twice the rate, k the exponential of a
    semicircle. With K and H the transforms of k and w, the spectrum of the grid times H / K, folded at the output rate
    (Z[m] = F[m] + conj F[N - m]) is the spectrum of h. A shoebox is separable: positions and reflections are tables
    per axis, so an image costs a square root, a division and an 8-wide addition. The table of k has 256 rows, read
    linearly; delays are float64 (at 40 000 grid points float32 would be wrong by -58 dB), the grid is float32.

Source
    J. Allen, D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979. The kernel:
    A. Barnett, J. Magland, L. af Klinteberg, "A parallel nonuniform fast Fourier transform library based on an
    'exponential of semicircle' kernel", SIAM J. Sci. Comput. 41(5), 2019.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from scipy import fft, special

__all__ = ["HALF_FILTER", "SPEED_OF_SOUND", "impulse_response"]

Float = NDArray[np.float64]
Axis = tuple[Float, Float]

SPEED_OF_SOUND = 343.0
HALF_FILTER = 40

_WIDTH = 8
_BETA = 2.3 * _WIDTH
_ROWS = 256
_LEAD = HALF_FILTER + _WIDTH  # output taps before tap 0 and after the last delay, so that nothing wraps around


def impulse_response(
    *,
    size_m: Sequence[float],
    absorption: Sequence[float],
    max_order: int,
    source_m: Sequence[float],
    microphone_m: Sequence[float],
    sample_rate: int,
) -> NDArray[np.float32]:
    """(taps,) float32. ValueError for a position outside the room, coincident ones, or an absorption outside [0, 1]."""
    _check(size_m, absorption, max_order, source_m, microphone_m)
    walls = np.sqrt(1 - np.asarray(absorption, dtype=np.float64)).reshape(3, 2)
    axes = sorted(range(3), key=lambda k: size_m[k])  # the longest side innermost: neighbours add far apart (measured)
    tables = [_axis(size_m[k], source_m[k], microphone_m[k], walls[k, 0], walls[k, 1], max_order) for k in axes]
    # Farthest image: the vertex of |x| / length + |y| / width + |z| / height <= order, and a room's diagonal beyond.
    reach_m = max_order * max(size_m) + math.hypot(*size_m)
    last = math.ceil(reach_m / SPEED_OF_SOUND * sample_rate)
    grid = np.zeros(2 * _transform_size(last + 2 * _LEAD), np.float32)
    _spread(*tables[0], *tables[1], *tables[2], max_order, 2 * sample_rate / SPEED_OF_SOUND, _table(), grid)
    return _folded(grid)[_LEAD : _LEAD + last + HALF_FILTER]


def _check(
    size: Sequence[float],
    absorption: Sequence[float],
    max_order: int,
    source: Sequence[float],
    microphone: Sequence[float],
) -> None:
    if max_order < 0:
        raise ValueError(f"max_order must not be negative, got {max_order}")
    if len(absorption) != 6 or not all(0 <= a <= 1 for a in absorption):
        raise ValueError(f"absorption must be six values between 0 and 1, got {list(absorption)}")
    for name, position in (("source_m", source), ("microphone_m", microphone)):
        if len(position) != 3 or not all(0 <= p <= side for p, side in zip(position, size, strict=True)):
            raise ValueError(f"{name} must lie in the room of {list(size)} m, got {list(position)}")
    if math.dist(source, microphone) == 0:
        raise ValueError(f"source_m and microphone_m must differ, got {list(source)} for both")


# ---------------------------------------------------------------------------------------------------------- images


def _axis(side: float, source: float, microphone: float, low: float, high: float, order: int) -> Axis:
    """Squared distances along one axis of its images and their products of reflections: the source, then the two of
    one reflection, the two of two, up to `order`.

    Images lie at 2 n side + source, reflected |n| times by either wall, and at 2 n side - source, reflected |n - 1|
    times by the wall at zero and |n| times by the other.
    """
    n = np.concatenate([np.arange(-order, order + 1)] * 2)
    turned = np.arange(n.size) >= n.size // 2
    at_low, at_high = abs(n - turned), abs(n)
    keep = np.argsort(at_low + at_high, kind="stable")[: 2 * order + 1]
    apart = 2 * n * side + np.where(turned, -source, source) - microphone
    return apart[keep] ** 2, (low**at_low * high**at_high)[keep]


def _vector_addition(typing: Any, grid: Any, first: Any, table: Any, row: Any, between: Any, gain: Any) -> Any:
    """grid[first : first + 8] += gain (table[row, :8] + between table[row, 8:]), as one vector operation.

    A loop over 8 costs three times as much: LLVM does not see that it may be one load, one store.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), _WIDTH)

        def pointer(array: int, offset: Any) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.bitcast(builder.gep(data, [offset]), lanes.as_pointer())

        def spread(scalar: Any) -> Any:
            one = builder.insert_element(ir.Constant(lanes, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), [0] * _WIDTH)
            return builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), zeros)

        at = builder.mul(args[3], ir.Constant(ir.IntType(64), 2 * _WIDTH))
        value = builder.load(pointer(2, at), align=4)
        slope = builder.load(pointer(2, builder.add(at, ir.Constant(ir.IntType(64), _WIDTH))), align=4)
        here = pointer(0, args[1])
        kernel = builder.fadd(value, builder.fmul(spread(args[4]), slope))
        total = builder.fadd(builder.load(here, align=4), builder.fmul(spread(args[5]), kernel))
        builder.store(total, here, align=4)
        return context.get_dummy_value()

    return types.void(grid, types.int64, table, types.int64, types.float32, types.float32), generate


_add_kernel: Any = intrinsic(_vector_addition)


@numba.njit(cache=True, error_model="numpy")
def _spread(
    x2: Float,
    x_gain: Float,
    y2: Float,
    y_gain: Float,
    z2: Float,
    z_gain: Float,
    order: int,
    scale: float,
    table: NDArray[np.float32],
    grid: NDArray[np.float32],
) -> None:
    """Add all images to the grid, at 2 _LEAD + scale x distance. Entry i of an axis has (i + 1) // 2 reflections."""
    at = np.empty(z2.size, np.float64)
    amplitude = np.empty(z2.size, np.float64)
    for i in range(x2.size):
        left = order - (i + 1) // 2
        for j in range(2 * left + 1):
            count = 2 * (left - (j + 1) // 2) + 1
            r2 = x2[i] + y2[j]
            gain = x_gain[i] * y_gain[j] / (4 * math.pi)
            for k in range(count):
                distance = math.sqrt(r2 + z2[k])
                at[k] = 2 * _LEAD + scale * distance
                amplitude[k] = gain * z_gain[k] / distance
            for k in range(count):
                whole = int(at[k])
                past = (at[k] - whole) * _ROWS
                row = int(past)
                _add_kernel(grid, whole - _WIDTH // 2 + 1, table, row, np.float32(past - row), np.float32(amplitude[k]))


# --------------------------------------------------------------------------------------------------------- kernels


def _kernel(x: Float) -> Float:
    """The exponential of a semicircle, on grid points."""
    return np.exp(_BETA * (np.sqrt(np.maximum(0, 1 - (2 * x / _WIDTH) ** 2)) - 1))


@functools.cache
def _table() -> NDArray[np.float32]:
    """Row r: the kernel at the 8 points around a position r / 256 past a grid point, then the change to row r + 1."""
    past = np.arange(_ROWS + 1)[:, np.newaxis] / _ROWS
    values = _kernel(np.arange(_WIDTH) - _WIDTH / 2 + 1 - past)
    table = np.hstack([values[:-1], np.diff(values, axis=0)]).astype(np.float32)
    table.setflags(write=False)
    return table


def _transform_size(taps: int) -> int:
    """The next of 8, 9, 10, 12 times a power of two: few sizes, so that their filters are kept."""
    eighth: int = 2 ** max(1, (taps - 1).bit_length() - 4)
    return next(m * eighth for m in (8, 9, 10, 12, 16) if m * eighth >= taps)


@functools.lru_cache(maxsize=64)
def _correction(size: int) -> NDArray[np.float32]:
    """H / K at the frequencies m / size, m = 0 .. size, in cycles per output tap."""
    f = np.arange(size + 1) / size
    correction = (_filter_spectrum(f) / _kernel_spectrum(f / 2)).astype(np.float32)
    correction.setflags(write=False)
    return correction


def _filter_spectrum(f: Float) -> Float:
    """The transform of w: a rectangle convolved with the transform of the Hann window."""

    def edge(g: Float) -> Float:
        return np.asarray(special.sici(2 * math.pi * HALF_FILTER * g)[0] / math.pi, dtype=np.float64)

    def windowed(g: Float) -> Float:
        return edge(g + 0.5) - edge(g - 0.5)

    shift = 1 / (2 * HALF_FILTER)
    return windowed(f) / 2 + (windowed(f - shift) + windowed(f + shift)) / 4


def _kernel_spectrum(f: Float) -> Float:
    """The transform of k at f cycles per grid point, by Gauss-Legendre quadrature over one half of it."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = nodes > 0
    x = nodes[half] * _WIDTH / 2
    spectrum = np.zeros_like(f)
    for point, weight in zip(x, weights[half] * _kernel(x) * _WIDTH, strict=True):
        spectrum += weight * np.cos(2 * math.pi * point * f)
    return spectrum


def _folded(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """The grid with its kernel replaced by w, at the output rate."""
    size = grid.size // 2
    spectrum = fft.rfft(grid, overwrite_x=True, workers=1) * _correction(size)
    folded = spectrum[: size // 2 + 1] + np.conj(spectrum[size // 2 :][::-1])
    return np.asarray(fft.irfft(folded, n=size, overwrite_x=True, workers=1))
