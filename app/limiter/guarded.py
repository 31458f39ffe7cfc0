"""What happens when Redis is away: a share of the limits in this process, or a closed door. Never a hang."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from app.config import Limits
from app.errors import Overloaded
from app.limiter.embedded import EmbeddedLimiter
from app.limiter.protocol import Decision, Limiter, LimiterLost, Scope, Spend, Spent, Unit, Used, nothing_spent
from providers.kit.clock import Clock

PAUSE_SECONDS: Final = 1.0
OWED: Final = 10_000
REPAID_AT_ONCE: Final = 256
NOTHING: Final = Used(images=0, megapixels=0.0, micro_usd=0)

Report = Callable[[str, bool], None]


class Remote(Limiter, Protocol):
    """A limiter on a server that can go away: its methods raise LimiterLost, soon."""

    async def ping(self) -> None:
        """Come back when the server can decide."""

    async def forget(self, scopes: Sequence[Scope]) -> None:
        """Read the money of these scopes from the ledger again."""


class GuardedLimiter:
    """`inner` while it answers. When it does not, it is asked again every second, by nobody's request.

    While it is away `share` of every limit is granted here, of a budget the share of what the ledger says is left;
    None refuses everything instead. `report` hears each call that failed, and the recovery.
    """

    def __init__(
        self, inner: Remote, clock: Clock, report: Report, *, share: float | None, spent: Spent = nothing_spent
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._report = report
        self._share = share
        self._spent = spent
        self._fallback = EmbeddedLimiter(clock, self._used)
        self._lost = self._dropping = False
        self._returning: asyncio.Task[None] | None = None
        self._local: dict[str, Spend] = {}
        self._owed: dict[str, tuple[Spend, Used]] = {}
        self._unknown: dict[str, Scope] = {}

    async def spend(self, spend: Spend) -> Decision:
        if not any(scope.in_force for scope in spend.scopes):
            return Decision(allowed=True)
        if not self._lost and spend.request_id not in self._local:
            try:
                return await self._inner.spend(spend)
            except LimiterLost as error:
                self._note(str(error))
                self._owe(spend, NOTHING)  # inner may have granted, and was not heard
        if self._share is None:
            raise Overloaded("Limits cannot be checked now.", retry_after=PAUSE_SECONDS)
        mine = replace(spend, scopes=tuple(_shared(scope, self._share) for scope in spend.scopes))
        decision = await self._fallback.spend(mine)
        if decision.allowed:
            self._local[spend.request_id] = mine
            self._unknown |= {scope.key: scope for scope in spend.scopes}
        return decision

    async def settle(self, spend: Spend, used: Used) -> None:
        mine = self._local.pop(spend.request_id, None)
        if mine is not None:
            await self._fallback.settle(mine, used)
            if not self._lost:
                await self._tell(lambda: self._inner.forget(spend.scopes))
            return
        if self._lost or not await self._tell(lambda: self._inner.settle(spend, used)):
            self._owe(spend, used)

    async def ready(self) -> bool:
        """Always while a share can be granted here; else when `inner` answers."""
        return self._share is not None or (not self._lost and await self._inner.ready())

    async def close(self) -> None:
        if self._returning:
            self._returning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._returning
        await self._inner.close()

    def _owe(self, spend: Spend, used: Used) -> None:
        """What `inner` has to hear when it is back; beyond a bound, leases run out and the ledger knows the money."""
        if len(self._owed) < OWED or spend.request_id in self._owed:
            self._owed[spend.request_id] = (spend, used)
            return
        self._unknown |= {scope.key: scope for scope in spend.scopes}
        if not self._dropping:
            self._dropping = True
            self._report(f"more than {OWED} settlements owed", False)

    async def _tell(self, act: Callable[[], object]) -> bool:
        try:
            await act()  # type: ignore[misc] # the acts given are coroutines of Remote
        except LimiterLost as error:
            self._note(str(error))
            return False
        return True

    def _note(self, why: str) -> None:
        self._report(why, False)
        if not self._lost:
            self._lost = True
            self._fallback.forget_money()
            self._returning = asyncio.create_task(self._return())

    async def _return(self) -> None:
        """Ask until `inner` answers, tell it what it missed, and let it decide again."""
        while True:
            await self._clock.sleep(PAUSE_SECONDS)
            try:
                await self._inner.ping()
                await self._repay()
                self._lost = False
                await self._repay()  # what came between the two
            except LimiterLost:
                self._lost = True
            else:
                break
        self._dropping = False
        self._report("", True)

    async def _repay(self) -> None:
        owed = list(self._owed.items())
        for first in range(0, len(owed), REPAID_AT_ONCE):
            await asyncio.gather(*(self._repaid(*each) for each in owed[first : first + REPAID_AT_ONCE]))
        unknown, self._unknown = self._unknown, {}
        try:
            await self._inner.forget([*unknown.values()])
        except LimiterLost:
            self._unknown |= unknown
            raise

    async def _repaid(self, request_id: str, debt: tuple[Spend, Used]) -> None:
        await self._inner.settle(*debt)
        self._owed.pop(request_id, None)

    async def _used(self, scope: Scope, since: float) -> int:
        """What of a budget is not granted here: what the ledger says is spent, and the others' share of the rest."""
        limit, share = scope.limit(Unit.USD) or 0.0, self._share or 0.0
        return round(limit - share * max(0.0, limit - await self._spent(scope, since)))


def _shared(scope: Scope, share: float) -> Scope:
    """A scope with its share of every limit, but at least one of each; a budget's share is of what is left of it."""
    limits, area = scope.limits, scope.limits.megapixels_per_minute

    def part(limit: int | None) -> int | None:
        return None if limit is None else max(1, int(limit * share))

    return replace(
        scope,
        limits=Limits(
            requests_per_minute=part(limits.requests_per_minute),
            images_per_minute=part(limits.images_per_minute),
            megapixels_per_minute=None if area is None else area * share,
            concurrent_images=part(limits.concurrent_images),
            usd_per_day=limits.usd_per_day,
        ),
    )
