"""The account of a request that another process began."""

from __future__ import annotations

from typing import Self

from app.fallback import Chain
from app.ledger import Entries
from app.limiter import Limiter
from app.resume.accepted import Resumption
from app.spending.account import Account
from app.telemetry import Telemetry
from providers.core.errors import UpstreamError
from providers.core.provider import Completed
from providers.kit.clock import Clock
from providers.kit.journal import Journal


class Reopened(Account):
    """Its row is there, its limits were taken."""

    def __init__(
        self, found: Resumption, *, limiter: Limiter, ledger: Entries, clock: Clock, telemetry: Telemetry
    ) -> None:
        chain, ticket = Chain(ways=(found.way,)), found.ticket
        super().__init__(limiter=limiter, ledger=ledger, clock=clock, telemetry=telemetry, ticket=ticket, chain=chain)
        self._entry, self._deliverable = found.entry, found.deliverable
        self.journal = Journal(attempts=found.entry.attempts)
        self.journal.note(found.entry.upstream_request_id)

    async def __aenter__(self) -> Self:
        self._telemetry.begun(self._entry)
        return self

    def bought(self, completed: Completed) -> None:
        """Raises UpstreamError where the picture that its mask belongs to is gone."""
        super().bought(completed)
        if not self._deliverable:
            raise UpstreamError("The image was made, but the gateway that held the picture of its mask has ended.")
