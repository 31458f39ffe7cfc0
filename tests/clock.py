"""Time that passes only when somebody sleeps, and time that nobody waits for."""

from __future__ import annotations

import asyncio

from providers.kit.clock import SystemClock

# Sleeps of this length are rounds of background work, or comments in a silent stream: nothing that a test waits for.
# In a test's time they never end, however long the test takes on this machine. Retries wait at most 7.7 s.
HOUSEKEEPING_SECONDS = 9.0


async def slept(seconds: float, hurried: float) -> None:
    """A sleep that a test waits for takes `hurried` seconds."""
    if seconds >= HOUSEKEEPING_SECONDS:
        await asyncio.Event().wait()
    await asyncio.sleep(hurried)


class StillClock:
    """Starts at `at` (Unix seconds); `sleep` moves it at once and is noted in `slept`."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    def time(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


class HastyClock(SystemClock):
    """The machine's clock, on which short sleeps take no time to speak of."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        return super().now() + self._ahead

    def time(self) -> float:
        return super().time() + self._ahead

    def skip(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead += seconds

    async def sleep(self, seconds: float) -> None:
        await slept(seconds, min(seconds, 0.01))
