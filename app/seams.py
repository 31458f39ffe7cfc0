"""What differs between production and tests, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.capacity import Capacity
from app.http.bodies import PACE, Pace
from app.http.forms import MEMORY
from app.keys import Keys
from app.ledger import Ledger
from app.limiter import Limiter
from app.store import ImageStore, Links
from providers.kit.clock import Clock
from providers.kit.room import Room
from providers.kit.transport import Transport

if TYPE_CHECKING:  # only gateways with Redis pay for its client
    from app.redis import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Given to app.main.create_app; it chooses the real ones when none are given."""

    clock: Clock
    transport: Transport
    limiter: Limiter
    ledger: Ledger
    store: ImageStore
    links: Links
    keys: Keys | None = None
    pace: Pace = PACE
    capacity: Capacity | None = None
    room: Room = MEMORY
    redis: Line | None = None
