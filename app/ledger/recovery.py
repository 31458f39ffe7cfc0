"""Brings what killed gateways left in their settlement files into the database: again and again, with one result."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.ledger.left import OPEN, Columns, Left, left
from app.ledger.presence import FORGOTTEN_SECONDS, Presence
from app.ledger.protocol import LedgerWatch
from app.ledger.reading import AWAY
from app.ledger.tables import requests
from providers.kit.clock import Clock

TOGETHER: Final = 250
REFUSED: Final = (*AWAY, ValueError, OverflowError)  # the last two: what a driver says of a value that it cannot hold


@dataclass(frozen=True, slots=True)
class Written:
    """Columns for the row of a request, while it is in one of these states."""

    name: str
    columns: Columns
    states: Collection[str]


class Recovery:
    """Of the gateways that share a folder. Files of those that live are locked, and left alone."""

    def __init__(
        self, engine: AsyncEngine, presence: Presence, clock: Clock, folder: Path | None, watch: LedgerWatch | None
    ) -> None:
        self._engine = engine
        self._presence = presence
        self._clock = clock
        self._folder = folder
        self._watch = watch
        self._told: set[str] = set()

    async def run(self) -> None:
        """Look once. Raises what a database does that is away; what is not done then is found again."""
        if self._folder is None:
            return
        folder = self._folder
        try:
            found = await asyncio.to_thread(lambda: [*left(folder)])
        except OSError as error:
            self._unkept("", error)
            return
        try:
            for each in found:
                await self._bring(each)
        finally:
            for each in found:
                each.release()

    async def _bring(self, found: Left) -> None:
        if not found.here and await self._presence.lives(found.instance):
            return
        rows = await self._rows(found)
        changes = [
            Written(name, columns, OPEN if row["state"] in OPEN else {row["state"]})
            for name, row in rows.items()
            if (columns := found.changes(name, row))
        ]
        refused = [each for some in _portions(changes) for each in await self._write(found.instance, some)]
        ended = sum("state" in each.columns for each in changes) - len(refused)
        swept = 0 if found.strange else await self._presence.bury(found.instance)
        if self._watch and ended > 0:
            self._watch.recovered(ended)
        if self._watch and swept:
            self._watch.swept(swept)
        # Without any row here it is of another database, whose gateways may still come for it.
        ours = not found.strange and (bool(rows) or not found.names)
        if (ours and not refused) or found.written < self._clock.time() - FORGOTTEN_SECONDS:
            found.done()

    async def _rows(self, found: Left) -> Mapping[str, Columns]:
        """What the database has of the requests that it tells of; nobody else's since.

        A server may still be at a commit of the dead gateway: it is waited for.
        """
        columns = (requests.c.request_id, requests.c.state, requests.c.handed, requests.c.document)
        rows: dict[str, Columns] = {}
        whose = requests.c.instance == found.instance
        async with self._engine.begin() as connection:
            for names in _portions(found.names):
                mine = select(*columns).where(requests.c.request_id.in_(names), whose).with_for_update()
                rows |= {row["request_id"]: row for row in (await connection.execute(mine)).mappings()}
        return rows

    async def _write(self, instance: str, changes: Sequence[Written]) -> Sequence[Written]:
        """Returns what the database does not take, whatever else does not: those are tried one by one."""
        try:
            await self._commit(instance, changes)
        except REFUSED as error:
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            if len(changes) > 1:
                return [each for one in changes for each in await self._write(instance, [one])]
            self._unkept(instance, error)
            return changes
        return ()

    async def _commit(self, instance: str, changes: Sequence[Written]) -> None:
        async with self._engine.begin() as connection:
            for each in changes:
                row = update(requests).where(requests.c.request_id == each.name, requests.c.instance == instance)
                await connection.execute(row.where(requests.c.state.in_(each.states)).values(**each.columns))

    def _unkept(self, instance: str, error: Exception) -> None:
        if self._watch:
            self._watch.unkept(error, again=instance in self._told)
        self._told.add(instance)


def _portions(found: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(found), TOGETHER):
        yield found[first : first + TOGETHER]
