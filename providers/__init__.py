"""How each vendor speaks. Every module here but `core` and `kit` is one vendor."""

from __future__ import annotations

import importlib
import pkgutil

from providers.core.provider import Provider

SHARED = frozenset({"core", "kit"})


def discover() -> tuple[Provider, ...]:
    """Every vendor of this package, by name. A vendor is a module with a `PROVIDER`."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in SHARED)
    found = [importlib.import_module(f"{__name__}.{name}").PROVIDER for name in names]
    for provider in found:
        if not isinstance(provider, Provider):
            raise TypeError(f"{provider!r} is not a Provider")
    return tuple(found)
