"""The HTTP server's protocol. Writes wait for the next one: a head travels with its body, and its end with both.

A connection outlives its last answer until it is known whether the caller took it (app/http/receipts.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http.arrival import HANG_UP
from app.http.cycle import Cycle
from app.http.receipts import EXTENSION, Receipts

SMALL: Final = 16 * 1024
# httptools and uvicorn keep a head of any length until it ends (0.9, 0.54).
HEAD_BYTES: Final = 64 * 1024


class Corked:
    """A transport whose writes go out together when the event loop comes round, with one large one at most.

    `held` is asked at a close: whether it has to wait for `finish`.
    """

    def __init__(self, transport: asyncio.Transport, held: Callable[[], bool]) -> None:
        self.held = False
        self._transport = transport
        self._closes_later = held
        self._waiting: list[Any] = []
        self._large = False
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
            self._loop.call_soon(self.flush)
        self._waiting.append(data)

    def close(self) -> None:
        """Send what is held and end, at once or later."""
        self.flush()
        if self._closes_later():
            self.held = True
        else:
            self._transport.close()

    def finish(self) -> None:
        """End."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Also while the end has to wait."""
        return self.held or self._transport.is_closing()

    def flush(self) -> None:
        """Send what is held."""
        waiting, self._waiting, self._large = self._waiting, [], False
        if waiting and not self._transport.is_closing():
            self._transport.writelines(waiting)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, over a corked transport; tells the app what became of its answers."""

    transport: Corked  # type: ignore[assignment]  # what connection_made puts there
    cycle: Cycle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        corked = Corked(transport, self._closes_later)
        self._receipts = Receipts(corked)
        self._left: set[Callable[[], object]] = set()
        self._last = self._heading = False
        self._headed = 0
        super().connection_made(cast("asyncio.Transport", corked))

    def connection_lost(self, exc: Exception | None) -> None:
        self._receipts.lost()
        super().connection_lost(exc)
        for tell in tuple(self._left):
            tell()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn never keeps a connection open here
        return self._receipts.ended()

    def data_received(self, data: bytes) -> None:
        if self.transport.held:
            if not self.cycle.keep_alive:
                return  # it was told that nothing more is answered here
            self.transport.held = False
            self._receipts.reopened()
            self._last = True
        begun = self._heading
        super().data_received(data)
        if begun and self._heading:
            self._headed += len(data)
            if self._headed > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of the request has more than {HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        self._heading, self._headed = True, 0
        self._receipts.asked()
        super().on_message_begin()
        self.scope["extensions"] = cast("Any", {EXTENSION: self._receipts, HANG_UP: self._gone})

    def on_headers_complete(self) -> None:
        self._heading = False
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle = Cycle.of(self.cycle)
        if self._last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        upgraded = self.parser.should_upgrade() and self._should_upgrade()
        if not upgraded and not self.cycle.response_complete and self.cycle.add(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        self.transport.flush()
        self._receipts.out()
        super().on_response_complete()

    def _gone(self, tell: Callable[[], object]) -> Callable[[], object]:
        """Have `tell` called when the connection is lost; what comes back ends that."""
        if self.parser is None:
            self.loop.call_soon(tell)  # it was lost before
        self.flow.resume_reading()
        self._left.add(tell)
        return lambda: self._left.discard(tell)

    def _closes_later(self) -> bool:
        """Whether a close waits; what was broken off is lost at once."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or not cycle.response_complete:
            self._receipts.lost()
        return self._receipts.closing()
