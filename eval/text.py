"""Word and character error rates, and what can be had from several hypotheses.

Conventions
    Texts are strings; a missing hypothesis is None and counts as all deletions. `normaliser` is an id of
    `eval.normalise` and has no default: a WER without its normaliser is not a number. Words are what `str.split` gives,
    characters are code points, single spaces between words included (`characters@1` leaves none). Rates are fractions,
    not percent; a WER may exceed 1. A score row of a text metric holds two things: `value`, the rate of this item, and
    `counts` (`Counts.items`), because a corpus is scored by the sum of counts and never by the mean of rates: one short
    utterance with a WER of 3 would outweigh ten good ones.
    An empty reference has no error rate: `ReferenceFault("no_words")`. What the system says there is counted apart, as
    `hallucinated_words`, and enters no rate.

WER   (S + D + I) / N for the minimum edit distance of words: N = H + S + D words in the reference.
CER   the same over characters. wacc = 1 - WER.
dWER  WER against the transcript that the same recogniser gives for the reference audio.
MER   (S + D + I) / (H + S + D + I).
WIL   1 - H^2 / (N P), P = H + S + I words in the hypothesis. Both: Morris, Maier and Green, "From WER and RIL to MER
      and WIL" (2004).
The distance is unique, its split into S, D and I is not: another tie rule moves one or two words in thousands between
kinds. MER and WIL depend on it, WER does not.

Oracles over an N-best list, after Chen et al., "HyPoradise" (2023):
o_nb  WER of the best hypothesis.
o_cp  WER of the best text that takes at each place of the reference a word which some hypothesis has there, or none.
      Each hypothesis is aligned with the reference by one minimum edit distance; a word is had if a hypothesis hits it,
      and every other word is one deletion. o_cp <= o_nb.
bag   share of the reference's words that occur in no hypothesis, wherever and however often: the looser reading of the
      paper's "all tokens". bag <= o_cp.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from eval import normalise
from eval.normalise import Normaliser
from eval.outcome import ReferenceFault
from manifests.errors import UserError

__all__ = [
    "AsrExtraMissing",
    "Counts",
    "Joined",
    "cer",
    "count_characters",
    "count_edits",
    "count_oracle_bag",
    "count_oracle_cp",
    "count_oracle_nb",
    "count_words",
    "dwer",
    "join",
    "mean_of_utterances",
    "mer",
    "oracle_wer_bag",
    "oracle_wer_cp",
    "oracle_wer_nb",
    "pooled",
    "wacc",
    "wer",
    "wil",
]

Named = str | Normaliser


class AsrExtraMissing(UserError):
    """Edit distances need the extra `asr`, which is not installed."""

    def __init__(self) -> None:
        super().__init__("text metrics need a package that is not installed (rapidfuzz): pip install 'hubbub[asr]'")

    def __reduce__(self) -> tuple[type[AsrExtraMissing], tuple[()]]:
        return AsrExtraMissing, ()


@dataclass(frozen=True)
class Counts:
    """The edits between a reference and a hypothesis, in words or characters. Counts of items add up."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    hallucinated_words: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Counts)))

    @property
    def reference_words(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def hypothesis_words(self) -> int:
        """Words where the reference has words too; the hallucinated ones stand apart."""
        return self.hits + self.substitutions + self.insertions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        return self.errors / self._scorable()

    @property
    def wacc(self) -> float:
        return 1 - self.wer

    @property
    def mer(self) -> float:
        return self.errors / (self._scorable() + self.insertions)

    @property
    def wil(self) -> float:
        words = self._scorable()
        return 1 - self.hits**2 / (words * self.hypothesis_words) if self.hits else 1.0

    def items(self) -> list[tuple[str, float]]:
        """(key, number) pairs for a score row; `reference_words` among them for the reader, who divides by it."""
        names = [f.name for f in fields(Counts)] + ["reference_words"]
        return [(name, float(getattr(self, name))) for name in names]

    @classmethod
    def of_items(cls, items: Iterable[tuple[str, float]]) -> Counts:
        """What `items` gave."""
        numbers = dict(items)
        names = [f.name for f in fields(cls)]
        if set(numbers) != {*names, "reference_words"}:
            raise ValueError(f"items must have the keys {', '.join(names)}, reference_words, got {', '.join(numbers)}")
        counts = cls(*(int(numbers[name]) for name in names))
        if counts.reference_words != numbers["reference_words"]:
            raise ValueError(
                f"reference_words must be hits + substitutions + deletions = {counts.reference_words}, "
                f"got {numbers['reference_words']:g}"
            )
        return counts

    def _scorable(self) -> int:
        if not self.reference_words:
            raise ReferenceFault("no_words")
        return self.reference_words


def count_words(*, reference: str, hypothesis: str | None, normaliser: Named) -> Counts:
    """Counts in words. For an empty reference all are 0 but `hallucinated_words`."""
    chosen = normalise.get(normaliser)
    return count_edits(reference=chosen(reference).split(), hypothesis=chosen(hypothesis or "").split())


def count_characters(*, reference: str, hypothesis: str | None, normaliser: Named) -> Counts:
    """Counts in characters (the fields keep their names)."""
    chosen = normalise.get(normaliser)
    return count_edits(reference=chosen(reference), hypothesis=chosen(hypothesis or ""))


def count_edits(*, reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> Counts:
    """Counts of a minimum edit distance between two sequences."""
    if not reference:
        return Counts(hallucinated_words=len(hypothesis))
    kinds = [operation.tag for operation in _edits(reference, hypothesis)]
    substitutions, deletions, insertions = (kinds.count(kind) for kind in ("replace", "delete", "insert"))
    return Counts(len(reference) - substitutions - deletions, substitutions, deletions, insertions)


def wer(*, reference: str, hypothesis: str | None, normaliser: Named) -> float:
    """Word error rate of one utterance."""
    return count_words(reference=reference, hypothesis=hypothesis, normaliser=normaliser).wer


def cer(*, reference: str, hypothesis: str | None, normaliser: Named) -> float:
    """Character error rate of one utterance."""
    return count_characters(reference=reference, hypothesis=hypothesis, normaliser=normaliser).wer


def wacc(*, reference: str, hypothesis: str | None, normaliser: Named) -> float:
    """Word accuracy, 1 - WER; negative where insertions abound."""
    return count_words(reference=reference, hypothesis=hypothesis, normaliser=normaliser).wacc


def mer(*, reference: str, hypothesis: str | None, normaliser: Named) -> float:
    """Match error rate: the share of aligned places that are wrong, 0 to 1."""
    return count_words(reference=reference, hypothesis=hypothesis, normaliser=normaliser).mer


def wil(*, reference: str, hypothesis: str | None, normaliser: Named) -> float:
    """Word information lost, 0 to 1."""
    return count_words(reference=reference, hypothesis=hypothesis, normaliser=normaliser).wil


def dwer(*, reference_transcript: str, hypothesis: str | None, normaliser: Named) -> float:
    """WER against what the recogniser made of the reference audio: no error of its own on clean speech counts.

    A transcript is no reference text, hence the other name: the two come from different columns.
    """
    return wer(reference=reference_transcript, hypothesis=hypothesis, normaliser=normaliser)


def pooled(counts: Iterable[Counts]) -> Counts:
    """The counts of a corpus, whose `wer` is the corpus WER."""
    return sum(counts, Counts())


def mean_of_utterances(counts: Iterable[Counts]) -> float:
    """Mean of the WERs of the utterances that have one. Not the WER of the corpus: there, words weigh alike."""
    rates = [c.wer for c in counts if c.reference_words]
    if not rates:
        raise ReferenceFault("no_words")
    return sum(rates) / len(rates)


@dataclass(frozen=True)
class Joined:
    """References and hypotheses of the same ids, in the references' order; what is on one side only is named."""

    pairs: Mapping[str, tuple[str, str | None]]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def join(*, references: Mapping[str, str], hypotheses: Mapping[str, str | None]) -> Joined:
    """Pairs texts by id. One without hypothesis is `missing` and stays with None; one without reference is `extra`."""
    pairs = {key: (reference, hypotheses.get(key)) for key, reference in references.items()}
    missing = tuple(key for key, (_, hypothesis) in pairs.items() if hypothesis is None)
    return Joined(pairs, missing, tuple(key for key in hypotheses if key not in references))


# Several hypotheses


def oracle_wer_nb(*, reference: str, hypotheses: Sequence[str], normaliser: Named) -> float:
    """WER of the best of `hypotheses` (o_nb)."""
    return count_oracle_nb(reference=reference, hypotheses=hypotheses, normaliser=normaliser).wer


def oracle_wer_cp(*, reference: str, hypotheses: Sequence[str], normaliser: Named) -> float:
    """WER of the best composition of words at aligned places (o_cp)."""
    return count_oracle_cp(reference=reference, hypotheses=hypotheses, normaliser=normaliser).wer


def oracle_wer_bag(*, reference: str, hypotheses: Sequence[str], normaliser: Named) -> float:
    """Share of the reference's words that occur in no hypothesis."""
    return count_oracle_bag(reference=reference, hypotheses=hypotheses, normaliser=normaliser).wer


def count_oracle_nb(*, reference: str, hypotheses: Sequence[str], normaliser: Named) -> Counts:
    """Counts of the hypothesis with the fewest errors, the first of equals; all deletions where there is none."""
    words, lists = _split(reference, hypotheses, normaliser)
    return min((count_edits(reference=words, hypothesis=each) for each in lists), key=_badness)


def count_oracle_cp(*, reference: str, hypotheses: Sequence[str], normaliser: Named) -> Counts:
    """Counts of the best composition; a word that no hypothesis has at its place is a deletion."""
    words, lists = _split(reference, hypotheses, normaliser)
    if not words:
        return Counts()  # the best composition of an empty reference takes no word
    lost = set(range(len(words)))
    for each in lists:
        lost &= {op.src_pos for op in _edits(words, each) if op.tag != "insert"}
    return Counts(hits=len(words) - len(lost), deletions=len(lost))


def count_oracle_bag(*, reference: str, hypotheses: Sequence[str], normaliser: Named) -> Counts:
    """Counts of a text that may use each word of any hypothesis at any place, any number of times."""
    words, lists = _split(reference, hypotheses, normaliser)
    known = {word for each in lists for word in each}
    hits = sum(word in known for word in words)
    return Counts(hits=hits, deletions=len(words) - hits)


def _split(reference: str, hypotheses: Sequence[str], normaliser: Named) -> tuple[list[str], list[list[str]]]:
    if isinstance(hypotheses, str):
        raise ValueError(f"hypotheses must be a list of texts, got the text {hypotheses!r}")
    chosen = normalise.get(normaliser)
    return chosen(reference).split(), [chosen(text).split() for text in hypotheses or [""]]


def _badness(counts: Counts) -> int:
    return counts.errors + counts.hallucinated_words


def _edits(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> Any:
    """Edit operations with `tag` (replace, delete, insert) and `src_pos`."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise AsrExtraMissing from None
    # Words become small integers: rapidfuzz compares strings of several characters by their 64-bit hash.
    codes: dict[Hashable, int] = {}
    first, second = ([codes.setdefault(item, len(codes)) for item in each] for each in (reference, hypothesis))
    return Levenshtein.editops(first, second)
