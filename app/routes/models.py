"""GET /v1/models and /v1/models/{id}: the rows, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request

from app.commands import catalog
from app.configured import Current
from app.errors import NotFound
from app.http.lost import nothing_at
from app.routes import describe
from providers.core.errors import ModelNotFound
from providers.kit.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The handlers and what they need."""

    current: Current
    clock: Clock

    def router(self) -> APIRouter:
        """Both routes, to be mounted with and without /v1."""
        router = APIRouter()
        listing, single = "The models that can be called now", "One model and its limits"
        router.add_api_route("/models", self.all, methods=["GET"], summary=listing, responses=describe.MODELS)
        path = "/models/{model:path}"
        router.add_api_route(path, self.one, methods=["GET"], summary=single, responses=describe.MODEL)
        router.add_api_route("/models", self.all, methods=["HEAD"], include_in_schema=False)
        router.add_api_route(path, self.one, methods=["HEAD"], include_in_schema=False)
        return router

    async def all(self, request: Request, *, all: bool = False) -> dict[str, Any]:  # noqa: A002 - the query's name
        """The models this caller can call now; with `?all=true` the whole catalogue."""
        configured = self.current.value
        caller = await configured.keyring.caller(request.headers, self.clock.time())
        return catalog.listed(configured.registry.specs if all else configured.registry.visible(caller))

    async def one(self, request: Request, model: str) -> dict[str, Any]:
        """One model by id, `provider/id` or alias; ids may hold slashes, raw or encoded."""
        configured = self.current.value
        caller = await configured.keyring.caller(request.headers, self.clock.time())
        if not model.strip("/"):
            raise NotFound(nothing_at(request.url.path))
        spec = configured.registry.spec(model)
        if spec is None or not caller.may_call(spec.id):
            raise ModelNotFound(f"The model '{model[:100]}' does not exist.", param="model")
        return catalog.model(spec)
