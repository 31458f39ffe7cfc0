"""The HTTP server's protocol.

A connection outlives its last answer until it is known whether the caller took it (app/http/receipts.py); on the way
to its end it is in one of the states of app/http/ending.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import BadInput, envelope
from app.http.arrival import HANG_UP, LEND
from app.http.corked import Corked
from app.http.cycle import Cycle
from app.http.edge import label
from app.http.ending import UNHEARD, Ending
from app.http.intake import Intake
from app.http.parser import Parser, body_parser, framing
from app.http.receipts import EXTENSION, Receipts
from providers.core.http import Buffer

# httptools and uvicorn keep a head of any length until it ends (0.9, 0.54).
HEAD_BYTES: Final = 64 * 1024
# For a head to come whole, and for the rest of a body that is answered already. uvicorn waits for ever (0.54).
PATIENCE_SECONDS: Final = 30.0


class Protocol(HttpToolsProtocol):
    """uvicorn's own, over a corked transport; tells the app what became of its answers."""

    patience = PATIENCE_SECONDS
    transport: Corked  # type: ignore[assignment]  # what connection_made puts there
    cycle: Cycle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        transport.set_write_buffer_limits(0)  # resume_writing then says that the kernel has everything
        corked = Corked(transport, self._closed)
        self._receipts = Receipts(corked)
        self._left: set[Callable[[], object]] = set()
        self._heading = False
        self._overhead = self._body_seen = 0
        super().connection_made(cast("asyncio.Transport", corked))
        self.parser = Parser(self)
        self._bound(self.patience)
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
        if not self._hears():
            return
        begun = self._heading
        self._overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._overhead > HEAD_BYTES:
            self.send_400_response(f"The head of the request has more than {HEAD_BYTES} bytes.")
        elif self._heading and not begun:
            self._bound(self.patience)

    def left(self) -> int:
        """As app.http.intake has it. Nothing is read before somebody asks for the body."""
        cycle: Cycle | None = self.cycle
        if cycle is None or not cycle.more_body:
            return 0
        declared = [value for name, value in self.headers if name == b"content-length"]
        if not declared:
            return -1
        if cycle.place is None and not cycle.response_complete:
            self.flow.pause_reading()
        return int(declared[0]) - self._body_seen

    def room(self) -> memoryview | None:
        """As app.http.intake has it."""
        return self.cycle.room()

    def wrote(self, count: int, scratch: memoryview | None) -> None:
        """As app.http.intake has it."""
        if scratch is None:
            self.cycle.wrote(count)
        elif self._hears():
            self._add(bytes(scratch[:count]))

    def body_ended(self) -> None:
        """As app.http.intake has it. The parser still waits for the body: another one reads what follows."""
        if not (self.cycle.keep_alive or self.cycle.response_complete):
            self.transport.ending = Ending.DEAF
        self.parser = Parser(self)
        self.on_message_complete()

    def on_message_begin(self) -> None:
        self._heading, self._overhead, self._body_seen = True, 0, 0
        self._receipts.asked()
        super().on_message_begin()
        self.scope["extensions"] = cast("Any", {EXTENSION: self._receipts, HANG_UP: self._gone})

    def on_headers_complete(self) -> None:
        self._heading = False
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        cycle = self.cycle = Cycle.of(self.cycle)
        cast("Any", self.scope)["extensions"][LEND] = cycle.lend
        self.headers = [*self.headers]  # trailers come to these, and are no headers of the request
        if self.transport.ending is Ending.LAST:
            cycle.keep_alive = False
        if self.expect_100_continue and self.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False

    def on_body(self, body: bytes) -> None:
        self._body_seen += len(body)
        self._overhead = 0
        self._add(body)

    def declined(self, rest: Any) -> bool:
        """As app.http.parser has it. A body is read, and nothing behind it on this connection."""
        if not self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        self.parser = body_parser(self.headers, self.on_body, self.on_message_complete)
        if rest:
            self.parser.feed_data(rest)
        return True

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and framing(self.headers):
            return  # it is not: the parser passes its body over
        super().on_message_complete()
        self.cycle.ended()
        if self.cycle.response_complete:
            if self.transport.is_closing():
                self.transport.close()
            else:
                self._bound(self.timeout_keep_alive)

    def send_400_response(self, msg: str) -> None:
        """In the error envelope, if it is the next answer. Nothing is heard any more, but what is due goes out."""
        cycle: Cycle | None = self.cycle
        self.transport.ending = Ending.DEAF
        if cycle is not None and not (cycle.more_body or cycle.response_complete):
            cycle.keep_alive = False
            return
        if cycle is None or not cycle.more_body or not (cycle.response_started or self.pipeline):
            self.transport.write(_refusal(msg, self.server_state.default_headers))
        self.transport.close()
        if cycle is not None and cycle.response_complete and cycle.more_body:
            self._pass_over()

    def timeout_keep_alive_handler(self) -> None:
        cycle: Cycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            if cycle is not None and cycle.more_body:
                self.transport.finish()
            else:
                super().timeout_keep_alive_handler()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._receipts.drained()

    def on_response_complete(self) -> None:
        self._receipts.out()
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._pass_over()

    def _bound(self, seconds: float) -> None:
        """What is waited for has to come within this time."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _pass_over(self) -> None:
        """Read the rest of a body that is answered: what is left unread at a close resets the answer away."""
        self._bound(self.patience)
        if self.transport.ending is Ending.CLOSING:
            self.flow.resume_reading()
            self.transport.write_eof()

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

    def _hears(self) -> bool:
        """Whether what comes is still of interest. The close of an idle connection is off when it is."""
        ending = self.transport.ending
        if ending is Ending.LEAVING:
            self.transport.ending = Ending.LAST
        return ending not in UNHEARD

    def _closed(self) -> Ending:
        """What a close leads to: it waits for the rest of an answered body, and until it is known who took what.

        What was broken off is lost at once.
        """
        cycle: Cycle | None = self.cycle
        if cycle is None or not cycle.response_complete:
            self._receipts.lost()
            return Ending.CLOSED
        if not (self._receipts.open or cycle.more_body):
            return Ending.CLOSED
        idle = cycle.keep_alive and self.transport.ending is not Ending.DEAF
        return Ending.LEAVING if idle else Ending.CLOSING


def _refusal(message: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    body = json.dumps(envelope(BadInput(message, code="invalid_http"))).encode()
    told = [
        *headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (b"x-request-id", label({}).encode()),
    ]
    return b"".join([STATUS_LINE[400], *[b"%b: %b\r\n" % header for header in told], b"\r\n", body])
