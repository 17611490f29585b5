"""Spectrograms and charts."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from reports import figures
from reports.figures import Curve, Point

RATE = 16000


def sine(hz: float, amplitude: float = 1.0, seconds: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def test_a_full_scale_sine_is_0_db_at_its_frequency() -> None:
    levels = figures.spectrogram_db(sine(1000), sample_rate=RATE)
    middle = levels[:, levels.shape[1] // 2]
    hz = np.argmax(middle) * (RATE / 2) / (len(middle) - 1)
    assert hz == 1000
    assert middle.max() == pytest.approx(0, abs=0.01)  # dB


def test_halving_the_amplitude_lowers_the_level_by_6_db_and_silence_stays_finite() -> None:
    loud, quiet = (figures.spectrogram_db(sine(500, a), sample_rate=RATE).max() for a in (0.5, 0.25))
    assert loud - quiet == pytest.approx(20 * math.log10(2), abs=1e-6)
    assert np.isfinite(figures.spectrogram_db(np.zeros(3), sample_rate=RATE)).all()


def test_only_channel_0_is_shown() -> None:
    two = np.stack([sine(500), sine(3000)])
    np.testing.assert_array_equal(
        figures.spectrogram_db(two, sample_rate=RATE), figures.spectrogram_db(sine(500), sample_rate=RATE)
    )


def test_the_common_scale_spans_the_loudest_the_longest_and_the_widest() -> None:
    scale = figures.common_scale([(sine(500, 0.09), RATE), (sine(500, 0.01, seconds=2.0), RATE), (np.zeros(800), 8000)])
    assert (scale.low_db, scale.high_db) == (-100, -20)
    assert (scale.seconds, scale.top_hz) == (2.0, 8000)
    with pytest.raises(ValueError, match="at least one clip"):
        figures.common_scale([])


def test_spectrograms_are_reproducible_and_quieter_is_darker() -> None:
    noise = np.random.default_rng(1).normal(size=RATE) * 0.1
    scale = figures.common_scale([(noise, RATE)])
    loud = figures.spectrogram_png(noise, sample_rate=RATE, scale=scale)
    assert loud == figures.spectrogram_png(noise, sample_rate=RATE, scale=scale)
    quiet = figures.spectrogram_png(noise / 100, sample_rate=RATE, scale=scale)
    brightness = [np.asarray(Image.open(io.BytesIO(p)).convert("L")).mean() for p in (loud, quiet)]
    assert brightness[0] > 2 * brightness[1]


def test_level_is_re_rms_1_and_silence_has_none() -> None:
    assert figures.rms_dbfs(sine(1000)) == pytest.approx(-3.01, abs=0.01)
    assert figures.rms_dbfs(np.zeros(10)) is None


@pytest.mark.parametrize(
    ("span", "count", "step"), [(10, 5, 2), (1, 4, 0.25), (7, 4, 2), (0.3, 3, 0.1), (1000, 1, 1000)]
)
def test_steps_are_round(span: float, count: int, step: float) -> None:
    assert figures.nice_step(span, count) == pytest.approx(step)


def test_a_bar_places_its_mean_and_points_to_what_lies_outside() -> None:
    inside = ET.fromstring(figures.interval_bar(5, 4, 6, domain=(0, 10), baseline=0))
    (dot,) = inside.findall("circle")
    assert float(dot.attrib["cx"]) == 32  # the middle of 64
    assert [e.attrib["class"] for e in inside] == ["axis", "base", "span", "dot"]
    left, right = (ET.fromstring(figures.interval_bar(v, v, v, domain=(0, 10), baseline=None)) for v in (-50, 80))
    assert left.find("polygon").attrib["points"].startswith("1,")
    assert right.find("polygon").attrib["points"].startswith("63,")


def chart(*curves: Curve, bins: tuple[str, ...] = ("low", "mid", "high"), ordered: int = 3) -> ET.Element:
    svg = figures.line_chart(curves, bins, name="c", title="A <b>", x_label="snr_db", y_label="PESQ", ordered=ordered)
    return ET.fromstring(svg)


def test_a_chart_has_a_title_a_label_per_curve_and_leaves_gaps_open() -> None:
    svg = chart(
        Curve("a<b", 0, [Point(1, 0.9, 1.1), None, Point(2, 1.9, 2.1, few=True)]), Curve("ref", None, [None] * 3)
    )
    assert svg.find("title").text == "A <b>"
    names = [t.text for t in svg.iter("text") if t.attrib.get("class") == "name"]
    assert names == ["a<b"]
    (line,) = svg.iter("polyline")
    assert len(line.attrib["points"].split()) == 2
    assert [c.attrib["class"] for c in svg.iter("circle")] == ["mark", "mark few", "mark"]


def test_bins_without_an_order_are_not_joined() -> None:
    points = [Point(1, None, None), Point(2, None, None), Point(3, None, None)]
    assert not list(chart(Curve("a", 0, points), ordered=0).iter("polyline"))
    (line,) = chart(Curve("a", 0, points), ordered=2).iter("polyline")
    assert len(line.attrib["points"].split()) == 2


def test_end_labels_do_not_overlap() -> None:
    curves = [Curve(str(i), i, [Point(1 + i * 1e-4, None, None)] * 3) for i in range(8)]
    places = sorted(float(t.attrib["y"]) for t in chart(*curves).iter("text") if t.attrib.get("class") == "name")
    assert np.diff(places).min() >= 14


def test_a_chart_of_nothing_is_empty() -> None:
    assert figures.line_chart([], ["a"], name="c", title="", x_label="", y_label="", ordered=1) == ""


def test_a_histogram_counts_everything_once_and_ignores_what_is_not_finite() -> None:
    values = np.array([0.0, 0.4, 1.0, 1.0, 20.0, np.nan])
    svg = ET.fromstring(figures.histogram(values, name="h", title="t", x_label="x", compared=values + 1))
    tallest = max(float(r.attrib["height"]) for r in svg.iter("rect"))
    heights = [float(r.attrib["height"]) / tallest for r in svg.iter("rect")]
    assert sum(round(2 * h) for h in heights) == 5
    assert len(list(svg.iter("path"))) == 1
    assert figures.histogram(np.array([np.nan]), name="h", title="t", x_label="x") == ""


def test_a_histogram_of_one_value_is_one_bar_in_the_middle() -> None:
    svg = ET.fromstring(figures.histogram(np.full(7, 10.0), name="h", title="t", x_label="x"))
    (bar,) = svg.iter("rect")
    middle = float(bar.attrib["x"]) + float(bar.attrib["width"]) / 2
    assert middle == pytest.approx(202, abs=0.1)  # halfway along the axis, in SVG units


def test_the_colour_bar_goes_from_dark_to_bright() -> None:
    gradient = figures.colour_gradient(3)
    assert gradient.startswith("linear-gradient(to right, #000004")
    assert gradient.count("#") == 3
