"""Where a call can go: one account at one address, and what a request to it looks like on the wire."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from providers.core.http import HTTPRequest
from providers.core.provider import Provider
from providers.kit.bodies import encode
from providers.kit.transport import WireRequest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment:
    """One account at one address. The key is shown to that origin and to nothing else, and never in a repr.

    `name` is the operator's, unique in a registry; `weight` its share among those that serve the same model; `basic`
    what a proxy before the upstream asks for, as HTTP Basic sends it.
    """

    provider: Provider
    base_url: str
    key: str = field(default="", repr=False)
    basic: str = field(default="", repr=False)
    name: str = ""
    weight: int = 1

    @property
    def account(self) -> tuple[str, str, str, str]:
        """What makes it the same one after a reload of the config."""
        return (self.provider.name, self.base_url, self.key, self.basic)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no caller, row or log may see."""
        password = b64decode(self.basic).decode().partition(":")[2] if self.basic else ""
        return tuple(secret for secret in (self.key, self.basic, password) if secret)

    @property
    def label(self) -> str:
        """Its name for logs, metrics and the ledger; holds no secret."""
        return self.name or self.provider.name

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port."""
        return _base_origin(self.base_url)

    @property
    def address(self) -> str:
        """The origin as text, without the path."""
        scheme, host, port = self.origin
        host = f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}{f':{port}' if port else ''}"

    def owns(self, url: str) -> bool:
        """Whether a URL is of this deployment's own origin."""
        try:
            return _origin(url) == self.origin
        except ValueError:  # what an upstream gives for a link
            return False


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return (parts.scheme, parts.hostname or "", parts.port)


_base_origin = lru_cache(maxsize=1024)(_origin)  # there are as many as the config file names


def wire(deployment: Deployment, request: HTTPRequest) -> WireRequest:
    """The request as it goes out: its absolute URL, the credential if the origin is the deployment's, the body."""
    absolute = request.url.startswith(("http://", "https://"))
    url = request.url if absolute else deployment.base_url.rstrip("/") + request.url
    headers = {"accept": "application/json"}
    for name, value in request.headers.items():
        headers[name.lower()] = value
    if (deployment.key or deployment.basic) and (request.url.startswith("/") or deployment.owns(url)):
        headers.update(_credentials(deployment))
    buffers: tuple[bytes | memoryview, ...] = ()
    if request.body is not None:
        content_type, pieces = encode(request.body)
        headers["content-type"] = content_type
        buffers = tuple(pieces)
    return WireRequest(method=request.method, url=url, headers=headers, body=buffers)


def _credentials(deployment: Deployment) -> Iterator[tuple[str, str]]:
    access = deployment.provider.access
    if deployment.basic:
        yield "authorization", f"Basic {deployment.basic}"
    if deployment.key:
        yield access.header.lower(), f"{access.scheme}{deployment.key}"
