"""The report page: its numbers, its HTML, its words, and what it does in a browser."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from reports import tables
from reports.page import (
    Clip,
    Dataset,
    Example,
    MetricInfo,
    Report,
    Split,
    StageCounts,
    Statistics,
    SystemInfo,
    build_page,
    environment,
)

CHROMIUM = "/usr/bin/chromium"
HOSTILE = "<script>alert('x')</script>\"&"
VOID = {"meta", "link", "img", "input", "br", "hr"}
RATE = 16000

METRICS = [
    MetricInfo(
        name="pesq_wb", title="PESQ-WB", unit=None, better="higher", low=1.04, high=4.64, decimals=2, floor=1.0427
    ),
    MetricInfo(name="wer", title="WER", unit="%", better="lower", low=0, high=None, decimals=1, floor=100),
]
SYSTEMS = [
    SystemInfo(name="better", kind="onnx", system_id="a1", url="https://example.org/better", licence="MIT"),
    SystemInfo(name="worse", kind="onnx", system_id="b2"),
    SystemInfo(name="unprocessed", kind="builtin", system_id="c3", anchor=True),
    SystemInfo(name="silence", kind="builtin", system_id="d4", anchor=True),
]
MEANS = {"better": (2.7123456, 12.0), "worse": (1.5, 33.0), "unprocessed": (1.7, 30.0), "silence": (1.0427, 100.0)}


def row(system: str, metric: str, mean: float | None, **changes: Any) -> dict[str, Any]:
    low, high = (None, None) if mean is None else (mean - 0.05, mean + 0.05)
    values = {"system": system, "metric": metric, "mean": mean, "ci_low": low, "ci_high": high}
    values |= {"n": 1100, "n_ok": 1100, "n_floor": 0, "n_excluded": 0, "n_clusters": 20, "coverage": 1.0}
    values |= {"median": mean, "p10": mean, "delta": mean, "delta_low": low, "delta_high": high}
    return values | changes


def board(**changes: Any) -> pd.DataFrame:
    pairs = [(s, m.name, v) for s, means in MEANS.items() for m, v in zip(METRICS, means, strict=True)]
    return pd.DataFrame([row(s, m, v, **changes) for s, m, v in pairs])


def bins() -> pd.DataFrame:
    out = []
    for label, low, n in (("[0, 5)", 0.0, 600), ("[5, inf)", 5.0, 490), ("(-inf, 0)", float("-inf"), 10)):
        frame = board(n=n, n_ok=n)
        out.append(frame.assign(bin=label, bin_low=low, mean=frame["mean"] + 0.01 * low if np.isfinite(low) else None))
    return pd.concat(out, ignore_index=True)


def clip(label: str, amplitude: float = 0.1, **changes: Any) -> Clip:
    samples = amplitude * np.sin(np.arange(RATE // 4) * 0.3).astype(np.float32)
    data = io.BytesIO()
    soundfile.write(data, samples, RATE, format="FLAC")
    made = Clip(label=label, data=data.getvalue(), suffix="flac", samples=samples, sample_rate=RATE)
    return dataclasses.replace(made, **changes)


def report(**changes: Any) -> Report:
    dataset = Dataset(
        name="tiny",
        splits=[Split(name="test", rows=1100, hours=3.06)],
        sample_rate=RATE,
        target="early, 50 ms",
        snr="P.56 active level",
        recipe_digest="9f2c1d7be01a44c0",
        sources_digest="41ac0c5e77aa9b3d",
        hubbub_version="0.1.0",
        output_version=1,
        packages={"numpy": "2.4.6"},
        machine="2 cores",
        command="hubbub report suite",
    )
    example = Example(
        mixture_id="3f9a",
        why="Largest gain",
        conditions={"SNR": "3.2 dB"},
        transcript="A birch canoe.",
        clips=[
            clip("mixture", scores={"pesq_wb": 1.7, "wer": 30.0}),
            clip("better", 0.2, scores={"pesq_wb": 2.75, "wer": None}, statuses={"wer": "error"}),
        ],
    )
    made = Report(
        title="Tiny report",
        dataset=dataset,
        leaderboard=board(),
        bins=bins(),
        bin_column="snr_db",
        metrics=METRICS,
        systems=SYSTEMS,
        examples=[example],
        counts=[
            StageCounts(stage="render", rows_in=1110, rows_out=1100, dropped={"too_quiet": 9}, failed={"decode": 1})
        ],
        downloads=["scores.parquet"],
    )
    return dataclasses.replace(made, **changes)


class Page(HTMLParser):
    """Walks a page: tags must balance; collects elements, ids and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def page(**changes: Any) -> Page:
    return Page(build_page(report(**changes))["index.html"].decode())


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return build_page(report())


@pytest.fixture(scope="module")
def plain(files: dict[str, bytes]) -> Page:
    return Page(files["index.html"].decode())


def test_importing_reports_loads_nothing_heavy() -> None:
    code = "import sys, reports; print(sorted({'pandas', 'matplotlib', 'jinja2', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


def test_every_number_of_the_csv_is_on_the_page(files: dict[str, bytes]) -> None:
    values = set(re.findall(r'data-value="([^"]*)"', files["index.html"].decode()))
    for path in ("leaderboard.csv", "bins.csv"):
        for line in csv.DictReader(io.StringIO(files[path].decode())):
            assert line["mean"] in values
    delta = next(csv.DictReader(io.StringIO(files["leaderboard.csv"].decode())))["delta"]
    assert delta in values


def test_page_csv_and_markdown_agree_on_what_they_round(files: dict[str, bytes], plain: Page) -> None:
    assert "2.71" in plain.text
    assert "[2.66, 2.76]" in plain.text
    assert "**2.71** [2.66, 2.76]" in files["leaderboard.md"].decode()
    assert "pesq_wb,,higher,2.7123456," in files["leaderboard.csv"].decode()


def test_missing_numbers_are_dashes() -> None:
    frame = board()
    frame.loc[frame["system"] == "worse", ["mean", "ci_low", "ci_high", "median", "p10"]] = float("nan")
    frame.loc[frame["system"] == "silence", ["delta", "delta_low", "delta_high", "coverage"]] = None
    html = page(leaderboard=frame, systems=[dataclasses.replace(SYSTEMS[0], licence=None), *SYSTEMS[1:]])
    assert not re.search(r"\b(nan|None|NaT|inf)\b", html.text.replace("[5, inf)", "").replace("(-inf, 0)", ""))
    assert "–" in html.text
    assert {"nan", "None"}.isdisjoint(v for _, attrs in html.elements for v in attrs.values())


def test_no_template_prints_a_missing_value_as_a_word() -> None:
    template = environment().from_string("{{ a }} {{ b }} {{ missing }} {{ 'x' if c }}")
    assert template.render(a=None, b=float("nan"), c=False).split() == ["–", "–", "–"]
    folder = Path(tables.__file__).parent / "templates"
    assert not [p.name for p in folder.iterdir() if "{{ none }}" in p.read_text()]  # a constant escapes `finalize`


def test_ids_are_unique_and_links_inside_the_page_lead_somewhere(plain: Page) -> None:
    ids = [attrs["id"] for _, attrs in plain.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in plain.all("a") if a["href"].startswith("#")}
    named = {n for _, attrs in plain.elements for n in (attrs.get("aria-labelledby") or "").split()}
    assert targets | named <= set(ids)


def test_nothing_is_loaded_from_elsewhere(files: dict[str, bytes], plain: Page) -> None:
    for tag, attrs in plain.elements:
        for name in ("src", "srcset", "data", "poster") + (("href",) if tag != "a" else ()):
            assert not re.match(r"(https?:)?//", attrs.get(name) or "")
    assert "@import" not in files["index.html"].decode()
    assert "url(" not in files["index.html"].decode()
    for tag in ("img", "audio"):
        assert {attrs["src"] for attrs in plain.all(tag)} <= set(files)


def test_tables_are_accessible(plain: Page) -> None:
    assert all(attrs.get("scope") in ("col", "row") for attrs in plain.all("th"))
    assert all(attrs.get("alt") for attrs in plain.all("img"))
    assert all(attrs.get("aria-label") for attrs in plain.all("audio"))
    regions = [attrs for attrs in plain.all("div") if attrs.get("class") == "scroll"]
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in regions)
    assert len(plain.all("main")) == len(plain.all("h1")) == 1
    assert plain.all("html")[0]["lang"] == "en"


def test_hostile_names_are_text() -> None:
    systems = [dataclasses.replace(SYSTEMS[0], name=HOSTILE, note=HOSTILE, url="javascript:alert(1)"), *SYSTEMS[1:]]
    frames = [f.replace({"system": {"better": HOSTILE}}) for f in (board(), bins())]
    example = Example(
        mixture_id=f"../../{HOSTILE}",
        why=HOSTILE,
        conditions={HOSTILE: HOSTILE},
        transcript=HOSTILE,
        clips=[clip(HOSTILE, statuses={"wer": HOSTILE}), clip(HOSTILE)],
    )
    made = report(
        title=HOSTILE,
        leaderboard=frames[0],
        bins=frames[1].assign(bin=frames[1]["bin"] + HOSTILE),
        bin_column=HOSTILE,
        systems=systems,
        warnings=[HOSTILE],
        examples=[example],
    )
    files = build_page(made)
    html = Page(files["index.html"].decode())
    assert len(html.all("script")) == 1
    assert not [a for a in html.all("a") if a["href"].startswith("javascript")]
    assert html.text.count("<script>alert('x')</script>") > 10
    for path in files:
        assert re.fullmatch(r"[a-z0-9./-]+", path)
        assert ".." not in path
    assert len([p for p in files if p.endswith(".flac")]) == 2


def test_caption_states_how_the_numbers_were_made() -> None:
    statistics = Statistics(cluster="recording", draws=4000, confidence=0.9)
    text = page(statistics=statistics).text
    for words in (
        "the mean over the items",
        "1 100 items",
        "90 % percentile intervals",
        "4 000 bootstrap draws",
    ):
        assert words in text
    assert "cluster: recording; 20 clusters" in text
    assert "Intervals are marginal" in text


def test_failures_are_printed_and_zero_failures_are_not(plain: Page) -> None:
    assert not re.search(r"\d (floored|excluded)", plain.text)
    frame = board()
    frame.loc[frame["system"] == "worse", ["n_floor", "n_ok", "n_excluded", "coverage"]] = [30, 1070, 4, 0.9692]
    text = page(leaderboard=frame).text
    assert "n 1 100, 96.9 % 30 floored 4 excluded" in text


def test_best_entered_system_is_bold_and_anchors_are_marked(files: dict[str, bytes]) -> None:
    html = files["index.html"].decode()
    leaderboard = html[html.index('id="leaderboard"') : html.index('id="metrics"')]
    rows = re.findall(r"<tr( class=\"anchor\")?>(.*?)</tr>", leaderboard, re.DOTALL)[1:]
    marked = {re.search(r'th scope="row" data-value="(\w+)"', body)[1]: (anchor, body) for anchor, body in rows}
    assert list(marked) == ["better", "unprocessed", "worse", "silence"]  # by PESQ, anchors among the systems
    assert [name for name, (_, body) in marked.items() if 'class="score best' in body] == ["better"]
    assert {name for name, (anchor, _) in marked.items() if anchor} == {"unprocessed", "silence"}


def test_bars_span_the_systems_and_the_baseline_and_point_to_what_lies_beyond(files: dict[str, bytes]) -> None:
    html = files["index.html"].decode()
    leaderboard = html[html.index('id="leaderboard"') : html.index('id="metrics"')]
    pointing = [body for body in leaderboard.split("<tr")[1:] if "<polygon" in body]
    assert len(pointing) == 1
    assert 'data-value="silence"' in pointing[0]


def test_few_clusters_are_in_italics_and_warned_about(plain: Page) -> None:
    assert "clusters (speaker), fewer than" not in plain.text
    html = page(leaderboard=board(n_clusters=2))
    assert "Some intervals rest on 2 clusters (speaker), fewer than 8" in html.text
    assert any("few" in (attrs.get("class") or "").split() for attrs in html.all("td"))


def test_bins_below_20_items_are_grey_and_go_from_low_to_high(files: dict[str, bytes]) -> None:
    html = files["index.html"].decode()
    table = re.search(r'<table class="bins">.*?</table>', html, re.DOTALL)[0]
    heads = re.findall(r'<th scope="col">(.*?)<span class="unit">n (.*?)</span>', table)
    assert heads == [("(-inf, 0)", "10"), ("[0, 5)", "600"), ("[5, inf)", "490")]
    first = re.search(r"<tbody>.*?</tr>", table, re.DOTALL)[0]
    assert ["sparse" in c for c in re.findall(r'<td class="([^"]*)"', first)] == [True, False, False]


def ranked(**changes: Any) -> pd.DataFrame:
    """The board with both systems tied by PESQ and told apart by WER."""
    frame = board(**changes).assign(rank_low=None, rank_high=None, tie_group=None, p_holm=None, first_share=None)
    columns = ["rank_low", "rank_high", "tie_group", "p_holm", "first_share"]
    for system, metric, values in (
        ("better", "pesq_wb", (1, 2, 1, None, 0.875)),
        ("worse", "pesq_wb", (1, 2, 1, 0.34, 0.125)),
        ("better", "wer", (1, 1, 1, None, 1.0)),
        ("worse", "wer", (2, 2, 2, 0.0002, 0.0)),
    ):
        frame.loc[(frame["system"] == system) & (frame["metric"] == metric), columns] = values
    return frame


def test_a_rank_interval_is_shown_where_given(plain: Page) -> None:
    html = page(leaderboard=ranked())
    leaderboard = html.text.split("By metric")[1]  # from the link to the heading
    assert leaderboard.count("rank 1–2") == 2
    assert (leaderboard.count("rank 1 "), leaderboard.count("rank 2 ")) == (1, 1)
    assert leaderboard.count("A rank is an interval") == 1
    titles = [a["title"] for a in html.all("span") if "rank" in (a.get("class") or "").split()]
    assert titles == [
        "first in 87.5 % of the draws",
        "first in 100 % of the draws",
        "p 0.340 against the best mean (Holm); first in 12.5 % of the draws",
        "p <0.001 against the best mean (Holm); first in 0 % of the draws",
    ]
    assert "rank 1" not in plain.text
    assert "A rank is an interval" not in plain.text


def test_the_full_table_has_ranks_p_values_and_shares(plain: Page) -> None:
    html = page(leaderboard=ranked())
    values = {a["data-value"] for a in html.all("td") if "data-value" in a}
    assert {"0.34", "0.0002", "0.875", "0.125"} <= values
    heads = [a["data-better"] for a in html.all("button") if "data-better" in a]
    assert len(heads) == len([a for a in plain.all("button") if "data-better" in a]) + 2 * 3


def test_too_few_clusters_to_rank_anything_are_warned_about(plain: Page) -> None:
    text = page(leaderboard=ranked(n_clusters=5)).text
    assert (
        "PESQ-WB, WER: 5 clusters (speaker) are too few to tell 2 systems apart, however large the difference" in text
    )
    assert "too few to tell" not in page(leaderboard=ranked(n_clusters=6)).text  # 2 of 64 flips: p 0.03
    assert "too few to tell" not in page(leaderboard=board(n_clusters=2)).text  # nothing is ranked


def test_means_as_delivered_are_shown_where_items_differ(plain: Page) -> None:
    frame = board().assign(n_delivered=1100)
    frame["delivered"] = frame["mean"]
    same = page(leaderboard=frame)
    assert "s delivered" not in same.text
    mine = (frame["system"] == "better") & (frame["metric"] == "pesq_wb")
    frame.loc[mine, ["delivered", "n_delivered"]] = [2.9876, 700]
    html = page(leaderboard=frame)
    assert html.text.count("“As delivered” averages each system over the items it has a number for") == 1
    assert "n 700" in html.text
    assert "2.9876" in {a.get("data-value") for a in html.all("td")}
    assert "n 700" not in plain.text


def test_a_pooled_metric_is_not_called_a_mean(plain: Page) -> None:
    pooled = [METRICS[0], dataclasses.replace(METRICS[1], aggregate="pooled")]
    html = page(metrics=pooled)
    assert "WER: errors are summed over all items and divided once" in html.text
    assert "Pooled and 95 % interval per bin" in html.text
    assert "ooled" not in plain.text


def test_a_column_whose_rows_have_other_items_is_warned_about(plain: Page) -> None:
    frame = board()
    frame.loc[(frame["system"] == "worse") & (frame["metric"] == "wer"), "n"] = 900
    assert "rows of WER do not share one set of items" in page(leaderboard=frame).text
    assert "do not share one set" not in plain.text


def test_rows_that_do_not_add_up_are_warned_about(plain: Page) -> None:
    assert "unaccounted" not in plain.text
    lost = [StageCounts(stage="render", rows_in=10, rows_out=8, dropped={"too_quiet": 1})]
    assert (
        "Stage render: 10 rows in, but rows out, dropped and failed leave 1 unaccounted for." in page(counts=lost).text
    )


def test_a_system_without_a_row_is_called_not_scored_and_no_baseline_is_a_warning() -> None:
    frame = board()
    html = page(leaderboard=frame[~((frame["system"] == "worse") & (frame["metric"] == "wer"))])
    assert html.text.count("not scored") == 2
    gone = page(
        leaderboard=frame[frame["system"] != "unprocessed"],
        bins=bins().iloc[:0],
        systems=[s for s in SYSTEMS if s.name != "unprocessed"],
    )
    assert "There is no row “unprocessed”" in gone.text
    assert "by snr_db" not in gone.text


def test_example_scores_and_statuses_stand_under_the_player(plain: Page) -> None:
    assert "PESQ-WB 2.75" in plain.text
    assert "WER – error" in plain.text


def test_spectrograms_of_an_example_share_one_scale(files: dict[str, bytes], plain: Page) -> None:
    assert len([p for p in files if p.endswith(".png")]) == 2
    assert len({attrs["alt"].split(",", 2)[2] for attrs in plain.all("img")}) == 1


def test_level_matching_turns_the_louder_clip_down() -> None:
    clips = [clip("loud", 0.2), clip("quiet", 0.1), clip("silence", samples=np.zeros(100))]
    example = dataclasses.replace(report().examples[0], clips=clips)
    assert [a["data-volume"] for a in page(examples=[example]).all("audio")] == ["0.5", "1.0", "1.0"]


def test_pesq_notice_appears_only_with_pesq(plain: Page) -> None:
    assert "P.862" in plain.text
    frame = board()
    only = page(leaderboard=frame[frame["metric"] == "wer"], bins=bins().iloc[:0], metrics=METRICS[1:])
    assert "P.862" not in only.text


def test_synthetic_data_is_labelled(plain: Page) -> None:
    assert "synthetic" not in plain.text
    assert "say nothing about real speech" in page(synthetic=True).text


def test_the_same_report_gives_the_same_bytes(files: dict[str, bytes]) -> None:
    assert build_page(report()) == files


def test_what_cannot_be_shown_is_refused() -> None:
    example = report().examples[0]
    with pytest.raises(ValueError, match="suffix must be one of flac, wav, ogg, mp3, got 'exe'"):
        build_page(report(examples=[dataclasses.replace(example, clips=[clip("a", suffix="exe")])]))
    with pytest.raises(ValueError, match="at least one metric"):
        build_page(report(metrics=[]))


FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=5000",
    "--dump-dom",
]


def browse(folder: Path, page: str, width: int = 1200) -> str:
    """The page's DOM after its script ran, from a browser that cannot reach the network."""
    own = [f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}", (folder / page).as_uri()]
    return subprocess.run([CHROMIUM, *FLAGS, *own], capture_output=True, text=True, timeout=120, check=True).stdout


PROBE = """<script>
var root = document.documentElement, table = document.querySelector("table.board"), lines = [];
function all(selector, value) { return Array.from(document.querySelectorAll(selector), value).join(); }
function names() { return Array.from(table.tBodies[0].rows, function (r) { return r.cells[0].dataset.value; }).join(); }
function shown() { return all(".panel:not([hidden])", function (p) { return p.id; }); }
function sort(column) { table.querySelectorAll("th button")[column].click(); return names(); }
lines.push("start " + names(), "panels " + shown(), "fits " + (root.scrollWidth <= root.clientWidth));
lines.push("wer " + sort(2));
lines.push("sorted " + all(".board th[aria-sort]", function (t) { return t.getAttribute("aria-sort"); }));
lines.push("again " + sort(2), "name " + sort(0));
document.querySelectorAll("[data-tabs] a")[1].click(); lines.push("tab " + shown());
document.getElementById("match-level").click(); lines.push("audio " + all("audio", function (a) { return a.volume; }));
var out = document.createElement("pre");
out.id = "probe"; out.textContent = lines.join("\\n"); document.body.appendChild(out);
</script></body>"""


@pytest.fixture(scope="module")
def probed(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    folder = tmp_path_factory.mktemp("site")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    html = files["index.html"].decode()
    (folder / "probe.html").write_text(html.replace("</body>", PROBE))
    yield folder
    shutil.rmtree(folder / "profile", ignore_errors=True)


def test_the_page_works_in_a_browser(probed: Path) -> None:
    dom = browse(probed, "probe.html")
    root = re.search(r"<html[^>]*>", dom)[0]
    assert 'data-ready="true"' in root
    assert "data-error" not in root
    found = dict(line.split(" ", 1) for line in re.search(r'id="probe">(.*?)</pre>', dom, re.DOTALL)[1].splitlines())
    assert found == {
        "start": "better,unprocessed,worse,silence",
        "panels": "metric-pesq-wb",
        "fits": "true",
        "wer": "better,unprocessed,worse,silence",
        "sorted": "ascending",
        "again": "silence,worse,unprocessed,better",
        "name": "better,silence,unprocessed,worse",
        "tab": "metric-wer",
        "audio": "1,0.5",
    }


def test_a_narrow_window_does_not_scroll_sideways(probed: Path) -> None:
    assert "fits true" in browse(probed, "probe.html", width=500)
