"""The breaker of one deployment: keeps requests from an upstream that is down, and asks it again one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from providers.kit.clock import Clock
from providers.kit.window import Window


class State(StrEnum):
    """Closed lets everything through, open nothing, half-open one request at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRule:
    """Opens at `least` outcomes or more in `seconds` of which `share` failed; each failed probe doubles the rest.

    A probe that has not ended after `probe_seconds` lets the next one in; whichever ends first decides.
    """

    seconds: float = 30.0
    least: int = 20
    share: float = 0.5
    open_seconds: float = 10.0
    longest_seconds: float = 60.0
    probe_wait_seconds: float = 1.0
    probe_seconds: float = 30.0


class Breaker:
    """Every request that `admits` let through enters, and leaves with the pass it got and what became of it."""

    def __init__(self, clock: Clock, rule: BreakerRule) -> None:
        self._clock = clock
        self._rule = rule
        self._until: float | None = None
        self._seconds = rule.open_seconds
        self._pass = 0
        self._probes = 0
        self._next_probe = 0.0
        self.window = Window(clock, rule.seconds)

    @property
    def state(self) -> State:
        """As it is at this moment."""
        if self._until is None:
            return State.CLOSED
        return State.OPEN if self._clock.now() < self._until else State.HALF_OPEN

    @property
    def admits(self) -> bool:
        """Whether a request may enter now."""
        if self._until is None:
            return True
        now = self._clock.now()
        return now >= self._until and (not self._probes or now >= self._next_probe)

    @property
    def wait(self) -> float:
        """Seconds until one may; a guess while a probe is on its way."""
        if self._until is None or self.admits:
            return 0.0
        return max(self._until - self._clock.now(), self._rule.probe_wait_seconds)

    def enter(self) -> int:
        """A pass for one request."""
        if self._until is not None:
            self._probes += 1
            self._next_probe = self._clock.now() + self._rule.probe_seconds
        return self._pass

    def leave(self, number: int, well: bool | None) -> State | None:
        """The request ended: well, badly, or (None) in a way that says nothing of the upstream.

        What entered before the last change says nothing either. Returns the state when it changed.
        """
        if number != self._pass:
            return None
        if self._until is not None:
            self._probes -= 1
            return None if well is None else self._probed(well)
        if well is not None:
            self.window.add(well)
        return self._open() if well is False and self._failing() else None

    def _failing(self) -> bool:
        badly = self.window.badly
        total = badly + self.window.well
        return total >= self._rule.least and badly >= total * self._rule.share

    def _open(self) -> State:
        self._pass += 1
        self._probes = 0
        self._until = self._clock.now() + self._seconds
        return State.OPEN

    def _probed(self, well: bool) -> State:
        if not well:
            self._seconds = min(self._seconds * 2, self._rule.longest_seconds)
            return self._open()
        self._pass += 1
        self._probes = 0
        self._until = None
        self._seconds = self._rule.open_seconds
        self.window.clear()
        return State.CLOSED
