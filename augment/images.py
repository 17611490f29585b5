"""Image sources of a shoebox room, summed exactly: what `rooms.simulate` computes with.

    h[n] = sum over images i of a_i w(n - tau_i),  tau_i = d_i rate / c
    a_i = (product of wall reflections) (air) (directivities) / (4 pi d_i)

where w(t) = sinc(t) (1 + cos(pi t / 40)) / 2 for |t| < 40 is the fractional-delay filter (81 taps, Hann) centred on the
image's own delay.

Conventions
    Metres, Hz, dB. Absorption is of energy, per wall: west (x = 0), east, south (y = 0), north, floor, ceiling; each
    reflection multiplies the amplitude by sqrt(1 - absorption). Tap 0 is emission; of images nearer than 40 taps the
    part of the filter before tap 0 is cut off. No high-pass: reflections are positive, so h has a mean.
    The images of a microphone are those no farther than `max_distance_m`, that have lost no more than `max_loss_db` in
    their reflections (per band) and were reflected no more than `max_order` times. The number of taps depends on room,
    limits and rate only, never on positions.
    A directivity keeps its direction at the microphone and is mirrored with the source in its images.
    With `jitter_m` every image but the direct one is moved by a vector uniform in a cube of twice that side, a function
    of `seed` and the image alone; it is never heard before the direct sound. This breaks up the sweeping echoes of
    rooms with parallel walls. Images that were moved are limited by where they are then.
    Bands: h is the sum over bands of the response with the band's walls and air, filtered. The filters are raised
    cosines over octaves without phase, open below the lowest and above the highest centre. They sum to 1: the direct
    sound stays a pulse, and bands with the same walls and air are one. In time they end after 4 periods of the lowest
    centre, in a Hann window. What they ring before tap 0 is lost.
    Bytes depend on the arguments alone, and those of a row on its own microphone alone. The error against the sum above
    in double precision is about -115 dB of its energy.

How it is summed
    Each image adds a_i k(n - 2 tau_i) to the 8 nearest points of a grid of twice the rate, k the exponential of a
    semicircle. With K and H the transforms of k and w, a filter of 192 taps with the spectrum H / K turns every other
    point of the grid into h. A shoebox is separable: positions and reflections are tables per axis, so an image costs
    a square root, a division and an 8-wide addition. The table of k has 256 rows, read linearly; delays are float64 (at
    40 000 grid points float32 would be wrong by -58 dB), the grid is float32.
    Bounds on the innermost axis are found by bisection in running extremes of gain and distance, so that what is
    excluded costs nothing; what slips through has amplitude 0.
    Air multiplies the grid by exp(-a n), and the filter then is that of k(x) exp(-a x): exact, and free per image.
    Directivities cost a fifth more per image, moving them about two thirds. Bands cost a sum for each set of walls, a
    filter and a transform for each set of walls and air.

Source
    J. Allen, D. Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979. The kernel:
    A. Barnett, J. Magland, L. af Klinteberg, "A parallel nonuniform fast Fourier transform library based on an
    'exponential of semicircle' kernel", SIAM J. Sci. Comput. 41(5), 2019. Moved images: E. De Sena, N. Antonello,
    M. Moonen, T. van Waterschoot, "On the modeling of rectangular geometries in room acoustic simulations", IEEE/ACM
    Trans. Audio Speech Lang. Process. 23(4), 2015. Numbers from counters: G. Steele, D. Lea, C. Flood, "Fast splittable
    pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from scipy import fft, special

from augment.directivity import OMNI, Pattern
from manifests.compiled import kernel

__all__ = ["HALF_FILTER", "SPEED_OF_SOUND", "impulse_responses", "octave_filters"]

Float = NDArray[np.float64]
Signal = NDArray[np.float32]
Function = Callable[..., Any]

SPEED_OF_SOUND = 343.0
HALF_FILTER = 40

_WIDTH = 8  # of k, in grid points
_BETA = 2.3 * _WIDTH
_ROWS = 256  # of the table of k

_LANES = 16
_BLOCK = 8 * _LANES
_BRANCH = 6 * _LANES  # taps of either half of the filter, that on even and that on odd grid points
_LEAD = _BRANCH  # grid points before emission
_AIR_TERMS = 3
_FFT_ROWS = 4  # transforms are done in groups of so many, that each takes the same (vector) path

_SLACK = 1e-9  # what rounding may do to a product of reflections that is exactly at its limit
_ODD = np.array(list(itertools.product((0, 1), repeat=3)))
_CELL_KEYS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def impulse_responses(
    *,
    size_m: Sequence[float],
    absorption: Sequence[Sequence[float]],
    source_m: Sequence[float],
    microphones_m: Sequence[Sequence[float]],
    sample_rate: int,
    max_distance_m: float | None = None,
    max_loss_db: float = 70.0,
    max_order: int | None = None,
    bands_hz: Sequence[float] = (),
    air_db_per_m: Sequence[float] = (),
    source_pattern: Pattern = OMNI,
    microphone_patterns: Sequence[Pattern] | None = None,
    jitter_m: float = 0.0,
    seed: int = 0,
    with_direct: bool = True,
) -> Signal:
    """(microphones, taps). `absorption` is (bands, 6), `air_db_per_m` (bands,); a single row holds for all bands.

    ValueError for what no room can be: a position outside, a source on a microphone, absorption outside [0, 1], limits
    that leave an endless number of images.
    """
    patterns = [OMNI] * len(microphones_m) if microphone_patterns is None else list(microphone_patterns)
    _check_room(size_m, source_m, microphones_m, patterns)
    _check_limits(max_distance_m, max_loss_db, max_order, jitter_m)
    bands, groups = _grouped(absorption, air_db_per_m, bands_hz, sample_rate)
    walls = [np.sqrt(1 - np.array(group.absorption)) for group in groups]
    limits = [_limits(size_m, w, max_distance_m, max_loss_db, max_order, jitter_m) for w in walls]
    last = math.ceil(max(reach_m for reach_m, _ in limits) / SPEED_OF_SOUND * sample_rate)

    axes = np.argsort(size_m, kind="stable")  # the longest side innermost: neighbours add far apart (measured)
    microphones = np.take(np.asarray(microphones_m, np.float64), axes, axis=1)
    directed = source_pattern.omni < 1 or any(pattern.omni < 1 for pattern in patterns)
    scale = 2 * sample_rate / SPEED_OF_SOUND
    found = []
    for group, w, (reach_m, most) in zip(groups, walls, limits, strict=True):
        fades = np.array(group.air_db_per_m) * math.log(10) / 20 / scale
        found.append(np.empty((len(fades), len(microphones), last + HALF_FILTER), np.float32))
        _sum_images(
            axes,
            np.take(np.array([size_m, source_m, w[0::2], w[1::2]], np.float64), axes, axis=1),
            microphones,
            2 * np.take(most, axes) + 1,
            2**31 if max_order is None else max_order,
            10 ** (-max_loss_db / 20) * (1 - _SLACK),
            reach_m,
            scale,
            directed,
            _first_order([source_pattern], axes),
            _first_order(patterns, axes),
            float(jitter_m),
            np.uint64(seed % 2**64),
            with_direct,
            fades,
            _table(),
            np.array([_filter(fade) for fade in fades]),
            found[-1],
        )
    if sum(map(len, found)) == 1:
        return np.asarray(found[0][0])
    return _joined(np.concatenate(found), [b for group in groups for b in group.bands], bands, sample_rate)


def _first_order(patterns: Sequence[Pattern], axes: NDArray[np.int64]) -> Float:
    """(patterns, 4): omni, then (1 - omni) times the axis."""
    return np.array([[p.omni, *((1 - p.omni) * p.axis[k] for k in axes)] for p in patterns])


# ---------------------------------------------------------------------------------------------------------- checks


def _check_room(
    size: Sequence[float], source: Sequence[float], microphones: Sequence[Sequence[float]], patterns: Sequence[Pattern]
) -> None:
    if len(size) != 3 or not all(0 < side < math.inf for side in size):
        raise ValueError(f"size_m must be three positive lengths, got {list(size)}")
    if len(microphones) == 0:
        raise ValueError("microphones_m must not be empty")
    if len(patterns) != len(microphones):
        raise ValueError(
            f"microphone_patterns must be one per microphone, got {len(patterns)} for {len(microphones)} microphones"
        )
    for name, position in (("source_m", source), *(("microphones_m", microphone) for microphone in microphones)):
        if len(position) != 3 or not all(0 <= p <= side for p, side in zip(position, size, strict=True)):
            raise ValueError(f"{name} must lie in the room of {list(size)} m, got {list(position)}")
    for microphone in microphones:
        if math.dist(source, microphone) == 0:
            raise ValueError(f"source_m must not lie on a microphone, got {list(source)} for both")


def _check_limits(distance: float | None, loss: float, order: int | None, jitter: float) -> None:
    if distance is not None and not 0 < distance < math.inf:
        raise ValueError(f"max_distance_m must be positive and finite, got {distance}")
    if not loss > 0:
        raise ValueError(f"max_loss_db must be positive, got {loss}")
    if order is not None and order < 0:
        raise ValueError(f"max_order must not be negative, got {order}")
    if not 0 <= jitter < math.inf:
        raise ValueError(f"jitter_m must be finite and not negative, got {jitter}")


# ----------------------------------------------------------------------------------------------------------- bands


class _Group(NamedTuple):
    """Bands with the same walls: what their air takes, and for each such value the bands."""

    absorption: tuple[float, ...]
    air_db_per_m: tuple[float, ...]
    bands: tuple[tuple[int, ...], ...]


def _grouped(
    absorption: Sequence[Sequence[float]], air: Sequence[float], bands_hz: Sequence[float], rate: int
) -> tuple[tuple[float, ...], list[_Group]]:
    """The centres of the bands that are heard at this rate, and their groups."""
    if len(absorption) == 0 or not all(len(row) == 6 and all(0 <= a <= 1 for a in row) for row in absorption):
        raise ValueError(f"absorption must be rows of six values between 0 and 1, got {[list(r) for r in absorption]}")
    if not all(0 <= a < math.inf for a in air):
        raise ValueError(f"air_db_per_m must be finite and not negative, got {list(air)}")
    count = max(len(absorption), len(air))
    if len(absorption) not in (1, count) or len(air) not in (0, 1, count):
        raise ValueError(f"absorption and air_db_per_m must agree, got {len(absorption)} and {len(air)} bands")
    bands = tuple(bands_hz)
    if count > 1 and (len(bands) != count or bands[0] <= 0 or any(a >= b for a, b in itertools.pairwise(bands))):
        raise ValueError(f"bands_hz must be {count} rising frequencies, got {list(bands)}")
    heard = next((n for n in range(1, count) if bands[n - 1] >= rate / 2), count)
    members: dict[tuple[float, ...], dict[float, tuple[int, ...]]] = {}
    for band in range(heard):
        same_walls = members.setdefault(tuple(float(a) for a in absorption[band % len(absorption)]), {})
        fading = float(air[band % len(air)]) if len(air) else 0.0
        same_walls[fading] = (*same_walls.get(fading, ()), band)
    return bands[:heard], [_Group(walls, tuple(found), tuple(found.values())) for walls, found in members.items()]


def octave_filters(bands_hz: Sequence[float], *, sample_rate: int, size: int) -> Float:
    """(bands, size // 2 + 1): the spectra, real, of the bands' filters in a transform of `size` taps."""
    half = _half_ring(bands_hz[0], sample_rate)
    if size < 2 * half:
        raise ValueError(f"size must be at least {2 * half} taps, to hold the filters, got {size}")
    fine = fft.next_fast_len(16 * half, real=True)
    with np.errstate(divide="ignore"):
        octave = np.log2(np.fft.rfftfreq(fine, 1 / sample_rate))
    way = np.array([np.interp(octave, np.log2(bands_hz), row) for row in np.eye(len(bands_hz))])
    ring = fft.irfft(0.5 - 0.5 * np.cos(math.pi * way), n=fine)[:, :half]
    ring *= 0.5 + 0.5 * np.cos(math.pi * np.arange(half) / half)
    whole = np.zeros((len(bands_hz), size))
    whole[:, :half] = ring
    whole[:, size - half + 1 :] = ring[:, :0:-1]
    return np.asarray(fft.rfft(whole).real)


def _half_ring(lowest_hz: float, sample_rate: int) -> int:
    return math.ceil(4 * sample_rate / lowest_hz)


@functools.lru_cache(maxsize=64)
def _group_filters(
    bands_hz: tuple[float, ...], groups: tuple[tuple[int, ...], ...], sample_rate: int, size: int
) -> Signal:
    filters = octave_filters(bands_hz, sample_rate=sample_rate, size=size)
    sums = np.array([filters[list(bands)].sum(axis=0) for bands in groups], np.float32)
    sums.setflags(write=False)
    return sums


def _joined(responses: Signal, members: Sequence[tuple[int, ...]], bands_hz: tuple[float, ...], rate: int) -> Signal:
    """The sum of `responses` (groups, microphones, taps), each through the filters of its bands."""
    count, microphones, taps = responses.shape
    half = _half_ring(bands_hz[0], rate)
    size = _transform_size(max(taps, half) + half)
    filters = _group_filters(bands_hz, tuple(members), rate, size)
    padded = np.zeros((_rounded_up(count, _FFT_ROWS), size), np.float32)
    spectra = np.zeros((_rounded_up(microphones, _FFT_ROWS), size // 2 + 1), np.complex64)
    for microphone in range(microphones):
        padded[:count, :taps] = responses[:, microphone]
        for spectrum, band in zip(fft.rfft(padded, workers=1), filters, strict=False):
            spectrum *= band
            spectra[microphone] += spectrum
    return np.ascontiguousarray(fft.irfft(spectra, n=size, overwrite_x=True, workers=1)[:microphones, :taps])


def _rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _transform_size(taps: int) -> int:
    """The next of 8, 9, 10, 12 times a power of two: few sizes, so that their filters are kept."""
    eighth: int = 2 ** max(1, (taps - 1).bit_length() - 4)
    return next(m * eighth for m in (8, 9, 10, 12, 16) if m * eighth >= taps)


# ---------------------------------------------------------------------------------------------------------- limits


def _limits(
    size: Sequence[float],
    walls: Float,
    max_distance: float | None,
    max_loss_db: float,
    max_order: int | None,
    jitter: float,
) -> tuple[float, list[int]]:
    """How far images can be, and how often reflected along each axis; `walls` are six factors of amplitude."""
    with np.errstate(divide="ignore"):
        losses = 0.0 - 20 * np.log10(walls).reshape(3, 2)
    limit_db = max_loss_db * (1 + 10 * _SLACK)
    order = math.inf if max_order is None else max_order
    moved = math.sqrt(3) * jitter
    by_order = math.hypot(*sorted(size)[:2], (order + 1) * max(size))
    by_walls = min(_farthest(size, losses, limit_db), by_order) + moved
    reach = min(by_walls, math.inf if max_distance is None else max_distance)
    if reach == math.inf:
        raise ValueError("max_distance_m or max_order must be given where two opposite walls absorb nothing")
    most = [min(order, _most(low, high, limit_db)) for low, high in losses.tolist()]
    return float(reach), [int(min(m, (reach + moved) // side + 1)) for m, side in zip(most, size, strict=True)]


def _farthest(size: Sequence[float], losses: Float, limit_db: float) -> float:
    """No image that has lost no more than `limit_db` is farther. `losses` are those of the walls (3, 2).

    After 2 p or 2 p + 1 reflections along an axis an image has lost p times what both walls take, and once what the
    better one takes if odd. It is less than 2 p + 1 or 2 p + 2 sides away. Squares of that are convex in p, the losses
    proportional to it: it is farthest with all p on one axis.
    """
    pairs = losses.sum(axis=1)
    if limit_db == math.inf or not pairs.all():
        return math.inf
    left_db = limit_db - np.where(_ODD, losses.min(axis=1), 0).sum(axis=1)
    sides = _ODD[:, np.newaxis] + 1 + 2 * np.maximum(left_db, 0)[:, np.newaxis, np.newaxis] / pairs * np.eye(3)
    squares = np.square(sides * size).sum(axis=2)
    return math.sqrt(squares[left_db >= 0].max())


def _most(low_db: float, high_db: float, limit_db: float) -> float:
    """Reflections between two walls, beginning at the better one, that lose no more than `limit_db`."""
    if low_db + high_db == 0 or limit_db == math.inf:
        return math.inf
    if low_db + high_db == math.inf:
        return float(min(low_db, high_db) <= limit_db)
    pairs, left_db = divmod(limit_db, low_db + high_db)
    return 2 * pairs + (min(low_db, high_db) <= left_db)


# ---------------------------------------------------------------------------------------------------------- images

_compiled: Callable[[Function], Function] = numba.njit(error_model="numpy")


class _Axis(NamedTuple):
    """Images along one axis by number of reflections: the source, then the one behind the wall at zero, the one behind
    the other wall, and so on in pairs. `best` and `nearest` are the largest gain and smallest square from an entry on,
    `heard` and `sent` the axis' part of the patterns' cosines, times 1 - omni and the distance, and `turned` is what an
    image's way is multiplied with for `sent`.
    """

    place: Any
    gain: Any
    best: Any
    key: Any
    apart: Any
    squared: Any
    nearest: Any
    heard: Any
    sent: Any
    turned: Any


class _Row(NamedTuple):
    """Images with the same entries of two axes; `dx`, `dy`, `dz` is how they are moved."""

    dx: Any
    dy: Any
    dz: Any
    squared: Any
    distance: Any
    amplitude: Any
    first: Any
    table_row: Any
    between: Any


@_compiled
def _axis(side: Any, source: Any, low: Any, high: Any, length: Any, cell_key: Any) -> Any:
    width = length + _LANES
    place, gain, best, key = np.empty(width), np.empty(width), np.empty(width), np.empty(width, np.uint64)
    apart, squared, nearest = np.empty(width), np.empty(width), np.empty(width)
    heard, sent, turned = np.empty(width), np.empty(width), np.empty(width)
    for e in range(width):
        count = (e + 1) // 2
        cell = -count if e % 2 else count
        place[e] = cell * side + (side - source if count % 2 else source)
        key[e] = np.uint64(cell) * cell_key
        gain[e] = low * gain[e - 1] if e % 2 else high * gain[max(0, e - 3)] if e else 1.0
    best[length] = 0.0
    for e in range(length - 1, -1, -1):
        best[e] = max(gain[e], best[e + 1])
    return _Axis(place, gain, best, key, apart, squared, nearest, heard, sent, turned)


@_compiled
def _see(axis: Any, length: Any, microphone: Any, along: Any, source_along: Any) -> None:
    for e in range(axis.place.size):
        way = axis.place[e] - microphone
        axis.apart[e] = way
        axis.squared[e] = way * way
        axis.heard[e] = along * way
        axis.turned[e] = source_along if (e + 1) // 2 % 2 else -source_along
        axis.sent[e] = axis.turned[e] * way
    axis.nearest[length] = math.inf
    for e in range(length - 1, -1, -1):
        axis.nearest[e] = min(axis.squared[e], axis.nearest[e + 1])


@_compiled
def _entries(most: Any, gain: Any, squared: Any, axis: Any, least: Any, outer: Any) -> Any:
    """How many of the first `most` images of an axis there are up to the last that may be within the limits."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if gain * axis.best[middle] >= least and squared + axis.nearest[middle] <= outer:
            low = middle + 1
        else:
            high = middle
    return low


@_compiled
def _scrambled(counter: Any) -> Any:
    """The output function of splitmix64."""
    counter = (counter ^ (counter >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    counter = (counter ^ (counter >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return counter ^ (counter >> np.uint64(31))


@_compiled
def _move(count: Any, key_xy: Any, key: Any, jitter: Any, axes: Any, row: Any) -> None:
    """21 of the bits of an image for each axis, as an odd number between -2^21 and 2^21."""
    dx, dy, dz = row.dx, row.dy, row.dz
    step, mask = jitter / 2.0**21, np.uint64(0x1FFFFF)
    x, y, z = np.uint64(21 * axes[0]), np.uint64(21 * axes[1]), np.uint64(21 * axes[2])
    for k in range(count):
        bits = _scrambled(key_xy + key[k])
        dx[k] = step * (2.0 * np.int32(bits >> x & mask) - 2097151.0)
        dy[k] = step * (2.0 * np.int32(bits >> y & mask) - 2097151.0)
        dz[k] = step * (2.0 * np.int32(bits >> z & mask) - 2097151.0)


@_compiled
def _set_squares(count: Any, x: Any, y: Any, z: Any, nearest: Any, row: Any) -> None:
    dx, dy, dz, squared = row.dx, row.dy, row.dz, row.squared
    for k in range(count):
        squared[k] = max((x + dx[k]) ** 2 + (y + dy[k]) ** 2 + (z[k] + dz[k]) ** 2, nearest)


@_compiled
def _apply_patterns(
    count: Any, i: Any, j: Any, x: Any, y: Any, z: Any, pattern: Any, source_omni: Any, row: Any
) -> None:
    dx, dy, dz, distance, amplitude = row.dx, row.dy, row.dz, row.distance, row.amplitude
    heard_xy, sent_xy, turned_x, turned_y = x.heard[i] + y.heard[j], x.sent[i] + y.sent[j], x.turned[i], y.turned[j]
    heard_z, sent_z, turned_z = z.heard, z.sent, z.turned
    omni, along_x, along_y, along_z = pattern
    for k in range(count):
        heard = heard_xy + heard_z[k] + along_x * dx[k] + along_y * dy[k] + along_z * dz[k]
        sent = sent_xy + sent_z[k] + turned_x * dx[k] + turned_y * dy[k] + turned_z[k] * dz[k]
        amplitude[k] *= np.float32((omni + heard / distance[k]) * (source_omni + sent / distance[k]))


@kernel(error_model="numpy")
def _sum_images(
    axes: Any,
    room: Any,
    microphones: Any,
    lengths: Any,
    max_order: Any,
    least: Any,
    reach: Any,
    scale: Any,
    directed: Any,
    source_pattern: Any,
    patterns: Any,
    jitter: Any,
    seed: Any,
    with_direct: Any,
    fades: Any,
    table: Any,
    taps: Any,
    out: Any,
) -> None:
    """Responses to `out` (fades, microphones, taps). Rows of `room`: side, source, reflections at zero and the side."""
    width = lengths[2] + _LANES
    dx, dy, dz, squared, distance = np.empty(width), np.empty(width), np.empty(width), np.empty(width), np.empty(width)
    amplitude, between = np.empty(width, np.float32), np.empty(width, np.float32)
    first, table_row = np.empty(width, np.int32), np.empty(width, np.int32)
    row = _Row(dx, dy, dz, squared, distance, amplitude, first, table_row, between)
    for k in range(width):
        dx[k], dy[k], dz[k] = 0.0, 0.0, 0.0
    half = (out.shape[2] + _BLOCK - 1) // _BLOCK * _BLOCK + _BRANCH
    grid, smooth = np.empty(2 * half, np.float32), np.empty(half, np.float32)
    even, odd = np.empty(half, np.float32), np.empty(half, np.float32)

    outer = (reach + math.sqrt(3.0) * jitter) ** 2
    limits = least, reach**2, scale
    x = _axis(room[0, 0], room[1, 0], room[2, 0], room[3, 0], lengths[0], _CELL_KEYS[axes[0]])
    y = _axis(room[0, 1], room[1, 1], room[2, 1], room[3, 1], lengths[1], _CELL_KEYS[axes[1]])
    z = _axis(room[0, 2], room[1, 2], room[2, 2], room[3, 2], lengths[2], _CELL_KEYS[axes[2]])
    for m in range(len(microphones)):
        _see(x, lengths[0], microphones[m, 0], patterns[m, 1], source_pattern[0, 1])
        _see(y, lengths[1], microphones[m, 1], patterns[m, 2], source_pattern[0, 2])
        _see(z, lengths[2], microphones[m, 2], patterns[m, 3], source_pattern[0, 3])
        pattern = patterns[m, 0], patterns[m, 1], patterns[m, 2], patterns[m, 3]
        direct_squared = x.squared[0] + y.squared[0] + z.squared[0]
        for k in range(grid.size):
            grid[k] = 0
        for i in range(_entries(lengths[0], 1.0, 0.0, x, least, outer)):
            left = max_order - (i + 1) // 2
            for j in range(_entries(min(lengths[1], 2 * left + 1), x.gain[i], x.squared[i], y, least, outer)):
                most = min(lengths[2], 2 * (left - (j + 1) // 2) + 1)
                gain_xy, squared_xy = x.gain[i] * y.gain[j], x.squared[i] + y.squared[j]
                count = _entries(most, gain_xy, squared_xy, z, least, outer)
                padded = (count + _LANES - 1) // _LANES * _LANES
                if jitter > 0:
                    _move(padded, seed + x.key[i] + y.key[j], z.key, jitter, axes, row)
                    if i + j == 0:
                        dx[0], dy[0], dz[0] = 0.0, 0.0, 0.0
                    _set_squares(padded, x.apart[i], y.apart[j], z.apart, direct_squared, row)
                    for k in range(0, count, _WIDTH):
                        _place(k, 0.0, squared, gain_xy, z.gain, limits, distance, amplitude, first, table_row, between)
                else:
                    for k in range(0, count, _WIDTH):
                        _place(
                            k,
                            squared_xy,
                            z.squared,
                            gain_xy,
                            z.gain,
                            limits,
                            distance,
                            amplitude,
                            first,
                            table_row,
                            between,
                        )
                if directed:
                    _apply_patterns(padded, i, j, x, y, z, pattern, source_pattern[0, 0], row)
                for k in range(0 if with_direct or i + j > 0 else 1, count):
                    _add_kernel(grid, first[k], table, table_row[k], between[k], amplitude[k])
        for f in range(len(fades)):
            _smooth(grid, fades[f], taps[f], even, odd, smooth)
            for k in range(out.shape[2]):
                out[f, m, k] = smooth[k]


@_compiled
def _smooth(grid: Any, fade: Any, taps: Any, even: Any, odd: Any, out: Any) -> None:
    """Every other point of the grid, faded, through the filter; the last _BRANCH of `out` mean nothing."""
    for k in range(even.size):
        even[k], odd[k] = grid[2 * k], grid[2 * k + 1]
        out[k] = 0
    if fade > 0:
        step = math.exp(-fade)
        for begin in range(0, even.size, _LANES):
            far = math.exp(-fade * (2 * begin - _LEAD))
            for k in range(_LANES):
                even[begin + k] *= np.float32(far)
                odd[begin + k] *= np.float32(far * step)
                far *= step * step
    for begin in range(0, out.size - _BRANCH, _BLOCK):
        _add_filtered(out, begin, even, taps[0])
        _add_filtered(out, begin, odd, taps[1])


# ---------------------------------------------------------------------------------------------------- vector code


_untyped_cgutils: Any = cgutils


def _pointer(builder: Any, data: Any, offset: Any, vector: Any) -> Any:
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    none = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(none, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, none, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


def _vector_addition(typing: Any, grid: Any, first: Any, table: Any, row: Any, between: Any, gain: Any) -> Any:
    """grid[first : first + 8] += gain (table[row : row + 8] + between table[row + 8 : row + 16]), row in elements.

    A loop over 8 costs three times as much: LLVM does not see that it may be one load, one store.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), _WIDTH)

        def at(array: int, index: int, past: int = 0) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            offset = builder.add(builder.zext(args[index], ir.IntType(64)), ir.Constant(ir.IntType(64), past))
            return _pointer(builder, data, offset, lanes)

        value, slope = builder.load(at(2, 3), align=4), builder.load(at(2, 3, _WIDTH), align=4)
        shape = builder.fadd(value, builder.fmul(_spread(builder, args[4], lanes), slope))
        here = at(0, 1)
        total = builder.fadd(builder.load(here, align=4), builder.fmul(_spread(builder, args[5], lanes), shape))
        builder.store(total, here, align=4)
        return context.get_dummy_value()

    return types.void(grid, types.int32, table, types.int32, types.float32, types.float32), generate


def _vector_place(
    typing: Any,
    k: Any,
    squared_xy: Any,
    squared_z: Any,
    gain_xy: Any,
    gain_z: Any,
    limits: Any,
    distance: Any,
    amplitude: Any,
    first: Any,
    table_row: Any,
    between: Any,
) -> Any:
    """What `_add_kernel` needs of the 8 images from k on: distance = sqrt(squared_xy + squared_z[k]), gain likewise.

    Beyond the limits the amplitude is 0. In a loop LLVM finds these vectors or does not, by version and length.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        f64, f32, i32 = (ir.VectorType(t, _WIDTH) for t in (ir.DoubleType(), ir.FloatType(), ir.IntType(32)))

        def at(array: int, lanes: Any) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return _pointer(builder, data, args[0], lanes)

        def constant(lanes: Any, value: float) -> Any:
            return ir.Constant(lanes, [value] * _WIDTH)

        least, limit, scale = (_spread(builder, builder.extract_value(args[5], n), f64) for n in range(3))
        squared = builder.fadd(_spread(builder, args[1], f64), builder.load(at(2, f64), align=8))
        gain = builder.fmul(_spread(builder, args[3], f64), builder.load(at(4, f64), align=8))
        near = builder.fcmp_ordered("<=", squared, limit)
        loud = builder.fcmp_ordered(">=", gain, least)
        far = builder.call(_root(builder, f64), [builder.select(near, squared, limit)])
        heard = builder.select(builder.and_(near, loud), gain, constant(f64, 0.0))
        place = builder.fadd(builder.fmul(far, scale), constant(f64, _LEAD - _WIDTH // 2 + 1.0))
        whole = builder.fptosi(place, i32)
        past = builder.fptrunc(builder.fsub(place, builder.sitofp(whole, f64)), f32)
        rows = builder.fmul(past, constant(f32, float(_ROWS)))
        row = builder.fptosi(rows, i32)
        builder.store(far, at(6, f64), align=8)
        builder.store(builder.fdiv(builder.fptrunc(heard, f32), builder.fptrunc(far, f32)), at(7, f32), align=4)
        builder.store(whole, at(8, i32), align=4)
        builder.store(builder.mul(row, constant(i32, 2 * _WIDTH)), at(9, i32), align=4)
        builder.store(builder.fsub(rows, builder.sitofp(row, f32)), at(10, f32), align=4)
        return context.get_dummy_value()

    arguments = (k, squared_xy, squared_z, gain_xy, gain_z, limits, distance, amplitude, first, table_row, between)
    return types.void(*arguments), generate


def _root(builder: Any, lanes: Any) -> Any:
    name = f"llvm.sqrt.v{lanes.count}f64"
    return builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(lanes, [lanes]), name)


def _vector_filter(typing: Any, out: Any, at: Any, branch: Any, taps: Any) -> Any:
    """out[at : at + _BLOCK] += sum over k < _BRANCH of taps[k] branch[at + k : at + k + _BLOCK].

    Sums stay in registers, and a vector that was loaded serves all taps that are a multiple of _LANES apart.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), _LANES)
        steps = [ir.Constant(ir.IntType(64), k * _LANES) for k in range((_BLOCK + _BRANCH) // _LANES)]
        data = {k: context.make_array(signature.args[k])(context, builder, args[k]).data for k in (0, 2, 3)}
        places = [_pointer(builder, data[0], builder.add(args[1], s), lanes) for s in steps[: _BLOCK // _LANES]]
        sums = [_untyped_cgutils.alloca_once(builder, lanes) for _ in places]
        for total, place in zip(sums, places, strict=True):
            builder.store(builder.load(place, align=4), total)
        with _untyped_cgutils.for_range(builder, ir.Constant(ir.IntType(64), _LANES)) as loop:
            offsets = [builder.add(loop.index, s) for s in steps[: _BRANCH // _LANES]]
            gains = [_spread(builder, builder.load(builder.gep(data[3], [o])), lanes) for o in offsets]
            begin = builder.add(args[1], loop.index)
            for k, step in enumerate(steps[:-1]):
                value = builder.load(_pointer(builder, data[2], builder.add(begin, step), lanes), align=4)
                for tap, gain in enumerate(gains):
                    if 0 <= k - tap < len(sums):
                        total = sums[k - tap]
                        builder.store(builder.fadd(builder.load(total), builder.fmul(gain, value)), total)
        for total, place in zip(sums, places, strict=True):
            builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    return types.void(out, types.int64, branch, taps), generate


_place: Any = intrinsic(_vector_place)
_add_kernel: Any = intrinsic(_vector_addition)
_add_filtered: Any = intrinsic(_vector_filter)


# --------------------------------------------------------------------------------------------------------- filters


def _kernel(x: Float) -> Float:
    """The exponential of a semicircle, on grid points."""
    return np.exp(_BETA * (np.sqrt(np.maximum(0, 1 - (2 * x / _WIDTH) ** 2)) - 1))


@functools.cache
def _table() -> Signal:
    """Row r: the kernel at the 8 points around a position r / 256 past a grid point, then the change to row r + 1."""
    past = np.arange(_ROWS + 2)[:, np.newaxis] / _ROWS  # a position just before a grid point rounds to row 256
    values = _kernel(np.arange(_WIDTH) - _WIDTH / 2 + 1 - past)
    table = np.hstack([values[:-1], np.diff(values, axis=0)]).astype(np.float32).ravel()
    table.setflags(write=False)
    return table


@functools.lru_cache(maxsize=1024)
def _filter(fade: float) -> Signal:
    """(2, _BRANCH): taps on even and odd grid points around an output, for a kernel that fades by exp(-fade x)."""
    taps = fade ** np.arange(_AIR_TERMS) @ _filter_terms()
    branches = np.ascontiguousarray(taps.reshape(-1, 2).T, dtype=np.float32)
    branches.setflags(write=False)
    return branches


@functools.cache
def _filter_terms() -> Float:
    """The filter as a power series in fade: taps at the grid points -_BRANCH to _BRANCH - 1 around an output.

    The transform of k(x) exp(-fade x) is a series of moments of k, which is divided into that of w.
    """
    size = 1024
    f = np.arange(size // 2 + 1) / size
    nodes, weights = np.polynomial.legendre.leggauss(40)
    x = nodes * _WIDTH / 2
    waves = np.exp(-2j * math.pi * np.outer(x, f))
    moments = [(weights * _WIDTH / 2 * _kernel(x) * (-x) ** n / math.factorial(n)) @ waves for n in range(_AIR_TERMS)]
    inverse = [1 / moments[0]]
    for n in range(1, _AIR_TERMS):
        inverse.append(-inverse[0] * sum(moments[m] * inverse[n - m] for m in range(1, n + 1)))
    wanted = 2 * _filter_spectrum(2 * f) / (4 * math.pi)
    taps = np.fft.irfft(wanted * np.conj(inverse), n=size)  # conj: taps are multiplied with points ahead, not behind
    return np.roll(taps, _BRANCH, axis=1)[:, : 2 * _BRANCH]


def _filter_spectrum(f: Float) -> Float:
    """The transform of w: a rectangle convolved with the transform of the Hann window."""

    def edge(g: Float) -> Float:
        return np.asarray(special.sici(2 * math.pi * HALF_FILTER * g)[0] / math.pi, dtype=np.float64)

    def windowed(g: Float) -> Float:
        return edge(g + 0.5) - edge(g - 0.5)

    shift = 1 / (2 * HALF_FILTER)
    return windowed(f) / 2 + (windowed(f - shift) + windowed(f + shift)) / 4
