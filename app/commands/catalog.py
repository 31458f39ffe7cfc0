"""A model for `GET /v1/models`: its row as data, in OpenRouter's discovery words where it has one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

from providers.core.prices import MICRO, Prices
from providers.core.spec import Mask, ModelSpec
from providers.core.types import Operation

# OpenRouter's image discovery (docs of 2026-06-23): {name: {type: enum|range|boolean, ...}}.
ALWAYS: Final[dict[str, Any]] = {
    "response_format": {"type": "enum", "values": ["url", "b64_json"]},
    "output_format": {"type": "enum", "values": ["png", "jpeg", "webp"]},
    "output_compression": {"type": "range", "min": 0, "max": 100},
    "stream": {"type": "boolean"},
    "user": {"type": "string"},
    "safety_identifier": {"type": "string"},
}


def listed(specs: tuple[ModelSpec, ...]) -> dict[str, Any]:
    """The list as OpenAI gives it."""
    return {"object": "list", "data": [model(spec) for spec in specs]}


def model(spec: ModelSpec) -> dict[str, Any]:
    """One entry: OpenAI's keys, then `constraints`."""
    return {
        "id": spec.id,
        "object": "model",
        "created": _unix(spec.created),
        "owned_by": spec.provider,
        "shutdown_date": _day(spec.retired_on),
        "aliases": list(spec.aliases),
        "supported_parameters": parameters(spec),
        "constraints": constraints(spec),
    }


def parameters(spec: ModelSpec) -> dict[str, Any]:
    """Every parameter that a request may carry, with what it takes."""
    found = dict(ALWAYS)
    found["n"] = {"type": "range", "min": 1, "max": spec.n.per_request, "default": 1}
    found["size"] = {"type": "string", **spec.sizes.discovery()}
    if spec.quality:
        found["quality"] = {"type": "enum", "values": list(spec.quality.words)}
    if spec.partial_images:
        found["partial_images"] = {"type": "range", "min": 0, "max": spec.partial_images}
    return found | {name: option.discovery() for name, option in {**spec.options, **spec.edit_options}.items()}


def constraints(spec: ModelSpec) -> dict[str, Any]:
    """The limits of the model, and its dates."""
    inputs = spec.inputs if Operation.EDIT in spec.operations else None
    seed = spec.options.get("seed")
    return {
        "operations": sorted(operation.value for operation in spec.operations),
        **spec.sizes.discovery(),
        "n": {"min": 1, "max": spec.n.per_request, "per_call": spec.n.per_call, "lenient_max": spec.n.lenient},
        "prompt_max": spec.prompt.max,
        "prompt_unit": spec.prompt.unit.value,
        "quality": list(spec.quality.words) if spec.quality else None,
        "negative_prompt": "negative_prompt" in spec.options,
        "required": ["prompt", *sorted(spec.required)],
        "seed": seed.discovery() if seed else None,
        "mask": spec.mask.value if inputs else Mask.NONE.value,
        "input_images": inputs
        and {
            "max": inputs.count,
            "max_bytes": inputs.max_bytes,
            "max_total_bytes": inputs.total_bytes,
            "formats": [f.value for f in inputs.formats],
            "edit_sizes": dict(spec.size_rule(Operation.EDIT).discovery()),
            "edit_quality": list(words.words) if (words := spec.quality_rule(Operation.EDIT)) else None,
            "edit_options": sorted(spec.edit_options),
        },
        "output_formats": [f.value for f in spec.output.formats],
        "response_format": spec.response_format.value,
        "streaming": {"supported": True, "partial_images": spec.partial_images, "native": spec.streams},
        "prices": prices(spec.prices),
        "deprecated_on": _day(spec.deprecated_on),
        "retired_on": _day(spec.retired_on),
        "successor": spec.successor,
        "source": spec.source,
        "checked": spec.checked.isoformat(),
        "note": spec.note or None,
    }


def prices(row: Prices | None) -> dict[str, Any] | None:
    """Dollars: per image by quality and size, per input image, per million tokens."""
    if row is None:
        return None
    found: dict[str, Any] = {
        "currency": "USD",
        "image": {key or "any": value / MICRO for key, value in row.images.items()},
        "input_image": row.input_image / MICRO,
        "source": row.source,
        "checked": row.checked.isoformat() if row.checked else None,
    }
    if row.tokens:
        found["per_million_tokens"] = {
            "input_text": row.tokens.input_text,
            "input_image": row.tokens.input_image,
            "output_image": row.tokens.output_image,
            "output_text": row.tokens.output_text,
        }
    return found


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _unix(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
