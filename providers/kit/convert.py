"""Changing a picture's encoding. Slow and memory-hungry: run in a worker thread, only when nothing else serves."""

from __future__ import annotations

import io
from typing import Any, Final

from providers.core.http import Buffer
from providers.core.types import ImageFormat
from providers.kit.images import ImageError

MAX_PIXELS: Final = 140_000_000  # the largest answer of any row is 12288x1536; inputs are bounded before
OPEN_AS: Final = ["PNG", "JPEG", "WEBP", "GIF"]
FULL: Final = 100
COLOURS: Final = frozenset({"RGB", "RGBA", "P", "PA"})  # whose colour profile still fits when they become RGB


def convert(data: Buffer, to: ImageFormat, *, compression: int | None = None, flatten: bool = False) -> bytes:
    """The picture in another encoding; of its metadata only the colour profile is carried over. Raises ImageError.

    `compression` is OpenAI's: 100 keeps the most. `flatten` puts transparent parts on white, as JPEG must.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - Pillow is loaded when first needed

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(data), formats=OPEN_AS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ImageError(f"{opened.width}x{opened.height} pixels are too many")
            picture = _plain(opened, opaque=flatten or to is ImageFormat.JPEG)
            profile = opened.info.get("icc_profile") if opened.mode in COLOURS else None
            picture.info = {"icc_profile": profile} if profile else {}
    except (UnidentifiedImageError, OSError, SyntaxError, *bombs) as error:
        raise ImageError("the picture cannot be decoded") from error
    return _save(picture, to, FULL if compression is None else compression)


def _plain(picture: Any, *, opaque: bool) -> Any:
    from PIL import Image, ImageOps  # noqa: PLC0415 - as above

    upright = ImageOps.exif_transpose(picture)
    alpha = upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info
    if not alpha:
        return upright.convert("RGB")
    layered = upright.convert("RGBA")
    if not opaque:
        return layered
    ground = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, layered).convert("RGB")


def _save(picture: Any, to: ImageFormat, compression: int) -> bytes:
    out = io.BytesIO()
    profile = picture.info.get("icc_profile")
    if to is ImageFormat.JPEG:
        finest = 0 if compression == FULL else 2
        picture.save(out, "JPEG", quality=max(1, min(compression, 95)), subsampling=finest, icc_profile=profile)
    elif to is ImageFormat.WEBP:
        picture.save(out, "WEBP", quality=compression, method=4, icc_profile=profile)
    else:
        picture.save(out, "PNG", compress_level=3, icc_profile=profile)
    return out.getvalue()
