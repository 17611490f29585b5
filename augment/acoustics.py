"""Room acoustics of an impulse response: onset, decay, reverberation time, direct-to-reverberant ratio, clarity.

Conventions
    A response is (taps,) or (channels, taps), of which the reference channel 0 is measured. Tap 0 is emission.
    The onset is a tap. The direct path is the taps in [onset - 1 ms, onset + 2.5 ms], both ends included; early is
    everything before onset + 50 ms. Energies are sums of squares in float64.
    `None` means undefined: no decay range, nothing after the window. A silent or non-finite response raises ValueError.

    Measured responses end in noise. A line is fitted to the last 20 dB of the decay; what the last tenth of the
    response holds above that line is the noise. It is subtracted tap by tap up to where the line meets it, and the
    energy that the line still has there is added (Chu 1978; Lundeby et al. 1995). A response that was cut off before
    its noise is completed likewise. Noise that was faded out by hand at the end is not recognised, and lengthens T30.
    There is no fallback to a shorter range: RT60 is T30, or None. T30 needs 45 dB from the start of the decay to that
    floor, EDT 20 dB.

Source
    ISO 3382-1:2009; Schroeder, "New method of measuring reverberation time", JASA 37, 1965.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Acoustics",
    "c50_db",
    "direct_window",
    "drr_db",
    "early_stop",
    "edt",
    "energy_decay",
    "measure",
    "onset",
    "rt60",
]

Response = npt.NDArray[np.float64]
Array = npt.NDArray[np.floating[Any]]

ONSET_RATIO = 0.1
BLOCKS_PER_S = 200
T30_RANGE_DB = 45.0
EDT_RANGE_DB = 20.0


@dataclass(frozen=True, kw_only=True)
class Acoustics:
    """What was measured on one response; the names are those of the tables."""

    onset_samples: int
    rt60_s: float | None
    edt_s: float | None
    drr_db: float | None
    c50_db: float | None


def measure(h: Array, sample_rate: int, onset: int | None = None) -> Acoustics:
    """Everything below, from one response. `onset` where geometry gives it, else it is measured."""
    start = _onset(_reference(h)) if onset is None else onset
    return Acoustics(
        onset_samples=start,
        rt60_s=rt60(h, sample_rate),
        edt_s=edt(h, sample_rate),
        drr_db=drr_db(h, start, sample_rate),
        c50_db=c50_db(h, start, sample_rate),
    )


# Windows


def onset(h: Array, *, expected: float | None = None) -> int:
    """Tap of the direct sound: `expected` (distance / c x sample_rate) to the nearest tap, or else measured.

    Measured it is the first tap whose magnitude exceeds 0.1 of the largest. It comes about two taps early on
    band-limited responses, and late where a reflection is ten times the direct sound (a talker behind a door).
    """
    response = _reference(h)
    return _onset(response) if expected is None else _inside(response, round(expected))


def direct_window(onset: int, sample_rate: int, taps: int) -> slice:
    """The taps in [onset - 1 ms, onset + 2.5 ms] of a response of `taps` taps."""
    return slice(max(0, onset - sample_rate // 1000), min(taps, onset + sample_rate // 400 + 1))


def early_stop(onset: int, sample_rate: int, early_ms: float = 50.0) -> int:
    """The first tap that is late: onset + early_ms, to the nearest tap."""
    if not early_ms >= 0:
        raise ValueError(f"early_ms must not be negative, got {early_ms}")
    return onset + round(early_ms * sample_rate / 1000.0)


def _reference(h: Array) -> Response:
    if h.ndim not in (1, 2) or h.size == 0:
        raise ValueError(f"h must have shape (taps,) or (channels, taps) and not be empty, got {h.shape}")
    response = np.asarray(h[0] if h.ndim == 2 else h, dtype=np.float64)
    if not np.isfinite(response).all():
        raise ValueError("h must be finite, got infinity or NaN")
    if not response.any():
        raise ValueError("h must not be silent, got only zeros on the reference channel")
    return response


def _onset(response: Response) -> int:
    magnitude = np.abs(response)
    return int(np.argmax(magnitude > ONSET_RATIO * magnitude.max()))


def _inside(response: Response, tap: int) -> int:
    if not 0 <= tap < response.size:
        raise ValueError(f"onset must lie within the {response.size} taps, got {tap}")
    return tap


# Energy ratios


def drr_db(h: Array, onset: int, sample_rate: int) -> float | None:
    """10 log10(energy of the direct path / energy of the rest); `None` where one of them has none."""
    response = _reference(h)
    window = direct_window(_inside(response, onset), sample_rate, response.size)
    rest = np.concatenate([response[: window.start], response[window.stop :]])
    return _ratio_db(_energy(response[window]), _energy(rest))


def c50_db(h: Array, onset: int, sample_rate: int) -> float | None:
    """10 log10(energy before onset + 50 ms / energy after); `None` where one of them has none."""
    response = _reference(h)
    stop = early_stop(_inside(response, onset), sample_rate)
    return _ratio_db(_energy(response[:stop]), _energy(response[stop:]))


def _energy(response: Response) -> float:
    return float(np.sum(response * response))


def _ratio_db(above: float, below: float) -> float | None:
    return 10.0 * math.log10(above / below) if above > 0 and below > 0 else None


# Decay


def energy_decay(h: Array) -> Response:
    """Schroeder's backward integral of (taps,) in dB re the whole energy, as it is: noise and truncation included.

    It ends at the last non-zero tap.
    """
    response = _reference(h)
    return _decibels(np.cumsum(np.trim_zeros(response, "b")[::-1] ** 2)[::-1])


def rt60(h: Array, sample_rate: int) -> float | None:
    """T30 in seconds: a line through the decay from -5 to -35 dB, taken to 60 dB. `None` without 45 dB of decay."""
    return _decay_time(_reference(h), sample_rate, (-5.0, -35.0), T30_RANGE_DB)


def edt(h: Array, sample_rate: int) -> float | None:
    """Early decay time in seconds: a line through the decay from 0 to -10 dB, taken to 60 dB. `None` without 20 dB."""
    return _decay_time(_reference(h), sample_rate, (0.0, -10.0), EDT_RANGE_DB)


def _decay_time(response: Response, sample_rate: int, limits: tuple[float, float], range_db: float) -> float | None:
    power = np.trim_zeros(response[_onset(response) :], "b") ** 2
    tail = _tail(power, sample_rate)
    if tail is None:
        return None
    stop, noise, missing = tail
    energy = np.cumsum((power[:stop] - noise)[::-1])[::-1] + missing
    if energy[0] <= 0 or _decibels(np.array([energy[0], missing]))[1] > -range_db:
        return None
    decay = _decibels(energy)
    first, last = (int(np.argmax(decay <= limit)) for limit in limits)
    return None if last - first < 2 else -60.0 / _slope(np.arange(first, last), decay[first:last])[0] / sample_rate


def _tail(power: Response, sample_rate: int) -> tuple[int, float, float] | None:
    """Where to stop integrating, the noise per tap to subtract, the energy that the decay has left at the stop.

    `None` where the response does not decay.
    """
    block = max(1, sample_rate // BLOCKS_PER_S)
    count = power.size // block
    if count < 4:
        return None
    blocks = power[: count * block].reshape(count, block).mean(axis=1)
    floor = float(power[-max(block, power.size // 10) :].mean())
    fit = _late_slope(blocks, floor)
    if fit is None or fit[0] >= 0:
        return None
    slope, start = fit[0] / block, fit[1] - fit[0] / block * (block - 1) / 2
    tenth = np.arange(power.size - max(block, power.size // 10), power.size)
    noise = floor - float(np.mean(10.0 ** ((start + slope * tenth) / 10.0)))
    if noise < floor / 2:
        stop, noise = power.size, 0.0
    else:
        stop = min(power.size, max(1, math.ceil((10.0 * math.log10(noise) - start) / slope)))
    missing = 10.0 ** ((start + slope * stop) / 10.0) / (1.0 - 10.0 ** (slope / 10.0))
    return stop, noise, missing


def _late_slope(blocks: Response, floor: float) -> tuple[float, float] | None:
    """The line (dB per block, dB at block 0) through the last 20 dB of the decay that stand 8 dB above the floor."""
    peak = int(np.argmax(blocks))
    low = np.nonzero(blocks[peak:] < floor * 10.0**0.8)[0]
    stop = peak + int(low[0]) if low.size else blocks.size
    high = np.nonzero(blocks[peak:stop] > floor * 10.0**2.8)[0]
    first = peak + int(high[-1]) if high.size else peak
    if stop - first < 3:
        first = max(peak, stop - 3)
    if stop - first < 3 or not blocks[first:stop].all():
        return None
    return _slope(np.arange(first, stop), _decibels(blocks[first:stop], 1.0))


def _slope(x: npt.NDArray[np.int64], y: Response) -> tuple[float, float]:
    """Least squares: y = slope x + intercept."""
    centred = x - x.mean()
    slope = float(np.sum(centred * y) / np.sum(centred * centred))
    return slope, float(y.mean() - slope * x.mean())


def _decibels(energy: Response, reference: float | None = None) -> Response:
    return np.asarray(10.0 * np.log10(energy / (energy[0] if reference is None else reference)))
