"""A strict stand-in of generativelanguage.googleapis.com, generateContent of the image models."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from tests.upstreams.gemini.answers import (
    blocked,
    drafted,
    finished,
    made,
    mislabelled,
    prompt_blocked,
    talked,
    twice,
)
from tests.upstreams.gemini.asked import Asked, read
from tests.upstreams.gemini.rules import MODELS, Rules
from tests.upstreams.gemini.status import (
    ServiceError,
    daily,
    invalid_key,
    missing,
    no_free_tier,
    not_enabled,
    throttled,
)
from tests.upstreams.http import Exchange, Reply
from tests.upstreams.server import StandIn, Trigger, disturb, trigger_in

KEY: Final = "gemini-stand-in-key"
BADINPUT: Final = "BADINPUT"  # in a prompt: the service's own 400
BLOCKED: Final = "BLOCKED"  # the prompt is refused before anything is drawn
TALK: Final = "TALK"  # words instead of a picture
NOIMAGE: Final = "NOIMAGE"  # finish reason NO_IMAGE
DRAFT: Final = "DRAFT"  # a picture of the thinking before the final one
TWICE: Final = "TWICE"  # two final pictures
MISLABELLED: Final = "MISLABELLED"  # the declared type is not that of the bytes, the keys are in snake case
PERDAY: Final = "PERDAY"  # the day's quota is spent
LISTED: Final = "LISTED"  # the error comes inside a list
BUSY: Final = "BUSY"  # 503
_PATH: Final = re.compile(r"/(v1|v1beta)/models/([^/:]+):(\w+)")
_ANSWERS: Final = {
    BLOCKED: prompt_blocked,
    TALK: talked,
    NOIMAGE: lambda asked: finished(asked, "NO_IMAGE"),
    DRAFT: drafted,
    TWICE: twice,
    MISLABELLED: mislabelled,
}


class GeminiServer(StandIn):
    """Checks every field against its own table of models; no streaming."""

    def handle(self, exchange: Exchange) -> Reply:
        try:
            return self._served(exchange)
        except ServiceError as error:
            return error.reply

    def _served(self, exchange: Exchange) -> Reply:
        rules = _authorized(exchange)
        if exchange.header("content-type") != "application/json":
            raise ServiceError(400, "INVALID_ARGUMENT", "Request content type is not JSON.")
        asked = read(exchange.body, rules)
        trigger = trigger_in(asked.prompt)
        _refuse(asked.prompt, trigger)
        return disturb(trigger, replace(Reply.json(200, _document(asked, trigger)), paid=True))


def _document(asked: Asked, trigger: Trigger | None) -> dict[str, Any]:
    if trigger is Trigger.FORBIDDEN:
        return blocked(asked)
    if trigger is Trigger.EMPTY:
        return finished(asked, "STOP")
    answer = next((answer for word, answer in _ANSWERS.items() if word in asked.prompt), made)
    return answer(asked)


def _authorized(exchange: Exchange) -> Rules:
    """The model of the path, if the key is right. Raises ServiceError."""
    match = _PATH.fullmatch(exchange.path)
    if match is None or exchange.method != "POST" or exchange.query:
        raise ServiceError(404, "NOT_FOUND", "Requested entity was not found.")
    key = exchange.header("x-goog-api-key")
    if exchange.header("authorization") is not None:
        raise ServiceError(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
    if key is None:
        raise ServiceError(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
    if key != KEY:
        raise invalid_key()
    _, model, method = match.groups()
    if model not in MODELS or method != "generateContent":
        raise missing(model, method)
    return MODELS[model]


def _refuse(prompt: str, trigger: Trigger | None) -> None:
    if trigger is Trigger.RATELIMIT:
        raise throttled()
    if trigger is Trigger.QUOTA:
        raise no_free_tier()
    if trigger is Trigger.BOOM:
        raise ServiceError(500, "INTERNAL", "An internal error has occurred.")
    if PERDAY in prompt:
        raise daily()
    if BUSY in prompt:
        raise ServiceError(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
    if BADINPUT in prompt:
        raise ServiceError(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    if LISTED in prompt:
        error = not_enabled()
        error.reply = Reply.json(error.reply.status, [error.document])
        raise error
