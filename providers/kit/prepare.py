"""Making a call's input images into what its model takes. Pixels are decoded here: run in a worker thread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from providers.core.errors import InvalidRequest, Violation
from providers.core.inputs import Fit
from providers.core.plan import Call
from providers.core.types import ImageFormat, InputImage, Size
from providers.kit.mask import plain

ROUNDS: Final = 12
SHRINK: Final = 0.8


def prepared(calls: Sequence[Call], fits: Sequence[Fit | None]) -> tuple[Call, ...]:
    """The calls with every image fitted once, the mask's alpha in a channel, its size that of the first image.

    Raises InvalidRequest.
    """
    first = calls[0]
    images = tuple(
        image if fit is None else fitted(image, fit) for image, fit in zip(first.images, fits, strict=True)
    )
    mask = first.mask
    if mask is not None and (mask.indexed or mask.deep):
        mask = replace(mask, data=plain(mask.data), orientation=1, indexed=False, deep=False)
    if mask is not None and images[0].size != mask.size:
        mask = fitted(mask, Fit(format=ImageFormat.PNG, size=images[0].size, max_bytes=mask_limit(mask)))
    return tuple(replace(call, images=images, mask=mask) for call in calls)


def mask_limit(mask: InputImage) -> int:
    """A resized mask is never refused for its bytes: it is smaller than the one that was accepted."""
    return max(4_000_000, len(mask.data))


def fitted(image: InputImage, fit: Fit) -> InputImage:
    """The image as `fit` says: upright, eight bits, its size, its format. Raises InvalidRequest."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - Pillow is loaded when first needed

    try:
        with Image.open(io.BytesIO(image.data), formats=["PNG", "JPEG", "WEBP"]) as opened:
            picture = _eight_bits(ImageOps.exif_transpose(opened))
            size, data = fit.size, b""
            for _ in range(ROUNDS):
                data = _encoded(picture, size, fit.format)
                if len(data) <= fit.max_bytes:
                    break
                size = Size(max(1, int(size.width * SHRINK)), max(1, int(size.height * SHRINK)))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        message = f"'{image.name}' cannot be decoded."
        raise InvalidRequest(Violation(image.name, message, "invalid_image_file")) from error
    return replace(
        image,
        data=data,
        format=fit.format,
        width=size.width,
        height=size.height,
        orientation=1,
        deep=False,
        indexed=False,
        has_alpha=image.has_alpha and fit.format is not ImageFormat.JPEG,
    )


def _eight_bits(picture: Any) -> Any:
    """RGB or RGBA; 16-bit greys are scaled, not cut."""
    if picture.mode.startswith("I"):
        return picture.point(lambda value: value / 256).convert("L").convert("RGB")
    alpha = picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info
    return picture.convert("RGBA" if alpha else "RGB")


def _encoded(picture: Any, size: Size, to: ImageFormat) -> bytes:
    from PIL import Image  # noqa: PLC0415 - as above

    wanted = (size.width, size.height)
    shown = picture if picture.size == wanted else picture.resize(wanted, Image.Resampling.LANCZOS)
    if to is ImageFormat.JPEG and shown.mode != "RGB":
        ground = Image.new("RGBA", shown.size, (255, 255, 255, 255))
        shown = Image.alpha_composite(ground, shown).convert("RGB")
    out = io.BytesIO()
    options: dict[str, Any] = {"quality": 95} if to is not ImageFormat.PNG else {"compress_level": 3}
    shown.save(out, to.value.upper(), **options)
    return out.getvalue()
