"""Room for bodies: each grows in memory while the budget lasts, else in an unlinked file that is mapped at its end.

Both are read through the same memoryview. A body gives its room back when its last slice is let go, so what the
budget counts is what the memory holds; one that never became whole gives it back when its `with` is left.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from providers.core.http import Buffer

# Error envelopes and looks at a task: a file for each would cost more than it saves.
SMALL: Final = 16 << 10
STEP: Final = 64 << 10


class Budget(Protocol):
    """Bytes that bodies may hold in memory together."""

    def take(self, amount: int) -> bool:
        """Take it, if there is so much."""

    def force(self, amount: int) -> None:
        """Take it although there is not so much: the disk is full, and what was paid for is kept."""

    def give(self, amount: int) -> None:
        """Give it back; called from any thread."""

    def spooled(self, change: int) -> None:
        """Bodies in files became more or fewer; called from any thread."""


class Sink(Protocol):
    """Where a body goes."""

    def room(self) -> memoryview:
        """A place for the next bytes; never empty."""

    def wrote(self, count: int) -> None:
        """So many bytes came into the room that was given last. Raises when they are too many."""


def copy_into(sink: Sink, data: Buffer) -> None:
    """Bytes that were received elsewhere."""
    left = memoryview(data)
    while left:
        with sink.room() as room:  # let go of at once: a buffer that is held cannot grow
            count = min(len(room), len(left))
            room[:count] = left[:count]
        sink.wrote(count)
        left = left[count:]


class Room(Protocol):
    """Hands out bodies."""

    def body(self, expected: int = 0) -> Body:
        """An empty body, to be filled inside of a `with`; `expected` is its length as declared, 0 when unknown."""


class Memory:
    """Room without a bound, for tests and the command line."""

    def body(self, expected: int = 0) -> Body:
        """A body in memory."""
        return Body(_Unbounded(), None, expected=expected)


class Spool:
    """Room in memory up to a budget, and in a folder beyond it."""

    def __init__(self, budget: Budget, folder: Path, trouble: Callable[[OSError], None]) -> None:
        """`trouble` hears of a folder that takes nothing; bodies then stay in memory, over the budget."""
        self._budget = budget
        self._folder = folder
        self._trouble = trouble

    def body(self, expected: int = 0) -> Body:
        """A body whose declared length is taken at once; what cannot be had at once goes to a file from the start."""
        return Body(self._budget, self._folder, expected=expected, trouble=self._trouble)


class _Unbounded:
    """A budget for whoever has none."""

    def take(self, amount: int) -> bool:  # noqa: ARG002 - the protocol's
        return True

    def force(self, amount: int) -> None: ...

    def give(self, amount: int) -> None: ...

    def spooled(self, change: int) -> None: ...


class _Held(bytearray):
    """A bytearray that can be watched."""


# Python's own ways of making a bytearray larger write zeros into it: as much work as receiving it once more.
_resize: Final = ctypes.pythonapi.PyByteArray_Resize
_resize.argtypes = (ctypes.py_object, ctypes.c_ssize_t)


class _Mapped(mmap.mmap):
    """A mapped file that can be watched."""


class Body:
    """Bytes that arrive. Inside of its `with` it grows; `whole` ends that and gives them away."""

    def __init__(
        self,
        budget: Budget,
        folder: Path | None,
        *,
        expected: int = 0,
        trouble: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        self._budget = budget
        self._folder = folder
        self._trouble = trouble
        self._expected = expected
        self._taken = 0
        self._size = 0
        self._memory = _Held()
        self._passage = bytearray()
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    def __len__(self) -> int:
        return self._size

    def write(self, chunk: Buffer) -> None:
        """Append. What was received is never refused: it goes where there is room."""
        copy_into(self, chunk)

    def room(self) -> memoryview:
        """A place for the next bytes, never empty; `wrote` tells how many came into it."""
        while self._file is None and self._size == len(self._memory) and not self._grow():
            self._spill()
        if self._file is None:
            return memoryview(self._memory)[self._size :]
        self._passage = self._passage or bytearray(STEP)
        return memoryview(self._passage)

    def place(self) -> tuple[bytearray, int]:
        """Where the room that was given last begins: for who looks at bytes before they are counted as written."""
        return (self._memory, self._size) if self._file is None else (self._passage, 0)

    def wrote(self, count: int) -> None:
        """So many bytes came into the room that was given last."""
        if self._file is not None:
            self._append(memoryview(self._passage)[:count])
        self._size += count

    def _grow(self) -> bool:
        """More memory, if the budget allows it."""
        if not self._fits(max(self._size + 1, self._expected)):
            return False
        _resize(self._memory, max(self._taken, SMALL))
        return True

    def _spill(self) -> None:
        """Move what is there to a file and give the budget back; with a disk that takes nothing it stays."""
        if self._folder is None:
            self._force()
            return
        try:
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                self._file = os.dup(file.fileno())
        except OSError as error:
            self._trouble(error)
            self._force()
            return
        self._budget.spooled(1)
        kept, self._memory = self._memory, _Held()
        self._return()
        self._append(memoryview(kept)[: self._size])

    def whole(self) -> memoryview:
        """All bytes, read-only. Their room is given back with the last slice of them."""
        if self._file is None:
            memory, self._memory, taken = self._memory, _Held(), min(self._taken, self._size)
            if len(memory) > self._size:
                del memory[self._size :]
            self._taken -= taken
            self._return()
            if taken:
                weakref.finalize(memory, self._budget.give, taken).atexit = False
            return memoryview(memory).toreadonly()
        mapped = _Mapped(self._file, self._size, access=mmap.ACCESS_READ)
        os.close(self._file)
        self._file = None
        weakref.finalize(mapped, self._budget.spooled, -1).atexit = False
        return memoryview(mapped)

    def _fits(self, size: int) -> bool:
        """Whether so many bytes may be in memory; takes ahead, so that not every chunk asks."""
        if size <= max(self._taken, SMALL):
            return True
        ahead = max(size, self._expected, 2 * self._taken, STEP)
        for amount in (ahead,) if self._expected else (ahead, size):
            if self._budget.take(amount - self._taken):
                self._taken = amount
                return True
        return False

    def _append(self, chunk: Buffer) -> None:
        assert self._file is not None  # noqa: S101 - only spilled bodies come here
        left = memoryview(chunk)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self._trouble(error)
            self._recall(left)

    def _recall(self, left: memoryview) -> None:
        """The disk is full in the middle of a body: what it took comes back to memory, with what it did not."""
        assert self._file is not None  # noqa: S101 - only spilled bodies come here
        length = os.lseek(self._file, 0, os.SEEK_CUR)
        self._memory = _Held(os.pread(self._file, length, 0))
        self._memory += left
        self._folder = None
        self._close()
        self._taken = len(self._memory)
        self._budget.force(self._taken)

    def _force(self) -> None:
        """Go on in memory, over the budget."""
        self._folder = None
        ahead = max(2 * self._size, self._expected, STEP)
        self._budget.force(ahead)
        self._taken += ahead

    def drop(self) -> None:
        """Give back what did not become whole."""
        self._close()
        self._memory = _Held()
        self._return()

    def _return(self) -> None:
        if self._taken:
            self._budget.give(self._taken)
        self._taken = 0

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._budget.spooled(-1)


def portions(body: Buffer, size: int) -> Iterator[Buffer]:
    """A body in memory as it is; a spooled one in slices, each let go from memory when the next is asked for."""
    view = memoryview(body)
    if not isinstance(view.obj, mmap.mmap):
        yield body
        return
    for start in range(0, len(view), size):
        yield view[start : start + size]
        cool(view)


def cool(body: Buffer) -> None:
    """Let a spooled body's pages go from memory; they are read again when they are asked for."""
    if isinstance(body, memoryview) and isinstance(body.obj, mmap.mmap):
        body.obj.madvise(mmap.MADV_DONTNEED)
