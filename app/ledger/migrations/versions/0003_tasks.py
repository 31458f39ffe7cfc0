"""What is needed to ask again for a task that an upstream accepted, when the gateway that submitted it is gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column, empty for rows from before, and an index of the few rows that have it."""
    op.add_column("requests", sa.Column("tasks", sa.Text))
    held = sa.text("tasks IS NOT NULL")
    op.create_index("requests_tasks", "requests", ["created"], sqlite_where=held, postgresql_where=held)


def downgrade() -> None:
    """Remove both."""
    op.drop_index("requests_tasks", "requests")
    op.drop_column("requests", "tasks")
