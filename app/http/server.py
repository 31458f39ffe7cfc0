"""The HTTP server's protocol. Writes wait for the next one: a head travels with its body, and its end with both.

A connection outlives its last answer until it is known whether the caller took it (app/http/receipts.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.errors import BadInput, envelope
from app.http.arrival import HANG_UP, LEND
from app.http.cycle import Cycle
from app.http.edge import label
from app.http.intake import Intake
from app.http.parser import Parser, body_parser, framing
from app.http.receipts import EXTENSION, Receipts
from providers.core.http import Buffer

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
        self._deaf = False
        self._headed = self._came = 0
        super().connection_made(cast("asyncio.Transport", corked))
        self.parser = Parser(self)
        transport.set_protocol(Intake(self))

    def connection_lost(self, exc: Exception | None) -> None:
        self._receipts.lost()
        super().connection_lost(exc)
        if self.cycle is not None:
            self.cycle.lost()
        for tell in tuple(self._left):
            tell()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn never keeps a connection open here
        return self._receipts.ended()

    def data_received(self, data: Buffer) -> None:
        if self._deaf or not self._listens():
            return
        begun = self._heading
        super().data_received(cast("bytes", data))
        if begun and self._heading:
            self._headed += len(data)
            if self._headed > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of the request has more than {HEAD_BYTES} bytes.")

    def left(self) -> int:
        """As app.http.intake has it. Nothing is read before somebody asks for the body."""
        cycle: Cycle | None = self.cycle
        if cycle is None or not cycle.more_body or self._heading or self.parser.should_upgrade():
            return 0
        declared = [value for name, value in self.headers if name == b"content-length"]
        if not declared:
            return -1
        if cycle.place is None and not cycle.response_complete:
            self.flow.pause_reading()
        return int(declared[0]) - self._came

    def room(self) -> memoryview | None:
        """As app.http.intake has it."""
        return self.cycle.room()

    def wrote(self, count: int, scratch: memoryview | None) -> None:
        """As app.http.intake has it."""
        self._unset_keepalive_if_required()
        if scratch is None:
            self.cycle.wrote(count)
        elif self._listens():
            self._add(bytes(scratch[:count]))

    def body_ended(self) -> None:
        """As app.http.intake has it. The parser still waits for the body: another one reads what follows."""
        self._deaf = not self.cycle.keep_alive
        self.parser = Parser(self)
        self.on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        self._heading, self._headed, self._came = True, 0, 0
        self._receipts.asked()
        super().on_message_begin()
        self.scope["extensions"] = cast("Any", {EXTENSION: self._receipts, HANG_UP: self._gone})

    def on_headers_complete(self) -> None:
        self._heading = False
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle = Cycle.of(self.cycle)
            cast("Any", self.scope)["extensions"][LEND] = self.cycle.lend
        if self._last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._came += len(body)
        self._add(body)

    def declined(self, rest: bytes) -> None:
        """As app.http.parser has it. A body is read, and nothing behind it on this connection."""
        if self.cycle.more_body:
            self.cycle.keep_alive = False
            self.parser = body_parser(self.headers, self.on_body, self.on_message_complete)
        else:
            self.parser = Parser(self)
        if rest:
            self.parser.feed_data(rest)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and framing(self.headers):
            return  # it is not: the parser passes its body over
        super().on_message_complete()
        if self.cycle is not None:
            self.cycle.ended()

    def send_400_response(self, msg: str) -> None:
        """In the error envelope."""
        body = json.dumps(envelope(BadInput(msg, code="invalid_http"))).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"x-request-id", label({}).encode()),
        ]
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(STATUS_LINE[400] + lines + b"\r\n" + body)
        self.transport.close()

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

    def _should_upgrade(self) -> bool:
        """No other protocol is spoken here."""
        return False

    def _add(self, piece: bytes) -> None:
        if not self.cycle.response_complete and self.cycle.add(piece) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def _listens(self) -> bool:
        """Whether what comes is still of interest. A close that waits is off when it is."""
        if self.transport.held:
            if not self.cycle.keep_alive:
                return False  # it was told that nothing more is answered here
            self.transport.held = False
            self._receipts.reopened()
            self._last = True
        return True

    def _closes_later(self) -> bool:
        """Whether a close waits; what was broken off is lost at once."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or not cycle.response_complete:
            self._receipts.lost()
        return self._receipts.closing()
