"""HTTP/1.1 answers: the head by httptools, the body by its framing, straight into the buffer where it stays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final, Protocol

import httptools

from providers.core.errors import UpstreamError
from providers.core.types import nothing
from providers.core.valueclass import valueclass
from providers.kit.room import Sink, copy_into

HEAD_BYTES: Final = 64 * 1024
LINE_BYTES: Final = 8 * 1024
SWITCHING_PROTOCOLS: Final = 101
BODILESS: Final = frozenset({204, 304})
# Below this, what is left of a chunk is read together with what follows it, and copied.
DIRECT_BYTES: Final = 16 * 1024
CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}")


@valueclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and headers, names in lower case. `length` is None when the body says itself where it ends."""

    status: int
    headers: Mapping[str, str] = field(default_factory=nothing, repr=False)
    length: int | None = None
    chunked: bool = False
    keep_alive: bool = True

    @property
    def interim(self) -> bool:
        """Whether another head follows this one."""
        return self.status // 100 == 1


class _Reader:
    """What httptools reports of a head."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text


def read_head(text: bytes, method: str) -> Head:
    """A head, its blank line included. Raises UpstreamError."""
    reader = _Reader()
    parser = httptools.HttpResponseParser(reader)
    try:
        parser.feed_data(text)
        status = parser.get_status_code()
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise UpstreamError("The upstream's answer is not HTTP.") from error
    if status == SWITCHING_PROTOCOLS:
        raise UpstreamError("The upstream's answer is not HTTP.")
    headers = reader.headers
    coding = headers.get("transfer-encoding", "chunked").lower()
    chunked = coding == "chunked" and "transfer-encoding" in headers
    if coding != "chunked":
        raise UpstreamError("The upstream's answer is framed in a way that was not asked for.")
    length: int | None = None
    if method == "HEAD" or status in BODILESS or status // 100 == 1:
        chunked, length = False, 0
    elif not chunked and (declared := headers.get("content-length", "")):
        if not declared.isdecimal():
            raise UpstreamError("The upstream's answer has no clear length.")
        length = int(declared)
    closes = "close" in headers.get("connection", "").lower()  # llhttp forgets it at the end of a head without a body
    keep_alive = bool(parser.should_keep_alive()) and not closes and (chunked or length is not None)
    return Head(status=status, headers=headers, length=length, chunked=chunked, keep_alive=keep_alive)


class Body(Protocol):
    """One way of telling where a body ends."""

    done: bool

    def room(self) -> memoryview | None:
        """Where the next bytes may be written at once; None when they must be looked at first."""

    def wrote(self, count: int) -> None:
        """So many bytes came into that room."""

    def feed(self, data: memoryview) -> None:
        """Bytes that came elsewhere. Raises UpstreamError for what is no such body."""

    def end(self) -> None:
        """The connection ended. Raises UpstreamError when that is too early."""


class Sized:
    """A body whose length was declared."""

    def __init__(self, sink: Sink, length: int) -> None:
        self._sink = sink
        self._left = length
        self.done = length == 0

    def room(self) -> memoryview:
        room = self._sink.room()
        return room[: self._left] if len(room) > self._left else room

    def wrote(self, count: int) -> None:
        self._left -= count
        self._sink.wrote(count)
        self.done = self._left == 0

    def feed(self, data: memoryview) -> None:
        if len(data) > self._left:
            raise UpstreamError("The upstream sent more than it declared.")
        copy_into(self._sink, data)
        self._left -= len(data)
        self.done = self._left == 0

    def end(self) -> None:
        if self._left:
            raise UpstreamError("The upstream's answer broke off.")


class Unsized:
    """A body that ends with its connection."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.done = False

    def room(self) -> memoryview:
        return self._sink.room()

    def wrote(self, count: int) -> None:
        self._sink.wrote(count)

    def feed(self, data: memoryview) -> None:
        copy_into(self._sink, data)

    def end(self) -> None:
        self.done = True


class Chunked:
    """A body in chunks (RFC 9112, 7.1); extensions and trailers are passed over."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._left = 0
        self._line = bytearray()
        self._after_chunk = False
        self._trailers = False
        self.done = False

    def room(self) -> memoryview | None:
        if self._left < DIRECT_BYTES:
            return None
        room = self._sink.room()
        return room[: self._left] if len(room) > self._left else room

    def wrote(self, count: int) -> None:
        self._left -= count
        self._sink.wrote(count)
        self._after_chunk = self._left == 0

    def feed(self, data: memoryview) -> None:
        while data:
            if self.done:
                raise UpstreamError("The upstream sent more than its answer.")
            if self._left:
                taken = data[: self._left]
                copy_into(self._sink, taken)
                self._left -= len(taken)
                self._after_chunk = self._left == 0
                data = data[len(taken) :]
            else:
                data = self._read_line(data)

    def end(self) -> None:
        raise UpstreamError("The upstream's answer broke off.")

    def _read_line(self, data: memoryview) -> memoryview:
        text = bytes(data[:LINE_BYTES])
        stop = text.find(b"\n")
        self._line += text if stop < 0 else text[: stop + 1]
        if len(self._line) > LINE_BYTES:
            raise UpstreamError("The upstream's answer is not HTTP.")
        if stop < 0:
            return data[len(text) :]
        line = bytes(self._line).rstrip(b"\r\n")
        self._line.clear()
        self._understand(line)
        return data[stop + 1 :]

    def _understand(self, line: bytes) -> None:
        if self._trailers:
            self.done = not line
            return
        if self._after_chunk:
            self._after_chunk = False
            if line:
                raise UpstreamError("The upstream's answer is not HTTP.")
            return
        digits = line.partition(b";")[0].strip()
        if not CHUNK_SIZE.fullmatch(digits):
            raise UpstreamError("The upstream's answer is not HTTP.")
        self._left = int(digits, 16)
        self._trailers = self._left == 0


def body_of(head: Head, sink: Sink) -> Body:
    """The framing that a head tells."""
    if head.chunked:
        return Chunked(sink)
    return Unsized(sink) if head.length is None else Sized(sink, head.length)
