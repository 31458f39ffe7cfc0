"""Frozen dataclasses that are made at the price of open ones: for the values that every request makes.

A frozen dataclass stores each field by a call of `object.__setattr__`: 6 microseconds for 27 fields. Here a value is
of an open twin of its class while its fields are stored, by plain assignment, and of its class from then on: 1.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

__all__ = ["valueclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass as valueclass
else:

    def valueclass(**words: bool) -> Callable[[type], type]:
        """As `dataclass`; frozen, with slots, and without a `__post_init__`."""

        def made(cls: type) -> type:
            closed = dataclass(**words)(cls)
            closed.__init__ = _init(closed, kw_only=words.get("kw_only", False))
            return closed

        return made


def _init(closed: Any, *, kw_only: bool) -> Callable[..., None]:
    """As `dataclasses` writes it, but for how a field is stored."""
    opened = type(closed.__name__, (), {"__slots__": closed.__slots__})
    known: dict[str, Any] = {"_set": object.__setattr__, "_opened": opened, "_closed": closed, "_unset": object()}
    words, lines = ["self", "*"] if kw_only else ["self"], ["_set(self, '__class__', _opened)"]
    for each in fields(closed):
        word = stored = each.name
        default = f"_{each.name}"
        if each.default is not MISSING:
            known[default], word = each.default, f"{each.name}={default}"
        elif each.default_factory is not MISSING:
            known[default], word = each.default_factory, f"{each.name}=_unset"
            stored = f"{default}() if {each.name} is _unset else {each.name}"
        words.append(word)
        lines.append(f"self.{each.name} = {stored}")
    body = "\n    ".join([*lines, "self.__class__ = _closed"])
    exec(f"def __init__({', '.join(words)}):\n    {body}", known)  # noqa: S102 - made of a class's own names
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{closed.__qualname__}.__init__"
    return made
