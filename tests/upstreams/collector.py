"""An OpenTelemetry collector's receiver: OTLP over HTTP with protobuf bodies, kept as they came and as spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.server import StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """One span as it arrived; ids in hex."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    seconds: float


class Collector(StandIn):
    """POST /v1/traces. Refuses any other content type, and bodies that are no export request."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[ReceivedSpan] = []

    def handle(self, exchange: Exchange) -> Reply:
        if (exchange.method, exchange.path) != ("POST", "/v1/traces"):
            return Reply.json(404, {"message": "no such signal"})
        if exchange.header("content-type") != "application/x-protobuf":
            return Reply.json(415, {"message": "protobuf is needed"})
        request = ExportTraceServiceRequest()
        request.ParseFromString(exchange.body)
        for resource in request.resource_spans:
            about = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_span(span, about) for span in scope.spans]
        body = ExportTraceServiceResponse().SerializeToString()
        return Reply(status=200, body=body, headers=(("content-type", "application/x-protobuf"),))

    def named(self, name: str) -> list[ReceivedSpan]:
        """Spans of that name, in order of arrival."""
        return [span for span in self.spans if span.name == name]


def _span(span: Any, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        failed=span.status.code == 2,  # STATUS_CODE_ERROR
        attributes=_attributes(span.attributes),
        resource=resource,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _attributes(found: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value") for item in found}
