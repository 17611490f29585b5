"""Witnesses: integers in, the same integers out; sines on paper and scipy's resampler; the whole file and its parts."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import fsspec
import numpy as np
import pytest
import scipy.signal
import soundfile as sf

from manifests import audio
from manifests.schema import Audio

RATE = 16_000


def grid(bits: int, channels: int, samples: int = 4000) -> np.ndarray:
    """Random integers of the whole range of `bits`, with both ends."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    x = np.random.default_rng(bits + channels).integers(low, high, (channels, samples)).astype(np.int32)
    x[:, 0], x[:, 1], x[:, 2] = low, high - 1, 0
    return x


def sines(frequencies: list[float], rate: int, samples: int) -> np.ndarray:
    t = np.arange(samples) / rate
    return sum(np.sin(2 * np.pi * f * t + k) for k, f in enumerate(frequencies)) / len(frequencies)


def db(x: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(x, dtype=float))) + 1e-30))


# encoding


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
@pytest.mark.parametrize("encoding", audio.ENCODINGS)
def test_a_grid_is_decoded_exactly(encoding: str, channels: int) -> None:
    bits = audio.GRID_BITS[encoding]
    x = grid(bits, channels)
    decoded, rate = audio.decode(audio.encode(x, RATE, encoding, "m"))
    assert rate == RATE
    assert decoded.dtype == np.float32
    assert decoded.shape == x.shape
    np.testing.assert_array_equal(decoded.astype(np.float64) * 2 ** (bits - 1), x)


@pytest.mark.parametrize("encoding", audio.ENCODINGS)
def test_stems_still_sum_to_the_mixture_after_decoding(encoding: str) -> None:
    """The reason for the grid: sums of decoded stems are exact in float32, with 1 bit of headroom."""
    half = 2 ** (audio.GRID_BITS[encoding] - 2)
    stems = np.random.default_rng(0).integers(-half // 2, half // 2, (3, 1, 5000)).astype(np.int32)
    mixture, *parts = (audio.decode(audio.encode(s, RATE, encoding, "x"))[0] for s in [stems.sum(0, np.int32), *stems])
    np.testing.assert_array_equal(parts[0] + parts[1] + parts[2], mixture)


@pytest.mark.parametrize(
    ("encoding", "path", "container", "subtype"),
    [
        ("flac24", "m.flac", "FLAC", "PCM_24"),
        ("flac16", "m.flac", "FLAC", "PCM_16"),
        ("wav_float32", "m.wav", "WAV", "FLOAT"),
    ],
)
def test_the_file_is_what_its_encoding_says(encoding: str, path: str, container: str, subtype: str) -> None:
    encoded = audio.encode(grid(audio.GRID_BITS[encoding], 2), 44_100, encoding, "m")
    info = sf.info(io.BytesIO(encoded.bytes))
    assert encoded.path == path
    assert (info.format, info.subtype, info.samplerate, info.channels) == (container, subtype, 44_100, 2)


@pytest.mark.parametrize("encoding", audio.ENCODINGS)
def test_the_same_signal_is_the_same_bytes(encoding: str) -> None:
    x = grid(16, 2)
    assert audio.encode(x, RATE, encoding, "m") == audio.encode(x.copy(), RATE, encoding, "m")


def test_a_float_signal_that_fits_is_flac_to_half_a_step() -> None:
    x = np.random.default_rng(1).uniform(-1, 0.999, (2, 3000)).astype(np.float32)
    x[0, 0] = -1.0
    encoded = audio.encode_float(x, RATE, "e")
    decoded, rate = audio.decode(encoded)
    assert encoded.path == "e.flac"
    assert sf.info(io.BytesIO(encoded.bytes)).subtype == "PCM_24"
    assert rate == RATE
    np.testing.assert_allclose(decoded, x, rtol=0, atol=2**-24)  # half a step of 24 bits


@pytest.mark.parametrize("worst", [1.0, 1.5, -1.0000001, 40.0, np.inf, -np.inf, np.nan])
def test_a_float_signal_that_does_not_fit_is_kept_as_it_is(worst: float) -> None:
    """A system that returns +-3 must not be scored on what clipping leaves of it."""
    x = np.array([[0.1, worst, -0.3]], np.float32)
    encoded = audio.encode_float(x, RATE, "e")
    assert encoded.path == "e.wav"
    assert sf.info(io.BytesIO(encoded.bytes)).subtype == "FLOAT"
    np.testing.assert_array_equal(audio.decode(encoded)[0], x)


def test_audio_may_come_as_a_row_of_a_table() -> None:
    x = grid(24, 1)
    encoded = audio.encode(x, RATE, "flac24", "m")
    np.testing.assert_array_equal(audio.decode({"bytes": encoded.bytes, "path": "m.flac"})[0], audio.decode(encoded)[0])


def test_sha256_is_that_of_the_samples_in_any_container() -> None:
    x = grid(24, 2, 100)
    assert audio.sha256(x) == hashlib.sha256(x.astype("<i4").tobytes()).hexdigest()
    assert audio.sha256(np.array([[1]], np.int32)) == hashlib.sha256(b"\x01\x00\x00\x00").hexdigest()
    assert audio.sha256(x.astype(">i4")) == audio.sha256(x)
    assert audio.sha256(np.asfortranarray(x)) == audio.sha256(x)
    assert audio.sha256(x[:, 1:]) != audio.sha256(x)


# resampling


@pytest.mark.parametrize(("rate", "to"), [(48_000, 16_000), (16_000, 48_000), (44_100, 16_000), (8000, 16_000)])
def test_resampling_agrees_with_sines_on_paper_and_with_scipy(rate: int, to: int) -> None:
    """Below half of the lower band all resamplers are the same; ends left out, where each guesses its own past."""
    frequencies = [97.0, 440.0, 1000.0, 1900.0]
    x = sines(frequencies, rate, rate)
    y = audio.resample(x.astype(np.float32), rate, to)
    inside = slice(to // 10, -to // 10)
    assert len(y) == to
    assert y.dtype == np.float32
    assert db((y - sines(frequencies, to, to))[inside]) < -110  # float32 rounding is near -150 dB
    peer = scipy.signal.resample_poly(x, to // np.gcd(rate, to), rate // np.gcd(rate, to), window=("kaiser", 12.0))
    assert db((y - peer)[inside]) < -60  # scipy's shorter filter


def test_resampling_keeps_all_that_fits() -> None:
    """Up to 90 % of the lower Nyquist rate."""
    x = sines([7200.0], 48_000, 48_000).astype(np.float32)
    assert db((audio.resample(x, 48_000, 16_000) - sines([7200.0], 16_000, 16_000))[1600:-1600]) < -110


def test_resampling_down_removes_what_does_not_fit() -> None:
    x = sines([11_000.0], 48_000, 48_000).astype(np.float32)
    assert db(audio.resample(x, 48_000, 16_000)[1600:-1600]) < -110


def test_channels_are_resampled_alike_and_the_same_rate_is_untouched() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4801)).astype(np.float32)
    y = audio.resample(x, 48_000, 16_000)
    assert y.shape == (3, 1600)
    assert y.flags.c_contiguous
    for channel, whole in zip(x, y, strict=True):
        np.testing.assert_array_equal(audio.resample(channel, 48_000, 16_000), whole)
    assert audio.resample(x, RATE, RATE) is x
    assert audio.resample(x[:, :0], 48_000, RATE).shape == (3, 0)


# reading segments

FORMATS = [
    ("wav", "WAV", "PCM_16", 0.0),
    ("wav", "WAV", "FLOAT", 0.0),
    ("flac", "FLAC", "PCM_24", 0.0),
    ("aiff", "AIFF", "PCM_16", 0.0),
    ("ogg", "OGG", "VORBIS", 0.0),
    ("opus", "OGG", "OPUS", 0.0),
    ("mp3", "MP3", "MPEG_LAYER_III", 1e-6),  # its decoder rounds differently for reads of different length
]


@pytest.mark.parametrize(("suffix", "container", "subtype", "tolerance"), FORMATS, ids=[f[2] for f in FORMATS])
def test_a_segment_is_a_part_of_the_whole(
    suffix: str, container: str, subtype: str, tolerance: float, tmp_path: Path
) -> None:
    """Exact offsets, up to the last sample of the file and across the blocks of every codec."""
    rng, frames = np.random.default_rng(3), 50_000
    x = rng.uniform(-0.5, 0.5, (frames, 2)).astype(np.float32)
    uri = str(tmp_path / f"x.{suffix}")
    sf.write(uri, x, RATE, format=container, subtype=subtype)
    whole, _ = sf.read(uri, dtype="float32", always_2d=True)
    assert len(whole) == frames
    starts = [0, 1, 4095, 4096, 44_000, 47_750, frames - 100, *rng.integers(0, frames - 100, 20)]
    for start in map(int, starts):
        for channel in (0, 1):
            found = audio.read_segment(uri, start=start, frames=100, channel=channel)
            np.testing.assert_allclose(found, whole[start : start + 100, channel], rtol=0, atol=tolerance)
            assert found.dtype == np.float32
    np.testing.assert_allclose(
        audio.read_segment(uri, start=0, frames=frames, channel=1), whole[:, 1], rtol=0, atol=tolerance
    )
    assert audio.read_segment(uri, start=frames, frames=0, channel=0).shape == (0,)


def test_vorbis_is_not_read_a_block_beside_the_segment(tmp_path: Path) -> None:
    """libsndfile 1.2 seeks 176 samples too far in the last page of this very file (libsndfile issue 885)."""
    uri = str(tmp_path / "x.ogg")
    sf.write(uri, np.random.default_rng(0).uniform(-0.3, 0.3, 50_000), RATE, format="OGG", subtype="VORBIS")
    whole, _ = sf.read(uri, dtype="float32")
    for start in range(43_000, 49_900, 230):
        np.testing.assert_array_equal(audio.read_segment(uri, start=start, frames=100, channel=0), whole[start:][:100])


def test_a_segment_of_a_url(tmp_path: Path) -> None:
    x = np.arange(1000, dtype=np.int16)
    sf.write(tmp_path / "x.wav", x, RATE)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/audio/x.wav", (tmp_path / "x.wav").read_bytes())
    found = audio.read_segment("memory://audio/x.wav", start=500, frames=3, channel=0)
    np.testing.assert_array_equal(found * 2**15, [500, 501, 502])
    memory.rm("/audio", recursive=True)


@pytest.mark.parametrize(
    ("start", "frames", "channel", "said"),
    [
        (990, 11, 0, r"990\.\.1001 of channel 0, the file has 1000 frames and 2 channels"),
        (0, 10, 2, r"0\.\.10 of channel 2, the file has 1000 frames and 2 channels"),
        (-5, 10, 0, r"-5\.\.5 of channel 0, the file has 1000 frames and 2 channels"),
        (0, 10, -1, r"0\.\.10 of channel -1, the file has 1000 frames and 2 channels"),
        (10, -1, 0, r"10\.\.9 of channel 0, the file has 1000 frames and 2 channels"),
    ],
)
def test_a_segment_that_the_file_lacks_names_both(
    start: int, frames: int, channel: int, said: str, tmp_path: Path
) -> None:
    sf.write(tmp_path / "x.wav", np.zeros((1000, 2)), RATE)
    with pytest.raises(ValueError, match=r"x\.wav: wanted frames " + said + ".*Has it changed since the scan"):
        audio.read_segment(str(tmp_path / "x.wav"), start=start, frames=frames, channel=channel)


def test_a_file_that_cannot_be_decoded_is_named_with_the_range(tmp_path: Path) -> None:
    sf.write(tmp_path / "whole.flac", np.random.default_rng(0).uniform(-1, 1, 50_000), RATE, subtype="PCM_16")
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.wav").write_bytes(b"no audio here")
    for name in ("cut.flac", "text.wav", "none.wav"):
        with pytest.raises(ValueError, match=rf"{name}: wanted frames 20000\.\.40000 of channel 0, .*(failed|decoded)"):
            audio.read_segment(str(tmp_path / name), start=20_000, frames=20_000, channel=0)


def test_encoded_audio_is_a_row() -> None:
    assert isinstance(audio.encode(grid(16, 1), RATE, "flac16", "m"), Audio)


def test_a_float_file_does_not_know_the_time() -> None:
    """libsndfile writes the second of writing into every float WAV."""
    grid = np.arange(-500, 500, dtype=np.int32).reshape(10, 100)
    written = audio.encode(grid, 16000, "wav_float32", "x").bytes
    assert b"PEAK" not in written
    x, rate = sf.read(io.BytesIO(written), dtype="float64", always_2d=True)
    assert rate == 16000
    assert np.array_equal(x.T * 2**23, grid)


@pytest.mark.parametrize("shape", [(9, 50), (1, 0)])
def test_what_flac_does_not_hold_becomes_a_float_file(shape: tuple[int, int]) -> None:
    stored = audio.encode_float(np.full(shape, 0.25, dtype=np.float32), 16000, "x")
    assert stored.path == "x.wav"
    assert audio.decode(stored)[0].shape == shape
