"""eval.tablescores against the published rows of DNS-5 and DPDFNet, values known on paper, and properties."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import tablescores
from eval.tablescores import PRISM_GROUPS, TABLE_SCORES

# ICASSP 2023 Deep Noise Suppression Challenge, final results: track, model, OVRL, WAcc, SCORE.
DNS5 = [
    (1, "Team36_UnbeatableTencent_p", 2.71, 0.7608, 0.59367),
    (1, "Team34_NAPSE_p", 2.69, 0.75776, 0.59002),
    (1, "Team13_TSpeech-AI", 2.65, 0.72459, 0.56879),
    (1, "Team14_TencentASSP_p", 2.60, 0.73422, 0.56691),
    (1, "Team18_TencentVPPaaS", 2.48, 0.68285, 0.52704),
    (1, "Team29_HITIoT", 2.34, 0.71323, 0.5242),
    (1, "Baseline_p", 2.34, 0.68709, 0.5115),
    (1, "Team9_NJUAALab2_nonp", 2.48, 0.72514, 0.54801),
    (1, "cog_pacruse_scratch.b8-epo-264", 2.39, 0.73836, 0.543),
    (1, "Baseline_nonp", 2.34, 0.70691, 0.52107),
    (1, "Team40_SZAudio_p", 2.30, 0.73277, 0.52892),
    (1, "Team8_NJUAALab1_p", 2.00, 0.71612, 0.48279),
    (1, "Team2_Doreso_p", 1.90, 0.7019, 0.46379),
    (1, "Team6_CQUPT_Liu_p", 1.49, 0.67628, 0.39904),
    (1, "noisy", 1.22, 0.84273, 0.44922),
    (2, "Team36_UnbeatableTencent_p", 2.72, 0.76792, 0.59954),
    (2, "Team34_NAPSE_p", 2.58, 0.76908, 0.5815),
    (2, "Team13_TSpeech-AI", 2.66, 0.72426, 0.56966),
    (2, "Team14_TencentASSP_p", 2.65, 0.73489, 0.57332),
    (2, "Team18_TencentVPPaaS", 2.64, 0.72757, 0.5691),
    (2, "Team9_NJUAALab2_nonp", 2.54, 0.7336, 0.55905),
    (2, "Team40_SZAudio_p", 2.39, 0.74947, 0.54853),
    (2, "Baseline_p", 2.38, 0.7274, 0.53654),
    (2, "Team29_HITIoT", 2.26, 0.73064, 0.52287),
    (2, "Team8_NJUAALab1_p", 2.10, 0.73096, 0.50265),
    (2, "Team2_Doreso_p", 1.93, 0.72705, 0.47998),
    (2, "Team33_CZUR_nonp", 1.76, 0.73484, 0.46296),
    (2, "noisy", 1.24, 0.85747, 0.45852),
]

# Table I of "DPDFNet: Boosting DeepFilterNet2 via Dual-Path RNN" (2025): the columns of PRISM_GROUPS, then PRISM.
DPDFNET = """
Noisy 1.32 83.2 0.38 2.03 1.66 1.56 2.53 2.00 1.69 3.40 2.68 2.68 0.04
DTLN 2.14 88.7 10.83 2.51 3.50 2.15 2.85 2.13 2.51 2.79 2.39 2.85 0.46
GTCRN 2.21 87.2 9.11 2.56 3.76 2.25 3.00 2.53 3.27 3.17 2.80 3.01 0.49
RNNoise 2.36 88.5 8.97 2.81 3.94 2.51 3.01 1.88 3.68 2.20 2.19 3.14 0.52
NSNet2 2.35 86.8 8.63 2.68 3.82 2.36 2.92 2.63 3.39 3.25 2.76 3.30 0.52
FastEnhancer-T 2.39 87.6 10.75 2.60 3.91 2.32 2.98 2.74 3.84 3.09 2.95 3.44 0.58
FullSubNet 2.36 89.6 10.63 2.91 3.39 2.43 3.06 2.76 2.78 3.83 3.41 3.29 0.63
DPCRN 2.76 90.7 11.93 2.74 3.79 2.40 3.03 2.92 3.11 3.61 3.23 3.40 0.69
aTENNuate 2.80 88.9 9.65 3.05 4.03 2.74 2.94 3.01 3.35 3.90 2.97 3.92 0.70
DEMUCS 2.57 91.5 12.36 3.00 3.95 2.69 3.09 2.52 3.56 2.70 2.94 3.79 0.72
FastEnhancer-B 2.63 89.6 11.88 2.82 3.99 2.53 3.09 3.40 4.13 3.67 3.44 3.76 0.73
DeepFilterNet2 2.59 91.2 11.95 2.93 3.87 2.58 3.19 3.24 3.74 3.62 3.47 3.60 0.75
CleanUNet 2.82 93.0 12.50 3.08 4.00 2.77 3.15 2.83 3.65 2.96 3.03 3.71 0.79
FastEnhancer-M 2.58 90.4 12.96 2.90 3.98 2.61 3.13 3.87 4.33 4.03 3.79 4.01 0.80
FastEnhancer-S 2.75 90.4 12.51 2.89 4.03 2.61 3.15 3.71 4.32 3.94 3.67 3.97 0.81
DeepFilterNet3 2.76 90.5 12.10 3.03 4.01 2.72 3.22 3.84 4.12 3.99 3.75 3.85 0.82
FastEnhancer-L 2.76 91.2 13.57 2.94 4.00 2.65 3.17 4.15 4.49 4.27 3.98 4.15 0.87
Baseline 2.85 89.2 10.25 2.94 4.00 2.65 3.17 3.95 4.37 4.17 3.87 4.02 0.79
+OA_Loss 2.92 90.2 11.21 3.19 4.09 2.89 3.28 3.80 4.28 4.07 3.79 4.00 0.85
+Fine-Tuning 3.04 91.6 13.27 3.14 4.07 2.83 3.21 3.96 4.31 4.17 3.83 4.05 0.91
DPDFNet-2 3.14 92.6 13.72 3.16 4.08 2.85 3.26 4.06 4.36 4.23 3.92 4.10 0.95
DPDFNet-4 3.18 93.0 14.11 3.17 4.08 2.87 3.28 4.15 4.40 4.30 3.96 4.14 0.98
DPDFNet-8 3.20 93.4 14.47 3.19 4.09 2.89 3.28 4.21 4.43 4.34 4.00 4.18 1.00
"""

NAMES = [name for group in PRISM_GROUPS.values() for name in group]
Rows = dict[str, dict[str, float | None]]


def published() -> tuple[Rows, dict[str, float]]:
    rows: Rows = {}
    scores = {}
    for line in DPDFNET.split("\n")[1:-1]:
        model, *cells = line.split()
        *values, scores[model] = map(float, cells)
        rows[model] = dict(zip(NAMES, values, strict=True))
    return rows, scores


def small(**columns: list[float]) -> Rows:
    """A table of systems 0, 1, ...; columns that are not given rise with the system."""
    count = len(next(iter(columns.values())))
    return {str(i): {name: float(columns[name][i] if name in columns else i) for name in NAMES} for i in range(count)}


# DNS-5


@pytest.mark.parametrize(("track", "model", "ovrl", "wacc", "score"), DNS5)
def test_dns5_score_of_the_published_rows(track: int, model: str, ovrl: float, wacc: float, score: float) -> None:
    # OVRL is published with two decimals: half a unit of the last one is 0.005 / 8 of the score
    assert tablescores.dns5_score(ovrl=ovrl, wacc=wacc) == pytest.approx(score, abs=0.0013)


def test_most_dns5_rows_are_within_the_rounding_of_ovrl() -> None:
    errors = [abs(tablescores.dns5_score(ovrl=o, wacc=w) - s) for _, _, o, w, s in DNS5]
    assert len(errors) == 28
    assert sum(error <= 0.005 / 8 + 1e-5 for error in errors) >= 25


def test_dns5_score_on_paper() -> None:
    assert tablescores.dns5_score(ovrl=5, wacc=1) == 1
    assert tablescores.dns5_score(ovrl=1, wacc=0) == 0
    assert tablescores.dns5_score(ovrl=3, wacc=-0.5) == 0


@pytest.mark.parametrize(
    ("ovrl", "wacc", "message"),
    [
        (0.9, 0.5, r"ovrl must be finite and within \[1, 5\], got 0.9"),
        (5.1, 0.5, "ovrl must be"),
        (math.nan, 0.5, "ovrl must be"),
        (3, 1.01, r"wacc must be finite and within \[-inf, 1\], got 1.01"),
        (3, 84.2, "wacc must be"),  # percent
        (3, -math.inf, "wacc must be"),
    ],
)
def test_dns5_score_refuses(ovrl: float, wacc: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tablescores.dns5_score(ovrl=ovrl, wacc=wacc)


# SELD error


def test_seld_error_on_paper() -> None:
    assert tablescores.seld_error(er_20=0, f1_20=1, le_cd_deg=0, lr_cd=1) == 0
    assert tablescores.seld_error(er_20=1, f1_20=0, le_cd_deg=180, lr_cd=0) == 1
    assert tablescores.seld_error(er_20=0.8, f1_20=0.4, le_cd_deg=45, lr_cd=0.75) == pytest.approx(0.475, abs=1e-12)


def test_seld_error_of_a_published_row() -> None:
    # DCASE 2021 task 3 baseline (FOA), as its README prints it: ER 0.69, F 33.9 %, LE 24.1 degrees, LR 43.9 %
    assert tablescores.seld_error(er_20=0.69, f1_20=0.339, le_cd_deg=24.1, lr_cd=0.439) == pytest.approx(
        0.511, abs=1e-3
    )


@pytest.mark.parametrize(
    "changed",
    [{"er_20": -0.1}, {"f1_20": 33.9}, {"le_cd_deg": 181.0}, {"lr_cd": 43.9}, {"er_20": math.nan}, {"lr_cd": -0.1}],
)
def test_seld_error_refuses(changed: dict[str, float]) -> None:
    good = {"er_20": 0.5, "f1_20": 0.5, "le_cd_deg": 10.0, "lr_cd": 0.5}
    (name,) = changed
    with pytest.raises(ValueError, match=f"{name} must be"):
        tablescores.seld_error(**(good | changed))


# PRISM


def test_prism_of_the_published_table() -> None:
    rows, scores = published()
    result = tablescores.prism(rows)
    assert len(rows) == 23
    assert result.systems == tuple(rows)
    assert not result.reasons
    assert not result.constant
    assert result.ranges["pesq_wb"] == (1.32, 3.20)
    assert result.ranges["nisqa_dis"] == (2.20, 4.34)
    for model, score in scores.items():
        assert result.scores[model] == pytest.approx(score, abs=0.006), model


def test_the_two_other_readings_of_prism_miss_the_published_table() -> None:
    # The three groups in equal parts, or all metrics in equal parts: the tolerance above tells them apart.
    rows, scores = published()
    ranges = {name: (min(r[name] for r in rows.values()), max(r[name] for r in rows.values())) for name in NAMES}
    placed = {m: {n: (r[n] - ranges[n][0]) / (ranges[n][1] - ranges[n][0]) for n in NAMES} for m, r in rows.items()}
    thirds = {m: sum(sum(p[n] for n in g) / len(g) for g in PRISM_GROUPS.values()) / 3 for m, p in placed.items()}
    flat = {m: sum(p.values()) / len(p) for m, p in placed.items()}
    for other in (thirds, flat):
        assert max(abs(other[m] - scores[m]) for m in scores) > 0.03


def test_prism_on_paper() -> None:
    result = tablescores.prism(small(pesq_wb=[1, 2, 3], stoi=[0, 1, 0.5], si_snr=[-5, 5, 15]))
    # intrusive: (0, 0, 0), (1/2, 1, 1/2), (1, 1/2, 1); the others 0, 1/2, 1
    assert result.scores == pytest.approx({"0": 0, "1": (2 / 3 + 1 / 2) / 2, "2": (5 / 6 + 1) / 2}, abs=1e-12)


def test_adding_a_system_changes_prism_of_the_others() -> None:
    rows, _ = published()
    before = tablescores.prism(rows).scores
    perfect: Rows = {"oracle": {n: 100.0 if n == "stoi" else 5.0 for n in NAMES}}
    after = tablescores.prism(rows | perfect)
    assert after.scores["oracle"] is not None
    assert after.scores["DPDFNet-8"] < before["DPDFNet-8"] - 0.1
    assert after.ranges["stoi"] == (83.2, 100.0)


def test_a_system_without_a_metric_does_not_enter() -> None:
    rows, _ = published()
    expected = tablescores.prism({m: r for m, r in rows.items() if m not in ("DPDFNet-8", "Noisy", "DTLN")})
    rows["DPDFNet-8"]["stoi"] = None
    rows["Noisy"]["nisqa_col"] = math.nan
    del rows["DTLN"]["pesq_wb"]
    result = tablescores.prism(rows)
    assert result.reasons == {
        "Noisy": "missing:nisqa_col",
        "DTLN": "missing:pesq_wb",
        "DPDFNet-8": "missing:stoi",
    }
    assert result.systems == expected.systems
    assert result.ranges == expected.ranges  # the best and the worst gave the ranges before
    assert {m: s for m, s in result.scores.items() if s is not None} == expected.scores
    assert list(result.scores) == list(rows)
    assert all(result.scores[m] is None for m in result.reasons)


def test_a_constant_metric_does_not_count() -> None:
    result = tablescores.prism(small(pesq_wb=[2, 2, 2], stoi=[0, 0.2, 1]))
    assert result.constant == ("pesq_wb",)
    assert result.scores["1"] == pytest.approx(((0.2 + 0.5) / 2 + 0.5) / 2, abs=1e-12)


def test_rounding_is_not_a_range() -> None:
    assert tablescores.prism(small(pesq_wb=[0.3, 0.1 + 0.2, 0.3])).constant == ("pesq_wb",)
    assert tablescores.prism(small(pesq_wb=[0.3, 0.3 + 1e-9, 0.3])).constant == ()


def test_a_constant_group_leaves_no_score() -> None:
    result = tablescores.prism(small(pesq_wb=[2, 2], stoi=[1, 1], si_snr=[0, 0]))
    assert result.scores == {"0": None, "1": None}
    assert result.reasons == {"0": "constant:intrusive", "1": "constant:intrusive"}
    assert result.systems == ("0", "1")


def test_one_system_and_none() -> None:
    assert tablescores.prism(small(pesq_wb=[2])).scores == {"0": None}
    assert tablescores.prism({}).scores == {}
    alone = tablescores.prism({"a": {}})
    assert alone.reasons == {"a": "missing:pesq_wb"}
    assert alone.ranges == {}


def test_prism_refuses() -> None:
    with pytest.raises(ValueError, match="pesq_wb must be finite, got inf"):
        tablescores.prism(small(pesq_wb=[1, math.inf]))
    with pytest.raises(ValueError, match="groups must be intrusive, dnsmos, nisqa, got intrusive"):
        tablescores.prism({}, groups={"intrusive": ["pesq_wb"]})


def test_other_columns_and_names() -> None:
    table: Rows = {
        "a": {"p": 1, "d": 0.0, "n": 5.0, "wer": None},
        "b": {"p": 2, "d": 1.0, "n": 4.0},
        "c": {"p": 3, "d": 0.25, "n": 4.5},
    }
    result = tablescores.prism(table, groups={"intrusive": ["p"], "dnsmos": ["d"], "nisqa": ["n"]})
    assert result.scores == pytest.approx({"a": 0.25, "b": 0.5, "c": (1 + 0.375) / 2}, abs=1e-12)


@given(
    values=st.lists(st.lists(st.integers(0, 50), min_size=12, max_size=12), min_size=2, max_size=6),
    scale=st.floats(0.01, 100),
    offset=st.floats(-50, 50),
    data=st.data(),
)
@settings(max_examples=60)
def test_prism_forgets_units_and_order(
    values: list[list[int]], scale: float, offset: float, data: st.DataObject
) -> None:
    rows: Rows = {str(i): dict(zip(NAMES, map(float, row), strict=True)) for i, row in enumerate(values)}
    before = tablescores.prism(rows)
    moved: Rows = {s: {n: v * scale + offset for n, v in row.items() if v is not None} for s, row in rows.items()}
    shuffled = {s: moved[s] for s in data.draw(st.permutations(list(moved)))}
    after = tablescores.prism(shuffled)
    assert after.reasons == before.reasons
    for system, score in before.scores.items():
        found = after.scores[system]
        assert (score is None) == (found is None)
        if score is not None and found is not None:
            assert 0 <= score <= 1
            assert found == pytest.approx(score, abs=1e-9)


# the catalogue


def test_every_table_score_is_described() -> None:
    assert list(TABLE_SCORES) == ["dns5_score", "seld_error", "prism"]
    for name, entry in TABLE_SCORES.items():
        assert entry.name == name
        assert callable(getattr(tablescores, name))
        assert entry.better in ("higher", "lower")
        assert entry.formula
        assert entry.table_relative == (name == "prism")
    assert TABLE_SCORES["prism"].needs == tuple(NAMES)


def test_needs_are_the_arguments() -> None:
    import inspect

    for name in ("dns5_score", "seld_error"):
        assert tuple(inspect.signature(getattr(tablescores, name)).parameters) == TABLE_SCORES[name].needs
