"""Witnesses: seeds written out by hand; Kolmogorov-Smirnov and binomial bounds; counts of what was dealt."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from augment.draw import Balanced, cells, generator, sample, seed_for
from manifests.recipe import Distribution

DRAWS = 4000


def draws(given: Any, count: int = DRAWS, digits: int = 9, **options: Any) -> np.ndarray:
    """Values as the plan draws them: one stream per row."""
    distribution = Distribution.model_validate(given)
    return np.array([sample(distribution, generator(7, "x", i), digits=digits, **options) for i in range(count)])


# seeds


def test_seeds_are_golden() -> None:
    """Every dataset ever made depends on these."""
    assert seed_for(2026, "train", 0, "noise") == 32782664407577258072640537579016228962
    digest = hashlib.sha256(b'[2026,"train",0,"noise"]').digest()
    assert seed_for(2026, "train", 0, "noise") == int.from_bytes(digest[:16], "little")


def test_streams_are_golden() -> None:
    assert generator(2026, "train", 0, "noise").bit_generator.random_raw(3).tolist() == [
        5334959188841399046,
        11965952079867107946,
        14536594769493652436,
    ]


def test_names_do_not_run_together() -> None:
    names = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), (1, 2), (12,), ("1", "2"), (1, "2"), ("1,2",)]
    assert len({seed_for(*n) for n in names}) == len(names)


def test_a_stream_depends_on_its_names_alone() -> None:
    before = generator(1, "train", 3, "snr").random(4)
    generator(1, "train", 3, "level").random(1000)
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(generator(1, "train", 3, "snr").random(4), before)


def test_the_global_state_is_neither_read_nor_changed() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draws({"normal": [0, 1]}, 10)
    Balanced("abc", 1).pop()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_streams_of_neighbouring_rows_are_unrelated() -> None:
    x = np.array([generator(0, "train", i, "snr").random(2) for i in range(DRAWS)])
    correlations = [np.corrcoef(x[:, 0], x[:, 1])[0, 1], np.corrcoef(x[:-1, 0], x[1:, 0])[0, 1]]
    assert max(map(abs, correlations)) < 4 / math.sqrt(DRAWS)  # four standard deviations of independent draws
    assert scipy.stats.kstest(x[:, 0], "uniform").pvalue > 0.001


# distributions


@pytest.mark.parametrize(
    ("given", "peer"),
    [
        ({"uniform": [-5, 20]}, scipy.stats.uniform(-5, 25)),
        ({"loguniform": [0.1, 10]}, scipy.stats.loguniform(0.1, 10)),
        ({"normal": [-26, 3]}, scipy.stats.truncnorm(-4, 4, -26, 3)),
        (
            {"histogram": {"edges": [0, 1, 3, 4], "weights": [1, 0, 3]}},
            scipy.stats.rv_histogram((np.array([1, 0, 3]), np.array([0, 1, 3, 4])), density=False),
        ),
    ],
    ids=["uniform", "loguniform", "normal", "histogram"],
)
def test_a_continuous_quantity_has_its_distribution(given: Any, peer: Any) -> None:
    x = draws(given)
    assert scipy.stats.kstest(x, peer.cdf).pvalue > 0.001
    low, high = Distribution.model_validate(given).support()
    assert low <= x.min() < x.max() <= high


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ({"integers": [1, 4]}, {1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25}),
        ({"choice": {1: 0.8, 2: 0.2}}, {1: 0.8, 2: 0.2}),
        ({"choice": [3, -3, 0]}, {3: 1 / 3, -3: 1 / 3, 0: 1 / 3}),
        ({"choice": {"measured": 3, "simulated": 1}}, {"measured": 0.75, "simulated": 0.25}),
        ({"choice": {5: 1, 6: 0}}, {5: 1.0}),
    ],
    ids=["integers", "weights", "list", "words", "zero weight"],
)
def test_a_discrete_quantity_has_its_shares(given: Any, shares: dict[Any, float]) -> None:
    found = Counter(draws(given).tolist())
    assert set(found) == set(shares)
    for value, share in shares.items():
        assert abs(found[value] - share * DRAWS) <= 4 * math.sqrt(DRAWS * share * (1 - share))  # 4 standard deviations


def test_the_tails_of_a_normal_are_cut() -> None:
    """The recipe's bounds hold for every draw: one in 16 000 would lie outside."""
    distribution = Distribution.model_validate({"normal": [0, 1]})
    rng = generator("tails")
    x = np.array([sample(distribution, rng, digits=12) for _ in range(60_000)])
    assert np.abs(x).max() == 4.0


def test_a_constant_is_itself() -> None:
    assert set(draws(3.25, 5).tolist()) == {3.25}
    assert sample(Distribution.model_validate("simulated"), generator(0)) == "simulated"


def test_a_grid_is_picked_not_drawn() -> None:
    grid = Distribution.model_validate({"grid": [-5, 0, "x"]})
    assert [sample(grid, generator(0), cell=i) for i in range(4)] == [-5.0, 0.0, "x", -5.0]
    assert sample(grid, generator(0)) == -5.0


def test_values_are_rounded_before_they_are_used() -> None:
    x = draws({"uniform": [0, 1]}, 200, digits=3)
    np.testing.assert_array_equal(x, np.round(x, 3))
    assert len(set(x)) > 150
    assert sample(Distribution.model_validate({"uniform": [-5, 20]}), generator(0)) == round(
        sample(Distribution.model_validate({"uniform": [-5, 20]}), generator(0), digits=12), 3
    )
    assert sample(Distribution.model_validate(1.23456), generator(0)) == 1.235
    assert sample(Distribution.model_validate({"grid": [1.23456]}), generator(0)) == 1.235


@pytest.mark.parametrize("given", [1, {"integers": [1, 3]}, {"uniform": [0, 1]}, {"choice": [1, 2]}, {"grid": [1]}])
def test_numbers_are_plain_floats(given: Any) -> None:
    """So that they are written to tables and hashed as what they are."""
    assert type(sample(Distribution.model_validate(given), generator(0))) is float


# balance


def dealt(balanced: Balanced[Any], count: int) -> list[Any]:
    return [balanced.pop() for _ in range(count)]


@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 9))
def test_each_is_used_before_any_is_used_again(items: int, count: int, seed: int) -> None:
    found = Counter(dealt(Balanced(range(items), seed), count))
    assert all(found[i] in (count // items, -(-count // items)) for i in range(items))
    assert found.total() == count


@given(st.integers(2, 12), st.lists(st.sets(st.integers(0, 11), min_size=1), max_size=60), st.integers(0, 9))
def test_what_is_dealt_is_the_least_used_of_what_is_allowed(items: int, wishes: list[set[int]], seed: int) -> None:
    """The promise under predicates."""
    balanced, used = Balanced(range(items), seed), Counter[int]()
    for wish in wishes:
        allowed = [i for i in range(items) if i in wish]
        found = balanced.pop(lambda item, wish=wish: item in wish)
        if not allowed:
            assert found is None
            continue
        assert found in allowed
        assert used[found] == min(used[i] for i in allowed)
        used[found] += 1
    for _ in range(items * (max(used.values(), default=0)) - used.total()):
        found = balanced.pop()
        assert used[found] == min(used[i] for i in range(items))
        used[found] += 1
    assert len(set(used.values())) <= 1  # what was passed over is made up for


def test_every_pass_has_its_own_order() -> None:
    found = dealt(Balanced(range(20), 1, "train"), 100)
    orders = [tuple(found[i : i + 20]) for i in range(0, 100, 20)]
    assert len(set(orders)) == 5
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert dealt(Balanced(range(20), 1, "train"), 100) == found
    assert dealt(Balanced(range(20), 2, "train"), 20) != found[:20]
    assert dealt(Balanced(range(20), 1, "test"), 20) != found[:20]


def test_the_order_is_golden() -> None:
    """Which utterance a row gets rests on it."""
    assert "".join(dealt(Balanced("abcdef", 2026, "train", "speech order"), 18)) == "ecabdffcbaedefcbad"


def test_all_orders_are_equally_likely() -> None:
    found = Counter("".join(dealt(Balanced("abc", seed), 3)) for seed in range(3000))
    assert len(found) == 6
    assert all(abs(n - 500) < 4 * math.sqrt(3000 / 6 * 5 / 6) for n in found.values())


def test_passed_over_items_come_first() -> None:
    balanced = Balanced(range(10), 0)
    order = dealt(Balanced(range(10), 0), 10)
    later = order[3]
    assert balanced.pop(lambda item: item == later) == later
    assert dealt(balanced, 9) == [item for item in order if item != later]


def test_nothing_allowed_is_none_and_changes_nothing() -> None:
    balanced, undisturbed = Balanced(range(5), 0), Balanced(range(5), 0)
    for _ in range(12):
        assert balanced.pop(lambda item: False) is None
        assert balanced.pop() == undisturbed.pop()
    assert Balanced([], 0).pop() is None
    assert (len(Balanced([], 0)), len(balanced)) == (0, 5)


# grids


def test_cells_are_a_factorial_with_the_last_axis_fastest() -> None:
    sizes = [("snr", 3), ("rt60", 2)]
    found = [tuple(cells(sizes, i).values()) for i in range(6)]
    names = [list(cells(sizes, i)) for i in range(6)]
    assert [dict(cells(sizes, i)) for i in range(6)] == [
        {"snr": s, "rt60": r} for s, r in itertools.product(range(3), range(2))
    ]
    assert len(set(found)) == 6
    assert len({tuple(sorted(n)) for n in names}) == 1
    assert cells(sizes, 6) == cells(sizes, 0)
    assert cells([], 5) == {}


@given(st.lists(st.integers(1, 4), max_size=4), st.integers(1, 3))
def test_every_cell_is_visited_equally_often(sizes: list[int], rounds: int) -> None:
    axes: list[tuple[Hashable, int]] = list(enumerate(sizes))
    total = math.prod(sizes)
    found = Counter(tuple(cells(axes, i)[a] for a, _ in axes) for i in range(total * rounds))
    assert len(found) == total
    assert set(found.values()) == {rounds}
