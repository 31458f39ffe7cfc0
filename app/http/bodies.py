"""Reading what a caller sends: bounded as it arrives, with or without Content-Length."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.types import Message, Receive

from app.errors import BadInput, PayloadTooLarge, RequestTimeout, UnsupportedMediaType
from app.http.forms import MEMORY, FormReader, Upload
from providers.core.http import Buffer
from providers.kit.lift import LiftError, lift
from providers.kit.room import SMALL, Room

GENERATION_BYTES: Final = 2**20
STRING_BYTES: Final = 28_000_000
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
    """Headers by name, and the body as messages."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def receive(self) -> Receive: ...


def media_type(headers: Mapping[str, str]) -> str:
    """The declared type of the body, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def chunks(request: Arriving, limit: int, pace: Pace = PACE) -> AsyncIterator[bytes]:
    """The body as it comes. Raises PayloadTooLarge and RequestTimeout when that is known, BadInput when it ends."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise PayloadTooLarge(f"The body has {declared} bytes; at most {limit} are allowed.")
    size = 0
    started = asyncio.get_running_loop().time()
    more = True
    while more:
        message = at_once(request.receive)
        if message is None:
            message = await _within(request.receive, started, pace, size)
        if message["type"] == "http.disconnect":
            raise BadInput("The connection ended before the body was complete.")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"The body has more than {limit} bytes.")
        if chunk:
            yield chunk


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
        raise RequestTimeout(f"The body came too slowly: {size} bytes in {pace.due(size):.0f} seconds.") from None


async def read_json(request: Arriving, limit: int, pace: Pace = PACE, *, also: str = "", room: Room = MEMORY) -> Any:
    """A JSON body, its long base64 strings lifted out. `also` is another type that the route reads.

    Raises UnsupportedMediaType, BadInput, PayloadTooLarge, RequestTimeout.
    """
    given = media_type(request.headers)
    if given != JSON_TYPE:
        given = given or "no content type"
        wanted = f"{JSON_TYPE} or {also}" if also else JSON_TYPE
        raise UnsupportedMediaType(f"The body must be {wanted}; {given[:100]} was sent.")
    received = await _received(request, limit, pace, room)
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
    """The whole body; room is for what is not small."""
    small = b""
    with room.body() as body:
        async for chunk in chunks(request, limit, pace):
            if not body and len(small) + len(chunk) <= SMALL:
                small += chunk
                continue
            body.write(small)
            body.write(chunk)
            small = b""
        return body.whole() if body else small


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
    """A multipart body. Raises BadInput, InvalidRequest, PayloadTooLarge, RequestTimeout."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadInput("The multipart body has no boundary in its Content-Type.", code="invalid_multipart")
    try:
        with FormReader(room) as reader:
            parser = reader.parser(boundary)
            async for chunk in chunks(request, limit, pace):
                parser.write(chunk)
            parser.finalize()
    except FormParserError as error:
        raise BadInput(f"The multipart body cannot be read: {error}.", code="invalid_multipart") from None
    if not reader.ended:
        raise BadInput("The multipart body ends before its last boundary.", code="invalid_multipart")
    return reader.upload
