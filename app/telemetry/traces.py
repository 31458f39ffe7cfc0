"""Spans behind two small protocols; nothing is made of them unless OTEL_* asks for traces."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Protocol, Self

from app.settings import SettingsError

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

EXPORTERS: Final = ("otlp", "none")
PROTOCOLS: Final = ("http/protobuf",)
PATH: Final = "/v1/traces"
DEFAULT_ENDPOINT: Final = "http://localhost:4318"


def tracer(environ: Mapping[str, str]) -> Tracer:
    """The tracer that OpenTelemetry's variables ask for: OTLP over HTTP, or none. Raises SettingsError."""
    asked = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    if asked and asked not in EXPORTERS:
        raise SettingsError(f"OTEL_TRACES_EXPORTER is '{asked[:40]}'; allowed: {', '.join(EXPORTERS)}.")
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or asked == "none" or not (asked or base or endpoint):
        return OFF
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environ.get(name, "").strip().lower()
        if protocol and protocol not in PROTOCOLS:
            raise SettingsError(f"{name} is '{protocol[:40]}'; allowed: {', '.join(PROTOCOLS)}.")
    try:
        from app.telemetry.otel import OTLPTracer  # noqa: PLC0415 - only gateways with traces pay for the SDK
    except ModuleNotFoundError:
        raise SettingsError("OTEL_* asks for traces; that needs the extra 'otel': pinhole[otel].") from None
    return OTLPTracer(
        endpoint or (base or DEFAULT_ENDPOINT).rstrip("/") + PATH,
        service=environ.get("OTEL_SERVICE_NAME", "").strip() or None,
    )
