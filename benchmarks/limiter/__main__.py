"""`python -m benchmarks.limiter`: what a decision costs Redis, and what it adds to a request; prints a table."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

from app.config import Limits
from app.limiter import Scope, Spend, Used
from app.limiter.redis import RedisLimiter
from app.redis import Script, bulk, connect
from benchmarks.tools import free_port

ROUNDS = 5
CALLS = 100
MANY = 10**9
ALL = Limits(
    requests_per_minute=MANY,
    images_per_minute=MANY,
    megapixels_per_minute=MANY,
    concurrent_images=MANY,
    usd_per_day=MANY,
)
ONE = Scope("caller", "a", Limits(requests_per_minute=MANY))
FIVE = Scope("caller", "a", ALL)
WHOLE = tuple(Scope(kind, "a", ALL) for kind in ("caller", "model", "provider"))

Act = Callable[[int], Awaitable[object]]


@dataclass
class Case:
    """Something that is done again and again: microseconds of Redis' CPU and of waiting for each."""

    name: str
    act: Act
    cpu: list[float] = field(default_factory=list)
    wait: list[float] = field(default_factory=list)


@contextmanager
def server() -> Iterator[str]:
    """A Redis of our own; its URL."""
    port, program = free_port(), which("redis-server")
    if program is None:
        raise SystemExit("The benchmark needs redis-server: tests/ensure-services.sh")
    with TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(Path(folder))]
        process = Popen(command, stdout=DEVNULL)
        try:
            time.sleep(1)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(10)


def spend(number: int, scopes: tuple[Scope, ...]) -> Spend:
    """A request for one image."""
    return Spend(request_id=f"r{number}", scopes=scopes, images=1, megapixels=1.0, micro_usd=40_000)


def cases(url: str) -> list[Case]:
    """The cases in the order of the table; the first is what the others are compared with."""
    line = connect(url)
    bare, key = Script(line, "return 1"), (bulk(1), bulk("{pinhole}:x"))
    limiter = RedisLimiter(line)
    window = MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))
    item = RateLimitItemPerMinute(2000)  # what it keeps grows with the limit: one entry a hit
    keys = itertools.count()

    def decide(*scopes: Scope) -> Act:
        async def act(number: int) -> None:
            assert (await limiter.spend(spend(number, scopes))).allowed

        return act

    async def whole(number: int) -> None:
        made = spend(number, WHOLE)
        assert (await limiter.spend(made)).allowed
        await limiter.settle(made, Used(images=1, megapixels=1.0, micro_usd=40_000))

    async def hit(_: int) -> None:
        await window.hit(item, "a", str(next(keys) // 1000))

    return [
        Case("bare EVALSHA, `return 1`", lambda _: bare.run(*key)),
        Case("`limits` moving window, one limit", hit),
        Case("Pinhole, one limit", decide(ONE)),
        Case("Pinhole, five units of one scope", decide(FIVE)),
        Case("Pinhole, five units of three scopes", decide(*WHOLE)),
        Case("the same and its settlement (two calls)", whole),
    ]


async def cpu(client: Redis) -> float:
    """Seconds of CPU that the server has used."""
    found = await client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


async def measure(url: str) -> list[Case]:
    """Rounds of all cases in turns, so that whatever else the machine does meets all of them."""
    client = Redis.from_url(url)
    found, numbers = cases(url), itertools.count()
    for number in range(ROUNDS + 1):
        for case in found:
            before, waits = await cpu(client), []
            for _ in range(CALLS):
                started = time.perf_counter()
                await case.act(next(numbers))
                waits.append(time.perf_counter() - started)
            if number:  # the first round warms up
                case.cpu.append((await cpu(client) - before) / CALLS * 1e6)
                case.wait.append(statistics.median(waits) * 1e6)
        await client.flushdb()
    return found


def table(found: list[Case]) -> Iterator[str]:
    """Markdown."""
    yield "| case | Redis CPU | to bare | decisions per second and core | added wait | to bare |"
    yield "|---|---|---|---|---|---|"
    bare = found[0]
    for case in found:
        used, wait = statistics.median(case.cpu), statistics.median(case.wait)
        ratios = (used / statistics.median(bare.cpu), wait / statistics.median(bare.wait))
        cost = f"{used:.0f} us | {ratios[0]:.1f} | {1e6 / used:,.0f}"
        yield f"| {case.name} | {cost} | {wait:.0f} us | {ratios[1]:.2f} |"


if __name__ == "__main__":
    with server() as address:
        print("\n".join(table(asyncio.run(measure(address)))))
