"""READ FIRST: the whole way of a request, one short function a stage.

    resolve -> validate + plan -> spend -> call -> deliver

Each stage makes one frozen value from the one before. `run` is the way; everything below it is a stage.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio

from app.answer import Answer, Failure, delivered_adjustments
from app.capacity import Capacity
from app.delivery import Delivered, Delivery, Sketch
from app.errors import Overloaded, Unkept
from app.fallback import FALLS_BACK, Way
from app.ledger import Entries
from app.limiter import Limiter
from app.registry import Route
from app.resume.accepted import Resumption
from app.spending import Account, Reopened
from app.telemetry import Telemetry
from app.ticket import Audience, Ticket
from providers.core.errors import InvalidRequest, PinholeError, UpstreamError, UpstreamFailure
from providers.core.plan import Call, Plan
from providers.core.provider import Completed, Partial
from providers.kit.client import Client
from providers.kit.clock import Clock
from providers.kit.fanout import fan_out
from providers.kit.mask import check
from providers.kit.prepare import Prepared, prepared

# A result that is paid for is fetched though its callers have been told to come again.
RESULT_SECONDS: Final = 120.0


class Pipeline:
    """Built once, in app.main, from the seams."""

    def __init__(
        self,
        *,
        limiter: Limiter,
        ledger: Entries,
        client: Client,
        delivery: Delivery,
        clock: Clock,
        telemetry: Telemetry,
        capacity: Capacity,
    ) -> None:
        self._limiter = limiter
        self._ledger = ledger
        self._client = client
        self._delivery = delivery
        self._clock = clock
        self._telemetry = telemetry
        self._capacity = capacity

    async def run(self, ticket: Ticket, audience: Audience) -> Answer:
        """The answer; partial images are told as they come. Raises PinholeError; the account is always settled."""
        first = self.plan(ticket)
        async with self._capacity.admitted(first[1], ticket.started + ticket.seconds):
            if not audience.waiting:
                raise Overloaded("The caller left before its turn came.")
            async with self._spend(ticket, first) as account:
                audience.account = account
                try:
                    return await self._ways(ticket, account, audience)
                finally:
                    audience.account = None

    async def _ways(self, ticket: Ticket, account: Account, audience: Audience) -> Answer:
        """The model that was asked for, then its fallbacks, for as long as nothing can have been billed."""
        ready = await self._prepare(account.way)
        while True:
            try:
                return await self._way(ticket, account, ready, audience)
            except FALLS_BACK as error:
                if account.begun or account.paid or error.billed:
                    raise
                found = await account.turn(partial(self._able, account))
                if found is None:
                    error.message += account.left.obstacles
                    raise
                ready = found

    async def _way(self, ticket: Ticket, account: Account, ready: Prepared, audience: Audience) -> Answer:
        route, _ = account.way
        account.noted = ready.adjustments
        if ready.calls[0].stream and len(ready.calls) == 1:
            return await self._streamed(ticket, account, ready, audience)
        client, deadline, journal = self._client, self._deadline(ticket, route), account.journal
        completed = await fan_out(
            ready.calls, lambda call: client.perform(route.deployments, call, deadline, journal)
        )
        return await self._completed(ticket, account, ready, completed)

    async def _streamed(self, ticket: Ticket, account: Account, ready: Prepared, audience: Audience) -> Answer:
        route, _ = account.way
        deadline, journal = self._deadline(ticket, route), account.journal
        answer: Answer | None = None
        try:
            async for state in self._client.stream(route.deployments, ready.calls[0], deadline, journal):
                if isinstance(state, Completed):
                    answer = await self._completed(ticket, account, ready, state)
                else:
                    audience.tell(account.sketched(await self._sketch(ticket, route, state)))
        except UpstreamFailure:
            if answer is None:  # what comes behind the image takes nothing from it
                raise
        if answer is None:
            raise AssertionError("a stream ends with its image or its error")
        return answer

    async def _completed(self, ticket: Ticket, account: Account, ready: Prepared, completed: Completed) -> Answer:
        account.bought(completed)
        made = await self._deliver(ticket, account, completed)
        return account.delivered(self._answer(account, ready, completed, made))

    async def resume(self, found: Resumption) -> Answer:
        """The rest of a way that another process began: its tasks to their end, then delivered as any other."""
        ticket, (route, planned) = found.ticket, found.way
        account = Reopened(
            found, limiter=self._limiter, ledger=self._ledger, clock=self._clock, telemetry=self._telemetry
        )
        deadline = self._deadline(ticket, route)

        async def ended(call: Call) -> Completed:
            task = found.tasks.get(call.index)
            if task is None:
                raise UpstreamError("The gateway ended around the call for this image; it is not sent again.")
            return await self._client.resume(task, deadline, account.journal)

        async with account:
            completed = await fan_out(planned.calls, ended)
            return await self._completed(ticket, account, Prepared(planned.calls), completed)

    def plan(self, ticket: Ticket) -> tuple[Route, Plan]:
        """Resolve, validate, plan: pure, free, and all that explain needs. Raises PinholeError."""
        registry = ticket.configured.registry
        route = registry.resolve(ticket.request, ticket.caller)
        return route, registry.plan(ticket.request, route)

    def _spend(self, ticket: Ticket, first: Way) -> Account:
        """One account for the request, whichever way it goes."""
        return Account(
            limiter=self._limiter,
            ledger=self._ledger,
            clock=self._clock,
            telemetry=self._telemetry,
            ticket=ticket,
            chain=ticket.configured.fallbacks.ways(ticket.request, ticket.caller, first, allowed=ticket.fallback),
        )

    async def _able(self, account: Account, way: Way) -> Prepared | None:
        """The calls of a fallback; None where the images that came cannot become what its model takes."""
        try:
            return await self._prepare(way)
        except InvalidRequest as error:
            account.left.pass_over(way, "cannot take the images", error)
            return None

    async def _prepare(self, way: Way) -> Prepared:
        """The calls, with input images re-encoded where the plan says so; mostly there is nothing to do."""
        _, planned = way
        if planned.composite:  # what cannot be put back at the end is refused before it is paid for
            await anyio.to_thread.run_sync(check, planned.calls[0].images[0].data)
        if not planned.fits:
            return Prepared(planned.calls)
        return await anyio.to_thread.run_sync(prepared, planned.calls, planned.fits)

    async def _sketch(self, ticket: Ticket, route: Route, state: Partial) -> Sketch:
        """A partial image as the caller reads it; one that cannot be kept for its link is left out."""
        try:
            return await self._delivery.sketch(state, ticket.form or route.spec.response_format)
        except OSError as error:
            self._telemetry.trouble("store", error)
            return Sketch(image=None, index=state.index)

    async def _deliver(
        self, ticket: Ticket, account: Account, completed: Completed
    ) -> tuple[tuple[Delivered, ...], tuple[Failure, ...]]:
        route, planned = account.way
        form = ticket.form or route.spec.response_format
        images: list[Delivered] = []
        failures = [Failure.of(error) for error in completed.failures]
        first: PinholeError | None = None
        for image in completed.images[: planned.n]:
            try:
                deadline = max(self._deadline(ticket, route), self._clock.now() + RESULT_SECONDS)
                maker = account.journal.holder(image) or route.deployments[0]
                images.append(await self._delivery.deliver(image, planned, form, maker, deadline))
            except PinholeError as error:
                first = first or error
                failures.append(Failure.of(error))
            except OSError as error:
                first = first or Unkept("The image was made, and there is no room to keep it for its link.")
                failures.append(Failure.of(first))
                self._telemetry.trouble("store", error)
        if not images and first is not None:
            raise first
        return tuple(images), tuple(failures)

    def _answer(
        self,
        account: Account,
        ready: Prepared,
        completed: Completed,
        made: tuple[tuple[Delivered, ...], tuple[Failure, ...]],
    ) -> Answer:
        (route, planned), (images, failures) = account.way, made
        late = delivered_adjustments(planned, images, account.shown)
        return Answer(
            created=int(self._clock.time()),
            route=route,
            plan=planned,
            images=images,
            failures=failures,
            usage=completed.usage,
            resolved=completed.resolved,
            adjustments=(*planned.adjustments, *ready.adjustments, *late),
            cost=real_cost(planned, images, completed),
            attempts=account.journal.attempts,
            upstream_request_ids=tuple(account.journal.upstream_request_ids),
            standings=account.standings,
        )

    def _deadline(self, ticket: Ticket, route: Route) -> float:
        seconds = min(ticket.seconds, route.spec.deadline_seconds or ticket.seconds)
        return ticket.started + seconds


def real_cost(planned: Plan, images: tuple[Delivered, ...], completed: Completed) -> int | None:
    """Micro-dollars for what was delivered: by tokens where the provider counts them, else by what each image is."""
    prices = planned.spec.prices
    if prices is not None and prices.tokens is not None and completed.usage is not None:
        return prices.tokens.cost(completed.usage)
    # A picture put back under its mask has the size of the caller's input, not the one that was paid for.
    return planned.charge(completed.resolved, [None if planned.composite else image.size for image in images])
