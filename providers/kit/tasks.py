"""Asks about a task that an upstream has accepted until it is over. It is never submitted again."""

from __future__ import annotations

from typing import Final

from providers.core.errors import (
    DeadlinePassed,
    Refused,
    UpstreamError,
    UpstreamFailure,
    UpstreamTimeout,
)
from providers.core.http import HTTPRequest, HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Completed, Failed, Outcome, Poll
from providers.kit.clock import Clock
from providers.kit.deployment import Deployment, wire
from providers.kit.failures import retry_after
from providers.kit.hide import hidden
from providers.kit.journal import Accepted, Journal
from providers.kit.transport import Transport

SLOWEST_POLL_SECONDS: Final = 5.0
POLL_GROWTH: Final = 1.5
LOOK_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 30.0
CANCEL_SECONDS: Final = 5.0
# In a row: an address that does not know the task (yet), a page in place of an answer, a key that is being changed.
STRANGE_LOOKS: Final = 5
_PASSING: Final = frozenset({408, 425, 429})
_ERRORS_FROM: Final = 400
_SERVER_ERRORS_FROM: Final = 500


class Tasks:
    """Polling, bounded by the deadline; beyond it, by `overtime`, where a task cannot be cancelled."""

    def __init__(self, transport: Transport, clock: Clock, overtime: float) -> None:
        self._transport = transport
        self._clock = clock
        self._overtime = overtime

    async def end(
        self, deployment: Deployment, call: Call, outcome: Outcome, deadline: float, journal: Journal
    ) -> Completed:
        """What the outcome comes to in the end. Raises UpstreamFailure."""
        if isinstance(outcome, Poll):
            await journal.accepted(Accepted(deployment=deployment, call=call, poll=outcome))
        pace, strange = 1.0, 0
        while isinstance(outcome, Poll):
            journal.note(hidden(outcome.task_id, deployment))
            wait = min(outcome.after * pace, max(outcome.after, SLOWEST_POLL_SECONDS))
            until = deadline if outcome.cancel else deadline + self._overtime
            if self._clock.now() + wait >= until:
                await self._cancel(deployment, outcome)
                raise DeadlinePassed("The task was not done in time.", provider=deployment.provider.name)
            await self._clock.sleep(wait)
            pace *= POLL_GROWTH
            seen = await self._look(deployment, call, outcome, until)
            if not isinstance(seen, UpstreamFailure):
                outcome, strange = seen, 0
                continue
            strange += 1
            if strange >= STRANGE_LOOKS:
                seen.billed = True
                raise seen
        if isinstance(outcome, Failed):
            raise outcome.error
        return outcome

    async def _look(self, deployment: Deployment, call: Call, poll: Poll, until: float) -> Outcome | UpstreamFailure:
        """One look at a task, as an outcome of the task; a failure when the look says nothing of it.

        Looking is free, so a look that fails for a passing reason is only a look to repeat.
        """
        try:
            response = await self._get(deployment, poll.request, until)
        except UpstreamFailure:
            return poll
        if response.status in _PASSING or response.status >= _SERVER_ERRORS_FROM:
            after = max(poll.after, min(retry_after(response) or 0.0, LONGEST_PAUSE_SECONDS))
            return Poll(request=poll.request, after=after, task_id=poll.task_id, cancel=poll.cancel)
        outcome = deployment.provider.outcome(call, response)
        if not isinstance(outcome, Failed):
            return outcome
        error = outcome.error
        strange = response.status >= _ERRORS_FROM or not error.readable
        if strange and not isinstance(error, Refused):
            return error
        error.billed = error.billed or isinstance(error, UpstreamError | UpstreamTimeout)
        return outcome

    async def _get(self, deployment: Deployment, request: HTTPRequest, until: float) -> HTTPResponse:
        seconds = min(LOOK_SECONDS, until - self._clock.now())
        if seconds <= 0:
            raise DeadlinePassed("The deadline passed before the upstream was asked.", billed=False)
        return await self._transport.send(wire(deployment, request), seconds)

    async def _cancel(self, deployment: Deployment, poll: Poll) -> None:
        if poll.cancel is None:
            return
        try:
            await self._transport.send(wire(deployment, poll.cancel), CANCEL_SECONDS)
        except UpstreamFailure:
            return  # the task ends by itself; the caller is told of the timeout either way
