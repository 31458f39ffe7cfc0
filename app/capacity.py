"""How much may be in flight: requests, bytes of bodies, copies of uploads, and decoded pictures.

The bytes are for bodies as they arrive, which never wait: beyond them they go to files (kit.room). Up to an eighth
may go to the copies that sending an upload makes, taken before dispatch by waiting, and up to an eighth to pictures
that are decoded or converted on their way out, which were paid for and wait for as long as it takes; while they hold
it, bodies have so much less. Who waits for a place holds none that those before it wait for: places, copies, pictures
are taken in this order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from app.config import Capacity as Bounds
from app.errors import Overloaded
from providers.core.plan import Plan
from providers.kit.clock import Clock

RETRY_SECONDS: Final = 5.0


class Bytes:
    """The budget of bodies. Asked by the event loop alone; given back from any thread."""

    def __init__(self, limit: int, others: Callable[[], int] = int) -> None:
        """`others` tells how much of the limit is in other hands now."""
        self.limit = limit
        self._others = others
        self._held = 0
        self._spooled = 0
        # A deque's append is one step, so that a last slice may die in any thread, in the middle of anything.
        self._returned: deque[int] = deque()
        self._changes: deque[int] = deque()

    @property
    def held(self) -> int:
        """Bytes in memory now."""
        while self._returned:
            self._held -= self._returned.popleft()
        return self._held

    @property
    def files(self) -> int:
        """Bodies in files now."""
        while self._changes:
            self._spooled += self._changes.popleft()
        return self._spooled

    def take(self, amount: int) -> bool:
        """Take it, if there is so much."""
        if self.held + self._others() + amount > self.limit:
            return False
        self._held += amount
        return True

    def force(self, amount: int) -> None:
        """Take it although there is not so much."""
        self._held += amount

    def give(self, amount: int) -> None:
        """Give it back."""
        self._returned.append(amount)

    def spooled(self, change: int) -> None:
        """Bodies in files became more or fewer."""
        self._changes.append(change)


class Gate:
    """So much may be inside at once; the others wait in order. One larger than the gate goes through alone."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self.limit = limit
        self.held = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    def passed(self, amount: int, seconds: float | None) -> Passage:
        """Inside of it `amount` is held. Raises Overloaded after `seconds` of waiting; None: waits on."""
        return Passage(self, amount, seconds)

    async def enter(self, amount: int, seconds: float | None) -> int:
        """Take it, or wait for it; returns what `leave` gives back. Raises Overloaded."""
        amount = min(amount, self.limit)
        if amount and (self._queue or self.held + amount > self.limit):
            await self._wait(amount, seconds)
        else:
            self.held += amount
        return amount

    def leave(self, amount: int) -> None:
        """Give back what `enter` took."""
        self.held -= amount
        self._call()

    async def _wait(self, amount: int, seconds: float | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (amount, turn)
        self._queue.append(place)
        sleeper = asyncio.ensure_future(self._clock.sleep(max(0.0, seconds))) if seconds is not None else None
        entered = False
        try:
            await asyncio.wait({turn, sleeper} if sleeper else {turn}, return_when=asyncio.FIRST_COMPLETED)
            entered = turn.done()
        finally:
            if sleeper:
                sleeper.cancel()
            if not entered:
                self._forget(place)
        if not entered:
            raise Overloaded("The gateway has no room for this request now.", retry_after=RETRY_SECONDS)

    def _forget(self, place: tuple[int, asyncio.Future[None]]) -> None:
        amount, turn = place
        if turn.done():  # its turn came in the moment of its cancellation
            self.leave(amount)
            return
        self._queue.remove(place)
        self._call()

    def _call(self) -> None:
        """Let in whoever fits, in order."""
        while self._queue and self.held + self._queue[0][0] <= self.limit:
            amount, turn = self._queue.popleft()
            self.held += amount
            turn.set_result(None)


class Passage:
    """A stay inside a gate, used with `async with`."""

    __slots__ = ("_amount", "_gate", "_seconds")

    def __init__(self, gate: Gate, amount: int, seconds: float | None) -> None:
        self._gate = gate
        self._amount = amount
        self._seconds = seconds

    async def __aenter__(self) -> None:
        self._amount = await self._gate.enter(self._amount, self._seconds)

    async def __aexit__(self, *_: object) -> None:
        self._gate.leave(self._amount)


class Admission:
    """A place in flight, and with it the room that sending the uploads takes, used with `async with`."""

    __slots__ = ("_capacity", "_copies", "_seconds_to")

    def __init__(self, capacity: Capacity, copies: int, seconds_to: Callable[[], float]) -> None:
        self._capacity = capacity
        self._copies = copies
        self._seconds_to = seconds_to

    async def __aenter__(self) -> None:
        requests, copies = self._capacity.requests, self._capacity.copies
        await requests.enter(1, self._seconds_to())
        if not self._copies:
            return
        try:
            self._copies = await copies.enter(self._copies, self._seconds_to())
        except BaseException:
            requests.leave(1)
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._copies:
            self._capacity.copies.leave(self._copies)
        self._capacity.requests.leave(1)


class Capacity:
    """The bounds of `capacity:` in the config file, and what is in flight."""

    def __init__(self, clock: Clock, bounds: Bounds) -> None:
        self._clock = clock
        self._seconds = bounds.queue_seconds
        self.requests = Gate(clock, bounds.requests)
        self.copies = Gate(clock, max(1, bounds.total // 8))
        self.pictures = Gate(clock, max(1, bounds.total // 8))
        self.bodies = Bytes(bounds.total, lambda: self.copies.held + self.pictures.held)

    def admitted(self, planned: Plan, until: float) -> Admission:
        """A place in flight, and the room that sending the uploads takes; waits for them.

        Entering raises Overloaded after `queue_seconds`, or at `until` (the clock's `now()`).
        """
        now = self._clock.now
        until = min(until, now() + self._seconds)
        return Admission(self, copied(planned), lambda: until - now())


def copied(planned: Plan) -> int:
    """What sending the inputs may hold beside them: base64 of each (JSON bodies), pixels where they are decoded."""
    if not planned.calls[0].images:
        return 0
    images = (*planned.calls[0].images, *([planned.mask] if planned.mask else []))
    sent = sum(len(image.data) for image in images) * 4 // 3
    decoded = any(planned.fits) or planned.composite
    return sent + (sum(image.width * image.height * 4 for image in images) if decoded else 0)
