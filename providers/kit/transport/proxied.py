"""The wire through httpx2: for upstreams behind the environment's proxy, which tunnels it knows how to make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import httpx2

from providers.core.errors import UpstreamError, UpstreamFailure, UpstreamTimeout, UpstreamUnreachable
from providers.core.http import Buffer, HTTPResponse
from providers.kit.room import Room
from providers.kit.transport.protocol import (
    ACCEPT,
    CONNECT_SECONDS,
    IDLE_SECONDS,
    KEPT_CONNECTIONS,
    MAX_ANSWER_BYTES,
    Answer,
    WireRequest,
)
from providers.kit.transport.sinks import gathered


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
        return await gathered(self, self.room, limit)


class ProxiedTransport:
    """httpx2 over the proxies that an environment names, with keep-alive and no redirects."""

    def __init__(self, environ: Mapping[str, str], room: Room) -> None:
        self._room = room
        named = {name.lower(): value for name, value in environ.items()}
        limits = httpx2.Limits(
            max_connections=1024, max_keepalive_connections=KEPT_CONNECTIONS, keepalive_expiry=IDLE_SECONDS
        )
        mounts = {
            f"{scheme}://": httpx2.AsyncHTTPTransport(proxy=proxy, limits=limits)
            for scheme in ("http", "https")
            if (proxy := named.get(f"{scheme}_proxy") or named.get("all_proxy"))
        }
        self._client = httpx2.AsyncClient(mounts=mounts, follow_redirects=False, timeout=None, trust_env=False)

    async def send(self, request: WireRequest, seconds: float, limit: int = MAX_ANSWER_BYTES) -> HTTPResponse:
        async with self.open(request, seconds) as answer:
            return HTTPResponse(status=answer.status, headers=answer.headers, body=await answer.whole(limit))

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
