"""What makes two requests the same wish."""

from __future__ import annotations

import json
from dataclasses import fields
from operator import attrgetter
from typing import Final

from blake3 import blake3

from providers.core.types import ImageRequest

_NAMES: Final = tuple(item.name for item in fields(ImageRequest) if item.name not in {"images", "mask"})
_VALUES: Final = attrgetter(*_NAMES)


def fingerprint(request: ImageRequest) -> str:
    """The same for the same wish: fields sorted, null left out, images by digest in order, no file names."""
    values = zip(_NAMES, _VALUES(request), strict=True)
    document = {name: value for name, value in values if value or isinstance(value, (str, int))}
    digest = blake3(_WRITTEN(document).encode())
    for image in (*request.images, *((request.mask,) if request.mask else ())):
        digest.update(f"{image.name.partition('[')[0]} {image.digest or blake3(image.data).hexdigest()}".encode())
    return digest.hexdigest()


def _written(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else str(value)


_WRITTEN: Final = json.JSONEncoder(sort_keys=True, default=_written).encode
