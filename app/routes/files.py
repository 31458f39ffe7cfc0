"""GET /files/{name}: images kept for their links. Signed and expiring; images only, never anything that runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.errors import NotFound, Overloaded, RangeNotSatisfiable
from app.http.edge import respond
from app.routes import describe
from app.store import ImageStore, Links, StoreError
from providers.core.errors import PermissionDenied

SAFE: Final = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, max-age=300",
    "cross-origin-resource-policy": "cross-origin",
    "accept-ranges": "bytes",
}
RANGE: Final = re.compile(r"bytes=[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The handler and what it needs."""

    store: ImageStore
    links: Links

    def router(self) -> APIRouter:
        """One route."""
        router = APIRouter()
        path, summary = "/files/{name}", "An image by its link"
        router.add_api_route(
            path, self.get, methods=["GET"], summary=summary, responses=describe.FILE, response_class=Response
        )
        router.add_api_route(path, self.get, methods=["HEAD"], include_in_schema=False)
        return router

    async def get(self, request: Request, name: str, expires: str = "", signature: str = "") -> Response:
        """The image or a byte range of it. 403 for a bad, missing or expired signature, 404 for an unknown name."""
        if not self.links.valid(name, expires, signature):
            raise PermissionDenied("The link's signature is missing, wrong or expired.")
        try:
            return await self._answer(name, request)
        except FileNotFoundError:
            raise NotFound("The image is not kept any more.") from None
        except StoreError as error:
            raise Overloaded("The storage cannot be reached now.") from error

    async def _answer(self, name: str, request: Request) -> Response:
        stored = await self.store.get(name)
        if stored is None:
            raise FileNotFoundError(name)
        etag = f'"{name}"'  # a name is given once and its bytes never change
        asked = request.headers.get("range")
        if request.method == "HEAD" or request.headers.get("if-range", etag) != etag:  # RFC 9110, 14.2: GET alone
            asked = None
        headers = {**SAFE, "etag": etag}
        try:
            part = byte_range(asked, stored.size)
        except RangeNotSatisfiable as error:
            answer: Response = respond(error)
            answer.headers["content-range"] = f"bytes */{stored.size}"
            return answer
        sent = range(stored.size) if part is None else part
        headers["content-length"] = str(len(sent))
        if part is not None:
            headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{stored.size}"
        status = 200 if part is None else 206
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=stored.format.media_type)
        body = await stored.read(sent.start, sent.stop)
        return StreamingResponse(body, status, headers, stored.format.media_type)


def byte_range(header: str | None, size: int) -> range | None:
    """The bytes that a Range header asks of a file of `size` bytes; None is the whole file, without a range.

    What is no single range of bytes is passed over (RFC 9110, section 14.2). Raises RangeNotSatisfiable.
    """
    found = RANGE.fullmatch(header or "")
    if found is None:
        return None
    first, last, suffix = (int(text) if text else None for text in found.groups())
    if first is None:
        start, stop = max(0, size - (suffix or 0)), size
    elif last is not None and last < first:
        return None
    else:
        start, stop = first, size if last is None else min(last + 1, size)
    if start >= size:
        raise RangeNotSatisfiable(f"The image has {size} bytes.")
    return range(start, stop)
