"""One connection to an upstream: it carries one exchange at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from providers.core.errors import UpstreamError, UpstreamFailure
from providers.core.http import Buffer
from providers.kit.transport.framing import HEAD_BYTES, Body, Head, Sink, body_of, read_head

MakeSink = Callable[[Head], Sink]


class Exchange:
    """An answer on its way. `headed` comes with its head, `ended` with its last byte; both carry what went wrong."""

    def __init__(self, method: str, make_sink: MakeSink) -> None:
        loop = asyncio.get_running_loop()
        self.method = method
        self.make_sink = make_sink
        self.headed: asyncio.Future[Head] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.body: Body | None = None

    def fail(self, error: UpstreamFailure) -> None:
        """Tell whoever waits."""
        for future in (self.headed, self.ended):
            if not future.done():
                future.set_exception(error)
                future.exception()  # only one of the two may be waited for


class Connection(asyncio.BufferedProtocol):
    """Reads the body of an answer straight into the place where it stays.

    `scratch` is where bytes wait that must be looked at first; it may be shared, as nothing stays in it.
    """

    def __init__(self, scratch: bytearray) -> None:
        self._scratch = memoryview(scratch)
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
        body = self._exchange.body if self._exchange else None
        room = body.room() if body is not None and not body.done else None
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
                self._look(exchange, self._scratch[:nbytes])
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
            reason = "broke off" if self._exchange.headed.done() else "never came: the connection ended"
            error = UpstreamError(f"The upstream's answer {reason}.")
            error.__cause__ = exc
            self._fail(error)

    def _look(self, exchange: Exchange, data: memoryview) -> None:
        if exchange.body is not None:
            exchange.body.feed(data)
            return
        self._head += data
        while exchange.body is None:
            stop = self._head.find(b"\r\n\r\n") + 4
            if stop < 4:  # noqa: PLR2004 - the length of what was looked for
                if len(self._head) > HEAD_BYTES:
                    raise UpstreamError("The upstream's answer has a head without an end.")
                return
            head = read_head(bytes(self._head[:stop]), exchange.method)
            rest = bytes(self._head[stop:])
            self._head.clear()
            if head.interim:
                self._head += rest
                continue
            self._keep_alive = head.keep_alive
            exchange.body = body_of(head, exchange.make_sink(head))
            exchange.headed.set_result(head)
            if rest:
                exchange.body.feed(memoryview(rest))

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
