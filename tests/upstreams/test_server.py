"""The harness itself: exact bytes in, every fault out."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.multipart import MultipartError, parse
from tests.upstreams.server import StandIn


class Echo(StandIn):
    """Answers the body it was sent."""

    def handle(self, exchange: Exchange) -> Reply:
        return Reply.file("text/plain", exchange.body)


class Broken(StandIn):
    """Has a mistake inside."""

    def handle(self, exchange: Exchange) -> Reply:
        raise ZeroDivisionError(exchange.path)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as standin:
        yield standin


@pytest.fixture
def client(echo: Echo) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=echo.url, timeout=5) as made:
        yield made


def test_records_the_exact_bytes_of_a_request(echo: Echo) -> None:
    """Head, target, header case and a chunked body are kept as they were sent, on one connection."""
    address = echo.url.removeprefix("http://").split(":")
    head = b"POST /a%20b?x=1&x= HTTP/1.1\r\nHost: h\r\nX-Odd: One\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((address[0], int(address[1])), timeout=5) as peer:
        for _ in range(2):
            peer.sendall(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nabcde"):
                more = peer.recv(4096)
                assert more
                answer += more
    seen = echo.exchanges[0]
    assert (seen.raw_head, seen.body, seen.target) == (head, b"abcde", "/a%20b?x=1&x=")
    assert ("X-Odd", "One") in seen.headers
    assert (seen.header("x-odd"), seen.path, seen.query) == ("One", "/a%20b", {"x": ["1", ""]})
    assert (len(echo.exchanges), echo.connections) == (2, 1)


def test_scripted_replies_come_first_and_in_order(echo: Echo, client: httpx.Client) -> None:
    """A queued reply answers the next matching request once; others are answered naturally."""
    echo.queue(Reply.json(429, {}, retry_after="7"), Reply.html(502, "<p>"), path="/a")
    assert client.post("/b", content=b"x").text == "x"
    assert client.post("/a").headers["retry-after"] == "7"
    assert client.post("/a").status_code == 502
    assert client.post("/a", content=b"y").text == "y"


def test_serves_files(echo: Echo, client: httpx.Client) -> None:
    """A published file is answered with its type, to GET and HEAD."""
    link = echo.publish("/results/x.png", "image/png", b"png")
    assert (client.get(link).content, client.get(link).headers["content-type"]) == (b"png", "image/png")
    assert client.head(link).headers["content-length"] == "3"


def test_cuts_and_resets(echo: Echo, client: httpx.Client) -> None:
    """A cut body, an unfinished stream, RST before the head and RST within the body all fail in the client."""
    whole = Reply.file("text/plain", b"0123456789")
    chunked = replace(whole, body=(b"01", b"23", b"45"))
    echo.queue(replace(whole, truncate_at=4), replace(chunked, truncate_at=3))
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/")
    echo.queue(replace(whole, reset=True), replace(whole, reset=True, truncate_at=4))
    for _ in range(2):
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            client.get("/")


def test_delays_heads_and_chunks(echo: Echo, client: httpx.Client) -> None:
    """The head waits for `delay_s`, each later chunk for `chunk_delay_s`."""
    echo.queue(Reply(body=(b"a", b"b", b"c"), delay_s=0.1, chunk_delay_s=0.05))
    began = time.monotonic()
    assert client.get("/").text == "abc"
    assert time.monotonic() - began >= 0.2


def test_notices_callers_that_leave(echo: Echo, client: httpx.Client) -> None:
    """A caller that gives up on an answer that never comes is recorded as a hang-up, and counted as paid."""
    echo.queue(Reply(hang=True, paid=True))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/", timeout=0.1)
    until = time.monotonic() + 5
    while not echo.hangups and time.monotonic() < until:
        time.sleep(0.01)
    assert [exchange.path for exchange in echo.hangups] == ["/"]
    assert echo.paid == 1


async def test_holds_answers_while_paused(echo: Echo) -> None:
    """Paused, requests arrive and wait together; resumed, all are answered."""
    echo.pause()
    async with httpx.AsyncClient(base_url=echo.url) as client:
        calls = [asyncio.ensure_future(client.post("/", content=b"x")) for _ in range(3)]
        await echo.arrived(3)
        assert not any(call.done() for call in calls)
        echo.resume()
        assert [answer.text for answer in await asyncio.gather(*calls)] == ["x"] * 3
    assert echo.peak == 3


def test_a_mistake_inside_a_stand_in_is_loud() -> None:
    """An exception in `handle` is raised again where the context ends."""
    with (
        pytest.raises(ExceptionGroup) as raised,
        Broken() as broken,
        httpx.Client() as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.get(broken.url)
    assert isinstance(raised.value.exceptions[0], ZeroDivisionError)


def form(disposition: str, body: str = "v", end: str = "--\r\n") -> bytes:
    return f"--b\r\nContent-Disposition: {disposition}\r\n\r\n{body}\r\n--b{end}".encode()


def test_reads_forms() -> None:
    """Names, file names with odd characters and data with CRLF survive."""
    (part,) = parse(
        "multipart/form-data; boundary=b", form('form-data; name="image[]"; filename="a;b =.png"', "\r\n-")
    )
    assert (part.name, part.filename, part.data, part.content_type) == ("image[]", "a;b =.png", b"\r\n-", None)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", form('form-data; name="a"')),
        ("multipart/form-data; boundary=c", form('form-data; name="a"')),
        ("multipart/form-data; boundary=b", form("form-data; name=a")),
        ("multipart/form-data; boundary=b", form('form-data; name="a"; name="b"')),
        ("multipart/form-data; boundary=b", form('form-data; filename="a"')),
        ("multipart/form-data; boundary=b", form('form-data; name="a"', end="")),
        ("multipart/form-data; boundary=b", form('form-data; name="a"', end="--\r\nmore")),
        ("multipart/form-data; boundary=b", form('form-data; name="a"\r\nX-Odd: 1')),
        ("multipart/form-data; boundary=b", b"before\r\n" + form('form-data; name="a"')),
        ("multipart/form-data; boundary=b", form('form-data; name="a"').replace(b"\r\n", b"\n")),
    ],
)
def test_refuses_malformed_forms(content_type: str, body: bytes) -> None:
    """A form that is not exactly as the RFCs have it is refused."""
    with pytest.raises(MultipartError):
        parse(content_type, body)
