"""Which gateways live, by their heartbeats: what a dead one left is everybody's."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.ledger.protocol import Entry, State
from app.ledger.tables import instances, requests
from providers.kit.clock import Clock

HEARTBEAT_SECONDS: Final = 10.0
DEAD_SECONDS: Final = 60.0
FORGOTTEN_SECONDS: Final = 86_400.0
OPEN: Final = (State.RESERVED.value, State.UNKNOWN.value)
DIED: Final = "instance died"


class Presence:
    """This gateway among those that share the database. An instance that did not beat for `dead_seconds` is dead."""

    def __init__(self, engine: AsyncEngine, instance: str, clock: Clock, dead_seconds: float) -> None:
        self._engine = engine
        self._instance = instance
        self._clock = clock
        self._dead_seconds = dead_seconds

    async def beat(self) -> None:
        """Say that this gateway lives."""
        now = self._now()
        async with self._engine.begin() as connection:
            beat = update(instances).where(instances.c.id == self._instance).values(heartbeat=now)
            if (await connection.execute(beat)).rowcount == 0:
                await connection.execute(insert(instances).values(id=self._instance, heartbeat=now))

    async def leave(self) -> None:
        """What this gateway leaves open is everybody's from now on."""
        async with self._engine.begin() as connection:
            await connection.execute(delete(instances).where(instances.c.id == self._instance))

    async def sweep(self) -> int:
        """Rows that an instance left open when it died become unknown; returns how many."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(self._ending(requests.c.instance.not_in(self._alive())))
            await connection.execute(delete(instances).where(instances.c.heartbeat < self._now() - FORGOTTEN_SECONDS))
        return changed.rowcount

    async def bury(self, instance: str) -> int:
        """An instance is known to be dead: its open rows become unknown; returns how many."""
        async with self._engine.begin() as connection:
            changed = await connection.execute(self._ending(requests.c.instance == instance))
            await connection.execute(delete(instances).where(instances.c.id == instance))
        return changed.rowcount

    async def lives(self, instance: str) -> bool:
        """Whether it was heard of lately."""
        async with self._engine.connect() as connection:
            return (await connection.execute(self._alive().where(instances.c.id == instance))).first() is not None

    async def claim(self, entry: Entry) -> bool:
        """Make an abandoned row this gateway's own; False when another was faster."""
        mine = {"instance": self._instance, "state": State.RESERVED.value, "settled": None, "error": ""}
        found = and_(requests.c.request_id == entry.request_id, requests.c.instance == entry.instance, self.left())
        async with self._engine.begin() as connection:
            return bool((await connection.execute(update(requests).where(found).values(**mine))).rowcount)

    def left(self) -> ColumnElement[bool]:
        """What an upstream works on, and no gateway any more."""
        gone = and_(requests.c.instance != self._instance, requests.c.instance.not_in(self._alive()))
        return and_(requests.c.tasks.is_not(None), requests.c.state.in_(OPEN), gone)

    def _ending(self, whose: ColumnElement[bool]) -> Any:
        ended = {"state": State.UNKNOWN.value, "settled": self._clock.time(), "error": DIED}
        return update(requests).where(and_(requests.c.state == State.RESERVED.value, whose)).values(**ended)

    def _alive(self) -> Select[Any]:
        return select(instances.c.id).where(instances.c.heartbeat >= self._now() - self._dead_seconds)

    def _now(self) -> Any:
        """The time of heartbeats: the server's where several machines share it, so that no clock of theirs counts."""
        if self._engine.dialect.name == "postgresql":
            return func.extract("epoch", func.clock_timestamp())
        return self._clock.time()
