"""Witnesses: messages as a user sees them; YAML there and back; the JSON Schema judged by `jsonschema`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from manifests import ids
from manifests.errors import UserError
from manifests.recipe import (
    STEMS,
    Distribution,
    Recipe,
    content,
    load_recipe,
    parse_recipe,
    render_settings,
    stem_columns,
)

MINIMAL = "name: a\nsplits: {train: 5}\n"
ROOT = Path(__file__).resolve().parents[1]

FULL = """
name: denoise-16k
seed: 2026
sample_rate: 16000
clip_s: 10
splits: {train: 50h, valid: 1h, test: 500 clips}
shares: {train: 8, valid: 1, test: 1}
sources: [sources.parquet]
select: {speech: {language: [en, de]}, noise: {noise_class: {not: [music]}}}
resample: any
talkers: {count: {choice: {1: 0.8, 2: 0.2}}, level_dbfs: {normal: [-26, 3]}, fill: concatenate, gap_s: 0.2}
noise: {count: {integers: [1, 2]}, snr_db: {grid: [-5, 0, 5.5]}, snr: rms}
rooms:
  probability: 0.5
  kind: {choice: [measured, simulated]}
  size_m: {length: {uniform: [3, 10]}, width: {loguniform: [3, 8]}, height: 2.5}
  rt60_s: {histogram: {edges: [0.2, 0.4, 0.8], weights: [3, 1]}}
target: {kind: early, early_ms: 50}
write: {stems: [noise, mixture, target], encoding: flac24}
"""


def written(recipe: Recipe) -> str:
    """A recipe as a dataset stores it."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def snr(text: str) -> Distribution:
    return parse_recipe(f"{MINIMAL}noise: {{snr_db: {text}}}").noise.snr_db


def message(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_recipe(text, "r.yaml")
    return str(caught.value)


# what a recipe says


def test_a_recipe_is_read() -> None:
    recipe = parse_recipe(FULL)
    assert {k: (v.clips, v.seconds) for k, v in recipe.splits.items()} == {
        "train": (None, 180_000.0),
        "valid": (None, 3600.0),
        "test": (500, None),
    }
    count = recipe.talkers.count
    assert (count.kind, count.values, count.weights) == ("choice", [1.0, 2.0], [0.8, 0.2])
    assert (recipe.noise.snr_db.kind, recipe.noise.snr_db.values) == ("grid", [-5.0, 0.0, 5.5])
    assert (recipe.rooms.rt60_s.values, recipe.rooms.rt60_s.weights) == ([0.2, 0.4, 0.8], [0.75, 0.25])
    assert (recipe.talkers.gap_s.kind, recipe.talkers.gap_s.values) == ("constant", [0.2])
    assert recipe.write.stems == ["mixture", "target", "noise"]  # in the order of the table
    assert recipe.select.noise == {"noise_class": {"not": ["music"]}}


def test_what_a_minimal_recipe_leaves_out() -> None:
    recipe = parse_recipe(MINIMAL)
    assert (recipe.sample_rate, recipe.clip_s, recipe.resample, recipe.seed) == (16_000, 10.0, "down", 0)
    assert recipe.rooms.probability == 0
    assert recipe.talkers.count.support() == (1, 1)
    assert recipe.noise.snr_db.support() == (-5, 20)
    assert recipe.failure_budget == 0.001
    assert parse_recipe(MINIMAL + "rooms: {}").rooms.probability == 0.5  # who writes `rooms` wants some


def test_shipped_recipes_are_valid() -> None:
    found = sorted((ROOT / "pipelines" / "recipes").glob("*.yaml"))
    assert found
    for path in found:
        assert load_recipe(str(path)).name


@pytest.mark.parametrize(
    ("text", "support"),
    [
        ("3", (3, 3)),
        ("'3'", (3, 3)),
        ("{uniform: [-5, 20]}", (-5, 20)),
        ("{loguniform: [1, 10]}", (1, 10)),
        ("{integers: [0, 4]}", (0, 4)),
        ("{normal: [5, 2]}", (-3, 13)),
        ("{choice: [10, 2]}", (2, 10)),
        ("{choice: {10: 1, 2: 3}}", (2, 10)),
        ("{histogram: {edges: [0, 1, 5], weights: [1, 1]}}", (0, 5)),
        ("{grid: [3, -3]}", (-3, 3)),
        ("{uniform: [2, 2]}", (2, 2)),
        ("{normal: [2, 0]}", (2, 2)),
    ],
)
def test_distributions_know_what_they_can_draw(text: str, support: tuple[float, float]) -> None:
    assert snr(text).support() == support


def test_weights_are_shares() -> None:
    assert snr("{choice: {5: 1, 0: 3}}").weights == [0.75, 0.25]  # in the order of the values: 0, 5
    assert snr("{choice: [3, 4, 5, 6]}").weights == [0.25] * 4
    assert snr("{histogram: {edges: [0, 1, 2], weights: [0, 7]}}").weights == [0, 1]


@pytest.mark.parametrize(
    ("text", "clips", "seconds"),
    [
        ("50h", None, 180_000.0),
        ("2 hours", None, 7200.0),
        ("30min", None, 1800.0),
        ("1.5h", None, 5400.0),
        ("90 s", None, 90.0),
        ("'500 clips'", 500, None),
        ("1 clip", 1, None),
        ("7 rows", 7, None),
        ("12", 12, None),
        ("10000h", None, 36_000_000.0),
    ],
)
def test_sizes(text: str, clips: int | None, seconds: float | None) -> None:
    size = parse_recipe(f"name: a\nsplits: {{train: {text}}}").splits["train"]
    assert (size.clips, size.seconds) == (clips, seconds)


def test_shares_default_to_eight_for_train() -> None:
    splits = "name: a\nsplits: {train: 5, valid: 1, test: 1}\n"
    assert parse_recipe(splits).split_shares() == {"train": 0.8, "valid": 0.1, "test": 0.1}
    shared = parse_recipe(splits + "shares: {train: 2}").split_shares()
    assert shared == {"train": 0.5, "valid": 0.25, "test": 0.25}


# mistakes

MISTAKES = [
    # unknown and missing keys
    ("noize: 3", "r.yaml:3: unknown key 'noize' (did you mean 'noise'?)"),
    ("noise:\n  snr_dd: 3", "r.yaml:4: unknown key 'noise.snr_dd' (did you mean 'snr_db'?)"),
    ("rooms:\n  size_m:\n    lenght: 3", "r.yaml:5: unknown key 'rooms.size_m.lenght' (did you mean 'length'?)"),
    ("floatation: 3", "r.yaml:3: unknown key 'floatation' (known: "),
    ("function-x[0]: 3", "r.yaml:3: unknown key 'function-x[0]' (known: "),
    ("seed: 1\nseed: 2", "r.yaml:4: the key 'seed' is given twice"),
    ("noise:\n  count: 1\n  count: 2", "r.yaml:5: the key 'count' is given twice"),
    # values
    ("seed: x", "r.yaml:3: seed: input should be a valid integer"),
    ("seed: -1", "r.yaml:3: seed: input should be greater than or equal to 0, got -1"),
    ("clip_s: 0.01", "r.yaml:3: clip_s: input should be greater than 0.1, got 0.01"),
    ("sample_rate: 44", "r.yaml:3: sample_rate: input should be greater than or equal to 4000, got 44"),
    ("noise: 5", "r.yaml:3: noise: input should be a valid dictionary"),
    ("noise: {snr: p56}", "r.yaml:3: noise.snr: input should be 'p56_active', 'rms_active', 'rms', 'lufs' or 'peak'"),
    ("sources: [a, 1]", "r.yaml:3: sources.1: input should be a valid string, got 1"),
    ("degrade: [clip]", "r.yaml:3: degrade.0: input should be a valid dictionary"),
    ("degrade: [{op: clok}]", "r.yaml:3: degrade.0.op: input should be 'clock', got 'clok'"),
    ("degrade: [{op: clock, offset_us: {grid: [1, 2]}}]", "degrade.0.offset_us: a grid does not reach into this list"),
    ("write: {stems: [target]}", "r.yaml:3: write.stems: stems must contain 'mixture'"),
    ("write:\n  stems:\n    - mixture\n    - tagret", "r.yaml:6: write.stems.1: input should be 'mixture', 'target',"),
    ("shares: {trian: 3}", "shares names a split 'trian' that splits lacks (did you mean 'train'?)"),
    ("shares: {train: 0}", "r.yaml:3: shares.train: input should be greater than 0, got 0"),
    ("rooms: {kind: simulted}", "rooms.kind: measured | simulated is expected, got 'simulted' (did you mean"),
    ("rooms: {kind: {choice: [measured, 3]}}", "r.yaml:3: rooms.kind: measured | simulated is expected, got 3.0"),
    # rooms
    ("rooms: {array: {preset: circel}}", "rooms.array.preset: input should be 'mono', 'pair', 'linear', 'circular',"),
    ("rooms: {array: {preset: user}}", "rooms.array: preset: user and positions_m ([[x, y, z], ...]) belong together"),
    ("rooms: {array: {preset: rings}}", "rooms.array: preset: rings wants radii_m and counts, one of each per ring"),
    ("rooms: {array: {preset: foa, jitter_m: 0.1}}", "rooms.array: preset: foa is four coincident patterns"),
    ("rooms: {array: {preset: pair, channels: {count: 3}}}", "channels.count goes beyond the 2 microphones"),
    ("rooms: {array: {preset: pair, channels: {count: 1, always: [2]}}}", "channels.always names microphone 2 of 2"),
    ("rooms: {array: {preset: pair}}", "rooms: an array is simulated in every row: set probability: 1 and kind: simu"),
    ("rooms: {measured_channels: all}", "measured_channels: all wants every row measured"),
    ("rooms: {wearer: true}", "rooms: wearer: with one microphone, wearer_offset_m must not be zero"),
    ("rooms: {engine: pyroomacoustics, jitter_m: 0.1}", "jitter_m, tail: diffuse and motion are of the engine shoebox"),
    ("rooms: {motion: {step_m: 0.1}}", "rooms.motion.step_m: input should be less than or equal to 0.05, got 0.1"),
    ("rooms: {motion: {path: circle}}", "rooms.motion.path: line | arc | waypoints is expected, got 'circle'"),
    ("rooms: {materials: {flor: 0.3}}", "rooms.materials: unknown wall 'flor' (did you mean 'floor'?)"),
    ("rooms: {materials: {floor: 1.3}}", "floor: a material's name, an absorption in [0, 1] or {octave: absorption}"),
    ("rooms: {traced: {floor_m: [[0, 0], [1, 1]]}}", "a floor has at least three corners, got 2"),
    ("rooms: {directivity: {facing: outward}}", "rooms: talkers face array or random"),
    ("noise: {place: own_rom}", "noise.place: dry | point | own_room | diffuse is expected, got 'own_rom' (did you"),
    (
        "rooms: {probability: 1, array: {preset: realman}}",
        "FLAC holds 8 channels, the array has 32: set write.encoding: wav_float32, or draw rooms.array.channels",
    ),
    (
        "clip_s: utterance\ntalkers: {fill: concatenate}",
        "clip_s: utterance takes one utterance per clip; talkers.fill: concatenate needs a clip_s in seconds",
    ),
    # distributions
    ("noise:\n  snr_db:\n    unifrom: [0, 1]", "r.yaml:4: noise.snr_db: unknown distribution 'unifrom' (did you mean"),
    ("noise: {snr_db: {uniform: [5, -5]}}", "noise.snr_db: uniform wants [low, high] with low <= high, got [5, -5]"),
    ("noise: {snr_db: {uniform: [5]}}", "noise.snr_db: uniform wants two numbers, got [5]"),
    ("noise: {snr_db: {uniform: [a, 5]}}", "noise.snr_db: uniform wants two numbers, got ['a', 5]"),
    ("noise: {snr_db: {loguniform: [0, 5]}}", "noise.snr_db: loguniform wants low > 0, got [0, 5]"),
    ("noise: {snr_db: {integers: [0.5, 5]}}", "noise.snr_db: integers wants whole numbers, got [0.5, 5]"),
    ("noise: {snr_db: {integers: [0, 5.5]}}", "noise.snr_db: integers wants whole numbers, got [0, 5.5]"),
    ("noise: {snr_db: {normal: [0, -1]}}", "noise.snr_db: normal wants [mean, std] with std >= 0, got [0, -1]"),
    ("noise: {snr_db: {uniform: [0, 1], grid: [1]}}", "noise.snr_db: a number or one of uniform, loguniform,"),
    ("noise: {snr_db: [0, 1]}", "noise.snr_db: a number or one of uniform, loguniform,"),
    ("noise: {snr_db: {kind: uniform, values: [1]}}", "noise.snr_db: a number or one of uniform, loguniform,"),
    ("noise: {snr_db: {}}", "noise.snr_db: a number or one of uniform, loguniform,"),
    ("noise: {snr_db: }", "noise.snr_db: a number or a distribution such as {uniform: [0, 1]} is expected, got None"),
    ("noise: {snr_db: yes}", "a number or a distribution such as {uniform: [0, 1]} is expected, got True"),
    ("noise: {snr_db: .nan}", "noise.snr_db: a constant wants finite numbers, got nan"),
    ("noise: {snr_db: .inf}", "noise.snr_db: a constant wants finite numbers, got inf"),
    ("noise: {snr_db: {grid: [0, .inf]}}", "noise.snr_db: grid wants finite numbers, got inf"),
    ("noise: {snr_db: loud}", "noise.snr_db: numbers are expected, got ['loud']"),
    ("noise: {snr_db: {grid: []}}", "noise.snr_db: grid wants a list of values, got []"),
    ("noise: {snr_db: {grid: [[1]]}}", "noise.snr_db: grid wants numbers or words, got [1]"),
    ("noise: {snr_db: {grid: [true]}}", "noise.snr_db: grid wants numbers or words, got True"),
    ("noise: {snr_db: {choice: 5}}", "noise.snr_db: choice wants a list, or a mapping of value to weight >= 0, got 5"),
    ("noise: {snr_db: {choice: [[1], 2]}}", "noise.snr_db: choice wants numbers or words, got [1]"),
    ("noise: {snr_db: {choice: {1: -1, 2: 3}}}", "noise.snr_db: choice wants weights >= 0, got [-1, 3]"),
    ("noise: {snr_db: {choice: {1: 0}}}", "noise.snr_db: choice wants at least one positive weight"),
    ("noise: {snr_db: {choice: []}}", "noise.snr_db: choice wants at least one positive weight"),
    ("noise: {snr_db: {choice: [1, 1, 2]}}", "noise.snr_db: choice wants every value once, got [1, 1, 2]; prefer one"),
    ("noise: {snr_db: {histogram: [1]}}", "noise.snr_db: histogram wants {edges: [...], weights: [...]}"),
    ("noise: {snr_db: {histogram: {edges: [1, 2], weights: [1, 1]}}}", "histogram wants rising edges, one more than"),
    ("noise: {snr_db: {histogram: {edges: [2, 1], weights: [1]}}}", "histogram wants rising edges, one more than"),
    ("noise: {snr_db: {histogram: {edges: [1, 2], weights: [-1]}}}", "histogram wants weights >= 0, got [-1]"),
    ("noise: {snr_db: {histogram: {edges: [1, 2], weights: x}}}", "histogram wants weights >= 0, got 'x'"),
    ("noise: {snr_db: {histogram: {edges: [a, 2], weights: [1]}}}", "histogram wants a list of numbers as edges"),
    # bounds
    ("noise: {snr_db: 200}", "noise.snr_db: values between -120 and 120 are expected, got 200 to 200"),
    ("noise: {snr_db: {uniform: [-130, 0]}}", "noise.snr_db: values between -120 and 120 are expected, got -130 to 0"),
    ("talkers: {level_dbfs: {normal: [-10, 3]}}", "level_dbfs: values between -90 and 0 are expected, got -22 to 2"),
    ("talkers: {gap_s: {normal: [0.1, 1]}}", "talkers.gap_s: values between 0 and 60 are expected, got -3.9 to 4.1"),
    ("talkers: {count: {integers: [1, 9]}}", "talkers.count: values between 1 and 5 are expected, got 1 to 9"),
    ("talkers: {count: 1.5}", "talkers.count: a whole number, or integers, choice or grid of whole numbers"),
    ("noise: {count: {uniform: [1, 3]}}", "noise.count: a whole number, or integers, choice or grid of whole numbers"),
    ("rooms: {rt60_s: 0}", "rooms.rt60_s: values between 0.05 and 10 are expected, got 0 to 0"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[text.replace("\n", "|") for text, _ in MISTAKES])
def test_a_mistake_is_named_with_file_line_and_key(text: str, said: str) -> None:
    found = message(MINIMAL + text)
    assert said in found
    assert found.startswith("r.yaml:")


SIZE_MISTAKES = [
    ("0", "a split size must be positive, got 0"),
    ("-5", "a split size must be positive, got -5"),
    ("0h", "a split size must be positive, got '0h'"),
    ("0.4 clips", "a whole number of clips is expected, got '0.4 clips'"),
    ("2.5", "a whole number of clips is expected, got 2.5"),
    ("5 parsecs", "a size such as 50h, 30min, 90s or '500 clips' is expected, got '5 parsecs'"),
    ("yes", "a size such as 50h, 30min, 90s or '500 clips' is expected, got True"),
    ("{clips: -5}", "a size such as 50h, 30min, 90s or '500 clips' is expected, got {'clips': -5}"),
    ("{}", "a size such as 50h, 30min, 90s or '500 clips' is expected, got {}"),
    ("", "a size such as 50h, 30min, 90s or '500 clips' is expected, got None"),
]


@pytest.mark.parametrize(("size", "said"), SIZE_MISTAKES, ids=[s for s, _ in SIZE_MISTAKES])
def test_a_bad_size_is_named(size: str, said: str) -> None:
    assert message(f"name: a\nsplits:\n  valid: 3\n  train: {size}") == f"r.yaml:4: splits.train: {said}"


def test_missing_keys_are_named() -> None:
    assert message("seed: 3") == "r.yaml:1: name: this key is required\nr.yaml:1: splits: this key is required"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.yaml: a mapping of keys is expected, got NoneType"),
        ("- a\n- b", "r.yaml: a mapping of keys is expected, got list"),
        ("name: a\n\tsplits: 3", "r.yaml: not valid YAML: "),
        ("name: [a", "r.yaml: not valid YAML: "),
        ("name: !!python/object/apply:os.system [ls]", "r.yaml: not valid YAML: could not determine a constructor"),
        ("name: ../a\nsplits: {train: 3}", "r.yaml:1: name: string should match pattern"),
        ("name: a\nsplits: {}", "r.yaml:2: splits: dictionary should have at least 1 item"),
        (
            "name: a\nsplits: {Train: 5}",
            "r.yaml:2: splits: a split name has lower-case letters, digits and _ only, got ",
        ),
    ],
)
def test_what_is_no_recipe_is_named(text: str, said: str) -> None:
    assert message(text).startswith(said)


def test_every_mistake_is_named_at_once() -> None:
    found = message("name: a\nsplits: {train: 5}\nseed: x\nnoize: 3\nrooms: {probability: 2}").splitlines()
    assert [line.split(" ")[0] for line in found] == ["r.yaml:3:", "r.yaml:5:", "r.yaml:4:"]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(UserError, match=r"r\.yaml: no such recipe file"):
        load_recipe(str(path))
    path.write_text(MINIMAL)
    assert load_recipe(str(path)) == parse_recipe(MINIMAL)
    path.write_text(MINIMAL + "sed: 3")
    with pytest.raises(UserError, match=r"/r\.yaml:3: unknown key 'sed' \(did you mean 'seed'\?\)"):
        load_recipe(str(path))


# there and back


@pytest.mark.parametrize("text", [MINIMAL, FULL], ids=["minimal", "full"])
def test_a_recipe_written_as_yaml_reads_back_the_same(text: str) -> None:
    recipe = parse_recipe(text)
    assert parse_recipe(written(recipe)) == recipe
    assert written(parse_recipe(written(recipe))) == written(recipe)


FINITE = st.floats(-100, 100)
WEIGHT = st.floats(1e-6, 1e6) | st.integers(1, 1000)
FAMILIES = st.one_of(
    FINITE,
    st.tuples(FINITE, FINITE).map(lambda p: {"uniform": sorted(p)}),
    st.tuples(st.floats(1e-3, 100), st.floats(1e-3, 100)).map(lambda p: {"loguniform": sorted(p)}),
    st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(lambda p: {"integers": sorted(p)}),
    st.tuples(st.floats(-20, 20), st.floats(0, 20)).map(lambda p: {"normal": list(p)}),
    st.dictionaries(FINITE, WEIGHT, min_size=1, max_size=12).map(lambda d: {"choice": d}),
    st.lists(FINITE, min_size=1, max_size=12, unique_by=str).map(lambda v: {"choice": v}),
    st.lists(FINITE, min_size=1, max_size=8).map(lambda v: {"grid": v}),
    st.lists(st.tuples(FINITE, WEIGHT), min_size=2, max_size=12).map(
        lambda p: {"histogram": {"edges": sorted(e for e, _ in p), "weights": [w for _, w in p[1:]]}}
    ),
)


@given(FAMILIES)
def test_every_distribution_written_as_yaml_reads_back_the_same(given: Any) -> None:
    """To the last bit: the digest of a dataset's recipe is computed from what was read back."""
    recipe = Recipe.model_validate({"name": "a", "splits": {"train": 5}, "noise": {"snr_db": given}})
    again = parse_recipe(written(recipe))
    assert again == recipe
    assert ids.digest(content(again)) == ids.digest(content(recipe))


@given(
    st.integers(1, 10**9) | st.floats(0.001, 1e9).map(lambda s: f"{s:.4f}h") | st.floats(1, 1e9).map("{:.3f}s".format)
)
def test_every_size_written_as_yaml_reads_back_the_same(size: Any) -> None:
    recipe = Recipe.model_validate({"name": "a", "splits": {"train": size}})
    assert parse_recipe(written(recipe)) == recipe


# digests


def digest(change: str = "") -> str:
    return ids.digest(content(parse_recipe(MINIMAL + change)))


def test_what_does_not_change_a_row_does_not_change_the_content() -> None:
    same = [
        "sources: [other.parquet]",
        "write: {stems: [mixture, talkers], encoding: flac16, rows_per_shard: 7, peak: 0.5}",
        "failure_budget: 0.5",
        "shares: {train: 3}",  # of one split: all
        "clip_s: 10.0",  # the default
        "noise: {snr_db: {uniform: [-5.0, 20]}}",
    ]
    assert {digest(change) for change in same} == {digest()}
    assert content(parse_recipe("name: a\nsplits: {train: 400h}")) == content(parse_recipe(MINIMAL))


def test_what_changes_a_row_changes_the_content() -> None:
    changes = [
        "",
        "seed: 1",
        "sample_rate: 8000",
        "clip_s: 4",
        "clip_s: utterance",
        "resample: any",
        "select: {speech: {language: en}}",
        "talkers: {count: 2}",
        "talkers: {fill: concatenate}",
        "noise: {snr_db: {uniform: [-5, 21]}}",
        "noise: {snr_db: {grid: [-5, 20]}}",
        "noise: {snr_db: {choice: {-5: 0.5, 20: 0.5}}}",
        "noise: {snr_db: {choice: {-5: 0.6, 20: 0.4}}}",
        "noise: {snr: rms}",
        "rooms: {probability: 0.5}",
        "rooms: {probability: 0.5, kind: measured}",
        "target: {kind: image}",
        "target: {early_ms: 40}",
    ]
    assert len({digest(change) for change in changes}) == len(changes)
    three = [parse_recipe(f"name: a\nsplits: {{train: 5, test: 1}}\nshares: {{test: {share}}}") for share in (1, 2)]
    assert len({ids.digest(content(recipe)) for recipe in three} | {digest()}) == 3


def test_another_output_version_is_another_content(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    monkeypatch.setattr("manifests.recipe.OUTPUT_VERSION", 1_000_000)
    assert digest() != before


def test_the_order_of_keys_means_nothing() -> None:
    """A digest cannot see it, so no draw may depend on it."""
    orders = [dict(p) for p in itertools.permutations({"0": 0.5, "10": 0.3, "-3": 0.2}.items())]
    found = [snr(f"{{choice: {order}}}") for order in orders]
    assert all(d == found[0] for d in found)
    assert (found[0].values, found[0].weights) == ([-3, 0, 10], [0.2, 0.5, 0.3])
    assert snr("{choice: [2, 1]}") == snr("{choice: [1, 2]}")
    assert snr("{choice: [10, 9]}").values == [9, 10]
    assert snr("{grid: [2, 1]}") != snr("{grid: [1, 2]}")


def test_render_settings_are_what_is_written() -> None:
    default = render_settings(parse_recipe(MINIMAL))
    assert default["stems"] == ["mixture", "target", "noise"]
    assert render_settings(parse_recipe(MINIMAL + "write: {encoding: flac16}")) != default
    assert render_settings(parse_recipe(MINIMAL + "write: {stems: [noise, target, mixture]}")) == default
    assert render_settings(parse_recipe(MINIMAL + "seed: 4")) == default
    assert parse_recipe(f"{MINIMAL}write: {{stems: {list(reversed(STEMS))}}}").write.stems == list(STEMS)


# JSON Schema


@pytest.fixture(scope="module")
def editor() -> Any:
    """What an editor does with the generated schema."""
    schema = Recipe.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_an_editor_accepts_what_we_accept(editor: Any) -> None:
    demo = (ROOT / "pipelines" / "recipes" / "demo.yaml").read_text()
    for text in (MINIMAL, FULL, demo, written(parse_recipe(FULL))):
        assert [e.message for e in editor.iter_errors(yaml.safe_load(text))] == []


@given(given=FAMILIES)
def test_an_editor_accepts_every_distribution(editor: Any, given: Any) -> None:
    assert editor.is_valid({"name": "a", "splits": {"train": 5}, "noise": {"snr_db": given}})


@pytest.mark.parametrize(
    "text",
    [
        "noize: 3",
        "noise: {snr_dd: 3}",
        "noise: {snr_db: {unifrom: [1, 2]}}",
        "noise: {snr_db: {uniform: [1]}}",
        "noise: {snr_db: {uniform: [1, 2], grid: [1]}}",
        "noise: {snr_db: {kind: uniform, values: [1, 2]}}",
        "noise: {snr_db: {grid: []}}",
        "noise: {snr_db: {histogram: {edges: [1, 2]}}}",
        "noise: {snr: p56}",
        "splits: {train: 3 parsecs}",
        "splits: {train: 0}",
        "splits: {train: {clips: 3}}",
    ],
)
def test_an_editor_refuses_what_we_refuse(editor: Any, text: str) -> None:
    plain = yaml.safe_load(MINIMAL) | yaml.safe_load(text)
    assert not editor.is_valid(plain)
    assert message(yaml.safe_dump(plain))


def test_arrays_and_their_sizes() -> None:
    sizes = {
        "{preset: mono}": 1,
        "{preset: pair}": 2,
        "{preset: linear, microphones: 5}": 5,
        "{preset: circular, microphones: 6, centre: true}": 7,
        "{preset: tetrahedral}": 4,
        "{preset: foa}": 4,
        "{preset: rings, radii_m: [0.03, 0.06], counts: [4, 8]}": 12,
        "{preset: user, positions_m: [[0, 0, 0], [0.1, 0, 0]]}": 2,
        "{preset: realman, channels: {count: {integers: [2, 8]}}}": 8,
    }
    for array, channels in sizes.items():
        recipe = parse_recipe(MINIMAL + f"rooms: {{probability: 1, array: {array}}}\nwrite: {{encoding: wav_float32}}")
        assert recipe.rooms.array.most == channels


def test_a_window_may_be_one_number() -> None:
    recipe = parse_recipe(MINIMAL + "target: {kind: direct_window, window_ms: 2.5}")
    assert recipe.target.window_ms == [2.5, 2.5]
    assert parse_recipe(MINIMAL + "target: {window_ms: [1, 3]}").target.window_ms == [1, 3]


def test_materials_may_be_names_numbers_octaves_and_walls() -> None:
    for text in (
        "carpet",
        "0.3",
        "{125: 0.1, 4000: 0.4}",
        "{floor: carpet, walls: 0.2, ceiling: {125: 0.1}, all: 0.1}",
    ):
        assert parse_recipe(MINIMAL + f"rooms: {{materials: {text}}}").rooms.materials is not None


def test_talkers_and_targets_stand_for_one_column_each() -> None:
    assert stem_columns(["mixture", "targets", "talkers"], 2) == [
        "mixture", "target_1", "target_2", "talker_1", "talker_2"
    ]  # fmt: skip
