"""The callers of equal requests at this gateway: those that left are heard of before another one is paid for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from app.errors import KeyReused, Overloaded
from app.http.receipts import Peer, gone
from app.runs.protocol import Doubtful, Index, Record, Reused
from app.runs.run import Run, Seat
from providers.kit.clock import Clock

# How much longer than its caller's deadline a repeat holds the run that it joined.
HOLD_SECONDS: Final = 5.0
LOOK_SECONDS: Final = (0.005, 0.5)  # the pauses of a request that may repeat a run of another gateway


@dataclass(slots=True, eq=False)
class Place:
    """A caller from its request to the last word about its answer; it is seated when the index has decided."""

    wish: tuple[str, str]
    peer: Peer | None
    seat: Seat | None = None
    decided: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, seat: Seat) -> Seat:
        """Be seated."""
        self.seat = seat
        self.decided.set()
        return seat

    @property
    def believed(self) -> bool:
        """Whether it ended as if it had all of its answer, which a retry may still deny."""
        return self.peer is not None and not self.peer.events

    @property
    def leaving(self) -> bool:
        """Whether it left, and the index may not know."""
        return self.seat is not None and self.seat.left


class Callers:
    """Places in the order in which their requests came, by caller and fingerprint."""

    def __init__(self, index: Index, clock: Clock) -> None:
        self._index = index
        self._clock = clock
        self._places: dict[tuple[str, str], list[Place]] = {}

    def enter(self, record: Record, peer: Peer | None) -> Place:
        """A place behind the others."""
        place = Place((record.caller, record.fingerprint), peer)
        self._places.setdefault(place.wish, []).append(place)
        return place

    def leave(self, place: Place) -> None:
        """All is known of it."""
        place.decided.set()
        place.seat = None
        places = self._places[place.wish]
        places.remove(place)
        if not places:
            del self._places[place.wish]

    def denied(self, run: Run, *, only_firsts: bool = False) -> None:
        """A retry asks for this run, or leaves it without its answer: whoever only seemed to have it leaves too."""
        for place in [*self._places.get((run.record.caller, run.record.fingerprint), ())]:
            seat = place.seat
            if seat is None or seat.run.record.id != run.record.id or (only_firsts and seat.repeat):
                continue
            if place.believed:
                seat.leave(delivered=False)

    async def begun(self, place: Place, record: Record, *, retry: int, patience: float) -> Record | None:
        """What the index says when it knows of every equal caller that left. Raises KeyReused, Overloaded."""
        try:
            return await self._decided(place, record, retry=retry, patience=patience)
        except Reused:
            self.leave(place)
            raise KeyReused("This Idempotency-Key came before with another request.") from None
        except BaseException:
            self.leave(place)
            raise

    async def _decided(self, place: Place, record: Record, *, retry: int, patience: float) -> Record | None:
        waited, (pause, longest) = 0.0, LOOK_SECONDS
        while True:
            if not record.key:
                await self._heard(place)
            try:
                return await self._index.begin(record, retry=retry, patience=patience, waited=waited)
            except Doubtful as doubt:
                pause = min(pause, doubt.seconds)
            if waited >= patience - HOLD_SECONDS:
                raise Overloaded("Another gateway does not say in time whether this request repeats one.")
            await self._clock.sleep(pause)
            waited, pause = waited + pause, min(longest, pause * 2)

    async def _heard(self, place: Place) -> None:
        """Whoever came before and is gone leaves now; returns when the index knows.

        Only those before: of two callers that are gone, one alone waits for the other.
        """
        places = self._places[place.wish]
        before = places[: places.index(place)]
        if not before:
            return
        away = gone([other.peer for other in before if other.peer is not None])
        for other in (left := [other for other in before if other.peer in away or other.leaving]):
            await other.decided.wait()
            if other.seat is not None:
                other.seat.leave(delivered=False)
        books = [other.seat.books for other in left if other.seat is not None and other.seat.books is not None]
        if books:
            await asyncio.wait(books)
