"""One run as this gateway goes through it or follows it, and the places of callers at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from app.delivery import Sketch
from app.kept import Kept
from app.runs import failures
from app.runs.protocol import Record
from providers.core.errors import PinholeError


@dataclass(slots=True, eq=False)
class Run:
    """`own`: this gateway makes the call; else it follows another's run, or brings a kept answer from the store.

    `alone`: it was without any for a time. `waiting` counts callers here, `moved` is set whenever one of them left.
    """

    record: Record
    own: bool = True
    task: asyncio.Task[None] | None = None
    answer: Kept | None = None
    error: PinholeError | None = None
    delivered: bool = False
    alone: bool = False
    waiting: int = 0
    listeners: set[asyncio.Queue[Sketch | None]] = field(default_factory=set)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether its outcome is still open."""
        return self.task is not None and not self.task.done()

    @property
    def weight(self) -> int:
        """The bytes its answer holds in memory."""
        return self.answer.weight if self.answer else 0

    @property
    def outcome(self) -> Kept:
        """Its answer. Raises its error."""
        if self.answer is not None:
            return self.answer
        raise self.error or failures.unknown()

    def tell(self, sketch: Sketch | None) -> None:
        """Give a partial image to whoever listens; None is the end."""
        for listener in self.listeners:
            listener.put_nowait(sketch)


@dataclass(slots=True, eq=False)
class Seat:
    """A caller's place at a run, from joining to leaving. `replayed`: the outcome was there before it."""

    run: Run
    asker: str
    repeat: bool
    replayed: bool
    leaving: Callable[[Seat, bool], None]
    left: bool = False

    async def outcome(self, seconds: float, gone: Awaitable[None]) -> Kept | None:
        """The run's answer; None when the caller hung up first. Raises its error, or TimeoutError after `seconds`."""
        assert self.run.task is not None  # noqa: S101 - only started runs have seats
        watcher = asyncio.ensure_future(gone)
        try:
            done, _ = await asyncio.wait(
                {self.run.task, watcher}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            watcher.cancel()
        if self.run.task in done:
            self.run.task.result()
            return self.run.outcome
        if watcher in done:
            return None
        raise TimeoutError

    async def states(self, until: Callable[[], float]) -> AsyncIterator[Sketch | Kept]:
        """Partial images, then the answer. Raises the run's error, or TimeoutError at the end of `until()`."""
        assert self.run.task is not None  # noqa: S101 - only started runs have seats
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
        await self.run.task
        yield self.run.outcome

    def leave(self, *, delivered: bool) -> None:
        """The caller goes; `delivered` says that it got all of it. Only the first time counts."""
        if not self.left:
            self.left = True
            self.leaving(self, delivered)
