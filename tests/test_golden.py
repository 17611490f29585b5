"""Audio, ids and scores of a small recipe are those of this output version.

Where this fails and the change is meant: raise OUTPUT_VERSION in manifests/schema.py, run `python tests/make_golden.py`
and name the change in CHANGELOG.md under **Changes output**.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.schema import OUTPUT_VERSION
from tests import make_golden

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
STEPS = 8  # of 2^-23: processors round the last bits of a transform differently; -120 dBFS is far below any real change
TOLERANCE = {"pesq_wb": 5e-3, "pesq_nb": 5e-3}  # PESQ decides alignment by comparison of floats


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_golden.measured(str(tmp_path_factory.mktemp("golden")))


def test_the_golden_file_is_of_this_output_version() -> None:
    assert GOLDEN["output_version"] == OUTPUT_VERSION


def test_ids_and_draws(measured: dict[str, Any]) -> None:
    assert measured["plan"] == GOLDEN["plan"]


def test_audio(measured: dict[str, Any]) -> None:
    assert measured["probes"].keys() == GOLDEN["probes"].keys()
    for name, signals in GOLDEN["probes"].items():
        assert measured["probes"][name].keys() == signals.keys()
        for signal, probes in signals.items():
            worst = np.abs(np.subtract(measured["probes"][name][signal], probes)).max()
            assert worst <= STEPS, f"{name} {signal} moved by {worst} steps of 2^-23"


def test_scores(measured: dict[str, Any]) -> None:
    assert measured["scores"].keys() == GOLDEN["scores"].keys()
    for name, value in GOLDEN["scores"].items():
        tolerance = TOLERANCE.get(name.split()[-1], 1e-3)
        assert measured["scores"][name] == pytest.approx(value, abs=tolerance), name
