"""What the rest of the gateway tells: events by name, which become counts and log lines.

No prompt, no key and no image byte ever comes here: the functions take entries and names, not requests.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from app.errors import row
from app.ledger import Entry, State
from app.telemetry.logs import log, tell
from app.telemetry.metrics import Metrics
from app.telemetry.traces import OFF, Tracer
from providers.core.errors import PinholeError
from providers.core.prices import MICRO
from providers.kit.breaker import State as Breaker
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.pool import Pool
from providers.kit.report import Change

OPENNESS: Final = {Breaker.CLOSED: 0.0, Breaker.HALF_OPEN: 0.5, Breaker.OPEN: 1.0}
IMAGE_ROUTES: Final = frozenset({"generations", "edits"})
_PARAMETER: Final = re.compile(r"[a-z_][a-z0-9_.\[\]]{0,39}")


class Telemetry:
    """Counts, logs, and the tracer that spans come from."""

    def __init__(self, tracer: Tracer = OFF) -> None:
        self.metrics = Metrics()
        self.tracer = tracer
        self._limiter_away = False
        self._limiter_modes = ("embedded", "embedded")

    def begun(self, entry: Entry) -> None:
        """A request was accepted: limits are taken, its row is written."""
        self.metrics.in_flight(entry.provider).inc()

    def resumed(self, entry: Entry) -> None:
        """A request that another process began goes on here."""
        log.warning(
            "resumed", extra={"fields": {"id": entry.request_id, "model": entry.model, "caller": entry.caller}}
        )

    def turned(self, before: Entry, entry: Entry) -> None:
        """A request goes on with another model."""
        self.metrics.in_flight(before.provider).dec()
        self.metrics.in_flight(entry.provider).inc()
        self.metrics.fallbacks(before.model, entry.model).inc()

    def settled(self, entry: Entry, journal: Journal) -> None:
        """An accepted request came to its end."""
        metrics, model, provider = self.metrics, entry.model, entry.provider
        metrics.in_flight(provider).dec()
        metrics.requests(model, provider, entry.state).inc()
        if entry.state is State.DELIVERED:
            metrics.images(model, provider).inc(entry.images_delivered)
            if entry.cost is None:
                metrics.unpriced(provider).inc()
            else:
                metrics.cost(provider).inc(entry.cost / MICRO)
        tell("settled", _account(entry, journal))

    def repeated(self, kind: str, run: str, caller: str) -> None:
        """A request is the repeat of another: the log tells its own request id and the row it shares."""
        self.metrics.repeats(kind).inc()
        tell(kind, {"id": run, "caller": caller})

    def answered(self, route: str, status: int, seconds: float) -> None:
        """An answer went out, whole or as far as its caller took it."""
        self.metrics.answers(route, str(status)).inc()
        if route in IMAGE_ROUTES:
            self.metrics.request_seconds(route).observe(seconds)

    def refused(self, error: PinholeError, caller: str | None) -> None:
        """An error goes out. Its code, never its text: that may repeat what the caller sent."""
        shown = row(error)
        fields: dict[str, Any] = {
            "status": shown.status,
            "code": (error.code if shown.own_code and error.code else shown.code),
            "kind": type(error).__name__,
            "caller": caller,
        }
        if error.param and _PARAMETER.fullmatch(error.param):
            fields["param"] = error.param
        tell("refused", fields)

    def trouble(self, part: str, error: BaseException) -> None:
        """Something of ours went wrong; its kind is logged, its text is not."""
        self.metrics.troubles(part).inc()
        log.error("trouble", extra={"fields": {"part": part, "kind": type(error).__name__}})

    def limiter_lost(self, why: str, back: bool) -> None:
        """The limiter's server did not answer (each time), or came back. Changes are logged, once each."""
        if not back:
            self.metrics.limiter_errors(why).inc()
        if back is not self._limiter_away:
            return
        self._limiter_away = not back
        self._mode(self._limiter_modes[self._limiter_away])
        if back:
            log.warning("limiter is back")
        else:
            log.error("limiter lost", extra={"fields": {"kind": why}})

    def runs_lost(self, why: str, back: bool) -> None:
        """The index of runs lost its server: repeats are recognised by this gateway alone; or it is back."""
        if back:
            log.warning("runs are shared again")
            return
        self.metrics.troubles("runs").inc()
        log.error("runs are not shared", extra={"fields": {"kind": why}})

    def reloaded(self, why: str | None, waiting: Sequence[str] = ()) -> None:
        """The config file was read again: refused with a reason, or in force but for parts that need a restart."""
        self.metrics.reloads("refused" if why else "done").inc()
        if why:
            log.error("config not reloaded, the old one stays", extra={"fields": {"reason": why}})
            return
        log.warning("config reloaded", extra={"fields": {"needs_restart": list(waiting)}})

    def deployment_changed(self, deployment: Deployment, change: Change, error: str) -> None:
        """A deployment's breaker opened or closed, it cools down, or its account was refused."""
        self.metrics.deployment_changes(deployment.label, change).inc()
        level = logging.INFO if change in {Change.CLOSED, Change.COOLING} else logging.WARNING
        fields = {"deployment": deployment.label, "change": change.value, "error": error}
        log.log(level, "deployment", extra={"fields": fields})

    def watch(self, pool: Pool, deployments: Iterable[tuple[Deployment, int]]) -> None:
        """Have the state of these deployments read whenever the metrics are."""
        for deployment, _ in deployments:
            name = deployment.label
            self.metrics.deployment_breaker(name).set_function(partial(_openness, pool, deployment))
            self.metrics.deployment_in_flight(name).set_function(partial(_in_flight, pool, deployment))
            self.metrics.deployment_cooling(name).set_function(partial(_cooling, pool, deployment))

    def unwritten(self, rows: int) -> None:
        """The ledger could not write a group of rows."""
        self.metrics.ledger_failures().inc()
        log.error("ledger cannot be written", extra={"fields": {"rows": rows}})

    def swept(self, rows: int) -> None:
        """The ledger closed rows of gateways that died."""
        self.metrics.ledger_swept().inc(rows)
        log.warning("rows of a dead gateway became unknown", extra={"fields": {"rows": rows}})

    def recovered(self, rows: int) -> None:
        """The ledger completed rows from the settlement files of gateways that were killed."""
        self.metrics.ledger_recovered().inc(rows)
        log.warning("rows of a killed gateway were completed", extra={"fields": {"rows": rows}})

    def unkept(self, error: Exception, *, again: bool) -> None:
        """The settlement file is of no use now: counted each time, logged once."""
        self.metrics.troubles("settlements").inc()
        if not again:
            log.error("trouble", extra={"fields": {"part": "settlements", "kind": type(error).__name__}})

    def limiter_is(self, mode: str, *, away: str = "") -> None:
        """Which mode the limiter starts in, and which is in force while its server is away."""
        self._limiter_modes = (mode, away or mode)
        self._mode(mode)

    def _mode(self, mode: str) -> None:
        for name in ("embedded", "redis", "fallback", "closed"):
            self.metrics.limiter_mode(name).set(name == mode)


def _openness(pool: Pool, deployment: Deployment) -> float:
    return OPENNESS[pool.report(deployment).state]


def _in_flight(pool: Pool, deployment: Deployment) -> float:
    return pool.report(deployment).in_flight


def _cooling(pool: Pool, deployment: Deployment) -> float:
    return max(pool.report(deployment).cooling.values(), default=0.0)


def _account(entry: Entry, journal: Journal) -> dict[str, Any]:
    """The log's fields of a settled request. `upstream_ms` is first sending to last outcome, waits included."""
    return {
        "id": entry.request_id,
        "caller": entry.caller,
        "name": entry.caller_name,
        "model": entry.model,
        "provider": entry.provider,
        "state": str(entry.state),
        "images": entry.images_delivered,
        "asked": entry.images_asked,
        "attempts": entry.attempts,
        "ms": round(max(0.0, (entry.settled or entry.created) - entry.created) * 1000),
        "upstream_ms": round(journal.seconds * 1000),
        "cost_usd": None if entry.cost is None else entry.cost / MICRO,
        "error": entry.error,
    }
