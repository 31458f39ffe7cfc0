"""The client with several deployments: who is asked next, and what stays where it is."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from providers.core.errors import (
    BreakerOpen,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from providers.core.http import HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Failed, Outcome
from providers.kit.client import Client
from providers.kit.deployment import Deployment
from providers.kit.failures import unreadable
from providers.kit.journal import Journal
from providers.kit.retry import RetryRule
from tests.clock import StillClock
from tests.providers.kit.fakes import Plain, Script, calls, says

IMAGE = says(image="https://cdn.example/a.png", id="up-1")
TASK = says(task="t1")
BUSY = says(503)
PLAIN = Plain()
ONE, TWO, THREE = (
    Deployment(provider=PLAIN, base_url=f"https://{name}.example", key=f"sk-{name}", name=name)
    for name in ("one", "two", "three")
)
BOTH = (ONE, TWO)
Reply = HTTPResponse | UpstreamFailure


def scripted(*replies: Reply, overtime: float = 0.0) -> tuple[Client, Script, StillClock]:
    """A client whose upstreams answer in this order, whoever is asked."""
    clock = StillClock(at=1000)
    script = Script(clock, replies)
    rule = RetryRule(clock, random=random.Random(1))  # noqa: S311 - jitter, made the same each time
    return Client(script, clock, rule, overtime=overtime), script, clock


def hosts(script: Script) -> list[str]:
    """Who was asked."""
    return [asked.url.split("/")[2].split(".")[0] for asked in script.asked]


@pytest.mark.parametrize(
    "trouble", [UpstreamUnreachable("no"), says(429), says(429, {"retry-after": "9"}), BUSY, says(401), says(404)]
)
async def test_the_next_one_is_asked_at_once(trouble: Reply) -> None:
    """After what cannot have been billed nobody waits while another can be asked; each attempt is counted."""
    client, script, clock = scripted(trouble, IMAGE)
    journal = Journal()
    await client.perform(BOTH, calls()[0], 1060, journal)

    assert (hosts(script), clock.slept, journal.attempts) == (["one", "two"], [], 2)
    assert [asked.headers["authorization"] for asked in script.asked] == ["Bearer sk-one", "Bearer sk-two"]


@pytest.mark.parametrize("trouble", [says(500), says(400), UpstreamTimeout("slow"), UpstreamError("broke off")])
async def test_nobody_else_is_asked_after_anything_else(trouble: Reply) -> None:
    """What may have been billed, and what would fail again, ends the call."""
    client, script, _ = scripted(trouble, IMAGE)
    with pytest.raises(UpstreamFailure):
        await client.perform(BOTH, calls()[0], 1060, Journal())

    assert len(script.asked) == 1


async def test_each_is_asked_once_and_then_the_rule_decides() -> None:
    """Three that are busy, one wait, and the fourth attempt is served."""
    client, script, clock = scripted(BUSY, BUSY, BUSY, IMAGE)
    journal = Journal()
    await client.perform((ONE, TWO, THREE), calls()[0], 1060, journal)

    assert sorted(hosts(script)[:3]) == ["one", "three", "two"]
    assert (len(clock.slept), journal.attempts) == (1, 4)


async def test_without_patience_the_others_are_still_asked() -> None:
    """Another account of the same model is nearer than another model."""
    client, script, clock = scripted(says(429), IMAGE)
    await client.perform(BOTH, calls()[0], 1060, Journal(patient=False))

    assert (hosts(script), clock.slept) == (["one", "two"], [])


async def test_a_wait_is_for_the_soonest() -> None:
    """Two that cool down: the call waits for the one that is back first, and asks that one."""
    client, script, clock = scripted(says(429, {"retry-after": "15"}), says(429, {"retry-after": "3"}), IMAGE)
    await client.perform(BOTH, calls()[0], 1060, Journal())

    assert hosts(script) == ["one", "two", "two"]
    assert 3.0 <= clock.slept[0] <= 3.5


async def test_a_cool_down_holds_for_the_next_request() -> None:
    """What was told to one request is kept by the others: none is sent there before its time."""
    client, script, clock = scripted(says(429, {"retry-after": "30"}), IMAGE)
    with pytest.raises(UpstreamRateLimited):
        await client.perform((ONE,), calls()[0], 1060, Journal())
    journal = Journal()
    with pytest.raises(UpstreamRateLimited) as caught:
        await client.perform((ONE,), calls()[0], 1060, journal)
    assert (len(script.asked), journal.attempts, caught.value.retry_after) == (1, 0, 30)
    clock.at += 30
    await client.perform((ONE,), calls()[0], 1090, journal)
    assert len(script.asked) == 2


async def test_a_short_cool_down_is_waited_for() -> None:
    """A request that finds its only account cooling down for seconds waits, and is served."""
    client, script, clock = scripted(says(429, {"retry-after": "5"}), IMAGE)
    with pytest.raises(UpstreamRateLimited):
        await client.perform((ONE,), calls()[0], 1002, Journal())
    journal = Journal()
    await client.perform((ONE,), calls()[0], 1060, journal)

    assert (len(script.asked), journal.attempts) == (2, 1)
    assert 5.0 <= clock.slept[0] <= 5.5


async def test_an_open_breaker_is_told_at_once() -> None:
    """Nothing is sent and nobody waits; the error says when it is tried again, and cannot have been billed."""
    client, script, clock = scripted(UpstreamUnreachable("no"))
    for _ in range(20):
        with pytest.raises(UpstreamUnreachable):
            await client.perform((ONE,), calls()[0], 1060, Journal(patient=False))
    journal = Journal()
    with pytest.raises(BreakerOpen) as caught:
        await client.perform((ONE,), calls()[0], 1060, journal)

    assert (len(script.asked), journal.attempts, clock.slept) == (20, 0, [])
    assert (caught.value.retry_after, caught.value.billed) == (10.0, False)


async def test_a_task_stays_where_it_was_accepted() -> None:
    """Looks go to the deployment that took the submit, whatever it answers, and its key goes with them."""
    troubles: list[Reply] = [BUSY, UpstreamUnreachable("no"), says(429), UpstreamTimeout("slow"), says(500)]
    client, script, _ = scripted(says(429), TASK, *troubles, IMAGE)
    journal = Journal()
    made = await client.perform(BOTH, calls()[0], 1060, journal)

    assert hosts(script) == ["one", *["two"] * 7]
    assert [asked.method for asked in script.asked].count("POST") == 2
    assert {asked.headers["authorization"] for asked in script.asked[1:]} == {"Bearer sk-two"}
    assert journal.holder(made.images[0]) is TWO


GARBAGE = HTTPResponse(status=200, body=b"<html>a page</html>")
TRUNCATED = HTTPResponse(status=200, body=b'{"image": "https://cdn')


class Careful(Plain):
    """Reads what is no JSON as unreadable."""

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        if not bytes(response.body).endswith(b"}"):
            return Failed(unreadable(response, provider=self.name))
        return super().outcome(call, response)


CAREFUL = replace(ONE, provider=Careful())


@pytest.mark.parametrize("look", [GARBAGE, TRUNCATED, says(404), says(401), says(403), says(408), says(410)])
async def test_a_look_that_says_nothing_of_the_task_is_repeated(look: HTTPResponse) -> None:
    """A page, half an answer, an address that does not know the task yet, a key that is being changed."""
    client, script, _ = scripted(TASK, *[look] * 4, TASK, *[look] * 4, IMAGE)
    await client.perform((CAREFUL,), calls()[0], 1090, Journal())

    assert [asked.method for asked in script.asked] == ["POST", *["GET"] * 10]


@pytest.mark.parametrize(
    ("look", "kind"), [(GARBAGE, UpstreamError), (says(401), UpstreamAuth), (says(404), UpstreamFailure)]
)
async def test_five_such_looks_in_a_row_are_the_end(look: HTTPResponse, kind: type[UpstreamFailure]) -> None:
    """The task was accepted, so it may have been billed: no retry, no other deployment, no fallback."""
    client, script, _ = scripted(TASK, look)
    with pytest.raises(kind) as caught:
        await client.perform((CAREFUL, TWO), calls()[0], 1090, Journal())

    assert caught.value.billed
    assert [asked.method for asked in script.asked] == ["POST", *["GET"] * 5]


async def test_a_task_that_says_it_failed_is_believed() -> None:
    """A refusal or a bad request on a look is the task's own end."""
    client, script, _ = scripted(TASK, TASK, says(400))
    with pytest.raises(UpstreamBadRequest):
        await client.perform((CAREFUL,), calls()[0], 1060, Journal())

    assert [asked.method for asked in script.asked].count("POST") == 1


@pytest.mark.parametrize(("cancel", "late"), [(True, False), (False, True)])
async def test_a_task_that_cannot_be_cancelled_is_asked_about_beyond_the_deadline(cancel: bool, late: bool) -> None:
    """It will be paid for: it is asked about through the overtime, so that its image can be had."""
    client, script, clock = scripted(*[TASK] * 40, IMAGE, overtime=600)
    one = replace(ONE, provider=Plain(cancel=cancel))
    try:
        await client.perform((one,), calls()[0], 1060, Journal())
    except UpstreamTimeout:
        assert script.asked[-1].method == "DELETE"

    assert (clock.at > 1060) is late


async def test_a_look_is_short() -> None:
    """One that hangs is given up after half a minute, long before the task."""
    client, script, _ = scripted(TASK, IMAGE, overtime=600)
    await client.perform((ONE,), calls()[0], 1090, Journal())

    assert script.allowed == [690, 30]
