"""Never pay twice, never lose what was paid for: each accepted request is a run that outlives its caller.

A repeat joins a run that still goes, or gets the outcome of one that was not delivered. Whatever may have been
billed is replayed, failures included; what cannot have been billed is run anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Final

from app.answer import Answer
from app.delivery import Sketch
from app.errors import KeyReused
from providers.core.errors import PinholeError, UpstreamFailure
from providers.core.types import ImageRequest
from providers.kit.clock import Clock

KEPT_SECONDS: Final = 3600.0
REPEAT_SECONDS: Final = 600.0
KEPT_BYTES: Final = 256 * 2**20

Source = Callable[[], AsyncIterator[Sketch | Answer]]


def fingerprint(request: ImageRequest) -> str:
    """The same for the same wish: fields sorted, null left out, images by digest in order, no file names."""
    document: dict[str, object] = {}
    for item in fields(request):
        value = getattr(request, item.name)
        if item.name in {"images", "mask"} or value in (None, (), {}, frozenset()):
            continue
        document[item.name] = value if isinstance(value, dict | int | bool) else str(value)
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode())
    for image in (*request.images, *([request.mask] if request.mask else [])):
        digest.update(image.name.partition("[")[0].encode() + hashlib.sha256(image.data).digest())
    return digest.hexdigest()


@dataclass(slots=True, eq=False)
class Run:
    """One accepted request. `delivered` is set when a caller got the whole answer; `waiting` counts callers."""

    id: str
    caller: str
    label: str
    fingerprint: str
    key: str | None
    started: float
    task: asyncio.Task[Answer | None] | None = None
    answer: Answer | None = None
    error: PinholeError | None = None
    delivered: bool = False
    waiting: int = 0
    retries: int = 0
    listeners: set[asyncio.Queue[Sketch | None]] = field(default_factory=set)

    @property
    def running(self) -> bool:
        """Whether its outcome is still open."""
        return self.task is not None and not self.task.done()

    @property
    def replayable(self) -> bool:
        """Whether its outcome may have cost money, so that a repeat must get it instead of a new call."""
        if self.error is not None:
            return isinstance(self.error, UpstreamFailure) and self.error.billed
        return self.answer is not None

    @property
    def orphan(self) -> bool:
        """Paid for, or being paid for, and nobody has it."""
        return not self.delivered and self.waiting == 0 and (self.running or self.replayable)

    @property
    def weight(self) -> int:
        """The bytes its answer holds."""
        return sum(len(image.base64 or b"") for image in self.answer.images) if self.answer else 0


class Runs:
    """All runs of this process: bounded in time and bytes, each visible to its own caller only."""

    def __init__(self, clock: Clock, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._kept_bytes = kept_bytes
        self._runs: list[Run] = []

    def match(self, caller: str, print_: str, *, key: str | None, retry: bool) -> Run | None:
        """The run that this request repeats, or None. Raises KeyReused."""
        self._forget()
        mine = [run for run in self._runs if run.caller == caller]
        if key is not None:
            return self._keyed([run for run in mine if run.key == key], print_)
        fresh = self._clock.now() - REPEAT_SECONDS
        same = [run for run in mine if run.fingerprint == print_ and run.key is None and run.started >= fresh]
        orphans = [run for run in same if run.orphan and not run.retries]
        if orphans or not retry:
            return orphans[0] if orphans else None
        return next((run for run in same if run.running and not run.retries), None)

    def start(self, run: Run, source: Source) -> Run:
        """Begin a run; it goes on whatever its callers do."""
        run.started = self._clock.now()
        self._runs.append(run)
        run.task = asyncio.create_task(self._carry(run, source))
        return run

    def find(self, caller: str, name: str) -> Run | None:
        """A run by its id, or the newest by its caller's label."""
        self._forget()
        mine = (run for run in reversed(self._runs) if run.caller == caller)
        return next((run for run in mine if name in {run.id, run.label}), None)

    async def drain(self, seconds: float) -> None:
        """Wait for what still runs, at a stop."""
        tasks = [run.task for run in self._runs if run.task and not run.task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    @staticmethod
    def _keyed(found: list[Run], print_: str) -> Run | None:
        if not found:
            return None
        if found[-1].fingerprint != print_:
            raise KeyReused("This Idempotency-Key came before with another request.")
        return found[-1] if found[-1].running or found[-1].replayable else None

    async def _carry(self, run: Run, source: Source) -> Answer | None:
        try:
            async for state in source():
                if isinstance(state, Answer):
                    run.answer = state
                else:
                    for listener in run.listeners:
                        listener.put_nowait(state)
        except PinholeError as error:
            run.error = error
        finally:
            for listener in run.listeners:
                listener.put_nowait(None)
        return run.answer

    def settle(self, run: Run) -> None:
        """Let go of what nobody can ask for any more."""
        over = not run.running and run.waiting == 0
        if over and ((run.delivered and run.key is None) or not run.replayable):
            self._runs = [other for other in self._runs if other is not run]

    def _forget(self) -> None:
        """Drop what is too old, then, over the byte bound, the oldest: delivered ones first."""
        oldest = self._clock.now() - KEPT_SECONDS
        self._runs = [run for run in self._runs if run.running or run.started >= oldest]
        total = sum(run.weight for run in self._runs)
        for run in sorted(self._runs, key=lambda run: (not run.delivered, run.started)):
            if total <= self._kept_bytes:
                return
            if not run.running:
                total -= run.weight
                self._runs.remove(run)


async def outcome(run: Run, seconds: float, gone: Awaitable[None]) -> Answer | None:
    """The run's answer; None when the caller hung up first. Raises its error, or TimeoutError after `seconds`."""
    assert run.task is not None  # noqa: S101 - only started runs are attended
    watcher = asyncio.ensure_future(gone)
    try:
        done, _ = await asyncio.wait({run.task, watcher}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watcher.cancel()
    if run.task in done:
        run.task.result()
        if run.error is not None:
            raise run.error
        return run.answer
    if watcher in done:
        return None
    raise TimeoutError


async def states(run: Run, until: Callable[[], float]) -> AsyncIterator[Sketch | Answer]:
    """Partial images, then the answer. Raises the run's error, or TimeoutError at the end of `until()`."""
    assert run.task is not None  # noqa: S101 - only started runs are attended
    queue: asyncio.Queue[Sketch | None] = asyncio.Queue()
    run.listeners.add(queue)
    try:
        while run.running or not queue.empty():
            state = await asyncio.wait_for(queue.get(), max(0.001, until()))
            if state is None:
                break
            yield state
    finally:
        run.listeners.discard(queue)
    await run.task
    if run.error is not None:
        raise run.error
    if run.answer is not None:
        yield run.answer
