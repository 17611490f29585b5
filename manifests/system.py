"""A system under evaluation, as its YAML file or its name describes it.

    name: my-model
    kind: python
    module: my_package.enhance:load      # a factory: called once per worker with `settings`, returns a callable
    settings: {checkpoint: weights.pt}
    sample_rate: 48000                   # what the model wants; the runner resamples to it and back. Absent: the
    dataset's rate
    assets: [weights.pt]                 # files whose content is part of the system's identity, relative to this file
    licence: MIT

The callable gets `(channels, samples)` float32 and the sample rate and returns the same shape, `(samples,)`, a mapping
of output names to arrays, or `(array, sample_rate)`.
"""

from __future__ import annotations

import hashlib
import os
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from manifests import ids, storage
from manifests.errors import UserError
from manifests.recipe import Strict, parse_yaml
from manifests.schema import OUTPUT_VERSION, KeyText, System

__all__ = ["BUILTINS", "ModuleSpec", "SystemSpec", "identify", "load_spec", "load_system", "needs_module"]

Spec = TypeVar("Spec", bound="ModuleSpec")

BUILTINS = {
    "unprocessed": "the mixture itself: every system must beat it",
    "silence": "zeros: no metric may rank it above the mixture",
    "oracle": "the target itself: the ceiling of every metric",
    "irm": "ideal ratio mask on the mixture's spectrogram: a ceiling for masks",
    "ibm": "ideal binary mask at 0 dB on the mixture's spectrogram",
}


class ModuleSpec(Strict):
    """Python code of the user's, what it is called with, and the files that are part of it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    module: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    sample_rate: Annotated[int, Field(ge=4000, le=192_000)] | None = None
    assets: list[str] = Field(default_factory=list)
    extra: str | None = None
    licence: str | None = None
    url: str | None = None
    folder: str | None = None

    def resolved_settings(self) -> dict[str, Any]:
        """`settings` with the names of assets replaced by their full paths."""
        return {key: self.asset_path(value) if value in self.assets else value for key, value in self.settings.items()}

    def asset_path(self, path: str) -> str:
        """An asset's full path: relative ones are relative to the system's file."""
        return path if storage.is_url(path) or os.path.isabs(path) else storage.join(self.folder or ".", path)

    def asset_digests(self) -> list[KeyText]:
        """SHA-256 of every asset; UserError where one is not there."""
        return [KeyText(path, self._asset_sha256(path)) for path in sorted(self.assets)]

    def _asset_sha256(self, path: str) -> str:
        full = self.asset_path(path)
        if not storage.exists(full):
            raise UserError(f"{self.what} '{self.name}': asset {full} does not exist")
        return hashlib.sha256(storage.read_bytes(full)).hexdigest()

    @property
    def what(self) -> str:
        """The word for it in messages."""
        return "system"


def needs_module(module: str | None, kind: str) -> None:
    """ValueError unless `module` has the form `module:factory`."""
    if module is None or module.count(":") != 1:
        raise ValueError(f"kind {kind} needs module: 'module:factory', got {module!r}")


class SystemSpec(ModuleSpec):
    """What is run, and under which name its scores appear."""

    kind: Literal["builtin", "python"] = "python"
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    timeout_s: Annotated[float, Field(gt=0)] = 600.0

    @model_validator(mode="after")
    def _complete(self) -> SystemSpec:
        if self.kind == "builtin" and self.name not in BUILTINS:
            raise ValueError(f"unknown builtin system '{self.name}'{ids.nearest(self.name, BUILTINS)}")
        if self.kind == "python":
            needs_module(self.module, self.kind)
        return self


SHIPPED = {
    "rnnoise": SystemSpec(
        name="rnnoise",
        module="pipelines.denoisers:rnnoise",
        sample_rate=48_000,
        extra="systems",
        licence="BSD-3-Clause (RNNoise), Apache-2.0 (pyrnnoise)",
        url="https://github.com/xiph/rnnoise",
    ),
    "spectral_gating": SystemSpec(
        name="spectral_gating",
        module="pipelines.denoisers:spectral_gating",
        extra="systems",
        licence="MIT",
        url="https://github.com/timsainb/noisereduce",
    ),
}


def load_system(name: str) -> SystemSpec:
    """A system by the name of a builtin or shipped one, or by the path of its YAML file."""
    if name in BUILTINS:
        return SystemSpec(name=name, kind="builtin")
    if name in SHIPPED:
        return SHIPPED[name]
    if not name.endswith((".yaml", ".yml")):
        raise UserError(
            f"unknown system '{name}'{ids.nearest(name, [*BUILTINS, *SHIPPED])}; a system of your own is a YAML file"
        )
    return load_spec(name, SystemSpec)


def load_spec(path: str, model: type[Spec]) -> Spec:
    """A spec from its YAML file, which its relative paths are relative to."""
    if not storage.exists(path):
        raise UserError(f"{path}: no such {model.__name__.removesuffix('Spec').lower()} file")
    spec: Spec = parse_yaml(storage.read_bytes(path).decode("utf-8", errors="replace"), path, model)
    folder = path.rsplit("/", 1)[0] if storage.is_url(path) else os.path.dirname(os.path.abspath(path))
    return spec.model_copy(update={"folder": folder})


def identify(spec: SystemSpec, code_sha256: str | None) -> System:
    """The system's row: its id hashes settings, assets and code, so that a changed model is another system."""
    assets = spec.asset_digests()
    code = [KeyText("code", code_sha256)] if code_sha256 else []
    said = spec.model_dump(mode="json", exclude={"folder", "licence", "url", "timeout_s", "num_gpus", "extra"})
    identity = ids.digest([said, [[a.key, a.value] for a in assets + code], OUTPUT_VERSION])
    return System(
        system_id=f"{spec.name}-{identity[:8]}",
        name=spec.name,
        kind=spec.kind,
        sample_rate=spec.sample_rate,
        settings=[KeyText(key, ids.canonical(value).decode()) for key, value in sorted(spec.settings.items())],
        asset_sha256=assets + code,
        licence=spec.licence,
        url=spec.url,
    )
