"""One connection to an upstream: it carries one exchange at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, cast

from providers.core.errors import UpstreamError, UpstreamFailure, UpstreamTimeout
from providers.core.http import Buffer
from providers.kit.room import Sink
from providers.kit.transport.framing import HEAD_BYTES, Body, Head, body_of, read_head

HEAD_END: Final = b"\r\n\r\n"
# Until the head is read nobody knows where the body goes, so little of it is received together with the head.
FIRST_BYTES: Final = 16 * 1024
MakeSink = Callable[[Head], Sink]


class Exchange:
    """An answer on its way: its `head` once that is here; `ended` is done with the last byte or what went wrong."""

    __slots__ = ("body", "ended", "head", "make_sink", "method")

    def __init__(self, method: str, make_sink: MakeSink, ended: asyncio.Future[None]) -> None:
        """`make_sink` is called once, with the head."""
        self.method = method
        self.make_sink = make_sink
        self.ended = ended
        self.head: Head | None = None
        self.body: Body | None = None

    def fail(self, error: UpstreamFailure) -> None:
        """Tell whoever waits."""
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()  # perhaps nobody waits any more


class Connection(asyncio.BufferedProtocol):
    """Reads the body of an answer straight into the place where it stays.

    `scratch` is where bytes wait that must be looked at first; it may be shared, as nothing stays in it.
    """

    def __init__(self, scratch: bytearray) -> None:
        self._received = scratch
        self._scratch = memoryview(scratch)
        self._first = self._scratch[:FIRST_BYTES]
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._head = bytearray()
        self._direct = False
        self._keep_alive = True
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another exchange can begin."""
        open_ = self._transport is not None and not self._transport.is_closing()
        return open_ and self._exchange is None and self._keep_alive

    def begin(self, exchange: Exchange, request: Sequence[Buffer]) -> None:
        """Send a request; its answer goes to the exchange."""
        assert self._transport is not None  # noqa: S101 - made and handed out after connection_made
        self._exchange = exchange
        if len(request) == 1:
            self._transport.write(request[0])
        else:
            self._transport.writelines(request)

    def abort(self) -> None:
        """End the connection at once."""
        self._keep_alive = False
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def expire(self) -> None:
        """The time of the exchange is over."""
        self._fail(UpstreamTimeout("The upstream did not answer in time."))

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        if self._transport is None or self._transport.is_closing():
            return
        if paused and self._transport.is_reading():
            self._transport.pause_reading()
        elif not paused and not self._transport.is_reading():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        body = self._exchange.body if self._exchange is not None else None
        if body is None:
            self._direct = False
            return self._first
        room = None if body.done else body.room()
        self._direct = room is not None
        return self._scratch if room is None else room

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # nobody asked: what comes now could be taken for the next answer
            return
        try:
            if self._direct and exchange.body is not None:
                exchange.body.wrote(nbytes)
            else:
                self._look(exchange, nbytes)
            if exchange.body is not None and exchange.body.done:
                self._finish(exchange)
        except UpstreamFailure as error:
            self._fail(error)

    def eof_received(self) -> bool:
        exchange = self._exchange
        if exchange is not None and exchange.body is not None:
            try:
                exchange.body.end()
            except UpstreamFailure as error:
                self._fail(error)
            else:
                self._finish(exchange)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep_alive = False
        if self._exchange is not None:
            reason = "broke off" if self._exchange.head else "never came: the connection ended"
            error = UpstreamError(f"The upstream's answer {reason}.")
            error.__cause__ = exc
            self._fail(error)

    def _look(self, exchange: Exchange, count: int) -> None:
        """What came into the scratch: heads, and what follows them or lies between the chunks of a body."""
        if exchange.body is not None:
            exchange.body.feed(self._scratch[:count])
            return
        received = self._received
        if self._head:
            self._head += self._scratch[:count]
            received, self._head = self._head, bytearray()
            count = len(received)
        start = self._read_heads(exchange, received, count)
        if exchange.body is None:
            self._head += memoryview(received)[start:count]
        elif start < count:
            exchange.body.feed(memoryview(received)[start:count])

    def _read_heads(self, exchange: Exchange, received: bytearray, count: int) -> int:
        """Where the last whole head ends."""
        start = 0
        while exchange.body is None:
            stop = received.find(HEAD_END, start, count) + len(HEAD_END)
            if stop < len(HEAD_END):
                if count - start > HEAD_BYTES:
                    raise UpstreamError("The upstream's answer has a head without an end.")
                break
            head = read_head(bytes(memoryview(received)[start:stop]), exchange.method)
            start = stop
            if not head.interim:
                self._keep_alive = head.keep_alive
                exchange.body = body_of(head, exchange.make_sink(head))
                exchange.head = head
        return start

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        transport = self._transport
        # An answer that came before the whole request was read leaves the connection in the middle of it.
        if not self._keep_alive or transport is None or transport.get_write_buffer_size():
            self.abort()
        if not exchange.ended.done():
            exchange.ended.set_result(None)

    def _fail(self, error: UpstreamFailure) -> None:
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.fail(error)
