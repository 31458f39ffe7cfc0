"""Where bodies go: into one buffer that stays, or piece by piece to whoever reads the stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from providers.core.errors import UpstreamError
from providers.kit.room import Body, Room
from providers.kit.transport.protocol import Answer

PIECE_BYTES: Final = 64 * 1024
DIGITS: Final = 16
AHEAD_BYTES: Final = 1 << 20


class Limited:
    """A body that is received in place, `limit` bytes at most; `declared` is its length when it is known."""

    def __init__(self, body: Body, limit: int, declared: int | None) -> None:
        if declared is not None and declared > limit:
            raise _too_long(limit)
        self._body = body
        self._limit = limit

    def room(self) -> memoryview:
        return self._body.room()

    def wrote(self, count: int) -> None:
        self._body.wrote(count)
        if len(self._body) > self._limit:
            raise _too_long(self._limit)


class Pieces:
    """Pieces as they come, a megabyte ahead of their reader at most."""

    def __init__(self, pause: Callable[[bool], None]) -> None:
        self._pause = pause
        self._scratch = bytearray(PIECE_BYTES)
        self._pieces: deque[bytes] = deque()
        self._ahead = 0
        self._news = asyncio.Event()
        self._over = False
        self._error: BaseException | None = None

    def room(self) -> memoryview:
        return memoryview(self._scratch)

    def wrote(self, count: int) -> None:
        self._pieces.append(bytes(memoryview(self._scratch)[:count]))
        self._ahead += count
        self._pause(self._ahead > AHEAD_BYTES)
        self._news.set()

    def finish(self, error: BaseException | None) -> None:
        """No more will come."""
        self._over, self._error = True, error
        self._news.set()

    async def next(self) -> bytes | None:
        """The next piece; None at the end. Raises what ended the stream early."""
        while not self._pieces:
            if self._over:
                if self._error is not None:
                    raise self._error
                return None
            self._news.clear()
            await self._news.wait()
        piece = self._pieces.popleft()
        self._ahead -= len(piece)
        self._pause(self._ahead > AHEAD_BYTES)
        return piece


def _too_long(limit: int) -> UpstreamError:
    return UpstreamError(f"The upstream's answer is longer than {limit} bytes.")


async def gathered(answer: Answer, room: Room, limit: int) -> memoryview:
    """The whole body of an answer. Raises UpstreamFailure."""
    declared = answer.headers.get("content-length", "")
    expected = int(declared) if declared.isdecimal() and len(declared) < DIGITS else 0
    with room.body(min(expected, limit)) as body:
        async for chunk in answer.chunks():
            if len(body) + len(chunk) > limit:
                raise _too_long(limit)
            body.write(chunk)
        return body.whole()
