"""Two size rules of this vendor: an area with classes of resolution, and edits that keep their input's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from providers.core.sizes import TOLERANCE, PixelBounds, Resolution
from providers.core.types import AUTO, AskedSize, AspectRatio, Auto, Size, sizes

STEP: Final = 16


@dataclass(frozen=True, slots=True)
class Tier:
    """One class of resolution: the square that stands for it and the largest area that still belongs to it."""

    name: str
    square: Size
    up_to: int


# The vendor bills up to 2,250,000 pixels as 1K (2026-11-22).
ONE_K: Final = Tier("1K", Size(1024, 1024), 2_250_000)
TWO_K: Final = Tier("2K", Size(2048, 2048), 2048 * 2048)
FOUR_K: Final = Tier("4K", Size(4096, 4096), 4096 * 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Any pixel size within `bounds`; shapes and corrections in round steps of 16 pixels.

    With `tiers` (from small to large) a shape is drawn in the tier that was asked by quality, and pixels of a
    smaller tier are scaled up to it.
    """

    bounds: PixelBounds
    tiers: tuple[Tier, ...] = ()

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        if asked is None or isinstance(asked, Auto):
            return self._unasked(asked, tier)
        if isinstance(asked, AspectRatio):
            best = self._drawn(asked, tier)
            return best if best.pixels and asked.distance(best.pixels) <= TOLERANCE else None
        return self._scaled(asked, tier) if self.bounds.fits(asked) else None

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        if isinstance(asked, AspectRatio):
            return self._drawn(asked, tier)
        best = replace(self.bounds, multiple=STEP).nearest(asked)
        assert isinstance(best.wire, Size)  # noqa: S101 - narrows the union for the type checker
        return replace(self._scaled(best.wire, tier), exact=False)

    def _unasked(self, asked: Auto | None, tier: str | None) -> Resolution:
        """The model chooses a size only where no tier above the lowest was asked."""
        wanted = self._tier(tier)
        if asked and self.bounds.auto and wanted in (None, *self.tiers[:1]):
            return Resolution(wire=AUTO)
        pixels = wanted.square if wanted else self.bounds.default
        return Resolution(wire=None, pixels=pixels, tier=wanted.name if wanted else None, exact=asked is None)

    def _scaled(self, asked: Size, tier: str | None) -> Resolution:
        """A size that fits, as it is or drawn in the larger tier that was asked."""
        own = next((each for each in self.tiers if asked.pixels <= each.up_to), None)
        wanted = self._tier(tier)
        if own and wanted and wanted.up_to > own.up_to:
            return self._drawn(asked, tier)
        return Resolution(wire=asked, pixels=asked, tier=own.name if own else None)

    def _drawn(self, shape: Size | AspectRatio, tier: str | None) -> Resolution:
        """The size of a shape in a tier: in the default area where there are none."""
        wanted = self._tier(tier)
        default = wanted.square if wanted else self.bounds.default
        bounds = replace(self.bounds, multiple=STEP, default=default)
        best = bounds.nearest(AspectRatio(shape.width, shape.height))
        return replace(best, tier=wanted.name if wanted else None)

    def _tier(self, name: str | None) -> Tier | None:
        """The tier of a name: the largest for one beyond it, the smallest for none."""
        if name is None:
            return next(iter(self.tiers), None)
        return next((each for each in self.tiers if each.name == name), next(reversed(self.tiers), None))

    def describe(self) -> str:
        return self.bounds.describe()

    def discovery(self) -> Mapping[str, Any]:
        resolutions = {"resolutions": [each.name for each in self.tiers]} if self.tiers else {}
        return {**self.bounds.discovery(), **resolutions}


@dataclass(frozen=True, slots=True)
class ShapeOfInput:
    """An edit whose result has the shape of its first input unless pixels are asked; `pixels` says which can be.

    Upstream would take the last input's shape (2026-11-22); a mask belongs to the first.
    """

    pixels: Area
    shape: AspectRatio | None = None

    def around(self, size: Size) -> ShapeOfInput:
        return replace(self, shape=size.ratio)

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        if self.shape and (asked is None or isinstance(asked, Auto)):
            return replace(self.pixels.nearest(self.shape, tier), exact=True)
        return self.pixels.resolve(asked, tier)

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        return self.pixels.nearest(self.shape if self.shape and isinstance(asked, Auto) else asked, tier)

    def describe(self) -> str:
        return f"auto (the shape of the input), or {self.pixels.describe()}"

    def discovery(self) -> Mapping[str, Any]:
        return {"sizes": ["auto"], **self.pixels.discovery()}


def area(low: int, high: int, *, ratio: int, default: str = "1024x1024", auto: bool = False) -> PixelBounds:
    """Areas from `low` squared to `high` squared, no longer than `ratio`:1."""
    return PixelBounds(
        min_pixels=low * low,
        max_pixels=high * high,
        max_elongation=ratio,
        default=sizes(default)[0],
        auto=auto,
    )
