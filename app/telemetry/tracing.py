"""Which tracer OpenTelemetry's standard variables ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.settings import SettingsError
from app.telemetry.traces import OFF, Tracer

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
