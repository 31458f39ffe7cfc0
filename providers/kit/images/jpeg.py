"""JPEG (ITU T.81): every marker segment and scan, from SOI to the image's own EOI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from providers.core.types import ImageFormat
from providers.kit.images.exif import PREFIX, orientation
from providers.kit.images.facts import MAX_PARTS, ImageError, ImageFacts

_SOI, _EOI, _SOS, _APP1, _TEM = 0xD8, 0xD9, 0xDA, 0xE1, 0x01
_RESTARTS: Final = range(0xD0, 0xD8)
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC
_MARKER: Final = re.compile(rb"\xff+([^\xff])", re.DOTALL)
_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_FRAME_HEAD: Final = 6
_LENGTH: Final = 2  # bytes of a segment's length, which counts itself
_BITS: Final = 8
_INKS: Final = 4


def inspect(view: memoryview) -> ImageFacts:
    """The facts of a JPEG. Raises ImageError."""
    size: tuple[int, int] | None = None
    scans = 0
    deep = False
    turned: int | None = None
    segments = list(_segments(view))
    for marker, data, _ in segments:
        if marker in _FRAMES:
            if size:
                raise ImageError("corrupt JPEG: two frames")
            size = _frame(data)
            deep = data[0] > _BITS or data[5] == _INKS
        elif marker == _SOS:
            if not size or not data or len(data) != 4 + 2 * data[0]:
                raise ImageError("corrupt JPEG: misplaced scan")
            scans += 1
        elif marker == _APP1 and turned is None and bytes(data[: len(PREFIX)]) == PREFIX:
            turned = orientation(data)
    if not size or not scans:
        raise ImageError("corrupt JPEG: no image data")
    return ImageFacts(
        format=ImageFormat.JPEG,
        width=size[0],
        height=size[1],
        orientation=turned or 1,
        deep=deep,
        bytes=len(view),
        trailing=len(view) - segments[-1][2],
    )


def dimensions(head: memoryview) -> tuple[int, int] | None:
    """Width and height, if the frame header is within the head."""
    try:
        return next((_frame(data) for marker, data, _ in _segments(head) if marker in _FRAMES), None)
    except ImageError:
        return None


def _segments(view: memoryview) -> Iterator[tuple[int, memoryview, int]]:
    """Marker, payload and end offset of each segment; scans are skipped, EOI is the last."""
    at = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.match(view, at)
        if found is None:
            is_cut = bytes(view[at : at + 1]) in (b"", b"\xff")
            raise ImageError("truncated JPEG" if is_cut else "corrupt JPEG: no marker")
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            yield marker, view[at:at], at
            return
        if marker in (0, _SOI):
            raise ImageError("corrupt JPEG: misplaced marker")
        if marker == _TEM or marker in _RESTARTS:
            continue
        end = at + _length(view, at)
        yield marker, view[at + _LENGTH : end], end
        at = _scan_end(view, end) if marker == _SOS else end
    raise ImageError("corrupt JPEG: too many segments")


def _length(view: memoryview, at: int) -> int:
    if len(view) - at < _LENGTH:
        raise ImageError("truncated JPEG")
    length = int.from_bytes(view[at : at + _LENGTH])
    if length < _LENGTH:
        raise ImageError("corrupt JPEG: impossible segment")
    if at + length > len(view):
        raise ImageError("truncated JPEG")
    return length


def _scan_end(view: memoryview, start: int) -> int:
    found = _AFTER_SCAN.search(view, start)
    if found is None:
        raise ImageError("truncated JPEG")
    return found.start()


def _frame(data: memoryview) -> tuple[int, int]:
    if len(data) < _FRAME_HEAD or len(data) != _FRAME_HEAD + 3 * data[5] or not data[5]:
        raise ImageError("corrupt JPEG: impossible frame")
    return int.from_bytes(data[3:5]), int.from_bytes(data[1:3])
