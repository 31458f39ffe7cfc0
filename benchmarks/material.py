"""What goes over the wire: pictures of an exact length, the mock's answers, the callers' requests."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KIB, MIB = 2**10, 2**20
KEY = "sk-bench-0001"
BOUNDARY = "----pinhole-bench"
SIZES = {
    "1k": KIB,
    "64k": 64 * KIB,
    "256k": 256 * KIB,
    "1m5": 3 * MIB // 2,
    "2m": 2 * MIB,
    "4m": 4 * MIB,
    "8m": 8 * MIB,
}
COUNTS = (2, 4, 8)
USAGE = {
    "input_tokens": 12,
    "output_tokens": 1056,
    "total_tokens": 1068,
    "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
}


def png(size: int) -> bytes:
    """A valid PNG of exactly `size` bytes: random pixels that deflate cannot shrink, the rest a text chunk."""
    noise = random.Random(size)  # noqa: S311 - the same picture in every run
    side = int((size * 0.995 / 3) ** 0.5) - 1
    while True:
        rows = b"".join(b"\0" + noise.randbytes(side * 3) for _ in range(side))
        head = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        body = b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", zlib.compress(rows, 0))
        room = size - len(body) - 24
        if room > 8:
            break
        side -= 1
    text = b"Comment\0" + bytes(noise.choices(range(97, 123), k=room - 8))
    return body + _chunk(b"tEXt", text) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@dataclass(frozen=True, slots=True)
class Material:
    """A folder with `KEY.http` for the mock, `NAME.b64` and `NAME.png` for the check."""

    folder: Path

    def make(self, origin: str) -> None:
        """Write everything; `origin` is where the mock's links point."""
        for name, size in SIZES.items():
            picture = png(size)
            text = base64.b64encode(picture)
            (self.folder / f"{name}.png").write_bytes(picture)
            (self.folder / f"{name}.b64").write_bytes(text)
            self._answer(f"gen{name}", _openai(text, 1))
            self._answer(f"gem{name}", _gemini(text))
            self._answer(f"img{name}", picture, "image/png")
            self._answer(f"cog{name}", _cogview(f"{origin}/img/img{name}"))
            if size <= 256 * KIB:
                for n in COUNTS:
                    self._answer(f"n{n}x{name}", _openai(text, n))

    def base64(self, name: str) -> Path:
        """The file with an image's base64."""
        return self.folder / f"{name}.b64"

    def request(
        self, name: str, path: str, fields: dict[str, Any], *, image: str | None = None, headers: str = ""
    ) -> Path:
        """A whole request as a file: JSON, or a form when it uploads an image. `headers` are further lines."""
        if image is None:
            kind, body = "application/json", json.dumps(fields).encode()
        else:
            kind, body = f"multipart/form-data; boundary={BOUNDARY}", self._form(fields, image)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nAccept: */*\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        )
        file = self.folder / f"{name}.request"
        file.write_bytes(head.encode() + body)
        return file

    def _form(self, fields: dict[str, Any], image: str) -> bytes:
        parts = [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        head = 'Content-Disposition: form-data; name="image"; filename="in.png"\r\nContent-Type: image/png'
        picture = (self.folder / f"{image}.png").read_bytes()
        return b"".join(
            (*parts, f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode(), picture, f"\r\n--{BOUNDARY}--\r\n".encode())
        )

    def _answer(self, key: str, body: bytes, kind: str = "application/json") -> None:
        fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nx-request-id: req-{key}"
        (self.folder / f"{key}.http").write_bytes(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode() + body)


def _openai(text: bytes, n: int) -> bytes:
    items = b",".join(b'{"b64_json":"' + text + b'"}' for _ in range(n))
    tail = json.dumps({"background": "opaque", "output_format": "png", "size": "1024x1024", "usage": USAGE}).encode()
    return b'{"created":1764000000,"data":[' + items + b"]," + tail[1:]


def _gemini(text: bytes) -> bytes:
    tail = {"usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 1290, "totalTokenCount": 1302}}
    return (
        b'{"candidates":[{"content":{"role":"model","parts":[{"inlineData":{"mimeType":"image/png","data":"'
        + text
        + b'"}}]},"finishReason":"STOP","index":0}],'
        + json.dumps({**tail, "modelVersion": "bench", "responseId": "bench-1"}).encode()[1:]
    )


def _cogview(link: str) -> bytes:
    return json.dumps({"created": 1764000000, "data": [{"url": link}], "id": "bench", "request_id": "bench"}).encode()
