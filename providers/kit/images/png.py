"""PNG by its chunks (W3C PNG, third edition): every length and every CRC, from the signature to IEND."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from providers.core.types import ImageFormat
from providers.kit.images.facts import ImageError, ImageFacts, orientation

MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_ALPHA: Final = frozenset({4, 6})
_HEADER: Final = 13
_DEPTHS: Final = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}


def inspect(view: memoryview) -> ImageFacts:
    """The facts of a whole PNG. Raises ImageError."""
    width, height = dimensions(view)
    seen: list[bytes] = []
    turn, end = 1, 0
    for kind, body, after in _chunks(view):
        if (kind == b"IHDR") != (not seen):
            raise ImageError("a PNG whose first chunk is not its only IHDR")
        if kind == b"eXIf":
            turn = orientation(body)
        seen.append(kind)
        end = after
    if seen[-1:] != [b"IEND"]:
        raise ImageError("a truncated PNG")
    if b"IDAT" not in seen:
        raise ImageError("a PNG without pixels")
    return ImageFacts(
        format=ImageFormat.PNG,
        width=width,
        height=height,
        has_alpha=view[25] in _ALPHA or b"tRNS" in seen,
        animated=b"acTL" in seen,
        orientation=turn,
        bytes=len(view),
        trailing=len(view) - end,
    )


def dimensions(view: memoryview) -> tuple[int, int]:
    """Width and height from the first 33 bytes. Raises ImageError."""
    if len(view) < 33 or bytes(view[12:16]) != b"IHDR" or _number(view, 8) != _HEADER:  # noqa: PLR2004 - up to IHDR's CRC
        raise ImageError("a truncated PNG")
    if view[24] not in _DEPTHS.get(view[25], set()):
        raise ImageError("a PNG of an unknown colour type")
    return _number(view, 16), _number(view, 20)


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    at = len(MAGIC)
    while at < len(view):
        length = _number(view, at)
        end = at + 12 + length
        if end > len(view):
            raise ImageError("a truncated PNG")
        if zlib.crc32(view[at + 4 : end - 4]) != _number(view, end - 4):
            raise ImageError("a damaged PNG")
        kind = bytes(view[at + 4 : at + 8])
        yield kind, view[at + 8 : end - 4], end
        if kind == b"IEND":
            return
        at = end


def _number(view: memoryview, at: int) -> int:
    return int.from_bytes(view[at : at + 4], "big")
