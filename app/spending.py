"""The account of one request: reserved before the paid call, settled whatever becomes of it."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self

from app.answer import Answer, adjustments_header
from app.errors import QuotaExceeded, RateLimited
from app.ledger import Entry, Ledger, State
from app.limiter import Decision, Limiter, Scope, Spend, Standing, Unit
from app.registry import Route
from app.telemetry import Telemetry
from app.ticket import Ticket
from providers.core.errors import InvalidRequest, PermissionDenied, PinholeError, UpstreamFailure, Violation
from providers.core.plan import Plan
from providers.kit.client import Journal
from providers.kit.clock import Clock


class Account:
    """Entered, it has taken every limit and written the ledger's row; left, both know what was delivered."""

    def __init__(
        self,
        *,
        limiter: Limiter,
        ledger: Ledger,
        clock: Clock,
        telemetry: Telemetry,
        ticket: Ticket,
        route: Route,
        plan: Plan,
    ) -> None:
        self._limiter = limiter
        self._ledger = ledger
        self._clock = clock
        self._telemetry = telemetry
        self._plan = plan
        self._route = route
        self._spend = spend_of(ticket, route, plan)
        self._entry = entry_of(ticket, route, plan, clock.time())
        self._answer: Answer | None = None
        self.journal = Journal()
        self.standings: tuple[Standing, ...] = ()

    async def __aenter__(self) -> Self:
        """Raises InvalidRequest, PermissionDenied, RateLimited, QuotaExceeded."""
        _refuse_impossible(self._spend, self._plan)
        decision = await self._limiter.spend(self._spend)
        self.standings = decision.standings
        if not decision.allowed:
            refusal = _refused(decision)
            refusal.__dict__["standings"] = decision.standings
            raise refusal
        try:
            with self._telemetry.tracer.span("ledger.open", id=self._entry.request_id):
                await self._ledger.open(self._entry)
        except BaseException:
            await self._limiter.settle(self._spend, delivered=0, micro_usd=0)
            raise
        self._telemetry.begun(self._entry)
        return self

    def delivered(self, answer: Answer) -> Answer:
        """Note what the caller gets, and pass it on."""
        self._answer = answer
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        answer = self._answer
        delivered = len(answer.images) if answer else 0
        cost = answer.cost if answer else 0
        if isinstance(error, PinholeError):
            error.__dict__["attempts"] = self.journal.attempts
        await self._limiter.settle(self._spend, delivered=delivered, micro_usd=cost)
        entry = replace(
            self._entry,
            state=_state(answer, error),
            images_delivered=delivered,
            megapixels=answer.megapixels if answer else 0.0,
            cost=cost,
            tokens_in=answer.usage.input_tokens if answer and answer.usage else None,
            tokens_out=answer.usage.output_tokens if answer and answer.usage else None,
            settled=self._clock.time(),
            upstream_request_id=next(iter(self.journal.upstream_request_ids), None),
            attempts=self.journal.attempts,
            adjustments=adjustments_header(answer.adjustments) if answer else "",
            error=type(error).__name__ if error else "",
            links=tuple(image.link for image in answer.images if image.link) if answer else (),
        )
        with self._telemetry.tracer.span("ledger.settle", id=entry.request_id, state=entry.state.value):
            await self._ledger.settle(entry)
        self._telemetry.settled(entry, self.journal)


def spend_of(ticket: Ticket, route: Route, plan: Plan) -> Spend:
    """What the limiter is asked for: every scope that has limits."""
    caller = ticket.caller
    scopes = [Scope("caller", caller.id, caller.limits)]
    if ticket.request.end_user:
        scopes.append(Scope("user", f"{caller.id}/{ticket.request.end_user}", caller.user_limits))
    scopes += [Scope(kind, name, limits) for kind, name, limits in route.scopes]
    return Spend(
        request_id=ticket.request_id,
        scopes=tuple(scopes),
        images=plan.n,
        megapixels=plan.megapixels,
        micro_usd=plan.cost or 0,
    )


def entry_of(ticket: Ticket, route: Route, plan: Plan, now: float) -> Entry:
    """The ledger's row before the call."""
    return Entry(
        request_id=ticket.request_id,
        caller=ticket.caller.id,
        caller_name=ticket.caller.name,
        end_user=ticket.request.end_user,
        model_asked=route.asked,
        model=route.spec.id,
        provider=route.provider,
        operation=plan.operation.value,
        images_asked=plan.n,
        created=now,
        cost=plan.cost,
        label=ticket.label,
        fingerprint=ticket.fingerprint,
        idempotency=ticket.idempotency,
    )


def _state(answer: Answer | None, error: BaseException | None) -> State:
    if answer is not None and answer.images:
        return State.DELIVERED
    billed = isinstance(error, UpstreamFailure) and error.billed
    return State.UNKNOWN if billed or (error and not isinstance(error, PinholeError)) else State.FAILED


def _refuse_impossible(spend: Spend, plan: Plan) -> None:
    for scope, unit, limit, amount in spend.checks():
        if unit is Unit.USD and plan.cost is None:
            raise PermissionDenied(f"'{plan.spec.id}' has no known price and the {scope.kind} has a budget.")
        if unit is not Unit.USD and amount > limit:
            message = f"The request needs {amount:g} {unit}, more than the {scope.kind}'s whole limit of {limit:g}."
            raise InvalidRequest(Violation("n", message, "limit_too_small"))


def _refused(decision: Decision) -> PinholeError:
    scope, unit = decision.refused_scope, decision.refused_unit
    assert scope is not None  # noqa: S101 - a refusal names its scope
    if unit is Unit.USD:
        message = f"The budget of the {scope.kind} '{scope.name}' for today (UTC) is spent."
        return QuotaExceeded(message, retry_after=decision.retry_after)
    assert unit is not None  # noqa: S101 - and its unit
    limit = scope.limit(unit)
    per = "at once" if unit is Unit.CONCURRENT else "per minute"
    what = "images" if unit is Unit.CONCURRENT else str(unit)
    wait = max(1, round(decision.retry_after + 0.5))
    message = f"The {scope.kind} '{scope.name}' is over its limit of {limit:g} {what} {per}. Try again in {wait} s."
    return RateLimited(message, retry_after=decision.retry_after)
