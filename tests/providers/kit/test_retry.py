"""The retry rule: what, how often, how long."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core import errors
from providers.core.errors import UpstreamFailure, UpstreamRateLimited, UpstreamUnavailable, UpstreamUnreachable
from providers.kit.retry import RETRIED, RetryRule
from tests.clock import StillClock

RULE = RetryRule(StillClock(), random=random.Random(7))  # noqa: S311 - jitter, made the same each time
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UpstreamFailure) and kind is not UpstreamFailure
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_what_cannot_have_been_billed_is_repeated(kind: type[UpstreamFailure]) -> None:
    """Connect failures, 429 and whole 503 answers; nothing of the tree besides."""
    again = RULE.wait(kind("no"), 1, 0.0) is not None

    assert again is (kind in {UpstreamUnreachable, UpstreamRateLimited, UpstreamUnavailable})


@pytest.mark.parametrize("kind", RETRIED)
def test_what_says_that_it_was_billed_is_never_repeated(kind: type[UpstreamFailure]) -> None:
    """Whatever its class."""
    assert RULE.wait(kind("no", billed=True), 1, 0.0) is None


def test_waits_grow_with_jitter_and_end() -> None:
    """About half a second, then about one, and after the third attempt nothing."""
    waits = [RULE.wait(UpstreamUnavailable("no"), attempt, 0.0) for attempt in (1, 2, 3)]

    assert waits[0]
    assert waits[1]
    assert 0.375 <= waits[0] <= 0.5
    assert 0.75 <= waits[1] <= 1.0
    assert waits[2] is None


@given(st.floats(0, 100), st.integers(1, 2), st.floats(0, 30))
def test_a_wait_is_as_asked_and_never_beyond_the_total(asked: float, attempt: int, waited: float) -> None:
    """`retry-after` is kept or the error is told; waits together stay within twenty seconds."""
    wait = RULE.wait(UpstreamRateLimited("no", retry_after=asked), attempt, waited)

    if wait is None:
        assert waited + max(asked, 1.0) > 20.0
    else:
        assert wait >= asked
        assert waited + wait <= 20.0


def test_a_provider_that_is_down_is_not_hammered() -> None:
    """Of the last half minute's requests to it a fifth may be repeated, and ten besides; others have their own."""
    clock = StillClock()
    rule = RetryRule(clock)
    granted = 0
    for _ in range(100):
        rule.begun("sick")
        if rule.wait(UpstreamUnavailable("no"), 1, 0.0, "sick") is not None:
            rule.spent("sick")
            granted += 1

    assert granted == 30
    assert rule.wait(UpstreamUnavailable("no"), 1, 0.0, "well") is not None
    clock.at += 30
    assert rule.wait(UpstreamUnavailable("no"), 1, 0.0, "sick") is not None


def test_those_who_were_told_the_same_time_do_not_come_back_together() -> None:
    """`retry-after` is a floor: up to a tenth is added at random."""
    waits = {RULE.wait(UpstreamRateLimited("no", retry_after=10), 1, 0.0) for _ in range(20)}

    assert len(waits) == 20
    assert all(wait is not None and 10 <= wait <= 11 for wait in waits)
