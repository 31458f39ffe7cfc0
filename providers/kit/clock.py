"""Time as a seam: whatever waits or dates asks the clock it was given."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, Unix seconds, and sleeping."""

    def now(self) -> float:
        """Monotonic seconds, for durations and deadlines."""

    def time(self) -> float:
        """Unix seconds, for dates."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    now = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
