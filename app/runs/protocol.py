"""What gateways know of each other's runs: the record of a run, and the index that holds the records.

An index decides, in one step that no other gateway can interrupt, whether a request is a first or repeats a run. It
knows no images: answers lie in the store, under the name that a record carries.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

from providers.core.valueclass import valueclass

KEPT_SECONDS: Final = 3600.0
REPEAT_SECONDS: Final = 600.0
FREE_SECONDS: Final = 60.0
DOCUMENT_BYTES: Final = 2**30
LABELS: Final = 64  # by which one run is found: its own, and those of its last repeats
BEAT_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 12.0
# How long another gateway may take to tell of a hang-up: of a run that a repeat holds, whose first caller did leave;
# and of any other, for which an equal request waits a hundredth of the time that it has run at most.
HELD_SECONDS: Final = 0.2
FIRST_SECONDS: Final = 0.05
FIRST_SHARE: Final = 0.01
LEAST_SECONDS: Final = 0.005  # a shorter wait would tell nothing
# A gateway of which nothing was heard for so long may stand still: it cannot tell who left.
LATE_SECONDS: Final = 1.5


class State(StrEnum):
    """How far a run came. `unknown` is never written: it is a running one whose gateway died."""

    RUNNING = "running"
    ANSWERED = "answered"
    BILLED = "billed"  # failed, and may have been billed: repeats get the failure
    FREE = "free"  # failed, and cannot have been billed: repeats are runs of their own
    UNKNOWN = "unknown"


@valueclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run as every gateway may know it, visible to its own caller only.

    `started` is Unix seconds, `owner` the gateway that runs it, `key` a digest of the Idempotency-Key ('' without).
    `alone`: nobody waits for it. `delivered`: a caller got all of it. `document` and `size` (bytes): where its answer
    is kept. `failure` is app.runs.failures' text.
    """

    id: str
    caller: str
    label: str
    fingerprint: str
    key: str
    started: float
    owner: str
    state: State = State.RUNNING
    alone: bool = False
    delivered: bool = False
    document: str = ""
    size: int = 0
    failure: str = ""


class Reused(Exception):
    """The Idempotency-Key came before with another request."""


class Doubtful(Exception):
    """The request may repeat a run of another gateway, which in `seconds` is known, or to be asked for again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(seconds)


class Unheard(Exception):
    """The index does not know this gateway's runs (any more): they have to be told before it can decide."""


class IndexLost(Exception):
    """The index's server did not answer; nothing is known of what it did."""


class Index(Protocol):
    """Records of runs. Methods that name an unknown run do nothing. Those of a server's raise IndexLost."""

    instance: str
    """This gateway's name: the owner of the runs that it begins, and of the claims of its callers."""

    shared: bool
    """Whether other gateways may claim this one's runs while they go on."""

    async def start(self) -> object:
        """Learn what was left before."""

    async def begin(self, record: Record, *, retry: int, patience: float, waited: float = 0.0) -> Record | None:
        """The run that this request repeats, or None: then the request is a first, and its record is written.

        With a key: the run of that key, unless it failed for free. Without: of the same request within ten minutes
        the oldest that nobody waits for and nobody got; for a `retry` (its number, 0 for none) also one whose caller
        is there, or which an earlier retry holds: that one's caller left, though nobody may have heard of it yet;
        then one that failed and may have been billed. What is joined without a key is claimed for `patience` seconds
        and for as long as this gateway lives, so that each first has one retry chain; failures are not claimed.
        Raises Reused; Doubtful when it would be a first, though the caller of an equal run may have left without
        this index having heard of it, for which it has `waited` so many seconds; or though the index lost its data,
        and another gateway may still have to tell again what it runs.
        """

    async def put(self, record: Record) -> tuple[str, ...]:
        """Write a whole record. Returns the documents that have to go to make room: oldest, undelivered ones last.

        What is answered stays so, and what failed for free takes no key from another run: gateways may write late.
        """

    async def get(self, name: str) -> Record | None:
        """A run by its internal id."""

    async def find(self, caller: str, name: str) -> Record | None:
        """A caller's run by its internal id, or the newest by a label of the first request or of a repeat."""

    async def claimed(self, name: str) -> bool:
        """Whether a repeat waits for it."""

    def sent(self, name: str) -> None:
        """The answer of this gateway's own run goes out whole to a caller that is there. Nothing is waited for."""

    def unsent(self, name: str) -> None:
        """A caller that it was sent to left without it, as far as is known by now."""

    async def alone(self, name: str) -> None:
        """Nobody waits for it here: it is what the next repeat gets."""

    async def delivered(self, name: str) -> bool:
        """A caller got it all: no repeat without a key gets it.

        What is not kept is forgotten, unless somebody has claimed it: then True.
        """

    async def release(self, name: str, asker: str) -> None:
        """The repeat `asker` (its internal id) does not wait any more."""

    async def forget(self, name: str) -> None:
        """Remove a record."""

    async def beat(self) -> bool:
        """Say that this gateway lives, every BEAT_SECONDS; False when the index did not know that it does."""

    async def close(self) -> None:
        """This gateway ends: what it still runs is unknown."""
