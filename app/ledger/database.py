"""The ledger's database: SQLite in the data folder, or what DATABASE_URL names; and its migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.ledger.writer import prepared
from app.settings import Settings, SettingsError

SCRIPTS: Final = Path(__file__).with_name("migrations")
ANSWER_SECONDS: Final = 10.0
DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


def engine(settings: Settings, *, seconds: float = ANSWER_SECONDS) -> AsyncEngine:
    """The engine; a server has `seconds` for each answer. Raises SettingsError for a URL that is of neither kind."""
    if settings.database_url is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        return _sqlite(f"sqlite+aiosqlite:///{settings.data_dir / 'pinhole.db'}")
    scheme, _, rest = settings.database_url.partition(":")
    driver = DRIVERS.get(scheme.partition("+")[0], "unknown")
    try:
        url = make_url(f"{driver}:{rest}")
    except (ArgumentError, ValueError):
        url = make_url("unknown://")
    if driver == "unknown" or url.drivername == "unknown":
        raise SettingsError("DATABASE_URL must start with postgresql:// or sqlite:///.")
    if driver == DRIVERS["sqlite"]:
        return _sqlite(url.render_as_string(hide_password=False))
    times = {"timeout": seconds / 2, "command_timeout": seconds}
    return create_async_engine(
        url, pool_size=5, max_overflow=5, pool_pre_ping=True, pool_timeout=5, connect_args=times
    )


def _sqlite(url: str) -> AsyncEngine:
    made = create_async_engine(url, connect_args={"timeout": 10})
    prepared(made.sync_engine)
    return made


async def upgrade(found: AsyncEngine) -> None:
    """Bring the database to the newest revision."""
    async with found.begin() as connection:
        await connection.run_sync(_upgrade)


async def prepare(found: AsyncEngine) -> None:
    """SQLite migrates itself; PostgreSQL that is behind stops the start. Raises SettingsError."""
    if found.dialect.name == "sqlite":
        await upgrade(found)
        return
    current, newest = await revisions(found)
    if current != newest:
        raise SettingsError(f"The database is at revision {current}, not {newest}. Run: pinhole db upgrade")


async def revisions(found: AsyncEngine) -> tuple[str | None, str | None]:
    """The revision that the database is at, and the newest."""
    async with found.connect() as connection:
        current = await connection.run_sync(lambda plain: MigrationContext.configure(plain).get_current_revision())
    return current, ScriptDirectory(str(SCRIPTS)).get_current_head()


async def refuse_unready(settings: Settings) -> None:
    """A database that cannot be used is told before anything is served. Raises SettingsError."""
    found = engine(settings)
    try:
        await prepare(found)
    except (OSError, SQLAlchemyError) as error:
        raise SettingsError(f"DATABASE_URL: the database cannot be used ({type(error).__name__}).") from None
    finally:
        await found.dispose()


def _upgrade(connection: Connection) -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
