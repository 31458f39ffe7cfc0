"""/admin: keys and usage, for the admin key alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from app.config import KeyFields
from app.configured import Current
from app.http import bodies
from app.http.arrival import Arrival
from app.keys import Keys
from app.ledger import Ledger
from app.routes import describe
from app.usage import as_csv, usage
from providers.core.errors import InvalidRequest, Violation
from providers.kit.clock import Clock

Since = Annotated[str, Query(alias="from", description="A day or an ISO time, UTC; thirty days ago when left out.")]
Until = Annotated[str, Query(alias="to", description="A day (included) or an ISO time, UTC; now when left out.")]
Group = Annotated[str, Query(description="key, model, provider or user.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The handlers and what they need."""

    current: Current
    keys: Keys
    ledger: Ledger
    clock: Clock

    def router(self) -> APIRouter:
        """Five routes."""
        router = APIRouter(prefix="/admin")
        for path, handler, method, summary in (
            ("/keys", self.list, "GET", "All caller keys, without secrets"),
            ("/keys/{key_id}", self.revoke, "DELETE", "End a caller key"),
            ("/usage", self.usage, "GET", "What was used, by group"),
        ):
            router.add_api_route(path, handler, methods=[method], summary=summary, responses=describe.ADMIN)
        router.add_api_route(
            "/keys",
            self.create,
            methods=["POST"],
            summary="Make a caller key",
            responses=describe.ADMIN,
            openapi_extra=describe.KEY,
        )
        router.add_api_route(
            "/usage.csv",
            self.usage_csv,
            methods=["GET"],
            summary="The same as CSV",
            responses=describe.ADMIN_CSV,
            response_class=Response,
        )
        return router

    async def create(self, request: Request) -> dict[str, Any]:
        """A new key; the answer is the only time its secret is shown."""
        self.current.value.keyring.admin(request.headers)
        document = await bodies.read_json(Arrival.of(request), bodies.GENERATION_BYTES)
        try:
            fields = KeyFields.model_validate_json(_text(document))
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
            found = [(".".join(map(str, problem["loc"])) or "body", problem["msg"]) for problem in problems]
            raise InvalidRequest(
                *(Violation(name, f"{name}: {why}.", "invalid_value") for name, why in found)
            ) from None
        return await self.keys.create(fields)

    async def list(self, request: Request) -> dict[str, Any]:
        """All keys that are not revoked."""
        self.current.value.keyring.admin(request.headers)
        return {"data": await self.keys.list()}

    async def revoke(self, request: Request, key_id: str) -> dict[str, Any]:
        """404 for an id that nobody has."""
        self.current.value.keyring.admin(request.headers)
        await self.keys.revoke(key_id)
        return {"id": key_id, "revoked": True}

    async def usage(
        self, request: Request, since: Since = "", until: Until = "", group_by: Group = "key"
    ) -> dict[str, Any]:
        """Sums by group and in total."""
        self.current.value.keyring.admin(request.headers)
        return await usage(self.ledger, self.clock.time(), since=since, until=until, group_by=group_by)

    async def usage_csv(
        self, request: Request, since: Since = "", until: Until = "", group_by: Group = "key"
    ) -> Response:
        """The rows of usage, a line each."""
        self.current.value.keyring.admin(request.headers)
        found = await usage(self.ledger, self.clock.time(), since=since, until=until, group_by=group_by)
        headers = {"content-disposition": 'attachment; filename="usage.csv"'}
        return Response(as_csv(found, group_by), media_type="text/csv; charset=utf-8", headers=headers)


def _text(document: Any) -> str:
    return json.dumps(document, default=str)
