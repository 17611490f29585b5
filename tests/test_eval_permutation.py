"""eval.permutation against a published vector, all permutations tried one by one, and its own promises."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval import distortion, permutation
from eval.permutation import assign, assign_windows, best_order, match_names

Matrix = NDArray[np.float64]
RATE = 8000


def sources(seed: int, count: int, samples: int = 4000) -> Matrix:
    return 0.1 * np.random.default_rng(seed).standard_normal((count, samples))


def test_published_value_of_torchmetrics() -> None:
    # Docstring of permutation_invariant_training
    e = np.array([[-0.0579, 0.3560, -0.9604], [-0.1719, 0.3205, 0.2951]])
    s = np.array([[1.0958, -0.1648, 0.5228], [-0.4100, 1.1942, -0.5103]])
    found = assign(references=s, estimates=e)
    assert found.order == (0, 1)
    assert found.score_db == pytest.approx(-5.1091, abs=5e-5)
    assert found.criterion == "si_sdr"
    assert assign(references=s, estimates=e[::-1]).order == (1, 0)


def test_the_criterion_is_si_sdr() -> None:
    s, e = sources(0, 2), sources(0, 3) + 0.3 * sources(1, 3)
    found = permutation.si_sdr_matrix(references=s, estimates=1e-3 * e)
    for k, j in itertools.product(range(2), range(3)):
        expected = max(-50, distortion.si_sdr(reference=s[k], estimate=e[j]))
        assert found[k, j] == pytest.approx(expected, abs=1e-9)
    perfect = permutation.si_sdr_matrix(references=s, estimates=[s[0], 0 * s[0]])
    assert perfect[0].tolist() == [80, -50]


# Hungarian against all permutations


@given(
    scores=st.integers(1, 4).flatmap(
        lambda k: st.integers(1, 4).flatmap(
            lambda j: st.lists(
                st.lists(st.integers(-5, 5), min_size=j, max_size=j), min_size=k, max_size=k
            )  # integers: many ties
        )
    )
)
@settings(max_examples=150)
def test_best_order_is_the_first_of_the_best(scores: list[list[int]]) -> None:
    table = np.array(scores, dtype=float)
    references, estimates = table.shape
    places: list[int | None] = [*range(estimates), *[None] * max(0, references - estimates)]
    orders = set(itertools.permutations(places, references))

    def total(order: tuple[int | None, ...]) -> float:
        return sum(table[k, j] for k, j in enumerate(order) if j is not None)

    most = max(map(total, orders))
    best = min((o for o in orders if total(o) == most), key=lambda o: [estimates if j is None else j for j in o])
    assert best_order(table) == best


def test_a_hundredth_of_a_decibel_is_no_tie() -> None:
    assert best_order([[0.0, 0.01], [0.0, 0.0]]) == (1, 0)
    assert best_order([[0.0, 1e-8], [0.0, 0.0]]) == (0, 1)


def test_best_order_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(ValueError, match="scores must be finite"):
        best_order([[np.nan, 1.0]])
    with pytest.raises(ValueError, match=r"scores must have shape \(references, estimates\), got \(2,\)"):
        best_order([1.0, 2.0])


@given(seed=st.integers(0, 1000), count=st.integers(1, 4), data=st.data())
@settings(max_examples=40)
def test_shuffling_sources_moves_the_order_and_not_the_score(seed: int, count: int, data: Any) -> None:
    s = sources(seed, count, 500)
    e = s + 0.5 * sources(seed + 5000, count, 500)
    of_references, of_estimates = (list(data.draw(st.permutations(range(count)))) for _ in range(2))
    before = assign(references=s, estimates=e)
    after = assign(references=s[of_references], estimates=e[of_estimates])
    assert after.score_db == pytest.approx(before.score_db, abs=1e-9)
    assert [of_estimates[j] for j in after.order if j is not None] == [before.order[k] for k in of_references]


# numbers that differ, silence, broken estimates


def test_a_reference_too_many_is_missed() -> None:
    s = sources(0, 3)
    found = assign(references=s, estimates=[s[2] + 0.1 * s[1], s[0]])
    assert found.order == (1, None, 0)
    assert (found.missed, found.false_sources) == (1, 0)
    assert found.score_db == pytest.approx(
        (80 - 50 + 20 + 10 * np.log10(np.sum(s[2] ** 2) / np.sum(s[1] ** 2))) / 3, abs=0.2
    )


def test_an_estimate_too_many_is_a_false_source_if_it_can_be_heard() -> None:
    s, extra = sources(0, 2), sources(9, 1)[0]
    for level, count in ((1.0, 1), (0.01, 1), (1e-4, 0), (0.0, 0)):
        found = assign(references=s, estimates=[level * extra, s[1], s[0]])
        assert (found.order, found.false_sources, found.missed) == ((2, 1), count, 0)


def test_a_quiet_system_is_judged_by_its_own_level() -> None:
    s, extra = sources(0, 2), sources(9, 1)[0]
    found = assign(references=s, estimates=1e-4 * np.array([extra, s[1], s[0]]))
    assert (found.order, found.false_sources) == ((2, 1), 1)


@pytest.mark.parametrize("broken", [0.0, 0.3, np.nan, np.inf])
def test_broken_estimates_take_no_place(broken: float) -> None:
    s = sources(0, 2)
    unrelated = sources(5, 1)[0]  # worse than anything, and still a real estimate
    bad = np.full_like(unrelated, broken)
    found = assign(references=s, estimates=[bad, unrelated, s[0]])
    assert found.order == (2, 1)
    alone = assign(references=s, estimates=[bad, s[0]])
    assert (alone.order, alone.missed, alone.false_sources) == ((1, None), 1, 0)


def test_a_silent_reference_is_not_missed() -> None:
    s = sources(0, 2)
    found = assign(references=[s[0], 0 * s[0]], estimates=[s[1], s[0]])
    assert (found.order, found.missed, found.false_sources) == ((1, None), 0, 1)
    assert found.score_db == 80
    assert assign(references=0 * s, estimates=s).score_db is None


def test_ties_go_to_the_lowest_index() -> None:
    s = sources(0, 2)
    assert assign(references=s, estimates=[s[0], s[0], s[1], s[1]]).order == (0, 2)
    assert assign(references=[s[0], s[0]], estimates=[s[0], s[0], s[0]]).order == (0, 1)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"references must have shape \(signals, samples\)"):
        assign(references=np.ones(5), estimates=np.ones((1, 5)))
    with pytest.raises(ValueError, match="estimates must have as many samples as references, 5, got 4"):
        assign(references=np.ones((1, 5)), estimates=np.ones((1, 4)))


# SIR as a second opinion


def test_sir_agrees_on_clean_separation_and_may_not_on_poor_one() -> None:
    s = sources(0, 2)
    e = s + 0.3 * s[::-1] + 0.1 * sources(3, 2)
    assert not permutation.sir_disagrees(references=s, estimates=e, order=(0, 1))
    assert permutation.sir_disagrees(references=s, estimates=e, order=(1, 0))
    assert not permutation.sir_disagrees(references=s[:1], estimates=e, order=(1,))
    # Orthogonal sources a, b and noise n. a + 0.355 b + 5 n holds a 9 dB above b, a + 0.5 b holds it 6 dB above. SIR
    # gives a to the first: 9 - 6 against 6 - 9. By SI-SDR it is -14 - 6 against -23 + 6.
    t = np.arange(4000) / 4000
    s, noise = 0.1 * np.array([np.sin(2 * np.pi * f * t) for f in (30, 50)]), 0.1 * np.sin(2 * np.pi * 70 * t)
    poor = np.array([s[0] + 0.355 * s[1] + 5 * noise, s[0] + 0.5 * s[1]])
    order = assign(references=s, estimates=poor).order
    assert order == (1, 0)
    assert permutation.sir_disagrees(references=s, estimates=poor, order=order)


# windows


def swapped_halfway(seed: int = 0, seconds: int = 8) -> tuple[Matrix, Matrix]:
    s = sources(seed, 2, seconds * RATE)
    e = s.copy()
    e[:, seconds * RATE // 2 :] = s[::-1, seconds * RATE // 2 :]
    return s, e


def test_a_swap_of_labels_is_seen_and_undone() -> None:
    s, e = swapped_halfway()
    e[:, : RATE // 2] = s[:, : RATE // 2]
    found = assign_windows(references=s, estimates=e, sample_rate=RATE, window_s=1, hop_s=1)
    assert found.orders == ((0, 1),) * 4 + ((1, 0),) * 4
    assert found.judged == 8
    assert found.disagreeing == 0.5
    error = np.abs(found.estimates - s)
    assert error[:, : 4 * RATE - 80].max() < 1e-12
    assert error[:, 4 * RATE + 80 :].max() < 1e-12


def test_a_change_is_faded_over_twenty_milliseconds() -> None:
    t = np.arange(4 * RATE) / RATE
    s = 0.3 * np.array([np.sin(2 * np.pi * 50 * t), np.cos(2 * np.pi * 50 * t)])
    e = s.copy()
    e[:, 2 * RATE :] = s[::-1, 2 * RATE :]
    found = assign_windows(references=s, estimates=e, sample_rate=RATE, window_s=1, hop_s=1)
    assert found.disagreeing == 0.5
    sharp = np.where(np.arange(4 * RATE) < 2 * RATE, e, e[::-1])
    weight = np.clip((np.arange(4 * RATE) + 0.5 - 2 * RATE) / (0.02 * RATE) + 0.5, 0, 1)
    assert found.estimates == pytest.approx((1 - weight) * e + weight * e[::-1], abs=1e-12)
    assert np.abs(found.estimates - sharp).max() > 0.05  # so the fade is not nothing


def test_an_unswapped_recording_comes_back_as_it_is() -> None:
    s = sources(1, 3, 6 * RATE)
    e = s[[2, 0, 1]] + 0.1 * sources(2, 3, 6 * RATE)
    found = assign_windows(references=s, estimates=e, sample_rate=RATE, window_s=1.5, hop_s=0.5)
    assert found.fixed.order == (1, 2, 0)
    assert found.disagreeing == 0
    assert found.estimates == pytest.approx(e[[1, 2, 0]], abs=1e-15)
    assert found.fixed == assign(references=s, estimates=e)


def test_windows_of_silence_keep_the_fixed_order_and_are_not_judged() -> None:
    s, e = swapped_halfway(seed=3)
    s[:, 6 * RATE :] = 0  # nobody talks
    s[1, 5 * RATE :] = 0  # one talks: the other takes what is left
    e[:, 7 * RATE :] = 0
    found = assign_windows(references=s, estimates=e, sample_rate=RATE, window_s=1, hop_s=1)
    assert found.fixed.order == (0, 1)
    assert found.orders == ((0, 1),) * 4 + ((1, 0),) * 2 + ((0, 1),) * 2
    assert found.judged == 6
    assert found.disagreeing == pytest.approx(2 / 6)
    quiet = assign_windows(references=0 * s, estimates=e, sample_rate=RATE, window_s=1, hop_s=1)
    assert (quiet.judged, quiet.disagreeing) == (0, None)


def test_a_tie_in_a_window_is_no_swap() -> None:
    s = sources(1, 2, 4 * RATE)
    e = s[::-1].copy()
    e[:, RATE : 2 * RATE] = s[:, RATE : 2 * RATE].sum(axis=0)  # both outputs are the mixture for a second
    found = assign_windows(references=s, estimates=e, sample_rate=RATE, window_s=1, hop_s=1)
    assert found.orders == ((1, 0),) * 4
    assert found.disagreeing == 0


def test_missed_references_are_zeros() -> None:
    s = sources(1, 2, 3 * RATE)
    found = assign_windows(references=s, estimates=s[1:], sample_rate=RATE, window_s=1, hop_s=1)
    assert found.fixed.order == (None, 0)
    assert not found.estimates[0].any()
    assert found.estimates[1] == pytest.approx(s[1], abs=0)


def test_a_short_recording_is_one_window() -> None:
    s = sources(1, 2, RATE)
    found = assign_windows(references=s, estimates=s[::-1], sample_rate=RATE, window_s=30, hop_s=15)
    assert found.orders == ((1, 0),)
    assert found.estimates == pytest.approx(s, abs=0)


def test_bad_windows_are_refused() -> None:
    s = sources(1, 2, 100)
    for window_s, hop_s in ((0.0, 0.0), (1.0, 2.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="window_s and hop_s must be"):
            assign_windows(references=s, estimates=s, sample_rate=RATE, window_s=window_s, hop_s=hop_s)


# names


def test_names_are_matched_and_never_permuted() -> None:
    found = match_names(references=["vocals", "drums", "bass"], estimates=["bass", "other", "vocals"])
    assert found.order == (2, None, 0)
    assert (found.missing, found.extra) == (("drums",), ("other",))
    with pytest.raises(ValueError, match="names of estimates must differ, got bass more than once"):
        match_names(references=["bass"], estimates=["bass", "bass"])
