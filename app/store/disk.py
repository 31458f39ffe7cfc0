"""Images on the local disk: written beside their place and renamed into it, so that no half file is ever seen."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Final

import anyio

from app.store.protocol import DOCUMENT, Stored, StoreError, format_of, fresh_document, fresh_name, key_of, lifetime
from providers.core.http import Buffer
from providers.core.types import ImageFormat
from providers.kit.clock import Clock

PIECE: Final = 256 << 10
PARTIAL: Final = re.compile(r"[0-9a-f]{32}\.part")


class DiskStore:
    """One folder, spread over 256 by the first two letters of the name. `ttl_seconds` counts from writing.

    Files that no gateway has named are neither served nor swept.
    """

    def __init__(self, folder: Path, clock: Clock, ttl_seconds: float) -> None:
        self._folder = folder
        self._clock = clock
        self._ttl = ttl_seconds

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        name = fresh_name(image_format)
        await anyio.to_thread.run_sync(self._write, name, (data,))
        return name

    async def keep(self, pieces: Sequence[Buffer]) -> str:
        name = fresh_document()
        await anyio.to_thread.run_sync(self._write, name, pieces)
        return name

    async def kept(self, name: str) -> bytes | None:
        if not DOCUMENT.fullmatch(name):
            return None
        try:
            return await anyio.to_thread.run_sync((self._folder / key_of(name)).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the folder of images: {type(error).__name__}") from error

    async def drop(self, name: str) -> None:
        if DOCUMENT.fullmatch(name):
            with contextlib.suppress(OSError):
                await anyio.to_thread.run_sync((self._folder / key_of(name)).unlink)

    async def get(self, name: str) -> Stored | None:
        image_format = format_of(name)
        if image_format is None:
            return None
        path = self._folder / key_of(name)
        try:
            found = await anyio.to_thread.run_sync(path.stat)
        except OSError:
            return None
        if found.st_mtime + self._ttl <= self._clock.time():
            return None

        async def read(start: int, stop: int) -> AsyncIterator[bytes]:
            file = await anyio.to_thread.run_sync(_open, path, start)
            return _pieces(file, stop - start)

        return Stored(format=image_format, size=found.st_size, read=read)

    async def sweep(self) -> int:
        return await anyio.to_thread.run_sync(self._sweep)

    async def close(self) -> None:
        return None

    def _write(self, name: str, pieces: Sequence[Buffer]) -> None:
        path = self._folder / key_of(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(".part")
        try:
            with partial.open("wb") as file:
                file.writelines(pieces)
            now = self._clock.time()
            os.utime(partial, (now, now))
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _lifetime(self, path: Path) -> float | None:
        """How long a file is kept; None for one that is not ours."""
        if path.parent.name != path.name[:2]:
            return None
        return self._ttl if PARTIAL.fullmatch(path.name) else lifetime(path.name, self._ttl)

    def _sweep(self) -> int:
        now = self._clock.time()
        removed = 0
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            try:
                seconds = self._lifetime(path)
                if seconds is not None and path.stat().st_mtime + seconds <= now:
                    path.unlink()
                    removed += 1
            except OSError:
                continue  # another gateway on the same folder was faster
        return removed


def _open(path: Path, start: int) -> IO[bytes]:
    file = path.open("rb", buffering=0)
    file.seek(start)
    return file


async def _pieces(file: IO[bytes], left: int) -> AsyncIterator[bytes]:
    with file:
        while left and (piece := await anyio.to_thread.run_sync(file.read, min(left, PIECE))):
            left -= len(piece)
            yield piece
