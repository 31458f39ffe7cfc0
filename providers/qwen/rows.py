"""What all rows of this vendor share: documents, options, counts, prices, snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Final

from providers.core.options import Flag, IntRange, Option, Quality, Text, tiered_quality
from providers.core.prices import Prices, usd
from providers.core.spec import ImageCount, Inputs, ModelSpec, Output
from providers.core.types import ImageFormat, Operation, ResponseFormat

VENDOR: Final = "qwen"
CHECKED: Final = date(2026, 11, 22)
_HELP: Final = "https://www.alibabacloud.com/help/en/model-studio"
QWEN: Final = f"{_HELP}/qwen-image-generation-and-editing-api-reference"
QWEN_LEGACY: Final = f"{_HELP}/legacy-qwen-image-models"
WAN_IMAGE: Final = f"{_HELP}/wan-image-generation-api-reference"
WAN_TEXT: Final = f"{_HELP}/text-to-image-v2-api-reference"
SPEC_DOCUMENT: Final = "images reference of the r9s SDK 0.9.0"

GENERATE: Final = frozenset({Operation.GENERATE})
EDIT: Final = frozenset({Operation.EDIT})
BOTH: Final = GENERATE | EDIT

SEED: Final[dict[str, Option]] = {"seed": IntRange(0, 2147483647)}
NEGATIVE: Final[dict[str, Option]] = {"negative_prompt": Text(500)}
WATERMARK: Final[dict[str, Option]] = {"watermark": Flag()}
EXTEND: Final[dict[str, Option]] = {"prompt_extend": Flag()}
ALL_OPTIONS: Final = NEGATIVE | SEED | EXTEND | WATERMARK

UP_TO_2K: Final[Quality] = tiered_quality("1K", "2K", hd="2K", sent=False)
UP_TO_4K: Final[Quality] = tiered_quality("1K", "2K", "4K", hd="2K", sent=False)

# The vendor takes 10,485,760 characters of a data URL, its head included; base64 makes three bytes four characters.
MAX_INPUT_BYTES: Final = 7_860_000
BY_LINK: Final = Output(formats=(ImageFormat.PNG,), native=ResponseFormat.URL)
WITH_GIF: Final = (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.GIF)
LEGACY_INPUTS: Final = Inputs(
    count=3, max_bytes=MAX_INPUT_BYTES, formats=WITH_GIF, min_edge=384, max_edge=3072, upright=True
)

# The vendor lists CNY 0.14 in its Beijing region as USD 0.02007 (2026-03-15); prices known in CNY only use this rate.
_CNY_PER_USD: Final = 0.14 / 0.02007


def fanned(per_call: int) -> ImageCount:
    """One to ten images a request, `per_call` of them by one call."""
    return ImageCount(per_request=10, per_call=per_call)


def dollars(amount: float, source: str) -> Prices:
    """A price list of one price."""
    return Prices.flat(amount, source=source, checked=CHECKED)


def yuan(amount: float) -> Prices:
    """A price that the vendor gives for mainland China only, in dollars."""
    return dollars(amount / _CNY_PER_USD, f"CNY {amount} at {_CNY_PER_USD:.3f} to the dollar")


def yuan_by_tier(one: float, two: float, per_input: float) -> Prices:
    """Prices in CNY of a 1K and of a 2K image, and of one input image, in dollars."""
    return Prices(
        images={"1K": usd(one / _CNY_PER_USD), "2K": usd(two / _CNY_PER_USD)},
        input_image=usd(per_input / _CNY_PER_USD),
        source=f"CNY {one}, {two} and {per_input} for an input, at {_CNY_PER_USD:.3f} to the dollar",
        checked=CHECKED,
    )


def with_snapshots(spec: ModelSpec, *days: str) -> Iterator[ModelSpec]:
    """The row, and one for each of its dated snapshots."""
    yield spec
    for day in days:
        yield replace(spec, id=f"{spec.id}-{day}", created=date.fromisoformat(day), note="A dated snapshot.")
