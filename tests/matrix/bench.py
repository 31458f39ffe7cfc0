"""What every suite of the matrix uses: one request by the official SDK, and looking at what came back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from PIL import ImageChops

from tests.gateway import Gateway, HurriedClock
from tests.matrix.vendors import Vendor
from tests.upstreams.images import encode, pixels, png
from tests.upstreams.server import StandIn

SIZE = 1024
FORMS = ("url", "b64_json")
FORMATS = ("png", "jpeg", "webp")
HOLE = (256, 256, 768, 768)


@dataclass(frozen=True, slots=True)
class Bench:
    """A gateway, the stand-in behind it, and a client in front of it."""

    vendor: Vendor
    server: StandIn
    gateway: Gateway
    client: openai.OpenAI
    clock: HurriedClock


def ask(bench: Bench, route: str, prompt: str, **more: Any) -> tuple[openai.types.ImagesResponse, dict[str, str]]:
    """One request by the official SDK; the answer and its headers."""
    headers = more.pop("headers", {})
    if route == "generate":
        raw = bench.client.images.with_raw_response.generate(
            model=bench.vendor.generates,
            prompt=prompt,
            extra_headers=headers,
            **more,
        )
    else:
        raw = bench.client.images.with_raw_response.edit(
            model=bench.vendor.edits,
            prompt=prompt,
            image=("photo.png", png(SIZE, SIZE)),
            extra_headers=headers,
            **more,
        )
    return raw.parse(), dict(raw.headers)


def picture(answer: openai.types.ImagesResponse, form: str) -> bytes:
    """The bytes of the first image, in whichever form it came."""
    assert answer.data
    return shown(answer.data[0].to_dict(), form)


def shown(item: Mapping[str, object], form: str) -> bytes:
    """The bytes of an image that is given as base64 or by a link, and never as both."""
    if form == "b64_json":
        assert not item.get("url")
        return base64.b64decode(str(item["b64_json"]), validate=True)
    assert not item.get("b64_json")
    fetched = httpx2.get(str(item["url"]))
    assert fetched.status_code == 200
    assert fetched.headers["content-type"].startswith("image/")
    return fetched.content


def alike(one: bytes, two: bytes) -> bool:
    """Whether two encodings show the same picture: on average less than three of 255 apart."""
    first, second = (pixels(data).convert("RGB") for data in (one, two))
    if first.size != second.size:
        return False
    histogram = ImageChops.difference(first, second).convert("L").histogram()
    return sum(value * count for value, count in enumerate(histogram)) / (first.width * first.height) < 3


def outside(data: bytes) -> bytes:
    """The picture with its hole blackened."""
    image = pixels(data).convert("RGB")
    image.paste((0, 0, 0), HOLE)
    return encode(image, "png")


def same_outside(before: bytes, after: bytes) -> bool:
    """Whether every pixel outside the hole is identical."""
    return outside(before) == outside(after)
