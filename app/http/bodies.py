"""Reading what a caller sends: bounded as it arrives, with or without Content-Length."""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from python_multipart.multipart import parse_options_header
from starlette.types import Message, Receive

from app.errors import BadInput, PayloadTooLarge, RequestTimeout, UnsupportedMediaType
from app.http.arrival import Incoming, Lend
from app.http.forms import MEMORY, FormReader, Upload, too_long
from app.http.parts import FormError
from providers.core.http import Buffer
from providers.kit.lift import LiftError, lift
from providers.kit.room import Body, Room, copy_into

GENERATION_BYTES: Final = 2**20
STRING_BYTES: Final = 28_000_000
ENDED: Final = "The connection ended before the body was complete."
JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "multipart/form-data"
# The only way in which half a character comes into a text: bytes that are not UTF-8 are no JSON.
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly a body may come: `seconds` for any of them, and one second more for each `rate` bytes received."""

    seconds: float = 60.0
    rate: int = 32 * 1024

    def due(self, received: int) -> float:
        """Seconds from the start within which the next bytes must come."""
        return self.seconds + received / self.rate


PACE: Final = Pace()


class Arriving(Protocol):
    """Headers by name, and the body: as messages, or straight from the connection where the server lends it."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def receive(self) -> Receive: ...

    @property
    def lend(self) -> Lend | None: ...


class Whole:
    """A body that is received where it stays, `limit` bytes at most."""

    def __init__(self, body: Body, limit: int) -> None:
        self._body = body
        self._limit = limit

    def __len__(self) -> int:
        return len(self._body)

    def room(self) -> memoryview:
        """A place for the next bytes."""
        return self._body.room()

    def wrote(self, count: int) -> None:
        """So many came. Raises PayloadTooLarge."""
        self._body.wrote(count)
        too_long(len(self._body), self._limit)


def media_type(headers: Mapping[str, str]) -> str:
    """The declared type of the body, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def plain(headers: Mapping[str, str]) -> None:
    """What is compressed is not read. Raises UnsupportedMediaType."""
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise UnsupportedMediaType(f"The body must be sent without Content-Encoding; {coding[:40]} was sent.")


def declared(request: Arriving, limit: int) -> int:
    """The length of the body as its head tells it, 0 where it does not. Raises PayloadTooLarge."""
    told = request.headers.get("content-length", "")
    if not told.isdecimal():
        return 0
    if int(told) > limit:
        raise PayloadTooLarge(f"The body has {told} bytes; at most {limit} are allowed.")
    return int(told)


async def pour(request: Arriving, sink: Incoming, pace: Pace = PACE) -> None:
    """The whole body, into its place. Raises RequestTimeout, BadInput when it ends early, what the sink raises."""
    if request.lend is None:
        await _told(request.receive, sink, pace)
    else:
        await _lent(request.lend(sink), sink, pace)


async def _lent(coming: asyncio.Future[None], sink: Incoming, pace: Pace) -> None:
    now = asyncio.get_running_loop().time
    started = now()
    try:
        while not coming.done():
            left = started + pace.due(len(sink)) - now()
            if left <= 0:
                raise _slow(len(sink), pace)
            await asyncio.wait({coming}, timeout=left)
        coming.result()
    except ConnectionError:
        raise BadInput(ENDED) from None
    finally:
        coming.cancel()


async def _told(receive: Receive, sink: Incoming, pace: Pace) -> None:
    """By messages: they are copied into their place."""
    started = asyncio.get_running_loop().time()
    more = True
    while more:
        message = at_once(receive)
        if message is None:
            message = await _within(receive, started, pace, len(sink))
        if message["type"] == "http.disconnect":
            raise BadInput(ENDED)
        copy_into(sink, message.get("body", b""))
        more = message.get("more_body", False)


def at_once(receive: Receive) -> Message | None:
    """What a server has for us already; None where it would have to be waited for."""
    asking = receive()
    try:
        asking.send(None)  # type: ignore[attr-defined]  # starlette says Awaitable; servers give coroutines
    except StopIteration as answer:
        return cast("Message", answer.value)
    asking.close()  # type: ignore[attr-defined]  # as above
    return None


async def _within(receive: Receive, started: float, pace: Pace, size: int) -> Message:
    try:
        async with asyncio.timeout_at(started + pace.due(size)):
            return await receive()
    except TimeoutError:
        raise _slow(size, pace) from None


def _slow(size: int, pace: Pace) -> RequestTimeout:
    return RequestTimeout(f"The body came too slowly: {size} bytes in {pace.due(size):.0f} seconds.")


async def read_json(request: Arriving, limit: int, pace: Pace = PACE, *, also: str = "", room: Room = MEMORY) -> Any:
    """A JSON body, its long base64 strings lifted out. `also` is another type that the route reads.

    Raises UnsupportedMediaType, BadInput, PayloadTooLarge, RequestTimeout.
    """
    given = media_type(request.headers)
    if given != JSON_TYPE:
        given = given or "no content type"
        wanted = f"{JSON_TYPE} or {also}" if also else JSON_TYPE
        raise UnsupportedMediaType(f"The body must be {wanted}; {given[:100]} was sent.")
    plain(request.headers)
    received = await _received(request, limit, pace, room)
    if not received:
        raise BadInput("The body is empty; a JSON object is needed.", code="invalid_json")
    if received[:3] == codecs.BOM_UTF8:
        raise BadInput("The body is not valid JSON: it begins with a byte order mark.", code="invalid_json")
    try:
        document = lift(received)
        if _HALF.search(received):
            for text in _texts(document):
                text.encode()
    except LiftError as error:
        raise BadInput(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    except UnicodeEncodeError:
        message = "The body is not valid JSON: half a surrogate pair is no character."
        raise BadInput(message, code="invalid_json") from None
    return document


async def _received(request: Arriving, limit: int, pace: Pace, room: Room) -> Buffer:
    """The whole body; room is for what did not come with its head."""
    expected = declared(request, limit)
    first = at_once(request.receive) or {}
    there = first.get("body", b"")
    if first and first["type"] == "http.request" and not first.get("more_body"):
        too_long(len(there), limit)
        return cast("bytes", there)
    with room.body(expected) as body:
        whole = Whole(body, limit)
        copy_into(whole, there)
        await pour(request, whole, pace)
        return body.whole()


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


async def read_form(request: Arriving, limit: int, pace: Pace = PACE, *, room: Room = MEMORY) -> Upload:
    """A multipart body. Raises BadInput, InvalidRequest, PayloadTooLarge, RequestTimeout, UnsupportedMediaType."""
    plain(request.headers)
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadInput("The multipart body has no boundary in its Content-Type.", code="invalid_multipart")
    with room.body(declared(request, limit)) as body:
        try:
            reader = FormReader(boundary, body, limit)
        except FormError as error:
            raise BadInput(f"The multipart body cannot be read: {error}.", code="invalid_multipart") from None
        await pour(request, reader, pace)
        return reader.upload()
