"""A form as it comes: it stays where it was received, and its files are views of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3
from python_multipart.multipart import parse_options_header

from app.errors import BadInput, PayloadTooLarge
from app.http.parts import FormError, Splitter
from app.schemas import ImageFields
from providers.core.errors import InvalidRequest, Violation
from providers.kit.room import Body, Memory

IMAGE_BYTES: Final = 50_000_000
MASK_BYTES: Final = 4_000_000
TEXT_BYTES: Final = 2**20
IMAGES: Final = 16
PARTS: Final = 100
IMAGE_FIELDS: Final = frozenset({"image", "image[]", "images", "images[]"})
FILE_FIELDS: Final = IMAGE_FIELDS | {"mask"}
MEMORY: Final = Memory()


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form, and its BLAKE3 digest, taken as it came: nobody has to read it again for that."""

    data: memoryview = field(repr=False)
    digest: str


@dataclass(slots=True)
class Upload:
    """A form as it was sent: text by name, images in order, the mask.

    A file that no field takes is its name alone, for the schema to judge.
    """

    fields: dict[str, str] = field(default_factory=dict)
    images: list[File] = field(default_factory=list)
    mask: File | None = None


@dataclass(slots=True)
class _Part:
    """The part that comes now: a file is found again by where it lies, a text is kept as it is."""

    name: str
    limit: int
    file: bool
    strange: bool
    start: int
    size: int = 0
    digest: blake3 = field(default_factory=blake3)
    text: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file lies in the body."""

    start: int
    stop: int
    digest: str

    def of(self, body: memoryview) -> File:
        return File(body[self.start : self.stop], self.digest)


class FormReader:
    """Receives a form and looks at it as it comes: each part is bounded, none is passed over in silence."""

    def __init__(self, boundary: bytes, body: Body, limit: int) -> None:
        """Raises FormError for a boundary that is none."""
        self._body = body
        self._limit = limit
        self._splitter = Splitter(boundary, self)
        self._part = _Part("", 0, file=False, strange=False, start=0)
        self._parts = 0
        self._texts = 0
        self._fields: dict[str, str] = {}
        self._images: list[_Place] = []
        self._mask: _Place | None = None

    def __len__(self) -> int:
        return len(self._body)

    def room(self) -> memoryview:
        """A place for the next bytes."""
        return self._body.room()

    def wrote(self, count: int) -> None:
        """So many came. Raises BadInput, InvalidRequest, PayloadTooLarge."""
        too_long(len(self._body) + count, self._limit)
        buffer, start = self._body.place()
        try:
            self._splitter.feed(buffer, start, start + count)
        except FormError as error:
            raise BadInput(f"The multipart body cannot be read: {error}.", code="invalid_multipart") from None
        self._body.wrote(count)

    def upload(self) -> Upload:
        """The form, once all of it came. Raises BadInput."""
        if not self._splitter.ended:
            raise BadInput("The multipart body ends before its last boundary.", code="invalid_multipart")
        whole = self._body.whole()
        images = [place.of(whole) for place in self._images]
        return Upload(self._fields, images, self._mask.of(whole) if self._mask is not None else None)

    def begin(self, headers: Mapping[str, str], start: int) -> None:
        """As a listener of the parts."""
        self._parts += 1
        if self._parts > PARTS:
            raise InvalidRequest(Violation("body", f"A form may have at most {PARTS} parts.", "too_many_parts"))
        _, options = parse_options_header(headers.get("content-disposition", ""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        file = bool(options.get(b"filename"))
        if not name:
            raise BadInput("A part of the form has no name.", code="invalid_multipart")
        if name in IMAGE_FIELDS and len(self._images) >= IMAGES:
            raise InvalidRequest(Violation("image", f"At most {IMAGES} images are allowed.", "too_many_images"))
        limit = IMAGE_BYTES if name in IMAGE_FIELDS else MASK_BYTES if name == "mask" else TEXT_BYTES
        strange = file and name not in FILE_FIELDS | ImageFields.model_fields.keys()
        self._part = _Part(name, limit, file=file, strange=strange, start=start)

    def data(self, piece: memoryview) -> None:
        """As a listener of the parts."""
        part = self._part
        if part.strange:
            return
        part.size += len(piece)
        if part.size > part.limit:
            message = f"'{part.name[:60]}' has more than {part.limit} bytes."
            raise PayloadTooLarge(message, param=part.name[:60])
        if part.name in FILE_FIELDS:
            part.digest.update(piece)
            return
        self._texts += len(piece)
        if self._texts > TEXT_BYTES:
            message = f"The texts of a form have more than {TEXT_BYTES} bytes, '{part.name[:60]}' included."
            raise PayloadTooLarge(message, param=part.name[:60])
        part.text += piece

    def end(self, stop: int) -> None:
        """As a listener of the parts."""
        part = self._part
        name = part.name
        if name not in FILE_FIELDS:
            before, self._fields[name] = self._fields.get(name), _text(part)
            _one(name, before, self._fields[name])
            return
        if not part.size and not part.file:
            return  # a form's file field in which nothing was chosen
        place = _Place(part.start, stop, part.digest.hexdigest())
        if name == "mask":
            _one(name, self._mask.digest if self._mask is not None else None, place.digest)
            self._mask = place
        else:
            self._images.append(place)


def _text(part: _Part) -> str:
    try:
        return "file" if part.strange else part.text.decode()
    except UnicodeDecodeError:
        message = f"'{part.name[:60]}' is not UTF-8 text."
        raise InvalidRequest(Violation(part.name[:60], message, "invalid_type")) from None


def _one(name: str, before: str | None, now: str) -> None:
    """Of two values of one name neither is passed over in silence."""
    if before not in (None, now) and not name.endswith("[]"):
        message = f"'{name[:60]}' was sent twice, and not the same."
        raise InvalidRequest(Violation(name[:60], message, "duplicate_parameter"))


def too_long(size: int, limit: int) -> None:
    """Raises PayloadTooLarge for a body that is longer than its limit."""
    if size > limit:
        raise PayloadTooLarge(f"The body has more than {limit} bytes.")
