"""Size constraints. Each answers both questions: is there an answer for what was asked, and what is it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Any, Final, Protocol, runtime_checkable

from providers.core.types import AUTO, AskedSize, AspectRatio, Auto, Size, ratios, sizes

TOLERANCE: Final = 0.03
SQUARE: Final = Size(1024, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A size in the model's terms.

    `wire` is what the adapter says (None: nothing), `pixels` what the picture will measure as far as the row
    knows, `tier` the resolution class of tiered models, `exact` whether the caller gets just what was asked.
    """

    wire: Size | AspectRatio | Auto | None
    pixels: Size | None = None
    tier: str | None = None
    exact: bool = True

    def __str__(self) -> str:
        return str(self.wire or self.pixels or AUTO)


class SizeRule(Protocol):
    """What sizes a model draws."""

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        """The model's answer to `asked` (None: nothing was asked), or None when it has none."""

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        """The allowed size closest to `asked`, shape before area."""

    def describe(self) -> str:
        """What is allowed, for a person."""

    def discovery(self) -> Mapping[str, Any]:
        """What is allowed, for `GET /v1/models`."""


@runtime_checkable
class OfInput(SizeRule, Protocol):
    """A size rule of an edit that depends on the first input image."""

    def around(self, size: Size) -> SizeRule:
        """The rule for an input of this size."""


def _closeness(candidate: Size, shape: AspectRatio | Size, pixels: int) -> float:
    """A change of shape weighs more than one of area: four times as much."""
    distance = abs(log(candidate.width * shape.height / (candidate.height * shape.width)))
    return 4 * distance + abs(log(candidate.pixels / pixels))


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSizes:
    """A closed list of sizes. `default` is drawn when none is asked; `auto` says the wire knows the word."""

    allowed: tuple[Size, ...]
    default: Size = SQUARE
    auto: bool = False

    @classmethod
    def of(cls, *texts: str, auto: bool = False) -> PixelSizes:
        """A list from its text; the first is the default."""
        allowed = sizes(*texts)
        return cls(allowed=allowed, default=allowed[0], auto=auto)

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        if asked is None:
            return Resolution(wire=None, pixels=self.default, tier=tier)
        if isinstance(asked, Auto):
            return Resolution(wire=AUTO if self.auto else None, pixels=self.default, tier=tier, exact=self.auto)
        if isinstance(asked, Size):
            return Resolution(wire=asked, pixels=asked, tier=tier) if asked in self.allowed else None
        best = self.nearest(asked, tier)
        assert isinstance(best.wire, Size)  # noqa: S101 - narrows the union for the type checker
        return best if asked.distance(best.wire) <= TOLERANCE else None

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        shape = asked if isinstance(asked, Size | AspectRatio) else self.default
        pixels = asked.pixels if isinstance(asked, Size) else self.default.pixels
        best = min(self.allowed, key=lambda size: _closeness(size, shape, pixels))
        return Resolution(wire=best, pixels=best, tier=tier, exact=False)

    def describe(self) -> str:
        return ", ".join([*map(str, self.allowed), *(["auto"] if self.auto else [])])

    def discovery(self) -> Mapping[str, Any]:
        return {"sizes": [*map(str, self.allowed), *(["auto"] if self.auto else [])]}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelBounds:
    """Any size within bounds, edges in steps of `multiple`; `presets` are allowed whatever the bounds say."""

    multiple: int = 1
    min_edge: int = 1
    max_edge: int = 16384
    min_pixels: int = 1
    max_pixels: int = 2**28
    max_elongation: int = 16384
    presets: tuple[Size, ...] = ()
    default: Size = SQUARE
    auto: bool = False

    def fits(self, size: Size) -> bool:
        """Whether the model draws this very size."""
        edges = (size.width, size.height)
        return size in self.presets or (
            all(edge % self.multiple == 0 and self.min_edge <= edge <= self.max_edge for edge in edges)
            and self.min_pixels <= size.pixels <= self.max_pixels
            and size.elongation <= self.max_elongation
        )

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        if asked is None:
            return Resolution(wire=None, pixels=self.default, tier=tier)
        if isinstance(asked, Auto):
            return Resolution(wire=AUTO if self.auto else None, pixels=self.default, tier=tier, exact=self.auto)
        if isinstance(asked, Size):
            return Resolution(wire=asked, pixels=asked, tier=tier) if self.fits(asked) else None
        best = self.nearest(asked, tier)
        assert isinstance(best.wire, Size)  # noqa: S101 - narrows the union for the type checker
        return best if asked.distance(best.wire) <= TOLERANCE else None

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        shape = asked if isinstance(asked, Size | AspectRatio) else self.default
        wanted = asked.pixels if isinstance(asked, Size) else self.default.pixels
        pixels = min(max(wanted, self.min_pixels), self.max_pixels)
        candidates = [*self.presets, *self._around(shape.width / shape.height, pixels), self.default]
        best = min(filter(self.fits, candidates), key=lambda size: _closeness(size, shape, wanted))
        return Resolution(wire=best, pixels=best, tier=tier, exact=False)

    def _around(self, shape: float, pixels: int) -> Iterator[Size]:
        shape = min(max(shape, 1 / self.max_elongation), float(self.max_elongation))
        first = -(-self.min_edge // self.multiple)
        last = self.max_edge // self.multiple
        middle = round(sqrt(pixels * shape) / self.multiple)
        spread = max(6, middle // 4)
        for step in range(max(first, min(middle, last) - spread), min(last, max(middle, first) + spread) + 1):
            width = step * self.multiple
            for rounded in (int(width / shape / self.multiple), -int(-width / shape // self.multiple)):
                height = min(max(rounded, first), last) * self.multiple
                yield Size(width, height)

    def describe(self) -> str:
        rule = (
            f"edges that are multiples of {self.multiple} from {self.min_edge} to {self.max_edge}, "
            f"{self.min_pixels} to {self.max_pixels} pixels in all, long to short at most {self.max_elongation}:1"
        )
        also = [*map(str, self.presets), *(["auto"] if self.auto else [])]
        return rule + (f"; also {', '.join(also)}" if also else "")

    def discovery(self) -> Mapping[str, Any]:
        return {
            "size_rule": {
                "multiple": self.multiple,
                "min_edge": self.min_edge,
                "max_edge": self.max_edge,
                "min_pixels": self.min_pixels,
                "max_pixels": self.max_pixels,
                "max_ratio": self.max_elongation,
                "presets": [*map(str, self.presets)],
                "auto": self.auto,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectRatios:
    """A list of shapes, each with its pixels in every tier; a pixel size maps to the nearest shape within 3 %.

    `tiers` goes from the smallest to the largest; a model without tiers has one, named ''. With `only_table`
    no pixel size maps but those of the tables, so that another rule can answer for the rest.
    """

    tiers: Mapping[str, Mapping[AspectRatio, Size]]
    default: AspectRatio = AspectRatio(1, 1)  # noqa: RUF009 - a frozen value
    only_table: bool = False

    @classmethod
    def of(
        cls, table: Mapping[str, str], *, scale: Mapping[str, int] | None = None, only_table: bool = False
    ) -> AspectRatios:
        """A table `{"16:9": "1376x768"}`, once for each tier of `scale`, edges times its factor."""
        tiers = {
            tier: {
                ratios(ratio)[0]: Size(size.width * factor, size.height * factor)
                for ratio, text in table.items()
                for size in sizes(text)
            }
            for tier, factor in (scale or {"": 1}).items()
        }
        return cls(tiers=tiers, only_table=only_table)

    @property
    def allowed(self) -> tuple[AspectRatio, ...]:
        """The shapes of the smallest tier, which every tier has."""
        return tuple(next(iter(self.tiers.values())))

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        if asked is None or isinstance(asked, Auto):
            name = tier if tier is not None and tier in self.tiers else next(iter(self.tiers))
            pixels = self.tiers[name][self.default]
            return Resolution(wire=None, pixels=pixels, tier=name or None, exact=asked is None)
        if isinstance(asked, AspectRatio):
            same = next((ratio for ratio in self.allowed if ratio.distance(asked) == 0), None)
            return self._at(same, asked, tier) if same else None
        if self.only_table:
            drawn = next((r for table in self.tiers.values() for r, s in table.items() if s == asked), None)
            return self._at(drawn, asked, tier) if drawn else None
        best = self._closest(asked)
        return self._at(best, asked, tier) if best.distance(asked) <= TOLERANCE else None

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        shape = asked if isinstance(asked, Size | AspectRatio) else self.default
        return self._at(self._closest(shape), asked, tier)

    def _closest(self, shape: Size | AspectRatio) -> AspectRatio:
        return min(self.allowed, key=lambda ratio: ratio.distance(shape))

    def _at(self, ratio: AspectRatio, asked: AskedSize, tier: str | None) -> Resolution:
        """Of the tier that was asked by quality and the one the pixels ask for, the larger."""
        names = list(self.tiers)
        wanted = names.index(tier) if tier in names else 0
        if isinstance(asked, Size):
            closest = min(names, key=lambda name: abs(log(self.tiers[name][ratio].pixels / asked.pixels)))
            wanted = max(wanted, names.index(closest))
        name = names[wanted]
        pixels = self.tiers[name][ratio]
        exact = asked == pixels if isinstance(asked, Size) else asked == ratio
        return Resolution(wire=ratio, pixels=pixels, tier=name or None, exact=exact)

    def describe(self) -> str:
        return ", ".join(map(str, self.allowed)) + " (or pixels within 3 % of one)"

    def discovery(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {"aspect_ratios": [*map(str, self.allowed)]}
        if any(self.tiers):
            found["resolutions"] = list(self.tiers)
        return found


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Several rules; the first that has an answer gives it."""

    rules: tuple[SizeRule, ...]

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        answers = (rule.resolve(asked, tier) for rule in self.rules)
        return next((answer for answer in answers if answer is not None), None)

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:
        return self.rules[-1].nearest(asked, tier)

    def describe(self) -> str:
        return "; or ".join(rule.describe() for rule in self.rules)

    def discovery(self) -> Mapping[str, Any]:
        return {key: value for rule in self.rules for key, value in rule.discovery().items()}


@dataclass(frozen=True, slots=True)
class FollowsInput:
    """An edit whose result measures what its input does; no size can be asked."""

    def resolve(self, asked: AskedSize | None, tier: str | None = None) -> Resolution | None:
        return Resolution(wire=None, tier=tier) if asked is None or isinstance(asked, Auto) else None

    def nearest(self, asked: AskedSize, tier: str | None = None) -> Resolution:  # noqa: ARG002 - the protocol's
        return Resolution(wire=None, tier=tier, exact=False)

    def describe(self) -> str:
        return "auto (the result has the input's size)"

    def discovery(self) -> Mapping[str, Any]:
        return {"sizes": ["auto"]}
