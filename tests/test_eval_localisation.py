"""eval.localisation against values known on paper, the DCASE baselines' own results, and properties."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import localisation as loc
from eval.outcome import EstimateFault, ReferenceFault

Floats = NDArray[np.float64]
Events = list[tuple[float, ...]]

angles = st.tuples(st.floats(-360, 360), st.floats(-90, 90))


def angle(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(loc.angular_error_deg(reference_deg=a, estimate_deg=b))


# the angle


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0), (90, 0), 90),
        ((0, 0), (180, 0), 180),
        ((170, 0), (-170, 0), 20),
        ((10, 90), (200, 90), 0),  # at the zenith, azimuth means nothing
        ((0, 90), (0, -90), 180),
        ((0, 45), (180, 45), 90),
        ((0, 30), (90, 30), math.degrees(math.acos(0.25))),
        ((45, 0), (45, 1e-9), 1e-9),
        ((0, 0), (180, 1e-6), 180 - 1e-6),
    ],
)
def test_angles_on_paper(a: tuple[float, float], b: tuple[float, float], expected: float) -> None:
    assert angle(a, b) == pytest.approx(expected, abs=1e-12, rel=1e-13)


@given(a=angles, b=angles, c=angles)
@settings(max_examples=80)
def test_angles_are_distances(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> None:
    assert angle(a, b) == pytest.approx(angle(b, a), abs=1e-12)
    assert angle(a, a) == 0
    assert angle(a, (a[0] + 360, a[1])) == pytest.approx(0, abs=1e-12)
    assert angle(a, c) <= angle(a, b) + angle(b, c) + 1e-11
    (az1, el1), (az2, el2) = np.radians(a), np.radians(b)
    cosine = np.sin(el1) * np.sin(el2) + np.cos(el1) * np.cos(el2) * np.cos(az1 - az2)
    # the law of cosines is good to 1e-6 degrees where the angle is near 0 or 180
    assert angle(a, b) == pytest.approx(np.degrees(np.arccos(np.clip(cosine, -1, 1))), abs=3e-6)


def test_angles_broadcast_and_refuse() -> None:
    found = loc.angular_error_deg(reference_deg=np.zeros((4, 1, 2)), estimate_deg=[[10, 0], [0, 20], [30, 0]])
    assert found == pytest.approx(np.tile([10.0, 20, 30], (4, 1)), abs=1e-12)
    with pytest.raises(ValueError, match=r"reference_deg must have shape \(..., 2\), got \(3,\)"):
        loc.angular_error_deg(reference_deg=[0, 0, 0], estimate_deg=[0, 0])
    with pytest.raises(ValueError, match="estimate_deg must be finite"):
        loc.angular_error_deg(reference_deg=[0, 0], estimate_deg=[0, math.nan])


# DOA per frame


def brute_force(r: Floats, e: Floats, r_on: Any, e_on: Any) -> float:
    """Sum of errors, over the best of all matchings."""
    total = 0.0
    for frame in range(len(r)):
        a, b = r[frame][r_on[frame]], e[frame][e_on[frame]]
        table = [[angle(tuple(x), tuple(y)) for y in b] + [180.0] * len(a) for x in a]
        ways = itertools.permutations(range(len(b) + len(a)), len(a))
        # the number of pairs is fixed, so a missed source must not buy a cheaper matching
        pairs = min(len(a), len(b))
        allowed = [way for way in ways if sum(j < len(b) for j in way) == pairs]
        total += min(sum(table[i][j] for i, j in enumerate(way)) for way in allowed)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_several_sources_equal_the_best_of_all_matchings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    r, e = (rng.uniform(-90, 90, (12, n, 2)) for n in (3, 2))
    r_on, e_on = rng.random((12, 3)) < 0.7, rng.random((12, 2)) < 0.7
    found = loc.doa_counts(reference_deg=r, estimate_deg=e, reference_active=r_on, estimate_active=e_on)
    assert found.error_sum_deg == pytest.approx(brute_force(r, e, r_on, e_on), abs=1e-9)
    assert found.n_reference == r_on.sum()
    assert found.n_missed == np.maximum(0, r_on.sum(axis=1) - e_on.sum(axis=1)).sum()
    assert found.n_false == np.maximum(0, e_on.sum(axis=1) - r_on.sum(axis=1)).sum()


def track(*azimuths: float) -> Floats:
    return np.array([[[azimuth, 0.0]] for azimuth in azimuths])


def test_doa_on_paper() -> None:
    r, e = track(0, 10, 20, 175), track(4, 15, 26, -175)
    assert loc.doa_mae(reference_deg=r, estimate_deg=e) == pytest.approx((4 + 5 + 6 + 10) / 4, abs=1e-12)
    assert loc.acc_5(reference_deg=r, estimate_deg=e) == 0.5
    assert loc.acc_5(reference_deg=r, estimate_deg=r) == 1
    wide = loc.doa_counts(reference_deg=r, estimate_deg=e, within_deg=6.5)
    assert wide.accuracy == 0.75


def test_silence_is_no_advantage() -> None:
    r, e = track(0, 10, 20), track(4, 100, 20)
    on = np.array([[True], [False], [True]])
    whole = loc.doa_counts(reference_deg=r, estimate_deg=e)
    silent = loc.doa_counts(reference_deg=r, estimate_deg=e, estimate_active=on)
    assert (silent.n_missed, silent.n_false) == (1, 0)
    assert silent.mae_deg == pytest.approx((4 + 180 + 0) / 3, abs=1e-12)
    assert silent.mae_deg > whole.mae_deg
    assert silent.accuracy == pytest.approx(2 / 3)
    pause = loc.doa_counts(reference_deg=r, estimate_deg=e, reference_active=on)
    assert (pause.n_reference, pause.n_missed, pause.n_false) == (2, 0, 1)
    assert pause.mae_deg == pytest.approx(2, abs=1e-12)


def test_order_of_sources_and_inactive_directions_mean_nothing() -> None:
    rng = np.random.default_rng(1)
    r, e = rng.uniform(-90, 90, (20, 2, 2)), rng.uniform(-90, 90, (20, 2, 2))
    expected = loc.doa_counts(reference_deg=r, estimate_deg=e)
    swapped = loc.doa_counts(reference_deg=r, estimate_deg=e[:, ::-1])
    assert swapped.error_sum_deg == pytest.approx(expected.error_sum_deg, abs=1e-9)
    padded = np.concatenate([e, np.full((20, 1, 2), np.nan)], axis=1)
    on = np.ones((20, 3), dtype=bool) & [True, True, False]
    same = loc.doa_counts(reference_deg=r, estimate_deg=padded, estimate_active=on)
    assert same == expected


def test_counts_of_recordings_add_up() -> None:
    rng = np.random.default_rng(2)
    r, e = rng.uniform(-90, 90, (20, 2, 2)), rng.uniform(-90, 90, (20, 1, 2))
    parts = [loc.doa_counts(reference_deg=r[s], estimate_deg=e[s]) for s in (slice(0, 7), slice(7, 20))]
    whole = loc.doa_counts(reference_deg=r, estimate_deg=e)
    total = parts[0] + parts[1]
    assert total.mae_deg == pytest.approx(whole.mae_deg, abs=1e-12)
    assert (total.n_within, total.n_reference, total.n_missed, total.n_false) == (
        whole.n_within,
        whole.n_reference,
        whole.n_missed,
        whole.n_false,
    )


def test_doa_faults() -> None:
    r = track(0, 10)
    off = np.zeros((2, 1), dtype=bool)
    for metric in (loc.doa_mae, loc.acc_5):
        with pytest.raises(ReferenceFault, match="no_sources"):
            metric(reference_deg=r, estimate_deg=r, reference_active=off)
    with pytest.raises(EstimateFault, match="nan"):
        loc.doa_mae(reference_deg=r, estimate_deg=track(0, math.nan))
    with pytest.raises(ReferenceFault, match="nan"):
        loc.doa_mae(reference_deg=track(0, math.inf), estimate_deg=r)
    with pytest.raises(ValueError, match="estimate_deg must have the reference's 2 frames, got 3"):
        loc.doa_mae(reference_deg=r, estimate_deg=track(0, 1, 2))
    with pytest.raises(ValueError, match=r"reference_deg must have shape \(frames, sources, 2\), got \(2, 2\)"):
        loc.doa_mae(reference_deg=r[:, 0], estimate_deg=r)
    with pytest.raises(
        ValueError, match=r"estimate_active must be bool of shape \(2, 1\), got int64 of shape \(2, 1\)"
    ):
        loc.doa_mae(reference_deg=r, estimate_deg=r, estimate_active=off.astype(int))
    with pytest.raises(ValueError, match=r"reference_active must be bool of shape \(2, 1\)"):
        loc.doa_mae(reference_deg=r, estimate_deg=r, reference_active=off[0])
    with pytest.raises(ValueError, match=r"within_deg must be within \[0, 180\], got -1"):
        loc.doa_counts(reference_deg=r, estimate_deg=r, within_deg=-1)


# SELD


def scene(k: int) -> tuple[Events, Events]:
    """Nine sources of three classes in 95 frames, with misplaced, mislabelled, missed and false estimates."""
    reference: Events = []
    estimate: Events = []
    for number in range(9):
        label, start = (number * 5 + k) % 3, (number * 23 + 7 * k) % 80
        azimuth, elevation = (number * 97 + 31 * k) % 360 - 180, (number * 41 + k) % 101 - 50
        for frame in range(start, min(start + 8 + 3 * number, 95)):
            reference.append((frame, label, azimuth, elevation))
            if (frame + number) % 4:
                heard = label if frame % 11 else (label + 1) % 3
                estimate.append((frame, heard, azimuth + (frame * 13 + k) % 37 - 9, elevation / 2))
            if number == k % 9 or number == 8:
                estimate.append((frame, (label + 2) % 3, -azimuth, 0))
    return sorted(reference), sorted(estimate)


# ER, F, LE, LR and SELD error that the rules of the baselines give for these scenes: SELD_evaluation_metrics.py of
# sharathadavanne/seld-dcase2022 (commit fe3aedd, macro and micro) and of seld-dcase2021 (commit 0fae38e),
# followed line by line in a script outside of this repository.
BASELINE = [
    (0, 2022, "macro", (0.88, 0.46240601503759393, 18.370022623292133, 0.9583333333333334, 0.3903290832173962)),
    (0, 2022, "micro", (0.88, 0.4666666666666667, 18.566942239039413, 0.96, 0.38912075310977695)),
    (0, 2021, "micro", (0.88, 0.56, 18.566942239039413, 0.96, 0.3657874197764436)),
    (
        1,
        2022,
        "macro",
        (1.0740740740740742, 0.3707915273132665, 21.50383609694217, 0.9666666666666667, 0.464020409047066),
    ),
    (
        1,
        2021,
        "micro",
        (1.0740740740740742, 0.4727272727272727, 21.503836096942173, 0.9642857142857143, 0.439131710788803),
    ),
    (
        2,
        2022,
        "macro",
        (0.8461538461538461, 0.4941338854382333, 17.66590032012041, 0.9696969696969697, 0.370116720421495),
    ),
    (
        2,
        2022,
        "micro",
        (0.8461538461538461, 0.4923076923076923, 17.826972576690125, 0.9629629629629629, 0.37248048185509),
    ),
    (3, 2022, "macro", (1.0, 0.42924126172208016, 19.00405720736426, 1.0, 0.419084208468597)),
    (3, 2021, "micro", (1.0, 0.5283018867924528, 19.16022263953167, 1.0, 0.3945359486345697)),
]


def scores(reference: Any, estimate: Any, n_frames: int = 95, n_classes: int = 3, **how: Any) -> loc.SeldScores:
    counts = loc.seld_counts(reference=reference, estimate=estimate, n_frames=n_frames, n_classes=n_classes)
    return loc.seld_scores(counts, **how)


@pytest.mark.parametrize(("k", "edition", "average", "expected"), BASELINE)
def test_seld_equals_the_baselines(k: int, edition: int, average: str, expected: tuple[float, ...]) -> None:
    found = scores(*scene(k), edition=edition, average=average)
    values = (found.er_20, found.f1_20, found.le_cd_deg, found.lr_cd, found.seld_error)
    assert values == pytest.approx(expected, abs=1e-12)
    assert found.n_classes == 3


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_perfect_and_empty_outputs(average: str) -> None:
    reference, _ = scene(0)
    assert scores(reference, reference, average=average) == loc.SeldScores(0, 1, 0, 1, 0, 3)
    assert scores(reference, [], average=average) == loc.SeldScores(1, 0, 180, 0, 1, 3)


def one(frame: int, azimuth: float, label: int = 0) -> tuple[float, ...]:
    return (frame, label, azimuth, 0.0)


def cell(reference: Events, estimate: Events) -> list[float]:
    """Reference sources, hits, misplaced, false, missed, sum of errors of one segment and class."""
    counts = loc.seld_counts(reference=reference, estimate=estimate, n_frames=10, n_classes=1)
    return [float(x) for x in counts.by_class[0]]


def test_one_segment_on_paper() -> None:
    assert cell([one(0, 0), one(1, 0)], [one(0, 10), one(1, 20)]) == pytest.approx([1, 1, 0, 0, 0, 15])
    assert cell([one(0, 0), one(1, 0)], [one(0, 10), one(1, 32)]) == pytest.approx([1, 0, 1, 0, 0, 21])
    assert cell([one(0, 0), one(1, 0)], [one(1, 8)]) == pytest.approx([1, 1, 0, 0, 0, 8])
    assert cell([one(0, 0)], [one(0, 20 - 1e-9)])[1] == 1  # 20 itself is within, up to rounding
    # two at once, in crossed order, and one too many
    assert cell([one(0, 0), one(0, 90)], [one(0, 91), one(0, 2), one(0, 50)]) == pytest.approx([2, 2, 0, 1, 0, 3])
    assert cell([one(0, 0), one(0, 90)], [one(0, 91)]) == pytest.approx([2, 1, 0, 0, 1, 1])
    assert cell([], [one(0, 0), one(0, 5), one(3, 7)]) == [0, 0, 0, 2, 0, 0]
    assert cell([one(4, 0), one(4, 9)], []) == [2, 0, 0, 0, 2, 0]
    # no frame in common: as many missed as estimated, like the baselines
    assert cell([one(0, 0), one(0, 9)], [one(1, 0)]) == [2, 0, 0, 0, 1, 0]


def test_edits_substitute_within_a_segment_only() -> None:
    reference = [one(0, 0), one(10, 0)]
    within = [one(0, 0, label=1), one(10, 0)]  # a wrong class: one substitution
    across = [one(10, 0), one(10, 0, label=1)]  # a miss and, a second later, a false one
    for estimate, edits in ((within, 1), (across, 2)):
        counts = loc.seld_counts(reference=reference, estimate=estimate, n_frames=20, n_classes=2)
        assert counts.edits == edits
        assert loc.seld_scores(counts).er_20 == edits / 2


def test_a_class_without_reference_is_in_no_mean_and_its_false_ones_in_the_error_rate() -> None:
    found = scores([one(0, 0)], [one(0, 0), one(0, 0, label=2)])
    assert found == loc.SeldScores(1.0, 1.0, 0.0, 1.0, 0.25, 1)
    micro = scores([one(0, 0)], [one(0, 0), one(0, 0, label=2)], average="micro")
    assert micro.f1_20 == pytest.approx(2 / 3)


def test_segments_and_the_end() -> None:
    late = [one(94, 0), one(99, 0), one(100, 0)]
    counts = loc.seld_counts(reference=[one(94, 0)], estimate=late, n_frames=95, n_classes=1)
    assert counts.outside == 1  # the last segment is whole: frame 99 is in it
    assert counts.by_class[0].tolist() == [1, 1, 0, 0, 0, 0]
    five = loc.seld_counts(
        reference=[one(4, 0), one(5, 0)], estimate=[], n_frames=10, n_classes=1, frames_per_segment=5
    )
    assert five.by_class[0, 0] == 2
    wide = loc.seld_counts(reference=[one(0, 0)], estimate=[one(0, 30)], n_frames=9, n_classes=1, within_deg=30.001)
    assert wide.by_class[0, 1] == 1


def test_seld_counts_of_recordings_add_up() -> None:
    (r0, e0), (r1, e1) = scene(0), scene(1)
    a = loc.seld_counts(reference=r0, estimate=e0, n_frames=100, n_classes=3)
    b = loc.seld_counts(reference=r1, estimate=e1, n_frames=100, n_classes=3)

    def later(events: Events) -> Events:
        return [(frame + 100, *rest) for frame, *rest in events]

    whole = loc.seld_counts(reference=r0 + later(r1), estimate=e0 + later(e1), n_frames=200, n_classes=3)
    total = a + b
    assert total.edits == whole.edits
    assert total.by_class == pytest.approx(whole.by_class, abs=1e-9)


@given(order=st.randoms(use_true_random=False), turn=st.floats(-180, 180))
@settings(max_examples=15)
def test_seld_forgets_the_order_of_frames_and_the_heading(order: Any, turn: float) -> None:
    reference, estimate = scene(2)
    expected = scores(reference, estimate)

    def moved(events: Events) -> Events:
        turned = [(frame, label, azimuth + turn, elevation) for frame, label, azimuth, elevation in events]
        frames = sorted({row[0] for row in turned}, key=lambda _: order.random())
        return [row for frame in frames for row in turned if row[0] == frame]

    found = scores(moved(reference), moved(estimate))
    assert found.er_20 == expected.er_20
    assert found.le_cd_deg == pytest.approx(expected.le_cd_deg, abs=1e-9)
    assert found.seld_error == pytest.approx(expected.seld_error, abs=1e-12)


def test_seld_faults() -> None:
    with pytest.raises(ReferenceFault, match="no_sources"):
        scores([], [one(0, 0)])
    with pytest.raises(EstimateFault, match="nan"):
        scores([one(0, 0)], [one(0, math.nan)])
    with pytest.raises(ReferenceFault, match="nan"):
        scores([one(0, math.inf)], [])
    with pytest.raises(EstimateFault, match="unknown_class"):
        scores([one(0, 0)], [one(0, 0, label=3)])
    with pytest.raises(ReferenceFault, match="unknown_class"):
        scores([one(0, 0, label=3)], [])
    for bad in ((-1, 0, 0, 0), (0.5, 0, 0, 0), (0, -1, 0, 0)):
        with pytest.raises(EstimateFault, match="not_a_count"):
            scores([one(0, 0)], [bad])
    with pytest.raises(ValueError, match="reference must end before frame 95, got frame 95"):
        scores([one(95, 0)], [])
    with pytest.raises(ValueError, match=r"estimate must have shape \(rows, 4\), frame, class, .* got \(1, 3\)"):
        scores([one(0, 0)], [(0, 0, 0)])
    with pytest.raises(ValueError, match="must be at least 1, got 0, 3 and 10"):
        scores([], [], n_frames=0)
    with pytest.raises(ValueError, match="2022 macro, 2022 micro or 2021 micro, got 2021 macro"):
        scores([one(0, 0)], [], edition=2021)
