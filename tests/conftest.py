"""What tests share: one local Ray session, the scanned demo corpus, the real corpus where it is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from manifests import corpora
from manifests.schema import Source
from pipelines import cluster, scan

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "pipelines" / "demo_corpus"

settings.register_profile("hubbub", deadline=None)  # a busy machine is no failure
settings.load_profile("hubbub")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray session of two CPUs for the whole run; `engine.run` uses the session that is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of its own future defaults
        cluster.start(2)
    yield
    cluster.stop()


@pytest.fixture(scope="session")
def demo_table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table of sources of the embedded corpus."""
    table = str(tmp_path_factory.mktemp("scan") / "sources.parquet")
    scan.scan(corpora.from_index(str(DEMO / "index.csv"), {}, {}), table, workers=0, quiet=True)
    return table


@pytest.fixture(scope="session")
def demo_sources(demo_table: str) -> list[Source]:
    from manifests import parquet

    return parquet.read_rows(demo_table, Source)


@pytest.fixture
def peer_rooms() -> Iterator[Callable[..., None]]:
    """Sets constants of pyroomacoustics, which the whole process shares, for one test: `peer_rooms(num_threads=1)`."""
    import pyroomacoustics as pra

    before: dict[str, Any] = {}

    def set_constants(**constants: Any) -> None:
        for name, value in constants.items():
            before.setdefault(name, pra.constants.get(name))
            pra.constants.set(name, value)

    yield set_constants
    for name, value in before.items():
        pra.constants.set(name, value)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real recordings that HUBBUB_CORPUS names."""
    folder = os.environ.get("HUBBUB_CORPUS")
    if not folder or not Path(folder, "index.csv").exists():
        pytest.skip("needs real recordings: set HUBBUB_CORPUS to the corpus folder")
    return Path(folder)
