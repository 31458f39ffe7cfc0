"""What would be done with a request, without doing it: the calls as they would go on the wire, and the price."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from app.answer import shown
from app.registry import Route
from providers.core.http import JSON, Buffer, Form, HTTPRequest, Inline
from providers.core.plan import Plan
from providers.core.prices import MICRO
from providers.kit.deployment import Deployment, wire

LONGEST: Final = (1200, 200)  # of a text: the second where many letters, or many adjustments, make it too long
SHOWN_CALLS: Final = 10
LARGEST: Final = 20_000


def explanation(route: Route, plan: Plan, vendor: Deployment) -> dict[str, Any]:
    """Model, provider, adjustments, calls and cost. Secrets and image bytes are elided; under 20 kB."""
    found = _explained(route, plan, vendor, LONGEST[0])
    short = len(json.dumps(found, ensure_ascii=False).encode()) < LARGEST
    return found if short else _explained(route, plan, vendor, LONGEST[1])


def _explained(route: Route, plan: Plan, vendor: Deployment, longest: int) -> dict[str, Any]:
    cut = longest // max(1, len(plan.calls))
    return {
        "model": route.spec.id,
        "provider": route.provider,
        "adjustments": [
            {"param": shown(a.param), "kind": a.kind.value, "from": a.asked, "to": a.used} for a in plan.adjustments
        ],
        "calls": [_call(route.adapter.request(call), vendor, cut) for call in plan.calls[:SHOWN_CALLS]],
        "cost_usd": None if plan.cost is None else plan.cost / MICRO,
    }


def _call(request: HTTPRequest, vendor: Deployment, cut: int) -> dict[str, Any]:
    bare = HTTPRequest(method=request.method, url=request.url, headers=request.headers)
    sent = wire(vendor, bare)
    headers = dict(sent.headers)
    if request.body is not None:
        headers["content-type"] = "application/json" if isinstance(request.body, JSON) else "multipart/form-data"
    return {
        "method": request.method,
        "url": re.sub(r"^(https?://)[^/]*@", r"\1", sent.url),
        "headers": headers,
        "body": _body(request.body, cut),
    }


def _body(body: JSON | Form | None, cut: int) -> Any:
    if body is None:
        return None
    if isinstance(body, JSON):
        return _elided(body.document, cut)
    return [
        {
            "name": part.name,
            "value": _elided(part.value, cut),
            **({"type": part.format.media_type} if part.format else {}),
        }
        for part in body.parts
    ]


def _elided(value: Any, cut: int) -> Any:
    if isinstance(value, dict):
        return {key: _elided(item, cut) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_elided(item, cut) for item in value]
    if isinstance(value, Inline):
        return f"{value.prefix}<{len(value.data) or len(value.base64 or b'') * 3 // 4} bytes>"
    if isinstance(value, Buffer):
        return f"<{len(value)} bytes>"
    if isinstance(value, str) and len(value) > cut:
        return f"{value[:cut]}... ({len(value)} characters)"
    return value
