"""Facts of images without decoding them: what Pillow writes is understood, what is broken is refused."""

from __future__ import annotations

import io
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from providers.core.types import ImageFormat
from providers.kit.images import ImageError, ImageFacts, dimensions, inspect, sniff


def made(image_format: str, mode: str = "RGB", size: tuple[int, int] = (37, 23), **options: Any) -> bytes:
    """A small picture as Pillow writes it, with enough noise not to be trivial."""
    out = io.BytesIO()
    picture = Image.effect_noise(size, 60).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.effect_noise(size, 60))  # WebP leaves an alpha channel out that hides nothing
    picture.save(out, image_format, **options)
    return out.getvalue()


SOUND = {
    "png": made("PNG"),
    "png-alpha": made("PNG", "RGBA"),
    "png-palette": made("PNG", "P"),
    "jpeg": made("JPEG"),
    "jpeg-progressive": made("JPEG", progressive=True),
    "jpeg-grey": made("JPEG", "L"),
    "webp": made("WEBP"),
    "webp-lossless": made("WEBP", "RGBA", lossless=True),
    "webp-alpha": made("WEBP", "RGBA"),
    "gif": made("GIF", "P"),
}


def jpeg_turned(orientation: int, *, big: bool) -> bytes:
    """A JPEG with an EXIF orientation in either byte order."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.endian = ">" if big else "<"
    return made("JPEG", exif=exif.tobytes())


@pytest.mark.parametrize("name", SOUND)
def test_what_an_image_library_writes_is_understood(name: str) -> None:
    """Format, size and alpha are what the library says; nothing trails."""
    data = SOUND[name]
    facts = inspect(data)

    assert facts.format == name.partition("-")[0]
    assert (facts.width, facts.height) == (37, 23) == dimensions(data[:4096])
    assert facts.has_alpha is (name in {"png-alpha", "webp-alpha", "webp-lossless"})
    assert (facts.animated, facts.trailing, facts.bytes) == (False, 0, len(data))
    assert inspect(memoryview(bytearray(data))) == facts


@pytest.mark.parametrize("name", SOUND)
def test_every_truncation_is_refused(name: str) -> None:
    """An image that ends early is no image, wherever it ends."""
    data = SOUND[name]

    for end in range(len(data)):
        with pytest.raises(ImageError):
            inspect(data[:end])


def test_every_flipped_byte_of_a_png_is_refused() -> None:
    """Signature, length, type, content and CRC of each chunk are covered, whichever bits are flipped."""
    data = SOUND["png-palette"]

    for at in range(len(data)):
        for bits in (0x01, 0x20, 0x80, 0xFF):
            broken = bytearray(data)
            broken[at] ^= bits
            with pytest.raises(ImageError):
                inspect(broken)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big", [True, False])
def test_orientation_is_read_in_both_byte_orders(orientation: int, big: bool) -> None:
    """The upright size follows EXIF; the stored one does not."""
    facts = inspect(jpeg_turned(orientation, big=big))

    assert facts.orientation == orientation
    assert (facts.width, facts.height) == (37, 23)
    upright = (facts.upright_width, facts.upright_height)
    assert upright == ((23, 37) if orientation >= 5 else (37, 23))


def test_deep_pictures_are_told() -> None:
    """Sixteen bits a channel and four inks are marked, as few models take them."""
    assert inspect(made("PNG", "I;16")).deep
    assert inspect(made("JPEG", "CMYK")).deep
    assert not inspect(SOUND["png"]).deep


def test_animation_is_told() -> None:
    """Moving pictures are marked in PNG and WebP alike."""
    frames = [Image.new("RGB", (8, 8), (i * 80, 0, 0)) for i in range(3)]
    for image_format in ("PNG", "WEBP"):
        out = io.BytesIO()
        frames[0].save(out, image_format, save_all=True, append_images=frames[1:])
        assert inspect(out.getvalue()).animated


def test_bytes_behind_the_end_are_counted() -> None:
    """A polyglot's second half is seen."""
    for name in ("png", "jpeg", "webp"):
        assert inspect(SOUND[name] + b"<script>").trailing == 8


@pytest.mark.parametrize(
    "data", [b"", b"<svg/>", b"#!/bin/sh\n", b"\x00" * 64, b"%PDF-1.7", b"GIF8", b"RIFF____WAVE"]
)
def test_other_files_are_not_images(data: bytes) -> None:
    """Text, scripts, SVG and other containers have no format."""
    assert sniff(data) is None
    with pytest.raises(ImageError):
        inspect(data)


def test_a_picture_without_pixels_is_refused() -> None:
    """Zero is no size."""
    data = bytearray(SOUND["png"])
    data[16:20] = bytes(4)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageError):
        inspect(data)


@given(st.sampled_from(sorted(SOUND)), st.data())
@settings(max_examples=400, deadline=None)
def test_hostile_bytes_raise_nothing_but_image_errors(name: str, data: st.DataObject) -> None:
    """Whatever is done to a file, the answer is facts or a refusal."""
    broken = bytearray(SOUND[name])
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        facts = inspect(broken)
    except ImageError:
        return
    assert isinstance(facts, ImageFacts)
    assert facts.format in ImageFormat
