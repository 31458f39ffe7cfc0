"""What DashScope documents of each image model, kept apart from the product's rows (2026-11-22)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

A: Final = "/api/v1/services/aigc/text2image/image-synthesis"
B: Final = "/api/v1/services/aigc/multimodal-generation/generation"
C: Final = "/api/v1/services/aigc/image-generation/generation"
D: Final = "/api/v1/services/aigc/image2image/image-synthesis"
ENDPOINTS: Final = (A, B, C, D)

Fits = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One model: where it answers, how many images it makes (`unasked` when `n` is missing), what it takes.

    `fits` None: no size can be asked. `images` is how many inputs, `edges` their sides in pixels.
    """

    at: tuple[str, ...]
    fits: Fits | None
    drawn: tuple[int, int]
    n: int = 1
    unasked: int = 1
    parameters: frozenset[str] = frozenset({"seed", "prompt_extend", "watermark"})
    negative: bool = True
    images: tuple[int, int] = (0, 0)
    edges: tuple[int, int] = (1, 16384)
    alpha: bool = True
    counted: bool = True
    mask: bool = False


def among(*sizes: tuple[int, int]) -> Fits:
    return lambda width, height: (width, height) in sizes


def area(low: int, high: int, ratio: float = 100.0) -> Fits:
    return lambda width, height: low * low <= width * height <= high * high and 1 / ratio <= width / height <= ratio


def sides(low: int, high: int) -> Fits:
    return lambda width, height: low <= min(width, height) <= max(width, height) <= high


_FIVE: Final = among((1664, 928), (1472, 1104), (1328, 1328), (1104, 1472), (928, 1664))
_SD: Final = among((512, 1024), (1024, 768), (1024, 1024), (576, 1024), (1024, 576))
_SEED: Final = frozenset({"seed"})
_MARKED: Final = _SEED | {"watermark"}
_V3: Final = Limits(
    at=(B, C),
    fits=area(512, 2048, 8),
    drawn=(1024, 1024),
    n=6,
    parameters=frozenset({"seed", "prompt_extend", "watermark", "prompt_extend_mode", "enable_thinking"}),
    images=(0, 3),
)
_V2: Final = Limits(at=(B,), fits=area(512, 2048), drawn=(2048, 2048), n=6, images=(0, 3), edges=(384, 3072))
_FIXED: Final = Limits(at=(B,), fits=_FIVE, drawn=(1664, 928))
_FIXED_OR_TASK: Final = Limits(at=(B, A), fits=_FIVE, drawn=(1664, 928))
_EDIT: Final = Limits(at=(B,), fits=sides(512, 2048), drawn=(1024, 1024), n=6, images=(1, 3), edges=(384, 3072))
_V2_7: Final = Limits(
    at=(B, C),
    fits=area(768, 2048, 8),
    drawn=(2048, 2048),
    n=4,
    unasked=4,
    parameters=_MARKED | {"thinking_mode", "enable_sequential", "color_palette", "bbox_list"},
    negative=False,
    images=(0, 9),
    edges=(240, 8000),
    alpha=False,
)
_T2I: Final = Limits(at=(A,), fits=sides(512, 1440), drawn=(1024, 1024), n=4, unasked=4)

LIMITS: Final[dict[str, Limits]] = {
    "qwen-image-3.0-pro": _V3,
    "qwen-image-3.0": _V3,
    "qwen-image-2.1-pro": Limits(
        at=(B, C), fits=area(512, 2048, 8), drawn=(1024, 1024), n=6, negative=False, images=(0, 10)
    ),
    "qwen-image-2.0-pro": _V2,
    "qwen-image-2.0-pro-2026-06-22": _V2,
    "qwen-image-2.0-pro-2026-04-22": _V2,
    "qwen-image-2.0-pro-2026-03-03": _V2,
    "qwen-image-2.0": _V2,
    "qwen-image-2.0-2026-03-03": _V2,
    "qwen-image-max": _FIXED,
    "qwen-image-max-2025-12-30": _FIXED,
    "qwen-image-plus": _FIXED_OR_TASK,
    "qwen-image-plus-2026-01-09": _FIXED_OR_TASK,
    "qwen-image": _FIXED_OR_TASK,
    "qwen-image-edit-max": _EDIT,
    "qwen-image-edit-max-2026-01-16": _EDIT,
    "qwen-image-edit-plus": _EDIT,
    "qwen-image-edit-plus-2025-12-15": _EDIT,
    "qwen-image-edit-plus-2025-10-30": _EDIT,
    "qwen-image-edit": Limits(
        at=(B,), fits=None, drawn=(1024, 1024), parameters=_MARKED, images=(1, 3), edges=(384, 3072)
    ),
    "z-image-turbo": Limits(
        at=(B,),
        fits=area(512, 2048),
        drawn=(1024, 1536),
        parameters=_SEED | {"prompt_extend"},
        negative=False,
        counted=False,
    ),
    "wan2.7-image-pro": _V2_7,
    "wan2.7-image": _V2_7,
    "wan2.6-t2i": Limits(at=(B, C), fits=area(1280, 1440, 4), drawn=(1280, 1280), n=4, unasked=4),
    "wan2.6-image": Limits(
        at=(B, C),
        fits=area(768, 2048, 4),
        drawn=(1024, 1024),
        n=4,
        unasked=4,
        parameters=_MARKED | {"prompt_extend", "enable_interleave", "max_images"},
        images=(1, 4),
        edges=(240, 8000),
        alpha=False,
    ),
    "wan2.5-t2i-preview": Limits(at=(A,), fits=area(1280, 1440, 4), drawn=(1280, 1280), n=4, unasked=4),
    "wan2.5-i2i-preview": Limits(
        at=(D,),
        fits=area(768, 1280, 4),
        drawn=(1280, 1280),
        n=4,
        unasked=4,
        images=(1, 3),
        edges=(384, 5000),
        alpha=False,
    ),
    **dict.fromkeys(
        (
            "wan2.2-t2i-flash",
            "wan2.2-t2i-plus",
            "wan2.1-t2i-turbo",
            "wan2.1-t2i-plus",
            "wanx2.1-t2i-turbo",
            "wanx2.1-t2i-plus",
            "wanx2.0-t2i-turbo",
        ),
        _T2I,
    ),
    "wanx2.1-imageedit": Limits(
        at=(D,),
        fits=None,
        drawn=(1024, 1024),
        n=4,
        parameters=_MARKED | {"strength"},
        negative=False,
        images=(1, 1),
        edges=(512, 4096),
        mask=True,
    ),
    "wanx-v1": Limits(
        at=(A,),
        fits=among((1024, 1024), (720, 1280), (768, 1152), (1280, 720)),
        drawn=(1024, 1024),
        n=4,
        unasked=4,
        parameters=_SEED | {"style", "ref_strength", "ref_mode"},
    ),
    **dict.fromkeys(
        ("stable-diffusion-xl", "stable-diffusion-v1.5"),
        Limits(at=(A,), fits=_SD, drawn=(1024, 1024), n=4, unasked=4, parameters=_SEED | {"steps", "scale"}),
    ),
}
WAN_2_7_PRO_UNASSISTED: Final = area(768, 4096, 8)
STYLES: Final = frozenset(
    f"<{word}>"
    for word in (
        *("auto", "photography", "portrait", "3d cartoon", "anime", "oil painting", "watercolor", "sketch"),
        *("chinese painting", "flat illustration"),
    )
)
