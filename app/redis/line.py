"""The one connection to Redis of a gateway: what is asked in one turn of the loop travels together.

Redis answers in the order of the questions, so that thousands of decisions are on their way at once without a pool. A
question waits for as long as Redis goes on saying something: what counts is its silence, not the line before it. What
a broken or silent connection left unanswered is asked once more on the next; every script makes that harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from app.redis.server import Server, server
from app.redis.wire import Asked, Lost, Refused, Wire, bulk, question

# The longest silence of a server that was asked, twice that at the second try; and the longest time to reach one.
SILENCE_SECONDS: Final = 0.5
# The longest way of one question, with all that stood before it and its second try.
PATIENCE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.1
# A loop that was busy for long sees its timers before what has come meanwhile: another turn has to pass.
GRACE_SECONDS: Final = 0.05
TRIES: Final = 2
# A server that does not decide (any more): another connection may lead to the one that does.
ELSEWHERE: Final = frozenset({"READONLY", "MASTERDOWN", "CLUSTERDOWN", "MOVED"})


class Line:
    """Opened by the first question, and again by the first after a loss."""

    def __init__(self, found: Server) -> None:
        self._server = found
        self._wire: Wire | None = None
        self._opening: asyncio.Task[None] | None = None
        self._unsent: list[Asked] = []
        self._due = False
        self._looking: asyncio.TimerHandle | None = None
        self._suspect: Wire | None = None
        self._moved: tuple[str, int] | None = None
        self._closed = False

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """The reply to a question: text, a number, a list, or None. Raises Lost."""
        loop = asyncio.get_running_loop()
        asked = Asked(packed, loop.create_future(), loop.time())
        if self._closed:
            asked.fail(Lost("closed"))
            return asked.reply
        self._unsent.append(asked)
        if not self._due:
            self._due = True
            loop.call_soon(self._send)
        if self._looking is None:
            self._looking = loop.call_later(LOOK_SECONDS, self._look)
        return asked.reply

    async def command(self, *words: object) -> Any:
        """One command by its words. Raises Lost."""
        return await self.ask(question([bulk(word) for word in words]))

    async def close(self) -> None:
        """Let go of the connection; what is not answered is lost."""
        self._closed = True
        if self._looking:
            self._looking.cancel()
        if self._opening:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._opening
        if self._wire:
            self._wire.drop()
            self._unsent += self._wire.take()
        self._fail(Lost("closed"))
        await self._server.close()

    def refused(self, wire: Wire, asked: Asked, error: Refused) -> None:
        """An error as the reply; one of the wrong server is no reply, and the question goes to the right one."""
        if error.code not in ELSEWHERE or wire is not self._wire:
            asked.fail(error)
            return
        if asked.tries < TRIES:
            wire.waiting.appendleft(asked)
        else:
            asked.fail(error)
        if error.code == "MOVED":
            self._moved = _node(error)
        wire.drop()

    def over(self, wire: Wire) -> None:
        """A connection ended."""
        left = wire.take()
        if wire is self._wire and not self._closed:
            self._again(left, Lost("cut"))
        else:
            for asked in left:
                asked.fail(Lost("cut"))

    def _send(self) -> None:
        self._due = False
        if self._wire is None:
            if self._opening is None and self._unsent:
                self._opening = asyncio.get_running_loop().create_task(self._open())
            return
        questions, self._unsent = self._unsent, []
        if questions:
            self._wire.send(questions, asyncio.get_running_loop().time())

    async def _open(self) -> None:
        """A connection, or an end for all that wait for one."""
        lost = Lost("timeout")
        while self._wire is None:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    self._wire = await self._server.open(self, self._moved)
            except (Lost, TimeoutError) as error:
                lost = error if isinstance(error, Lost) else lost
                if self._moved is None:
                    self._fail(lost)
                    break
                self._moved = None
        self._opening = None
        self._send()

    def _look(self) -> None:
        """Ten times a second while somebody waits, whether Redis has fallen silent."""
        loop = asyncio.get_running_loop()
        self._looking, wire, pause = None, self._wire, LOOK_SECONDS
        if wire is not None and wire.waiting:
            now = loop.time()
            silence = SILENCE_SECONDS * wire.waiting[0].tries
            late = now - wire.heard > silence or now - wire.waiting[0].since > PATIENCE_SECONDS
            if late and self._suspect is wire:
                self._again(wire.take(), Lost("timeout"), now - PATIENCE_SECONDS)
                wire.drop()
            self._suspect, pause = (wire, GRACE_SECONDS) if late else (None, LOOK_SECONDS)
        if self._unsent or self._opening or (self._wire and self._wire.waiting):
            self._looking = loop.call_later(pause, self._look)

    def _again(self, left: Sequence[Asked], error: Lost, oldest: float = 0.0) -> None:
        """On another connection, what has not been asked twice and did not wait too long."""
        self._wire = None
        again = []
        for asked in left:
            if asked.tries < TRIES and asked.since > oldest:
                again.append(asked)
            else:
                asked.fail(error)
        self._unsent = again + self._unsent
        self._send()

    def _fail(self, error: Lost) -> None:
        left, self._unsent = self._unsent, []
        for asked in left:
            asked.fail(error)


class Script:
    """A script on the server; one that it does not know (any more) is given to it and asked for again."""

    def __init__(self, line: Line, text: str) -> None:
        self._line = line
        self._head = (bulk("EVALSHA"), bulk(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()))
        self._load = question([bulk("SCRIPT"), bulk("LOAD"), bulk(text)])
        self._loading: asyncio.Future[Any] | None = None

    async def run(self, *words: bytes) -> Any:
        """Its reply to numkeys, keys and arguments, each made by `bulk`. Raises Lost."""
        packed = question((*self._head, *words))
        try:
            return await self._line.ask(packed)
        except Refused as error:
            if error.code != "NOSCRIPT":
                raise
        if self._loading is None or self._loading.done():
            self._loading = self._line.ask(self._load)
            self._loading.add_done_callback(_heard)
        return await self._line.ask(packed)  # the line keeps the order: it is loaded by then


def _heard(reply: asyncio.Future[Any]) -> None:
    """What went wrong with a script's loading is told by the script's own call."""
    if not reply.cancelled():
        reply.exception()


def _node(error: Refused) -> tuple[str, int] | None:
    """Where a cluster's node says that our keys are; without a host, at its own."""
    host, _, port = error.text.rpartition(" ")[2].rpartition(":")
    return (host, int(port)) if port.isdigit() else None


def connect(url: str) -> Line:
    """A line to the server of a URL; see app.redis.server. Raises ValueError."""
    return Line(server(url))
