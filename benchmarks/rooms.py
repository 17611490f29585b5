"""Room impulse responses against pyroomacoustics: 3 rooms x 4 reverberation times, one microphone and 8 x 3 sources.

Ours is `rooms.simulate`, as generation calls it: images that have lost at most 70 dB by reflection, reflections without
what lies below 20 Hz, the response cut where 70 dB are left. The peer is a `ShoeBox` with the same absorption and the
order that `inverse_sabine` gives, one thread, no high-pass filter, from construction to `rir`.

Each entry says how exact our engine (`images.impulse_responses`, before the high-pass) was: `error_db` against the sum
in double precision over the same images, every one a Hann-windowed sinc; `peer_difference_db` against the peer at the
peer's order, which its own table of sincs limits to about -50 dB. `geomean_*` are geometric means over the rooms.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numba
import numpy as np
import pyroomacoustics as pra
from numpy.typing import NDArray

from augment import images, rooms
from benchmarks import measure
from manifests.schema import Array, Room

__all__ = ["dense", "run", "shoebox"]

RATE = 16000
SIZES = {"small": (4.0, 3.0, 2.5), "medium": (7.0, 5.0, 3.0), "large": (12.0, 9.0, 4.0)}
RT60_S = (0.2, 0.4, 0.6, 1.0)
PEER = f"pyroomacoustics {version('pyroomacoustics')}"
FEWER_ROUNDS = ((5.0, 1), (0.5, 3))  # seconds of the peer's first run, above which so many are enough

Positions = Sequence[Sequence[float]]


def run(*, rounds: int, quick: bool) -> dict[str, Any]:
    """All keys of this benchmark."""
    grid = [("medium", 0.2)] if quick else [(name, rt60_s) for name in SIZES for rt60_s in RT60_S]
    results: dict[str, Any] = {}
    for name, rt60_s in grid:
        results[f"{name}_rt60_{rt60_s:g}_mics_1"] = _compare(name, rt60_s, 1, 1, rounds)
    for name, rt60_s in grid:
        results[f"{name}_rt60_{rt60_s:g}_mics_8"] = _compare(name, rt60_s, 8, 3, rounds)
    for mics in (1, 8):
        results[f"geomean_mics_{mics}"] = _geomean([e for k, e in results.items() if k.endswith(f"mics_{mics}")])
    return {"corpus": {"name": "12 shoeboxes, RT60 by Sabine's formula, 16 kHz"}, "results": results}


def _compare(name: str, rt60_s: float, microphones: int, sources: int, rounds: int) -> dict[str, Any]:
    size = SIZES[name]
    absorption, order = pra.inverse_sabine(rt60_s, size)
    rng = np.random.default_rng(2026)
    talkers = [[float(v) for v in rng.uniform(0.15, 0.45, 3) * size] for _ in range(sources)]
    heard = [[float(v) for v in rng.uniform(0.55, 0.85, 3) * size] for _ in range(microphones)]
    room = shoebox(size, [absorption] * 6, heard)
    ours = functools.partial(_ours, room, talkers)
    peer = functools.partial(_peer, size, absorption, order, talkers, heard)
    began = time.process_time()
    theirs = peer()[0][0]
    first = time.process_time() - began
    ours()
    few = next((count for limit, count in FEWER_ROUNDS if first > limit), rounds)
    seconds = measure.interleaved({"ours": ours, "peer": peer}, min(rounds, few), warm=False)
    entry = measure.compared(seconds["ours"], seconds["peer"], peer_name=PEER, items=1)
    return entry | _errors(room, talkers[0], theirs, order)


def shoebox(size_m: Sequence[float], walls: Sequence[float], microphones_m: Positions, **options: Any) -> Room:
    """A room as a plan holds it."""
    array = Array(
        preset="user",
        positions_m=[list(m) for m in microphones_m],
        centre_m=list(microphones_m[0]),
        rotation_deg=[0.0, 0.0, 0.0],
        channels=list(range(len(microphones_m))),
    )
    return Room(
        engine="shoebox", room_id="shoebox", size_m=list(size_m), absorption=[list(walls)], array=array, **options
    )


def _ours(room: Room, sources: Positions) -> list[NDArray[np.float32]]:
    return [rooms.simulate(room, source_m=source, sample_rate=RATE) for source in sources]


def _peer(
    size: Sequence[float], absorption: float, order: int, sources: Positions, microphones: Positions
) -> list[list[NDArray[Any]]]:
    """Its responses by microphone and source."""
    pra.constants.set("num_threads", 1)
    pra.constants.set("rir_hpf_enable", False)
    pra.constants.set("c", images.SPEED_OF_SOUND)
    room = pra.ShoeBox(size, fs=RATE, materials=pra.Material(absorption), max_order=order)
    room.add_microphone_array(np.transpose(microphones))
    for source in sources:
        room.add_source(source)
    room.compute_rir()
    rir: list[list[NDArray[Any]]] = room.rir
    return rir


def _errors(room: Room, source: Sequence[float], theirs: NDArray[Any], order: int) -> dict[str, Any]:
    """How exact ours is, and how far from the peer at the peer's order; microphone 0, source 0."""
    assert room.size_m is not None
    assert room.array is not None
    microphone = room.array.positions_m[0]
    engine = functools.partial(
        images.impulse_responses,
        size_m=room.size_m,
        absorption=room.absorption,
        source_m=source,
        microphones_m=[microphone],
        sample_rate=RATE,
    )
    (ours,), (same,) = engine(max_loss_db=rooms.DEPTH_DB), engine(max_loss_db=math.inf, max_order=order)
    exact, count = dense(
        room.size_m, room.absorption[0], source, microphone, RATE, ours.size, max_loss_db=rooms.DEPTH_DB
    )
    return {
        "images": count,
        "error_db": round(_error_db(ours, exact), 1),
        "peer_difference_db": round(_error_db(same, theirs[40:] / (4 * math.pi)), 1),
    }


def _error_db(found: NDArray[Any], reference: NDArray[Any]) -> float:
    taps = min(found.size, reference.size)
    difference = found[:taps].astype(np.float64) - reference[:taps]
    return 10 * math.log10(float(np.sum(difference**2) / np.sum(reference[:taps] ** 2)))


def dense(
    size_m: Sequence[float],
    absorption: Sequence[float],
    source_m: Sequence[float],
    microphone_m: Sequence[float],
    sample_rate: int,
    taps: int,
    *,
    max_loss_db: float,
) -> tuple[NDArray[np.float64], int]:
    """The definition, in double precision and image by image: the response, and how many images it has.

    Every image whose reflections have taken at most `max_loss_db`, as gain / (4 pi d) times an 81-tap Hann-windowed
    sinc at its own delay.
    """
    factors = np.sqrt(1 - np.asarray(absorption)).reshape(3, 2)
    least = 10 ** (-max_loss_db / 20)
    axes = [_axis(size_m[k], source_m[k], microphone_m[k], factors[k, 0], factors[k, 1], least) for k in range(3)]
    out = np.zeros(taps)
    count = _add_images(*axes[0], *axes[1], *axes[2], least, sample_rate / images.SPEED_OF_SOUND, out)
    return out, count


def _axis(
    side: float, source: float, microphone: float, low: float, high: float, least: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = np.arange(-2000, 2001)
    apart = np.concatenate([2 * n * side + source, 2 * n * side - source]) - microphone
    gain = np.concatenate([(low * high) ** abs(n), low ** abs(n - 1.0) * high ** abs(n)])
    keep = gain >= least * (1 - 1e-9)
    return apart[keep], gain[keep]


@numba.njit(cache=True, error_model="numpy")
def _add_images(x, x_gain, y, y_gain, z, z_gain, least, scale, out):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(x.size):
        for j in range(y.size):
            for k in range(z.size):
                gain = x_gain[i] * y_gain[j] * z_gain[k]
                if gain < least * (1 - 1e-9):
                    continue
                count += 1
                distance = math.sqrt(x[i] ** 2 + y[j] ** 2 + z[k] ** 2)
                delay = distance * scale
                first, last = max(0, math.ceil(delay - 40)), min(out.size - 1, math.floor(delay + 40))
                if first > last:
                    continue
                sine = math.sin(math.pi * (first - delay))
                for n in range(first, last + 1):
                    t = n - delay
                    sinc = sine / (math.pi * t) if abs(t) > 1e-9 else 1.0
                    out[n] += gain / (4 * math.pi * distance) * sinc * (0.5 + 0.5 * math.cos(math.pi * t / 40))
                    sine = -sine
    return count


def _geomean(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ours, peer = (statistics.geometric_mean([e[side] for e in entries]) for side in ("ours_ms", "peer_ms"))
    return {
        "ours_ms": round(ours, 4),
        "peer_ms": round(peer, 4),
        "peer": PEER,
        "ratio": round(peer / ours, 3),
        "lowest_ratio": min(e["ratio"] for e in entries),
        "error_db": max(e["error_db"] for e in entries),
        "peer_difference_db": max(e["peer_difference_db"] for e in entries),
        "items": len(entries),
    }
