"""Groups of rows into the database: a transaction for each group, a statement for each kind of change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import groupby
from typing import Any, Final, Protocol

from sqlalchemy import Engine, bindparam, create_engine, event, insert, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.dml import Insert, Update

from app.ledger.tables import requests

Row = dict[str, Any]
WHICH: Final = "which_request"


class Writer(Protocol):
    """Writes one group at a time."""

    async def commit(self, opened: Sequence[Row], changed: Sequence[Row]) -> None:
        """New rows, then columns of rows by their `request_id`. Raises SQLAlchemyError, OSError, TimeoutError."""

    async def close(self) -> None:
        """Let go."""


def prepared(engine: Engine) -> None:
    """Each connection of a SQLite engine writes ahead, waits for the others' locks, and syncs at checkpoints."""

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def writer(engine: AsyncEngine) -> Writer:
    """SQLite is written in a thread of its own; a server is asked over its connection."""
    return ThreadWriter(engine) if engine.dialect.name == "sqlite" else ServerWriter(engine)


class ServerWriter:
    """A database that is waited for on the network."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def commit(self, opened: Sequence[Row], changed: Sequence[Row]) -> None:
        async with self._engine.begin() as connection:
            for statement, rows in _statements(opened, changed):
                await connection.execute(statement, rows)

    async def close(self) -> None:
        """The engine is its owner's."""


class ThreadWriter:
    """SQLite: a whole group costs one change of threads, where aiosqlite would make one for each step."""

    def __init__(self, engine: AsyncEngine) -> None:
        url = engine.url.set(drivername="sqlite+pysqlite")
        self._engine = create_engine(
            url, connect_args={"timeout": 10, "check_same_thread": False}, poolclass=StaticPool
        )
        prepared(self._engine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def commit(self, opened: Sequence[Row], changed: Sequence[Row]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, opened, changed)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    def _commit(self, opened: Sequence[Row], changed: Sequence[Row]) -> None:
        with self._engine.begin() as connection:
            for statement, rows in _statements(opened, changed):
                connection.execute(statement, rows)


def _statements(opened: Sequence[Row], changed: Sequence[Row]) -> Iterator[tuple[Insert | Update, list[Row]]]:
    if opened:
        yield insert(requests), list(opened)
    for names, rows in groupby(changed, key=tuple):
        yield _update(names), [{WHICH if name == "request_id" else name: row[name] for name in row} for row in rows]


@cache
def _update(names: tuple[str, ...]) -> Update:
    values: Row = {name: bindparam(name) for name in names if name != "request_id"}
    return update(requests).where(requests.c.request_id == bindparam(WHICH)).values(values)
