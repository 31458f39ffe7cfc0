"""The harness of the strict stand-ins: a real server on a real socket, in its own thread with its own event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Self

from tests.upstreams.http import Exchange, Reply, read_exchange, write_reply

SLOW_S = 1.5
RETRY_AFTER_S = 7


class Trigger(StrEnum):
    """Words in a prompt that make every stand-in misbehave in the same way, each in its provider's own shape."""

    FORBIDDEN = "FORBIDDEN"  # refused by the safety system
    RATELIMIT = "RATELIMIT"  # rate limit; Retry-After: 7 where the provider has that header
    QUOTA = "QUOTA"  # no credit left
    BOOM = "BOOM"  # the provider's own 500
    HTML502 = "HTML502"  # a proxy's 502 page, no envelope
    SLOW = "SLOW"  # 1.5 s before the head, then the natural answer
    TRUNCATE = "TRUNCATE"  # the body stops in its middle, Content-Length promises it all
    EMPTY = "EMPTY"  # 200 without any image
    GARBAGE = "GARBAGE"  # 200, the right content type, and something that is not JSON


def trigger_in(text: str) -> Trigger | None:
    """The first trigger word the text contains."""
    return next((trigger for trigger in Trigger if trigger in text), None)


def disturb(trigger: Trigger | None, natural: Reply) -> Reply:
    """The natural answer under the triggers whose shape no provider decides; others leave it as it is."""
    if trigger is Trigger.HTML502:
        return Reply.html(502, "<html><head><title>502 Bad Gateway</title></head><body>cloud edge</body></html>")
    if trigger is Trigger.SLOW:
        return replace(natural, delay_s=SLOW_S)
    if trigger is Trigger.TRUNCATE:
        size = len(natural.body) if isinstance(natural.body, bytes) else sum(map(len, natural.body))
        return replace(natural, truncate_at=size // 2)
    if trigger is Trigger.GARBAGE:
        garbage = b'{"created": 17, "data": [{"b64'
        stream = (b"data: " + garbage + b"\n\n",)
        return replace(natural, body=garbage if isinstance(natural.body, bytes) else stream)
    return natural


@dataclass(frozen=True, slots=True)
class _Script:
    reply: Reply
    matches: Callable[[Exchange], bool]


class StandIn:
    """A provider's server, as strict as its documents. Subclasses override `handle`.

    `exchanges` holds every request in order of arrival, `paid` counts answers a provider would bill, `hangups` the
    requests whose caller left before the answer was out, `connections` the sockets accepted, `peak` the most requests
    answered at once. An exception inside `handle` closes the socket and is raised again when the context ends.
    """

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.hangups: list[Exchange] = []
        self.files: dict[str, tuple[str, bytes]] = {}
        self.paid = 0
        self.connections = 0
        self.peak = 0
        self._in_flight = 0
        self._scripts: deque[_Script] = deque()
        self._lock = threading.Lock()
        self._faults: list[Exception] = []
        self._port = 0
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def handle(self, exchange: Exchange) -> Reply:
        """The natural answer to a request; runs on the server's thread."""
        return Reply.json(404, {"error": {"message": f"no such route: {exchange.method} {exchange.path}"}})

    @property
    def url(self) -> str:
        """The origin, without a trailing slash."""
        if not self._port:
            raise RuntimeError("the stand-in has not been started")
        return f"http://127.0.0.1:{self._port}"

    def queue(self, *replies: Reply, path: str | None = None, method: str | None = None) -> None:
        """Answer the next requests (of that path and method, when named) with these replies instead of `handle`."""

        def matches(exchange: Exchange) -> bool:
            return path in (None, exchange.path) and method in (None, exchange.method)

        with self._lock:
            self._scripts.extend(_Script(reply, matches) for reply in replies)

    def publish(self, path: str, content_type: str, data: bytes) -> str:
        """Serve the bytes at GET `path` from now on; the absolute URL."""
        self.files[path] = (content_type, data)
        return self.url + path

    def pause(self) -> None:
        """Hold every answer, requests are still read and recorded, until `resume`."""
        self._call(self._open.clear)

    def resume(self) -> None:
        self._call(self._open.set)

    async def arrived(self, count: int, timeout_s: float = 5.0) -> None:
        """Wait until that many requests have been read in all. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while len(self.exchanges) < count:  # noqa: ASYNC110 - the list grows on another thread's loop
                await asyncio.sleep(0.002)

    def start(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        if not self._ready.wait(5):
            raise RuntimeError("the stand-in did not start")
        return self

    def stop(self) -> None:
        """Close the port and every connection; safe to call twice."""
        if self._thread is not None:
            self._call(self._stopping.set)
            self._thread.join(5)
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._faults and error is None:
            raise ExceptionGroup("inside the stand-in", self._faults)

    def _call(self, act: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task, writer in tuple(self._tasks.items()):
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task).close()
        if not task.cancelled() and isinstance(fault := task.exception(), Exception):
            self._faults.append(fault)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (exchange := await read_exchange(reader, writer)) is not None:
            self.exchanges.append(exchange)
            self._in_flight += 1
            self.peak = max(self.peak, self._in_flight)
            try:
                reply = self._answer(exchange)
                await self._open.wait()
                again = await write_reply(reader, writer, exchange, reply)
            except ConnectionError:
                again = False
                self.hangups.append(exchange)
            finally:
                self._in_flight -= 1
            if not again:
                return

    def _answer(self, exchange: Exchange) -> Reply:
        reply = self._scripted(exchange) or self._file(exchange) or self.handle(exchange)
        self.paid += reply.paid
        return reply

    def _scripted(self, exchange: Exchange) -> Reply | None:
        with self._lock:
            script = next((one for one in self._scripts if one.matches(exchange)), None)
            if script is not None:
                self._scripts.remove(script)
        return script.reply if script else None

    def _file(self, exchange: Exchange) -> Reply | None:
        if exchange.method not in {"GET", "HEAD"} or exchange.path not in self.files:
            return None
        return Reply.file(*self.files[exchange.path])
