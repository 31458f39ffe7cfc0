"""Natural answers of the image routes: real pictures of the size and format asked for, and their bookkeeping."""

import base64
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from PIL import Image, ImageOps

from tests.upstreams.http import SseItem
from tests.upstreams.images import encode, picture
from tests.upstreams.openai.rules import SQUARE
from tests.upstreams.openai.wish import Wish

CREATED = 1_795_000_000
_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 6240, "max": 8320}
_TINTS = ((0, 0, 0), (90, 0, 0), (0, 90, 0), (0, 0, 90), (90, 90, 0))


def resolved(fields: dict[str, Any]) -> dict[str, str]:
    """The facts an answer reports: `auto` never stands in them."""
    wanted = {"size": SQUARE, "quality": "medium", "background": "opaque", "output_format": "png"}
    return {name: fields[name] if fields.get(name, "auto") != "auto" else known for name, known in wanted.items()}


def drawn(wish: Wish, index: int = 0) -> bytes:
    """The encoded image number `index`; of an edit it is made from the first input and the mask."""
    facts = resolved(wish.fields)
    alpha = facts["background"] == "transparent"
    compression = wish.fields.get("output_compression", 100)
    if not wish.images:
        return _painted(facts["size"], facts["output_format"], alpha, compression, index % len(_TINTS))
    return encode(_retouched(wish, facts["size"], alpha), facts["output_format"], compression)


@lru_cache(maxsize=128)
def _painted(size: str, kind: str, alpha: bool, quality: int, tint: int) -> bytes:
    width, height = map(int, size.split("x"))
    image = picture(width, height)
    if tint:
        image = Image.blend(image, Image.new("RGB", image.size, _TINTS[tint]), 0.5)
    if alpha:
        image.putalpha(Image.radial_gradient("L").resize(image.size))
    return encode(image, kind, quality)


def _retouched(wish: Wish, size: str, alpha: bool) -> Image.Image:
    """Without a mask the first input inverted, with one a gradient where the mask is transparent."""
    first = wish.images[0].opened().convert("RGB")
    if wish.mask is None:
        changed = ImageOps.invert(first)
    else:
        keep = wish.mask.opened().convert("RGBA").getchannel("A")
        changed = Image.composite(first, picture(*first.size), keep)
    width, height = map(int, size.split("x"))
    changed = changed.resize((width, height))
    if alpha:
        changed.putalpha(200)
    return changed


def usage(wish: Wish, count: int) -> dict[str, Any]:
    """Token counts in OpenAI's shape, deterministic, growing with prompt, inputs, area and quality."""
    facts = resolved(wish.fields)
    width, height = map(int, facts["size"].split("x"))
    text = 1 + len(wish.fields["prompt"]) // 4
    image = 323 * len(wish.images)
    out = count * math.ceil(_TOKENS[facts["quality"]] * width * height / 1024**2)
    return {
        "input_tokens": text + image,
        "output_tokens": out,
        "total_tokens": text + image + out,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
        "output_tokens_details": {"image_tokens": out, "text_tokens": 0},
    }


def body(wish: Wish, items: list[dict[str, str]]) -> dict[str, Any]:
    """The body of a GPT image model's answer."""
    doc = {"created": CREATED, **resolved(wish.fields), "data": items, "usage": usage(wish, len(items))}
    caller = wish.fields.get("safety_identifier") or wish.fields.get("user")
    return {**doc, "safety_identifier": caller} if caller else doc


def events(wish: Wish, draw: Callable[[Wish, int], bytes] = drawn) -> list[SseItem]:
    """The stream: as many partial images as asked for, then the completed one."""
    kind = "image_edit" if wish.images else "image_generation"
    facts = {"created_at": CREATED, **resolved(wish.fields)}
    items: list[SseItem] = []
    for index in range(wish.fields.get("partial_images", 0)):
        name = f"{kind}.partial_image"
        b64 = encoded(draw(wish, index + 1))
        items.append((name, {"type": name, "b64_json": b64, **facts, "partial_image_index": index}))
    counted = usage(wish, 1)
    del counted["output_tokens_details"]
    name = f"{kind}.completed"
    items.append((name, {"type": name, "b64_json": encoded(draw(wish, 0)), **facts, "usage": counted}))
    return items


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
