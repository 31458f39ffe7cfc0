"""Random walks of the ledger: in memory, on SQLite and on PostgreSQL it holds what one dictionary holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import delete

from app.ledger import Entry, Ledger, MemoryLedger, State
from app.ledger.database import engine, upgrade
from app.ledger.sql import SQLLedger
from app.ledger.tables import instances, requests
from app.settings import load
from app.usage import usage
from tests.clock import StillClock
from tests.limits.test_machine import DAY, RULES
from tests.machines import walk
from tests.services import postgres

MIDNIGHT = 1_800_000_000 // DAY * DAY
ENDS = st.sampled_from([State.DELIVERED, State.FAILED, State.UNKNOWN])


class Clock(StillClock):
    """Stands still for dates; sleepers sleep really, so that the ledger's own tasks do not spin."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LedgerMachine(RuleBasedStateMachine):
    """Two gateways open and settle rows; one of them may die, and the other one sweeps."""

    make: Callable[[Clock, asyncio.AbstractEventLoop], list[Ledger]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock(MIDNIGHT - 100.0)
        self.ledgers = type(self).make(self.clock, self.loop)
        self.rows: dict[str, tuple[Entry, int]] = {}
        self.number = 0

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def teardown(self) -> None:
        for ledger in self.ledgers:
            self.run(ledger.close())
        self.loop.close()

    @rule(
        caller=st.sampled_from(["a", "b"]),
        user=st.sampled_from([None, "ann", "bob"]),
        cost=st.none() | st.integers(0, 9),
        at=st.integers(0, 1),
    )
    def open(self, caller: str, user: str | None, cost: int | None, at: int) -> None:
        """A request begins."""
        self.number += 1
        made = Entry(
            request_id=f"r{self.number}",
            caller=caller,
            caller_name=caller,
            end_user=user,
            model_asked="m",
            model="m",
            provider="p",
            operation="generate",
            images_asked=2,
            created=self.clock.time(),
            cost=cost,
        )
        where = at % len(self.ledgers)
        self.run(self.ledgers[where].open(made))
        self.rows[made.request_id] = (made, where)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), state=ENDS, cost=st.none() | st.integers(0, 9), twice=st.booleans())
    def settle(self, data: st.DataObject, state: State, cost: int | None, twice: bool) -> None:
        """A request ends; to be told twice is to be told once, and who knows better than the sweeper is believed."""
        entry, where = self.rows[data.draw(st.sampled_from(sorted(self.rows)))]
        images = 2 if state is State.DELIVERED else 0
        ended = replace(entry, state=state, cost=cost, images_delivered=images, megapixels=float(images))
        for _ in range(1 + twice):
            self.run(self.ledgers[where].settle(ended))
        self.rows[entry.request_id] = (ended, where)

    @rule(seconds=st.sampled_from([1.0, 150.0, float(DAY)]))
    def wait(self, seconds: float) -> None:
        """Time passes, over midnight too."""
        self.clock.at += seconds

    @precondition(lambda self: isinstance(self.ledgers[-1], SQLLedger))
    @rule()
    def sweep(self) -> None:
        """Nobody died: whatever is open stays open."""
        for ledger in self.ledgers:
            assert isinstance(ledger, SQLLedger)
            self.run(ledger._presence.beat())  # noqa: SLF001 - what its own task does every ten seconds
        assert isinstance(self.ledgers[0], SQLLedger)
        assert self.run(self.ledgers[0].sweep()) == 0

    @invariant()
    def sums_are_the_rows(self) -> None:
        """Money by caller, by a caller's end user and in all, of today; usage by state."""
        entries = [entry for entry, _ in self.rows.values()]
        since = self.clock.at // DAY * DAY
        for columns in ({}, {"caller": "a"}, {"caller": "b", "end_user": "ann"}):
            mine = [e for e in entries if all(getattr(e, name) == value for name, value in columns.items())]
            spent = sum(e.cost or 0 for e in mine if e.created >= since and e.state is not State.FAILED)
            assert self.soon(partial(self.ledgers[0].spent, columns, since), spent) == spent
        states = [entry.state for entry in entries]
        delivered = states.count(State.DELIVERED)
        expected = (delivered, states.count(State.FAILED), states.count(State.UNKNOWN), 2 * delivered)
        assert self.soon(self._totals, expected) == expected

    def soon(self, ask: Callable[[], Awaitable[Any]], expected: object) -> Any:
        """The answer, once it is as expected or two seconds have passed: nobody waits for a settlement."""

        async def asked() -> Any:
            for _ in range(200):
                if (found := await ask()) == expected:
                    return found
                await asyncio.sleep(0.01)
            return await ask()

        return self.run(asked())

    async def _totals(self) -> tuple[Any, ...]:
        total = (await usage(self.ledgers[0], self.clock.at + 1, since="2000-01-01"))["total"]
        return (total["requests"], total["failed"], total["unknown"], total["images"])


def walks(make: Callable[[Clock, asyncio.AbstractEventLoop], list[Ledger]]) -> None:
    """Random walks over ledgers made so."""

    class Machine(LedgerMachine):
        pass

    Machine.make = staticmethod(make)
    walk(Machine, RULES)


def shared(environ: dict[str, str]) -> Callable[[Clock, asyncio.AbstractEventLoop], list[Ledger]]:
    """Two gateways' ledgers on one empty database."""

    async def made(clock: Clock) -> list[Ledger]:
        ledgers = [SQLLedger(engine(load(environ)), clock) for _ in range(2)]
        await upgrade(ledgers[0].engine)
        async with ledgers[0].engine.begin() as connection:
            for table in (requests, instances):
                await connection.execute(delete(table))
        for ledger in ledgers:
            await ledger.start()
        return [*ledgers]

    return lambda clock, loop: loop.run_until_complete(made(clock))


def test_the_ledger_in_memory_is_the_model() -> None:
    """Rows in memory."""
    walks(lambda _, __: [MemoryLedger()])


def test_the_ledger_on_sqlite_is_the_model(tmp_path: Path) -> None:
    """Rows of two writers in one file."""
    walks(shared({"PINHOLE_DATA_DIR": str(tmp_path)}))


def test_the_ledger_on_postgresql_is_the_model(tmp_path: Path) -> None:
    """Rows of two writers on a real server."""
    with postgres() as url:
        walks(shared({"PINHOLE_DATA_DIR": str(tmp_path), "DATABASE_URL": url}))
