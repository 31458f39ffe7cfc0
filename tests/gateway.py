"""A whole gateway on a real socket, in a thread of its own, for every test that speaks HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from app import config as config_file
from app.capacity import Capacity
from app.http.bodies import PACE, Pace
from app.http.server import Protocol
from app.keys import Keys
from app.ledger import MemoryLedger
from app.ledger.database import engine, upgrade
from app.limiter import Limiter
from app.main import create_app, image_folder, limiter, line, room
from app.seams import Seams
from app.secret import signing_secrets
from app.settings import load
from app.store import DiskStore, ImageStore, Links
from app.telemetry import Telemetry
from app.telemetry.tracing import tracer
from providers.kit.clock import Clock, SystemClock
from providers.kit.transport import HTTPTransport
from tests.clock import slept

START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where it listens, and what of its inside a test may read."""

    url: str
    app: FastAPI
    ledger: MemoryLedger
    capacity: Capacity
    limiter: Limiter

    @property
    def sandboxed(self) -> bool:
        """Whether it draws itself."""
        return all(entry.provider == "sandbox" for entry in self.ledger.entries)

    @property
    def v1(self) -> str:
        """The base URL for SDKs."""
        return f"{self.url}/v1"


class HurriedClock(SystemClock):
    """The real clock, on which short waits take a hundredth; `slept` is what was waited for, in seconds."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._ahead = 0.0

    def now(self) -> float:
        return super().now() + self._ahead

    def time(self) -> float:
        return super().time() + self._ahead

    def skip(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await slept(seconds, seconds / 100)


@contextmanager
def running(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    config: str = "",
    *,
    pace: Pace = PACE,
    clock: Clock | None = None,
    store: ImageStore | None = None,
) -> Iterator[Gateway]:
    """A gateway with this environment (the sandbox when none is given) and this config file's text."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        port = listener.getsockname()[1]
        given = {"PINHOLE_SANDBOX": "true"} if environ is None else dict(environ)
        env = {"PINHOLE_PORT": str(port), "PINHOLE_DATA_DIR": str(folder), **given}
        settings = load(env)
        parsed = config_file.parse(config, env)
        clock = clock or SystemClock()
        ledger = MemoryLedger()
        database = engine(settings)
        found = signing_secrets(settings)
        ttl = parsed.storage.ttl_seconds
        telemetry = Telemetry(tracer(env))
        capacity = Capacity(clock, parsed.capacity)
        spool = room(settings, capacity, telemetry)
        redis = line(settings.redis_url)
        seams = Seams(
            clock=clock,
            transport=HTTPTransport(spool),
            limiter=limiter(redis, parsed, clock, ledger, telemetry),
            ledger=ledger,
            store=store or DiskStore(image_folder(settings, parsed), clock, ttl),
            links=Links(settings.public_url, found, clock, ttl),
            keys=Keys(database, found, clock),
            pace=pace,
            capacity=capacity,
            room=spool,
            redis=redis,
        )
        asyncio.run(_prepared(database))
        app = create_app(settings, parsed, chosen=seams, telemetry=telemetry)
        serving = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", http=Protocol, ws="none")
        server = uvicorn.Server(serving)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started, "the gateway did not start"
        try:
            yield Gateway(f"http://127.0.0.1:{port}", app, ledger, capacity, seams.limiter)
        finally:
            server.should_exit = True
            thread.join(15)


async def _prepared(database: AsyncEngine) -> None:
    await upgrade(database)
    await database.dispose()
