"""The limiter in this process: exact for one gateway, and the reference for the one on Redis."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from app.limiter.protocol import PER_MINUTE, Decision, Scope, Spend, Spent, Standing, Unit, nothing_spent
from providers.kit.clock import Clock

MINUTE = 60.0


class EmbeddedLimiter:
    """GCRA per minute unit, a count of images in flight, and micro-dollars per UTC day.

    A GCRA bucket of N is one number, the theoretical arrival time: an amount a moves it by a * 60 / N seconds, and
    it may lie at most a minute ahead of now.
    """

    def __init__(self, clock: Clock, spent: Spent = nothing_spent) -> None:
        self._clock = clock
        self._ledger = spent
        self._arrival: dict[tuple[str, Unit], float] = {}
        self._flying: defaultdict[str, int] = defaultdict(int)
        self._spent: dict[tuple[str, str], int] = {}
        self._granted: dict[str, Spend] = {}

    async def spend(self, spend: Spend) -> Decision:
        if spend.request_id in self._granted:
            return Decision(allowed=True, standings=self._standings(spend))
        for scope, unit, _, _ in spend.checks():
            key = (scope.key, self._day())
            if unit is Unit.USD and key not in self._spent:
                self._spent[key] = await self._ledger(scope)
        waits = [
            (wait, scope, unit)
            for scope, unit, limit, amount in spend.checks()
            if (wait := self._wait(scope, unit, limit, amount)) > 0
        ]
        if waits:
            wait, scope, unit = max(waits, key=lambda found: found[0])
            return Decision(
                allowed=False,
                standings=self._standings(spend),
                refused_scope=scope,
                refused_unit=unit,
                retry_after=wait,
            )
        self._take(spend)
        return Decision(allowed=True, standings=self._standings(spend))

    async def settle(self, spend: Spend, *, delivered: int, micro_usd: int | None) -> None:
        if self._granted.pop(spend.request_id, None) is None:
            return
        missing = spend.images - delivered
        share = missing / spend.images if spend.images else 0.0
        for scope, unit, limit, amount in spend.checks():
            if unit is Unit.CONCURRENT:
                self._flying[scope.key] -= spend.images
            elif unit in {Unit.IMAGES, Unit.MEGAPIXELS} and missing > 0:
                self._arrival[scope.key, unit] -= amount * share * MINUTE / limit
            elif unit is Unit.USD:
                real = spend.micro_usd if micro_usd is None else micro_usd
                key = (scope.key, self._day())
                self._spent[key] = self._spent.get(key, 0) + real - spend.micro_usd

    async def close(self) -> None:
        self._granted.clear()

    def _wait(self, scope: Scope, unit: Unit, limit: float, amount: float) -> float:
        """Seconds until the amount fits; 0 when it fits now."""
        if unit is Unit.CONCURRENT:
            return 1.0 if self._flying[scope.key] + amount > limit else 0.0
        if unit is Unit.USD:
            over = self._spent[scope.key, self._day()] + amount > limit
            return self._until_midnight() if over else 0.0
        arrival = max(self._arrival.get((scope.key, unit), 0.0), self._clock.now())
        return max(0.0, arrival + amount * MINUTE / limit - MINUTE - self._clock.now())

    def _take(self, spend: Spend) -> None:
        now = self._clock.now()
        for scope, unit, limit, amount in spend.checks():
            if unit in PER_MINUTE:
                arrival = max(self._arrival.get((scope.key, unit), 0.0), now)
                self._arrival[scope.key, unit] = arrival + amount * MINUTE / limit
            elif unit is Unit.CONCURRENT:
                self._flying[scope.key] += spend.images
            else:
                self._spent[scope.key, self._day()] += spend.micro_usd
        self._granted[spend.request_id] = spend

    def _standings(self, spend: Spend) -> tuple[Standing, ...]:
        now = self._clock.now()
        found = []
        for scope, unit, limit, _ in spend.checks():
            if unit in PER_MINUTE:
                ahead = max(0.0, self._arrival.get((scope.key, unit), 0.0) - now)
                found.append(Standing(unit, limit, max(0.0, limit * (1 - ahead / MINUTE)), ahead))
        return tuple(found)

    def _day(self) -> str:
        return datetime.fromtimestamp(self._clock.time(), UTC).date().isoformat()

    def _until_midnight(self) -> float:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds()
