"""Room acoustics of an impulse response: onset, decay, reverberation time, direct-to-reverberant ratio, clarity.

Conventions
    A response is (taps,) or (channels, taps), of which the reference channel 0 is measured. Tap 0 is emission.
    The onset is a tap. The direct path is the taps in [onset - 1 ms, onset + 2.5 ms], both ends included; early is
    everything before onset + 50 ms. Energies are sums of squares in float64.
    `None` means undefined: no decay range, nothing after the window. A silent or non-finite response raises ValueError.

    The decay starts at the first tap above 0.1 of the largest, in a band at the onset. Measured responses end in
    noise. A line is fitted to the last 20 dB of the decay; what the last tenth of the response holds above that line
    is the noise. It is subtracted tap by tap up to where the line meets it, and the energy that the line still has
    there is added (Chu 1978; Lundeby et al. 1995). A response that was cut off before its noise is completed likewise.
    Noise that was faded out by hand at the end is not recognised, and lengthens T30. There is no fallback to a shorter
    range: RT60 is T30, or None. T30 needs 45 dB from the start of the decay to that floor, EDT 20 dB.

    Octave bands are those from 125 Hz to 8 kHz whose upper edge lies at most 5 % above half the sample rate: 8 kHz is
    measured at 22.05 kHz, which holds 97 % of it, and not at 16 kHz. With o the distance from the centre in octaves,
    their gain is cos(pi/2 o^2 (3 - 2 o)) up to one octave and 0 beyond: -3 dB at the edges; squared, they share out
    all energy between 125 Hz and the highest centre. The filter has no phase. It spreads a sound to both sides, down
    by 20 dB after 1 / centre and by 45 dB after 4 / centre; what it spreads before the onset is counted at the onset.
    A decay under 12 / centre (96 ms at 125 Hz, 12 ms at 1 kHz, 1.5 ms at 8 kHz) is None: the filter alone takes 5.7 /
    centre in T30 and 3.7 / centre in EDT, and lengthens an exponential decay of 12 / centre by 0.5 % in T30 and 6 % in
    EDT, one of 24 / centre by 1.5 % in EDT. A band C50 beyond 50 dB, where the filter itself would count, is None.
    What remains is chance: in a diffuse field, single responses scatter by 0.6 / sqrt(centre T30) in T30 and
    1.9 / sqrt(centre EDT) in EDT, as parts of them (14 % and 44 % for 0.15 s at 125 Hz).

Source
    ISO 3382-1:2009; Schroeder, "New method of measuring reverberation time", JASA 37, 1965.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

from manifests.compiled import kernel

__all__ = [
    "Acoustics",
    "Band",
    "band_clarity_db",
    "band_decay_times",
    "c50_db",
    "clarity_db",
    "decay_time",
    "direct_window",
    "drr_db",
    "early_stop",
    "edt",
    "energy_decay",
    "fault",
    "measure",
    "octave_bands",
    "onset",
    "onset_confidence",
    "rt60",
]

Response = npt.NDArray[np.float64]
Array = npt.NDArray[np.floating[Any]]
Limits = tuple[float, float]

T30 = (-5.0, -35.0)
EDT = (0.0, -10.0)
FLOOR_DB = 10.0  # a decay is fitted where at least this much of it is left above the floor

ONSET_RATIO = 0.1
CLIMB_TAPS = 8
BLOCK_S = 0.005

CENTRES_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
RINGING = 4.0  # periods of the centre after which a band filter is 45 dB down
SHORTEST = 12.0  # decay time, in periods of the centre, from which the filter does not matter
BAND_RANGE_DB = 50.0


@dataclass(frozen=True, kw_only=True)
class Band:
    """What was measured in one octave."""

    centre_hz: float
    rt60_s: float | None
    edt_s: float | None
    c50_db: float | None


@dataclass(frozen=True, kw_only=True)
class Acoustics:
    """What was measured on one response; the names are those of the tables. A given onset has no confidence."""

    onset_samples: int
    onset_confidence: float | None = None
    rt60_s: float | None
    edt_s: float | None
    drr_db: float | None
    c50_db: float | None
    bands: list[Band] = field(default_factory=list)


def measure(h: Array, sample_rate: int, onset: int | None = None, *, bands: bool = True) -> Acoustics:
    """Everything below, from one response. `onset` where geometry gives it, else it is measured."""
    response = _reference(h)
    start = _onset(response) if onset is None else _inside(response, onset)
    decay = _broadband_decay(response, sample_rate)
    return Acoustics(
        onset_samples=start,
        onset_confidence=_confidence(response, start, sample_rate) if onset is None else None,
        rt60_s=_time(decay, T30),
        edt_s=_time(decay, EDT),
        drr_db=_drr_db(response, start, sample_rate),
        c50_db=_clarity_db(response, early_stop(start, sample_rate)),
        bands=_bands(response, start, sample_rate) if bands else [],
    )


def _reference(h: Array) -> Response:
    if h.ndim not in (1, 2) or h.size == 0:
        raise ValueError(f"h must have shape (taps,) or (channels, taps) and not be empty, got {h.shape}")
    response = np.asarray(h[0] if h.ndim == 2 else h, dtype=np.float64)
    energy = _energy(response)
    if not math.isfinite(energy):
        raise ValueError("h must be finite, got infinity or NaN")
    if energy == 0 and not response.any():
        raise ValueError("h must not be silent, got only zeros on the reference channel")
    return response


def _inside(response: Response, tap: int) -> int:
    if not 0 <= tap < response.size:
        raise ValueError(f"onset must lie within the {response.size} taps, got {tap}")
    return tap


# ----------------------------------------------------------------------------------------------- onset and windows


def onset(h: Array, *, expected: float | None = None) -> int:
    """Tap of the direct sound: `expected` (distance / c x sample_rate) to the nearest tap, or else measured.

    Measured, it is the first peak: from the first tap whose magnitude exceeds 0.1 of the largest (or five times the
    RMS of the last tenth, where noise is louder than that; at most 0.3) on to the largest of the next 8 taps, until
    none is larger, which climbs over the ripple of band-limited responses. It comes late where a reflection is ten
    times the direct sound (a talker behind a door).
    """
    response = _reference(h)
    return _onset(response) if expected is None else _inside(response, round(expected))


def onset_confidence(h: Array, onset: int, sample_rate: int) -> float:
    """How sure a measured onset is, in [0, 1]: the smaller of agreement and clearness.

    Agreement: the share of thresholds, at every 2 dB from -30 to -10 dB of the largest tap but above the noise (as in
    `onset`), that lead to a peak within 0.5 ms of the onset; all of them is 1, half is 0. Clearness: how far the
    loudest tap up to 1 ms before the onset lies under the peak; 20 dB is 1, 6 dB is 0, and 1 without taps before.

    Blind to a direct sound that is missing, below the noise, or more than 30 dB under the largest tap: the first
    reflection then passes for it.
    """
    response = _reference(h)
    return _confidence(response, _inside(response, onset), sample_rate)


def direct_window(onset: int, sample_rate: int, taps: int) -> slice:
    """The taps in [onset - 1 ms, onset + 2.5 ms] of a response of `taps` taps."""
    return slice(max(0, onset - sample_rate // 1000), min(taps, onset + sample_rate // 400 + 1))


def early_stop(onset: int, sample_rate: int, early_ms: float = 50.0) -> int:
    """The first tap that is late: onset + early_ms, to the nearest tap."""
    if not early_ms >= 0:
        raise ValueError(f"early_ms must not be negative, got {early_ms}")
    return onset + round(early_ms * sample_rate / 1000.0)


def _onset(response: Response) -> int:
    magnitude = np.abs(response)
    largest = float(magnitude.max())
    return int(_first_peak(magnitude, max(ONSET_RATIO * largest, _noise_limit(magnitude))))


def _noise_limit(magnitude: Response) -> float:
    """Five times the RMS of the last tenth after the largest tap, which noise does not reach; 0.3 of that tap at most.

    Of a response without noise, the last tenth is reverberation, and the limit asks too much: hence the maximum.
    """
    peak, stop = int(np.argmax(magnitude)), _stop(magnitude)
    tail = magnitude[stop - max(1, (stop - peak) // 10) : stop]
    return min(5.0 * math.sqrt(_energy(tail) / tail.size), 0.3 * float(magnitude[peak]))


def _confidence(response: Response, onset: int, sample_rate: int) -> float:
    magnitude = np.abs(response)
    largest, limit = float(magnitude.max()), _noise_limit(magnitude)
    thresholds = [largest * 10.0 ** (db / 20.0) for db in range(-30, -9, 2)]
    found = [_first_peak(magnitude, t) for t in thresholds if t >= limit]
    agree = sum(bool(abs(tap - onset) <= 0.0005 * sample_rate) for tap in found)
    agreement = 2.0 * agree / len(found) - 1.0
    before = float(magnitude[: max(0, onset - sample_rate // 1000)].max(initial=0.0))
    peak = float(magnitude[onset])
    clearness = 0.0 if peak <= 2.0 * before else 1.0 if before == 0 else (20.0 * math.log10(peak / before) - 6.0) / 14.0
    return max(0.0, min(1.0, agreement, clearness))


# ---------------------------------------------------------------------------------------------------------- faults


def fault(h: Array, *, expected_onset: float, sample_rate: int, gain: float | None = None) -> str | None:
    """Why a simulated response must not be used, or `None`. Onset and gain are those of the reference channel.

    Sound before the onset means more than -60 dB of the largest tap, earlier than the 40 taps by which a
    fractional-delay filter precedes it (rounding is below -100 dB). Direct sound means that one of the 5 taps around
    the onset reaches -12 dB of `gain`, 1 / (4 pi distance): the nearest tap of a fractional delay has -3.9 dB or more,
    and one that is 4 taps off leaves -13 dB there. Without `gain` it means -30 dB of the largest tap.
    """
    rows = np.atleast_2d(h)
    energy = np.einsum("ij,ij->i", rows, rows)
    if not np.isfinite(energy).all():
        return "not finite"
    if not energy.all():
        return f"microphone {int(np.argmin(energy))} is silent"
    if not 0 <= expected_onset < rows.shape[1]:
        return f"it ends before the direct sound, which is due at tap {expected_onset:.1f}"
    magnitude, tap = np.abs(rows[0]), round(expected_onset)
    largest = float(magnitude.max())
    early = magnitude[: max(0, math.floor(expected_onset) - 40)]
    if early.size and early.max() > 1e-3 * largest:
        at_ms, due_ms = (1000.0 * t / sample_rate for t in (int(np.argmax(early > 1e-3 * largest)), expected_onset))
        return f"sound at {at_ms:.2f} ms, before the direct sound is due at {due_ms:.2f} ms"
    direct, needed = float(magnitude[max(0, tap - 2) : tap + 3].max()), 10**-1.5 * largest if gain is None else gain / 4
    return f"no direct sound at tap {tap}: {direct:.2g} where {needed:.2g} is due" if direct < needed else None


# --------------------------------------------------------------------------------------------------- energy ratios


def drr_db(h: Array, onset: int, sample_rate: int) -> float | None:
    """10 log10(energy of the direct path / energy of the rest); `None` where one of them has none."""
    response = _reference(h)
    return _drr_db(response, _inside(response, onset), sample_rate)


def c50_db(h: Array, onset: int, sample_rate: int) -> float | None:
    """10 log10(energy before onset + 50 ms / energy after); `None` where one of them has none."""
    return clarity_db(h, onset, sample_rate, early_ms=50.0)


def clarity_db(h: Array, onset: int, sample_rate: int, *, early_ms: float) -> float | None:
    """C50, C80 and the like: 10 log10(energy before onset + early_ms / energy after)."""
    response = _reference(h)
    return _clarity_db(response, early_stop(_inside(response, onset), sample_rate, early_ms))


def _drr_db(response: Response, onset: int, sample_rate: int) -> float | None:
    window = direct_window(onset, sample_rate, response.size)
    return _ratio_db(_energy(response[window]), _energy(response[: window.start]) + _energy(response[window.stop :]))


def _clarity_db(response: Response, stop: int) -> float | None:
    return _ratio_db(_energy(response[:stop]), _energy(response[stop:]))


def _energy(response: Response) -> float:
    return float(np.einsum("i,i->", response, response))  # `@` would wake the threads of BLAS for this little


def _ratio_db(above: float, below: float) -> float | None:
    return 10.0 * math.log10(above / below) if above > 0 and below > 0 else None


# ----------------------------------------------------------------------------------------------------------- decay


def energy_decay(h: Array) -> Response:
    """Schroeder's backward integral of (taps,) in dB re the whole energy, as it is: noise and truncation included.

    It ends at the last non-zero tap.
    """
    response = _reference(h)
    energy = np.cumsum(response[: _stop(response)][::-1] ** 2)[::-1]
    return np.asarray(10.0 * np.log10(energy / energy[0]))


def rt60(h: Array, sample_rate: int) -> float | None:
    """T30 in seconds: a line through the decay from -5 to -35 dB, taken to 60 dB. `None` without 45 dB of decay."""
    return decay_time(h, sample_rate, T30)


def edt(h: Array, sample_rate: int) -> float | None:
    """Early decay time in seconds: a line through the decay from 0 to -10 dB, taken to 60 dB. `None` without 20 dB."""
    return decay_time(h, sample_rate, EDT)


def decay_time(h: Array, sample_rate: int, limits: Limits) -> float | None:
    """A line through the decay between two levels in dB, as (-5, -25) for T20, taken to 60 dB, in seconds.

    `None` where the floor is less than 10 dB below the lower one.
    """
    return _time(_broadband_decay(_reference(h), sample_rate), limits)


class _Decay(NamedTuple):
    """Energy left at each step; empty where the response does not decay. The floor is its end, in dB of its start."""

    energy: Response
    floor_db: float
    rate: float


def _broadband_decay(response: Response, sample_rate: int) -> _Decay:
    magnitude = np.abs(response)
    start = int(np.argmax(magnitude > ONSET_RATIO * magnitude.max()))
    return _decay(response[start : _stop(response)] ** 2, max(1, sample_rate // round(1 / BLOCK_S)), sample_rate)


def _decay(power: Response, block: int, rate: float) -> _Decay:
    energy, floor_db = _integrate(power, block)
    return _Decay(energy, floor_db, rate)


def _time(decay: _Decay, limits: Limits) -> float | None:
    upper_db, lower_db = limits
    if not decay.energy.size or decay.floor_db > lower_db - FLOOR_DB:
        return None
    slope = _slope(decay.energy, upper_db, lower_db)
    return -60.0 / slope / decay.rate if slope < 0 else None


# ---------------------------------------------------------------------------------------------------- octave bands


def octave_bands(sample_rate: int) -> list[float]:
    """Centre frequencies in Hz of the bands that are measured."""
    return [centre for centre in CENTRES_HZ if centre * math.sqrt(2.0) <= 1.05 * sample_rate / 2]


def band_decay_times(h: Array, onset: int, sample_rate: int, limits: Limits) -> list[float | None]:
    """`decay_time` of every octave band."""
    response = _reference(h)
    signals = _filtered(response, _inside(response, onset), sample_rate)
    return [_band_time(_band_decay(s), s.centre_hz, limits) for s in signals]


def band_clarity_db(h: Array, onset: int, sample_rate: int, *, early_ms: float) -> list[float | None]:
    """`clarity_db` of every octave band."""
    response = _reference(h)
    signals = _filtered(response, _inside(response, onset), sample_rate)
    return [_band_clarity_db(s, early_stop(0, sample_rate, early_ms) / sample_rate) for s in signals]


class _Filtered(NamedTuple):
    """Energy in one band, per step of 1 / rate seconds centred on the onset, one step later and so on."""

    centre_hz: float
    power: Response
    rate: float


class _Filter(NamedTuple):
    centre_hz: float
    step: int
    gain: npt.NDArray[np.float32]


def _bands(response: Response, onset: int, sample_rate: int) -> list[Band]:
    early_s = early_stop(0, sample_rate) / sample_rate
    found = []
    for signal in _filtered(response, onset, sample_rate):
        decay = _band_decay(signal)
        found.append(
            Band(
                centre_hz=signal.centre_hz,
                rt60_s=_band_time(decay, signal.centre_hz, T30),
                edt_s=_band_time(decay, signal.centre_hz, EDT),
                c50_db=_band_clarity_db(signal, early_s),
            )
        )
    return found


def _filtered(response: Response, onset: int, sample_rate: int) -> list[_Filtered]:
    """Every band at its own rate, at least 4 times its centre where the sample rate has that.

    Zeros before the response put the onset on a step of every band.
    """
    stop, lead = max(_stop(response), onset + 1), -onset % _step(sample_rate, CENTRES_HZ[0])
    ringing = math.ceil(2 * RINGING / CENTRES_HZ[0] * sample_rate)
    size = _transform_size(lead + stop + ringing)
    padded = np.zeros(size, np.float32)
    padded[lead : lead + stop] = response[:stop]
    spectrum = fft.rfft(padded, overwrite_x=True, workers=1)
    return [_filtered_band(spectrum, f, lead + onset, lead + stop, sample_rate) for f in _filters(size, sample_rate)]


def _filtered_band(
    spectrum: npt.NDArray[np.complex64], band: _Filter, onset: int, stop: int, sample_rate: int
) -> _Filtered:
    signal = fft.ifft(spectrum[: band.gain.size] * band.gain, overwrite_x=True, workers=1)
    period = sample_rate / band.centre_hz
    first = onset // band.step
    last = max(first + 1, math.floor((stop - period) / band.step))  # the last period spreads out of the response
    power = _power(signal, first, math.ceil(RINGING * period / band.step), last)
    return _Filtered(band.centre_hz, power, sample_rate / band.step)


def _band_decay(signal: _Filtered) -> _Decay:
    """Blocks of two independent values at least, or its fading would pass for the end of the decay."""
    block = max(1, round(signal.rate * max(BLOCK_S, 2.0 * math.sqrt(2.0) / signal.centre_hz)))
    return _decay(signal.power, block, signal.rate)


def _band_time(decay: _Decay, centre_hz: float, limits: Limits) -> float | None:
    found = _time(decay, limits)
    return None if found is None or found < SHORTEST / centre_hz else found


def _band_clarity_db(signal: _Filtered, early_s: float) -> float | None:
    steps = early_s * signal.rate + 0.5
    whole = min(int(steps), signal.power.size)
    early, late = float(signal.power[:whole].sum()), float(signal.power[whole:].sum())
    if whole < signal.power.size:
        part = (steps - whole) * float(signal.power[whole])
        early, late = early + part, late - part
    found = _ratio_db(early, late)
    return None if found is None or abs(found) > BAND_RANGE_DB else found


def _step(sample_rate: int, centre_hz: float) -> int:
    """Taps per step of a band: a power of two."""
    return 1 << max(1, math.floor(math.log2(sample_rate / (4.0 * centre_hz))))


def _transform_size(taps: int) -> int:
    """The next of 8, 9, 10, 12, 14, 16 times a power of two: few sizes, so that their filters are kept."""
    eighth: int = 2 ** max(4, (taps - 1).bit_length() - 4)
    return next(m * eighth for m in (8, 9, 10, 12, 14, 16) if m * eighth >= taps)


@functools.lru_cache(maxsize=16)
def _filters(size: int, sample_rate: int) -> tuple[_Filter, ...]:
    return tuple(_filter(size, sample_rate, centre) for centre in octave_bands(sample_rate))


def _filter(size: int, sample_rate: int, centre_hz: float) -> _Filter:
    """The gain at the non-negative frequencies below 1 / step of the sample rate.

    Their inverse transform is the analytic signal at that rate; scaled so, its squares sum to the energy of the band.
    """
    step = _step(sample_rate, centre_hz)
    frequency = np.arange(1, size // step) * sample_rate / size
    octaves = np.minimum(1.0, np.abs(np.log2(frequency / centre_hz)))
    gain = np.zeros(size // step, np.float32)
    gain[1:] = math.sqrt(2.0 / step) * np.cos(np.pi / 2 * octaves**2 * (3.0 - 2.0 * octaves))
    gain.setflags(write=False)
    return _Filter(centre_hz, step, gain)


# --------------------------------------------------------------------------------------------------------- kernels


@kernel()
def _stop(x: Response) -> int:
    """One past the last tap that is not zero."""
    stop = x.size
    while stop > 0 and x[stop - 1] == 0:
        stop -= 1
    return stop


@kernel()
def _first_peak(magnitude: Response, threshold: float) -> int:
    """From the first tap at or above the threshold up to a tap that none of the next CLIMB_TAPS exceeds."""
    tap = 0
    while tap < magnitude.size - 1 and magnitude[tap] < threshold:
        tap += 1
    ahead = tap + 1
    while ahead < min(magnitude.size, tap + CLIMB_TAPS + 1):
        if magnitude[ahead] > magnitude[tap]:
            tap = ahead
        ahead += 1
    return tap


@kernel()
def _power(signal: npt.NDArray[np.complex64], first: int, ringing: int, last: int) -> Response:
    """Squares from step `first` to `last`; those of the `ringing` steps before, which may wrap, join the first."""
    power = np.zeros(last - first)
    for k in range(first - ringing, last):
        real, imaginary = float(signal[k].real), float(signal[k].imag)
        power[max(0, k - first)] += real * real + imaginary * imaginary
    return power


@kernel(error_model="numpy")
def _integrate(power: Response, block: int) -> tuple[Response, float]:
    """Schroeder's integral without the noise, completed below it; and its floor in dB. Empty without a decay."""
    nothing = np.empty(0), 0.0
    count = power.size // block
    if count < 4:
        return nothing
    blocks = np.empty(count)
    for b in range(count):
        blocks[b] = power[b * block : (b + 1) * block].mean()
    width = max(block, power.size // 10)
    floor = power[power.size - width :].mean()
    slope, start = _late_slope(blocks, floor)
    if not slope < 0:
        return nothing
    slope, start = slope / block, start - slope / block * (block - 1) / 2  # dB per step, dB at step 0
    ratio = 10.0 ** (slope / 10.0)
    line = 10.0 ** ((start + slope * (power.size - width)) / 10.0) * (1.0 - ratio**width) / (1.0 - ratio) / width
    noise, stop = floor - line, power.size
    if noise < floor / 2:
        noise = 0.0
    else:
        stop = min(stop, max(1, math.ceil((10.0 * math.log10(noise) - start) / slope)))
    missing = 10.0 ** ((start + slope * stop) / 10.0) / (1.0 - ratio)
    energy = np.empty(stop)
    total = 0.0
    for k in range(stop - 1, -1, -1):
        total += power[k] - noise
        energy[k] = total + missing
    return (energy, 10.0 * math.log10(missing / energy[0])) if energy[0] > 0 else nothing


@kernel()
def _late_slope(blocks: Response, floor: float) -> tuple[float, float]:
    """The line (dB per block, dB at block 0) through the last 20 dB of the decay that stand 8 dB above the floor.

    A slope of 0 where there is none.
    """
    peak = int(np.argmax(blocks))
    stop = peak
    while stop < blocks.size and blocks[stop] >= floor * 10.0**0.8:
        stop += 1
    first = peak
    for b in range(peak, stop):
        if blocks[b] > floor * 10.0**2.8:
            first = b
    if stop - first < 3:
        first = max(peak, stop - 3)
    if stop - first < 3 or blocks[first:stop].min() <= 0:
        return 0.0, 0.0
    level = 10.0 * np.log10(blocks[first:stop])
    slope = _fit(level)
    return slope, level.mean() - slope * (first + (level.size - 1) / 2)


@kernel()
def _slope(energy: Response, upper_db: float, lower_db: float) -> float:
    """dB per step of the line from where the energy falls to `upper_db` of its start until `lower_db`; 0 without."""
    first = 0
    while first < energy.size and energy[first] > energy[0] * 10.0 ** (upper_db / 10.0):
        first += 1
    last = first
    while last < energy.size and energy[last] > energy[0] * 10.0 ** (lower_db / 10.0):
        last += 1
    return 0.0 if last == energy.size or last - first < 2 else _fit(10.0 * np.log10(energy[first:last]))


@kernel()
def _fit(y: Response) -> float:
    """Least squares: the slope of y over 0, 1, 2, ..."""
    middle = (y.size - 1) / 2
    total = 0.0
    for k in range(y.size):
        total += (k - middle) * y[k]
    return total / (y.size * (y.size * y.size - 1) / 12)
