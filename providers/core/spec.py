"""ModelSpec: the one row in which a model's limits, price, names and dates live. Everybody reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from providers.core.options import Option, Quality
from providers.core.prices import Prices
from providers.core.sizes import SizeRule
from providers.core.types import ImageFormat, Operation, ResponseFormat, nothing

PNG_JPEG_WEBP = (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP)


class Unit(StrEnum):
    """What a prompt limit counts."""

    CHARACTERS = "characters"
    BYTES = "bytes"


class Mask(StrEnum):
    """How an edit with a mask is done: by the model, by the gateway around it, or not at all."""

    NATIVE = "native"
    EMULATED = "emulated"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PromptLimit:
    """The longest prompt. `used` is False where the upstream has no field for one: reported, and none is needed."""

    max: int
    unit: Unit = Unit.CHARACTERS
    used: bool = True

    def measure(self, prompt: str) -> int:
        """The prompt's length in this unit."""
        return len(prompt.encode()) if self.unit is Unit.BYTES else len(prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCount:
    """How many images: `per_request` is granted, `per_call` made by one upstream call, more by fan-out.

    `lenient` is granted under the lenient policy where the spec document grants less than fan-out can give.
    """

    per_request: int = 10
    per_call: int = 1
    lenient: int | None = None
    with_stream: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What input images an edit takes. `max_bytes` is of one, `total_bytes` of all; `square` is DALL-E 2's rule.

    `indexed` says that palettes are known to be taken, `alpha` that nothing without an alpha channel is, `opaque`
    that nothing with one is, `upright` that EXIF turns are not known to be read. With `mask_required` the model edits
    only where a mask, or transparency of the image itself, says so; with `white_mask` it edits where a mask is white.
    """

    count: int = 1
    max_bytes: int = 50_000_000
    total_bytes: int | None = None
    formats: tuple[ImageFormat, ...] = PNG_JPEG_WEBP
    min_edge: int = 1
    max_edge: int = 16384
    max_pixels: int = 2**28
    max_elongation: float = 16384.0
    square: bool = False
    indexed: bool = False
    alpha: bool = False
    opaque: bool = False
    upright: bool = False
    mask_required: bool = False
    white_mask: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What comes back: the encodings the upstream can be asked for (the first unasked), and in which form."""

    formats: tuple[ImageFormat, ...] = (ImageFormat.PNG,)
    native: ResponseFormat = ResponseFormat.B64_JSON
    compression: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelSpec:
    """One model as its provider's documentation describes it on `checked`.

    `upstream_id` is the name on the wire; a retired id with a drop-in `successor` is served by it. `edit_sizes` and
    `edit_quality` stand in for `sizes` and `quality` on the edit route where they are given; `edit_options` are what
    only edits take, and `required` those options without which the model does nothing.
    """

    id: str
    provider: str
    source: str
    checked: date
    upstream_id: str = ""
    operations: frozenset[Operation] = frozenset({Operation.GENERATE})
    prompt: PromptLimit
    sizes: SizeRule
    edit_sizes: SizeRule | None = None
    n: ImageCount
    quality: Quality | None = None
    edit_quality: Quality | None = None
    options: Mapping[str, Option] = field(default_factory=nothing)
    edit_options: Mapping[str, Option] = field(default_factory=nothing)
    required: frozenset[str] = frozenset()
    inputs: Inputs | None = None
    mask: Mask = Mask.NONE
    partial_images: int = 0
    streams: bool = False
    output: Output = Output()
    response_format: ResponseFormat = ResponseFormat.URL
    prices: Prices | None = None
    created: date = date(2025, 1, 1)
    deprecated_on: date | None = None
    retired_on: date | None = None
    successor: str | None = None
    aliases: tuple[str, ...] = ()
    deadline_seconds: float | None = None
    endpoint: str = ""
    note: str = ""

    def __str__(self) -> str:
        return self.id

    @property
    def wire_id(self) -> str:
        """The name that the upstream knows."""
        return self.upstream_id or self.id

    def size_rule(self, operation: Operation) -> SizeRule:
        """The size rule of the route in question."""
        return self.edit_sizes if operation is Operation.EDIT and self.edit_sizes else self.sizes

    def quality_rule(self, operation: Operation) -> Quality | None:
        """The quality words of the route in question; None where it has none."""
        return self.edit_quality if operation is Operation.EDIT and self.edit_quality else self.quality

    def option(self, param: str, operation: Operation) -> Option | None:
        """What values a parameter takes on the route in question; None where it has no such parameter."""
        only_edits = self.edit_options.get(param) if operation is Operation.EDIT else None
        return only_edits or self.options.get(param)
