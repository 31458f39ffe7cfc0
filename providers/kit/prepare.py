"""Making a call's input images into what its model takes. Pixels are decoded here: run in a worker thread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from providers.core.errors import InvalidRequest, Violation
from providers.core.inputs import Fit, together
from providers.core.plan import Adjustment, Call, Kind
from providers.core.types import ImageFormat, InputImage, Size
from providers.core.valueclass import valueclass
from providers.kit.mask import plain, to_luminance

ROUNDS: Final = 12
SHRINK: Final = 0.8
MASK_BYTES: Final = 4_000_000
COLOURS: Final = {"RGB", "RGBA", "P", "PA"}  # modes whose ICC profile still holds for RGB


@valueclass(frozen=True, slots=True)
class Prepared:
    """The calls as they go out, and what became of their images beyond what the plan says."""

    calls: tuple[Call, ...]
    adjustments: tuple[Adjustment, ...] = ()


def prepared(calls: Sequence[Call], fits: Sequence[Fit | None]) -> Prepared:
    """The calls with every image fitted once, the mask as large as the first and in the model's own terms.

    Raises InvalidRequest.
    """
    first, smaller = calls[0], []
    images = list(first.images)
    for i, (image, fit) in enumerate(zip(first.images, fits, strict=True)):
        if fit is not None:
            images[i] = fitted(image, fit)
            if images[i].size != fit.size:
                smaller.append(_resized("image", Kind.EMULATED, fit.size, images[i].size))
    too_many = together(sum(len(image.data) for image in images), first.spec)
    if too_many and too_many.violation:
        raise InvalidRequest(too_many.violation)
    mask = first.mask
    if mask is not None and (mask.indexed or mask.deep or mask.size != images[0].size):
        mask = replace(mask, data=plain(mask.data), orientation=1, indexed=False, deep=False)
    if mask is not None and mask.size != images[0].size:
        planned = fits[0].size if fits[0] else mask.size
        smaller += [_resized("mask", Kind.MAPPED, planned, images[0].size)] if planned != images[0].size else []
        mask = fitted(mask, Fit(format=ImageFormat.PNG, size=images[0].size, max_bytes=MASK_BYTES))
    if mask is not None and first.spec.inputs and first.spec.inputs.white_mask:
        mask = replace(mask, data=to_luminance(mask.data), orientation=1, has_alpha=False, indexed=False, deep=False)
    ready = tuple(replace(call, images=tuple(images), mask=mask) for call in calls)
    return Prepared(ready, tuple(dict.fromkeys(smaller)))


def _resized(param: str, kind: Kind, was: Size, now: Size) -> Adjustment:
    return Adjustment(param=param, kind=kind, asked=str(was), used=str(now))


def fitted(image: InputImage, fit: Fit) -> InputImage:
    """The image as `fit` says: upright, eight bits, its size, its format. Raises InvalidRequest."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - Pillow is loaded when first needed

    try:
        with Image.open(io.BytesIO(image.data), formats=["PNG", "JPEG", "WEBP"]) as opened:
            profile = opened.info.get("icc_profile") if opened.mode in COLOURS else None
            picture = _eight_bits(ImageOps.exif_transpose(opened), alpha=fit.alpha)
            picture = _on_white(picture) if fit.opaque or fit.format is ImageFormat.JPEG else picture
            size, data = _within(picture, fit, profile)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        message = f"'{image.name}' cannot be decoded."
        raise InvalidRequest(Violation(image.name, message, "invalid_image_file")) from error
    if len(data) > fit.max_bytes:
        form = f"as the {fit.format.value} of {size} that the model takes"
        message = f"'{image.name}' has {len(data)} bytes {form}; at most {fit.max_bytes} are allowed."
        raise InvalidRequest(Violation(image.name, message, "image_too_large"))
    return replace(
        image,
        data=data,
        format=fit.format,
        width=size.width,
        height=size.height,
        orientation=1,
        deep=False,
        indexed=False,
        has_alpha=(image.has_alpha or fit.alpha) and not fit.opaque and fit.format is not ImageFormat.JPEG,
    )


def _within(picture: Any, fit: Fit, profile: bytes | None) -> tuple[Size, bytes]:
    """The encoded picture and its size: of fewer and fewer pixels where it may shrink, else too large as it is."""
    size = fit.size
    data = _encoded(picture, size, fit.format, profile)
    for _ in range(ROUNDS if fit.shrinks else 0):
        if len(data) <= fit.max_bytes:
            break
        size = Size(max(1, int(size.width * SHRINK)), max(1, int(size.height * SHRINK)))
        data = _encoded(picture, size, fit.format, profile)
    return size, data


def _eight_bits(picture: Any, *, alpha: bool) -> Any:
    """RGB or RGBA; 16-bit greys are scaled, not cut."""
    if picture.mode.startswith("I"):
        return picture.point(lambda value: value / 256).convert("L").convert("RGBA" if alpha else "RGB")
    alpha = alpha or picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info
    return picture.convert("RGBA" if alpha else "RGB")


def _on_white(picture: Any) -> Any:
    from PIL import Image  # noqa: PLC0415 - as above

    if picture.mode == "RGB":
        return picture
    ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, picture).convert("RGB")


def _encoded(picture: Any, size: Size, to: ImageFormat, profile: bytes | None) -> bytes:
    from PIL import Image  # noqa: PLC0415 - as above

    wanted = (size.width, size.height)
    shown = picture if picture.size == wanted else picture.resize(wanted, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    options: dict[str, Any] = {"quality": 95} if to is not ImageFormat.PNG else {"compress_level": 3}
    shown.save(out, to.value.upper(), icc_profile=profile, **options)
    return out.getvalue()
