"""The server's part of a request: bodies in any pieces, heads that hold what the app said and nothing else."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.http.arrival import gone
from app.http.server import HEAD_BYTES, Protocol

Headers = Sequence[tuple[bytes, bytes]]
BODY = random.Random(1).randbytes(3 * 2**20)  # noqa: S311 - a body, no secret


class App:
    """Answers with the body that it was sent, under the headers that it was made with."""

    def __init__(self, headers: Headers = (), status: int = 200) -> None:
        self.headers = headers
        self.status = status
        self.left = asyncio.Event()
        self.told = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["path"] == "/stay":
            gone(scope, receive)(self._tell)
            await self.left.wait()
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": body})

    def _tell(self) -> None:
        self.told += 1
        self.left.set()


@asynccontextmanager
async def connected(app: App) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of this app."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, date_header=False, lifespan="off", interface="asgi3"
    )
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    server = await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()
        await asyncio.sleep(0)


async def head(reader: asyncio.StreamReader) -> list[bytes]:
    """The lines of a head."""
    return (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("expect", [False, True])
async def test_a_body_arrives_whole(chunked: bool, expect: bool) -> None:
    """With its length or in chunks, awaited or sent at once; the connection serves the next request after it."""
    framing = b"transfer-encoding: chunked\r\n" if chunked else b"content-length: %d\r\n" % len(BODY)
    awaited = b"expect: 100-continue\r\n" if expect else b""
    async with connected(App()) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n" + framing + awaited + b"\r\n")
            if expect:
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            size = 77_777
            for start in range(0, len(BODY), size):
                piece = BODY[start : start + size]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            writer.write(b"0\r\n\r\n" if chunked else b"")
            assert b"transfer-encoding: chunked" in await head(reader)
            found = b""
            while count := int(await reader.readline(), 16):
                found += await reader.readexactly(count)
                await reader.readline()
            await reader.readline()
            assert found == BODY


async def test_pipelined_requests_are_answered_in_turn() -> None:
    """Two requests in one packet are two answers, each with its own body."""
    async with connected(App([(b"content-length", b"3")])) as (reader, writer):
        writer.write(
            b"".join(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n" + b for b in (b"one", b"two"))
        )
        for body in (b"one", b"two"):
            await head(reader)
            assert await reader.readexactly(3) == body


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x", b"a\nb", b"a\x00b", b"a\x7f"])
@pytest.mark.parametrize("name", [b"x-name", b"x\r\nname", b"x name", b""])
async def test_a_header_cannot_become_another(name: bytes, value: bytes) -> None:
    """What would break a head is a 500 without it."""
    async with connected(App([(name, value)])) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        lines = await head(reader)

    assert lines[0].startswith(b"HTTP/1.1 500 ")
    assert not any(b"cookie" in line for line in lines)


@pytest.mark.parametrize(
    ("headers", "status", "expected"),
    [
        ([(b"connection", b"close"), (b"content-length", b"0")], 200, [b"connection: close", b"content-length: 0"]),
        ([(b"x-a", b"\xe9\tb"), (b"content-length", b"0")], 200, [b"x-a: \xe9\tb", b"content-length: 0"]),
        ([(b"transfer-encoding", b"chunked")], 200, [b"transfer-encoding: chunked"]),
        ([], 204, []),
        ([], 200, [b"transfer-encoding: chunked"]),
    ],
)
async def test_a_head_says_what_the_app_said(headers: Headers, status: int, expected: list[bytes]) -> None:
    """Its headers in their order, and how the body is framed."""
    async with connected(App(headers, status)) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        lines = await head(reader)

    assert lines[0].split()[1] == str(status).encode()
    assert lines[1:] == expected


async def test_a_hang_up_is_told_once() -> None:
    """Whoever waits for it hears of it, without asking."""
    app = App()
    async with connected(app) as (_, writer):
        writer.write(b"GET /stay HTTP/1.1\r\nhost: x\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0)
        writer.close()
        await asyncio.wait_for(app.left.wait(), 5)
        await asyncio.sleep(0.05)

    assert app.told == 1


async def test_a_head_without_end_is_refused() -> None:
    """Nobody fills the memory with a head: it is a 400 and the end of the connection."""
    async with connected(App()) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ")
        await asyncio.sleep(0.05)
        writer.write(b"a" * (HEAD_BYTES + 1))
        answer = await asyncio.wait_for(reader.read(), 10)

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_what_is_no_http_is_told_in_the_envelope() -> None:
    """The server's own refusals look like all others, and end the connection."""
    async with connected(App()) as (reader, writer):
        writer.write(b"GET / HTTP/9.9\r\nhost: x\r\n\r\n")
        lines = await head(reader)
        body = json.loads(await asyncio.wait_for(reader.read(), 10))

    assert lines[0].startswith(b"HTTP/1.1 400 ")
    assert {b"content-type: application/json", b"connection: close"} <= set(lines)
    assert any(line.startswith(b"x-request-id: req_") for line in lines)
    assert body["error"]["code"] == "invalid_http"


async def test_a_head_behind_a_large_body_is_read() -> None:
    """What counts is the head: a body before it, and the packet in which it begins, are none of it."""
    async with connected(App([(b"content-length", b"%d" % len(BODY))])) as (reader, writer):
        asked = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)
        writer.write(asked + BODY + asked[:20])
        await head(reader)
        first = await reader.readexactly(len(BODY))
        writer.write(asked[20:] + BODY)
        await head(reader)
        second = await reader.readexactly(len(BODY))

    assert first == second == BODY
