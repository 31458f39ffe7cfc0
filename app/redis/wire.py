"""One connection to Redis: questions go out in order, and replies come in the same order (RESP2)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

END: Final = b"\r\n"
STATUS, ERROR, NUMBER, TEXT, LIST = b"+-:$*"


class Lost(Exception):
    """Redis did not answer, or not as it must; nothing is known of what it did."""


class Refused(Lost):
    """Redis answered with an error; `code` is its first word."""

    def __init__(self, text: str) -> None:
        self.code = text.partition(" ")[0]
        self.text = text
        super().__init__(self.code if self.code.isalpha() and self.code.isupper() else "error")


def bulk(word: object) -> bytes:
    """One word of a question."""
    data = str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def question(words: Sequence[bytes]) -> bytes:
    """A question of words that `bulk` made."""
    return b"*%d\r\n%b" % (len(words), b"".join(words))


@dataclass(slots=True, eq=False)
class Asked:
    """A question on its way. `tries`: how often it was sent."""

    packed: bytes
    reply: asyncio.Future[Any]
    since: float
    tries: int = 0

    def fail(self, error: Lost) -> None:
        """Give whoever still waits an error."""
        if not self.reply.done():
            self.reply.set_exception(error)


class Watch(Protocol):
    """Who has a wire, and hears what is no ordinary reply."""

    def refused(self, wire: Wire, asked: Asked, error: Refused) -> None:
        """An error came as the reply."""

    def over(self, wire: Wire) -> None:
        """The connection ended; `waiting` are left without a reply."""


class Wire(asyncio.Protocol):
    """`heard` is the loop's time when a reply came last, or when the first of those that wait was sent."""

    def __init__(self, watch: Watch) -> None:
        self.waiting: deque[Asked] = deque()
        self.heard = 0.0
        self._watch = watch
        self._dropped = False
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def send(self, questions: Sequence[Asked], now: float) -> None:
        """All at once."""
        if not self.waiting:
            self.heard = now
        self.waiting.extend(questions)
        for asked in questions:
            asked.tries += 1
        if self._transport:
            self._transport.write(b"".join([asked.packed for asked in questions]))

    def drop(self) -> None:
        """Close it at once; replies that still come are nobody's."""
        self._dropped = True
        if self._transport:
            self._transport.abort()

    def take(self) -> list[Asked]:
        """The questions that wait for a reply, which they will not get here any more."""
        left, self.waiting = list(self.waiting), deque()
        return left

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's is one
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        try:
            for reply in self._replies(data):
                asked = self.waiting.popleft()
                if isinstance(reply, Refused):
                    self._watch.refused(self, asked, reply)
                    if self._dropped:
                        break
                elif not asked.reply.done():
                    asked.reply.set_result(reply)
        except (ValueError, IndexError):  # not a Redis, or not one that answers what it was asked
            self.drop()

    def connection_lost(self, _: Exception | None) -> None:
        self._watch.over(self)

    def _replies(self, data: bytes) -> Iterator[Any]:
        """Every whole reply; what is cut off waits for its rest."""
        data, at = self._rest + data if self._rest else data, 0
        while at < len(data):
            try:
                reply, after = _read(data, at)
            except EOFError:
                break
            at = after
            yield reply
        self._rest = data[at:]


def _read(data: bytes, at: int) -> tuple[Any, int]:
    """The reply that begins there, and where the next one does. Raises EOFError when its end is missing."""
    end = data.find(END, at)
    if end < 0:
        raise EOFError
    kind, line, after = data[at], data[at + 1 : end], end + 2
    if kind == TEXT:
        stop = after + int(line)
        if stop < after:
            return None, after
        if stop + 2 > len(data):
            raise EOFError
        return data[after:stop].decode(errors="replace"), stop + 2
    if kind == NUMBER:
        return int(line), after
    if kind == LIST:
        found = []
        for _ in range(int(line)):
            item, after = _read(data, after)
            found.append(item)
        return found, after
    if kind in (STATUS, ERROR):
        text = line.decode(errors="replace")
        return (text if kind == STATUS else Refused(text)), after
    raise ValueError("this is not Redis")
