"""The HTTP server's protocol, with small writes held back for the next one: a head travels with its body."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SMALL: Final = 16 * 1024


class Corked:
    """A transport whose small writes go out with the next write, or when the event loop comes round."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: list[Any] = []
        self._loop = asyncio.get_running_loop()

    def write(self, data: Any) -> None:
        """Send, in order."""
        if not data:
            return
        if self._held:
            self._held.append(data)
            if len(data) > SMALL:
                self._flush()
        elif len(data) <= SMALL:
            self._held.append(data)
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Send what is held and end."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.writelines(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, over a corked transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast("asyncio.Transport", Corked(transport)))
