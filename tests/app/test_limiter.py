"""One contract for every limiter; the one on Redis runs against a real redis-server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.config import Limits
from app.errors import Overloaded
from app.limiter import EmbeddedLimiter, GuardedLimiter, Limiter, Scope, Spend, Unit, Used
from app.limiter.guarded import OWED
from app.limiter.redis import RedisLimiter
from app.redis import connect
from providers.kit.clock import SystemClock
from tests.services import RedisServer

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real server for the module."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["embedded", "redis"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    """Each implementation, empty."""
    if request.param == "embedded":
        yield EmbeddedLimiter(CLOCK)
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    await server.ask("FLUSHALL")
    found = RedisLimiter(connect(server.url))
    yield found
    await found.close()


def spend(name: str, images: int = 1, *, cost: int = 0, scopes: tuple[Scope, ...] = (), **limits: Any) -> Spend:
    """A request of caller `a` under the limits given."""
    found = scopes or (Scope("caller", "a", Limits.model_validate(limits)),)
    return Spend(request_id=name, scopes=found, images=images, megapixels=float(images), micro_usd=cost)


async def granted(limiter: Limiter, many: int, images: int = 1, **limits: Any) -> int:
    """How many of `many` equal requests get through."""
    decisions = [await limiter.spend(spend(f"r{i}", images, **limits)) for i in range(many)]
    return sum(decision.allowed for decision in decisions)


async def test_a_bucket_of_n_grants_n_at_once(limiter: Limiter) -> None:
    """Requests per minute is a bucket of that size."""
    assert await granted(limiter, 15, requests_per_minute=10) == 10


async def test_images_count_as_images(limiter: Limiter) -> None:
    """A request for three images takes three from the image bucket."""
    assert await granted(limiter, 10, images=3, images_per_minute=10) == 3


async def test_the_bucket_refills_at_its_rate(limiter: Limiter) -> None:
    """600 a minute are ten a second: never more than the time that passed allows, and not less."""
    started = time.monotonic()
    filled = await granted(limiter, 600, requests_per_minute=600)
    await asyncio.sleep(0.5)
    least = 600 + (time.monotonic() - started) * 10
    decisions = [await limiter.spend(spend(f"later{i}", requests_per_minute=600)) for i in range(100)]
    most = 600 + (time.monotonic() - started) * 10
    found = filled + sum(decision.allowed for decision in decisions)

    assert int(least) <= found <= most + 0.02


async def test_a_refusal_takes_nothing_from_any_scope(limiter: Limiter) -> None:
    """All scopes together or none: what one scope refuses is not taken from another."""
    wide = Scope("gateway", "all", Limits(requests_per_minute=5))
    narrow = Scope("caller", "a", Limits(requests_per_minute=1))
    decisions = [await limiter.spend(spend(f"r{i}", scopes=(wide, narrow))) for i in range(4)]
    other = [await limiter.spend(spend(f"o{i}", scopes=(wide,))) for i in range(6)]

    assert [decision.allowed for decision in decisions] == [True, False, False, False]
    assert sum(decision.allowed for decision in other) == 4
    assert decisions[1].refused_scope == narrow
    assert decisions[1].refused_unit is Unit.REQUESTS
    assert 0 < decisions[1].retry_after <= 60


async def test_the_same_request_is_counted_once(limiter: Limiter) -> None:
    """A repeat under one internal id costs nothing more."""
    first = [await limiter.spend(spend("same", requests_per_minute=2)) for _ in range(5)]

    assert all(decision.allowed for decision in first)
    assert await granted(limiter, 3, requests_per_minute=2) == 1


async def test_images_in_flight_are_leased_and_given_back(limiter: Limiter) -> None:
    """Concurrency refuses at once, says when to come again, and is free again after settling."""
    first = spend("first", 2, concurrent_images=2)
    assert (await limiter.spend(first)).allowed
    refused = await limiter.spend(spend("second", 1, concurrent_images=2))
    await limiter.settle(first, Used(images=2))

    assert not refused.allowed
    assert refused.retry_after == 1.0
    assert (await limiter.spend(spend("third", 2, concurrent_images=2))).allowed


async def test_what_was_not_delivered_is_given_back(limiter: Limiter) -> None:
    """A failed image does not count against the image bucket; settling twice gives back once."""
    failed = spend("failed", 4, images_per_minute=4)
    assert (await limiter.spend(failed)).allowed
    await limiter.settle(failed, Used(images=1))
    await limiter.settle(failed, Used(images=0))

    assert (await limiter.spend(spend("again", 3, images_per_minute=4))).allowed
    assert not (await limiter.spend(spend("more", 1, images_per_minute=4))).allowed


async def test_a_day_of_money_is_settled_to_the_real_cost(limiter: Limiter) -> None:
    """The reservation is replaced by what it really cost."""
    dear = spend("dear", cost=900_000, usd_per_day=1.0)
    assert (await limiter.spend(dear)).allowed
    assert not (await limiter.spend(spend("refused", cost=200_000, usd_per_day=1.0))).allowed
    await limiter.settle(dear, Used(images=1, micro_usd=100_000))

    assert (await limiter.spend(spend("now", cost=900_000, usd_per_day=1.0))).allowed
    assert not (await limiter.spend(spend("over", cost=1, usd_per_day=1.0))).allowed


async def test_another_spend_takes_the_place_of_the_first(limiter: Limiter) -> None:
    """A fallback: what both ways share is not taken twice, the failed way's own limit is given back."""
    caller = Scope("caller", "a", Limits(requests_per_minute=2, images_per_minute=4, concurrent_images=2))
    failed, fallback = (Scope("model", name, Limits(images_per_minute=2)) for name in ("failed", "fallback"))
    first, second = (spend("same", 2, scopes=(caller, model)) for model in (failed, fallback))
    moved = [(await limiter.spend(found)).allowed for found in (first, second, second)]
    others = {
        name: (await limiter.spend(spend(name, images, scopes=(scope,)))).allowed
        for name, images, scope in (
            ("failed", 2, failed),
            ("fallback", 1, fallback),
            ("busy", 1, Scope("caller", "a", Limits(concurrent_images=2))),
            ("caller", 1, Scope("caller", "a", Limits(requests_per_minute=2, images_per_minute=4))),
        )
    }
    await limiter.settle(second, Used(images=2))

    assert moved == [True, True, True]
    assert others == {"failed": True, "fallback": False, "busy": False, "caller": True}
    assert (await limiter.spend(spend("free", 1, scopes=(caller,)))).allowed is False  # two requests of two are gone


async def test_a_refused_fallback_changes_nothing(limiter: Limiter) -> None:
    """What the request holds stays as it is when the next way's limit refuses it."""
    caller = Scope("caller", "a", Limits(concurrent_images=1))
    full = Scope("model", "full", Limits(images_per_minute=1))
    assert (await limiter.spend(spend("filler", scopes=(full,)))).allowed
    first = spend("same", scopes=(caller,))
    assert (await limiter.spend(first)).allowed
    refused = await limiter.spend(spend("same", scopes=(caller, full)))

    assert (refused.allowed, refused.refused_scope) == (False, full)
    assert not (await limiter.spend(spend("busy", scopes=(caller,)))).allowed
    await limiter.settle(first, Used(images=0))
    assert (await limiter.spend(spend("next", scopes=(caller,)))).allowed


async def test_headers_can_tell_the_standing(limiter: Limiter) -> None:
    """A decision carries limit, remaining and reset of every bucket."""
    decision = await limiter.spend(spend("r", 3, requests_per_minute=10, images_per_minute=30))
    requests, images = decision.tightest(Unit.REQUESTS), decision.tightest(Unit.IMAGES)

    assert requests
    assert images
    assert (requests.limit, round(requests.remaining), round(requests.reset)) == (10, 9, 6)
    assert (images.limit, round(images.remaining), round(images.reset)) == (30, 27, 6)


async def test_two_gateways_admit_together_what_one_limit_says(redis_server: RedisServer) -> None:
    """Exact over replicas: concurrent spenders on one Redis never get more than the bucket holds."""
    await redis_server.ask("FLUSHALL")
    limiters = [RedisLimiter(connect(redis_server.url)) for _ in range(2)]
    calls = [limiters[i % 2].spend(spend(f"r{i}", requests_per_minute=60)) for i in range(200)]
    decisions = await asyncio.gather(*calls)
    for limiter in limiters:
        await limiter.close()

    assert 60 <= sum(decision.allowed for decision in decisions) <= 62


async def test_a_flushed_script_cache_is_not_noticed(redis_server: RedisServer) -> None:
    """SCRIPT FLUSH costs one reload, not a request."""
    limiter = RedisLimiter(connect(redis_server.url))
    await redis_server.ask("FLUSHALL")
    await limiter.spend(spend("before", requests_per_minute=5))
    await redis_server.ask("SCRIPT FLUSH")
    decision = await limiter.spend(spend("after", requests_per_minute=5))
    await limiter.close()

    assert decision.allowed


async def test_a_ledger_fills_the_counter_that_redis_lost(redis_server: RedisServer) -> None:
    """Money spent today is read from the ledger when Redis does not know it."""

    async def spent(_: Scope, __: float) -> int:
        return 900_000

    await redis_server.ask("FLUSHALL")
    limiter = RedisLimiter(connect(redis_server.url), spent)
    refused = await limiter.spend(spend("a", cost=200_000, usd_per_day=1.0))
    allowed = await limiter.spend(spend("b", cost=100_000, usd_per_day=1.0))
    await limiter.close()

    assert (refused.allowed, allowed.allowed) == (False, True)


async def test_losing_redis_is_a_log_line_not_an_outage(tmp_path: Path) -> None:
    """Open: a share of the limit is granted here while Redis is away, and Redis decides again when it is back."""
    server = RedisServer(tmp_path)
    server.start()
    heard: list[bool] = []
    inner = RedisLimiter(connect(server.url))
    limiter = GuardedLimiter(inner, CLOCK, lambda _, back: heard.append(back), share=0.5)
    assert (await limiter.spend(spend("with", requests_per_minute=10))).allowed
    server.stop()
    started = time.monotonic()
    without = [await limiter.spend(spend(f"w{i}", requests_per_minute=10)) for i in range(8)]
    took = time.monotonic() - started
    server.start()
    await asyncio.sleep(1.1)
    back = [await limiter.spend(spend(f"b{i}", requests_per_minute=10)) for i in range(12)]
    await limiter.close()
    server.stop()

    assert sum(decision.allowed for decision in without) == 5
    assert took < 2
    assert sum(decision.allowed for decision in back) == 10
    assert heard == [False, True]


async def test_what_redis_is_owed_is_bounded() -> None:
    """Beyond the bound leases run out and money is read from the ledger; the operator hears of it once."""
    heard: list[str] = []
    inner = RedisLimiter(connect("redis://127.0.0.1:1/0"))
    limiter = GuardedLimiter(inner, CLOCK, lambda why, _: heard.append(why), share=None)
    used = Used(images=1, megapixels=1, micro_usd=1)
    for number in range(OWED + 2):
        await limiter.settle(spend(f"s{number}", requests_per_minute=10), used)
    await limiter.close()

    assert [why for why in heard if "owed" in why] == [f"more than {OWED} settlements owed"]


async def test_closed_refuses_while_redis_is_away() -> None:
    """Closed: without Redis there is a 503 with retry-after, never a paid call."""
    inner = RedisLimiter(connect("redis://127.0.0.1:1/0"))
    limiter = GuardedLimiter(inner, CLOCK, lambda _, __: None, share=None)
    with pytest.raises(Overloaded):
        await limiter.spend(spend("r", requests_per_minute=10))
    await limiter.close()
