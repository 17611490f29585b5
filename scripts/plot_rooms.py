"""Make the pictures of docs/rooms.md, and the numbers that stand between its marks.

    python scripts/plot_rooms.py                      # writes docs/rooms.md and docs/rooms/*.png
    python scripts/plot_rooms.py --out DIR --quick    # few and small rooms, for the test

Everything is computed by the code that renders datasets; pyroomacoustics and sums in double precision are the
witnesses. Two runs with the same versions give the same bytes.

Conventions: 16 kHz; an error is the energy of a difference over that of the reference, in dB; T30 is
`augment.acoustics.rt60` for everybody. pyroomacoustics runs in one thread, without its high-pass filter unless that is
named; its responses lose 40 samples at the front and are divided by 4 pi, which makes them what ours are.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyroomacoustics as pra
import soundfile as sf
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from pyroomacoustics.utilities import design_highpass_filter_sos
from scipy import signal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, `benchmarks` is not on the path

from augment import acoustics, decay, diffuse, images, motion, rooms  # noqa: E402
from augment.convolve import convolve  # noqa: E402
from benchmarks.rooms import dense, shoebox  # noqa: E402
from manifests.schema import Room  # noqa: E402

Signal = NDArray[np.floating[Any]]
Position = Sequence[float]

PAGE = ROOT / "docs" / "rooms.md"
SPEECH = ROOT / "pipelines" / "demo_corpus" / "speech"
RATE = 16_000
PEER = f"pyroomacoustics {pra.__version__}"
PEER_DELAY = 40
TOLERANCE, NARROW = 0.1, 0.03
UNLIKE = (0.2, 5.0)
TIME = "time since emission (ms)"

# Colours of Okabe and Ito, which the colour-blind tell apart.
INK, BLUE, ORANGE, GREEN, RED, GREY = "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8C8C8C"
COLOUR_MAP = colormaps["cividis"].resampled(40)


@dataclass(frozen=True)
class Part:
    """What one section of the page gets: a picture, and the text between its marks."""

    text: str
    figure: Figure | None = None


# ----------------------------------------------------------------------------------------------------------- helpers


@contextlib.contextmanager
def peer_settings() -> Iterator[None]:
    """One thread, our speed of sound, no high-pass filter."""
    wanted = {"num_threads": 1, "rir_hpf_enable": False, "c": images.SPEED_OF_SOUND}
    before = {name: pra.constants.get(name) for name in wanted}
    try:
        for name, value in wanted.items():
            pra.constants.set(name, value)
        yield
    finally:
        for name, value in before.items():
            pra.constants.set(name, value)


def peer_response(
    size_m: Position, absorption: float, order: int, source_m: Position, microphone_m: Position
) -> Signal:
    """What pyroomacoustics computes, as it gives it."""
    with peer_settings():
        room = pra.ShoeBox(size_m, fs=RATE, materials=pra.Material(absorption), max_order=order)
        room.add_microphone(list(microphone_m))
        room.add_source(list(source_m))
        room.compute_rir()
    return np.asarray(room.rir[0][0], np.float64)


def peer_high_passed(h: Signal) -> Signal:
    """Through the filter that pyroomacoustics applies by default, with its own settings."""
    kwargs = pra.constants.get("rir_hpf_kwargs")
    sos = design_highpass_filter_sos(RATE, pra.constants.get("rir_hpf_fc"), **kwargs)
    return np.asarray(signal.sosfiltfilt(sos, h))


def level_db(x: Signal) -> float:
    """Energy in dB."""
    return 10 * math.log10(float(np.sum(np.square(x, dtype=np.float64))))


def error_db(found: Signal, reference: Signal) -> float:
    """Of what both have."""
    taps = min(found.shape[-1], reference.shape[-1])
    return level_db(found[..., :taps].astype(np.float64) - reference[..., :taps]) - level_db(reference[..., :taps])


def short_time_db(x: Signal, width: int) -> Signal:
    """Mean power around each tap (a Hann window of `width` taps), in dB."""
    window = np.hanning(width + 2)[1:-1]
    power = np.convolve(np.square(x, dtype=np.float64), window / window.sum(), mode="same")
    return np.asarray(10 * np.log10(np.maximum(power, 1e-30)))


def milliseconds(taps: int) -> Signal:
    return np.arange(taps) / RATE * 1000


def panels(rows: int, columns: int, *, width: float = 9.0, height: float = 3.4, **options: Any) -> tuple[Figure, Any]:
    """A figure in inches and its axes, an array unless there is only one."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    for each in np.ravel(axes):
        plain(each)
    return figure, axes


def plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def item(text: str) -> str:
    """An item of a list, in lines that fit the page."""
    return textwrap.fill(text, 140, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False) + "\n"


def labelled(axes: Axes, title: str, x: str, y: str, **limits: Any) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(x, fontsize=8.5)
    axes.set_ylabel(y, fontsize=8.5)
    axes.set(**limits)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown: the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


# -------------------------------------------------------------------------------------- 1. the sum over image sources


def exact(quick: bool) -> Part:
    """A response against pyroomacoustics' and against the definition."""
    size, source, microphone = (6.2, 4.7, 2.9), (1.63, 3.18, 1.62), (3.94, 2.07, 1.27)
    with peer_settings():
        absorption, order = pra.inverse_sabine(0.2 if quick else 0.4, size)
    (ours,) = images.impulse_responses(
        size_m=size,
        absorption=[[absorption] * 6],
        source_m=source,
        microphones_m=[microphone],
        sample_rate=RATE,
        max_order=order,
        max_loss_db=math.inf,
    )
    peer = peer_response(size, absorption, order, source, microphone)[PEER_DELAY:] / (4 * math.pi)
    # Walls being alike, a limit on loss half-way between two orders is a limit on order.
    per_reflection_db = -10 * math.log10(1 - absorption)
    reference, count = dense(
        size, [absorption] * 6, source, microphone, RATE, ours.size, max_loss_db=(order + 0.5) * per_reflection_db
    )
    taps = min(ours.size, peer.size)
    ours, peer, reference = ours[:taps].astype(np.float64), peer[:taps], reference[:taps]
    onset_ms = math.dist(source, microphone) / images.SPEED_OF_SOUND * 1000
    figure = _exact_figure(ours, peer, reference, onset_ms)
    found = [error_db(ours, reference), error_db(peer, reference), error_db(ours, peer)]
    pairs = 20 if quick else 500
    far, near = _direct_errors(pairs, (1.0, 4.0)), _direct_errors(pairs, (0.1, 1.0))
    text = item(
        f"{count} images up to order {order}, absorption {absorption:.3f} on all walls: hubbub is {found[0]:.0f} dB "
        f"from the definition, {PEER} {found[1]:.0f} dB, and they are {found[2]:.0f} dB from each other."
    )
    text += item(
        f"Direct sound at {pairs} random pairs of positions, phase and magnitude at 1 kHz: at most {far[0]:.2f} ns "
        f"from distance / c and {far[1]:.5f} dB from 1 / (4 pi distance) at 1-4 m; {near[0] / 1000:.1f} us and "
        f"{near[1]:.2f} dB at 0.1-1 m, where the part of the filter before emission is cut off."
    )
    return Part(text, figure)


def _direct_errors(pairs: int, distances_m: tuple[float, float]) -> tuple[float, float]:
    """How far `rooms.anechoic` is from a delay of d / c (nanoseconds) and a gain of 1 / (4 pi d) (dB), at most."""
    rng = np.random.default_rng(1)
    microphone = np.array([4.012, 4.345, 4.678])
    turn = 2 * math.pi * 1000 / RATE
    late_ns, loud_db = 0.0, 0.0
    for _ in range(pairs):
        towards = rng.standard_normal(3)
        source = microphone + towards / np.linalg.norm(towards) * rng.uniform(*distances_m)
        distance = math.dist(source, microphone)
        room = shoebox([9.0] * 3, [0.5] * 6, [microphone.tolist()])
        (h,) = rooms.anechoic(room, source_m=source.tolist(), sample_rate=RATE, taps=RATE // 50)
        heard = np.sum(h * np.exp(-1j * turn * (np.arange(h.size) - distance / images.SPEED_OF_SOUND * RATE)))
        late_ns = max(late_ns, abs(float(np.angle(heard))) / turn / RATE * 1e9)
        loud_db = max(loud_db, abs(20 * math.log10(abs(heard) * 4 * math.pi * distance)))
    return late_ns, loud_db


def _exact_figure(ours: Signal, peer: Signal, reference: Signal, onset_ms: float) -> Figure:
    figure, both = panels(2, 2, height=5.2, width_ratios=(1.25, 1))
    (whole, zoom), under = both[0], both[1]
    grid = under[0].get_gridspec()
    for axes in under:
        axes.remove()
    levels = figure.add_subplot(grid[1, :])
    plain(levels)
    time, end_ms = milliseconds(ours.size), 1000 * ours.size / RATE
    scale = 1 / float(np.abs(reference).max())
    whole.plot(time, ours * scale, color=BLUE, linewidth=0.6)
    labelled(whole, "Response, hubbub", TIME, "amplitude (largest = 1)", xlim=(0, min(200.0, end_ms)))
    near = slice(max(0, round((onset_ms - 1) * RATE / 1000)), round((onset_ms + 5) * RATE / 1000))
    zoom.plot(time[near], ours[near] * scale, color=BLUE, linewidth=1.2, label="hubbub")
    zoom.plot(time[near], peer[near] * scale, "o", markersize=3.2, markerfacecolor="none", color=RED, label=PEER)
    zoom.axvline(onset_ms, color=INK, linewidth=0.8, linestyle=":", label="distance / c")
    zoom.legend(fontsize=7.5, frameon=False)
    labelled(zoom, "Direct sound and first reflection", TIME, "")
    loudest_db = 10 * math.log10(float(np.max(reference**2)))
    theirs = f"{PEER} minus definition (dashed)\nand hubbub minus {PEER}"
    for h, colour, style, width, label_db, label in (
        (reference, INK, "-", 0.9, -38, "the response"),
        (ours - peer, ORANGE, "-", 2.4, 0, ""),
        (peer - reference, RED, "--", 1.0, -96, theirs),
        (ours - reference, BLUE, "-", 0.9, -172, "hubbub minus definition"),
    ):
        level = short_time_db(h, RATE // 250) - loudest_db
        levels.plot(time, level, color=colour, linestyle=style, linewidth=width)
        share = "" if h is reference else f": {level_db(h) - level_db(reference):.0f} dB of its energy"
        if label:
            levels.text(
                0.02,
                label_db,
                label + share,
                color=colour,
                fontsize=8,
                va="top",
                transform=levels.get_yaxis_transform(),
            )
    labelled(
        levels,
        "Level of the response, and of what differs (4 ms windows)",
        TIME,
        "level (dB re largest tap)",
        xlim=(0, min(500.0, end_ms)),
        ylim=(-205, 5),
    )
    return figure


# ----------------------------------------------------------------------------------------- 2. the RT60 that was asked


@dataclass(frozen=True)
class Case:
    """One random room: T30 over the RT60 asked for, by method (NaN where undefined), and what calibration took."""

    requested_s: float
    ratios: dict[str, float]
    calibrations: dict[str, rooms.Calibration]
    low_share: float
    low_longer: float


@dataclass(frozen=True)
class Drawn:
    """A random room and who is where in it."""

    size_m: list[float]
    rt60_s: float
    source_m: list[float]
    microphone_m: list[float]


def drawn(rng: np.random.Generator, rt60_s: tuple[float, float] = (0.2, 0.8)) -> Drawn:
    """3-10 x 3-8 x 2.5-4 m, 0.66-2 m apart, half a metre from the walls."""
    size = [round(rng.uniform(*limits), 3) for limits in ((3, 10), (3, 8), (2.5, 4))]
    wanted = round(rng.uniform(*rt60_s), 3)
    microphone = [round(rng.uniform(0.5, side - 0.5), 3) for side in size[:2]] + [round(rng.uniform(1.0, 1.5), 3)]
    return Drawn(size, wanted, _near(rng, size, microphone), microphone)


def _near(rng: np.random.Generator, size: Position, microphone: Position) -> list[float]:
    while True:
        source = [round(rng.uniform(0.5, side - 0.5), 3) for side in size[:2]] + [round(rng.uniform(1.4, 1.8), 3)]
        if 0.66 <= math.dist(source, microphone) <= 2.0:
            return source


def walls_of(room: Drawn, weights: Sequence[float] = (1.0,) * 6) -> tuple[float, ...] | None:
    """Predicted, as `plan` does it."""
    return decay.walls_for(
        room.rt60_s,
        room.size_m,
        weights,
        sample_rate=RATE,
        distance_m=math.dist(room.source_m, room.microphone_m),
        lowest_hz=rooms.LOWEST_HZ,
    )


def unlike_walls(rng: np.random.Generator, room: Drawn) -> tuple[float, ...]:
    """Walls of which some absorb up to 25 times what others do."""
    while True:
        found = walls_of(room, np.exp(rng.uniform(math.log(UNLIKE[0]), math.log(UNLIKE[1]), 6)).tolist())
        if found is not None:
            return found


def unfiltered(room: Room, source_m: Position) -> Signal:
    """The plain sum over images, without the high-pass at 20 Hz."""
    assert room.array is not None
    (h,) = images.impulse_responses(
        size_m=room.size_m or [],
        absorption=room.absorption,
        source_m=source_m,
        microphones_m=room.array.positions_m,
        sample_rate=RATE,
        max_loss_db=rooms.DEPTH_DB,
    )
    return np.asarray(h)


def reverberation(quick: bool) -> Part:
    """Requested against measured RT60."""
    rng = np.random.default_rng(60)
    cases: list[Case] = []
    refused = {"hubbub": 0, "peer": 0}
    while len(cases) < (6 if quick else 500):
        room = drawn(rng, (0.2, 0.3) if quick else (0.2, 0.8))
        found = walls_of(room)
        try:
            peer = pra.inverse_sabine(room.rt60_s, room.size_m, c=images.SPEED_OF_SOUND)
        except ValueError:
            peer = None
        refused["hubbub"] += found is None
        refused["peer"] += peer is None
        if found and peer:
            cases.append(_case(rng, room, found, peer))
    return Part(_said(cases, refused), _reverberation_figure(cases))


def _case(rng: np.random.Generator, drawn: Drawn, walls: Sequence[float], peer: tuple[float, int]) -> Case:
    room = shoebox(drawn.size_m, walls, [drawn.microphone_m], rt60_requested_s=drawn.rt60_s, rt60_tolerance=TOLERANCE)
    variants = {
        "calibrated": room,
        "narrow": replace(room, rt60_tolerance=NARROW),
        "unlike": replace(room, absorption=[list(unlike_walls(rng, drawn))]),
    }
    found = {
        name: rooms.calibrate(variant, source_m=drawn.source_m, sample_rate=RATE) for name, variant in variants.items()
    }
    other = _near(rng, drawn.size_m, drawn.microphone_m)
    theirs = peer_response(drawn.size_m, *peer, drawn.source_m, drawn.microphone_m)
    first = rooms.simulate(room, source_m=drawn.source_m, sample_rate=RATE)
    plain = unfiltered(room, drawn.source_m)
    responses = {
        "first": first,
        **{name: calibration.response for name, calibration in found.items()},
        "elsewhere": rooms.simulate(room, source_m=other, sample_rate=RATE, scale=found["calibrated"].scale),
        "peer": theirs,
        "peer_high_passed": peer_high_passed(theirs),
        "plain": plain,
    }
    ratios = {name: (acoustics.rt60(h, RATE) or math.nan) / drawn.rt60_s for name, h in responses.items()}
    return Case(
        requested_s=drawn.rt60_s,
        ratios=ratios,
        calibrations={name: replace(c, response=np.empty(0, np.float32)) for name, c in found.items()},
        low_share=1 - 10 ** ((level_db(first) - level_db(plain)) / 10),
        low_longer=ratios["plain"] / ratios["first"] - 1,
    )


METHODS = {
    "calibrated": "**hubbub, as datasets are made** (tolerance 10 %)",
    "narrow": "hubbub, `rt60_tolerance: 0.03`",
    "unlike": "hubbub, walls that absorb unlike (`wall_weight` 0.2-5)",
    "elsewhere": "hubbub, another talker in the calibrated room",
    "peer": f"{PEER}, `inverse_sabine`, high-pass off",
    "peer_high_passed": "the same, its default high-pass on (10 Hz)",
}


def _said(cases: Sequence[Case], refused: dict[str, int]) -> str:
    rows = []
    for name, method in METHODS.items():
        ratios = np.array([case.ratios[name] for case in cases])
        low, middle, high = np.nanpercentile(ratios, [5, 50, 95])
        again, status = "", ""
        if name in cases[0].calibrations:
            found = [case.calibrations[name] for case in cases]
            again = f"{100 * np.mean([c.simulations > 1 for c in found]):.1f} %"
            status = " / ".join(str(sum(c.status == s for c in found)) for s in ("ok", "off", "unmeasurable"))
        within = 100 * float(np.mean(np.abs(ratios - 1) <= TOLERANCE))
        rows.append((method, f"{middle:.3f}", f"{low:.2f}-{high:.2f}", f"{within:.1f} %", again, status))
    share, longer = (
        100 * np.nanmedian(values) for values in ([c.low_share for c in cases], [c.low_longer for c in cases])
    )
    head = ["T30 / RT60 asked for", "median", "5-95 %", "within 10 %", "simulated again", "ok / off / unmeasurable"]
    said = item(
        f"{len(cases)} rooms; {refused['hubbub']} more were too large for their RT60 in hubbub, {refused['peer']} in "
        f"`inverse_sabine`. The 20 Hz high-pass takes {share:.0f} % of the energy of the plain sum of images, the T30 "
        f"of which is {longer:.0f} % longer (medians)."
    )
    return table(head, rows) + "\n\n" + said


def _reverberation_figure(cases: Sequence[Case]) -> Figure:
    figure, (ours, theirs, spread) = panels(1, 3, height=3.6, width_ratios=(1, 1, 1.05))
    requested = np.array([case.requested_s for case in cases])
    found = {name: np.array([case.ratios[name] for case in cases]) for name in METHODS}
    top = 1.05 * float(np.nanmax(requested * found["peer"]))
    line = np.array([0.1, 0.9])
    for axes, title, series in (
        (ours, "hubbub", [("unlike", "walls unlike", ORANGE, "x"), ("calibrated", "walls alike", BLUE, "o")]),
        (theirs, PEER, [("peer", "high-pass off", RED, "o"), ("peer_high_passed", "default high-pass", GREEN, "x")]),
    ):
        axes.fill_between(line, 0.9 * line, 1.1 * line, color="#D9D9D9", linewidth=0, label="±10 %")
        axes.plot(line, line, color=INK, linewidth=0.8)
        for name, label, colour, marker in series:
            axes.plot(
                requested,
                requested * found[name],
                marker,
                color=colour,
                markersize=2.6,
                markerfacecolor="none",
                markeredgewidth=0.7,
                label=label,
            )
        labelled(axes, title, "RT60 asked for (s)", "T30 measured (s)", xlim=(0.15, 0.85), ylim=(0.1, top))
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    edges = np.linspace(0.7, 2.0, 53)
    spread.axvspan(0.9, 1.1, color="#D9D9D9", linewidth=0)
    for name, label, colour in (
        ("calibrated", "hubbub", BLUE),
        ("peer_high_passed", "peer, high-pass on", GREEN),
        ("peer", "peer, high-pass off", RED),
    ):
        share = 100 * np.histogram(found[name], edges)[0] / len(cases)
        spread.stairs(share, edges, color=colour, linewidth=1.3, label=label)
    labelled(
        spread, "The same as a ratio", "T30 measured / RT60 asked for", "share of rooms per 0.025 (%)", xlim=(0.7, 2.0)
    )
    spread.legend(fontsize=7.5, frameon=False)
    return figure


# ---------------------------------------------------------------------------------------------- 3. a source that walks

TONES_HZ = (500.0, 1200.0, 2600.0, 5000.0)
ZOOMED_HZ = 5000.0
SPEED_M_S = 2.0
SWITCHED_M = 0.1
STEPS_M = (0.01, 0.02, 0.03, 0.05)
REFERENCE_STEP_M = 0.001


@dataclass(frozen=True)
class Pass:
    """A walk past a microphone."""

    room: Room
    start_m: tuple[float, float, float]
    seconds: float

    def track(self, step_m: float) -> NDArray[np.float64]:
        end = (self.start_m[0] + SPEED_M_S * self.seconds, *self.start_m[1:])
        return motion.walk(
            motion.line(self.start_m, end, step_m=step_m), speed_m_s=SPEED_M_S, seconds=self.seconds, step_m=step_m
        )

    def responses(self, track: NDArray[np.float64], *, with_direct: bool) -> Iterator[NDArray[np.float32]]:
        return (
            rooms.simulate(self.room, source_m=[float(v) for v in p], sample_rate=RATE, with_direct=with_direct)
            for p in track
        )

    def rendered(self, dry: Signal, step_m: float = motion.STEP_M) -> Signal:
        """As datasets are rendered: the direct path by a delay line, reflections point by point."""
        track = self.track(step_m)
        assert self.room.array is not None
        microphones = self.room.array.positions_m
        direct = motion.moving_direct(dry, track, microphones, sample_rate=RATE, length=dry.size)
        reflected = motion.moving_image(
            dry, self.responses(track, with_direct=False), points=len(track), length=dry.size
        )
        return np.asarray((direct + reflected)[0], np.float64)

    def in_steps(self, dry: Signal, step_m: float, *, cross_fade: bool = False, with_direct: bool = True) -> Signal:
        """As it is often done: a static response per point, switched, or faded linearly from one to the next."""
        track = self.track(step_m)
        place = np.arange(dry.size) * ((len(track) - 1) / (dry.size - 1))
        out = np.zeros(dry.size)
        for k, h in enumerate(self.responses(track, with_direct=with_direct)):
            window = np.maximum(0, 1 - np.abs(place - k)) if cross_fade else np.floor(place + 0.5) == k
            (at,) = np.nonzero(window)
            piece = convolve(dry[at[0] : at[-1] + 1] * window[at[0] : at[-1] + 1], h)[0]
            here = out[at[0] : at[0] + piece.size]
            here += piece[: here.size]
        return out


def moving(quick: bool) -> Part:
    """Doppler without clicks."""
    size = (4.0, 3.0, 2.5) if quick else (9.0, 5.0, 3.0)
    found = decay.walls_for(0.2, size, sample_rate=RATE, lowest_hz=rooms.LOWEST_HZ)
    assert found is not None
    microphone = (size[0] / 2 + 0.03, 0.6 * size[1], 1.31)
    walk = Pass(shoebox(size, found, [microphone]), (0.5, 0.6 * size[1] - 0.9, 1.58), (size[0] - 1) / SPEED_M_S)
    time = np.arange(round(walk.seconds * RATE)) / RATE
    faded = np.minimum(1, np.minimum(time, time[-1] - time) / 0.1)
    dry = (0.25 * faded * np.sum([np.sin(2 * np.pi * f * time + f) for f in TONES_HZ], axis=0)).astype(np.float32)
    sounds = {
        "hubbub": walk.rendered(dry),
        "switched every 2 cm": walk.in_steps(dry, motion.STEP_M),
        "switched every 10 cm": walk.in_steps(dry, SWITCHED_M),
    }
    between = {name: _between_tones(x) for name, x in sounds.items()}
    track = walk.track(motion.STEP_M)
    arrival, theory = _doppler(track, microphone, dry.size)
    figure = _moving_figure(sounds, between, arrival, theory)
    medians = {name: float(np.median(levels)) for name, (_, levels) in between.items()}
    off_hz = _doppler_error_hz(walk, microphone, time, arrival, theory)
    low, high = theory.min() - ZOOMED_HZ, theory.max() - ZOOMED_HZ
    text = item(
        f"Four tones pass at {SPEED_M_S:g} m/s. What lies between them (200 Hz and more from each; median over time, "
        f"dB re the sound): {medians['switched every 10 cm']:.0f} dB where responses are switched every 10 cm, "
        f"{medians['switched every 2 cm']:.0f} dB every 2 cm, {medians['hubbub']:.0f} dB here."
    )
    text += item(
        f"The direct sound of {ZOOMED_HZ:.0f} Hz is shifted by {low:+.1f} to {high:+.1f} Hz, which is Doppler's shift "
        f"to {1000 * off_hz:.1f} mHz."
    )
    return Part(_step_errors(quick) + text, figure)


def _doppler(track: NDArray[np.float64], microphone: Position, frames: int) -> tuple[Signal, Signal]:
    """When the direct sound arrives, in seconds, and at which frequency, for `ZOOMED_HZ`."""
    positions = motion.position_at(track, frames, np.arange(frames, dtype=np.float64))
    arrival = np.arange(frames) + np.linalg.norm(positions - microphone, axis=1) / images.SPEED_OF_SOUND * RATE
    return arrival / RATE, ZOOMED_HZ / np.gradient(arrival)


def _doppler_error_hz(walk: Pass, microphone: Position, time: Signal, arrival: Signal, theory: Signal) -> float:
    """The largest difference of the direct sound's frequency (phase over 20 ms) from theory, away from the ends."""
    dry = np.sin(2 * np.pi * ZOOMED_HZ * time).astype(np.float32)
    (direct,) = motion.moving_direct(dry, walk.track(motion.STEP_M), [microphone], sample_rate=RATE, length=dry.size)
    phase = np.unwrap(np.angle(signal.hilbert(direct.astype(np.float64))))
    width = RATE // 50
    found = (phase[width:] - phase[:-width]) / (2 * np.pi * width) * RATE
    centres = time[: found.size] + width / 2 / RATE
    cycles = np.interp(time, arrival, time) * ZOOMED_HZ  # what was sent out when that arrived
    expected = (cycles[width:] - cycles[:-width]) / width * RATE
    inside = (centres > 0.1) & (centres < time[-1] - 0.1)
    return float(np.abs(found - expected)[inside].max())


def _between_tones(x: Signal) -> tuple[Signal, Signal]:
    """Times, and the energy 200 Hz and more from all tones over the whole, in dB; 32 ms windows."""
    size = RATE * 32 // 1000
    window = signal.windows.blackmanharris(size)
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[:: size // 4]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    frequencies = np.fft.rfftfreq(size, 1 / RATE)
    apart = np.abs(frequencies[:, np.newaxis] - TONES_HZ).min(axis=1) > 200
    time = (np.arange(len(frames)) * (size // 4) + size / 2) / RATE
    inside = (time > 0.25) & (time < x.size / RATE - 0.25)
    return time[inside], 10 * np.log10(power[:, apart].sum(axis=1) / power.sum(axis=1))[inside]


def _step_errors(quick: bool) -> str:
    """Error of the reflections of speech by step, against cross-fades each millimetre."""
    seconds = 0.3 if quick else 1.0
    size = (5.2, 4.1, 2.9)
    found = decay.walls_for(0.2 if quick else 0.6, size, sample_rate=RATE, lowest_hz=rooms.LOWEST_HZ)
    assert found is not None
    walk = Pass(shoebox(size, found, [(3.1, 2.4, 1.3)]), (1.2, 1.1, 1.6), seconds)
    speech, _ = sf.read(sorted(SPEECH.rglob("*.flac"))[0], dtype="float32")
    dry = speech[RATE : RATE + round(seconds * RATE)]
    reference = walk.in_steps(dry, REFERENCE_STEP_M, cross_fade=True, with_direct=False)

    def hubbub(step_m: float) -> Signal:
        track = walk.track(step_m)
        reflections = walk.responses(track, with_direct=False)
        return np.asarray(motion.moving_image(dry, reflections, points=len(track), length=dry.size)[0], np.float64)

    rows: list[tuple[str, Callable[[float], Signal]]] = [
        ("**hubbub** (12-point windows)", hubbub),
        ("cross-fade of two neighbours", lambda step: walk.in_steps(dry, step, cross_fade=True, with_direct=False)),
        ("switch", lambda step: walk.in_steps(dry, step, with_direct=False)),
    ]
    head = [
        f"error of moving reflections, {seconds:g} s of speech, points every",
        *(f"{100 * step:g} cm" for step in STEPS_M),
    ]
    errors = table(
        head, ([name, *(f"{error_db(render(s), reference):.0f} dB" for s in STEPS_M)] for name, render in rows)
    )
    return errors + "\n\n" + item(_octaves())


def _octaves() -> str:
    """What the docstring of `augment.motion` says about octaves: its scene takes minutes."""
    said = []
    for step in (20, 50):
        row = re.search(rf"^ *{step} mm +(.*)$", motion.__doc__ or "", flags=re.MULTILINE)
        assert row is not None
        _, one, two, four, top = row[1].split()[:5]
        said.append(f"{one}, {two}, {four}, {top} dB at {step / 10:g} cm")
    return "By octave (1, 2, 4 kHz, above 5.6 kHz; real speech, from `augment/motion.py`): " + "; ".join(said) + "."


def _moving_figure(
    sounds: dict[str, Signal], between: dict[str, tuple[Signal, Signal]], arrival: Signal, theory: Signal
) -> Figure:
    figure, ((switched, smooth), (zoom, levels)) = panels(2, 2, height=5.6)
    size, hop = RATE * 32 // 1000, RATE // 50
    seconds = next(iter(sounds.values())).size / RATE
    for axes, name, title in (
        (switched, "switched every 10 cm", "Static responses, switched every 10 cm"),
        (smooth, "hubbub", "hubbub, points every 2 cm"),
    ):
        spectrum = _spectrogram(sounds[name], size, hop)[:, : size * 3 // 8]
        image = axes.imshow(
            spectrum.T,
            origin="lower",
            aspect="auto",
            cmap=COLOUR_MAP,
            interpolation="nearest",
            vmin=-100,
            vmax=-20,
            extent=(0, seconds, 0, RATE * 3 / 8 / 1000),
        )
        axes.grid(visible=False)
        labelled(axes, title, "time (s)", "frequency (kHz)")
    bar = figure.colorbar(image, ax=smooth, pad=0.01)
    bar.set_label("dB re full scale", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    size, hop = RATE * 24 // 100, RATE // 50
    bins = np.fft.rfftfreq(4 * size, 1 / RATE)
    near = np.abs(bins - ZOOMED_HZ) <= 50
    spectrum = _spectrogram(sounds["hubbub"], size, hop, padded=4)[:, near]
    zoom.imshow(
        spectrum.T - spectrum.max(),
        origin="lower",
        aspect="auto",
        cmap=COLOUR_MAP,
        vmin=-40,
        vmax=0,
        extent=(0, seconds, *(bins[near][[0, -1]])),
    )
    zoom.grid(visible=False)
    zoom.plot(
        arrival, theory, color="white", linewidth=1.2, linestyle="--", label="Doppler's shift of the direct sound"
    )
    zoom.legend(fontsize=7.5, loc="lower left", labelcolor="white", frameon=False)
    labelled(
        zoom,
        f"hubbub around {ZOOMED_HZ / 1000:g} kHz: direct sound and mirror images",
        "time (s)",
        "frequency (Hz)",
        xlim=(0, seconds),
    )
    for (name, (time, level)), colour in zip(between.items(), (BLUE, ORANGE, RED), strict=True):
        levels.plot(time, level, color=colour, linewidth=0.9, label=name)
    levels.legend(fontsize=7.5, frameon=False, loc="center right")
    labelled(
        levels, "Clicks: energy between the tones", "time (s)", "dB re the sound", xlim=(0, seconds), ylim=(-110, 0)
    )
    return figure


def _spectrogram(x: Signal, size: int, hop: int, *, padded: int = 1) -> Signal:
    """(frames, frequencies) in dB re a full-scale sine, frames centred on each hop."""
    window = np.hanning(size + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, size // 2), size)[::hop]
    amplitude = np.abs(np.fft.rfft(frames * window, n=padded * size)) * (2 / window.sum())
    return np.asarray(20 * np.log10(np.maximum(amplitude, 1e-10)))


# ---------------------------------------------------------------------------------------------------- 4. diffuse noise

SPACINGS_M = (0.1, 0.2)
COHERENCE_WINDOW = 512


def coherence(quick: bool) -> Part:
    """Measured coherence of diffuse noise against theory."""
    seconds = 4 if quick else 60
    figure, both = panels(1, 2, height=3.2, sharey=True)
    dense_hz = np.linspace(0, RATE / 2, 801)
    errors: dict[str, list[str]] = {"hubbub": [], "one channel repeated": []}
    fields: tuple[diffuse.Field, ...] = ("spherical", "cylindrical")
    for axes, field in zip(both, fields, strict=True):
        for spacing, colour, marker in zip(SPACINGS_M, (BLUE, RED), ("o", "s"), strict=True):
            positions = np.array([[0.0, 0.0, 0.0], [0.0, spacing, 0.0]])
            noise = np.random.default_rng(4).standard_normal((2, seconds * RATE)).astype(np.float32)
            x = diffuse.diffuse(noise, positions, sample_rate=RATE, field=field)
            repeated = np.repeat(noise[:1], 2, axis=0)
            theory = np.real(diffuse.coherence(positions, dense_hz, field)[:, 0, 1])
            bins, found = diffuse.measured_coherence(x, sample_rate=RATE, nfft=COHERENCE_WINDOW)
            axes.plot(dense_hz / 1000, theory, color=colour, linewidth=1.1, label=f"theory, {spacing:g} m")
            axes.plot(
                bins[1::3] / 1000,
                found[1::3, 0, 1],
                marker,
                color=colour,
                markersize=3.2,
                markerfacecolor="none",
                markeredgewidth=0.8,
                label=f"hubbub, {spacing:g} m",
            )
            for name, sound in (("hubbub", x), ("one channel repeated", repeated)):
                error = diffuse.coherence_error(sound, positions, sample_rate=RATE, field=field)
                errors[name].append(f"{error:.3f}")
        axes.axhline(1, color=GREY, linewidth=1.6, linestyle="--", label="one channel repeated")
        labelled(
            axes, f"{field.capitalize()} field", "frequency (kHz)", "coherence (real part)" if axes is both[0] else "",
            xlim=(0, RATE / 2000), ylim=(-0.5, 1.1),
        )  # fmt: skip
    both[0].legend(fontsize=7.5, frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.95))
    cases = [f"{field} {spacing:g} m" for field in fields for spacing in SPACINGS_M]
    head = ["largest error of coherence, over third octaves", *cases]
    return Part(table(head, ([name, *found] for name, found in errors.items())) + "\n", figure)


# ------------------------------------------------------------------------------------------------- 5. the diffuse tail

TAIL_MS = 60.0
TAIL_MEASURES = {
    "decay to -30 dB": "dB",
    "T30": "%",
    "EDT": "%",
    "C50": "dB",
    "DRR": "dB",
}


def tail(quick: bool) -> Part:
    """Error of `tail: diffuse` over random rooms."""
    rng = np.random.default_rng(5)
    found: dict[str, list[float]] = {name: [] for name in TAIL_MEASURES}
    count = 3 if quick else 100
    while len(found["T30"]) < count:
        room = drawn(rng, (0.2, 0.3) if quick else (0.2, 0.8))
        absorption = walls_of(room)
        if absorption is None:
            continue
        whole = shoebox(room.size_m, absorption, [room.microphone_m], seed=len(found["T30"]))
        for name, error in _tail_errors(whole, room).items():
            found[name].append(error)
    rows = [
        (said, *(f"{np.nanpercentile(errors, part):.2f} {TAIL_MEASURES[name]}" for name, errors in found.items()))
        for said, part in (("median", 50), ("95th percentile", 95))
    ]
    limits = "0.2-0.3" if quick else "0.2-0.8"
    return Part(table([f"error in {count} rooms of {limits} s, tail after {TAIL_MS:g} ms", *found], rows) + "\n")


def _tail_errors(room: Room, drawn: Drawn) -> dict[str, float]:
    """Absolute differences, in the units of `TAIL_MEASURES`."""
    exact, short = (
        rooms.simulate(r, source_m=drawn.source_m, sample_rate=RATE)[0]
        for r in (room, replace(room, tail_after_ms=TAIL_MS))
    )
    onset = round(math.dist(drawn.source_m, drawn.microphone_m) / images.SPEED_OF_SOUND * RATE)
    ours, theirs = (acoustics.measure(h, RATE, onset, bands=False) for h in (exact, short))
    curves = [acoustics.energy_decay(h) for h in (exact, short)]
    taps = min(curve.size for curve in curves)
    upper = curves[0][:taps] >= -30
    return {
        "decay to -30 dB": float(np.abs(curves[1][:taps] - curves[0][:taps])[upper].max()),
        "T30": 100 * abs((theirs.rt60_s or math.nan) / (ours.rt60_s or math.nan) - 1),
        "EDT": 100 * abs((theirs.edt_s or math.nan) / (ours.edt_s or math.nan) - 1),
        "C50": abs((theirs.c50_db or math.nan) - (ours.c50_db or math.nan)),
        "DRR": abs((theirs.drr_db or math.nan) - (ours.drr_db or math.nan)),
    }


# ------------------------------------------------------------------------------------------------ 6. decay of one room


def decays(quick: bool) -> Part:
    """Energy decay of one room: exact, predicted, with a diffuse tail, and without the high-pass."""
    size, source, microphone = [6.2, 4.7, 2.9], [1.63, 3.18, 1.62], [3.1, 2.07, 1.27]
    wanted = 0.2 if quick else 0.5
    distance = math.dist(source, microphone)
    found = decay.walls_for(wanted, size, sample_rate=RATE, distance_m=distance, lowest_hz=rooms.LOWEST_HZ)
    assert found is not None
    room = shoebox(size, found, [microphone], rt60_requested_s=wanted, rt60_tolerance=TOLERANCE)
    exact, short = (
        rooms.simulate(r, source_m=source, sample_rate=RATE)[0] for r in (room, replace(room, tail_after_ms=TAIL_MS))
    )
    plain = unfiltered(room, source)
    model = decay.Decay(size_m=size, absorption=found, sample_rate=RATE, lowest_hz=rooms.LOWEST_HZ)
    times = {name: acoustics.rt60(h, RATE) for name, h in (("exact", exact), ("tail", short), ("plain", plain))}
    predicted = model.rt60_s(distance)
    figure = _decays_figure(exact, short, plain, model, distance, wanted)
    text = item(
        f"This room was asked for {wanted:g} s. T30 is predicted as {predicted:.3f} s and measured as "
        f"{times['exact']:.3f} s; with a diffuse tail it is {times['tail']:.3f} s, without the high-pass "
        f"{times['plain']:.3f} s."
    )
    return Part(text, figure)


def _decays_figure(
    exact: Signal, short: Signal, plain: Signal, model: decay.Decay, distance: float, wanted: float
) -> Figure:
    figure, (curves, filtered, spectra) = panels(1, 3, height=3.5, width_ratios=(1.25, 1, 1))
    start = distance / images.SPEED_OF_SOUND
    time = np.arange(exact.size) / RATE
    whole = model.direct_energy(distance) + float(model.energy_after(start))
    predicted = np.where(time < start, 0, 10 * np.log10(model.energy_after(time) / whole))
    energy = {name: acoustics.energy_decay(h) for name, h in (("exact", exact), ("short", short), ("plain", plain))}
    limits = {"xlim": (0, 1100 * wanted), "ylim": (-62, 2)}
    for curve, colour, style, width, label in (
        (energy["exact"], BLUE, "-", 2.4, "exact images"),
        (predicted, INK, "--", 1.1, "predicted, nothing simulated"),
        (energy["short"], ORANGE, "-", 1.2, f"diffuse tail from {TAIL_MS:g} ms"),
    ):
        curves.plot(milliseconds(curve.size), curve, color=colour, linestyle=style, linewidth=width, label=label)
    curves.axvline(1000 * start + TAIL_MS, color=GREY, linewidth=0.8, linestyle=":")
    curves.text(1000 * start + TAIL_MS + 4, -1, "tail from here", fontsize=7.5, color="#555555", va="top")
    for name, h, colour, label in (
        ("exact", exact, BLUE, "high-pass 20 Hz"),
        ("plain", plain, RED, "plain sum of images"),
    ):
        filtered.plot(milliseconds(energy[name].size), energy[name], color=colour, linewidth=1.4, label=label)
        spectrum = np.abs(np.fft.rfft(h.astype(np.float64), 1 << 17)) * 4 * math.pi * distance
        bins = np.fft.rfftfreq(1 << 17, 1 / RATE)
        spectra.semilogx(bins[1:], 20 * np.log10(spectrum[1:]), color=colour, linewidth=1.1, label=label)
    labelled(curves, f"Energy decay, {wanted:g} s asked for", TIME, "energy to come (dB)", **limits)
    labelled(filtered, "What the high-pass does", TIME, "energy to come (dB)", **limits)
    labelled(spectra, "The hump at 0 Hz", "frequency (Hz)", "dB re direct sound", xlim=(1, 300), ylim=(-25, 45))
    spectra.set_xticks([1, 10, 100], labels=["1", "10", "100"])
    spectra.axvline(rooms.LOWEST_HZ, color=GREY, linewidth=0.8, linestyle=":")
    for axes, place in ((curves, "lower left"), (filtered, "lower left"), (spectra, "upper right")):
        axes.legend(fontsize=7.5, frameon=False, loc=place)
    return figure


# ---------------------------------------------------------------------------------------------------------- the page

PARTS: dict[str, Callable[[bool], Part]] = {
    "exact": exact,
    "rt60": reverberation,
    "moving": moving,
    "coherence": coherence,
    "tail": tail,
    "decay": decays,
}
MARKS = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- /numbers -->)", flags=re.DOTALL)


def filled(page: str, texts: dict[str, str]) -> str:
    """The page with each text between its marks; ValueError where marks and texts are not the same."""
    names = [match[2] for match in MARKS.finditer(page)]
    if sorted(names) != sorted(texts):
        raise ValueError(f"the marks of the page must be {sorted(texts)}, once each, got {sorted(names)}")
    return MARKS.sub(lambda match: match[1] + texts[match[2]] + match[3], page)


def save(figure: Figure, path: Path) -> None:
    """As a PNG of 256 colours, which is a third as large; the rare ones, thin lines, are kept."""
    whole = io.BytesIO()
    figure.savefig(whole, format="png", metadata={"Software": None})
    with Image.open(whole) as image:
        few = image.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def write(out: Path, *, quick: bool = False) -> dict[str, str]:
    """Write `out`/rooms.md and `out`/rooms/*.png; what stands between the marks, by name."""
    (out / "rooms").mkdir(parents=True, exist_ok=True)
    texts = {}
    for name, make in PARTS.items():
        part = make(quick)
        texts[name] = part.text
        if part.figure is not None:
            save(part.figure, out / "rooms" / f"{name}.png")
    (out / "rooms.md").write_text(filled(PAGE.read_text(encoding="utf-8"), texts), encoding="utf-8")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures and numbers of docs/rooms.md.")
    parser.add_argument("--out", type=Path, default=PAGE.parent, help="folder to write to (default: docs)")
    parser.add_argument("--quick", action="store_true", help="few and small rooms, for the test")
    options = parser.parse_args()
    write(options.out, quick=options.quick)


if __name__ == "__main__":
    main()
