"""Callers that offer another protocol in a request are answered as HTTP/1.1, their bodies read."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.app.wire import GENERATE, host
from tests.gateway import Gateway

BODY = json.dumps({"model": "gpt-image-2", "prompt": "a kite", "response_format": "url"}).encode()
OFFER = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAA\r\nUpgrade: h2c\r\n"
LENGTH = f"Content-Length: {len(BODY)}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def post(framing: str) -> bytes:
    """The head of a request that offers."""
    kind = "Content-Type: application/json\r\n"
    return f"POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{OFFER}{kind}{framing}\r\n".encode()


def said(gateway: Gateway, *pieces: bytes) -> bytes:
    """All that comes back for these pieces, each sent on its own, until the connection is closed or silent."""
    with socket.create_connection(host(gateway)) as connection:
        connection.settimeout(10)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.05)
        found = b""
        while b"\r\n\r\n" not in found or not found.endswith((b"}", b"]")):
            piece = connection.recv(2**16)
            if not piece:
                break
            found += piece
        return found


@pytest.mark.parametrize(
    "pieces",
    [
        (post(LENGTH) + BODY,),
        (post(LENGTH), BODY),
        (post(LENGTH), BODY[:10], BODY[10:]),
        (post(LENGTH)[:-20], post(LENGTH)[-20:] + BODY[:1], BODY[1:]),
        (post(CHUNKED) + CHUNKS,),
        (post(CHUNKED), CHUNKS[:9], CHUNKS[9:]),
    ],
)
def test_the_body_behind_an_offer_is_read(sandbox: Gateway, pieces: tuple[bytes, ...]) -> None:
    """However it comes; the connection ends behind the answer."""
    answer = said(sandbox, *pieces)
    head, _, body = answer.partition(b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["data"][0]["url"]


def test_an_offer_without_a_body_leaves_the_connection(sandbox: Gateway) -> None:
    """What is asked next is answered, also when it comes with it."""
    get = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{OFFER}\r\n".encode()
    last = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(host(sandbox)) as connection:
        connection.settimeout(10)
        connection.sendall(get + get + last)
        found = b"".join(iter(lambda: connection.recv(2**16), b""))

    assert found.count(b"HTTP/1.1 200 ") == 3
    assert found.count(b'{"status":"ok"}') == 2


def test_a_broken_body_behind_an_offer_is_told(sandbox: Gateway) -> None:
    """Chunks that are none are no HTTP, as without the offer."""
    answer = said(sandbox, post(CHUNKED), b"zz\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code": "invalid_http"' in answer
