"""providers.cogview: bodies, answers and errors, and the vendor's own SDK against the stand-in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zai import ZaiClient

from providers.cogview import PROVIDER
from providers.cogview.errors import CODES
from providers.cogview.rows import MODELS
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
from providers.core.http import JSON, HTTPRequest, HTTPResponse
from providers.core.plan import Call, plan
from providers.core.provider import Completed, Credential, Failed, Link
from providers.core.types import AspectRatio, ImageRequest, Operation, Policy, Size
from providers.kit.bodies import encode
from providers.kit.client import Client
from providers.kit.clock import SystemClock
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.lift import Lifted
from providers.kit.retry import RetryRule
from providers.kit.transport import HTTPTransport
from tests.providers.asking import call, calls, row, sent
from tests.upstreams.cogview import BADINPUT, FILTERED, KEY, CogViewServer
from tests.upstreams.images import pixels, png

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "cogview").glob("*.json"))
FOUR, GLM = row(MODELS, "cogview-4-250304"), row(MODELS, "glm-image")
THREE, FLASH = row(MODELS, "cogview-3"), row(MODELS, "cogview-3-flash")
ONE = call(FOUR)


def wire(asked: Call) -> bytes:
    """The body's bytes."""
    request = PROVIDER.request(asked)
    assert isinstance(request.body, JSON)
    return b"".join(encode(request.body)[1])


def body_of(asked: Call) -> dict[str, Any]:
    document = json.loads(wire(asked))
    assert isinstance(document, dict)
    return document


def answered(status: int, body: object, **headers: str) -> HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status=status, headers=headers, body=data)


def failed(response: HTTPResponse) -> UpstreamFailure:
    outcome = PROVIDER.outcome(ONE, response)
    assert isinstance(outcome, Failed)
    return outcome.error


# Requests


def test_a_plain_request_is_model_and_prompt() -> None:
    """Nothing is said that nobody asked for, and messages are wanted in English on both platforms."""
    request = PROVIDER.request(ONE)
    assert (request.method, request.url) == ("POST", "/images/generations")
    assert request.headers == {"Accept-Language": "en-US,en"}
    assert wire(ONE) == b'{"model":"cogview-4-250304","prompt":"a red kite"}'


def test_options_go_by_the_vendors_names() -> None:
    """Size with an ASCII x, the quality's own word, and a watermark that is false."""
    asked = call(FOUR, size=Size(1344, 768), quality="high", options={"watermark": False}, user="user-1")
    assert wire(asked) == (
        b'{"model":"cogview-4-250304","prompt":"a red kite","size":"1344x768","quality":"hd",'
        b'"watermark_enabled":false,"user_id":"user-1"}'
    )


@pytest.mark.parametrize("user", ["u", "12345", "x" * 129])
def test_a_user_of_a_wrong_length_is_not_sent(user: str) -> None:
    """The vendor refuses names below 6 and above 128 characters; limits and ledger know them all the same."""
    assert "user_id" not in body_of(call(FOUR, user=user))


@pytest.mark.parametrize("user", ["123456", "x" * 128])
def test_a_user_of_a_right_length_is_sent(user: str) -> None:
    """Both bounds are allowed."""
    assert body_of(call(FOUR, user=user))["user_id"] == user


@pytest.mark.parametrize(
    ("model", "size"),
    [
        *(("cogview-4", text) for text in ("1024x1024", "768x1344", "720x1440", "512x512", "1280x720", "1792x1024")),
        *(("cogview-3", text) for text in ("1440x720", "1536x1024", "1024x1792")),
        *(("glm-image", text) for text in ("1280x1280", "1728x960", "960x1728", "2048x2048", "1536x1024", "512x512")),
    ],
)
def test_presets_and_the_familys_rule_are_sent(model: str, size: str) -> None:
    """A size that the family takes goes out as it was asked, the presets with an edge of 960 too."""
    wanted = Size.parse(size)
    assert body_of(call(row(MODELS, model), size=wanted))["size"] == size


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("cogview-4", "256x256"),
        ("cogview-4", "2048x2048"),
        ("cogview-4", "1920x1080"),
        ("cogview-3", "2048x1040"),
        ("glm-image", "1280x720"),
        ("glm-image", "1920x1080"),
        ("glm-image", "2080x1024"),
    ],
)
def test_other_sizes_are_violations_with_a_neighbour(model: str, size: str) -> None:
    """Beyond the family's rule strict refuses, and lenient draws a size of nearly that shape."""
    spec, wanted = row(MODELS, model), Size.parse(size)
    assert wanted is not None
    with pytest.raises(InvalidRequest) as caught:
        calls(spec, size=wanted)
    assert caught.value.param == "size"
    used = call(spec, size=wanted, policy=Policy.LENIENT).resolution.wire
    assert isinstance(used, Size)
    assert used.ratio.distance(wanted) < 0.03


def test_a_ratio_becomes_pixels() -> None:
    """The wire knows pixels only."""
    assert body_of(call(FOUR, size=AspectRatio(1, 2)))["size"] == "720x1440"


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        ("cogview-4", "standard", "standard"),
        ("cogview-4", "low", "standard"),
        ("cogview-4", "hd", "hd"),
        ("glm-image", "hd", "hd"),
        ("glm-image", "high", "hd"),
        ("glm-image", "standard", "hd"),
        ("cogview-3", "standard", "standard"),
        ("cogview-3-flash", "auto", "standard"),
    ],
)
def test_qualities_are_the_models_own_words(model: str, asked: str, said: str) -> None:
    """The words are standard and hd where the model has both, hd alone on GLM-Image."""
    assert body_of(call(row(MODELS, model), quality=asked))["quality"] == said


@pytest.mark.parametrize(("model", "asked"), [("glm-image", "low"), ("cogview-3", "hd"), ("cogview-3-flash", "hd")])
def test_a_quality_that_the_model_lacks_is_a_violation(model: str, asked: str) -> None:
    """Nobody is given another quality than he asked for in silence."""
    with pytest.raises(InvalidRequest) as caught:
        calls(row(MODELS, model), quality=asked)
    assert caught.value.param == "quality"


def test_several_images_are_several_calls() -> None:
    """The API makes one image a call; n is never on the wire."""
    made = calls(GLM, n=4, n_sent=True)
    assert len(made) == 4
    assert all("n" not in body_of(one) for one in made)


def test_the_documents_model_keeps_its_limits() -> None:
    """cogview-3 makes one image of at most 833 characters in strict, ten in lenient, served by its successor."""
    made = calls(THREE, "画" * 833, n=10, n_sent=True, policy=Policy.LENIENT)
    assert [(body_of(one)["model"], body_of(one)["quality"]) for one in made] == [("cogview-4", "standard")] * 10
    assert (THREE.successor, THREE.retired_on is not None) == ("cogview-4", True)
    for wishes in ({"n": 2, "n_sent": True}, {"prompt": "x" * 834}):
        with pytest.raises(InvalidRequest):
            calls(THREE, **wishes)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
def test_no_hosted_model_edits(spec: Any) -> None:
    """An edit is refused before it is sent."""
    with pytest.raises(InvalidRequest) as caught:
        calls(spec, images=(sent(png(64, 64)),))
    assert caught.value.violations[0].code == "unsupported_operation"


@pytest.mark.parametrize("options", [{"seed": 1}, {"negative_prompt": "rain"}, {"style": "natural"}], ids=str)
def test_what_the_model_lacks_is_a_violation(options: dict[str, Any]) -> None:
    """Parameters that would change the picture are refused in strict and not sent in lenient."""
    with pytest.raises(InvalidRequest):
        calls(FOUR, options=options)
    assert wire(call(FOUR, options=options, policy=Policy.LENIENT)) == wire(ONE)


def test_a_price_is_known_for_every_row() -> None:
    """Each model has a price, zero for the free one."""
    request = ImageRequest(operation=Operation.GENERATE, prompt="a red kite")
    assert [plan(request, spec).cost for spec in MODELS] == [15_000, 10_000, 10_000, 0, 10_000]


def test_each_key_means_its_platform() -> None:
    """Two variables, two hosts, one path below either."""
    assert PROVIDER.access.credentials == (
        Credential("ZAI_API_KEY", "https://api.z.ai/api/paas/v4"),
        Credential("ZHIPUAI_API_KEY", "https://open.bigmodel.cn/api/paas/v4"),
    )
    assert (PROVIDER.access.base_url_env, PROVIDER.access.bare_origin) == ("ZAI_BASE_URL", False)


# Answers


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_documented_answers_are_understood(fixture: Path) -> None:
    """Answers in the shapes of the reference mean what it says they mean."""
    document = json.loads(fixture.read_text())
    outcome = PROVIDER.outcome(ONE, answered(document["status"], document["body"], **{"x-request-id": "head"}))
    if fixture.stem == "made":
        assert isinstance(outcome, Completed)
        assert [image.content for image in outcome.images] == [Link("https://images.example/1.png")]
        assert outcome.upstream_request_id == "head"
        return
    assert isinstance(outcome, Failed)
    error = outcome.error
    expected: dict[str, tuple[type, str, str | None, str | None]] = {
        "filtered": (Refused, "content_filter", "output", None),
        "refused": (Refused, "1301", "input", None),
        "unpaid": (UpstreamQuota, "1113", None, None),
        "throttled": (UpstreamRateLimited, "1302", None, None),
        "invalid": (UpstreamBadRequest, "1214", None, "size"),
    }
    assert (type(error), error.upstream_code, error.stage, error.param) == expected[fixture.stem]


KINDS: dict[type[UpstreamFailure], str] = {
    UpstreamAuth: "1000 1001 1002 1003 1004 1005 1110 1111 1112 1121 1220 1309 1314 1315",
    UpstreamError: "1200 1221 1222 1230 1231 1234",
    UpstreamBadRequest: "1210 1212 1213 1214 1215 1261",
    UpstreamModelMissing: "1211 1311",
    Refused: "1300 1301",
    UpstreamRateLimited: "1302 1303",
    UpstreamUnavailable: "1120 1305 1312",
    UpstreamQuota: "1113 1304 1308 1310 1313 1316 1317 1318 1319 1320 1321",
}
KIND_OF = {code: kind for kind, codes in KINDS.items() for code in codes.split()}


@pytest.mark.parametrize("code", sorted({*KIND_OF, *CODES}))
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_the_code_decides_whatever_the_status(code: str, status: int) -> None:
    """Each code has one class, as text or number: a 429 may be money, a 400 moderation."""
    for said in (code, int(code)):
        error = failed(answered(status, {"error": {"code": said, "message": "so"}}))
        assert (type(error), error.upstream_code) == (KIND_OF[code], code)
        assert error.message.startswith("so")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, UpstreamAuth),
        (404, UpstreamModelMissing),
        (429, UpstreamRateLimited),
        (434, UpstreamAuth),
        (435, UpstreamBadRequest),
        (500, UpstreamError),
        (503, UpstreamUnavailable),
    ],
)
def test_without_a_known_code_the_status_decides(status: int, kind: type[UpstreamFailure]) -> None:
    """New codes, none, or a page of the edge; HTML never reaches the caller."""
    bodies: tuple[object, ...] = ({"error": {"code": "9999"}}, {"error": "?"}, {}, [], b"<html>acw</html>", b"")
    for body in bodies:
        error = failed(answered(status, body))
        assert type(error) is kind
        assert "<" not in error.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("The size parameter is illegal. Please check the document.", "size"),
        ("未正常接收到prompt参数。", "prompt"),
        ("watermark_enabled 参数非法", "watermark"),
        ("user_id", "user"),
        ("resize and requality", None),
    ],
)
def test_a_complaint_names_the_callers_parameter(message: str, param: str | None) -> None:
    """A field that the message names is told by the name under which the caller sent it."""
    assert failed(answered(400, {"error": {"code": "1214", "message": message}})).param == param


@pytest.mark.parametrize(
    ("roles", "stage"),
    [
        (["user"], "input"),
        (["history"], "input"),
        (["assistant"], "output"),
        (["user", "assistant"], "unknown"),
        ([], "unknown"),
    ],
)
def test_a_refusal_says_whose_content(roles: list[str], stage: str) -> None:
    """1301 stands for input and output; the findings beside it say which, when they agree."""
    body = {"error": {"code": "1301"}, "contentFilter": [{"role": role, "level": 1} for role in roles]}
    assert failed(answered(400, body)).stage == stage


def test_a_refused_key_names_both_platforms() -> None:
    """A key of the other platform looks like a wrong one."""
    message = failed(answered(401, {"error": {"code": "1000", "message": "Authentication Failed"}})).message
    assert "ZAI_API_KEY" in message
    assert "ZHIPUAI_API_KEY" in message


@pytest.mark.parametrize(
    ("item", "form"),
    [
        ({"url": "https://x.example/1"}, Link),
        ({"url": "", "image_url": "http://x.example/1"}, Link),
        ({"b64_json": "iVBORw0KGgo="}, Lifted),
        ({"b64_image": "iVBORw0KGgo="}, Lifted),
        ({"url": None, "b64_json": "!", "b64_image": "data:image/png;base64,iVBORw0KGgo="}, Lifted),
    ],
)
def test_undocumented_forms_are_not_lost(item: dict[str, Any], form: type) -> None:
    """What was paid for is read from every field in which others have met it."""
    outcome = PROVIDER.outcome(ONE, answered(200, {"data": [item], "request_id": "ours"}))
    assert isinstance(outcome, Completed)
    assert [type(image.content) for image in outcome.images] == [form]
    assert outcome.upstream_request_id == "ours"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"<html>proxy</html>",
        b'{"data":[]}',
        b'{"data":{"url":"https://x"}}',
        b'{"data":[7,null,{"url":"file:///etc"},{"url":5,"b64_json":""}]}',
        b'{"data":[],"content_filter":[]}',
        b'{"data":[],"content_filter":["user",{}],"data":[]}',
    ],
)
def test_strange_successes_are_failures(body: bytes) -> None:
    """A 200 that holds no image is an upstream error that may have been billed."""
    error = failed(answered(200, body))
    assert type(error) is UpstreamError
    assert error.billed


def test_what_was_not_begun_is_not_billed() -> None:
    """An API that is switched off has drawn nothing."""
    assert [failed(answered(400, {"error": {"code": code}})).billed for code in ("1221", "1222")] == [False, False]


_KEYS = (
    "error",
    "code",
    "message",
    "data",
    "url",
    "b64_json",
    "content_filter",
    "contentFilter",
    "role",
    "request_id",
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2000)
    | st.text(max_size=8)
    | st.sampled_from(["1301", "AAAA", "https://x/1", "user"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=12,
)


@given(st.sampled_from([200, 204, 301, 400, 401, 429, 434, 500, 503, 799]), st.binary(max_size=64) | _JSON)
def test_no_answer_raises(status: int, body: object) -> None:
    """Whatever the upstream sends, the outcome is a value; a completed one has an image."""
    outcome = PROVIDER.outcome(ONE, answered(status, body))
    assert isinstance(outcome, Failed) or (isinstance(outcome, Completed) and outcome.images)


# Over the wire


async def performed(server: CogViewServer, asked: Call, key: str = KEY) -> bytes:
    """The bytes of the one image, fetched from where the answer says."""
    transport, clock = HTTPTransport(), SystemClock()
    client = Client(transport, clock, RetryRule(clock, attempts=1))
    deployment = Deployment(provider=PROVIDER, base_url=server.base_url, key=key)
    try:
        (image,) = (await client.perform((deployment,), asked, clock.now() + 20, Journal())).images
        assert isinstance(image.content, Link)
        fetched = await client.get(deployment, HTTPRequest(method="GET", url=image.content.url), clock.now() + 20)
    finally:
        await transport.close()
    return bytes(fetched.body)


@pytest.mark.parametrize("size", [None, AspectRatio(3, 4)], ids=str)
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
async def test_every_row_draws(spec: Any, size: AspectRatio | None) -> None:
    """The strict server takes every field of every row and draws the size that the row promises."""
    asked = call(spec, size=size, quality="auto", options={"watermark": True}, user="user-123")
    with CogViewServer() as server:
        drawn = pixels(await performed(server, asked))
    assert (drawn.format, Size(*drawn.size)) == ("PNG", asked.resolution.pixels)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("FORBIDDEN", Refused),
        (FILTERED, Refused),
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
    with CogViewServer() as server:
        with pytest.raises(UpstreamFailure) as caught:
            await performed(server, call(FOUR, f"a {word}"))
        assert type(caught.value) is kind


async def test_a_wrong_key_is_our_fault() -> None:
    """A key that the server does not know is the gateway's, not the caller's."""
    with CogViewServer() as server, pytest.raises(UpstreamAuth):
        await performed(server, ONE, key="wrong.key")


def _by_sdk(base_url: str, *, signed: bool) -> Any:
    """What the vendor's own client gets, with the raw key or the older signed form."""
    client: Any = ZaiClient(api_key=KEY, base_url=base_url, max_retries=0, disable_token_cache=not signed)
    try:
        return client.images.generations(
            model="cogview-4-250304",
            prompt="a red kite",
            size="1344x768",
            quality="hd",
            user_id="user-123",
            watermark_enabled=False,
        )
    finally:
        client.close()


@pytest.mark.parametrize("signed", [False, True], ids=["raw", "signed"])
async def test_the_vendors_client_is_taken_and_says_the_same(signed: bool) -> None:
    """The stand-in answers the official SDK, whose body our own equals field by field."""
    asked = call(FOUR, size=Size(1344, 768), quality="hd", options={"watermark": False}, user="user-123")
    with CogViewServer() as server:
        made = await asyncio.to_thread(_by_sdk, server.base_url, signed=signed)
        assert made.data[0].url.startswith(server.url)
        (exchange,) = server.exchanges
    assert exchange.json() == body_of(asked)
    assert exchange.path.endswith(PROVIDER.request(asked).url)
    assert exchange.header("accept-language") == PROVIDER.request(asked).headers["Accept-Language"]
    assert (exchange.header("authorization") == f"Bearer {KEY}") is not signed
