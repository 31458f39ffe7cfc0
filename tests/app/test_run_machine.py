"""Random walks through joins and replays: gateways do what the design's sentences say, whichever index they share."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from app.answer import Answer
from app.auth import ANONYMOUS
from app.config import Config
from app.delivery import Delivered
from app.errors import KeyReused
from app.http.receipts import GONE
from app.ledger import Entry, MemoryLedger
from app.ledger import State as Row
from app.redis import connect
from app.registry import Registry
from app.runs import Index, LedgerIndex, MemoryIndex, Record, Run, Runs, Seat, failures
from app.runs.memory import Book
from app.runs.redis import RedisIndex
from app.settings import load
from app.store import ImageStore
from providers import discover
from providers.core.errors import PinholeError, UpstreamError, UpstreamRateLimited
from providers.core.http import Buffer
from providers.core.types import ImageFormat, ImageRequest, Operation
from tests.machines import walk
from tests.services import RedisServer

EXAMPLES: Final = int(os.environ.get("PINHOLE_MACHINE_EXAMPLES", "25"))
RULES: Final = settings(
    max_examples=EXAMPLES,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# The design, "Money and repeats".
REPEAT_SECONDS: Final = 600
KEPT_SECONDS: Final = 3600
PATIENCE: Final = 60
SETTLED_WITHIN: Final = 10.0
RETRY_SECONDS: Final = 3  # for which a retry may deny that its first took the answer
TAKES, LEAVES, ENDS = "takes", "leaves", "ends"
SHORTEST_LOOK: Final = 0.1  # of a follower at its run; a doubt's first pause is shorter
RUNNING, ANSWERED, BILLED, FREE, UNKNOWN = "running", "answered", "billed", "free", "unknown"
OVER: Final = {BILLED, UNKNOWN}
T = TypeVar("T")

REGISTRY: Final = Registry(discover(), load({"PINHOLE_SANDBOX": "true"}), Config())
WISH: Final = ImageRequest(operation=Operation.GENERATE, prompt="p", model="sandbox/canvas")
ROUTE: Final = REGISTRY.resolve(WISH, ANONYMOUS)
PLAN: Final = REGISTRY.plan(WISH, ROUTE)


def answer(name: str) -> Answer:
    """What a run makes: one image that tells which run it was."""
    return Answer(
        created=1,
        route=ROUTE,
        plan=PLAN,
        images=(Delivered(format=ImageFormat.PNG, size=None, base64=name.encode()),),
        failures=(),
        usage=None,
        resolved={},
        adjustments=(),
        cost=1,
        attempts=1,
        upstream_request_ids=(),
        standings=(),
    )


def untroubled(part: str, error: BaseException) -> None:
    """Nothing of the storage goes wrong here."""
    raise AssertionError(part) from error


class Time:
    """Passes when the machine says so; whoever sleeps is woken soon, to look again.

    Who waits for news of a hang-up waits until the machine has told it: `doubt` is set then.
    """

    def __init__(self) -> None:
        self.at = 1_800_000_000.0
        self.doubt: asyncio.Event | None = None

    def now(self) -> float:
        return self.at

    def time(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        if seconds >= SHORTEST_LOOK:
            await asyncio.sleep(0.001)
            return
        self.doubt = asyncio.Event()
        await self.doubt.wait()


class Shelf:
    """The storage that gateways share: documents by name."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}

    async def keep(self, pieces: Sequence[Buffer]) -> str:
        name = secrets.token_hex(16)
        self.documents[name] = b"".join(pieces)
        return name

    async def kept(self, name: str) -> bytes | None:
        return self.documents.get(name)

    async def drop(self, name: str) -> None:
        self.documents.pop(name, None)


@dataclass(eq=False)
class Gateway:
    """One process: an event loop of its own, which ends with it."""

    name: str
    index: Index
    runs: Runs
    loop: asyncio.AbstractEventLoop

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(what)

    def end(self) -> None:
        """As kill -9 does: nothing of it goes on, and the index finds that it is gone."""
        self.run(self.index.close())
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        while asyncio.all_tasks(self.loop):
            self.run(asyncio.sleep(0))
        self.loop.close()


@dataclass(eq=False)
class Call:
    """What the model knows of one paid call."""

    name: str
    caller: str
    wish: str
    key: str
    gateway: Gateway
    started: float
    state: str = RUNNING
    got: bool = False
    alone: bool = False
    claim: tuple[str, Gateway, float, int] | None = None
    outcome: asyncio.Future[Answer] | None = None
    visits: list[Visit] = field(default_factory=list)
    believed: list[Visit] = field(default_factory=list)


class Caller:
    """A caller's connection, with both ends."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.gone = False
        self.events = GONE

    @property
    def number(self) -> int:
        return self.ours.fileno()

    def hang_up(self) -> None:
        """The kernel knows, and nobody asks it."""
        self.gone = True
        self.theirs.close()

    def end(self) -> None:
        """As if it had all of its answer."""
        self.events = 0
        self.theirs.close()

    def close(self) -> None:
        """Both ends."""
        self.ours.close()
        self.theirs.close()


@dataclass(eq=False)
class Visit:
    """A caller that waits, has left unheard, or until a time may still deny that it has its answer."""

    seat: Seat
    asker: str
    gateway: Gateway
    caller: Caller
    until: float = 0.0


class RunMachine(RuleBasedStateMachine):
    """The design's sentences as a model, beside gateways that were given the same steps."""

    size = 2

    def __init__(self) -> None:
        super().__init__()
        self.clock = Time()
        self.shelf = Shelf()
        self.ledger = MemoryLedger()
        self.gateways: list[Gateway] = []
        self.calls: list[Call] = []
        self.callers: list[Caller] = []
        self.ended: list[tuple[Call, Visit]] = []
        self.asked = 0

    def index(self, name: str) -> Index:
        """A new gateway's way to what all of them know."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Every gateway starts."""
        self.gateways = [self._started(f"one-{i}") for i in range(self.size)]

    def _started(self, name: str) -> Gateway:
        loop = asyncio.new_event_loop()
        index = self.index(name)
        store = cast("ImageStore", self.shelf)
        runs = Runs(self.clock, index, store, untroubled, wanted_seconds=0.001)
        made = Gateway(name, index, runs, loop)
        made.run(self._learned(index))
        return made

    async def _learned(self, index: Index) -> None:
        await index.start()

    @rule(
        at=st.integers(0, 1),
        caller=st.sampled_from(["c", "c", "c", "c", "d"]),
        wish=st.sampled_from(["p", "p", "p", "p", "q"]),
        key=st.sampled_from(["", "", "", "k"]),
        retry=st.sampled_from([0, 0, 1, 2]),
        takes=st.sampled_from([TAKES, LEAVES, ENDS]),
    )
    def ask(self, *, at: int, caller: str, wish: str, key: str, retry: int, takes: str) -> None:
        """A request comes: it is a first, or it gets the call that the design names."""
        gateway = self.gateways[at % self.size]
        self._passes(1)
        self.asked += 1
        name = f"run{self.asked:05}"
        doubtful = False
        if not key:
            self._is_heard(gateway, caller, wish)
        expected = self._expected(caller, wish, key, retry=retry)
        if expected is None and not key:
            doubtful = any(self._doubtful(call, gateway) for call in self._open(caller, wish))
        record = Record(
            id=name,
            caller=caller,
            label=f"label-{name}",
            fingerprint=wish,
            key=key,
            started=self.clock.at,
            owner=gateway.index.instance,
        )
        new = Call(name, caller, wish, key, gateway, self.clock.at)
        peer, entered = Caller(), partial(self._made, new)
        self.callers.append(peer)
        try:
            seat, doubted = self._entered(
                gateway, gateway.runs.enter(record, entered, retry=retry, patience=PATIENCE, peer=peer)
            )
        except KeyReused:
            assert expected == "reused"
            return
        assert expected != "reused"
        assert doubted == doubtful
        if doubtful:
            expected = self._expected(caller, wish, key, retry=retry)
        if expected is None:
            assert (seat.repeat, seat.run.record.id) == (False, name)
            self.calls.append(new)
        else:
            assert isinstance(expected, Call)
            assert (seat.repeat, seat.run.record.id) == (True, expected.name)
        call = expected if isinstance(expected, Call) else new
        visit = Visit(seat, name, gateway, peer)
        call.visits.append(visit)
        if isinstance(expected, Call) and retry:
            self._denied(call, gateway)
        if isinstance(expected, Call) and not key and call.state not in OVER:
            call.claim = (name, gateway, self.clock.at + PATIENCE, retry)
        if call.state != RUNNING:
            self._gets(call, visit, takes=takes)
        self._settle()

    def _expected(self, caller: str, wish: str, key: str, *, retry: int) -> Call | str | None:
        """The call that a request repeats, by the design's own words."""
        if key:
            found = next((c for c in reversed(self.calls) if (c.caller, c.key) == (caller, key)), None)
            if found is None or found.state == FREE:
                return None
            return found if found.wish == wish else "reused"
        mine = self._open(caller, wish)
        open_ = [call for call in mine if call.state not in OVER and not self._claimed(call)]
        undelivered = [call for call in open_ if call.alone]
        held = [c for c in mine if c.state not in OVER and self._claimed(c) and c.claim and c.claim[3] < retry]
        failed = [call for call in mine if call.state in OVER]
        return next(iter([*undelivered, *(open_ if retry else ()), *held, *failed]), None)

    def _open(self, caller: str, wish: str) -> list[Call]:
        """The calls of equal requests whose outcome nobody got."""
        return [
            call
            for call in self.calls
            if (call.caller, call.wish, call.key) == (caller, wish, "")
            and call.started >= self.clock.at - REPEAT_SECONDS
            and call.state != FREE
            and not call.got
        ]

    def _doubtful(self, call: Call, gateway: Gateway) -> bool:
        """Whether its caller may have left without this gateway's index knowing."""
        if call.state in OVER:
            return False
        if call.claim is not None and self._claimed(call):
            return call.claim[1] is not gateway
        return call.gateway is not gateway and (call.state == RUNNING or self._believed(call, call.gateway) != [])

    def _entered(self, gateway: Gateway, entering: Coroutine[Any, Any, Seat]) -> tuple[Seat, bool]:
        """A place, and whether there was a doubt: then the others hear meanwhile who left there."""
        task, doubted = gateway.loop.create_task(entering), False
        while not task.done():
            gateway.run(asyncio.sleep(0))
            if self.clock.doubt is not None:
                self._hear(lambda _, visit: visit.gateway is not gateway)
                self.clock.doubt.set()
                doubted, self.clock.doubt = True, None
        return task.result(), doubted

    def _hear(self, which: Callable[[Call, Visit], bool]) -> None:
        """Gateways hear of callers that left; the index knows it when they have said so."""
        for call in self.calls:
            for visit in [visit for visit in call.visits if visit.caller.gone and which(call, visit)]:
                self._leaves(call, visit, delivered=False)
                if visit.seat.books is not None:
                    visit.gateway.run(self._kept(visit.seat.books))

    def _is_heard(self, gateway: Gateway, caller: str, wish: str) -> None:
        """A gateway asks the kernel before it decides: nobody has to tell it of its own callers."""
        for call in self.calls:
            for visit in [visit for visit in call.visits if visit.caller.gone and visit.gateway is gateway]:
                if (call.caller, call.wish) == (caller, wish):
                    self._left(call, visit, delivered=False)

    async def _kept(self, books: asyncio.Task[None]) -> None:
        await books

    def _claimed(self, call: Call) -> bool:
        return call.claim is not None and call.claim[1] in self.gateways and call.claim[2] > self.clock.at

    async def _made(self, call: Call, _: Run) -> Answer:
        """The pipeline's stand-in: a row, and an outcome when the machine says so."""
        entry = Entry(
            request_id=call.name,
            caller=call.caller,
            caller_name=call.caller,
            end_user=None,
            model_asked="m",
            model="m",
            provider="p",
            operation="generate",
            images_asked=1,
            created=call.started,
            label=f"label-{call.name}",
            fingerprint=call.wish,
            idempotency=call.key,
        )
        await self.ledger.open(entry)
        call.outcome = asyncio.get_running_loop().create_future()
        try:
            made = await call.outcome
        except PinholeError as error:
            state = Row.UNKNOWN if failures.billed(error) else Row.FAILED
            await self.ledger.settle(replace(entry, state=state, error=type(error).__name__))
            raise
        await self.ledger.settle(replace(entry, state=Row.DELIVERED))
        return made

    @precondition(lambda self: any(call.state == RUNNING for call in self.calls))
    @rule(data=st.data(), how=st.sampled_from([ANSWERED, ANSWERED, FREE, BILLED]))
    def ends(self, data: st.DataObject, how: str) -> None:
        """An upstream answers, fails, or refuses; whoever waits gets that, and takes it or is gone meanwhile."""
        call = data.draw(st.sampled_from([call for call in self.calls if call.state == RUNNING]))
        self._ends(call, how, lambda: data.draw(st.sampled_from([TAKES, LEAVES, ENDS])))

    @precondition(lambda self: any(call.state == RUNNING and call.visits for call in self.calls))
    @rule(
        data=st.data(),
        again=st.lists(
            st.tuples(
                st.integers(0, 1), st.sampled_from([0, 1, 2]), st.sampled_from([TAKES, LEAVES, ENDS]), st.booleans()
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def seems_had(self, data: st.DataObject, again: list[tuple[int, int, str, bool]]) -> None:
        """Every caller ends as if it had its answer: a retry had nothing, anybody else wants another picture."""
        call = data.draw(st.sampled_from([call for call in self.calls if call.state == RUNNING and call.visits]))
        self._ends(call, ANSWERED, lambda: ENDS)
        for at, retry, takes, late in again:
            self._passes(RETRY_SECONDS if late else 0)
            self.ask(at=at, caller=call.caller, wish=call.wish, key=call.key, retry=retry, takes=takes)

    def _ends(self, call: Call, how: str, takes: Callable[[], str]) -> None:
        assert call.outcome is not None
        if not call.key and not self._claimed(call):  # a caller elsewhere has left when it holds the call no more
            for visit in [visit for visit in call.visits if visit.gateway is not call.gateway]:
                self._leaves(call, visit, delivered=False)
        call.state = how
        if how == ANSWERED:
            call.outcome.set_result(answer(call.name))
        else:
            kind = UpstreamError if how == BILLED else UpstreamRateLimited
            call.outcome.set_exception(kind("no"))
        for visit in sorted(call.visits, key=lambda visit: visit.gateway is not call.gateway):
            self._gets(call, visit, takes=takes())
        self._settle()

    def _gets(self, call: Call, visit: Visit, *, takes: str) -> None:
        """A caller gets the outcome of its call, byte for byte or error for error."""
        self._pump(lambda: not visit.seat.run.running, "an outcome that never came")
        state = call.state
        try:
            got: bytes | bool = bytes(visit.seat.run.outcome.images[0].base64 or b"")
        except PinholeError as error:
            got = failures.billed(error)
        assert got == (call.name.encode() if state == ANSWERED else state in OVER)
        had = state == ANSWERED and not visit.caller.gone
        if had and takes == ENDS:
            visit.caller.end()
            visit.until = self.clock.at + RETRY_SECONDS
            call.visits.remove(visit)
            call.believed.append(visit)
            self.ended.append((call, visit))
        else:
            self._leaves(call, visit, delivered=had and takes == TAKES)

    def _believed(self, call: Call, gateway: Gateway) -> list[Visit]:
        """Its callers there that ended as if they had their answer."""
        return [visit for visit in call.believed if visit.gateway is gateway]

    def _denied(self, call: Call, gateway: Gateway) -> None:
        """A retry asks for it, or left without it: those had not."""
        while believed := self._believed(call, gateway):
            self._left(call, believed[0], delivered=False)

    def _passes(self, seconds: float) -> None:
        """Time. What was not denied in three seconds was had."""
        self.clock.at += seconds
        self._had(lambda visit: visit.until <= self.clock.at)

    def _had(self, which: Callable[[Visit], bool]) -> None:
        for call, visit in [each for each in self.ended if which(each[1])]:
            self.ended.remove((call, visit))
            if visit in call.believed:
                self._leaves(call, visit, delivered=True)
            else:
                self._tells(visit, delivered=True)
        self._settle()

    def _leaves(self, call: Call, visit: Visit, *, delivered: bool) -> None:
        self._tells(visit, delivered=delivered)
        self._left(call, visit, delivered=delivered)

    def _tells(self, visit: Visit, *, delivered: bool) -> None:
        async def leave() -> None:
            visit.seat.leave(delivered=delivered)

        visit.gateway.run(leave())

    def _left(self, call: Call, visit: Visit, *, delivered: bool) -> None:
        (call.believed if visit in call.believed else call.visits).remove(visit)
        call.got = call.got or delivered
        if visit.seat.repeat and not delivered:
            self._denied(call, visit.gateway)
        if call.claim is not None and call.claim[0] == visit.asker:
            call.claim = None
        here = [other for other in (*call.visits, *call.believed) if other.gateway is call.gateway]
        if visit.gateway is call.gateway and not here and not call.got:
            call.alone = True

    @precondition(lambda self: any(call.visits for call in self.calls))
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        """A caller hangs up, or its deadline comes first: the call goes on without it."""
        call = data.draw(st.sampled_from([call for call in self.calls if call.visits]))
        self._leaves(call, data.draw(st.sampled_from(call.visits)), delivered=False)
        self._settle()

    @precondition(lambda self: any(call.visits for call in self.calls))
    @rule(data=st.data(), at=st.sampled_from([None, 0, 1]))
    def vanishes(self, data: st.DataObject, at: int | None) -> None:
        """A caller hangs up and may ask again at once: its gateway has not read that yet, only the kernel knows."""
        call = data.draw(st.sampled_from([call for call in self.calls if call.visits]))
        visit = data.draw(st.sampled_from(call.visits))
        if not visit.caller.gone:
            visit.caller.hang_up()
        if at is not None:
            self.ask(at=at, caller=call.caller, wish=call.wish, key="", retry=0, takes=LEAVES)

    @rule()
    def hear(self) -> None:
        """Every gateway reads what has come."""
        self._hear(lambda *_: True)
        self._settle()

    @rule(at=st.integers(0, 1))
    def dies(self, at: int) -> None:
        """Kill -9 and the next start: what ran there is unknown to everybody, what was kept is kept."""
        dead = self.gateways[at % self.size]
        self._had(lambda visit: visit.gateway is dead)  # what it believes when it dies is in the ledger's tests
        dead.end()
        self.gateways[at % self.size] = self._started(f"gateway-{secrets.token_hex(4)}")
        for call in self.calls:
            call.visits = [visit for visit in call.visits if visit.gateway is not dead]
            if call.gateway is dead and call.state == RUNNING:
                call.state = UNKNOWN
                for visit in list(call.visits):
                    self._gets(call, visit, takes=TAKES)
        self._settle()

    @precondition(lambda self: self.clock.at < 1_800_000_000 + KEPT_SECONDS - 800)
    @rule(seconds=st.sampled_from([3.0, 10.0, 10.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        """Claims end after their patience, repeats are recognised for ten minutes."""
        self._passes(seconds)

    @precondition(lambda self: any(not call.got and call.state != FREE for call in self.calls))
    @rule(at=st.integers(0, 1), data=st.data())
    def looks(self, at: int, data: st.DataObject) -> None:
        """A caller finds its own undelivered call by request id on any gateway; nobody else does."""
        call = data.draw(st.sampled_from([call for call in self.calls if not call.got and call.state != FREE]))
        gateway = self.gateways[at % self.size]
        mine = gateway.run(gateway.runs.find(call.caller, f"label-{call.name}"))
        others = gateway.run(gateway.runs.find("somebody else", f"label-{call.name}"))
        assert mine is not None
        assert mine.id == call.name
        assert others is None

    def _settle(self) -> None:
        """Until every book is kept: what still goes on are the calls that run, and those who follow one.

        And the books of those whose callers may still deny that they have it.
        """

        def settled() -> bool:
            running = [call for call in self.calls if call.state == RUNNING]
            for gateway in self.gateways:
                own = sum(call.gateway is gateway for call in running)
                away = sum(
                    v.gateway is gateway for call in running if call.gateway is not gateway for v in call.visits
                )
                unsure = [c for c in self.calls if c.gateway is gateway and self._believed(c, gateway)]
                open_ = sum(not (self.size > 1 and self._claimed(call)) for call in unsure)
                if not own + away <= len(asyncio.all_tasks(gateway.loop)) <= own + away + open_:
                    return False
            return True

        self._pump(settled, "a book that is never closed")
        if self.size > 1:  # a retry elsewhere is heard of when its claim is looked for
            for call in self.calls:
                for visit in [visit for visit in call.believed if visit.seat.left and not visit.seat.repeat]:
                    self._left(call, visit, delivered=False)

    def _pump(self, until: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SETTLED_WITHIN
        for gateway in self.gateways:
            gateway.run(asyncio.sleep(0))
        while not until():
            assert time.monotonic() < deadline, what
            for gateway in self.gateways:
                gateway.run(asyncio.sleep(0.001))

    @invariant()
    def gateways_live(self) -> None:
        """Each says so, as it does every few seconds."""
        for gateway in self.gateways:
            gateway.run(self._beat(gateway.index))

    async def _beat(self, index: Index) -> None:
        await index.beat()

    def teardown(self) -> None:
        for gateway in self.gateways:
            gateway.end()
        for caller in self.callers:
            caller.close()


class OnMemory(RunMachine):
    """The reference index, two gateways."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()

    def index(self, name: str) -> Index:
        return MemoryIndex(name, self.clock, self.book)


class OnLedger(RunMachine):
    """One gateway that finds after each kill what its ledger holds."""

    size = 1

    def index(self, name: str) -> Index:
        return LedgerIndex(name, self.clock, self.ledger)


class OnRedis(RunMachine):
    """The script on a real server, two gateways."""

    server: ClassVar[RedisServer]

    def __init__(self) -> None:
        super().__init__()
        asyncio.run(self.server.ask("FLUSHALL"))

    def index(self, name: str) -> Index:
        return RedisIndex(name, connect(self.server.url), self.clock)


@pytest.mark.parametrize("machine", [OnMemory, OnLedger])
def test_gateways_are_the_model(machine: type[RunMachine]) -> None:
    """Firsts, retries, keys, hang-ups, failures, deaths and replays in any order, and never another answer."""
    walk(machine, RULES)


def test_gateways_on_redis_are_the_model(tmp_path: Path) -> None:
    """The same, each decision made by the script."""
    with RedisServer(tmp_path) as OnRedis.server:
        walk(OnRedis, RULES)
