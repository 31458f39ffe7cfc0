"""The limiter in this process: exact for one gateway, and the reference for the one on Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    __slots__ = ("arrival",)

    def __init__(self) -> None:
        self.arrival = 0.0

    def look(self, more: float, limit: float, at: Moment) -> tuple[float, float]:
        now = at.now
        self.arrival = min(self.arrival, now + MINUTE)
        ahead = (self.arrival - now if self.arrival > now else 0.0) + more * MINUTE / limit
        wait = ahead - MINUTE
        return (now + ahead if ahead > 0.0 else now), (wait if wait > GRAIN else 0.0)

    def put(self, arrival: float, _: Moment) -> None:
        self.arrival = arrival

    def rests(self, at: Moment) -> bool:
        return self.arrival <= at.now


class Flying:
    """Images in flight."""

    __slots__ = ("_images",)

    def __init__(self) -> None:
        self._images = 0.0

    def look(self, more: float, limit: float, _: Moment) -> tuple[float, float]:
        images = self._images + more
        return images, 1.0 if images > limit else 0.0

    def put(self, images: float, _: Moment) -> None:
        self._images = images

    def rests(self, _: Moment) -> bool:
        return not self._images


class Purse:
    """Micro-dollars by UTC day, each day from the ledger's sum on."""

    __slots__ = ("spent",)

    def __init__(self) -> None:
        self.spent: dict[int, float] = {}

    def look(self, more: float, limit: float, at: Moment) -> tuple[float, float]:
        if at.day not in self.spent:
            return 0.0, UNREAD
        spent = self.spent[at.day] + more
        wait = max(1.0, (at.day + 1) * DAY - at.time) if spent > limit else 0.0  # a fallback's day may be over
        return spent, wait

    def put(self, spent: float, at: Moment) -> None:
        if at.day in self.spent:
            self.spent[at.day] = spent

    def rests(self, at: Moment) -> bool:
        return at.day not in self.spent


Cell = Bucket | Flying | Purse
"""What one scope has taken of one unit.

`look` tells what it would hold with so much more, and the seconds until that fits (0: now); `put` has it hold that.
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

    def rests(self, at: Moment) -> bool:
        """Whether nothing is lost when it is forgotten."""
        return all(cell.rests(at) for cell in self._cells.values())

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
        self._granted: dict[str, tuple[Spend, int]] = {}

    async def spend(self, spend: Spend) -> Decision:
        held, day = self._granted.get(spend.request_id, (None, None))
        at = Moment(self._clock, day)
        rules = self._rules(spend)
        if held is not None and held == spend:
            _looked(self._steps(spend, rules, held), at)
            return Decision(allowed=True, standings=_standings(rules, at))
        while True:
            taken, wait, worst = _looked(self._steps(spend, rules, held), at)
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
        for cell, value in taken:
            cell.put(value, at)
        self._granted[spend.request_id] = (spend, at.day)
        return Decision(allowed=True, standings=_standings(rules, at))

    async def settle(self, spend: Spend, used: Used) -> None:
        held, day = self._granted.pop(spend.request_id, (None, 0))
        if held is None:
            return
        at, final, before = Moment(self._clock, day), used_of(held, used), held.amounts
        for rule in self._rules(held):
            if more := final[rule.unit] - before[rule.unit]:
                value, _ = rule.cell.look(more, rule.limit, at)
                rule.cell.put(value, at)

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

    def _steps(self, spend: Spend, rules: list[Rule], held: Spend | None) -> list[tuple[Rule, float]]:
        """Every limit, and how much more of it than the request holds (by a failed way) it is to hold."""
        amounts = spend.amounts
        steps = [(rule, amounts[rule.unit]) for rule in rules]
        if held is None:
            return steps
        before = {id(rule.cell): (rule, held.amounts[rule.unit]) for rule in self._rules(held)}
        found = [(rule, more - before.pop(id(rule.cell), (rule, 0.0))[1]) for rule, more in steps]
        return [*found, *((rule, -amount) for rule, amount in before.values())]

    def _rules(self, spend: Spend) -> list[Rule]:
        return [rule for scope in spend.scopes if scope.in_force for rule in self._bearer(scope.key).under(scope)]

    def _bearer(self, key: str) -> Bearer:
        found = self._bearers.get(key)
        if found is None:
            if len(self._bearers) >= self._most:  # end users have names without end
                at = Moment(self._clock, None)
                self._bearers = {key: bearer for key, bearer in self._bearers.items() if not bearer.rests(at)}
                self._most = max(BEARERS, 2 * len(self._bearers))
            found = self._bearers[key] = Bearer()
        return found


def _looked(steps: list[tuple[Rule, float]], at: Moment) -> tuple[list[tuple[Cell, float]], float, Rule | None]:
    """What each cell would hold, the longest wait until all of them may, and whose that is.

    UNREAD is the wait for a budget of which nobody knows here what is spent.
    """
    taken: list[tuple[Cell, float]] = []
    longest, worst = 0.0, None
    for rule, more in steps:
        value, wait = rule.cell.look(more, rule.limit, at)
        if wait == UNREAD:
            return taken, UNREAD, rule
        taken.append((rule.cell, value))
        if more > 0 and wait > longest:
            longest, worst = wait, rule
    return taken, longest, worst


def _standings(rules: list[Rule], at: Moment) -> tuple[Standing, ...]:
    now, found = at.now, []
    for rule in rules:
        cell, limit = rule.cell, rule.limit
        if isinstance(cell, Bucket):
            ahead = cell.arrival - now if cell.arrival > now else 0.0
            found.append(Standing(rule.unit, limit, limit * (1 - ahead / MINUTE) if ahead < MINUTE else 0.0, ahead))
    return tuple(found)
