"""What a request costs, counted instead of timed: calls of functions, bytes of memory. No clock is read."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from app import answer, kept, schemas
from app.auth import Caller
from app.config import Config
from app.delivery import Delivery
from app.ledger import Entry
from app.ledger.rows import settled
from app.ledger.settlements import Settlements
from app.registry import Registry, Route
from app.settings import load
from app.store import DiskStore, Links
from benchmarks.material import MIB, png
from providers import discover
from providers.core.http import Buffer, HTTPResponse
from providers.core.plan import Plan
from providers.core.provider import Completed
from providers.core.types import ImageFormat, InputImage, Operation, Policy, ResponseFormat
from providers.kit.bodies import encode
from providers.kit.fetch import Fetcher
from providers.kit.lift import lift
from providers.kit.transport import HTTPTransport
from tests.clock import StillClock

# Calls of Python and C functions on CPython 3.11. When a change makes one smaller, write the smaller number here.
ASKED_CALLS = {"gpt-image-1.5": 125, "gemini-2.5-flash-image": 131}
ANSWERED_CALLS = {"gpt-image-1.5": 241, "gemini-2.5-flash-image": 296}
KEPT_CALLS = 22
ROOM = 1.3
MOST_BYTES = MIB
BODY = {"prompt": "A lighthouse at dusk", "n": 1, "size": "1024x1024", "response_format": "b64_json"}


@pytest.fixture(scope="module")
def registry() -> Registry:
    """Two providers with credentials."""
    return Registry(discover(), load({"OPENAI_API_KEY": "made-up", "GEMINI_API_KEY": "made-up"}), Config())


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    """The real one; base64 that is asked for and given touches none of its seams."""
    clock = StillClock()
    store = DiskStore(tmp_path, clock, 60)
    return Delivery(store, Links("http://127.0.0.1", (b"made-up",), clock, 60), Fetcher(HTTPTransport(), clock))


def planned(registry: Registry, model: str, images: tuple[InputImage, ...] = ()) -> tuple[Route, Plan]:
    """From the received body to the plan."""
    fields = schemas.from_json(lift(json.dumps({"model": model, **BODY}).encode()))
    operation = Operation.EDIT if images else Operation.GENERATE
    wish = schemas.image_request(fields, operation, policy=Policy.STRICT, images=images)
    route = registry.resolve(wish, Caller(id="test", name="test"))
    return route, registry.plan(wish, route)


def asked(route: Route, made: Plan) -> list[Buffer]:
    """The buffers of the upstream request."""
    body = route.adapter.request(made.calls[0]).body
    assert body is not None
    return encode(body)[1]


async def answered(route: Route, made: Plan, delivery: Delivery, response: HTTPResponse) -> list[Buffer]:
    """From the upstream's whole answer to the buffers of ours."""
    outcome = route.adapter.outcome(made.calls[0], response)
    assert isinstance(outcome, Completed), outcome
    given = await delivery.deliver(outcome.images[0], made, ResponseFormat.B64_JSON, route.deployments[0], 1e12)
    value = answer.Answer(
        created=1,
        route=route,
        plan=made,
        images=(given,),
        failures=(),
        usage=outcome.usage,
        resolved=outcome.resolved,
        adjustments=made.adjustments,
        cost=made.cost,
        attempts=1,
        upstream_request_ids=("req-1",),
        standings=(),
    )
    told = kept.Kept.of(value)
    assert told.headers
    return kept.body(told)


def reply(model: str, picture: bytes) -> HTTPResponse:
    """The upstream's answer with this picture."""
    text = base64.b64encode(picture).decode()
    part = {"inlineData": {"mimeType": "image/png", "data": text}}
    document: dict[str, Any] = {"created": 1, "data": [{"b64_json": text}], "output_format": "png"}
    if model.startswith("gemini"):
        document = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    return HTTPResponse(status=200, body=json.dumps(document).encode())


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many functions are called inside, Python's and C's."""
    found = [0]

    def count(frame: FrameType, event: str, arg: object) -> None:
        found[0] += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield found
    finally:
        sys.setprofile(before)


@contextmanager
def allocated() -> Iterator[list[int]]:
    """The most bytes that Python had allocated inside, beyond what it had before."""
    found = [0]
    tracemalloc.start()
    try:
        yield found
        found[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def at_most(found: int, committed: int, what: str) -> None:
    """The number has not grown by more than a third; growth is either undone or its new number is argued for."""
    assert found <= committed * ROOM, f"{what} makes {found} calls; {committed} are known: what was added?"


@pytest.mark.parametrize("model", ASKED_CALLS)
def test_a_request_is_planned_in_few_calls(registry: Registry, model: str) -> None:
    """From the received body to the upstream's, a standard request takes no more function calls than is known."""
    asked(*planned(registry, model))  # what is cached is cached
    with counted() as calls:
        asked(*planned(registry, model))
    at_most(calls[0], ASKED_CALLS[model], f"a plan for {model}")


@pytest.mark.parametrize("model", ANSWERED_CALLS)
def test_an_answer_is_rendered_in_few_calls(registry: Registry, delivery: Delivery, model: str) -> None:
    """From the upstream's answer to ours, an image of 1 MiB takes no more function calls than is known."""
    route, made = planned(registry, model)
    response = reply(model, png(MIB))
    asyncio.run(answered(route, made, delivery, response))
    work = answered(route, made, delivery, response)
    with counted() as calls, pytest.raises(StopIteration):
        work.send(None)  # no loop: nothing in it waits
    at_most(calls[0], ANSWERED_CALLS[model], f"an answer for {model}")


@pytest.mark.parametrize("model", ANSWERED_CALLS)
def test_no_answer_is_copied(registry: Registry, delivery: Delivery, model: str) -> None:
    """8 MiB go from the upstream's answer into ours with less than 1 MiB allocated, byte for byte."""
    picture = png(8 * MIB)
    response = reply(model, picture)
    route, made = planned(registry, model)

    def work() -> list[Buffer]:
        return asyncio.run(answered(route, made, delivery, response))

    body = frugal(work)
    document = json.loads(b"".join(body))
    assert base64.b64decode(document["data"][0]["b64_json"]) == picture


def test_a_settlement_is_kept_in_few_calls(tmp_path: Path) -> None:
    """What is settled and sent goes to its file in one system call, with no more calls than are known."""
    entry = Entry(
        request_id="one",
        caller="a",
        caller_name="a",
        end_user=None,
        model_asked="m",
        model="m",
        provider="p",
        operation="generate",
        images_asked=1,
        created=1.0,
    )
    found, change = Settlements(tmp_path, "instance", StillClock()), settled(entry)
    found.tidy()
    with counted() as calls:
        found.add(change)
        found.sent("one")
        found.taken("one")
    found.written(1)
    found.close()
    at_most(calls[0], KEPT_CALLS, "a settlement that is kept")


def test_no_upload_is_copied(registry: Registry) -> None:
    """An input image of 8 MiB goes into the upstream's form with less than 1 MiB allocated, byte for byte."""
    picture = png(8 * MIB)
    side = int.from_bytes(picture[16:20])
    image = InputImage(data=memoryview(picture), format=ImageFormat.PNG, width=side, height=side)
    body = frugal(lambda: asked(*planned(registry, "gpt-image-1.5", (image,))))
    assert any(bytes(piece) == picture for piece in body)


def frugal(work: Callable[[], list[Buffer]]) -> list[Buffer]:
    """What it returns, after a first run that fills the caches; it allocates less than 1 MiB at any moment."""
    work()
    with allocated() as most:
        body = work()
    assert most[0] < MOST_BYTES, f"{most[0] / MIB:.1f} MiB were allocated: somewhere the image is copied"
    return body
