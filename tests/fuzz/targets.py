"""The properties as functions of raw bytes, for a fuzzer that follows coverage; each has seeds to begin with."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from providers.core.errors import UpstreamError
from providers.kit.images import ImageError, dimensions, inspect, sniff
from providers.kit.lift import LiftError, lift
from tests.fuzz import test_forms, test_images, test_json, test_sse


@dataclass(frozen=True, slots=True)
class Target:
    """`check` raises where a property does not hold."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def images(data: bytes) -> None:
    """Sniffing, measuring and inspecting end in facts that agree, in None or in ImageError."""
    sniff(data)
    measured = dimensions(data)
    try:
        facts = inspect(data)
    except ImageError:
        return
    assert (facts.width, facts.height) == measured
    assert facts.bytes == len(data)


def halves(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The bytes behind the first one, and the same cut where that one says."""
    whole = data[1:]
    at = (data[0] if data else 0) * len(whole) // 255
    return whole, whole[:at], whole[at:]


def events(data: bytes) -> None:
    """A stream cut anywhere gives the events of the whole, which are those of a plain reading."""
    whole, first, second = halves(data)
    try:
        assert test_sse.read([first, second]) == test_sse.read([whole]) == test_sse.plainly(whole)
    except UpstreamError:
        assert len(whole) > 2**20


def forms(data: bytes) -> None:
    """A form cut anywhere is read as the whole is: an upload, or an error of the gateway's own."""
    whole, first, second = halves(data)
    assert test_forms.read([first, second]) == test_forms.read([whole])


def documents(data: bytes) -> None:
    """Lifting refuses what a strict parser refuses, changes no value, and judges base64 as the library does."""
    try:
        expected = standard(data)
    except (ValueError, RecursionError):
        expected = ValueError
    try:
        found = test_json.plain(lift(data, threshold=1))
    except LiftError:
        assert expected is ValueError or depth(expected) > SHALLOW
        return
    assert found == expected
    if isinstance(found, str):
        check_base64(found)


def standard(data: bytes) -> Any:
    """The document as the standard library reads it, without endless numbers. Raises ValueError."""
    hooks: Any = {"object_pairs_hook": test_json.strictly, "parse_constant": test_json.refuse, "parse_float": finite}
    return json.loads(data.decode(), **hooks)


def finite(text: str) -> float:
    """A number that is one. Raises ValueError."""
    if math.isinf(float(text)):
        raise ValueError(text)
    return float(text)


def depth(node: Any) -> int:
    """How many levels lie below."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return 1 + max(map(depth, below), default=0)


def check_base64(text: str) -> None:
    """The property of test_json, on this text."""
    test_json.test_base64_is_judged_as_the_library_judges_it.hypothesis.inner_test(text, 9)  # type: ignore[attr-defined]  # hypothesis gives it


SHALLOW: Final = 60  # levels that every reader takes
PNG_URL = f"data:image/png;base64,{base64.b64encode(test_images.sound('PNG')).decode()}"
TARGETS = {
    "images": Target(images, tuple(test_images.sound(kind) for kind in test_images.KINDS)),
    "events": Target(
        events, (b"\x80event: a\ndata: {}\n\n", b"\x10data: 1\r\ndata: 2\r\n\r\n: x\n\ndata: [DONE]\n\n")
    ),
    "forms": Target(
        forms,
        (
            b"\x40" + test_forms.form([("prompt", b"a cat"), ("image", b"\x89PNG\r\n"), ("mask", b"--")]),
            b"\xc0" + test_forms.form([("image[]", b"\r\n------fuz"), ("image[]", b"")]),
        ),
    ),
    "documents": Target(
        documents,
        (
            json.dumps({"data": [{"b64_json": PNG_URL}], "n": 1.5e3, "a\\/b": None}).encode(),
            b'"QUJDREVGR0g="',
            b'{"a": "\\u003d\\ud83d\\ude00", "b": [true, -0, 1e400]}',
        ),
    ),
}
