"""eval.subnormal: subnormal numbers are zero within it, and only there."""

import platform

import numpy as np
import pytest

from eval import subnormal

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the control register is that of x86-64")
SMALL = np.full(64, 1e-38, np.float32)  # subnormal


def halves() -> int:
    """How many are left of the halves of 64 of the smallest normal numbers, which are subnormal."""
    return int(np.count_nonzero(np.full(64, np.finfo(np.float32).tiny) * np.float32(0.5)))


@x86
def test_results_and_operands_are_zero_within() -> None:
    assert halves() == 64
    with subnormal.as_zero():
        assert halves() == 0
        assert np.count_nonzero(SMALL * np.float32(1e30)) == 0
    assert halves() == 64
    assert np.count_nonzero(SMALL * np.float32(1e30)) == 64


@x86
def test_an_error_within_ends_it() -> None:
    with pytest.raises(ZeroDivisionError), subnormal.as_zero():
        raise ZeroDivisionError
    assert halves() == 64


@x86
def test_one_within_another_ends_with_the_outer() -> None:
    with subnormal.as_zero():
        with subnormal.as_zero():
            assert halves() == 0
        assert halves() == 0
    assert halves() == 64


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with subnormal.as_zero():
        assert halves() == 64
