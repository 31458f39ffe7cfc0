"""Money in integer micro-dollars, and what a model costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from providers.core.types import Size, nothing
from providers.core.valueclass import valueclass

MICRO: Final = 1_000_000
# Beyond it a count of tokens is none, and no number of a ledger either.
TOKENS: Final = 10**12


def usd(amount: float) -> int:
    """Dollars as micro-dollars, rounded."""
    return round(amount * MICRO)


@valueclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; absent when it counts none."""

    input_text: int = 0
    input_image: int = 0
    output_image: int = 0
    output_text: int = 0
    input_total: int | None = None
    output_total: int | None = None

    @property
    def input_tokens(self) -> int:
        """All tokens that went in."""
        return self.input_total if self.input_total is not None else self.input_text + self.input_image

    @property
    def output_tokens(self) -> int:
        """All tokens that came out."""
        return self.output_total if self.output_total is not None else self.output_image + self.output_text

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_text=self.input_text + other.input_text,
            input_image=self.input_image + other.input_image,
            output_image=self.output_image + other.output_image,
            output_text=self.output_text + other.output_text,
            input_total=self.input_tokens + other.input_tokens,
            output_total=self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """Dollars per million tokens."""

    input_text: float
    input_image: float
    output_image: float
    output_text: float = 0.0

    def cost(self, usage: Usage) -> int:
        """What the usage costs, in micro-dollars."""
        # Dollars per million tokens are micro-dollars per token.
        return round(
            usage.input_text * self.input_text
            + usage.input_image * self.input_image
            + usage.output_image * self.output_image
            + usage.output_text * self.output_text,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What one image costs, in micro-dollars.

    `images` is keyed by `quality/size`, `quality`, `size` or '' (any), the most specific key first; quality is the
    model's own word or tier. With `tokens` the real cost follows from the usage, and `images` is the estimate.
    """

    images: Mapping[str, int] = field(default_factory=nothing)
    input_image: int = 0
    tokens: TokenPrices | None = None
    source: str = ""
    checked: date | None = None

    @classmethod
    def flat(cls, amount: float, *, source: str = "", checked: date | None = None) -> Prices:
        """One price in dollars for every image."""
        return cls(images={"": usd(amount)}, source=source, checked=checked)

    def names(self, quality: str | None) -> bool:
        """Whether this quality has a price of its own."""
        return any(key.partition("/")[0] == quality for key in self.images)

    def image(self, quality: str | None, size: Size | None) -> int | None:
        """One image of this quality and size; None when the row has no price for it, the dearest when unknown."""
        if size is None:
            mine = {key: price for key, price in self.images.items() if key.partition("/")[0] == quality}
            return max((mine or self.images).values(), default=None)
        for key in (f"{quality}/{size}", quality or "", str(size), ""):
            if key in self.images:
                return self.images[key]
        return max(self.images.values(), default=None)
