"""The choice among deployments: who is passed over, who gets the next one, and what a failure changes."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.errors import (
    BreakerOpen,
    DeadlinePassed,
    Refused,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from providers.kit.breaker import State
from providers.kit.deployment import Deployment
from providers.kit.pool import Lease, Pool
from providers.kit.report import Change
from tests.clock import StillClock
from tests.providers.kit.fakes import Plain

PLAIN = Plain()


def deployments(*weights: int) -> tuple[Deployment, ...]:
    """Accounts named a, b, c with these weights."""
    names = "abcdefgh"[: len(weights)]
    return tuple(
        Deployment(provider=PLAIN, base_url=f"https://{name}.example", key=f"k-{name}", name=name, weight=weight)
        for name, weight in zip(names, weights, strict=True)
    )


class Heard:
    """Changes as they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Change]] = []

    def __call__(self, deployment: Deployment, change: Change, error: str) -> None:
        self.told.append((deployment.label, change))


def pool() -> tuple[Pool, StillClock, Heard]:
    """One that knows nothing yet."""
    clock, heard = StillClock(at=1000), Heard()
    return Pool(clock, late_seconds=290, heard=heard), clock, heard


def took(found: Pool, options: tuple[Deployment, ...], model: str = "m") -> Lease:
    """The next lease, which there is."""
    lease = found.take(options, model)
    assert lease is not None
    return lease


def end(found: Pool, options: tuple[Deployment, ...], error: UpstreamFailure | None = None, model: str = "m") -> str:
    """One request that ends so; who got it."""
    lease = took(found, options, model)
    lease.__exit__(None if error is None else type(error), error, None)
    return lease.deployment.label


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_equals_take_turns_by_weight(weights: list[int]) -> None:
    """Over a thousand requests one after the other each gets its share, give or take one turn."""
    found, _, _ = pool()
    options = deployments(*weights)
    counts = Counter(end(found, options) for _ in range(1000))

    for option in options:
        assert abs(counts[option.label] - 1000 * option.weight / sum(weights)) <= len(weights)


def test_the_least_in_flight_for_its_weight_is_taken() -> None:
    """Who has twice the weight holds twice as many at once, whoever is slow."""
    found, _, _ = pool()
    options = deployments(1, 2)
    with ExitStack() as stack:
        held = Counter(stack.enter_context(took(found, options)).deployment.label for _ in range(30))
        assert held == {"a": 10, "b": 20}
    took(found, options[1:])

    assert {end(found, options) for _ in range(10)} == {"a"}


def test_one_that_was_tried_is_not_taken_again() -> None:
    """Within a request each is asked once; then there is none."""
    found, _, _ = pool()
    options = deployments(1, 1)
    first = took(found, options).deployment
    second = found.take(options, "m", [first])

    assert second is not None
    assert second.deployment is not first
    assert found.take(options, "m", options) is None
    assert found.able(options, "m")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (UpstreamRateLimited("no", retry_after=7), 7),
        (UpstreamRateLimited("no", retry_after=1e9), 60),
        (UpstreamUnavailable("no", retry_after=4), 4),
    ],
)
def test_a_model_cools_down_where_it_was_slowed_down(error: UpstreamFailure, seconds: float) -> None:
    """For `retry-after`, at most a minute; other models and accounts go on."""
    found, clock, heard = pool()
    one, other = deployments(1, 1)
    end(found, (one,), error)

    assert found.take((one,), "m") is None
    assert found.obstacle((one,), "m").retry_after == pytest.approx(seconds)
    assert isinstance(found.obstacle((one,), "m"), type(error))
    assert found.take((one,), "another") is not None
    assert end(found, (one, other)) == "b"
    assert heard.told == [("a", Change.COOLING)]
    assert found.report(one).cooling == {"m": pytest.approx(seconds)}
    clock.at += seconds
    assert found.take((one,), "m") is not None


def test_a_pause_that_nobody_told_is_kept_only_where_another_serves() -> None:
    """After a 429 without `retry-after` the others go first for a second; alone, it is asked again."""
    found, clock, heard = pool()
    one, other = deployments(9, 1)
    end(found, (one,), UpstreamRateLimited("no"))

    assert {end(found, (one, other)) for _ in range(5)} == {"b"}
    assert found.able((one,), "m")
    assert heard.told == [("a", Change.COOLING)]
    clock.at += 1
    assert "a" in {end(found, (one, other)) for _ in range(5)}


@pytest.mark.parametrize("kind", [UpstreamAuth, UpstreamQuota])
def test_a_refused_account_is_asked_only_when_no_other_can_be(kind: type[UpstreamFailure]) -> None:
    """For a minute, for every model; it is told once, and served again once it is accepted."""
    found, clock, heard = pool()
    options = bad, _ = deployments(9, 1)
    for _ in range(3):
        end(found, (bad,), kind("no"))
    assert {end(found, options, model=model) for model in "mnmn"} == {"b"}
    assert heard.told == [("a", Change.REFUSED)]
    assert found.report(bad).refused
    clock.at += 60
    assert "a" in {end(found, options) for _ in range(5)}
    assert not found.report(bad).refused


@pytest.mark.parametrize("error", [UpstreamModelMissing("no"), UpstreamAuth("no", upstream_status=403)])
def test_what_concerns_a_model_does_not_speak_for_the_others(error: UpstreamFailure) -> None:
    """A model that an account lacks, or may not call, leaves its other models where they are."""
    found, _, _ = pool()
    options = bad, _ = deployments(9, 1)
    end(found, (bad,), error)

    assert {end(found, options) for _ in range(5)} == {"b"}
    assert "a" in {end(found, options, model="another") for _ in range(5)}


@pytest.mark.parametrize(
    ("kind", "opens"),
    [
        (UpstreamUnreachable, True),
        (UpstreamTimeout, True),
        (UpstreamError, True),
        (UpstreamUnavailable, True),
        (UpstreamBadRequest, False),
        (Refused, False),
        (UpstreamAuth, False),
        (UpstreamQuota, False),
        (UpstreamModelMissing, False),
        (DeadlinePassed, False),
    ],
)
def test_only_what_an_upstream_cannot_do_opens_its_breaker(kind: type[UpstreamFailure], opens: bool) -> None:
    """Connect failures, timeouts, 5xx and unreadable answers; never a refusal, a bad request or our own deadline."""
    found, _, heard = pool()
    (one,) = deployments(1)
    for _ in range(20):
        end(found, (one,), kind("no"))

    assert (found.report(one).state is State.OPEN) is opens
    assert (found.take((one,), "m") is None) is opens
    if opens:
        obstacle = found.obstacle((one,), "m")
        assert isinstance(obstacle, BreakerOpen)
        assert (obstacle.retry_after, obstacle.billed, heard.told) == (10.0, False, [("a", Change.OPENED)])


def test_a_rate_limit_never_opens_a_breaker() -> None:
    """However many there are."""
    found, clock, _ = pool()
    (one,) = deployments(1)
    for _ in range(50):
        end(found, (one,), UpstreamRateLimited("no", retry_after=0.1))
        clock.at += 0.2

    assert found.report(one).state is State.CLOSED


def test_a_hang_is_a_timeout_before_it_ends() -> None:
    """Twenty requests that never end open the breaker when their time is over, and count once each."""
    found, clock, _ = pool()
    (one,) = deployments(1)
    held = [took(found, (one,)) for _ in range(25)]
    assert found.take((one,), "m") is not None
    clock.at += 290
    assert found.take((one,), "m") is None
    assert (found.report(one).state, found.report(one).in_flight) == (State.OPEN, 26)
    for lease in held:
        lease.__exit__(None, None, None)
    assert (found.report(one).state, found.report(one).in_flight) == (State.OPEN, 1)


def test_a_model_that_may_take_longer_is_not_late() -> None:
    """Its own time counts, not the gateway's, beside a model that has no more than that."""
    found, clock, _ = pool()
    (one,) = deployments(1)
    slow = [found.take((one,), "slow", usual_seconds=600) for _ in range(25)]
    quick = took(found, (one,))
    clock.at += 300
    assert found.report(one).state is State.CLOSED
    assert found.report(one).badly == 1
    quick.__exit__(None, None, None)
    clock.at += 290
    for lease in slow[:5]:
        assert lease is not None
        lease.__exit__(None, None, None)
    assert found.report(one).well == 5
    clock.at += 10
    assert (found.report(one).state, found.report(one).in_flight) == (State.OPEN, 20)


def test_a_caller_that_goes_says_nothing() -> None:
    """A cancelled request frees its place and is not counted."""
    found, _, _ = pool()
    (one,) = deployments(1)
    lease = took(found, (one,))
    lease.__exit__(GeneratorExit, GeneratorExit(), None)

    report = found.report(one)
    assert (report.in_flight, report.well, report.badly) == (0, 0, 0)


def test_what_is_known_outlives_a_reload() -> None:
    """The same account at the same address, under whatever name and weight, is the same deployment."""
    found, _, _ = pool()
    (one,) = deployments(1)
    end(found, (one,), UpstreamRateLimited("no", retry_after=7))
    again = Deployment(provider=PLAIN, base_url=one.base_url, key=one.key, name="renamed", weight=5)

    assert found.take((again,), "m") is None


def test_the_soonest_says_what_stands_in_the_way() -> None:
    """An open breaker and a cool-down: the error and its `retry_after` are of whichever ends first."""
    found, _, _ = pool()
    one, other = deployments(1, 1)
    for _ in range(20):
        end(found, (one,), UpstreamUnreachable("no"))
    end(found, (other,), UpstreamRateLimited("no", retry_after=3))

    assert isinstance(found.obstacle((one, other), "m"), UpstreamRateLimited)
    end(found, (other,), UpstreamRateLimited("no", retry_after=30), "n")
    assert isinstance(found.obstacle((one, other), "n"), BreakerOpen)


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("https://eu.example:8443/v1", "https://eu.example:8443"),
        ("http://gpu-1:8000/v1", "http://gpu-1:8000"),
        ("http://[::1]:9/v1", "http://[::1]:9"),
    ],
)
def test_an_address_is_shown_without_its_path(base_url: str, address: str) -> None:
    """What operators see of a base URL is its origin."""
    assert Deployment(provider=PLAIN, base_url=base_url, key="k").address == address
