"""The wire against raw servers on real sockets: what each way of failing means for the money."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from providers.core.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from providers.kit.room import Memory
from providers.kit.transport import HTTPTransport, WireRequest
from providers.kit.transport.direct import DirectTransport
from providers.kit.transport.routed import proxied

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def server(script: Script) -> AsyncIterator[str]:
    """A server that follows a script on each connection; the base URL."""

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(follow, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        listening.close()


@pytest.fixture
async def transport() -> AsyncIterator[HTTPTransport]:
    made = HTTPTransport(environ={})
    yield made
    await made.close()


def says(*pieces: bytes) -> Script:
    """Reads a request's head, answers with these pieces, ends the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)

    return script


def get(base: str, path: str = "/x", **headers: str) -> WireRequest:
    return WireRequest(method="GET", url=base + path, headers=headers)


async def test_a_body_goes_out_as_its_buffers_under_one_length(transport: HTTPTransport) -> None:
    """Head and buffers arrive in order, with a content-length, identity asked for, and the query kept."""
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        heard.append(await reader.readexactly(9))
        writer.write(OK)

    async with server(script) as base:
        body = (b"abc", memoryview(b"xdefx")[1:4], b"ghi")
        url = f"{base}/v1/a b?key=ä&x=1"
        answer = await transport.send(WireRequest(method="POST", url=url, headers={"a": "b"}, body=body), 5)
    assert bytes(answer.body) == b"ok"
    head = heard[0].decode()
    assert head.startswith("POST /v1/a%20b?key=%C3%A4&x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert "\r\naccept-encoding: identity\r\n" in head
    assert "\r\ncontent-length: 9\r\n" in head
    assert heard[1] == b"abcdefghi"


async def test_a_connection_serves_again_after_a_whole_answer(transport: HTTPTransport) -> None:
    """Two exchanges, one connection; interim answers, chunks and empty bodies do not end it."""
    connections = 0
    answers = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\ntrailer: t\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ]

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    async with server(script) as base:
        bodies = [bytes((await transport.send(get(base), 5)).body) for _ in answers]
    assert bodies == [b"ok", b"ok", b"", b""]
    assert connections == 1


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n"]
)
async def test_a_body_may_end_with_its_connection(transport: HTTPTransport, head: bytes) -> None:
    """Without a length the end of the connection is the end of the body."""
    async with server(says(head, b"\r\nhel", b"lo")) as base:
        assert bytes((await transport.send(get(base), 5)).body) == b"hello"


async def test_a_large_body_is_whole_in_both_framings(transport: HTTPTransport) -> None:
    """Megabytes come through unchanged, sized and chunked, chunk boundaries anywhere."""
    body = bytes(range(256)) * 12_000
    sized = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces, at = [], 0
    for size in (1, 70_000, 15, 1_000_000, 16_384, 300_000):
        pieces.append(b"%x\r\n%b\r\n" % (size, body[at : at + size]))
        at += size
    pieces.append(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - at, body[at:]))
    async with server(says(sized, body)) as base:
        assert bytes((await transport.send(get(base), 5)).body) == body
    async with server(says(chunked, *pieces)) as base:
        assert bytes((await transport.send(get(base), 5)).body) == body


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"HTTP/1.1 200 OK\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnope\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,),
        (b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-encoding: br\r\n\r\nok",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-encoding: gzip\r\n\r\nok",),
    ],
)
async def test_an_answer_that_is_not_whole_may_have_been_billed(
    transport: HTTPTransport, pieces: tuple[bytes, ...]
) -> None:
    """Whatever goes wrong after the request was sent is an UpstreamError, billed, and never a short body."""
    async with server(says(*pieces)) as base:
        with pytest.raises(UpstreamError) as caught:
            await transport.send(get(base), 5)
    assert caught.value.billed


async def test_a_reset_may_have_been_billed(transport: HTTPTransport) -> None:
    """A connection that is reset after the request was read is an UpstreamError."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with server(script) as base:
        with pytest.raises(UpstreamError):
            await transport.send(get(base), 5)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "http://nowhere.invalid/x",
        "ftp://127.0.0.1/x",
        "http://",
        "http://127.0.0.1:99999/",
        "http://[::1/",
    ],
)
async def test_what_was_never_sent_cannot_have_been_billed(transport: HTTPTransport, url: str) -> None:
    """No connection, no name, no usable address: UpstreamUnreachable."""
    with pytest.raises(UpstreamUnreachable) as caught:
        await transport.send(WireRequest(method="POST", url=url, body=(b"x",)), 5)
    assert not caught.value.billed


async def test_a_failed_handshake_is_unreachable(transport: HTTPTransport) -> None:
    """A server that speaks no TLS never got the request."""
    async with server(says(OK)) as base:
        with pytest.raises(UpstreamUnreachable):
            await transport.send(get(base.replace("http", "https", 1)), 2)


async def test_a_header_with_a_line_break_is_not_sent(transport: HTTPTransport) -> None:
    """A value cannot begin a header of its own."""
    async with server(says(OK)) as base:
        with pytest.raises(UpstreamUnreachable):
            await transport.send(get(base, evil="a\r\nb: c"), 5)


async def test_the_deadline_ends_the_exchange(transport: HTTPTransport) -> None:
    """A server that hangs, before the head or in the body, costs the deadline and is an UpstreamTimeout."""
    for pieces in ((), (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",)):

        async def script(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: tuple[bytes, ...] = pieces
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.writelines(pieces)
            await reader.read()

        async with server(script) as base:
            with pytest.raises(UpstreamTimeout):
                await transport.send(get(base), 0.1)


@pytest.mark.parametrize("head", [b"content-length: 2000\r\n", b"connection: close\r\n", b"content-length: 1001\r\n"])
async def test_an_answer_beyond_the_limit_is_refused(transport: HTTPTransport, head: bytes) -> None:
    """Declared or not, at most `limit` bytes are held."""
    body = b"x" * (1001 if b"1001" in head else 2000)
    async with server(says(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", body)) as base:
        with pytest.raises(UpstreamError, match="longer than 1000"):
            await transport.send(get(base), 5, 1000)


async def test_a_compressed_answer_is_read_within_the_limit(transport: HTTPTransport) -> None:
    """Identity is asked for; gzip that comes nevertheless is inflated, a bomb is refused."""
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
    async with server(says(head + gzip.compress(b"hello"))) as base:
        assert bytes((await transport.send(get(base), 5, 1000)).body) == b"hello"
    async with server(says(head + gzip.compress(b"0" * 1_000_000))) as base:
        with pytest.raises(UpstreamError, match="longer than 5000"):
            await transport.send(get(base), 5, 5000)


async def test_bytes_that_nobody_asked_for_end_the_connection(transport: HTTPTransport) -> None:
    """What an upstream sends on an idle connection is never taken for the next answer."""
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await reader.read()

    async with server(script) as base:
        for _ in range(2):
            assert bytes((await transport.send(get(base), 5)).body) == b"ok"
            await asyncio.sleep(0.05)
    assert connections == 2


async def test_a_connection_that_will_close_is_not_used_again(transport: HTTPTransport) -> None:
    """Also where the answer has no body, and the upstream takes its time to close."""
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n")
        await reader.read()

    async with server(script) as base:
        for _ in range(2):
            assert (await transport.send(get(base), 1)).status == 204
    assert connections == 2


async def test_a_connection_that_nobody_needs_is_ended() -> None:
    """Also when its origin is never asked again."""
    ended = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        try:
            await reader.read()
        finally:
            ended.set()

    transport = DirectTransport(Memory(), idle_seconds=0.05)
    async with server(script) as base:
        assert (await transport.send(get(base), 5)).status == 200
        async with asyncio.timeout(5):
            await ended.wait()
    await transport.close()


async def test_an_answer_before_the_whole_request_was_read_is_heard(transport: HTTPTransport) -> None:
    """A refusal in the middle of an upload is the answer, and that connection is not used again."""
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"
    async with server(says(refusal)) as base:
        upload = WireRequest(method="POST", url=f"{base}/x", body=(bytes(50_000_000),))
        for _ in range(2):
            assert (await transport.send(upload, 5)).status == 413


async def test_a_stream_is_read_as_it_comes(transport: HTTPTransport) -> None:
    """Pieces are handed on before the end; the end is the end."""
    release = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await release.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await reader.read()

    async with server(script) as base, transport.open(get(base), 5) as answer:
        pieces = answer.chunks()
        assert (answer.status, await anext(pieces)) == (200, b"one")
        release.set()
        assert [piece async for piece in pieces] == [b"two"]


async def test_a_stream_that_breaks_off_says_so(transport: HTTPTransport) -> None:
    """What came is handed on, then UpstreamError."""
    heard = b""

    async def listen(base: str) -> None:
        nonlocal heard
        async with transport.open(get(base), 5) as answer:
            async for piece in answer.chunks():
                heard += piece

    async with server(says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")) as base:
        with pytest.raises(UpstreamError):
            await listen(base)
    assert heard == b"half"


async def test_a_stream_waits_for_its_reader() -> None:
    """An upstream that is faster than the reader is not read ahead without a bound."""
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        for _ in range(400):
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000

    transport = DirectTransport(Memory())
    async with server(script) as base, transport.open(get(base), 20) as answer:
        await asyncio.sleep(0.3)
        waiting = sent
        total = 0
        async for piece in answer.chunks():
            total += len(piece)
    assert waiting < 30_000_000
    assert total == 40_000_000


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"HTTPS_PROXY": "http://proxy:3128"}, True),
        ({"https_proxy": "http://proxy:3128"}, True),
        ({"HTTP_PROXY": "http://proxy:3128"}, False),
        ({"ALL_PROXY": "http://proxy:3128"}, True),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.com"}, False),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".com,other"}, False),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "other.org"}, True),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, False),
        ({"HTTPS_PROXY": ""}, False),
    ],
)
def test_the_environment_says_whether_there_is_a_proxy(environ: dict[str, str], expected: bool) -> None:
    """HTTPS_PROXY, ALL_PROXY and NO_PROXY mean what they mean everywhere."""
    assert proxied(environ, "https://api.example.com:443") is expected


async def test_a_proxy_of_the_environment_is_used() -> None:
    """With a proxy for the scheme the request goes to the proxy, with the whole URL as its target."""
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async with server(script) as base:
        transport = HTTPTransport(environ={"HTTP_PROXY": base})
        answer = await transport.send(get("http://upstream.invalid"), 5)
        await transport.close()
    assert bytes(answer.body) == b"ok"
    assert heard == [b"GET http://upstream.invalid/x HTTP/1.1\r\n"]
