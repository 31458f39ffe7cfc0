"""The inputs that each model takes, checked against a copy of its API page of its own (2026-11-23)."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from math import sqrt
from typing import Any, Final

from PIL import Image, UnidentifiedImageError

_DATA_URL = re.compile(r"data:image/(png|jpeg|webp|gif);base64,(.*)", re.DOTALL)
_SHAPES: Final = {"1:1", "16:9", "3:2", "2:3", "4:5", "5:4", "9:16", "3:4", "4:3"}
_WIDE: Final = {"21:9", "9:21"}
_PIXELS: Final = {"1:1": (1024, 1024), "16:9": (1344, 768), "21:9": (1536, 640), "3:2": (1216, 832)}


class InputError(Exception):
    """One field of the input is not as its schema wants it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"- input.{field}: {reason}\n")
        self.document = {
            "title": "Input validation failed",
            "detail": str(self),
            "status": 422,
            "invalid_fields": [{"type": "value_error", "field": f"input.{field}", "description": reason}],
        }


Rule = Callable[[Any], bool]


def one_of(*values: str) -> Rule:
    return lambda value: value in values


def whole(low: int, high: int) -> Rule:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def picture_of(field: str, value: Any) -> Image.Image:
    """The picture in a data URL. Raises InputError."""
    match = _DATA_URL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InputError(field, "Does not match format 'uri'")
    try:
        image = Image.open(BytesIO(b64decode(match[2], validate=True)))
        image.load()
    except (ValueError, OSError, UnidentifiedImageError) as error:
        raise InputError(field, "is not an image") from error
    if (image.format or "").lower() != match[1]:
        raise InputError(field, "is of another type than its URL says")
    return image


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model: its fields besides the pictures, the pictures, and its default encoding."""

    fields: Mapping[str, Rule]
    pictures: tuple[str, ...] = ()
    required: tuple[str, ...] = ("prompt",)
    listed: bool = False  # results come as a list
    format: str = "webp"


_SEED: Final[Mapping[str, Rule]] = {"seed": whole(-(2**63), 2**63 - 1)}
_WEBP: Final[Mapping[str, Rule]] = {"output_format": one_of("webp", "jpg", "png"), "output_quality": whole(0, 100)}
_JPG_PNG: Final[Mapping[str, Rule]] = {"output_format": one_of("jpg", "png")}
_CUSTOM: Final[Mapping[str, Rule]] = {"width": whole(256, 1440), "height": whole(256, 1440)}
_SAFETY: Final[Mapping[str, Rule]] = {"safety_tolerance": whole(0, 6)}
_UPSAMPLING: Final[Mapping[str, Rule]] = {"prompt_upsampling": flag}
_OPEN: Final[Mapping[str, Rule]] = {
    "prompt": text,
    "aspect_ratio": one_of(*_SHAPES, *_WIDE),
    "num_outputs": whole(1, 4),
    "go_fast": flag,
    "disable_safety_checker": flag,
    "megapixels": one_of("1", "0.25"),
    **_SEED,
    **_WEBP,
}
_KONTEXT: Final = Model(
    fields={
        "prompt": text,
        "aspect_ratio": one_of("match_input_image", *_SHAPES, *_WIDE, "2:1", "1:2"),
        **_SEED,
        **_JPG_PNG,
        **_SAFETY,
        **_UPSAMPLING,
    },
    pictures=("input_image",),
    format="png",
)
MODELS: Final[Mapping[str, Model]] = {
    "black-forest-labs/flux-schnell": Model(fields=_OPEN, listed=True),
    "black-forest-labs/flux-dev": Model(fields=_OPEN, pictures=("image",), listed=True),
    "black-forest-labs/flux-1.1-pro": Model(
        fields={
            "prompt": text,
            "aspect_ratio": one_of("custom", *_SHAPES),
            **_CUSTOM,
            **_SEED,
            **_WEBP,
            **_SAFETY,
            **_UPSAMPLING,
        }
    ),
    "black-forest-labs/flux-1.1-pro-ultra": Model(
        fields={
            "prompt": text,
            "aspect_ratio": one_of(*_SHAPES, *_WIDE),
            "raw": flag,
            **_SEED,
            **_JPG_PNG,
            **_SAFETY,
        },
        format="jpg",
    ),
    "black-forest-labs/flux-kontext-pro": _KONTEXT,
    "black-forest-labs/flux-kontext-max": _KONTEXT,
    "black-forest-labs/flux-2-pro": Model(
        fields={
            "prompt": text,
            "aspect_ratio": one_of("match_input_image", "custom", *_SHAPES),
            "resolution": one_of("match_input_image", "0.5 MP", "1 MP", "2 MP", "4 MP"),
            "width": whole(256, 2048),
            "height": whole(256, 2048),
            **_SEED,
            **_WEBP,
            **_SAFETY,
        },
        pictures=("input_images",),
    ),
    "black-forest-labs/flux-fill-pro": Model(
        fields={"prompt": text, "steps": whole(1, 50), **_SEED, **_JPG_PNG, **_SAFETY, **_UPSAMPLING},
        pictures=("image", "mask"),
        required=("prompt", "image"),
        format="jpg",
    ),
}


@dataclass(frozen=True, slots=True)
class Job:
    """An input that passed every check."""

    model: Model
    fields: Mapping[str, Any]
    pictures: Mapping[str, list[Image.Image]]

    @classmethod
    def read(cls, model: Model, given: Mapping[str, Any]) -> Job:
        """Raises InputError."""
        fields, pictures = {}, {}
        for name, value in given.items():
            if name in model.pictures:
                values = value if name.endswith("s") else [value]
                if not isinstance(values, list) or not 1 <= len(values) <= 8:
                    raise InputError(name, "Invalid type. Expected: array of 1 to 8")
                pictures[name] = [picture_of(name, one) for one in values]
            elif name not in model.fields:
                raise InputError(name, "Additional property is not allowed")
            elif not model.fields[name](value):
                raise InputError(name, "Does not match the schema")
            else:
                fields[name] = value
        job = cls(model, fields, pictures)
        job.check()
        return job

    def check(self) -> None:
        for name in self.model.required:
            if name not in self.fields and name not in self.pictures:
                raise InputError(name, "is required")
        custom = self.fields.get("aspect_ratio") == "custom"
        for edge in ("width", "height"):
            if custom != (edge in self.fields):
                raise InputError(edge, "goes with aspect_ratio=custom and with nothing else")
            if self.fields.get(edge, 0) % 32:
                raise InputError(edge, "would be rounded")
        if self.fields.get("aspect_ratio") == "match_input_image" and not self.pictures:
            raise InputError("aspect_ratio", "there is no input image to match")
        if "mask" in self.pictures and self.pictures["mask"][0].size != self.pictures["image"][0].size:
            raise InputError("mask", "must have the same size as image")

    @property
    def base(self) -> Image.Image | None:
        """The first input picture."""
        return next((pictures[0] for name, pictures in self.pictures.items() if name != "mask"), None)

    @property
    def size(self) -> tuple[int, int]:
        if "width" in self.fields:
            return self.fields["width"], self.fields["height"]
        ratio = self.fields.get("aspect_ratio", "match_input_image")
        if self.base is not None and ratio == "match_input_image":
            return self.base.size
        if ":" not in ratio:
            return 832, 832
        return _PIXELS.get(ratio) or _a_megapixel(*map(int, ratio.split(":")))


def _a_megapixel(width: int, height: int) -> tuple[int, int]:
    """About that many pixels of a shape, in steps of 32."""
    edge = sqrt(2**20 / (width * height)) / 32
    return round(width * edge) * 32, round(height * edge) * 32
