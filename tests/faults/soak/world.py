"""All that takes part in a soak: Redis, PostgreSQL, providers behind the fault proxy, gateways; and their books."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select

from app.ledger import State
from app.ledger.database import engine
from app.ledger.tables import requests
from app.settings import load
from tests.faults.fault import Stage
from tests.faults.proxy import FaultProxy, Passage
from tests.faults.soak.callers import KEY, Caller, had
from tests.faults.soak.providers import FREE, Chance, Made, UniqueOpenAI, UniqueReplicate, named
from tests.faults.soak.size import Report, Size
from tests.processes import Process
from tests.services import RedisServer, postgres
from tests.upstreams.replicate import KEY as REPLICATE_KEY

CONFIG = "storage: {{url: 'file://{images}'}}\nserver: {{drain_seconds: 60}}\nkeys: [{{name: soak, key: {key}}}]\n"
SWEPT_SECONDS = 120  # rows of killed gateways are swept within a minute or so


@dataclass(frozen=True, slots=True)
class World:
    """What the soak drives, and what it reads afterwards."""

    gateways: tuple[Process, ...]
    made: Made
    proxies: tuple[FaultProxy, ...]
    environs: tuple[dict[str, str], ...]

    async def rows(self, seconds: int) -> dict[str, set[State]]:
        """The ledger's states by wish, when none is open any more or after so many seconds."""
        found: dict[str, set[State]] = {}
        for _ in range(seconds):
            found = defaultdict(set)
            for environ in self.environs:
                database = engine(load(environ))
                async with database.connect() as connection:
                    query = select(requests.c.label, requests.c.state)
                    for label, state in (await connection.execute(query)).all():
                        found[label.partition(".")[0]].add(State(state))
                await database.dispose()
            if not any(State.RESERVED in states for states in found.values()):
                break
            await asyncio.sleep(1)
        return found

    def submits(self) -> dict[str, list[Passage]]:
        """The submits of each wish, in order."""
        found: dict[str, list[Passage]] = defaultdict(list)
        for passage in self._passages(Stage.SUBMIT):
            found[named(passage.exchange)].append(passage)
        return found

    def _passages(self, stage: Stage) -> Iterator[Passage]:
        return (one for proxy in self.proxies for one in proxy.passages if one.stage is stage)


@contextmanager
def world(size: Size, report: Report) -> Iterator[World]:
    """Everything started."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="pinhole-soak-")))
        redis = stack.enter_context(RedisServer(folder / "redis"))
        made = Made()
        openai = stack.enter_context(UniqueOpenAI(made))
        replicate = stack.enter_context(UniqueReplicate(made))
        proxies = tuple(
            stack.enter_context(FaultProxy(upstream, Chance(f"{report.seed}/{number}", size.faults)))
            for number, upstream in enumerate((openai, replicate))
        )
        environ = {
            "PINHOLE_SANDBOX": "false",
            "PINHOLE_SECRET": "a-secret-of-the-soak-and-of-nothing-else",
            "PINHOLE_DEADLINE_SECONDS": "45",
            "REDIS_URL": redis.url,
            "OPENAI_API_KEY": openai.key,
            "OPENAI_BASE_URL": f"{proxies[0].url}/v1",
            "REPLICATE_API_TOKEN": REPLICATE_KEY,
            "REPLICATE_BASE_URL": proxies[1].url,
        }
        if size.database:
            environ["DATABASE_URL"] = stack.enter_context(postgres())
        config = CONFIG.format(images=folder / "images", key=KEY)
        folders = [folder / str(number) for number in range(size.gateways)]
        gateways = [Process(own, config, environ) for own in folders]
        if size.database:
            gateways[0].upgrade()
        environs = [environ] if size.database else [{**environ, "PINHOLE_DATA_DIR": str(own)} for own in folders]
        started = tuple(stack.enter_context(process) for process in gateways)
        for process in started:
            process.wait()
        yield World(started, made, proxies, tuple(environs))


async def reckon(report: Report, found: World, callers: Sequence[Caller], *, killed: bool) -> None:
    """The proxies' book against the callers', and against the ledger's where a kill -9 excuses a loss."""
    rows = await found.rows(SWEPT_SECONDS if killed else 5)
    ends = {name: end for caller in callers for name, end in caller.ends.items()}
    told = {name: lines for caller in callers for name, lines in caller.told.items()}
    report.rows.update("+".join(sorted(states)) for states in rows.values())
    for name, passages in found.submits().items():
        report.submits += len(passages)
        history = sorted([*told.get(name, ()), *(f"{one.at:.3f} {one.fault.short}" for one in passages)])
        paying = [index for index, passage in enumerate(passages) if passage.fault not in FREE]
        if paying and len(passages) > paying[0] + 1:
            report.paid_twice.append(f"{name}: {history}")
        if not any(one.whole for one in passages) or ends.get(name) == "answered":
            continue
        if await had(found.gateways[0].url, name, found.made):
            report.later += 1
            continue
        excused = killed and State.UNKNOWN in rows.get(name, ())
        (report.unknown if excused else report.lost).append(f"{name}: {sorted(rows.get(name, ()))}: {history}")
    report.answered = report.outcomes["answered"]
