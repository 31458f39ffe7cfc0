"""The wire: the only module that imports an HTTP client library.

What failed and when decides whether money can have been spent, so the library's errors become ours here:
UpstreamUnreachable when no connection was made, UpstreamTimeout and UpstreamError (both may have been billed) after.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, cast

import httpx2

from providers.core.errors import UpstreamError, UpstreamFailure, UpstreamTimeout, UpstreamUnreachable
from providers.core.http import Buffer, HTTPResponse
from providers.core.types import nothing
from providers.kit.room import Memory, Room

CONNECT_SECONDS = 5.0
MAX_ANSWER_BYTES = 512 * 2**20
_DIGITS = 16
ACCEPT = "identity"  # image bytes do not compress; inflating them would cost a copy


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True)
class _Answer:
    response: httpx2.Response
    room: Room

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return dict(self.response.headers)

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self.response.aiter_bytes():
            yield chunk

    async def whole(self, limit: int = MAX_ANSWER_BYTES) -> Buffer:
        declared = self.headers.get("content-length", "")
        expected = int(declared) if declared.isdecimal() and len(declared) < _DIGITS else 0
        with self.room.body(min(expected, limit)) as body:
            async for chunk in self.chunks():
                if len(body) + len(chunk) > limit:
                    raise UpstreamError(f"The upstream's answer is longer than {limit} bytes.")
                body.write(chunk)
            return body.whole()


class HTTPTransport:
    """httpx2 over the network, with keep-alive, no redirects, and the proxies of the environment."""

    def __init__(self, room: Room | None = None, *, connections: int = 1024) -> None:
        """`room` is where whole answers grow; memory without a bound when none is given."""
        self._room = room or Memory()
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=64, keepalive_expiry=55)
        self._client = httpx2.AsyncClient(limits=limits, follow_redirects=False, timeout=None)

    async def send(self, request: WireRequest, seconds: float, limit: int = MAX_ANSWER_BYTES) -> HTTPResponse:
        async with self.open(request, seconds) as answer:
            body = await answer.whole(limit)
            return HTTPResponse(status=answer.status, headers=answer.headers, body=body)

    @asynccontextmanager
    async def open(self, request: WireRequest, seconds: float) -> AsyncIterator[Answer]:
        length = sum(len(piece) for piece in request.body)
        headers = {"accept-encoding": ACCEPT, **request.headers}
        if request.body:
            headers["content-length"] = str(length)
        outgoing = self._client.build_request(
            request.method,
            request.url,
            headers=headers,
            content=_pieces(request.body) if request.body else None,
            timeout=httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            extensions={"sni_hostname": request.sni} if request.sni else {},
        )
        try:
            async with asyncio.timeout(seconds):
                response = await self._client.send(outgoing, stream=True)
                try:
                    yield _Answer(response, self._room)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise UpstreamTimeout("The upstream did not answer in time.") from error
        except httpx2.HTTPError as error:
            raise _failure(error) from error
        except httpx2.InvalidURL as error:
            raise UpstreamUnreachable("The upstream's address is not a URL.") from error

    async def close(self) -> None:
        await self._client.aclose()


async def _pieces(body: Iterable[Buffer]) -> AsyncIterator[bytes]:
    for piece in body:
        yield cast("bytes", piece)  # a memoryview is written like bytes, without a copy


def _failure(error: httpx2.HTTPError) -> UpstreamFailure:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError):
        return UpstreamUnreachable(f"No connection to the upstream could be made ({type(error).__name__}).")
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return UpstreamUnreachable("The upstream's address cannot be used.")
    if isinstance(error, httpx2.TimeoutException):
        return UpstreamTimeout("The upstream did not answer in time.")
    return UpstreamError(f"The upstream's answer broke off ({type(error).__name__}).")
