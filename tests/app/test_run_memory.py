"""What gateways remember of runs goes in time, whichever index they share, and what they owe each other is told."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from app.answer import Answer
from app.delivery import Delivered
from app.errors import Overloaded
from app.ledger import Entry, MemoryLedger, Past
from app.runs import Index, LedgerIndex, MemoryIndex, Record, Run, Runs, State
from app.runs.guarded import GuardedIndex
from app.runs.memory import FREE_RUNS, Book
from app.runs.redis import RedisIndex
from app.runs.runs import RUN_BYTES
from app.store import DiskStore, StoreError
from providers.core.errors import UpstreamError
from providers.core.http import Buffer
from providers.core.types import ImageFormat
from providers.kit.clock import Clock
from tests.app.test_run_machine import answer
from tests.clock import HastyClock, StillClock


def untroubled(part: str, error: BaseException) -> None:
    """Nothing of the storage goes wrong here."""
    raise AssertionError(part) from error


def record(name: str, clock: Clock, *, wish: str = "p", state: State = State.RUNNING) -> Record:
    """A run of a caller's request."""
    return Record(
        id=name,
        caller="c",
        label=f"label-{name}",
        fingerprint=wish,
        key="",
        started=clock.time(),
        owner="one",
        state=state,
    )


async def test_a_failed_run_is_a_record_and_no_more(tmp_path: Path) -> None:
    """What may have been billed is replayed from the index: the run itself does not stay in memory."""
    clock = StillClock()
    runs = Runs(clock, MemoryIndex("one", clock), DiskStore(tmp_path, clock, 60), untroubled)

    async def failing(_: Run) -> Answer:
        raise UpstreamError("no")

    for name in ("first", "again"):
        seat = await runs.enter(record(name, clock, wish="a wish that fails"), failing, retry=0, patience=60)
        with pytest.raises(UpstreamError, match="no"):
            await seat.outcome(60, lambda _: bool)
        assert seat.repeat is (name == "again")
        seat.leave(delivered=False)
        del seat
        for _ in range(20):
            await asyncio.sleep(0)
    left = [one for one in gc.get_objects() if isinstance(one, Run) and one.record.fingerprint == "a wish that fails"]
    await runs.drain(1)

    assert left == []


async def test_memory_keeps_the_newest_and_the_store_all(tmp_path: Path) -> None:
    """Over the bound the oldest answers leave memory, after an hour every one; until then each is replayed."""
    clock = StillClock()
    store, index = DiskStore(tmp_path, clock, 60), MemoryIndex("one", clock)
    runs = Runs(clock, index, store, untroubled, memory_bytes=5 * RUN_BYTES // 2)

    async def ask(name: str) -> tuple[bool, bytes]:
        async def made(_: Run) -> Answer:
            image = Delivered(format=ImageFormat.PNG, size=None, base64=name.encode() * 10)
            return replace(answer(name), images=(image,))

        asked = replace(record(name, clock, wish=name), id=f"{name}-{clock.at}", key=name)
        seat = await runs.enter(asked, made, retry=0, patience=60)
        kept = await seat.outcome(60, lambda _: bool)
        seat.leave(delivered=True)
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert kept is not None
        return seat.replayed, bytes(kept.images[0].base64 or b"")

    def held() -> set[str]:
        gc.collect()
        runs_ = (one for one in gc.get_objects() if isinstance(one, Run) and one.kept and one.answer)
        return {one.record.fingerprint for one in runs_} & set("uvwxyz")

    first = [await ask(name) for name in "vwxyz"]
    after = held()
    again = [await ask(name) for name in "vwxyz"]
    clock.at += 3601
    await ask("u")
    late = held()
    await runs.drain(1)

    assert first == [(False, name.encode() * 10) for name in "vwxyz"]
    assert again == [(True, name.encode() * 10) for name in "vwxyz"]
    assert (after, late) == ({"y", "z"}, {"u"})


async def test_an_index_that_is_only_written_forgets_too() -> None:
    """While Redis decides nobody asks the one beside it: failures go after a minute there too, all after an hour."""
    clock = StillClock()
    index = MemoryIndex("one", clock)
    for at in range(200):
        clock.at += 61
        state = State.FREE if at % 2 else State.BILLED
        await index.put(record(str(at), clock, state=state))

    assert len(index.records) <= 3600 // 61 // 2 + 2


class AwayLedger(MemoryLedger):
    """One whose rows cannot be read when `away`."""

    away = False

    async def past(self, since: float, *, request_id: str | None = None) -> list[Past]:
        if self.away:
            raise Overloaded("The ledger cannot be read now.")
        return await super().past(since, request_id=request_id)


class Forgetful(MemoryIndex):
    """Stands for the one on Redis."""

    async def restore(self, record: Record) -> None:
        """Write a record that is not there."""
        if record.id not in self._book.records:
            await self.put(record)

    async def beat(self, *, told: bool = False) -> bool:
        """That what was lost was told is not noted."""
        return told or await super().beat()


async def test_a_gateway_beats_on_while_its_ledger_is_away() -> None:
    """Redis lost its data while the database is away too: what it must be told waits, and the beating goes on."""
    clock, book, ledger = StillClock(), Book(), AwayLedger()
    row = Entry(
        request_id="left", caller="c", caller_name="c", end_user=None, model_asked="m", model="m", provider="p",
        operation="generate", images_asked=1, created=clock.time(), fingerprint="p",
    )  # fmt: skip
    await ledger.open(row)
    far = Forgetful("one", clock, book)
    index: Index = GuardedIndex(LedgerIndex("one", clock, ledger), cast("RedisIndex", far), clock, lambda *_: None)
    await index.start()
    book.alive.clear()
    book.records.clear()
    ledger.away = True
    await index.beat()
    ledger.away = False
    await index.beat()

    assert [each.id for each in far.records] == ["left"]
    assert book.alive == {"one"}


class Refusing(DiskStore):
    """One that has no room for answers that say `x`."""

    async def keep(self, pieces: Sequence[Buffer]) -> str:
        if b"xxx" in b"".join(pieces):
            raise StoreError("full")
        return await super().keep(pieces)


async def test_what_only_memory_has_leaves_it_last(tmp_path: Path) -> None:
    """An answer that the store did not take stays in memory as long as others can go that it has."""
    clock, troubles = StillClock(), list[str]()
    index = MemoryIndex("one", clock)
    runs = Runs(
        clock,
        index,
        Refusing(tmp_path, clock, 60),
        lambda part, _: troubles.append(part),
        memory_bytes=5 * RUN_BYTES // 2,
    )

    async def ask(name: str) -> tuple[bool, bytes]:
        async def made(_: Run) -> Answer:
            image = Delivered(format=ImageFormat.PNG, size=None, base64=name.encode() * 10)
            return replace(answer(name), images=(image,))

        asked = replace(record(name, clock, wish=name), id=f"{name}-{clock.at}", key=name)
        clock.at += 1
        seat = await runs.enter(asked, made, retry=0, patience=60)
        kept = await seat.outcome(60, lambda _: bool)
        seat.leave(delivered=True)
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert kept is not None
        return seat.replayed, bytes(kept.images[0].base64 or b"")

    for name in "xyz":
        await ask(name)
    again = [await ask(name) for name in "xyz"]
    await runs.drain(1)

    assert troubles == ["store"]
    assert again == [(True, name.encode() * 10) for name in "xyz"]


async def test_what_is_resumed_is_kept_though_a_repeat_took_it(tmp_path: Path) -> None:
    """Its first caller is gone: the results route has it for an hour, and never says that it still runs."""
    clock = StillClock()
    index = MemoryIndex("one", clock)
    runs = Runs(clock, index, DiskStore(tmp_path, clock, 60), untroubled)
    let = asyncio.Event()

    async def made(_: Run) -> Answer:
        await let.wait()
        return answer("resumed")

    resumed = replace(record("resumed", clock), alone=True)
    await runs.resume(resumed, made)
    seat = await runs.enter(record("repeat", clock), made, retry=0, patience=60)
    clock.at += 61  # it holds the run no more, and waits on
    let.set()
    kept = await seat.outcome(60, lambda _: bool)
    seat.leave(delivered=True)
    for _ in range(100):
        await asyncio.sleep(0.001)
    found = await runs.find("c", "label-resumed")
    await runs.drain(1)

    assert kept is not None
    assert seat.run.record.id == "resumed"
    assert found is not None
    assert (found.state, bool(found.document)) == (State.ANSWERED, True)


async def test_links_weigh_too(tmp_path: Path) -> None:
    """An answer whose images lie elsewhere is small, and a hundred thousand of them are not."""
    clock = StillClock()
    runs = Runs(
        clock, MemoryIndex("one", clock), DiskStore(tmp_path, clock, 60), untroubled, memory_bytes=10 * RUN_BYTES
    )

    async def made(_: Run) -> Answer:
        image = Delivered(format=ImageFormat.PNG, size=None, url="http://localhost/files/x.png")
        return replace(answer("link"), images=(image,))

    for number in range(30):
        wish = f"a link {number}"
        seat = await runs.enter(replace(record(wish, clock, wish=wish), key=wish), made, retry=0, patience=60)
        await seat.outcome(60, lambda _: bool)
        seat.leave(delivered=True)
        del seat
        for _ in range(50):
            await asyncio.sleep(0.001)
    gc.collect()
    left = [one for one in gc.get_objects() if isinstance(one, Run) and one.record.fingerprint.startswith("a link")]
    await runs.drain(1)

    assert len(left) <= 10


class Slow(MemoryIndex):
    """One on a server: others may be served between two of its answers."""

    async def release(self, name: str, asker: str) -> None:
        await super().release(name, asker)
        await asyncio.sleep(0.01)


async def test_what_a_repeat_took_is_at_no_moment_anybodys(tmp_path: Path) -> None:
    """Whoever asks for the same in the moment in which a repeat has it makes a call of its own."""
    clock = StillClock()
    runs = Runs(clock, Slow("one", clock), DiskStore(tmp_path, clock, 60), untroubled)

    async def made(_: Run) -> Answer:
        return answer("made")

    first = await runs.enter(record("first", clock), made, retry=0, patience=60)
    first.leave(delivered=False)
    for _ in range(100):
        await asyncio.sleep(0.001)
    repeat = await runs.enter(record("repeat", clock), made, retry=0, patience=60)
    repeat.leave(delivered=True)
    await asyncio.sleep(0.001)
    other = await runs.enter(record("other", clock), made, retry=0, patience=60)
    other.leave(delivered=True)
    await runs.drain(1)

    assert (repeat.repeat, other.repeat) == (True, False)


async def test_who_waits_elsewhere_is_patient_with_a_silent_gateway(tmp_path: Path) -> None:
    """A gateway that stood still, or that Redis forgot, is heard of again: its run's callers wait for that."""
    clock, book = StillClock(), Book()
    one, two = (MemoryIndex(name, clock, book) for name in ("one", "two"))
    let = asyncio.Event()
    store = DiskStore(tmp_path, clock, 60)
    here, there = Runs(clock, one, store, untroubled), Runs(HastyClock(), two, store, untroubled)

    async def made(_: Run) -> Answer:
        await let.wait()
        return answer("made")

    first = await here.enter(record("first", clock), made, retry=0, patience=60)
    repeat = await there.enter(replace(record("repeat", clock), owner="two"), made, retry=1, patience=60)
    known = book.records.pop("first")
    book.alive.discard("one")
    await asyncio.sleep(0.02)
    early = repeat.run.running
    book.records["first"] = known
    await asyncio.sleep(0.02)
    later = repeat.run.running
    book.alive.add("one")
    let.set()
    first.leave(delivered=False)
    kept = await repeat.outcome(60, lambda _: bool)
    repeat.leave(delivered=True)
    await there.drain(1)
    await here.drain(1)

    assert (early, later) == (True, True)
    assert kept is not None
    assert kept.images[0].base64 == b"made"


async def test_a_flood_of_failures_holds_little_memory() -> None:
    """What failed for free is remembered a minute for those who follow it elsewhere, and only so many of them."""
    clock = StillClock()
    index = MemoryIndex("one", clock)
    for at in range(FREE_RUNS + 500):
        await index.begin(record(str(at), clock, wish=str(at)), retry=0, patience=60)
        await index.put(record(str(at), clock, wish=str(at), state=State.FREE))

    assert len(index.records) <= FREE_RUNS
