"""How a shoebox decays, in closed form: its T30 before any image is summed, and the walls that give a wanted one.

The energy that images bring per second, on average over positions. Images lie with density 1 / V; a path of r = c t
metres in direction u crosses r |u_a| / L_a walls of axis a, low and high in turn. With R = 1 - absorption,
k_a = -ln(R_low R_high) / (2 L_a), kappa = sum_a |u_a| k_a and < > the mean over all directions,

    power(t) = c / (4 pi V) <exp(-r kappa)> F (1 - 2 lowest_hz / rate)       images, which add up as energies
             + c^2 / (rate V^2) r^2 <exp(-r kappa / 2)>^2 F'                 the mean of h, if lowest_hz is 0
             + sum_a c^2 / (8 pi rate V L_a) <exp(-r kappa)>_a W_a           waves that travel along the walls

The mean of h: all reflections are positive, and ever more images fall on one tap, so that h stands on a smooth hump,
the room's resonance at 0 Hz. Nobody hears it, but at 16 kHz it holds about a fifth of the energy of h (median of
rooms of 0.2-0.8 s) and makes T30 longer by a fifth. It goes as 1 / rate. A high-pass removes it (`lowest_hz` > 0).
Waves along walls: the first term is an integral over resonances, and counts half of those on the faces of their
lattice. < >_a is over directions in the plane across axis a; W_a = ln((rate / 2 + b) / (lowest + b)) with
b = c r k_a^2 / 6 is the integral over df / f of what grazing incidence leaves of them (b fitted to within 6 %).
F: a path crosses whole numbers of walls, and the mean of R^n is more than R^(mean of n). With s = (R_low + R_high) / 2
and q = R_low R_high it is the product of k_a L_a / 2 (1 + 2 s + q) / (1 - q); F' is that of the roots of R, squared.
At first F is 1 and all there is is the direct path; both change over the mean free path 2 / (sum of 1 / L_a).

Conventions
    Metres, seconds, Hz. Energies are sums of squares of taps as `augment.images` makes them: the direct path has
    1 / (4 pi d)^2. t = 0 is emission. Absorption is of energy, one value per wall: west, east, south, north, floor,
    ceiling. Air takes `air_db_per_m` of all sound. For one band of frequencies let `lowest_hz` be its lower end and
    `sample_rate` twice its upper end: times and ratios are then those of the band.
    `power` and `energy_after` leave the direct path out; so does a `distance_m` of None.
    A pair of positions deviates from the average. At 16 kHz, in rooms of 0.2-0.8 s, 90 % of the T30 lie within 2 % of
    the prediction, with a high-pass within 5 %; C50 and DRR within 1.5 dB.
    Tables are good to 1e-4 down to -60 dB where walls are alike, to 1e-3 down to -35 dB where they differ fiftyfold.
    Absorption counts as 0.999999 at most.

Source
    The idea is that of E. Lehmann, A. Johansson, "Prediction of energy decay in room impulse responses simulated with
    an image-source model", JASA 124(1), 2008, and, for the tail, "Diffuse reverberation model for efficient
    image-source simulation of room impulse responses", IEEE Trans. Audio, Speech, Lang. Process. 18(6), 2010. The terms
    above were derived anew; averages of exact sums over 240 pairs of positions agree to 0.3 dB (absorption 0.2, 0.3).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from augment.images import SPEED_OF_SOUND
from manifests.compiled import kernel

__all__ = ["Decay", "few_reflections", "walls_for", "with_tail"]

Float = npt.NDArray[np.float64]
Signal = npt.NDArray[np.float32]

DEPTH_DB = 100.0
MOST_ABSORPTION = 0.99
FEW_REFLECTIONS_ABSORPTION = 0.85
EDT_DIRECT_DB = 4.0

_SEGMENTS, _INTERVALS = 8, 48  # of the tables: so many intervals are equal, the next ones twice as long
_FINE = 16
_WIDEST = 50  # the slowest axis counts as at least this part of all, which bounds the length of the tables
_NODES = 16
_FIT_POINTS = 32
_LEAST_REFLECTION = 1e-6
_STEPS = 8
_TOLERANCE = 1e-3

_FADE_S = 0.005
_MATCHED_S = 0.05
_SPARSE_S = 0.01
_MATCH = 2 / 3


class _Averages(NamedTuple):
    """At growing paths: < > of exp(-r kappa) and of exp(-r kappa / 2), and < >_a of exp(-r kappa), (3, paths)."""

    path_m: Float
    whole: Float
    half: Float
    planes: Float


class _Curve(NamedTuple):
    """At growing times: energy per second, its part that is the mean of h, and energy to come."""

    time_s: Float
    power: Float
    mean: Float
    left: Float


@dataclass(frozen=True, kw_only=True)
class Decay:
    """A room's decay. ValueError for sizes that are not positive, and for walls that all absorb nothing."""

    size_m: Sequence[float]
    absorption: Sequence[float]
    sample_rate: int
    lowest_hz: float = 0.0
    air_db_per_m: float = 0.0

    def __post_init__(self) -> None:
        if len(self.size_m) != 3 or not all(0 < side < math.inf for side in self.size_m):
            raise ValueError(f"size_m must be three positive lengths, got {list(self.size_m)}")
        if len(self.absorption) != 6 or not all(0 <= a <= 1 for a in self.absorption):
            raise ValueError(f"absorption must be six values between 0 and 1, got {list(self.absorption)}")
        if not any(self.absorption):
            raise ValueError("absorption must be above 0 for some wall, else the room does not decay")
        if not 0 <= self.lowest_hz < self.sample_rate / 2:
            raise ValueError(f"lowest_hz must be at least 0 and below sample_rate / 2, got {self.lowest_hz}")
        if not 0 <= self.air_db_per_m < math.inf:
            raise ValueError(f"air_db_per_m must not be negative, got {self.air_db_per_m}")

    def power(self, time_s: npt.ArrayLike) -> Float:
        """Energy per second at times after emission, of the shape of `time_s`."""
        return np.exp(_continued(time_s, self._curve.time_s, np.log(self._curve.power)))

    def energy_after(self, time_s: npt.ArrayLike) -> Float:
        """Energy to come at times after emission, of the shape of `time_s`."""
        return np.exp(_continued(time_s, self._curve.time_s, np.log(self._curve.left)))

    def direct_energy(self, distance_m: float) -> float:
        if not 0 < distance_m < math.inf:
            raise ValueError(f"distance_m must be positive, got {distance_m}")
        kept = 1 - 2 * self.lowest_hz / self.sample_rate
        return kept * 10 ** (-self.air_db_per_m * distance_m / 10) / (4 * math.pi * distance_m) ** 2

    def time_left_s(self, depth_db: float, distance_m: float | None = None) -> float:
        """When the energy to come is `depth_db` below the whole."""
        start, whole = self._start(distance_m, self._curve)
        depth = 10 * np.log10(whole / self._curve.left)
        return max(start, float(_continued(depth_db, depth, self._curve.time_s)))

    def rt60_s(self, distance_m: float | None = None) -> float | None:
        """T30. None where the decay does not reach -35 dB."""
        return self._decay_time(distance_m, 5.0, 35.0)

    def edt_s(self, distance_m: float | None = None) -> float | None:
        """Early decay time, from 0 to -10 dB. None where 4 dB of them or more are the direct path's: the first
        reflections decide then, and those are not the average.
        """
        start, whole = self._start(distance_m, self._curve)
        if whole > 10 ** (EDT_DIRECT_DB / 10) * float(self.energy_after(start)):
            return None
        return self._decay_time(distance_m, 0.0, 10.0)

    def c50_db(self, distance_m: float) -> float:
        """Energy up to 50 ms after the direct path, over the energy after."""
        return self._ratio_db(distance_m, 0.05)

    def drr_db(self, distance_m: float) -> float:
        """Energy up to 2.5 ms after the direct path, over the energy after."""
        return self._ratio_db(distance_m, 0.0025)

    def _ratio_db(self, distance_m: float, window_s: float) -> float:
        _, whole = self._start(distance_m, self._curve)
        after = float(self.energy_after(distance_m / SPEED_OF_SOUND + window_s))
        return 10 * math.log10((whole - after) / after)

    def _decay_time(
        self, distance_m: float | None, upper_db: float, lower_db: float, scale: float | None = None
    ) -> float | None:
        curve = self._curve if scale is None else self._scaled(scale)
        start, whole = self._start(distance_m, curve)
        found = _line(curve.time_s, curve.left, start, whole, upper_db, lower_db)
        return found if found > 0 else None

    def _start(self, distance_m: float | None, curve: _Curve) -> tuple[float, float]:
        """When the direct path arrives, and the whole energy."""
        if distance_m is None:
            return 0.0, float(curve.left[0])
        start = distance_m / SPEED_OF_SOUND
        return start, self.direct_energy(distance_m) + float(np.interp(start, curve.time_s, curve.left))

    @functools.cached_property
    def _losses(self) -> Float:
        """-ln R of the low and the high wall of each axis, (3, 2)."""
        reflection = 1 - np.reshape(np.asarray(self.absorption, np.float64), (3, 2))
        return np.asarray(-np.log(np.maximum(_LEAST_REFLECTION, reflection)))

    @functools.cached_property
    def _averages(self) -> _Averages:
        return _averages(self._losses.sum(axis=1) / 2 / self.size_m)

    @functools.cached_property
    def _curve(self) -> _Curve:
        return self._scaled(1.0)

    def _scaled(self, scale: float) -> _Curve:
        """With R ** scale for every R: at a path 1 / scale as long all averages are the same."""
        averages = self._averages
        path = averages.path_m / scale
        spread, mean = _power(
            path,
            averages.whole,
            averages.half,
            averages.planes,
            np.asarray(self.size_m, np.float64),
            scale * self._losses,
            float(self.sample_rate),
            float(self.lowest_hz),
            self.air_db_per_m * math.log(10) / 10,
            SPEED_OF_SOUND,
        )
        power = spread + mean
        power[0] = 1e-9 * power[1]  # it is 0, but has a logarithm
        return _Curve(path / SPEED_OF_SOUND, power, mean, _integral(path / SPEED_OF_SOUND, power))


# ------------------------------------------------------------------------------------------------------------ energy


@kernel(error_model="numpy")
def _power(
    path: Float,
    whole: Float,
    half: Float,
    planes: Float,
    size: Float,
    losses: Float,
    rate: float,
    lowest: float,
    air: float,
    c: float,
) -> Float:
    """First and third term, and the second: (2, paths), no direct path. `losses` are -ln R, `air` is per metre."""
    volume = size[0] * size[1] * size[2]
    per_side = 1 / size[0] + 1 / size[1] + 1 / size[2]
    diagonal = 1 / size[0] ** 2 + 1 / size[1] ** 2 + 1 / size[2] ** 2
    excess, mean_excess = _excess(losses), _excess(losses / 2)
    loss, reflection, first = np.empty(3), np.empty(3), np.empty(3)
    for a in range(3):
        low, high = losses[a]
        loss[a] = (low + high) / 2 / size[a]
        reflection[a] = (math.exp(-low) + math.exp(-high)) / 2
        first[a] = min(rate / 2, max(lowest, c / 4 * math.sqrt(diagonal - 1 / size[a] ** 2)))
    power = np.zeros((2, path.size))
    for i in range(path.size):
        r = path[i]
        built = 1 - math.exp(-r / 2 * per_side)
        total = (1 - 2 * lowest / rate) * whole[i] * c / (4 * math.pi * volume)
        direct = 1.0
        for a in range(3):
            b = c * r * loss[a] ** 2 / 6
            waves = math.log((rate / 2 + b) / (first[a] + b))
            total += c**2 / (8 * math.pi * rate * volume * size[a]) * planes[a, i] * waves
            beyond = min(1.0, r / (2 * size[a]))
            direct *= (1 - beyond) / (1 - beyond * (1 - reflection[a]))
        kept = (1 - direct) * math.exp(-r * air)
        power[0, i] = kept * total * (1 + built * excess)
        if lowest == 0:
            power[1, i] = kept * (c / volume * r * half[i] * (1 + built * mean_excess)) ** 2 / rate
    return power


@kernel(error_model="numpy")
def _excess(losses: Float) -> float:
    """F - 1."""
    product = 1.0
    for a in range(3):
        loss = max(1e-9, (losses[a, 0] + losses[a, 1]) / 2)
        steps = 1 + math.exp(-losses[a, 0]) + math.exp(-losses[a, 1]) + math.exp(-2 * loss)
        product *= loss / 2 * steps / -math.expm1(-2 * loss)
    return product - 1


@kernel(error_model="numpy")
def _integral(time: Float, power: Float) -> Float:
    """From each time to infinity, going on as it ends: trapezoids, less the first term of Euler and Maclaurin."""
    last = power.size - 1
    left = np.empty(power.size)
    left[last] = power[last] * (time[last] - time[last - 1]) / math.log(power[last - 1] / power[last])
    slope = (power[last] - power[last - 1]) / (time[last] - time[last - 1])
    for i in range(last - 1, -1, -1):
        step, before = time[i + 1] - time[i], max(0, i - 1)
        here = (power[i + 1] - power[before]) / (time[i + 1] - time[before])
        left[i] = left[i + 1] + step * ((power[i] + power[i + 1]) / 2 - step * (slope - here) / 12)
        slope = here
    return left


@kernel(error_model="numpy")
def _line(time: Float, left: Float, start: float, whole: float, upper_db: float, lower_db: float) -> float:
    """A line through the decay between two depths, by least squares, taken to 60 dB; 0 where it is not that deep."""
    depth = np.empty(left.size)
    for i in range(left.size):
        depth[i] = 10 * math.log10(whole / left[i])
    first = max(start, _crossing(time, depth, upper_db))
    last = _crossing(time, depth, lower_db)
    if not first < last:
        return 0.0
    products, squares, i = 0.0, 0.0, 0
    for n in range(_FIT_POINTS):
        along = (n + 0.5) / _FIT_POINTS
        at = first + (last - first) * along
        while i < time.size - 2 and time[i + 1] < at:
            i += 1
        value = depth[i] + (depth[i + 1] - depth[i]) * (at - time[i]) / (time[i + 1] - time[i])
        products += (along - 0.5) * value
        squares += (along - 0.5) ** 2
    return float(60 * (last - first) * squares / products)


@kernel(error_model="numpy")
def _crossing(time: Float, depth: Float, level: float) -> float:
    """When a rising sequence reaches a level; -1 where it does not."""
    if depth[0] >= level:
        return 0.0
    for i in range(1, depth.size):
        if depth[i] >= level:
            past = (depth[i] - level) / (depth[i] - depth[i - 1])
            return float(time[i] - past * (time[i] - time[i - 1]))
    return -1.0


def _continued(x: npt.ArrayLike, points: Float, values: Float) -> Float:
    """Linear interpolation; beyond the last point the line through the last two."""
    at = np.asarray(x, np.float64)
    slope = (values[-1] - values[-2]) / (points[-1] - points[-2])
    return np.asarray(np.interp(at, points, values) + slope * np.maximum(0, at - points[-1]))


# -------------------------------------------------------------------------------------------------------- directions


def _averages(rates: Float) -> _Averages:
    """Down to `DEPTH_DB` below 1. Angles are from the slowest axis, around which late energy gathers."""
    slow, middle, fast = sorted(rates.tolist())
    first, second, third, weight = _sphere()
    kappa = slow * first + middle * second + fast * third
    all_axes = math.hypot(slow, middle, fast)
    path = _paths()
    step = _reach(kappa, weight, all_axes, max(slow, all_axes / _WIDEST)) / path[-1]
    cosine, sine, plane_weight = _plane()
    planes = np.empty((3, path.size))
    for a in range(3):
        low, high = sorted(np.delete(rates, a).tolist())
        planes[a] = _decays(low * cosine + high * sine, plane_weight, step)
    return _Averages(step * path, _decays(kappa, weight, step), _decays(kappa, weight, step / 2), planes)


@kernel(error_model="numpy")
def _reach(kappa: Float, weight: Float, highest: float, lowest: float) -> float:
    """The path after which the mean of exp(-r kappa) is `DEPTH_DB` below 1, to a few per cent."""
    depth = DEPTH_DB * math.log(10) / 10
    low, high = depth / highest, depth / lowest
    for _ in range(5):
        middle = math.sqrt(low * high)
        if (weight * np.exp(-middle * kappa)).sum() > math.exp(-depth):
            low = middle
        else:
            high = middle
    return high


@kernel(error_model="numpy")
def _decays(kappa: Float, weight: Float, step: float) -> Float:
    """The weighted mean of exp(-r kappa) at the paths r that begin with `step`: powers of few exponentials."""
    mean = np.zeros(_SEGMENTS * _INTERVALS + 1)
    powers = np.empty(_FINE)
    for n in range(kappa.size):
        value, first = weight[n], 0
        for segment in range(_SEGMENTS):
            factor = math.exp(-step * 2.0**segment * kappa[n])
            powers[0] = 1.0
            for j in range(1, _FINE):
                powers[j] = powers[j - 1] * factor
            for i in range(first, first + _INTERVALS, _FINE):
                for j in range(_FINE):
                    mean[i + j] += value * powers[j]
                value *= powers[_FINE - 1] * factor
            first += _INTERVALS
        mean[first] += value
    return mean


@functools.cache
def _paths() -> Float:
    """In first steps."""
    return np.append(0.0, np.cumsum(np.repeat(2.0 ** np.arange(_SEGMENTS), _INTERVALS)))


@functools.cache
def _plane() -> tuple[Float, Float, Float]:
    """Cosine, sine and weight of angles in a quadrant: Gauss-Legendre in their square root, thus denser towards 0."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    root = (nodes + 1) / 2
    angle = math.pi / 2 * root**2
    return np.cos(angle), np.sin(angle), root * weights


@functools.cache
def _sphere() -> tuple[Float, Float, Float, Float]:
    """Components and weight of directions in an octant, denser towards the first axis, and of the others the second."""
    cosine, sine, weight = _plane()
    first, second, third = np.repeat(cosine, _NODES), np.outer(sine, cosine), np.outer(sine, sine)
    return first, second.ravel(), third.ravel(), np.outer(math.pi / 2 * weight * sine, weight).ravel()


# ------------------------------------------------------------------------------------------------------------- walls


def walls_for(
    rt60_s: float,
    size_m: Sequence[float],
    weights: Sequence[float] = (1.0,) * 6,
    *,
    sample_rate: int,
    distance_m: float | None = None,
    lowest_hz: float = 0.0,
    air_db_per_m: float = 0.0,
) -> tuple[float, ...] | None:
    """Absorption 1 - exp(-s weight) of each wall, s such that the predicted T30 is `rt60_s`.

    None where the walls would have to absorb more than 0.99 (mean over their area), or no walls do it: the air alone
    absorbs more, or the direct path stands out too far.
    """
    if not 0 < rt60_s < math.inf:
        raise ValueError(f"rt60_s must be positive, got {rt60_s}")
    if len(weights) != 6 or not all(0 <= w < math.inf for w in weights) or not any(weights):
        raise ValueError(f"weights must be six values that are not negative, one of them positive, got {list(weights)}")
    decay = Decay(
        size_m=size_m,
        absorption=[1 - math.exp(-w) for w in weights],
        sample_rate=sample_rate,
        lowest_hz=lowest_hz,
        air_db_per_m=air_db_per_m,
    )
    scale = _scale(decay, rt60_s, distance_m)
    if scale is None:
        return None
    walls = tuple(1 - math.exp(-scale * w) for w in weights)
    return walls if _mean_absorption(size_m, walls) <= MOST_ABSORPTION else None


def _scale(decay: Decay, rt60_s: float, distance_m: float | None) -> float | None:
    """Secant steps in logarithms; the first takes T30 as proportional to 1 / scale."""
    at, slope = 0.0, -1.0
    before: tuple[float, float] | None = None
    for _ in range(_STEPS):
        found = decay._decay_time(distance_m, 5.0, 35.0, math.exp(at))
        if found is None:
            return None
        error = math.log(found / rt60_s)
        if abs(error) < _TOLERANCE:
            return math.exp(at)
        if before is not None:
            slope = min(-0.3, max(-3.0, (error - before[1]) / (at - before[0])))
        before = (at, error)
        at -= error / slope
    return None


def few_reflections(size_m: Sequence[float], absorption: Sequence[float]) -> bool:
    """Whether T30 is that of a handful of reflections: mean absorption above 0.85.

    The prediction then is within 10 % in half of the rooms, and corrections do not bring a quarter of them there.
    """
    return _mean_absorption(size_m, absorption) > FEW_REFLECTIONS_ABSORPTION


def _mean_absorption(size_m: Sequence[float], walls: Sequence[float]) -> float:
    length, width, height = size_m
    areas = [width * height] * 2 + [length * height] * 2 + [length * width] * 2
    return sum(a * s for a, s in zip(walls, areas, strict=True)) / sum(areas)


# -------------------------------------------------------------------------------------------------------------- tail


def with_tail(early: Signal, *, decay: Decay, onset_samples: int, after_s: float, noise: Signal) -> Signal:
    """An approximation: `early` (microphones, taps) up to `after_s` past the onset, then noise that decays alike.

    `noise` (microphones, taps) is Gaussian, white, of variance 1; the result has its length. Where microphones are
    close to one another it should be coherent as in a spherical field (`augment.diffuse`), at one place the same.
    The two are faded into one another over the last 5 ms, with equal power; the mean of h goes on, alike everywhere.
    The level is that of `power`, moved two thirds of the way (in dB) to what `early` has in its last 50 ms.
    Not reproduced: flutter echoes and other order in the late images, low resonances, directions that decay slower.
    """
    stop = onset_samples + round(after_s * decay.sample_rate)
    if early.ndim != 2 or noise.ndim != 2 or len(noise) != len(early):
        raise ValueError(f"noise must have as many rows as early, got the shapes {noise.shape} and {early.shape}")
    if not 0 <= onset_samples < stop <= min(early.shape[1], noise.shape[1]):
        raise ValueError(
            f"onset_samples + after_s must lie within the {early.shape[1]} taps of early and the {noise.shape[1]} of "
            f"noise, got {onset_samples} taps + {after_s} s"
        )
    time = np.arange(noise.shape[1]) / decay.sample_rate
    mean, spread = _moments(decay, time)
    past = np.clip((time - time[stop - 1]) / _FADE_S + 1, 0, 1) * (math.pi / 2)
    begin = onset_samples + round(_SPARSE_S * decay.sample_rate)
    last = slice(max(begin, stop - round(_MATCHED_S * decay.sample_rate)), stop)
    level = _level(early[:, last] - mean[last], spread[last])
    out = noise * (level * spread * np.sin(past)) + mean * (1 - np.cos(past))
    out[:, :stop] += early[:, :stop] * np.cos(past[:stop])
    return np.asarray(out, dtype=np.float32)


def _moments(decay: Decay, time_s: Float) -> tuple[Float, Float]:
    """Mean and standard deviation of the taps at times after emission."""
    curve = decay._curve
    share = np.interp(time_s, curve.time_s, curve.mean / curve.power)
    variance = decay.power(time_s) / decay.sample_rate
    return np.sqrt(share * variance), np.sqrt((1 - share) * variance)


def _level(early: Float, spread: Float) -> float:
    """What to multiply the standard deviation with."""
    found, expected = float(np.mean(early**2)) if early.size else 0.0, float(np.mean(spread**2)) if spread.size else 0.0
    return (found / expected) ** (_MATCH / 2) if found > 0 and expected > 0 else 1.0
