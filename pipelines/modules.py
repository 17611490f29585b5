"""Code of the user's: systems, metrics and recognisers that a YAML file names as `module:factory`."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from typing import Any

from manifests import ids
from manifests.errors import UserError
from manifests.system import ModuleSpec

__all__ = ["check", "load"]


def load(spec: ModuleSpec) -> Callable[..., Any]:
    """What the factory makes of the settings. UserError where it raises."""
    factory = _factory(spec)
    try:
        made: Callable[..., Any] = factory(**spec.resolved_settings())
    except Exception as error:  # noqa: BLE001 - a user's code may raise anything
        raise UserError(
            f"{spec.what} '{spec.name}': {spec.module} failed to load: {type(error).__name__}: {error}"
        ) from None
    return made


def check(spec: ModuleSpec) -> str | None:
    """Find the code before any worker starts. Returns the hash of its module's source, part of its identity."""
    factory = _factory(spec)
    if spec.extra:
        _check_extra(spec, factory)
    origin = sys.modules[str(spec.module).split(":")[0]].__file__
    if origin is None:
        return None
    with open(origin, "rb") as handle:
        return hashlib.sha256(handle.read()).hexdigest()


def _factory(spec: ModuleSpec) -> Callable[..., Callable[[Any, int], Any]]:
    module_name, name = str(spec.module).split(":")
    try:
        if spec.folder and spec.folder not in sys.path:
            sys.path.insert(0, spec.folder)  # for good: the module may import its neighbours later
        module = importlib.import_module(module_name)
    except ImportError as error:
        hint = f". Install the extra: pip install 'hubbub[{spec.extra}]'" if spec.extra else ""
        raise UserError(f"{spec.what} '{spec.name}': module '{module_name}' does not import: {error}{hint}") from None
    except Exception as error:  # noqa: BLE001 - a user's code may raise anything
        raise UserError(
            f"{spec.what} '{spec.name}': importing '{module_name}' raised {type(error).__name__}: {error}"
        ) from None
    factory: Any = getattr(module, name, None)
    if not callable(factory):
        known = [n for n in dir(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise UserError(
            f"{spec.what} '{spec.name}': module '{module_name}' has no callable '{name}'{ids.nearest(name, known)}"
        )
    return factory  # type: ignore[no-any-return]


def _check_extra(spec: ModuleSpec, factory: Callable[..., Any]) -> None:
    """A shipped system imports its package when it is built: try that here, where the message is one line."""
    try:
        factory(**spec.settings)
    except ImportError as error:
        raise UserError(
            f"{spec.what} '{spec.name}' needs a package that is not installed ({error}): "
            f"pip install 'hubbub[{spec.extra}]'"
        ) from None
