"""Where the parts of a multipart body lie (RFC 7578), found while it comes. Heads are copied, data is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

BOUNDARY_BYTES: Final = 256
HEADERS: Final = 8
HEADER_BYTES: Final = 4224
HEAD_END: Final = b"\r\n\r\n"
# Heads come into a copy of their own in steps of so many bytes: that much of the data behind one is copied at most.
STEP: Final = 512
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BLANK: Final = re.compile(rb"[\r\n]*")
_PADDING: Final = b" \t"


class FormError(ValueError):
    """It is no multipart body."""


class Listener(Protocol):
    """Hears of the parts in their order. What it raises ends the reading."""

    def begin(self, headers: Mapping[str, str], start: int) -> None:
        """A part whose data begins at this byte of the body; header names in lower case."""

    def data(self, piece: memoryview) -> None:
        """More of its data; the memory is let go of afterwards."""

    def end(self, stop: int) -> None:
        """Its data ends before this byte of the body."""


class Splitter:
    """Is fed a body in pieces, wherever they lie. `ended`: the last boundary was seen, what follows is ignored."""

    def __init__(self, boundary: bytes, listener: Listener) -> None:
        """Raises FormError for a boundary that is none."""
        if not 0 < len(boundary) <= BOUNDARY_BYTES or b"\r" in boundary:
            raise FormError(f"a boundary has 1 to {BOUNDARY_BYTES} bytes")
        self._line = b"\r\n--" + boundary
        self._listener = listener
        self._step: Callable[[bytearray, int, int], int] = self._blank
        self._at = 0
        self._held = b""
        self._open = False
        self.ended = False

    def feed(self, buffer: bytearray, start: int, stop: int) -> None:
        """What lies between the two places comes next. Raises FormError."""
        while start < stop and not self.ended:
            read = self._step(buffer, start, stop)
            self._at += read - start
            start = read

    def _blank(self, buffer: bytearray, start: int, stop: int) -> int:
        """Empty lines before the first boundary, which needs no line's end before it."""
        blank = _BLANK.match(buffer, start, stop)
        start = blank.end() if blank else start
        if start < stop:
            self._held, self._step = self._line[:2], self._held_back
        return start

    def _data(self, buffer: bytearray, start: int, stop: int) -> int:
        """Up to a boundary, or to what may be the beginning of one."""
        line = self._line
        found = buffer.find(line, start, stop)
        read = found + len(line)
        if found < 0:
            # A boundary holds one CR, its first byte: the last CR is the only place where one can begin.
            found, read = buffer.rfind(b"\r", max(start, stop - len(line) + 1), stop), stop
            if found < 0 or not line.startswith(buffer[found:stop]):
                found = stop
        if found > start:
            with memoryview(buffer) as whole, whole[start:found] as piece:
                self._listener.data(piece)
        if found < read:
            self._held, self._step = bytes(buffer[found:read]), self._held_back
        return read

    def _held_back(self, buffer: bytearray, start: int, stop: int) -> int:
        """Whether what was held back, with what follows it, is a boundary: two bytes behind it tell."""
        line, held = self._line, self._held
        wanted = len(line) + 2
        text = held + buffer[start : min(stop, start + wanted - len(held))]
        after = text[len(line) :]
        if not text.startswith(line[: len(text)]) or not _follows(after):
            if not self._open:
                raise FormError("it does not begin with its boundary")
            self._step = self._data
            with memoryview(held) as piece:
                self._listener.data(piece)
            return start
        if len(text) < wanted:
            self._held = text
            return stop
        if self._open:
            self._listener.end(self._at - len(held))
        self._open, self.ended = False, after == b"--"
        self._held, self._step = after, self._head
        return start + wanted - len(held)

    def _head(self, buffer: bytearray, start: int, stop: int) -> int:
        held = self._held
        text = held + buffer[start : min(stop, start + STEP)]
        end = text.find(HEAD_END, max(0, len(held) - len(HEAD_END)))
        if end < 0:
            if len(text) > HEADERS * HEADER_BYTES:
                raise FormError("a part has a head without an end")
            self._held = text
            return start + len(text) - len(held)
        read = start + end + len(HEAD_END) - len(held)
        self._open, self._step = True, self._data
        self._listener.begin(_headers(text[:end]), self._at + read - start)
        return read


def _follows(after: bytes) -> bool:
    """Whether this may stand behind a boundary: the end of its line, padded or not, or two dashes."""
    return after[:1] in _PADDING or after in {b"\r", b"\r\n", b"-", b"--"}


def _headers(text: bytes) -> dict[str, str]:
    """The lines of a head. The first of them is what follows the boundary."""
    padding, *lines = text.split(b"\r\n")
    if padding.strip(_PADDING):
        raise FormError("something follows a boundary on its line")
    if len(lines) > HEADERS:
        raise FormError(f"a part has more than {HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if len(line) > HEADER_BYTES or not colon or not _NAME.fullmatch(name) or b"\r" in value:
            raise FormError("a part has a header that is none")
        headers[name.decode("latin-1").lower()] = value.lstrip(b" ").decode("latin-1")
    return headers
