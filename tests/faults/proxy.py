"""The fault proxy: stands between a gateway and a strict stand-in, and lets each exchange through as it is told."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h11

from tests.faults.fault import CLEAN, End, Fault, Stage
from tests.upstreams.http import Exchange, read_exchange
from tests.upstreams.server import StandIn

_READ = 1 << 18
Choose = Callable[[Stage, Exchange], Fault]


@dataclass(slots=True, eq=False)
class Passage:
    """One exchange as the proxy saw it. `reached`: whole at the upstream. `whole`: its answer went through whole."""

    stage: Stage
    exchange: Exchange
    fault: Fault
    at: float = field(default_factory=time.monotonic)
    reached: bool = False
    whole: bool = False
    status: int = 0


class Script:
    """Faults by stage: the first exchanges get those of a list, in order, all others `then`."""

    def __init__(self) -> None:
        self._first: dict[Stage, deque[Fault]] = {stage: deque() for stage in Stage}
        self._then: dict[Stage, Fault] = {}
        self._lock = threading.Lock()

    def set(self, stage: Stage, *first: Fault, then: Fault = CLEAN) -> None:
        """What the next exchanges of a stage meet."""
        with self._lock:
            self._first[stage] = deque(first)
            self._then[stage] = then

    def clear(self) -> None:
        """Let everything through."""
        for stage in Stage:
            self.set(stage)

    def __call__(self, stage: Stage, _: Exchange) -> Fault:
        with self._lock:
            return self._first[stage].popleft() if self._first[stage] else self._then.get(stage, CLEAN)


class FaultProxy:
    """A server on loopback in a thread of its own. `choose` says the fate of each exchange.

    `passages` are all exchanges in order; the stand-in's own address in answers becomes the proxy's.
    """

    def __init__(self, upstream: StandIn, choose: Choose) -> None:
        self.passages: list[Passage] = []
        self.port = 0
        self._upstream = upstream
        self._choose = choose
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._released = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    @property
    def url(self) -> str:
        """The origin, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def submits(self) -> int:
        """How many submits the gateway sent, whatever became of them."""
        return sum(one.stage is Stage.SUBMIT for one in tuple(self.passages))

    @property
    def reached(self) -> int:
        """How many submits reached the upstream whole: each may be a paid call."""
        return sum(one.stage is Stage.SUBMIT and one.reached for one in tuple(self.passages))

    def release(self) -> None:
        """Let go of everything that is held back now."""
        self._call(self._let_go)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5), "the proxy did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stopping.set)
        self._thread.join(10)

    def _let_go(self) -> None:
        self._released.set()
        self._released = asyncio.Event()

    def _call(self, act: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while (exchange := await read_exchange(reader, writer)) is not None:
                    stage = self._stage(exchange)
                    passage = Passage(stage, exchange, self._choose(stage, exchange))
                    self.passages.append(passage)
                    if not await self._pass(passage, reader, writer):
                        return
        finally:
            writer.close()

    def _stage(self, exchange: Exchange) -> Stage:
        if exchange.method == "POST":
            return Stage.CANCEL if exchange.path.endswith("/cancel") else Stage.SUBMIT
        return Stage.FETCH if exchange.path in self._upstream.files else Stage.LOOK

    async def _pass(self, passage: Passage, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One exchange; True when the connection can carry another. Raises ConnectionError when the peer left."""
        fault, released = passage.fault, self._released  # a release between two waits is not missed
        answer = await self._asked(passage) if fault.reaches else b""
        answer = fault.answer if fault.answer is not None else answer
        answer = fault.altered(answer) if fault.altered else answer
        await asyncio.sleep(fault.delay_s)
        let = fault.length(answer)
        await _written(writer, answer[:let], fault)
        while fault.endless and not await self._left(reader, released, fault.pause_s):
            await _written(writer, fault.endless, CLEAN)
        if fault.endless:
            return False
        if fault.end is End.HOLD:
            await self._left(reader, released, None)
            await _written(writer, answer[let:], CLEAN)
        elif fault.end is End.RST:
            _reset(writer)
        elif fault.end is End.HALF:
            writer.write_eof()
            await reader.read()
        passage.whole = fault.answer is None and fault.altered is None and fault.reaches
        passage.whole = passage.whole and (let == len(answer) or fault.end is End.HOLD)
        return fault.end in {End.WHOLE, End.HOLD} and b"connection: close" not in answer[:2000].lower()

    async def _left(self, reader: asyncio.StreamReader, let: asyncio.Event, seconds: float | None) -> bool:
        """True when everything was released meanwhile. Raises ConnectionError when the peer left."""
        released = asyncio.create_task(let.wait())
        peer = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({released, peer}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if peer.done():
                raise ConnectionResetError("the gateway left")
            return released.done()
        finally:
            for task in (released, peer):
                task.cancel()
            await asyncio.gather(released, peer, return_exceptions=True)

    async def _asked(self, passage: Passage) -> bytes:
        """The upstream's whole answer, its address replaced by ours."""
        exchange = passage.exchange
        own = self._upstream.url.removeprefix("http://")
        name, _, port = own.partition(":")
        reader, writer = await asyncio.open_connection(name, int(port), limit=1 << 22)
        try:
            writer.write(exchange.raw_head + exchange.body)
            await writer.drain()
            passage.reached = True
            answer, passage.status = await _whole(exchange, reader)
        finally:
            writer.close()
        ours = f"127.0.0.1:{self.port}"
        assert len(ours) == len(own), "ports of different lengths would change Content-Length"
        return answer.replace(own.encode(), ours.encode())


async def _whole(exchange: Exchange, reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """All bytes of one answer, by its own framing, and its status; a broken one up to where it broke."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=exchange.method, target=exchange.target, headers=[("host", "upstream")]))
    connection.send(h11.EndOfMessage())
    received, status = bytearray(), 0
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.EndOfMessage):
            return bytes(received), status
        elif event is h11.NEED_DATA:
            data = await reader.read(_READ)
            if not data:
                return bytes(received), status
            received += data
            connection.receive_data(data)


async def _written(writer: asyncio.StreamWriter, data: bytes, fault: Fault) -> None:
    for start in range(0, len(data), fault.piece):
        if start and fault.pause_s:
            await asyncio.sleep(fault.pause_s)
        writer.write(data[start : start + fault.piece])
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
