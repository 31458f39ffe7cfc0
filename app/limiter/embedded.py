"""The limiter in this process: exact for one gateway, and the reference for the one on Redis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from app.config import Limits
from app.limiter.protocol import (
    PER_MINUTE,
    Decision,
    Scope,
    Spend,
    Spent,
    Standing,
    Unit,
    Used,
    nothing_spent,
    used_of,
)
from providers.core.valueclass import valueclass
from providers.kit.clock import Clock

MINUTE: Final = 60.0
DAY: Final = 86_400
# A bucket is full to the millisecond: sums of fractions must not refuse the last of N.
GRAIN: Final = 0.001
BEARERS: Final = 20_000
UNREAD: Final = -1.0


class Moment:
    """When a decision is made: the clock's `now()`, and the UTC day that its money belongs to."""

    __slots__ = ("day", "now", "time")

    def __init__(self, clock: Clock, day: int | None) -> None:
        self.now = clock.now()
        self.time = clock.time()
        self.day = int(self.time // DAY) if day is None else day


class Bucket:
    """A GCRA bucket of N is one number, the theoretical arrival time: an amount a moves it by a * 60 / N seconds.

    It may lie at most a minute ahead of now. A clock that went back locks nobody out for longer than a minute.
    """

    __slots__ = ("_next", "arrival")

    def __init__(self) -> None:
        self.arrival = self._next = 0.0

    def look(self, more: float, limit: float, at: Moment) -> float:
        now = at.now
        ahead = self.arrival - now if self.arrival > now else 0.0
        if ahead > MINUTE:
            ahead, self.arrival = MINUTE, now + MINUTE
        ahead += more * MINUTE / limit
        self._next = now + ahead if ahead > 0.0 else now
        wait = ahead - MINUTE
        return wait if wait > GRAIN else 0.0

    def take(self, _: Moment) -> None:
        self.arrival = self._next

    def rests(self, at: Moment) -> bool:
        return self.arrival <= at.now


class Flying:
    """Images in flight."""

    __slots__ = ("_images", "_next")

    def __init__(self) -> None:
        self._images = self._next = 0.0

    def look(self, more: float, limit: float, _: Moment) -> float:
        self._next = self._images + more
        return 1.0 if self._next > limit else 0.0

    def take(self, _: Moment) -> None:
        self._images = self._next

    def rests(self, _: Moment) -> bool:
        return not self._images


class Purse:
    """Micro-dollars by UTC day, each day from the ledger's sum on."""

    __slots__ = ("_next", "spent")

    def __init__(self) -> None:
        self.spent: dict[int, float] = {}
        self._next = 0.0

    def look(self, more: float, limit: float, at: Moment) -> float:
        if at.day not in self.spent:
            return UNREAD
        self._next = self.spent[at.day] + more
        if self._next <= limit:
            return 0.0
        return max(1.0, (at.day + 1) * DAY - at.time)  # a fallback's day may be over

    def take(self, at: Moment) -> None:
        if at.day in self.spent:
            self.spent[at.day] = self._next

    def rests(self, at: Moment) -> bool:
        return at.day not in self.spent


Cell = Bucket | Flying | Purse
"""What one scope has taken of one unit.

`look` tells the seconds until so much more fits (0: now), `take` has it hold what the last look was about.
"""

CELLS: Final[Mapping[Unit, Callable[[], Cell]]] = {
    **dict.fromkeys(PER_MINUTE, Bucket),
    Unit.CONCURRENT: Flying,
    Unit.USD: Purse,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit of a scope, and where it stands."""

    scope: Scope
    unit: Unit
    limit: float
    cell: Cell


@valueclass(frozen=True, slots=True)
class Grant:
    """What a request holds: what it was granted, by which rules, of which day's money."""

    spend: Spend
    rules: list[Rule]
    day: int


class Bearer:
    """A scope with a cell for each unit that was ever limited; its rules are made anew when its limits change."""

    __slots__ = ("_cells", "_limits", "rules")

    def __init__(self) -> None:
        self._limits: Limits | None = None
        self._cells: dict[Unit, Cell] = {}
        self.rules: tuple[Rule, ...] = ()

    def under(self, scope: Scope) -> tuple[Rule, ...]:
        """The rules of these limits."""
        if self._limits is not scope.limits:
            self._limits = scope.limits
            self.rules = tuple(Rule(scope, unit, limit, self._cell(unit)) for unit, limit in scope.in_force)
        return self.rules

    def rests(self, at: Moment, held: Collection[int]) -> bool:
        """Whether nothing is lost when it is forgotten: no request holds anything of it."""
        return all(cell.rests(at) and id(cell) not in held for cell in self._cells.values())

    def _cell(self, unit: Unit) -> Cell:
        if unit not in self._cells:
            self._cells[unit] = CELLS[unit]()
        return self._cells[unit]


class EmbeddedLimiter:
    """GCRA per minute unit, a count of images in flight, and micro-dollars per UTC day."""

    def __init__(self, clock: Clock, spent: Spent = nothing_spent) -> None:
        self._clock = clock
        self._ledger = spent
        self._bearers: dict[str, Bearer] = {}
        self._most = BEARERS
        self._granted: dict[str, Grant] = {}

    async def spend(self, spend: Spend) -> Decision:
        held = self._granted.get(spend.request_id)
        at = Moment(self._clock, held.day if held else None)
        rules = self._rules(spend)
        if held is not None and held.spend == spend:
            _looked(_steps(spend, rules, held), at)
            return Decision(allowed=True, standings=_standings(rules, at))
        while True:
            steps = _steps(spend, rules, held)
            wait, worst = _looked(steps, at)
            if worst is None or wait != UNREAD:
                break
            await self._read(worst, at.day)
            rules = self._rules(spend)
        # From the last look to the end nothing waits, so that no other request comes between it and the taking.
        if worst is not None:
            return Decision(
                allowed=False,
                standings=_standings(rules, at),
                refused_scope=worst.scope,
                refused_unit=worst.unit,
                retry_after=wait,
            )
        for rule, _ in steps:
            rule.cell.take(at)
        self._granted[spend.request_id] = Grant(spend, rules, at.day)
        return Decision(allowed=True, standings=_standings(rules, at))

    async def settle(self, spend: Spend, used: Used) -> None:
        held = self._granted.pop(spend.request_id, None)
        if held is None:
            return
        at, final, before = Moment(self._clock, held.day), used_of(held.spend, used), held.spend.amounts
        for rule in held.rules:
            if more := final[rule.unit] - before[rule.unit]:
                rule.cell.look(more, rule.limit, at)
                rule.cell.take(at)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        self._granted.clear()

    def forget_money(self) -> None:
        """Read what was spent from the ledger again."""
        for bearer in self._bearers.values():
            for rule in bearer.rules:
                if isinstance(rule.cell, Purse):
                    rule.cell.spent.clear()

    async def _read(self, rule: Rule, day: int) -> None:
        """The day's sum of a scope, which is not known here, from the ledger."""
        assert isinstance(rule.cell, Purse)  # noqa: S101 - what is read is a budget
        found = await self._ledger(rule.scope, day * DAY)
        rule.cell.spent.setdefault(day, found)  # another request may have read it meanwhile
        for old in [known for known in rule.cell.spent if known < day - 1]:
            del rule.cell.spent[old]

    def _rules(self, spend: Spend) -> list[Rule]:
        return [rule for scope in spend.scopes if scope.in_force for rule in self._bearer(scope.key).under(scope)]

    def _bearer(self, key: str) -> Bearer:
        found = self._bearers.get(key)
        if found is None:
            if len(self._bearers) >= self._most:  # end users have names without end
                at = Moment(self._clock, None)
                held = {id(rule.cell) for grant in self._granted.values() for rule in grant.rules}
                self._bearers = {name: each for name, each in self._bearers.items() if not each.rests(at, held)}
                self._most = max(BEARERS, 2 * len(self._bearers))
            found = self._bearers[key] = Bearer()
        return found


def _steps(spend: Spend, rules: list[Rule], held: Grant | None) -> list[tuple[Rule, float]]:
    """Every limit, and how much more of it than the request holds (by a failed way) it is to hold."""
    amounts = spend.amounts
    steps = [(rule, amounts[rule.unit]) for rule in rules]
    if held is None:
        return steps
    had = held.spend.amounts
    before = {id(rule.cell): (rule, had[rule.unit]) for rule in held.rules}
    found = [(rule, more - before.pop(id(rule.cell), (rule, 0.0))[1]) for rule, more in steps]
    return [*found, *((rule, -amount) for rule, amount in before.values())]


def _looked(steps: list[tuple[Rule, float]], at: Moment) -> tuple[float, Rule | None]:
    """The longest wait until all may be taken, and whose that is.

    UNREAD is the wait for a budget of which nobody knows here what is spent.
    """
    longest, worst = 0.0, None
    for rule, more in steps:
        wait = rule.cell.look(more, rule.limit, at)
        if wait == UNREAD:
            return UNREAD, rule
        if more > 0 and wait > longest:
            longest, worst = wait, rule
    return longest, worst


def _standings(rules: list[Rule], at: Moment) -> tuple[Standing, ...]:
    """Where the tightest limit of each rate stands."""
    now = at.now
    tightest: dict[Unit, Standing] = {}
    for rule in rules:
        cell, limit = rule.cell, rule.limit
        if isinstance(cell, Bucket):
            ahead = cell.arrival - now if cell.arrival > now else 0.0
            left = limit * (1 - ahead / MINUTE) if ahead < MINUTE else 0.0
            known = tightest.get(rule.unit)
            if known is None or left < known.remaining:
                tightest[rule.unit] = Standing(rule.unit, limit, left, ahead)
    return tuple(tightest.values())
