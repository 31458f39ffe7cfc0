"""Never pay twice, never lose what was paid for: each accepted request is a run that outlives its caller.

READ FIRST, with app/runs/protocol.py. A request enters: the index says whether it is a first or repeats a run, on
whatever gateway. A first is carried here to its end, whatever its callers do, and then booked: what a repeat may ask
for is kept in the store, and everything else is forgotten. A repeat joins the run where it goes on here, and follows
the index where it goes on elsewhere. What may have been billed is replayed, failures included; a run whose gateway
died is unknown: its repeats are 502, and never a new call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any, Final

from app.answer import Answer
from app.http.receipts import Peer, gone
from app.kept import Kept, document
from app.runs import failures
from app.runs.callers import Callers, Place
from app.runs.follower import Follower, Trouble
from app.runs.protocol import BEAT_SECONDS, KEPT_SECONDS, Index, Record, State
from app.runs.run import Run, Seat
from app.store import ImageStore
from providers.core.errors import PinholeError
from providers.kit.clock import Clock

MEMORY_BYTES: Final = 256 * 2**20
RUN_BYTES: Final = 4096  # of a kept run, beside its images: 3.2 KB were measured
WANTED_SECONDS: Final = 2.0
BOOKS_SECONDS: Final = 5.0  # for the last bookings of a drain that took all its time

Source = Callable[[Run], Awaitable[Answer]]


class Runs:
    """The runs of this process. Memory is the first place where an answer is looked for, the store the second."""

    def __init__(
        self,
        clock: Clock,
        index: Index,
        store: ImageStore,
        trouble: Trouble,
        *,
        memory_bytes: int = MEMORY_BYTES,
        wanted_seconds: float = WANTED_SECONDS,
    ) -> None:
        """Of a run whose caller takes its time, `wanted_seconds` is how often other gateways are asked about it."""
        self._clock = clock
        self._index = index
        self._store = store
        self._trouble = trouble
        self._memory_bytes = memory_bytes
        self._wanted_seconds = wanted_seconds
        self._runs: dict[str, Run] = {}
        self._callers = Callers(index, clock)
        self._follower = Follower(clock, index, store, trouble)
        self._weight = 0  # of those that are kept
        self._tasks: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def instance(self) -> str:
        """This gateway's name in the index."""
        return self._index.instance

    async def start(self) -> None:
        """Learn what the process before this one left, and begin to say that this one lives."""
        await self._index.start()
        self._beating = asyncio.create_task(self._beat())

    async def enter(
        self, record: Record, source: Source, *, retry: int, patience: float, peer: Peer | None = None
    ) -> Seat:
        """A place at the run that this request repeats, or at its own. Raises KeyReused, Overloaded.

        `patience` is for how long its caller may wait, and HOLD_SECONDS more.
        """
        place = self._callers.enter(record, peer)
        found = await self._callers.begun(place, record, retry=retry, patience=patience)
        run = self._carried(record, source) if found is None else self._joined(found)
        if found is not None and retry:
            self._callers.denied(run)
        run.waiting += 1
        over = not run.running if run.own else found is not None and found.state is not State.RUNNING
        leaving = partial(self._leave, place)
        seat = Seat(run, record.id, found is not None, over, index=self._index, leaving=leaving)
        place.take(seat)
        if found is None and peer is not None and gone([peer]):
            seat.leave(delivered=False)  # its next attempt may have been here before it: nothing is begun for it
        return seat

    async def resume(self, record: Record, source: Source) -> Run:
        """Carry on what another process began; its callers come as repeats."""
        await self._index.put(record)
        return self._carried(record, source)

    async def find(self, caller: str, name: str) -> Record | None:
        """A caller's run by its id, or the newest by its label."""
        return await self._index.find(caller, name)

    def visit(self, record: Record) -> Seat:
        """A place at a run that was found."""
        run = self._joined(record)
        run.waiting += 1
        leaving = partial(self._leave, None)
        return Seat(run, "", repeat=True, replayed=True, index=self._index, leaving=leaving)

    async def drain(self, seconds: float) -> None:
        """Wait for what still runs or is being booked, at a stop; what is left is unknown to every repeat."""
        until = self._clock.now() + seconds
        while self._tasks and (left := until - self._clock.now()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await self._close_books()
        if self._beating:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beating
        await self._index.close()

    async def _close_books(self) -> None:
        """Nobody is waited for any more: what was not taken yet is kept, what still runs is unknown."""
        self._ending = True
        late = [run.task for run in self._runs.values() if run.own and run.task and run.running]
        for task in late:
            task.cancel()  # its account then writes the ledger's row as unknown
        await asyncio.gather(*late, return_exceptions=True)
        for run in self._runs.values():
            run.moved.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=BOOKS_SECONDS)

    def _carried(self, record: Record, source: Source) -> Run:
        run = self._runs[record.id] = Run(record, alone=record.alone)
        run.task = self._spawn(self._carry(run, source))
        return run

    def _joined(self, record: Record) -> Run:
        """The run where it is in memory; else one that follows it. Both look the same to a caller."""
        known = self._runs.get(record.id)
        if known is not None and (known.running or known.answer or known.error):
            return known
        run = Run(record, own=False)
        run.task = asyncio.create_task(self._follower.follow(run))
        return run

    async def _carry(self, run: Run, source: Source) -> None:
        """To the end, and into the books; an error that nobody foresaw leaves an unknown outcome."""
        try:
            run.answer = Kept.of(await source(run))
        except PinholeError as error:
            run.error = failures.bare(error)
        except asyncio.CancelledError:  # a drain was too short: to the index it is the run of a gateway that ended
            run.error = failures.unknown()
            run.end()
            raise
        except BaseException as crash:
            run.error, run.crash = failures.unknown(), crash
            self._spawn(self._book(run))
            run.end()
            raise
        del source  # it holds the input images
        run.end()
        await self._book(run)

    async def _book(self, run: Run) -> None:
        """What the index and the store must know of a run that ended."""
        if run.answer is None:
            await self._failed(run)
        elif await self._asked_for(run):
            await self._keep(run, run.answer)
            if self._runs.get(run.record.id) is run:
                run.kept = RUN_BYTES + run.weight
                self._weight += run.kept
            self._make_room()
        else:
            self._runs.pop(run.record.id, None)

    async def _failed(self, run: Run) -> None:
        error = run.error or failures.unknown()
        state = State.BILLED if failures.billed(error) else State.FREE
        # An outcome on its way to its caller is nobody else's.
        while state is State.BILLED and run.waiting and not self._ending:
            run.moved.clear()
            await run.moved.wait()
        await self._index.put(replace(run.record, state=state, failure=failures.written(error)))
        self._runs.pop(run.record.id, None)

    async def _asked_for(self, run: Run) -> bool:
        """Whether anybody may come for its answer: by key, because its caller is gone, or as a repeat elsewhere."""
        while not run.record.key and run.waiting and not self._ending:
            run.moved.clear()
            await self._moved(run)
            if run.waiting and await self._index.claimed(run.record.id):
                self._callers.denied(run, only_firsts=True)  # not a repeat: what is claimed may be its own
                return True
        if run.record.key or not run.delivered:
            return True
        return await self._index.delivered(run.record.id) or run.alone

    async def _moved(self, run: Run) -> None:
        """One of its callers left; or it is time to ask what other gateways know."""
        if not self._index.shared:
            await run.moved.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wanted_seconds):
                await run.moved.wait()

    async def _keep(self, run: Run, answer: Kept) -> None:
        """Into the store; a full disk costs the copy, never the answer, which memory still has."""
        name, pieces = "", document(answer)
        try:
            name = await self._store.keep(pieces)
        except OSError as error:
            self._trouble("store", error)
        size = sum(len(piece) for piece in pieces) if name else 0
        run.record = replace(run.record, state=State.ANSWERED, document=name, size=size)
        alone = self._ending or not run.waiting
        for old in await self._index.put(replace(run.record, alone=alone, delivered=run.delivered)):
            await self._store.drop(old)

    def _leave(self, place: Place | None, seat: Seat, delivered: bool) -> asyncio.Task[None] | None:
        run, books = seat.run, None
        run.waiting -= 1
        run.delivered = run.delivered or delivered
        run.moved.set()
        if seat.asker and seat.repeat and not delivered:
            self._callers.denied(run)
        if seat.repeat or not run.own or not delivered or run.record.state is State.ANSWERED:
            books = self._spawn(self._left(seat, delivered))
        if place is not None and books is not None:
            books.add_done_callback(lambda _: self._callers.leave(place))
        elif place is not None:
            self._callers.leave(place)
        return None if delivered else books

    async def _left(self, seat: Seat, delivered: bool) -> None:
        run, name = seat.run, seat.run.record.id
        if not run.own and run.running and not run.waiting and run.task:
            run.task.cancel()
        if run.own and not run.waiting and not run.delivered:
            run.alone = True
            await self._index.alone(name)
        if delivered and (seat.repeat or run.record.state is State.ANSWERED):
            await self._index.delivered(name)
        if seat.repeat and seat.asker:
            await self._index.release(name, seat.asker)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """What a drain waits for: runs, and books that are kept while the caller is already served."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _make_room(self) -> None:
        """Over the byte bound, or after an hour, the oldest that is over leaves memory: first what the store has."""
        oldest = self._clock.time() - KEPT_SECONDS
        for run in [*takewhile(lambda run: run.record.started <= oldest, self._runs.values())]:
            self._let_go(run)
        if self._weight <= self._memory_bytes:
            return
        heavy = [run for run in self._runs.values() if run.kept]
        for run in sorted(heavy, key=lambda run: (not run.record.document, not run.delivered, run.record.started)):
            if self._weight <= self._memory_bytes * 9 // 10:  # a tenth at once: of small ones there are many to sort
                return
            self._let_go(run)

    def _let_go(self, run: Run) -> None:
        """Unless somebody needs it here."""
        if not run.running and not run.waiting:
            self._weight -= run.kept
            del self._runs[run.record.id]

    async def _beat(self) -> None:
        while True:
            await self._index.beat()
            await self._clock.sleep(BEAT_SECONDS)
