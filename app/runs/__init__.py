"""Runs outlive their callers: a protocol of what gateways tell each other, and its implementations side by side."""

from app.runs.fingerprint import fingerprint
from app.runs.ledgered import LedgerIndex
from app.runs.memory import MemoryIndex
from app.runs.protocol import Index, Record, State
from app.runs.run import Run, Seat
from app.runs.runs import Runs

__all__ = [
    "Index",
    "LedgerIndex",
    "MemoryIndex",
    "Record",
    "Run",
    "Runs",
    "Seat",
    "State",
    "fingerprint",
]
