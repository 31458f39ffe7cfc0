"""The vendor's error codes in our classes.

A failed task and some failed calls answer HTTP 200, so the code decides first and the status last.
Documentation: https://www.alibabacloud.com/help/en/model-studio/error-code (2026-11-22)
"""

from __future__ import annotations

from typing import Final

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
from providers.qwen.rows import VENDOR

CODES: Final[dict[str, type[UpstreamFailure]]] = {
    "DataInspectionFailed": Refused,
    "data_inspection_failed": Refused,
    "IPInfringementSuspect": Refused,
    "CustomRoleBlocked": Refused,
    "FaqRuleBlocked": Refused,
    "InvalidParameter": UpstreamBadRequest,
    "invalid_parameter_error": UpstreamBadRequest,
    "Conflict": UpstreamBadRequest,
    "InternalError.Algo.InvalidParameter": UpstreamBadRequest,
    "InvalidApiKey": UpstreamAuth,
    "invalid_api_key": UpstreamAuth,
    "NOT AUTHORIZED": UpstreamAuth,
    "AccessDenied": UpstreamAuth,
    "AccessDenied.Unpurchased": UpstreamAuth,
    "Workspace.AccessDenied": UpstreamAuth,
    "Endpoint.AccessDenied": UpstreamAuth,
    "App.AccessDenied": UpstreamAuth,
    "WorkSpaceNotFound": UpstreamAuth,
    "Model.AccessDenied": UpstreamModelMissing,
    "ModelNotFound": UpstreamModelMissing,
    "model_not_found": UpstreamModelMissing,
    "model_not_supported": UpstreamModelMissing,
    "Model.NotExist": UpstreamModelMissing,
    "ModelNotExist": UpstreamModelMissing,
    "NotFound": UpstreamError,
    "UnsupportedOperation": UpstreamError,
    "Arrearage": UpstreamQuota,
    "AllocationQuota.FreeTierOnly": UpstreamQuota,
    "CommodityNotPurchased": UpstreamQuota,
    "PrepaidBillOverdue": UpstreamQuota,
    "PostpaidBillOverdue": UpstreamQuota,
    "Throttling": UpstreamRateLimited,
    "Throttling.AllocationQuota": UpstreamRateLimited,
    "insufficient_quota": UpstreamRateLimited,
    "LimitRequests": UpstreamRateLimited,
    "limit_requests": UpstreamRateLimited,
    "limit_burst_rate": UpstreamRateLimited,
    "InternalError": UpstreamError,
    "internal_error": UpstreamError,
    "SystemError": UpstreamError,
    "ModelServiceFailed": UpstreamError,
    "RewriteFailed": UpstreamError,
    "APIConnectionError": UpstreamError,
    "ClientDisconnect": UpstreamError,
    "InternalError.Timeout": UpstreamTimeout,
    "RequestTimeOut": UpstreamTimeout,
    "GatewayTimeout": UpstreamTimeout,
    "ModelUnavailable": UpstreamUnavailable,
    "ModelServingError": UpstreamUnavailable,
    "ServiceUnavailable": UpstreamUnavailable,
}
# Of an input image (or a mask): not moderation, though one of them is called InvalidParameter.DataInspection.
IMAGE_TROUBLE: Final = (
    "InvalidParameter.DataInspection",
    "InvalidURL",
    "InvalidImage",
    "InvalidFile",
    "BadRequest.InputDownloadFailed",
    "BadRequest.UnsupportedFileFormat",
)
PREFIXES: Final[dict[str, type[UpstreamFailure]]] = {
    **dict.fromkeys(IMAGE_TROUBLE, UpstreamBadRequest),
    "InvalidParameter.": UpstreamBadRequest,
    "BadRequest.": UpstreamBadRequest,
    "Throttling.": UpstreamRateLimited,
    "AccessDenied.": UpstreamAuth,
    "InternalError.": UpstreamError,
}
# The endpoint or the mode is wrong for the model: our row is at fault, and nothing was accepted.
MISROUTED: Final = ("url error", "does not support synchronous call", "does not support asynchronous call")
_QUOTA_CODES: Final = frozenset({"Throttling.AllocationQuota", "insufficient_quota"})
_WRONG_REGION: Final = " A key of another region is refused in the same way: see DASHSCOPE_BASE_URL."


def kind_of(code: str, message: str, status: int) -> type[UpstreamFailure]:
    """The class of a code; a few say different things in their message."""
    said = message.lower()
    if code in {"InvalidParameter", "AccessDenied"} and any(text in said for text in MISROUTED):
        return UpstreamError
    if code in _QUOTA_CODES and "free" in said:
        return UpstreamQuota
    if code in CODES:
        return CODES[code]
    prefix = next((prefix for prefix in PREFIXES if code.startswith(prefix)), None)
    return PREFIXES[prefix] if prefix else class_for(status)


def failed(response: HTTPResponse, code: object, message: object, *, ours: str | None, made: bool) -> UpstreamFailure:
    """One failure: of the whole call or, when something was `made`, of a task or an image. `ours` is a request id."""
    named = code if isinstance(code, str) else ""
    text = message if isinstance(message, str) else ""
    kind = kind_of(named, text, response.status)
    if kind is UpstreamAuth:
        text = (text or "The credential was refused.") + _WRONG_REGION
    error = failure(
        kind,
        response,
        provider=VENDOR,
        message=text,
        upstream_code=named,
        param="image" if named.startswith(IMAGE_TROUBLE) else None,
        stage=_stage(text, made=made) if kind is Refused else None,
        upstream_request_id=ours,
    )
    if kind is UpstreamError and not made and any(text in error.message.lower() for text in MISROUTED):
        error.billed = False
    return error


def _stage(message: str, *, made: bool) -> str:
    """What was refused: the message says so, else what came of a task is its output."""
    said = message.lower()
    named = next((stage for stage in ("input", "output") if stage in said), None)
    return named or ("output" if made else "unknown")
