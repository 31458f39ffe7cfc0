"""Frozen dataclasses that are made at the price of open ones: for the values that every request makes.

A frozen dataclass stores each field by a call of `object.__setattr__`: 6 microseconds for 27 fields. Here a value is
of an open twin of its class while its fields are stored, by plain assignment, and of its class from then on: 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

__all__ = ["changed", "valueclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass as valueclass
else:

    def valueclass(**words: bool) -> Callable[[type], type]:
        """As `dataclass`; frozen, with slots, and without a `__post_init__`."""

        def made(cls: type) -> type:
            closed = dataclass(**words)(cls)
            opened = type(closed.__name__, (), {"__slots__": closed.__slots__})
            closed.__init__ = _init(closed, opened, kw_only=words.get("kw_only", False))
            _COPIES[closed] = _copy(closed, opened)
            return closed

        return made


_COPIES: Final[dict[type, Callable[[Any, Mapping[str, Any]], Any]]] = {}

V = TypeVar("V")


def changed(value: V, changes: Mapping[str, Any]) -> V:
    """As `dataclasses.replace`, which makes a new value of all fields; this copies them and sets the changes."""
    made: V = _COPIES[type(value)](value, changes)
    return made


def _copy(closed: type, opened: type) -> Callable[[Any, Mapping[str, Any]], Any]:
    known = {"_new": object.__new__, "_opened": opened, "_closed": closed}
    copies = [f"made.{each.name} = value.{each.name}" for each in fields(closed)]
    rest = ["for name in changes: setattr(made, name, changes[name])", "made.__class__ = _closed", "return made"]
    return _compiled("copy", ["value", "changes"], ["made = _new(_opened)", *copies, *rest], known)


def _compiled(name: str, words: list[str], lines: list[str], known: dict[str, Any]) -> Callable[..., Any]:
    body = "\n    ".join(lines)
    exec(f"def {name}({', '.join(words)}):\n    {body}", known)  # noqa: S102 - made of a class's own names
    made: Callable[..., Any] = known[name]
    return made


def _init(closed: Any, opened: type, *, kw_only: bool) -> Callable[..., None]:
    """As `dataclasses` writes it, but for how a field is stored."""
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
    made = _compiled("__init__", words, [*lines, "self.__class__ = _closed"], known)
    made.__qualname__ = f"{closed.__qualname__}.__init__"
    return made
