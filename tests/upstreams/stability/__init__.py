"""A strict stand-in of api.stability.ai, v2beta image services. Its limits are its own copy of the reference."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Final

from PIL import ImageFilter

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.images import encode
from tests.upstreams.server import StandIn, Trigger, disturb, trigger_in
from tests.upstreams.stability.form import ROUTES, Form, ServiceError, bad
from tests.upstreams.stability.paint import painted

KEY: Final = "sk-stability-stand-in"
FILTERED: Final = "FILTERED"  # in a prompt: status 200 with a blurred picture
BADINPUT: Final = "BADINPUT"  # in a prompt: the service's own 400
MAX_BODY: Final = 10 * 2**20


class StabilityServer(StandIn):
    """Checks every field, and paints: white in the mask is edited, black is kept."""

    def handle(self, exchange: Exchange) -> Reply:
        try:
            return self._served(exchange)
        except ServiceError as error:
            return error.reply

    def _served(self, exchange: Exchange) -> Reply:
        if exchange.header("authorization") != f"Bearer {KEY}":
            raise ServiceError(401, "unauthorized", "authorization: invalid or missing header value")
        route = ROUTES.get(exchange.path)
        if route is None or exchange.method != "POST":
            raise ServiceError(404, "not_found", "the requested resource was not found")
        if len(exchange.body) > MAX_BODY:
            raise ServiceError(413, "payload_too_large", "body: requests must not be larger than 10MiB")
        form = Form.read(exchange, route)
        prompt = form.texts.get("prompt", "")
        if BADINPUT in prompt:
            raise bad("prompt", "must be in English")
        trigger = trigger_in(prompt)
        _refuse(trigger)
        natural = _answer(exchange, form, FILTERED if FILTERED in prompt else "SUCCESS")
        if trigger is Trigger.EMPTY:
            natural = replace(Reply.json(200, {"finish_reason": "SUCCESS", "seed": form.seed}), paid=True)
        return disturb(trigger, natural)


def _refuse(trigger: Trigger | None) -> None:
    if trigger is Trigger.FORBIDDEN:
        raise ServiceError(403, "content_moderation", "Your request was flagged by our content moderation system")
    if trigger is Trigger.RATELIMIT:
        raise ServiceError(
            429, "rate_limit_exceeded", "You have exceeded the rate limit of 150 requests in 10 seconds"
        )
    if trigger is Trigger.QUOTA:
        raise ServiceError(402, "payment_required", "You lack sufficient credits to make this request")
    if trigger is Trigger.BOOM:
        raise ServiceError(500, "internal_error", "An unexpected server error has occurred")


def _answer(exchange: Exchange, form: Form, reason: str) -> Reply:
    image = painted(form, exchange.path)
    if reason == FILTERED:
        image = image.convert("RGB").filter(ImageFilter.GaussianBlur(16))
    kind = form.texts.get("output_format", "png")
    data = encode(image, kind)
    reason = "CONTENT_FILTERED" if reason == FILTERED else reason
    if exchange.header("accept") != "application/json":
        return replace(Reply.file(f"image/{kind}", data, finish_reason=reason, seed=str(form.seed)), paid=True)
    document = {"image": base64.b64encode(data).decode(), "finish_reason": reason, "seed": form.seed}
    return replace(Reply.json(200, document), paid=True)
