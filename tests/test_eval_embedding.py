"""eval.embedding against values on paper, scipy, a direct computation, and its own promises."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from eval import embedding
from eval.outcome import EstimateFault, ReferenceFault

Array = NDArray[np.float64]
SEEDS = st.integers(0, 10_000)


def vectors(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# Speaker similarity


def test_cosines_on_paper() -> None:
    def similarity(reference: ArrayLike, estimate: ArrayLike) -> float:
        return embedding.speaker_similarity(reference=reference, estimate=estimate)

    assert similarity([1, 0], [1, 0]) == 1
    assert similarity([1, 0], [0, 2]) == 0
    assert similarity([1, 2], [-2, -4]) == -1
    assert similarity([1, 0], [1, 1]) == pytest.approx(np.sqrt(0.5), abs=1e-15)
    assert similarity([3, 4], [4, 3]) == pytest.approx(24 / 25, abs=1e-15)


@given(seed=SEEDS, scale=st.floats(1e-300, 1e300))
def test_equal_vectors_have_similarity_one_at_any_scale(seed: int, scale: float) -> None:
    x = vectors(seed, 192)
    assert embedding.speaker_similarity(reference=x, estimate=x) == 1
    assert embedding.speaker_similarity(reference=x, estimate=scale * x) == pytest.approx(1, abs=1e-14)
    assert embedding.speaker_similarity(reference=x, estimate=-x) == -1


@given(seed=SEEDS)
def test_speaker_similarity_equals_scipy(seed: int) -> None:
    from scipy.spatial import distance

    a, b = vectors(seed, 2, 192).astype(np.float32)
    found = embedding.speaker_similarity(reference=a, estimate=b)
    expected = 1 - distance.cosine(a.astype(np.float64), b.astype(np.float64))
    assert found == pytest.approx(expected, abs=1e-13)
    assert embedding.speaker_similarity(reference=b, estimate=a) == found


@pytest.mark.parametrize(
    ("bad", "reason"),
    [([0.0, 0.0], "zero_embedding"), ([np.nan, 1.0], "embedding_not_finite"), ([np.inf, 1.0], "embedding_not_finite")],
)
def test_a_vector_without_direction_is_a_fault(bad: list[float], reason: str) -> None:
    good = [1.0, 2.0]
    with pytest.raises(EstimateFault, match=reason):
        embedding.speaker_similarity(reference=good, estimate=bad)
    with pytest.raises(ReferenceFault, match=reason):
        embedding.speaker_similarity(reference=bad, estimate=good)
    with pytest.raises(EstimateFault, match=reason):
        embedding.speech_bert_score(reference=[good], estimate=[good, bad])
    with pytest.raises(ReferenceFault, match=reason):
        embedding.speech_bert_score(reference=[bad, good], estimate=[good])


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="estimate must have the reference's 3 dimensions, got 2"):
        embedding.speaker_similarity(reference=[1, 2, 3], estimate=[1, 2])
    with pytest.raises(ValueError, match=r"reference must have shape \(dimensions,\) .*, got \(1, 2\)"):
        embedding.speaker_similarity(reference=[[1, 2]], estimate=[1, 2])
    with pytest.raises(ValueError, match=r"reference must have shape \(dimensions,\) .*, got \(0,\)"):
        embedding.speaker_similarity(reference=[], estimate=[])
    with pytest.raises(ValueError, match=r"estimate must have shape \(frames, dimensions\)"):
        embedding.speech_bert_score(reference=[[1, 2]], estimate=[1, 2])
    with pytest.raises(ValueError, match="estimate must have the reference's 2 dimensions, got 3"):
        embedding.speech_bert_score(reference=[[1, 2]], estimate=[[1, 2, 3]])


class Bands:
    """A toy embedder: energies in three bands."""

    name = "bands"

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, signal: Array, sample_rate: int) -> ArrayLike:
        assert signal.dtype == np.float64
        self.calls += 1
        spectrum = np.abs(np.fft.rfft(signal, 512))
        edges = np.array([0, 500, 2000]) * 512 // sample_rate
        return np.add.reduceat(spectrum, edges)


def tone(frequency: float, sample_rate: int = 16000) -> Array:
    return np.sin(2 * np.pi * frequency * np.arange(512) / sample_rate)


def test_a_plug_in_is_called_once_for_the_reference() -> None:
    bands = Bands()
    reference = embedding.Reference.of(reference=tone(250), sample_rate=16000, embedder=bands)
    assert reference.speaker_similarity(estimate=tone(250)) == 1
    near, far = (reference.speaker_similarity(estimate=tone(f)) for f in (300, 3000))
    assert 1 > near > 0.9 > 0.5 > far
    assert bands.calls == 4
    assert reference.speaker_similarity(estimate=tone(3000).astype(np.float32)) == pytest.approx(far, abs=1e-5)
    with pytest.raises(EstimateFault, match="zero_embedding"):
        reference.speaker_similarity(estimate=np.zeros(512))
    with pytest.raises(ReferenceFault, match="zero_embedding"):
        embedding.Reference.of(reference=np.zeros(512), sample_rate=16000, embedder=bands)


def test_the_metric_is_named_after_its_model() -> None:
    assert embedding.metric_name("spk_sim", "ecapa") == "spk_sim_ecapa"
    assert embedding.metric_name("spk_sim", "wavlm_base_sv") == "spk_sim_wavlm_base_sv"
    for bad in ("", "ECAPA", "a b", "_a", "a__b", "a-b", "a\n"):
        with pytest.raises(ValueError, match="model must be lower-case letters, digits and single _"):
            embedding.metric_name("spk_sim", bad)


# LPS


@pytest.mark.parametrize(
    ("reference", "estimate", "expected"),
    [
        ("kitten", "sitting", 1 - 3 / 6),
        (["k", "ae", "t"], ["k", "ae", "t"], 1),
        (["k", "ae", "t"], ["b", "ae", "t"], 1 - 1 / 3),
        (["k", "ae", "t"], [], 0),
        (["a"], ["b", "c", "d"], -2),
        ("ˈkæːt", "kæt", 1 - 2 / 5),  # as URGENT counts: stress and length are symbols
        (["ˈk", "æː", "t"], ["k", "æ", "t"], 1 - 2 / 3),
        (("a", "a"), ["a"], 0.5),
    ],
)
def test_lps_on_paper(reference: Sequence[str], estimate: Sequence[str], expected: float) -> None:
    assert embedding.lps(reference=reference, estimate=estimate) == pytest.approx(expected, abs=1e-15)


def test_lps_of_a_reference_without_phonemes_is_its_fault() -> None:
    for estimate in ([], ["a"]):
        with pytest.raises(ReferenceFault, match="no_phonemes"):
            embedding.lps(reference=[], estimate=estimate)


@given(reference=st.text("abc", min_size=1, max_size=12), estimate=st.text("abc", max_size=12))
def test_lps_equals_rapidfuzz_on_strings(reference: str, estimate: str) -> None:
    from rapidfuzz.distance import Levenshtein

    expected = 1 - Levenshtein.distance(estimate, reference) / len(reference)  # URGENT 2024, with python-Levenshtein
    assert embedding.lps(reference=reference, estimate=estimate) == pytest.approx(expected, abs=1e-12)
    assert embedding.lps(reference=reference, estimate=reference) == 1


# SpeechBERTScore


def test_bert_score_on_paper() -> None:
    score = embedding.speech_bert_score(reference=[[1, 0], [0, 1]], estimate=[[2, 0]])
    assert (score.precision, score.recall) == (1, 0.5)
    assert score.f1 == pytest.approx(2 / 3, abs=1e-15)
    diagonal = embedding.speech_bert_score(reference=[[1, 0]], estimate=[[1, 0], [1, 1]])
    assert diagonal.precision == pytest.approx((1 + np.sqrt(0.5)) / 2, abs=1e-15)
    assert diagonal.recall == 1


def test_f1_needs_two_positive_numbers() -> None:
    opposite = embedding.speech_bert_score(reference=[[1, 0]], estimate=[[-1, 0]])
    assert (opposite.precision, opposite.recall, opposite.f1) == (-1, -1, 0)


@given(seed=SEEDS, frames=st.integers(1, 30), others=st.integers(1, 30))
def test_bert_score_is_its_definition(seed: int, frames: int, others: int) -> None:
    r, e = vectors(seed, frames, 8), vectors(seed + 1, others, 8)
    cosines = np.array([[u @ v / np.sqrt(u @ u) / np.sqrt(v @ v) for v in r] for u in e])
    score = embedding.speech_bert_score(reference=r, estimate=e)
    assert score.precision == pytest.approx(cosines.max(axis=1).mean(), abs=1e-13)
    assert score.recall == pytest.approx(cosines.max(axis=0).mean(), abs=1e-13)
    swapped = embedding.speech_bert_score(reference=e, estimate=r)
    assert (swapped.precision, swapped.recall) == pytest.approx((score.recall, score.precision), abs=1e-13)
    shuffled = embedding.speech_bert_score(reference=r[::-1], estimate=3e-200 * e)
    assert shuffled.precision == pytest.approx(score.precision, abs=1e-13)


@given(seed=SEEDS)
def test_bert_score_of_equal_features_is_one(seed: int) -> None:
    x = vectors(seed, 40, 16)
    score = embedding.speech_bert_score(reference=x, estimate=np.roll(x, 3, axis=0))
    assert (score.precision, score.recall, score.f1) == pytest.approx((1, 1, 1), abs=1e-14)
    assert max(score.precision, score.recall) <= 1


def test_bert_score_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    r, e = vectors(0, 70, 6), vectors(1, 100, 6)
    whole = embedding.speech_bert_score(reference=r, estimate=e)
    monkeypatch.setattr(embedding, "_BLOCK", 7)
    parts = embedding.speech_bert_score(reference=r, estimate=e)
    assert (parts.precision, parts.recall) == pytest.approx((whole.precision, whole.recall), abs=1e-14)


def test_features_without_frames_are_a_fault() -> None:
    one, none = np.ones((1, 4)), np.empty((0, 4))
    with pytest.raises(EstimateFault, match="no_frames"):
        embedding.speech_bert_score(reference=one, estimate=none)
    with pytest.raises(ReferenceFault, match="no_frames"):
        embedding.speech_bert_score(reference=none, estimate=one)


def test_inputs_are_left_as_they_were() -> None:
    r, e = vectors(0, 5, 3), vectors(1, 6, 3)
    kept: list[Any] = [r.copy(), e.copy()]
    embedding.speech_bert_score(reference=r, estimate=e)
    embedding.speaker_similarity(reference=r[0], estimate=e[0])
    assert (r == kept[0]).all()
    assert (e == kept[1]).all()
