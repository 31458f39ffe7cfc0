"""A ledger that ends with the process; the newest rows are kept, up to a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

from app.ledger.protocol import Entry, Past, State

KEPT = 10_000


class MemoryLedger:
    """For tests, and for a gateway that needs no accounts."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._notes: dict[str, tuple[str | None, bool]] = {}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All rows, oldest first."""
        return tuple(self._entries.values())

    async def start(self) -> None:
        return None

    async def spent(self, columns: Mapping[str, str], since: float) -> int:
        found = [entry for entry in self.entries if entry.created >= since and entry.state is not State.FAILED]
        mine = (e for e in found if all(getattr(e, name) == value for name, value in columns.items()))
        return sum(entry.cost or 0 for entry in mine)

    async def usage(self, since: float, until: float, group_by: str) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for entry in self.entries:
            if since <= entry.created < until:
                _count(rows.setdefault(getattr(entry, group_by), _empty(getattr(entry, group_by))), entry)
        return sorted(rows.values(), key=lambda row: str(row["group"]))

    async def open(self, entry: Entry) -> None:
        self._entries[entry.request_id] = entry
        while len(self._entries) > self._kept:
            name, _ = self._entries.popitem(last=False)
            self._notes.pop(name, None)

    async def settle(self, entry: Entry) -> None:
        self._entries[entry.request_id] = entry

    async def note(self, request_id: str, *, document: str | None = None, handed: bool = False) -> None:
        known = self._notes.get(request_id, (None, False))
        self._notes[request_id] = (known[0] if document is None else document, known[1] or handed)

    def sent(self, request_id: str) -> None:
        """A killed process leaves nothing of this ledger."""

    def unsent(self, request_id: str) -> None:
        """As `sent`."""

    def taken(self, request_id: str) -> None:
        """As `sent`."""

    async def past(self, since: float, *, request_id: str | None = None) -> list[Past]:
        return [
            past_of(entry, *self._notes.get(entry.request_id, (None, False)))
            for entry in self.entries
            if entry.created >= since and entry.fingerprint and request_id in {None, entry.request_id}
        ]

    async def abandoned(self, since: float, most: int, seen: Collection[str] = ()) -> list[Entry]:  # noqa: ARG002 - nobody else writes here
        return []

    async def claim(self, entry: Entry) -> bool:  # noqa: ARG002 - as above
        return False

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        return None


def past_of(entry: Entry, document: str | None, handed: bool) -> Past:
    """What a row tells of a request that may be repeated."""
    return Past(
        request_id=entry.request_id,
        caller=entry.caller,
        label=entry.label,
        fingerprint=entry.fingerprint,
        idempotency=entry.idempotency,
        state=entry.state,
        created=entry.created,
        error=entry.error,
        document=document,
        handed=handed,
        pending=entry.tasks is not None,
    )


def _empty(group: str) -> dict[str, Any]:
    return {"group": group, "requests": 0, "images": 0, "megapixels": 0.0, "cost": None, "failed": 0, "unknown": 0}


def _count(row: dict[str, Any], entry: Entry) -> None:
    if entry.state is State.DELIVERED:
        row["requests"] += 1
        row["images"] += entry.images_delivered
        row["megapixels"] += entry.megapixels
        if entry.cost is not None:
            row["cost"] = (row["cost"] or 0) + entry.cost
    elif entry.state in {State.FAILED, State.UNKNOWN}:
        row[entry.state.value] += 1
