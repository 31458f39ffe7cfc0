"""What a gateway leans on: its database, Redis, the storage."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from app import main
from app.commands.doctor.finding import Finding, Installation, fine, problem, warning
from app.ledger.database import engine, revisions
from app.limiter.protocol import LimiterLost
from app.runs.protocol import IndexLost
from app.settings import SettingsError
from app.store import StoreError
from providers.kit.clock import SystemClock

OLDEST_REDIS: Final = 7
SKEW_SECONDS: Final = 1.0
TOO_MUCH_SKEW_SECONDS: Final = 30.0


async def ledger(found: Installation) -> AsyncIterator[Finding]:
    """Reachable, and of this version's tables."""
    settings = found.settings
    if settings.database_url is None and not (settings.data_dir / "pinhole.db").exists():
        yield fine("ledger", f"{settings.data_dir / 'pinhole.db'} is made at the first start")
        return
    database = engine(settings)
    kind = "SQLite" if database.dialect.name == "sqlite" else "PostgreSQL"
    try:
        current, newest = await revisions(database)
        async with database.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        where = make_url(settings.database_url).host if settings.database_url else settings.data_dir
        yield problem("ledger", f"{kind} at {where} does not answer ({type(error).__name__})", "See DATABASE_URL.")
        return
    finally:
        await database.dispose()
    if current == newest:
        yield fine("ledger", f"{kind}, revision {current}")
    elif kind == "SQLite":
        yield fine("ledger", f"{kind}, revision {current}; goes to {newest} at the next start")
    else:
        yield problem("ledger", f"{kind} is at revision {current}, not {newest}", "Run: pinhole db upgrade")


async def redis(found: Installation) -> AsyncIterator[Finding]:
    """Reachable, new enough, writable, and of the same time."""
    line = main.line(found.settings.redis_url)
    if line is None:
        yield fine("redis", "not used: limits and repeats are this gateway's own")
        return
    from app.limiter.redis import RedisLimiter  # noqa: PLC0415 - only gateways with Redis pay for its client
    from app.redis import Lost  # noqa: PLC0415 - as above
    from app.runs.redis import RedisIndex  # noqa: PLC0415 - as above

    try:
        said = dict(item.split(":", 1) for item in str(await line.command("INFO")).split("\r\n") if ":" in item)
        version = said.get("redis_version", "0")
        if int(version.partition(".")[0]) < OLDEST_REDIS:
            yield problem("redis", f"version {version}", f"Version {OLDEST_REDIS} or newer is needed.")
        else:
            yield fine("redis", f"version {version}")
        if said.get("maxmemory", "0") != "0" and said.get("maxmemory_policy") != "noeviction":
            remedy = "Set maxmemory-policy noeviction: what is evicted is a limit that begins anew."
            yield warning("redis", f"maxmemory-policy is {said.get('maxmemory_policy')}", remedy)
        await RedisLimiter(line).ping()
        await RedisIndex("doctor", line, SystemClock()).claimed(secrets.token_hex(8))
        yield fine("redis", "can be written, and runs scripts")
        before = time.time()
        seconds, micros = await line.command("TIME")
        yield _skew(int(seconds) + int(micros) / 1e6 - (before + time.time()) / 2)
    except (Lost, IndexLost, LimiterLost, ValueError) as error:
        remedy = "See REDIS_URL, and that its user may use SCRIPT, EVALSHA, and keys that begin with {pinhole}."
        yield problem("redis", f"does not answer as it must ({str(error) or type(error).__name__})", remedy)
    finally:
        await line.close()


def _skew(seconds: float) -> Finding:
    said = f"Redis's time is {abs(seconds):.2f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    remedy = "Let one time server set both clocks: kept answers and claims are dated by the gateways."
    if abs(seconds) > TOO_MUCH_SKEW_SECONDS:
        return problem("clock", said, remedy)
    return warning("clock", said, remedy) if abs(seconds) > SKEW_SECONDS else fine("clock", said)


async def storage(found: Installation) -> AsyncIterator[Finding]:
    """A document is written, read, and removed."""
    url = found.config.storage.url
    where = url or str(found.settings.data_dir / "images")
    probe = secrets.token_bytes(32)
    try:
        store = main.image_store(found.settings, found.config, SystemClock())
    except SettingsError as error:
        yield problem("storage", str(error), "See docs/storage.md.")
        return
    try:
        name = await store.keep([probe])
        read = await store.kept(name)
        await store.drop(name)
        left = await store.kept(name)
    except (StoreError, OSError) as error:
        yield problem(
            "storage", f"{where} cannot be written and read ({type(error).__name__})", "See docs/storage.md."
        )
        return
    finally:
        await store.close()
    if read != probe:
        yield problem("storage", f"{where} does not give back what was written", "See docs/storage.md.")
    elif left is not None:
        yield warning("storage", f"{where} does not remove", "Without leave to delete, expired images stay for ever.")
    else:
        yield fine("storage", f"{where}: written, read, removed")
    if found.several and (url is None or url.startswith("file:")):
        remedy = "Several gateways need one storage.url: a shared folder, or a bucket."
        yield warning("storage", "images are in a folder", remedy)
