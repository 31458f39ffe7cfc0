"""Masks as pixels: OpenAI's transparent-is-edit in other vendors' terms, and an edit kept inside its mask.

All functions take and return encoded images and turn them upright by EXIF first. Pillow is imported when one is
called, so that a gateway that never sees a mask never loads it.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING

from providers.core.errors import InvalidRequest, UpstreamError, Violation

if TYPE_CHECKING:
    from PIL import Image

OPAQUE = 255
_WIDE = {"I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
_DEEP = 256  # levels of a 16-bit sample in one of 8 bits


def to_luminance(mask_png: bytes | memoryview) -> bytes:
    """An 8-bit grey PNG, white (255) where the mask is transparent: 255 - alpha. Raises InvalidRequest."""
    from PIL import ImageChops  # noqa: PLC0415 - loaded for masks only

    return _png(ImageChops.invert(_alpha(_asked(mask_png, "mask"))))


def plain(mask_png: bytes | memoryview) -> bytes:
    """A mask of the same alpha as RGBA PNG of eight bits, its colours black. Raises InvalidRequest."""
    from PIL import Image  # noqa: PLC0415 - loaded for masks only

    keep = _alpha(_asked(mask_png, "mask"))
    black = Image.new("RGBA", keep.size, (0, 0, 0, OPAQUE))
    black.putalpha(keep)
    return _png(black)


def has_hole(mask_png: bytes | memoryview) -> bool:
    """Whether any pixel is not wholly opaque. Raises InvalidRequest."""
    return _transparent(_asked(mask_png, "mask"))


def check(original: bytes | memoryview) -> None:
    """That `composite` will be able to take this for its original. Raises InvalidRequest."""
    _asked(original, "image")


def composite(original: bytes | memoryview, edited: bytes | memoryview, mask: bytes | memoryview) -> bytes:
    """The original as PNG, upright, with `edited` where the mask is transparent and a blend where it is partly so.

    Every pixel under an opaque mask is the original's. `edited` is resized to the original's size; the result has an
    alpha channel when either of them has transparent pixels. Raises InvalidRequest, or UpstreamError for `edited`.
    """
    from PIL import Image  # noqa: PLC0415 - loaded for masks only

    base, keep = _asked(original, "image"), _alpha(_asked(mask, "mask"))
    if keep.size != base.size:
        message = f"'mask' is {keep.width}x{keep.height} but the image is {base.width}x{base.height}."
        raise InvalidRequest(Violation("mask", message, "invalid_mask"))
    paint = _upright(edited)
    if paint is None:
        raise UpstreamError("The upstream's image cannot be decoded.")
    mode = "RGBA" if _transparent(base) or _transparent(paint) else "RGB"
    profile = base.info.get("icc_profile") if base.mode in {"RGB", "RGBA", "P", "PA"} else None
    paint = _colours(paint, mode)
    if paint.size != base.size:
        paint = paint.resize(base.size, Image.Resampling.LANCZOS)
    return _png(Image.composite(_colours(base, mode), paint, keep), profile)


def _asked(data: bytes | memoryview, param: str) -> Image.Image:
    image = _upright(data)
    if image is None:
        message = f"'{param}' cannot be decoded."
        raise InvalidRequest(Violation(param, message, "invalid_mask" if param == "mask" else "invalid_image"))
    return image


def _upright(data: bytes | memoryview) -> Image.Image | None:
    """The first frame, decoded and turned by EXIF; None for what Pillow cannot read."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - loaded for masks only

    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError):
        return None  # the ways in which Pillow 13 says that a file is broken


def _transparent(image: Image.Image) -> bool:
    return any(_alpha(image).histogram()[:OPAQUE])


def _alpha(image: Image.Image) -> Image.Image:
    """The alpha channel, of palettes and single transparent colours too; opaque where there is none."""
    from PIL import Image as Pillow  # noqa: PLC0415 - loaded for masks only

    if not image.has_transparency_data or image.mode in _WIDE:
        return Pillow.new("L", image.size, OPAQUE)
    return image.convert("RGBA").getchannel("A")


def _colours(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in _WIDE:
        image = image.convert("I").point(lambda sample: sample / _DEEP).convert("L")
    return image.convert(mode)


def _png(image: Image.Image, profile: bytes | None = None) -> bytes:
    out = BytesIO()
    image.info.clear()
    image.save(out, "png", compress_level=1, icc_profile=profile)
    return out.getvalue()
