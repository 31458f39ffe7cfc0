"""A request at the image routes, as it arrived: what of HTTP its handlers read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.types import Receive, Scope

from app.http.receipts import Peer, peer
from providers.core.valueclass import valueclass
from providers.kit.room import Sink

HANG_UP: Final = "pinhole.hang-up"
"""The name of a server's extension of a scope: a Gone, without a task for each request."""

LEND: Final = "pinhole.lend"
"""The name of a server's extension of a scope: a Lend, for a body that is received where it stays."""

Gone = Callable[[Callable[[], object]], Callable[[], object]]
"""Have a function called when the caller hangs up; what comes back ends that."""


class Incoming(Sink, Protocol):
    """Where a body goes; its length is what came so far."""

    def __len__(self) -> int: ...


Lend = Callable[[Incoming], asyncio.Future[None]]
"""Have what is still to come of the body put there: done with its last byte, or with what the place raised.

ConnectionError: the caller left."""


@valueclass(frozen=True, slots=True)
class Arrival:
    """`headers` by name in lower case; `label` is the request id; `model` the one that the path names.

    `peer` shows whether the caller is gone now, though nothing may have read that yet.
    `state` is what the layers outside of the handler read afterwards.
    """

    headers: Mapping[str, str]
    receive: Receive
    gone: Gone
    label: str
    state: dict[str, Any]
    model: str = ""
    peer: Peer | None = None
    lend: Lend | None = None

    @classmethod
    def of(cls, request: Request) -> Arrival:
        """What came by way of FastAPI."""
        scope, receive = request.scope, request.receive
        state: dict[str, Any] = scope["state"]
        model = request.path_params.get("model", "")
        label, told, caller = state["request_id"], gone(scope, receive), peer(scope)
        headers, lend = named(scope["headers"]), lent(scope)
        return cls(headers, receive, told, label, state, model=model, peer=caller, lend=lend)


def named(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; of several with one name the first counts."""
    return {str(name, "latin-1"): str(value, "latin-1") for name, value in reversed(headers)}


def gone(scope: Scope, receive: Receive) -> Gone:
    """How a hang-up is heard of, once the body was read."""
    told: Gone | None = scope.get("extensions", {}).get(HANG_UP)
    return told or partial(_asking, receive)


def lent(scope: Scope) -> Lend | None:
    """How the server gives the body, where it does more than tell of it."""
    lend: Lend | None = scope.get("extensions", {}).pop(LEND, None)  # left there it would hold the scope in a circle
    return lend


def _asking(receive: Receive, left: Callable[[], object]) -> Callable[[], object]:
    async def ask() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left()

    return asyncio.ensure_future(ask()).cancel
