"""Waiting at a run for its caller: join or start it, answer in time, and note whether the caller got it all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive

from app import answer as answers
from app.answer import Answer
from app.auth import Keyring
from app.delivery import Sketch
from app.edge import respond
from app.errors import BadInput, NotFound
from app.events import Frames, alive
from app.pipeline import Pipeline
from app.routes import describe
from app.runs import Run, Runs, fingerprint, outcome, states
from app.telemetry import Telemetry
from app.ticket import Ticket
from providers.core.errors import PinholeError, UpstreamTimeout
from providers.core.http import Buffer
from providers.core.types import ImageRequest
from providers.kit.clock import Clock
from providers.kit.room import cool

GONE: Final = 499
REPLAYED: Final = {"pinhole-replayed": "true", "pinhole-cost-usd": "0.000000"}
KEY_LENGTH: Final = 255
# A spooled answer is in memory piece by piece.
PIECE: Final = 2**20
JOINED: Final = 32 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    """What both image routes, and the results route, share."""

    pipeline: Pipeline
    runs: Runs
    keyring: Keyring
    clock: Clock
    telemetry: Telemetry

    def router(self) -> APIRouter:
        """The results route, to be mounted with and without /v1."""
        router = APIRouter()
        path, summary = "/images/results/{name}", "The answer of an earlier request, kept an hour"
        router.add_api_route(
            path, self.result, methods=["GET"], summary=summary, responses=describe.RESULT, response_class=Response
        )
        return router

    async def attend(self, request: Request, ticket: Ticket) -> Response:
        """The answer of this request: of its own run, or of the run that it repeats."""
        run, repeat = await self._run(request, ticket)
        headers = dict(REPLAYED) if repeat and not run.running else {}
        if ticket.request.stream:
            return await self._stream(request, ticket, run, headers)
        run.waiting += 1
        run.retries += repeat
        try:
            answer = await self._outcome(request, ticket, run)
        except BaseException:
            self._leave(run, repeat=repeat)
            raise
        if answer is None:
            self._leave(run, repeat=repeat)
            return Response(status_code=GONE)

        def done(sent: bool) -> None:
            run.delivered = run.delivered or sent
            self._leave(run, repeat=repeat)

        return Buffers(answers.body(answer), answers.headers(answer) | headers, done)

    async def result(self, request: Request, name: str) -> Response:
        """A caller's own answer by request id; 202 while it is being made, 404 when it is not known (any more)."""
        caller = await self.keyring.caller(request.headers, self.clock.time())
        run = self.runs.find(caller.id, name)
        if run is None:
            raise NotFound("No answer is kept under this id.")
        if run.running:
            return JSONResponse({"id": name, "status": "running"}, status_code=202, headers={"retry-after": "2"})
        if run.answer is None:
            return respond(run.error or NotFound("The request made no image."))

        def done(sent: bool) -> None:
            run.delivered = run.delivered or sent

        return Buffers(answers.body(run.answer), answers.headers(run.answer) | REPLAYED, done)

    async def _run(self, request: Request, ticket: Ticket) -> tuple[Run, bool]:
        key = request.headers.get("idempotency-key") or None
        if key is not None and (len(key) > KEY_LENGTH or not key.isprintable()):
            raise BadInput(f"Idempotency-Key must be 1 to {KEY_LENGTH} printable characters.", code="invalid_value")
        retry = request.headers.get("x-stainless-retry-count", "0") not in {"", "0"}
        print_ = await _print(ticket.request)
        found = self.runs.match(ticket.caller.id, print_, key=key, retry=retry)
        if found is not None:
            self.telemetry.metrics.repeats("joined" if found.running else "replayed").inc()
            return found, True
        run = Run(
            id=ticket.request_id,
            caller=ticket.caller.id,
            label=request.state.request_id,
            fingerprint=print_,
            key=key,
            started=ticket.started,
        )
        wanted = replace(ticket, wanted=lambda: run.waiting > 0)
        return self.runs.start(run, lambda: self.pipeline.states(wanted)), False

    async def _outcome(self, request: Request, ticket: Ticket, run: Run) -> Answer | None:
        try:
            return await outcome(run, self._left(ticket), _hung_up(request))
        except TimeoutError:
            raise _late(request) from None

    async def _stream(self, request: Request, ticket: Ticket, run: Run, headers: Mapping[str, str]) -> Response:
        """Headers wait for the first event or ten seconds, so that early refusals keep their status."""
        run.waiting += 1
        frames = Frames(
            operation=ticket.request.operation,
            created=int(self.clock.time()),
            model=ticket.request.model,
            request_id=request.state.request_id,
            superset="r9s" in request.headers.get("user-agent", ""),
        )
        source = alive(self._events(request, ticket, run, frames))
        try:
            first = await anext(source)
        except BaseException:
            self._leave(run, repeat=False)
            raise

        async def events() -> AsyncIterator[Any]:
            try:
                for buffer in first:
                    yield buffer
                async for buffers in source:
                    for buffer in buffers:
                        yield buffer
                run.delivered = True
            except PinholeError as error:
                for buffer in frames.failed(error):
                    yield buffer
            finally:
                self._leave(run, repeat=False)

        more = {"cache-control": "no-store", "x-accel-buffering": "no", **headers}
        return StreamingResponse(events(), media_type="text/event-stream", headers=more)

    async def _events(
        self, request: Request, ticket: Ticket, run: Run, frames: Frames
    ) -> AsyncIterator[list[Buffer]]:
        try:
            async for state in states(run, lambda: self._left(ticket)):
                yield frames.partial(state) if isinstance(state, Sketch) else frames.completed(state)
        except TimeoutError:
            raise _late(request) from None

    def _left(self, ticket: Ticket) -> float:
        return max(0.0, ticket.started + ticket.seconds - self.clock.now())

    def _leave(self, run: Run, *, repeat: bool) -> None:
        run.waiting -= 1
        run.retries -= repeat
        self.runs.settle(run)


class Buffers(Response):
    """A JSON answer sent as its buffers, the last of them text; small ones are joined.

    `done` hears whether the caller was there to the end.
    """

    def __init__(self, buffers: list[Buffer], headers: Mapping[str, str], done: Any) -> None:
        super().__init__(status_code=200, headers=dict(headers), media_type="application/json")
        length = sum(len(buffer) for buffer in buffers)
        self._buffers = [b"".join(buffers)] if length <= JOINED else buffers
        self._done = done
        self.headers["content-length"] = str(length)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI
        sent = False
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for piece in self._before_last():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            there = not hung_up(receive)
            await send({"type": "http.response.body", "body": self._buffers[-1], "more_body": False})
            sent = there
        finally:
            self._done(sent)

    def _before_last(self) -> Iterator[Buffer]:
        for buffer in self._buffers[:-1]:
            for start in range(0, len(buffer), PIECE):
                yield memoryview(buffer)[start : start + PIECE]
                cool(buffer)


def hung_up(receive: Receive) -> bool:
    """Whether the caller is known to be gone, without waiting: a server answers `receive` at once only with that."""
    asking = receive()
    try:
        asking.send(None)  # type: ignore[attr-defined]  # starlette says Awaitable; servers give coroutines
    except StopIteration as answer:
        return bool(answer.value["type"] == "http.disconnect")
    asking.close()  # type: ignore[attr-defined]  # as above
    return False


async def _print(request: ImageRequest) -> str:
    if request.images:
        found = await anyio.to_thread.run_sync(fingerprint, request)
        for image in request.images:
            cool(image.data)
        return found
    return fingerprint(request)


async def _hung_up(request: Request) -> None:
    """Returns when the caller closes the connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _late(request: Request) -> UpstreamTimeout:
    where = f"GET /v1/images/results/{request.state.request_id}"
    return UpstreamTimeout(f"The image was not done before the deadline. It may still come: {where}.")
