"""How big a soak is, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How long, how many and how rough. `restart` and `kill` are seconds between stops of one gateway; 0 is never."""

    seconds: float = 600.0
    requests: int = 0
    gateways: int = 2
    callers: int = 8
    restart: float = 0.0
    kill: float = 0.0
    faults: float = 0.3
    seed: int = 0
    roam: bool = True
    database: bool = True


@dataclass(slots=True)
class Report:
    """`later`: had from the results route in the end. `unknown`: lost to a kill -9, told by the ledger."""

    seed: int
    seconds: float = 0.0
    requests: int = 0
    answered: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    replayed: int = 0
    later: int = 0
    submits: int = 0
    stops: int = 0
    late_stops: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    paid_twice: list[str] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    sockets: list[int] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, paid twice or other than the provider made it."""
        return not (self.lost or self.paid_twice or self.wrong or self.late_stops)

    def shown(self) -> str:
        """As JSON, long lists by their length and first members."""
        document = {name: getattr(self, name) for name in self.__slots__}
        for name in ("unknown", "wrong", "lost", "paid_twice"):
            document[name] = {"count": len(document[name]), "first": document[name][:5]}
        return json.dumps(document, indent=2)
