"""Alembic's entry: the connection is given by app.ledger.database, never read from a file."""

from __future__ import annotations

from alembic import context

from app.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
