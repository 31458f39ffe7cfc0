"""The limiter on Redis (7 or newer): exact over any number of gateways, one script call a decision."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.limiter.connect import CONNECTIONS, connect, disconnect
from app.limiter.protocol import (
    PER_MINUTE,
    Decision,
    LimiterLost,
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

__all__ = ["RedisLimiter", "connect"]

SCRIPT: Final = Path(__file__).with_name("limiter.lua").read_text()
# One hash tag: every key of a decision lives on one node, so Cluster and Sentinel are for availability, not scale.
TAG: Final = "{pinhole}"
LEASE_SECONDS: Final = 30
RENEW_SECONDS: Final = 10.0
MARK_SECONDS: Final = 3600
# The longest that one command may take with repeats and connecting, and the longest wait for a free connection.
BOUND_SECONDS: Final = 1.0
QUEUE_SECONDS: Final = 4.0
REPEATS: Final = 3
MICRO: Final = 1_000_000
DAY: Final = 86_400
LOST: Final = (RedisError, OSError, TimeoutError)


def server_clock() -> str:
    """Let the script ask its server for the time."""
    return ""


class RedisLimiter:
    """Decides by script. Raises LimiterLost from every method when Redis is away: within a second, five in a crowd.

    `now` is the script's clock in microseconds as text; empty, the server's.
    """

    def __init__(self, client: Redis, spent: Spent = nothing_spent, now: Callable[[], str] = server_clock) -> None:
        self._client = client
        self._spent = spent
        self._now = now
        self._script = client.register_script(SCRIPT)
        self._failed = 0.0
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._granted: dict[str, tuple[Spend, int]] = {}
        self._renewer: asyncio.Task[None] | None = None

    async def spend(self, spend: Spend) -> Decision:
        held, number = self._granted.get(spend.request_id, (None, 1))
        number += held is not None and held != spend
        steps = taking(spend, None if held == spend else held)
        seeds, day = [-1] * len(steps), ""
        while True:
            reply = await self._run("spend", (spend.request_id, number, day), steps, seeds)
            if reply[0] != -1:
                break
            day = reply[2]
            seeds[int(reply[1]) - 1] = await self._spent(steps[int(reply[1]) - 1].scope, int(day) * DAY)
        standings = _standings(steps, reply[3:])
        if reply[0] == 1:
            self._granted[spend.request_id] = (spend, number)
            self._renewer = self._renewer or asyncio.create_task(self._renew())
            return Decision(allowed=True, standings=standings)
        refused = steps[int(reply[1]) - 1]
        return Decision(
            allowed=False,
            standings=standings,
            refused_scope=refused.scope,
            refused_unit=refused.unit,
            retry_after=int(reply[2]) / MICRO,
        )

    async def settle(self, spend: Spend, used: Used) -> None:
        held, number = self._granted.pop(spend.request_id, (spend, 0))
        known = await self._run("settle", (spend.request_id, number, ""), settling(held, used))
        if not known and number:
            await self.forget(held.scopes)  # Redis lost its data since: the ledger knows the money of the day

    async def forget(self, scopes: Sequence[Scope]) -> None:
        """Read the money of these scopes from the ledger again, at the next decision."""
        keys = {self._key(scope, Unit.USD) for scope in scopes if scope.limit(Unit.USD) is not None}
        if keys:
            await self._within(lambda: self._client.delete(*keys))

    async def ping(self) -> None:
        """Come back when Redis answers and can be written."""
        await self._within(lambda: self._client.set(f"{TAG}:ping", "1", ex=LEASE_SECONDS))

    async def ready(self) -> bool:
        try:
            await self.ping()
        except LimiterLost:
            return False
        return True

    async def close(self) -> None:
        if self._renewer:
            self._renewer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewer
        await disconnect(self._client)

    async def _run(
        self, command: str, request: tuple[str, int, str], steps: Sequence[Step], seeds: Sequence[int] = ()
    ) -> Any:
        request_id, number, day = request
        keys = [f"{TAG}:r:{request_id}", *(self._key(step.scope, step.unit) for step in steps)]
        arguments: list[Any] = [command, request_id, number, LEASE_SECONDS, MARK_SECONDS, day, self._now()]
        for index, step in enumerate(steps):
            arguments += [step.unit, step.limit, step.amount, step.held, seeds[index] if seeds else -1]
        return await self._within(lambda: self._script(keys=keys, args=arguments))

    async def _within(self, ask: Callable[[], Any]) -> Any:
        """One command, when a connection is free. Who waited for one while another got no answer gets none either."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._room.acquire()
        except TimeoutError:
            raise LimiterLost("queue") from None
        try:
            if self._failed > began:
                raise LimiterLost("queue")
            return await self._asked(ask)
        except LOST as error:
            if isinstance(error, TimeoutError):
                self._failed = time.monotonic()
            raise LimiterLost(type(error).__name__) from error
        finally:
            self._room.release()

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        """A lost reply is asked for again, which the request's mark makes harmless."""
        async with asyncio.timeout(BOUND_SECONDS):
            for _ in range(REPEATS):
                with contextlib.suppress(*LOST):
                    return await ask()
                # What broke one connection has mostly broken all that wait in the pool.
                await self._client.connection_pool.disconnect(inuse_connections=False)
            return await ask()

    def _key(self, scope: Scope, unit: Unit) -> str:
        return f"{TAG}:{unit}:{scope.key}"

    async def _renew(self) -> None:
        """Keeps the leases of running requests alive; a gateway that dies lets them run out."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(LimiterLost):
                await self.renew()

    async def renew(self) -> None:
        """Every lease held here lives another thirty seconds, also one that Redis lost with its data."""
        for request_id, (spend, number) in list(self._granted.items()):
            steps = [step for step in taking(spend) if step.unit is Unit.CONCURRENT]
            if steps and request_id in self._granted:
                await self._run("renew", (request_id, number, ""), steps)


def _standings(steps: Sequence[Step], ahead: Sequence[str]) -> tuple[Standing, ...]:
    found = []
    for step, text in zip(steps, ahead, strict=False):
        if step.unit in PER_MINUTE and step.amount:
            seconds = int(text) / MICRO
            found.append(Standing(step.unit, step.limit, max(0.0, step.limit * (1 - seconds / 60)), seconds))
    return tuple(found)
