"""Groups of rows into the database: a transaction for each group, a statement for each kind of change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from queue import SimpleQueue
from typing import Any, Final, Protocol

from sqlalchemy import Engine, bindparam, create_engine, event, insert, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection, StaticPool
from sqlalchemy.sql.dml import Insert, Update

from app.ledger.rows import OPENED, Change
from app.ledger.tables import requests

WHICH: Final = "which_request"
Group = tuple[Sequence[Change], asyncio.Future[None]]


class Unwritten(Exception):
    """A group could not be written; nothing of it was."""


class Writer(Protocol):
    """Writes one group at a time."""

    async def commit(self, group: Sequence[Change]) -> None:
        """New rows, then changes in their order. Raises Unwritten."""

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

    async def commit(self, group: Sequence[Change]) -> None:
        try:
            async with self._engine.begin() as connection:
                for names, changes in _kinds(group):
                    await connection.execute(_statement(names), [_row(change) for change in changes])
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise Unwritten from error

    async def close(self) -> None:
        """The engine is its owner's."""


class ThreadWriter:
    """SQLite, through its driver alone: a whole group costs one change of threads and no statement is made anew."""

    def __init__(self, engine: AsyncEngine) -> None:
        url = engine.url.set(drivername="sqlite+pysqlite")
        self._engine = create_engine(
            url, connect_args={"timeout": 10, "check_same_thread": False}, poolclass=StaticPool
        )
        prepared(self._engine)
        self._groups: SimpleQueue[Group | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: PoolProxiedConnection | None = None

    async def commit(self, group: Sequence[Change]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            self._thread.start()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._groups.put((group, done))
        await done

    async def close(self) -> None:
        if self._thread is not None:
            self._groups.put(None)
            await asyncio.to_thread(self._thread.join)
        self._engine.dispose()

    def _run(self) -> None:
        while (found := self._groups.get()) is not None:
            group, done = found
            error = self._write(group)
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                done.get_loop().call_soon_threadsafe(_told, done, error)
        if self._connection is not None:
            self._connection.close()

    def _write(self, group: Sequence[Change]) -> Exception | None:
        """One transaction; what stood in its way."""
        try:
            self._connection = self._connection or self._engine.raw_connection()
            connection = self._connection.driver_connection
            assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - what this engine connects with
            with connection:
                for names, changes in _kinds(group):
                    connection.executemany(_sql(names), [_values(change) for change in changes])
        except (sqlite3.Error, SQLAlchemyError, OSError, ValueError, OverflowError) as error:
            return error  # the last two are values that SQLite cannot hold; nobody writes when this thread ends
        return None


def _told(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
        return
    failure = Unwritten()
    failure.__cause__ = error
    done.set_exception(failure)


def _kinds(group: Sequence[Change]) -> Iterator[tuple[tuple[str, ...], Iterator[Change]]]:
    """Changes of the same columns together, new rows first."""
    new = [change for change in group if change.names is OPENED]
    if new:
        yield OPENED, iter(new)
    yield from groupby((change for change in group if change.names is not OPENED), key=lambda change: change.names)


@cache
def _sql(names: tuple[str, ...]) -> str:
    if names is OPENED:
        return f"INSERT INTO requests ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - columns
    return f"UPDATE requests SET {', '.join(f'{name} = ?' for name in names)} WHERE request_id = ?"  # noqa: S608 - columns


@cache
def _statement(names: tuple[str, ...]) -> Insert | Update:
    if names is OPENED:
        return insert(requests)
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return update(requests).where(requests.c.request_id == bindparam(WHICH)).values(values)


def _values(change: Change) -> tuple[object, ...]:
    return change.values if change.names is OPENED else (*change.values, change.request_id)


def _row(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = dict(zip(change.names, change.values, strict=True))
    if "links" in found:
        found["links"] = json.loads(found["links"])
    return found if change.names is OPENED else {**found, WHICH: change.request_id}
