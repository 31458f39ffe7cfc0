"""Random walks: every limiter and every ledger does what one simple model says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.config import Limits
from app.limiter import EmbeddedLimiter, Limiter, Scope, Spend, Unit, Used
from app.limiter.redis import RedisLimiter
from app.redis import connect
from tests.clock import StillClock
from tests.machines import walk
from tests.services import RedisServer

EXAMPLES: Final = int(os.environ.get("PINHOLE_MACHINE_EXAMPLES", "12"))
RULES: Final = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
DAY: Final = 86_400
LEASE: Final = 30
CALLER: Final = Scope(
    "caller",
    "a",
    Limits(
        requests_per_minute=7,
        images_per_minute=11,
        megapixels_per_minute=9.5,
        concurrent_images=6,
        usd_per_day=0.00005,
    ),
)
ONE: Final = Scope("model", "one", Limits(images_per_minute=8, concurrent_images=5))
TWO: Final = Scope("model", "two", Limits(requests_per_minute=5, usd_per_day=0.00003))
T = TypeVar("T")


class Loop:
    """Runs what a machine awaits, in one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(what)

    def close(self) -> None:
        self._loop.close()


@dataclass
class Held:
    """What the model knows of a request that was granted."""

    spend: Spend
    day: int
    until: float


class Model:
    """The rules in as few words as there are: a bucket holds what is still to run off, in units."""

    def __init__(self) -> None:
        self.now = 0.0
        self.level: dict[tuple[str, Unit], float] = {}
        self.spent: dict[tuple[str, int], int] = {}
        self.held: dict[str, Held] = {}

    def move(self, seconds: float) -> None:
        """Time passes, or goes back: then nothing runs off."""
        self.now += seconds
        if seconds > 0:
            for (key, unit), level in self.level.items():
                limit = next(s for s in (CALLER, ONE, TWO) if s.key == key).limit(unit) or 0.0
                self.level[key, unit] = max(0.0, level - limit * seconds / 60)

    @property
    def day(self) -> int:
        return int(self.now // DAY)

    def flying(self, key: str) -> int:
        return sum(
            held.spend.images
            for held in self.held.values()
            if held.until > self.now and key in {scope.key for scope in held.spend.scopes}
        )

    def verdict(self, spend: Spend) -> bool | None:
        """Granted, refused, or too close to call (rounding)."""
        before = self.held.get(spend.request_id)
        if before and before.spend == spend:
            return True
        mine = {(s.key, u): a for s, u, _, a in before.spend.checks()} if before else {}
        sure = True
        for scope, unit, limit, amount in spend.checks():
            more = amount - mine.get((scope.key, unit), 0)
            if more <= 0:
                continue
            if unit is Unit.CONCURRENT:
                over = self.flying(scope.key) + more - limit
            elif unit is Unit.USD:
                over = self.spent.get((scope.key, before.day if before else self.day), 0) + more - limit
            else:
                over = self.level.get((scope.key, unit), 0.0) + more - limit
                if abs(over) < 0.001:
                    sure = False
                    continue
            if over > 0:
                return False
        return True if sure else None

    def take(self, spend: Spend) -> None:
        before = self.held.get(spend.request_id)
        if before and before.spend == spend:
            return
        day = before.day if before else self.day
        if before:
            self._add(before.spend, day, -1)
        self._add(spend, day, 1)
        self.held[spend.request_id] = Held(spend, day, self.now + LEASE)

    def settle(self, request_id: str, used: Used) -> None:
        held = self.held.pop(request_id, None)
        if held:
            self._add(held.spend, held.day, -1)
            real = replace(
                held.spend,
                images=used.images,
                megapixels=used.megapixels or 0.0,
                micro_usd=held.spend.micro_usd if used.micro_usd is None else used.micro_usd,
            )
            self._add(real, held.day, 1)

    def _add(self, spend: Spend, day: int, sign: int) -> None:
        for scope, unit, _, amount in spend.checks():
            if unit is Unit.USD:
                self.spent[scope.key, day] = self.spent.get((scope.key, day), 0) + sign * round(amount)
            elif unit is not Unit.CONCURRENT:
                self.level[scope.key, unit] = max(0.0, self.level.get((scope.key, unit), 0.0) + sign * amount)


class LimiterMachine(RuleBasedStateMachine):
    """Spends, falls back, settles, repeats; time passes and goes back; leases are renewed, or run out."""

    make: Callable[[StillClock], tuple[Limiter, Callable[[], Coroutine[Any, Any, None]] | None]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.clock = StillClock(1_800_000_000.0 // DAY * DAY + DAY - 300)  # a day change is five minutes away
        self.model = Model()
        self.model.now = self.clock.at
        self.limiter, self.renew = type(self).make(self.clock)
        self.over: dict[str, Spend] = {}
        self.number = 0

    def teardown(self) -> None:
        self.loop.run(self.limiter.close())
        self.loop.close()

    def _ask(self, spend: Spend) -> None:
        expected = self.model.verdict(spend)
        decision = self.loop.run(self.limiter.spend(spend))
        assert expected is None or decision.allowed is expected, (spend, decision, self.model.level, self.model.spent)
        if decision.allowed:
            self.model.take(spend)
        else:
            assert decision.refused_scope
            assert 0 < decision.retry_after <= DAY

    @rule(images=st.integers(1, 4), cost=st.integers(0, 20), model=st.sampled_from([(), (ONE,), (TWO,)]))
    def spend(self, images: int, cost: int, model: tuple[Scope, ...]) -> None:
        """A new request."""
        self.number += 1
        made = Spend(
            request_id=f"r{self.number}",
            scopes=(CALLER, *model),
            images=images,
            megapixels=images * 0.75,
            micro_usd=cost,
        )
        self._ask(made)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The same again is free."""
        self._ask(self.model.held[data.draw(st.sampled_from(sorted(self.model.held)))].spend)

    @precondition(lambda self: any(held.until > self.model.now for held in self.model.held.values()))
    @rule(data=st.data(), cost=st.integers(0, 20), model=st.sampled_from([(ONE,), (TWO,)]))
    def fall_back(self, data: st.DataObject, cost: int, model: tuple[Scope, ...]) -> None:
        """Another model in the place of the first, for a request whose lease lives."""
        alive = sorted(name for name, held in self.model.held.items() if held.until > self.model.now)
        held = self.model.held[data.draw(st.sampled_from(alive))].spend
        self._ask(replace(held, scopes=(CALLER, *model), micro_usd=cost))

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), delivered=st.integers(0, 4), cost=st.none() | st.integers(0, 30))
    def settle(self, data: st.DataObject, delivered: int, cost: int | None) -> None:
        """The end of a request, with what was delivered and what it cost."""
        name = data.draw(st.sampled_from(sorted(self.model.held)))
        spend = self.model.held[name].spend
        images = min(delivered, spend.images)
        used = Used(images=images, megapixels=images * 0.5, micro_usd=cost)
        self.loop.run(self.limiter.settle(spend, used))
        self.model.settle(name, used)
        self.over[name] = spend

    @precondition(lambda self: self.over)
    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        """Settling twice changes nothing."""
        spend = self.over[data.draw(st.sampled_from(sorted(self.over)))]
        self.loop.run(self.limiter.settle(spend, Used(images=0, megapixels=0.0, micro_usd=0)))

    @rule(seconds=st.sampled_from([0.5, 3.0, 8.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        """Time passes; on Redis leases run out unless renewed, here they end with the request alone."""
        self._move(seconds)

    @rule(seconds=st.sampled_from([-1.0, -20.0]))
    def jump_back(self, seconds: float) -> None:
        """A clock that is set back: what ran off stays so, nothing is locked for longer than a minute."""
        self._forget_levels(seconds)

    def _move(self, seconds: float) -> None:
        self.clock.at += seconds
        self.model.move(seconds)
        if self.renew is None:
            for held in self.model.held.values():
                held.until = self.model.now + LEASE

    def _forget_levels(self, seconds: float) -> None:
        """Wait the buckets empty first: what a jump does to full ones has a test of its own."""
        self._move(120.0)
        self.clock.at += seconds
        self.model.now += seconds

    @rule()
    def renewal(self) -> None:
        """Whatever is held lives another half minute."""
        if self.renew is not None:
            self.loop.run(self.renew())
        for held in self.model.held.values():
            held.until = self.model.now + LEASE

    @invariant()
    def never_more_than_the_limits(self) -> None:
        """The model itself never lets more fly or be spent than the limits say."""
        assert self.model.flying(ONE.key) <= 5 or self.renew is not None


def test_the_embedded_limiter_is_the_model() -> None:
    """Twenty kinds of steps in any order, and never another answer than the model's."""

    class Machine(LimiterMachine):
        make = staticmethod(lambda clock: (EmbeddedLimiter(clock), None))

    walk(Machine, RULES)


def test_the_redis_limiter_is_the_model(tmp_path: Path) -> None:
    """The same model for the script on a real server, at the seam of its clock."""
    with RedisServer(tmp_path) as server:

        def make(clock: StillClock) -> tuple[Limiter, Callable[[], Coroutine[Any, Any, None]]]:
            asyncio.run(server.ask("FLUSHALL"))
            limiter = RedisLimiter(connect(server.url), now=lambda: f"{clock.at * 1_000_000:.0f}")
            return limiter, limiter.renew

        class Machine(LimiterMachine):
            pass

        Machine.make = staticmethod(make)
        walk(Machine, RULES)
