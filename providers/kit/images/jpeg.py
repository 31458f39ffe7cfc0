"""JPEG by its markers (ITU T.81): every segment to the end of the image; coded data is searched, not decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from providers.core.types import ImageFormat
from providers.kit.images.facts import ImageError, ImageFacts, orientation

MAGIC: Final = b"\xff\xd8\xff"
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_EXIF: Final = b"Exif\x00\x00"


def inspect(view: memoryview) -> ImageFacts:
    """The facts of a whole JPEG. Raises ImageError."""
    size: tuple[int, int] | None = None
    turn, scans, end = 1, 0, 0
    for marker, body, after in _segments(view):
        if marker in _FRAMES and size is None:
            size = _size(body)
        elif marker == _APP1 and bytes(body[:6]) == _EXIF:
            turn = orientation(body[6:])
        scans += marker == _SCAN
        end = after if marker == _END else end
    if not end or size is None or not scans:
        raise ImageError("a truncated JPEG")
    return ImageFacts(
        format=ImageFormat.JPEG,
        width=size[0],
        height=size[1],
        orientation=turn,
        bytes=len(view),
        trailing=len(view) - end,
    )


def dimensions(view: memoryview) -> tuple[int, int]:
    """Width and height from the frame header, which may lie some kilobytes in. Raises ImageError."""
    for marker, body, _ in _segments(view):
        if marker in _FRAMES:
            return _size(body)
        if marker == _SCAN:
            break
    raise ImageError("a truncated JPEG")


def _size(body: memoryview) -> tuple[int, int]:
    if len(body) < 6:  # noqa: PLR2004 - precision, height, width, components
        raise ImageError("a damaged JPEG")
    return int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")


def _segments(view: memoryview) -> Iterator[tuple[int, memoryview, int]]:
    """Marker, body and the place behind it; the coded data behind a scan's header is passed over."""
    data = view.obj if isinstance(view.obj, bytes) and len(view.obj) == len(view) else bytes(view)
    at = 2
    while True:
        while at < len(data) and data[at] == 0xFF and data[at + 1 : at + 2] == b"\xff":  # noqa: PLR2004 - fill bytes
            at += 1
        if at + 2 > len(data) or data[at] != 0xFF:  # noqa: PLR2004 - every marker starts so
            raise ImageError("a truncated JPEG" if at + 2 > len(data) else "a damaged JPEG")
        marker = data[at + 1]
        at += 2
        if marker == _END:
            yield marker, view[at:at], at
            return
        if marker in _BARE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):  # noqa: PLR2004 - the length counts itself
            raise ImageError("a truncated JPEG")
        body = view[at + 2 : at + length]
        at += length
        yield marker, body, at
        if marker == _SCAN:
            at = _after_scan(data, at)


def _after_scan(data: bytes, at: int) -> int:
    """The next marker that is neither a stuffed byte nor a restart."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise ImageError("a truncated JPEG")
        if data[at + 1] and data[at + 1] not in _BARE and data[at + 1] != 0xFF:  # noqa: PLR2004 - a real marker
            return at
        at += 1 if data[at + 1] == 0xFF else 2  # noqa: PLR2004 - fill byte, else a stuffed or restart pair
