"""eval.statistics: error rates under clustered nulls, parity with scipy, ranks that agree with the tests."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval import statistics
from eval.statistics import (
    ALPHA,
    Clustered,
    bca_interval,
    better_share,
    cluster_bootstrap,
    first_share,
    flips_needed,
    holm,
    pairs_of,
    percentile_interval,
    sign_flip,
    smallest_p,
    standing,
    wilcoxon,
)


def speakers(clusters: int, items: int) -> np.ndarray:
    return np.repeat(np.arange(clusters), items)


def clustered_noise(rng: np.random.Generator, trials: int, *, clusters: int, items: int) -> np.ndarray:
    """(items, trials) of mean zero, half of whose variance is the cluster's."""
    own = rng.standard_normal((clusters, trials))[speakers(clusters, items)]
    return own + rng.standard_normal((clusters * items, trials))


def pair_sums(data: Clustered) -> np.ndarray:
    return np.stack([data.sums[:, i] - data.sums[:, j] for i, j in pairs_of(data.sums.shape[1])], axis=1)


# error rates: what the whole module is for


def test_the_sign_flip_test_holds_its_level_where_a_test_over_items_does_not() -> None:
    rng = np.random.default_rng(1)
    trials, clusters, items = 4000, 20, 10
    # two systems of one distribution: each reacts to each speaker in its own way, so differences are clustered
    differences = clustered_noise(rng, trials, clusters=clusters, items=items) - clustered_noise(
        rng, trials, clusters=clusters, items=items
    )
    by_cluster = sign_flip(Clustered.of(differences, speakers(clusters, items)).sums, draws=1999, seed=0)
    by_item = sign_flip(differences[:, :500], draws=1999, seed=0)
    assert 0.04 <= (by_cluster < ALPHA).mean() <= 0.06  # standard error 0.0035
    assert (by_item < ALPHA).mean() > 0.4


@pytest.mark.parametrize("clusters", [6, 12])
def test_the_exact_test_holds_its_level_with_few_clusters_and_uneven_ones(clusters: int) -> None:
    rng = np.random.default_rng(2)
    sizes = np.arange(1, clusters + 1) ** 2  # the largest speaker has as much as all the others
    codes = np.repeat(np.arange(clusters), sizes)
    differences = rng.standard_normal((clusters, 4000))[codes] + rng.standard_normal((len(codes), 4000))
    p = sign_flip(Clustered.of(differences, codes).sums)
    assert p.min() >= smallest_p(clusters)
    assert 0.02 <= (p < ALPHA).mean() <= 0.06


def test_the_sign_flip_test_finds_a_difference_that_is_there() -> None:
    rng = np.random.default_rng(3)
    shifted = clustered_noise(rng, 500, clusters=20, items=10) + 0.75  # three standard errors of the mean
    assert (sign_flip(Clustered.of(shifted, speakers(20, 10)).sums, draws=1999) < ALPHA).mean() > 0.75


def test_holm_holds_the_level_of_the_family_where_single_tests_do_not() -> None:
    rng = np.random.default_rng(4)
    trials, systems, clusters = 1500, 5, 12
    pairs = pairs_of(systems)
    sums = rng.standard_normal((trials, clusters, systems))
    table = np.concatenate([[s[:, i] - s[:, j] for i, j in pairs] for s in sums]).T
    p = sign_flip(table).reshape(trials, len(pairs))
    single = (p.min(axis=1) < ALPHA).mean()
    family = np.mean([holm(row).min() < ALPHA for row in p])
    assert 0.01 <= family <= 0.06
    assert single > 0.2


def test_rank_intervals_hold_the_true_ranks_and_are_not_always_everything() -> None:
    rng = np.random.default_rng(5)
    truth = np.array([3, 1, 2, 4])
    trials, wide, missed = 300, 0, 0
    for _ in range(trials):
        sums = rng.standard_normal((14, 4)) - 0.6 * truth
        data = Clustered(sums, np.ones(14))
        found = standing(data.aggregates, holm(sign_flip(pair_sums(data), draws=999)), better="higher")
        missed += not ((found.rank_low <= truth) & (truth <= found.rank_high)).all()
        wide += int((found.rank_high - found.rank_low).sum())
    assert missed / trials <= 0.06
    assert wide / trials < 8  # of at most 12


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_intervals_over_twenty_clusters_cover_and_those_over_items_do_not(kind: str) -> None:
    rng = np.random.default_rng(6)
    trials = 3000
    values = clustered_noise(rng, trials, clusters=20, items=10)  # true mean 0
    covered = {}
    for unit, codes in (("cluster", speakers(20, 10)), ("item", np.arange(200))):
        data = Clustered.of(values, codes)
        drawn = data.resampled(draws=1000, seed=0)
        low, high = percentile_interval(drawn) if kind == "percentile" else bca_interval(data, drawn)
        covered[unit] = ((low <= 0) & (high >= 0)).mean()
    assert 0.92 <= covered["cluster"] <= 0.955  # standard error 0.005
    assert covered["item"] < 0.75  # ten items of a speaker are not ten independent ones


def test_pooled_rates_are_covered_where_long_items_go_wrong_more_often() -> None:
    rng = np.random.default_rng(7)
    trials, clusters = 1500, 25
    words = np.repeat([3, 5, 8, 12, 30, 60], clusters)
    codes = np.tile(np.arange(clusters), 6)
    rate = np.clip(0.15 + 0.004 * words + 0.05 * rng.standard_normal((trials, clusters))[:, codes], 0.01, 0.9)
    errors = rng.binomial(words, rate)
    true = (np.clip(0.15 + 0.004 * words, 0.01, 0.9) * words).sum() / words.sum()
    data = Clustered.of(errors.T, codes, words)
    low, high = percentile_interval(data.resampled(draws=1000, seed=0))
    assert 0.92 <= ((low <= true) & (true <= high)).mean() <= 0.965
    assert true - (errors / words).mean() > 0.02  # the mean of the items' rates is another number


# other implementations


def test_exact_p_values_are_those_of_scipy() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal(9) + 0.6, rng.standard_normal(9)
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip((a - b)[:, None]) == pytest.approx([expected.pvalue], abs=1e-12)
    assert 0.01 < expected.pvalue < 0.9


def test_random_p_values_are_near_those_of_scipy() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal(40) + 0.25, rng.standard_normal(40)
    expected = stats.permutation_test(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=20000,
        rng=np.random.default_rng(0),
    )
    assert sign_flip((a - b)[:, None], draws=20000) == pytest.approx([expected.pvalue], abs=0.01)
    assert 0.02 < expected.pvalue < 0.5


def test_the_random_test_agrees_with_the_exact_one() -> None:
    differences = np.random.default_rng(10).standard_normal((12, 6)) + 0.4
    exact = sign_flip(differences, draws=2**12)
    drawn = sign_flip(differences, draws=2**12 - 1, seed=1)
    assert drawn == pytest.approx(exact, abs=0.03)
    assert (drawn != exact).any()


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_are_those_of_scipy(method: str) -> None:
    values = np.random.default_rng(11).exponential(size=(30, 1))  # skewed, where the two methods differ
    expected = stats.bootstrap(
        (values[:, 0],), np.mean, method=method, n_resamples=40000, rng=np.random.default_rng(0)
    ).confidence_interval
    data = Clustered.of(values, np.arange(30))
    drawn = data.resampled(draws=40000, seed=0)
    low, high = percentile_interval(drawn) if method == "percentile" else bca_interval(data, drawn)
    assert (low[0], high[0]) == pytest.approx(tuple(expected), abs=0.012)
    plain = percentile_interval(drawn)
    assert (abs(low[0] - plain[0][0]) > 0.03) == (method == "BCa")  # twice the tolerance: the check can tell them apart


def test_holm_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 is 0.04 0.06 0.06 0.04, made to rise
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.5]) == pytest.approx([1, 1])
    assert holm([]).tolist() == []
    # statsmodels 0.15.0, multipletests(..., method="holm")
    assert holm([0.001, 0.008, 0.039, 0.041, 0.042, 0.06]) == pytest.approx([0.006, 0.04, 0.156, 0.156, 0.156, 0.156])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_holm_lies_between_the_raw_values_and_bonferroni(p: list[float]) -> None:
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(np.array(p) * len(p), 1) + 1e-15).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_wilcoxon_is_that_of_scipy_and_one_where_nothing_differs() -> None:
    differences = np.random.default_rng(12).standard_normal(15) + 0.5
    assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert wilcoxon(np.zeros(5)) == 1


# known on paper


def test_p_values_on_paper() -> None:
    assert sign_flip([[1.0], [2.0], [4.0]])[0] == 2 / 8  # only all plus and all minus are as extreme
    assert sign_flip([[1.0], [1.0], [-1.0]])[0] == 1  # |sum| is 1 for six flips and 3 for two, all at least 1
    assert sign_flip([[0.0], [0.0]])[0] == 1
    assert sign_flip([[5.0]])[0] == 1
    many = np.ones((40, 1))
    assert sign_flip(many, draws=99)[0] == 1 / 100  # none of the 99 is as extreme; the data are added to both counts


def test_p_values_do_not_hang_on_rounding() -> None:
    thirds = np.array([[0.1], [0.2], [-0.3], [0.1], [0.2], [0.3]])  # many flips give the same sum but for rounding
    assert sign_flip(thirds) == pytest.approx(sign_flip(np.round(thirds * 10)), abs=0)


def test_the_smallest_p_is_reached_and_no_smaller_one() -> None:
    for clusters, draws in ((2, 99), (6, 99), (30, 99)):
        assert sign_flip(np.ones((clusters, 1)), draws=draws)[0] == smallest_p(clusters, draws=draws)
    assert (smallest_p(2), smallest_p(5), smallest_p(6)) == (0.5, 0.0625, 0.03125)


def test_there_are_flips_enough_for_any_number_of_systems() -> None:
    assert flips_needed(190) == 10_000
    pairs = math.comb(60, 2)
    assert smallest_p(100, draws=flips_needed(pairs)) * pairs < ALPHA < smallest_p(100) * pairs


def test_standing_on_paper() -> None:
    # 0 and 1 tie; 2 is worse than 0 but not than 1; 3 is worse than all
    p = dict.fromkeys(pairs_of(4), 0.001) | {(0, 1): 0.5, (1, 2): 0.2, (0, 2): 0.04}
    found = standing([4.0, 3.0, 2.0, 1.0], list(p.values()), better="higher")
    assert found.rank_low.tolist() == [1, 1, 2, 4]
    assert found.rank_high.tolist() == [2, 3, 3, 4]
    assert found.tie_group.tolist() == [1, 1, 2, 3]
    assert found.p_leader[1:].tolist() == [0.5, 0.04, 0.001]
    assert math.isnan(found.p_leader[0])
    edge = standing([2.0, 1.0], [ALPHA], better="higher")  # exactly at the level is a tie, in ranks as in groups
    assert (edge.rank_high.tolist(), edge.tie_group.tolist()) == ([2, 2], [1, 1])


def test_lower_can_be_better() -> None:
    p = [0.001, 0.001, 0.6]
    up = standing([1.0, 3.0, 2.0], p, better="higher")
    down = standing([-1.0, -3.0, -2.0], p, better="lower")
    assert (up.rank_low.tolist(), up.rank_high.tolist()) == ([3, 1, 1], [3, 2, 2])
    for field in ("rank_low", "rank_high", "tie_group", "p_leader"):
        np.testing.assert_array_equal(getattr(up, field), getattr(down, field))
    with pytest.raises(ValueError, match="better must be 'higher' or 'lower', got 'up'"):
        standing([1.0, 2.0], [0.5], better="up")


def test_standing_of_none_and_of_one() -> None:
    assert standing([], [], better="higher").rank_low.tolist() == []
    alone = standing([1.0], [], better="higher")
    assert (alone.rank_low.tolist(), alone.rank_high.tolist(), alone.tie_group.tolist()) == ([1], [1], [1])


@given(st.integers(1, 7), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=200)
def test_ranks_and_tie_groups_agree(systems: int, random: object) -> None:
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    merit = rng.integers(0, 6, systems).astype(float)
    equal = np.array([merit[i] == merit[j] for i, j in pairs_of(systems)], dtype=bool)
    p = np.where(equal, 1.0, rng.choice([0.0, 0.049, 0.05, 0.8], len(equal)))  # as `sign_flip` has it
    found = standing(merit, p, better="higher")
    place = np.empty(systems, dtype=int)
    place[np.argsort(-merit, kind="stable")] = np.arange(1, systems + 1)
    assert (found.rank_low <= place).all()
    assert (place <= found.rank_high).all()
    leader = int(np.argmin(place))
    assert found.rank_low[leader] == found.tie_group[leader] == 1
    assert set(found.tie_group) == set(range(1, found.tie_group.max() + 1))
    assert (found.tie_group[found.rank_low == 1] == 1).all()
    tied = np.nan_to_num(found.p_leader, nan=1.0) >= ALPHA
    assert ((found.tie_group == 1) == tied).all()
    for (i, j), value in zip(pairs_of(systems), p, strict=True):
        if value < ALPHA:
            better, worse = (i, j) if merit[i] > merit[j] else (j, i)
            assert found.rank_low[worse] > 1
            assert found.rank_high[better] < systems


def test_first_share_on_paper() -> None:
    draws = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [2.0, 2.0, 2.0]])
    assert first_share(draws, better="higher") == pytest.approx([(1 + 1 / 2 + 1 / 3) / 4, (1 / 2 + 1 / 3) / 4, 1 / 3])
    assert first_share(-draws, better="lower") == pytest.approx(first_share(draws, better="higher"))


def test_two_equal_systems_share_the_draws() -> None:
    values = np.random.default_rng(13).standard_normal((60, 1))
    drawn = cluster_bootstrap(np.hstack([values, values, values - 1]), speakers(12, 5), draws=200, seed=0)
    assert first_share(drawn, better="higher") == pytest.approx([0.5, 0.5, 0])


def test_first_share_is_the_normal_distributions() -> None:
    rng = np.random.default_rng(14)
    values = rng.standard_normal((400, 2))
    values += [0.05, 0.0] - values.mean(axis=0)
    spread = (values[:, 0] - values[:, 1]).std() / 20
    drawn = cluster_bootstrap(values, np.arange(400), draws=20000, seed=0)
    assert first_share(drawn, better="higher")[0] == pytest.approx(stats.norm.cdf(0.05 / spread), abs=0.02)


def test_better_share_on_paper() -> None:
    assert better_share([2, 1, 0, 5], [1, 1, 3, 0], better="higher") == 2.5 / 4
    assert better_share([2, 1, 0, 5], [1, 1, 3, 0], better="lower") == 1.5 / 4


# sums over clusters


def test_aggregates_are_ratios_of_sums() -> None:
    data = Clustered.of([[1.0, 0.0], [2.0, 5.0], [0.0, 7.0]], ["a", "b", "a"], [10, 20, 30])
    assert data.sums.tolist() == [[1, 7], [2, 5]]
    assert data.weights.tolist() == [40, 20]
    assert data.aggregates == pytest.approx([3 / 60, 12 / 60])
    assert data.without_each() == pytest.approx(np.array([[2 / 20, 5 / 20], [1 / 40, 7 / 40]]))


def test_bootstrap_equals_one_draw_at_a_time() -> None:
    errors, words = np.arange(12.0).reshape(6, 2), np.array([3, 1, 4, 1, 5, 9])
    codes = np.array([0, 1, 1, 2, 2, 2])
    picked = np.random.default_rng(3).integers(3, size=(50, 3))
    expected = []
    for drawn in picked:
        items = np.concatenate([np.flatnonzero(codes == cluster) for cluster in drawn])
        expected.append(errors[items].sum(axis=0) / words[items].sum())
    found = Clustered.of(errors, codes, words).resampled(draws=50, seed=3)
    assert found == pytest.approx(np.array(expected), abs=1e-12)


def test_neither_bootstrap_nor_test_depends_on_how_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = np.random.default_rng(0).standard_normal((60, 2)), np.arange(60) // 3
    data = Clustered.of(values, clusters)
    whole = data.resampled(draws=101, seed=0), sign_flip(data.sums, draws=101), sign_flip(data.sums[:9], draws=512)
    monkeypatch.setattr(statistics, "_BLOCK", 70)
    cut = data.resampled(draws=101, seed=0), sign_flip(data.sums, draws=101), sign_flip(data.sums[:9], draws=512)
    for a, b in zip(whole, cut, strict=True):
        assert a == pytest.approx(b, abs=1e-12)


def test_a_test_of_one_pair_does_not_change_with_the_others() -> None:
    differences = np.random.default_rng(0).standard_normal((30, 7))
    assert sign_flip(differences)[3] == sign_flip(differences[:, 3:4])[0]


def test_bootstrap_of_single_items_has_the_known_error() -> None:
    values = np.random.default_rng(0).standard_normal((400, 1))
    means = cluster_bootstrap(values, np.arange(400), draws=4000, seed=0)
    assert means.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.05)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)


def test_the_ratio_has_the_error_of_the_delta_method() -> None:
    rng = np.random.default_rng(15)
    words = rng.integers(5, 50, 300)
    errors = rng.binomial(words, 0.2)
    drawn = Clustered.of(errors[:, None], np.arange(300), words).resampled(seed=0)
    rate = errors.sum() / words.sum()
    known = np.sqrt(((errors - rate * words) ** 2).sum()) / words.sum()  # Cochran, ratio estimator
    assert drawn.std() == pytest.approx(known, rel=0.03)


def test_a_draw_of_clusters_without_words_is_left_out() -> None:
    data = Clustered.of([[1.0], [2.0], [0.0]], [0, 1, 2], [4, 0, 0])
    drawn = data.resampled(draws=300, seed=0)
    assert 0 < len(drawn) < 300
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_a_column_that_does_not_vary_has_no_width(shift: float) -> None:
    data = Clustered.of(np.full((12, 1), shift + 0.1), np.arange(12) // 3)
    drawn = data.resampled(draws=100, seed=0)
    for low, high in (percentile_interval(drawn), bca_interval(data, drawn)):
        assert low == pytest.approx([shift + 0.1], rel=1e-12)
        assert high == pytest.approx([shift + 0.1], rel=1e-12)


def test_nan_never_reaches_an_aggregate_or_a_test() -> None:
    with pytest.raises(AssertionError, match="NaN or infinity reached an aggregate"):
        cluster_bootstrap([[1.0], [math.nan]], ["a", "b"], draws=5, seed=0)
    with pytest.raises(AssertionError, match="NaN or infinity reached a test"):
        sign_flip([[math.inf]])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"numerators must be \(items, systems\)"):
        Clustered.of([1.0, 2.0], ["a", "b"])
    for weights in ([1, -1], [0, 0], [1, math.nan]):
        with pytest.raises(ValueError, match="denominators must be finite, not negative and not all zero"):
            Clustered.of([[1.0], [2.0]], ["a", "b"], weights)
    with pytest.raises(ValueError, match="weight in two clusters"):
        Clustered.of([[1.0], [2.0]], ["a", "b"], [1, 0]).without_each()


def test_the_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    data = Clustered.of(np.random.default_rng(0).standard_normal((40, 3)), np.arange(40))
    data.resampled(draws=50)
    sign_flip(data.sums, draws=50)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_pairs_in_order() -> None:
    assert pairs_of(3) == [(0, 1), (0, 2), (1, 2)]
    assert list(itertools.chain(*pairs_of(1))) == []
