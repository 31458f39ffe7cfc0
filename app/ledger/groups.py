"""One writer task commits changes in groups: rows are waited for until they are safe, settlements are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Overloaded
from app.ledger.protocol import LedgerWatch
from app.ledger.rows import Change
from app.ledger.settlements import Settlements
from app.ledger.writer import Unwritten, writer
from providers.kit.clock import Clock

AGAIN_SECONDS: Final = 0.5
GATHER_SECONDS: Final = 0.01
GROUP: Final = 256

Job = tuple[Change, "asyncio.Future[None] | None"]


class Groups:
    """The changes that this process makes, in their order.

    The settlement file has those that nobody waits for before the database; it hears how many of them are there now.
    """

    def __init__(
        self, engine: AsyncEngine, clock: Clock, settlements: Settlements, watch: LedgerWatch | None
    ) -> None:
        self._clock = clock
        self._watch = watch
        self._settlements = settlements
        self._writer = writer(engine)
        self._jobs: list[Job] = []
        self._due = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many changes wait to be written."""
        return len(self._jobs)

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write())

    async def safe(self, change: Change) -> None:
        """Comes back when it is written. Raises Overloaded when it cannot be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.append((change, done))
        self._due.set()
        await done

    def soon(self, change: Change) -> None:
        """Nobody waits for it: it goes with the next row that somebody waits for, or alone a moment later."""
        self._jobs.append((change, None))
        self.stir()

    def stir(self) -> None:
        """What the settlement file was told is in it a moment later."""
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._due.set)

    async def finish(self) -> None:
        """Write what is left, once more if need be."""
        self._closed = True
        self._due.set()
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Let go of the database."""
        await self._writer.close()

    async def commit(self, group: Sequence[Job]) -> list[Job]:
        """Write a group in one transaction; returns what is to be tried again."""
        try:
            await self._writer.commit([change for change, _ in group])
        except Unwritten:
            if self._watch:
                self._watch.unwritten(len(group))
            return self._refused(group)
        for _, done in group:
            if done is not None and not done.done():
                done.set_result(None)
        self._settlements.written(sum(done is None for _, done in group))
        return []

    async def _write(self) -> None:
        """Until closed. Settlements that failed go first in the next group: what was paid is never dropped."""
        owed: list[Job] = []
        while owed or self._jobs or not self._closed:
            if owed:
                await self._clock.sleep(AGAIN_SECONDS)
            else:
                await self._due.wait()
            group = self._next(owed)
            self._settlements.flush()
            owed = await self.commit(group) if group else []
            if self._closed and owed:
                return

    def _next(self, owed: list[Job]) -> list[Job]:
        """What is owed, and what came since, up to a group."""
        self._due.clear()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        count = GROUP - len(owed)
        group = [*owed, *self._jobs[:count]]
        del self._jobs[:count]
        if self._jobs or self._closed:
            self._due.set()
        return group

    def _refused(self, group: Sequence[Job]) -> list[Job]:
        """What is owed. Who waits in the group is told, and who has no place in the next one beside what is owed."""
        owed = [job for job in group if job[1] is None]
        room = GROUP - len(owed)
        late = self._jobs[room:]
        self._jobs[room:] = [job for job in late if job[1] is None]
        for _, done in (*group, *late):
            if done is not None and not done.done():  # an error of its own: its way is cleared when it was told
                done.set_exception(Overloaded("The ledger cannot be written now."))
        return owed
