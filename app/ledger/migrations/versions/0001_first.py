"""Requests, instances and keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("caller", sa.String(100), nullable=False),
        sa.Column("caller_name", sa.String(100), nullable=False),
        sa.Column("end_user", sa.String(200)),
        sa.Column("model_asked", sa.String(200), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("operation", sa.String(20), nullable=False),
        sa.Column("images_asked", sa.Integer, nullable=False),
        sa.Column("images_delivered", sa.Integer, nullable=False),
        sa.Column("megapixels", sa.Float, nullable=False),
        sa.Column("cost", sa.BigInteger),
        sa.Column("tokens_in", sa.BigInteger),
        sa.Column("tokens_out", sa.BigInteger),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("settled", sa.Float),
        sa.Column("upstream_request_id", sa.String(200)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("adjustments", sa.Text, nullable=False),
        sa.Column("error", sa.String(100), nullable=False),
        sa.Column("links", sa.JSON, nullable=False),
    )
    op.create_index("requests_by_caller", "requests", ["caller", "created"])
    op.create_index("requests_by_time", "requests", ["created"])
    op.create_index("requests_open", "requests", ["state", "instance"])
    op.create_table(
        "instances",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("heartbeat", sa.Float, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("fields", sa.JSON, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("revoked", sa.Float),
    )


def downgrade() -> None:
    """Remove them, with everything in them."""
    for table in ("api_keys", "instances", "requests"):
        op.drop_table(table)
