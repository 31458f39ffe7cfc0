"""Counting what happened lately, in bounded memory."""

from __future__ import annotations

from collections import deque

from providers.kit.clock import Clock


class Window:
    """How often something went well and how often not in the last `seconds`, kept in `slots` equal parts."""

    def __init__(self, clock: Clock, seconds: float = 30.0, slots: int = 30) -> None:
        self._clock = clock
        self._width = seconds / slots
        self._slots = slots
        self._counts: deque[tuple[int, list[int]]] = deque()
        self._total = [0, 0]

    @property
    def well(self) -> int:
        """What went well."""
        self._forget()
        return self._total[1]

    @property
    def badly(self) -> int:
        """What did not."""
        self._forget()
        return self._total[0]

    def add(self, well: bool) -> None:
        """It happened now."""
        slot = self._forget()
        if not self._counts or self._counts[-1][0] != slot:
            self._counts.append((slot, [0, 0]))
        self._counts[-1][1][well] += 1
        self._total[well] += 1

    def clear(self) -> None:
        """Nothing happened."""
        self._counts.clear()
        self._total = [0, 0]

    def _forget(self) -> int:
        slot = int(self._clock.now() / self._width)
        while self._counts and self._counts[0][0] <= slot - self._slots:
            badly, well = self._counts.popleft()[1]
            self._total[0] -= badly
            self._total[1] -= well
        return slot
