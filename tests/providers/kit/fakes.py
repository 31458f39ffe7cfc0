"""An upstream as a script, and the plainest provider there can be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any

from providers.core.errors import UpstreamFailure, UpstreamRateLimited, UpstreamUnavailable
from providers.core.http import JSON, Buffer, Event, HTTPRequest, HTTPResponse
from providers.core.plan import Call, plan
from providers.core.provider import Access, Completed, Credential, Failed, Image, Link, Outcome, Partial, Poll
from providers.core.sizes import PixelBounds
from providers.core.spec import ImageCount, ModelSpec, PromptLimit
from providers.core.types import ImageRequest, Operation, nothing
from providers.kit.deployment import Deployment
from providers.kit.failures import class_for, failure
from providers.kit.transport import WireRequest
from tests.clock import StillClock

BASE = "https://up.example/base"
KEY = "sk-upstream"
ROW = ModelSpec(
    id="plain",
    provider="plain",
    source="this file",
    checked=date(2026, 11, 23),
    prompt=PromptLimit(100),
    sizes=PixelBounds(auto=True),
    n=ImageCount(per_request=10, per_call=1),
)


def says(status: int = 200, headers: Mapping[str, str] = MappingProxyType({}), **document: Any) -> HTTPResponse:
    """An answer with a JSON body."""
    return HTTPResponse(status=status, headers=headers, body=json.dumps(document).encode())


@dataclass(slots=True)
class Script:
    """A transport that answers in order, takes `seconds` of its clock for each, and keeps what it was asked."""

    clock: StillClock
    replies: Sequence[HTTPResponse | UpstreamFailure] = ()
    seconds: float = 0.0
    asked: list[WireRequest] = field(default_factory=list)
    allowed: list[float] = field(default_factory=list)
    pieces: int = 0
    closed: int = 0

    def _next(self, request: WireRequest, seconds: float) -> HTTPResponse:
        self.asked.append(request)
        self.allowed.append(seconds)
        self.clock.at += self.seconds
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        if isinstance(reply, UpstreamFailure):
            raise reply
        return reply

    async def send(self, request: WireRequest, seconds: float, limit: int = 0) -> HTTPResponse:
        return self._next(request, seconds)

    @asynccontextmanager
    async def open(self, request: WireRequest, seconds: float) -> AsyncIterator[Chunks]:
        try:
            yield Chunks(self._next(request, seconds))
        finally:
            self.closed += 1

    async def close(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Chunks:
    """An answer that comes three bytes at a time."""

    response: HTTPResponse

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        body = bytes(self.response.body)
        for start in range(0, len(body), 3):
            yield body[start : start + 3]

    async def whole(self, limit: int = 0) -> Buffer:
        return self.response.body


class Plain:
    """Its upstream answers {image}, {task}, or an error status; {task} is asked about at /tasks/{task}."""

    name = "plain"
    models = (ROW,)
    access = Access(credentials=(Credential("PLAIN_KEY", BASE),), bare_origin=False)
    failures: Mapping[str, type[UpstreamFailure]] = nothing()

    def __init__(self, poll_url: str = "/tasks/", *, cancel: bool = False) -> None:
        self._poll_url = poll_url
        self._cancel = cancel

    def request(self, call: Call) -> HTTPRequest:
        return HTTPRequest(method="POST", url="/make", body=JSON({"prompt": call.prompt, "index": call.index}))

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        document = json.loads(bytes(response.body) or b"{}")
        if response.status >= 400:
            return Failed(failure(class_for(response.status), response, provider=self.name))
        if task := document.get("task"):
            url = f"{self._poll_url}{task}"
            cancel = HTTPRequest(method="DELETE", url=url) if self._cancel else None
            return Poll(request=HTTPRequest(method="GET", url=url), after=1.0, task_id=task, cancel=cancel)
        return Completed(images=(Image(content=Link(document["image"])),), upstream_request_id=document.get("id"))

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:
        document = json.loads(bytes(event.data))
        if event.name == "partial":
            return Partial(image=Image(content=Link(document["image"])), index=0)
        if event.name == "error":
            kind = UpstreamUnavailable if document["busy"] else UpstreamRateLimited
            return Failed(failure(kind, HTTPResponse(status=503), provider=self.name))
        return self.outcome(call, says(**document)) if event.name == "done" else None  # type: ignore[return-value]


def calls(n: int = 1) -> tuple[Call, ...]:
    """The calls of a plain wish for n images."""
    return plan(ImageRequest(operation=Operation.GENERATE, prompt="a kite", n=n, n_sent=True), ROW).calls


def deployment(provider: Plain | None = None) -> Deployment:
    """An account at the plain provider."""
    return Deployment(provider=provider or Plain(), base_url=BASE, key=KEY)
