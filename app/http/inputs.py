"""Input images: from bytes (or a URL) to an InputImage that was checked by structure and never decoded."""

from __future__ import annotations

from typing import Any, Final, Protocol

import anyio
from blake3 import blake3

from app.errors import PayloadTooLarge
from app.http.bodies import STRING_BYTES
from app.http.forms import IMAGE_BYTES, IMAGES, MASK_BYTES, MEMORY, Upload
from app.schemas import ImageReference
from providers.core.errors import InvalidRequest, Violation
from providers.core.fate import quoted
from providers.core.http import Buffer
from providers.core.types import ImageFormat, InputImage
from providers.kit.images import ImageError, inspect
from providers.kit.lift import Lifted, LiftError
from providers.kit.mask import has_hole
from providers.kit.room import Room, cool

MAX_PIXELS: Final = 64_000_000
HUGE: Final = 2**20


class Fetcher(Protocol):
    """Gets the bytes behind a public URL."""

    async def image(self, url: str, limit: int) -> Buffer:
        """The bytes. Raises InvalidRequest when the URL may not or cannot be fetched."""


Inputs = tuple[tuple[InputImage, ...], InputImage | None]


async def from_upload(upload: Upload) -> Inputs:
    """The images of a form. Raises InvalidRequest."""
    many = len(upload.images) > 1
    images = [
        _image(file.data, file.digest, f"image[{i}]" if many else "image") for i, file in enumerate(upload.images)
    ]
    mask = await _mask(upload.mask.data, upload.mask.digest) if upload.mask is not None else None
    return tuple(images), mask


async def from_references(document: dict[str, Any], fetcher: Fetcher, room: Room = MEMORY) -> Inputs:
    """The images of a JSON body (`images`, `mask`). Raises InvalidRequest, PayloadTooLarge."""
    references = document.get("images")
    if not isinstance(references, list) or not references:
        message = "'images' is required: a list of objects with 'image_url'."
        raise InvalidRequest(Violation("images", message, "missing_required_parameter"))
    if len(references) > IMAGES:
        raise InvalidRequest(Violation("images", f"At most {IMAGES} images are allowed.", "too_many_images"))
    many = len(references) > 1
    images = []
    for i, item in enumerate(references):
        data = await _referenced(item, f"images[{i}]", fetcher, room)
        images.append(_image(data, await _digest(data), f"image[{i}]" if many else "image"))
    mask = document.get("mask")
    if mask is None:
        return tuple(images), None
    data = await _referenced(mask, "mask", fetcher, room)
    if len(data) > MASK_BYTES:
        raise PayloadTooLarge(f"'mask' has {len(data)} bytes; at most {MASK_BYTES} are allowed.", param="mask")
    return tuple(images), await _mask(data, await _digest(data))


async def _digest(data: Buffer) -> str:
    if len(data) > HUGE:
        return await anyio.to_thread.run_sync(lambda: blake3(data).hexdigest())
    return blake3(data).hexdigest()


async def _referenced(item: Any, param: str, fetcher: Fetcher, room: Room) -> Buffer:
    if not isinstance(item, dict) or set(item) - set(ImageReference.model_fields):
        raise InvalidRequest(Violation(param, f"'{param}' must be an object with 'image_url'.", "invalid_type"))
    if item.get("file_id") is not None:
        message = f"'{param}.file_id' is not supported: send 'image_url' with a data URL or an https URL."
        raise InvalidRequest(Violation(f"{param}.file_id", message, "unsupported_parameter"))
    url = item.get("image_url")
    if isinstance(url, Lifted) or (isinstance(url, str) and url.startswith("data:")):
        with room.body() as body:
            body.write(_decoded(url, param))
            return body.whole()
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return await fetcher.image(url, IMAGE_BYTES)
    message = f"'{param}.image_url' must be a data URL or an https URL; got {quoted(url)}."
    raise InvalidRequest(Violation(param, message, "invalid_image_url"))


def _decoded(url: Lifted | str, param: str) -> bytes:
    size = len(url.base64) if isinstance(url, Lifted) else len(url)
    if size > STRING_BYTES:
        message = f"'{param}' is a string of {size} bytes; at most {STRING_BYTES} are allowed."
        raise PayloadTooLarge(message, param=param)
    try:
        return Lifted.of(url).decode()
    except LiftError as error:
        message = f"'{param}' is not a base64 data URL of an image: {error}."
        raise InvalidRequest(Violation(param, message, "invalid_image_url")) from None


def _image(data: Buffer, digest: str, param: str) -> InputImage:
    """Sniffed by its bytes; a declared type is never asked."""
    try:
        facts = inspect(data)
    except ImageError as error:
        message = f"'{param}' is not an image that can be used: {error}. Allowed: png, jpeg, webp."
        raise InvalidRequest(Violation(param, message, "invalid_image_file")) from None
    if facts.animated or facts.format is ImageFormat.GIF:
        message = f"'{param}' is an animated image or a GIF. Allowed: still png, jpeg, webp."
        raise InvalidRequest(Violation(param, message, "unsupported_file_mimetype"))
    if facts.width * facts.height > MAX_PIXELS:
        message = f"'{param}' is {facts.width}x{facts.height}; at most {MAX_PIXELS} pixels are allowed."
        raise InvalidRequest(Violation(param, message, "image_too_large"))
    cool(data)
    return InputImage(
        data=data,
        format=facts.format,
        width=facts.upright_width,
        height=facts.upright_height,
        has_alpha=facts.has_alpha,
        orientation=facts.orientation,
        deep=facts.deep,
        indexed=facts.indexed,
        name=param,
        digest=digest,
    )


async def _mask(data: Buffer, digest: str) -> InputImage:
    mask = _image(data, digest, "mask")
    if mask.format is not ImageFormat.PNG:
        message = f"'mask' is a {mask.format} file; it must be a PNG with transparent areas."
        raise InvalidRequest(Violation("mask", message, "invalid_mask"))
    hole = mask.has_alpha and await anyio.to_thread.run_sync(has_hole, data)
    if not hole:
        message = "'mask' has no transparent pixel: transparent means edit here."
        raise InvalidRequest(Violation("mask", message, "invalid_mask"))
    return mask
