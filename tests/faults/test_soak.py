"""The soak, bounded: gateways that restart, random faults, callers that leave and repeat."""

from __future__ import annotations

import pytest

from tests.faults.soak.__main__ import soak
from tests.faults.soak.size import Size


@pytest.mark.timeout(240)
async def test_nothing_is_lost_and_nothing_is_paid_twice() -> None:
    """Every wish of every kind ends in a picture byte for byte, or in the last word of an outcome that is unknown."""
    report = await soak(Size(seconds=60, callers=4, restart=8, seed=6))

    assert report.sound, report.shown()
    assert report.stops
    assert report.answered
    assert report.requests == sum(report.outcomes.values())
