"""WebP by its RIFF chunks (RFC 9649): lengths, sizes and flags of VP8, VP8L and VP8X."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from providers.core.types import ImageFormat
from providers.kit.images.facts import ImageError, ImageFacts, orientation

_ALPHA, _ANIMATED = 0x10, 0x02
_FIRST: Final = 12


def inspect(view: memoryview) -> ImageFacts:
    """The facts of a whole WebP. Raises ImageError."""
    end = 8 + int.from_bytes(view[4:8], "little")
    if end > len(view) or end < _FIRST:
        raise ImageError("a truncated WebP")
    kinds: list[bytes] = []
    turn = 1
    for kind, body in _chunks(view, end):
        kinds.append(kind)
        if kind == b"EXIF":
            turn = orientation(body[6:] if bytes(body[:6]) == b"Exif\x00\x00" else body)
    if not {b"VP8 ", b"VP8L", b"ANMF"} & set(kinds):
        raise ImageError("a WebP without pixels")
    width, height = dimensions(view)
    first = bytes(view[12:16])
    flags = view[20] if first == b"VP8X" else 0
    lossless_alpha = first == b"VP8L" and bool(view[24] & 0x10)
    return ImageFacts(
        format=ImageFormat.WEBP,
        width=width,
        height=height,
        has_alpha=bool(flags & _ALPHA) or lossless_alpha or b"ALPH" in kinds,
        animated=bool(flags & _ANIMATED) or b"ANIM" in kinds,
        orientation=turn,
        bytes=len(view),
        trailing=len(view) - end,
    )


def dimensions(view: memoryview) -> tuple[int, int]:
    """Width and height from the first 30 bytes. Raises ImageError."""
    if len(view) < 30:  # noqa: PLR2004 - what the largest of the three headers needs
        raise ImageError("a truncated WebP")
    kind = bytes(view[12:16])
    if kind == b"VP8X":
        return 1 + int.from_bytes(view[24:27], "little"), 1 + int.from_bytes(view[27:30], "little")
    if kind == b"VP8L" and view[20] == 0x2F:  # noqa: PLR2004 - the signature byte
        bits = int.from_bytes(view[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and bytes(view[23:26]) == b"\x9d\x01\x2a":
        return int.from_bytes(view[26:28], "little") & 0x3FFF, int.from_bytes(view[28:30], "little") & 0x3FFF
    raise ImageError("a damaged WebP")


def _chunks(view: memoryview, end: int) -> Iterator[tuple[bytes, memoryview]]:
    at = _FIRST
    while at < end:
        length = int.from_bytes(view[at + 4 : at + 8], "little")
        if at + 8 + length > end:
            raise ImageError("a truncated WebP")
        yield bytes(view[at : at + 4]), view[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
