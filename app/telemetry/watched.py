"""The seams as telemetry sees them: what is decided, called and written, counted and made into spans."""

from __future__ import annotations

import time
from functools import partial
from types import TracebackType
from typing import Self

from app.errors import Overloaded
from app.ledger import Entries, Entry
from app.limiter import KINDS, Decision, Limiter, Spend, Used
from app.store import ImageStore
from app.telemetry.metrics import Metrics
from app.telemetry.telemetry import Telemetry
from app.telemetry.traces import Span, Tracer
from providers.core.errors import UpstreamFailure
from providers.core.http import Buffer
from providers.core.types import ImageFormat
from providers.kit.watch import Attempt, Times


class WatchedLimiter:
    """A limiter whose decisions and leases are counted."""

    def __init__(self, inner: Limiter, telemetry: Telemetry) -> None:
        self._inner = TracedLimiter(inner, telemetry.tracer) if telemetry.tracer.on else inner
        self._metrics = telemetry.metrics
        self._held: dict[str, Spend] = {}
        for kind in KINDS:
            telemetry.metrics.leases(kind).set_function(partial(self._leases, kind))

    async def spend(self, spend: Spend) -> Decision:
        try:
            decision = await self._inner.spend(spend)
        except Overloaded:
            self._metrics.decisions("unavailable").inc()
            raise
        self._count(spend, decision)
        return decision

    async def settle(self, spend: Spend, used: Used) -> None:
        self._held.pop(spend.request_id, None)
        await self._inner.settle(spend, used)

    async def ready(self) -> bool:
        return await self._inner.ready()

    async def close(self) -> None:
        await self._inner.close()

    def _count(self, spend: Spend, decision: Decision) -> None:
        if decision.allowed:
            self._metrics.decisions("allowed").inc()
            self._held[spend.request_id] = spend
            return
        self._metrics.decisions("refused").inc()
        scope, unit = decision.refused_scope, decision.refused_unit
        if scope is not None and unit is not None:
            self._metrics.refusals(scope.kind, unit).inc()

    def _leases(self, kind: str) -> int:
        """Images in flight under the bounds of this kind of scope."""
        return sum(
            spend.images
            for spend in self._held.values()
            for scope in spend.scopes
            if scope.kind == kind and scope.limits.concurrent_images is not None
        )


class TracedLimiter:
    """A limiter whose decisions are spans; only there when traces are on."""

    def __init__(self, inner: Limiter, tracer: Tracer) -> None:
        self._inner = inner
        self._tracer = tracer
        self.ready = inner.ready
        self.close = inner.close

    async def spend(self, spend: Spend) -> Decision:
        with self._tracer.span("limiter.spend") as span:
            decision = await self._inner.spend(spend)
            if decision.refused_scope is not None:
                span.note(refused_scope=decision.refused_scope.kind, refused_unit=decision.refused_unit)
            return decision

    async def settle(self, spend: Spend, used: Used) -> None:
        with self._tracer.span("limiter.settle"):
            await self._inner.settle(spend, used)


class TracedEntries:
    """Rows whose writing is a span; only there when traces are on."""

    def __init__(self, inner: Entries, tracer: Tracer) -> None:
        self._inner = inner
        self._tracer = tracer

    async def open(self, entry: Entry) -> None:
        with self._tracer.span("ledger.open", id=entry.request_id):
            await self._inner.open(entry)

    async def settle(self, entry: Entry) -> None:
        with self._tracer.span("ledger.settle", id=entry.request_id, state=entry.state.value):
            await self._inner.settle(entry)


class WatchedStore:
    """Keeping an image as a span; everything else is the store's own."""

    def __init__(self, inner: ImageStore, tracer: Tracer) -> None:
        self._inner = inner
        self._tracer = tracer
        self.get = inner.get
        self.keep = inner.keep
        self.kept = inner.kept
        self.drop = inner.drop
        self.sweep = inner.sweep
        self.close = inner.close

    async def put(self, data: Buffer, image_format: ImageFormat) -> str:
        with self._tracer.span("store.put", bytes=len(data), format=image_format.value):
            return await self._inner.put(data, image_format)


class UpstreamWatch:
    """Each attempt at an upstream: how long, with what outcome, and as a span."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._metrics = telemetry.metrics
        self._tracer = telemetry.tracer

    def attempt(self, provider: str, model: str, journal: Times) -> Attempt:
        span = self._tracer.span(
            "upstream", outward=True, provider=provider, model=model, attempt=journal.attempts, output="image"
        )
        return _Attempt(self._metrics, provider, journal, span)

    def again(self, provider: str) -> None:
        self._metrics.retries(provider).inc()


class _Attempt:
    __slots__ = ("_arrived", "_began", "_journal", "_metrics", "_provider", "_span", "status")

    def __init__(self, metrics: Metrics, provider: str, journal: Times, span: Span) -> None:
        self.status = 0
        self._metrics = metrics
        self._provider = provider
        self._journal = journal
        self._span = span
        self._began = 0.0
        self._arrived = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._journal.began = self._journal.began or self._began
        self._span.__enter__()
        return self

    def arrived(self) -> None:
        self._arrived = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self._arrived or time.perf_counter()
        self._journal.ended = ended
        outcome = "ok"
        if kind is not None and not self._arrived:
            outcome = kind.__name__ if issubclass(kind, UpstreamFailure) else "cancelled"
        self._metrics.upstream_seconds(self._provider).observe(ended - self._began)
        self._metrics.attempts(self._provider, outcome).inc()
        if self.status:
            self._span.note(status=self.status)
        self._span.__exit__(kind, error, trace)


def watched_store(store: ImageStore, telemetry: Telemetry) -> ImageStore:
    """The store itself unless there are traces."""
    return WatchedStore(store, telemetry.tracer) if telemetry.tracer.on else store


def watched_entries(entries: Entries, telemetry: Telemetry) -> Entries:
    """The ledger itself unless there are traces."""
    return TracedEntries(entries, telemetry.tracer) if telemetry.tracer.on else entries
