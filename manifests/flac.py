"""FLAC files of integer signals: what libFLAC writes, in a third of its time and a little smaller; and what it reads,
in half of libsndfile's time.

Conventions
    Samples that are written are int32, shape (channels, samples), of `bits` bits (16 or 24) each; 1 to 8 channels, none
    predicted from another. A block is 2048 samples up to 24 kHz and 4096 above, about 0.1 s: speech changes faster than
    the quarter of a second that 4096 are at 16 kHz.
    In a block a channel is predicted by a polynomial of order 0 to 4 or by linear prediction of order 8, whichever
    leaves less, and what is left is Rice coded in up to 32 partitions; what does not shrink stands as it is.
    Every frame ends with its CRC; the MD5 of the whole is left out (zeros, which the format defines as unknown).
    The same samples give the same bytes on every machine: sums are of integers, and Levinson's recursion needs no
    library function.
    Samples that are read are float32, shape (channels, samples), full scale 1.0: the integers times 2^(1 - bits), which
    is exact. Every frame's checksums are compared and its number is that of its place.

Source
    RFC 9639. Linear prediction under Welch's window, Levinson's recursion: Makhoul, "Linear prediction", 1975.
"""

# numba gives its integers a size, which Python ints do not have: mypy cannot follow kernels.
# mypy: disable-error-code="arg-type,assignment,return-value,no-any-return"
from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from manifests.compiled import kernel

__all__ = ["Decoded", "decode", "encode"]

Integers = NDArray[np.int64]
Samples = NDArray[np.int32]
Signal = NDArray[np.float32]
Table = NDArray[np.int32]
Bytes = NDArray[np.uint8]
State = tuple[Any, Any, Any]  # whole bytes, the bits after them (first of 64), how many those are (under 8); all uint64

ORDER = 8
PRECISION = 15  # bits of a coefficient
PARTITION_ORDER = 5
MOST_RICE = 30
MOST_BITS = 56  # that are put at once
_SIZE_CODES = {16: 4, 24: 6}
_RATE_CODES = {8000: 4, 16000: 5, 22050: 6, 24000: 7, 32000: 8, 44100: 9, 48000: 10, 96000: 11}
_BLOCK_CODES = {2048: 11, 4096: 12}
_POLYNOMIALS = np.array(
    [[0] * 8, [1] + [0] * 7, [2, -1] + [0] * 6, [3, -3, 1] + [0] * 5, [4, -6, 4, -1] + [0] * 4], dtype=np.int64
)  # the next sample from the four before it, by order


def encode(samples: Samples, *, sample_rate: int, bits: int) -> bytes:
    """The bytes of a FLAC file. ValueError for a shape, width, rate or sample that the format does not hold."""
    if samples.ndim != 2 or not 1 <= len(samples) <= 8 or not samples.size:
        raise ValueError(f"samples must have shape (1 to 8 channels, 1 or more samples), got {samples.shape}")
    if bits not in _SIZE_CODES or not 0 < sample_rate < 2**20:
        raise ValueError(f"bits must be 16 or 24 and sample_rate below 2^20, got {bits} and {sample_rate}")
    low, high = (samples.min(), samples.max()) if samples.dtype != np.int32 else _ends(np.ravel(samples))
    if low < -(2 ** (bits - 1)) or high >= 2 ** (bits - 1):
        raise ValueError(f"samples must have {bits} bits, got {low} to {high}")
    block = 2048 if sample_rate <= 24000 else 4096
    codes = np.array([_BLOCK_CODES[block], _RATE_CODES.get(sample_rate, 0), _SIZE_CODES[bits]])
    x = np.ascontiguousarray(samples, dtype=np.int32)
    data, size = _stream(x, block, bits, codes, _window(block), *_crc_tables())
    return b"".join([_header(x, sample_rate, bits, block), data[:size].data])


def _header(x: Samples, sample_rate: int, bits: int, block: int) -> bytes:
    """The marker and STREAMINFO, the only metadata."""
    channels, samples = map(int, x.shape)
    facts = sample_rate << 44 | channels - 1 << 41 | bits - 1 << 36 | samples
    return b"fLaC\x80\x00\x00\x22" + 2 * block.to_bytes(2, "big") + bytes(6) + facts.to_bytes(8, "big") + bytes(16)


@functools.cache
def _window(block: int) -> Samples:
    """Welch's parabola in units of 2^-15."""
    place = (2.0 * np.arange(block) - (block - 1)) / (block + 1)
    return np.asarray(np.rint(2**15 * (1.0 - place * place)), dtype=np.int32)


@functools.cache
def _crc_tables() -> tuple[Table, Table]:
    """CRC-8 (256,) by byte, and CRC-16 (8, 256): row j is a byte that j others follow."""
    crc_8 = np.array([_crc(byte, 0x107, 8) for byte in range(256)])
    crc_16 = [np.array([_crc(byte, 0x18005, 16) for byte in range(256)])]
    for _ in range(7):
        crc_16.append((crc_16[-1] << 8 & 0xFFFF) ^ crc_16[0][crc_16[-1] >> 8])
    return crc_8.astype(np.int32), np.array(crc_16, np.int32)


def _crc(byte: int, polynomial: int, width: int) -> int:
    rest = byte << width
    for bit in range(width + 7, width - 1, -1):
        if rest >> bit & 1:
            rest ^= polynomial << bit - width
    return rest


@kernel()
def _ends(samples: Samples) -> tuple[int, int]:
    low = high = samples[0]
    for value in samples:
        low, high = min(low, value), max(high, value)
    return low, high


# Bits, most significant first


@numba.njit()
def _put(data: Bytes, state: State, value: int, bits: int) -> State:
    """Append the `bits` (1 to `MOST_BITS`) lowest of `value`, which must be all it has.

    Eight bytes are stored, so that those that are begun stand there too, and the next store writes over what is behind.
    """
    at, begun, filled = state
    filled += np.uint64(bits)
    begun |= np.uint64(value) << (np.uint64(64) - filled)
    for place in range(8):  # which compiles to one store
        data[at + np.uint64(place)] = np.uint8(begun >> np.uint64(56 - 8 * place))
    return at + (filled >> np.uint64(3)), begun << (filled & np.uint64(0x38)), filled & np.uint64(7)


@numba.njit()
def _stored(state: State) -> int:
    """The number of bytes so far, with one that is begun."""
    at, _, filled = state
    return np.int64(at) + (filled > 0)


@numba.njit()
def _put_signed(data: Bytes, state: State, value: int, bits: int) -> State:
    return _put(data, state, value & ((1 << bits) - 1), bits)


@numba.njit()
def _put_zeros(data: Bytes, state: State, count: int) -> State:
    while count > 0:
        state = _put(data, state, 0, min(count, MOST_BITS))
        count -= MOST_BITS
    return state


@numba.njit()
def _put_rice(data: Bytes, state: State, folded: Samples, parameter: int) -> State:
    """Each number as its quotient by 2^parameter in unary and the rest in binary: zeros, a one, `parameter` bits.

    Two at once, where they fit: what is put waits for what was put before.
    """
    k = np.uint64(parameter)
    one = np.uint64(1) << k
    for i in range(folded.size >> 1):
        a, b = np.uint64(folded[2 * i]), np.uint64(folded[2 * i + 1])
        width_b = (b >> k) + np.uint64(1) + k
        width = (a >> k) + np.uint64(1) + k + width_b
        if width <= MOST_BITS:
            rests = (one | a & (one - np.uint64(1))) << width_b | one | b & (one - np.uint64(1))
            state = _put(data, state, rests, width)
        else:
            state = _put_rice_one(data, state, a, k)
            state = _put_rice_one(data, state, b, k)
    if folded.size & 1:
        state = _put_rice_one(data, state, np.uint64(folded[-1]), k)
    return state


@numba.njit()
def _put_rice_one(data: Bytes, state: State, value: np.uint64, k: np.uint64) -> State:
    state = _put_zeros(data, state, np.int64(value >> k))
    return _put(data, state, np.uint64(1) << k | value & ((np.uint64(1) << k) - np.uint64(1)), k + np.uint64(1))


@numba.njit()
def _crc_8(data: Bytes, start: int, stop: int, table: Table) -> int:
    crc = 0
    for index in range(start, stop):
        crc = table[crc ^ data[index]]
    return crc


@numba.njit()
def _crc_16(data: Bytes, start: int, stop: int, tables: Table) -> int:
    """The remainder of the bytes by P = x^16 + x^15 + x^2 + 1.

    P^64 = x^1024 + x^960 + x^128 + 1, since squares in this arithmetic have no mixed terms. So a word of 64 bits may be
    taken away if it is added to the 1st, 14th and 16th word after it. The 16 words that are left go by tables, a word
    at a time, and the bytes behind them one by one.
    """
    added = np.zeros(16, np.uint64)  # to the next words
    word = np.uint64(0)
    count = (stop - start) >> 3
    for number in range(max(0, count - 16)):
        word ^= _eight(data, np.uint64(start + 8 * number)) ^ added[number & 15]
        added[number & 15] = word
        added[(number + 14) & 15] ^= word
    crc = 0
    for number in range(max(0, count - 16), count):
        word ^= _eight(data, np.uint64(start + 8 * number)) ^ added[number & 15]
        a, b = np.int64(word >> np.uint64(32)), np.int64(word & np.uint64(0xFFFFFFFF))
        lower = tables[3, b >> 24] ^ tables[2, b >> 16 & 255] ^ tables[1, b >> 8 & 255] ^ tables[0, b & 255]
        upper = tables[5, a >> 8 & 255] ^ tables[4, a & 255] ^ lower
        top = (a >> 16) ^ crc
        crc = tables[7, top >> 8] ^ tables[6, top & 255] ^ upper
        word = np.uint64(0)
    for index in range(start + 8 * count, stop):
        crc = (crc << 8 & 0xFFFF) ^ tables[0, crc >> 8 ^ data[index]]
    return crc


@numba.njit()
def _eight(data: Bytes, at: np.uint64) -> np.uint64:
    """Eight bytes as a number, which compiles to one load."""
    value = np.uint64(0)
    for place in range(8):
        value |= np.uint64(data[at + np.uint64(place)]) << np.uint64(56 - 8 * place)
    return value


# Frames


@kernel()
def _stream(
    x: Samples, block: int, bits: int, codes: Integers, window: Samples, crc_8: Table, crc_16: Table
) -> tuple[Bytes, int]:
    """All frames, in as many of the bytes as it says."""
    channels, samples = x.shape
    frames = -(-samples // block)
    data = np.empty(channels * (samples * bits // 8 + 1) + frames * (18 + 3 * channels) + 8, np.uint8)
    state: State = (np.uint64(0), np.uint64(0), np.uint64(0))
    padded = np.zeros(ORDER + block, np.int32)
    folded = np.empty(block, np.int32)
    for number in range(frames):
        start, size = _stored(state), min(block, samples - number * block)
        state = _put_frame_header(data, state, number, channels, size, block, codes)
        state = _put(data, state, _crc_8(data, start, _stored(state), crc_8), 8)
        for channel in range(channels):
            for i in range(size):
                padded[i + ORDER] = x[channel, number * block + i]
            state = _put_subframe(data, state, padded[: ORDER + size], bits, window, folded[:size])
        state = _put_zeros(data, state, -np.int64(state[2]) % 8)
        state = _put(data, state, _crc_16(data, start, _stored(state), crc_16), 16)
    return data, _stored(state)


@numba.njit()
def _put_frame_header(
    data: Bytes, state: State, number: int, channels: int, size: int, block: int, codes: Integers
) -> State:
    state = _put(data, state, 0xFFF8, 16)  # blocks of one size, counted
    state = _put(data, state, (codes[0] if size == block else 7) << 4 | codes[1], 8)
    state = _put(data, state, (channels - 1) << 4 | codes[2] << 1, 8)
    if number < 1 << 7:
        state = _put(data, state, number, 8)
    else:
        more = 1  # bytes of six bits after the first, as UTF-8 writes a number
        while number >> (5 * more + 6):
            more += 1
        first = (0xFF00 >> (more + 1)) & 255
        state = _put(data, state, first | number >> (6 * more), 8)
        for place in range(more - 1, -1, -1):
            state = _put(data, state, 0x80 | (number >> (6 * place) & 63), 8)
    if size != block:
        state = _put(data, state, size - 1, 16)
    return state


@numba.njit()
def _put_subframe(data: Bytes, state: State, padded: Samples, bits: int, window: Samples, folded: Samples) -> State:
    """One channel of one block: `padded` begins with `ORDER` values that are not of it."""
    x = padded[ORDER:]
    wasted, changes = _low_zeros(x)
    if not changes:
        state = _put_kind(data, state, 0, 0)
        return _put_signed(data, state, x[0], bits)
    if wasted:
        for i in range(x.size):
            x[i] >>= wasted
        bits -= wasted
    coefficients, shift, order = _predictor(padded, window, folded)
    partition_order, parameters, size = _partitions(folded, order)
    if size + 64 + order * (bits + PRECISION) > x.size * bits:
        state = _put_kind(data, state, 1, wasted)
        for value in x:
            state = _put_signed(data, state, value, bits)
        return state
    state = _put_kind(data, state, 31 + order if order == ORDER else 8 + order, wasted)
    for value in x[:order]:
        state = _put_signed(data, state, value, bits)
    if order == ORDER:
        state = _put(data, state, (PRECISION - 1) << 5 | shift, 9)
        for value in coefficients:
            state = _put_signed(data, state, value, PRECISION)
    state = _put(data, state, 1 << 4 | partition_order, 6)
    width = x.size >> partition_order
    for part in range(1 << partition_order):
        state = _put(data, state, parameters[part], 5)
        state = _put_rice(data, state, folded[max(order, part * width) : (part + 1) * width], parameters[part])
    return state


@numba.njit()
def _put_kind(data: Bytes, state: State, kind: int, wasted: int) -> State:
    state = _put(data, state, kind << 1 | (wasted > 0), 8)
    return _put(data, state, 1, wasted) if wasted else state


@numba.njit()
def _low_zeros(x: Samples) -> tuple[int, bool]:
    """Low bits that are zero in every sample, and whether two samples differ."""
    used = changed = np.int32(0)
    for i in range(x.size):
        used = np.int32(used | x[i])
        changed = np.int32(changed | x[i] ^ x[0])
    count = 0
    while used and not used >> count & 1:
        count += 1
    return count, changed != 0


# Prediction. A residual is folded: 0, -1, 1, -2, ... becomes 0, 1, 2, 3, ...


@numba.njit()
def _predictor(padded: Samples, window: Samples, folded: Samples) -> tuple[Integers, int, int]:
    """Coefficients (ORDER,), shift and order of the better predictor; its folded residual is left in `folded`."""
    sums = _difference_sums(padded[ORDER:])
    order = 0
    for candidate in range(1, 5):
        if sums[candidate] < sums[order]:
            order = candidate
    if folded.size == window.size:
        coefficients, shift = _linear_prediction(padded[ORDER:], window)
        if shift >= 0:
            total, largest = _fold(padded, coefficients, shift, ORDER, folded)
            if total < 2 * sums[order] and largest < 1 << 31:
                return coefficients, shift, ORDER
    coefficients = _POLYNOMIALS[order]
    _fold(padded, coefficients, 0, order, folded)
    return coefficients, 0, order


@numba.njit()
def _difference_sums(x: Samples) -> tuple[int, int, int, int, int]:
    """Sum of the magnitudes of the differences of order 0 to 4, over the samples that have them all."""
    sum_0 = sum_1 = sum_2 = sum_3 = sum_4 = 0
    for i in range(x.size - 4):
        a, b, c, d = np.int32(x[i + 4] - x[i + 3]), np.int32(x[i + 3] - x[i + 2]), x[i + 2] - x[i + 1], x[i + 1] - x[i]
        e, f, g = np.int32(a - b), np.int32(b - c), np.int32(c - d)
        h, k = np.int32(e - f), np.int32(f - g)
        sum_0 += abs(x[i + 4])
        sum_1 += abs(a)
        sum_2 += abs(e)
        sum_3 += abs(h)
        sum_4 += abs(np.int32(h - k))
    return sum_0, sum_1, sum_2, sum_3, sum_4


@numba.njit()
def _linear_prediction(x: Samples, window: Samples) -> tuple[Integers, int]:
    """Coefficients in units of 2^-shift; the shift is -1 where there are none that fit."""
    coefficients = np.zeros(ORDER, np.int64)
    found = _levinson(_correlation(x, window))
    largest = 0.0
    for i in range(ORDER):
        largest = max(largest, abs(found[i]))
    if not 0 < largest < 1 << (PRECISION - 1):
        return coefficients, -1
    shift = 0
    while shift < 15 and largest * (2 << shift) < (1 << (PRECISION - 1)) - 1:
        shift += 1
    for i in range(ORDER):
        coefficients[i] = round(found[i] * (1 << shift))
    return coefficients, shift


@numba.njit()
def _correlation(x: Samples, window: Samples) -> Integers:
    """Lags 0 to ORDER of the windowed block: 24 bits squared, 4096 times, are 60 bits."""
    y = np.zeros(x.size + 2, np.int32)
    for i in range(x.size):
        y[i] = x[i] * window[i] >> 15
    lags = np.empty(ORDER + 1, np.int64)
    for lag in range(0, ORDER + 1, 3):
        total_0 = total_1 = total_2 = 0
        later = y[lag:]
        for i in range(x.size - lag):  # the zeros behind y count for nothing
            here = np.int64(y[i])
            total_0 += here * later[i]
            total_1 += here * later[i + 1]
            total_2 += here * later[i + 2]
        lags[lag], lags[lag + 1], lags[lag + 2] = total_0, total_1, total_2
    return lags


@numba.njit()
def _levinson(lags: Integers) -> NDArray[np.float64]:
    """Predictor coefficients; zeros where the recursion breaks down."""
    a = np.zeros(ORDER)
    before = np.zeros(ORDER)
    error = float(lags[0])
    for m in range(ORDER):
        if error <= 0.0:
            return np.zeros(ORDER)
        reflection = float(lags[m + 1])
        for j in range(m):
            reflection -= a[j] * float(lags[m - j])
        reflection /= error
        for j in range(m):
            before[j] = a[j]
        for j in range(m):
            a[j] = before[j] - reflection * before[m - 1 - j]
        a[m] = reflection
        error *= 1.0 - reflection * reflection
    return a


@numba.njit()
def _fold(padded: Samples, coefficients: Integers, shift: int, order: int, folded: Samples) -> tuple[int, int]:
    """The folded residual into `folded`, from `order` on; its sum, and a number at least as large as any of it."""
    c = coefficients.astype(np.int32)  # times a sample: 32 bits by 32, of which processors do many at once
    c0, c1, c2, c3 = np.int64(c[0]), np.int64(c[1]), np.int64(c[2]), np.int64(c[3])
    c4, c5, c6, c7 = np.int64(c[4]), np.int64(c[5]), np.int64(c[6]), np.int64(c[7])
    total = largest = 0
    padded, folded = padded[order:], folded[order:]
    for i in range(folded.size):
        early = c0 * padded[i + 7] + c1 * padded[i + 6] + c2 * padded[i + 5] + c3 * padded[i + 4]
        late = c4 * padded[i + 3] + c5 * padded[i + 2] + c6 * padded[i + 1] + c7 * padded[i]
        rest = padded[i + ORDER] - ((early + late) >> shift)
        rest = rest << 1 ^ rest >> 63
        folded[i] = np.int32(rest)
        total += rest
        largest |= rest
    return total, largest


# Rice coding


@numba.njit()
def _partitions(folded: Samples, order: int) -> tuple[int, Integers, int]:
    """Partition order, the parameter of each partition, and the bits that they take at most."""
    top = PARTITION_ORDER
    while top > 0 and (folded.size % (1 << top) or folded.size >> top <= ORDER):
        top -= 1
    sums = _partition_sums(folded, order, top)
    parameters = np.zeros((top + 1, 1 << top), np.int64)
    best, best_bits = 0, 1 << 62
    for level in range(top, -1, -1):
        bits = 0
        for part in range(1 << level):
            count = (folded.size >> level) - (order if part == 0 else 0)
            k = _parameter(sums[part], count)
            parameters[level, part] = k
            bits += 5 + count * (k + 1) + (sums[part] >> k)
        if bits < best_bits:
            best, best_bits = level, bits
        for part in range(1 << level >> 1):
            sums[part] = sums[2 * part] + sums[2 * part + 1]
    return best, parameters[best], best_bits


@numba.njit()
def _partition_sums(folded: Samples, order: int, top: int) -> Integers:
    width = folded.size >> top
    sums = np.zeros(1 << top, np.int64)
    for part in range(1 << top):
        sums[part] = folded[max(order, part * width) : (part + 1) * width].sum()
    return sums


@numba.njit()
def _parameter(total: int, count: int) -> int:
    """The k that makes count (k + 1) + total / 2^k least: a bit pays while it saves more than one per number, which is
    while total / 2^k, rounded down, is more than 2 count.
    """
    k, enough = 0, 2 * count + 1
    for bit in range(MOST_RICE):
        k += total >= enough << bit
    return k


# Reading


class Decoded(NamedTuple):
    """Samples, and what the file says of itself. `frames` is the length of all of it."""

    samples: Signal
    sample_rate: int
    frames: int


class _Facts(NamedTuple):
    begin: int  # of the first frame, in bytes
    block: int  # samples of a frame, where all but the last have the same; else 0
    sample_rate: int
    channels: int
    bits: int
    frames: int


def decode(data: bytes, *, start: int = 0, frames: int | None = None) -> Decoded | None:
    """`frames` samples of every channel from `start` on (else all that follow). The file is decoded up to there, and
    `data` may end after that.

    `None` where `data` does not hold these samples unharmed, or is not FLAC of 16 or 24 bits and known length. Other
    readers know more kinds, and say what is wrong.
    """
    facts = _facts(data)
    if facts is None:
        return None
    stop = facts.frames if frames is None else start + frames
    if not 0 <= start <= stop <= facts.frames:
        return None
    x = np.empty((facts.channels, stop - start), np.float32)
    padded = np.frombuffer(bytearray(data) + bytes(_PADDING), np.uint8)  # writable, as the other kernels know them
    unharmed = _decode(padded, facts.begin, facts.block, facts.bits, start, x, *_crc_tables())
    return Decoded(x, facts.sample_rate, facts.frames) if unharmed else None


def _facts(data: bytes) -> _Facts | None:
    """STREAMINFO, and where the metadata ends."""
    if data[:4] != b"fLaC" or len(data) < 42 or data[4] & 127 != 0:
        return None
    numbers = int.from_bytes(data[18:26], "big")
    begin, last = 4, False
    while not last:
        if begin + 4 > len(data):
            return None
        last = data[begin] > 127
        begin += 4 + int.from_bytes(data[begin + 1 : begin + 4], "big")
    least, most = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
    facts = _Facts(
        begin=begin,
        block=most if least == most else 0,
        sample_rate=numbers >> 44,
        channels=(numbers >> 41 & 7) + 1,
        bits=(numbers >> 36 & 31) + 1,
        frames=numbers & (1 << 36) - 1,
    )
    return facts if facts.bits in _SIZE_CODES and facts.frames and facts.sample_rate else None


_PADDING = 16  # bytes behind the data, which may be loaded
_MOST_ORDER = 32
_LONGEST_BLOCK = 65535


def _counting(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


_leading_zeros: Any = intrinsic(_counting)  # of 64 bits


@kernel()
def _decode(
    data: Bytes, begin: int, block: int, bits: int, start: int, out: Signal, crc_8: Table, crc_16: Table
) -> bool:
    """Frames from byte `begin` on, their samples from `start` on to `out`. Whether they are there and unharmed."""
    channels, frames = out.shape
    scale = np.float32(2.0 ** (1 - bits))
    rows = np.zeros((channels, _MOST_ORDER + (block or _LONGEST_BLOCK)), np.int32)  # silence before each block
    done = number = 0
    while done < start + frames:
        size, sides, at = _frame_header(data, begin, block, bits, done, number, crc_8)
        if (
            size < 1
            or size > rows.shape[1] - _MOST_ORDER
            or (sides > 7 and channels != 2)
            or 7 >= sides != channels - 1
        ):
            return False
        for channel in range(channels):
            wider = (sides == 8 or sides == 10) if channel else sides == 9  # the difference of two channels
            at = _subframe(data, at, bits + wider, rows[channel, : _MOST_ORDER + size])
            if at < 0:
                return False
        stop = (at + 7) >> 3
        if stop + 2 > data.size - _PADDING or _crc_16(data, begin, stop, crc_16) != _bits(data, 8 * stop, 16):
            return False
        if sides > 7:
            _join_sides(rows[0, _MOST_ORDER:], rows[1, _MOST_ORDER:], sides)
        first, last = max(start, done), min(start + frames, done + size)
        for channel in range(channels):
            if first < last:
                here, to = rows[channel, _MOST_ORDER + first - done :], out[channel, first - start : last - start]
                for i in range(to.size):
                    to[i] = np.float32(here[i]) * scale
        begin, done, number = stop + 2, done + size, number + 1
    return True


@numba.njit()
def _frame_header(
    data: Bytes, begin: int, block: int, bits: int, done: int, number: int, table: Table
) -> tuple[int, int, int]:
    """Samples (0 where something is wrong), how channels are joined, and the bit after the header."""
    wrong = 0, 0, 0
    at = 8 * begin
    by_samples = _bits(data, at + 15, 1)
    size_code, rate_code, sides = _bits(data, at + 16, 4), _bits(data, at + 20, 4), _bits(data, at + 24, 4)
    width_code = _bits(data, at + 28, 4)
    if _bits(data, at, 15) != 0xFFF8 >> 1 or size_code == 0 or rate_code == 15 or sides > 10:
        return wrong
    if width_code != 0 and width_code != (8 if bits == 16 else 12):
        return wrong
    first = _bits(data, at + 32, 8)
    ones = 0
    while first >> (7 - ones) & 1 and ones < 7:
        ones += 1
    place, at = first & ((1 << (7 - ones)) - 1), at + 40
    for _ in range(ones - 1):
        place, at = place << 6 | _bits(data, at + 2, 6), at + 8
    if place != (done if by_samples else number) or not (by_samples or done == number * block):
        return wrong
    if size_code > 7:
        size = 256 << (size_code - 8)
    elif size_code > 5:
        width = 8 * (size_code - 5)
        size, at = _bits(data, at, width) + 1, at + width
    else:
        size = 192 if size_code == 1 else 576 << (size_code - 2)
    at += 8 if rate_code == 12 else 16 if rate_code > 12 else 0
    if at >> 3 >= data.size - _PADDING or _crc_8(data, begin, at >> 3, table) != _bits(data, at, 8):
        return wrong
    return size, sides, at + 8


@numba.njit()
def _join_sides(a: Samples, b: Samples, sides: int) -> None:
    """Left and right from left and difference (8), difference and right (9), or mean and difference (10)."""
    for i in range(a.size):
        if sides == 8:
            b[i] = a[i] - b[i]
        elif sides == 9:
            a[i] = a[i] + b[i]
        else:
            twice = a[i] << 1 | b[i] & 1
            a[i], b[i] = (twice + b[i]) >> 1, (twice - b[i]) >> 1


@numba.njit()
def _subframe(data: Bytes, at: int, bits: int, row: Samples) -> int:
    """One channel of one block from bit `at` on, to `row` behind `_MOST_ORDER` values that do not matter. The bit after
    it, or -1 where something is wrong.
    """
    x = row[_MOST_ORDER:]
    kind, wasted, at = _bits(data, at, 7), _bits(data, at + 7, 1), at + 8
    if wasted:
        wasted = _zeros(data, at) + 1
        at, bits = at + wasted, bits - wasted
    order = kind - 31 if kind > 31 else kind - 8 if 8 <= kind <= 12 else 0
    if kind > 63 or (order == 0 and kind not in (0, 1, 8)) or order > x.size or bits < 1:
        return -1
    if kind == 0:
        value, at = _signed_bits(data, at, bits), at + bits
        for i in range(x.size):
            x[i] = value
    else:
        for i in range(x.size if kind == 1 else order):
            x[i] = _signed_bits(data, at, bits)
            at += bits
    if kind > 1:
        coefficients, shift = np.zeros(_MOST_ORDER, np.int64), 0
        if kind > 31:
            precision, shift, at = _bits(data, at, 4) + 1, _signed_bits(data, at + 4, 5), at + 9
            for i in range(order):
                coefficients[i] = _signed_bits(data, at, precision)
                at += precision
            if precision > 15 or shift < 0:
                return -1
        else:
            for i in range(ORDER):
                coefficients[i] = _POLYNOMIALS[order, i]
        at = _residual(data, at, order, coefficients, shift, row)
    if wasted:
        for i in range(x.size):
            x[i] <<= wasted
    return at


@numba.njit()
def _residual(data: Bytes, at: int, order: int, coefficients: Integers, shift: int, row: Samples) -> int:
    """The samples after the first `order`, from what is left by the prediction of each. The bit after that, or -1."""
    method, partition_order, at = _bits(data, at, 2), _bits(data, at + 2, 4), at + 6
    size = row.size - _MOST_ORDER
    width = size >> partition_order
    if method > 1 or width << partition_order != size or width < order:
        return -1
    nothing = np.zeros(ORDER, np.int64)
    for part in range(1 << partition_order):
        here = row[max(order, part * width) : _MOST_ORDER + (part + 1) * width]
        parameter, at = _bits(data, at, 4 + method), at + 4 + method
        if parameter == (16 << method) - 1:
            bits, at = _bits(data, at, 5), at + 5
            for i in range(_MOST_ORDER, here.size):
                here[i] = _signed_bits(data, at, bits)
                at += bits
            _predict(here, coefficients[:order], shift)
        elif order <= ORDER:
            at = _rice(data, at, parameter, here, coefficients, shift)
        else:
            at = _rice(data, at, parameter, here, nothing, 0)
            _predict(here, coefficients[:order], shift)
        if at < 0:
            return -1
    return at


@numba.njit()
def _predict(row: Samples, coefficients: Integers, shift: int) -> None:
    """Add to each number behind `_MOST_ORDER` what those before it say."""
    for i in range(_MOST_ORDER, row.size):
        total = 0
        for j in range(coefficients.size):
            total += coefficients[j] * row[i - 1 - j]
        row[i] += total >> shift


@numba.njit()
def _rice(data: Bytes, at: int, parameter: int, row: Samples, coefficients: Integers, shift: int) -> int:
    """Rice codes from bit `at` on, each with what the `ORDER` numbers before it say, to `row` behind `_MOST_ORDER`. The
    bit after them, or -1.

    The next bits stand at the top of `window`, 56 of them or more (`there`); those behind them are right or zero. Two
    numbers are read at once, where they fit.
    """
    end, k = data.size - _PADDING, np.uint64(parameter)
    c0, c1, c2, c3 = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    c4, c5, c6, c7 = coefficients[4], coefficients[5], coefficients[6], coefficients[7]
    h0, h1, h2, h3 = np.int64(row[31]), np.int64(row[30]), np.int64(row[29]), np.int64(row[28])  # before _MOST_ORDER
    h4, h5, h6, h7 = np.int64(row[27]), np.int64(row[26]), np.int64(row[25]), np.int64(row[24])
    window = there = next_byte = np.uint64(0)
    x = row[_MOST_ORDER:]
    i, fresh = 0, True
    while i < x.size:
        if fresh:
            if at > 8 * end:
                return -1
            window = _eight(data, np.uint64(at >> 3)) << np.uint64(at & 7)
            next_byte, there = np.uint64((at >> 3) + 7), np.uint64(56 - (at & 7))
            fresh = False
        if next_byte > end + 8:
            return -1
        window |= _eight(data, next_byte) >> there
        next_byte += (np.uint64(63) - there) >> np.uint64(3)
        there |= np.uint64(56)
        zeros = _leading_zeros(window)
        taken = zeros + np.uint64(1) + k
        later = window << (taken & np.uint64(63))
        more_zeros = _leading_zeros(later)
        both = taken + more_zeros + np.uint64(1) + k
        said = c0 * h0 + c1 * h1 + c2 * h2 + c3 * h3 + (c4 * h4 + c5 * h5 + c6 * h6 + c7 * h7)
        if both <= np.uint64(56) and i + 1 < x.size:
            first = _rice_number(window, zeros, k) + (said >> shift)
            said = c1 * h0 + c2 * h1 + c3 * h2 + (c4 * h3 + c5 * h4 + c6 * h5 + c7 * h6) + c0 * first
            second = _rice_number(later, more_zeros, k) + (said >> shift)
            h7, h6, h5, h4, h3, h2, h1, h0 = h5, h4, h3, h2, h1, h0, first, second
            x[i], x[i + 1] = np.int32(first), np.int32(second)
            window <<= both
            there -= both
            i += 2
            continue
        if taken <= np.uint64(56):
            first = _rice_number(window, zeros, k)
            window = later
            there -= taken
        else:
            at = np.int64(np.uint64(8) * next_byte - there)
            many = _zeros(data, at)
            if many > 1 << 31:
                return -1
            folded = many << parameter | _bits(data, at + many + 1, parameter)
            first = folded >> 1 ^ -(folded & 1)
            at += many + 1 + parameter
            fresh = True
        h7, h6, h5, h4, h3, h2, h1, h0 = h6, h5, h4, h3, h2, h1, h0, first + (said >> shift)
        x[i] = np.int32(h0)
        i += 1
    return at if fresh else np.int64(np.uint64(8) * next_byte - there)


@numba.njit()
def _rice_number(window: np.uint64, zeros: np.uint64, k: np.uint64) -> int:
    """The number at the top of the window: `zeros`, a one, k bits."""
    folded = np.int64((zeros << k) + ((window << zeros) >> (np.uint64(63) - k)) - (np.uint64(1) << k))
    return folded >> 1 ^ -(folded & 1)


@numba.njit()
def _bits(data: Bytes, at: int, count: int) -> int:
    """The number in `count` (0 to 32) bits from bit `at` on; 0 behind the end."""
    if count < 1 or at > 8 * (data.size - _PADDING):
        return 0
    window = _eight(data, np.uint64(at >> 3)) << np.uint64(at & 7)
    return np.int64(window >> np.uint64(64 - count))


@numba.njit()
def _signed_bits(data: Bytes, at: int, count: int) -> int:
    value = _bits(data, at, count)
    return value - (1 << count) if count and value >> (count - 1) else value


@numba.njit()
def _zeros(data: Bytes, at: int) -> int:
    """How many bits are zero from bit `at` on, before a one or the end."""
    count = 0
    while at + count < 8 * (data.size - _PADDING):
        window = _eight(data, np.uint64((at + count) >> 3)) << np.uint64((at + count) & 7)
        if window:
            return count + np.int64(_leading_zeros(window))
        count += 56
    return count
