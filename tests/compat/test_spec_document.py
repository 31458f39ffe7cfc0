"""Every example of the spec document, through the r9s SDK and a real socket; only key and address are ours."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError
from r9s import R9S
from r9s.utils.image_constraints import MODEL_CONSTRAINTS, get_model_constraints, validate_image_request

from providers.kit.images import inspect
from tests.app.wire import post
from tests.compat.looking import MASK, PHOTO, fetched, same_outside
from tests.gateway import Gateway, running
from tests.matrix.vendors import VENDORS
from tests.upstreams.images import png

# The SDK's own code: deprecated pydantic settings, and sockets left to the collector (r9s 0.9.0).
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", params=["sandbox", "upstreams"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in the sandbox, and one before the strict stand-ins of all providers."""
    if request.param == "sandbox":
        yield request.getfixturevalue("sandbox")
        return
    with ExitStack() as stack:
        environ: dict[str, str] = {}
        for vendor in VENDORS:
            environ |= vendor.environ(stack.enter_context(vendor.make()))
        yield stack.enter_context(running(tmp_path_factory.mktemp("spec"), environ))


@pytest.fixture(scope="module")
def client(place: Gateway) -> Iterator[R9S]:
    """The SDK, pointed at it."""
    with R9S(api_key="any", server_url=place.v1) as found:
        yield found


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


def test_edit_with_a_mask(client: R9S, place: Gateway) -> None:
    """Inpainting with two images as base64, no model named; only what the mask opens is changed."""
    res = client.images.edit(
        image={"file_name": "photo.png", "content": PHOTO},
        mask={"file_name": "mask.png", "content": MASK},
        prompt="Replace the background with a beach sunset",
        n=2,
        response_format="b64_json",
    )

    pictures = [base64.b64decode(image.b64_json or "") for image in res.data]
    assert len(pictures) == 2
    if place.sandboxed:  # the stand-in draws one picture for every n, and another than the sandbox's for an edit
        assert len(set(pictures)) == 2
        assert all(same_outside(PHOTO, picture) for picture in pictures)


def test_edit_async(place: Gateway) -> None:
    """The asynchronous edit: only an image and a prompt."""

    async def edit_image() -> str | None:
        async with R9S(api_key="any", server_url=place.v1) as client:
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


def test_4k_on_the_pro_model(place: Gateway, client: R9S) -> None:
    """The SDK refuses quality=4k before it sends; the same request over plain HTTP is a picture of 4096 pixels."""
    asked: dict[str, Any] = {
        "prompt": "Ultra-detailed landscape",
        "model": "gemini-3-pro-image-preview",
        "size": "1:1",
        "quality": "4k",
    }
    with pytest.raises(ValidationError, match="quality"):
        client.images.create(**asked)

    url = f"{place.v1}/images/generations"
    answer = httpx2.post(url, json={**asked, "response_format": "url"}, timeout=60)

    assert answer.status_code == 200
    assert inspect(fetched(answer.json()["data"][0]["url"])).width == 4096
    assert 'quality;kind=mapped;from="4k";to="4K"' in answer.headers["pinhole-adjustments"]


def test_4k_is_for_the_pro_model_only(place: Gateway) -> None:
    """Its smaller sister refuses 4k and says what it takes."""
    asked = {"prompt": "A landscape", "model": "gemini-2.5-flash-image", "size": "1:1", "quality": "4k"}
    reply = post(place, asked)

    assert (reply.status, reply.error["param"]) == (400, "quality")


def test_the_constraints_helper_example() -> None:
    """The last example: the helper's own words, which the gateway's table below repeats."""
    constraints = get_model_constraints("wanx-v1")
    errors = validate_image_request(model="wanx-v1", prompt="A very long prompt...", size="1024x1024", n=1)

    assert constraints
    assert (constraints.prompt_max, constraints.supports_negative_prompt) == (800, True)
    assert not errors


@pytest.mark.parametrize("model", MODEL_CONSTRAINTS)
def test_what_the_helper_allows_the_gateway_takes(place: Gateway, model: str) -> None:
    """Every size, the longest prompt and the largest n of the SDK's own table are done; one more is refused."""
    rule = MODEL_CONSTRAINTS[model]
    allowed: list[dict[str, Any]] = [{"size": size} for size in rule.sizes] + [
        {"prompt": "x" * rule.prompt_max},
        {"n": rule.n_range[1]},
    ]
    beyond: list[tuple[str, Any]] = [
        ("prompt", "x" * (rule.prompt_max + 1)),
        ("n", rule.n_range[1] + 1),
        ("n", rule.n_range[0] - 1),
    ]

    for change in allowed:
        reply = post(place, {"prompt": "A boat", "model": model, **change})
        assert reply.status == 200, (list(change), reply.body)
    for param, value in beyond:
        reply = post(place, {"prompt": "A boat", "model": model, param: value})
        assert (reply.status, reply.error["param"]) == (400, param)


# The document's table, row by row: prompt max, largest n, and its last column in the words of GET /v1/models.
TABLE: list[tuple[str, int, int, dict[str, Any]]] = [
    ("dall-e-2", 1000, 10, {}),
    ("dall-e-3", 4000, 1, {}),
    ("gpt-image-1", 4000, 1, {}),
    ("gpt-image-1.5", 4000, 10, {}),
    ("gemini-2.5-flash-image", 32000, 1, {"ratios": True, "quality": "hd"}),
    ("gemini-3-pro-image-preview", 32000, 1, {"ratios": True, "quality": "4k"}),
    ("wanx-v1", 800, 1, {"negative_prompt": True, "seed": True}),
    ("image-01", 1500, 9, {"ratios": True}),
    ("cogview-3", 833, 1, {}),
]


def test_the_constraints_table_is_what_the_gateway_lists(place: Gateway) -> None:
    """One GET /v1/models says of each provider what the spec document's table says."""
    listed = {entry["id"]: entry["constraints"] for entry in httpx2.get(f"{place.v1}/models").json()["data"]}

    for model, prompt_max, n, special in TABLE:
        found = listed[model]
        assert (found["prompt_max"], found["n"]["min"], found["n"]["max"]) == (prompt_max, 1, n), model
        assert bool(found["negative_prompt"]) is special.get("negative_prompt", False), model
        assert not special.get("seed") or found["seed"], model
        assert not special.get("ratios") or "16:9" in found["aspect_ratios"], model
        assert "quality" not in special or special["quality"] in found["quality"], model
