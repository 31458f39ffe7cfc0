"""Never pay twice, never lose what was paid for: repeats join, replay or run anew, by what could have been billed."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from blake3 import blake3

from app.runs import fingerprint
from app.store import DiskStore
from providers.core.http import Buffer
from providers.core.types import ImageFormat, ImageRequest, InputImage, Operation
from providers.kit.clock import SystemClock
from tests.gateway import Gateway, running
from tests.upstreams.openai import OpenAIStandIn

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


def test_a_picture_from_the_results_route_is_delivered(gateway: Gateway) -> None:
    """Whoever left and came back for its picture has it: its next equal request is a call of its own."""
    body = {**BODY, "prompt": "fetched", "size": "2048x2048"}
    before = images(gateway)
    hang_up(gateway, body, "lost-3")
    url, headers = f"{gateway.v1}/images/results/lost-3", {"authorization": "Bearer sk-one"}
    deadline = time.monotonic() + 20
    while httpx2.get(url, headers=headers).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)  # an end without a reset is believed after a moment
    answer = post(gateway, body)

    assert "pinhole-replayed" not in answer.headers
    assert images(gateway) == before + 2


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
    assert (late.headers["x-should-retry"], late.headers["pinhole-attempts"]) == ("false", "1")
    assert answer.status_code == 200
    assert images(gateway) == before + 1


@pytest.mark.parametrize("model", ["gpt-image-2", "sluggish", None])
def test_a_model_has_a_deadline_of_its_own(tmp_path: Path, model: str | None) -> None:
    """`models.<id>.deadline_seconds` ends the wait of its callers, by whatever name they ask for it."""
    config = "models: {gpt-image-2: {deadline_seconds: 0.3}}\naliases: {sluggish: gpt-image-2}\n"
    with OpenAIStandIn() as upstream:
        environ = {"OPENAI_API_KEY": upstream.key, "OPENAI_BASE_URL": f"{upstream.url}/v1"}
        with running(tmp_path, environ, config) as gateway:
            upstream.pause()
            late = post(gateway, {"prompt": "a", "model": model}, pinhole_deadline="9")
            upstream.resume()

    assert (late.status_code, late.json()["error"]["code"]) == (504, "upstream_timeout")
    assert int(late.headers["openai-processing-ms"]) < 5000


class Broken(DiskStore):
    """A store with a mistake in it."""

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        raise ZeroDivisionError(image_format)


def test_a_mistake_of_ours_is_paid_for_once(tmp_path: Path) -> None:
    """The image was made: nobody is asked to try again, and a repeat is told so, too."""
    body = {**BODY, "response_format": "url"}
    with running(tmp_path, store=Broken(tmp_path / "images", SystemClock(), 60)) as gateway:
        answers = [
            httpx2.post(f"{gateway.v1}/images/generations", json=body, headers={"x-stainless-retry-count": count})
            for count in "01"
        ]

    assert [answer.status_code for answer in answers] == [500, 502]
    assert [answer.headers.get("x-should-retry") for answer in answers] == ["false", "false"]
    assert len(gateway.ledger.entries) == 1


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


def test_a_fingerprint_ignores_what_is_absent_and_nothing_else() -> None:
    """Null equals absent; every parameter that changes a picture changes the print."""
    plain = fingerprint(wish())

    assert plain == fingerprint(ImageRequest(operation=Operation.GENERATE, prompt="p", quality=None))
    assert plain != fingerprint(ImageRequest(operation=Operation.GENERATE, prompt="p", quality="high"))
    assert plain != fingerprint(ImageRequest(operation=Operation.GENERATE, prompt="p", options={"seed": 1}))


def test_a_fingerprint_tells_images_apart_by_their_bytes() -> None:
    """The same bytes are the same wish, digested before or not; other bytes, another order or a mask are not."""

    def edit(*data: bytes, mask: bytes = b"", digested: bool = True) -> str:
        made = [
            InputImage(
                data=each,
                format=ImageFormat.PNG,
                width=1,
                height=1,
                name=name,
                digest=blake3(each).hexdigest() if digested else "",
            )
            for each, name in (*((each, f"image[{i}]") for i, each in enumerate(data)), (mask, "mask"))
        ]
        images, painted = tuple(made[:-1]), made[-1] if mask else None
        return fingerprint(ImageRequest(operation=Operation.EDIT, prompt="p", images=images, mask=painted))

    assert edit(b"a", b"b") == edit(b"a", b"b", digested=False)
    assert len({edit(b"a", b"b"), edit(b"b", b"a"), edit(b"a", mask=b"b"), edit(b"ab"), edit(b"a")}) == 5
