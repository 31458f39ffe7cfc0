"""HTTP/1.1 straight to the upstream: keep-alive, bodies sent as their buffers and received where they stay."""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from providers.core.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from providers.core.http import Buffer, HTTPResponse
from providers.kit.room import Body, Room, Sink
from providers.kit.transport.connection import Connection, Exchange
from providers.kit.transport.framing import Head
from providers.kit.transport.protocol import (
    ACCEPT,
    CONNECT_SECONDS,
    IDLE_SECONDS,
    KEPT_CONNECTIONS,
    MAX_ANSWER_BYTES,
    Answer,
    WireRequest,
)
from providers.kit.transport.sinks import Limited, Pieces, gathered

SCRATCH_BYTES: Final = 256 * 1024
PORTS: Final = {"http": 80, "https": 443}
PLAIN: Final = re.compile(r"[\t -~\x80-\xff]*")
SAFE: Final = "/%:@!$&'()*+,;=?-._~[]|"
PACKED_AT_MOST: Final = 20


class Origin(NamedTuple):
    """Where a connection goes. `name` is what its certificate must say."""

    scheme: str
    host: str
    port: int
    name: str


class DirectTransport:
    """Connections by origin, the last used first."""

    def __init__(self, room: Room, idle_seconds: float = IDLE_SECONDS) -> None:
        """`room` is where whole answers grow; a connection that nobody needs is ended after `idle_seconds`."""
        self._room = room
        self._idle_seconds = idle_seconds
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle: dict[Origin, list[Connection]] = {}
        self._scratch = bytearray(SCRATCH_BYTES)

    async def send(self, request: WireRequest, seconds: float, limit: int = MAX_ANSWER_BYTES) -> HTTPResponse:
        loop = asyncio.get_running_loop()
        origin, message = _message(request)
        until = loop.time() + seconds
        connection = await self._connection(origin, seconds, loop)
        bodies: list[Body] = []

        def make(head: Head) -> Sink:
            bodies.append(self._room.body(min(head.length or 0, limit)))
            return Limited(bodies[0], limit, head.length)

        exchange = Exchange(request.method, make, loop.create_future())
        timer = loop.call_at(until, connection.expire)
        try:
            connection.begin(exchange, message)
            await exchange.ended
            body = bodies[0].whole()
        except BaseException:
            connection.abort()
            raise
        finally:
            timer.cancel()
            for each in bodies:
                each.drop()
        self._keep(origin, connection, loop.time())
        head = exchange.head
        assert head is not None  # noqa: S101 - what ended had a head
        if head.headers.get("content-encoding", ACCEPT) != ACCEPT:
            body = await _inflated(head.headers, body, limit)
        return HTTPResponse(status=head.status, headers=head.headers, body=body)

    @asynccontextmanager
    async def open(self, request: WireRequest, seconds: float) -> AsyncIterator[Answer]:
        loop = asyncio.get_running_loop()
        origin, message = _message(request)
        until = loop.time() + seconds
        connection = await self._connection(origin, seconds, loop)
        pieces = Pieces(connection.pause)
        headed: asyncio.Future[Head] = loop.create_future()

        def begun(head: Head) -> Sink:
            if not headed.done():
                headed.set_result(head)
            return pieces

        def over(ended: asyncio.Future[None]) -> None:
            error = ended.exception()
            pieces.finish(error)
            if error is not None and not headed.done():
                headed.set_exception(error)

        exchange = Exchange(request.method, begun, loop.create_future())
        exchange.ended.add_done_callback(over)
        try:
            async with asyncio.timeout_at(until):
                connection.begin(exchange, message)
                yield _Answer(await headed, pieces, self._room)
        except TimeoutError as error:
            raise UpstreamTimeout("The upstream did not answer in time.") from error
        finally:
            if exchange.ended.done() and connection.usable:
                connection.pause(False)
                self._keep(origin, connection, loop.time())
            else:
                connection.abort()

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def _connection(self, origin: Origin, seconds: float, loop: asyncio.AbstractEventLoop) -> Connection:
        """A kept connection or a new one. Raises UpstreamUnreachable."""
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if self._fresh(connection, loop.time()):
                return connection
            connection.abort()
        context = self._tls if origin.scheme == "https" else None
        try:
            async with asyncio.timeout(min(CONNECT_SECONDS, seconds)):
                _, made = await loop.create_connection(
                    lambda: Connection(self._scratch),
                    origin.host,
                    origin.port,
                    ssl=context,
                    server_hostname=origin.name if context else None,
                )
        except (OSError, ValueError) as error:  # TimeoutError, ssl.SSLError and gaierror are OSErrors
            what = type(error).__name__
            raise UpstreamUnreachable(f"No connection to the upstream could be made ({what}).") from error
        return made

    def _keep(self, origin: Origin, connection: Connection, now: float) -> None:
        if not connection.usable:
            connection.abort()
            return
        connection.idle_since = now
        kept = self._idle.setdefault(origin, [])
        kept.append(connection)
        if len(kept) > KEPT_CONNECTIONS:
            kept.pop(0).abort()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._idle_seconds, self._sweep)

    def _fresh(self, connection: Connection, now: float) -> bool:
        return connection.usable and connection.idle_since + self._idle_seconds > now

    def _sweep(self) -> None:
        """Callers' images and results come from ever new hosts: no connection to one stays for good."""
        loop = asyncio.get_running_loop()
        for origin, kept in [*self._idle.items()]:
            for connection in [*kept]:
                if not self._fresh(connection, loop.time()):
                    kept.remove(connection)
                    connection.abort()
            if not kept:
                del self._idle[origin]
        self._sweeper = loop.call_later(self._idle_seconds, self._sweep) if self._idle else None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context


@dataclass(frozen=True, slots=True)
class _Answer:
    head: Head
    pieces: Pieces
    room: Room

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.head.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.headers.get("content-encoding", ACCEPT) != ACCEPT:
            raise UpstreamError("The upstream's stream is compressed, which was not asked for.")
        while (piece := await self.pieces.next()) is not None:
            yield piece

    async def whole(self, limit: int = MAX_ANSWER_BYTES) -> Buffer:
        body = await gathered(self, self.room, limit)
        return await _inflated(self.headers, body, limit)


@lru_cache(maxsize=1024)
def _address(url: str, sni: str | None) -> tuple[Origin, str, str]:
    """Origin, Host header and request target of a URL. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in PORTS or not host or parts.username is not None:
        raise ValueError(parts.scheme)
    host = host if host.isascii() else host.encode("idna").decode()
    origin = Origin(parts.scheme, host, parts.port or PORTS[parts.scheme], sni or host)
    target = quote(parts.path or "/", SAFE) + (f"?{quote(parts.query, SAFE)}" if parts.query else "")
    name = f"[{host}]" if ":" in host else host
    return origin, name if parts.port is None else f"{name}:{parts.port}", target


def _message(request: WireRequest) -> tuple[Origin, list[Buffer]]:
    """Where a request goes, and its buffers. Raises UpstreamUnreachable: none of it was sent."""
    body = request.body
    origin, head = _head(request.method, request.url, request.sni, *request.headers.items())
    end = b"content-length: %d\r\n\r\n" % sum(map(len, body)) if body or request.method == "POST" else b"\r\n"
    return origin, [head + end, *body]


@lru_cache(maxsize=256)  # an account's own to each of its routes; those of forms and links are soon let go
def _head(method: str, url: str, sni: str | None, *headers: tuple[str, str]) -> tuple[Origin, bytes]:
    """Where a request goes, and its head but for the length of its body. Raises UpstreamUnreachable."""
    try:
        origin, host, target = _address(url, sni)
    except ValueError:
        raise UpstreamUnreachable("The upstream's address cannot be used.") from None
    told = {"host": host, "accept-encoding": ACCEPT, **dict(headers)}
    told.pop("content-length", None)
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    if not PLAIN.fullmatch("".join(lines)):
        raise UpstreamUnreachable("A header for the upstream holds a control character.")
    return origin, "".join(f"{line}\r\n" for line in lines).encode("latin-1")


async def _inflated(headers: Mapping[str, str], body: memoryview, limit: int) -> memoryview:
    """A body that came compressed though it was not asked for. Raises UpstreamError."""
    coding = headers.get("content-encoding", ACCEPT).lower()
    if coding == ACCEPT:
        return body
    if coding not in {"gzip", "x-gzip", "deflate"}:
        raise UpstreamError("The upstream's answer is compressed in a way that was not asked for.")
    most = min(limit, PACKED_AT_MOST * len(body) + 2**20)  # nothing of an image packs so well, a bomb does
    return memoryview(await asyncio.to_thread(_inflate, body, most))


def _inflate(body: memoryview, limit: int) -> bytes:
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # both gzip's and zlib's head
    try:
        plain = inflater.decompress(body, limit)
    except zlib.error as error:
        raise UpstreamError("The upstream's answer is not what its encoding says.") from error
    if not inflater.eof:
        raise UpstreamError(f"The upstream's answer is not whole, or longer than {limit} bytes.")
    return plain
