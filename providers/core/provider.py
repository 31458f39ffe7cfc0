"""What a provider is: rows, an address, and two pure functions between a call and HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard, runtime_checkable

from providers.core.errors import UpstreamFailure
from providers.core.http import Buffer, Event, HTTPRequest, HTTPResponse
from providers.core.plan import Call
from providers.core.prices import Usage
from providers.core.spec import ModelSpec
from providers.core.types import nothing
from providers.core.valueclass import valueclass


class Base64Image(Protocol):
    """An image that lies as base64 in a received buffer (kit.lift makes these)."""

    @property
    def base64(self) -> memoryview:
        """The base64 text, without any data URL head."""

    @property
    def size(self) -> int:
        """How many bytes it decodes to."""

    def head(self, n: int = 64) -> bytes:
        """The first decoded bytes."""

    def decode(self) -> bytes:
        """All decoded bytes. Raises ValueError when it is not base64."""


@valueclass(frozen=True, slots=True)
class Link:
    """An image that the provider keeps at a URL of its own."""

    url: str


@valueclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of an answer, in the form the provider gave it."""

    content: Base64Image | Link | bytes = field(repr=False)
    revised_prompt: str | None = None


@valueclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A call that made images. `failures` are the images of it that were not made.

    `resolved` holds what the answer itself says of `size`, `quality`, `background` and `output_format`.
    """

    images: tuple[Image, ...]
    usage: Usage | None = None
    failures: tuple[UpstreamFailure, ...] = ()
    upstream_request_id: str | None = None
    resolved: Mapping[str, str] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """A call that was accepted and is not done: ask again with `request` after `after` seconds.

    `cancel` ends a task that is still pending, where the provider can.
    """

    request: HTTPRequest
    after: float
    task_id: str
    cancel: HTTPRequest | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that came to nothing; `error` is raised by the client."""

    error: UpstreamFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """A rougher state of an image that is being made, `index` from 0."""

    image: Image
    index: int


Outcome = Completed | Poll | Failed


@dataclass(frozen=True, slots=True)
class Credential:
    """The variable that holds a key, and the base URL which that key means."""

    env: str
    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a provider lives and how a key is shown to it. Values of keys are never here.

    `probe` is the path of a GET that costs nothing and shows whether the key is good; '' where none is known.
    """

    credentials: tuple[Credential, ...] = ()
    base_url_env: str = ""
    header: str = "Authorization"
    scheme: str = "Bearer "
    bare_origin: bool = True
    probe: str = ""


@runtime_checkable
class Provider(Protocol):
    """One vendor. All methods are pure."""

    @property
    def name(self) -> str:
        """The vendor's name, as in `name/model`."""

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """Its rows."""

    @property
    def access(self) -> Access:
        """Where it lives."""

    @property
    def failures(self) -> Mapping[str, type[UpstreamFailure]]:
        """What its own codes mean in our tree; the documentation's table."""

    def request(self, call: Call) -> HTTPRequest:
        """The upstream request of a call."""

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        """What an answer (to the call, or to a poll of it) means. Never raises for what an upstream may send."""

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:
        """What one server-sent event means; None for one without meaning."""


@runtime_checkable
class LocalProvider(Provider, Protocol):
    """A provider without an upstream: it draws in this process. Pure, though not fast: run in a worker thread."""

    def perform(self, call: Call) -> Iterator[Partial | Completed | Failed | float]:
        """The states of the call in order, ending with Completed or Failed; a number is a wait in seconds."""


def draws(provider: Provider) -> TypeGuard[LocalProvider]:
    """Whether it is local; `isinstance` of a protocol looks at each member at each call."""
    return hasattr(provider, "perform")


def elided(document: Any, limit: int = 200) -> Any:
    """A JSON document for explain: every long text cut, every image by its size."""
    if isinstance(document, Mapping):
        return {key: elided(value, limit) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [elided(value, limit) for value in document]
    if isinstance(document, str) and len(document) > limit:
        return f"{document[:limit]}... ({len(document)} characters)"
    if isinstance(document, Buffer):
        return f"<{len(document)} bytes>"
    return document
