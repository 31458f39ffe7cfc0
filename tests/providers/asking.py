"""Requests for tests, planned as the pipeline plans them."""

from __future__ import annotations

from typing import Any

from PIL import ImageOps

from providers.core.plan import Call, plan
from providers.core.spec import ModelSpec
from providers.core.types import ImageFormat, ImageRequest, InputImage, Operation, ResponseFormat
from providers.kit.prepare import prepared
from tests.upstreams.images import pixels


def row(models: tuple[ModelSpec, ...], model: str) -> ModelSpec:
    """The row of that id."""
    return next(spec for spec in models if spec.id == model)


def sent(data: bytes, name: str = "image") -> InputImage:
    """An input image as the gateway makes it of a file."""
    image = pixels(data)
    upright = ImageOps.exif_transpose(image)
    return InputImage(
        data=data,
        format=ImageFormat((image.format or "").lower()),
        width=upright.width,
        height=upright.height,
        has_alpha=image.has_transparency_data,
        orientation=image.getexif().get(0x0112, 1),
        indexed=image.mode == "P" and image.format == "PNG",
        name=name,
    )


def calls(spec: ModelSpec, prompt: str = "a red kite", **wishes: Any) -> tuple[Call, ...]:
    """The calls of a request as they go out; one with images is an edit. Raises InvalidRequest."""
    operation = Operation.EDIT if wishes.get("images") else Operation.GENERATE
    wishes.setdefault("response_format", ResponseFormat.B64_JSON)
    made = plan(ImageRequest(operation=operation, prompt=prompt, **wishes), spec)
    return prepared(made.calls, made.fits).calls if made.fits else made.calls


def call(spec: ModelSpec, prompt: str = "a red kite", **wishes: Any) -> Call:
    """The only call of a request."""
    (only,) = calls(spec, prompt, **wishes)
    return only
