"""What operators see: metrics with bounded labels, structured logs with the request id, traces when asked for."""

from app.telemetry.logs import REQUEST_ID, JSONFormatter, configure_logging
from app.telemetry.telemetry import Telemetry

__all__ = ["REQUEST_ID", "JSONFormatter", "Telemetry", "configure_logging"]
