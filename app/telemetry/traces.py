"""Spans behind two small protocols; nothing is made of them unless OTEL_* asks for traces."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Protocol, Self

Value = str | int | float | bool


class Span(Protocol):
    """One stretch of work, entered and left."""

    def __enter__(self) -> Self:
        """Begin, as a child of the span around it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; of an error its class is kept, never its text."""

    def note(self, **attributes: Value | None) -> None:
        """Add what is known by now; None is left out."""

    def fail(self) -> None:
        """It went wrong, though nothing was raised."""

    @property
    def trace_id(self) -> str:
        """The trace it belongs to, 32 hex digits once entered; empty when nothing is traced."""


class Tracer(Protocol):
    """Where spans come from. No prompt, no key, no image and no text of an upstream goes into one."""

    @property
    def on(self) -> bool:
        """Whether spans go anywhere."""

    def span(
        self,
        name: str,
        /,
        *,
        parent: Mapping[str, str] | None = None,
        outward: bool = False,
        **attributes: Value | None,
    ) -> Span:
        """A span. `parent` makes it a request's: headers that may hold `traceparent`; `outward` is a call of ours."""

    def close(self) -> None:
        """Send what is left."""


class NoSpan:
    """A span that costs two calls."""

    trace_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def note(self, **_: Value | None) -> None:
        return None

    def fail(self) -> None:
        return None


NO_SPAN: Final = NoSpan()


class NoTracer:
    """Traces switched off."""

    on = False

    def span(self, _name: str, /, **_: object) -> Span:
        return NO_SPAN

    def close(self) -> None:
        return None


OFF: Final = NoTracer()
