"""Carries a call out: sends it, polls it, retries what may be retried, and keeps the deadline.

The only place that awaits an upstream. Adapters say what to send and what an answer means.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio

from providers.core.errors import UpstreamError, UpstreamFailure, UpstreamTimeout
from providers.core.http import HTTPRequest, HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Completed, Failed, LocalProvider, Outcome, Partial, Poll, Provider, draws
from providers.kit import sse
from providers.kit.bodies import encode
from providers.kit.clock import Clock
from providers.kit.failures import failure, retry_after
from providers.kit.hide import hidden, hide
from providers.kit.retry import RetryRule
from providers.kit.room import cool
from providers.kit.transport import Answer, Transport, WireRequest
from providers.kit.watch import NOBODY, Attempt, Watch

SLOWEST_POLL_SECONDS = 5.0
POLL_GROWTH = 1.5
_ERRORS_FROM = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One account at one address. The key is shown to that origin and to nothing else, and never in a repr."""

    provider: Provider
    base_url: str
    key: str = field(default="", repr=False)

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port."""
        parts = urlsplit(self.base_url)
        return (parts.scheme, parts.hostname or "", parts.port)

    def owns(self, url: str) -> bool:
        """Whether a URL is of this deployment's own origin."""
        parts = urlsplit(url)
        return (parts.scheme, parts.hostname or "", parts.port) == self.origin


@dataclass(slots=True)
class Journal:
    """What happened on the wire for one request: filled while calls run, read for headers and the ledger.

    Without `patient` nothing is retried: somebody else can serve sooner. `began` and `ended` are the watch's.
    """

    attempts: int = 0
    patient: bool = True
    upstream_request_ids: list[str] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """From the first sending to the last outcome, waits included; 0 when nobody watched."""
        return max(0.0, self.ended - self.began)

    def note(self, request_id: str | None) -> None:
        """Keep an upstream's own request id."""
        if request_id and request_id not in self.upstream_request_ids:
            self.upstream_request_ids.append(request_id)


class Client:
    """Performs calls. `deadline` is the clock's `now()` at which the caller gives up."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        retry: RetryRule,
        *,
        overtime: float = 0.0,
        watch: Watch = NOBODY,
    ) -> None:
        """`overtime` is how many seconds beyond the deadline a call that was sent may still take to its end."""
        self._transport = transport
        self._clock = clock
        self._retry = retry
        self._overtime = overtime
        self._watch = watch

    async def perform(self, deployment: Deployment, call: Call, deadline: float, journal: Journal) -> Completed:
        """All images of a call. Raises UpstreamFailure."""
        provider = deployment.provider
        if draws(provider):
            states = [state async for state in self._local(provider, call, deadline, journal)]
            return _last(states)
        tries, waited = 0, 0.0
        while True:
            tries += 1
            journal.attempts += 1
            try:
                return await self._once(deployment, call, deadline, journal)
            except UpstreamFailure as error:
                waited += await self._again(hide(error, deployment), deadline, journal, (tries, waited))
                self._watch.again(provider.name)

    async def _again(
        self, error: UpstreamFailure, deadline: float, journal: Journal, tried: tuple[int, float]
    ) -> float:
        """Sleep before the next attempt, and say for how long; raises the error where there is none.

        `tried` is how often this call was tried and how long it waited: other calls of the request do not count.
        """
        journal.note(error.upstream_request_id)
        wait = self._retry.wait(error, *tried)
        if wait is None or not journal.patient or self._clock.now() + wait >= deadline:
            raise error
        await self._clock.sleep(wait)
        return wait

    async def stream(
        self, deployment: Deployment, call: Call, deadline: float, journal: Journal
    ) -> AsyncIterator[Partial | Completed]:
        """Partial images as they come, then Completed. Raises UpstreamFailure."""
        provider = deployment.provider
        if draws(provider):
            async for drawn in self._local(provider, call, deadline, journal):
                yield drawn
            return
        begun, tries, waited = False, 0, 0.0
        while True:
            tries += 1
            journal.attempts += 1
            try:
                async for state in self._streamed(deployment, call, deadline, journal):
                    begun = True
                    yield state
            except UpstreamFailure as error:
                if begun:
                    raise hide(error, deployment) from None
                waited += await self._again(hide(error, deployment), deadline, journal, (tries, waited))
                self._watch.again(provider.name)
            else:
                return

    async def _streamed(
        self, deployment: Deployment, call: Call, deadline: float, journal: Journal
    ) -> AsyncIterator[Partial | Completed]:
        provider = deployment.provider
        request = wire(deployment, await _composed(provider, call))
        with self._attempt(provider, call, journal) as attempt:
            async with self._transport.open(request, self._remaining(deadline)) as answer:
                attempt.status = answer.status
                if answer.status >= _ERRORS_FROM or "text/event-stream" not in answer.headers.get("content-type", ""):
                    outcome = provider.outcome(call, await _whole(answer))
                    made = await self._settle(deployment, call, outcome, deadline, journal)
                    attempt.arrived()
                    yield made
                    return
                completed = False
                async for event in sse.events(answer.chunks()):
                    state = provider.event(call, event)
                    if isinstance(state, Failed):
                        raise state.error
                    if isinstance(state, Completed):
                        completed = True
                        attempt.arrived()
                    if state is not None:
                        yield state
                if not completed:
                    raise UpstreamError("The upstream's stream ended before the image was complete.")

    async def get(self, deployment: Deployment, request: HTTPRequest, deadline: float) -> HTTPResponse:
        """One free request to the deployment, with its credential when the origin is its own."""
        return await self._transport.send(wire(deployment, request), self._remaining(deadline))

    async def _once(self, deployment: Deployment, call: Call, deadline: float, journal: Journal) -> Completed:
        with self._attempt(deployment.provider, call, journal) as attempt:
            request = wire(deployment, await _composed(deployment.provider, call))
            response = await self._transport.send(request, self._remaining(deadline))
            attempt.status = response.status
            outcome = deployment.provider.outcome(call, response)
            cool(response.body)
            return await self._settle(deployment, call, outcome, deadline, journal)

    def _attempt(self, provider: Provider, call: Call, journal: Journal) -> Attempt:
        return self._watch.attempt(provider.name, call.spec.id, journal)

    async def _settle(
        self, deployment: Deployment, call: Call, outcome: Outcome, deadline: float, journal: Journal
    ) -> Completed:
        pace = 1.0
        while isinstance(outcome, Poll):
            journal.note(hidden(outcome.task_id, deployment))
            wait = min(outcome.after * pace, max(outcome.after, SLOWEST_POLL_SECONDS))
            if self._clock.now() + wait >= deadline:
                await self._cancel(deployment, outcome)
                raise UpstreamTimeout("The task was not done in time.", provider=deployment.provider.name)
            await self._clock.sleep(wait)
            pace *= POLL_GROWTH
            outcome = await self._ask(deployment, call, outcome, deadline)
        if isinstance(outcome, Failed):
            raise outcome.error
        journal.note(hidden(outcome.upstream_request_id or "", deployment))
        for failed in outcome.failures:
            hide(failed, deployment)
        return outcome

    async def _ask(self, deployment: Deployment, call: Call, poll: Poll, deadline: float) -> Outcome:
        """One look at a task. Looking is free, so a look that fails is only a look to repeat."""
        try:
            response = await self.get(deployment, poll.request, deadline)
        except UpstreamFailure:
            return poll
        if response.status in {429, 500, 502, 503, 504}:
            return Poll(
                request=poll.request,
                after=max(poll.after, retry_after(response) or 0.0),
                task_id=poll.task_id,
                cancel=poll.cancel,
            )
        outcome = deployment.provider.outcome(call, response)
        if isinstance(outcome, Failed):
            if not outcome.error.readable:
                return poll
            outcome.error.billed = outcome.error.billed or isinstance(outcome.error, UpstreamError)
        return outcome

    async def _cancel(self, deployment: Deployment, poll: Poll) -> None:
        if poll.cancel is None:
            return
        try:
            await self._transport.send(wire(deployment, poll.cancel), 5.0)
        except UpstreamFailure:
            return  # the task ends by itself; the caller is told of the timeout either way

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
            raise UpstreamTimeout("The deadline passed before the upstream was asked.", billed=False)
        return remaining + self._overtime


def wire(deployment: Deployment, request: HTTPRequest) -> WireRequest:
    """The request as it goes out: its absolute URL, the credential if the origin is the deployment's, the body."""
    absolute = re.match(r"https?://", request.url) is not None
    url = request.url if absolute else deployment.base_url.rstrip("/") + request.url
    headers = {"accept": "application/json", **{name.lower(): value for name, value in request.headers.items()}}
    access = deployment.provider.access
    if deployment.key and deployment.owns(url):
        headers[access.header.lower()] = f"{access.scheme}{deployment.key}"
    buffers: tuple[bytes | memoryview, ...] = ()
    if request.body is not None:
        content_type, pieces = encode(request.body)
        headers["content-type"] = content_type
        buffers = tuple(pieces)
    return WireRequest(method=request.method, url=url, headers=headers, body=buffers)


async def _composed(provider: Provider, call: Call) -> HTTPRequest:
    """The adapter's request; one with images may decode pixels (a mask, a turned photo), so off the loop."""
    if not call.images:
        return provider.request(call)
    return await anyio.to_thread.run_sync(provider.request, call)


async def _whole(answer: Answer) -> HTTPResponse:
    return HTTPResponse(status=answer.status, headers=answer.headers, body=await answer.whole())


def _last(states: list[Partial | Completed]) -> Completed:
    done = [state for state in states if isinstance(state, Completed)]
    if not done:
        raise failure(UpstreamError, HTTPResponse(status=500), provider="local", message="Nothing was drawn.")
    return done[-1]
