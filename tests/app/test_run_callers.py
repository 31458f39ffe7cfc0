"""Who left, and who only seemed to have its answer: the callers of equal requests at one gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.answer import Answer
from app.errors import Overloaded
from app.runs import HOLD_SECONDS, MemoryIndex, Record, Run, Runs
from app.runs.memory import Book
from app.runs.protocol import Doubtful
from app.store import DiskStore
from tests.app.test_receipts import KEY, again, arrived, ask, leave, read
from tests.app.test_run_machine import answer
from tests.app.test_run_memory import record, untroubled
from tests.clock import HastyClock, StillClock
from tests.gateway import running
from tests.upstreams.openai import OpenAIStandIn

RETRY_SECONDS = 3.0  # so long an SDK may say that it did not have what it seemed to take


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    """A provider."""
    with OpenAIStandIn(KEY) as found:
        yield found


@pytest.fixture
def url(tmp_path: Path, upstream: OpenAIStandIn) -> Iterator[str]:
    """A gateway before it."""
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{upstream.url}/v1"}
    with running(tmp_path, environ) as gateway:
        yield gateway.url


def test_a_retry_that_fails_too_leaves_the_picture_to_the_next(url: str, upstream: OpenAIStandIn) -> None:
    """The first seemed to have it, its retry says that it did not: whatever becomes of that, it is paid once."""
    with closing(ask(url, "x-stainless-retry-count: 0\r\n")) as connection:
        read(connection)
    time.sleep(0.5)
    retry = ask(url, "x-stainless-retry-count: 1\r\n")
    arrived(retry)
    leave(retry)
    time.sleep(RETRY_SECONDS)
    third = again(url, x_stainless_retry_count="2")

    assert third.headers.get("pinhole-replayed") == "true"
    assert upstream.paid == 1


@dataclass(eq=False)
class Ended:
    """A caller that ended as if it had its answer."""

    number: int = -1
    events: int = 0


class Noting(MemoryIndex):
    """What it heard of answers on their way."""

    def __init__(self, clock: HastyClock) -> None:
        super().__init__("one", clock)
        self.told: list[str] = []

    def sent(self, name: str) -> None:
        self.told.append(f"sent {name}")

    def unsent(self, name: str) -> None:
        self.told.append(f"unsent {name}")


async def test_what_a_retry_denies_is_not_sent(tmp_path: Path) -> None:
    """Its gateway may be killed before the retry has the answer: then nobody has it, whatever went out before."""
    clock = HastyClock()
    index = Noting(clock)
    runs = Runs(clock, index, DiskStore(tmp_path, clock, 60), untroubled)

    async def made(_: Run) -> Answer:
        return answer("made")

    first = await runs.enter(record("first", clock), made, retry=0, patience=60, peer=Ended())
    await first.outcome(60, lambda _: bool)
    first.sent()
    retry = await runs.enter(record("retry", clock), made, retry=1, patience=60)
    denied = [*index.told]
    first.leave(delivered=True)
    retry.sent()
    retry.leave(delivered=True)
    retry.sent()
    await runs.drain(1)

    assert denied == ["sent first", "unsent first"]
    assert index.told == [*denied, "sent first"]


async def test_each_caller_of_a_run_is_sent_its_answer(tmp_path: Path) -> None:
    """One that leaves takes back its own word and nobody else's; who was sent nothing takes back nothing."""
    clock = HastyClock()
    index = Noting(clock)
    runs = Runs(clock, index, DiskStore(tmp_path, clock, 60), untroubled)

    async def made(_: Run) -> Answer:
        return answer("made")

    first = await runs.enter(record("first", clock), made, retry=0, patience=60)
    await first.outcome(60, lambda _: bool)
    second = await runs.enter(record("second", clock), made, retry=1, patience=60)
    third = await runs.enter(record("third", clock), made, retry=2, patience=60)
    for seat in (first, second):
        seat.sent()
    first.leave(delivered=False)
    early = [*index.told]
    third.leave(delivered=False)
    second.leave(delivered=False)
    await runs.drain(1)

    assert {second.run, third.run} == {first.run}
    assert early == ["sent first", "sent first", "unsent first"]
    assert index.told == [*early, "unsent first"]


async def test_a_retry_on_another_gateway_denies_what_the_first_seemed_to_have(tmp_path: Path) -> None:
    """It holds the run, and the first's gateway hears of that: if the retry fails too, the next one gets it."""
    clock, book, store = HastyClock(), Book(), DiskStore(tmp_path, HastyClock(), 60)
    here, there = (
        Runs(clock, MemoryIndex(name, clock, book), store, untroubled, wanted_seconds=0.001)
        for name in ("one", "two")
    )

    async def made(_: Run) -> Answer:
        return answer("made")

    def asked(name: str, owner: str) -> Record:
        return replace(record(name, clock), owner=owner)

    first = await here.enter(asked("first", "one"), made, retry=0, patience=60, peer=Ended())
    await first.outcome(60, lambda _: bool)
    repeat = await there.enter(asked("repeat", "two"), made, retry=1, patience=60)
    kept = await repeat.outcome(60, lambda _: bool)
    repeat.leave(delivered=False)
    await asyncio.sleep(0.05)
    first.leave(delivered=True)  # three seconds are over
    await asyncio.sleep(0.05)
    third = await there.enter(asked("third", "two"), made, retry=2, patience=60)
    third.leave(delivered=True)
    await there.drain(1)
    await here.drain(1)

    assert kept is not None
    assert (third.repeat, third.run.record.id) == (True, "first")


class Doubting(MemoryIndex):
    """One that waits for a word of another gateway, which does not come."""

    async def begin(self, record: Record, *, retry: int, patience: float, waited: float = 0.0) -> Record | None:
        raise Doubtful(8.0)


async def test_a_doubt_ends_at_the_callers_deadline(tmp_path: Path) -> None:
    """Whoever cannot wait for the word of a silent gateway is told to come again; nothing is begun for it."""
    clock = StillClock()
    runs = Runs(clock, Doubting("one", clock), DiskStore(tmp_path, clock, 60), untroubled)
    since = clock.at

    async def made(_: Run) -> Answer:
        raise AssertionError("paid for")

    with pytest.raises(Overloaded):
        await runs.enter(record("first", clock), made, retry=0, patience=HOLD_SECONDS + 2)
    await runs.drain(1)

    assert 2 <= clock.at - since < 3
