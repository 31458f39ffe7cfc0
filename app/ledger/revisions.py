"""Migrations, by Alembic. Imported only where one has to be made: most starts find their database as it should be."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def migrate(connection: Connection, scripts: str) -> None:
    """Bring the database to the newest revision of these scripts."""
    config = Config()
    config.set_main_option("script_location", scripts)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
