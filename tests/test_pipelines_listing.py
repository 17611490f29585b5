"""`hubbub metrics` prints the whole catalogue, and all about one metric."""

from __future__ import annotations

import json

import pytest

from eval.catalogue import GROUPS, METRICS
from pipelines import cli


def test_every_metric_has_a_line_under_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, metric in METRICS.items():
        (at,) = [i for i, line in enumerate(lines) if line.split()[:1] == [name]]
        above = next(line for line in reversed(lines[:at]) if line.split(":")[0] in GROUPS)
        assert above.startswith(f"{metric.group}:")
        assert metric.better in lines[at]


def test_one_metric_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["metrics", "csig_loizou"]) == 0
    said = capsys.readouterr().out
    for part in ("3.093 - 1.029 LLR + 0.603 PESQ - 0.009 WSS", "evaluation and conformance", "16000 Hz", "1 to 5"):
        assert part in said


def test_as_json_and_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["metrics", "intelligibility", "snr", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["stoi", "estoi", "snr"]
    assert (rows[2]["low"], rows[2]["floor"]) == (None, -10.0)
    assert cli.run(["metrics", "stio"]) != 0
    assert "nearest is 'stoi'" in capsys.readouterr().err
