"""Answers on their way out: JSON as buffers, event streams; each tells its recipient what became of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive

from app.events import Last
from app.http.receipts import Recipient, expected
from providers.core.errors import PinholeError
from providers.core.http import Buffer
from providers.kit.room import portions

# A spooled answer is in memory piece by piece.
PIECE: Final = 2**20
JOINED: Final = 32 * 2**10


class Buffers(Response):
    """A JSON answer sent as its buffers, the last of them text; small ones are joined.

    `recipient` hears of the connection whether the caller took it, where the server follows that, else of the last
    write.
    """

    def __init__(self, buffers: list[Buffer], headers: Mapping[str, str], recipient: Recipient) -> None:
        length = sum(map(len, buffers))
        told = {**headers, "content-type": "application/json", "content-length": str(length)}
        self.status_code, self.background, self.body = 200, None, b""
        self.raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
        self._buffers = [b"".join(buffers)] if length <= JOINED else buffers
        self._recipient = recipient

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for piece in self._before_last():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            followed = expected(scope, self._recipient)
            there = followed or not hung_up(receive)
            await send({"type": "http.response.body", "body": self._buffers[-1], "more_body": False})
        except BaseException:
            self._recipient.leave(delivered=False)
            raise
        if not followed:
            self._recipient.leave(delivered=there)

    def _before_last(self) -> Iterator[Buffer]:
        for buffer in self._buffers[:-1]:
            yield from portions(buffer, PIECE)


def hung_up(receive: Receive) -> bool:
    """Whether the caller is known to be gone, without waiting: a server answers `receive` at once only with that."""
    asking = receive()
    try:
        asking.send(None)  # type: ignore[attr-defined]  # starlette says Awaitable; servers give coroutines
    except StopIteration as answer:
        return bool(answer.value["type"] == "http.disconnect")
    asking.close()  # type: ignore[attr-defined]  # as above
    return False


class Events(StreamingResponse):
    """An event stream, up to its Last; `failed` renders an error that ends it.

    `recipient` hears as that of `Buffers` does; also when the caller never let it begin.
    """

    def __init__(
        self,
        events: AsyncGenerator[list[Buffer]],
        failed: Callable[[PinholeError], list[Buffer]],
        headers: Mapping[str, str],
        recipient: Recipient,
    ) -> None:
        more = {"cache-control": "no-store", "x-accel-buffering": "no", **headers}
        super().__init__((), media_type="text/event-stream", headers=more)
        self._events = events
        self._failed = failed
        self._recipient = recipient
        self._there = self._followed = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.body_iterator = self._pieces(scope, receive)
        try:
            await super().__call__(scope, receive, send)
        except BaseException:
            self._recipient.leave(delivered=False)
            raise
        finally:
            await self._events.aclose()
        if not self._followed:
            self._recipient.leave(delivered=self._there)

    async def _pieces(self, scope: Any, receive: Any) -> AsyncIterator[Any]:
        try:
            async for buffers in self._events:
                for buffer in buffers[:-1]:
                    yield buffer
                if isinstance(buffers, Last):  # what is waited for behind it lets it go out alone
                    self._followed = expected(scope, self._recipient)
                    self._there = self._followed or not hung_up(receive)
                    yield buffers[-1]
                    return
                yield buffers[-1]
        except PinholeError as error:
            for buffer in self._failed(error):
                yield buffer
