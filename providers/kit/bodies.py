"""Bodies as sequences of buffers: the small text is built, the image bytes are moved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pybase64
from pydantic_core import to_json

from providers.core.http import JSON, Buffer, Form, Inline, Part
from providers.kit.tokens import token

SEPARATORS: Final = (",", ":")
_PLAIN: Final = frozenset({str, int, bool, type(None)})
PLACE: Final = f"<{token()}>"
"""Stands in a document for base64. It never leaves the process: it is found only where it was put."""


def encode(body: JSON | Form, boundary: str = "") -> tuple[str, list[Buffer]]:
    """The content type and the buffers of a body, in order. `boundary` is random unless a test fixes it."""
    if isinstance(body, JSON):
        return "application/json", _json(body.document)
    boundary = boundary or f"pinhole-{token()}"
    return f"multipart/form-data; boundary={boundary}", list(_form(body, boundary))


def _json(document: Mapping[str, Any]) -> list[Buffer]:
    if _PLAIN.issuperset(map(type, document.values())):
        return [plain(document)]
    images: list[Inline] = []

    def place(value: object) -> str:
        if not isinstance(value, Inline):
            raise TypeError(f"{type(value).__name__} has no JSON form")
        images.append(value)
        return value.prefix + PLACE

    encoder = json.JSONEncoder(ensure_ascii=False, separators=SEPARATORS, default=place, allow_nan=False)
    whole = encoder.encode(document).encode(errors="replace")  # half a surrogate pair is no reason to lose all
    found = [pybase64.b64encode(image.data) if image.base64 is None else image.base64 for image in images]
    return filled(whole, found)


def plain(document: Mapping[str, Any]) -> bytes:
    """A document of texts, whole numbers and switches alone, PLACE among them: nothing else is looked for."""
    try:
        return to_json(document)
    except ValueError:  # half a surrogate pair is no reason to lose all
        return json.dumps(document, ensure_ascii=False, separators=SEPARATORS).encode(errors="replace")


def filled(text: bytes, images: Sequence[Buffer]) -> list[Buffer]:
    """A text with base64 at each PLACE, in order."""
    if not images:
        return [text]
    first, *pieces = text.split(PLACE.encode())
    buffers: list[Buffer] = [first]
    for image, piece in zip(images, pieces, strict=True):
        buffers += (image, piece)
    return buffers


def _form(form: Form, boundary: str) -> Iterator[Buffer]:
    for part in form.parts:
        yield _head(part, boundary)
        yield part.value.encode(errors="replace") if isinstance(part.value, str) else part.value
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _head(part: Part, boundary: str) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"'
    if part.format is not None:
        filename = part.filename or f"{part.name.rstrip('[]')}.{part.format.suffix}"
        head += f'; filename="{filename}"\r\nContent-Type: {part.format.media_type}'
    return f"{head}\r\n\r\n".encode()
