"""The index of one gateway, kept in its ledger so that it outlives the process.

Why the ledger's database and no file of its own: the row is written and safe before the paid call anyway, so what a
kill -9 leaves open is known without one more write before the call; the row and the place of its answer cannot
disagree about which request they speak of; and it is what an operator already keeps (a gateway whose disk goes with
its container still has its PostgreSQL). Only a run that is kept costs a write, and that is not waited for.

In memory while the process lives; read once, at the start, and again for each repeat of what was open then: the row
knows whether an upstream still works on it, and what became of it at whatever gateway went on with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.ledger import Ledger, Past
from app.ledger import State as Row
from app.runs import failures
from app.runs.memory import MemoryIndex
from app.runs.protocol import KEPT_SECONDS, Record, State
from providers.kit.clock import Clock

GONE: Final = "a process that ended"
"""The owner of what an earlier process left open; no gateway has this name, so its runs are unknown."""


class LedgerIndex(MemoryIndex):
    """A MemoryIndex that notes what is kept, and knows what the process before it left."""

    shared = False

    def __init__(self, instance: str, clock: Clock, ledger: Ledger) -> None:
        super().__init__(instance, clock)
        self._ledger = ledger

    async def start(self) -> tuple[Record, ...]:
        """Read the ledger; returns the records that were found there."""
        found = tuple(restored(await self._ledger.past(self._clock.time() - KEPT_SECONDS)))
        for record in found:
            await super().put(record)
        return found

    async def begin(self, record: Record, *, retry: int, patience: float, waited: float = 0.0) -> Record | None:
        while (found := await super().begin(record, retry=retry, patience=patience, waited=waited)) is not None:
            known = await self.looked_up(found)
            if known is not None:
                return known
            await self.forget(found.id)
        return None

    async def get(self, name: str) -> Record | None:
        found = await super().get(name)
        return None if found is None else await self.looked_up(found)

    def left(self, name: str) -> bool:
        """Whether it is a row that was there at the start: of a process that ended, or of another gateway's."""
        known = self._book.records.get(name)
        return known is not None and known.owner == GONE

    async def looked_up(self, record: Record) -> Record | None:
        """The record, and of a run whose gateway is gone what its row says: it may go on, or have ended since.

        None: it ended, and nothing is kept for a repeat. Raises Overloaded when the ledger cannot be read.
        """
        if record.state is not State.UNKNOWN:
            return record
        rows = await self._ledger.past(record.started - 1, request_id=record.id)
        if not rows or (rows[0].state is Row.RESERVED and not rows[0].pending):
            return record
        known = next(iter(restored(rows)), None)
        if known is not None and known.state is not State.RUNNING:
            await super().put(known)
        return known

    async def put(self, record: Record) -> tuple[str, ...]:
        gone = await super().put(record)
        if record.state is State.ANSWERED:
            await self._ledger.note(record.id, document=record.document, handed=record.delivered)
        return gone

    async def delivered(self, name: str) -> bool:
        wanted = await super().delivered(name)
        if await self.get(name) is not None:
            await self._ledger.note(name, handed=True)
        else:
            self._ledger.taken(name)
        return wanted

    def sent(self, name: str) -> None:
        self._ledger.sent(name)

    def unsent(self, name: str) -> None:
        self._ledger.unsent(name)


def restored(rows: Iterable[Past]) -> Iterable[Record]:
    """What repeats may still ask for: what is open or may have been billed, what is kept, what a key names.

    And what was on its way when its gateway was killed: its caller may have nothing, so a repeat is no new call.
    """
    for row in rows:
        open_ = row.state in {Row.RESERVED, Row.UNKNOWN}
        kept = row.state is Row.DELIVERED and (row.document is not None or row.idempotency or row.unheard)
        if open_ or kept:
            yield _record(row)


def _record(row: Past) -> Record:
    state = {Row.RESERVED: State.RUNNING, Row.UNKNOWN: State.BILLED}.get(row.state, State.ANSWERED)
    state = State.RUNNING if row.pending else state
    return Record(
        id=row.request_id.partition("-")[0],  # a fallback's row is its request's
        caller=row.caller,
        label=row.label,
        fingerprint=row.fingerprint,
        key=row.idempotency,
        started=row.created,
        owner=GONE,
        state=state,
        alone=True,
        delivered=row.handed,
        document=row.document or "",
        failure=failures.written(failures.of_row(row)) if state is State.BILLED else "",
    )
