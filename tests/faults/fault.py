"""What may become of one exchange between the gateway and an upstream, as values."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache


class Stage(StrEnum):
    """Which part of a call an exchange is. Only a submit can cost money."""

    SUBMIT = "submit"
    LOOK = "look"
    FETCH = "fetch"
    CANCEL = "cancel"


class End(StrEnum):
    """How the connection goes on after the bytes that were let through."""

    WHOLE = "whole"  # kept alive, as the upstream meant it
    FIN = "fin"  # closed in good manners, however much was promised
    RST = "rst"  # reset
    HALF = "half"  # our side is shut, the other may still send
    HOLD = "hold"  # nothing more until `release`, then the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One exchange's fate. The plain one lets everything through.

    `reaches`: the upstream gets the request. `answer`: these bytes instead of its answer. `altered`: its answer,
    changed. `delay_s`: before the first byte. `cut`: bytes (int) or share (float) of the answer let through before
    `end`. `piece` and `pause_s`: that many bytes at a time, with a pause after each. `endless`: sent again and again
    after the answer's head, until `release` or the peer leaves.
    """

    reaches: bool = True
    answer: bytes | None = None
    altered: Callable[[bytes], bytes] | None = None
    delay_s: float = 0.0
    cut: int | float | None = None
    end: End = End.WHOLE
    piece: int = 1 << 20
    pause_s: float = 0.0
    endless: bytes = b""

    @property
    def harmless(self) -> bool:
        """Whether the upstream's own answer gets through whole."""
        intact = self.answer is None and self.altered is None and self.cut is None and not self.endless
        return self.reaches and intact and self.end is End.WHOLE

    @property
    def short(self) -> str:
        """What differs from the plain one, in a few words."""
        told = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {item.name: item.default for item in fields(self)}
        return " ".join(f"{name}={str(value)[:12]}" for name, value in told.items() if value != plain[name])

    def length(self, answer: bytes) -> int:
        """How many bytes of the answer are let through before the end."""
        if isinstance(self.cut, float):
            return int(len(answer) * self.cut)
        return len(answer) if self.cut is None else min(self.cut, len(answer))


CLEAN = Fault()


def http(status: int, body: bytes, content_type: str = "text/html", **headers: str) -> bytes:
    """A whole answer as bytes."""
    named = {"content-type": content_type, "content-length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body


def said(status: int, **headers: str) -> Fault:
    """A proxy before the upstream answers in its place; the request goes no further."""
    page = f"<html><body><h1>{status}</h1>the edge of the cloud</body></html>".encode()
    return Fault(reaches=False, answer=http(status, page, **headers))


def with_length(change: int) -> Callable[[bytes], bytes]:
    """The same answer with a Content-Length that is wrong by so many bytes."""

    def altered(answer: bytes) -> bytes:
        head, blank, body = answer.partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        return b"\r\n".join([*kept, f"content-length: {len(body) + change}".encode()]) + blank + body

    return altered


@lru_cache(maxsize=1)
def bomb(mebibytes: int = 1024) -> bytes:
    """A gzip stream of a JSON head and so many MiB of spaces: one packed MiB, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b'{"created": 1, "data": ') + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes + packer.flush()


def bombed(answer: bytes) -> bytes:
    """A success whose body is a gzip bomb, though identity was asked for."""
    del answer
    return http(200, bomb(), "application/json", content_encoding="gzip")


def garbled(answer: bytes) -> bytes:
    """The same head, and a body of the right length that means nothing."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    noise = bytes(0x80 | (i * 37 & 0x7F) for i in range(256)) * (len(body) // 256 + 1)
    return head + blank + noise[: len(body)]
