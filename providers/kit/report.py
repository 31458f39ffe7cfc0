"""What operators hear and read of a deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from providers.kit.breaker import State
from providers.kit.deployment import Deployment


class Change(StrEnum):
    """What operators hear of."""

    OPENED = "opened"
    CLOSED = "closed"
    COOLING = "cooling"
    REFUSED = "refused"


Heard = Callable[[Deployment, Change, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One deployment now. `well` and `badly` count what its breaker counts; `cooling` is seconds by model."""

    state: State
    in_flight: int
    cooling: dict[str, float]
    refused: bool
    well: int
    badly: int
    last_error: str | None
