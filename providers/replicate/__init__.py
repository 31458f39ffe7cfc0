"""Replicate: https://replicate.com/docs/reference/http (checked 2026-11-22).

A prediction is submitted to its model, looked at until it is done, and names its results by links of about an hour.
Results are WebP unless asked for otherwise; Pinhole always asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    Link,
    Outcome,
    Partial,
    Poll,
    Provider,
)
from providers.core.spec import ModelSpec
from providers.core.types import AspectRatio, ImageFormat, InputImage, Operation, Size
from providers.kit.failures import unreadable
from providers.kit.lift import Lifted, LiftError, lift
from providers.replicate import errors
from providers.replicate.rows import MODELS, SCHEMAS, VENDOR, Schema

FORMATS: Final[Mapping[str, str]] = {"jpeg": "jpg"}
OPTIONS: Final[Mapping[str, str]] = {"seed": "seed", "prompt_extend": "prompt_upsampling"}
FULL: Final = 100  # OpenAI's output_compression when none is said; the upstream's own is 80
LOOK_SECONDS: Final = 0.5
PENDING: Final = frozenset({"starting", "queued"})
UNDER_WAY: Final = PENDING | {"processing"}
ENDED: Final = frozenset({"canceled", "aborted"})
_ERRORS_FROM: Final = 400
_PREDICTION = re.compile(r"/predictions/([A-Za-z0-9_-]{1,64})$")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Replicate:
    """Submits predictions and reads them."""

    name: str = VENDOR
    failures = errors.BY_CODE
    models: tuple[ModelSpec, ...] = MODELS
    access: Access = Access(
        credentials=(Credential("REPLICATE_API_TOKEN", "https://api.replicate.com"),),
        base_url_env="REPLICATE_BASE_URL",
        probe="/v1/account",
    )

    def request(self, call: Call) -> HTTPRequest:
        schema = SCHEMAS.get(call.spec.endpoint, Schema())
        return HTTPRequest(
            method="POST",
            url=f"/v1/models/{call.spec.wire_id}/predictions",
            body=JSON({"input": dict(_input(call, schema))}),
        )

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        try:
            document = lift(response.body)
        except LiftError:
            document = None
        if not isinstance(document, dict):
            return Failed(unreadable(response, provider=VENDOR))
        if response.status >= _ERRORS_FROM:
            return Failed(errors.read(document, response, VENDOR))
        status, task_id = document.get("status"), _task_id(document)
        if status == "succeeded":
            return _done(call, document, response, task_id)
        if isinstance(status, str) and status in UNDER_WAY and task_id:
            return _look_again(task_id, is_pending=status in PENDING)
        return Failed(_undone(status, document, response, task_id))

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - no stream
        return None


def _input(call: Call, schema: Schema) -> Iterator[tuple[str, Any]]:
    yield "prompt", call.prompt
    yield from _size(call, schema)
    yield from ((field, call.options[param]) for param, field in OPTIONS.items() if param in call.options)
    if "seed" in call.options:
        yield from schema.with_seed.items()
    if schema.count:
        yield schema.count, call.n
    yield from _encoding(call)
    yield from _pictures(call, schema)


def _size(call: Call, schema: Schema) -> Iterator[tuple[str, Any]]:
    wire = call.resolution.wire
    if isinstance(wire, Size):
        yield from {"aspect_ratio": "custom", "width": wire.width, "height": wire.height}.items()
    elif isinstance(wire, AspectRatio):
        yield "aspect_ratio", str(wire)
    elif call.operation is Operation.EDIT:
        yield from schema.shape_of_input.items()
    elif schema.ratio:
        yield "aspect_ratio", "1:1"


def _encoding(call: Call) -> Iterator[tuple[str, Any]]:
    asked = call.options.get("output_format", ImageFormat.PNG.value)
    yield "output_format", FORMATS.get(asked, asked)
    if call.spec.output.compression and asked != ImageFormat.PNG.value:
        yield "output_quality", call.options.get("output_compression", FULL)


def _pictures(call: Call, schema: Schema) -> Iterator[tuple[str, Any]]:
    if schema.images and call.images:
        yield schema.images, [_inline(image) for image in call.images]
    elif schema.image and call.images:
        yield schema.image, _inline(call.images[0])
    if schema.mask and call.mask is not None:
        yield schema.mask, _inline(call.mask)


def _inline(image: InputImage) -> Inline:
    return Inline(image.data, prefix=f"data:{image.format.media_type};base64,")


def _task_id(document: Mapping[str, Any]) -> str:
    """The prediction's id, of the address to look at or else its own; '' when neither is sound."""
    urls, own = document.get("urls"), document.get("id")
    address = urls.get("get") if isinstance(urls, Mapping) else None
    found = _PREDICTION.search(address) if isinstance(address, str) else None
    if found:
        return found[1]
    return own if isinstance(own, str) and _ID.fullmatch(own) else ""


def _look_again(task_id: str, *, is_pending: bool) -> Poll:
    """`urls.get` below our own base URL, so that neither a proxy nor an answer sends the credential elsewhere.

    What runs already costs, cancelled or not: only a prediction that has not begun can be cancelled.
    """
    path = f"/v1/predictions/{task_id}"
    return Poll(
        request=HTTPRequest(method="GET", url=path),
        after=LOOK_SECONDS,
        task_id=task_id,
        cancel=HTTPRequest(method="POST", url=f"{path}/cancel") if is_pending else None,
    )


def _undone(status: object, document: Mapping[str, Any], response: HTTPResponse, task_id: str) -> UpstreamFailure:
    if status == "failed":
        return errors.broken(document.get("error"), response, VENDOR, task_id)
    if isinstance(status, str) and status in ENDED:
        return errors.ended(status, response, VENDOR, task_id)
    return unreadable(response, provider=VENDOR, why="names no prediction")


def _done(call: Call, document: Mapping[str, Any], response: HTTPResponse, task_id: str) -> Outcome:
    """The results as links, or as data URLs of small ones; a batch may be shorter than what was asked."""
    output = document.get("output")
    listed = output if isinstance(output, list) else [output]
    images = tuple(Image(content=content) for content in map(_content, listed) if content is not None)[: call.n]
    if not images:
        return Failed(errors.nothing_made(document.get("logs"), response, VENDOR, task_id))
    missing = call.n - len(images)
    return Completed(
        images=images,
        failures=tuple(errors.withheld(response, VENDOR, task_id) for _ in range(missing)),
        upstream_request_id=task_id or None,
    )


def _content(value: object) -> Link | Lifted | None:
    if isinstance(value, str) and re.match(r"https?://", value):
        return Link(value)
    if isinstance(value, str) and not value.startswith("data:"):
        return None
    try:
        content = Lifted.of(value)
    except LiftError:
        return None
    return content if content.size else None


PROVIDER: Final[Provider] = Replicate()
