"""The official openai package, current: streams of generations and edits, with partial images or without."""

from __future__ import annotations

import io

import openai
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)

from tests.compat.looking import HOLE, MASK, PHOTO, decoded, fetched, same_outside, seen
from tests.gateway import Gateway


@pytest.mark.parametrize("partial_images", [0, 1, 3])
def test_a_generation_streams(client: openai.OpenAI, partial_images: int) -> None:
    """So many partial images as were asked for, numbered, then the image with its usage."""
    with client.images.generate(
        model="gpt-image-2",
        prompt="A boat",
        size="1024x1024",
        quality="low",
        stream=True,
        partial_images=partial_images,
    ) as stream:
        events = list(stream)

    *partials, last = events
    assert isinstance(last, ImageGenCompletedEvent)
    assert last.type == "image_generation.completed"
    found = [event for event in partials if isinstance(event, ImageGenPartialImageEvent)]
    assert [event.partial_image_index for event in found] == list(range(partial_images))
    assert {event.type for event in partials} <= {"image_generation.partial_image"}
    facts = seen(decoded(last.b64_json))
    assert f"{facts.width}x{facts.height}" == last.size == "1024x1024"
    assert last.output_format == "png"
    assert last.created_at > 0
    assert last.usage.total_tokens > 0
    assert all(seen(decoded(event.b64_json)).width for event in found)


def test_an_edit_streams(client: openai.OpenAI) -> None:
    """Edits have their own event names, also with a mask."""
    with client.images.edit(
        model="gpt-image-2",
        prompt="A hat",
        image=io.BytesIO(PHOTO),
        mask=MASK,
        quality="low",
        stream=True,
        partial_images=2,
    ) as stream:
        events = list(stream)

    *partials, last = events
    assert isinstance(last, ImageEditCompletedEvent)
    assert last.type == "image_edit.completed"
    assert seen(decoded(last.b64_json)).width
    found = [event for event in partials if isinstance(event, ImageEditPartialImageEvent)]
    assert [event.partial_image_index for event in found] == [0, 1]


@pytest.mark.parametrize("model", ["gemini-2.5-flash-image", "dall-e-2", "image-01", "cogview-4", "flux-schnell"])
def test_a_model_without_a_stream_streams_its_end(client: openai.OpenAI, model: str) -> None:
    """stream=true works for every model; base64 unless a link was asked for."""
    with client.images.generate(model=model, prompt="A boat", stream=True) as stream:
        events = list(stream)

    assert [event.type for event in events] == ["image_generation.completed"]
    assert seen(decoded(events[0].b64_json)).width


def test_an_emulated_mask_streams(client: openai.OpenAI) -> None:
    """A masked edit on a model without masks ends in one event that keeps the pixels outside."""
    with client.images.edit(
        model="gemini-3-pro-image", prompt="A hat", image=PHOTO, mask=MASK, stream=True
    ) as stream:
        events = list(stream)

    assert [event.type for event in events] == ["image_edit.completed"]
    assert same_outside(PHOTO, decoded(events[0].b64_json), HOLE)


def test_a_link_in_a_stream(client: openai.OpenAI) -> None:
    """response_format=url puts a link where the base64 would be."""
    with client.images.generate(
        model="sandbox/canvas", prompt="A boat", size="128x128", stream=True, response_format="url"
    ) as stream:
        last = list(stream)[-1].to_dict()

    assert "b64_json" not in last
    assert seen(fetched(str(last["url"]))).width == 128


def test_several_images_in_a_stream(client: openai.OpenAI) -> None:
    """Each image has its own last event; what is known only at the end stands in the very last."""
    with client.images.generate(model="sandbox/canvas", prompt="A boat", size="128x128", n=2, stream=True) as stream:
        events = [event for event in stream if isinstance(event, ImageGenCompletedEvent)]

    assert len({event.b64_json for event in events}) == 2
    endings = [event.to_dict().get("pinhole") for event in events]
    assert endings[0] is None
    assert isinstance(endings[1], dict)
    assert {"provider", "model", "attempts", "adjustments", "cost_usd"} <= set(endings[1])


async def test_the_async_client_streams(sandbox: Gateway) -> None:
    """The asynchronous client reads both event families."""
    async with openai.AsyncOpenAI(base_url=sandbox.v1, api_key="any", max_retries=0) as client:
        made = await client.images.generate(
            model="sandbox/canvas", prompt="A boat", size="128x128", stream=True, partial_images=1
        )
        kinds = [event.type async for event in made]
        edited = await client.images.edit(
            model="sandbox/canvas", prompt="A hat", image=PHOTO, size="128x128", stream=True, partial_images=1
        )
        others = [event.type async for event in edited]

    assert kinds == ["image_generation.partial_image", "image_generation.completed"]
    assert others == ["image_edit.partial_image", "image_edit.completed"]


def test_an_early_refusal_keeps_its_status(client: openai.OpenAI) -> None:
    """A stream that cannot begin is an ordinary error, not an event."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model="gpt-image-1", prompt="A boat", size="512x512", stream=True)
    with pytest.raises(openai.RateLimitError) as limited:
        client.images.generate(model="sandbox/rate-limited", prompt="A boat", stream=True)

    assert refused.value.param == "size"
    assert limited.value.response.headers["retry-after"] == "7"
