"""The corners of each format: what a strange but sound file says, and why a broken one is refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from providers.kit.images import ImageError, dimensions, inspect
from providers.kit.images.facts import MAX_PARTS
from tests.providers.kit.test_images import SOUND, jpeg_turned, made


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A PNG chunk with its right CRC."""
    return struct.pack(">I", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png(*chunks: bytes) -> bytes:
    """A PNG of the chunks given."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def header(width: int = 4, height: int = 3, rest: Iterable[int] = (8, 2, 0, 0, 0)) -> bytes:
    """An IHDR chunk; `rest` is depth, colour type, compression, filter, interlace."""
    return chunk(b"IHDR", struct.pack(">II", width, height) + bytes(rest))


IDAT, IEND, PLTE, TRNS = chunk(b"IDAT", b"x"), chunk(b"IEND"), chunk(b"PLTE", b"\0\0\0"), chunk(b"tRNS", b"\0")
PALETTE = header(rest=(8, 3, 0, 0, 0))
TEXT = chunk(b"tEXt", b"k\0v")


def segment(marker: int, data: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


SOI, EOI = b"\xff\xd8", b"\xff\xd9"
FRAME = segment(0xC0, b"\x08\0\x03\0\x04\x01\x01\x11\0")
SCAN = segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"scan\xff\x00data\xff\xd0more"


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of the chunks given, padded to even lengths."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def canvas(flags: int, width: int = 4, height: int = 3) -> tuple[bytes, bytes]:
    """A VP8X chunk."""
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


LOSSLESS = b"VP8L", b"\x2f" + (3 | 2 << 14).to_bytes(4, "little")
LOSSY = b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 4 | 1 << 14, 3)


@pytest.mark.parametrize(
    ("data", "alpha"),
    [
        (png(header(), IDAT, IEND), False),
        (png(header(), TEXT, IDAT, IDAT, TEXT, IEND), False),
        (png(header(), TRNS, IDAT, IEND), True),
        (png(PALETTE, PLTE, TRNS, IDAT, IEND), True),
        (png(PALETTE, PLTE, IDAT, IEND), False),
        (png(header(rest=(8, 6, 0, 0, 1)), IDAT, IEND), True),
        (png(header(rest=(16, 4, 0, 0, 0)), IDAT, IEND), True),
        (SOI + FRAME + SCAN + EOI, False),
        (SOI + b"\xff\xff\xff" + FRAME + SCAN + b"\xff\xff" + EOI, False),
        (
            SOI
            + segment(0xE1, b"Exif\0\0" + SOI + FRAME.replace(b"\x04", b"\x63") + SCAN + EOI)
            + FRAME
            + SCAN
            + EOI,
            False,
        ),
        (SOI + segment(0xFE, EOI * 3) + FRAME + SCAN + segment(0xC4, b"") + SCAN + EOI, False),
        (webp(LOSSLESS), False),
        (webp(LOSSY), False),
        (webp(canvas(0), LOSSY), False),
        (webp(canvas(0), (b"ALPH", b"\0"), LOSSY), True),
        (webp(canvas(0x10), LOSSLESS), True),
        (webp((b"VP8L", b"\x2f" + (3 | 2 << 14 | 1 << 28).to_bytes(4, "little"))), True),
        (webp(canvas(0), (b"XXXX", b"odd"), LOSSY, (b"XMP ", b"<x/>")), False),
    ],
)
def test_a_sound_structure_is_understood(data: bytes, alpha: bool) -> None:
    """Size, alpha and end are found whatever chunks, thumbnails, restarts and fill bytes surround them."""
    for trailing in (b"", b"\xff\xd9junk"):
        facts = inspect(data + trailing)

        assert (facts.width, facts.height, facts.has_alpha) == (4, 3, alpha)
        assert (facts.bytes, facts.trailing) == (len(data + trailing), len(trailing))
        assert dimensions(data + trailing) == (4, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(TEXT, header(), IDAT, IEND), "no IHDR first"),
        (png(IEND), "no IHDR first"),
        (png(chunk(b"IHDR", b"short"), IDAT, IEND), "no IHDR first"),
        (png(header(), header(), IDAT, IEND), "two headers"),
        (png(header(), IEND), "no image data"),
        (png(PALETTE, IDAT, IEND), "no image data"),
        (png(header(), IDAT, TEXT, IDAT, IEND), "two places"),
        (png(header(), chunk(b"ABCD"), IDAT, IEND), "unknown critical"),
        (png(header(rest=(4, 2, 0, 0, 0)), IDAT, IEND), "impossible header"),
        (png(header(rest=(8, 5, 0, 0, 0)), IDAT, IEND), "impossible header"),
        (png(header(rest=(8, 2, 1, 0, 0)), IDAT, IEND), "impossible header"),
        (png(header(rest=(8, 2, 0, 0, 2)), IDAT, IEND), "impossible header"),
        (png(header(1 << 31), IDAT, IEND), "impossible size"),
        (png(header(0), IDAT, IEND), "no pixels"),
        (png(header(), IDAT), "truncated PNG"),
        (png(header(), *[TEXT] * MAX_PARTS), "too many chunks"),
        (SOI + FRAME + EOI, "no image data"),
        (SOI + SCAN + FRAME + EOI, "misplaced scan"),
        (SOI + FRAME + FRAME + SCAN + EOI, "two frames"),
        (SOI + FRAME + SCAN + SOI + EOI, "misplaced marker"),
        (SOI + segment(0xC0, b"\x08\0\x03\0\x04\x03\x01\x11\0") + SCAN + EOI, "impossible frame"),
        (SOI + segment(0xC0, b"\x08\0\0\0\x04\x01\x01\x11\0") + SCAN + EOI, "no pixels"),
        (SOI + FRAME + segment(0xDA, b"\x02\x01\0\0\x3f\0") + EOI, "misplaced scan"),
        (SOI + b"\xff\xe0\0\x01" + FRAME + SCAN + EOI, "impossible segment"),
        (SOI + b"\xff\xe0\xff\xff" + FRAME + SCAN + EOI, "truncated JPEG"),
        (SOI + FRAME + segment(0xE0, b"") + b"junk" + SCAN + EOI, "no marker"),
        (SOI + FRAME + SCAN, "truncated JPEG"),
        (SOI + b"\xff" * 1_000_000, "truncated JPEG"),
        (SOI + segment(0xFE, b"") * MAX_PARTS, "too many segments"),
        (webp(), "empty"),
        (webp((b"EXIF", b"")), "no image first"),
        (webp((b"VP8 ", b"\x01" + LOSSY[1][1:])), "no key frame"),
        (webp((b"VP8 ", b"\0\0\x01" + LOSSY[1][3:])), "partition"),
        (webp((b"VP8 ", LOSSY[1][:6] + bytes(4))), "no pixels"),
        (webp((b"VP8L", b"\x2e" + LOSSLESS[1][1:])), "no lossless header"),
        (webp((b"VP8L", b"")), "no lossless header"),
        (webp((b"VP8X", b"")), "short header"),
        (webp(canvas(0)), "canvas"),
        (webp(canvas(0, 5), LOSSY), "canvas"),
        (webp(canvas(0), LOSSY, LOSSY), "canvas"),
        (webp(canvas(2), LOSSY), "no image data"),
        (webp(canvas(2), (b"ANMF", bytes(16))), "empty frame"),
        (webp(*[(b"XXXX", b"")] * (MAX_PARTS + 1)), "too many chunks"),
        (b"RIFF\x12\0\0\0WEBPVP8L\x63\0\0\0" + LOSSLESS[1] + b"\0", "over the end"),
        (b"RIFF\xff\0\0\0WEBPVP8L\x05\0\0\0" + LOSSLESS[1] + b"\0", "truncated WebP"),
        (b"GIF89a\x04\0\x03\0\0\0\0;", "no image data"),
        (b"GIF89a\x04\0\x03\0\0\0\0?", "unknown block"),
        (b"GIF89a\x04\0\x03\0\x87\0\0;", "truncated GIF"),
        (b"GIF89a\x04\0\x03\0\0\0\0" + b"!\xf9\0" * ((1 << 20) + 1), "too many blocks"),
    ],
)
def test_a_broken_structure_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    """Each rule of a format has a short reason, and a flood of tiny parts an end."""
    with pytest.raises(ImageError, match=reason):
        inspect(data)


@pytest.mark.parametrize(
    "options",
    [
        {"restart_marker_blocks": 1},
        {"progressive": True, "restart_marker_rows": 1},
        {"quality": 100, "subsampling": 0, "comment": b"\xff\xd9"},
        {"icc_profile": bytes(200_000)},
    ],
    ids=["restarts", "progressive", "comment", "profile"],
)
def test_a_jpeg_of_many_parts_is_walked_to_its_end(options: dict[str, Any]) -> None:
    """Restart markers, several scans and long metadata do not hide where the picture ends."""
    data = made("JPEG", size=(130, 90), **options)
    facts = inspect(data + b"more")

    assert (facts.width, facts.height, facts.trailing) == (130, 90, 4)


def test_the_second_picture_of_a_jpeg_trails() -> None:
    """A multi-picture file, as cameras write it, is its first picture and what follows."""
    out = io.BytesIO()
    first, second = Image.effect_noise((40, 30), 50), Image.effect_noise((20, 10), 50)
    first.save(out, "MPO", save_all=True, append_images=[second])
    facts = inspect(out.getvalue())

    assert (facts.width, facts.height) == (40, 30)
    assert 0 < facts.trailing < len(out.getvalue())


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_orientation_is_read_from_every_format(image_format: str) -> None:
    """PNG and WebP carry EXIF in chunks of their own."""
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = inspect(made(image_format, exif=exif.tobytes()))

    assert (facts.orientation, facts.upright_width, facts.upright_height) == (6, 23, 37)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"XX*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
    ],
)
def test_broken_metadata_is_no_reason_to_refuse(block: bytes) -> None:
    """EXIF that cannot be read leaves a picture upright."""
    assert inspect(SOI + segment(0xE1, b"Exif\0\0" + block) + FRAME + SCAN + EOI).orientation == 1
    assert inspect(png(header(), chunk(b"eXIf", block), IDAT, IEND)).orientation == 1


def test_the_first_exif_of_a_jpeg_counts() -> None:
    """XMP in another APP1 segment and a second EXIF block change nothing."""
    data = jpeg_turned(6, big=True)
    again = jpeg_turned(3, big=False)
    second = again[again.index(b"\xff\xe1") :][: 2 + int.from_bytes(again[again.index(b"\xff\xe1") + 2 :][:2])]
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    frame = data.index(b"\xff\xdb")

    assert inspect(SOI + xmp + data[2:frame] + second + data[frame:]).orientation == 6


def test_the_head_of_a_picture_tells_its_size() -> None:
    """30 bytes suffice except for JPEG, which needs all before its frame header."""
    for name, data in SOUND.items():
        if not name.startswith("jpeg"):
            assert dimensions(data[:30]) == (37, 23)
    frame = SOUND["jpeg"].index(b"\xff\xc0")
    assert dimensions(SOUND["jpeg"][: frame + 30]) == (37, 23)
    assert dimensions(SOUND["jpeg"][:frame]) is None
    assert dimensions(png(header(0))) is None


def test_a_gif_tells_its_transparency_and_its_frames() -> None:
    """The first picture's control block tells alpha; two pictures move."""
    still, moving = io.BytesIO(), io.BytesIO()
    frames = [Image.new("P", (8, 6), number) for number in range(3)]
    for number, frame in enumerate(frames):
        frame.putpalette([number * 50] * 768)
    frames[0].save(still, "GIF", transparency=0)
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:], duration=100)

    assert inspect(still.getvalue()).has_alpha
    assert not inspect(still.getvalue()).animated
    assert inspect(moving.getvalue()).animated


STARTS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x1e\0\0\0WEBPVP8 ", b"RIFF\x1e\0\0\0WEBPVP8X"]


@given(st.sampled_from(STARTS), st.binary(max_size=200))
@settings(max_examples=600, deadline=None)
def test_random_bytes_raise_nothing_but_image_errors(start: bytes, rest: bytes) -> None:
    """Noise behind a signature is refused or has a size; the head alone never raises."""
    size = dimensions(start + rest)
    try:
        facts = inspect(start + rest)
    except ImageError:
        return
    assert size in {None, (facts.width, facts.height)}
