"""Input images that cannot be used: told by their bytes, by their size, and by the model's own row."""

from __future__ import annotations

import base64
import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from providers import discover
from providers.core.spec import Mask, ModelSpec
from tests.app.wire import EDIT, Piece, data_url, edit, form, post
from tests.gateway import Gateway
from tests.upstreams.images import encode, jpeg, mask_png, picture, pixels, png, webp

NATIVE = [spec for provider in discover() for spec in provider.models if spec.mask is Mask.NATIVE]
MASKED = list({(spec.provider, spec.inputs): spec for spec in NATIVE}.values())
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
PDF = b"%PDF-1.7\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + rows


def animated(kind: str) -> bytes:
    """Two frames."""
    out = BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


NO_IMAGES = {
    "text": b"hello, I am a text file",
    "svg": SVG,
    "html": HTML,
    "pdf": PDF,
    "bmp": encode(picture(64, 64), "bmp"),
    "tiff": encode(picture(64, 64), "tiff"),
    "html before a png": HTML + png(64, 64),
    "pdf before a jpeg": PDF + jpeg(64, 64),
    "the signature alone": png(64, 64)[:8],
    "a png cut off": png(64, 64)[:-20],
    "a png without its end": png(64, 64)[:-12],
    "a png with a wrong sum": png(64, 64)[:60] + bytes([png(64, 64)[60] ^ 1]) + png(64, 64)[61:],
    "a png of no size": bomb(0, 5),
    "a jpeg cut off": jpeg(64, 64)[:-30],
    "a jpeg of two bytes": b"\xff\xd8\xff",
    "a webp cut off": webp(64, 64)[:-20],
    "a webp of a head": webp(64, 64)[:12],
    "a riff that is a wave": b"RIFF\x24\x00\x00\x00WAVEfmt ",
}


@pytest.mark.parametrize("name", NO_IMAGES)
@pytest.mark.parametrize("model", ["gpt-image-2", "gemini-3-pro-image", "dall-e-2"])
def test_what_is_no_whole_image_is_refused(sandbox: Gateway, name: str, model: str) -> None:
    """Text, markup, other formats, polyglots that begin as something else and broken files are 400 by their bytes."""
    answer = edit(sandbox, NO_IMAGES[name], model=model)
    said = post(
        sandbox,
        {"prompt": "a", "model": model, "images": [{"image_url": data_url(NO_IMAGES[name])}]},
        f"{EDIT}/explain",
    )

    for refused in (answer, said):
        assert (refused.status, refused.error["param"]) == (400, "image")
        assert refused.error["code"] == "invalid_image_file"
        assert "Allowed: png, jpeg, webp" in refused.error["message"]


@pytest.mark.parametrize("kind", ["gif", "animated gif", "png", "webp"])
def test_gif_and_animation_are_refused(sandbox: Gateway, kind: str) -> None:
    """A GIF is none of the allowed formats, and of an animation nobody knows which frame was meant."""
    data = encode(picture(64, 64), "gif") if kind == "gif" else animated(kind.removeprefix("animated "))
    answer = edit(sandbox, data)

    assert (answer.status, answer.error["code"]) == (400, "unsupported_file_mimetype")


def test_a_polyglot_that_is_a_png_is_only_a_png(sandbox: Gateway) -> None:
    """Markup behind the end of a PNG is never read as anything: the file counts as the picture that it is."""
    assert edit(sandbox, png(64, 64) + HTML).status == 200


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (65_000, 65_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(sandbox: Gateway, width: int, height: int) -> None:
    """More than 64 megapixels are 400 before any pixel is decoded."""
    answer = edit(sandbox, bomb(width, height))

    assert (answer.status, answer.error["code"]) == (400, "image_too_large")


def test_one_bad_image_of_several_is_named_by_its_place(sandbox: Gateway) -> None:
    """The parameter carries the index."""
    images = [Piece("image[]", data, "a.png") for data in (png(64, 64), HTML, png(64, 64))]
    answer = form(sandbox, Piece("model", "gpt-image-2"), Piece("prompt", "a"), *images)

    assert (answer.status, answer.error["param"]) == (400, "image[1]")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(64, 128), "it must be square"),
        (png(1200, 1200, "noise"), "at most 4000000"),
    ],
    ids=["oblong", "over 4 MB"],
)
def test_dall_e_2_takes_squares_up_to_four_megabytes(sandbox: Gateway, data: bytes, said: str) -> None:
    """The limits of the row hold, and the message gives the value and the rule."""
    answer = edit(sandbox, data, model="dall-e-2")

    assert (answer.status, answer.error["param"]) == (400, "image")
    assert said in answer.error["message"]


def test_dall_e_2_gets_a_png_of_whatever_was_sent(sandbox: Gateway) -> None:
    """An encoding that the model does not take is changed for it and reported, not refused."""
    answer = edit(sandbox, jpeg(64, 64), model="dall-e-2")

    assert answer.status == 200
    changed = {"param": "image", "kind": "emulated", "from": "jpeg", "to": "png"}
    assert changed in answer.json()["adjustments"]


MASKS = {
    "another size": (mask_png(32, 64, (0, 0, 9, 9)), "but the first image is 64x64"),
    "no alpha": (png(64, 64), "no transparent pixel"),
    "opaque": (mask_png(64, 64), "no transparent pixel"),
    "a jpeg": (jpeg(64, 64), "must be a PNG"),
    "text": (b"mask", "not an image"),
    "cut off": (mask_png(64, 64, (0, 0, 9, 9))[:-30], "not an image"),
    "no pixels in it": (bomb(64, 64), "no transparent pixel"),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("model", ["gpt-image-2", "dall-e-2", "gemini-3-pro-image"])
def test_a_mask_that_masks_nothing_is_refused(sandbox: Gateway, name: str, model: str) -> None:
    """A mask must be a PNG of the image's size with a transparent pixel; it is never dropped, not even leniently."""
    data, said = MASKS[name]
    for policy in ("strict", "lenient"):
        answer = edit(sandbox, png(64, 64), Piece("mask", data, "m.png"), model=model, pinhole_policy=policy)
        assert (answer.status, answer.error["param"]) == (400, "mask")
        assert said in answer.error["message"]


def test_a_mask_on_a_model_without_masks_is_refused(sandbox: Gateway) -> None:
    """Where neither the model nor the gateway can keep what lies outside, a mask ends the request."""
    mask = Piece("mask", mask_png(512, 512, (0, 0, 99, 99)), "m.png")
    answer = edit(sandbox, png(512, 512), mask, model="image-01")

    assert (answer.status, answer.error["param"]) == (400, "mask")


@pytest.mark.parametrize("spec", MASKED, ids=lambda spec: spec.id)
def test_the_sandbox_keeps_to_the_mask_of_every_model(sandbox: Gateway, spec: ModelSpec) -> None:
    """Whatever a vendor's own mask looks like: inside something is painted, outside the picture is the caller's."""
    photo, hole = png(1024, 1024), (0, 0, 512, 1024)
    mask = Piece("mask", mask_png(1024, 1024, hole), "m.png")
    wish = [Piece("response_format", "b64_json"), Piece("output_format", "png"), mask]
    answer = form(
        sandbox, Piece("model", spec.id), Piece("prompt", "a"), Piece("image", photo, "a.png"), *wish, path=EDIT
    )
    assert answer.status == 200, answer.body
    made = pixels(base64.b64decode(answer.json()["data"][0]["b64_json"])).convert("RGB")
    before = pixels(photo)
    outside = (512, 0, 1024, 1024)

    assert made.size == before.size
    assert made.crop(outside).tobytes() == before.crop(outside).tobytes()
    assert made.crop(hole).tobytes() != before.crop(hole).tobytes()


@pytest.mark.parametrize("model", ["dall-e-3", "cogview-4"])
def test_a_model_that_cannot_edit_says_so(sandbox: Gateway, model: str) -> None:
    """An edit is never turned into a generation."""
    answer = edit(sandbox, png(64, 64), model=model)

    assert (answer.status, answer.error["code"]) == (400, "unsupported_operation")
    assert "cannot edit" in answer.error["message"]
