"""Rows of the Wan and Wanx families, and of the Stable Diffusion models that the vendor hosts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

from providers.core.options import Choice, Option
from providers.core.sizes import FollowsInput, PixelBounds, PixelSizes
from providers.core.spec import ImageCount, Inputs, Mask, ModelSpec, PromptLimit
from providers.qwen.rows import (
    ALL_OPTIONS,
    BOTH,
    BY_LINK,
    CHECKED,
    EDIT,
    MAX_INPUT_BYTES,
    NEGATIVE,
    SEED,
    SPEC_DOCUMENT,
    UP_TO_2K,
    UP_TO_4K,
    VENDOR,
    WAN_IMAGE,
    WAN_TEXT,
    WATERMARK,
    dollars,
    fanned,
    yuan,
)
from providers.qwen.sizes import FOUR_K, ONE_K, TWO_K, Area, ShapeOfInput, area

_BEIJING: Final = "Beijing region only: set DASHSCOPE_BASE_URL to https://dashscope.aliyuncs.com."
_STYLE: Final[dict[str, Option]] = {
    "style": Choice.of(
        "auto",
        "photography",
        "portrait",
        "3d cartoon",
        "anime",
        "oil painting",
        "watercolor",
        "sketch",
        "chinese painting",
        "flat illustration",
    )
}

_V2_7_EDIT: Final = ShapeOfInput(Area(bounds=area(768, 2048, ratio=8), tiers=(ONE_K, TWO_K)))

_V2_7_PRO: Final = ModelSpec(
    id="wan2.7-image-pro",
    provider=VENDOR,
    source=WAN_IMAGE,
    checked=CHECKED,
    endpoint="image-generation-wan",
    operations=BOTH,
    prompt=PromptLimit(5000),
    sizes=Area(bounds=area(768, 4096, ratio=8), tiers=(ONE_K, TWO_K, FOUR_K)),
    edit_sizes=_V2_7_EDIT,
    n=fanned(4),
    quality=UP_TO_4K,
    edit_quality=UP_TO_2K,
    options=SEED | WATERMARK,  # sources disagree on negative_prompt (2026-11-22): not promised
    inputs=Inputs(
        count=9, max_bytes=MAX_INPUT_BYTES, opaque=True, upright=True, min_edge=240, max_edge=8000, max_elongation=8
    ),
    mask=Mask.EMULATED,
    output=BY_LINK,
    prices=dollars(0.075, "github.com/QwenCloud/qwencloud-ai, 2026-04"),
    created=date(2026, 4, 1),
    note="4K is for generations only.",
)

_V2_7: Final = replace(
    _V2_7_PRO,
    id="wan2.7-image",
    sizes=Area(bounds=area(768, 2048, ratio=8), tiers=(ONE_K, TWO_K)),
    quality=UP_TO_2K,
    prices=dollars(0.03, "github.com/QwenCloud/qwencloud-ai, 2026-04"),
    note="",
)

_V2_6_IMAGE: Final = ModelSpec(
    id="wan2.6-image",
    provider=VENDOR,
    source=WAN_IMAGE,
    checked=CHECKED,
    endpoint="image-generation-wan-edit",
    operations=EDIT,
    prompt=PromptLimit(2000),
    sizes=ShapeOfInput(Area(bounds=area(768, 2048, ratio=4), tiers=(ONE_K, TWO_K))),
    n=fanned(4),
    quality=UP_TO_2K,
    options=ALL_OPTIONS,
    inputs=Inputs(count=4, max_bytes=MAX_INPUT_BYTES, opaque=True, upright=True, min_edge=240, max_edge=8000),
    mask=Mask.EMULATED,
    output=BY_LINK,
    created=date(2025, 12, 16),
)

_V2_6_TEXT: Final = ModelSpec(
    id="wan2.6-t2i",
    provider=VENDOR,
    source=WAN_TEXT,
    checked=CHECKED,
    endpoint="image-generation-wan",
    prompt=PromptLimit(2100),
    sizes=Area(bounds=area(1280, 1440, ratio=4, default="1280x1280")),
    n=fanned(4),
    options=ALL_OPTIONS,
    output=BY_LINK,
    created=date(2025, 12, 16),
)

_V2_5_TEXT: Final = replace(
    _V2_6_TEXT,
    id="wan2.5-t2i-preview",
    endpoint="text2image",
    prompt=PromptLimit(2000),
    created=date(2025, 9, 24),
)

_V2_5_EDIT: Final = replace(
    _V2_5_TEXT,
    id="wan2.5-i2i-preview",
    source=WAN_IMAGE,
    endpoint="image2image",
    operations=EDIT,
    sizes=ShapeOfInput(Area(bounds=area(768, 1280, ratio=4, default="1280x1280"))),
    inputs=Inputs(count=3, max_bytes=MAX_INPUT_BYTES, opaque=True, upright=True, min_edge=384, max_edge=5000),
    mask=Mask.EMULATED,
)

_V2_2_FLASH: Final = replace(
    _V2_5_TEXT,
    id="wan2.2-t2i-flash",
    prompt=PromptLimit(800),
    sizes=Area(bounds=PixelBounds(min_edge=512, max_edge=1440)),
    created=date(2025, 7, 28),
)
_V2_2_PLUS: Final = replace(_V2_2_FLASH, id="wan2.2-t2i-plus")

_V2_1_TURBO: Final = replace(
    _V2_2_FLASH,
    id="wan2.1-t2i-turbo",
    prices=dollars(0.025, "alibabacloud.com, 2025"),
    created=date(2025, 1, 8),
)
_V2_1_PLUS: Final = replace(_V2_1_TURBO, id="wan2.1-t2i-plus", prices=dollars(0.05, "alibabacloud.com, 2025"))
_X2_1_TURBO: Final = replace(_V2_1_TURBO, id="wanx2.1-t2i-turbo", prices=yuan(0.14), note=_BEIJING)
_X2_1_PLUS: Final = replace(_V2_1_PLUS, id="wanx2.1-t2i-plus", prices=yuan(0.20), note=_BEIJING)
_X2_0_TURBO: Final = replace(_X2_1_TURBO, id="wanx2.0-t2i-turbo", prices=yuan(0.04))

_X2_1_EDIT: Final = ModelSpec(
    id="wanx2.1-imageedit",
    provider=VENDOR,
    source="https://www.alibabacloud.com/help/en/model-studio/wanx-image-edit-api-reference",
    checked=CHECKED,
    endpoint="image2image-base",
    operations=EDIT,
    prompt=PromptLimit(800),
    sizes=FollowsInput(),
    n=fanned(4),
    options=SEED | WATERMARK,
    inputs=Inputs(
        count=1, max_bytes=MAX_INPUT_BYTES, opaque=True, upright=True, white_mask=True, min_edge=512, max_edge=4096
    ),
    mask=Mask.NATIVE,
    output=BY_LINK,
    prices=dollars(0.02007, "alibabacloud.com, 2026-03-15"),
    created=date(2025, 3, 1),
    note=_BEIJING,
)

# Keeps the spec document's limits; upstream also draws 768x1152 and up to four images a call (2026-11-22).
_X_V1: Final = ModelSpec(
    id="wanx-v1",
    provider=VENDOR,
    source=SPEC_DOCUMENT,
    checked=CHECKED,
    endpoint="text2image",
    prompt=PromptLimit(800),
    sizes=PixelSizes.of("1024x1024", "720x1280", "1280x720"),
    n=ImageCount(per_request=1, per_call=4, lenient=10),
    options=NEGATIVE | SEED | _STYLE,
    output=BY_LINK,
    prices=yuan(0.16),
    created=date(2023, 9, 1),
    note=_BEIJING,
)

# How many images one call makes is documented by third parties only (one-api says 4): one is always right.
_SD_XL: Final = ModelSpec(
    id="ali-stable-diffusion-xl",
    upstream_id="stable-diffusion-xl",
    provider=VENDOR,
    source=SPEC_DOCUMENT,
    checked=CHECKED,
    endpoint="text2image",
    prompt=PromptLimit(800),
    sizes=PixelSizes.of("1024x1024", "512x1024", "1024x768", "576x1024", "1024x576"),
    n=ImageCount(per_request=1, per_call=1, lenient=10),
    options=NEGATIVE | SEED,
    output=BY_LINK,
    created=date(2023, 11, 1),
    note="By application only.",
)
_SD_1_5: Final = replace(_SD_XL, id="ali-stable-diffusion-v1.5", upstream_id="stable-diffusion-v1.5")

WAN_ROWS: Final[tuple[ModelSpec, ...]] = (
    _V2_7_PRO,
    _V2_7,
    _V2_6_TEXT,
    _V2_6_IMAGE,
    _V2_5_TEXT,
    _V2_5_EDIT,
    _V2_2_FLASH,
    _V2_2_PLUS,
    _V2_1_TURBO,
    _V2_1_PLUS,
    _X2_1_TURBO,
    _X2_1_PLUS,
    _X2_0_TURBO,
    _X2_1_EDIT,
    _X_V1,
    _SD_XL,
    _SD_1_5,
)
