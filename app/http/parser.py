"""The parser of a connection, which goes on where a caller offers to speak another protocol.

Java's own HTTP client sends `Upgrade: h2c` with its first request to an http URL, and an offer is declined by not
speaking of it (RFC 9110, 7.8). httptools takes all behind such a head for the other protocol (0.9, 2026-11-26).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import httptools

Headers = Iterable[tuple[bytes, bytes]]


class Offered(Protocol):
    """Whom a parser tells what it reads."""

    def declined(self, rest: Any) -> bool:
        """A head with an offer is read, `rest` came behind it: whether that was a body, and is read."""


class Parser(httptools.HttpRequestParser):
    """Reads requests."""

    def __init__(self, told: Offered) -> None:
        super().__init__(told)
        self.set_dangerous_leniencies(lenient_data_after_close=True)
        self._told = told

    def feed_data(self, data: Any) -> None:
        """Raises httptools.HttpParserError."""
        while True:
            try:
                super().feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                if not self._told.declined(data) and data:
                    continue
            return


class _Rest:
    def __init__(self, on_body: Callable[[bytes], None], on_message_complete: Callable[[], None]) -> None:
        self.on_body = on_body
        self.on_message_complete = on_message_complete


def framing(headers: Headers) -> bytes:
    """The header that tells of a body; b'' where there is none."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return b"%b: %b" % (name, value)
    return b""


def body_parser(
    headers: Headers, on_body: Callable[[bytes], None], on_message_complete: Callable[[], None]
) -> httptools.HttpRequestParser:
    """One that stands before the body of these headers and reads nothing else."""
    parser = httptools.HttpRequestParser(_Rest(on_body, on_message_complete))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    parser.feed_data(b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n\r\n" % framing(headers))
    return parser
