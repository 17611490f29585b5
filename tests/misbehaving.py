"""Systems that break every rule of the `python` contract, one per factory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]
Enhance = Callable[[Signal, int], Any]


def halve() -> Enhance:
    return lambda x, rate: x * np.float32(0.5)


def counted(log: str) -> Enhance:
    """Leaves a mark each time it is loaded."""
    Path(log, f"{os.getpid()}-{len(os.listdir(log))}").touch()
    return lambda x, rate: x


def inputs(folder: str) -> Enhance:
    """Writes down what it is given."""

    def enhance(x: Signal, rate: int) -> Signal:
        Path(folder, f"{rate}_{x.ndim}_{x.shape[0]}_{x.dtype}").touch()
        return x

    return enhance


def flat() -> Enhance:
    return lambda x, rate: x[0]


def two_outputs() -> Enhance:
    return lambda x, rate: {"speech": x * np.float32(0.9), "noise": x * np.float32(0.1)}


def a_bit_long() -> Enhance:
    return lambda x, rate: np.pad(x, ((0, 0), (0, rate // 100)))


def too_short() -> Enhance:
    return lambda x, rate: x[:, : x.shape[1] // 2]


def wrong_rate() -> Enhance:
    return lambda x, rate: (x[:, ::2], rate // 2)


def wrong_shape() -> Enhance:
    return lambda x, rate: np.stack([x[0], x[0], x[0]])


def empty() -> Enhance:
    return lambda x, rate: x[:, :0]


def not_a_number() -> Enhance:
    return lambda x, rate: x * np.float32("nan")


def nothing() -> Enhance:
    return lambda x, rate: None


def raises() -> Enhance:
    def enhance(x: Signal, rate: int) -> Signal:
        raise RuntimeError("out of luck")

    return enhance


def loud() -> Enhance:
    return lambda x, rate: x * np.float32(100)


def random() -> Enhance:
    """Uses the global generator, as many models do."""
    return lambda x, rate: x + np.random.standard_normal(x.shape).astype(np.float32) * np.float32(0.01)  # noqa: NPY002


def dies_on_loud(threshold: float) -> Enhance:
    def enhance(x: Signal, rate: int) -> Signal:
        if np.abs(x).max() > threshold:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    return enhance


def cannot_load() -> Enhance:
    raise FileNotFoundError("weights.pt")


def asset(path: str) -> Enhance:
    gain = np.float32(Path(path).read_text())
    return lambda x, rate: x * gain


def says_hello() -> Callable[[Signal, int], str]:
    """A recogniser as a system."""
    return lambda x, rate: "hello"


def hello_recogniser() -> Callable[..., str]:
    """A recogniser for scoring: hears hello once per second of sound above a level."""
    return lambda *, signal, sample_rate: " ".join(["hello"] * max(1, int(np.abs(signal).max() * 10)))


def deadly_metric(folder: str, deaths: int = 2) -> Callable[..., float]:
    """A metric that kills its process until so many have died of it."""

    def metric(*, reference: Signal, estimate: Signal, sample_rate: int) -> float:
        if len(list(Path(folder).glob("died-*"))) < deaths:
            Path(folder, f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.5

    return metric


def peak_metric() -> Callable[..., float]:
    """A metric that looks at the estimate alone."""
    return lambda *, estimate, sample_rate: float(np.abs(estimate).max())
