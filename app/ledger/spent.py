"""What a scope has spent, as the ledger knows it: the truth from which limiters start."""

from __future__ import annotations

from app.ledger.protocol import Ledger
from app.limiter.protocol import Scope, Spent


def spent_by(ledger: Ledger) -> Spent:
    """A question to the ledger: micro-dollars of a scope since a Unix time."""

    async def ask(scope: Scope, since: float) -> int:
        columns = {} if scope.kind == "gateway" else {scope.kind: scope.name}
        if scope.kind == "user":
            columns = {"caller": scope.of, "end_user": scope.name}
        return await ledger.spent(columns, since)

    return ask
