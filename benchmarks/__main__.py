"""`python -m benchmarks rooms|render|score|sdr|stoi|engine|all [--json] [--write] [--rounds N] [--quick]`.

Prints a table or, with `--json`, one JSON object per benchmark:
`{"benchmark": ..., "machine": {...}, "corpus": {...}, "results": {key: {"ours_ms", "peer_ms", "peer", "ratio", ...}}}`.
`all` and `--write` also write them to `benchmarks/results/NAME.json`. `--quick` only shows that a benchmark works.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure

__all__ = ["NAMES", "main", "report"]

NAMES = ("rooms", "render", "score", "sdr", "stoi", "engine")
RESULTS = Path(__file__).parent / "results"
ROUNDS = 7


def main(arguments: Sequence[str]) -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="hubbub side by side with its peers")
    parser.add_argument("name", choices=[*NAMES, "all"])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/NAME.json, as 'all' does")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round; the numbers mean nothing")
    given = parser.parse_args(arguments)
    for name in NAMES if given.name == "all" else (given.name,):
        found = report(name, rounds=1 if given.quick else given.rounds, quick=given.quick)
        print(json.dumps(found) if given.json else _table(found), flush=True)
        if (given.write or given.name == "all") and not given.quick:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def report(name: str, *, rounds: int, quick: bool) -> dict[str, Any]:
    """The JSON object of one benchmark."""
    machine = measure.machine()
    found: dict[str, Any] = importlib.import_module(f"benchmarks.{name}").run(rounds=rounds, quick=quick)
    return {"benchmark": name, "machine": machine, **found}


def _table(found: dict[str, Any]) -> str:
    lines = [f"{found['benchmark']}: ms per item, corpus {found['corpus']['name']}"]
    lines += [
        f"  {key:28} ours {e['ours_ms']:9.2f}   peer {e['peer_ms']:9.2f}   ratio {e['ratio']:6.2f}   {e['peer']}"
        for key, e in found["results"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
