"""Figures: spectrograms as PNG, charts as inline SVG.

Conventions
    Signals are `(channels, samples)` or `(samples,)`, nominal range +-1; figures show channel 0. Spectrogram levels are
    in dB re a full-scale sine: 0 dB is a sine of amplitude 1. All clips of one example share one scale, so that a
    darker picture is a quieter signal. SVG takes its colours from the page's CSS variables, hence follows light and
    dark mode.

matplotlib is imported where a PNG is drawn: it costs half a second that the charts do not need.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Curve",
    "Point",
    "Scale",
    "colour_gradient",
    "common_scale",
    "histogram",
    "interval_bar",
    "line_chart",
    "nice_step",
    "rms_dbfs",
    "spectrogram_db",
    "spectrogram_png",
]

Array = npt.NDArray[np.floating]

_COLOUR_MAP = "magma"
_PLATE, _INK = "#101014", "#c9cbd3"  # spectrograms are dark pictures: one plate for light and dark pages
_WINDOW_S = 0.032
_RANGE_DB = 80.0


@dataclass(frozen=True)
class Scale:
    """What the spectrograms of one example share: level range in dB, length in seconds, highest frequency in Hz."""

    low_db: float
    high_db: float
    seconds: float
    top_hz: float


def _channel(samples: Array) -> npt.NDArray[np.float64]:
    x: npt.NDArray[np.float64] = np.atleast_2d(np.asarray(samples, dtype=np.float64))[0]
    return x


def rms_dbfs(samples: Array) -> float | None:
    """Level of channel 0, RMS 1.0 = 0 dBFS; None for digital silence."""
    x = _channel(samples)
    power = float(np.mean(x * x)) if x.size else 0.0
    return 10 * math.log10(power) if power > 0 else None


def spectrogram_db(samples: Array, *, sample_rate: int) -> npt.NDArray[np.float64]:
    """Levels `(frequencies, frames)` in dB re a full-scale sine: Hann window of 32 ms, hop of a quarter of it.

    A frame is centred on each hop, the ends padded with zeros.
    """
    x = _channel(samples)
    size = 2 * round(_WINDOW_S * sample_rate / 2)
    hop = size // 4
    x = np.pad(x, (size // 2, size // 2 + (-x.size) % hop))
    window = np.hanning(size + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::hop]
    amplitude = np.abs(np.fft.rfft(frames * window, axis=-1)) * (2 / window.sum())
    levels: npt.NDArray[np.float64] = 20 * np.log10(np.maximum(amplitude, 1e-10)).T
    return levels


def common_scale(clips: Sequence[tuple[Array, int]]) -> Scale:
    """The scale on which all `(samples, sample_rate)` fit: the loudest cell, rounded up to 5 dB, and 80 dB below it."""
    if not clips:
        raise ValueError("a common scale needs at least one clip")
    peak = max(float(spectrogram_db(x, sample_rate=rate).max()) for x, rate in clips)
    high = min(max(5 * math.ceil(peak / 5), -60), 20)
    return Scale(
        low_db=high - _RANGE_DB,
        high_db=high,
        seconds=max(np.shape(x)[-1] / rate for x, rate in clips),
        top_hz=max(rate / 2 for _, rate in clips),
    )


def spectrogram_png(samples: Array, *, sample_rate: int, scale: Scale) -> bytes:
    """A labelled spectrogram on `scale`. The same input gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels = spectrogram_db(samples, sample_rate=sample_rate)
    figure = Figure(figsize=(3.4, 1.9), dpi=200, facecolor=_PLATE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="black")
    axes.imshow(
        levels,
        origin="lower",
        aspect="auto",
        cmap=_COLOUR_MAP,
        vmin=scale.low_db,
        vmax=scale.high_db,
        extent=(0, np.shape(samples)[-1] / sample_rate, 0, sample_rate / 2),
    )
    axes.set(xlim=(0, scale.seconds), ylim=(0, scale.top_hz))
    axes.set_xlabel("Time (s)", color=_INK, fontsize=8)
    axes.set_ylabel("Frequency (Hz)", color=_INK, fontsize=8)
    axes.tick_params(colors=_INK, labelsize=7.5, length=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    """The figure with a palette of 128 colours: the colour map needs no more, and the file is a third."""
    from PIL import Image

    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png")
    picture = Image.open(full).convert("RGB")
    picture.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def colour_gradient(stops: int = 12) -> str:
    """The spectrogram's colour bar as a CSS gradient, quiet to loud."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    colours = (to_hex(colormaps[_COLOUR_MAP](i / (stops - 1))) for i in range(stops))
    return f"linear-gradient(to right, {', '.join(colours)})"


def nice_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that covers `span` in at most `count` steps."""
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))


def _ticks(low: float, high: float, count: int) -> list[float]:
    step = nice_step(high - low, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _tick_text(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value + 0.0:.6g}"
    return text.replace("-", "−").replace(",", "\u202f")


def interval_bar(
    mean: float, low: float | None, high: float | None, *, domain: tuple[float, float], baseline: float | None
) -> Markup:
    """A small interval with its mean and a tick at `baseline`; an arrow where the value lies outside `domain`.

    Decorative: the numbers stand beside it, so it is hidden from screen readers.
    """
    width, middle = 64, 6
    left, right = domain
    if mean < left or mean > right:
        points = "1,6 7,2 7,10" if mean < left else "63,6 57,2 57,10"
        mark = f'<polygon class="dot" points="{points}"/>'
    else:
        x = _place(mean, domain, 3, width - 3)
        start, end = (
            _place(v, domain, 0, width) for v in (mean if low is None else low, mean if high is None else high)
        )
        mark = f'<line class="span" x1="{start:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>'
        mark += f'<circle class="dot" cx="{x:.1f}" cy="{middle}" r="2.6"/>'
    tick = ""
    if baseline is not None and left <= baseline <= right:
        at = _place(baseline, domain, 3, width - 3)
        tick = f'<line class="base" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="12"/>'
    return Markup(
        f'<svg class="bar" viewBox="0 0 {width} 12" width="{width}" height="12" aria-hidden="true" focusable="false">'
        f'<line class="axis" x1="0" x2="{width}" y1="{middle}" y2="{middle}"/>{tick}{mark}</svg>'
    )


def _place(value: float, domain: tuple[float, float], start: float, end: float) -> float:
    """Position of `value` when `domain` is drawn from `start` to `end`, kept inside."""
    low, high = domain
    share = 0.5 if high == low else (value - low) / (high - low)
    return start + (end - start) * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class Point:
    """A value with its interval; `few` marks one that rests on too few items."""

    value: float
    low: float | None
    high: float | None
    few: bool = False


@dataclass(frozen=True)
class Curve:
    """One line of a chart; `slot` picks its colour and marker, None is the dashed grey of a reference row."""

    label: str
    slot: int | None
    points: Sequence[Point | None]


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 330, 56, 170, 14, 50
_SLOTS = 8


def line_chart(
    curves: Sequence[Curve], bins: Sequence[str], *, name: str, title: str, x_label: str, y_label: str, ordered: int
) -> Markup:
    """Metric against bin, one curve per system with its interval; the labels stand at the curves' ends.

    `name` makes the ids unique on the page. The first `ordered` bins have an order and are joined by lines.
    """
    reach = [v for c in curves for p in c.points if p for v in (p.value, p.low, p.high) if v is not None]
    if not reach or not bins:
        return Markup()
    low, high = min(reach), max(reach)
    pad = 0.05 * (high - low) or 0.5
    domain = (low - pad, high + pad)
    xs = [_LEFT + (_WIDTH - _LEFT - _RIGHT) * (i + 0.5) / len(bins) for i in range(len(bins))]
    parts = [_grid(domain), _bin_labels(bins, xs), _axis_titles(x_label, y_label)]
    parts += [_curve(c, xs, domain, offset, ordered) for c, offset in zip(curves, _dodge(len(curves)), strict=True)]
    parts.append(_end_labels(curves, xs, domain))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{escape(name)}-title">'
        f'<title id="{escape(name)}-title">{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _dodge(count: int) -> list[float]:
    """Horizontal shifts that keep whiskers of one bin apart."""
    return [3.0 * (i - (count - 1) / 2) for i in range(count)]


def _y(value: float, domain: tuple[float, float]) -> float:
    return _place(value, domain, _HEIGHT - _BOTTOM, _TOP)


def _grid(domain: tuple[float, float]) -> str:
    out = []
    for tick in _ticks(*domain, 6):
        y = _y(tick, domain)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_tick_text(tick)}</text>')
    return "".join(out)


def _bin_labels(bins: Sequence[str], xs: Sequence[float]) -> str:
    y = _HEIGHT - _BOTTOM + 18
    texts = (_short(b, 16) for b in bins)
    return "".join(
        f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escape(text)}</text>'
        for x, text in zip(xs, texts, strict=True)
    )


def _axis_titles(x_label: str, y_label: str) -> str:
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    return (
        f'<text class="label" x="{middle_x:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="label" x="12" y="{middle_y:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle_y:.1f})">{escape(y_label)}</text>'
    )


def _curve(curve: Curve, xs: Sequence[float], domain: tuple[float, float], offset: float, ordered: int) -> str:
    placed = [(x + offset, p) for x, p in zip(xs, curve.points, strict=True) if p is not None]
    joined = sum(p is not None for p in curve.points[:ordered])
    line = " ".join(f"{x:.1f},{_y(p.value, domain):.1f}" for x, p in placed[:joined])
    parts = [f'<polyline class="line" points="{line}"/>'] if joined > 1 else []
    for x, p in placed:
        if p.low is not None and p.high is not None:
            ends = f'y1="{_y(p.low, domain):.1f}" y2="{_y(p.high, domain):.1f}"'
            parts.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" {ends}/>')
        parts.append(_marker(curve.slot, x, _y(p.value, domain), p.few))
    return f'<g class="{_slot_class(curve.slot)}">{"".join(parts)}</g>'


def _slot_class(slot: int | None) -> str:
    return "reference" if slot is None else f"s{slot % _SLOTS}"


def _marker(slot: int | None, x: float, y: float, few: bool) -> str:
    """One of five shapes, so that colour is never the only cue; hollow for few items."""
    kind = f'class="mark{" few" if few else ""}"'
    if slot is None or slot % 5 == 0:
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
    shapes = {
        1: ((-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)),
        2: ((0, -4.2), (4, 3), (-4, 3)),
        3: ((0, -4.4), (4.4, 0), (0, 4.4), (-4.4, 0)),
        4: ((0, 4.2), (4, -3), (-4, -3)),
    }
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[slot % 5])
    return f'<polygon {kind} points="{points}"/>'


def _end_labels(curves: Sequence[Curve], xs: Sequence[float], domain: tuple[float, float]) -> str:
    """Names beside the curves' last points, moved apart where they would overlap."""
    ends = []
    for curve in curves:
        last = [(x, p) for x, p in zip(xs, curve.points, strict=True) if p is not None]
        if last:
            ends.append((_y(last[-1][1].value, domain), last[-1][0], curve))
    ends.sort(key=lambda e: e[0])
    rows = _spread([y for y, _, _ in ends], gap=15, low=_TOP, high=_HEIGHT - _BOTTOM + 6)
    x = _WIDTH - _RIGHT + 14
    out = []
    for (y, from_x, curve), row in zip(ends, rows, strict=True):
        out.append(
            f'<g class="{_slot_class(curve.slot)}">'
            f'<line class="leader" x1="{from_x + 14:.1f}" y1="{y:.1f}" x2="{x - 3}" y2="{row:.1f}"/>'
            f'{_marker(curve.slot, x + 4, row, False)}<text class="name" x="{x + 13}" y="{row + 4:.1f}">'
            f"{escape(_short(curve.label, 22))}</text></g>"
        )
    return "".join(out)


def _spread(positions: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Sorted positions pushed at least `gap` apart (less if they do not fit), within [low, high]."""
    gap = min(gap, (high - low) / max(len(positions) - 1, 1))
    out: list[float] = []
    for p in positions:
        out.append(max(p, low, out[-1] + gap if out else low))
    limit = high
    for i in reversed(range(len(out))):
        out[i] = min(out[i], limit)
        limit = out[i] - gap
    return out


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def histogram(
    values: Array, *, name: str, title: str, x_label: str, compared: Array | None = None, most_bins: int = 24
) -> Markup:
    """Counts of `values` as bars; `compared` (what was requested, say) as an outline on the same bins.

    Values that are not finite are left out; without any, the result is empty.
    """
    given = [values] if compared is None else [values, compared]
    shown = [a[np.isfinite(a)] for a in (np.asarray(v, dtype=np.float64) for v in given)]
    every = np.concatenate(shown)
    if not every.size:
        return Markup()
    edges = _edges(float(every.min()), float(every.max()), most_bins)
    counts = [np.histogram(a, edges)[0].tolist() for a in shown]
    return _histogram_svg(edges, counts, name=name, title=title, x_label=x_label)


def _edges(low: float, high: float, most: int) -> list[float]:
    """Round edges around [low, high]; for one single value, five bins with it in the middle."""
    if high == low:
        step = nice_step(max(abs(low), 1.0) / 10, 1)
        return [low + (k - 2.5) * step for k in range(6)]
    step = nice_step(high - low, most - 2)
    first = math.floor(low / step)
    return [k * step for k in range(first, max(math.ceil(high / step), first + 1) + 1)]


_BASE, _CEILING, _START, _END = 150.0, 8.0, 44.0, 360.0  # the frame of a histogram inside its 380 x 190


def _histogram_svg(
    edges: Sequence[float], counts: Sequence[Sequence[int]], *, name: str, title: str, x_label: str
) -> Markup:
    most = max(max(c) for c in counts)
    step = max(nice_step(most, 4), 1.0)
    levels = [k * step for k in range(math.ceil(most / step) + 1)]
    xs = [_place(e, (edges[0], edges[-1]), _START, _END) for e in edges]
    tops = [[_place(c, (0, levels[-1]), _BASE, _CEILING) for c in column] for column in counts]
    parts = [_count_axis(levels), _columns(xs, tops[0])]
    if len(tops) > 1:
        parts.append(f'<path class="outline" d="{_steps(xs, tops[1])}"/>')
    parts.append(_value_axis((edges[0], edges[-1]), x_label))
    return Markup(
        f'<svg class="histogram" viewBox="0 0 380 190" role="img" aria-labelledby="{escape(name)}-title">'
        f'<title id="{escape(name)}-title">{escape(title)}</title>{"".join(parts)}</svg>'
    )


def _count_axis(levels: Sequence[float]) -> str:
    out = []
    for level in levels:
        y = _place(level, (0, levels[-1]), _BASE, _CEILING)
        out.append(f'<line class="grid" x1="{_START}" x2="{_END}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{_START - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick_text(level)}</text>')
    return "".join(out)


def _value_axis(domain: tuple[float, float], label: str) -> str:
    out = []
    for tick in _ticks(*domain, 6):
        x = _place(tick, domain, _START, _END)
        out.append(f'<text x="{x:.1f}" y="{_BASE + 15}" text-anchor="middle">{_tick_text(tick)}</text>')
    middle = (_START + _END) / 2
    out.append(f'<text class="label" x="{middle}" y="{_BASE + 34}" text-anchor="middle">{escape(label)}</text>')
    return "".join(out)


def _columns(xs: Sequence[float], tops: Sequence[float]) -> str:
    return "".join(
        f'<rect class="column" x="{a + 0.5:.1f}" y="{y:.1f}" width="{b - a - 1:.1f}" height="{_BASE - y:.1f}"/>'
        for a, b, y in zip(xs[:-1], xs[1:], tops, strict=True)
        if y < _BASE
    )


def _steps(xs: Sequence[float], tops: Sequence[float]) -> str:
    """A staircase over the bins, closed to the base line at both ends."""
    stairs = "".join(f"V{top:.1f}H{right:.1f}" for top, right in zip(tops, xs[1:], strict=True))
    return f"M{xs[0]:.1f} {_BASE:.1f}{stairs}V{_BASE:.1f}"
