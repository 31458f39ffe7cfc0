"""The transport of a gateway: straight to the upstream, or through the proxy that the environment names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # in the library, not in its stubs

from providers.core.errors import UpstreamUnreachable
from providers.core.http import HTTPResponse
from providers.kit.room import Memory, Room
from providers.kit.transport.direct import DirectTransport
from providers.kit.transport.protocol import MAX_ANSWER_BYTES, Answer, Transport, WireRequest

if TYPE_CHECKING:
    from providers.kit.transport.proxied import ProxiedTransport


def proxied(environ: Mapping[str, str], url: str) -> bool:
    """Whether HTTPS_PROXY, HTTP_PROXY or ALL_PROXY (in either case) is meant for this URL, NO_PROXY considered."""
    parts = urlsplit(url)
    named = {name.lower(): value for name, value in environ.items() if name.lower().endswith("_proxy") and value}
    if not (named.get(f"{parts.scheme}_proxy") or named.get("all_proxy")):
        return False
    host = parts.netloc.rpartition("@")[2]
    return not proxy_bypass_environment(host, {"no": named.get("no_proxy", "")})


class HTTPTransport:
    """HTTP/1.1 with keep-alive and no redirects. Whether a proxy is in between is decided once for each origin."""

    def __init__(self, room: Room | None = None, environ: Mapping[str, str] | None = None) -> None:
        """`room` is where whole answers grow; memory without a bound when none is given."""
        self._room = room or Memory()
        self._direct = DirectTransport(self._room)
        self._environ = os.environ if environ is None else environ
        self._chosen: dict[str, bool] = {}

    def send(
        self, request: WireRequest, seconds: float, limit: int = MAX_ANSWER_BYTES
    ) -> Coroutine[Any, Any, HTTPResponse]:
        return self._carrier(request.url).send(request, seconds, limit)

    @asynccontextmanager
    async def open(self, request: WireRequest, seconds: float) -> AsyncIterator[Answer]:
        async with self._carrier(request.url).open(request, seconds) as answer:
            yield answer

    async def close(self) -> None:
        await self._direct.close()
        if "_tunnels" in self.__dict__:
            await self._tunnels.close()

    def _carrier(self, url: str) -> Transport:
        origin = "/".join(url.split("/", 3)[:3])
        if (tunnelled := self._chosen.get(origin)) is None:
            try:
                tunnelled = proxied(self._environ, origin)
            except ValueError:
                raise UpstreamUnreachable("The upstream's address is not a URL.") from None
            if len(self._chosen) > 1000:  # noqa: PLR2004 - result links may come from ever new hosts
                self._chosen.clear()
            self._chosen[origin] = tunnelled
        return self._tunnels if tunnelled else self._direct

    @cached_property
    def _tunnels(self) -> ProxiedTransport:
        from providers.kit.transport.proxied import ProxiedTransport  # noqa: PLC0415 - httpx2 is loaded behind a proxy only

        return ProxiedTransport(self._environ, self._room)
