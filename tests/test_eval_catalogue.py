"""eval.catalogue: names, bounds, and an import that costs nothing."""

import math
import subprocess
import sys

import pytest

from eval import catalogue
from eval.catalogue import HEADLINE, METRICS


def test_every_metric_is_complete_and_ordered() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        least, most = metric.bounds
        assert metric.low <= least < most <= metric.high
        assert (metric.floor < metric.ceiling) == (metric.better == "higher")
        assert metric.sample_rate in (8000, 10000, 16000, None)
        assert metric.group in catalogue.GROUPS
        assert metric.needs in ("reference", "estimate", "mixture", "sources", "text", "labels", "table")
        assert metric.aggregate in ("mean", "pooled")
        assert all((metric.title, metric.package, metric.paper, metric.licence_note, metric.version))


def test_headline_metrics_are_known() -> None:
    assert HEADLINE == ("pesq_wb", "pesq_nb", "stoi", "estoi", "si_sdr", "snr", "sdr")
    assert set(HEADLINE) <= set(METRICS)


@pytest.mark.parametrize(
    ("name", "floor", "ceiling"),
    [
        ("pesq_wb", 1.0427, 4.6439),  # P.862.2 mapping of -0.5 and 4.5, by hand
        ("pesq_nb", 1.0168, 4.5486),  # P.862.1
        ("pesq_nb16", 1.0168, 4.5486),
        ("stoi", 0, 1),
        ("estoi", 0, 1),
        ("si_sdr", -50, 80),
        ("snr", -10, 80),
        ("sdr", -50, 80),
    ],
)
def test_bounds(name: str, floor: float, ceiling: float) -> None:
    assert METRICS[name].floor == pytest.approx(floor, abs=5e-5)
    assert METRICS[name].ceiling == pytest.approx(ceiling, abs=5e-5)


def test_get_names_the_nearest_metric() -> None:
    assert catalogue.get("pesq_wb") is METRICS["pesq_wb"]
    with pytest.raises(ValueError, match=r"metric must be one of .*, got 'pesk_wb'; nearest is 'pesq_wb'"):
        catalogue.get("pesk_wb")
    with pytest.raises(ValueError, match="got ''; nearest is"):
        catalogue.get("")


def test_groups_stand_for_their_metrics() -> None:
    found = [metric.name for metric in catalogue.chosen(["si_sdr", "intelligibility", "headline"])]
    assert found[:3] == ["si_sdr", "stoi", "estoi"]
    assert set(found) == set(HEADLINE)
    assert len(found) == len(HEADLINE)
    with pytest.raises(ValueError, match="metric must be one of"):
        catalogue.chosen(["intelligibilty"])


def test_every_metric_of_audio_can_be_computed() -> None:
    from eval.pairs import FUNCTIONS

    audio = {name for name, m in METRICS.items() if m.needs in ("reference", "estimate", "mixture")}
    assert audio == set(FUNCTIONS)


def test_bounds_are_numbers() -> None:
    assert all(math.isfinite(bound) for m in METRICS.values() for bound in (m.floor, m.ceiling))


@pytest.mark.parametrize("module", ["eval.catalogue", "eval.distortion", "eval.masks", "eval.score", "eval.summary"])
def test_import_pulls_in_no_heavy_library(module: str) -> None:
    heavy = {"scipy", "pandas", "pesq", "pystoi", "soxr", "numba", "ray"}
    heavy |= {"numpy"} if module == "eval.catalogue" else set()
    code = f"import sys, {module}; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
