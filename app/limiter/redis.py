"""The limiter on Redis (7 or newer): exact over any number of gateways, one script call a decision."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.limiter.protocol import PER_MINUTE, Decision, LimiterLost, Scope, Spend, Spent, Standing, Unit, nothing_spent
from providers.kit.clock import Clock

SCRIPT: Final = Path(__file__).with_name("limiter.lua").read_text()
# One hash tag: every key of a decision lives on one node, so Cluster and Sentinel are for availability, not scale.
TAG: Final = "{pinhole}"
LEASE_SECONDS: Final = 30
RENEW_SECONDS: Final = 10.0
MARK_SECONDS: Final = 3600
TIMEOUT_SECONDS: Final = 0.25
POOL_SECONDS: Final = 2.0
CONNECTIONS: Final = 32
MICRO: Final = 1_000_000


def connect(url: str) -> Redis:
    """A client for redis://, rediss:// or redis+sentinel://host:port,host:port/service?db=0.

    redis-py 8 retries ten times by default and so counts one decision several times (facts of 2026-11): no retries
    here, short timeouts, and the request's mark makes the one repeat we do harmless.
    """
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "decode_responses": True,
    }
    if not url.startswith(("redis+sentinel://", "rediss+sentinel://")):
        # A pool that waits: redis-py's ordinary one fails the 65th decision of a burst instead.
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=POOL_SECONDS, **options)
        return Redis.from_pool(pool)
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    nodes = [(host.rpartition(":")[0] or host, int(host.rpartition(":")[2] or 26379)) for host in hosts]
    database = int(parse_qs(parts.query).get("db", ["0"])[0])
    secure = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    found: Any = Sentinel(  # type: ignore[no-untyped-call] # redis-py 8.1 leaves it untyped
        nodes, sentinel_kwargs={**options, **secure}, password=parts.password, **options, **secure
    )
    master: Redis = found.master_for(parts.path.strip("/") or "mymaster", db=database)
    return master


class RedisLimiter:
    """Decides by script. Raises LimiterLost from every method when Redis is away."""

    def __init__(self, client: Redis, clock: Clock, spent: Spent = nothing_spent) -> None:
        self._client = client
        self._clock = clock
        self._spent = spent
        self._script = client.register_script(SCRIPT)
        self._leases: dict[str, Spend] = {}
        self._renewer: asyncio.Task[None] | None = None

    async def spend(self, spend: Spend) -> Decision:
        checks = list(spend.checks())
        seeds = [-1] * len(checks)
        while True:
            rows = [(*check[1:], seed) for check, seed in zip(checks, seeds, strict=True)]
            reply = await self._run("spend", spend, rows)
            if reply[0] != -1:
                break
            index = int(reply[1]) - 1
            seeds[index] = await self._spent(checks[index][0])
        granted = reply[0] == 1
        if granted and any(unit is Unit.CONCURRENT for _, unit, _, _ in checks):
            self._leases[spend.request_id] = spend
            self._renewer = self._renewer or asyncio.create_task(self._renew())
        standings = _standings(checks, reply[3:])
        if granted:
            return Decision(allowed=True, standings=standings)
        scope, unit, _, _ = checks[int(reply[1]) - 1]
        wait = until_midnight(self._clock) if unit is Unit.USD else int(reply[2]) / MICRO
        return Decision(allowed=False, standings=standings, refused_scope=scope, refused_unit=unit, retry_after=wait)

    async def settle(self, spend: Spend, *, delivered: int, micro_usd: int | None) -> None:
        self._leases.pop(spend.request_id, None)
        missing = (spend.images - delivered) / spend.images if spend.images else 0.0
        refunds = {
            Unit.REQUESTS: 0.0,
            Unit.IMAGES: spend.images * missing,
            Unit.MEGAPIXELS: spend.megapixels * missing,
            Unit.CONCURRENT: 0.0,
            Unit.USD: 0 if micro_usd is None else micro_usd - spend.micro_usd,
        }
        rows = [(unit, limit, refunds[unit], spend.images) for _, unit, limit, _ in spend.checks()]
        await self._run("settle", spend, rows)

    async def close(self) -> None:
        if self._renewer:
            self._renewer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewer
        await self._client.connection_pool.disconnect(inuse_connections=True)
        await self._client.aclose(close_connection_pool=True)

    async def _run(self, command: str, spend: Spend, rows: Sequence[tuple[Any, ...]]) -> Any:
        """One script call; a lost reply is asked for once more, which the request's mark makes harmless."""
        checks = list(spend.checks())
        keys = [f"{TAG}:r:{spend.request_id}", *(self._key(scope, unit) for scope, unit, _, _ in checks)]
        arguments: list[Any] = [command, spend.request_id, LEASE_SECONDS, MARK_SECONDS]
        arguments += [value for row in rows for value in row]
        for attempt in (1, 2):
            try:
                return await self._script(keys=keys, args=arguments)
            except (RedisError, OSError, TimeoutError) as error:
                if attempt == 2:  # noqa: PLR2004 - the second and last
                    raise LimiterLost(type(error).__name__) from error
        raise LimiterLost

    def _key(self, scope: Scope, unit: Unit) -> str:
        day = datetime.fromtimestamp(self._clock.time(), UTC).date().isoformat()
        return f"{TAG}:{unit}:{scope.key}" + (f":{day}" if unit is Unit.USD else "")

    async def _renew(self) -> None:
        """Keeps the leases of running requests alive; a gateway that dies lets them run out."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for spend in list(self._leases.values()):
                held = [check for check in spend.checks() if check[1] is Unit.CONCURRENT]
                keys = [f"{TAG}:r:{spend.request_id}", *(self._key(scope, unit) for scope, unit, _, _ in held)]
                rows = [value for _, unit, limit, _ in held for value in (unit, limit, spend.images, 0)]
                arguments = ["renew", spend.request_id, LEASE_SECONDS, MARK_SECONDS, *rows]
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    await self._script(keys=keys, args=arguments)


def until_midnight(clock: Clock) -> float:
    """Seconds until the UTC day ends."""
    now = datetime.fromtimestamp(clock.time(), UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()


def _standings(checks: Sequence[tuple[Scope, Unit, float, float]], ahead: Sequence[str]) -> tuple[Standing, ...]:
    found = []
    for (_, unit, limit, _), text in zip(checks, ahead, strict=False):
        if unit in PER_MINUTE:
            seconds = int(text) / MICRO
            found.append(Standing(unit, limit, max(0.0, limit * (1 - seconds / 60)), seconds))
    return tuple(found)
