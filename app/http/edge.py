"""The outermost layer: request ids, the host check, timing, and the envelope for whatever escapes."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors
from app.answer import limits
from app.http.arrival import Arrival, gone, lent, named
from app.http.lost import allowed, nothing_at
from app.http.receipts import peer
from app.telemetry import REQUEST_ID, Telemetry
from providers.core.errors import PermissionDenied, PinholeError, UpstreamFailure
from providers.kit.tokens import token

REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
Door = tuple[str, str]
Handler = Callable[[Arrival], Awaitable[Response]]
log = logging.getLogger("pinhole")


class Gateway(FastAPI):
    """FastAPI's app in layers of our own: those of its `add_middleware` lie inside of three that it always adds."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self._whole: ASGIApp = super().__call__

    def around(self, layer: Callable[[ASGIApp], ASGIApp]) -> None:
        """Put a layer around everything."""
        self._whole = layer(self._whole)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._whole(scope, receive, send)


class Edge:
    """ASGI layer. Without caller keys only requests for this machine (or the public URL) are answered."""

    def __init__(
        self, app: ASGIApp, *, telemetry: Telemetry, public_url: str, closed: bool, direct: Mapping[Door, Handler]
    ) -> None:
        """`direct` are handlers by method and path that need nothing of what FastAPI does between here and them."""
        self._app = app
        self._telemetry = telemetry
        self._closed = closed
        self._direct = direct
        public = urlsplit(public_url).hostname or ""
        self._hosts = LOCAL | {public, f"[{public}]"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = named(scope["headers"])
        request_id = label(headers)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"], state["family"] = request_id, family(scope["path"])
        before = REQUEST_ID.set(request_id)
        status = 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                taken = round((time.perf_counter() - started) * 1000)
                more = (b"x-request-id", request_id.encode()), (b"openai-processing-ms", b"%d" % taken)
                message["headers"] = [*message["headers"], *more]
            await send(message)

        try:
            if not self._closed and not self._local(headers.get("host", "")):
                message = "Without caller keys only requests to this machine's own name are answered."
                await self._refuse(PermissionDenied(message))(scope, receive, stamped)
            elif handler := self._direct.get((scope["method"], scope["path"])):
                told, caller = gone(scope, receive), peer(scope)
                arrival = Arrival(headers, receive, told, request_id, state, peer=caller, lend=lent(scope))
                response = await self._handled(handler, arrival)
                await response(scope, receive, stamped)
            else:
                await self._app(scope, receive, stamped)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not status:  # of a handler that is called here: the app answers for its own
                await unforeseen(error, self._telemetry)(scope, receive, stamped)
            raise
        finally:
            REQUEST_ID.reset(before)
            if status:
                self._telemetry.answered(state["family"], status, time.perf_counter() - started)

    def _refuse(self, error: PinholeError) -> Response:
        self._telemetry.refused(error, None)
        return respond(error)

    async def _handled(self, handler: Handler, arrival: Arrival) -> Response:
        try:
            return await handler(arrival)
        except PinholeError as error:
            self._telemetry.refused(error, arrival.state.get("caller"))
            if not isinstance(error, UpstreamFailure):
                error.__dict__.setdefault("attempts", 0)  # refused before anybody was called
            return respond(error)

    def _local(self, host: str) -> bool:
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        return name.lower() in self._hosts


def label(headers: Mapping[str, str]) -> str:
    """The caller's own request id when it has the right form, else a new one."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID_FORM.fullmatch(given) else f"req_{token()}"


def respond(error: PinholeError) -> JSONResponse:
    """An error as an answer."""
    headers = errors.headers(error)
    if (attempts := error.__dict__.get("attempts")) is not None:
        headers["pinhole-attempts"] = str(attempts)
    if error.__dict__.get("replayed"):
        headers["pinhole-replayed"] = "true"
    headers |= limits(error.__dict__.get("standings", ()))
    return JSONResponse(errors.envelope(error), status_code=errors.status(error), headers=headers)


def unforeseen(error: BaseException, telemetry: Telemetry) -> JSONResponse:
    """The answer for a mistake of ours, which the log tells."""
    telemetry.trouble("edge", error)
    log.error("unhandled", exc_info=error)
    return respond(errors.INTERNAL)


def install(app: FastAPI, telemetry: Telemetry) -> None:
    """Every error of the app in the envelope; FastAPI's own forms are never seen."""

    @app.exception_handler(PinholeError)
    async def known(request: Request, error: PinholeError) -> JSONResponse:
        telemetry.refused(error, getattr(request.state, "caller", None))
        return respond(error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        caller = getattr(request.state, "caller", None)

        def refuse(refusal: PinholeError) -> JSONResponse:
            telemetry.refused(refusal, caller)
            return respond(refusal)

        if error.status_code == HTTPStatus.NOT_FOUND:
            return refuse(errors.NotFound(nothing_at(request.url.path)))
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            methods = allowed(app.router.routes, request.scope)
            answer = refuse(errors.MethodNotAllowed(f"{request.method} is not allowed here; use {methods}."))
            answer.headers["allow"] = methods
            return answer
        return refuse(errors.BadInput(str(error.detail)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        refusal = errors.BadInput(str(first["msg"]), param=str(first["loc"][-1]), code="invalid_value")
        telemetry.refused(refusal, getattr(request.state, "caller", None))
        return respond(refusal)

    @app.exception_handler(Exception)
    async def unknown(_: Request, error: Exception) -> JSONResponse:
        return unforeseen(error, telemetry)


@lru_cache(maxsize=1024)
def family(path: str) -> str:
    """A bounded label for a path."""
    known = (
        *("generations/explain", "edits/explain", "generations", "edits", "results", "models", "files", "admin"),
        *("healthz", "readyz", "metrics"),
    )
    return next((name for name in known if name in path), "other")
