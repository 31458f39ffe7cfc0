"""One row per accepted request: a protocol, and its implementations side by side."""

from app.ledger.memory import MemoryLedger
from app.ledger.protocol import Entries, Entry, Ledger, LedgerWatch, Past, State

__all__ = ["Entries", "Entry", "Ledger", "LedgerWatch", "MemoryLedger", "Past", "State"]
