"""docs/metrics.md: the committed page is what its script writes."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest

from eval.catalogue import GROUPS, METRICS, Metric
from eval.tablescores import TABLE_SCORES
from tests.loading import load_script

script = load_script("metric_answers")
PAGE = script.PAGE.read_text(encoding="utf-8")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")


def section(title: str) -> str:
    """What stands under a heading, to the next one of any level."""
    (found,) = re.findall(rf"^#+ {re.escape(title)}\n\n(.*?)(?=\n\n#|\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    return str(found).strip()


def rows(text: str) -> list[list[str]]:
    """Cells of a table without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def assert_same(made: str, committed: str, *, atol: float) -> None:
    """The same words, and numbers to `atol`, or 20 % where they are rounding noise (above 100 dB)."""
    assert NUMBER.sub("#", made) == NUMBER.sub("#", committed)
    for ours, theirs in zip(NUMBER.findall(made), NUMBER.findall(committed), strict=True):
        assert float(ours) == pytest.approx(float(theirs), abs=atol, rel=0.2 if abs(float(theirs)) > 100 else 0)


@pytest.mark.parametrize("name", [name for name in script.ANSWERS if name != "DNSMOS"])
def test_answers_are_those_of_the_page(name: str) -> None:
    made = script.table(("hubbub", "what", "value"), script.ANSWERS[name]())
    assert_same(made, section(name), atol=2e-4)


def test_dnsmos_of_the_page() -> None:
    """One network is run again; the page itself compares with the package."""
    from eval import dnsmos

    values = {(name, what): float(value) for name, what, value in rows(section("DNSMOS"))}
    by_name = {name: value for (name, _), value in values.items()}
    own = dnsmos.Estimate.of(estimate=script.golden()[1], sample_rate=script.RATE)
    assert own.score("dnsmos_p808") == pytest.approx(by_name["`dnsmos_p808`"], abs=1e-3)
    assert values["-", "OVRL, level as it is (speechmos)"] == pytest.approx(by_name["`dnsmos_ovrl`"], abs=1e-3)


def test_failures_are_those_of_the_page() -> None:
    made = script.table(("case", "toolkit", "its answer", "hubbub's row"), script.failures())
    assert_same(made, section("What failure looks like").split("\n\n", 1)[1], atol=2e-4)


def test_the_catalogue_is_that_of_the_page() -> None:
    assert f"{script.CATALOGUE.strip()}\n\n{script.catalogue()}\n" in PAGE
    assert f"{script.TABLE_SCORES_TEXT.strip()}\n\n{script.table_scores()}\n" in PAGE
    assert script.ACCOUNTING.strip().format(length_ms=20) in PAGE
    for name in [*METRICS, *TABLE_SCORES]:
        assert f"| `{name}` |" in PAGE
    assert all(f"(`{m.group}`)" in PAGE for m in METRICS.values())
    assert {m.group for m in METRICS.values()} <= set(GROUPS)


def test_the_page_is_put_together_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else, with the slow parts as the page has them."""
    monkeypatch.setattr(script, "answers", lambda: "ANSWERS")
    monkeypatch.setattr(script, "failures", lambda: [["FAILURES"]])
    made = script.page()
    start, end = (PAGE.index(heading) for heading in ("### PESQ\n", "## What failure"))
    whole = PAGE[:start] + "ANSWERS\n\n" + PAGE[end:]
    for failure_row in section("What failure looks like").splitlines()[4:]:
        whole = whole.replace(failure_row + "\n", "")
    versions = re.compile(r"^Packages: .*$", flags=re.MULTILINE)  # those of whoever ran it last
    assert versions.sub("", made).replace("| FAILURES |\n", "") == versions.sub("", whole)


def test_what_the_page_shows_is_true_of_its_numbers() -> None:
    """The claims that its words make."""
    sdr = {what: float(value) for _, what, value in rows(section("SDR"))}
    three = [sdr["BSSEval v3, 512 taps"], sdr["BSSEval v3 (mir_eval)"], sdr["BSSEval v3 (fast_bss_eval)"]]
    assert max(three) - min(three) < 2e-4
    assert sdr["SNR"] == pytest.approx(sdr["BSSEval images of the whole file (mir_eval)"], abs=2e-4)
    assert sdr["the same frames, dB of the mean ratio"] > sdr["the same frames, mean of dB"]
    stoi = {what: float(value) for _, what, value in rows(section("STOI"))}
    assert stoi["STOI"] == pytest.approx(stoi["STOI (pystoi)"], abs=2e-4)
    lsd = {what: value for _, what, value in rows(section("LSD"))}
    log10 = float(lsd["log10 of power, root mean square over frequency, mean over time"])
    assert float(lsd["the same in dB"]) == pytest.approx(10 * log10, abs=1e-3)


# The arithmetic


def test_numbers_as_they_are_written() -> None:
    assert [script.number(x) for x in (1.23456, -50.0, 275.9)] == ["1.2346", "-50.0000", "276"]
    assert script._db_of_mean(np.array([0.0, 10 * math.log10(3)])) == pytest.approx(10 * math.log10(2))
    mapped = 0.999 + 4 / (1 + math.exp(-1.4945 * 2.5 + 4.6607))  # P.862.1
    assert script._raw_nb(mapped) == pytest.approx(2.5)
    assert script._mcd_db(np.array([[3.0, 4.0]])) == pytest.approx([10 / math.log(10) * math.sqrt(50)])
    assert script.table(("a", "b"), [("x|y", "z")]) == "| a | b |\n| --- | --- |\n| x\\|y | z |"


def test_what_a_library_answers() -> None:
    def warn() -> float:
        warnings.warn("short", RuntimeWarning, stacklevel=1)
        return 1e-5

    def fail() -> float:
        raise KeyError("x")

    assert script.told(warn) == "1e-05 with a `RuntimeWarning`"
    assert script.told(fail) == "`KeyError`"
    assert [script.told(lambda x=x: [x]) for x in (math.nan, -7.0, 1.5, math.inf)] == ["nan", "-7", "1.5000", "inf"]


def test_a_row_of_the_catalogue() -> None:
    cells = script.catalogue_row(METRICS["ssnr"])
    assert cells[:7] == ["`ssnr`", "Segmental SNR", "dB", "-10 to 35", "higher", "-10", "16000, from 8000"]
    assert script.catalogue_row(METRICS["snr"])[3:7] == ["-inf to inf", "higher", "-10", "the reference's"]
    assert script.catalogue_row(METRICS["wer"])[6] == "-"
    assert script.catalogue_row(METRICS["mcd"])[8] == "pyworld (`hubbub[pitch]`)"
    assert script.catalogue_row(METRICS["pesq_wb"])[9] == "[ITU notice](#licence-of-pesq)"
    assert "(experimental)" in script.catalogue_row(METRICS["srmr"])[1]
    metric: Metric = METRICS["snr"]
    assert len(script.catalogue_row(metric)) == len(script.HEAD)


def test_own_answers() -> None:
    s, e = script.golden()
    silent: Any = np.zeros_like(s)
    assert script.own_answer(s, silent, "snr") == "`floor` (silent), -10.0000"
    assert script.own_answer(silent, e, "snr") == "`excluded_ref` (silent)"
    assert script.own_answer(s, s, "snr") == "`ok`, 80.0000, flag `clamped`"
