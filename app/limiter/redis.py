"""The limiter on Redis (7 or newer): exact over any number of gateways, one script call a decision."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from app.limiter.protocol import (
    PER_MINUTE,
    Decision,
    LimiterLost,
    Scope,
    Spend,
    Spent,
    Standing,
    Unit,
    Used,
    nothing_spent,
    used_of,
)
from app.redis import Line, Lost, Script, bulk

SCRIPT: Final = Path(__file__).with_name("limiter.lua").read_text()
# One hash tag: every key of a decision lives on one node, so Cluster and Sentinel are for availability, not scale.
TAG: Final = "{pinhole}"
LEASE_SECONDS: Final = 30
RENEW_SECONDS: Final = 10.0
RENEWED_AT_ONCE: Final = 256
MARK_SECONDS: Final = 3600
BEARERS: Final = 10_000
MICRO: Final = 1_000_000
DAY: Final = 86_400

UNITS: Final = (Unit.REQUESTS, Unit.IMAGES, Unit.MEGAPIXELS, Unit.CONCURRENT, Unit.USD)
"""In the order of the script."""

COMMANDS: Final = {
    name: (bulk(name), bulk(LEASE_SECONDS), bulk(MARK_SECONDS)) for name in ("spend", "settle", "renew")
}
NOTHING: Final = (bulk(""),)
BOTH, NEW, OLD = bulk("both"), bulk("new"), bulk("old")
OTHER: Final = 2
FREE: Final = Decision(allowed=True)
PING: Final = Spend(request_id="ping", scopes=(), images=0, megapixels=0.0)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A scope as the script is told of it: made once, because limits are not."""

    scope: Scope
    key: bytes
    limits: tuple[bytes, ...]
    rates: tuple[tuple[Unit, float], ...]


def server_clock() -> str:
    """Let the script ask its server for the time."""
    return ""


class RedisLimiter:
    """Decides by script. Raises LimiterLost from every method when Redis is away: in two seconds, five in a crowd.

    `now` is the script's clock in microseconds as text; empty, the server's.
    """

    def __init__(self, line: Line, spent: Spent = nothing_spent, now: Callable[[], str] = server_clock) -> None:
        self._line = line
        self._spent = spent
        self._now = now
        self._script = Script(line, SCRIPT)
        self._known: dict[str, Bearer] = {}
        self._granted: dict[str, tuple[Spend, int]] = {}
        self._unheard: dict[str, tuple[Spend, int]] = {}
        self._renewer: asyncio.Task[None] | None = None

    async def spend(self, spend: Spend) -> Decision:
        held, number = self._granted.get(spend.request_id, (None, 1))
        number += held is not None and held != spend
        bearers, parts = self._bearers(spend, held)
        if not bearers:
            return FREE
        amounts = _holding(spend) + (_holding(held) if held else _amounts(0, 0, 0, 0, 0))
        seeds: tuple[bytes, ...] = NOTHING * 2
        if held is not None:
            self._unheard[spend.request_id] = (spend, number)
        while True:
            words = (bulk(number), bulk(self._now()), *seeds, *amounts)
            reply = [int(word) for word in (await self._run("spend", spend, bearers, parts, words)).split()]
            if reply[0] != -1:
                break
            seeds = await self._seeds(reply[1], [bearers[i - 1] for i in reply[2:]], bearers)
        self._unheard.pop(spend.request_id, None)
        return self._decided(spend, number, bearers, reply)

    async def settle(self, spend: Spend, used: Used) -> None:
        held, number = self._granted.pop(spend.request_id, (spend, 0))
        unheard = self._unheard.pop(spend.request_id, None)
        if unheard is None or not await self._settled(*unheard, used):
            await self._settled(held, number, used)

    async def _settled(self, held: Spend, number: int, used: Used) -> bool:
        """False when the request holds another spend than this one."""
        bearers, parts = self._bearers(held, None)
        if not bearers:
            return number == 0
        final = used_of(held, used)
        amounts = _amounts(*(final[unit] for unit in UNITS)) + _holding(held)
        words = (bulk(number), bulk(self._now()), *NOTHING, *NOTHING, *amounts)
        known = await self._run("settle", held, bearers, parts, words)
        if not known and number:
            await self.forget(held.scopes)  # Redis lost its data since: the ledger knows the money of the day
        return bool(known != OTHER)

    async def forget(self, scopes: Sequence[Scope]) -> None:
        """Read the money of these scopes from the ledger again, at the next decision."""
        keys = {f"{TAG}:{scope.key}:usd" for scope in scopes if scope.limits.usd_per_day is not None}
        if keys:
            await self._command("DEL", *keys)

    async def ping(self) -> None:
        """Come back when Redis runs the script and can be written: it ends a request that there never was."""
        nothing = _amounts(0, 0, 0, 0, 0)
        await self._run("settle", PING, (), (), (bulk(0), bulk(self._now()), *NOTHING, *NOTHING, *nothing, *nothing))

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
        await self._line.close()

    def _decided(self, spend: Spend, number: int, bearers: Sequence[Bearer], reply: list[int]) -> Decision:
        rates = (rate for bearer in bearers for rate in bearer.rates)
        standings = tuple(
            Standing(unit, limit, max(0.0, limit * (1 - ahead / MICRO / 60)), ahead / MICRO)
            for (unit, limit), ahead in zip(rates, reply[4:], strict=False)  # of scopes that are left nothing is told
        )
        if reply[0]:
            self._granted[spend.request_id] = (spend, number)
            self._renewer = self._renewer or asyncio.create_task(self._renew())
            return Decision(allowed=True, standings=standings)
        _, refusing, refused, wait = reply[:4]
        return Decision(
            allowed=False,
            standings=standings,
            refused_scope=bearers[refusing - 1].scope,
            refused_unit=UNITS[refused - 1],
            retry_after=wait / MICRO,
        )

    async def _seeds(self, day: int, asked: Sequence[Bearer], bearers: Sequence[Bearer]) -> tuple[bytes, bytes]:
        """The day, and what the ledger says is spent of it by the scopes that Redis asked for."""
        sums = [str(await self._spent(each.scope, day * DAY)) if each in asked else "-" for each in bearers]
        return bulk(day), bulk(",".join(sums))

    def _bearers(self, spend: Spend, held: Spend | None) -> tuple[list[Bearer], list[bytes]]:
        """The scopes that have limits, and each with its limits as the script reads them.

        Those of a way that failed, which the request is to leave, stand at the end.
        """
        found = [self._bearer(scope) for scope in spend.scopes if scope.in_force]
        parts: list[bytes] = []
        if held is None:
            for bearer in found:
                parts += (BOTH, *bearer.limits)
            return found, parts
        before = {scope.key: scope for scope in held.scopes if scope.in_force}
        for bearer in found:
            parts += (BOTH if before.pop(bearer.scope.key, None) else NEW, *bearer.limits)
        for scope in before.values():
            found.append(self._bearer(scope))
            parts += (OLD, *found[-1].limits)
        return found, parts

    def _bearer(self, scope: Scope) -> Bearer:
        known = self._known.get(scope.key)
        if known is None or known.scope.in_force != scope.in_force:
            if len(self._known) >= BEARERS:  # end users have names without end
                self._known.clear()
            known = self._known[scope.key] = _bearer(scope)
        return known

    async def _run(
        self, command: str, spend: Spend, bearers: Sequence[Bearer], parts: Sequence[bytes], words: Sequence[bytes]
    ) -> Any:
        name = spend.request_id
        keys = (bulk(1 + len(bearers)), bulk(f"{TAG}:r:{name}"), *[bearer.key for bearer in bearers])
        try:
            return await self._script.run(*keys, *COMMANDS[command], bulk(name), *words, *parts)
        except Lost as error:
            raise LimiterLost(str(error)) from error

    async def _command(self, *words: object) -> None:
        try:
            await self._line.command(*words)
        except Lost as error:
            raise LimiterLost(str(error)) from error

    async def _renew(self) -> None:
        """Keeps the leases of running requests alive; a gateway that dies lets them run out."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(LimiterLost):
                await self.renew()

    async def renew(self) -> None:
        """Every lease held here lives another thirty seconds, also one that Redis lost with its data."""
        names = list(self._granted)
        for first in range(0, len(names), RENEWED_AT_ONCE):
            await asyncio.gather(*(self._renewed(name) for name in names[first : first + RENEWED_AT_ONCE]))

    async def _renewed(self, request_id: str) -> None:
        spend, number = self._granted.get(request_id, (None, 0))
        if spend is None or all(scope.limits.concurrent_images is None for scope in spend.scopes):
            return
        bearers, parts = self._bearers(spend, None)
        words = (bulk(number), bulk(self._now()), *NOTHING, *NOTHING, *_holding(spend), *_holding(spend))
        await self._run("renew", spend, bearers, parts, words)


def _bearer(scope: Scope) -> Bearer:
    found = dict(scope.in_force)
    return Bearer(
        scope=scope,
        key=bulk(f"{TAG}:{scope.key}"),
        limits=tuple(bulk(found.get(unit, "")) for unit in UNITS),
        rates=tuple((unit, found[unit]) for unit in UNITS if unit in found and unit in PER_MINUTE),
    )


def _holding(spend: Spend) -> tuple[bytes, ...]:
    return _amounts(1, spend.images, spend.megapixels, spend.images, spend.micro_usd)


@lru_cache(maxsize=1024)  # most requests are alike
def _amounts(*amounts: float) -> tuple[bytes, ...]:
    """How much of each unit, as the script reads it."""
    return tuple(bulk(amount) for amount in amounts)
