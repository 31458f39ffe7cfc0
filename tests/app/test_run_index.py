"""One contract for every index of runs; the one on Redis runs against a real redis-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from app.errors import Overloaded
from app.ledger import MemoryLedger, Past
from app.ledger import State as Row
from app.redis import connect
from app.runs import Index, LedgerIndex, MemoryIndex, Record, State
from app.runs.guarded import MISSED, GuardedIndex
from app.runs.memory import Book
from app.runs.protocol import BEAT_SECONDS, KEPT_SECONDS, LABELS, REPEAT_SECONDS, Doubtful, Reused
from app.runs.redis import RedisIndex
from tests.app.test_ledger import entry
from tests.clock import StillClock
from tests.services import RedisServer

ROOM = 1000


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real server for the module."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clock() -> StillClock:
    """Everybody's time."""
    return StillClock()


@pytest.fixture(params=["memory", "redis"])
async def pair(request: pytest.FixtureRequest, clock: StillClock) -> AsyncIterator[tuple[Index, Index]]:
    """Two gateways on one index, empty."""
    if request.param == "memory":
        book = Book()
        yield (
            MemoryIndex("one", clock, book, document_bytes=ROOM),
            MemoryIndex("two", clock, book, document_bytes=ROOM),
        )
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    await server.ask("FLUSHALL")
    one, two = (RedisIndex(name, connect(server.url), clock, document_bytes=ROOM) for name in ("one", "two"))
    await one.start()
    await two.start()
    yield one, two
    for found in (one, two):
        await found.close()


@pytest.fixture
def first(clock: StillClock) -> Callable[..., Record]:
    """Makes records of caller `c`."""

    def make(name: str, *, key: str = "", wish: str = "p", caller: str = "c", owner: str = "one") -> Record:
        return Record(
            id=name,
            caller=caller,
            label=f"label-{name}",
            fingerprint=wish,
            key=key,
            started=clock.time(),
            owner=owner,
        )

    return make


async def begin(index: Index, record: Record, *, retry: int = 0, waited: float = 1.0) -> str | None:
    """The id of what a request repeats."""
    found = await index.begin(replace(record, owner=index.instance), retry=retry, patience=60, waited=waited)
    return found.id if found else None


async def doubt(index: Index, record: Record, *, retry: int = 0, waited: float = 0.0) -> float:
    """How long a request has to wait for news of a hang-up; it is decided when it is none."""
    try:
        await begin(index, record, retry=retry, waited=waited)
    except Doubtful as found:
        return found.seconds
    return 0.0


Pair = tuple[Index, Index]
Make = Callable[..., Record]


async def test_equal_requests_are_firsts_while_their_callers_wait(pair: Pair, first: Make) -> None:
    """Without a retry header nobody joins a run whose caller is there, here or elsewhere."""
    found = [await begin(pair[i % 2], first(str(i))) for i in range(3)]

    assert found == [None] * 3


async def test_each_first_has_one_retry_chain(pair: Pair, first: Make) -> None:
    """Two retries on either gateway get one first each, the third is a first; what is left alone goes first."""
    one, two = pair
    for name in ("a", "b"):
        await begin(one, first(name))
    await one.alone("b")
    found = [await begin(two, first("r1"), retry=1), await begin(one, first("r2"), retry=1)]
    third = await begin(two, first("r3"), retry=1)
    claimed = await one.claimed("b")
    await two.release("b", "r1")

    assert found == ["b", "a"]
    assert third is None
    assert claimed
    assert not await one.claimed("b")
    assert await begin(one, first("r4")) == "b"


async def test_a_later_retry_takes_what_an_earlier_one_holds(pair: Pair, first: Make) -> None:
    """Its caller left before it asks again, though no gateway may know: it gets the same run, and holds it then."""
    one, two = pair
    await begin(one, first("a"))
    found = [await begin(two, first(f"r{at}"), retry=number) for at, number in enumerate((1, 2, 3, 3))]
    await two.release("a", "r0")

    assert found == ["a", "a", "a", None]
    assert await one.claimed("a")


async def test_what_nobody_holds_comes_before_what_an_earlier_retry_holds(pair: Pair, first: Make) -> None:
    """Two chains of equal requests keep apart as long as there are two runs to choose from."""
    one, two = pair
    for name in ("a", "b"):
        await begin(one, first(name))
    found = [await begin(two, first(f"r{number}"), retry=number) for number in (1, 2)]

    assert found == ["a", "b"]


async def test_a_claim_ends_with_its_gateway_and_with_its_time(pair: Pair, first: Make, clock: StillClock) -> None:
    """What a repeat held is free again when its gateway dies, or when its caller cannot be waiting any more."""
    one, two = pair
    await begin(one, first("a"))
    await one.alone("a")
    assert await begin(one, first("r1")) == "a"
    clock.at += 61
    assert await begin(two, first("r2")) == "a"
    await two.close()

    assert not await one.claimed("a")
    assert await begin(one, first("r3")) == "a"


async def test_what_a_repeat_of_another_gateway_holds_is_asked_for_again(pair: Pair, first: Make) -> None:
    """Its caller may have left a moment ago: its gateway has a fifth of a second to say so."""
    one, two = pair
    await begin(one, first("a"))
    await one.alone("a")
    await begin(two, first("b"))
    doubts = [await doubt(one, first("c")), await doubt(one, first("c"), retry=0, waited=0.15)]
    at_home = await doubt(two, first("d"))
    await two.forget("d")
    await two.release("a", "b")

    assert doubts == [0.2, pytest.approx(0.05)]
    assert at_home == 0
    assert await begin(one, first("c"), waited=0) == "a"
    assert await doubt(two, first("e")) == 0.2
    assert await begin(two, first("e"), waited=0.2) is None


async def test_a_run_of_another_gateway_is_asked_for_again_when_it_has_gone_on_for_long(
    pair: Pair, first: Make, clock: StillClock
) -> None:
    """A hundredth of its time, at most 50 ms; not of a young one, of one's own, or for a retry, which gets it."""
    one, two = pair
    await begin(one, first("a"))
    found = []
    for seconds in (0.4, 0.6, 1, 100):
        clock.at += seconds
        found.append(await doubt(two, first(f"at {seconds}")))
        await two.forget(f"at {seconds}")
    mine = await doubt(one, first("b"))
    await one.forget("b")
    await one.put(replace(first("billed", wish="q"), state=State.BILLED))
    decided = await doubt(two, first("c"), retry=1)

    assert found == [0, pytest.approx(0.01), pytest.approx(0.02), 0.05]
    assert (mine, decided) == (0, 0)
    assert await one.claimed("a")


async def test_a_run_whose_gateway_died_is_unknown(pair: Pair, first: Make) -> None:
    """Every repeat gets it, by key or by fingerprint; it is claimed by none."""
    one, two = pair
    await begin(one, first("a"))
    await begin(one, first("k", key="key"))
    await one.close()
    found = [await two.get(name) for name in ("a", "k")]

    assert [record and record.state for record in found] == [State.UNKNOWN] * 2
    assert [await begin(two, first(name)) for name in ("r1", "r2")] == ["a"] * 2
    assert await begin(two, first("r3", key="key")) == "k"


async def test_what_was_billed_is_repeated_and_what_was_free_is_not(pair: Pair, first: Make) -> None:
    """A failure that may have cost money is every repeat's for ten minutes; a free one is nobody's, by key too."""
    one, two = pair
    for name, key, state in (("a", "", State.FREE), ("b", "k", State.FREE), ("c", "", State.BILLED)):
        record = first(name, key=key, wish=name)
        assert await begin(one, record) is None
        await one.put(replace(record, state=state, failure="text"))
    found = await two.get("c")

    assert await begin(two, first("r1", wish="a"), retry=1) is None
    assert await begin(two, first("r2", wish="b", key="k")) is None
    assert [await begin(two, first(name, wish="c")) for name in ("r3", "r4")] == ["c", "c"]
    assert found
    assert (found.state, found.failure) == (State.BILLED, "text")


async def test_keys_are_bound_to_their_request_and_caller(pair: Pair, first: Make) -> None:
    """A key with another fingerprint raises on every gateway; of another caller it is another key."""
    one, two = pair
    await begin(one, first("a", key="k"))
    with pytest.raises(Reused):
        await begin(two, first("b", key="k", wish="other"))

    assert await begin(two, first("c", key="k")) == "a"
    assert await begin(two, first("d", key="k", caller="stranger")) is None


async def test_a_key_with_another_request_in_each_state_of_its_run(
    pair: Pair, first: Make, clock: StillClock
) -> None:
    """Refused while it runs, when it was answered or billed, or is unknown; new when it was free, or an hour ago."""
    one, two = pair
    for name in ("runs", "answered", "billed", "free"):
        await begin(one, first(name, key=name))
    for name in ("answered", "billed", "free"):
        await one.put(replace(first(name, key=name), state=State(name)))
    for name in ("runs", "answered", "billed"):
        with pytest.raises(Reused):
            await begin(two, first(f"{name} again", key=name, wish="other"))
    assert await begin(two, first("free again", key="free", wish="other")) is None
    await one.close()
    with pytest.raises(Reused):
        await begin(two, first("unknown again", key="runs", wish="other"))
    clock.at += KEPT_SECONDS + 1
    if isinstance(two, MemoryIndex):  # Redis has a clock of its own
        assert await begin(two, first("late", key="answered", wish="other")) is None


async def test_what_was_delivered_is_nobodys_repeat(pair: Pair, first: Make) -> None:
    """An unkept run is forgotten, a kept one is found by its id and labels, and only a key replays it."""
    one, two = pair
    plain, kept, keyed = first("a"), first("b", wish="b"), first("c", wish="c", key="k")
    for record in (plain, kept, keyed):
        await begin(one, record)
    await one.alone("b")
    assert await begin(two, first("r", wish="b")) == "b"
    for record in (kept, keyed):
        await one.put(replace(record, state=State.ANSWERED, document="d.answer", size=1))
    wanted = [await one.delivered(name) for name in ("a", "b", "c")]
    await two.release("b", "r")
    by_label = [await two.find("c", name) for name in ("label-a", "label-b", "b", "label-r")]

    assert wanted == [False, True, False]
    assert [record and record.id for record in by_label] == [None, "b", "b", "b"]
    assert await two.find("stranger", "b") is None
    assert await begin(two, first("r1", wish="b"), retry=1) is None
    assert await begin(two, first("r2", wish="c", key="k")) == "c"


async def test_repeats_end_after_ten_minutes_and_keys_after_an_hour(
    pair: Pair, first: Make, clock: StillClock
) -> None:
    """Later the same request is a first again."""
    one, two = pair
    records = [first("a"), first("k", key="key")]
    for record in records:
        await begin(one, record)
        await one.put(replace(record, state=State.ANSWERED, document=f"{record.id}.answer", size=1, alone=True))
    clock.at += REPEAT_SECONDS - 1
    assert await begin(two, first("r1")) == "a"
    await two.release("a", "r1")
    clock.at += 2
    assert await begin(two, first("r2")) is None
    assert await begin(two, first("r3", key="key")) == "k"
    assert KEPT_SECONDS > REPEAT_SECONDS


async def test_room_is_made_by_the_oldest_and_undelivered_ones_go_last(
    pair: Pair, first: Make, clock: StillClock
) -> None:
    """Documents over the bound are named, to be dropped; their runs stay known, without an answer."""
    one, two = pair
    for name in ("old", "handed", "young"):
        record = first(name, wish=name)
        await begin(one, record)
        state = replace(record, state=State.ANSWERED, document=f"{name}.answer", size=400)
        assert await one.put(replace(state, delivered=name == "handed", alone=True)) == (
            () if name != "young" else ("handed.answer",)
        )
        clock.at += 1
    last = first("last", wish="last")
    await begin(two, last)
    gone = await two.put(replace(last, state=State.ANSWERED, document="last.answer", size=400, owner="two"))
    found = await two.get("old")

    assert gone == ("old.answer",)
    assert found
    assert (found.state, found.document) == (State.ANSWERED, "")


async def test_a_beat_tells_whether_the_index_knew_this_gateway(pair: Pair) -> None:
    """After a loss of all data the gateway learns that it has to tell again what it runs."""
    one, _ = pair

    assert await one.beat()
    await pair[1].close()
    assert await one.beat()


class AwayLedger(MemoryLedger):
    """A ledger that cannot be read while it is away."""

    away = False

    async def past(self, since: float, *, request_id: str | None = None) -> list[Past]:
        if self.away:
            raise Overloaded("The ledger cannot be read now.")
        return await super().past(since, request_id=request_id)


@pytest.fixture
def ledger() -> AwayLedger:
    """What a gateway finds at its start."""
    return AwayLedger()


@pytest.fixture
def near(clock: StillClock, ledger: AwayLedger) -> LedgerIndex:
    """What a gateway knows by itself."""
    return LedgerIndex("one", clock, ledger)


@pytest.fixture
async def guarded(redis_server: RedisServer, clock: StillClock, near: LedgerIndex) -> AsyncIterator[GuardedIndex]:
    """A gateway's index before an empty Redis."""
    await redis_server.ask("FLUSHALL")
    found = GuardedIndex(near, RedisIndex("one", connect(redis_server.url), clock), clock, lambda *_: None)
    yield found
    await found.close()


async def test_what_redis_lost_is_told_again_while_others_begin(
    guarded: GuardedIndex, redis_server: RedisServer, first: Make
) -> None:
    """A busy gateway begins a run before its next beat: what it ran before the loss is told all the same."""
    await guarded.start()
    await begin(guarded, first("before", wish="p"))
    await redis_server.ask("FLUSHALL")
    assert await doubt(guarded, first("after", wish="q"))

    assert await guarded.beat()
    assert await begin(guarded, first("repeat", wish="p"), retry=1) == "before"


async def test_a_beat_tells_redis_what_it_lost(
    guarded: GuardedIndex, redis_server: RedisServer, first: Make, clock: StillClock
) -> None:
    """Nobody has to ask this gateway anything for that."""
    other = RedisIndex("two", connect(redis_server.url), clock)
    await guarded.start()
    await begin(guarded, first("before"))
    await redis_server.ask("FLUSHALL")
    known = [await guarded.beat() for _ in range(2)]
    found = await other.get("before")
    await other.close()

    assert known == [False, True]
    assert found is not None


async def test_a_gateway_beats_on_when_its_ledger_is_away(
    guarded: GuardedIndex, ledger: AwayLedger, redis_server: RedisServer, clock: StillClock
) -> None:
    """Redis lost its data and the ledger cannot be read: what is left of an earlier process is told later."""
    left = entry("left", created=clock.time())
    await ledger.open(replace(left, fingerprint="p"))
    await guarded.start()
    await redis_server.ask("FLUSHALL")
    ledger.away = True
    during = await guarded.beat()
    ledger.away = False
    await guarded.beat()

    assert not during
    assert await redis_server.ask("EXISTS", "{pinhole}:runs:run:left")


async def test_a_gateway_forgets_after_an_hour_what_it_told_redis(
    guarded: GuardedIndex, near: LedgerIndex, first: Make, clock: StillClock
) -> None:
    """Failures and kept answers of an hour ago are nobody's repeat, and hold no memory."""
    await guarded.start()
    for number in range(20):
        record = first(str(number), key=f"k{number}", owner="one")
        await begin(guarded, record)
        await guarded.put(replace(record, state=State.FREE if number % 2 else State.BILLED))
    clock.at += KEPT_SECONDS + 1
    await begin(guarded, first("new"))

    assert [record.id for record in near.records] == ["new"]


async def test_what_redis_has_to_be_told_is_bounded(near: LedgerIndex, first: Make, clock: StillClock) -> None:
    """In a long outage runs that are over go first, then the oldest; the operator hears of it once."""
    heard: list[str] = []
    away = RedisIndex("one", connect("redis://127.0.0.1:1/0"), clock)
    found = GuardedIndex(near, away, clock, lambda why, _: heard.append(why))
    for name in ("old", "young"):
        await begin(found, first(name))
    for number in range(MISSED):
        await found.forget(f"over {number}")
    kept = found.missed
    clock.at += KEPT_SECONDS + 1
    await begin(found, first("new"))
    left = found.missed
    await found.close()

    assert MISSED * 9 // 10 <= len(kept) <= MISSED
    assert {"old", "young"} <= set(kept)
    assert [why for why in heard if "to tell" in why] == [f"more than {MISSED} runs to tell"]
    assert left == ("new",)


async def test_a_run_comes_to_one_end(pair: Pair, first: Make) -> None:
    """What another gateway answered meanwhile stays answered, whatever one that stood still says when it wakes."""
    record = first("slow")
    await begin(pair[0], record)
    await pair[1].put(replace(record, owner="two", state=State.ANSWERED, document="d", size=10))
    for late in (State.RUNNING, State.BILLED, State.FREE):
        await pair[0].put(replace(record, state=late))
    found = await pair[0].get("slow")

    assert found is not None
    assert (found.state, found.document, found.size) == (State.ANSWERED, "d", 10)
    assert await pair[0].put(replace(record, state=State.ANSWERED, document="e", size=ROOM + 1)) == ("e",)


async def test_a_flood_of_replays_leaves_few_labels(pair: Pair, first: Make) -> None:
    """A run is found by its own label and those of its last repeats, not by those of hundreds before."""
    count = LABELS + 20
    for at in range(count):
        await begin(pair[at % 2], replace(first(f"run-{at}", key="k"), label=f"label-{at}"))
        await begin(pair[at % 2], replace(first(f"run-{at}", key="k"), label="always the same"))
    names = [*(f"label-{at}" for at in range(count)), "always the same"]
    found = [await pair[0].find("c", name) is not None for name in names]

    assert (found[0], found[-1], found[-2]) == (True, True, True)
    assert sum(found) == LABELS


async def test_what_failed_for_free_takes_no_key_from_another_run(pair: Pair, first: Make) -> None:
    """A key's attempts may come to be known in any order: the one that may have been billed answers for it."""
    await pair[1].put(replace(first("second", key="k"), state=State.ANSWERED, document="d", size=10))
    await pair[0].put(replace(first("first", key="k"), state=State.FREE))

    assert await begin(pair[0], first("repeat", key="k")) == "second"


async def test_a_repeat_right_after_redis_lost_its_data_is_recognised(
    guarded: GuardedIndex, redis_server: RedisServer, first: Make
) -> None:
    """A gateway that Redis does not know tells it of its runs before it lets it decide."""
    await guarded.start()
    await begin(guarded, first("before"))
    await redis_server.ask("FLUSHALL")

    assert await begin(guarded, first("repeat"), retry=1) == "before"
    assert await guarded.beat()


async def test_nothing_is_new_before_every_gateway_told_what_redis_lost(
    guarded: GuardedIndex, redis_server: RedisServer, first: Make, clock: StillClock
) -> None:
    """A repeat, by key too, waits for as long as a gateway may take to be heard; then it is known, or new."""
    other = GuardedIndex(
        LedgerIndex("two", clock, MemoryLedger()),
        RedisIndex("two", connect(redis_server.url), clock),
        clock,
        lambda *_: None,
    )
    await guarded.start()
    await other.start()
    await begin(other, first("theirs", key="k"))
    new = await doubt(guarded, first("new", wish="new"))
    await redis_server.ask("FLUSHALL")
    early = [await doubt(guarded, first("repeat", key=key), waited=9.0) for key in ("", "k")]
    clock.at += BEAT_SECONDS
    await other.beat()
    found = await begin(guarded, first("repeat", key="k"))
    clock.at += 2
    late = await doubt(guarded, first("other"))
    await other.close()

    assert new == late == 0.0
    assert [BEAT_SECONDS < seconds < BEAT_SECONDS + 2 for seconds in early] == [True, True]
    assert found == "theirs"


async def test_what_others_run_is_theirs_to_tell(
    guarded: GuardedIndex, ledger: AwayLedger, redis_server: RedisServer, first: Make, clock: StillClock
) -> None:
    """A gateway finds its neighbours' rows at its start too: it tells Redis nothing that Redis knows better."""
    other = RedisIndex("two", connect(redis_server.url), clock)
    await other.start()
    rows = []
    for name, state in (("runs", Row.RESERVED), ("had", Row.DELIVERED)):
        await begin(other, first(name))
        row = replace(entry(name, created=clock.time()), fingerprint="p")
        await ledger.open(row)
        rows.append(replace(row, state=state))
    await guarded.start()
    for row in rows:
        await ledger.settle(row)
    await redis_server.ask("DEL", "{pinhole}:runs:gateway:one")
    await guarded.beat()
    found = [await other.get(name) for name in ("runs", "had")]
    await other.close()

    assert [record and (record.state, record.owner) for record in found] == [(State.RUNNING, "two")] * 2


async def test_what_a_caller_held_while_redis_was_away_is_given_back(
    guarded: GuardedIndex, redis_server: RedisServer, first: Make, clock: StillClock
) -> None:
    """A repeat that left in an outage holds no run after it: its own next attempt gets the run."""
    other = RedisIndex("two", connect(redis_server.url), clock)
    await other.start()
    await guarded.start()
    await begin(other, first("lost"))
    await other.alone("lost")
    assert await begin(guarded, first("repeat")) == "lost"
    redis_server.freeze(frozen=True)
    await guarded.alone("another")
    await guarded.release("lost", "repeat")
    redis_server.freeze(frozen=False)
    clock.at += 2
    await guarded.beat()
    found = await begin(other, first("again"))
    await other.close()

    assert found == "lost"


async def test_a_gateway_that_is_silent_is_waited_for(
    redis_server: RedisServer, first: Make, clock: StillClock
) -> None:
    """It cannot tell that its caller left: until it speaks again, or is dead, an equal request is not a new one."""
    await redis_server.ask("FLUSHALL")
    one, two = (RedisIndex(name, connect(redis_server.url), clock) for name in ("one", "two"))
    for each in (one, two):
        await each.start()
    await begin(one, first("runs"))
    await redis_server.ask("PEXPIRE", "{pinhole}:runs:gateway:one", "5000")
    silent = await doubt(two, first("repeat"), waited=3.0)
    await one.beat()
    heard = await doubt(two, first("repeat"), waited=3.0)
    await one.close()
    await two.close()

    assert 4.0 < silent <= 5.1
    assert heard == 0.0
