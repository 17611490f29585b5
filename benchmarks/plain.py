"""The peers: generation and scoring as a plain loop, the way a competent user of the packages writes it.

No Python loop runs over samples, RIR files are read once, vectorised calls are used throughout, and one thread is what
everybody gets. What the loop leaves out: exact sums of stems, P.56 levels, five kinds of SNR, room measures, hashes.

Conventions
    float64, shape (samples,), as soundfile reads by default. Levels and SNRs are whole-file RMS.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import pyroomacoustics as pra
import soundfile as sf
from numpy.typing import NDArray
from pesq import PesqError, pesq
from pystoi import stoi
from scipy.signal import fftconvolve

from manifests.schema import Plan, Source

__all__ = ["Mixture", "bss_eval_sdr", "generate", "mixture", "pesq_wb", "score", "si_sdr", "stoi_both"]

Signal = NDArray[np.float64]

PEAK = 0.9
GENERATOR = f"soundfile {version('soundfile')} + fftconvolve of scipy {version('scipy')}"
CONVOLVER = f"fftconvolve of scipy {version('scipy')}, float64"
ROOM_GENERATOR = f"{GENERATOR} + pyroomacoustics {version('pyroomacoustics')}"
PESQ = f"pesq {version('pesq')}"
SCORER = f"{PESQ} + pystoi {version('pystoi')} + mir_eval {version('mir_eval')}"


# ------------------------------------------------------------------------------------------------------ generation


@dataclass(frozen=True)
class Mixture:
    """What is to be mixed: files, numbers, and either RIR files, a room, or neither. Lists are by talker.

    `tracks_m` holds the way of each talker; one position where it stands still.
    """

    mixture_id: str
    speech: list[str]
    noise: str
    noise_start: int
    frames: int
    snr_db: float
    level_dbfs: float
    sir_db: list[float]
    early_ms: float
    rirs: Sequence[str] = ()
    size_m: Sequence[float] = ()
    rt60_s: float = 0.0
    tracks_m: Sequence[Sequence[Sequence[float]]] = ()
    microphones_m: Sequence[Sequence[float]] = ()


def mixture(plan: Plan, sources: dict[str, Source]) -> Mixture:
    """The same mixture as a row of our plan."""
    (noise,), room, first = plan.noises, plan.room, plan.talkers[0]
    common: dict[str, Any] = {
        "mixture_id": plan.mixture_id,
        "speech": [sources[talker.segments[0].source_id].uri for talker in plan.talkers],
        "noise": sources[noise.source_id].uri,
        "noise_start": noise.segments[0].start,
        "frames": plan.frames,
        "snr_db": noise.snr_db,
        "level_dbfs": first.level_dbfs,
        "sir_db": [talker.sir_db or 0.0 for talker in plan.talkers],
        "early_ms": plan.early_ms,
    }
    if room is None:
        return Mixture(**common)
    if room.array is None:
        return Mixture(**common, rirs=[sources[str(talker.rir_source_id)].uri for talker in plan.talkers])
    return Mixture(
        **common,
        size_m=room.size_m or [],
        rt60_s=room.rt60_requested_s or 0.0,
        tracks_m=[talker.trajectory_m or [talker.position_m or []] for talker in plan.talkers],
        microphones_m=room.array.positions_m,
    )


def generate(mixtures: Sequence[Mixture], out: str, subtype: str, *, seek: bool = False) -> None:
    """Mixtures and their early targets as FLAC in one Parquet file. `seek`: read only the part of a noise that is used,
    which most loops do not.
    """
    rows = []
    for wanted in mixtures:
        x, target, rate = _mix(wanted, seek)
        rows.append(
            {
                "id": wanted.mixture_id,
                "snr_db": wanted.snr_db,
                "level_dbfs": wanted.level_dbfs,
                "mixture": _flac(x, rate, subtype),
                "target": _flac(target, rate, subtype),
            }
        )
    pd.DataFrame(rows).to_parquet(out)


def _mix(wanted: Mixture, seek: bool = False) -> tuple[Signal, Signal, int]:
    """Mixture and target, (channels, samples)."""
    images = []
    for number, path in enumerate(wanted.speech):
        speech, rate = sf.read(path)
        responses = _responses(wanted, number, rate)
        image = _moved(speech, responses, wanted.frames)
        level_dbfs = wanted.level_dbfs - (wanted.sir_db[number] if number else 0.0)
        gain = 10 ** (level_dbfs / 20) / _rms(image[0])
        if number == 0:
            early = [_early(h, wanted.early_ms, rate) for h in responses]
            target = gain * _moved(speech, early, wanted.frames)
        images.append(gain * image)
    noise = _noise(wanted, seek)
    noise = noise * (_rms(images[0][0]) / _rms(noise) * 10 ** (-wanted.snr_db / 20))
    x = sum(images) + noise
    peak = max(np.abs(x).max(), np.abs(target).max())
    if peak > PEAK:
        x, target = PEAK / peak * x, PEAK / peak * target
    return x, target, rate


def _responses(wanted: Mixture, number: int, rate: int) -> list[Signal]:
    """A talker's responses (channels, taps), one per point of its way."""
    if wanted.rirs:
        return [_read_rir(wanted.rirs[number])[np.newaxis]]
    if not wanted.size_m:
        return [np.ones((1, 1))]
    return [_simulate_rir(wanted, point, rate) for point in wanted.tracks_m[number]]


def _early(h: Signal, early_ms: float, rate: int) -> Signal:
    return h[:, : np.argmax(np.abs(h[0])) + round(early_ms * rate / 1000)]


def _moved(speech: Signal, responses: Sequence[Signal], frames: int) -> Signal:
    """Speech through one response, or through one after the other under triangular windows that sum to one."""
    if len(responses) == 1:
        return _convolved(speech, responses[0])[:, :frames]
    out = np.zeros((len(responses[0]), frames))
    step = frames / (len(responses) - 1)
    for number, h in enumerate(responses):
        first, last = max(0, round((number - 1) * step)), min(frames, round((number + 1) * step))
        window = np.maximum(0.0, 1 - np.abs(np.arange(first, last) / step - number))
        piece = _convolved(window * speech[first:last], h)[:, : frames - first]
        out[:, first : first + piece.shape[1]] += piece
    return out


def _convolved(x: Signal, h: Signal) -> Signal:
    return np.asarray(fftconvolve(x[np.newaxis], h, axes=-1))


def _noise(wanted: Mixture, seek: bool) -> Signal:
    start, stop = wanted.noise_start, wanted.noise_start + wanted.frames
    noise: Signal
    if seek:
        noise, _ = sf.read(wanted.noise, start=start, stop=stop)
        return noise
    noise, _ = sf.read(wanted.noise)
    return noise[start:stop]


@functools.lru_cache(maxsize=256)
def _read_rir(path: str) -> Signal:
    h: Signal = sf.read(path)[0]
    return h


def _simulate_rir(wanted: Mixture, source_m: Sequence[float], rate: int) -> Signal:
    pra.constants.set("rir_hpf_enable", True)  # its default, which hubbub's rooms may have changed in this process
    absorption, order = pra.inverse_sabine(wanted.rt60_s, wanted.size_m)
    room = pra.ShoeBox(wanted.size_m, fs=rate, materials=pra.Material(absorption), max_order=order)
    room.add_source(source_m)
    room.add_microphone_array(np.transpose(wanted.microphones_m))
    room.compute_rir()
    rirs = [row[0] for row in room.rir]
    taps = max(len(h) for h in rirs)
    return np.stack([np.pad(h, (0, taps - len(h))) for h in rirs])


def _rms(x: Signal) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _flac(x: Signal, rate: int, subtype: str) -> bytes:
    sink = io.BytesIO()
    sf.write(sink, x.T, rate, format="FLAC", subtype=subtype)
    return sink.getvalue()


# --------------------------------------------------------------------------------------------------------- scoring


def score(reference: bytes, estimate: bytes, *, with_pesq: bool = True) -> list[float]:
    """A pair of encoded signals, with the packages called one after the other: PESQ-WB, STOI, ESTOI, SI-SDR, SDR."""
    s, rate = sf.read(io.BytesIO(reference))
    e, _ = sf.read(io.BytesIO(estimate))
    scores = [*stoi_both(s, e, rate), si_sdr(s, e), bss_eval_sdr(s, e)]
    return [pesq_wb(s, e, rate), *scores] if with_pesq else scores


def pesq_wb(s: Signal, e: Signal, rate: int) -> float:
    return float(pesq(rate, s, e, "wb", on_error=PesqError.RETURN_VALUES))


def stoi_both(s: Signal, e: Signal, rate: int) -> list[float]:
    return [float(stoi(s, e, rate)), float(stoi(s, e, rate, extended=True))]


def si_sdr(s: Signal, e: Signal) -> float:
    target = np.dot(e, s) / np.dot(s, s) * s
    return float(10 * np.log10(np.sum(target**2) / np.sum((target - e) ** 2)))


def bss_eval_sdr(s: Signal, e: Signal) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # mir_eval announces the end of its separation module
        from mir_eval.separation import bss_eval_sources

        sdr, _, _, _ = bss_eval_sources(s[np.newaxis], e[np.newaxis], compute_permutation=False)
    return float(sdr[0])
