"""PNG (ISO/IEC 15948): every chunk with its CRC, from IHDR to IEND."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from isal.isal_zlib import crc32

from providers.core.types import ImageFormat
from providers.kit.images.exif import orientation
from providers.kit.images.facts import MAX_PARTS, ImageError, ImageFacts

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CRITICAL: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
_PALETTE: Final = 3
_DEEP: Final = 16
_ALPHA: Final = 4  # bit of the colour type
_LARGEST: Final = 0x7FFFFFFF
_EMPTY_CHUNK: Final = 12  # length, type, CRC
_SIZE_END: Final = 24
_IHDR: Final = struct.Struct(">IIBBBBB")


def inspect(view: memoryview) -> ImageFacts:
    """The facts of a PNG. Raises ImageError."""
    (first, header, _), *chunks = _chunks(view)
    if first != b"IHDR" or len(header) != _IHDR.size:
        raise ImageError("corrupt PNG: no IHDR first")
    width, height, depth, colour, compression, filtering, interlace = _IHDR.unpack(header)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise ImageError("corrupt PNG: impossible header")
    if max(width, height) > _LARGEST:
        raise ImageError("corrupt PNG: impossible size")
    seen: dict[bytes, memoryview] = {}
    last = first
    for kind, data, _ in chunks:
        _check_order(kind, last, seen)
        seen.setdefault(kind, data)
        last = kind
    if b"IDAT" not in seen or (colour == _PALETTE and b"PLTE" not in seen):
        raise ImageError("corrupt PNG: no image data")
    return ImageFacts(
        format=ImageFormat.PNG,
        width=width,
        height=height,
        has_alpha=bool(colour & _ALPHA) or b"tRNS" in seen,
        animated=int.from_bytes(seen.get(b"acTL", view[:0])[:4]) > 1,
        deep=depth == _DEEP,
        indexed=colour == _PALETTE or b"tRNS" in seen,
        orientation=orientation(seen.get(b"eXIf", view[:0])),
        bytes=len(view),
        trailing=len(view) - chunks[-1][2],
    )


def dimensions(head: memoryview) -> tuple[int, int] | None:
    """Width and height from the first 24 bytes."""
    if len(head) < _SIZE_END or bytes(head[12:16]) != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    """Type, data and end offset of each chunk up to IEND, each with a right CRC."""
    at = len(SIGNATURE)
    for _ in range(MAX_PARTS):
        if len(view) - at < _EMPTY_CHUNK:
            raise ImageError("truncated PNG")
        size = int.from_bytes(view[at : at + 4])
        end = at + _EMPTY_CHUNK + size
        if end > len(view):
            raise ImageError("truncated PNG")
        if crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise ImageError("corrupt PNG: wrong checksum")
        kind = bytes(view[at + 4 : at + 8])
        yield kind, view[at + 8 : end - 4], end
        if kind == b"IEND":
            return
        at = end
    raise ImageError("corrupt PNG: too many chunks")


def _check_order(kind: bytes, last: bytes, seen: dict[bytes, memoryview]) -> None:
    if kind == b"IHDR":
        raise ImageError("corrupt PNG: two headers")
    if kind == b"IDAT" and last != b"IDAT" and kind in seen:
        raise ImageError("corrupt PNG: image data in two places")
    if kind[0] & 0x20 == 0 and kind not in _CRITICAL:
        raise ImageError("corrupt PNG: unknown critical chunk")
