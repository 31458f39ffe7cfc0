"""providers.stability: forms, answers and errors of v2beta."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.errors import (
    InvalidRequest,
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
from providers.core.fate import Fate
from providers.core.http import Form, HTTPResponse
from providers.core.plan import Call, plan
from providers.core.provider import Completed, Failed
from providers.core.types import AspectRatio, ImageFormat, ImageRequest, Operation, Policy, Size
from providers.kit.bodies import encode
from providers.kit.client import Client
from providers.kit.clock import SystemClock
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.lift import Lifted
from providers.kit.retry import RetryRule
from providers.kit.transport import HTTPTransport
from providers.stability import PROVIDER
from providers.stability.canvas import Canvas, Margins
from providers.stability.errors import BY_NAME
from providers.stability.rows import MODELS
from tests.providers.asking import call, calls, row, sent
from tests.upstreams.images import encode as encoded
from tests.upstreams.images import jpeg, mask_png, pixels, png
from tests.upstreams.multipart import parse
from tests.upstreams.stability import KEY, StabilityServer
from tests.upstreams.stability.paint import paint_of

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "stability").glob("*.json"))
TEXT = call(row(MODELS, "stable-image-core"))
SOURCE = sent(png(96, 64, (0, 0, 200)))
MASK = sent(mask_png(96, 64, (0, 0, 48, 64)), "mask")


def form_of(asked: Call) -> dict[str, Any]:
    """The form on the wire: texts as they are, files as (file name, type, bytes)."""
    request = PROVIDER.request(asked)
    assert isinstance(request.body, Form)
    content_type, buffers = encode(request.body)
    parts = parse(content_type, b"".join(buffers))
    assert len({part.name for part in parts}) == len(parts)
    return {
        part.name: part.text if part.filename is None else (part.filename, part.content_type, part.data)
        for part in parts
    }


def answered(status: int, body: object, **headers: str) -> HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status=status, headers=headers, body=data)


def failed(response: HTTPResponse) -> UpstreamFailure:
    outcome = PROVIDER.outcome(TEXT, response)
    assert isinstance(outcome, Failed)
    return outcome.error


# Requests


def test_a_request_is_a_form_of_texts() -> None:
    """Without options a generation is prompt and format, each a part without a file name, and JSON is asked for."""
    request = PROVIDER.request(TEXT)
    assert (request.method, request.url) == ("POST", "/v2beta/stable-image/generate/core")
    assert request.headers == {"accept": "application/json"}
    assert isinstance(request.body, Form)
    content_type, buffers = encode(request.body, "b")
    assert content_type == "multipart/form-data; boundary=b"
    assert b"".join(buffers) == (
        b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red kite\r\n'
        b'--b\r\nContent-Disposition: form-data; name="output_format"\r\n\r\npng\r\n--b--\r\n'
    )


def test_options_go_by_the_vendors_names() -> None:
    """size, negative_prompt, seed, style and output_format reach their fields."""
    asked = call(
        row(MODELS, "stable-image-ultra"),
        size=Size(1792, 1024),
        output_format=ImageFormat.WEBP,
        options={"negative_prompt": "rain", "seed": 7, "style": "anime"},
    )
    assert form_of(asked) == {
        "prompt": "a red kite",
        "aspect_ratio": "16:9",
        "negative_prompt": "rain",
        "seed": "7",
        "style_preset": "anime",
        "output_format": "webp",
    }


def test_the_model_is_named_where_several_share_an_endpoint() -> None:
    """The sd3 endpoint is told which model runs, or it would run and bill its largest."""
    form = form_of(call(row(MODELS, "sd3.5-medium")))
    assert (form["model"], form["mode"]) == ("sd3.5-medium", "text-to-image")
    assert "model" not in form_of(TEXT)


@pytest.mark.parametrize(
    ("retired", "successor"),
    [
        ("sd3-large", "sd3.5-large"),
        ("sd3-large-turbo", "sd3.5-large-turbo"),
        ("sd3-medium", "sd3.5-medium"),
    ],
)
def test_retired_names_are_sent_as_their_successor(retired: str, successor: str) -> None:
    """The SD 3.0 names are served by the models that answer them since April 2025."""
    spec = row(MODELS, retired)
    assert spec.successor == successor
    assert spec.retired_on is not None
    assert form_of(call(spec))["model"] == successor


def test_an_edit_starts_from_the_picture() -> None:
    """Image-to-image says its mode and strength and never a ratio, which is refused there."""
    form = form_of(call(row(MODELS, "sd3.5-large"), images=(SOURCE,), size=Size(1024, 1024)))
    assert form["image"] == ("image.png", "image/png", SOURCE.data)
    assert (form["mode"], form["strength"]) == ("image-to-image", "0.7")
    assert "aspect_ratio" not in form


def test_the_mask_is_turned_into_white_is_edit() -> None:
    """OpenAI's transparent pixels arrive as white ones of a grey PNG, and nothing beyond them is painted."""
    form = form_of(call(row(MODELS, "stable-image-inpaint"), images=(SOURCE,), mask=MASK))
    name, kind, data = form["mask"]
    assert (name, kind) == ("mask.png", "image/png")
    mask = pixels(data)
    assert (mask.mode, mask.getpixel((0, 0)), mask.getpixel((95, 63))) == ("L", 255, 0)
    assert form["grow_mask"] == "0"


def test_erasing_sends_no_prompt_and_says_so() -> None:
    """The erase endpoint has no prompt: OpenAI's mandatory one is reported as not used."""
    spec = row(MODELS, "stable-image-erase")
    request = ImageRequest(operation=Operation.EDIT, prompt="remove it", images=(SOURCE,), mask=MASK)
    made = plan(request, spec)
    assert "prompt" not in form_of(made.calls[0])
    assert [(a.param, a.kind) for a in made.adjustments] == [("prompt", "defaulted")]


@pytest.mark.parametrize(("service", "field"), [("replace", "search_prompt"), ("recolor", "select_prompt")])
def test_searching_says_what_to_look_for(service: str, field: str) -> None:
    """Both services take what to find beside what to make of it, under names of their own."""
    asked = call(
        row(MODELS, f"stable-image-search-and-{service}"),
        "a cat",
        images=(SOURCE,),
        options={"search_prompt": "the dog", "seed": 4},
    )
    form = form_of(asked)
    assert (form["prompt"], form[field], form["seed"]) == ("a cat", "the dog", "4")
    assert set(form) == {"image", "prompt", field, "seed", "output_format"}


@pytest.mark.parametrize("policy", list(Policy))
def test_searching_needs_something_to_look_for(policy: Policy) -> None:
    """Without it there is nothing to do, for a lenient caller as well; and an empty text is none."""
    with pytest.raises(InvalidRequest, match="'search_prompt' is required") as caught:
        calls(row(MODELS, "stable-image-search-and-replace"), images=(SOURCE,), policy=policy)
    assert caught.value.violations[0].code == "missing_required_parameter"


def test_removing_a_background_takes_the_picture_alone() -> None:
    """It takes neither prompt nor mask, and may be asked for what it makes: a transparent background."""
    asked = call(row(MODELS, "stable-image-remove-background"), images=(SOURCE,), background="transparent")
    assert set(form_of(asked)) == {"image", "output_format"}


def test_an_inpainting_model_needs_to_know_where() -> None:
    """Without a mask and without transparency the request is refused before it costs anything."""
    spec = row(MODELS, "stable-image-inpaint")
    with pytest.raises(InvalidRequest, match="needs a 'mask'") as caught:
        calls(spec, images=(SOURCE,))
    assert caught.value.param == "mask"
    own = call(spec, images=(sent(png(64, 64, alpha=10)),))
    assert set(form_of(own)) == {"image", "prompt", "grow_mask", "output_format"}


def test_turned_pictures_are_sent_upright() -> None:
    """What EXIF turns is redrawn, so that the mask lies where the caller drew it."""
    turned = sent(jpeg(128, 64, orientation=6))
    asked = call(row(MODELS, "stable-image-inpaint"), images=(turned,), mask=sent(mask_png(64, 128, (0, 0, 9, 9))))
    name, kind, data = form_of(asked)["image"]
    assert (name, kind) == ("image.jpg", "image/jpeg")
    assert pixels(data).size == (64, 128)
    assert pixels(data).getexif().get(0x0112) is None


@pytest.mark.parametrize(
    ("size", "margins"),
    [
        (Size(96, 164), {"up": "50", "down": "50"}),
        (Size(197, 64), {"left": "50", "right": "51"}),
        (Size(1024, 1024), {"left": "464", "right": "464", "up": "480", "down": "480"}),
        (AspectRatio(16, 9), {"left": "9", "right": "9"}),
        (AspectRatio(1, 1), {"up": "16", "down": "16"}),
        (None, {"left": "24", "right": "24", "up": "16", "down": "16"}),
    ],
    ids=str,
)
def test_outpainting_maps_the_size_to_margins(size: Size | AspectRatio | None, margins: dict[str, str]) -> None:
    """The size is the result's: what it has more than the picture goes around it, zero margins are not sent."""
    form = form_of(call(row(MODELS, "stable-image-outpaint"), images=(SOURCE,), size=size))
    assert {side: form[side] for side in ("left", "right", "up", "down") if side in form} == margins


@pytest.mark.parametrize("size", [Size(96, 64), Size(64, 128), Size(96 + 4001, 64), AspectRatio(3, 2)], ids=str)
def test_outpainting_refuses_what_does_not_grow(size: Size | AspectRatio) -> None:
    """A result that is the picture itself, smaller, or beyond 2000 pixels a side is a violation of size."""
    with pytest.raises(InvalidRequest) as caught:
        calls(row(MODELS, "stable-image-outpaint"), images=(SOURCE,), size=size)
    assert caught.value.param == "size"


@given(
    st.builds(Size, st.integers(64, 3000), st.integers(64, 3000)),
    st.builds(Size, st.integers(1, 9000), st.integers(1, 9000)),
)
def test_the_nearest_canvas_is_a_canvas(inner: Size, asked: Size) -> None:
    """Whatever is asked, the nearest answer can be asked for, and its margins add up."""
    rule = Canvas(margin=2000).around(inner)
    nearest = rule.nearest(asked).wire
    assert isinstance(nearest, Size)
    again = rule.resolve(nearest)
    assert again is not None
    assert again.wire == nearest
    margins = Margins.between(inner, nearest)
    assert min(margins.left, margins.right, margins.up, margins.down) >= 0
    assert max(margins.left, margins.right, margins.up, margins.down) <= 2000
    assert inner.width + margins.left + margins.right == nearest.width


def test_seeds_of_a_fan_out_differ_and_are_never_random() -> None:
    """Several pictures of one seed are calls of consecutive seeds, wrapping to 1: 0 would ask for a random one."""
    made = calls(row(MODELS, "stable-image-core"), n=3, n_sent=True, options={"seed": 4_294_967_293})
    assert [form_of(one)["seed"] for one in made] == ["4294967293", "4294967294", "1"]
    with pytest.raises(InvalidRequest):
        calls(row(MODELS, "stable-image-core"), options={"seed": 0})


def test_models_without_negative_prompts_refuse_them() -> None:
    """On the distilled models a negative prompt would be without effect: a violation, dropped when lenient."""
    spec = row(MODELS, "sd3.5-large-turbo")
    with pytest.raises(InvalidRequest):
        calls(spec, options={"negative_prompt": "rain"})
    lenient = call(spec, options={"negative_prompt": "rain"}, policy=Policy.LENIENT)
    assert "negative_prompt" not in form_of(lenient)


def test_a_model_without_webp_is_asked_for_png() -> None:
    """A format that the endpoint may refuse is made by the gateway."""
    request = ImageRequest(operation=Operation.GENERATE, prompt="x", output_format=ImageFormat.WEBP)
    made = plan(request, row(MODELS, "sd3.5-large"))
    assert form_of(made.calls[0])["output_format"] == "png"
    assert [fate.fate for fate in made.fates if fate.param == "output_format"] == [Fate.EMULATED]


@pytest.mark.parametrize(
    ("width", "height", "model"),
    [
        (63, 64, "stable-image-inpaint"),
        (3200, 3200, "stable-image-inpaint"),
        (2100, 2000, "stable-image-remove-background"),
        (640, 128, "stable-image-outpaint"),
    ],
)
def test_pictures_beyond_the_limits_are_refused(width: int, height: int, model: str) -> None:
    """Edges, pixels and elongation of inputs are judged before the request is sent."""
    source = sent(png(width, height, (1, 2, 3), alpha=9))
    with pytest.raises(InvalidRequest) as caught:
        calls(row(MODELS, model), images=(source,))
    assert caught.value.param == "image"


# Answers


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_documented_answers_are_understood(fixture: Path) -> None:
    """Answers in the shapes of the reference mean what it says they mean."""
    document = json.loads(fixture.read_text())
    outcome = PROVIDER.outcome(TEXT, answered(document["status"], document["body"]))
    if fixture.stem == "made":
        assert isinstance(outcome, Completed)
        assert isinstance(outcome.images[0].content, Lifted)
        assert pixels(outcome.images[0].content.decode()).size == (1, 1)
        return
    assert isinstance(outcome, Failed)
    error = outcome.error
    expected: dict[str, tuple[type, str | None, str | None, str | None, bool]] = {
        "filtered": (Refused, "output", "CONTENT_FILTERED", None, True),
        "refused": (Refused, "unknown", "content_moderation", None, False),
        "invalid": (UpstreamBadRequest, None, "bad_request", "style", False),
    }
    assert (type(error), error.stage, error.upstream_code, error.param, error.billed) == expected[fixture.stem]
    assert error.upstream_request_id == document["body"].get("id")


NAMED = {
    "bad_request": (400, UpstreamBadRequest),
    "invalid_prompts": (400, UpstreamBadRequest),
    "invalid_language": (400, UpstreamBadRequest),
    "unprocessable_entity": (422, UpstreamBadRequest),
    "payload_too_large": (413, UpstreamBadRequest),
    "unauthorized": (401, UpstreamAuth),
    "permission_denied": (403, UpstreamAuth),
    "payment_required": (402, UpstreamQuota),
    "content_moderation": (403, Refused),
    "not_found": (404, UpstreamModelMissing),
    "rate_limit_exceeded": (429, UpstreamRateLimited),
    "internal_error": (500, UpstreamError),
    "service_unavailable": (503, UpstreamUnavailable),
}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_named_error_has_its_class(name: str) -> None:
    """Each name of the table becomes its class, unbilled, with the trace id as the request's."""
    status, kind = NAMED[name]
    error = failed(answered(status, {"id": "trace", "name": name, "errors": ["image: is broken"]}))
    assert (type(error), error.upstream_code, error.billed) == (kind, name, False)
    assert (error.param, error.upstream_request_id, error.message) == ("image", "trace", "image: is broken")


def test_the_rate_limit_shuts_out_for_a_minute() -> None:
    """A 429 without retry-after means the documented minute, one with it what it says."""
    body = {"id": "x", "name": "rate_limit_exceeded", "errors": []}
    assert failed(answered(429, body)).retry_after == 60
    assert failed(answered(429, body, **{"retry-after": "7"})).retry_after == 7


@pytest.mark.parametrize("status", [403, 402, 429, 500, 503])
def test_unknown_names_go_by_their_status(status: int) -> None:
    """A name that is not in the table, or none, leaves the status to decide: a bare 403 is our key, no refusal."""
    kinds = {403: UpstreamAuth, 402: UpstreamQuota, 429: UpstreamRateLimited, 503: UpstreamUnavailable}
    for body in ({"name": "brand_new"}, {"name": 5, "errors": "no list", "id": []}, {}):
        assert type(failed(answered(status, body))) is kinds.get(status, UpstreamError)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>proxy</html>",
        b"[]",
        b'"text"',
        b"null",
        b'{"image": "!!!", "finish_reason": "SUCCESS"}',
        b'{"image": "", "finish_reason": "SUCCESS"}',
        b'{"image": 5}',
        b'{"finish_reason": "SUCCESS", "seed": 1}',
        b'{"id": "a task that nobody asked for"}',
        b'{"finish_reason": "ERROR", "image": "AAAA"}',
        b'{"finish_reason": null, "image": "AAAA"}',
        b'{"finish_reason": ["SUCCESS"], "image": "AAAA"}',
        b'{"image": "AAAA", "image": "AAAA"}',
    ],
)
def test_strange_successes_are_failures(body: bytes) -> None:
    """An answer of status 200 that holds no finished picture is an upstream error that may have been billed."""
    error = failed(answered(200, body))
    assert type(error) is UpstreamError
    assert error.billed


def test_a_proxys_page_is_not_shown() -> None:
    """HTML never reaches the caller."""
    error = failed(answered(502, b"<html><body>502 Bad Gateway</body></html>"))
    assert type(error) is UpstreamError
    assert "<" not in error.message


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["SUCCESS", "CONTENT_FILTERED"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["image", "finish_reason", "seed", "id", "name", "errors"]), inner, max_size=6
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([200, 202, 204, 301, 400, 403, 429, 500, 503]), st.binary(max_size=64) | _JSON)
def test_no_answer_raises(status: int, body: object) -> None:
    """Whatever the upstream sends, the outcome is a value; a completed one has its image."""
    outcome = PROVIDER.outcome(TEXT, answered(status, body))
    assert isinstance(outcome, Failed) or (isinstance(outcome, Completed) and len(outcome.images) == 1)


# Over the wire


async def performed(server: StabilityServer, asked: Call, key: str = KEY) -> bytes:
    transport, clock = HTTPTransport(), SystemClock()
    client = Client(transport, clock, RetryRule(clock))
    deployment = Deployment(provider=PROVIDER, base_url=server.url, key=key)
    try:
        made = await client.perform((deployment,), asked, clock.now() + 20, Journal())
    finally:
        await transport.close()
    (image,) = made.images
    assert isinstance(image.content, Lifted)
    return image.content.decode()


@pytest.mark.parametrize(
    "spec", [spec for spec in MODELS if Operation.GENERATE in spec.operations], ids=lambda s: s.id
)
async def test_every_row_generates(spec: Any) -> None:
    """The strict server takes the full form of every generating row and draws the shape that the row promises."""
    options = {name: {"seed": 9, "negative_prompt": "rain", "style": "anime"}[name] for name in spec.options}
    asked = call(spec, size=AspectRatio(21, 9), options=options)
    with StabilityServer() as server:
        image = pixels(await performed(server, asked))
    assert asked.resolution.pixels == Size(*image.size)
    assert image.format == "PNG"


@pytest.mark.parametrize(
    "model", ["stable-image-ultra", "sd3.5-large", "sd3.5-large-turbo", "stable-image-remove-background"]
)
async def test_edits_without_masks_are_taken(model: str) -> None:
    """The strict server takes a picture without a mask where none is needed."""
    with StabilityServer() as server:
        image = pixels(await performed(server, call(row(MODELS, model), images=(SOURCE,))))
    assert image.size == (96, 64)


@pytest.mark.parametrize("model", ["stable-image-inpaint", "stable-image-erase"])
async def test_the_transparent_part_of_the_mask_is_painted(model: str) -> None:
    """By pixels: what is transparent in OpenAI's mask has changed, what is opaque has not."""
    with StabilityServer() as server:
        image = pixels(await performed(server, call(row(MODELS, model), images=(SOURCE,), mask=MASK)))
    assert image.getpixel((10, 30)) != (0, 0, 200)
    assert image.getpixel((80, 30)) == (0, 0, 200)


@pytest.mark.parametrize("service", ["replace", "recolor"])
async def test_what_is_found_is_painted(service: str) -> None:
    """By pixels: the server finds a colour by its name, paints it, and leaves the rest as it was."""
    source = pixels(bytes(SOURCE.data)).convert("RGB")
    source.paste((255, 0, 0), (0, 0, 48, 64))
    asked = call(
        row(MODELS, f"stable-image-search-and-{service}"),
        images=(sent(encoded(source, "png")),),
        options={"search_prompt": "red"},
    )
    with StabilityServer() as server:
        image = pixels(await performed(server, asked))
    assert image.getpixel((10, 30)) == paint_of("a red kite", 343940597)
    assert image.getpixel((80, 30)) == (0, 0, 200)


async def test_outpainting_has_the_size_that_was_asked() -> None:
    """The result measures what was asked and holds the picture in its middle."""
    asked = call(row(MODELS, "stable-image-outpaint"), images=(SOURCE,), size=Size(200, 100))
    with StabilityServer() as server:
        image = pixels(await performed(server, asked))
    assert image.size == (200, 100)
    assert image.getpixel((100, 50)) == (0, 0, 200)
    assert image.getpixel((2, 2)) == paint_of("a red kite", 343940597)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("FORBIDDEN", Refused),
        ("FILTERED", Refused),
        ("RATELIMIT", UpstreamRateLimited),
        ("QUOTA", UpstreamQuota),
        ("BOOM", UpstreamError),
        ("HTML502", UpstreamError),
        ("TRUNCATE", UpstreamError),
        ("EMPTY", UpstreamError),
        ("GARBAGE", UpstreamError),
        ("BADINPUT", UpstreamBadRequest),
    ],
)
async def test_failures_on_the_wire_have_their_class(word: str, kind: type[UpstreamFailure]) -> None:
    """Each way of the service to fail arrives as its class, after one attempt."""
    with StabilityServer() as server:
        with pytest.raises(kind) as caught:
            await performed(server, call(row(MODELS, "stable-image-core"), f"a kite {word}"))
        assert type(caught.value) is kind
        assert len(server.exchanges) == 1


async def test_a_wrong_key_is_ours() -> None:
    """A refused credential is an upstream authentication failure."""
    with StabilityServer() as server, pytest.raises(UpstreamAuth):
        await performed(server, TEXT, key="sk-other")
