"""`hubbub compare text | labels | srt | table`: scores of transcripts, labels, words understood and other scores.

Conventions
    As in `pipelines.comparison`. What a system lacks costs it: all words of a missing transcript are deleted, an item
    without a label is a miss of its class, an item without a score has the worst there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import classification, normalise, psychometric, semantic, statistics, tablescores
from eval import text as texts
from eval.text import Counts
from manifests import ids, storage, tables
from manifests.errors import UserError
from manifests.tables import Table
from pipelines.comparison import (
    MISSING,
    USUAL,
    Comparison,
    Floats,
    Row,
    attempt,
    chosen_metrics,
    clusters_of,
    differences,
    input_row,
    interval,
    none,
    opened,
    ordered,
    some,
    warn_if_few,
)

__all__ = [
    "LABEL_METRICS",
    "RECOUNTS",
    "TEXT_METRICS",
    "compare_labels",
    "compare_srt",
    "compare_table",
    "compare_text",
]

RECOUNTS = 2000
"""Draws where every draw is scored again, which costs more than a ratio of sums."""


# ------------------------------------------------------------------------------------------------------------ text

_WORDS, _CHARACTERS, _SEMANTIC, _BEST, _COMPOSED, _PHONEMES = (
    "words", "characters", "semantic", "best", "composed", "phonemes",
)  # fmt: skip
TEXT_METRICS = {
    "wer": _WORDS,
    "cer": _CHARACTERS,
    "wacc": _WORDS,
    "mer": _WORDS,
    "wil": _WORDS,
    "semwer": _SEMANTIC,
    "oracle_wer_nb": _BEST,
    "oracle_wer_cp": _COMPOSED,
    "lps": _PHONEMES,
}
"""Metrics of `compare text`, and what each counts."""

_RATE = {"wacc": "wacc", "lps": "wacc", "mer": "mer", "wil": "wil"}  # of Counts; wer for the others
_KINDS = ("hits", "substitutions", "deletions", "insertions")
Hypothesis = str | list[str] | None


def compare_text(
    reference: str,
    hypotheses: Sequence[str],
    *,
    metrics: Sequence[str] = ("wer", "cer"),
    normaliser: str = "basic@1",
    rules: str = "general@1",
    cluster: str | None = None,
    column: Mapping[str, str] | None = None,
    draws: int = statistics.DRAWS,
) -> Comparison:
    """Errors of transcripts, over all utterances together and as the mean of utterances."""
    chosen = chosen_metrics(metrics, list(TEXT_METRICS))
    counted = _Counting.of(normaliser, rules)
    named = dict(column or {})
    if "text" in named:
        named.setdefault("hypothesis", named["text"])
    sides = opened(reference, hypotheses, ours=("id", "text"), theirs=("id", "hypothesis"), column=named, bare=True)
    out = Comparison("text")
    said = dict(zip(sides.reference.keys("id"), sides.reference.texts("text"), strict=True))
    wanted = {key: text for key, text in said.items() if text is not None}
    given = {name: _hypotheses(table) for name, table in sides.systems.items()}
    out.inputs.append(input_row(sides.reference, None, {"no_text": [key for key in said if said[key] is None]}))
    for name, own in given.items():
        lacking = [key for key in wanted if own.get(key) is None]
        out.inputs.append(
            input_row(sides.systems[name], name, {"no_reference": [k for k in own if k not in wanted]}, lacking)
        )
    kept = [index for index, text in enumerate(said.values()) if text is not None]
    codes = clusters_of(sides.reference, kept, cluster, "utterances", out)
    if any(isinstance(each, list) for own in given.values() for each in own.values()):
        out.notes.append("of a list of hypotheses the first counts, except for oracle_wer_nb and oracle_wer_cp")
    counts: dict[str, _TextCounts] = {}
    for metric in chosen:
        kind = TEXT_METRICS[metric]
        if kind not in counts:
            each = {
                name: [counted(kind, text, own.get(key)) for key, text in wanted.items()] for name, own in given.items()
            }
            counts[kind] = _TextCounts.of(list(wanted), each, codes, draws)
        single = {name for name in sides.names if kind in (_BEST, _COMPOSED) and not _several(given[name])}
        _score_texts(metric, counts[kind], single, counted.stamp(kind), out)
    return out


@dataclass(frozen=True)
class _Counting:
    """How texts become counts."""

    normaliser: normalise.Normaliser
    rules: semantic.Rules

    @classmethod
    def of(cls, normaliser: str, rules: str) -> _Counting:
        try:
            return cls(normalise.get(normaliser), _rules(rules))
        except ValueError as error:
            raise UserError(str(error)) from None

    def __call__(self, kind: str, reference: str, hypothesis: Hypothesis) -> Counts:
        several = hypothesis if isinstance(hypothesis, list) else [hypothesis] if hypothesis is not None else []
        first = several[0] if several else None
        if kind == _WORDS:
            return texts.count_words(reference=reference, hypothesis=first, normaliser=self.normaliser)
        if kind == _CHARACTERS:
            return texts.count_characters(reference=reference, hypothesis=first, normaliser=self.normaliser)
        if kind == _SEMANTIC:
            return semantic.count_semantic(reference=reference, hypothesis=first, rules=self.rules)
        if kind == _PHONEMES:
            return texts.count_words(reference=reference, hypothesis=first, normaliser="none@1")
        count = texts.count_oracle_nb if kind == _BEST else texts.count_oracle_cp
        return count(reference=reference, hypotheses=several, normaliser=self.normaliser)

    def stamp(self, kind: str) -> str:
        """What the score depends on besides the texts."""
        if kind == _PHONEMES:
            return normalise.get("none@1").stamp
        return self.rules.stamp if kind == _SEMANTIC else self.normaliser.stamp


def _rules(given: str) -> semantic.Rules:
    """Built-in rules by id, or those of a YAML file."""
    if given in semantic.RULES or not storage.exists(given):
        return semantic.get(given)
    import yaml

    try:
        table = yaml.safe_load(storage.read_bytes(given).decode())
        if not isinstance(table, dict):
            raise ValueError("expected a mapping with name, version and sections")
        return semantic.Rules.of(table)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{given}: {' '.join(str(error).split())}") from None


def _hypotheses(table: Table) -> dict[str, Hypothesis]:
    table.need("hypothesis")
    found: dict[str, Hypothesis] = {}
    for index, key in enumerate(table.keys("id")):
        value = table.rows[index]["hypothesis"]
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise table.wrong(index, "hypothesis", "a text or a list of texts")
        if isinstance(value, dict):
            raise table.wrong(index, "hypothesis", "a text or a list of texts")
        found[key] = (value or None) if isinstance(value, list) else value if value is None else str(value)
    return found


def _several(own: Mapping[str, Hypothesis]) -> bool:
    return any(isinstance(each, list) for each in own.values())


@dataclass(frozen=True)
class _TextCounts:
    """Counts of one kind, by system and utterance, and the sums of resampled clusters."""

    keys: Sequence[str]
    each: Mapping[str, Sequence[Counts]]
    scored: Sequence[int]  # utterances whose reference has words, the same for all systems
    clusters: int
    errors: Floats  # (clusters, systems)
    drawn: Floats  # (draws, systems, kinds)

    @classmethod
    def of(
        cls, keys: Sequence[str], each: Mapping[str, Sequence[Counts]], codes: NDArray[np.intp], draws: int
    ) -> _TextCounts:
        first = next(iter(each.values()))
        scored = [index for index in range(len(keys)) if first[index].reference_words]
        table = np.array([[[getattr(own[i], k) for k in _KINDS] for own in each.values()] for i in scored], dtype=float)
        table, own_codes = table.reshape(len(scored), len(each), len(_KINDS)), codes[scored]
        clusters = len(np.unique(own_codes))
        drawn, errors = np.empty((0, len(each) * len(_KINDS))), np.empty((0, len(each)))
        if clusters >= 2:
            drawn = statistics.cluster_bootstrap(table.reshape(len(scored), -1), own_codes, draws=draws, seed=0)
            errors = statistics.Clustered.of(table[:, :, 1:].sum(axis=2), own_codes).sums
        return cls(keys, each, scored, clusters, errors, drawn.reshape(-1, len(each), len(_KINDS)))


def _score_texts(metric: str, counts: _TextCounts, single: Iterable[str], stamp: str, out: Comparison) -> None:
    rate, names = _RATE.get(metric, "wer"), list(counts.each)
    drawn = _rates(rate, counts.drawn)
    values: list[float | None] = []
    for place, name in enumerate(names):
        total = texts.pooled(counts.each[name])
        found = none("skipped", "one_hypothesis") if name in single else attempt(metric, getattr, total, rate)
        values.append(found["value"])
        has = found["value"] is not None
        rates = [getattr(counts.each[name][i], rate) for i in counts.scored]
        out.rows.append(
            {
                "system": name,
                "metric": metric,
                **found,
                **interval(drawn[:, place] if has else None, counts.clusters),
                "mean_of_utterances": sum(rates) / len(rates) if has else None,
                **{kind: getattr(total, kind) for kind in _KINDS},
                "reference_units": total.reference_words,
                "hallucinated": total.hallucinated_words,
                "n": len(counts.scored),
                "n_without_words": len(counts.keys) - len(counts.scored),
                "n_clusters": counts.clusters,
                "unit": TEXT_METRICS[metric],
                "normaliser": stamp,
            }
        )
        if name not in single:
            out.items += [
                _text_item(name, key, metric, one) for key, one in zip(counts.keys, counts.each[name], strict=True)
            ]
    if counts.scored:
        warn_if_few(counts.clusters, out)
        shared = rate in ("wer", "wacc")  # their denominator is the reference's; those of mer and wil are not
        signed = counts.errors if rate == "wer" else -counts.errors
        out.pairs += differences(metric, names, values, drawn, counts.clusters, signed if shared else None)


def _text_item(name: str, key: str, metric: str, one: Counts) -> Row:
    counted = {kind: getattr(one, kind) for kind in (*_KINDS, "hallucinated_words")}
    return {
        "system": name,
        "id": key,
        "metric": metric,
        **attempt(metric, getattr, one, _RATE.get(metric, "wer")),
        **counted,
    }


def _rates(rate: str, counts: Floats) -> Floats:
    """`Counts.wer` and its like, of arrays (..., 4); NaN without words."""
    hits, substitutions, deletions, insertions = np.moveaxis(counts, -1, 0)
    errors, words = substitutions + deletions + insertions, hits + substitutions + deletions
    upper, lower = {
        "wer": (errors, words),
        "wacc": (words - errors, words),
        "mer": (errors, words + insertions),
        "wil": (hits**2, words * (hits + substitutions + insertions)),
    }[rate]
    nothing = np.where(words > 0, 0.0, np.nan)  # a hypothesis without a word hits none
    ratio = np.divide(upper, lower, out=nothing, where=(lower > 0) & (words > 0))
    return np.asarray(1 - ratio if rate == "wil" else ratio)


# ---------------------------------------------------------------------------------------------------------- labels

_LABEL_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "f1_micro", "f1_weighted")
_SCORE_METRICS = ("map", "roc_auc", "eer")
LABEL_METRICS = (*_LABEL_METRICS, *_SCORE_METRICS)
"""Metrics of `compare labels`."""


def compare_labels(
    reference: str,
    estimates: Sequence[str],
    *,
    metrics: Sequence[str] = LABEL_METRICS,
    positive: str | None = None,
    cluster: str | None = None,
    column: Mapping[str, str] | None = None,
    draws: int = RECOUNTS,
) -> Comparison:
    """One label per item. Estimates have a `label`, a `score` of the class `positive`, or a `score_CLASS` per class."""
    chosen = chosen_metrics(metrics, LABEL_METRICS)
    sides = opened(
        reference, estimates, ours=("id", "label"), theirs=("id", "label", "score"), column=dict(column or {})
    )
    out = Comparison("labels")
    truth = dict(zip(sides.reference.keys("id"), sides.reference.names("label"), strict=True))
    codes = clusters_of(sides.reference, range(len(truth)), cluster, "items", out)
    places = {name: _places(table, truth, name, out) for name, table in sides.systems.items()}
    out.inputs.insert(0, input_row(sides.reference, None, {}))
    labels = {name: _labels(table, places[name], truth) for name, table in sides.systems.items()}
    classes = ordered({*truth.values(), *(label for own in labels.values() for label in own or () if label)})
    tags = _tags(list(truth.values()), classes)
    counts = {
        name: None if own is None else classification.tag_counts(reference=tags, estimate=_tags(own, classes))
        for name, own in labels.items()
    }
    _score_labels([m for m in chosen if m in _LABEL_METRICS], counts, codes, draws, out)
    for name, own in labels.items():
        out.confusion += [] if own is None else _confusion(name, list(truth.values()), own, classes)
    for name, table in sides.systems.items():
        wanted = [m for m in chosen if m in _SCORE_METRICS]
        out.rows += _score_detections(wanted, name, table, places[name], list(truth.values()), positive, codes, out)
    return out


def _places(table: Table, truth: Mapping[str, Any], name: str, out: Comparison) -> list[int | None]:
    """The row of every id of the reference, None where there is none."""
    own = {key: index for index, key in enumerate(table.keys("id"))}
    lacking = [key for key in truth if key not in own]
    out.inputs.append(input_row(table, name, {"no_reference": [key for key in own if key not in truth]}, lacking))
    return [own.get(key) for key in truth]


def _labels(table: Table, places: Sequence[int | None], truth: Mapping[str, Any]) -> list[str | None] | None:
    if "label" not in table.columns:
        return None
    own = table.names("label")
    return [None if place is None else own[place] for place in places]


def _tags(labels: Sequence[str | None], classes: Sequence[str]) -> NDArray[np.bool_]:
    """One row per item; an item without a label has none."""
    return np.array([[label == name for name in classes] for label in labels])


def _label_rates(metric: str, counts: Floats) -> float:
    """`metric` from (hit, false, missed) of shape (classes, 3), which hold everything but the items' order."""
    if metric in ("accuracy", "balanced_accuracy"):
        hits, items = counts[:, 0], counts[:, 0] + counts[:, 2]
        return float(hits.sum() / items.sum() if metric == "accuracy" else np.mean((hits / items)[items > 0]))
    return classification.rates(counts, average=metric.removeprefix("f1_")).f1


def _score_labels(
    metrics: Sequence[str],
    counts: Mapping[str, NDArray[np.int64] | None],
    codes: NDArray[np.intp],
    draws: int,
    out: Comparison,
) -> None:
    names = [name for name, own in counts.items() if own is not None]
    clusters = len(np.unique(codes))
    tables = [np.asarray(own, dtype=np.float64) for own in counts.values() if own is not None]
    means: Floats = np.empty((0, 0))
    if names and clusters >= 2:
        flat = np.concatenate([table.reshape(len(table), -1) for table in tables], axis=1)
        means = statistics.cluster_bootstrap(flat, codes, draws=draws, seed=0)
        means = means.reshape(len(means), len(names), -1, 3)
        warn_if_few(clusters, out)
    for metric in metrics:
        with np.errstate(invalid="ignore"):  # a class that a draw lacks has no recall there
            values = [_label_rates(metric, table.sum(axis=0)) for table in tables]
            drawn = np.array([[_label_rates(metric, own) for own in draw] for draw in means])
        drawn = drawn.reshape(len(means), len(names))
        for name in counts:
            common = {"n": len(codes), "n_clusters": clusters}
            if name in names:
                place = names.index(name)
                found = {"value": values[place], "status": "ok", "reason": None, **interval(drawn[:, place], clusters)}
            else:
                found = {**none("skipped", "no_label_column"), "low": None, "high": None}
            out.rows.append({"system": name, "metric": metric, **found, **common})
        sums = None
        if metric == "accuracy" and names:
            sums = statistics.Clustered.of(np.stack([t[:, :, 0].sum(axis=1) for t in tables], axis=1), codes).sums
        out.pairs += differences(metric, names, values, drawn, clusters, sums)


def _confusion(name: str, truth: Sequence[str], own: Sequence[str | None], classes: Sequence[str]) -> list[Row]:
    cells: dict[tuple[str, str], int] = {}
    for label, said in zip(truth, own, strict=True):
        cells[label, said or MISSING] = cells.get((label, said or MISSING), 0) + 1
    return [
        {"system": name, "reference": label, "estimate": said, "n": cells[label, said]}
        for label in classes
        for said in (*classes, MISSING)
        if (label, said) in cells
    ]


def _score_detections(
    metrics: Sequence[str],
    name: str,
    table: Table,
    places: Sequence[int | None],
    truth: Sequence[str],
    positive: str | None,
    codes: NDArray[np.intp],
    out: Comparison,
) -> list[Row]:
    """Metrics of scores; an item without a score gets the worst there is, of a positive -inf and of a negative +inf."""
    several = [c for c in table.columns if c.startswith("score_")]
    extra = {"low": None, "high": None, "n": len(codes), "n_clusters": len(np.unique(codes))}
    if not several and "score" not in table.columns:
        return [{"system": name, "metric": m, **none("skipped", "no_score_column"), **extra} for m in metrics]
    if several:
        classes, used = [c.removeprefix("score_") for c in several], several
        strange = sorted(set(truth) - set(classes))
        if strange:
            raise UserError(f"{table.uri}: no column 'score_{strange[0]}', and the reference has that class")
    else:
        classes, used = [_positive(truth, positive)], ["score"]
    tags = _tags(truth, classes)
    scores = np.where(tags, -np.inf, np.inf)
    for place, each in enumerate(used):
        own = table.numbers(each)
        scores[[i for i, row in enumerate(places) if row is not None], place] = [
            own[r] for r in places if r is not None
        ]
    if None in places:
        out.notes.append(f"{name}: an item without a score counts as the worst there is")
    rows = []
    for metric in metrics:
        each_class = [attempt(metric, _DETECTION[metric], tags[:, k], scores[:, k]) for k in range(len(classes))]
        known = [found["value"] for found in each_class if found["value"] is not None]
        found = some(np.mean(known)) if known else each_class[0]
        undefined = {c: f["reason"] for c, f in zip(classes, each_class, strict=True) if f["value"] is None}
        by_class = {c: f["value"] for c, f in zip(classes, each_class, strict=True)}
        rows.append({"system": name, "metric": metric, **found, **extra, "by_class": by_class, "undefined": undefined})
    return rows


_DETECTION: Mapping[str, Callable[[Any, Any], float]] = {
    "map": lambda truth, scores: classification.average_precision(reference=truth, scores=scores),
    "roc_auc": lambda truth, scores: classification.roc_auc(reference=truth, scores=scores),
    "eer": lambda truth, scores: classification.equal_error(reference=truth, scores=scores).rate,
}


def _positive(truth: Sequence[str], positive: str | None) -> str:
    """The class that a single score is of."""
    known = ordered(set(truth))
    if positive is None and set(known) <= {"0", "1"}:
        return "1"
    if positive is None or positive not in known:
        raise UserError(
            f"which class is a high 'score' for? Name it with --positive (the reference has {', '.join(known)})"
        )
    return positive


# ------------------------------------------------------------------------------------------------- tables of numbers


def compare_srt(
    table: str,
    *,
    condition: str | None = None,
    guess: float = 0.0,
    lapse: float = 0.0,
    column: Mapping[str, str] | None = None,
) -> Comparison:
    """Speech reception thresholds from words understood, one per condition."""
    wanted = ("snr_db", "n_correct", "n_total", "condition")
    named = {**dict(column or {}), **({"condition": condition} if condition else {})}
    read = tables.read(table)
    tables.check_mapping(named, wanted, [read])
    read = read.named(named, {name: USUAL[name] for name in wanted})
    snr, total = read.numbers("snr_db"), read.numbers("n_total", low=0)
    right = read.numbers("n_correct", low=0)
    for index in range(len(read)):
        if right[index] > total[index]:
            raise read.wrong(index, "n_correct", f"at most the {total[index]:g} of n_total")
    labels = read.names("condition") if "condition" in read.columns else ["all"] * len(read)
    out = Comparison("srt", {"guess": guess, "lapse": lapse}, [input_row(read, None, {})])
    for label in dict.fromkeys(labels):
        rows = [index for index, name in enumerate(labels) if name == label]
        try:
            fit = psychometric.fit(
                snr_db=[snr[i] for i in rows],
                n_correct=[right[i] for i in rows],
                n_total=[total[i] for i in rows],
                guess=guess,
                lapse=lapse,
            )
        except ValueError as error:  # only guess and lapse are left to be wrong
            raise UserError(str(error)) from None
        found = none("excluded_ref", fit.reason or "") if fit.srt_db is None else some(fit.srt_db)
        out.rows.append(
            {
                "condition": label,
                "metric": "srt50",
                **found,
                "low": fit.srt_ci_db[0],
                "high": fit.srt_ci_db[1],
                "slope_per_db": fit.slope_per_db,
                "slope_per_db_low": fit.slope_ci_per_db[0],
                "slope_per_db_high": fit.slope_ci_per_db[1],
                "extrapolated": fit.extrapolated,
                "bracket_db_low": fit.bracket_db[0],
                "bracket_db_high": fit.bracket_db[1],
                "n": int(sum(total[i] for i in rows)),
            }
        )
    out.notes.append("intervals are of the profile likelihood and take words as independent")
    return out


_ALSO = {
    "ovrl": ("dnsmos_ovrl",),
    "le_cd_deg": ("le_cd",),
    **{name: () for group in tablescores.PRISM_GROUPS.values() for name in group},
    "wacc": (),
    "er_20": (),
    "f1_20": (),
    "lr_cd": (),
}


def compare_table(table: str, *, score: str, column: Mapping[str, str] | None = None) -> Comparison:
    """A score made of other scores, for every system of a table of systems and metrics."""
    if score not in tablescores.TABLE_SCORES:
        raise UserError(f"--score {score}: not a score of tables{ids.nearest(score, tablescores.TABLE_SCORES)}")
    described = tablescores.TABLE_SCORES[score]
    usual = {"system": USUAL["system"], **{name: _ALSO[name] for name in described.needs}}
    named = dict(column or {})
    read = tables.read(table)
    tables.check_mapping(named, usual, [read])
    read = read.named(named, usual)
    read.need(*usual)
    names = read.keys("system")
    columns = {name: read.optional_numbers(name) for name in described.needs}
    systems = {name: {m: columns[m][i] for m in described.needs} for i, name in enumerate(names)}
    out = Comparison("table", {"score": score, "formula": described.formula}, [input_row(read, None, {})])
    if score == "prism":
        found = tablescores.prism(systems)
        for name in names:
            value = found.scores[name]
            row = none("skipped", found.reasons[name]) if value is None else some(value)
            out.rows.append({"system": name, "metric": score, **row})
        out.notes.append(
            f"PRISM holds for this table only: it is relative to the {len(found.systems)} systems that entered "
            f"({', '.join(found.systems)}), and another one changes all of them"
        )
        out.settings["ranges"] = {metric: list(ends) for metric, ends in found.ranges.items()}
        if found.constant:
            out.notes.append(f"the same for all systems, hence not counted: {', '.join(found.constant)}")
        return out
    compute: Callable[..., float] = tablescores.dns5_score if score == "dns5_score" else tablescores.seld_error
    for index, (name, row) in enumerate(systems.items()):
        gap = next((metric for metric, value in row.items() if value is None), None)
        try:
            filled = none("skipped", f"missing:{gap}") if gap else some(compute(**row))
        except ValueError as error:
            raise UserError(f"{read.at(index)}: {error}") from None
        out.rows.append({"system": name, "metric": score, **filled})
    return out
