"""Streaming answers: OpenAI's event frames, keep-alive comments, and errors with a nested error object."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from app.answer import usage_document
from app.delivery import Delivered, Sketch
from app.errors import envelope
from app.kept import Kept, ending
from providers.core.errors import PinholeError
from providers.core.http import JSON, Buffer, Inline
from providers.core.types import Operation
from providers.kit.bodies import encode
from providers.kit.clock import Clock

KEEP_ALIVE_SECONDS: Final = 10.0
KEEP_ALIVE: Final = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Renders the events of one stream. `superset` adds the r9s SDK's fields to OpenAI's (r9s 0.9.0, 2026-11-22).

    That SDK needs seconds for an event of a megabyte, so base64 stands there once: where the SDK reads it.
    """

    operation: Operation
    created: int
    model: str
    request_id: str
    superset: bool = False

    @property
    def prefix(self) -> str:
        """The event family of the route."""
        return "image_generation" if self.operation is Operation.GENERATE else "image_edit"

    def partial(self, sketch: Sketch) -> list[Buffer]:
        """One partial image."""
        image = sketch.image
        if image is None:
            return [KEEP_ALIVE]
        name = f"{self.prefix}.partial_image"
        document: dict[str, Any] = {
            "type": name,
            **self._shown(given(image), 0, final=False),
            "created_at": self.created,
            "size": str(image.size) if image.size else "auto",
            "quality": "auto",
            "background": "auto",
            "output_format": image.format.value,
            "partial_image_index": sketch.index,
        }
        return frame(name, document)

    def completed(self, kept: Kept) -> Last:
        """One event for each image; the last carries what is known only at the end."""
        buffers = Last()
        for index, image in enumerate(kept.images):
            last = index == len(kept.images) - 1
            document = self._image(kept, image, index, last=last)
            buffers += frame(document["type"], document)
        return buffers

    def failed(self, error: PinholeError) -> list[Buffer]:
        """The error event; clients raise on its nested object."""
        return frame("error", {"type": "error", **envelope(error)})

    def _image(self, kept: Kept, image: Delivered, index: int, *, last: bool) -> dict[str, Any]:
        known = {"size": "auto", "quality": "auto", "background": "auto", "output_format": image.format.value}
        document: dict[str, Any] = {
            "type": f"{self.prefix}.completed",
            **self._shown(given(image), index, final=True),
            "created_at": self.created,
            **known,
            **kept.facts,
        }
        if image.revised_prompt:
            document["revised_prompt"] = image.revised_prompt
        if last and kept.usage is not None:
            document["usage"] = usage_document(kept.usage, kept.images)
        if last:
            document["pinhole"] = ending(kept)
        return document

    def _shown(self, given: dict[str, Any], index: int, *, final: bool) -> dict[str, Any]:
        if not self.superset:
            return given
        listed, short = self.operation is Operation.GENERATE, "url" in given
        item = {"index": index, **(given if listed or short else {}), "is_final": final}
        return {
            **(given if short or not listed else {}),
            "id": self.request_id,
            "created": self.created,
            "model": self.model,
            "object": "image.generation.chunk",
            "data": [item],
        }


def given(image: Delivered) -> dict[str, Any]:
    """The image itself: a link, or base64 where it lies."""
    return {"url": image.url} if image.url else {"b64_json": Inline(b"", base64=image.base64 or b"")}


def frame(name: str, document: dict[str, Any]) -> list[Buffer]:
    """One server-sent event."""
    return [f"event: {name}\ndata: ".encode(), *encode(JSON(document))[1], b"\n\n"]


class Last(list[Buffer]):
    """The buffers that end a stream: nothing comes behind them."""


async def alive(
    source: AsyncIterator[list[Buffer]], clock: Clock, seconds: float = KEEP_ALIVE_SECONDS
) -> AsyncGenerator[list[Buffer]]:
    """`source`, with a comment whenever nothing came for a while. The source is run in a task of its own."""
    come: deque[list[Buffer] | None] = deque()
    moved = asyncio.Event()

    async def pump() -> None:
        try:
            async for buffers in source:
                come.append(buffers)
                moved.set()
        finally:
            come.append(None)
            moved.set()

    task = asyncio.create_task(pump())
    try:
        while True:
            if not come:
                moved.clear()
                await _either(moved.wait(), clock.sleep(seconds))
            if not come:
                yield [KEEP_ALIVE]
            elif (buffers := come.popleft()) is not None:
                yield buffers
            else:
                break
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _either(*works: Coroutine[Any, Any, object]) -> None:
    """Until one of them is done; the others end then."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
