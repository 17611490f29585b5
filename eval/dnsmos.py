"""DNSMOS: the scores that listeners would give an estimate, predicted by Microsoft's networks without a reference.

Conventions
    Signals are one-dimensional float64 at 16 kHz, nominal range +-1. Scores are MOS on a scale of 1 to 5, higher is
    better; the polynomials may leave that range, and the caller clamps. Networks run on one thread in float32, one
    window at a time: a score does not depend on what else runs. Across processors it moves by up to 1e-3.

    dnsmos_sig, _bak, _ovrl      P.835: speech, background, overall. The waveform, sig_bak_ovr.onnx (2022).
    pdnsmos_sig, _bak, _ovrl     The same for personalised systems: another talker counts as noise.
    dnsmos2021_sig, _bak, _ovrl  The models of 2021, sig.onnx and bak_ovr.onnx, on a log power spectrogram. CHiME-7
                                 UDASE used them: their numbers and those of 2022 are a whole point apart.
    dnsmos_p808                  P.808: one overall score. A log mel spectrogram relative to its maximum, model_v8.onnx.
    each + _lufs30               The same after the estimate was brought to -30 LUFS.

    Windows begin a second apart and last 9.01 s (9 s: 2021). A shorter clip is appended to itself, doubling, until it
    is long enough. A score is the mean over windows of each window's polynomial.

    All but P.808 move with level: clean speech loses 0.75 of OVRL at -20 dB. `_lufs30` takes that away. As it is
    heard, an estimate beyond +-1 is scaled to a peak of 1 and flagged `peak_scaled`.

Undefined
    dnsmos2021 below 2 s (`under_2_s`), as in the scripts of Microsoft and UDASE. `_lufs30` below 0.4 s (`under_0.4_s`),
    and of an estimate with no block above the gate of -70 LUFS when its peak is 0.7 (`no_loudness`): almost all of it
    lies below 1 Hz. The scripts stop at the first, and feed NaN for the second.

Source
    Reddy, Gopal and Cutler, "DNSMOS: a non-intrusive perceptual objective speech quality metric to evaluate noise
    suppressors" (2021) and "DNSMOS P.835" (2022). Windows, polynomials and features are those of dnsmos_local.py in
    microsoft/DNS-Challenge, the 2021 ones as of commit 6017eee; -30 LUFS is of Leglaive et al., "The CHiME-7 UDASE
    task" (2023).
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.loudness import loudness_lufs
from eval.outcome import EstimateFault, TooShort

__all__ = ["NAMES", "RATE", "Estimate", "MissingModels", "Models", "mel_spectrogram", "missing", "scores"]

Signal = NDArray[np.float64]
Features = NDArray[np.float64]

RATE = 16000
_QUIET = "_lufs30"
_TARGET_LUFS = -30.0
_PEAK = 0.7  # what UDASE scales to before it measures, so that a faint estimate passes the gate
_INSTALL = "pip install 'hubbub[dnsmos]'"


# ---------------------------------------------------------------------------------------------------------- models


class MissingModels(FileNotFoundError):
    """A package or a file that a score needs is not there; the message says which."""


_FOLDERS = {"dnsmos": ("dnsmos_models", "DNSMOS"), "pdnsmos": ("pdnsmos_models", "pDNSMOS")}
"""Where a model lies: in the package speechmos, and in the repository microsoft/DNS-Challenge."""


@dataclass(frozen=True)
class Models:
    """Where the ONNX files are: `folder` with the sub-folders `DNSMOS` and `pDNSMOS` (or `dnsmos_models` and
    `pdnsmos_models`), or the package speechmos, which is located and never imported.
    """

    folder: str | None = None

    def path(self, name: str) -> str:
        """The file that the score `name` is computed with, for the record and its digest."""
        if reason := missing(name, self):
            raise MissingModels(reason)
        found = self._find(_column(name).model)
        assert found is not None
        return found

    def root(self) -> str | None:
        if self.folder is not None:
            return self.folder
        package = importlib.util.find_spec("speechmos")
        return None if package is None or package.origin is None else os.path.dirname(package.origin)

    def _find(self, model: tuple[str, str]) -> str | None:
        kind, file = model
        paths = [os.path.join(self.root() or "", folder, file) for folder in _FOLDERS[kind]]
        return next((path for path in paths if os.path.isfile(path)), None)


SPEECHMOS = Models()


def missing(name: str, models: Models = SPEECHMOS) -> str | None:
    """What must be there for the score `name` and is not, or None. Nothing is loaded."""
    model = _column(name).model
    if importlib.util.find_spec("onnxruntime") is None:
        return f"needs onnxruntime: {_INSTALL}"
    root = models.root()
    if root is None:
        return f"needs speechmos: {_INSTALL}"
    return None if models._find(model) else f"needs {_FOLDERS[model[0]][1]}/{model[1]} in {root}"


@functools.cache
def _session(path: str) -> Any:
    """One session per process and file, on one thread: sums in another order would be other numbers."""
    import onnxruntime

    _share_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: the models' age alone makes it warn
    options.add_session_config_entry("session.use_env_allocators", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@functools.cache
def _share_memory() -> None:
    """One pool of 190 MB for all sessions, where each would keep its own. Without a pool they take a third longer."""
    import onnxruntime as ort

    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(kind, None)


# -------------------------------------------------------------------------------------------------------- features

_HOP = 160
_MELS = 120
_MEL_FRAME = 321
_POWER_FRAME = 320
_DECIBELS = 80.0  # below the maximum
_MEL_FLOOR = 1e-10
_POWER_FLOOR = 1e-12


def _waveform(window: Signal) -> Features:
    return window


def mel_spectrogram(window: Signal) -> Features:
    """(frames, 120): power of Slaney's mel bands in dB below the largest, at most 80, mapped to [-1, 1].

    It is level-invariant while the largest band has a power of 0.01 or more; below, the floor of 1e-10 shows.
    """
    bands = np.maximum(_power(window, _MEL_FRAME) @ _mel_filters().T, _MEL_FLOOR)
    return np.asarray((np.maximum(10.0 * np.log10(bands / bands.max()), -_DECIBELS) + 40.0) / 40.0)


def _heard_by_p808(window: Signal) -> Features:
    return mel_spectrogram(window[:-_HOP])


def _log_power(window: Signal) -> Features:
    """(frames, 161): log10 of the power, at least -12."""
    return np.log10(np.maximum(_power(window, _POWER_FRAME), _POWER_FLOOR))


def _power(x: Signal, size: int) -> Features:
    """(frames, bins): power of Hann frames, the first around sample 0, zeros beyond the ends."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, size // 2), size)[::_HOP]
    spectra = np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)))
    return np.asarray(spectra.real**2 + spectra.imag**2)


@functools.cache
def _mel_filters() -> Features:
    """(bands, bins): triangles from 0 to 8 kHz, evenly spaced on Slaney's mel scale, each of area 1."""
    corners = _mel_to_hz(np.linspace(0.0, _hz_to_mel(RATE / 2), _MELS + 2))
    bins = np.arange(_MEL_FRAME // 2 + 1) * RATE / _MEL_FRAME
    low, centre, high = (corners[i : i + _MELS, None] for i in range(3))
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return np.asarray(np.maximum(triangles, 0.0) * 2.0 / (high - low))


_LINEAR_HZ = 1000.0  # 15 mel; below, a mel is 200/3 Hz, above, 27 mel are a factor of 6.4
_LINEAR_MEL = 15.0
_OCTAVES = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    """Above 1 kHz."""
    return float(_LINEAR_MEL + np.log(hz / _LINEAR_HZ) / _OCTAVES)


def _mel_to_hz(mel: Signal) -> Signal:
    return np.where(
        mel < _LINEAR_MEL, mel * _LINEAR_HZ / _LINEAR_MEL, _LINEAR_HZ * np.exp(_OCTAVES * (mel - _LINEAR_MEL))
    )


# --------------------------------------------------------------------------------------------------------- windows


def _windows(x: Signal, seconds: float) -> Iterator[Signal]:
    """The windows that Microsoft's script scores.

    It drops a window whose end, (start + 9.01) 16000 in float64, rounds to less than a whole number of samples: those
    that begin 7 to 23 s and 119 to 122 s into the clip. Of a clip of 30 s only the first 15 s are heard. Published
    scores have it so; at 9 s everything is exact and nothing is dropped.
    """
    length = int(seconds * RATE)
    while x.size < length:
        x = np.concatenate([x, x])
    for start in range(int(x.size // RATE - seconds) + 1):
        if int((start + seconds) * RATE) - start * RATE == length:
            yield x[start * RATE : start * RATE + length]


# --------------------------------------------------------------------------------------------------------- columns


@dataclass(frozen=True)
class _Column:
    """One score: an output of a network on features of windows, and the polynomial (highest power first) after it."""

    model: tuple[str, str]
    output: int
    polynomial: tuple[float, ...]
    features: Callable[[Signal], Features] = _waveform
    window_s: float = 9.01
    least_s: float = 0.0


_P835 = ("dnsmos", "sig_bak_ovr.onnx")
_PERSONAL = ("pdnsmos", "sig_bak_ovr.onnx")
_SIG_2021 = (7.572372955623894730e-02, 6.592637550310214145e-01, 9.651228012789436761e-01)
_BAK_2021 = (-1.721332907340922813e-01, 2.700114234092929166e00, -3.733460011101781717e00)
_OVRL_2021 = (7.600269530243179694e-02, 6.609981731940616223e-01, 8.924546794696789354e-01)


def _of_2021(file: str, output: int, polynomial: tuple[float, ...]) -> _Column:
    return _Column(("dnsmos", file), output, polynomial, _log_power, window_s=9.0, least_s=2.0)


_COLUMNS = {
    "dnsmos_sig": _Column(_P835, 0, (-0.08397278, 1.22083953, 0.0052439)),
    "dnsmos_bak": _Column(_P835, 1, (-0.13166888, 1.60915514, -0.39604546)),
    "dnsmos_ovrl": _Column(_P835, 2, (-0.06766283, 1.11546468, 0.04602535)),
    "pdnsmos_sig": _Column(_PERSONAL, 0, (-0.01019296, 0.02751166, 1.19576786, -0.24348726)),
    "pdnsmos_bak": _Column(_PERSONAL, 1, (-0.04976499, 0.44276479, -0.1644611, 0.96883132)),
    "pdnsmos_ovrl": _Column(_PERSONAL, 2, (-0.00533021, 0.005101, 1.18058466, -0.11236046)),
    "dnsmos2021_sig": _of_2021("sig.onnx", 0, _SIG_2021),
    "dnsmos2021_bak": _of_2021("bak_ovr.onnx", 1, _BAK_2021),
    "dnsmos2021_ovrl": _of_2021("bak_ovr.onnx", 2, _OVRL_2021),
    "dnsmos_p808": _Column(("dnsmos", "model_v8.onnx"), 0, (1.0, 0.0), _heard_by_p808),
}

NAMES = (*_COLUMNS, *(name + _QUIET for name in _COLUMNS))
"""All scores, by the names of the catalogue."""


def _column(name: str) -> _Column:
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
    return _COLUMNS[name.removesuffix(_QUIET)]


# ---------------------------------------------------------------------------------------------------------- scores


@dataclass(frozen=True, eq=False)
class Estimate:
    """One estimate, and what the networks said of it: each runs once, when the first of its scores is asked for."""

    signal: Signal
    models: Models = SPEECHMOS
    _answers: dict[tuple[str, bool], NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, *, estimate: ArrayLike, sample_rate: int, models: Models = SPEECHMOS) -> Estimate:
        signal = np.asarray(estimate, dtype=np.float64)
        if sample_rate != RATE:
            raise ValueError(f"sample_rate must be {RATE} for DNSMOS, got {sample_rate}")
        if signal.ndim != 1 or signal.size == 0:
            raise ValueError(f"estimate must have shape (samples,) and not be empty, got {signal.shape}")
        return cls(signal, models)

    @functools.cached_property
    def peak(self) -> float:
        return float(np.abs(self.signal).max())

    def score(self, name: str) -> float:
        """One score. Raises `TooShort` or `EstimateFault` where it is undefined, `MissingModels` where it cannot be."""
        column, quiet = _column(name), name.endswith(_QUIET)
        path = self.models.path(name)
        if self.signal.size < column.least_s * RATE:
            raise TooShort(f"under_{column.least_s:g}_s")
        if (path, quiet) not in self._answers:
            self._answers[path, quiet] = _answers(column, path, self._quiet if quiet else self._heard)
        return float(np.polyval(column.polynomial, self._answers[path, quiet][:, column.output]).mean())

    def flags(self, name: str) -> tuple[str, ...]:
        """`peak_scaled` where the score is of the estimate at a peak of 1."""
        return ("peak_scaled",) if self.peak > 1.0 and not name.endswith(_QUIET) else ()

    @functools.cached_property
    def _heard(self) -> Signal:
        return self.signal / self.peak if self.peak > 1.0 else self.signal

    @functools.cached_property
    def _quiet(self) -> Signal:
        """At -30 LUFS. Its peak may lie beyond 1: nothing is clipped here, so nothing is scaled back."""
        if self.signal.size < 0.4 * RATE:
            raise TooShort("under_0.4_s")
        loud = self.signal * (_PEAK / self.peak) if self.peak else self.signal
        level = loudness_lufs(signal=loud, sample_rate=RATE)
        if level is None:
            raise EstimateFault("no_loudness")
        return np.asarray(loud * 10.0 ** ((_TARGET_LUFS - level) / 20.0))


def _answers(column: _Column, path: str, signal: Signal) -> NDArray[np.float64]:
    """(windows, outputs): what the network says before the polynomial."""
    session = _session(path)
    name = session.get_inputs()[0].name
    features = (column.features(window).astype(np.float32)[None] for window in _windows(signal, column.window_s))
    return np.concatenate([session.run(None, {name: each})[0] for each in features]).astype(np.float64)


def scores(
    *, estimate: ArrayLike, sample_rate: int, names: Sequence[str], models: Models = SPEECHMOS
) -> dict[str, float]:
    """The scores `names` of one estimate. Only the networks that they need are run."""
    heard = Estimate.of(estimate=estimate, sample_rate=sample_rate, models=models)
    return {name: heard.score(name) for name in names}
