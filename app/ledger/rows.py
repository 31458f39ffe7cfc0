"""Which columns of a row are written when, and the values of an entry for them."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Final

from app.ledger.protocol import Entry
from providers.core.valueclass import valueclass

_CHANGING: Final = ("model", "provider", "images_asked", "images_delivered", "megapixels", "cost", "tokens_in")
_CHANGING_TOO: Final = ("tokens_out", "settled", "attempts", "adjustments", "error", "tasks")
_STAYING: Final = ("request_id", "caller", "caller_name", "operation", "created", "label", "fingerprint")
SETTLED: Final = (*_CHANGING, *_CHANGING_TOO, "state", "upstream_request_id", "links")
OPENED: Final = (*_STAYING, "idempotency", "model_asked", "end_user", "instance", *SETTLED)
LONGEST: Final = 200
_staying: Final = attrgetter(*_STAYING, "idempotency")
_changing: Final = attrgetter(*_CHANGING, *_CHANGING_TOO)


@valueclass(frozen=True, slots=True)
class Change:
    """A row to be written: a new one where `names` are OPENED, else these columns of the row `request_id`."""

    names: tuple[str, ...]
    values: tuple[object, ...]
    request_id: str = ""


def opened(entry: Entry, end_user: str | None, instance: str) -> Change:
    """A new row."""
    values = (*_staying(entry), entry.model_asked[:LONGEST], end_user, instance, *_settled(entry))
    return Change(OPENED, values)


def settled(entry: Entry) -> Change:
    """What became of a row."""
    return Change(SETTLED, _settled(entry), entry.request_id)


def storable(text: str | None) -> str | None:
    """As every database takes it: PostgreSQL refuses a NUL, and with it the whole group of rows."""
    if text and not text.isascii():  # half a surrogate pair, as an upstream's JSON may hold, is not written either
        text = text.encode(errors="replace").decode()
    return text and text.replace("\0", "\ufffd")


def _settled(entry: Entry) -> tuple[object, ...]:
    upstream = storable(entry.upstream_request_id)
    links = json.dumps(entry.links) if entry.links else "[]"
    return (*_changing(entry), str(entry.state), upstream and upstream[:LONGEST], links)
