"""HTTP/1.1 on asyncio streams, raw enough that a test can assert the exact bytes of a request."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import h11

_READ = 1 << 18
_STATUSES = frozenset(HTTPStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request as it arrived: `headers` in order and case, `body` de-chunked, `raw_head` up to the blank line."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw_head: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def header(self, name: str) -> str | None:
        """The value of the header, whatever its case; several are joined by a comma; None when absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` on anything else, duplicate keys included."""
        return strict_json(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer and its faults.

    A `body` of bytes is sent with Content-Length, an iterable as one chunk per item. `delay_s` waits before the
    head, `chunk_delay_s` before each further chunk. `truncate_at` closes the socket after that many body bytes
    although the head promises them all. `reset` sends RST: before the head, or where `truncate_at` says. `hang`
    never answers. `paid`: a provider would bill this call.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    truncate_at: int | None = None
    reset: bool = False
    hang: bool = False
    paid: bool = False

    @classmethod
    def json(cls, status: int, doc: Any, **headers: str) -> Self:
        """A JSON document; `retry_after="7"` becomes the header `retry-after: 7`."""
        return cls(status=status, headers=_head("application/json", headers), body=json.dumps(doc).encode())

    @classmethod
    def html(cls, status: int, text: str, **headers: str) -> Self:
        """A page such as proxies and load balancers answer."""
        return cls(status=status, headers=_head("text/html; charset=utf-8", headers), body=text.encode())

    @classmethod
    def file(cls, content_type: str, data: bytes, **headers: str) -> Self:
        """Bytes of any type, status 200."""
        return cls(headers=_head(content_type, headers), body=data)

    @classmethod
    def sse(cls, events: Iterable["SseItem"], *, chunk_delay_s: float = 0.0, **headers: str) -> Self:
        """An event stream, one chunk per item: bytes go out as they are, else (event name or None, text or JSON)."""
        body = tuple(sse_bytes(item) for item in events)
        head = (*_head("text/event-stream; charset=utf-8", headers), ("cache-control", "no-cache"))
        return cls(headers=head, body=body, chunk_delay_s=chunk_delay_s)

    def header(self, name: str) -> str | None:
        """The value of the header, whatever its case; None when absent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


SseItem = bytes | tuple[str | None, Any]


def sse_bytes(item: SseItem) -> bytes:
    """One server-sent event on the wire."""
    if isinstance(item, bytes):
        return item
    name, data = item
    text = data if isinstance(data, str) else json.dumps(data)
    lines = [f"event: {name}"] if name is not None else []
    lines += [f"data: {line}" for line in text.split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def strict_json(text: bytes | str) -> Any:
    """JSON as RFC 8259 means it. Raises `ValueError` on duplicate keys, NaN and infinities too."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    doc = dict(pairs)
    if len(doc) != len(pairs):
        raise ValueError("a JSON object names a key twice")
    return doc


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _head(content_type: str, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    named = ((name.replace("_", "-"), value) for name, value in headers.items())
    return (("content-type", content_type), *named)


async def read_exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    """The next request, or None when the peer is gone. Raises `h11.RemoteProtocolError` on malformed HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        raise h11.RemoteProtocolError("the head does not hold a request")
    if connection.they_are_waiting_for_100_continue:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(connection, reader)
    if body is None:
        return None
    named = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw_items())
    method, target = request.method.decode(), request.target.decode("latin-1")
    return Exchange(method=method, target=target, headers=tuple(named), body=body, raw_head=head)


async def _read_body(connection: h11.Connection, reader: asyncio.StreamReader) -> bytes | None:
    body = bytearray()
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            if connection.trailing_data[0]:
                raise h11.RemoteProtocolError("bytes follow the request before its answer")
            return bytes(body)
        else:
            try:
                data = await reader.read(_READ)
            except ConnectionError:
                return None
            if not data:
                return None
            connection.receive_data(data)


async def write_reply(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, exchange: Exchange, reply: Reply
) -> bool:
    """Send the answer, faults and all; True when the connection can carry another request.

    Raises `ConnectionError` when the peer hung up first.
    """
    await _wait(reader, None if reply.hang else reply.delay_s)
    if reader.at_eof():
        raise ConnectionError("the peer hung up")
    if reply.reset and reply.truncate_at is None:
        _reset(writer)
        return False
    connection = _answering(exchange)
    data = connection.send(
        h11.Response(status_code=reply.status, headers=_framed(reply), reason=_reason(reply.status))
    )
    writer.write(data or b"")
    complete = True if exchange.method == "HEAD" else await _write_body(connection, reader, writer, reply)
    if complete:
        writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    if not complete and reply.reset:
        _reset(writer)
    return complete and connection.our_state is h11.DONE


def _answering(exchange: Exchange) -> h11.Connection:
    """An h11 connection that has read the whole request, so that it frames the answer as the request allows."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(exchange.raw_head)
    connection.next_event()
    return connection


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in _STATUSES else ""


def _framed(reply: Reply) -> list[tuple[str, str]]:
    headers = list(reply.headers)
    if isinstance(reply.body, bytes):
        return headers if reply.header("content-length") else [*headers, ("content-length", str(len(reply.body)))]
    return [*headers, ("transfer-encoding", "chunked")]


async def _write_body(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply
) -> bool:
    """True when all of the body was sent, False when it was cut."""
    left = reply.truncate_at
    for index, chunk in enumerate(_chunks(reply.body)):
        if index:
            await _wait(reader, reply.chunk_delay_s)
        part = chunk if left is None else chunk[:left]
        if part:
            writer.write(connection.send(h11.Data(data=part)) or b"")
            await writer.drain()
        if left is not None:
            left -= len(part)
            if left == 0:
                return False
    return True


def _chunks(body: bytes | Iterable[bytes]) -> Iterator[bytes]:
    yield from (body,) if isinstance(body, bytes) else body


async def _wait(reader: asyncio.StreamReader, seconds: float | None) -> None:
    """Sleep, for ever when None. Raises `ConnectionError` as soon as the peer hangs up."""
    if seconds == 0:
        return
    try:
        early = await asyncio.wait_for(reader.read(1), seconds)
    except TimeoutError:
        return
    raise ConnectionError("the peer hung up" if not early else "bytes follow the request before its answer")


def _reset(writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
