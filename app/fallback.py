"""Fallback: another model, when the one that was asked for cannot serve and cannot have been billed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from app.auth import Caller
from app.registry import Registry, Route
from providers.core.errors import (
    InvalidRequest,
    ModelNotFound,
    PermissionDenied,
    UpstreamAuth,
    UpstreamRateLimited,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from providers.core.plan import Adjustment, Kind, Plan
from providers.core.types import ImageRequest

# Never after a refusal or a bad request, and never after what may have been billed.
FALLS_BACK: Final = (UpstreamUnreachable, UpstreamRateLimited, UpstreamUnavailable, UpstreamAuth)

Way = tuple[Route, Plan]


class Fallbacks:
    """The chains of the config file."""

    def __init__(self, registry: Registry, chains: Mapping[str, tuple[str, ...]]) -> None:
        self._registry = registry
        self._chains = chains

    def ways(self, request: ImageRequest, caller: Caller, first: Way, *, allowed: bool) -> tuple[Way, ...]:
        """The first way and those fallbacks that can do the request as sent; the others are passed over."""
        found = [first]
        for target in self._chains.get(first[0].spec.id, ()) if allowed else ():
            way = self._way(replace(request, model=target), caller, first[0])
            if way is not None:
                found.append(way)
        return tuple(found)

    def _way(self, request: ImageRequest, caller: Caller, first: Route) -> Way | None:
        try:
            route = self._registry.resolve(request, caller)
            noted = Adjustment(param="model", kind=Kind.MAPPED, asked=first.asked or None, used=route.spec.id)
            route = replace(route, asked=first.asked, noted=(noted,))
            return route, self._registry.plan(request, route)
        except (InvalidRequest, ModelNotFound, PermissionDenied):
            return None
