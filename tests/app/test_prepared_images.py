"""Input images that are made into what a model takes: what goes out, what is told of it, what is refused unpaid."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from app.ledger import State
from tests.app.test_bad_images import bomb
from tests.app.wire import EDIT, Piece, Reply, form
from tests.gateway import Gateway, running
from tests.upstreams.gemini import KEY, GeminiServer
from tests.upstreams.http import Reply as HTTPReply
from tests.upstreams.images import jpeg, mask_png, pixels, png
from tests.upstreams.multipart import Part, parse
from tests.upstreams.openai import OpenAIStandIn
from tests.upstreams.qwen import KEY as QWEN_KEY
from tests.upstreams.qwen import Qwen

GROWS = jpeg(1200, 1200, "noise")  # 4.3 MB as the PNG that DALL-E 2 takes
CHANGED = "pinhole-adjustments"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIStandIn]:
    """A compatible engine that still serves DALL-E 2."""
    with OpenAIStandIn() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(server: OpenAIStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before it."""
    environ = {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.base_url}
    with running(tmp_path_factory.mktemp("prepared"), environ) as found:
        yield found


def edited(gateway: Gateway, image: bytes, *more: Piece, model: str = "dall-e-2", **headers: str) -> Reply:
    """A real edit."""
    pieces = (Piece("model", model), Piece("prompt", "a red hat"), Piece("image", image, "image"))
    return form(gateway, *pieces, *more, path=EDIT, **headers)


def received(server: OpenAIStandIn) -> dict[str, Image.Image]:
    """The pictures that the upstream got with its last request."""
    return {part.name: pixels(part.data) for part in sent_parts(server) if part.filename}


def sent_parts(server: OpenAIStandIn) -> list[Part]:
    """The form of the upstream's last request."""
    last = server.exchanges[-1]
    return parse(last.header("content-type"), last.body)


@pytest.mark.parametrize("stream", ["false", "true"])
def test_an_image_that_outgrows_the_limit_is_refused_unpaid(
    gateway: Gateway, server: OpenAIStandIn, stream: str
) -> None:
    """A strict caller's picture never becomes smaller: 400 with bytes and limit, nothing called or charged."""
    before = len(server.exchanges)
    answer = edited(gateway, GROWS, Piece("stream", stream))

    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "image", "image_too_large")
    assert "as the png of 1200x1200 that the model takes; at most 4000000 are allowed" in answer.error["message"]
    assert (answer.headers["pinhole-attempts"], len(server.exchanges)) == ("0", before)
    assert (gateway.ledger.entries[-1].state, gateway.ledger.entries[-1].cost) == (State.FAILED, 0)


def test_a_lenient_callers_image_loses_pixels_and_is_told(gateway: Gateway, server: OpenAIStandIn) -> None:
    """What came out of it stands in the answer, and the mask went with it."""
    mask = Piece("mask", mask_png(1200, 1200, (0, 0, 600, 1200)), "mask.png")
    answer = edited(gateway, GROWS, mask, pinhole_policy="lenient")
    assert answer.status == 200, answer.body
    sent = received(server)
    assert {name: (image.mode, image.size) for name, image in sent.items()} == {
        "image": ("RGBA", (960, 960)),
        "mask": ("RGBA", (960, 960)),
    }
    assert sent["mask"].getchannel("A").getpixel((8, 8)) == 0
    for told in (
        'image;kind=emulated;from="jpeg";to="png"',
        'image;kind=emulated;from="1200x1200";to="960x960"',
        'mask;kind=mapped;from="1200x1200";to="960x960"',
    ):
        assert told in answer.headers[CHANGED]


def test_dall_e_2_gets_an_alpha_channel(gateway: Gateway, server: OpenAIStandIn) -> None:
    """It refuses plain RGB: such a picture gets an opaque channel, told; one that has a channel is left alone."""
    plain = edited(gateway, png(64, 64))
    sent = received(server)["image"]
    own = edited(gateway, png(64, 64, alpha=90))

    assert 'image;kind=emulated;from="rgb";to="rgba"' in plain.headers[CHANGED]
    assert (sent.mode, sent.getchannel("A").getextrema()) == ("RGBA", (255, 255))
    assert sent.convert("RGB").tobytes() == pixels(png(64, 64)).tobytes()
    assert own.status == 200
    assert "image" not in own.headers.get(CHANGED, "")
    assert sent_parts(server)[-1].data == png(64, 64, alpha=90)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (png(640, 512, alpha=90), 'image;kind=emulated;from="rgba";to="rgb"'),
        (jpeg(640, 512, orientation=6), 'image;kind=emulated;from="jpeg";to="jpeg"'),
        (png(640, 512), ""),
    ],
    ids=["alpha", "turned", "plain"],
)
def test_a_picture_that_is_redrawn_is_told(tmp_path: Path, image: bytes, told: str) -> None:
    """Transparency that a model refuses, and a turn that it may not read, are changed for it before, and said."""
    with (
        Qwen() as server,
        running(tmp_path, {"DASHSCOPE_API_KEY": QWEN_KEY, "DASHSCOPE_BASE_URL": server.url}) as gateway,
    ):
        answer = edited(gateway, image, model="wan2.7-image")
        said = form(gateway, Piece("model", "wan2.7-image"), Piece("prompt", "a"), Piece("image", image, "a"))

    assert answer.status == 200, answer.body
    header = answer.headers.get(CHANGED, "")
    assert told in header
    assert ("image;" in header) == bool(told)
    assert any(each["param"] == "image" for each in said.json()["adjustments"]) == bool(told)


def test_what_cannot_be_put_back_is_not_edited(tmp_path: Path) -> None:
    """A picture of sound structure that cannot be decoded is refused before an emulated edit is paid for."""
    broken = bomb(64, 64)
    with (
        GeminiServer() as server,
        running(tmp_path, {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": server.url}) as gateway,
    ):
        mask = Piece("mask", mask_png(64, 64, (0, 0, 32, 32)), "m.png")
        answer = edited(gateway, broken, mask, model="gemini-3-pro-image")
        row = gateway.ledger.entries[-1]

    assert (answer.status, answer.error["param"]) == (400, "image")
    assert (len(server.exchanges), server.paid) == (0, 0)
    assert (row.state, row.cost) == (State.FAILED, 0)


def test_a_mask_of_one_transparent_colour_is_a_mask(gateway: Gateway, server: OpenAIStandIn) -> None:
    """A hole that is a colour of an RGB file, not a channel, reaches the model as a channel."""
    image, out = Image.new("RGB", (64, 64), (0, 0, 0)), BytesIO()
    image.paste((255, 0, 255), (0, 0, 32, 64))
    image.save(out, "png", transparency=(255, 0, 255))
    answer = edited(gateway, png(64, 64), Piece("mask", out.getvalue(), "m.png"), model="gpt-image-2")
    sent = received(server)["mask"]

    assert 'mask;kind=mapped;from="palette";to="rgba"' in answer.headers[CHANGED]
    assert (sent.mode, sent.getpixel((8, 8)), sent.getpixel((56, 8))) == ("RGBA", (0, 0, 0, 0), (0, 0, 0, 255))


def test_a_fallback_that_cannot_take_the_image_is_no_bad_request(tmp_path: Path, server: OpenAIStandIn) -> None:
    """What the first model takes as it is outgrows the second one: the first one's error stands."""
    busy = HTTPReply.json(429, {"error": {"message": "slow", "type": "rate_limit_error", "code": "slow_down"}})
    environ = {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.base_url}
    with running(tmp_path, environ, "fallbacks: {gpt-image-2: [dall-e-2]}\n") as gateway:
        server.queue(busy)
        answer = edited(gateway, GROWS, model="gpt-image-2")
        row = gateway.ledger.entries[-1]

    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert "Fallbacks passed over: 'dall-e-2' cannot take the images ('image' has " in answer.error["message"]
    assert (row.state, row.model, row.attempts) == (State.FAILED, "gpt-image-2", 1)
