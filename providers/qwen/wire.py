"""The four native endpoints and the two shapes of body that they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from providers.core.http import JSON, Buffer, HTTPRequest, Inline
from providers.core.plan import Call
from providers.core.types import ImageFormat, Size, nothing

_SERVICES: Final = "/api/v1/services/aigc"
# A request with this header where it does not belong is refused with 403, and so is one without it elsewhere.
_ASYNC: Final = {"X-DashScope-Async": "enable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a model lives and what its body looks like.

    `counted` says that the model knows `n`.
    """

    path: str
    is_async: bool
    body: Callable[[Call, Endpoint], dict[str, Any]]
    counted: bool = True
    fixed: Mapping[str, Any] = field(default_factory=nothing)


def compose(call: Call) -> HTTPRequest:
    """The request of a call."""
    endpoint = ENDPOINTS[call.spec.endpoint]
    document = {"model": call.spec.wire_id, **endpoint.body(call, endpoint)}
    headers = _ASYNC if endpoint.is_async else {}
    return HTTPRequest(method="POST", url=_SERVICES + endpoint.path, headers=headers, body=JSON(document))


def _prompted(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    """Prompt and negative prompt side by side in `input`."""
    return {"input": {"prompt": call.prompt, **_negative(call)}, "parameters": _parameters(call, endpoint)}


def _messages(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    """One message, images before the one text; the negative prompt is a parameter here."""
    content: list[dict[str, Any]] = [{"image": _inline(image.format, image.data)} for image in call.images]
    content.append({"text": call.prompt})
    return {
        "input": {"messages": [{"role": "user", "content": content}]},
        "parameters": {**_negative(call), **_parameters(call, endpoint)},
    }


def _several_images(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    body = _prompted(call, endpoint)
    body["input"]["images"] = [_inline(image.format, image.data) for image in call.images]
    return body


def _base_image(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    """One image and, where the caller has one, a mask: white is edited, black kept."""
    body = _prompted(call, endpoint)
    function = "description_edit_with_mask" if call.mask else "description_edit"
    body["input"] = {
        "function": function,
        **body["input"],
        "base_image_url": _inline(call.images[0].format, call.images[0].data),
    }
    if call.mask:
        body["input"]["mask_image_url"] = _inline(ImageFormat.PNG, call.mask.data)
    return body


def _negative(call: Call) -> dict[str, Any]:
    """An option by itself: its place depends on the endpoint, and in the wrong one it is ignored in silence."""
    return {"negative_prompt": call.options["negative_prompt"]} if "negative_prompt" in call.options else {}


def _parameters(call: Call, endpoint: Endpoint) -> dict[str, Any]:
    """The rest. `n` is sent though it be 1: several models make four unasked, and bill them."""
    found: dict[str, Any] = {**endpoint.fixed}
    if size := _size(call):
        found["size"] = f"{size.width}*{size.height}"
    if endpoint.counted:
        found["n"] = call.n
    found |= {name: call.options[name] for name in ("seed", "prompt_extend", "watermark") if name in call.options}
    if "style" in call.options:
        found["style"] = f"<{call.options['style']}>"
    return found


def _size(call: Call) -> Size | None:
    """The pixels to ask for: what the row promises, whatever upstream's default is; None where the model chooses."""
    wire = call.resolution.wire
    if wire is None:
        return call.resolution.pixels
    return wire if isinstance(wire, Size) else None


def _inline(kind: ImageFormat, data: Buffer) -> Inline:
    return Inline(data, prefix=f"data:{kind.media_type};base64,")


_MULTIMODAL: Final = "/multimodal-generation/generation"
_GENERATION: Final = "/image-generation/generation"
_FROM_IMAGES: Final = "/image2image/image-synthesis"
ENDPOINTS: Final[dict[str, Endpoint]] = {
    "text2image": Endpoint(path="/text2image/image-synthesis", is_async=True, body=_prompted),
    "multimodal": Endpoint(path=_MULTIMODAL, is_async=False, body=_messages),
    "multimodal-single": Endpoint(path=_MULTIMODAL, is_async=False, body=_messages, counted=False),
    "image-generation": Endpoint(path=_GENERATION, is_async=True, body=_messages),
    "image-generation-wan": Endpoint(path=_GENERATION, is_async=True, body=_messages),
    "image-generation-wan-edit": Endpoint(
        path=_GENERATION, is_async=True, body=_messages, fixed={"enable_interleave": False}
    ),
    "image2image": Endpoint(path=_FROM_IMAGES, is_async=True, body=_several_images),
    "image2image-base": Endpoint(path=_FROM_IMAGES, is_async=True, body=_base_image),
}
