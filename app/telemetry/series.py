"""What is counted, as plain numbers; the library writes them out when somebody asks.

The library's own counters take a lock and look at their state at each step, which every request would pay fifteen
times. Here the event loop counts; a worker thread that tells of a trouble in the same instant may lose one count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Number:
    """What a counter or a gauge says."""

    __slots__ = ("_ask", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._ask: Callable[[], float] | None = None

    @property
    def value(self) -> float:
        """Now."""
        return self._value if self._ask is None else float(self._ask())

    def inc(self, by: float = 1.0) -> None:
        """More."""
        self._value += by

    def dec(self, by: float = 1.0) -> None:
        """Less."""
        self._value -= by

    def set(self, value: float) -> None:
        """It is so much."""
        self._value = float(value)

    def set_function(self, ask: Callable[[], float]) -> None:
        """Whoever wants to know asks."""
        self._ask = ask


class Spread:
    """What a histogram says: how many were at most this much."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, amount: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self.total += amount

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Each bound as text, and how many were not above it."""
        count = 0
        for bound, here in zip((*self._bounds, float("inf")), self._counts, strict=True):
            count += here
            yield floatToGoString(bound), count  # type: ignore[no-untyped-call]  # the library leaves it untyped


S = TypeVar("S", Number, Spread)


class Family(Generic[S]):
    """One metric. Called with one value for each label it gives the child to count with."""

    __slots__ = ("_children", "_make", "help", "kind", "labels", "name")

    def __init__(self, kind: str, name: str, help_: str, labels: tuple[str, ...], make: Callable[[], S]) -> None:
        self.kind = kind
        self.name = f"{name}_total" if kind == "counter" else name
        self.help = help_
        self.labels = labels
        self._make: Callable[[], S] = make
        self._children: dict[tuple[str, ...], S] = {} if labels else {(): make()}

    def __call__(self, *values: str) -> S:
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}")
            child = self._children[values] = self._make()
        return child

    def metric(self) -> Metric:
        """All of it, as the library writes it."""
        found = Metric(self.name.removesuffix("_total"), self.help, self.kind)
        for values, child in self._children.items():
            labels = dict(zip(self.labels, map(str, values), strict=True))
            if isinstance(child, Number):
                found.add_sample(self.name, labels, child.value)
                continue
            count = 0
            for bound, count in child.buckets():
                found.add_sample(f"{self.name}_bucket", {**labels, "le": bound}, count)
            found.add_sample(f"{self.name}_count", labels, count)
            found.add_sample(f"{self.name}_sum", labels, child.total)
        return found


class Families(Collector):
    """All metrics, for the library to ask."""

    def __init__(self) -> None:
        self.all: list[Family[Number] | Family[Spread]] = []

    def collect(self) -> Iterator[Metric]:
        for family in self.all:
            yield family.metric()
