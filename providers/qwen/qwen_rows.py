"""Rows of the Qwen-Image and Z-Image families."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

from providers.core.sizes import FollowsInput, PixelBounds, PixelSizes
from providers.core.spec import Inputs, Mask, ModelSpec, PromptLimit
from providers.core.types import sizes
from providers.qwen.rows import (
    ALL_OPTIONS,
    BOTH,
    BY_LINK,
    CHECKED,
    EDIT,
    EXTEND,
    LEGACY_INPUTS,
    MAX_INPUT_BYTES,
    NEGATIVE,
    QWEN,
    QWEN_LEGACY,
    SEED,
    UP_TO_2K,
    VENDOR,
    WATERMARK,
    WITH_GIF,
    dollars,
    fanned,
    with_snapshots,
    yuan,
    yuan_by_tier,
)
from providers.qwen.sizes import ONE_K, TWO_K, Area, ShapeOfInput, area

# Prompt limits of this family are tokens and longer prompts are cut in silence; a token is seldom less than a
# character, so as many characters are let through and nothing is cut (2026-11-22).

_ANY_AREA: Final = Area(bounds=area(512, 2048, ratio=8, auto=True), tiers=(ONE_K, TWO_K))

_V3_PRO: Final = ModelSpec(
    id="qwen-image-3.0-pro",
    provider=VENDOR,
    source=QWEN,
    checked=CHECKED,
    endpoint="image-generation",  # measured above five minutes an image: a task survives what a held line does not
    operations=BOTH,
    prompt=PromptLimit(4500),
    sizes=_ANY_AREA,
    edit_sizes=ShapeOfInput(_ANY_AREA),
    n=fanned(6),
    quality=UP_TO_2K,
    options=ALL_OPTIONS,
    inputs=Inputs(count=3, max_bytes=MAX_INPUT_BYTES, formats=WITH_GIF, upright=True),
    mask=Mask.EMULATED,
    output=BY_LINK,
    prices=yuan_by_tier(0.299768, 0.562065, 0.022483),
    created=date(2026, 7, 1),
    deadline_seconds=600,
)

_V3: Final = replace(
    _V3_PRO,
    id="qwen-image-3.0",
    prices=dollars(0.024754, "example configuration of a third party, 2026"),
    deadline_seconds=None,
)

_V2_1_PRO: Final = replace(
    _V3_PRO,
    id="qwen-image-2.1-pro",
    endpoint="multimodal",
    sizes=Area(bounds=area(512, 2048, ratio=8)),
    edit_sizes=ShapeOfInput(Area(bounds=area(512, 2048, ratio=8))),
    quality=None,
    options=SEED | EXTEND | WATERMARK,
    inputs=Inputs(count=10, max_bytes=MAX_INPUT_BYTES, formats=WITH_GIF, upright=True),
    prices=None,
    created=date(2026, 10, 1),
    deadline_seconds=None,
    note="Thinly documented: prompt limit and options are those of its family (2026-11-22).",
)

_V2_PRO: Final = replace(
    _V3_PRO,
    id="qwen-image-2.0-pro",
    source=QWEN_LEGACY,
    endpoint="multimodal",  # refuses the asynchronous header with 403
    prompt=PromptLimit(1300),
    sizes=Area(
        bounds=replace(
            area(512, 2048, ratio=8, default="2048x2048"),
            presets=sizes("2688x1536", "1536x2688", "2368x1728", "1728x2368"),
        )
    ),
    edit_sizes=ShapeOfInput(Area(bounds=replace(area(512, 2048, ratio=8), multiple=16))),
    quality=None,
    inputs=LEGACY_INPUTS,
    prices=dollars(0.075, "third party, 2026"),
    created=date(2026, 3, 3),
    deadline_seconds=None,
)

_V2: Final = replace(_V2_PRO, id="qwen-image-2.0", prices=yuan(0.20))

_PLUS: Final = ModelSpec(
    id="qwen-image-plus",
    provider=VENDOR,
    source=QWEN_LEGACY,
    checked=CHECKED,
    endpoint="multimodal",  # on the text2image endpoint the document contradicts itself on negative_prompt
    prompt=PromptLimit(800),
    sizes=PixelSizes.of("1664x928", "1472x1104", "1328x1328", "1104x1472", "928x1664"),
    n=fanned(1),
    options=ALL_OPTIONS,
    output=BY_LINK,
    prices=dollars(0.03, "third party, 2026"),
    created=date(2025, 9, 1),
)

_MAX: Final = replace(
    _PLUS,
    id="qwen-image-max",
    prices=dollars(0.075, "third party, 2026"),
    created=date(2025, 12, 30),
)

_FIRST: Final = replace(_PLUS, id="qwen-image", prices=None, created=date(2025, 8, 4))

_EDIT_PIXELS: Final = Area(bounds=PixelBounds(multiple=16, min_edge=512, max_edge=2048))

_EDIT_PLUS: Final = ModelSpec(
    id="qwen-image-edit-plus",
    provider=VENDOR,
    source=QWEN_LEGACY,
    checked=CHECKED,
    endpoint="multimodal",
    operations=EDIT,
    prompt=PromptLimit(800),
    sizes=ShapeOfInput(_EDIT_PIXELS),
    n=fanned(6),
    options=ALL_OPTIONS,
    inputs=LEGACY_INPUTS,
    mask=Mask.EMULATED,
    output=BY_LINK,
    created=date(2025, 10, 30),
)

_EDIT_MAX: Final = replace(_EDIT_PLUS, id="qwen-image-edit-max", created=date(2026, 1, 16))

_EDIT_FIRST: Final = replace(
    _EDIT_PLUS,
    id="qwen-image-edit",
    sizes=FollowsInput(),
    n=fanned(1),
    options=NEGATIVE | SEED | WATERMARK,
    prices=yuan(0.30),
    created=date(2025, 8, 19),
)

_Z_IMAGE: Final = ModelSpec(
    id="z-image-turbo",
    provider=VENDOR,
    source="https://github.com/QwenCloud/qwencloud-ai",
    checked=CHECKED,
    endpoint="multimodal-single",
    prompt=PromptLimit(800),
    sizes=Area(bounds=area(512, 2048, ratio=8, default="1024x1536")),
    n=fanned(1),
    options=SEED | EXTEND,
    output=BY_LINK,
    created=date(2025, 12, 1),
    note="prompt_extend doubles the price.",
)

QWEN_ROWS: Final[tuple[ModelSpec, ...]] = (
    _V3_PRO,
    _V3,
    _V2_1_PRO,
    *with_snapshots(_V2_PRO, "2026-06-22", "2026-04-22", "2026-03-03"),
    *with_snapshots(_V2, "2026-03-03"),
    *with_snapshots(_MAX, "2025-12-30"),
    *with_snapshots(_PLUS, "2026-01-09"),
    _FIRST,
    *with_snapshots(_EDIT_MAX, "2026-01-16"),
    *with_snapshots(_EDIT_PLUS, "2025-12-15", "2025-10-30"),
    _EDIT_FIRST,
    _Z_IMAGE,
)
