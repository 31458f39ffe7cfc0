"""The one table from class to status, and what stands in the headers of an error."""

from __future__ import annotations

import pytest

from app.errors import RateLimited, headers
from providers.core.errors import (
    PinholeError,
    Refused,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RateLimited("no", retry_after=6.2), True),
        (UpstreamRateLimited("no", retry_after=6.2), True),
        (UpstreamUnavailable("no", retry_after=6.2), True),
        (Refused("no", retry_after=6.2), False),
        (UpstreamBadRequest("no", retry_after=6.2), False),
        (UpstreamError("no", retry_after=6.2), False),
        (UpstreamUnreachable("no", retry_after=6.2), False),
        (UpstreamTimeout("no", retry_after=6.2), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_time_to_wait_stands_beside_429_and_503_alone(error: PinholeError, told: bool) -> None:
    """A refusal while its deployment cools down is no invitation to come again."""
    assert headers(error).get("retry-after") == ("7" if told else None)
