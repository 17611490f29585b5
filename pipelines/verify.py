"""`hubbub verify-metrics`: does this machine compute the numbers that it should?

Golden pairs (`golden_pairs/`, installed with hubbub) are scored again and compared with the values that
`scripts/make_golden_pairs.py` wrote. They belong to one conformance number (`eval.catalogue.CONFORMANCE`), which
changes whenever one of them moves by more than its tolerance. With real recordings at hand (`HUBBUB_CORPUS`), so are
pairs for which others have published values (`pipelines.published`).

Conventions
    An expected value is a number, or `status: reason` for a metric that is undefined for a pair. Tolerances are
    absolute, times the value where that is above 1, and each has its reason. A share is a difference in tolerances:
    beyond 1 a value is off.
"""

from __future__ import annotations

import io
import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import intelligibility, pairs
from eval.catalogue import CONFORMANCE, METRICS, Metric
from eval.outcome import Outcome
from eval.score import Item, Output
from pipelines.console import say
from pipelines.score import missing

__all__ = [
    "FOLDER",
    "Check",
    "Golden",
    "NotReproduced",
    "Report",
    "Tolerance",
    "flat",
    "goldens",
    "same",
    "scored",
    "show",
    "stated",
    "tolerance_of",
    "verify",
    "versions",
]

Signal = NDArray[np.float64]
Value = float | str

FOLDER = Path(__file__).resolve().parent / "golden_pairs"
PACKAGES = ("numpy", "scipy", "numba", "soxr", "soundfile", "pesq", "pyworld", "onnxruntime", "speechmos")
WIDTH = 250


# --------------------------------------------------------------------------------------------------------- tolerances


@dataclass(frozen=True)
class Tolerance:
    """How far a value may lie from the expected one, and why not nearer."""

    limit: float
    reason: str

    def share(self, expected: float, found: float) -> float:
        """The difference in tolerances."""
        return abs(found - expected) / (self.limit * max(1.0, abs(expected)))


HOME = platform.system() == "Linux" and platform.machine() == "x86_64"
PESQ = Tolerance(1e-4 if HOME else 5e-3, "float32 code in C: compilers differ, on other platforms more")
RESAMPLED = Tolerance(1e-6, "behind a resampler, whose last bits differ between processors")
WORLD = Tolerance(1e-6, "WORLD in C++ behind a filter: last bits differ between processors")
NETWORK = Tolerance(1e-3, "a network in float32: processors sum in other orders")
SOLVED = Tolerance(1e-7, "a system of 512 and more equations, of which speech leaves some almost undetermined")
OWN = Tolerance(1e-9, "the same float64 arithmetic; samples with another last bit move no metric by 1e-11")

_SOLVED = frozenset({"sdr", "sir", "sar", "sdr_v4", "isr_v4", "sir_v4", "sar_v4"})


def tolerance_of(metric: Metric, sample_rate: int) -> Tolerance:
    """What a golden value of a metric may move by, at a reference's rate."""
    by_package = {"pesq": PESQ, "pyworld": WORLD, "speechmos": NETWORK}
    if metric.package in by_package:
        return by_package[metric.package]
    if metric.name in _SOLVED:
        return SOLVED
    own_resampler = metric.sample_rate == intelligibility.RATE
    return OWN if own_resampler or pairs.rate_of(metric, sample_rate) == sample_rate else RESAMPLED


# ------------------------------------------------------------------------------------------------------------- checks


@dataclass(frozen=True, kw_only=True)
class Check:
    """One value that was to be found. `skipped` says what is missing here to compute it."""

    source: str
    pair: str
    metric: str
    expected: Value
    found: Value | None
    tolerance: Tolerance
    skipped: str | None = None

    @property
    def difference(self) -> float | None:
        """None for what is no pair of numbers."""
        if isinstance(self.expected, str) or self.found is None or isinstance(self.found, str):
            return None
        return abs(self.found - self.expected)

    @property
    def share(self) -> float:
        """The difference in tolerances; infinite where one is a number and the other is not."""
        if isinstance(self.expected, str) or self.found is None or isinstance(self.found, str):
            return 0.0 if self.skipped or self.found == self.expected else math.inf
        return self.tolerance.share(self.expected, self.found)

    @property
    def ok(self) -> bool:
        return self.share <= 1


@dataclass(frozen=True)
class NotReproduced:
    """A published value that is not compared, and why."""

    source: str
    pair: str
    what: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What was found on this machine. `expected_conformance` and `made_with` are those of the golden values."""

    golden: Sequence[Check]
    expected_conformance: int
    made_with: Mapping[str, str]
    published: Sequence[Check] = ()
    not_reproduced: Sequence[NotReproduced] = ()
    conformance: int = CONFORMANCE
    versions: Mapping[str, str] = field(default_factory=lambda: versions())

    @property
    def checks(self) -> list[Check]:
        return [*self.golden, *self.published]

    @property
    def ok(self) -> bool:
        return self.conformance == self.expected_conformance and all(check.ok for check in self.checks)

    @property
    def worst(self) -> Check:
        """The golden value that lies farthest off, in tolerances."""
        return max(self.golden, key=lambda check: check.share)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "conformance": self.conformance,
            "expected_conformance": self.expected_conformance,
            "versions": dict(self.versions),
            "made_with": dict(self.made_with),
            "worst": _row(self.worst),
            "golden": [_row(check) for check in self.golden],
            "published": [_row(check) for check in self.published],
            "not_reproduced": [asdict(entry) for entry in self.not_reproduced],
        }


def _row(check: Check) -> dict[str, Any]:
    share = check.share if math.isfinite(check.share) else None
    return asdict(check) | {"difference": check.difference, "share": share, "ok": check.ok}


def verify(corpus: str | None = None) -> Report:
    """Score all golden pairs, and the fixtures of `corpus` where it has the folder `metric_fixtures`."""
    said = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    golden = [check for pair in goldens(said) for check in checks_of(pair)]
    published: list[Check] = []
    not_reproduced: list[NotReproduced] = []
    if corpus and (folder := Path(corpus) / "metric_fixtures").is_dir():
        from pipelines import published as others

        published, not_reproduced = others.compared(folder)
    return Report(golden, said["conformance"], said["made_with"], published, not_reproduced)


def versions() -> dict[str, str]:
    """What the numbers may depend on."""
    found = {"platform": f"{platform.system()}-{platform.machine()}".lower(), "python": platform.python_version()}
    for name in ("hubbub", *PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


# ------------------------------------------------------------------------------------------------------- golden pairs


@dataclass(frozen=True)
class Golden:
    """One golden pair: its audio, and what each metric of each of its outputs should be."""

    name: str
    title: str
    sample_rate: int
    against: str
    references: Mapping[str, Signal]
    estimates: Mapping[str, Signal]
    mixture: Signal | None
    values: Mapping[str, Mapping[str, Value]]

    @classmethod
    def of(cls, said: Mapping[str, Any], folder: Path = FOLDER) -> Golden:
        """An entry of expected.json with its audio."""
        import soundfile

        def read(name: str) -> Signal:
            x, rate = soundfile.read(folder / name)
            if rate != said["sample_rate"]:
                raise ValueError(f"{name} must have {said['sample_rate']} Hz, got {rate} (golden pair {said['name']})")
            return np.asarray(x)

        return cls(
            name=said["name"],
            title=said["title"],
            sample_rate=said["sample_rate"],
            against=said["against"],
            references={Path(name).stem: read(name) for name in said["references"]},
            estimates={Path(name).stem: read(name) for name in said["estimates"]},
            mixture=None if said["mixture"] is None else read(said["mixture"]),
            values=said["values"],
        )


def goldens(said: Mapping[str, Any] | None = None) -> list[Golden]:
    """All golden pairs of expected.json."""
    if said is None:
        said = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    return [Golden.of(entry) for entry in said["pairs"]]


def scored(pair: Golden, metrics: Sequence[str]) -> dict[tuple[str, str], Outcome]:
    """The outcome of each of `metrics`, by (output, metric). What is not installed is `skipped`."""
    absent = {name: reason for name in metrics if (reason := missing(METRICS[name]))}
    item = Item(
        references=pair.references,
        sample_rate=pair.sample_rate,
        mixture=pair.mixture,
        metrics=metrics,
        skipped=absent,
    )
    outputs = [Output(name=name, signal=signal) for name, signal in pair.estimates.items()]
    rows = item.outputs(outputs, against=pair.against)
    return {(row.output, row.metric): Outcome(row.value, row.status, row.reason) for row in rows}


def stated(outcome: Outcome) -> Value:
    """A number, or `status: reason`."""
    return f"{outcome.status}: {outcome.reason}" if outcome.value is None else outcome.value


def checks_of(pair: Golden) -> list[Check]:
    """Every expected value of a pair beside what is found here."""
    found = scored(pair, list(dict.fromkeys(name for values in pair.values.values() for name in values)))
    out = []
    for output, values in pair.values.items():
        for name, expected in values.items():
            outcome = found.get((output, name), Outcome(None, "error", "no_row"))
            skipped = outcome.status == "skipped"
            out.append(
                Check(
                    source="golden",
                    pair=pair.name if pair.against == "target" else f"{pair.name}/{output}",
                    metric=name,
                    expected=expected,
                    found=None if skipped else stated(outcome),
                    tolerance=tolerance_of(METRICS[name], pair.sample_rate),
                    skipped=outcome.reason if skipped else None,
                )
            )
    return out


def flat(said: Mapping[str, Any]) -> dict[tuple[str, str, str], Value]:
    """The values of expected.json by pair, output and metric."""
    return {
        (pair["name"], output, metric): value
        for pair in said["pairs"]
        for output, values in pair["values"].items()
        for metric, value in values.items()
    }


def same(metric: Metric, sample_rate: int, before: Value, now: Value) -> bool:
    """Whether two golden values of a metric are one within its tolerance."""
    if isinstance(before, str) or isinstance(now, str):
        return before == now
    return tolerance_of(metric, sample_rate).share(before, now) <= 1


# ------------------------------------------------------------------------------------------------------ what is shown


def show(report: Report) -> None:
    """Tables and the verdict, on standard output."""
    say(_table("Golden pairs", _golden_rows(report.golden)))
    say(_reasons(report.golden))
    if report.published:
        say(_table("Published values", [_published_row(check) for check in report.published]))
        say(_reasons(report.published))
    for entry in report.not_reproduced:
        say(f"not reproduced: {entry.source}, {entry.pair}: {entry.what}: {entry.reason}")
    for line in _skipped(report.checks):
        say(line)
    off = [check for check in report.golden if not check.ok]
    if off:
        say(_table("Golden values out of tolerance", [_published_row(check) for check in off]))
    say(_versions(report))
    say(verdict(report))


def verdict(report: Report) -> str:
    """The last lines: how many values, the one farthest off, the conformance number."""
    lines = [
        f"{what}: {sum(c.ok and not c.skipped for c in checks)} values within tolerance, "
        f"{sum(not c.ok for c in checks)} out of tolerance, {sum(bool(c.skipped) for c in checks)} skipped"
        for what, checks in (("golden pairs", report.golden), ("published", report.published))
        if checks
    ]
    worst = report.worst
    lines.append(f"largest deviation: {worst.share:.3g} of its tolerance ({worst.metric} of {worst.pair})")
    if report.conformance != report.expected_conformance:
        lines.append(f"the golden values are those of conformance {report.expected_conformance}")
    lines.append(f"conformance {report.conformance}: {'ok' if report.ok else 'NOT REACHED'}")
    return "\n".join(lines)


def _golden_rows(checks: Sequence[Check]) -> list[dict[str, str]]:
    """One row per metric, with its worst value."""
    by_metric: dict[str, list[Check]] = {}
    for check in checks:
        by_metric.setdefault(check.metric, []).append(check)
    rows = []
    for metric, members in by_metric.items():
        worst = max(members, key=lambda check: check.share)
        rows.append(
            {
                "metric": metric,
                "values": str(len(members)),
                "largest difference": _number(worst.difference),
                "in pair": worst.pair,
                "tolerance": f"{worst.tolerance.limit:g}",
                "ok": _verdict(worst),
            }
        )
    return rows


def _published_row(check: Check) -> dict[str, str]:
    return {
        "source": check.source,
        "pair": check.pair,
        "metric": check.metric,
        "published" if check.source != "golden" else "expected": _value(check.expected),
        "ours": _value(check.found),
        "difference": _number(check.difference),
        "tolerance": f"{check.tolerance.limit:g}",
        "ok": _verdict(check),
    }


def _verdict(check: Check) -> str:
    return "skipped" if check.skipped else "ok" if check.ok else "OFF"


def _value(value: Value | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.10g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _reasons(checks: Iterable[Check]) -> str:
    reasons = dict.fromkeys((check.tolerance.limit, check.tolerance.reason) for check in checks)
    return "\n".join(f"tolerance {limit:g}: {reason}" for limit, reason in sorted(reasons))


def _skipped(checks: Iterable[Check]) -> list[str]:
    by_reason: dict[str, dict[str, None]] = {}
    for check in checks:
        if check.skipped:
            by_reason.setdefault(check.skipped, {})[check.metric] = None
    return [f"skipped: {', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def _versions(report: Report) -> str:
    parts = []
    for name, now in report.versions.items():
        before = report.made_with.get(name, now)
        parts.append(f"{name} {now}" + (f" (golden values: {before})" if before != now else ""))
    return ", ".join(parts)


def _table(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    """A table as text, the same on a terminal and in a file: rich would cut cells to fit a terminal."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
    for row in rows:
        table.add_row(*row.values())
    out = io.StringIO()
    Console(file=out, width=WIDTH).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


_NUMBERS = frozenset({"values", "largest difference", "tolerance", "published", "expected", "ours", "difference"})
