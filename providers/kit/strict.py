"""JSON as RFC 8259 has it and no more: UTF-8, finite numbers, no key twice, bounded in depth."""

from __future__ import annotations

import json
import math
from typing import Any, Final

MAX_DEPTH: Final = 64
SPACE: Final = " \t\r\n"


class MalformedJSON(ValueError):
    """What is wrong with a text; the message never quotes it."""


def parsed(text: bytes) -> Any:
    """The document. Raises MalformedJSON."""
    document = _parsed(text)
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        _measure(document, 0)
    return document


def _parsed(text: bytes) -> Any:
    try:
        whole = text.decode("utf-8").strip(SPACE)
        document, end = _DECODER.raw_decode(whole)
    except UnicodeDecodeError:
        raise MalformedJSON("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedJSON(error.msg) from None
    except RecursionError:
        raise MalformedJSON(f"nested deeper than {MAX_DEPTH} levels") from None
    except MalformedJSON:
        raise
    except ValueError:
        raise MalformedJSON("a number has too many digits") from None
    if end < len(whole):
        raise MalformedJSON("Extra data")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJSON("an object has the same key twice")
    return members


def _constant(name: str) -> Any:
    raise MalformedJSON(f"{name} is not a number")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise MalformedJSON("a number is out of range")
    return number


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def _measure(node: Any, depth: int) -> None:
    """Raise MalformedJSON for a document that is too deep."""
    if isinstance(node, dict | list):
        if depth == MAX_DEPTH:
            raise MalformedJSON(f"nested deeper than {MAX_DEPTH} levels")
        for value in node.values() if isinstance(node, dict) else node:
            _measure(value, depth + 1)
