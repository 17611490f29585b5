"""Stable names for things: hashes of what a thing is, never of where it lies or when it was made.

Conventions
    Hashes are SHA-256 over canonical JSON (sorted keys, no spaces) or raw bytes, in lower-case hex; ids are the first
    16 digits.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from typing import Any

__all__ = ["ID_LENGTH", "canonical", "digest", "first_difference", "mixture_id", "nearest", "short"]

ID_LENGTH = 16


def canonical(value: Any) -> bytes:
    """`value` (JSON-like) as bytes that depend on nothing but the value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def short(value: Any) -> str:
    """The first 16 hex digits of `digest`."""
    return digest(value)[:ID_LENGTH]


def mixture_id(dataset: str, seed: int, split: str, index: int) -> str:
    """The id of row `index` of `split`: the same whatever else the recipe says, so that it survives growth."""
    return short(["mixture", dataset, seed, split, index])


def first_difference(old: Any, new: Any, path: str = "") -> str | None:
    """Where two JSON-like values first differ, as `noise.snr_db.uniform[0]: was -5, now 0`; None if they do not."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            here = f"{path}.{key}" if path else str(key)
            if key not in old or key not in new:
                return f"{here}: {_was(old.get(key), key in old)}, {_now(new.get(key), key in new)}"
            if found := first_difference(old[key], new[key], here):
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = (first_difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(old, new, strict=True)))
        return next((found for found in pairs if found), None)
    return None if old == new else f"{path}: {_was(old)}, {_now(new)}"


def _was(value: Any, present: bool = True) -> str:
    return f"was {json.dumps(value)}" if present else "was absent"


def _now(value: Any, present: bool = True) -> str:
    return f"now {json.dumps(value)}" if present else "now absent"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an error message: ` (did you mean 'x'?)`, or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(names)})"
