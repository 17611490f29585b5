"""Running systems: whatever a system does, there is one estimate per mixture and its status says what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests import audio
from manifests.errors import UserError
from manifests.recipe import parse_recipe
from manifests.schema import Estimate, Source
from manifests.system import BUILTINS, SystemSpec, load_system
from pipelines import generate
from pipelines.dataset import Dataset
from pipelines.infer import infer

RECIPE = """
name: for-systems
seed: 3
clip_s: 2
splits: {train: 4, test: 6}
shares: {train: 1, test: 1}
noise: {snr_db: {uniform: [0, 5]}}
write: {stems: [mixture, target, noise], rows_per_shard: 3}
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, demo_sources: list[Source]) -> Dataset:
    root = tmp_path_factory.mktemp("infer") / "d"
    return generate.generate(parse_recipe(RECIPE), demo_sources, str(root), workers=0, quiet=True)[0]


def system(factory: str, **fields: Any) -> SystemSpec:
    return SystemSpec.model_validate({"name": factory, "module": f"tests.misbehaving:{factory}"} | fields)


def run(dataset: Dataset, spec: SystemSpec, workers: int = 0) -> list[Estimate]:
    row, *_ = infer(dataset, spec, workers=workers, quiet=True)
    return [
        e for name in dataset.shard_names(f"estimates/{row.system_id}") for e in dataset.estimates(row.system_id, name)
    ]


def mixtures(dataset: Dataset) -> dict[str, Any]:
    rows = [row for name in dataset.shard_names(split="test") for row in dataset.mixtures(name)]
    return {
        row.mixture_id: {name: audio.decode(getattr(row, name))[0] for name in ("mixture", "target")} for row in rows
    }


def samples(estimate: Estimate, name: str = "estimate") -> Any:
    return audio.decode(next(o.audio for o in estimate.outputs if o.name == name))[0]


def test_the_test_split_is_run_by_default_and_every_mixture_has_an_estimate(dataset: Dataset) -> None:
    estimates = run(dataset, load_system("unprocessed"))
    assert [e.mixture_id for e in estimates] == list(mixtures(dataset))
    assert {e.status for e in estimates} == {"ok"}


def test_builtins_are_what_they_say(dataset: Dataset) -> None:
    found = mixtures(dataset)
    for estimate in run(dataset, load_system("unprocessed")):
        assert np.array_equal(samples(estimate), found[estimate.mixture_id]["mixture"])
    for estimate in run(dataset, load_system("oracle")):
        assert np.array_equal(samples(estimate), found[estimate.mixture_id]["target"])
    for estimate in run(dataset, load_system("silence")):
        assert not samples(estimate).any()
    for name in ("irm", "ibm"):
        for estimate in run(dataset, load_system(name)):
            target, mixture = found[estimate.mixture_id]["target"], found[estimate.mixture_id]["mixture"]
            assert np.sum((samples(estimate) - target) ** 2) < 0.7 * np.sum((mixture - target) ** 2)


@pytest.mark.parametrize(
    ("factory", "status", "reason"),
    [
        ("too_short", "ok_len", "wrong_length"),
        ("wrong_rate", "failed", "wrong_rate"),
        ("wrong_shape", "failed", "wrong_shape"),
        ("empty", "failed", "wrong_shape"),
        ("not_a_number", "failed", "not_finite"),
        ("nothing", "failed", "exception"),
        ("raises", "failed", "exception"),
    ],
)
def test_a_broken_answer_becomes_a_status(dataset: Dataset, factory: str, status: str, reason: str) -> None:
    estimates = run(dataset, system(factory))
    assert len(estimates) == 6
    assert {(e.status, e.reason) for e in estimates} == {(status, reason)}
    assert all(e.message for e in estimates)


def test_a_small_difference_in_length_is_trimmed_and_noted(dataset: Dataset) -> None:
    found = mixtures(dataset)
    for estimate in run(dataset, system("a_bit_long")):
        assert (estimate.status, estimate.length_delta) == ("ok", 160)
        assert np.array_equal(samples(estimate), found[estimate.mixture_id]["mixture"])


def test_one_channel_without_its_axis_is_taken(dataset: Dataset) -> None:
    assert {samples(e).shape for e in run(dataset, system("flat"))} == {(1, 32000)}


def test_named_outputs_are_kept_apart(dataset: Dataset) -> None:
    found = mixtures(dataset)
    for estimate in run(dataset, system("two_outputs")):
        assert [o.name for o in estimate.outputs] == ["noise", "speech"]
        expected = found[estimate.mixture_id]["mixture"] * np.float32(0.9)
        assert np.abs(samples(estimate, "speech") - expected).max() < 2**-22


def test_an_estimate_above_full_scale_is_not_clipped(dataset: Dataset) -> None:
    found = mixtures(dataset)
    for estimate in run(dataset, system("loud")):
        expected = found[estimate.mixture_id]["mixture"] * np.float32(100)
        assert np.abs(expected).max() > 1
        assert np.allclose(samples(estimate), expected, atol=1e-5)


def test_the_model_gets_its_rate_and_two_dimensional_float32(dataset: Dataset, tmp_path: Path) -> None:
    estimates = run(dataset, system("inputs", sample_rate=48000, settings={"folder": str(tmp_path)}))
    assert [p.name for p in tmp_path.iterdir()] == ["48000_2_1_float32"]
    found = mixtures(dataset)
    for estimate in estimates:  # there and back again: the speech band is unchanged
        mixture = found[estimate.mixture_id]["mixture"]
        assert estimate.sample_rate == 16000
        error, whole = (
            np.abs(np.fft.rfft(x[0]))[:14000] for x in (samples(estimate) - mixture, mixture)
        )  # below 7 kHz
        assert np.sum(error**2) < 1e-5 * np.sum(whole**2)


@pytest.mark.ray
def test_a_model_is_loaded_once_per_actor(dataset: Dataset, tmp_path: Path, ray_session: None) -> None:
    run(dataset, system("counted", settings={"log": str(tmp_path)}), workers=1)
    assert len(list(tmp_path.iterdir())) <= 2  # the actor, and nothing per mixture


@pytest.mark.ray
def test_a_system_with_random_numbers_gives_the_same_bytes_whatever_the_workers(
    dataset: Dataset, ray_session: None
) -> None:
    once = run(dataset, system("random", name="random-a"))
    again = run(dataset, system("random", name="random-a", timeout_s=601), workers=2)
    assert [e.outputs[0].audio.bytes for e in once] == [e.outputs[0].audio.bytes for e in again]


@pytest.mark.ray
def test_a_system_that_kills_its_process_loses_only_those_mixtures(dataset: Dataset, ray_session: None) -> None:
    peaks = sorted(float(np.abs(found["mixture"]).max()) for found in mixtures(dataset).values())
    estimates = run(dataset, system("dies_on_loud", settings={"threshold": (peaks[-1] + peaks[-2]) / 2}), workers=1)
    assert len(estimates) == 5
    (lost,) = dataset.aside("failed", "infer-dies_on_loud-*")
    assert lost.reason == "crashed"


def test_a_module_that_does_not_import_is_a_users_mistake(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="system 'x': module 'no_such_module' does not import"):
        infer(dataset, SystemSpec(name="x", module="no_such_module:load"), workers=0)
    with pytest.raises(UserError, match=r"has no callable 'halv' \(did you mean 'halve'\?\)"):
        infer(dataset, system("halv"), workers=0)
    with pytest.raises(UserError, match=r"failed to load: FileNotFoundError: weights\.pt"):
        infer(dataset, system("cannot_load"), workers=0)


def test_another_split_adds_to_the_estimates_that_are_there(dataset: Dataset) -> None:
    spec = system("halve", name="both-splits")
    row, *_ = infer(dataset, spec, workers=0, quiet=True)
    _, result, *_ = infer(dataset, spec, workers=0, quiet=True, split="train")
    assert result.counts.done == 4
    names = dataset.shard_names(f"estimates/{row.system_id}")
    assert {name.split("-")[0] for name in names} == {"test", "train"}
    assert infer(dataset, spec, workers=0, quiet=True, split="all")[1].shards_resumed == len(names)


def test_a_changed_asset_or_setting_is_another_system(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "gain.txt").write_text("0.5")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nmodule: tests.misbehaving:asset\nsettings: {path: gain.txt}\nassets: [gain.txt]\n"
    )
    spec = load_system(str(tmp_path / "mine.yaml"))
    first, *_ = infer(dataset, spec, workers=0, quiet=True)
    (tmp_path / "gain.txt").write_text("0.25")
    second, *_ = infer(dataset, spec, workers=0, quiet=True)
    assert first.system_id != second.system_id
    assert [a.key for a in first.asset_sha256] == ["gain.txt", "code"]


def test_a_split_or_system_that_is_not_there(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no split 'tset' \(did you mean 'test'\?\)"):
        infer(dataset, load_system("silence"), workers=0, split="tset")
    with pytest.raises(UserError, match=r"unknown system 'rnoise' \(did you mean 'rnnoise'\?\)"):
        load_system("rnoise")
    with pytest.raises(UserError, match="not a dataset"):
        Dataset(str(tmp_path)).recipe()
    with pytest.raises(UserError, match="no mixtures here"):
        infer(Dataset(str(tmp_path)), load_system("silence"), workers=0)


def test_every_builtin_is_described() -> None:
    assert set(BUILTINS) == {"unprocessed", "silence", "oracle", "irm", "ibm"}


class TestDenoisers:
    """The two real denoisers of the extra `systems`."""

    @pytest.fixture
    def speech(self, demo_sources: list[Source]) -> Any:
        uri = next(s.uri for s in demo_sources if s.speaker_id == "demo_emil")
        return audio.decode_file(uri)[0]

    def test_rnnoise_keeps_length_and_alignment(self, speech: Any) -> None:
        pytest.importorskip("pyrnnoise")
        from pipelines.denoisers import rnnoise

        wide = audio.resample(speech, 16000, 48000)
        out = rnnoise()(wide, 48000)
        assert out.shape == wide.shape
        assert out.dtype == np.float32
        spectrum = np.fft.rfft(out[0], 2**19) * np.conj(np.fft.rfft(wide[0], 2**19))
        lag = int(np.argmax(np.fft.irfft(spectrum)))
        assert min(lag, 2**19 - lag) <= 2  # samples at 48 kHz

    def test_both_remove_stationary_noise(self, speech: Any) -> None:
        pytest.importorskip("pyrnnoise")
        pytest.importorskip("noisereduce")
        from pipelines.denoisers import rnnoise, spectral_gating

        noise = 0.01 * np.random.default_rng(0).standard_normal((1, 96000)).astype(np.float32)
        for enhance in (rnnoise(), spectral_gating()):
            out = enhance(noise, 48000)
            assert out.shape == noise.shape
            assert np.mean(out**2) < 0.3 * np.mean(noise**2)
