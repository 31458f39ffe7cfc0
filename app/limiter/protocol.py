"""What a limiter decides and of what. All scopes of a request are granted together, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from app.config import Limits


class Unit(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    IMAGES = "images"
    MEGAPIXELS = "megapixels"
    CONCURRENT = "concurrent_images"
    USD = "usd"


PER_MINUTE: Final = (Unit.REQUESTS, Unit.IMAGES, Unit.MEGAPIXELS)


@dataclass(frozen=True, slots=True)
class Scope:
    """One bearer of limits: `kind` is caller, model, provider, user or gateway."""

    kind: str
    name: str
    limits: Limits

    @property
    def key(self) -> str:
        """A name that no other scope has."""
        return f"{self.kind}:{self.name}"

    def limit(self, unit: Unit) -> float | None:
        """The limit of a unit; None where there is none. Dollars come as micro-dollars."""
        found = {
            Unit.REQUESTS: self.limits.requests_per_minute,
            Unit.IMAGES: self.limits.images_per_minute,
            Unit.MEGAPIXELS: self.limits.megapixels_per_minute,
            Unit.CONCURRENT: self.limits.concurrent_images,
            Unit.USD: None if self.limits.usd_per_day is None else self.limits.usd_per_day * 1_000_000,
        }
        return found[unit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What a request will use, under the internal request id that makes repeats free."""

    request_id: str
    scopes: tuple[Scope, ...]
    images: int
    megapixels: float
    micro_usd: int = 0

    def amount(self, unit: Unit) -> float:
        """How much of a unit is asked."""
        return {
            Unit.REQUESTS: 1,
            Unit.IMAGES: self.images,
            Unit.MEGAPIXELS: self.megapixels,
            Unit.CONCURRENT: self.images,
            Unit.USD: self.micro_usd,
        }[unit]

    def checks(self) -> Iterator[tuple[Scope, Unit, float, float]]:
        """Every limit in force: scope, unit, its limit, the amount asked."""
        for scope in self.scopes:
            for unit in Unit:
                limit = scope.limit(unit)
                if limit is not None:
                    yield scope, unit, limit, self.amount(unit)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one limit stands: `reset` is seconds until it is full again."""

    unit: Unit
    limit: float
    remaining: float
    reset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Granted or refused. A refusal names the scope and the unit, and when to come again (seconds)."""

    allowed: bool
    standings: tuple[Standing, ...] = ()
    refused_scope: Scope | None = None
    refused_unit: Unit | None = None
    retry_after: float = 0.0

    def tightest(self, unit: Unit) -> Standing | None:
        """Of all limits on a unit, the one with the least left."""
        return min((s for s in self.standings if s.unit is unit), key=lambda s: s.remaining, default=None)


Spent = Callable[[Scope], Awaitable[int]]


async def nothing_spent(_: Scope) -> int:
    """Micro-dollars spent today where there is no ledger to ask."""
    return 0


class LimiterLost(Exception):
    """A limiter's server did not answer; nothing is known of what it did."""


class Limiter(Protocol):
    """Decides before money is spent and is told after."""

    async def spend(self, spend: Spend) -> Decision:
        """Take what the request needs from every scope, or nothing from any."""

    async def settle(self, spend: Spend, *, delivered: int, micro_usd: int | None) -> None:
        """The call is over: end its lease, give back what was not delivered, book the real cost."""

    async def close(self) -> None:
        """Let go of connections."""
