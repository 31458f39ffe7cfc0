"""GET /files/{name}: images kept for their links. Signed and expiring; images only, never anything that runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from app.errors import NotFound
from app.store import ImageStore, Links
from providers.core.errors import PermissionDenied

SAFE: Final = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, max-age=300",
    "cross-origin-resource-policy": "cross-origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The handler and what it needs."""

    store: ImageStore
    links: Links

    def router(self) -> APIRouter:
        """One route."""
        router = APIRouter()
        router.add_api_route("/files/{name}", self.get, methods=["GET"], summary="An image by its link")
        return router

    async def get(self, name: str, expires: str = "", signature: str = "") -> Response:
        """The image. 403 for a bad, missing or expired signature; 404 for an unknown name."""
        if not self.links.valid(name, expires, signature):
            raise PermissionDenied("The link's signature is missing, wrong or expired.")
        stored = await self.store.get(name)
        if stored is None:
            raise NotFound("The image is not kept any more.")
        media_type = stored.format.media_type
        if stored.path is not None:
            return FileResponse(stored.path, media_type=media_type, headers=SAFE)
        return Response(stored.data, media_type=media_type, headers=SAFE)
