"""Every example of the spec document, through the r9s SDK and a real socket; only key and address are ours."""

from __future__ import annotations

import asyncio
import base64
import urllib.request
from collections.abc import Iterator

import httpx2
import pytest
from r9s import R9S
from r9s.utils.image_constraints import get_model_constraints, validate_image_request

from providers.kit.images import inspect
from tests.gateway import Gateway
from tests.upstreams.images import mask_png, png

# The SDK's own code: deprecated pydantic settings, and sockets left to the collector (r9s 0.9.0).
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def client(sandbox: Gateway) -> Iterator[R9S]:
    """The SDK, pointed at the sandbox."""
    with R9S(api_key="any", server_url=sandbox.v1) as found:
        yield found


def fetched(url: str | None) -> bytes:
    """What lies behind a link, fetched as the SDK's own command line does: plain, without a key."""
    assert url
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the gateway's own link
        assert answer.headers["content-type"].startswith("image/")
        data: bytes = answer.read()
    return data


def test_create(client: R9S) -> None:
    """The first example: a chat model's name, every SDK default, a link."""
    res = client.images.create(
        prompt="A cute cat sitting on a windowsill",
        model="gpt-4o-mini",
        n=1,
        quality="standard",
        response_format="url",
        size="1024x1024",
        style="vivid",
    )

    facts = inspect(fetched(res.data[0].url))
    assert (facts.width, facts.height) == (1024, 1024)


def test_edit(client: R9S) -> None:
    """The basic edit: one square PNG, dall-e-2, a link."""
    res = client.images.edit(
        image={"file_name": "original.png", "content": png(512, 512)},
        prompt="Add a red hat to the person",
        model="dall-e-2",
        size="1024x1024",
    )

    assert inspect(fetched(res.data[0].url)).width == 1024


def test_edit_with_a_mask(client: R9S) -> None:
    """Inpainting with two images as base64, no model named."""
    res = client.images.edit(
        image={"file_name": "photo.png", "content": png(256, 256)},
        mask={"file_name": "mask.png", "content": mask_png(256, 256, (64, 64, 192, 192))},
        prompt="Replace the background with a beach sunset",
        n=2,
        response_format="b64_json",
    )

    assert len(res.data) == 2
    for image in res.data:
        assert inspect(base64.b64decode(image.b64_json or "")).bytes > 0


def test_edit_async(sandbox: Gateway) -> None:
    """The asynchronous edit: only an image and a prompt."""

    async def edit_image() -> str | None:
        async with R9S(api_key="any", server_url=sandbox.v1) as client:
            res = await client.images.edit_async(
                image={"file_name": "input.png", "content": png(256, 256)},
                prompt="Make it look like a watercolor painting",
            )
            url: str | None = res.data[0].url
            return url

    assert fetched(asyncio.run(edit_image()))


def test_several_images(client: R9S) -> None:
    """gpt-image-1.5 makes five at once, as links, though its own answer is base64."""
    result = client.images.create(
        prompt="A futuristic electric car in a showroom", model="gpt-image-1.5", n=5, size="1536x1024", quality="high"
    )

    assert len({image.url for image in result.data}) == 5
    assert inspect(fetched(result.data[0].url)).width == 1536


def test_negative_prompt(client: R9S) -> None:
    """wanx-v1 takes what is to be left out."""
    result = client.images.create(
        prompt="A serene mountain landscape", negative_prompt="people, buildings, cars", model="wanx-v1"
    )

    assert fetched(result.data[0].url)


def test_seed(client: R9S) -> None:
    """The same seed gives the same picture."""
    pictures = [
        fetched(client.images.create(prompt="A blue dragon", seed=12345, model="wanx-v1").data[0].url)
        for _ in range(2)
    ]

    assert pictures[0] == pictures[1]


def test_aspect_ratios(client: R9S) -> None:
    """Ratios directly, with hd; and pixels that map to 9:16."""
    wide = client.images.create(
        prompt="A futuristic cityscape at sunset", model="gemini-2.5-flash-image", size="16:9", quality="hd"
    )
    tall = client.images.create(
        prompt="A portrait of a cyberpunk character", model="gemini-2.5-flash-image", size="1024x1792"
    )
    facts = [inspect(fetched(answer.data[0].url)) for answer in (wide, tall)]

    assert abs(facts[0].width / facts[0].height - 16 / 9) < 0.03
    assert abs(facts[1].width / facts[1].height - 9 / 16) < 0.03


def test_4k_on_the_pro_model(sandbox: Gateway) -> None:
    """The SDK refuses quality=4k before it sends; the same request as its example means works over plain HTTP."""
    body = {
        "prompt": "Ultra-detailed landscape",
        "model": "gemini-3-pro-image-preview",
        "size": "1:1",
        "quality": "4k",
        "response_format": "url",
    }
    answer = httpx2.post(f"{sandbox.v1}/images/generations", json=body, timeout=60)

    assert answer.status_code == 200
    assert inspect(fetched(answer.json()["data"][0]["url"])).width == 4096
    assert 'quality;kind=mapped;from="4k";to="4K"' in answer.headers["pinhole-adjustments"]


def test_the_constraints_helper_agrees(client: R9S) -> None:
    """What the SDK's helper calls valid for the default size, the gateway takes; prompt limits are the same."""
    for model in ("wanx-v1", "dall-e-3", "gpt-image-1", "image-01", "cogview-3", "gemini-2.5-flash-image"):
        helper = get_model_constraints(model)
        row = client.models.retrieve(model=model)
        assert row.id == model
        assert helper
        assert helper.prompt_max
    assert validate_image_request(model="wanx-v1", prompt="x" * 900, size="1024x1024", n=1)


TABLE = [
    ("dall-e-2", 1000, 10),
    ("dall-e-3", 4000, 1),
    ("gpt-image-1", 4000, 1),
    ("gpt-image-1.5", 4000, 10),
    ("gemini-2.5-flash-image", 32000, 1),
    ("gemini-3-pro-image-preview", 32000, 1),
    ("wanx-v1", 800, 1),
    ("image-01", 1500, 9),
    ("cogview-3", 833, 1),
]


@pytest.mark.parametrize(("model", "prompt_max", "n"), TABLE)
def test_the_constraints_table_is_what_the_gateway_lists(
    sandbox: Gateway, model: str, prompt_max: int, n: int
) -> None:
    """GET /v1/models says of each provider what the spec document's table says."""
    found = httpx2.get(f"{sandbox.v1}/models/{model}").json()["constraints"]

    assert (found["prompt_max"], found["n"]["min"], found["n"]["max"]) == (prompt_max, 1, n)


def test_streams_have_the_shape_the_sdk_reads(client: R9S) -> None:
    """Generations in the SDK's superset shape with links; edits as OpenAI's events."""
    stream = client.images.create(prompt="A boat", model="gpt-image-2", size="1024x1024", stream=True)
    events = list(stream)
    last = events[-1]
    item = last.data.data[0] if hasattr(last.data, "data") else last.data[0]

    assert fetched(item.url)
