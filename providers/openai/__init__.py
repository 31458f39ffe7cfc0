"""OpenAI, and every engine that speaks its Images API (https://platform.openai.com/docs/api-reference/images)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from providers.core.errors import UpstreamError
from providers.core.http import JSON, Event, Form, HTTPRequest, HTTPResponse, Part
from providers.core.plan import Call
from providers.core.prices import TOKENS, Usage
from providers.core.provider import Access, Completed, Credential, Failed, Image, Link, Outcome, Partial, Provider
from providers.core.types import Operation, ResponseFormat
from providers.kit.failures import failure, request_id, unreadable
from providers.kit.lift import Lifted, LiftError, lift
from providers.openai import errors
from providers.openai.rows import MODELS

NAME: Final = "openai"
_OK: Final = 200
RESOLVED: Final = ("size", "quality", "background", "output_format")


class OpenAI:
    """The adapter. Generations go as JSON, edits as a form with `image[]` parts."""

    name = NAME
    models = MODELS
    failures = errors.ALL
    access = Access(
        credentials=(Credential("OPENAI_API_KEY", "https://api.openai.com/v1"),),
        base_url_env="OPENAI_BASE_URL",
        bare_origin=False,
        probe="/models",
    )

    def request(self, call: Call) -> HTTPRequest:
        """One call as OpenAI takes it."""
        headers = {"accept": "text/event-stream"} if call.stream else {}
        fields = dict(_fields(call))
        if call.operation is Operation.GENERATE:
            return HTTPRequest(method="POST", url="/images/generations", headers=headers, body=JSON(fields))
        parts = [Part(name, _text(value)) for name, value in fields.items()]
        # OpenAI judges a part by its Content-Type (openai-node#1468), so the sniffed one is declared.
        many = "image[]" if len(call.images) > 1 else "image"
        parts += [Part(many, image.data, image.format, _filename(i, image)) for i, image in enumerate(call.images)]
        if call.mask is not None:
            parts.append(Part("mask", call.mask.data, call.mask.format))
        return HTTPRequest(method="POST", url="/images/edits", headers=headers, body=Form(parts))

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        """The images of an answer, or its failure."""
        if response.status != _OK:
            return Failed(errors.of_response(response))
        try:
            document = lift(response.body)
        except LiftError:
            return Failed(unreadable(response, provider=NAME))
        if not isinstance(document, dict):
            return Failed(unreadable(response, provider=NAME))
        # Azure answers a filtered prompt with an error beside `created` (its documentation of 2026).
        if isinstance(document.get("error"), dict):
            return Failed(errors.of_error(document["error"], response))
        data = document.get("data")
        images = _images(data if isinstance(data, list) else ())
        if not images:
            return Failed(failure(UpstreamError, response, provider=NAME, message="openai delivered no image."))
        return Completed(
            images=images,
            usage=_usage(document.get("usage")),
            failures=_missing(call.n - len(images)),
            upstream_request_id=request_id(response),
            resolved=_resolved(document),
        )

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - the protocol's
        """Partial images and the completed one; an error event whatever its shape."""
        try:
            document = lift(event.data)
        except LiftError:
            document = None
        if not isinstance(document, dict):
            return None if bytes(event.data) == b"[DONE]" else Failed(_broken())
        kind = str(document.get("type") or event.name)
        if kind == "error" or isinstance(document.get("error"), dict):
            error = document.get("error")
            return Failed(errors.of_error(error if isinstance(error, dict) else document, HTTPResponse(status=500)))
        images = _images((document,))
        if kind.endswith(".partial_image") and images:
            index = document.get("partial_image_index")
            return Partial(image=images[0], index=index if isinstance(index, int) else 0)
        if kind.endswith(".completed") and images:
            return Completed(images=images, usage=_usage(document.get("usage")), resolved=_resolved(document))
        return Failed(_broken()) if kind.endswith(".completed") else None


def _fields(call: Call) -> Iterator[tuple[str, Any]]:
    yield "model", call.spec.wire_id
    yield "prompt", call.prompt
    yield "n", call.n
    if call.resolution.wire is not None:
        yield "size", str(call.resolution.wire)
    if call.quality is not None:
        yield "quality", call.quality
    yield from call.options.items()
    if call.end_user:
        yield "user", call.end_user
    # GPT models answer base64 and refuse the field; the DALL-E family answers links unless asked otherwise.
    if call.spec.output.native is ResponseFormat.URL:
        yield "response_format", ResponseFormat.B64_JSON.value
    if call.stream:
        yield "stream", True
        yield "partial_images", call.partial_images


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _filename(index: int, image: Any) -> str:
    return f"image-{index}.{image.format.suffix}"


def _images(items: Iterable[Any]) -> tuple[Image, ...]:
    found = []
    for item in items:
        if isinstance(item, dict) and (content := _content(item)) is not None:
            revised = item.get("revised_prompt")
            found.append(Image(content=content, revised_prompt=revised if isinstance(revised, str) else None))
    return tuple(found)


def _content(item: Mapping[str, Any]) -> Lifted | Link | None:
    """Base64 before a link: it needs no second request."""
    try:
        return Lifted.of(item.get("b64_json"))
    except LiftError:
        url = item.get("url")
        return Link(url) if isinstance(url, str) and url else None


def _missing(count: int) -> tuple[UpstreamError, ...]:
    return (UpstreamError("openai delivered fewer images than asked.", provider=NAME),) * count if count > 0 else ()


def _usage(usage: Any) -> Usage | None:
    """Tokens by kind; None when the answer has none, or not as whole numbers."""
    if not isinstance(usage, dict):
        return None
    details = _counts(usage.get("input_tokens_details"))
    outputs = _counts(usage.get("output_tokens_details"))
    totals = _counts(usage)
    if "input_tokens" not in totals or "output_tokens" not in totals:
        return None
    text = outputs.get("text_tokens", 0)
    return Usage(
        input_text=details.get("text_tokens", totals["input_tokens"] - details.get("image_tokens", 0)),
        input_image=details.get("image_tokens", 0),
        output_image=outputs.get("image_tokens", totals["output_tokens"] - text),
        output_text=text,
        input_total=totals["input_tokens"],
        output_total=totals["output_tokens"],
    )


def _counts(found: Any) -> Mapping[str, int]:
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in pairs if type(value) is int and 0 <= value <= TOKENS}


def _resolved(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: value for key in RESOLVED if isinstance(value := document.get(key), str) and value not in {"auto", ""}
    }


def _broken() -> UpstreamError:
    return UpstreamError("An event of openai's stream cannot be read.", provider=NAME)


PROVIDER: Final[Provider] = OpenAI()
