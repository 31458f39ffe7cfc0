"""providers.gemini: every reason that the service can give, and its class."""

from __future__ import annotations

import pytest

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
from providers.gemini.errors import FINISHES, REASONS, STATUSES
from tests.providers.gemini.replies import answered, candidate, detail, envelope, failed

FINISH_KINDS: dict[type[UpstreamFailure], set[str]] = {
    Refused: {
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
        "ESCALATION",
        "NO_IMAGE",
    },
    UpstreamBadRequest: {"LANGUAGE"},
    UpstreamAuth: {"PUP_LIMITED_DISABLED"},
}


@pytest.mark.parametrize("reason", [*FINISHES, "", "A_REASON_OF_TOMORROW"])
def test_every_finish_reason_without_a_picture_is_a_failure(reason: str) -> None:
    """Refusals have one name; whatever is not known is an upstream error, and never an empty success."""
    error = failed(answered(200, candidate(reason=reason)))
    kind = next((kind for kind, reasons in FINISH_KINDS.items() if reason in reasons), UpstreamError)
    assert (type(error), error.upstream_code) == (kind, reason or None)
    assert (error.stage is not None) == (kind is Refused)


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "IMAGE_SAFETY", "JAILBREAK", "OF_TOMORROW"])
def test_every_block_reason_is_a_refusal_of_the_input(reason: str) -> None:
    """A blocked prompt says so with the service's own reason; uncounted, it cannot have cost anything."""
    error = failed(answered(200, {"promptFeedback": {"blockReason": reason}}))
    assert (type(error), error.stage, error.upstream_code, error.billed) == (Refused, "input", reason, False)


STATUS_KINDS: dict[str, tuple[int, type[UpstreamFailure]]] = {
    "INVALID_ARGUMENT": (400, UpstreamBadRequest),
    "OUT_OF_RANGE": (400, UpstreamBadRequest),
    "FAILED_PRECONDITION": (400, UpstreamAuth),
    "UNAUTHENTICATED": (401, UpstreamAuth),
    "PERMISSION_DENIED": (403, UpstreamAuth),
    "NOT_FOUND": (404, UpstreamModelMissing),
    "RESOURCE_EXHAUSTED": (429, UpstreamRateLimited),
    "CANCELLED": (499, UpstreamError),
    "ABORTED": (409, UpstreamError),
    "UNKNOWN": (500, UpstreamError),
    "INTERNAL": (500, UpstreamError),
    "DATA_LOSS": (500, UpstreamError),
    "UNIMPLEMENTED": (501, UpstreamError),
    "UNAVAILABLE": (503, UpstreamUnavailable),
    "DEADLINE_EXCEEDED": (504, UpstreamTimeout),
}


@pytest.mark.parametrize("status", sorted({*STATUSES, *STATUS_KINDS}))
def test_every_status_has_its_class(status: str) -> None:
    """The name of the status decides, also inside an answer of 200 and inside a list."""
    code, kind = STATUS_KINDS[status]
    document = envelope(code, status)
    for response in (answered(code, document), answered(200, document), answered(code, [document])):
        error = failed(response)
        assert (type(error), error.upstream_code, error.message) == (kind, status, "so")


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_goes_before_its_status(reason: str) -> None:
    """Bad keys come as 400 or 403: their reason says that the fault is ours, not the caller's."""
    info = detail("ErrorInfo", reason=reason, domain="googleapis.com")
    kind = UpstreamQuota if reason == "BILLING_DISABLED" else UpstreamAuth
    for code, status in ((400, "INVALID_ARGUMENT"), (403, "PERMISSION_DENIED")):
        error = failed(answered(code, envelope(code, status, "so", info)))
        assert (type(error), error.upstream_code) == (kind, reason)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "API key expired. Please renew the API key.", UpstreamAuth),
        (400, "Please enable billing on your project.", UpstreamQuota),
        (400, "User location is not supported for the API use.", UpstreamAuth),
    ],
)
def test_some_faults_are_known_by_their_words(status: int, message: str, kind: type[UpstreamFailure]) -> None:
    """An expired key, a missing bill and a wrong country are never the caller's mistake."""
    name = "INVALID_ARGUMENT" if "key" in message else "FAILED_PRECONDITION"
    assert type(failed(answered(status, envelope(status, name, message)))) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, UpstreamBadRequest),
        (401, UpstreamAuth),
        (404, UpstreamModelMissing),
        (413, UpstreamBadRequest),
        (429, UpstreamRateLimited),
        (500, UpstreamError),
        (502, UpstreamError),
        (503, UpstreamUnavailable),
        (504, UpstreamTimeout),
    ],
)
def test_without_a_name_the_status_decides(code: int, kind: type[UpstreamFailure]) -> None:
    """Envelopes without status, error texts, pages and nothing at all are read by their number."""
    bodies: tuple[object, ...] = (envelope(code), {"error": "so"}, b"<html>502</html>", b"", [], 7, {})
    for body in bodies:
        error = failed(answered(code, body))
        assert type(error) is kind
        assert "<" not in error.message


@pytest.mark.parametrize(
    ("details", "message", "kind", "wait"),
    [
        ([detail("RetryInfo", retryDelay="41s")], "slow down", UpstreamRateLimited, 41.0),
        ([detail("RetryInfo", retryDelay="0.5s")], "slow down", UpstreamRateLimited, 0.5),
        ([detail("RetryInfo", retryDelay="soon")], "Please retry in 10.67s.", UpstreamRateLimited, 10.67),
        ([], "Please retry in 559.5ms.", UpstreamRateLimited, 0.5595),
        ([], "slow down", UpstreamRateLimited, 3.0),
        ([], "Quota exceeded, limit: 0, model: x", UpstreamQuota, 3.0),
        ([detail("QuotaFailure", violations=[{"quotaId": "RequestsPerDay"}])], "so", UpstreamQuota, 3.0),
        ([detail("QuotaFailure", violations=[{"quotaMetric": "x/free_tier_requests"}])], "so", UpstreamQuota, 3.0),
        ([detail("QuotaFailure", violations=[{"quotaValue": "0"}])], "so", UpstreamQuota, 3.0),
        ([detail("QuotaFailure", violations=[{"quotaId": "PerMinute"}])], "so", UpstreamRateLimited, 3.0),
        ([detail("QuotaFailure", violations=7), 3, None], "so", UpstreamRateLimited, 3.0),
    ],
)
def test_two_kinds_of_429(details: list[object], message: str, kind: type[UpstreamFailure], wait: float) -> None:
    """Too fast may be tried again when RetryInfo, the message or the header says; a spent quota may not."""
    document = envelope(429, "RESOURCE_EXHAUSTED", message, *details)
    error = failed(answered(429, document, **{"retry-after": "3"}))
    assert (type(error), error.retry_after) == (kind, wait)


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("generation_config.image_config.aspect_ratio", "size"),
        ("generation_config.image_config.image_size", "size"),
        ("generation_config.seed", "seed"),
        ("contents[0].parts[0].inline_data", "image"),
        ("tools", None),
    ],
)
def test_a_named_field_is_our_parameter(field: str, param: str | None) -> None:
    """The caller reads the name of the parameter that was sent, not of Google's field."""
    violations = detail("BadRequest", fieldViolations=[{"field": field, "description": "no"}])
    assert failed(answered(400, envelope(400, "INVALID_ARGUMENT", "so", violations))).param == param
