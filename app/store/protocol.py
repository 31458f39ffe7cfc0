"""What a store does: keep the bytes of an image under a random name until they expire."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from providers.core.http import Buffer
from providers.core.types import ImageFormat

NAME: Final = re.compile(r"[0-9a-f]{32}\.(png|jpg|webp|gif)")
DOCUMENT: Final = re.compile(r"[0-9a-f]{32}\.answer")
DOCUMENT_SECONDS: Final = 3600.0
SUFFIXES: Final = {image_format.suffix: image_format for image_format in ImageFormat}


class StoreError(OSError):
    """The storage cannot be reached, refuses, or has no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A kept image. `read(start, stop)` opens those bytes of it (`stop` excluded), and only they are fetched.

    `read` raises FileNotFoundError when the image went in the meantime, StoreError when the storage is away.
    """

    format: ImageFormat
    size: int
    read: Callable[[int, int], Awaitable[AsyncIterator[bytes]]] = field(repr=False)


class ImageStore(Protocol):
    """Keeps images, which links lead to; and documents, kept answers, which no link can name."""

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        """Keep an image; returns its name, 128 random bits and a suffix. Raises OSError when it cannot be kept."""

    async def get(self, name: str) -> Stored | None:
        """A kept image, or None. Raises StoreError when the storage is away."""

    async def keep(self, pieces: Sequence[Buffer]) -> str:
        """Keep a document for an hour; returns its name. Raises OSError when it cannot be kept."""

    async def kept(self, name: str) -> bytes | None:
        """A whole document, or None. Raises StoreError when the storage is away."""

    async def drop(self, name: str) -> None:
        """Remove a document before its time. Never raises for one that is gone, nor for a storage that is away."""

    async def sweep(self) -> int:
        """Remove what has expired; returns how many. Never raises for a storage that is away."""

    async def close(self) -> None:
        """Let go of connections."""


def fresh_name(image_format: ImageFormat) -> str:
    """A name nobody can guess."""
    return f"{secrets.token_hex(16)}.{image_format.suffix}"


def format_of(name: str) -> ImageFormat | None:
    """The format a name tells; None for what no store has made, paths and listings included."""
    found = NAME.fullmatch(name)
    return SUFFIXES[found[1]] if found else None


def fresh_document() -> str:
    """A name nobody can guess, and that no link can have: links name images."""
    return f"{secrets.token_hex(16)}.answer"


def lifetime(name: str, ttl_seconds: float) -> float | None:
    """How long what bears this name is kept: images as configured, documents an hour; None for what is not ours."""
    if DOCUMENT.fullmatch(name):
        return DOCUMENT_SECONDS
    return None if format_of(name) is None else ttl_seconds


def key_of(name: str) -> str:
    """Where a name lies, the same in every store: in one of 256 folders."""
    return f"{name[:2]}/{name}"
