"""semWER: a word error rate to which two ways of writing the same thing are the same.

Conventions
    As in `eval.text`: texts in, `Counts` or a fraction out, a missing hypothesis is None, counts of a corpus add up.
    What counts as the same is data, a `Rules`; its id is part of the score, and so is the digest (`Rules.stamp`). The
    words that are counted, those of the reference included, are the canonical ones that step 1 leaves.

1. Both texts are brought to canonical words:
   a. a symbol of `symbols` between two digits becomes its word (`120/80` to `120 over 80`), and a unit is cut off the
      digit that it hangs on (`5mcg`);
   b. the normaliser english@1 writes numbers in digits, resolves contractions, spellings, currency and percent;
   c. `fillers` are dropped;
   d. behind a number, a way of writing a unit becomes the unit (`units`); anywhere, a way of writing a term becomes
      the term (`terms`: abbreviations, homophones, spelling variants). The longest that fits wins, and what was
      written is not read again.
2. The words are aligned at least cost. A pair of equal words costs 0, any other pair 1 (S), a word left out 1 (D), a
   word too many 1 (I). Up to `SPAN` words of one side match up to `SPAN` of the other, at cost 0, where they are the
   same letters (`1 2 3` and `123`, `air port` and `airport`); each word of the reference in such a match is a hit.
3. semWER = (S + D + I) / N.

The measure and its name are those of work on medical speech recognition ("When De-noising Hurts", arXiv 2512.17562).
The only public code for it, by the same company (KARMA-OpenMedEvalKit), differs from this: it also accepts words whose
letters agree to 95 % (a wrong letter in a long word is no error), cannot skip a word inside a text, and counts a merged
group as one error. Values are not comparable.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval import normalise
from eval.text import Counts, count_edits
from manifests import ids

__all__ = ["RULES", "SPAN", "Rules", "canonical", "count_semantic", "get", "semwer"]

SPAN = 8
"""Words of one side that may make up one match. A telephone number said digit by digit is longer than any compound."""

_BASE = "english@1"
_SECTIONS = ("symbols", "fillers", "units", "terms")

Phrase = tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """A table of what is the same, under a name and a version. Make one with `Rules.of`."""

    id: str
    table: Mapping[str, Any]
    symbols: Mapping[str, str]
    fillers: frozenset[str]
    units: Mapping[Phrase, Phrase]
    terms: Mapping[Phrase, Phrase]

    @functools.cached_property
    def starts(self) -> frozenset[str]:
        """First words of all ways of writing."""
        return frozenset(phrase[0] for phrase in (*self.units, *self.terms))

    @functools.cached_property
    def hanging(self) -> re.Pattern[str]:
        """The place between a digit and a unit, whichever unit of one word it is."""
        words = sorted(re.escape(phrase[0]) for phrase in self.units if len(phrase) == 1)
        return re.compile(rf"(?<=[0-9])(?=(?:{'|'.join(words)})\b)" if words else r"(?!)", re.IGNORECASE)

    @property
    def stamp(self) -> str:
        """What a score row holds: the id with eight digits of the digest of the whole table and of english@1."""
        return f"{self.id}-{ids.short([dict(self.table), normalise.get(_BASE).digest])[:8]}"

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Rules:
        """Rules from a table as YAML gives it.

            name: ward
            version: 1
            extends: clinical@1             # optional: a built-in table that these rules add to
            symbols: {"/": over}            # between digits
            fillers: [uh, um]
            units: {milligrams: [mg, milligram]}
            terms: {blood pressure: [bp]}   # canonical: [other ways]

        `ValueError` for an unknown key, for a way of writing with two meanings, and for a canonical that is itself
        another's way of writing.
        """
        for key in table:
            if key not in (*_SECTIONS, "name", "version", "extends"):
                known = (*_SECTIONS, "name", "version", "extends")
                raise ValueError(f"rules must have known keys, got {key!r}{ids.nearest(str(key), known)}")
        for key in ("name", "version"):
            if not table.get(key):
                raise ValueError(f"rules must have a {key}, got {table.get(key)!r}")
        merged = _extended(table)
        return cls(
            id=f"{table['name']}@{table['version']}",
            table=merged,
            symbols=merged["symbols"],
            fillers=frozenset(map(_filler, merged["fillers"])),
            units=_phrases("units", merged["units"], ("", "7 ", "1 ")),
            terms=_phrases("terms", merged["terms"], ("",)),
        )


def semwer(*, reference: str, hypothesis: str | None, rules: str | Rules) -> float:
    """semWER of one utterance. `ReferenceFault("no_words")` where the reference is empty or only fillers."""
    return count_semantic(reference=reference, hypothesis=hypothesis, rules=rules).wer


def count_semantic(*, reference: str, hypothesis: str | None, rules: str | Rules) -> Counts:
    """Counts in canonical words."""
    chosen = get(rules)
    first, second = canonical(reference, rules=chosen), canonical(hypothesis or "", rules=chosen)
    if first == second:
        return Counts(hits=len(first))
    return _aligned(first, second)


def get(rules: str | Rules) -> Rules:
    """The built-in rules with this id; `ValueError` with the nearest known id otherwise. `Rules` pass through."""
    if isinstance(rules, Rules):
        return rules
    if rules not in _TABLES:
        raise ValueError(f"rules must be a known id or Rules, got {rules!r}{ids.nearest(rules, _TABLES)}")
    return _built_in(rules)


def canonical(text: str, *, rules: str | Rules) -> list[str]:
    """The canonical words of a text (step 1)."""
    chosen = get(rules)
    for symbol, word in chosen.symbols.items():
        text = re.sub(rf"(?<=[0-9])\s*{re.escape(symbol)}\s*(?=[0-9])", f" {word} ", text)
    text = chosen.hanging.sub(" ", text)
    words = [word for word in _base_words(text) if word not in chosen.fillers]
    out: list[str] = []
    at = 0
    while at < len(words):
        after_number = bool(out) and normalise.is_number(out[-1])
        tables = (chosen.units, chosen.terms) if after_number else (chosen.terms,)
        length, phrase = _longest(words, at, tables) if words[at] in chosen.starts else (1, (words[at],))
        out += phrase
        at += length
    return out


def _longest(words: Sequence[str], at: int, tables: Sequence[Mapping[Phrase, Phrase]]) -> tuple[int, Phrase]:
    """How many words from `at` on are a way of writing something, and what; one word as it is otherwise."""
    for length in range(min(SPAN, len(words) - at), 0, -1):
        here = tuple(words[at : at + length])
        for table in tables:
            if here in table:
                return length, table[here]
    return 1, (words[at],)


def _base_words(text: str) -> list[str]:
    return normalise.get(_BASE)(text).split()


# Alignment


Groups = dict[tuple[int, int], tuple[int, int]]


def _aligned(reference: Sequence[str], hypothesis: Sequence[str]) -> Counts:
    """Counts of the cheapest alignment; of equals, the one that pairs words before it leaves any out."""
    groups = _groups(reference, hypothesis)
    if all(group == (1, 1) for group in groups.values()):
        return count_edits(reference=reference, hypothesis=hypothesis)
    best = _costs(len(reference), len(hypothesis), groups)
    i, j = 0, 0
    hits = substitutions = deletions = insertions = 0
    while i < len(reference) or j < len(hypothesis):
        a, b = groups.get((i, j), (0, 0))
        if a and best[i + a][j + b] == best[i][j]:
            hits, i, j = hits + a, i + a, j + b
        elif i < len(reference) and j < len(hypothesis) and best[i + 1][j + 1] + 1 == best[i][j]:
            substitutions, i, j = substitutions + 1, i + 1, j + 1
        elif i < len(reference) and best[i + 1][j] + 1 == best[i][j]:
            deletions, i = deletions + 1, i + 1
        else:
            insertions, j = insertions + 1, j + 1
    return Counts(hits, substitutions, deletions, insertions)


def _costs(n: int, m: int, groups: Groups) -> list[list[int]]:
    """`[i][j]`: the least cost of what remains from word i of the reference and word j of the hypothesis on."""
    best = [[(n - i) + (m - j) for j in range(m + 1)] for i in range(n + 1)]  # right where one side is used up
    for i, j in itertools.product(range(n - 1, -1, -1), range(m - 1, -1, -1)):
        best[i][j] = 1 + min(best[i + 1][j + 1], best[i + 1][j], best[i][j + 1])
        if (i, j) in groups:
            a, b = groups[i, j]
            best[i][j] = min(best[i][j], best[i + a][j + b])
    return best


def _groups(reference: Sequence[str], hypothesis: Sequence[str]) -> Groups:
    """(i, j): (a, b) where a words of the reference from i on have the same letters as b of the hypothesis from j on.

    The shortest of several, which is enough: what a longer one has more is a group of its own.
    """
    spans: dict[str, list[tuple[int, int]]] = {}
    for i, a, letters in _spans(reference):
        spans.setdefault(letters, []).append((i, a))
    found: Groups = {}
    for j, b, letters in _spans(hypothesis):  # from every j, the shortest comes first
        for i, a in spans.get(letters, ()):
            found.setdefault((i, j), (a, b))
    return found


def _spans(words: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Start, number and joined letters of every 1 to `SPAN` words in a row."""
    for start in range(len(words)):
        letters = ""
        for length, word in enumerate(words[start : start + SPAN], start=1):
            letters += word
            yield start, length, letters


# Tables


def _extended(table: Mapping[str, Any]) -> dict[str, Any]:
    """The four sections of a table together with those of the built-in one that it extends."""
    under: Mapping[str, Any] = {}
    if "extends" in table:
        name = str(table["extends"])
        if name not in _TABLES:
            raise ValueError(f"extends must be a known id, got {name!r}{ids.nearest(name, _TABLES)}")
        under = _extended(_TABLES[name])
    sections: dict[str, Any] = {"symbols": {**under.get("symbols", {}), **table.get("symbols", {})}}
    sections["fillers"] = [*dict.fromkeys([*under.get("fillers", []), *table.get("fillers", [])])]
    for section in ("units", "terms"):
        old, new = under.get(section, {}), table.get(section, {})
        for key, ways in new.items():
            if isinstance(ways, str) or not isinstance(ways, Iterable):
                raise ValueError(f"{section} of {key!r} must be a list of other ways to write it, got {ways!r}")
        sections[section] = {key: [*old.get(key, []), *new.get(key, [])] for key in {**old, **new}}
    return sections


def _filler(text: str) -> str:
    words = _base_words(text)
    if len(words) != 1:  # dropping `you know` word by word would drop every `you`
        raise ValueError(f"fillers must be single words, got {text!r}")
    return words[0]


def _phrases(section: str, meanings: Mapping[str, Sequence[str]], behind: Sequence[str]) -> dict[Phrase, Phrase]:
    """Every way of writing, as words of the base normaliser, and its canonical.

    `behind` is what may stand before it: the base normaliser writes out some units behind a number, `1 kg` otherwise
    than `7 kg`, and leaves `kg` alone.
    """
    found: dict[Phrase, Phrase] = {}
    for key, ways in meanings.items():
        term = tuple(_base_words(key))
        for way, before in itertools.product((key, *ways), behind):
            phrase = tuple(_base_words(before + way)[bool(before) :])
            if not 1 <= len(phrase) <= SPAN or not term:
                raise ValueError(f"{section} must have 1 to {SPAN} words, got {way!r} for {key!r}")
            if found.setdefault(phrase, term) != term:
                old = " ".join(found[phrase])
                raise ValueError(f"{section}: {way!r} must have one meaning, got {old!r} and {key!r}")
    return found


_TABLES: dict[str, dict[str, Any]] = {
    "general@1": {
        "name": "general",
        "version": 1,
        "fillers": ["uh", "um", "uhm", "er", "erm", "hm", "hmm", "mm", "mhm", "ah", "eh"],
        "units": {
            "grams": ["g", "gm", "gms", "gram"],
            "kilograms": ["kg", "kgs", "kilo", "kilos", "kilogram"],
            "meters": ["m", "meter"],
            "kilometers": ["km", "kms", "kilometer"],
            "centimeters": ["cm", "cms", "centimeter"],
            "millimeters": ["mm", "mms", "millimeter"],
            "liters": ["l", "liter"],
            "milliliters": ["ml", "mls", "milliliter"],
            "miles per hour": ["mph", "mile per hour"],
            "kilometers per hour": ["kph", "km h", "kilometer per hour", "kmh"],
            "pounds": ["lb", "lbs", "pound"],
            "ounces": ["oz", "ounce"],
            "feet": ["ft", "foot"],
            "inches": ["inch"],
            "hours": ["h", "hr", "hrs", "hour"],
            "minutes": ["min", "mins", "minute"],
            "seconds": ["sec", "secs", "second"],
            "hertz": ["hz"],
            "decibels": ["db", "decibel"],
            "dollars": ["dollar", "bucks", "buck"],
            "euros": ["euro"],
            "degrees celsius": ["degrees centigrade", "c", "celsius", "degree celsius", "degrees c"],
            "degrees fahrenheit": ["f", "fahrenheit", "degree fahrenheit", "degrees f"],
            "times": ["x"],
        },
        "terms": {
            "okay": ["ok", "o k"],
            "all right": ["alright"],
            "versus": ["vs"],
            "et cetera": ["etc"],
            "television": ["tv"],
            "100": ["a hundred"],
            "1000": ["a thousand"],
            "1000000": ["a million"],
        },
    },
    "clinical@1": {
        "name": "clinical",
        "version": 1,
        "extends": "general@1",
        "symbols": {"/": "over"},
        "units": {
            "micrograms": ["mcg", "ug", "μg", "microgram"],
            "milligrams": ["mg", "mgs", "milligram"],
            "millimeters of mercury": ["mmhg", "mm hg", "millimeter of mercury", "millimeters hg"],
            "milligrams per deciliter": ["mg dl", "milligram per deciliter"],
            "millimoles per liter": ["mmol l", "mmol per liter", "millimole per liter"],
            "beats per minute": ["bpm", "beat per minute"],
            "international units": ["iu", "international unit"],
            "cubic centimeters": ["cc", "ccs", "cubic centimeter"],
        },
        "terms": {
            "blood pressure": ["bp"],
            "electrocardiogram": ["ecg", "ekg", "e c g", "e k g"],
            "computed tomography": ["ct", "c t", "ct scan", "computed tomography scan"],
            "magnetic resonance imaging": ["mri", "m r i"],
            "intravenous": ["iv", "i v"],
            "emergency department": ["emergency room"],
            "hemoglobin": ["haemoglobin", "hb"],
            "anemia": ["anaemia"],
            "anesthesia": ["anaesthesia"],
            "diarrhea": ["diarrhoea"],
            "edema": ["oedema"],
            "esophagus": ["oesophagus"],
            "pediatric": ["paediatric"],
            "estrogen": ["oestrogen"],
            "twice daily": ["bid", "twice a day"],
            "3 times daily": ["tid", "3 times a day"],
            "by mouth": ["po", "orally"],
            "as needed": ["prn"],
            "x ray": ["xray"],
        },
    },
}

RULES = tuple(_TABLES)
"""Ids of the built-in rules."""


@functools.cache
def _built_in(name: str) -> Rules:
    return Rules.of(_TABLES[name])
