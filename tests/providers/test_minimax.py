"""providers.minimax: bodies, answers and errors of image_generation."""

from __future__ import annotations

import base64
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
    UpstreamTimeout,
)
from providers.core.http import JSON, HTTPResponse
from providers.core.plan import Call, plan
from providers.core.provider import Completed, Failed, Link
from providers.core.types import AspectRatio, ImageFormat, ImageRequest, Operation, Policy, Size
from providers.kit.bodies import encode
from providers.kit.client import Client
from providers.kit.clock import SystemClock
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.lift import Lifted
from providers.kit.retry import RetryRule
from providers.kit.transport import HTTPTransport
from providers.minimax import CODES, MODELS, PROVIDER
from tests.providers.asking import call, calls, row, sent
from tests.upstreams.images import jpeg, mask_png, pixels, png, webp
from tests.upstreams.minimax import AS_LINKS, BADINPUT, FLAGGED, KEY, PARTIAL, MiniMaxServer

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "minimax").glob("*.json"))
IMAGE_01, LIVE = row(MODELS, "image-01"), row(MODELS, "image-01-live")
TWO = call(IMAGE_01, n=2, n_sent=True)
PERSON = sent(png(96, 64, (0, 0, 200)))


def wire(asked: Call) -> bytes:
    """The body's bytes."""
    request = PROVIDER.request(asked)
    assert isinstance(request.body, JSON)
    content_type, buffers = encode(request.body)
    assert content_type == "application/json"
    return b"".join(buffers)


def body_of(asked: Call) -> dict[str, Any]:
    document = json.loads(wire(asked))
    assert isinstance(document, dict)
    return document


def answered(status: int, body: object, **headers: str) -> HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status=status, headers=headers, body=data)


def failed(response: HTTPResponse) -> UpstreamFailure:
    outcome = PROVIDER.outcome(TWO, response)
    assert isinstance(outcome, Failed)
    return outcome.error


# Requests


def test_a_request_says_how_many_and_in_which_form() -> None:
    """Without wishes the body is model, prompt, n and base64, at the one path that there is."""
    request = PROVIDER.request(call(IMAGE_01))
    assert (request.method, request.url, dict(request.headers)) == ("POST", "/v1/image_generation", {})
    assert wire(call(IMAGE_01)) == (b'{"model":"image-01","prompt":"a red kite","n":1,"response_format":"base64"}')


def test_options_go_by_the_vendors_names() -> None:
    """prompt_extend and watermark have other names on the wire, and false and 0 are said."""
    asked = call(IMAGE_01, n=9, n_sent=True, options={"seed": 0, "prompt_extend": False, "watermark": False})
    assert wire(asked) == (
        b'{"model":"image-01","prompt":"a red kite","n":9,"response_format":"base64",'
        b'"seed":0,"prompt_optimizer":false,"aigc_watermark":false}'
    )


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (Size(1024, 1024), {"aspect_ratio": "1:1"}),
        (Size(1280, 720), {"aspect_ratio": "16:9"}),
        (Size(1152, 864), {"aspect_ratio": "4:3"}),
        (Size(1248, 832), {"aspect_ratio": "3:2"}),
        (Size(832, 1248), {"aspect_ratio": "2:3"}),
        (Size(864, 1152), {"aspect_ratio": "3:4"}),
        (Size(720, 1280), {"aspect_ratio": "9:16"}),
        (Size(1344, 576), {"aspect_ratio": "21:9"}),
        (AspectRatio(21, 9), {"aspect_ratio": "21:9"}),
        (Size(512, 512), {"width": 512, "height": 512}),
        (Size(1536, 1024), {"width": 1536, "height": 1024}),
        (Size(1792, 1024), {"width": 1792, "height": 1024}),
        (Size(2048, 512), {"width": 2048, "height": 512}),
    ],
    ids=str,
)
def test_sizes_are_a_ratio_of_the_table_or_two_edges(size: Size | AspectRatio, said: dict[str, Any]) -> None:
    """The table comes first, then edges from 512 to 2048 in steps of 8, and never both."""
    shaped = {"aspect_ratio", "width", "height"}
    assert {key: value for key, value in body_of(call(IMAGE_01, size=size)).items() if key in shaped} == said


@pytest.mark.parametrize("size", [Size(256, 256), Size(1001, 1000), Size(2056, 1024), Size(504, 1024)], ids=str)
def test_other_sizes_are_violations_with_a_neighbour(size: Size) -> None:
    """A size beyond the rule is refused in strict, and lenient draws the nearest that fits."""
    with pytest.raises(InvalidRequest) as caught:
        calls(IMAGE_01, size=size)
    assert caught.value.param == "size"
    wish = call(IMAGE_01, size=size, policy=Policy.LENIENT).resolution.wire
    assert isinstance(wish, Size)
    assert wish.width % 8 == wish.height % 8 == 0


def test_a_ratio_beyond_the_table_is_drawn_in_pixels() -> None:
    """A ratio without a name on the wire is asked for by its edges."""
    body = body_of(call(IMAGE_01, size=AspectRatio(5, 4)))
    assert body["width"] / body["height"] == pytest.approx(1.25, rel=0.03)


def test_the_live_model_knows_seven_ratios_and_no_pixels() -> None:
    """image-01-live takes neither 21:9 nor free edges; pixels of a known shape become its ratio."""
    assert body_of(call(LIVE, size=Size(1792, 1024)))["aspect_ratio"] == "16:9"
    for size in (AspectRatio(21, 9), Size(1344, 576), Size(2048, 512)):
        with pytest.raises(InvalidRequest):
            calls(LIVE, size=size)


@pytest.mark.parametrize(("word", "label"), [("comic", "漫画"), ("watercolor", "水彩"), ("元气", "元气")])
def test_styles_are_the_vendors_labels(word: str, label: str) -> None:
    """The live model's styles may be said in English or as they are; image-01 has none."""
    assert body_of(call(LIVE, options={"style": word}))["style"] == {"style_type": label}
    with pytest.raises(InvalidRequest):
        calls(IMAGE_01, options={"style": word})


def test_nine_images_are_one_call_and_ten_are_two() -> None:
    """Strict grants the nine of the document; lenient makes ten of nine and one, with another seed."""
    with pytest.raises(InvalidRequest, match="1 to 9"):
        calls(IMAGE_01, n=10, n_sent=True)
    made = calls(IMAGE_01, n=10, n_sent=True, options={"seed": 5}, policy=Policy.LENIENT)
    assert [(body["n"], body["seed"]) for body in map(body_of, made)] == [(9, 5), (1, 14)]


def test_prompts_have_1500_characters() -> None:
    """Characters are counted, not bytes."""
    assert body_of(call(IMAGE_01, "画" * 1500))["prompt"] == "画" * 1500
    with pytest.raises(InvalidRequest, match="at most 1500"):
        calls(IMAGE_01, "x" * 1501)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
def test_an_edit_is_a_subject_reference(spec: Any) -> None:
    """The one image goes as a data URL of its own type, next to an ordinary generation."""
    asked = call(spec, images=(sent(jpeg(96, 64)),), size=AspectRatio(3, 2))
    encoded = base64.b64encode(jpeg(96, 64)).decode()
    assert body_of(asked) == {
        "model": spec.id,
        "prompt": "a red kite",
        "aspect_ratio": "3:2",
        "n": 1,
        "response_format": "base64",
        "subject_reference": [{"type": "character", "image_file": f"data:image/jpeg;base64,{encoded}"}],
    }


@pytest.mark.parametrize("policy", Policy)
def test_what_is_no_subject_reference_is_refused(policy: Policy) -> None:
    """A mask and a second image have no meaning here, whatever the policy."""
    hole = sent(mask_png(96, 64, (0, 0, 48, 64)), "mask")
    with pytest.raises(InvalidRequest, match="does not support masks"):
        calls(IMAGE_01, images=(PERSON,), mask=hole, policy=policy)
    with pytest.raises(InvalidRequest, match="at most 1"):
        calls(IMAGE_01, images=(PERSON, PERSON), policy=policy)


def test_a_webp_reference_is_made_into_a_jpeg() -> None:
    """The service reads JPEG and PNG only: the gateway re-encodes what is neither."""
    request = ImageRequest(operation=Operation.EDIT, prompt="a red kite", images=(sent(webp(96, 64)),))
    (fit,) = plan(request, IMAGE_01).fits
    assert fit is not None
    assert fit.format is ImageFormat.JPEG


def test_a_turned_reference_is_sent_upright() -> None:
    """What EXIF turns is redrawn: nothing says that the service reads EXIF."""
    body = body_of(call(IMAGE_01, images=(sent(jpeg(128, 64, orientation=6)),)))
    encoded = body["subject_reference"][0]["image_file"].partition(",")[2]
    assert pixels(base64.b64decode(encoded)).size == (64, 128)


@pytest.mark.parametrize("wish", [{"negative_prompt": "rain"}, {"input_fidelity": "high"}], ids=str)
def test_what_the_model_lacks_is_a_violation(wish: dict[str, str]) -> None:
    """Parameters that would change the picture are refused in strict and reported in lenient."""
    with pytest.raises(InvalidRequest):
        calls(IMAGE_01, options=wish)
    assert body_of(call(IMAGE_01, options=wish, policy=Policy.LENIENT)) == body_of(call(IMAGE_01))


def test_a_png_is_made_by_the_gateway() -> None:
    """The model makes JPEG only: another format is emulated and nothing of it goes upstream."""
    request = ImageRequest(operation=Operation.GENERATE, prompt="a red kite", output_format=ImageFormat.PNG)
    made = plan(request, IMAGE_01)
    assert made.output.convert
    assert body_of(made.calls[0]) == body_of(call(IMAGE_01))


# Answers


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_documented_answers_are_understood(fixture: Path) -> None:
    """Answers in the shapes of the reference mean what it says they mean."""
    document = json.loads(fixture.read_text())
    outcome = PROVIDER.outcome(TWO, answered(document["status"], document["body"], **{"trace-id": "head"}))
    completed = {"made": (Lifted, 2, 0), "linked": (Link, 2, 0), "partial": (Lifted, 1, 1)}
    if isinstance(outcome, Completed):
        form, made, missed = completed[fixture.stem]
        assert [type(image.content) for image in outcome.images] == [form] * made
        assert len(outcome.failures) == missed
        assert outcome.upstream_request_id == document["body"]["id"]
        return
    assert isinstance(outcome, Failed)
    error = outcome.error
    expected: dict[str, tuple[type, str, str | None, str | None]] = {
        "refused": (Refused, "1026", "input", "prompt"),
        "unpaid": (UpstreamQuota, "1008", None, None),
        "quota": (UpstreamQuota, "1028", None, None),
        "invalid": (UpstreamBadRequest, "2013", None, None),
    }
    assert (type(error), error.upstream_code, error.stage, error.param) == expected[fixture.stem]
    said = document["body"]
    assert error.upstream_request_id == said.get("id", said.get("request_id", "head"))


KINDS: dict[int, type[UpstreamFailure]] = {
    1000: UpstreamError,
    1001: UpstreamTimeout,
    1002: UpstreamRateLimited,
    1004: UpstreamAuth,
    1008: UpstreamQuota,
    1024: UpstreamError,
    1026: Refused,
    1027: Refused,
    1028: UpstreamQuota,
    1030: UpstreamQuota,
    1033: UpstreamError,
    1039: UpstreamRateLimited,
    1041: UpstreamRateLimited,
    1042: UpstreamBadRequest,
    2013: UpstreamBadRequest,
    2038: UpstreamAuth,
    2045: UpstreamRateLimited,
    2049: UpstreamAuth,
    2056: UpstreamQuota,
    2061: UpstreamModelMissing,
    4242: UpstreamError,
}


@pytest.mark.parametrize("code", sorted({*KINDS, *map(int, CODES)}))
def test_every_code_has_its_class_in_every_shape(code: int) -> None:
    """A code means the same inside a 200, as a string, and at the end of an error object's message."""
    shapes = (
        answered(200, {"base_resp": {"status_code": code, "status_msg": "so"}}),
        answered(200, {"base_resp": {"status_code": str(code), "status_msg": "so"}, "data": None}),
        answered(200, {"type": "error", "error": {"type": "some_error", "message": f"so ({code})"}}),
    )
    for error in map(failed, shapes):
        assert (type(error), error.upstream_code) == (KINDS[code], str(code))
        assert error.message.startswith("so")


def test_a_refusal_says_what_was_refused() -> None:
    """1026 is the prompt, 1027 the drawn picture, which may have cost money."""
    refusals = [failed(answered(200, {"base_resp": {"status_code": code}})) for code in (1026, 1027)]
    assert [(error.stage, error.param, error.billed) for error in refusals] == [
        ("input", "prompt", False),
        ("output", None, True),
    ]


@pytest.mark.parametrize("code", [1002, 1039])
def test_disputed_codes_are_read_by_their_message(code: int) -> None:
    """What the documents call a rate limit is a refusal where the message speaks of sensitive content."""
    error = failed(answered(200, {"base_resp": {"status_code": code, "status_msg": "Sensitive content"}}))
    assert (type(error), error.stage) == (Refused, "unknown")


@pytest.mark.parametrize("code", [1004, 2049])
def test_a_refused_key_names_the_other_region(code: int) -> None:
    """A key of the other region looks like a wrong one: the message says which variable moves the host."""
    assert "MINIMAX_BASE_URL" in failed(answered(200, {"base_resp": {"status_code": code}})).message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, UpstreamAuth), (429, UpstreamRateLimited), (504, UpstreamTimeout), (500, UpstreamError)],
)
def test_without_a_code_the_status_decides(status: int, kind: type[UpstreamFailure]) -> None:
    """An error object without a number, a success inside an error, or nothing at all."""
    for body in ({"error": {"message": "no"}}, {"base_resp": {"status_code": 0}}, {}, b"<html>edge</html>"):
        error = failed(answered(status, body))
        assert type(error) is kind
        assert "<" not in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"<html>proxy</html>",
        b'{"data":{"image_base64":["AAAA"]}}',
        b'{"base_resp":{"status_code":"0"}}',
        b'{"base_resp":{"status_code":true},"data":{"image_base64":["AAAA"]}}',
        b'{"base_resp":{"status_code":0},"data":null}',
        b'{"base_resp":{"status_code":0},"data":{"image_base64":[],"image_urls":[]}}',
        b'{"base_resp":{"status_code":0},"data":{"image_base64":"AAAA"}}',
        b'{"base_resp":{"status_code":0},"data":{"image_base64":["",7,null,"!"],"image_urls":["ftp://x",1]}}',
        b'{"base_resp":{"status_code":0},"metadata":{"success_count":"2"},"data":[]}',
    ],
)
def test_strange_successes_are_failures(body: bytes) -> None:
    """A 200 without a status or without an image is an upstream error that may have been billed."""
    error = failed(answered(200, body))
    assert type(error) is UpstreamError
    assert error.billed


_KEYS = (
    "base_resp",
    "status_code",
    "status_msg",
    "data",
    "image_base64",
    "image_urls",
    "metadata",
    "error",
    "message",
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 3000)
    | st.text(max_size=8)
    | st.sampled_from(["0", "1026", "AAAA", "https://x/1", "(2013)"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=12,
)


@given(st.sampled_from([200, 204, 301, 400, 401, 429, 500, 503, 799]), st.binary(max_size=64) | _JSON)
def test_no_answer_raises(status: int, body: object) -> None:
    """Whatever the upstream sends, the outcome is a value; a completed one has an image."""
    outcome = PROVIDER.outcome(TWO, answered(status, body))
    assert isinstance(outcome, Failed) or (isinstance(outcome, Completed) and outcome.images)


# Over the wire


async def performed(server: MiniMaxServer, asked: Call, key: str = KEY) -> Completed:
    transport, clock = HTTPTransport(), SystemClock()
    client = Client(transport, clock, RetryRule(clock, attempts=1))
    try:
        return await client.perform(
            (Deployment(provider=PROVIDER, base_url=server.url, key=key),), asked, clock.now() + 20, Journal()
        )
    finally:
        await transport.close()


@pytest.mark.parametrize("images", [(), (PERSON,)], ids=["generate", "edit"])
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
async def test_every_row_draws_on_both_routes(spec: Any, images: Any) -> None:
    """The strict server takes every option of every row and draws the size that the row promises."""
    values = {"seed": 9, "prompt_extend": True, "watermark": True, "style": "comic"}
    options = {name: values[name] for name in spec.options}
    asked = call(spec, n=2, n_sent=True, size=AspectRatio(3, 2), options=options, images=images)
    with MiniMaxServer() as server:
        made = await performed(server, asked)
    assert len(made.images) == 2
    for image in made.images:
        assert isinstance(image.content, Lifted)
        drawn = pixels(image.content.decode())
        assert (drawn.format, Size(*drawn.size)) == ("JPEG", asked.resolution.pixels)
    assert server.exchanges[0].header("authorization") == f"Bearer {KEY}"


async def test_free_edges_are_drawn() -> None:
    """A size beyond the table comes back in its own pixels."""
    with MiniMaxServer() as server:
        (image,) = (await performed(server, call(IMAGE_01, size=Size(1536, 1024)))).images
    assert isinstance(image.content, Lifted)
    assert pixels(image.content.decode()).size == (1536, 1024)


async def test_fewer_images_are_delivered_and_counted() -> None:
    """A partial answer keeps its images and says how many are missing."""
    with MiniMaxServer() as server:
        made = await performed(server, call(IMAGE_01, PARTIAL, n=3, n_sent=True))
    assert (len(made.images), len(made.failures)) == (2, 1)


async def test_links_are_taken_when_links_come() -> None:
    """An answer in the other form than asked is not lost."""
    with MiniMaxServer() as server:
        (image,) = (await performed(server, call(IMAGE_01, AS_LINKS))).images
        assert isinstance(image.content, Link)
        assert image.content.url.startswith(server.url)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("FORBIDDEN", Refused),
        (FLAGGED, Refused),
        ("RATELIMIT", UpstreamRateLimited),
        ("QUOTA", UpstreamQuota),
        ("BOOM", UpstreamError),
        (BADINPUT, UpstreamBadRequest),
        ("HTML502", UpstreamError),
        ("TRUNCATE", UpstreamError),
        ("EMPTY", UpstreamError),
        ("GARBAGE", UpstreamError),
    ],
)
async def test_every_mishap_has_its_class(word: str, kind: type[UpstreamFailure]) -> None:
    """What goes wrong at the server arrives as one class."""
    with MiniMaxServer() as server:
        with pytest.raises(UpstreamFailure) as caught:
            await performed(server, call(IMAGE_01, f"a {word}"))
        assert type(caught.value) is kind


async def test_a_wrong_key_is_our_fault() -> None:
    """A key that the server does not know is the gateway's, not the caller's."""
    with MiniMaxServer() as server, pytest.raises(UpstreamAuth):
        await performed(server, call(IMAGE_01), key="wrong")
