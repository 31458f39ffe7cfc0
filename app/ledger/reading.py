"""What the ledger's database is asked: rows of the past, sums of money, usage by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, RowMapping, Select, and_, case, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.errors import Overloaded
from app.ledger.protocol import Entry, Past, State
from app.ledger.tables import requests

COLUMNS: Final = tuple(column.name for column in fields(Entry))
PAST: Final = tuple(column.name for column in fields(Past) if column.name not in {"pending", "unheard"})
AWAY: Final = (SQLAlchemyError, OSError, TimeoutError)
"""What a database raises that cannot be asked."""


async def rows(engine: AsyncEngine, query: Select[Any]) -> Sequence[RowMapping]:
    """The answer. Raises Overloaded."""
    try:
        async with engine.connect() as connection:
            found: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
    except AWAY:
        raise Overloaded("The ledger cannot be read now.") from None
    return found


async def past(engine: AsyncEngine, since: float, request_id: str | None) -> list[Past]:
    """Rows that bear a fingerprint, oldest first. Raises Overloaded."""
    found = and_(requests.c.created >= since, requests.c.fingerprint != "")
    if request_id is not None:
        found = and_(found, requests.c.request_id == request_id)
    pending = requests.c.tasks.is_not(None).label("pending")
    query = select(*(requests.c[name] for name in PAST), pending).where(found).order_by(requests.c.created)
    return [
        Past(
            **{**row, "state": State(row["state"]), "handed": bool(row["handed"]), "unheard": row["handed"] is False}
        )
        for row in await rows(engine, query)
    ]


async def entries(engine: AsyncEngine, found: ColumnElement[bool], most: int) -> list[Entry]:
    """Whole rows, oldest first. Raises Overloaded."""
    names = [requests.c[name] for name in COLUMNS]
    read = await rows(engine, select(*names).where(found).order_by(requests.c.created).limit(most))
    return [Entry(**{**row, "state": State(row["state"]), "links": tuple(row["links"])}) for row in read]


async def spent(engine: AsyncEngine, columns: Mapping[str, str], since: float) -> int:
    """Micro-dollars of rows with these values. Raises Overloaded."""
    total = func.coalesce(func.sum(requests.c.cost), 0)
    query = select(total.label("spent")).where(requests.c.created >= since, requests.c.state != State.FAILED.value)
    for column, value in columns.items():
        query = query.where(requests.c[column] == value)
    (row,) = await rows(engine, query)
    return int(row["spent"])


async def usage(engine: AsyncEngine, since: float, until: float, group_by: str) -> list[dict[str, Any]]:
    """Sums by group; `requests` and `images` count what was delivered, failed and unknown stand apart.

    `cost` is None where the price of nothing that was delivered is known.
    """
    delivered = requests.c.state == State.DELIVERED.value
    group = requests.c[group_by]
    query = (
        select(
            group.label("group"),
            func.sum(case((delivered, 1), else_=0)).label("requests"),
            func.sum(case((delivered, requests.c.images_delivered), else_=0)).label("images"),
            func.sum(case((delivered, requests.c.megapixels), else_=0.0)).label("megapixels"),
            func.sum(case((delivered, requests.c.cost))).label("cost"),
            func.sum((requests.c.state == State.FAILED.value).cast(Integer)).label("failed"),
            func.sum((requests.c.state == State.UNKNOWN.value).cast(Integer)).label("unknown"),
        )
        .where(and_(requests.c.created >= since, requests.c.created < until))
        .group_by(group)
        .order_by(group)
    )
    return [dict(row) for row in await rows(engine, query)]
