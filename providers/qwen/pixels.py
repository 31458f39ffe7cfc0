"""An input image that the vendor would refuse or misread, drawn anew."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from providers.core.types import ImageFormat, InputImage

_QUALITY: Final = 95


def redrawn(image: InputImage) -> tuple[ImageFormat, bytes]:
    """The picture upright and opaque on white: JPEG stays JPEG, all else becomes PNG. Raises ValueError."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - seldom needed, and slow to import

    kind = ImageFormat.JPEG if image.format is ImageFormat.JPEG else ImageFormat.PNG
    out = BytesIO()
    try:
        with Image.open(BytesIO(image.data)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except OSError as error:
        raise ValueError("the image cannot be decoded") from error
    paper = Image.new("RGBA", upright.size, "white")
    paper.alpha_composite(upright)
    paper.convert("RGB").save(out, kind.value, quality=_QUALITY)
    return kind, out.getvalue()
