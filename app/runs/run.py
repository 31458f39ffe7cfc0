"""One run as this gateway goes through it or follows it, and the places of callers at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from app.delivery import Sketch
from app.http.arrival import Gone
from app.kept import Kept
from app.runs import failures
from app.runs.protocol import Record
from app.ticket import UnderWay
from providers.core.errors import PinholeError


@dataclass(slots=True, eq=False)
class Run:
    """`own`: this gateway makes the call; else it follows another's run, or brings a kept answer from the store.

    `alone`: it was without any for a time. `waiting` counts callers here, `moved` is set whenever one of them left.
    `kept` is how many bytes stay in memory for repeats. `task` goes on after the outcome, with the books. `crash` is
    an error that nobody foresaw.
    """

    record: Record
    own: bool = True
    task: asyncio.Task[None] | None = None
    answer: Kept | None = None
    error: PinholeError | None = None
    crash: BaseException | None = None
    delivered: bool = False
    alone: bool = False
    waiting: int = 0
    kept: int = 0
    account: UnderWay | None = None
    listeners: set[asyncio.Queue[Sketch | None]] = field(default_factory=set)
    sleepers: set[asyncio.Future[bool]] = field(default_factory=set)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether its outcome is still open."""
        open_ = self.answer is None and self.error is None
        return open_ and self.task is not None and not self.task.done()

    @property
    def weight(self) -> int:
        """The bytes its answer holds in memory."""
        return self.answer.weight if self.answer else 0

    @property
    def outcome(self) -> Kept:
        """Its answer. Raises its error."""
        if self.answer is not None:
            return self.answer
        raise self.crash or (failures.again(self.error) if self.error else failures.unknown())

    def tell(self, sketch: Sketch | None) -> None:
        """Give a partial image to whoever listens; None is the end."""
        for listener in self.listeners:
            listener.put_nowait(sketch)

    def end(self) -> None:
        """Tell everybody that the outcome is there."""
        self.tell(None)
        for sleeper in self.sleepers:
            _wake(sleeper, False)

    async def over(self, seconds: float, gone: Gone) -> bool:
        """Returns with the outcome, or after so many seconds, or when the caller hung up: True for that alone."""
        if not self.running:
            return False
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()
        self.sleepers.add(woken)
        timer = loop.call_later(seconds, _wake, woken, False)
        stays = gone(lambda: _wake(woken, True))
        try:
            return await woken
        finally:
            self.sleepers.discard(woken)
            timer.cancel()
            stays()


class Told(Protocol):
    """What hears where answers of this gateway's runs go; app.runs.protocol tells of it."""

    def sent(self, name: str) -> None: ...

    def unsent(self, name: str) -> None: ...


def _wake(sleeper: asyncio.Future[bool], left: bool) -> None:
    if not sleeper.done():
        sleeper.set_result(left)


@dataclass(slots=True, eq=False)
class Seat:
    """A caller's place at a run, from joining to leaving. `replayed`: the outcome was there before it.

    `index` hears whose answer goes out: `gone_out` when it did. `books`: what the index is told of a caller that left
    without it.
    """

    run: Run
    asker: str
    repeat: bool
    replayed: bool
    index: Told
    leaving: Callable[[Seat, bool], asyncio.Task[None] | None]
    gone_out: bool = False
    left: bool = False
    books: asyncio.Task[None] | None = None

    async def outcome(self, seconds: float, gone: Gone) -> Kept | None:
        """The run's answer; None when the caller hung up first. Raises its error, or TimeoutError after `seconds`."""
        left = await self.run.over(seconds, gone)
        if not self.run.running:
            return self.run.outcome
        if left:
            return None
        raise TimeoutError

    async def states(self, until: Callable[[], float]) -> AsyncIterator[Sketch | Kept]:
        """Partial images, then the answer. Raises the run's error, or TimeoutError at the end of `until()`."""
        queue: asyncio.Queue[Sketch | None] = asyncio.Queue()
        self.run.listeners.add(queue)
        try:
            while self.run.running or not queue.empty():
                state = await asyncio.wait_for(queue.get(), max(0.001, until()))
                if state is None:
                    break
                yield state
        finally:
            self.run.listeners.discard(queue)
        yield self.run.outcome

    def sent(self) -> None:
        """All of the answer goes to the kernel now, and the caller is there."""
        if self.run.own and not self.left:
            self.gone_out = True
            self.index.sent(self.run.record.id)

    def leave(self, *, delivered: bool) -> None:
        """The caller goes; `delivered` says that it got all of it. Only the first time counts."""
        if not self.left:
            self.left = True
            if self.gone_out and not delivered:
                self.index.unsent(self.run.record.id)
            self.books = self.leaving(self, delivered)
