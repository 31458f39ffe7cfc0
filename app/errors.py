"""The error envelope, and the one table from class to status, type and code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from providers.core import errors as core
from providers.core.errors import PinholeError


class BadInput(PinholeError):
    """A request that cannot be read: no model's rule is involved."""


class Unauthenticated(PinholeError):
    """No caller key, or one that nobody knows."""


class NotFound(PinholeError):
    """Nothing lives at this path."""


class MethodNotAllowed(PinholeError):
    """The path exists, for another method."""


class RequestTimeout(PinholeError):
    """The caller's body did not arrive in time."""


class PayloadTooLarge(PinholeError):
    """A body or a part over its limit."""


class UnsupportedMediaType(PinholeError):
    """A body in a form that the route does not read."""


class RangeNotSatisfiable(PinholeError):
    """A byte range that begins behind the end of a file."""


class KeyReused(PinholeError):
    """An idempotency key that came before with another request."""


class RateLimited(PinholeError):
    """The caller's own limit. `retry_after` is seconds."""

    def __init__(self, message: str, *, retry_after: float, code: str = "rate_limit_exceeded") -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class QuotaExceeded(PinholeError):
    """The caller's budget is spent. `retry_after` is seconds until it is filled again."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(PinholeError):
    """The gateway has no room now. `retry_after` is seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unkept(Overloaded):
    """Images were made and paid for, and there is no room to keep them for their links."""

    billed = True


class Unforeseen(PinholeError):
    """A mistake of ours: nobody knows what was billed before it."""

    billed = True


def billed(error: BaseException | None) -> bool:
    """Whether money may have been spent, so that a repeat must not spend it again."""
    return bool(getattr(error, "billed", False))


@dataclass(frozen=True, slots=True)
class Row:
    """How a class is shown. `own_code` lets the error name a finer code."""

    status: int
    type: str
    code: str | None = None
    own_code: bool = False


_HIDDEN: Final = re.compile(r"[^!-~]+")
INVALID: Final = "invalid_request_error"
WAITED_FOR: Final = frozenset({429, 503})
LONGEST_PARAM: Final = 80  # an unknown parameter's name is the caller's, of any length
# The most specific class of an error's ancestry that stands here decides.
TABLE: Final[dict[type[BaseException], Row]] = {
    BadInput: Row(400, INVALID, None, own_code=True),
    core.InvalidRequest: Row(400, INVALID, "invalid_value", own_code=True),
    core.Refused: Row(400, "image_generation_user_error", "moderation_blocked"),
    core.UpstreamBadRequest: Row(400, INVALID, "upstream_invalid_request", own_code=True),
    Unauthenticated: Row(401, "authentication_error", "invalid_api_key"),
    core.PermissionDenied: Row(403, "permission_error", "permission_denied"),
    core.ModelNotFound: Row(404, INVALID, "model_not_found"),
    core.UpstreamModelMissing: Row(404, INVALID, "model_not_found"),
    NotFound: Row(404, INVALID, "not_found"),
    MethodNotAllowed: Row(405, INVALID, "method_not_allowed"),
    RequestTimeout: Row(408, INVALID, "request_timeout"),
    PayloadTooLarge: Row(413, INVALID, "request_too_large"),
    UnsupportedMediaType: Row(415, INVALID, "unsupported_media_type"),
    RangeNotSatisfiable: Row(416, INVALID, "range_not_satisfiable"),
    KeyReused: Row(422, INVALID, "idempotency_key_reused"),
    RateLimited: Row(429, "rate_limit_error", "rate_limit_exceeded", own_code=True),
    core.UpstreamRateLimited: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    QuotaExceeded: Row(429, "insufficient_quota", "insufficient_quota"),
    core.UpstreamQuota: Row(429, "insufficient_quota", "insufficient_quota"),
    core.UpstreamAuth: Row(502, "upstream_error", "upstream_auth_error"),
    core.UpstreamError: Row(502, "upstream_error", "upstream_error"),
    Overloaded: Row(503, "service_unavailable_error", "service_unavailable"),
    core.UpstreamUnavailable: Row(503, "service_unavailable_error", "service_unavailable"),
    core.UpstreamTimeout: Row(504, "upstream_error", "upstream_timeout"),
    PinholeError: Row(500, "server_error", "internal_error"),
}
INTERNAL: Final = Unforeseen("Something went wrong inside the gateway. The request id names it in the logs.")


def row(error: PinholeError) -> Row:
    """The row of an error's nearest ancestor."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def status(error: PinholeError) -> int:
    """The HTTP status of an error."""
    return row(error).status


def envelope(error: PinholeError) -> dict[str, Any]:
    """OpenAI's error body. `type` is always a string; `violations` stands beside it when there are several."""
    shown = row(error)
    body: dict[str, Any] = {
        "message": error.message,
        "type": shown.type,
        "param": error.param and error.param[:LONGEST_PARAM],
        "code": (error.code if shown.own_code and error.code else shown.code),
    }
    if isinstance(error, core.InvalidRequest) and len(error.violations) > 1:
        body["violations"] = [
            {"param": v.param[:LONGEST_PARAM], "message": v.message, "code": v.code} for v in error.violations
        ]
    if isinstance(error, core.Refused):
        body["moderation_details"] = {
            "moderation_stage": error.stage or "unknown",
            "provider": error.provider,
            "reason": error.upstream_code,
        }
    return {"error": body}


def header_text(text: str) -> str:
    """An upstream's own text for a header: visible ASCII, at most 512 letters."""
    return _HIDDEN.sub("", text)[:512]


def headers(error: PinholeError) -> dict[str, str]:
    """`retry-after` in whole seconds beside 429 and 503; `x-should-retry: false` where a repeat costs or is vain."""
    found: dict[str, str] = {}
    wait = getattr(error, "retry_after", None)
    if wait is not None and status(error) in WAITED_FOR:
        found["retry-after"] = str(max(1, -int(-wait // 1)))
    if billed(error) or isinstance(error, core.UpstreamQuota | QuotaExceeded | core.UpstreamAuth):
        found["x-should-retry"] = "false"
    if isinstance(error, RequestTimeout):
        found["connection"] = "close"
    if isinstance(error, core.UpstreamFailure) and error.upstream_request_id:
        found["pinhole-upstream-request-id"] = header_text(error.upstream_request_id)
    return found
