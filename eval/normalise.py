"""Text normalisers: what is done to a transcript before its words or characters are counted.

Conventions
    A normaliser is a pure function from text to text, and idempotent. Its id, `name@version`, belongs to every score
    that it took part in: a WER without the id of its normaliser is not a number. Reference and hypothesis always go
    through the same one. `stamp` is the id with the first digits of the digest of its tables; the tests hold the
    digests, so that no table changes under an old version. The words of a text are what `str.split` gives. Which
    character is a letter follows the Unicode version of Python (`unicodedata.unidata_version`).

none@1        the text as it is.
basic@1       Unicode NFKC, lower case, format characters (soft hyphen, joiners) deleted, every character that is not a
              letter, mark or digit to a space, except an apostrophe between two of them (a typographic one becomes
              `'`).
characters@1  basic@1 without spaces, for the character error rate of languages that write none.
english@1     basic@1 with more, in this order:
              symbols   `u.s.` to `us`; 1,000 to 1000; $5 to `5 dollars`; 5 % to `5 percent`; 5 °C to `5 degrees
                        celsius`; -5 to `minus 5`; & to `and`; decimal points stay
              words     contractions (`can't` to `can not`; `'d` to `would`; `'s` only after a pronoun or question
                        word, elsewhere it is a possessive and stays), titles (`mr` to `mister`), British to American
                        spelling
              numbers   to digits: cardinals up to trillions (`twenty one`, `two hundred and five`, `3.5 million`),
                        ordinals (`21st`; the word `second` alone stays, being a time too), decimals (`three point
                        five`), years said in two halves (`nineteen eighty four`, first half 13 to 20)
              units     abbreviations after a number (`5kg` to `5 kilograms`)
              Left alone: digits said one by one (`one two three` is not 123), `a hundred`, fractions, `nineteen oh
              five`.

Whisper's English normaliser (Radford et al. 2022, appendix C) is the model of english@1; the results differ: it drops
fillers and expands every `'s`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from manifests import ids

__all__ = ["NORMALISERS", "Normaliser", "get", "is_number"]


@dataclass(frozen=True)
class Normaliser:
    """A function from text to text under a name and a version, and the tables that it follows."""

    id: str
    function: Callable[[str], str] = field(repr=False)
    tables: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, text: str) -> str:
        return self.function(text)

    @property
    def digest(self) -> str:
        """First digits of the SHA-256 of the tables."""
        return ids.short(dict(self.tables))

    @property
    def stamp(self) -> str:
        """What a score row holds: `english@1-` and eight digits of the digest."""
        return f"{self.id}-{self.digest[:8]}"


def get(name: str | Normaliser) -> Normaliser:
    """The normaliser with this id; `ValueError` with the nearest known id otherwise. A normaliser passes through."""
    if isinstance(name, Normaliser):
        return name
    if name not in NORMALISERS:
        raise ValueError(f"normaliser must be a known id, got {name!r}{ids.nearest(name, NORMALISERS)}")
    return NORMALISERS[name]


# basic@1

_APOSTROPHES = dict.fromkeys(map(ord, "‘’ʼ‛′＇"), "'")
_LONELY_APOSTROPHE = re.compile(r"(?<![^\s'])'|'(?![^\s'])")


class _Characters(dict[int, str]):
    """A table for `str.translate` that keeps letters, marks, digits and `kept`; other characters become spaces."""

    def __init__(self, kept: str) -> None:
        super().__init__({ord(character): character for character in kept})

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = character if unicodedata.category(character)[0] in "LMN" else " "
        return self[code]


_BASIC_CHARACTERS = _Characters("'")
_ENGLISH_CHARACTERS = _Characters("'.")


def _basic(text: str) -> str:
    return _words(_folded(text), _BASIC_CHARACTERS)


def _characters(text: str) -> str:
    # NFKC again: without the space before it, an accent that stood alone may compose.
    return unicodedata.normalize("NFKC", _basic(text).replace(" ", ""))


def _folded(text: str) -> str:
    """Lower case in one Unicode form, with one kind of apostrophe and without format characters."""
    if text.isascii():
        return text.lower()
    # Format characters go first, for what stood on both sides of one may compose. NFKC again: lower() may decompose.
    text = unicodedata.normalize("NFKC", "".join(c for c in text if unicodedata.category(c) != "Cf"))
    return unicodedata.normalize("NFKC", text.translate(_APOSTROPHES).lower())


def _words(text: str, characters: _Characters) -> str:
    text = text.translate(characters)
    return " ".join((_LONELY_APOSTROPHE.sub(" ", text) if "'" in text else text).split())


# english@1: tables

_SUFFIXES = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would"}

_CONTRACTIONS = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "ain't",
    "i'm": "i am",
    "let's": "let us",
    "it's": "it is",
    "he's": "he is",
    "she's": "she is",
    "that's": "that is",
    "there's": "there is",
    "here's": "here is",
    "what's": "what is",
    "who's": "who is",
    "where's": "where is",
    "when's": "when is",
    "how's": "how is",
    "why's": "why is",
    "y'all": "you all",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "got to",
    "gimme": "give me",
    "lemme": "let me",
    "dunno": "do not know",
}

_TITLES = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "prof": "professor",
    "st": "saint",
    "jr": "junior",
    "sr": "senior",
    "capt": "captain",
    "lt": "lieutenant",
    "sgt": "sergeant",
    "gov": "governor",
}

_SPELLINGS = {
    "aeroplane": "airplane",
    "analyse": "analyze",
    "analysed": "analyzed",
    "apologise": "apologize",
    "armour": "armor",
    "behaviour": "behavior",
    "cancelled": "canceled",
    "catalogue": "catalog",
    "centimetre": "centimeter",
    "centimetres": "centimeters",
    "centre": "center",
    "centres": "centers",
    "cheque": "check",
    "civilisation": "civilization",
    "civilised": "civilized",
    "colour": "color",
    "coloured": "colored",
    "colours": "colors",
    "counsellor": "counselor",
    "defence": "defense",
    "dialogue": "dialog",
    "endeavour": "endeavor",
    "favour": "favor",
    "favourable": "favorable",
    "favoured": "favored",
    "favourite": "favorite",
    "favours": "favors",
    "fibre": "fiber",
    "flavour": "flavor",
    "fulfil": "fulfill",
    "grey": "gray",
    "harbour": "harbor",
    "honour": "honor",
    "honourable": "honorable",
    "honoured": "honored",
    "honours": "honors",
    "humour": "humor",
    "jewellery": "jewelry",
    "kilometre": "kilometer",
    "kilometres": "kilometers",
    "labour": "labor",
    "labours": "labors",
    "licence": "license",
    "litre": "liter",
    "litres": "liters",
    "manoeuvre": "maneuver",
    "marvellous": "marvelous",
    "metre": "meter",
    "metres": "meters",
    "millilitre": "milliliter",
    "millilitres": "milliliters",
    "millimetre": "millimeter",
    "millimetres": "millimeters",
    "mould": "mold",
    "moustache": "mustache",
    "neighbour": "neighbor",
    "neighbourhood": "neighborhood",
    "neighbouring": "neighboring",
    "neighbours": "neighbors",
    "odour": "odor",
    "offence": "offense",
    "organisation": "organization",
    "organise": "organize",
    "organised": "organized",
    "parlour": "parlor",
    "plough": "plow",
    "practise": "practice",
    "programme": "program",
    "programmes": "programs",
    "pyjamas": "pajamas",
    "realise": "realize",
    "realised": "realized",
    "recognise": "recognize",
    "recognised": "recognized",
    "rumour": "rumor",
    "saviour": "savior",
    "sceptical": "skeptical",
    "splendour": "splendor",
    "storey": "story",
    "sulphur": "sulfur",
    "theatre": "theater",
    "theatres": "theaters",
    "towards": "toward",
    "travelled": "traveled",
    "traveller": "traveler",
    "travellers": "travelers",
    "travelling": "traveling",
    "tyre": "tire",
    "tyres": "tires",
    "valour": "valor",
    "vapour": "vapor",
    "vigour": "vigor",
    "waggon": "wagon",
    "woollen": "woolen",
}

_CURRENCIES = {"$": ("dollar", "dollars"), "£": ("pound", "pounds"), "€": ("euro", "euros"), "¥": ("yen", "yen")}

_UNITS = {
    "kg": ("kilogram", "kilograms"),
    "mg": ("milligram", "milligrams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "ft": ("foot", "feet"),
    "ml": ("milliliter", "milliliters"),
    "mph": ("mile per hour", "miles per hour"),
    "hz": ("hertz", "hertz"),
    "khz": ("kilohertz", "kilohertz"),
    "mhz": ("megahertz", "megahertz"),
    "ghz": ("gigahertz", "gigahertz"),
    "db": ("decibel", "decibels"),
    "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"),
    "sec": ("second", "seconds"),
    "secs": ("second", "seconds"),
}

_ATTACHED = (*_UNITS, "am", "pm")
"""What may stand behind a digit without a space and is cut off it."""

_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINAL_ONES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_ORDINAL_TEENS = (
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
)
_ORDINAL_TENS = ("twentieth", "thirtieth", "fortieth", "fiftieth", "sixtieth", "seventieth", "eightieth", "ninetieth")

_CARDINALS = {word: value for value, word in enumerate((*_ONES, *_TEENS))}
_CARDINALS |= {word: 10 * value for value, word in enumerate(_TENS, start=2)}
_ORDINALS = {word: value for value, word in enumerate((*_ORDINAL_ONES, *_ORDINAL_TEENS), start=1)}
_ORDINALS |= {word: 10 * value for value, word in enumerate(_ORDINAL_TENS, start=2)}
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINAL_SCALES = {f"{word}th": value for word, value in _SCALES.items()}
_STARTS = frozenset({*_CARDINALS, *_ORDINALS})
_YEAR_HALVES = (13, 20)
_LONGEST = 15
"""Characters of the longest token that is read as a number; a longer one is a serial number or an attack."""

_ENGLISH = {
    "suffixes": _SUFFIXES,
    "contractions": _CONTRACTIONS,
    "titles": _TITLES,
    "spellings": _SPELLINGS,
    "currencies": _CURRENCIES,
    "units": _UNITS,
    "attached": _ATTACHED,
    "cardinals": _CARDINALS,
    "ordinals": _ORDINALS,
    "scales": _SCALES,
    "years": _YEAR_HALVES,
    "longest": _LONGEST,
}

# english@1: symbols

_WORD_TABLE = {word: tuple(text.split()) for word, text in (_CONTRACTIONS | _TITLES | _SPELLINGS).items()}
_DECIMAL = r"(?<![0-9.])[0-9]+\.[0-9]+(?![0-9]|\.[0-9])"
_DOTS = re.compile(_DECIMAL + r"|\.")
_PLAIN = re.compile(r"[a-z ]*")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_GLUED = re.compile(r"([0-9]+(?:\.[0-9]+)?)(" + "|".join(sorted(_ATTACHED, key=len, reverse=True)) + ")")


def _currency(found: re.Match[str]) -> str:
    symbol, amount, scale = found.groups()
    one, many = _CURRENCIES[symbol]
    return f" {amount} {scale} {many} " if scale else f" {amount} {one if amount == '1' else many} "


_SYMBOLS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\b[a-z](?:\.[a-z])+\b\.?"), lambda found: found[0].replace(".", "") + " "),
    (re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])"), lambda found: found[0].replace(",", "")),
    (re.compile(r"(?<![\w.])\.(?=[0-9])"), "0."),
    (re.compile(r"([$£€¥])\s*([0-9]+(?:\.[0-9]+)?)(?:\s*(" + "|".join(_SCALES) + r")\b)?"), _currency),
    (re.compile(r"(?<=[0-9])\s*%"), " percent "),
    (re.compile(r"(?<=[0-9])\s*°\s*c\b"), " degrees celsius "),
    (re.compile(r"(?<=[0-9])\s*°\s*f\b"), " degrees fahrenheit "),
    (re.compile(r"(?<=[0-9])\s*°"), " degrees "),
    (re.compile(r"(?<![\w.])[-−](?=[0-9])"), " minus "),
    (re.compile(r"&"), " and "),
)


def _english(text: str) -> str:
    text = _folded(text)
    if not _PLAIN.fullmatch(text):
        for pattern, replacement in _SYMBOLS:
            text = pattern.sub(replacement, text)
        # Dots before apostrophes: what stands beside a deleted dot is at the end of a word.
        text = _DOTS.sub(lambda found: found[0] if len(found[0]) > 1 else " ", text.translate(_ENGLISH_CHARACTERS))
        text = _words(text, _ENGLISH_CHARACTERS)
    tokens = [part for token in text.split() for part in _unglued(token)]
    tokens = [part for token in tokens for part in _expanded(token)]
    text = " ".join(_units(_numbers(tokens)))
    return re.sub(r"(?<!\S)per cent(?!\S)", "percent", text)


def _unglued(token: str) -> tuple[str, ...]:
    found = _GLUED.fullmatch(token)
    return (found[1], found[2]) if found else (token,)


def _expanded(token: str) -> tuple[str, ...]:
    """One word with its contraction, title and spelling resolved."""
    if token in _WORD_TABLE:
        return _WORD_TABLE[token]
    if "'" not in token:
        return (token,)
    for suffix, word in _SUFFIXES.items():
        if token.endswith(suffix) and token != suffix:
            return (*_expanded(token.removesuffix(suffix)), word)
    if token.endswith("'s"):
        *first, last = _expanded(token.removesuffix("'s"))
        return (*first, f"{last}'s")
    return (token,)


def _units(tokens: list[str]) -> list[str]:
    out: list[str] = []
    for token in tokens:
        if token in _UNITS and out and is_number(out[-1]):
            one, many = _UNITS[token]
            out += (one if out[-1] == "1" else many).split()
        else:
            out.append(token)
    return out


# english@1: numbers


def is_number(token: str) -> bool:
    """Whether a token is digits, with a decimal point or without, short enough to be read as a number."""
    return token[:1].isdigit() and len(token) <= _LONGEST and _NUMBER.fullmatch(token) is not None


def _numbers(tokens: list[str]) -> list[str]:
    """Number words as digits. Read until nothing more joins: `point 3.5 thousand` is decimals once it is digits."""
    while (joined := _read(tokens)) != tokens:
        tokens = joined
    return tokens


def _read(tokens: list[str]) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(tokens):
        end, text = at + 1, None
        if tokens[at] in _STARTS or is_number(tokens[at]):
            reader = _Reader(tokens, at)
            text = reader.number()
            end = reader.at if text is not None else end
        out.append(tokens[at] if text is None else text)
        at = end
    return out


class _Reader:
    """Reads one number from position `at` of `tokens`.

    Digits take in a scale word where they are at least 1 and below it, as words do (`20 thousand`), and no other words
    but `point`: so a second reading finds next to nothing.
    """

    def __init__(self, tokens: list[str], at: int) -> None:
        self.tokens, self.at = tokens, at
        self.ordinal = False
        self.places = 0  # decimals that were said: `three point five zero` is 3.50

    def word(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def number(self) -> str | None:
        """The number as text, `at` behind it; None where there is none."""
        first, start = self.word(), self.at
        if is_number(first):
            self.at += 1
            value = self.hundreds(Fraction(first))
        elif (small := self.small()) is not None:
            value = self.hundreds(self.year(Fraction(small)))
        else:
            return None
        value = self.rest(value)
        if self.at == start + 1 and is_number(first):
            return first  # as it was written: 007, 3.50
        if self.ordinal:
            return _ordinal(int(value))
        return _decimal(value, self.places)

    def small(self) -> int | None:
        """A number below 100 in words; an ordinal ends it and sets `ordinal`."""
        first, second = self.word(), self.word(1)
        if first in _TENS:
            if 1 <= _CARDINALS.get(second, 0) <= 9:
                self.at += 2
                return _CARDINALS[first] + _CARDINALS[second]
            if second in _ORDINAL_ONES:
                self.at += 2
                self.ordinal = True
                return _CARDINALS[first] + _ORDINALS[second]
        if first in _CARDINALS:
            self.at += 1
            return _CARDINALS[first]
        if first in _ORDINALS and first != "second":
            self.at += 1
            self.ordinal = True
            return _ORDINALS[first]
        return None

    def year(self, value: Fraction) -> Fraction:
        """`nineteen` and `eighty four` make 1984."""
        low, high = _YEAR_HALVES
        if self.ordinal or not low <= value <= high:
            return value
        start = self.at
        second = self.small()
        if second is not None and second >= 10 and not self.ordinal:
            return 100 * value + second
        self.at, self.ordinal = start, False
        return value

    def hundreds(self, value: Fraction) -> Fraction:
        if self.ordinal:
            return value
        scaled = self.scaled(value, ("hundred", "hundredth"))
        return value if scaled is None else scaled + self.added(100)

    def scaled(self, value: Fraction, words: tuple[str, ...]) -> Fraction | None:
        """`value` times the scale word that follows, where it is one of `words` and stands for more than `value`."""
        word = self.word()
        scale = _SCALES.get(word) or _ORDINAL_SCALES.get(word)
        if word not in words or scale is None or not 1 <= value < scale:
            return None
        if word in _ORDINAL_SCALES and (value * scale).denominator != 1:
            return None
        self.at += 1
        self.ordinal, self.places = word in _ORDINAL_SCALES, 0
        return value * scale

    def added(self, limit: int) -> Fraction:
        """What stands behind a scale word, with or without `and`: a number in words below `limit`, or nothing."""
        start = self.at
        if self.ordinal:
            return Fraction(0)
        self.at += self.word() == "and"
        small = self.small()
        if small is not None:
            value = self.hundreds(Fraction(small)) if limit > 100 else Fraction(small)
            if value < limit:
                return value
        self.at, self.ordinal = start, False
        return Fraction(0)

    def rest(self, value: Fraction) -> Fraction:
        """Thousands and more, and decimals, as long as there are any."""
        words = (*_SCALES, *_ORDINAL_SCALES)
        total, limit = Fraction(0), None  # what a larger scale word has closed; that word's value
        while not self.ordinal:
            if (whole := self.scaled(total + value, words)) is not None:
                total, limit = whole, int(whole / (total + value))
            elif limit is not None and (part := self.scaled_below(value, limit, words)) is not None:
                total, limit = total + part, int(part / value)
            elif (decimal := self.point(total + value)) is not None:
                total, value, limit = Fraction(0), decimal, None
                continue
            else:
                break
            value = self.added(limit)
        return total + value

    def scaled_below(self, value: Fraction, limit: int, words: tuple[str, ...]) -> Fraction | None:
        if _SCALES.get(self.word(), _ORDINAL_SCALES.get(self.word(), limit)) >= limit:
            return None
        return self.scaled(value, words)

    def point(self, value: Fraction) -> Fraction | None:
        """`value` with the decimals that are said behind the word `point`."""
        if value.denominator != 1 or self.word() != "point":
            return None
        start, digits = self.at, ""
        self.at += 1
        end = self.at
        while (more := self.decimals()) and len(str(value)) + 1 + len(digits + more) <= _LONGEST:
            digits, end = digits + more, self.at
        self.at, self.ordinal = end if digits else start, False
        self.places = len(digits)
        return value + Fraction(int(digits), 10 ** len(digits)) if digits else None

    def decimals(self) -> str:
        """The digits that come next, in digits (`14`) or in words (`one four`, `fourteen`)."""
        word = self.word()
        if is_number(word) and "." not in word:
            self.at += 1
            return word
        small = self.small()
        return "" if small is None or self.ordinal else str(small)


def _decimal(value: Fraction, places: int) -> str:
    """`value` with at least so many decimal places."""
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(int(value * 10**places)).zfill(places + 1)
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def _ordinal(value: int) -> str:
    suffix = "th" if 10 <= value % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{suffix}"


NORMALISERS: dict[str, Normaliser] = {
    normaliser.id: normaliser
    for normaliser in (
        Normaliser("none@1", str),
        Normaliser("basic@1", _basic, {"apostrophes": "".join(map(chr, _APOSTROPHES))}),
        Normaliser("english@1", _english, _ENGLISH),
        Normaliser("characters@1", _characters, {"apostrophes": "".join(map(chr, _APOSTROPHES))}),
    )
}
