"""/healthz, /readyz, /metrics: is it alive, may it get requests, what has it done."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from app.auth import presented
from app.errors import Overloaded, Unauthenticated
from app.ledger import Ledger
from app.limiter import Limiter
from app.routes import describe
from app.settings import LOOPBACK, Settings
from app.telemetry import Telemetry
from app.telemetry.metrics import MEDIA_TYPE


@dataclass(slots=True)
class Draining:
    """Set once, when the process was asked to stop."""

    started: bool = False
    since: float | None = None

    def begin(self) -> None:
        """A signal came."""
        self.started = True
        self.since = self.since if self.since is not None else time.monotonic()

    def left(self, seconds: float) -> float:
        """What is left of so many seconds since the signal."""
        return seconds if self.since is None else max(0.0, self.since + seconds - time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The handlers and what they need."""

    ledger: Ledger
    limiter: Limiter
    telemetry: Telemetry
    settings: Settings
    draining: Draining
    standing: Callable[[], dict[str, int]]

    def router(self) -> APIRouter:
        """Three routes; none of them asks a provider anything."""
        router = APIRouter()
        for path, handler, summary, answers in (
            ("/healthz", self.alive, "The process is up", describe.HEALTH),
            ("/readyz", self.ready, "The process may get requests", describe.READY),
            ("/metrics", self.metrics, "Prometheus metrics", describe.METRICS),
        ):
            router.add_api_route(
                path, handler, methods=["GET"], summary=summary, responses=answers, response_class=Response
            )
            router.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)
        return router

    async def alive(self) -> Response:
        """Always 200 while the process lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self) -> Response:
        """503 only while draining, without the ledger, or without Redis where `on_loss` is closed.

        Its 200 tells how providers do.
        """
        if self.draining.started:
            raise Overloaded("The gateway is stopping.")
        if not await self.ledger.ready():
            raise Overloaded("The ledger cannot be reached.")
        if not await self.limiter.ready():
            raise Overloaded("Limits cannot be checked.")
        return JSONResponse({"status": "ready", "deployments": self.standing()})

    async def metrics(self, request: Request) -> Response:
        """Open on loopback, else for the admin key only."""
        if self.settings.host not in LOOPBACK:
            key = presented(request.headers) or ""
            admin = self.settings.admin_key or ""
            if not admin or not hmac.compare_digest(key.encode(), admin.encode()):
                raise Unauthenticated("/metrics needs the admin key here.")
        return Response(self.telemetry.metrics.text(), headers={"content-type": MEDIA_TYPE})
