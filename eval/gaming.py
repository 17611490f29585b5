"""What a score does not say about an estimate: wrong level, missing band, delay, offset, clipping, gaps, copies.

Conventions
    Signals are one-dimensional float64 of equal length at `sample_rate`; the reference and the estimate are neither
    silent nor constant. `flags` returns fixed words, in this order, none of which changes a score:

    level              the part of the reference in it is 5 dB or more too loud or too soft, or the whole is 5 dB
                       outside of what lies between reference and mixture
    bandwidth          ends below 0.6 of the reference's bandwidth (the highest frequency within 50 dB of the maximum
                       of the long-term spectrum)
    delay              the largest cross-correlation is 1 ms or more away from zero
    polarity           and is negative there
    dc                 an offset of more than 3 % of its RMS that the reference does not have
    clipped            runs of equal extreme samples, more than the reference has
    gaps               more than a twentieth of the active frames of the reference are digitally empty
    copy_of_input      the mixture times a gain, to 50 dB
    copy_of_reference  the reference times a gain, to 50 dB

    A copy is not looked for where mixture and reference are one signal to 50 dB themselves.

The thresholds are ours; each is far from what ordinary enhancement does and near what it takes to move a metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Reference", "flags"]

Signal = NDArray[np.float64]

LEVEL_DB = 5.0
LIKE = 0.3  # correlation from which the gain on the reference means something
BAND = 0.6
BAND_FLOOR = 1e-5  # of the largest bin: -50 dB
DELAY_S = 0.001
DC_SHARE = 1e-3  # of the variance: 3 % of the RMS
CLIP_SHARE = 2e-4
CLIP_STEP = 1e-4  # of the peak
FRAME_S = 0.02
ACTIVE = 1e-4  # of the loudest frame: -40 dB
EMPTY = 1e-9  # of the mean power: -90 dB
GAP_SHARE = 0.05
COPY = 1e-5  # of the energy: -50 dB
HUGE = 1e30
CANCELLED = 1e-4  # a variance this far below the squared mean has lost digits in the difference that gave it

_SPECTRUM = 1024


@dataclass(frozen=True)
class Reference:
    """The reference's half, and the mixture's where there is one."""

    signal: Signal
    sample_rate: int
    mixture: Signal | None = None

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int, mixture: ArrayLike | None = None) -> Reference:
        s = np.asarray(reference, dtype=np.float64)
        m = None if mixture is None else np.asarray(mixture, dtype=np.float64)
        if m is not None and m.shape != s.shape:
            raise ValueError(f"mixture must have the reference's shape {s.shape}, got {m.shape}")
        return cls(s, sample_rate, m)

    def flags(self, estimate: ArrayLike, *, lag: int | None = None, inverted: bool = False) -> tuple[str, ...]:
        """The flags of an estimate. `lag` (samples, late is positive) and `inverted` are what the cross-correlation
        said.
        """
        e = np.asarray(estimate, dtype=np.float64)
        if e.shape != self.signal.shape:
            raise ValueError(f"estimate must have the reference's shape {self.signal.shape}, got {e.shape}")
        peak = _peak(e)
        huge = peak > HUGE
        e, peak = (e / peak, 1.0) if huge else (e, peak)  # its squares would overflow; of its level enough is known
        energy, inner = float(np.dot(e, e)), float(np.dot(e, self.signal))
        found = {
            "level": huge or self._wrong_level(energy, inner),
            "bandwidth": _bandwidth(e) < BAND * self._band,
            "delay": lag is not None and abs(lag) >= DELAY_S * self.sample_rate,
            "polarity": inverted,
            "dc": self._offset(e, energy),
            "clipped": _plateaus(e, peak) > max(CLIP_SHARE * e.size, 2 * self._plateaus),
            "gaps": self._gaps(e) > GAP_SHARE,
            "copy_of_input": self.mixture is not None and not self._clean and self._copies_input(e, energy),
            "copy_of_reference": not self._clean and _is_copy(energy, self._energy, inner),
        }
        return tuple(name for name, there in found.items() if there)

    @cached_property
    def _energy(self) -> float:
        return float(np.dot(self.signal, self.signal))

    @cached_property
    def _mixture_energy(self) -> float:
        return 0.0 if self.mixture is None else float(np.dot(self.mixture, self.mixture))

    @cached_property
    def _mean(self) -> float:
        return float(self.signal.mean())

    @cached_property
    def _band(self) -> int:
        return _bandwidth(self.signal)

    @cached_property
    def _plateaus(self) -> int:
        return _plateaus(self.signal, _peak(self.signal))

    @cached_property
    def _clean(self) -> bool:
        return self._copies_input(self.signal, self._energy)

    @cached_property
    def _active(self) -> NDArray[np.bool_]:
        power = _frame_power(self.signal, self.sample_rate)
        active: NDArray[np.bool_] = power > ACTIVE * power.max()
        return active

    def _copies_input(self, x: Signal, energy: float) -> bool:
        if self.mixture is None:
            return False
        return _is_copy(energy, self._mixture_energy, float(np.dot(x, self.mixture)))

    def _offset(self, e: Signal, energy: float) -> bool:
        """Whether the estimate has an offset that the reference does not have."""
        mean = float(e.mean())
        variance = energy / e.size - mean * mean
        if variance < CANCELLED * mean * mean:
            variance = float(e.var())
        return max(abs(mean) - abs(self._mean), 0.0) ** 2 > DC_SHARE * variance

    def _wrong_level(self, energy: float, inner: float) -> bool:
        gain_db = 20 * np.log10(max(abs(inner) / self._energy, 1e-30))
        if abs(inner) > LIKE * np.sqrt(self._energy * energy) and abs(gain_db) > LEVEL_DB:
            return True
        least = most = self._energy
        if self.mixture is not None:
            least, most = min(least, self._mixture_energy), max(most, self._mixture_energy)
        factor = 10 ** (LEVEL_DB / 10)
        return not least / factor <= energy <= most * factor

    def _gaps(self, e: Signal) -> float:
        """Share of the reference's active frames in which the estimate is empty."""
        power = _frame_power(e, self.sample_rate)
        empty = power[self._active] <= EMPTY * power.mean()
        return float(empty.mean()) if empty.size else 0.0


def flags(
    *, reference: ArrayLike, estimate: ArrayLike, sample_rate: int, mixture: ArrayLike | None = None
) -> tuple[str, ...]:
    """The flags of one pair, without those that need the cross-correlation."""
    return Reference.of(reference=reference, sample_rate=sample_rate, mixture=mixture).flags(estimate)


def _is_copy(own: float, energy: float, inner: float) -> bool:
    """Whether a signal of energy `own` is another of `energy` times a gain, to 50 dB."""
    if energy == 0 or own == 0:
        return False
    return own - inner * inner / energy < COPY * own


def _bandwidth(x: Signal) -> int:
    """Highest bin of the long-term spectrum that lies within 50 dB of its largest."""
    from eval import fourier  # compiled: only those who look for flags pay for its import

    size = min(_SPECTRUM, max(fourier.LEAST_SIZE, 1 << (x.size.bit_length() - 1)))
    blocks = max(1, x.size // size)
    spectra = fourier.spectra(x, size=size, first=0, hop=size, taken=size, blocks=blocks, window=_window(size))
    squares = fourier.total(size)
    fourier.add_products(squares, spectra, spectra)
    power = squares[0][fourier.places(size)]
    power = power[1 : size // 2 + 1] + power[: size // 2 - 1 : -1]  # of both halves, without the offset
    above = np.flatnonzero(power > BAND_FLOOR * power.max())
    return int(above[-1]) + 1 if above.size else 0


@cache
def _window(size: int) -> Signal:
    return np.hanning(size + 1)[:-1]


def _peak(x: Signal) -> float:
    return max(float(x.max()), -float(x.min()))


def _plateaus(x: Signal, peak: float) -> int:
    """Neighbours that both lie at the largest magnitude."""
    least = (1 - CLIP_STEP) * peak
    top = (x >= least) | (x <= -least)
    return int(np.count_nonzero(top[1:] & top[:-1]))


def _frame_power(x: Signal, sample_rate: int) -> Signal:
    size = max(1, round(FRAME_S * sample_rate))
    frames = x[: max(x.size // size, 1) * size].reshape(-1, min(size, x.size))
    power: Signal = np.einsum("fn,fn->f", frames, frames) / frames.shape[1]
    return power
