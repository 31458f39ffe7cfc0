"""Fetching images by URL, guarded: public addresses only, resolved once and pinned, bounded in bytes and time.

Facts on the ways around such guards (decimal and mapped addresses, rebinding, redirects) stand with their tests.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urljoin, urlsplit

import anyio

from providers.core.errors import InvalidRequest, UpstreamError, UpstreamFailure, Violation
from providers.core.fate import quoted
from providers.core.http import Buffer, HTTPRequest, HTTPResponse
from providers.kit.clock import Clock
from providers.kit.deployment import Deployment, wire
from providers.kit.images import sniff
from providers.kit.transport import Transport, WireRequest

RESULT_BYTES: Final = 256 * 2**20
INPUT_SECONDS: Final = 20.0
REDIRECTS: Final = 3
TRIES: Final = 3
_REDIRECT: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200

# All that IANA has given out to be reached lies here: not ::/96 (v4 "compatible"), not fec0::/10 (site-local).
GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
PROTOCOLS: Final = ipaddress.ip_network("192.0.0.0/24")

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Forbidden(Exception):
    """A URL that may not be fetched; the message says why and never what answered."""


class Nowhere(Forbidden):
    """A host that has no address now."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises OSError."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def public(address: str) -> bool:
    """Whether an address is a public one; v4 inside v6 (mapped, 6to4, NAT64, Teredo) is judged by its v4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return public(str(inner))
        if ip in NAT64:
            return public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        return ip in GLOBAL_UNICAST and ip.is_global
    return ip.is_global and not ip.is_multicast and ip not in PROTOCOLS


class Fetcher:
    """Gets callers' input images and providers' results."""

    def __init__(self, transport: Transport, clock: Clock, resolver: Resolve = resolve) -> None:
        self._transport = transport
        self._clock = clock
        self._resolve = resolver

    async def image(self, url: str, limit: int) -> Buffer:
        """A caller's input image. Raises InvalidRequest."""
        try:
            response = await self._guarded(url, INPUT_SECONDS, limit)
        except Forbidden as error:
            raise _refused(url, str(error)) from None
        except UpstreamFailure:
            raise _refused(url, "it could not be fetched in time, or is too large") from None
        if response.status != _OK:
            raise _refused(url, f"its server answered {response.status}")
        if sniff(response.body[:64]) is None:
            raise _refused(url, "what lies there is not an image")
        return response.body

    async def result(self, url: str, deployment: Deployment, deadline: float) -> Buffer:
        """A provider's result: tried three times. Raises UpstreamError (billed)."""
        response = HTTPResponse(status=502)
        for attempt in range(TRIES):
            try:
                response = await self._result(url, deployment, deadline)
            except Nowhere:
                response = HTTPResponse(status=502)
            except Forbidden as error:
                raise UpstreamError(f"The provider's link may not be fetched: {error}.") from None
            except UpstreamFailure:
                response = HTTPResponse(status=502)
            if response.status == _OK:
                return response.body
            await self._clock.sleep(0.3 * (attempt + 1))
        raise UpstreamError(f"The provider's image could not be fetched (status {response.status}).", billed=True)

    async def _result(self, url: str, deployment: Deployment, deadline: float) -> HTTPResponse:
        """The deployment's own origin is allowed even when private; all else is guarded and without credential."""
        seconds = max(1.0, min(120.0, deadline - self._clock.now()))
        if deployment.owns(url):
            request = HTTPRequest(method="GET", url=url, headers={"accept": "image/*"})
            return await self._transport.send(wire(deployment, request), seconds, RESULT_BYTES)
        return await self._guarded(url, seconds, RESULT_BYTES)

    async def _guarded(self, url: str, seconds: float, limit: int) -> HTTPResponse:
        until = self._clock.now() + seconds
        for _ in range(REDIRECTS + 1):
            request = await self._pinned(url)
            response = await self._transport.send(request, until - self._clock.now(), limit)
            target = response.headers.get("location")
            if response.status not in _REDIRECT or not target:
                return response
            try:
                url = urljoin(url, target)
            except ValueError:
                raise Forbidden("it redirects to what is not a URL") from None
        raise Forbidden("it redirects too often")

    async def _pinned(self, url: str) -> WireRequest:
        """The request to an address that was checked: the name is resolved once, here."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise Forbidden("it is not a URL") from None
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or parts.username is not None or not re.fullmatch(r"[\w.:-]+", host):
            raise Forbidden("only plain http and https URLs are fetched")
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise Nowhere("its host has no address") from None
        if not addresses or not all(public(address) for address in addresses):
            raise Forbidden("its host is not a public address")
        address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        pinned = parts._replace(netloc=f"{address}:{port}", fragment="").geturl()
        headers = {"host": parts.netloc, "accept": "image/*"}
        return WireRequest(method="GET", url=pinned, headers=headers, sni=host)


def _refused(url: str, why: str) -> InvalidRequest:
    shown = re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])  # passwords and tokens stay away
    message = f"The image at {quoted(shown)} was not fetched: {why}."
    return InvalidRequest(Violation("image_url", message, "invalid_image_url"))
