from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from providers.core.types import ImageFormat

MAX_PARTS: Final = 65_536  # chunks or segments in a file; bounds the time a hostile one can take
_SIDEWAYS: Final = range(5, 9)


class ImageError(ValueError):
    """Bytes that are no sound image; the message is a short reason for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image's headers say.

    `width` and `height` in pixels as stored, `bytes` the length of the whole buffer, `trailing` of what stands after
    the image's end in it. `indexed` pixels are places in a palette, or one colour of theirs stands for transparent.
    """

    format: ImageFormat
    width: int
    height: int
    has_alpha: bool = False
    animated: bool = False
    deep: bool = False
    indexed: bool = False
    orientation: int = 1
    bytes: int
    trailing: int = 0

    def __post_init__(self) -> None:
        if not (self.width and self.height):
            raise ImageError("the image has no pixels")

    @property
    def upright_width(self) -> int:
        """Width in pixels after orientation."""
        return self.height if self.orientation in _SIDEWAYS else self.width

    @property
    def upright_height(self) -> int:
        """Height in pixels after orientation."""
        return self.width if self.orientation in _SIDEWAYS else self.height
