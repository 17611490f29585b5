"""Arithmetic without subnormal numbers, for libraries that run into them.

A recursive filter that is fed silence decays into the subnormal range of float32, where many processors take a hundred
times longer for a number than elsewhere. Where numbers so small (below 1.2e-38) mean nothing, the processor may take
them for zero.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba.core import types
from numba.extending import intrinsic

from manifests.compiled import kernel

__all__ = ["as_zero"]

_FLUSH = 0x8040
"""Of the control register MXCSR: results that are subnormal become zero (bit 15), operands that are count as zero (bit
6). Intel, "Software developer's manual", volume 1, 10.2.3."""


@contextlib.contextmanager
def as_zero() -> Iterator[None]:
    """Within it this thread takes subnormal numbers for zero, where the processor is an x86-64; elsewhere nothing
    changes.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        yield
        return
    before = _control()
    _set_control(before | _FLUSH)
    try:
        yield
    finally:
        _set_control(before)


def _register(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.alloca(ir.IntType(32))
        _call(builder, "stmxcsr", place)
        return builder.zext(builder.load(place), ir.IntType(64))

    return types.int64(), generate


def _set_register(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.alloca(ir.IntType(32))
        builder.store(builder.trunc(args[0], ir.IntType(32)), place)
        _call(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _call(builder: Any, name: str, place: Any) -> None:
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    function = ir.Function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, pointer)])


_read: Any = intrinsic(_register)
_write: Any = intrinsic(_set_register)


@kernel()
def _control() -> int:
    return _read()  # type: ignore[no-any-return]


@kernel()
def _set_control(value: int) -> None:
    _write(value)
