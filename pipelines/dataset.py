"""A dataset folder: where everything in it lies, and which run it belongs to.

recipe.yaml  run.json  sources.parquet  plan/<split>-00000.parquet  mixtures/<split>-00000.parquet  dropped/  failed/
timings/
manifest.parquet  leaks.parquet  card/  estimates/<system_id>/  scores/<system_id>/  systems/<system_id>.parquet
ratings.parquet  report/
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import yaml

from manifests import ids, parquet, storage
from manifests.errors import UserError
from manifests.recipe import Recipe, content, parse_recipe
from manifests.schema import OUTPUT_VERSION, Dropped, Estimate, Failed, Mixture, Plan, Source, System
from pipelines import engine

__all__ = ["Dataset", "machine", "package_versions"]

SHARD_GLOB = "*-[0-9][0-9][0-9][0-9][0-9].parquet"


@dataclass(frozen=True)
class Dataset:
    """A dataset by its folder (path or URL). A relative path becomes absolute: workers may run in another folder."""

    root: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", storage.absolute(self.root))

    def path(self, *parts: str) -> str:
        return storage.join(self.root, *parts)

    # -- identity

    def recipe(self) -> Recipe:
        if not storage.exists(self.path("recipe.yaml")):
            raise UserError(
                f"{self.root}: not a dataset (it has no recipe.yaml); make one with 'hubbub generate RECIPE --out "
                f"{self.root}'"
            )
        return parse_recipe(storage.read_bytes(self.path("recipe.yaml")).decode(), self.path("recipe.yaml"))

    def write_recipe(self, recipe: Recipe) -> None:
        text = yaml.safe_dump(
            recipe.model_dump(mode="json", exclude_defaults=False), sort_keys=False, allow_unicode=True, width=120
        )
        storage.write_bytes(self.path("recipe.yaml"), text.encode())

    def sources(self) -> list[Source]:
        return parquet.read_rows(self.path("sources.parquet"), Source)

    def sources_digest(self) -> str:
        return parquet.read_footer(self.path("sources.parquet"))["digest"]

    # -- shards

    def shard_names(self, table: str = "mixtures", split: str | None = None) -> list[str]:
        names = [n.removesuffix(".parquet") for n in storage.listing(self.path(table), SHARD_GLOB)]
        return [n for n in names if split is None or n.rsplit("-", 1)[0] == split]

    def plans(self, shard: str) -> list[Plan]:
        return parquet.read_rows(self.path("plan", f"{shard}.parquet"), Plan)

    def mixtures(self, shard: str, columns: Sequence[str] | None = None) -> list[Mixture]:
        return parquet.read_rows(self.path("mixtures", f"{shard}.parquet"), Mixture, columns)

    def shard_of(self) -> dict[str, str]:
        """The shard that holds each mixture, by id. Reads the ids alone."""
        shards = self.shard_names()
        tables = [parquet.read_table(self.path("mixtures", f"{shard}.parquet"), ["mixture_id"]) for shard in shards]
        return {
            id_: shard for shard, t in zip(shards, tables, strict=True) for id_ in t.column("mixture_id").to_pylist()
        }

    def manifest(self) -> list[Mixture]:
        """All finished rows without their audio."""
        return parquet.read_rows(self.path("manifest.parquet"), Mixture)

    def aside(self, table: str, pattern: str = "*") -> list[Any]:
        """Rows of `dropped` or `failed` whose file's name matches."""
        row_type: type[Any] = {"dropped": Dropped, "failed": Failed}[table]
        names = storage.listing(self.path(table), f"{pattern}.parquet")
        return [row for name in names for row in parquet.read_rows(self.path(table, name), row_type)]

    def set_aside(self) -> set[str]:
        """Ids of the planned rows that were dropped or failed."""
        return {row.id for table in ("dropped", "failed") for row in self.aside(table, "render-*")}

    def splits(self) -> list[str]:
        return list(dict.fromkeys(n.rsplit("-", 1)[0] for n in self.shard_names()))

    # -- systems

    def systems(self) -> list[System]:
        folder = self.path("systems")
        return [
            row
            for n in storage.listing(folder, "*.parquet")
            for row in parquet.read_rows(storage.join(folder, n), System)
        ]

    def estimates(self, system_id: str, shard: str) -> list[Estimate]:
        return parquet.read_rows(self.path("estimates", system_id, f"{shard}.parquet"), Estimate)

    # -- the run's record

    def run(self) -> dict[str, Any]:
        uri = self.path("run.json")
        record: dict[str, Any] = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else {}
        return record

    def record(self, stage: str, entry: dict[str, Any]) -> None:
        """Set the entry of a stage in run.json."""
        run = self.run()
        run |= {
            "hubbub_version": metadata.version("hubbub"),
            "output_version": OUTPUT_VERSION,
            "machine": machine(),
            "versions": package_versions(),
        }
        run.setdefault("stages", {})[stage] = entry
        storage.write_bytes(self.path("run.json"), (json.dumps(run, indent=2, ensure_ascii=False) + "\n").encode())

    def check_same(self, recipe: Recipe, sources_digest: str) -> None:
        """Refuse a folder that another recipe or other sources made, naming the first difference."""
        if not storage.exists(self.path("recipe.yaml")):
            if names := storage.listing(self.root):
                raise UserError(
                    f"{self.root}: the folder is not empty ({', '.join(names[:3])}...) and holds no hubbub dataset; "
                    "choose another --out"
                )
            return
        difference = ids.first_difference(content(self.recipe()), content(recipe))
        if difference:
            raise UserError(
                f"{self.root} holds a dataset of another recipe: {difference}. Choose another --out, or remove the "
                "folder"
            )
        if storage.exists(self.path("sources.parquet")) and self.sources_digest() != sources_digest:
            raise UserError(
                f"{self.root} was made from other sources ({self._source_changes(sources_digest)}). Choose another "
                "--out, or remove the folder"
            )

    def _source_changes(self, digest: str) -> str:
        return f"digest {self.sources_digest()[:12]}, now {digest[:12]}"


def stage_entry(stage: engine.Stage, result: engine.Result, workers: int, **extra: Any) -> dict[str, Any]:
    """What run.json says of one stage."""
    audio = result.counts.seconds_audio
    return {
        "digest": stage.digest,
        "command": " ".join(sys.argv),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "workers": workers,
        "shards": result.shards,
        "shards_resumed": result.shards_resumed,
        "counts": result.counts.plain(),
        "seconds": round(result.seconds, 3),
        "core_seconds": round(result.core_seconds, 3),
        "audio_seconds_this_run": round(audio, 3),
        "times_real_time_per_core": round(audio / result.core_seconds, 1) if result.core_seconds else None,
        **extra,
    }


def machine() -> dict[str, Any]:
    """The machine a number was measured on."""
    import os

    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "processor": _cpu_name(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            return next(
                (line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")), platform.machine()
            )
    except OSError:
        return platform.processor() or platform.machine()


PACKAGES = (
    "ray",
    "numpy",
    "scipy",
    "numba",
    "pyarrow",
    "pandas",
    "soundfile",
    "soxr",
    "pyroomacoustics",
    "librosa",
    "pesq",
    "pystoi",
)


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    out = {}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = "absent"
    return out
