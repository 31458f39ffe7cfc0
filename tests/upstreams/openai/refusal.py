"""OpenAI's error envelope and the refusals that the image routes give."""

from collections.abc import Iterable
from typing import Any

from tests.upstreams.http import Reply, SseItem

INVALID = "invalid_request_error"
IMAGE_USER = "image_generation_user_error"


class Refusal(Exception):
    """Raised by the checks; carries the answer to send."""

    def __init__(
        self, message: str, *, code: str | None, param: str | None = None, kind: str = INVALID, status: int = 400
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}

    def reply(self) -> Reply:
        return Reply.json(self.status, {"error": self.error}, **self.headers)


def unknown_parameter(name: str) -> Refusal:
    return Refusal(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def missing(name: str) -> Refusal:
    return Refusal(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def wrong_type(name: str, wanted: str, got: object) -> Refusal:
    message = f"Invalid type for '{name}': expected {wanted}, but got {type(got).__name__} instead."
    return Refusal(message, code="invalid_type", param=name)


def not_among(name: str, value: object, allowed: Iterable[str]) -> Refusal:
    words = ", ".join(f"'{word}'" for word in sorted(allowed))
    message = f"Invalid value: '{value}'. Supported values are: {words}."
    return Refusal(message, code="invalid_value", param=name)


def out_of_range(name: str, value: int, low: int, high: int) -> Refusal:
    side, bound, word = ("above_max", high, "<=") if value > high else ("below_min", low, ">=")
    message = f"Invalid '{name}': integer out of range. Expected a value {word} {bound}, but got {value} instead."
    return Refusal(message, code=f"integer_{side}_value", param=name)


def invalid(message: str, param: str | None, code: str | None = "invalid_value") -> Refusal:
    """A combination or a form that the service does not take."""
    return Refusal(message, code=code, param=param)


def image_user_error(message: str, code: str, param: str | None) -> Refusal:
    """A refusal by the image service itself rather than by the schema check in front of it."""
    return Refusal(message, code=code, param=param, kind=IMAGE_USER)


def blocked(request_id: str) -> Refusal:
    message = (
        f"Your request was rejected by the safety system. If you believe this is an error, include the request ID "
        f"{request_id}. safety_violations=[violence]."
    )
    refusal = image_user_error(message, "moderation_blocked", None)
    refusal.error["moderation_details"] = {"moderation_stage": "input", "categories": ["violence"]}
    return refusal


def rate_limited(retry_after_s: int) -> Refusal:
    refusal = Refusal(
        "Rate limit reached for images per minute.", code="rate_limit_exceeded", kind="requests", status=429
    )
    refusal.headers = {
        "retry_after": str(retry_after_s),
        "x_ratelimit_limit_images": "5",
        "x_ratelimit_remaining_images": "0",
        "x_ratelimit_reset_images": str(retry_after_s),
    }
    return refusal


def out_of_credit() -> Refusal:
    message = "You exceeded your current quota, please check your plan and billing details."
    return Refusal(message, code="insufficient_quota", kind="insufficient_quota", status=429)


def server_error() -> Refusal:
    message = "The server had an error while processing your request."
    return Refusal(message, code=None, kind="server_error", status=500)


def error_event(message: str, code: str | None = None, kind: str = "server_error") -> SseItem:
    """An error in the midst of a stream; the nested form, as Responses streams carry it (Images: unverified)."""
    return ("error", {"type": "error", "error": {"message": message, "type": kind, "code": code, "param": None}})
