"""The span of a whole request, around everything else; only there when traces are on."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.telemetry.logs import TRACE_ID
from app.telemetry.traces import Tracer

QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_FAILED_FROM: Final = 500


class Traced:
    """ASGI middleware: joins the caller's trace (`traceparent`) or begins one, and names it in the log lines."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        parent = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in {b"traceparent", b"tracestate"}
        }
        with self._tracer.span("request", parent=parent, method=scope["method"]) as span:
            token = TRACE_ID.set(span.trace_id)

            async def seen(message: Message) -> None:
                if message["type"] == "http.response.start":
                    state = scope.get("state", {})
                    span.note(status=message["status"], route=state.get("family"), request_id=state.get("request_id"))
                    if message["status"] >= _FAILED_FROM:
                        span.fail()
                await send(message)

            try:
                await self._app(scope, receive, seen)
            finally:
                TRACE_ID.reset(token)
