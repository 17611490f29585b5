"""A metric of the user's, or a recogniser for word errors, as its YAML file describes it.

    name: utmos
    module: my_metrics:load              # a factory: called once per worker with `settings`, returns a callable
    needs: estimate                      # or reference (and estimate), mixture (and both)
    sample_rate: 16000                   # signals are resampled to it. Absent: the reference's rate
    better: higher
    low: 1                               # bounds of the values; a failed estimate gets the worse one
    high: 5
    unit: MOS
    assets: [weights.pt]                 # files whose content is part of the metric's identity, relative to this file

The callable gets what `needs` names by keyword (`reference`, `estimate`, `mixture`: one-dimensional float64) and
`sample_rate`, and returns a number. That of a recogniser (`kind: recogniser`, without the keys from `needs` to `unit`)
gets `signal` and `sample_rate` and returns text.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import model_validator

from manifests import ids
from manifests.system import ModuleSpec, load_spec, needs_module

__all__ = ["MetricSpec", "identify", "load_metric"]


class MetricSpec(ModuleSpec):
    """What is computed, in which range, and under which name its scores appear."""

    kind: Literal["metric", "recogniser"] = "metric"
    title: str | None = None
    needs: Literal["reference", "estimate", "mixture"] = "reference"
    better: Literal["higher", "lower"] = "higher"
    low: float | None = None
    high: float | None = None
    unit: str = ""
    paper: str | None = None

    @property
    def what(self) -> str:
        return self.kind

    @model_validator(mode="after")
    def _complete(self) -> MetricSpec:
        needs_module(self.module, self.kind)
        if self.kind == "metric":
            low, high = self.low, self.high
            if low is None or high is None or not math.isfinite(high - low) or low >= high:
                raise ValueError(f"a metric needs finite bounds, low below high, got low {low}, high {high}")
        return self


def load_metric(path: str) -> MetricSpec:
    """A metric by the path of its YAML file."""
    return load_spec(path, MetricSpec)


def identify(spec: MetricSpec, code_sha256: str | None) -> str:
    """A short digest of settings, assets and code: a changed metric is another version."""
    said = spec.model_dump(mode="json", exclude={"folder", "licence", "url", "extra", "title", "paper"})
    return ids.digest([said, [[a.key, a.value] for a in spec.asset_digests()], code_sha256])[:8]
