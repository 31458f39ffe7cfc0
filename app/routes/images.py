"""POST /v1/images/generations and /v1/images/edits, and the dry run of both: parse, run the pipeline, render."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from app import errors, schemas
from app.auth import Caller
from app.config import Config
from app.configured import Current
from app.explain import explanation
from app.http import bodies, edge, forms, inputs
from app.http.arrival import Arrival
from app.pipeline import Pipeline
from app.routes import describe
from app.routes.attend import Attendance
from app.runs import fingerprint
from app.settings import Settings
from app.ticket import Ticket
from providers.core.types import ImageRequest, Operation, Policy, ResponseFormat
from providers.kit.clock import Clock
from providers.kit.lift import Lifted
from providers.kit.room import Room
from providers.kit.tokens import token

KEY_LENGTH: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The handlers and what they need."""

    pipeline: Pipeline
    current: Current
    fetcher: inputs.Fetcher
    settings: Settings
    clock: Clock
    attendance: Attendance
    pace: bodies.Pace = bodies.PACE
    room: Room = forms.MEMORY

    def router(self) -> APIRouter:
        """The four routes, to be mounted with and without /v1."""
        router = APIRouter()
        for path, operation, body in (
            ("generations", Operation.GENERATE, describe.GENERATION),
            ("edits", Operation.EDIT, describe.EDIT),
        ):
            for suffix, explain in (("", False), ("/explain", True)):
                router.add_api_route(
                    f"/images/{path}{suffix}",
                    _endpoint(self._handler(operation, explain=explain)),
                    methods=["POST"],
                    response_class=Response,
                    openapi_extra=body,
                    responses=describe.EXPLAINED if explain else describe.ANSWERS,
                    summary=describe.SUMMARY[operation, explain],
                    operation_id=f"{operation.value}{'_explain' if explain else ''}",
                )
        return router

    def azure(self) -> APIRouter:
        """Both routes where the OpenAI SDK's Azure class looks for them (openai-python 3.54).

        The path names the model; `api-version` is not read.
        """
        router = APIRouter(prefix="/openai/deployments/{model:path}", include_in_schema=False)
        for path, operation in (("generations", Operation.GENERATE), ("edits", Operation.EDIT)):
            handler = _endpoint(self._handler(operation, explain=False))
            router.add_api_route(f"/images/{path}", handler, methods=["POST"], response_class=Response)
        return router

    def doors(self) -> dict[edge.Door, edge.Handler]:
        """The two handlers that make images, by method and path, for the edge to call without a detour."""
        return {
            ("POST", f"{prefix}/images/{path}"): self._handler(operation, explain=False)
            for path, operation in (("generations", Operation.GENERATE), ("edits", Operation.EDIT))
            for prefix in ("", "/v1")
        }

    def _handler(self, operation: Operation, *, explain: bool) -> edge.Handler:
        async def handle(arrival: Arrival) -> Response:
            ticket = await self._ticket(arrival, operation, repeats=not explain)
            if explain:
                route, plan = self.pipeline.plan(ticket)
                return JSONResponse(explanation(route, plan, ticket.configured.registry.vendor(route)))
            return await self.attendance.attend(arrival, ticket)

        return handle

    async def _ticket(self, arrival: Arrival, operation: Operation, *, repeats: bool) -> Ticket:
        """`repeats`: with what its repeats are recognised by."""
        configured = self.current.value
        caller = await configured.keyring.caller(arrival.headers, self.clock.time())
        arrival.state["caller"] = caller.id
        started = self.clock.now()
        wish = await self._read(arrival, operation, caller)
        if arrival.model:
            wish = replace(wish, model=arrival.model)
        return Ticket(
            request_id=token(),
            caller=caller,
            request=wish,
            form=_form(arrival, wish, caller, configured.config),
            configured=configured,
            started=started,
            seconds=min(self._seconds(arrival), configured.registry.patience(wish, caller)),
            fallback=arrival.headers.get("pinhole-fallback", "").strip().lower() != "none",
            label=arrival.label,
            fingerprint=fingerprint(wish) if repeats else "",
            idempotency=_key(arrival.headers) if repeats else "",
        )

    async def _read(self, arrival: Arrival, operation: Operation, caller: Caller) -> ImageRequest:
        policy = self._policy(arrival, caller)
        forbidden = not caller.emulation
        if operation is Operation.EDIT and bodies.media_type(arrival.headers) == bodies.FORM_TYPE:
            upload = await bodies.read_form(arrival, self.settings.max_body_bytes, self.pace, room=self.room)
            fields = schemas.from_form(upload.fields)
            images, mask = await inputs.from_upload(upload)
        elif operation is Operation.EDIT:
            limit = self.settings.max_body_bytes
            document = plain(await bodies.read_json(arrival, limit, self.pace, also=bodies.FORM_TYPE, room=self.room))
            fields = schemas.from_json(document)
            images, mask = await inputs.from_references(document, self.fetcher, self.room)
        else:
            fields = schemas.from_json(plain(await bodies.read_json(arrival, bodies.GENERATION_BYTES, self.pace)))
            images, mask = (), None
        return schemas.image_request(
            fields, operation, policy=policy, images=images, mask=mask, forbid_emulation=forbidden
        )

    def _policy(self, arrival: Arrival, caller: Caller) -> Policy:
        asked = arrival.headers.get("pinhole-policy", "").strip().lower()
        if asked and asked not in set(Policy):
            raise errors.BadInput(
                f"Pinhole-Policy is '{asked[:20]}'; allowed: strict, lenient.", code="invalid_value"
            )
        return Policy(asked) if asked else caller.policy or self.settings.policy

    def _seconds(self, arrival: Arrival) -> float:
        """The gateway's deadline, shortened by the caller's own and by what its SDK will wait."""
        asked = [self.settings.deadline_seconds]
        given = arrival.headers.get("pinhole-deadline")
        if given is not None:
            if (seconds := _number(given)) is None or seconds <= 0:
                raise errors.BadInput("Pinhole-Deadline must be a number of seconds above 0.", code="invalid_value")
            asked.append(seconds)
        given = arrival.headers.get("x-stainless-read-timeout")
        if given is not None and (patience := _number(given)) is not None and patience > 0:
            asked.append(max(1.0, patience - 2))
        return min(asked)


def _endpoint(handler: edge.Handler) -> Callable[[Request], Awaitable[Response]]:
    """A handler as FastAPI calls it."""

    async def handle(request: Request) -> Response:
        return await handler(Arrival.of(request))

    return handle


def _form(arrival: Arrival, wish: ImageRequest, caller: Caller, config: Config) -> ResponseFormat | None:
    """What the caller said, else its key's, else the r9s SDK's habit, else the config's; None is the row's.

    Events carry base64 unless a link was asked for.
    """
    if wish.response_format or caller.response_format:
        return wish.response_format or caller.response_format
    if is_r9s(arrival.headers):
        return ResponseFormat.URL
    if wish.stream:
        return ResponseFormat.B64_JSON
    return ResponseFormat(config.response_format) if config.response_format else None


def _key(headers: Mapping[str, str]) -> str:
    """A digest of the Idempotency-Key, '' without one."""
    key = headers.get("idempotency-key") or ""
    if len(key) > KEY_LENGTH or not key.isprintable():
        message = f"Idempotency-Key must be 1 to {KEY_LENGTH} printable characters."
        raise errors.BadInput(message, code="invalid_value")
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


def plain(document: Any) -> Any:
    """The document with lifted strings outside of the images as text again: a prompt may look like base64."""
    if not isinstance(document, dict):
        return document
    return {
        key: value.text if isinstance(value, Lifted) and key not in {"images", "mask"} else value
        for key, value in document.items()
    }


def is_r9s(headers: Mapping[str, str]) -> bool:
    """Whether the caller is the r9s SDK (its user agent ends in its name; r9s 0.9.0, 2026-11-22)."""
    return "r9s" in headers.get("user-agent", "")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
