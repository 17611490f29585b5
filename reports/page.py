"""The report of one dataset as a static site: leaderboard, breakdown, examples to listen to, and how it was made.

Conventions
    `build_page` takes plain data and returns relative path -> content; the caller writes the files. The page needs no
    network and no library: CSS and script are inside `index.html`, audio and spectrograms lie beside it. Numbers are
    those of `leaderboard.csv` and `bins.csv`; each cell carries the CSV's full number in `data-value`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from eval.statistics import flips_needed, smallest_p
from reports import figures, tables
from reports.tables import Cell, MetricInfo, Statistics, SystemInfo

__all__ = [
    "Clip",
    "Dataset",
    "Example",
    "MetricInfo",
    "Report",
    "Split",
    "StageCounts",
    "Statistics",
    "SystemInfo",
    "build_page",
    "environment",
]

_SUFFIXES = ("flac", "wav", "ogg", "mp3")
_MOST_ATTENUATION_DB = 20.0


@dataclass(frozen=True, kw_only=True)
class Split:
    name: str
    rows: int
    hours: float


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What was evaluated on, and with what. `target` and `snr` are definitions in words; `command` made the report."""

    name: str
    splits: Sequence[Split]
    sample_rate: int
    target: str
    snr: str
    recipe_digest: str
    sources_digest: str
    hubbub_version: str
    output_version: int
    packages: Mapping[str, str]
    machine: str
    command: str


@dataclass(frozen=True, kw_only=True)
class StageCounts:
    """Rows of one stage: `rows_in` = `rows_out` + dropped + failed, the last two by reason."""

    stage: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    @property
    def unaccounted(self) -> int:
        return self.rows_in - self.rows_out - sum(self.dropped.values()) - sum(self.failed.values())


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One playable signal: encoded `data`, and `samples` for its spectrogram.

    `statuses` names those scores that are not plain `ok`, with or without a value.
    """

    label: str
    data: bytes
    suffix: str
    samples: npt.NDArray[np.floating]
    sample_rate: int
    scores: Mapping[str, float | None] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One mixture with all its clips, and why it was chosen."""

    mixture_id: str
    why: str
    conditions: Mapping[str, str]
    transcript: str | None
    clips: Sequence[Clip]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of the page. `bins` may be empty. `baseline` names the row that gains are measured from."""

    title: str
    dataset: Dataset
    leaderboard: pd.DataFrame
    bins: pd.DataFrame
    bin_column: str
    metrics: Sequence[MetricInfo]
    systems: Sequence[SystemInfo]
    statistics: Statistics = field(default_factory=Statistics)
    warnings: Sequence[str] = ()
    counts: Sequence[StageCounts] = ()
    examples: Sequence[Example] = ()
    downloads: Sequence[str] = ()
    synthetic: bool = False
    baseline: str = "unprocessed"


@dataclass(frozen=True)
class Shown:
    """One cell as the page prints it: the aggregate, its rounding, its standing and its bar."""

    cell: Cell
    places: int
    pad: str
    gain_places: int
    best: bool
    few: bool
    bar: Markup


@dataclass(frozen=True)
class Bin:
    label: str
    n: int | None  # None where systems differ: the cells say
    excluded: int | None


@dataclass(frozen=True)
class Panel:
    """One metric in full: its table, its breakdown and its chart."""

    metric: MetricInfo
    rows: Sequence[tuple[SystemInfo, Shown | None]]
    bins: Sequence[Bin]
    grid: Sequence[tuple[SystemInfo, Sequence[Shown | None]]]
    chart: Markup
    delivered: bool  # some system was judged on other items than it delivered


@dataclass(frozen=True)
class Player:
    clip: Clip
    audio: str
    image: str
    alt: str
    volume: float


@dataclass(frozen=True)
class Listening:
    example: Example
    players: Sequence[Player]
    scale: figures.Scale


def build_page(report: Report) -> dict[str, bytes]:
    """The site: `index.html`, the tables as CSV and Markdown, and under `examples/` audio and spectrograms.

    Raises ValueError where the frames do not fit the systems and metrics, or a number is not finite.
    """
    if not report.metrics:
        raise ValueError("a report needs at least one metric")
    rows = tables.cells(report.leaderboard, report.systems, report.metrics)
    systems = tables.ordered(report.systems, report.metrics[0], rows)
    texts = {
        "leaderboard.csv": tables.leaderboard_csv(report.leaderboard, systems, report.metrics),
        "leaderboard.md": tables.leaderboard_markdown(
            report.leaderboard, systems, report.metrics, statistics=report.statistics, baseline=report.baseline
        ),
    }
    bins = []
    if len(report.bins):
        bins = tables.cells(report.bins, report.systems, report.metrics)
        texts["bins.csv"] = tables.bins_csv(report.bins, systems, report.metrics, report.bin_column)
    media, listening = _listening(report.examples)
    panels = [_panel(report, m, rows, bins) for m in report.metrics]
    shown = {p.metric.name: {s.name: cell for s, cell in p.rows} for p in panels}
    texts["index.html"] = (
        environment()
        .get_template("index.html.j2")
        .render(
            report=report,
            systems=systems,
            ids={s.name: f"system-{i}" for i, s in enumerate(systems, 1)},
            panels=panels,
            shown=shown,
            listening=listening,
            caption=tables.caption(rows, report.statistics, report.baseline, report.metrics),
            warnings=[*report.warnings, *_warnings(report, rows)],
            downloads=[*texts, *report.downloads],
            gradient=figures.colour_gradient() if listening else "",
            pesq=any(m.name.startswith(("pesq", "csig", "cbak", "covl")) for m in report.metrics),
        )
    )
    return {path: text.encode() for path, text in texts.items()} | media


@functools.cache
def environment() -> jinja2.Environment:
    """Templates with escaping on, unknown names refused, and no way to print a missing number as `None` or `nan`."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "missing": tables.MISSING,  # `{{ none }}` is a constant, which Jinja escapes before `finalize` sees it
        "number": lambda value, places, signed=False: _typographic(tables.number(value, places, signed=signed)),
        "typographic": _typographic,
        "percent": tables.percent,
        "grouped": tables.grouped,
        "failures": tables.failures,
        "p_value": tables.p_value,
        "rank": tables.rank,
        "standing": tables.standing,
        "raw": lambda value: "" if value is None else repr(value),
        "is_web": lambda url: bool(url) and url.startswith(("https://", "http://")),
        "slug": _slug,
    }
    return made


def _printable(value: Any) -> Any:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return tables.MISSING if missing else value


def _typographic(text: str) -> str:
    """`text` with true minus signs; for numbers only."""
    return text.replace("-", "−")


def _slug(text: str) -> str:
    """A name that is safe in ids and paths; not unique by itself."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "x"


def _panel(report: Report, metric: MetricInfo, rows: Sequence[Cell], bins: Sequence[Cell]) -> Panel:
    own = [r for r in rows if r.metric == metric.name]
    systems = tables.ordered(report.systems, metric, own)
    shown = _shown(report, metric, own, report.statistics.minimum_clusters, 0)
    mine = [b for b in bins if b.metric == metric.name]
    labels = _bin_labels(mine)
    grid = _grid(report, metric, mine, labels, systems)
    return Panel(
        metric=metric,
        rows=[(s, shown.get(s.name)) for s in systems],
        bins=[_bin(label, [c for c in mine if c.bin == label]) for label in labels],
        grid=grid,
        chart=_chart(report, metric, labels, grid, ordered=len({c.bin for c in mine if c.bin_low is not None})),
        delivered=tables.delivered_differ(own),
    )


def _bin_labels(rows: Iterable[Cell]) -> list[str]:
    """Bins from low to high; those without a lower edge after them, as they come."""
    edges: dict[str, float] = {}
    for r in rows:
        edges.setdefault(str(r.bin), math.inf if r.bin_low is None else r.bin_low)
    return sorted(edges, key=lambda label: edges[label])


def _bin(label: str, column: Sequence[Cell]) -> Bin:
    return Bin(label, _only({c.n for c in column}), _only({c.n_excluded for c in column}))


def _only(values: set[int | None]) -> int | None:
    return values.pop() if len(values) == 1 else None


def _grid(
    report: Report, metric: MetricInfo, rows: Sequence[Cell], labels: Sequence[str], systems: Sequence[SystemInfo]
) -> list[tuple[SystemInfo, list[Shown | None]]]:
    limits = report.statistics
    columns = [
        _shown(report, metric, [r for r in rows if r.bin == label], limits.minimum_bin_clusters, limits.minimum_items)
        for label in labels
    ]
    return [(s, [column.get(s.name) for column in columns]) for s in systems] if labels else []


def _shown(
    report: Report, metric: MetricInfo, column: Sequence[Cell], minimum_clusters: int, minimum_items: int
) -> dict[str, Shown]:
    """One column of a table, by system."""
    best = tables.best_systems(report.systems, metric, column)
    domain = _domain(report, column)
    baseline = next((c.mean for c in column if c.system == report.baseline), None)
    places = {c.system: tables.decimals_shown(c.ci_low, c.ci_high, metric.decimals) for c in column}
    most = max((places[c.system] for c in column if c.mean is not None), default=0)
    return {
        c.system: Shown(
            cell=c,
            places=places[c.system],
            pad=_pad(places[c.system], most),
            gain_places=tables.decimals_shown(c.delta_low, c.delta_high, metric.decimals),
            best=c.system in best,
            few=(c.n_clusters or 0) < minimum_clusters or (c.n or 0) < minimum_items,
            bar=Markup()
            if c.mean is None or domain is None
            else figures.interval_bar(c.mean, c.ci_low, c.ci_high, domain=domain, baseline=baseline),
        )
        for c in column
    }


def _domain(report: Report, column: Sequence[Cell]) -> tuple[float, float] | None:
    """What the bars of a column span: systems entered and baseline. Oracle and silence would flatten the rest."""
    entered = {s.name for s in report.systems if not s.anchor or s.name == report.baseline}
    ends = [v for c in column if c.system in entered for v in (c.ci_low, c.mean, c.ci_high) if v is not None]
    return (min(ends), max(ends)) if ends else None


def _pad(places: int, most: int) -> str:
    """Blanks as wide as the digits a number lacks, so that decimal points stand in line."""
    point = "\u2008" if places == 0 and most > 0 else ""
    return point + "\u2007" * (most - places)


def _chart(
    report: Report,
    metric: MetricInfo,
    labels: Sequence[str],
    grid: Sequence[tuple[SystemInfo, Sequence[Shown | None]]],
    *,
    ordered: int,
) -> Markup:
    slots = {s.name: i for i, s in enumerate(s for s in report.systems if not s.anchor)}
    curves = [
        figures.Curve(s.name, slots.get(s.name), [_point(cell) for cell in line])
        for s, line in grid
        if not s.anchor or s.name == report.baseline
    ]
    unit = f" ({metric.unit})" if metric.unit else ""
    return figures.line_chart(
        curves,
        labels,
        name=f"chart-{_slug(metric.name)}",
        title=f"{metric.title} by {report.bin_column}, one line per system; the table below has the numbers",
        x_label=report.bin_column,
        y_label=f"{metric.title}{unit}",
        ordered=ordered,
    )


def _point(shown: Shown | None) -> figures.Point | None:
    if shown is None or shown.cell.mean is None:
        return None
    return figures.Point(shown.cell.mean, shown.cell.ci_low, shown.cell.ci_high, shown.few)


def _warnings(report: Report, rows: Sequence[Cell]) -> list[str]:
    """What a careful reader would object to, said first."""
    return [
        *_cluster_warning(report, rows),
        *_rank_warnings(report, rows),
        *_item_warnings(report, rows),
        *_row_warnings(report),
    ]


def _cluster_warning(report: Report, rows: Sequence[Cell]) -> list[str]:
    limit, cluster = report.statistics.minimum_clusters, report.statistics.cluster
    counts = [r.n_clusters for r in rows if r.n_clusters is not None]
    if not counts or min(counts) >= limit:
        return []
    return [
        f"Some intervals rest on {min(counts)} clusters ({cluster}), fewer than {limit}; they are in italics. "
        "They hold for these clusters only and are too narrow for a claim about new ones."
    ]


def _rank_warnings(report: Report, rows: Sequence[Cell]) -> list[str]:
    """Metrics for which even the clearest difference could not be significant, those of one size together."""
    hopeless: dict[tuple[int, int], list[str]] = {}
    for metric in report.metrics:
        ranked = [r for r in rows if r.metric == metric.name and r.rank_low is not None]
        pairs, clusters = math.comb(len(ranked), 2), min((r.n_clusters or 0 for r in ranked), default=0)
        draws = flips_needed(pairs, draws=report.statistics.draws)
        if pairs and smallest_p(clusters, draws=draws) * pairs >= report.statistics.alpha:
            hopeless.setdefault((clusters, len(ranked)), []).append(metric.title)
    return [
        f"{', '.join(titles)}: {clusters} clusters ({report.statistics.cluster}) are too few to tell {systems} systems "
        "apart, however large the difference: every rank is open. More clusters are needed, not more items."
        for (clusters, systems), titles in hopeless.items()
    ]


def _item_warnings(report: Report, rows: Sequence[Cell]) -> list[str]:
    out = []
    for metric in report.metrics:
        counts = {r.n for r in rows if r.metric == metric.name}
        if len(counts) > 1:
            out.append(f"The rows of {metric.title} do not share one set of items: their means are not comparable.")
    if not any(s.name == report.baseline for s in report.systems):
        out.append(f"There is no row “{report.baseline}”: gains cannot be shown.")
    return out


def _row_warnings(report: Report) -> list[str]:
    return [
        f"Stage {c.stage}: {c.rows_in} rows in, but rows out, dropped and failed leave {c.unaccounted} unaccounted for."
        for c in report.counts
        if c.unaccounted
    ]


def _listening(examples: Sequence[Example]) -> tuple[dict[str, bytes], list[Listening]]:
    """Files and views of the examples. Paths are numbered: labels come from outside and may repeat."""
    media: dict[str, bytes] = {}
    views = []
    for i, example in enumerate(examples, 1):
        scale = figures.common_scale([(c.samples, c.sample_rate) for c in example.clips])
        volumes = _volumes(example.clips)
        players = []
        for k, clip in enumerate(example.clips, 1):
            stem = f"examples/{i:02d}-{_slug(example.mixture_id)}/{k:02d}-{_slug(clip.label)}"
            player = Player(clip, f"{stem}.{_suffix(clip)}", f"{stem}.png", _alt(clip, example, scale), volumes[k - 1])
            media[player.audio] = clip.data
            media[player.image] = figures.spectrogram_png(clip.samples, sample_rate=clip.sample_rate, scale=scale)
            players.append(player)
        views.append(Listening(example, players, scale))
    return media, views


def _suffix(clip: Clip) -> str:
    suffix = clip.suffix.removeprefix(".").lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"suffix must be one of {', '.join(_SUFFIXES)}, got {clip.suffix!r} (clip {clip.label!r})")
    return suffix


def _alt(clip: Clip, example: Example, scale: figures.Scale) -> str:
    return (
        f"Spectrogram of {clip.label}, mixture {example.mixture_id}: 0 to {scale.top_hz:.0f} Hz, "
        f"{scale.seconds:.1f} s, {scale.low_db:.0f} to {scale.high_db:.0f} dB"
    )


def _volumes(clips: Sequence[Clip]) -> list[float]:
    """Volumes (0..1) that give all clips the RMS of the quietest; one over 20 dB below the loudest is not matched."""
    levels = [figures.rms_dbfs(c.samples) for c in clips]
    loudest = max((level for level in levels if level is not None), default=0.0)
    floor = min((v for v in levels if v is not None and v > loudest - _MOST_ATTENUATION_DB), default=0.0)
    return [1.0 if v is None else round(min(1.0, 10 ** ((floor - v) / 20)), 4) for v in levels]
