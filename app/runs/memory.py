"""The index in this process: what one gateway needs, and the reference for the one on Redis."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from app.runs.protocol import (
    DOCUMENT_BYTES,
    FIRST_SECONDS,
    FIRST_SHARE,
    FREE_SECONDS,
    HELD_SECONDS,
    KEPT_SECONDS,
    LABELS,
    LEAST_SECONDS,
    REPEAT_SECONDS,
    Doubtful,
    Record,
    Reused,
    State,
)
from providers.kit.clock import Clock

# Bounds of what a flood of requests may hold.
FREE_RUNS: Final = 10_000
OVER = (State.BILLED, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Claim:
    """A repeat's hold on a run: by gateway, internal id and number of the repeat, until a Unix time."""

    owner: str
    asker: str
    retry: int
    until: float


@dataclass(slots=True)
class Book:
    """What the gateways that share an index know: one gateway in production, several in tests."""

    alive: set[str] = field(default_factory=set)
    records: dict[str, Record] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    same: defaultdict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    labels: dict[tuple[str, str], str] = field(default_factory=dict)
    named: defaultdict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    free: deque[tuple[float, str]] = field(default_factory=deque)
    bytes: int = 0


class MemoryIndex:
    """Plain dictionaries; nothing in it awaits, so each method is one step."""

    shared = True

    def __init__(
        self, instance: str, clock: Clock, book: Book | None = None, *, document_bytes: int = DOCUMENT_BYTES
    ) -> None:
        self.instance = instance
        self._clock = clock
        self._book = book or Book()
        self._document_bytes = document_bytes
        self._book.alive.add(instance)

    @property
    def records(self) -> tuple[Record, ...]:
        """All of them, in the order in which they were first written."""
        return tuple(self._book.records.values())

    async def start(self) -> object:
        return None

    async def begin(self, record: Record, *, retry: int, patience: float, waited: float = 0.0) -> Record | None:
        self._expire()
        found = self._keyed(record) if record.key else self._repeated(record, retry=retry)
        if found is None:
            if not record.key and len(self._book.alive) > 1 and (doubt := self._doubt(record) - waited) > 0:
                raise Doubtful(doubt)
            self._write(record)
            return None
        self._label(record, found.id)
        if not record.key and found.state not in OVER:
            self._book.claims[found.id] = Claim(self.instance, record.id, retry, self._clock.time() + patience)
        return found

    async def put(self, record: Record) -> tuple[str, ...]:
        self._expire()
        known = self._book.records.get(record.id)
        if known is not None:
            alone, delivered = record.alone or known.alone, record.delivered or known.delivered
            answered = known.state is State.ANSWERED and record.state is not State.ANSWERED
            record = replace(known if answered else record, alone=alone, delivered=delivered)
        self._write(record)
        return tuple(self._make_room())

    async def get(self, name: str) -> Record | None:
        found = self._book.records.get(name)
        return None if found is None else self._shown(found)

    async def find(self, caller: str, name: str) -> Record | None:
        self._expire()
        by_label = self._book.labels.get((caller, name))
        for found in (await self.get(name), await self.get(by_label) if by_label else None):
            if found is not None and found.caller == caller:
                return found
        return None

    async def claimed(self, name: str) -> bool:
        return self._claimed(name, "")

    def sent(self, name: str) -> None:
        """Nothing of a run outlives this process."""

    def unsent(self, name: str) -> None:
        """As `sent`."""

    async def alone(self, name: str) -> None:
        if known := self._book.records.get(name):
            self._book.records[name] = replace(known, alone=True)

    async def delivered(self, name: str) -> bool:
        known = self._book.records.get(name)
        if known is None:
            return False
        claimed = self._claimed(name, "")
        if claimed or known.key or known.document or known.alone:
            self._book.records[name] = replace(known, delivered=True)
        else:
            self._forget(name)
        return claimed

    async def release(self, name: str, asker: str) -> None:
        claim = self._book.claims.get(name)
        if claim is not None and claim.asker == asker:
            del self._book.claims[name]

    async def forget(self, name: str) -> None:
        self._forget(name)

    async def beat(self) -> bool:
        known = self.instance in self._book.alive
        self._book.alive.add(self.instance)
        return known

    async def close(self) -> None:
        self._book.alive.discard(self.instance)

    def _forget(self, name: str) -> None:
        self._book.claims.pop(name, None)
        if known := self._book.records.pop(name, None):
            self._book.bytes -= known.size
            twins = self._book.same.get((known.caller, known.fingerprint), [])
            if name in twins:
                twins.remove(name)
            if not twins:
                self._book.same.pop((known.caller, known.fingerprint), None)
            if self._book.keys.get((known.caller, known.key)) == name:
                del self._book.keys[known.caller, known.key]
            for label in self._book.named.pop(name, ()):
                if self._book.labels.get(label) == name:
                    del self._book.labels[label]

    def _keyed(self, record: Record) -> Record | None:
        name = self._book.keys.get((record.caller, record.key))
        found = self._shown(self._book.records[name]) if name else None
        if found is None or found.state is State.FREE:
            return None
        if found.fingerprint != record.fingerprint:
            raise Reused
        return found

    def _repeated(self, record: Record, *, retry: int) -> Record | None:
        """Left alone; for a retry any; held by an earlier retry; failed: the oldest that was not delivered."""
        undelivered = held = failed = None
        for run in self._twins(record, retry=bool(retry)):
            if run.state in OVER:
                failed = failed or run
            elif not self._claimed(run.id, record.id):
                if run.alone:
                    return run
                undelivered = undelivered or run
            elif self._book.claims[run.id].retry < retry:
                held = held or run
        return (undelivered if retry else None) or held or failed

    def _doubt(self, record: Record) -> float:
        """How long it may take until this index hears that the caller of an equal run has left."""
        return max((self._unheard(run) for run in self._twins(record, retry=True)), default=0.0)

    def _unheard(self, run: Record) -> float:
        """Of this gateway's own callers each hang-up is known at once."""
        claim = self._book.claims.get(run.id)
        if claim is not None and self._claimed(run.id, ""):
            return 0.0 if claim.owner == self.instance else HELD_SECONDS
        if run.owner == self.instance or run.state is not State.RUNNING:
            return 0.0
        seconds = min(FIRST_SECONDS, (self._clock.time() - run.started) * FIRST_SHARE)
        return seconds if seconds >= LEAST_SECONDS else 0.0

    def _twins(self, record: Record, *, retry: bool) -> Iterator[Record]:
        """Runs of the same request that it may get; most are somebody's who waits for them."""
        book, oldest = self._book, self._clock.time() - REPEAT_SECONDS
        for name in book.same.get((record.caller, record.fingerprint), ()):
            found = book.records[name]
            if found.started < oldest or found.delivered or found.state is State.FREE:
                continue
            if found.state is not State.RUNNING or found.alone or retry or found.owner not in book.alive:
                yield self._shown(found)

    def _claimed(self, name: str, asker: str) -> bool:
        claim = self._book.claims.get(name)
        if claim is None or claim.asker == asker or claim.owner not in self._book.alive:
            return False
        return claim.until > self._clock.time()

    def _shown(self, record: Record) -> Record:
        died = record.state is State.RUNNING and record.owner not in self._book.alive
        return replace(record, state=State.UNKNOWN) if died else record

    def _write(self, record: Record) -> None:
        known = self._book.records.get(record.id)
        self._book.bytes += record.size - (known.size if known else 0)
        self._book.records[record.id] = record
        if known is None:
            self._label(record, record.id)
            if record.key and record.state is State.FREE:
                self._book.keys.setdefault((record.caller, record.key), record.id)
            elif record.key:
                self._book.keys[record.caller, record.key] = record.id
            else:
                self._book.same[record.caller, record.fingerprint].append(record.id)
        if record.state is State.FREE:
            self._book.free.append((self._clock.time() + FREE_SECONDS, record.id))
            if len(self._book.free) > FREE_RUNS:
                self._forget(self._book.free.popleft()[1])

    def _label(self, asked: Record, name: str) -> None:
        label = asked.caller, asked.label
        if self._book.labels.get(label) != name:
            self._book.labels[label] = name
            labels = self._book.named[name]
            labels.append(label)
            if len(labels) > LABELS and self._book.labels.get(oldest := labels.pop(1)) == name:
                del self._book.labels[oldest]  # of the repeats': the first's own stands before it

    def _make_room(self) -> Iterator[str]:
        if self._book.bytes <= self._document_bytes:
            return
        kept = [record for record in self._book.records.values() if record.size]
        for record in sorted(kept, key=lambda record: (not record.delivered, record.started)):
            if self._book.bytes <= self._document_bytes:
                return
            self._book.bytes -= record.size
            self._book.records[record.id] = replace(record, document="", size=0)
            yield record.document

    def _expire(self) -> None:
        """An hour after its start a run is forgotten, a failure that was free after a minute."""
        now = self._clock.time()
        while self._book.free and self._book.free[0][0] <= now:
            self._forget(self._book.free.popleft()[1])
        while old := next(iter(self._book.records.values()), None):
            if old.started > now - KEPT_SECONDS:
                return
            self._forget(old.id)
