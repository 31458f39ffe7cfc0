"""A request on its way, with what belongs to it from the route to the ledger."""

from __future__ import annotations

from typing import Protocol

from app.auth import Caller
from app.configured import Configured
from app.delivery import Sketch
from app.fallback import Way
from app.limiter import Standing
from providers.core.types import ImageRequest, ResponseFormat
from providers.core.valueclass import valueclass
from providers.kit.journal import Journal


@valueclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A request on its way: who asked, for what, under which internal id, until when, by which config.

    `label`, `fingerprint` and `idempotency` (a digest of the key) are what its repeats are recognised by.
    """

    request_id: str
    caller: Caller
    request: ImageRequest
    form: ResponseFormat | None
    configured: Configured
    started: float
    seconds: float
    fallback: bool = True
    label: str = ""
    fingerprint: str = ""
    idempotency: str = ""


class UnderWay(Protocol):
    """What is known of a request whose call may still go on. `begun`: its first picture, or part of one, is there."""

    way: Way
    journal: Journal
    standings: tuple[Standing, ...]
    begun: bool


class Audience(Protocol):
    """Who waits for a request. `account` is there while a call may go on."""

    account: UnderWay | None

    @property
    def waiting(self) -> int:
        """How many callers; without any, what has not begun does not begin."""

    def tell(self, sketch: Sketch) -> None:
        """A partial image."""
