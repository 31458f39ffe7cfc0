"""The rows of Stability's v2beta image services, and what each endpoint takes besides the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from providers.core.options import Choice, IntRange, Option, Text
from providers.core.prices import Prices
from providers.core.sizes import AspectRatios, FollowsInput
from providers.core.spec import ImageCount, Inputs, Mask, ModelSpec, Output, PromptLimit
from providers.core.types import ImageFormat, Operation
from providers.stability.canvas import Canvas

VENDOR: Final = "stability"
CHECKED: Final = date(2026, 11, 22)
REFERENCE: Final = "https://platform.stability.ai/docs/api-reference"
REROUTED: Final = date(2025, 4, 17)  # since then the SD 3.0 names are answered by SD 3.5, at the same price

ULTRA: Final = "/v2beta/stable-image/generate/ultra"
CORE: Final = "/v2beta/stable-image/generate/core"
SD3: Final = "/v2beta/stable-image/generate/sd3"
INPAINT: Final = "/v2beta/stable-image/edit/inpaint"
ERASE: Final = "/v2beta/stable-image/edit/erase"
OUTPAINT: Final = "/v2beta/stable-image/edit/outpaint"
SEARCH_AND_REPLACE: Final = "/v2beta/stable-image/edit/search-and-replace"
SEARCH_AND_RECOLOR: Final = "/v2beta/stable-image/edit/search-and-recolor"
REMOVE_BACKGROUND: Final = "/v2beta/stable-image/edit/remove-background"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What an endpoint takes beyond prompt, picture and options.

    `names_model`: several models answer there, by name and mode. `strength`: an edit starts from the picture and must
    say how far from it. `grow_mask`: it would paint beyond the mask unless told otherwise. `search`: its
    field for what to look for.
    """

    names_model: bool = False
    strength: bool = False
    grow_mask: bool = False
    search: str = ""


SERVICES: Final[Mapping[str, Service]] = {
    ULTRA: Service(strength=True),
    CORE: Service(),
    SD3: Service(names_model=True, strength=True),
    INPAINT: Service(grow_mask=True),
    ERASE: Service(grow_mask=True),
    OUTPAINT: Service(),
    SEARCH_AND_REPLACE: Service(search="search_prompt"),
    SEARCH_AND_RECOLOR: Service(search="select_prompt"),
    REMOVE_BACKGROUND: Service(),
}

_BOTH = frozenset({Operation.GENERATE, Operation.EDIT})
_EDIT = frozenset({Operation.EDIT})
_EVERY_FORMAT = Output(formats=(ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP))

_MEGAPIXEL = AspectRatios.of(
    {
        "1:1": "1024x1024",
        "16:9": "1344x768",
        "21:9": "1536x640",
        "2:3": "832x1216",
        "3:2": "1216x832",
        "4:5": "896x1088",
        "5:4": "1088x896",
        "9:16": "768x1344",
        "9:21": "640x1536",
    }
)
# The reference promises 1.5 megapixels; these are the sizes that the vendor's own client expects (6c0e3a2).
_CORE_SIZES = AspectRatios.of(
    {
        "1:1": "1536x1536",
        "16:9": "2016x1152",
        "21:9": "2304x960",
        "2:3": "1248x1824",
        "3:2": "1824x1248",
        "4:5": "1344x1632",
        "5:4": "1632x1344",
        "9:16": "1152x2016",
        "9:21": "960x2304",
    }
)

# 0 asks the upstream for a random seed, so the smallest that can be repeated is 1; the range ends below 2**32 - 1.
_SEED: Mapping[str, Option] = {"seed": IntRange(1, 4_294_967_294)}
_NEGATIVE: Mapping[str, Option] = {"negative_prompt": Text(10_000)}
_SEARCH: Mapping[str, Option] = {"search_prompt": Text(10_000)}
_STYLE: Mapping[str, Option] = {
    "style": Choice.of(
        "3d-model",
        "analog-film",
        "anime",
        "cinematic",
        "comic-book",
        "digital-art",
        "enhance",
        "fantasy-art",
        "isometric",
        "line-art",
        "low-poly",
        "modeling-compound",
        "neon-punk",
        "origami",
        "photographic",
        "pixel-art",
        "tile-texture",
    )
}

_BODY = 10 * 2**20  # bytes of a whole request
_PICTURE = _BODY - 2**18  # leaves room for text and for a mask, which is small as grey PNG
_INPUT = Inputs(max_bytes=_PICTURE, min_edge=64, max_pixels=9_437_184, upright=True)


def _cents(credits_: float) -> Prices:
    """A credit is a cent. Refusals before generation and failures are free."""
    return Prices.flat(credits_ / 100, source="https://platform.stability.ai/pricing", checked=CHECKED)


_ULTRA = ModelSpec(
    id="stable-image-ultra",
    provider=VENDOR,
    source=REFERENCE,
    checked=CHECKED,
    endpoint=ULTRA,
    operations=_BOTH,
    prompt=PromptLimit(10_000),
    sizes=_MEGAPIXEL,
    edit_sizes=FollowsInput(),
    n=ImageCount(),
    options={**_SEED, **_NEGATIVE, **_STYLE},
    inputs=Inputs(max_bytes=_PICTURE, min_edge=64, upright=True),
    output=_EVERY_FORMAT,
    prices=_cents(8),
    note="The shape of an image-to-image result is not documented, so masks are not emulated.",
)

_CORE = replace(
    _ULTRA,
    id="stable-image-core",
    endpoint=CORE,
    operations=frozenset({Operation.GENERATE}),
    sizes=_CORE_SIZES,
    edit_sizes=None,
    inputs=None,
    prices=_cents(3),
    note="",
)

_LARGE = replace(
    _ULTRA,
    id="sd3.5-large",
    endpoint=SD3,
    mask=Mask.EMULATED,
    # One copy of the reference has no webp here, another has (2026-11-22); asking for less never fails.
    output=Output(formats=(ImageFormat.PNG, ImageFormat.JPEG)),
    prices=_cents(6.5),
    note="Image-to-image starts from the picture, at a fixed strength of 0.7.",
)
_MEDIUM = replace(_LARGE, id="sd3.5-medium", prices=_cents(3.5))
# Guidance is 1 on distilled models, where a negative prompt has no effect; older references refuse it (2026-11-22).
_TURBO = replace(_LARGE, id="sd3.5-large-turbo", options={**_SEED, **_STYLE}, prices=_cents(4))
_FLASH = replace(
    _TURBO,
    id="sd3.5-flash",
    operations=frozenset({Operation.GENERATE}),
    edit_sizes=None,
    inputs=None,
    mask=Mask.NONE,
    prices=_cents(2.5),
    note="Image-to-image is left out: this model needs a strength of 0.94 and more, which forgets the picture.",
)


def _retired(id_: str, successor: ModelSpec) -> ModelSpec:
    return replace(successor, id=id_, upstream_id=successor.id, retired_on=REROUTED, successor=successor.id)


_INPAINT = replace(
    _ULTRA,
    id="stable-image-inpaint",
    endpoint=INPAINT,
    operations=_EDIT,
    sizes=FollowsInput(),
    edit_sizes=None,
    inputs=replace(_INPUT, mask_required=True, white_mask=True),
    mask=Mask.NATIVE,
    prices=_cents(5),
    note="Without a mask, the transparent part of the image is painted.",
)
_ERASE = replace(
    _INPAINT,
    id="stable-image-erase",
    endpoint=ERASE,
    prompt=PromptLimit(10_000, used=False),
    options=_SEED,
    note="Paints what is masked away; takes no prompt.",
)
_OUTPAINT = replace(
    _INPAINT,
    id="stable-image-outpaint",
    endpoint=OUTPAINT,
    sizes=Canvas(margin=2000),
    options={**_SEED, **_STYLE},
    inputs=replace(_INPUT, max_elongation=2.5),
    mask=Mask.NONE,
    prices=_cents(4),
    note="Paints around the image: 'size' is that of the whole result, the image stands in its middle.",
)
# What is found is grown by the service's own three pixels: no mask of the caller's bounds it.
_REPLACE = replace(
    _INPAINT,
    id="stable-image-search-and-replace",
    endpoint=SEARCH_AND_REPLACE,
    options={**_SEED, **_NEGATIVE, **_STYLE, **_SEARCH},
    required=frozenset(_SEARCH),
    inputs=replace(_INPUT, max_elongation=2.5),
    mask=Mask.NONE,
    note="Finds 'search_prompt' in the image and puts 'prompt' in its place.",
)
# Whether style_preset is taken here is not documented; asking for less never fails (2026-11-24).
_RECOLOR = replace(
    _REPLACE,
    id="stable-image-search-and-recolor",
    endpoint=SEARCH_AND_RECOLOR,
    options={**_SEED, **_NEGATIVE, **_SEARCH},
    note="Finds 'search_prompt' in the image and gives it the colours of 'prompt'.",
)
_REMOVE_BACKGROUND = replace(
    _ERASE,
    id="stable-image-remove-background",
    endpoint=REMOVE_BACKGROUND,
    n=ImageCount(per_request=1),
    options={"background": Choice.of("transparent")},
    inputs=replace(_INPUT, max_pixels=4_194_304),
    mask=Mask.NONE,
    output=Output(formats=(ImageFormat.PNG, ImageFormat.WEBP)),
    note="Makes the background transparent; takes no prompt.",
)

MODELS: Final = (
    _ULTRA,
    _CORE,
    _LARGE,
    _TURBO,
    _MEDIUM,
    _FLASH,
    _retired("sd3-large", _LARGE),
    _retired("sd3-large-turbo", _TURBO),
    _retired("sd3-medium", _MEDIUM),
    _INPAINT,
    _ERASE,
    _OUTPAINT,
    _REPLACE,
    _RECOLOR,
    _REMOVE_BACKGROUND,
)
