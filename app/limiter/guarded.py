"""What happens when Redis is away: a share of the limits in this process, or a closed door. Never a hang."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from app.config import Limits
from app.errors import Overloaded
from app.limiter.embedded import EmbeddedLimiter
from app.limiter.protocol import Decision, Limiter, LimiterLost, Scope, Spend
from providers.kit.clock import Clock

PAUSE_SECONDS: Final = 1.0

Report = Callable[[str, bool], None]


class GuardedLimiter:
    """`inner` while it answers; asked again after a second when not. `report` hears each failure and the recovery."""

    def __init__(self, inner: Limiter, clock: Clock, report: Report, *, share: float | None) -> None:
        """`share` of every limit is granted here while `inner` is away; None refuses everything instead."""
        self._inner = inner
        self._clock = clock
        self._report = report
        self._share = share
        self._fallback = EmbeddedLimiter(clock)
        self._lost_until = 0.0
        self._lost = False
        self._local: dict[str, Spend] = {}

    async def spend(self, spend: Spend) -> Decision:
        if not self._lost or self._clock.now() >= self._lost_until:
            try:
                decision = await self._inner.spend(spend)
            except LimiterLost as error:
                self._note(str(error))
            else:
                self._recovered()
                return decision
        if self._share is None:
            raise Overloaded("Limits cannot be checked now.", retry_after=PAUSE_SECONDS)
        mine = replace(spend, scopes=tuple(_shared(scope, self._share) for scope in spend.scopes))
        decision = await self._fallback.spend(mine)
        if decision.allowed:
            self._local[spend.request_id] = mine
        return decision

    async def settle(self, spend: Spend, *, delivered: int, micro_usd: int | None) -> None:
        mine = self._local.pop(spend.request_id, None)
        if mine is not None:
            await self._fallback.settle(mine, delivered=delivered, micro_usd=micro_usd)
            return
        try:
            await self._inner.settle(spend, delivered=delivered, micro_usd=micro_usd)
        except LimiterLost as error:
            self._note(str(error))  # leases run out by themselves, and the ledger knows the money

    async def close(self) -> None:
        await self._inner.close()

    def _note(self, why: str) -> None:
        self._lost_until = self._clock.now() + PAUSE_SECONDS
        self._lost = True
        self._report(why, False)

    def _recovered(self) -> None:
        if self._lost:
            self._lost = False
            self._report("", True)


def _shared(scope: Scope, share: float) -> Scope:
    """A scope with its share of every limit, but at least one of each."""
    limits = scope.limits

    def part(limit: int | None) -> int | None:
        return None if limit is None else max(1, int(limit * share))

    def exactly(limit: float | None) -> float | None:
        return None if limit is None else limit * share

    return replace(
        scope,
        limits=Limits(
            requests_per_minute=part(limits.requests_per_minute),
            images_per_minute=part(limits.images_per_minute),
            megapixels_per_minute=exactly(limits.megapixels_per_minute),
            concurrent_images=part(limits.concurrent_images),
            usd_per_day=exactly(limits.usd_per_day),
        ),
    )
