"""The tables of the ledger's database. Changed only together with a migration."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata: Final = MetaData()

requests: Final = Table(
    "requests",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("instance", String(64), nullable=False),
    Column("caller", String(100), nullable=False),
    Column("caller_name", String(100), nullable=False),
    Column("end_user", String(200)),
    Column("model_asked", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("provider", String(100), nullable=False),
    Column("operation", String(20), nullable=False),
    Column("images_asked", Integer, nullable=False),
    Column("images_delivered", Integer, nullable=False),
    Column("megapixels", Float, nullable=False),
    Column("cost", BigInteger),
    Column("tokens_in", BigInteger),
    Column("tokens_out", BigInteger),
    Column("state", String(20), nullable=False),
    Column("created", Float, nullable=False),
    Column("settled", Float),
    Column("upstream_request_id", String(200)),
    Column("attempts", Integer, nullable=False),
    Column("adjustments", Text, nullable=False),
    Column("error", String(100), nullable=False),
    Column("links", JSON, nullable=False),
    Column("label", String(128), nullable=False, server_default=""),
    Column("fingerprint", String(64), nullable=False, server_default=""),
    Column("idempotency", String(64), nullable=False, server_default=""),
    Column("document", String(100)),
    Column("handed", Boolean),
    Column("tasks", Text),
)
Index("requests_by_caller", requests.c.caller, requests.c.created)
Index("requests_by_time", requests.c.created)
Index("requests_open", requests.c.state, requests.c.instance)
Index(
    "requests_tasks",
    requests.c.created,
    sqlite_where=requests.c.tasks.is_not(None),
    postgresql_where=requests.c.tasks.is_not(None),
)

instances: Final = Table(
    "instances",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("heartbeat", Float, nullable=False),
)

keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("fields", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)
