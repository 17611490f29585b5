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
    rooms with parallel walls. What was moved is limited by where it is then.
    Bands: h is the sum over bands of the response with the band's walls and air, filtered. The filters are raised
    cosines over octaves without phase, open below the lowest and above the highest centre; they sum to 1, so that
    bands with the same walls and air are one. Their own ends are cut by a Hann window of +-4 periods of the lowest
    centre. What they ring before tap 0 is lost.
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
from collections.abc import Sequence
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

SPEED_OF_SOUND = 343.0
HALF_FILTER = 40

_WIDTH = 8  # of k, in grid points
_BETA = 2.3 * _WIDTH
_ROWS = 256  # of the table of k

_LANES = 16
_BLOCK = 8 * _LANES
_BRANCH = 6 * _LANES  # taps of either half of the filter, that on even and that on odd grid points
_LEAD = _BRANCH  # grid points before emission
_AIR_TERMS = 5
_FFT_ROWS = 4  # transforms are done in groups of so many, that each takes the same (vector) path

_SLACK = 1e-9  # what rounding may do to a product of reflections that is exactly at its limit
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
    scale = 2 * sample_rate / SPEED_OF_SOUND
    microphones = np.take(np.asarray(microphones_m, np.float64), axes, axis=1)
    directed = microphone_patterns is not None or source_pattern.omni < 1
    responses = np.empty((len(groups), len(microphones), last + HALF_FILTER), np.float32)
    for response, group, w, (reach_m, most) in zip(responses, groups, walls, limits, strict=True):
        fade = group.air_db_per_m * math.log(10) / 20 / scale
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
            fade,
            _table(),
            _filter(fade),
            response,
        )
    return responses[0] if len(groups) == 1 else _joined(responses, groups, bands, sample_rate)


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
    """Bands with the same walls and air."""

    absorption: tuple[float, ...]
    air_db_per_m: float
    bands: tuple[int, ...]


def _grouped(
    absorption: Sequence[Sequence[float]], air: Sequence[float], bands_hz: Sequence[float], rate: int
) -> tuple[tuple[float, ...], list[_Group]]:
    """The centres of the bands that are heard at this rate, and their groups."""
    if not absorption or not all(len(row) == 6 and all(0 <= a <= 1 for a in row) for row in absorption):
        raise ValueError(f"absorption must be rows of six values between 0 and 1, got {absorption}")
    if not all(0 <= a < math.inf for a in air):
        raise ValueError(f"air_db_per_m must be finite and not negative, got {list(air)}")
    count = max(len(absorption), len(air))
    if len(absorption) not in (1, count) or len(air) not in (0, 1, count):
        raise ValueError(f"absorption and air_db_per_m must agree, got {len(absorption)} and {len(air)} bands")
    bands = tuple(bands_hz)
    if count > 1 and (len(bands) != count or bands[0] <= 0 or any(a >= b for a, b in itertools.pairwise(bands))):
        raise ValueError(f"bands_hz must be {count} rising frequencies, got {list(bands)}")
    heard = next((n for n in range(1, count) if bands[n - 1] >= rate / 2), count)
    members: dict[tuple[tuple[float, ...], float], list[int]] = {}
    for band in range(heard):
        walls = tuple(float(a) for a in absorption[band % len(absorption)])
        members.setdefault((walls, float(air[band % len(air)]) if air else 0.0), []).append(band)
    return bands[:heard], [_Group(*key, tuple(found)) for key, found in members.items()]


def octave_filters(bands_hz: Sequence[float], *, sample_rate: int, size: int) -> Float:
    """(bands, size // 2 + 1): the spectra, real, of the bands' filters in a transform of `size` taps."""
    half = _half_ring(bands_hz[0], sample_rate)
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


def _joined(responses: Signal, groups: Sequence[_Group], bands_hz: tuple[float, ...], sample_rate: int) -> Signal:
    """The sum over groups of `responses` (groups, microphones, taps), each through its filters."""
    count, microphones, taps = responses.shape
    size = _transform_size(taps + _half_ring(bands_hz[0], sample_rate))
    filters = _group_filters(bands_hz, tuple(group.bands for group in groups), sample_rate, size)
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
    """How far images can be, and how often reflected along each axis; `walls` are six factors of amplitude.

    An image of n reflections along an axis is less than (n + 1) sides away along it. That is convex in n: where a sum
    of losses proportional to n is limited, the farthest image has all its reflections on one axis.
    """
    with np.errstate(divide="ignore"):
        losses = (0.0 - 20 * np.log10(walls)).reshape(3, 2).tolist()
    order = math.inf if max_order is None else max_order
    most = [min(order, _most(low, high, max_loss_db)) for low, high in losses]
    counted = [0 < low + high < math.inf for low, high in losses]
    budget_db = max_loss_db + sum(abs(low - high) / 2 for (low, high), c in zip(losses, counted, strict=True) if c)
    alone = [min(m, 2 * budget_db / sum(w)) if c else m for m, w, c in zip(most, losses, counted, strict=True)]
    beside = [0 if c else m for m, c in zip(most, counted, strict=True)]
    by_loss = max(_corner(size, [*beside[:k], alone[k], *beside[k + 1 :]]) for k in range(3))
    by_order = _corner(sorted(size), [0, 0, order])
    moved = math.sqrt(3) * jitter
    reach = min(by_loss + moved, by_order + moved, math.inf if max_distance is None else max_distance)
    if reach == math.inf:
        raise ValueError("max_distance_m or max_order must be given where two opposite walls absorb nothing")
    return reach, [int(min(m, (reach + moved) // side + 1)) for m, side in zip(most, size, strict=True)]


def _most(low_db: float, high_db: float, max_db: float) -> float:
    """Reflections between two walls, beginning at the better one, that lose no more than `max_db`."""
    limit_db = max_db * (1 + 10 * _SLACK)
    if low_db + high_db == 0 or limit_db == math.inf:
        return math.inf
    if low_db + high_db == math.inf:
        return float(min(low_db, high_db) <= limit_db)
    pairs, left_db = divmod(limit_db, low_db + high_db)
    return 2 * pairs + (min(low_db, high_db) <= left_db)


def _corner(size: Sequence[float], reflections: Sequence[float]) -> float:
    return math.hypot(*((n + 1) * side for n, side in zip(reflections, size, strict=True)))


# ---------------------------------------------------------------------------------------------------------- images

_inlined: Any = numba.njit(error_model="numpy", forceinline=True)


@_inlined
def _cells(axes: Any, room: Any, lengths: Any, place: Any, gain: Any, best: Any, key: Any) -> None:
    """Per axis the images by number of reflections: the source, then the one behind the wall at zero, the one behind
    the other wall, and so on in pairs; `best` is the largest gain from an entry on.
    """
    for axis in range(3):
        side, source, low, high = room[0, axis], room[1, axis], room[2, axis], room[3, axis]
        for e in range(lengths[axis]):
            count = (e + 1) // 2
            cell = -count if e % 2 else count
            place[axis, e] = cell * side + (side - source if count % 2 else source)
            key[axis, e] = np.uint64(cell) * _CELL_KEYS[axes[axis]]
            gain[axis, e] = 1.0 if e == 0 else low * gain[axis, e - 1] if e % 2 else high * gain[axis, max(0, e - 3)]
        best[axis, lengths[axis]] = 0
        for e in range(lengths[axis] - 1, -1, -1):
            best[axis, e] = max(gain[axis, e], best[axis, e + 1])


@_inlined
def _seen_from(microphone: Any, lengths: Any, place: Any, apart: Any, squared: Any, nearest: Any) -> None:
    """Per axis the distance of its images; `nearest` is the smallest square from an entry on."""
    for axis in range(3):
        nearest[axis, lengths[axis]] = math.inf
        for e in range(lengths[axis] - 1, -1, -1):
            apart[axis, e] = place[axis, e] - microphone[axis]
            squared[axis, e] = apart[axis, e] ** 2
            nearest[axis, e] = min(squared[axis, e], nearest[axis, e + 1])


@_inlined
def _entries(most: Any, gain: Any, squared: Any, best: Any, nearest: Any, least: Any, limit: Any) -> Any:
    """How many of the first `most` entries of an axis there are up to the last that may be within the limits."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if gain * best[middle] >= least and squared + nearest[middle] <= limit:
            low = middle + 1
        else:
            high = middle
    return low


@_inlined
def _on_grid(distance: Any, scale: Any) -> Any:
    """The first of the 8 grid points, the place in the table, and the way from there to the next row."""
    at = (_LEAD - _WIDTH // 2 + 1) + scale * distance
    whole = np.int32(at)
    past = np.float32(at - whole) * np.float32(_ROWS)
    row = np.int32(past)
    return whole, row * np.int32(2 * _WIDTH), past - np.float32(row)


@_inlined
def _place(
    count: Any, squared_xy: Any, gain_xy: Any, squared: Any, gain: Any, least: Any, limit: Any, scale: Any, found: Any
) -> None:
    first, row, between, amplitude = found
    for k in range(count):
        d2 = squared_xy + squared[k]
        product = gain_xy * gain[k]
        distance = math.sqrt(min(d2, limit))
        first[k], row[k], between[k] = _on_grid(distance, scale)
        amplitude[k] = np.float32(product if (d2 <= limit) & (product >= least) else 0.0) / np.float32(distance)


@_inlined
def _place_directed(
    count: Any,
    squared_xy: Any,
    gain_xy: Any,
    squared: Any,
    gain: Any,
    least: Any,
    limit: Any,
    scale: Any,
    found: Any,
    omni: Any,
    along_xy: Any,
    along: Any,
    source_omni: Any,
    source_along_xy: Any,
    source_along: Any,
) -> None:
    """`along` is the way to the image along the axis of the pattern, times 1 - omni."""
    first, row, between, amplitude = found
    for k in range(count):
        d2 = squared_xy + squared[k]
        product = gain_xy * gain[k]
        distance = math.sqrt(min(d2, limit))
        first[k], row[k], between[k] = _on_grid(distance, scale)
        nearness = np.float32(1) / np.float32(distance)
        heard = omni + np.float32(along_xy + along[k]) * nearness
        sent = source_omni + np.float32(source_along_xy + source_along[k]) * nearness
        amplitude[k] = np.float32(product if (d2 <= limit) & (product >= least) else 0.0) * nearness * heard * sent


@_inlined
def _scrambled(counter: Any) -> Any:
    """The output function of splitmix64."""
    counter = (counter ^ (counter >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    counter = (counter ^ (counter >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return counter ^ (counter >> np.uint64(31))


@_inlined
def _offset(bits: Any, shift: Any) -> Any:
    """21 of the bits as an odd number between -2^21 and 2^21."""
    return 2.0 * np.float64(np.int32((bits >> shift) & np.uint64(0x1FFFFF))) - 2097151.0


@_inlined
def _place_moved(
    count: Any,
    x: Any,
    y: Any,
    apart: Any,
    gain_xy: Any,
    gain: Any,
    least: Any,
    limit: Any,
    scale: Any,
    found: Any,
    beyond: Any,
    key_xy: Any,
    key: Any,
    step: Any,
    shifts: Any,
    nearest: Any,
    pattern: Any,
    source_x: Any,
    source_y: Any,
    source_z: Any,
    source_omni: Any,
) -> None:
    first, row, between, amplitude = found
    omni, to_x, to_y, to_z = pattern
    shift_x, shift_y, shift_z = shifts
    for k in range(count):
        bits = _scrambled(key_xy + key[k])
        side = 0.0 if beyond + k == 0 else step
        dx = x + side * _offset(bits, shift_x)
        dy = y + side * _offset(bits, shift_y)
        dz = apart[k] + side * _offset(bits, shift_z)
        d2 = max(dx * dx + dy * dy + dz * dz, nearest)
        product = gain_xy * gain[k]
        distance = math.sqrt(min(d2, limit))
        first[k], row[k], between[k] = _on_grid(distance, scale)
        nearness = np.float32(1) / np.float32(distance)
        heard = omni + np.float32(to_x * dx + to_y * dy + to_z * dz) * nearness
        sent = source_omni + np.float32(source_x * dx + source_y * dy + source_z[k] * dz) * nearness
        amplitude[k] = np.float32(product if (d2 <= limit) & (product >= least) else 0.0) * nearness * heard * sent


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
    fade: Any,
    table: Any,
    taps: Any,
    out: Any,
) -> None:
    """Responses to `out` (microphones, taps). Rows of `room`: side, source, reflection at zero and at the side."""
    width = max(lengths[0], lengths[1], lengths[2]) + _LANES
    place, gain, best = np.zeros((3, width)), np.zeros((3, width)), np.zeros((3, width))
    apart, squared, nearest = np.zeros((3, width)), np.ones((3, width)), np.zeros((3, width))
    along, source_along = np.zeros((3, width)), np.zeros((3, width))
    key = np.zeros((3, width), np.uint64)
    found = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.float32), np.empty(width, np.float32)
    first, row, between, amplitude = found
    blocks = (out.shape[1] + _BLOCK - 1) // _BLOCK
    even, odd = np.empty(blocks * _BLOCK + _BRANCH, np.float32), np.empty(blocks * _BLOCK + _BRANCH, np.float32)
    grid = np.empty(2 * even.size, np.float32)
    smooth = np.empty(blocks * _BLOCK, np.float32)
    near = np.empty(_LANES)
    for k in range(_LANES):
        near[k] = math.exp(-fade * k)

    moved = jitter > 0
    limit, outer = reach**2, (reach + math.sqrt(3.0) * jitter) ** 2
    shifts = np.uint64(21 * axes[0]), np.uint64(21 * axes[1]), np.uint64(21 * axes[2])
    source_omni = np.float32(source_pattern[0, 0])
    gain_x, gain_y, gain_z = gain[0], gain[1], gain[2]
    best_x, best_y, best_z = best[0], best[1], best[2]
    apart_x, apart_y, apart_z = apart[0], apart[1], apart[2]
    squared_x, squared_y, squared_z = squared[0], squared[1], squared[2]
    nearest_x, nearest_y, nearest_z = nearest[0], nearest[1], nearest[2]
    along_x, along_y, along_z = along[0], along[1], along[2]
    sent_x, sent_y, sent_z = source_along[0], source_along[1], source_along[2]
    key_x, key_y, key_z = key[0], key[1], key[2]
    _cells(axes, room, lengths, place, gain, best, key)
    for m in range(len(microphones)):
        _seen_from(microphones[m], lengths, place, apart, squared, nearest)
        direct = squared[0, 0] + squared[1, 0] + squared[2, 0]
        omni = np.float32(patterns[m, 0])
        pattern = omni, patterns[m, 1], patterns[m, 2], patterns[m, 3]
        for axis in range(3):
            for e in range(lengths[axis]):
                mirrored = -source_pattern[0, 1 + axis] * (-1 if (e + 1) // 2 % 2 else 1)
                along[axis, e] = patterns[m, 1 + axis] * apart[axis, e]
                source_along[axis, e] = mirrored if moved else mirrored * apart[axis, e]
        for k in range(grid.size):
            grid[k] = 0
        for i in range(_entries(lengths[0], 1.0, 0.0, best_x, nearest_x, least, outer)):
            left = max_order - (i + 1) // 2
            most = min(lengths[1], 2 * left + 1)
            for j in range(_entries(most, gain_x[i], squared_x[i], best_y, nearest_y, least, outer)):
                most = min(lengths[2], 2 * (left - (j + 1) // 2) + 1)
                gain_xy, squared_xy = gain_x[i] * gain_y[j], squared_x[i] + squared_y[j]
                count = _entries(most, gain_xy, squared_xy, best_z, nearest_z, least, outer)
                padded = (count + _LANES - 1) // _LANES * _LANES
                if moved:
                    _place_moved(
                        padded,
                        apart_x[i],
                        apart_y[j],
                        apart_z,
                        gain_xy,
                        gain_z,
                        least,
                        limit,
                        scale,
                        found,
                        i + j,
                        seed + key_x[i] + key_y[j],
                        key_z,
                        jitter / 2**21,
                        shifts,
                        direct,
                        pattern,
                        sent_x[i],
                        sent_y[j],
                        sent_z,
                        source_omni,
                    )
                elif directed:
                    _place_directed(
                        padded,
                        squared_xy,
                        gain_xy,
                        squared_z,
                        gain_z,
                        least,
                        limit,
                        scale,
                        found,
                        omni,
                        along_x[i] + along_y[j],
                        along_z,
                        source_omni,
                        sent_x[i] + sent_y[j],
                        sent_z,
                    )
                else:
                    _place(padded, squared_xy, gain_xy, squared_z, gain_z, least, limit, scale, found)
                for k in range(0 if with_direct or i + j > 0 else 1, count):
                    _add_kernel(grid, first[k], table, row[k], between[k], amplitude[k])
        if fade > 0:
            _fade(grid, fade, near)
        _smooth(grid, taps, even, odd, smooth)
        for k in range(out.shape[1]):
            out[m, k] = smooth[k]


@_inlined
def _fade(grid: Any, fade: Any, near: Any) -> None:
    for begin in range(0, grid.size, _LANES):
        far = math.exp(-fade * (begin - _LEAD))
        for k in range(_LANES):
            grid[begin + k] *= np.float32(far * near[k])


# ---------------------------------------------------------------------------------------------------- vector code


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


def _vector_filter(typing: Any, out: Any, at: Any, branch: Any, taps: Any) -> Any:
    """out[at : at + _BLOCK] += sum over k < _BRANCH of taps[k] branch[at + k : at + k + _BLOCK].

    Sums stay in registers, and a vector that was loaded serves all taps that are a multiple of _LANES apart.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.FloatType(), _LANES)
        steps = [ir.Constant(ir.IntType(64), k * _LANES) for k in range((_BLOCK + _BRANCH) // _LANES)]
        data = {k: context.make_array(signature.args[k])(context, builder, args[k]).data for k in (0, 2, 3)}
        places = [_pointer(builder, data[0], builder.add(args[1], s), lanes) for s in steps[: _BLOCK // _LANES]]
        sums = [cgutils.alloca_once(builder, lanes) for _ in places]
        for total, place in zip(sums, places, strict=True):
            builder.store(builder.load(place, align=4), total)
        with cgutils.for_range(builder, ir.Constant(ir.IntType(64), _LANES)) as loop:
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


_add_kernel: Any = intrinsic(_vector_addition)
_add_filtered: Any = intrinsic(_vector_filter)


@_inlined
def _smooth(grid: Any, taps: Any, even: Any, odd: Any, out: Any) -> None:
    """Every other point of the grid through the filter."""
    for k in range(even.size):
        even[k], odd[k] = grid[2 * k], grid[2 * k + 1]
    for k in range(out.size):
        out[k] = 0
    for begin in range(0, out.size, _BLOCK):
        _add_filtered(out, begin, even, taps[0])
        _add_filtered(out, begin, odd, taps[1])


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
    moments = [
        (weights * _WIDTH / 2 * _kernel(x) * (-x) ** n / math.factorial(n)) @ waves for n in range(_AIR_TERMS)
    ]
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
