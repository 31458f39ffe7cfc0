"""The form that each endpoint takes, checked against a copy of the reference of its own (2026-11-22)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import Image, UnidentifiedImageError

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.multipart import MultipartError, Part, parse

TRACE: Final = "aa1577a1bc234d3b8a1f6e2d93c4b5a6"

_MEGAPIXEL: Final = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "2:3": (832, 1216),
    "3:2": (1216, 832),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
_CORE: Final = {ratio: (width * 3 // 2, height * 3 // 2) for ratio, (width, height) in _MEGAPIXEL.items()}
_STYLES: Final = re.compile(
    "3d-model|analog-film|anime|cinematic|comic-book|digital-art|enhance|fantasy-art|isometric|line-art|low-poly"
    "|modeling-compound|neon-punk|origami|photographic|pixel-art|tile-texture"
)
SIDES: Final = ("left", "right", "up", "down")
_SD3: Final = {"sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium", "sd3.5-flash"}
_NO_NEGATIVE: Final = {"sd3.5-large-turbo", "sd3.5-flash"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What one endpoint takes: text fields and files, the required ones first."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("png", "jpeg", "webp")
    sizes: Mapping[str, tuple[int, int]] | None = None
    max_pixels: int = 9_437_184
    max_elongation: float = 1e9


_TEXT: Final = ("negative_prompt", "seed", "style_preset", "output_format")
ROUTES: Final[Mapping[str, Route]] = {
    "/v2beta/stable-image/generate/core": Route(required=("prompt",), optional=("aspect_ratio", *_TEXT), sizes=_CORE),
    "/v2beta/stable-image/generate/ultra": Route(
        required=("prompt",),
        optional=("aspect_ratio", "strength", *_TEXT),
        files=("image",),
        sizes=_MEGAPIXEL,
        max_pixels=2**28,
    ),
    "/v2beta/stable-image/generate/sd3": Route(
        required=("prompt",),
        optional=("aspect_ratio", "strength", "model", "mode", "cfg_scale", *_TEXT),
        files=("image",),
        formats=("png", "jpeg"),
        sizes=_MEGAPIXEL,
        max_pixels=2**28,
    ),
    "/v2beta/stable-image/edit/inpaint": Route(
        required=("image", "prompt"), optional=("grow_mask", *_TEXT), files=("image", "mask")
    ),
    "/v2beta/stable-image/edit/erase": Route(
        required=("image",), optional=("grow_mask", "seed", "output_format"), files=("image", "mask")
    ),
    "/v2beta/stable-image/edit/outpaint": Route(
        required=("image",),
        optional=(*SIDES, "prompt", "creativity", "seed", "style_preset", "output_format"),
        files=("image",),
        max_elongation=2.5,
    ),
    "/v2beta/stable-image/edit/search-and-replace": Route(
        required=("image", "prompt", "search_prompt"),
        optional=("grow_mask", *_TEXT),
        files=("image",),
        max_elongation=2.5,
    ),
    "/v2beta/stable-image/edit/search-and-recolor": Route(
        required=("image", "prompt", "select_prompt"),
        optional=("grow_mask", "negative_prompt", "seed", "output_format"),
        files=("image",),
        max_elongation=2.5,
    ),
    "/v2beta/stable-image/edit/remove-background": Route(
        required=("image",),
        optional=("output_format",),
        files=("image",),
        formats=("png", "webp"),
        max_pixels=4_194_304,
    ),
}


class ServiceError(Exception):
    """What the service answers instead of a picture."""

    def __init__(self, status: int, name: str, *errors: str) -> None:
        super().__init__(name)
        self.reply = Reply.json(status, {"id": TRACE, "name": name, "errors": list(errors)})


def bad(field: str, reason: str) -> ServiceError:
    return ServiceError(400, "bad_request", f"{field}: {reason}")


@dataclass(frozen=True, slots=True)
class Form:
    """A form that passed every check."""

    route: Route
    texts: Mapping[str, str]
    images: Mapping[str, Image.Image]

    @classmethod
    def read(cls, exchange: Exchange, route: Route) -> Form:
        try:
            parts = parse(exchange.header("content-type"), exchange.body)
        except MultipartError as error:
            raise bad("content-type", "must be multipart/form-data") from error
        texts = dict(_texts(parts, route))
        images = {part.name: _opened(part) for part in parts if part.name in route.files}
        for name in route.required:
            if name not in texts and name not in images:
                raise bad(name, "is required")
        form = cls(route, texts, images)
        form.check()
        return form

    @property
    def seed(self) -> int:
        return int(self.texts.get("seed", "0")) or 343940597

    @property
    def size(self) -> tuple[int, int]:
        return (self.route.sizes or _MEGAPIXEL)[self.texts.get("aspect_ratio", "1:1")]

    def check(self) -> None:
        for name, text in self.texts.items():
            if not _RULES[name](text):
                raise bad(name, "is not one of the allowed values")
        if "model" in self.route.optional:
            self._check_sd3()
        if "aspect_ratio" in self.texts and "image" in self.images:
            raise bad("aspect_ratio", "is only valid for text-to-image requests")
        if ("strength" in self.texts) != ("image" in self.images) and "strength" in self.route.optional:
            raise bad("strength", "is required with an image, and only then")
        if self.texts.get("output_format", "png") not in self.route.formats:
            raise bad("output_format", "is not one of the allowed values")
        if "left" in self.route.optional and not any(int(self.texts.get(side, "0")) for side in SIDES):
            raise bad("left", "at least one outpaint direction must be supplied with a non-zero value")
        for name, image in self.images.items():
            self._check_image(name, image)

    def _check_sd3(self) -> None:
        model = self.texts.get("model", "sd3.5-large")
        if model in _NO_NEGATIVE and "negative_prompt" in self.texts:
            raise bad("negative_prompt", "is not supported by this model")
        if (self.texts.get("mode", "text-to-image") == "image-to-image") != ("image" in self.images):
            raise bad("mode", "an image needs image-to-image, and image-to-image an image")

    def _check_image(self, name: str, image: Image.Image) -> None:
        if min(image.size) < 64:
            raise bad(name, "width and height must be at least 64 pixels")
        if image.width * image.height > self.route.max_pixels:
            raise bad(name, f"must not have more than {self.route.max_pixels} pixels")
        if max(image.size) / min(image.size) > self.route.max_elongation:
            raise bad(name, "aspect ratio must be between 1:2.5 and 2.5:1")


def _texts(parts: list[Part], route: Route) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for part in parts:
        if part.name in seen:
            raise bad(part.name, "must be sent once")
        seen.add(part.name)
        if part.name in route.files:
            if part.filename is None:
                raise bad(part.name, "must be a file")
        elif part.name not in (*route.required, *route.optional):
            raise bad(part.name, "is not a valid field")
        elif part.filename is not None:
            raise bad(part.name, "must not be a file")
        else:
            yield part.name, part.text


def _opened(part: Part) -> Image.Image:
    try:
        image = Image.open(BytesIO(part.data))
        image.load()
    except (UnidentifiedImageError, OSError) as error:
        raise bad(part.name, "must be a valid image") from error
    if part.content_type != f"image/{(image.format or '').lower()}":
        raise bad(part.name, f"is declared as {part.content_type} and is {image.format}")
    if image.format not in {"JPEG", "PNG", "WEBP"}:
        raise bad(part.name, "must be jpeg, png or webp")
    return image


def _number(low: float, high: float) -> Callable[[str], bool]:
    def rule(text: str) -> bool:
        return text.replace(".", "", 1).isdigit() and low <= float(text) <= high

    return rule


def _whole(low: int, high: int) -> Callable[[str], bool]:
    def rule(text: str) -> bool:
        return text.isascii() and text.isdigit() and low <= int(text) <= high

    return rule


_RULES: Final[Mapping[str, Callable[[str], bool]]] = {
    "prompt": lambda text: 1 <= len(text) <= 10_000,
    **dict.fromkeys(("search_prompt", "select_prompt"), lambda text: 1 <= len(text) <= 10_000),
    "negative_prompt": lambda text: len(text) <= 10_000,
    "aspect_ratio": lambda text: text in _MEGAPIXEL,
    "seed": _whole(0, 4_294_967_294),
    "style_preset": lambda text: _STYLES.fullmatch(text) is not None,
    "output_format": lambda text: text in {"png", "jpeg", "webp"},
    "strength": _number(0, 1),
    "creativity": _number(0, 1),
    "cfg_scale": _number(1, 10),
    "mode": lambda text: text in {"text-to-image", "image-to-image"},
    "model": lambda text: text in _SD3,
    "grow_mask": _whole(0, 20),
    **dict.fromkeys(SIDES, _whole(0, 2000)),
}
