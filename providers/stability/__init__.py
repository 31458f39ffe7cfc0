"""Stability AI: https://platform.stability.ai/docs/api-reference (v2beta, checked 2026-11-22).

Always multipart, every text a part without a file name; answers are asked for as JSON, which says whether a picture
was filtered. Not here: relighting, control and upscale services, and v1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from providers.core.errors import Refused, UpstreamError, UpstreamFailure
from providers.core.http import Event, Form, HTTPRequest, HTTPResponse, Part
from providers.core.plan import Call
from providers.core.provider import Access, Completed, Credential, Failed, Image, Outcome, Partial, Provider
from providers.core.spec import ModelSpec
from providers.core.types import AspectRatio, ImageFormat, Operation, Size
from providers.kit.failures import failure, request_id, unreadable
from providers.kit.lift import Lifted, LiftError, lift
from providers.stability import errors
from providers.stability.canvas import Margins
from providers.stability.rows import MODELS, SERVICES, VENDOR, Service

STRENGTH: Final = "0.7"  # 0 keeps the picture, 1 ignores it; required, without a default upstream
NAMES: Final[Mapping[str, str]] = {"negative_prompt": "negative_prompt", "seed": "seed", "style": "style_preset"}
SUCCESS: Final = "SUCCESS"
FILTERED: Final = "CONTENT_FILTERED"
_ERRORS_FROM: Final = 400


class Stability:
    """Builds forms and reads `{"image", "finish_reason", "seed"}`."""

    name: str = VENDOR
    models: tuple[ModelSpec, ...] = MODELS
    failures = errors.BY_NAME
    access: Access = Access(
        credentials=(Credential("STABILITY_API_KEY", "https://api.stability.ai"),),
        base_url_env="STABILITY_BASE_URL",
        probe="/v1/user/balance",
    )

    def request(self, call: Call) -> HTTPRequest:
        service = SERVICES.get(call.spec.endpoint, Service())
        texts = (Part(name, value) for name, value in _texts(call, service))
        return HTTPRequest(
            method="POST",
            url=call.spec.endpoint,
            headers={"accept": "application/json"},
            body=Form((*texts, *_files(call))),
        )

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:  # noqa: ARG002 - the protocol's
        try:
            document = lift(response.body)
        except LiftError:
            document = None
        if not isinstance(document, dict):
            return Failed(unreadable(response, provider=VENDOR))
        if response.status >= _ERRORS_FROM:
            return Failed(errors.read(document, response, VENDOR))
        reason = document.get("finish_reason", SUCCESS)
        if reason != SUCCESS:
            return Failed(_unfinished(reason, response))
        return _delivered(document, response)

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - no stream
        return None


def _texts(call: Call, service: Service) -> Iterator[tuple[str, str]]:
    editing = call.operation is Operation.EDIT
    if service.names_model:
        yield "model", call.spec.wire_id
        yield "mode", "image-to-image" if editing else "text-to-image"
    if call.spec.prompt.used:
        yield "prompt", call.prompt
    if service.search:
        yield service.search, call.options["search_prompt"]
    yield from _size(call)
    for param, field in NAMES.items():
        if param in call.options:
            yield field, str(call.options[param])
    if editing and service.strength:
        yield "strength", STRENGTH
    if service.grow_mask:
        yield "grow_mask", "0"  # upstream's 5 would paint beyond the caller's mask
    yield "output_format", str(call.options.get("output_format", ImageFormat.PNG.value))


def _size(call: Call) -> Iterator[tuple[str, str]]:
    wire = call.resolution.wire
    if isinstance(wire, AspectRatio):
        yield "aspect_ratio", str(wire)
    elif isinstance(wire, Size) and call.images:
        margins = Margins.between(call.images[0].size, wire)
        for side in ("left", "right", "up", "down"):
            if pixels := getattr(margins, side):
                yield side, str(pixels)


def _files(call: Call) -> Iterator[Part]:
    for image in call.images:
        yield Part("image", image.data, image.format)
    if call.mask is not None:
        yield Part("mask", call.mask.data, ImageFormat.PNG)


def _unfinished(reason: object, response: HTTPResponse) -> UpstreamFailure:
    """A filtered picture is blurred, comes with status 200 and counts as made; it is never handed out."""
    if reason != FILTERED:
        code = reason if isinstance(reason, str) else None
        message = "The provider did not finish the picture."
        return failure(UpstreamError, response, provider=VENDOR, message=message, upstream_code=code)
    message = "The provider filtered the picture that it made."
    refused = failure(Refused, response, provider=VENDOR, message=message, upstream_code=FILTERED, stage="output")
    refused.billed = True
    return refused


def _delivered(document: Mapping[str, Any], response: HTTPResponse) -> Outcome:
    try:
        content = Lifted.of(document.get("image"))
    except LiftError:
        return Failed(unreadable(response, provider=VENDOR, why="holds no image"))
    if not content.size:
        return Failed(unreadable(response, provider=VENDOR, why="holds no image"))
    return Completed(images=(Image(content=content),), upstream_request_id=request_id(response))


PROVIDER: Final[Provider] = Stability()
