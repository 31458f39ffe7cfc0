"""The official SDK against the stand-in, so that the stand-in cannot drift from what clients really do."""

import base64
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.upstreams.http import Reply
from tests.upstreams.images import jpeg, mask_png, pixels, png
from tests.upstreams.multipart import parse
from tests.upstreams.openai import OpenAIStandIn, error_event
from tests.upstreams.server import Trigger

GPT = "gpt-image-2"


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    with OpenAIStandIn() as standin:
        yield standin


@pytest.fixture
def client(upstream: OpenAIStandIn) -> Iterator[OpenAI]:
    with OpenAI(api_key=upstream.key, base_url=upstream.base_url, max_retries=0, timeout=10) as made:
        yield made


def post(upstream: OpenAIStandIn, doc: object, path: str = "/v1/images/generations") -> tuple[int, Any]:
    """Status and JSON of a POST that no SDK has shaped."""
    connection = HTTPConnection(upstream.url.removeprefix("http://"), timeout=10)
    head = {"Authorization": f"Bearer {upstream.key}", "Content-Type": "application/json"}
    connection.request("POST", path, body=json.dumps(doc), headers=head)
    answer = connection.getresponse()
    status, body = answer.status, json.loads(answer.read())
    connection.close()
    return status, body


def picture_of(b64: str | None) -> tuple[tuple[int, int], str | None, str]:
    image = pixels(base64.b64decode(b64 or ""))
    return image.size, image.format, image.mode


def test_generates_images_of_the_size_and_format_asked_for(upstream: OpenAIStandIn, client: OpenAI) -> None:
    """A generation answers n real pictures with resolved facts and complete usage."""
    answer = client.images.generate(
        model=GPT, prompt="a lamp", n=2, size="1536x864", output_format="webp", background="transparent"
    )
    assert [picture_of(item.b64_json) for item in answer.data or []] == [((1536, 864), "WEBP", "RGBA")] * 2
    assert (answer.size, answer.quality, answer.background) == ("1536x864", "medium", "transparent")
    assert answer.usage is not None
    assert answer.usage.output_tokens_details is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert upstream.paid == 1
    assert upstream.exchanges[0].raw_head.startswith(b"POST /v1/images/generations HTTP/1.1\r\n")


def test_answers_auto_with_a_square_png(client: OpenAI) -> None:
    """Left alone, size and format are 1024x1024 and PNG, and nothing is reported as auto."""
    answer = client.images.generate(model="gpt-image-2.6-flare", prompt="a lamp", size="auto", quality="auto")
    assert picture_of((answer.data or [])[0].b64_json) == ((1024, 1024), "PNG", "RGB")
    assert "auto" not in {answer.size, answer.quality, answer.background}


def test_serves_dall_e_results_by_link(upstream: OpenAIStandIn, client: OpenAI) -> None:
    """DALL-E answers with a link to the stand-in itself, or base64 when asked, and the revised prompt."""
    linked = (client.images.generate(model="dall-e-3", prompt="a lamp").data or [])[0]
    assert linked.url is not None
    assert linked.revised_prompt
    assert pixels(upstream.files[linked.url.removeprefix(upstream.url)][1]).size == (1024, 1024)
    asked = client.images.generate(model="dall-e-3", prompt="a lamp", response_format="b64_json")
    assert picture_of((asked.data or [])[0].b64_json)[0] == (1024, 1024)


def test_edits_a_list_of_images_with_a_mask(upstream: OpenAIStandIn, client: OpenAI) -> None:
    """The SDK's form is read; the masked part of the first image changes and the rest stays."""
    first = png(1024, 1024, (10, 20, 30))
    answer = client.images.edit(
        model="gpt-image-1.5",
        prompt="a hat",
        image=[("a.png", first, "image/png"), ("b.jpg", jpeg(64, 64), "image/jpeg")],
        mask=("m.png", mask_png(1024, 1024, (0, 0, 512, 1024)), "image/png"),
        input_fidelity="high",
    )
    image = pixels(base64.b64decode((answer.data or [])[0].b64_json or ""))
    assert image.getpixel((900, 500)) == (10, 20, 30)
    assert image.getpixel((100, 500)) != (10, 20, 30)
    sent = parse(upstream.exchanges[0].header("content-type"), upstream.exchanges[0].body)
    assert [part.name for part in sent if part.filename] == ["image[]", "image[]", "mask"]
    assert sent[-1].data == mask_png(1024, 1024, (0, 0, 512, 1024))


def test_edits_from_json(upstream: OpenAIStandIn) -> None:
    """The JSON form takes data URLs under the plural name."""
    url = "data:image/png;base64," + base64.b64encode(png(32, 32, "checker")).decode()
    doc = {"model": GPT, "prompt": "a hat", "images": [{"image_url": url}], "size": None}
    status, body = post(upstream, doc, "/v1/images/edits")
    assert status == 200
    assert picture_of(body["data"][0]["b64_json"])[0] == (1024, 1024)
    assert body["usage"]["input_tokens_details"]["image_tokens"] > 0


def test_streams_partial_images_then_the_completed_one(client: OpenAI) -> None:
    """A generation streams as many partial images as asked for and one completed event with usage."""
    stream = client.images.generate(model=GPT, prompt="a lamp", stream=True, partial_images=2)
    events = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [picture_of(event.b64_json)[0] for event in events] == [(1024, 1024)] * 3
    assert events[-1].type == "image_generation.completed"
    assert events[-1].usage.input_tokens_details.image_tokens == 0


def test_streams_edits_under_their_own_names(client: OpenAI) -> None:
    """An edit's events are called image_edit."""
    given = ("a.png", png(16, 16), "image/png")
    stream = client.images.edit(model=GPT, prompt="a hat", image=given, stream=True, partial_images=1)
    assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


def test_streams_a_scripted_error(upstream: OpenAIStandIn, client: OpenAI) -> None:
    """An error event in the midst of a stream is an exception in the SDK."""
    upstream.queue(Reply.sse([b": ping\n\n", error_event("overloaded", "server_is_overloaded")]))
    with pytest.raises(openai.APIError, match="overloaded") as raised:
        list(client.images.generate(model=GPT, prompt="a lamp", stream=True))
    assert raised.value.code == "server_is_overloaded"


def test_lists_models(client: OpenAI) -> None:
    """Models carry the four keys that clients need, and an unknown one is 404."""
    assert GPT in {model.id for model in client.models.list()}
    assert client.models.retrieve("gpt-image-1").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-image-0")


@pytest.mark.parametrize(
    ("word", "kind", "code", "error_type"),
    [
        (Trigger.FORBIDDEN, openai.BadRequestError, "moderation_blocked", "image_generation_user_error"),
        (Trigger.RATELIMIT, openai.RateLimitError, "rate_limit_exceeded", "requests"),
        (Trigger.QUOTA, openai.RateLimitError, "insufficient_quota", "insufficient_quota"),
        (Trigger.BOOM, openai.InternalServerError, None, "server_error"),
        (Trigger.HTML502, openai.InternalServerError, None, None),
    ],
)
def test_trigger_words_refuse(
    upstream: OpenAIStandIn,
    client: OpenAI,
    *,
    word: Trigger,
    kind: type[openai.APIStatusError],
    code: str | None,
    error_type: str | None,
) -> None:
    """Each trigger word is its own SDK error, with OpenAI's type and code, and costs nothing."""
    with pytest.raises(kind) as raised:
        client.images.generate(model=GPT, prompt=f"a lamp {word}")
    assert (raised.value.code, raised.value.type) == (code, error_type)
    assert raised.value.response.headers.get("retry-after") == ("7" if word is Trigger.RATELIMIT else None)
    assert upstream.paid == 0


def test_a_blocked_prompt_says_at_which_stage(client: OpenAI) -> None:
    """A refusal carries moderation details and the request id, in the message too."""
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model=GPT, prompt=Trigger.FORBIDDEN)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["moderation_details"]["moderation_stage"] == "input"
    assert raised.value.request_id is not None
    assert raised.value.request_id in raised.value.message


@pytest.mark.parametrize(
    ("word", "kind"),
    [(Trigger.TRUNCATE, openai.APIConnectionError), (Trigger.GARBAGE, (json.JSONDecodeError, openai.APIError))],
)
def test_trigger_words_break_paid_answers(
    upstream: OpenAIStandIn, client: OpenAI, *, word: Trigger, kind: type[Exception]
) -> None:
    """A cut or unreadable answer fails in the client although it was paid for."""
    with pytest.raises(kind):
        client.images.generate(model=GPT, prompt=word)
    assert upstream.paid == 1


def test_empty_answers_have_no_image(client: OpenAI) -> None:
    """The EMPTY trigger is a success without data."""
    assert client.images.generate(model=GPT, prompt=Trigger.EMPTY).data == []


def test_slow_answers_outlast_a_short_timeout(upstream: OpenAIStandIn, client: OpenAI) -> None:
    """The SLOW trigger answers late: a caller with less patience leaves and has still paid."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).images.generate(model=GPT, prompt=Trigger.SLOW)
    assert upstream.paid == 1


def test_refuses_a_wrong_key(upstream: OpenAIStandIn) -> None:
    """Any other bearer is 401 invalid_api_key."""
    with (
        OpenAI(api_key="sk-other", base_url=upstream.base_url, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        client.images.generate(model=GPT, prompt="a lamp")
    assert raised.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
        ({"style": "vivid"}, "unknown_parameter", "style"),
        ({"seed": 1}, "unknown_parameter", "seed"),
        ({"input_fidelity": "low"}, "unknown_parameter", "input_fidelity"),
        ({"model": "gpt-image-9"}, "invalid_value", "model"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"prompt": ""}, "missing_required_parameter", "prompt"),
        ({"prompt": "x" * 32001}, "string_above_max_length", "prompt"),
        ({"prompt": 7}, "invalid_type", "prompt"),
        ({"n": 11}, "integer_above_max_value", "n"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"n": "2"}, "invalid_type", "n"),
        ({"n": 2, "stream": True}, None, None),
        ({"size": "1920x1080"}, "invalid_value", "size"),
        ({"size": "512x512"}, "invalid_value", "size"),
        ({"size": "3840x1264"}, "invalid_value", "size"),
        ({"size": "16:9"}, "invalid_value", "size"),
        ({"model": "gpt-image-1", "size": "1536x864"}, "invalid_value", "size"),
        ({"quality": "hd"}, "invalid_value", "quality"),
        ({"quality": "max"}, "invalid_value", "quality"),
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value", "background"),
        ({"output_compression": 50}, "invalid_value", "output_compression"),
        ({"output_format": "jpeg", "output_compression": 101}, "integer_above_max_value", "output_compression"),
        ({"output_format": "gif"}, "invalid_value", "output_format"),
        ({"partial_images": 2}, "invalid_value", "partial_images"),
        ({"partial_images": 4, "stream": True}, "integer_above_max_value", "partial_images"),
        ({"model": "dall-e-3", "n": 2}, "integer_above_max_value", "n"),
        ({"model": "dall-e-2", "style": "vivid"}, "unknown_parameter", "style"),
        ({"model": "dall-e-2", "quality": "hd"}, "invalid_value", "quality"),
        ({"model": "dall-e-2", "prompt": "x" * 1001}, "string_above_max_length", "prompt"),
    ],
)
def test_refuses_what_the_model_cannot_do(
    upstream: OpenAIStandIn, change: dict[str, Any], code: str | None, param: str | None
) -> None:
    """Every broken rule is a 400 in the envelope that names the field and costs nothing."""
    status, body = post(upstream, {"model": GPT, "prompt": "a lamp", **change})
    assert status == 400
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)
    assert upstream.paid == 0


def test_retired_models_are_gone_when_told_so() -> None:
    """A model named as retired answers 410."""
    with (
        OpenAIStandIn(retired=frozenset({"dall-e-3"})) as upstream,
        OpenAI(api_key=upstream.key, base_url=upstream.base_url, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.images.generate(model="dall-e-3", prompt="a lamp")
    assert raised.value.status_code == 410
