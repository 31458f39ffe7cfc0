"""Dynamic keys: 256 random bits with an id inside, kept as a peppered hash, shown once."""

from __future__ import annotations

import hmac
import math
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import Caller, of_fields
from app.config import KeyFields
from app.errors import NotFound, Overloaded
from app.ledger.tables import keys
from providers.kit.clock import Clock

FORM: Final = re.compile(r"ph-([0-9a-f]{16})-([A-Za-z0-9_-]{43})")
# Revocation holds everywhere within a second: no gateway believes what it read for longer than that.
BELIEVED_SECONDS: Final = 0.8
REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """A key's row as it was read, and the caller that it makes: one and the same until the row is another."""

    row: dict[str, Any]
    caller: Caller


class Keys:
    """The keys of the ledger's database. The first secret hashes new keys, all of them verify."""

    def __init__(self, engine: AsyncEngine, peppers: Sequence[bytes], clock: Clock) -> None:
        self._engine = engine
        self._peppers = peppers
        self._clock = clock
        self._read: dict[str, tuple[float, Known | None]] = {}

    async def create(self, fields: KeyFields) -> dict[str, Any]:
        """A new key with its secret, the only time it is shown."""
        key_id = secrets.token_hex(8)
        key = f"ph-{key_id}-{secrets.token_urlsafe(32)}"
        row = {
            "id": key_id,
            "name": fields.name,
            "hash": self._hash(self._peppers[0], key),
            "fields": fields.model_dump(mode="json", exclude_defaults=True),
            "created": self._clock.time(),
        }
        async with self._reached(), self._engine.begin() as connection:
            await connection.execute(insert(keys).values(**row))
        return {**shown(row), "key": key}

    async def list(self) -> list[dict[str, Any]]:
        """All keys that are not revoked, without their secrets."""
        query = select(keys).where(keys.c.revoked.is_(None)).order_by(keys.c.created)
        async with self._reached(), self._engine.connect() as connection:
            return [shown(dict(row._mapping)) for row in await connection.execute(query)]  # noqa: SLF001 - a public name

    async def revoke(self, key_id: str) -> None:
        """End a key, everywhere within a second. Raises NotFound."""
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked.is_(None)).values(revoked=self._clock.time())
        async with self._reached(), self._engine.begin() as connection:
            changed = await connection.execute(change)
        self._read.pop(key_id, None)
        if changed.rowcount == 0:
            raise NotFound("No key has this id.")

    async def find(self, key: str) -> Caller | None:
        """The caller of a key, or None; found by the id inside, compared in constant time."""
        match = FORM.fullmatch(key)
        known = await self._known(match[1]) if match else None
        if known is None or known.row["revoked"] is not None:
            return None
        if not any(hmac.compare_digest(known.row["hash"], self._hash(pepper, key)) for pepper in self._peppers):
            return None
        return known.caller

    async def close(self) -> None:
        """Let go of the database."""
        await self._engine.dispose()

    async def _known(self, key_id: str) -> Known | None:
        now = self._clock.now()
        at, known = self._read.get(key_id, (-math.inf, None))
        if now - at < BELIEVED_SECONDS:
            return known
        async with self._reached(), self._engine.connect() as connection:
            found = (await connection.execute(select(keys).where(keys.c.id == key_id))).first()
        row = dict(found._mapping) if found else None  # noqa: SLF001 - SQLAlchemy's public name
        if len(self._read) >= REMEMBERED:
            self._read.clear()
        if row is None or known is None or known.row != row:
            known = None if row is None else Known(row, of_fields(key_id, KeyFields.model_validate(row["fields"])))
        self._read[key_id] = (now, known)
        return known

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[None]:
        """A database that is away refuses whom nobody can know: Overloaded."""
        try:
            yield
        except (SQLAlchemyError, OSError, TimeoutError):
            raise Overloaded("The keys cannot be read now.") from None

    @staticmethod
    def _hash(pepper: bytes, key: str) -> str:
        return hmac.digest(pepper, b"pinhole-key:" + key.encode(), "sha256").hex()


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A key as the admin routes show it."""
    created = datetime.fromtimestamp(row["created"], UTC).isoformat(timespec="seconds")
    return {"id": row["id"], **row["fields"], "name": row["name"], "created": created}
