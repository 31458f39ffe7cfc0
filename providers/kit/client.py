"""Carries a call out: chooses who gets it, sends it, repeats what may be repeated, and keeps the deadline.

The only place that awaits an upstream. Adapters say what to send and what an answer means.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import anyio

from providers.core.errors import DeadlinePassed, UpstreamError, UpstreamFailure, UpstreamTimeout
from providers.core.http import HTTPRequest, HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Completed, Failed, LocalProvider, Partial, Provider, draws
from providers.kit import sse
from providers.kit.clock import Clock
from providers.kit.deployment import Deployment, wire
from providers.kit.failures import failure
from providers.kit.hide import hide
from providers.kit.journal import Accepted, Journal
from providers.kit.pool import Lease, Pool
from providers.kit.retry import RetryRule, moves
from providers.kit.room import cool
from providers.kit.tasks import Tasks
from providers.kit.transport import Answer, Transport
from providers.kit.watch import NOBODY, Attempt, Watch

_ERRORS_FROM = 400


@dataclass(slots=True)
class _Way:
    """How far a call has come: whom it asked, how often it waited, for how long."""

    options: Sequence[Deployment]
    call: Call
    deadline: float
    journal: Journal
    tried: list[Deployment] = field(default_factory=list)
    rounds: int = 0
    waited: float = 0.0

    @property
    def model(self) -> str:
        return self.call.spec.wire_id

    def clean(self, error: UpstreamFailure) -> UpstreamFailure:
        """The same error without the secrets of the account that was asked last."""
        return hide(error, self.tried[-1]) if self.tried else error


class Client:
    """Performs calls. `deadline` is the clock's `now()` at which the caller gives up."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        retry: RetryRule,
        *,
        pool: Pool | None = None,
        overtime: float = 0.0,
        watch: Watch = NOBODY,
    ) -> None:
        """`overtime` is how many seconds beyond the deadline a call that was sent may still take to its end."""
        self._transport = transport
        self._clock = clock
        self._retry = retry
        self._pool = pool or Pool(clock)
        self._overtime = overtime
        self._watch = watch
        self._tasks = Tasks(transport, clock, overtime)

    async def perform(
        self, options: Sequence[Deployment], call: Call, deadline: float, journal: Journal
    ) -> Completed:
        """All images of a call, from one of the deployments that serve its model. Raises UpstreamFailure."""
        provider = options[0].provider
        if draws(provider):
            states = [state async for state in self._local(provider, call, deadline, journal)]
            return _last(states)
        way = self._begun(options, call, deadline, journal)
        while True:
            try:
                with self._lease(way) as lease:
                    return await self._once(lease.deployment, way)
            except UpstreamFailure as error:
                await self._again(way.clean(error), way)
                self._watch.again(provider.name)

    async def stream(
        self, options: Sequence[Deployment], call: Call, deadline: float, journal: Journal
    ) -> AsyncIterator[Partial | Completed]:
        """Partial images as they come, then Completed. Raises UpstreamFailure."""
        provider = options[0].provider
        if draws(provider):
            async for drawn in self._local(provider, call, deadline, journal):
                yield drawn
            return
        way, begun = self._begun(options, call, deadline, journal), False
        while True:
            try:
                with self._lease(way) as lease:
                    async for state in self._streamed(lease.deployment, way):
                        begun = True
                        if isinstance(state, Completed):
                            lease.well()
                        yield state
            except UpstreamFailure as error:
                if begun:
                    raise way.clean(error) from None
                await self._again(way.clean(error), way)
                self._watch.again(provider.name)
            else:
                return

    async def resume(self, task: Accepted, deadline: float, journal: Journal) -> Completed:
        """All images of a call that was accepted before, perhaps by another process. Raises UpstreamFailure."""
        try:
            completed = await self._tasks.end(task.deployment, task.call, task.poll, deadline, journal)
        except UpstreamFailure as error:
            raise hide(error, task.deployment) from None
        return journal.made(task.deployment, completed)

    def _begun(self, options: Sequence[Deployment], call: Call, deadline: float, journal: Journal) -> _Way:
        self._retry.begun(options[0].label)
        return _Way(options, call, deadline, journal)

    def _lease(self, way: _Way) -> Lease:
        """A place at the deployment that gets the next attempt. Raises UpstreamFailure when there is none."""
        usual = way.call.spec.deadline_seconds or 0.0
        lease = self._pool.take(way.options, way.model, way.tried, waited=way.waited > 0, usual_seconds=usual)
        if lease is None:
            raise self._pool.obstacle(way.options, way.model)
        way.tried.append(lease.deployment)
        way.journal.attempts += 1
        return lease

    async def _again(self, error: UpstreamFailure, way: _Way) -> None:
        """Return when the next attempt is due; raises the error where there is none.

        Each deployment is asked once without waiting; after that the retry rule decides.
        """
        way.journal.note(error.upstream_request_id)
        if moves(error) and way.rounds == 0 and self._pool.able(way.options, way.model, way.tried):
            return
        way.rounds += 1
        way.tried.clear()
        if not self._pool.advise(error, way.options, way.model):
            raise error
        whom = way.options[0].label
        wait = self._retry.wait(error, way.rounds, way.waited, whom)
        if wait is None or not way.journal.patient or self._clock.now() + wait >= way.deadline:
            raise error
        self._retry.spent(whom)
        await self._clock.sleep(wait)
        way.waited += wait

    async def _streamed(self, deployment: Deployment, way: _Way) -> AsyncIterator[Partial | Completed]:
        provider, call = deployment.provider, way.call
        request = wire(deployment, provider.request(call))
        with self._attempt(provider, call, way.journal) as attempt:
            async with self._transport.open(request, self._remaining(way.deadline)) as answer:
                attempt.status = answer.status
                if answer.status >= _ERRORS_FROM or "text/event-stream" not in answer.headers.get("content-type", ""):
                    outcome = provider.outcome(call, await _whole(answer))
                    completed = await self._tasks.end(deployment, call, outcome, way.deadline, way.journal)
                    attempt.arrived()
                    yield way.journal.made(deployment, completed)
                    return
                async for event in sse.events(answer.chunks()):
                    state = provider.event(call, event)
                    if isinstance(state, Failed):
                        raise state.error
                    if isinstance(state, Completed):
                        attempt.arrived()
                        yield way.journal.made(deployment, state)
                        return  # nothing of what may follow is waited for
                    if state is not None:
                        yield state
                raise UpstreamError("The upstream's stream ended before the image was complete.")

    async def get(self, deployment: Deployment, request: HTTPRequest, deadline: float) -> HTTPResponse:
        """One free request to the deployment, with its credential when the origin is its own."""
        return await self._transport.send(wire(deployment, request), self._remaining(deadline))

    async def _once(self, deployment: Deployment, way: _Way) -> Completed:
        with self._attempt(deployment.provider, way.call, way.journal) as attempt:
            request = wire(deployment, deployment.provider.request(way.call))
            response = await self._transport.send(request, self._remaining(way.deadline))
            attempt.status = response.status
            outcome = deployment.provider.outcome(way.call, response)
            cool(response.body)
            if not isinstance(outcome, Completed):
                outcome = await self._tasks.end(deployment, way.call, outcome, way.deadline, way.journal)
            return way.journal.made(deployment, outcome)

    def _attempt(self, provider: Provider, call: Call, journal: Journal) -> Attempt:
        return self._watch.attempt(provider.name, call.spec.id, journal)

    async def _local(
        self, provider: LocalProvider, call: Call, deadline: float, journal: Journal
    ) -> AsyncIterator[Partial | Completed]:
        journal.attempts += 1
        states = provider.perform(call)
        with self._attempt(provider, call, journal) as attempt:
            while (state := await anyio.to_thread.run_sync(next, states, None)) is not None:
                if isinstance(state, Failed):
                    raise state.error
                if not isinstance(state, float | int):
                    attempt.arrived()
                    yield state
                elif self._clock.now() + state >= deadline:
                    await self._clock.sleep(max(0.0, deadline - self._clock.now()))
                    raise UpstreamTimeout("The image was not done in time.", provider=provider.name)
                else:
                    await self._clock.sleep(state)

    def _remaining(self, deadline: float) -> float:
        remaining = deadline - self._clock.now()
        if remaining <= 0:
            raise DeadlinePassed("The deadline passed before the upstream was asked.", billed=False)
        return remaining + self._overtime


async def _whole(answer: Answer) -> HTTPResponse:
    return HTTPResponse(status=answer.status, headers=answer.headers, body=await answer.whole())


def _last(states: list[Partial | Completed]) -> Completed:
    done = [state for state in states if isinstance(state, Completed)]
    if not done:
        raise failure(UpstreamError, HTTPResponse(status=500), provider="local", message="Nothing was drawn.")
    return done[-1]
