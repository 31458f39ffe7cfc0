"""What Redis can do to a gateway: forget scripts and data, stop, freeze, change masters, cut connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.config import Limits
from app.limiter import EmbeddedLimiter, GuardedLimiter, Scope, Spend, Unit, Used
from app.limiter.protocol import LimiterLost
from app.limiter.redis import RedisLimiter
from app.redis import connect
from providers.kit.clock import SystemClock
from tests.clock import StillClock
from tests.processes import Process
from tests.services import RedisServer, free_port

CLOCK = SystemClock()
BODY = {"model": "sandbox/canvas", "size": "64x64", "response_format": "url"}
CONFIG = """
redis: {on_loss: %s, share: 0.5}
models: {sandbox/canvas: {prices: {image: 0.01}}}
keys: [{name: team, key: sk-team, limits: {requests_per_minute: 10000, images_per_minute: 10000, usd_per_day: 1000}}]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A real server for one test."""
    with RedisServer(tmp_path / "redis") as found:
        yield found


def spend(name: str, images: int = 1, cost: int = 0, **limits: Any) -> Spend:
    """A request of one caller."""
    scope = Scope("caller", "a", Limits.model_validate(limits))
    return Spend(request_id=name, scopes=(scope,), images=images, megapixels=1.0, micro_usd=cost)


async def until(true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for something that comes."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.02)


async def test_cut_connections_cost_nothing(server: RedisServer) -> None:
    """All connections are cut again and again under load: nothing is counted twice, and decisions go on."""
    limiter = RedisLimiter(connect(server.url))

    async def cut() -> None:
        for _ in range(5):
            await asyncio.sleep(0.05)
            await server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def one(i: int) -> bool | None:
        try:
            return (await limiter.spend(spend(f"r{i}", requests_per_minute=120))).allowed
        except LimiterLost:
            return None

    cutting = asyncio.create_task(cut())
    answers = await asyncio.gather(*(one(i) for i in range(400)))
    await cutting
    after = [await one(1000 + i) for i in range(5)]
    await limiter.close()

    assert answers.count(True) <= 122
    assert None not in after


async def test_a_storm_of_decisions_has_one_connection(server: RedisServer) -> None:
    """Thousands of decisions at once are decided over one connection, and none of them is lost."""
    limiter = RedisLimiter(connect(server.url))
    most = 0

    async def look() -> None:
        nonlocal most
        for _ in range(20):
            most = max(most, int((await server.ask("INFO", "clients"))["connected_clients"]))
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    decisions = await asyncio.gather(*(limiter.spend(spend(f"r{i}", requests_per_minute=100)) for i in range(5000)))
    await looking
    await limiter.close()

    assert 100 <= sum(decision.allowed for decision in decisions) <= 110
    assert most <= 2


async def test_a_frozen_redis_never_hangs_anybody(server: RedisServer) -> None:
    """The bound: whoever asks at that moment waits a second, then nobody waits, and Redis decides again later."""
    heard: list[bool] = []
    inner = RedisLimiter(connect(server.url))
    limiter = GuardedLimiter(inner, CLOCK, lambda _, back: heard.append(back), share=0.5)
    assert (await limiter.spend(spend("before", requests_per_minute=100))).allowed
    server.freeze(frozen=True)
    started = time.monotonic()
    first = await asyncio.gather(*(limiter.spend(spend(f"f{i}", requests_per_minute=100)) for i in range(200)))
    took = time.monotonic() - started
    started = time.monotonic()
    second = [await limiter.spend(spend(f"s{i}", requests_per_minute=100)) for i in range(100)]
    quick = time.monotonic() - started
    server.freeze(frozen=False)
    await until(lambda: heard[-1:] == [True])
    after = await limiter.spend(spend("after", requests_per_minute=100))
    await limiter.close()

    assert took < 3
    assert quick < 1
    assert 50 <= sum(decision.allowed for decision in [*first, *second]) <= 55
    assert after.allowed


async def test_a_redis_that_runs_no_script_is_not_back(server: RedisServer) -> None:
    """It answers and can be written, but a rule of its own forbids what decides: lost once, and no flutter."""
    heard: list[bool] = []
    await server.ask("ACL", "SETUSER", "mean", "on", ">pw", "~*", "+@all", "-@scripting")
    inner = RedisLimiter(connect(server.url.replace("redis://", "redis://mean:pw@")))
    limiter = GuardedLimiter(inner, CLOCK, lambda _, back: heard.append(back), share=0.5)
    first = await limiter.spend(spend("first", requests_per_minute=10))
    await asyncio.sleep(2.5)
    during = list(heard)
    await server.ask("ACL", "SETUSER", "mean", "+@scripting")
    await until(lambda: heard[-1:] == [True])
    await limiter.close()

    assert first.allowed
    assert during == [False]


async def test_what_was_settled_while_redis_was_away_is_told_later(server: RedisServer) -> None:
    """A lease taken before and ended during the loss is free at once after it, and its images are given back."""
    heard: list[bool] = []
    limiter = GuardedLimiter(RedisLimiter(connect(server.url)), CLOCK, lambda _, back: heard.append(back), share=0.5)
    first = spend("first", 4, concurrent_images=4, images_per_minute=4)
    assert (await limiter.spend(first)).allowed
    server.freeze(frozen=True)
    await limiter.settle(first, Used(images=0))
    server.freeze(frozen=False)
    await until(lambda: heard[-1:] == [True])
    again = await limiter.spend(spend("again", 4, concurrent_images=4, images_per_minute=4))
    await limiter.close()

    assert again.allowed


async def test_money_is_the_ledgers_while_redis_is_away_and_after(server: RedisServer) -> None:
    """A share of what is left is granted without Redis; what was spent so is known to Redis afterwards."""
    heard: list[bool] = []
    rows: dict[str, int] = {"yesterday's budget was another": 400_000}

    async def spent(_: Scope, __: float) -> int:
        return sum(rows.values())

    async def asked(name: str) -> bool:
        decision = await limiter.spend(spend(name, cost=100_000, usd_per_day=1.0))
        if decision.allowed:
            rows[name] = 100_000
        return decision.allowed

    inner = RedisLimiter(connect(server.url), spent)
    limiter = GuardedLimiter(inner, CLOCK, lambda _, back: heard.append(back), share=0.5, spent=spent)
    assert await asked("with")  # 500,000 of 1,000,000 are spent
    server.freeze(frozen=True)
    without = [await asked(f"without-{i}") for i in range(4)]
    server.freeze(frozen=False)
    await until(lambda: heard[-1:] == [True])
    after = [await asked(f"after-{i}") for i in range(5)]
    await limiter.close()

    assert without == [True, True, False, False]
    assert after == [True, True, True, False, False]


async def test_a_restarted_redis_learns_leases_and_money_again(server: RedisServer) -> None:
    """Redis without its data: the next renewal brings back what flies, the ledger what is spent."""
    rows = {"first": 300_000}

    async def spent(_: Scope, __: float) -> int:
        return sum(rows.values())

    limiter = RedisLimiter(connect(server.url), spent)
    rows.clear()
    first = spend("first", 2, 300_000, concurrent_images=2, usd_per_day=1.0)
    assert (await limiter.spend(first)).allowed
    rows["first"] = 300_000
    server.stop()
    server.start()
    await limiter.renew()
    busy = await limiter.spend(spend("busy", 1, concurrent_images=2))
    rows["first"] = 100_000
    await limiter.settle(first, Used(images=2, micro_usd=100_000))
    free = await limiter.spend(spend("free", 2, 900_000, concurrent_images=2, usd_per_day=1.0))
    more = await limiter.spend(spend("more", 1, 1, usd_per_day=1.0))
    await limiter.close()

    assert (busy.allowed, busy.refused_unit) == (False, Unit.CONCURRENT)
    assert free.allowed
    assert not more.allowed


@pytest.mark.parametrize("kind", ["embedded", "redis"])
async def test_a_clock_set_back_neither_locks_out_nor_lets_more_through(server: RedisServer, kind: str) -> None:
    """An hour back: a full bucket stays full for a minute and not for an hour, and so does a dead gateway's lease."""
    clock = StillClock()
    limiter: EmbeddedLimiter | RedisLimiter = EmbeddedLimiter(clock)
    if kind == "redis":
        limiter = RedisLimiter(connect(server.url), now=lambda: f"{clock.at * 1_000_000:.0f}")
    before = [(await limiter.spend(spend(f"b{i}", requests_per_minute=6))).allowed for i in range(8)]
    clock.at -= 3600
    jumped = [(await limiter.spend(spend(f"j{i}", requests_per_minute=6))).allowed for i in range(3)]
    after = []
    for i in range(12):
        clock.at += 5
        after.append((await limiter.spend(spend(f"a{i}", requests_per_minute=6))).allowed)
    await limiter.close()

    assert before == [True] * 6 + [False] * 2
    assert jumped == [False] * 3
    assert after == [False, True] * 6


async def test_a_lease_of_before_the_jump_ends_in_its_time(server: RedisServer) -> None:
    """The lease of a gateway that died an hour "later" is gone after half a minute."""
    clock = StillClock()
    limiter = RedisLimiter(connect(server.url), now=lambda: f"{clock.at * 1_000_000:.0f}")
    assert (await limiter.spend(spend("dead", 1, concurrent_images=1))).allowed
    clock.at -= 3600
    during = await limiter.spend(spend("during", 1, concurrent_images=1))
    clock.at += 31
    after = await limiter.spend(spend("after", 1, concurrent_images=1))
    await limiter.close()

    assert (during.allowed, after.allowed) == (False, True)


async def test_a_failover_is_a_pause_and_not_an_outage(tmp_path: Path) -> None:
    """Sentinel makes the replica master; decisions go on there, with what the replica knew."""
    main = RedisServer(tmp_path / "main").start()
    replica = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(main.port)).start()
    file = tmp_path / "sentinel.conf"
    lines = (f"monitor mymaster 127.0.0.1 {main.port} 1", "down-after-milliseconds mymaster 500")
    file.write_text("".join(f"sentinel {line}\n" for line in (*lines, "failover-timeout mymaster 3000")))
    sentinel = RedisServer(tmp_path / "sentinel", str(file), "--sentinel").start()
    heard: list[bool] = []
    try:
        inner = RedisLimiter(connect(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/mymaster"))
        limiter = GuardedLimiter(inner, CLOCK, lambda _, back: heard.append(back), share=0.5)
        await until_async(lambda: linked(replica))
        await until_async(lambda: knows(sentinel))
        assert (await limiter.spend(spend("before", 3, images_per_minute=4))).allowed
        await asyncio.sleep(0.3)
        main.stop()
        during = await limiter.spend(spend("during", 1, requests_per_minute=10))
        await until(lambda: heard[-1:] == [True], 30)
        after = [(await limiter.spend(spend(f"after-{i}", 1, images_per_minute=4))).allowed for i in range(3)]
        await limiter.close()
    finally:
        for found in (sentinel, replica, main):
            found.stop()

    assert during.allowed
    assert after.count(True) in {1, 2}  # one, and one more when the failover took fifteen seconds


async def test_a_sentinel_that_says_nothing_is_passed_over(server: RedisServer, tmp_path: Path) -> None:
    """The first one takes connections and never answers: the next one is asked while there is time."""
    file = tmp_path / "sentinel.conf"
    file.write_text(f"sentinel monitor mymaster 127.0.0.1 {server.port} 1\n")

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def decided() -> bool:
        try:
            return (await limiter.spend(spend("one", requests_per_minute=10))).allowed
        except LimiterLost:
            return False

    silent = await asyncio.start_server(mute, "127.0.0.1", 0)
    first = silent.sockets[0].getsockname()[1]
    with RedisServer(tmp_path / "sentinel", str(file), "--sentinel") as other:
        limiter = RedisLimiter(connect(f"redis+sentinel://127.0.0.1:{first},127.0.0.1:{other.port}/mymaster"))
        found = [await decided() for _ in range(3)]
        await limiter.close()
    silent.close()

    assert any(found)


async def until_async(true: Callable[[], Any]) -> None:
    """Wait for something that must be asked for."""
    for _ in range(300):
        if await true():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come")


async def linked(replica: RedisServer) -> bool:
    """Whether the replica follows."""
    return bool((await replica.ask("INFO", "replication")).get("master_link_status") == "up")


async def knows(sentinel: RedisServer) -> bool:
    """Whether the sentinel has found the replica."""
    return bool((await sentinel.ask("INFO", "sentinel"))["master0"]["slaves"] == 1)


def post(gateway: Process, prompt: str) -> httpx2.Response:
    """One generation."""
    headers = {"authorization": "Bearer sk-team"}
    body = {**BODY, "prompt": prompt}
    return httpx2.post(f"{gateway.url}/v1/images/generations", json=body, headers=headers, timeout=60)


def test_callers_do_not_notice_that_redis_was_away(server: RedisServer, tmp_path: Path) -> None:
    """Open, a whole gateway: every answer is 200 through stop and start; a log line each way, and a metric."""
    with Process(tmp_path / "gateway", CONFIG % "open", {"REDIS_URL": server.url}) as gateway:
        gateway.wait()
        answers = [post(gateway, f"before {i}") for i in range(3)]
        server.stop()
        answers += [post(gateway, f"during {i}") for i in range(5)]
        away = gateway.metrics()
        server.start()
        deadline = time.monotonic() + 15
        while "limiter is back" not in str(gateway.log) and time.monotonic() < deadline:
            answers.append(post(gateway, f"back {len(answers)}"))
        answers += [post(gateway, f"after {i}") for i in range(3)]
        back = gateway.metrics()
        messages = [line["message"] for line in gateway.log]

    assert {answer.status_code for answer in answers} == {200}
    assert (messages.count("limiter lost"), messages.count("limiter is back")) == (1, 1)
    assert 'pinhole_limiter_mode{mode="fallback"} 1.0' in away
    assert 'pinhole_limiter_mode{mode="redis"} 1.0' in back
    assert "pinhole_limiter_errors_total{" in back


def test_closed_is_503_and_not_ready(server: RedisServer, tmp_path: Path) -> None:
    """Closed, a whole gateway: without Redis 503 with retry-after, unready, nothing paid; and back by itself."""
    with Process(tmp_path / "gateway", CONFIG % "closed", {"REDIS_URL": server.url}) as gateway:
        gateway.wait()
        assert post(gateway, "before").status_code == 200
        server.stop()
        refused = [post(gateway, f"during {i}") for i in range(3)]
        unready = httpx2.get(f"{gateway.url}/readyz", timeout=30)
        server.start()
        gateway.wait()
        after = post(gateway, "after")
        settled = [line for line in gateway.log if line["message"] == "settled"]

    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(503, "1")}
    assert refused[0].json()["error"]["code"] == "service_unavailable"
    assert unready.status_code == 503
    assert after.status_code == 200
    assert len(settled) == 2
