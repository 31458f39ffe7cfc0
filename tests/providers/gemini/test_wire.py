"""providers.gemini over real sockets: our client and Google's own SDK against the strict stand-in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google import genai
from google.genai import types
from google.genai.errors import ClientError

from providers.core.errors import (
    Refused,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from providers.core.plan import Call
from providers.core.provider import Completed
from providers.core.spec import ModelSpec
from providers.core.types import AspectRatio, InputImage, Policy, Size
from providers.gemini import PROVIDER
from providers.gemini.rows import MODELS
from providers.kit.client import Client
from providers.kit.clock import SystemClock
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.lift import Lifted
from providers.kit.retry import RetryRule
from providers.kit.transport import HTTPTransport
from tests.providers.asking import call, row, sent
from tests.upstreams import gemini
from tests.upstreams.gemini import KEY, GeminiServer
from tests.upstreams.gemini.status import missing
from tests.upstreams.http import Reply
from tests.upstreams.images import jpeg, pixels, png

PRO, FLASH = row(MODELS, "gemini-3-pro-image"), row(MODELS, "gemini-3.1-flash-image")
PHOTO = sent(png(96, 64))


@pytest.fixture
def server() -> Iterator[GeminiServer]:
    with GeminiServer() as running:
        yield running


async def performed(server: GeminiServer, asked: Call, key: str = KEY) -> Completed:
    transport, clock = HTTPTransport(), SystemClock()
    client = Client(transport, clock, RetryRule(clock, attempts=1))
    try:
        return await client.perform(
            (Deployment(provider=PROVIDER, base_url=server.url, key=key),), asked, clock.now() + 20, Journal()
        )
    finally:
        await transport.close()


def picture_of(made: Completed) -> tuple[str | None, Size]:
    """Format and size of the only image."""
    (image,) = made.images
    assert isinstance(image.content, Lifted)
    drawn = pixels(image.content.decode())
    return drawn.format, Size(*drawn.size)


@pytest.mark.parametrize("images", [(), (PHOTO,), (PHOTO, sent(jpeg(64, 96)))], ids=["generate", "edit", "edit two"])
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
async def test_every_row_draws_on_both_routes(
    server: GeminiServer, spec: ModelSpec, images: tuple[InputImage, ...]
) -> None:
    """The strict server takes every option of every row and draws the size that the row promises."""
    asked = call(spec, size=AspectRatio(3, 2), quality="hd", options={"seed": 9}, images=images)
    made = await performed(server, asked)
    assert picture_of(made) == (spec.output.formats[0].upper(), asked.resolution.pixels)
    assert made.usage
    assert bool(made.usage.input_image) == bool(images)
    assert server.exchanges[0].header("x-goog-api-key") == KEY
    assert server.exchanges[0].header("authorization") is None


async def test_every_shape_of_every_tier_is_taken(server: GeminiServer) -> None:
    """What a row lists is what the server's own table knows, in pixels too."""
    for spec in MODELS:
        tiers = spec.sizes.ratios.tiers  # type: ignore[attr-defined]  # the vendor's own rule
        tier, table = next(iter(tiers.items()))
        for ratio, size in table.items():
            asked = call(spec, size=size)
            assert (asked.resolution.wire, asked.resolution.tier) == (ratio, tier)
            assert picture_of(await performed(server, asked))[1] == size


async def test_an_edit_follows_its_first_input(server: GeminiServer) -> None:
    """Without a size the result has the first input's shape, however many there are."""
    wide, tall = sent(jpeg(160, 90)), sent(jpeg(90, 160))
    assert picture_of(await performed(server, call(PRO, images=(wide,))))[1] == Size(1376, 768)
    assert picture_of(await performed(server, call(PRO, images=(wide, tall))))[1] == Size(1376, 768)


@pytest.mark.parametrize("word", [gemini.DRAFT, gemini.TWICE, gemini.MISLABELLED])
async def test_odd_successes_hold_one_picture(server: GeminiServer, word: str) -> None:
    """Drafts, second pictures and wrong labels leave the one picture that was asked."""
    plain = await performed(server, call(PRO, f"a {word}"))
    assert picture_of(plain) == ("JPEG", Size(1024, 1024))
    (image,) = plain.images
    assert isinstance(image.content, Lifted)
    if word == gemini.DRAFT:
        corner = pixels(image.content.decode()).getpixel((0, 0))
        assert corner != (1, 2, 3)


@pytest.mark.parametrize(
    ("word", "kind", "wait"),
    [
        ("FORBIDDEN", Refused, None),
        (gemini.BLOCKED, Refused, None),
        (gemini.TALK, Refused, None),
        (gemini.NOIMAGE, Refused, None),
        ("RATELIMIT", UpstreamRateLimited, 7.0),
        ("QUOTA", UpstreamQuota, None),
        (gemini.PERDAY, UpstreamQuota, None),
        (gemini.BUSY, UpstreamUnavailable, None),
        (gemini.LISTED, UpstreamAuth, None),
        (gemini.BADINPUT, UpstreamBadRequest, None),
        ("BOOM", UpstreamError, None),
        ("HTML502", UpstreamError, None),
        ("TRUNCATE", UpstreamError, None),
        ("EMPTY", UpstreamError, None),
        ("GARBAGE", UpstreamError, None),
    ],
)
async def test_every_mishap_has_its_class(
    server: GeminiServer, word: str, kind: type[UpstreamFailure], wait: float | None
) -> None:
    """What goes wrong at the server arrives as one class, with the wait that it told."""
    with pytest.raises(UpstreamFailure) as caught:
        await performed(server, call(FLASH, f"a {word}"))
    assert (type(caught.value), caught.value.retry_after) == (kind, wait)


async def test_a_wrong_key_is_our_fault(server: GeminiServer) -> None:
    """The service's 400 for a bad key is the gateway's fault, not the caller's."""
    for key in ("wrong", ""):
        with pytest.raises(UpstreamAuth):
            await performed(server, call(PRO), key=key)


async def test_lenient_draws_what_the_model_can(server: GeminiServer) -> None:
    """Snapped wishes are within the server's limits as well."""
    first = row(MODELS, "gemini-2.5-flash-image")
    made = await performed(server, call(first, size=Size(2048, 512), quality="4k", policy=Policy.LENIENT))
    assert picture_of(made)[1] == Size(1536, 672)


# Google's own client


@pytest.fixture
def google(server: GeminiServer) -> Iterator[genai.Client]:
    with genai.Client(
        api_key=KEY, http_options=types.HttpOptions(base_url=server.url, api_version="v1beta", timeout=20_000)
    ) as client:
        yield client


def test_what_google_sends_is_taken(google: genai.Client) -> None:
    """The stand-in's idea of the wire is the SDK's: shape, tier, seed, thinking and an input image."""
    photo = types.Part.from_bytes(data=png(96, 64), mime_type="image/png")
    answer = google.models.generate_content(
        model="gemini-nano-banana-2.1",
        contents=types.Content(role="user", parts=[photo, types.Part.from_text(text="a red kite")]),
        config=types.GenerateContentConfig(
            response_modalities=["IMAGE"],
            image_config=types.ImageConfig(aspect_ratio="16:9", image_size="2K"),
            seed=7,
            thinking_config=types.ThinkingConfig(include_thoughts=False),
        ),
    )
    inline = next(part.inline_data for part in answer.parts or () if part.inline_data)
    assert pixels(inline.data or b"").size == (2752, 1536)
    assert answer.usage_metadata
    assert answer.usage_metadata.candidates_token_count == 1120


def test_google_and_we_send_the_same(server: GeminiServer, google: genai.Client) -> None:
    """One wish in both clients is one document, apart from the case of names and the alphabet of base64."""
    google.models.generate_content(
        model="gemini-3-pro-image",
        contents="a red kite",
        config=types.GenerateContentConfig(
            response_modalities=["IMAGE"],
            image_config=types.ImageConfig(aspect_ratio="3:2", image_size="2K"),
            seed=0,
        ),
    )
    theirs = server.exchanges[-1]
    ours = PROVIDER.request(call(PRO, size=AspectRatio(3, 2), quality="hd", options={"seed": 0}))
    assert theirs.path == ours.url
    assert ours.body
    assert theirs.json() == ours.body.document  # type: ignore[union-attr]  # JSON by the request above


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("gemini-2.5-flash-image", {"image_config": {"image_size": "1K"}}),
        ("gemini-3.1-flash-lite-image", {"image_config": {"image_size": "1K"}}),
        ("gemini-nano-banana-2.1", {"image_config": {"image_size": "512"}}),
        ("gemini-3-pro-image", {"image_config": {"image_size": "2k"}}),
        ("gemini-3-pro-image", {"image_config": {"aspect_ratio": "1:4"}}),
        ("gemini-3-pro-image", {"candidate_count": 2}),
        ("gemini-3-pro-image", {"thinking_config": {"thinking_level": "HIGH"}}),
        ("gemini-3-pro-image", {"response_modalities": ["AUDIO"]}),
    ],
)
def test_what_the_service_refuses_is_refused(google: genai.Client, model: str, config: dict[str, object]) -> None:
    """The stand-in answers 400 for what the documentation says is none of the model's."""
    with pytest.raises(ClientError) as caught:
        google.models.generate_content(
            model=model, contents="a red kite", config=types.GenerateContentConfig.model_validate(config)
        )
    assert caught.value.code == 400


def test_retired_ids_are_gone(google: genai.Client) -> None:
    """The service does not know the ids that the gateway serves by their successors."""
    for spec in MODELS:
        if spec.retired_on:
            with pytest.raises(ClientError) as caught:
                google.models.generate_content(model=spec.id, contents="a red kite")
            assert caught.value.code == 404


async def test_a_model_that_is_gone_is_missing(server: GeminiServer) -> None:
    """404 of the service is a model that this account does not have."""
    gone = row(MODELS, "gemini-3-pro-image")
    server.queue(_missing())
    with pytest.raises(UpstreamModelMissing):
        await performed(server, call(gone))


def _missing() -> Reply:
    return missing("gemini-3-pro-image", "generateContent").reply
