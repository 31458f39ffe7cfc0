"""What the service takes of each model: its own copy of the documentation (2026-11-22)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Pixels = tuple[int, int]
FIRST: Final[dict[str, Pixels]] = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
TEN: Final[dict[str, Pixels]] = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
FOURTEEN: Final = TEN | {"1:4": (512, 2048), "4:1": (2048, 512), "1:8": (384, 3072), "8:1": (3072, 384)}
SMALL: Final[dict[str, Pixels]] = {
    "1:1": (512, 512),
    "2:3": (424, 632),
    "3:2": (632, 424),
    "3:4": (448, 600),
    "4:3": (600, 448),
    "4:5": (464, 576),
    "5:4": (576, 464),
    "9:16": (384, 688),
    "16:9": (688, 384),
    "21:9": (792, 336),
    "1:4": (256, 1024),
    "4:1": (1024, 256),
    "1:8": (192, 1536),
    "8:1": (1536, 192),
}
BASIC: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
LATER: Final = BASIC | {"image/heic", "image/heif"}
SCALE: Final = {"1K": 1, "2K": 2, "4K": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One model. `tiers` are the values of imageSize, none where the field does not exist."""

    shapes: dict[str, Pixels]
    tiers: frozenset[str] = frozenset()
    inputs: int = 14
    mime: frozenset[str] = LATER
    thinking: frozenset[str] = frozenset()
    makes: str = "jpeg"
    tokens: int = 1120

    def pixels(self, shape: str, tier: str) -> Pixels:
        """What a picture of that shape and tier measures."""
        if tier == "512":
            return SMALL[shape]
        width, height = self.shapes[shape]
        return width * SCALE[tier], height * SCALE[tier]


_THREE: Final = frozenset(SCALE)
MODELS: Final = {
    "gemini-nano-banana-2.1": Rules(shapes=FOURTEEN, tiers=_THREE, thinking=frozenset({"MINIMAL", "MEDIUM", "HIGH"})),
    "gemini-3-pro-image": Rules(shapes=TEN, tiers=_THREE),
    "gemini-3.1-flash-image": Rules(
        shapes=FOURTEEN, tiers=_THREE | {"512"}, thinking=frozenset({"MINIMAL", "HIGH"}), makes="png"
    ),
    "gemini-3.1-flash-lite-image": Rules(shapes=FOURTEEN, thinking=frozenset({"MINIMAL", "HIGH"})),
    "gemini-2.5-flash-image": Rules(shapes=FIRST, inputs=3, mime=BASIC, makes="png", tokens=1290),
}
