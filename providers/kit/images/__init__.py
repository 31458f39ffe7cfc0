"""What an image is, told by its bytes: format, size and soundness from its structure, no pixel decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from providers.core.types import ImageFormat
from providers.kit.images import gif, jpeg, png, webp
from providers.kit.images.facts import ImageError, ImageFacts

__all__ = ["ImageError", "ImageFacts", "dimensions", "inspect", "seen", "sniff"]

_INSPECT: Final[Mapping[ImageFormat, Callable[[memoryview], ImageFacts]]] = MappingProxyType(
    {
        ImageFormat.PNG: png.inspect,
        ImageFormat.JPEG: jpeg.inspect,
        ImageFormat.WEBP: webp.inspect,
        ImageFormat.GIF: gif.inspect,
    }
)
_DIMENSIONS: Final[Mapping[ImageFormat, Callable[[memoryview], tuple[int, int] | None]]] = MappingProxyType(
    {
        ImageFormat.PNG: png.dimensions,
        ImageFormat.JPEG: jpeg.dimensions,
        ImageFormat.WEBP: webp.dimensions,
        ImageFormat.GIF: gif.dimensions,
    }
)


def sniff(head: bytes | bytearray | memoryview) -> ImageFormat | None:
    """The format of an image from its first 12 bytes; None for SVG and everything else."""
    start = bytes(head[:12])
    if start.startswith(png.SIGNATURE):
        return ImageFormat.PNG
    if start.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if start.startswith(b"RIFF") and start[8:] == b"WEBP":
        return ImageFormat.WEBP
    if start.startswith((b"GIF87a", b"GIF89a")):
        return ImageFormat.GIF
    return None


def inspect(data: bytes | bytearray | memoryview) -> ImageFacts:
    """The facts of a whole image, its structure checked to the end. Raises ImageError."""
    image_format = sniff(data)
    if image_format is None:
        raise ImageError("not a PNG, JPEG, WebP or GIF image")
    return _INSPECT[image_format](memoryview(data))


def dimensions(head: bytes | bytearray | memoryview) -> tuple[int, int] | None:
    """Stored width and height in pixels, before orientation; None when the head does not tell.

    30 bytes suffice for PNG, WebP and GIF; a JPEG tells behind its metadata, mostly within a few KiB.
    """
    return seen(head)[1]


def seen(head: bytes | bytearray | memoryview) -> tuple[ImageFormat | None, tuple[int, int] | None]:
    """Both of what a head tells: the format, and the dimensions."""
    image_format = sniff(head)
    found = _DIMENSIONS[image_format](memoryview(head)) if image_format else None
    return image_format, found if found and all(found) else None
