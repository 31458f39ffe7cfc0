"""What happens when Redis is away: this gateway is one by itself, and tells Redis what it missed afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from app.errors import Overloaded
from app.runs.ledgered import LedgerIndex
from app.runs.protocol import KEPT_SECONDS, IndexLost, Record, Unheard
from app.runs.redis import RedisIndex
from providers.kit.clock import Clock

PAUSE_SECONDS: Final = 1.0
TOLD_AT_ONCE: Final = 256
# Names of runs, of 100 bytes or so; an hour of outage with ten requests a second.
MISSED: Final = 36_000

Report = Callable[[str, bool], None]
T = TypeVar("T")


class GuardedIndex:
    """`far` decides while it answers; `near` knows this gateway's own runs and decides while it does not.

    `far` is left alone for a second after it did not answer. `report` hears each loss and each recovery once.
    """

    shared = True

    def __init__(self, near: LedgerIndex, far: RedisIndex, clock: Clock, report: Report) -> None:
        self.instance = near.instance
        self._near = near
        self._far = far
        self._clock = clock
        self._report = report
        self._lost = False
        self._lost_until = 0.0
        self._missed: dict[str, float] = {}  # and since when, oldest first
        self._unreleased: dict[str, str] = {}  # askers, and the runs that they held
        self._greeting = asyncio.Lock()
        self._dropping = False

    @property
    def missed(self) -> tuple[str, ...]:
        """The runs that Redis has to hear of, as far as they fit."""
        return tuple(self._missed)

    async def start(self) -> None:
        """Read the ledger, and tell Redis what it does not know of it."""
        found = list(await self._near.start())
        for first in range(0, len(found), TOLD_AT_ONCE):
            told = (
                self._asked(partial(self._far.restore, each), None) for each in found[first : first + TOLD_AT_ONCE]
            )
            await asyncio.gather(*told)
        await self._asked(partial(self._far.beat, told=True), True)

    async def begin(self, record: Record, *, retry: int, patience: float, waited: float = 0.0) -> Record | None:
        begin = partial(self._far.begin, record, retry=retry, patience=patience, waited=waited)
        try:
            found = await self._begun(begin)
        except (IndexLost, Unheard):
            self._miss(record.id)
            return await self._near.begin(record, retry=retry, patience=patience)
        if found is None:
            await self._near.put(record)
        return await self._known(found)

    async def _begun(self, begin: Callable[[], Awaitable[Record | None]]) -> Record | None:
        try:
            return await self._tried(begin)
        except Unheard:
            await self._greet()
            return await self._tried(begin)

    async def put(self, record: Record) -> tuple[str, ...]:
        gone = await self._near.put(record)
        return await self._told(record.id, lambda: self._far.put(record), gone)

    async def get(self, name: str) -> Record | None:
        return await self._known(await self._tried(lambda: self._far.get(name)))

    async def find(self, caller: str, name: str) -> Record | None:
        try:
            found = await self._tried(lambda: self._far.find(caller, name))
        except IndexLost:
            return await self._near.find(caller, name)
        return await self._known(found)

    async def claimed(self, name: str) -> bool:
        return await self._asked(lambda: self._far.claimed(name), await self._near.claimed(name))

    def sent(self, name: str) -> None:
        self._near.sent(name)

    def unsent(self, name: str) -> None:
        self._near.unsent(name)

    async def alone(self, name: str) -> None:
        await self._near.alone(name)
        await self._told(name, lambda: self._far.alone(name), None)

    async def delivered(self, name: str) -> bool:
        wanted = await self._near.delivered(name)
        return await self._told(name, lambda: self._far.delivered(name), wanted)

    async def release(self, name: str, asker: str) -> None:
        await self._near.release(name, asker)
        try:
            await self._tried(lambda: self._far.release(name, asker))
        except IndexLost:
            self._unreleased[asker] = name
            if len(self._unreleased) > TOLD_AT_ONCE:
                del self._unreleased[next(iter(self._unreleased))]

    async def forget(self, name: str) -> None:
        await self._near.forget(name)
        await self._told(name, lambda: self._far.forget(name), None)

    async def beat(self) -> bool:
        """Also the way back: what Redis missed, or all of it when it forgot this gateway, is told again."""
        try:
            return await self._greet()
        except (IndexLost, Overloaded):  # without the ledger too: what is to be told waits
            return False

    async def close(self) -> None:
        await self._near.close()
        await self._far.close()

    async def _known(self, found: Record | None) -> Record | None:
        """What the ledger says of a run whose gateway is gone; unknown when it says nothing, and so no new call."""
        return None if found is None else await self._near.looked_up(found) or found

    async def _greet(self) -> bool:
        """Redis decides nothing for this gateway before it has heard of all that this gateway runs."""
        async with self._greeting:
            known = await self._tried(self._far.beat)
            if not known:
                self._miss(*(record.id for record in self._near.records))
            await self._tell()
            if not known:
                await self._tried(partial(self._far.beat, told=True))
        return known

    async def _tell(self) -> None:
        for asker, held in [*self._unreleased.items()]:
            await self._tried(partial(self._far.release, held, asker))
            self._unreleased.pop(asker, None)
        names = list(self._missed)
        for first in range(0, len(names), TOLD_AT_ONCE):
            await asyncio.gather(*(self._tell_of(name) for name in names[first : first + TOLD_AT_ONCE]))

    async def _tell_of(self, name: str) -> None:
        left, record = self._near.left(name), await self._near.get(name)
        if not left and record is None:
            await self._tried(partial(self._far.forget, name))
        elif not left and record is not None:
            await self._tried(partial(self._far.put, record))
        elif record is not None:  # its own gateway may live, and has told more of it
            await self._tried(partial(self._far.restore, record))
        self._missed.pop(name, None)

    def _miss(self, *names: str) -> None:
        """Redis has to hear of these. After an hour it has forgotten them by itself."""
        now = self._clock.time()
        for name in names:
            self._missed.setdefault(name, now)
        while self._missed and self._missed[oldest := next(iter(self._missed))] <= now - KEPT_SECONDS:
            del self._missed[oldest]
        if len(self._missed) > MISSED:
            self._drop()

    def _drop(self) -> None:
        """A tenth, for room: runs that are over and forgotten here too, then the oldest, which few still ask for."""
        known = {record.id for record in self._near.records}
        for name in sorted(self._missed, key=known.__contains__)[: len(self._missed) - MISSED * 9 // 10]:
            del self._missed[name]
        if not self._dropping:
            self._dropping = True
            self._report(f"more than {MISSED} runs to tell", False)

    async def _told(self, name: str, saying: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """Say it to Redis, or note that it missed it."""
        try:
            return await self._tried(saying)
        except IndexLost:
            self._miss(name)
            return otherwise

    async def _asked(self, question: Callable[[], Awaitable[T]], otherwise: T) -> T:
        try:
            return await self._tried(question)
        except IndexLost:
            return otherwise

    async def _tried(self, question: Callable[[], Awaitable[T]]) -> T:
        if self._lost and self._clock.now() < self._lost_until:
            raise IndexLost
        try:
            found = await question()
        except IndexLost as error:
            self._lost_until = self._clock.now() + PAUSE_SECONDS
            if not self._lost:
                self._lost = True
                self._report(str(error), False)
            raise
        if self._lost:
            self._lost = self._dropping = False
            self._report("", True)
        return found
