"""GIF (87a, 89a): every block, from the screen descriptor to the trailer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from providers.core.types import ImageFormat
from providers.kit.images.facts import ImageError, ImageFacts

_SCREEN: Final = 13
_IMAGE: Final = 10
_EXTENSION_MARK, _IMAGE_MARK, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL: Final = 0xF9
_MAX_BLOCKS: Final = 1 << 20  # of at most 255 bytes each


def inspect(view: memoryview) -> ImageFacts:
    """The facts of a GIF; alpha is a transparent colour of the first picture. Raises ImageError."""
    walk = _Walk(view)
    size = dimensions(view)
    if size is None:
        raise ImageError("truncated GIF")
    walk.skip(_SCREEN + _table(view[10]))
    pictures, has_alpha = 0, False
    while (mark := walk.byte()) != _TRAILER:
        if mark == _IMAGE_MARK:
            pictures += 1
            walk.skip(_IMAGE - 1)
            walk.skip(_table(view[walk.at - 1]) + 1)
        elif mark == _EXTENSION_MARK:
            if walk.byte() == _CONTROL and not pictures:
                has_alpha = any(flags & 1 for flags in view[walk.at + 1 : walk.at + 2])
        else:
            raise ImageError("corrupt GIF: unknown block")
        walk.skip_blocks()
    if not pictures:
        raise ImageError("corrupt GIF: no image data")
    return ImageFacts(
        format=ImageFormat.GIF,
        width=size[0],
        height=size[1],
        has_alpha=has_alpha,
        animated=pictures > 1,
        bytes=len(view),
        trailing=len(view) - walk.at,
    )


def dimensions(head: memoryview) -> tuple[int, int] | None:
    """Width and height of the screen, from its descriptor of 13 bytes."""
    if len(head) < _SCREEN:
        return None
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def _table(packed: int) -> int:
    """Bytes of the colour table that a packed field announces."""
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


@dataclass(slots=True)
class _Walk:
    view: memoryview
    at: int = 0
    blocks: int = 0

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.view):
            raise ImageError("truncated GIF")

    def byte(self) -> int:
        self.skip(1)
        return self.view[self.at - 1]

    def skip_blocks(self) -> None:
        size = 1
        while size:
            size = self.byte()
            self.skip(size)
            self.blocks += 1
            if self.blocks > _MAX_BLOCKS:
                raise ImageError("corrupt GIF: too many blocks")
