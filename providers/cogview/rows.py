"""Rows of the CogView family and of GLM-Image."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

from providers.core.options import Flag, Quality, standard_quality
from providers.core.prices import Prices
from providers.core.sizes import PixelBounds
from providers.core.spec import ImageCount, ModelSpec, Output, PromptLimit
from providers.core.types import ImageFormat, ResponseFormat, Size, sizes

VENDOR: Final = "cogview"
CHECKED: Final = date(2026, 11, 22)
_GUIDE: Final = "https://docs.z.ai/guides/image/cogview-4"
_REFERENCE: Final = "https://docs.bigmodel.cn/api-reference, OpenAPI file of 2026-07-11"
_LINKS: Final = Output(formats=(ImageFormat.PNG,), native=ResponseFormat.URL)
# No document gives a limit (2026-11-22); what is too long for the model is refused with 1261, at no cost.
_UNLIMITED: Final = PromptLimit(32000)

_COGVIEW_4: Final = ModelSpec(
    id="cogview-4-250304",
    provider=VENDOR,
    source=_GUIDE,
    checked=CHECKED,
    prompt=_UNLIMITED,
    sizes=PixelBounds(
        multiple=16,
        min_edge=512,
        max_edge=2048,
        min_pixels=512**2,
        max_pixels=2**21,
        max_elongation=4,
        presets=sizes("1024x1024", "768x1344", "864x1152", "1344x768", "1152x864", "1440x720", "720x1440"),
    ),
    n=ImageCount(per_request=10, per_call=1),
    quality=standard_quality(),
    options={"watermark": Flag()},
    output=_LINKS,
    prices=Prices.flat(0.01, source=_GUIDE, checked=CHECKED),
    created=date(2025, 3, 4),
    note="Pictures carry a visible AI label unless watermark is false, which needs a signed waiver at the vendor.",
)

MODELS: Final = (
    replace(
        _COGVIEW_4,
        id="glm-image",
        source="https://docs.z.ai/guides/image/glm-image",
        # The guide says edges from 512, the OpenAPI file recommends 1024 and has presets with 960 (2026-11-22).
        sizes=PixelBounds(
            multiple=32,
            min_edge=512,
            max_edge=2048,
            min_pixels=512**2,
            max_pixels=2**22,
            max_elongation=4,
            presets=sizes("1280x1280", "1568x1056", "1056x1568", "1472x1088", "1088x1472", "1728x960", "960x1728"),
            default=Size(1280, 1280),
        ),
        quality=Quality(words={"auto": "hd", "hd": "hd", "high": "hd"}, ladder=("hd",), default="hd"),
        prices=Prices.flat(0.015, source="https://docs.z.ai/guides/image/glm-image", checked=CHECKED),
        created=date(2026, 1, 14),
    ),
    _COGVIEW_4,
    replace(_COGVIEW_4, id="cogview-4", source=_REFERENCE),
    # Documents of 2025 say that quality is honoured by cogview-4-250304 only: hd is not promised here (2026-11-22).
    replace(
        _COGVIEW_4,
        id="cogview-3-flash",
        source=_REFERENCE,
        quality=standard_quality(hd=False),
        prices=Prices.flat(0.0, source="free on open.bigmodel.cn", checked=CHECKED),
        created=date(2025, 1, 1),
        note=f"{_COGVIEW_4.note} On open.bigmodel.cn (ZHIPUAI_API_KEY).",
    ),
    # Absent from the model list of 2026-07-11; its successor answers, within the limits of the spec document.
    replace(
        _COGVIEW_4,
        id="cogview-3",
        upstream_id="cogview-4",
        source="Images, Provider-Specific Constraints (the product's reference document)",
        prompt=PromptLimit(833),
        n=ImageCount(per_request=1, per_call=1, lenient=10),
        # Its successor is told, as callers of the old model never paid for more.
        quality=replace(standard_quality(hd=False), unasked=True),
        created=date(2024, 1, 16),
        retired_on=date(2026, 7, 11),
        successor="cogview-4",
    ),
)
