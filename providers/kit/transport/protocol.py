"""The seam of the wire: what goes out, what comes back, and who carries it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import Final, Protocol

from providers.core.http import Buffer, HTTPResponse
from providers.core.types import nothing
from providers.core.valueclass import valueclass

CONNECT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 55.0
KEPT_CONNECTIONS: Final = 64  # for each origin
MAX_ANSWER_BYTES: Final = 512 * 2**20
ACCEPT: Final = "identity"  # image bytes do not compress; inflating them would cost a copy


@valueclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """A request as it goes out: an absolute URL, all headers, the body's buffers in order."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=nothing, repr=False)
    body: tuple[Buffer, ...] = field(default=(), repr=False)
    sni: str | None = None


class Answer(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers, names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises UpstreamFailure when it breaks off."""

    async def whole(self, limit: int = ...) -> Buffer:
        """The body at its end. Raises UpstreamFailure, UpstreamError too when it is longer than `limit`."""


class Transport(Protocol):
    """Sends one request. `seconds` is for the whole exchange."""

    async def send(self, request: WireRequest, seconds: float, limit: int = ...) -> HTTPResponse:
        """The complete answer. Raises UpstreamFailure."""

    def open(self, request: WireRequest, seconds: float) -> AbstractAsyncContextManager[Answer]:
        """The answer as it comes, to be used with `async with`."""

    async def close(self) -> None:
        """End all connections."""
