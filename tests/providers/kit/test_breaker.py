"""The breaker: what opens it, what closes it, and that one request at a time asks an upstream that was down."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from providers.kit.breaker import Breaker, BreakerRule, State
from tests.clock import StillClock
from tests.machines import walk

RULE = BreakerRule()


def breaker() -> tuple[Breaker, StillClock]:
    """One that has seen nothing."""
    clock = StillClock(at=1000)
    return Breaker(clock, RULE), clock


def ended(found: Breaker, *ends: bool | None) -> None:
    """Requests one after the other that ended so."""
    for end in ends:
        found.leave(found.enter(), end)


def opened(found: Breaker) -> bool:
    """Whether it lets nothing through."""
    return found.state is State.OPEN


def test_it_opens_at_twenty_of_which_half_failed() -> None:
    """Nineteen failures are not enough, and of twenty ten are."""
    found, _ = breaker()
    ended(found, *[False] * 19)
    assert not opened(found)
    ended(found, False)
    assert (found.state, found.admits, found.wait) == (State.OPEN, False, 10.0)

    found, _ = breaker()
    ended(found, *[True] * 11, *[False] * 10)
    assert not opened(found)
    ended(found, False)
    assert opened(found)


def test_what_says_nothing_is_not_counted() -> None:
    """Bad requests, refusals and limits neither open it nor keep it closed."""
    found, _ = breaker()
    ended(found, *[None] * 100, *[False] * 19, *[None] * 100)
    assert not opened(found)
    ended(found, False)
    assert opened(found)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """Nineteen failures half a minute ago do not add up with one of this moment."""
    found, clock = breaker()
    ended(found, *[False] * 19)
    clock.at += 30
    ended(found, False)

    assert (found.state, found.window.badly) == (State.CLOSED, 1)


def test_a_probe_that_does_not_end_lets_another_in_after_half_a_minute() -> None:
    """Whichever ends first decides; what the other one comes to says nothing then."""
    found, clock = breaker()
    ended(found, *[False] * 20)
    clock.at += 10
    slow = found.enter()
    clock.at += 29
    assert not found.admits
    clock.at += 1
    assert found.admits
    second = found.enter()
    assert not found.admits
    assert found.leave(slow, True) is State.CLOSED
    assert found.leave(second, False) is None
    assert (found.state, found.window.badly) == (State.CLOSED, 0)


def test_one_probe_at_a_time_decides() -> None:
    """After the rest one request enters; its success closes, its failure opens for twice as long, up to a minute."""
    found, clock = breaker()
    ended(found, *[False] * 20)
    for rest in (10.0, 20.0, 40.0, 60.0, 60.0):
        assert found.wait == rest
        clock.at += rest
        assert (found.state, found.admits) == (State.HALF_OPEN, True)
        number = found.enter()
        assert (found.state, found.admits, found.wait) == (State.HALF_OPEN, False, 1.0)
        assert found.leave(number, False) is State.OPEN
    clock.at += 60
    assert found.leave(found.enter(), True) is State.CLOSED
    ended(found, *[False] * 19)
    assert found.state is State.CLOSED
    ended(found, False)
    assert found.wait == 10.0


def test_a_probe_that_says_nothing_lets_the_next_one_in() -> None:
    """A hang-up or a refusal decides nothing and blocks nothing."""
    found, clock = breaker()
    ended(found, *[False] * 20)
    clock.at += 10
    ended(found, None)

    assert (found.state, found.admits) == (State.HALF_OPEN, True)


def test_what_began_before_a_change_says_nothing_after_it() -> None:
    """A request of the outage that fails late neither opens a breaker that has closed nor decides as a probe."""
    found, clock = breaker()
    old = [found.enter() for _ in range(40)]
    ended(found, *[False] * 20)
    clock.at += 10
    assert found.leave(old.pop(), True) is None
    assert found.state is State.HALF_OPEN
    ended(found, True)
    for number in old:
        found.leave(number, False)

    assert (found.state, found.window.badly) == (State.CLOSED, 0)


class Machine(RuleBasedStateMachine):
    """The breaker beside the plainest statement of its rule: lists of outcomes and times."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = StillClock(at=1000)
        self.breaker = Breaker(self.clock, RULE)
        self.outcomes: list[tuple[int, bool]] = []
        self.until: float | None = None
        self.rest = 10.0
        self.age = 0
        self.under_way: list[tuple[int, int]] = []
        self.probes: list[tuple[int, int]] = []
        self.probed = 0.0

    @rule(seconds=st.integers(1, 25))
    def time_passes(self, seconds: int) -> None:
        self.clock.at += seconds

    @precondition(lambda self: self.breaker.admits)
    @rule()
    def enters(self) -> None:
        entered = (self.breaker.enter(), self.age)
        self.under_way.append(entered)
        if self.until is not None:
            self.probes.append(entered)
            self.probed = self.clock.at

    @precondition(lambda self: self.until is None)
    @rule(ends=st.lists(st.booleans(), min_size=5, max_size=15))
    def several_end(self, ends: list[bool]) -> None:
        for end in ends:
            if self.breaker.admits:
                self.enters()
                self.finish(len(self.under_way) - 1, end)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 1000), end=st.sampled_from([True, False, None]))
    def ends(self, which: int, end: bool | None) -> None:
        self.finish(which % len(self.under_way), end)

    def finish(self, index: int, end: bool | None) -> None:
        entered = self.under_way.pop(index)
        self.breaker.leave(entered[0], end)
        if entered[1] != self.age or end is None:
            self.probes = [probe for probe in self.probes if probe is not entered]
        elif any(entered is probe for probe in self.probes):
            self.probes, self.age = [], self.age + 1
            self.rest = 10.0 if end else min(60.0, self.rest * 2)
            self.until = None if end else self.clock.at + self.rest
            self.outcomes = []
        else:
            self.outcomes.append((int(self.clock.at), end))
            recent = [well for at, well in self.outcomes if at > int(self.clock.at) - 30]
            if not end and len(recent) >= 20 and recent.count(False) * 2 >= len(recent):
                self.age, self.until = self.age + 1, self.clock.at + self.rest

    @invariant()
    def agrees(self) -> None:
        if self.until is None:
            assert self.breaker.state is State.CLOSED
            assert self.breaker.admits
        elif self.clock.at < self.until:
            assert (self.breaker.state, self.breaker.admits) == (State.OPEN, False)
        else:
            assert self.breaker.state is State.HALF_OPEN
            assert self.breaker.admits is (not self.probes or self.clock.at >= self.probed + 30)


def test_any_order() -> None:
    """It does what the plainest statement of its rule does."""
    walk(Machine, settings(max_examples=60, stateful_step_count=60, deadline=None))
