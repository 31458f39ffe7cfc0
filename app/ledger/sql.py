"""The ledger on SQLite or PostgreSQL: one writer commits in groups; settling is waited for briefly."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Integer, and_, case, delete, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Overloaded
from app.ledger.protocol import Entry, LedgerWatch, Past, State
from app.ledger.tables import instances, requests
from app.ledger.writer import writer
from providers.kit.clock import Clock

HEARTBEAT_SECONDS: Final = 10.0
DEAD_SECONDS: Final = 60.0
FORGOTTEN_SECONDS: Final = 86_400.0
AGAIN_SECONDS: Final = 0.5
GROUP: Final = 256
COLUMNS: Final = tuple(column.name for column in fields(Entry))

Job = tuple[str, dict[str, Any], "asyncio.Future[None] | None"]


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
        self._jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """How many rows wait to be written."""
        return self._jobs.qsize()

    async def start(self) -> None:
        """Begin to write, to beat, and to sweep after instances that died."""
        await self._beat()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._live())]

    async def open(self, entry: Entry) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(("open", self._row(entry), done))
        await done

    async def settle(self, entry: Entry) -> None:
        self._jobs.put_nowait(("settle", self._row(entry), None))

    async def note(self, request_id: str, *, document: str | None = None, handed: bool = False) -> None:
        values: dict[str, Any] = {"document": document} if document is not None else {}
        if handed:
            values["handed"] = True
        self._jobs.put_nowait(("settle", {"request_id": request_id, **values}, None))

    async def past(self, since: float, *, request_id: str | None = None) -> list[Past]:
        names = [column.name for column in fields(Past)]
        found = and_(requests.c.created >= since, requests.c.fingerprint != "")
        if request_id is not None:
            found = and_(found, requests.c.request_id == request_id)
        query = select(*(requests.c[name] for name in names)).where(found).order_by(requests.c.created)
        try:
            async with self.engine.connect() as connection:
                rows = (await connection.execute(query)).mappings().all()
        except (SQLAlchemyError, OSError, TimeoutError):
            raise Overloaded("The ledger cannot be read now.") from None
        return [Past(**{**row, "state": State(row["state"]), "handed": bool(row["handed"])}) for row in rows]

    async def ready(self) -> bool:
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError):
            return False
        return True

    async def spent(self, columns: Mapping[str, str], since: float) -> int:
        total = func.coalesce(func.sum(requests.c.cost), 0)
        query = select(total).where(requests.c.created >= since, requests.c.state != State.FAILED.value)
        for column, value in columns.items():
            query = query.where(requests.c[column] == (self._user(value) if column == "end_user" else value))
        async with self.engine.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

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
        async with self.engine.connect() as connection:
            return [dict(row._mapping) for row in await connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name

    async def close(self) -> None:
        if self._tasks:
            await self._jobs.put(None)
            await self._tasks[0]
            self._tasks[1].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tasks[1]
        await self._writer.close()
        await self.engine.dispose()

    async def sweep(self) -> int:
        """Rows that an instance left open when it died become unknown; returns how many."""
        alive = select(instances.c.id).where(instances.c.heartbeat >= self._now() - self._dead_seconds)
        left = and_(requests.c.state == State.RESERVED.value, requests.c.instance.not_in(alive))
        ended = {"state": State.UNKNOWN.value, "settled": self._clock.time(), "error": "instance died"}
        async with self.engine.begin() as connection:
            changed = await connection.execute(update(requests).where(left).values(**ended))
            await connection.execute(delete(instances).where(instances.c.heartbeat < self._now() - FORGOTTEN_SECONDS))
        if changed.rowcount and self._watch:
            self._watch.swept(changed.rowcount)
        return changed.rowcount

    async def _write(self) -> None:
        """Until closed. Settlements that failed go first in the next group: what was paid is never dropped."""
        owed: list[Job] = []
        open_ = True
        while open_:
            group = owed
            if owed:
                await self._clock.sleep(AGAIN_SECONDS)
            else:
                group, open_ = ([first], True) if (first := await self._jobs.get()) else ([], False)
            while open_ and len(group) < GROUP and not self._jobs.empty():
                job = self._jobs.get_nowait()
                group, open_ = ([*group, job], True) if job else (group, False)
            owed = await self._commit(group) if group else []

    async def _commit(self, group: Sequence[Job]) -> list[Job]:
        """Write a group in one transaction; returns what is to be tried again."""
        failure: Overloaded | None = None
        try:
            await self._writer.commit(
                [row for kind, row, _ in group if kind == "open"], [row for kind, row, _ in group if kind == "settle"]
            )
        except (SQLAlchemyError, OSError, TimeoutError):
            failure = Overloaded("The ledger cannot be written now.")
            if self._watch:
                self._watch.unwritten(len(group))
        for _, _, done in group:
            if done is not None and not done.done():
                done.set_exception(failure) if failure else done.set_result(None)
        return [job for job in group if job[0] == "settle"] if failure else []

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

    def _now(self) -> Any:
        """The time of heartbeats: the server's where several machines share it, so that no clock of theirs counts."""
        if self.engine.dialect.name == "postgresql":
            return func.extract("epoch", func.clock_timestamp())
        return self._clock.time()

    def _row(self, entry: Entry) -> dict[str, Any]:
        row: dict[str, Any] = {name: getattr(entry, name) for name in COLUMNS}
        row["state"] = entry.state.value
        row["links"] = list(entry.links)
        row["instance"] = self.instance
        if entry.end_user:
            row["end_user"] = self._user(entry.end_user)
        for name in ("end_user", "model_asked", "upstream_request_id"):
            row[name] = row[name][:200] if row[name] else row[name]
        return row

    def _user(self, name: str) -> str:
        """An end user as the rows hold it."""
        if not self._hash_users:
            return name[:200]
        return hashlib.sha256(self._pepper + name.encode()).hexdigest()[:32]
