"""providers.openai: the bytes of a call, answers, events, errors, and every row over the wire."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from providers.core.errors import (
    InvalidRequest,
    Refused,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from providers.core.http import Event, Form, HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Completed, Failed, Link, Partial
from providers.core.spec import ModelSpec
from providers.core.types import ImageFormat, Operation, Policy, Size
from providers.kit.bodies import encode
from providers.kit.client import Client
from providers.kit.clock import SystemClock
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.lift import Lifted
from providers.kit.retry import RetryRule
from providers.kit.transport import HTTPTransport
from providers.openai import PROVIDER
from providers.openai.errors import ALL, BY_CODE, BY_TYPE
from providers.openai.rows import MODELS
from tests.providers.asking import call, calls, row, sent
from tests.upstreams.images import mask_png, pixels, png
from tests.upstreams.multipart import parse
from tests.upstreams.openai import OpenAIStandIn

SOURCE = sent(png(64, 64, (0, 0, 200), alpha=255))
MASK = sent(mask_png(64, 64, (0, 0, 32, 64)), "mask")
GPT = row(MODELS, "gpt-image-2")
TEXT = call(GPT)
DOT = base64.b64encode(png(2, 2)).decode()
USAGE = {
    "input_tokens": 50,
    "output_tokens": 4160,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens_details": {"image_tokens": 4000, "text_tokens": 160},
}


def body_of(asked: Call) -> bytes:
    request = PROVIDER.request(asked)
    assert request.body is not None
    return b"".join(map(bytes, encode(request.body, "b")[1]))


def answered(body: object, status: int = 200) -> HTTPResponse:
    return HTTPResponse(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def failed(error: object, status: int = 400) -> UpstreamFailure:
    outcome = PROVIDER.outcome(TEXT, answered({"error": error}, status))
    assert isinstance(outcome, Failed)
    return outcome.error


# Requests


def test_a_generation_is_json_of_what_was_asked() -> None:
    """Nothing that was not asked is sent, but for the number of images."""
    assert PROVIDER.request(TEXT).url == "/images/generations"
    assert body_of(TEXT) == b'{"model":"gpt-image-2","prompt":"a red kite","n":1}'
    asked = call(
        GPT,
        size=Size(1536, 864),
        quality="hd",
        background="opaque",
        output_format=ImageFormat.WEBP,
        output_compression=60,
        options={"moderation": "low"},
        user="u-1",
    )
    assert json.loads(body_of(asked)) == {
        "model": "gpt-image-2",
        "prompt": "a red kite",
        "n": 1,
        "size": "1536x864",
        "quality": "high",
        "background": "opaque",
        "output_format": "webp",
        "output_compression": 60,
        "moderation": "low",
        "user": "u-1",
    }


def test_the_dall_e_family_is_asked_for_base64() -> None:
    """They answer links unless told otherwise; GPT models refuse the field."""
    assert json.loads(body_of(call(row(MODELS, "dall-e-3"), options={"style": "natural"}))) == {
        "model": "dall-e-3",
        "prompt": "a red kite",
        "n": 1,
        "style": "natural",
        "response_format": "b64_json",
    }


def test_a_stream_says_how_many_partial_images() -> None:
    """`stream` and `partial_images` travel together, and events are asked for."""
    asked = call(GPT, stream=True, partial_images=2)
    assert json.loads(body_of(asked)) | {"prompt": ""} == {
        "model": "gpt-image-2",
        "prompt": "",
        "n": 1,
        "stream": True,
        "partial_images": 2,
    }
    assert PROVIDER.request(asked).headers == {"accept": "text/event-stream"}


@pytest.mark.parametrize(("images", "name"), [((SOURCE,), "image"), ((SOURCE, SOURCE), "image[]")])
def test_an_edit_is_a_form_with_declared_types(images: tuple[Any, ...], name: str) -> None:
    """Files keep their bytes and say what they are; several have the array's name; the mask is OpenAI's own."""
    request = PROVIDER.request(call(GPT, images=images, mask=MASK))
    assert isinstance(request.body, Form)
    assert request.url == "/images/edits"
    content_type, buffers = encode(request.body)
    parts = parse(content_type, b"".join(map(bytes, buffers)))
    files = [part for part in parts if part.filename is not None]
    assert [(part.name, part.content_type) for part in files] == [
        *[(name, "image/png")] * len(images),
        ("mask", "image/png"),
    ]
    assert [part.data for part in files] == [*(image.data for image in images), MASK.data]
    assert {part.name: part.text for part in parts if part.filename is None} == {
        "model": "gpt-image-2",
        "prompt": "a red kite",
        "n": "1",
    }


def test_fidelity_is_an_edits_parameter() -> None:
    """It reaches an edit; a generation with it is refused here, as the service would."""
    spec = row(MODELS, "gpt-image-1.5")
    assert b'name="input_fidelity"\r\n\r\nhigh' in body_of(
        call(spec, images=(SOURCE,), options={"input_fidelity": "high"})
    )
    with pytest.raises(InvalidRequest, match="in generations"):
        call(spec, options={"input_fidelity": "high"})
    assert b"fidelity" not in body_of(call(spec, options={"input_fidelity": "high"}, policy=Policy.LENIENT))


# Answers


def test_an_answer_is_images_usage_and_what_it_says_of_itself() -> None:
    """Base64 is lifted, tokens are counted by kind, resolved words are kept, and `auto` is no such word."""
    document = {"created": 1, "data": [{"b64_json": DOT}], "usage": USAGE, "size": "1024x1024", "quality": "auto"}
    found = PROVIDER.outcome(TEXT, answered(document))
    assert isinstance(found, Completed)
    assert isinstance(found.images[0].content, Lifted)
    assert found.usage
    assert (found.usage.input_text, found.usage.input_image) == (10, 40)
    assert (found.usage.output_image, found.usage.output_text) == (4000, 160)
    assert found.resolved == {"size": "1024x1024"}
    assert found.failures == ()


@pytest.mark.parametrize("count", [-1, 10**13, 10**400], ids=["negative", "large", "huge"])
def test_a_count_that_no_answer_can_have_is_none(count: int) -> None:
    """An engine that counts tokens as nobody can costs neither the picture nor the ledger."""
    counted: dict[str, object] = {**USAGE}
    counted["output_tokens"] = count
    found = PROVIDER.outcome(TEXT, answered({"data": [{"b64_json": DOT}], "usage": counted}))
    assert isinstance(found, Completed)
    assert found.usage is None


def test_links_and_revised_prompts_are_taken() -> None:
    """Compatible engines answer links whatever was asked; DALL-E 3 tells the prompt it used."""
    document = {"data": [{"url": "https://x/a.png", "revised_prompt": "a kite, red"}]}
    found = PROVIDER.outcome(TEXT, answered(document))
    assert isinstance(found, Completed)
    assert found.images[0].content == Link("https://x/a.png")
    assert found.images[0].revised_prompt == "a kite, red"
    assert found.usage is None


def test_fewer_images_than_asked_are_told() -> None:
    """What is missing is a failure beside the images, and no image at all is a failure."""
    (asked,) = calls(GPT, n=3, n_sent=True)
    found = PROVIDER.outcome(asked, answered({"data": [{"b64_json": DOT}]}))
    assert isinstance(found, Completed)
    assert (len(found.images), len(found.failures)) == (1, 2)
    empty: tuple[object, ...] = ({"data": []}, {"data": [{}]}, {}, [], b"<html>")
    for nothing in empty:
        outcome = PROVIDER.outcome(asked, answered(nothing))
        assert isinstance(outcome, Failed)
        assert type(outcome.error) is UpstreamError
        assert outcome.error.billed


# Events


def event(document: object, name: str = "") -> Partial | Completed | Failed | None:
    return PROVIDER.event(
        TEXT, Event(name, document if isinstance(document, bytes) else json.dumps(document).encode())
    )


@pytest.mark.parametrize("family", ["image_generation", "image_edit"])
def test_events_are_partial_images_and_a_whole_one(family: str) -> None:
    """Both families are read, by `type` or by the event's name."""
    partial = event({"type": f"{family}.partial_image", "b64_json": DOT, "partial_image_index": 1})
    assert isinstance(partial, Partial)
    assert partial.index == 1
    for whole in (
        event({"type": f"{family}.completed", "b64_json": DOT, "usage": USAGE, "quality": "high"}),
        event({"b64_json": DOT, "usage": USAGE, "quality": "high"}, f"{family}.completed"),
    ):
        assert isinstance(whole, Completed)
        assert whole.usage
        assert whole.resolved == {"quality": "high"}
    assert event({"type": f"{family}.queued"}) is None
    assert event(b"[DONE]") is None


@pytest.mark.parametrize(
    "document",
    [b"{", {"type": "image_generation.completed"}, {"type": "error", "message": "no"}, {"error": {"code": "x"}}],
)
def test_a_broken_event_is_a_failure(document: object) -> None:
    """What cannot be read, or completes nothing, ends the stream with an error."""
    assert isinstance(event(document), Failed)


def test_a_refusal_in_a_stream_is_a_refusal() -> None:
    """The nested form, as in an answer."""
    found = event({"type": "error", "error": {"code": "moderation_blocked", "message": "No."}})
    assert isinstance(found, Failed)
    assert type(found.error) is Refused


# Errors


@pytest.mark.parametrize("code", sorted(BY_CODE))
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_every_code_has_its_class_whatever_the_status(code: str, status: int) -> None:
    """The code decides first: Azure answers some of them with 200 beside `created`."""
    error = failed({"code": code, "message": "said", "type": "invalid_request_error"}, status)
    assert (type(error), error.message, error.provider) == (BY_CODE[code], "said", "openai")


@pytest.mark.parametrize("kind", sorted(BY_TYPE))
def test_without_a_known_code_the_type_decides(kind: str) -> None:
    """A code that no table knows, or none."""
    for code in ("brand_new", None, 7):
        assert type(failed({"type": kind, "code": code, "message": "said"}, 418)) is BY_TYPE[kind]
    assert ALL[kind] in {BY_CODE.get(kind), BY_TYPE[kind]}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, UpstreamBadRequest), (429, UpstreamRateLimited), (500, UpstreamError), (504, UpstreamTimeout)],
)
def test_without_both_the_status_decides(status: int, kind: type[UpstreamFailure]) -> None:
    """An error that is a text, an empty one, and one of strange types."""
    for error in ("plain text", {}, {"code": [], "type": {}, "message": 5}):
        assert type(failed(error, status)) is kind


def test_a_refusal_says_its_stage_and_reason() -> None:
    """`moderation_details` where they are, `unknown` where not; a bad request names its parameter."""
    details = {"moderation_stage": "output", "categories": ["violence", "hate"]}
    error = failed({"code": "moderation_blocked", "message": "No.", "moderation_details": details})
    assert (error.stage, error.upstream_code) == ("output", "violence,hate")
    assert failed({"code": "content_policy_violation", "message": "No."}).stage == "unknown"
    assert failed({"code": "invalid_value", "message": "No.", "param": "size"}).param == "size"


# Over the wire

ROUTES = [(spec, operation) for spec in MODELS for operation in sorted(spec.operations)]


async def performed(server: OpenAIStandIn, asked: Call) -> Completed:
    transport, clock = HTTPTransport(), SystemClock()
    client = Client(transport, clock, RetryRule(clock, attempts=1))
    deployment = Deployment(provider=PROVIDER, base_url=server.base_url, key=server.key)
    try:
        return await client.perform((deployment,), asked, clock.now() + 20, Journal())
    finally:
        await transport.close()


@pytest.mark.parametrize(("spec", "operation"), ROUTES, ids=[f"{spec.id}-{operation}" for spec, operation in ROUTES])
async def test_every_row_draws_on_its_routes(spec: ModelSpec, operation: Operation) -> None:
    """The strict server takes every option of every row, its highest quality, and masks where there are images."""
    edits = operation is Operation.EDIT
    words = {"style": "natural", "moderation": "low", "input_fidelity": "low", "complexity": "high"}
    options = {name: words[name] for name in words if spec.option(name, operation)}
    rule = spec.quality_rule(operation)
    assert rule
    more: dict[str, Any] = {"images": (SOURCE,), "mask": MASK} if edits else {}
    asked = call(spec, options=options, quality=rule.ladder[-1], **more)
    with OpenAIStandIn() as server:
        made = await performed(server, asked)
    assert len(made.images) == 1
    assert isinstance(made.images[0].content, Lifted)
    assert pixels(made.images[0].content.decode()).width
    assert server.paid == 1
