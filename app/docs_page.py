"""/docs: the API for a person, one page served from here alone; no script, no font, no request elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse

STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
code,pre{font:14px/1.45 ui-monospace,monospace;background:var(--soft);border-radius:4px;padding:.1em .3em}
pre{padding:1rem;overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid var(--line);padding:.35rem .5rem;text-align:left;vertical-align:top}
.method{font-weight:700}
"""
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
INTRO: Final = """
<p>Point any OpenAI SDK at this address with <code>/v1</code> behind it. Ask <code>GET /v1/models</code> what each
model can do, and add <code>/explain</code> to either image route to see what a request would do and cost.
The machine-readable form of this page is <a href="/openapi.json">openapi.json</a>.</p>
<pre>from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8080/v1", api_key="your-key")
answer = client.images.generate(model="gpt-image-2", prompt="A lighthouse in a storm")
</pre>
"""


@dataclass(frozen=True, slots=True)
class Docs:
    """The handler; it reads the app's own description."""

    app: FastAPI

    def router(self) -> APIRouter:
        """One route."""
        router = APIRouter()
        router.add_api_route(
            "/docs", self.page, methods=["GET"], response_class=HTMLResponse, include_in_schema=False
        )
        return router

    async def page(self) -> HTMLResponse:
        """The page."""
        paths = self.app.openapi()["paths"]
        parts = [_operation(path, method, what) for path, item in paths.items() for method, what in item.items()]
        html = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>Pinhole</title><style>{STYLE}</style>'
            f"<h1>Pinhole</h1>{INTRO}{''.join(parts)}</html>"
        )
        return HTMLResponse(html, headers={"content-security-policy": POLICY, "x-content-type-options": "nosniff"})


def _operation(path: str, method: str, what: dict[str, Any]) -> str:
    bodies = what.get("requestBody", {}).get("content", {})
    tables = "".join(_table(media_type, body["schema"]) for media_type, body in bodies.items())
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(answer.get('description', ''))}</td></tr>"
        for status, answer in what.get("responses", {}).items()
    )
    return (
        f'<h2><span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code></h2>'
        f"<p>{escape(what.get('summary', ''))}</p>{tables}"
        f"<details><summary>Answers</summary><table>{answers}</table></details>"
    )


def _table(media_type: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' *' if name in required else ''}</td><td>{escape(_kind(field))}</td>"
        f"<td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<details><summary><code>{escape(media_type)}</code></summary><table>{rows}</table></details>"


def _kind(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"] if option.get("type") != "null")
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("format") or field.get("type") or "object")
