"""What is settled and not in the database yet is brought in after a kill: once, in order, and stops nobody."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sqlite3
import stat
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update

from app.ledger import Entry, State
from app.ledger.database import engine, upgrade
from app.ledger.left import left
from app.ledger.rows import SETTLED, settled
from app.ledger.settlements import Settlements
from app.ledger.sql import SQLLedger
from app.ledger.tables import instances, requests
from app.settings import load
from app.telemetry import Telemetry
from app.usage import usage
from providers.kit.clock import SystemClock
from tests.app.test_ledger import entry
from tests.app.test_receipts import read
from tests.clock import StillClock
from tests.processes import Process
from tests.services import postgres
from tests.upstreams.openai import OpenAIStandIn

CLOCK = SystemClock()
Make = Callable[..., SQLLedger]


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A real PostgreSQL for the module."""
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Ledgers of one database; their files lie in one folder unless another is named."""
    env = {"PINHOLE_DATA_DIR": str(tmp_path)}
    if request.param == "postgres":
        env["DATABASE_URL"] = request.getfixturevalue("database_url")
    made: list[SQLLedger] = []

    def ledger(folder: Path = tmp_path / "settlements", **more: Any) -> SQLLedger:
        made.append(SQLLedger(engine(load(env)), CLOCK, folder=folder, **more))
        return made[-1]

    first = ledger()
    await upgrade(first.engine)
    async with first.engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM requests")
        await connection.exec_driver_sql("DELETE FROM instances")
    yield ledger
    for found in made:
        await found.close()


def given(row: Entry, state: State = State.DELIVERED, *, images: int = 2, cost: int | None = 1000) -> Entry:
    """The row at its end."""
    return replace(row, state=state, images_delivered=images, cost=cost, settled=CLOCK.time())


def dies(ledger: SQLLedger) -> None:
    """As kill -9 does: what waits is never written, and every lock is gone."""
    for task in (ledger._groups._task, ledger._living):  # noqa: SLF001 - nobody else can kill half a process
        assert task is not None
        task.cancel()
    for page in ledger._settlements._pages:  # noqa: SLF001 - as above
        os.close(page.number)
    ledger._settlements._pages.clear()  # noqa: SLF001 - as above
    ledger._settlements._number = -1  # noqa: SLF001 - as above
    ledger._living = None  # noqa: SLF001 - as above


async def row_of(ledger: SQLLedger, name: str) -> Any:
    """A row as the database has it."""
    async with ledger.engine.connect() as connection:
        return (await connection.execute(select(requests).where(requests.c.request_id == name))).mappings().one()


def files(folder: Path) -> list[Path]:
    """The files of a folder."""
    return sorted((folder / "settlements").iterdir())


async def test_a_kill_before_the_commit_costs_nothing(make: Make, tmp_path: Path) -> None:
    """The next start on the folder finds what was settled: row, money and usage are as the caller was told."""
    telemetry = Telemetry()
    dying, following = make(), make(watch=telemetry)
    await dying.start()
    for name in ("given", "failed", "unsure", "open"):
        await dying.open(entry(name))
    await dying.settle(given(entry("given"), images=1, cost=700))
    dying.sent("given")
    await dying.settle(given(entry("failed"), State.FAILED, images=0, cost=0))
    await dying.settle(given(entry("unsure"), State.UNKNOWN, images=0).but(error="UpstreamTimeout"))
    dies(dying)
    await following.start()
    states = {name: (await row_of(following, name))["state"] for name in ("given", "failed", "unsure", "open")}
    error = (await row_of(following, "unsure"))["error"]
    total = (await usage(following, CLOCK.time()))["total"]
    spent = await following.spent({"caller": "a"}, 0)

    assert states == {"given": "delivered", "failed": "failed", "unsure": "unknown", "open": "unknown"}
    assert error == "UpstreamTimeout"
    assert (total["requests"], total["images"], total["failed"], total["unknown"]) == (1, 1, 1, 2)
    assert spent == 700 + 1000 + 1000
    assert [path.name.partition(".")[0] for path in files(tmp_path)] == [following.instance]
    text = telemetry.metrics.text().decode()
    assert "pinhole_ledger_recovered_total 3.0" in text
    assert "pinhole_ledger_swept_total 1.0" in text


async def test_a_living_gateway_finds_what_its_neighbour_left(make: Make) -> None:
    """No minute is waited for a heartbeat that will not come, and a task can be gone on with at once."""
    dying, living, other = make(), make(), make()
    for found in (dying, living, other):
        await found.start()
        await found.open(entry(f"of-{found.instance}"))
    await dying.settle(entry(f"of-{dying.instance}").but(tasks="{}", attempts=1))
    before = await living.abandoned(0, 10)
    dies(dying)
    await living.recover()
    after = await living.abandoned(0, 10)
    states = [(await row_of(living, f"of-{found.instance}"))["state"] for found in (dying, living, other)]

    assert before == []
    assert [(row.request_id, row.attempts) for row in after] == [(f"of-{dying.instance}", 1)]
    assert states == ["unknown", "reserved", "reserved"]


async def test_what_is_known_better_stays(make: Make) -> None:
    """A row that was settled since, or that another gateway went on with, is not touched."""
    dying, living = make(), make()
    await dying.start()
    for name in ("settled", "claimed", "swept"):
        await dying.open(entry(name))
    for name in ("settled", "claimed", "swept"):
        await dying.settle(given(entry(name), State.DELIVERED if name == "claimed" else State.UNKNOWN))
        dying.sent(name)
    dies(dying)
    async with living.engine.begin() as connection:
        better: dict[str, dict[str, Any]] = {
            "settled": {"state": "delivered", "images_delivered": 2, "handed": True},
            "claimed": {"instance": living.instance},
            "swept": {"state": "unknown", "error": "instance died"},
        }
        for name, values in better.items():
            await connection.execute(update(requests).where(requests.c.request_id == name).values(**values))
    await living.start()
    found = {name: await row_of(living, name) for name in ("settled", "claimed", "swept")}

    assert (found["settled"]["state"], found["settled"]["handed"]) == ("delivered", True)
    assert (found["claimed"]["state"], found["claimed"]["instance"]) == ("reserved", living.instance)
    assert (found["swept"]["state"], found["swept"]["error"]) == ("unknown", "")


@pytest.mark.parametrize("committed", [False, True])
async def test_whether_the_caller_has_it_is_told(make: Make, committed: bool) -> None:
    """Delivered is what was taken, is kept, or went out whole (`handed` false); what nobody has is unknown."""
    names = ("taken", "sent", "kept", "handed", "again", "unsent", "never", "both", "one", "full", "full-sent")
    dying, following = make(), make()
    await dying.start()
    for name in names:
        await dying.open(replace(entry(name), fingerprint=f"print-{name}"))
        await dying.settle(given(entry(name)))
    for name in ("sent", "again", "unsent", "both", "both", "one", "one", "full-sent"):
        dying.sent(name)
    for name in ("unsent", "again", "both", "both", "one"):
        dying.unsent(name)
    dying.taken("taken")
    for name in ("full", "full-sent"):
        await dying.note(name, document="")  # a disk that was full: nothing is kept
    await dying.note("kept", document="ab.answer")
    await dying.note("handed", document="cd.answer", handed=True)
    dying.sent("again")
    for _ in range(200 * committed):
        await asyncio.sleep(0.02)
        if (await row_of(dying, "handed"))["handed"]:
            break
    dies(dying)
    await following.start()
    rows = {name: await row_of(following, name) for name in names}
    past = {row.request_id: row for row in await following.past(0)}

    assert {name for name, row in rows.items() if row["state"] == "unknown"} == {"unsent", "never", "both", "full"}
    assert {row["error"] for row in rows.values() if row["state"] == "unknown"} == {"instance died"}
    assert {name: row["handed"] for name, row in rows.items() if row["state"] == "delivered"} == {
        "taken": None,
        "sent": False,
        "again": False,
        "one": False,
        "full-sent": False,
        "kept": None,
        "handed": True,
    }
    assert {name: row["document"] for name, row in rows.items() if row["document"]} == {
        "kept": "ab.answer",
        "handed": "cd.answer",
    }
    assert {name for name, row in past.items() if row.unheard} == {"sent", "again", "one", "full-sent"}


async def test_where_an_answer_is_kept_is_known_at_once(make: Make) -> None:
    """Others may give it to a repeat from then on: no moment is left in which a kill forgets it."""
    dying, following = make(), make()
    await dying.start()
    await dying.open(replace(entry("one"), fingerprint="print"))
    await dying.settle(given(entry("one")))
    await dying.note("one", document="ab.answer")
    dies(dying)
    await following.start()
    row = await row_of(following, "one")

    assert (row["state"], row["document"]) == ("delivered", "ab.answer")


async def test_a_commit_that_comes_late_does_not_hide_what_is_known(make: Make) -> None:
    """A database goes on with what a killed gateway gave it: what the file says is brought in behind that."""
    dying, living = make(), make()
    await dying.start()
    for name in ("sent", "never"):
        await dying.open(replace(entry(name), fingerprint=f"print-{name}"))
    for name in ("sent", "never"):
        await dying.settle(given(entry(name)))
    dying.sent("sent")
    dies(dying)
    async with living.engine.begin() as connection:
        await connection.execute(update(requests).values(state="delivered", images_delivered=2))
        recovering = asyncio.create_task(living.start())
        await asyncio.sleep(0.3)
    await recovering
    await living.recover()
    rows = {name: await row_of(living, name) for name in ("sent", "never")}

    assert {name: (row["state"], row["handed"]) for name, row in rows.items()} == {
        "sent": ("delivered", False),
        "never": ("unknown", None),
    }


async def test_what_nobody_has_is_asked_for_again_where_that_is_free(make: Make) -> None:
    """A row that still holds its tasks keeps them: the next gateway asks the upstream for the same images."""
    dying, following = make(), make()
    await dying.start()
    for name in ("never", "sent"):
        await dying.open(entry(name).but(tasks="{}"))
    for name in ("never", "sent"):
        await dying.settle(given(entry(name)))
    dying.sent("sent")
    dies(dying)
    await following.start()

    assert [(row.request_id, row.state) for row in await following.abandoned(0, 10)] == [("never", State.UNKNOWN)]


async def test_files_of_another_machine_wait_for_its_heartbeat(make: Make, tmp_path: Path) -> None:
    """A lock of another machine may not be seen on this one: its gateway is dead when its heartbeat is old."""
    dying, living = make(), make()
    await dying.start()
    await dying.open(entry("one"))
    await dying.settle(given(entry("one")))
    dying.sent("one")
    dies(dying)
    (file,) = files(tmp_path)
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps({**json.loads(head), "machine": "another"}), *lines]))
    await living.start()
    early = (await row_of(living, "one"))["state"]
    async with living.engine.begin() as connection:
        await connection.execute(update(instances).where(instances.c.id == dying.instance).values(heartbeat=0))
    await living.recover()

    assert early == "reserved"
    assert (await row_of(living, "one"))["state"] == "delivered"
    assert not file.exists()


async def test_files_of_another_database_are_left(make: Make, tmp_path: Path) -> None:
    """Nothing of it is here: its own gateways may come for it; after a day it is rubbish."""
    other, living = make(), make()
    stray = Settlements(tmp_path / "settlements", "0123456789abcdef", CLOCK)
    stray.tidy()
    stray.add(settled(given(entry("elsewhere"))))
    stray.close()
    await living.start()
    (kept,) = [path for path in files(tmp_path) if path.name.startswith("0123456789abcdef")]
    os.utime(kept, (1, 1))
    await living.recover()

    assert not kept.exists()
    assert other.waiting == 0


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\n",
        b"\0" * 5000,
        b'\n["one", 1, 2]',
        b"\n[]\n{}\nnull\n7\n" + b"[" * 100_000,
        b'\n["one", {"handed": "x", "state": "failed"}]'[:-1],
        b'\n["one", {"cost": 1}]\n["one", "delivered"',
        b'\n["one"',
        b"\n\xff\xfe\xfa",
    ],
    ids=range(9),
)
def test_rubbish_costs_itself_alone(rubbish: bytes, tmp_path: Path) -> None:
    """Whatever stands before, between or behind, the lines that can be read count."""
    first = Settlements(tmp_path, "a" * 16, CLOCK)
    first.tidy()
    (file,) = tmp_path.iterdir()
    for name in ("one", "two"):
        with file.open("ab") as opened:
            opened.write(rubbish)
        first.add(settled(given(entry(name))))
    with file.open("ab") as opened:
        opened.write(rubbish)
    first.close()
    (found,) = left(tmp_path)
    found.release()

    assert {name: columns["state"] for name, columns in found.settled.items()} == {
        "one": "delivered",
        "two": "delivered",
    }


@pytest.mark.parametrize("head", [b"", b"rubbish\n", b"[]\n", b'{"form": 99}\n["one"]\n'])
async def test_a_file_that_nobody_can_read_is_left(make: Make, tmp_path: Path, head: bytes) -> None:
    """It stops no start; another release may come for it within a day."""
    (tmp_path / "settlements").mkdir()
    file = tmp_path / "settlements" / f"{'b' * 16}.00000001.jsonl"
    file.write_bytes(head)
    living = make()
    await living.start()
    await living.open(entry("one"))
    os.utime(file, (1, 1))
    kept = file.exists()
    await living.recover()

    assert kept
    assert not file.exists()


async def test_a_value_that_no_database_takes_keeps_nothing_else_out(make: Make) -> None:
    """The others are brought in; the start goes on, and it is told once."""
    telemetry = Telemetry()
    dying, following = make(), make(watch=telemetry)
    await dying.start()
    for name in ("one", "huge", "two"):
        await dying.open(entry(name))
    for name in ("one", "huge", "two"):
        await dying.settle(given(entry(name)).but(tokens_in=2**70 if name == "huge" else 5))
        dying.sent(name)
    dies(dying)
    await following.start()
    states = {name: (await row_of(following, name))["state"] for name in ("one", "huge", "two")}

    assert states == {"one": "delivered", "huge": "unknown", "two": "delivered"}
    assert 'pinhole_troubles_total{part="settlements"} 1.0' in telemetry.metrics.text().decode()


def test_a_file_goes_when_its_changes_are_written_and_receipts_had_their_time(tmp_path: Path) -> None:
    """Full pages follow each other; none goes before its time, and the last stays while its process lives."""
    clock = StillClock()
    found = Settlements(tmp_path, "a" * 16, clock, full=500)
    found.tidy()
    for i in range(10):
        found.add(settled(given(entry(str(i)))))
        found.taken(str(i))
        found.flush()
    pages = sorted(tmp_path.iterdir())
    clock.at += 61
    found.tidy()
    unwritten = sorted(tmp_path.iterdir())
    found.written(10)
    found.tidy()
    written = sorted(tmp_path.iterdir())
    found.add(settled(given(entry("last"))))
    found.close()

    assert len(pages) > 2
    assert unwritten == pages
    assert written == pages[-1:]
    assert [*next(left(tmp_path)).settled][-1] == "last"


def test_a_page_stays_until_it_is_known_who_has_its_answers(tmp_path: Path) -> None:
    """A slow caller's verdict comes late; and what a later page says of an earlier one goes after it."""
    clock = StillClock()
    found = Settlements(tmp_path, "a" * 16, clock, full=500)
    found.tidy()
    names = ["slow", *map(str, range(10))]
    for name in names:
        found.add(settled(given(entry(name))))
        found.flush()
    for name in names[1:]:
        found.taken(name)
    found.flush()
    pages = sorted(tmp_path.iterdir())
    clock.at += 61
    found.written(len(names))
    found.tidy()
    waiting = sorted(tmp_path.iterdir())
    found.taken("slow")
    found.tidy()
    rest = sorted(tmp_path.iterdir())
    found.close()

    assert len(pages) > 2
    assert waiting == pages
    assert rest == pages[-1:]


def test_a_page_that_was_begun_in_the_last_moment_is_not_missed(tmp_path: Path) -> None:
    """A gateway turned its page and was killed while somebody looked for what it left: all of it, or nothing yet."""
    for instance in ("a" * 16, "b" * 16):
        found = Settlements(tmp_path, instance, CLOCK)
        found.tidy()
        found.add(settled(given(entry(instance))))
        found.close()
    looking = left(tmp_path)
    first = next(looking)
    (tmp_path / f"{'b' * 16}.00000002.jsonl").write_text('["sent", "it"]')
    others = [*looking]
    first.release()
    both = [*left(tmp_path)]
    for each in both:
        each.release()

    assert others == []
    assert [each.instance[0] for each in both] == ["a", "b"]


def test_a_clean_end_leaves_no_file(tmp_path: Path) -> None:
    """All that was added is written: there is nothing for the next start."""
    found = Settlements(tmp_path, "a" * 16, CLOCK)
    found.tidy()
    found.add(settled(given(entry("one"))))
    found.written(1)
    found.close()

    assert [*tmp_path.iterdir()] == []


def test_it_is_for_its_owner_and_holds_what_the_row_holds(tmp_path: Path) -> None:
    """Mode 0600, in a folder of mode 0700; of a request only columns of the row, and no end user."""
    folder = tmp_path / "settlements"
    found = Settlements(folder, "a" * 16, CLOCK)
    found.tidy()
    found.add(settled(replace(given(entry("one")), end_user="somebody", caller_name="a-caller")))
    found.flush()
    (file,) = folder.iterdir()
    text = file.read_text()
    found.close()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert json.loads(text.splitlines()[0])["names"] == [*SETTLED]
    assert len(json.loads(text.splitlines()[-1])) == 2 + len(SETTLED)
    assert "somebody" not in text
    assert "a-caller" not in text


@contextmanager
def full(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("count", [3, 5000])
def test_a_full_disk_is_told_once_and_what_comes_after_it_counts(tmp_path: Path, count: int) -> None:
    """What it did not take is written when it has room again, up to a bound: beyond that it costs itself alone."""
    telemetry = Telemetry()
    found = Settlements(tmp_path, "a" * 16, CLOCK, telemetry)
    found.tidy()
    (file,) = tmp_path.iterdir()
    found.add(settled(given(entry("before"))))
    found.flush()
    with full(file.stat().st_size + 20):
        for number in range(count):
            found.add(settled(given(entry(f"late-{number}"))))
            found.flush()
    found.add(settled(given(entry("after"))))
    found.close()
    first, *late, last = next(left(tmp_path)).settled

    assert (first, last) == ("before", "after")
    assert late == [f"late-{number}" for number in range(count - len(late), count)]
    assert late
    assert (len(late) == count) == (count == 3)
    assert f'pinhole_troubles_total{{part="settlements"}} {count}.0' in telemetry.metrics.text().decode()


async def test_without_a_folder_it_is_as_it_was(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that cannot be made stops neither start nor request; it is logged once, and made when it can be."""
    place = tmp_path / "taken"
    place.write_text("no folder")
    telemetry = Telemetry()
    found = make(folder=place / "settlements", watch=telemetry)
    await found.start()
    await found.open(entry("one"))
    await found.settle(given(entry("one")))
    found._settlements.tidy()  # noqa: SLF001 - what its own task does every ten seconds
    place.unlink()
    found._settlements.tidy()  # noqa: SLF001 - as above
    for _ in range(200):
        if (await row_of(found, "one"))["state"] == "delivered":
            break
        await asyncio.sleep(0.02)

    assert (await row_of(found, "one"))["state"] == "delivered"
    assert len([record for record in caplog.records if record.message == "trouble"]) == 1
    assert len([*(place / "settlements").iterdir()]) == 1


async def test_a_stop_while_the_database_is_away_loses_nothing(make: Make, tmp_path: Path) -> None:
    """What could not be written until the end lies in the file, and the next start brings it in."""
    stopping, following = make(), make()
    await stopping.start()
    await stopping.open(entry("one"))
    async with following.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE requests RENAME TO away")
    try:
        await stopping.settle(given(entry("one")))
        stopping.sent("one")
        await asyncio.sleep(0.1)
        await stopping.close()
        between = files(tmp_path)
    finally:
        async with following.engine.begin() as connection:
            await connection.exec_driver_sql("ALTER TABLE away RENAME TO requests")
    await following.start()

    assert len(between) == 1
    assert (await row_of(following, "one"))["state"] == "delivered"
    assert not between[0].exists()


BODY = {"model": "dall-e-2", "size": "256x256", "response_format": "b64_json"}


@contextmanager
def serving(upstream: OpenAIStandIn, folder: Path) -> Iterator[Process]:
    """A gateway whose provider is a stand-in."""
    environ = {"PINHOLE_SANDBOX": "false", "OPENAI_API_KEY": upstream.key, "OPENAI_BASE_URL": upstream.base_url}
    with Process(folder, "", environ) as found:
        yield found.wait()


def ask(gateway: Process, prompt: str, **fields: object) -> httpx2.Response:
    """One image, in a connection of its own that stays open."""
    body = {**BODY, "prompt": prompt, **fields}
    return httpx2.post(f"{gateway.url}/v1/images/generations", json=body, timeout=60)


def test_sigterm_while_the_database_is_away(tmp_path: Path) -> None:
    """A gateway that is stopped in an outage answers its caller; its next start tells the ledger."""
    with (
        OpenAIStandIn() as upstream,
        serving(upstream, tmp_path) as gateway,
        closing(sqlite3.connect(tmp_path / "pinhole.db", isolation_level=None)) as plain,
    ):
        assert ask(gateway, "first").status_code == 200
        for _ in range(200):
            if plain.execute("SELECT state FROM requests").fetchall() == [("delivered",)]:
                break
            time.sleep(0.02)
        plain.execute("CREATE TRIGGER away BEFORE UPDATE ON requests BEGIN SELECT RAISE(ABORT, 'away'); END")
        assert ask(gateway, "second").status_code == 200
        in_time = gateway.stop()
        before = plain.execute("SELECT state FROM requests ORDER BY created").fetchall()
        plain.execute("DROP TRIGGER away")
        gateway.start().wait()
        after = plain.execute("SELECT state FROM requests ORDER BY created").fetchall()

    assert in_time
    assert before == [("delivered",), ("reserved",)]
    assert after == [("delivered",), ("delivered",)]


def test_a_repeat_of_what_was_on_its_way_is_no_new_call(tmp_path: Path) -> None:
    """Nobody knows whether the first caller has it: the repeat is told so; what was taken may be asked for anew."""
    with OpenAIStandIn() as upstream, serving(upstream, tmp_path) as gateway:
        with httpx2.Client(timeout=60) as client:

            def asked(prompt: str) -> int:
                url = f"{gateway.url}/v1/images/generations"
                return client.post(url, json={**BODY, "prompt": prompt}).status_code

            first = [asked("taken"), asked("unheard")]  # the second request says that the first was taken
        with closing(sqlite3.connect(tmp_path / "pinhole.db")) as plain:
            gateway.kill()
            gateway.start().wait()
            handed = plain.execute("SELECT handed FROM requests ORDER BY created").fetchall()
        paid = upstream.paid
        again = [ask(gateway, "taken").status_code, ask(gateway, "unheard").status_code]
        more = upstream.paid - paid

    assert first == [200, 200]
    assert handed == [(None,), (0,)]
    assert again == [200, 502]
    assert more == 1


class LargeOpenAI(OpenAIStandIn):
    """Its images are larger than what two kernels hold of an answer that nobody reads."""

    def _drawn(self, wish: Any, index: int) -> bytes:
        image = super()._drawn(wish, index)
        rest = b"prVt" + os.urandom(12 * 2**20)
        chunk = struct.pack(">I", len(rest) - 4) + rest + struct.pack(">I", zlib.crc32(rest))
        return image[:33] + chunk + image[33:]  # behind the header


def begin(gateway: Process, prompt: str, more: str = "", **fields: object) -> socket.socket:
    """A caller that has asked for an image, and reads as much as it likes."""
    content = json.dumps({**BODY, "prompt": prompt, **fields})
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    head = f"POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(content)}\r\n"
    connection.sendall(f"{head}content-type: application/json\r\n{more}\r\n{content}".encode())
    return connection


def killed(gateway: Process, folder: Path) -> list[tuple[str, int | None]]:
    """States, and whether their answers were handed over, after a kill and the next start."""
    gateway.kill()
    gateway.start().wait()
    with closing(sqlite3.connect(folder / "pinhole.db")) as plain:
        return plain.execute("SELECT state, handed FROM requests ORDER BY created").fetchall()


@pytest.mark.parametrize("retries", [False, True])
def test_who_has_half_an_answer_has_none(tmp_path: Path, *, retries: bool) -> None:
    """A large answer is read by nobody when its gateway is killed; a retry found it kept before that."""
    with LargeOpenAI() as upstream, serving(upstream, tmp_path) as gateway:
        if retries:
            with closing(begin(gateway, "one", "x-stainless-retry-count: 0\r\n")) as first:
                read(first)
            time.sleep(0.5)  # as long as openai-python waits
        with closing(begin(gateway, "one", f"x-stainless-retry-count: {int(retries)}\r\n")) as caller:
            assert caller.recv(1)
            time.sleep(0.2)
            rows = killed(gateway, tmp_path)
        again = ask(gateway, "one")

    assert rows == [("delivered" if retries else "unknown", None)]
    assert (again.status_code, again.headers.get("pinhole-replayed")) == (200 if retries else 502, "true")
    assert upstream.paid == 1


@pytest.mark.parametrize("more", ["", "connection: close\r\n"])
@pytest.mark.parametrize("fields", [{"response_format": "url"}, {}], ids=["link", "base64"])
def test_who_has_all_of_an_answer_is_known(tmp_path: Path, more: str, fields: dict[str, object]) -> None:
    """Its gateway is killed in the moment of the last byte."""
    with OpenAIStandIn() as upstream, serving(upstream, tmp_path) as gateway:
        with closing(begin(gateway, "one", more, **fields)) as caller:
            read(caller)
            rows = killed(gateway, tmp_path)
        again = ask(gateway, "one", **fields).status_code

    assert rows == [("delivered", 0)]
    assert again == 502
    assert upstream.paid == 1


def test_who_has_the_last_event_of_a_stream_is_known(tmp_path: Path) -> None:
    """Its gateway is killed before the caller could read that nothing comes behind it."""
    fields: dict[str, Any] = {"model": "gpt-image-1.5", "size": "1024x1024", "response_format": None, "stream": True}
    rows = []
    with OpenAIStandIn() as upstream, serving(upstream, tmp_path) as gateway:
        for number in range(5):
            with closing(begin(gateway, f"wish {number}", **fields)) as caller:
                data = b""
                while b"\n\n" not in data.partition(b'"pinhole":')[2]:
                    piece = caller.recv(2**20)
                    assert piece
                    data += piece
                rows = killed(gateway, tmp_path)

    assert rows == [("delivered", 0)] * 5
