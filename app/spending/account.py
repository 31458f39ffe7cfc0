"""The account of one request: reserved before the paid call, settled whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from app.answer import Answer
from app.delivery import Sketch
from app.errors import billed
from app.fallback import Chain, Left, Way
from app.ledger import Entries, Entry, State
from app.limiter import Limiter, Spend, Standing
from app.refusals import refuse_impossible, refused
from app.resume.accepted import written
from app.spending.amounts import NOTHING, entry_of, given, links_of, spend_of, used_by
from app.telemetry import Telemetry
from app.ticket import Ticket
from providers.core.errors import PinholeError
from providers.core.plan import Adjustment
from providers.core.provider import Completed
from providers.kit.clock import Clock
from providers.kit.journal import Accepted, Journal, unheard
from providers.kit.prepare import Prepared


class Account:
    """Entered, it has taken every limit and written the ledger's row; left, both know what was delivered.

    A request has one account whichever way it goes: `turn` gives back what the failed way alone held and takes what
    the next one needs. Its own caller's request is counted once, and its row names the model that was asked and the
    one that was used.
    """

    def __init__(
        self,
        *,
        limiter: Limiter,
        ledger: Entries,
        clock: Clock,
        telemetry: Telemetry,
        ticket: Ticket,
        chain: Chain,
    ) -> None:
        self._limiter = limiter
        self._ledger = ledger
        self._clock = clock
        self._telemetry = telemetry
        self._ticket = ticket
        ways = chain.ways
        self.left = Left(chain)
        self._spend = spend_of(ticket, ways[0])
        self._entry = entry_of(ticket, ways[0], clock.time())
        self._bought: Completed | None = None
        self._answer: Answer | None = None
        self._tasks: dict[int, Accepted] = {}
        self.way = ways[0]
        self.journal = Journal(patient=not self.left, accepted=self._accepted)
        self.standings: tuple[Standing, ...] = ()
        self.begun = False
        self.shown = 0
        self.noted: tuple[Adjustment, ...] = ()

    @property
    def paid(self) -> bool:
        """Whether a provider gave all that it was asked for."""
        return self._bought is not None

    async def __aenter__(self) -> Self:
        """Raises InvalidRequest, PermissionDenied, RateLimited, QuotaExceeded, Overloaded."""
        refuse_impossible(self._spend, self.way[1])
        decision = await self._limiter.spend(self._spend)
        self.standings = decision.standings
        if not decision.allowed:
            refusal = refused(decision)
            refusal.__dict__["standings"] = decision.standings
            raise refusal
        try:
            await self._ledger.open(self._entry)
        except BaseException as error:
            # The row may be there all the same: nothing was called for it.
            now, name = self._clock.time(), type(error).__name__
            await self._ledger.settle(replace(self._entry, state=State.FAILED, cost=0, settled=now, error=name))
            await self._limiter.settle(self._spend, NOTHING)
            raise
        self._telemetry.begun(self._entry)
        return self

    async def turn(self, able: Callable[[Way], Awaitable[Prepared | None]]) -> Prepared | None:
        """Go on with the next way that is able and whose limits allow it; None: there is none, all stays as it is."""
        while self.left:
            way = self.left.next()
            ready, spend = await able(way), spend_of(self._ticket, way)
            if ready is not None and await self._granted(spend, way):
                self.way, self._spend = way, spend
                self.journal.patient = not self.left
                (route, plan), before = way, self._entry
                self._tasks.clear()
                self._entry = replace(
                    before,
                    model=route.spec.id,
                    provider=route.provider,
                    images_asked=plan.n,
                    cost=plan.cost,
                    tasks=None,
                )
                self._telemetry.turned(before, self._entry)
                await self._ledger.settle(self._entry)
                return ready
        return None

    async def _granted(self, spend: Spend, way: Way) -> bool:
        try:
            refuse_impossible(spend, way[1])
        except PinholeError as error:
            self.left.pass_over(way, "is beyond a limit", error)
            return False
        decision = await self._limiter.spend(spend)
        if not decision.allowed:
            self.left.pass_over(way, "is beyond a limit", refused(decision))
            return False
        self.standings = decision.standings
        return True

    def sketched(self, sketch: Sketch) -> Sketch:
        """Note that the caller sees something of it, and pass it on: no other model goes on from here."""
        self.begun = True
        self.shown += sketch.image is not None
        return sketch

    async def _accepted(self, task: Accepted) -> None:
        """An upstream works on it: from now on the row holds what brings the images, whoever asks for them."""
        self._tasks[task.call.index] = task
        tasks = written(self._ticket, self.way, self._tasks.values(), self.noted)
        first = next(iter(self.journal.upstream_request_ids), task.poll.task_id)
        self._entry = replace(self._entry, tasks=tasks, attempts=self.journal.attempts, upstream_request_id=first)
        await self._ledger.settle(self._entry)

    def bought(self, completed: Completed) -> None:
        """Note that it is paid for, whatever becomes of it."""
        self._bought = completed

    def delivered(self, answer: Answer) -> Answer:
        """Note what the caller gets, and pass it on."""
        self._answer = answer
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, PinholeError):
            error.__dict__["attempts"] = self.journal.attempts
        cut = isinstance(error, asyncio.CancelledError)
        entry = self._ended(self._state(error), type(error).__name__ if error else "", cut=cut)
        await self._ledger.settle(entry)
        await self._limiter.settle(self._spend, used_by(entry, self._answer))
        self._telemetry.settled(entry, self.journal)
        self.journal.accepted = unheard  # a circle would hold the images until the collector comes

    def _ended(self, state: State, error: str, *, cut: bool) -> Entry:
        """The row as it is at the end; of a run that the gateway's own end `cut` short, others ask its tasks."""
        journal, answer = self.journal, self._answer
        found: dict[str, Any] = {"cost": 0} if state is State.FAILED else {}
        if answer is not None:
            found |= given(answer)
        return self._entry.but(
            state=state,
            settled=self._clock.time(),
            upstream_request_id=next(iter(journal.upstream_request_ids), None),
            attempts=journal.attempts,
            error=error,
            links=links_of(self._bought),
            tasks=self._entry.tasks if cut else None,
            **found,
        )

    def _state(self, error: BaseException | None) -> State:
        if self._answer is not None and self._answer.images:
            return State.DELIVERED
        strange = error is not None and not isinstance(error, PinholeError) and self.journal.attempts > 0
        return State.UNKNOWN if billed(error) or strange or self.paid else State.FAILED
