"""What the header of an image says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from providers.core.types import ImageFormat

TURNED: Final = frozenset({5, 6, 7, 8})


class ImageError(ValueError):
    """Bytes that are not a sound image; the message is a short reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Stored size in pixels, EXIF orientation 1 to 8, and the bytes that follow the image's end (`trailing`)."""

    format: ImageFormat
    width: int
    height: int
    has_alpha: bool = False
    animated: bool = False
    orientation: int = 1
    bytes: int = 0
    trailing: int = 0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ImageError("a picture without pixels")

    @property
    def upright_width(self) -> int:
        """The width as seen, after orientation."""
        return self.height if self.orientation in TURNED else self.width

    @property
    def upright_height(self) -> int:
        """The height as seen, after orientation."""
        return self.width if self.orientation in TURNED else self.height


def orientation(tiff: memoryview) -> int:
    """The orientation tag of an EXIF block that starts at its TIFF header; 1 when it has none or cannot be read."""
    order = {b"II": "little", b"MM": "big"}.get(bytes(tiff[:2]))
    if order is None or len(tiff) < 8:  # noqa: PLR2004 - the TIFF header
        return 1
    little = order == "little"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if little else "big")

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * min(number(start, 2), 200), 12):
        if number(entry, 2) == 0x0112:  # noqa: PLR2004 - the tag's number in TIFF 6.0
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1  # noqa: PLR2004
    return 1
