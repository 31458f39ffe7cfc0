"""What operators see: structured logs with the request id, and metrics with bounded labels.

No prompt, no key and no image byte ever comes here: the functions take entries and names, not requests.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from traceback import extract_tb
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.ledger import Entry
from providers.core.prices import MICRO

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
SECONDS: Final = (0.5, 1, 2, 5, 10, 20, 40, 60, 90, 120, 180, 300)
log: Final = logging.getLogger("pinhole")


class Telemetry:
    """Counts and logs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("model", "provider", "state")
        self._requests = Counter("pinhole_requests", "Accepted requests", labels, registry=self.registry)
        self._seconds = Histogram(
            "pinhole_upstream_seconds",
            "From reservation to settlement",
            ("provider",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._images = Counter("pinhole_images", "Images delivered", ("model", "provider"), registry=self.registry)
        self._cost = Counter("pinhole_cost_usd", "Cost of what was delivered", ("provider",), registry=self.registry)
        self._answers = Counter("pinhole_http_answers", "Answers", ("route", "status"), registry=self.registry)
        self._troubles = Counter(
            "pinhole_troubles", "Troubles of the gateway itself", ("part",), registry=self.registry
        )
        self.in_flight = Gauge("pinhole_in_flight", "Requests being worked on", registry=self.registry)

    def settled(self, entry: Entry) -> None:
        """A request came to its end."""
        self._requests.labels(entry.model, entry.provider, entry.state).inc()
        self._seconds.labels(entry.provider).observe(max(0.0, (entry.settled or entry.created) - entry.created))
        self._images.labels(entry.model, entry.provider).inc(entry.images_delivered)
        self._cost.labels(entry.provider).inc((entry.cost or 0) / MICRO)
        log.info(
            "settled",
            extra={
                "fields": {
                    "model": entry.model,
                    "provider": entry.provider,
                    "caller": entry.caller,
                    "state": entry.state.value,
                    "images": entry.images_delivered,
                    "asked": entry.images_asked,
                    "attempts": entry.attempts,
                    "error": entry.error,
                }
            },
        )

    def answered(self, route: str, status: int) -> None:
        """An answer went out."""
        self._answers.labels(route, str(status)).inc()

    def trouble(self, part: str, error: BaseException) -> None:
        """Something of ours went wrong; its kind is logged, its text is not."""
        self._troubles.labels(part).inc()
        log.error("trouble", extra={"fields": {"part": part, "kind": type(error).__name__}})

    def limiter_lost(self, why: str, back: bool) -> None:
        """The limiter's server went away, or came back."""
        if back:
            log.warning("limiter is back")
            return
        self._troubles.labels("limiter").inc()
        log.error("limiter lost", extra={"fields": {"kind": why}})

    def metrics(self) -> bytes:
        """The Prometheus text."""
        return generate_latest(self.registry)


class JSONFormatter(logging.Formatter):
    """One line of JSON for each record; only named fields, never arguments or locals."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["trace"] = [f"{f.filename}:{f.lineno} {f.name}" for f in extract_tb(record.exc_info[2])][-12:]
            line["kind"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def configure_logging() -> None:
    """All loggers to standard error, as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn.access", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
