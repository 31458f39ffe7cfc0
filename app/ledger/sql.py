"""The ledger on SQLite or PostgreSQL: one writer commits in groups; settling is waited for briefly."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    RowMapping,
    Select,
    and_,
    case,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Overloaded
from app.ledger.protocol import Entry, LedgerWatch, Past, State
from app.ledger.rows import Change, opened, settled, storable
from app.ledger.tables import instances, requests
from app.ledger.writer import Unwritten, writer
from providers.kit.clock import Clock

HEARTBEAT_SECONDS: Final = 10.0
DEAD_SECONDS: Final = 60.0
FORGOTTEN_SECONDS: Final = 86_400.0
AGAIN_SECONDS: Final = 0.5
SETTLE_SECONDS: Final = 0.01
GROUP: Final = 256
COLUMNS: Final = tuple(column.name for column in fields(Entry))

Job = tuple[Change, "asyncio.Future[None] | None"]


class SQLLedger:
    """One writer task for this process. A row is safe before its call is made; a crash leaves it for the sweeper."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        *,
        hash_users: bool = True,
        pepper: bytes = b"",
        watch: LedgerWatch | None = None,
        dead_seconds: float = DEAD_SECONDS,
    ) -> None:
        """An instance that did not beat for `dead_seconds` is dead."""
        self.engine = engine
        self.instance = secrets.token_hex(8)
        self._clock = clock
        self._hash_users = hash_users
        self._pepper = pepper
        self._watch = watch
        self._dead_seconds = dead_seconds
        self._writer = writer(engine)
        self._jobs: list[Job] = []
        self._due = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """How many rows wait to be written."""
        return len(self._jobs)

    async def start(self) -> None:
        """Begin to write, to beat, and to sweep after instances that died."""
        await self._beat()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._live())]

    async def open(self, entry: Entry) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.append((self._opened(entry), done))
        self._due.set()
        await done

    async def settle(self, entry: Entry) -> None:
        self._soon(settled(entry))

    async def note(self, request_id: str, *, document: str | None = None, handed: bool = False) -> None:
        values: dict[str, object] = {"document": document} if document is not None else {}
        if handed:
            values["handed"] = True
        if values:
            self._soon(Change(tuple(values), tuple(values.values()), request_id))

    async def past(self, since: float, *, request_id: str | None = None) -> list[Past]:
        names = [column.name for column in fields(Past) if column.name != "pending"]
        found = and_(requests.c.created >= since, requests.c.fingerprint != "")
        if request_id is not None:
            found = and_(found, requests.c.request_id == request_id)
        pending = requests.c.tasks.is_not(None).label("pending")
        query = select(*(requests.c[name] for name in names), pending).where(found).order_by(requests.c.created)
        rows = await self._read(query)
        return [Past(**{**row, "state": State(row["state"]), "handed": bool(row["handed"])}) for row in rows]

    async def abandoned(self, since: float, most: int) -> list[Entry]:
        found = and_(requests.c.created >= since, self._left())
        names = [requests.c[name] for name in COLUMNS]
        rows = await self._read(select(*names).where(found).order_by(requests.c.created).limit(most))
        return [Entry(**{**row, "state": State(row["state"]), "links": tuple(row["links"])}) for row in rows]

    async def claim(self, entry: Entry) -> bool:
        mine = {"instance": self.instance, "state": State.RESERVED.value, "settled": None, "error": ""}
        found = and_(requests.c.request_id == entry.request_id, requests.c.instance == entry.instance, self._left())
        try:
            async with self.engine.begin() as connection:
                changed = await connection.execute(update(requests).where(found).values(**mine))
        except (SQLAlchemyError, OSError, TimeoutError):
            raise Overloaded("The ledger cannot be written now.") from None
        return bool(changed.rowcount)

    async def ready(self) -> bool:
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError):
            return False
        return True

    async def spent(self, columns: Mapping[str, str], since: float) -> int:
        total = func.coalesce(func.sum(requests.c.cost), 0)
        query = select(total.label("spent")).where(
            requests.c.created >= since, requests.c.state != State.FAILED.value
        )
        for column, value in columns.items():
            query = query.where(requests.c[column] == (self._user(value) if column == "end_user" else value))
        (row,) = await self._read(query)
        return int(row["spent"])

    async def usage(self, since: float, until: float, group_by: str) -> list[dict[str, Any]]:
        """Sums by group; `requests` and `images` count what was delivered, failed and unknown stand apart."""
        delivered = requests.c.state == State.DELIVERED.value
        group = requests.c[group_by]
        query = (
            select(
                group.label("group"),
                func.sum(case((delivered, 1), else_=0)).label("requests"),
                func.sum(case((delivered, requests.c.images_delivered), else_=0)).label("images"),
                func.sum(case((delivered, requests.c.megapixels), else_=0.0)).label("megapixels"),
                func.sum(case((delivered, func.coalesce(requests.c.cost, 0)), else_=0)).label("cost"),
                func.sum((requests.c.state == State.FAILED.value).cast(Integer)).label("failed"),
                func.sum((requests.c.state == State.UNKNOWN.value).cast(Integer)).label("unknown"),
            )
            .where(and_(requests.c.created >= since, requests.c.created < until))
            .group_by(group)
            .order_by(group)
        )
        return [dict(row) for row in await self._read(query)]

    async def close(self) -> None:
        if self._tasks:
            self._closed = True
            self._due.set()
            await self._tasks[0]
            self._tasks[1].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tasks[1]
            with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
                await self._leave()
        await self._writer.close()
        await self.engine.dispose()

    async def sweep(self) -> int:
        """Rows that an instance left open when it died become unknown; returns how many."""
        left = and_(requests.c.state == State.RESERVED.value, requests.c.instance.not_in(self._alive()))
        ended = {"state": State.UNKNOWN.value, "settled": self._clock.time(), "error": "instance died"}
        async with self.engine.begin() as connection:
            changed = await connection.execute(update(requests).where(left).values(**ended))
            await connection.execute(delete(instances).where(instances.c.heartbeat < self._now() - FORGOTTEN_SECONDS))
        if changed.rowcount and self._watch:
            self._watch.swept(changed.rowcount)
        return changed.rowcount

    def _soon(self, change: Change) -> None:
        """Nobody waits for it: it goes with the next row that somebody waits for, or alone a moment later."""
        self._jobs.append((change, None))
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._due.set)

    async def _write(self) -> None:
        """Until closed. Settlements that failed go first in the next group: what was paid is never dropped."""
        owed: list[Job] = []
        while owed or self._jobs or not self._closed:
            if owed:
                await self._clock.sleep(AGAIN_SECONDS)
            else:
                await self._due.wait()
            group = self._next(owed)
            owed = await self._commit(group) if group else []
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

    async def _commit(self, group: Sequence[Job]) -> list[Job]:
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
        return []

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

    async def _live(self) -> None:
        """Beat and sweep. After a database that was away others may be late to beat: they get their time first."""
        patient_until = 0.0
        while True:
            try:
                await self._beat()
                if self._clock.now() >= patient_until:
                    await self.sweep()
            except (SQLAlchemyError, OSError, TimeoutError):
                patient_until = self._clock.now() + self._dead_seconds
            await self._clock.sleep(HEARTBEAT_SECONDS)

    async def _beat(self) -> None:
        now = self._now()
        async with self.engine.begin() as connection:
            beat = update(instances).where(instances.c.id == self.instance).values(heartbeat=now)
            if (await connection.execute(beat)).rowcount == 0:
                await connection.execute(insert(instances).values(id=self.instance, heartbeat=now))

    async def _leave(self) -> None:
        """What this gateway leaves open is everybody's from now on."""
        async with self.engine.begin() as connection:
            await connection.execute(delete(instances).where(instances.c.id == self.instance))

    async def _read(self, query: Select[Any]) -> Sequence[RowMapping]:
        try:
            async with self.engine.connect() as connection:
                rows: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
        except (SQLAlchemyError, OSError, TimeoutError):
            raise Overloaded("The ledger cannot be read now.") from None
        return rows

    def _alive(self) -> Select[Any]:
        return select(instances.c.id).where(instances.c.heartbeat >= self._now() - self._dead_seconds)

    def _left(self) -> ColumnElement[bool]:
        """What an upstream works on, and no gateway any more."""
        open_ = requests.c.state.in_([State.RESERVED.value, State.UNKNOWN.value])
        gone = and_(requests.c.instance != self.instance, requests.c.instance.not_in(self._alive()))
        return and_(requests.c.tasks.is_not(None), open_, gone)

    def _now(self) -> Any:
        """The time of heartbeats: the server's where several machines share it, so that no clock of theirs counts."""
        if self.engine.dialect.name == "postgresql":
            return func.extract("epoch", func.clock_timestamp())
        return self._clock.time()

    def _opened(self, entry: Entry) -> Change:
        return opened(entry, self._user(entry.end_user) if entry.end_user else entry.end_user, self.instance)

    def _user(self, name: str) -> str:
        """An end user as the rows hold it."""
        if not self._hash_users:
            return storable(name[:200]) or ""
        return hashlib.sha256(self._pepper + name.encode()).hexdigest()[:32]
