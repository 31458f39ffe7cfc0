"""The rows of the FLUX models on Replicate, and the input schemas that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from providers.core.options import Flag, IntRange, Option
from providers.core.prices import Prices
from providers.core.sizes import AspectRatios, FirstOf, FollowsInput, PixelBounds
from providers.core.spec import ImageCount, Inputs, Mask, ModelSpec, Output, PromptLimit
from providers.core.types import ImageFormat, Operation, ResponseFormat, nothing

VENDOR: Final = "replicate"
CHECKED: Final = date(2026, 11, 22)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a family of models calls its inputs, as each has a schema of its own. An empty name: it has none.

    `image` takes one data URL, `images` a list. `shape_of_input` is what an edit says when no size was asked, and
    `with_seed` what a seed needs to be worth anything.
    """

    image: str = ""
    images: str = ""
    mask: str = ""
    count: str = ""
    ratio: bool = True
    shape_of_input: Mapping[str, str] = field(default_factory=nothing)
    with_seed: Mapping[str, Any] = field(default_factory=nothing)


# A row's `endpoint` names its schema, the path follows from the upstream id. From the models' API pages, 2026-11-23.
SCHEMAS: Final[Mapping[str, Schema]] = {
    # The fast path, on unless told otherwise, does not repeat a picture whatever the seed.
    "open": Schema(image="image", count="num_outputs", with_seed={"go_fast": False}),
    "pro": Schema(),
    "kontext": Schema(image="input_image", shape_of_input={"aspect_ratio": "match_input_image"}),
    "references": Schema(
        images="input_images",
        shape_of_input={"aspect_ratio": "match_input_image", "resolution": "match_input_image"},
    ),
    "fill": Schema(image="image", mask="mask", ratio=False),
}

_BOTH = frozenset({Operation.GENERATE, Operation.EDIT})
_LOSSY = Output(
    formats=(ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP), native=ResponseFormat.URL, compression=True
)
_PNG_OR_JPEG = Output(formats=(ImageFormat.PNG, ImageFormat.JPEG), native=ResponseFormat.URL)
# The documentation advises links above 256 kB but states no limit for data URLs (2026-11-22).
_INPUTS = Inputs(max_bytes=10_000_000, upright=True)
# The open models take 0 for a random seed. No range is documented.
_SEED: Mapping[str, Option] = {"seed": IntRange(1, 2_147_483_647)}
_EXTEND: Mapping[str, Option] = {"prompt_extend": Flag()}
# No limit is documented; the encoder of FLUX.1 reads 512 tokens, that of FLUX.2 32k (2026-11-22).
_PROMPT = PromptLimit(4000)


def _page(name: str) -> str:
    return f"https://replicate.com/black-forest-labs/{name}/api"


def _dollars(amount: float) -> Prices:
    return Prices.flat(amount, source="https://replicate.com/pricing", checked=CHECKED)


_MEGAPIXEL = AspectRatios.of(
    {
        "1:1": "1024x1024",
        "16:9": "1344x768",
        "21:9": "1536x640",
        "3:2": "1216x832",
        "2:3": "832x1216",
        "4:5": "896x1088",
        "5:4": "1088x896",
        "3:4": "896x1152",
        "4:3": "1152x896",
        "9:16": "768x1344",
        "9:21": "640x1536",
    }
)
# Pixels of the two tables below are nominal: only the shapes are documented (2026-11-23).
_FOUR_MEGAPIXELS = AspectRatios.of(
    {
        "1:1": "2048x2048",
        "16:9": "2752x1536",
        "21:9": "3136x1344",
        "3:2": "2496x1664",
        "2:3": "1664x2496",
        "4:5": "1824x2272",
        "5:4": "2272x1824",
        "3:4": "1792x2368",
        "4:3": "2368x1792",
        "9:16": "1536x2752",
        "9:21": "1344x3136",
    }
)
_KONTEXT_SHAPES = AspectRatios.of(
    {
        "1:1": "1024x1024",
        "16:9": "1392x752",
        "9:16": "752x1392",
        "4:3": "1184x880",
        "3:4": "880x1184",
        "3:2": "1248x832",
        "2:3": "832x1248",
        "4:5": "912x1136",
        "5:4": "1136x912",
        "21:9": "1568x672",
        "9:21": "672x1568",
        "2:1": "1456x720",
        "1:2": "720x1456",
    }
)
# Sent as aspect_ratio=custom; the upstream rounds other edges to 32.
_TWO_MEGAPIXELS = PixelBounds(multiple=32, min_edge=256, max_edge=1440)
_ANY_PIXELS = PixelBounds(multiple=32, min_edge=256, max_edge=2048)

_SCHNELL = ModelSpec(
    id="flux-schnell",
    provider=VENDOR,
    source=_page("flux-schnell"),
    checked=CHECKED,
    upstream_id="black-forest-labs/flux-schnell",
    endpoint="open",
    prompt=_PROMPT,
    sizes=_MEGAPIXEL,
    n=ImageCount(per_call=4),
    options=_SEED,
    output=_LOSSY,
    prices=_dollars(0.003),
)
_DEV = replace(
    _SCHNELL,
    id="flux-dev",
    source=_page("flux-dev"),
    upstream_id="black-forest-labs/flux-dev",
    operations=_BOTH,
    edit_sizes=FollowsInput(),
    inputs=_INPUTS,
    mask=Mask.EMULATED,
    prices=_dollars(0.025),
    note="An edit starts from the picture and keeps its shape, scaled to fit 1440x1440.",
)
_PRO = replace(
    _SCHNELL,
    id="flux-1.1-pro",
    source=_page("flux-1.1-pro"),
    upstream_id="black-forest-labs/flux-1.1-pro",
    endpoint="pro",
    sizes=_TWO_MEGAPIXELS,
    n=ImageCount(),
    options={**_SEED, **_EXTEND},
    prices=_dollars(0.04),
    note="Its image_prompt guides a composition and edits nothing, so there are no edits.",
)
_ULTRA = replace(
    _PRO,
    id="flux-1.1-pro-ultra",
    source=_page("flux-1.1-pro-ultra"),
    upstream_id="black-forest-labs/flux-1.1-pro-ultra",
    sizes=_FOUR_MEGAPIXELS,
    options=_SEED,
    output=_PNG_OR_JPEG,
    prices=_dollars(0.06),
)
_KONTEXT = ModelSpec(
    id="flux-kontext-pro",
    provider=VENDOR,
    source=_page("flux-kontext-pro"),
    checked=CHECKED,
    upstream_id="black-forest-labs/flux-kontext-pro",
    endpoint="kontext",
    operations=_BOTH,
    prompt=_PROMPT,
    sizes=_KONTEXT_SHAPES,
    edit_sizes=FirstOf((FollowsInput(), _KONTEXT_SHAPES)),
    n=ImageCount(),
    options={**_SEED, **_EXTEND},
    inputs=_INPUTS,
    mask=Mask.EMULATED,
    output=_PNG_OR_JPEG,
    prices=_dollars(0.04),
)
_KONTEXT_MAX = replace(
    _KONTEXT,
    id="flux-kontext-max",
    source=_page("flux-kontext-max"),
    upstream_id="black-forest-labs/flux-kontext-max",
    prices=_dollars(0.08),
)
_FLUX2 = replace(
    _KONTEXT,
    id="flux-2-pro",
    source=_page("flux-2-pro"),
    upstream_id="black-forest-labs/flux-2-pro",
    endpoint="references",
    prompt=PromptLimit(32_000),
    sizes=_ANY_PIXELS,
    edit_sizes=FirstOf((FollowsInput(), _ANY_PIXELS)),
    options=_SEED,
    inputs=replace(_INPUTS, count=8),
    output=_LOSSY,
    prices=None,
    note="Priced by the megapixel of inputs and output, so its cost is not known beforehand.",
)
_FILL = replace(
    _KONTEXT,
    id="flux-fill-pro",
    source=_page("flux-fill-pro"),
    upstream_id="black-forest-labs/flux-fill-pro",
    endpoint="fill",
    operations=frozenset({Operation.EDIT}),
    sizes=FollowsInput(),
    edit_sizes=None,
    inputs=replace(_INPUTS, mask_required=True, white_mask=True),
    mask=Mask.NATIVE,
    prices=_dollars(0.05),
    note="Without a mask, the transparent part of the image is painted.",
)

MODELS: Final = (_SCHNELL, _DEV, _PRO, _ULTRA, _KONTEXT, _KONTEXT_MAX, _FLUX2, _FILL)
