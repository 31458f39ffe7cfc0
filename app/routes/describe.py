"""The OpenAPI description of the image routes: bodies and answers, for people and for generated clients."""

from __future__ import annotations

from typing import Any, Final

from app.schemas import EditBody, GenerationBody, ImageFields
from providers.core.types import Operation

_REF: Final = "#/components/schemas/{model}"
_TEXT: Final = {"type": "string"}
_FILE: Final = {"type": "string", "format": "binary"}
ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
IMAGES: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["created", "data"],
    "properties": {
        "created": {"type": "integer"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"url": _TEXT, "b64_json": _TEXT, "revised_prompt": _TEXT},
            },
        },
        "size": _TEXT,
        "quality": _TEXT,
        "background": _TEXT,
        "output_format": _TEXT,
        "usage": {"type": "object"},
        "pinhole": {"type": "object"},
    },
}
STATUSES: Final[dict[int, str]] = {
    400: "The request breaks a rule, or the provider refuses its content.",
    401: "No caller key, or an unknown one.",
    403: "The key may not do this.",
    404: "No such model.",
    405: "Another method is needed.",
    408: "The body came too slowly.",
    413: "The body or a part of it is too large.",
    415: "The body has another form than the route reads.",
    422: "The idempotency key came before with another request.",
    429: "A limit is reached, or a balance is spent.",
    500: "The gateway failed.",
    502: "The upstream failed.",
    503: "No room now, or the provider is overloaded.",
    504: "No answer before the deadline.",
}
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": text, "content": {"application/json": {"schema": ERROR}}}
    for status, text in STATUSES.items()
}
ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The images; with `stream`, server-sent events.",
        "content": {
            "application/json": {"schema": IMAGES},
            "text/event-stream": {"schema": _TEXT},
        },
    },
    **_ERRORS,
}
EXPLAINED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "What would be done.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "provider", "adjustments", "calls", "cost_usd"],
                    "properties": {
                        "model": _TEXT,
                        "provider": _TEXT,
                        "adjustments": {"type": "array"},
                        "calls": {"type": "array"},
                        "cost_usd": {"type": ["number", "null"]},
                    },
                }
            }
        },
    },
    **_ERRORS,
}
SUMMARY: Final = {
    (Operation.GENERATE, False): "Make images from a prompt",
    (Operation.GENERATE, True): "Say what would be made, for how much, without making it",
    (Operation.EDIT, False): "Edit images with a prompt, and a mask if you like",
    (Operation.EDIT, True): "Say what would be edited, for how much, without doing it",
}


def _schema(model: type[ImageFields]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF)
    definitions = schema.pop("$defs", {})
    text = dict(schema["properties"])
    for name, value in text.items():
        if "ImageReference" in str(value):
            reference = definitions["ImageReference"]
            text[name] = {"type": "array", "items": reference} if name == "images" else reference
    return {**schema, "properties": text}


def _form() -> dict[str, Any]:
    schema = _schema(EditBody)
    fields = {name: value for name, value in schema["properties"].items() if name not in {"images", "mask"}}
    files = {"image": {"type": "array", "items": _FILE, "minItems": 1, "maxItems": 16}, "mask": _FILE}
    return {"type": "object", "required": ["prompt", "image"], "properties": {**fields, **files}}


GENERATION: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(GenerationBody)}}}
}
EDIT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _form()},
            "application/json": {"schema": _schema(EditBody)},
        },
    }
}
