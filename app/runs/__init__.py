"""Runs outlive their callers: a protocol of what gateways tell each other, and its implementations side by side.

runs.py        READ FIRST: a request enters, is carried to its end or joins a run, and is booked
run.py         a run here, and a caller's seat at it
callers.py     who asked for the same, and has left: heard of before another call is paid for
follower.py    a run that is made elsewhere, or is over and no longer in memory
protocol.py    records of runs, and the index that decides who repeats what
memory.py      the index of one process, and the reference; ledgered.py: kept in the ledger
redis.py       the index of several (runs.lua decides); guarded.py: while Redis is away, and after
failures.py    errors as text; fingerprint.py: what makes two requests the same
"""

from app.runs.callers import HOLD_SECONDS
from app.runs.fingerprint import fingerprint
from app.runs.ledgered import LedgerIndex
from app.runs.memory import MemoryIndex
from app.runs.protocol import Index, Record, State
from app.runs.run import Run, Seat
from app.runs.runs import Runs

__all__ = [
    "HOLD_SECONDS",
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
