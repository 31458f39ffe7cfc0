"""Requests byte by byte, where an SDK would not let a test say what it means."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.gateway import Gateway

GENERATE = "/v1/images/generations"
EDIT = "/v1/images/edits"
BOUNDARY = "a-line-of-the-test"
ENVELOPE = {"message", "type", "param", "code"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as a document."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, after checking that it stands in OpenAI's envelope and nowhere else."""
        document = self.json()
        assert "detail" not in document, document
        assert set(document) == {"error"}, document
        found = document["error"]
        assert isinstance(found, dict)
        assert set(found) >= ENVELOPE
        assert isinstance(found["message"], str)
        assert isinstance(found["type"], str)
        assert self.headers["content-type"] == "application/json"
        return found


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a form as it is put on the wire; `head` are further header lines."""

    name: str
    data: bytes | str
    filename: str | None = None
    head: tuple[str, ...] = ()

    def encoded(self) -> bytes:
        """With its boundary before it."""
        disposition = f'Content-Disposition: form-data; name="{self.name}"'
        if self.filename is not None:
            disposition += f'; filename="{self.filename}"'
        lines = "\r\n".join([f"--{BOUNDARY}", disposition, *self.head])
        data = self.data.encode() if isinstance(self.data, str) else self.data
        return f"{lines}\r\n\r\n".encode("latin-1") + data + b"\r\n"


def host(gateway: Gateway) -> tuple[str, int]:
    """Where it listens."""
    name, _, port = gateway.url.removeprefix("http://").partition(":")
    return name, int(port)


def ask(
    gateway: Gateway,
    method: str,
    path: str,
    body: bytes | str | Iterable[bytes] | None = None,
    **headers: str,
) -> Reply:
    """One request; an iterable body goes out chunked. Header names are written with underscores."""
    connection = http.client.HTTPConnection(*host(gateway), timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = not isinstance(body, bytes | str) and body is not None
        connection.request(method, path, body, named, encode_chunked=chunked)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, answer.read())
    finally:
        connection.close()


def post(gateway: Gateway, document: Any, path: str = f"{GENERATE}/explain", **headers: str) -> Reply:
    """A JSON body: a document, or text that may be no JSON."""
    body = document if isinstance(document, bytes | str) else json.dumps(document)
    return ask(gateway, "POST", path, body, **{"content_type": "application/json", **headers})


def form(
    gateway: Gateway, *pieces: Piece, path: str = f"{EDIT}/explain", end: str = "--\r\n", **headers: str
) -> Reply:
    """A multipart body; `end` is what stands after the last boundary."""
    body = b"".join(piece.encoded() for piece in pieces) + f"--{BOUNDARY}{end}".encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return ask(gateway, "POST", path, body, **{"content_type": kind, **headers})


def edit(gateway: Gateway, image: bytes, *more: Piece, model: str = "gpt-image-2", **headers: str) -> Reply:
    """The dry run of an edit of one image."""
    pieces = (Piece("model", model), Piece("prompt", "a red hat"), Piece("image", image, "image.png"))
    return form(gateway, *pieces, *more, **headers)


def raw(gateway: Gateway, data: bytes, seconds: float = 10.0) -> bytes:
    """Send these bytes, say that nothing follows, and read what comes until the end."""
    with socket.create_connection(host(gateway), timeout=seconds) as connection:
        connection.sendall(data)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
            if b"\r\n\r\n" in found and b'"error"' in found:
                break
        return found


def data_url(data: bytes, kind: str = "image/png") -> str:
    """An image inside a JSON body."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
