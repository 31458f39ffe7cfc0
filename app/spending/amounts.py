"""What a request comes to: what limiter and ledger are told of it, before the call and after."""

from __future__ import annotations

from typing import Any, Final

from app.answer import Answer, adjustments_header
from app.fallback import Way
from app.ledger import Entry, State
from app.limiter import Scope, Spend, Used
from app.ticket import Ticket
from providers.core.provider import Completed, Link

NOTHING: Final = Used(images=0, megapixels=0.0, micro_usd=0)


def spend_of(ticket: Ticket, way: Way) -> Spend:
    """What the limiter is asked for: every scope that has limits."""
    caller, (route, plan) = ticket.caller, way
    scopes = (caller.scope, *route.scopes)
    if ticket.request.end_user:
        user = Scope("user", ticket.request.end_user, caller.user_limits, of=caller.id)
        scopes = (caller.scope, user, *route.scopes)
    return Spend(
        request_id=ticket.request_id,
        scopes=scopes,
        images=plan.n,
        megapixels=plan.megapixels,
        micro_usd=plan.cost or 0,
    )


def entry_of(ticket: Ticket, way: Way, now: float) -> Entry:
    """The ledger's row before the call."""
    route, plan = way
    return Entry(
        request_id=ticket.request_id,
        caller=ticket.caller.id,
        caller_name=ticket.caller.name,
        end_user=ticket.request.end_user,
        model_asked=route.asked,
        model=route.spec.id,
        provider=route.provider,
        operation=str(plan.operation),
        images_asked=plan.n,
        created=now,
        cost=plan.cost,
        label=ticket.label,
        fingerprint=ticket.fingerprint,
        idempotency=ticket.idempotency,
    )


def given(answer: Answer) -> dict[str, Any]:
    """The columns of a row that an answer fills."""
    return {
        "images_delivered": len(answer.images),
        "megapixels": answer.megapixels,
        "cost": answer.cost,
        "tokens_in": answer.usage.input_tokens if answer.usage else None,
        "tokens_out": answer.usage.output_tokens if answer.usage else None,
        "adjustments": adjustments_header(answer.adjustments),
    }


def used_by(entry: Entry, answer: Answer | None) -> Used:
    """What the limiter is told in the end."""
    if answer is None:
        return NOTHING if entry.state is State.FAILED else Used(images=0, megapixels=0.0)
    known = all(image.size for image in answer.images)
    megapixels = entry.megapixels if known else None
    return Used(images=entry.images_delivered, megapixels=megapixels, micro_usd=entry.cost)


def links_of(bought: Completed | None) -> tuple[str, ...]:
    """The provider's own links, also of results that could not be fetched."""
    images = bought.images if bought else ()
    return tuple(image.content.url for image in images if isinstance(image.content, Link))
