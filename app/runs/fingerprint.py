"""What makes two requests the same wish."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields

from providers.core.types import ImageRequest


def fingerprint(request: ImageRequest) -> str:
    """The same for the same wish: fields sorted, null left out, images by digest in order, no file names."""
    document: dict[str, object] = {}
    for item in fields(request):
        value = getattr(request, item.name)
        if item.name in {"images", "mask"} or value in (None, (), {}, frozenset()):
            continue
        document[item.name] = value if isinstance(value, dict | int | bool) else str(value)
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode())
    for image in (*request.images, *([request.mask] if request.mask else [])):
        digest.update(image.name.partition("[")[0].encode() + hashlib.sha256(image.data).digest())
    return digest.hexdigest()
