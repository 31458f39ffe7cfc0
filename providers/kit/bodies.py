"""Bodies as sequences of buffers: the small text is built, the image bytes are moved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pybase64

from providers.core.http import JSON, Buffer, Form, Inline, Part
from providers.kit.tokens import token

SEPARATORS: Final = (",", ":")
# A space cannot stand unescaped in base64, and the token never leaves the process: it is found where it was put only.
_PLACE: Final = f"<{token()}>"


def encode(body: JSON | Form, boundary: str = "") -> tuple[str, list[Buffer]]:
    """The content type and the buffers of a body, in order. `boundary` is random unless a test fixes it."""
    if isinstance(body, JSON):
        return "application/json", _json(body.document)
    boundary = boundary or f"pinhole-{token()}"
    return f"multipart/form-data; boundary={boundary}", list(_form(body, boundary))


def _json(document: Mapping[str, Any]) -> list[Buffer]:
    images: list[Inline] = []

    def place(value: object) -> str:
        if not isinstance(value, Inline):
            raise TypeError(f"{type(value).__name__} has no JSON form")
        images.append(value)
        return _PLACE

    text = json.dumps(document, ensure_ascii=False, separators=SEPARATORS, default=place, allow_nan=False)
    whole = text.encode(errors="replace")  # half a surrogate pair is no reason to lose all
    if not images:
        return [whole]
    pieces = whole.split(_PLACE.encode())
    buffers: list[Buffer] = []
    for piece, image in zip(pieces, images, strict=False):
        buffers.append(piece + image.prefix.encode())
        buffers.append(image.base64 if image.base64 is not None else pybase64.b64encode(image.data))
    return [*buffers, pieces[-1]]


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
