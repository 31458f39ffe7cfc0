"""What an image is, told by its bytes: format and size from the head, soundness from the structure, no decoding."""

from __future__ import annotations

from providers.core.http import Buffer
from providers.core.types import ImageFormat
from providers.kit.images import jpeg, png, webp
from providers.kit.images.facts import ImageError, ImageFacts

__all__ = ["ImageError", "ImageFacts", "dimensions", "inspect", "sniff"]


def sniff(head: Buffer) -> ImageFormat | None:
    """The format by its magic bytes; None for anything else (SVG, HEIC, text). 12 bytes are enough."""
    start = bytes(head[:12])
    if start.startswith(png.MAGIC):
        return ImageFormat.PNG
    if start.startswith(jpeg.MAGIC):
        return ImageFormat.JPEG
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if start[:6] in {b"GIF87a", b"GIF89a"}:
        return ImageFormat.GIF
    return None


def inspect(data: Buffer) -> ImageFacts:
    """The facts of a whole image whose structure is sound to its end. Raises ImageError."""
    view = memoryview(data)
    found = sniff(view)
    if found is ImageFormat.PNG:
        return png.inspect(view)
    if found is ImageFormat.JPEG:
        return jpeg.inspect(view)
    if found is ImageFormat.WEBP:
        return webp.inspect(view)
    if found is ImageFormat.GIF:
        return _gif(view)
    raise ImageError("not a picture of a known format" if view else "an empty file")


def dimensions(head: Buffer) -> tuple[int, int] | None:
    """Width and height from the first bytes (a JPEG may need some kilobytes); None when they do not tell."""
    view = memoryview(head)
    found = sniff(view)
    try:
        if found is ImageFormat.PNG:
            return png.dimensions(view)
        if found is ImageFormat.JPEG:
            return jpeg.dimensions(view)
        if found is ImageFormat.WEBP:
            return webp.dimensions(view)
        if found is ImageFormat.GIF:
            facts = _gif(view)
            return facts.width, facts.height
    except ImageError:
        return None
    return None


def _gif(view: memoryview) -> ImageFacts:
    if len(view) < 13:  # noqa: PLR2004 - the header and the screen descriptor
        raise ImageError("a truncated GIF")
    width, height = int.from_bytes(view[6:8], "little"), int.from_bytes(view[8:10], "little")
    return ImageFacts(format=ImageFormat.GIF, width=width, height=height, animated=True, bytes=len(view))
