"""OpenAI's error envelope, and Azure's, into our tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from providers.core.errors import (
    Refused,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse
from providers.kit.failures import class_for, clean, failure, unreadable
from providers.kit.lift import LiftError, lift

PROVIDER: Final = "openai"
# By `code`, then by `type`, then by status (facts of 2026-11-22: issue threads and the OpenAPI description).
BY_CODE: Final[Mapping[str, type[UpstreamFailure]]] = {
    "moderation_blocked": Refused,
    "content_policy_violation": Refused,
    "contentFilter": Refused,
    "content_filter": Refused,
    "invalid_api_key": UpstreamAuth,
    "insufficient_quota": UpstreamQuota,
    "credit_balance_exhausted": UpstreamQuota,
    "billing_hard_limit_reached": UpstreamQuota,
    "rate_limit_exceeded": UpstreamRateLimited,
    "slow_down": UpstreamRateLimited,
    "server_is_overloaded": UpstreamUnavailable,
    "model_not_found": UpstreamModelMissing,
    "DeploymentNotFound": UpstreamModelMissing,
    "unknown_parameter": UpstreamBadRequest,
    "invalid_value": UpstreamBadRequest,
}
BY_TYPE: Final[Mapping[str, type[UpstreamFailure]]] = {
    "insufficient_quota": UpstreamQuota,
    "rate_limit_error": UpstreamRateLimited,
    "service_unavailable_error": UpstreamUnavailable,
    "authentication_error": UpstreamAuth,
    "permission_error": UpstreamAuth,
    "image_generation_user_error": UpstreamBadRequest,
}
ALL: Final[Mapping[str, type[UpstreamFailure]]] = {**BY_CODE, **BY_TYPE}


def of_response(response: HTTPResponse) -> UpstreamFailure:
    """The failure of a complete answer."""
    try:
        document = lift(response.body)
    except LiftError:
        return unreadable(response, provider=PROVIDER)
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    return of_error(error, response) if isinstance(error, dict) else unreadable(response, provider=PROVIDER)


def of_error(error: Mapping[str, Any], response: HTTPResponse) -> UpstreamFailure:
    """The failure that an `error` object describes, in an answer or in an event of a stream."""
    code = error.get("code") if isinstance(error.get("code"), str) else None
    kind = error.get("type") if isinstance(error.get("type"), str) else None
    found = BY_CODE.get(code or "") or BY_TYPE.get(kind or "") or class_for(response.status)
    # 503 must be a complete answer of the service to count as not accepted; it is one when it has the envelope.
    param = error.get("param")
    details = error.get("moderation_details")
    stage = details.get("moderation_stage") if isinstance(details, dict) else None
    reason = details.get("categories") if isinstance(details, dict) else None
    text = ",".join(map(str, reason)) if isinstance(reason, list) and reason else code or kind
    fallback = f"{PROVIDER} answered {response.status}."
    return failure(
        found,
        response,
        provider=PROVIDER,
        message=clean(error.get("message"), fallback),
        upstream_code=text,
        param=param if isinstance(param, str) and found is UpstreamBadRequest else None,
        stage=(stage if stage in {"input", "output"} else "unknown") if found is Refused else None,
    )
