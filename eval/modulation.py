"""SRMR, the speech-to-reverberation modulation energy ratio: how much of the envelopes' energy is slow, as speech's is.

Conventions
    The signal is float64, shape `(samples,)`, at `sample_rate` Hz; its scale is free. There is no reference. Higher is
    better, from about 1 for noise to above 10 for clean speech; the value depends on the talker and on the sample rate
    (the filters reach up to half of it), so compare systems on the same items at one rate only. Experimental:
    implementations differ in their framing alone by 1 % on a clip of 10 s and by a quarter on one of 2.4 s.

23 gammatone filters from 125 Hz to half the sample rate; their Hilbert envelopes; 8 modulation filters from 4 to
128 Hz with Q = 2; energies in Hamming windows of 256 ms every 64 ms, averaged over time: E(channel, filter). Then
    SRMR = sum E(:, 1..4) / sum E(:, 5..K*)
where K* is the last modulation filter whose lower cutoff lies below the bandwidth of the gammatone channel up to which
the channels hold 90 % of the energy. Falk, Zheng and Chan, "A non-intrusive quality and intelligibility measure of
reverberant and dereverberated speech" (2010). Gammatone filters: Slaney, "An efficient implementation of the
Patterson-Holdworth auditory filter bank", Apple TR 35 (1993), with the ERB of Glasberg and Moore (1990).

What the papers leave open follows the authors' MATLAB toolbox (SRMRToolbox), whose published values it reproduces to
their last digit: stretches of over 50 ms below -50 dB of the peak are cut out first, and the first frame begins 192 ms
before the signal (MATLAB's `buffer`). SRMRpy cuts nothing and takes whole frames only; pb_bss rounds the modulation
frequencies and pads the last frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault

__all__ = ["MIN_RATE", "centre_frequencies", "modulation_energies", "srmr"]

Signal = NDArray[np.float64]

MIN_RATE = 8000
CHANNELS = 23
LOWEST_HZ = 125.0
MODULATION_HZ = 4.0 * 32.0 ** (np.arange(8) / 7)
MODULATION_Q = 2.0
FRAME_S, HOP_S = 0.256, 0.064
SLOW = 4  # the first four modulation filters, up to about 20 Hz, hold what speech does

_EAR_Q, _MIN_BANDWIDTH_HZ = 9.26449, 24.7  # Glasberg and Moore: ERB(f) = f / 9.26449 + 24.7
_PAUSE_DB, _PAUSE_S = 50.0, 0.05


def srmr(*, estimate: ArrayLike, sample_rate: int) -> float:
    """Speech-to-reverberation modulation energy ratio, linear. EstimateFault `silent`, or `too_short` below 256 ms of
    sound.
    """
    if sample_rate < MIN_RATE:
        raise ValueError(f"sample_rate must be at least {MIN_RATE} Hz, got {sample_rate}")
    x = np.asarray(estimate, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"estimate must have shape (samples,) with samples > 0, got {x.shape}")
    peak = np.abs(x).max()
    if not np.isfinite(peak):
        raise ValueError("estimate must be finite, got NaN or infinite samples")
    if peak == 0:
        raise EstimateFault("silent")
    sounding = without_pauses(x / peak, sample_rate)
    if len(sounding) < FRAME_S * sample_rate:
        raise EstimateFault("too_short")
    return _ratio(modulation_energies(sounding, sample_rate), sample_rate)


def without_pauses(x: Signal, sample_rate: int) -> Signal:
    """`x` without the inside of every stretch of more than 50 ms that stays 50 dB under the peak, but for the ends."""
    loud = np.flatnonzero(np.abs(x) > np.abs(x).max() * 10 ** (-_PAUSE_DB / 20))
    keep = np.ones(len(x), dtype=bool)
    for index in np.flatnonzero(np.diff(loud) > _PAUSE_S * sample_rate):
        keep[loud[index] + 1 : loud[index + 1]] = False
    return x[keep]


def centre_frequencies(sample_rate: int) -> Signal:
    """Of the gammatone filters, in Hz, ascending: equal steps in ERBs from 125 Hz to below half the rate."""
    offset = _EAR_Q * _MIN_BANDWIDTH_HZ
    steps = np.arange(CHANNELS) / CHANNELS
    frequencies: Signal = (LOWEST_HZ + offset) * ((sample_rate / 2 + offset) / (LOWEST_HZ + offset)) ** steps - offset
    return frequencies


def modulation_energies(x: Signal, sample_rate: int) -> Signal:
    """Mean energy per frame, shape `(gammatone channels, modulation filters)`."""
    from scipy.signal import hilbert, lfilter, sosfilt

    filters = [_modulation_filter(hz, sample_rate) for hz in MODULATION_HZ]
    energies = np.empty((CHANNELS, len(filters)))
    for channel, hz in enumerate(centre_frequencies(sample_rate)):
        envelope = np.abs(hilbert(sosfilt(_gammatone(hz, sample_rate), x)))
        for index, (b, a) in enumerate(filters):
            energies[channel, index] = _frame_energy(lfilter(b, a, envelope), sample_rate)
    return energies


def _ratio(energies: Signal, sample_rate: int) -> float:
    share = np.cumsum(energies.sum(axis=1)) / energies.sum()
    channel = int(np.argmax(share > 0.9))
    bandwidth = centre_frequencies(sample_rate)[channel] / _EAR_Q + _MIN_BANDWIDTH_HZ
    spread = np.tan(np.pi * MODULATION_HZ / sample_rate) / MODULATION_Q * sample_rate / (2 * np.pi)
    cutoffs = MODULATION_HZ - spread
    last = SLOW + 1 + int(np.sum(bandwidth > cutoffs[SLOW + 1 :]))  # 6, 7 or 8: no ERB here is below the 6th cutoff
    return float(energies[:, :SLOW].sum() / energies[:, SLOW:last].sum())


def _gammatone(hz: float, sample_rate: int) -> Signal:
    """Second-order sections of a fourth-order gammatone filter with gain 1 at its centre (Slaney 1993, p. 34)."""
    from scipy.signal import sosfreqz

    angle = 2 * np.pi * hz / sample_rate
    radius = np.exp(-1.019 * 2 * np.pi * (hz / _EAR_Q + _MIN_BANDWIDTH_HZ) / sample_rate)
    poles = [1.0, -2 * radius * np.cos(angle), radius**2]
    roots = [sign * np.sqrt(3 + outer * 2**1.5) for outer in (1, -1) for sign in (1, -1)]
    sections = np.array([[1.0, -radius * (np.cos(angle) + r * np.sin(angle)), 0.0, *poles] for r in roots])
    sections[0, :3] /= np.abs(sosfreqz(sections, worN=[angle])[1][0])
    return sections


def _modulation_filter(hz: float, sample_rate: int) -> tuple[Signal, Signal]:
    """Second-order band-pass by the bilinear transform: b and a."""
    centre = np.tan(np.pi * hz / sample_rate)
    width = centre / MODULATION_Q
    b = np.array([width, 0.0, -width])
    a = np.array([1 + width + centre**2, 2 * centre**2 - 2, 1 - width + centre**2])
    return b, a


def _frame_energy(x: Signal, sample_rate: int) -> float:
    """Mean over the frames of sum (window x)^2; the first frame holds one hop of signal, the last is filled up."""
    frame, hop = int(np.ceil(FRAME_S * sample_rate)), int(np.ceil(HOP_S * sample_rate))
    count = -(-len(x) // hop)
    square = np.pad(x**2, (frame - hop, count * hop - len(x)))
    frames = np.lib.stride_tricks.sliding_window_view(square, frame)[::hop]
    return float(np.sum(frames @ np.hamming(frame) ** 2) / count)
