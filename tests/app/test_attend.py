"""What a caller is told while it waits at a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.store import DiskStore
from providers.kit.clock import SystemClock
from tests.gateway import Gateway, running
from tests.services import RedisServer

BODY = {"model": "sandbox/canvas", "prompt": "p", "size": "512x512", "stream": True}


class QuickClock(SystemClock):
    """A hundred times as fast for whoever sleeps, also for comments in a silent stream."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


class SlowStore(DiskStore):
    """One that takes a while to bring an answer."""

    async def kept(self, name: str) -> bytes | None:
        await asyncio.sleep(1.0)
        return await super().kept(name)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways, the second of which knows the answers of the first by Redis and a slow storage."""
    clock = QuickClock()
    with RedisServer(tmp_path / "redis") as redis:
        environ = {"PINHOLE_SANDBOX": "true", "REDIS_URL": redis.url, "PINHOLE_SECRET": "shared"}
        store = SlowStore(tmp_path / "images", clock, 3600)
        with (
            running(tmp_path / "one", environ, clock=clock, store=store) as one,
            running(tmp_path / "two", environ, clock=clock, store=store) as two,
        ):
            yield one, two


def image(stream: httpx2.Response) -> str:
    """What its one event brings."""
    _, _, data = stream.text.rpartition("data: ")
    found: str = json.loads(data)["b64_json"]
    return found


def test_a_replayed_stream_waits_for_a_slow_store(pair: tuple[Gateway, Gateway]) -> None:
    """Comments go out until the answer comes; they are no reason to lose it."""
    headers = {"idempotency-key": "k"}
    first, again = (
        httpx2.post(f"{gateway.v1}/images/generations", json=BODY, headers=headers, timeout=30) for gateway in pair
    )

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.headers["pinhole-replayed"] == "true"
    assert again.text.startswith(":")
    assert image(again) == image(first)
