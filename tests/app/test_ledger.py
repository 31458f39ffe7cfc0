"""One contract for every ledger; SQLite on disk and a real PostgreSQL beside the one in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import KeyFields
from app.errors import BadInput, NotFound, Overloaded
from app.keys import Keys
from app.ledger import Entry, Ledger, MemoryLedger, State
from app.ledger.database import SCRIPTS, engine, prepare, revisions, upgrade
from app.ledger.sql import SQLLedger
from app.ledger.tables import instances
from app.settings import SettingsError, load
from app.usage import as_csv, usage
from providers.kit.clock import SystemClock
from tests.limits.slow import SlowWay
from tests.services import postgres

CLOCK = SystemClock()


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A real PostgreSQL for the run."""
    with postgres() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    """Each implementation, empty."""
    if request.param == "memory":
        yield MemoryLedger()
        return
    env = {"PINHOLE_DATA_DIR": str(tmp_path)}
    if request.param == "postgres":
        env["DATABASE_URL"] = request.getfixturevalue("database_url")
    found = SQLLedger(engine(load(env)), CLOCK)
    await upgrade(found.engine)
    async with found.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM requests")
    await found.start()
    yield found
    await found.close()


def entry(name: str, *, caller: str = "a", cost: int = 1000, created: float | None = None) -> Entry:
    """A row as it is before the call."""
    return Entry(
        request_id=name,
        caller=caller,
        caller_name=caller,
        end_user=None,
        model_asked="gpt-image-2",
        model="gpt-image-2",
        provider="openai",
        operation="generate",
        images_asked=2,
        created=CLOCK.time() if created is None else created,
        cost=cost,
    )


async def rows(ledger: Ledger, group_by: str = "key") -> dict[str, dict[str, object]]:
    """Usage of the last minute by group, after everything queued is written."""
    await asyncio.sleep(0.3)
    found = await usage(ledger, CLOCK.time(), group_by=group_by)
    return {str(row[group_by]): row for row in found["data"]}


async def test_delivered_failed_and_unknown_stand_apart(ledger: Ledger) -> None:
    """Requests and images count what was delivered; the rest is counted on its own."""
    for name, state in (("1", State.DELIVERED), ("2", State.FAILED), ("3", State.UNKNOWN), ("4", State.DELIVERED)):
        opened = entry(name)
        await ledger.open(opened)
        await ledger.settle(replace(opened, state=state, images_delivered=2 if state is State.DELIVERED else 0))
    row = (await rows(ledger))["a"]

    assert (row["requests"], row["images"], row["failed"], row["unknown"]) == (2, 4, 1, 1)
    assert row["cost_usd"] == pytest.approx(0.002)


async def test_an_unknown_price_is_never_nothing(ledger: Ledger) -> None:
    """A group's cost is None where nothing delivered in it has a price, and 0 where nothing was delivered."""
    for name, state, cost in (
        ("dear", State.DELIVERED, 2_000_000),
        ("dark", State.DELIVERED, None),
        ("mixed", State.DELIVERED, None),
        ("mixed", State.DELIVERED, 500_000),
        ("nothing", State.FAILED, None),
        ("free", State.DELIVERED, 0),
    ):
        opened = entry(f"{name}-{cost}", caller=name)
        await ledger.open(opened)
        await ledger.settle(replace(opened, state=state, images_delivered=1, cost=cost))
    found = await rows(ledger)
    whole = await usage(ledger, CLOCK.time())
    empty = await usage(ledger, CLOCK.time(), until="2001-01-01", since="2000-01-01")

    costs = {name: row["cost_usd"] for name, row in found.items()}
    assert costs == {"dear": 2.0, "dark": None, "mixed": 0.5, "nothing": 0.0, "free": 0.0}
    assert whole["total"]["cost_usd"] == 2.5
    assert empty["total"]["cost_usd"] == 0.0
    assert "\r\ndark,1,1,0.0,,0,0\r\n" in as_csv(whole, "key")


async def test_groups_are_what_was_asked_for(ledger: Ledger) -> None:
    """Usage groups by key, model, provider or end user."""
    for name, caller in (("1", "a"), ("2", "b"), ("3", "b")):
        opened = entry(name, caller=caller)
        await ledger.open(opened)
        await ledger.settle(replace(opened, state=State.DELIVERED, images_delivered=1))

    assert {name: row["requests"] for name, row in (await rows(ledger)).items()} == {"a": 1, "b": 2}
    assert set(await rows(ledger, "model")) == {"gpt-image-2"}


async def test_money_of_today_counts_what_may_have_been_billed(ledger: Ledger) -> None:
    """Reserved, delivered and unknown rows are spent; failed ones and yesterday's are not."""
    for name, state in (("1", State.DELIVERED), ("2", State.FAILED), ("3", State.UNKNOWN)):
        opened = entry(name)
        await ledger.open(opened)
        await ledger.settle(replace(opened, state=state))
    await ledger.open(entry("4"))
    await ledger.open(entry("5", created=CLOCK.time() - 100_000))
    await ledger.open(entry("6", caller="b"))
    await asyncio.sleep(0.3)
    since = CLOCK.time() - 3600

    assert await ledger.spent({"caller": "a"}, since) == 3000
    assert await ledger.spent({}, since) == 4000


async def test_many_rows_at_once_are_all_there(ledger: Ledger) -> None:
    """Inserts that come together are committed in groups, and none is lost or doubled."""
    entries = [entry(f"r{i}") for i in range(300)]
    await asyncio.gather(*(ledger.open(found) for found in entries))
    for found in entries:
        await ledger.settle(replace(found, state=State.DELIVERED, images_delivered=1))
    await asyncio.sleep(0.7)

    assert (await rows(ledger))["a"]["requests"] == 300


async def test_rows_tell_what_a_repeat_is_recognised_by(ledger: Ledger) -> None:
    """A fingerprint, a label, a key, the state and where the answer lies come back."""
    for name in ("1", "2", "3"):
        opened = replace(entry(name), fingerprint=f"print-{name}", label=f"label-{name}", idempotency="key")
        await ledger.open(opened)
        if name != "3":
            await ledger.settle(replace(opened, state=State.DELIVERED))
    await ledger.open(entry("plain"))
    await ledger.note("1", document="ab.answer")
    await ledger.note("1", handed=True)
    await asyncio.sleep(0.3)
    found = {row.request_id: row for row in await ledger.past(CLOCK.time() - 60)}
    one = await ledger.past(CLOCK.time() - 60, request_id="2")

    assert set(found) == {"1", "2", "3"}
    assert (found["1"].state, found["1"].document, found["1"].handed) == (State.DELIVERED, "ab.answer", True)
    assert (found["2"].fingerprint, found["2"].label, found["2"].idempotency) == ("print-2", "label-2", "key")
    assert (found["2"].document, found["2"].handed) == (None, False)
    assert found["3"].state is State.RESERVED
    assert [row.request_id for row in one] == ["2"]
    assert await ledger.past(CLOCK.time() + 60) == []


async def test_rows_of_a_dead_instance_become_unknown(tmp_path: Path) -> None:
    """The sweeper takes what a crash left, and never what a living instance still works on."""
    settings = load({"PINHOLE_DATA_DIR": str(tmp_path)})
    dead, living, sweeper = (SQLLedger(engine(settings), CLOCK) for _ in range(3))
    await upgrade(dead.engine)
    for found in (dead, living, sweeper):
        await found.start()
        await found.open(entry(f"of-{found.instance}"))
    await dead.close()
    async with sweeper.engine.begin() as connection:
        await connection.execute(instances.update().where(instances.c.id == dead.instance).values(heartbeat=0))
    await sweeper.sweep()
    row = (await rows(sweeper))["a"]
    for found in (living, sweeper):
        await found.close()

    assert row["unknown"] == 1


WRITER = """
import asyncio, sys
from dataclasses import replace
from app.ledger import State
from app.ledger.database import engine, upgrade
from app.ledger.sql import SQLLedger
from app.settings import load
from providers.kit.clock import SystemClock
from tests.app.test_ledger import entry

async def main():
    ledger = SQLLedger(engine(load({"PINHOLE_DATA_DIR": sys.argv[1]})), SystemClock())
    await ledger.start()
    for i in range(100000):
        opened = entry(f"{ledger.instance}-{i}")
        await ledger.open(opened)
        print(opened.request_id, flush=True)
        await ledger.settle(replace(opened, state=State.DELIVERED, images_delivered=1))

asyncio.run(main())
"""


def test_kill_9_loses_no_row_that_was_safe(tmp_path: Path) -> None:
    """Whatever was told to be safe before a kill is in the file, once, after five kills."""
    asyncio.run(_upgraded(tmp_path))
    safe: set[str] = set()
    for _ in range(5):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603 - our own code
            assert writer.stdout
            for _ in range(40):
                safe.add(writer.stdout.readline().strip())
            os.kill(writer.pid, signal.SIGKILL)
    with closing(sqlite3.connect(tmp_path / "pinhole.db")) as connection:
        written = [row[0] for row in connection.execute("SELECT request_id FROM requests")]

    assert safe <= set(written)
    assert len(written) == len(set(written))


async def _upgraded(folder: Path) -> None:
    found = engine(load({"PINHOLE_DATA_DIR": str(folder)}))
    await upgrade(found)
    await found.dispose()


async def test_a_new_file_is_what_the_migrations_make(tmp_path: Path) -> None:
    """Tables, columns, indexes and revision are the same; a file of an older release is brought there."""
    found = []
    for name, bring in (("new", prepare), ("migrated", upgrade), ("old", _of_before)):
        database = engine(load({"PINHOLE_DATA_DIR": str(tmp_path / name)}))
        await bring(database)
        await prepare(database)
        assert (await revisions(database))[0] == ScriptDirectory(str(SCRIPTS)).get_current_head()
        async with database.connect() as connection:
            found.append(await connection.run_sync(_schema))
        await database.dispose()

    assert found[0] == found[1] == found[2]


async def _of_before(database: AsyncEngine) -> None:
    """The first revision."""

    def first(connection: Connection) -> None:
        config = AlembicConfig()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    async with database.begin() as connection:
        await connection.run_sync(first)


def _schema(connection: Connection) -> dict[str, object]:
    seen = inspect(connection)
    return {
        table: (
            sorted((c["name"], str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(table)),
            seen.get_pk_constraint(table)["constrained_columns"],
            sorted((i["name"], i["column_names"], *_options(i)) for i in seen.get_indexes(table)),
        )
        for table in seen.get_table_names()
    }


def _options(index: Any) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in index.get("dialect_options", {}).items()]


async def test_postgres_that_is_behind_refuses_to_start(database_url: str, tmp_path: Path) -> None:
    """The message names the command; after it the start goes on."""
    found = engine(load({"DATABASE_URL": database_url, "PINHOLE_DATA_DIR": str(tmp_path)}))
    async with found.begin() as connection:
        for table in ("api_keys", "instances", "requests", "alembic_version"):
            await connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
    with pytest.raises(SettingsError, match="pinhole db upgrade"):
        await prepare(found)
    await upgrade(found)
    await prepare(found)
    await found.dispose()


async def test_a_key_is_shown_once_and_revoked_everywhere_within_a_second(tmp_path: Path) -> None:
    """The list never holds a secret, and another gateway forgets a revoked key within a second."""
    settings = load({"PINHOLE_DATA_DIR": str(tmp_path)})
    await _upgraded(tmp_path)
    here, there = (Keys(engine(settings), [b"pepper"], CLOCK) for _ in range(2))
    made = await here.create(KeyFields(name="team", models=("gpt-image-*",)))
    caller = await there.find(made["key"])
    await asyncio.sleep(0.9)  # read again, and the same: what is known of a caller's limits stays known
    again = await there.find(made["key"])
    forged = made["key"][:-2] + ("AA" if not made["key"].endswith("AA") else "BB")
    listed = await here.list()
    await here.revoke(made["id"])
    await asyncio.sleep(0.9)

    assert caller
    assert caller.models == ("gpt-image-*",)
    assert again is caller
    assert await there.find(forged) is None
    assert made["key"] not in str(listed)
    assert await there.find(made["key"]) is None
    with pytest.raises(NotFound):
        await here.revoke(made["id"])
    for found in (here, there):
        await found.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_name_that_a_database_refuses_holds_nobody_up(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A NUL, or half a surrogate pair of an upstream, reaches no database: all rows of the same group are written."""
    env = {"PINHOLE_DATA_DIR": str(tmp_path)}
    if kind == "postgres":
        env["DATABASE_URL"] = request.getfixturevalue("database_url")
    found = SQLLedger(engine(load(env)), CLOCK, hash_users=False)
    await upgrade(found.engine)
    await found.start()
    odd = replace(entry("odd", caller="nul"), end_user="n\0ul")
    await asyncio.gather(found.open(odd), found.open(entry("plain", caller="nul")))
    await found.settle(replace(odd, state=State.DELIVERED, upstream_request_id="req\0\ud800"))
    await asyncio.wait_for(found.open(entry("later", caller="nul")), 20)
    spent = await found.spent({"caller": "nul", "end_user": "n\0ul"}, 0)
    total = await found.spent({"caller": "nul"}, 0)
    await found.close()

    assert (spent, total) == (1000, 3000)


async def test_a_database_that_says_nothing_is_a_503_soon(database_url: str) -> None:
    """A frozen PostgreSQL, or one behind a connection that fell silent: Overloaded, for rows and for keys."""
    port = int(database_url.rpartition(":")[2].partition("/")[0])
    async with SlowWay(port) as way:
        through = database_url.replace(f":{port}/", f":{way.port}/")
        found = SQLLedger(engine(load({"DATABASE_URL": through}), seconds=1.0), CLOCK)
        await upgrade(found.engine)
        await found.start()
        await found.open(entry("before"))
        way.hold()
        keys = Keys(found.engine, (b"pepper",), CLOCK)
        asking = (found.open(entry("held")), found.spent({}, 0), keys.find(f"ph-{'0' * 16}-{'a' * 43}"), keys.list())
        answers = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 20)
        way.release()
        await found.close()

    assert [type(answer) for answer in answers] == [Overloaded] * 4


async def test_sums_are_the_same_however_they_are_grouped(ledger: Ledger) -> None:
    """The total is that of the rows, not of what was rounded for each group; a day that no calendar has is a 400."""
    for i in range(5):
        made = entry(f"r{i}", caller=f"c{i}")
        await ledger.open(made)
        await ledger.settle(replace(made, state=State.DELIVERED, images_delivered=1, megapixels=0.0004))
    await ledger.open(entry("last"))
    totals = [(await usage(ledger, CLOCK.time(), group_by=group))["total"] for group in ("key", "model")]
    with pytest.raises(BadInput):
        await usage(ledger, CLOCK.time(), until="9999-12-31")

    assert totals[0] == totals[1]
    assert totals[0]["megapixels"] == 0.002


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_csv_never_carries_a_formula(sign: str) -> None:
    """A name that a spreadsheet would run is quoted."""
    row = {
        "key": f"{sign}cmd()",
        "requests": 1,
        "images": 1,
        "megapixels": 1.0,
        "cost_usd": 0.1,
        "failed": 0,
        "unknown": 0,
    }

    assert f"'{sign}cmd()" in as_csv({"data": [row]}, "key")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_one_gateway_takes_what_another_left(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Only rows with tasks of gateways that are gone; of two that want one, one gets it."""
    env = {"PINHOLE_DATA_DIR": str(tmp_path)}
    if kind == "postgres":
        env["DATABASE_URL"] = request.getfixturevalue("database_url")
    ledgers = [SQLLedger(engine(load(env)), CLOCK) for _ in range(3)]
    dying, one, two = ledgers
    await upgrade(dying.engine)
    async with dying.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM requests")
    for found in ledgers:
        await found.start()
    try:
        for name in ("task", "cut", "plain", "over"):
            await dying.open(replace(entry(name), end_user="somebody"))
        await dying.settle(replace(entry("task"), tasks="{}", attempts=1))
        await dying.settle(replace(entry("cut"), tasks="{}", state=State.UNKNOWN))
        await dying.settle(replace(entry("over"), state=State.DELIVERED))
        await asyncio.sleep(0.3)
        alive = await one.abandoned(0, 10)
        await dying.close()
        left = await one.abandoned(0, 10)
        others = await one.abandoned(left[0].created, 10, {left[0].request_id})
        claims = [await asyncio.gather(one.claim(row), two.claim(row)) for row in left]
        again = await two.abandoned(0, 10)
        mine = next(ledger for ledger, won in zip((one, two), claims[0], strict=True) if won)
        await mine.settle(replace(left[0], state=State.DELIVERED, tasks=None))
        await asyncio.sleep(0.3)
        users = await usage(mine, CLOCK.time(), group_by="user")
    finally:
        for found in (one, two):
            await found.close()

    assert alive == []
    assert sorted(row.request_id for row in left) == ["cut", "task"]
    assert others == left[1:]
    assert [sorted(claim) for claim in claims] == [[False, True]] * 2
    assert again == []
    assert len({row["user"] for row in users["data"]}) == 1


async def test_rows_that_were_not_written_fail_each_by_itself(tmp_path: Path) -> None:
    """Callers whose rows were one group get errors of their own: what one of them does with its error is its own."""
    found = SQLLedger(engine(load({"PINHOLE_DATA_DIR": str(tmp_path)})), CLOCK)
    await upgrade(found.engine)
    await found.start()
    async with found.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE requests")
    one, two = await asyncio.gather(found.open(entry("one")), found.open(entry("two")), return_exceptions=True)
    await found.close()

    assert isinstance(one, Overloaded)
    assert isinstance(two, Overloaded)
    assert one is not two


async def test_a_row_that_cannot_be_written_is_a_503_and_no_end_of_the_ledger(tmp_path: Path) -> None:
    """A number beyond all columns: whoever comes is told, and does not wait for a writer that is no more."""
    found = SQLLedger(engine(load({"PINHOLE_DATA_DIR": str(tmp_path)})), CLOCK)
    await upgrade(found.engine)
    await found.start()
    await found.open(entry("huge"))
    await found.settle(replace(entry("huge"), state=State.DELIVERED, tokens_in=2**70))
    with pytest.raises(Overloaded):
        await asyncio.wait_for(found.open(entry("later")), 20)
    await found.close()


async def test_a_long_outage_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Far more settlements are owed than a group holds: who comes is told so, each for itself, and no row is lost."""
    found = SQLLedger(engine(load({"PINHOLE_DATA_DIR": str(tmp_path)})), CLOCK)
    await upgrade(found.engine)
    await found.start()
    opened = [entry(str(i)) for i in range(600)]
    await asyncio.gather(*(found.open(each) for each in opened))
    async with found.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE requests RENAME TO away")
    for each in opened:
        await found.settle(replace(each, state=State.DELIVERED, images_delivered=1))
    await asyncio.sleep(0.2)
    late = [found.open(entry(f"late-{i}")) for i in range(600)]
    refused = await asyncio.wait_for(asyncio.gather(*late, return_exceptions=True), 20)
    async with found.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO requests")
    total = (await usage(found, CLOCK.time()))["total"]
    for _ in range(200):
        if total["requests"] == len(opened):
            break
        await asyncio.sleep(0.05)
        total = (await usage(found, CLOCK.time()))["total"]
    await found.close()

    assert {type(each) for each in refused} == {Overloaded}
    assert len({id(each) for each in refused}) == len(refused)
    assert (total["requests"], total["images"]) == (600, 600)
