"""Uploads over a real socket: received where they stay, whatever comes with them, before them and after them."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop
from blake3 import blake3
from starlette.requests import Request
from uvicorn.server import ServerState

from app import errors
from app.capacity import Bytes
from app.http.arrival import Arrival
from app.http.bodies import PACE, Pace, Whole, pour, read_form
from app.http.edge import respond
from app.http.forms import MEMORY, TEXT_BYTES, Upload
from app.http.intake import FIRST_BYTES
from app.http.server import Protocol
from providers.core.errors import PinholeError
from providers.core.http import Buffer
from providers.kit.room import STEP, Memory, Room, Spool

BOUNDARY = b"----a-line"
LINE = b"\r\n--" + BOUNDARY
MIB = 2**20
LIMIT = 20 * MIB
RANDOM = random.Random(2)  # noqa: S311 - pictures, no secret
# Longer than what comes with a head, and full of what looks like the beginning of a boundary.
IMAGE = RANDOM.randbytes(FIRST_BYTES) + b"\r\n--" + LINE[:-1] + b"\r" + RANDOM.randbytes(40_000) + b"\r\n-"
PARTS = (("prompt", b"a red hat"), ("image", IMAGE), ("user", b""), ("mask", b"\r\n"), ("n", b"2"))


def part(name: str, data: bytes) -> bytes:
    """With its boundary before it."""
    file = '; filename="a.png"' if name in {"image", "mask"} else ""
    return b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (
        BOUNDARY,
        name.encode(),
        file.encode(),
        data,
    )


FORM = b"".join(part(*each) for each in PARTS) + b"--" + BOUNDARY + b"--\r\n"


def asked(framing: bytes = b"content-length: %d" % len(FORM), path: bytes = b"/", *more: bytes) -> bytes:
    """A head."""
    lines = (b"POST " + path + b" HTTP/1.1", b"host: x", framing, *more)
    return b"\r\n".join((*lines, b"content-type: multipart/form-data; boundary=" + BOUNDARY, b"", b""))


def digest(data: Buffer) -> str:
    return blake3(data).hexdigest()


WHOLE = {"fields": {"prompt": "a red hat", "user": "", "n": "2"}, "images": [digest(IMAGE)], "mask": digest(b"\r\n")}


@dataclass
class App:
    """Reads a form and answers with what it found. `plain`: as if its server lent no connection."""

    plain: bool = False
    room: Room = MEMORY
    pace: Pace = PACE
    errors: list[PinholeError] = field(default_factory=list)
    read: Callable[[Upload], None] = lambda _: None
    gate: asyncio.Event | None = None
    connections: set[Any] = field(default_factory=set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if self.plain:
            del scope["extensions"]
        scope["state"] = {"request_id": "test"}
        if self.gate is not None:
            await self.gate.wait()
        try:
            arrival = Arrival.of(Request(scope, receive))
            upload = await read_form(arrival, LIMIT, self.pace, room=self.room)
        except PinholeError as error:
            self.errors.append(error)
            await respond(error)(scope, receive, send)
            return
        assert all(digest(image.data) == image.digest for image in upload.images)
        self.read(upload)
        found = {
            "fields": upload.fields,
            "images": [image.digest for image in upload.images],
            "mask": upload.mask and upload.mask.digest,
        }
        body = json.dumps(found).encode()
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


class Caller:
    """A connection to a server of this app."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Each in a packet of its own, which is read before the next one comes."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            for _ in range(4):
                await asyncio.sleep(0)

    async def head(self) -> list[bytes]:
        """The lines of the next head."""
        text = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        return text.lower().split(b"\r\n")[:-2]

    async def answer(self) -> tuple[int, Any]:
        """Status and document of the next answer."""
        lines = await self.head()
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length"))
        return int(lines[0].split()[1]), json.loads(await asyncio.wait_for(self._reader.readexactly(length), 10))

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await asyncio.wait_for(self._reader.read(), 10)

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def served(app: App) -> AsyncIterator[tuple[str, int]]:
    """Where this app listens."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", interface="asgi3")
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    state.connections = app.connections
    server = await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


@asynccontextmanager
async def connected(app: App) -> AsyncIterator[Caller]:
    async with served(app) as address:
        caller = Caller(*await asyncio.open_connection(*address))
        try:
            yield caller
        finally:
            caller.close()
            await asyncio.sleep(0.01)


Run = Callable[[Coroutine[Any, Any, None]], None]
loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def chunked(*pieces: bytes) -> bytes:
    return (
        b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b"") if piece or not pieces)
        + b"0\r\n\r\n"
    )


@loops
@pytest.mark.parametrize("plain", [False, True])
def test_a_form_may_be_cut_anywhere_near_a_boundary(run: Run, plain: bool) -> None:
    """Cut at each byte around each boundary, it is the same form: in place and by messages."""
    places = [at for at in range(len(FORM)) if FORM.startswith(b"--" + BOUNDARY, at)]

    async def work() -> None:
        async with connected(App(plain=plain)) as caller:
            for place in places:
                for cut in range(max(1, place - 6), min(len(FORM), place + len(LINE) + 8)):
                    await caller.send(asked(), FORM[:cut], FORM[cut:])
                    assert await caller.answer() == (200, WHOLE), cut

    run(work())


@loops
def test_a_boundary_may_come_byte_by_byte(run: Run) -> None:
    """Every byte from before a boundary to behind the next head in a read of its own."""
    start = FORM.index(IMAGE) + len(IMAGE) - 4
    stop = start + 120

    async def work() -> None:
        async with connected(App()) as caller:
            await caller.send(asked() + FORM[:start], *[FORM[i : i + 1] for i in range(start, stop)], FORM[stop:])
            assert await caller.answer() == (200, WHOLE)

    run(work())


@loops
@pytest.mark.parametrize("cut", [0, 1, 17])
def test_the_next_request_may_be_glued_to_a_body(run: Run, cut: int) -> None:
    """What follows a body that is received in place is a request, also when it began in the body's last packet."""
    both = FORM + asked()

    async def work() -> None:
        async with connected(App()) as caller:
            await caller.send(asked(), both[: FIRST_BYTES + 5], both[FIRST_BYTES + 5 : len(FORM) + cut])
            await caller.send(both[len(FORM) + cut :] + FORM + asked() + FORM)
            for _ in range(3):
                assert await caller.answer() == (200, WHOLE)

    run(work())


@loops
def test_many_requests_may_come_at_once(run: Run) -> None:
    """Sent without waiting for an answer, uploads are read one after the other, and their answers come in turn."""

    async def work() -> None:
        async with connected(App()) as caller:
            await caller.send((asked() + FORM) * 5)
            for _ in range(5):
                assert await caller.answer() == (200, WHOLE)

    run(work())


@loops
@pytest.mark.parametrize("size", [7, 1000, FIRST_BYTES - 1, 100_000])
def test_a_form_may_come_in_chunks(run: Run, size: int) -> None:
    """Without a declared length it is the same form, and the next request is read behind it."""
    body = chunked(*[FORM[i : i + size] for i in range(0, len(FORM), size)])

    async def work() -> None:
        async with connected(App()) as caller:
            for _ in range(2):
                await caller.send(asked(b"transfer-encoding: chunked"), body[:30_000], body[30_000:])
                assert await caller.answer() == (200, WHOLE)

    run(work())


@loops
def test_who_asks_first_is_invited(run: Run) -> None:
    """The body is sent after 100 Continue, and received in place."""

    async def work() -> None:
        async with connected(App()) as caller:
            await caller.send(asked(b"content-length: %d" % len(FORM), b"/", b"expect: 100-continue"))
            assert await caller.head() == [b"http/1.1 100 continue"]
            await caller.send(FORM)
            assert await caller.answer() == (200, WHOLE)

    run(work())


@loops
@pytest.mark.parametrize("framing", [b"content-length: %d", b"transfer-encoding: chunked"])
def test_a_refused_form_is_answered_at_once(run: Run, framing: bytes) -> None:
    """The error comes while the upload does; the rest is passed over, and the connection serves the next request."""
    begun = b"".join(part("image", b"1") for _ in range(17))
    body = begun + part("image", bytes(3 * MIB)) + b"--" + BOUNDARY + b"--\r\n"
    sized = b"%d" in framing

    async def work() -> None:
        async with connected(App()) as caller:
            head = asked(framing % len(body) if sized else framing)
            await caller.send(head, begun if sized else b"%x\r\n" % len(body) + begun)
            status, document = await caller.answer()
            assert (status, document["error"]["param"]) == (400, "image")
            await caller.send(body[len(begun) :] if sized else body[len(begun) :] + b"\r\n0\r\n\r\n")
            await caller.send(asked(), FORM)
            assert await caller.answer() == (200, WHOLE)

    run(work())


def test_nothing_is_served_behind_a_last_request() -> None:
    """After `Connection: close` what follows the body is no request."""

    async def work() -> None:
        async with connected(App()) as caller:
            await caller.send(asked(b"content-length: %d" % len(FORM), b"/", b"connection: close"), FORM + asked())
            assert await caller.answer() == (200, WHOLE)
            assert await caller.rest() == b""

    uvloop.run(work())


@loops
def test_a_body_waits_for_whoever_reads_it(run: Run) -> None:
    """Before the app asks for it, no more of a body is read than what came with its head."""

    async def work() -> None:
        app = App(gate=asyncio.Event())
        assert app.gate is not None
        async with connected(app) as caller:
            await caller.send(asked() + FORM)
            await asyncio.sleep(0.05)
            assert [connection.cycle.held <= FIRST_BYTES for connection in app.connections] == [True]
            app.gate.set()
            assert await caller.answer() == (200, WHOLE)

    run(work())


class Held(Bytes):
    """A budget that remembers the most that was held."""

    most = 0

    def take(self, amount: int) -> bool:
        found = super().take(amount)
        self.most = max(self.most, self.held)
        return found


async def nothing_is_held(budget: Bytes) -> None:
    for _ in range(100):
        if not (budget.held or budget.files):
            return
        await asyncio.sleep(0.01)
    assert (budget.held, budget.files) == (0, 0)


@loops
def test_a_hang_up_gives_everything_back(run: Run, tmp_path: Path) -> None:
    """A caller that leaves in the middle of its upload started nothing, and holds nothing."""

    async def work() -> None:
        budget = Held(LIMIT)
        app = App(room=Spool(budget, tmp_path, lambda _: None))
        async with connected(app) as caller:
            await caller.send(asked(), FORM[:40_000])
            assert budget.held == max(len(FORM), STEP)
            caller.close()
            await nothing_is_held(budget)
        assert [str(error) for error in app.errors] == ["The connection ended before the body was complete."]

    run(work())


@loops
@pytest.mark.parametrize("framing", [b"content-length: %d" % len(FORM), b"transfer-encoding: chunked"])
def test_beyond_the_budget_a_form_is_spooled(run: Run, framing: bytes, tmp_path: Path) -> None:
    """A form that has no room in memory is the same form from a file, and leaves none behind."""
    body = FORM if b"length" in framing else chunked(FORM[:20_000], FORM[20_000:])

    async def work() -> None:
        budget = Held(30_000)
        files: list[int] = []
        app = App(room=Spool(budget, tmp_path, lambda _: None), read=lambda _: files.append(budget.files))
        async with connected(app) as caller:
            await caller.send(asked(framing), body[:30_000], body[30_000:])
            assert await caller.answer() == (200, WHOLE)
            assert files == [1]
            await nothing_is_held(budget)

    run(work())
    assert list(tmp_path.iterdir()) == []


@loops
def test_all_of_a_form_counts_while_its_images_live(run: Run, tmp_path: Path) -> None:
    """The budget holds as much as the memory: one body, its texts included, of which the files are views."""
    kept: list[Upload] = []

    async def work() -> None:
        budget = Held(LIMIT)
        async with connected(App(room=Spool(budget, tmp_path, lambda _: None), read=kept.append)) as caller:
            await caller.send(asked(), FORM)
            assert await caller.answer() == (200, WHOLE)
            assert (budget.held, budget.most) == (len(FORM), max(len(FORM), STEP))
            assert kept[0].mask is not None
            assert kept[0].mask.data.obj is kept[0].images[0].data.obj
            kept.clear()
            await nothing_is_held(budget)

    run(work())


@loops
def test_an_upload_that_stalls_is_408(run: Run) -> None:
    """Progress earns time; none of it ends the request."""

    async def work() -> None:
        app = App(pace=Pace(seconds=0.05, rate=MIB))
        async with connected(app) as caller:
            await caller.send(asked(), FORM[:50_000])
            started = asyncio.get_running_loop().time()
            assert (await caller.answer())[0] == 408
            assert 0.05 < asyncio.get_running_loop().time() - started < 2
        assert "50000 bytes" in str(app.errors[0])

    run(work())


@loops
@pytest.mark.parametrize("plain", [False, True])
def test_the_texts_of_a_form_are_bounded_together(run: Run, plain: bool) -> None:
    """Many texts are no way around the limit of one: 413, naming the one that went over it."""
    texts = b"".join(part(f"field{i}", b"a" * (TEXT_BYTES // 4)) for i in range(4))
    over = texts + part("over", b"a") + b"--" + BOUNDARY + b"--\r\n"
    within = texts + b"--" + BOUNDARY + b"--\r\n"

    async def work() -> None:
        async with connected(App(plain=plain)) as caller:
            await caller.send(asked(b"content-length: %d" % len(within)) + within)
            assert (await caller.answer())[0] == 200
            await caller.send(asked(b"content-length: %d" % len(over)) + over)
            status, document = await caller.answer()
            assert (status, document["error"]["param"]) == (413, "over")

    run(work())


@loops
def test_no_upload_is_copied_on_its_way_in(run: Run) -> None:
    """8 MiB from the socket are one body in memory, and less than half a MiB beside it."""
    image = RANDOM.randbytes(8 * MIB)
    body = part("prompt", b"a hat") + part("image", image) + b"--" + BOUNDARY + b"--\r\n"
    head = asked(b"content-length: %d" % len(body))

    def call(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(head)
            connection.sendall(body)
            return connection.recv(65536)

    async def work() -> None:
        async with served(App(read=lambda _: peaks.append(tracemalloc.get_traced_memory()[1]))) as address:
            for _ in range(2):  # the first fills the caches
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                assert digest(image).encode() in await asyncio.to_thread(call, address)
                peaks[-1] -= before

    peaks: list[int] = []
    tracemalloc.start()
    try:
        run(work())
    finally:
        tracemalloc.stop()
    assert peaks[-1] < len(body) + MIB // 2


@pytest.mark.parametrize("expected", [100_000, 99_999])
async def test_a_body_over_its_limit_is_413(expected: int) -> None:
    """Told as it comes, whichever way it comes."""

    async def receive() -> Any:
        return {"type": "http.request", "body": bytes(10_000), "more_body": next(more)}

    more = iter([True] * 9 + [False])
    scope = {"type": "http", "headers": [], "state": {"request_id": "test"}}
    with Memory().body() as body:
        reading = pour(Arrival.of(Request(scope, receive)), Whole(body, expected))
        if expected == 100_000:
            await reading
            assert len(body) == expected
        else:
            with pytest.raises(errors.PayloadTooLarge):
                await reading
