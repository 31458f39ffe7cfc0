"""The ledger's database: SQLite in the data folder, or what DATABASE_URL names; and its migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.ledger.tables import metadata
from app.ledger.writer import prepared
from app.settings import Settings, SettingsError

SCRIPTS: Final = Path(__file__).with_name("migrations")
VERSION: Final = "alembic_version"
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
    current, newest = await revisions(found)
    if current == newest:
        return
    if found.dialect.name != "sqlite":
        raise SettingsError(f"The database is at revision {current}, not {newest}. Run: pinhole db upgrade")
    async with found.begin() as connection:
        await connection.run_sync(_made)


async def revisions(found: AsyncEngine) -> tuple[str | None, str]:
    """The revision that the database is at, and the newest."""
    async with found.connect() as connection:
        return await connection.run_sync(_revision), newest()


def newest() -> str:
    """The newest revision; scripts are named by theirs."""
    return max(path.stem for path in (SCRIPTS / "versions").glob("[0-9]*.py")).partition("_")[0]


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION}")).scalar()  # noqa: S608 - a constant


def _made(connection: Connection) -> None:
    """SQLite: a new file gets the tables as they are, whatever way they came to be so; an old one migrates."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # several gateways may start on one file, and each may be killed
    if inspect(connection).get_table_names():
        _upgrade(connection)
        return
    metadata.create_all(connection)
    connection.exec_driver_sql(f"CREATE TABLE {VERSION} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.execute(text(f"INSERT INTO {VERSION} VALUES (:newest)"), {"newest": newest()})  # noqa: S608 - as above


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
    from app.ledger.revisions import migrate  # noqa: PLC0415 - most starts do without Alembic

    migrate(connection, str(SCRIPTS))
