"""The limiter in this process: exact for one gateway, and the reference for the one on Redis."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from app.limiter.protocol import (
    PER_MINUTE,
    Decision,
    Scope,
    Spend,
    Spent,
    Standing,
    Step,
    Unit,
    Used,
    nothing_spent,
    settling,
    taking,
)
from providers.kit.clock import Clock

MINUTE: Final = 60.0
DAY: Final = 86_400
# A bucket is full to the millisecond: sums of fractions must not refuse the last of N.
GRAIN: Final = 0.001
BUCKETS: Final = 100_000

Bucket = tuple[str, Unit]


class EmbeddedLimiter:
    """GCRA per minute unit, a count of images in flight, and micro-dollars per UTC day.

    A GCRA bucket of N is one number, the theoretical arrival time: an amount a moves it by a * 60 / N seconds, and
    it may lie at most a minute ahead of now.
    """

    def __init__(self, clock: Clock, spent: Spent = nothing_spent) -> None:
        self._clock = clock
        self._ledger = spent
        self._arrival: dict[Bucket, float] = {}
        self._flying: defaultdict[str, int] = defaultdict(int)
        self._spent: dict[tuple[str, int], int] = {}
        self._granted: dict[str, tuple[Spend, int]] = {}

    async def spend(self, spend: Spend) -> Decision:
        held, day = self._granted.get(spend.request_id, (None, self._day()))
        if held == spend:
            return Decision(allowed=True, standings=self._standings(spend))
        await self._read(spend, day)
        # From here to the end nothing waits, so that no other request comes between the question and the taking.
        steps = taking(spend, held)
        waits = [(wait, step) for step in steps if (wait := self._wait(step, day)) > 0]
        if waits:
            wait, step = max(waits, key=lambda found: found[0])
            return Decision(
                allowed=False,
                standings=self._standings(spend),
                refused_scope=step.scope,
                refused_unit=step.unit,
                retry_after=wait,
            )
        self._move(steps, day)
        self._granted[spend.request_id] = (spend, day)
        return Decision(allowed=True, standings=self._standings(spend))

    async def settle(self, spend: Spend, used: Used) -> None:
        held, day = self._granted.pop(spend.request_id, (None, 0))
        if held is not None:
            self._move(settling(held, used), day)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        self._granted.clear()

    def forget_money(self) -> None:
        """Read what was spent from the ledger again."""
        self._spent.clear()

    async def _read(self, spend: Spend, day: int) -> None:
        """The day's sums that are not known here, from the ledger."""
        for scope, unit, _, _ in spend.checks():
            if unit is Unit.USD and (scope.key, day) not in self._spent:
                found = await self._ledger(scope, day * DAY)
                self._spent.setdefault((scope.key, day), found)  # another request may have read it meanwhile
        for key in [key for key in self._spent if key[1] < day - 1]:
            del self._spent[key]

    def _wait(self, step: Step, day: int) -> float:
        """Seconds until the step fits; 0 when it fits now."""
        more = step.amount - step.held
        if more <= 0:
            return 0.0
        if step.unit is Unit.CONCURRENT:
            return 1.0 if self._flying[step.scope.key] + more > step.limit else 0.0
        if step.unit is Unit.USD:
            over = self._spent[step.scope.key, day] + more > step.limit
            return max(1.0, (day + 1) * DAY - self._clock.time()) if over else 0.0  # a fallback's day may be over
        wait = self._ahead(step.scope, step.unit) + more * MINUTE / step.limit - MINUTE
        return wait if wait > GRAIN else 0.0

    def _move(self, steps: list[Step], day: int) -> None:
        now = self._clock.now()
        for step in steps:
            key, more = step.scope.key, step.amount - step.held
            if step.unit in PER_MINUTE:
                ahead = self._ahead(step.scope, step.unit) + more * MINUTE / step.limit
                self._arrival[key, step.unit] = now + max(0.0, ahead)
            elif step.unit is Unit.CONCURRENT:
                self._flying[key] += round(more)
                if not self._flying[key]:
                    del self._flying[key]
            elif (key, day) in self._spent:
                self._spent[key, day] += round(more)
        if len(self._arrival) > BUCKETS:
            self._arrival = {bucket: at for bucket, at in self._arrival.items() if at > now}

    def _ahead(self, scope: Scope, unit: Unit) -> float:
        """Seconds that the bucket lies ahead; a clock that went back locks nobody out for longer than a minute."""
        now, bucket = self._clock.now(), (scope.key, unit)
        if self._arrival.get(bucket, now) > now + MINUTE:
            self._arrival[bucket] = now + MINUTE
        return max(0.0, self._arrival.get(bucket, now) - now)

    def _standings(self, spend: Spend) -> tuple[Standing, ...]:
        found = []
        for scope, unit, limit, _ in spend.checks():
            if unit in PER_MINUTE:
                ahead = self._ahead(scope, unit)
                found.append(Standing(unit, limit, max(0.0, limit * (1 - ahead / MINUTE)), ahead))
        return tuple(found)

    def _day(self) -> int:
        """The UTC day, counted from 1970."""
        return int(self._clock.time() // DAY)
