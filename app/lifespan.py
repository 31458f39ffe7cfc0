"""What goes on while the app lives, and what is closed after."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from app.ledger.database import prepare
from app.ledger.sql import SQLLedger
from app.routes.health import Draining
from app.runs import Runs
from app.seams import Seams

SWEEP_SECONDS: Final = 60.0


@contextlib.asynccontextmanager
async def lifespan(chosen: Seams, draining: Draining, runs: Runs, seconds: float) -> AsyncIterator[None]:
    """Sweeps expired images while the app lives, and closes the seams after."""
    if isinstance(chosen.ledger, SQLLedger):
        await prepare(chosen.ledger.engine)
    await chosen.ledger.start()
    sweeper = asyncio.create_task(_sweep(chosen))
    try:
        yield
    finally:
        draining.started = True
        await runs.drain(seconds)
        sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper
        await chosen.transport.close()
        await chosen.limiter.close()
        await chosen.ledger.close()
        await chosen.store.close()


async def _sweep(chosen: Seams) -> None:
    while True:
        await chosen.store.sweep()
        await chosen.clock.sleep(SWEEP_SECONDS)
