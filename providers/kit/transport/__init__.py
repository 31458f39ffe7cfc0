"""The wire: the only place that speaks HTTP to upstreams.

What failed and when decides whether money can have been spent, so every error becomes ours here: UpstreamUnreachable
when nothing was sent, UpstreamTimeout and UpstreamError (both may have been billed) after.
"""

from providers.kit.transport.protocol import MAX_ANSWER_BYTES, Answer, Transport, WireRequest
from providers.kit.transport.routed import HTTPTransport

__all__ = ["MAX_ANSWER_BYTES", "Answer", "HTTPTransport", "Transport", "WireRequest"]
