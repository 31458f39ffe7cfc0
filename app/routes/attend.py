"""Waiting at a run for its caller: join or start it, answer in time, and note whether the caller took it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from app import kept as answers
from app.answer import limits, served
from app.configured import Current
from app.delivery import Sketch
from app.errors import NotFound
from app.events import Frames, alive
from app.http.arrival import Arrival
from app.kept import Kept
from app.pipeline import Pipeline
from app.routes import describe
from app.routes.sending import Buffers, Events
from app.runs import HOLD_SECONDS, Record, Run, Runs, Seat, State
from app.telemetry import Telemetry
from app.ticket import Ticket
from providers.core.errors import PinholeError, UpstreamTimeout
from providers.core.http import Buffer
from providers.kit.clock import Clock

GONE: Final = 499
REPLAYED: Final = {"pinhole-replayed": "true", "pinhole-cost-usd": "0.000000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    """What both image routes, and the results route, share."""

    pipeline: Pipeline
    runs: Runs
    current: Current
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

    async def attend(self, arrival: Arrival, ticket: Ticket) -> Response:
        """The answer of this request: of its own run, or of the run that it repeats."""
        seat = await self._seat(arrival, ticket)
        if ticket.request.stream:
            return await self._stream(arrival, ticket, seat)
        try:
            kept = await self._outcome(arrival, ticket, seat)
        except PinholeError as error:
            seat.leave(delivered=False)
            raise _again(seat, error) from None
        except BaseException:
            seat.leave(delivered=False)
            raise
        if kept is None:
            seat.leave(delivered=False)
            return Response(status_code=GONE)
        return _told(seat, kept)

    async def result(self, request: Request, name: str) -> Response:
        """A caller's own answer by request id; 202 while it is being made, 404 when it is not known (any more)."""
        caller = await self.current.value.keyring.caller(request.headers, self.clock.time())
        record = await self.runs.find(caller.id, name)
        if record is None:
            raise NotFound("No answer is kept under this id.")
        seat = self.runs.visit(record)
        try:
            kept = None if seat.run.own and seat.run.running else await self._looked(seat, record)
        except PinholeError as error:
            seat.leave(delivered=False)
            raise _again(seat, error) from None
        except BaseException:
            seat.leave(delivered=False)
            raise
        if kept is None:
            seat.leave(delivered=False)
            return JSONResponse({"id": name, "status": "running"}, status_code=202, headers={"retry-after": "2"})
        return _told(seat, kept)

    async def _looked(self, seat: Seat, record: Record) -> Kept | None:
        """The outcome of a run that is over; None of one that still goes on another gateway."""
        if record.state is State.RUNNING and not seat.run.own:
            return None
        if seat.run.running and seat.run.task:
            await seat.run.task
        return seat.run.outcome

    async def _seat(self, arrival: Arrival, ticket: Ticket) -> Seat:
        record = Record(
            id=ticket.request_id,
            caller=ticket.caller.id,
            label=ticket.label,
            fingerprint=ticket.fingerprint,
            key=ticket.idempotency,
            started=self.clock.time(),
            owner=self.runs.instance,
        )
        source = partial(self.pipeline.run, ticket)
        retry = _count(arrival.headers.get("x-stainless-retry-count", ""))
        patience = self._left(ticket) + HOLD_SECONDS
        seat = await self.runs.enter(record, source, retry=retry, patience=patience, peer=arrival.peer)
        if seat.repeat:
            self.telemetry.repeated("replayed" if seat.replayed else "joined", seat.run.record.id, ticket.caller.id)
        return seat

    async def _outcome(self, arrival: Arrival, ticket: Ticket, seat: Seat) -> Kept | None:
        try:
            return await seat.outcome(self._left(ticket), arrival.gone)
        except TimeoutError:
            raise _late(arrival, seat.run) from None

    async def _stream(self, arrival: Arrival, ticket: Ticket, seat: Seat) -> Response:
        """Headers wait for the first event or ten seconds, so that early refusals keep their status."""
        frames = Frames(
            operation=ticket.request.operation,
            created=int(self.clock.time()),
            model=ticket.request.model,
            request_id=arrival.label,
            superset="r9s" in arrival.headers.get("user-agent", ""),
        )
        source = alive(self._events(arrival, ticket, seat, frames), self.clock)
        try:
            first = await _first(arrival, source)
        except PinholeError as error:
            seat.leave(delivered=False)
            raise _again(seat, error) from None
        except BaseException:
            seat.leave(delivered=False)
            raise

        if first is None:
            seat.leave(delivered=False)
            return Response(status_code=GONE)
        return Events(_after(first, source), frames.failed, _known(seat), seat)

    async def _events(
        self, arrival: Arrival, ticket: Ticket, seat: Seat, frames: Frames
    ) -> AsyncIterator[list[Buffer]]:
        try:
            async for state in seat.states(lambda: self._left(ticket)):
                if isinstance(state, Sketch):
                    yield frames.partial(state)
                else:
                    told = {**state.headers, **REPLAYED} if seat.replayed else state.headers
                    yield frames.completed(replace(state, headers=told))
        except TimeoutError:
            raise _late(arrival, seat.run) from None

    def _left(self, ticket: Ticket) -> float:
        return max(0.0, ticket.started + ticket.seconds - self.clock.now())


async def _after(first: list[Buffer], source: AsyncGenerator[list[Buffer]]) -> AsyncGenerator[list[Buffer]]:
    async with aclosing(source):
        yield first
        async for buffers in source:
            yield buffers


async def _first(arrival: Arrival, source: AsyncGenerator[list[Buffer]]) -> list[Buffer] | None:
    """The first event's buffers; None when the caller hung up before."""
    event, left = asyncio.ensure_future(anext(source)), asyncio.Event()
    stays = arrival.gone(left.set)
    watcher = asyncio.ensure_future(left.wait())
    try:
        await asyncio.wait((event, watcher), return_when=asyncio.FIRST_COMPLETED)
        if event.done():
            return event.result()
    finally:
        stays()
        for task in (event, watcher):
            task.cancel()
        await asyncio.gather(event, watcher, return_exceptions=True)
    await source.aclose()
    return None


def _again(seat: Seat, error: PinholeError) -> PinholeError:
    """The error, which is this caller's own; for a repeat it says so."""
    if seat.replayed:
        error.__dict__["replayed"] = True
    return error


def _told(seat: Seat, kept: Kept) -> Buffers:
    """The answer; whether it was delivered is known some time after its last byte is out."""
    headers = {**kept.headers, **(REPLAYED if seat.replayed else kept.limits)}
    return Buffers(answers.body(kept), headers, seat)


def _count(text: str) -> int:
    """Which retry an SDK says that this is."""
    return int(text[:9]) if text.isdecimal() else int(bool(text))


def _known(seat: Seat) -> dict[str, str]:
    """What can be said before a stream: all of an answer, who serves a way that has begun, where limits stand."""
    run = seat.run
    if seat.replayed:  # the store may still bring the answer
        return {**(run.answer.headers if run.answer else {}), **REPLAYED}
    if run.answer is not None:
        return {**run.answer.headers, **run.answer.limits}
    if run.account is None:
        return {}
    route, _ = run.account.way
    return {**(served(route) if run.account.begun else {}), **limits(run.account.standings)}


def _late(arrival: Arrival, run: Run) -> UpstreamTimeout:
    where = f"GET /v1/images/results/{arrival.label}"
    error = UpstreamTimeout(f"The image was not done before the deadline. It may still come: {where}.")
    if run.own:
        error.__dict__["attempts"] = run.account.journal.attempts if run.account else 0
    return error
