"""An answer is delivered when its caller's side took it, and the connection shows whether it did."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from app.http.ending import Ending
from app.http.receipts import Receipts, expected, gone, peer
from app.http.server import Protocol
from tests.gateway import running
from tests.upstreams.openai import OpenAIStandIn

SMALL, LARGE = 200_000, 64 * 2**20
KEY = "sk-upstream"
BODY = {"model": "gpt-image-2", "prompt": "a boat", "size": "1024x1024"}


@dataclass(slots=True)
class Server:
    """An app that answers with as many bytes as its path says, and what became of its answers."""

    port: int = 0
    stop: Callable[[], None] = lambda: None
    verdicts: list[bool] = field(default_factory=list)
    gone_out: int = 0
    watched: socket.socket | None = None
    there: list[bytes] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        body = bytes(int(scope["path"][1:]))
        if not body:  # the loop stands still meanwhile
            self.entered.set()
            self.let.wait(20)
            caller = peer(scope)
            assert caller is not None
            self.verdicts.append(bool(gone([caller])))
            return
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        assert expected(scope, self)
        await send({"type": "http.response.body", "body": body})

    def sent(self) -> None:
        """An answer is the kernel's; what a watched caller has of it by now."""
        self.gone_out += 1
        if self.watched:
            try:
                self.there.append(self.watched.recv(2**16, socket.MSG_PEEK))
            except BlockingIOError:
                self.there.append(b"")

    def leave(self, *, delivered: bool) -> None:
        """A verdict."""
        self.verdicts.append(delivered)

    def connect(self, *paths: int, more: str = "") -> socket.socket:
        """A connection over which these were asked for at once."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall("".join(f"GET /{path} HTTP/1.1\r\nhost: x\r\n{more}\r\n" for path in paths).encode())
        return connection

    def told(self, count: int = 1) -> list[bool]:
        """The verdicts, when there are so many."""
        until(lambda: len(self.verdicts) >= count)
        return self.verdicts


@pytest.fixture
def server() -> Iterator[Server]:
    """On a socket, behind the gateway's protocol."""
    found = Server()
    serving = uvicorn.Server(
        uvicorn.Config(found.app, http=Protocol, log_config=None, lifespan="off", interface="asgi3")
    )

    def stop() -> None:
        serving.should_exit = True

    with socket.create_server(("127.0.0.1", 0)) as listener:
        found.port, found.stop = listener.getsockname()[1], stop
        thread = threading.Thread(target=serving.run, args=([listener],), daemon=True)
        thread.start()
        until(lambda: serving.started)
        yield found
        stop()
        thread.join(20)


class Ended:
    """A connection that is no more."""

    ending = Ending.CLOSED

    def lead(self) -> None:
        return None

    def flush(self) -> None:
        return None

    def get_extra_info(self, name: str) -> Any:
        raise AssertionError(f"{name} of a connection that is gone")

    def get_write_buffer_size(self) -> int:
        return 0

    def finish(self) -> None:
        return None


class Kernel:
    """A connection whose writes are counted, and left in its buffer as far as is said."""

    ending = Ending.OPEN

    def __init__(self, recipient: Server, *, left: int = 0) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.left = left
        self.order: list[tuple[str, int]] = []
        self._recipient = recipient
        self._held = False

    def lead(self) -> None:
        self._held = True

    def flush(self) -> None:
        if self._held:
            self.order.append(("flush", self._recipient.gone_out))
        self._held = False

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.ours}[name]

    def get_write_buffer_size(self) -> int:
        return self.left

    def finish(self) -> None:
        return None


def until(happened: Callable[[], object], seconds: float = 20) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def read(connection: socket.socket) -> bytes:
    """One whole answer."""
    with connection.makefile("rb") as file:
        head = b"".join(iter(file.readline, b"\r\n"))
        return head + file.read(length(head))


def length(head: bytes) -> int:
    """Its Content-Length."""
    lines = (line.lower().partition(b":") for line in head.split(b"\r\n"))
    return next(int(value) for name, _, value in lines if name == b"content-length")


def arrived(connection: socket.socket) -> None:
    """Wait until a whole answer lies in this side's kernel, unread."""

    def whole() -> bool:
        data = connection.recv(2**22, socket.MSG_PEEK)
        head, blank, body = data.partition(b"\r\n\r\n")
        return bool(blank) and len(body) == length(head)

    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    until(whole)


def leave(connection: socket.socket) -> None:
    """Close without reading: the kernel resets."""
    connection.close()


def leave_politely(connection: socket.socket) -> None:
    """As anyio does: say that nothing more is sent, then close."""
    connection.shutdown(socket.SHUT_WR)
    connection.close()


def abort(connection: socket.socket) -> None:
    """Reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("more", ["", "connection: close\r\n"])
@pytest.mark.parametrize("leaving", [leave, leave_politely, abort])
def test_what_was_never_read_is_not_taken(
    server: Server, leaving: Callable[[socket.socket], None], more: str
) -> None:
    """The whole answer reached the caller's machine, and the caller closes without it, however it closes."""
    connection = server.connect(SMALL, more=more)
    arrived(connection)
    leaving(connection)

    assert server.told() == [False]


@pytest.mark.parametrize("more", ["", "connection: close\r\n"])
def test_what_was_read_is_taken(server: Server, more: str) -> None:
    """The caller reads to the end and closes."""
    with server.connect(SMALL, more=more) as connection:
        read(connection)

    assert server.told() == [True]


def test_a_caller_that_stays_has_taken_it(server: Server) -> None:
    """An idle connection without a reset is a yes after a while, not before."""
    with server.connect(SMALL) as connection:
        read(connection)
        since = time.monotonic()
        verdicts = server.told()

        assert verdicts == [True]
        assert time.monotonic() - since > 0.5


def test_the_next_request_says_it_at_once(server: Server) -> None:
    """Whoever asks for the next thing has read the last one: it is known before the next answer is out."""
    with server.connect(SMALL) as connection:
        for count in range(4):
            read(connection)
            assert server.verdicts == [True] * count
            connection.sendall(f"GET /{SMALL} HTTP/1.1\r\nhost: x\r\n\r\n".encode())


def test_requests_sent_ahead_say_nothing(server: Server) -> None:
    """Two requests in one write, and no answer is read: neither was taken."""
    connection = server.connect(SMALL // 4, SMALL // 4)
    until(lambda: len(connection.recv(2**22, socket.MSG_PEEK)) > SMALL // 2)
    leave(connection)

    assert server.told(2) == [False, False]


def test_requests_sent_ahead_and_answers_read(server: Server) -> None:
    """The same with a caller that reads both."""
    with server.connect(SMALL, 2 * SMALL) as connection, connection.makefile("rb") as file:
        for _ in range(2):
            file.read(length(b"".join(iter(file.readline, b"\r\n"))))

    assert server.told(2) == [True, True]


def test_a_request_before_the_last_answer_is_read_says_nothing(server: Server) -> None:
    """Sent ahead while that is on its way: who asks for more than it has read may still leave without it."""
    connection = server.connect(LARGE)
    connection.recv(1)
    connection.sendall(f"GET /{SMALL} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    time.sleep(0.5)
    early = list(server.verdicts)
    leave(connection)

    assert early == []
    assert server.told(2) == [False, False]


@pytest.mark.parametrize("leaving", [leave, leave_politely])
def test_a_slow_reader_is_waited_for(server: Server, leaving: Callable[[socket.socket], None]) -> None:
    """While bytes are on their way nothing is known; who leaves before they arrived has not taken them."""
    connection = server.connect(LARGE)
    connection.recv(1)
    time.sleep(1.5)
    early = list(server.verdicts)
    leaving(connection)

    assert early == []
    assert server.told() == [False]


def test_a_slow_reader_that_reads_to_the_end_has_taken_it(server: Server) -> None:
    """Even when it pauses for longer than an idle connection is waited for."""
    with server.connect(LARGE) as connection:
        connection.recv(1)
        time.sleep(1.5)
        left = LARGE
        while left > 0:
            left -= len(connection.recv(2**22))
        read_at = time.monotonic()
        assert server.told() == [True]
        assert time.monotonic() - read_at < 10


def test_who_only_ends_its_own_side_may_read_on(server: Server) -> None:
    """A half-closed caller that reads everything and then closes has taken it."""
    with server.connect(SMALL) as connection:
        arrived(connection)
        connection.shutdown(socket.SHUT_WR)
        assert len(read(connection)) > SMALL

    assert server.told() == [True]


def test_a_stop_waits_for_what_was_not_taken_yet(server: Server) -> None:
    """A server that stops does not close on an answer that lies unread: a reset is still seen."""
    connection = server.connect(SMALL)
    arrived(connection)
    server.stop()
    time.sleep(0.3)
    leave(connection)

    assert server.told() == [False]


def test_a_request_during_a_stop_is_the_last_of_its_connection(server: Server) -> None:
    """It came before the caller could know: it is answered, and the answer says that the connection ends."""
    with server.connect(SMALL) as connection:
        read(connection)
        server.stop()
        time.sleep(0.3)
        connection.sendall(f"GET /{SMALL} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        answer = read(connection)

    assert b"connection: close" in answer[:200]
    assert server.told(2) == [True, True]


@pytest.mark.parametrize("leaving", [leave, leave_politely, abort, socket.socket.fileno])
def test_a_caller_that_left_is_known_before_anything_is_read(
    server: Server, leaving: Callable[[socket.socket], object]
) -> None:
    """Its next attempt may have come already: whether it is there is what the kernel knows, not what the loop saw."""
    connection = server.connect(0)
    assert server.entered.wait(20)
    leaving(connection)
    gone = connection.fileno() < 0
    server.let.set()

    assert server.told() == [gone]
    connection.close()


async def test_an_answer_that_ends_behind_its_connection_is_not_taken() -> None:
    """Who left before the last piece is told of at once: nothing of that connection is heard any more."""
    recipient = Server()
    receipts = Receipts(Ended())
    receipts.lost()
    receipts.expect(recipient)
    receipts.out()
    assert (recipient.gone_out, recipient.verdicts) == (0, [False])


@pytest.mark.parametrize("fits", [True, False])
async def test_an_answer_is_sent_when_the_kernel_has_it(*, fits: bool) -> None:
    """Said before the last system call, when nothing is left in our own buffer; once."""
    recipient = Server()
    with closing((kernel := Kernel(recipient, left=0 if fits else 7)).ours), closing(kernel.theirs):
        receipts = Receipts(kernel)
        receipts.expect(recipient)
        receipts.drained()
        early = recipient.gone_out
        receipts.out()
        receipts.drained()
        still = recipient.gone_out
        kernel.left = 0
        receipts.drained()
        receipts.drained()
        receipts.lost()

    assert kernel.order == [("flush", 1)]
    assert (early, still, recipient.gone_out) == (0, int(fits), 1)


@pytest.mark.parametrize("more", ["", "connection: close\r\n", "HTTP/1.0"])
def test_a_small_answer_is_sent_before_its_caller_can_have_it(server: Server, more: str) -> None:
    """A kill behind that costs an answer at most; before it, a caller would have what the ledger calls unknown."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection, connection.dup() as same:
        same.setblocking(False)
        server.watched = same
        version, headers = (more, "") if more == "HTTP/1.0" else ("HTTP/1.1", more)
        connection.sendall(f"GET /200 {version}\r\nhost: x\r\n{headers}\r\n".encode())
        read(connection)

    assert server.there == [b""]


async def test_a_small_answer_behind_a_full_kernel_is_not_sent() -> None:
    """Pieces before it fill all that the kernel has: it waits here, and a kill would take it."""
    recipient = Server()
    with closing((kernel := Kernel(recipient, left=7)).ours), closing(kernel.theirs):
        kernel.ours.setblocking(False)
        with suppress(BlockingIOError):
            while kernel.ours.send(bytes(2**16)):
                pass
        receipts = Receipts(kernel)
        receipts.expect(recipient)
        receipts.out()
        waiting = recipient.gone_out
        kernel.left = 0
        receipts.drained()
        receipts.lost()

    assert kernel.order == [("flush", 0)]
    assert (waiting, recipient.gone_out) == (0, 1)


async def test_an_answer_before_another_is_sent_by_itself() -> None:
    """Of requests sent ahead: the first is the kernel's while the next one is on its way."""
    first, second = Server(), Server()
    with closing((kernel := Kernel(first, left=7)).ours), closing(kernel.theirs):
        receipts = Receipts(kernel)
        receipts.expect(first)
        receipts.out()
        receipts.expect(second)
        kernel.left = 0
        receipts.drained()
        early = (first.gone_out, second.gone_out)
        receipts.out()
        receipts.lost()

    assert early == (1, 0)
    assert (first.gone_out, second.gone_out) == (1, 1)


@pytest.mark.parametrize("fits", [True, False])
async def test_an_answer_to_a_caller_that_left_is_not_sent(*, fits: bool) -> None:
    """Its side is closed before the last byte is out: nobody has that answer, though nothing was read of it here."""
    recipient = Server()
    with closing((kernel := Kernel(recipient, left=0 if fits else 7)).ours):
        receipts = Receipts(kernel)
        receipts.expect(recipient)
        kernel.theirs.close()
        receipts.out()
        kernel.left = 0
        receipts.drained()
        receipts.lost()

    assert (recipient.gone_out, recipient.verdicts) == (0, [False])


def test_a_slow_reader_has_its_answer_sent_in_the_end(server: Server) -> None:
    """Not while the last of it waits here for room in the kernel."""
    with server.connect(LARGE) as connection:
        time.sleep(0.3)
        early = server.gone_out
        read(connection)
        until(lambda: server.gone_out)

    assert early == 0
    assert server.told() == [True]


def test_a_server_without_receipts_says_so() -> None:
    """Then the last write is all there is to go by."""
    assert not expected({"type": "http"}, Server())


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    """A provider."""
    with OpenAIStandIn(KEY) as found:
        yield found


@pytest.fixture
def url(tmp_path: Path, upstream: OpenAIStandIn) -> Iterator[str]:
    """A gateway before it."""
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{upstream.url}/v1"}
    with running(tmp_path, environ) as gateway:
        yield gateway.url


def ask(url: str, more: str = "", *, stream: bool = False) -> socket.socket:
    """A connection on which an image was asked for."""
    content = json.dumps(BODY | ({"stream": True} if stream else {}))
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20)
    head = f"POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(content)}\r\n"
    connection.sendall(f"{head}content-type: application/json\r\n{more}\r\n{content}".encode())
    return connection


def again(url: str, *, stream: bool = False, **headers: str) -> httpx2.Response:
    """The same request from a caller that reads."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = BODY | ({"stream": True} if stream else {})
    return httpx2.post(f"{url}/v1/images/generations", json=body, headers=named, timeout=30)


@pytest.mark.parametrize("leaving", [leave, leave_politely])
@pytest.mark.parametrize("stream", [False, True])
def test_a_picture_that_was_never_read_is_there_for_the_retry(
    url: str, upstream: OpenAIStandIn, leaving: Callable[[socket.socket], None], *, stream: bool
) -> None:
    """A caller's timeout crosses the last byte: its SDK's retry gets the picture, and it is paid once."""
    connection = ask(url, stream=stream)
    if stream:
        until(lambda: connection.recv(2**22, socket.MSG_PEEK).endswith(b"0\r\n\r\n"))
    else:
        arrived(connection)
    leaving(connection)
    retry = again(url, stream=stream, x_stainless_retry_count="1")

    assert retry.status_code == 200
    assert retry.headers["pinhole-replayed"] == "true"
    assert upstream.paid == 1


def test_a_picture_that_was_never_read_is_there_for_any_repeat(url: str, upstream: OpenAIStandIn) -> None:
    """Also for a caller whose repeats say nothing of themselves, once the reset is seen."""
    connection = ask(url)
    arrived(connection)
    leave(connection)
    httpx2.get(f"{url}/healthz")  # the gateway's loop has come round since
    repeat = again(url)

    assert repeat.headers["pinhole-replayed"] == "true"
    assert upstream.paid == 1


def test_a_retry_soon_after_an_end_says_that_the_picture_was_not_had(url: str, upstream: OpenAIStandIn) -> None:
    """An async client may read the last bytes in the moment of its timeout: then only its SDK's retry tells."""
    with closing(ask(url, "x-stainless-retry-count: 0\r\n")) as connection:
        read(connection)
    time.sleep(0.5)  # as long as openai-python waits, and longer than an end without a reset is waited for
    retry = again(url, x_stainless_retry_count="1")

    assert retry.headers["pinhole-replayed"] == "true"
    assert upstream.paid == 1


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_the_same_again_soon_after_an_end_is_a_call_of_its_own(
    url: str, upstream: OpenAIStandIn, pause: float
) -> None:
    """While a retry may still say otherwise the picture counts as had: a program run twice gets two."""
    with closing(ask(url, "x-stainless-retry-count: 0\r\n")) as connection:
        read(connection)
    time.sleep(pause)
    second = again(url, x_stainless_retry_count="0")

    assert "pinhole-replayed" not in second.headers
    assert upstream.paid == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_picture_that_was_read_is_paid_anew(url: str, upstream: OpenAIStandIn, *, stream: bool) -> None:
    """Two equal requests that both succeed are two calls, also while nobody knows yet what became of the first."""
    with closing(ask(url, stream=stream)) as connection:
        if stream:
            until(lambda: connection.recv(2**22).endswith(b"0\r\n\r\n"))
        else:
            read(connection)
        waiting = again(url, stream=stream)
    repeat = again(url, stream=stream)

    assert "pinhole-replayed" not in waiting.headers
    assert "pinhole-replayed" not in repeat.headers
    assert upstream.paid == 3
