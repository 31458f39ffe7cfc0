"""How a connection comes to its end: each step of app.http.ending, and what is waited for how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.http.receipts import expected
from app.http.server import Protocol
from tests.app.test_framing import BODY, CHUNKED, NEXT, SIZED, Caller, Run, asked, loops

EVER = 60.0
SOON = 0.3
LAST = b"connection: close"
GARBAGE = b"}GARBAGE\x00"


class App:
    """Answers with its path: `/early` without asking for the body, `/gated` when it may.

    Behind the answers to `/taken` and `/gated` it hears what became of them.
    """

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.served: list[str] = []
        self.verdicts: list[bool] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        path = scope["path"]
        self.served.append(path)
        while path != "/early" and (await receive()).get("more_body"):
            pass
        if path == "/gated":
            await self.gate.wait()
        text = json.dumps({"path": path}).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]}
        )
        if path in {"/taken", "/gated"}:
            expected(scope, self)
        await send({"type": "http.response.body", "body": text})

    def sent(self) -> None:
        """Nothing follows from it."""

    def leave(self, *, delivered: bool) -> None:
        """A verdict."""
        self.verdicts.append(delivered)


class Connection(Caller):
    """A caller's, and what its server knows of it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: App, state: ServerState
    ) -> None:
        super().__init__(reader, writer)
        self.app, self._state = app, state

    @property
    def open(self) -> bool:
        """Whether the server holds it."""
        return bool(self._state.connections)

    def stop(self) -> None:
        """As uvicorn does with each when it stops."""
        for connection in self._state.connections:
            connection.shutdown()

    def glued(self, data: bytes) -> None:
        """Given to the server when it has just closed."""
        connection: Any
        for connection in self._state.connections:
            connection.shutdown()
            connection.data_received(memoryview(data))

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait for it, though not so long that something else might end it."""
        for _ in range(1000):
            if happened():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it does not happen")

    async def closed(self) -> None:
        """The server has closed it, by itself."""
        await self.until(lambda: not self.open)


@asynccontextmanager
async def connected(*, patience: float = EVER, idle: float = EVER) -> AsyncIterator[Connection]:
    """A connection to a server that waits so long: for heads and bodies, and for the next request."""
    app = App()
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", interface="asgi3")
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()

    def made() -> Protocol:
        protocol: Any = Protocol(config, state, {})
        protocol.patience, protocol.timeout_keep_alive = patience, idle
        found: Protocol = protocol
        return found

    server = await loop.create_server(made, "127.0.0.1", 0)
    async with server:
        caller = Connection(*await asyncio.open_connection(*server.sockets[0].getsockname()), app, state)
        try:
            yield caller
        finally:
            caller.writer.close()
            await caller.closed()


@loops
def test_a_close_between_answers_waits_until_they_are_taken(run: Run) -> None:
    """Then it is done, and not before."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/taken"))
            assert await caller.path() == "/taken"
            caller.stop()
            await asyncio.sleep(0.1)
            assert (caller.open, caller.app.verdicts) == (True, [])
            assert await caller.ended()
            await caller.closed()
            assert caller.app.verdicts == [True]

    run(work())


@loops
@pytest.mark.parametrize("asked_first", [False, True])
def test_a_close_with_nothing_to_wait_for_is_done_at_once(run: Run, asked_first: bool) -> None:
    """Before the first request, and behind an answer of which nobody wants to hear."""

    async def work() -> None:
        async with connected() as caller:
            if asked_first:
                await caller.send(NEXT)
                assert await caller.path() == "/next"
            await caller.until(lambda: caller.open)
            caller.stop()
            assert await caller.ended()

    run(work())


@loops
@pytest.mark.parametrize("cut", [1, len(NEXT)])
def test_what_comes_during_such_a_close_is_answered_last(run: Run, cut: int) -> None:
    """It calls the close off, also with the first byte of a head; the connection ends behind its answer."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/taken"))
            assert (await caller.answer())[2] is False
            caller.stop()
            await caller.send(NEXT[:cut], NEXT[cut:])
            assert await caller.answer() == (200, {"path": "/next"}, True)
            assert await caller.ended()
            assert caller.app.verdicts == [True]

    run(work())


@loops
def test_a_stop_lets_the_rest_of_an_answered_body_come(run: Run) -> None:
    """What is asked behind that body is answered, as the last."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/early", SIZED), BODY[:20_000])
            assert (await caller.answer())[2] is False
            caller.stop()
            await caller.send(BODY[20_000:], NEXT)
            assert await caller.answer() == (200, {"path": "/next"}, True)
            assert await caller.ended()

    run(work())


@loops
def test_a_last_answer_ends_when_the_rest_of_its_body_came(run: Run) -> None:
    """The caller reads the end at once, and the server closes as soon as nothing can be reset away."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/early", SIZED, LAST), BODY[:20_000])
            assert await caller.answer() == (200, {"path": "/early"}, True)
            assert await caller.ended()
            assert caller.open
            await caller.send(BODY[20_000:])
            await caller.closed()

    run(work())


@loops
@pytest.mark.parametrize("framing", [SIZED, CHUNKED])
def test_a_last_answer_does_not_wait_without_end(run: Run, framing: bytes) -> None:
    """For the rest of a body that does not come."""

    async def work() -> None:
        async with connected(patience=SOON) as caller:
            await caller.send(asked(b"/early", framing, LAST), b"5\r\nhello\r\n")
            assert await caller.path() == "/early"
            await caller.closed()

    run(work())


@loops
def test_a_body_passed_over_has_the_time_of_a_body(run: Run) -> None:
    """Not that of an idle connection, which begins behind it."""

    async def work() -> None:
        async with connected(idle=SOON) as caller:
            await caller.send(asked(b"/early", SIZED), BODY[:20_000])
            assert await caller.path() == "/early"
            await asyncio.sleep(2 * SOON)
            await caller.send(BODY[20_000:] + NEXT[:10], NEXT[10:])
            assert await caller.path() == "/next"
            await caller.send(asked(b"/early", SIZED), BODY[:20_000], BODY[20_000:])
            assert await caller.path() == "/early"
            await caller.closed()

    run(work())


@loops
def test_a_body_passed_over_that_breaks_ends_the_connection(run: Run) -> None:
    """Nothing is told behind its answer but the end, and that at once."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/early", CHUNKED), b"5\r\nhello\r\n")
            assert await caller.path() == "/early"
            await caller.send(b"GARBAGE")
            assert await caller.ended()
            await caller.send(NEXT)
            assert caller.app.served == ["/early"]

    run(work())


@loops
def test_what_is_no_http_ends_the_connection_behind_what_is_due(run: Run) -> None:
    """Nothing that follows it is served, and the answer says that it is the last."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/gated"), GARBAGE, NEXT)
            caller.app.gate.set()
            assert await caller.answer() == (200, {"path": "/gated"}, True)
            assert await caller.ended()
            await caller.until(lambda: caller.app.verdicts)
            assert (caller.app.served, caller.app.verdicts) == (["/gated"], [True])

    run(work())


@loops
def test_a_request_that_breaks_is_not_answered_before_its_turn(run: Run) -> None:
    """What is told of it would be taken for the answer of the one before."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/gated"), asked(b"/", CHUNKED) + b"GARBAGE")
            assert await caller.ended()
            caller.app.gate.set()

    run(work())


@loops
def test_what_follows_a_last_body_is_not_heard(run: Run) -> None:
    """It is no request, and takes nothing from the answer that is due."""

    async def work() -> None:
        async with connected() as caller:
            await caller.send(asked(b"/gated", SIZED, LAST), BODY, NEXT, NEXT)
            caller.app.gate.set()
            assert await caller.answer() == (200, {"path": "/gated"}, True)
            assert await caller.ended()
            await caller.until(lambda: caller.app.verdicts)
            assert (caller.app.served, caller.app.verdicts) == (["/gated"], [True])

    run(work())


@loops
@pytest.mark.parametrize("stopped", [False, True])
def test_what_follows_a_last_answer_is_not_heard(run: Run, stopped: bool) -> None:
    """While its close waits: it is no request, and no sign that the answer was taken."""

    async def work() -> None:
        async with connected() as caller:
            if stopped:
                await caller.send(asked(b"/taken"))
                assert await caller.path() == "/taken"
                caller.stop()
            await caller.send(asked(b"/taken", *([] if stopped else [LAST])))
            assert await caller.answer() == (200, {"path": "/taken"}, True)
            await caller.send(NEXT)
            assert (caller.open, caller.app.verdicts) == (True, [True] * stopped)
            assert await caller.ended()
            assert caller.app.served == ["/taken"] * (1 + stopped)
            assert caller.app.verdicts == [True] * (1 + stopped)

    run(work())


@loops
def test_what_a_closed_transport_still_gives_is_not_heard(run: Run) -> None:
    """One with TLS may give what it had read before."""

    async def work() -> None:
        async with connected() as caller:
            await caller.until(lambda: caller.open)
            caller.glued(NEXT)
            assert await caller.ended()
            assert caller.app.served == []

    run(work())


@loops
def test_a_head_has_its_time_once(run: Run) -> None:
    """Not anew with each byte."""

    async def work() -> None:
        async with connected(patience=SOON) as caller:
            with suppress(ConnectionError):
                for byte in asked(b"/next", b"x-a: " + b"b" * 100):
                    if not caller.reader.at_eof():
                        await caller.send(bytes([byte]))
                        await asyncio.sleep(SOON / 10)
            await caller.closed()
            assert caller.app.served == []

    run(work())


@loops
def test_a_head_that_began_has_the_time_of_a_head(run: Run) -> None:
    """Not what is left of the idle connection's."""

    async def work() -> None:
        async with connected(idle=SOON) as caller:
            await caller.send(NEXT)
            assert await caller.path() == "/next"
            await caller.send(NEXT[:10])
            await asyncio.sleep(2 * SOON)
            await caller.send(NEXT[10:])
            assert await caller.path() == "/next"

    run(work())


@loops
def test_no_time_runs_out_while_an_answer_is_due(run: Run) -> None:
    """The next head may have begun, and waits as long as the answer takes."""

    async def work() -> None:
        async with connected(patience=SOON, idle=EVER) as caller:
            await caller.send(asked(b"/gated"), NEXT[:10])
            await asyncio.sleep(2 * SOON)
            caller.app.gate.set()
            assert await caller.path() == "/gated"
            await caller.send(NEXT[10:])
            assert await caller.path() == "/next"

    run(work())
