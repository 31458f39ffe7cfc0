"""providers.gemini: what a call becomes on the wire, and what a row refuses."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from providers.core.errors import (
    InvalidRequest,
)
from providers.core.http import JSON
from providers.core.plan import Call, Kind, plan
from providers.core.spec import ModelSpec
from providers.core.types import AUTO, AskedSize, AspectRatio, ImageRequest, Operation, Policy, Size
from providers.gemini import PROVIDER
from providers.gemini.rows import MODELS
from providers.kit.bodies import encode
from tests.providers.asking import call, calls, row, sent
from tests.providers.gemini.replies import ONE
from tests.upstreams.images import jpeg, mask_png, pixels, png

FIRST = row(MODELS, "gemini-2.5-flash-image")
PRO = row(MODELS, "gemini-3-pro-image")
PREVIEW = row(MODELS, "gemini-3-pro-image-preview")
FLASH = row(MODELS, "gemini-3.1-flash-image")
LITE = row(MODELS, "gemini-3.1-flash-lite-image")
NEWEST = row(MODELS, "gemini-nano-banana-2.1")
PHOTO, WIDE = sent(png(96, 64)), sent(jpeg(160, 90), "image[1]")


def wire(asked: Call) -> bytes:
    """The body's bytes."""
    request = PROVIDER.request(asked)
    assert isinstance(request.body, JSON)
    content_type, buffers = encode(request.body)
    assert content_type == "application/json"
    return b"".join(buffers)


def config_of(asked: Call) -> dict[str, Any]:
    """`generationConfig.imageConfig`; empty when it is not sent."""
    found: dict[str, Any] = json.loads(wire(asked))["generationConfig"].get("imageConfig", {})
    return found


def test_the_plainest_request() -> None:
    """A prompt alone asks for one square picture of the lowest tier and no words."""
    request = PROVIDER.request(ONE)
    assert (request.method, request.url, dict(request.headers)) == (
        "POST",
        "/v1beta/models/gemini-3-pro-image:generateContent",
        {},
    )
    assert wire(ONE) == (
        b'{"contents":[{"role":"user","parts":[{"text":"a red kite"}]}],"generationConfig":'
        b'{"responseModalities":["IMAGE"],"imageConfig":{"aspectRatio":"1:1","imageSize":"1K"}}}'
    )


def test_everything_that_can_be_asked() -> None:
    """Shape, tier and a seed of 0 stand where the API looks for them."""
    asked = call(NEWEST, size=AspectRatio(16, 9), quality="4k", options={"seed": 0})
    assert wire(asked) == (
        b'{"contents":[{"role":"user","parts":[{"text":"a red kite"}]}],"generationConfig":'
        b'{"responseModalities":["IMAGE"],"imageConfig":{"aspectRatio":"16:9","imageSize":"4K"},"seed":0}}'
    )


def test_an_edit_sends_its_images_first() -> None:
    """Inputs go in order before the text, each with the type of its own bytes; one is followed in shape."""
    asked = call(FLASH, images=(PHOTO,))
    parts = json.loads(wire(asked))["contents"][0]["parts"]
    assert parts == [
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PHOTO.data).decode()}},
        {"text": "a red kite"},
    ]
    assert config_of(asked) == {"imageSize": "1K"}


def test_an_edit_of_several_images_has_the_shape_of_the_first() -> None:
    """The upstream is said to follow the last of them, so the first one's shape is named; a wish goes before."""
    assert config_of(call(PRO, images=(PHOTO, WIDE))) == {"aspectRatio": "3:2", "imageSize": "1K"}
    assert config_of(call(PRO, images=(WIDE, PHOTO), size=AUTO))["aspectRatio"] == "16:9"
    assert config_of(call(PRO, images=(PHOTO, WIDE), size=AspectRatio(1, 1)))["aspectRatio"] == "1:1"


def test_a_turned_input_is_sent_upright() -> None:
    """What EXIF turns is redrawn."""
    asked = call(PRO, images=(sent(jpeg(128, 64, orientation=6)),))
    inline = json.loads(wire(asked))["contents"][0]["parts"][0]["inlineData"]
    assert pixels(base64.b64decode(inline["data"])).size == (64, 128)


@pytest.mark.parametrize(
    ("spec", "size", "quality", "said"),
    [
        (PRO, None, "standard", {"aspectRatio": "1:1", "imageSize": "1K"}),
        (PRO, None, "hd", {"aspectRatio": "1:1", "imageSize": "2K"}),
        (PRO, None, "high", {"aspectRatio": "1:1", "imageSize": "2K"}),
        (PRO, AUTO, "max", {"imageSize": "4K"}),
        (PRO, Size(1792, 1024), None, {"aspectRatio": "16:9", "imageSize": "1K"}),
        (PRO, Size(1024, 1792), None, {"aspectRatio": "9:16", "imageSize": "1K"}),
        (PRO, Size(1024, 1024), "hd", {"aspectRatio": "1:1", "imageSize": "2K"}),
        (PRO, Size(2752, 1536), None, {"aspectRatio": "16:9", "imageSize": "2K"}),
        (PRO, Size(2048, 2048), "standard", {"aspectRatio": "1:1", "imageSize": "2K"}),
        (PRO, Size(3840, 2160), None, {"aspectRatio": "16:9", "imageSize": "4K"}),
        (PRO, Size(512, 512), None, {"aspectRatio": "1:1", "imageSize": "1K"}),
        (FLASH, Size(512, 512), None, {"aspectRatio": "1:1", "imageSize": "512"}),
        (FLASH, Size(792, 336), None, {"aspectRatio": "21:9", "imageSize": "512"}),
        (FLASH, Size(512, 512), "low", {"aspectRatio": "1:1", "imageSize": "1K"}),
        (FLASH, None, None, {"aspectRatio": "1:1", "imageSize": "1K"}),
        (FLASH, AspectRatio(8, 1), None, {"aspectRatio": "8:1", "imageSize": "1K"}),
        (FIRST, AspectRatio(16, 9), "hd", {"aspectRatio": "16:9"}),
        (FIRST, Size(1024, 1792), None, {"aspectRatio": "9:16"}),
        (LITE, Size(3072, 384), "high", {"aspectRatio": "8:1"}),
    ],
    ids=str,
)
def test_size_and_quality_are_shape_and_tier(
    spec: ModelSpec, size: AskedSize | None, quality: str | None, said: dict[str, str]
) -> None:
    """The larger of the tiers that quality and pixels ask for; none where the model has no such field."""
    assert config_of(call(spec, size=size, quality=quality)) == said


@pytest.mark.parametrize(
    ("pixels_", "ratio"),
    [
        ("1024x1024", "1:1"),
        ("1792x1024", "16:9"),
        ("1024x1792", "9:16"),
        ("1152x864", "4:3"),
        ("864x1152", "3:4"),
        ("1248x832", "3:2"),
        ("832x1248", "2:3"),
        ("1280x1024", "5:4"),
        ("1024x1280", "4:5"),
        ("1344x576", "21:9"),
    ],
)
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
def test_the_table_of_the_r9s_sdk_holds(spec: ModelSpec, pixels_: str, ratio: str) -> None:
    """Every pixel size that the SDK's helper maps is mapped to the same ratio on every row (r9s 0.9.0)."""
    assert config_of(call(spec, size=Size.parse(pixels_)))["aspectRatio"] == ratio


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
def test_documented_pixels_are_exact(spec: ModelSpec) -> None:
    """Each size of a row's table is asked in its own shape and tier, and is what the caller gets."""
    tables = spec.sizes.ratios.tiers  # type: ignore[attr-defined]  # the vendor's own rule
    for tier, table in tables.items():
        for ratio, size in table.items():
            resolution = call(spec, size=size).resolution
            assert (resolution.tier, resolution.wire, resolution.pixels) == (tier, ratio, size)


def test_hd_of_the_first_model_is_reported_as_1k() -> None:
    """The spec document's example is accepted, draws 1K, and says so."""
    request = ImageRequest(
        operation=Operation.GENERATE, prompt="a city", size=AspectRatio(16, 9), quality="hd", n_sent=True
    )
    planned = plan(request, FIRST)
    assert [(a.param, a.kind, a.asked, a.used) for a in planned.adjustments] == [("quality", Kind.MAPPED, "hd", "1K")]
    assert planned.cost == 39_000


@pytest.mark.parametrize("spec", [FIRST, LITE], ids=lambda spec: spec.id)
def test_4k_needs_the_tier(spec: ModelSpec) -> None:
    """Where there is no 4K tier the word is a violation, or 1K for a lenient caller."""
    with pytest.raises(InvalidRequest, match="quality"):
        calls(spec, quality="4k")
    assert "imageSize" not in config_of(call(spec, quality="4k", policy=Policy.LENIENT))


def test_shapes_beyond_the_ten() -> None:
    """The extreme shapes are the later models' only."""
    assert config_of(call(NEWEST, size=AspectRatio(1, 4)))["aspectRatio"] == "1:4"
    for size in (AspectRatio(1, 4), Size(512, 2048), AspectRatio(9, 21)):
        with pytest.raises(InvalidRequest, match="size"):
            calls(PRO, size=size)
    assert config_of(call(PRO, size=Size(2048, 512), policy=Policy.LENIENT))["aspectRatio"] == "21:9"


def test_the_preview_is_served_by_its_successor() -> None:
    """The spec document's Pro id keeps its limits and is sent under the name that lives."""
    assert PROVIDER.request(call(PREVIEW, size=AspectRatio(1, 1), quality="4k")).url == PROVIDER.request(ONE).url
    assert (PREVIEW.successor, PREVIEW.n.per_request) == (PRO.id, 1)


@pytest.mark.parametrize("spec", [FIRST, PREVIEW], ids=lambda spec: spec.id)
def test_models_of_the_document_make_one_image_in_strict(spec: ModelSpec) -> None:
    """Strict keeps the document's n; lenient fans out, each call with a seed of its own."""
    with pytest.raises(InvalidRequest, match="1 to 1"):
        calls(spec, n=2, n_sent=True)
    made = calls(spec, n=10, n_sent=True, policy=Policy.LENIENT, options={"seed": 2**31 - 2})
    seeds = [json.loads(wire(asked))["generationConfig"]["seed"] for asked in made]
    assert seeds == [2**31 - 2, 2**31 - 1, *range(-(2**31), -(2**31) + 8)]


def test_later_models_fan_out() -> None:
    """Ten images are ten calls, and never a candidate count."""
    made = calls(PRO, n=10, n_sent=True)
    assert len(made) == 10
    assert all(b"candidateCount" not in wire(asked) for asked in made)
    with pytest.raises(InvalidRequest, match="1 to 10"):
        calls(PRO, n=11, n_sent=True)


@pytest.mark.parametrize(("spec", "most"), [(FIRST, 3), (PRO, 14), (FLASH, 14), (LITE, 14), (NEWEST, 14)], ids=str)
def test_input_images_are_counted(spec: ModelSpec, most: int) -> None:
    """As many inputs as the model takes, and not one more."""
    assert wire(call(spec, images=(PHOTO,) * most)).count(b"inlineData") == most
    with pytest.raises(InvalidRequest, match=f"at most {most}"):
        calls(spec, images=(PHOTO,) * (most + 1))


def test_a_request_of_more_than_100_mb_is_refused() -> None:
    """Pictures of which each may be sent, in base64 together too large for the API."""
    large = replace(PHOTO, data=bytes(30_000_000))
    assert len(wire(call(PRO, images=(large,) * 2))) < 100_000_000
    with pytest.raises(InvalidRequest, match="together"):
        calls(PRO, images=(large,) * 3)


def test_a_mask_stays_in_the_gateway() -> None:
    """There is no mask on this API: the picture is edited whole and composited afterwards."""
    hole = sent(mask_png(96, 64, (0, 0, 48, 64)), "mask")
    asked = call(PRO, images=(PHOTO,), mask=hole)
    assert asked.mask is None
    assert wire(asked).count(b"inlineData") == 1


@pytest.mark.parametrize("wish", [{"negative_prompt": "rain"}, {"style": "natural"}, {"watermark": True}], ids=str)
def test_what_the_models_lack_is_a_violation(wish: dict[str, Any]) -> None:
    """Refused in strict, dropped in lenient: never appended to the prompt in silence."""
    with pytest.raises(InvalidRequest):
        calls(PRO, options=wish)
    assert wire(call(PRO, options=wish, policy=Policy.LENIENT)) == wire(ONE)


def test_prompts_have_32000_characters() -> None:
    """The document's limit holds on every row."""
    assert json.loads(wire(call(FIRST, "x" * 32_000)))["contents"][0]["parts"][0]["text"] == "x" * 32_000
    for spec in MODELS:
        with pytest.raises(InvalidRequest, match="at most 32000"):
            calls(spec, "x" * 32_001)


def test_the_key_is_a_header_of_its_own() -> None:
    """The key goes bare in x-goog-api-key, to an origin that one variable moves."""
    access = PROVIDER.access
    assert (access.header, access.scheme, access.base_url_env) == ("x-goog-api-key", "", "GEMINI_BASE_URL")
    assert [(each.env, each.base_url) for each in access.credentials] == [
        ("GEMINI_API_KEY", "https://generativelanguage.googleapis.com")
    ]
