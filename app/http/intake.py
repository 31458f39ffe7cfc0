"""What a connection writes into: heads go to the parser, the rest of a long body straight to where it stays."""

from __future__ import annotations

import asyncio
import threading
from typing import Final, Protocol

# Until a head is read nobody knows where its body goes, so little of it is received together with the head.
FIRST_BYTES: Final = 16 * 1024
SCRATCH_BYTES: Final = 256 * 1024


class _Scratch(threading.local):
    """One for all connections of an event loop, as nothing stays in it."""

    def __init__(self) -> None:
        self.whole = memoryview(bytearray(SCRATCH_BYTES))
        self.first = self.whole[:FIRST_BYTES]


_scratch: Final = _Scratch()


class Server(Protocol):
    """What is asked of the protocol that parses heads and serves them."""

    def connection_lost(self, exc: Exception | None) -> None: ...

    def eof_received(self) -> bool: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def data_received(self, data: memoryview) -> None:
        """What came where nothing stays."""

    def left(self) -> int:
        """How much of a body is still to come, of which the parser is told nothing; -1: what it alone can tell."""

    def room(self) -> memoryview | None:
        """Where the body goes; None where nobody has a place for it yet."""

    def wrote(self, count: int, scratch: memoryview | None) -> None:
        """So much more of the body came: into its room, or into the scratch."""

    def body_ended(self) -> None:
        """All of it came."""


class Intake(asyncio.BufferedProtocol):
    """A connection as its transport sees it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._left = 0
        self._direct = False
        self._whole, self._first = _scratch.whole, _scratch.first
        self._next = self._first

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connection_lost(exc)

    def eof_received(self) -> bool:
        return self._server.eof_received()

    def pause_writing(self) -> None:
        self._server.pause_writing()

    def resume_writing(self) -> None:
        self._server.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        if not self._left:
            return self._next
        room = self._server.room()
        self._direct = room is not None
        room = self._whole if room is None else room
        return room[: self._left] if len(room) > self._left else room

    def buffer_updated(self, nbytes: int) -> None:
        if not self._left:
            self._server.data_received(self._whole[:nbytes])
            left = self._server.left()
            self._left, self._next = max(left, 0), self._first if left >= 0 else self._whole
            return
        self._left -= nbytes
        self._server.wrote(nbytes, None if self._direct else self._whole)
        if not self._left:
            self._server.body_ended()
