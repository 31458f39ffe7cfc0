"""A strict stand-in of api.minimax.io, image generation. Its limits are its own copy of the reference."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Final

from PIL import Image, UnidentifiedImageError

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.images import encode, picture
from tests.upstreams.server import StandIn, Trigger, disturb, trigger_in

KEY: Final = "minimax-stand-in-key"
BADINPUT: Final = "BADINPUT"  # in a prompt: the service's own complaint about parameters
PARTIAL: Final = "PARTIAL"  # in a prompt: one image fewer than asked
FLAGGED: Final = "FLAGGED"  # in a prompt: the drawn images are withheld
AS_LINKS: Final = "AS_LINKS"  # in a prompt: links, whatever was asked
PATH: Final = "/v1/image_generation"
MAX_REFERENCE: Final = 10_000_000
SIZES: Final = {
    "1:1": (1024, 1024),
    "16:9": (1280, 720),
    "4:3": (1152, 864),
    "3:2": (1248, 832),
    "2:3": (832, 1248),
    "3:4": (864, 1152),
    "9:16": (720, 1280),
    "21:9": (1344, 576),
}
STYLES: Final = ("漫画", "元气", "中世纪", "水彩")
TRACE: Final = "03ff3cd0820949eb8a410056b5f21d38"
_DATA_URL: Final = re.compile(r"data:image/(jpeg|jpg|png);base64,(.*)", re.DOTALL)


class ServiceError(Exception):
    """A failure in the service's usual form: status 200, and a code inside."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.reply = Reply.json(
            200,
            {"id": TRACE, "data": None, "base_resp": {"status_code": code, "status_msg": message}},
            trace_id=TRACE,
        )


class MiniMaxServer(StandIn):
    """Checks every field; counters come as strings, like the code of a success."""

    def handle(self, exchange: Exchange) -> Reply:
        if (exchange.method, exchange.path) != ("POST", PATH):
            return Reply.html(404, "404 page not found")
        try:
            return self._served(exchange)
        except ServiceError as error:
            return error.reply

    def _served(self, exchange: Exchange) -> Reply:
        asked = _read(exchange)
        trigger = trigger_in(asked.prompt)
        if trigger is Trigger.BOOM:
            error = {"type": "api_error", "message": "unknown error (1000)", "http_code": "500"}
            return Reply.json(500, {"type": "error", "error": error, "request_id": TRACE})
        _refuse(asked.prompt, trigger)
        return disturb(trigger, self._made(asked, 0 if trigger is Trigger.EMPTY else asked.delivered))

    def _made(self, asked: Asked, count: int) -> Reply:
        images = [asked.drawn(index) for index in range(count)]
        if asked.in_base64 and AS_LINKS not in asked.prompt:
            data = {"image_base64": [base64.b64encode(image).decode() for image in images]}
        else:
            names = [f"/out/{len(self.exchanges)}-{index}.jpeg" for index in range(count)]
            links = [self.publish(*named) for named in zip(names, ["image/jpeg"] * count, images, strict=True)]
            data = {"image_urls": links}
        document = {
            "id": TRACE,
            "data": data,
            "metadata": {"success_count": str(count), "failed_count": str(asked.n - count)},
            "base_resp": {"status_code": 0, "status_msg": "success"},
        }
        return replace(Reply.json(200, document, trace_id=TRACE), paid=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that the service takes."""

    prompt: str
    size: tuple[int, int]
    n: int
    in_base64: bool
    ground: tuple[int, int, int]

    @property
    def delivered(self) -> int:
        """How many images come back."""
        return max(1, self.n - 1) if PARTIAL in self.prompt else self.n

    def drawn(self, index: int) -> bytes:
        """A JPEG of the size asked; a reference gives its own ground."""
        red, green, blue = self.ground
        return encode(picture(*self.size, (red, green, (blue + 20 * index) % 256)), "jpeg")


def _refuse(prompt: str, trigger: Trigger | None) -> None:
    codes = {
        Trigger.FORBIDDEN: (1026, "input new_sensitive"),
        Trigger.RATELIMIT: (1002, "rate limit exceeded(RPM)"),
        Trigger.QUOTA: (1008, "insufficient balance"),
    }
    if trigger in codes:
        raise ServiceError(*codes[trigger])
    if BADINPUT in prompt:
        raise ServiceError(2013, "invalid params, prompt is not supported")
    if FLAGGED in prompt:
        raise ServiceError(1027, "output new_sensitive")


def _read(exchange: Exchange) -> Asked:
    """The request, checked whole. Raises ServiceError."""
    authorization = exchange.header("authorization")
    if authorization is None:
        raise ServiceError(1004, "login fail: Please carry the API secret key in the Authorization field")
    if authorization != f"Bearer {KEY}":
        raise ServiceError(2049, "invalid api key")
    if exchange.header("content-type") != "application/json":
        raise ServiceError(2013, "invalid params, content type")
    try:
        body = exchange.json()
    except ValueError:
        raise ServiceError(2013, "invalid params, body is not JSON") from None
    if not isinstance(body, dict):
        raise ServiceError(2013, "invalid params, body is not an object")
    return _checked(body)


def _checked(body: Mapping[str, Any]) -> Asked:
    for name, value in body.items():
        if name not in FIELDS or not FIELDS[name](value):
            raise ServiceError(2013, f"invalid params, {name}")
    if not {"model", "prompt"} <= body.keys():
        raise ServiceError(2013, "invalid params, model and prompt are required")
    is_live = body["model"] == "image-01-live"
    if ("style" in body and not is_live) or (is_live and ("width" in body or body.get("aspect_ratio") == "21:9")):
        raise ServiceError(2013, "invalid params, not of this model")
    if ("width" in body) != ("height" in body) or {"width", "aspect_ratio"} <= body.keys():
        raise ServiceError(2013, "invalid params, width and height belong together and exclude aspect_ratio")
    seed = body.get("seed", zlib.crc32(body["prompt"].encode()))
    references = body.get("subject_reference", [])
    return Asked(
        prompt=body["prompt"],
        size=(body["width"], body["height"]) if "width" in body else SIZES[body.get("aspect_ratio", "1:1")],
        n=body.get("n", 1),
        in_base64=body.get("response_format", "url") == "base64",
        ground=_colour(references[0]["image_file"]) if references else (seed % 256, seed // 256 % 256, 100),
    )


def _is_int(low: int, high: int, step: int = 1) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high and value % step == 0


def _is_one_of(*words: str) -> Callable[[object], bool]:
    return lambda value: value in words


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_style(value: object) -> bool:
    if not isinstance(value, dict) or not value.keys() <= {"style_type", "style_weight"}:
        return False
    weight = value.get("style_weight", 0.8)
    return value.get("style_type") in STYLES and isinstance(weight, int | float) and 0 < weight <= 1


def _is_reference(value: object) -> bool:
    """Exactly one, of a person, JPEG or PNG below 10 MB by its own bytes."""
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
        return False
    only = value[0]
    if only.keys() != {"type", "image_file"} or only["type"] != "character":
        return False
    match = _DATA_URL.fullmatch(str(only["image_file"]))
    if match is None:
        return False
    try:
        data = base64.b64decode(match[2], validate=True)
        kind = Image.open(BytesIO(data)).format
    except (binascii.Error, UnidentifiedImageError):
        return False
    return len(data) < MAX_REFERENCE and kind == ("PNG" if match[1] == "png" else "JPEG")


def _colour(data_url: str) -> tuple[int, int, int]:
    with Image.open(BytesIO(base64.b64decode(data_url.partition(",")[2]))) as image:
        pixel = image.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    red, green, blue = pixel
    return int(red), int(green), int(blue)


FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    "model": _is_one_of("image-01", "image-01-live"),
    "prompt": lambda value: isinstance(value, str) and 1 <= len(value) <= 1500,
    "aspect_ratio": _is_one_of(*SIZES),
    "width": _is_int(512, 2048, 8),
    "height": _is_int(512, 2048, 8),
    "n": _is_int(1, 9),
    "seed": _is_int(-(2**63), 2**63 - 1),
    "prompt_optimizer": _is_flag,
    "aigc_watermark": _is_flag,
    "style": _is_style,
    "response_format": _is_one_of("url", "base64"),
    "subject_reference": _is_reference,
}
