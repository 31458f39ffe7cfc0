"""A way to a server that is slow: replies come late, requests are held up, connections fall silent and stay open."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self


def at_once() -> float:
    """No delay."""
    return 0.0


class SlowWay:
    """A proxy on loopback, in the loop of the test.

    `delay` gives the seconds that each piece of a reply waits, the order kept.
    """

    def __init__(self, port: int, delay: Callable[[], float] = at_once) -> None:
        self.delay = delay
        self.url = ""
        self.port = 0
        self.connections = 0
        self._server_port = port
        self._free = asyncio.Event()
        self._held = 0.0
        self._dumb = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    def hold(self) -> None:
        """From here on nothing reaches Redis; what is sent waits, also when its connection is closed meanwhile."""
        self._held = math.inf

    def let_new_ones_through(self) -> None:
        """What is held stays so; new connections are not."""
        self._held = self.connections

    def release(self) -> None:
        """Let what was held go on."""
        self._free.set()

    def silence(self) -> None:
        """Nothing passes any more over the connections of now; new ones work."""
        self._dumb = self.connections

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for writer in self._open:
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(writer.wait_closed() for writer in self._open), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._open += (writer, back)
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        for work in (
            self._forth(reader, back, number),
            self._read(there, queue, number),
            self._back(queue, writer),
        ):
            task = asyncio.create_task(work)
            self._tasks.add(task)

    async def _forth(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, number: int) -> None:
        """To Redis."""
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                if number <= self._held:
                    await self._free.wait()
                if number > self._dumb:
                    back.write(data)
        if number > self._dumb:
            back.close()

    async def _read(
        self, there: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]], number: int
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await there.read(2**16):
                if number > self._dumb:
                    queue.put_nowait((loop.time() + self.delay(), data))

    async def _back(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        """To the gateway, in order, each piece not before its time."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            with contextlib.suppress(OSError):
                writer.write(data)
