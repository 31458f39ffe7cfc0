"""The retry rule, once: only what cannot have been billed, never for long, and never much of it."""

from __future__ import annotations

import random
from typing import Final

from providers.core.errors import (
    BreakerOpen,
    UpstreamAuth,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from providers.kit.clock import Clock
from providers.kit.window import Window

RETRIED: Final = (UpstreamUnreachable, UpstreamRateLimited, UpstreamUnavailable)
# What another account may be served: nothing of it can have been billed.
MOVED: Final = (*RETRIED, UpstreamAuth, UpstreamQuota, UpstreamModelMissing)


def moves(error: UpstreamFailure) -> bool:
    """Whether another deployment may be asked at once."""
    return isinstance(error, MOVED) and not error.billed


class RetryRule:
    """At most `attempts` in all, waiting at most `total_seconds` in all; exponential with jitter.

    Retries are at most `share` of the last half minute's requests to the same provider, and `floor` besides, so that
    one that is down gets no multiple of its load. `random` is the jitter's.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        attempts: int = 3,
        total_seconds: float = 20.0,
        first_seconds: float = 0.5,
        share: float = 0.2,
        floor: int = 10,
        random: random.Random = random.SystemRandom(),  # noqa: B008 - has no state
    ) -> None:
        self._clock = clock
        self._attempts = attempts
        self._total = total_seconds
        self._first = first_seconds
        self._share = share
        self._floor = floor
        self._random = random
        self._asked: dict[str, Window] = {}

    def begun(self, whom: str) -> None:
        """A request to that provider begins."""
        self._window(whom).add(well=True)

    def wait(self, error: UpstreamFailure, attempt: int, waited: float, whom: str = "") -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1); None when it must not be repeated."""
        free = isinstance(error, RETRIED) and not isinstance(error, BreakerOpen) and not error.billed
        if not free or attempt >= self._attempts:
            return None
        backoff = self._first * 2 ** (attempt - 1) * self._random.uniform(0.75, 1.0)
        least = max(error.retry_after or 0.0, backoff)
        spread = self._random.uniform(0.0, 0.1) * (error.retry_after or 0.0)  # those who were told the same time
        wait = min(least + spread, self._total - waited)
        return wait if wait >= least and self._grants(whom) else None

    def spent(self, whom: str) -> None:
        """A retry is made."""
        self._window(whom).add(well=False)

    def _grants(self, whom: str) -> bool:
        window = self._window(whom)
        return window.badly < self._floor + window.well * self._share

    def _window(self, whom: str) -> Window:
        found = self._asked.get(whom)
        if found is None:
            found = self._asked[whom] = Window(self._clock)
        return found
