"""`hubbub demo`: the whole chain on the embedded synthetic corpus, as a newcomer would run it by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from eval.catalogue import HEADLINE
from manifests import corpora, storage
from manifests.recipe import load_recipe
from manifests.system import load_system
from pipelines import console, generate, infer, report, scan, score

__all__ = ["demo"]

HERE = Path(__file__).resolve().parent
SYSTEMS = ("unprocessed", "silence", "oracle", "irm", "ibm", "rnnoise", "spectral_gating")
YOUR_OWN = """
The speech and noise above are SYNTHETIC (text-to-speech and computed noise): nothing to train on or to publish.
For your own folders:

    hubbub scan speech=/path/to/speech noise=/path/to/noise -o sources.parquet
    hubbub generate {recipe} --sources sources.parquet --out my-dataset
"""


def demo(out: str, *, workers: int, quiet: bool = False) -> str:
    """Scan, generate, infer, score and report in folder `out`. Prints each step; returns the path of the page."""
    recipe_file = HERE / "recipes" / "demo.yaml"
    table, folder = storage.join(out, "sources.parquet"), storage.join(out, "dataset")
    found = corpora.from_index(str(HERE / "demo_corpus" / "index.csv"), {}, {})
    rows, result, _ = scan.scan(found, table, workers=workers, quiet=quiet)
    usable = Counter(row.kind for row in rows if row.status == "ok")
    console.say(
        f"scan      {usable['speech']} speech and {usable['noise']} noise files in {console.duration(result.seconds)}"
    )
    recipe = load_recipe(str(recipe_file))
    dataset, result = generate.generate(recipe, rows, folder, workers=workers, quiet=quiet)
    console.say(f"generate  {result.counts.done} mixtures in {console.duration(result.seconds)}")
    for name in SYSTEMS:
        _, result, statuses, _ = infer.infer(dataset, load_system(name), workers=workers, quiet=quiet)
        console.say(
            f"infer     {name}: {statuses['ok']} of {statuses.total()} ok in {console.duration(result.seconds)}"
        )
    results = score.score(dataset, metrics=HEADLINE, workers=workers, quiet=quiet)
    seconds = max(result.seconds for result in results.values())  # they are scored together
    console.say(f"score     {sum(r.counts.rows_out for r in results.values())} scores in {console.duration(seconds)}")
    page = report.report(dataset, examples=3)
    console.say(YOUR_OWN.format(recipe=recipe_file))
    return str(Path(page).resolve())
