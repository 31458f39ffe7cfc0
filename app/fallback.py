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
    PinholeError,
    UpstreamAuth,
    UpstreamRateLimited,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from providers.core.plan import Adjustment, Kind, Plan
from providers.core.types import ImageRequest, Policy
from providers.core.validate import validate
from providers.core.valueclass import valueclass

# Never after a refusal or a bad request, and never after what may have been billed.
FALLS_BACK: Final = (UpstreamUnreachable, UpstreamRateLimited, UpstreamUnavailable, UpstreamAuth)

Way = tuple[Route, Plan]


@valueclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The ways of a request in their order, and the targets that it cannot go to with the parameters in the way."""

    ways: tuple[Way, ...]
    passed: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Left:
    """The ways that are left of a chain, and why others are not gone."""

    def __init__(self, chain: Chain) -> None:
        self._ways = list(chain.ways[1:])
        self._chain = chain
        self._turned_down: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._ways)

    def next(self) -> Way:
        """The one whose turn it is."""
        return self._ways.pop(0)

    def pass_over(self, way: Way, why: str, error: PinholeError) -> None:
        """Keep for the caller why a model that had its turn is not asked."""
        self._turned_down.append(f"'{way[0].spec.id}' {why} ({error.message.rstrip('.')})")

    @property
    def obstacles(self) -> str:
        """For the caller of a request that no target could take; empty when none was passed over."""
        told = [f"'{model}' cannot do {', '.join(params)} as asked" for model, params in self._chain.passed]
        told += self._turned_down
        return f" Fallbacks passed over: {'; '.join(told)}." if told else ""


class Fallbacks:
    """The chains of the config file."""

    def __init__(self, registry: Registry, chains: Mapping[str, tuple[str, ...]]) -> None:
        self._registry = registry
        self._chains = chains

    def ways(self, request: ImageRequest, caller: Caller, first: Way, *, allowed: bool) -> Chain:
        """The first way and those fallbacks that can do the request as sent; of the others, why not."""
        targets = self._chains.get(first[0].spec.id, ()) if allowed else ()
        if not targets:
            return Chain(ways=(first,))
        found, passed = [first], []
        already = wanting(request, first[0])
        for target in targets:
            try:
                route = self._registry.resolve(replace(request, model=target), caller)
            except (ModelNotFound, PermissionDenied):  # not to be had, whatever was asked
                continue
            lacking = tuple(param for param in wanting(request, route) if param not in already)
            if lacking:
                passed.append((route.spec.id, lacking))
                continue
            noted = (_noted(first[0], route), *(_passed_over(*each) for each in passed))
            route = replace(route, asked=first[0].asked, noted=noted)
            try:
                found.append((route, self._registry.plan(replace(request, model=target), route)))
            except InvalidRequest as error:  # what is mended for the first model cannot be for this one
                passed.append((route.spec.id, tuple(violation.param for violation in error.violations)))
        return Chain(ways=tuple(found), passed=tuple(passed))


def wanting(request: ImageRequest, route: Route) -> tuple[str, ...]:
    """The parameters that a model cannot honour, whatever the policy would make of them."""
    strict = request if request.policy is Policy.STRICT else replace(request, policy=Policy.STRICT)
    return tuple(dict.fromkeys(violation.param for violation in validate(strict, route.spec)))


def _noted(first: Route, route: Route) -> Adjustment:
    return Adjustment(param="model", kind=Kind.MAPPED, asked=first.asked or None, used=route.spec.id)


def _passed_over(model: str, params: tuple[str, ...]) -> Adjustment:
    return Adjustment(param="fallback", kind=Kind.DROPPED, asked=model, used=params[0])
