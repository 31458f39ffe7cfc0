"""What a connection shows of its caller, step by step, in a time that is ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from app.http.ending import Ending
from app.http.receipts import END_SECONDS, GONE, IDLE_SECONDS, RESET, RETRY_SECONDS, STALLED_SECONDS, Receipts, gone


class Loop(asyncio.SelectorEventLoop):
    """Its time passes when it is told."""

    passed = 0.0

    def time(self) -> float:
        return self.passed


class Line:
    """A connection: its kernel's side is real, `finished` counts how often it was ended."""

    def __init__(self, ending: Ending = Ending.OPEN) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ending = ending
        self.finished = 0

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def lead(self) -> None:
        """Nothing is held back."""

    def flush(self) -> None:
        """Nothing is held back."""

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.ours}[name]

    def get_write_buffer_size(self) -> int:
        return 0

    def finish(self) -> None:
        self.finished += 1


class Answer:
    """Hears what became of it."""

    def __init__(self) -> None:
        self.said: list[bool] = []

    def sent(self) -> None:
        """Nothing follows from it."""

    def leave(self, *, delivered: bool) -> None:
        self.said.append(delivered)


def timed(work: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    """Run it in such a loop."""
    loop = Loop()
    try:
        loop.run_until_complete(work(loop))
    finally:
        loop.close()


async def later(loop: Loop, seconds: float) -> None:
    """So long."""
    loop.passed += seconds
    for _ in range(3):
        await asyncio.sleep(0)


def answered(receipts: Receipts, *, retries: bool = False) -> Answer:
    """One answer, out."""
    found = Answer()
    receipts.expect(found, retries=retries)
    receipts.out()
    return found


def test_an_end_with_nothing_open_ends_the_connection() -> None:
    """Nobody is waited for."""

    async def work(_: Loop) -> None:
        with closing(Line()) as line:
            receipts = Receipts(line)
            assert not receipts.ended()
            assert (receipts.open, receipts.events) == (False, GONE)

    timed(work)


def test_an_end_that_nothing_follows_is_a_yes() -> None:
    """After a moment, and once; the connection ends with it."""

    async def work(loop: Loop) -> None:
        with closing(Line()) as line:
            receipts = Receipts(line)
            answer = answered(receipts)
            assert receipts.ended()
            await later(loop, END_SECONDS / 2)
            assert (answer.said, receipts.open, receipts.events, line.finished) == ([], True, RESET, 0)
            await later(loop, END_SECONDS)
            await later(loop, 2 * IDLE_SECONDS)
            assert (answer.said, receipts.open, line.finished) == ([True], False, 1)

    timed(work)


def test_an_end_that_a_retry_may_deny_is_believed_meanwhile() -> None:
    """The connection ends, nobody takes its caller for one that hung up, and what is answered later is lost."""

    async def work(loop: Loop) -> None:
        with closing(Line()) as line:
            receipts = Receipts(line)
            answer = answered(receipts, retries=True)
            receipts.ended()
            await later(loop, 1.5 * END_SECONDS)
            assert (answer.said, receipts.open, line.finished) == ([], False, 1)
            line.theirs.close()
            for _ in range(2):
                assert (receipts.number, receipts.events, gone([receipts])) == (-1, 0, set())
                assert answered(receipts).said == [False]
                receipts.lost()
            assert answer.said == []
            await later(loop, RETRY_SECONDS)
            assert answer.said == [True]

    timed(work)


def test_a_caller_that_is_silent_has_taken_its_answer_whatever_its_retry_would_say() -> None:
    """Only an end is doubted."""

    async def work(loop: Loop) -> None:
        with closing(Line()) as line:
            answer = answered(Receipts(line), retries=True)
            await later(loop, 1.5 * IDLE_SECONDS)
            assert (answer.said, line.finished) == ([True], 0)

    timed(work)


def test_an_end_amid_an_answer_is_judged_behind_its_last_byte() -> None:
    """However long that takes."""

    async def work(loop: Loop) -> None:
        with closing(Line()) as line:
            receipts, answer = Receipts(line), Answer()
            receipts.expect(answer)
            assert receipts.ended()
            await later(loop, 20)
            assert (answer.said, line.finished) == ([], 0)
            receipts.out()
            await later(loop, 1.5 * IDLE_SECONDS)
            assert (answer.said, line.finished) == ([True], 1)

    timed(work)


def test_a_request_says_nothing_of_an_answer_that_is_not_out() -> None:
    """Of one that is, it does, at once and once."""

    async def work(loop: Loop) -> None:
        with closing(Line()) as line:
            receipts, answer = Receipts(line), Answer()
            receipts.expect(answer)
            receipts.asked()
            early = [*answer.said]
            receipts.out()
            receipts.asked()
            assert (early, answer.said) == ([], [True])
            await later(loop, 2 * IDLE_SECONDS)
            assert (answer.said, line.finished) == ([True], 0)

    timed(work)


def test_an_old_look_ends_no_close_that_waits_for_more() -> None:
    """Behind a request that said it all, the connection is not looked at any more."""

    async def work(loop: Loop) -> None:
        with closing(Line()) as line:
            receipts = Receipts(line)
            answered(receipts)
            receipts.asked()
            line.ending = Ending.CLOSING
            await later(loop, 2 * IDLE_SECONDS)
            assert line.finished == 0

    timed(work)


@pytest.mark.parametrize("ending", [Ending.OPEN, Ending.LEAVING, Ending.LAST, Ending.DEAF, Ending.CLOSING])
def test_a_close_that_waits_is_done_when_all_is_known(ending: Ending) -> None:
    """Where none waits the connection stays."""

    async def work(loop: Loop) -> None:
        with closing(Line(ending)) as line:
            answer = answered(Receipts(line))
            await later(loop, 1.5 * IDLE_SECONDS)
            assert (answer.said, line.finished) == ([True], ending in {Ending.LEAVING, Ending.CLOSING})

    timed(work)


def test_what_is_lost_is_gone() -> None:
    """Its caller too, and what was not known is a no."""

    async def work(_: Loop) -> None:
        with closing(Line()) as line:
            receipts = Receipts(line)
            answer = answered(receipts)
            receipts.lost()
            assert (answer.said, receipts.number, gone([receipts])) == ([False], -1, {receipts})
            assert not receipts.ended()

    timed(work)


@pytest.mark.parametrize("reads", [True, False])
def test_bytes_on_their_way_are_waited_for(reads: bool) -> None:
    """Until they are there and a while longer, or until nothing moved for long."""

    async def work(loop: Loop) -> None:
        with closing(Line()) as line:
            line.ours.send(bytes(1000))
            answer = answered(Receipts(line))
            await later(loop, 1.5 * IDLE_SECONDS)
            if reads:
                line.theirs.recv(1000)
                await later(loop, IDLE_SECONDS)
                assert answer.said == []
            for _ in range(int(STALLED_SECONDS / IDLE_SECONDS) - 2):
                await later(loop, IDLE_SECONDS)
            assert answer.said == [True] * reads
            for _ in range(3):
                await later(loop, IDLE_SECONDS)
            assert answer.said == [reads]

    timed(work)
