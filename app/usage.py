"""Sums of the ledger for people: by key, model, provider or end user, as JSON or CSV."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from app.errors import BadInput
from app.ledger import Ledger
from providers.core.prices import MICRO

COLUMNS: Final = {"key": "caller_name", "model": "model", "provider": "provider", "user": "end_user"}
SUMS: Final = ("requests", "images", "megapixels", "cost_usd", "failed", "unknown")
DEFAULT_DAYS: Final = 30
# OWASP, "CSV Injection" (2026-11-26): also wide forms of the signs, and a line break that begins a cell anew.
FORMULA: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


async def usage(
    ledger: Ledger, now: float, *, since: str = "", until: str = "", group_by: str = "key"
) -> dict[str, Any]:
    """`data` a row a group, and `total`. Days are UTC, `until` included when it is a plain day. Raises BadInput.

    `cost_usd` sums what has a known price; None where nothing that was delivered has one.
    """
    if group_by not in COLUMNS:
        raise BadInput(
            f"group_by is '{group_by[:20]}'; allowed: {', '.join(COLUMNS)}.", param="group_by", code="invalid_value"
        )
    start = _time(since, "from") if since else now - DEFAULT_DAYS * 86400
    end = _time(until, "to", end=True) if until else now + 1
    found = await ledger.usage(start, end, COLUMNS[group_by])
    rows = [{group_by: row["group"], **_sums(row)} for row in found]
    total = {
        name: sum(row[name] for row in found) for name in ("requests", "images", "megapixels", "failed", "unknown")
    }
    known = [row["cost"] for row in found if row["cost"] is not None]
    total["cost"] = sum(known) if known else None
    return {"data": rows, "total": _sums(total)}


def as_csv(found: dict[str, Any], group_by: str) -> str:
    """The rows as CSV with a header; names that a spreadsheet would run as a formula are quoted."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [group_by, *SUMS], lineterminator="\r\n")
    writer.writeheader()
    for row in found["data"]:
        name = str(row[group_by] or "")
        writer.writerow({**row, group_by: f"'{name}" if name[:1] in FORMULA else name})
    return out.getvalue()


def _sums(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "requests": int(row["requests"]),
        "images": int(row["images"]),
        "megapixels": round(float(row["megapixels"]), 3),
        "cost_usd": None if row["cost"] is None and row["requests"] else int(row["cost"] or 0) / MICRO,
        "failed": int(row["failed"]),
        "unknown": int(row["unknown"]),
    }


def _time(text: str, name: str, *, end: bool = False) -> float:
    try:
        if len(text) == len("2026-11-23"):
            day = date.fromisoformat(text) + timedelta(days=1 if end else 0)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        message = f"{name} is '{text[:40]}'; use a day such as 2026-11-23 or an ISO 8601 time."
        raise BadInput(message, param=name, code="invalid_value") from None
