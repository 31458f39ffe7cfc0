"""Every metric of the gateway, one line each. Labels are bounded: rows, providers, routes, kinds; never a caller.

Counting is `metrics.images(model, provider).inc(2)`: a family called with its labels' values gives the child, which
is bound once and kept.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from app.telemetry.series import Families, Family, Number, Spread

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UPSTREAM_SECONDS: Final = (0.5, 1, 2, 5, 10, 20, 40, 60, 90, 120, 180, 300)
REQUEST_SECONDS: Final = (0.01, 0.05, 0.2, *UPSTREAM_SECONDS)
LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """The registry of one gateway. A metric is added by a line here and `make docs`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._families = Families()
        self.registry.register(self._families)
        self.families = self._families.all
        # What callers meet.
        self.answers = self._counter("http_answers", "Answers by route and status", "route", "status")
        self.request_seconds = self._histogram(
            "request_seconds", "Image requests, from the head to the answer's end", REQUEST_SECONDS, "route"
        )
        self.requests = self._counter(
            "requests",
            "Accepted requests that ended: delivered, failed (free) or unknown (may have been billed)",
            "model",
            "provider",
            "state",
        )
        self.images = self._counter("images", "Images delivered", "model", "provider")
        self.cost = self._counter("cost_usd", "Dollars for what was delivered, where the price is known", "provider")
        self.unpriced = self._counter("cost_unknown", "Delivered requests without a known price", "provider")
        self.in_flight = self._gauge("in_flight", "Accepted requests at work, also without their callers", "provider")
        self.repeats = self._counter("repeats", "Repeats that joined a running request or replayed an answer", "kind")
        # What upstreams do.
        self.upstream_seconds = self._histogram(
            "upstream_seconds",
            "One attempt, from its sending to its outcome, polling included",
            UPSTREAM_SECONDS,
            "provider",
        )
        self.attempts = self._counter(
            "upstream_attempts", "Attempts by outcome: ok, the error's class, or cancelled", "provider", "outcome"
        )
        self.retries = self._counter("upstream_retries", "Attempts that repeat one that cost nothing", "provider")
        self._deployments()
        self._own()

    def _own(self) -> None:
        # Limits.
        self.decisions = self._counter(
            "limiter_decisions",
            "Decisions: allowed, refused, or unavailable (Redis away, on_loss: closed)",
            "decision",
        )
        self.refusals = self._counter(
            "limiter_refusals", "Refusals by the kind of scope and its unit", "scope", "unit"
        )
        self.leases = self._gauge("leases", "Images held under a concurrent_images limit, here", "scope")
        self.limiter_errors = self._counter("limiter_errors", "Calls that Redis did not answer", "kind")
        self.limiter_mode = self._gauge(
            "limiter_mode", "1 for the mode in force: embedded, redis, fallback (a share, here) or closed", "mode"
        )
        self.places = self._gauge("capacity_requests", "Requests that have a place in flight")
        self.queued = self._gauge("capacity_queued", "Requests that wait for a place, or for room for their uploads")
        self.held = self._gauge(
            "capacity_bytes", "Bytes held: bodies in memory, copies of uploads, pictures at work", "what"
        )
        self.spooled = self._gauge("capacity_spooled", "Bodies that lie in files")
        # The ledger.
        self.ledger_queue = self._gauge("ledger_queue", "Rows that wait to be written")
        self.ledger_failures = self._counter("ledger_write_failures", "Groups of rows that could not be written")
        self.ledger_swept = self._counter("ledger_swept", "Rows of dead gateways that became unknown")
        self.ledger_recovered = self._counter(
            "ledger_recovered", "Rows of killed gateways that their settlement files completed"
        )
        # The process.
        self.reloads = self._counter("config_reloads", "Reloads of the config file: done or refused", "outcome")
        self.lag = self._histogram("loop_lag_seconds", "How late the event loop wakes a sleeper", LAG_SECONDS)
        self.troubles = self._counter("troubles", "Troubles of the gateway itself; their kind is logged", "part")

    def _deployments(self) -> None:
        self.fallbacks = self._counter("fallbacks", "Requests handed on to another model", "model", "fallback")
        self.deployment_breaker = self._gauge(
            "deployment_breaker", "The breaker: 0 closed, 0.5 half-open, 1 open", "deployment"
        )
        self.deployment_in_flight = self._gauge("deployment_in_flight", "Attempts under way", "deployment")
        self.deployment_cooling = self._gauge(
            "deployment_cooling_seconds", "How long the last of its models still cools down", "deployment"
        )
        self.deployment_changes = self._counter(
            "deployment_changes", "Changes: opened, closed, cooling, refused (its account)", "deployment", "change"
        )

    def text(self) -> bytes:
        """What /metrics answers."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Family[Number]:
        return self._number("counter", name, help_, labels)

    def _gauge(self, name: str, help_: str, *labels: str) -> Family[Number]:
        return self._number("gauge", name, help_, labels)

    def _number(self, kind: str, name: str, help_: str, labels: tuple[str, ...]) -> Family[Number]:
        family = Family[Number](kind, f"pinhole_{name}", help_, labels, Number)
        self.families.append(family)
        return family

    def _histogram(self, name: str, help_: str, bounds: tuple[float, ...], *labels: str) -> Family[Spread]:
        family = Family[Spread]("histogram", f"pinhole_{name}", help_, labels, lambda: Spread(bounds))
        self.families.append(family)
        return family
