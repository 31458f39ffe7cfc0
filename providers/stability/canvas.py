"""The size of an outpainted picture: its input, somewhere inside something larger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from providers.core.sizes import SQUARE, Resolution
from providers.core.types import AskedSize, AspectRatio, Auto, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """Pixels painted on each side of the input."""

    left: int
    right: int
    up: int
    down: int

    @classmethod
    def between(cls, inner: Size, outer: Size) -> Margins:
        """The input in the middle, an odd pixel to the right and below."""
        across, along = outer.width - inner.width, outer.height - inner.height
        return cls(left=across // 2, right=across - across // 2, up=along // 2, down=along - along // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Any size that holds the input `inner` and is larger, by at most `margin` pixels a side.

    A ratio means the smallest canvas of that shape around the input. Unasked, each edge grows by half.
    """

    margin: int
    inner: Size = SQUARE

    def around(self, size: Size) -> Canvas:
        return replace(self, inner=size)

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        if asked is None or isinstance(asked, Auto):
            return self._answer(self._unasked, tier, exact=asked is None)
        size = asked if isinstance(asked, Size) else self._shaped(asked)
        return self._answer(size, tier, exact=True) if self._fits(size) else None

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        candidates = [self._unasked]
        if isinstance(asked, Size | AspectRatio):
            candidates.insert(0, self._shaped(asked.ratio if isinstance(asked, Size) else asked))
        if isinstance(asked, Size) and self._holds(asked):
            candidates.insert(0, self._clipped(asked))
        return self._answer(next(size for size in candidates if self._fits(size)), tier, exact=False)

    def describe(self) -> str:
        return f"edges as long as the input's ({self.inner}) or longer, by up to {self.margin} pixels on each side"

    def discovery(self) -> Mapping[str, Any]:
        return {"size_rule": {"around_input": True, "max_margin": self.margin}}

    @property
    def _unasked(self) -> Size:
        across, along = (min(edge // 4, self.margin) for edge in (self.inner.width, self.inner.height))
        return Size(self.inner.width + 2 * max(across, 1), self.inner.height + 2 * max(along, 1))

    def _holds(self, size: Size) -> bool:
        return size.width >= self.inner.width and size.height >= self.inner.height

    def _fits(self, size: Size) -> bool:
        return self._holds(size) and size != self.inner and size == self._clipped(size)

    def _clipped(self, size: Size) -> Size:
        most = 2 * self.margin
        return Size(min(size.width, self.inner.width + most), min(size.height, self.inner.height + most))

    def _shaped(self, ratio: AspectRatio) -> Size:
        wide = round(self.inner.height * ratio.value)
        if wide >= self.inner.width:
            return Size(wide, self.inner.height)
        return Size(self.inner.width, round(self.inner.width / ratio.value))

    def _answer(self, size: Size, tier: str | None, *, exact: bool) -> Resolution:
        return Resolution(wire=size, pixels=size, tier=tier, exact=exact)
