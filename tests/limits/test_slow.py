"""Redis that answers late, unevenly or not at all over a connection that stays open: right decisions, and no hang."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.config import Limits
from app.ledger.memory import MemoryLedger
from app.limiter import GuardedLimiter, Scope, Spend, Unit, Used
from app.limiter.protocol import LimiterLost
from app.limiter.redis import RedisLimiter
from app.redis import connect
from app.runs import LedgerIndex, Record
from app.runs.guarded import GuardedIndex
from app.runs.redis import RedisIndex
from providers.kit.clock import SystemClock
from tests.clock import StillClock
from tests.limits.slow import SlowWay
from tests.limits.test_faults import spend, until
from tests.services import RedisServer

CLOCK = SystemClock()
JITTER = random.Random(7)  # noqa: S311 - delays, not secrets


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A real server for one test."""
    with RedisServer(tmp_path / "redis") as found:
        yield found


def guarded(inner: RedisLimiter, heard: list[bool]) -> GuardedLimiter:
    """Open, with half of each limit; `heard` gets each loss and recovery."""
    return GuardedLimiter(inner, CLOCK, lambda _, back: heard.append(back), share=0.5)


@pytest.mark.parametrize(
    "delay", [lambda: 0.05, lambda: 0.3, lambda: JITTER.uniform(0.0, 0.35)], ids=["50 ms", "300 ms", "jitter"]
)
async def test_late_replies_are_right_ones(server: RedisServer, delay: Callable[[], float]) -> None:
    """Two gateways far from Redis admit together what the limit says; nobody stands in line, and nothing is lost."""
    heard: list[bool] = []
    async with SlowWay(server.port, delay) as way:
        limiters = [guarded(RedisLimiter(connect(way.url)), heard) for _ in range(2)]
        started = time.monotonic()
        decisions = await asyncio.gather(
            *(limiters[i % 2].spend(spend(f"r{i}", requests_per_minute=60, images_per_minute=60)) for i in range(300))
        )
        took = time.monotonic() - started
        for limiter in limiters:
            await limiter.close()

    assert 60 <= sum(decision.allowed for decision in decisions) <= 60 + int(took) + 1
    assert heard == []
    assert took < 4


async def test_a_redis_that_needs_seconds_is_away(server: RedisServer) -> None:
    """Replies after 1.5 s: a share is granted here, soon; what Redis granted meanwhile is given back to it later."""
    heard: list[bool] = []
    async with SlowWay(server.port) as way:
        limiter = guarded(RedisLimiter(connect(way.url)), heard)
        before = spend("before", 2, images_per_minute=20, concurrent_images=20)
        assert (await limiter.spend(before)).allowed
        way.delay = lambda: 1.5
        started = time.monotonic()
        many = [spend(f"r{i}", 1, images_per_minute=20, concurrent_images=20) for i in range(30)]
        during = await asyncio.gather(*(limiter.spend(one) for one in many))
        took = time.monotonic() - started
        granted = [one for one, decision in zip(many, during, strict=True) if decision.allowed]
        await asyncio.gather(*(limiter.settle(one, Used(images=1)) for one in granted))
        await limiter.settle(before, Used(images=2))
        way.delay = lambda: 0.0
        await until(lambda: heard[-1:] == [True])
        after = await limiter.spend(spend("after", 18, images_per_minute=20, concurrent_images=20))
        await limiter.close()

    assert took < 4
    assert sum(decision.allowed for decision in during) == 10
    assert after.allowed  # 20 less the two that were used through Redis


async def test_a_connection_that_fell_silent_is_replaced(server: RedisServer) -> None:
    """Half-open: the other end is gone and nobody said so. The decision comes over a new connection, counted once."""
    heard: list[bool] = []
    async with SlowWay(server.port) as way:
        limiter = guarded(RedisLimiter(connect(way.url)), heard)
        assert (await limiter.spend(spend("before", requests_per_minute=4))).allowed
        way.silence()
        started = time.monotonic()
        found = [(await limiter.spend(spend(f"r{i}", requests_per_minute=4))).allowed for i in range(4)]
        took = time.monotonic() - started
        await limiter.close()

    assert found == [True, True, True, False]
    assert took < 2
    assert heard == []


async def test_a_decision_that_comes_after_its_settlement_takes_nothing(server: RedisServer) -> None:
    """A request that stood in the way until its gateway had given up is settled before it is decided: it is over."""
    async with SlowWay(server.port) as way:
        limiter = RedisLimiter(connect(way.url))
        assert (await limiter.spend(spend("warm", requests_per_minute=100))).allowed
        way.hold()
        late = spend("late", 4, 50, images_per_minute=4, concurrent_images=4, usd_per_day=0.00005)
        with pytest.raises(LimiterLost):
            await limiter.spend(late)
        way.let_new_ones_through()
        await limiter.settle(late, Used(images=0, micro_usd=0))
        way.release()
        await asyncio.sleep(0.3)
        after = await limiter.spend(
            spend("after", 4, 50, images_per_minute=4, concurrent_images=4, usd_per_day=0.00005)
        )
        await limiter.close()

    assert after.allowed


async def test_leases_are_renewed_over_a_slow_way(server: RedisServer) -> None:
    """Hundreds of leases live on after one renewal, which takes a few round trips and not hundreds."""
    clock = StillClock()
    async with SlowWay(server.port) as way:
        limiter = RedisLimiter(connect(way.url), now=lambda: f"{clock.at * 1_000_000:.0f}")
        many = [spend(f"r{i}", 1, concurrent_images=400) for i in range(400)]
        assert all(decision.allowed for decision in await asyncio.gather(*(limiter.spend(one) for one in many)))
        way.delay = lambda: 0.3
        clock.at += 25
        started = time.monotonic()
        await limiter.renew()
        took = time.monotonic() - started
        clock.at += 25
        refused = await limiter.spend(spend("more", 1, concurrent_images=400))
        await limiter.close()

    assert took < 4
    assert (refused.allowed, refused.refused_unit) == (False, Unit.CONCURRENT)


async def test_debts_are_told_over_a_slow_way(server: RedisServer) -> None:
    """What was granted and ended without Redis is told to it in a few round trips, so that it soon decides again."""
    heard: list[bool] = []
    async with SlowWay(server.port) as way:
        limiter = guarded(RedisLimiter(connect(way.url)), heard)
        many = [spend(f"r{i}", 1, images_per_minute=1000) for i in range(300)]
        assert all(decision.allowed for decision in await asyncio.gather(*(limiter.spend(one) for one in many)))
        server.freeze(frozen=True)
        await asyncio.gather(*(limiter.settle(one, Used(images=0)) for one in many))
        server.freeze(frozen=False)
        way.delay = lambda: 0.2
        started = time.monotonic()
        await until(lambda: heard[-1:] == [True])
        took = time.monotonic() - started
        after = await limiter.spend(spend("after", 999, images_per_minute=1000))
        await limiter.close()

    assert took < 6
    assert after.allowed


async def test_a_loop_that_was_busy_does_not_blame_redis(server: RedisServer) -> None:
    """The gateway itself did nothing for longer than Redis may be silent: its replies are there, and they count."""
    limiter = RedisLimiter(connect(server.url))
    assert (await limiter.spend(spend("warm", requests_per_minute=100))).allowed
    asking = [asyncio.create_task(limiter.spend(spend(f"r{i}", requests_per_minute=100))) for i in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(1.5)  # noqa: ASYNC251 - the point
    decisions = await asyncio.gather(*asking)
    await limiter.close()

    assert all(decision.allowed for decision in decisions)


@pytest.mark.parametrize("heard", [True, False])
async def test_a_second_spend_that_was_lost_on_the_way_is_settled_as_what_redis_holds(
    server: RedisServer, heard: bool
) -> None:
    """A fallback's spend reached Redis or it did not, nobody knows: at the end neither way holds anything."""
    scopes = [Scope("model", name, Limits(images_per_minute=2, concurrent_images=2)) for name in ("one", "two")]
    first, second = (Spend(request_id="same", scopes=(scope,), images=2, megapixels=1.0) for scope in scopes)
    direct = RedisLimiter(connect(server.url))
    async with SlowWay(server.port) as way:
        limiter = RedisLimiter(connect(way.url))
        assert (await limiter.spend(first)).allowed
        way.delay = lambda: 5.0
        if not heard:
            way.hold()
        with pytest.raises(LimiterLost):
            await limiter.spend(second)
        way.delay = lambda: 0.0
        way.let_new_ones_through()
        await limiter.settle(first, Used(images=0, megapixels=0.0))
        again = [
            (await direct.spend(Spend(request_id=scope.name, scopes=(scope,), images=2, megapixels=1.0))).allowed
            for scope in scopes
        ]
        more = [
            (
                await direct.spend(Spend(request_id=f"{scope.name}+", scopes=(scope,), images=1, megapixels=1.0))
            ).allowed
            for scope in scopes
        ]
        await limiter.close()
    await direct.close()

    assert again == [True, True]
    assert more == [False, False]


def record(name: str, wish: str, index: GuardedIndex) -> Record:
    """A run of one caller's request."""
    return Record(
        id=name, caller="c", label=name, fingerprint=wish, key="", started=CLOCK.time(), owner=index.instance
    )


async def test_repeats_are_found_over_a_slow_way_and_again_after_it(server: RedisServer) -> None:
    """300 ms: a repeat on another gateway finds its first. 1.5 s: each gateway is alone, soon, and tells it later."""
    heard: list[bool] = []
    async with SlowWay(server.port, lambda: 0.3) as way:
        one, two = (
            GuardedIndex(
                LedgerIndex(name, CLOCK, MemoryLedger()),
                RedisIndex(name, connect(way.url), CLOCK),
                CLOCK,
                lambda _, back: heard.append(back),
            )
            for name in ("one", "two")
        )
        await asyncio.gather(one.start(), two.start())
        assert await one.begin(record("a", "one", one), retry=0, patience=60) is None
        await one.alone("a")
        joined = await two.begin(record("r1", "one", two), retry=1, patience=60)
        assert heard == []

        way.delay = lambda: 1.5
        started = time.monotonic()
        lonely = await one.begin(record("b", "another", one), retry=0, patience=60)
        await one.alone("b")
        took = time.monotonic() - started
        way.delay = lambda: 0.0
        await asyncio.sleep(1.1)
        await one.beat()
        again = await two.begin(record("r2", "another", two), retry=1, patience=60)
        for index in (one, two):
            await index.close()

    assert (joined and joined.id, lonely, again and again.id) == ("a", None, "b")
    assert took < 3
    assert heard == [False, True]
