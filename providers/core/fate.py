"""The six fates a parameter can have, and how a judge says which."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from providers.core.errors import Violation
from providers.core.valueclass import valueclass

T = TypeVar("T")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,19}")
Shown = str | int | None


class Fate(StrEnum):
    """What became of one parameter."""

    HONOURED = "honoured"
    MAPPED = "mapped"
    EMULATED = "emulated"
    DEFAULTED = "defaulted"
    DROPPED = "dropped"
    REJECTED = "rejected"


@valueclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One parameter's fate. `asked` and `used` are enums, numbers or sizes, never free text."""

    param: str
    fate: Fate
    asked: Shown = None
    used: Shown = None
    violation: Violation | None = None


@dataclass(frozen=True, slots=True)
class Judgement(Generic[T]):
    """A judge's verdict: at most one decision, and the value that the plan will use."""

    value: T
    decision: Decision | None = None


def became(param: str, fate: Fate, asked: Shown = None, used: Shown = None) -> Decision:
    """A parameter that is not rejected."""
    return Decision(param=param, fate=fate, asked=asked, used=used)


def honoured(param: str) -> Decision:
    """A parameter that the model gets as it was asked."""
    return Decision(param=param, fate=Fate.HONOURED)


def rejected(param: str, message: str, *, code: str = "invalid_value", nearest: str | None = None) -> Decision:
    """A parameter that ends the request. The message names the parameter, the value and what is allowed."""
    if nearest is not None:
        message = f"{message} The nearest allowed value is {nearest}."
    return Decision(
        param=param,
        fate=Fate.REJECTED,
        violation=Violation(param=param, message=message, code=code, nearest=nearest),
    )


def word(value: object) -> str | None:
    """A value that has the form of an enum's word; a text is not told."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None


def quoted(value: object, limit: int = 60) -> str:
    """A caller's value for a message: short, on one line, and never base64."""
    text = str(value)
    text = text if len(text) <= limit else f"{text[:limit]}..."
    return f"'{' '.join(text.split())}'"
