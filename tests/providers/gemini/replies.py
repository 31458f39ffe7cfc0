"""Answers for tests, in the shapes that the service gives them."""

from __future__ import annotations

import base64
import json
from typing import Any

from providers.core.errors import (
    UpstreamFailure,
)
from providers.core.http import HTTPResponse
from providers.core.provider import Failed
from providers.gemini import PROVIDER
from providers.gemini.rows import MODELS
from tests.providers.asking import call, row

ONE = call(row(MODELS, "gemini-3-pro-image"))


def answered(status: int, body: object, **headers: str) -> HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status=status, headers=headers, body=data)


def failed(response: HTTPResponse) -> UpstreamFailure:
    outcome = PROVIDER.outcome(ONE, response)
    assert isinstance(outcome, Failed)
    return outcome.error


def candidate(*parts: object, reason: str = "STOP", **more: object) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": reason, **more}]}


def blob(data: bytes, mime: str = "image/png", **more: object) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}, **more}


def envelope(code: int, status: str = "", message: str = "so", *details: object) -> dict[str, Any]:
    error = {"code": code, "message": message, **({"status": status} if status else {})}
    return {"error": {**error, "details": list(details)} if details else error}


def detail(kind: str, **fields: object) -> dict[str, object]:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}
