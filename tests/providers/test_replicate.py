"""providers.replicate: predictions from submission to results."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replicate.client import Client as OfficialClient
from replicate.exceptions import ReplicateError

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
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Completed, Failed, Link, Poll
from providers.core.types import AspectRatio, ImageFormat, Operation, Size
from providers.kit.bodies import encode
from providers.kit.client import Client
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.lift import Lifted
from providers.kit.retry import RetryRule
from providers.kit.transport import HTTPTransport
from providers.replicate import PROVIDER
from providers.replicate.rows import MODELS
from tests.providers.asking import call, calls, row, sent
from tests.upstreams.images import jpeg, mask_png, pixels, png
from tests.upstreams.replicate import KEY, ReplicateServer

FIXTURES = Path(__file__).parent / "fixtures" / "replicate"
SCHNELL = row(MODELS, "flux-schnell")
ONE = call(SCHNELL)
SOURCE = sent(png(96, 64, (0, 0, 200)))
MASK = sent(mask_png(96, 64, (0, 0, 48, 64)), "mask")
ID = "ufawqhfynnddngldkgtslldrkq"


class Hurried:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def time(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


def input_of(asked: Call) -> dict[str, Any]:
    """The input on the wire."""
    body = PROVIDER.request(asked).body
    assert body is not None
    content_type, buffers = encode(body)
    assert content_type == "application/json"
    document = json.loads(b"".join(buffers))
    assert list(document) == ["input"]
    return dict(document["input"])


def data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def answered(status: int, body: object, **headers: str) -> HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status=status, headers=headers, body=data)


def failed(response: HTTPResponse, asked: Call = ONE) -> UpstreamFailure:
    outcome = PROVIDER.outcome(asked, response)
    assert isinstance(outcome, Failed)
    return outcome.error


def fixture(name: str) -> HTTPResponse:
    document = json.loads((FIXTURES / f"{name}.json").read_text())
    return answered(document["status"], document["body"])


# Requests


def test_a_request_is_one_json_document() -> None:
    """A prediction is submitted to its model by path, and never in the upstream's default format."""
    request = PROVIDER.request(ONE)
    assert (request.method, request.url) == ("POST", "/v1/models/black-forest-labs/flux-schnell/predictions")
    assert request.body is not None
    assert b"".join(encode(request.body)[1]) == (
        b'{"input":{"prompt":"a red kite","aspect_ratio":"1:1","num_outputs":1,"output_format":"png"}}'
    )


def test_a_seed_switches_off_what_would_void_it() -> None:
    """With a seed the fast path is off, as it does not repeat pictures."""
    form = input_of(call(SCHNELL, options={"seed": 7}))
    assert (form["seed"], form["go_fast"]) == (7, False)


def test_formats_go_by_the_upstreams_words() -> None:
    """JPEG is called jpg, and a lossy format is asked for at full quality when the caller says none, as at OpenAI."""
    plain = input_of(call(SCHNELL, output_format=ImageFormat.JPEG))
    assert (plain["output_format"], plain["output_quality"]) == ("jpg", 100)
    squeezed = input_of(call(SCHNELL, output_format=ImageFormat.WEBP, output_compression=0))
    assert (squeezed["output_format"], squeezed["output_quality"]) == ("webp", 0)


def test_pixels_are_sent_as_custom_sizes() -> None:
    """A model that takes edges gets them, with the ratio that makes it read them."""
    form = input_of(call(row(MODELS, "flux-1.1-pro"), size=Size(1440, 960), options={"prompt_extend": False}))
    assert (form["aspect_ratio"], form["width"], form["height"]) == ("custom", 1440, 960)
    assert form["prompt_upsampling"] is False
    assert "num_outputs" not in form


def test_batches_are_split_at_four() -> None:
    """Ten pictures are three predictions, whose seeds do not meet."""
    made = calls(SCHNELL, n=10, n_sent=True, options={"seed": 5})
    assert [(input_of(one)["num_outputs"], input_of(one)["seed"]) for one in made] == [(4, 5), (4, 9), (2, 13)]


def test_an_edit_keeps_the_shape_of_its_picture() -> None:
    """Without a size, an edit says that the picture's shape is wanted; with one, that one."""
    spec = row(MODELS, "flux-kontext-pro")
    form = input_of(call(spec, images=(SOURCE,)))
    assert form["aspect_ratio"] == "match_input_image"
    assert form["input_image"] == data_url("png", bytes(SOURCE.data))
    assert input_of(call(spec, images=(SOURCE,), size=AspectRatio(2, 1)))["aspect_ratio"] == "2:1"
    assert "aspect_ratio" not in input_of(call(row(MODELS, "flux-dev"), images=(SOURCE,)))


def test_several_pictures_go_as_a_list() -> None:
    """A model of many references gets them all, in order; one too many is a violation."""
    spec = row(MODELS, "flux-2-pro")
    other = sent(jpeg(64, 64))
    form = input_of(call(spec, images=(SOURCE, other)))
    assert form["input_images"] == [data_url("png", bytes(SOURCE.data)), data_url("jpeg", bytes(other.data))]
    assert form["resolution"] == "match_input_image"
    with pytest.raises(InvalidRequest):
        calls(spec, images=(SOURCE,) * 9)


def test_the_mask_is_turned_into_white_is_edit() -> None:
    """The fill model gets OpenAI's transparent pixels as white ones, and refuses to guess where without them."""
    spec = row(MODELS, "flux-fill-pro")
    form = input_of(call(spec, images=(SOURCE,), mask=MASK))
    mask = pixels(_decoded(form["mask"]))
    assert (mask.mode, mask.getpixel((0, 0)), mask.getpixel((95, 63))) == ("L", 255, 0)
    with pytest.raises(InvalidRequest, match="needs a 'mask'"):
        calls(spec, images=(SOURCE,))


def _decoded(url: str) -> bytes:
    return Lifted.of(url).decode()


# Answers


def test_a_submitted_prediction_is_looked_at() -> None:
    """The answer to a submission is a poll below our own base URL, which can be cancelled."""
    outcome = PROVIDER.outcome(ONE, fixture("submitted"))
    assert isinstance(outcome, Poll)
    assert outcome.cancel is not None
    assert (outcome.request.method, outcome.request.url) == ("GET", f"/v1/predictions/{ID}")
    assert (outcome.cancel.method, outcome.cancel.url) == ("POST", f"/v1/predictions/{ID}/cancel")
    assert (outcome.task_id, outcome.after) == (ID, 0.5)


def test_a_foreign_poll_address_is_not_followed() -> None:
    """Only the id of `urls.get` is used, so no answer can send the credential or the look elsewhere."""
    body = {"id": "x", "status": "processing", "urls": {"get": "https://evil.example/v1/predictions/abc"}}
    outcome = PROVIDER.outcome(ONE, answered(200, body))
    assert isinstance(outcome, Poll)
    assert outcome.request.url == "/v1/predictions/abc"
    for id_ in ("../../account", "", 5, None, "a" * 65):
        assert isinstance(PROVIDER.outcome(ONE, answered(201, {"id": id_, "status": "starting"})), Failed)


def test_results_are_links() -> None:
    """A finished prediction has its pictures by link, with its id as the request's."""
    outcome = PROVIDER.outcome(ONE, fixture("succeeded"))
    assert isinstance(outcome, Completed)
    assert [image.content for image in outcome.images] == [Link("https://replicate.delivery/xezq/a1/out-0.png")]
    assert (outcome.failures, outcome.upstream_request_id) == ((), ID)


@pytest.mark.parametrize("listed", [True, False])
def test_results_may_be_data_urls(listed: bool) -> None:
    """A data URL, long or short, alone or in a list, is a picture too."""
    for picture in (png(1, 1), png(64, 64, "noise")):
        output = data_url("png", picture)
        outcome = PROVIDER.outcome(
            ONE, answered(200, {"status": "succeeded", "output": [output] if listed else output})
        )
        assert isinstance(outcome, Completed)
        content = outcome.images[0].content
        assert isinstance(content, Lifted)
        assert content.decode() == picture


def test_a_shorter_batch_is_a_partial_success() -> None:
    """Pictures that the safety check left out are refusals beside those that were made."""
    body = {"id": ID, "status": "succeeded", "output": ["https://x/1.png", None, "https://x/2.png"]}
    outcome = PROVIDER.outcome(calls(SCHNELL, n=4, n_sent=True)[0], answered(200, body))
    assert isinstance(outcome, Completed)
    assert len(outcome.images) == 2
    assert [(type(one), one.stage, one.upstream_code) for one in outcome.failures] == [
        (Refused, "output", "nsfw")
    ] * 2


@pytest.mark.parametrize(
    ("error", "kind", "code", "stage", "billed"),
    [
        ("The input or output was flagged as sensitive. (E005) (uIJ6)", Refused, "E005", "unknown", False),
        ("NSFW content detected. Try running it again.", Refused, "nsfw", "output", False),
        ("All generated images contained NSFW content.", Refused, "nsfw", "output", False),
        ("Prompt blocked by content policy", Refused, "nsfw", "unknown", False),
        ("High demand. Please try again later. (E003) (uIJ6)", UpstreamUnavailable, "E003", None, True),
        ("Service is temporarily unavailable. (E004)", UpstreamUnavailable, "E004", None, True),
        ("The input was invalid. (E006)", UpstreamBadRequest, "E006", None, True),
        ("CUDA out of memory", UpstreamError, "failed", None, True),
        (None, UpstreamError, "failed", None, True),
        ({"strange": 1}, UpstreamError, "failed", None, True),
    ],
)
def test_failed_predictions_have_their_class(
    error: object, kind: type[UpstreamFailure], code: str, stage: str | None, billed: bool
) -> None:
    """A failed prediction is read by its words; it was accepted, so whatever is no refusal may be billed."""
    found = failed(answered(200, {"id": ID, "status": "failed", "error": error, "output": None}))
    assert (type(found), found.upstream_code, found.stage, found.billed) == (kind, code, stage, billed)
    assert found.upstream_request_id == ID


@pytest.mark.parametrize(
    ("status", "kind", "billed"), [("canceled", UpstreamError, True), ("aborted", UpstreamUnavailable, False)]
)
def test_ended_predictions_have_their_class(status: str, kind: type[UpstreamFailure], billed: bool) -> None:
    """A prediction that somebody ended while it ran is billed, one that never ran is free and may run again."""
    found = failed(answered(200, {"id": ID, "status": status}))
    assert (type(found), found.billed) == (kind, billed)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamBadRequest),
        (401, UpstreamAuth),
        (402, UpstreamQuota),
        (403, UpstreamAuth),
        (404, UpstreamModelMissing),
        (422, UpstreamBadRequest),
        (429, UpstreamRateLimited),
        (500, UpstreamError),
        (503, UpstreamUnavailable),
    ],
)
def test_problem_documents_go_by_their_status(status: int, kind: type[UpstreamFailure]) -> None:
    """Each status of the API has its class, with the detail as message."""
    found = failed(answered(status, {"title": "A title", "detail": "What happened.", "status": status}))
    assert (type(found), found.message, found.upstream_code) == (kind, "What happened.", "A title")


def test_documented_failures_are_understood() -> None:
    """The documented answers mean: wait for half a minute, no money, refused."""
    throttled = failed(fixture("throttled"))
    assert (type(throttled), throttled.retry_after) == (UpstreamRateLimited, 30)
    assert type(failed(fixture("unpaid"))) is UpstreamQuota
    assert type(failed(fixture("sensitive"))) is Refused


@pytest.mark.parametrize(
    ("detail", "param"),
    [
        ("- input.aspect_ratio: Does not match format", "size"),
        ("- input.num_outputs: Must be less than or equal to 4", "n"),
        ("- input.input_image: Does not match format 'uri'", "image"),
        ("- input.brand_new: is wrong", None),
        ("Nothing of the kind", None),
    ],
)
def test_invalid_inputs_name_openais_parameter(detail: str, param: str | None) -> None:
    """The first field that the upstream names is told by OpenAI's name."""
    assert failed(answered(422, {"title": "Input validation failed", "detail": detail, "status": 422})).param == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>proxy</html>",
        b"[]",
        b"{}",
        b'{"status": "succeeded"}',
        b'{"status": "succeeded", "output": null}',
        b'{"status": "succeeded", "output": []}',
        b'{"status": "succeeded", "output": [null, 5, {}, "ftp://x/y", "data:image/png;base64,!!"]}',
        b'{"status": "starting"}',
        b'{"status": "brand new", "id": "x"}',
        b'{"status": ["starting"], "id": "x"}',
    ],
)
def test_strange_answers_are_failures(body: bytes) -> None:
    """An answer that neither names a prediction nor holds a picture is an upstream error that may be billed."""
    found = failed(answered(201, body))
    assert type(found) is UpstreamError
    assert found.billed


def test_an_empty_success_with_a_filtered_log_is_a_refusal() -> None:
    """Nothing made and a log of the safety check is a refusal, never an empty success."""
    body = {"id": ID, "status": "succeeded", "output": [], "logs": "NSFW content detected in image 0"}
    assert type(failed(answered(200, body))) is Refused


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["starting", "succeeded", "failed"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "status", "output", "error", "urls", "get", "logs", "detail", "title"]),
            inner,
            max_size=8,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([200, 201, 202, 204, 301, 400, 401, 422, 429, 500]), st.binary(max_size=64) | _JSON)
def test_no_answer_raises(status: int, body: object) -> None:
    """Whatever the upstream sends, the outcome is a value; a completed one has an image."""
    outcome = PROVIDER.outcome(ONE, answered(status, body))
    assert isinstance(outcome, Failed | Poll) or len(outcome.images) == 1


# Over the wire


async def performed(
    server: ReplicateServer, asked: Call, *, key: str = KEY, seconds: float = 60, journal: Journal | None = None
) -> tuple[Completed, list[bytes]]:
    """The completed call and the files that its links name."""
    transport, clock = HTTPTransport(), Hurried()
    client = Client(transport, clock, RetryRule(clock))
    deployment = Deployment(provider=PROVIDER, base_url=server.url, key=key)
    try:
        made = await client.perform((deployment,), asked, clock.now() + seconds, journal or Journal())
    finally:
        await transport.close()
    links = [image.content for image in made.images]
    return made, [server.files[urlsplit(link.url).path][1] for link in links if isinstance(link, Link)]


@pytest.mark.parametrize(
    "spec", [spec for spec in MODELS if Operation.GENERATE in spec.operations], ids=lambda s: s.id
)
async def test_every_row_generates_png(spec: Any) -> None:
    """The strict server takes every generating row with all its options, and makes PNG whatever its default is."""
    options = {name: {"seed": 9, "prompt_extend": True}[name] for name in spec.options}
    with ReplicateServer() as server:
        _, (data,) = await performed(server, call(spec, size=AspectRatio(3, 2), options=options))
        assert [one.method for one in server.exchanges] == ["POST", "GET", "GET"]
    image = pixels(data)
    assert image.format == "PNG"
    assert abs(image.width / image.height - 1.5) < 0.05


@pytest.mark.parametrize("model", ["flux-dev", "flux-kontext-pro", "flux-kontext-max", "flux-2-pro"])
async def test_every_editing_row_edits(model: str) -> None:
    """The strict server takes the picture of every editing row and keeps its shape."""
    with ReplicateServer() as server:
        _, (data,) = await performed(server, call(row(MODELS, model), images=(SOURCE,)))
    assert pixels(data).size == (96, 64)


async def test_the_transparent_part_of_the_mask_is_painted() -> None:
    """By pixels: what is transparent in OpenAI's mask has changed, what is opaque has not."""
    with ReplicateServer() as server:
        _, (data,) = await performed(server, call(row(MODELS, "flux-fill-pro"), images=(SOURCE,), mask=MASK))
    image = pixels(data)
    assert image.getpixel((10, 30)) != (0, 0, 200)
    assert image.getpixel((80, 30)) == (0, 0, 200)


async def test_a_batch_is_delivered_as_far_as_it_goes() -> None:
    """Four asked, one left out: three pictures and one refusal."""
    with ReplicateServer() as server:
        made, files = await performed(server, calls(SCHNELL, "a kite PARTIAL", n=4, n_sent=True)[0])
    assert (len(files), len(set(files)), [type(one) for one in made.failures]) == (3, 3, [Refused])


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("FORBIDDEN", Refused),
        ("NSFW", Refused),
        ("PARTIAL", Refused),
        ("QUOTA", UpstreamQuota),
        ("RATELIMIT", UpstreamRateLimited),
        ("BOOM", UpstreamError),
        ("CRASH", UpstreamError),
        ("DEMAND", UpstreamUnavailable),
        ("HTML502", UpstreamError),
        ("TRUNCATE", UpstreamError),
        ("EMPTY", UpstreamError),
        ("GARBAGE", UpstreamError),
        ("BADINPUT", UpstreamBadRequest),
    ],
)
async def test_failures_on_the_wire_have_their_class(word: str, kind: type[UpstreamFailure]) -> None:
    """Each way to fail arrives as its class, and nothing is submitted twice."""
    with ReplicateServer() as server:
        with pytest.raises(kind) as caught:
            await performed(server, call(SCHNELL, f"a kite {word}"))
        assert type(caught.value) is kind
        assert [one.method for one in server.exchanges].count("POST") == 1


@pytest.mark.parametrize(("word", "left"), [("WAITING", "canceled"), ("ENDLESS", "processing")])
async def test_at_the_deadline_only_what_has_not_begun_is_cancelled(word: str, left: str) -> None:
    """A prediction that waits is cancelled, so that it never costs; one that runs is paid for and goes on."""
    with ReplicateServer() as server:
        with pytest.raises(UpstreamTimeout):
            await performed(server, call(SCHNELL, f"a kite {word}"), seconds=10)
        assert server.exchanges[-1].path.endswith("/cancel") == (left == "canceled")
        assert [one.status for one in server.predictions.values()] == [left]


async def test_a_wrong_key_is_ours() -> None:
    """A refused credential is an upstream authentication failure."""
    with ReplicateServer() as server, pytest.raises(UpstreamAuth):
        await performed(server, ONE, key="r8_other")


def test_the_official_client_is_served() -> None:
    """The stand-in takes what Replicate's own client sends, and refuses what the API would."""
    wrong = {"prompt": "x", "size": "1024x1024"}
    with ReplicateServer() as server, httpx.HTTPTransport() as transport:
        client = OfficialClient(api_token=KEY, base_url=server.url, transport=transport)
        made = client.models.predictions.create("black-forest-labs/flux-schnell", input=input_of(ONE))
        seen = [made.status]
        for _ in range(2):
            made.reload()
            seen.append(made.status)
        assert seen == ["starting", "processing", "succeeded"]
        assert [urlsplit(url).path in server.files for url in made.output or ()] == [True]
        running = client.models.predictions.create("black-forest-labs/flux-dev", input={"prompt": "ENDLESS"})
        running.cancel()
        assert server.predictions[running.id].status == "canceled"
        with pytest.raises(ReplicateError) as caught:
            client.models.predictions.create("black-forest-labs/flux-schnell", input=wrong)
        assert caught.value.status == 422
