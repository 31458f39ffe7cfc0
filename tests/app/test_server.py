"""Writes to a caller travel together: few system calls and packets, in order, and never two large ones held."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.http.corked import SMALL, Corked
from app.http.ending import Ending

LARGE = memoryview(bytes(SMALL + 1))


class Wire:
    """A transport that keeps what it was given, call by call."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.closed = False

    def writelines(self, pieces: list[Any]) -> None:
        """As asyncio's."""
        self.calls.append([len(piece) for piece in pieces])

    def write_eof(self) -> None:
        """As asyncio's."""
        self.calls.append([])

    def is_closing(self) -> bool:
        """As asyncio's."""
        return self.closed

    def close(self) -> None:
        """As asyncio's."""
        self.closed = True


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def corked(wire: Wire) -> Corked:
    return Corked(cast("asyncio.Transport", wire), lambda: Ending.CLOSED)


async def test_an_answer_goes_out_in_one_call(wire: Wire, corked: Corked) -> None:
    """Head, prefix, image and end, written one after the other, are one call; an empty piece is none."""
    for piece in (b"head", b"prefix", LARGE, b"", b"end"):
        corked.write(piece)
    assert wire.calls == []
    await asyncio.sleep(0)
    assert wire.calls == [[4, 6, len(LARGE), 3]]


async def test_no_two_large_pieces_wait(wire: Wire, corked: Corked) -> None:
    """The second large piece sends the first, so that the pages of a spooled body can go one by one."""
    for piece in (b"head", LARGE, LARGE, LARGE, b"end"):
        corked.write(piece)
    assert wire.calls == [[4, len(LARGE)], [len(LARGE)]]
    await asyncio.sleep(0)
    assert wire.calls[2:] == [[len(LARGE), 3]]


async def test_the_last_small_part_waits_until_it_is_let_go(wire: Wire, corked: Corked) -> None:
    """However often the loop comes round; a small answer waits whole, and what is written behind it goes with it."""
    for piece in (b"head", LARGE, b"rest", b"end"):
        corked.write(piece)
    corked.lead()
    led = [*wire.calls]
    await asyncio.sleep(0)
    waiting = [*wire.calls]
    corked.flush()
    corked.write(b"small")
    corked.lead()
    corked.write(b"next")
    await asyncio.sleep(0)
    before = [*wire.calls]
    corked.flush()

    assert led == waiting == [[4, len(LARGE)]]
    assert before == [*led, [4, 3]]
    assert wire.calls == [*before, [5, 4]]


async def test_what_waits_goes_out_before_the_end(wire: Wire, corked: Corked) -> None:
    """A close right after a write loses nothing, and nothing is written after it."""
    corked.write(b"last")
    corked.close()
    assert wire.calls == [[4]]
    assert wire.closed
    corked.write(b"late")
    await asyncio.sleep(0)
    assert wire.calls == [[4]]


async def test_what_waits_goes_out_before_it_is_told_that_nothing_follows(wire: Wire, corked: Corked) -> None:
    """Behind that nothing could be written."""
    corked.write(b"last")
    corked.write_eof()
    assert wire.calls == [[4], []]
    corked.close()
    corked.write_eof()
    assert wire.calls == [[4], []]


async def test_an_end_is_the_end(wire: Wire) -> None:
    """A close that would have to wait comes too late for that."""
    corked = Corked(cast("asyncio.Transport", wire), lambda: Ending.CLOSING)
    corked.close()
    waits = corked.ending, corked.is_closing(), wire.closed
    corked.finish()
    corked.close()
    assert waits == (Ending.CLOSING, True, False)
    assert (corked.ending, corked.is_closing(), wire.closed) == (Ending.CLOSED, True, True)
