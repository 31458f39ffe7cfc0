"""The retry rule, once: only what cannot have been billed, and never for long."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from providers.core.errors import (
    UpstreamFailure,
    UpstreamRateLimited,
    UpstreamUnavailable,
    UpstreamUnreachable,
)

RETRIED = (UpstreamUnreachable, UpstreamRateLimited, UpstreamUnavailable)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """At most `attempts` in all, waiting at most `total_seconds` in all; exponential with jitter."""

    attempts: int = 3
    total_seconds: float = 20.0
    first_seconds: float = 0.5
    random: random.Random = field(default_factory=random.SystemRandom)

    def wait(self, error: UpstreamFailure, attempt: int, waited: float) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None when it must not be repeated."""
        if not isinstance(error, RETRIED) or error.billed or attempt >= self.attempts:
            return None
        backoff = self.first_seconds * 2 ** (attempt - 1) * self.random.uniform(0.75, 1.0)
        wait = backoff if error.retry_after is None else max(error.retry_after, backoff)
        return wait if waited + wait <= self.total_seconds else None
