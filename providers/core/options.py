"""Constraint vocabulary for the parameters that a row describes one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

# Sent by SDKs unasked (design, "SDK defaults are not wishes"; facts: openai-python 3.54, r9s 0.9.0, 2026-11-22).
SDK_DEFAULTS: Final[Mapping[str, tuple[object, ...]]] = {
    "style": ("vivid",),
    "quality": ("standard", "auto"),
    "background": ("auto",),
    "moderation": ("auto",),
    "input_fidelity": ("low",),
    "partial_images": (0,),
    "output_compression": (100,),
    "prompt_extend": (False,),
    "watermark": (False,),
}


class Option(Protocol):
    """What values a parameter takes."""

    def accepts(self, value: object) -> bool:
        """Whether the model takes this value."""

    def nearest(self, value: object) -> object | None:
        """The closest value the model takes, or None when closeness has no meaning."""

    def describe(self) -> str:
        """What is allowed, for a person."""

    def discovery(self) -> Mapping[str, Any]:
        """What is allowed, in OpenRouter's discovery words (docs of 2026-06-23)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words; `default` is what the model does unasked."""

    values: tuple[str, ...]

    @classmethod
    def of(cls, *values: str) -> Choice:
        """A choice among `values`."""
        return cls(values)

    def accepts(self, value: object) -> bool:
        return value in self.values

    def nearest(self, value: object) -> object | None:  # noqa: ARG002 - the protocol's
        return None

    def describe(self) -> str:
        return ", ".join(self.values)

    def discovery(self) -> Mapping[str, Any]:
        return {"type": "enum", "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class IntRange:
    """A whole number from `low` to `high`, both allowed."""

    low: int
    high: int

    def accepts(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def nearest(self, value: object) -> object | None:
        return min(max(value, self.low), self.high) if isinstance(value, int) else None

    def describe(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def discovery(self) -> Mapping[str, Any]:
        return {"type": "range", "min": self.low, "max": self.high}


@dataclass(frozen=True, slots=True)
class Text:
    """Free text of at most `max` characters."""

    max: int

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and len(value) <= self.max

    def nearest(self, value: object) -> object | None:  # noqa: ARG002 - a text is never cut
        return None

    def describe(self) -> str:
        return f"a text of at most {self.max} characters"

    def discovery(self) -> Mapping[str, Any]:
        return {"type": "string", "max_length": self.max}


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def accepts(self, value: object) -> bool:
        return isinstance(value, bool)

    def nearest(self, value: object) -> object | None:  # noqa: ARG002 - the protocol's
        return None

    def describe(self) -> str:
        return "true or false"

    def discovery(self) -> Mapping[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A model's quality words.

    `words` maps each word a caller may say to the model's own; `ladder` lists the model's own from low to high.
    `tiers` says that they are resolutions, which the size rule then knows; `sent` is False where the upstream has
    no field for it, and `unasked` has the default sent as well.
    """

    words: Mapping[str, str]
    ladder: tuple[str, ...]
    default: str
    tiers: bool = False
    sent: bool = True
    unasked: bool = False

    def nearest(self, word: str) -> str | None:
        """The model's highest for a word that asks for the most, else None."""
        return self.ladder[-1] if word in {"hd", "high", "4k", "xhigh", "max"} else None

    def word(self, own: str | None) -> str | None:
        """The word by which a caller asks for one of the model's own; its own wherever that can be said."""
        if own in self.words:
            return own
        return next((word for word, meant in self.words.items() if meant == own), None)

    def describe(self) -> str:
        """The words a caller may say."""
        return ", ".join(self.words)


def openai_quality(*own: str) -> Quality:
    """The GPT image vocabulary: `own` words from low to high, and auto. standard = auto, hd = high."""
    words = {"auto": "auto", **{word: word for word in own}, "standard": "auto", "hd": "high"}
    return Quality(words=words, ladder=own, default="auto")


def standard_quality(*, hd: bool = True) -> Quality:
    """The standard/hd vocabulary: high = hd; low, medium and auto = standard."""
    words = {"standard": "standard", "auto": "standard", "low": "standard", "medium": "standard"}
    more = {"hd": "hd", "high": "hd"} if hd else {}
    return Quality(words={**words, **more}, ladder=("standard", "hd") if hd else ("standard",), default="standard")


def tiered_quality(*tiers: str, hd: str, sent: bool = True) -> Quality:
    """Resolution tiers: standard, low, medium, auto = the lowest (or 1K); hd, high = `hd`; 4k, xhigh, max = 4K."""
    lowest = "1K" if "1K" in tiers else tiers[0]
    words = dict.fromkeys(("standard", "auto", "low", "medium"), lowest)
    words |= {"hd": hd, "high": hd}
    if "4K" in tiers:
        words |= dict.fromkeys(("4k", "xhigh", "max"), "4K")
    return Quality(words=words, ladder=tiers, default=lowest, tiers=True, sent=sent)
