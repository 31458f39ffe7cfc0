"""Several gateway processes and one real Redis admit exactly what the config says, in all five units at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.processes import Process
from tests.services import RedisServer
from tests.upstreams.openai import OpenAIStandIn

# `make limits-long` sets these.
SECONDS = float(os.environ.get("PINHOLE_LIMITS_SECONDS", "3"))
GATEWAYS = int(os.environ.get("PINHOLE_LIMITS_GATEWAYS", "2"))
WORKERS = 3
AT_ONCE = 3
# Every caller meets all five units; one of them is narrow.
WIDE = {
    "requests_per_minute": "100000",
    "images_per_minute": "100000",
    "megapixels_per_minute": "100000",
    "concurrent_images": "900",
    "usd_per_day": "10000",
}
NARROW = {
    "requests": ("requests_per_minute", 40.0),
    "images": ("images_per_minute", 60.0),
    "megapixels": ("megapixels_per_minute", 0.16384),
    "usd": ("usd_per_day", 0.37),
    "flying": ("concurrent_images", float(AT_ONCE)),
}


@dataclass(frozen=True)
class Demand:
    """What a caller asks for again and again: how many images, and what one request takes of its narrow limit."""

    n: int
    takes: float
    refills: bool = True


DEMANDS = {
    "requests": Demand(1, 1),
    "images": Demand(2, 2),
    "megapixels": Demand(1, 0.004096),  # 64 x 64 pixels
    "usd": Demand(1, 0.01, refills=False),
}


def limits(**narrow: float) -> str:
    """Limits as YAML."""
    return "{" + ", ".join(f"{name}: {value}" for name, value in {**WIDE, **narrow}.items()) + "}"


def config() -> str:
    """Five callers beside limits of the model and of all together."""
    keys = "".join(
        f"  - {{name: {name}, key: sk-{name}, limits: {limits(**{unit: value})}}}\n"
        for name, (unit, value) in NARROW.items()
    )
    prices = "prices: {image: 0.01}"
    models = "".join(f"  {name}: {{{prices}, limits: {limits()}}}\n" for name in ("sandbox/canvas", "dall-e-2"))
    return f"limits: {limits()}\nmodels:\n{models}keys:\n{keys}"


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Process], OpenAIStandIn]]:
    """The processes, with one Redis, each with its own ledger, and one provider."""
    folder = tmp_path_factory.mktemp("exact")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis"))
        upstream = stack.enter_context(OpenAIStandIn())
        environ = {
            "PINHOLE_SANDBOX": "false",
            "REDIS_URL": redis.url,
            "OPENAI_API_KEY": upstream.key,
            "OPENAI_BASE_URL": upstream.base_url,
        }
        made = [Process(folder / str(i), config(), environ) for i in range(GATEWAYS)]
        yield [found.wait() for found in [stack.enter_context(found) for found in made]], upstream


async def ask(client: httpx2.AsyncClient, gateway: Process, caller: str, body: dict[str, Any]) -> httpx2.Response:
    """One generation."""
    headers = {"authorization": f"Bearer sk-{caller}"}
    return await client.post(f"{gateway.url}/v1/images/generations", json=body, headers=headers)


async def demanded(client: httpx2.AsyncClient, gateways: list[Process], caller: str) -> tuple[int, float, float]:
    """How many requests were admitted, over the time that surely passed and the time that may have passed.

    The caller asks until it was refused, and goes on for SECONDS.
    """
    demand, admitted, number = DEMANDS[caller], 0, 0
    body = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64", "n": demand.n, "response_format": "url"}
    first_answer = last_question = refused = 0.0
    started = time.monotonic()

    async def work() -> None:
        nonlocal admitted, number, first_answer, last_question, refused
        while not refused or time.monotonic() - refused < SECONDS:
            number += 1
            last_question = time.monotonic()
            answer = await ask(client, gateways[number % len(gateways)], caller, body)
            first_answer = first_answer or time.monotonic()
            assert answer.status_code in {200, 429}, answer.text
            assert "pinhole-replayed" not in answer.headers
            admitted += answer.status_code == 200
            if answer.status_code == 429:
                refused = refused or time.monotonic()
                await asyncio.sleep(0.1)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return admitted, max(0.0, last_question - first_answer), time.monotonic() - started


async def test_four_units_admit_what_the_config_says(gateways: tuple[list[Process], OpenAIStandIn]) -> None:
    """Under more demand than the limits allow: never more than bucket and refill, at most 1 % less; money exactly."""
    async with httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=100)) as client:
        found = await asyncio.gather(*(demanded(client, gateways[0], caller) for caller in DEMANDS))
    for caller, (admitted, least, most) in zip(DEMANDS, found, strict=True):
        demand, limit = DEMANDS[caller], NARROW[caller][1]
        refills = limit / 60 if demand.refills else 0.0
        most_admitted = int((limit + refills * most) / demand.takes + 1e-6)
        least_admitted = int((limit + refills * least) / demand.takes * 0.99) - demand.refills

        assert least_admitted <= admitted <= most_admitted, (caller, admitted, least_admitted, most_admitted)
        assert admitted == most_admitted or demand.refills


async def test_images_at_once_are_never_more(gateways: tuple[list[Process], OpenAIStandIn]) -> None:
    """Of many at the same moment just as many go through as may fly; the provider never sees more."""
    processes, upstream = gateways
    body = {"model": "dall-e-2", "prompt": "SLOW", "size": "256x256", "response_format": "url"}
    upstream.peak = 0
    rounds = 2 if SECONDS < 30 else 20
    async with httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=100)) as client:
        for number in range(rounds):
            many = [{**body, "prompt": f"SLOW {number} {i}"} for i in range(4 * AT_ONCE)]
            calls = (ask(client, processes[i % len(processes)], "flying", one) for i, one in enumerate(many))
            answers = await asyncio.gather(*calls)
            statuses = [answer.status_code for answer in answers]

            assert (statuses.count(200), statuses.count(429)) == (AT_ONCE, 3 * AT_ONCE)
            assert {answer.headers.get("retry-after") for answer in answers if answer.status_code == 429} == {"1"}
    assert upstream.peak == AT_ONCE
