"""What a failed answer means: Google's error envelope, and answers of status 200 without a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    UpstreamTimeout,
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse
from providers.kit.failures import class_for, failure

NAME: Final = "gemini"
_FAILED_FROM: Final = 400

# `google.rpc.ErrorInfo.reason`. A bad key is status 400 here, so reasons come before statuses (2026-11-22).
REASONS: Final[Mapping[str, type[UpstreamFailure]]] = {
    "API_KEY_INVALID": UpstreamAuth,
    "API_KEY_SERVICE_BLOCKED": UpstreamAuth,
    "API_KEY_HTTP_REFERRER_BLOCKED": UpstreamAuth,
    "API_KEY_IP_ADDRESS_BLOCKED": UpstreamAuth,
    "ACCESS_TOKEN_EXPIRED": UpstreamAuth,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": UpstreamAuth,
    "CREDENTIALS_MISSING": UpstreamAuth,
    "CONSUMER_INVALID": UpstreamAuth,
    "CONSUMER_SUSPENDED": UpstreamAuth,
    "SERVICE_DISABLED": UpstreamAuth,
    "BILLING_DISABLED": UpstreamQuota,
}
# `error.status`, the name of a google.rpc.Code.
STATUSES: Final[Mapping[str, type[UpstreamFailure]]] = {
    "INVALID_ARGUMENT": UpstreamBadRequest,
    "OUT_OF_RANGE": UpstreamBadRequest,
    "FAILED_PRECONDITION": UpstreamAuth,  # the account's country or billing, never the caller's picture
    "UNAUTHENTICATED": UpstreamAuth,
    "PERMISSION_DENIED": UpstreamAuth,
    "NOT_FOUND": UpstreamModelMissing,
    "RESOURCE_EXHAUSTED": UpstreamRateLimited,
    "CANCELLED": UpstreamError,
    "ABORTED": UpstreamError,
    "UNKNOWN": UpstreamError,
    "INTERNAL": UpstreamError,
    "DATA_LOSS": UpstreamError,
    "UNIMPLEMENTED": UpstreamError,
    "UNAVAILABLE": UpstreamUnavailable,
    "DEADLINE_EXCEEDED": UpstreamTimeout,
}
# `finishReason` of a candidate without a picture: the class, and for refusals the stage.
FINISHES: Final[Mapping[str, tuple[type[UpstreamFailure], str | None]]] = {
    "SAFETY": (Refused, "output"),
    "PROHIBITED_CONTENT": (Refused, "output"),
    "BLOCKLIST": (Refused, "output"),
    "SPII": (Refused, "output"),
    "RECITATION": (Refused, "output"),
    "IMAGE_SAFETY": (Refused, "output"),
    "IMAGE_PROHIBITED_CONTENT": (Refused, "output"),
    "IMAGE_RECITATION": (Refused, "output"),
    "MODEL_ARMOR": (Refused, "unknown"),
    "ESCALATION": (Refused, "unknown"),
    "NO_IMAGE": (Refused, "output"),
    "LANGUAGE": (UpstreamBadRequest, None),
    "PUP_LIMITED_DISABLED": (UpstreamAuth, None),
    "FINISH_REASON_UNSPECIFIED": (UpstreamError, None),
    "STOP": (UpstreamError, None),
    "MAX_TOKENS": (UpstreamError, None),
    "OTHER": (UpstreamError, None),
    "IMAGE_OTHER": (UpstreamError, None),
    "MALFORMED_FUNCTION_CALL": (UpstreamError, None),
    "UNEXPECTED_TOOL_CALL": (UpstreamError, None),
    "TOO_MANY_TOOL_CALLS": (UpstreamError, None),
    "MISSING_THOUGHT_SIGNATURE": (UpstreamError, None),
    "MALFORMED_RESPONSE": (UpstreamError, None),
    "CONTINUATION": (UpstreamError, None),
}
_FINISHED: Final = {name: kind for name, (kind, _) in FINISHES.items()}
ALL: Final[Mapping[str, type[UpstreamFailure]]] = {**REASONS, **STATUSES, **_FINISHED}
# Which of our parameters a named field of theirs came from.
PARAMS: Final = (
    ("aspect", "size"),
    ("imagesize", "size"),
    ("seed", "seed"),
    ("inlinedata", "image"),
    ("mimetype", "image"),
)
_DELAY: Final = re.compile(r"(?i)retry in ([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s)\b")
_SECONDS: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
# Spent for the day, or a plan that has none of this model at all: waiting a minute does not help.
_SPENT: Final = re.compile(r"(?i)per_?day|free_?tier")
_NONE_AT_ALL: Final = re.compile(r"(?i)limit: 0\b")


def of_envelope(response: HTTPResponse, error: Any) -> UpstreamFailure:
    """The failure that an `error` object tells, whatever is missing in it."""
    body = error if isinstance(error, Mapping) else {"message": error}
    reason = next(filter(None, (_said(detail.get("reason")) for detail in _details(body, "ErrorInfo"))), "")
    kind = _kind(response, body, reason)
    return failure(
        kind,
        response,
        provider=NAME,
        message=body.get("message"),
        upstream_code=reason or _said(body.get("status")),
        param=_param(body) if kind is UpstreamBadRequest else None,
        wait=_wait(body) if kind in {UpstreamRateLimited, UpstreamUnavailable} else None,
    )


def of_blocked_prompt(response: HTTPResponse, reason: str, why: object) -> UpstreamFailure:
    """`promptFeedback.blockReason`: the prompt, or an input image, was refused before anything was drawn."""
    message = _said(why) or f"{NAME} refused the prompt ({reason})."
    return failure(Refused, response, provider=NAME, message=message, upstream_code=reason, stage="input")


def of_finish(response: HTTPResponse, reason: str, *, why: object = None, text: str = "") -> UpstreamFailure:
    """A candidate that ended without a picture. A model that answers in words instead declines to draw."""
    declined = reason in {"STOP", ""} and bool(text.strip())
    kind, stage = (Refused, "output") if declined else FINISHES.get(reason, (UpstreamError, None))
    fallback = f"{NAME} made no image ({reason or 'no finish reason'})."
    message = _said(why) or (f"{fallback} It answered: {text.strip()}" if text.strip() else fallback)
    return failure(kind, response, provider=NAME, message=message, upstream_code=reason, stage=stage)


def _kind(response: HTTPResponse, body: Mapping[str, Any], reason: str) -> type[UpstreamFailure]:
    status, message = _said(body.get("status")), _said(body.get("message"))
    if reason in REASONS:
        return REASONS[reason]
    kind = STATUSES.get(status) or class_for(_code(response, body))
    if kind is UpstreamRateLimited and _is_spent(body, message):
        return UpstreamQuota
    if status == "FAILED_PRECONDITION" and "billing" in message.lower():
        return UpstreamQuota
    return UpstreamAuth if kind is UpstreamBadRequest and "api key" in message.lower() else kind


def _code(response: HTTPResponse, body: Mapping[str, Any]) -> int:
    """The status that counts: the body's where the answer's own says all is well."""
    code = body.get("code")
    return code if response.status < _FAILED_FROM and isinstance(code, int) else response.status


def _is_spent(body: Mapping[str, Any], message: str) -> bool:
    """A quota of none, of the free tier, or of the day; a minute's quota is only too fast."""
    violations = [v for detail in _details(body, "QuotaFailure") for v in _objects(detail.get("violations"))]
    names = (f"{v.get('quotaId')} {v.get('quotaMetric')}" for v in violations)
    return (
        _NONE_AT_ALL.search(message) is not None
        or any(v.get("quotaValue") in {"0", 0} for v in violations if isinstance(v.get("quotaValue"), str | int))
        or any(_SPENT.search(name) for name in names)
    )


def _wait(body: Mapping[str, Any]) -> float | None:
    """Seconds from RetryInfo (`41s`, fractions allowed) or from the message; None where neither says."""
    for detail in _details(body, "RetryInfo"):
        if delay := _SECONDS.fullmatch(_said(detail.get("retryDelay"))):
            return float(delay[1])
    found = _DELAY.search(_said(body.get("message")))
    return None if found is None else float(found[1]) / (1000 if found[2].lower() == "ms" else 1)


def _param(body: Mapping[str, Any]) -> str | None:
    fields = (
        str(violation.get("field", "")) + " " + str(violation.get("description", ""))
        for detail in _details(body, "BadRequest")
        for violation in _objects(detail.get("fieldViolations"))
    )
    plain = "".join(fields).replace("_", "").lower()
    return next((param for needle, param in PARAMS if needle in plain), None)


def _details(body: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    """The details of one kind of google.rpc."""
    return (d for d in _objects(body.get("details")) if str(d.get("@type", "")).endswith(f"google.rpc.{kind}"))


def _objects(value: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(each for each in value if isinstance(each, Mapping)) if isinstance(value, list) else ()


def _said(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
