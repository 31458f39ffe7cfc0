"""Images leave a JSON document as slices of the received buffer; only the small rest is parsed.

A base64 string holds no quote, so it lies between two neighbouring quotes of the body. Such stretches are found by
stepping over the body a threshold at a time, and each is replaced by a short token before the rest is parsed. The
token, like every base64 digit, may not follow a closing quote, so the rest is valid JSON exactly when the body is.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Final

from pybase64 import b64decode

from providers.core.valueclass import valueclass
from providers.kit.strict import MalformedJSON, parsed
from providers.kit.tokens import token

THRESHOLD: Final = 1024
TEXT_LIMIT: Final = 8 << 20

_NAME: Final = f"lifted-{token()}-"  # it never leaves the process: no sender can know it
_BLOCK: Final = 128 << 10  # digits decoded at once in a check: 96 KiB of output stay in the cache
_WINDOW: Final = 64 << 10
_QUOTE: Final = b'"'
_DATA_URL: Final = re.compile(rb"data:([\w.+*/-]*)(?:;[\w.+-]+=[\w.+-]*)*;base64,", re.IGNORECASE)
_DATA_URL_MAX: Final = 256
_COLON: Final = re.compile(rb"[ \t\r\n]*:")
_ESCAPE: Final = re.compile(rb"\\(?:/|u00(?:2[bBfF]|3[dD]))")


class LiftError(ValueError):
    """A document is no valid JSON, or a string is no valid base64; the message never quotes either."""


@valueclass(frozen=True, slots=True, eq=False)
class Lifted:
    """A base64 string of a document: a read-only slice of the received buffer, which it keeps alive.

    `lift` makes only handles that pass `check`. A received bytearray cannot be resized while a handle lives.
    """

    base64: memoryview = field(repr=False)
    media_type: str | None = None  # as declared by a data URL; what it is, its bytes tell
    prefix: str = ""

    @classmethod
    def of(cls, value: object) -> Lifted:
        """The handle of a JSON value: itself, or a short base64 string or data URL. Raises LiftError."""
        if isinstance(value, Lifted):
            return value
        if not isinstance(value, str):
            raise LiftError("not a base64 string")
        try:
            handle = _split(memoryview(value.encode("ascii")))
        except UnicodeEncodeError:
            raise LiftError("not valid base64") from None
        if not handle.base64:
            raise LiftError("an empty base64 string")
        handle.check()
        return handle

    @property
    def size(self) -> int:
        """Length in bytes of what `decode` returns."""
        digits = len(self.base64) - bytes(self.base64[-2:]).count(b"=")
        return digits * 3 // 4

    @property
    def text(self) -> str:
        """The whole string, data URL prefix included, for a field that wanted text."""
        return self.prefix + str(self.base64, "ascii")

    def head(self, n: int = 64) -> bytes:
        """The first n decoded bytes, fewer when there are fewer. Raises LiftError."""
        return _decode(self.base64[: (n + 2) // 3 * 4])[:n]

    def decode(self) -> bytes:
        """All decoded bytes: standard alphabet, padding optional, no white space. Raises LiftError."""
        return _decode(self.base64)

    def check(self) -> None:
        """Raise LiftError unless `decode` would succeed, without keeping the decoded bytes."""
        length = len(self.base64)
        blocks = range(0, length, _BLOCK)
        if not all(_is_sound(self.base64[at : at + _BLOCK], is_last=at + _BLOCK >= length) for at in blocks):
            raise LiftError("not valid base64")


def lift(body: bytes | bytearray | memoryview, *, threshold: int = THRESHOLD, text_limit: int = TEXT_LIMIT) -> Any:
    """Parse a JSON document; each base64 string or data URL of `threshold` bytes or more becomes a `Lifted`.

    Keys and other long strings stay `str`. Strict: UTF-8, finite numbers, no duplicate keys, at most 64 levels, at
    most `text_limit` bytes besides the lifted strings. Raises LiftError.
    """
    if threshold < 1:
        raise ValueError("threshold must be positive")
    view = memoryview(body).toreadonly().cast("B")
    handles: dict[str, Lifted] = {}
    pieces: list[memoryview | bytes] = []
    end = 0
    for start, stop, digits in _spans(view, threshold):
        handle = _read(view, start, stop, digits)
        if handle is not None:
            name = f"{_NAME}{len(handles)}"
            handles[name] = handle
            pieces += (view[end:start], name.encode())
            end = stop
    pieces.append(view[end:])
    if sum(map(len, pieces)) > text_limit:
        raise LiftError(f"more than {text_limit} bytes of JSON besides valid base64 strings")
    try:
        document = parsed(b"".join(pieces))
    except MalformedJSON as error:
        raise LiftError(f"malformed JSON: {error}") from None
    return _place(document, handles) if handles else document


class _Window:
    """The two searches of bytes for any other buffer, by copies that stay in the cache."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def find(self, needle: bytes, start: int, stop: int) -> int:
        for base in range(start, min(stop, len(self._view)), _WINDOW):
            found = bytes(self._view[base : min(stop, base + _WINDOW)]).find(needle)
            if found >= 0:
                return base + found
        return -1

    def rfind(self, needle: bytes, start: int, stop: int) -> int:
        found = bytes(self._view[start:stop]).rfind(needle)
        return start + found if found >= 0 else -1


def _searchable(view: memoryview) -> bytes | bytearray | _Window:
    whole = view.obj
    if isinstance(whole, bytes | bytearray) and len(whole) == len(view):
        return whole
    return _Window(view)


def _spans(view: memoryview, threshold: int) -> Iterator[tuple[int, int, Lifted | None]]:
    """Every stretch of at least `threshold` bytes between two neighbouring quotes, escaped ones included.

    With its handle when it is base64.
    """
    length = len(view)
    if length <= threshold:
        return
    body = _searchable(view)
    start = body.find(_QUOTE, 0, length) + 1
    while start and start + threshold < length:
        inside = body.rfind(_QUOTE, start, start + threshold)
        if inside < 0:
            stop, digits = _stretch(body, view, start)
            if stop >= 0:
                yield start, stop, digits
            start = stop + 1
        else:
            start = inside + 1


def _stretch(body: bytes | bytearray | _Window, view: memoryview, start: int) -> tuple[int, Lifted | None]:
    """Where the next quote is, -1 for nowhere; with the handle of what lies before it when that is base64.

    Block by block, so that each is looked at while it is in the cache. Only one that is no base64 can hold the quote.
    """
    media_type, prefix = _declared(view[start:])
    first = at = start + len(prefix)
    while at + _BLOCK <= len(view) and _is_sound(view[at : at + _BLOCK], is_last=False):
        at += _BLOCK
    stop = body.find(_QUOTE, at, at + _BLOCK + 1)
    if stop < 0:
        return body.find(_QUOTE, at, len(view)), None
    if not _is_sound(view[at:stop], is_last=True):
        return stop, None
    return stop, Lifted(view[first:stop], media_type, prefix)


def _is_sound(block: memoryview, *, is_last: bool) -> bool:
    """Whether it is base64, padded at the end of the last block only."""
    try:
        return len(_decode(block)) == len(block) // 4 * 3 or is_last
    except LiftError:
        return False


def _read(view: memoryview, start: int, stop: int, digits: Lifted | None) -> Lifted | None:
    """The handle of a stretch, or None when it is no base64, not a whole string, or a key."""
    if digits is None:
        plain = _unescape(view[start:stop])
        digits = _sound(memoryview(plain)) if plain else None
    if digits is None or _is_escaped(view, start - 1) or _COLON.match(view, stop + 1):
        return None
    return digits


def _sound(content: memoryview) -> Lifted | None:
    handle = _split(content)
    try:
        handle.check()
    except LiftError:
        return None
    return handle


def _split(content: memoryview) -> Lifted:
    media_type, prefix = _declared(content)
    return Lifted(content[len(prefix) :], media_type, prefix)


def _declared(content: memoryview) -> tuple[str | None, str]:
    """The media type and the head of a data URL, where it is one."""
    found = _DATA_URL.match(content[:_DATA_URL_MAX])
    return (found[1].decode().lower() or None, found[0].decode()) if found else (None, "")


def _unescape(content: memoryview) -> bytes:
    r"""A copy without `\/`, `\u002b`, `\u002f`, `\u003d`; empty when there is no escape or another one."""
    plain = bytes(content)
    at = plain.find(b"\\")
    if at < 0 or b"\\\\" in plain:
        return b""
    while at >= 0:
        found = _ESCAPE.match(plain, at)
        if found is None:
            return b""
        letter = json.loads(b'"' + found[0] + b'"').encode()
        plain = plain.replace(found[0], letter)
        at = plain.find(b"\\", at)
    return plain


def _is_escaped(view: memoryview, at: int) -> bool:
    """Whether an odd run of backslashes stands before a position."""
    width = 64
    while True:
        before = bytes(view[max(0, at - width) : at])
        run = len(before) - len(before.rstrip(b"\\"))
        if run < width:
            return run % 2 == 1
        width *= 8


def _decode(digits: memoryview) -> bytes:
    missing = -len(digits) % 4
    if missing and digits[-1] == ord("="):
        raise LiftError("not valid base64")
    try:
        return b64decode(bytes(digits) + b"=" * missing if missing else digits, validate=True)
    except binascii.Error:
        raise LiftError("not valid base64") from None


def _place(node: Any, handles: dict[str, Lifted]) -> Any:
    """The parsed rest with each token changed for its handle, in place; ends when there are no more."""
    kind = type(node)
    if kind is str:
        return handles.pop(node, node)
    if kind is dict or kind is list:
        for key, value in node.items() if kind is dict else enumerate(node):
            placed = _place(value, handles)
            if placed is not value:
                node[key] = placed
            if not handles:
                break
    return node
