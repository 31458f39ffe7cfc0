"""What a store does: keep the bytes of an image under a random name until they expire."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from providers.core.http import Buffer
from providers.core.types import ImageFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A kept image: a file to send, or its bytes."""

    format: ImageFormat
    size: int
    path: Path | None = None
    data: bytes | None = None


class ImageStore(Protocol):
    """Keeps images."""

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        """Keep an image; returns its name, 128 random bits and a suffix. Raises OSError when there is no room."""

    async def get(self, name: str) -> Stored | None:
        """A kept image, or None."""

    async def sweep(self) -> int:
        """Remove what has expired; returns how many."""

    async def close(self) -> None:
        """Let go of connections."""
