"""The command line. Commands import what they need when they run, so that `hubbub --help` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from manifests.errors import UserError
from pipelines.console import duration, say, warn

__all__ = ["app", "run"]

app = typer.Typer(
    name="hubbub",
    help="Speech-in-noise datasets at cluster scale, and model rankings that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 too many failures, 2 a mistake in what was asked."""
    try:
        return int(app(args=list(arguments), standalone_mode=False) or 0)
    except UserError as error:
        warn("\n".join(f"hubbub: {line}" for line in str(error).splitlines()))
        return 2
    except typer.Exit as done:
        return done.exit_code
    except KeyboardInterrupt:
        warn("hubbub: interrupted; run the same command again to go on where it stopped")
        return 130
    except Exception as error:
        if type(error).__module__.startswith("click") or hasattr(error, "format_message"):
            warn(f"hubbub: {error.format_message()} ('hubbub --help' lists commands and options)")  # type: ignore[attr-defined]
            return 2
        raise


Workers = Annotated[
    int | None, typer.Option("--workers", "-w", min=0, help="Ray workers; 0 runs in this process. Default: all cores.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Run shards with failed rows again.")]
Out = Annotated[str, typer.Option("--out", "-o", help="Folder or URL of the dataset.")]
DatasetDir = Annotated[str, typer.Argument(metavar="DATASET", help="Folder or URL of a dataset.")]
SourceTables = Annotated[
    list[str] | None, typer.Option("--sources", "-s", help="Table of 'hubbub scan'; repeatable. Replaces the recipe's.")
]


def _workers(given: int | None) -> int:
    import os

    return given if given is not None else max(len(os.sched_getaffinity(0)), 1)


def _pairs(given: Sequence[str], what: str, example: str) -> dict[str, str]:
    out = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UserError(f"{what} '{text}': write it as {example}")
        out[key] = value
    return out


@app.command()
def scan(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="KIND=DIR...", help="speech=DIR noise=DIR rir=DIR music=DIR other=DIR")
    ] = None,
    out: Annotated[str, typer.Option("--out", "-o", help="The table to write.")] = "sources.parquet",
    index: Annotated[
        list[str] | None, typer.Option("--index", help="CSV or Parquet index of a corpus; repeatable.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Map an index column: speaker_id=SPK; repeatable.")
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option("--pattern", help="Read a column off the path: speaker_id='(p\\d+)_'; repeatable."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Kind of every row of the index that has no column for it.")
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> int:
    """Measure every file of a corpus and write the table of sources. A rescan reads only what changed."""
    from manifests import corpora
    from pipelines import scan as stage

    patterns, columns = (
        _pairs(pattern or [], "--pattern", "column='regular expression'"),
        _pairs(column or [], "--column", "ours=theirs"),
    )
    given = [_pairs([text], "argument", "KIND=DIR, for example speech=/data/clean") for text in folders or []]
    found = [f for pair in given for k, folder in pair.items() for f in corpora.from_folder(k, folder, patterns)]
    found += [f for uri in index or [] for f in corpora.from_index(uri, columns, patterns, kind)]
    if not found:
        raise UserError(
            "nothing to scan: give folders as KIND=DIR (speech=/data/clean noise=/data/noise), or --index FILE"
        )
    rows, result, kept = stage.scan(found, out, workers=_workers(workers), quiet=quiet)
    say(
        f"{out}: {len(rows)} files, {kept} unchanged since the last scan, {len(rows) - kept} read in "
        f"{duration(result.seconds)}"
    )
    for line in stage.summary(rows):
        say(line)
    return 0


RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]


def _load(recipe: str, sources: Sequence[str] | None) -> tuple[Any, Any]:
    import os

    from manifests.recipe import load_recipe
    from pipelines import generate

    loaded = load_recipe(recipe)
    return loaded, generate.load_sources(sources or loaded.sources, "" if sources else os.path.dirname(recipe))


@app.command()
def plan(recipe: RecipeFile, sources: SourceTables = None) -> int:
    """Print what a recipe will make and cost. Nothing is rendered or written."""
    from pipelines import generate

    loaded, rows = _load(recipe, sources)
    _, _, estimate = generate.make_plan(loaded, rows)
    _say_plan(loaded.name, estimate)
    return 0


def _say_plan(name: str, estimate: Any) -> None:
    say(f"{name}: {sum(estimate.rows.values())} mixtures, {sum(estimate.hours.values()):.2f} h")
    for split, rows in estimate.rows.items():
        used = ", ".join(
            f"{n} {key.split()[0]}" for key, n in sorted(estimate.groups.items()) if key.split()[1] == split
        )
        say(f"  {split:8} {rows:8} rows {estimate.hours[split]:9.2f} h   from {used} sources")
    say(
        f"  about {estimate.gigabytes:.2f} GB and {estimate.core_hours:.3f} core-hours, {estimate.simulated_rooms} "
        "simulated rooms (estimates)"
    )
    for why, count in sorted(estimate.left_out.items()):
        say(f"  left out: {count} sources, {why}")


@app.command()
def generate(
    recipe: RecipeFile,
    out: Out,
    sources: SourceTables = None,
    workers: Workers = None,
    retry_failed: Retry = False,
    quiet: Quiet = False,
) -> int:
    """Make a dataset: plan, render, seal. Run again after a kill, it goes on where it stopped."""
    from pipelines import generate as stage

    loaded, rows = _load(recipe, sources)
    dataset, result = stage.generate(
        loaded, rows, out, workers=_workers(workers), quiet=quiet, retry_failed=retry_failed
    )
    say(f"{dataset.root}: {_outcome(result)}")
    return _exit_code(result, loaded.failure_budget, dataset, "render-*")


def _outcome(result: Any) -> str:
    counts = result.counts
    parts = [
        f"{counts.done} of {counts.rows_in} rows",
        f"{sum(counts.dropped.values())} dropped",
        f"{sum(counts.failed.values())} failed",
    ]
    for name, found in (("dropped", counts.dropped), ("failed", counts.failed)):
        parts += [f"{name} as {reason}: {n}" for reason, n in sorted(found.items())]
    resumed = f", {result.shards_resumed} of {result.shards} shards were done" if result.shards_resumed else ""
    return f"{', '.join(parts)}; {duration(result.seconds)}{resumed}"


def _exit_code(result: Any, budget: float, dataset: Any, pattern: str) -> int:
    """1 where too many rows failed, with the first message of each reason."""
    if result.within_budget:
        return 0
    first = {row.reason: row for row in reversed(dataset.aside("failed", pattern))}
    for row in first.values():
        warn(f"hubbub: {row.id} ({row.reason}): {row.message}")
    failed = sum(result.counts.failed.values())
    warn(
        f"hubbub: {failed} of {result.counts.rows_in} rows failed, more than the failure budget of {budget:.2%}; see "
        "the folder 'failed'"
    )
    return 1


@app.command()
def replay(
    dataset: DatasetDir, mixture_id: Annotated[str, typer.Argument(help="Id of a row, or its beginning.")]
) -> int:
    """Render one finished row again from the row alone and compare the bytes."""
    from pipelines import generate
    from pipelines.dataset import Dataset

    found = generate.replay(Dataset(dataset), mixture_id)
    for name, same in found.items():
        say(f"{mixture_id} {name}: {'identical' if same else 'DIFFERENT'}")
    return 0 if all(found.values()) else 1


@app.command()
def check(dataset: DatasetDir, workers: Workers = None, quiet: Quiet = False) -> int:
    """Decode every row of a dataset and check what it promises: sums, SNR, alignment, peaks, hashes, splits."""
    from pipelines import check as stage
    from pipelines.dataset import Dataset

    findings, rows = stage.check(Dataset(dataset), workers=_workers(workers), quiet=quiet)
    for line in findings[:20]:
        say(line)
    say(f"{dataset}: {rows} rows checked, {len(findings)} findings")
    return 1 if findings else 0


Systems = "unprocessed, silence, oracle, irm, ibm, rnnoise, spectral_gating, or a YAML file; repeatable."


@app.command()
def infer(
    dataset: DatasetDir,
    system: Annotated[list[str], typer.Option("--system", "-S", help=Systems)],
    split: Annotated[
        str | None, typer.Option("--split", help="A split, or 'all'. Default: test if there is one.")
    ] = None,
    workers: Workers = None,
    retry_failed: Retry = False,
    quiet: Quiet = False,
) -> int:
    """Run systems over a dataset."""
    from manifests.system import load_system
    from pipelines import infer as stage
    from pipelines.dataset import Dataset

    for spec in [load_system(name) for name in system]:
        row, result, statuses, problem = stage.infer(
            Dataset(dataset), spec, workers=_workers(workers), split=split, quiet=quiet, retry_failed=retry_failed
        )
        found = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
        say(f"{row.system_id}: {found}; {_outcome(result)}")
        if problem:
            warn(f"  the first that is not ok: {problem}")
    return 0


@app.command()
def score(
    dataset: DatasetDir,
    system: Annotated[
        list[str] | None, typer.Option("--system", "-S", help="Systems to score; repeatable. Default: all.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Metrics or groups ('hubbub metrics'); repeatable. Default: headline."),
    ] = None,
    plug_in: Annotated[
        list[str] | None, typer.Option("--plug-in", help="A metric of your own: its YAML file; repeatable.")
    ] = None,
    recogniser: Annotated[
        str | None,
        typer.Option("--recogniser", help="Turns audio into text for wer, cer, dwer: a YAML file."),
    ] = None,
    normaliser: Annotated[
        str, typer.Option("--normaliser", help="Of texts before words are counted: none@1, basic@1, english@1, ...")
    ] = "basic@1",
    against: Annotated[
        str, typer.Option("--against", help="target, talkers (unordered), stems (by name), or auto.")
    ] = "auto",
    window: Annotated[
        float | None, typer.Option("--window", help="Seconds: assign talkers in windows too, and say where they swap.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--dnsmos", help="Folder of DNSMOS's ONNX files. Default: the extra dnsmos."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --window: score the estimates put together as the windows say.")
    ] = False,
    workers: Workers = None,
    retry_failed: Retry = False,
    quiet: Quiet = False,
) -> int:
    """Score the estimates of systems."""
    from pipelines import score as stage
    from pipelines.dataset import Dataset

    results = stage.score(
        Dataset(dataset),
        systems=system or [],
        metrics=metric or ([] if plug_in else ["headline"]),
        plug_ins=plug_in or [],
        recogniser=recogniser,
        normaliser=normaliser,
        against=against,
        window_s=window,
        follow=follow,
        models=models,
        workers=_workers(workers),
        quiet=quiet,
        retry_failed=retry_failed,
    )
    for name, result in results.items():
        say(f"{name}: {result.counts.rows_out} scores; {_outcome(result)}")
    found = Dataset(dataset)
    return max(_exit_code(result, 0.001, found, f"score-{name}-*") for name, result in results.items())


@app.command()
def report(
    dataset: DatasetDir,
    out: Annotated[str | None, typer.Option("--out", "-o", help="Folder of the page. Default: DATASET/report.")] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Mixtures to listen to.")] = 4,
    by: Annotated[str, typer.Option("--by", help="The manifest's column to break the scores down by.")] = "snr_db",
    edges: Annotated[
        str | None, typer.Option("--edges", help="Edges of its bins, '-5,0,5'. Default: every value; SNR by 5 dB.")
    ] = None,
    cluster: Annotated[
        str, typer.Option("--cluster", help="The column whose values are drawn and flipped whole.")
    ] = "speaker_id",
    weight: Annotated[
        str | None, typer.Option("--weight", help="A column to weight items by: duration_s makes 'sdr' GNSDR.")
    ] = None,
) -> int:
    """Write the leaderboard page, with CSV and Markdown of the same numbers."""
    from pipelines import report as stage
    from pipelines.dataset import Dataset

    view = stage.View(by=by, edges=_numbers("--edges", edges), cluster=cluster, weight=weight)
    say(stage.report(Dataset(dataset), out=out, examples=examples, view=view))
    return 0


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers with commas between them."""
    from manifests.errors import UserError

    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{option} must be numbers with commas between them, got '{text}'") from None


@app.command()
def demo(
    out: Out = "demo-output",
    workers: Workers = None,
    quiet: Quiet = False,
) -> int:
    """Run the whole chain on the embedded synthetic corpus and print the path of the page."""
    from pipelines import demo as stage

    say(stage.demo(out, workers=_workers(workers), quiet=quiet))
    return 0


compare = typer.Typer(
    help="Score tables that are not audio. REF and EST are CSV, TSV, JSON Lines or Parquet, joined by id.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(compare, name="compare")

Ref = Annotated[str, typer.Argument(metavar="REF", help="Table of the reference.")]
Est = Annotated[
    list[str], typer.Argument(metavar="EST...", help="Table of a system, FILE or NAME=FILE; several are compared.")
]
TableFile = Annotated[str, typer.Argument(metavar="TABLE", help="CSV, TSV, JSON Lines or Parquet.")]
ColumnMap = Annotated[list[str] | None, typer.Option("--column", help="A column by another name: id=UTT; repeatable.")]
ClusterBy = Annotated[
    str | None, typer.Option("--cluster", help="Column of REF that items share (speaker): what intervals resample.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, with every item and every row not used.")]
TextMetrics = "wer, cer, wacc, mer, wil, semwer, oracle_wer_nb, oracle_wer_cp, lps; repeatable. Default: wer, cer."


def _columns(given: Sequence[str] | None) -> dict[str, str]:
    return _pairs(given or [], "--column", "ours=theirs, for example id=utterance")


def _show(found: Any, as_json: bool) -> int:
    from pipelines.comparison import in_json, rendered

    say(in_json(found) if as_json else rendered(found))
    return 0


@compare.command("text")
def compare_text(
    ref: Ref,
    est: Est,
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help=TextMetrics)] = None,
    normaliser: Annotated[
        str, typer.Option("--normaliser", help="Of texts before words are counted: none@1, basic@1, english@1, ...")
    ] = "basic@1",
    rules: Annotated[
        str, typer.Option("--rules", help="Of semwer: general@1, clinical@1, or a YAML file.")
    ] = "general@1",
    cluster: ClusterBy = None,
    column: ColumnMap = None,
    as_json: AsJson = False,
) -> int:
    """Transcripts: columns id and text (in EST also hypothesis, a text or a list of texts)."""
    from pipelines import compare as stage

    found = stage.compare_text(
        ref,
        est,
        metrics=metric or ("wer", "cer"),
        normaliser=normaliser,
        rules=rules,
        cluster=cluster,
        column=_columns(column),
    )
    return _show(found, as_json)


@compare.command("labels")
def compare_labels(
    ref: Ref,
    est: Est,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="accuracy, f1_macro, eer, ...; repeatable. Default: all that can be had."),
    ] = None,
    positive: Annotated[
        str | None, typer.Option("--positive", help="The class whose score is in the column 'score'.")
    ] = None,
    cluster: ClusterBy = None,
    column: ColumnMap = None,
    as_json: AsJson = False,
) -> int:
    """One label per item: columns id and label; in EST also score, or score_CLASS for every class."""
    from pipelines import compare as stage

    found = stage.compare_labels(
        ref, est, metrics=metric or stage.LABEL_METRICS, positive=positive, cluster=cluster, column=_columns(column)
    )
    return _show(found, as_json)


@compare.command("doa")
def compare_doa(
    ref: Ref,
    est: Est,
    within: Annotated[float, typer.Option("--within", min=0, max=180, help="Degrees that count as right.")] = 5.0,
    column: ColumnMap = None,
    as_json: AsJson = False,
) -> int:
    """Directions: columns frame, azimuth and elevation in degrees; recording. A row per active source."""
    from pipelines import compare_events as stage

    return _show(stage.compare_doa(ref, est, within_deg=within, column=_columns(column)), as_json)


@compare.command("seld")
def compare_seld(
    ref: Ref,
    est: Est,
    frames_per_second: Annotated[int, typer.Option("--frames-per-second", min=1)] = 10,
    average: Annotated[str, typer.Option("--average", help="macro (over classes) or micro.")] = "macro",
    column: ColumnMap = None,
    as_json: AsJson = False,
) -> int:
    """Sound events with directions (DCASE): columns frame, class, azimuth and elevation; recording."""
    from pipelines import compare_events as stage

    found = stage.compare_seld(ref, est, frames_per_second=frames_per_second, average=average, column=_columns(column))
    return _show(found, as_json)


@compare.command("notes")
def compare_notes(ref: Ref, est: Est, column: ColumnMap = None, as_json: AsJson = False) -> int:
    """Transcribed notes: columns onset and offset in seconds, pitch in Hz; recording."""
    from pipelines import compare_events as stage

    return _show(stage.compare_notes(ref, est, column=_columns(column)), as_json)


@compare.command("srt")
def compare_srt(
    table: TableFile,
    condition: Annotated[
        str | None, typer.Option("--condition", help="Column that splits the table: one threshold for each.")
    ] = None,
    guess: Annotated[float, typer.Option("--guess", help="Share understood by guessing.")] = 0.0,
    lapse: Annotated[float, typer.Option("--lapse", help="Share missed at any SNR.")] = 0.0,
    column: ColumnMap = None,
    as_json: AsJson = False,
) -> int:
    """Speech reception thresholds: columns snr_db, n_correct, n_total."""
    from pipelines import compare as stage

    found = stage.compare_srt(table, condition=condition, guess=guess, lapse=lapse, column=_columns(column))
    return _show(found, as_json)


@compare.command("table")
def compare_table(
    table: TableFile,
    score: Annotated[str, typer.Option("--score", help="prism, dns5_score or seld_error.")],
    column: ColumnMap = None,
    as_json: AsJson = False,
) -> int:
    """Scores made of other scores: a row per system, a column per metric."""
    from pipelines import compare as stage

    return _show(stage.compare_table(table, score=score, column=_columns(column)), as_json)


@app.command()
def ratings(
    dataset: DatasetDir,
    table: TableFile,
    cluster: Annotated[
        str, typer.Option("--cluster", help="Column of the manifest that mixtures share: what intervals resample.")
    ] = "speaker_id",
    column: ColumnMap = None,
    as_json: AsJson = False,
) -> int:
    """Import what people said of systems (system, mixture_id, scale, value; rater, n, std), and how metrics agree."""
    from pipelines import ratings as stage
    from pipelines.dataset import Dataset

    return _show(stage.ratings(Dataset(dataset), table, cluster=cluster, column=_columns(column)), as_json)


@app.command()
def metrics(
    names: Annotated[list[str] | None, typer.Argument(help="Metrics or groups, shown in full. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per metric.")] = False,
) -> int:
    """List the metrics: name, unit, range, direction, rate, floor, paper, package and licence."""
    from pipelines import listing

    listing.show(names or [], as_json=as_json)
    return 0


@app.command("verify-metrics")
def verify_metrics(
    as_json: Annotated[bool, typer.Option("--json", help="All values as JSON instead of tables.")] = False,
) -> int:
    """Score the golden pairs again: are metrics on this machine what they should be?"""
    import json
    import os

    from pipelines import verify as stage

    report = stage.verify(os.environ.get("HUBBUB_CORPUS"))
    if as_json:
        say(json.dumps(report.as_dict(), indent=1))
    else:
        stage.show(report)
    return 0 if report.ok else 1


@app.command()
def version() -> int:
    """Print the version."""
    from importlib import metadata

    from manifests.schema import OUTPUT_VERSION

    say(f"hubbub {metadata.version('hubbub')}, output version {OUTPUT_VERSION}")
    return 0
