"""Images in a bucket (S3 and what speaks it, Google Cloud, Azure), so that every replica serves every link."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, S3Store

from app.store.protocol import DOCUMENT, Stored, StoreError, format_of, fresh_document, fresh_name, key_of, lifetime
from providers.core.http import Buffer
from providers.core.types import ImageFormat
from providers.kit.clock import Clock

Bucket = S3Store | GCSStore | AzureStore
BUCKETS: Final[dict[str, Any]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
# One sweep looks at so many objects at most, and the next goes on behind them.
SWEEP_OBJECTS: Final = 10_000
PAGE: Final = 1000  # what S3 lists and deletes in one request
PIECE: Final = 256 << 10
RETRY: Final[dict[str, Any]] = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
ABSENT: Final = (FileNotFoundError, NotFoundError)  # obstore 0.12.1 raises the first and documents the second
log = logging.getLogger("pinhole")


def connect(url: str) -> Bucket:
    """The bucket of `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. Raises ValueError.

    Credentials, region and endpoint come from the process's environment under the vendors' own names (so no client
    options here: they would displace AWS_ALLOW_HTTP); nothing is sent yet.
    """
    parts = urlsplit(url)
    kind = BUCKETS.get(parts.scheme)
    if kind is None or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"{', '.join(f'{scheme}://bucket/prefix' for scheme in BUCKETS)} are allowed")
    prefix = parts.path.strip("/") or None
    try:
        found: Bucket = kind(parts.netloc, prefix=prefix, retry_config=RETRY)
    except BaseError as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    return found


class BucketStore:
    """One prefix of a bucket. `ttl_seconds` counts from the object's last-modified, which is in whole seconds.

    Objects that no gateway has named are neither served nor swept.
    """

    def __init__(
        self, bucket: Bucket, clock: Clock, ttl_seconds: float, *, sweep_objects: int = SWEEP_OBJECTS
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._ttl = ttl_seconds
        self._sweep_objects = sweep_objects
        self._swept: str | None = None

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        return await self._put(fresh_name(image_format), data, image_format.media_type)

    async def keep(self, pieces: Sequence[Buffer]) -> str:
        return await self._put(fresh_document(), b"".join(pieces), "application/octet-stream")

    async def kept(self, name: str) -> bytes | None:
        if not DOCUMENT.fullmatch(name):
            return None
        try:
            found = await obstore.get_async(self._bucket, key_of(name))
            return bytes(await found.bytes_async())
        except ABSENT:
            return None
        except BaseError as error:
            raise _away(error) from error

    async def drop(self, name: str) -> None:
        if DOCUMENT.fullmatch(name):
            try:
                await self._remove([key_of(name)])
            except BaseError as error:
                log.warning("drop: %s", _away(error))  # the sweeper takes it within the hour

    async def get(self, name: str) -> Stored | None:
        image_format = format_of(name)
        if image_format is None:
            return None
        try:
            found = await obstore.head_async(self._bucket, key_of(name))
        except ABSENT:
            return None
        except BaseError as error:
            raise _away(error) from error
        if found["last_modified"].timestamp() + self._ttl <= self._clock.time():
            return None

        async def read(start: int, stop: int) -> AsyncIterator[bytes]:
            return await self._read(key_of(name), start, stop)

        return Stored(format=image_format, size=found["size"], read=read)

    async def sweep(self) -> int:
        """Remove what has expired among the next objects; a bucket that is away is tried again the next time."""
        seen = removed = 0
        try:
            async for page in obstore.list(
                self._bucket, offset=self._swept, chunk_size=min(PAGE, self._sweep_objects)
            ):
                removed += await self._remove([item["path"] for item in page if self._expired(item)])
                seen += len(page)
                self._swept = page[-1]["path"]
                if seen >= self._sweep_objects:
                    return removed
        except BaseError as error:
            log.warning("sweep: %s", _away(error))
            return removed
        self._swept = None
        return removed

    async def close(self) -> None:
        return None

    async def _put(self, name: str, data: Buffer, media_type: str) -> str:
        try:
            # In one request: parts of an upload that was cut off would lie in the bucket unseen, and be paid for.
            await obstore.put_async(
                self._bucket, key_of(name), data, attributes={"Content-Type": media_type}, use_multipart=False
            )
        except BaseError as error:
            raise _away(error) from error
        return name

    def _expired(self, item: Any) -> bool:
        name = item["path"].rpartition("/")[2]
        seconds = lifetime(name, self._ttl)
        ours = seconds is not None and item["path"] == key_of(name)
        return ours and item["last_modified"].timestamp() + (seconds or 0) <= self._clock.time()

    async def _read(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        try:
            found = await obstore.get_async(self._bucket, key, options={"range": (start, stop)})
        except ABSENT as error:
            raise FileNotFoundError(key) from error
        except BaseError as error:
            raise _away(error) from error
        return _pieces(found.stream(min_chunk_size=PIECE))

    async def _remove(self, paths: list[str]) -> int:
        if paths:
            try:
                await obstore.delete_async(self._bucket, paths)
            except ABSENT:
                return 0  # another gateway on the same bucket was faster; what is left goes with the next sweep
        return len(paths)


async def _pieces(stream: Any) -> AsyncIterator[bytes]:
    async for piece in stream:
        yield bytes(piece)


def _away(error: BaseError) -> StoreError:
    """The first line only: a debug dump of the request stands below it."""
    return StoreError(f"the bucket: {type(error).__name__}: {str(error).partition(chr(10))[0][:300]}")
