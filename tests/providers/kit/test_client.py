"""The client: sends, polls, retries what cannot have been billed, keeps the deadline, and guards the credential."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from providers.core.errors import (
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from providers.core.http import HTTPRequest, HTTPResponse
from providers.core.provider import Completed, Link, Partial
from providers.kit.client import Client
from providers.kit.deployment import Deployment, wire
from providers.kit.journal import Journal
from providers.kit.retry import RetryRule
from providers.kit.transport import WireRequest
from tests.clock import StillClock
from tests.providers.kit.fakes import BASE, KEY, Chunks, Plain, Script, calls, deployment, says

IMAGE = says(image="https://cdn.example/a.png", id="up-1")
TASK = says(task="t1")
BUSY = says(503)
SLOW_DOWN = says(429)
Reply = HTTPResponse | UpstreamFailure
SSE = {"content-type": "text/event-stream; charset=utf-8"}


def scripted(*replies: Reply, seconds: float = 0.0, overtime: float = 0.0) -> tuple[Client, Script, StillClock]:
    """A client whose upstream answers so, on a clock that stands still."""
    clock = StillClock(at=1000)
    script = Script(clock, replies, seconds)
    rule = RetryRule(clock, random=random.Random(1))  # noqa: S311 - jitter, made the same each time
    return Client(script, clock, rule, overtime=overtime), script, clock


async def perform(client: Client, journal: Journal | None = None, provider: Plain | None = None) -> Completed:
    """One call with sixty seconds to go."""
    return await client.perform((deployment(provider),), calls()[0], 1060, journal or Journal())


async def test_an_answer_is_its_outcome() -> None:
    """One request, one answer, its id noted."""
    client, script, clock = scripted(IMAGE)
    journal = Journal()
    done = await perform(client, journal)

    assert done.images[0].content == Link("https://cdn.example/a.png")
    assert (journal.attempts, journal.upstream_request_ids, clock.slept) == (1, ["up-1"], [])
    assert (script.asked[0].method, script.asked[0].url) == ("POST", f"{BASE}/make")
    assert json.loads(b"".join(map(bytes, script.asked[0].body))) == {"prompt": "a kite", "index": 0}


async def test_a_task_is_asked_about_until_it_is_done() -> None:
    """Polling waits on the clock, ever longer up to five seconds, so this takes no time."""
    client, script, clock = scripted(*[TASK] * 8, IMAGE)
    journal = Journal()
    await perform(client, journal)

    assert clock.slept == [1.0, 1.5, 2.25, 3.375, 5.0, 5.0, 5.0, 5.0]
    assert [asked.method for asked in script.asked] == ["POST", *["GET"] * 8]
    assert script.asked[1].url == f"{BASE}/tasks/t1"
    assert (journal.attempts, journal.upstream_request_ids) == (1, ["t1", "up-1"])


@pytest.mark.parametrize("trouble", [SLOW_DOWN, says(500), says(502), BUSY, says(504), UpstreamTimeout("slow")])
async def test_a_look_that_fails_is_repeated(trouble: Reply) -> None:
    """Looking is free: the task is never started a second time because of it."""
    client, script, _ = scripted(TASK, trouble, trouble, IMAGE)
    await perform(client)

    assert [asked.method for asked in script.asked] == ["POST", "GET", "GET", "GET"]


async def test_a_look_waits_as_long_as_it_is_told() -> None:
    """`retry-after` of a poll is kept."""
    client, _, clock = scripted(TASK, says(429, {"retry-after": "7"}), IMAGE)
    await perform(client)

    assert clock.slept[1] >= 7


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_a_task_that_failed_is_never_started_anew(status: int) -> None:
    """What an accepted task comes to may have been billed."""
    replies = [TASK, says(status)] if status != 500 else [TASK, TASK, says(400)]
    client, script, _ = scripted(*replies)
    with pytest.raises(UpstreamFailure):
        await perform(client)

    assert [asked.method for asked in script.asked].count("POST") == 1


@pytest.mark.parametrize("cancel", [True, False])
async def test_at_the_deadline_a_task_is_cancelled(cancel: bool) -> None:
    """Where the provider can; the caller gets a timeout that may have been billed, in time."""
    client, script, clock = scripted(TASK)
    with pytest.raises(UpstreamTimeout) as caught:
        await perform(client, provider=Plain(cancel=cancel))

    assert caught.value.billed
    assert clock.at < 1060
    assert (script.asked[-1].method == "DELETE") is cancel


async def test_a_cancel_that_fails_changes_nothing() -> None:
    """The timeout stands."""
    client, script, clock = scripted(TASK)
    script.replies = [*[TASK] * 14, UpstreamError("no")]
    with pytest.raises(UpstreamTimeout):
        await perform(client, provider=Plain(cancel=True))

    assert clock.at < 1060


@pytest.mark.parametrize(
    ("replies", "attempts"),
    [
        ([SLOW_DOWN, BUSY, IMAGE], 3),
        ([UpstreamUnreachable("no"), IMAGE], 2),
        ([says(429, {"retry-after": "3"}), IMAGE], 2),
    ],
)
async def test_what_cannot_have_been_billed_is_tried_again(replies: Sequence[Reply], attempts: int) -> None:
    """Connect failures, 429 and whole 503 answers; each attempt is counted."""
    client, script, clock = scripted(*replies)
    journal = Journal()
    await perform(client, journal)

    assert (journal.attempts, len(script.asked), len(clock.slept)) == (attempts, attempts, attempts - 1)
    if attempts == 2 and isinstance(replies[0], HTTPResponse):
        assert 3.0 <= clock.slept[0] <= 3.3


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (says(500), UpstreamError),
        (says(502), UpstreamError),
        (says(504), UpstreamTimeout),
        (says(400), UpstreamBadRequest),
        (says(401), UpstreamAuth),
        (UpstreamTimeout("slow"), UpstreamTimeout),
        (UpstreamError("broke off"), UpstreamError),
    ],
)
async def test_anything_else_is_told_at_once(reply: Reply, kind: type[UpstreamFailure]) -> None:
    """What may have been billed, and what would fail again, is sent once."""
    client, script, clock = scripted(reply)
    with pytest.raises(kind):
        await perform(client)

    assert (len(script.asked), clock.slept) == (1, [])


async def test_three_attempts_are_all() -> None:
    """Then the last error stands."""
    client, script, _ = scripted(BUSY)
    with pytest.raises(UpstreamUnavailable):
        await perform(client)

    assert len(script.asked) == 3


async def test_an_impatient_journal_is_not_retried() -> None:
    """When somebody else can serve, nobody waits."""
    client, script, clock = scripted(SLOW_DOWN)
    with pytest.raises(UpstreamRateLimited):
        await perform(client, Journal(patient=False))

    assert (len(script.asked), clock.slept) == (1, [])


async def test_a_retry_that_cannot_end_in_time_is_not_made() -> None:
    """The caller gets the error while it still waits."""
    client, script, clock = scripted(says(429, {"retry-after": "15"}), IMAGE)
    with pytest.raises(UpstreamRateLimited) as caught:
        await client.perform((deployment(),), calls()[0], 1010, Journal())

    assert (len(script.asked), clock.slept, caught.value.retry_after) == (1, [], 15)


async def test_after_the_deadline_nothing_is_sent() -> None:
    """And nothing can have been billed."""
    client, script, _ = scripted(IMAGE)
    with pytest.raises(UpstreamTimeout) as caught:
        await client.perform((deployment(),), calls()[0], 1000, Journal())

    assert (script.asked, caught.value.billed) == ([], False)


async def test_an_upstream_gets_what_is_left_and_the_overtime() -> None:
    """A call that was sent may end after its caller has gone."""
    client, script, _ = scripted(IMAGE, overtime=600)
    await perform(client)

    assert script.allowed == [660]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/tasks/1", True),
        ("https://up.example/other", True),
        ("https://UP.example/other", True),
        ("http://up.example/base/make", False),
        ("https://up.example:8443/make", False),
        ("https://up.example.evil.example/make", False),
        ("https://evil.example/https://up.example", False),
        ("https://up.example@evil.example/", False),
        ("https://cdn.up.example/", False),
    ],
)
def test_the_credential_goes_to_its_own_origin_alone(url: str, shown: bool) -> None:
    """Another scheme, host or port never sees it, whoever wrote the address."""
    sent = wire(deployment(), HTTPRequest(method="GET", url=url))

    assert (sent.headers.get("authorization") == f"Bearer {KEY}") is shown
    assert shown or KEY not in str(dict(sent.headers))


async def test_a_poll_elsewhere_gets_no_credential() -> None:
    """A task's address that the upstream wrote is followed without the key."""
    client, script, _ = scripted(TASK, IMAGE)
    await perform(client, provider=Plain("https://queue.example/"))

    assert "authorization" in script.asked[0].headers
    assert "authorization" not in script.asked[1].headers


def test_no_key_is_in_a_repr() -> None:
    """Neither a deployment nor a request on the wire shows it."""
    shown = wire(deployment(), HTTPRequest(method="GET", url="/x"))

    assert KEY not in repr(deployment()) + repr(shown)


def test_without_a_key_no_header_is_sent() -> None:
    """An engine that wants none gets none."""
    keyless = Deployment(provider=Plain(), base_url=BASE)

    assert "authorization" not in wire(keyless, HTTPRequest(method="GET", url="/x")).headers


def stream_of(text: str, status: int = 200, kind: str = "text/event-stream") -> HTTPResponse:
    """An answer that is a stream."""
    return HTTPResponse(status=status, headers={"content-type": kind}, body=text.encode())


async def streamed(client: Client) -> list[Partial | Completed]:
    """All states of a streamed call."""
    return [state async for state in client.stream((deployment(),), calls()[0], 1060, Journal())]


async def test_a_stream_is_its_states() -> None:
    """Partial images, then the whole; events without meaning are passed over."""
    partial, done = 'event: partial\ndata: {"image": "a"}', 'event: done\ndata: {"image": "b"}'
    text = f"event: ping\ndata: {{}}\n\n{partial}\n\n: keep\n\n{done}\n\n"
    client, script, _ = scripted(stream_of(text))
    states = await streamed(client)

    assert [type(state) for state in states] == [Partial, Completed]
    assert script.closed == 1


async def test_a_stream_that_breaks_off_may_have_been_billed() -> None:
    """Without the whole image there is an error, not an empty success."""
    client, script, _ = scripted(stream_of('event: partial\ndata: {"image": "a"}\n\n'))
    with pytest.raises(UpstreamError) as caught:
        await streamed(client)

    assert caught.value.billed
    assert script.closed == 1


async def test_a_failure_in_a_stream_is_raised() -> None:
    """As it would be from an ordinary answer."""
    client, _, _ = scripted(stream_of('event: error\ndata: {"busy": true}\n\n'))
    with pytest.raises(UpstreamUnavailable):
        await streamed(client)


@pytest.mark.parametrize(("reply", "kind"), [(says(400), UpstreamBadRequest), (says(500), UpstreamError)])
async def test_an_error_instead_of_a_stream(reply: HTTPResponse, kind: type[UpstreamFailure]) -> None:
    """The status decides, whatever was asked for."""
    client, _, _ = scripted(reply)
    with pytest.raises(kind):
        await streamed(client)


async def test_an_answer_instead_of_a_stream_is_an_answer() -> None:
    """Providers that do not stream for once still made the image; a task is polled."""
    for replies in ((IMAGE,), (TASK, IMAGE)):
        client, _, _ = scripted(*replies)
        assert isinstance((await streamed(client))[-1], Completed)


async def test_a_stream_is_opened_again_when_it_cannot_have_been_billed() -> None:
    """Refusals before the first event are retried like any other."""
    client, script, _ = scripted(SLOW_DOWN, stream_of('event: done\ndata: {"image": "b"}\n\n'))
    states = await streamed(client)

    assert [type(state) for state in states] == [Completed]
    assert len(script.asked) == 2


async def test_a_stream_that_has_begun_is_never_opened_again() -> None:
    """After the first picture the provider works, and is paid."""
    text = 'event: partial\ndata: {"image": "a"}\n\nevent: error\ndata: {"busy": true}\n\n'
    client, script, _ = scripted(stream_of(text))
    with pytest.raises(UpstreamUnavailable):
        await streamed(client)

    assert len(script.asked) == 1


class Unending(Script):
    """An upstream that says nothing more after the whole image, and does not go."""

    @asynccontextmanager
    async def open(self, request: WireRequest, seconds: float) -> AsyncIterator[Chunks]:
        async with super().open(request, seconds) as answer:
            yield Waiting(answer.response)


class Waiting(Chunks):
    """Its answer has no end."""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield bytes(self.response.body)
        await asyncio.Event().wait()


async def test_a_stream_is_over_with_its_image() -> None:
    """An upstream that keeps the connection open keeps no caller waiting."""
    clock = StillClock(at=1000)
    script = Unending(clock, [stream_of('event: done\ndata: {"image": "b"}\n\n')])
    async with asyncio.timeout(5):
        states = await streamed(Client(script, clock, RetryRule(clock)))

    assert [type(state) for state in states] == [Completed]
    assert script.closed == 1
