"""Audio bytes: decoding sources, cutting segments, encoding what is written.

Conventions
    Decoded audio is float32, shape `(channels, samples)`, integer PCM scaled by 2^(bits-1). Signals to be written are
    integers on the grid
    of the encoding (24 bits for `flac24` and `wav_float32`, 16 for `flac16`), so that sums of stems are exact after
    decoding. Every change of rate is soxr VHQ.
"""

from __future__ import annotations

import hashlib
import io
from typing import IO, Any

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from manifests import storage
from manifests.schema import Audio

__all__ = [
    "ENCODINGS",
    "FLAC_CHANNELS",
    "GRID_BITS",
    "RESAMPLER",
    "decode",
    "encode",
    "encode_float",
    "open_sound",
    "read_segment",
    "resample",
    "sha256",
]

Signal = NDArray[np.float32]

RESAMPLER = "soxr_vhq"
GRID_BITS = {"flac24": 24, "flac16": 16, "wav_float32": 24}
ENCODINGS = tuple(GRID_BITS)
FLAC_CHANNELS = 8
MOST_METADATA, MOST_BYTES_PER_FRAME = 1 << 20, 8  # of a FLAC file, which is not read further than may be needed


def resample(x: Signal, rate: int, to: int) -> Signal:
    """`x` (samples,) or (channels, samples) at rate `to`, by soxr VHQ."""
    if rate == to or x.shape[-1] == 0:
        return x
    return np.ascontiguousarray(soxr.resample(x.T, rate, to, quality="VHQ").T.astype(np.float32, copy=False))


def open_sound(uri: str) -> sf.SoundFile:
    """A sound file of a path or URL, open for reading."""
    return sf.SoundFile(storage.open_read(uri) if storage.is_url(uri) else uri)


def read_segment(uri: str, *, start: int, frames: int, channel: int) -> Signal:
    """`frames` samples of one channel from `start`, shape (samples,): those that decoding the whole file would give.

    Raises ValueError where the file does not have them.
    """
    found = _read_flac(uri, start, frames)
    if found is not None and 0 <= channel < len(found):
        one: Signal = found[channel]
        return one
    wanted = f"{uri}: wanted frames {start}..{start + frames} of channel {channel}"
    try:
        with open_sound(uri) as file:
            if not (0 <= start <= start + frames <= file.frames and 0 <= channel < file.channels):
                raise ValueError(
                    f"{wanted}, the file has {file.frames} frames and {file.channels} channels. "
                    "Has it changed since the scan?"
                )
            x = _read(file, start, frames)[:, channel]
    except sf.LibsndfileError as error:
        raise ValueError(f"{wanted}, but decoding failed: {str(error) or f'libsndfile error {error.code}'}") from None
    if len(x) != frames:
        raise ValueError(f"{wanted}, {len(x)} of these {frames} could be decoded")
    return np.ascontiguousarray(x)


def _read_flac(uri: str, start: int, frames: int) -> Signal | None:
    """All channels of a stretch near the beginning of a FLAC file, in half of libsndfile's time. `None` where it is not
    that, or something is wrong, which libsndfile will name.
    """
    if not uri.lower().endswith(".flac") or not 0 <= start <= frames:
        return None
    from manifests import flac  # loads numba, which reading other audio does not need

    try:
        with storage.open_read(uri) as handle:
            data = handle.read(MOST_METADATA + MOST_BYTES_PER_FRAME * (start + frames))
    except OSError:
        return None
    found = flac.decode(data, start=start, frames=frames)
    samples: Signal | None = None if found is None else found.samples
    return samples


def _read(file: sf.SoundFile, start: int, frames: int) -> Signal:
    """Frames (frames, channels) of a file. What is coded with memory is decoded from the start of the file, in one go.

    libsndfile's seek lands up to a block beside the frame in Vorbis (its issue 885), and Opus and MP3 decoders are
    still settling where they land; its Opus gives other samples when a file's end is read in pieces.
    """
    skipped = start if file.format in ("OGG", "MP3") else 0
    file.seek(start - skipped)
    x: Signal = file.read(skipped + frames, dtype="float32", always_2d=True)
    return x[skipped:]


def encode(grid: NDArray[np.int32], sample_rate: int, encoding: str, name: str) -> Audio:
    """Integers on the grid of `encoding`, shape (channels, samples), as a FLAC or WAV file's bytes."""
    if encoding.startswith("flac"):
        from manifests import flac  # loads numba, which reading audio does not need

        return Audio(flac.encode(grid, sample_rate=sample_rate, bits=GRID_BITS[encoding]), f"{name}.flac")
    return _write((grid / np.float32(2**23)).astype(np.float32), sample_rate, f"{name}.wav")


def encode_float(x: Signal, sample_rate: int, name: str) -> Audio:
    """Any float signal, shape (channels, samples): 24-bit FLAC where it fits in +-1 and 8 channels, else 32-bit float
    WAV.
    """
    grid = np.rint(x.astype(np.float64) * 2**23)
    fits = grid.size and len(grid) <= FLAC_CHANNELS and grid.min() >= -(2**23) and grid.max() < 2**23
    if not fits:  # NaN does not
        return _write(x, sample_rate, f"{name}.wav")
    return encode(grid.astype(np.int32), sample_rate, "flac24", name)


def _write(x: Signal, sample_rate: int, path: str) -> Audio:
    """32-bit float WAV. (libsndfile would put the time of day into it, in a PEAK chunk.)"""
    from scipy.io import wavfile  # few datasets need it

    sink = io.BytesIO()
    wavfile.write(sink, sample_rate, np.ascontiguousarray(x.T, dtype=np.float32))
    return Audio(bytes=sink.getvalue(), path=path)


def decode(audio: Audio | dict[str, Any]) -> tuple[Signal, int]:
    """Samples (channels, samples) and rate of encoded audio."""
    data = audio.bytes if isinstance(audio, Audio) else audio["bytes"]
    if data[:4] == b"fLaC":
        from manifests import flac  # loads numba, which reading other audio does not need

        found = flac.decode(data)
        if found is not None:
            return found.samples, found.sample_rate
    return decode_file(io.BytesIO(data))


def decode_file(handle: IO[bytes] | str) -> tuple[Signal, int]:
    x, rate = sf.read(handle, dtype="float32", always_2d=True)
    return np.ascontiguousarray(x.T), int(rate)


def sha256(grid: NDArray[np.int32]) -> str:
    """Hash of a written signal's samples, whatever the container."""
    return hashlib.sha256(np.ascontiguousarray(grid, dtype="<i4").data).hexdigest()
