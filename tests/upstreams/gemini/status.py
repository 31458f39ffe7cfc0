"""The service's error envelope, and the failures that words in a prompt ask for."""

from __future__ import annotations

from typing import Any, Final

from tests.upstreams.http import Reply
from tests.upstreams.server import RETRY_AFTER_S

_RPC: Final = "type.googleapis.com/google.rpc."


class ServiceError(Exception):
    """Raised by the checks; carries the answer to send."""

    def __init__(self, code: int, status: str, message: str, *details: dict[str, Any]) -> None:
        super().__init__(message)
        error: dict[str, Any] = {"code": code, "message": message, "status": status}
        if details:
            error["details"] = list(details)
        self.document = {"error": error}
        self.reply = Reply.json(code, self.document)


def detail(kind: str, **fields: Any) -> dict[str, Any]:
    """One google.rpc detail."""
    return {"@type": _RPC + kind, **fields}


def bad(message: str, field: str = "") -> ServiceError:
    """INVALID_ARGUMENT; with a field as the parser words it."""
    if not field:
        return ServiceError(400, "INVALID_ARGUMENT", message)
    violation = detail("BadRequest", fieldViolations=[{"field": field, "description": message}])
    return ServiceError(400, "INVALID_ARGUMENT", message, violation)


def unknown(name: str, where: str) -> ServiceError:
    """A field that the message does not have."""
    at = f" at '{where}'" if where else ""
    return bad(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', where or name)


def invalid_key() -> ServiceError:
    """A wrong key is status 400."""
    message = "API key not valid. Please pass a valid API key."
    service = {"service": "generativelanguage.googleapis.com"}
    info = detail("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com", metadata=service)
    return ServiceError(400, "INVALID_ARGUMENT", message, info)


def not_enabled() -> ServiceError:
    """The project has not switched the API on."""
    info = detail("ErrorInfo", reason="SERVICE_DISABLED", domain="googleapis.com", metadata={})
    return ServiceError(403, "PERMISSION_DENIED", "Generative Language API has not been used before.", info)


def missing(model: str, method: str) -> ServiceError:
    """No such model, or not for this method."""
    message = f"models/{model} is not found for API version v1beta, or is not supported for {method}."
    return ServiceError(404, "NOT_FOUND", message)


def throttled() -> ServiceError:
    """A minute's quota: the wait is told in the body, there is no such header."""
    return _exhausted("GenerateRequestsPerMinutePerProjectPerModel", "10", f"{RETRY_AFTER_S}s")


def no_free_tier() -> ServiceError:
    """Projects without billing have no pictures at all."""
    return _exhausted("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "0", "41.5s")


def daily() -> ServiceError:
    """The day's quota is spent."""
    return _exhausted("GenerateRequestsPerDayPerProjectPerModel", "250", "35s")


def _exhausted(quota: str, limit: str, delay: str) -> ServiceError:
    violation = {"quotaMetric": "generate_content_requests", "quotaId": quota, "quotaValue": limit}
    return ServiceError(
        429,
        "RESOURCE_EXHAUSTED",
        f"You exceeded your current quota. Quota exceeded, limit: {limit}. Please retry in {delay}.",
        detail("QuotaFailure", violations=[violation]),
        detail("RetryInfo", retryDelay=delay),
    )
