"""Filters of the targets: from one room impulse response to early and late part, direct path and aligned dry signal.

Conventions
    A response is (taps,) or (channels, taps), float32, tap 0 is emission. A filter has the shape of its response;
    every target is convolved from the dry signal, none from another target.
    `onset` is a tap, found on the reference channel 0 or by geometry, and cuts every channel at the same place:
    differences in time and level between channels survive.
    early + late is the response, exactly: each tap is in one of them.
    The aligned dry filter is one delay and one gain, the same on every channel.

Source
    Fractional delay: sinc under a Hann window of 81 taps, as pyroomacoustics builds its images, but with the window
    centred on the delay itself. Direct sound at distance d: gain 1 / (4 pi d), the free-field Green's function.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from augment.acoustics import direct_window, early_stop

__all__ = ["FRACTIONAL_DELAY_TAPS", "direct_path", "dry_aligned_filter", "fractional_delay", "split_rir"]

Response = npt.NDArray[np.float32]
Array = npt.NDArray[np.floating[Any]]

FRACTIONAL_DELAY_TAPS = 81


def split_rir(h: Array, *, onset: int, sample_rate: int, early_ms: float = 50.0) -> tuple[Response, Response]:
    """(early, late): the taps before onset + early_ms, and the others, each in a filter of the shape of `h`."""
    response = _response(h, onset)
    stop = early_stop(onset, sample_rate, early_ms)
    return _kept(response, slice(0, stop)), _kept(response, slice(stop, None))


def direct_path(
    h: Array, *, onset: int, sample_rate: int, before_ms: float | None = None, after_ms: float | None = None
) -> Response:
    """The taps of `h` in [onset - before, onset + after], zeros elsewhere; by default 1 ms before to 2.5 ms after."""
    response = _response(h, onset)
    window = direct_window(onset, sample_rate, response.shape[-1])
    if before_ms is not None and after_ms is not None:
        reach = [round(ms * sample_rate / 1000) for ms in (before_ms, after_ms)]
        window = slice(max(0, onset - reach[0]), onset + reach[1] + 1)
    return _kept(response, window)


def dry_aligned_filter(
    h: Array, *, onset: int, sample_rate: int, delay_samples: float | None = None, gain: float | None = None
) -> Response:
    """The filter, in the shape of `h`, that delays a dry signal to the direct path of `h` and scales it.

    With `delay_samples` (distance / c x sample_rate) and `gain` (1 / (4 pi distance)), as a simulation knows them, it
    is a windowed sinc. Without them, for a measured response, it is one tap: the largest of the direct path of the
    reference channel, with its sign.
    """
    response = _response(h, onset)
    if delay_samples is not None and gain is not None:
        return _on_every_channel(response, gain * fractional_delay(delay_samples, response.shape[-1]))
    if delay_samples is not None or gain is not None:
        raise ValueError(f"delay_samples and gain must be given together, got {delay_samples} and {gain}")
    reference = np.atleast_2d(direct_path(response, onset=onset, sample_rate=sample_rate))[0]
    tap = int(np.argmax(np.abs(reference)))
    return _on_every_channel(response, _kept(reference, slice(tap, tap + 1)))


def fractional_delay(delay_samples: float, taps: int) -> npt.NDArray[np.float64]:
    """A delay of `delay_samples`, whole or not, as a filter (taps,).

    It is sinc(t) cos^2(pi t / 80), t in samples from the delay.
    A delay under 40 samples loses the part of the sinc that would come before tap 0. A whole delay is a single 1.
    """
    if not 0 <= delay_samples < taps:
        raise ValueError(f"delay_samples must lie within the {taps} taps, got {delay_samples}")
    half = FRACTIONAL_DELAY_TAPS // 2
    first, last = max(0, math.ceil(delay_samples) - half), min(taps, math.floor(delay_samples) + half + 1)
    t = np.arange(first, last) - delay_samples
    filter_ = np.zeros(taps)
    filter_[first:last] = np.sinc(t) * np.cos(np.pi / 2 * t / half) ** 2
    return filter_


def _response(h: Array, onset: int) -> Response:
    if h.ndim not in (1, 2) or h.size == 0:
        raise ValueError(f"h must have shape (taps,) or (channels, taps) and not be empty, got {h.shape}")
    if not 0 <= onset < h.shape[-1]:
        raise ValueError(f"onset must lie within the {h.shape[-1]} taps, got {onset}")
    return np.asarray(h, dtype=np.float32)


def _on_every_channel(response: Response, row: Array) -> Response:
    return np.array(np.broadcast_to(row, response.shape), dtype=np.float32)


def _kept(response: Response, taps: slice) -> Response:
    kept = np.zeros_like(response)
    kept[..., taps] = response[..., taps]
    return kept
