"""Witnesses: two frames written out bit by bit from RFC 9639; libFLAC, which reads every file and writes no
smaller ones; integers of any kind in, the same integers out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from manifests import flac


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    """What libFLAC reads, (channels, samples), samples left-aligned in 32 bits."""
    x, rate = sf.read(io.BytesIO(data), dtype="int32", always_2d=True)
    return x.T, rate


def check(x: np.ndarray, rate: int = 16000, bits: int = 24) -> bytes:
    data = flac.encode(x, sample_rate=rate, bits=bits)
    found, found_rate = decoded(data)
    assert found_rate == rate
    np.testing.assert_array_equal(found >> (32 - bits), x)
    return data


def remainder(data: bytes, polynomial: int, width: int) -> int:
    """Long division of the message, followed by `width` zeros."""
    rest = int.from_bytes(data, "big") << width
    for bit in range(rest.bit_length() - 1, width - 1, -1):
        if rest >> bit & 1:
            rest ^= polynomial << bit - width
    return rest


def file_of(frame_header: str, subframe: str, rate: int, bits: int, samples: int, block: int) -> bytes:
    """A file of one frame of one channel, from its bits (spaces for the eye)."""
    header = bytes(int(byte, 2) for byte in frame_header.split())
    header += bytes([remainder(header, 0b100000111, 8)])
    text = subframe.replace(" ", "")
    text += "0" * (-len(text) % 8)
    frame = header + int(text, 2).to_bytes(len(text) // 8, "big")
    frame += remainder(frame, 0b11000000000000101, 16).to_bytes(2, "big")
    facts = f"{rate:020b}{0:03b}{bits - 1:05b}{samples:036b}"
    info = block.to_bytes(2, "big") * 2 + bytes(6) + int(facts, 2).to_bytes(8, "big") + bytes(16)
    return b"fLaC" + bytes([0x80, 0, 0, 34]) + info + frame


# on paper


def test_a_constant_is_one_number() -> None:
    wanted = file_of(
        "11111111 11111000 01110101 00001000 00000000 00000000 00000010",  # 16 bit length, 16 kHz, mono, 16 bits, 0, 2
        "0 000000 0  1111111111111011",
        16000,
        16,
        3,
        2048,
    )
    assert flac.encode(np.full((1, 3), -5, np.int32), sample_rate=16000, bits=16) == wanted


def test_a_parabola_is_its_first_samples() -> None:
    """The third difference of i^2 is zero: three samples as they are, then 37 times a quotient of zero."""
    x = np.arange(40, dtype=np.int32)[np.newaxis] ** 2
    wanted = file_of(
        "11111111 11111000 01111010 00001100 00000000 00000000 00100111",  # 48 kHz, 24 bits, 40 samples
        f"0 001011 0  {0:024b} {1:024b} {4:024b}  01 0000  00000" + 37 * "1",
        48000,
        24,
        40,
        4096,
    )
    assert flac.encode(x, sample_rate=48000, bits=24) == wanted


def test_noise_of_full_scale_stands_as_it_is() -> None:
    x = np.random.default_rng(0).integers(-(2**23), 2**23, (1, 2048)).astype(np.int32)
    data = check(x)
    assert len(data) == 42 + 6 + 1 + 3 * 2048 + 2  # a byte for the kind, three for each sample


def test_nothing_is_larger_than_as_it_stands() -> None:
    """Also where a prediction seems to save a few bits and its own coefficients take them."""
    x = np.random.default_rng(0).uniform(-1, 1, (1, 2048))
    for scale in np.linspace(0.5, 1.0, 150):
        assert len(check(np.rint(x * scale * (2**23 - 1)).astype(np.int32))) <= 42 + 6 + 1 + 3 * 2048 + 2


def test_frames_are_counted_as_utf_8_counts() -> None:
    for number in (0, 127, 128, 2047, 2048, 65535, 65536, 0x10FFFF):
        data, codes = np.zeros(32, np.uint8), np.array([11, 5, 6])
        state = (np.uint64(0), np.uint64(0), np.uint64(0))
        at, _, filled = flac._put_frame_header(data, state, number, 1, 2048, 2048, codes)
        assert filled == 0
        written = data[4 : int(at)].tobytes()
        assert written == chr(number).encode("utf-8", "surrogatepass"), number


@given(
    data=st.one_of(st.binary(min_size=1, max_size=60), st.binary(min_size=120, max_size=500)), skip=st.integers(0, 11)
)
@settings(deadline=None)
def test_checksums_are_remainders(data: bytes, skip: int) -> None:
    """Wherever a frame begins and ends."""
    padded = np.frombuffer(bytes(skip) + data, np.uint8).copy()
    crc_8, crc_16 = flac._crc_tables()
    assert flac._crc_8(padded, skip, padded.size, crc_8) == remainder(data, 0x107, 8)
    assert flac._crc_16(padded, skip, padded.size, crc_16) == remainder(data, 0x18005, 16)


@given(total=st.integers(0, 1 << 44), count=st.integers(1, 4096))
@settings(deadline=None)
def test_no_other_parameter_takes_fewer_bits(total: int, count: int) -> None:
    """And of those that take as few, it is the smallest."""
    bits = [count * (k + 1) + (total >> k) for k in range(flac.MOST_RICE + 1)]
    assert flac._parameter(total, count) == bits.index(min(bits))


@given(
    numbers=st.lists(
        st.one_of(st.integers(0, 2), st.integers(0, 100), st.integers(0, 10**5), st.integers(0, 2**31 - 1)), max_size=40
    ),
    k=st.integers(0, 30),
    before=st.integers(1, 56),
)
@settings(deadline=None, max_examples=200)
def test_rice_codes_are_zeros_a_one_and_the_rest(numbers: list[int], k: int, before: int) -> None:
    """From any place in a byte on, two at once or not."""
    longest = [n for n in numbers if n >> k < 5000]
    wanted = "1" * before + "".join("0" * (n >> k) + f"{1 << k | n % (1 << k):b}" for n in longest)
    data = np.full(len(wanted) // 8 + 16, 0xA5, np.uint8)
    state = flac._put(data, (np.uint64(0), np.uint64(0), np.uint64(0)), (1 << before) - 1, before)
    state = flac._put_rice(data, state, np.array(longest, np.int32), k)
    found = "".join(f"{byte:08b}" for byte in data[: flac._stored(state)])
    assert found == wanted + "0" * (-len(wanted) % 8)


# against libFLAC


def coloured(seed: int, samples: int, poles: list[float], level: float) -> np.ndarray:
    """Noise through an all-pole filter, with pauses: what linear prediction is made for."""
    rng = np.random.default_rng(seed)
    x = lfilter([1.0], np.poly(poles), rng.standard_normal(samples))
    x *= np.repeat(rng.uniform(0.01, 1.0, -(-samples // 1600)), 1600)[:samples]
    return np.rint(level * x / np.abs(x).max() * 2**23).astype(np.int32)[np.newaxis]


@pytest.mark.parametrize("poles", [[0.9], [0.95, 0.8, -0.3], [0.99, 0.97, 0.5 + 0.7j, 0.5 - 0.7j]])
@pytest.mark.parametrize("bits", [16, 24])
def test_hardly_larger_than_what_libflac_writes(bits: int, poles: list[float]) -> None:
    x = coloured(1, 80_000, poles, 0.7) >> (24 - bits)
    sink = io.BytesIO()
    sf.write(sink, (x << (32 - bits)).T, 16000, format="FLAC", subtype=f"PCM_{bits}")
    assert len(check(x, bits=bits)) < 1.01 * len(sink.getvalue())


def test_a_player_can_seek(tmp_path: object) -> None:
    x = coloured(2, 50_000, [0.9], 0.5)
    with sf.SoundFile(io.BytesIO(check(x))) as file:
        for start in (0, 1, 2047, 2048, 33_333, 49_990):
            file.seek(start)
            np.testing.assert_array_equal(file.read(10, dtype="int32") >> 8, x[0, start : start + 10])


def test_a_changed_bit_does_not_go_unnoticed() -> None:
    data = bytearray(check(coloured(3, 6000, [0.9], 0.5)))
    for at in range(60, len(data), 500):
        changed = data.copy()
        changed[at] ^= 4
        try:
            found, _ = decoded(bytes(changed))
        except sf.LibsndfileError:
            continue
        assert not np.array_equal(found, decoded(bytes(data))[0]), at


# integers in, integers out

KINDS = ["noise", "steps", "spikes", "sine", "ends", "silence", "even"]


def signal(kind: str, seed: int, channels: int, samples: int, bits: int) -> np.ndarray:
    rng, top = np.random.default_rng(seed), 2 ** (bits - 1) - 1
    shape = channels, samples
    if kind == "noise":
        x = rng.normal(0, 2.0 ** rng.uniform(0, bits - 3), shape)
    elif kind == "steps":
        x = np.repeat(rng.uniform(-top, top, (channels, samples // 700 + 1)), 700, axis=1)[:, :samples]
    elif kind == "spikes":
        x = rng.normal(0, 2, shape) + top * (rng.random(shape) < 0.002) * rng.choice([-1, 1], shape)
    elif kind == "sine":
        x = top * np.sin(rng.uniform(0.0001, 3) * np.arange(samples) + rng.uniform(0, 6, (channels, 1)))
    elif kind == "ends":
        x = rng.choice([-top - 1, top], shape)
    elif kind == "even":
        x = np.rint(rng.normal(0, 50, shape)) * 2.0 ** rng.integers(0, bits - 8)
    else:
        x = np.full(shape, float(rng.integers(-top, top)))
    return np.clip(np.rint(x), -top - 1, top).astype(np.int32)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10**6),
    channels=st.integers(1, 8),
    samples=st.one_of(st.integers(1, 60), st.integers(1, 9000), st.sampled_from([2047, 2048, 2049, 4096, 4097])),
    bits=st.sampled_from([16, 24]),
    rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]),
)
def test_integers_of_any_kind(kind: str, seed: int, channels: int, samples: int, bits: int, rate: int) -> None:
    check(signal(kind, seed, channels, samples, bits), rate, bits)


def test_low_bits_that_are_never_used_cost_nothing() -> None:
    x = coloured(4, 30_000, [0.9], 0.5) >> 8
    sizes = [len(check(x << shift)) for shift in (0, 8)]
    assert sizes[1] < sizes[0] + 15 * 15  # about a byte for each block


def test_many_blocks() -> None:
    """Numbers of one to three bytes."""
    x = (np.arange(2048 * 2100, dtype=np.int32) * 7919 % 1000)[np.newaxis]
    check(x)


def test_the_same_integers_are_the_same_bytes() -> None:
    x = coloured(5, 20_000, [0.9, 0.5], 0.5)
    data = flac.encode(x, sample_rate=16000, bits=24)
    assert flac.encode(np.asfortranarray(np.vstack([x, x]))[:1], sample_rate=16000, bits=24) == data
    assert flac.encode(x.astype(np.int64), sample_rate=16000, bits=24) == data


# what is refused


@pytest.mark.parametrize("shape", [(5,), (0, 5), (9, 5), (1, 0), (1, 1, 5)])
def test_a_shape_that_is_no_signal(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"samples must have shape \(1 to 8 channels, 1 or more samples\), got"):
        flac.encode(np.zeros(shape, np.int32), sample_rate=16000, bits=24)


@pytest.mark.parametrize(("value", "bits"), [(2**15, 16), (-(2**15) - 1, 16), (2**23, 24), (-(2**31), 24)])
def test_a_sample_that_does_not_fit(value: int, bits: int) -> None:
    with pytest.raises(ValueError, match=rf"samples must have {bits} bits, got .*{value}"):
        flac.encode(np.array([[0, value]], np.int32), sample_rate=16000, bits=bits)


@pytest.mark.parametrize(("rate", "bits"), [(0, 24), (2**20, 24), (16000, 20)])
def test_a_format_that_is_not_written(rate: int, bits: int) -> None:
    with pytest.raises(ValueError, match=rf"got {bits} and {rate}"):
        flac.encode(np.zeros((1, 5), np.int32), sample_rate=rate, bits=bits)


# reading


def written(integers: Any, rate: int, bits: int) -> bytes:
    """By libFLAC, which uses more of the format than we do."""
    sink = io.BytesIO()
    sf.write(sink, integers.T / 2.0 ** (bits - 1), rate, format="FLAC", subtype=f"PCM_{bits}")
    return sink.getvalue()


def read(data: bytes) -> Any:
    return sf.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].T


def wave(seed: int, channels: int, samples: int, bits: int, amplitude: float) -> Any:
    x = np.random.default_rng(seed).standard_normal((channels, samples)).cumsum(axis=1) * amplitude * 2.0 ** (bits - 4)
    return np.clip(np.rint(x), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@given(
    st.integers(0, 10**6),
    st.integers(1, 8),
    st.integers(1, 12_000),
    st.sampled_from([16, 24]),
    st.sampled_from([8000, 11025, 16000, 44100, 48000]),
    st.floats(-5, 0),
)
def test_what_libflac_writes_is_read_as_libflac_reads_it(
    seed: int, channels: int, samples: int, bits: int, rate: int, exponent: float
) -> None:
    data = written(wave(seed, channels, samples, bits, 10**exponent), rate, bits)
    found = flac.decode(data)
    assert found is not None
    assert (found.sample_rate, found.frames) == (rate, samples)
    np.testing.assert_array_equal(found.samples, read(data))


def test_a_stretch_is_that_of_the_whole_and_needs_no_more_of_the_file() -> None:
    data = written(wave(1, 2, 40_000, 16, 0.1), 16000, 16)
    whole = read(data)
    for start, frames in ((0, 100), (4000, 4200), (5000, 0), (30_000, 10_000)):
        found = flac.decode(data, start=start, frames=frames)
        assert found is not None
        np.testing.assert_array_equal(found.samples, whole[:, start : start + frames])
    head = flac.decode(data[: len(data) // 2], start=0, frames=2000)
    assert head is not None
    np.testing.assert_array_equal(head.samples, whole[:, :2000])
    assert flac.decode(data[: len(data) // 2]) is None
    assert flac.decode(data, start=39_000, frames=1001) is None


@given(st.integers(0, 10**6), st.data())
def test_a_changed_bit_is_noticed_or_changes_no_sample(seed: int, data: st.DataObject) -> None:
    whole = written(wave(seed, 1, 5000, 16, 0.1), 16000, 16)
    place = data.draw(st.integers(42, len(whole) - 1))
    harmed = bytearray(whole)
    harmed[place] ^= 1 << data.draw(st.integers(0, 7))
    found = flac.decode(bytes(harmed))
    assert found is None or np.array_equal(found.samples, read(whole))


def test_what_is_not_flac_of_known_length_is_left_to_others() -> None:
    for data in (b"", b"RIFF", b"fLaC", b"fLaC" + bytes(60)):
        assert flac.decode(data) is None


def test_real_files_are_read_as_libsndfile_reads_them(corpus: Path) -> None:
    paths = sorted(corpus.rglob("*.flac"))[::12]
    assert len(paths) > 20
    for path in paths:
        found = flac.decode(path.read_bytes())
        assert found is not None, path
        np.testing.assert_array_equal(found.samples, read(path.read_bytes()), err_msg=str(path))
