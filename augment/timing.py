"""Putting stretches of audio on a time line: cross-faded assembly, and the plan of a loop.

Conventions
    Signals are float32, shape (samples,). Positions are whole samples from the start of the result; what lies outside
    is cropped.
    Where a piece begins before its predecessor ends, the two are cross-faded over the overlap of n samples with
    quarter waves, cos and sin of pi/2 (k + 1/2) / n (the square root of a Hann slope). cos^2 + sin^2 = 1, so
    uncorrelated pieces keep their power. Pieces that are alike add in amplitude there, up to +3 dB in the middle.

Source
    Equal-power law; a linear or Hann slope on amplitudes loses 3 dB in the middle of a fade between noises.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["assemble", "fade_slopes", "loop_plan"]

Signal = npt.NDArray[np.float32]
Array = npt.NDArray[np.floating[Any]]
Piece = tuple[Array, int]


def assemble(pieces: Sequence[Piece], *, length: int) -> Signal:
    """A signal (length,) with each piece (samples, at) in its place, zeros between, overlaps cross-faded. A piece that
    is all of it is returned itself.

    Raises ValueError unless pieces are sorted by `at`, end in the same order, and at most two overlap at any sample.
    """
    if length < 0:
        raise ValueError(f"length must not be negative, got {length}")
    overlaps = _overlaps(pieces)
    if len(pieces) == 1 and pieces[0][1] == 0 and pieces[0][0].size == length:
        return np.asarray(pieces[0][0], dtype=np.float32)
    out = np.zeros(length, np.float32)
    for (samples, at), before, after in zip(pieces, [0, *overlaps], [*overlaps, 0], strict=False):
        _add(out, _faded(samples, before, after), at)
    return out


@functools.lru_cache(maxsize=8)
def fade_slopes(frames: int) -> tuple[Signal, Signal]:
    """The slopes (out, in) of an equal-power cross-fade, each (frames,), read-only."""
    phase = np.pi / 2 * (np.arange(frames) + 0.5) / max(frames, 1)
    slopes = np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32)
    for slope in slopes:
        slope.setflags(write=False)
    return slopes


def _overlaps(pieces: Sequence[Piece]) -> list[int]:
    """Samples that each piece shares with the next."""
    for index, (samples, _) in enumerate(pieces):
        if samples.ndim != 1:
            raise ValueError(f"piece {index} must have shape (samples,), got {samples.shape}")
    starts = [at for _, at in pieces]
    ends = [at + samples.size for samples, at in pieces]
    for i in range(1, len(pieces)):
        if starts[i] < starts[i - 1] or ends[i] < ends[i - 1]:
            raise ValueError(f"pieces must begin and end in order, got {_spans(starts, ends, i - 1, i)}")
        if i > 1 and starts[i] < ends[i - 2]:
            raise ValueError(f"at most two pieces may overlap, got {_spans(starts, ends, i - 2, i - 1, i)}")
    return [max(0, end - start) for end, start in zip(ends, starts[1:], strict=False)]


def _spans(starts: list[int], ends: list[int], *indices: int) -> str:
    return " and ".join(f"[{starts[i]}, {ends[i]})" for i in indices)


def _faded(samples: Array, before: int, after: int) -> Signal:
    if not before and not after:
        return np.asarray(samples, dtype=np.float32)
    piece = np.array(samples, dtype=np.float32)
    piece[:before] *= fade_slopes(before)[1]
    piece[piece.size - after :] *= fade_slopes(after)[0]
    return piece


def _add(out: Signal, piece: Signal, at: int) -> None:
    start, stop = max(at, 0), min(at + piece.size, out.size)
    if start < stop:
        out[start:stop] += piece[start - at : stop - at]


def loop_plan(*, source_frames: int, start: int, length: int, fade: int) -> list[tuple[int, int, int]]:
    """Pieces (source_start, frames, at): `length` samples from a recording of `source_frames`, beginning at `start`.

    At its end the recording begins again, overlapped by `fade` samples, or by half the recording where that is
    shorter; a first stretch shorter than the fade is overlapped whole. All at one sample rate. `assemble` takes the
    pieces as they are.
    """
    _check_loop(source_frames, start, length, fade)
    plan = [(start, min(length, source_frames - start), 0)]
    while (end := plan[-1][2] + plan[-1][1]) < length:
        at = end - min(fade, source_frames // 2, plan[-1][1])
        plan.append((0, min(source_frames, length - at), at))
    return plan


def _check_loop(source_frames: int, start: int, length: int, fade: int) -> None:
    if source_frames < 1:
        raise ValueError(f"source_frames must be at least 1, got {source_frames}")
    if not 0 <= start < source_frames:
        raise ValueError(f"start must lie within the {source_frames} frames of the recording, got {start}")
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if fade < 0:
        raise ValueError(f"fade must not be negative, got {fade}")
