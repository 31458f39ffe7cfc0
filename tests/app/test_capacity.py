"""Requests and bytes in flight are bounded; what is held comes back whatever happens."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.capacity import Bytes, Capacity, Gate
from app.config import Capacity as Bounds
from app.errors import Overloaded
from providers.kit.clock import SystemClock
from tests.app.wire import EDIT, GENERATE, Piece, Reply, ask, form, host, post
from tests.gateway import Gateway, running
from tests.machines import walk
from tests.upstreams.images import png
from tests.upstreams.openai import OpenAIStandIn

WAIT = 10.0


class Alarm:
    """A clock whose sleepers wake when the test says so."""

    def __init__(self) -> None:
        self.sleepers: list[asyncio.Future[None]] = []

    def now(self) -> float:
        return 0.0

    def time(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.sleepers.append(asyncio.get_running_loop().create_future())
        await self.sleepers[-1]


class Guests(RuleBasedStateMachine):
    """Any order of coming, leaving, giving up, being cancelled and failing at one gate."""

    LIMIT = 10

    def __init__(self) -> None:
        super().__init__()
        self.clock = Alarm()
        self.gate = Gate(self.clock, self.LIMIT)
        self.inside: list[int] = []
        self.order: list[int] = []
        self.ends: dict[int, asyncio.Event] = {}
        self.failing: set[int] = set()
        self.guests: dict[int, asyncio.Task[str]] = {}

    @initialize()
    def begin(self) -> None:
        """The machine is also made to be looked at only; then nobody would close its loop."""
        self.loop = asyncio.new_event_loop()

    def turn(self) -> None:
        """Let everything go on that can."""
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))

    async def visit(self, number: int, amount: int) -> str:
        try:
            async with self.gate.passed(amount, 30):
                self.inside.append(min(amount, self.LIMIT))
                self.order.append(number)
                try:
                    await self.ends[number].wait()
                    if number in self.failing:
                        raise ConnectionError
                finally:
                    self.inside.remove(min(amount, self.LIMIT))
        except Overloaded:
            return "refused"
        except ConnectionError:
            return "failed"
        return "served"

    @rule(amount=st.integers(1, 14))
    def come(self, amount: int) -> None:
        number = len(self.guests)
        self.ends[number] = asyncio.Event()
        self.guests[number] = self.loop.create_task(self.visit(number, amount))
        self.turn()

    @precondition(lambda self: self.guests)
    @rule(data=st.data(), fails=st.booleans())
    def leave(self, data: st.DataObject, fails: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.guests)))
        if fails:
            self.failing.add(number)
        self.ends[number].set()
        self.turn()

    @precondition(lambda self: self.guests)
    @rule(data=st.data(), at_once=st.booleans())
    def cancel(self, data: st.DataObject, at_once: bool) -> None:
        self.guests[data.draw(st.sampled_from(sorted(self.guests)))].cancel()
        if not at_once:
            self.turn()

    @precondition(lambda self: self.clock.sleepers)
    @rule()
    def time_passes(self) -> None:
        for sleeper in self.clock.sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self.clock.sleepers.clear()
        self.turn()

    @invariant()
    def never_too_many(self) -> None:
        """What is inside fits, and nobody who fits waits."""
        assert sum(self.inside) <= self.LIMIT
        assert self.gate.held >= sum(self.inside)

    async def all_gone(self) -> None:
        """Every guest came to its end."""
        await asyncio.gather(*self.guests.values(), return_exceptions=True)

    def teardown(self) -> None:
        """Everything that was held is given back."""
        for end in self.ends.values():
            end.set()
        if not hasattr(self, "loop"):
            return
        self.loop.run_until_complete(self.all_gone())
        assert (self.gate.held, self.gate.queued) == (0, 0)
        self.loop.close()


def test_guests() -> None:
    """Whatever they do, each has its turn, and no place is lost."""
    walk(Guests)


async def test_in_order() -> None:
    """Whoever waits is let in first come, first served; a small one does not overtake a large one."""
    gate = Gate(SystemClock(), 10)
    order: list[str] = []

    async def visit(name: str, amount: int) -> None:
        async with gate.passed(amount, WAIT):
            order.append(name)
            await asyncio.sleep(0)

    async with gate.passed(8, 0):
        waiting = [asyncio.create_task(visit(name, n)) for name, n in (("large", 9), ("small", 1))]
        await asyncio.sleep(0)
        assert gate.queued == 2
    await asyncio.gather(*waiting)
    assert order == ["large", "small"]


async def test_larger_than_the_gate() -> None:
    """Something larger than all there is goes through alone."""
    gate = Gate(SystemClock(), 10)
    async with gate.passed(1000, 0):
        assert gate.held == 10
        with pytest.raises(Overloaded) as refused:
            async with gate.passed(1, 0):
                pass
    assert refused.value.retry_after > 0
    assert gate.held == 0


def test_bytes_given_back_from_threads() -> None:
    """Slices die in whatever thread held them last, and the count stays right."""
    budget = Bytes(1000)
    for _ in range(500):
        assert budget.take(2)
    assert not budget.take(1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(budget.give, [2] * 500))
    assert budget.held == 0


@pytest.mark.parametrize(("text", "total"), [("256MiB", 2**28), ("1 GiB", 2**30), ("64KiB", 2**16), ("12", 12)])
def test_bytes_are_written_with_their_unit(text: str, total: int) -> None:
    """`capacity.bytes` is a number with a unit."""
    assert Bounds(bytes=text).total == total
    assert Capacity(SystemClock(), Bounds(bytes=text)).bodies.limit == total


CONFIG = "capacity: {requests: 2, bytes: 1MiB, queue_seconds: 10}"


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    """OpenAI's stand-in."""
    with OpenAIStandIn() as found:
        yield found


def environ(upstream: OpenAIStandIn) -> dict[str, str]:
    return {"OPENAI_API_KEY": upstream.key, "OPENAI_BASE_URL": f"{upstream.url}/v1"}


def generate(gateway: Gateway, prompt: str = "a boat", **more: object) -> Reply:
    return post(gateway, {"model": "gpt-image-1.5", "prompt": prompt, **more}, GENERATE)


def nothing_is_held(gateway: Gateway) -> None:
    """Runs end a moment after their callers; then every count is 0."""
    capacity = gateway.capacity
    bodies = capacity.bodies

    def free() -> bool:
        gc.collect()
        return not (capacity.requests.held or capacity.requests.queued or capacity.copies.held or bodies.held)

    until(lambda: free() and not bodies.files, "nothing is held")


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_more_than_fit_wait_their_turn(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """Two requests are in flight, the others are answered after them; afterwards nothing is held."""
    with running(tmp_path, environ(upstream), CONFIG) as gateway, ThreadPoolExecutor(6) as pool:
        upstream.pause()
        answers = [pool.submit(generate, gateway, f"boat {i}") for i in range(6)]
        until(lambda: gateway.capacity.requests.queued == 4, "four wait")
        assert len(upstream.exchanges) <= 2
        upstream.resume()
        assert [answer.result().status for answer in answers] == [200] * 6
        assert upstream.peak <= 2
        nothing_is_held(gateway)


def test_the_queue_has_an_end(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """After queue_seconds a request is 503 with retry-after, and it was never sent."""
    config = "capacity: {requests: 1, queue_seconds: 0.2}"
    with running(tmp_path, environ(upstream), config) as gateway, ThreadPoolExecutor(1) as pool:
        upstream.pause()
        first = pool.submit(generate, gateway, "first")
        until(lambda: upstream.exchanges, "the first is sent")
        refused = generate(gateway, "second")
        assert (refused.status, refused.error["code"]) == (503, "service_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert "x-should-retry" not in refused.headers
        upstream.resume()
        assert first.result().status == 200
        assert len(upstream.exchanges) == 1
        nothing_is_held(gateway)


def test_nobody_waits_beyond_its_deadline(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """A caller's own deadline ends its place in the queue."""
    with running(tmp_path, environ(upstream), "capacity: {requests: 1}") as gateway, ThreadPoolExecutor(1) as pool:
        upstream.pause()
        first = pool.submit(generate, gateway, "first")
        until(lambda: upstream.exchanges, "the first is sent")
        late = post(gateway, {"model": "gpt-image-1.5", "prompt": "late"}, GENERATE, pinhole_deadline="0.3")
        assert late.status in {503, 504}
        upstream.resume()
        assert first.result().status == 200
        nothing_is_held(gateway)
        assert len(upstream.exchanges) == 1


def test_who_leaves_the_queue_is_not_served(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """A caller that hangs up before its turn costs nothing."""
    with running(tmp_path, environ(upstream), "capacity: {requests: 1}") as gateway, ThreadPoolExecutor(1) as pool:
        upstream.pause()
        first = pool.submit(generate, gateway, "first")
        until(lambda: upstream.exchanges, "the first is sent")
        leaver = http.client.HTTPConnection(*host(gateway), timeout=WAIT)
        body = json.dumps({"model": "gpt-image-1.5", "prompt": "never"})
        leaver.request("POST", GENERATE, body, {"content-type": "application/json"})
        until(lambda: gateway.capacity.requests.queued == 1, "the second waits")
        leaver.close()
        time.sleep(0.1)
        upstream.resume()
        assert first.result().status == 200
        nothing_is_held(gateway)
        assert len(upstream.exchanges) == 1


def test_answers_beyond_the_budget_are_spooled(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """An answer that does not fit in memory comes from a file, byte for byte, and leaves none behind."""
    with running(tmp_path, environ(upstream), "capacity: {bytes: 2KiB}") as gateway:
        kept = generate(gateway, "kept")
        with running(tmp_path / "wide", environ(upstream)) as wide:
            assert generate(wide, "kept").json()["data"] == kept.json()["data"]
        nothing_is_held(gateway)
    assert list((tmp_path / "spool").iterdir()) == []


def test_uploads_wait_for_room(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """Uploads are read at once and sent when there is room; one that is larger than all of it is served alone."""
    picture = png(400, 400, "noise")
    pieces = (Piece("model", "gpt-image-1.5"), Piece("prompt", "a hat"), Piece("image", picture, "image.png"))
    config = "capacity: {bytes: 200KiB, queue_seconds: 10}"
    with running(tmp_path, environ(upstream), config) as gateway, ThreadPoolExecutor(3) as pool:
        upstream.pause()
        answers = [pool.submit(form, gateway, *pieces, path=EDIT, x_request_id=f"e{i}") for i in range(3)]
        until(lambda: gateway.capacity.copies.queued == 2, "two wait for room")
        assert gateway.capacity.bodies.files > 0
        upstream.resume()
        assert [answer.result().status for answer in answers] == [200] * 3
        assert upstream.peak == 1
        nothing_is_held(gateway)


@pytest.mark.parametrize("prompt", ["FORBIDDEN", "BOOM", "TRUNCATE", "GARBAGE", "EMPTY", "HTML502"])
def test_failures_give_everything_back(tmp_path: Path, upstream: OpenAIStandIn, prompt: str) -> None:
    """Whatever an upstream does, the budget is whole afterwards, streams included."""
    with running(tmp_path, environ(upstream), "capacity: {bytes: 64KiB}") as gateway:
        generate(gateway, f"{prompt} boat")
        generate(gateway, f"{prompt} train", stream=True)
        nothing_is_held(gateway)


def test_bad_uploads_give_everything_back(tmp_path: Path) -> None:
    """Bodies that break off, that are no form, or no image, hold nothing."""
    with running(tmp_path, None, "capacity: {bytes: 256KiB}") as gateway:
        kind = "multipart/form-data; boundary=x"
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        assert ask(gateway, "POST", EDIT, head + bytes(10**6), content_type=kind).status == 400
        assert form(gateway, Piece("image", bytes(10**6), "a.png"), path=EDIT).status == 400
        connection = http.client.HTTPConnection(*host(gateway), timeout=WAIT)
        connection.putrequest("POST", EDIT)
        connection.putheader("content-type", kind)
        connection.putheader("content-length", "2000000")
        connection.endheaders(head + bytes(10**6))
        until(lambda: gateway.capacity.bodies.files == 1, "half a body is spooled")
        connection.close()
        nothing_is_held(gateway)
