"""Images on the local disk: written beside their place and renamed into it, so that no half file is ever seen."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Final

import anyio

from app.store.protocol import Stored
from providers.core.http import Buffer
from providers.core.types import ImageFormat
from providers.kit.clock import Clock

NAME: Final = re.compile(r"[0-9a-f]{32}\.(png|jpg|webp|gif)")
SUFFIXES: Final = {image_format.suffix: image_format for image_format in ImageFormat}


class DiskStore:
    """One folder, spread over 256 by the first two letters of the name. `ttl_seconds` counts from writing."""

    def __init__(self, folder: Path, clock: Clock, ttl_seconds: float) -> None:
        self._folder = folder
        self._clock = clock
        self._ttl = ttl_seconds

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        name = f"{secrets.token_hex(16)}.{image_format.suffix}"
        await anyio.to_thread.run_sync(self._write, name, data)
        return name

    async def get(self, name: str) -> Stored | None:
        if not NAME.fullmatch(name):
            return None
        path = self._path(name)
        try:
            found = await anyio.to_thread.run_sync(path.stat)
        except OSError:
            return None
        if found.st_mtime + self._ttl <= self._clock.time():
            return None
        return Stored(format=SUFFIXES[path.suffix[1:]], size=found.st_size, path=path)

    async def sweep(self) -> int:
        return await anyio.to_thread.run_sync(self._sweep)

    async def close(self) -> None:
        return None

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _write(self, name: str, data: Buffer) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(".part")
        try:
            with partial.open("wb") as file:
                file.write(data)
            now = self._clock.time()
            os.utime(partial, (now, now))
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _sweep(self) -> int:
        oldest = self._clock.time() - self._ttl
        removed = 0
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            try:
                if path.stat().st_mtime <= oldest:
                    path.unlink()
                    removed += 1
            except OSError:
                continue  # another gateway on the same folder was faster
        return removed
