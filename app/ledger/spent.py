"""What a scope has spent today, as the ledger knows it: the truth from which limiters start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from app.ledger.protocol import Ledger
from app.limiter.protocol import Scope
from providers.kit.clock import Clock

COLUMNS: Final = {"user": "end_user"}


def spent_today(ledger: Ledger, clock: Clock) -> Callable[[Scope], Awaitable[int]]:
    """A question to the ledger: micro-dollars of a scope since the UTC day began."""

    async def ask(scope: Scope) -> int:
        now = datetime.fromtimestamp(clock.time(), UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        name = scope.name.partition("/")[2] if scope.kind == "user" else scope.name
        return await ledger.spent(COLUMNS.get(scope.kind, scope.kind), name, midnight)

    return ask
