"""The size rule of this vendor: shapes in resolution tiers, and `auto`, which leaves the shape to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from providers.core.sizes import AspectRatios, Resolution
from providers.core.types import AUTO, AskedSize, AspectRatio, Size

# 3840x2160 is nearer to the 2K table than to the 4K one, yet whoever asks for it means 4K.
LARGE: Final = 2600 * 2600


@dataclass(frozen=True, slots=True)
class Shapes:
    """Aspect ratios in tiers. On `auto` the model chooses; so it does unasked in an edit, whose input it follows."""

    ratios: AspectRatios
    follows_input: bool = False

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        answer = self.ratios.resolve(asked, self._tier(asked, tier))
        if answer is None or isinstance(asked, Size | AspectRatio):
            return answer
        if asked is None and not self.follows_input:
            return replace(answer, wire=self.ratios.default)
        pixels = None if self.follows_input else answer.pixels
        return replace(answer, wire=None if asked is None else AUTO, pixels=pixels, exact=True)

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        return self.ratios.nearest(asked, self._tier(asked, tier))

    def _tier(self, asked: AskedSize | None, tier: str | None) -> str | None:
        """The largest tier for a very large size, else the one that quality asked for."""
        large = isinstance(asked, Size) and asked.pixels >= LARGE
        return list(self.ratios.tiers)[-1] if large else tier

    def describe(self) -> str:
        return f"{self.ratios.describe()}, or auto"

    def discovery(self) -> Mapping[str, Any]:
        return {"sizes": ["auto"], **self.ratios.discovery()}
