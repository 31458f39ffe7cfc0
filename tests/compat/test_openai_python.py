"""The official openai package, current: images made and edited, every form of a file, headers, models."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.compat.looking import HOLE, MASK, PHOTO, SECOND, as_jpeg, decoded, fetched, same_outside, seen
from tests.gateway import Gateway

CANVAS = "sandbox/canvas"
# What the SDK's own documentation names as the default of each parameter, and what wrappers send unasked.
DEFAULTS: dict[str, Any] = {
    "n": 1,
    "size": "1024x1024",
    "quality": "auto",
    "background": "auto",
    "moderation": "auto",
    "output_compression": 100,
    "output_format": "png",
    "partial_images": 0,
    "stream": False,
    "style": "vivid",
    "user": "u-1",
}
ONE_OF_EACH = [
    "gpt-image-2",
    "gpt-image-1",
    "dall-e-3",
    "dall-e-2",
    "gemini-3-pro-image",
    "gemini-2.5-flash-image",
    "qwen-image",
    "wanx-v1",
    "image-01",
    "cogview-4",
    "stable-image-core",
    "flux-schnell",
]


def named(data: bytes, name: str) -> io.BytesIO:
    """A stream that knows its file name, as many examples make it."""
    stream = io.BytesIO(data)
    stream.name = name
    return stream


def test_base64_is_delivered(client: openai.OpenAI) -> None:
    """b64_json is the image alone, and the facts beside it are those of the picture."""
    answer = client.images.generate(model=CANVAS, prompt="A boat", size="256x256", response_format="b64_json")

    assert answer.data
    assert answer.data[0].url is None
    facts = seen(decoded(answer.data[0].b64_json))
    assert f"{facts.width}x{facts.height}" == answer.size == "256x256"
    assert answer.output_format == facts.format == "png"
    assert answer.created > 0


def test_a_link_is_delivered(client: openai.OpenAI) -> None:
    """`url` leads to the image without a key, and nothing else is sent."""
    answer = client.images.generate(model=CANVAS, prompt="A boat", size="256x192", response_format="url")

    assert answer.data
    assert answer.data[0].b64_json is None
    assert (seen(fetched(answer.data[0].url)).width, seen(fetched(answer.data[0].url)).height) == (256, 192)


@pytest.mark.parametrize(("model", "form"), [("gpt-image-2", "b64_json"), ("dall-e-2", "url"), ("image-01", "url")])
def test_the_form_nobody_named_is_the_models_own(client: openai.OpenAI, model: str, form: str) -> None:
    """GPT image models answer base64, all others a link."""
    answer = client.images.generate(model=model, prompt="A boat")

    assert answer.data
    assert [name for name in ("b64_json", "url") if getattr(answer.data[0], name)] == [form]


def test_several_images_differ(client: openai.OpenAI) -> None:
    """n=3 is three pictures."""
    answer = client.images.generate(model=CANVAS, prompt="A boat", size="128x128", n=3, response_format="b64_json")

    assert len({image.b64_json for image in answer.data or []}) == 3


@pytest.mark.parametrize("model", ONE_OF_EACH)
def test_defaults_are_not_wishes(client: openai.OpenAI, model: str) -> None:
    """Every default that SDKs send unasked is accepted by a model of every provider."""
    answer = client.images.generate(model=model, prompt="A boat", **DEFAULTS)

    assert answer.data


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_the_output_format_is_obeyed(client: openai.OpenAI, form: Any) -> None:
    """The bytes are what output_format says, and so does the answer."""
    answer = client.images.generate(
        model="gpt-image-2", prompt="A boat", size="1024x1024", output_format=form, quality="low"
    )

    assert answer.data
    assert seen(decoded(answer.data[0].b64_json)).format == answer.output_format == form


def test_usage_is_complete(client: openai.OpenAI) -> None:
    """Where tokens are counted, every number that the SDK's type names is there."""
    answer = client.images.generate(model="gpt-image-2", prompt="A boat", size="1024x1024", quality="low")

    usage = answer.usage
    assert usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens_details.text_tokens + usage.input_tokens_details.image_tokens == usage.input_tokens


def test_strict_validation_finds_nothing(sandbox: Gateway) -> None:
    """An SDK that checks each answer against its types raises nothing, on both routes."""
    with openai.OpenAI(base_url=sandbox.v1, api_key="any", _strict_response_validation=True) as client:
        made = client.images.generate(model="gpt-image-2", prompt="A boat")
        edited = client.images.edit(model="gpt-image-2", prompt="A hat", image=PHOTO)
        models = client.models.list().data

    assert made.data
    assert edited.data
    assert models


ways: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _: PHOTO,
    "path": lambda path: path,
    "open file": lambda path: path.open("rb"),
    "stream": lambda _: io.BytesIO(PHOTO),
    "named stream": lambda _: named(PHOTO, "cat.png"),
    "pair": lambda _: ("cat.png", PHOTO),
    "typed": lambda _: ("cat.png", PHOTO, "image/png"),
    "typed wrongly": lambda _: ("cat.jpg", PHOTO, "image/jpeg"),
    "text by name": lambda _: ("cat.txt", PHOTO, "text/plain"),
    "headers": lambda _: ("cat.png", PHOTO, "image/png", {"X-Part": "1"}),
    "list of one": lambda _: [PHOTO],
    "list of a stream": lambda _: [io.BytesIO(PHOTO)],
    "jpeg bytes": lambda _: as_jpeg(PHOTO),
}


@pytest.mark.parametrize("way", ways)
# The SDK leaves closing of what it opened from a path to the collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_edit_takes_a_file_in_every_form(client: openai.OpenAI, pictures: tuple[Path, Path], way: str) -> None:
    """However the SDK is given an image, and whatever type it then declares, the bytes decide."""
    image = ways[way](pictures[0])
    answer = client.images.edit(model="dall-e-2", prompt="A hat", image=image, size="256x256")

    assert answer.data
    assert seen(fetched(answer.data[0].url)).width == 256


def test_several_images_are_edited_together(client: openai.OpenAI) -> None:
    """A list of images arrives whole and in order: another order is another picture."""
    asked: dict[str, Any] = {"model": "gpt-image-2", "prompt": "Both", "size": "1024x1024", "quality": "low"}
    orders = [[PHOTO, SECOND], [SECOND, PHOTO]]
    answers = [client.images.edit(image=[io.BytesIO(data) for data in order], **asked) for order in orders]

    made = [answer.data[0].b64_json for answer in answers if answer.data]
    assert made[0] != made[1]
    assert answers[0].usage
    assert answers[0].usage.input_tokens_details.image_tokens > 0


masks: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _: MASK,
    "open file": lambda path: path.open("rb"),
    "stream": lambda _: io.BytesIO(MASK),
    "typed": lambda _: ("mask.png", MASK, "image/png"),
}


@pytest.mark.parametrize("way", masks)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_mask_bounds_the_edit(client: openai.OpenAI, pictures: tuple[Path, Path], way: str) -> None:
    """The masked hole changes; outside of it each pixel is the original's."""
    answer = client.images.edit(
        model="dall-e-2",
        prompt="A hat",
        image=PHOTO,
        mask=masks[way](pictures[1]),
        size="256x256",
        response_format="b64_json",
    )

    assert answer.data
    assert same_outside(PHOTO, decoded(answer.data[0].b64_json), HOLE)


def test_a_mask_works_where_the_provider_has_none(client: openai.OpenAI) -> None:
    """An emulated mask keeps the size and the pixels too, and the header says that it was emulated."""
    answer = client.images.with_raw_response.edit(
        model="gemini-3-pro-image", prompt="A hat", image=PHOTO, mask=MASK, response_format="b64_json"
    )

    data = answer.parse().data
    assert data
    assert same_outside(PHOTO, decoded(data[0].b64_json), HOLE)
    assert "mask;kind=emulated" in answer.headers["pinhole-adjustments"]


async def test_the_async_client(sandbox: Gateway) -> None:
    """The asynchronous client makes and edits."""
    async with openai.AsyncOpenAI(base_url=sandbox.v1, api_key="any", max_retries=0) as client:
        made = await client.images.generate(model=CANVAS, prompt="A boat", size="128x128")
        edited = await client.images.edit(
            model=CANVAS, prompt="A hat", image=[("a.png", PHOTO), io.BytesIO(SECOND)], size="128x128"
        )

    assert made.data
    assert edited.data
    assert seen(fetched(made.data[0].url)).width == 128
    assert seen(fetched(edited.data[0].url)).width == 128


def test_the_headers_tell_the_rest(client: openai.OpenAI) -> None:
    """with_raw_response shows the request id, the time, the provider, the model, attempts, cost and adjustments."""
    answer = client.images.with_raw_response.generate(
        model="gemini-2.5-flash-image", prompt="A boat", size="1792x1024", extra_headers={"x-request-id": "mine-1"}
    )

    headers = answer.headers
    assert answer.request_id == headers["x-request-id"] == "mine-1"
    assert headers["openai-processing-ms"].isdigit()
    assert (headers["pinhole-provider"], headers["pinhole-model"]) == ("sandbox", "gemini-2.5-flash-image")
    assert headers["pinhole-attempts"] == "1"
    assert float(headers["pinhole-cost-usd"]) > 0
    assert 'size;kind=mapped;from="1792x1024";to="16:9"' in headers["pinhole-adjustments"]
    assert "x-ratelimit-limit-requests" not in headers


def test_a_request_id_is_made_where_none_is_given(client: openai.OpenAI) -> None:
    """The SDK's `_request_id` is set on every answer."""
    first, second = (client.images.generate(model=CANVAS, prompt="A boat", size="64x64") for _ in range(2))

    assert first._request_id  # noqa: SLF001 - its public name in the SDK's documentation
    assert first._request_id != second._request_id  # noqa: SLF001 - as above


def test_models_are_listed(client: openai.OpenAI) -> None:
    """The list has OpenAI's four keys on every entry, and no name twice."""
    models = list(client.models.list())

    names = [model.id for model in models]
    assert len(names) == len(set(names)) > 50
    assert {model.object for model in models} == {"model"}
    assert all(model.created > 0 and model.owned_by for model in models)


@pytest.mark.parametrize("name", ["gpt-image-2", "openai/gpt-image-2", "sandbox/canvas", "nano-banana-pro"])
def test_one_model_is_retrieved(client: openai.OpenAI, name: str) -> None:
    """By id, by provider and id (the SDK sends %2F), by alias."""
    model = client.models.retrieve(name)

    assert model.object == "model"
    assert model.id in {name, name.partition("/")[2], "gemini-3-pro-image"}


def test_a_provider_before_the_name_forces_it(client: openai.OpenAI) -> None:
    """`openai/gpt-image-2` is gpt-image-2, made by that provider."""
    answer = client.images.with_raw_response.generate(model="openai/gpt-image-2", prompt="A boat", quality="low")

    assert answer.headers["pinhole-model"] == "gpt-image-2"
