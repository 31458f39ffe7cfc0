"""A strict stand-in of api.z.ai and open.bigmodel.cn, images in one go, with its own copy of the limits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.upstreams.http import Exchange, Reply, strict_json
from tests.upstreams.images import encode, picture
from tests.upstreams.server import StandIn, Trigger, disturb, trigger_in

KEY_ID: Final = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SECRET: Final = "stand-in-secret-of-more-than-32-bytes"
KEY: Final = f"{KEY_ID}.{SECRET}"
BADINPUT: Final = "BADINPUT"  # in a prompt: the service's own complaint about a field
FILTERED: Final = "FILTERED"  # in a prompt: status 200, the filter's finding, and no image
BASE: Final = "/api/paas/v4"
FIELDS: Final = {
    "model": str,
    "prompt": str,
    "size": str,
    "quality": str,
    "watermark_enabled": bool,
    "user_id": str,
    "request_id": str,
    "sensitive_word_check": dict,
}
_SIZE: Final = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a model draws."""

    presets: tuple[str, ...]
    step: int
    area: int
    qualities: tuple[str, ...]


def _cogview(*qualities: str) -> Family:
    presets = ("1024x1024", "768x1344", "864x1152", "1344x768", "1152x864", "1440x720", "720x1440")
    return Family(presets=presets, step=16, area=2_097_152, qualities=qualities)


MODELS: Final = {
    "cogview-3-flash": _cogview("standard"),
    "cogview-4": _cogview("standard", "hd"),
    "cogview-4-250304": _cogview("standard", "hd"),
    "glm-image": Family(
        presets=("1280x1280", "1568x1056", "1056x1568", "1472x1088", "1088x1472", "1728x960", "960x1728"),
        step=32,
        area=4_194_304,
        qualities=("hd",),
    ),
}


class ServiceError(Exception):
    """A failure as the service tells it: a real status, and a code that is a string."""

    def __init__(self, status: int, code: str, message: str, **beside: object) -> None:
        super().__init__(message)
        self.reply = Reply.json(status, {"error": {"code": code, "message": message}, **beside})


def illegal(field: str) -> ServiceError:
    """The service's complaint about the value of one field."""
    return ServiceError(400, "1214", f"The {field} parameter is illegal. Please check the document.")


class CogViewServer(StandIn):
    """One image a call, as a link to its own `/files`."""

    @property
    def base_url(self) -> str:
        """What stands before `/images/generations`."""
        return self.url + BASE

    def handle(self, exchange: Exchange) -> Reply:
        if (exchange.method, exchange.path) != ("POST", f"{BASE}/images/generations"):
            return Reply.json(404, {"timestamp": 1760335349, "status": 404, "error": "Not Found"})
        try:
            return self._served(exchange)
        except ServiceError as error:
            return error.reply

    def _served(self, exchange: Exchange) -> Reply:
        _authenticate(exchange.header("authorization"))
        body = _read(exchange)
        size = _size(body, MODELS[body["model"]])
        trigger = trigger_in(body["prompt"])
        _refuse(body["prompt"], trigger)
        if trigger is Trigger.EMPTY:
            return replace(Reply.json(200, {"created": 1760335349, "data": []}), paid=True)
        if FILTERED in body["prompt"]:
            finding = {"role": "assistant", "level": 0}
            return replace(
                Reply.json(200, {"created": 1760335349, "data": [], "content_filter": [finding]}), paid=True
            )
        ground = zlib.crc32(body["prompt"].encode()) % 256
        image = encode(picture(*size, (ground, 60, 90)), "png")
        link = self.publish(f"/files/{len(self.exchanges)}.png", "image/png", image)
        document = {
            "created": 1760335349,
            "data": [{"url": link}],
            "content_filter": [{"role": "assistant", "level": 3}],
            "request_id": f"2025101314{len(self.exchanges):04}",
        }
        return disturb(trigger, replace(Reply.json(200, document), paid=True))


def _refuse(prompt: str, trigger: Trigger | None) -> None:
    if trigger is Trigger.FORBIDDEN:
        message = "System detected potentially unsafe or sensitive content in input or generation."
        raise ServiceError(400, "1301", message, contentFilter=[{"role": "user", "level": 1}])
    if trigger is Trigger.RATELIMIT:
        raise ServiceError(429, "1302", "Rate limit reached for requests")
    if trigger is Trigger.QUOTA:
        raise ServiceError(429, "1113", "Insufficient balance or no resource package. Please recharge.")
    if trigger is Trigger.BOOM:
        raise ServiceError(500, "1234", "Network error, error id: 20251013, please contact customer service")
    if BADINPUT in prompt:
        raise illegal("prompt")


def _authenticate(header: str | None) -> None:
    if header is None:
        raise ServiceError(401, "1001", "Authentication parameter not received in Header")
    scheme, _, token = header.partition(" ")
    if scheme != "Bearer" or (token != KEY and not _is_signed(token)):
        raise ServiceError(401, "1000", "Authentication Failed")


def _is_signed(token: str) -> bool:
    """The older key form: a JWT over the id, signed with the secret, times in milliseconds."""
    parts = token.split(".")
    if len(parts) != 3:
        return False
    signature = hmac.digest(SECRET.encode(), ".".join(parts[:2]).encode(), hashlib.sha256)
    head, claims = (strict_json(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
    return (
        hmac.compare_digest(base64.urlsafe_b64encode(signature).rstrip(b"="), parts[2].encode())
        and (head["alg"], head["sign_type"]) == ("HS256", "SIGN")
        and claims["api_key"] == KEY_ID
        and int(claims["exp"]) > time.time() * 1000
    )


def _read(exchange: Exchange) -> Mapping[str, Any]:
    """The body, checked field by field. Raises ServiceError."""
    try:
        body = exchange.json()
    except ValueError:
        body = None
    kind = (exchange.header("content-type") or "").partition(";")[0]  # the SDK adds a charset
    if kind != "application/json" or not isinstance(body, dict):
        raise ServiceError(400, "1210", "API call parameters are incorrect")
    _check_fields(body)
    for name in ("model", "prompt"):
        if not body.get(name):
            raise ServiceError(400, "1213", f"The {name} parameter was not received properly.")
    if body["model"] not in MODELS:
        raise ServiceError(400, "1211", "Unknown Model, please check the model code.")
    family = MODELS[body["model"]]
    if body.get("quality", family.qualities[0]) not in family.qualities:
        raise illegal("quality")
    if not 6 <= len(body.get("user_id", "u-nobody")) <= 128:
        raise illegal("user_id")
    return body


def _check_fields(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name not in FIELDS:
            raise ServiceError(400, "1210", f"API call parameters are incorrect: {name}")
        if type(value) is not FIELDS[name]:
            raise illegal(name)


def _size(body: Mapping[str, Any], family: Family) -> tuple[int, int]:
    asked = body.get("size", family.presets[0])
    match = _SIZE.fullmatch(asked)
    edges = (int(match[1]), int(match[2])) if match else (0, 0)
    fits = all(512 <= edge <= 2048 and edge % family.step == 0 for edge in edges)
    if asked not in family.presets and not (fits and edges[0] * edges[1] <= family.area):
        raise illegal("size")
    return edges
