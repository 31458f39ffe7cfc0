"""The ledger on SQLite or PostgreSQL: rows are safe before their calls, settlements before their answers.

Beside it: `groups` writes, `reading` asks, `presence` knows who lives, `settlements` keeps what is not written yet,
`left` reads what the dead left of that, and `recovery` brings it in.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import and_, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Overloaded
from app.ledger import reading
from app.ledger.groups import Groups
from app.ledger.presence import DEAD_SECONDS, HEARTBEAT_SECONDS, Presence
from app.ledger.protocol import Entry, LedgerWatch, Past, State
from app.ledger.reading import AWAY
from app.ledger.recovery import Recovery
from app.ledger.rows import Change, opened, settled, storable
from app.ledger.settlements import Settlements
from app.ledger.tables import requests
from providers.kit.clock import Clock


class SQLLedger:
    """One writer task for this process. A crash leaves what is open for the sweeper."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        *,
        hash_users: bool = True,
        pepper: bytes = b"",
        watch: LedgerWatch | None = None,
        dead_seconds: float = DEAD_SECONDS,
        folder: Path | None = None,
    ) -> None:
        """An instance that did not beat for `dead_seconds` is dead; settlements are kept in `folder`, if any."""
        self.engine = engine
        self.instance = secrets.token_hex(8)
        self._clock = clock
        self._hash_users = hash_users
        self._pepper = pepper
        self._watch = watch
        self._dead_seconds = dead_seconds
        self._presence = Presence(engine, self.instance, clock, dead_seconds)
        self._settlements = Settlements(folder, self.instance, clock, watch)
        self._recovery = Recovery(engine, self._presence, clock, folder, watch)
        self._groups = Groups(engine, clock, self._settlements, watch)
        self._living: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many rows wait to be written."""
        return self._groups.waiting

    async def start(self) -> None:
        """Begin to write, to beat, and to sweep after instances that died."""
        self._settlements.tidy()
        await self._presence.beat()
        await self.recover()
        self._groups.start()
        self._living = asyncio.create_task(self._live())

    async def open(self, entry: Entry) -> None:
        user = self._user(entry.end_user) if entry.end_user else entry.end_user
        await self._groups.safe(opened(entry, user, self.instance))

    async def settle(self, entry: Entry) -> None:
        self._soon(settled(entry))
        if entry.state is not State.DELIVERED:  # of what is delivered nothing leaves before it is also `sent`
            self._settlements.flush()

    async def note(self, request_id: str, *, document: str | None = None, handed: bool = False) -> None:
        values: dict[str, object] = {"document": document} if document is not None else {}
        if handed:
            values["handed"] = True
        if values:
            self._soon(Change(tuple(values), tuple(values.values()), request_id))
        if document:  # from now on others may give it to a repeat
            self._settlements.flush()

    def sent(self, request_id: str) -> None:
        self._settlements.sent(request_id)

    def unsent(self, request_id: str) -> None:
        self._settlements.unsent(request_id)

    def taken(self, request_id: str) -> None:
        self._settlements.taken(request_id)
        self._groups.stir()

    async def past(self, since: float, *, request_id: str | None = None) -> list[Past]:
        return await reading.past(self.engine, since, request_id)

    async def abandoned(self, since: float, most: int, seen: Collection[str] = ()) -> list[Entry]:
        found = and_(requests.c.created >= since, requests.c.request_id.not_in(seen), self._presence.left())
        return await reading.entries(self.engine, found, most)

    async def claim(self, entry: Entry) -> bool:
        try:
            return await self._presence.claim(entry)
        except AWAY:
            raise Overloaded("The ledger cannot be written now.") from None

    async def ready(self) -> bool:
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except AWAY:
            return False
        return True

    async def spent(self, columns: Mapping[str, str], since: float) -> int:
        stored = {name: self._user(value) if name == "end_user" else value for name, value in columns.items()}
        return await reading.spent(self.engine, stored, since)

    async def usage(self, since: float, until: float, group_by: str) -> list[dict[str, Any]]:
        return await reading.usage(self.engine, since, until, group_by)

    async def close(self) -> None:
        if self._living is not None:
            await self._groups.finish()
            self._living.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._living
            self._settlements.close()
            with contextlib.suppress(*AWAY):
                await self._presence.leave()
        await self._groups.close()
        await self.engine.dispose()

    async def sweep(self) -> int:
        """Rows that an instance left open when it died become unknown; returns how many."""
        rows = await self._presence.sweep()
        if rows and self._watch:
            self._watch.swept(rows)
        return rows

    async def recover(self) -> None:
        """What killed gateways left in the folder comes into the database, if that is there."""
        with contextlib.suppress(*AWAY):  # tried again with the next heartbeat
            await self._recovery.run()

    def _soon(self, change: Change) -> None:
        self._settlements.add(change)
        self._groups.soon(change)

    async def _live(self) -> None:
        """Beat and sweep. After a database that was away others may be late to beat: they get their time first."""
        patient_until = 0.0
        while True:
            try:
                await self._presence.beat()
                if self._clock.now() >= patient_until:
                    await self.sweep()
            except AWAY:
                patient_until = self._clock.now() + self._dead_seconds
            await self._clock.sleep(HEARTBEAT_SECONDS)
            self._settlements.tidy()
            await self.recover()

    def _user(self, name: str) -> str:
        """An end user as the rows hold it."""
        if not self._hash_users:
            return storable(name[:200]) or ""
        return hashlib.sha256(self._pepper + name.encode()).hexdigest()[:32]
