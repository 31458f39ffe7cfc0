"""HTTP as values: what an adapter asks for and what came back. Nothing here moves a byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from providers.core.types import ImageFormat, nothing
from providers.core.valueclass import valueclass

Buffer = bytes | memoryview


@valueclass(frozen=True, slots=True)
class Inline:
    """An image inside a JSON document: base64 of `data` when sent, `prefix` before it (a data URL's head).

    `base64` is an encoding that already exists (an image received as base64), moved as it is.
    """

    data: Buffer = field(repr=False)
    prefix: str = ""
    base64: Buffer | None = field(default=None, repr=False)


@valueclass(frozen=True, slots=True)
class JSON:
    """A JSON body; values may be `Inline` images anywhere."""

    document: Mapping[str, Any]


@valueclass(frozen=True, slots=True)
class Part:
    """One part of a form: text, or a file when `format` is given."""

    name: str
    value: str | Buffer = field(repr=False)
    format: ImageFormat | None = None
    filename: str = ""


@valueclass(frozen=True, slots=True)
class Form:
    """A multipart/form-data body, parts in order."""

    parts: Sequence[Part]


@valueclass(frozen=True, slots=True, kw_only=True)
class HTTPRequest:
    """One upstream request. `url` is a path below the provider's base URL, or an absolute URL that it gave us.

    Credentials are not part of it: the client adds them, and only for the provider's own origin.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=nothing)
    body: JSON | Form | None = None


@valueclass(frozen=True, slots=True, kw_only=True)
class HTTPResponse:
    """A complete upstream answer: header names in lower case, the body whole."""

    status: int
    headers: Mapping[str, str] = field(default_factory=nothing)
    body: Buffer = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event of an upstream: its `event:` name ('' when absent) and its `data:`."""

    name: str
    data: Buffer = field(repr=False)
