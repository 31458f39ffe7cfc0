"""Never pay twice, never lose what was paid for: repeats join, replay or run anew, by what could have been billed."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from app.answer import Answer
from app.delivery import Sketch
from app.errors import KeyReused
from app.runs import Run, Runs, fingerprint
from providers.core.errors import PinholeError, Refused, UpstreamError
from providers.core.types import ImageRequest, Operation
from providers.kit.clock import SystemClock
from tests.gateway import Gateway, running

CONFIG = """
keys:
  - {name: one, key: sk-one}
  - {name: two, key: sk-two}
"""
BODY = {"model": "sandbox/canvas", "prompt": "a boat", "size": "256x256", "response_format": "b64_json"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two callers."""
    environ = {"PINHOLE_SANDBOX": "true"}
    with running(tmp_path_factory.mktemp("runs"), environ, CONFIG) as found:
        yield found


def post(gateway: Gateway, body: dict[str, Any], key: str = "sk-one", **headers: str) -> httpx2.Response:
    """One generation."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{gateway.v1}/images/generations"
    return httpx2.post(url, json=body, headers={"authorization": f"Bearer {key}", **named}, timeout=60)


def images(gateway: Gateway) -> int:
    """How many requests were accepted so far."""
    return len(gateway.ledger.entries)


def hang_up(gateway: Gateway, body: dict[str, Any], label: str) -> None:
    """Ask for an image and leave before it can be there."""
    address = gateway.url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=10)
    headers = {"authorization": "Bearer sk-one", "content-type": "application/json", "x-request-id": label}
    connection.request("POST", "/v1/images/generations", json.dumps(body), headers)
    time.sleep(0.15)
    connection.close()


def test_a_key_replays_its_answer_byte_for_byte(gateway: Gateway) -> None:
    """The same Idempotency-Key and request give the stored answer, and no second call is made."""
    first = post(gateway, BODY, idempotency_key="k-1")
    before = images(gateway)
    second = post(gateway, BODY, idempotency_key="k-1")

    assert second.headers["pinhole-replayed"] == "true"
    assert second.content == first.content
    assert images(gateway) == before


def test_a_key_with_another_request_is_refused(gateway: Gateway) -> None:
    """A reused key is 422 idempotency_key_reused; of another caller it is simply another key."""
    post(gateway, BODY, idempotency_key="k-2")
    other = post(gateway, {**BODY, "prompt": "a train"}, idempotency_key="k-2")
    stranger = post(gateway, {**BODY, "prompt": "a train"}, key="sk-two", idempotency_key="k-2")

    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert stranger.status_code == 200
    assert "pinhole-replayed" not in stranger.headers


def test_two_equal_requests_are_two_calls(gateway: Gateway) -> None:
    """Without a key, requests that both succeed are both made."""
    before = images(gateway)
    answers = [post(gateway, {**BODY, "prompt": "twice"}) for _ in range(2)]

    assert images(gateway) == before + 2
    assert all("pinhole-replayed" not in answer.headers for answer in answers)


def test_a_picture_survives_its_caller(gateway: Gateway) -> None:
    """A caller that hangs up finds its picture under its own request id; another caller does not."""
    body = {**BODY, "prompt": "survivor", "size": "2048x2048"}
    hang_up(gateway, body, "lost-1")
    found = httpx2.Response(202)
    for _ in range(100):
        headers = {"authorization": "Bearer sk-one"}
        found = httpx2.get(f"{gateway.v1}/images/results/lost-1", headers=headers)
        if found.status_code != 202:
            break
        time.sleep(0.1)
    stranger = httpx2.get(f"{gateway.v1}/images/results/lost-1", headers={"authorization": "Bearer sk-two"})

    assert found.status_code == 200
    assert found.json()["data"][0]["b64_json"]
    assert stranger.status_code == 404


def test_the_same_request_after_a_hang_up_gets_the_first_picture(gateway: Gateway) -> None:
    """Nobody pays again for what was made and not delivered, whatever headers the repeat carries."""
    body = {**BODY, "prompt": "again", "size": "2048x2048"}
    before = images(gateway)
    hang_up(gateway, body, "lost-2")
    time.sleep(0.1)
    answer = post(gateway, body)

    assert answer.status_code == 200
    assert images(gateway) == before + 1


def test_a_deadline_is_a_504_and_the_picture_still_comes(gateway: Gateway) -> None:
    """At the deadline the caller gets 504 with x-should-retry false; the run goes on and is there for a repeat."""
    body = {**BODY, "prompt": "late", "size": "3072x3072"}
    before = images(gateway)
    late = post(gateway, body, pinhole_deadline="0.05")
    answer = post(gateway, body)

    assert (late.status_code, late.json()["error"]["code"]) == (504, "upstream_timeout")
    assert late.headers["x-should-retry"] == "false"
    assert answer.status_code == 200
    assert images(gateway) == before + 1


def test_what_cannot_have_been_billed_is_run_anew(gateway: Gateway) -> None:
    """A refused or rate-limited attempt is no obstacle to the next, even under one key."""
    body = {**BODY, "model": "sandbox/rate-limited"}
    before = images(gateway)
    first = post(gateway, body, idempotency_key="k-3")
    second = post(gateway, body, idempotency_key="k-3")

    assert (first.status_code, second.status_code) == (429, 429)
    assert "pinhole-replayed" not in second.headers
    assert images(gateway) == before + 2


def wish(prompt: str = "p") -> ImageRequest:
    """A request."""
    return ImageRequest(operation=Operation.GENERATE, prompt=prompt)


def run(name: str, key: str | None = None) -> Run:
    """A run of caller `c` for the plain wish."""
    return Run(id=name, caller="c", label=name, fingerprint=fingerprint(wish()), key=key, started=0.0)


async def failing(error: PinholeError) -> AsyncIterator[Sketch | Answer]:
    """A run that comes to nothing."""
    raise error
    yield Sketch(image=None, index=0)


async def never() -> AsyncIterator[Sketch | Answer]:
    """A run that does not end by itself."""
    await asyncio.Event().wait()
    yield Sketch(image=None, index=0)


async def test_a_billed_failure_is_replayed_and_a_free_one_is_not() -> None:
    """An outcome that may have cost money is what every repeat within ten minutes gets."""
    runs = Runs(SystemClock())
    for name, error, replayed in (
        ("billed", UpstreamError("broke off"), True),
        ("refused", Refused("no"), False),
    ):
        first = runs.start(run(name), lambda error=error: failing(error))  # type: ignore[misc]
        assert first.task
        await first.task
        found = runs.match("c", fingerprint(wish()), key=None, retry=False)
        assert (found is first) is replayed
        runs = Runs(SystemClock())


async def test_an_answer_on_its_way_is_nobody_elses() -> None:
    """An equal request that comes while the first one's answer is still being sent is a request of its own."""
    runs = Runs(SystemClock())
    first = runs.start(run("first"), lambda: failing(UpstreamError("broke off")))
    first.waiting = 1
    assert first.task
    await first.task
    during = runs.match("c", fingerprint(wish()), key=None, retry=False)
    first.waiting = 0

    assert during is None
    assert runs.match("c", fingerprint(wish()), key=None, retry=False) is first


async def test_a_retry_joins_what_still_runs_and_each_first_is_claimed_once() -> None:
    """An SDK retry joins the running first attempt; two retries of two firsts get one each."""
    runs = Runs(SystemClock())
    firsts = [runs.start(run(name), never) for name in ("a", "b")]
    for first in firsts:
        first.waiting = 1
    claimed = []
    for _ in range(2):
        found = runs.match("c", fingerprint(wish()), key=None, retry=True)
        assert found
        found.retries += 1
        claimed.append(found)
    for first in firsts:
        assert first.task
        first.task.cancel()

    assert claimed == firsts
    assert runs.match("c", fingerprint(wish()), key=None, retry=False) is None


async def test_keys_are_bound_to_their_request() -> None:
    """A key that came with another fingerprint raises, running or not."""
    runs = Runs(SystemClock())
    first = runs.start(run("a", key="k"), never)
    with pytest.raises(KeyReused):
        runs.match("c", fingerprint(wish("other")), key="k", retry=False)
    assert runs.match("c", fingerprint(wish()), key="k", retry=False) is first
    assert first.task
    first.task.cancel()


def test_a_fingerprint_ignores_what_is_absent_and_nothing_else() -> None:
    """Null equals absent; every parameter that changes a picture changes the print."""
    plain = fingerprint(wish())

    assert plain == fingerprint(ImageRequest(operation=Operation.GENERATE, prompt="p", quality=None))
    assert plain != fingerprint(ImageRequest(operation=Operation.GENERATE, prompt="p", quality="high"))
    assert plain != fingerprint(ImageRequest(operation=Operation.GENERATE, prompt="p", options={"seed": 1}))
