"""An upstream that is as careless as an upstream can be: its errors repeat the request, credential and all."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.server import StandIn

STATUS = re.compile(r"answer-(\d{3})")
CREDENTIALS = ("authorization", "x-goog-api-key", "x-key", "api-key", "x-api-key")


class EchoStandIn(StandIn):
    """Answers each POST with the status that its body names (`answer-429`), 500 where it names none.

    The credential stands wherever an error, an id or a header of any provider is read from. `statuses` is what it
    may be asked for.
    """

    statuses: Iterable[int] = (200, 400, 401, 402, 403, 404, 422, 429, 500, 503, 504)

    def handle(self, exchange: Exchange) -> Reply:
        text = exchange.body.decode("utf-8", "replace")
        found = STATUS.search(text)
        status = int(found.group(1)) if found else 500
        held = next((value for name in CREDENTIALS if (value := exchange.header(name))), "nothing")
        key = held.removeprefix("Bearer ").removeprefix("Key ").removeprefix("Token ")
        if held.startswith("Basic "):
            key = base64.b64decode(held.removeprefix("Basic ")).decode()
        said = f"Incorrect API key provided: {key}. You sent {held} with {text[:2000]}"
        error = {"message": said, "code": key, "type": key, "param": key, "status": key, "details": [{"reason": key}]}
        body = {
            "error": error if "replicate" not in exchange.path else said,
            "message": said,
            "code": key,
            "detail": said,
            "title": key,
            "name": key,
            "errors": [said],
            "id": key,
            "request_id": key,
            "base_resp": {"status_code": 1004, "status_msg": said},
            "status": "failed",
            "output": {"task_status": "FAILED", "code": key, "message": said, "task_id": key},
        }
        marks = dict.fromkeys(("x_request_id", "request_id", "trace_id", "x_goog_request_id"), key)
        return Reply.json(status, body, retry_after="60", **marks)
