"""Google's Gemini API: generateContent, one picture a call (https://ai.google.dev/gemini-api/docs/image-generation).

The host of API keys, v1beta: v1 did not know every field of images for long (2026-11-22).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from providers.core.errors import UpstreamFailure
from providers.core.http import JSON, Event, HTTPRequest, HTTPResponse, Inline
from providers.core.plan import Call
from providers.core.provider import (
    Access,
    Completed,
    Credential,
    Failed,
    Image,
    Outcome,
    Partial,
    Provider,
)
from providers.core.spec import ModelSpec
from providers.core.types import AspectRatio, Operation
from providers.gemini import answers, errors
from providers.gemini.rows import MODELS
from providers.kit.failures import unreadable
from providers.kit.lift import LiftError, lift

_FAILED_FROM: Final = 400


class Gemini:
    """The Gemini Developer API."""

    name = errors.NAME
    models: tuple[ModelSpec, ...] = MODELS
    failures = errors.ALL
    access = Access(
        credentials=(Credential("GEMINI_API_KEY", "https://generativelanguage.googleapis.com"),),
        base_url_env="GEMINI_BASE_URL",
        header="x-goog-api-key",
        scheme="",
        probe="/v1beta/models?pageSize=1",
    )

    def request(self, call: Call) -> HTTPRequest:
        images = [
            {"inlineData": {"mimeType": image.format.media_type, "data": Inline(image.data)}} for image in call.images
        ]
        document = {
            "contents": [{"role": "user", "parts": [*images, {"text": call.prompt}]}],
            "generationConfig": _generation(call),
        }
        return HTTPRequest(
            method="POST", url=f"/v1beta/models/{call.spec.wire_id}:generateContent", body=JSON(document)
        )

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        try:
            document = _unwrapped(lift(response.body))
        except LiftError:
            document = None
        if not isinstance(document, Mapping):
            return Failed(unreadable(response, provider=self.name))
        if error := document.get("error"):
            return Failed(errors.of_envelope(response, error))
        if response.status >= _FAILED_FROM:
            return Failed(unreadable(response, provider=self.name))
        return _read(call, response, document)

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - the protocol's
        return None


def _generation(call: Call) -> dict[str, Any]:
    shape, tier = _shape(call), _tier(call)
    image = {**({"aspectRatio": str(shape)} if shape else {}), **({"imageSize": tier} if tier else {})}
    return {
        # Pictures alone: with TEXT some models add words or a second picture (2026-11-22).
        "responseModalities": ["IMAGE"],
        **({"imageConfig": image} if image else {}),
        **({"seed": call.options["seed"]} if "seed" in call.options else {}),
    }


def _shape(call: Call) -> AspectRatio | None:
    """The shape to name. Unnamed, an edit of several pictures is said to follow the last; ours follows the first."""
    wire = call.resolution.wire
    if isinstance(wire, AspectRatio):
        return wire
    if call.operation is Operation.EDIT and len(call.images) > 1:
        nearest = call.spec.size_rule(call.operation).nearest(call.images[0].size).wire
        return nearest if isinstance(nearest, AspectRatio) else None
    return None


def _tier(call: Call) -> str | None:
    quality = call.spec.quality_rule(call.operation)
    return call.resolution.tier if quality and quality.sent else None


def _unwrapped(document: Any) -> Any:
    """Errors may come as the only element of a list."""
    return document[0] if isinstance(document, list) and len(document) == 1 else document


def _read(call: Call, response: HTTPResponse, document: Mapping[str, Any]) -> Completed | Failed:
    answer, counted = answers.read(document), answers.usage(document)
    identity = document.get("responseId")
    # A draft is a result only where the model ended normally without another: never past a refusal.
    pictures = answer.pictures[: call.n] or (answer.drafts[-1:] if answer.finish == "STOP" else ())
    if pictures:
        return Completed(
            images=tuple(Image(content=picture) for picture in pictures),
            usage=counted,
            upstream_request_id=identity if isinstance(identity, str) else None,
        )
    failed = _nothing(response, document, answer)
    # What was counted is charged, refusals included (2026-11-22).
    failed.billed = failed.billed or counted is not None
    failed.upstream_request_id = identity if isinstance(identity, str) else failed.upstream_request_id
    return Failed(failed)


def _nothing(response: HTTPResponse, document: Mapping[str, Any], answer: answers.Answer) -> UpstreamFailure:
    reason, why = answers.blocked(document)
    if reason:
        return errors.of_blocked_prompt(response, reason, why)
    return errors.of_finish(response, answer.finish, why=answer.why, text=answer.text)


PROVIDER: Final[Provider] = Gemini()
