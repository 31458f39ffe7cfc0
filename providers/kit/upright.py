"""Pictures whose stored pixels stand upright, for upstreams that do not read EXIF, or whose masks must fit."""

from __future__ import annotations

from providers.core.errors import InvalidRequest, Violation
from providers.core.http import Buffer
from providers.core.types import InputImage


def upright(image: InputImage) -> Buffer:
    """The picture's bytes, unchanged unless EXIF turns it; then redrawn in its own format. Raises InvalidRequest."""
    if image.orientation == 1:
        return image.data
    from providers.kit.convert import convert  # noqa: PLC0415 - it brings an image library
    from providers.kit.images import ImageError  # noqa: PLC0415 - as above

    try:
        return convert(image.data, image.format)
    except ImageError:
        message = f"'{image.name}' cannot be decoded."
        raise InvalidRequest(Violation(image.name, message, "invalid_image")) from None
