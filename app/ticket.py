"""A request on its way, with what belongs to it from the route to the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.auth import Caller
from app.configured import Configured
from providers.core.types import ImageRequest, ResponseFormat


@dataclass(frozen=True, slots=True, kw_only=True)
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
    wanted: Callable[[], bool] = lambda: True  # whether anybody waits for it: else it is not begun
    label: str = ""
    fingerprint: str = ""
    idempotency: str = ""
