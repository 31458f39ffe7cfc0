"""Spans as OpenTelemetry's, sent by OTLP over HTTP. Imported only when OTEL_* asks for traces.

Endpoint and service name come from our settings; headers, certificates, timeout, compression, sampler, batching and
resource attributes are read by the SDK from the variables of the specification.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.telemetry.traces import Value

SERVICE: Final = "pinhole"
# OpenTelemetry's names where it has one (semantic conventions 0.66b2, 2026-10); everything else is `pinhole.<name>`.
NAMES: Final = {
    "status": "http.response.status_code",
    "method": "http.request.method",
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
    "output": "gen_ai.output.type",
}
_PARENTS: Final = TraceContextTextMapPropagator()


class OTLPTracer:
    """Makes spans and sends them in batches from its own thread; what cannot be sent is dropped, not waited for."""

    on = True

    def __init__(self, endpoint: str, *, service: str | None) -> None:
        named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        name = service or (None if named else SERVICE)
        resource = Resource.create({"service.name": name} if name else {})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer(SERVICE)

    def span(
        self,
        name: str,
        /,
        *,
        parent: Mapping[str, str] | None = None,
        outward: bool = False,
        **attributes: Value | None,
    ) -> OTLPSpan:
        found = None if parent is None else _PARENTS.extract(parent)
        kind = SpanKind.CLIENT if outward else SpanKind.INTERNAL if parent is None else SpanKind.SERVER
        made = OTLPSpan(self._tracer, name, kind, found)
        made.note(**attributes)
        return made

    def close(self) -> None:
        self._provider.shutdown()


class OTLPSpan:
    """One span; a request's is the current one while it lasts, so that the others become its children."""

    def __init__(self, tracer: trace.Tracer, name: str, kind: SpanKind, parent: context.Context | None) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._parent = parent
        self._attributes: dict[str, Value] = {}
        self._span: trace.Span | None = None
        self._token: object = None

    @property
    def trace_id(self) -> str:
        """As logs and traceparent write it; empty before the span began."""
        return trace.format_trace_id(self._span.get_span_context().trace_id) if self._span else ""

    def note(self, **attributes: Value | None) -> None:
        known = {NAMES.get(k, f"pinhole.{k}"): value for k, value in attributes.items() if value is not None}
        if self._span is None:
            self._attributes |= known
        else:
            self._span.set_attributes(known)

    def fail(self) -> None:
        if self._span is not None:
            self._span.set_status(StatusCode.ERROR)

    def __enter__(self) -> Self:
        self._span = self._tracer.start_span(
            self._name, context=self._parent, kind=self._kind, attributes=self._attributes
        )
        if self._parent is not None:
            self._token = context.attach(trace.set_span_in_context(self._span, self._parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        if kind is not None:
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
        if self._token is not None:
            context.detach(self._token)  # type: ignore[arg-type]  # a contextvars.Token, which the API names late
