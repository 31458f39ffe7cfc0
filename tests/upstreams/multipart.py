"""A multipart/form-data reader that forgives nothing, for asserting what was sent (RFC 7578, RFC 2046)."""

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(r'^multipart/form-data;\s*boundary=(?:"([^"]+)"|([^\s;"]+))$', re.IGNORECASE)
_BOUNDARY_TEXT = re.compile(r"^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$")
_PARAMETER = re.compile(r';\s*(name|filename)="([^"\r\n]*)"')
_DISPOSITION = re.compile(rf"form-data(?:{_PARAMETER.pattern})+")
_HEADER_NAMES = {"content-disposition", "content-type", "content-transfer-encoding"}


class MultipartError(ValueError):
    """The body is not well-formed multipart/form-data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part; `headers` have lower-case names; `filename` and `content_type` are None when not sent."""

    name: str
    filename: str | None
    content_type: str | None
    headers: dict[str, str]
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode()


def parse(content_type: str | None, body: bytes) -> list[Part]:
    """The parts in order. Raises `MultipartError` at the first thing that is not as it should be."""
    delimiter = b"--" + _boundary(content_type)
    if not body.startswith(delimiter + b"\r\n"):
        raise MultipartError("the body does not begin with its boundary")
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if pieces[0] != b"":
        raise MultipartError("there is a preamble")
    if pieces[-1] not in {b"--", b"--\r\n"}:
        raise MultipartError("the closing boundary is missing or followed by something")
    return [_part(piece) for piece in pieces[1:-1]]


def _boundary(content_type: str | None) -> bytes:
    match = _BOUNDARY.match(content_type or "")
    if match is None:
        raise MultipartError(f"not a multipart/form-data content type with a boundary: {content_type!r}")
    boundary = match[1] or match[2]
    if not _BOUNDARY_TEXT.match(boundary):
        raise MultipartError(f"not a boundary: {boundary!r}")
    return boundary.encode()


def _part(piece: bytes) -> Part:
    if not piece.startswith(b"\r\n"):
        raise MultipartError("a boundary line does not end in CRLF")
    head, gap, data = piece[2:].partition(b"\r\n\r\n")
    if not gap:
        raise MultipartError("a part has no blank line after its headers")
    headers = _headers(head)
    names = _disposition(headers.get("content-disposition", ""))
    return Part(
        name=names["name"],
        filename=names.get("filename"),
        content_type=headers.get("content-type"),
        headers=headers,
        data=data,
    )


def _headers(head: bytes) -> dict[str, str]:
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise MultipartError("a part's headers are not UTF-8") from error
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.lower()
        if not colon or key not in _HEADER_NAMES or key in headers:
            raise MultipartError(f"a part's header is malformed, unexpected or repeated: {line!r}")
        headers[key] = value.strip()
    return headers


def _disposition(value: str) -> dict[str, str]:
    found = _PARAMETER.findall(value)
    if not _DISPOSITION.fullmatch(value) or len(dict(found)) != len(found):
        raise MultipartError(f"not a form-data disposition: {value!r}")
    if not dict(found).get("name"):
        raise MultipartError(f"a part has no name: {value!r}")
    return dict(found)
