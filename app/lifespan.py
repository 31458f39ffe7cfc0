"""What goes on while the app lives, and what is closed after."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator
from typing import Final

from app.configured import Current
from app.http.process import release
from app.ledger.database import prepare
from app.ledger.sql import SQLLedger
from app.resume.resumer import Resumer
from app.routes.health import Draining
from app.runs import Runs
from app.seams import Seams
from app.telemetry import Telemetry

SWEEP_SECONDS: Final = 60.0
LAG_SECONDS: Final = 1.0


@contextlib.asynccontextmanager
async def lifespan(
    chosen: Seams, draining: Draining, runs: Runs, telemetry: Telemetry, current: Current, *, resumer: Resumer
) -> AsyncIterator[None]:
    """Sweeps, resumes and measures the loop while the app lives, and closes the seams after."""
    if isinstance(chosen.ledger, SQLLedger):
        await prepare(chosen.ledger.engine)
    await chosen.ledger.start()
    await runs.start()
    resuming = asyncio.create_task(resumer.live())
    tasks = [asyncio.create_task(_sweep(chosen)), asyncio.create_task(_lag(telemetry)), resuming]
    reloading = _reloads(current)
    try:
        yield
    finally:
        if reloading:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        draining.started = True
        resuming.cancel()
        await runs.drain(draining.left(current.value.config.server.drain_seconds))
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await chosen.transport.close()
        await chosen.limiter.close()
        await chosen.ledger.close()
        await chosen.store.close()
        await asyncio.to_thread(telemetry.tracer.close)


def _reloads(current: Current) -> bool:
    """SIGHUP reads the config file again, where this is the main thread: signals belong to it."""
    if threading.current_thread() is not threading.main_thread():
        return False
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, current.reload)
    return True


async def _sweep(chosen: Seams) -> None:
    while True:
        await chosen.store.sweep()
        await asyncio.to_thread(release)
        await chosen.clock.sleep(SWEEP_SECONDS)


async def _lag(telemetry: Telemetry) -> None:
    """Once a second, how late this task is woken; in the loop's own time, because the loop is what is measured."""
    lag, loop = telemetry.metrics.lag(), asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        lag.observe(max(0.0, loop.time() - due))
