"""The OpenAPI description of the routes: bodies and answers, for people and for generated clients."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from app.config import KeyFields
from app.schemas import EditBody, GenerationBody
from providers.core.types import Operation

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
    416: "The file has no such range.",
    422: "The idempotency key came before with another request.",
    429: "A limit is reached, or a balance is spent.",
    500: "The gateway failed.",
    502: "The upstream failed.",
    503: "No room now, or the provider is overloaded.",
    504: "No answer before the deadline.",
}
Answers = dict[int | str, dict[str, Any]]


def _said(text: str, schema: dict[str, Any], *media_types: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {kind: {"schema": schema} for kind in media_types or ("application/json",)},
    }


def _errors(*statuses: int) -> Answers:
    """These errors, and that any other looks like them (which also keeps the framework's own 422 out)."""
    named: Answers = {status: _said(STATUSES[status], ERROR) for status in statuses}
    return {**named, "default": _said("Any other error.", ERROR)}


_ERRORS: Final = _errors(*sorted(STATUSES.keys() - {416}))
ANSWERS: Final[Answers] = {
    200: {
        "description": "The images; with `stream`, server-sent events.",
        "content": {
            "application/json": {"schema": IMAGES},
            "text/event-stream": {},  # OpenAPI 3.1 has no words for a sequence of events
        },
    },
    **_ERRORS,
}
EXPLAINED: Final[Answers] = {
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


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema in one piece."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    whole = _inlined(schema, definitions)
    # Strict callers, and that is the default, may send nothing else.
    return {**whole, "additionalProperties": False}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    rest = {key: _inlined(value, definitions) for key, value in node.items() if key != "$ref"}
    if "$ref" not in node:
        return rest
    return {**_inlined(definitions[node["$ref"].rpartition("/")[2]], definitions), **rest}


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
_TEXTS: Final = {"type": "array", "items": _TEXT}
_MODEL: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by", "constraints"],
    "properties": {
        "id": _TEXT,
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": _TEXT,
        "shutdown_date": {"type": ["string", "null"]},
        "aliases": _TEXTS,
        "supported_parameters": {"type": "object"},
        "constraints": {"type": "object"},
    },
}
_LIST: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
}
_STATUS: Final = {"type": "object", "required": ["status"], "properties": {"status": _TEXT}}
_IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")
MODELS: Final[Answers] = {200: _said("The models.", _LIST), **_errors(400, 401, 403)}
MODEL: Final[Answers] = {200: _said("The model.", _MODEL), **_errors(401, 403, 404)}
RESULT: Final[Answers] = {
    200: _said("The answer of that request.", IMAGES),
    202: _said("It is still being made.", _STATUS),
    **_errors(400, 401, 403, 404, 429, 500, 502, 503, 504),
}
FILE: Final[Answers] = {
    200: _said("The image.", _FILE, *_IMAGE_TYPES),
    206: _said("The part of it that was asked for.", _FILE, *_IMAGE_TYPES),
    **_errors(403, 404, 416, 503),
}
HEALTH: Final[Answers] = {200: _said("Yes.", _STATUS), **_errors(403)}
READY: Final[Answers] = {200: _said("Yes.", _STATUS), **_errors(403, 503)}
METRICS: Final[Answers] = {200: _said("Prometheus' text format.", _TEXT, "text/plain"), **_errors(401, 403)}
ADMIN: Final = _errors(400, 401, 403, 404, 413, 415)
ADMIN_CSV: Final[Answers] = {200: _said("A line for each row.", _TEXT, "text/csv"), **ADMIN}
KEY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(KeyFields)}}}
}
