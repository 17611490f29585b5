"""Similarity of speakers, phonemes and frame features that a model of the caller's choice has computed.

Conventions
    Nothing here knows a model. Vectors have shape `(dimensions,)`, frame features `(frames, dimensions)`; phonemes are
    a sequence of symbols. 1 is equal; a cosine lies in [-1, 1], LPS has no lower bound. A number is worth nothing
    without the name of what made the vectors, so the metric's name carries it: `metric_name("spk_sim", "ecapa")` is
    `spk_sim_ecapa`. A vector that is zero or not finite has no direction: `ReferenceFault` or `EstimateFault`.
    A plug-in is any object with a `name` and one of the methods below; `Reference` computes the reference's half once.

spk_sim   cosine of two speaker embeddings.
lps       Levenshtein phoneme similarity, 1 - edit distance / phonemes in the reference. Pirklbauer et al., "Evaluation
          metrics for generative speech enhancement methods" (2023). The URGENT challenge counts characters of the IPA
          text of wav2vec2-lv-60-espeak-cv-ft without spaces, so that a length mark or a tie bar is a symbol: pass that
          text, a string, to get its number.
SpeechBERTScore   frame features of estimate (e) and reference (r), compared by cosine (Saeki et al. 2024):
          precision = mean over frames of e of the largest cosine with any frame of r, recall = the same with the roles
          exchanged, F1 = their harmonic mean. The paper's score is the precision. The order of frames does not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.outcome import EstimateFault, ReferenceFault, Unscorable
from eval.text import count_edits

__all__ = [
    "BertScore",
    "Embedder",
    "FrameEncoder",
    "PhonemeRecogniser",
    "Reference",
    "lps",
    "metric_name",
    "speaker_similarity",
    "speech_bert_score",
]

Array = NDArray[np.float64]

_BLOCK = 1024  # frames compared at a time: ten minutes at 50 Hz against themselves would take 7 GB


class Embedder(Protocol):
    """One vector for one recording: who speaks."""

    name: str

    def embed(self, signal: Array, sample_rate: int) -> ArrayLike:
        """Embedding of a mono signal of any length, shape `(dimensions,)`. It resamples if its model needs to."""
        ...


class PhonemeRecogniser(Protocol):
    """What is said, in phonemes."""

    name: str

    def phonemes(self, signal: Array, sample_rate: int) -> Sequence[str]:
        """The phonemes of a mono signal, in order."""
        ...


class FrameEncoder(Protocol):
    """One vector per frame."""

    name: str

    def frames(self, signal: Array, sample_rate: int) -> ArrayLike:
        """Features of a mono signal, shape `(frames, dimensions)`."""
        ...


@dataclass(frozen=True)
class BertScore:
    """Precision, recall and F1 of matched frames."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean; its limit 0 where one of the two is not positive."""
        if min(self.precision, self.recall) <= 0:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


@dataclass(frozen=True)
class Reference:
    """One reference signal under one embedder, for several estimates."""

    embedder: Embedder
    embedding: Array
    sample_rate: int

    @classmethod
    def of(cls, *, reference: ArrayLike, sample_rate: int, embedder: Embedder) -> Reference:
        signal = np.asarray(reference, dtype=np.float64)
        return cls(embedder, _rows(embedder.embed(signal, sample_rate), "reference", ndim=1), sample_rate)

    def speaker_similarity(self, *, estimate: ArrayLike) -> float:
        signal = np.asarray(estimate, dtype=np.float64)
        return speaker_similarity(reference=self.embedding, estimate=self.embedder.embed(signal, self.sample_rate))


def metric_name(metric: str, model: str) -> str:
    """`spk_sim_ecapa` from `spk_sim` and `ecapa`. A model's name has lower-case letters, digits and `_`."""
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", model):
        raise ValueError(f"model must be lower-case letters, digits and single _, got {model!r}")
    return f"{metric}_{model}"


def speaker_similarity(*, reference: ArrayLike, estimate: ArrayLike) -> float:
    """Cosine of two embeddings of shape `(dimensions,)`. Exactly 1 for two equal ones."""
    r, e = _rows(reference, "reference", ndim=1), _rows(estimate, "estimate", ndim=1)
    _check_dimensions(r, e)
    cosine = float(np.dot(r, e) / np.sqrt(np.dot(r, r) * np.dot(e, e)))
    return min(max(cosine, -1.0), 1.0)


def lps(*, reference: Sequence[str], estimate: Sequence[str]) -> float:
    """Levenshtein phoneme similarity, at most 1; negative where the estimate has far too many phonemes."""
    counts = count_edits(reference=reference, hypothesis=estimate)
    if not counts.reference_words:
        raise ReferenceFault("no_phonemes")
    return counts.wacc


def speech_bert_score(*, reference: ArrayLike, estimate: ArrayLike) -> BertScore:
    """SpeechBERTScore of features of shape `(frames, dimensions)`; the two may differ in frames."""
    r, e = _rows(reference, "reference", ndim=2), _rows(estimate, "estimate", ndim=2)
    _check_dimensions(r, e)
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    nearest_of_reference = np.full(len(r), -1.0)
    nearest_of_estimate = []
    for start in range(0, len(e), _BLOCK):
        cosines = np.clip(e[start : start + _BLOCK] @ r.T, -1.0, 1.0)
        nearest_of_estimate.append(cosines.max(axis=1))
        np.maximum(nearest_of_reference, cosines.max(axis=0), out=nearest_of_reference)
    return BertScore(float(np.concatenate(nearest_of_estimate).mean()), float(nearest_of_reference.mean()))


def _rows(vectors: ArrayLike, name: str, *, ndim: int) -> Array:
    """A copy in float64 with every vector scaled to a peak of 1, so that no square over- or underflows."""
    x = np.array(vectors, dtype=np.float64)
    if x.ndim != ndim or x.shape[-1] == 0:
        shape = "(dimensions,)" if ndim == 1 else "(frames, dimensions)"
        raise ValueError(f"{name} must have shape {shape} with dimensions > 0, got {x.shape}")
    fault: type[Unscorable] = ReferenceFault if name == "reference" else EstimateFault
    if x.size == 0:
        raise fault("no_frames")
    if not np.isfinite(x).all():
        raise fault("embedding_not_finite")
    peaks = np.abs(x).max(axis=-1, keepdims=True)
    if not peaks.all():
        raise fault("zero_embedding")
    scaled: Array = x / peaks
    return scaled


def _check_dimensions(r: Array, e: Array) -> None:
    if r.shape[-1] != e.shape[-1]:
        raise ValueError(f"estimate must have the reference's {r.shape[-1]} dimensions, got {e.shape[-1]}")
