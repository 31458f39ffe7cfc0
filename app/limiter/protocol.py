"""What a limiter decides and of what. All scopes of a request are granted together, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from app.config import Limits
from providers.core.valueclass import valueclass


class Unit(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    IMAGES = "images"
    MEGAPIXELS = "megapixels"
    CONCURRENT = "concurrent_images"
    USD = "usd"


UNITS: Final = {unit.value: unit for unit in Unit}
KINDS: Final = ("caller", "user", "model", "provider", "gateway")
PER_MINUTE: Final = (Unit.REQUESTS, Unit.IMAGES, Unit.MEGAPIXELS)


@dataclass(frozen=True, slots=True)
class Scope:
    """One bearer of limits: `kind` is caller, model, provider, user or gateway; a user is one of the caller `of`.

    `key` is a name that no other scope has; end users' names stay out of it, being people's and of any length.
    `in_force` is every unit that has a limit here, and the limit; dollars as micro-dollars.
    """

    kind: str
    name: str
    limits: Limits
    of: str = ""
    key: str = field(init=False, repr=False, compare=False)
    in_force: tuple[tuple[Unit, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = f"{self.kind}:{self.name}"
        if self.kind == "user":
            key = f"user:{hashlib.sha256(f'{len(self.of)}:{self.of}/{self.name}'.encode()).hexdigest()[:32]}"
        object.__setattr__(self, "key", key)
        in_force = tuple((UNITS[name], limit) for name, limit in self.limits.in_force)
        object.__setattr__(self, "in_force", in_force)

    def limit(self, unit: Unit) -> float | None:
        """The limit of a unit; None where there is none."""
        return dict(self.in_force).get(unit)


Check = tuple[Scope, Unit, float, float]


@valueclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What a request will use, under the internal request id that makes repeats free."""

    request_id: str
    scopes: tuple[Scope, ...]
    images: int
    megapixels: float
    micro_usd: int = 0

    @property
    def amounts(self) -> dict[Unit, float]:
        """How much of each unit."""
        return {
            Unit.REQUESTS: 1,
            Unit.IMAGES: self.images,
            Unit.MEGAPIXELS: self.megapixels,
            Unit.CONCURRENT: self.images,
            Unit.USD: self.micro_usd,
        }

    def checks(self) -> list[Check]:
        """Every limit in force: scope, unit, its limit, the amount asked."""
        amounts = self.amounts
        return [(scope, unit, limit, amounts[unit]) for scope in self.scopes for unit, limit in scope.in_force]


@valueclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a request really used. None: as much as was reserved, in the share of the images that were delivered."""

    images: int
    megapixels: float | None = None
    micro_usd: int | None = None


@valueclass(frozen=True, slots=True)
class Step:
    """One limit and one request: how much of it the request is to hold, and how much it holds."""

    scope: Scope
    unit: Unit
    limit: float
    amount: float
    held: float = 0.0


def taking(spend: Spend, held: Spend | None = None) -> list[Step]:
    """The steps from what a request holds (a failed way's limits) to what it will: only differences are taken."""
    before = (
        {(scope.key, unit): (scope, limit, amount) for scope, unit, limit, amount in held.checks()} if held else {}
    )
    found = [
        Step(scope, unit, limit, amount, before.pop((scope.key, unit), (scope, limit, 0.0))[2])
        for scope, unit, limit, amount in spend.checks()
    ]
    left = [Step(scope, unit, limit, 0.0, amount) for (_, unit), (scope, limit, amount) in before.items()]
    return [*found, *left]


def used_of(spend: Spend, used: Used) -> dict[Unit, float]:
    """What a request that is over has used of each unit: its lease ends, the request itself stays counted."""
    share = used.images / spend.images if spend.images else 1.0
    return {
        Unit.REQUESTS: 1.0,
        Unit.IMAGES: float(used.images),
        Unit.MEGAPIXELS: spend.megapixels * share if used.megapixels is None else used.megapixels,
        Unit.CONCURRENT: 0.0,
        Unit.USD: float(spend.micro_usd if used.micro_usd is None else used.micro_usd),
    }


def settling(spend: Spend, used: Used) -> list[Step]:
    """The steps from what a request holds to what it used."""
    final = used_of(spend, used)
    return [Step(scope, unit, limit, final[unit], held) for scope, unit, limit, held in spend.checks()]


class Standing(NamedTuple):
    """Where one limit stands: `reset` is seconds until it is full again."""

    unit: Unit
    limit: float
    remaining: float
    reset: float


@valueclass(frozen=True, slots=True, kw_only=True)
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


Spent = Callable[[Scope, float], Awaitable[int]]


async def nothing_spent(_: Scope, __: float) -> int:
    """Micro-dollars spent since a Unix time where there is no ledger to ask."""
    return 0


class LimiterLost(Exception):
    """A limiter's server did not answer; nothing is known of what it did."""


class Limiter(Protocol):
    """Decides before money is spent and is told after."""

    async def spend(self, spend: Spend) -> Decision:
        """Take what the request needs from every scope, or nothing from any.

        The same spend again is free. Another spend under an id that holds one takes its place: scopes of both are
        taken for the difference alone, the others are taken, or given back; refused, the first one stays.
        """

    async def settle(self, spend: Spend, used: Used) -> None:
        """The request is over: end its lease, give back what was not used, book the real cost. Once for each id."""

    async def ready(self) -> bool:
        """Whether requests can be decided now."""

    async def close(self) -> None:
        """Let go of connections."""
