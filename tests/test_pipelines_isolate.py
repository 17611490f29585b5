"""Calls in a throw-away process."""

from __future__ import annotations

import math
import os
import signal
import time

import pytest

from manifests.errors import Refused
from pipelines import isolate
from tests import isolated_functions


def test_the_answer_comes_back() -> None:
    assert isolate.call(math.hypot, 3.0, 4.0) == 5.0


def test_it_runs_in_another_process_and_prints_disturb_nothing() -> None:
    assert isolate.call(isolated_functions.noisy_pid, "text on standard output") != os.getpid()


def test_what_it_raises_is_raised_here_with_its_fields() -> None:
    with pytest.raises(Refused, match=r"^not this one$") as caught:
        isolate.call(isolated_functions.refuse, "not this one")
    assert caught.value.reason == "odd"


def test_a_death_by_signal_names_it() -> None:
    with pytest.raises(isolate.Crashed, match="SIGSEGV"):
        isolate.call(isolated_functions.die, signal.SIGSEGV)


def test_an_exit_is_a_crash_too() -> None:
    with pytest.raises(isolate.Crashed, match="exit code 3"):
        isolate.call(isolated_functions.leave, 3)


def test_time_is_limited() -> None:
    began = time.monotonic()
    with pytest.raises(isolate.TimedOut, match="sleep took longer than 1 s"):
        isolate.call(time.sleep, 30, timeout_s=1.0)
    assert time.monotonic() - began < 10
