"""OpenAI's image models, from the DALL-E family of the spec document to gpt-image-2.6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Final

from providers.core.options import Choice, Option, openai_quality, standard_quality
from providers.core.prices import Prices, TokenPrices, usd
from providers.core.sizes import PixelBounds, PixelSizes
from providers.core.spec import PNG_JPEG_WEBP, ImageCount, Inputs, Mask, ModelSpec, Output, PromptLimit
from providers.core.types import ImageFormat, Operation, ResponseFormat

CHECKED: Final = date(2026, 11, 22)
SOURCE: Final = "openai-python 3.54.0, the OpenAPI description of autumn 2026, developers.openai.com deprecations"
SPEC: Final = "spec document (limits), openai-python 3.54.0 (dates)"
PRICED: Final = "public price map of 2026-11 (litellm 1.109.1)"
RESOLD: Final = "tokens: public price map of 2026-11; per image: a reseller's list in it, an estimate only"
BOTH: Final = frozenset(Operation)

FIXED: Final = PixelSizes.of("1024x1024", "1536x1024", "1024x1536", auto=True)
# Rule A (facts of 2026-11-22: edges and ratio from openai-python, the pixel budget from Azure's documentation).
FREE: Final = PixelBounds(
    multiple=16,
    min_edge=16,
    max_edge=3840,
    min_pixels=655_360,
    max_pixels=8_294_400,
    max_elongation=3,
    auto=True,
)
OPTIONS: Final[Mapping[str, Option]] = {
    "background": Choice.of("transparent", "opaque", "auto"),
    "moderation": Choice.of("auto", "low"),
}
FIDELITY: Final[Mapping[str, Option]] = {"input_fidelity": Choice.of("low", "high")}
LADDER: Final = ("low", "medium", "high", "xhigh", "max")


def _images(**by_quality: tuple[float, float]) -> dict[str, int]:
    """Dollars per image: square and oblong, by quality."""
    return {
        f"{quality}/{size}": usd(amount)
        for quality, (square, oblong) in by_quality.items()
        for size, amount in (("1024x1024", square), ("1536x1024", oblong), ("1024x1536", oblong))
    }


def _prices(images: dict[str, int], *tokens: float, source: str = PRICED) -> Prices:
    text, image, output = tokens[:3]
    answer = tokens[3] if len(tokens) > 3 else 0.0  # noqa: PLR2004 - the fourth price is optional
    prices = TokenPrices(input_text=text, input_image=image, output_image=output, output_text=answer)
    return Prices(images=images, tokens=prices, source=source, checked=CHECKED)


def _dalle(images: dict[str, float]) -> Prices:
    return Prices(images={key: usd(value) for key, value in images.items()}, source=PRICED, checked=CHECKED)


DALL_E_2: Final = ModelSpec(
    id="dall-e-2",
    provider="openai",
    source=SPEC,
    checked=CHECKED,
    operations=BOTH,
    prompt=PromptLimit(1000),
    sizes=PixelSizes.of("1024x1024", "256x256", "512x512"),
    n=ImageCount(per_request=10, per_call=10),
    quality=standard_quality(hd=False),
    # Edits of this model have no such field (unknown_parameter); they are of the one quality there is.
    edit_quality=replace(standard_quality(hd=False), sent=False),
    # "format must be in ['RGBA', 'LA', 'L'], got RGB" (sashabaranov/go-openai#188).
    inputs=Inputs(count=1, max_bytes=4_000_000, formats=(ImageFormat.PNG,), square=True, alpha=True),
    mask=Mask.NATIVE,
    output=Output(native=ResponseFormat.URL),
    prices=_dalle({"1024x1024": 0.02, "512x512": 0.018, "256x256": 0.016}),
    created=date(2022, 11, 3),
    retired_on=date(2026, 5, 12),
    note="Retired at OpenAI; Azure and compatible engines may still serve it.",
)
DALL_E_3: Final = ModelSpec(
    id="dall-e-3",
    provider="openai",
    source=SPEC,
    checked=CHECKED,
    prompt=PromptLimit(4000),
    sizes=PixelSizes.of("1024x1024", "1792x1024", "1024x1792"),
    n=ImageCount(per_request=1, per_call=1, lenient=10),
    quality=standard_quality(),
    options={"style": Choice.of("vivid", "natural")},
    output=Output(native=ResponseFormat.URL),
    prices=_dalle(
        {
            "standard/1024x1024": 0.04,
            "standard/1792x1024": 0.08,
            "standard/1024x1792": 0.08,
            "hd/1024x1024": 0.08,
            "hd/1792x1024": 0.12,
            "hd/1024x1792": 0.12,
        }
    ),
    created=date(2023, 11, 6),
    retired_on=date(2026, 5, 12),
    note="Retired at OpenAI; Azure and compatible engines may still serve it.",
)
GPT_IMAGE_1: Final = ModelSpec(
    id="gpt-image-1",
    provider="openai",
    source=SPEC,
    checked=CHECKED,
    operations=BOTH,
    prompt=PromptLimit(4000),
    sizes=FIXED,
    n=ImageCount(per_request=1, per_call=10, lenient=10, with_stream=1),
    quality=openai_quality("low", "medium", "high"),
    options=OPTIONS,
    edit_options=FIDELITY,
    inputs=Inputs(count=16),
    mask=Mask.NATIVE,
    partial_images=3,
    streams=True,
    output=Output(formats=PNG_JPEG_WEBP, compression=True),
    response_format=ResponseFormat.B64_JSON,
    prices=_prices(_images(low=(0.011, 0.016), medium=(0.042, 0.063), high=(0.167, 0.25)), 5, 10, 40),
    created=date(2025, 4, 23),
    retired_on=date(2026, 10, 23),
    note="Shut down at OpenAI; upstream limits were n 1-10 and 32,000 characters.",
)
GPT_IMAGE_1_5: Final = replace(
    GPT_IMAGE_1,
    id="gpt-image-1.5",
    n=ImageCount(per_request=10, per_call=10, with_stream=1),
    prices=_prices(_images(low=(0.009, 0.013), medium=(0.034, 0.05), high=(0.133, 0.2)), 5, 8, 32, 10),
    created=date(2025, 12, 16),
    deprecated_on=date(2026, 11, 4),
    retired_on=date(2026, 12, 1),
    successor="gpt-image-2.6-sunburst",
    aliases=("gpt-image-1.5-2025-12-16",),
    note="The spec document's limit is 4,000 characters; OpenAI takes 32,000.",
)
CHATGPT_IMAGE: Final = replace(
    GPT_IMAGE_1_5,
    id="chatgpt-image-latest",
    source=SOURCE,
    prompt=PromptLimit(32_000),
    aliases=(),
    note="Its transparency is unverified.",
)
GPT_IMAGE_1_MINI: Final = replace(
    CHATGPT_IMAGE,
    id="gpt-image-1-mini",
    # openai-python 3.54 names `low` alone for this model; older documentation calls the field unsupported.
    edit_options={"input_fidelity": Choice.of("low")},
    prices=_prices(_images(low=(0.005, 0.006), medium=(0.011, 0.015), high=(0.036, 0.052)), 2, 2.5, 8),
    created=date(2025, 10, 6),
    successor="gpt-image-2.6-flare",
)
GPT_IMAGE_2: Final = replace(
    GPT_IMAGE_1_5,
    id="gpt-image-2",
    source=SOURCE,
    prompt=PromptLimit(32_000),
    sizes=FREE,
    # input_fidelity must be left out: the upstream answers 400 (facts of 2026-11-22).
    edit_options={},
    prices=_prices(
        {
            **_images(low=(0.006, 0.005), medium=(0.053, 0.042), high=(0.211, 0.165)),
            "low": usd(0.012),
            "medium": usd(0.101),
            "high": usd(0.401),
        },
        5,
        8,
        30,
        source=RESOLD,
    ),
    created=date(2026, 4, 21),
    deprecated_on=None,
    retired_on=None,
    successor=None,
    aliases=("gpt-image-2-2026-04-21",),
    note="Transparent backgrounds are a preview since 2026-08-20.",
)
GPT_IMAGE_2_5: Final = replace(
    GPT_IMAGE_2,
    id="gpt-image-2.5-sunburst",
    quality=openai_quality(*LADDER),
    prices=_prices(
        {
            **_images(low=(0.00588, 0.00474), medium=(0.01317, 0.01029), high=(0.05268, 0.04116)),
            **_images(xhigh=(0.09366, 0.07377), max=(0.21072, 0.16464)),
            "low": usd(0.01113),
            "medium": usd(0.02595),
            "high": usd(0.10008),
            "xhigh": usd(0.1779),
            "max": usd(0.40026),
        },
        5,
        8,
        30,
        source=RESOLD,
    ),
    created=date(2026, 9, 8),
    aliases=("gpt-image-2.5-sunburst-2026-09-08",),
    note="",
)
GPT_IMAGE_2_6: Final = replace(
    GPT_IMAGE_2_5,
    id="gpt-image-2.6-sunburst",
    source="openai-python 3.54.0; limits from third parties and the AI SDK's catalogue of 2026-11",
    options={**OPTIONS, "complexity": Choice.of("low", "medium", "high")},
    prices=None,
    created=date(2026, 11, 4),
    aliases=(),
    note="Its limits and prices were not published by OpenAI itself when this row was checked.",
)
MODELS: Final = (
    GPT_IMAGE_2_6,
    replace(GPT_IMAGE_2_6, id="gpt-image-2.6-flare"),
    GPT_IMAGE_2_5,
    replace(GPT_IMAGE_2_5, id="gpt-image-2.5-flare", aliases=("gpt-image-2.5-flare-2026-09-08",)),
    GPT_IMAGE_2,
    GPT_IMAGE_1_5,
    CHATGPT_IMAGE,
    GPT_IMAGE_1_MINI,
    GPT_IMAGE_1,
    DALL_E_3,
    DALL_E_2,
)
