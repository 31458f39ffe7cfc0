"""What a repeat is recognised by after a restart, and where its answer is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; rows from before bear no fingerprint and are never matched."""
    for name, length in (("label", 128), ("fingerprint", 64), ("idempotency", 64)):
        op.add_column("requests", sa.Column(name, sa.String(length), nullable=False, server_default=""))
    op.add_column("requests", sa.Column("document", sa.String(100)))
    op.add_column("requests", sa.Column("handed", sa.Boolean))


def downgrade() -> None:
    """Remove the columns."""
    for name in ("handed", "document", "idempotency", "fingerprint", "label"):
        op.drop_column("requests", name)
