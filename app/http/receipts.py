"""Whether callers took their answers: what a connection shows after the last byte.

A write only fills a buffer. The kernel knows more: how much the other side has not acknowledged, and by a reset that
it closed before it read all it had. A caller that asks for the next thing has read the last one.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import struct
import termios
from collections.abc import MutableMapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Final, Protocol

from app.http.ending import WAITING, Ending

EXTENSION: Final = "pinhole.receipt"
IDLE_SECONDS: Final = 1.0
# anyio's sockets (those of the SDKs' async clients) end with a FIN and reset right after it when they left bytes
# unread (4.16, 2026-11-26): an end is believed when nothing follows it for a moment.
END_SECONDS: Final = 0.25
# An async client may have read the last bytes when its timeout ends the request: no reset then. Its SDK's retry says
# so: openai-python 3.54 comes after half a second, and after a second the next time.
RETRY_SECONDS: Final = 3.0
RETRIES: Final = b"x-stainless-retry-count"
STALLED_SECONDS: Final = 30.0
RESET: Final = select.POLLERR | select.POLLHUP
GONE: Final = RESET | getattr(select, "POLLRDHUP", 0)
CLOSED: Final = GONE | select.POLLNVAL


class Recipient(Protocol):
    """Who waits for an answer, as far as it hears what becomes of that."""

    def sent(self) -> None:
        """All of it goes to the kernel now, and the other side is there. Never said where nobody can tell."""

    def leave(self, *, delivered: bool) -> None:
        """Whether the other side took it. What is said first counts."""


class Connection(Protocol):
    """What is asked of a transport."""

    ending: Ending

    def lead(self) -> None:
        """Send all but a small last part, which a kernel with room takes in one piece."""

    def flush(self) -> None:
        """Send what is held back."""

    def get_extra_info(self, name: str) -> Any: ...

    def get_write_buffer_size(self) -> int:
        """What the kernel has not taken yet."""

    def finish(self) -> None:
        """Close it, whoever waits."""


class Peer(Protocol):
    """A caller at the other end: the number of our socket, -1 when it is closed, and what shows that it is gone.

    No events: it may go, for its answer is believed to be taken.
    """

    @property
    def number(self) -> int: ...

    @property
    def events(self) -> int: ...


def peer(scope: MutableMapping[str, Any]) -> Peer | None:
    """The caller of a request; None: nobody can tell whether it is there."""
    receipts: Receipts | None = scope.get("extensions", {}).get(EXTENSION)
    return receipts


def gone(peers: Sequence[Peer]) -> set[Peer]:
    """Which callers are gone already, though nothing may have read that yet: the kernel is asked once for all."""
    watched = {peer.number: peer for peer in peers}
    closed = {peer for peer in peers if peer.number < 0 and peer.events} if watched.pop(-1, None) else set()
    state = select.poll()
    for number in watched:
        state.register(number, GONE)
    return closed | {watched[number] for number, events in state.poll(0) if events & watched[number].events}


def expected(scope: MutableMapping[str, Any], recipient: Recipient) -> bool:
    """Have the recipient told of the answer whose last piece is sent next; False: nobody can tell."""
    receipts: Receipts | None = scope.get("extensions", {}).get(EXTENSION)
    if receipts is None:
        return False
    receipts.expect(recipient, retries=RETRIES in dict(scope["headers"]))
    return True


class Presence(Enum):
    """What its connection shows of a caller.

    ========  ==============================================  =======================================================
    THERE     It may ask for more.                            ENDED: a FIN while an answer is open. LOST.
    ENDED     It sends no more, and may still read.           BELIEVED: nothing follows the FIN, and its retry would
                                                              deny that it took its answers. LOST.
    BELIEVED  It is gone, and its answers count as taken.
    LOST      It is gone, or we broke off.
    ========  ==============================================  =======================================================
    """

    THERE = auto()
    ENDED = auto()
    BELIEVED = auto()
    LOST = auto()


OVER: Final = (Presence.BELIEVED, Presence.LOST)


class Receipts:
    """The answers of one connection that are not known to be taken or lost. All of it in the event loop.

    `expect` makes one open and unsent, and `out` ends its sending. It is sent when the kernel has all of it, and open
    until the connection shows that it was taken or lost.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._presence = Presence.THERE
        self._open: list[Recipient] = []
        self._unsent: list[Recipient] = []
        self._sending = self._retries = False
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        self._stalled = 0.0

    @property
    def number(self) -> int:
        return -1 if self._presence in OVER else int(self._connection.get_extra_info("socket").fileno())

    @property
    def events(self) -> int:
        """Who closes while an answer is out may have read it; a reset, or later a retry, says that it did not."""
        if self._presence is Presence.BELIEVED:
            return 0
        return RESET if self._open else GONE

    def expect(self, recipient: Recipient, *, retries: bool = False) -> None:
        """An answer's last piece is sent next. `retries`: its caller says so when it asks again."""
        if self._presence in OVER:
            recipient.leave(delivered=False)
            return
        self._open.append(recipient)
        self._unsent.append(recipient)
        self._retries = retries
        self._sending = True

    def out(self) -> None:
        """An answer's last bytes go out. It is said before the very last: no kill finds it out and unsaid."""
        if not self._sending:
            self._connection.flush()
            return
        self._sending = False
        self._connection.lead()
        self.drained()
        self._look_in(IDLE_SECONDS)

    def drained(self) -> None:
        """The kernel has taken something: if that is all, what is held back goes now."""
        if self._connection.get_write_buffer_size():
            return
        ready = len(self._unsent) - self._sending
        said = ready <= 0 or self._sent(ready, before=True)
        self._connection.flush()
        if not said and not self._connection.get_write_buffer_size():
            self._sent(ready)

    def asked(self) -> None:
        """The next request begins. One that came before all of an answer was there says nothing of it."""
        if self._open and not self._sending and self._unacknowledged() == 0:
            self._settle(taken=True)

    @property
    def open(self) -> bool:
        """Whether anything is: a close waits for that, and is done then."""
        return bool(self._open)

    def ended(self) -> bool:
        """The caller sends no more: True when the connection has to stay for what is open."""
        if not self._open:
            return False
        self._presence = Presence.ENDED
        if not self._sending:
            self._look_in(END_SECONDS)
        return True

    def lost(self) -> None:
        """The connection is gone before anything else was seen."""
        if self._presence is not Presence.BELIEVED:
            self._presence = Presence.LOST
        if self._open:
            self._settle(taken=False)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        left, before = self._unacknowledged(), self._left
        self._left = left or 0
        self._stalled = self._stalled + IDLE_SECONDS if left and left == before else 0.0
        if left is None or self._stalled >= STALLED_SECONDS:
            self._settle(taken=False)
        elif left or before:
            self._look_in(IDLE_SECONDS)
        elif self._presence is Presence.ENDED and self._retries:
            for recipient in self._open:
                self._loop.call_later(RETRY_SECONDS, partial(recipient.leave, delivered=True))
            self._open, self._presence = [], Presence.BELIEVED
            self._connection.finish()
        else:
            self._settle(taken=True)

    def _settle(self, *, taken: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        settled, self._open, self._unsent, self._sending = self._open, [], [], False
        for recipient in settled:
            recipient.leave(delivered=taken)
        if self._presence is Presence.ENDED or self._connection.ending in WAITING:
            self._connection.finish()

    def _sent(self, count: int, *, before: bool = False) -> bool:
        """Of so many, unless the other side is closed by now; `before` the last of it goes out, where it has room."""
        events = CLOSED if self._presence in OVER else _events(self._connection.get_extra_info("socket").fileno())
        if before and not events & (CLOSED | select.POLLOUT):
            return False
        ready, self._unsent = self._unsent[:count], self._unsent[count:]
        if not events & CLOSED:
            for recipient in ready:
                recipient.sent()
        return True

    def _unacknowledged(self) -> int | None:
        """Bytes on their way; None after a reset."""
        own = self._connection.get_write_buffer_size()
        number = self._connection.get_extra_info("socket").fileno()
        if number < 0:
            return None
        try:
            if _events(number) & select.POLLERR:
                return None
            (theirs,) = struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))
        except OSError:
            return own  # this system does not tell
        return own + int(theirs)


def _events(number: int) -> int:
    state = select.poll()
    state.register(number, GONE | select.POLLOUT)
    return next((event for _, event in state.poll(0)), 0)
