"""Writes wait for the next one: a head travels with its body, and its end with both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from app.http.ending import WAITING, Ending

SMALL: Final = 16 * 1024


class Corked:
    """A transport whose writes go out together when the event loop comes round, with one large one at most.

    `closed` is asked at a close what it leads to: Ending.CLOSED, or one that waits for `finish`.
    """

    def __init__(self, transport: asyncio.Transport, closed: Callable[[], Ending]) -> None:
        self.ending = Ending.OPEN
        self._transport = transport
        self._closed = closed
        self._waiting: list[Any] = []
        self._large = self._back = False
        self._loop = asyncio.get_running_loop()

    def write(self, data: Any) -> None:
        """Send, in order."""
        if not data:
            return
        if len(data) > SMALL:
            if self._large:
                self.flush()
            self._large = True
        if not self._waiting:
            self._loop.call_soon(self._come_round)
        self._waiting.append(data)

    def close(self) -> None:
        """Send what is held and end, at once or later."""
        if self.ending is Ending.CLOSED:
            return
        self.ending = self._closed()
        if self.ending is Ending.CLOSED:
            self.finish()

    def finish(self) -> None:
        """End."""
        self.flush()
        self.ending = Ending.CLOSED
        self._transport.close()

    def write_eof(self) -> None:
        """Tell that nothing more is written; what comes is still read."""
        self.flush()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def is_closing(self) -> bool:
        """Also while the end has to wait."""
        return self.ending in WAITING or self._transport.is_closing()

    def lead(self) -> None:
        """Send what is held but its last, small part: that stays until `flush`."""
        count, size = len(self._waiting), 0
        while count and (size := size + len(self._waiting[count - 1])) <= SMALL:
            count -= 1
        last = self._waiting[count:]
        del self._waiting[count:]
        self.flush()
        self._waiting, self._back = last, bool(last)

    def flush(self) -> None:
        """Send what is held."""
        waiting, self._waiting, self._large, self._back = self._waiting, [], False, False
        if waiting and not self._transport.is_closing():
            self._transport.writelines(waiting)

    def _come_round(self) -> None:
        if not self._back:
            self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
