"""Provider x route x form x outcome, from a real SDK through a real gateway to a strict stand-in, over sockets."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from PIL import Image, ImageChops

from providers.kit.images import inspect
from tests.gateway import Gateway, running
from tests.matrix.vendors import VENDORS, Vendor
from tests.upstreams.images import mask_png, pixels, png
from tests.upstreams.server import StandIn

SIZE = 1024
HOLE = (256, 256, 768, 768)


@dataclass(frozen=True, slots=True)
class Bench:
    """A gateway, the stand-in behind it, and a client in front of it."""

    vendor: Vendor
    server: StandIn
    gateway: Gateway
    client: openai.OpenAI


@pytest.fixture(scope="module", params=VENDORS, ids=lambda vendor: vendor.name)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One of each provider for the module."""
    vendor: Vendor = request.param
    with (
        vendor.make() as server,
        running(tmp_path_factory.mktemp(vendor.name), vendor.environ(server)) as gateway,
        openai.OpenAI(base_url=gateway.v1, api_key="any", max_retries=0, timeout=60) as client,
    ):
        yield Bench(vendor, server, gateway, client)


@pytest.fixture(params=["generate", "edit"])
def route(request: pytest.FixtureRequest, bench: Bench) -> str:
    """Both routes, where the provider edits."""
    if request.param == "edit" and bench.vendor.edits is None:
        pytest.skip("the provider has no edits")
    found: str = request.param
    return found


def ask(bench: Bench, route: str, prompt: str, **more: Any) -> tuple[openai.types.ImagesResponse, dict[str, str]]:
    """One request by the official SDK; the answer and its headers."""
    headers = more.pop("headers", {})
    if route == "generate":
        raw = bench.client.images.with_raw_response.generate(
            model=bench.vendor.generates,
            prompt=prompt,
            extra_headers=headers,
            **more,
        )
    else:
        raw = bench.client.images.with_raw_response.edit(
            model=bench.vendor.edits,
            prompt=prompt,
            image=("photo.png", png(SIZE, SIZE)),
            extra_headers=headers,
            **more,
        )
    return raw.parse(), dict(raw.headers)


def picture(answer: openai.types.ImagesResponse, form: str) -> bytes:
    """The bytes of the first image, in whichever form it came."""
    assert answer.data
    item = answer.data[0]
    if form == "b64_json":
        assert item.url is None
        return base64.b64decode(item.b64_json or "", validate=True)
    assert item.b64_json is None
    assert item.url
    found = openai.DefaultHttpxClient()
    with found:
        fetched = found.get(item.url)
    assert fetched.status_code == 200
    assert fetched.headers["content-type"].startswith("image/")
    return fetched.content


@pytest.mark.parametrize("form", ["url", "b64_json"])
def test_success(bench: Bench, route: str, form: str) -> None:
    """Both forms are honoured by every provider on both routes, and the bytes are a sound image."""
    answer, headers = ask(bench, route, "a red kite", response_format=form)
    facts = inspect(picture(answer, form))

    assert answer.size == f"{facts.width}x{facts.height}"
    assert answer.output_format == facts.format
    assert headers["pinhole-provider"] == bench.vendor.name
    assert headers["pinhole-attempts"] == "1"


@pytest.mark.parametrize("form", ["url", "b64_json"])
@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp"])
def test_output_format(bench: Bench, route: str, wanted: str, form: str) -> None:
    """The asked encoding comes back in the asked form, by model or gateway, and shows the same picture."""
    plain, _ = ask(bench, route, "a red kite", response_format="b64_json")
    answer, _ = ask(bench, route, "a red kite", output_format=wanted, response_format=form)
    data = picture(answer, form)

    assert inspect(data).format == wanted
    assert answer.output_format == wanted
    assert alike(picture(plain, "b64_json"), data)


def alike(one: bytes, two: bytes) -> bool:
    """Whether two encodings show the same picture: on average less than three of 255 apart."""
    first, second = (pixels(data).convert("RGB") for data in (one, two))
    if first.size != second.size:
        return False
    histogram = ImageChops.difference(first, second).convert("L").histogram()
    return sum(value * count for value, count in enumerate(histogram)) / (first.width * first.height) < 3


def test_stream(bench: Bench, route: str) -> None:
    """Every provider streams: whatever comes before, one completed event carries the image."""
    kinds = []
    last = None
    if route == "generate":
        stream = bench.client.images.generate(model=bench.vendor.generates, prompt="a kite", stream=True)
    else:
        stream = bench.client.images.edit(  # type: ignore[assignment]
            model=bench.vendor.edits, prompt="a kite", image=("photo.png", png(SIZE, SIZE)), stream=True
        )
    for event in stream:
        kinds.append(event.type)
        last = event
    family = "image_generation" if route == "generate" else "image_edit"

    assert kinds[-1] == f"{family}.completed"
    assert last
    assert inspect(base64.b64decode(last.b64_json)).bytes > 0
    assert last.pinhole["provider"] == bench.vendor.name  # type: ignore[union-attr]


def test_a_refused_stream_keeps_its_status(bench: Bench) -> None:
    """A refusal before the first event is an answer with its own status, not a broken stream."""
    with pytest.raises(openai.BadRequestError) as caught:
        list(bench.client.images.generate(model=bench.vendor.generates, prompt="a kite FORBIDDEN", stream=True))

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "moderation_blocked"


ERRORS = [
    ("FORBIDDEN", 400, "moderation_blocked"),
    ("RATELIMIT", 429, "rate_limit_exceeded"),
    ("QUOTA", 429, "insufficient_quota"),
    ("BOOM", 502, "upstream_error"),
    ("HTML502", 502, "upstream_error"),
    ("TRUNCATE", 502, "upstream_error"),
    ("GARBAGE", 502, "upstream_error"),
]


@pytest.mark.parametrize(("word", "status", "code"), ERRORS, ids=str)
def test_failure(bench: Bench, route: str, word: str, status: int, code: str) -> None:
    """A failure has one name whatever the provider calls it, and never a word of HTML or base64."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask(bench, route, f"a kite {word}")
    body = caught.value.body

    assert isinstance(body, dict)
    assert (caught.value.status_code, body["code"]) == (status, code)
    assert "<html" not in body["message"].lower()
    assert isinstance(body["type"], str)


def test_nothing_delivered_is_never_a_success(bench: Bench, route: str) -> None:
    """An upstream success without an image is an error."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask(bench, route, "a kite EMPTY")

    assert caught.value.status_code in {400, 502}


def test_bad_input_at_the_provider_is_a_400(bench: Bench, route: str) -> None:
    """What our row let through and the provider calls invalid is the caller's 400."""
    if bench.vendor.name == "openai":
        pytest.skip("its stand-in has no such word; the adapter's own tests cover the class")
    with pytest.raises(openai.BadRequestError):
        ask(bench, route, "a kite BADINPUT")


def test_a_bad_key_of_ours_is_a_502(bench: Bench, route: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The provider's 401 means our credential: 502 upstream_auth_error, never the caller's 401."""
    environ = bench.vendor.environ(bench.server) | {bench.vendor.key_env: "sk-wrong.key0"}
    with (
        running(tmp_path_factory.mktemp("bad"), environ) as gateway,
        openai.OpenAI(base_url=gateway.v1, api_key="any", max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        ask(Bench(bench.vendor, bench.server, gateway, client), route, "a kite")

    assert caught.value.status_code == 502
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "upstream_auth_error"
    assert "sk-wrong" not in str(caught.value.body)


def test_two_images_or_what_there_is(bench: Bench, route: str) -> None:
    """n=2 gives two images by the model or by fan-out; a lenient caller may ask every model."""
    answer, headers = ask(bench, route, "a kite", n=2, headers={"pinhole-policy": "lenient"})
    assert answer.data

    if len(answer.data) != 2:
        assert "n;kind=" in headers["pinhole-adjustments"]
    assert len(answer.data) == 2 or "n;kind=mapped" in headers["pinhole-adjustments"]


def test_partial_success_says_so(bench: Bench) -> None:
    """Of two images one fails: 200 with the other, the count in the adjustments, the error in the body."""
    if bench.vendor.name not in {"qwen", "minimax", "replicate"}:
        pytest.skip("the provider makes one image a call, or all of them")
    headers = {"pinhole-policy": "lenient"}
    answer, found = ask(bench, "generate", "a kite PARTIAL", n=2, headers=headers)
    assert answer.data

    assert len(answer.data) == 1
    assert "n;kind=delivered;from=2;to=1" in found["pinhole-adjustments"]
    assert answer.model_extra
    assert answer.model_extra["pinhole"]["errors"]


def test_a_mask_means_the_same_everywhere(bench: Bench) -> None:
    """A masked edit succeeds natively or emulated, with the input's size where the gateway does it."""
    models = [m for m in (bench.vendor.masks, bench.vendor.edits) if m]
    for model in models:
        spec = bench.client.models.retrieve(model)
        how = spec.model_extra["constraints"]["mask"]  # type: ignore[index]
        photo, mask = png(SIZE, SIZE), mask_png(SIZE, SIZE, HOLE)
        arguments = {"model": model, "prompt": "a kite", "image": ("p.png", photo), "mask": ("m.png", mask)}
        if how == "none":
            with pytest.raises(openai.BadRequestError, match="mask"):
                bench.client.images.edit(**arguments)  # type: ignore[call-overload]
            continue
        raw = bench.client.images.with_raw_response.edit(**arguments, response_format="b64_json")  # type: ignore[call-overload]
        data = picture(raw.parse(), "b64_json")
        if how == "emulated":
            assert "mask;kind=emulated" in raw.headers["pinhole-adjustments"]
            assert same_outside(photo, data)


def test_what_to_look_for_is_searched_or_refused(bench: Bench) -> None:
    """`search_prompt` is honoured by models that search, a violation on others, and required where it is meant."""
    edits = {"image": ("p.png", png(SIZE, SIZE)), "prompt": "a kite", "response_format": "b64_json"}
    wish = {"search_prompt": "red"}
    if bench.vendor.searches:
        answer = bench.client.images.edit(model=bench.vendor.searches, extra_body=wish, **edits)  # type: ignore[call-overload]  # of a dict
        assert inspect(picture(answer, "b64_json")).width == SIZE
        with pytest.raises(openai.BadRequestError, match="'search_prompt' is required"):
            bench.client.images.edit(model=bench.vendor.searches, **edits)  # type: ignore[call-overload]  # of a dict
    with pytest.raises(openai.BadRequestError, match="does not support 'search_prompt'"):
        ask(bench, "generate", "a kite", extra_body=wish)
    _, headers = ask(bench, "generate", "a kite", extra_body=wish, headers={"pinhole-policy": "lenient"})
    assert "search_prompt;kind=dropped" in headers["pinhole-adjustments"]


def same_outside(before: bytes, after: bytes) -> bool:
    """Whether every pixel outside the hole is identical."""
    one, two = pixels(before).convert("RGB"), Image.open(io.BytesIO(after)).convert("RGB")
    if one.size != two.size:
        return False
    difference = ImageChops.difference(one, two)
    difference.paste((0, 0, 0), HOLE)
    return difference.getbbox() is None
