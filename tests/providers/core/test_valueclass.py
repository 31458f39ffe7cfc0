"""Values are frozen dataclasses in every respect; only their making is cheaper."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from providers.core.valueclass import changed, valueclass


@valueclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One of ours."""

    name: str
    many: int = 1
    more: Mapping[str, Any] = field(default_factory=dict)
    hidden: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The same, by the library alone."""

    name: str
    many: int = 1
    more: Mapping[str, Any] = field(default_factory=dict)
    hidden: bytes = field(default=b"", repr=False)


@valueclass(frozen=True, slots=True)
class Placed:
    """One whose fields have places."""

    first: int
    second: int = 2


def test_a_value_has_what_it_was_given_and_its_defaults() -> None:
    """Each field is what was given, its default, or what its factory makes anew."""
    made, other = Made(name="a"), Made(name="b", many=3, more={"c": 1}, hidden=b"d")
    assert (made.name, made.many, made.more, made.hidden) == ("a", 1, {}, b"")
    assert (other.name, other.many, other.more, other.hidden) == ("b", 3, {"c": 1}, b"d")
    assert made.more is not Made(name="a").more
    assert Placed(1) == Placed(first=1, second=2)
    assert hash(Placed(1)) == hash(Placed(1, 2))


def test_a_value_is_of_its_class_and_cannot_be_changed() -> None:
    """Nothing of the open twin is left: not in its type, and no field can be set or removed."""
    made = Made(name="a")
    assert type(made) is Made
    with pytest.raises(FrozenInstanceError):
        made.name = "b"  # type: ignore[misc]  # what mypy refuses too
    with pytest.raises(FrozenInstanceError):
        del made.name
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(made, "other", 1)


def test_a_value_shows_itself_compares_and_copies_as_a_dataclass() -> None:
    """`repr`, `==`, `replace`, `copy` and `pickle` do what they do with the library's own."""
    made, plain = Made(name="a", many=2), Plain(name="a", many=2)
    assert repr(made).replace("Made", "Plain") == repr(plain)
    assert replace(made, many=3) == Made(name="a", many=3)
    assert copy.copy(made) == made == pickle.loads(pickle.dumps(made))  # noqa: S301 - our own


def test_a_changed_value_is_another_one_of_its_class() -> None:
    """The rest is as it was, the first one too; what the class does not have is refused."""
    made = Made(name="a", more={"c": 1})
    other = changed(made, {"many": 3, "hidden": b"d"})
    assert (other, type(other)) == (replace(made, many=3, hidden=b"d"), Made)
    assert made == Made(name="a", more={"c": 1})
    with pytest.raises(FrozenInstanceError):
        other.many = 4  # type: ignore[misc]  # what mypy refuses too
    with pytest.raises(AttributeError):
        changed(made, {"other": 1})


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), (("a",), {}), ((), {"name": "a", "other": 1})], ids=["none", "placed", "unknown"]
)
def test_a_value_is_refused_what_its_class_does_not_have(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Missing, unnamed and unknown fields are the TypeErrors of any function."""
    with pytest.raises(TypeError, match=r"Made\.__init__"):
        Made(*args, **kwargs)
