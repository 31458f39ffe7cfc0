"""Re-encoding: the picture stays, upright, and nothing of its metadata."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from providers.core.types import ImageFormat
from providers.kit.convert import convert
from providers.kit.images import ImageError, inspect
from tests.upstreams.images import encode, jpeg, mask_png, picture, pixels, png, webp

FORMATS = [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP]


def difference(one: Image.Image, two: Image.Image) -> float:
    """The mean difference of two pictures, in levels of 255."""
    pairs = zip(one.convert("RGB").tobytes(), two.convert("RGB").tobytes(), strict=True)
    return sum(abs(a - b) for a, b in pairs) / (one.width * one.height * 3)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("make", [png, jpeg, webp])
def test_the_picture_stays(make: object, to: ImageFormat) -> None:
    """Format and size are as asked, and the pixels nearly the same."""
    assert callable(make)
    source = make(96, 64)
    data = convert(source, to)
    facts = inspect(data)

    assert (facts.format, facts.width, facts.height, facts.animated) == (to, 96, 64, False)
    assert difference(pixels(source), pixels(data)) < 4


def test_png_to_png_is_exact() -> None:
    """No pixel is lost where none needs to be."""
    source = png(64, 64, "noise", alpha=77)

    assert pixels(convert(source, ImageFormat.PNG)).tobytes() == pixels(source).convert("RGBA").tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_stands_upright(orientation: int) -> None:
    """EXIF's turn is done and its tag is gone."""
    source = jpeg(96, 64, orientation=orientation)
    facts = inspect(convert(source, ImageFormat.PNG))

    assert (facts.width, facts.height) == (inspect(source).upright_width, inspect(source).upright_height)
    assert facts.orientation == 1


@pytest.mark.parametrize("to", FORMATS)
def test_transparency_is_kept_where_it_can_be(to: ImageFormat) -> None:
    """JPEG has none: there, and when flattened, transparent parts are white."""
    source = mask_png(64, 64, (0, 0, 32, 64))
    kept, flat = pixels(convert(source, to)), pixels(convert(source, to, flatten=True))

    assert kept.has_transparency_data is (to is not ImageFormat.JPEG)
    assert not flat.has_transparency_data
    assert min(flat.convert("RGB").getpixel((8, 8))) > 245  # type: ignore[arg-type]  # an RGB pixel is a tuple
    assert max(flat.convert("RGB").getpixel((56, 8))) < 10  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("to", [ImageFormat.JPEG, ImageFormat.WEBP])
def test_compression_is_openais(to: ImageFormat) -> None:
    """100 keeps the most, 0 the least, and every number between works."""
    sizes = [len(convert(png(128, 128, "noise"), to, compression=level)) for level in (0, 50, 100)]

    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2
    assert len(convert(png(128, 128, "noise"), to)) == sizes[2]


def test_metadata_is_not_carried_over() -> None:
    """Where a photo was taken is nobody's business."""
    image = picture(32, 32)
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    out = BytesIO()
    image.save(out, "jpeg", exif=exif, comment=b"a secret place")
    assert b"a secret place" in out.getvalue()
    for to in FORMATS:
        assert b"a secret place" not in convert(out.getvalue(), to)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "RGBA"])
def test_every_kind_of_pixel_is_read(mode: str) -> None:
    """Greys, palettes, inks and deep samples come out as ordinary pictures."""
    kind = "jpeg" if mode == "CMYK" else "png"
    out = BytesIO()
    Image.new(mode, (16, 16)).save(out, kind)
    for to in FORMATS:
        assert inspect(convert(out.getvalue(), to)).width == 16


def bomb(edge: int) -> bytes:
    """A PNG that promises more pixels than any answer has."""
    header = struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        png(32, 32)[:60],
        jpeg(32, 32)[:40],
        webp(32, 32)[:20],
        bomb(12_000),
        bomb(60_000),
        bomb(64),
        encode(picture(8, 8), "bmp"),
    ],
    ids=["empty", "text", "png", "jpeg", "webp", "large", "bomb", "hollow", "bmp"],
)
@pytest.mark.parametrize("to", FORMATS)
def test_what_cannot_be_decoded_is_an_image_error(data: bytes, to: ImageFormat) -> None:
    """Cut off, too large, another format: one error, no warning, no crash."""
    with pytest.raises(ImageError):
        convert(data, to)


@pytest.mark.parametrize("to", FORMATS)
def test_colours_keep_their_meaning(to: ImageFormat) -> None:
    """A colour profile goes with its pixels, else a wide-gamut picture would look wrong."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out = BytesIO()
    picture(16, 16).save(out, "png", icc_profile=profile)

    assert pixels(convert(out.getvalue(), to)).info["icc_profile"] == profile
