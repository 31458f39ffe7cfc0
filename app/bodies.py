"""Reading what a caller sends: bounded as it arrives, with or without Content-Length."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, cast

from blake3 import blake3
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.types import Message, Receive

from app.errors import BadInput, PayloadTooLarge, RequestTimeout, UnsupportedMediaType
from providers.core.errors import InvalidRequest, Violation
from providers.core.http import Buffer
from providers.kit.lift import LiftError, lift
from providers.kit.room import SMALL, Memory, Room

GENERATION_BYTES: Final = 2**20
IMAGE_BYTES: Final = 50_000_000
MASK_BYTES: Final = 4_000_000
TEXT_BYTES: Final = 2**20
STRING_BYTES: Final = 28_000_000
IMAGES: Final = 16
PARTS: Final = 100
IMAGE_FIELDS: Final = frozenset({"image", "image[]", "images", "images[]"})
FILE_FIELDS: Final = IMAGE_FIELDS | {"mask"}
JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "multipart/form-data"
MEMORY: Final = Memory()
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


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form, and its BLAKE3 digest, taken as it came: nobody has to read it again for that."""

    data: memoryview = field(repr=False)
    digest: str


@dataclass(slots=True)
class Upload:
    """A form as it was sent: text by name (the last wins), images in order, the mask."""

    fields: dict[str, str] = field(default_factory=dict)
    images: list[File] = field(default_factory=list)
    mask: File | None = None


def media_type(request: Request) -> str:
    """The declared type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def chunks(request: Request, limit: int, pace: Pace = PACE) -> AsyncIterator[bytes]:
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


async def read_json(request: Request, limit: int, pace: Pace = PACE, *, also: str = "", room: Room = MEMORY) -> Any:
    """A JSON body, its long base64 strings lifted out. `also` is another type that the route reads.

    Raises UnsupportedMediaType, BadInput, PayloadTooLarge, RequestTimeout.
    """
    if media_type(request) != JSON_TYPE:
        given = media_type(request) or "no content type"
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


async def _received(request: Request, limit: int, pace: Pace, room: Room) -> Buffer:
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


async def read_form(request: Request, limit: int, pace: Pace = PACE, *, room: Room = MEMORY) -> Upload:
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


class FormReader:
    """Collects the parts of a form as the parser finds them, each bounded on its own."""

    def __init__(self, room: Room = MEMORY) -> None:
        self.upload = Upload()
        self._room = room
        self.ended = False
        self._parts = 0
        self._headers: dict[str, str] = {}
        self._header = bytearray()
        self._value = bytearray()
        self._name = ""
        self._file = False
        self._data = room.body()
        self._digest = blake3()
        self._limit = TEXT_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.drop()

    def parser(self, boundary: bytes) -> MultipartParser:
        """A parser that reports to this reader."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise InvalidRequest(Violation("body", f"A form may have at most {PARTS} parts.", "too_many_parts"))
        self._headers = {}
        self._data.drop()
        self._data = self._room.body()
        self._digest = blake3()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", ""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._file = bool(options.get(b"filename"))
        if not self._name:
            raise BadInput("A part of the form has no name.", code="invalid_multipart")
        if self._name in IMAGE_FIELDS:
            self._limit = IMAGE_BYTES
            if len(self.upload.images) >= IMAGES:
                raise InvalidRequest(Violation("image", f"At most {IMAGES} images are allowed.", "too_many_images"))
        else:
            self._limit = MASK_BYTES if self._name == "mask" else TEXT_BYTES

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if len(self._data) + end - start > self._limit:
            raise PayloadTooLarge(f"'{self._name[:60]}' has more than {self._limit} bytes.", param=self._name[:60])
        chunk = memoryview(data)[start:end]
        self._data.write(chunk)
        if self._name in FILE_FIELDS:
            self._digest.update(chunk)

    def _part_end(self) -> None:
        if self._name in FILE_FIELDS and not self._data and not self._file:
            return  # a form's file field in which nothing was chosen
        whole = self._data.whole()
        if self._name in IMAGE_FIELDS:
            self.upload.images.append(File(whole, self._digest.hexdigest()))
        elif self._name == "mask":
            self.upload.mask = File(whole, self._digest.hexdigest())
        else:
            try:
                self.upload.fields[self._name] = str(whole, "utf-8")
            except UnicodeDecodeError:
                message = f"'{self._name[:60]}' is not UTF-8 text."
                raise InvalidRequest(Violation(self._name[:60], message, "invalid_type")) from None

    def _end(self) -> None:
        self.ended = True
