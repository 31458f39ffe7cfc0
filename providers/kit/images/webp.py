"""WebP (RFC 9649): the RIFF length and every chunk within it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from providers.core.types import ImageFormat
from providers.kit.images.exif import orientation
from providers.kit.images.facts import MAX_PARTS, ImageError, ImageFacts

_LOSSY, _LOSSLESS, _EXTENDED = b"VP8 ", b"VP8L", b"VP8X"
_STILLS: Final = (_LOSSY, _LOSSLESS)
_FIRST_CHUNK: Final = 12
_CHUNK_HEAD: Final = 8
_ANIMATION_FLAG: Final = 0x02
_ALPHA_FLAG: Final = 0x10
_FRAME_HEAD: Final = 16  # of ANMF, before its own chunks
_EXTENDED_HEAD: Final = 10
_LOSSY_HEAD: Final = 10
_LOSSLESS_HEAD: Final = 5
_LOSSLESS_SIGNATURE: Final = 0x2F


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    has_alpha: bool = False
    animated: bool = False


def inspect(view: memoryview) -> ImageFacts:
    """The facts of a WebP. Raises ImageError."""
    end = 8 + int.from_bytes(view[4:8], "little")
    if end > len(view):
        raise ImageError("truncated WebP")
    chunks = list(_chunks(view[:end], _FIRST_CHUNK))
    if not chunks:
        raise ImageError("corrupt WebP: empty")
    header = _header(*chunks[0])
    seen = dict(reversed(chunks))
    has_alpha = header.has_alpha
    if chunks[0][0] == _EXTENDED:
        stills = [_still(kind, data) for kind, data in chunks if kind in _STILLS]
        _check_extended(header, stills, [data for kind, data in chunks if kind == b"ANMF"])
        has_alpha |= b"ALPH" in seen or any(still.has_alpha for still in stills)
    return ImageFacts(
        format=ImageFormat.WEBP,
        width=header.width,
        height=header.height,
        has_alpha=has_alpha,
        animated=header.animated,
        orientation=orientation(seen.get(b"EXIF", view[:0])),
        bytes=len(view),
        trailing=len(view) - end,
    )


def dimensions(head: memoryview) -> tuple[int, int] | None:
    """Width and height from the first 30 bytes."""
    try:
        header = _header(bytes(head[12:16]), head[20:], whole=False)
    except ImageError:
        return None
    return header.width, header.height


def _chunks(view: memoryview, at: int) -> Iterator[tuple[bytes, memoryview]]:
    for _ in range(MAX_PARTS):
        if at >= len(view):
            return
        start = at + _CHUNK_HEAD
        end = start + int.from_bytes(view[at + 4 : start], "little")
        if max(start, end) > len(view):
            raise ImageError("corrupt WebP: a chunk runs over the end")
        yield bytes(view[at : at + 4]), view[start:end]
        at = end + end % 2
    raise ImageError("corrupt WebP: too many chunks")


def _header(kind: bytes, data: memoryview, *, whole: bool = True) -> _Header:
    if kind != _EXTENDED:
        return _still(kind, data, whole=whole)
    if len(data) < _EXTENDED_HEAD:
        raise ImageError("corrupt WebP: short header")
    width = int.from_bytes(data[4:7], "little") + 1
    height = int.from_bytes(data[7:10], "little") + 1
    return _Header(width, height, bool(data[0] & _ALPHA_FLAG), bool(data[0] & _ANIMATION_FLAG))


def _still(kind: bytes, data: memoryview, *, whole: bool = True) -> _Header:
    if kind == _LOSSY:
        return _lossy(data, whole=whole)
    if kind == _LOSSLESS:
        return _lossless(data)
    raise ImageError("corrupt WebP: no image first")


def _lossy(data: memoryview, *, whole: bool) -> _Header:
    """RFC 6386, 9.1: a key frame's tag, start code and twice 14 bits."""
    tag = int.from_bytes(data[:3], "little")
    if len(data) < _LOSSY_HEAD or tag & 1 or bytes(data[3:6]) != b"\x9d\x01\x2a":
        raise ImageError("corrupt WebP: no key frame")
    if whole and tag >> 5 > len(data) - _LOSSY_HEAD:
        raise ImageError("corrupt WebP: a partition runs over the end")
    width = int.from_bytes(data[6:8], "little") & 0x3FFF
    return _Header(width, int.from_bytes(data[8:10], "little") & 0x3FFF)


def _lossless(data: memoryview) -> _Header:
    """Signature, 14 bits of width - 1, 14 of height - 1, alpha, 3 bits of version."""
    bits = int.from_bytes(data[1:5], "little")
    if len(data) < _LOSSLESS_HEAD or data[0] != _LOSSLESS_SIGNATURE or bits >> 29:
        raise ImageError("corrupt WebP: no lossless header")
    return _Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1))


def _check_extended(header: _Header, stills: list[_Header], frames: list[memoryview]) -> None:
    if header.animated:
        for frame in frames:
            if not any(kind in _STILLS for kind, _ in _chunks(frame, _FRAME_HEAD)):
                raise ImageError("corrupt WebP: an empty frame")
        if not frames:
            raise ImageError("corrupt WebP: no image data")
    elif [(still.width, still.height) for still in stills] != [(header.width, header.height)]:
        raise ImageError("corrupt WebP: no image of the canvas's size")
