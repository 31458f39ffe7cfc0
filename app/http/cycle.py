"""One request and its answer on a connection, as uvicorn has it, with fewer steps and copies."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.http.arrival import Incoming
from providers.core.errors import PinholeError
from providers.kit.room import copy_into

_LINES: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")
_EMPTY: Final = frozenset({204, 304})
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class Cycle(RequestResponseCycle):
    """The body stays in the pieces in which it came; a head is checked as a whole, its names in lower case."""

    pieces: deque[bytes]
    held: int
    place: Incoming | None
    poured: asyncio.Future[None]

    @classmethod
    def of(cls, made: RequestResponseCycle) -> Cycle:
        """Uvicorn makes its own in the midst of a long method; nothing of it has run yet."""
        made.__class__ = cls
        cycle = cast("Cycle", made)
        cycle.pieces, cycle.held, cycle.place = deque(), 0, None
        return cycle

    def lend(self, place: Incoming) -> asyncio.Future[None]:
        """As app.http.arrival has it."""
        self.poured = asyncio.get_running_loop().create_future()
        self.place = place
        if self.disconnected:
            self.lost()
        elif self.waiting_for_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while self.pieces and self.place is not None:
            self.add(self.pieces.popleft())
        self.held = 0
        if not self.more_body:
            self.ended()
        self.flow.resume_reading()
        return self.poured

    def room(self) -> memoryview | None:
        """Where the body goes, if it was lent and is still wanted."""
        if self.place is not None and self.poured.done():
            self.place = None
        return self.place.room() if self.place is not None else None

    def wrote(self, count: int) -> None:
        """So much came into that room."""
        try:
            if self.place is not None:
                self.place.wrote(count)
        except PinholeError as error:
            self._over(error)

    def ended(self) -> None:
        """The last byte came."""
        self.more_body = False
        if self.place is not None:
            self.message_event.clear()
            self._over(None)

    def lost(self) -> None:
        """The caller left."""
        self._over(ConnectionResetError())

    def _over(self, error: Exception | None) -> None:
        if self.place is not None and not self.poured.done():
            if error is None:
                self.poured.set_result(None)
            else:
                self.poured.set_exception(error)
        self.place = None

    def add(self, piece: bytes) -> int:
        """More of the body; returns how much of it nobody took yet."""
        if self.place is not None and not self.poured.done():
            self._copy(piece, self.place)
            return 0
        self.pieces.append(piece)
        self.held += len(piece)
        self.message_event.set()
        return self.held

    def _copy(self, piece: bytes, place: Incoming) -> None:
        try:
            copy_into(place, piece)
        except PinholeError as error:
            self._over(error)

    async def receive(self) -> Any:
        if not self.pieces or self.waiting_for_100_continue or self.disconnected or self.response_complete:
            message = await super().receive()
            if message["type"] != "http.request" or not self.pieces:
                return message
        piece = self.pieces.popleft()
        self.held -= len(piece)
        if not self.pieces:
            self.message_event.clear()
            self.flow.resume_reading()
        return {"type": "http.request", "body": piece, "more_body": self.more_body or bool(self.pieces)}

    async def send(self, message: Any) -> None:
        if message["type"] != "http.response.start" or self.response_started or self.access_log:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected:
            head = self._head(message["status"], message.get("headers", ()))
            self.response_started = True
            self.waiting_for_100_continue = False
            self.transport.write(head)

    def _head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The head, and what it says of the body. Raises RuntimeError for a header that is none."""
        told = (*self.default_headers, *headers)
        lines = b"".join([b"%b: %b\r\n" % each for each in told])
        if not _LINES.fullmatch(lines) or lines.count(b"\n") != len(told):
            raise RuntimeError("a header is malformed")
        closing, more = False, b"\r\n"
        for name, value in told:
            if name in _FRAMING:
                closing = self._framed(name, value.lower()) or closing
        if not self.keep_alive and not closing:
            more = b"connection: close\r\n\r\n"
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _EMPTY:
            self.chunked_encoding = True
            more = b"transfer-encoding: chunked\r\n" + more
        return STATUS_LINE[status] + lines + more

    def _framed(self, name: bytes, value: bytes) -> bool:
        """How long the body is, and whether the connection ends behind it (True when a header says that)."""
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding" and value == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        elif name == b"connection" and b"close" in {word.strip() for word in value.split(b",")}:
            self.keep_alive = False
            return True
        return False
