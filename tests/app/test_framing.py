"""Where a request ends and what is answered behind it, over a real socket: RFC 9112 as callers bend it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from app.http.receipts import expected
from app.http.server import HEAD_BYTES, Protocol

BODY = b"z" * 40_000
NEXT = b"POST /next HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"
UPGRADE = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQ")
SIZED, CHUNKED = b"content-length: %d" % len(BODY), b"transfer-encoding: chunked"

Run = Callable[[Coroutine[Any, Any, None]], None]
loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


class Impatient(Protocol):
    """A server that waits for nobody."""

    patience = 0.3


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Tells what it heard; `/early` answers without asking for the body, `/slow` in two pieces."""
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    names = sorted(name.decode() for name, _ in scope["headers"])
    text = json.dumps({"path": scope["path"], "length": len(body), "headers": names}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": text[:5], "more_body": True})
        await asyncio.sleep(0.1)
        text = text[5:]
    if scope["path"] == "/receipt":
        assert expected(scope, Deaf())
    await send({"type": "http.response.body", "body": text})


class Deaf:
    """A recipient that does not care."""

    def sent(self) -> None:
        """Nothing follows from it."""

    def leave(self, *, delivered: bool) -> None:
        """As `sent`."""


class Caller:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        """Each in a packet of its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)

    async def answer(self) -> tuple[int, dict[str, Any], bool]:
        """Status, document, and whether it is told to be the last."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        document = json.loads(await asyncio.wait_for(self.reader.readexactly(length), 10))
        return int(head.split()[1]), document, b"connection: close" in head

    async def path(self) -> str:
        """Whose answer comes next."""
        return str((await self.answer())[1].get("path"))

    async def ended(self) -> bool:
        """Nothing more is said, and that is told without a reset."""
        return await asyncio.wait_for(self.reader.read(), 10) == b""


@asynccontextmanager
async def connected() -> AsyncIterator[Caller]:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", interface="asgi3", timeout_keep_alive=1
    )
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    server = await loop.create_server(lambda: Impatient(config, state, {}), "127.0.0.1", 0)
    async with server:
        caller = Caller(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        try:
            yield caller
        finally:
            caller.writer.close()
            for _ in range(500):
                if state.connections:
                    await asyncio.sleep(0.01)
            assert not state.connections


def asked(path: bytes, *lines: bytes, version: bytes = b"1.1") -> bytes:
    """A head."""
    return b"\r\n".join((b"POST " + path + b" HTTP/" + version, b"host: x", *lines, b"", b""))


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@loops
@pytest.mark.parametrize("body", [BODY, NEXT], ids=["long", "request"])
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("glued", [False, True])
def test_who_asks_for_an_upgrade_is_served_without(run: Run, body: bytes, in_chunks: bool, glued: bool) -> None:
    """Its body is its body and never the next request, as the JDK's HttpClient sends it."""
    framing, sent = (CHUNKED, chunked(body)) if in_chunks else (b"content-length: %d" % len(body), body)
    head = asked(b"/", *UPGRADE, framing)

    async def work() -> None:
        async with connected() as caller:
            await caller.send(*((head + sent,) if glued else (head[:50], head[50:], sent[:30], sent[30:])))
            status, document, _ = await caller.answer()
            assert (status, document["path"], document["length"]) == (200, "/", len(body))
            assert await caller.ended()

    run(work())


@loops
def test_many_upgrades_in_one_packet_are_many_requests(run: Run) -> None:
    """Without a body, too, what follows is the next request."""

    async def work() -> None:
        async with connected() as caller:
            count = 1500
            await caller.send(asked(b"/first", CHUNKED), chunked(BODY) + asked(b"/first", *UPGRADE) * count + NEXT)
            assert [await caller.path() for _ in range(count + 2)] == ["/first"] * (count + 1) + ["/next"]

    run(work())


@loops
@pytest.mark.parametrize("apart", [False, True])
def test_a_trailer_is_no_header(run: Run, apart: bool) -> None:
    """What comes behind the body cannot become a credential or a framing of the request."""
    trailers = b"authorization: Bearer x\r\nx-request-id: y\r\n\r\n"
    body = b"5\r\nhello\r\n0\r\n"

    async def work() -> None:
        async with connected() as caller:
            head = asked(b"/", CHUNKED)
            await caller.send(*((head, body, trailers[:30], trailers[30:]) if apart else (head + body + trailers,)))
            assert (await caller.answer())[1]["headers"] == ["host", "transfer-encoding"]
            await caller.send(NEXT)
            assert await caller.path() == "/next"

    run(work())


@loops
@pytest.mark.parametrize("begin", [b"1\r\na\r\n0\r\nx-a: ", b"1;"], ids=["trailer", "extension"])
def test_trailers_without_end_are_refused(run: Run, begin: bytes) -> None:
    """Nobody fills the memory with what is no body."""

    async def work() -> None:
        async with connected() as caller:
            try:
                await caller.send(asked(b"/", CHUNKED), begin, b"a" * (HEAD_BYTES + 1))
                said = await asyncio.wait_for(caller.reader.read(), 10)
            except ConnectionError:
                return  # the rest was not read
            assert said.startswith(b"HTTP/1.1 400 ")

    run(work())


@loops
def test_many_small_chunks_are_no_head(run: Run) -> None:
    """The framing of a body may be longer than a head, if a body comes with it."""
    count = HEAD_BYTES // 3

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/", CHUNKED), b"1\r\na\r\n" * count, b"0\r\n\r\n")
            assert (await caller.answer())[1]["length"] == count

    run(work())


@loops
@pytest.mark.parametrize("path", [b"/", b"/slow"])
@pytest.mark.parametrize("body", [b"a", BODY], ids=["short", "long"])
@pytest.mark.parametrize("glued", [False, True])
def test_what_follows_a_request_does_not_answer_it(run: Run, path: bytes, body: bytes, glued: bool) -> None:
    """Bytes that are no HTTP end the connection behind the answer that is due, and are never told in its midst."""
    wrong = b"}GARBAGE\x00"

    async def work() -> None:
        async with connected() as caller:
            first = asked(path, b"content-length: %d" % len(body)), body
            await caller.send(*((*first[:1], first[1] + wrong) if glued else (*first, wrong)))
            status, document, _ = await caller.answer()
            assert (status, document.get("length")) == (200, len(body)) or not glued
            assert await caller.ended() or path == b"/"

    run(work())


@loops
@pytest.mark.parametrize("framing", [SIZED, CHUNKED])
@pytest.mark.parametrize(("version", "more"), [(b"1.1", b"connection: close"), (b"1.0", b"x-a: b")])
def test_an_early_last_answer_is_not_reset_away(run: Run, framing: bytes, version: bytes, more: bytes) -> None:
    """Who still sends its body, to a connection that ends behind the answer, gets the answer and the end."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/early", framing, more, version=version))
            if framing == CHUNKED:
                await caller.send(b"9c40\r\n")
            for start in range(0, len(BODY), 8000):
                await caller.send(BODY[start : start + 8000])
            assert (await caller.answer())[1]["path"] == "/early"
            assert await caller.ended()

    run(work())


@loops
@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"\r\n",),
        (b"POST /early HT",),
        (asked(b"/early", CHUNKED), b"5\r\nhello\r\n", b"0\r\n\r\n"),
        (asked(b"/early", CHUNKED), b"5\r\nhel"),
        (asked(b"/early", SIZED), BODY[:20_000]),
        (asked(b"/early", SIZED, b"connection: close"), BODY[:20_000]),
        (asked(b"/early", SIZED), BODY),
        (NEXT, b"\r\n"),
        (NEXT, b"POST /early HT"),
        (asked(b"/receipt", b"connection: close") + NEXT, NEXT),
        (asked(b"/early", CHUNKED), b"5\r\nhello\r\nGARBAGE"),
    ],
)
def test_nobody_is_waited_for_without_end(run: Run, pieces: tuple[bytes, ...]) -> None:
    """A connection on which nothing is answered ends by itself, whatever was begun on it."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(*pieces)
            said = await asyncio.wait_for(caller.reader.read(), 5)
            assert said.count(b"HTTP/1.1 200 ") == bool(pieces and len(pieces[0]) > len(b"POST /early HT"))
            assert said.count(b"HTTP/1.1 ") == said.count(b"HTTP/1.1 200 ")

    run(work())


@loops
def test_an_old_caller_is_not_invited(run: Run) -> None:
    """HTTP/1.0 knows no 100 Continue."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/", b"expect: 100-continue", SIZED, version=b"1.0"), BODY)
            assert await caller.path() == "/"

    run(work())


@loops
@pytest.mark.parametrize(
    "head",
    [
        b"content-length: +5",
        b"content-length: 0x5",
        b"content-length: 5, 5",
        b"content-length: 1_0",
        b"content-length: -1",
        b"content-length: 5\r\ncontent-length: 5",
        b"content-length: 5\r\n 6",
        b"content-length:\r\n 5",
        b"content-length : 5",
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"transfer-encoding: chunked\r\ncontent-length: 5",
        b"transfer-encoding: identity\r\ncontent-length: 5",
        b"transfer-encoding: xchunked",
        b"transfer-encoding: chunked, identity",
        b"transfer-encoding: \x0bchunked",
        b"x-a: b\rc\r\ncontent-length: 5",
        b"x-a: b\ncontent-length: 5",
    ],
)
def test_a_length_that_two_servers_read_differently_is_refused(run: Run, head: bytes) -> None:
    """No request is smuggled past a proxy before this gateway."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/", head) + b"hello" + NEXT)
            status, _, last = await caller.answer()
            assert (status, last) == (400, True)

    run(work())
