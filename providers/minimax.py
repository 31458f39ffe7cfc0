"""MiniMax image-01, by its native API: one endpoint for pictures from text and for subject references.

Documentation: https://platform.minimax.io/docs/api-reference/image-generation-t2i (read 2026-11-22)
Keys belong to a region: the default host is the international one, MINIMAX_BASE_URL moves it (mainland China:
https://api.minimaxi.com). MiniMax-H3-Image lives on `/v1/images/*`, whose bytes no first-hand source showed on
2026-11-22: it has no row until one does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from providers.core.errors import (
    Refused,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from providers.core.http import JSON, Event, HTTPRequest, HTTPResponse, Inline
from providers.core.options import Choice, Flag, IntRange
from providers.core.plan import Call
from providers.core.prices import Prices
from providers.core.provider import Access, Completed, Credential, Failed, Image, Link, Outcome, Partial, Provider
from providers.core.sizes import AspectRatios, FirstOf, PixelBounds
from providers.core.spec import ImageCount, Inputs, ModelSpec, Output, PromptLimit
from providers.core.types import AspectRatio, ImageFormat, Operation, ResponseFormat, Size
from providers.kit.failures import class_for, failure, request_id, unreadable
from providers.kit.lift import Lifted, LiftError, lift

VENDOR: Final = "minimax"
CHECKED: Final = date(2026, 11, 22)
_RATIOS: Final = {
    "1:1": "1024x1024",
    "16:9": "1280x720",
    "4:3": "1152x864",
    "3:2": "1248x832",
    "2:3": "832x1248",
    "3:4": "864x1152",
    "9:16": "720x1280",
}
_BOUNDS: Final = PixelBounds(
    multiple=8, min_edge=512, max_edge=2048, min_pixels=512**2, max_pixels=2048**2, max_elongation=4
)
# The wire takes the Chinese labels only.
STYLES: Final = {"comic": "漫画", "energetic": "元气", "medieval": "中世纪", "watercolor": "水彩"}

_IMAGE_01: Final = ModelSpec(
    id="image-01",
    provider=VENDOR,
    source="https://platform.minimax.io/docs/api-reference/image-generation-t2i",
    checked=CHECKED,
    operations=frozenset(Operation),
    prompt=PromptLimit(1500),
    sizes=FirstOf((AspectRatios.of({**_RATIOS, "21:9": "1344x576"}, only_table=True), _BOUNDS)),
    n=ImageCount(per_request=9, per_call=9, lenient=10),
    # The range of seeds is not documented; resellers give this one (2026-11-22).
    options={"seed": IntRange(0, 2**31 - 1), "prompt_extend": Flag(), "watermark": Flag()},
    # How many references are taken is said differently everywhere; one is always right (2026-11-22).
    inputs=Inputs(count=1, max_bytes=9_999_999, formats=(ImageFormat.JPEG, ImageFormat.PNG), upright=True),
    output=Output(formats=(ImageFormat.JPEG,), native=ResponseFormat.B64_JSON),
    prices=Prices.flat(0.0035, source="billing tables of third parties, unconfirmed", checked=CHECKED),
    created=date(2025, 2, 28),
    note="An edit is a subject reference: a new picture of the same person, not the old one changed.",
)

MODELS: Final = (
    _IMAGE_01,
    replace(
        _IMAGE_01,
        id="image-01-live",
        source="https://platform.minimaxi.com/docs/api-reference/image-generation-t2i",
        sizes=AspectRatios.of(_RATIOS),
        options={**_IMAGE_01.options, "style": Choice.of(*STYLES, *STYLES.values())},
        prices=None,
    ),
)

CODES: Final[dict[str, type[UpstreamFailure]]] = {
    "1000": UpstreamError,
    "1001": UpstreamTimeout,
    "1002": UpstreamRateLimited,
    "1004": UpstreamAuth,
    "1008": UpstreamQuota,
    "1024": UpstreamError,
    "1026": Refused,
    "1027": Refused,
    "1028": UpstreamQuota,
    "1030": UpstreamQuota,
    "1033": UpstreamError,
    "1039": UpstreamRateLimited,
    "1041": UpstreamRateLimited,
    "1042": UpstreamBadRequest,
    "2013": UpstreamBadRequest,
    "2038": UpstreamAuth,
    "2045": UpstreamRateLimited,
    "2049": UpstreamAuth,
    "2056": UpstreamQuota,
    "2061": UpstreamModelMissing,
}
STAGES: Final = {1026: "input", 1027: "output"}
# The documents call these rate limits, the official command line a content filter: the message decides (2026-11-22).
_DISPUTED: Final = frozenset({1002, 1039})
_PROMPT_AT_FAULT: Final = frozenset({1026, 1042})
_OTHER_REGION: Final = " A key of another region is refused in the same way: see MINIMAX_BASE_URL."
_LAST_NUMBER: Final = re.compile(r"\((\d{4})\)\s*$")
_NUMBER: Final = re.compile(r"-?\d{1,9}")
_ERRORS_FROM: Final = 400
FAILURES: Final = {str(code): kind for code, kind in CODES.items()}


class MiniMax:
    """Answers nearly everything, failures included, with HTTP 200: `base_resp` says what it is."""

    name = VENDOR
    models = MODELS
    failures = FAILURES
    access = Access(
        credentials=(Credential("MINIMAX_API_KEY", "https://api.minimax.io"),), base_url_env="MINIMAX_BASE_URL"
    )

    def request(self, call: Call) -> HTTPRequest:
        """`base64` is asked for: links would need a second fetch from a storage of theirs, and die in 24 hours."""
        document = {
            "model": call.spec.wire_id,
            "prompt": call.prompt,
            **_shape(call.resolution.wire),
            "n": call.n,
            "response_format": "base64",
            **_options(call),
        }
        if call.images:
            first = call.images[0]
            data_url = Inline(first.data, prefix=f"data:{first.format.media_type};base64,")
            document["subject_reference"] = [{"type": "character", "image_file": data_url}]
        return HTTPRequest(method="POST", url="/v1/image_generation", body=JSON(document))

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        try:
            document = lift(response.body)
        except LiftError:
            return Failed(unreadable(response, provider=VENDOR))
        if not isinstance(document, dict):
            return Failed(unreadable(response, provider=VENDOR))
        answer = _Answer(call=call, response=response, document=document)
        error = answer.error()
        return Failed(error) if error else answer.images()

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - the protocol's
        return None


def _shape(wire: object) -> dict[str, Any]:
    """A ratio or two edges, never both: upstream lets the ratio win, its own tools the edges (2026-11-22)."""
    if isinstance(wire, AspectRatio):
        return {"aspect_ratio": str(wire)}
    return {"width": wire.width, "height": wire.height} if isinstance(wire, Size) else {}


def _options(call: Call) -> dict[str, Any]:
    names = {"seed": "seed", "prompt_extend": "prompt_optimizer", "watermark": "aigc_watermark"}
    found: dict[str, Any] = {names[name]: value for name, value in call.options.items() if name in names}
    if "style" in call.options:
        style = call.options["style"]
        found["style"] = {"style_type": STYLES.get(style, style)}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    call: Call
    response: HTTPResponse
    document: dict[str, Any] = field(repr=False)

    @property
    def id(self) -> str | None:
        """The trace id: `id`, `request_id` of the other error shape, or the header."""
        said = (self.document.get(name) for name in ("id", "request_id"))
        return next((value for value in said if isinstance(value, str) and value), None) or request_id(self.response)

    def error(self) -> UpstreamFailure | None:
        """What went wrong by either shape of error; None when the answer claims success."""
        base, error = (_mapping(self.document.get(name)) for name in ("base_resp", "error"))
        code = _number(base.get("status_code"))
        if code:
            return self._coded(code, base.get("status_msg"))
        if error or self.response.status >= _ERRORS_FROM:
            message = error.get("message")
            match = _LAST_NUMBER.search(message) if isinstance(message, str) else None
            code = int(match[1]) if match else None
            return self._coded(code, message, said=error.get("type") or self.document.get("type"))
        if code is None:
            return unreadable(self.response, provider=VENDOR, why="has no status")
        return None

    def images(self) -> Outcome:
        """What was made. The counters of `metadata` come as strings, or not at all: the images are counted."""
        made = tuple(self._made())
        if not made:
            return Failed(self._failure(UpstreamError, "The answer of the upstream holds no image."))
        missing = self.call.n - len(made)
        text = "The upstream made fewer images than were asked, as it does when it withholds some."
        return Completed(
            images=made,
            failures=tuple(self._failure(UpstreamError, text) for _ in range(missing)),
            upstream_request_id=self.id,
        )

    def _made(self) -> Iterator[Image]:
        """Images as they were asked for, else as links."""
        data = _mapping(self.document.get("data"))
        inline = [Image(content=image) for image in map(_inline, _list(data.get("image_base64"))) if image]
        links = (url for url in _list(data.get("image_urls")) if isinstance(url, str))
        yield from inline or (Image(content=Link(url)) for url in links if url.startswith(("http://", "https://")))

    def _coded(self, code: int | None, message: object, said: object = None) -> UpstreamFailure:
        kind = CODES.get(str(code), class_for(self.response.status))
        text = message if isinstance(message, str) else ""
        if code in _DISPUTED and "sensitive" in text.lower():
            kind = Refused
        if kind is UpstreamAuth:
            text = (text or "The credential was refused.") + _OTHER_REGION
        return self._failure(kind, text, code=code if code is not None else said)

    def _failure(self, kind: type[UpstreamFailure], message: str, code: object = None) -> UpstreamFailure:
        stage = STAGES.get(code, "unknown") if isinstance(code, int) else "unknown"
        error = failure(
            kind,
            self.response,
            provider=VENDOR,
            message=message,
            upstream_code=code,
            param="prompt" if code in _PROMPT_AT_FAULT else None,
            stage=stage if kind is Refused else None,
            upstream_request_id=self.id,
        )
        if kind is Refused and stage == "output":
            error.billed = True  # the picture was drawn; whether it costs money is not documented (2026-11-22)
        return error


def _inline(value: object) -> Lifted | None:
    if value == "":
        return None
    try:
        return Lifted.of(value)
    except LiftError:
        return None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> int | None:
    """A number that may come as a string; None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


PROVIDER: Final[Provider] = MiniMax()
