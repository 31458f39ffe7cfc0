"""A ledger that ends with the process; the newest rows are kept, up to a bound."""

from __future__ import annotations

from collections import OrderedDict

from app.ledger.protocol import Entry

KEPT = 10_000


class MemoryLedger:
    """For tests, and for a gateway that needs no accounts."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All rows, oldest first."""
        return tuple(self._entries.values())

    async def open(self, entry: Entry) -> None:
        self._entries[entry.request_id] = entry
        while len(self._entries) > self._kept:
            self._entries.popitem(last=False)

    async def settle(self, entry: Entry) -> None:
        self._entries[entry.request_id] = entry

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        return None
