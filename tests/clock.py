"""Time that passes only when somebody sleeps."""

from __future__ import annotations


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
