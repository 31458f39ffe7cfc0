"""The image models of the Gemini API, and what each draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Final

from providers.core.options import IntRange, tiered_quality
from providers.core.prices import Prices, TokenPrices, usd
from providers.core.sizes import AspectRatios
from providers.core.spec import ImageCount, Inputs, Mask, ModelSpec, Output, PromptLimit
from providers.core.types import ImageFormat, Operation
from providers.gemini.sizes import Shapes

IMAGES: Final = "https://ai.google.dev/gemini-api/docs/image-generation"
PRICING: Final = "https://ai.google.dev/gemini-api/docs/pricing"
CHECKED: Final = date(2026, 11, 22)
BOTH: Final = frozenset({Operation.GENERATE, Operation.EDIT})
# The API counts tokens only; 32,000 characters are the spec document's cap and OpenAI's own.
PROMPT: Final = PromptLimit(32_000)
# `generationConfig.seed` is an int32: accepted everywhere, best effort for images.
OPTIONS: Final = {"seed": IntRange(-(2**31), 2**31 - 1)}
# candidateCount above 1 is answered 400 on every image model: one image a call.
MANY: Final = ImageCount(per_request=10, per_call=1)
ONE: Final = ImageCount(per_request=1, per_call=1, lenient=10)

_FIRST: Final = AspectRatios.of(
    {
        "1:1": "1024x1024",
        "2:3": "832x1248",
        "3:2": "1248x832",
        "3:4": "864x1184",
        "4:3": "1184x864",
        "4:5": "896x1152",
        "5:4": "1152x896",
        "9:16": "768x1344",
        "16:9": "1344x768",
        "21:9": "1536x672",
    },
    scale={"1K": 1},
)
_TEN: Final = {
    "1:1": "1024x1024",
    "2:3": "848x1264",
    "3:2": "1264x848",
    "3:4": "896x1200",
    "4:3": "1200x896",
    "4:5": "928x1152",
    "5:4": "1152x928",
    "9:16": "768x1376",
    "16:9": "1376x768",
    "21:9": "1584x672",
}
# As documented; pictures of these four were seen to measure otherwise (512x2064, 352x2928; 2026-11-22).
_EXTREME: Final = {"1:4": "512x2048", "4:1": "2048x512", "1:8": "384x3072", "8:1": "3072x384"}
# No exact half of 1K. The documentation prints 792x168 for 21:9, which is a 33:7 picture (2026-11-22).
_SMALL: Final = {
    "1:1": "512x512",
    "2:3": "424x632",
    "3:2": "632x424",
    "3:4": "448x600",
    "4:3": "600x448",
    "4:5": "464x576",
    "5:4": "576x464",
    "9:16": "384x688",
    "16:9": "688x384",
    "21:9": "792x336",
    "1:4": "256x1024",
    "4:1": "1024x256",
    "1:8": "192x1536",
    "8:1": "1536x192",
}
_SCALE: Final = {"1K": 1, "2K": 2, "4K": 4}
_FOURTEEN: Final = {**_TEN, **_EXTREME}
TEN: Final = AspectRatios.of(_TEN, scale=_SCALE)
FOURTEEN: Final = AspectRatios.of(_FOURTEEN, scale=_SCALE)
FOURTEEN_1K: Final = AspectRatios.of(_FOURTEEN, scale={"1K": 1})
FOURTEEN_FROM_512: Final = AspectRatios(tiers={**AspectRatios.of(_SMALL, scale={"512": 1}).tiers, **FOURTEEN.tiers})

# Without a tier of its own a model has no `imageSize`: sending the field is an error there.
UNTIERED: Final = tiered_quality("1K", hd="1K", sent=False)
TIERED: Final = tiered_quality("1K", "2K", "4K", hd="2K")
TIERED_FROM_512: Final = tiered_quality("512", "1K", "2K", "4K", hd="2K")

# A request has at most 100 MB since 2026-01-12 (blog.google). Base64 makes three bytes four characters, and the
# prompt needs room as well.
INPUTS: Final = Inputs(count=14, total_bytes=74_800_000, upright=True)
PNG: Final = Output(formats=(ImageFormat.PNG,))
JPEG: Final = Output(formats=(ImageFormat.JPEG,))


def _prices(tokens: tuple[float, float, float], images: Mapping[str, float], input_image: float) -> Prices:
    """`tokens`: dollars per million in, text and thoughts out, image out; `images`: dollars by tier."""
    into, text, image = tokens
    return Prices(
        images={tier: usd(amount) for tier, amount in images.items()},
        input_image=usd(input_image),
        tokens=TokenPrices(input_text=into, input_image=into, output_text=text, output_image=image),
        source=PRICING,
        checked=CHECKED,
    )


NANO_BANANA_21: Final = ModelSpec(
    id="gemini-nano-banana-2.1",
    provider="gemini",
    source=IMAGES,
    checked=CHECKED,
    operations=BOTH,
    prompt=PROMPT,
    sizes=Shapes(FOURTEEN),
    edit_sizes=Shapes(FOURTEEN, follows_input=True),
    n=MANY,
    quality=TIERED,
    options=OPTIONS,
    inputs=INPUTS,
    mask=Mask.EMULATED,
    output=JPEG,
    # 4K is derived from resale prices: no official figure was found on 2026-11-22.
    prices=_prices((1.50, 7.50, 30.0), {"1K": 0.0336, "2K": 0.0504, "4K": 0.1134}, 0.00168),
    created=date(2026, 10, 6),
    aliases=("nano-banana-2.1",),
)

PRO: Final = ModelSpec(
    id="gemini-3-pro-image",
    provider="gemini",
    source=IMAGES,
    checked=CHECKED,
    operations=BOTH,
    prompt=PROMPT,
    sizes=Shapes(TEN),
    edit_sizes=Shapes(TEN, follows_input=True),
    n=MANY,
    quality=TIERED,
    options=OPTIONS,
    inputs=INPUTS,
    mask=Mask.EMULATED,
    output=JPEG,
    prices=_prices((2.0, 12.0, 120.0), {"1K": 0.134, "2K": 0.134, "4K": 0.24}, 0.0011),
    created=date(2026, 5, 28),
    aliases=("nano-banana-pro", "nano-banana-pro-preview"),
)

FLASH_31: Final = ModelSpec(
    id="gemini-3.1-flash-image",
    provider="gemini",
    source=IMAGES,
    checked=CHECKED,
    operations=BOTH,
    prompt=PROMPT,
    sizes=Shapes(FOURTEEN_FROM_512),
    edit_sizes=Shapes(FOURTEEN_FROM_512, follows_input=True),
    n=MANY,
    quality=TIERED_FROM_512,
    options=OPTIONS,
    inputs=INPUTS,
    mask=Mask.EMULATED,
    output=PNG,
    prices=_prices((0.50, 3.0, 60.0), {"512": 0.0448, "1K": 0.0672, "2K": 0.1008, "4K": 0.1512}, 0.00056),
    created=date(2026, 5, 28),
    deprecated_on=date(2026, 10, 6),
    successor="gemini-nano-banana-2.1",
    aliases=("nano-banana-2",),
    note="Third parties name 2026-10-29 as the shutdown date, the changelog none (2026-11-22).",
)

LITE_31: Final = ModelSpec(
    id="gemini-3.1-flash-lite-image",
    provider="gemini",
    source=IMAGES,
    checked=CHECKED,
    operations=BOTH,
    prompt=PROMPT,
    sizes=Shapes(FOURTEEN_1K),
    edit_sizes=Shapes(FOURTEEN_1K, follows_input=True),
    n=MANY,
    quality=UNTIERED,
    options=OPTIONS,
    inputs=INPUTS,
    mask=Mask.EMULATED,
    output=JPEG,
    prices=_prices((0.25, 1.50, 30.0), {"1K": 0.0336}, 0.00028),
    created=date(2026, 6, 30),
)

FLASH_25: Final = ModelSpec(
    id="gemini-2.5-flash-image",
    provider="gemini",
    source="spec document, Gemini Nano Banana; " + IMAGES,
    checked=CHECKED,
    operations=BOTH,
    prompt=PROMPT,
    sizes=Shapes(_FIRST),
    edit_sizes=Shapes(_FIRST, follows_input=True),
    n=ONE,
    quality=UNTIERED,
    options=OPTIONS,
    inputs=replace(INPUTS, count=3),
    mask=Mask.EMULATED,
    output=PNG,
    prices=_prices((0.30, 2.50, 30.0), {"1K": 0.039}, 258 * 0.30e-6),
    created=date(2025, 10, 2),
    deprecated_on=date(2026, 9, 18),
    successor="gemini-nano-banana-2.1",
    # The second is a text model's id that SDK tables list among the image models (r9s 0.9.0, 2026-11-22).
    aliases=("nano-banana", "gemini-2.5-flash-preview-05-20"),
    note="Since 2026-09-18 only for projects that had used it before; the upstream has no hd, 1K is drawn.",
)


def _retired(row: ModelSpec, id_: str, *, created: date, on: date, n: ImageCount, source: str) -> ModelSpec:
    """An id that the API no longer knows, served by the row that took its place."""
    return replace(
        row,
        id=id_,
        upstream_id=row.id,
        source=source,
        n=n,
        created=created,
        deprecated_on=None,
        retired_on=on,
        successor=row.id,
        aliases=(),
        note="",
    )


_DEPRECATIONS: Final = "https://ai.google.dev/gemini-api/docs/deprecations"

MODELS: Final = (
    NANO_BANANA_21,
    PRO,
    FLASH_31,
    LITE_31,
    FLASH_25,
    _retired(
        PRO,
        "gemini-3-pro-image-preview",
        created=date(2025, 11, 20),
        on=date(2026, 6, 25),
        n=ONE,
        source="spec document, Gemini Nano Banana Pro; " + _DEPRECATIONS,
    ),
    _retired(
        FLASH_31,
        "gemini-3.1-flash-image-preview",
        created=date(2026, 2, 26),
        on=date(2026, 6, 25),
        n=MANY,
        source=_DEPRECATIONS,
    ),
    _retired(
        FLASH_25,
        "gemini-2.5-flash-image-preview",
        created=date(2025, 8, 26),
        on=date(2026, 1, 15),
        n=ONE,
        source=_DEPRECATIONS,
    ),
)
