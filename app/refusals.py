"""What a limit does not grant, in the words that its caller reads."""

from __future__ import annotations

import math

from app.errors import QuotaExceeded, RateLimited
from app.limiter import Decision, Scope, Spend, Unit
from providers.core.errors import InvalidRequest, PermissionDenied, PinholeError, Violation
from providers.core.plan import Plan
from providers.core.prices import MICRO


def refuse_impossible(spend: Spend, plan: Plan) -> None:
    """A request that no limit of its scopes could ever grant. Raises InvalidRequest, PermissionDenied."""
    amounts = spend.amounts
    for scope in spend.scopes:
        for unit, limit in scope.in_force:
            if unit is Unit.USD:
                if plan.cost is None:
                    raise PermissionDenied(f"'{plan.spec.id}' has no known price and the {scope.kind} has a budget.")
            elif amounts[unit] > limit:
                raise InvalidRequest(_too_small(scope, unit, limit, amounts[unit]))


def _too_small(scope: Scope, unit: Unit, limit: float, amount: float) -> Violation:
    name = unit if unit is Unit.CONCURRENT else f"{unit}_per_minute"
    needs = f"{amount:g} {unit.replace('_', ' ')}"
    message = f"The request needs {needs}, more than the {scope.kind}'s whole limit of {limit:g} ({name})."
    return Violation("size" if unit is Unit.MEGAPIXELS else "n", message, "limit_too_small")


def refused(decision: Decision) -> PinholeError:
    """The error for what a limit does not grant now."""
    scope, unit = decision.refused_scope, decision.refused_unit
    assert scope is not None  # noqa: S101 - a refusal names its scope
    if unit is Unit.USD:
        budget = (scope.limit(unit) or 0) / MICRO
        message = (
            f"What is left of the budget of the {scope.kind} '{scope.name}', {budget:g} USD a day, is too little for "
            "this request. The next day begins at 00:00 UTC."
        )
        return QuotaExceeded(message, retry_after=decision.retry_after)
    assert unit is not None  # noqa: S101 - and its unit
    limit = scope.limit(unit)
    per = "at once" if unit is Unit.CONCURRENT else "per minute"
    what = "images" if unit is Unit.CONCURRENT else str(unit)
    wait = max(1, math.ceil(decision.retry_after))
    message = f"The {scope.kind} '{scope.name}' is over its limit of {limit:g} {what} {per}. Try again in {wait} s."
    return RateLimited(message, retry_after=decision.retry_after)
