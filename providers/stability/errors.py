"""What a failed answer of Stability means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from providers.core.errors import (
    Refused,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse
from providers.kit.failures import class_for, failure

# By `name`: a bare 403 is a key without permission, and only content_moderation is a refusal (2026-11-22).
BY_NAME: Final[Mapping[str, type[UpstreamFailure]]] = {
    "bad_request": UpstreamBadRequest,
    "invalid_prompts": UpstreamBadRequest,
    "invalid_language": UpstreamBadRequest,
    "unprocessable_entity": UpstreamBadRequest,
    "payload_too_large": UpstreamBadRequest,
    "unauthorized": UpstreamAuth,
    "permission_denied": UpstreamAuth,
    "payment_required": UpstreamQuota,
    "content_moderation": Refused,
    "not_found": UpstreamModelMissing,
    "rate_limit_exceeded": UpstreamRateLimited,
    "internal_error": UpstreamError,
    "service_unavailable": UpstreamUnavailable,
}
PARAMS: Final[Mapping[str, str]] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "search_prompt": "search_prompt",
    "select_prompt": "search_prompt",
    "seed": "seed",
    "image": "image",
    "mask": "mask",
    "model": "model",
    "output_format": "output_format",
    "style_preset": "style",
    "aspect_ratio": "size",
    "left": "size",
    "right": "size",
    "up": "size",
    "down": "size",
}
# More than 150 requests in 10 s shut the key out for a minute, and nothing in the answer says so (2026-11-22).
SHUT_OUT_SECONDS: Final = 60.0
_TOO_MANY: Final = 429


def read(document: Mapping[str, Any], response: HTTPResponse, provider: str) -> UpstreamFailure:
    """The failure that `{"id", "name", "errors": ["field: reason"]}` describes."""
    name = document.get("name")
    kind = BY_NAME.get(name) if isinstance(name, str) else None
    listed = document.get("errors")
    reasons = [reason for reason in listed if isinstance(reason, str)] if isinstance(listed, list) else []
    trace = document.get("id")
    found = failure(
        kind or class_for(response.status),
        response,
        provider=provider,
        message="; ".join(reasons),
        upstream_code=name if isinstance(name, str) else None,
        param=PARAMS.get(reasons[0].partition(":")[0].strip()) if reasons else None,
        stage="unknown" if kind is Refused else None,
        upstream_request_id=trace if isinstance(trace, str) else None,
    )
    if response.status == _TOO_MANY and found.retry_after is None:
        found.retry_after = SHUT_OUT_SECONDS
    if kind is not None:
        found.billed = False  # an answer of the service itself: failed generations are not charged
    return found
