"""Runs that are not made here: of another gateway, or over and no longer in memory. They look like any other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from app.errors import Overloaded
from app.kept import Kept, read
from app.runs import failures
from app.runs.protocol import Index, IndexLost, Record, State
from app.runs.run import Run
from app.store import ImageStore, StoreError
from providers.core.errors import PinholeError
from providers.kit.clock import Clock

LOOK_SECONDS: Final = (0.1, 1.0)  # how often a run of another gateway is asked for: at first, and later
# How long a run may seem to be nobody's: a gateway that lives says so before.
SILENT_SECONDS: Final = 6.0

Trouble = Callable[[str, BaseException], None]


class Follower:
    """Brings the outcome of a run from where it is: the index knows its state, the store has its answer."""

    def __init__(self, clock: Clock, index: Index, store: ImageStore, trouble: Trouble) -> None:
        self._clock = clock
        self._index = index
        self._store = store
        self._trouble = trouble

    async def follow(self, run: Run) -> None:
        """The outcome of a run that another gateway makes; or of one that is over."""
        try:
            running = run.record.state is State.RUNNING
            run.answer = await self._brought(await self._over(run.record.id) if running else run.record)
        except PinholeError as error:
            run.error = failures.bare(error)
        finally:
            run.end()

    async def _over(self, name: str) -> Record | None:
        """A run of another gateway when it is over, asked for again and again; None when nobody knows of it."""
        record: Record | None = None
        silent, (pause, longest) = 0.0, LOOK_SECONDS
        while silent < SILENT_SECONDS:
            await self._clock.sleep(pause)
            with contextlib.suppress(IndexLost, Overloaded):  # it is still running, as far as anybody knows
                record = await self._index.get(name)
                if record is not None and record.state not in {State.RUNNING, State.UNKNOWN}:
                    break
                silent = 0.0 if record is not None and record.state is State.RUNNING else silent + pause
            pause = min(longest, pause * 1.5)
        return record

    async def _brought(self, record: Record | None) -> Kept:
        """A kept answer. Raises the failure of the run, or that its outcome is not known (any more)."""
        if record is not None and record.failure:
            raise failures.read(record.failure)
        if record is None or record.state is not State.ANSWERED or not record.document:
            raise failures.unknown()
        try:
            data = await self._store.kept(record.document)
            return read(data or b"")
        except (StoreError, ValueError, KeyError) as error:
            self._trouble("store", error)
            raise failures.unknown() from error
