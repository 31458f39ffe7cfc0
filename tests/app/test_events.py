"""Streams: frames as OpenAI's, keep-alives while nothing comes, and errors that end them."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from app.delivery import Delivery, Sketch
from app.events import KEEP_ALIVE, Frames, Last, alive
from app.http.receipts import EXTENSION
from app.routes.sending import Events
from app.store import DiskStore, Links
from providers.core.errors import Refused, UpstreamError
from providers.core.http import Buffer
from providers.core.provider import Image, Link, Partial
from providers.core.types import ImageFormat, Operation, ResponseFormat
from providers.kit.clock import SystemClock
from providers.kit.fetch import Fetcher
from providers.kit.transport import HTTPTransport
from tests.app.wire import GENERATE, post
from tests.gateway import Gateway, running
from tests.upstreams.images import png

FRAMES = Frames(operation=Operation.EDIT, created=1, model="m", request_id="r")


def read(text: str) -> list[tuple[str, Any]]:
    """Names and documents of a stream's events."""
    blocks = [block.splitlines() for block in text.strip().split("\n\n") if not block.startswith(":")]
    return [(lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))) for lines in blocks]


def ask(gateway: Gateway, **fields: Any) -> httpx2.Response:
    """A streamed generation, read to its end."""
    body = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64", "stream": True, **fields}
    return httpx2.post(f"{gateway.v1}/images/generations", json=body, timeout=30)


def test_a_stream_is_partial_images_and_then_the_whole(sandbox: Gateway) -> None:
    """Each event has its name, its type and a picture; the last carries what is known only at the end."""
    answer = ask(sandbox, partial_images=2)
    events = read(answer.text)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert [name for name, _ in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert all(document["type"] == name for name, document in events)
    assert [document["partial_image_index"] for _, document in events[:2]] == [0, 1]
    for _, document in events:
        assert set(document) >= {"b64_json", "created_at", "size", "quality", "background", "output_format"}
    last = events[-1][1]
    assert (last["size"], last["pinhole"]["provider"], last["pinhole"]["attempts"]) == ("64x64", "sandbox", 1)


def test_a_streams_headers_say_what_is_known_by_then(tmp_path: Path) -> None:
    """Who serves it and where limits stand, before a partial image; cost and changes too where the image is done."""
    config = "limits: {images_per_minute: 5}\n"
    with running(tmp_path, config=config) as gateway:
        sketched = ask(gateway, partial_images=2).headers
        whole = ask(gateway, model="gemini-3-pro-image", size="1792x1024").headers
        key = {"idempotency-key": "stream"}
        body = {"model": "gemini-3-pro-image", "prompt": "k", "stream": True}
        again = [
            httpx2.post(f"{gateway.v1}/images/generations", json=body, headers=key, timeout=30) for _ in range(2)
        ][1]
        replayed = again.headers

    for found, model in (
        (sketched, "sandbox/canvas"),
        (whole, "gemini-3-pro-image"),
        (replayed, "gemini-3-pro-image"),
    ):
        assert (found["pinhole-provider"], found["pinhole-model"]) == ("sandbox", model)
    assert [found["x-ratelimit-remaining-images"] for found in (sketched, whole)] == ["4", "3"]
    assert "pinhole-cost-usd" not in sketched
    assert float(whole["pinhole-cost-usd"]) > 0
    assert whole["pinhole-adjustments"] == 'size;kind=mapped;from="1792x1024";to="16:9"'
    assert (replayed["pinhole-replayed"], replayed["pinhole-cost-usd"]) == ("true", "0.000000")
    assert read(again.text)[-1][1]["pinhole"]["cost_usd"] == 0


def test_every_image_has_its_own_completed_event(sandbox: Gateway) -> None:
    """Of several images each is completed once, and only the last speaks of the whole."""
    events = read(ask(sandbox, n=3).text)

    assert [name for name, _ in events] == ["image_generation.completed"] * 3
    assert ["pinhole" in document for _, document in events] == [False, False, True]


def test_links_are_streamed_when_asked_for(sandbox: Gateway) -> None:
    """response_format=url holds in events as well."""
    ((_, document),) = read(ask(sandbox, response_format="url").text)

    assert "b64_json" not in document
    assert httpx2.get(document["url"].replace(document["url"].split("/files/")[0], sandbox.url)).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"n": 0}, 400, "integer_below_min_value"),
        ({"model": "absent"}, 404, "model_not_found"),
        ({"model": "sandbox/refuse"}, 400, "moderation_blocked"),
        ({"model": "sandbox/error"}, 502, "upstream_error"),
        ({"model": "sandbox/rate-limited"}, 429, "rate_limit_exceeded"),
    ],
)
def test_an_early_refusal_keeps_its_status(sandbox: Gateway, fields: dict[str, Any], status: int, code: str) -> None:
    """What is known before the first event is an ordinary error answer, at once."""
    answer = ask(sandbox, **fields)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_error_event_nests_its_error(sandbox: Gateway) -> None:
    """SDKs raise on the nested object, so the frame is exactly theirs."""
    text = b"".join(map(bytes, FRAMES.failed(Refused("No.", provider="p", stage="output")))).decode()
    ((name, document),) = read(text)

    assert (name, document["type"]) == ("error", "error")
    assert (document["error"]["code"], document["error"]["type"]) == (
        "moderation_blocked",
        "image_generation_user_error",
    )


def test_the_official_sdk_reads_the_stream(sandbox: Gateway) -> None:
    """Its typed events arrive in order."""
    with openai.OpenAI(base_url=sandbox.v1, api_key="any") as client:
        stream = client.images.generate(
            model="sandbox/canvas", prompt="a", size="256x256", stream=True, partial_images=1
        )
        kinds = [event.type for event in stream]

    assert kinds == ["image_generation.partial_image", "image_generation.completed"]


def test_a_partial_image_without_a_picture_is_no_event() -> None:
    """There is nothing to show yet, so the stream is only kept alive."""
    assert FRAMES.partial(Sketch(image=None, index=0)) == [KEEP_ALIVE]


async def test_a_partial_image_tells_its_own_size(tmp_path: Path) -> None:
    """The size is read from the picture's head; a provider's own link and what is no image are not shown."""
    clock = SystemClock()
    links = Links("http://x", [b"s"], clock, 60)
    delivery = Delivery(DiskStore(tmp_path, clock, 60), links, Fetcher(HTTPTransport(), clock))

    async def sketched(content: bytes | Link, form: ResponseFormat = ResponseFormat.B64_JSON) -> Sketch:
        return await delivery.sketch(Partial(image=Image(content=content), index=1), form)

    buffers = FRAMES.partial(await sketched(png(32, 16)))
    ((name, document),) = read(b"".join(map(bytes, buffers)).decode())
    assert (name, document["size"], document["output_format"]) == ("image_edit.partial_image", "32x16", "png")
    assert document["partial_image_index"] == 1
    for form in ResponseFormat:
        assert (await sketched(Link("https://x/a.png"), form)).image is None
        assert (await sketched(b"<html>", form)).image is None


@pytest.mark.parametrize("agent", ["any/1", "speakeasy-sdk/python 0.9.0 r9s"])
def test_partial_images_are_links_where_links_are_wanted(sandbox: Gateway, agent: str) -> None:
    """response_format=url, or the r9s SDK's user agent: each partial image is kept and its link is in the event."""
    wish = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64", "stream": True, "partial_images": 2}
    wish |= {"response_format": "url"} if agent == "any/1" else {}
    text = httpx2.post(f"{sandbox.v1}/images/generations", json=wish, headers={"user-agent": agent}, timeout=30).text
    events = [document for _, document in read(text)]

    assert len({document["url"] for document in events}) == 3
    for document in events:
        assert "b64_json" not in document
        kept = httpx2.get(document["url"])
        assert (kept.status_code, kept.headers["content-type"]) == (200, "image/png")
    assert ("data" in events[0]) == (agent != "any/1")


class Fussy(DiskStore):
    """A disk without room for the first `refused` images."""

    def __init__(self, folder: Path, refused: int) -> None:
        super().__init__(folder, SystemClock(), 60)
        self.refused = refused

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        self.refused -= 1
        if self.refused >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return await super().put(data, image_format)


def test_a_full_disk_leaves_partial_images_out(tmp_path: Path) -> None:
    """One that cannot be kept for its link is not shown and is counted; the stream goes on to its end."""
    with running(tmp_path, store=Fussy(tmp_path / "images", 1)) as gateway:
        answer = ask(gateway, response_format="url", partial_images=3)
    names, documents = zip(*read(answer.text), strict=True)

    assert names == ("image_generation.partial_image",) * 2 + ("image_generation.completed",)
    assert [document["partial_image_index"] for document in documents[:2]] == [1, 2]
    assert "partial_images;kind=delivered;from=3;to=2" in documents[-1]["pinhole"]["adjustments"]
    assert answer.text.startswith(": keep-alive")


def test_partial_images_that_no_call_makes_are_counted(sandbox: Gateway) -> None:
    """Several images in one stream are made without partial ones; the end says that none came."""
    *_, (_, last) = read(ask(sandbox, n=2, model="sandbox/partial", partial_images=1).text)

    assert "partial_images;kind=delivered;from=1;to=0" in last["pinhole"]["adjustments"]


async def source(*steps: float | bytes | Exception) -> AsyncIterator[list[Buffer]]:
    """Waits, buffers and errors in order."""
    for step in steps:
        if isinstance(step, bytes):
            yield [step]
        elif isinstance(step, Exception):
            raise step
        else:
            await asyncio.sleep(step)


async def gathered(stream: AsyncIterator[list[Buffer]], into: list[list[Buffer]]) -> None:
    """What comes, kept even when an error follows."""
    async for buffers in stream:
        into.append(buffers)  # noqa: PERF401 - kept one by one: an error may follow


class GatedClock(SystemClock):
    """Its sleepers wait for the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.gate.wait()


async def test_silence_is_filled_with_comments() -> None:
    """While nothing comes, a comment goes out now and then; what comes is passed on in order."""
    quiet = asyncio.Event()

    async def slow() -> AsyncIterator[list[Buffer]]:
        yield [b"1"]
        await quiet.wait()
        yield [b"2"]
        yield [b"3"]

    got = []
    async for buffers in alive(slow(), SystemClock(), seconds=0.02):
        got.append(buffers)
        if got.count([KEEP_ALIVE]) == 2:
            quiet.set()

    assert got[:3] == [[b"1"], [KEEP_ALIVE], [KEEP_ALIVE]]
    assert [buffers for buffers in got if buffers != [KEEP_ALIVE]] == [[b"1"], [b"2"], [b"3"]]


async def test_silence_is_measured_by_the_clock() -> None:
    """A comment goes out after the clock's ten seconds, however long they take on this machine."""
    clock = GatedClock()
    stream = alive(source(60.0), clock)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    early = waiting.done()
    clock.gate.set()

    assert not early
    assert await asyncio.wait_for(waiting, 5) == [KEEP_ALIVE]
    assert clock.slept == [10.0]
    await stream.aclose()


@pytest.mark.parametrize("before", [(), (b"1",), (b"1", 0.03)])
async def test_an_error_ends_the_stream(before: tuple[float | bytes, ...]) -> None:
    """A failed source never leaves its reader waiting with keep-alives."""
    got: list[list[Buffer]] = []
    stream = alive(source(*before, UpstreamError("broke off")), SystemClock(), seconds=60)
    with pytest.raises(UpstreamError):
        await asyncio.wait_for(gathered(stream, got), 2)

    assert got == [[step] for step in before if isinstance(step, bytes)]


async def test_a_reader_that_leaves_ends_the_source() -> None:
    """Nothing goes on behind a stream that nobody reads."""
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[list[Buffer]]:
        try:
            while True:
                yield [b"x"]
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    stream = alive(endless(), SystemClock(), seconds=60)
    assert await anext(stream) == [b"x"]
    await stream.aclose()
    await asyncio.wait_for(ended.wait(), 1)


class Heard:
    """A connection and a recipient: what they and the caller heard, in order, and where the loop came round."""

    def __init__(self) -> None:
        self.order: list[object] = []

    def expect(self, recipient: object, *, retries: bool) -> None:
        """As receipts have it."""
        assert (recipient, retries) == (self, False)
        self.order.append("expected")

    async def send(self, message: Any) -> None:
        """As a server has it."""
        if message["type"] == "http.response.body":
            self.order.append(message["body"] or "end")
            asyncio.get_running_loop().call_soon(self.order.append, "turn")

    async def receive(self) -> Any:
        """Nothing comes."""
        await asyncio.Event().wait()

    def sent(self) -> None:
        """As a recipient has it."""

    def leave(self, *, delivered: bool) -> None:
        """As a recipient has it."""
        self.order.append(delivered)


@pytest.mark.parametrize("first", [True, False])
async def test_a_stream_ends_with_its_last_event(*, first: bool) -> None:
    """Nothing is between them: who has the images has the end, and who is told of the answer hears of it before."""
    heard = Heard()

    async def events() -> AsyncIterator[list[Buffer]]:
        if not first:
            yield [b"partial"]
            await asyncio.sleep(0.02)
        yield Last([b"head", b"image", b"rest"])

    scope = {"type": "http", "headers": [], "extensions": {EXTENSION: heard}}
    await Events(alive(events(), SystemClock()), lambda _: [b"failed"], {}, heard)(scope, heard.receive, heard.send)
    shown = heard.order[heard.order.index(b"image") :]

    assert [each for each in shown if each != "turn"] == [b"image", "expected", b"rest", "end"]
    assert shown.index("end") == shown.index(b"rest") + 1


async def test_a_stream_that_fails_in_the_end_is_nobodys() -> None:
    """An error event is no answer: nobody hears that one goes out."""
    heard = Heard()
    stream = alive(source(b"partial", UpstreamError("broke off")), SystemClock())
    scope = {"type": "http", "headers": [], "extensions": {EXTENSION: heard}}
    await Events(stream, lambda _: [b"failed"], {}, heard)(scope, heard.receive, heard.send)

    assert [each for each in heard.order if each != "turn"] == [b"partial", b"failed", "end", False]


def test_a_dry_run_is_never_streamed(sandbox: Gateway) -> None:
    """Explain answers at once, whatever stream says."""
    wish = {"model": "gpt-image-2", "prompt": "a", "stream": True, "partial_images": 2}
    answer = post(sandbox, wish, f"{GENERATE}/explain")

    assert answer.status == 200
    assert answer.json()["calls"][0]["body"]["stream"] is True
