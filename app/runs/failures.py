"""Errors as text, so that every gateway, and the next start of this one, can raise what the first attempt raised."""

from __future__ import annotations

import json
from dataclasses import asdict
from traceback import clear_frames
from typing import Any, Final

from app import errors
from app.ledger import Past
from providers.core.errors import (
    InvalidRequest,
    PinholeError,
    UpstreamError,
    UpstreamTimeout,
    Violation,
)

UNKNOWN: Final = (
    "This request was sent before and its outcome is not known. It may have been billed, so it is not sent again."
)
PLAIN: Final = (str, int, float, bool, type(None))


def _tree(kind: type[PinholeError]) -> dict[str, type[PinholeError]]:
    found = {kind.__name__: kind}
    for child in kind.__subclasses__():
        found |= _tree(child)
    return found


KINDS: Final = _tree(PinholeError)


def unknown() -> UpstreamError:
    """What a repeat gets when nobody knows what became of the first: 502, x-should-retry false."""
    return UpstreamError(UNKNOWN)


def billed(error: PinholeError) -> bool:
    """Whether a repeat must get this failure instead of a new call."""
    return errors.billed(error)


def again(error: PinholeError) -> PinholeError:
    """A copy that can be raised by itself: the way that it comes is its own."""
    kind = type(error)
    copied = kind.__new__(kind, *error.args)
    vars(copied).update(vars(error))
    return copied


def bare(error: PinholeError) -> PinholeError:
    """A copy to keep. The way that the error came is cleared: what lay on it, images too, goes now."""
    clear_frames(error.__traceback__)
    return again(error)


def written(error: PinholeError) -> str:
    """An error as text: its class and its plain fields."""
    fields = {name: value for name, value in vars(error).items() if isinstance(value, PLAIN)}
    document: dict[str, Any] = {"kind": type(error).__name__, "fields": fields}
    if isinstance(error, InvalidRequest):
        document["violations"] = [asdict(violation) for violation in error.violations]
    return json.dumps(document, default=str)


def read(text: str) -> PinholeError:
    """The error of a text; `unknown()` for one that another release wrote."""
    try:
        document = json.loads(text)
        kind, fields = KINDS[document["kind"]], document["fields"]
        if kind is InvalidRequest:
            return InvalidRequest(*(Violation(**violation) for violation in document["violations"]))
        error = kind.__new__(kind)
        PinholeError.__init__(error, fields["message"])
        vars(error).update(fields)
    except (ValueError, KeyError, TypeError):
        return unknown()
    return error


def of_row(past: Past) -> PinholeError:
    """The failure of a ledger row whose process is gone: the same status, in our own words."""
    return UpstreamTimeout(UNKNOWN) if past.error == UpstreamTimeout.__name__ else unknown()
