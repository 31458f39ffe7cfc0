"""From an upstream's status to our error tree, for what providers have in common.

A provider's own codes come first, in its file; this is what remains: statuses, retry-after, unreadable bodies.
"""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from providers.core.errors import (
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse

BY_STATUS: Final[dict[int, type[UpstreamFailure]]] = {
    400: UpstreamBadRequest,
    401: UpstreamAuth,
    402: UpstreamQuota,
    403: UpstreamAuth,
    404: UpstreamModelMissing,
    405: UpstreamError,
    408: UpstreamTimeout,
    410: UpstreamModelMissing,
    413: UpstreamBadRequest,
    415: UpstreamBadRequest,
    422: UpstreamBadRequest,
    429: UpstreamRateLimited,
    503: UpstreamUnavailable,
    504: UpstreamTimeout,
}
REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "trace-id", "x-goog-request-id")
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{80,}")
_KEY = re.compile(r"\b(?:sk|r8|key|AIza)[-_A-Za-z0-9]{8,}")
_LONGEST = 500


def class_for(status: int) -> type[UpstreamFailure]:
    """The class that a bare status means; UpstreamError for what has no class of its own."""
    return BY_STATUS.get(status, UpstreamBadRequest if 400 <= status < 500 else UpstreamError)  # noqa: PLR2004 - HTTP's classes


def clean(message: object, fallback: str) -> str:
    """An upstream's message for a caller: no HTML, no base64, nothing that looks like a key, at most 500 letters."""
    text = message if isinstance(message, str) else ""
    if not text.strip() or "<html" in text.lower() or "<!doctype" in text.lower():
        return fallback
    text = _KEY.sub("***", _BASE64.sub("...", text)).encode("utf-8", "replace").decode()
    return " ".join(text.split())[:_LONGEST]


def request_id(response: HTTPResponse) -> str | None:
    """The upstream's own request id, from the headers in use."""
    for name in REQUEST_ID_HEADERS:
        if found := response.headers.get(name):
            return found
    return None


def retry_after(response: HTTPResponse) -> float | None:
    """Seconds to wait: `retry-after-ms`, or `retry-after` as seconds or as a date (against the answer's `date`)."""
    try:
        if milliseconds := response.headers.get("retry-after-ms"):
            return max(0.0, int(float(milliseconds)) / 1000)
        if not (value := response.headers.get("retry-after")):
            return None
        if value.replace(".", "", 1).isdigit():
            return seconds if math.isfinite(seconds := float(value)) else None
        now = parsedate_to_datetime(response.headers["date"])
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def failure(
    kind: type[UpstreamFailure],
    response: HTTPResponse,
    *,
    provider: str,
    message: object = None,
    upstream_code: object = None,
    param: str | None = None,
    stage: str | None = None,
    upstream_request_id: str | None = None,
    wait: float | None = None,
) -> UpstreamFailure:
    """One failure with everything a caller may read of it."""
    phrase = HTTPStatus(response.status).phrase if response.status in set(HTTPStatus) else "no known status"
    fallback = f"{provider} answered {response.status} ({phrase})."
    return kind(
        clean(message, fallback),
        provider=provider,
        upstream_code=None if upstream_code in (None, "") else str(upstream_code)[:80],
        upstream_status=response.status,
        upstream_request_id=upstream_request_id or request_id(response),
        retry_after=retry_after(response) if wait is None else wait,
        param=param,
        stage=stage,
    )


def unreadable(response: HTTPResponse, *, provider: str, why: str = "cannot be read") -> UpstreamFailure:
    """An answer that is not what the provider documents: by its status when it failed, else UpstreamError."""
    ok = response.status < 400  # noqa: PLR2004 - HTTP's classes
    kind = UpstreamError if ok else class_for(response.status)
    message = f"The answer of {provider} {why}." if ok else None
    error = failure(kind, response, provider=provider, message=message)
    error.readable = False
    return error
