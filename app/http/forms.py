"""The parts of a multipart body as they come: each bounded on its own, none passed over in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from blake3 import blake3
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import BadInput, PayloadTooLarge
from app.schemas import ImageFields
from providers.core.errors import InvalidRequest, Violation
from providers.kit.room import Memory, Room

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


def _one(name: str, before: str | None, now: str) -> None:
    """Of two values of one name neither is passed over in silence."""
    if before not in (None, now) and not name.endswith("[]"):
        message = f"'{name[:60]}' was sent twice, and not the same."
        raise InvalidRequest(Violation(name[:60], message, "duplicate_parameter"))


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
        self._strange = False
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
        self._strange = self._file and self._name not in FILE_FIELDS | ImageFields.model_fields.keys()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._strange:
            return
        if len(self._data) + end - start > self._limit:
            raise PayloadTooLarge(f"'{self._name[:60]}' has more than {self._limit} bytes.", param=self._name[:60])
        chunk = memoryview(data)[start:end]
        self._data.write(chunk)
        if self._name in FILE_FIELDS:
            self._digest.update(chunk)

    def _part_end(self) -> None:
        upload, name = self.upload, self._name
        if name in FILE_FIELDS and not self._data and not self._file:
            return  # a form's file field in which nothing was chosen
        if name in IMAGE_FIELDS:
            upload.images.append(File(self._data.whole(), self._digest.hexdigest()))
        elif name == "mask":
            before, upload.mask = upload.mask, File(self._data.whole(), self._digest.hexdigest())
            _one(name, before.digest if before else None, upload.mask.digest)
        else:
            before_text, upload.fields[name] = upload.fields.get(name), self._text()
            _one(name, before_text, upload.fields[name])

    def _text(self) -> str:
        try:
            return "file" if self._strange else str(self._data.whole(), "utf-8")
        except UnicodeDecodeError:
            message = f"'{self._name[:60]}' is not UTF-8 text."
            raise InvalidRequest(Violation(self._name[:60], message, "invalid_type")) from None

    def _end(self) -> None:
        self.ended = True
