"""What goes wrong at Replicate: problem documents of its API, and the words in which a model fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from providers.core.errors import (
    Refused,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse
from providers.kit.failures import class_for, failure

PARAMS: Final[Mapping[str, str]] = {
    "prompt": "prompt",
    "aspect_ratio": "size",
    "width": "size",
    "height": "size",
    "resolution": "size",
    "num_outputs": "n",
    "seed": "seed",
    "image": "image",
    "input_image": "image",
    "input_images": "image",
    "mask": "mask",
    "output_format": "output_format",
    "output_quality": "output_compression",
    "prompt_upsampling": "prompt_extend",
}
# Codes at the end of a failed prediction's `error`, "... (E005) (uIJ6l3ruRD)"; undocumented, seen in 2025 and 2026.
BY_CODE: Final[Mapping[str, type[UpstreamFailure]]] = {
    "E003": UpstreamUnavailable,
    "E004": UpstreamUnavailable,
    "E005": Refused,
    "E006": UpstreamBadRequest,
}
_CODE = re.compile(r"\((E\d{3,5})\)")
_REFUSAL = re.compile(
    r"nsfw|flagged as sensitive|moderation|content polic|safety (?:system|filter|check)", re.IGNORECASE
)
_OUTPUT = re.compile(r"nsfw content (?:was )?detected|generated images? contain", re.IGNORECASE)
_WAIT = re.compile(r"(?:resets in ~?|available in )(\d+)\s*s", re.IGNORECASE)
_FIELD = re.compile(r"(?:^|[\s-])(?:input\.)?([a-z_]+): ")


def read(document: Mapping[str, Any], response: HTTPResponse, provider: str) -> UpstreamFailure:
    """The failure that a status from 400 up and `{"title", "detail", "status", "invalid_fields"}` describe."""
    detail = document.get("detail")
    text = detail if isinstance(detail, str) else ""
    title = document.get("title")
    field, wait = _FIELD.search(text), _WAIT.search(text)
    found = failure(
        class_for(response.status),
        response,
        provider=provider,
        message=text or title,
        upstream_code=title if isinstance(title, str) else None,
        param=PARAMS.get(field[1]) if field else None,
    )
    if found.retry_after is None and wait:
        found.retry_after = float(wait[1])
    return found


def broken(error: object, response: HTTPResponse, provider: str, task_id: str) -> UpstreamFailure:
    """The failure of a prediction that ran and failed, by its `error` text. It was accepted, so it may be billed."""
    text = error if isinstance(error, str) else ""
    code = _CODE.search(text)
    kind = BY_CODE.get(code[1], UpstreamError) if code else UpstreamError
    if _REFUSAL.search(text):
        kind = Refused
    stage = ("output" if _OUTPUT.search(text) else "unknown") if kind is Refused else None
    found = failure(
        kind,
        response,
        provider=provider,
        message=text or "The prediction failed.",
        upstream_code=code[1] if code else ("nsfw" if kind is Refused else "failed"),
        stage=stage,
        upstream_request_id=task_id or None,
    )
    found.billed = kind is not Refused
    return found


def ended(status: str, response: HTTPResponse, provider: str, task_id: str) -> UpstreamFailure:
    """The failure of a prediction that somebody ended: `canceled` while it ran (billed), `aborted` before (free)."""
    free = status == "aborted"
    found = failure(
        UpstreamUnavailable if free else UpstreamError,
        response,
        provider=provider,
        message=f"The prediction was {status}.",
        upstream_code=status,
        upstream_request_id=task_id or None,
    )
    found.billed = not free
    return found


def withheld(response: HTTPResponse, provider: str, task_id: str) -> UpstreamFailure:
    """One picture of a batch that the safety check left out; the list of results is only shorter."""
    message = "The provider left out a picture that its safety check did not pass."
    return failure(
        Refused,
        response,
        provider=provider,
        message=message,
        upstream_code="nsfw",
        stage="output",
        upstream_request_id=task_id or None,
    )


def nothing_made(logs: object, response: HTTPResponse, provider: str, task_id: str) -> UpstreamFailure:
    """A prediction that succeeded without a result: where the log says so, because of the safety check."""
    if isinstance(logs, str) and _REFUSAL.search(logs):
        return withheld(response, provider, task_id)
    return failure(
        UpstreamError,
        response,
        provider=provider,
        message="The prediction succeeded without an image.",
        upstream_request_id=task_id or None,
    )
