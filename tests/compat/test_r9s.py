"""The r9s SDK 0.9.0 beyond the spec document's examples: streams, models, errors, forms of files."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from r9s import R9S, errors, models

from tests.compat.looking import PHOTO, fetched, same_outside, seen
from tests.gateway import Gateway
from tests.upstreams.images import mask_png, png

# The SDK's own code: deprecated pydantic settings, and sockets left to the collector (r9s 0.9.0).
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CANVAS = "sandbox/canvas"


@pytest.fixture(scope="module")
def client(sandbox: Gateway) -> Iterator[R9S]:
    """The SDK, pointed at the sandbox."""
    with R9S(api_key="any", server_url=sandbox.v1) as found:
        yield found


def created(client: R9S, **more: Any) -> list[Any]:
    """The events of a generation's stream, as the SDK's own models."""
    with client.images.create(prompt="A boat", stream=True, **more) as stream:
        return [event.data if hasattr(event, "event") else event for event in stream]


def test_a_generation_streams(client: R9S) -> None:
    """Each event has the SDK's own five fields; all images come as links, the last one marked as final."""
    events = created(client, model="gpt-image-2", size="1024x1024", partial_images=2)

    assert all(isinstance(event, models.ImageGenerationStreamEvent) for event in events)
    assert {event.object for event in events} == {"image.generation.chunk"}
    assert len({event.id for event in events}) == 1
    assert all(event.model == "gpt-image-2" and event.created > 0 for event in events)
    items = [item for event in events for item in event.data]
    assert [item.is_final for item in items] == [False, False, True]
    assert [seen(fetched(item.url)).width > 0 for item in items] == [True] * 3
    assert seen(fetched(items[-1].url)).width == 1024
    assert {item.b64_json for item in items} == {None}


@pytest.mark.parametrize("path", ["generations", "edits"])
def test_events_stay_small(sandbox: Gateway, path: str) -> None:
    """The SDK is slow on long events: for it every image is a link, partial ones included."""
    fields = {"prompt": "A boat", "model": CANVAS, "size": "256x256", "stream": "true", "partial_images": "1"}
    sent: dict[str, Any] = {"data": fields, "files": {"image": PHOTO}}
    if path == "generations":
        sent = {"json": {**fields, "stream": True, "partial_images": 1}}
    agent = {"user-agent": "speakeasy-sdk/python 0.3.1 2.788.4 1.0.0 r9s"}
    answer = httpx2.post(f"{sandbox.v1}/images/{path}", headers=agent, timeout=60, **sent)

    for event in answer.text.strip().split("\n\n"):
        assert '"url"' in event
        assert '"b64_json"' not in event
        assert len(event) < 4096


def test_a_stream_on_a_model_without_one(client: R9S) -> None:
    """The end alone, in the same form."""
    events = created(client, model="gemini-2.5-flash-image", size="16:9")

    (item,) = events[-1].data
    assert len(events) == 1
    assert seen(fetched(item.url)).width > 1024


def test_a_stream_with_base64(client: R9S) -> None:
    """response_format=b64_json is obeyed in streams too."""
    events = created(client, model=CANVAS, size="256x256", response_format="b64_json", n=2)

    items = [event.data[0] for event in events]
    assert [item.index for item in items] == [0, 1]
    assert all(seen(base64.b64decode(item.b64_json)).width == 256 for item in items)
    assert all(item.url is None for item in items)


@pytest.mark.parametrize("model", ["gpt-image-2", "gemini-2.5-flash-image", "dall-e-2"])
def test_an_edit_streams(client: R9S, model: str) -> None:
    """The SDK's forced defaults are accepted, and its edit events are read."""
    stream = client.images.edit(
        image={"file_name": "a.png", "content": PHOTO}, prompt="A hat", model=model, stream=True, size="1024x1024"
    )
    with stream:
        events = list(stream)

    last = events[-1]
    assert last.event == "image_edit.completed"
    assert seen(fetched(data_of(last)["url"])).width == 1024


def data_of(event: Any) -> dict[str, Any]:
    """The payload of an edit event, with what the SDK keeps as extras."""
    found: dict[str, Any] = event.data if isinstance(event.data, dict) else event.data.model_dump()
    return found


async def test_streams_async(sandbox: Gateway) -> None:
    """The asynchronous client reads both streams."""
    async with R9S(api_key="any", server_url=sandbox.v1) as client:
        made = await client.images.create_async(prompt="A boat", model=CANVAS, size="256x256", stream=True)
        async with made:
            generated = [event async for event in made]
        edited = await client.images.edit_async(
            image={"file_name": "a.png", "content": PHOTO}, prompt="A hat", model=CANVAS, size="256x256", stream=True
        )
        async with edited:
            events = [event async for event in edited]

    assert generated
    assert events[-1].event == "image_edit.completed"


def test_files_in_its_forms(client: R9S, pictures: tuple[Path, Path]) -> None:
    """Bytes, open files, and a name whose extension lies."""
    with pictures[0].open("rb") as photo:
        contents: list[Any] = [
            {"file_name": "a.png", "content": photo},
            {"file_name": "a.jpg", "content": PHOTO},
            {"file_name": "a.bin", "content": PHOTO, "content_type": "application/octet-stream"},
        ]
        answers = [
            client.images.edit(image=image, prompt="A hat", model="dall-e-2", size="256x256") for image in contents
        ]

    assert len({fetched(answer.data[0].url) for answer in answers}) == 1


@pytest.mark.parametrize("model", ["dall-e-2", "gemini-3-pro-image", "qwen-image-edit", "gpt-image-2"])
def test_a_mask_with_the_sdks_defaults(client: R9S, model: str) -> None:
    """A mask bounds the edit whatever the provider is; the size the SDK sends unasked is no obstacle."""
    photo, hole = png(512, 512), (128, 128, 384, 384)
    answer = client.images.edit(
        image={"file_name": "photo.png", "content": photo},
        mask={"file_name": "mask.png", "content": mask_png(512, 512, hole)},
        prompt="A hat",
        model=model,
    )

    assert same_outside(photo, fetched(answer.data[0].url), hole)


def test_usage_in_its_words(client: R9S) -> None:
    """Where tokens are counted, the SDK's own names for them are filled."""
    usage = client.images.create(prompt="A boat", model="gpt-image-2").usage

    assert usage
    assert usage.prompt_tokens
    assert usage.image_tokens
    assert (usage.width, usage.height, usage.image_count) == (1024, 1024, 1)


def test_models(client: R9S) -> None:
    """The list and one entry are read, by a name with a raw slash too."""
    listed = client.models.list().data

    assert {"gpt-image-2", "wanx-v1", CANVAS} <= {model.id for model in listed}
    assert client.models.retrieve(model=CANVAS).id == CANVAS
    assert client.models.retrieve(model="openai/gpt-image-2").id == "gpt-image-2"
    with pytest.raises(errors.NotFoundError):
        client.models.retrieve(model="no-such-model")


def test_its_errors(client: R9S, keyed: Gateway) -> None:
    """Each status of the spec document's tables that a gateway gives has the class that they name."""
    asked: list[tuple[type[errors.R9SError], int, dict[str, Any]]] = [
        (errors.BadRequestError, 400, {"model": "gpt-image-1", "size": "512x512"}),
        (errors.BadRequestError, 400, {"model": "sandbox/refuse"}),
        (errors.R9SDefaultError, 404, {"model": "no-such-model"}),
        (errors.RateLimitError, 429, {"model": "sandbox/rate-limited"}),
        (errors.R9SDefaultError, 502, {"model": "sandbox/error"}),
        (errors.AuthenticationError, 401, {"server_url": keyed.v1}),
    ]
    for kind, status, change in asked:
        with pytest.raises(kind) as caught:
            client.images.create(**{"prompt": "A boat", **change})
        assert (type(caught.value), caught.value.status_code) == (kind, status), change
    with R9S(api_key="sk-team-a", server_url=keyed.v1) as narrow, pytest.raises(errors.PermissionDeniedError):
        narrow.images.create(prompt="A boat", model="gpt-image-2")


def test_an_error_can_be_read(client: R9S) -> None:
    """The parsed error has message, type, code and parameter."""
    with pytest.raises(errors.BadRequestError) as caught:
        client.images.create(prompt="A boat", model="gpt-image-1", size="512x512")

    found = caught.value.data.error
    assert (found.type, found.param, found.code) == ("invalid_request_error", "size", "invalid_value")
    assert "512x512" in found.message
